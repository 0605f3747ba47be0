"""``callkpi doctor``: do the numbers still follow from the events?"""

from __future__ import annotations

import asyncio

import asyncpg

from callkpi import config
from callkpi.commands.database import database
from callkpi.database import store
from callkpi.projection import duty
from callkpi.upkeep.doctor import Progress, check

_SETTLE_TRIES = 30


async def doctor(settings: config.Settings, progress: Progress) -> list[str]:
    """Differences between rollups and calls, and between calls and the journal; none is how it must be."""
    async with database(settings, role="doctor") as pool:
        await _settled(pool)
        return [*await duty.doubts(pool), *await check(pool, settings, progress)]


async def _settled(pool: asyncpg.Pool) -> None:
    """Agents' times follow their calls by some seconds: in a moment without traffic all of them can be checked."""
    for _ in range(_SETTLE_TRIES):
        if not await pool.fetchval(store.query("agents", "has_pending")):
            return
        await asyncio.sleep(0.5)
