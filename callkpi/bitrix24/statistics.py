"""Bitrix24, reconciled: a lost webhook is not sent again, so the portal's call statistics are read as well.

Three passes over one list of rows (``voximplant.statistic.get``): the *new* rows, by row id, every minute or so; a
*window* of the last two days, for late registrations and corrections; and each *night* the day before, which pay may
depend on. A row that the journal does not have goes the way of every event; one that it has costs a look. What is
durable is remembered by the last row id, so a pass that was killed goes on where it was.

Nothing here must be right for the numbers to be right but this: a row that differs from what was last journalled of
it becomes an event with the next revision. Two reconcilers at once only do the work twice; a lock spares them that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import asyncpg
import structlog

from callkpi import config
from callkpi.bitrix24 import names as portal_names
from callkpi.bitrix24 import rest
from callkpi.bitrix24.funnel import Funnel
from callkpi.calendar.business import local_midnight
from callkpi.database import store
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import Journal, JournalUnavailable, Unstorable
from callkpi.looping import Loop, keep_going
from callkpi.projection import views
from callkpi.sources.bitrix24 import ROW_EVENT, row_digest, row_item

log = structlog.get_logger()

#: A webhook that is later than this after its call's end is counted as lost.
WEBHOOK_PATIENCE = timedelta(minutes=15)
#: Rows that are written at the same time may become visible in another order than their ids: look back that far.
OVERLAP_ROWS = 20
#: A pass that was left longer ago is begun anew: what it has read is too old.
RESUME_WITHIN = timedelta(hours=6)
#: A long pass takes at most one part in this of the time.
DUTY = 4
DENIED_SECONDS, BLOCKED_SECONDS, TROUBLE_SECONDS, STANDBY_SECONDS = 300.0, 3600.0, 30.0, 15.0
#: After a start or a fault of the database webhooks may still wait in the spool: nothing is called lost so soon.
SPOOL_SECONDS = 120.0
#: Calls that only we found are remembered this much longer than the window, for the night's pass.
FOUND_KEPT = timedelta(days=3)

_DATABASE = (*store.FAILURES, JournalUnavailable)


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

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest, health: Health, name: str, source: config.Source) -> None:
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


class Reconciler:
    """Reconciles one source until it is cancelled."""

    def __init__(self, pool: asyncpg.Pool, client: rest.Client, intake: Intake, health: Health,
                 settings: config.Settings) -> None:  # fmt: skip
        self._pool, self._client, self._intake, self._health = pool, client, intake, health
        self._settings, self._name = settings, intake.name
        self._source = settings.sources[self._name]
        self._tenant = settings.tenants[self._source.tenant]
        self._passes = Passes(pool, intake.name)
        self._next_new = 0.0
        self._next_window = 0.0
        self._next_names = 0.0
        self._surprises: set[str] = set()
        client.on_surprise = self._surprised
        client.on_request = lambda result: health.count("reconcile_requests", source=self._name, label=result)

    async def run(self, lock: asyncpg.Connection) -> None:
        """Work while *lock* is held; returns when its connection is lost."""
        await self._remember()
        self._intake.found_from = time.monotonic() + SPOOL_SECONDS
        loop = Loop("reconciler", self._source.reconcile_seconds, self._health, self._name)
        await keep_going(loop, self._round, until=lock.is_closed)

    async def _round(self) -> float:
        """One round. Returns the seconds to the next."""
        try:
            await self.step(datetime.now(UTC))
            return min(max(self._next_new - time.monotonic(), 0.0), self._source.reconcile_seconds)
        except rest.PortalError as error:
            pause = _pause_after(error)
            self._health.count("reconcile_errors", source=self._name, label=error.reason)
            log.error("reconcile.failed", source=self._name, reason=error.reason, error=str(error),
                      again_in_seconds=pause)  # fmt: skip
            return pause
        except Exception as error:
            self._intake.found_from = time.monotonic() + SPOOL_SECONDS
            reason = "database" if isinstance(error, _DATABASE) else "unforeseen"
            self._health.count("reconcile_errors", source=self._name, label=reason)
            raise

    async def _remember(self) -> None:
        """What earlier runs knew: since when calls are awaited, and where the portal has moved."""
        await self._pool.execute(store.query("reconcile", "add_source"), self._name)
        row = await self._pool.fetchrow(store.query("reconcile", "source"), self._name)
        self._intake.history_before = row["since"] - WEBHOOK_PATIENCE
        if not self._intake.is_voice:
            self._intake.awaited_since = row["since"]
        if row["renamed_from"] == rest.origin_of(self._client.url):
            self._client.origin = row["renamed_to"]
        if row["named_at"] is not None:
            age = (datetime.now(UTC) - row["named_at"]).total_seconds()
            self._next_names = time.monotonic() + max(portal_names.REFRESH_SECONDS - age, 0.0)
        self._client.on_rename = self._renamed
        window = await self._passes.get("window")
        if window is not None and window.finished_at is not None:
            age = (datetime.now(UTC) - window.finished_at).total_seconds()
            self._next_window = time.monotonic() + max(60 * self._source.recheck_minutes - age, 0.0)

    async def _renamed(self, _old: str, new: str) -> None:
        written = rest.origin_of(self._client.url)
        await self._pool.execute(store.query("reconcile", "renamed"), self._name, written, new)

    def _surprised(self, what: str, text: str) -> None:
        self._health.count("reconcile_surprises", source=self._name, label=what)
        if what not in self._surprises:
            self._surprises.add(what)
            log.warning("reconcile.surprise", source=self._name, what=what, text=text)

    async def step(self, now: datetime) -> None:
        """One round: the new rows, and what else is due. Raises a PortalError."""
        await self._new_rows()
        if time.monotonic() >= self._next_window:
            begun = time.monotonic()
            span = (now - timedelta(hours=self._source.recheck_hours), now)
            done = await self._span("window", *span)
            if done.begin is not None and done.end is not None:
                await self._look_for_unseen(done.begin, done.end)
            pause = max(60 * self._source.recheck_minutes, (DUTY - 1) * (time.monotonic() - begun))
            self._next_window = time.monotonic() + pause
        if (day := await self._day_due(now)) is not None:
            await self._span("night", *day)
            kept = now - timedelta(hours=self._source.recheck_hours) - FOUND_KEPT
            await self._pool.execute(store.query("reconcile", "forget_found"), self._name, kept)
        if time.monotonic() >= self._next_names:
            self._next_names = time.monotonic() + portal_names.REFRESH_SECONDS
            await portal_names.refresh(self._client, self._pool, self._name, self._source.tenant, self._surprised)
            async with self._pool.acquire() as connection:
                await views.publish_names(connection, self._settings)

    async def _new_rows(self) -> Taken:
        """(a) Rows beyond the last one that we know."""
        current = await self._passes.get("new")
        if current is None:
            # From now on; the window reads what was before, and 'callkpi backfill' what was before that.
            current = await self._passes.begin("new", cursor=await self._client.newest_row())
        total = Taken()
        async for taken in walk(self._client, self._intake, self._passes, current, OVERLAP_ROWS):
            total = total.plus(taken)
        self._next_new = time.monotonic() + self._source.reconcile_seconds
        if self._intake.is_voice:
            self._health.heard(self._name, None, datetime.now(UTC))
        await self._pool.execute(store.query("reconcile", "succeeded"), self._name, datetime.now(UTC))
        if total.new or total.corrected:
            log.info("reconcile.new", source=self._name, rows=total.new, corrected=total.corrected)
        return total

    async def _span(self, name: str, begin: datetime, end: datetime) -> Pass:
        """(b), (c) All rows of calls that began in a span, again; new rows in between when they are due."""
        left = await self._passes.get(name)
        if left is not None and left.finished_at is None and datetime.now(UTC) - left.started_at < RESUME_WITHIN:
            current = left
        else:
            current = await begin_counted(self._client, self._passes, name, begin, end)
        total = Taken(rows=current.rows)
        async for taken in walk(self._client, self._intake, self._passes, current):
            total = total.plus(taken)
            if time.monotonic() >= self._next_new:
                await self._new_rows()
        await self._passes.finish(name)
        self._judge(current, total)
        return current

    def _judge(self, current: Pass, total: Taken) -> None:
        """Whether the portal showed us every row that it counted."""
        if current.total is not None and total.rows < current.total:
            self._surprised("incomplete", f"{current.name}: the portal counts {current.total} rows, shows {total.rows}")
        log.info(
            f"reconcile.{current.name}", source=self._name, rows=total.rows, total=current.total, new=total.new,
            corrected=total.corrected, found=total.found,
        )  # fmt: skip

    async def _look_for_unseen(self, begin: datetime, end: datetime) -> None:
        """Calls of a span that was read whole, whose end a webhook told and whose rows we are not shown."""
        unseen = await self._pool.fetchval(
            store.query("reconcile", "unseen"), self._name, self._source.tenant, begin + WEBHOOK_PATIENCE,
            end - WEBHOOK_PATIENCE,
        )  # fmt: skip
        if unseen:
            self._surprised(
                "unseen", f"{unseen} calls that webhooks told of are not in the statistics: give the owner of the"
                " incoming webhook the right to view the call statistics of any employee",
            )  # fmt: skip

    async def _day_due(self, now: datetime) -> tuple[datetime, datetime] | None:
        """The tenant's last whole day, once each night."""
        hours = config.parse_hours(f"{self._source.nightly_at}-23:59")
        local = now.astimezone(self._tenant.zone)
        if hours is None or local.time().replace(tzinfo=None) < hours[0]:
            return None
        end = local_midnight(self._tenant, now)
        begin = local_midnight(self._tenant, end - timedelta(hours=12))
        done = await self._passes.get("night")
        if done is not None and done.begin is not None and done.begin >= begin and done.finished_at is not None:
            return None
        return begin, end


