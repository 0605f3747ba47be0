"""``python -m tests.bench.names``: what many different names cost: /metrics, a shift's page, the board's figures.

Hours with as many queues, agents and lines as asked for, each of which had a call; then each answer is timed at a
served daemon. The first time is with cold caches.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp

from tests.stand_ins.daemon import CONFIG, Daemon, daemon

_NATIVE = {"Authorization": "Bearer native-secret"}
_AT_ONCE = 3000
_WINDOW = timedelta(hours=3)


def events(names: int, now: datetime) -> Iterator[dict[str, Any]]:
    """One call for each name, and half as many again for names that have one."""
    chance = random.Random(1)
    begin = (now - _WINDOW).timestamp()
    for number in range(names + names // 2):
        queue, agent, line = (number if number < names else chance.randrange(names) for _ in range(3))
        at = begin + chance.random() * 0.9 * _WINDOW.total_seconds()
        call = {
            "call_id": f"c{number}", "queue": f"queue-{queue:05}", "line": f"77{line:08}", "direction": "inbound",
            "customer": f"+7701{number:07}",
        }  # fmt: skip
        yield {**call, "kind": "queued", "at": at}
        if number % 5:
            yield {**call, "kind": "answered", "at": at + 9, "agent": f"agent-{agent:05}"}
        else:
            yield {"kind": "agent_state", "at": at, "agent": f"agent-{agent:05}", "state": "available"}
        yield {**call, "kind": "ended", "at": at + 60}


async def fill(http: aiohttp.ClientSession, names: int, now: datetime) -> None:
    """Send the day and wait until all of it is in the figures."""
    stream = events(names, now)
    begin = time.perf_counter()
    while part := list(islice(stream, _AT_ONCE)):
        async with http.post("/hooks/native", data=json.dumps(part), headers=_NATIVE) as answer:
            assert answer.status == 200, await answer.text()
    while True:
        async with http.get("/readyz") as answer:
            if (await answer.json())["projector_pending_groups"] == 0:
                break
        await asyncio.sleep(0.2)
    seconds, count = time.perf_counter() - begin, 3 * (names + names // 2)
    print(f"{names:,} names, {count:,} events in the figures after {seconds:.1f} s")


async def measure(target: Daemon, names: int) -> None:
    now = datetime.now(UTC)
    begin, end = (at.strftime("%Y-%m-%dT%H:%MZ") for at in (now - _WINDOW, now))
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(target.url, timeout=timeout) as http:
        await fill(http, names, now)
        print(f"{'answer':24} {'MiB':>6}   seconds of three in a row")
        for path in ("/metrics", f"/reports/period/acme/{begin}..{end}", "/board/state?tenant=acme"):
            seconds, size = [], 0
            for _ in range(3):
                start = time.perf_counter()
                async with http.get(path) as answer:
                    size = len(await answer.read())
                    assert answer.status == 200, (path, answer.status)
                seconds.append(time.perf_counter() - start)
            shown = path.partition("?")[0][:24]
            print(f"{shown:24} {size / 2**20:6.1f}   " + "  ".join(f"{each:.2f}" for each in seconds), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.names",
        description=__doc__,
        epilog="example: python -m tests.bench.names --names 1000",
    )
    parser.add_argument(
        "--names", type=int, default=10_000, metavar="N", help="queues, agents and lines; default 10000"
    )
    names = parser.parse_args().names
    directory = Path(tempfile.mkdtemp(prefix="callkpi-names-"))
    directory.chmod(0o755)
    try:
        async with daemon(directory / "daemon", config=CONFIG) as target:
            await measure(target, names)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
