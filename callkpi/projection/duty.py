"""Who computes the figures: projectors beside each other, or a rebuild alone; and whether all of it is of one version.

A rebuild empties tables and fills them again. A projector beside it would count calls again that were counted when
they happened. So each holds an advisory lock, shared or alone, in a session that ends with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import structlog

from callkpi.database import store

log = structlog.get_logger()

#: How often one that waits for a rebuild looks again, and how often it says so.
LOOK_SECONDS, TELL_SECONDS = 1.0, 30.0
#: How often a session that holds the lock is asked whether it is there.
ALIVE_SECONDS = 5.0
WAY_OUT = "stop the daemon and run 'callkpi rebuild'"


async def beside(dsn: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do *work* until cancelled, while nobody rebuilds. It is cancelled and begun again when the lock was lost."""
    while True:
        try:
            lock = await _shared(dsn)
        except Exception as error:
            # Also a server with no connection left, or one that cancels what it is asked: it passes.
            log.warning("projector.no_lock", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)
            continue
        try:
            await _while_held(lock, work)
        finally:
            with contextlib.suppress(*store.FAILURES):
                await lock.close(timeout=2)


async def _shared(dsn: str) -> asyncpg.Connection:
    """A session that holds the lock. Waits for a rebuild, and says so."""
    session = await store.connect(dsn, role="projector-lock")
    try:
        waited = 0.0
        while not await session.fetchval(store.query("projection", "try_beside")):
            if waited % TELL_SECONDS == 0:
                log.warning("projector.waits", reason="'callkpi rebuild' works on this database")
            waited += LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
    except BaseException:
        session.terminate()
        raise
    return session


async def _while_held(lock: asyncpg.Connection, work: Callable[[], Awaitable[None]]) -> None:
    working: asyncio.Task[Any] = asyncio.ensure_future(work())
    try:
        while not working.done():
            await asyncio.wait([working], timeout=ALIVE_SECONDS)
            await lock.fetchval(store.query("projection", "alive"), timeout=10)
        await working
    except Exception as error:
        if working.done():
            raise
        log.warning("projector.lock_lost", error=type(error).__name__)
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await working


async def drained(pool: asyncpg.Pool, drain: Callable[[], Awaitable[object]]) -> None:
    """Project what waits, unless somebody rebuilds: he does it at his end."""
    async with pool.acquire() as lock:
        if await lock.fetchval(store.query("projection", "try_beside")):
            try:
                await drain()
            finally:
                await lock.execute(store.query("projection", "leave"))


async def doubts(connection: asyncpg.Connection | asyncpg.Pool) -> list[str]:
    """Why the figures are not all of this version's making, a sentence each with the way out."""
    state = await connection.fetchrow(store.query("projection", "state"))
    if state is None:
        return []
    told = []
    if state["rebuild_begun_at"] is not None:
        told.append(
            f"a rebuild that began {state['rebuild_begun_at']:%Y-%m-%d %H:%M} UTC has not come to its end, figures are "
            f"missing: {WAY_OUT}"
        )
    if state["older_since"] is not None:
        told.append(
            f"an older callkpi computed calls from {state['older_since']:%Y-%m-%d %H:%M} to "
            f"{state['older_until']:%Y-%m-%d %H:%M} UTC, and does not keep all that this one reads: {WAY_OUT}"
        )
    return told
