"""``/api/v1``: the KPIs, the calls behind them, the work list of missed customers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
from aiohttp import web

from callkpi import config, store
from callkpi.model import Direction, Outcome
from callkpi.phone import mask, normalise
from callkpi.reports import GROUPINGS, Query, Reports, local_midnight
from callkpi.web.access import require, who
from callkpi.web.problems import problem

_DIMENSIONS = ("queue", "agent", "line", "direction", "outcome")
MAX_WINDOW = timedelta(days=3660)
MAX_CALLS = 1000


class BadQuery(Exception):
    """A parameter that can't be used: which, why, what to write."""


Answer = Callable[[web.Request], Awaitable[Any]]


class Api:
    def __init__(self, pool: asyncpg.Pool, settings: config.Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._reports = Reports(pool, settings)

    def routes(self) -> list[web.RouteDef]:
        answers: dict[str, Answer] = {
            "/api/v1/kpi": self.kpi,
            "/api/v1/missed": self.missed,
            "/api/v1/calls": self.calls,
            "/api/v1/calls/{id:.+}": self.call,
        }
        return [web.get(path, self._guarded(answer)) for path, answer in answers.items()]

    def _guarded(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            require(request)
            try:
                body = await answer(request)
            except BadQuery as error:
                return problem(400, "A parameter can't be used", str(error))
            except store.UNAVAILABLE as error:
                return problem(503, "The database does not answer", type(error).__name__, headers={"Retry-After": "2"})
            if body is None:
                return problem(404, "No such call", "Its id is {source}/{call id} as /api/v1/calls shows it")
            return web.Response(text=json.dumps(body, ensure_ascii=False), content_type="application/json")

        return handler

    # -- answers -------------------------------------------------------------------------------------
    async def kpi(self, request: web.Request) -> Any:
        """KPIs of a window, rows by one dimension; the others filter."""
        _known(request, {"tenant", "from", "to", "by", "token", *_DIMENSIONS})
        tenant = self._tenant(request)
        begin, end = self._window(request, tenant)
        by = request.query.get("by", "queue")
        if by not in GROUPINGS:
            raise BadQuery(f"by: {by!r} is none of {', '.join(GROUPINGS)}")
        only = {name: request.query[name] for name in _DIMENSIONS if name in request.query}
        return await self._reports.figures(Query(tenant, begin, end, by, only))

    async def missed(self, request: web.Request) -> Any:
        """Customers nobody has spoken to since we missed them, oldest first."""
        _known(request, {"tenant", "limit", "token"})
        tenant = self._tenant(request)
        return {"tenant": tenant, "items": await self._reports.missed(tenant, _limit(request))}

    async def calls(self, request: web.Request) -> Any:
        """Calls of a window, newest first."""
        _known(request, {"tenant", "from", "to", "customer", "limit", "token", *_DIMENSIONS})
        tenant = self._tenant(request)
        begin, end = self._window(request, tenant)
        _choice(request, "outcome", list(Outcome))
        _choice(request, "direction", list(Direction))
        query = request.query
        customer = query.get("customer")
        region = self._settings.tenants[tenant].region
        limit = _limit(request)
        await self._reports.names.refresh(self._pool)
        rows = await self._pool.fetch(
            store.query("reports", "list_calls"), tenant, begin, end, query.get("outcome"), query.get("direction"),
            query.get("line"), None if customer is None else normalise(customer, region), query.get("queue"),
            query.get("agent"), limit,
        )  # fmt: skip
        return {
            "tenant": tenant,
            "calls": [self._call_json(tenant, json.loads(row["body"])) for row in rows],
            "complete": len(rows) < limit,
        }

    async def call(self, request: web.Request) -> Any:
        """One call with its entries, its legs and the events that it is made of."""
        _known(request, {"tenant", "source", "token"})
        tenant = self._tenant(request)
        for source, call_id in self._candidates(request):
            place = await self._pool.fetchrow(store.query("reports", "key_of"), tenant, source, call_id)
            if place is None or place["started_at"] is None:
                continue
            key = (tenant, source, place["root"])
            row = await self._pool.fetchrow(store.query("reports", "call_at"), *key, place["started_at"])
            if row is not None:
                await self._reports.names.refresh(self._pool)
                body = self._call_json(tenant, json.loads(row["body"]))
                return {**body, "facts": json.loads(row["facts"]), "events": await self._events(*key)}
        return None

    def _candidates(self, request: web.Request) -> list[tuple[str, str]]:
        """``{source}/{call id}``, or a bare call id that is looked for in every source."""
        name = request.match_info["id"]
        source, slash, rest = name.partition("/")
        named = [(source, rest)] if slash and source in self._settings.sources else []
        chosen = request.query.get("source")
        return named + [(each, name) for each in ([chosen] if chosen else self._settings.sources)]

    async def _events(self, tenant: str, source: str, root: str) -> list[dict[str, Any]]:
        members = await self._pool.fetch(store.query("projector", "members_of"), [tenant], [source], [root])
        ids = [root, *(row["call_id"] for row in members)]
        rows = []
        for call_id in ids:
            place = await self._pool.fetchrow(store.query("reports", "key_of"), tenant, source, call_id)
            if place is not None:
                span = (place["first_at"], place["last_at"])
                rows += await self._pool.fetch(
                    store.query("projector", "events_of"), [tenant], [source], [call_id], *span
                )
        return [_event_json(row) for row in sorted(rows, key=lambda r: (r["at"], r["kind"], r["event_id"]))]

    def _call_json(self, tenant: str, body: dict[str, Any]) -> dict[str, Any]:
        """A stored call as the API shows it: seconds instead of milliseconds, a masked number beside the real one."""
        names = self._reports.names
        shown: dict[str, Any] = _in_seconds(body)
        shown["id"] = f"{body['source']}/{body['call_id']}"
        shown["customer_masked"] = mask(body.get("customer", ""))
        shown["line_name"] = names.show(tenant, "line", body.get("line", ""))
        for leg in shown.get("legs", ()):
            leg["agent_name"] = names.show(tenant, "agent", leg.get("agent", ""))
        for entry in shown.get("entries", ()):
            entry["queue_name"] = names.show(tenant, "queue", entry.get("queue", ""))
        return shown

    # -- parameters ----------------------------------------------------------------------------------
    def _tenant(self, request: web.Request) -> str:
        return tenant_of(request, self._settings)

    def _window(self, request: web.Request, tenant: str) -> tuple[datetime, datetime]:
        """[from, to); by default the call centre's day so far."""
        settings, now = self._settings.tenants[tenant], datetime.now(UTC)
        begin = moment(request.query.get("from", ""), "from", settings) or local_midnight(settings, now)
        end = moment(request.query.get("to", ""), "to", settings) or now
        if end <= begin:
            raise BadQuery(f"to: {end.isoformat()} is not after from, {begin.isoformat()}")
        if end - begin > MAX_WINDOW:
            raise BadQuery("from, to: at most ten years at a time")
        return begin, end


def tenant_of(request: web.Request, settings: config.Settings) -> str:
    """The tenant that is asked for, by default the only one that the reader may read. Raises BadQuery.

    Others than his do not exist for him: he can't tell which there are.
    """
    reader = who(request)
    tenants = [name for name in settings.tenants if reader is not None and reader.sees(name)]
    name = request.query.get("tenant") or (next(iter(tenants)) if len(tenants) == 1 else "")
    if name not in tenants:
        raise BadQuery(f"tenant: {name[:64]!r} is none of {', '.join(tenants)}; write ?tenant={next(iter(tenants))}")
    return name


def moment(text: str, name: str, tenant: config.Tenant) -> datetime | None:
    """A time with an offset, a local date or time of the call centre, or Unix seconds; None for "".

    Raises BadQuery, which names the parameter *name*.
    """
    if not text:
        return None
    text = text.replace(" ", "+") if "T" in text else text
    try:
        if text.replace(".", "", 1).isdigit() and len(text) > 8:
            return datetime.fromtimestamp(float(text), UTC)
        at = (
            datetime.combine(date.fromisoformat(text), datetime.min.time())
            if len(text) == 10
            else datetime.fromisoformat(text)
        )
    except (ValueError, OverflowError, OSError):
        raise BadQuery(
            f"{name}: {text[:40]!r} is no time; write 2026-11-23, 2026-11-23T09:00:00+05:00 or Unix seconds"
        ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=tenant.zone)
    if not 1971 <= at.year <= 2200:
        raise BadQuery(f"{name}: {text[:40]!r} is not between 1971 and 2200")
    return at.astimezone(UTC)


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", "100")
    if not text.isdigit() or not 1 <= int(text) <= MAX_CALLS:
        raise BadQuery(f"limit: {text[:20]!r} must be 1 to {MAX_CALLS}")
    return int(text)


def _choice(request: web.Request, name: str, allowed: list[str]) -> None:
    value = request.query.get(name)
    if value is not None and value not in allowed:
        raise BadQuery(f"{name}: {value[:40]!r} is none of {', '.join(allowed)}")


def _known(request: web.Request, known: set[str]) -> None:
    for name in request.query:
        if name not in known:
            raise BadQuery(f"{name[:40]}: unknown parameter; known: {', '.join(sorted(known - {'token'}))}")
    for name, value in request.query.items():
        if "\x00" in value:
            raise BadQuery(f"{name}: must not contain NUL")


def _event_json(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "call_id": row["call_id"],
        "kind": row["kind"],
        "at": row["at"].isoformat(),
        "received_at": row["received_at"].isoformat(),
        "event_id": row["event_id"],
        **_in_seconds(json.loads(row["body"])),
    }


def _in_seconds(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_seconds(item) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(_second(key, item) for key, item in value.items())


def _second(key: str, value: Any) -> tuple[str, Any]:
    if not key.endswith("_ms"):
        return key, _in_seconds(value)
    return f"{key[:-3]}_seconds", None if value is None else value / 1000
