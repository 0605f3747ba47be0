"""Which calls of several sources are one call, and that call: pure, no I/O.

A PBX and a CRM tell of the same call under different ids. Each source's own call is a *side*; sides that are one call
become a *union*. What is one is decided from the set of sides alone, so it does not depend on what came first, and a
later event that changes a side decides anew.

Two sides of different sources may be one, strongest reason first:

* ``id``: one names an id that the other is known by (a connector writes the PBX's Uniqueid into EXTERNAL_CALL_ID, a
  native event is ``linked`` to ``source/call id``), and they begin within a day of each other.
* ``number``: same customer, same direction, and either both go on at one time, or they begin (or a conversation is
  registered after its end) within ``within_seconds`` and agree in everything that both know: outcome, talk time, and
  line and agent where the configuration names both. A hidden number, an extension or a short code matches nothing,
  nor does a number that calls more often than :data:`BUSY_CALLS` times an hour.

Each side gets at most one partner in each other source: those that agree first, then the nearest. Where two partners
are equally good none is taken, and all concerned are flagged: a doubt is told, not guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from callkpi import config
from callkpi.calls.model import IMPLAUSIBLE_TIME, Call, CallEvent, Direction, Kind, Outcome, Twin, millis
from callkpi.people.people import People

#: Calls that begin further apart are not one: by their number, and by an id (which some systems use again).
NUMBER_APART, ID_APART = timedelta(hours=1), timedelta(days=1)
#: Two clocks that are both set right, and times in whole seconds, differ by no more than this.
CLOCKS_DIFFER = timedelta(seconds=5)
#: A number with more calls (of all sources together) in one clock hour is somebody's trunk, not one customer.
BUSY_CALLS = 40
HOUR = timedelta(hours=1)
#: Talk times of one conversation differ by no more than this, or this part of the longer one.
TALK_SLACK_MS, TALK_SLACK = 5000, 0.1
_SHORTEST_NUMBER = 7

#: Flag of a call that could be part of more than one.
AMBIGUOUS = "ambiguous_same_call"


class Key(NamedTuple):
    """A side's place within its tenant."""

    source: str
    call_id: str


@dataclass(frozen=True, slots=True)
class Side:
    """One call as one source tells of it, and the ids that tie it to others."""

    call: Call
    ids: frozenset[str] = frozenset()  #: by which others may know it
    refs: frozenset[str] = frozenset()  #: ids of others that it names: an id, or source/id

    @property
    def key(self) -> Key:
        return Key(self.call.source, self.call.call_id)

    @property
    def number(self) -> str:
        """What it is matched by; "" where that says nothing of who it is."""
        customer = self.call.customer
        digits = customer.removeprefix("+")
        return customer if len(digits) >= _SHORTEST_NUMBER and digits.isdigit() else ""

    @property
    def names(self) -> frozenset[str]:
        """Every form in which another side may name it."""
        return self.ids | {f"{self.call.source}/{name}" for name in self.ids}

    @property
    def wanted(self) -> frozenset[str]:
        """Ids, without their source, of the sides that it names."""
        return self.refs | {ref.partition("/")[2] for ref in self.refs if "/" in ref}


@dataclass(frozen=True, slots=True)
class Rule:
    """The settings of one tenant, as the matching reads them."""

    tenant: config.Tenant
    people: People = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "people", People(self.tenant))

    @property
    def sources(self) -> tuple[str, ...]:
        return self.tenant.same_call.sources

    @property
    def within(self) -> timedelta:
        return timedelta(seconds=self.tenant.same_call.within_seconds)

    @property
    def by_id(self) -> bool:
        return "id" in self.tenant.same_call.by

    @property
    def by_number(self) -> bool:
        return "number" in self.tenant.same_call.by


def rules(settings: config.Settings) -> dict[str, Rule]:
    """The rules of the tenants that have one."""
    return {name: Rule(tenant) for name, tenant in settings.tenants.items() if tenant.same_call.is_on}


@dataclass(frozen=True, slots=True)
class Union:
    """Sides that are one call, the leading one first; a side alone is a union, too."""

    lead: Side
    others: tuple[tuple[Side, str], ...] = ()  #: with the rule by which each is part of it
    ambiguous: frozenset[Key] = frozenset()  #: sides that had several equally good partners

    @property
    def sides(self) -> list[Side]:
        return [self.lead, *(side for side, _ in self.others)]


def side_of(call: Call, events: Sequence[CallEvent], known_as: Iterable[str], rule: Rule) -> Side:
    """A source's own call with what ties it to others: its events' links to other sources, and its custom fields."""
    linked = {e.linked_to for e in events if e.kind is Kind.LINKED and is_foreign(e.linked_to, call.source, rule)}
    told = {call.fields[name] for name in rule.tenant.same_call.id_fields if call.fields.get(name)}
    return Side(call, frozenset({call.call_id, *known_as}), frozenset(linked | told))


