"""What alerts are decided on: exact sums over the last half hour and hour, by the calls' own time.

Gauges and not rates of counters, because a rate can't tell a call of now from one of yesterday that is replayed now,
looks into the night before the opening, and counts a conversation when it ends but a miss at once. A window begins at
the opening at the earliest. *answered* includes those who talk now, and nobody who still waits is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calendar import business
from callkpi.calls import facts
from callkpi.missed.judging import written_off_before

#: Windows by how many quarters of an hour they have, the one that runs included.
WINDOWS: Mapping[str, int] = {"half_hour": 2, "hour": 4}
#: Weeks whose same hour on the same weekday is what is usual; below the least nothing is.
USUAL_WEEKS, LEAST_WEEKS = 4, 2
#: A customer whom nobody called within a working day is a matter for the work list and no longer for an alert.
WORKING_DAY = timedelta(hours=8)


@dataclass(frozen=True, slots=True)
class Recent:
    """What was read at one time."""

    at: datetime
    windows: Sequence[Any]
    untried: Sequence[Any]


#: tenant, part, begin, end
_Plan = tuple[str, str, datetime, datetime]


class Reader:
    """Reads the windows. Weeks that are past are read once in a quarter of an hour: with them it took three times as
    long, and they change by nothing but an import.
    """

    def __init__(self, tenants: Mapping[str, config.Tenant]) -> None:
        self._tenants = tenants
        self._past: tuple[list[_Plan], Sequence[Any]] = ([], [])

    async def read(self, fetch: Callable[..., Any], at: datetime) -> Recent:
        """*fetch* takes a query's file, its name and arguments."""
        planned = [(name, *window) for name, tenant in self._tenants.items() for window in _plan(tenant, at)]
        past = [window for window in planned if window[1] not in WINDOWS]
        if past != self._past[0]:
            self._past = (past, await fetch("recent", "recent", *_columns(past)))
        now = await fetch("recent", "recent", *_columns([window for window in planned if window[1] in WINDOWS]))
        since = [_untried_since(tenant, at) for tenant in self._tenants.values()]
        return Recent(at, [*now, *self._past[1]], await fetch("recent", "untried", list(self._tenants), since))


def _columns(planned: Sequence[_Plan]) -> list[list[Any]]:
    return [[window[index] for window in planned] for index in range(4)]


def _plan(tenant: config.Tenant, at: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    opened = business.opened_at(tenant, at)
    ends = facts.quarter(at) + facts.INTERVAL
    for name, quarters in WINDOWS.items():
        yield name, _begins(opened, ends - quarters * facts.INTERVAL), ends
    begins = _begins(opened, ends - WINDOWS["hour"] * facts.INTERVAL)
    for week in range(1, USUAL_WEEKS + 1):
        # A day on which it was closed, a holiday say, does not show what is usual.
        if opened is not None and config.is_open(tenant, business.weeks_before(tenant, at, week)):
            yield f"week{week}", business.weeks_before(tenant, begins, week), business.weeks_before(tenant, ends, week)


def _begins(opened: datetime | None, wanted: datetime) -> datetime:
    return wanted if opened is None else max(wanted, facts.quarter(opened))


def _untried_since(tenant: config.Tenant, at: datetime) -> datetime:
    return max(written_off_before(tenant, at), business.worked_ago(tenant, at, WORKING_DAY))


# -- families ---------------------------------------------------------------------------------------------
