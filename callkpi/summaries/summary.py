"""What a manager reads of a shift (or of a day, a week, a month): frozen plain data, nothing computed twice. No I/O.

:func:`callkpi.summaries.assemble.summarise` makes one from the store; the renderers make pages and files of it; the
delivery keeps :func:`to_data` of what it sent and tells what :func:`changes` finds later. Figures bear the names of the
glossary, as in the API: counts are whole numbers, shares are 0..1, what ends in ``_seconds`` is seconds, and None means
that there was nothing to compute it of. Headline figures count calls, queues count stays, agents count handles.
"""

from __future__ import annotations

import hashlib
import types
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson

from callkpi.calls.facts import Fact, Grain
from callkpi.config import ServiceLevelFormula
from callkpi.figures.weights import FIGURES, NOTHING, Weight, weigh
from callkpi.glossary import FATES

#: What a headline counts.
CALLS, ENTRIES, HANDLES = "calls", "queue entries", "handles of agents"

#: Grows when a key changes its meaning or goes; a new key does not count.
SCHEMA = 1

Number = int | float | None
#: Figures by their names in the glossary, as :meth:`callkpi.calls.facts.Figures.as_row` gives them.
FigureRow = Mapping[str, Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The window that is summed up, [begin, end), and what people call it."""

    kind: str  #: shift, day, week, month, quarter, year, days or interval
    id: str  #: of a shift: its id in the configuration, e.g. "night"; else the kind
    name: str  #: as the configuration calls the shift; of others "2026-W47"
    text: str  #: as :func:`callkpi.calendar.periods.parse` reads it: "shift:night@2026-11-23"
    day: str  #: local date on which it begins, ISO 8601
    begin: datetime  #: UTC
    end: datetime  #: UTC, not in it
    timezone: str  #: IANA zone of the call centre
    queues: tuple[str, ...] = ()  #: the queues it is about; none: all
    team: str = ""  #: the team it is about, by its shown name; "": all


class State(StrEnum):
    """Where a missed customer stands at one moment."""

    WAITING = "waiting"  #: nobody has tried
    CALLED_BACK = "called_back"  #: we called and did not reach him
    REACHED = "reached"  #: we called and spoke
    SELF_SERVED = "self_served"  #: he called again and was answered
    WRITTEN_OFF = "written_off"  #: too old

    @property
    def is_open(self) -> bool:
        return self in (State.WAITING, State.CALLED_BACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A step of the period by the call centre's clock; what began in it, as in the headline."""

    begin: datetime
    end: datetime
    offered: int
    answered: int
    missed: int
    open: int
    service_level: float | None
    asa_seconds: float | None
    longest_wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Missed calls by their outcome: why they were missed."""

    outcome: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """Stays in one queue."""

    queue: str  #: shown name
    figures: FigureRow
    service_level_seconds: float | None = None  #: its T; None where ids with different T share the name


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentLine:
    """One person's work; times in state are None where no source tells the agent's states."""

    agent: str  #: shown name
    figures: FigureRow
    by_queue: Mapping[str, int]  #: inbound calls that he answered, by shown queue; "" for those without one
    logged_in_seconds: float | None = None
    available_seconds: float | None = None
    ringing_seconds: float | None = None
    talking_seconds: float | None = None
    paused_seconds: float | None = None
    busy_seconds: float | None = None
    paused_by_reason: Mapping[str, float] | None = None
    occupancy: float | None = None
    utilisation: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonsPlan:
    """How one person kept to his plan, see :mod:`callkpi.people.adherence`; None where it is not known."""

    agent: str  #: shown name
    planned_seconds: float  #: 0 of who worked without a plan
    in_plan_seconds: float | None  #: logged in while planned
    adherence: float | None
    late_start_seconds: float | None
    early_end_seconds: float | None
    away_seconds: float | None
    absent_seconds: float | None
    unknown_seconds: float  #: planned, and nobody could have told; in no share
    beyond_plan_seconds: float | None
    stints: int  #: how often he was to come
    absences: int | None  #: how often of these he never came


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffStep:
    """How many people were planned and there in a step: means over the step, or what there is of it."""

    begin: datetime
    end: datetime
    planned: float
    in_plan: float  #: planned and logged in
    beyond_plan: float  #: logged in and not planned
    unknown: float  #: planned, and nobody says whether they were there


@dataclass(frozen=True, slots=True, kw_only=True)
class Adherence:
    """Planned time beside time at work, up to now where the period goes on."""

    planned_people: int
    came: int  #: of them, at least once
    absent: int  #: of them, never
    unknown: int  #: of them nobody says when they were there; they are in no share
    unplanned: int  #: people who worked without a plan
    late: int  #: who came and started late
    latest_start_seconds: float
    early: int
    earliest_end_seconds: float
    planned_seconds: float
    in_plan_seconds: float | None
    adherence: float | None  #: of those of whom it is known, all their time together
    people: tuple[PersonsPlan, ...] = ()
    steps: tuple[StaffStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """When most came, or when most waited."""

    begin: datetime
    end: datetime | None  #: None of an instant
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBack:
    """A customer whom the period missed. A hidden number can't be matched: each of its calls is one."""

    customer: str  #: whole number; renderers mask it; "" where it was hidden
    queue: str
    line: str
    outcome: str  #: of the last miss
    misses: int
    first_missed_at: datetime
    last_missed_at: datetime
    state_at_end: State  #: when the period ended (or at ``as_of``, where it goes on)
    state: State  #: at ``as_of``
    called_back_at: datetime | None
    settled_at: datetime | None  #: when somebody spoke to him, or closed him by hand
    last_call: str  #: source/call id of the last miss


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """A call that went on when the period ended: the next shift's from then on."""

    call: str  #: source/call id
    began_at: datetime
    customer: str
    queue: str
    agent: str
    was: str  #: waiting | talking, when the period ended
    became: str  #: its outcome at ``as_of``; open while it goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """What the next shift takes over."""

    #: Missed and not spoken to when the period ended, of this and earlier ones; None where it tells of no customers.
    waiting_customers: int | None
    of_this_period: int | None  #: of them, missed in this one
    oldest_missed_at: datetime | None
    still_waiting: int | None  #: of all of them, how many wait at ``as_of``
    open_calls: tuple[OpenCall, ...] = ()


class Doubt(StrEnum):
    """What may make the figures less than the truth."""

    RUNNING = "running"  #: the period has not ended
    OPEN = "open"  #: calls that still go on count as offered, and as nothing else yet
    EXPIRED = "expired"  #: calls whose end never came
    REJECTED = "rejected"  #: payloads that could not be understood
    DISCONNECTED = "disconnected"  #: a connected source was not heard; count: calls that ended unheard
    SILENT = "silent"  #: a source told nothing for long
    NEVER_SPOKE = "never_spoke"  #: a source told nothing at all in the period
    LATE = "late"  #: calls whose events came long after they happened
    RECONCILED = "reconciled"  #: calls whose webhooks were lost, found in the portal's statistics
    CONFLICTING = "conflicting"  #: calls of which two facts disagree
    IMPLAUSIBLE = "implausible"  #: calls with a time that can't be: they count, and give no figure of time
    SET_ASIDE = "set_aside"  #: calls and agents that can't be computed from their events
    LAGGING = "lagging"  #: events are journalled, but not computed yet
    HIDDEN = "hidden"  #: missed customers with hidden numbers: nobody can call them back or match them


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One doubt, with its size."""

    doubt: Doubt
    count: int = 0
    source: str = ""
    begin: datetime | None = None
    end: datetime | None = None
    calls: tuple[str, ...] = ()  #: the first of those concerned


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The comparable period before, up to the same point of it where this one still goes on."""

    period: Span
    figures: FigureRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What was wanted, and whether it came. At least or at most, as the figure goes."""

    figure: str  #: name in the glossary
    queue: str  #: shown name; "" where it is not of one
    target: float
    at_least: bool
    value: Number
    agent: str = ""  #: shown name; "" where it is not of one
    is_growing: bool = False  #: a count of a period that goes on: there will be more of it

    @property
    def is_of_all(self) -> bool:
        return not (self.queue or self.agent)

    @property
    def is_reached(self) -> bool | None:
        """None where there was nothing to judge, or where it is not decided yet."""
        if self.value is None:
            return None
        if self.is_growing and (self.value < self.target if self.at_least else self.value <= self.target):
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamInterval:
    """A step of the period by the call centre's clock, and the handles of a team that began in it."""

    begin: datetime
    end: datetime
    handled: int
    answered: int
    made: int
    reached: int
    ring_no_answer: int
    talk_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamWork:
    """What a team did in the shift that is about it."""

    team: str  #: shown name
    whole: AgentLine  #: all its people as one; their states are of the whole time, whatever queue they served
    intervals: tuple[TeamInterval, ...]
    busiest: Peak | None  #: the interval in which it handled most
    queues: tuple[QueueLine, ...]  #: its handles in each queue; "" of those in none: direct and outbound calls
    #: Stays in the shift's queues, whoever took them; None of a shift that names none.
    in_queues: FigureRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one call added to the figures: so that a later summary can say which calls changed them."""

    call: str  #: source/call id
    facts: tuple[Mapping[str, Any], ...]  #: :meth:`callkpi.calls.facts.Fact.to_json`, with shown names


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One period, as it stood at ``as_of``.

    Of a shift about a team the headline, the agents and what it is compared with are the team's handles, and ``team``
    says more. Where such a shift names queues, too, all that is about customers (fates, reasons, intervals, peaks,
    queues, call-backs) is of these queues, whoever took the calls; else it is empty.
    """

    schema: int = SCHEMA
    tenant: str
    period: Span
    as_of: datetime  #: when it was computed, UTC
    #: What the headline counts: calls; queue entries where the period is about some queues, handles where about a team.
    counts: str
    figures: FigureRow  #: None is also what a handle has none of
    fates: Mapping[str, int]  #: missed calls by what became of their customers, at ``as_of``
    reasons: tuple[Reason, ...]  #: most first
    intervals: tuple[Interval, ...]
    busiest: Peak | None  #: the interval with most offered calls
    most_waiting: Peak | None  #: the instant at which most callers waited; None of long periods
    queues: tuple[QueueLine, ...]
    agents: tuple[AgentLine, ...]
    callbacks: tuple[CallBack, ...]  #: open ones first, oldest first; of long periods the open ones alone
    handover: HandOver
    notes: tuple[Note, ...]
    before: Before | None
    goals: tuple[Goal, ...]
    service_level_seconds: float | None = None  #: T where all queues share it
    service_level_formula: str = "default"  #: which calls the service level is a share of
    adherence: Adherence | None = None  #: None where no roster covers the period
    ledger: tuple[Counted, ...] | None = None  #: None of long periods: changes then name no calls
    team: TeamWork | None = None  #: None of what is about no team

    @property
    def of_customers(self) -> Summary | None:
        """What it tells of those who called: all, of a team's shift the part about its queues; None where it has none.

        Figures of the part are stays in these queues, whoever took them.
        """
        if self.team is None:
            return self
        figures = self.team.in_queues
        if figures is None:
            return None
        goals = tuple(goal for goal in self.goals if not goal.is_of_all)
        return replace(self, counts=ENTRIES, figures=figures, team=None, before=None, goals=goals)

    def goal_of(self, figure: str) -> Goal | None:
        """The goal that the figure has in the headline: of several the first one."""
        return next((goal for goal in self.goals if goal.figure == figure and goal.is_of_all), None)

    @property
    def has_begun(self) -> bool:
        return self.as_of >= self.period.begin

    @property
    def has_ended(self) -> bool:
        return self.as_of >= self.period.end

    @property
    def fingerprint(self) -> str:
        """Equal while the figures are: of everything that counts, and of nothing that time alone changes."""
        rows = [
            (*place, {name: None if value is None else round(float(value), 6) for name, value in row.items()})
            for place, row in sorted(_figures_of(self).items())
        ]
        told = (self.tenant, self.period.text, self.period.begin, self.period.end, rows)
        return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


# -- what has changed since -------------------------------------------------------------------------------


class Place(NamedTuple):
    """Whose figure it is."""

    grain: str  #: call, entry or handle
    name: str  #: shown queue of entries, shown agent of handles, "" of the headline


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A figure that is not what it was, and the calls that made it so."""

    place: Place
    figure: str
    old: Number
    new: Number
    calls: tuple[str, ...]  #: source/call id; empty where one of the summaries has no ledger


def changes(old: Summary, new: Summary) -> list[Change]:
    """Which figures of a period are not what they were, from what to what, because of which calls. Pure.

    Empty where the fingerprints are equal. What became of missed customers is no change: it goes on by itself.
    """
    before, after = _figures_of(old), _figures_of(new)
    moved = _moved(old, new)
    found = []
    for place in [*before, *(place for place in after if place not in before)]:
        was, now = before.get(place, {}), after.get(place, {})
        for figure in [*was, *(name for name in now if name not in was)]:
            if was.get(figure) != now.get(figure) and (was.get(figure) or now.get(figure)):
                calls = _because_of(place, figure, moved, new.service_level_formula)
                found.append(Change(place=place, figure=figure, old=was.get(figure), new=now.get(figure), calls=calls))
    return found


def is_renamed(old: Summary, new: Summary) -> bool:
    """Whether the same figures only bear other names: somebody called a queue or an agent something else. Pure."""
    return _nameless(old) == _nameless(new)


def _nameless(summary: Summary) -> Counter[tuple[str, tuple[tuple[str, Number], ...]]]:
    return Counter(
        (place.grain, tuple(sorted((name, round(float(value), 6)) for name, value in row.items() if value)))
        for place, row in _figures_of(summary).items()
    )


def _figures_of(summary: Summary) -> dict[Place, dict[str, Number]]:
    """Every figure that a correction can change: fates do as the day goes on, without any having been wrong."""
    headline = {CALLS: Grain.CALL, ENTRIES: Grain.ENTRY, HANDLES: Grain.HANDLE}[summary.counts]
    told = {Place(headline.value, ""): summary.figures}
    if summary.team is not None and summary.team.in_queues is not None:
        told[Place(Grain.ENTRY.value, "")] = summary.team.in_queues
    told |= {Place(Grain.ENTRY.value, line.queue): line.figures for line in summary.queues}
    told |= {Place(Grain.HANDLE.value, line.agent): line.figures for line in summary.agents}
    return {place: {k: v for k, v in row.items() if k not in FATES} for place, row in told.items()}


def _moved(old: Summary, new: Summary) -> dict[str, tuple[list[Fact], list[Fact]]]:
    """Calls whose facts are not the same: what is gone, and what has come."""
    if old.ledger is None or new.ledger is None:
        return {}
    before = {counted.call: counted.facts for counted in old.ledger}
    after = {counted.call: counted.facts for counted in new.ledger}
    return {
        call: (
            [Fact.from_json(raw) for raw in before.get(call, ())],
            [Fact.from_json(raw) for raw in after.get(call, ())],
        )
        for call in sorted({*before, *after})
        if before.get(call) != after.get(call)
    }


def _because_of(
    place: Place, figure: str, moved: Mapping[str, tuple[Sequence[Fact], Sequence[Fact]]], formula: str
) -> tuple[str, ...]:
    """The calls whose weight in a figure is another one."""
    if figure not in FIGURES:
        return ()

    def weighed(facts: Iterable[Fact]) -> Counter[Weight]:
        weights = (weigh(figure, fact, ServiceLevelFormula(formula)) for fact in facts if _lies_in(fact, place))
        return Counter(weight for weight in weights if weight != NOTHING)

    return tuple(call for call, (gone, come) in moved.items() if weighed(gone) != weighed(come))


def _lies_in(fact: Fact, place: Place) -> bool:
    grain, name = place
    return fact.key.grain == grain and name in ("", fact.key.agent if grain == Grain.HANDLE else fact.key.queue)


# -- as data, and back -------------------------------------------------------------------------------------


def to_data(summary: Summary, *, ledger: bool = True) -> dict[str, Any]:
    """The summary as JSON data with its fingerprint; datetimes as ISO 8601 in UTC. Holds whole numbers of customers.

    Without its *ledger* it is small, but :func:`changes` can then name no calls.
    """
    shown = summary if ledger else replace(summary, ledger=None)
    data: dict[str, Any] = _plain(shown)
    return {**data, "fingerprint": summary.fingerprint}


def from_data(data: Mapping[str, Any]) -> Summary:
    """The summary of :func:`to_data`. Keys that this version does not know are left out. Raises ValueError."""
    if data.get("schema") != SCHEMA:
        raise ValueError(f"a summary of schema {data.get('schema')!r}; this version reads {SCHEMA}")
    summary: Summary = _revive(Summary, data)
    return summary


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


def _plain(value: Any) -> Any:
    """As JSON has it. Not by asdict, which copies each value: a shift has thousands of customers."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    kind: Any = type(value)
    if names := _field_names(kind):
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value


_T = TypeVar("_T")


def _revive(kind: Any, value: Any) -> Any:
    """*value* of JSON as *kind*, by the annotations of the classes above."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        chosen = [each for each in arguments if each is not type(None)]
        return None if value is None else _revive(chosen[0], value) if len(chosen) == 1 else value
    if origin is tuple:
        return tuple(_revive(arguments[0], item) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {each.name for each in fields(kind)}
        return kind(**{name: _revive(hints[name], item) for name, item in value.items() if name in known})
    if kind is datetime:
        return datetime.fromisoformat(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    return value
