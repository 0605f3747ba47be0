"""Writes what people did about missed customers, and the fates that follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import asyncpg
import orjson

from callkpi.calls.model import Call, CallEvent, Direction, StreamKey
from callkpi.calls.rows import event_from_row, key_columns, pairs
from callkpi.database import encoding, store
from callkpi.missed import work
from callkpi.missed.fates import Contact, FateOf, Settlement, fates, outcome_is_missed

Span = tuple[datetime, datetime]


class Was(Protocol):
    """The row of a call as it was before."""

    @property
    def key(self) -> StreamKey: ...
    @property
    def started_at(self) -> datetime: ...
    @property
    def was_missed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Changed:
    """Calls as they are now, the rows that they replace, and the customers whose contacts changed by it."""

    calls: Sequence[Call]
    before: Sequence[Was]
    customers: AbstractSet[tuple[str, str]]  #: tenant and number


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
        [encoding.to_json(work.to_json(states[key])) for key in ordered],
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


async def write_fates(
    connection: asyncpg.Connection, changed: Changed, worked: Mapping[StreamKey, Span], window: timedelta
) -> None:
    """Write what became of missed calls, of the calls that changed and of the items that were *worked* on.

    A call more than *window* away from another decides nothing of it.
    """
    were_missed = {old.key for old in changed.before if old.was_missed}
    gone = were_missed - {
        StreamKey(call.tenant, call.source, call.call_id) for call in changed.calls if is_missed(call)
    }
    if gone:
        await connection.execute(store.query("projector", "delete_missed"), *key_columns(sorted(gone)))
    rows = await _hidden_fates(connection, changed.calls, worked, window)
    rows += await _fates_of(connection, changed, worked, window)
    if rows:
        columns = [list(column) for column in zip(*sorted(rows, key=lambda r: r[:3]), strict=True)]
        await connection.execute(store.query("projector", "write_missed"), *columns)


async def _hidden_fates(
    connection: asyncpg.Connection, calls: Iterable[Call], worked: Iterable[StreamKey], window: timedelta
) -> list[tuple[Any, ...]]:
    """Calls of hidden numbers, each for itself: nothing but a hand can settle it."""
    rows = {item_of_call(call): missed_record(call) for call in calls if is_missed(call) and not call.customer}
    asked = [(key, call) for key in worked if (call := work.hidden_call(key.call_id)) is not None]
    if asked:
        columns = [[key.tenant for key, _ in asked], *([call[n] for _, call in asked] for n in (0, 1))]
        for row in await connection.fetch(store.query("work", "missed_calls_at"), *columns):
            item = work.item_of("", row["source"], row["call_id"])
            rows.setdefault((row["tenant"], item), {**row, "direction": Direction.INBOUND, "answered_at": None})
    settled = await settlements(connection, rows)
    return [fate for item, row in rows.items() for fate in fate_rows([row], window, None, settled[item])]


async def _fates_of(
    connection: asyncpg.Connection, changed: Changed, worked: Mapping[StreamKey, Span], window: timedelta
) -> list[tuple[Any, ...]]:
    customers = changed.customers
    if not customers:
        return []
    times = [call.started_at for call in changed.calls] + [old.started_at for old in changed.before]
    times += [at for span in worked.values() for at in span]
    first, last = min(times) - window, max(times) + window
    known = await connection.fetch(store.query("projector", "customers_missed"), *pairs(customers), first)
    missing = {(call.tenant, call.customer) for call in changed.calls if is_missed(call)} & customers
    concerned = {(row["tenant"], row["customer"]) for row in known} | missing
    if not concerned:
        return []
    rows = await connection.fetch(store.query("projector", "contacts_of"), *pairs(concerned), first, last)
    by_customer: dict[tuple[str, str], list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_customer[row["tenant"], row["customer"]].append(row)
    settled = await settlements(connection, concerned)
    return [
        fate
        for customer, records in by_customer.items()
        for fate in fate_rows(records, window, max(times), settled[customer])
    ]
