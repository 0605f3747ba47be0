"""The funnel: how many calls get from the first ring to a conversation, and where they are lost."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import Dashboard, Field, Panel, Row, Text, bar_gauge, mapping, sql, table, time_series
from grafana.generator.shared import NAMES, columns, of_window

_WINDOW = "${tenant:sqlstring}, $__timeFrom(), $__timeTo()"
_STAGES = ("offered", "queued", "rung", "answered", "talked")
_BRANCH = ("missed", "called_back", "reached_after_miss", "self_served", "still_waiting", "written_off")


def _bars() -> Panel:
    picked = ", ".join(f"k.{stage}" for stage in _STAGES)
    return bar_gauge(
        Text("Stages", "Этапы"),
        Text("Whole inbound calls of the time chosen; each stage is a part of the one before.",
             "Входящие звонки за выбранное время; каждый этап — часть предыдущего."),
        [sql(f"SELECT {picked} FROM {of_window()} AS k")],
        fields=[Field(name=stage, label=NAMES[stage], decimals=0) for stage in _STAGES], w=12, h=9,
    )  # fmt: skip


def _stage_names(stages: tuple[str, ...]) -> Field:
    words = {stage: (NAMES[stage], "text") for stage in stages}
    return Field(name="stage", label=Text("stage", "этап"), mappings=[mapping(words)])


def _shares() -> Panel:
    return table(
        Text("Conversion", "Конверсия"),
        Text("Each stage as a share of the one before and of the first.",
             "Каждый этап как доля предыдущего и первого."),
        [sql(f"SELECT f.stage, f.calls, f.of_previous, f.of_first FROM callkpi_views.funnel({_WINDOW}) AS f "
             "ORDER BY f.place")],
        [
            _stage_names(_STAGES),
            Field(name="calls", label=NAMES["calls"], decimals=0),
            Field(name="of_previous", label=Text("of the one before", "от предыдущего"), unit="percentunit",
                  decimals=1),
            Field(name="of_first", label=Text("of the first", "от первого"), unit="percentunit", decimals=1),
        ],
        w=12, h=9,
    )  # fmt: skip


def _branch() -> Panel:
    return table(
        Text("What became of the missed", "Что стало с пропущенными"),
        Text("Missed calls of the time chosen by the fate of their customers up to now. Reached and the lines below "
             "add up to all of them; called back counts attempts, reached or not.",
             "Пропущенные звонки за выбранное время по судьбе клиентов к этой минуте. «Дозвонились» и строки ниже в "
             "сумме дают все; «перезвонили» считает попытки, удачные и нет."),
        [sql(f"SELECT f.stage, f.calls, f.of_first FROM callkpi_views.missed_funnel({_WINDOW}) AS f ORDER BY f.place")],
        [
            _stage_names(_BRANCH),
            Field(name="calls", label=NAMES["calls"], decimals=0),
            Field(name="of_first", label=Text("of the missed", "от пропущенных"), unit="percentunit", decimals=1),
        ],
        w=12, h=9,
    )  # fmt: skip


def _by_queue() -> Panel:
    picked = ", ".join(f"k.{stage}" for stage in ("offered", "rung", "answered", "talked"))
    query = f"""
        SELECT k.name, {picked}, callkpi_views.ratio(k.answered, k.offered) AS answered_share,
            callkpi_views.ratio(k.talked, k.offered) AS talked_share
        FROM {of_window("queue")} AS k ORDER BY k.offered DESC
    """
    return table(
        Text("By queue", "По очередям"),
        Text("The same of stays in queues, with their shares of the offered.",
             "То же по ожиданиям в очередях, с долями от поступивших."),
        [sql(query)],
        [
            Field(name="name", label=NAMES["queue"]),
            *columns("offered", "rung", "answered", "talked"),
            Field(name="answered_share", label=Text("answered of offered", "отвечено от поступивших"),
                  unit="percentunit", decimals=1),
            Field(name="talked_share", label=Text("talked of offered", "разговор от поступивших"),
                  unit="percentunit", decimals=1),
        ],
        w=12, h=9,
    )  # fmt: skip


def _over_time() -> Panel:
    query = f"""
        SELECT k.at AS time, k.offered, k.rung, k.answered, k.talked FROM {of_window("total", "hour")} AS k ORDER BY 1
    """
    return time_series(
        Text("Stages by hour", "Этапы по часам"),
        Text("By the hour in which the calls began; exact.", "По часу начала звонка; точно."),
        [sql(query, "time_series")], w=24, fields=columns("offered", "rung", "answered", "talked"),
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="funnel",
        title=Text("Funnel", "Воронка"),
        description=Text("From the first ring to a conversation.", "От первого гудка до разговора."),
        variables=[shared.tenant],
        parts=[
            Row(title=Text("Calls", "Звонки"), panels=[_bars(), _shares()]),
            Row(title=Text("Where they are lost", "Где теряются"), panels=[_branch(), _by_queue(), _over_time()]),
        ],
        refresh="1m",
    )
