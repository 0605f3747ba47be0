"""One reading of the store for all who look at a board, and none while nobody does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import structlog

from callkpi import config
from callkpi.calendar.business import local_midnight
from callkpi.calls import facts
from callkpi.calls.facts import Grain
from callkpi.calls.formulas import Figures
from callkpi.database import store
from callkpi.figures import board
from callkpi.figures.kpis import Query, Reports
from callkpi.figures.live import by_queue
from callkpi.ingest.spool import Spool
from callkpi.missed.judging import written_off_before
from callkpi.people.names import Names

log = structlog.get_logger()

#: Seconds between two readings.
INTERVAL = 2.0
#: A reading that takes longer has failed.
READ_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Store:
    """What the boards of all tenants read from."""

    pool: asyncpg.Pool
    settings: config.Settings
    names: Names
    spool: Spool | None = None


class Watch:
    """The newest state of one tenant's board. It outlives outages: what is old says so."""

    def __init__(self, shared: Store, tenant: str, version: str) -> None:
        self._pool, self._settings, self._names, self._tenant = shared.pool, shared.settings, shared.names, tenant
        self._spool = shared.spool
        self._reports = Reports(shared.pool, shared.settings, shared.names)
        self._reading: asyncio.Task[bytes] | None = None
        self._tried_at = self._read_at = float("-inf")
        self._state: dict[str, Any] = {"tenant": tenant, "company": None, "queues": []}
        self._always = {"version": version}
        self._last_week: tuple[datetime, int | None] | None = None

    def newest(self) -> asyncio.Task[bytes]:
        """The state as JSON, not older than the interval. The task is everybody's: don't cancel it."""
        if self._reading is None or (self._reading.done() and self.seconds_to_next <= 0):
            self._tried_at = time.monotonic()
            self._reading = asyncio.create_task(self._refresh(), name="board")
        return self._reading

    @property
    def seconds_to_next(self) -> float:
        """Seconds until a new reading is due."""
        return self._tried_at + INTERVAL - time.monotonic()

    async def _refresh(self) -> bytes:
        stale: dict[str, Any] = {}
        try:
            async with asyncio.timeout(READ_SECONDS):
                reading = await self._read()
            self._state, self._read_at = board.state(reading, self._tenant, self._settings, self._names), self._tried_at
        except store.FAILURES as error:
            log.warning("board.stale", tenant=self._tenant, error=type(error).__name__)
            stale = {"stale": "database"}
        except Exception:
            # Who looks sees the last figures and how old they are, and those of the next reading.
            log.exception("board.unforeseen", tenant=self._tenant)
            stale = {"stale": "projector"}
        age = time.monotonic() - self._read_at
        age_told = {"age_seconds": round(age, 1) if age != float("inf") else None}
        return orjson.dumps({**self._state, **stale, **age_told, **self._always})

    async def _read(self) -> board.Reading:
        now, tenant = datetime.now(UTC), self._tenant
        own = self._settings.tenants[tenant]
        last_week = await self._handled_last_week(own, now)
        spooled = await self._spool.oldest(self._settings.sources) if self._spool is not None else None
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):

            async def rows(file: str, name: str, *arguments: object) -> Any:
                return await connection.fetch(store.query(file, name), *arguments)

            await self._names.refresh(connection)
            window = (local_midnight(own, now), now + facts.INTERVAL)
            written_off = written_off_before(own, now)
            sources = [name for name, source in self._settings.sources.items() if source.tenant == tenant]
            return board.Reading(
                at=now,
                names=await rows("board", "queue_names", tenant),
                open_calls=await rows("board", "open_calls", tenant),
                agent_states=await rows("board", "agent_states", tenant),
                missed={tenant: await rows("reports", "missed_waiting", tenant, written_off)},
                windows={(tenant, "day"): by_queue(await rows("reports", "rollup_rows", tenant, Grain.ENTRY, *window))},
                company=_sum(await rows("reports", "rollup_rows", tenant, Grain.CALL, *window)),
                handled_last_week=last_week,
                sources=await rows("board", "sources_now", sources),
                lag_seconds=(await rows("projector", "lag"))[0]["seconds"],
                spooled_since=spooled,
            )

    async def _handled_last_week(self, own: config.Tenant, now: datetime) -> int | None:
        """Asked once a minute: it stands still for as long."""
        begin, end = board.same_time_last_week(own, now)
        if self._last_week is None or self._last_week[0] != end:
            self._last_week = (end, await self._handled_between(begin, end) if begin < end else None)
        return self._last_week[1]

    async def _handled_between(self, begin: datetime, end: datetime) -> int | None:
        """Calls that began after *begin* and were handled by *end*, as today's were by now; None without any call."""
        total = (await self._reports.figures(Query(self._tenant, begin, end, "direction")))["total"]
        if not any(total[name] for name in ("offered", "made", "after_hours")):
            return None
        # A longer one has expired, and counts as handled only if its end has come after all.
        longest = timedelta(hours=self._settings.tenants[self._tenant].expire_after_hours)
        window = (max(begin, end - longest), end)
        later = await self._pool.fetchval(store.query("board", "handled_later"), self._tenant, *window)
        return int(total["handled"] - later)


def _sum(rows: Any) -> Figures:
    figures = Figures()
    for row in rows:
        figures.add(row["outcome"], row, row["longest_wait_ms"])
    return figures
