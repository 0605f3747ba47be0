"""The daemon, its reconciler and ``callkpi backfill`` as processes, against a portal that loses webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callkpi.database import embedded
from tests.stand_ins.daemon import CONFIG, Daemon, children_of, daemon
from tests.stand_ins.portal import SECRET, Portal, Story, history, lossy, truth
from tests.stand_ins.running import doctor, projected
from tests.stand_ins.spooling import kill_postgres

NOW = datetime.now(UTC).replace(microsecond=0)
OUTCOMES = ("answered", "no_answer", "busy", "rejected", "failed", "open", "expired")
BEGIN, END = NOW - timedelta(days=30), NOW + timedelta(days=1)
#: The portal enforces what the configuration says that it allows.
RATE = 10.0


def config_for(portal: Portal, **source: Any) -> str:
    told = {
        "rest_url": portal.url,
        "requests_per_second": RATE,
        "reconcile_seconds": 5,
        "nightly_at": "00:00",
        **source,
    }
    return CONFIG + "\n".join(f"{key} = {json.dumps(value)}" for key, value in told.items()) + "\n"


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    async with Portal(rate=RATE, bucket=RATE * 25).serving() as portal:
        yield portal


async def deliver(target: Daemon, bodies: Sequence[bytes], seed: int = 1) -> int:
    """Webhooks as the portal sends them: once each, and what is not acknowledged is lost."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    acknowledged, limit, rng = 0, asyncio.Semaphore(8), random.Random(seed)

    async def one(session: aiohttp.ClientSession, body: bytes) -> None:
        nonlocal acknowledged
        async with limit:
            await asyncio.sleep(rng.random() * 0.02)
            try:
                async with session.post(f"{target.url}/hooks/portal", data=body, headers=headers) as answer:
                    acknowledged += answer.status == 200
            except (aiohttp.ClientError, ConnectionError):
                pass

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session, body) for body in bodies))
    return acknowledged


async def ask(target: Daemon, window: tuple[datetime, datetime], by: str) -> dict[str, Any]:
    query = {"from": window[0].isoformat(), "to": window[1].isoformat(), "by": by}
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/api/v1/kpi", params=query) as answer:
        return {row[by]: row for row in (await answer.json())["rows"]}


async def numbers(target: Daemon) -> tuple[Any, ...]:
    by = await ask(target, (BEGIN, END), "direction")
    inbound, outbound = Counter(by.get("inbound", {})), Counter(by.get("outbound", {}))
    agents = await ask(target, (BEGIN, END), "agent")
    return (
        {name: inbound[name] for name in OUTCOMES},
        (outbound["made"], outbound["reached"]),
        {name: by[name]["talk_seconds"] for name in ("inbound", "outbound") if name in by},
        sorted((row["handled"], row["talk_seconds"]) for row in agents.values() if row["handled"]),
    )  # fmt: skip


def expected(stories: Sequence[Story]) -> tuple[Any, ...]:
    told = truth([row for story in stories for row in story.rows])
    return (
        {name: told.inbound[name] for name in OUTCOMES},
        (told.outbound.total(), told.outbound["answered"]),
        dict(told.talk),
        sorted((told.handled[agent], told.agent_talk[agent]) for agent in told.handled),
    )  # fmt: skip


async def becomes(target: Daemon, stories: Sequence[Story], seconds: float = 60) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        await projected(target)
        told = await numbers(target)
        if told == expected(stories) or asyncio.get_running_loop().time() > deadline:
            assert told == expected(stories), target.log.read_text()[-3000:]
            return
        await asyncio.sleep(0.3)


def publish(portal: Portal, stories: Sequence[Story]) -> None:
    portal.rows = [row for story in stories for row in story.rows]


