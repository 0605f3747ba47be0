"""MegaFon virtual PBX and the operators that run the same platform (Kcell): commands of its "REST API for CRM".

``cmd=event`` while the call goes, ``cmd=history`` after it, ``cmd=rating``, ``cmd=contact`` (ignored). Forms whose
``crm_token`` is the proof of origin. Field names, event types and statuses: the models of public clients written
after MegaFon's PDF (brandup-online/megafon-ats) and of Kcell's; MegaFon's own document could not be read. So these
are taken as the clients take them: ``start`` is UTC (``YYYYmmddTHHMMSSZ``), ``duration`` is the conversation,
``wait`` the time before it (new versions only).

Events have no time: they happen when they come. A history alone is a complete call; where it tells no ``wait``, the
wait is unknown. A transfer links the call to the one in ``second_callid``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Rejected
from callkpi.sources.facts import (
    DIRECTIONS,
    RANK_RECORD,
    Facts,
    Parser,
    end_is_last,
    form_or_json,
    pick,
    without_secrets,
)  # fmt: skip

#: ``status`` of a history: for calls to us, and for calls from us.
INBOUND = {"success": Outcome.ANSWERED, "missed": Outcome.NO_ANSWER, "cancel": Outcome.ABANDONED}
OUTBOUND = {
    "success": Outcome.ANSWERED,
    "missed": Outcome.NO_ANSWER,
    "cancel": Outcome.NO_ANSWER,
    "noanswer": Outcome.NO_ANSWER,
    "busy": Outcome.BUSY,
    "notavailable": Outcome.NO_ANSWER,
    "notallowed": Outcome.FAILED,
    "notfound": Outcome.FAILED,
}


@dataclass(frozen=True, slots=True)
class MegafonSource(config.Source):
    """A MegaFon PBX; its token is what MegaFon calls the crm_token."""

    kind: Literal["megafon"] = setting("megafon", "what sends")


class Megafon(base.SourceType):
    keys = MegafonSource
    proof_in_body = True
    known_codes = frozenset({*INBOUND, *OUTBOUND})

    def decode(self, delivery: Delivery) -> Any:
        return form_or_json(delivery)

    def token(self, delivery: Delivery, payload: Any) -> str:
        shown = {str(item.get("crm_token", "")) if isinstance(item, dict) else "" for item in payload}
        return shown.pop() if len(shown) == 1 and shown != {""} else delivery.presented_token

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        facts = Facts(base.require_object(item), context, leave_out=("crm_token",))
        command = facts.text("cmd").lower()
        parser = _COMMANDS.get(command)
        if parser is None:
            raise Rejected(f"cmd: {base.shown(command)} is none of {', '.join(_COMMANDS)}")
        return parser(facts)

    def parse(self, payload: Any, context: Context) -> base.Parsed:
        return super().parse([without_secrets(item, ("crm_token",)) for item in payload], context)

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(events)


def _agent(facts: Facts) -> str:
    """The extension, else the user's name, else the direct number."""
    return facts.text("ext", "user", "telnum")


def _direction(facts: Facts) -> Direction:
    kind = facts.text("type").upper()
    default = {"INCOMING": Direction.INBOUND, "OUTGOING": Direction.OUTBOUND}.get(kind, Direction.UNKNOWN)
    told = facts.text("direction")
    return pick(DIRECTIONS, told, Direction.UNKNOWN) if told else default


