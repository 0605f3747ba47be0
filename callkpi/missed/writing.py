"""Writes what people did about missed customers, and the fates that follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from callkpi.calls.model import Call, CallEvent, Direction, StreamKey
from callkpi.calls.rows import event_from_row, key_columns, pairs
from callkpi.database import store
from callkpi.missed import work
from callkpi.missed.fates import Contact, FateOf, Settlement, fates, outcome_is_missed


async def write_work(connection: asyncpg.Connection, streams: Iterable[StreamKey]) -> dict[StreamKey, work.Work]:
    """Fold what was done about these items, whose locks are held, and write it down."""
    ordered = sorted(streams)
    if not ordered:
        return {}
    told: dict[StreamKey, list[CallEvent]] = defaultdict(list)
    for row in await connection.fetch(store.query("work", "events_of"), *key_columns(ordered)):
        told[StreamKey(row["tenant"], row["source"], row["call_id"])].append(event_from_row(row))
    # An item without events was erased since: it must not come back.
    ordered = [key for key in ordered if key in told]
    states = {key: work.fold_work(told[key]) for key in ordered}
    await connection.execute(
        store.query("work", "write_items"),
        [key.tenant for key in ordered],
        [key.call_id for key in ordered],
        [states[key].claimed_by for key in ordered],
        [states[key].claimed_until for key in ordered],
        [store.to_json(work.to_json(states[key])) for key in ordered],
    )
    return states


async def settlements(
    connection: asyncpg.Connection, items: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], list[Settlement]]:
    """What was settled by hand, of these items."""
    settled: dict[tuple[str, str], list[Settlement]] = defaultdict(list)
    wanted = pairs(items)
    if wanted[0]:
        for row in await connection.fetch(store.query("work", "items"), *wanted):
            settled[row["tenant"], row["item"]] = work.settlements_from_json(orjson.loads(row["body"]))
    return settled


def fate_rows(
    records: Sequence[Mapping[str, Any]], window: timedelta, until: datetime | None, settled: Sequence[Settlement]
) -> list[tuple[Any, ...]]:
    """Fates of the missed calls up to *until*: later ones are not affected, and not all their calls are here."""
    by_key = {(row["source"], row["call_id"]): row for row in records}
    contacts = [
        Contact(
            key=key,
            direction=Direction(row["direction"]),
            started_at=row["started_at"],
            answered_at=row["answered_at"],
            missed=outcome_is_missed(row["direction"], row["outcome"]),
        )
        for key, row in by_key.items()
    ]
    decided = [(by_key[fate.key], fate) for fate in fates(contacts, window, settled)]
    return [_fate_row(row, fate) for row, fate in decided if until is None or row["started_at"] <= until]


def _fate_row(row: Mapping[str, Any], fate: FateOf) -> tuple[Any, ...]:
    return (
        row["tenant"], row["source"], row["call_id"], row["started_at"], row["customer"], row["line"],
        row["queue"] or "", row["outcome"], fate.fate.value, fate.called_back_at, fate.reached_at,
    )  # fmt: skip


def _last_queue(call: Call) -> str:
    return call.entries[-1].queue if call.entries else ""


def is_missed(call: Call) -> bool:
    return outcome_is_missed(call.direction, call.outcome)


def item_of_call(call: Call) -> tuple[str, str]:
    return call.tenant, work.item_of(call.customer, call.source, call.call_id)


def missed_record(call: Call) -> dict[str, Any]:
    """A missed call as :func:`fate_rows` reads it."""
    return {
        "tenant": call.tenant, "source": call.source, "call_id": call.call_id, "started_at": call.started_at,
        "customer": call.customer, "line": call.line, "queue": _last_queue(call), "outcome": call.outcome.value,
        "direction": call.direction.value, "answered_at": call.answered_at,
    }  # fmt: skip