@pytest.mark.parametrize("seed", [1, 2])
async def test_lost_delayed_doubled_shuffled_and_killed_the_numbers_are_the_portals(
    data_dir: Path, portal: Portal, seed: int
) -> None:
    """kill -9 of everything in the middle of the window, while webhooks come; then again after the restart."""
    stories = history(seed, 1500, NOW - timedelta(hours=40), NOW - timedelta(minutes=20))
    publish(portal, stories)
    portal.slow_seconds = 0.04
    bodies = lossy(stories, seed, 0.3)
    target = Daemon(data_dir / f"reconcile-{seed}", config=config_for(portal))
    await target.start()
    for part in range(2):
        sending = asyncio.create_task(deliver(target, bodies[part::3]))
        asked = portal.requests.total()
        while portal.requests.total() < asked + 8:
            await asyncio.sleep(0.01)
        target.kill()
        await sending
        await target.start()
    try:
        await deliver(target, bodies[2::3])
        await becomes(target, stories)
        told = doctor(target)
        assert re.match("portal: since .* the webhooks of 0 calls were lost and found in the statistics, last", told)
        assert told.endswith("Rollups equal calls, calls equal the journal."), told
        # Live: rows that appear while the daemon runs are there within a round.
        more = history(seed + 50, 40, NOW - timedelta(minutes=15), NOW - timedelta(minutes=1), first_row=90_000)
        publish(portal, [*stories, *more])
        await becomes(target, [*stories, *more], seconds=15)
        assert SECRET not in target.log.read_text()
    finally:
        assert target.stop() == 0


async def test_postgres_is_killed_and_the_reconciler_goes_on(data_dir: Path, portal: Portal) -> None:
    """The daemon starts PostgreSQL again; webhooks wait in the spool meanwhile and are not called lost."""
    stories = history(5, 900, NOW - timedelta(hours=40), NOW - timedelta(minutes=20))
    publish(portal, stories)
    portal.slow_seconds = 0.04
    async with daemon(data_dir / "postgres", config=config_for(portal)) as target:
        sending = asyncio.create_task(deliver(target, lossy(stories, 5, 0.3)))
        while portal.requests.total() < 10:
            await asyncio.sleep(0.01)
        kill_postgres(target)
        await sending
        await becomes(target, stories)
        assert doctor(target).endswith("Rollups equal calls, calls equal the journal.")
        assert "the webhooks of 0 calls were lost" in doctor(target)


async def test_a_killed_window_goes_on_where_it_was(data_dir: Path, portal: Portal) -> None:
    stories = history(7, 1500, NOW - timedelta(hours=40), NOW - timedelta(minutes=20))
    publish(portal, stories)
    portal.slow_seconds = 0.04
    target = Daemon(data_dir / "resume", config=config_for(portal))
    await target.start()
    while portal.requests["voximplant.statistic.get"] < 25:
        await asyncio.sleep(0.01)
    target.kill()
    asked = portal.requests["voximplant.statistic.get"]
    await target.start()
    try:
        await becomes(target, stories)
        pages = len(portal.rows) // 50 + 1
        # Once through in all: the rows, the first look, the counts, and the day of the night's pass.
        day = portal.requests["voximplant.statistic.get"] - asked
        assert day < 2 * pages - 15, (asked, day, pages)
    finally:
        target.stop()


async def test_two_daemons_on_one_database_reconcile_once(data_dir: Path, portal: Portal) -> None:
    """The second one stands by, and takes over when the first is gone."""
    stories = history(8, 300, NOW - timedelta(hours=20), NOW - timedelta(minutes=20))
    publish(portal, stories)
    async with daemon(data_dir / "pair", config=config_for(portal)) as first:
        dsn = embedded.dsn(first.directory / "data")
        second = Daemon(data_dir / "pair2", config=config_for(portal) + f'\n[database]\nurl = "{dsn}"\n')
        await second.start()
        try:
            await deliver(second, lossy(stories, 8, 0.5))
            await becomes(first, stories)
            assert doctor(first).endswith("Rollups equal calls, calls equal the journal.")
            reconcilers = [pid for pid in children_of(first.process.pid) if b"reconciler" in _command(pid)]  # type: ignore[union-attr]
            assert len(reconcilers) == 1
            quiet = portal.requests.total()
            await asyncio.sleep(11)
            # Two rounds of one reconciler, not of two.
            assert 1 <= portal.requests.total() - quiet <= 3
        finally:
            second.stop()


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_portal_that_is_away_does_not_take_the_daemon_down(data_dir: Path, portal: Portal) -> None:
    portal.denied = "expired_token"
    stories = history(9, 20, NOW - timedelta(hours=3), NOW - timedelta(minutes=20))
    async with daemon(data_dir / "denied", config=config_for(portal)) as target:
        assert await deliver(target, [body for story in stories for body in story.webhooks]) > 0
        while not portal.requests:
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.5)
        async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
            page = await answer.text()
        assert 'callkpi_reconcile_errors_total{reason="expired_token",source="portal"} 1.0' in page
        assert "the webhook has expired; make a new one and set rest_url" in target.log.read_text()
        assert portal.requests.total() == 1


