"""The KPIs: what one call contributes (facts), and every formula of the glossary, each once. Pure, no I/O.

Definitions: the handbook's page of numbers. A fact belongs to one grain. A call counts once as ``CALL``; once for each
stay in a queue as ``ENTRY`` (one that met no queue is an entry without a queue, once it is answered or over); and once
for each ring or conversation of an agent as ``HANDLE``. Rollups, counters, reports and checks are sums of facts and of
nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from callkpi.calls.fold import Thresholds
from callkpi.calls.model import MISSED_OUTCOMES, Call, Direction, Entry, Leg, LegEnd, Outcome

#: Rollups are kept per quarter of an hour, counted from midnight UTC.
INTERVAL = timedelta(minutes=15)
_INTERVAL_SECONDS = 900

#: Upper bounds of histogram buckets in seconds: the numbers that people set targets on.
WAIT_BOUNDS = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
TALK_BOUNDS = (5, 10, 30, 60, 120, 180, 300, 600, 900, 1800, 3600)

#: Histograms: the measure that counts, the one that sums, the bounds.
HISTOGRAMS: Mapping[str, tuple[str, str, Sequence[int]]] = {
    "wait": ("waits", "wait_ms", WAIT_BOUNDS),
    "talk": ("talks", "talk_ms", TALK_BOUNDS),
    "hold": ("holds", "hold_ms", TALK_BOUNDS),
    "wrap": ("wraps", "wrap_ms", TALK_BOUNDS),
}

#: Additive measures: the columns of table rollups.
MEASURES = (
    "contacts", "offered", "queued", "rung", "answered", "talked", "handled", "missed",
    "made", "reached", "not_reached", "within_sl", "abandoned_within", "ring_no_answer", "transferred",
    "waits", "wait_ms", "waits_answered", "wait_answered_ms",
    "talks", "talk_ms", "holds", "hold_ms", "hold_in_talk_ms", "wraps", "wrap_ms",
)  # fmt: skip


#: In the facts of a call whose times can't be believed, and in no sum: it is counted for Prometheus, and waits of
#: nobody knows how long are none.
DOUBTED = "implausible_time"


class Grain(StrEnum):
    CALL = "call"
    ENTRY = "entry"
    HANDLE = "handle"


class Key(NamedTuple):
    """The dimensions of a fact and of a rollup row, within a tenant."""

    grain: str
    at: datetime  #: of a fact: its own time; of a rollup row: the begin of its quarter of an hour
    queue: str
    agent: str  #: with its source, see :func:`callkpi.calls.model.agent_key`
    line: str
    direction: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Fact:
    """What one call adds to one row of one grain."""

    key: Key
    measures: Mapping[str, int]

    @property
    def bin(self) -> Key:
        return self.key._replace(at=quarter(self.key.at))

    @property
    def longest_wait_ms(self) -> int:
        """Its wait as a candidate for the longest; a call that goes on is none: it soon counts in another row."""
        return 0 if self.key.outcome == Outcome.OPEN else self.measures.get("wait_ms", 0)

    def to_json(self) -> dict[str, Any]:
        return {**self.key._asdict(), "m": self.measures}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Fact:
        at = datetime.fromisoformat(raw["at"])
        return cls(
            Key(raw["grain"], at, raw["queue"], raw["agent"], raw["line"], raw["direction"], raw["outcome"]),
            raw["m"],
        )


def quarter(at: datetime) -> datetime:
    """The begin of the quarter of an hour that *at* lies in."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % _INTERVAL_SECONDS, UTC)


# -- what a call contributes ------------------------------------------------------------------------------


def facts(call: Call, limits: Thresholds) -> tuple[Fact, ...]:
    """Everything that *call* adds to the KPIs."""
    whole = _call_fact(call, limits)
    if call.entries:
        entries = [
            _entry_fact(call, entry, [leg for leg in call.legs if leg.entry == index], limits)
            for index, entry in enumerate(call.entries)
        ]
    elif call.ended_at is None and not call.answered:
        # It may still enter a queue: counted without one now, it would have to be taken back then.
        entries = []
    else:
        entries = [Fact(Key(Grain.ENTRY.value, *whole.key[1:]), whole.measures)]
    return (whole, *entries, *_handle_facts(call))


def is_offered(call: Call) -> bool:
    """Whether the call wanted an agent: inbound, and not after hours."""
    return call.direction is Direction.INBOUND and call.outcome is not Outcome.AFTER_HOURS


def _call_fact(call: Call, limits: Thresholds) -> Fact:
    answered = call.answered
    measures = {"contacts": 1}
    _count_ends(measures, call, call.outcome, offered=is_offered(call), answered=answered)
    if call.direction is Direction.OUTBOUND:
        over = call.outcome not in (Outcome.OPEN, Outcome.EXPIRED)
        measures.update(made=1, reached=int(answered), not_reached=int(over and not answered))
    measures.update(_stages(call, limits))
    measures[DOUBTED] = int(not call.has_times)
    queue = call.entries[0].queue if call.entries else ""
    _count_wait(measures, call.wait_ms, call.outcome, limits, queue, answered=answered)
    if not call.is_open:
        _count_times(measures, call)
    direction, outcome = call.direction.value, call.outcome.value
    return Fact(Key(Grain.CALL.value, call.started_at, "", "", call.line, direction, outcome), _compact(measures))


