"""``/reports``: summaries of shifts and periods to read, print and take along, down to the calls behind a figure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType

import asyncpg
from aiohttp import hdrs, web

from callkpi import audit, config
from callkpi.calendar import periods, shifts
from callkpi.calendar.periods import BadPeriod, Period
from callkpi.database import store
from callkpi.figures.behind import Unknown, Window, calls_behind
from callkpi.figures.kpis import Query, Reports
from callkpi.figures.onecall import read_call
from callkpi.figures.weights import LONGEST
from callkpi.people.names import Names
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.language import LANGUAGES
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS, html
from callkpi.summaries.teams import of_handles
from callkpi.web import access, summary_pages
from callkpi.web.access import ANSWER_HEADERS, PAGE_HEADERS, Right
from callkpi.web.api import BadQuery, moment, tenant_of
from callkpi.web.language import language_of
from callkpi.web.problems import problem
from callkpi.web.summary_pages import Page

#: How far back the overview lists shifts.
_LISTED = timedelta(days=8)
_OTHERS = ("today", "yesterday", "this_week", "last_week", "this_month", "last_month")
_FILTERS = ("queue", "agent", "team", "line", "direction", "outcome")
_HEADERS = MappingProxyType(
    {
        **PAGE_HEADERS,
        "Content-Security-Policy": PAGE_HEADERS["Content-Security-Policy"].replace(
            "style-src 'self'", f"style-src '{html.STYLE_HASH}'"
        ),
    }
)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: A browser's own viewer shows a PDF within a page that it makes, with a style of its own.
_OF_PDF = ANSWER_HEADERS["Content-Security-Policy"] + "; object-src 'self'; style-src 'unsafe-inline'"


class ReportPages:
    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: config.Settings,
        names: Names | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._pool, self._settings = pool, settings
        self._clock = clock or partial(datetime.now, UTC)
        self._names = names or Names(settings)
        #: One at a time, and beside the event loop, in which senders wait for their answer: a PDF may take seconds.
        self._rendering = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        ending = r"{ending:(\.(" + "|".join(FORMATS) + r"))?}"
        answers: dict[str, Answer] = {
            "/reports": self.overview,
            r"/reports/shift/{tenant}/{id}/{day:\d{4}-\d{2}-\d{2}}" + ending: self.shift,
            "/reports/period/{tenant}/{text:[^/]+?}" + ending: self.period,
            "/reports/calls": self.calls,
            "/reports/call/{source}/{call_id:.+}": self.call,
        }
        return [web.get(path, self._guarded(answer)) for path, answer in answers.items()]

    def _guarded(self, answer: Answer) -> Answer:
        async def handler(request: web.Request) -> web.StreamResponse:
            access.require(request)
            try:
                return await answer(request)
            except (BadQuery, BadPeriod, Unknown) as error:
                return _refused(request, 400, "A parameter can't be used", str(error))
            except store.UNAVAILABLE as error:
                return _refused(
                    request, 503, "The database does not answer", type(error).__name__, {"Retry-After": "2"}
                )

        return handler

    # -- who asks for what -----------------------------------------------------------------------------
    def _page(self, request: web.Request, tenant: str, numbers: Right, agents: Right) -> Page:
        """The page of a reader; he sees numbers and agents if he has those rights."""
        reader = access.require(request, Right.FIGURES, tenant)
        segments = request.rel_url.raw_path.count("/") - 1
        code = language_of(request, LANGUAGES)
        seen = Reader(
            numbers=reader.may(numbers, tenant), agents=reader.may(agents, tenant),
            root="/".join([".."] * segments) or ".", query={"lang": code} if "lang" in request.query else {},
        )  # fmt: skip
        query = [(key, value) for key, value in request.query.items() if key not in ("lang", "token")]
        here = request.rel_url.with_query(query).raw_path_qs.lstrip("/")
        return Page(tenant, code, seen, self._settings.tenants[tenant].zone, here)

    def _tenant(self, request: web.Request) -> str:
        """The tenant of the path. Another one than the reader's does not exist for him."""
        name = request.match_info["tenant"]
        reader = access.require(request)
        if name not in self._settings.tenants or not reader.sees(name):
            raise BadQuery(f"tenant: {name[:64]!r} is not one that you may read")
        return name

    def _tenants(self, request: web.Request) -> list[str]:
        reader = access.require(request)
        return [name for name in self._settings.tenants if reader.sees(name)]

    # -- pages -----------------------------------------------------------------------------------------
    async def overview(self, request: web.Request) -> web.Response:
        """The shifts of the last days, newest first."""
        tenant = tenant_of(request, self._settings) if "tenant" in request.query else self._tenants(request)[0]
        page, own, now = (
            self._page(request, tenant, Right.WORK_LIST, Right.AGENT_FIGURES),
            self._settings.tenants[tenant],
            self._clock(),
        )
        reports = Reports(self._pool, self._settings, self._names)
        listed = []
        for shift in reversed(shifts.shifts_between(own, tenant, now - _LISTED, now)):
            if shift.team and not page.reader.agents:
                continue
            period = periods.parse(own, tenant, f"shift:{shift.key}", now)
            answer = await reports.figures(Query(tenant, shift.begin, shift.end, "direction", shift.limits, now))
            listed.append((period, of_handles(answer["total"]) if shift.team else answer["total"]))
        others = {word: periods.parse(own, tenant, word, now) for word in _OTHERS}
        return _html(summary_pages.overview(page, listed, others, self._tenants(request)))

    async def shift(self, request: web.Request) -> web.StreamResponse:
        tenant, place = self._tenant(request), request.match_info
        return await self._summary(request, tenant, f"shift:{place['id']}@{place['day']}")

    async def period(self, request: web.Request) -> web.StreamResponse:
        return await self._summary(request, self._tenant(request), request.match_info["text"])

    async def _summary(self, request: web.Request, tenant: str, text: str) -> web.StreamResponse:
        """The summary as a page, or as the file that the address ends in."""
        own, now = self._settings.tenants[tenant], self._clock()
        period = periods.parse(own, tenant, text, now)
        if period.shift is not None and period.shift.team:
            access.require(request, Right.AGENT_FIGURES, tenant)
        against = request.query.get("against", "previous")
        summary = await summarise_period(
            self._pool, self._settings, self._names, tenant, period, now, against, ledger=False
        )
        page = self._page(request, tenant, Right.WORK_LIST, Right.AGENT_FIGURES)
        if page.reader.numbers and (summary.callbacks or summary.handover.open_calls):
            await self._record(request, tenant, audit.Action.READ_NUMBERS, text, len(summary.callbacks))
        ending = request.match_info["ending"].lstrip(".")
        if not ending or ending == "html":
            navigation = page.navigation(*summary_pages.around(page, period.text, *_neighbours(own, period, now)))
            async with self._rendering:
                return _html(await asyncio.to_thread(html.page, summary, page.code, page.reader, navigation))
        form = FORMATS[ending]
        where = "inline" if ending in ("json", "txt", "pdf") else "attachment"
        # A file that is taken along has no page beside it: its links would lead nowhere.
        reader = Reader(numbers=page.reader.numbers, agents=page.reader.agents)
        async with self._rendering:
            body = await asyncio.to_thread(form.render, summary, page.code, reader)
        headers = {"Content-Disposition": f'{where}; filename="{form.file_name(summary)}"', "Cache-Control": "no-store"}
        if ending == "pdf":
            headers["Content-Security-Policy"] = _OF_PDF
        charset = None if ending in ("pdf", "xlsx") else "utf-8"
        return web.Response(body=body, content_type=form.content_type, charset=charset, headers=headers)

    async def calls(self, request: web.Request) -> web.Response:
        """The calls behind a figure."""
        tenant = tenant_of(request, self._settings)
        page, own, query = (
            self._page(request, tenant, Right.NUMBERS, Right.AGENTS),
            self._settings.tenants[tenant],
            request.query,
        )
        begin, end = moment(query.get("from", ""), "from", own), moment(query.get("to", ""), "to", own)
        if begin is None or end is None or begin >= end:
            raise BadQuery("from, to: both are needed, the first one earlier")
        if end - begin > LONGEST:
            raise BadQuery(f"from, to: at most {LONGEST.days} days at a time")
        only = {name: tuple(query.getall(name)) for name in _FILTERS if name in query}
        if only.keys() & {"agent", "team"}:
            access.require(request, Right.AGENT_FIGURES, tenant)
        figure = query.get("figure", "offered")
        await self._names.refresh(self._pool)
        now = self._clock()
        as_of = min(moment(query.get("as_of", ""), "as_of", own) or now, now)
        window = Window(begin, end)
        behind = await calls_behind(self._pool, self._settings, self._names, tenant, window, figure, only, as_of)
        if page.reader.numbers and (shown := len(behind.items) + len(behind.others)):
            await self._record(request, tenant, audit.Action.READ_NUMBERS, figure, min(shown, 2 * summary_pages.MOST))
        return _html(summary_pages.calls(page, behind, begin, end, only))

    async def call(self, request: web.Request) -> web.Response:
        """One call with its events."""
        tenant = tenant_of(request, self._settings)
        page, id = self._page(request, tenant, Right.NUMBERS, Right.AGENTS), request.match_info
        # No id has a NUL, and the database can't be asked for one.
        possible = "\0" not in id["source"] + id["call_id"]
        found = await read_call(self._pool, tenant, id["source"], id["call_id"]) if possible else None
        if found is None:
            return _refused(request, 404, "No such call", "Its address is reports/call/{source}/{call id}")
        raw = access.require(request, Right.FIGURES, tenant).may(Right.RAW, tenant)
        subject = f"{id['source']}/{id['call_id']}"
        if raw:
            await self._record(request, tenant, audit.Action.READ_RAW, subject, 1)
        elif page.reader.numbers:
            await self._record(request, tenant, audit.Action.READ_NUMBERS, subject, 1)

        def shown(kind: str, name: str) -> str:
            return self._names.show(tenant, kind, name)

        await self._names.refresh(self._pool)
        return _html(summary_pages.call(page, *found, shown, raw=raw))

    async def _record(self, request: web.Request, tenant: str, action: audit.Action, subject: str, count: int) -> None:
        details: Mapping[str, object] = {"count": count, "path": request.path}
        await audit.record(self._pool, access.require(request), action, tenant, subject, details)


