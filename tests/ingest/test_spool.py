"""While PostgreSQL is away webhooks are still taken: kept on local disk, bounded, and journalled when it is back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callkpi import config
from callkpi.daemon import processes as daemon_module
from callkpi.database import embedded
from callkpi.ingest.spool import Spool, Spooled, SpoolFull
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context, Parsed
from tests.stand_ins.daemon import CONFIG, Daemon, daemon
from tests.stand_ins.running import doctor, projected, rows
from tests.stand_ins.spooling import AT, event, item, kill_postgres, metric, send, spool_is_empty, until
from tests.stand_ins.truth import BEGIN
from tests.world import World

MIB = 1024 * 1024


async def drained(spool: Spool) -> list[str]:
    taken: list[str] = []

    async def take(one: Spooled) -> bool:
        taken.append(one.body.decode())
        return True

    await spool.drain(take)
    return taken


async def test_what_was_put_comes_out_once_and_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10 * MIB)
    await asyncio.gather(*(spool.put(item(f"{number:04}")) for number in range(500)))
    assert (await spool.size()).deliveries == 500
    assert await drained(spool) == [f"{number:04}" for number in range(500)]
    assert await drained(spool) == []
    spool.close()


async def test_it_outlives_the_process_with_its_facts(tmp_path: Path) -> None:
    first = Spool(tmp_path, 10 * MIB)
    await first.put(item("kept"))
    # Not closed: as after kill -9.
    second = Spool(tmp_path, 10 * MIB)
    found: list[Spooled] = []

    async def look(one: Spooled) -> bool:
        found.append(one)
        return False

    assert await second.drain(look) == 0
    assert [(one.source, one.media_type, one.received_at, one.body) for one in found] == [
        ("native", "application/json", AT, b"kept")
    ]
    assert (await second.size()).deliveries == 1
    assert (tmp_path / "spool.sqlite3").stat().st_mode & 0o077 == 0


async def test_the_journal_fails_again_in_the_middle_and_only_what_it_has_is_forgotten(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10 * MIB)
    for number in range(5):
        await spool.put(item(str(number)))

    async def fail(one: Spooled) -> bool:
        if one.body == b"3":
            raise ConnectionError
        return True

    with pytest.raises(ConnectionError):
        await spool.drain(fail)
    assert await drained(spool) == ["3"]


async def test_a_full_spool_refuses_and_takes_again_when_it_was_drained(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB)
    with pytest.raises(SpoolFull):
        for _ in range(100):
            await spool.put(item("x" * 50_000))
    assert 10 < (await spool.size()).deliveries < 25
    await drained(spool)
    await spool.put(item("y"))
    assert await drained(spool) == ["y"]


async def test_one_delivery_that_breaks_its_parser_holds_up_nobody(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is kept as rejected, with its reason, and the ones behind it reach the journal."""
    native = SOURCE_TYPES[config.SourceKind.NATIVE]
    parse = native.parse

    def broken(payload: Any, context: Context) -> Parsed:
        if payload[0]["call_id"] == "c1":
            raise RuntimeError("a fault of ours")
        return parse(payload, context)

    monkeypatch.setattr(native, "parse", broken)
    spool = Spool(tmp_path, MIB)
    for number in range(3):
        await spool.put(item(event(number)))
    assert await spool.drain(world.ingest.take_spooled) == 3
    await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 2
    reasons = await world.pool.fetch("SELECT reason FROM rejected")
    assert [row["reason"] for row in reasons] == ["unforeseen: RuntimeError; the daemon's log says more"]
    spool.close()


async def test_postgres_is_killed_under_traffic_and_every_webhook_is_taken(data_dir: Path) -> None:
    """The daemon starts PostgreSQL again; meanwhile every delivery is acknowledged; not one is missing or double."""
    async with daemon(data_dir / "postgres-killed") as target:
        statuses: list[int] = []
        async with aiohttp.ClientSession() as session:
            for number in range(300):
                if number in (60, 180):
                    kill_postgres(target)
                statuses.append(await send(session, target, number))
                await asyncio.sleep(0.01)
        assert set(statuses) == {200}
        await until(lambda: spool_is_empty(target))
        await projected(target)
        assert (await rows(target, "direction"))["inbound"]["offered"] == 300
        await until(lambda: all_that_was_spooled_was_drained(target))
        assert doctor(target) == "Rollups equal calls, calls equal the journal."


