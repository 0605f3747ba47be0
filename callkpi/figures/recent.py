"""What alerts are decided on: exact sums over the last half hour and hour, by the calls' own time.

Gauges and not rates of counters, because a rate can't tell a call of now from one of yesterday that is replayed now,
looks into the night before the opening, and counts a conversation when it ends but a miss at once. A window begins at
the opening at the earliest. *answered* includes those who talk now, and nobody who still waits is judged.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric

from callkpi import config
from callkpi.calendar import business as hours
from callkpi.calls import facts as kpi
from callkpi.calls.facts import Figures, Grain
from callkpi.calls.model import Outcome
from callkpi.missed.judging import written_off_before
from callkpi.people.names import Bounded

#: Windows by how many quarters of an hour they have, the one that runs included.
WINDOWS: Mapping[str, int] = {"half_hour": 2, "hour": 4}
#: Weeks whose same hour on the same weekday is what is usual; below the least nothing is.
USUAL_WEEKS, LEAST_WEEKS = 4, 2
#: A customer whom nobody called within a working day is a matter for the work list and no longer for an alert.
WORKING_DAY = timedelta(hours=8)

Labels = TypeVar("Labels", bound=tuple[str, ...])
_PLACE = ("tenant", "queue", "window")


@dataclass(frozen=True, slots=True)
class Recent:
    """What was read at one time."""

    at: datetime
    windows: Sequence[Any]
    untried: Sequence[Any]


#: tenant, part, begin, end
_Plan = tuple[str, str, datetime, datetime]


class Reader:
    """Reads the windows. Weeks that are past are read once in a quarter of an hour: with them it took three times as
    long, and they change by nothing but an import.
    """

    def __init__(self, tenants: Mapping[str, config.Tenant]) -> None:
        self._tenants = tenants
        self._past: tuple[list[_Plan], Sequence[Any]] = ([], [])

    async def read(self, fetch: Callable[..., Any], at: datetime) -> Recent:
        """*fetch* takes a query's file, its name and arguments."""
        planned = [(name, *window) for name, tenant in self._tenants.items() for window in _plan(tenant, at)]
        past = [window for window in planned if window[1] not in WINDOWS]
        if past != self._past[0]:
            self._past = (past, await fetch("recent", "recent", *_columns(past)))
        now = await fetch("recent", "recent", *_columns([window for window in planned if window[1] in WINDOWS]))
        since = [_untried_since(tenant, at) for tenant in self._tenants.values()]
        return Recent(at, [*now, *self._past[1]], await fetch("recent", "untried", list(self._tenants), since))


def _columns(planned: Sequence[_Plan]) -> list[list[Any]]:
    return [[window[index] for window in planned] for index in range(4)]


