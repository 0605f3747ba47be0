"""A rebuild works alone, projectors beside each other; an older callkpi that worked on a newer database is noticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import asyncpg
import orjson
import pytest

from callkpi import config
from callkpi.commands import database, doctor
from callkpi.commands import rebuild as commands_rebuild
from callkpi.daemon.processes import Failed, prepare
from callkpi.database import migrations, store
from callkpi.metrics.exporter import Exporter
from callkpi.projection import batch
from callkpi.projection import duty as rebuilding
from callkpi.upkeep.rebuilding import refold
from callkpi.web.probes import Probes
from tests.stand_ins.command_line import callkpi, say
from tests.stand_ins.daemon import daemon
from tests.stand_ins.spooling import send
from tests.world import World

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def of(dsn: str, settings: config.Settings | None = None) -> config.Settings:
    base = settings or config.Settings()
    return config.Settings(
        database=config.Database(url=dsn), tenants=base.tenants, sources=base.sources, spool=config.Spool(limit_mib=0)
    )


async def rebuild(dsn: str, settings: config.Settings) -> int:
    return await commands_rebuild.rebuild(of(dsn, settings), lambda done, total: None)


async def test_beside_a_running_daemon_a_rebuild_refuses_with_the_reason(data_dir: Path) -> None:
    async with daemon(data_dir / "rebuilt") as target:
        async with aiohttp.ClientSession() as session:
            assert await send(session, target, 0) == 200
        refused = callkpi("rebuild", target=target)
        assert refused.returncode == 2
        assert refused.stderr == (
            "callkpi: a daemon, or another command, computes calls of this database; stop it first\n"
        )
        assert target.stop() == 0
        assert callkpi("rebuild", target=target).returncode == 0


@contextlib.asynccontextmanager
async def rebuilding_elsewhere(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    other = await store.connect(dsn, role="test")
    assert await other.fetchval(store.query("projection", "try_alone"))
    try:
        yield other
    finally:
        await other.close()


async def test_a_projector_that_starts_during_a_rebuild_waits_for_its_end(
    world: World, dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.send_json("native", say("queued", AT, queue="sales"))
    async with rebuilding_elsewhere(dsn):
        working = asyncio.create_task(batch.run(of(dsn, world.settings), dsn))
        await asyncio.sleep(1)
        assert await world.pool.fetchval("SELECT count(*) FROM calls") == 0
        assert not working.done()
        assert "'callkpi rebuild' works on this database" in capsys.readouterr().out
        with pytest.raises(Failed, match="stop it first"):
            await rebuild(dsn, world.settings)
    async with asyncio.timeout(20):
        while not await world.pool.fetchval("SELECT count(*) FROM calls"):
            await asyncio.sleep(0.05)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def test_a_projector_whose_lock_is_lost_takes_it_again_before_it_goes_on(
    world: World, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuilding, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(rebuilding, "LOOK_SECONDS", 0.05)
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.Event().wait()

    holders = "SELECT pid FROM pg_stat_activity WHERE application_name = 'callkpi-projector-lock'"
    working = asyncio.create_task(rebuilding.beside(dsn, work))
    async with asyncio.timeout(20):
        while begun < 3:
            if begun:
                await world.pool.execute(f"SELECT pg_terminate_backend(pid) FROM ({holders}) AS held")
            await asyncio.sleep(0.05)
    assert not working.done()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def test_history_that_is_read_during_a_rebuild_is_left_to_it(world: World, dsn: str) -> None:
    await world.send_json("native", say("queued", AT, queue="sales"))
    async with rebuilding_elsewhere(dsn):
        await rebuilding.drained(world.pool, world.projector.drain)
        assert await world.pool.fetchval("SELECT count(*) FROM calls") == 0
    await rebuilding.drained(world.pool, world.projector.drain)
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 1
    assert await rebuild(dsn, world.settings) == 1


# -- versions ----------------------------------------------------------------------------------------------


async def test_an_older_version_does_not_start_on_a_database_of_a_newer_one(
    world: World, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = (
        "INSERT INTO public._pogo_migration (migration_hash, migration_id, applied, schema_name) "
        "VALUES ('x', '29991231_01_future', now(), 'callkpi')"
    )
    await world.pool.execute(add)
    try:
        for start in (prepare(dsn), database.migrate(of(dsn)), rebuild(dsn, world.settings)):
            with pytest.raises(Failed, match=r"does not know 29991231_01_future; start the newer"):
                await start
    finally:
        await world.pool.execute("DELETE FROM public._pogo_migration WHERE migration_id = '29991231_01_future'")
    await prepare(dsn)


async def doubts_of_readyz(world: World) -> list[str]:
    answer = await Probes(world.pool, Exporter(world.pool, world.settings), world.settings).readyz(None)  # type: ignore[arg-type]
    assert isinstance(answer.text, str)
    told: list[str] = orjson.loads(answer.text)["doubts"]
    return told


@pytest.mark.parametrize("knows", ["", "20261126_03_reading"])
async def test_calls_that_an_older_version_computed_are_noticed_until_a_rebuild(
    world: World, dsn: str, knows: str
) -> None:
    """A version from before this was kept says nothing of what it knows, a later one what it knew."""
    await migrations.apply(dsn)
    await world.send_json("native", say("queued", AT, queue="sales"))
    await world.project()
    assert await doubts_of_readyz(world) == []
    said = {"callkpi.knows": knows} if knows else {}
    older = await asyncpg.connect(dsn, server_settings={"search_path": "callkpi", **said})
    await older.execute("UPDATE calls SET last_event_at = last_event_at")
    await older.close()
    (doubt,) = await doubts_of_readyz(world)
    assert "an older callkpi computed calls from " in doubt and doubt.endswith("run 'callkpi rebuild'")
    assert doubt in await doctor.doctor(of(dsn, world.settings), lambda done, total: None)
    assert await rebuild(dsn, world.settings) == 1
    assert await doubts_of_readyz(world) == []


async def test_a_rebuild_that_was_cut_off_is_told_until_one_comes_to_its_end(
    world: World, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await migrations.apply(dsn)
    await world.send_json("native", say("queued", AT, queue="sales"))
    await world.project()

    async def dies(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(batch.Projector, "project_batch", dies)
        patch.setattr(batch.Projector, "drain", lambda _self: asyncio.sleep(0))
        with pytest.raises(KeyboardInterrupt):
            await refold(world.pool, batch.Projector(world.pool, world.settings, world.health), print)
    (doubt,) = await doubts_of_readyz(world)
    assert "has not come to its end, figures are missing" in doubt
    await rebuild(dsn, world.settings)
    assert await doubts_of_readyz(world) == []
