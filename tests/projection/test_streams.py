"""A kind of stream is registered in one place: it is projected, rebuilt, checked, erased and forgotten by that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from callkpi import config
from callkpi.calls.model import CallEvent, Kind, StreamKey
from callkpi.projection import streams
from callkpi.projection.batch import Projector
from callkpi.upkeep import erasure, retention
from callkpi.upkeep.rebuilding import refold
from tests.world import World

BEGIN = datetime(2026, 11, 24, 9, tzinfo=UTC)
NUMBER = "+77011234567"
HEARD = """
    SELECT count(*), max(body ->> 'customer') FROM journal WHERE (tenant, source, call_id) = ($1, $2, $3)
"""


class Toys(streams.StreamKind):
    """Counts the events of each toy, and keeps whose it is."""

    name, holds_customers = "toy", True

    def owns(self, key: StreamKey) -> bool:
        return key.call_id.startswith("toy:")

    def people(self, streams: Iterable[StreamKey]) -> set[tuple[str, str]]:
        return {(key.tenant, key.call_id) for key in streams}

    async def write(self, connection: asyncpg.Connection, settings: config.Settings, streams: streams.Streams) -> None:
        for key in streams:
            row = await connection.fetchrow(HEARD, *key)
            await connection.execute("DELETE FROM toys WHERE name = $1", key.call_id)
            await connection.execute("INSERT INTO toys VALUES ($1, $2, $3, $4)", key.call_id, *row, streams[key][1])

    async def clear(self, connection: asyncpg.Connection, since: datetime | None) -> None:
        await connection.execute("DELETE FROM toys WHERE $1::timestamptz IS NULL OR last_at >= $1", since)

    async def check(
        self, connection: asyncpg.Connection, settings: config.Settings, since: datetime | None
    ) -> list[str]:
        rows = await connection.fetch("SELECT name, heard FROM toys ORDER BY name")
        journal = {
            row["call_id"]: row["count"]
            for row in await connection.fetch(
                "SELECT call_id, count(*) FROM journal WHERE call_id LIKE 'toy:%' GROUP BY call_id"
            )
        }
        return [f"toy {row['name']}: is wrong" for row in rows if row["heard"] != journal.get(row["name"])]

    async def forget(self, connection: asyncpg.Connection, before: datetime) -> None:
        await connection.execute("DELETE FROM toys WHERE last_at < $1", before)


@pytest.fixture
async def toys(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(streams, "KINDS", (Toys(), *streams.KINDS))
    await world.pool.execute("CREATE TABLE callkpi.toys (name text, heard bigint, customer text, last_at timestamptz)")
    try:
        yield world
    finally:
        await world.pool.execute("DROP TABLE callkpi.toys")


def told(name: str, minute: int) -> CallEvent:
    at = BEGIN + timedelta(minutes=minute)
    return CallEvent(
        tenant="acme", source="native", call_id=f"toy:{name}", kind=Kind.SIGNAL, at=at, event_id=f"{name}-{minute}",
        received_at=at, customer=NUMBER,
    )  # fmt: skip


async def kept(world: World) -> dict[str, tuple[int, str]]:
    rows = await world.pool.fetch("SELECT name, heard, customer FROM toys")
    return {row["name"].removeprefix("toy:"): (row["heard"], row["customer"]) for row in rows}


async def heard(world: World) -> None:
    await world.append([told("bear", 0), told("bear", 1), told("car", 0)])
    await world.project()


async def test_it_is_projected_and_is_no_call(toys: World) -> None:
    await heard(toys)
    assert await kept(toys) == {"bear": (2, NUMBER), "car": (1, NUMBER)}
    assert await toys.pool.fetchval("SELECT count(*) FROM calls") == 0
    assert await toys.findings() == []


async def test_the_doctor_checks_it(toys: World) -> None:
    await heard(toys)
    await toys.pool.execute("UPDATE toys SET heard = 7 WHERE name = 'toy:car'")
    assert await toys.findings() == ["toy toy:car: is wrong"]


async def test_a_rebuild_gives_it_again(toys: World) -> None:
    await heard(toys)
    await toys.pool.execute("UPDATE toys SET heard = 7; INSERT INTO toys VALUES ('toy:ghost', 1, '', now())")
    await refold(toys.pool, Projector(toys.pool, toys.settings, toys.health), lambda _done, _total: None)
    assert await kept(toys) == {"bear": (2, NUMBER), "car": (1, NUMBER)}


async def test_erasure_replaces_the_customer(toys: World) -> None:
    await heard(toys)
    erased = await erasure.erase(toys.pool, toys.settings, "acme", NUMBER)
    assert await kept(toys) == {"bear": (2, erased.pseudonym), "car": (1, erased.pseudonym)}
    assert erased.events == 3
    assert await toys.pool.fetchval("SELECT count(*) FROM journal WHERE body::text LIKE '%77011234567%'") == 0
    assert await toys.findings() == []


async def test_retention_forgets_it(toys: World) -> None:
    await heard(toys)
    later = BEGIN + timedelta(days=365)
    await retention.enforce(toys.pool, config.Retention(journal_months=3), later, timedelta())
    assert await kept(toys) == {}
