"""Periods as people name them, in the call centre's zone, and the period to compare one with. Pure, no I/O.

A period is [begin, end) between two instants; ``until`` is how much of it there is at a moment, so that a month that
goes on is compared with as much of the month before: to the same time by the clock on the wall.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from callkpi.calendar import shifts
from callkpi.calendar.business import instant
from callkpi.calendar.shifts import Shift
from callkpi.config import Tenant
from callkpi.config.words import guess

#: What a period may be compared with: the one before, the same a week before, the same a year before.
AGAINST = ("previous", "week", "year")
#: A year has 52 weeks and a day: the same weekday of the year before.
_YEAR_OF_WEEKS = timedelta(weeks=52)
_DAY = timedelta(days=1)
MAX_DAYS = 3660


class BadPeriod(ValueError):
    """A text that is no period: what is wrong and what to write."""


@dataclass(frozen=True, slots=True)
class Period:
    """[begin, end) and what people call it."""

    kind: str  #: shift, day, week, month, quarter, year, days (the last ones) or interval
    text: str  #: as it is written, without words that depend on the day: month:2026-11
    name: str  #: for a headline
    begin: datetime  #: UTC
    end: datetime  #: UTC, the first instant after it
    until: datetime  #: UTC, the end, or now where it goes on
    shift: Shift | None = None

    @property
    def is_partial(self) -> bool:
        """Whether some of it is still to come."""
        return self.until < self.end


def parse(config: Tenant, tenant: str, text: str, now: datetime) -> Period:
    """The period that *text* names: see FORMS. Raises BadPeriod."""
    written = text.strip()
    word = written.lower().replace(" ", "_").replace("-", "_")
    today = now.astimezone(config.zone).date()
    try:
        if word in _WORDS:
            kind, steps = _WORDS[word]
            found = _Maker(config, now).whole(kind, step(kind, first_of(kind, today), steps))
        elif match := re.fullmatch(r"(?:last[_:]?)(\d{1,9})_?d(?:ays?)?", word):
            found = _Maker(config, now).last_days(today, int(match[1]))
        elif ".." in written:
            found = _Maker(config, now).interval(*written.removeprefix("interval:").split("..", 1))
        elif re.match(r"shift\b", written):
            found = _shift(config, tenant, written, now)
        else:
            found = _Maker(config, now).named(written)
    except (OverflowError, OSError):
        raise BadPeriod(f"period: {text[:40]!r} is outside of the calendar") from None
    if found.begin >= now:
        return replace(found, until=found.begin)
    return replace(found, until=min(found.end, now))


#: How a period is written; for error messages and help.
FORMS = (
    "shift:night@2026-11-23, shift:night (the last that ended), day:2026-11-23, week:2026-W47, month:2026-11,"
    " quarter:2026-Q4, year:2026, last_7_days, today, yesterday, this_week, last_month, …, 2026-11-01..2026-11-15"
)
_KINDS = ("shift", "day", "week", "month", "quarter", "year")
_WORDS = {
    "today": ("day", 0), "yesterday": ("day", -1),
    **{f"this_{kind}": (kind, 0) for kind in ("day", "week", "month", "quarter", "year")},
    **{f"last_{kind}": (kind, -1) for kind in ("day", "week", "month", "quarter", "year")},
}  # fmt: skip


class _Maker:
    """Makes periods of local days."""

    def __init__(self, config: Tenant, now: datetime) -> None:
        self._zone, self._now = config.zone, now

    def whole(self, kind: str, first: date) -> Period:
        return self._days(kind, f"{kind}:{label(kind, first)}", label(kind, first), first, step(kind, first, 1))

    def named(self, text: str) -> Period:
        kind, colon, rest = text.partition(":")
        if colon and kind not in _KINDS:
            raise BadPeriod(f"period: {text[:40]!r} is none{guess(kind, _KINDS)}; write {FORMS}")
        value = rest if colon else text
        for known, parse_first in _FIRSTS.items():
            first = parse_first(value)
            if first is not None and (not colon or known == kind):
                return self.whole(known, first)
        if colon:
            raise BadPeriod(f"period: {value[:40]!r} is no {kind}; write {kind}:{_SAMPLES[kind]}")
        raise BadPeriod(f"period: {text[:40]!r} is none{guess(text, _WORDS)}; write {FORMS}")

    def last_days(self, today: date, count: int) -> Period:
        """Whole days, up to the end of yesterday: they can be compared with as many before."""
        if not 1 <= count <= MAX_DAYS:
            raise BadPeriod(f"period: last_{count}_days; 1 to {MAX_DAYS} can be asked")
        first = today - count * _DAY
        name = f"{first} to {today - _DAY}" if count > 1 else first.isoformat()
        return self._days("days", f"{first}..{today - _DAY}", name, first, today)

    def interval(self, begins: str, ends: str) -> Period:
        begin, end = self._edge(begins, after=False), self._edge(ends, after=True)
        if begin >= end:
            raise BadPeriod(f"period: {ends[:20]!r} is before {begins[:20]!r}")
        if end - begin > MAX_DAYS * _DAY:
            raise BadPeriod(f"period: at most {MAX_DAYS} days at a time")
        text = f"{begins.strip()}..{ends.strip()}"
        return Period("interval", text, text.replace("..", " to ").replace("T", " "), begin, end, end)

    def _edge(self, text: str, *, after: bool) -> datetime:
        """A local date (as the end: that day included), or a time."""
        text = text.strip()
        day = _day(text)
        if day is not None:
            return instant(self._zone, day + _DAY if after else day)
        try:
            at = datetime.fromisoformat(text.replace(" ", "T"))
        except ValueError:
            at = None
        if at is None or "T" not in text.replace(" ", "T") or not 1971 <= at.year <= 2200:
            raise BadPeriod(
                f"period: {text[:30]!r} is no date; write 2026-11-01..2026-11-15 or 2026-11-01T08:00..2026-11-01T12:00"
            )
        return instant(self._zone, at.date(), at.time()) if at.tzinfo is None else at.astimezone(UTC)

    def _days(self, kind: str, text: str, name: str, first: date, after: date) -> Period:
        end = instant(self._zone, after)
        return Period(kind, text, name, instant(self._zone, first), end, end)


def _shift(config: Tenant, tenant: str, text: str, now: datetime) -> Period:
    """``shift``, ``shift:night``, ``shift:night@2026-11-23``, ``shift:night@current``."""
    id, _, day = text.partition(":")[2].partition("@")
    ids = shifts.shift_ids(config)
    if id and id not in ids:
        raise BadPeriod(f"period: {id[:40]!r} is no shift of {tenant}{guess(id, ids)}; there are {', '.join(ids)}")
    found: Shift | None
    if day == "current":
        going = [shift for shift in shifts.running(config, tenant, now) if id in ("", shift.id)]
        found, missing = (going[-1] if going else None), "no such shift goes on now"
    elif day in ("", "last"):
        found, missing = shifts.last_ended(config, tenant, now, id), "no such shift has ended yet"
    else:
        on = _day(day)
        if on is None or not id:
            raise BadPeriod(f"period: {text[:40]!r}; write shift:{id or ids[0]}@2026-11-23, or @current, or @last")
        found, missing = shifts.shift_of(config, tenant, id, on), f"there is no shift {id} on {day}"
    if found is None:
        raise BadPeriod(f"period: {text[:40]!r}: {missing}")
    return of_shift(found)


def of_shift(shift: Shift) -> Period:
    """A shift as a period, over."""
    return Period("shift", f"shift:{shift.key}", f"{shift.name}, {shift.day}", shift.begin, shift.end, shift.end, shift)


# -- what to compare with ----------------------------------------------------------------------------------


def comparable(config: Tenant, period: Period, against: str = "previous") -> Period | None:
    """The period to compare with, as much of it as there is of *period*; None where there is none.

    ``previous``: the day, week, month, quarter, year or as many days before; of a shift the last one of that id.
    ``week``: the same shift or days a week before. ``year``: the same a year before, a shift and a week 52 weeks.
    Raises BadPeriod where that makes no sense.
    """
    if against not in AGAINST:
        raise BadPeriod(f"against: {against[:40]!r} is none of {', '.join(AGAINST)}")
    if against == "week" and period.end - period.begin > timedelta(days=7, hours=2):
        raise BadPeriod("against: 'week' is for what is no longer than a week; write previous or year")
    before = _before_shift(config, period.shift, against) if period.shift else _before(config.zone, period, against)
    return None if before is None else _as_much(config.zone, before, period)


def _before_shift(config: Tenant, shift: Shift, against: str) -> Period | None:
    if against == "previous":
        found = shifts.previous(config, shift)
    else:
        found = shifts.neighbour(config, shift, -7 if against == "week" else -_YEAR_OF_WEEKS.days)
    return of_shift(found) if found is not None else None


def _before(zone: ZoneInfo, period: Period, against: str) -> Period:
    first = period.begin.astimezone(zone).date()
    if period.kind in _KINDS:
        if against == "previous" or (against, period.kind) == ("week", "week"):
            before = step(period.kind, first, -1)
        elif against == "week":
            before = first - 7 * _DAY
        else:
            before = first - _YEAR_OF_WEEKS if period.kind == "week" else step("year", first, -1)
        return _whole(zone, period.kind, before)
    begin, end = _wall(zone, period.begin), _wall(zone, period.end)
    if against == "year":
        moved = (_a_year_before(begin), _a_year_before(end))
    else:
        length = timedelta(days=7) if against == "week" else end - begin
        moved = (begin - length, end - length)
    begins, ends = (instant(zone, at.date(), at.time()) for at in moved)
    name = f"{moved[0]:%Y-%m-%d %H:%M} to {moved[1]:%Y-%m-%d %H:%M}"
    return Period(period.kind, f"{moved[0]:%Y-%m-%dT%H:%M:%S}..{moved[1]:%Y-%m-%dT%H:%M:%S}", name, begins, ends, ends)


def _whole(zone: ZoneInfo, kind: str, first: date) -> Period:
    end = instant(zone, step(kind, first, 1))
    return Period(kind, f"{kind}:{label(kind, first)}", label(kind, first), instant(zone, first), end, end)


def _as_much(zone: ZoneInfo, before: Period, period: Period) -> Period:
    """The begin of *before* that *period* has had, by the clock on the wall; all of it once *period* is over."""
    if not period.is_partial:
        return before
    at = _wall(zone, before.begin) + (_wall(zone, period.until) - _wall(zone, period.begin))
    return replace(before, until=max(before.begin, min(instant(zone, at.date(), at.time()), before.end)))


def _wall(zone: ZoneInfo, at: datetime) -> datetime:
    """What the clocks show, without a zone."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _a_year_before(at: datetime) -> datetime:
    return datetime.combine(_years(at.date(), -1), at.time())


