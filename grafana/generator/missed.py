"""Missed calls: whom to call back now, and at which hours calls are missed."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    Dashboard,
    Field,
    Panel,
    Row,
    Text,
    bar_gauge,
    judged,
    mapping,
    sql,
    stat,
    table,
    time_series,
)
from grafana.generator.shared import AGES, FATES, NAMES, OUTCOMES, TENANT, columns, of_window

_TENANT = "${tenant:sqlstring}"
_WINDOW = f"{_TENANT}, $__timeFrom(), $__timeTo()"
_WEEKDAYS = {
    "1": Text("Monday", "понедельник"),
    "2": Text("Tuesday", "вторник"),
    "3": Text("Wednesday", "среда"),
    "4": Text("Thursday", "четверг"),
    "5": Text("Friday", "пятница"),
    "6": Text("Saturday", "суббота"),
    "7": Text("Sunday", "воскресенье"),
}
#: Heat of one cell of the week: calls missed in that hour, all weeks of the time together.
_HEAT = {
    "mode": "absolute",
    "steps": [
        {"color": "transparent", "value": None},
        {"color": "light-orange", "value": 1},
        {"color": "orange", "value": 5},
        {"color": "dark-orange", "value": 15},
        {"color": "dark-red", "value": 40},
    ],
}


def _customers() -> Panel:
    return judged(
        Text("Customers who wait", "Клиентов ждут"),
        Text("Missed and not spoken to since, whatever the dashboard's time.",
             "Пропущены, и с ними с тех пор не говорили, независимо от выбранного времени."),
        f"sum(max by (queue) (callkpi_missed_waiting{{{TENANT}}}))", shared.STILL_WAITING, w=5,
    )  # fmt: skip


def _oldest() -> Panel:
    return judged(
        Text("The oldest of them", "Самый давний"),
        Text("How long the one who has waited longest has waited.", "Сколько ждёт тот, кто ждёт дольше всех."),
        f"max(callkpi_missed_oldest_seconds{{{TENANT}}})", shared.OLDEST_MISSED, unit="dtdurations", w=5,
    )  # fmt: skip


def _ages() -> Panel:
    counts = ", ".join(f"count(*) FILTER (WHERE age_class = '{age}') AS {age}" for age in AGES)
    return bar_gauge(
        Text("By age", "По давности"),
        Text("The same customers by how long they have waited.", "Те же клиенты по времени ожидания."),
        [sql(f"SELECT {counts} FROM callkpi_views.missed WHERE tenant = {_TENANT}")],
        fields=[Field(name=age, label=label, colour=colour, decimals=0) for age, (label, colour) in AGES.items()],
        w=7, h=6,
    )  # fmt: skip


def _share_called_back() -> Panel:
    query = f"""
        SELECT callkpi_views.ratio(f.called_back, k.missed) AS called_back,
            callkpi_views.ratio(f.reached_after_miss + f.self_served, k.missed) AS spoken_to
        FROM {of_window()} AS k LEFT JOIN callkpi_views.fates({_WINDOW}) AS f ON true
    """
    return stat(
        Text("Settled, of the missed", "Закрыто из пропущенных"),
        Text("Of the calls missed in the dashboard's time: called back by us; spoken to since, whoever called.",
             "Из пропущенных за выбранное время: мы перезвонили; с тех пор поговорили, кто бы ни звонил."),
        [sql(query)], unit="percentunit", names=True, w=7, h=6, decimals=0,
        fields=[Field(name="called_back", label=NAMES["called_back"]),
                Field(name="spoken_to", label=Text("spoken to", "поговорили"))],
    )  # fmt: skip


def _work_list() -> Panel:
    query = f"""
        SELECT age_class, waiting_seconds, customer, calls, first_missed_at, last_missed_at, fate, called_back_at,
            queue, line, outcome, last_call
        FROM callkpi_views.missed WHERE tenant = {_TENANT} ORDER BY first_missed_at LIMIT 500
    """
    return table(
        Text("Whom to call back, oldest first", "Кому перезвонить, сначала давние"),
        Text("One row a customer. Numbers are masked unless the configuration shows them (numbers_in_views); the API "
             "and 'callkpi missed' have them.",
             "Строка на клиента. Номера скрыты, если настройка не показывает их (numbers_in_views); они есть в API и "
             "в команде «callkpi missed»."),
        [sql(query)],
        [
            Field(name="age_class", label=Text("age", "давность"), mappings=[mapping(AGES)], cell="color-background",
                  width=150),
            Field(name="waiting_seconds", label=Text("waits for", "ждёт"), unit="dtdurations", decimals=0),
            Field(name="customer", label=Text("customer", "клиент")),
            Field(name="calls", label=NAMES["calls"], decimals=0, width=90),
            Field(name="first_missed_at", label=Text("first missed", "впервые пропущен"), unit="dateTimeAsIso"),
            Field(name="last_missed_at", label=Text("last missed", "в последний раз"), unit="dateTimeAsIso"),
            Field(name="fate", label=Text("so far", "пока"), mappings=[mapping(FATES)], cell="color-text"),
            Field(name="called_back_at", label=Text("we called at", "мы звонили"), unit="dateTimeAsIso"),
            Field(name="queue", label=NAMES["queue"]),
            Field(name="line", label=NAMES["line"]),
            Field(name="outcome", label=Text("why", "почему"), mappings=[mapping(OUTCOMES)]),
            Field(name="last_call", label=Text("call", "звонок")),
        ],
        h=12,
    )  # fmt: skip


def _heat() -> Panel:
    hours = ", ".join(f"sum(missed) FILTER (WHERE hour = {hour})::bigint AS h{hour:02}" for hour in range(24))
    query = (
        f"SELECT weekday::text AS weekday, {hours} FROM callkpi_views.missed_by_hour({_WINDOW}) GROUP BY 1 ORDER BY 1"
    )
    blank = {"type": "special", "options": {"match": "null", "result": {"text": "", "color": "transparent"}}}
    cells = [
        Field(name=f"h{hour:02}", label=f"{hour:02}", thresholds=_HEAT, cell="color-background", decimals=0, width=52,
              mappings=[blank])
        for hour in range(24)
    ]  # fmt: skip
    days = {number: (name, "text") for number, name in _WEEKDAYS.items()}
    return table(
        Text("Missed by weekday and hour", "Пропущено по дням недели и часам"),
        Text("Missed calls of the dashboard's time by the centre's own clock; choose some weeks. Empty: no calls.",
             "Пропущенные за выбранное время по часам центра; выберите несколько недель. Пусто: звонков не было."),
        [sql(query)],
        [Field(name="weekday", label=Text("day", "день"), mappings=[mapping(days)], width=120), *cells], h=9,
    )  # fmt: skip


def _fates() -> Panel:
    names = ("called_back", "reached_after_miss", "self_served", "still_waiting", "written_off")
    picked = ", ".join(f"f.{name}" for name in names)
    query = f"SELECT f.name, {picked} FROM callkpi_views.fates({_WINDOW}, 'queue') AS f ORDER BY f.still_waiting DESC"
    return table(
        Text("Fate of the missed, by queue", "Судьба пропущенных по очередям"),
        Text("Calls missed in the dashboard's time by the queue that missed them last.",
             "Пропущенные за выбранное время по последней очереди."),
        [sql(query)], [Field(name="name", label=NAMES["queue"]), *columns(*names)], w=12, h=8,
    )  # fmt: skip


def _per_hour() -> Panel:
    query = f"""
        SELECT k.at AS time, k.missed, k.missed_share FROM {of_window("total", "hour")} AS k ORDER BY 1
    """
    return time_series(
        Text("Missed by hour", "Пропущено по часам"),
        Text("Missed calls by the hour in which they began, and their share (right scale) with its target.",
             "Пропущенные по часу начала и их доля (правая шкала) с нормой."),
        [sql(query, "time_series")], bars=True,
        fields=[Field(name="missed", label=NAMES["missed"], colour="red"), _RIGHT_SHARE],
    )  # fmt: skip


#: The share beside a count: a line on an axis of its own.
_RIGHT_SHARE = Field(
    name="missed_share", label=NAMES["missed_share"], unit="percentunit", colour="orange",
    more={"custom.drawStyle": "line", "custom.axisPlacement": "right", "custom.fillOpacity": 0, "max": 1,
          "custom.stacking": {"mode": "none", "group": "B"}},
)  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="missed",
        title=Text("Missed calls and call-backs", "Пропущенные и перезвоны"),
        description=Text("Whom to call back, and when calls are missed.", "Кому перезвонить и когда пропускают."),
        variables=[shared.tenant],
        parts=[
            Row(
                title=Text("To do", "К выполнению"),
                panels=[_customers(), _oldest(), _ages(), _share_called_back(), _work_list()],
            ),
            Row(title=Text("When and where", "Когда и где"), panels=[_heat(), _fates(), _per_hour()]),
        ],
        since="now-7d",
        refresh="1m",
    )
