"""``/healthz`` (the process lives), ``/readyz`` (it can do its work), ``/metrics``."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog
from aiohttp import web

from callkpi import config, templates
from callkpi.database import migrations, store
from callkpi.figures import hearing
from callkpi.ingest.spool import Spool
from callkpi.metrics.exporter import Exporter
from callkpi.projection import duty
from callkpi.web.access import PAGE_HEADERS, refuse_metrics

log = structlog.get_logger()

#: Seconds that the projector may be behind while the daemon still calls itself ready.
READY_LAG_SECONDS = 60.0
DATABASE_SECONDS = 10.0
#: How many sources that are not heard are named.
NAMED_SOURCES = 20
#: A scrape has to be answered before Prometheus gives it up, with the numbers or without.
SCRAPE_SECONDS = 5.0


_STYLE = "body{font:1.2rem/1.6 sans-serif;margin:3rem auto;max-width:40rem}"
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_INDEX_HEADERS = {
    **PAGE_HEADERS,
    "Content-Security-Policy": PAGE_HEADERS["Content-Security-Policy"].replace(
        "style-src 'self'", f"style-src 'sha256-{_HASH}'"
    ),
}


class Probes:
    def __init__(
        self, pool: asyncpg.Pool, exporter: Exporter, settings: config.Settings, spool: Spool | None = None
    ) -> None:
        self._pool = pool
        self._exporter = exporter
        self._spool = spool
        self._settings = settings
        self._token = settings.server.metrics_token

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.index),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def index(self, _request: web.Request) -> web.Response:
        """Where a newcomer finds what."""
        return web.Response(
            text=templates.render("index.html", style=_STYLE), content_type="text/html", headers=_INDEX_HEADERS
        )

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        try:
            async with store.within(self._pool, DATABASE_SECONDS) as connection:
                migration = await connection.fetchval(store.query("reports", "ready"))
                lag = await connection.fetchrow(store.query("projector", "lag"))
                failing = await connection.fetch(store.query("work_failures", "now"))
                sources = await connection.fetch(store.query("board", "sources_now"), list(self._settings.sources))
                aside = await connection.fetchval(store.query("set_aside", "total"))
                doubts = await duty.doubts(connection)
        except store.FAILURES as error:
            return web.json_response({"ready": False, "database": type(error).__name__}, status=503)
        checks = {
            "database": "ok",
            "migration": migration,
            "migration_expected": migrations.newest(),
            "projector_pending_groups": lag["groups"],
            "projector_lag_seconds": round(lag["seconds"], 3),
            "spool_deliveries": await self._spooled(),
            "doubts": doubts,
            # Work that fails is said here; it takes nothing from those who send and read.
            "failing": [" ".join(filter(None, (row["name"], row["subject"], row["error"]))) for row in failing],
            **self._unheard(sources),
            "set_aside": aside,
        }
        ready = migration == migrations.newest() and lag["seconds"] < READY_LAG_SECONDS
        return web.json_response({"ready": ready, **checks}, status=200 if ready else 503)

    async def _spooled(self) -> int | None:
        """Deliveries that wait on local disk; None where it can't be read."""
        if self._spool is None:
            return 0
        try:
            return (await self._spool.size()).deliveries
        except OSError as error:
            log.warning("spool.unreadable", error=str(error)[:200])
            return None

    def _unheard(self, rows: list[Any]) -> dict[str, Any]:
        """Sources that are not heard. Named, and no reason to take the daemon out of service: others still speak."""
        found = hearing.unheard(self._settings.sources, self._settings.tenants, rows, datetime.now(UTC))
        named = {each.source: ": ".join(filter(None, (each.trouble, each.reason))) for each in found[:NAMED_SOURCES]}
        return {"sources_unheard": len(found), "unheard": named}

    async def metrics(self, request: web.Request) -> web.Response:
        refused = refuse_metrics(request, self._token)
        if refused is not None:
            return refused
        accept = request.headers.get("Accept", "")
        try:
            async with asyncio.timeout(SCRAPE_SECONDS):
                page, content_type = await self._exporter.scrape(accept)
        except TimeoutError:
            log.warning("metrics.late", seconds=SCRAPE_SECONDS)
            page, content_type = await self._exporter.too_late(accept)
        except store.FAILURES as error:
            # An answer all the same: no database is another fault than no daemon, and has its own alert.
            log.warning("metrics.without_database", error=type(error).__name__)
            page, content_type = await self._exporter.without_database(accept)
        return web.Response(body=page, headers={"Content-Type": content_type})