def _pause_after(error: rest.PortalError) -> float:
    if isinstance(error, rest.Blocked):
        return BLOCKED_SECONDS
    return DENIED_SECONDS if isinstance(error, rest.Denied) else TROUBLE_SECONDS


async def run(settings: config.Settings, dsn: str) -> None:
    """Reconcile every source that has a REST address, until cancelled."""
    pool = await store.create_pool(dsn, role="reconciler", size=3, lazy=True)
    health = Health()
    journal = Journal(pool, health, {})
    ingest = Ingest(settings, pool, journal, health)
    flusher = asyncio.create_task(health.run(pool))
    try:
        async with rest.session() as http, asyncio.TaskGroup() as group:
            group.create_task(journal.run())
            for name, source in settings.portals.items():
                client = rest.Client(http, source.rest_url, source.requests_per_second)
                intake = Intake(pool, ingest, health, name, source)
                workers: list[Worker] = [Reconciler(pool, client, intake, health, settings)]
                if name in settings.funnels:
                    workers.append(Funnel(pool, client, health, settings, name))
                loop = Loop("reconciler", STANDBY_SECONDS, health, name)
                group.create_task(keep_going(loop, partial(_alone, dsn, name, workers)))
    finally:
        flusher.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await flusher
        await pool.close()


class Worker(Protocol):
    """Works with one portal's client, while it holds the portal's lock."""

    async def run(self, lock: asyncpg.Connection) -> None: ...


async def _alone(dsn: str, name: str, workers: Sequence[Worker]) -> None:
    """Let the workers of a source work while this process has its lock; the others stand by."""
    lock = await store.connect(dsn, role="reconciler-lock")
    try:
        if await lock.fetchval(store.query("reconcile", "try_lock"), name):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(worker.run(lock)) for worker in workers]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:  # The lock is lost; the others may sleep long and would not see it.
                    task.cancel()
    finally:
        with contextlib.suppress(*_DATABASE):
            await lock.close(timeout=5)
