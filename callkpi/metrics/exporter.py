"""The store as Prometheus families. Nothing is counted in memory: a restart changes no number.

Names, labels and buckets: the handbook's page of numbers. Business counters and gauges are the same from every process
(query them with ``max by``); counters only grow, corrections are in ``callkpi_calls_reclassified_total``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import structlog
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from callkpi import config
from callkpi.calendar.business import local_midnight
from callkpi.calls import facts
from callkpi.calls.facts import Grain
from callkpi.database import store
from callkpi.figures import live, recent
from callkpi.figures.live import by_queue
from callkpi.ingest.spool import Size, Spool
from callkpi.metrics import recent as metrics_recent
from callkpi.metrics.calls import (
    bounded_teams,
    counter_families,
    live_families,
    overflow_family,
    target_family,
    window_families,
)
from callkpi.metrics.daemon import delivery_families, own_counters, own_families, spool_families
from callkpi.metrics.families import Snapshot
from callkpi.metrics.people import time_families
from callkpi.metrics.projector import projector_families
from callkpi.metrics.sources import crm_families, reconcile_families, source_families
from callkpi.missed.judging import written_off_before
from callkpi.people.names import Bounded, Names
from callkpi.projection import timekeeping

log = structlog.get_logger()

#: A database that answers nothing within this counts as not reached.
ANSWER_SECONDS = 1.0


class Exporter:
    """Answers scrapes; those that come together share one reading of the store."""

    def __init__(
        self, pool: asyncpg.Pool, settings: config.Settings, spool: Spool | None = None, names: Names | None = None
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._spool = spool
        self._names = names or Names(settings)
        self._recent = recent.Reader(settings.tenants)
        self._reading: asyncio.Task[Snapshot] | None = None

    async def scrape(self, accept: str, now: datetime | None = None) -> tuple[bytes, str]:
        """The page as of *now* and its content type, as the client prefers it."""
        encode, content_type = choose_encoder(accept)
        snapshot = await self._shared_reading(now or datetime.now(UTC))
        return encode(_Page(list(families(snapshot, self._settings, self._names)))), content_type

    async def without_database(self, accept: str) -> tuple[bytes, str]:
        """What can be told of a daemon whose database does not answer: that it is there, and what its spool holds."""
        encode, content_type = choose_encoder(accept)
        return encode(_Page(await self._own(is_up=False, is_late=False))), content_type

    async def too_late(self, accept: str) -> tuple[bytes, str]:
        """What can be told where the numbers were not read in time: that, and whether the database answers at all."""
        encode, content_type = choose_encoder(accept)
        is_up = await self._answers()
        return encode(_Page(await self._own(is_up=is_up, is_late=is_up))), content_type

    async def _answers(self) -> bool:
        try:
            async with store.within(self._pool, ANSWER_SECONDS) as connection:
                await connection.fetchval(store.query("reports", "ready"))
        except store.FAILURES:
            return False
        return True

    async def _own(self, *, is_up: bool, is_late: bool) -> list[Metric]:
        told = list(own_families(self._settings, datetime.now(UTC), is_up=is_up, is_late=is_late))
        told += spool_families(await self._spool_size())
        return told

    async def _spool_size(self) -> Size | None:
        """None where there is no spool, or its disk can't be read."""
        try:
            return await self._spool.size() if self._spool is not None else None
        except OSError as error:
            log.warning("spool.unreadable", error=str(error)[:200])
            return None

    async def _shared_reading(self, now: datetime) -> Snapshot:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(now))
        return await asyncio.shield(self._reading)

    async def _read(self, now: datetime) -> Snapshot:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):

            async def rows(file: str, name: str, *arguments: object) -> Any:
                return await connection.fetch(store.query(file, name), *arguments)

            await self._names.refresh(connection)
            missed, windows, times = {}, {}, {}
            for tenant, settings in self._settings.tenants.items():
                written_off = written_off_before(settings, now)
                missed[tenant] = await rows("reports", "missed_waiting", tenant, written_off)
                shown = partial(self._names.show, tenant, "agent")
                day = (local_midnight(settings, now), now)
                times[tenant] = await timekeeping.people(connection, tenant, day, shown, settings.ringing_counts)
                for window, begin in _windows(settings, now).items():
                    told = await rows("reports", "rollup_rows", tenant, Grain.ENTRY, begin, now + facts.INTERVAL)
                    windows[tenant, window] = by_queue(told)
            return Snapshot(
                at=now,
                counters=await rows("reports", "counters"),
                names=await rows("reports", "names"),
                open_calls=await rows("reports", "open_calls"),
                agent_states=await rows("reports", "agent_states"),
                missed=missed,
                windows=windows,
                health=await rows("reports", "health_counters"),
                sources=await rows("reports", "source_status"),
                rejected=await rows("journal", "rejected_counts"),
                lag=(await rows("projector", "lag"))[0],
                set_aside=await rows("set_aside", "count"),
                reconciled=await rows("reconcile", "sources"),
                connections=await rows("connections", "all"),
                funnels=await rows("crm", "funnels"),
                recent=await self._recent.read(rows, now),
                times=times,
                unsent=await rows("delivery", "unsent", now),
                failing=await rows("work_failures", "now"),
                spool=await self._spool_size(),
            )


class _Page:
    """What the client library's encoders want to read."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _windows(tenant: config.Tenant, now: datetime) -> dict[str, datetime]:
    """Windows of the exact gauges: the call centre's day so far, and the last hour in whole quarters."""
    return {"day": local_midnight(tenant, now), "hour": facts.quarter(now) - 3 * facts.INTERVAL}


# -- families ---------------------------------------------------------------------------------------------


def families(snapshot: Snapshot, settings: config.Settings, names: Names) -> Iterator[Metric]:
    """Every family of the page."""
    limits = {
        "agent": settings.metrics.max_agents,
        "queue": settings.metrics.max_queues,
        "line": settings.metrics.max_lines,
    }
    known = [
        (tenant, kind, name)
        for tenant in settings.tenants
        for kind in limits
        for name in names.configured(tenant, kind)
    ]
    seen = [(row["tenant"], row["kind"], row["name"]) for row in snapshot.names]
    labels = Bounded(names, [*known, *seen], limits, settings.metrics.max_places)
    yield from counter_families(snapshot, settings, labels)

    def queue_label(tenant: str, queue: str) -> str:
        return labels.label(tenant, "queue", queue)

    now = live.now(snapshot, settings, names, queue_label)
    yield from live_families(replace(now, teams=bounded_teams(now.teams, settings.metrics.max_teams)))
    yield target_family(snapshot, settings, queue_label)
    yield from window_families(live.windows(snapshot, queue_label), settings)
    yield from time_families(snapshot, settings, names, labels)
    yield from _health_families(snapshot, settings, labels)


def _health_families(snapshot: Snapshot, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
    yield from own_families(settings, snapshot.at, is_up=True, is_late=False)
    yield from projector_families(snapshot, settings)
    yield overflow_family(labels)
    yield from spool_families(snapshot.spool)
    yield from source_families(snapshot, settings)
    yield from reconcile_families(snapshot, settings)
    yield from delivery_families(snapshot.unsent, settings)
    yield from crm_families(snapshot, settings)
    yield from own_counters(snapshot, settings)
    yield from metrics_recent.families(snapshot.recent, settings, labels)
