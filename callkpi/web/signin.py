"""A browser without a token that opens a page gets a field to enter one, and then the page that it wanted."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import hdrs, web

from callkpi.web.access import ACCESS, PAGE_HEADERS
from callkpi.web.problems import Problem

_PATH = "/signin"
_FILE = "signin.css"
_HEADERS = {**PAGE_HEADERS, "Cache-Control": "no-store"}
_HEADERS["Content-Security-Policy"] = PAGE_HEADERS["Content-Security-Policy"].replace(
    "form-action 'none'", "form-action 'self'"
)
_STYLE = """body { font: 1.1rem/1.5 sans-serif; margin: 15vh auto; max-width: 24rem; padding: 0 1rem; }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin-top: .5rem; }
.wrong { color: #b3261e; }
@media (prefers-color-scheme: dark) { body { background: #14181f; color: #dde3ec; } .wrong { color: #f2b8b5; } }
"""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>callkpi: sign in</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/{file}">
<h1>callkpi</h1>{wrong}<form method="post" action="{action}">
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Open</button></form></html>
"""


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
        return _page(str(request.rel_url.with_query(query)), wrong="token" in request.query)


async def _enter(request: web.Request) -> web.Response:
    form = await request.post()
    access, token, wanted = request.app[ACCESS], form.get("token", ""), request.query.get("next", "/")
    reader = access.by_token(token) if isinstance(token, str) else None
    if reader is None:
        return _page(wanted, wrong=True)
    moved = web.Response(status=303, headers={**_HEADERS, hdrs.LOCATION: _own(wanted)})
    access.set_cookie(request, moved, reader)
    return moved


async def _style(_request: web.Request) -> web.Response:
    return web.Response(text=_STYLE, content_type="text/css", headers=PAGE_HEADERS)


def _page(wanted: str, *, wrong: bool) -> web.Response:
    action = f"{_PATH}?next={quote(_own(wanted), safe='')}"
    shown = _PAGE.format(
        file=_FILE,
        action=html.escape(action),
        wrong="<p class=wrong>Nobody has this token." if wrong else "",
    )
    return web.Response(text=shown, status=401, content_type="text/html", headers=_HEADERS)


def _own(wanted: str) -> str:
    """A path of this host: what begins like the address of another one is not followed."""
    plain = wanted.replace("\\", "/").replace("\r", "").replace("\n", "").replace("\t", "")
    return "/" + plain.lstrip("/")
