"""Looks at a running daemon, and what is sent to it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import aiohttp

from tests.stand_ins.daemon import Daemon
from tests.stand_ins.truth import BEGIN, END

HEADERS = {"Authorization": "Bearer pbx-secret"}


async def post(session: aiohttp.ClientSession, target: Daemon, lines: list[str]) -> bool:
    """Whether the daemon acknowledged."""
    try:
        async with session.post(f"{target.url}/hooks/pbx", data="\n".join(lines), headers=HEADERS) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return False


async def rows(target: Daemon, by: str) -> dict[str, Any]:
    window = {"from": BEGIN.isoformat(), "to": END.isoformat(), "by": by}
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/api/v1/kpi", params=window) as answer:
        assert answer.status == 200, await answer.text()
        return {row[by]: row for row in (await answer.json())["rows"]}


async def projected(target: Daemon) -> None:
    """Return when nothing waits: neither in the spool nor for the projector."""
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            async with session.get(f"{target.url}/readyz") as answer:
                told = await answer.json()
                if told.get("projector_pending_groups") == 0 and told["spool_deliveries"] == 0:
                    return
            await asyncio.sleep(0.05)
    raise AssertionError("the projector did not catch up")


def doctor(target: Daemon) -> str:
    command = [sys.executable, "-m", "callkpi", "doctor"]
    done = subprocess.run(command, env=target.environment, capture_output=True, text=True, check=False, cwd="/")
    return done.stdout.strip()
