"""The journal: durable, once. Everybody who waits at the same time shares one transaction.

The interface is :meth:`Journal.append`; what reads the journal is the projector. Another implementation (a
distributed log) needs the same promise: when append returns, the events survive a crash.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from callkpi import bounds, store
from callkpi.health import Health
from callkpi.model import CallEvent

log = structlog.get_logger()

#: Events in one transaction at the most: keeps a group's latency low when history is loaded beside live calls.
GROUP_EVENTS = 3000
#: A database that takes longer for a group is treated as one that is away; what it did all the same is no harm.
APPEND_SECONDS = 5.0
#: After a failure nobody is made to wait for the next one.
REST_SECONDS = 1.0


class JournalUnavailable(Exception):
    """The events could not be made durable: do not acknowledge them."""


class Unstorable(Exception):
    """PostgreSQL refuses these events for what is in them; trying again would not help."""


@dataclass(slots=True)
class _Waiter:
    events: Sequence[CallEvent]
    done: asyncio.Future[None]
    counted: bool


class Journal:
    """Appends events in groups. Start :meth:`run` as a task; it ends when cancelled, with nothing half done."""

    def __init__(self, pool: asyncpg.Pool, health: Health, windows: dict[str, timedelta]) -> None:
        self._pool = pool
        self._health = health
        self._windows = windows  #: source -> how long a timeless event is remembered
        self._waiting: list[_Waiter] = []
        self._wake = asyncio.Event()
        self._months: set[tuple[int, int]] = set()
        self._away_until = 0.0

    async def append(self, events: Sequence[CallEvent], *, counted: bool = True) -> None:
        """Return when *events* are durable. Raises JournalUnavailable when they are not.

        History is not *counted*: its calls are in every report, and not in the counters for Prometheus.
        """
        if not events:
            return
        if time.monotonic() < self._away_until:
            raise JournalUnavailable("it failed a moment ago")
        events = self._bounded(events)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(events, done, counted))
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
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._write_group(self._take())

    def _take(self) -> list[_Waiter]:
        total, count = 0, 0
        for waiter in self._waiting:
            if waiter.counted is not self._waiting[0].counted:
                break
            total += len(waiter.events)
            count += 1
            if total >= GROUP_EVENTS:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _write_group(self, group: list[_Waiter]) -> None:
        events = [event for waiter in group for event in waiter.events]
        begin = time.perf_counter()
        try:
            async with asyncio.timeout(APPEND_SECONDS):
                added = await self._write(events, group[0].counted)
        except (asyncpg.DataError, ValueError, OverflowError) as error:
            await self._one_by_one(group, error)
            return
        except store.FAILURES as error:
            log.error("journal.unavailable", error=type(error).__name__, events=len(events))
            self._health.count("journal_failures")
            self._away_until = time.monotonic() + max(REST_SECONDS, time.perf_counter() - begin)
            for waiter in group:
                if not waiter.done.done():
                    waiter.done.set_exception(JournalUnavailable(type(error).__name__))
            return
        seconds = time.perf_counter() - begin
        self._health.observe("journal_append_seconds", seconds)
        told = Counter(event.source for event in events)
        for source, count in told.items():
            self._health.count("ingest_events", count, source=source, label="received")
            self._health.count("ingest_events", count - added.get(source, 0), source=source, label="duplicate")
        for waiter in group:
            if not waiter.done.done():
                waiter.done.set_result(None)

    async def _one_by_one(self, group: list[_Waiter], error: Exception) -> None:
        """One delivery can't be stored: it must not take down those that came at the same time."""
        if len(group) > 1:
            for waiter in group:
                await self._write_group([waiter])
            return
        log.error("journal.unstorable", error=str(error)[:200], events=len(group[0].events))
        self._health.count("journal_failures")
        if not group[0].done.done():
            group[0].done.set_exception(Unstorable(type(error).__name__))

    async def _write(self, events: Sequence[CallEvent], counted: bool) -> dict[str, int]:
        async with self._pool.acquire() as connection:
            await self._ensure_partitions(connection, events)
            if any(event.timeless for event in events):
                async with connection.transaction():
                    return await self._insert(connection, await self._not_seen(connection, events), counted)
            return await self._insert(connection, events, counted)

    async def _ensure_partitions(self, connection: asyncpg.Connection, events: Sequence[CallEvent]) -> None:
        months = {(event.at.year, event.at.month): event.at for event in events}
        for month in months.keys() - self._months:
            await connection.execute(store.query("journal", "ensure_partition"), "journal", months[month])
            self._months.add(month)

    async def _not_seen(self, connection: asyncpg.Connection, events: Sequence[CallEvent]) -> list[CallEvent]:
        """Without the repetitions of timeless events, which the journal's key can't recognise."""
        fresh: set[tuple[str, str, str]] = set()
        for source in sorted({event.source for event in events if event.timeless}):
            mine = sorted({(e.tenant, e.source, e.event_id) for e in events if e.timeless and e.source == source})
            columns = [list(column) for column in zip(*mine, strict=True)]
            window = self._windows.get(source, timedelta(minutes=1))
            rows = await connection.fetch(store.query("journal", "new_timeless"), *columns, window)
            fresh.update((row["tenant"], row["source"], row["event_id"]) for row in rows)
        kept = []
        for event in events:
            key = (event.tenant, event.source, event.event_id)
            if not event.timeless:
                kept.append(event)
            elif key in fresh:
                fresh.discard(key)
                kept.append(event)
        return kept

    async def _insert(
        self, connection: asyncpg.Connection, events: Sequence[CallEvent], counted: bool
    ) -> dict[str, int]:
        rows = await connection.fetch(store.query("journal", "append"), *_columns(events), counted)
        return {row["source"]: row["added"] for row in rows}


def _columns(events: Sequence[CallEvent]) -> list[list[Any]]:
    return [
        [e.tenant for e in events],
        [e.source for e in events],
        [e.at for e in events],
        [_storable(e.event_id) for e in events],
        [_storable(e.call_id) for e in events],
        [e.kind.value for e in events],
        [e.received_at for e in events],
        [_storable(store.event_body(e)) for e in events],
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
