"""Which moments can be: a PBX that booted without a clock tells of 2000, a broken one of next year. Pure, no I/O.

A moment is judged against when it was received and never against the clock of now, so that the same journal gives the
same calls whenever it is read. What can't be is kept and flagged, and enters no figure of time; the call still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from callkpi import config
from callkpi.calls.model import IMPLAUSIBLE_TIME, Call, CallEvent, Entry, Kind, Leg

#: What may come days after a conversation, and does not make it longer.
_AFTERWARDS = frozenset({Kind.LINKED, Kind.WRAPPED, Kind.RATED})
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a call centre holds for possible."""

    first: datetime  #: no source has told of anything before
    ahead: timedelta  #: so much may a source's clock be ahead of ours
    longest: timedelta  #: no conversation takes longer

    @staticmethod
    def of(tenant: config.Tenant) -> Bounds:
        return _bounds(tenant.first_day, tenant.clock_tolerance_minutes, tenant.longest_call_hours)

    def holds(self, at: datetime, received_at: datetime) -> bool:
        """Whether something of which we heard at *received_at* can have happened at *at*."""
        return self.first <= at <= received_at + self.ahead

    @property
    def longest_ms(self) -> int:
        return self.longest // timedelta(milliseconds=1)


@lru_cache
def _bounds(first_day: str, tolerance_minutes: float, longest_hours: float) -> Bounds:
    first = datetime.fromisoformat(first_day).replace(tzinfo=UTC)
    return Bounds(first, timedelta(minutes=tolerance_minutes), timedelta(hours=longest_hours))


def believed(event: CallEvent, bounds: Bounds) -> CallEvent:
    """The event as it is journalled: one whose time can't be is of the moment at which it came, and says so."""
    if event.timeless or bounds.holds(event.at, event.received_at):
        return event
    return replace(event, at=event.received_at, timeless=True, told_at=event.at.isoformat())


def within(events: Sequence[CallEvent], told: Sequence[CallEvent], bounds: Bounds) -> Sequence[CallEvent]:
    """Events of one call, those that can't have been when they say at the moments at which they came.

    *told* is everything that was heard of the call: what follows from it is judged against the latest of that.
    Returns *events* themselves where nothing is moved.
    """
    heard = max(event.received_at for event in told)
    if all(bounds.holds(event.at, heard) for event in events):
        return events
    return [event if bounds.holds(event.at, heard) else replace(event, at=event.received_at) for event in events]


def gathered(ordered: Sequence[CallEvent], bounds: Bounds) -> Sequence[CallEvent]:
    """The events of a call that is longer than any can be, brought to where it is believed.

    *ordered* are in their order, and stay in it; they are returned themselves where nothing is moved. Believed is the
    event that was heard soonest after it happened, the first of several. What is later is brought to it, and what is
    earlier to where a call that goes on then can have begun.
    """
    timed = [event for event in ordered if _is_timed(event)]
    if not timed or timed[-1].at - timed[0].at <= bounds.longest:
        return ordered
    anchor = min(timed, key=lambda event: (abs(event.received_at - event.at) // _MINUTE, event.at)).at
    first = anchor - bounds.longest
    return [
        replace(event, at=min(max(event.at, first), anchor)) if _is_timed(event) else event for event in ordered
    ]  # fmt: skip


def _is_timed(event: CallEvent) -> bool:
    """Whether the event's time is one of the conversation's own."""
    return event.kind not in _AFTERWARDS and not event.untimed


def is_doubted(call: Call, bounds: Bounds) -> bool:
    """Whether a length that sources tell of the call, or that follows from its times, is longer than any can be."""
    lengths = [call.wait_ms, call.talk_ms, call.hold_ms, call.wrap_ms]
    lengths += [entry.wait_ms for entry in call.entries]
    lengths += [length for leg in call.legs for length in (leg.ring_ms, leg.talk_ms, leg.hold_ms, leg.wrap_ms)]
    return any(length is not None and length > bounds.longest_ms for length in lengths)


def without_times(call: Call) -> Call:
    """The call with no length of anything, and the flag that says why."""
    return replace(
        call, wait_ms=None, talk_ms=None, hold_ms=None, wrap_ms=None, flags=(*call.flags, IMPLAUSIBLE_TIME),
        entries=tuple(_without_wait(entry) for entry in call.entries),
        legs=tuple(_without_lengths(leg) for leg in call.legs),
    )  # fmt: skip


def _without_wait(entry: Entry) -> Entry:
    return replace(entry, wait_ms=None)


def _without_lengths(leg: Leg) -> Leg:
    return replace(leg, ring_ms=None, talk_ms=None, hold_ms=None, wrap_ms=None, talk_with_hold=False, holds=())
