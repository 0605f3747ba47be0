"""Events of FreeSWITCH's event socket: what is journalled of them; how they are read: :mod:`.freeswitch_calls`.

An event is an object of its headers, as ``event json`` sends it, or ``event plain`` after percent-decoding.

Checked against the sources of FreeSWITCH: ``switch_channel_event_set_basic_data`` and ``…_extended_data`` (headers of a
channel; HOLD and UNHOLD come without ``variable_…``), ``switch_ivr_bridge.c`` (``Bridge-A-Unique-ID``,
``Bridge-B-Unique-ID``), ``mod_callcenter.c`` (each ``CC-Action``, also those headers that only newer ones have), and
its API's lists (columns by title, as their number differs). Against the documentation alone: Core-UUID, Event-Sequence.
Not checked on a running FreeSWITCH.

A channel is the caller's, or was made for one: its events belong to the stream of the channel it was made for, the id
under which mod_json_cdr's records of the same call are kept. Where an event does not say that, it goes to the channel's
*alias* (``~`` and its uuid). Events that name two channels join aliases, and so what a transfer makes one is one call.
An alias is greater than any uuid, so a call keeps the id of its caller's channel.

Agents who stay on a line of their own (``uuid-standby``, a consumer of mod_fifo) serve many callers over one channel:
such a channel joins nothing, and its conversations are told by mod_callcenter's events alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from callkpi.calls.model import AGENT_STREAM, AgentState, CallEvent, Kind
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected

#: Made by callkpi itself after it was away (:mod:`.freeswitch_resync`): a channel that is there, a caller who waits,
#: and a call that FreeSWITCH was asked about.
SEEN, MEMBER_SEEN, ASKED = "callkpi:CHANNEL", "callkpi-member", "callkpi:CALL"
CALLCENTER = "callcenter::info"
#: Code of an agent's state that was found, not told: no pause and no login of its own.
RESYNC = "RESYNC"
#: Events to subscribe to.
CHANNEL_EVENTS = (
    "CHANNEL_CREATE", "CHANNEL_PROGRESS", "CHANNEL_PROGRESS_MEDIA", "CHANNEL_ANSWER", "CHANNEL_BRIDGE",
    "CHANNEL_UNBRIDGE", "CHANNEL_HOLD", "CHANNEL_UNHOLD", "CHANNEL_HANGUP_COMPLETE",
)  # fmt: skip
_KNOWN = {*CHANNEL_EVENTS, SEEN}
_OF_CALLS = {
    "member-queue-start", "member-queue-resume", "member-queue-end", "agent-offering", "bridge-agent-start",
    "bridge-agent-end", "bridge-agent-fail", MEMBER_SEEN,
}  # fmt: skip
_OF_AGENTS = {"agent-status-change", "agent-state-change"}
_HEADERS = (
    "Unique-ID", "Call-Direction", "Answer-State", "Hangup-Cause", "Caller-Caller-ID-Number", "Caller-ANI",
    "Caller-Callee-ID-Number", "Caller-Destination-Number", "Caller-Context", "Caller-Channel-Created-Time",
    "Caller-Channel-Answered-Time", "Caller-Channel-Bridged-Time", "Bridge-A-Unique-ID", "Bridge-B-Unique-ID",
     "Other-Type", "Other-Leg-Unique-ID",
)  # fmt: skip
_CC_HEADERS = (
    "Unique-ID", "Call-Direction", "Answer-State", "CC-Queue", "CC-Action", "CC-Agent", "CC-Agent-UUID",
    "CC-Agent-Type", "CC-Member-UUID", "CC-Member-Session-UUID", "CC-Member-CID-Number", "CC-Member-Joined-Time",
    "CC-Agent-Answered-Time", "CC-Cause", "CC-Cancel-Reason", "CC-Hangup-Cause",
)  # fmt: skip
#: Those that tell who a channel is, and those that tell of it when it is over. Names as in mod_json_cdr's records.
_WHO = (
    "cc_side", "cc_member_session_uuid", "cc_member_uuid", "cc_agent", "cc_queue", "originating_leg_uuid", "originator",
    "dialed_user", "call_direction", "user_context", "sip_auth_username", "user_name", "sip_from_user", "sip_to_user",
    "caller_destination", "effective_caller_id_number", "outbound_caller_id_number", "last_bridge_to",
)  # fmt: skip
_AT_END = (
    "start_epoch", "start_uepoch", "answer_epoch", "answer_uepoch", "bridge_epoch", "bridge_uepoch", "end_epoch",
    "end_uepoch", "hangup_cause", "hold_accum_seconds", "hold_accum_usec", "bridge_uuid", "last_sent_callee_id_number",
    "last_app", "current_application", "originate_disposition", "last_bridge_hangup_cause", "sip_hangup_disposition",
    "endpoint_disposition", "cc_queue_joined_epoch", "cc_queue_answered_epoch", "cc_queue_terminated_epoch",
    "cc_queue_canceled_epoch", "cc_cause", "cc_cancel_reason", "cc_agent_uuid",
)  # fmt: skip
_READ = {
    *_HEADERS, "Event-Name", "Event-Subclass", "Core-UUID", "Event-Sequence", "Event-Date-Timestamp",
    *(f"variable_{name}" for name in (*_WHO, *_AT_END, "cc_agent_type", "fifo_role")),
}  # fmt: skip
_LONGEST = 255
_UUID = re.compile(r"[\w.:@+-]{1,200}")


def alias(uuid: str) -> str:
    """The stream in which those meet who know of a channel, but not of the call that it belongs to."""
    return f"~{uuid}"


def parse_event(raw: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The events of one event of the socket; none for the many that tell nothing about calls and agents."""
    event = {name: str(value) for name, value in raw.items() if isinstance(value, (str, int, float)) and value != ""}
    name = event.get("Event-Name", "")
    if not name:
        raise Rejected("Event-Name: is empty; an event of FreeSWITCH has a name")
    if name == "CUSTOM":
        action = event.get("CC-Action", "").lower() if event.get("Event-Subclass") == CALLCENTER else ""
        if action in _OF_AGENTS:
            return _agent_events(event, context)
        return _queue_events(event, action, context) if action in _OF_CALLS else []
    if name == ASKED:
        stream = _uuid(event, "Stream", also_alias=True)
        return [_signal(event, context, stream, {"Event": ASKED, **_detail(event, ("Heard", "Queues"))})]
    return _channel_events(event, name, context) if name in _KNOWN else []


