"""What FreeSWITCH knows of a channel when it is over: the variables of mod_json_cdr and of CHANNEL_HANGUP_COMPLETE.

Both are made of the same channel variables, so they are read by the same code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome, millis
from callkpi.sources import base
from callkpi.sources.base import Rejected
from callkpi.sources.facts import DIRECTIONS, RANK_RECORD, Facts
from callkpi.sources.freeswitch.settings import FreeSwitchSource

#: ``hangup_cause`` of a call that nobody answered. Names: FreeSWITCH's table of hangup causes.
OUTCOMES = {
    "NORMAL_CLEARING": "", "ORIGINATOR_CANCEL": Outcome.ABANDONED, "NO_ANSWER": Outcome.NO_ANSWER,
    "NO_USER_RESPONSE": Outcome.NO_ANSWER, "ALLOTTED_TIMEOUT": Outcome.NO_ANSWER,
    "PROGRESS_TIMEOUT": Outcome.NO_ANSWER, "MEDIA_TIMEOUT": Outcome.FAILED, "USER_BUSY": Outcome.BUSY,
    "CALL_REJECTED": Outcome.REJECTED, "SUBSCRIBER_ABSENT": Outcome.NO_ANSWER, "USER_NOT_REGISTERED": Outcome.NO_ANSWER,
    "UNALLOCATED_NUMBER": Outcome.FAILED, "INVALID_NUMBER_FORMAT": Outcome.FAILED,
    "NO_ROUTE_DESTINATION": Outcome.FAILED,
    "DESTINATION_OUT_OF_ORDER": Outcome.FAILED, "NETWORK_OUT_OF_ORDER": Outcome.FAILED,
    "NORMAL_TEMPORARY_FAILURE": Outcome.FAILED, "RECOVERY_ON_TIMER_EXPIRE": Outcome.FAILED,
    "NORMAL_UNSPECIFIED": Outcome.FAILED, "INTERWORKING": Outcome.FAILED, "INCOMPATIBLE_DESTINATION": Outcome.FAILED,
    "SWITCH_CONGESTION": Outcome.FAILED, "NORMAL_CIRCUIT_CONGESTION": Outcome.FAILED, "CALL_BARRED": Outcome.FAILED,
    "OUTGOING_CALL_BARRED": Outcome.FAILED, "INCOMING_CALL_BARRED": Outcome.FAILED, "GATEWAY_DOWN": Outcome.FAILED,
    "SERVICE_UNAVAILABLE": Outcome.FAILED, "BEARERCAPABILITY_NOTAVAIL": Outcome.FAILED,
    "CHAN_NOT_IMPLEMENTED": Outcome.FAILED,
    "ATTENDED_TRANSFER": "", "BLIND_TRANSFER": "", "LOSE_RACE": "", "PICKED_OFF": "", "MANAGER_REQUEST": "",
    "SUCCESS": "", "NONE": "",
}  # fmt: skip
#: ``cc_cancel_reason``: BREAK_OUT is the caller who hung up (or whom the dialplan took out).
CANCELLED = {
    "BREAK_OUT": Outcome.ABANDONED, "TIMEOUT": Outcome.TIMED_OUT, "NO_AGENT_TIMEOUT": Outcome.LEFT_EMPTY,
    "EXIT_WITH_KEY": Outcome.EXITED, "NONE": Outcome.ABANDONED,
}  # fmt: skip
#: The cause with which an agent's channel ends who has transferred the call.
TRANSFERS = {"BLIND_TRANSFER": "blind", "ATTENDED_TRANSFER": "attended"}
#: Marks the leg of an outside number: an agent's mobile in a call to us, the customer himself in a call of ours.
RANK_OUTSIDE = -1
_RING_ENDS = {"NO_ANSWER", "NO_USER_RESPONSE", "ALLOTTED_TIMEOUT", "PROGRESS_TIMEOUT"}


def profile_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The caller's profile of the first stage of the call (they are listed newest first), and who made the channel."""
    flow = record.get("callflow")
    stages = [stage for stage in (flow if isinstance(flow, list) else [flow]) if isinstance(stage, dict)]
    profiles = [profile for stage in stages if isinstance(profile := stage.get("caller_profile"), dict)]
    made = next((profile["originator"] for profile in profiles if "originator" in profile), None)
    return {**decoded(profiles[-1] if profiles else {}), **({"originator": made} if made else {})}


