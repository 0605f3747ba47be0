"""The door of the API: every operation is allowed, limited, read, answered and cached in one way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import asyncpg
import orjson
from aiohttp import hdrs, web

from callkpi import audit, config
from callkpi.calendar.moments import BadQuery
from callkpi.database import encoding, store
from callkpi.figures.kpis import Reports
from callkpi.people.names import Names
from callkpi.web import access
from callkpi.web.access import LOCAL
from callkpi.web.api import (
    behind,
    calls,
    conditional,
    exports,
    figures,
    lookups,
    missed,
    now,
    openapi,
    privacy,
    shifts,
    statistics,
)  # fmt: skip
from callkpi.web.api.contract import HEADERS, JSON, Answer, Asked, Operation, check_body, read_values, tenant_of
from callkpi.web.limits import Limits, Taken
from callkpi.web.problems import Problem, problem
from callkpi.web.tries import TRIES_OF
from callkpi.web.watch import Watch

#: An address may have several tokens behind it.
ADDRESS_TIMES = 4
#: Answers from here on are compressed for those who take it.
_WORTH_COMPRESSING = 4096
_EXPOSED = "ETag, Retry-After, RateLimit, RateLimit-Policy, Content-Disposition"
_KEEP = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie, Origin, Accept-Encoding"}
_FORGET = {"Cache-Control": "no-store"}
#: Who reads what is for everybody.
_STRANGER = access.Reader("stranger", config.Role.VIEWER, frozenset({""}))


class Api:
    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: config.Settings,
        watch: Callable[[str], Watch] | None = None,
        names: Names | None = None,
    ) -> None:
        self._pool, self._settings = pool, settings
        reports = Reports(pool, settings, names)
        rate = settings.api.requests_per_second
        self._tokens, self._addresses = Limits(rate), Limits(ADDRESS_TIMES * rate)
        own: Sequence[Operation] = (
            *figures.operations(reports),
            *statistics.operations(pool, settings, reports.names),
            *shifts.operations(),
            *calls.operations(pool, reports),
            *behind.operations(pool, reports),
            *missed.operations(pool, settings, reports),
            *now.operations(pool, reports, watch),
            *exports.operations(pool, settings, reports),
            *lookups.operations(pool),
            *privacy.operations(pool, settings),
        )
        self.operations: tuple[Operation, ...] = (*own, *openapi.operations(own, access.cookie_name(settings)))

    def routes(self) -> list[web.RouteDef]:
        routes = []
        for operation in self.operations:
            handler = self._served(operation)
            path = operation.path.replace("{id}", "{id:.+}")
            routes.append(web.route(operation.method, path, handler))  # GET is HEAD as well
        if self._settings.api.cors_origins:
            paths = {operation.path.replace("{id}", "{id:.+}") for operation in self.operations}
            routes += [web.options(path, self._preflight) for path in sorted(paths)]
        return routes

    def _served(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handler(request: web.Request) -> web.StreamResponse:
            headers = self._cors(request)
            try:
                asked = await self._asked(operation, request, headers)
                request[HEADERS] = headers
                answer = await operation.answer(asked)
                response = await self._response(operation, asked, answer)
            except BadQuery as error:
                response = problem(400, "A parameter can't be used", str(error))
            except Problem as told:
                response = told.answer()
            except store.UNAVAILABLE as error:
                response = problem(
                    503, "The database does not answer", type(error).__name__, headers={"Retry-After": "2"}
                )
            if not response.prepared:
                for name, value in {"X-Content-Type-Options": "nosniff", **headers}.items():
                    response.headers.setdefault(name, value)
            return response

        return handler

    async def _asked(self, operation: Operation, request: web.Request, headers: dict[str, str]) -> Asked:
        """The request, if it is allowed and can be read. *headers* are of whatever is answered."""
        if operation.right is None:
            reader = access.who(request) or _STRANGER
            self._limit(request, None, headers)
        else:
            self._limit(request, access.who(request), headers)
            reader = access.require(request, operation.right)
        _negotiate(operation, request)
        values = read_values(operation, request)
        tenant = tenant_of(request, self._settings) if operation.asks_for_tenant else ""
        asked = Asked(request, reader, self._settings, values, tenant)
        return asked if operation.body is None else replace(asked, body=await _body(operation, request))

    def _limit(self, request: web.Request, reader: access.Reader | None, headers: dict[str, str]) -> None:
        """Raises Problem (429) for one who asks too fast."""
        taken = self._addresses.take(request.app[TRIES_OF].address_of(request))
        if taken is not None and taken.allowed and reader is not None and reader.name != LOCAL:
            taken = self._tokens.take(reader.name)
        if taken is None:
            return
        headers.update(taken.headers)
        if not taken.allowed:
            raise _too_fast(taken)

    async def _response(
        self, operation: Operation, asked: Asked, answer: Answer | web.StreamResponse
    ) -> web.StreamResponse:
        if isinstance(answer, web.StreamResponse):
            return answer
        headers = _FORGET
        if operation.method == hdrs.METH_GET:
            tag = conditional.etag(answer.body, answer.volatile)
            headers = {"ETag": tag, **(_KEEP if operation.stored else _FORGET)}
            if conditional.holds(asked.request, tag):
                return web.Response(status=304, headers=headers)
        if answer.seen is not None:
            seen = answer.seen
            await audit.record(self._pool, asked.reader, seen.action, seen.tenant, seen.subject, seen.details)
        return _json(answer, headers)

    # -- pages of other sites ------------------------------------------------------------------------
    def _cors(self, request: web.Request) -> dict[str, str]:
        origin = request.headers.get(hdrs.ORIGIN, "")
        if origin not in self._settings.api.cors_origins:
            return {}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}

    async def _preflight(self, request: web.Request) -> web.Response:
        allowed = self._cors(request)
        if not allowed:
            return problem(403, "Another site's page", "api.cors_origins names the sites that may read")
        return web.Response(
            status=204,
            headers={
                **allowed,
                "Vary": "Origin",
                "Access-Control-Allow-Methods": "GET, HEAD, POST",
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, If-None-Match",
                "Access-Control-Max-Age": "600",
            },
        )


def _too_fast(taken: Taken) -> Problem:
    return Problem(
        429, "Too many requests", f"Ask again in {taken.retry_in} s; api.requests_per_second says how fast", headers={}
    )


def _negotiate(operation: Operation, request: web.Request) -> None:
    """Raises Problem (406) for one who does not take what the operation answers."""
    accept = request.headers.get(hdrs.ACCEPT, "")
    kind = operation.media.partition("/")[0]
    ranges = [part.partition(";") for part in accept.split(",")] if accept.strip() else []
    takes = {name.strip().lower() for name, _, rest in ranges if not rest.replace(" ", "").endswith("q=0")}
    if ranges and not takes & {"*/*", f"{kind}/*", operation.media}:
        raise Problem(
            406, "Not in that form", f"{operation.path} answers {operation.media}; Accept has {accept[:80]!r}"
        )


async def _body(operation: Operation, request: web.Request) -> dict[str, object]:
    if request.content_type != JSON:
        raise Problem(415, "The body must be JSON", f"Send 'Content-Type: {JSON}'", headers={"Accept": JSON})
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "The body can't be read", f"not JSON: {error}") from None
    wrong = check_body(operation.body or {}, body)
    if wrong:
        raise Problem(422, "The body can't be used", wrong[0], more={"errors": wrong})
    assert isinstance(body, dict)
    return body


def _json(answer: Answer, headers: dict[str, str]) -> web.Response:
    response = web.Response(text=encoding.to_json(answer.body), content_type=JSON, headers=headers)
    if len(response.text or "") >= _WORTH_COMPRESSING:
        response.enable_compression()
    return response
