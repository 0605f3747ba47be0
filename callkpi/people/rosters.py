"""Who was planned to work when: read from a table (CSV) or a calendar (iCalendar), kept per agent.

A CSV file has a title for each column: ``agent`` and either ``begin`` and ``end`` (local times, or with an offset) or
``date`` and ``hours`` ("20:00-08:00") or ``date`` and ``shift`` (an id of the settings). An event of a calendar is one
agent's time, or that of each of its attendees (rooms are none): an attendee's name, else the event's title, names the
agent. Agents are known by id, by name or by a person's key, as the settings give them or the sources told them; whom
nobody knows is an error, not somebody new.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calendar import shifts
from callkpi.calendar.business import instant, instants
from callkpi.config.hours import parse_day
from callkpi.config.words import guess
from callkpi.database import store
from callkpi.people.people import Ambiguous, Directory

LONGEST = timedelta(days=2)
MAX_ROWS = 100_000
_DAY = timedelta(days=1)


class BadRoster(ValueError):
    """A file that can't be read: where and why."""


@dataclass(frozen=True, slots=True, order=True)
class Planned:
    """One agent's planned time."""

    begin: datetime  #: UTC
    end: datetime  #: UTC
    agent: str  #: id
    shift: str = ""  #: as the plan calls it


@dataclass(frozen=True, slots=True)
class Roster:
    """What a file says, and of which time: [begin, end)."""

    planned: tuple[Planned, ...]
    begin: datetime
    end: datetime


def read(
    text: str,
    name: str,
    tenant: config.Tenant,
    window: tuple[date | None, date | None],
    today: date,
    seen: Mapping[str, str] | None = None,
) -> Roster:
    """The roster in a file called *name*; *window* are the first and the last day that it is read for.

    Without a window a table covers the days that it names, a calendar the month before *today* and the three after it.
    *seen* are the agents whom the store knows: key to shown name. Raises BadRoster.
    """
    known = _agents(tenant, seen)
    first, last = window
    if name.lower().endswith((".ics", ".ical")) or text.lstrip().startswith("BEGIN:VCALENDAR"):
        first, last = first or today - 31 * _DAY, last or today + 92 * _DAY
        span = (instant(tenant.zone, first), instant(tenant.zone, last + _DAY))
        planned = list(_from_calendar(text, tenant, span, known))
    else:
        planned = list(_from_table(text, tenant, known))
        if not planned:
            raise BadRoster(f"{name}: has no rows")
        days = [each.begin.astimezone(tenant.zone).date() for each in planned]
        span = (instant(tenant.zone, first or min(days)), instant(tenant.zone, (last or max(days)) + _DAY))
    kept = sorted({each for each in planned if span[0] <= each.begin < span[1]})
    counts = Counter((each.agent, each.begin) for each in kept)
    for (agent, begin), count in counts.items():
        if count > 1:
            raise BadRoster(f"{name}: {agent} is planned twice from {begin.astimezone(tenant.zone):%Y-%m-%d %H:%M}")
    return Roster(tuple(kept), *span)


# -- tables ------------------------------------------------------------------------------------------------


def _from_table(text: str, tenant: config.Tenant, known: _Known) -> Iterator[Planned]:
    sample = text.lstrip("\ufeff").splitlines()[:1]
    delimiter = max(",;\t", key=lambda sign: sample[0].count(sign)) if sample else ","
    table = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=delimiter)
    titles = {str(title).strip().lower(): title for title in table.fieldnames or ()}
    if "agent" not in titles or not ({"begin", "end"} <= titles.keys() or "date" in titles):
        raise BadRoster("line 1: needs the columns agent, and begin and end, or date and hours, or date and shift")
    for number, raw in enumerate(table, start=2):
        row = {key: str(raw.get(title) or "").strip() for key, title in titles.items()}
        if not any(row.values()):
            continue
        if number > MAX_ROWS:
            raise BadRoster(f"line {number}: at most {MAX_ROWS} rows are read")
        try:
            begin, end = _times(row, tenant)
        except ValueError as error:
            raise BadRoster(f"line {number}: {error}") from None
        agent = known(row["agent"], f"line {number}")
        yield _planned(agent, begin, end, row.get("shift", ""), f"line {number}")


