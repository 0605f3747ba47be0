"""The calls behind a figure: exactly those that it counts, so that the list is as long as the figure is great.

What a call weighs in a figure is that figure of the call's facts alone: the formulas are those of
:mod:`callkpi.calls.facts`, and there are no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import asyncpg
import orjson

from callkpi import config
from callkpi.calls.facts import Fact, Grain
from callkpi.calls.model import MISSED_OUTCOMES, Direction, Outcome
from callkpi.config import ServiceLevelFormula
from callkpi.database import store
from callkpi.figures.kpis import Query, is_meant
from callkpi.figures.weights import FIGURES, NOTHING, Weight, weigh, weigh_counts
from callkpi.glossary import FATES, KPIS, Way
from callkpi.missed import judging
from callkpi.missed.work import HIDDEN
from callkpi.people.names import Names

T = TypeVar("T")


#: More calls are not looked at one by one.
MOST_ITEMS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A call, a stay in a queue or an agent's handle that a figure is made of."""

    source: str
    call_id: str
    started_at: datetime  #: of the call
    at: datetime  #: of the stay or the handle
    customer: str  #: whole number
    queue: str  #: shown names
    agent: str
    line: str
    direction: str
    outcome: str
    weight: Weight

    @property
    def call(self) -> str:
        return f"{self.source}/{self.call_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """A figure with all that it is made of."""

    figure: str
    way: Way
    counts: str  #: calls | queue entries | handles of agents
    items: tuple[Item, ...]  #: what it counts, oldest first; of LONGEST the longest first
    others: tuple[Item, ...] = ()  #: of a share: what was judged and did not count
    kept_since: datetime | None = None  #: calls before this are no longer kept, and the list lacks them
    as_of: datetime | None = None  #: of what became of missed customers: when it was so

    @property
    def value(self) -> int | float | None:
        """The figure, from these items alone."""
        part = sum(item.weight.part for item in self.items)
        if self.way is Way.COUNT:
            return part
        if self.way is Way.SUM:
            return part / 1000
        if self.way is Way.LONGEST:
            return max((item.weight.part for item in self.items), default=0) / 1000
        whole = sum(item.weight.whole for item in (*self.items, *self.others))
        if whole <= 0:
            return None
        return part / whole if self.way is Way.SHARE else part / whole / 1000


_COUNTS = {"call": "calls", "entry": "queue entries", "handle": "handles of agents"}


class Unknown(ValueError):
    """No such figure, or it has no calls of this kind; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Window:
    begin: datetime
    end: datetime  #: not in it


async def calls_behind(
    pool: asyncpg.Pool,
    settings: config.Settings,
    names: Names,
    tenant: str,
    window: Window,
    figure: str,
    only: Mapping[str, str | tuple[str, ...]] | None = None,
    now: datetime | None = None,
) -> Behind:
    """What *figure* of a tenant's *window* counts: the same as :meth:`Reports.figures` with the same filters.

    *only* filters by queue, agent, team, line, direction or outcome, by id or shown name; with a queue the stays in
    it, with an agent or a team their handles, else calls. It is judged as of *now*. Raises Unknown.
    """  # fmt: skip
    if figure not in FIGURES:
        raise Unknown(f"figure: {figure[:40]!r} is none of {', '.join(FIGURES)}")
    only = only or {}
    asked = _Asked(settings, names, Query(tenant, window.begin, window.end, "outcome", only, now or datetime.now(UTC)))
    if figure in FATES:
        return await _behind_fate(pool, asked, figure)
    grain = asked.query.grain.value

    def item(row: Mapping[str, Any], fact: Fact) -> Item | None:
        if not asked.means(fact.key._asdict()):
            return None
        weight = weigh(figure, fact, asked.formula)
        return asked.item(row, fact, weight) if weight != NOTHING else None

    outcomes = _outcomes(figure) if grain == Grain.CALL and KPIS[figure].by_outcome else None
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        items = await facts_in(db, tenant, window, item, grain=grain, outcomes=outcomes, most=MOST_ITEMS)
        kept = (await kept_since(db)).get("calls")
    items.sort(key=lambda each: (each.started_at, each.source, each.call_id))
    found = _sorted(figure, _COUNTS[grain], items)
    return replace(found, kept_since=kept) if kept is not None and kept > window.begin else found


async def facts_in(
    db: asyncpg.Connection,
    tenant: str,
    window: Window,
    keep: Callable[[Mapping[str, Any], Fact], T | None],
    *,
    grain: str = "",
    outcomes: Sequence[str] | None = None,
    most: int = 0,
) -> list[T]:
    """What *keep* makes of what calls count as in a window (of one *grain*, of calls of some *outcomes*).

    Read a day at a time and beside the event loop: a month of a great centre is some hundred thousand calls. Raises
    Unknown where more than *most* are kept.
    """
    found: list[T] = []
    for part in _days_of(window):
        query = store.query("summary", "facts_of_calls")
        rows = await db.fetch(query, tenant, part.begin, part.end, outcomes)
        found += await asyncio.to_thread(_kept, rows, part, keep, grain)
        if most and len(found) > most:
            raise Unknown(f"from, to: more than {most:,} count in this figure; ask for a shorter time")
    return found


def _days_of(window: Window) -> Iterator[Window]:
    begin = window.begin
    while begin < window.end:
        end = min(begin + timedelta(days=1), window.end)
        yield Window(begin, end)
        begin = end


