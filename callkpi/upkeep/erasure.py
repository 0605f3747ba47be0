"""Customers' numbers: one is erased everywhere, or those of old calls are replaced. The figures stay what they were.

A number is replaced by a *pseudonym*: 20 digits that begin with 999, which no country has. Everywhere the same one, so
that calls still belong to one customer, what became of the missed stays true, and a rebuild gives the same tables. The
pseudonym of an erased number is random: nothing leads back. Old numbers get one by a keyed digest, so that customers
can still be counted over months; the key never leaves the database.

What is told again later of a time before the erasure (a portal's statistics, a replay) gets the pseudonym at the door.
What a customer does afterwards is new. Archives of retention, backups and the sources themselves are not reached.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson

from callkpi import config
from callkpi.calls.facts import Fact
from callkpi.calls.model import StreamKey
from callkpi.calls.phone import normalise
from callkpi.calls.pseudonyms import (
    PSEUDONYM,
    NotErasable,
    core,
    digest,
    keyed_pseudonym,
    pattern,
    random_pseudonym,
    scrub,
    sql_pattern,
)
from callkpi.database import encoding, store
from callkpi.ingest.forgotten import _replaced
from callkpi.missed import work
from callkpi.missed.writing import write_work
from callkpi.projection import days, streams
from callkpi.same_call import unions

Progress = Callable[[int, int], None]

_BATCH = 200
#: New calls may come while the old ones are rewritten.
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was found of a number and replaced."""

    pseudonym: str
    calls: int
    events: int
    rejected: int
    ids: int = 0  #: calls whose own id holds the number, as the source made it: an id stays


# -- forms of a number (pure) -----------------------------------------------------------------------------


# -- at the door ------------------------------------------------------------------------------------------


# -- in the store -----------------------------------------------------------------------------------------


async def store_key(pool: asyncpg.Pool) -> bytes:
    """The key of this store, made when it is first wanted."""
    await pool.execute(store.query("privacy", "add_key"), secrets.token_bytes(32))
    return bytes(await pool.fetchval(store.query("privacy", "key")))


async def erase(
    pool: asyncpg.Pool, settings: config.Settings, tenant: str, raw: str, progress: Progress = lambda _d, _t: None
) -> Erasure:
    """Replace a number by a pseudonym wherever it is kept. Raises NotErasable.

    It reads every event and call of the tenant once: minutes on years of history, beside the running daemon.
    """
    number = normalise(raw, settings.tenants[tenant].region)
    national = core(number)
    key = await store_key(pool)
    pseudonym = await pool.fetchval(
        store.query("privacy", "add_erased"), tenant, digest(key, tenant, number), random_pseudonym()
    )
    total = Erasure(pseudonym, 0, 0, await _erase_rejected(pool, tenant, national, pseudonym))
    done: set[_Key] = set()
    for attempt in range(_ROUNDS):
        # What is journalled and not projected yet belongs to no call that could be held: it has a moment.
        await asyncio.sleep(min(attempt, 2))
        found = [key async for key in _keys_with(pool, tenant, number, national, progress)]
        named = {key for key in found if pattern(national).search(key[2])}
        keys = [key for key in found if key not in named or key not in done]
        total = replace(total, ids=len(named))
        if not keys:
            break
        total = replace(total, events=total.events + await _rewrite_work(pool, tenant, number, pseudonym, None))
        others = [key for key in keys if _is_rewritten_by_kind(key)]
        total = replace(
            total, events=total.events + await _rewrite_streams(pool, settings, others, (tenant, number, pseudonym))
        )
        for begin in range(0, len(keys), _BATCH):
            batch = keys[begin : begin + _BATCH]
            calls, events = await _rewrite(pool, batch, {tenant: {number: pseudonym}})
            total = replace(total, calls=total.calls + calls, events=total.events + events)
            if calls or events:
                done.update(batch)
    return total


