"""Who was planned and who was there, as the store has it: rosters and time in state, brought together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce

import asyncpg

from callkpi import config
from callkpi.config.teams import team_names
from callkpi.people import adherence, rosters
from callkpi.people.adherence import BREAK, NOTHING, SHORT, Kept, Person, Span, Spans, Window, common, united
from callkpi.people.names import Names
from callkpi.people.people import Ambiguous, Directory
from callkpi.people.presence import from_ms
from callkpi.people.rosters import LONGEST, Planned
from callkpi.projection import timekeeping
from callkpi.summaries import outages
from callkpi.summaries.summary import Adherence, PersonsPlan, StaffStep

#: The longest period of which every stretch of everybody's time is read.
LONGEST_PERIOD = timedelta(days=8)
#: A roster that plans anybody in a period up to this long is about all of it; of a longer one only about the time
#: around what it plans.
WHOLE, AROUND = timedelta(days=2), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Whose:
    """Of whom a summary is: whose plans count."""

    tenant: str
    shift: tuple[str, ...] = ()  #: what the shift is called, its id and its name; none of other periods
    team: str = ""  #: key or name of the only team that it is about
    is_of_queues: bool = False  #: it is about some queues: then plans count that name the shift
    helped: Collection[str] = ()  #: shown names of who took calls in it


async def of(
    db: asyncpg.Connection, settings: config.Settings, names: Names, whose: Whose, window: Window, *, journal: bool
) -> tuple[list[Person], Window] | None:
    """The people of a summary with what was planned and what they did; None where no roster covers the window.

    *journal* says whether the journal of that time is still kept.
    """
    now, length = window.now, window.end - window.begin
    window = replace(window, end=min(window.end, now))
    if window.begin >= window.end or length > LONGEST_PERIOD:
        return None
    near = await rosters.planned(db, whose.tenant, window.begin - LONGEST, window.end + LONGEST)
    hulls = [hull for spans in _by_agent(near).values() for hull in united(spans, BREAK) if _touches(hull, window)]
    if not hulls:
        return None
    begin = min(window.begin, *(hull.begin for hull in hulls))
    end = min(now, max(window.end, *(hull.end for hull in hulls)))
    told = await timekeeping.stretches_between(db, whose.tenant, begin, end)
    telling = await timekeeping.telling(db, whose.tenant, begin, end, journal=journal)
    lost = await outages.spans(db, sorted(telling), begin, end)
    sources = frozenset(name for name, source in settings.sources.items() if source.tenant == whose.tenant)
    reading = _Reading(settings.tenants[whose.tenant], names, whose, window, sources, telling, lost)
    people = reading.people(near, told, Span(begin, end))
    if not any(person.plans for person in people):
        return None
    around = united((span for person in people for span in person.plans), AROUND)
    return people, replace(window, rostered=window.span if length <= WHOLE else around)


def summed(people: Sequence[Person], window: Window, bounds: Iterable[tuple[datetime, datetime]]) -> Adherence:
    """What a summary tells of *people*. Pure."""
    lines = [line for person in people if _matters(line := adherence.kept(person, window))]
    planned = [line for line in lines if line.planned]
    known = [line for line in planned if line.adherence is not None]
    late = [line.late_start or NOTHING for line in known if line.is_late]
    early = [line.early_end or NOTHING for line in known if line.is_early]
    time, there = (sum((amount for amount in each), NOTHING) for each in (
        (line.planned - line.unknown for line in known), (line.in_plan or NOTHING for line in known)
    ))  # fmt: skip
    return Adherence(
        planned_people=len(planned), came=sum(line.has_come is True for line in known),
        absent=sum(line.has_come is False for line in known), unknown=len(planned) - len(known),
        unplanned=len(lines) - len(planned),
        late=len(late), latest_start_seconds=max(late, default=NOTHING).total_seconds(),
        early=len(early), earliest_end_seconds=max(early, default=NOTHING).total_seconds(),
        planned_seconds=sum((line.planned for line in planned), NOTHING).total_seconds(),
        in_plan_seconds=there.total_seconds() if known else None, adherence=there / time if known else None,
        people=tuple(_line(line) for line in lines),
        steps=tuple(
            StaffStep(begin=step.begin, end=step.end, planned=step.planned, in_plan=step.in_plan,
                      beyond_plan=step.beyond, unknown=step.unknown)
            for step in adherence.steps(people, bounds, window)
        ),
    )  # fmt: skip


def _matters(line: Kept) -> bool:
    return bool(line.planned) or (line.beyond or NOTHING) >= SHORT


def _line(line: Kept) -> PersonsPlan:
    def seconds(amount: timedelta | None) -> float | None:
        return None if amount is None else amount.total_seconds()

    return PersonsPlan(
        agent=line.name, planned_seconds=line.planned.total_seconds(), in_plan_seconds=seconds(line.in_plan),
        adherence=line.adherence,
        late_start_seconds=seconds(line.late_start), early_end_seconds=seconds(line.early_end),
        away_seconds=seconds(line.away), absent_seconds=seconds(line.absent),
        unknown_seconds=line.unknown.total_seconds(), beyond_plan_seconds=seconds(line.beyond),
        stints=line.stints, absences=line.absences,
    )  # fmt: skip


# -- people -----------------------------------------------------------------------------------------------

_Told = Mapping[str, timekeeping.Stretches]


def _by_agent(plans: Iterable[Planned]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = defaultdict(list)
    for plan in plans:
        found[plan.agent].append(Span(plan.begin, plan.end))
    return found


def _touches(span: Span, window: Window) -> bool:
    return span.begin < window.end and window.begin < span.end


@dataclass(frozen=True, slots=True)
class _Reading:
    """Brings plans and presence together by the names that people are shown by."""

    own: config.Tenant
    names: Names
    whose: Whose
    window: Window
    sources: frozenset[str]
    telling: frozenset[str]
    lost: Mapping[str, Spans]  #: when each source was not heard

    def people(self, near: Sequence[Planned], told: _Told, hull: Span) -> list[Person]:
        learnt = self.names.learnt(self.whose.tenant, "agent")
        directory = Directory(self.own, {**learnt, **{key: self._show(key) for key in told}})
        ids: dict[str, set[str]] = defaultdict(set)
        plans: dict[str, list[Planned]] = defaultdict(list)
        for plan in near:
            key = _found(directory, plan.agent)
            plans[self._show(key)].append(plan)
            ids[self._show(key)].update(directory.ids(key))
        for key in told:
            ids[self._show(key)].add(key)
        people = (self._person(name, keys, plans.get(name, ()), told, hull) for name, keys in sorted(ids.items()))
        return [person for person in people if person is not None]

    def _person(self, name: str, keys: set[str], plans: Sequence[Planned], told: _Told, hull: Span) -> Person | None:
        """None of who is not of this summary."""
        if self.whose.team and not self._is_of_team(keys):
            return None
        counted = [plan for plan in plans if not self.whose.is_of_queues or plan.shift in self.whose.shift]
        spans = united(Span(plan.begin, plan.end) for plan in counted)
        mine = [common((stint,), spans) for stint in united(spans, BREAK) if _touches(stint, self.window)]
        if not mine and self.whose.is_of_queues and (name not in self.whose.helped or self._is_planned(plans)):
            return None
        his = [told[key] for key in keys if key in told]
        logged_in = united(_spans(each for of in his for each in of.logged_in))
        on_phone = united(_spans(each for of in his for each in of.on_phone))
        sources = sorted(self._sources_of(keys) & self.telling)
        return Person(
            name=name, plans=united(span for stint in mine for span in stint), logged_in=common(logged_in, (hull,)),
            on_phone=common(on_phone, (hull,)), told=bool(sources),
            unheard=reduce(common, (self.lost.get(source, ()) for source in sources)) if sources else (),
        )  # fmt: skip

    def _show(self, key: str) -> str:
        return self.names.show(self.whose.tenant, "agent", key)

    def _is_of_team(self, keys: Collection[str]) -> bool:
        team = max((self.names.team(self.whose.tenant, key) for key in sorted(keys)), default="")
        return team in team_names(self.own, self.whose.team)

    def _is_planned(self, plans: Iterable[Planned]) -> bool:
        """Whether he is planned for anything meanwhile."""
        return any(_touches(Span(plan.begin, plan.end), self.window) for plan in plans)

    def _sources_of(self, keys: Iterable[str]) -> frozenset[str]:
        """Who may tell of him: an id alone is that of any source."""
        named = [key.partition(":")[0] for key in keys]
        return frozenset(named) & self.sources if {*named} <= self.sources else self.sources


def _spans(stretches: Iterable[tuple[int, int]]) -> Iterator[Span]:
    return (Span(from_ms(begin), from_ms(end)) for begin, end in stretches)


def _found(directory: Directory, agent: str) -> str:
    """The id that a stored plan means now: it may have been read when nobody was known."""
    try:
        return directory.find(agent) or agent
    except Ambiguous:
        return agent