def _neighbours(own: config.Tenant, period: Period, now: datetime) -> tuple[str, str]:
    """The period before and the one after, as :func:`periods.parse` reads them; "" where there is none."""
    if period.shift is not None:
        shift = period.shift
        before = shifts.previous(own, shift)
        days = range(1, max((now.astimezone(own.zone).date() - shift.day).days, 0) + 1)
        following = (shifts.neighbour(own, shift, number) for number in days[: shifts.REACH_DAYS])
        after = next((each for each in following if each is not None and each.begin <= now), None)
        return f"shift:{before.key}" if before else "", f"shift:{after.key}" if after else ""
    if period.kind not in ("day", "week", "month", "quarter", "year"):
        return "", ""
    first = period.begin.astimezone(own.zone).date()
    before_day, after_day = (periods.step(period.kind, first, count) for count in (-1, 1))
    texts = [f"{period.kind}:{periods.label(period.kind, day)}" for day in (before_day, after_day)]
    return texts[0], texts[1] if period.end <= now else ""


def _html(text: str, status: int = 200, more: Mapping[str, str] = MappingProxyType({})) -> web.Response:
    headers = {**_HEADERS, "Cache-Control": "no-store", **more}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)


def _refused(
    request: web.Request, status: int, title: str, detail: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    """What can't be shown: a page for who reads pages, a problem for programs."""
    if "text/html" not in request.headers.get(hdrs.ACCEPT, ""):
        return problem(status, title, detail, headers=dict(headers))
    root = "/".join([".."] * (request.rel_url.raw_path.count("/") - 1)) or "."
    return _html(summary_pages.refused(language_of(request, LANGUAGES), root, title, detail), status, headers)