def matters(event: Mapping[str, str]) -> bool:
    """Whether an event is one of those that are read at all."""
    name = event.get("Event-Name", "")
    if name == "CUSTOM":
        return event.get("CC-Action", "").lower() in _OF_CALLS | _OF_AGENTS
    return name in _KNOWN


def trimmed(event: Mapping[str, str]) -> dict[str, str]:
    """An event without the many headers that are not read."""
    return {name: value for name, value in event.items() if name in _READ or name.startswith("CC-")}


# -- channels --------------------------------------------------------------------------------------------


def _channel_events(event: Mapping[str, str], name: str, context: Context) -> list[CallEvent]:
    uuid = _uuid(event, "Unique-ID")
    stream = _uuid(event, "Stream", also_alias=True) if "Stream" in event else stream_of(event, uuid, name)
    detail = _detail(event, _HEADERS)
    if name not in ("CHANNEL_HOLD", "CHANNEL_UNHOLD"):
        names = (*_WHO, *_AT_END) if name in ("CHANNEL_HANGUP_COMPLETE", SEEN) else _WHO
        detail |= _detail(event, tuple(f"variable_{name}" for name in names))
    signal = _signal(event, context, stream, {"Event": name, **detail})
    return [signal, *_links(event, context, signal, uuid)]


