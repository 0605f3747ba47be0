"""The shift's summary: numbers and per cent, beside an earlier window."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    BLUE,
    NOTHING,
    Dashboard,
    Field,
    Panel,
    Row,
    Text,
    mapping,
    sql,
    stat,
    table,
    text,
    word_of,
)
from grafana.generator.queues import outcomes_over_time
from grafana.generator.shared import NAMES, columns

_WINDOW = "${tenant:sqlstring}, $__timeFrom(), $__timeTo(), ${against:sqlstring}"
_KPIS = ("offered", "answered", "missed", "abandoned", "short_abandoned", "timed_out", "exited", "handled", "made",
         "reached", "after_hours", "open", "expired", "missed_share", "answer_rate", "abandon_rate", "service_level",
         "asa_seconds", "longest_wait_seconds", "aht_seconds", "talk_seconds")  # fmt: skip


def _headline(name: str, title: Text, description: Text) -> Panel:
    """One KPI with its value before, and the difference with its direction."""
    rule = {"missed_share": shared.MISSED_SHARE, "service_level": shared.SERVICE_LEVEL}.get(name)
    share = rule is not None
    unit, decimals = ("percentunit", 1) if share else ("short", 0)
    factor, suffix = ("100 *", "' pp'") if share else ("", "''")
    change = f"round(({factor} (c.{name} - c.{name}_before))::numeric, {decimals})"
    word = f", {rule.sql(f'c.{name}')} AS word" if rule else ""
    query = f"""
        SELECT c.{name}, c.{name}_before AS before,
            CASE WHEN {change} > 0 THEN '▲ +' WHEN {change} < 0 THEN '▼ −' ELSE '= ' END
                || abs({change}) || {suffix} AS change{word}
        FROM callkpi_views.compare({_WINDOW}, 'total') AS c
    """
    panel = stat(
        title, description, [sql(query)], unit=unit, names=True, w=6, h=6, decimals=decimals,
        fields=[
            Field(name=name, label=Text("this", "эта"), rule=rule, colour=BLUE, mappings=[NOTHING]),
            Field(name="before", label=Text("before", "раньше"), mappings=[NOTHING]),
            Field(name="change", label=Text("change", "разница"), mappings=[NOTHING]),
            *([word_of("word")] if rule else []),
        ],
    )  # fmt: skip
    panel.options["reduceOptions"]["fields"] = "/.*/"
    return panel


def _lines(unit: str, title: Text, form: str, decimals: int) -> Panel:
    names = {name: (NAMES[name], "text") for name in _KPIS}
    return table(
        title,
        Text("Whole calls that began in the dashboard's time, beside the window chosen above; exact.",
             "Звонки, начатые в выбранное время, рядом с окном для сравнения; точно."),
        [sql(f"SELECT s.kpi, s.value, s.before, s.change, s.change_share FROM callkpi_views.shift_summary({_WINDOW}) "
             f"AS s WHERE s.unit = '{unit}' ORDER BY s.place")],
        [
            Field(name="kpi", label=Text("figure", "показатель"), mappings=[mapping(names)], width=220),
            Field(name="value", label=Text("this", "эта")),
            Field(name="before", label=Text("before", "раньше")),
            Field(name="change", label=Text("change", "разница")),
            Field(name="change_share", label=Text("change, %", "разница, %"), unit="percentunit", decimals=1),
        ],
        unit=form, w=8, h=13, decimals=decimals,
    )  # fmt: skip


def _by(by: str, title: Text, description: Text, head: str, names: tuple[str, ...]) -> Panel:
    pairs = ", ".join(f"c.{name}, c.{name}_before" for name in names)
    fields = [
        field
        for now, name in zip(columns(*names), names, strict=True)
        for field in (now, Field(name=f"{name}_before", label=Text("before", "раньше"), unit=now.unit,
                                 decimals=now.decimals))
    ]  # fmt: skip
    order = f"c.{names[0]} DESC, c.name"
    return table(
        title, description,
        [sql(f"SELECT c.name, {pairs} FROM callkpi_views.compare({_WINDOW}, '{by}') AS c ORDER BY {order}")],
        [Field(name="name", label=NAMES[head]), *fields], h=8,
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="shift",
        title=Text("Shift summary", "Итоги смены"),
        description=Text(
            "Choose the shift as the dashboard's time, and what to compare it with.",
            "Выберите смену как время панели и с чем её сравнить.",
        ),
        variables=[shared.tenant, shared.against],
        parts=[
            text(
                Text("How to use it", "Как пользоваться"),
                Text("What the choices above mean.", "Что означает выбор наверху."),
                Text("Choose the shift's hours as the dashboard's time (for example today, 08:00 to 20:00) and what to "
                     "compare them with. Every figure is exact and the same as the API's; a call belongs to the window "
                     "in which it began.",
                     "Выберите часы смены как время панели (например, сегодня с 08:00 до 20:00) и с чем сравнить. Все "
                     "цифры точные и те же, что в API; звонок относится к окну, в котором он начался."),
            ),
            Row(
                title=Text("In short", "Коротко"),
                panels=[
                    _headline("offered", Text("Offered", "Поступило"),
                              Text("Inbound calls that wanted an agent.", "Входящие звонки, которым нужен оператор.")),
                    _headline("handled", Text("Handled", "Обработано"),
                              Text("Answered and ended, in and out.", "Отвечено и завершено, входящие и исходящие.")),
                    _headline("missed_share", Text("Missed share", "Доля пропущенных"),
                              Text("missed / (answered + missed), ended calls.",
                                   "пропущено / (отвечено + пропущено), завершённые.")),
                    _headline("service_level", Text("Service level", "Уровень сервиса"),
                              Text("Answered within T, by the configured formula.",
                                   "Отвечено за T, по настроенной формуле.")),
                ],
            ),
            Row(
                title=Text("All figures", "Все показатели"),
                panels=[
                    _lines("count", Text("Calls", "Звонки"), "short", 0),
                    _lines("share", Text("Shares", "Доли"), "percentunit", 1),
                    _lines("seconds", Text("Times", "Время"), "s", 1),
                ],
            ),
            Row(
                title=Text("By queue and agent", "По очередям и операторам"),
                panels=[
                    _by("queue", Text("Queues", "Очереди"),
                        Text("Stays in queues beside the window compared with.",
                             "Ожидания в очередях рядом с окном сравнения."), "queue",
                        ("offered", "answered", "missed", "missed_share", "service_level", "asa_seconds",
                         "aht_seconds")),
                    _by("agent", Text("Agents", "Операторы"),
                        Text("Conversations of each agent beside the window compared with.",
                             "Разговоры каждого оператора рядом с окном сравнения."), "agent",
                        ("handled", "answered", "aht_seconds")),
                    outcomes_over_time("total", w=24),
                ],
            ),
        ],
        refresh="5m",
    )  # fmt: skip