# -- calendar units ----------------------------------------------------------------------------------------


def label(kind: str, first: date) -> str:
    """A day, week, month, quarter or year by its first day, as ISO 8601 writes it."""
    if kind == "week":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02}"
    if kind == "month":
        return f"{first:%Y-%m}"
    if kind == "quarter":
        return f"{first.year}-Q{(first.month + 2) // 3}"
    return str(first.year) if kind == "year" else first.isoformat()


def step(kind: str, first: date, count: int) -> date:
    """The first day of the day, week, month, quarter or year that is *count* later."""
    if kind in ("day", "week"):
        return first + (count * (7 if kind == "week" else 1)) * _DAY
    if kind == "year":
        return _years(first, count)
    months = first.year * 12 + first.month - 1 + count * (3 if kind == "quarter" else 1)
    return date(months // 12, months % 12 + 1, 1)


def _years(day: date, count: int) -> date:
    try:
        return day.replace(year=day.year + count)
    except ValueError:
        return day.replace(year=day.year + count, day=28)


def first_of(kind: str, day: date) -> date:
    """The first day of the unit that *day* lies in."""
    if kind == "week":
        return day - day.weekday() * _DAY
    if kind == "month":
        return day.replace(day=1)
    if kind == "quarter":
        return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)
    return date(day.year, 1, 1) if kind == "year" else day


