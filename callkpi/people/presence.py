"""What an agent does at each moment, and for how long. Pure, no I/O.

Two layers are told apart. The *base* is what his sources say of him: available, busy, paused with a reason, or nothing
(logged out, or never heard of). The *phone* is what his calls say: talking, hold, ringing, wrap-up. A conversation goes
before any base; a phone that rings and after-call work only take the place of being available, for a pause is a pause.

One agent id of one source is kept per quarter of an hour as spans that don't overlap. Several ids of one person are
laid over each other, layer by layer, so a person's time never exceeds the clock. All times here are whole milliseconds
(since 1970, or since the begin of the quarter), whose sums are exact.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache, reduce
from operator import itemgetter
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from callkpi import config
from callkpi.calls import formulas
from callkpi.calls.model import AgentState, Leg

QUARTER_MS = 900_000
#: Of two that are told of one person the first one counts.
BASES = (AgentState.AVAILABLE.value, AgentState.BUSY.value, AgentState.PAUSED.value)
PHONES = (AgentState.TALKING.value, AgentState.HOLD.value, AgentState.RINGING.value, AgentState.WRAP_UP.value)
#: Seconds of a person, one measure each: the columns of table agent_times. ``outside`` is talk, hold and wrap-up,
#: ``outside_ringing`` is ringing, while no source says that he is logged in; they are in the states as well.
MEASURES = (
    "available_ms", "ringing_ms", "talking_ms", "hold_ms", "wrap_up_ms", "paused_ms", "busy_ms", "logged_in_ms",
    "outside_ms", "outside_ringing_ms",
)  # fmt: skip
#: Sources round talk times to seconds: a clock that says up to this more is believed.
_ROUNDED_MS = 1_500
#: How long a queue's own wrap-up time may be.
WRAP_REACH = timedelta(hours=1)
_WORK = frozenset({"talking", "hold", "wrap_up"})
_RANK = {name: rank for rank, name in enumerate((*BASES, *PHONES))}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(at: datetime) -> int:
    """Whole milliseconds since 1970."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


# -- what is told -----------------------------------------------------------------------------------------


class Told(NamedTuple):
    """A state that a source told of one agent id in one queue; "" is every queue."""

    at: int
    event_id: str
    queue: str
    state: str
    reason: str = ""
    wrap: int = 0  #: milliseconds of after-call work that the queue gives him, where the event says so


class Held(NamedTuple):
    """The last state in one queue, and since when."""

    at: int
    state: str
    reason: str
    wrap: int


class OnPhone(NamedTuple):
    """A stretch of one leg. ``end`` is None while it goes on."""

    begin: int
    end: int | None
    state: str


class Span(NamedTuple):
    """A stretch of one quarter of an hour, offsets in milliseconds."""

    begin: int
    end: int
    base: str
    phone: str
    reason: str

    @property
    def state(self) -> str:
        return combined(self.base, self.phone)


@dataclass(frozen=True, slots=True)
class Lapse:
    """How long a state holds that nothing renews: people forget to log out."""

    zone: ZoneInfo
    hours: float
    offline_at: time | None  #: of the call centre's clock

    @classmethod
    def of(cls, tenant: config.Tenant) -> Lapse:
        at = time.fromisoformat(tenant.agents_offline_at) if tenant.agents_offline_at else None
        return cls(tenant.zone, tenant.agent_state_hours, at)

    @property
    def longest(self) -> timedelta:
        return timedelta(hours=self.hours)

    def until(self, at: int) -> int:
        """When a state that was told at a moment ends by itself."""
        limit = at + round(self.hours * 3_600_000)
        if self.offline_at is None:
            return limit
        local = from_ms(at).astimezone(self.zone)
        days = (datetime.combine(local.date() + timedelta(days=n), self.offline_at, self.zone) for n in (0, 1, 2))
        return min(limit, next(ms for ms in map(to_ms, days) if ms > at))


def combined(base: str, phone: str) -> str:
    """The one state of two layers; "" is neither."""
    if phone in ("talking", "hold") or (phone and base in ("", "available")):
        return phone
    return base


