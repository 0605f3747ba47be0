"""Bitrix24, reconciled: a lost webhook is not sent again, so the portal's call statistics are read as well.

Three passes over one list of rows (``voximplant.statistic.get``): the *new* rows, by row id, every minute or so; a
*window* of the last two days, for late registrations and corrections; and each *night* the day before, which pay may
depend on. A row that the journal does not have goes the way of every event; one that it has costs a look. What is
durable is remembered by the last row id, so a pass that was killed goes on where it was.

Nothing here must be right for the numbers to be right but this: a row that differs from what was last journalled of
it becomes an event with the next revision. Two reconcilers at once only do the work twice; a lock spares them that.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import structlog

from callkpi.bitrix24 import rest
from callkpi.database import store
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import JournalUnavailable, Unstorable
from callkpi.sources.bitrix24.kind import ROW_EVENT, row_digest, row_item
from callkpi.sources.bitrix24.settings import Bitrix24Source

log = structlog.get_logger()

#: Rows that are written at the same time may become visible in another order than their ids: look back that far.
OVERLAP_ROWS = 20

AWAY = (*store.FAILURES, JournalUnavailable)


@dataclass(slots=True)
class Taken:
    """What became of rows."""

    rows: int = 0
    new: int = 0  #: journalled for the first time
    corrected: int = 0  #: journalled again with other values
    rejected: int = 0
    found: int = 0  #: calls whose webhooks never came, counted for the first time

    def plus(self, other: Taken) -> Taken:
        return Taken(
            self.rows + other.rows, self.new + other.new, self.corrected + other.corrected,
            self.rejected + other.rejected, self.found + other.found,
        )  # fmt: skip


@dataclass(slots=True)
class _Known:
    """What the journal has of one call."""

    #: row id -> revision, when it was read, digest; of the newest one
    rows: dict[int, tuple[int, datetime, str]] = field(default_factory=dict)
    told: bool = False  #: a webhook told its end


class Intake:
    """Puts rows of one source's statistics into the journal, those that say something new."""

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest, health: Health, name: str, source: Bitrix24Source) -> None:
        self._pool, self._ingest, self._health = pool, ingest, health
        self.name, self._source = name, source
        self._rejected: set[str] = set()
        #: The source has no webhooks: it speaks by what is read of it.
        self.is_voice = not any(source.application_tokens)
        #: Count calls whose webhooks never came, of calls that ended after this; None: don't.
        self.awaited_since: datetime | None = None
        self.found_from = 0.0  #: nor before this, by the clock time.monotonic()
        #: Calls that ended before this are history, which Prometheus does not count.
        self.history_before = datetime.max.replace(tzinfo=UTC)

    async def take(self, rows: Sequence[Mapping[str, Any]], asked_at: datetime) -> Taken:
        """Take rows that the portal showed at *asked_at*. Returns when they are durable."""
        calls = sorted({call_id for row in rows if (call_id := _call_id(row))})
        known = await self._known(calls)
        taken, items = Taken(rows=len(rows)), []
        for row in rows:
            before = known[_call_id(row)].rows.get(rest.row_id(row))
            digest = row_digest(row)
            if digest in self._rejected or (before is not None and (before[2] == digest or before[1] > asked_at)):
                continue
            items.append(row_item(row, before[0] + 1 if before else 1))
            taken.new += before is None
            taken.corrected += before is not None
        if items:
            taken.rejected = await self._journal(items, asked_at)
            taken.corrected -= max(taken.rejected - taken.new, 0)
            taken.new = max(taken.new - taken.rejected, 0)
        taken.found = await self._count_found(rows, known, asked_at)
        for result in ("new", "corrected", "rejected"):
            self._health.count("reconcile_rows", getattr(taken, result), source=self.name, label=result)
        told = taken.rows - taken.new - taken.corrected - taken.rejected
        self._health.count("reconcile_rows", told, source=self.name, label="known")
        return taken

    async def _known(self, calls: Sequence[str]) -> Mapping[str, _Known]:
        rows = await self._pool.fetch(
            store.query("reconcile", "known_rows"), self._source.tenant, self.name, calls
        )  # fmt: skip
        result: dict[str, _Known] = defaultdict(_Known)
        for row in rows:
            match = ROW_EVENT.fullmatch(row["event_id"])
            if match is None:
                result[row["call_id"]].told |= row["kind"] == "ended"
                continue
            version = (int(match[2]), row["received_at"], match[3])
            found = result[row["call_id"]].rows
            found[int(match[1])] = max(found.get(int(match[1]), version), version)
        return result

    async def _journal(self, items: Sequence[dict[str, Any]], asked_at: datetime) -> int:
        halves: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for item in items:
            ended_at = _ended_at(item["data"])
            halves[ended_at is None or ended_at >= self.history_before].append(item)
        rejected = 0
        for counted, half in halves.items():
            if half:
                rejected += await self._keep(half, asked_at, counted=counted)
        if rejected:
            # Kept for a replay after a fix; told once, not with every pass.
            kept = await self._known(sorted({_call_id(item["data"]) for item in items}))
            self._rejected |= {
                row_digest(item["data"]) for item in items
                if rest.row_id(item["data"]) not in kept[_call_id(item["data"])].rows
            }  # fmt: skip
        return rejected

    async def _keep(self, items: Sequence[dict[str, Any]], asked_at: datetime, *, counted: bool) -> int:
        """Journal rows. Returns how many could not be; one that the database refuses does not stop the others."""
        take = partial(self._ingest.take_fetched, self.name, is_voice=self.is_voice, counted=counted)
        try:
            return (await take(items, asked_at)).rejected
        except Unstorable as error:
            if len(items) == 1:
                log.error("reconcile.unstorable", source=self.name, row=rest.row_id(items[0]["data"]), error=str(error))
                return 1
        return sum([await self._keep([item], asked_at, counted=counted) for item in items])

    async def _count_found(
        self, rows: Sequence[Mapping[str, Any]], known: Mapping[str, _Known], asked_at: datetime
    ) -> int:
        if self.awaited_since is None or time.monotonic() < self.found_from:
            return 0
        lost = set()
        for row in rows:
            ended_at = _ended_at(row)
            if ended_at is None or known[_call_id(row)].told:
                continue
            if self.awaited_since <= ended_at <= asked_at - WEBHOOK_PATIENCE:
                lost.add(_call_id(row))
        if not lost:
            return 0
        return int(await self._pool.fetchval(store.query("reconcile", "found"), self.name, sorted(lost)))