def is_foreign(linked_to: str, source: str, rule: Rule) -> bool:
    """Whether a link goes to a call of another source: ``source/call id``."""
    other = linked_to.partition("/")[0]
    return "/" in linked_to and other != source and other in rule.sources


# -- how alike two sides are ------------------------------------------------------------------------------

#: id before number; agreement; seconds apart at the nearer of begin and end, and at both together; of line and agent,
#: how many are the same.
Rank = tuple[int, int, int, int, int]
_BY = ("id", "number")
_AGREE, _CANT_TELL, _DIFFER = range(3)


def likeness(one: Side, other: Side, rule: Rule, busy: Callable[[Side], bool]) -> Rank | None:
    """How good a pair the two are, the less the better; None where they can't be one call."""
    a, b = one.call, other.call
    apart = abs(a.started_at - b.started_at)
    if rule.by_id and apart <= ID_APART and _names(one, other) and _is_call(a) and _is_call(b):
        strength = 0
    elif (
        rule.by_number
        and apart <= NUMBER_APART
        and one.number
        and one.number == other.number
        and _class(a)
        and _class(a) == _class(b)
        and (_at_one_time(a, b, rule) or _near_and_agreed(a, b, rule))
        and not busy(one)
        and not busy(other)
    ):
        strength = 1
    else:
        return None
    same = sum(1 for known in _known(a, b, rule) if known)
    return strength, _agreement(a, b), *_seconds_apart(a, b), -same


def may_be_one(one: Side, other: Side, rule: Rule) -> bool:
    """Whether they could be a pair if their number were not a busy one."""
    return likeness(one, other, rule, lambda _side: False) is not None


def _names(one: Side, other: Side) -> bool:
    return not one.refs.isdisjoint(other.names) or not other.refs.isdisjoint(one.names)


def _is_call(call: Call) -> bool:
    """A form on a site is no call: the call that answers it is another contact."""
    return call.direction is not Direction.REQUEST


def _class(call: Call) -> str:
    """Whom the number belongs to: a PBX does not know an announcement from an agent's call."""
    if call.direction is Direction.INBOUND:
        return "in"
    return "out" if call.direction in (Direction.OUTBOUND, Direction.AUTO) else ""


def _end(call: Call) -> datetime:
    return call.ended_at or call.last_event_at


def _at_one_time(a: Call, b: Call, rule: Rule) -> bool:
    slack = min(CLOCKS_DIFFER, rule.within)
    (a_begin, a_end), (b_begin, b_end) = _span(a, rule), _span(b, rule)
    return a_begin <= b_end + slack and b_begin <= a_end + slack


def _span(call: Call, rule: Rule) -> tuple[datetime, datetime]:
    """From its begin to its end; of a call that goes on, a while beyond what was last heard of it."""
    end = call.ended_at or call.last_event_at + rule.within
    return call.started_at, max(end, call.started_at)


def _near_and_agreed(a: Call, b: Call, rule: Rule) -> bool:
    if _agreement(a, b) is not _AGREE or any(known is False for known in _known(a, b, rule)):
        return False
    if abs(a.started_at - b.started_at) <= rule.within:
        return True
    earlier, later = (a, b) if a.started_at <= b.started_at else (b, a)
    talked = earlier.talk_ms is not None and later.talk_ms is not None
    return talked and _talks_agree(a, b) and later.started_at - _end(earlier) <= rule.within


def _agreement(a: Call, b: Call) -> int:
    if a.ended_at is None or b.ended_at is None:
        return _CANT_TELL
    if a.answered != b.answered:
        return _DIFFER
    return _AGREE if _talks_agree(a, b) else _CANT_TELL


def _talks_agree(a: Call, b: Call) -> bool:
    """Some connectors tell the whole call's length as its talk: between the two is agreement as well."""
    if a.talk_ms is None or b.talk_ms is None:
        return True
    slack = max(TALK_SLACK_MS, round(TALK_SLACK * max(a.talk_ms, b.talk_ms)))
    return any(
        one.talk_ms - slack <= other.talk_ms <= max(one.talk_ms, millis(_end(one), one.started_at)) + slack
        for one, other in ((a, b), (b, a))
        if one.talk_ms is not None and other.talk_ms is not None
    )


