"""onlinePBX: its web hooks call_start, call_answered, call_end and call_missed (Profile, Web hooks).

Field names of call_start and call_answered: onlinePBX's knowledge base. Of call_end and call_missed the page could not
be read to its end: ``dialog_duration`` is taken from a public client's tests; ``call_duration`` and ``hangup_cause``
(a cause of FreeSWITCH) are read where they come. ``date`` is taken as the time of the notification's own event, in Unix
seconds. JSON and forms are both read. onlinePBX signs nothing: the token is in the address (``?token=``).

A call_end or call_missed alone is a complete call. ``caller`` or ``callee`` is an agent where it is an extension by
``internal_number``; ``gateway`` is our number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, Outcome
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Rejected
from callkpi.sources.facts import DIRECTIONS, RANK_RECORD, Facts, end_is_last, form_or_json, pick, stop_other_rings

EVENTS = ("call_start", "call_answered", "call_end", "call_missed")
#: FreeSWITCH's causes of calls that nobody answered; any other is counted and means a failure.
CAUSES = {
    "normal clearing": Outcome.NO_ANSWER,
    "originator cancel": Outcome.ABANDONED,
    "no answer": Outcome.NO_ANSWER,
    "no user response": Outcome.NO_ANSWER,
    "allotted timeout": Outcome.NO_ANSWER,
    "progress timeout": Outcome.NO_ANSWER,
    "lose race": Outcome.NO_ANSWER,
    "user busy": Outcome.BUSY,
    "call rejected": Outcome.REJECTED,
    "user not registered": Outcome.FAILED,
    "subscriber absent": Outcome.FAILED,
    "unallocated number": Outcome.FAILED,
    "no route destination": Outcome.FAILED,
    "destination out of order": Outcome.FAILED,
    "normal temporary failure": Outcome.FAILED,
    "network out of order": Outcome.FAILED,
    "recovery on timer expire": Outcome.FAILED,
}


@dataclass(frozen=True, slots=True)
class OnlinePbxSource(config.Source):
    """An onlinePBX account."""

    kind: Literal["onlinepbx"] = setting("onlinepbx", "what sends")


class OnlinePbx(base.SourceType):
    keys = OnlinePbxSource
    known_codes = frozenset(cause.upper().replace(" ", "_") for cause in CAUSES)

    def decode(self, delivery: Delivery) -> Any:
        return form_or_json(delivery)

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        facts = Facts(base.require_object(item), context)
        name = facts.text("event")
        if name not in EVENTS:
            raise Rejected(f"event: {base.shown(name)} is none of {', '.join(EVENTS)}")
        call_id, at = facts.required("uuid"), facts.unix("date")
        about, agent = _about(facts)
        leg = {"agent": agent, "leg": agent}
        if name == "call_start":
            started = facts.event(Kind.STARTED, call_id, at, **about)
            return [started, facts.event(Kind.RINGING, call_id, at, **leg)] if agent else [started]
        if name == "call_answered":
            return [facts.event(Kind.ANSWERED, call_id, at, **leg, **about)]
        return _over(facts, call_id, at, {**about, "rank": RANK_RECORD}, agent)

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(stop_other_rings(events))


def _about(facts: Facts) -> tuple[dict[str, Any], str]:
    """Facts of the call, and the agent's extension where it is known."""
    caller, callee = facts.text("caller"), facts.text("callee")
    is_ours = re.compile(facts.context.settings.internal_number).fullmatch
    direction: Direction = pick(DIRECTIONS, facts.text("direction"), Direction.UNKNOWN)
    ours, theirs = (callee, caller) if direction is Direction.INBOUND else (caller, callee)
    about: dict[str, Any] = {"customer": theirs, "line": facts.text("gateway")}
    if direction is not Direction.UNKNOWN:
        about["direction"] = direction
    return about, ours if is_ours(ours) else ""


def _over(facts: Facts, call_id: str, at: datetime | None, about: dict[str, Any], agent: str) -> Sequence[CallEvent]:
    code = facts.text("hangup_cause").upper()
    talk = facts.milliseconds("dialog_duration") or 0
    whole = facts.milliseconds("call_duration")
    answered = talk > 0 and facts.text("event") == "call_end"
    outcome: str = Outcome.ANSWERED if answered else pick(CAUSES, code, Outcome.FAILED if code else Outcome.NO_ANSWER)
    if outcome == Outcome.ABANDONED and about.get("direction") is Direction.OUTBOUND:
        outcome = Outcome.NO_ANSWER
    started = []
    if whole is not None and at is not None:
        begin = base.check_time(at - timedelta(milliseconds=max(whole, talk)), "date", facts.context.received_at)
        started = [facts.event(Kind.STARTED, call_id, begin, **about)]
    ended = facts.event(
        Kind.ENDED, call_id, at, cause=outcome, code=code, agent=agent if answered else "",
        talk_ms=talk if answered else None, **about,
    )  # fmt: skip
    return [*started, ended]
