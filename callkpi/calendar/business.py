"""Business time by a tenant's calendar: when it opened, and how much of a span it worked. Pure, no I/O.

Spans of opening are made from local days, so that weekends, holidays, nights and the change of the clocks need no
special case; days that touch at midnight are one span. A tenant without business hours is open without a beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from callkpi import config
from callkpi.config import Tenant, hours_of

#: Nobody looks further back: an opening longer ago is told as this long ago.
REACH = timedelta(days=7)
_DAY = timedelta(days=1)


def spans(tenant: Tenant, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The times within [begin, end) at which the call centre is open, in order, each as long as can be."""
    if not tenant.business_hours:
        yield begin, end
        return
    opened: datetime | None = None
    closed = begin
    for opens, closes in _days(tenant, begin, end):
        opens, closes = max(opens, begin), min(closes, end)
        if opens >= closes:
            continue
        if opened is not None and opens > closed:
            yield opened, closed
            opened = None
        opened = opens if opened is None else opened
        closed = max(closes, closed)
    if opened is not None:
        yield opened, closed


def _days(tenant: Tenant, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    day = begin.astimezone(tenant.zone).date() - _DAY
    last = end.astimezone(tenant.zone).date()
    while day <= last:
        hours = hours_of(tenant, day)
        if hours is not None:
            yield instants(tenant.zone, day, *hours)
        day += _DAY


def instants(zone: ZoneInfo, day: date, opens: time, closes: time) -> tuple[datetime, datetime]:
    """Hours of a local day in UTC; they end the next morning where *closes* is not after *opens*."""
    return instant(zone, day, opens), instant(zone, day + _DAY if closes <= opens else day, closes)


def instant(zone: ZoneInfo, day: date, clock: time = time()) -> datetime:
    """The first instant, in UTC, at which the clocks of *zone* show at least this time of this day.

    A time that the clocks skip is the moment of the change, a time that they show twice the first of the two: so
    spans that touch by the clock touch, and none reaches into the next.
    """
    wanted = datetime.combine(day, clock)
    late = wanted.replace(tzinfo=zone).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == wanted:
        return late
    early = wanted.replace(tzinfo=zone, fold=1).astimezone(UTC)
    offset = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


def opened_at(tenant: Tenant, at: datetime) -> datetime | None:
    """When the opening that *at* lies in began, at most REACH ago; None while closed."""
    for opened, closed in spans(tenant, at - REACH, at + _DAY):
        if opened <= at < closed:
            return opened
    return None


def worked(tenant: Tenant, since: datetime, until: datetime) -> timedelta:
    """How much business time lies between two instants."""
    return sum((closed - opened for opened, closed in spans(tenant, since, until)), timedelta())


def worked_ago(tenant: Tenant, at: datetime, amount: timedelta) -> datetime:
    """The instant *amount* of business time before *at*; REACH before it where there was not so much."""
    for opened, closed in reversed(list(spans(tenant, at - REACH, at))):
        if closed - opened >= amount:
            return closed - amount
        amount -= closed - opened
    return at - REACH


def weeks_before(tenant: Tenant, at: datetime, weeks: int) -> datetime:
    """The same time by the clock on the wall, whole weeks before."""
    local = at.astimezone(tenant.zone).replace(tzinfo=None) - timedelta(weeks=weeks)
    return local.replace(tzinfo=tenant.zone).astimezone(UTC)


def local_midnight(tenant: config.Tenant, at: datetime) -> datetime:
    """The begin of the call centre's day that *at* lies in, in UTC."""
    local = at.astimezone(tenant.zone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
