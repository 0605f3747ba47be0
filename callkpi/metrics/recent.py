"""Gauges of the windows that alerts are decided on, and of business hours."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.core import Metric

from callkpi import config
from callkpi.calendar import business
from callkpi.calls.facts import Grain
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Outcome
from callkpi.figures.recent import LEAST_WEEKS, USUAL_WEEKS, WINDOWS, Recent
from callkpi.metrics.families import gauge
from callkpi.people.names import Bounded

_PLACE = ("tenant", "queue", "window")


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
    since = {(name,): at - (business.opened_at(tenant, at) or at) for name, tenant in tenants.items()}
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
        age = business.worked(settings.tenants[row["tenant"]], row["oldest"], recent.at).total_seconds()
        customers[key] += row["customers"]
        oldest[key] = max(age, oldest.get(key, 0.0))
    place = ("tenant", "queue")
    yield gauge("callkpi_missed_untried", "Customers missed within a working day whom nobody has called since",
                place, customers)  # fmt: skip
    yield gauge("callkpi_missed_untried_oldest_seconds", "Business time since the oldest of them was missed",
                place, oldest)  # fmt: skip