def _call_id(row: Mapping[str, Any]) -> str:
    value = row.get("CALL_ID")
    return "" if value is None else str(value).strip().replace("\x00", "").encode("utf-8", "replace").decode()


def _ended_at(row: Mapping[str, Any]) -> datetime | None:
    """About when the row's conversation was over; None where the row does not say."""
    try:
        begin = datetime.fromisoformat(str(row.get("CALL_START_DATE")))
        duration = timedelta(seconds=min(max(float(row.get("CALL_DURATION") or 0), 0.0), 86_400.0))
        return begin + duration if begin.tzinfo else None
    except (ValueError, TypeError, OverflowError):
        return None


# -- passes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pass:
    """How far a pass over the statistics is."""

    name: str
    begin: datetime | None
    end: datetime | None
    cursor: int
    rows: int
    total: int | None
    started_at: datetime
    finished_at: datetime | None

    @property
    def only(self) -> dict[str, str]:
        """The filter, with full times: a bare date would be midnight of the portal's zone."""
        told = {}
        if self.begin is not None:
            told[">=CALL_START_DATE"] = self.begin.isoformat(timespec="seconds")
        if self.end is not None:
            told["<CALL_START_DATE"] = self.end.isoformat(timespec="seconds")
        return told


class Passes:
    """The passes of one source, as the database has them."""

    def __init__(self, pool: asyncpg.Pool, source: str) -> None:
        self._pool, self._source = pool, source

    async def get(self, name: str) -> Pass | None:
        row = await self._pool.fetchrow(store.query("reconcile", "pass"), self._source, name)
        if row is None:
            return None
        return Pass(
            name, row["begin_at"], row["end_at"], row["cursor"], row["rows"], row["total"], row["started_at"],
            row["finished_at"],
        )  # fmt: skip

    async def begin(
        self, name: str, begin: datetime | None = None, end: datetime | None = None, cursor: int = 0,
        total: int | None = None,
    ) -> Pass:  # fmt: skip
        query = store.query("reconcile", "begin_pass")
        await self._pool.execute(query, self._source, name, begin, end, cursor, total)
        return Pass(name, begin, end, cursor, 0, total, datetime.now(UTC), None)

    async def advance(self, name: str, cursor: int, rows: int) -> None:
        await self._pool.execute(store.query("reconcile", "advance_pass"), self._source, name, cursor, rows)

    async def finish(self, name: str) -> None:
        await self._pool.execute(store.query("reconcile", "finish_pass"), self._source, name)


async def walk(
    client: rest.Client, intake: Intake, passes: Passes, current: Pass, overlap: int = 0
) -> AsyncIterator[Taken]:
    """Read a pass from where it is to its end. Yields after each page, when that is durable."""
    async for page in client.statistics(current.only, max(current.cursor - overlap, 0)):
        taken = await intake.take(page.rows, page.asked_at)
        await passes.advance(current.name, page.cursor, taken.rows)
        yield taken


async def begin_counted(client: rest.Client, passes: Passes, name: str, begin: datetime, end: datetime) -> Pass:
    """Begin a pass over a span of time, with the number of rows that the portal says it has."""
    total = await client.count(Pass(name, begin, end, 0, 0, None, begin, None).only)
    return await passes.begin(name, begin, end, total=total)


# -- the daemon's part -----------------------------------------------------------------------------------

#: A webhook that is later than this after its call's end is counted as lost.
WEBHOOK_PATIENCE = timedelta(minutes=15)
