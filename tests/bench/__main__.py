"""``python -m tests.bench``: what callkpi costs, against a bare aiohttp handler on the same machine in the same run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench import traffic
from tests.daemon import Daemon, daemon, free_port

CONFIG = f"""
[tenants.bench]
timezone = "Asia/Almaty"

[sources.portal]
kind = "bitrix24"
tenant = "bench"
application_tokens = ["{traffic.TOKEN}"]

[sources.native]
kind = "native"
tenant = "bench"
token = "{traffic.TOKEN}"

[log]
level = "warning"
"""
PARTS = ("throughput", "latency", "lag", "scrape", "history", "memory")


class Bench:
    def __init__(self, directory: Path, *, quick: bool) -> None:
        self.directory, self.quick = directory, quick
        self.results: dict[str, Any] = {}
        self.next_call = 0

    def say(self, name: str, value: Any, text: str) -> None:
        self.results[name] = value
        print(f"{text:<78} {value if isinstance(value, str) else format(value, ',.6g'):>14}", flush=True)

    # -- processes -------------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def bare(self, *flags: str) -> AsyncIterator[int]:
        port = free_port()
        process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", str(port), *flags])
        try:
            await self._answers(port)
            yield port
        finally:
            process.terminate()
            process.wait()

    async def _answers(self, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)

    def load(self, port: int, calls: int, **options: float) -> dict[str, float]:
        """Run the load generator as a process of its own."""
        flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
        command = [sys.executable, "-m", "tests.bench.load", str(port), str(self.next_call), str(calls), *flags]
        self.next_call += calls
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-500:])
        result: dict[str, float] = json.loads(done.stdout)
        if result["failed"]:
            raise RuntimeError(f"{result['failed']} requests were not answered with 200")
        return result

    async def page(self, target: Daemon) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
            return await answer.text()

    async def projected(self, target: Daemon) -> None:
        while _total(await self.page(target), "callkpi_projector_pending_groups"):
            await asyncio.sleep(0.02)

    async def offered(self, target: Daemon) -> float:
        return _total(await self.page(target), "callkpi_company_calls_offered_total")

    # -- parts -----------------------------------------------------------------------------------------
    async def throughput(self, target: Daemon) -> None:
        rounds, calls = (2, 2000) if self.quick else (5, 8000)
        bare, durable, ratios = [], [], []
        async with self.bare("--asyncio") as plain_port, self.bare() as port:
            plain = self.load(plain_port, calls)
            for _ in range(rounds):
                result = self.load(port, calls)
                bare.append(result["requests"] / result["seconds"])
                before = await self.offered(target)
                begin = time.perf_counter()
                result = self.load(target.port, calls)
                generated = time.perf_counter() - begin - result["seconds"]
                await self.projected(target)
                seconds = time.perf_counter() - begin - generated
                if await self.offered(target) - before != calls:
                    raise RuntimeError("FAILED: not every call that was acknowledged is counted")
                durable.append(result["requests"] / seconds)
                ratios.append(durable[-1] / bare[-1])
        self.say("bare_asyncio", plain["requests"] / plain["seconds"], "bare handler on plain asyncio, requests/s")
        self.say("bare", statistics.median(bare), "bare handler on the daemon's event loop, requests/s")
        self.say("durable", statistics.median(durable), "callkpi serve: durable and projected events/s")
        self.say("ratio", statistics.median(ratios), f"ratio, median of {rounds} rounds taken in turn")

    async def batches(self, target: Daemon) -> None:
        """What a forwarder reaches that sends many events in one request."""
        bodies = list(
            traffic.history(4000 if self.quick else 40_000, traffic.now() - timedelta(hours=3), timedelta(hours=2), 7)
        )
        begin = time.perf_counter()
        await self._post(target, bodies)
        await self.projected(target)
        events = sum(body.count(b'"kind"') for body in bodies)
        self.say("batched", events / (time.perf_counter() - begin), "the same in requests of 1000 events, events/s")

    async def _post(self, target: Daemon, bodies: Any, progress: int = 0) -> int:
        headers = {"Authorization": f"Bearer {traffic.TOKEN}", "Content-Type": "application/json"}
        sent = 0
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(f"{target.url}/hooks/native", data=body, headers=headers) as answer:
                    if answer.status != 200:
                        raise RuntimeError(await answer.text())
                sent += 1
                if progress and sent % 100 == 0 and sys.stderr.isatty():
                    print(f"\r{100 * sent * 250 // progress} % of {progress} calls sent ", end="", file=sys.stderr)
        return sent

    async def latency(self, target: Daemon) -> None:
        durable = self.results.get("durable", 2000.0)
        rate = durable / 2
        result = self.load(target.port, int(rate * (5 if self.quick else 15) / 3), rate=round(rate))
        await self.projected(target)
        self.say("ack_p50_ms", result["p50_ms"], f"acknowledgement at half of the maximum ({rate:.0f}/s), p50, ms")
        self.say("ack_p99_ms", result["p99_ms"], "… p99, ms")

    async def lag(self, target: Daemon) -> None:
        lags = []
        for _ in range(10 if self.quick else 30):
            before = await self.offered(target)
            self.load(target.port, 1, connections=1)
            begin = time.perf_counter()
            while await self.offered(target) == before:
                await asyncio.sleep(0.005)
            lags.append(1000 * (time.perf_counter() - begin))
        self.say("lag_p50_ms", statistics.median(lags), "from the acknowledgement to /metrics, p50, ms")
        self.say("lag_max_ms", max(lags), "… the slowest, ms")

    async def scrape(self, target: Daemon) -> None:
        await self._post(target, traffic.history(6000, traffic.now() - timedelta(hours=2), timedelta(hours=1), 3))
        await self.projected(target)
        times, size = await self._scrapes(target)
        self.say(
            "scrape_p50_ms", statistics.median(times), f"scrape, 50 queues and 500 agents, {size // 1024} KiB, p50, ms"
        )
        self.say("scrape_max_ms", max(times), "… the slowest of 20, ms")

    async def _scrapes(self, target: Daemon) -> tuple[list[float], int]:
        times, page = [], ""
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                begin = time.perf_counter()
                async with session.get(f"{target.url}/metrics") as answer:
                    page = await answer.text()
                times.append(1000 * (time.perf_counter() - begin))
                await asyncio.sleep(0.05)
        return times, len(page)

    async def history(self, target: Daemon) -> None:
        """The same load on a store that has more and more calls behind it."""
        known = 0
        for goal in (2_000, 10_000) if self.quick else (10_000, 100_000, 1_000_000, 2_000_000):
            more = goal - known
            bodies = traffic.history(more, traffic.now() - timedelta(days=365), timedelta(days=364), 100 + goal)
            begin = time.perf_counter()
            await self._post(target, bodies, more)
            await self.projected(target)
            loaded = 4 * more / (time.perf_counter() - begin)
            known = goal
            calls = 1500 if self.quick else 6000
            begin = time.perf_counter()
            result = self.load(target.port, calls)
            scrapes, _ = await self._scrapes(target)
            rate = result["requests"] / result["seconds"]
            self.say(f"history_{goal}", rate, f"with {goal:,} calls of history: acknowledged events/s")
            self.say(f"history_{goal}_scrape_ms", statistics.median(scrapes), "… scrape, p50, ms")
            self.say(f"history_{goal}_load", loaded, "… loaded and projected at events/s")
            await self.projected(target)

    async def memory(self, target: Daemon) -> None:
        before = _resident(target)
        events = 20_000 if self.quick else 1_000_000
        sent = 0
        while sent < events:
            self.load(target.port, min(40_000, (events - sent) // 3 + 1))
            sent = 3 * self.next_call
            await self.projected(target)
        self.say("memory_before_mib", before, "memory of the daemon's processes before, MiB")
        self.say("memory_after_mib", _resident(target), f"… after {events:,} more events, MiB")


def _total(page: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))
    )


def _resident(target: Daemon) -> float:
    """MiB of the parent, the web process and the projector; PostgreSQL's shared memory is its own setting."""
    assert target.process is not None
    listed = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(target.process.pid), "--ppid", str(target.process.pid)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sum(int(line) for line in listed.stdout.split()) / 1024


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    directory = Path(tempfile.mkdtemp(prefix="callkpi-bench-"))
    directory.chmod(0o755)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    try:
        bench = Bench(directory, quick=arguments.quick)
        parts = arguments.only or PARTS
        async with daemon(directory / "main", config=CONFIG) as target:
            for part in ("throughput", "latency", "lag", "scrape", "memory"):
                if part in parts:
                    await getattr(bench, part)(target)
                    if part == "throughput":
                        await bench.batches(target)
        if "history" in parts:
            async with daemon(directory / "history", config=CONFIG) as target:
                await bench.history(target)
        return bench.results
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, epilog="example: python -m tests.bench --quick"
    )
    parser.add_argument("--quick", action="store_true", help="a minute instead of half an hour")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
