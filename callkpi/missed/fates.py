"""What became of each missed customer: reached, called again, lost, or still waiting. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from callkpi.calls.model import MISSED_OUTCOMES, Direction, Fate, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What the fate of a missed customer needs to know of one of his calls."""

    key: tuple[str, str]  #: source, call id
    direction: Direction
    started_at: datetime
    answered_at: datetime | None
    missed: bool  #: missed, or a request to be called


@dataclass(frozen=True, slots=True, kw_only=True)
class FateOf:
    """The fate of one missed call. Times are of our first attempt and of the first conversation after it."""

    key: tuple[str, str]
    fate: Fate
    called_back_at: datetime | None
    reached_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Somebody closed a missed customer by hand."""

    at: datetime
    fate: Fate  #: REACHED: spoken to outside of what we see; WRITTEN_OFF: will not be called
    by: str = ""
    reason: str = ""


def fates(contacts: Iterable[Contact], window: timedelta, settlements: Sequence[Settlement] = ()) -> list[FateOf]:
    """The fate of each missed call among one customer's calls, in any order, of any source.

    Only what happens within *window* after the miss counts: later it is written off.

    A conversation in either direction settles every miss before it: REACHED where we called, SELF_SERVED
    where the customer called again. So does a settlement by hand, if it came before any conversation. WRITTEN_OFF by
    age depends on the clock and is read from the age, not here.
    """
    ordered = sorted(contacts, key=lambda c: (c.started_at, c.key))
    by_hand = sorted(settlements, key=lambda s: s.at)
    return [
        _settled(missed, _fate(missed, ordered[index + 1 :], window), by_hand, window)
        for index, missed in enumerate(ordered)
        if missed.missed
    ]


def _settled(missed: Contact, alone: FateOf, by_hand: Sequence[Settlement], window: timedelta) -> FateOf:
    """The fate with what was closed by hand: the first of a conversation and a settlement decides."""
    first = next((each for each in by_hand if each.at >= missed.started_at), None)
    if first is None or first.at - missed.started_at > window:
        return alone
    if alone.reached_at is not None and alone.reached_at <= first.at:
        return alone
    tried = alone.called_back_at if alone.called_back_at and alone.called_back_at <= first.at else None
    if first.fate is Fate.WRITTEN_OFF:
        return replace(alone, fate=Fate.WRITTEN_OFF, called_back_at=tried, reached_at=None)
    return replace(alone, fate=Fate.REACHED, called_back_at=tried or first.at, reached_at=first.at)


def _fate(missed: Contact, later: Sequence[Contact], window: timedelta) -> FateOf:
    called_back_at: datetime | None = None
    for contact in later:
        if contact.started_at - missed.started_at > window:
            break
        outbound = contact.direction is Direction.OUTBOUND
        if outbound and called_back_at is None:
            called_back_at = contact.started_at
        if contact.answered_at is not None and (outbound or contact.direction is Direction.INBOUND):
            fate = Fate.REACHED if outbound else Fate.SELF_SERVED
            return FateOf(key=missed.key, fate=fate, called_back_at=called_back_at, reached_at=contact.answered_at)
    fate = Fate.WAITING if called_back_at is None else Fate.CALLED_BACK
    return FateOf(key=missed.key, fate=fate, called_back_at=called_back_at, reached_at=None)


def outcome_is_missed(direction: str, outcome: str) -> bool:
    requested = outcome == Outcome.CALLBACK_REQUESTED
    return requested or (direction == Direction.INBOUND and outcome in MISSED_OUTCOMES)
