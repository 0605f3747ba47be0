"""A Bitrix24 portal to test against: a real HTTP server with the documented limits, and a generated history.

It keeps the rules of the reference: a leaky bucket of requests, a method's running time, 50 rows a page, ``start=-1``
without a count, filters with prefixes, only upper-case keys, a renamed portal's 302, errors in its own words. What the
reference calls unverified is a switch.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from tests.stand_ins.portal_crm import Crm, Refusal

SECRET = "s3cr3thook0123456"
MEMBER = "4f0c2d6b8a1e39577c22d90be6a1f403"
PORTAL_ZONE = timezone(timedelta(hours=3))
USERS = {"12": ("Dana", "Akhmetova"), "58": ("Ivan", "Petrov"), "61": ("Ivan", "Petrov"), "77": ("Aru", "")}

Row = dict[str, Any]


@dataclass(slots=True)
class Portal:
    """State and rules of the stand-in."""

    rows: list[Row] = field(default_factory=list)
    rate: float = 2.0
    bucket: float = 50.0
    #: Running time that one request of the statistics costs, its limit, and the window's length, in seconds.
    operating_cost: float = 0.0
    operating_limit: float = 480.0
    operating_window: float = 600.0
    visible_users: set[str] | None = None  #: rights of the webhook's owner; None: any
    denied: str = ""  #: error code for every method
    missing_scopes: set[str] = field(default_factory=set)  #: methods that answer insufficient_scope
    moved_to: str = ""  #: origin of the renamed portal; with a path, the whole address
    minus_one_counts: bool = False  #: start=-1 is read as 0
    ignores_id_filter: bool = False
    ignores_order: bool = False
    flaky: float = 0.0  #: share of requests that fail in one of many ways
    slow_seconds: float = 0.0
    seed: int = 1
    crm: Crm = field(default_factory=Crm)
    requests: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    url: str = ""
    _level: float = 0.0
    _leaked_at: float = field(default_factory=time.monotonic)
    _used: deque[tuple[float, float]] = field(default_factory=deque)
    _rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self._rng.seed(self.seed)

    # -- the server ------------------------------------------------------------------------------
    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[Portal]:
        app = web.Application()
        app.router.add_route("*", "/rest/{user}/{secret}/{method}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/rest/1/{SECRET}/"
        try:
            yield self
        finally:
            await self.crm.close()
            await runner.cleanup()

    @property
    def origin(self) -> str:
        return self.url.partition("/rest/")[0]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"].removesuffix(".json")
        self.requests[method] += 1
        if self.moved_to:
            return self._say("moved", 302, {}, {"Location": self._moved(request.path)})
        if request.method != "POST":
            return self._error(400, "INVALID_REQUEST", "POST expected: a redirect lost it")
        if request.match_info["secret"] != SECRET:
            return self._error(401, "NO_AUTH_FOUND", f"Wrong authorization data {request.match_info['secret']}")
        if (refused := self._limited()) is not None:
            return refused
        body = await request.json()  # before anything takes time: who asked may be gone then
        if self.slow_seconds:
            await asyncio.sleep(self.slow_seconds)
        if self._rng.random() < self.flaky:
            return await self._fail(request)
        if self.denied:
            return self._error(401 if self.denied in ("expired_token", "NO_AUTH_FOUND") else 403, self.denied, "no")
        if method in self.missing_scopes:
            return self._error(403, "insufficient_scope", "The request requires higher privileges")
        if method.startswith("crm.") or method in ("scope", "profile"):
            return await self._crm(request, method, body)
        known = {
            "voximplant.statistic.get": self._statistics, "user.get": self._users,
            "department.get": self._departments, "voximplant.line.get": self._lines,
        }  # fmt: skip
        if method not in known:
            return self._error(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        return known[method](body)

    async def _crm(self, request: web.Request, method: str, body: Mapping[str, Any]) -> web.StreamResponse:
        try:
            if (seconds := self.crm.takes_seconds.pop(method, 0.0)) or self.crm.is_lost(method):
                # The work is done, also where nobody waits for its answer any more.
                working = asyncio.ensure_future(self.crm.do_later(method, body, seconds))
                if request.transport is not None:
                    request.transport.abort()
                await asyncio.shield(working)
                return web.Response()
            result, more = self.crm.do(method, body)
        except Refusal as refusal:
            return self._error(refusal.status, refusal.code, refusal.text, **refusal.more)
        return self._ok(result, *more)

    def _moved(self, path: str) -> str:
        return self.moved_to if "/" in self.moved_to.partition("://")[2] else self.moved_to + path

    def _limited(self) -> web.Response | None:
        now = time.monotonic()
        self._level = max(self._level - (now - self._leaked_at) * self.rate, 0.0)
        self._leaked_at = now
        if self._level + 1 > self.bucket:
            return self._error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        self._level += 1
        return None

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        way = self._rng.randrange(6)
        if way == 0:
            return self._error(500, "INTERNAL_SERVER_ERROR", "Internal server error")
        if way == 1:
            return self._say("broken", 200, "<html>maintenance</html>")
        if way == 2:
            return self._say("broken", 502, "<html>bad gateway</html>")
        if way == 3:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if way == 4:
            return self._error(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        return self._say("broken", 200, '{"result": [{"ID": "1", "CALL_')

    def _error(self, status: int, code: str, text: str, **more: Any) -> web.Response:
        return self._say(code, status, {"error": code, "error_description": text, **more})

    def _say(
        self, told: str, status: int, body: dict[str, Any] | str, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        self.answers[told] += 1
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    def _ok(self, result: Any, total: int | None = None, following: int | None = None) -> web.Response:
        now = time.time()
        while self._used and self._used[0][0] < now - self.operating_window:
            self._used.popleft()
        reset = (self._used[0][0] if self._used else now) + self.operating_window
        told: dict[str, Any] = {
            "result": result,
            "time": {"operating": sum(cost for _, cost in self._used), "operating_reset_at": int(reset) + 1},
        }
        if total is not None:
            told["total"] = total
        if following is not None:
            told["next"] = following
        return self._say("ok", 200, told)

    # -- methods ---------------------------------------------------------------------------------
    def _statistics(self, body: Mapping[str, Any]) -> web.Response:
        now = time.time()
        used = sum(cost for at, cost in self._used if at >= now - self.operating_window)
        if used >= self.operating_limit:
            reset = {"operating_reset_at": int(self._used[0][0] + self.operating_window) + 1}
            return self._error(
                429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", time=reset
            )
        self._used.append((now, self.operating_cost))
        rows = [row for row in self.rows if self._matches(row, body.get("FILTER") or {})]
        if self.visible_users is not None:
            rows = [row for row in rows if row["PORTAL_USER_ID"] in self.visible_users]
        if body.get("SORT") == "ID" and not self.ignores_order:
            rows.sort(key=lambda row: int(row["ID"]), reverse=body.get("ORDER") == "DESC")
        else:
            self._rng.shuffle(rows)
        start = int(body.get("start") or 0)
        if start == -1 and not self.minus_one_counts:
            return self._ok(rows[:50])
        start = max(start, 0)
        following = start + 50 if start + 50 < len(rows) else None
        return self._ok(rows[start : start + 50], len(rows), following)

    def _matches(self, row: Row, wanted: Mapping[str, Any]) -> bool:
        for key, value in wanted.items():
            operator = key[: len(key) - len(key.lstrip("<>=!"))]
            name = key[len(operator) :]
            if name == "ID":
                if not self.ignores_id_filter and not _compare(operator, int(row["ID"]), int(value)):
                    return False
            elif name == "CALL_START_DATE":
                if not _compare(operator, datetime.fromisoformat(row[name]), datetime.fromisoformat(value)):
                    return False
            elif not _compare(operator, str(row[name]), str(value)):
                return False
        return True

    def _users(self, body: Mapping[str, Any]) -> web.Response:
        people = [{"ID": i, "NAME": a, "LAST_NAME": b, "ACTIVE": i != "61"} for i, (a, b) in sorted(USERS.items())]
        start = int(body.get("start") or 0)
        return self._ok(people[start : start + 3], len(people), start + 3 if start + 3 < len(people) else None)

    def _departments(self, body: Mapping[str, Any]) -> web.Response:
        return self._ok([{"ID": "1", "NAME": "Sales", "SORT": 500}], 1)

    def _lines(self, body: Mapping[str, Any]) -> web.Response:
        return self._ok({"reg7": "Main line", "sip3": "Office"})


def _compare(operator: str, one: Any, other: Any) -> bool:
    return bool({
        "": one == other, "=": one == other, ">": one > other, ">=": one >= other, "<": one < other,
        "<=": one <= other, "!": one != other, "!=": one != other,
    }[operator])  # fmt: skip


# -- a history --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Story:
    """One call as the portal knows it: what it sends, and what its statistics have."""

    call_id: str
    webhooks: list[bytes]
    rows: list[Row]


CODES = ("200",) * 12 + ("304",) * 5 + ("603", "486", "480", "603-S", "404", "OTHER", "505")


def history(
    seed: int, calls: int, begin: datetime, end: datetime, *, first_row: int = 1000, same_start: bool = False
) -> list[Story]:
    """Calls that began between *begin* and *end*, in the order in which their rows were written.

    *same_start*: later rows of a transferred call have the begin of the call; else that of their conversation.
    """
    rng = random.Random(seed)
    span = (end - begin).total_seconds()
    starts = sorted(begin + timedelta(seconds=int(rng.random() * span)) for _ in range(calls))
    stories, number = [], first_row
    for index, at in enumerate(starts):
        story = _story(rng, f"{seed:02X}{index:014X}.{int(at.timestamp())}.{index}", at, same_start)
        for row in story.rows:
            number += rng.choice((1, 1, 1, 2, 7))
            row["ID"] = str(number)
        stories.append(story)
    return stories


def _story(rng: random.Random, call_id: str, at: datetime, same_start: bool) -> Story:
    kind = rng.choice(("1", "1", "2", "2", "2", "2", "3", "4", "5"))
    if rng.random() < 0.2:
        call_id = f"externalCall.{call_id}"
    number = "" if rng.random() < 0.03 else f"+7700{rng.randrange(10**6, 10**7)}"
    ring, code, user = rng.randrange(1, 30), rng.choice(CODES), rng.choice(list(USERS))
    if code != "200" and rng.random() < 0.4:
        user = "0"
    talk = rng.randrange(1, 400) if code == "200" else 0
    rows = [_row(rng, call_id, kind, number, user, code, talk, at)]
    answered = code == "200"
    if answered and rng.random() < 0.15:
        # Transferred: more conversations of the same call, or an attempt that nobody took.
        begin = at + timedelta(seconds=ring + talk)
        for _ in range(rng.choice((1, 1, 2))):
            other = rng.choice([other for other in USERS if other != user])
            more, took = rng.randrange(1, 200), rng.random() < 0.8
            rows.append(_row(rng, call_id, kind, number, other, "200" if took else "304", more if took else 0,
                             at if same_start else begin))  # fmt: skip
            begin += timedelta(seconds=more if took else 0)
            user = other
    webhooks = [webhook("INIT", _init(call_id, kind, number), at)]
    if answered:
        webhooks.append(webhook("START", {"CALL_ID": call_id, "USER_ID": rows[0]["PORTAL_USER_ID"]},
                                at if call_id.startswith("ext") else at + timedelta(seconds=ring)))  # fmt: skip
    over = at + timedelta(seconds=ring + sum(int(row["CALL_DURATION"]) for row in rows))
    webhooks.append(webhook("END", end_of(rows[0]), over))
    return Story(call_id, webhooks, rows)


def _init(call_id: str, kind: str, number: str) -> dict[str, str]:
    outgoing = kind in ("1", "4", "5")
    ends = ("reg7", number) if outgoing else (number, "+77172700100")
    data = {"CALLER_ID": ends[0], "PHONE_NUMBER": ends[1], "ACCOUNT_SEARCH_ID": "reg7"}
    return {"CALL_ID": call_id, "CALL_TYPE": kind, **data}


def _row(rng: random.Random, call_id: str, kind: str, number: str, user: str, code: str, talk: int,
         at: datetime) -> Row:  # fmt: skip
    return {
        "ID": "", "CALL_ID": call_id, "EXTERNAL_CALL_ID": None, "CALL_CATEGORY": "external", "CALL_TYPE": kind,
        "PORTAL_USER_ID": user, "PORTAL_NUMBER": "reg7", "PHONE_NUMBER": number, "CALL_DURATION": str(talk),
        "CALL_START_DATE": at.astimezone(PORTAL_ZONE).isoformat(timespec="seconds"), "CALL_RECORD_URL": "",
        "RECORD_FILE_ID": None, "RECORD_DURATION": None, "CALL_VOTE": rng.choice((None, "0", "5")),
        "COST": "0.0000", "COST_CURRENCY": "", "CALL_FAILED_CODE": code, "CALL_FAILED_REASON": "",
        "CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": "12", "CRM_ACTIVITY_ID": "77", "REST_APP_ID": None,
        "SESSION_ID": "5512094", "COMMENT": None,
    }  # fmt: skip


def end_of(row: Row) -> dict[str, str]:
    names = ("CALL_ID", "CALL_TYPE", "PHONE_NUMBER", "PORTAL_NUMBER", "PORTAL_USER_ID", "CALL_DURATION",
             "CALL_START_DATE", "CALL_FAILED_CODE", "CRM_ACTIVITY_ID")  # fmt: skip
    return {**{name: row[name] for name in names}, "COST": "0", "COST_CURRENCY": "", "CALL_FAILED_REASON": ""}


def webhook(event: str, data: Mapping[str, str], at: datetime, token: str = "portal-secret") -> bytes:
    """A body as the portal's queue sends it."""
    form = {"event": f"ONVOXIMPLANTCALL{event}", "event_handler_id": "412", "ts": str(int(at.timestamp()))}
    form |= {f"data[{key}]": value for key, value in data.items()}
    form |= {"auth[domain]": "acme.bitrix24.example", "auth[member_id]": MEMBER, "auth[application_token]": token}
    return urlencode(form).encode()