def on_phone(leg: Leg, over: datetime | None) -> list[OnPhone]:
    """What the phone of a leg's agent did, as stretches that follow each other. One that goes on has no end.

    *over* is the last that was heard of a call that is over: a leg whose end never came ended by then.
    """
    end = leg.ended_at or over
    rung_at, result = leg.rung_at, list[OnPhone]()
    if rung_at is None and leg.ring_ms is not None and (at := leg.answered_at or leg.ended_at) is not None:
        rung_at = at - timedelta(milliseconds=leg.ring_ms)
    if rung_at is not None:
        until = leg.answered_at or end
        result.append(OnPhone(to_ms(rung_at), None if until is None else to_ms(until), "ringing"))
    if leg.answered_at is not None:
        result += _conversation(leg, to_ms(leg.answered_at), None if end is None else _talk_end(leg, to_ms(end)))
        if leg.wrap_ms and end is not None:
            result.append(OnPhone(to_ms(end), to_ms(end) + leg.wrap_ms, "wrap_up"))
    return [span for span in result if span.end is None or span.end > span.begin]


def _talk_end(leg: Leg, ended: int) -> int:
    """When the conversation ended: as long as the source says, to the exact end where it only rounds."""
    if leg.talk_ms is None or leg.answered_at is None:
        return ended
    told = to_ms(leg.answered_at) + leg.talk_ms + (leg.hold_ms or 0) - leg.hold_in_talk_ms
    return told if told < ended - _ROUNDED_MS else ended


def _conversation(leg: Leg, begin: int, end: int | None) -> list[OnPhone]:
    """Talk and hold. A hold of which only the length is told is put at the end."""
    holds = [(to_ms(a), None if b is None else to_ms(b)) for a, b in leg.holds]
    if not holds and leg.hold_ms and end is not None:
        holds = [(max(end - leg.hold_ms, begin), end)]
    result, at = [], begin
    for held, resumed in holds:
        result.append(OnPhone(at, held, "talking"))
        resumed = end if resumed is None else resumed if end is None else min(resumed, end)
        result.append(OnPhone(held, resumed, "hold"))
        if resumed is None:
            return result
        at = max(at, resumed)
    return [*result, OnPhone(at, end, "talking")]


# -- one quarter of an hour of one agent id ---------------------------------------------------------------


class Line(NamedTuple):
    """One leg as it is stored for its agent: the queue that it served, and what his phone did."""

    queue: str
    spans: tuple[OnPhone, ...]

    @property
    def begin(self) -> int:
        return self.spans[0].begin

    @property
    def end(self) -> int | None:
        return self.spans[-1].end

    def until(self, limit: int) -> Line:
        """What of it lies before a moment."""
        if self.end is not None and self.end <= limit:
            return self
        cut = [span._replace(end=limit if span.end is None else min(span.end, limit)) for span in self.spans]
        return self._replace(spans=tuple(span for span in cut if span.begin < limit))

    def with_wrap(self, wrap: int) -> tuple[OnPhone, ...]:
        """With the after-call work that the queue gives, where the call itself tells none."""
        last = self.spans[-1]
        if not wrap or last.end is None or last.state not in ("talking", "hold"):
            return self.spans
        return (*self.spans, OnPhone(last.end, last.end + wrap, "wrap_up"))


def quarter_of(
    begin: int, before: Mapping[str, Held], told: Sequence[Told], lines: Iterable[Line], lapse: Lapse
) -> tuple[list[Span], dict[str, Held]]:
    """The spans of the quarter that begins at *begin*, and the states that hold at its end.

    *before* holds at its begin; *told* are the states of the quarter, in any order; *lines* may reach beyond it.
    """
    end = begin + QUARTER_MS
    by_queue: dict[str, list[Held]] = {queue: [held] for queue, held in before.items()}
    for state in sorted(told):
        by_queue.setdefault(state.queue, []).append(Held(state.at, state.state, state.reason, state.wrap))
    pieces = [piece for states in by_queue.values() for piece in _holding(states, end, lapse)]
    for line in lines:
        phones = line.with_wrap(_wrap_at(by_queue.get(line.queue, ()), line, before))
        pieces += [Span(p.begin, end if p.end is None else p.end, "", p.state, "") for p in phones]
    cut = (piece._replace(begin=max(piece.begin, begin), end=min(piece.end, end)) for piece in pieces)
    spans = [span._replace(begin=span.begin - begin, end=span.end - begin) for span in laid(cut)]
    last = {queue: states[-1] for queue, states in sorted(by_queue.items())}
    return spans, {q: h for q, h in last.items() if h.state != "offline" and lapse.until(h.at) > end}


def _holding(states: Sequence[Held], end: int, lapse: Lapse) -> Iterator[Span]:
    """How long each of the states of one queue holds: until the next one, or until it lapses."""
    for held, following in itertools.zip_longest(states, states[1:]):
        if held.state != "offline":
            until = min(end if following is None else following.at, lapse.until(held.at))
            on_phone = held.state in PHONES
            yield Span(
                held.at, until, "available" if on_phone else held.state, held.state if on_phone else "", held.reason
            )