async def look_for(
    pool: asyncpg.Pool, settings: config.Settings, tenant: str, raw: str, progress: Progress = lambda _d, _t: None
) -> Erasure:
    """What :func:`erase` would find: streams of events and calls, and payloads. Changes nothing."""
    number = normalise(raw, settings.tenants[tenant].region)
    national = core(number)
    keys = [key async for key in _keys_with(pool, tenant, number, national, progress)]
    rows = await _fetch(pool, "members", *_columns(keys)) if keys else []
    calls = {(row["source"], row["root"]) for row in rows}
    named = sum(pattern(national).search(call_id) is not None for _, _, call_id in keys)
    return Erasure("", len(calls), len(keys), await _erase_rejected(pool, tenant, national, ""), named)


_Key = tuple[str, str, str]
#: Where a body holds the ids of its call or of others.
_IDS = frozenset({"call_id", "linked_to", "twins"})


async def _keys_with(
    pool: asyncpg.Pool, tenant: str, number: str, national: str, progress: Progress
) -> AsyncIterator[_Key]:
    """The streams of events and the calls that a number is in."""
    seen: set[_Key] = set()
    months = [
        (table, *month) for table in ("journal", "calls") for month in await _months(pool, table)
    ]  # fmt: skip
    for done, (table, begin, end) in enumerate(months, 1):
        if table == "journal":
            rows = await _fetch(pool, "events_with", tenant, begin, end, sql_pattern(national))
        else:
            rows = await _fetch(pool, "calls_with", tenant, begin, end, number, sql_pattern(national))
        progress(done, len(months))
        for row in rows:
            key = (tenant, row["source"], row["call_id"])
            if key not in seen:
                seen.add(key)
                yield key
    others = await _fetch(pool, "sides_with", tenant, number, sql_pattern(national))
    for row in [*others, *await _fetch(pool, "missed_with", tenant, number)]:
        if (key := (tenant, row["source"], row["call_id"])) not in seen:
            seen.add(key)
            yield key


async def _fetch(pool: asyncpg.Pool, name: str, *arguments: Any) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await pool.fetch(store.query("privacy", name), *arguments, timeout=3600)
    return rows


async def _months(pool: asyncpg.Pool, table: str) -> list[tuple[datetime, datetime]]:
    names = await pool.fetch(store.query("retention", "partitions"), table)
    return [month_of(row["name"]) for row in names]


def month_of(partition: str) -> tuple[datetime, datetime]:
    """The span of a table's month by the name of its partition."""
    begin = datetime.strptime(partition[-7:] + "_01 +0000", "%Y_%m_%d %z")
    return begin, (begin + timedelta(days=32)).replace(day=1)


async def _rewrite(
    pool: asyncpg.Pool, keys: Sequence[_Key], pseudonyms: Mapping[str, Mapping[str, str]]
) -> tuple[int, int]:
    """Put pseudonyms into some calls: their events, their rows, their missed customers. Returns calls and events.

    *pseudonyms*: by tenant and normalised number. The calls and then the customers are locked as the projector does it.
    """
    forms = {
        tenant: [(core(number), pseudonym) for number, pseudonym in known.items()]
        for tenant, known in pseudonyms.items()
    }
    people = sorted((tenant, value) for tenant, known in pseudonyms.items() for pair in known.items() for value in pair)
    async with pool.acquire() as connection, connection.transaction():
        known_days = await days.hold(connection, ())
        rows = await _locked(connection, keys)
        if not rows:
            return 0, 0
        await unions.lock(connection, pseudonyms)
        await connection.execute(store.query("projector", "lock_customers"), *map(list, zip(*people, strict=True)))
        columns = _columns([_key(row) for row in rows])
        first, last = min(row["first_at"] for row in rows), max(row["last_at"] for row in rows)
        told = await connection.fetch(store.query("projector", "events_of"), *columns, first, last, None)
        events = _changed(told, forms)
        if events:
            await connection.execute(
                store.query("privacy", "rewrite_events"), *_columns([_key(row) for row, _ in events]),
                [row["at"] for row, _ in events], [row["event_id"] for row, _ in events], [new for _, new in events],
            )  # fmt: skip
        starts = [row["started_at"] for row in rows if row["started_at"] is not None]
        calls: list[tuple[asyncpg.Record, str]] = []
        if starts:
            span = (min(starts), max(starts))
            calls = _changed(await connection.fetch(store.query("privacy", "bodies_of"), *columns, *span), forms)
        if calls:
            await connection.execute(
                store.query("privacy", "rewrite_calls"), *_columns([_key(row) for row, _ in calls]),
                [row["started_at"] for row, _ in calls],
                [pseudonyms[row["tenant"]].get(row["customer"], row["customer"]) for row, _ in calls],
                [new for _, new in calls],
            )  # fmt: skip
            await _move_days(connection, known_days, [_moved(row, new) for row, new in calls])
        sides = _changed(await connection.fetch(store.query("privacy", "side_bodies_of"), *columns), forms)
        if sides:
            await connection.execute(
                store.query("privacy", "rewrite_sides"), *_columns([_key(row) for row, _ in sides]),
                [pseudonyms[row["tenant"]].get(row["number"], row["number"]) for row, _ in sides],
                [new for _, new in sides],
            )  # fmt: skip
        numbers = [(tenant, number, new) for tenant, known in pseudonyms.items() for number, new in known.items()]
        await connection.execute(store.query("privacy", "rewrite_missed"), *columns, *_columns(numbers))
        return len(calls), len(events)


