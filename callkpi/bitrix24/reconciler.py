"""Reads a portal's statistics again and again, and writes the call funnel into its CRM, one process for all portals."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

import asyncpg
import structlog

from callkpi import config
from callkpi.bitrix24 import names as portal_names
from callkpi.bitrix24 import rest
from callkpi.bitrix24.funnel import Funnel
from callkpi.bitrix24.statistics import (
    AWAY,
    OVERLAP_ROWS,
    WEBHOOK_PATIENCE,
    Intake,
    Pass,
    Passes,
    Taken,
    begin_counted,
    walk,
)
from callkpi.calendar.business import local_midnight
from callkpi.database import store
from callkpi.health import Health
from callkpi.ingest.opened import opened
from callkpi.looping import Loop, keep_going
from callkpi.projection import views

log = structlog.get_logger()

#: A long pass takes at most one part in this of the time.
DUTY = 4

#: After a start or a fault of the database webhooks may still wait in the spool: nothing is called lost so soon.
SPOOL_SECONDS = 120.0


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
            reason = "database" if isinstance(error, AWAY) else "unforeseen"
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
    try:
        async with opened(settings, pool) as way_in, rest.session() as http, asyncio.TaskGroup() as group:
            group.create_task(way_in.alive())
            for name, source in settings.portals.items():
                client = rest.Client(http, source.rest_url, source.requests_per_second)
                intake = Intake(pool, way_in.ingest, way_in.health, name, source)
                workers: list[Worker] = [Reconciler(pool, client, intake, way_in.health, settings)]
                if name in settings.funnels:
                    workers.append(Funnel(pool, client, way_in.health, settings, name))
                loop = Loop("reconciler", STANDBY_SECONDS, way_in.health, name)
                group.create_task(keep_going(loop, partial(_alone, dsn, name, workers)))
    finally:
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
        with contextlib.suppress(*AWAY):
            await lock.close(timeout=5)


#: A pass that was left longer ago is begun anew: what it has read is too old.
RESUME_WITHIN = timedelta(hours=6)

DENIED_SECONDS, BLOCKED_SECONDS, TROUBLE_SECONDS, STANDBY_SECONDS = 300.0, 3600.0, 30.0, 15.0

#: Calls that only we found are remembered this much longer than the window, for the night's pass.
FOUND_KEPT = timedelta(days=3)