def _day(text: str) -> date | None:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return None
    try:
        return _sane(date.fromisoformat(text))
    except ValueError:
        return None


def _week(text: str) -> date | None:
    match = re.fullmatch(r"(\d{4})-?W(\d{1,2})", text, re.IGNORECASE)
    try:
        return _sane(date.fromisocalendar(int(match[1]), int(match[2]), 1)) if match else None
    except ValueError:
        return None


def _month(text: str) -> date | None:
    match = re.fullmatch(r"(\d{4})-(\d{2})", text)
    return _sane(date(int(match[1]), int(match[2]), 1)) if match and 1 <= int(match[2]) <= 12 else None


def _quarter(text: str) -> date | None:
    match = re.fullmatch(r"(\d{4})-?Q([1-4])", text, re.IGNORECASE)
    return _sane(date(int(match[1]), int(match[2]) * 3 - 2, 1)) if match else None


def _year(text: str) -> date | None:
    return _sane(date(int(text), 1, 1)) if re.fullmatch(r"\d{4}", text) else None


def _sane(day: date) -> date | None:
    return day if 1971 <= day.year <= 2200 else None


_FIRSTS: dict[str, Callable[[str], date | None]] = {
    "day": _day, "week": _week, "month": _month, "quarter": _quarter, "year": _year,
}  # fmt: skip
_SAMPLES = {
    "day": "2026-11-23", "week": "2026-W47", "month": "2026-11", "quarter": "2026-Q4", "year": "2026",
    "shift": "night@2026-11-23",
}  # fmt: skip
