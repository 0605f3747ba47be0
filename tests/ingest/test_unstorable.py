"""One event that the database can't hold costs that event; a database that is not well costs none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from callkpi.calls.model import CallEvent, Kind
from callkpi.health import Health
from callkpi.ingest import forgotten
from callkpi.ingest import journal as journal_module
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import Journal, JournalUnavailable, Unstorable, windows_of
from callkpi.ingest.spool import Spool
from callkpi.sources.base import Delivery
from tests.world import TOKENS, World, test_settings

MIB = 1024 * 1024
AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
#: A month whose partition can't be made.
LOST = datetime(2021, 3, 5, tzinfo=UTC)


def event(number: int, at: datetime = AT, source: str = "native") -> CallEvent:
    return CallEvent(
        tenant="acme", source=source, call_id=f"c{number}", kind=Kind.STARTED, at=at, event_id=f"e{number}",
        received_at=AT,
    )  # fmt: skip


@pytest.fixture
async def lost_month(world: World) -> AsyncIterator[None]:
    """A table of the partition's name that is none: what belongs there has no place."""
    await world.pool.execute("CREATE TABLE journal_2021_03 (LIKE journal INCLUDING ALL)")
    yield
    await world.pool.execute("DROP TABLE journal_2021_03")


async def stored(world: World) -> int:
    return int(await world.pool.fetchval("SELECT count(*) FROM journal"))


@pytest.mark.usefixtures("lost_month")
async def test_a_month_that_cannot_be_stored_costs_its_events_and_nobody_else(world: World) -> None:
    good = [asyncio.create_task(world.journal.append([event(n, source=f"s{n % 7}")])) for n in range(200)]
    mixed = asyncio.create_task(world.journal.append([event(1000 + n, LOST if n == 77 else AT) for n in range(500)]))
    alone = asyncio.create_task(world.journal.append([event(2000, LOST)]))
    await asyncio.gather(*good)
    for task, refused in ((mixed, 1), (alone, 1)):
        with pytest.raises(Unstorable) as told:
            await task
        assert told.value.refused == refused
    assert await stored(world) == 200 + 499


@pytest.mark.usefixtures("lost_month")
async def test_what_is_refused_is_kept_as_rejected_and_the_sender_is_told(world: World) -> None:
    told = [{"call_id": f"c{n}", "kind": "started", "at": (LOST if n == 2 else AT).timestamp()} for n in range(5)]
    receipt = await world.send_json("native", *told)
    assert (receipt.events, receipt.rejected) == (4, 1)
    assert "the database refuses 1 of its events: CheckViolationError" in receipt.reason
    assert await stored(world) == 4
    assert json.loads(await world.pool.fetchval("SELECT payload FROM rejected")) == told


@pytest.mark.parametrize("year", [1, 9999])
async def test_the_ends_of_the_calendar_cost_nobody_anything(world: World, year: int) -> None:
    with contextlib.suppress(Unstorable):
        await world.journal.append([event(1), event(2, datetime(year, 12, 31, 23, tzinfo=UTC)), event(3)])
    assert await world.pool.fetchval("SELECT count(*) FROM journal WHERE at = $1", AT) == 2
    await world.pool.execute(f"DROP TABLE IF EXISTS journal_{year:04}_12")


async def test_a_partition_that_was_dropped_is_made_again(world: World) -> None:
    old = datetime(2002, 4, 5, tzinfo=UTC)
    await world.journal.append([event(1, old)])
    await world.pool.execute("DROP TABLE journal_2002_04")
    await world.journal.append([event(2, old), event(3)])
    assert await stored(world) == 2
    await world.pool.execute("DROP TABLE journal_2002_04")


