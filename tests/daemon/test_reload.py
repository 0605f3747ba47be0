"""A changed configuration is taken by the daemon that runs, whole or not at all, and no delivery is lost for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from callkpi import config
from callkpi.daemon import reloading
from callkpi.daemon.reloading import Outcome, changed_keys, taken_now
from tests.stand_ins.daemon import CONFIG, Daemon, children_of, daemon

NEW = "the-new-token-of-native"
WRONG = CONFIG.replace('kind = "native"', 'kind = "natvie"')


@pytest.fixture(scope="module")
async def running(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "reload", processes=2) as started:
        yield started


async def reload(running: Daemon, text: str) -> subprocess.CompletedProcess[str]:
    running.config.write_text(text)
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "callkpi", "reload"], env=running.environment, capture_output=True,
        text=True, check=False, timeout=120, cwd="/",
    )  # fmt: skip


async def hung_up(running: Daemon, text: str) -> Outcome:
    """SIGHUP as a service manager sends it: the daemon itself reads the file."""
    import os
    import signal

    assert running.process is not None
    data = running.directory / "data"
    before = reloading.last_outcome(data)
    running.config.write_text(text)
    os.kill(running.process.pid, signal.SIGHUP)
    while (told := reloading.last_outcome(data)) is None or told == before:
        await asyncio.sleep(0.05)
    return told


def event(number: int) -> dict[str, object]:
    at = f"2026-11-23T06:{number // 60 % 60:02}:{number % 60:02}Z"
    return {
        "call_id": f"reload-{number}",
        "kind": "started",
        "at": at,
        "direction": "inbound",
        "customer": "+77011234567",
    }


async def post(http: aiohttp.ClientSession, running: Daemon, token: str, number: int) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{running.url}/hooks/native"
    async with http.post(url, data=json.dumps(event(number)), headers=headers) as answer:
        return answer.status


async def failing(http: aiohttp.ClientSession, running: Daemon) -> list[str]:
    async with http.get(f"{running.url}/readyz") as answer:
        return list((await answer.json())["failing"])


async def test_a_changed_token_works_after_a_reload_and_a_wrong_file_changes_nothing(running: Daemon) -> None:
    changed = CONFIG.replace("native-secret", NEW)
    async with aiohttp.ClientSession() as http:
        assert await post(http, running, NEW, 1) == 403
        said = await reload(running, changed)
        assert (said.returncode, said.stdout) == (0, "Taken: sources.native.token.\n"), said.stderr
        assert await post(http, running, NEW, 2) == 200 and await post(http, running, "native-secret", 3) == 403
        assert (await reload(running, changed)).stdout == "Nothing has changed.\n"

        refused = await reload(running, WRONG)
        assert refused.returncode == 2 and "sources.native.kind: 'natvie' is none of" in refused.stderr
        outcome = await hung_up(running, WRONG)
        assert outcome.refused and "did you mean 'native'?" in outcome.refused[0] and not outcome.taken
        async with asyncio.timeout(15):
            while await failing(http, running) != ["reload refused"]:
                await asyncio.sleep(0.1)
        async with http.get(f"{running.url}/metrics") as answer:
            assert 'callkpi_work_failing{work="reload"} 1.0' in await answer.text()
        assert await post(http, running, NEW, 4) == 200, "the old one goes on"
        assert "config.refused" in running.log.read_text() and NEW not in running.log.read_text()

        waiting = changed + '\n[server]\npublic_url = "https://calls.example.com"\nprocesses = 3\n'
        running.extra["CALLKPI_SERVER__MAX_VIEWERS"] = "7"  # of the command's own environment, not of the daemon's
        told = await hung_up(running, waiting)
        assert told.taken == ("server.public_url",) and told.waiting == ()
        async with asyncio.timeout(15):
            while await failing(http, running):
                await asyncio.sleep(0.1)


async def test_no_acknowledged_event_and_no_delivery_is_lost_during_reloads(running: Daemon) -> None:
    """Deliveries go on, each over a connection of its own as portals make them, while the processes are replaced."""
    acknowledged: list[int] = []
    failed: list[str] = []
    over = asyncio.Event()

    async def send(begin: int) -> None:
        number = begin
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as http:
            while not over.is_set():
                try:
                    status = await post(http, running, NEW, number)
                except aiohttp.ClientError as error:
                    failed.append(repr(error))
                else:
                    (acknowledged.append(number) if status == 200 else failed.append(str(status)))
                number += 1
                await asyncio.sleep(0.01)

    assert running.process is not None
    await hung_up(running, CONFIG.replace("native-secret", NEW))
    before = set(children_of(running.process.pid))
    senders = [asyncio.create_task(send(10_000 * worker)) for worker in range(1, 5)]
    text = CONFIG.replace("native-secret", NEW)
    for seconds in (21, 22):
        told = await hung_up(
            running, text.replace('region = "KZ"', f'region = "KZ"\nservice_level_seconds = {seconds}')
        )
        assert "tenants.acme.service_level_seconds" in told.taken
        await asyncio.sleep(0.3)
    over.set()
    await asyncio.gather(*senders)
    assert failed == [] and len(acknowledged) > 100
    assert len(before & set(children_of(running.process.pid))) <= 1, "all are new but PostgreSQL"
    kept: set[str] = set()
    async with asyncio.timeout(60):
        expected = {f"reload-{number}" for number in acknowledged}
        while not expected <= kept:
            await asyncio.sleep(0.2)
            kept = await journalled(running)


async def journalled(running: Daemon) -> set[str]:
    import asyncpg

    from callkpi.database import embedded

    connection = await asyncpg.connect(embedded.dsn(running.directory / "data"))
    try:
        return {row["call_id"] for row in await connection.fetch("SELECT DISTINCT call_id FROM callkpi.journal")}
    finally:
        await connection.close()


async def test_a_job_that_is_wanted_now_begins_and_one_that_is_not_ends(running: Daemon) -> None:
    text = CONFIG.replace("native-secret", NEW)
    told = await hung_up(running, text + "\n[retention]\naudit_months = 12\n")
    assert "retention.audit_months" in told.taken
    assert "janitor" in roles(running)
    await hung_up(running, text)
    assert "janitor" not in roles(running)


def roles(running: Daemon) -> list[str]:
    assert running.process is not None
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children_of(running.process.pid)]
    return sorted(line[line.index(b"_child") + 1].decode() for line in lines if b"_child" in line)


def test_what_changed_is_told_by_keys_and_what_waits_is_not_taken() -> None:
    source = config.new_source("native", token="one")
    old = config.Settings(sources={"a": source, "b": source})
    new = replace(
        old, server=replace(old.server, listen="0.0.0.0:1", max_viewers=3), database=config.Database(data_dir="/x"),
        sources={"a": replace(source, token=config.Secret("two")), "c": source},
    )  # fmt: skip
    now = taken_now(old, new)
    taken, waiting = tuple(changed_keys(old, now)), tuple(changed_keys(now, new))
    assert taken == ("server.max_viewers", "sources.a.token", "sources.b", "sources.c")
    assert waiting == ("server.listen", "database.data_dir")
    assert Outcome(1, taken=taken, waiting=waiting).lines() == [
        "Taken: server.max_viewers, sources.a.token, sources.b, sources.c.",
        "Waits for a restart: server.listen, database.data_dir.",
    ]


def test_where_no_daemon_runs_reload_says_so(tmp_path: Path) -> None:
    stopped = Daemon(tmp_path / "d")
    command = [sys.executable, "-m", "callkpi", "reload"]
    said = subprocess.run(command, env=stopped.environment, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 2 and "no daemon runs with the data directory" in said.stderr