def _plan(tenant: config.Tenant, at: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    opened = hours.opened_at(tenant, at)
    ends = kpi.quarter(at) + kpi.INTERVAL
    for name, quarters in WINDOWS.items():
        yield name, _begins(opened, ends - quarters * kpi.INTERVAL), ends
    begins = _begins(opened, ends - WINDOWS["hour"] * kpi.INTERVAL)
    for week in range(1, USUAL_WEEKS + 1):
        # A day on which it was closed, a holiday say, does not show what is usual.
        if opened is not None and config.is_open(tenant, hours.weeks_before(tenant, at, week)):
            yield f"week{week}", hours.weeks_before(tenant, begins, week), hours.weeks_before(tenant, ends, week)


def _begins(opened: datetime | None, wanted: datetime) -> datetime:
    return wanted if opened is None else max(wanted, kpi.quarter(opened))


def _untried_since(tenant: config.Tenant, at: datetime) -> datetime:
    return max(written_off_before(tenant, at), hours.worked_ago(tenant, at, WORKING_DAY))


# -- families ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sums:
    """Figures by tenant, label of the queue ("" for whole calls) and part of the plan."""

    entries: dict[tuple[str, str, str], Figures] = field(default_factory=lambda: defaultdict(Figures))
    calls: dict[tuple[str, str], Figures] = field(default_factory=lambda: defaultdict(Figures))


def families(recent: Recent, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
    """The families of the page that alerts read."""
    sums = _sums(recent.windows, settings, labels)
    yield from _window_families(sums, settings)
    yield from _usual_families(sums)
    yield from _untried_families(recent, settings, labels)


def business_families(tenants: Mapping[str, config.Tenant], at: datetime) -> Iterator[Metric]:
    """What the calendar says. Needs no database."""
    is_open = {(name,): int(config.is_open(tenant, at)) for name, tenant in tenants.items()}
    since = {(name,): at - (hours.opened_at(tenant, at) or at) for name, tenant in tenants.items()}
    yield gauge("callkpi_business_open", "1 while the call centre is open by its configuration", ("tenant",), is_open)
    yield gauge("callkpi_business_open_seconds", "Seconds since it opened, at most a week; 0 while it is closed",
                ("tenant",), {key: value.total_seconds() for key, value in since.items()})  # fmt: skip


def _sums(rows: Iterable[Any], settings: config.Settings, labels: Bounded) -> _Sums:
    sums = _Sums()
    for row in rows:
        tenant, part = row["tenant"], row["part"]
        if row["grain"] == Grain.CALL:
            figures = sums.calls[tenant, part]
        else:
            figures = sums.entries[tenant, labels.label(tenant, "queue", row["queue"]), part]
        figures.sums.update({name: row[name] for name in ("answered", "missed", "within_sl", "abandoned_within")})
        figures.sums["offered"] += row["judged"]
        figures.outcomes[Outcome.ABANDONED] += row["abandoned"]
        figures.outcomes[Outcome.SHORT_ABANDON] += row["short_abandon"]
    return sums


def _window_families(sums: _Sums, settings: config.Settings) -> Iterator[Metric]:
    recent = {key: figures for key, figures in sums.entries.items() if key[2] in WINDOWS}
    yield gauge("callkpi_recent_answered", "Offered entries of the window that an agent took, those who talk included",
                _PLACE, {key: figures.sums["answered"] for key, figures in recent.items()})  # fmt: skip
    yield gauge("callkpi_recent_missed", "Missed entries of the window", _PLACE,
                {key: figures.sums["missed"] for key, figures in recent.items()})  # fmt: skip
    yield gauge("callkpi_recent_abandoned", "Abandoned entries of the window, without the short ones", _PLACE,
                {key: figures.outcomes[Outcome.ABANDONED] for key, figures in recent.items()})  # fmt: skip
    levels = {
        key: figures.service_level(settings.tenants[key[0]].service_level_formula) for key, figures in recent.items()
    }
    yield gauge("callkpi_recent_service_level_ratio", "Service level of the window, of entries that are decided",
                _PLACE, {key: level for key, level in levels.items() if level is not None})  # fmt: skip
    whole = {key: figures for key, figures in sums.calls.items() if key[1] in WINDOWS}
    for name, text in (("answered", "Whole calls of the window that an agent took"),
                       ("missed", "Whole calls of the window that were missed")):  # fmt: skip
        values = {key: figures.sums[name] for key, figures in whole.items()}
        yield gauge(f"callkpi_company_recent_{name}", text, ("tenant", "window"), values)


def _usual_families(sums: _Sums) -> Iterator[Metric]:
    """Means over the weeks of which there is anything: before the first recorded call nothing is usual."""
    weeks: Counter[str] = Counter(tenant for tenant, part in sums.calls if part not in WINDOWS)
    totals: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (tenant, queue, part), figures in sums.entries.items():
        if part not in WINDOWS and weeks[tenant] >= LEAST_WEEKS:
            totals[tenant, queue].update(figures.sums)
    for name in ("answered", "missed"):
        yield gauge(
            f"callkpi_usual_{name}",
            f"Mean {name} entries of the window hour at the same time in up to {USUAL_WEEKS} weeks before",
            ("tenant", "queue"),
            {key: total[name] / weeks[key[0]] for key, total in totals.items()},
        )


def _untried_families(recent: Recent, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
    customers: Counter[tuple[str, ...]] = Counter()
    oldest: dict[tuple[str, ...], float] = {}
    for row in recent.untried:
        key = (row["tenant"], labels.label(row["tenant"], "queue", row["queue"]))
        age = hours.worked(settings.tenants[row["tenant"]], row["oldest"], recent.at).total_seconds()
        customers[key] += row["customers"]
        oldest[key] = max(age, oldest.get(key, 0.0))
    place = ("tenant", "queue")
    yield gauge("callkpi_missed_untried", "Customers missed within a working day whom nobody has called since",
                place, customers)  # fmt: skip
    yield gauge("callkpi_missed_untried_oldest_seconds", "Business time since the oldest of them was missed",
                place, oldest)  # fmt: skip


def gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    """A family of gauges, its children in order."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family
