"""Agents: where everybody is now, and what each did in the time chosen."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    Dashboard,
    Field,
    Panel,
    Row,
    Text,
    bar_gauge,
    mapping,
    prom,
    sql,
    table,
    time_series,
)
from grafana.generator.shared import CHOSEN_QUEUES, NAMES, QUEUES, STATES, columns, of_window

_TENANT = "${tenant:sqlstring}"


def _now() -> Panel:
    query = f"""
        SELECT agent, queue, state, reason, extract(epoch FROM now() - since)::double precision AS seconds
        FROM callkpi_views.agents_now WHERE tenant = {_TENANT} AND (queue = ANY ({CHOSEN_QUEUES}) OR queue = '')
        ORDER BY agent, queue
    """
    return table(
        Text("Everybody now", "Все сейчас"),
        Text("The state that the phone system told last; talking and ringing from the calls that go on.",
             "Состояние, которое станция сообщила последним; «говорит» и «звонок» по идущим звонкам."),
        [sql(query)],
        [
            Field(name="agent", label=NAMES["agent"]),
            Field(name="queue", label=NAMES["queue"]),
            Field(name="state", label=Text("state", "состояние"), mappings=[mapping(STATES)], cell="color-background"),
            Field(name="reason", label=Text("reason of the pause", "причина паузы")),
            Field(name="seconds", label=Text("for", "уже"), unit="dtdurations", decimals=0),
        ],
        w=14, h=12,
    )  # fmt: skip


def _states() -> Panel:
    return bar_gauge(
        Text("States by queue", "Состояния по очередям"),
        Text("Seats in queues by state: who serves two queues counts in both.",
             "Места в очередях по состоянию: кто обслуживает две очереди, считается в обеих."),
        [prom(f'max by (queue, state) (callkpi_agents{{{QUEUES}, state!="offline"}})', "{{queue}}: {{state}}")],
        w=10, h=12,
    )  # fmt: skip


def _work() -> Panel:
    names = ("handled", "answered", "made", "reached", "ring_no_answer", "transferred", "talk_seconds", "hold_seconds",
             "wrap_seconds", "aht_seconds", "pauses", "resumes", "logins", "logouts")  # fmt: skip
    picked = ", ".join(f"a.{name}" for name in names)
    query = f"""
        SELECT a.agent, {picked} FROM callkpi_views.agents({_TENANT}, $__timeFrom(), $__timeTo()) AS a
        ORDER BY a.handled DESC, a.agent
    """
    return table(
        Text("Work of the dashboard's time", "Работа за выбранное время"),
        Text("Conversations and rings that began in the time chosen; exact, the same as the API. What the phone system "
             "does not tell is empty, not zero.",
             "Разговоры и звонки на телефон, начатые в выбранное время; точно, как в API. Чего станция не сообщает, "
             "то пусто, а не ноль."),
        [sql(query)], [Field(name="agent", label=NAMES["agent"]), *columns(*names)], h=10,
    )  # fmt: skip


def _per_hour() -> Panel:
    query = f"""
        SELECT k.at AS time, k.name AS metric, k.handled AS value FROM {of_window("agent", "hour")} AS k ORDER BY 1, 2
    """
    return time_series(
        Text("Handled per hour", "Обработано по часам"),
        Text("Conversations of each agent by the hour in which they began; exact.",
             "Разговоры каждого оператора по часу начала; точно."),
        [sql(query, "time_series")], bars=True,
    )  # fmt: skip


def _aht_per_hour() -> Panel:
    query = f"""
        SELECT k.at AS time, k.name AS metric, k.aht_seconds AS value FROM {of_window("agent", "hour")} AS k
        WHERE k.aht_seconds IS NOT NULL ORDER BY 1, 2
    """
    return time_series(
        Text("Handling time per hour", "Время обработки по часам"),
        Text("(talk + hold + after-call work) / handled, by agent; exact.",
             "(разговор + удержание + обработка) / обработано, по оператору; точно."),
        [sql(query, "time_series")], unit="s",
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="agents",
        title=Text("Agents", "Операторы"),
        description=Text("Where everybody is now, and what each did.", "Кто где сейчас и что каждый сделал."),
        variables=[shared.tenant, shared.queue],
        parts=[
            Row(title=Text("Now", "Сейчас"), panels=[_now(), _states()]),
            Row(title=Text("Exact figures", "Точные цифры"), panels=[_work(), _per_hour(), _aht_per_hour()]),
        ],
        refresh="30s",
    )
