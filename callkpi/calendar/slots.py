"""Time cut into slots: hours of the day, weekdays, intervals, days, weeks, months, shifts. Pure, no I/O.

A slot is what one row of a report is about: all Mondays, the hour from nine to ten of each day, the 3rd of November. It
is made of spans, each of which knows its slot. Spans are cut by the clock on the wall: the hour that the clocks repeat
makes one hour of the day twice as long, and two intervals of a timeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.calendar import periods
from callkpi.calendar.business import instant
from callkpi.calendar.shifts import Shift
from callkpi.calls import facts
from callkpi.config import WEEKDAYS

#: Splits of time by the clock, within days.
INTERVALS = {"15min": 15, "30min": 30, "60min": 60}
CALENDAR = ("day", "week", "month", "quarter", "year")
#: Everything that a report may be split by in time, besides the shift.
UNITS = ("hour", "weekday", *INTERVALS, *CALENDAR)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Slot:
    """What a row is about."""

    labels: tuple[str, ...]  #: as shown, one for each unit
    places: tuple[str, ...]  #: where it lies in its period: equal in the period that it is compared with
    begin: datetime  #: of its first span, UTC
    #: The day, month, … or shift, as long as it is planned, where the slot is one.
    whole: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """[begin, end), and the number of its slot, from 1."""

    begin: datetime
    end: datetime
    slot: int


@dataclass(slots=True)
class Cut:
    """Time that is cut: slots in their order, and spans in theirs."""

    slots: list[Slot] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    _numbers: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, slot: Slot, end: datetime) -> None:
        """One more span, after those before."""
        number = self._numbers.get(slot.labels)
        if number is None:
            self.slots.append(slot)
            number = self._numbers[slot.labels] = len(self.slots)
        last = self.spans[-1] if self.spans else None
        if last is not None and last.slot == number and last.end == slot.begin:
            self.spans[-1] = Span(last.begin, end, number)
        else:
            self.spans.append(Span(slot.begin, end, number))


def uncut(begin: datetime, end: datetime) -> Cut:
    """One slot: all of it."""
    cut = Cut()
    if begin < end:
        cut.add(Slot((), (), begin), end)
    return cut


def by_units(zone: ZoneInfo, begin: datetime, end: datetime, units: Sequence[str]) -> Cut:
    """[begin, end) by units of time."""
    if not units:
        return uncut(begin, end)
    cut, origin = Cut(), begin.astimezone(zone).date()
    for at, until in _pieces(zone, begin, end, units):
        cut.add(_slot(zone, at, origin, units), until)
    return cut


def by_shift(zone: ZoneInfo, shifts: Iterable[Shift], begin: datetime, end: datetime, units: Sequence[str]) -> Cut:
    """Shifts that don't overlap, as far as they lie in [begin, end), and units of time within them.

    The unit ``shift`` stands where its label does.
    """
    cut, origin = Cut(), begin.astimezone(zone).date()
    others = [unit for unit in units if unit != "shift"]
    position = list(units).index("shift")
    for shift in shifts:
        first, last = max(shift.begin, begin), min(shift.end, end)
        place = f"{shift.id}+{(shift.day - origin).days}"
        for at, until in _pieces(zone, first, last, others) if others else [(first, last)]:
            inner = _slot(zone, at, origin, others)
            labels = (*inner.labels[:position], shift.key, *inner.labels[position:])
            places = (*inner.places[:position], place, *inner.places[position:])
            whole = None if others else (shift.begin, shift.end)
            if at < until:
                cut.add(Slot(labels, places, at, whole), until)
    return cut


def _slot(zone: ZoneInfo, at: datetime, origin: date, units: Sequence[str]) -> Slot:
    local = at.astimezone(zone)
    named = [_NAMES[unit](local, origin) for unit in units]
    whole = None
    if len(units) == 1 and units[0] in CALENDAR:
        first = periods.first_of(units[0], local.date())
        whole = instant(zone, first), instant(zone, periods.step(units[0], first, 1))
    return Slot(tuple(label for label, _ in named), tuple(place for _, place in named), at, whole)


def _pieces(
    zone: ZoneInfo, begin: datetime, end: datetime, units: Sequence[str]
) -> Iterator[tuple[datetime, datetime]]:
    """Pieces of which each lies in one slot: local days, or quarters of an hour where a unit is shorter."""
    if all(unit == "weekday" or unit in CALENDAR for unit in units):
        day = begin.astimezone(zone).date()
        while begin < end:
            day += _DAY
            until = min(instant(zone, day), end)
            if begin < until:
                yield begin, until
                begin = until
        return
    while begin < end:
        until = min(facts.quarter(begin) + facts.INTERVAL, end)
        yield begin, until
        begin = until


def _hour(local: datetime, _origin: date) -> tuple[str, str]:
    return f"{local.hour:02}:00", f"{local.hour:02}"


def _weekday(local: datetime, _origin: date) -> tuple[str, str]:
    return WEEKDAYS[local.weekday()], str(local.weekday())


def _interval(minutes: int) -> Callable[[datetime, date], tuple[str, str]]:
    def name(local: datetime, origin: date) -> tuple[str, str]:
        begin = local.replace(minute=local.minute - local.minute % minutes, second=0, microsecond=0)
        offset = local.utcoffset() or timedelta()
        place = f"{(local.date() - origin).days} {begin:%H:%M} {local.fold}"
        return f"{begin:%Y-%m-%dT%H:%M}{_offset(offset)}", place

    return name


def _offset(offset: timedelta) -> str:
    minutes = round(offset.total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _calendar(kind: str) -> Callable[[datetime, date], tuple[str, str]]:
    def name(local: datetime, origin: date) -> tuple[str, str]:
        first, start = periods.first_of(kind, local.date()), periods.first_of(kind, origin)
        if kind in ("day", "week"):
            place = (first - start).days
        else:
            place = (first.year - start.year) * 12 + first.month - start.month
        return periods.label(kind, first), str(place)

    return name


_NAMES: dict[str, Callable[[datetime, date], tuple[str, str]]] = {
    "hour": _hour,
    "weekday": _weekday,
    **{unit: _interval(minutes) for unit, minutes in INTERVALS.items()},
    **{kind: _calendar(kind) for kind in CALENDAR},
}


# -- where the sums of a span are ------------------------------------------------------------------------


@dataclass(slots=True)
class Edges:
    """Spans as two columns for SQL: a moment is of the slot beside the last edge that is not after it; 0: of none."""

    edges: list[date] = field(default_factory=list)  #: days, or instants
    slots: list[int] = field(default_factory=list)

    def add(self, begin: date, end: date, slot: int) -> None:
        if begin >= end:
            return
        if self.edges and self.edges[-1] == begin:
            self.slots[-1] = slot
        else:
            self.edges.append(begin)
            self.slots.append(slot)
        self.edges.append(end)
        self.slots.append(0)

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Begin and end of each stretch that has a slot."""
        for (begin, end), slot in zip(pairwise(self.edges), self.slots, strict=False):
            if slot:
                yield begin, end

    def stretches(self) -> tuple[list[date], list[date]]:
        """Begins and ends of the time that has slots, as few as there are gaps."""
        begins: list[date] = []
        ends: list[date] = []
        for begin, end in self.pairs():
            if ends and ends[-1] == begin:
                ends[-1] = end
            else:
                begins.append(begin)
                ends.append(end)
        return begins, ends


