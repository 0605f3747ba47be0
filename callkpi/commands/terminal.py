"""Reports for a terminal: the same numbers as the API, from the same code."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from callkpi import audit, config
from callkpi.calendar import periods
from callkpi.calendar.business import local_midnight
from callkpi.calls.phone import mask
from callkpi.commands.database import database
from callkpi.config.hours import parse_day
from callkpi.daemon.processes import Failed
from callkpi.figures.kpis import GROUPINGS, Query, Reports
from callkpi.figures.statistics import BadQuestion, Question, Statistics
from callkpi.people import rosters
from callkpi.people.names import Names
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
    "team": ("handled", "answered", "made", "reached", "ring_no_answer", "transferred", "pauses"),
}
#: What people are shown with besides: seconds as durations, shares in per cent.
_STATES = {
    "logged_in_seconds": "logged in", "available_seconds": "free", "ringing_seconds": "ringing",
    "wrap_up_seconds": "wrap-up", "paused_seconds": "paused",
}  # fmt: skip
_PEOPLE = ("agent", "team")
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
        answer = await Reports(pool, settings).figures(Query(name, begin, end, by, now=now))
    if as_json:
        print(json.dumps(answer, ensure_ascii=False, indent=1))
        return
    print(f"{name}, {begin.astimezone(zone.zone):%Y-%m-%d %H:%M} to {end.astimezone(zone.zone):%Y-%m-%d %H:%M %Z}"
          f"; counts {answer['counts']}")  # fmt: skip
    print(_table(by, answer["rows"], answer["total"]))


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``callkpi report`` was asked for."""

    period: str
    window: tuple[str, str]  #: from and to, where no period is named
    by: str
    only: tuple[str, ...]
    against: str


def is_plain(by: str, period: str, only: Sequence[str], against: str) -> bool:
    """Whether a window by one dimension is all that is asked."""
    return by in GROUPINGS and not (period or only or against)


async def statistics(settings: config.Settings, tenant: str, asked: Asked, *, as_json: bool) -> None:
    """Print the figures of a period, split as asked, beside those of the period before and the goals."""
    name = one_tenant(settings, tenant)
    try:
        question = _question(name, settings.tenants[name], asked, datetime.now(UTC))
        async with database(settings) as pool:
            answer = await Statistics(pool, settings).answer(question)
    except (BadQuery, BadQuestion, periods.BadPeriod) as error:
        raise Failed(f"--{error}") from None
    print(json.dumps(answer, ensure_ascii=False, indent=1) if as_json else _statistics_text(answer))


def _question(name: str, tenant: config.Tenant, asked: Asked, now: datetime) -> Question:
    if asked.period and any(asked.window):
        raise BadQuery("period: is given with --from or --to; write one of them")
    if asked.period:
        period = periods.parse(tenant, name, asked.period, now)
    else:
        begin = moment(asked.window[0], "from", tenant) or local_midnight(tenant, now)
        end = moment(asked.window[1], "to", tenant) or now
        if end <= begin:
            raise BadQuery(f"to: {end.isoformat()} is not after --from, {begin.isoformat()}")
        text = f"{begin.isoformat()}..{end.isoformat()}"
        period = periods.Period("interval", text, text.replace("..", " to "), begin, end, end)
    only: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for written in asked.only:
        key, equals, value = written.partition("=")
        if not equals:
            raise BadQuery(f"only: {written!r} must be like queue=sales")
        only[key] += (value,)
    by = tuple(part.strip() for part in asked.by.split(",") if part.strip() not in ("", "none"))
    return Question(name, period, by, dict(only), asked.against, now=now)


def _statistics_text(answer: Mapping[str, Any]) -> str:
    zone, before = ZoneInfo(answer["timezone"]), answer["compared_with"]
    lines = [f"{answer['tenant']}, {_span(answer['period'], zone)}; counts {answer['counts']}{_of_shift(answer)}"]
    if before is not None:
        lines.append(f"compared with {_span(before, zone)}")
    kind = {"queue entries": "queue", "handles of agents": "agent", "calls": "line"}[answer["counts"]]
    times = [key for key in _TIMES if kind != "agent" or key in ("talk_seconds", "aht_seconds")]
    counts = [name for name in _COLUMNS[kind] if name in answer["total"]["figures"]]
    shares = [] if kind == "agent" else ["missed_share", "service_level"]
    head = [", ".join(answer["by"]), *(name.replace("_", " ") for name in (*counts, *shares)),
            *(_TIMES[key] for key in times)]  # fmt: skip
    rows = [
        [label, *(_beside(row, name, "count") for name in counts), *(_beside(row, name, "share") for name in shares),
         *(_beside(row, name, "time") for name in times)]
        for label, row in _labelled(answer)
    ]  # fmt: skip
    lines.append(_grid(head, rows))
    lines += [_goal_text(label, goal) for label, row in _labelled(answer) for goal in row["goals"]]
    return "\n".join(lines)


