"""``python -m tests.bench.big``: big and hostile deliveries at the door, and how /healthz and others fare meanwhile.

Each line is one delivery: its size, what was answered after how long, how long /healthz and a small event
of another source took while it was under way, and the most that a process of the daemon ever held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.stand_ins.daemon import CONFIG, Daemon, daemon

MIB = 1024 * 1024
_NATIVE = {"Authorization": "Bearer native-secret"}
_OTHER = {"Authorization": "Bearer pbx-secret"}
_DEFLATE = {**_NATIVE, "Content-Encoding": "deflate"}


def small_events(size: int) -> bytes:
    now = time.time() - 3600
    one = [
        {"call_id": f"b{n}", "kind": "started", "at": round(now + n / 100, 2), "direction": "inbound"}
        for n in range(size // 90)
    ]
    return json.dumps(one).encode()


def ones(size: int) -> bytes:
    return b"[" + b"1," * (size // 2 - 1) + b"1]"


def objects(size: int) -> bytes:
    return b"[" + b"{}," * (size // 3 - 1) + b"{}]"


def nested(size: int) -> bytes:
    return b'[{"call_id": "x", "kind": "started", "fields": {"a": [' + b"[]," * (size // 3) + b"[]]}}]"


def one_string(size: int) -> bytes:
    return b'{"call_id": "' + b"x" * size + b'"}'


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    body: Callable[[], bytes]
    headers: Mapping[str, str]
    path: str = "/hooks/native"
    copies: int = 1


CASES = (
    Case("nothing", lambda: b"[]", _NATIVE, copies=0),
    Case("15 MB of small events", lambda: small_events(15 * MIB), _NATIVE),
    Case("the same again", lambda: small_events(15 * MIB), _NATIVE),
    Case("three at once", lambda: small_events(5 * MIB), _NATIVE, copies=3),
    Case("[1,1,…] 200 KB", lambda: ones(200_000), _NATIVE),
    Case("[1,1,…] 16 MB", lambda: ones(16 * MIB - 10), _NATIVE),
    Case("[1,1,…] 16 MB deflated", lambda: zlib.compress(ones(16 * MIB - 10)), _DEFLATE),
    Case("[{},{},…] 16 MB", lambda: objects(16 * MIB - 10), _NATIVE),
    Case("one nested event of 16 MB", lambda: nested(16 * MIB - 200), _NATIVE),
    Case("one nested event of 1 MB", lambda: nested(MIB - 200), _NATIVE),
    Case("one string of 16 MB", lambda: one_string(16 * MIB - 200), _NATIVE),
    Case("64 MB deflated, authentic", lambda: zlib.compress(ones(64 * MIB)), _DEFLATE),
    Case("64 MB deflated, a stranger's", lambda: zlib.compress(ones(64 * MIB)), {"Content-Encoding": "deflate"},
         path="/hooks/portal"),
    Case("16 MB, a stranger's", lambda: ones(16 * MIB - 10), {}, path="/hooks/portal"),
)  # fmt: skip


@dataclass(slots=True)
class Watch:
    """How long others waited meanwhile, in milliseconds."""

    health: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        told = []
        for some in (self.health, self.other):
            ordered = sorted(some) or [0.0]
            middle, high = statistics.median(ordered), ordered[(99 * len(ordered)) // 100]
            told.append(f"{middle:6.1f} {high:6.1f} {ordered[-1]:6.1f}")
        return "   ".join(told)


async def watch(target: Daemon, seen: Watch) -> None:
    async with aiohttp.ClientSession(target.url) as http:
        number = 0
        while True:
            begin = time.perf_counter()
            async with http.get("/healthz") as answer:
                await answer.read()
            seen.health.append(1000 * (time.perf_counter() - begin))
            number += 1
            if number % 5 == 0:
                line = f"{time.time():.0f}|o{time.monotonic_ns()}|q|NONE|ENTERQUEUE||7701|1"
                begin = time.perf_counter()
                async with http.post("/hooks/pbx", data=line, headers=_OTHER) as answer:
                    assert answer.status == 200, await answer.text()
                seen.other.append(1000 * (time.perf_counter() - begin))
            await asyncio.sleep(0.01)


async def send(target: Daemon, case: Case, body: bytes) -> str:
    timeout = aiohttp.ClientTimeout(total=600)
    async with aiohttp.ClientSession(target.url, timeout=timeout) as http:
        try:
            async with http.post(case.path, data=body, headers=case.headers) as answer:
                return f"{answer.status} {(await answer.text())[:70]}"
        except aiohttp.ClientError as error:
            return f"cut: {type(error).__name__}"


async def measure(target: Daemon, case: Case) -> None:
    body = await asyncio.to_thread(case.body)
    seen = Watch()
    watching = asyncio.create_task(watch(target, seen))
    await asyncio.sleep(0.3)
    begin = time.perf_counter()
    answers = await asyncio.gather(*(send(target, case, body) for _ in range(case.copies))) or ["for comparison"]
    await asyncio.sleep(0 if case.copies else 5)
    seconds = time.perf_counter() - begin
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    print(f"{case.name:30} {len(body) / MIB:6.2f} {seconds:7.2f}   {seen}   {memory(target):5.0f}   {answers[0]}")


def memory(target: Daemon) -> float:
    """The most that one of the daemon's processes has ever held, in MiB."""
    most = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if f"{target.directory}".encode() in (status.parent / "environ").read_bytes():
                text = status.read_text()
                name = text.partition("\n")[0]
                if "postgres" not in name:
                    most = max(most, int(text.partition("VmHWM:")[2].split()[0]))
        except (OSError, IndexError, ValueError):
            continue
    return most / 1024


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.big", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose names hold it")
    only = parser.parse_args().only
    directory = Path(tempfile.mkdtemp(prefix="callkpi-big-"))
    directory.chmod(0o755)
    columns = f"{'median':>6} {'p99':>6} {'max':>6}"
    print(f"{'delivery':30} {'MiB':>6} {'s':>7}   {'/healthz ms':>20}   {'another ms':>20}   {'MiB':>5}   answer")
    print(f"{'':30} {'':>6} {'':>7}   {columns}   {columns}   {'peak':>5}")
    try:
        async with daemon(directory / "daemon", config=CONFIG) as target:
            for case in CASES:
                if only in case.name:
                    await measure(target, case)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