def test_a_server_that_ends_while_it_is_looked_at_is_not_running(tmp_path: Path) -> None:
    """The daemon looks twice a second, and died of a look in the very moment in which PostgreSQL was killed."""
    for _ in range(100):
        process = subprocess.Popen(["sleep", "0.005"])
        (tmp_path / "postmaster.pid").write_text(f"{process.pid}\n")
        ending = threading.Thread(target=process.wait)
        ending.start()
        while ending.is_alive():
            assert not embedded.is_running(tmp_path)
        ending.join()


async def all_that_was_spooled_was_drained(target: Daemon) -> bool:
    put = await metric(target, "callkpi_spool_put_total")
    return 0 < put == await metric(target, "callkpi_spool_drained_total")


@contextlib.asynccontextmanager
async def without_database(directory: Path, config: str = CONFIG) -> AsyncIterator[tuple[Daemon, Path]]:
    """A daemon whose PostgreSQL does not run yet, and the directory in which to start it."""
    elsewhere = directory.with_name(f"{directory.name}-database")
    elsewhere.mkdir(mode=0o755)
    target = Daemon(directory, config=config)
    target.extra = {"CALLKPI_DATABASE_URL": embedded.dsn(elsewhere)}
    await target.start(ready=False)
    try:
        async with aiohttp.ClientSession() as session:
            await until(lambda: answers(session, target))
        yield target, elsewhere
    finally:
        target.stop()


async def answers(session: aiohttp.ClientSession, target: Daemon) -> bool:
    async with session.get(f"{target.url}/healthz") as answer:
        return answer.status == 200


async def test_the_doors_open_before_the_database_is_there(data_dir: Path) -> None:
    async with without_database(data_dir / "early") as (target, elsewhere):
        async with aiohttp.ClientSession() as session:
            assert [await send(session, target, number) for number in range(20)] == [200] * 20
            async with session.get(f"{target.url}/readyz") as answer:
                assert answer.status == 503
        server = await asyncio.to_thread(embedded.start, elsewhere)
        try:
            await target.ready()
            await until(lambda: spool_is_empty(target))
            await projected(target)
            assert (await rows(target, "direction"))["inbound"]["offered"] == 20
        finally:
            assert target.stop() == 0
            server.stop()


async def test_a_daemon_that_keeps_a_spool_does_not_give_the_database_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would refuse webhooks between two starts; without a spool it says what is wrong and ends."""
    monkeypatch.setattr(daemon_module, "DATABASE_WAIT_SECONDS", 0.1)
    nowhere = "postgresql://callkpi@127.0.0.1:1/callkpi"
    with pytest.raises(daemon_module.Failed, match=r"check database\.url"):
        await daemon_module.prepare(nowhere)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(daemon_module.prepare(nowhere, gives_up=False), 3)


async def test_a_full_spool_says_so_with_503(data_dir: Path) -> None:
    async with without_database(data_dir / "full", CONFIG + "\n[spool]\nlimit_mib = 1\n") as (target, _):
        big = json.dumps({"call_id": "c", "kind": "started", "at": BEGIN.timestamp(), "fields": {"x": "y" * 200}})
        body = "\n".join([big] * 2000)
        headers = {"Authorization": "Bearer native-secret"}
        seen: list[tuple[int, str]] = []
        async with aiohttp.ClientSession() as session:
            for _ in range(8):
                async with session.post(f"{target.url}/hooks/native", data=body, headers=headers) as answer:
                    seen.append((answer.status, answer.headers.get("Retry-After", "")))
        assert seen[0] == (200, "")
        assert seen[-1] == (503, "2")


async def test_no_secret_is_kept_in_the_spool(data_dir: Path) -> None:
    ts = str(int((datetime.now(UTC) - timedelta(hours=1)).timestamp()))
    form = {
        "event": "ONVOXIMPLANTCALLSTART", "data[CALL_ID]": "c", "data[USER_ID]": "5",
        "ts": ts, "auth[application_token]": "portal-secret",
    }  # fmt: skip
    async with without_database(data_dir / "secret") as (target, _):
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{target.url}/hooks/portal", data=form) as answer:
                assert answer.status == 200
            wrong = {**form, "auth[application_token]": "guess"}
            async with session.post(f"{target.url}/hooks/portal", data=wrong) as answer:
                assert answer.status == 403
        files = [path.read_bytes() for path in (target.directory / "data").glob("spool.sqlite3*")]
        assert any(b"ONVOXIMPLANTCALLSTART" in content for content in files)
        assert not any(b"portal-secret" in content or b"guess" in content for content in files)
