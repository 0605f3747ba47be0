"""A board that is served."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer

from callkpi import config
from callkpi.web import access, problems
from callkpi.web.board import Board


def noon_zone() -> str:
    """A zone where it is about noon: a test's day has no midnight in it."""
    hours = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


@contextlib.asynccontextmanager
async def served(pool: asyncpg.Pool, settings: config.Settings) -> AsyncIterator[tuple[aiohttp.ClientSession, Board]]:
    """A board on a real server."""
    shown, app = Board(pool, settings), web.Application(middlewares=[problems.middleware])
    access.install(app, settings)
    app.add_routes(shown.routes())
    app.on_shutdown.append(shown.close)
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as http:
        yield http, shown