def _seconds_apart(a: Call, b: Call) -> tuple[int, int]:
    """At the nearer of begin and end, and at both together.

    One of the two is true as a rule: who registers a call late knows its begin, who registers it when a phone rings or
    somebody answers tells its end in time. An end that one does not tell, or that is no more than the begin, says
    nothing.
    """
    begins = min(
        abs(at - other.started_at)
        for one, other in ((a, b), (b, a))
        for at in (one.started_at, one.rung_at, one.answered_at)
        if at is not None
    )
    gaps = [begins.total_seconds()]
    if all(call.ended_at is not None and call.ended_at > call.started_at for call in (a, b)):
        gaps.append(abs(_end(a) - _end(b)).total_seconds())
    return int(min(gaps)), int(sum(gaps))


def _known(a: Call, b: Call, rule: Rule) -> Iterator[bool | None]:
    """Of line and agent: the same, not the same, or None where the configuration does not name both."""
    lines = rule.tenant.lines
    yield _same({lines[c.line].name for c in (a,) if c.line in lines},
                {lines[c.line].name for c in (b,) if c.line in lines})  # fmt: skip
    yield _same(_people(a, rule), _people(b, rule))


def _people(call: Call, rule: Rule) -> set[str]:
    return {rule.people.name(call.agent_of(leg)) for leg in call.legs if leg.answered_at and leg.agent}


def _same(one: Collection[str], other: Collection[str]) -> bool | None:
    known_one, known_other = set(one) - {""}, set(other) - {""}
    return not known_one.isdisjoint(known_other) if known_one and known_other else None


# -- who is one with whom ---------------------------------------------------------------------------------


def busy_hours(sides: Iterable[Side]) -> set[tuple[str, datetime]]:
    """Numbers with the clock hours in which they call too often to be one customer."""
    counts = Counter((side.number, hour_of(side)) for side in sides if side.number)
    return {place for place, count in counts.items() if count > BUSY_CALLS}


def hour_of(side: Side) -> datetime:
    return side.call.started_at.replace(minute=0, second=0, microsecond=0)


def match(sides: Iterable[Side], rule: Rule, busy: Collection[tuple[str, datetime]] = frozenset()) -> list[Union]:
    """The sides as unions. *busy*: see :func:`busy_hours`."""
    by_source: dict[str, list[Side]] = defaultdict(list)
    for side in sorted(sides, key=lambda s: s.key):
        by_source[side.call.source].append(side)

    def is_busy(side: Side) -> bool:
        return (side.number, hour_of(side)) in busy

    unions: list[Union] = []
    for source in rule.sources:
        unions = _joined(unions, by_source.pop(source, []), rule, is_busy)
    # What a source that the rule does not name any longer told before stands alone.
    return unions + [Union(side) for alone in by_source.values() for side in alone]


class _Edge(NamedTuple):
    rank: Rank
    union: int
    side: int


def _joined(unions: Sequence[Union], sides: Sequence[Side], rule: Rule, is_busy: Callable[[Side], bool]) -> list[Union]:
    """The unions so far and the sides of one more source, each with its partner."""
    pairs, doubtful_unions, doubtful_sides = _paired(_edges(unions, sides, rule, is_busy))
    result = []
    for number, union in enumerate(unions):
        if number in doubtful_unions:
            union = replace(union, ambiguous=union.ambiguous | {union.lead.key})
        if number in pairs:
            edge = pairs[number]
            union = replace(union, others=(*union.others, (sides[edge.side], _BY[edge.rank[0]])))
        result.append(union)
    taken = {edge.side for edge in pairs.values()}
    for number, side in enumerate(sides):
        if number not in taken:
            result.append(Union(side, ambiguous=frozenset({side.key} if number in doubtful_sides else ())))
    return result


def _edges(
    unions: Sequence[Union], sides: Sequence[Side], rule: Rule, is_busy: Callable[[Side], bool]
) -> Iterator[_Edge]:
    index = _Index(sides)
    for number, union in enumerate(unions):
        best: dict[int, Rank] = {}
        for member in union.sides:
            for other in index.candidates(member):
                rank = likeness(member, sides[other], rule, is_busy)
                if rank is not None and (other not in best or rank < best[other]):
                    best[other] = rank
        yield from (_Edge(rank, number, other) for other, rank in best.items())


