"""Binotel: its web hooks (API CALL SETTINGS, PUSH of a call's events, API CALL COMPLETED), which are forms.

Field names and dispositions: Binotel's documentation for developers, and the models of a public client where it is
silent. Binotel signs nothing: the token is in the address that its support is given (``?token=``). Not verified: that
``waitsec`` of a completed call is its whole wait, and whether the attempts in ``historyData`` follow one another, so
they are not read as rings. Binotel sends a completed call again until it is answered with a status of success.

receivedTheCall, answeredTheCall, transferredTheCall and hangupTheCall have no time: they happen when they come.
A completed call alone is a whole one; without an employee that took it, it was answered by the one that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Answer, Context, Delivery, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts, Parser, end_is_last, form_or_json, pick, stop_other_rings

OUTCOMES = {
    "answer": Outcome.ANSWERED,
    "transfer": Outcome.ANSWERED,
    "online": Outcome.ANSWERED,
    "noanswer": Outcome.NO_ANSWER,
    "cancel": Outcome.ABANDONED,
    "busy": Outcome.BUSY,
    "congestion": Outcome.FAILED,
    "chanunavail": Outcome.FAILED,
    "vm": Outcome.NO_ANSWER,
    "vm-success": Outcome.VOICEMAIL,
}
_DIRECTIONS = {"0": Direction.INBOUND, "1": Direction.OUTBOUND}


@dataclass(frozen=True, slots=True)
class BinotelSource(config.Source):
    """A Binotel account."""

    kind: Literal["binotel"] = setting("binotel", "what sends")


class Binotel(base.SourceType):
    keys = BinotelSource
    acknowledgement = Answer(b'{"status": "success"}', "application/json")
    known_codes = frozenset(OUTCOMES)

    def decode(self, delivery: Delivery) -> Any:
        return form_or_json(delivery)

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        facts = Facts(base.require_object(item), context)
        name = facts.text("requestType")
        parser = _PARSERS.get(name)
        if parser is None:
            raise Rejected(f"requestType: {base.shown(name)} is none of {', '.join(_PARSERS)}")
        return parser(facts)

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(stop_other_rings(events))


def _about(facts: Facts) -> dict[str, Any]:
    about: dict[str, Any] = {
        "customer": facts.text("externalNumber"),
        "line": facts.text("didNumber", "did")
        or facts.nested("pbxNumberData").text("number")
        or facts.text("pbxNumber"),
    }
    direction = _DIRECTIONS.get(facts.text("callType"))
    return about if direction is None else {**about, "direction": direction}


def _received(facts: Facts) -> Sequence[CallEvent]:
    call_id, agent = facts.required("generalCallID"), facts.text("internalNumber")
    started = facts.event(Kind.STARTED, call_id, **_about(facts))
    return [started, facts.event(Kind.RINGING, call_id, agent=agent, leg=agent)] if agent else [started]


def _answered(facts: Facts) -> Sequence[CallEvent]:
    agent = facts.required("internalNumber")
    return [facts.event(Kind.ANSWERED, facts.required("generalCallID"), agent=agent, leg=agent, **_about(facts))]


def _transferred(facts: Facts) -> Sequence[CallEvent]:
    """The call goes to another employee, whose phone rings."""
    call_id, agent = facts.required("generalCallID"), facts.required("internalNumber")
    return [
        facts.event(Kind.TRANSFERRED, call_id),
        facts.event(Kind.RINGING, call_id, agent=agent, leg=agent),
    ]


def _hung_up(facts: Facts) -> Sequence[CallEvent]:
    """The end as it happens. It doesn't tell the direction, so of "cancel" who gave up: the completed call does."""
    told = facts.required("disposition").lower()
    outcome: str = pick(OUTCOMES, told, Outcome.FAILED)
    cause = "" if outcome in (Outcome.ABANDONED, Outcome.ANSWERED) else outcome
    return [facts.event(Kind.ENDED, facts.required("generalCallID"), cause=cause, code=told)]


def _completed(facts: Facts) -> Sequence[CallEvent]:
    call = facts.nested("callDetails")
    call.event_id = facts.event_id
    call_id, told = call.required("generalCallID"), call.required("disposition").lower()
    start = call.unix("startTime")
    if start is None:
        raise Rejected("callDetails[startTime]: is missing; a call needs its start")
    wait, talk = call.milliseconds("waitsec") or 0, call.milliseconds("billsec") or 0
    about = {**_about(call), "rank": RANK_RECORD}
    outcome = pick(OUTCOMES, told, Outcome.FAILED)
    if outcome is Outcome.ABANDONED and about.get("direction") is Direction.OUTBOUND:
        outcome = Outcome.NO_ANSWER
    answered = outcome is Outcome.ANSWERED
    agent = call.text("internalNumber") or call.nested("employeeData").text("extNumber", "internalNumber")
    end = start + timedelta(milliseconds=wait + talk)
    rings = [
        call.event(Kind.RINGING, call_id, start, agent=agent, leg=agent),
        call.event(Kind.NOT_TAKEN, call_id, end, agent=agent, leg=agent, cause=LegEnd.NO_ANSWER),
    ]  # fmt: skip
    ended = call.event(
        Kind.ENDED, call_id, end, cause=outcome, code=told, agent=agent if answered else "",
        talk_ms=talk if answered else None, wait_ms=wait if answered else None, **about,
    )  # fmt: skip
    started = call.event(Kind.STARTED, call_id, start, **about)
    unreached = about.get("direction") is Direction.OUTBOUND and agent and not answered
    return [started, *(rings if unreached else []), ended]


def _nothing(_facts: Facts) -> Sequence[CallEvent]:
    """A question for the caller's name and employee; callkpi knows none."""
    return []


_PARSERS: dict[str, Parser] = {
    "receivedTheCall": _received,
    "answeredTheCall": _answered,
    "transferredTheCall": _transferred,
    "hangupTheCall": _hung_up,
    "apiCallCompleted": _completed,
    "apiCallSettings": _nothing,
    "gettingCallSettings": _nothing,
}