def _event(facts: Facts) -> Sequence[CallEvent]:
    call_id, agent, kind = facts.required("callid"), _agent(facts), facts.text("type").upper()
    queue = facts.text("groupRealName")
    leg = f"{call_id}/{agent}"
    common: dict[str, Any] = {"agent": agent, "leg": leg, "queue": queue, "entry": queue}
    about: dict[str, Any] = {"customer": facts.text("phone"), "line": facts.text("diversion")}
    direction = _direction(facts)
    if direction is not Direction.UNKNOWN:
        about["direction"] = direction
    if kind == "INCOMING":
        started = facts.event(Kind.STARTED, call_id, **about)
        queued = [facts.event(Kind.QUEUED, call_id, queue=queue, entry=queue)] if queue else []
        return [started, *queued, facts.event(Kind.RINGING, call_id, **common)]
    if kind == "OUTGOING":
        return [facts.event(Kind.STARTED, call_id, **about), facts.event(Kind.RINGING, call_id, **common)]
    if kind == "ACCEPTED":
        return [facts.event(Kind.ANSWERED, call_id, **common, **about)]
    if kind == "COMPLETED":
        return [facts.event(Kind.ENDED, call_id, **common, **about)]
    if kind == "CANCELLED":
        return [facts.event(Kind.NOT_TAKEN, call_id, cause=LegEnd.CANCELLED, **common, **about)]
    if kind == "TRANSFERRED":
        other = facts.text("second_callid")
        moved = [
            facts.event(Kind.TRANSFERRED, call_id, agent=agent, leg=leg),
            facts.event(Kind.ENDED, call_id, **common),
        ]
        return [*moved, facts.event(Kind.LINKED, call_id, linked_to=other)] if other and other != call_id else moved
    raise Rejected(
        f"type: {base.shown(kind)} is none of INCOMING, OUTGOING, ACCEPTED, COMPLETED, CANCELLED, TRANSFERRED"
    )


def _history(facts: Facts) -> Sequence[CallEvent]:
    call_id, told = facts.required("callid"), facts.required("status").lower()
    direction = pick(DIRECTIONS, facts.text("type"), Direction.UNKNOWN)
    outcome = pick(OUTBOUND if direction is Direction.OUTBOUND else INBOUND, told, Outcome.FAILED)
    answered = outcome is Outcome.ANSWERED
    start, talk, wait = _start(facts), facts.milliseconds("duration") or 0, facts.milliseconds("wait")
    queue, agent = facts.text("groupRealName"), _agent(facts)
    about: dict[str, Any] = {
        "rank": RANK_RECORD, "direction": direction, "customer": facts.text("phone"), "line": facts.text("diversion"),
    }  # fmt: skip
    end = start + timedelta(milliseconds=(talk if answered else 0) + (wait or 0))
    if not answered and wait is None:
        end = start + timedelta(milliseconds=talk)
    queued = [facts.event(Kind.QUEUED, call_id, start, queue=queue, entry=queue)] if queue else []
    ended = facts.event(
        Kind.ENDED, call_id, end, cause=outcome, code=told,
        agent=agent if answered or direction is Direction.OUTBOUND else "",
        talk_ms=talk if answered else None, wait_ms=wait if answered else None, **about,
    )  # fmt: skip
    if queue and not answered:
        queued.append(facts.event(Kind.LEFT_QUEUE, call_id, end, queue=queue, entry=queue, cause=outcome))
    rating = _rating(facts) if facts.text("rating") not in ("", "0") else []
    return [facts.event(Kind.STARTED, call_id, start, **about), *queued, ended, *rating]


def _start(facts: Facts) -> datetime:
    """``20261123T070000Z``; Kcell's clients show ``2026-11-23 07:00:00`` too, which is local."""
    text = facts.required("start")
    try:
        at = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return base.local_time(text, "start", facts.context.settings.zone, facts.context.received_at)
    return base.check_time(at, "start", facts.context.received_at)


def _rating(facts: Facts) -> Sequence[CallEvent]:
    text = facts.text("rating")
    if text not in ("1", "2", "3", "4", "5"):
        raise Rejected(f"rating: {base.shown(text)} must be 1 to 5")
    return [facts.event(Kind.RATED, facts.required("callid"), rating=int(text))]


def _contact(_facts: Facts) -> Sequence[CallEvent]:
    """A question for the caller's name; callkpi knows none."""
    return []


_COMMANDS: dict[str, Parser] = {"event": _event, "history": _history, "rating": _rating, "contact": _contact}
