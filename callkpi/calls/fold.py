"""A call is the fold of its events; a missed customer's fate is the fold of his calls. Pure, no I/O.

The fold reads events in one order (:attr:`CallEvent.order`) and drops repetitions by ``event_id``, so any
permutation and duplication of the same events gives the same call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls import plausible
from callkpi.calls.model import (
    LONGEST_MS,
    MISSED_OUTCOMES,
    UNHEARD,
    UNREADABLE,
    Call,
    CallEvent,
    Direction,
    Entry,
    Kind,
    Leg,
    LegEnd,
    Outcome,
    millis,
)
from callkpi.calls.phone import normalise

#: Outcomes that say that nobody answered although the caller stayed; after-hours calls replace them.
_UNANSWERED = MISSED_OUTCOMES | {Outcome.EXITED}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the fold needs to know of one tenant."""

    tenant: config.Tenant
    knows_times: bool = True  #: whether the call's times can be believed

    def short_abandon_ms(self, queue: str) -> int:
        if not self.knows_times:
            return 0
        setting = self.tenant.queues.get(queue)
        own = setting.short_abandon_seconds if setting else None
        return round(1000 * (self.tenant.short_abandon_seconds if own is None else own))

    def service_level_ms(self, queue: str) -> int:
        setting = self.tenant.queues.get(queue)
        own = setting.service_level_seconds if setting else None
        return round(1000 * (self.tenant.service_level_seconds if own is None else own))

    @property
    def talked_ms(self) -> int:
        return round(1000 * self.tenant.talked_seconds)

    @property
    def bounds(self) -> plausible.Bounds:
        return plausible.Bounds.of(self.tenant)

    @property
    def expire_after(self) -> timedelta:
        return timedelta(hours=self.tenant.expire_after_hours)


class _Leg:
    """A leg while it is being folded."""

    __slots__ = ("agent", "answer_time_known", "answered_at", "end", "ended_at", "ended_by", "entry", "held_at",
                 "hold_ms", "holds", "queue", "ring_ms", "rung_at", "talk_ms", "talk_with_hold", "transferred",
                 "wrap_ms")  # fmt: skip

    def __init__(self, agent: str, queue: str, entry: _Entry | None) -> None:
        self.agent, self.queue, self.entry = agent, queue, entry
        self.rung_at: datetime | None = None
        self.answered_at: datetime | None = None
        self.answer_time_known = True
        self.ended_at: datetime | None = None
        self.held_at: datetime | None = None
        self.holds: list[tuple[datetime, datetime | None]] = []
        self.end: LegEnd | None = None
        self.ring_ms: int | None = None
        self.talk_ms: int | None = None
        self.hold_ms: int | None = None
        self.wrap_ms: int | None = None
        self.talk_with_hold = False
        self.transferred = False
        self.ended_by = ""

    def close(self, at: datetime, end: LegEnd | None = None, *, untimed: bool = False) -> None:
        """*untimed*: it is over, but when that was is not known; no duration is made of *at* then."""
        if self.ended_at is not None:
            return
        self.ended_at = at
        if self.answered_at is not None:
            self.end = LegEnd.ANSWERED
            self.resume(None if untimed else at)
            if self.talk_ms is None and not untimed and self.answer_time_known:
                self.talk_ms = max(millis(at, self.answered_at) - (self.hold_ms or 0), 0)
        else:
            self.end = end or LegEnd.CANCELLED
            if self.ring_ms is None and self.rung_at is not None and not untimed:
                self.ring_ms = millis(at, self.rung_at)

    def resume(self, at: datetime | None) -> None:
        if self.held_at is not None:
            if at is not None:
                self.hold_ms = (self.hold_ms or 0) + millis(at, self.held_at)
                self.holds.append((self.held_at, max(at, self.held_at)))
            self.held_at = None

    def freeze(self, entries: Sequence[_Entry]) -> Leg:
        entry = None if self.entry is None else entries.index(self.entry)
        holds = (*self.holds, *([(self.held_at, None)] if self.held_at is not None else []))
        return Leg(
            agent=self.agent, queue=self.queue, entry=entry, rung_at=self.rung_at, answered_at=self.answered_at,
            ended_at=self.ended_at, end=self.end, ring_ms=self.ring_ms, talk_ms=self.talk_ms,
            hold_ms=self.hold_ms, wrap_ms=self.wrap_ms, talk_with_hold=self.talk_with_hold,
            transferred=self.transferred, ended_by=self.ended_by, holds=holds,
        )  # fmt: skip


