"""``/board``: a page for a screen on the wall, fed by one stream of server-sent events that all viewers share."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path

import asyncpg
import structlog
from aiohttp import web
from babel import numbers

from callkpi import config, templates
from callkpi.ingest.spool import Spool
from callkpi.people.names import Names
from callkpi.web.access import PAGE_HEADERS, require
from callkpi.web.api import BadQuery, tenant_of
from callkpi.web.language import language_of
from callkpi.web.problems import problem
from callkpi.web.watch import Store, Watch
from callkpi.words import LANGUAGES, Place, catalogue

log = structlog.get_logger()

#: Silence on a stream after which a comment is sent, so that no proxy takes it for dead.
BEAT_SECONDS = 4.0
#: A viewer that has not taken what was sent by then is gone.
SEND_SECONDS = 10.0
_FILES = Path(__file__).parent
_TYPES = {"board.js": "text/javascript", "board.css": "text/css"}
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class Board:
    def __init__(
        self, pool: asyncpg.Pool, settings: config.Settings, names: Names | None = None, spool: Spool | None = None
    ) -> None:
        self._settings = settings
        self._store = Store(pool, settings, names or Names(settings), spool)
        self._files = {name: (_FILES / name).read_text("utf-8") for name in _TYPES}
        #: A page that is older than the daemon loads itself again.
        self._version = _version(self._files)
        self._watches: dict[str, Watch] = {}
        self._viewers = 0
        self._closing = asyncio.Event()

    def watch(self, tenant: str) -> Watch:
        """The reading of a tenant that all share; made when somebody first looks."""
        if tenant not in self._watches:
            self._watches[tenant] = Watch(self._store, tenant, self._version)
        return self._watches[tenant]

    def routes(self) -> list[web.RouteDef]:
        answers: dict[str, Answer] = {"/board": self.page, "/board/state": self.state, "/board/events": self.events}
        return [
            *(web.get(path, self._guarded(answer), allow_head=False) for path, answer in answers.items()),
            *(web.get(f"/board/{name}", self.file) for name in _TYPES),
        ]

    def _guarded(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            require(request)
            try:
                return await answer(request, tenant_of(request, self._settings))
            except BadQuery as error:
                return problem(400, "A parameter can't be used", str(error))

        return handler

    async def page(self, request: web.Request, tenant: str) -> web.Response:
        """The page without a number in it; its language by ``lang=``, else as the browser wishes."""
        language = language_of(request, LANGUAGES[Place.BOARD])
        texts = _texts(language)
        theme = request.query.get("theme", "")
        shown = templates.render(
            "board.html", texts=texts, all_texts=json.dumps(texts, ensure_ascii=False), lang=language, tenant=tenant,
            theme=theme if theme in ("light", "dark") else "auto", version=self._version,
        )  # fmt: skip
        return web.Response(text=shown, content_type="text/html", headers=PAGE_HEADERS)

    async def file(self, request: web.Request) -> web.Response:
        """Script and style: the same for everybody, without a number or a secret."""
        name = request.path.rpartition("/")[2]
        return web.Response(text=self._files[name], content_type=_TYPES[name], charset="utf-8", headers=PAGE_HEADERS)

    async def state(self, _request: web.Request, tenant: str) -> web.Response:
        """What the stream would send now, for viewers that poll."""
        body = await asyncio.shield(self.watch(tenant).newest())
        return web.Response(body=body, content_type="application/json", headers={"Cache-Control": "no-store"})

    async def events(self, request: web.Request, tenant: str) -> web.StreamResponse:
        """The state at once and after each reading, until the viewer or the daemon goes."""
        if self._viewers >= self._settings.server.max_viewers:
            return problem(
                503, "Too many boards follow live", "Poll /board/state instead, or raise server.max_viewers",
                headers={"Retry-After": "30"},
            )  # fmt: skip
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        self._viewers += 1
        try:
            await response.prepare(request)
            await self._follow(response, self.watch(tenant))
        except (ConnectionError, TimeoutError):
            if request.transport is not None:
                request.transport.abort()
        except Exception:
            # The answer has begun: all that is left is to end it. The viewer comes again, and says meanwhile how old
            # its figures are.
            log.exception("board.unforeseen", tenant=tenant)
        finally:
            self._viewers -= 1
        return response

    async def _follow(self, response: web.StreamResponse, watch: Watch) -> None:
        await _send(response, b"retry: 3000\n\n")
        closing = asyncio.create_task(self._closing.wait())
        try:
            while not closing.done():
                newest = watch.newest()
                await asyncio.wait({newest, closing}, timeout=BEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if closing.done():
                    break
                if not newest.done():
                    await _send(response, b": still reading\n\n")
                    continue
                await _send(response, b"data: " + newest.result() + b"\n\n")
                await asyncio.wait({closing}, timeout=max(watch.seconds_to_next, 0.0))
        finally:
            closing.cancel()

    async def close(self, _app: web.Application) -> None:
        """End the streams: a daemon that stops waits for requests, and these have no end of their own."""
        self._closing.set()


def _version(files: Mapping[str, str]) -> str:
    """What changes whenever the page, its files or its texts do."""
    texts = [catalogue.path(code).read_text("utf-8") for code in LANGUAGES[Place.BOARD]]
    everything = json.dumps([templates.source("board.html"), files, texts], sort_keys=True)
    return hashlib.sha256(everything.encode()).hexdigest()[:12]


@cache
def _texts(code: str) -> dict[str, str]:
    """What the page says, and how its script writes shares."""
    found = catalogue.texts(code, Place.BOARD)
    percent = numbers.format_percent(0, locale=found.locale).replace("0", "{n}")
    return {**found.all(), "percent": percent, "decimal": numbers.get_decimal_symbol(found.locale)}


async def _send(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(data)
