"""The shifts of a call centre in real time. Pure, no I/O.

A shift belongs to the local day on which it begins, and lasts as long as its clocks say: on the nights when they are
changed that is an hour more or less. Hours of a day are those of the date in the shift's own ``special_days``, else of
the weekday. A holiday of the call centre has no shifts, and on a special day a shift works only within the hours of
that day, unless the shift works on holidays. A call centre without shifts has one, ``day``: its business hours, or the
whole local day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from callkpi.calendar.business import instants
from callkpi.config import OnHolidays, ShiftPlan, Tenant, hours_of, parse_hours
from callkpi.config.hours import CLOSED, plan_hours
from callkpi.config.teams import shown_team

#: The shift of a call centre that has none configured.
DAY = "day"
#: How far back the last shift is looked for.
REACH_DAYS = 400
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Shift:
    """One shift of one day."""

    tenant: str
    id: str
    name: str  #: what people call it
    day: date  #: the local day on which it begins
    begin: datetime  #: UTC
    end: datetime  #: UTC, the first instant after it
    queues: tuple[str, ...] = ()  #: the queues it is about; none: all
    team: str = ""  #: the team it is about, by its shown name; "": all

    @property
    def limits(self) -> dict[str, tuple[str, ...]]:
        """What it is about, as filters of figures."""
        return _limits(self.queues, self.team)

    @property
    def length(self) -> timedelta:
        """Real time from begin to end, the change of the clocks included."""
        return self.end - self.begin

    @property
    def key(self) -> str:
        """The shift as a period is written: ``night@2026-11-23``."""
        return f"{self.id}@{self.day.isoformat()}"


def shift_ids(config: Tenant) -> tuple[str, ...]:
    """The ids of a call centre's shifts, in the order of the settings."""
    return tuple(config.shifts) or (DAY,)


def shift_name(config: Tenant, id: str) -> str:
    """What people call a shift; its id where it has no name."""
    plan = config.shifts.get(id)
    return plan.name if plan is not None and plan.name else id


def limits(config: Tenant, plan: ShiftPlan) -> dict[str, tuple[str, ...]]:
    """What a shift is about, as filters of figures."""
    return _limits(plan.queues, shown_team(config, plan.team) if plan.team else "")


def shifts_between(config: Tenant, tenant: str, begin: datetime, end: datetime) -> list[Shift]:
    """Every shift of which some part lies within [begin, end), by begin, then id."""
    first, last = _local_day(config, begin) - _ONE_DAY, _local_day(config, end)
    found = [
        shift
        for number in range((last - first).days + 1)
        for shift in shifts_of_day(config, tenant, first + number * _ONE_DAY)
        if shift.begin < end and begin < shift.end
    ]
    return sorted(found, key=lambda shift: (shift.begin, shift.id))


def shifts_of_day(config: Tenant, tenant: str, day: date) -> list[Shift]:
    """The shifts that begin on a local day, in the order of the settings."""
    found = (shift_of(config, tenant, id, day) for id in shift_ids(config))
    return [shift for shift in found if shift is not None]


def shift_of(config: Tenant, tenant: str, id: str, day: date) -> Shift | None:
    """The shift that begins on a local day; None where there is none that day, or ever."""
    plan = config.shifts.get(id)
    if plan is not None:
        hours = _planned(config, plan, day)
    elif id == DAY and not config.shifts:
        hours = hours_of(config, day) if config.business_hours else (time(), time())
    else:
        return None
    if hours is None:
        return None
    begin, end = instants(config.zone, day, *hours)
    if begin >= end:
        return None
    plan = plan or ShiftPlan()
    team = shown_team(config, plan.team) if plan.team else ""
    return Shift(tenant, id, shift_name(config, id), day, begin, end, plan.queues, team)


def running(config: Tenant, tenant: str, now: datetime) -> list[Shift]:
    """The shifts that go on at *now*, by begin, then id."""
    return [
        shift
        for shift in shifts_between(config, tenant, now - 2 * _ONE_DAY, now + _ONE_DAY)
        if shift.begin <= now < shift.end
    ]


def last_ended(config: Tenant, tenant: str, now: datetime, id: str = "") -> Shift | None:
    """The shift that ended last before or at *now*, of one id or of any; None within REACH_DAYS."""
    today = _local_day(config, now)
    for number in range(REACH_DAYS):
        # One that began the day before may have ended later.
        found = [
            shift
            for day in (today - number * _ONE_DAY, today - (number + 1) * _ONE_DAY)
            for shift in shifts_of_day(config, tenant, day)
            if shift.end <= now and id in ("", shift.id)
        ]
        if found:
            return max(found, key=lambda shift: (shift.end, shift.begin))
    return None


def neighbour(config: Tenant, shift: Shift, days: int) -> Shift | None:
    """The same shift so many days later (earlier: below 0); None where it is not worked that day."""
    return shift_of(config, shift.tenant, shift.id, shift.day + days * _ONE_DAY)


def previous(config: Tenant, shift: Shift) -> Shift | None:
    """The same shift the last time it was worked before; None within REACH_DAYS."""
    for days in range(1, REACH_DAYS):
        found = neighbour(config, shift, -days)
        if found is not None:
            return found
    return None


def _limits(queues: tuple[str, ...], team: str) -> dict[str, tuple[str, ...]]:
    told = {"queue": queues, "team": (team,) if team else ()}
    return {name: values for name, values in told.items() if values}


def _planned(config: Tenant, plan: ShiftPlan, day: date) -> tuple[time, time] | None:
    written = day.isoformat()
    if not (plan.since or written) <= written <= (plan.until or written):
        return None
    hours = plan_hours(plan, day)
    if hours is None or plan.on_holidays is OnHolidays.WORKS or written in plan.special_days:
        return hours
    if written in config.holidays:
        return None
    special = config.special_days.get(written)
    if special is None:
        return hours
    limits = None if special == CLOSED else parse_hours(special)
    return None if limits is None else _common(hours, limits)


def _common(one: tuple[time, time], other: tuple[time, time]) -> tuple[time, time] | None:
    """What two spans of hours that begin on one day have in common."""
    opens = max(one[0], other[0])
    closes = min(_closes(one), _closes(other))
    if closes <= _minutes(opens):
        return None
    return opens, time(closes // 60 % 24, closes % 60)


def _minutes(clock: time) -> int:
    return clock.hour * 60 + clock.minute


def _closes(hours: tuple[time, time]) -> int:
    """When it closes, in minutes from the midnight before it opened."""
    return _minutes(hours[1]) + (24 * 60 if hours[1] <= hours[0] else 0)


def _local_day(config: Tenant, at: datetime) -> date:
    return at.astimezone(config.zone).date()
