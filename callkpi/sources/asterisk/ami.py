"""AMI events: what is journalled of them. How a call's worth of them is read: :mod:`.asterisk_calls`.

Events: docs.asterisk.org, "AMI Events"; app_queue's and the core's. Headers are known in any case of letters, and
values may be text or JSON numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from callkpi.calls.model import AGENT_STREAM, RESTART_STREAM, AgentState, CallEvent, Kind
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected

#: Where in the dialplan a channel is.
_PLACE = ("Context", "Exten", "Priority")
#: What is kept of each event that tells something about a call.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "Newchannel": ("Channel", "Uniqueid", "CallerIDNum", "Context", "Exten"),
    "NewCallerid": ("Uniqueid", "CallerIDNum"),
    "LocalBridge": ("LocalOneUniqueid", "LocalTwoUniqueid"),
    "LocalOptimizationBegin": ("LocalOneUniqueid", "LocalTwoUniqueid", "SourceUniqueid"),
    "DialBegin": ("Uniqueid", "CallerIDNum", *_PLACE, "DestChannel", "DestUniqueid", "DialString"),
    "DialEnd": ("Uniqueid", "DestChannel", "DestUniqueid", "DialStatus"),
    "HangupRequest": ("Uniqueid",),
    "SoftHangupRequest": ("Uniqueid", *_PLACE),
    "Hangup": ("Uniqueid", "Cause", *_PLACE),
    "Hold": ("Uniqueid",),
    "Unhold": ("Uniqueid",),
    "VarSet": ("Uniqueid", "Variable", "Value"),
    "BlindTransfer": ("TransfererUniqueid", "TransfereeUniqueid", "Context", "Extension"),
    "AttendedTransfer": (
        "OrigTransfererUniqueid", "SecondTransfererUniqueid", "TransfereeUniqueid", "TransferTargetUniqueid",
    ),
    "Pickup": ("Uniqueid", "TargetUniqueid"),
    "UnParkedCall": ("ParkeeUniqueid", "RetrieverUniqueid", "RetrieverChannel"),
    "QueueCallerJoin": ("Uniqueid", "Queue", "CallerIDNum", *_PLACE),
    "QueueCallerLeave": ("Uniqueid", "Queue"),
    "QueueCallerAbandon": ("Uniqueid", "Queue", "CallerIDNum", "HoldTime", *_PLACE),
    "AgentCalled": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid"),
    "AgentConnect": (
        "Uniqueid", "Queue", "CallerIDNum", "MemberName", "Interface", "DestUniqueid", "HoldTime", "RingTime",
    ),
    "AgentRingNoAnswer": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid", "RingTime"),
    "AgentComplete": (
        "Uniqueid", "Queue", "CallerIDNum", "MemberName", "Interface", "DestUniqueid", "HoldTime", "TalkTime",
        "Reason",
    ),
    "AgentDump": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid"),
}  # fmt: skip
#: Made by callkpi itself: see :mod:`.asterisk_resync`.
RESYNC_CALL = "ResyncCall"
#: Between these a wait is exact where Asterisk itself told their times.
_CLOCKED = {"QueueCallerJoin", "QueueCallerLeave", "QueueCallerAbandon", "AgentConnect"}
#: These end everything that went on before.
_RESTARTS = ("FullyBooted", "Shutdown")
#: How members change: the state after it, and the word of queue_log for it.
_MEMBER_EVENTS = {
    "QueueMemberAdded": (AgentState.AVAILABLE, "ADDMEMBER"),
    "QueueMemberRemoved": (AgentState.OFFLINE, "REMOVEMEMBER"),
    "QueueMemberPause": (AgentState.AVAILABLE, "UNPAUSE"),
    "QueueMemberPaused": (AgentState.AVAILABLE, "UNPAUSE"),  # before Asterisk 12
    "QueueMemberStatus": (AgentState.AVAILABLE, "STATUS"),
    "ResyncMember": (AgentState.AVAILABLE, "RESYNC"),
}
#: Status of a member's phone: free; invalid or unavailable. All others say that it is in use.
_FREE, _UNREACHABLE = "1", {"4", "5"}
#: A member's wrap-up time in seconds; more is a mistake.
_LONGEST_WRAP = 3600
#: Where an event names its call, in the order of preference.
_LINKED_IDS = (
    "Linkedid", "DestLinkedid", "LocalOneLinkedid", "TransfererLinkedid", "OrigTransfererLinkedid", "ParkeeLinkedid",
)  # fmt: skip
#: These join what began as separate calls.
_JOINING = {"AttendedTransfer", "BlindTransfer", "Pickup", "UnParkedCall"}
_HEADERS = {
    name.lower(): name
    for name in (
        "Event", "Timestamp", "received_at", "Result", "Paused", "PausedReason", "Status", "Uptime", "Wrapuptime",
        *_LINKED_IDS, "TargetLinkedid", "SecondTransfererLinkedid", "TransfereeLinkedid", "TransferTargetLinkedid",
        "RetrieverLinkedid", *(header for kept in _KEPT.values() for header in kept),
    )
}  # fmt: skip
_YES = {"1", "true", "yes"}


def matters(raw: Mapping[str, Any]) -> bool:
    """Whether an event is one of those that are read at all."""
    name = raw.get("Event")
    return (name in _KEPT or name in _MEMBER_EVENTS) and not (name == "VarSet" and _tells_nothing("VarSet", raw))


def parse_event(raw: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The events of one AMI event; none for the many that tell nothing about calls and agents."""
    name = raw.get("Event") or next((value for key, value in raw.items() if key.lower() == "event"), None)
    if not isinstance(name, str) or not name:
        raise Rejected("Event: is missing; an AMI event has a header Event")
    if name == RESYNC_CALL:
        return _resync(raw, context)
    if name in _RESTARTS:
        return _restart(name, raw, context)
    kept = _KEPT.get(name)
    if kept is None and name not in _MEMBER_EVENTS:
        return []
    item = {_HEADERS.get(key.lower(), key): value for key, value in raw.items()}
    if kept is None:
        return [] if _is_passing(name, item) else [_member_event(name, item, context)]
    if _tells_nothing(name, item):
        return []
    ids = {key: told for key in item if key.endswith("Linkedid") and (told := base.clean(str(item[key] or "")))}
    linked = list(ids.values())
    call_id = next((ids[key] for key in _LINKED_IDS if key in ids), linked[0] if linked else "")
    if not call_id and name.startswith("Agent"):
        # app_queue leaves the channels out where they are gone already; their hang-ups tell the same.
        return []
    if not call_id:
        raise Rejected(f"{name}: has no Linkedid; Asterisk 13 or newer sends one")
    if len(call_id) > 255:
        raise Rejected(f"{name}: its Linkedid is longer than 255 characters")
    detail = {key: str(item[key])[:255] for key in kept if item.get(key) not in (None, "")}
    if name in _CLOCKED and item.get("Timestamp") not in (None, ""):
        detail["Clock"] = "1"
    signal = _event(item, context, call_id=call_id, kind=Kind.SIGNAL, detail={"Event": name, **detail})
    return [signal, *_links(signal, call_id, sorted(set(linked) - {call_id}), name)]


