"""What a batch reads and writes of a call: before, after, and the columns of its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from callkpi.calls import facts as kpi
from callkpi.calls.model import Call, StreamKey
from callkpi.calls.rows import call_body, key_columns
from callkpi.database import encoding, store
from callkpi.missed.fates import outcome_is_missed
from callkpi.missed.writing import _last_queue
from callkpi.projection import days
from callkpi.same_call import rules


@dataclass(frozen=True, slots=True)
class Locked:
    key: StreamKey
    root: str
    first_at: datetime
    last_at: datetime
    started_at: datetime | None


@dataclass(slots=True)
class Before:
    """A call's row as it was."""

    key: StreamKey
    started_at: datetime
    customer: str
    facts: list[kpi.Fact]
    was_missed: bool
    contact: tuple[object, ...]
    told: days.Told


@dataclass(slots=True)
class After:
    """A call as it is now, and the rows that it replaces."""

    call: Call
    facts: tuple[kpi.Fact, ...]
    before: list[Before] = field(default_factory=list)
    keys: tuple[StreamKey, ...] = ()  #: the streams that it is folded from
    #: Facts that are gone and facts that have come, once the rows before are known.
    changed: tuple[list[kpi.Fact], list[kpi.Fact]] = ([], [])
    counted: bool = True  #: for Prometheus; history is not
    #: Of a call that other sources may tell of as well: what its own source tells, and where rows of its streams are.
    side: rules.Side | None = None
    places: dict[StreamKey, datetime] = field(default_factory=dict)

    @property
    def change(self) -> days.Change:
        """What it adds to the days."""
        told = days.Told(self.call.source, self.call.fields, self.call.crm)
        before = [(old.told, old.facts) for old in self.before]
        return days.Change(self.call.tenant, before, (told, self.facts), self.changed)

    @property
    def key(self) -> StreamKey:
        return StreamKey(self.call.tenant, self.call.source, self.call.call_id)


def spans_of(groups: Iterable[asyncpg.Record]) -> dict[StreamKey, tuple[datetime, datetime]]:
    """The calls that the groups touch, and the span of their new events."""
    spans: dict[StreamKey, tuple[datetime, datetime]] = {}
    for group in groups:
        columns = (group["tenants"], group["sources"], group["call_ids"], group["first_at"], group["last_at"])
        for tenant, source, call_id, first, last in zip(*columns, strict=True):
            key = StreamKey(tenant, source, call_id)
            known = spans.get(key)
            spans[key] = (min(first, known[0]), max(last, known[1])) if known else (first, last)
    return spans


def compare(after: After, before: Mapping[StreamKey, Before], keys: Iterable[StreamKey]) -> None:
    """Give a call the rows that it replaces, and what changes by it."""
    after.before = [before[key] for key in keys if key in before]
    after.changed = kpi.changed([fact for old in after.before for fact in old.facts], after.facts)


def before_from_row(row: asyncpg.Record) -> Before:
    return Before(
        key=StreamKey(row["tenant"], row["source"], row["call_id"]),
        started_at=row["started_at"],
        customer=row["customer"],
        facts=[kpi.Fact.from_json(fact) for fact in orjson.loads(row["facts"])],
        was_missed=outcome_is_missed(row["direction"], row["outcome"]),
        contact=_contact(
            row["direction"],
            row["outcome"],
            row["line"],
            row["queue"] or "",
            (row["started_at"], row["answered_at"]),
        ),
        told=days.Told(row["source"], _mapping(row["fields"]), _mapping(row["crm"])),
    )


def _mapping(text: str | None) -> dict[str, str]:
    return orjson.loads(text) if text else {}


def contact_of_call(call: Call) -> tuple[object, ...]:
    times = (call.started_at, call.answered_at)
    return _contact(call.direction, call.outcome, call.line, _last_queue(call), times)


def _contact(direction: str, outcome: str, line: str, queue: str, times: tuple[object, ...]) -> tuple[object, ...]:
    """What the work list knows of a call; while it stays the same nothing has to be decided again."""
    missed = (str(outcome), line, queue) if outcome_is_missed(direction, outcome) else ()
    return str(direction), times, missed


def call_columns(after: Sequence[After]) -> list[list[Any]]:
    calls = [item.call for item in after]
    return [
        [c.tenant for c in calls],
        [c.source for c in calls],
        [c.call_id for c in calls],
        [c.started_at for c in calls],
        [c.last_event_at for c in calls],
        [c.answered_at for c in calls],
        [c.ended_at for c in calls],
        [c.direction.value for c in calls],
        [c.customer for c in calls],
        [c.line for c in calls],
        [c.outcome.value for c in calls],
        [call_body(c) for c in calls],
        [encoding.to_json([fact.to_json() for fact in item.facts]) for item in after],
    ]


def dense(buckets: Mapping[int, int]) -> list[int]:
    return [buckets.get(index, 0) for index in range(max(buckets) + 1)] if buckets else []


async def rows_at(
    connection: asyncpg.Connection, places: Mapping[StreamKey, datetime], *, by_fields: bool
) -> dict[StreamKey, Before]:
    """The rows of calls at these *places*, with their custom fields where figures are split *by_fields*."""
    if not places:
        return {}
    starts, columns = list(places.values()), key_columns(list(places))
    span = (min(starts), max(starts))
    rows = await connection.fetch(store.query("projector", "calls_at"), *columns, starts, *span, by_fields)
    return {before.key: before for before in map(before_from_row, rows)}
