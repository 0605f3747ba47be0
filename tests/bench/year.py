"""``python -m tests.bench.year``: a year of calls, and how long its shifts, months and the whole of it take to read.

The calls are simulated with a seed: a day with two peaks, quieter weekends, queues, agents, misses and call-backs. They
are folded as any call is and written beside the projector, with the journal of the weeks whose shifts are measured: a
shift's summary looks for silences and late events in it. What is measured goes through the door of a running daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from callkpi import config
from callkpi.calls import facts as kpi
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import Call, CallEvent, Direction, Kind
from callkpi.calls.rows import call_body, event_body
from callkpi.database import embedded, encoding, migrations, store
from callkpi.missed.fates import Contact, fates
from tests.bench.exports import memory, web_process
from tests.bench.report import Report, percentile, progress
from tests.stand_ins.daemon import Daemon, daemon

TENANT, SOURCE, ZONE = "acme", "pbx", "Asia/Almaty"
QUEUES, AGENTS, LINES = 20, 200, 10
#: Calls by hour of the local day, in parts of the busiest hour.
DAY = (1, 1, 1, 1, 1, 2, 4, 8, 14, 19, 20, 18, 14, 15, 18, 19, 17, 14, 10, 8, 6, 4, 3, 2)
WEEK = (1.0, 1.05, 1.0, 1.0, 0.95, 0.5, 0.35)
WEEKS = 52
#: The weeks whose events are in the journal, and whose shifts are measured.
JOURNALLED = range(24, 28)
CALLS_BACK = 0.65


@dataclass(frozen=True, slots=True)
class Week:
    """One piece of the year for one worker."""

    number: int
    begin: datetime
    calls: int
    seed: int
    dsn: str


def settings() -> config.Tenant:
    return config.Tenant(timezone=ZONE, region="KZ")


# -- traffic ----------------------------------------------------------------------------------------------


def starts(week: Week, rng: random.Random) -> list[datetime]:
    """When the calls of a week come."""
    zone = settings().zone
    hours = [week.begin + timedelta(hours=n) for n in range(7 * 24)]
    local = [hour.astimezone(zone) for hour in hours]
    weights = [DAY[at.hour] * WEEK[at.weekday()] for at in local]
    chosen = rng.choices(hours, weights, k=week.calls)
    return sorted(hour + timedelta(milliseconds=rng.randrange(3_600_000)) for hour in chosen)


@dataclass(frozen=True, slots=True)
class Made:
    """A call, its events, and what became of it if it was missed."""

    call: Call
    events: Sequence[CallEvent]
    fate: tuple[Any, ...] | None = None


def calls(week: Week) -> Iterator[Made]:
    """The calls of a week, and calls back to those who were missed."""
    rng, limits = random.Random(week.seed), Thresholds(settings())
    for number, at in enumerate(starts(week, rng)):
        made = _inbound(f"{week.number}.{number}", at, rng, limits)
        call_back, call = None, made.call
        if call.missed and rng.random() < CALLS_BACK:
            later = at + timedelta(minutes=rng.expovariate(1 / 25) + 1)
            call_back = _outbound(f"{week.number}.{number}b", later, call.customer, rng, limits)
            yield call_back
        yield replace(made, fate=_fate(call, call_back.call if call_back else None)) if call.missed else made


def _inbound(call_id: str, at: datetime, rng: random.Random, limits: Thresholds) -> Made:
    queue, line = f"q{min(int(rng.expovariate(0.25)), QUEUES - 1):02}", f"7717270{rng.randrange(LINES):02}00"
    agent = f"a{rng.randrange(AGENTS):03}"
    wait, talk = rng.expovariate(1 / 18), rng.lognormvariate(math.log(140), 0.8)
    facts = {"direction": Direction.INBOUND, "customer": f"+7701{rng.randrange(10**7):07}", "line": line}
    events = [
        _event(call_id, Kind.STARTED, at, **facts),
        _event(call_id, Kind.QUEUED, at + timedelta(seconds=1), queue=queue),
    ]
    if rng.random() < min(wait / 120, 0.6) + 0.04:
        events.append(
            _event(call_id, Kind.LEFT_QUEUE, at + timedelta(seconds=1 + wait), queue=queue, cause="abandoned")
        )
        events.append(_event(call_id, Kind.ENDED, at + timedelta(seconds=1 + wait), hangup_by="customer"))
    else:
        answered = at + timedelta(seconds=1 + wait)
        rung = at + timedelta(seconds=1 + wait * rng.random())
        events.append(_event(call_id, Kind.RINGING, rung, queue=queue, agent=agent))
        events.append(_event(call_id, Kind.ANSWERED, answered, queue=queue, agent=agent))
        events.append(_event(call_id, Kind.ENDED, answered + timedelta(seconds=talk), hangup_by="customer"))
    return Made(fold(call_id, events, limits, at + timedelta(hours=3)), events)


def _outbound(call_id: str, at: datetime, customer: str, rng: random.Random, limits: Thresholds) -> Made:
    agent = f"a{rng.randrange(AGENTS):03}"
    events = [_event(call_id, Kind.STARTED, at, direction=Direction.OUTBOUND, customer=customer, agent=agent)]
    events.append(_event(call_id, Kind.RINGING, at, agent=agent))
    end = at + timedelta(seconds=25)
    if rng.random() < 0.7:
        events.append(_event(call_id, Kind.ANSWERED, at + timedelta(seconds=12), agent=agent))
        end = at + timedelta(seconds=12 + rng.expovariate(1 / 90))
    events.append(_event(call_id, Kind.ENDED, end))
    return Made(fold(call_id, events, limits, at + timedelta(hours=3)), events)


def _event(call_id: str, kind: Kind, at: datetime, **facts: Any) -> CallEvent:
    return CallEvent(
        tenant=TENANT, source=SOURCE, call_id=call_id, kind=kind, at=at, event_id=f"{kind}.{at.timestamp()}",
        received_at=at, **facts,
    )  # fmt: skip


def _fate(missed: Call, call_back: Call | None) -> tuple[Any, ...]:
    told = [_contact(call) for call in (missed, call_back) if call is not None]
    (fate,) = fates(told, timedelta(days=7))
    return (
        TENANT, SOURCE, missed.call_id, missed.started_at, missed.customer, missed.line, missed.entries[-1].queue,
        missed.outcome.value, fate.fate.value, fate.called_back_at, fate.reached_at,
    )  # fmt: skip


def _contact(call: Call) -> Contact:
    return Contact(
        key=(SOURCE, call.call_id), direction=call.direction, started_at=call.started_at,
        answered_at=call.answered_at, missed=call.missed,
    )  # fmt: skip


# -- writing ----------------------------------------------------------------------------------------------


def write(week: Week) -> int:
    """A week of calls and its rollups. Runs in a process of its own."""
    return asyncio.run(_write(week))


@dataclass(slots=True)
class _Rows:
    """What is copied at a time, by table."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    call_keys: list[tuple[Any, ...]] = field(default_factory=list)
    waits: list[tuple[Any, ...]] = field(default_factory=list)
    missed_calls: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, made: Made, facts: Sequence[kpi.Fact]) -> None:
        call = made.call
        place = (TENANT, SOURCE, call.call_id)
        self.calls.append(_call_row(call, facts))
        self.call_keys.append((*place, call.call_id, call.started_at, call.last_event_at, call.started_at))
        for (at, queue), wait in kpi.waits(facts).items():
            self.waits.append((TENANT, at, SOURCE, call.call_id, queue, wait))
        if made.fate is not None:
            self.missed_calls.append(made.fate)


