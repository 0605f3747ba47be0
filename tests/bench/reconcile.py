"""``python -m tests.bench.reconcile``: what reconciliation costs a portal, against one that enforces its limits.

Prints the requests of a quiet portal (a day of 500 calls in its window), and the time in which 10,000 calls whose
webhooks were lost are in the reports, at the documented 2 requests per second and a bucket of 50.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp

from tests.stand_ins.daemon import CONFIG, Daemon
from tests.stand_ins.portal import Portal, history, truth


async def main(calls: int, quiet_minutes: float) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    directory = Path(tempfile.mkdtemp(prefix="callkpi-bench-"))
    directory.chmod(0o755)
    async with Portal().serving() as portal:
        stories = history(1, 500, now - timedelta(hours=24), now - timedelta(minutes=20))
        portal.rows = [row for story in stories for row in story.rows]
        told = {"rest_url": portal.url, "nightly_at": "00:00"}
        daemon = Daemon(
            directory / "daemon", config=CONFIG + "\n".join(f"{k} = {json.dumps(v)}" for k, v in told.items())
        )
        await daemon.start()
        try:
            await until(daemon, truth(portal.rows).calls)
            await asyncio.sleep(5)
            asked = portal.requests.total()
            print(f"first start: {asked} requests for {len(portal.rows)} rows of two days and the portal's names")
            await asyncio.sleep(60 * quiet_minutes)
            print(f"at rest: {(portal.requests.total() - asked) / quiet_minutes:.2f} requests/min (without a recheck)")
            lost = history(2, calls, now - timedelta(hours=10), now - timedelta(minutes=20), first_row=1_000_000)
            asked, begin = portal.requests.total(), time.monotonic()
            portal.rows += [row for story in lost for row in story.rows]
            await until(daemon, truth(portal.rows).calls)
            seconds, asked = time.monotonic() - begin, portal.requests.total() - asked
            print(f"{calls} lost calls: in the reports after {seconds:.0f} s (up to 60 s of it until the next look), "
                  f"{asked} requests, {portal.answers['QUERY_LIMIT_EXCEEDED']} refused")  # fmt: skip
        finally:
            daemon.stop()


async def until(daemon: Daemon, calls: int) -> None:
    """Wait until the daemon reports that many calls."""
    window = {"from": (datetime.now(UTC) - timedelta(days=30)).isoformat(), "by": "outcome"}
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{daemon.url}/api/v1/kpi", params=window) as answer:
                if sum(row["calls"] for row in (await answer.json())["rows"]) >= calls:
                    return
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--quiet-minutes", type=float, default=3.0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.calls, arguments.quiet_minutes))
