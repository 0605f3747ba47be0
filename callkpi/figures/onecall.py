"""One call with all that is known of it: its entries, its legs, and the events that it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from callkpi.calls.model import Call
from callkpi.calls.rows import call_from_body, event_from_row
from callkpi.database import store


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the journal."""

    kind: str
    at: datetime
    received_at: datetime
    call_id: str  #: of the part of the call that it told of
    facts: Mapping[str, Any]  #: what it says in our terms
    raw: Mapping[str, Any]  #: what the source said in its own, where that is kept


async def read_call(pool: asyncpg.Pool, tenant: str, source: str, call_id: str) -> tuple[Call, list[Event]] | None:
    """The call that an id belongs to; None where there is none."""
    place = await pool.fetchrow(store.query("reports", "key_of"), tenant, source, call_id)
    if place is None or place["started_at"] is None:
        return None
    key = (place["source"], place["root"])
    row = await pool.fetchrow(store.query("reports", "call_at"), tenant, *key, place["started_at"])
    if row is None:
        return None
    call = call_from_body(row["body"])
    told = [key, *((twin.source, twin.call_id) for twin in call.twins)]
    return call, _in_order([row for one in told for row in await _events(pool, tenant, *one)])


async def _events(pool: asyncpg.Pool, tenant: str, source: str, root: str) -> list[asyncpg.Record]:
    members = await pool.fetch(store.query("projector", "members_of"), [tenant], [source], [root])
    rows: list[asyncpg.Record] = []
    for call_id in (root, *(row["call_id"] for row in members)):
        span = await pool.fetchrow(store.query("reports", "key_of"), tenant, source, call_id)
        if span is not None:
            columns = ([tenant], [source], [call_id])
            rows += await pool.fetch(
                store.query("projector", "events_of"), *columns, span["first_at"], span["last_at"], None
            )
    return rows


def _in_order(rows: Sequence[asyncpg.Record]) -> list[Event]:
    ordered = sorted(rows, key=lambda row: event_from_row(row).order)
    return [_event(row, orjson.loads(row["body"])) for row in ordered]


def _event(row: asyncpg.Record, body: dict[str, Any]) -> Event:
    raw = body.pop("detail", {})
    return Event(row["kind"], row["at"], row["received_at"], row["call_id"], body, raw)
