"""A daemon whose database goes away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp

from callkpi.ingest.spool import Spooled
from tests.stand_ins.daemon import Daemon, children_of
from tests.stand_ins.truth import BEGIN

AT = datetime(2026, 11, 24, 9, tzinfo=UTC)


def item(text: str) -> Spooled:
    return Spooled("native", "application/json", AT, text.encode())


def event(number: int) -> str:
    return json.dumps(
        {"call_id": f"c{number}", "kind": "started", "at": BEGIN.timestamp() + number, "direction": "inbound"}
    )


async def send(session: aiohttp.ClientSession, target: Daemon, number: int) -> int:
    headers = {"Authorization": "Bearer native-secret"}
    async with session.post(f"{target.url}/hooks/native", data=event(number), headers=headers) as answer:
        return answer.status


def kill_postgres(target: Daemon) -> None:
    pid_file = target.directory / "data" / "postgres" / "postmaster.pid"
    postmaster = int(pid_file.read_text().splitlines()[0])
    for pid in [postmaster, *children_of(postmaster)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def metric(target: Daemon, name: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
        page = await answer.text()
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))
    )


async def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError, AssertionError, KeyError):
            if await condition():
                return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come true")


async def spool_is_empty(target: Daemon) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
        return answer.status == 200 and "\ncallkpi_spool_deliveries 0.0\n" in await answer.text()