# -- backfill ------------------------------------------------------------------------------------------------


def backfill(target: Daemon, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "callkpi", "backfill", "--source", "portal", *arguments]
    return subprocess.Popen(
        command, env=target.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )


async def test_history_beside_live_traffic_killed_and_resumed(data_dir: Path, portal: Portal) -> None:
    old = history(41, 900, NOW - timedelta(days=20), NOW - timedelta(days=4))
    live = history(42, 60, NOW - timedelta(hours=3), NOW - timedelta(minutes=20), first_row=50_000)
    publish(portal, [*old, *live])
    async with daemon(data_dir / "backfill", config=config_for(portal)) as target:
        await becomes(target, live)
        portal.slow_seconds = 0.1
        begin = (NOW - timedelta(days=21)).isoformat()
        running = backfill(target, "--from", begin, "--rate", "10")
        asked = portal.requests.total()
        while portal.requests.total() < asked + 9:
            await asyncio.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        portal.slow_seconds = 0.0
        more = history(43, 30, NOW - timedelta(minutes=15), NOW - timedelta(minutes=1), first_row=90_000)
        publish(portal, [*old, *live, *more])
        delivering = asyncio.create_task(deliver(target, lossy(more, 43, 0.2)))
        again = backfill(target, "--from", begin, "--rate", "10")
        _, told = await asyncio.to_thread(again.communicate)
        await delivering
        assert again.returncode == 0, told
        assert re.search(r"Went on behind the [1-9]\d* rows of the last time\.", told), told
        await becomes(target, [*old, *live, *more])
        assert doctor(target).endswith("Rollups equal calls, calls equal the journal.")
        # A third time adds nothing.
        third = backfill(target, "--from", begin, "--rate", "10")
        _, told = await asyncio.to_thread(third.communicate)
        assert "0 new, 0 corrected, 0 rejected" in told and "Went on" not in told
        await becomes(target, [*old, *live, *more])


async def test_without_a_daemon_the_report_has_the_calls_at_once(data_dir: Path, portal: Portal) -> None:
    stories = history(44, 80, NOW - timedelta(days=5), NOW - timedelta(days=4))
    publish(portal, stories)
    target = Daemon(data_dir / "backfill-alone", config=config_for(portal))
    done = backfill(target, "--from", (NOW - timedelta(days=6)).date().isoformat())
    _, told = await asyncio.to_thread(done.communicate)
    assert done.returncode == 0, told
    command = [sys.executable, "-m", "callkpi", "report", "--by", "direction", "--json",
               "--from", BEGIN.isoformat(), "--to", END.isoformat()]  # fmt: skip
    report = subprocess.run(command, env=target.environment, capture_output=True, text=True, check=True, cwd="/")
    by = {row["direction"]: row for row in json.loads(report.stdout)["rows"]}
    assert by["inbound"]["offered"] == truth(portal.rows).inbound.total()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "portal", "--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["--source", "portal", "--from", "2026-10-01", "--to", "2026-09-01"], "is not before --to"),
        (["--source", "pbx", "--from", "2026-10-01"], "'pbx' is no source with a REST address; those are: portal"),
        (["--source", "portal", "--from", "2026-10-01", "--rate", "0"], "--rate: '0' must be a number above 0"),
        (["--source", "portal", "--from", "2026-10-01", "--rate", "99"], "at most 10"),
        (["--source", "portal"], "--from: is required; write e.g. --from 2026-09-01"),
    ],
)
def test_a_backfill_that_can_not_be_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    path = tmp_path / "callkpi.toml"
    path.write_text(CONFIG + f'rest_url = "http://127.0.0.1:9/rest/1/{SECRET}/"\n')
    command = [sys.executable, "-m", "callkpi", "backfill", *arguments, "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), cwd=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1 and SECRET not in done.stderr


async def test_a_portal_that_refuses_a_backfill_is_one_line(data_dir: Path, portal: Portal) -> None:
    portal.denied = "NO_AUTH_FOUND"
    target = Daemon(data_dir / "backfill-denied", config=config_for(portal))
    done = backfill(target, "--from", "2026-10-01")
    _, told = await asyncio.to_thread(done.communicate)
    assert done.returncode == 2
    assert told.splitlines()[-1].startswith("callkpi: portal: voximplant.statistic.get: HTTP 401 NO_AUTH_FOUND")
    assert "make a new one and set rest_url; start the same command again to go on" in told and SECRET not in told
