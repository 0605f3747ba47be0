"""Waits of callers by the time at which they began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from callkpi.calls.facts import Fact, waits
from callkpi.calls.model import StreamKey
from callkpi.database import store
from callkpi.projection.rows import After


async def write_waits(connection: asyncpg.Connection, after: Sequence[After]) -> None:
    """When callers waited, as far as it is new or no longer so."""
    gone: set[tuple[Any, ...]] = set()
    come: dict[tuple[Any, ...], int | None] = {}
    for item in after:
        if not item.changed[0] and not item.changed[1]:
            continue
        old = {place: wait for before in item.before for place, wait in _waits(before.key, before.facts).items()}
        new = _waits(item.key, item.facts)
        gone |= old.keys() - new.keys()
        come |= {place: wait for place, wait in new.items() if place not in old or old[place] != wait}
    if gone - come.keys():
        columns = zip(*sorted(gone - come.keys()), strict=True)
        await connection.execute(store.query("projector", "delete_waits"), *map(list, columns))
    if come:
        rows = sorted((*place, wait) for place, wait in come.items())
        await connection.execute(store.query("projector", "write_waits"), *map(list, zip(*rows, strict=True)))


def _waits(call: StreamKey, facts: Iterable[Fact]) -> dict[tuple[Any, ...], int | None]:
    return {(call.tenant, at, call.source, call.call_id, queue): wait for (at, queue), wait in waits(facts).items()}
