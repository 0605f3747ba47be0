"""The process that keeps the live connections of all sources that have one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from callkpi import config
from callkpi.connections import asterisk
from callkpi.connections.freeswitch_esl import EslLink
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper, Link
from callkpi.connections.office import Office
from callkpi.database import store
from callkpi.ingest.opened import opened

#: What makes the link of a source of a kind.
LINKS: Mapping[config.SourceKind, Callable[[Office, str, config.Source], Link]] = {
    config.SourceKind.ASTERISK: asterisk.link,
    config.SourceKind.FREESWITCH: EslLink,
}


async def run(settings: config.Settings, dsn: str) -> None:
    """Keep every connection, until cancelled."""
    pool = await store.create_pool(dsn, role="connector", size=4, lazy=True)
    try:
        # The way in outlives the intakes: when the daemon stops, their last groups still need it.
        async with opened(settings, pool, with_spool=True) as way_in:
            office = Office(pool, settings, way_in.ingest, way_in.spool, way_in.health)
            async with asyncio.TaskGroup() as group:
                for name, source in settings.connected.items():
                    intake = Intake(name, office.ingest, way_in.spool, way_in.health)
                    link = LINKS[source.kind](office, name, source)
                    group.create_task(intake.run(), name=f"intake {name}")
                    group.create_task(Keeper(dsn, name, link, intake, way_in.health).run(), name=f"keeper {name}")
                group.create_task(way_in.alive())
    finally:
        await pool.close()