def stream_of(event: Mapping[str, str], uuid: str, name: str) -> str:
    """The channel for which this one was made, itself where it was made for none, its alias where that is not told."""
    if event.get("Call-Direction") == "inbound":
        return uuid
    parent = event.get("variable_originating_leg_uuid") or event.get("variable_originator")
    if event.get("variable_cc_side") == "agent":
        parent = event.get("variable_cc_member_session_uuid") or parent
    told = any(header.startswith("variable_") for header in event)
    if not parent and told and event.get("Other-Type") == "originator":
        parent = event.get("Other-Leg-Unique-ID")
    if parent and parent != uuid and _UUID.fullmatch(parent):
        return parent
    return uuid if told and name != "CHANNEL_CREATE" else alias(uuid)


def _links(event: Mapping[str, str], context: Context, signal: CallEvent, uuid: str) -> Iterator[CallEvent]:
    """Whom the event knows to be in one call. The same for all events of a channel, so it is journalled once."""
    stream = signal.call_id
    if stream == alias(uuid) or _stays_on_line(event):
        return
    others = [event.get("Bridge-A-Unique-ID"), event.get("Bridge-B-Unique-ID")]
    if signal.detail["Event"] == "CHANNEL_HANGUP_COMPLETE":
        others.append(event.get("variable_last_bridge_to"))
    met = {other for other in others if other and _UUID.fullmatch(other)}
    if stream == uuid and not met and signal.detail["Event"] not in ("CHANNEL_HANGUP_COMPLETE", SEEN):
        return
    since = _microseconds(event, "Caller-Channel-Created-Time", context) or signal.at
    for other in sorted({*met, uuid, stream}):
        yield _event(
            event, context, call_id=stream, kind=Kind.LINKED, linked_to=alias(other), at=since,
            event_id=f"link.{base.digest(stream, other)}",
        )  # fmt: skip


def _stays_on_line(event: Mapping[str, str]) -> bool:
    return event.get("variable_cc_agent_type") == "uuid-standby" or event.get("variable_fifo_role") == "consumer"


# -- mod_callcenter --------------------------------------------------------------------------------------


def _queue_events(event: Mapping[str, str], action: str, context: Context) -> list[CallEvent]:
    session = _uuid(event, "CC-Member-Session-UUID")
    queue = event.get("CC-Queue", "")
    if not queue:
        raise Rejected("CC-Queue: is empty")
    detail = _detail(event, _CC_HEADERS)
    signal = _signal(event, context, session, {"Event": action, **detail, "CC-Queue": queue[:_LONGEST]})
    if action not in ("member-queue-start", "member-queue-resume"):
        return [signal]
    since = _microseconds(event, "Caller-Channel-Created-Time", context) or signal.at
    link = _event(
        event, context, call_id=session, kind=Kind.LINKED, linked_to=alias(session), at=since,
        event_id=f"link.{base.digest(session, session)}",
    )  # fmt: skip
    return [signal, link]


def _agent_events(event: Mapping[str, str], context: Context) -> list[CallEvent]:
    """An agent's state in each of his queues (``CC-Queues``; callkpi's connection adds it, and what it knows else).

    A change of the state alone says nothing while the status is not known: an agent on a break is Waiting as well.
    """
    agent = event.get("CC-Agent", "")[:200]
    if not agent:
        raise Rejected("CC-Agent: is empty")
    status = event.get("CC-Agent-Status", "").lower()
    if not status:
        return []
    state, reason = agent_state(status, event.get("CC-Agent-State", "").lower())
    if state is None:
        raise Rejected(f"CC-Agent-Status: {base.shown(status)} is none of mod_callcenter's")
    queues = [queue for queue in event.get("CC-Queues", "").split(",") if queue] or [""]
    stem = _event_id(event)
    reason = reason or (event.get("CC-Agent-Status-Reason", "")[:100] if state is AgentState.PAUSED else "")
    return [
        _event(
            event, context, call_id=AGENT_STREAM + agent, kind=Kind.AGENT_STATE, agent=agent, queue=queue[:200],
            state=state, reason=reason, code=RESYNC if event.get("Resync") else "",
            event_id=f"{stem}.{queue}" if queue else stem,
        )
        for queue in queues
    ]  # fmt: skip


