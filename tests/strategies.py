"""Random traffic for property tests: calls of a small call centre as canonical events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from callkpi.model import CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.sources.base import digest

#: An evening before midnight of the centre, and of a month, on the day of a change of clocks in Europe.
EPOCH = datetime(2026, 10, 24, 18, 50, tzinfo=UTC)
CUSTOMERS = ["+77010000001", "+77010000002", "8 701 000-00-03", ""]
QUEUES = ["sales", "support"]
AGENTS = ["1001", "1002", "1003"]


@dataclass
class _Script:
    """Writes the events of one call, one after the other."""

    call_id: str
    at: datetime
    events: list[CallEvent]

    def say(self, kind: Kind, after_ms: int, **facts: Any) -> None:
        self.at += timedelta(milliseconds=after_ms)
        self.events.append(
            CallEvent(
                tenant="acme", source="native", call_id=self.call_id, kind=kind, at=self.at,
                event_id=digest(self.call_id, len(self.events)), received_at=self.at, **facts,
            )
        )  # fmt: skip


_STEP = st.integers(0, 90_000)


@st.composite
def call(draw: st.DrawFn, number: int = 0) -> list[CallEvent]:
    """One call, whole or broken off anywhere, with what may happen to a call."""
    begin = EPOCH + timedelta(milliseconds=draw(st.integers(0, 7 * 3_600_000)))
    script = _Script(f"call-{number}", begin, [])
    direction = draw(st.sampled_from([Direction.INBOUND, Direction.INBOUND, Direction.OUTBOUND, Direction.INTERNAL]))
    customer = draw(st.sampled_from(CUSTOMERS))
    script.say(Kind.STARTED, 0, direction=direction, customer=customer, line=draw(st.sampled_from(["100", "200"])))
    answered = False
    if direction is Direction.INBOUND:
        for stay in range(draw(st.integers(0, 2))):
            answered = draw(_stay(script, f"{stay}"))
            if answered:
                break
    elif draw(st.booleans()):
        answered = True
        agent = draw(st.sampled_from(AGENTS))
        script.say(Kind.RINGING, draw(_STEP), agent=agent, leg="out")
        script.say(Kind.ANSWERED, draw(_STEP), agent=agent, leg="out")
    cause = Outcome.ANSWERED if answered else draw(st.sampled_from(["", Outcome.BUSY, Outcome.FAILED]))
    script.say(Kind.ENDED, draw(_STEP), cause=cause, hangup_by=draw(st.sampled_from(["customer", "agent", ""])))
    if draw(st.booleans()):
        script.say(Kind.RATED, 100, rating=draw(st.integers(1, 5)))
    keep = draw(st.integers(1, len(script.events))) if draw(st.booleans()) else len(script.events)
    return script.events[:keep]


@st.composite
def _stay(draw: st.DrawFn, script: _Script, entry: str) -> bool:
    """One stay in a queue; whether it was answered."""
    queue = draw(st.sampled_from(QUEUES))
    script.say(Kind.QUEUED, draw(st.integers(0, 3000)), queue=queue, entry=entry)
    for ring in range(draw(st.integers(0, 2))):
        agent, leg = draw(st.sampled_from(AGENTS)), f"{entry}.{ring}"
        script.say(Kind.RINGING, draw(_STEP), agent=agent, leg=leg, queue=queue, entry=entry)
        script.say(Kind.NOT_TAKEN, draw(_STEP), agent=agent, leg=leg, queue=queue, entry=entry, cause=LegEnd.NO_ANSWER)
    if not draw(st.booleans()):
        cause = draw(st.sampled_from([Outcome.ABANDONED, Outcome.TIMED_OUT, Outcome.EXITED]))
        script.say(Kind.LEFT_QUEUE, draw(_STEP), queue=queue, entry=entry, cause=cause)
        return False
    agent, leg = draw(st.sampled_from(AGENTS)), f"{entry}.talk"
    common = {"agent": agent, "leg": leg, "queue": queue, "entry": entry}
    script.say(Kind.RINGING, draw(_STEP), **common)
    script.say(Kind.ANSWERED, draw(_STEP), **common)
    if draw(st.booleans()):
        script.say(Kind.HELD, draw(_STEP), leg=leg)
        script.say(Kind.RESUMED, draw(_STEP), leg=leg)
    script.say(Kind.ENDED, draw(_STEP), **common)
    if draw(st.booleans()):
        script.say(Kind.WRAPPED, draw(_STEP), agent=agent, wrap_ms=draw(st.integers(0, 60_000)))
    return True


@st.composite
def traffic(draw: st.DrawFn) -> list[CallEvent]:
    """The events of a few calls, call after call."""
    return [event for number in range(draw(st.integers(1, 6))) for event in draw(call(number))]


@st.composite
def arrival(draw: st.DrawFn) -> tuple[list[CallEvent], list[list[CallEvent]]]:
    """Traffic, and the same in any order, with repetitions, in deliveries of any size."""
    events = draw(traffic())
    mixed = draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=5))))
    cuts = sorted(draw(st.sets(st.integers(1, len(mixed)), max_size=5)) | {len(mixed)})
    begins = [0, *cuts[:-1]]
    return events, [mixed[begin:end] for begin, end in zip(begins, cuts, strict=True)]
