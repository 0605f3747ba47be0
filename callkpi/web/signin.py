"""A browser without a token that opens a page gets a field to enter one, and then the page that it wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import hdrs, web

from callkpi import templates
from callkpi.sources.base import Malformed
from callkpi.sources.forms import parse_form
from callkpi.web.access import ACCESS, PAGE_HEADERS
from callkpi.web.language import language_of
from callkpi.web.problems import Problem
from callkpi.words import LANGUAGES, Place, catalogue

_PATH = "/signin"
_FILE = "signin.css"
_HEADERS = {**PAGE_HEADERS, "Cache-Control": "no-store"}
_HEADERS["Content-Security-Policy"] = PAGE_HEADERS["Content-Security-Policy"].replace(
    "form-action 'none'", "form-action 'self'"
)
#: After what was not read to its end.
_CLOSE: dict[str, str] = {hdrs.CONNECTION: "close"}
_STYLE = """body { font: 1.1rem/1.5 sans-serif; margin: 15vh auto; max-width: 24rem; padding: 0 1rem; }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin-top: .5rem; }
.wrong { color: #b3261e; }
@media (prefers-color-scheme: dark) { body { background: #14181f; color: #dde3ec; } .wrong { color: #f2b8b5; }
a { color: #8ab4f8; } }
"""

#: More no form with one field has.
_LONGEST_FORM = 8192


def routes() -> list[web.RouteDef]:
    return [web.post(_PATH, _enter), web.get(f"/{_FILE}", _style)]


@web.middleware
async def middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Instead of 401 as JSON, a page with a field for those who read pages."""
    try:
        return await handler(request)
    except Problem as told:
        is_page = request.method == hdrs.METH_GET and "text/html" in request.headers.get(hdrs.ACCEPT, "")
        if told.status != 401 or not is_page:
            raise
        query = [(name, value) for name, value in request.query.items() if name != "token"]
        return _page(request, str(request.rel_url.with_query(query)), wrong="token" in request.query)


async def _enter(request: web.Request) -> web.Response:
    access, wanted = request.app[ACCESS], request.query.get("next", "/")
    token = await _token(request, access.patience_seconds)
    reader = access.by_try(request, token) if token else None
    if reader is None:
        return _page(request, wanted, wrong=True)
    moved = web.Response(status=303, headers={**_HEADERS, hdrs.LOCATION: _own(wanted)})
    access.set_cookie(request, moved, reader)
    return moved


async def _token(request: web.Request, seconds: float) -> str:
    """The token in the form. Raises Problem for what is no such form, or comes too slowly."""
    try:
        async with asyncio.timeout(seconds):
            body = b""
            while len(body) <= _LONGEST_FORM and (piece := await request.content.readany()):
                body += piece
    except TimeoutError:
        raise Problem(
            408, "The request came too slowly", f"Send the body within {seconds:g} s", headers=_CLOSE
        ) from None
    if len(body) > _LONGEST_FORM:
        raise Problem(413, "The request is too large", f"At most {_LONGEST_FORM} bytes are taken", headers=_CLOSE)
    try:
        token = parse_form(body).get("token", "")
    except Malformed as error:
        raise Problem(400, "The body can't be read", str(error)) from None
    return token if isinstance(token, str) else ""


async def _style(_request: web.Request) -> web.Response:
    return web.Response(text=_STYLE, content_type="text/css", headers=PAGE_HEADERS)


def _page(request: web.Request, wanted: str, *, wrong: bool) -> web.Response:
    code = language_of(request, LANGUAGES[Place.SIGN_IN])
    texts = catalogue.texts(code, Place.SIGN_IN)
    action = f"{_PATH}?next={quote(_own(wanted), safe='')}"
    shown = templates.render("signin.html", code=code, texts=texts, style=_FILE, action=action, wrong=wrong)
    return web.Response(text=shown, status=401, content_type="text/html", headers=_HEADERS)


def _own(wanted: str) -> str:
    """A path of this host: what begins like the address of another one is not followed."""
    plain = "".join(sign for sign in wanted.replace("\\", "/") if sign.isprintable())
    return "/" + plain.lstrip("/")