async def _write(week: Week) -> int:
    connection = await store.connect(week.dsn, role="bench")
    rollups: dict[kpi.Key, kpi.Row] = defaultdict(kpi.Row)
    limits, rows = Thresholds(settings()), _Rows()
    try:
        for made in calls(week):
            facts = kpi.facts(made.call, limits)
            for fact in facts:
                rollups[fact.bin].add(fact)
            rows.add(made, facts)
            if len(rows.calls) >= 20_000:
                await _copy(connection, rows)
        await _copy(connection, rows)
        await _write_rollups(connection, week, rollups)
    finally:
        await connection.close()
    return week.calls


def _call_row(call: Call, facts: Sequence[kpi.Fact]) -> tuple[Any, ...]:
    return (
        TENANT, SOURCE, call.call_id, call.started_at, call.last_event_at, call.answered_at, call.ended_at,
        call.direction.value, call.customer, call.line, call.outcome.value, call_body(call),
        encoding.to_json([fact.to_json() for fact in facts]),
    )  # fmt: skip


async def _write_journals(dsn: str, weeks: Sequence[Week]) -> None:
    """The events of weeks, in the order of time, as a daemon hears them."""
    connection = await store.connect(dsn, role="bench")
    try:
        for week in weeks:
            progress(f"year: events of week {week.number}")
            rows = sorted((_event_row(event) for made in calls(week) for event in made.events), key=_AT)
            columns = _COLUMNS["journal"]
            await connection.copy_records_to_table("journal", records=rows, columns=columns, timeout=600)
    finally:
        await connection.close()


