"""Exact sums over spans of time, from the coarsest that hold them: months, days, quarters of an hour, or the calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import asyncpg

from callkpi import config
from callkpi.calendar import slots
from callkpi.calls.facts import Grain
from callkpi.database import store
from callkpi.projection import days

#: Of so much time single calls are read at most: elsewhere there are sums.
MOST_CALLS = timedelta(days=40)
#: The order of the filters in the queries.
_FILTERS = ("queue", "direction", "outcome", "line", "source", "value")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sums: of a grain, by some of queue, agent, line, direction, source and value, and always by outcome."""

    tenant: str
    grain: Grain
    by: Collection[str]
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: ids that are let through, of all but agents
    field: str = ""  #: the custom field that *value* is of

    @property
    def named(self) -> set[str]:
        return {*self.by, *self.only}


class TooLong(ValueError):
    """What only single calls can tell was asked of more than MOST_CALLS; whether there will be sums of days."""

    def __init__(self, *, will_be: bool) -> None:
        super().__init__()
        self.will_be = will_be


async def read(
    connection: asyncpg.Connection, tenant: config.Tenant, asked: Asked, spans: Iterable[slots.Span]
) -> list[asyncpg.Record]:
    """Rows with their slot, the dimensions ("" where not asked), the outcome, the measures and the longest wait.

    One key may have several rows. In a transaction of its own kind, see :func:`plan`. Raises TooLong.
    """
    known = (await days.spans(connection)).get(asked.tenant)
    fits = known is not None and known.is_of(tenant)
    found = slots.parts(spans, tenant.zone, _kept(asked, known if fits else None))
    if sum((after - begin for begin, after in found.calls.pairs()), timedelta()) > MOST_CALLS:
        raise TooLong(will_be=known is None or not fits or known.since != date.min)
    rows: list[asyncpg.Record] = []
    for name, edges in (
        ("of_months", found.months),
        ("of_days", found.days),
        ("of_quarters", found.quarters),
        ("of_calls", found.calls),
    ):
        if edges.edges:
            rows += await _rows(connection, asked, name, edges)
    return rows


async def plan(connection: asyncpg.Connection) -> None:
    """Have the queries of this transaction planned for what they ask: some ask for a few rows, some for a year."""
    await connection.execute(store.query("sums", "plan_each"))


async def _rows(connection: asyncpg.Connection, asked: Asked, name: str, edges: slots.Edges) -> list[asyncpg.Record]:
    only = [asked.only.get(dimension) for dimension in _FILTERS]
    rows: list[asyncpg.Record] = await connection.fetch(
        store.query("sums", name), asked.tenant, asked.grain.value, sorted(asked.by), edges.edges, edges.slots,
        *edges.stretches(), *only, asked.field,
    )  # fmt: skip
    return rows


async def fates(
    connection: asyncpg.Connection, tenant: str, by: Collection[str], spans: Iterable[slots.Span], written_off: datetime
) -> list[asyncpg.Record]:
    """What became of missed calls, by some of queue, line and source: slot, whether called back, fate, how many calls.

    What was missed before *written_off* and nobody settled is written off.
    """
    edges = slots.Edges()
    for span in spans:
        edges.add(span.begin, span.end, span.slot)
    rows: list[asyncpg.Record] = await connection.fetch(
        store.query("sums", "fates"), tenant, sorted(by), edges.edges, edges.slots, *edges.stretches(), written_off
    )
    return rows


def _kept(asked: Asked, known: days.Span | None) -> slots.Kept:
    """Months know no line; quarters know neither source nor field."""
    quarters = not (asked.field or asked.named & {"source", "value"})
    if known is None:
        return slots.Kept(quarters=quarters)
    months_until = None if "line" in asked.named else known.months_until
    return slots.Kept(known.since, months_until, quarters)


def whole(begin: datetime, end: datetime) -> list[slots.Span]:
    """[begin, end) as one slot, the first."""
    return slots.uncut(begin, end).spans