def decoded(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: unquote(value) if isinstance(value, str) else value for name, value in fields.items()}


def ring_end(cause: str) -> LegEnd:
    """How a ring ended that nobody took, by the channel's hangup cause."""
    if cause in _RING_ENDS:
        return LegEnd.NO_ANSWER
    return LegEnd.BUSY if cause in ("USER_BUSY", "CALL_REJECTED") else LegEnd.CANCELLED


class Record:
    """One record: the caller's channel, or one that rang an agent."""

    def __init__(self, facts: Facts, profile: Mapping[str, Any]) -> None:
        self.facts, self.profile = facts, type(facts)(profile, facts.context)
        self.uuid = facts.text("uuid") or self.profile.required("uuid")
        self.facts.event_id = base.digest(self.uuid, facts.event_id)
        self.parent = "" if facts.text("cc_side") == "member" else self._parent()
        self.started = self.time("start")
        self.ended = self.time("end")
        self.cause = facts.text("hangup_cause").upper()

    def events(self) -> list[CallEvent]:
        """What the record tells. Raises Rejected for one without times."""
        if self.started is None or self.ended is None:
            raise Rejected("start_epoch, end_epoch: are missing; a record needs both")
        return self.agent_events() if self.parent else self.call_events()

    def _parent(self) -> str:
        """The caller's channel that this one was made for."""
        by_queue = self.facts.text("cc_member_session_uuid") if self.facts.text("cc_side") == "agent" else ""
        originator = self.profile.nested("originator").fields.get("originator_caller_profiles")
        profiles = originator if isinstance(originator, list) else []
        by_profile = str(profiles[0].get("uuid", "")) if profiles and isinstance(profiles[0], dict) else ""
        parent = by_queue or self.facts.text("originating_leg_uuid") or by_profile
        return "" if parent == self.uuid else parent

    def time(self, name: str) -> datetime | None:
        """Microseconds where FreeSWITCH tells them, else seconds."""
        return self.facts.unix_micros(f"{name}_uepoch") or self.facts.unix(f"{name}_epoch")

    def event(self, kind: Kind, at: datetime, **told: Any) -> CallEvent:
        part = f"{told.get('entry', '')}{told.get('leg', '')}"
        return self.facts.event(kind, self.parent or self.uuid, at, part=part, **told)

    # -- the agent's channel ---------------------------------------------------------------------
    def agent_events(self) -> list[CallEvent]:
        assert self.started is not None and self.ended is not None
        rank = 0 if self.is_agents else RANK_OUTSIDE
        common: dict[str, Any] = {"agent": self.agent, "leg": self.uuid, "rank": rank}
        if queue := self.facts.text("cc_queue"):
            common |= {"queue": queue}
        answered = self.time("answer")
        events = [self.event(Kind.RINGING, self.started, **common)]
        if answered is None:
            return [*events, self.event(Kind.NOT_TAKEN, self.ended, cause=ring_end(self.cause), **common)]
        hold = self.facts.milliseconds("hold_accum_seconds")
        if (how := TRANSFERS.get(self.cause)) is not None:
            events.append(self.event(Kind.TRANSFERRED, self.ended, cause=how, leg=self.uuid, rank=rank))
        return [
            *events,
            self.event(Kind.ANSWERED, answered, **common),
            self.event(Kind.ENDED, self.ended, hold_ms=hold or None, **common),
        ]

    @property
    def agent(self) -> str:
        """Whom a channel that FreeSWITCH made rings."""
        names = ("cc_agent", "dialed_user", "callee_id_number", "destination_number")
        return self.facts.text(*names) or self.profile.text("callee_id_number", "destination_number")

    @property
    def is_agents(self) -> bool:
        """Whether a channel that FreeSWITCH made rings one of ours, not an outside number."""
        is_ours = re.fullmatch(self.facts.context.settings.internal_number, self.agent.partition("@")[0])
        return bool(is_ours or self.facts.text("cc_agent", "dialed_user"))

    # -- the caller's channel --------------------------------------------------------------------
    def call_events(self) -> list[CallEvent]:
        assert self.started is not None and self.ended is not None
        direction, caller = self.direction(), self.caller
        about: dict[str, Any] = {"rank": RANK_RECORD, **self.about(direction)}
        talk = self._conversation(caller, direction)
        stay = self._stay()
        ring = []
        if direction is Direction.OUTBOUND:
            leg = talk[0].leg if talk else self.uuid
            ring = [self.event(Kind.RINGING, self.started, agent=caller, leg=leg)]
        outcome = Outcome.ANSWERED if talk else self.outcome(direction)
        ended = self.event(
            Kind.ENDED, self.ended, cause="" if talk or stay else outcome, code=self.cause,
            hangup_by=self.hung_up_by(direction), **about,
        )  # fmt: skip
        return [self.event(Kind.STARTED, self.started, **about), *ring, *stay, *talk, ended]

    @property
    def caller(self) -> str:
        return self.profile.text("caller_id_number", "ani") or self.facts.text("caller_id_number", "sip_from_user")

    def about(self, direction: Direction) -> dict[str, Any]:
        """Direction, customer and line, as the caller's channel knows them."""
        called = self.facts.text("caller_destination", "sip_to_user") or self.profile.text("destination_number")
        if direction is not Direction.OUTBOUND:
            return {"direction": direction, "customer": self.caller, "line": called}
        own = self.facts.text("effective_caller_id_number", "outbound_caller_id_number")
        return {"direction": direction, "customer": called, "line": own if own != self.caller else ""}

    def direction(self) -> Direction:
        settings = self.facts.context.settings
        told = DIRECTIONS.get(self.facts.text("call_direction").lower())
        if told is not None:
            return told
        context = self.profile.text("context") or self.facts.text("user_context")
        caller = self.profile.text("caller_id_number") or self.facts.text("caller_id_number")
        called = self.profile.text("destination_number") or self.facts.text("destination_number")
        own = config.as_kind(settings, FreeSwitchSource)
        if context and context in own.inbound_contexts:
            return Direction.INBOUND
        is_ours = re.compile(settings.internal_number).fullmatch
        from_us = bool(self.facts.text("sip_auth_username", "user_name")) or bool(is_ours(caller))
        if context in own.outbound_contexts or from_us:
            return Direction.INTERNAL if is_ours(called) else Direction.OUTBOUND
        return Direction.INBOUND

    def _stay(self) -> list[CallEvent]:
        """The stay in the queue of mod_callcenter, the last one that the channel's variables remember."""
        queue, joined = self.facts.text("cc_queue"), self.facts.unix("cc_queue_joined_epoch")
        if not queue or joined is None:
            return []
        common = {"queue": queue, "entry": f"{queue}/{int(joined.timestamp())}"}
        queued = self.event(Kind.QUEUED, joined, **common)
        left = self.facts.unix("cc_queue_canceled_epoch")
        if self.facts.text("cc_cause").lower() == "answered" or left is None:
            return [queued]
        cause = CANCELLED.get(self.facts.text("cc_cancel_reason").upper(), Outcome.ABANDONED)
        return [queued, self.event(Kind.LEFT_QUEUE, max(left, joined), cause=cause, **common)]

    def _conversation(self, caller: str, direction: Direction) -> list[CallEvent]:
        """Who answered, as the caller's channel knows it; empty where nobody did."""
        assert self.ended is not None
        queue = self.facts.text("cc_queue")
        joined, answered = self.facts.unix("cc_queue_joined_epoch"), self.facts.unix("cc_queue_answered_epoch")
        if queue and joined is not None and answered is not None:
            common: dict[str, Any] = {
                "agent": self.facts.text("cc_agent"), "leg": self.facts.text("cc_agent_uuid", "last_bridge_to"),
                "queue": queue, "entry": f"{queue}/{int(joined.timestamp())}", "wait_ms": millis(answered, joined),
            }  # fmt: skip
            return self._talk(max(answered, joined), self.facts.unix("cc_queue_terminated_epoch"), common)
        bridged = self.time("bridge")
        peer = self.facts.text("last_bridge_to", "bridge_uuid")
        left = self.facts.unix("cc_queue_canceled_epoch")
        if bridged is None or not peer or (queue and (left is None or bridged < left)):
            return []  # in a queue only an agent's answer is one; who was taken out of it may be answered elsewhere
        outbound = direction is Direction.OUTBOUND
        agent = caller if outbound else self.facts.text("dialed_user", "last_sent_callee_id_number")
        return self._talk(bridged, None, {"agent": agent, "leg": peer})

    def _talk(self, answered: datetime, over: datetime | None, common: Mapping[str, Any]) -> list[CallEvent]:
        assert self.ended is not None
        hold = self.facts.milliseconds("hold_accum_seconds") or None
        of_leg = {name: common[name] for name in ("agent", "leg")}
        end = self.event(Kind.ENDED, max(over or self.ended, answered), hold_ms=hold, **of_leg)
        return [self.event(Kind.ANSWERED, answered, **common), end]

    def outcome(self, direction: Direction) -> str:
        """Why nobody answered; "" leaves it to the fold."""
        if self.facts.text("last_app", "current_application") == "voicemail":
            return Outcome.VOICEMAIL
        outcome: str = OUTCOMES.get(self.cause, Outcome.FAILED)
        last: str = OUTCOMES.get(self.facts.text("originate_disposition", "last_bridge_hangup_cause").upper(), "")
        if outcome == "" and last and self.facts.text("originate_disposition").upper() != "SUCCESS":
            outcome = last  # the dialplan hung up after an attempt that failed
        if outcome == Outcome.ABANDONED and direction is Direction.OUTBOUND:
            return Outcome.NO_ANSWER
        return outcome

    def hung_up_by(self, direction: Direction) -> str:
        """``recv_bye`` and ``recv_cancel``: the far end of this channel; ``send_…``: the other side or the dialplan."""
        disposition = self.facts.text("sip_hangup_disposition")
        caller, called = ("agent", "customer") if direction is Direction.OUTBOUND else ("customer", "agent")
        if disposition.startswith("recv_"):
            return caller
        return called if disposition == "send_bye" and self.time("bridge") else ""