_AT = itemgetter(2)


def _event_row(event: CallEvent) -> tuple[Any, ...]:
    return (
        TENANT, SOURCE, event.at, event.event_id, event.call_id, event.kind.value, event.received_at,
        event_body(event),
    )  # fmt: skip


_COLUMNS = {
    "calls": (
        "tenant", "source", "call_id", "started_at", "last_event_at", "answered_at", "ended_at", "direction",
        "customer", "line", "outcome", "body", "facts",
    ),
    "call_keys": ("tenant", "source", "call_id", "root", "first_at", "last_at", "started_at"),
    "waits": ("tenant", "entered_at", "source", "call_id", "queue", "wait_ms"),
    "missed_calls": (
        "tenant", "source", "call_id", "started_at", "customer", "line", "queue", "outcome", "fate", "called_back_at",
        "reached_at",
    ),
    "journal": ("tenant", "source", "at", "event_id", "call_id", "kind", "received_at", "body"),
}  # fmt: skip


async def _copy(connection: asyncpg.Connection, rows: _Rows) -> None:
    for each in fields(rows):
        records = getattr(rows, each.name)
        await connection.copy_records_to_table(each.name, records=records, columns=_COLUMNS[each.name])
        records.clear()


async def _write_rollups(connection: asyncpg.Connection, week: Week, rollups: dict[kpi.Key, kpi.Row]) -> None:
    """Copied where no other week can touch them, added where one may."""
    inner, edge = [], []
    end = week.begin + timedelta(days=7)
    columns: list[str] = []
    for key, row in sorted(rollups.items()):
        told = {"tenant": TENANT, **key._asdict(), **row.to_json()}
        if week.begin + timedelta(hours=3) <= key.at < end:
            columns = columns or list(told)
            inner.append(tuple(told.values()))
        else:
            edge.append(told)
    await connection.copy_records_to_table("rollups", records=inner, columns=columns)
    await connection.execute(store.query("projector", "add_rollups"), encoding.to_json(edge))


async def prepare(dsn: str, begin: datetime) -> None:
    await migrations.apply(dsn)
    connection = await store.connect(dsn, role="bench")
    try:
        for step in range(15):
            at = begin + timedelta(days=27 * step - 1)
            for table in ("calls", "journal"):
                await connection.execute(store.query("journal", "ensure_partition"), table, at)
        names = [("queue", f"q{n:02}") for n in range(QUEUES)] + [("agent", f"a{n:03}") for n in range(AGENTS)]
        columns = [[TENANT] * len(names), [kind for kind, _ in names], [name for _, name in names]]
        await connection.execute(store.query("projector", "add_names"), *columns)
    finally:
        await connection.close()