class _Entry:
    """A stay in a queue while it is being folded."""

    __slots__ = ("answered", "entered_at", "key", "left_at", "outcome", "queue", "rung", "wait_ms")

    def __init__(self, key: str, queue: str, entered_at: datetime) -> None:
        self.key, self.queue, self.entered_at = key, queue, entered_at
        self.left_at: datetime | None = None
        self.wait_ms: int | None = None
        self.outcome = Outcome.OPEN
        self.answered = False
        self.rung = False

    def leave(self, at: datetime, outcome: Outcome, wait_ms: int | None, *, untimed: bool = False) -> None:
        if self.left_at is not None:
            return
        self.left_at = at
        self.outcome = outcome
        self.wait_ms = wait_ms
        if wait_ms is None and not untimed:
            self.wait_ms = millis(at, self.entered_at)
        self.answered = outcome is Outcome.ANSWERED

    def freeze(self, short_ms: int) -> Entry:
        outcome = self.outcome
        if outcome is Outcome.ABANDONED and self.wait_ms is not None and self.wait_ms < short_ms:
            outcome = Outcome.SHORT_ABANDON
        return Entry(
            queue=self.queue, entered_at=self.entered_at, left_at=self.left_at, wait_ms=self.wait_ms,
            outcome=outcome, answered=self.answered, rung=self.rung,
        )  # fmt: skip


