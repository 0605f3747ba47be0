"""The daemon's background work: which processes it has besides the web, and what each does until it is stopped.

To add one: a coroutine ``run(settings, dsn)`` in a module of its own, and a line in :data:`JOBS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from callkpi import config, reconcile, retention, store
from callkpi.connections import connector
from callkpi.delivery import courier
from callkpi.health import Health
from callkpi.projector import Projector
from callkpi.reporting import days


@dataclass(frozen=True, slots=True)
class Job:
    """One background process."""

    role: str
    is_wanted: Callable[[config.Settings], bool]
    #: Works until it is cancelled; what it raises ends the daemon.
    run: Callable[[config.Settings, str], Coroutine[Any, Any, None]]


async def project(settings: config.Settings, dsn: str) -> None:
    """Fold what is journalled, until cancelled."""
    pool = await store.create_pool(dsn, role="projector", size=2)
    health = Health()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(health.run(pool))
            group.create_task(Projector(pool, settings, health).run())
            group.create_task(days.run(settings, dsn))
    finally:
        await pool.close()


JOBS = (
    Job("projector", lambda settings: True, project),
    Job("reconciler", lambda settings: bool(settings.portals), reconcile.run),
    Job("connector", lambda settings: bool(settings.connected), connector.run),
    Job("courier", lambda settings: settings.sends_reports, courier.run),
    Job("janitor", retention.is_wanted, retention.run),
)