def load(dsn: str, begin: datetime, total: int, processes: int, seed: int) -> float:
    """The whole year. Returns the seconds that it took."""
    started, done = time.monotonic(), 0
    asyncio.run(prepare(dsn, begin))
    weeks = [
        Week(number, begin + timedelta(weeks=number), total // WEEKS, seed * 1000 + number, dsn)
        for number in range(WEEKS)
    ]
    with ProcessPoolExecutor(processes) as pool:
        for count in pool.map(write, weeks):
            done += count
            progress(f"year: {done:,} of {total:,} calls, {done / (time.monotonic() - started):,.0f}/s")
    asyncio.run(_write_journals(dsn, [week for week in weeks if week.number in JOURNALLED]))
    asyncio.run(_analyze(dsn))
    return time.monotonic() - started


async def _analyze(dsn: str) -> None:
    connection = await store.connect(dsn, role="bench")
    await connection.execute("VACUUM ANALYZE", timeout=3600)
    await connection.close()


# -- measuring --------------------------------------------------------------------------------------------

CONFIG = f"""
[tenants.{TENANT}]
timezone = "{ZONE}"
region = "KZ"

[tenants.{TENANT}.shifts.day]
hours = "08:00-20:00"

[tenants.{TENANT}.shifts.night]
hours = "20:00-08:00"

[sources.{SOURCE}]
kind = "native"
tenant = "{TENANT}"
token = "pbx-secret"

[api]
requests_per_second = 0
"""  # fmt: skip
#: A day's sums are filled in the background after the calls were written beside the projector.
FILL_SECONDS = 7200


async def measure(directory: Path, begin: datetime, report: Report, seed: int) -> None:
    """Through the door of a daemon on the year's store."""
    async with daemon(directory, config=CONFIG) as target, aiohttp.ClientSession(target.url, timeout=_LONG) as http:
        until = (begin + timedelta(weeks=WEEKS, days=1)).date()
        report.add("fill_seconds", await filled(directory, until), "sums per day and month filled from the calls, s")
        rng = random.Random(seed)
        first, after = 7 * JOURNALLED[0] + 1, 7 * (JOURNALLED[-1] + 1) - 1
        days = [(begin + timedelta(days=n)).date() for n in rng.sample(range(first, after), 20)]
        shifts = [f"{id}/{day}" for day in days for id in ("day", "night")]
        months = [f"{at:%Y-%m}" for at in (begin + timedelta(days=31 * n) for n in range(1, 11))]
        year = f"{begin + timedelta(days=1):%Y-%m-%d}..{begin + timedelta(days=364):%Y-%m-%d}"
        statistics = f"/api/v1/statistics?period={year}&by="
        parts = {
            "shift": ("a shift's summary as JSON", [f"/reports/shift/{TENANT}/{each}.json" for each in shifts]),
            "shift_html": ("… as a page", [f"/reports/shift/{TENANT}/{each}" for each in shifts]),
            "month": ("a month's summary as JSON", [f"/reports/period/{TENANT}/month:{each}.json" for each in months]),
            "month_statistics": ("a month by queue", [f"/api/v1/statistics?period=month:{m}&by=queue" for m in months]),
            "year": ("the year by month", [statistics + "month"] * 5),
            "year_queue": ("… by month and queue", [statistics + "month,queue"] * 5),
            "year_agent": ("… by agent", [statistics + "agent"] * 5),
            "month_shift": ("a month by shift", [f"/api/v1/statistics?period=month:{m}&by=shift" for m in months]),
            "calls": ("the calls behind a figure of twelve hours", [_behind(day) for day in days]),
        }
        for name, (text, paths) in parts.items():
            await timed(http, report, name, text, paths)
        await export(target, http, months[4], report)


_LONG = aiohttp.ClientTimeout(total=FILL_SECONDS)


def _behind(day: date) -> str:
    return f"/api/v1/behind?from={day}T00:00:00Z&to={day}T12:00:00Z&figure=missed"


async def filled(directory: Path, until: date) -> float:
    """Wait until the days are complete and summed up by month. Returns how long that took."""
    began = time.monotonic()
    connection = await asyncpg.connect(embedded.dsn(directory / "data"), server_settings={"search_path": store.SCHEMA})
    try:
        while time.monotonic() - began < FILL_SECONDS:
            row = await connection.fetchrow("SELECT since, months_until FROM day_spans WHERE tenant = $1", TENANT)
            if row is not None:
                progress(f"days are complete since {row['since']}, months until {row['months_until']}")
                if row["since"] == date.min and row["months_until"] >= until:
                    return time.monotonic() - began
            await asyncio.sleep(2)
    finally:
        await connection.close()
    raise SystemExit("the days were not filled in time")


async def timed(http: aiohttp.ClientSession, report: Report, name: str, text: str, paths: Sequence[str]) -> None:
    """Each path once to warm up what is read from disk, then once more for the figure."""
    seconds = []
    for path in (*paths, *paths):
        progress(f"year: {path}")
        began = time.perf_counter()
        async with http.get(path) as answer:
            body = await answer.read()
            if answer.status != 200:
                report.fail(name, f"{path}: {answer.status} {body[:200]!r}")
                return
        seconds.append(time.perf_counter() - began)
    cold, warm = seconds[: len(paths)], seconds[len(paths) :]
    report.samples[name] = warm
    report.add(f"{name}_cold_ms", 1000 * percentile(cold, 50), f"{text}: first time, p50, ms")
    report.add(f"{name}_ms", 1000 * percentile(warm, 50), "… again: p50, ms")
    report.add(f"{name}_p95_ms", 1000 * percentile(warm, 95), "… p95, ms")


async def export(target: Daemon, http: aiohttp.ClientSession, month: str, report: Report) -> None:
    """A month of calls as CSV, while the memory of the web process is watched."""
    web = web_process(target)
    before, most, rows, began = memory(web), 0.0, 0, time.perf_counter()
    until = (date.fromisoformat(f"{month}-01") + timedelta(days=32)).replace(day=1)
    async with http.get(f"/api/v1/export/calls.csv?from={month}-01&to={until}") as answer:
        if answer.status != 200:
            report.fail("export", f"{answer.status} {(await answer.text())[:200]}")
            return
        async for block in answer.content.iter_chunked(1 << 20):
            rows += block.count(b"\n")
            most = max(most, memory(web))
    report.add("export_rows", rows, f"rows of the export of {month} as CSV")
    report.add("export_rate", rows / (time.perf_counter() - began), "… rows/s")
    report.add("export_memory", most - before, f"… growth of the web process's {before:.0f} MiB, MiB")


# -- the command ------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.year", description=__doc__,
        epilog="example: python -m tests.bench.year --calls 200000 --keep /var/tmp/year",
    )  # fmt: skip
    parser.add_argument("--calls", type=int, default=5_000_000, metavar="N", help="inbound calls (default 5000000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another number is another year")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="that make the calls (default 2)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the database there, and use it if it is there")
    arguments = parser.parse_args()
    report = Report()
    report.header()
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="callkpi-year-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    begin = datetime(2025, 11, 2, 19, tzinfo=UTC)
    try:
        if not (directory / "made").exists():
            server = embedded.start(directory / "data")
            try:
                seconds = load(server.dsn, begin, arguments.calls, arguments.processes, arguments.seed)
            finally:
                server.stop()
            report.add("load_seconds", seconds, f"{arguments.calls:,} calls made, folded and written, s")
            (directory / "made").touch()
        asyncio.run(measure(directory, begin, report, arguments.seed))
    finally:
        if arguments.keep is None:
            shutil.rmtree(directory, ignore_errors=True)
    print(report.line())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