async def _locked(connection: asyncpg.Connection, keys: Sequence[_Key]) -> list[asyncpg.Record]:
    """The rows of these calls and of all that they are one with, locked in key order."""
    wanted: set[_Key] = set(keys)
    while True:
        rows = await connection.fetch(store.query("privacy", "members"), *_columns(sorted(wanted)))
        whole = {_key(row) for row in rows} | {(row["tenant"], row["source"], row["root"]) for row in rows}
        if whole <= wanted:
            break
        wanted |= whole
    await connection.fetch(store.query("privacy", "lock"), *_columns([_key(row) for row in rows]))
    return list(rows)


def _is_rewritten_by_kind(key: _Key) -> bool:
    """Calls and the work on missed customers are rewritten by functions of their own."""
    kind = streams.kind_of(StreamKey(*key))
    return kind.holds_customers and kind not in (streams.CALLS, streams.WORK)


async def _rewrite_streams(
    pool: asyncpg.Pool, settings: config.Settings, keys: Sequence[_Key], renamed: tuple[str, str, str]
) -> int:
    """Put a pseudonym into events of other streams than calls, and bring their rows up to date. Returns the events."""
    tenant, number, pseudonym = renamed
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("projector", "lock_customers"), [tenant] * 2, [number, pseudonym])
        found = await connection.fetch(store.query("privacy", "events_of_streams"), *_columns(keys))
        events = _changed(found, {tenant: [(core(number), pseudonym)]})
        if not events:
            return 0
        await connection.execute(
            store.query("privacy", "rewrite_events"), *_columns([_key(row) for row, _ in events]),
            [row["at"] for row, _ in events], [row["event_id"] for row, _ in events], [new for _, new in events],
        )  # fmt: skip
        times: dict[StreamKey, list[datetime]] = defaultdict(list)
        for row in found:
            times[StreamKey(*_key(row))].append(row["at"])
        for kind, mine in streams.by_kind({key: (min(told), max(told)) for key, told in times.items()}).items():
            if mine:
                await kind.write(connection, settings, mine)
        return len(events)


async def _rewrite_work(pool: asyncpg.Pool, tenant: str, number: str, pseudonym: str, before: datetime | None) -> int:
    """Put a pseudonym into what people did and noted about missed customers, before a time or ever."""
    national, end = core(number), before or datetime(2200, 1, 1, tzinfo=UTC)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("projector", "lock_customers"), [tenant] * 2, [number, pseudonym])
        found = await connection.fetch(
            store.query("work", "events_with"), tenant, work.SOURCE, sql_pattern(national), end
        )
        events = _changed(found, {tenant: [(national, pseudonym)]})
        if not events:
            return 0
        await connection.execute(
            store.query("privacy", "rewrite_events"), *_columns([_key(row) for row, _ in events]),
            [row["at"] for row, _ in events], [row["event_id"] for row, _ in events], [new for _, new in events],
        )  # fmt: skip
        await connection.execute(store.query("work", "rename_item"), tenant, work.SOURCE, number, pseudonym, end)
        await connection.execute(store.query("work", "delete_item"), tenant, number)
        await connection.execute(store.query("work", "delete_answers"))
        streams = {StreamKey(*_key(row)) for row, _ in events} | {StreamKey(tenant, work.SOURCE, pseudonym)}
        await write_work(connection, streams)
        return len(events)


