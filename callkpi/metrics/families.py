"""What one scrape has read, and how a family of metrics is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import asyncpg
from prometheus_client.core import GaugeMetricFamily, Metric

from callkpi.calls.formulas import Figures
from callkpi.figures import recent
from callkpi.ingest.spool import Size
from callkpi.people.presence import Times

Labels = TypeVar("Labels", bound=tuple[str, ...])


def gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    """A family of gauges, its children in order."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one scrape shows, read at one time."""

    at: datetime
    counters: Sequence[Any]
    names: Sequence[Any]
    open_calls: Sequence[Any]
    agent_states: Sequence[Any]
    missed: Mapping[str, Sequence[Any]]
    windows: Mapping[tuple[str, str], Mapping[str, Figures]]
    health: Sequence[Any]
    sources: Sequence[Any]
    rejected: Sequence[Any]
    lag: Any
    set_aside: Sequence[asyncpg.Record]
    reconciled: Sequence[Any]
    connections: Sequence[Any]
    funnels: Sequence[Any]
    recent: recent.Recent
    #: Of the day so far, per tenant: the keys of each person, and how his time was spent.
    times: Mapping[str, Mapping[str, tuple[list[str], Times]]]
    unsent: Sequence[Any]
    failing: Sequence[Any] = ()
    spool: Size | None = None