@dataclass(frozen=True, slots=True)
class Kept:
    """Which sums there are, and fit what is asked."""

    days_since: date | None = None  #: the first day with sums of its own; None: none has
    months_until: date | None = None  #: sums of months hold the days before this one; None: no month fits
    quarters: bool = True  #: whether those of quarters of an hour fit


@dataclass(slots=True)
class Parts:
    """Which sums the spans are made of: whole months, days, quarters of an hour, single calls."""

    months: Edges = field(default_factory=Edges)
    days: Edges = field(default_factory=Edges)
    quarters: Edges = field(default_factory=Edges)
    calls: Edges = field(default_factory=Edges)


def parts(spans: Iterable[Span], zone: ZoneInfo, kept: Kept) -> Parts:
    """Take each span from the coarsest sums that fit."""
    found = Parts()
    for span in spans:
        first, after = _whole_days(span, zone, kept.days_since)
        if first < after:
            _add_days(found, first, after, span.slot, kept.months_until)
            _add_edges(found, Span(span.begin, instant(zone, first), span.slot), quarters=kept.quarters)
            _add_edges(found, Span(instant(zone, after), span.end, span.slot), quarters=kept.quarters)
        else:
            _add_edges(found, span, quarters=kept.quarters)
    return found


def _whole_days(span: Span, zone: ZoneInfo, since: date | None) -> tuple[date, date]:
    first, after = span.begin.astimezone(zone).date(), span.end.astimezone(zone).date()
    if since is None or after <= first:
        return date.max, date.min
    if instant(zone, first) < span.begin:
        first += _DAY
    return max(first, since), after


def _add_days(found: Parts, first: date, after: date, slot: int, months_until: date | None) -> None:
    """Whole days [first, after): those of whole months from the sums of months.

    The month that *months_until* lies in is one of them as far as it is summed up, if all of that is asked.
    """
    begin = periods.step("month", periods.first_of("month", first - _DAY), 1)
    summed = min(after, months_until) if months_until is not None else begin
    end = summed if summed == months_until else periods.first_of("month", summed)
    if begin >= end:
        found.days.add(first, after, slot)
        return
    found.days.add(first, begin, slot)
    found.months.add(begin, end, slot)
    found.days.add(end, after, slot)


def _add_edges(found: Parts, span: Span, *, quarters: bool) -> None:
    if span.begin >= span.end:
        return
    first = facts.quarter(span.begin)
    first = first if first == span.begin else first + facts.INTERVAL
    last = facts.quarter(span.end)
    if not quarters or first >= last:
        found.calls.add(span.begin, span.end, span.slot)
        return
    found.calls.add(span.begin, first, span.slot)
    found.quarters.add(first, last, span.slot)
    found.calls.add(last, span.end, span.slot)
