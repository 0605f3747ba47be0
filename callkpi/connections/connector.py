"""The process that keeps the live connections of all sources that have one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta

from callkpi import config
from callkpi.connections import asterisk
from callkpi.connections.freeswitch_esl import EslLink
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper, Link
from callkpi.connections.office import Office
from callkpi.database import store
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import Journal
from callkpi.ingest.spool import open_spool
from callkpi.sources.freeswitch.settings import FreeSwitchSource

#: What makes the link of a source of a kind.
LINKS: Mapping[str, Callable[[Office, str, config.Source], Link]] = {
    "asterisk": asterisk.link,
    "freeswitch": lambda office, name, source: EslLink(office, name, config.as_kind(source, FreeSwitchSource)),
}


async def run(settings: config.Settings, dsn: str) -> None:
    """Keep every connection, until cancelled."""
    pool = await store.create_pool(dsn, role="connector", size=4, lazy=True)
    spool = open_spool(settings)
    health = Health()
    windows = {name: timedelta(seconds=source.dedupe_seconds) for name, source in settings.sources.items()}
    journal = Journal(pool, health, windows)
    office = Office(pool, settings, Ingest(settings, pool, journal, health), spool, health)
    # The journal's writer outlives the intakes: when the daemon stops, their last groups still need it.
    helpers = [asyncio.create_task(health.run(pool)), asyncio.create_task(journal.run())]
    try:
        async with asyncio.TaskGroup() as group:
            for name, source in settings.connected.items():
                intake = Intake(name, office.ingest, spool, health)
                link = LINKS[source.kind](office, name, source)
                group.create_task(intake.run(), name=f"intake {name}")
                group.create_task(Keeper(dsn, name, link, intake, health).run(), name=f"keeper {name}")
            group.create_task(_alive(helpers[1]))
    finally:
        for helper in reversed(helpers):
            helper.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await helper
        await pool.close()
        if spool is not None:
            spool.close()


async def _alive(writer: asyncio.Task[None]) -> None:
    """Raise what killed the journal's writer: without it nothing becomes durable."""
    await asyncio.shield(writer)
