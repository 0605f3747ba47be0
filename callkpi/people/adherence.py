"""Planned time beside time at work: who was there when he was planned. Pure arithmetic of intervals, no I/O.

*Adherence* of a person is the share of his planned time in which he was logged in, whether he was free, on the phone or
paused: the moment matters, so time made up for later does not mend it. This is the custom of workforce management, e.g.
Amazon Connect's "Adherence" (adherent time / scheduled time) and the AdherencePercentage of Salesforce's Workforce
Engagement (minutes present during the scheduled shift / scheduled minutes). Their other measure, conformance, divides
all the time that somebody was there by the planned time, and may be more than one; it is not told here.

A break is a gap between two plans of a person: nobody is planned in it, so who works through it has worked beyond his
plan. Plans with a break between them are one *stint*: he starts once and ends once. What he missed of his plan is told
in parts that never overlap, so that for each person, to the millisecond,

    planned = in plan + late start + early end + away + absent + unknown

*late start* is the planned time of a stint before he first came, *early end* that after he last left, *away* what is
missing between, *absent* a stint to which he never came, *unknown* what nobody could have told because no source of his
was heard; that is in no share. A start or an end that lies outside of the window is not told
as late or early for the window's edge: he came when he came, and what he missed here is away. Intervals are real time
[begin, end) in UTC: midnight and the change of the clocks are nothing special.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: A gap up to this long between two plans of one person is a break; a longer one parts two stints.
BREAK = timedelta(hours=2)
#: Who starts later, or ends earlier, by less than this is in time.
GRACE = timedelta(minutes=1)
#: Who worked without a plan for less than this was handing over, or looked in.
SHORT = timedelta(minutes=15)
NOTHING = timedelta()


# -- intervals --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """[begin, end) in UTC."""

    begin: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.begin


#: In order, not empty, not overlapping.
Spans = tuple[Span, ...]


def united(spans: Iterable[Span], gap: timedelta = NOTHING) -> Spans:
    """The time that lies in any of *spans*; those at most *gap* apart are one."""
    found: list[Span] = []
    for span in sorted(spans):
        if span.begin >= span.end:
            continue
        if found and span.begin <= found[-1].end + gap:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def common(one: Spans, other: Spans) -> Spans:
    """The time that lies in both."""
    found, here, there = [], 0, 0
    while here < len(one) and there < len(other):
        begin = max(one[here].begin, other[there].begin)
        end = min(one[here].end, other[there].end)
        if begin < end:
            found.append(Span(begin, end))
        if one[here].end <= other[there].end:
            here += 1
        else:
            there += 1
    return tuple(found)


def without(one: Spans, other: Spans) -> Spans:
    """The time that lies in *one* and not in *other*."""
    found = []
    for span in one:
        begin = span.begin
        for hole in common((span,), other):
            if begin < hole.begin:
                found.append(Span(begin, hole.begin))
            begin = hole.end
        if begin < span.end:
            found.append(Span(begin, span.end))
    return tuple(found)


def length(spans: Iterable[Span]) -> timedelta:
    return sum((span.length for span in spans), NOTHING)


# -- people -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person, all his ids together. The times reach as far beyond the window as his plans do."""

    name: str
    plans: Spans = ()  #: as the roster has them, united
    logged_in: Spans = ()  #: as his sources tell, united, up to now
    on_phone: Spans = ()  #: talk, hold and after-call work while no source says that he is logged in, united
    unheard: Spans = ()  #: when none of his sources was heard
    told: bool = True  #: one of his sources tells who is logged in, and spoke in this time

    @property
    def stints(self) -> list[Spans]:
        """His plans, those with nothing but breaks between them together."""
        whole = united(self.plans, BREAK)
        return [common((hull,), self.plans) for hull in whole]

    @property
    def blind(self) -> Spans:
        """When nobody could have told that he had come."""
        return without(self.unheard, self.logged_in)

    @property
    def is_known(self) -> bool:
        """Whether one can say when he was there. Who takes calls in his plan and is never told to be logged in is not:
        he was there, and nobody says for how long."""
        if self.logged_in:
            return True
        return self.told and not common(self.plans, self.on_phone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How one person kept to his plan within a window, up to now. None where nobody says when he was there."""

    name: str
    planned: timedelta  #: nothing: he worked without a plan
    in_plan: timedelta | None  #: logged in while planned
    late_start: timedelta | None
    early_end: timedelta | None
    away: timedelta | None
    absent: timedelta | None
    unknown: timedelta  #: planned, and nobody could have told
    beyond: timedelta | None  #: logged in while not planned; without any plan also on the phone
    stints: int  #: how often he was to come
    absences: int | None  #: how often of these he never came

    @property
    def adherence(self) -> float | None:
        """See the module; None without planned time, and where nobody says when he was there."""
        judged = self.planned - self.unknown
        return None if self.in_plan is None or not judged else self.in_plan / judged

    @property
    def has_come(self) -> bool | None:
        """To any of his stints; None of who was not planned, or is not known."""
        if self.absences is None or not self.stints or (self.unknown == self.planned and not self.in_plan):
            return None
        return self.absences < self.stints

    @property
    def is_late(self) -> bool:
        return self.late_start is not None and self.late_start >= GRACE

    @property
    def is_early(self) -> bool:
        return self.early_end is not None and self.early_end >= GRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """People of one step of the window, up to now: means, so that somebody who is there for half of it is a half."""

    begin: datetime
    end: datetime
    planned: float
    in_plan: float  #: planned and logged in
    beyond: float  #: logged in and not planned
    unknown: float  #: planned, and nobody says whether they were there


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is judged: [begin, end) as far as it has come."""

    begin: datetime
    end: datetime  #: its end, or now
    now: datetime  #: what is planned after it has not come yet
    rostered: Spans = ()  #: where work without a plan is worth a word: the time that a roster is about

    @property
    def span(self) -> Spans:
        return united([Span(self.begin, self.end)])


def kept(person: Person, window: Window) -> Kept:
    """How a person kept to his plan in a window."""
    at_work = person.logged_in if person.plans else united([*person.logged_in, *person.on_phone])
    parts = [part for stint in person.stints if (part := _stint(stint, person, window)) is not None]
    planned = sum((part.planned for part in parts), NOTHING)
    beyond = length(common(without(at_work, person.plans), common(window.span, window.rostered)))
    if not person.is_known:
        return Kept(
            name=person.name, planned=planned, in_plan=None, late_start=None, early_end=None, away=None, absent=None,
            unknown=planned, beyond=beyond if not person.plans else None, stints=len(parts), absences=None,
        )  # fmt: skip

    def total(name: str) -> timedelta:
        return sum((getattr(part, name) for part in parts), NOTHING)

    return Kept(
        name=person.name, planned=planned, in_plan=total("in_plan"), late_start=total("late_start"),
        early_end=total("early_end"), away=total("away"), absent=total("absent"), unknown=total("unknown"),
        beyond=beyond, stints=len(parts), absences=sum(part.has_come is False for part in parts),
    )  # fmt: skip


def steps(people: Sequence[Person], bounds: Iterable[tuple[datetime, datetime]], window: Window) -> Iterator[Step]:
    """How many were planned and how many were there, step by step; of the last one up to now."""
    for begin, until in bounds:
        span = common(window.span, united([Span(begin, until)]))
        if not span:
            continue
        sums = dict.fromkeys(("planned", "in_plan", "beyond", "unknown"), NOTHING)
        for person in people:
            plan, there = common(person.plans, span), common(person.logged_in, span)
            sums["planned"] += length(plan)
            sums["beyond"] += length(without(there, plan))
            if person.is_known:
                sums["in_plan"] += length(common(plan, there))
            sums["unknown"] += length(common(plan, person.blind) if person.is_known else plan)
        whole = length(span)
        yield Step(begin=begin, end=until, **{name: amount / whole for name, amount in sums.items()})


# -- one stint --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stint:
    """One stint within the window."""

    planned: timedelta
    unknown: timedelta
    in_plan: timedelta
    late_start: timedelta
    early_end: timedelta
    has_come: bool | None  #: None where nobody could have told

    @property
    def missed(self) -> timedelta:
        return self.planned - self.unknown - self.in_plan - self.late_start - self.early_end

    @property
    def away(self) -> timedelta:
        return self.missed if self.has_come else NOTHING

    @property
    def absent(self) -> timedelta:
        return NOTHING if self.has_come else self.missed


def _stint(stint: Spans, person: Person, window: Window) -> _Stint | None:
    """None where nothing of it lies in the window. When he first came and last left is seen from the whole stint."""
    planned = common(stint, window.span)
    if not planned:
        return None
    here, there = without(planned, person.blind), common(stint, person.logged_in)
    unknown, in_plan = length(planned) - length(here), length(common(here, there))
    if not there:
        return _Stint(length(planned), unknown, in_plan, NOTHING, NOTHING, has_come=False if here else None)
    first, last = there[0].begin, there[-1].end
    late = sum((max(min(span.end, first) - span.begin, NOTHING) for span in here), NOTHING)
    # Who has left while his plan goes on may come back.
    over = stint[-1].end <= window.now
    early = sum((max(span.end - max(span.begin, last), NOTHING) for span in here), NOTHING) if over else NOTHING
    return _Stint(length(planned), unknown, in_plan, late, early, has_come=True)
