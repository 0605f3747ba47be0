"""A connection that is kept: over cuts, over the database's restarts, by one holder, and seen by everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callkpi import config
from callkpi.connections import intake as intakes
from callkpi.connections import keeping
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Backoff
from callkpi.database import store
from callkpi.health import Health, Reason
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import Journal
from callkpi.ingest.spool import Spool
from tests.stand_ins.connections import Pbx, kept, until
from tests.world import World, sample


def started(number: int) -> dict[str, str]:
    at = datetime(2026, 11, 24, 8, 0, number, tzinfo=UTC).isoformat()
    return {"event_id": f"e{number}", "call_id": f"c{number}", "kind": "started", "at": at, "direction": "inbound"}


async def test_a_cut_connection_comes_back_and_everybody_sees_how_it_is(world: World, dsn: str) -> None:
    pbx = Pbx()
    port = await pbx.start()

    async def state() -> tuple[bool, str] | None:
        row = await world.pool.fetchrow("SELECT connected, reason FROM connections WHERE source = 'native'")
        return tuple(row) if row else None

    async def journalled() -> int:
        return int(await world.pool.fetchval("SELECT count(*) FROM journal"))

    async with kept(world, dsn, port):
        await until(lambda: _is(state, (True, "")))
        await pbx.say(started(1))
        await until(lambda: _is(journalled, 1))
        pbx.server.close()
        pbx.cut()
        await until(lambda: _is(state, (False, "unreachable")))
        pbx.server = await asyncio.start_server(pbx._serve, "127.0.0.1", port)
        await until(lambda: _is(state, (True, "")))
        await pbx.say(started(2))
        await until(lambda: _is(journalled, 2))
    assert await state() == (False, "stopped")
    page = await world.metrics()
    assert sample(page, "callkpi_source_connects_total", source="native") == 2
    assert sample(page, "callkpi_source_connection_errors_total", source="native", reason="closed") == 1
    assert (sample(page, "callkpi_source_unheard_seconds_total", source="native") or 0) <= 5
    pbx.server.close()


async def _is(ask: Callable[[], Awaitable[object]], expected: object) -> bool:
    return await ask() == expected


async def test_of_two_daemons_one_holds_the_connection_and_the_other_takes_it_over(
    world: World, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "STANDBY_SECONDS", 0.2)
    pbx = Pbx()
    port = await pbx.start()
    async with contextlib.AsyncExitStack() as first:
        await first.enter_async_context(kept(world, dsn, port))
        await until(lambda: _is(_met(pbx), 1))
        async with kept(world, dsn, port):
            await asyncio.sleep(0.7)
            assert pbx.met == 1
            await first.aclose()
            await until(lambda: _is(_met(pbx), 2))
    pbx.server.close()


def _met(pbx: Pbx) -> Callable[[], Awaitable[int]]:
    async def ask() -> int:
        return pbx.met

    return ask


async def test_the_connection_is_kept_while_the_lock_is_lost(world: World, dsn: str) -> None:
    """A restart of PostgreSQL ends the session of the lock; what the PBX says meanwhile is not lost by it."""
    pbx = Pbx()
    port = await pbx.start()
    async with kept(world, dsn, port) as intake:
        await until(lambda: _is(_met(pbx), 1))
        for number in range(1, 6):
            await world.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'callkpi-connector-lock'"
            )
            await pbx.say(started(number))
            await asyncio.sleep(0.3)
        await intake.settled()
        assert await world.pool.fetchval("SELECT count(*) FROM journal") == 5
        assert pbx.met == 1
    pbx.server.close()


async def test_what_comes_while_the_database_is_away_waits_in_the_spool(world: World, tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    away = await store.create_pool("postgresql://nobody@127.0.0.1:1/nothing", role="test", lazy=True)
    health = Health()
    journal = Journal(away, health, {})
    ingest = Ingest(world.settings, away, journal, health, spool)
    intake = Intake("native", ingest, spool, health)
    tasks = [asyncio.create_task(journal.run()), asyncio.create_task(intake.run())]
    for number in range(1, 4):
        await intake.put(started(number))
    async with asyncio.timeout(10):
        await intake.settled()
    for task in tasks:
        task.cancel()
    assert (await spool.size()).deliveries >= 1
    assert await spool.drain(world.ingest.take_spooled) >= 1
    assert await world.pool.fetchval("SELECT count(*) FROM journal") == 3
    spool.close()


async def test_with_no_room_left_the_reader_waits_and_what_is_given_up_is_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intakes, "HELD_ITEMS", 5)
    monkeypatch.setattr(intakes, "LAST_SECONDS", 0.2)
    away = await store.create_pool("postgresql://nobody@127.0.0.1:1/nothing", role="test", lazy=True)
    journal = Journal(away, world.health, {})
    intake = Intake("native", Ingest(world.settings, away, journal, world.health), None, world.health)
    tasks = [asyncio.create_task(journal.run()), asyncio.create_task(intake.run())]
    for number in range(1, 6):
        await intake.put(started(number))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await intake.put(started(6))
    for task in reversed(tasks):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    lost = sample(await world.metrics(), "callkpi_source_lost_payloads_total", source="native")
    assert lost == 5


def test_who_is_refused_does_not_knock_at_once_again() -> None:
    backoff = Backoff()
    assert all(backoff.after(Reason.REFUSED, 0) >= 60 for _ in range(20))
    pauses = [Backoff().after(Reason.CLOSED, 0) for _ in range(20)]
    assert max(pauses) <= 0.5 and len(set(pauses)) > 1
    for _ in range(20):
        last = backoff.after(Reason.UNREACHABLE, 0)
    assert 15 <= last <= 30
    assert backoff.after(Reason.CLOSED, 3600) <= 0.5


def test_a_source_of_a_connection_needs_no_token() -> None:
    source = config.Source(kind=config.SourceKind.ASTERISK, ami_address="pbx:5038", ami_user="u", ami_secret="s3cret")
    settings = config.Settings(sources={"pbx": source})
    assert list(settings.connected) == ["pbx"]
    assert "s3cret" in config.secrets_of(settings)