def _restart(name: str, raw: Mapping[str, Any], context: Context) -> list[CallEvent]:
    """When Asterisk began anew, or ends. Each manager who logs in is told FullyBooted, too: Uptime says since when."""
    item = {_HEADERS.get(key.lower(), key): value for key, value in raw.items()}
    uptime = str(item.get("Uptime", ""))
    if name == "FullyBooted" and not uptime.isdecimal():
        return []
    told = _event(item, context, call_id=RESTART_STREAM, kind=Kind.SIGNAL, detail={"Event": name})
    return [replace(told, at=told.at - timedelta(seconds=int(uptime)))] if name == "FullyBooted" else [told]


def _resync(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """What a call is at the moment at which Asterisk was asked."""
    call_id = base.clean(str(item.get("Linkedid") or ""))[:255]
    if not call_id or "Timestamp" not in item:
        raise Rejected(f"{RESYNC_CALL}: has no Linkedid or no Timestamp")
    detail = {"Event": RESYNC_CALL, "Heard": str(item.get("Heard", ""))}
    for key in ("Channels", "Waits", "Talks"):
        told = item.get(key)
        if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
            raise Rejected(f"{RESYNC_CALL}: {key} must be a list of objects")
        detail[key] = base.canonical(told)
    signal = _event(item, context, call_id=call_id, kind=Kind.SIGNAL, detail=detail)
    joined = item.get("Joined") or ()
    if not isinstance(joined, (list, tuple)):
        raise Rejected(f"{RESYNC_CALL}: Joined must be a list of ids")
    others = [told for other in joined if (told := base.clean(str(other))[:255])]
    return [signal, *_links(signal, call_id, sorted(set(others) - {call_id}), RESYNC_CALL)]


def _is_passing(name: str, item: Mapping[str, Any]) -> bool:
    """A status that says no more than that a phone is in use, or that a pause goes on."""
    if name != "QueueMemberStatus":
        return False
    return _is_paused(item) or str(item.get("Status")) not in {_FREE, *_UNREACHABLE}


def _is_paused(item: Mapping[str, Any]) -> bool:
    return str(item.get("Paused")).lower() in _YES


def _tells_nothing(name: str, item: Mapping[str, Any]) -> bool:
    if name == "NewCallerid":
        return item.get("Uniqueid") != item.get("Linkedid")
    if name in ("BlindTransfer", "AttendedTransfer"):
        return str(item.get("Result", "Success")) != "Success"
    return name == "VarSet" and str(item.get("Variable")) != "QUEUESTATUS"


def _links(signal: CallEvent, call_id: str, others: Sequence[str], name: str) -> list[CallEvent]:
    """A transfer, a pick-up or a parked call that is fetched joins separate calls: both sides say so."""
    if name not in _JOINING and name != RESYNC_CALL:
        return []

    return [
        replace(signal, kind=Kind.LINKED, call_id=one, linked_to=two, detail={},
                event_id=f"{signal.event_id}.{one}-{two}")
        for other in others
        for one, two in ((call_id, other), (other, call_id))
    ]  # fmt: skip


def _event(item: Mapping[str, Any], context: Context, **facts: Any) -> CallEvent:
    at, timeless = context.received_at, True
    for header in ("Timestamp", "received_at"):
        if item.get(header) not in (None, ""):
            at, timeless = base.unix_time(item[header], header, context.received_at), False
            break
    return CallEvent(
        tenant=context.tenant,
        source=context.source,
        at=at,
        event_id=base.digest(base.canonical(item)),
        received_at=context.received_at,
        timeless=timeless,
        **facts,
    )


def _member_event(name: str, item: Mapping[str, Any], context: Context) -> CallEvent:
    agent = base.clean(str(item.get("MemberName") or item.get("Interface") or ""))[:200]
    if not agent:
        raise Rejected(f"{name}: has neither MemberName nor Interface")
    state, code = _MEMBER_EVENTS[name]
    if state is not AgentState.OFFLINE and _is_paused(item):
        state, code = AgentState.PAUSED, "PAUSE" if code == "UNPAUSE" else code
    elif str(item.get("Status")) in _UNREACHABLE:
        state = AgentState.OFFLINE
    return _event(
        item,
        context,
        call_id=AGENT_STREAM + agent,
        kind=Kind.AGENT_STATE,
        agent=agent,
        queue=str(item.get("Queue", ""))[:200],
        state=state,
        code=code,
        reason=str(item.get("PausedReason", ""))[:100] if state is AgentState.PAUSED else "",
        wrap_ms=_wrap_ms(item),
    )


def _wrap_ms(item: Mapping[str, Any]) -> int | None:
    """The member's own time after each call. 0 says that the queue's applies, which no event tells."""
    told = base.whole(str(item.get("Wrapuptime", "")))
    return 1000 * min(told, _LONGEST_WRAP) if told else None
