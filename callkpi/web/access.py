"""Who may read what: tokens with roles, or only this machine where no token is set.

A handler asks :func:`require`, which answers 401 and 403 by itself, or :func:`who` where strangers are served too::

    reader = access.require(request, Right.WORK_LIST, tenant)

A browser shows its token once, as ``?token=…``: it gets a cookie and is sent to the same address without the token. The
cookie is signed with the token itself, so nothing is kept, every process knows it, and a token that is changed ends it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from aiohttp import hdrs, web

from callkpi import config
from callkpi.config import Role
from callkpi.web.problems import Problem, problem
from callkpi.web.tries import TRIES_OF, Tries


class Right(StrEnum):
    """What may be done. :data:`RIGHTS` says from which role on."""

    FIGURES = "figures"
    AGENTS = "agents"
    WORK_LIST = "work_list"
    WORK = "work"
    AGENT_FIGURES = "agent_figures"
    NUMBERS = "numbers"
    EXPORT = "export"
    RAW = "raw"
    PRIVACY = "privacy"
    AUDIT = "audit"


#: The table of rights: the least role that has each, and what it is. The API's description shows it.
RIGHTS: Mapping[Right, tuple[Role, str]] = MappingProxyType(
    {
        Right.FIGURES: (Role.VIEWER, "the board, KPIs, statistics, queues now, calls with masked numbers"),
        Right.AGENTS: (Role.SUPERVISOR, "what each agent does now, who took which call"),
        Right.WORK_LIST: (Role.SUPERVISOR, "the missed with full numbers; calls of one customer"),
        Right.WORK: (Role.SUPERVISOR, "claim, note, resolve and release a missed customer"),
        Right.AGENT_FIGURES: (Role.MANAGER, "figures by agent, which people are paid by"),
        Right.NUMBERS: (Role.MANAGER, "calls and their events with full numbers"),
        Right.EXPORT: (Role.MANAGER, "exports"),
        Right.RAW: (Role.ADMIN, "what sources sent, as they sent it"),
        Right.PRIVACY: (Role.ADMIN, "what is kept of a person, and its erasure"),
        Right.AUDIT: (Role.ADMIN, "who has read and done what"),
    }
)

#: Readers that no entry of [tokens] names.
LOCAL, API_TOKEN = "local", "api_token"
#: The doors at which tokens of readers and that of /metrics are tried.
_DOOR, _METRICS = "readers", "metrics"
#: How long a browser stays known without coming back: a wall is opened once and runs for months.
COOKIE_SECONDS = 365 * 86400
#: A cookie older than this is made anew when a page is opened.
_RENEW_SECONDS = 86400
#: What a proxy adds: whoever is behind it is not this machine.
_PROXIED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
#: Of every page: nothing inline, nothing of others, no address to others.
PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
)
#: Of every answer that says nothing else: what it holds is shown by no page, and is what its type says.
ANSWER_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
    }
)


@dataclass(frozen=True, slots=True)
class Reader:
    """One who may read."""

    name: str  #: as in [tokens.NAME]; ``api_token`` or ``local``
    role: Role
    tenants: frozenset[str] = frozenset()  #: empty: all

    def may(self, needed: Role | Right, tenant: str = "") -> bool:
        """Whether he has a role or a right, in *tenant* if one is named."""
        least = RIGHTS[needed][0] if isinstance(needed, Right) else needed
        return self.role.rank >= least.rank and (not tenant or self.sees(tenant))

    def sees(self, tenant: str) -> bool:
        return not self.tenants or tenant in self.tenants


def cookie_name(settings: config.Settings) -> str:
    """The cookie of this daemon. Cookies know no ports: two daemons on one host must not take each other's."""
    return f"callkpi_{settings.address[1]}"