class _Fold:
    """The state of one fold; a handler per kind of event."""

    def __init__(self) -> None:
        self.direction: tuple[int, Direction] | None = None
        self.customer = self.line = self.code = self.hangup_by = ""
        self.customer_rank = self.line_rank = -1
        self.started_at: tuple[int, datetime] | None = None
        self.rung_at: datetime | None = None
        self.answered_at: datetime | None = None
        self.answered_wait_ms: int | None = None
        self.answer_time_known = True
        self.ended_at: datetime | None = None
        self.end: CallEvent | None = None
        self.ends_seen: set[tuple[str, int | None]] = set()
        self.entries: list[_Entry] = []
        self.legs: list[_Leg] = []
        self.leg_by_key: dict[str, _Leg] = {}
        self.transferred = False
        self.rating: int | None = None
        self.crm: dict[str, str] = {}
        self.fields: dict[str, str] = {}

    def apply(self, event: CallEvent) -> None:
        self.note_facts(event)
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)

    def note_facts(self, event: CallEvent) -> None:
        if event.direction is not None and (self.direction is None or event.rank > self.direction[0]):
            self.direction = (event.rank, event.direction)
        if event.customer and event.rank > self.customer_rank:
            self.customer, self.customer_rank = event.customer, event.rank
        if event.line and event.rank > self.line_rank:
            self.line, self.line_rank = event.line, event.rank
        if event.kind is not Kind.RATED and event.rating is not None:
            self.rating = event.rating
        if event.crm:
            self.crm.update(event.crm)
        if event.fields:
            self.fields.update(event.fields)

    # -- where events belong ---------------------------------------------------------------------
    def entry_of(self, event: CallEvent) -> _Entry | None:
        """The stay that the event is about: by its id, else the newest one in that queue."""
        for entry in reversed(self.entries):
            if event.entry and entry.key == event.entry:
                return entry
            if not event.entry and event.queue and entry.queue == event.queue:
                return entry
        if not event.queue and not event.entry and self.entries:
            return self.entries[-1]
        return None

    def leg_of(self, event: CallEvent) -> _Leg:
        """The leg that the event is about: by its id, else the open one of that agent, else a new one."""
        leg = self.leg_by_key.get(event.leg) if event.leg else self.open_leg(event.agent)
        if leg is None:
            leg = _Leg(event.agent, event.queue, self.entry_of(event))
            if leg.entry is not None and not leg.queue:
                leg.queue = leg.entry.queue
            self.legs.append(leg)
            if event.leg:
                self.leg_by_key[event.leg] = leg
        leg.agent = leg.agent or event.agent
        return leg

    def open_leg(self, agent: str) -> _Leg | None:
        for leg in reversed(self.legs):
            if leg.ended_at is None and (not agent or not leg.agent or leg.agent == agent):
                return leg
        return None

    # -- one handler per kind --------------------------------------------------------------------
    def on_started(self, event: CallEvent) -> None:
        if self.started_at is None or event.rank > self.started_at[0]:
            self.started_at = (event.rank, event.at)

    def on_queued(self, event: CallEvent) -> None:
        key = event.entry or f"{event.queue}#{len(self.entries)}"
        if any(entry.key == key for entry in self.entries):
            return
        self.entries.append(_Entry(key, event.queue, event.at))

    def on_ringing(self, event: CallEvent) -> None:
        leg = self.leg_of(event)
        if leg.rung_at is None:
            leg.rung_at = event.at
        if leg.entry is not None:
            leg.entry.rung = True
        if self.rung_at is None:
            self.rung_at = event.at

    def on_not_taken(self, event: CallEvent) -> None:
        leg = self.leg_of(event)
        if leg.ended_at is not None:
            return
        leg.ring_ms = event.ring_ms if event.ring_ms is not None else leg.ring_ms
        end = LegEnd(event.cause) if event.cause in set(LegEnd) else LegEnd.NO_ANSWER
        leg.close(event.at, end, untimed=event.untimed)

    def on_answered(self, event: CallEvent) -> None:
        leg = self.leg_of(event)
        if leg.answered_at is not None:
            return
        leg.answered_at = event.at
        leg.answer_time_known = not (event.untimed and event.code == UNHEARD)
        leg.ring_ms = event.ring_ms
        if leg.ring_ms is None and leg.rung_at is not None and leg.answer_time_known:
            leg.ring_ms = millis(event.at, leg.rung_at)
        entry = leg.entry
        if entry is not None:
            entry.leave(event.at, Outcome.ANSWERED, event.wait_ms, untimed=event.untimed)
            entry.rung = True
        if self.rung_at is None:
            self.rung_at = event.at
        if self.answered_at is None:
            self.answered_at = event.at
            self.answered_wait_ms = event.wait_ms
            self.answer_time_known = not event.untimed

    def on_held(self, event: CallEvent) -> None:
        leg = self.talking_leg(event)
        if leg is not None and leg.held_at is None:
            leg.held_at = event.at

    def on_resumed(self, event: CallEvent) -> None:
        leg = self.talking_leg(event)
        if leg is not None:
            leg.resume(event.at)

    def talking_leg(self, event: CallEvent) -> _Leg | None:
        if event.leg:
            return self.leg_by_key.get(event.leg)
        for leg in reversed(self.legs):
            if leg.answered_at and leg.ended_at is None and (not event.agent or leg.agent == event.agent):
                return leg
        return None

    def on_transferred(self, event: CallEvent) -> None:
        self.transferred = True
        leg = self.leg_by_key.get(event.leg) if event.leg else self.open_leg(event.agent)
        if leg is not None:
            leg.transferred = True
            leg.ended_by = f"{event.cause} transfer" if event.cause else leg.ended_by

    def on_left_queue(self, event: CallEvent) -> None:
        entry = self.entry_of(event)
        if entry is not None:
            cause = event.cause if event.cause in set(Outcome) else Outcome.ABANDONED
            entry.leave(event.at, Outcome(cause), event.wait_ms, untimed=event.untimed)

    def on_ended(self, event: CallEvent) -> None:
        if event.leg:
            leg = self.leg_of(event)
            if event.talk_ms is not None:
                leg.talk_ms, leg.talk_with_hold = event.talk_ms, event.talk_with_hold
            leg.hold_ms = event.hold_ms if event.hold_ms is not None else leg.hold_ms
            leg.wrap_ms = event.wrap_ms if event.wrap_ms is not None else leg.wrap_ms
            leg.ended_by = leg.ended_by or event.hangup_by
            leg.close(event.at, untimed=event.untimed)
            self.hangup_by = event.hangup_by or self.hangup_by
            return
        self.ends_seen.add((event.code, event.talk_ms))
        if self.end is None or event.rank >= self.end.rank:
            self.end = event
            self.ended_at = event.at

    def on_wrapped(self, event: CallEvent) -> None:
        for leg in reversed(self.legs):
            if leg.answered_at and (not event.agent or leg.agent == event.agent):
                leg.wrap_ms = event.wrap_ms
                return

    def on_rated(self, event: CallEvent) -> None:
        self.rating = event.rating if event.rating is not None else self.rating


