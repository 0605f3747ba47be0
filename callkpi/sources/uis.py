"""UIS, CoMagic, CallGear and Novofon 2: HTTP notifications about calls, whose JSON the customer writes himself.

The variables (``call_session_id``, ``contact_phone_number``…) are theirs, as in the templates of Planfix's help and of
a public client of Novofon 2; the vendor's own list of them could not be read. Which notification it is, is told by
``event``, which each template has as plain text: see :data:`EVENTS`. Variables may be nested in objects, as in the
vendor's templates (``contact_info``, ``employee_info``, ``call_info``). They sign nothing: ``?token=`` in the address.

Times are ``notification_timestamp`` (Unix seconds) or ``notification_time``, which is taken as local time of the
account (``timezone``). A "finished" alone is a complete call. What is lost is no answer: who gave up is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, Outcome
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected
from callkpi.sources.facts import DIRECTIONS, RANK_RECORD, Facts, end_is_last, pick, stop_other_rings


@dataclass(frozen=True, slots=True)
class UisSource(config.Source):
    """A UIS or CoMagic account."""

    kind: Literal["uis"] = setting("uis", "what sends")


class Uis(base.SourceType):
    keys = UisSource

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        raw = base.require_object(item)
        inner = {key: value for part in raw.values() if isinstance(part, dict) for key, value in part.items()}
        facts = Facts({**inner, **raw}, context)
        name = facts.text("event").lower()
        if name not in EVENTS:
            raise Rejected(f"event: {base.shown(name)} is none of {', '.join(EVENTS)}; write it into the template")
        return EVENTS[name](_Notification.read(facts))

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(stop_other_rings(events))


@dataclass(frozen=True, slots=True)
class _Notification:
    facts: Facts
    call_id: str
    at: datetime | None
    agent: str
    direction: Direction

    @classmethod
    def read(cls, facts: Facts) -> _Notification:
        return cls(
            facts,
            facts.required("call_session_id"),
            facts.unix("notification_timestamp") or facts.local("notification_time"),
            facts.text("employee_full_name", "employee_id"),
            pick(DIRECTIONS, facts.text("direction"), Direction.UNKNOWN),
        )

    def event(self, kind: Kind, **more: Any) -> CallEvent:
        return self.facts.event(kind, self.call_id, self.at, **more)

    def about(self, otherwise: Direction = Direction.UNKNOWN) -> dict[str, Any]:
        told = {
            "customer": self.facts.text("contact_phone_number"),
            "line": self.facts.text("virtual_phone_number"),
        }
        direction = self.direction if self.direction is not Direction.UNKNOWN else otherwise
        return told if direction is Direction.UNKNOWN else {**told, "direction": direction}

    def leg(self) -> dict[str, Any]:
        if not self.agent:
            raise Rejected("employee_full_name: is missing; write employee_full_name or employee_id into the template")
        return {"agent": self.agent, "leg": self.agent}


def _incoming(told: _Notification) -> Sequence[CallEvent]:
    return [told.event(Kind.STARTED, rank=1, **told.about(Direction.INBOUND))]


def _outgoing(told: _Notification) -> Sequence[CallEvent]:
    started = told.event(Kind.STARTED, rank=1, **told.about(Direction.OUTBOUND))
    return [started, told.event(Kind.RINGING, **told.leg())] if told.agent else [started]


def _waiting(told: _Notification) -> Sequence[CallEvent]:
    return [told.event(Kind.RINGING, **told.leg(), **told.about())]


def _talk_started(told: _Notification) -> Sequence[CallEvent]:
    return [told.event(Kind.ANSWERED, **told.leg(), **told.about())]


def _talk_finished(told: _Notification) -> Sequence[CallEvent]:
    return [told.event(Kind.ENDED, talk_ms=told.facts.milliseconds("talk_time_duration"), **told.leg())]


def _lost(told: _Notification) -> Sequence[CallEvent]:
    return [told.event(Kind.ENDED, rank=1, cause=Outcome.NO_ANSWER, **told.about(Direction.INBOUND))]


def _finished(told: _Notification) -> Sequence[CallEvent]:
    talk, wait, total = (told.facts.milliseconds(f"{name}_time_duration") for name in ("talk", "wait", "total"))
    answered, about = bool(talk), told.about()
    started = []
    begin = told.facts.local("start_time")
    if begin is None and total is not None and told.at is not None:
        begin = base.check_time(told.at - timedelta(milliseconds=total), "notification_time", told.at)
    if begin is not None:
        started = [told.facts.event(Kind.STARTED, told.call_id, begin, **about)]
    ended = told.event(
        Kind.ENDED, rank=RANK_RECORD, cause=Outcome.ANSWERED if answered else Outcome.NO_ANSWER,
        agent=told.agent if answered else "", talk_ms=talk if answered else None,
        wait_ms=wait if answered else None, **about,
    )  # fmt: skip
    return [*started, ended]


def _nothing(_told: _Notification) -> Sequence[CallEvent]:
    return []


#: What a template's ``event`` may be. Upper case is read too, and the names in Novofon's own templates.
EVENTS: dict[str, Callable[[_Notification], Sequence[CallEvent]]] = {
    "incoming": _incoming,
    "outgoing": _outgoing,
    "waiting": _waiting,
    "talk_started": _talk_started,
    "talk_finished": _talk_finished,
    "lost": _lost,
    "finished": _finished,
    "call_end": _finished,
    "record_call": _nothing,
}