def _wrap_at(states: Sequence[Held], line: Line, before: Mapping[str, Held]) -> int:
    """The after-call work that the leg's queue gave when the leg ended; *states* are those of that queue."""
    if not states:
        return 0
    known = len(states) if line.end is None else bisect_right(states, line.end, key=lambda held: held.at)
    if not known and line.queue not in before:
        return 0
    return states[max(known - 1, 0)].wrap


class _Least:
    """The least of keys that come and go, each as often as it likes."""

    __slots__ = ("_counts", "_heap")

    def __init__(self) -> None:
        self._counts: dict[tuple[Any, ...], int] = {}
        self._heap: list[tuple[Any, ...]] = []

    def add(self, key: tuple[Any, ...]) -> None:
        known = self._counts.get(key, 0)
        if not known:
            heapq.heappush(self._heap, key)
        self._counts[key] = known + 1

    def remove(self, key: tuple[Any, ...]) -> None:
        self._counts[key] -= 1

    def get(self) -> tuple[Any, ...] | None:
        while self._heap and not self._counts[self._heap[0]]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None


def laid(pieces: Iterable[Span]) -> list[Span]:
    """Spans that overlap as ones that don't: at each moment the most present base and the most present phone.

    It is swept once from the begin to the end: a machine may have thousands of conversations in a quarter of an hour.
    """
    changes = []
    for piece in pieces:
        if piece.begin < piece.end:
            keys = _base_key(piece.base, piece.reason), _phone_key(piece.phone)
            changes += [(piece.begin, True, keys), (piece.end, False, keys)]
    changes.sort(key=itemgetter(0))
    bases, phones, result, since = _Least(), _Least(), list[Span](), 0
    for at, comes, keys in changes:
        if at > since:
            base, phone = bases.get(), phones.get()
            if base or phone:
                reason = base[1] if base and base[2] == "paused" else ""
                result.append(Span(since, at, base[2] if base else "", phone[1] if phone else "", reason))
            since = at
        for layer, key in zip((bases, phones), keys, strict=True):
            if key:
                (layer.add if comes else layer.remove)(key)
    return joined(result)


@lru_cache
def _base_key(base: str, reason: str) -> tuple[int, str, str] | None:
    return (_RANK.get(base, len(_RANK)), reason, base) if base else None


@lru_cache
def _phone_key(phone: str) -> tuple[int, str] | None:
    return (_RANK.get(phone, len(_RANK)), phone) if phone else None


def joined(spans: Iterable[Span]) -> list[Span]:
    """Without empty ones, and equal neighbours as one."""
    result: list[Span] = []
    for span in spans:
        if not (span.base or span.phone) or span.begin >= span.end:
            continue
        if result and result[-1].end == span.begin and result[-1][2:] == span[2:]:
            span = span._replace(begin=result.pop().begin)
        result.append(span)
    return result


def clipped(spans: Iterable[Span], begin: int, end: int) -> list[Span]:
    """The part of the spans within [begin, end)."""
    cut = (span._replace(begin=max(span.begin, begin), end=min(span.end, end)) for span in spans)
    return [span for span in cut if span.begin < span.end]


def together(layers: Sequence[Sequence[Span]]) -> list[Span]:
    """Several ids of one person in one quarter, laid over each other."""
    if len(layers) == 1:
        return list(layers[0])
    return laid(span for layer in layers for span in layer)


def sums(spans: Iterable[Span]) -> tuple[Counter[str], Counter[str]]:
    """Milliseconds by measure, and those of pauses by reason."""
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for span in spans:
        length, state = span.end - span.begin, span.state
        totals[f"{state}_ms"] += length
        if span.base:
            totals["logged_in_ms"] += length
        elif state in _WORK:
            totals["outside_ms"] += length
        else:
            totals["outside_ringing_ms"] += length
        if state == "paused":
            reasons[span.reason] += length
    return totals, reasons


# -- figures ----------------------------------------------------------------------------------------------

#: Reasons of pauses in one answer; time of the rarer ones is ``other``.
MAX_REASONS = 20


