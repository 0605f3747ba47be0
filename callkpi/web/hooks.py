"""``POST /hooks/{source}``: the door of every source that pushes. Acknowledged when durable, not before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from aiohttp import hdrs, web

from callkpi import config
from callkpi.database import encoding
from callkpi.health import Health
from callkpi.ingest.door import Authentic, Ingest, Receipt, Unauthorised, UnknownSource
from callkpi.ingest.journal import JournalUnavailable, Unstorable
from callkpi.sources.base import Delivery, Malformed
from callkpi.web.access import bearer
from callkpi.web.problems import problem
from callkpi.web.room import NoRoom, Place, Room
from callkpi.web.tries import TRIES_OF

log = structlog.get_logger()

RETRY_AFTER = {"Retry-After": "2"}
_JSON = {hdrs.CONTENT_TYPE: "application/json"}


#: Who has not shown who it is yet may send so much to do so by its body.
UNPROVEN_BYTES = 1024 * 1024
#: One address of strangers may have this part of the requests that one source may have under way.
UNPROVEN_SHARE = 4
#: One sender's bodies under way take no more than so many of the longest.
BODIES = 4
#: No source of calls sends such things.
_NO_CALLS = ("image/", "audio/", "video/", "font/")


class Hooks:
    def __init__(self, ingest: Ingest, health: Health, settings: config.Server) -> None:
        self._ingest = ingest
        self._health = health
        self._longest = settings.max_body_bytes
        self._seconds = settings.request_timeout_seconds
        size = BODIES * self._longest
        self._sources = Room(settings.max_waiting, size)
        self._strangers = Room(max(settings.max_waiting // UNPROVEN_SHARE, 1), size)
        self._all_strangers = Room(settings.max_waiting, 4 * size)

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
        try:
            return await self._receive(request)
        except NoRoom:
            self._health.count("http_overload")
            return problem(503, "Too many requests wait", "Send again after Retry-After", headers=RETRY_AFTER)

    async def _receive(self, request: web.Request) -> web.Response:
        name = request.match_info["source"]
        tries, door = request.app[TRIES_OF], f"hooks {name}"
        tries.check(request, door)
        try:
            return await self._delivered(request, name)
        except UnknownSource:
            return _unknown(name)
        except Unauthorised:
            tries.failed(request, door)
            return _unauthorised(name)

    async def _delivered(self, request: web.Request, name: str) -> web.Response:
        """What can be checked without the body is checked before it is read. Raises UnknownSource, Unauthorised."""
        delivery = Delivery(
            b"", request.content_type, bearer(request), datetime.now(UTC), request.headers, request.raw_path
        )
        is_proven = self._ingest.proven(name, delivery)
        if request.content_type.startswith(_NO_CALLS):
            return problem(415, "That tells of no call", f"{request.content_type} is read by no source; send JSON")
        if not is_proven:
            return await self._from_stranger(request, name, delivery)
        request.app[TRIES_OF].passed(request, f"hooks {name}")
        with self._sources.place(name) as place:
            body = await self._body(request, self._longest, [place])
            return body if isinstance(body, web.Response) else await self._take(name, _came(delivery, body))

    async def _from_stranger(self, request: web.Request, name: str, delivery: Delivery) -> web.Response:
        """The body has to say who sends it: until then it has room as a stranger, apart from the source's own."""
        with contextlib.ExitStack() as stack:
            places = [] if request.content.is_eof() else self._strangers_places(request, stack)
            body = await self._body(request, min(self._longest, UNPROVEN_BYTES), places)
            if isinstance(body, web.Response):
                return body
            delivery = _came(delivery, body)
            try:
                authentic = await self._ingest.authenticated(name, delivery)
            except Malformed as error:
                return problem(400, "The body can't be read", str(error))
        request.app[TRIES_OF].passed(request, f"hooks {name}")
        with self._sources.place(name):
            return await self._take(name, delivery, authentic)

    def _strangers_places(self, request: web.Request, stack: contextlib.ExitStack) -> list[Place]:
        """Who has sent the whole request at once needs none: only those who let others wait are counted."""
        address = request.app[TRIES_OF].address_of(request)
        return [
            stack.enter_context(self._strangers.place(address)),
            stack.enter_context(self._all_strangers.place("")),
        ]

    async def _body(self, request: web.Request, longest: int, places: Sequence[Place]) -> bytes | web.Response:
        """The body, or the answer to one that is too long or too slow. Raises NoRoom."""
        if request.method != "POST":
            return _query(request)
        if (request.content_length or 0) > longest:
            return _too_large(longest)
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while piece := await request.content.readany():
                    if len(body) + len(piece) > longest:
                        return _too_large(longest)
                    for place in places:
                        place.grow(len(piece))
                    body += piece
        except TimeoutError:
            slow = problem(408, "The request came too slowly", f"Send the body within {self._seconds:g} s")
            slow.force_close()
            return slow
        return bytes(body)

    async def _take(self, name: str, delivery: Delivery, authentic: Authentic | None = None) -> web.Response:
        try:
            receipt = await self._ingest.take(name, delivery, authentic)
        except Malformed as error:
            return problem(400, "The body can't be read", str(error))
        except Unstorable:
            return problem(422, "The events can't be stored", "A value in them is out of range; see the daemon's log")
        except JournalUnavailable:
            return problem(503, "The journal is not available", "Nothing was kept; send again", headers=RETRY_AFTER)
        return _answer(receipt, delivery)


def _came(delivery: Delivery, body: bytes) -> Delivery:
    return replace(delivery, body=body, received_at=datetime.now(UTC))


def _unknown(name: str) -> web.Response:
    return problem(404, "No such source", f"No [sources.{name[:64]}] in the configuration of callkpi")


def _unauthorised(name: str) -> web.Response:
    log.warning("hooks.unauthorised", source=name)
    return problem(
        403, "The token or signature is wrong", f"Compare the sender's secrets with sources.{name} of callkpi"
    )


def _too_large(longest: int) -> web.Response:
    large = problem(413, "The request is too large", f"At most {longest} bytes are taken; send less at a time")
    large.force_close()
    return large


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
    return web.Response(body=encoding.to_json(told).encode(), headers=_JSON)