def _entry_fact(call: Call, entry: Entry, legs: Sequence[Leg], limits: Thresholds) -> Fact:
    outcome = _entry_outcome(call, entry, legs)
    measures = {"contacts": 1, "queued": 1, "rung": int(entry.rung or entry.answered)}
    offered = call.direction is Direction.INBOUND and outcome is not Outcome.AFTER_HOURS
    _count_ends(measures, call, outcome, offered=offered, answered=entry.answered)
    measures[DOUBTED] = int(not call.has_times)
    _count_wait(measures, entry.wait_ms, outcome, limits, entry.queue, answered=entry.answered)
    handled = [leg for leg in legs if leg.end is LegEnd.ANSWERED]
    measures["talked"] = int(entry.answered and _sum(leg.talk_ms for leg in handled) >= limits.talked_ms)
    if outcome is not Outcome.OPEN:
        for leg in handled[:1]:
            _count_times(measures, leg)
        for leg in handled[1:]:
            _add_times(measures, leg)
        measures["transferred"] = int(any(leg.transferred for leg in handled))
    place = (entry.queue, "", call.line, call.direction.value, outcome.value)
    return Fact(Key(Grain.ENTRY.value, entry.entered_at, *place), _compact(measures))


def _entry_outcome(call: Call, entry: Entry, legs: Sequence[Leg]) -> Outcome:
    """An entry that was answered stays open until its conversation ends; the whole call may say more."""
    if entry.outcome is Outcome.ANSWERED:
        return Outcome.OPEN if call.is_open and any(leg.is_open for leg in legs) else Outcome.ANSWERED
    if entry.outcome is Outcome.OPEN and call.outcome is Outcome.EXPIRED:
        return Outcome.EXPIRED
    return Outcome.AFTER_HOURS if call.outcome is Outcome.AFTER_HOURS else entry.outcome


def _handle_facts(call: Call) -> Iterator[Fact]:
    """Rings and conversations of agents with customers: talks among colleagues and announcements are no handles.

    A leg of a queue is one whatever its call is: an agent who is logged in by a call of his own talks in that call.
    """
    for leg in call.legs:
        if not leg.agent or leg.began_at is None or leg.end is LegEnd.CANCELLED:
            continue
        if call.direction not in _HANDLED_DIRECTIONS and not leg.queue:
            continue
        taken = leg.answered_at is not None
        # Of a call back that waits in a queue, the one who takes it made it; a colleague let a ring pass.
        outbound = call.direction is Direction.OUTBOUND and (taken or not leg.queue)
        measures = {
            "contacts": 1,
            "made": int(outbound),
            "reached": int(outbound and taken),
            "not_reached": int(outbound and not taken and leg.end is not None),
            "answered": int(taken and call.direction is Direction.INBOUND),
            "handled": int(taken and leg.end is LegEnd.ANSWERED),
            "ring_no_answer": int(leg.end is LegEnd.NO_ANSWER and not outbound),
            "transferred": int(leg.transferred),
        }
        if leg.end is LegEnd.ANSWERED:
            _count_times(measures, leg)
        outcome = leg.end.value if leg.end else Outcome.OPEN.value
        place = (leg.queue, call.agent_of(leg), call.line, call.direction.value, outcome)
        yield Fact(Key(Grain.HANDLE.value, leg.began_at, *place), _compact(measures))


_HANDLED_DIRECTIONS = (Direction.INBOUND, Direction.OUTBOUND)


def _count_ends(measures: dict[str, int], call: Call, outcome: Outcome, *, offered: bool, answered: bool) -> None:
    measures["offered"] = int(offered)
    measures["answered"] = int(offered and answered)
    measures["missed"] = int(offered and outcome in MISSED_OUTCOMES)
    measures["handled"] = int(outcome is Outcome.ANSWERED and call.direction in _HANDLED_DIRECTIONS)


def _count_wait(
    measures: dict[str, int], wait_ms: int | None, outcome: Outcome, limits: Thresholds, queue: str, *, answered: bool
) -> None:
    if wait_ms is None or not measures["offered"]:
        return
    within = wait_ms <= limits.service_level_ms(queue)
    measures["waits"] = 1
    measures["wait_ms"] = wait_ms
    if answered:
        measures.update(waits_answered=1, wait_answered_ms=wait_ms, within_sl=int(within))
    elif outcome is Outcome.ABANDONED:
        measures["abandoned_within"] = int(within)


_TIMES = (("talk_ms", "talks"), ("hold_ms", "holds"), ("wrap_ms", "wraps"))