class Access:
    """The readers of these settings, and the cookies that they are known by."""

    def __init__(self, settings: config.Settings) -> None:
        self._secrets: dict[str, bytes] = {}
        self._readers: dict[str, Reader] = {}
        if settings.server.api_token:
            self._add(Reader(API_TOKEN, Role.ADMIN), settings.server.api_token)
        for name, entry in settings.tokens.items():
            self._add(Reader(name, entry.role, frozenset(entry.tenants)), entry.token)
        self._digests = {name: _digest(secret) for name, secret in self._secrets.items()}
        self.cookie_name = cookie_name(settings)
        self.patience_seconds = settings.server.request_timeout_seconds

    def _add(self, reader: Reader, token: str) -> None:
        self._readers[reader.name], self._secrets[reader.name] = reader, token.encode()

    @property
    def is_open_to_this_machine(self) -> bool:
        """No token is set: whoever is on this machine may do everything."""
        return not self._readers

    def by_token(self, token: str) -> Reader | None:
        """Compares with every token, each in constant time."""
        shown, found = _digest(token.encode("utf-8", "surrogatepass")), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(shown, digest):
                found = self._readers[name]
        return found

    def by_try(self, request: web.Request, token: str) -> Reader | None:
        """The reader whose token is shown. Raises Problem (429) where an address has shown too many wrong ones."""
        tries = request.app[TRIES_OF]
        tries.check(request, _DOOR, token)
        reader = self.by_token(token)
        if reader is None:
            tries.failed(request, _DOOR)
        else:
            tries.passed(request, _DOOR, token)
        return reader

    def by_cookie(self, cookie: str, now: float) -> tuple[Reader, bool] | None:
        """The reader whom a cookie names, and whether it is time to give him a new one."""
        name, _, rest = cookie.partition(".")
        until, _, signature = rest.partition(".")
        reader = self._readers.get(_decoded(name))
        if reader is None or not re.fullmatch("[0-9]{1,12}", until) or int(until) < now:
            return None
        shown = signature.encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(shown, self._signature(reader, until).encode()):
            return None
        return reader, int(until) - now < COOKIE_SECONDS - _RENEW_SECONDS

    def cookie(self, reader: Reader, now: float) -> str:
        until = str(int(now) + COOKIE_SECONDS)
        return f"{_encoded(reader.name)}.{until}.{self._signature(reader, until)}"

    def _signature(self, reader: Reader, until: str) -> str:
        told = f"callkpi cookie\n{reader.name}\n{until}".encode()
        return hmac.new(self._secrets[reader.name], told, hashlib.sha256).hexdigest()

    def reader_of(self, request: web.Request) -> Reader | None:
        if self.is_open_to_this_machine:
            return Reader(LOCAL, Role.ADMIN) if _is_local(request) else None
        token = bearer(request)
        if token:
            return self.by_try(request, token)
        known = self.by_cookie(request.cookies.get(self.cookie_name, ""), time.time())
        return known[0] if known and _is_own_page(request) else None

    def set_cookie(self, request: web.Request, response: web.StreamResponse, reader: Reader) -> None:
        response.set_cookie(
            self.cookie_name,
            self.cookie(reader, time.time()),
            max_age=COOKIE_SECONDS,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=request.secure or request.headers.get("X-Forwarded-Proto", "") == "https",
        )


ACCESS: web.AppKey[Access] = web.AppKey("access", Access)
_READER: web.RequestKey[Reader | None] = web.RequestKey("reader", object)  # type: ignore[arg-type]


def who(request: web.Request) -> Reader | None:
    """Who asks, or None for a stranger."""
    if _READER not in request:
        request[_READER] = request.app[ACCESS].reader_of(request)
    return request[_READER]


def require(request: web.Request, needed: Role | Right = Right.FIGURES, tenant: str = "") -> Reader:
    """The reader, if he has the role or right (in *tenant*). Raises Problem: 401 for a stranger, else 403."""
    reader = who(request)
    if reader is None:
        raise _stranger(request)
    if not reader.may(needed):
        least = RIGHTS[needed][0] if isinstance(needed, Right) else needed
        raise Problem(
            403, "Your role may not do this", f"It needs the role {least} or higher; {reader.name} is {reader.role}"
        )
    if tenant and not reader.sees(tenant):
        raise Problem(403, "Another tenant's", f"{reader.name} may read {', '.join(sorted(reader.tenants))}")
    return reader


def _stranger(request: web.Request) -> Problem:
    if request.app[ACCESS].is_open_to_this_machine:
        return Problem(
            403,
            "Only this machine may read",
            "Set server.api_token and send it as 'Authorization: Bearer …'; see /handbook/install",
        )
    detail = "Send 'Authorization: Bearer …', or open the page once with '?token=…'"
    return Problem(401, "A token is needed", detail, headers={"WWW-Authenticate": "Bearer"})


