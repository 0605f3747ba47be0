"""Sums by quarter of an hour, and the counters of Prometheus: what a batch adds to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import orjson

from callkpi.calls import counters
from callkpi.calls.facts import INTERVAL, Fact, Key, Row
from callkpi.calls.model import AGENT_STREAM, StreamKey, agent_key
from callkpi.database import encoding, store
from callkpi.projection.rows import After, dense


async def add(connection: asyncpg.Connection, after: Sequence[After]) -> None:
    """Add to the rollups what these calls change of them."""
    totals: dict[tuple[str, Key], Row] = defaultdict(Row)
    for item in after:
        for sign, facts in ((-1, item.changed[0]), (1, item.changed[1])):
            for fact in facts:
                totals[item.call.tenant, fact.bin].add(fact, sign)
    ordered = sorted(totals.items())
    changes = [
        {"tenant": tenant, **key._asdict(), **row.to_json()}
        for (tenant, key), row in ordered
        if not row.is_empty or row.longest_wait_ms
    ]
    emptied = await _add_differences(connection, changes)
    for (tenant, key), row in ordered:
        if row.lost_wait_ms > row.longest_wait_ms and (tenant, *key) not in emptied:
            await _lower_longest_wait(connection, tenant, key)


async def _add_differences(
    connection: asyncpg.Connection, changes: Sequence[Mapping[str, Any]]
) -> set[tuple[Any, ...]]:
    """Add the differences, and remove the rows that count nothing after them: of calls that were open, and of a
    portal's users and lines that counted until its PBX was seen behind them. Returns the keys of those rows."""
    if not changes:
        return set()
    rows = await connection.fetch(store.query("projector", "add_rollups"), encoding.to_json(changes))
    return await store.remove_emptied(connection, store.query("projector", "remove_emptied"), rows)


async def _lower_longest_wait(connection: asyncpg.Connection, tenant: str, key: Key) -> None:
    """A correction took a wait away that may have been the longest: find the longest that is left."""
    rows = await connection.fetch(store.query("projector", "facts_near"), tenant, key.at, key.at + INTERVAL)
    found = (Fact.from_json(orjson.loads(row["fact"])) for row in rows)
    longest = max((f.longest_wait_ms for f in found if f.bin == key), default=0)
    await connection.execute(store.query("projector", "set_longest_wait"), tenant, *key[:1], key.at, *key[2:], longest)


# -- counters ---------------------------------------------------------------------------------------------


def grown(after: Iterable[After], united: Mapping[tuple[str, counters.Series], int]) -> list[dict[str, Any]]:
    """What the counters of Prometheus grow by, as rows: *united* and what changed of calls that are counted."""
    totals: dict[tuple[str, counters.Series], list[Any]] = {place: [count, {}] for place, count in united.items()}
    for item in after:
        growth = counters.growth(*item.changed) if item.counted else {}
        for series, (value, buckets) in growth.items():
            total = totals.setdefault((item.call.tenant, series), [0, {}])
            total[0] += value
            for index, count in buckets.items():
                total[1][index] = total[1].get(index, 0) + count
    return [
        {"tenant": tenant, **series._asdict(), "value": value, "buckets": dense(buckets)}
        for (tenant, series), (value, buckets) in sorted(totals.items())
    ]


async def count(connection: asyncpg.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to the counters what :func:`grown` says."""
    if rows:
        await connection.execute(store.query("projector", "add_counters"), encoding.to_json(rows))


def names_of(after: Iterable[After], agents: Iterable[StreamKey]) -> set[tuple[str, str, str]]:
    """Queues, agents and lines that occur: tenant, kind, name."""
    names: set[tuple[str, str, str]] = set()
    for item in after:
        for fact in item.changed[1]:
            named = (("queue", fact.key.queue), ("agent", fact.key.agent), ("line", fact.key.line))
            names.update((item.call.tenant, kind, name) for kind, name in named if name)
    for key in agents:
        names.add((key.tenant, "agent", agent_key(key.source, key.call_id.removeprefix(AGENT_STREAM))))
    return names
