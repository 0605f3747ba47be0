"""The steps that a period is drawn in, by the call centre's clock. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

#: Up to this length a period is drawn in these steps; a longer one in days.
_STEPS = (
    (timedelta(hours=6), timedelta(minutes=15)),
    (timedelta(hours=14), timedelta(minutes=30)),
    (timedelta(hours=49), timedelta(hours=1)),
)


def steps(begin: datetime, end: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """[begin, end) in steps that begin at round times; the first and the last may be shorter."""
    length = next((step for limit, step in _STEPS if end - begin <= limit), None)
    marks = _days(begin, end, zone) if length is None else _even(begin, end, zone, length)
    bounds = [begin, *marks, end]
    return [(first, last) for first, last in pairwise(bounds) if first < last]


def _even(begin: datetime, end: datetime, zone: ZoneInfo, length: timedelta) -> Iterator[datetime]:
    """Real time in even steps: on the night when the clocks are set back an hour is there twice."""
    local = begin.astimezone(zone)
    since_midnight = timedelta(
        hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    mark = begin - since_midnight % length + length
    while mark < end:
        yield mark
        mark += length


def _days(begin: datetime, end: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    day = begin.astimezone(zone).date() + timedelta(days=1)
    while (midnight := datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)) < end:
        yield midnight
        day += timedelta(days=1)
