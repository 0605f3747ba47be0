"""The way in, opened: what a delivery goes through to the journal, or to the spool, put together in one place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from callkpi import config
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import Journal, windows_of
from callkpi.ingest.spool import Spool, open_spool


@dataclass(frozen=True, slots=True)
class WayIn:
    """Takes deliveries for as long as it is open."""

    ingest: Ingest
    health: Health
    spool: Spool | None
    writer: asyncio.Task[None]  #: the journal's; it must not die: without it nothing becomes durable

    async def alive(self) -> None:
        """Wait for as long as the writer lives. Raises what killed it."""
        await asyncio.shield(self.writer)


@contextlib.asynccontextmanager
async def opened(
    settings: config.Settings, pool: asyncpg.Pool, *, with_spool: bool = False, spools_deliveries: bool = False
) -> AsyncIterator[WayIn]:
    """The way in over *pool*, which stays open. What is under way ends before this does, and what was counted is kept.

    *with_spool*: local disk takes what comes while the database is away; with *spools_deliveries* the door itself puts
    deliveries there, else who uses it decides what to do with them.
    """
    health = Health()
    spool = open_spool(settings) if with_spool else None
    journal = Journal(pool, health, windows_of(settings))
    ingest = Ingest(settings, pool, journal, health, spool if spools_deliveries else None)
    writer = asyncio.create_task(journal.run(), name="journal")
    flusher = asyncio.create_task(health.run(pool), name="health")
    try:
        yield WayIn(ingest, health, spool, writer)
    finally:
        for task in (writer, flusher):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        if spool is not None:
            spool.close()