def heard_by_caller(records: Sequence[CallEvent]) -> list[CallEvent]:
    """The records of one call without answers that reached nobody.

    A phone may be picked up when the caller has gone already, or the agent may not have confirmed: his own channel
    was answered then, and the record of the caller's channel knows of no conversation, or ended before.
    """
    start = next((event for event in records if event.kind is Kind.STARTED), None)
    if start is None:
        return list(records)
    own = [event for event in records if event.event_id.partition(".")[0] == start.event_id.partition(".")[0]]
    talked = any(event.kind is Kind.ANSWERED for event in own)
    over = min((event.at for event in own if event.kind is Kind.ENDED and not event.leg), default=None)
    given_up = {event.queue: event.at for event in own if event.kind is Kind.LEFT_QUEUE}
    late = {
        event.leg
        for event in records
        if event.kind is Kind.ANSWERED and event not in own
        if not talked or (over is not None and event.at > over) or event.at > given_up.get(event.queue, event.at)
    }
    return [told for event in records if (told := _unanswered(event, late)) is not None]


def _unanswered(event: CallEvent, legs: Collection[str]) -> CallEvent | None:
    """An event of a leg whose answer was none: it rang, and then stopped."""
    if event.leg not in legs or event.kind is Kind.RINGING:
        return event
    if event.kind is Kind.ANSWERED:
        return replace(event, kind=Kind.NOT_TAKEN, event_id=f"{event.event_id}.none", cause=LegEnd.CANCELLED)
    return None