def _kept(
    rows: Iterable[Mapping[str, Any]], window: Window, keep: Callable[[Mapping[str, Any], Fact], T | None], grain: str
) -> list[T]:
    found = []
    for row in rows:
        for raw in orjson.loads(row["facts"]):
            if grain and raw["grain"] != grain:
                continue
            fact = Fact.from_json(raw)
            if window.begin <= fact.key.at < window.end and (item := keep(row, fact)) is not None:
                found.append(item)
    return found


@cache
def _outcomes(figure: str) -> list[str]:
    """The outcomes of the calls that a figure counts which only some have."""

    def counts(outcome: Outcome, *, offered: int) -> int:
        measures = {"contacts": 1, "offered": offered, "missed": offered * (outcome in MISSED_OUTCOMES)}
        return weigh_counts(figure, ServiceLevelFormula.DEFAULT, outcome, tuple(measures.items())).part

    return [each.value for each in Outcome if counts(each, offered=1) or counts(each, offered=0)]


async def kept_since(db: asyncpg.Pool | asyncpg.Connection) -> dict[str, datetime]:
    """Since when calls and the journal are kept; what is kept for ever is not in it. Figures are always kept."""
    rows = await db.fetch(store.query("retention", "horizons"), timedelta())
    return {row["what"]: row["before"] for row in rows}


@dataclass(frozen=True, slots=True)
class _Asked:
    settings: config.Settings
    names: Names
    query: Query

    @property
    def formula(self) -> ServiceLevelFormula:
        return self.settings.tenants[self.query.tenant].service_level_formula

    def means(self, place: Mapping[str, Any]) -> bool:
        return is_meant(self.names, self.query, place)

    def shown(self, kind: str, name: str) -> str:
        return self.names.show(self.query.tenant, kind, name)

    def item(self, row: Mapping[str, Any], fact: Fact, weight: Weight) -> Item:
        key = fact.key
        return Item(
            source=row["source"], call_id=row["call_id"], started_at=row["started_at"], at=key.at,
            customer=row["customer"], queue=self.shown("queue", key.queue), agent=self.shown("agent", key.agent),
            line=self.shown("line", key.line), direction=key.direction, outcome=key.outcome, weight=weight,
        )  # fmt: skip


def _sorted(figure: str, counts: str, items: Sequence[Item]) -> Behind:
    way = FIGURES[figure]
    if way is Way.LONGEST:
        items = sorted(items, key=lambda item: -item.weight.part)
    counted, others = _divided(items) if way is Way.SHARE else (tuple(items), ())
    return Behind(figure=figure, way=way, counts=counts, items=counted, others=others)


def _divided(items: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """A share's items: that count, and that are only judged."""
    counted: list[Item] = []
    others: list[Item] = []
    for item in items:
        (counted if item.weight.part else others).append(item)
    return tuple(counted), tuple(others)


# -- what became of missed customers ----------------------------------------------------------------------


async def _behind_fate(pool: asyncpg.Pool, asked: _Asked, figure: str) -> Behind:
    query = asked.query
    if not query.only.keys() <= {"queue", "line", "direction"}:
        raise Unknown(f"{figure}: missed customers have a queue and a line; filter by nothing else")
    rows = await missed_in(pool, query.tenant, query.begin, query.end)
    written_off = judging.written_off_before(asked.settings.tenants[query.tenant], query.now)
    items = []
    for row in rows:
        place = {"queue": row["queue"], "line": row["line"], "direction": Direction.INBOUND.value}
        fate = judging.judged(row["fate"], row["started_at"], written_off)
        counted = judging.counts(fate, called_back=row["called_back_at"] is not None)
        if asked.means(place) and counted[figure]:
            items.append(
                Item(
                    source=row["source"], call_id=row["call_id"], started_at=row["started_at"], at=row["started_at"],
                    customer=row["customer"], queue=asked.shown("queue", row["queue"]), agent="",
                    line=asked.shown("line", row["line"]), direction=Direction.INBOUND.value,
                    outcome=row["outcome"], weight=Weight(1, 0),
                )
            )  # fmt: skip
    return replace(_sorted(figure, "missed calls", items), as_of=query.now)


async def missed_in(
    db: asyncpg.Pool | asyncpg.Connection, tenant: str, begin: datetime, end: datetime, *, requests: bool = False
) -> list[asyncpg.Record]:
    """Missed calls of a window with their fates and when they were settled; with *requests* to be called, or not."""
    rows = await db.fetch(store.query("summary", "missed_in"), tenant, begin, end, HIDDEN)
    return [row for row in rows if requests or row["outcome"] != Outcome.CALLBACK_REQUESTED]


async def missed_of_open(
    db: asyncpg.Pool | asyncpg.Connection, tenant: str, window: tuple[datetime, datetime, datetime], at: datetime
) -> list[asyncpg.Record]:
    """Missed calls of [window[0], window[2]) as :func:`missed_in` has them, of those customers only of whom one of
    [window[1], window[2]) was not settled at *at*."""
    begin, since, end = window
    if since >= end:
        return []
    rows = await db.fetch(store.query("summary", "missed_of_open"), tenant, begin, end, HIDDEN, since, at)
    return [row for row in rows if row["outcome"] != Outcome.CALLBACK_REQUESTED]
