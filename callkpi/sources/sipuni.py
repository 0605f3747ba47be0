"""Sipuni: its HTTP events (Settings, API, Events of the PBX), which are GET or POST with the same parameters.

That, and the answer that Sipuni wants: its documentation. Parameters, statuses and their quirks: public clients, one of
which lists events that it recorded. Sipuni signs nothing: ``?token=`` in the address. Not verified: that an event 4 is
the end of one ring or of a conversation that was handed over, as clients take it.

Event 1 is a ring (it may come twice), 3 an answer, 4 the end of a secondary leg, 2 the end of the call, which alone is
a complete one. ``call_answer_timestamp`` is used where it is not before the start, which has been seen; ``treeName`` is
a scheme of the PBX, no queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome, millis
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Answer, Context, Delivery, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts, end_is_last, form_or_json, stop_other_rings, without_secrets

OUTCOMES = {
    "ANSWER": Outcome.ANSWERED, "BUSY": Outcome.BUSY, "NOANSWER": Outcome.NO_ANSWER, "CANCEL": Outcome.ABANDONED,
    "CONGESTION": Outcome.FAILED, "CHANUNAVAIL": Outcome.FAILED,
}  # fmt: skip
_RING_ENDS = {"BUSY": LegEnd.BUSY, "NOANSWER": LegEnd.NO_ANSWER}
_DIRECTIONS = {
    ("1", "1"): Direction.INBOUND, ("1", "2"): Direction.INBOUND, ("2", "1"): Direction.OUTBOUND,
    ("2", "2"): Direction.INTERNAL,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SipuniSource(config.Source):
    """A Sipuni account."""

    kind: Literal["sipuni"] = setting("sipuni", "what sends")


class Sipuni(base.SourceType):
    keys = SipuniSource
    acknowledgement = Answer(b'{"success": true}', "application/json")
    known_codes = frozenset(OUTCOMES)
    takes_queries = True

    def decode(self, delivery: Delivery) -> Any:
        return [without_secrets(item, ("token",)) for item in form_or_json(delivery)]

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        told = _Told(Facts(base.require_object(item), context))
        event = told.facts.text("event")
        if event == "1":
            started = told.event(Kind.STARTED, **told.about)
            return [started, told.event(Kind.RINGING, **told.leg)] if told.agent else [started]
        if event == "3":
            return [told.event(Kind.ANSWERED, **told.leg, **told.about)] if told.agent else []
        if event == "4":
            return told.leg_over()
        if event == "2":
            return told.over()
        raise Rejected(f"event: {base.shown(event)} is none of 1, 2, 3, 4")

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(stop_other_rings(events))


class _Told:
    """One event of Sipuni."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.call_id, self.at = facts.required("call_id"), facts.unix("timestamp")
        ends = (facts.text("src_type"), facts.text("dst_type"))
        self.direction = _DIRECTIONS.get(ends, Direction.UNKNOWN)
        source, target = facts.text("short_src_num", "src_num"), facts.text("short_dst_num", "dst_num")
        inbound = self.direction is Direction.INBOUND
        if inbound:
            self.agent = target if ends[1] == "2" else ""
        else:
            self.agent = source if ends[0] == "2" else ""
        self.about: dict[str, Any] = {"customer": facts.text("src_num") if inbound else target}
        if self.direction is not Direction.UNKNOWN:
            self.about["direction"] = self.direction
        if inbound:
            self.about["line"] = facts.text("pbxdstnum") or facts.text("dst_num").partition("_id")[0]
        self.leg = {"agent": self.agent, "leg": self.agent}
        self.status = facts.text("status").upper()

    def event(self, kind: Kind, **more: Any) -> CallEvent:
        return self.facts.event(kind, self.call_id, self.at, **more)

    def leg_over(self) -> list[CallEvent]:
        if not self.agent or self.direction is not Direction.INBOUND:
            return []
        if self.status != "ANSWER":
            return [self.event(Kind.NOT_TAKEN, cause=_RING_ENDS.get(self.status, LegEnd.CANCELLED), **self.leg)]
        by = self.facts.text("transfer_from")
        moved = [self.event(Kind.TRANSFERRED, agent=by, leg=by)] if by else []
        return [*moved, self.event(Kind.ENDED, **self.leg)]

    def over(self) -> list[CallEvent]:
        if not self.status:
            raise Rejected("status: is missing in an event 2")
        outcome = OUTCOMES.get(self.status, Outcome.FAILED)
        if outcome is Outcome.ABANDONED and self.direction is Direction.OUTBOUND:
            outcome = Outcome.NO_ANSWER
        start, answer = self.facts.unix("call_start_timestamp"), self.facts.unix("call_answer_timestamp")
        answered = outcome is Outcome.ANSWERED
        talk = wait = None
        if answered and start is not None and answer is not None and start <= answer:
            wait = millis(answer, start)
            talk = millis(self.at, answer) if self.at is not None and self.at >= answer else None
        told = {**self.about, "rank": RANK_RECORD}
        started = []
        if start is not None:
            started = [self.facts.event(Kind.STARTED, self.call_id, start, **told)]
        agent = self.agent or self.facts.text("last_called")
        ended = self.event(
            Kind.ENDED, cause=outcome, code=self.status, agent=agent if answered else "", talk_ms=talk, wait_ms=wait,
            **told,
        )  # fmt: skip
        return [*started, ended]