async def test_a_server_that_is_frozen_keeps_nobody_waiting_for_longer_than_it_may(
    dsn: str, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers nothing, not even that a statement was cancelled: the delivery goes to the spool all the same."""
    for module, name in ((journal_module, "APPEND_SECONDS"), (forgotten, "READ_SECONDS")):
        monkeypatch.setattr(module, name, 0.3)
    async with unwell(dsn, tmp_path) as (_, ingest, spool):
        await ingest.take("native", delivery("before"))
        ours = await world.pool.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'unwell'")
        try:
            for row in ours:
                os.kill(row["pid"], signal.SIGSTOP)
            async with asyncio.timeout(10):
                receipt = await ingest.take("native", delivery("meanwhile"))
        finally:
            for row in ours:
                os.kill(row["pid"], signal.SIGCONT)
        assert receipt.events == 1
        assert (await spool.size()).deliveries == 1


def delivery(call_id: str) -> Delivery:
    body = json.dumps({"call_id": call_id, "kind": "started", "at": AT.timestamp()}).encode()
    return Delivery(body, "application/json", TOKENS["native"], AT)


@contextlib.asynccontextmanager
async def unwell(dsn: str, directory: Path, **state: str) -> AsyncIterator[tuple[Journal, Ingest, Spool]]:
    """A journal and a door on connections in some state of the server, with a spool."""
    server = {"search_path": "callkpi", "application_name": "unwell", **state}
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4, server_settings=server) as pool:
        settings, health, spool = test_settings(), Health(), Spool(directory, MIB)
        journal = Journal(pool, health, windows_of(settings))
        writer = asyncio.create_task(journal.run())
        yield journal, Ingest(settings, pool, journal, health, spool), spool
        writer.cancel()
        spool.close()


@pytest.mark.parametrize("state", [{"default_transaction_read_only": "on"}, {"lock_timeout": "50"}])
async def test_a_server_that_refuses_everybody_loses_and_rejects_nothing(
    world: World, dsn: str, tmp_path: Path, state: dict[str, str]
) -> None:
    await world.append([event(0)])
    async with (
        world.pool.acquire() as other,
        unwell(dsn, tmp_path, **state) as (journal, ingest, spool),
        other.transaction(),
    ):
        await other.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(JournalUnavailable):
            await journal.append([event(1)])
        body = json.dumps([{"call_id": "c2", "kind": "started", "at": AT.timestamp()}, 7])
        receipt = await ingest.take("native", Delivery(body.encode(), "application/json", TOKENS["native"], AT))
        assert (receipt.events, receipt.rejected) == (1, 1)
        assert (await spool.size()).deliveries == 1
    again = Spool(tmp_path, MIB)
    assert await again.drain(world.ingest.take_spooled) == 1
    again.close()
    assert await stored(world) == 2
    assert await world.pool.fetchval("SELECT count(*) FROM rejected") == 1


async def test_a_database_that_is_too_slow_for_a_group_gets_smaller_ones(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same again would be too slow again, for ever: a big delivery goes through in the end."""
    monkeypatch.setattr("callkpi.ingest.journal.REST_SECONDS", 0.0)
    monkeypatch.setattr("callkpi.ingest.journal.APPEND_SECONDS", 0.2)
    monkeypatch.setattr("callkpi.ingest.journal.QUICK_SECONDS", 0.0)
    write = world.journal._insert

    async def slow(connection: asyncpg.Connection, rows: list[object], counted: bool) -> dict[str, int]:
        await connection.execute("SELECT pg_sleep($1)", len(rows) / 2000)
        return await write(connection, rows, counted)  # type: ignore[arg-type]

    monkeypatch.setattr(world.journal, "_insert", slow)
    events = [event(n, AT + timedelta(seconds=n)) for n in range(2000)]
    for _ in range(10):
        try:
            await world.journal.append(events)
            break
        except JournalUnavailable:
            await asyncio.sleep(1.1 * 0.2)
    assert await stored(world) == 2000


async def test_sources_take_turns_in_the_journals_groups(world: World) -> None:
    """Who sends much waits behind himself; a single event of another source is in the next group."""
    journal = Journal(world.pool, world.health, {})
    many = [[event(1000 * n + m, source="native") for m in range(1000)] for n in range(20)]
    alone = [[event(n, source="qlog")] for n in range(2)]
    waiting = [asyncio.ensure_future(journal.append(events)) for events in (*many, *alone)]
    await asyncio.sleep(0)
    first = journal._take()
    assert [waiter.rows[0].event.source for waiter in first] == ["native", "qlog", "native", "qlog", "native"]
    for task in waiting:
        task.cancel()
