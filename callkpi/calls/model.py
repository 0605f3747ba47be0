"""The domain: what sources say (CallEvent) and what callkpi makes of it (Call, Entry, Leg).

Everything here is frozen and does no I/O. Datetimes are aware and in UTC; a naive one is refused.
Durations are whole milliseconds in fields that end in ``_ms``: sums of integers are exact in any order
of addition and subtraction, which rollups rely on. Screens show seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

#: Code of an answer or an end that nobody heard: the connection was cut, and after it was seen that it had happened.
UNHEARD = "unheard"

#: Flag of a call whose times can't be; see callkpi.plausible. It enters no figure of time.
IMPLAUSIBLE_TIME = "implausible_time"
#: Flag of a call of which a source told something that can't be read: that is left out, the call counts.
UNREADABLE = "unreadable_field"
#: A hundred years: a duration beyond it is no duration, and leads out of the calendar.
LONGEST_MS = 100 * 366 * 86_400_000

#: Events that tell of an agent rather than of a call live in a stream of that agent.
AGENT_STREAM = "agent:"
#: What is of no single call: other calls read it where their reading depends on it.
MARK_STREAM = "mark:"
#: Restarts of a whole source: what went on before is over.
RESTART_STREAM = MARK_STREAM + "restart"


class Kind(StrEnum):
    """What an event tells. The order of the members is the order of events at one instant."""

    STARTED = "started"
    LINKED = "linked"
    QUEUED = "queued"
    RINGING = "ringing"
    NOT_TAKEN = "not_taken"
    ANSWERED = "answered"
    HELD = "held"
    RESUMED = "resumed"
    TRANSFERRED = "transferred"
    LEFT_QUEUE = "left_queue"
    ENDED = "ended"
    WRAPPED = "wrapped"
    RATED = "rated"
    AGENT_STATE = "agent_state"
    #: A fact in the source's own terms; the source's ``interpret`` turns it into the kinds above when the
    #: whole call is known (Asterisk tells of channels, not of calls).
    SIGNAL = "signal"
    #: What somebody did about a missed customer; see callkpi.work. No part of a call.
    WORKED = "worked"


KIND_RANK: Mapping[Kind, int] = {kind: rank for rank, kind in enumerate(Kind)}


class StreamKey(NamedTuple):
    """What events are about: a call (or an agent) as its source names it."""

    tenant: str
    source: str
    call_id: str


class Direction(StrEnum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"
    INTERNAL = "internal"
    #: A form on a site asked to be called: no call yet, but a customer who waits.
    REQUEST = "request"
    #: Announcements dialled by a machine (Bitrix24 CALL_TYPE 5); counted apart from agents' calls.
    AUTO = "auto"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """How a call, or one stay in a queue, ended. ``OPEN`` and ``EXPIRED`` are states without an end."""

    OPEN = "open"
    ANSWERED = "answered"
    ABANDONED = "abandoned"
    SHORT_ABANDON = "short_abandon"
    TIMED_OUT = "timed_out"
    LEFT_EMPTY = "left_empty"
    OVERFLOWED = "overflowed"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    REJECTED = "rejected"
    FAILED = "failed"
    EXITED = "exited"
    VOICEMAIL = "voicemail"
    AFTER_HOURS = "after_hours"
    CALLBACK_REQUESTED = "callback_requested"
    EXPIRED = "expired"


#: The glossary's *missed*, for calls and queue entries that were offered.
MISSED_OUTCOMES = frozenset(
    {
        Outcome.ABANDONED,
        Outcome.SHORT_ABANDON,
        Outcome.TIMED_OUT,
        Outcome.LEFT_EMPTY,
        Outcome.OVERFLOWED,
        Outcome.NO_ANSWER,
        Outcome.BUSY,
        Outcome.REJECTED,
        Outcome.FAILED,
    }
)


class LegEnd(StrEnum):
    """How one ring of one agent ended."""

    ANSWERED = "answered"
    NO_ANSWER = "no_answer"
    BUSY = "busy"
    #: Stopped by others: the caller gave up, or a colleague was faster.
    CANCELLED = "cancelled"


class Fate(StrEnum):
    """What became of a customer whom we missed."""

    WAITING = "waiting"
    CALLED_BACK = "called_back"
    REACHED = "reached"
    SELF_SERVED = "self_served"
    WRITTEN_OFF = "written_off"


class AgentState(StrEnum):
    """What an agent does. Sources that know only log-ins and pauses leave the rest to the legs of the calls."""

    AVAILABLE = "available"
    PAUSED = "paused"
    BUSY = "busy"
    OFFLINE = "offline"
    RINGING = "ringing"
    TALKING = "talking"
    HOLD = "hold"
    WRAP_UP = "wrap_up"


def agent_key(source: str, agent: str) -> str:
    """What an agent is stored as: two sources may use one id for two people."""
    return f"{source}:{agent}" if agent else ""


_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:")


def agent_id(key: str) -> str:
    """The source's own id in an agent's key (or in an id that was stored before keys had sources)."""
    return key[found.end() :] if (found := _KEY.match(key)) else key


def require_utc(name: str, value: datetime | None) -> None:
    """Refuse a datetime without a zone: it means something else on every machine."""
    if value is not None and value.tzinfo is None:
        raise ValueError(f"{name} has no time zone: {value!r}; give an aware datetime")


def millis(later: datetime, earlier: datetime) -> int:
    """Milliseconds from *earlier* to *later*, never negative (clocks of two machines may disagree)."""
    delta = later - earlier
    value = delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000
    return max(value, 0)


def from_unix(seconds: float) -> datetime:
    """The UTC instant of Unix *seconds*."""
    return datetime.fromtimestamp(seconds, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """One fact about one call (or one agent), as a source told it. Journalled once, never changed.

    ``event_id`` is fixed by the payload, so that a delivery repeated is the same event. Facts that the
    kind does not carry are empty strings or ``None``.
    """

    tenant: str
    source: str
    call_id: str  #: the source's id of the call, or AGENT_STREAM + agent
    kind: Kind
    at: datetime  #: when it happened, UTC
    event_id: str
    received_at: datetime  #: when we got it, UTC
    timeless: bool = False  #: the payload had no time of its own: ``at`` is the clock of arrival
    told_at: str = ""  #: the payload's own time, where none can be: ``at`` is the clock of arrival then
    untimed: bool = False  #: of an answer, a leaving or an end: that it was is known, when it was is not
    rank: int = 0  #: trust: of two facts that disagree the higher one wins
    direction: Direction | None = None
    customer: str = ""  #: number as the source wrote it
    line: str = ""  #: our number or line id
    queue: str = ""
    agent: str = ""
    leg: str = ""  #: the source's id of one ring or conversation with one agent
    entry: str = ""  #: the source's id of one stay in a queue
    cause: str = ""  #: the outcome, in our terms, where the event states one
    code: str = ""  #: the source's own code for it
    hangup_by: str = ""  #: customer | agent | system
    wait_ms: int | None = None
    ring_ms: int | None = None
    talk_ms: int | None = None
    hold_ms: int | None = None
    wrap_ms: int | None = None
    talk_with_hold: bool = False  #: talk_ms holds the time on hold as well
    rating: int | None = None
    state: str = ""
    reason: str = ""
    linked_to: str = ""  #: with LINKED: the other call id that is the same call
    doubts: tuple[str, ...] = ()  #: flags that the call gets of it; said by ``interpret``, kept nowhere
    crm: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)  #: custom fields
    detail: Mapping[str, str] = field(default_factory=dict)  #: with SIGNAL: the source's own facts

    def __post_init__(self) -> None:
        require_utc("at", self.at)
        require_utc("received_at", self.received_at)

    @property
    def order(self) -> tuple[datetime, int, str, str]:
        """The one order in which events of a call are read, whatever the order of arrival."""
        return self.at, KIND_RANK[self.kind], self.event_id, self.call_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One ring of one agent, and the conversation if it was taken. Answered legs are *handles*."""

    agent: str
    queue: str = ""
    entry: int | None = None  #: index of the call's entry that it served; None outside of queues
    rung_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    end: LegEnd | None = None  #: None while it rings or talks
    ring_ms: int | None = None
    talk_ms: int | None = None  #: None while open or where the source does not tell
    hold_ms: int | None = None
    wrap_ms: int | None = None
    talk_with_hold: bool = False  #: talk_ms holds hold_ms as well
    transferred: bool = False
    ended_by: str = ""  #: customer | agent | blind transfer | attended transfer; "" where the source does not tell
    #: When the customer was on hold, where the source tells it; the last one may go on.
    holds: tuple[tuple[datetime, datetime | None], ...] = ()
    agent_source: str = ""  #: whose id ``agent`` is, where another source named him; "" the call's own

    @property
    def hold_in_talk_ms(self) -> int:
        """The part of the hold that is counted as talk already."""
        return (self.hold_ms or 0) if self.talk_with_hold else 0

    @property
    def began_at(self) -> datetime | None:
        return self.rung_at or self.answered_at or self.ended_at

    @property
    def is_open(self) -> bool:
        return self.ended_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One stay of a call in one queue, and what came of it."""

    queue: str
    entered_at: datetime  #: UTC
    left_at: datetime | None = None  #: None while the caller waits
    wait_ms: int | None = None  #: until answered or gone; None while waiting, and where that was not heard
    outcome: Outcome = Outcome.OPEN
    answered: bool = False
    rung: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.left_at is None and self.outcome is Outcome.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """The same call as another source told of it; its facts are counted nowhere."""

    source: str
    call_id: str
    rule: str  #: by which the two are one: id, number
    started_at: datetime
    outcome: Outcome
    talk_ms: int | None = None
    line: str = ""
    agents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The fold of a call's events: see :func:`callkpi.calls.fold.fold`."""

    tenant: str
    source: str
    call_id: str
    direction: Direction
    customer: str  #: normalised number, "" when hidden
    line: str
    started_at: datetime
    last_event_at: datetime
    rung_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome = Outcome.OPEN
    code: str = ""
    hangup_by: str = ""
    entries: tuple[Entry, ...] = ()
    legs: tuple[Leg, ...] = ()
    wait_ms: int | None = None
    talk_ms: int | None = None
    hold_ms: int | None = None
    wrap_ms: int | None = None
    transferred: bool = False
    rating: int | None = None
    crm: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()  #: doubts about the data, e.g. "conflicting_end"
    twins: tuple[Twin, ...] = ()  #: what other sources told of this call

    @property
    def has_times(self) -> bool:
        """Whether its times can be believed."""
        return IMPLAUSIBLE_TIME not in self.flags

    def agent_of(self, leg: Leg) -> str:
        """The key of the agent of one of its legs."""
        return agent_key(leg.agent_source or self.source, leg.agent)

    @property
    def is_open(self) -> bool:
        return self.outcome is Outcome.OPEN

    @property
    def hold_in_talk_ms(self) -> int:
        """The part of the hold that is counted as talk already."""
        return sum(leg.hold_in_talk_ms for leg in self.legs)

    @property
    def answered(self) -> bool:
        return self.answered_at is not None

    @property
    def missed(self) -> bool:
        """The glossary's *missed* for a whole call: inbound, ended, nobody spoke to the customer."""
        return self.direction is Direction.INBOUND and self.outcome in MISSED_OUTCOMES