@dataclass(frozen=True, slots=True)
class Times:
    """Time in state of a person, or of a group of people, in a window up to now.

    Occupancy and utilisation look at the time in which a source says that the person is logged in; work outside of it
    is in the seconds of its state and in ``outside_seconds``.
    """

    ms: Mapping[str, int] = field(default_factory=dict)  #: by MEASURES; absent is none
    paused_ms: Mapping[str, int] = field(default_factory=dict)  #: by reason; "" where none was given
    window_ms: int = 0  #: of people who were logged in: the length of the window, summed
    ringing: config.RingingCounts = config.RingingCounts.AVAILABLE

    def seconds(self, state: str) -> float:
        """Seconds in a state: available, ringing, talking, hold, wrap_up, paused, busy, or logged_in, outside."""
        return self.ms.get(f"{state}_ms", 0) / 1000

    @property
    def available_seconds(self) -> float:
        return self.seconds("available")

    @property
    def ringing_seconds(self) -> float:
        return self.seconds("ringing")

    @property
    def talking_seconds(self) -> float:
        return self.seconds("talking")

    @property
    def hold_seconds(self) -> float | None:
        """None where no source tells any."""
        return self.seconds("hold") or None

    @property
    def wrap_up_seconds(self) -> float | None:
        """None where no source tells any."""
        return self.seconds("wrap_up") or None

    @property
    def paused_seconds(self) -> float:
        return self.seconds("paused")

    @property
    def busy_seconds(self) -> float:
        return self.seconds("busy")

    @property
    def logged_in_seconds(self) -> float:
        return self.seconds("logged_in")

    @property
    def outside_seconds(self) -> float:
        """Talk, hold and wrap-up while no source says that the person is logged in."""
        return self.seconds("outside")

    @property
    def offline_seconds(self) -> float | None:
        """The rest of the window; None of people who were not logged in at all: nobody knows where they were."""
        if not self.logged_in_seconds:
            return None
        return self.window_ms / 1000 - self.logged_in_seconds - self.outside_seconds - self.seconds("outside_ringing")

    @property
    def paused_by_reason(self) -> dict[str, float]:
        """Seconds by reason, the longest first."""
        ordered = sorted(self.paused_ms.items(), key=lambda item: (-item[1], item[0]))
        shown = {reason: ms / 1000 for reason, ms in ordered[:MAX_REASONS]}
        rest = sum(ms for _, ms in ordered[MAX_REASONS:])
        return {**shown, "other": shown.get("other", 0) + rest / 1000} if rest else shown

    @property
    def _work_ms(self) -> int:
        """Talk, hold and wrap-up of logged-in time."""
        return sum(self.ms.get(f"{state}_ms", 0) for state in _WORK) - self.ms.get("outside_ms", 0)

    @property
    def _ringing_ms(self) -> int:
        return self.ms.get("ringing_ms", 0) - self.ms.get("outside_ringing_ms", 0)

    @property
    def occupancy(self) -> float | None:
        available, work = self.ms.get("available_ms", 0), self._work_ms
        if self.ringing is config.RingingCounts.AVAILABLE:
            available += self._ringing_ms
        elif self.ringing is config.RingingCounts.WORK:
            work += self._ringing_ms
        return formulas.occupancy(work, available)

    @property
    def utilisation(self) -> float | None:
        work = self._work_ms + (self._ringing_ms if self.ringing is config.RingingCounts.WORK else 0)
        return formulas.utilisation(work, self.ms.get("logged_in_ms", 0))

    def __add__(self, other: Times) -> Times:
        return Times(
            Counter(self.ms) + Counter(other.ms), Counter(self.paused_ms) + Counter(other.paused_ms),
            self.window_ms + other.window_ms, other.ringing,
        )  # fmt: skip

    def as_row(self) -> dict[str, Any]:
        """The figures under the names of the glossary. Those of talks, holds and wraps of *handles* are other ones."""
        return {
            "logged_in_seconds": self.logged_in_seconds,
            "available_seconds": self.available_seconds,
            "ringing_seconds": self.ringing_seconds,
            "talking_seconds": self.talking_seconds,
            "on_hold_seconds": self.hold_seconds,
            "wrap_up_seconds": self.wrap_up_seconds,
            "paused_seconds": self.paused_seconds,
            "busy_seconds": self.busy_seconds,
            "offline_seconds": self.offline_seconds,
            "outside_seconds": self.outside_seconds,
            "occupancy": self.occupancy,
            "utilisation": self.utilisation,
            "paused_by_reason": self.paused_by_reason,
        }


def total(times: Iterable[Times]) -> Times:
    """Of a group of people: the sums, and the shares of the sums."""
    return reduce(Times.__add__, times, Times())
