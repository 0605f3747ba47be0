"""Reports for a terminal: the same numbers as the API, from the same code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from callkpi import config
from callkpi.daemon import Failed
from callkpi.maintenance import database
from callkpi.names import Names
from callkpi.phone import mask
from callkpi.reporting import calendar, periods
from callkpi.reports import Query, Reports, local_midnight
from callkpi.web.api import BadQuery, moment

_COLUMNS = {
    "queue": (
        "offered",
        "answered",
        "missed",
        "abandoned",
        "short_abandoned",
        "timed_out",
        "exited",
        "open",
        "expired",
    ),
    "line": ("offered", "answered", "missed", "made", "reached", "open", "expired"),
    "direction": ("offered", "answered", "missed", "made", "reached", "open", "expired"),
    "outcome": ("calls",),
    "agent": ("handled", "answered", "made", "reached", "ring_no_answer", "transferred", "pauses"),
}
_TIMES = {
    "talk_seconds": "talk",
    "asa_seconds": "ASA",
    "longest_wait_seconds": "longest wait",
    "aht_seconds": "AHT",
}


async def report(settings: config.Settings, tenant: str, window: tuple[str, str], by: str, *, as_json: bool) -> None:
    """Print the KPIs of a window."""
    name = one_tenant(settings, tenant)
    zone, now = settings.tenants[name], datetime.now(UTC)
    try:
        begin = moment(window[0], "--from", zone) or local_midnight(zone, now)
        end = moment(window[1], "--to", zone) or now
    except BadQuery as error:
        raise Failed(str(error)) from None
    if end <= begin:
        raise Failed(f"--to: {end.isoformat()} is not after --from, {begin.isoformat()}")
    async with database(settings) as pool:
        answer = await Reports(pool, settings).figures(Query(name, begin, end, by))
    if as_json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
        return
    print(f"{name}, {begin.astimezone(zone.zone):%Y-%m-%d %H:%M} to {end.astimezone(zone.zone):%Y-%m-%d %H:%M %Z}"
          f"; counts {answer['counts']}")  # fmt: skip
    print(_table(by, answer["rows"], answer["total"]))


async def missed(settings: config.Settings, tenant: str, *, as_json: bool) -> None:
    """Print the work list."""
    name = one_tenant(settings, tenant)
    async with database(settings) as pool:
        items = await Reports(pool, settings).missed(name)
    if as_json:
        print(json.dumps({"tenant": name, "items": items}, ensure_ascii=False, indent=1))
        return
    if not items:
        print("Nobody waits for a call back.")
        return
    rows = [
        [mask(i["customer"]) or "hidden", _duration(i["waiting_seconds"]), i["calls"], i["fate"].replace("_", " "),
         i["queue"] or i["line"], i["outcome"]]
        for i in items
    ]  # fmt: skip
    print(_grid(["customer", "waits", "calls", "state", "queue/line", "last outcome"], rows))


@dataclass(frozen=True, slots=True)
class Asked:
    """Which summary is wanted, and how."""

    tenant: str
    period: str  #: ``night@2026-11-23``, or what :func:`periods.parse` reads
    against: str
    language: str
    form: str  #: a name of renderers.FORMATS
    numbers: bool = False


async def summary(settings: config.Settings, asked: Asked) -> bytes:
    """A summary in the form that is asked for. Raises Failed."""
    from callkpi.reporting.assemble import summarise_period
    from callkpi.reporting.reader import Reader
    from callkpi.reporting.renderers import FORMATS

    name, now = one_tenant(settings, asked.tenant), datetime.now(UTC)
    own = settings.tenants[name]
    shift, _, _ = asked.period.partition("@")
    text = f"shift:{asked.period}" if shift in calendar.shift_ids(own) else asked.period
    try:
        period = periods.parse(own, name, text, now)
        async with database(settings) as pool:
            told = await summarise_period(pool, settings, Names(settings), name, period, now, asked.against)
    except periods.BadPeriod as error:
        raise Failed(str(error)) from None
    return FORMATS[asked.form].render(told, asked.language, Reader(numbers=asked.numbers, agents=True))


def one_tenant(settings: config.Settings, name: str) -> str:
    """The tenant that is meant; the only one where none is named."""
    chosen = name or (next(iter(settings.tenants)) if len(settings.tenants) == 1 else "")
    if chosen not in settings.tenants:
        raise Failed(f"--tenant: {chosen!r} is none of {', '.join(settings.tenants)}")
    return chosen


def _table(by: str, rows: Sequence[dict[str, Any]], total: dict[str, Any]) -> str:
    counts = _COLUMNS[by]
    shares = () if by in ("agent", "outcome") else ("missed_share", "service_level")
    times = (
        [] if by == "outcome" else [key for key in _TIMES if by != "agent" or key in ("talk_seconds", "aht_seconds")]
    )
    head = [by, *(c.replace("_", " ") for c in counts), *(s.replace("_", " ") for s in shares),
            *(_TIMES[t] for t in times)]  # fmt: skip

    def line(label: str, row: dict[str, Any]) -> list[Any]:
        return [
            label or "(none)", *(row.get(c, "") for c in counts), *(_percent(row[s]) for s in shares),
            *(_duration(row[t]) for t in times),
        ]  # fmt: skip

    return _grid(head, [*(line(row[by], row) for row in rows), line("total", total)])


def _grid(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
