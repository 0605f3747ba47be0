"""``callkpi report``: figures of a period in a terminal, from the same code as the API's."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from callkpi import config
from callkpi.calendar import periods
from callkpi.calendar.business import local_midnight
from callkpi.commands.common import configured, one_tenant, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.commands.terminal import duration, grid, number, percent
from callkpi.daemon.processes import Failed
from callkpi.figures.kpis import GROUPINGS, Query, Reports
from callkpi.figures.statistics import BadQuestion, Question, Statistics
from callkpi.glossary import Unit, unit_of
from callkpi.web.api import BadQuery, moment

EXAMPLE = "callkpi report --period month:2026-10 --by queue --compare"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    takes_tenant(parser)
    parser.add_argument(
        "--from", dest="begin", default="", metavar="TIME", help="default: today's midnight of the centre"
    )
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="default: now")
    parser.add_argument(
        "--period", default="", metavar="PERIOD", help="shift:night@2026-11-23, day:…, week:2026-W47, last_month, …"
    )
    parser.add_argument(
        "--by", default="queue", metavar="WHAT,…", help="queue, team, agent, line, source, hour, day, shift, … or none"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="WHAT=VALUE", help="only this queue, line, …; may come again"
    )
    parser.add_argument(
        "--compare", nargs="?", const="previous", default="", metavar="WITH", help="previous (default), week or year"
    )
    parser.add_argument("--json", action="store_true", help="the same as the API's answer")


def main(arguments: argparse.Namespace) -> None:
    settings, window = configured(arguments), (arguments.begin, arguments.end)
    if is_plain(arguments.by, arguments.period, arguments.only, arguments.compare):
        run(report(settings, arguments.tenant, window, arguments.by, as_json=arguments.json))
        return
    asked = Asked(arguments.period, window, arguments.by, tuple(arguments.only), arguments.compare)
    run(statistics(settings, arguments.tenant, asked, as_json=arguments.json))


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
        raise Failed(_with_option(str(error))) from None
    print(json.dumps(answer, ensure_ascii=False, indent=1) if as_json else _statistics_text(answer))


def _with_option(text: str) -> str:
    """What is wrong with a question, under the option by which it was asked."""
    key, _, rest = text.partition(": ")
    option = {"against": "compare"}.get(key, key)
    return f"--{option}: {rest}" if option in ("by", "compare", "from", "only", "period", "to") else f"--only: {text}"


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
    lines.append(grid(head, rows))
    lines += [_goal_text(label, goal) for label, row in _labelled(answer) for goal in row["goals"]]
    return "\n".join(lines)


def _labelled(answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    rows = answer["rows"] if answer["by"] else []
    named = [(" ".join(value or "(none)" for value in row["key"].values()), row) for row in rows]
    return [*named, ("total", answer["total"])]


def _goal_text(label: str, goal: Mapping[str, Any]) -> str:
    shown = {Unit.SHARE: percent, Unit.SECONDS: duration, Unit.COUNT: number}[unit_of(goal["kpi"])]
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


def _span(period: Mapping[str, Any], zone: ZoneInfo) -> str:
    begin, until = (datetime.fromisoformat(period[key]).astimezone(zone) for key in ("begin", "until"))
    rest = " so far" if period["partial"] else ""
    return f"{period['name']} ({begin:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M %Z}{rest})"


def _beside(row: Mapping[str, Any], name: str, kind: str) -> str:
    """A figure, and how it changed: a count by per cent, a share by points, a time by itself."""
    value = row["figures"][name]
    shown = {"count": number, "share": percent, "time": duration}[kind](value)
    change = None if row["change"] is None else row["change"][name]
    if change is None:
        return shown
    if kind == "share":
        return f"{shown} ({100 * change:+.1f})"
    if kind == "time":
        return f"{shown} ({'-' if change < 0 else '+'}{duration(abs(change))})"
    ratio = row["change_ratio"][name]
    return f"{shown} ({'new' if ratio is None and change else f'{100 * (ratio or 0):+.0f} %'})"


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
            label or "(none)", *(row.get(c, "") for c in counts), *(percent(row[s]) for s in shares),
            *(duration(row[t]) for t in times),
        ]  # fmt: skip

    return grid(head, [*(line(row[by], row) for row in rows), line("total", total)])
