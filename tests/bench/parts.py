"""What is measured. Each part has a daemon and a store of its own, so that none depends on what ran before."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from tests.bench import traffic
from tests.bench.daemon import Broken, Daemon, bare, group, serve
from tests.bench.report import Report, percentile, progress

EVENTS_PER_CALL = 3  #: of the load generator
WARM_UP_CALLS = 300


@dataclass(frozen=True, slots=True)
class Sizes:
    rounds: int = 5
    round_calls: int = 8_000
    latency_seconds: float = 30.0
    lags: int = 30
    scrapes: int = 20
    memory_events: int = 1_000_000
    memory_steps: int = 20
    batched_calls: int = 40_000
    history: tuple[int, ...] = (10_000, 100_000, 1_000_000, 2_000_000)
    history_calls: int = 5_000


QUICK = Sizes(
    rounds=3, round_calls=2_500, latency_seconds=8.0, memory_events=20_000, memory_steps=2, history=(2_000, 10_000),
    history_calls=2_000, batched_calls=4_000,
)  # fmt: skip


class Bench:
    def __init__(self, directory: Path, sizes: Sizes, report: Report) -> None:
        self._directory, self._sizes, self._report = directory, sizes, report
        self._next_call = 0

    # -- parts -----------------------------------------------------------------------------------------
    def throughput(self) -> None:
        """Requests that a bare handler answers, events that callkpi takes and projects, in turn."""
        sizes, report = self._sizes, self._report
        plain, durable, acknowledged, generator = [], [], [], []
        with bare() as bare_port, serve(self._directory / "throughput") as daemon:
            load(bare_port, 0, WARM_UP_CALLS)
            self._durable(daemon, WARM_UP_CALLS)
            for number in range(sizes.rounds):
                progress(f"throughput: round {number + 1} of {sizes.rounds}")
                result = load(bare_port, self._next_call, sizes.round_calls)
                plain.append(result["requests"] / (result["end"] - result["begin"]))
                generator.append(result["generator_cpu"])
                rates = self._durable(daemon, sizes.round_calls)
                if rates is None:
                    return
                acknowledged.append(rates[0])
                durable.append(rates[1])
            begin, span = traffic.now() - timedelta(hours=3), timedelta(hours=2)
            if (batched := self._post(daemon, "batched", sizes.batched_calls, begin, span)) is None:
                return
        with bare("--asyncio") as bare_port:
            load(bare_port, 0, WARM_UP_CALLS)
            result = load(bare_port, 0, sizes.round_calls)
        ratios = [ours / theirs for ours, theirs in zip(durable, plain, strict=True)]
        report.samples |= {"bare": plain, "durable": durable, "ratio": ratios}
        stock = result["requests"] / (result["end"] - result["begin"])
        report.add("bare_asyncio", stock, "bare aiohttp handler on the standard event loop, requests/s")
        report.add("bare", median(plain), "bare aiohttp handler on callkpi's event loop, requests/s")
        report.add("generator_cpu", median(generator), "… share of a core that the load generator took")
        report.add("acknowledged", median(acknowledged), "callkpi serve: durable, acknowledged events/s")
        report.add("durable", median(durable), "callkpi serve: durable and projected events/s")
        report.add("ratio", median(ratios), f"ratio to the bare handler, median of {sizes.rounds} rounds in turn")
        report.add("ratio_min", min(ratios), "… the least round")
        report.add("ratio_max", max(ratios), "… the best round")
        report.add("batched", batched, "the same in requests of 1000 events, events/s")

    def latency(self) -> None:
        """The acknowledgement at half of the load that callkpi bears."""
        sizes, report = self._sizes, self._report
        with serve(self._directory / "latency") as daemon:
            self._durable(daemon, WARM_UP_CALLS)
            rates = self._durable(daemon, sizes.round_calls)
            if rates is None:
                return
            rate = rates[1] / 2
            calls = round(rate * sizes.latency_seconds / EVENTS_PER_CALL)
            progress(f"latency: {sizes.latency_seconds:.0f} s at {rate:.0f} events/s")
            result = self._counted(daemon, calls, connections=256, rate=rate)
            if result is None:
                return
        report.add("latency_rate", rate, "half of the load that callkpi serve projects, events/s")
        report.add("ack_p50_ms", result["p50_ms"], "acknowledgement at that rate, from when it was due: p50, ms")
        report.add("ack_p99_ms", result["p99_ms"], "… p99, ms")
        report.add("ack_max_ms", result["max_ms"], "… the slowest, ms")
        report.add("generator_late_ms", result["generator_late_p99_ms"], "… of it late by the generator: p99, ms")

    def lag(self) -> None:
        """One call in one request; from its acknowledgement until /metrics counts it."""
        lags = []
        random_ = random.Random("lag")
        with serve(self._directory / "lag") as daemon:
            self._durable(daemon, WARM_UP_CALLS)
            for number in range(self._sizes.lags):
                before = daemon.offered()
                at = (traffic.now() - timedelta(minutes=20)).timestamp()
                body = json.dumps(traffic.queue_call(f"lag.{number}", number, at, random_)).encode()
                # Not in step with the projector's own pauses.
                time.sleep(random_.uniform(0.05, 0.25))
                daemon.post(body)
                begin = time.monotonic()
                while daemon.offered() == before:
                    time.sleep(0.002)
                lags.append(1000 * (time.monotonic() - begin))
        self._report.samples["lag_ms"] = lags
        self._report.add("lag_p50_ms", percentile(lags, 50), "from the acknowledgement to /metrics: p50, ms")
        self._report.add("lag_p99_ms", percentile(lags, 99), f"… p99 of {len(lags)}, ms")

    def memory(self) -> None:
        """Memory of all processes before, at half, and after many events."""
        sizes, report = self._sizes, self._report
        calls = sizes.memory_events // EVENTS_PER_CALL // sizes.memory_steps + 1
        with serve(self._directory / "memory") as daemon:
            self._durable(daemon, WARM_UP_CALLS)
            before = half = daemon.memory()
            for step in range(1, sizes.memory_steps + 1):
                if self._durable(daemon, calls) is None:
                    return
                progress(f"memory: {step * calls * EVENTS_PER_CALL:,} of {sizes.memory_events:,} events")
                if step == sizes.memory_steps // 2:
                    half = daemon.memory()
            after = daemon.memory()
        if not before["callkpi"]:
            report.fail("memory", "this system has no /proc")
            return
        for name, text in (("callkpi", "callkpi's processes"), ("web", "… web"), ("projector", "… projector"),
                           ("postgres", "PostgreSQL, shared pages once")):  # fmt: skip
            events = sizes.memory_steps * calls * EVENTS_PER_CALL
            report.add(f"memory_{name}_before_mib", before.get(name, 0.0), f"memory of {text}: before, MiB")
            report.add(f"memory_{name}_half_mib", half.get(name, 0.0), f"… after {events // 2:,} events")
            report.add(f"memory_{name}_after_mib", after.get(name, 0.0), f"… after {events:,} events")

    def scrape(self) -> None:
        """A scrape of a call centre of 50 queues and 500 agents."""
        begin, span = traffic.now() - timedelta(hours=2), timedelta(hours=1)
        with serve(self._directory / "scrape") as daemon:
            if self._post(daemon, "scrape", 20 * traffic.AGENTS, begin, span, ringing=True) is None:
                return
            page = daemon.metrics()
            for label, wanted in (("queue", traffic.QUEUES), ("agent", traffic.AGENTS)):
                if (shown := len({*re.findall(rf'\b{label}="([^"]+)"', page)} - {"other"})) != wanted:
                    self._report.fail("scrape", f"{shown} of {wanted} {label}s on the page")
                    return
            times, size = self._scrapes(daemon)
        self._report.samples["scrape_ms"] = times
        self._report.add("scrape_bytes", size, "scrape of 50 queues and 500 agents: bytes")
        self._report.add("scrape_p50_ms", percentile(times, 50), "… p50, ms")
        self._report.add("scrape_p99_ms", percentile(times, 99), f"… p99 of {len(times)}, ms")

    def history(self) -> None:
        """The same load and scrape with more and more calls behind them."""
        known, report = 0, self._report
        with serve(self._directory / "history") as daemon:
            for goal in self._sizes.history:
                begin, span = traffic.now() - timedelta(days=365), timedelta(days=364)
                loaded = self._post(daemon, f"history{goal}", goal - known, begin, span)
                rates = self._durable(daemon, self._sizes.history_calls)
                if loaded is None or rates is None:
                    return
                known = goal
                times, _ = self._scrapes(daemon)
                report.add(f"history_{goal}_load", loaded, f"{goal:,} calls of history: loaded in arrays, events/s")
                report.add(f"history_{goal}_durable", rates[1], "… then webhooks, durable and projected events/s")
                report.add(f"history_{goal}_scrape_p50_ms", percentile(times, 50), "… scrape, p50, ms")
                report.add(f"history_{goal}_scrape_p99_ms", percentile(times, 99), f"… p99 of {len(times)}, ms")

    # -- steps -----------------------------------------------------------------------------------------
    def _durable(self, daemon: Daemon, calls: int) -> tuple[float, float] | None:
        """Events/s acknowledged, and acknowledged and projected. None, and FAILED, where they were not all counted."""
        result = self._counted(daemon, calls)
        if result is None:
            return None
        return (
            result["requests"] / (result["end"] - result["begin"]),
            result["requests"] / (result["projected"] - result["begin"]),
        )

    def _counted(self, daemon: Daemon, calls: int, **options: float) -> dict[str, float] | None:
        before = daemon.offered()
        result = load(daemon.port, self._next_call, calls, **options)
        self._next_call += calls
        result["projected"] = daemon.wait_projected()
        return result if self._all_counted(daemon, before, calls) else None

    def _all_counted(self, daemon: Daemon, before: int, calls: int) -> bool:
        counted = daemon.offered() - before
        if counted != calls:
            self._report.fail("counted", f"{calls} calls were acknowledged, {counted} are counted")
        return counted == calls

    def _post(
        self, daemon: Daemon, name: str, calls: int, begin: datetime, span: timedelta, *, ringing: bool = False
    ) -> float | None:
        """Load finished calls in arrays. Events/s until they are projected; the making of the arrays does not count."""
        before, events, making = daemon.offered(), 0, 0.0
        bodies = iter(traffic.queue_calls(name, calls, begin, span, ringing=ringing))
        started = told = time.monotonic()
        while True:
            paused = time.monotonic()
            body = next(bodies, None)
            making += time.monotonic() - paused
            if body is None:
                break
            daemon.post(body)
            events += body.count(b'"kind"')
            if time.monotonic() - told > 10:
                told = time.monotonic()
                progress(f"{name}: {events:,} events of {calls:,} calls sent")
        ended = daemon.wait_projected()
        return events / (ended - started - making) if self._all_counted(daemon, before, calls) else None

    def _scrapes(self, daemon: Daemon) -> tuple[list[float], int]:
        times, size = [], 0
        daemon.metrics()
        for _ in range(self._sizes.scrapes):
            begin = time.monotonic()
            size = len(daemon.request("GET", "/metrics")[1])
            times.append(1000 * (time.monotonic() - begin))
            time.sleep(0.05)
        return times, size


PARTS = ("throughput", "latency", "lag", "memory", "scrape", "history")


def load(port: int, first: int, calls: int, **options: float) -> dict[str, float]:
    """Run the load generator. Its clock starts when its requests are made."""
    flags = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "tests.bench.load", str(port), str(first), str(calls), *flags]
    with group(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise Broken("the load generator does not start")
        answer, _ = process.communicate("\n")
    if process.returncode != 0:
        raise Broken("the load generator failed; its error is above")
    result: dict[str, float] = json.loads(answer)
    if result["failed"] or result["requests"] != EVENTS_PER_CALL * calls:
        raise Broken(f"{result['requests']:.0f} answers, {result['failed']:.0f} of them not 200")
    return result
