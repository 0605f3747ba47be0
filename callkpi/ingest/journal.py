"""The journal: durable, once. Everybody who waits at the same time shares one transaction.

The interface is :meth:`Journal.append`; what reads the journal is the projector. Another implementation (a
distributed log) needs the same promise: when append returns, the events survive a crash.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import structlog

from callkpi import config
from callkpi.calls import bounds
from callkpi.calls.model import CallEvent
from callkpi.calls.rows import event_body
from callkpi.database import store
from callkpi.database.errors import is_passing
from callkpi.health import Health

log = structlog.get_logger()

#: Events in one transaction at the most: keeps a group's latency low when history is loaded beside live calls.
GROUP_EVENTS = 3000
#: Bytes that the facts of these events may take.
GROUP_BYTES = 4 * 1024 * 1024
#: A database that takes longer for a group is treated as one that is away; what it did all the same is no harm.
APPEND_SECONDS = 5.0
#: Groups of a database that was too slow become smaller, down to this, and larger again when it is quick.
LEAST_EVENTS = 50
QUICK_SECONDS = 0.5
#: After a failure nobody is made to wait for the next one.
REST_SECONDS = 1.0

#: Tenant, source and event_id: what an event without a time of its own is known by.
Name = tuple[str, str, str]


class JournalUnavailable(Exception):
    """The events could not be made durable: do not acknowledge them."""


class Unstorable(Exception):
    """PostgreSQL refuses some events for what is in them; trying again would not help. The others are durable."""

    def __init__(self, reason: str, refused: int = 1) -> None:
        super().__init__(reason)
        self.refused = refused  #: how many of the events


class _Row(NamedTuple):
    event: CallEvent
    body: str


@dataclass(slots=True)
class _Waiter:
    rows: Sequence[_Row]
    done: asyncio.Future[None]
    counted: bool

    def settle(self, error: Exception | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class Journal:
    """Appends events in groups. Start :meth:`run` as a task; it ends when cancelled, with nothing half done."""

    def __init__(self, pool: asyncpg.Pool, health: Health, windows: Mapping[str, timedelta]) -> None:
        self._pool = pool
        self._health = health
        self._windows = windows  #: source -> how long a timeless event is remembered
        #: By what takes turns: history or not, and the source. Who had his turn goes to the end.
        self._waiting: dict[tuple[bool, str], deque[_Waiter]] = {}
        self._wake = asyncio.Event()
        self._months: set[tuple[int, int]] = set()
        self._away_until = 0.0
        self._most = GROUP_EVENTS
        self._one_sifts = asyncio.Lock()
        self._sifting: set[asyncio.Task[None]] = set()

    async def append(self, events: Sequence[CallEvent], *, counted: bool = True) -> None:
        """Return when *events* are durable. Many go in parts, each of which is durable when the next one begins.

        Raises JournalUnavailable when some are not, and Unstorable when all are but those that PostgreSQL refuses for
        what is in them. History is not *counted*: its calls are in every report, and not in the counters for
        Prometheus.
        """
        refused: list[Unstorable] = []
        rows = [_Row(event, _storable(event_body(event))) for event in self._bounded(events)]
        begin = 0
        while begin < len(rows):
            part = rows[begin : begin + self._fitting(rows, begin)]
            try:
                await self._append(part, counted)
            except Unstorable as error:
                refused.append(error)
            begin += len(part)
        if refused:
            raise Unstorable(str(refused[0]), sum(error.refused for error in refused))

    def _fitting(self, rows: Sequence[_Row], begin: int) -> int:
        """How many rows from *begin* on make one part, at least one."""
        weight = 0
        for count in range(min(self._most, len(rows) - begin)):
            weight += len(rows[begin + count].body)
            if weight > GROUP_BYTES and count:
                return count
        return min(self._most, len(rows) - begin)

    async def _append(self, rows: Sequence[_Row], counted: bool) -> None:
        if time.monotonic() < self._away_until:
            raise JournalUnavailable("it failed a moment ago")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        turns = self._waiting.setdefault((counted, rows[0].event.source), deque())
        turns.append(_Waiter(rows, done, counted))
        self._wake.set()
        await done

    def _bounded(self, events: Sequence[CallEvent]) -> list[CallEvent]:
        """What every way into the journal passes: no name is longer than the database's keys can hold."""
        shortenings: Counter[str] = Counter()
        result = [bounds.bounded(event, shortenings) for event in events]
        for name, count in shortenings.items():
            self._health.count("ingest_shortened", count, source=events[0].source, label=name)
        return result

    async def run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._write_group(self._take())
        finally:
            for task in self._sifting:
                task.cancel()

    def _take(self) -> list[_Waiter]:
        """The next group: of each source one delivery in turn, so that none waits behind all of another one's."""
        group: list[_Waiter] = []
        counted = next(iter(self._waiting))[0]
        events = size = 0
        while turns := [turn for turn in self._waiting if turn[0] is counted]:
            for turn in turns:
                waiter = self._next_of(turn)
                group.append(waiter)
                events += len(waiter.rows)
                size += sum(len(row.body) for row in waiter.rows)
                if events >= self._most or size >= GROUP_BYTES:
                    return group
        return group

    def _next_of(self, turn: tuple[bool, str]) -> _Waiter:
        waiters = self._waiting.pop(turn)
        waiter = waiters.popleft()
        if waiters:
            self._waiting[turn] = waiters
        return waiter

    async def _write_group(self, group: list[_Waiter]) -> None:
        try:
            await self._write_rows([row for waiter in group for row in waiter.rows], group[0].counted)
        except JournalUnavailable as error:
            for waiter in group:
                waiter.settle(JournalUnavailable(str(error)))
        except Unstorable:
            # Beside the others: who waits now must not wait for the search.
            task = asyncio.create_task(self._sift(group), name="journal-sift")
            self._sifting.add(task)
            task.add_done_callback(self._sifting.discard)
        else:
            for waiter in group:
                waiter.settle()

    async def _write_rows(self, rows: Sequence[_Row], counted: bool) -> None:
        """Make some rows durable, all or none. Raises JournalUnavailable and Unstorable."""
        begin = time.perf_counter()
        try:
            async with store.within(self._pool, APPEND_SECONDS) as connection:
                added = await self._write(connection, rows, counted)
        except Exception as error:
            if not is_passing(error):
                raise Unstorable(f"{type(error).__name__}: {error}"[:200]) from error
            self._note_failure(error, len(rows), time.perf_counter() - begin)
            raise JournalUnavailable(type(error).__name__) from error
        seconds = time.perf_counter() - begin
        if seconds < QUICK_SECONDS:
            self._most = min(2 * self._most, GROUP_EVENTS)
        self._health.observe("journal_append_seconds", seconds)
        for source, count in Counter(row.event.source for row in rows).items():
            self._health.count("ingest_events", count, source=source, label="received")
            self._health.count("ingest_events", count - added.get(source, 0), source=source, label="duplicate")

    def _note_failure(self, error: Exception, events: int, seconds: float) -> None:
        log.error("journal.unavailable", error=type(error).__name__, events=events)
        self._health.count("journal_failures")
        self._away_until = time.monotonic() + max(REST_SECONDS, seconds)
        if isinstance(error, TimeoutError):
            # The same again would take as long: smaller groups get through a slow database.
            self._most = max(min(self._most, events) // 2, LEAST_EVENTS)

    async def _sift(self, group: list[_Waiter]) -> None:
        """Something in a group can't be stored: find it by halves, and store everything else."""
        async with self._one_sifts:
            # A month may have lost its partition since it was noted.
            self._months.clear()
            for waiter in group:
                refused: list[Unstorable] = []
                try:
                    await self._store_halves(waiter.rows, waiter.counted, refused)
                except JournalUnavailable as error:
                    waiter.settle(error)
                else:
                    waiter.settle(Unstorable(str(refused[0]), len(refused)) if refused else None)

    async def _store_halves(self, rows: Sequence[_Row], counted: bool, refused: list[Unstorable]) -> None:
        try:
            await self._write_rows(rows, counted)
        except Unstorable as error:
            if len(rows) > 1:
                half = len(rows) // 2
                await self._store_halves(rows[:half], counted, refused)
                await self._store_halves(rows[half:], counted, refused)
                return
            refused.append(error)
            source = rows[0].event.source
            log.error("journal.unstorable", source=source, error=type(error.__cause__).__name__)
            self._health.count("journal_unstorable", source=source)

    async def _write(self, connection: asyncpg.Connection, rows: Sequence[_Row], counted: bool) -> dict[str, int]:
        await self._ensure_partitions(connection, rows)
        if any(row.event.timeless for row in rows):
            async with connection.transaction():
                return await self._insert(connection, await self._not_seen(connection, rows), counted)
        return await self._insert(connection, rows, counted)

    async def _ensure_partitions(self, connection: asyncpg.Connection, rows: Sequence[_Row]) -> None:
        months = {(row.event.at.year, row.event.at.month): row.event.at for row in rows}
        for month in months.keys() - self._months:
            await connection.execute(store.query("journal", "ensure_partition"), "journal", months[month])
            self._months.add(month)

    async def _not_seen(self, connection: asyncpg.Connection, rows: Sequence[_Row]) -> list[_Row]:
        """Without the repetitions of timeless events, which the journal's key can't recognise."""
        fresh: set[int] = set()
        for source in sorted({row.event.source for row in rows if row.event.timeless}):
            told = [
                (number, _name(row.event), row.event.received_at)
                for number, row in enumerate(rows)
                if row.event.timeless and row.event.source == source
            ]
            window = self._windows.get(source, timedelta(minutes=1))
            await connection.execute(store.query("journal", "lock_timeless"), source)
            columns = _timeless_columns((name, at) for _, name, at in told)
            found = await connection.fetch(store.query("journal", "timeless_seen"), *columns, window)
            seen: dict[Name, list[datetime]] = defaultdict(list)
            for row in found:
                seen[row["tenant"], row["source"], row["event_id"]].append(row["seen_at"])
            new = first_receptions(told, seen, window)
            fresh.update(number for number, _, _ in new)
            await connection.execute(
                store.query("journal", "note_timeless"), *_timeless_columns((name, at) for _, name, at in new)
            )
        return [row for number, row in enumerate(rows) if number in fresh or not row.event.timeless]

    async def _insert(self, connection: asyncpg.Connection, rows: Sequence[_Row], counted: bool) -> dict[str, int]:
        added = await connection.fetch(store.query("journal", "append"), *_columns(rows), counted)
        return {row["source"]: row["added"] for row in added}


def windows_of(settings: config.Settings) -> dict[str, timedelta]:
    """How long an event without a time of its own is remembered, by source."""
    return {name: timedelta(seconds=source.dedupe_seconds) for name, source in settings.sources.items()}


def first_receptions(
    told: Sequence[tuple[int, Name, datetime]], seen: Mapping[Name, Sequence[datetime]], window: timedelta
) -> list[tuple[int, Name, datetime]]:
    """Of receptions those that are no repetitions: nothing of the same name was received within *window* around them.

    They are judged in the order in which they were received, whatever the order in which they come to the journal.
    """
    known = {name: list(times) for name, times in seen.items()}
    first = []
    for number, name, at in sorted(told, key=lambda item: item[2]):
        times = known.setdefault(name, [])
        if not any(abs(at - other) <= window for other in times):
            times.append(at)
            first.append((number, name, at))
    return first


def _name(event: CallEvent) -> Name:
    return event.tenant, event.source, _storable(event.event_id)


def _timeless_columns(receptions: Iterator[tuple[Name, datetime]]) -> list[list[Any]]:
    rows = [(*name, at) for name, at in receptions]
    return [[row[column] for row in rows] for column in range(4)]


def _columns(rows: Sequence[_Row]) -> list[list[Any]]:
    events = [row.event for row in rows]
    return [
        [e.tenant for e in events],
        [e.source for e in events],
        [e.at for e in events],
        [_storable(e.event_id) for e in events],
        [_storable(e.call_id) for e in events],
        [e.kind.value for e in events],
        [e.received_at for e in events],
        [row.body for row in rows],
    ]


#: NUL as JSON writes it, not a backslash and the letters after it.
_ESCAPED_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def _storable(text: str) -> str:
    """*text* without what PostgreSQL can't hold: NUL, also as JSON writes it, and halves of characters."""
    if "\\u0000" in text:
        text = _ESCAPED_NUL.sub(r"\1", text)
    if text.isascii():
        return text.replace("\x00", "") if "\x00" in text else text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
