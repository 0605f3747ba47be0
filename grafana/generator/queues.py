"""Queues: who waits where, how long, and what came of it."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    MERGED,
    Dashboard,
    Field,
    Json,
    Panel,
    Row,
    Text,
    heatmap,
    prom,
    sql,
    table,
    time_series,
    words,
)
from grafana.generator.shared import CHOSEN_QUEUES, NAMES, QUEUES, columns, of_window

_OF_QUEUES = f"WHERE k.name = ANY ({CHOSEN_QUEUES})"


def _now() -> Panel:
    by_queue = {
        "A": (f"max by (queue) (callkpi_calls_waiting{{{QUEUES}}})", Text("waiting", "ждут"), "short", shared.WAITING),
        "B": (f"max by (queue) (callkpi_longest_wait_seconds{{{QUEUES}}})", Text("longest wait", "дольше всех"), "s",
              None),
        "C": (f"max by (queue) (callkpi_calls_talking{{{QUEUES}}})", Text("talking", "говорят"), "short", None),
        "D": (f'max by (queue) (callkpi_agents{{{QUEUES}, state="available"}})', Text("free agents", "свободны"),
              "short", None),
        "E": (f'max by (queue) (callkpi_service_level_ratio{{{QUEUES}, window="hour"}})',
              Text("service level, last hour", "сервис за час"), "percentunit", shared.SERVICE_LEVEL),
        "F": (f'max by (queue) (callkpi_service_level_ratio{{{QUEUES}, window="day"}})',
              Text("service level today", "сервис за день"), "percentunit", shared.SERVICE_LEVEL),
        "G": (f'max by (queue) (callkpi_missed_ratio{{{QUEUES}, window="day"}})',
              Text("missed share today", "доля пропущенных за день"), "percentunit", shared.MISSED_SHARE),
        "H": (f"max by (queue) (callkpi_missed_waiting{{{QUEUES}}})", Text("call back", "перезвонить"), "short",
              shared.STILL_WAITING),
        "I": (f"max by (queue) ({shared.LONGEST_WAIT.promql(shared.parts_of_target(QUEUES))})",
              Text("wait, by its T", "ожидание по своему T"), "none", None),
    }  # fmt: skip
    fields = [
        Field(name=f"Value #{letter}", label=label, unit=unit, decimals=0, rule=rule,
              cell="color-background" if rule else "")
        for letter, (_, label, unit, rule) in by_queue.items() if letter != "I"
    ]  # fmt: skip
    word = Field(name="Value #I", label=by_queue["I"][1], mappings=words(), cell="color-background")
    return table(
        Text("Now", "Сейчас"),
        Text("Every queue at this moment, and its day so far. Coloured cells have a target; the number says how far.",
             "Каждая очередь в этот момент и за день. Цвет там, где есть норма; число говорит, насколько."),
        [prom(expression, form="table") for expression, *_ in by_queue.values()],
        [Field(name="queue", label=NAMES["queue"]), *fields, word],
        h=7, transformations=MERGED,
    )  # fmt: skip


def _window() -> Panel:
    names = (
        "offered", "answered", "missed", "abandoned", "short_abandoned", "timed_out", "exited", "open", "expired",
        "missed_share", "service_level", "asa_seconds", "longest_wait_seconds", "aht_seconds", "transferred",
    )  # fmt: skip
    picked = ", ".join(f"k.{name}" for name in names)
    return table(
        Text("The dashboard's time", "За выбранное время"),
        Text("Stays in queues that began in the time chosen above; exact to the call, the same as the API.",
             "Ожидания в очередях, начатые в выбранное время; точно до звонка, как в API."),
        [sql(f"SELECT k.name, {picked} FROM {of_window('queue')} AS k {_OF_QUEUES} ORDER BY k.offered DESC")],
        [Field(name="name", label=NAMES["queue"]), *columns(*names)],
        h=8,
    )  # fmt: skip


def outcomes_over_time(by: str, *, w: int = 12, of_queues: bool = False) -> Panel:
    """Answered beside missed, per quarter of an hour, from the rollups."""
    query = f"""
        SELECT k.at AS time, k.answered, k.missed FROM {of_window(by, "quarter", of_queues=of_queues)} AS k ORDER BY 1
    """
    return time_series(
        Text("Answered and missed per quarter of an hour", "Отвечено и пропущено по четвертям часа"),
        Text("By the quarter in which they began; exact.", "По четверти часа, в которую начались; точно."),
        [sql(query, "time_series")], bars=True, w=w,
        fields=[Field(name="answered", label=NAMES["answered"], colour="green"),
                Field(name="missed", label=NAMES["missed"], colour="red")],
    )  # fmt: skip


def _level_by_hour() -> Panel:
    query = f"""
        SELECT k.at AS time, k.name AS metric, k.service_level AS value FROM {of_window("queue", "hour")} AS k
        {_OF_QUEUES} AND k.service_level IS NOT NULL ORDER BY 1, 2
    """
    return time_series(
        Text("Service level by hour", "Уровень сервиса по часам"),
        Text("Share answered within T, exact; the dashed lines are the target.",
             "Доля отвеченных за T, точно; пунктир — норма."),
        [sql(query, "time_series")], unit="percentunit", rule=shared.SERVICE_LEVEL,
    )  # fmt: skip


def _percentiles() -> Panel:
    def quantile(share: float) -> Json:
        rate = f"rate(callkpi_call_wait_seconds_bucket{{{QUEUES}}}[$__rate_interval])"
        expression = f"histogram_quantile({share}, sum by (le) (max by (queue, result, le) ({rate})))"
        return prom(expression, f"p{round(share * 100)}", over_time=True)

    return time_series(
        Text("Wait, percentiles (estimates)", "Ожидание, процентили (оценка)"),
        Text("Estimated from histogram buckets: good for the shape, not for a report.",
             "Оценка по корзинам гистограммы: для формы, не для отчёта."),
        [quantile(0.5), quantile(0.9)], unit="s",
    )  # fmt: skip


def _waiting_over_time() -> Panel:
    return time_series(
        Text("Waiting over time", "Ожидающие во времени"),
        Text("Callers who waited at each moment that Prometheus looked.", "Ожидающие в каждый момент опроса."),
        [prom(f"max by (queue) (callkpi_calls_waiting{{{QUEUES}}})", "{{queue}}", over_time=True)],
    )  # fmt: skip


def _waits() -> Panel:
    rate = f"max by (queue, result, le) (increase(callkpi_call_wait_seconds_bucket{{{QUEUES}}}[$__rate_interval]))"
    return heatmap(
        Text("How long callers waited", "Сколько ждали"),
        Text("Waits that ended, by length, over time; from histogram buckets.",
             "Завершённые ожидания по длительности; по корзинам гистограммы."),
        prom(f"sum by (le) ({rate})", "{{le}}", over_time=True, form="heatmap"), unit="s",
    )  # fmt: skip


def _reasons() -> Panel:
    names = ("abandoned", "short_abandoned", "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected",
             "failed")  # fmt: skip
    sums = ", ".join(f"k.{name}" for name in names)
    return time_series(
        Text("Why calls were missed, by hour", "Почему пропущены, по часам"),
        Text("Missed stays in the chosen queues by what ended them; exact.",
             "Пропущенные ожидания выбранных очередей по причине; точно."),
        [sql(f"SELECT k.at AS time, {sums} FROM {of_window('queues', 'hour', of_queues=True)} AS k ORDER BY 1",
             "time_series")],
        bars=True, fields=columns(*names),
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="queues",
        title=Text("Queues", "Очереди"),
        description=Text("Every queue now and in the time chosen.", "Каждая очередь сейчас и за выбранное время."),
        variables=[shared.tenant, shared.queue],
        parts=[
            Row(title=Text("Now", "Сейчас"), panels=[_now(), _waiting_over_time(), _percentiles()]),
            Row(
                title=Text("Exact figures", "Точные цифры"),
                panels=[
                    _window(),
                    outcomes_over_time("queues", of_queues=True),
                    _level_by_hour(),
                    _reasons(),
                    _waits(),
                ],
            ),
        ],
        refresh="30s",
    )
