"""A browser without a token that opens a page gets a field to enter one, and then the page that it wanted."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from aiohttp import hdrs, web

from callkpi.web.access import ACCESS, PAGE_HEADERS
from callkpi.web.api.limits import Limits
from callkpi.web.language import language_of
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
_PAGE = """<!doctype html><html lang="{code}"><meta charset="utf-8"><title>callkpi: {title}</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/{file}">
<h1>callkpi</h1>{wrong}<form method="post" action="{action}">
<label for="token">{label}</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>{button}</button></form></html>
"""


_WORDS = {
    "en": ("sign in", "Your token", "Open", "Nobody has this token."),
    "ru": ("вход", "Ваш токен", "Открыть", "Такого токена ни у кого нет."),
    "kk": ("кіру", "Токеніңіз", "Ашу", "Мұндай токен ешкімде жоқ."),
}

#: Tries a second from one address: enough for fingers, not for guessing.
_TRIES = 2.0


def routes() -> list[web.RouteDef]:
    limits = Limits(_TRIES)

    async def enter(request: web.Request) -> web.Response:
        taken = limits.take(request.remote or "")
        if taken is not None and not taken.allowed:
            raise Problem(429, "Too many tries", f"Try again in {taken.retry_in} s", headers=taken.headers)
        return await _enter(request)

    return [web.post(_PATH, enter), web.get(f"/{_FILE}", _style)]


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
    form = await request.post()
    access, token, wanted = request.app[ACCESS], form.get("token", ""), request.query.get("next", "/")
    reader = access.by_token(token) if isinstance(token, str) else None
    if reader is None:
        return _page(request, wanted, wrong=True)
    moved = web.Response(status=303, headers={**_HEADERS, hdrs.LOCATION: _own(wanted)})
    access.set_cookie(request, moved, reader)
    return moved


async def _style(_request: web.Request) -> web.Response:
    return web.Response(text=_STYLE, content_type="text/css", headers=PAGE_HEADERS)


def _page(request: web.Request, wanted: str, *, wrong: bool) -> web.Response:
    code = language_of(request, _WORDS)
    title, label, button, nobody = _WORDS[code]
    action = f"{_PATH}?next={quote(_own(wanted), safe='')}"
    shown = _PAGE.format(
        file=_FILE,
        action=html.escape(action),
        wrong=f"<p class=wrong>{nobody}" if wrong else "",
        code=code,
        title=title,
        label=label,
        button=button,
    )
    return web.Response(text=shown, status=401, content_type="text/html", headers=_HEADERS)


def _own(wanted: str) -> str:
    """A path of this host: what begins like the address of another one is not followed."""
    plain = wanted.replace("\\", "/").replace("\r", "").replace("\n", "").replace("\t", "")
    return "/" + plain.lstrip("/")