def _count_times(measures: dict[str, int], told: Call | Leg) -> None:
    for name, counted in _TIMES:
        value = getattr(told, name)
        if value is not None:
            measures[counted] = 1
            measures[name] = value
    measures["hold_in_talk_ms"] = told.hold_in_talk_ms


def _add_times(measures: dict[str, int], leg: Leg) -> None:
    for name, _ in _TIMES:
        measures[name] = measures.get(name, 0) + (getattr(leg, name) or 0)
    measures["hold_in_talk_ms"] = measures.get("hold_in_talk_ms", 0) + leg.hold_in_talk_ms


def _stages(call: Call, limits: Thresholds) -> dict[str, int]:
    """Stages of the funnel, each a subset of the one before: a phone that rings without a queue was queued too."""
    if not is_offered(call):
        return {}
    answered = call.answered
    rung = answered or call.rung_at is not None
    talked = answered and (call.talk_ms or 0) >= limits.talked_ms
    return {"queued": int(rung or bool(call.entries)), "rung": int(rung), "talked": int(talked)}


def _compact(measures: Mapping[str, int]) -> dict[str, int]:
    """Without zeros."""
    return {name: value for name, value in measures.items() if value}


def _sum(values: Iterable[int | None]) -> int:
    return sum(value for value in values if value is not None)


def waits(told: Iterable[Fact]) -> dict[tuple[datetime, str], int | None]:
    """How long a caller waited for an agent, in ms, by when he began to and in which queue; None while he waits.

    *told* are the facts of one call. A wait of which nobody knows how long it was is none.
    """
    by_grain: dict[str, list[Fact]] = {Grain.CALL.value: [], Grain.ENTRY.value: [], Grain.HANDLE.value: []}
    for fact in told:
        by_grain[fact.key.grain].append(fact)
    found: dict[tuple[datetime, str], int | None] = {}
    for fact in by_grain[Grain.ENTRY] or by_grain[Grain.CALL]:
        measures, place = fact.measures, (fact.key.at, fact.key.queue)
        if not measures.get("offered") or measures.get(DOUBTED):
            continue
        if measures.get("waits"):
            known = found.get(place, 0)
            found[place] = None if known is None else max(known, measures.get("wait_ms", 0))
        elif fact.key.outcome == Outcome.OPEN and not measures.get("answered"):
            found[place] = None
    return found


# -- sums of facts ----------------------------------------------------------------------------------------


def bucket(bounds: Sequence[int], milliseconds: int) -> int:
    """Index of the histogram bucket (the first bound that is not below the value; the last one is +Inf)."""
    return bisect_left(bounds, milliseconds / 1000)


@dataclass(slots=True)
class Row:
    """A sum of facts (or a difference of sums): one rollup row's worth."""

    measures: dict[str, int] = field(default_factory=dict)
    buckets: dict[str, dict[int, int]] = field(default_factory=dict)
    longest_wait_ms: int = 0
    #: A fact was taken away whose wait may have been the row's longest.
    lost_wait_ms: int = 0

    def add(self, fact: Fact, sign: int = 1) -> None:
        told, sums = fact.measures, self.measures
        for name, value in told.items():
            sums[name] = sums.get(name, 0) + sign * value
        for name, (count, total, bounds) in HISTOGRAMS.items():
            if count in told:
                _count_in(self.buckets.setdefault(name, {}), bucket(bounds, told.get(total, 0)), sign)
        if sign > 0:
            self.longest_wait_ms = max(self.longest_wait_ms, fact.longest_wait_ms)
        else:
            self.lost_wait_ms = max(self.lost_wait_ms, fact.longest_wait_ms)

    @property
    def is_empty(self) -> bool:
        return not any(self.measures.values()) and not any(any(b.values()) for b in self.buckets.values())

    def to_json(self) -> dict[str, Any]:
        """As a row of table rollups, without its key."""
        row: dict[str, Any] = {name: self.measures.get(name, 0) for name in MEASURES}
        row["longest_wait_ms"] = self.longest_wait_ms
        for name, (_, _, bounds) in HISTOGRAMS.items():
            counted = self.buckets.get(name)
            told = counted is not None and any(counted.values())
            row[f"{name}_buckets"] = [counted.get(i, 0) for i in range(len(bounds) + 1)] if counted and told else []
        return row


def _count_in(counts: dict[int, int], index: int, amount: int) -> None:
    counts[index] = counts.get(index, 0) + amount


def changed(old: Sequence[Fact], new: Sequence[Fact]) -> tuple[list[Fact], list[Fact]]:
    """The facts that are gone and those that have come; what is in both cancels out."""
    come, gone = list(new), []
    for fact in old:
        try:
            come.remove(fact)
        except ValueError:
            gone.append(fact)
    return gone, come


# -- counters for Prometheus ------------------------------------------------------------------------------


# -- figures: the formulas of the glossary ----------------------------------------------------------------
