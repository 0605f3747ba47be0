"""Random traffic for property tests: calls of a small call centre as canonical events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome
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
    source: str = "native"

    def say(self, kind: Kind, after_ms: int, **facts: Any) -> None:
        self.at += timedelta(milliseconds=after_ms)
        self.events.append(
            CallEvent(
                tenant="acme", source=self.source, call_id=self.call_id, kind=kind, at=self.at,
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


_traffic = traffic


@st.composite
def told_twice(draw: st.DrawFn) -> list[CallEvent]:
    """Traffic of a PBX, and what a portal tells of it: of some calls, late or early, wrong or broken off, and of others
    that no PBX saw."""
    events = draw(traffic())
    by_call: dict[str, list[CallEvent]] = {}
    for event in events:
        by_call.setdefault(event.call_id, []).append(event)
    told = list(events)
    for number, (call_id, heard) in enumerate(by_call.items()):
        for copy in range(draw(st.integers(0, 2))):
            told += draw(_portal_call(f"{call_id}.{copy}", heard, number))
    return told


@st.composite
def _portal_call(draw: st.DrawFn, call_id: str, heard: list[CallEvent], number: int) -> list[CallEvent]:
    late = draw(st.sampled_from([0, 700, 2_000, -2_000, 20_000, 70_000]))
    script = _Script(f"portal-{call_id}", heard[0].at, [], "portal")
    customer = heard[0].customer if draw(st.integers(0, 5)) else draw(st.sampled_from(CUSTOMERS))
    fields = {"external_call_id": f"call-{number}"} if not draw(st.integers(0, 3)) else {}
    script.say(Kind.STARTED, late, direction=heard[0].direction, customer=customer, line="7", fields=fields)
    lasts = int((heard[-1].at - heard[0].at).total_seconds() * 1000) + draw(st.sampled_from([0, 500, 3_000]))
    talked = any(event.kind is Kind.ANSWERED for event in heard) ^ (not draw(st.integers(0, 6)))
    cause = Outcome.ANSWERED if talked else Outcome.NO_ANSWER
    script.say(Kind.ENDED, lasts, rank=2, cause=cause, agent="58", talk_ms=lasts if talked else None)
    script.events = script.events[: draw(st.sampled_from([1, 2, 2, 2]))]
    if not draw(st.integers(0, 3)):
        # A correction: it was another customer, or another day's call.
        script.say(Kind.RATED, 5_000, rank=3, rating=1, customer=draw(st.sampled_from(CUSTOMERS)))
    return script.events


@st.composite
def arrival(
    draw: st.DrawFn, traffic: st.SearchStrategy[list[CallEvent]] | None = None
) -> tuple[list[CallEvent], list[list[CallEvent]]]:
    """Traffic, and the same in any order, with repetitions, in deliveries of any size."""
    events = draw(_traffic() if traffic is None else traffic)
    mixed = draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=5))))
    cuts = sorted(draw(st.sets(st.integers(1, len(mixed)), max_size=5)) | {len(mixed)})
    begins = [0, *cuts[:-1]]
    return events, [mixed[begin:end] for begin, end in zip(begins, cuts, strict=True)]
