"""The API, served with tokens of every role."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from callkpi import config
from callkpi.config import Role, Token
from callkpi.web import access, problems
from callkpi.web.api import Api
from callkpi.web.board import Board
from tests.world import World

TOKENS = {role: f"{role}-token-0123456789" for role in Role}

ANNA, NUMBER = "anna-token-0123456789", "+77010000001"


def settings_of(world: World, **api: Any) -> config.Settings:
    tokens = {str(role): Token(token, role) for role, token in TOKENS.items()}
    tokens["anna"] = Token(ANNA, Role.SUPERVISOR, ("acme",))
    own = dataclasses.replace(world.settings.tenants["acme"], queues={"sales": config.Queue(name="Sales")})
    return dataclasses.replace(
        world.settings,
        tenants={"acme": own, "other": config.Tenant()},
        tokens=tokens,
        api=config.Api(**{"requests_per_second": 0.0, **api}),
    )


class Client:
    """Requests as one role."""

    def __init__(self, http: aiohttp.ClientSession, api: Api) -> None:
        self.http, self.api = http, api

    async def ask(
        self, path: str, who: str = "admin", method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        token = ANNA if who == "anna" else TOKENS.get(who, "")  # type: ignore[call-overload]
        told = {"Authorization": f"Bearer {token}"} if token else {}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, f"/api/v1/{path}", headers=told, json=body) as answer:
            text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type.endswith("json") and text else text, answer

    async def get(self, path: str, who: str = "admin") -> Any:
        status, body, _ = await self.ask(path, who)
        assert status == 200, body
        return body


@contextlib.asynccontextmanager
async def served(world: World, **api: Any) -> AsyncIterator[Client]:
    settings = settings_of(world, **api)
    board = Board(world.pool, settings)
    app = web.Application(middlewares=[problems.middleware, access.middleware])
    access.install(app, settings)
    own = Api(world.pool, settings, board.watch)
    app.add_routes([*own.routes(), *board.routes()])
    projecting = asyncio.create_task(world.projector.run())
    try:
        async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as http:
            yield Client(http, own)
    finally:
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
