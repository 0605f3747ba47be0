"""Which periods of a report are over. Pure, no I/O."""

from __future__ import annotations

from datetime import datetime

from callkpi import config
from callkpi.calendar import periods, shifts
from callkpi.calendar.periods import Period


def ended(own: config.Tenant, tenant: str, report: config.Report, since: datetime, now: datetime) -> list[Period]:
    """The periods of a report that ended within (since, now], by their ends."""
    kind, _, shift = report.period.partition(":")
    if kind == "shift":
        found = [
            periods.of_shift(each) for each in shifts.shifts_between(own, tenant, since, now) if shift in ("", each.id)
        ]
    else:
        found = _whole(own, tenant, kind, since, now)
    return sorted((period for period in found if since < period.end <= now), key=lambda period: period.end)


def _whole(own: config.Tenant, tenant: str, kind: str, since: datetime, now: datetime) -> list[Period]:
    first = periods.first_of(kind, since.astimezone(own.zone).date())
    last = now.astimezone(own.zone).date()
    found = []
    while first <= last:
        found.append(periods.parse(own, tenant, f"{kind}:{periods.label(kind, first)}", now))
        first = periods.step(kind, first, 1)
    return found