_HANDLERS = {
    Kind.STARTED: _Fold.on_started,
    Kind.QUEUED: _Fold.on_queued,
    Kind.RINGING: _Fold.on_ringing,
    Kind.NOT_TAKEN: _Fold.on_not_taken,
    Kind.ANSWERED: _Fold.on_answered,
    Kind.HELD: _Fold.on_held,
    Kind.RESUMED: _Fold.on_resumed,
    Kind.TRANSFERRED: _Fold.on_transferred,
    Kind.LEFT_QUEUE: _Fold.on_left_queue,
    Kind.ENDED: _Fold.on_ended,
    Kind.WRAPPED: _Fold.on_wrapped,
    Kind.RATED: _Fold.on_rated,
}


def in_order(events: Iterable[CallEvent]) -> list[CallEvent]:
    """The events once each, in the one order. The earliest of two deliveries of one event counts."""
    result: dict[str, CallEvent] = {}
    for event in sorted(events, key=lambda e: e.order):
        result.setdefault(event.event_id, event)
    return list(result.values())


_DURATIONS = ("wait_ms", "ring_ms", "talk_ms", "hold_ms", "wrap_ms")


def _readable(event: CallEvent) -> CallEvent:
    """*event* without durations that are none: they cost the field, and the call a flag, not the call."""
    wrong = [name for name in _DURATIONS if (value := getattr(event, name)) is not None and not _is_duration(value)]
    if not wrong:
        return event
    without: dict[str, Any] = dict.fromkeys(wrong)
    return replace(event, doubts=(*event.doubts, UNREADABLE), **without)


