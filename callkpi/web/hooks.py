"""``POST /hooks/{source}``: the door of every source that pushes. Acknowledged when durable, not before."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog
from aiohttp import hdrs, web

from callkpi import config, store
from callkpi.health import Health
from callkpi.ingest import Ingest, Receipt, Unauthorised, UnknownSource
from callkpi.journal import JournalUnavailable, Unstorable
from callkpi.sources.base import Delivery, Malformed
from callkpi.web.access import bearer
from callkpi.web.problems import problem
from callkpi.web.tries import TRIES_OF

log = structlog.get_logger()

RETRY_AFTER = {"Retry-After": "2"}
_JSON = {hdrs.CONTENT_TYPE: "application/json"}


class Hooks:
    def __init__(self, ingest: Ingest, health: Health, settings: config.Server) -> None:
        self._ingest = ingest
        self._health = health
        self._limit = settings.max_waiting
        self._seconds = settings.request_timeout_seconds
        self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/hooks/{source}", self.receive),
            web.get("/hooks/{source}", self.greet, allow_head=False),
            web.post("/hooks/{source}/{path:.+}", self.receive_below),
        ]

    async def greet(self, request: web.Request) -> web.Response:
        """The check of an address that some senders make before they send (Zadarma), or a delivery in the query."""
        if self._ingest.takes_queries(request.match_info["source"]):
            return await self.receive(request)
        answer = self._ingest.greet(request.match_info["source"], request.query)
        if answer is None:
            raise web.HTTPMethodNotAllowed("GET", ["POST"])
        return web.Response(body=answer.body, headers={hdrs.CONTENT_TYPE: answer.content_type})

    async def receive_below(self, request: web.Request) -> web.Response:
        """A delivery to a path that the sender adds to the door's address (Mango: /events/call)."""
        if not self._ingest.has_paths(request.match_info["source"]):
            raise web.HTTPNotFound
        return await self.receive(request)

    async def receive(self, request: web.Request) -> web.Response:
        if self._waiting >= self._limit:
            self._health.count("http_overload")
            return problem(503, "Too many requests wait", "Send again after Retry-After", headers=RETRY_AFTER)
        self._waiting += 1
        try:
            return await self._receive(request)
        finally:
            self._waiting -= 1

    async def _body(self, request: web.Request) -> bytes:
        if request.content.is_eof():
            return await request.read()
        async with asyncio.timeout(self._seconds):
            return await request.read()

    async def _receive(self, request: web.Request) -> web.Response:
        name = request.match_info["source"]
        tries, door = request.app[TRIES_OF], f"hooks {name}"
        tries.check(request, door)
        try:
            body = await self._body(request) if request.method == "POST" else _query(request)
        except TimeoutError:
            slow = problem(408, "The request came too slowly", f"Send the body within {self._seconds:g} s")
            slow.force_close()
            return slow
        delivery = Delivery(
            body, request.content_type, bearer(request), datetime.now(UTC), request.headers, request.raw_path
        )
        try:
            receipt = await self._ingest.take(name, delivery)
        except UnknownSource:
            return problem(404, "No such source", f"No [sources.{name[:64]}] in the configuration of callkpi")
        except Unauthorised:
            tries.failed(request, door)
            log.warning("hooks.unauthorised", source=name)
            return problem(
                403, "The token or signature is wrong", f"Compare the sender's secrets with sources.{name} of callkpi"
            )
        except Malformed as error:
            return problem(400, "The body can't be read", str(error))
        except Unstorable:
            return problem(422, "The events can't be stored", "A value in them is out of range; see the daemon's log")
        except JournalUnavailable:
            return problem(503, "The journal is not available", "Nothing was kept; send again", headers=RETRY_AFTER)
        tries.passed(request, door)
        return _answer(receipt, delivery)


def _query(request: web.Request) -> bytes:
    return request.raw_path.partition("?")[2].encode("ascii", "replace")


def _answer(receipt: Receipt, delivery: Delivery) -> web.Response:
    if receipt.rejected and not receipt.events and not receipt.ignored:
        return problem(422, "The payload was not understood", f"{receipt.reason} (kept for a replay after a fix)")
    if receipt.answer is not None and hdrs.AUTHORIZATION not in delivery.headers:  # who has one is callkpi replay
        return web.Response(body=receipt.answer.body, headers={hdrs.CONTENT_TYPE: receipt.answer.content_type})
    told: dict[str, int | str] = {"events": receipt.events, "ignored": receipt.ignored, "rejected": receipt.rejected}
    if receipt.rejected:
        told["reason"] = receipt.reason
    return web.Response(body=store.to_json(told).encode(), headers=_JSON)