def _labelled(answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = answer["rows"] if answer["by"] else []
    named = [(" ".join(value or "(none)" for value in row["key"].values()), row) for row in rows]
    return [*named, ("total", answer["total"])]


def _goal_text(label: str, goal: Mapping[str, Any]) -> str:
    shown = _percent if goal["kpi"] in _SHARES else _duration if goal["kpi"].endswith("_seconds") else _number
    word = {True: "reached", False: "missed", None: "nothing to judge"}[goal["reached"]]
    text = f"goal of {label}: {goal['kpi'].replace('_', ' ')} {goal['direction'].replace('_', ' ')}"
    text += f" {shown(goal['target'])}: {shown(goal['fact'])}, {word}"
    return text if goal["pace"] is None or goal["elapsed_share"] == 1 else f"{text}; at this pace {shown(goal['pace'])}"


def _of_shift(answer: Mapping[str, Any]) -> str:
    """Of which team and in which queues a shift counts, where no filter says otherwise."""
    period, only = answer["period"], answer["only"]
    team = f" of team {period['team']}" if period.get("team") and "team" not in only else ""
    queues = f" in {', '.join(period['queues'])}" if period.get("queues") and "queue" not in only else ""
    return team + queues


_SHARES = ("missed_share", "answer_rate", "abandon_rate", "service_level")


def _span(period: Mapping[str, Any], zone: ZoneInfo) -> str:
    begin, until = (datetime.fromisoformat(period[key]).astimezone(zone) for key in ("begin", "until"))
    rest = " so far" if period["partial"] else ""
    return f"{period['name']} ({begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}{rest})"


def _beside(row: Mapping[str, Any], name: str, kind: str) -> str:
    """A figure, and how it changed: a count by per cent, a share by points, a time by itself."""
    value = row["figures"][name]
    shown = {"count": _number, "share": _percent, "time": _duration}[kind](value)
    change = None if row["change"] is None else row["change"][name]
    if change is None:
        return shown
    if kind == "share":
        return f"{shown} ({100 * change:+.1f})"
    if kind == "time":
        return f"{shown} ({'-' if change < 0 else '+'}{_duration(abs(change))})"
    ratio = row["change_ratio"][name]
    return f"{shown} ({'new' if ratio is None and change else f'{100 * (ratio or 0):+.0f} %'})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


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
class AuditQuery:
    """What of the audit is printed."""

    span: tuple[str, str]
    who: str | None
    action: str | None
    limit: int
    as_json: bool


async def audited(settings: config.Settings, wanted: AuditQuery) -> None:
    """Print the audit, newest first."""
    utc = config.Tenant()
    try:
        span = moment(wanted.span[0], "--from", utc), moment(wanted.span[1], "--to", utc)
    except BadQuery as error:
        raise Failed(str(error)) from None
    async with database(settings) as pool:
        rows = await audit.read(pool, span=span, who=wanted.who, action=wanted.action, limit=wanted.limit)
    if wanted.as_json:
        print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        return
    if not rows:
        print("Nothing was read or changed.")
        return
    told = [
        [row["at"][:19], row["who"], row["role"], row["action"], row["tenant"], row["subject"],
         " ".join(f"{name}={value}" for name, value in row["details"].items())]
        for row in rows
    ]  # fmt: skip
    print(_grid(["at (UTC)", "who", "role", "action", "tenant", "subject", "details"], told, whole=True))


async def import_roster(settings: config.Settings, tenant: str, file: tuple[str, str], window: tuple[str, str]) -> None:
    """Read a roster from a *file* (its name, its text), in place of what was planned for the same time."""
    name = one_tenant(settings, tenant)
    own = settings.tenants[name]
    first, last = _day(window[0], "--from"), _day(window[1], "--to")
    async with database(settings) as pool:
        known = await Names(settings).seen(pool, name)
        try:
            roster = rosters.read(file[1], file[0], own, (first, last), datetime.now(own.zone).date(), known)
        except rosters.BadRoster as error:
            raise Failed(f"{file[0]}: {error}") from None
        await rosters.save(pool, name, roster)
    begin, end = roster.begin.astimezone(own.zone), roster.end.astimezone(own.zone)
    people = {planned.agent for planned in roster.planned}
    print(
        f"{len(roster.planned)} planned times of {len(people)} agents, from {begin:%Y-%m-%d} to before {end:%Y-%m-%d}"
    )
    if not (known or own.agents or own.people):
        print("no agent is known yet: they are kept as the file calls them")


def _day(text: str, option: str) -> date | None:
    day = parse_day(text)
    if text and day is None:
        raise Failed(f"{option}: {text!r} must be a date like 2026-12-31")
    return day


def one_tenant(settings: config.Settings, name: str) -> str:
    """The tenant that is meant; the only one where none is named."""
    chosen = name or (next(iter(settings.tenants)) if len(settings.tenants) == 1 else "")
    if chosen not in settings.tenants:
        told = f"{chosen!r} is none of" if chosen else "is required; write one of"
        raise Failed(f"--tenant: {told} {', '.join(settings.tenants)}")
    return chosen


def _table(by: str, rows: Sequence[dict[str, Any]], total: dict[str, Any]) -> str:
    counts = _COLUMNS[by]
    shares = (
        ("occupancy", "utilisation") if by in _PEOPLE else () if by == "outcome" else ("missed_share", "service_level")
    )
    titles = {**_TIMES, **_STATES}
    times = [] if by == "outcome" else list(_TIMES)
    if by in _PEOPLE:
        times = ["talk_seconds", "aht_seconds", *_STATES]
    head = [by, *(c.replace("_", " ") for c in counts), *(s.replace("_", " ") for s in shares),
            *(titles[t] for t in times)]  # fmt: skip

    def line(label: str, row: dict[str, Any]) -> list[Any]:
        return [
            label or "(none)", *(row.get(c, "") for c in counts), *(_percent(row[s]) for s in shares),
            *(_duration(row[t]) for t in times),
        ]  # fmt: skip

    return _grid(head, [*(line(row[by], row) for row in rows), line("total", total)])


#: A longer name is cut, so that its figures stand beside it; --json has it whole.
_NAME = 40


def _grid(head: Sequence[str], rows: Sequence[Sequence[Any]], *, whole: bool = False) -> str:
    lines = [list(head), *([str(cell) if whole else _cut(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _cut(text: str) -> str:
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