def _times(row: Mapping[str, str], tenant: config.Tenant) -> tuple[datetime, datetime]:
    if row.get("begin") or row.get("end"):
        return _moment(row["begin"], tenant), _moment(row["end"], tenant)
    day = parse_day(row.get("date", ""))
    if day is None:
        raise ValueError(f"date: {row.get('date', '')!r} must be like 2026-11-23")
    if row.get("hours"):
        hours = config.parse_hours(row["hours"])
        if hours is None:
            raise ValueError(f'hours: {row["hours"]!r} must be like "20:00-08:00"')
        return instants(tenant.zone, day, *hours)
    shift = shifts.shift_of(tenant, "", row.get("shift", ""), day)
    if shift is None:
        raise ValueError(f"shift: there is no {row.get('shift', '')!r} on {day}")
    return shift.begin, shift.end


def _moment(text: str, tenant: config.Tenant) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write 2026-11-23 20:00") from None
    return at.astimezone(UTC) if at.tzinfo else instant(tenant.zone, at.date(), at.time())


# -- calendars ---------------------------------------------------------------------------------------------


def _from_calendar(
    text: str, tenant: config.Tenant, span: tuple[datetime, datetime], known: _Known
) -> Iterator[Planned]:
    """Every occurrence that begins in the span, repeated events with their exceptions included."""
    try:
        import icalendar
        import recurring_ical_events  # type: ignore[import-untyped]
    except ImportError:
        raise BadRoster("calendars are read with two more packages: pip install 'callkpi[roster]'") from None
    try:
        events = recurring_ical_events.of(icalendar.Calendar.from_ical(text)).between(*span)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRoster(f"no calendar that can be read: {str(error)[:200]}") from None
    for event in events:
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        begin, end = (_event_time(event[key].dt, tenant) for key in ("DTSTART", "DTEND"))
        title = str(event.get("SUMMARY", "")).strip()
        people = list(_attendees(event))
        for person in people or [title]:
            where = f"event {title[:40]!r} of {begin.astimezone(tenant.zone):%Y-%m-%d %H:%M}"
            yield _planned(known(person, where), begin, end, title if people else "", where)


def _attendees(event: Mapping[str, Any]) -> Iterator[str]:
    told = event.get("ATTENDEE", [])
    for attendee in told if isinstance(told, list) else [told]:
        parameters = getattr(attendee, "params", {})
        if str(parameters.get("CUTYPE", "")).upper() not in ("ROOM", "RESOURCE"):
            yield str(parameters.get("CN") or str(attendee).removeprefix("mailto:").strip())


def _event_time(at: date, tenant: config.Tenant) -> datetime:
    """A whole day is the centre's day, a time without a zone the centre's time."""
    if not isinstance(at, datetime):
        return instant(tenant.zone, at)
    return at.astimezone(UTC) if at.tzinfo else instant(tenant.zone, at.date(), at.time())


# -- both --------------------------------------------------------------------------------------------------


#: Gives the id of whom a roster means; told where in the file, for an error.
_Known = Callable[[str, str], str]


def _agents(tenant: config.Tenant, seen: Mapping[str, str] | None) -> _Known:
    """Finds agents; where neither the settings nor the store know anybody, each keeps what he is called."""
    directory = Directory(tenant, seen)

    def known(told: str, where: str) -> str:
        if not told or not directory.names:
            return told
        try:
            found = directory.find(told)
        except Ambiguous as error:
            raise BadRoster(f"{where}: agent: {error}") from None
        if found is None:
            near = f"{guess(told, directory.names)}; mend it, or add it to people"
            raise BadRoster(f"{where}: agent: {told!r} is nobody of agents or people{near}")
        return found

    return known


def _planned(agent: str, begin: datetime, end: datetime, shift: str, where: str) -> Planned:
    if not agent:
        raise BadRoster(f"{where}: names no agent")
    if not begin < end <= begin + LONGEST:
        raise BadRoster(f"{where}: must end after it begins, at most two days later")
    return Planned(begin, end, agent, shift)


async def save(pool: asyncpg.Pool, tenant: str, roster: Roster) -> None:
    """Replace what was planned for the time that the roster covers."""
    rows = roster.planned
    columns = [[p.agent for p in rows], [p.begin for p in rows], [p.end for p in rows], [p.shift for p in rows]]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("rosters", "lock"))
        await connection.execute(store.query("rosters", "forget"), tenant, roster.begin, roster.end)
        await connection.execute(store.query("rosters", "add"), tenant, *columns)


async def planned(db: asyncpg.Pool | asyncpg.Connection, tenant: str, begin: datetime, end: datetime) -> list[Planned]:
    """Who was planned to work in some part of [begin, end), by begin."""
    rows = await db.fetch(store.query("rosters", "planned"), tenant, begin, end)
    return [Planned(row["begins"], row["ends"], row["agent"], row["shift"]) for row in rows]
