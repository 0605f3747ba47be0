"""``python -m tests.bench.exports``: memory and pace of an export of a million calls, from a real daemon.

Prints a line for each form: rows a second, and the web process's memory before, at most while it streams, and after.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from callkpi import config
from callkpi.commands import database
from tests.stand_ins.daemon import CONFIG, Daemon, children_of, daemon

TOKEN = "bench-token-0123456789"
SETTINGS = CONFIG + f"""
[log]
level = "warning"
[tokens.bench]
token = "{TOKEN}"
role = "manager"
"""  # fmt: skip
AT = "2026-11-01T00:00:00+00:00"
ALL = "from=2026-11-01T00:00:00Z&to=2027-03-01T00:00:00Z"
FORMS = ["calls.jsonl", "calls.csv", "legs.csv"]
COPY = """
INSERT INTO calls (tenant, source, call_id, started_at, last_event_at, answered_at, ended_at, direction, customer, line,
                   outcome, body, facts)
SELECT c.tenant, c.source, n.call_id, n.at, n.at, c.answered_at, c.ended_at, c.direction, c.customer, c.line, c.outcome,
    (c.body::jsonb || jsonb_build_object('call_id', n.call_id, 'started_at', n.at))::json, c.facts
FROM calls c CROSS JOIN LATERAL (
    SELECT 'copy' || i AS call_id, c.started_at + i * interval '1 second' AS at
    FROM generate_series($1::bigint, $2::bigint) AS i
) AS n
WHERE c.call_id = 'template'
"""


async def fill(target: Daemon, rows: int) -> None:
    """A call as a PBX tells it, and copies of it."""
    call = {"call_id": "template", "direction": "inbound", "customer": "+77010000001", "line": "100", "queue": "sales"}
    told = [
        {**call, "kind": "queued", "at": AT}, {**call, "kind": "ringing", "at": AT, "agent": "Dana"},
        {**call, "kind": "answered", "at": "2026-11-01T00:00:09+00:00", "agent": "Dana"},
        {**call, "kind": "ended", "at": "2026-11-01T00:03:09+00:00"},
    ]  # fmt: skip
    async with aiohttp.ClientSession(target.url, headers={"Authorization": "Bearer native-secret"}) as http:
        assert (await http.post("/hooks/native", data=json.dumps(told))).status == 200
    os.environ.update(CALLKPI_DATA_DIR=target.environment["CALLKPI_DATA_DIR"])
    async with database.database(config.load(target.config)) as pool:
        while not await pool.fetchval("SELECT count(*) FROM calls"):
            await asyncio.sleep(0.1)
        for begin in range(1, rows, 50_000):
            await pool.execute(COPY, begin, min(begin + 49_999, rows - 1), timeout=600)
        await pool.execute("ANALYZE calls", timeout=600)


def web_process(target: Daemon) -> int:
    assert target.process is not None
    for pid in children_of(target.process.pid):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"_child" in command and b"web" in command[command.index(b"_child") + 1]:
            return pid
    raise SystemExit("the web process was not found")


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def measure(target: Daemon, pid: int, form: str, encoding: str) -> str:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept-Encoding": encoding}
    before, most, size, lines, begin = memory(pid), 0.0, 0, 0, time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=3600)
    async with (
        aiohttp.ClientSession(target.url, headers=headers, timeout=timeout, auto_decompress=False) as http,
        http.get(f"/api/v1/export/{form}?{ALL}") as answer,
    ):
        assert answer.status == 200, await answer.text()
        async for chunk in answer.content.iter_chunked(1 << 18):
            size += len(chunk)
            lines += chunk.count(b"\n")
            most = max(most, memory(pid))
    seconds = time.perf_counter() - begin
    pace = f"{lines / seconds:8,.0f} rows/s" if encoding == "identity" else " " * 15
    return (
        f"{form:12} {encoding:9} {seconds:6.1f} s {pace} {size / 1e6:7.1f} MB; memory {before:5.0f} MiB before, "
        f"{most:5.0f} at most, {memory(pid):5.0f} after"
    )


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="callkpi-exports-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def run(rows: int, forms: list[str]) -> None:
    with directory() as path:
        async with daemon(path / "daemon", config=SETTINGS) as target:
            begin = time.perf_counter()
            await fill(target, rows)
            print(f"{rows:,} calls were made in {time.perf_counter() - begin:.0f} s", flush=True)
            pid = web_process(target)
            for form in forms:
                for encoding in ("identity", "gzip"):
                    print(await measure(target, pid, form, encoding), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.exports", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="how many calls (default a million)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, metavar="NAME", help=", ".join(FORMS))
    arguments = parser.parse_args()
    asyncio.run(run(arguments.rows, arguments.forms))


if __name__ == "__main__":
    main()
