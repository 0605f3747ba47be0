"""What several dashboards share: targets of the KPIs, names of columns, choices, pieces of queries."""

from __future__ import annotations

from callkpi import glossary
from callkpi.calls.model import MISSED_OUTCOMES
from grafana.generator.model import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, Field, Rule, Text, Variable, prom, sql

# -- targets of the KPIs: here and nowhere else ----------------------------------------------------------
WAITING = Rule(good=3, bad=6)  #: callers who wait in one moment
LONGEST_WAIT = Rule(good=1, bad=2)  #: in parts of T, which every queue has of its own
SERVICE_LEVEL = Rule(good=0.8, bad=0.7)
MISSED_SHARE = Rule(good=0.05, bad=0.1)
STILL_WAITING = Rule(good=1, bad=5)  #: customers nobody has called back
OLDEST_MISSED = Rule(good=20 * 60, bad=8 * 3600)  #: seconds: under 20 minutes, under a working day, older
LAG = Rule(good=5, bad=60)  #: seconds from the journal to the figures
REJECTED = Rule(good=1, bad=10)
PENDING = Rule(good=100, bad=1000)

MISSED = "|".join(sorted(MISSED_OUTCOMES))
TENANT = 'tenant="$tenant"'
QUEUE = 'tenant="$tenant", queue="$queue"'
QUEUES = 'tenant="$tenant", queue=~"$queue"'

# -- choices ---------------------------------------------------------------------------------------------
tenant = Variable(
    name="tenant",
    label=Text("Call centre", "Колл-центр"),
    target=sql("SELECT tenant FROM callkpi_views.tenants ORDER BY tenant"),
)
queue = Variable(
    name="queue",
    label=Text("Queue", "Очередь"),
    target=prom(f"label_values(callkpi_calls_waiting{{{TENANT}}}, queue)"),
    multi=True,
    regex="/.+/",
)
against = Variable(
    name="against",
    label=Text("Compare with", "Сравнить с"),
    options=(
        ("day", Text("the same hours of the day before", "теми же часами накануне")),
        ("week", Text("the same weekday a week before", "тем же днём неделю назад")),
        ("shift", Text("the shift just before", "предыдущей сменой")),
    ),
)

# -- pieces of queries -----------------------------------------------------------------------------------
#: An array, not a list in brackets: a call centre without queues has none, which IN () would not take.
CHOSEN_QUEUES = "ARRAY[${queue:sqlstring}]::text[]"


def of_window(by: str = "total", step: str = "whole", *, of_queues: bool = False) -> str:
    """KPIs of the dashboard's time."""
    extra = f", {CHOSEN_QUEUES}" if of_queues else ""
    return f"callkpi_views.kpi(${{tenant:sqlstring}}, $__timeFrom(), $__timeTo(), '{by}', '{step}'{extra})"


def of_today(by: str) -> str:
    """KPIs of the call centre's day so far, whatever the dashboard's time and the zone of the screen."""
    return (
        "callkpi_views.today(${tenant:sqlstring}) AS d, "
        f"callkpi_views.kpi(${{tenant:sqlstring}}, d.since, d.until, '{by}')"
    )


def parts_of_target(labels: str) -> str:
    """The longest waits as parts of the T of their queues."""
    waits, targets = (
        f"max by (tenant, queue) ({metric}{{{labels}}})"
        for metric in ("callkpi_longest_wait_seconds", "callkpi_service_level_target_seconds")
    )
    return f"{waits} / on (tenant, queue) {targets}"


# -- columns ---------------------------------------------------------------------------------------------
def _within_a_line(name: str) -> str:
    return name[:1].lower() + name[1:]


#: The names of figures are those of the glossary; here are the other columns.
NAMES: dict[str, Text] = {
    **{kpi.name: Text(_within_a_line(kpi.english), _within_a_line(kpi.russian)) for kpi in glossary.KPIS.values()},
    "queue": Text("queue", "очередь"),
    "agent": Text("agent", "оператор"),
    "line": Text("line", "линия"),
    "calls": Text("calls", "звонков"),
    "short_abandon": Text("hung up at once", "сбросили сразу"),
}
_RULES = {
    "missed_share": MISSED_SHARE,
    "service_level": SERVICE_LEVEL,
}

OUTCOMES = {name: (NAMES[name], GREY) for name in ("abandoned", "short_abandon", "timed_out", "left_empty",
            "overflowed", "no_answer", "busy", "rejected", "failed")}  # fmt: skip
STATES = {
    "talking": (Text("talking", "говорит"), BLUE),
    "ringing": (Text("ringing", "звонок"), ORANGE),
    "available": (Text("free", "свободен"), GREEN),
    "busy": (Text("busy", "занят"), ORANGE),
    "paused": (Text("paused", "пауза"), PURPLE),
    "offline": (Text("offline", "не в сети"), GREY),
}
FATES = {
    "waiting": (Text("nobody called back", "не перезвонили"), RED),
    "called_back": (Text("called back, not reached", "перезвонили, не дозвонились"), ORANGE),
}
AGES = {
    "fresh": (Text("under 20 min", "до 20 мин"), GREEN),
    "today": (Text("under a working day", "до рабочего дня"), ORANGE),
    "older": (Text("older", "дольше"), RED),
}


def column(name: str, *, coloured: bool = True) -> Field:
    """A column of the views under its name in the reader's words, with its unit and its target."""
    unit = glossary.unit_of(name)
    share, seconds = unit is glossary.Unit.SHARE, unit is glossary.Unit.SECONDS
    rule = _RULES.get(name) if coloured else None
    return Field(
        name=name, label=NAMES[name], unit="percentunit" if share else "s" if seconds else "short",
        decimals=1 if share else 0, rule=rule, cell="color-background" if rule else "",
    )  # fmt: skip


def columns(*names: str) -> list[Field]:
    return [column(name) for name in names]