async def _move_days(
    connection: asyncpg.Connection, known: Mapping[str, days.Span], moves: Sequence[days.Change]
) -> None:
    """Count calls under the new value of a custom field that held their number, and forget the old value."""
    gone = set()
    for move in moves:
        fields = known[move.tenant].fields if move.tenant in known else ()
        ((old, _), *_), (new, _) = move.before, move.after
        gone |= {(move.tenant, old.value(field)) for field in fields if old.value(field) != new.value(field)}
    if gone:
        await days.add(connection, known, moves)
        tenants, values = map(list, zip(*sorted(gone), strict=True))
        await connection.execute(store.query("privacy", "forget_values"), tenants, values)


def _moved(row: asyncpg.Record, new: str) -> days.Change:
    """What a call adds to the days where a custom field held its number: the same, under another value."""
    facts = [Fact.from_json(fact) for fact in orjson.loads(row["facts"])]
    before, after = (
        days.Told(row["source"], body["fields"], body["crm"]) for body in map(orjson.loads, (row["body"], new))
    )
    return days.Change(row["tenant"], [(before, facts)], (after, facts), ((), ()))


def _changed(
    rows: Sequence[asyncpg.Record], forms: Mapping[str, Sequence[tuple[str, str]]]
) -> list[tuple[asyncpg.Record, str]]:
    """The rows whose bodies hold a number, and the bodies without it. Ids stay: by them things find each other."""
    result = []
    for row in rows:
        body = orjson.loads(row["body"])
        told = forms[row["tenant"]]
        new = {name: item if name in _IDS else _replaced(item, told) for name, item in body.items()}
        if new != body:
            result.append((row, encoding.to_json(new)))
    return result


async def _erase_rejected(pool: asyncpg.Pool, tenant: str, national: str, pseudonym: str) -> int:
    changed, last = 0, 0
    while rows := await _fetch(pool, "rejected_page", tenant, last):
        for row in rows:
            last = row["id"]
            # Latin 1 is every byte as it is: digits are the same in whatever encoding was sent.
            text = row["payload"].decode("latin-1")
            if (new := scrub(text, national, pseudonym)) != text:
                changed += 1
                if pseudonym:
                    await pool.execute(store.query("privacy", "rewrite_rejected"), row["id"], new.encode("latin-1"))
    return changed


async def pseudonymise(pool: asyncpg.Pool, begin: datetime, end: datetime) -> int:
    """Replace the customers' numbers of the calls that began in [begin, end). Returns how many calls.

    What is too short to be a telephone number stays.
    """
    key = await store_key(pool)
    done, last = 0, ("", "", "")
    while rows := await _fetch(pool, "old_calls", begin, end, f"^{PSEUDONYM.pattern}$", *last, _BATCH):
        last = _key(rows[-1])
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if _is_searchable(row["customer"]):
                pseudonym = keyed_pseudonym(key, row["tenant"], row["customer"])
                found.setdefault(row["tenant"], {})[row["customer"]] = pseudonym
        keys = [_key(row) for row in rows if row["customer"] in found.get(row["tenant"], {})]
        if keys:
            calls, _ = await _rewrite(pool, keys, found)
            done += calls
            for tenant, known in found.items():
                for number, pseudonym in known.items():
                    await _rewrite_work(pool, tenant, number, pseudonym, end)
    return done


def _is_searchable(number: str) -> bool:
    try:
        return bool(core(number))
    except NotErasable:
        return False


def _key(row: Mapping[str, Any]) -> _Key:
    return row["tenant"], row["source"], row["call_id"]


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], []]
