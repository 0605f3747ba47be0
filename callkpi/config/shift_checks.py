"""What is wrong with what reports are made by: holidays, special days, shifts, goals, fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta

from callkpi.config.hours import CLOSED, WEEKDAYS, parse_day, parse_hours, plan_hours
from callkpi.config.tree import Goal, ReportField, ShiftPlan, Tenant
from callkpi.config.words import FIELD_CHARACTERS, NAME, guess
from callkpi.glossary import COUNTED_KPIS, HANDLE_KPIS, RATIO_KPIS, Unit, unit_of

PERIOD_KINDS = ("shift", "day", "week", "month", "quarter", "year")
_DAY_MINUTES = 24 * 60


def calendar_problems(where: str, tenant: Tenant) -> Iterator[str]:
    for day in tenant.holidays:
        if parse_day(day) is None:
            yield f'{where}.holidays: {day!r} must be a date like "2026-12-31"'
    yield from _special_problems(where, tenant.special_days)
    for day in sorted(tenant.special_days.keys() & set(tenant.holidays)):
        yield f"{where}.special_days.{day}: is a holiday, too; take it out of one of them"
    if tenant.special_days and not tenant.business_hours and not tenant.shifts:
        yield f"{where}.special_days: without business_hours the call centre never closes; write these, too"
    for name, plan in tenant.shifts.items():
        yield from _shift_problems(f"{where}.shifts.{name}", name, plan)


def reporting_problems(where: str, tenant: Tenant) -> Iterator[str]:
    for name, goal in tenant.goals.items():
        yield from _goal_problems(f"{where}.goals.{name}", goal, tenant)
    for name, field in tenant.fields.items():
        yield from _field_problems(f"{where}.fields.{name}", name, field)


def _goal_problems(where: str, goal: Goal, tenant: Tenant) -> Iterator[str]:
    known = (*COUNTED_KPIS, *RATIO_KPIS)
    if goal.kpi not in known:
        yield f"{where}.kpi: {goal.kpi!r} is none of {', '.join(known)}{guess(goal.kpi, known)}"
    if goal.target <= 0:
        yield f"{where}.target: must be above 0"
    if unit_of(goal.kpi) is Unit.SHARE and goal.target > 1:
        yield f"{where}.target: {goal.target:g} must be a share, at most 1, e.g. 0.8"
    if goal.period and goal.period not in PERIOD_KINDS:
        yield f"{where}.period: {goal.period!r} is none of {', '.join(PERIOD_KINDS)}{guess(goal.period, PERIOD_KINDS)}"
    if goal.kpi in COUNTED_KPIS and not goal.period:
        yield f'{where}.period: is missing; so many {goal.kpi} in what? Write e.g. period = "month"'
    if goal.shift and goal.period != "shift":
        yield f'{where}.shift: is for period = "shift"'
    if goal.shift and goal.shift not in (tenant.shifts or ("day",)):
        yield f"{where}.shift: {goal.shift!r} is none of {', '.join(tenant.shifts) or 'day'}"
    plan = tenant.shifts.get(goal.shift)
    of_team = goal.team or (plan is not None and plan.team and not (goal.queue or goal.agent or goal.line))
    whose = "team" if of_team else "agent" if goal.agent else ""
    if whose and goal.kpi in known and goal.kpi not in HANDLE_KPIS:
        yield f"{where}.kpi: no {whose} has {goal.kpi}, queues and calls have; write one of {', '.join(HANDLE_KPIS)}"
    scopes = [key for key in ("queue", "team", "agent", "line") if getattr(goal, key)]
    if len(scopes) > 1:
        yield f"{where}: is for {' and '.join(scopes)}; write one of them"
    yield from _validity_problems(where, goal.since, goal.until)


def _field_problems(where: str, name: str, field: ReportField) -> Iterator[str]:
    if len(name) > FIELD_CHARACTERS:
        yield f"{where}: a custom field's name has at most {FIELD_CHARACTERS} characters"
    if not 1 <= field.limit <= 1000:
        yield f"{where}.limit: must be 1 to 1000"


def _special_problems(where: str, special_days: Mapping[str, str]) -> Iterator[str]:
    for day, hours in special_days.items():
        if parse_day(day) is None:
            yield f'{where}.special_days: {day!r} must be a date like "2026-12-31"'
        if hours != CLOSED and parse_hours(hours) is None:
            yield f'{where}.special_days.{day}: {hours!r} must be like "10:00-15:00", or "closed"'


def _shift_problems(where: str, name: str, plan: ShiftPlan) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a shift's id has letters, digits, '_', '.', '-', at most 64"
    if not plan.hours and not plan.by_day:
        yield f'{where}.hours: is missing; write e.g. hours = "08:00-20:00"'
    if plan.hours and parse_hours(plan.hours) is None:
        yield f'{where}.hours: {plan.hours!r} must be like "20:00-08:00"'
    if plan.days and not plan.hours:
        yield f"{where}.days: says on which days hours are worked, and there is no hours; write it, too"
    for day in plan.days:
        if day not in WEEKDAYS:
            yield f"{where}.days: {day!r} is none of {', '.join(WEEKDAYS)}{guess(day, WEEKDAYS)}"
    for day, hours in plan.by_day.items():
        if day not in WEEKDAYS:
            yield f"{where}.by_day.{day}: is none of {', '.join(WEEKDAYS)}{guess(day, WEEKDAYS)}"
        elif hours != CLOSED and parse_hours(hours) is None:
            yield f'{where}.by_day.{day}: {hours!r} must be like "20:00-08:00", or "closed"'
    yield from _special_problems(where, plan.special_days)
    yield from _validity_problems(where, plan.since, plan.until)
    if "" in plan.queues:
        yield f"{where}.queues: holds an empty name; take it out"
    yield from _overlap_problems(where, plan)


def _validity_problems(where: str, since: str, until: str) -> Iterator[str]:
    for key, day in (("since", since), ("until", until)):
        if day and parse_day(day) is None:
            yield f'{where}.{key}: {day!r} must be a date like "2026-12-31"'
    if since and until and until < since:
        yield f"{where}.until: {until} is before since, {since}"


def _overlap_problems(where: str, plan: ShiftPlan) -> Iterator[str]:
    """A shift that begins again before it has ended, by the clock."""
    week = [plan_hours(plan, date(2001, 1, 1) + timedelta(days=number), dated=False) for number in range(7)]
    for number, hours in enumerate(week):
        following = week[(number + 1) % 7]
        if hours and following and _runs_into(hours, following):
            yield (
                f"{where}: the shift of {WEEKDAYS[number]}, until {hours[1]:%H:%M} of the next day, still goes on when"
                f" that of {WEEKDAYS[(number + 1) % 7]} begins at {following[0]:%H:%M}; let it end earlier"
            )
            return
    for text in plan.special_days:
        day = parse_day(text)
        for first in (day - timedelta(days=1), day) if day else ():
            hours, following = plan_hours(plan, first), plan_hours(plan, first + timedelta(days=1))
            if hours and following and _runs_into(hours, following):
                yield (
                    f"{where}.special_days.{text}: the shift of {first} still goes on when that of the next day begins"
                    f" at {following[0]:%H:%M}; let it end earlier"
                )


def _runs_into(hours: tuple[time, time], following: tuple[time, time]) -> bool:
    opens, closes = (clock.hour * 60 + clock.minute for clock in hours)
    return closes <= opens and closes > following[0].hour * 60 + following[0].minute