def _is_duration(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LONGEST_MS


def fold(
    call_id: str,
    events: Sequence[CallEvent],
    limits: Thresholds,
    now: datetime,
    told: Sequence[CallEvent] | None = None,
) -> Call:
    """The call that *events* tell of, at *now* (which only decides whether it is expired).

    *events* must be canonical (no SIGNAL) and not empty. The order and repetitions don't matter. *told* is what the
    source itself told, where *events* are made of that.
    """
    bounds, heard = limits.bounds, told or events
    possible = plausible.within(events, heard, bounds)
    ordered = [_readable(event) for event in in_order(possible)]
    together = plausible.gathered(ordered, bounds)
    is_moved = possible is not events or together is not ordered or any(event.told_at for event in heard)
    call = _folded(call_id, together, replace(limits, knows_times=not is_moved), now)
    return plausible.without_times(call) if is_moved or plausible.is_doubted(call, bounds) else call


def _folded(call_id: str, ordered: Sequence[CallEvent], limits: Thresholds, now: datetime) -> Call:
    state = _Fold()
    for event in ordered:
        state.apply(event)
    first, last = ordered[0], ordered[-1]
    started_at = state.started_at[1] if state.started_at else first.at
    if state.ended_at is not None:
        _settle(state, state.ended_at)
    entries = tuple(entry.freeze(limits.short_abandon_ms(entry.queue)) for entry in state.entries)
    legs = tuple(leg.freeze(state.entries) for leg in state.legs)
    outcome = _outcome(state, entries, limits, started_at)
    if outcome is Outcome.OPEN and now - last.at > limits.expire_after:
        outcome = Outcome.EXPIRED
    return Call(
        tenant=first.tenant,
        source=first.source,
        call_id=call_id,
        direction=state.direction[1] if state.direction else Direction.UNKNOWN,
        customer=normalise(state.customer, limits.tenant.region),
        line=state.line,
        started_at=started_at,
        last_event_at=last.at,
        rung_at=state.rung_at,
        answered_at=state.answered_at,
        ended_at=state.ended_at,
        outcome=outcome,
        code=state.end.code if state.end else "",
        hangup_by=(state.end.hangup_by if state.end else "") or state.hangup_by,
        entries=entries,
        legs=legs,
        wait_ms=_wait_ms(state, entries, started_at),
        talk_ms=_talk_ms(state),
        hold_ms=_total(leg.hold_ms for leg in legs),
        wrap_ms=_total(leg.wrap_ms for leg in legs),
        transferred=state.transferred,
        rating=state.rating,
        crm=dict(sorted(state.crm.items())),
        fields=dict(sorted(state.fields.items())),
        flags=_flags(state, ordered),
    )


def _flags(state: _Fold, events: Sequence[CallEvent]) -> tuple[str, ...]:
    conflicting = ("conflicting_end",) if len(state.ends_seen) > 1 else ()
    unheard = (UNHEARD,) if any(event.code == UNHEARD for event in events) else ()
    return (*conflicting, *unheard, *sorted({doubt for event in events for doubt in event.doubts}))


def _settle(state: _Fold, ended_at: datetime) -> None:
    """Close what the end of the call closes: legs still open, a queue not left."""
    end = state.end
    unheard = end is not None and end.code == UNHEARD
    if end is not None and end.cause == Outcome.ANSWERED and state.answered_at is None:
        _answer_by_end(state, end)
    if end is not None and end.cause and end.cause != Outcome.ANSWERED and end.rank > 0:
        # The source's last word outranks a conversation that was only guessed from its middle.
        state.answered_at = None
        for leg in state.legs:
            leg.answered_at = None
    for leg in state.legs:
        if leg.answered_at is not None and leg.talk_ms is None and end is not None and len(state.legs) == 1:
            leg.talk_ms = end.talk_ms
        leg.close(ended_at, untimed=unheard)
    for entry in state.entries:
        entry.leave(ended_at, Outcome.EXPIRED if unheard else Outcome.ABANDONED, None, untimed=unheard)


def _answer_by_end(state: _Fold, end: CallEvent) -> None:
    """Only the end tells that somebody answered (a lost or unknown middle): the agent is in it."""
    state.answer_time_known = False
    leg = state.open_leg(end.agent) or state.leg_of(replace(end, leg=""))
    leg.agent = end.agent or leg.agent
    talk = timedelta(milliseconds=end.talk_ms or 0)
    leg.answered_at = max(end.at - talk, leg.rung_at or end.at - talk)
    leg.talk_ms = end.talk_ms
    state.answered_at = leg.answered_at
    state.answered_wait_ms = end.wait_ms
    state.rung_at = state.rung_at or leg.answered_at
    if leg.entry is not None:
        leg.entry.leave(leg.answered_at, Outcome.ANSWERED, end.wait_ms)


def _outcome(state: _Fold, entries: tuple[Entry, ...], limits: Thresholds, started_at: datetime) -> Outcome:
    if state.ended_at is None:
        return Outcome.OPEN
    direction = state.direction[1] if state.direction else Direction.UNKNOWN
    outcome = _plain_outcome(state, entries)
    if direction is Direction.INBOUND:
        if outcome is Outcome.ABANDONED and not entries:
            wait = millis(state.ended_at, started_at)
            outcome = Outcome.SHORT_ABANDON if wait < limits.short_abandon_ms("") else outcome
        if outcome in _UNANSWERED and not config.is_open(limits.tenant, started_at):
            outcome = Outcome.AFTER_HOURS
    return outcome


def _plain_outcome(state: _Fold, entries: tuple[Entry, ...]) -> Outcome:
    if state.answered_at is not None:
        return Outcome.ANSWERED
    cause = state.end.cause if state.end else ""
    if entries and cause in ("", Outcome.ABANDONED):
        return entries[-1].outcome
    if cause in set(Outcome):
        return Outcome(cause)
    if any(leg.end is LegEnd.BUSY for leg in state.legs):
        return Outcome.BUSY
    if state.end is not None and state.end.hangup_by == "customer":
        return Outcome.ABANDONED
    return Outcome.NO_ANSWER


def _wait_ms(state: _Fold, entries: tuple[Entry, ...], started_at: datetime) -> int | None:
    """Total wait: the sum over queues; without a queue from the start to the answer or the end."""
    if entries:
        if any(entry.left_at is not None and entry.wait_ms is None for entry in entries):
            return None
        return _total(entry.wait_ms for entry in entries)
    if state.answered_at is not None:
        if state.answered_wait_ms is not None:
            return state.answered_wait_ms
        return millis(state.answered_at, started_at) if state.answer_time_known else None
    if state.ended_at is None or (state.end is not None and state.end.untimed):
        return None
    return millis(state.ended_at, started_at)


def _talk_ms(state: _Fold) -> int | None:
    """Time in which at least one agent and the customer were connected: the union of the legs."""
    spans = sorted(
        (leg.answered_at, leg.answered_at + timedelta(milliseconds=leg.talk_ms))
        for leg in state.legs
        if leg.answered_at is not None and leg.talk_ms is not None
    )
    if not spans:
        return None
    total, (begin, end) = 0, spans[0]
    for next_begin, next_end in spans[1:]:
        if next_begin > end:
            total += millis(end, begin)
            begin, end = next_begin, next_end
        else:
            end = max(end, next_end)
    return total + millis(end, begin)


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


# -- fate of missed customers ------------------------------------------------------------------------