@web.middleware
async def middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Take the token out of a browser's address, and keep its cookie fresh."""
    is_page = request.method == hdrs.METH_GET and "text/html" in request.headers.get(hdrs.ACCEPT, "")
    if not is_page or request.path.startswith("/hooks/") or ACCESS not in request.app:
        return await handler(request)
    access = request.app[ACCESS]
    reader = _shown_in_address(request, access)
    if reader is not None:
        query = [(key, value) for key, value in request.query.items() if key != "token"]
        moved = web.Response(status=303, headers={**PAGE_HEADERS, "Cache-Control": "no-store"})
        moved.headers[hdrs.LOCATION] = _place(request, query)
        access.set_cookie(request, moved, reader)
        return moved
    response = await handler(request)
    known = access.by_cookie(request.cookies.get(access.cookie_name, ""), time.time())
    if known is not None and known[1] and not response.prepared:
        access.set_cookie(request, response, known[0])
    return response


def _shown_in_address(request: web.Request, access: Access) -> Reader | None:
    """The reader whose token is in the address; a wrong one is one try, also where it is asked for again."""
    token = request.query.get("token", "")
    if not token or access.is_open_to_this_machine:
        return None
    reader = access.by_try(request, token)
    if reader is None and bearer(request) == token:
        request[_READER] = None
    return reader


def _place(request: web.Request, query: list[tuple[str, str]]) -> str:
    """The address without the token: a path of this host, never ``//another``."""
    return "/" + request.rel_url.with_query(query).raw_path_qs.lstrip("/")


def install(app: web.Application, settings: config.Settings) -> None:
    """Give an application its readers; :data:`middleware` belongs to its middlewares."""
    app[ACCESS] = Access(settings)
    app[TRIES_OF] = Tries(settings.server)
    app.on_response_prepare.append(_guard)


async def _guard(_request: web.Request, response: web.StreamResponse) -> None:
    _set_missing(response)


def _set_missing(response: web.StreamResponse) -> None:
    for name, value in ANSWER_HEADERS.items():
        response.headers.setdefault(name, value)


class _Handler(web.RequestHandler):
    """One connection; what is no HTTP at all is answered by it, and not by the application."""

    __slots__ = ()

    def handle_error(self, *arguments: Any, **named: Any) -> web.StreamResponse:
        response = super().handle_error(*arguments, **named)
        _set_missing(response)
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


def guard_errors(runner: web.AppRunner) -> None:
    """Answers to what is no HTTP have the headers of all others, too."""
    if runner.server is not None:
        runner.server.__class__ = _Server


def bearer(request: web.Request) -> str:
    """The secret of the Authorization header, else of ``?token=`` for senders that can't set headers."""
    header = request.headers.get("Authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return request.query.get("token", "")


def refuse_metrics(request: web.Request, token: str) -> web.Response | None:
    """The answer to one who may not scrape, or None for one who may: anybody, where no token is set."""
    if not token:
        return None
    tries, shown = request.app[TRIES_OF], bearer(request)
    if shown:
        tries.check(request, _METRICS, shown)
        if hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), token.encode()):
            tries.passed(request, _METRICS, shown)
            return None
        tries.failed(request, _METRICS)
    return problem(401, "A token is needed", "Send 'Authorization: Bearer …'", headers={"WWW-Authenticate": "Bearer"})


def _is_local(request: web.Request) -> bool:
    """Whether a program of this machine asks this machine by a name of its own.

    A page of the web that a browser here shows could ask us under its own name (DNS rebinding), or from its own place.
    """
    if any(name in request.headers for name in _PROXIED):
        return False
    return _is_loopback(request.remote or "") and _is_here(request.host) and _is_own_page(request)


def _is_here(host: str) -> bool:
    name = host.rpartition(":")[0] if host.count(":") == 1 or "]" in host else host
    name = name or host
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return bool(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        return False


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_own_page(request: web.Request) -> bool:
    """Whether no page of somebody else makes the browser ask: it could not read the answer, but it could write."""
    origin = request.headers.get(hdrs.ORIGIN)
    names = (request.host, request.headers.get("X-Forwarded-Host", request.host))
    return origin is None or origin.partition("://")[2] in names


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
