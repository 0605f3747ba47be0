"""Hours of a day as they are written in the settings."""

from __future__ import annotations

import re
from datetime import date, datetime, time

from callkpi.config.tree import ShiftPlan, Tenant

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def parse_hours(text: str) -> tuple[time, time] | None:
    """``"09:00-18:00"`` as two times of day; None where it is not of that form."""
    match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text)
    if match is None:
        return None
    h1, m1, h2, m2 = map(int, match.groups())
    if h2 == 24 and m2 == 0:
        h2, m2 = 0, 0
    try:
        return time(h1, m1), time(h2, m2)
    except ValueError:
        return None


def hours_of(tenant: Tenant, day: date) -> tuple[time, time] | None:
    """Business hours that begin on a local day: of its date, else of its weekday; None while closed all day."""
    written = day.isoformat()
    if written in tenant.holidays:
        return None
    return parse_hours(tenant.special_days.get(written) or tenant.business_hours.get(WEEKDAYS[day.weekday()], ""))


def is_open(tenant: Tenant, at: datetime) -> bool:
    """Whether the call centre works at *at*: its hours of that local day, or of the night before."""
    if not tenant.business_hours:
        return True
    local = at.astimezone(tenant.zone)
    today, yesterday = local.date(), datetime.fromordinal(max(local.toordinal() - 1, 1)).date()
    clock = local.time().replace(tzinfo=None)
    for day in (today, yesterday):
        hours = hours_of(tenant, day)
        if hours is None:
            continue
        opens, closes = hours
        over_midnight = closes <= opens
        if day == today and opens <= clock and (over_midnight or clock < closes):
            return True
        if day == yesterday and over_midnight and clock < closes:
            return True
    return False


CLOSED = "closed"


def parse_day(text: str) -> date | None:
    """``"2026-12-31"``; None where it is no date of that form."""
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except ValueError:
        return None


def plan_hours(plan: ShiftPlan, day: date, *, dated: bool = True) -> tuple[time, time] | None:
    """The hours of a shift that begins on a local day by its plan alone, without what closes the call centre.

    With *dated* off, the hours of that weekday in any week.
    """
    written, weekday = day.isoformat(), WEEKDAYS[day.weekday()]
    if dated and written in plan.special_days:
        return parse_hours(plan.special_days[written])
    if weekday in plan.by_day:
        return parse_hours(plan.by_day[weekday])
    return parse_hours(plan.hours) if not plan.days or weekday in plan.days else None