def lossy(stories: Sequence[Story], seed: int, lost: float) -> list[bytes]:
    """The portal's webhooks as they arrive: some lost, some twice, in any order."""
    rng = random.Random(seed)
    sent = [body for story in stories for body in story.webhooks if rng.random() >= lost]
    sent += rng.sample(sent, len(sent) // 5)
    rng.shuffle(sent)
    return sent


# -- its truth --------------------------------------------------------------------------------------------

OUTCOMES = {
    "200": "answered", "304": "no_answer", "480": "no_answer", "603-S": "no_answer", "486": "busy", "603": "rejected",
}  # fmt: skip


@dataclass(slots=True)
class Truth:
    """What the statistics say, counted from the rows alone."""

    calls: int
    inbound: Counter[str]
    outbound: Counter[str]
    talk: Counter[str]  #: by direction, seconds
    handled: Counter[str]  #: by agent
    agent_talk: Counter[str]


def truth(rows: Sequence[Row]) -> Truth:
    told = Truth(0, Counter(), Counter(), Counter(), Counter(), Counter())
    by_call: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (datetime.fromisoformat(row["CALL_START_DATE"]), int(row["ID"]))):
        by_call.setdefault(row["CALL_ID"], []).append(row)
    told.calls = len(by_call)
    for parts in by_call.values():
        direction = {"1": "outbound", "2": "inbound", "3": "inbound", "4": "outbound"}.get(parts[0]["CALL_TYPE"], "")
        talks = [row for row in parts if row["CALL_FAILED_CODE"] == "200"]
        outcome = "answered" if talks else OUTCOMES.get(parts[-1]["CALL_FAILED_CODE"], "failed")
        if direction:
            (told.inbound if direction == "inbound" else told.outbound)[outcome] += 1
        # An announcement by a machine is nobody's work, whatever user its row names.
        for row in talks if direction else ():
            told.talk[direction] += int(row["CALL_DURATION"])
            told.handled[row["PORTAL_USER_ID"]] += 1
            told.agent_talk[row["PORTAL_USER_ID"]] += int(row["CALL_DURATION"])
    return told
