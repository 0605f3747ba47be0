"""What was acknowledged survives ``kill -9`` of the daemon and of PostgreSQL, and the numbers are the same after it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.running import doctor, post, projected, rows
from tests.stand_ins.truth import BEGIN, TRUTH
from tests.world import capture_lines


async def test_killed_in_the_middle_of_a_replay_the_truth_still_comes_out(data_dir: Path) -> None:
    target = Daemon(data_dir / "crash", fresh=True)
    await target.start()
    lines = capture_lines("asterisk/events.jsonl.gz")
    chunks = [lines[begin : begin + 100] for begin in range(0, len(lines), 100)]
    acknowledged: list[int] = []

    async def send_all(session: aiohttp.ClientSession) -> None:
        for number, chunk in enumerate(chunks):
            if not await post(session, target, chunk):
                return
            acknowledged.append(number)

    async with aiohttp.ClientSession() as session:
        sending = asyncio.create_task(send_all(session))
        while len(acknowledged) < len(chunks) // 3:
            await asyncio.sleep(0.005)
        target.kill()
        await sending
    assert len(acknowledged) < len(chunks)
    await target.start()
    try:
        async with aiohttp.ClientSession() as session:
            # What was acknowledged is not sent again: it must be there.
            for number, chunk in enumerate(chunks):
                if number not in acknowledged:
                    assert await post(session, target, chunk)
        await projected(target)
        queues = await rows(target, "queue")
        for name, truth in TRUTH["queues"].items():
            row = queues[name]
            assert row["offered"] == truth["entered"]
            assert row["answered"] == truth["answered"]
            assert row["abandoned"] + row["short_abandoned"] == truth["abandon"]
            assert row["talk_seconds"] == truth["talk_s"]
        assert doctor(target) == "Rollups equal calls, calls equal the journal."
    finally:
        assert target.stop() == 0


async def test_a_restart_changes_no_number(data_dir: Path) -> None:
    target = Daemon(data_dir / "restart", fresh=True)
    await target.start()
    async with aiohttp.ClientSession() as session:
        assert await post(session, target, capture_lines("asterisk/events.jsonl.gz"))
    await projected(target)
    before, page = await rows(target, "agent"), await business_counters(target)
    assert target.stop() == 0
    await target.start()
    try:
        assert await rows(target, "agent") == before
        assert await business_counters(target) == page
    finally:
        target.stop()


async def business_counters(target: Daemon) -> list[str]:
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
        page = await answer.text()
    counted = ("callkpi_calls_", "callkpi_call_", "callkpi_agent_handled", "callkpi_agent_talk", "callkpi_agent_ring")
    return [line for line in page.splitlines() if line.startswith(counted)]


async def test_sigterm_finishes_what_is_under_way(data_dir: Path) -> None:
    """Requests that run while the daemon stops are answered; each that was acknowledged is there afterwards."""
    target = Daemon(data_dir / "sigterm", processes=2)
    await target.start()
    acknowledged: list[str] = []
    refused = 0

    async def send(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal refused
        call_id = f"call-{number}"
        event = {"call_id": call_id, "kind": "started", "at": BEGIN.timestamp() + number, "direction": "inbound"}
        try:
            async with session.post(
                f"{target.url}/hooks/native", data=json.dumps(event), headers={"Authorization": "Bearer native-secret"}
            ) as answer:
                if answer.status == 200:
                    acknowledged.append(call_id)
        except (aiohttp.ClientError, ConnectionError):
            refused += 1

    async with aiohttp.ClientSession() as session:
        sending = [asyncio.create_task(send(session, number)) for number in range(400)]
        while len(acknowledged) < 40:
            await asyncio.sleep(0.001)
        assert target.process is not None
        target.process.terminate()
        await asyncio.gather(*sending)
    assert target.process.wait(60) == 0
    await target.start()
    try:
        await projected(target)
        total = (await rows(target, "direction"))["inbound"]
        assert total["offered"] == len(acknowledged)
        assert len(acknowledged) >= 40
    finally:
        target.stop()


async def test_several_processes_share_the_port_and_agree(data_dir: Path) -> None:
    async with daemon(data_dir / "shared-port", processes=2) as target:
        lines = capture_lines("asterisk/events.jsonl.gz")
        async with aiohttp.ClientSession() as session:
            chunks = [lines[begin : begin + 250] for begin in range(0, len(lines), 250)]
            answers = await asyncio.gather(*(post(session, target, chunk) for chunk in chunks))
        assert all(answers)
        await projected(target)
        pages = {tuple(await business_counters(target)) for _ in range(6)}
        assert len(pages) == 1
        assert (await rows(target, "queue"))["sales"]["offered"] == TRUTH["queues"]["sales"]["entered"]
