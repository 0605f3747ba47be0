"""What the daemon counts of itself. Every process adds to the same table, so each answers a scrape alike."""

from __future__ import annotations

import asyncio
import contextlib
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import asyncpg
import structlog

from callkpi.database import store

log = structlog.get_logger()

#: Upper bounds in seconds of the histograms of the daemon's own latencies.
LATENCY_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FLUSH_SECONDS = 1.0

Label = tuple[str, str, str]
#: Background work by its name, and whose it is (a source, or '').
Work = tuple[str, str]


class Health:
    """Counters in memory, flushed about every second. A kill -9 loses at most that second of these."""

    def __init__(self) -> None:
        self._values: Counter[Label] = Counter()
        self._sums: dict[Label, float] = defaultdict(float)
        self._buckets: dict[Label, Counter[int]] = defaultdict(Counter)
        self._sources: dict[str, tuple[datetime | None, datetime]] = {}
        self._failing: dict[Work, str] = {}
        self._mended: set[Work] = set()

    def count(self, metric: str, amount: int = 1, *, source: str = "", label: str = "") -> None:
        if amount:
            self._values[metric, source, label] += amount

    def observe(self, metric: str, seconds: float) -> None:
        """One value of a latency histogram."""
        key = (metric, "", "")
        self._sums[key] += seconds
        self._buckets[key][bisect_left(LATENCY_BOUNDS, seconds)] += 1

    def heard(self, source: str, event_at: datetime | None, received_at: datetime) -> None:
        """A source spoke: *event_at* is the newest time that it told of."""
        known = self._sources.get(source)
        if known is not None and known[0] is not None and (event_at is None or known[0] > event_at):
            event_at = known[0]
        if known is not None:
            received_at = max(received_at, known[1])
        self._sources[source] = (event_at, received_at)

    def failing(self, work: Work, error: str) -> None:
        """A round of background work failed: *error* is a word. It is told until it :meth:`works`."""
        self.count("work_failures", label=work[0])
        self._mended.discard(work)
        self._failing[work] = error

    def works(self, work: Work) -> None:
        """Work that was failing goes on."""
        if self._failing.pop(work, None) is not None:
            self._mended.add(work)

    async def flush(self, pool: asyncpg.Pool) -> None:
        """Add to the store what was counted since the last time. What can't be written waits for the next flush."""
        values, self._values = self._values, Counter()
        sums, self._sums = self._sums, defaultdict(float)
        buckets, self._buckets = self._buckets, defaultdict(Counter)
        try:
            if rows := _rows(values, sums, buckets):
                await pool.execute(store.query("reports", "add_health"), json.dumps(rows))
        except BaseException:
            self._values.update(values)
            for key, total in sums.items():
                self._sums[key] += total
                self._buckets[key].update(buckets[key])
            raise
        await self._flush_sources(pool)
        await self._flush_work(pool)

    async def _flush_sources(self, pool: asyncpg.Pool) -> None:
        if sources := self._sources:
            self._sources = {}
            names = sorted(sources)
            columns = [names, [sources[n][0] for n in names], [sources[n][1] for n in names]]
            try:
                await pool.execute(store.query("reports", "note_sources"), *columns)
            except BaseException:
                for name in names:
                    self.heard(name, *sources[name])
                raise

    async def _flush_work(self, pool: asyncpg.Pool) -> None:
        """What fails is told again with each flush: what nobody tells any more belongs to a process that is gone."""
        if failing := sorted(self._failing):
            columns = [[name for name, _ in failing], [subject for _, subject in failing]]
            errors = [self._failing[work] for work in failing]
            await pool.execute(store.query("work_failures", "tell"), *columns, errors)
        if mended := sorted(self._mended):
            columns = [[name for name, _ in mended], [subject for _, subject in mended]]
            await pool.execute(store.query("work_failures", "forget"), *columns)
            self._mended.difference_update(mended)

    async def run(self, pool: asyncpg.Pool) -> None:
        """Flush until cancelled, and once more then."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                try:
                    await self.flush(pool)
                except store.UNAVAILABLE as error:
                    log.warning("health.not_flushed", error=type(error).__name__)
                except Exception:
                    # A loop that ended here would take all counts of this process with it.
                    log.exception("health.failed")
        finally:
            with contextlib.suppress(Exception):
                await self.flush(pool)


def _rows(
    values: Mapping[Label, int], sums: Mapping[Label, float], buckets: Mapping[Label, Counter[int]]
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [_row(key, value, []) for key, value in values.items()]
    for key, total in sums.items():
        dense = [buckets[key][index] for index in range(len(LATENCY_BOUNDS) + 1)]
        rows.append(_row(key, total, dense))
    return rows


def _row(key: Label, value: float, buckets: list[int]) -> dict[str, object]:
    metric, source, label = key
    return {"metric": metric, "source": source, "label": label, "value": value, "buckets": buckets}


#: A row that nobody has written for this long tells of a holder that is gone.
STALE_SECONDS = 60.0


class Reason(StrEnum):
    """Why a source is not connected: the values of a label, so a short list."""

    NONE = ""  #: it is
    NEVER = "never"  #: not tried yet
    STOPPED = "stopped"  #: callkpi was stopped
    UNREACHABLE = "unreachable"  #: no such host, refused, no route, a file that is not there
    REFUSED = "refused"  #: user or secret is wrong, or this address may not log in
    FORBIDDEN = "forbidden"  #: logged in, but without the rights that are needed
    TIMEOUT = "timeout"  #: no answer in time, or silence
    CLOSED = "closed"  #: the other side ended it
    PROTOCOL = "protocol"  #: it says what nobody can understand
    TLS = "tls"  #: certificate or handshake
    FAULT = "fault"  #: of callkpi itself; its log says more


#: Everything that the daemon starts, and starts again when it dies.
PROCESSES = ("web", "postgres", "projector", "reconciler", "connector", "courier", "janitor")
