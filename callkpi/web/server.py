"""The web process: wires doors, journal and exporter; starts and stops without losing what it acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg
import structlog
from aiohttp import web

from callkpi import config
from callkpi.database import store
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import JournalUnavailable
from callkpi.ingest.opened import WayIn, opened
from callkpi.ingest.spool import Spool
from callkpi.looping import Loop, keep_going
from callkpi.metrics.exporter import Exporter
from callkpi.people.names import Names
from callkpi.web import access, handbook, problems, signin
from callkpi.web.api import Api
from callkpi.web.board import Board
from callkpi.web.hooks import Hooks
from callkpi.web.probes import Probes
from callkpi.web.summaries import ReportPages

log = structlog.get_logger()

#: How long a stopping daemon waits for requests that are under way.
DRAIN_SECONDS = 20.0
#: Longer than a reverse proxy keeps its connections: the proxy must be the one to close, or a webhook is lost.
IDLE_SECONDS = 300.0
#: How often the spool is looked at.
SPOOL_SECONDS = 1.0


@contextlib.asynccontextmanager
async def serving(
    settings: config.Settings, dsn: str, *, reuse_port: bool = False
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve until the block ends. Yields the task that must not die: the journal's writer."""
    pool = await store.create_pool(dsn, role="web", size=6, lazy=True)
    try:
        async with (
            opened(settings, pool, with_spool=True, spools_deliveries=True) as way_in,
            _listening(settings, pool, way_in, reuse_port=reuse_port),
        ):
            yield way_in.writer
    finally:
        await pool.close()


@contextlib.asynccontextmanager
async def _listening(
    settings: config.Settings, pool: asyncpg.Pool, way_in: WayIn, *, reuse_port: bool
) -> AsyncIterator[None]:
    """Answer requests until the block ends. Those that are under way get their answer: the journal is still there."""
    health = way_in.health
    runner = web.AppRunner(
        application(settings, pool, way_in.ingest, health, way_in.spool),
        access_log=None,
        handle_signals=False,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=DRAIN_SECONDS,
        lingering_time=2.0,
    )
    await runner.setup()
    access.guard_errors(runner)
    host, port = settings.address
    slow = _Slow(runner, settings.server.request_timeout_seconds)
    helpers = [
        asyncio.create_task(_drain(way_in.spool, way_in.ingest, health), name="spool"),
        asyncio.create_task(keep_going(Loop("slow_clients", slow.every, health), slow.cut), name="sweeper"),
    ]
    try:
        await web.TCPSite(runner, host, port, reuse_port=reuse_port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()
        for task in helpers:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _drain(spool: Spool | None, ingest: Ingest, health: Health) -> None:
    """Bring to the journal what came while it was away, as soon as it is back."""
    if spool is None:
        return

    async def drain() -> None:
        with contextlib.suppress(JournalUnavailable):
            if taken := await spool.drain(ingest.take_spooled):
                health.count("spool_drained", taken)
                log.info("spool.drained", deliveries=taken)

    await keep_going(Loop("spool", SPOOL_SECONDS, health), drain)


def application(
    settings: config.Settings, pool: asyncpg.Pool, ingest: Ingest, health: Health, spool: Spool | None = None
) -> web.Application:
    app = web.Application(
        middlewares=[problems.middleware, access.middleware, signin.middleware],
        client_max_size=settings.server.max_body_bytes,
    )
    access.install(app, settings)
    app.add_routes(signin.routes())
    app.add_routes(handbook.routes())
    app.add_routes(Hooks(ingest, health, settings.server).routes())
    names = Names(settings)
    app.add_routes(Probes(pool, Exporter(pool, settings, spool, names), settings, spool).routes())
    app.add_routes(ReportPages(pool, settings, names).routes())
    board = Board(pool, settings, names, spool)
    app.add_routes(Api(pool, settings, board.watch, names).routes())
    app.add_routes(board.routes())
    app.on_shutdown.append(board.close)
    return app


class _Slow:
    """Closes connections that have not sent their first request's head in time: aiohttp itself waits for ever.

    Connections that have been served once are aiohttp's: it closes those that stay idle, and knows when they don't.
    """

    def __init__(self, runner: web.AppRunner, seconds: float) -> None:
        self._runner, self._seconds = runner, seconds
        self._silent_since: dict[object, float] = {}
        self.every = min(seconds / 3, 5.0)

    async def cut(self) -> None:
        now, connections = time.monotonic(), self._runner.server.connections if self._runner.server else []
        silent = [c for c in connections if c._request_count == 0 and c._current_request is None]
        self._silent_since = {connection: self._silent_since.get(connection, now) for connection in silent}
        for connection, since in self._silent_since.items():
            if now - since > self._seconds:
                connection.force_close()  # type: ignore[attr-defined]