class _Index:
    """Sides by what a partner may find them by."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._places: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, side in enumerate(sides):
            for place in _places(side):
                self._places[place].append(number)

    def candidates(self, side: Side) -> set[int]:
        wanted = [("number", side.number)] if side.number else []
        wanted += [("name", ref) for ref in side.refs] + [("ref", name) for name in side.names]
        return {number for place in wanted for number in self._places.get(place, ())}


def _places(side: Side) -> Iterator[tuple[str, str]]:
    if side.number:
        yield "number", side.number
    yield from (("name", name) for name in side.names)
    yield from (("ref", ref) for ref in side.refs)


def _paired(edges: Iterable[_Edge]) -> tuple[dict[int, _Edge], set[int], set[int]]:
    """One partner each, the best pairs first; and those that stay alone because two were equally good."""
    pairs: dict[int, _Edge] = {}
    taken, doubtful_unions, doubtful_sides = set[int](), set[int](), set[int]()
    by_rank: dict[Rank, list[_Edge]] = defaultdict(list)
    for edge in edges:
        by_rank[edge.rank].append(edge)
    for rank in sorted(by_rank):
        free = [
            edge for edge in by_rank[rank]
            if edge.union not in pairs and edge.union not in doubtful_unions
            and edge.side not in taken and edge.side not in doubtful_sides
        ]  # fmt: skip
        of_union, of_side = Counter(e.union for e in free), Counter(e.side for e in free)
        for edge in free:
            if of_union[edge.union] > 1 or of_side[edge.side] > 1:
                doubtful_unions.add(edge.union)
                doubtful_sides.add(edge.side)
            else:
                pairs[edge.union] = edge
                taken.add(edge.side)
    return pairs, doubtful_unions, doubtful_sides


# -- the call that they are -------------------------------------------------------------------------------


def unite(union: Union, rule: Rule) -> Call:
    """The call that the sides are: the leading one's facts, and from the others what it does not know."""
    call = union.lead.call
    flags = [AMBIGUOUS] if union.ambiguous else []
    if not union.others:
        return replace(call, flags=(*call.flags, *flags)) if flags else call
    twins = []
    for side, by in union.others:
        flags += [flag for flag in _conflicts(union.lead.call, side.call, rule) if flag not in flags]
        call = _enriched(call, side.call)
        twins.append(_twin(side.call, by))
    return replace(call, flags=(*call.flags, *(f for f in flags if f not in call.flags)), twins=tuple(twins))


def _twin(call: Call, rule: str) -> Twin:
    agents = tuple(dict.fromkeys(leg.agent for leg in call.legs if leg.agent and leg.answered_at))
    outcome = Outcome.OPEN if call.outcome is Outcome.EXPIRED else call.outcome
    return Twin(
        source=call.source, call_id=call.call_id, rule=rule, started_at=call.started_at, outcome=outcome,
        talk_ms=call.talk_ms, line=call.line, agents=agents,
    )  # fmt: skip


def _enriched(call: Call, other: Call) -> Call:
    if call.outcome is Outcome.EXPIRED and other.ended_at is not None:
        # The leading source lost the end, and the other one has it.
        call = replace(
            other, source=call.source, call_id=call.call_id, started_at=call.started_at, direction=call.direction,
            customer=call.customer, line=call.line, rating=call.rating, crm=call.crm, fields=call.fields,
            flags=_flags(call, other), legs=tuple(replace(leg, agent_source=other.source) for leg in other.legs),
        )  # fmt: skip
    legs = call.legs
    unknown = [leg for leg in legs if leg.answered_at and not leg.agent]
    agents = {leg.agent for leg in other.legs if leg.answered_at and leg.agent}
    if len(unknown) == 1 and len(agents) == 1:
        named = replace(unknown[0], agent=agents.pop(), agent_source=other.source)
        legs = tuple(named if leg is unknown[0] else leg for leg in legs)
    return replace(
        call,
        direction=_direction(call, other),
        customer=call.customer or other.customer,
        line=call.line or other.line,
        rating=other.rating if call.rating is None else call.rating,
        crm=dict(sorted({**other.crm, **call.crm}.items())),
        fields=dict(sorted({**other.fields, **call.fields}.items())),
        legs=legs,
    )


def _flags(call: Call, other: Call) -> tuple[str, ...]:
    """The call's own; and that its times can't be, where they are those of the other one."""
    return call.flags if other.has_times or not call.has_times else (*call.flags, IMPLAUSIBLE_TIME)


def _direction(call: Call, other: Call) -> Direction:
    if call.direction is Direction.UNKNOWN:
        return other.direction
    is_announcement = call.direction is Direction.OUTBOUND and other.direction is Direction.AUTO
    return Direction.AUTO if is_announcement else call.direction


def _conflicts(lead: Call, other: Call, rule: Rule) -> Iterator[str]:
    if lead.customer and other.customer and lead.customer != other.customer:
        yield "conflicting_customer"
    if lead.ended_at is not None and other.ended_at is not None:
        if lead.answered != other.answered:
            yield "conflicting_outcome"
        elif lead.answered and not _talks_agree(lead, other):
            yield "conflicting_talk"
    if _same(_people(lead, rule), _people(other, rule)) is False:
        yield "conflicting_agent"