def agent_state(status: str, state: str) -> tuple[AgentState | None, str]:
    """mod_callcenter's status (what the agent said) and state (what he does) as one state, and its reason."""
    if status == "logged out":
        return AgentState.OFFLINE, ""
    if status == "on break":
        return AgentState.PAUSED, ""
    if status not in ("available", "available (on demand)"):
        return None, ""
    if state == "idle":
        return AgentState.PAUSED, "idle"
    return (AgentState.BUSY if state == "in a queue call" else AgentState.AVAILABLE), ""


# -- plain helpers ---------------------------------------------------------------------------------------


def _uuid(event: Mapping[str, str], header: str, *, also_alias: bool = False) -> str:
    uuid = event.get(header, "")
    if not _UUID.fullmatch(uuid.removeprefix("~") if also_alias else uuid):
        raise Rejected(f"{header}: is no id of a channel")
    return uuid


def _detail(event: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    found = {name: event[name].replace("\x00", "")[:_LONGEST] for name in names if event.get(name)}
    return {name: value.encode("utf-8", "replace").decode() for name, value in found.items()}


def _signal(event: Mapping[str, str], context: Context, call_id: str, detail: dict[str, str]) -> CallEvent:
    return _event(event, context, call_id=call_id, kind=Kind.SIGNAL, detail=detail, event_id=_event_id(event))


def _event(event: Mapping[str, str], context: Context, **facts: Any) -> CallEvent:
    at = facts.pop("at", None) or _microseconds(event, "Event-Date-Timestamp", context)
    return CallEvent(
        tenant=context.tenant, source=context.source, received_at=context.received_at,
        at=at or context.received_at, timeless=at is None, **facts,
    )  # fmt: skip


def _event_id(event: Mapping[str, str]) -> str:
    """An event's number in the life of one FreeSWITCH; where it is not told, all that the event says."""
    core, sequence = event.get("Core-UUID"), event.get("Event-Sequence")
    return base.digest(core, sequence) if core and sequence else base.digest(base.canonical(event))


def _microseconds(event: Mapping[str, str], header: str, context: Context) -> datetime | None:
    return microseconds(event.get(header, ""), header, context.received_at)


def microseconds(text: str, what: str, received_at: datetime) -> datetime | None:
    """A time in microseconds; None where it is absent or 0. Raises Rejected."""
    if text in ("", "0"):
        return None
    return base.unix_part(text, 1_000_000, what, received_at)


_SECONDS = (
    "CC-Member-Joined-Time", "CC-Agent-Answered-Time",
    *(f"variable_{name}" for name in _AT_END if name.endswith("_epoch")),
)  # fmt: skip
_MICROSECONDS = (
    "Caller-Channel-Created-Time", "Caller-Channel-Answered-Time", "Caller-Channel-Bridged-Time", "Heard",
    *(f"variable_{name}" for name in _AT_END if name.endswith("_uepoch")),
)  # fmt: skip


def has_unread(signal: CallEvent) -> bool:
    """Whether one of its times is none."""
    told = signal.detail
    times = [f"{told[name]}000000" for name in _SECONDS if told.get(name, "0") != "0"]
    times += [told[name] for name in _MICROSECONDS if told.get(name, "0") != "0"]
    return any(kept_microseconds(text, signal.received_at) is None for text in times)


def kept_microseconds(text: str, received_at: datetime) -> datetime | None:
    """The same of what was journalled: None also for what can't be read."""
    with suppress(Rejected):
        return microseconds(text, "", received_at)
    return None
