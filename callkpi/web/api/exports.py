"""Whole tables as files, streamed a page at a time: a million rows take no more memory than a thousand.

Between two pages no connection and no snapshot is held, so a slow client holds up nothing; rows come in the order of
time, each once. A client that goes away ends the export at the page that is being read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import structlog
from aiohttp import hdrs, web

from callkpi import audit, config
from callkpi.calls.phone import mask
from callkpi.database import store
from callkpi.figures.kpis import Reports
from callkpi.figures.statistics import Statistics
from callkpi.missed.judging import written_off_before
from callkpi.web.access import Right
from callkpi.web.api import calls, statistics, tables
from callkpi.web.api.contract import HEADERS, WINDOW, Asked, Operation, Parameter, choice, flag
from callkpi.web.api.figures import FILTERS
from callkpi.web.api.schemas import figure_names
from callkpi.web.problems import Problem

log = structlog.get_logger()

#: Rows that are read at a time; more would keep webhooks waiting while they are put into words.
PAGE = 250
#: Exports that run in one process at the same time.
AT_ONCE = 4
#: A client that has not taken a page by then is gone.
SEND_SECONDS = 60.0
_MEDIA = {"csv": "text/csv", "jsonl": "application/jsonl"}
_BOM = b"\xef\xbb\xbf"

Rows = AsyncIterator[Sequence[tables.Row]]


@dataclass(frozen=True, slots=True)
class _Table:
    """What can be exported."""

    name: str
    summary: str
    columns: Callable[[Asked], Sequence[str]]
    rows: Callable[[Asked], Rows]
    parameters: tuple[Parameter, ...]
    span: Callable[[Asked], tuple[datetime, datetime]] = Asked.window  #: what the file's name says


@dataclass(slots=True)
class _Slots:
    left: int = AT_ONCE


@dataclass(slots=True)
class _Sent:
    rows: int = 0
    complete: bool = field(default=False)


_NUMBERS = choice("numbers", "full, or masked for a file that is passed on.", ("full", "masked"), "full")
_OF_CSV = (
    flag("bom", "Begin with a byte order mark, by which Excel knows UTF-8."),
    choice(
        "separator",
        "Between cells; Excel in Russian wants a semicolon: decimals then have a comma.",
        ("comma", "semicolon", "tab"),
        "comma",
    ),
)
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}


def operations(pool: asyncpg.Pool, settings: config.Settings, reports: Reports) -> Sequence[Operation]:
    slots = _Slots()
    return [_operation(pool, table, form, slots) for table in _tables(pool, settings, reports) for form in _MEDIA]


def _operation(pool: asyncpg.Pool, table: _Table, form: str, slots: _Slots) -> Operation:
    async def export(asked: Asked) -> web.StreamResponse:
        calls.check_filters(asked)
        response = _begin(asked, table, form)
        if asked.request.method == hdrs.METH_HEAD:
            return web.Response(headers=response.headers)
        if not slots.left:
            raise Problem(503, "Too many exports run", "Ask again when one has ended", headers={"Retry-After": "30"})
        slots.left -= 1
        try:
            pages = table.rows(asked)
            first = await _first(pages)  # what can't be answered is told before the first byte
            return await _stream(pool, asked, table, form, response, _with(first, pages))
        finally:
            slots.left += 1

    return Operation(
        path=f"/api/v1/export/{table.name}.{form}",
        name=f"export_{table.name}_{form}",
        summary=table.summary,
        subject="Exports",
        right=Right.EXPORT,
        parameters=(*table.parameters, *(_OF_CSV if form == "csv" else ())),
        answer=export,
        schema={"type": "string", "description": "Rows in the order of time."},
        media=_MEDIA[form],
        stored=False,
    )


def _tables(pool: asyncpg.Pool, settings: config.Settings, reports: Reports) -> Sequence[_Table]:
    async def call_rows(asked: Asked) -> Rows:
        await reports.names.refresh(pool)
        async for page in calls.onward(pool, asked, reports.names, PAGE):
            yield [tables.call_row(call, asked.zone.zone, _shown(asked)) for call in page]

    async def leg_rows(asked: Asked) -> Rows:
        await reports.names.refresh(pool)
        async for page in calls.onward(pool, asked, reports.names, PAGE):
            yield [row for call in page for row in tables.leg_rows(call, asked.zone.zone, _shown(asked))]

    async def missed_rows(asked: Asked) -> Rows:
        await reports.names.refresh(pool)
        begin, end = asked.window()
        behind, written_off = (begin, "", ""), written_off_before(asked.zone, asked.at)
        while True:
            rows = await pool.fetch(
                store.query("reports", "missed_onward"), asked.tenant, begin, end, written_off, PAGE, *behind
            )
            if rows:
                yield [_missed_row(asked, reports, row) for row in rows]
                behind = (rows[-1]["started_at"], rows[-1]["source"], rows[-1]["call_id"])
            if len(rows) < PAGE:
                return

    figures = Statistics(pool, settings, reports.names)

    async def figure_rows(asked: Asked) -> Rows:
        yield statistics.flat(await statistics.answered(figures, asked))

    of_calls = (*WINDOW, *FILTERS, calls.CUSTOMER, _NUMBERS)
    return [
        _Table("calls", "The calls of a window, a row each.", lambda _: tables.CALL_COLUMNS, call_rows, of_calls),
        _Table("legs", "Each ring and conversation of these calls.", lambda _: tables.LEG_COLUMNS, leg_rows, of_calls),
        _Table(
            "missed", "The missed calls of a window and what became of each customer.",
            lambda _: tables.MISSED_COLUMNS, missed_rows, (*WINDOW, _NUMBERS),
        ),
        _Table(
            "statistics", "Figures of a period, split as asked.", _figure_columns, figure_rows, statistics.QUESTION,
            span=_span_of_period,
        ),
    ]  # fmt: skip


def _shown(asked: Asked) -> Callable[[str], str]:
    """How numbers stand in the file."""
    return asked.number if asked["numbers"] == "full" else mask


def _missed_row(asked: Asked, reports: Reports, row: asyncpg.Record) -> tables.Row:
    zone, names = asked.zone.zone, reports.names
    return {
        "call": f"{row['source']}/{row['call_id']}",
        "missed_at": row["started_at"].isoformat(),
        "missed_local": tables.local(row["started_at"].isoformat(), zone),
        "customer": _shown(asked)(row["customer"]),
        "queue": names.show(asked.tenant, "queue", row["queue"]),
        "line": names.show(asked.tenant, "line", row["line"]),
        "outcome": row["outcome"],
        "fate": row["fate"],
        **{name: row[name].isoformat() if row[name] else None for name in ("called_back_at", "reached_at")},
    }


def _figure_columns(asked: Asked) -> Sequence[str]:
    return (*statistics.splits(asked), "begin", *figure_names())


def _span_of_period(asked: Asked) -> tuple[datetime, datetime]:
    period = statistics.period_of(asked)
    return period.begin, period.end


def _begin(asked: Asked, table: _Table, form: str) -> web.StreamResponse:
    begin, end = (at.astimezone(asked.zone.zone).strftime("%Y%m%dT%H%M") for at in table.span(asked))
    name = f"{table.name}-{asked.tenant}-{begin}-{end}.{form}"
    return web.StreamResponse(
        headers={
            **asked.request[HEADERS],
            hdrs.CONTENT_TYPE: f"{_MEDIA[form]}; charset=utf-8",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="{name}"',
            hdrs.CACHE_CONTROL: "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )


async def _stream(
    pool: asyncpg.Pool, asked: Asked, table: _Table, form: str, response: web.StreamResponse, pages: Rows
) -> web.StreamResponse:
    told = {name: value for name, value in asked.values.items() if value not in (None, False) and name != "customer"}
    subject = f"{table.name}.{form}"
    await audit.record(pool, asked.reader, audit.Action.EXPORT, asked.tenant, subject, told)
    sent = _Sent()
    try:
        await _send(asked, table, form, response, pages, sent)
    except (ConnectionError, TimeoutError) as error:
        log.info("export.broken_off", table=subject, rows=sent.rows, error=type(error).__name__)
        _cut(asked.request)
    except store.FAILURES as error:
        # The answer has begun: a connection that breaks off is the only way to say that it is not whole.
        log.warning("export.failed", table=subject, rows=sent.rows, error=type(error).__name__)
        _cut(asked.request)
    finally:
        ended = {"rows": sent.rows, "complete": sent.complete}
        with contextlib.suppress(*store.FAILURES):
            await audit.record(pool, asked.reader, audit.Action.EXPORT_ENDED, asked.tenant, subject, ended)
    return response


async def _first(pages: Rows) -> Sequence[tables.Row]:
    async for page in pages:
        return page
    return ()


async def _with(first: Sequence[tables.Row], others: Rows) -> Rows:
    if first:
        yield first
    async for page in others:
        yield page


async def _send(asked: Asked, table: _Table, form: str, response: web.StreamResponse, pages: Rows, sent: _Sent) -> None:
    lines: tables.Csv | tables.JsonLines
    lines = tables.Csv(table.columns(asked), _SEPARATORS[asked["separator"]]) if form == "csv" else tables.JsonLines()
    response.enable_compression()
    await response.prepare(asked.request)
    await _write(response, (_BOM if asked["bom"] else b"") + lines.head())
    async for page in pages:
        if asked.request.transport is None or asked.request.transport.is_closing():
            raise ConnectionResetError
        await _write(response, lines.lines(page))
        sent.rows += len(page)
    await response.write_eof()
    sent.complete = True


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await response.write(data)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
