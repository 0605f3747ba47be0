"""AMI events: what is journalled of them, and how a call's worth of them is read.

Events: docs.asterisk.org, "AMI Events"; app_queue's and the core's. What the stream leaves open, and how it is
decided here:

* ``QueueCallerAbandon`` comes for a caller who hung up, for a timeout, and for an emptied queue alike. A request
  to hang up on the caller's own channel before it tells that he did. The caller's channel is the one that entered
  the queue, or the other half of its Local pair; after a transfer also the channels that began the call.
* A ``QueueCallerLeave`` with neither abandon nor connect is an exit by key.
* A stay is one ``QueueCallerJoin`` of a channel into a queue. A channel that a transfer replaced leaves under
  another Uniqueid: such an end goes to the oldest stay of that queue that is still open.
* Agents in queues are known by MemberName, on direct calls by the extension in the channel's name.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.model import AGENT_STREAM, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.phone import HIDDEN
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected

#: What is kept of each event that tells something about a call.
_KEPT: Mapping[str, tuple[str, ...]] = {
    "Newchannel": ("Channel", "Uniqueid", "CallerIDNum", "Context", "Exten"),
    "NewCallerid": ("Uniqueid", "CallerIDNum"),
    "LocalBridge": ("LocalOneUniqueid", "LocalTwoUniqueid"),
    "LocalOptimizationBegin": ("LocalOneUniqueid", "LocalTwoUniqueid"),
    "DialBegin": ("Uniqueid", "CallerIDNum", "Context", "Exten", "DestChannel", "DestUniqueid", "DialString"),
    "DialEnd": ("Uniqueid", "DestChannel", "DestUniqueid", "DialStatus"),
    "HangupRequest": ("Uniqueid",),
    "SoftHangupRequest": ("Uniqueid",),
    "Hangup": ("Uniqueid", "Cause"),
    "Hold": ("Uniqueid",),
    "Unhold": ("Uniqueid",),
    "VarSet": ("Uniqueid", "Variable", "Value"),
    "BlindTransfer": ("TransfererUniqueid", "TransfereeUniqueid", "Context", "Extension"),
    "AttendedTransfer": (
        "OrigTransfererUniqueid", "SecondTransfererUniqueid", "TransfereeUniqueid", "TransferTargetUniqueid",
    ),
    "Pickup": ("Uniqueid", "TargetUniqueid"),
    "QueueCallerJoin": ("Uniqueid", "Queue", "CallerIDNum", "Exten"),
    "QueueCallerLeave": ("Uniqueid", "Queue"),
    "QueueCallerAbandon": ("Uniqueid", "Queue", "HoldTime"),
    "AgentCalled": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid"),
    "AgentConnect": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid", "HoldTime", "RingTime"),
    "AgentRingNoAnswer": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid", "RingTime"),
    "AgentComplete": (
        "Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid", "HoldTime", "TalkTime", "Reason",
    ),
    "AgentDump": ("Uniqueid", "Queue", "MemberName", "Interface", "DestUniqueid"),
}  # fmt: skip
_MEMBER_EVENTS = {"QueueMemberAdded", "QueueMemberRemoved", "QueueMemberPause"}
#: Where an event names its call, in the order of preference.
_LINKED_IDS = ("Linkedid", "DestLinkedid", "LocalOneLinkedid", "TransfererLinkedid", "OrigTransfererLinkedid")
#: AgentConnect follows the QueueCallerLeave of the same caller at once.
_CONNECTS_WITHIN = timedelta(seconds=1)
#: What the queue says of the end of a ring or a conversation.
_LEG_ENDS = {"AgentComplete", "AgentDump"}
_SPECIAL_EXTENS = {"", "s", "h", "i", "t", "o", "a"}


# -- parsing: one event, no context ---------------------------------------------------------------------


def parse_event(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The events of one AMI event; none for the many that tell nothing about calls and agents."""
    name = item.get("Event")
    if not isinstance(name, str) or not name:
        raise Rejected("Event: is missing; an AMI event has a header Event")
    if name in _MEMBER_EVENTS:
        return [_member_event(name, item, context)]
    kept = _KEPT.get(name)
    if kept is None or _tells_nothing(name, item):
        return []
    linked = [str(item[key]) for key in item if key.endswith("Linkedid") and item[key]]
    call_id = next((str(item[key]) for key in _LINKED_IDS if item.get(key)), linked[0] if linked else "")
    if not call_id and name.startswith("Agent"):
        # app_queue leaves the channels out where they are gone already; their hang-ups tell the same.
        return []
    if not call_id:
        raise Rejected(f"{name}: has no Linkedid; Asterisk 13 or newer sends one")
    if len(call_id) > 255:
        raise Rejected(f"{name}: its Linkedid is longer than 255 characters")
    detail = {key: str(item[key])[:255] for key in kept if item.get(key) not in (None, "")}
    signal = _event(item, context, call_id=call_id, kind=Kind.SIGNAL, detail={"Event": name, **detail})
    return [signal, *_links(signal, call_id, sorted(set(linked) - {call_id}), name)]


def _tells_nothing(name: str, item: Mapping[str, Any]) -> bool:
    if name == "NewCallerid":
        return item.get("Uniqueid") != item.get("Linkedid")
    return name == "VarSet" and item.get("Variable") != "QUEUESTATUS"


def _links(signal: CallEvent, call_id: str, others: Sequence[str], name: str) -> list[CallEvent]:
    """A transfer or a pick-up joins what began as separate calls: both sides say so."""
    if name not in ("AttendedTransfer", "BlindTransfer", "Pickup"):
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
    agent = str(item.get("MemberName") or item.get("Interface") or "")[:200]
    if not agent:
        raise Rejected(f"{name}: has neither MemberName nor Interface")
    state, code = {
        "QueueMemberAdded": (AgentState.AVAILABLE, "ADDMEMBER"),
        "QueueMemberRemoved": (AgentState.OFFLINE, "REMOVEMEMBER"),
    }.get(name, (AgentState.AVAILABLE, "UNPAUSE"))
    if name != "QueueMemberRemoved" and str(item.get("Paused")) == "1":
        state, code = AgentState.PAUSED, "PAUSE" if name == "QueueMemberPause" else code
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
    )


# -- interpretation: a whole call -----------------------------------------------------------------------


@dataclass(slots=True)
class _Channel:
    uid: str
    name: str = ""
    caller: str = ""
    context: str = ""
    exten: str = ""
    first: CallEvent | None = None
    hangup: CallEvent | None = None


@dataclass(slots=True)
class _Dial:
    origin: str
    begin: CallEvent
    end: CallEvent | None = None

    @property
    def dest(self) -> str:
        return self.begin.detail.get("DestUniqueid", "")

    @property
    def status(self) -> str:
        return self.end.detail.get("DialStatus", "") if self.end else ""


@dataclass(slots=True)
class _Stay:
    key: str
    join: CallEvent
    leave: CallEvent | None = None
    abandon: CallEvent | None = None
    status: str = ""  #: Asterisk's own QUEUESTATUS, where VarSet is not filtered out
    connect: CallEvent | None = None

    @property
    def uid(self) -> str:
        return self.join.detail.get("Uniqueid", "")

    @property
    def queue(self) -> str:
        return self.join.detail.get("Queue", "")

    @property
    def is_over(self) -> bool:
        return self.leave is not None or self.connect is not None


@dataclass(slots=True)
class _Scene:
    """Everything that the events of one call say, by channel, dial and stay."""

    signals: list[CallEvent]
    internal: re.Pattern[str]
    channels: dict[str, _Channel] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    dials: dict[str, _Dial] = field(default_factory=dict)
    requests: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    stays: list[_Stay] = field(default_factory=list)
    agent_channels: set[str] = field(default_factory=set)
    transferees: set[str] = field(default_factory=set)
    #: Halves of Local channels that Asterisk takes out of the call: their hang-up ends no conversation.
    optimised: set[str] = field(default_factory=set)

    def channel(self, uid: str) -> _Channel:
        return self.channels.setdefault(uid, _Channel(uid))

    @property
    def root(self) -> _Channel:
        """The channel that began the call: the one that gave it its Linkedid, else the first seen."""
        own = self.channels.get(self.signals[0].call_id)
        return own or min(self.channels.values(), key=lambda c: c.first.order if c.first else self.signals[-1].order)

    def with_halves(self, *uids: str) -> set[str]:
        return {half for uid in uids for half in (uid, self.pairs.get(uid, uid))}

    def stay_for(self, event: CallEvent) -> _Stay | None:
        """The stay that an event of the queue belongs to."""
        uid, queue = event.detail.get("Uniqueid", ""), event.detail.get("Queue", "")
        mine = [s for s in self.stays if s.uid == uid and s.queue == queue and s.join.at <= event.at]
        if mine:
            return mine[-1]
        return next((s for s in self.stays if s.queue == queue and not s.is_over), None)


def interpret(events: Sequence[CallEvent], settings: config.Source) -> list[CallEvent]:
    """All AMI events of one call as canonical events."""
    scene = _Scene(sorted(events, key=_order), re.compile(settings.internal_number))
    for signal in scene.signals:
        _note(scene, signal)
    result = [_started(scene, settings)]
    for stay in scene.stays:
        result += _stay_events(scene, stay)
    result += _queue_legs(scene)
    direction = result[0].direction
    result += _outbound_leg(scene) if direction is Direction.OUTBOUND else _direct_legs(scene)
    result += _holds_and_transfers(scene)
    return result + _end_of_call(scene, direction)


#: Events of one instant: a caller joins before he leaves, and leaves before he is connected.
_RANK = {
    name: rank
    for rank, name in enumerate(
        (
            "Newchannel",
            "LocalBridge",
            "NewCallerid",
            "DialBegin",
            "QueueCallerJoin",
            "AgentCalled",
            "HangupRequest",
        )
    )
}


def _order(signal: CallEvent) -> tuple[datetime, int, str]:
    return signal.at, _RANK.get(signal.detail["Event"], 9), signal.event_id


def _note(scene: _Scene, signal: CallEvent) -> None:
    detail, name = signal.detail, signal.detail["Event"]
    uid = detail.get("Uniqueid", "")
    if uid:
        _note_channel(scene.channel(uid), signal)
    if name == "LocalBridge":
        one, two = detail.get("LocalOneUniqueid", ""), detail.get("LocalTwoUniqueid", "")
        scene.pairs.update({one: two, two: one})
    elif name == "LocalOptimizationBegin":
        scene.optimised.update((detail.get("LocalOneUniqueid", ""), detail.get("LocalTwoUniqueid", "")))
    elif name == "VarSet":
        last = next((stay for stay in reversed(scene.stays) if stay.uid == uid), None)
        if last is not None:
            last.status = last.status or detail.get("Value", "")
    elif name == "DialBegin":
        dest = scene.channel(detail.get("DestUniqueid", ""))
        dest.name = dest.name or detail.get("DestChannel", "")
        dest.first = dest.first or signal
        scene.dials.setdefault(dest.uid, _Dial(uid, signal))
    elif name == "DialEnd":
        dial = scene.dials.get(detail.get("DestUniqueid", ""))
        if dial is not None and dial.end is None:
            dial.end = signal
    elif name in ("HangupRequest", "SoftHangupRequest"):
        scene.requests[uid].append(signal.at)
    elif name in ("BlindTransfer", "AttendedTransfer"):
        scene.transferees.add(detail.get("TransfereeUniqueid", ""))
    elif name.startswith("Agent"):
        scene.agent_channels.add(detail.get("DestUniqueid", ""))
        _note_connect(scene, signal)
    elif name.startswith("QueueCaller"):
        _note_queue(scene, signal)


def _note_channel(channel: _Channel, signal: CallEvent) -> None:
    detail = signal.detail
    channel.first = channel.first or signal
    if detail.get("CallerIDNum", "").lower() not in HIDDEN and not channel.caller:
        channel.caller = detail["CallerIDNum"]
    if detail["Event"] == "Newchannel":
        channel.name = detail.get("Channel", "")
        channel.context = detail.get("Context", "")
        channel.exten = detail.get("Exten", "")
    elif detail["Event"] == "Hangup" and channel.hangup is None:
        channel.hangup = signal


def _note_queue(scene: _Scene, signal: CallEvent) -> None:
    name = signal.detail["Event"]
    if name == "QueueCallerJoin":
        uid, queue = signal.detail.get("Uniqueid", ""), signal.detail.get("Queue", "")
        number = sum(s.uid == uid and s.queue == queue for s in scene.stays)
        scene.stays.append(_Stay(f"{uid}/{queue}/{number}", signal))
        return
    stay = scene.stay_for(signal)
    if stay is None:
        return
    if name == "QueueCallerLeave":
        stay.leave = stay.leave or signal
    else:
        stay.abandon = stay.abandon or signal


def _note_connect(scene: _Scene, signal: CallEvent) -> None:
    if signal.detail["Event"] == "AgentConnect":
        stay = scene.stay_for(signal)
        if stay is not None:
            stay.connect = stay.connect or signal


def _tell(signal: CallEvent, kind: Kind, tag: str = "", **facts: Any) -> CallEvent:
    """A canonical event at the time of *signal*."""
    return CallEvent(
        tenant=signal.tenant,
        source=signal.source,
        call_id=signal.call_id,
        kind=kind,
        at=facts.pop("at", signal.at),
        event_id=f"{signal.event_id}.{kind}{tag}",
        received_at=signal.received_at,
        **facts,
    )


def _started(scene: _Scene, settings: config.Source) -> CallEvent:
    root = scene.root
    direction = _direction(scene, settings)
    dialled = _dialled_number(scene)
    if direction is Direction.OUTBOUND:
        customer, line = dialled, ""
    else:
        customer, line = root.caller or _caller_at_queue(scene), _line(scene)
    first = scene.signals[0]
    return _tell(first, Kind.STARTED, direction=direction, customer=customer, line=line)


def _direction(scene: _Scene, settings: config.Source) -> Direction:
    root = scene.root
    contexts = {root.context} | {scene.channel(uid).context for uid in scene.with_halves(root.uid)}
    contexts |= {dial.begin.detail.get("Context", "") for dial in scene.dials.values() if dial.origin == root.uid}
    if scene.stays or contexts & set(settings.inbound_contexts):
        return Direction.INBOUND
    if contexts & set(settings.outbound_contexts):
        return Direction.OUTBOUND
    dialled = _dialled_number(scene)
    if not root.caller:
        return Direction.INBOUND if root.hangup or _has_dialled(scene) else Direction.UNKNOWN
    if not scene.internal.fullmatch(root.caller.lstrip("+")):
        return Direction.INBOUND
    if dialled and not scene.internal.fullmatch(dialled):
        return Direction.OUTBOUND
    return Direction.INTERNAL


def _has_dialled(scene: _Scene) -> bool:
    """Whether the call has got anywhere: before that a caller without a number may still get one."""
    side = scene.with_halves(scene.root.uid)
    return any(dial.origin in side for dial in scene.dials.values())


def _caller_at_queue(scene: _Scene) -> str:
    numbers = [stay.join.detail.get("CallerIDNum", "") for stay in scene.stays]
    return next((number for number in numbers if number.lower() not in HIDDEN), "")


def _line(scene: _Scene) -> str:
    """The number that the customer called: the first extension that is a number of ours."""
    root = scene.root
    candidates = [root.exten, *(scene.channel(uid).exten for uid in sorted(scene.with_halves(root.uid)))]
    candidates += [dial.begin.detail.get("Exten", "") for dial in scene.dials.values() if dial.origin == root.uid]
    candidates += [stay.join.detail.get("Exten", "") for stay in scene.stays]
    return next((exten for exten in candidates if exten not in _SPECIAL_EXTENS), "")


def _dialled_number(scene: _Scene) -> str:
    """What the one who began the call dialled: its first dial's target, else the extension."""
    side = scene.with_halves(scene.root.uid)
    for dial in sorted(scene.dials.values(), key=lambda d: d.begin.order):
        if dial.origin in side and dial.dest not in side:
            target = _number_in(dial.begin.detail.get("DialString", ""))
            exten = dial.begin.detail.get("Exten", "")
            return exten if exten not in _SPECIAL_EXTENS and exten.lstrip("+").isdigit() else target
    return scene.root.exten if scene.root.exten.lstrip("+").isdigit() else ""


def _number_in(text: str) -> str:
    """The longest run of digits of a dial string or a channel's name: ``trunk/77011234567@pstn`` and the like."""
    return max(re.findall(r"\+?\d+", text.split("-")[0]), key=len, default="")


def _extension(channel_name: str) -> str:
    """The agent in a channel's name: ``PJSIP/1006-0000000a``, ``Local/1006@agents-0000000e;1``."""
    match = re.match(r"[^/]+/([^@;/]+?)(?:@.*|-[0-9a-f]+(?:;\d)?)?$", channel_name)
    return match.group(1) if match else channel_name


# -- queues ---------------------------------------------------------------------------------------------


def _stay_events(scene: _Scene, stay: _Stay) -> list[CallEvent]:
    queued = _tell(stay.join, Kind.QUEUED, f".{stay.key}", queue=stay.queue, entry=stay.key)
    left = stay.abandon or stay.leave
    if stay.connect is not None or left is None or not _is_decided(scene, stay, left):
        return [queued]
    outcome = _unanswered(scene, stay)
    hold = left.detail.get("HoldTime", "")
    # Asterisk counts whole seconds of the clock; so does a stay whose end has no HoldTime.
    wait = int(hold) if hold.isdigit() else int(left.at.timestamp()) - int(stay.join.at.timestamp())
    return [
        queued,
        _tell(left, Kind.LEFT_QUEUE, f".{stay.key}", queue=stay.queue, entry=stay.key, cause=outcome,
              wait_ms=1000 * max(wait, 0)),
    ]  # fmt: skip


def _is_decided(scene: _Scene, stay: _Stay, left: CallEvent) -> bool:
    """Whether it can be told how a stay ended: a caller leaves the queue a moment before he is connected."""
    if stay.abandon is not None:
        return True
    over = scene.channel(stay.uid).hangup is not None
    return over or any(signal.at - left.at >= _CONNECTS_WITHIN for signal in scene.signals)


def _unanswered(scene: _Scene, stay: _Stay) -> Outcome:
    if stay.abandon is None:
        return Outcome.EXITED
    if _caller_hung_up(scene, stay, stay.abandon):
        return Outcome.ABANDONED
    return Outcome.LEFT_EMPTY if stay.status == "LEAVEEMPTY" else Outcome.TIMED_OUT


def _caller_hung_up(scene: _Scene, stay: _Stay, abandon: CallEvent) -> bool:
    own = scene.with_halves(stay.uid)
    if any(stay.join.at <= at < abandon.at for uid in own for at in scene.requests.get(uid, ())):
        return True
    if stay.uid not in scene.transferees:
        return False
    before = scene.with_halves(scene.root.uid) - own
    return any(at < abandon.at for uid in before for at in scene.requests.get(uid, ()))


def _queue_legs(scene: _Scene) -> list[CallEvent]:
    result = []
    for signal in scene.signals:
        name, detail = signal.detail["Event"], signal.detail
        if not name.startswith("Agent"):
            continue
        stay = scene.stay_for(signal)
        common = {
            "agent": detail.get("MemberName") or detail.get("Interface", ""),
            "queue": detail.get("Queue", ""),
            "entry": stay.key if stay else "",
            "leg": detail.get("DestUniqueid", "") or signal.event_id,
        }
        if name == "AgentCalled":
            result.append(_tell(signal, Kind.RINGING, **common))
            result += _ring_cancelled(scene, common)
        elif name == "AgentRingNoAnswer":
            ring = detail.get("RingTime", "")
            ring_ms = int(ring) if ring.isdigit() else None
            result.append(_tell(signal, Kind.NOT_TAKEN, cause=LegEnd.NO_ANSWER, ring_ms=ring_ms, **common))
        elif name == "AgentConnect":
            wait_ms, ring_ms = _thousand(detail, "HoldTime"), _thousand(detail, "RingTime")
            result.append(_tell(signal, Kind.ANSWERED, wait_ms=wait_ms, ring_ms=ring_ms, **common))
            result += _talk_without_complete(scene, signal, common)
        elif name == "AgentDump":
            result.append(_tell(signal, Kind.NOT_TAKEN, cause=LegEnd.CANCELLED, **common))
        else:
            by = {"caller": "customer", "agent": "agent"}.get(detail.get("Reason", ""), "")
            talk_ms = _thousand(detail, "TalkTime")
            result.append(_tell(signal, Kind.ENDED, talk_ms=talk_ms, hangup_by=by, **common))
    return result


def _talk_without_complete(scene: _Scene, connect: CallEvent, common: Mapping[str, str]) -> list[CallEvent]:
    """The end of a conversation whose AgentComplete names no channel: when the first of the two hung up."""
    leg = common["leg"]
    if any(s.detail["Event"] in _LEG_ENDS and s.detail.get("DestUniqueid") == leg for s in scene.signals):
        return []
    uids = (leg, connect.detail.get("Uniqueid", ""))
    ends = [h for uid in uids if uid in scene.channels and (h := scene.channels[uid].hangup) is not None]
    if not ends:
        return []
    end = min(ends, key=lambda h: h.order)
    talk_ms = 1000 * max(int(end.at.timestamp()) - int(connect.at.timestamp()), 0)
    return [_tell(end, Kind.ENDED, ".talk", talk_ms=talk_ms, **common)]


def _ring_cancelled(scene: _Scene, common: Mapping[str, str]) -> list[CallEvent]:
    """A ring that Asterisk's queue says nothing more about: a colleague was faster, or the caller left."""
    leg = common["leg"]
    told = {"AgentRingNoAnswer", "AgentConnect", *_LEG_ENDS}
    if any(s.detail["Event"] in told and s.detail.get("DestUniqueid") == leg for s in scene.signals):
        return []
    dial, hangup = scene.dials.get(leg), scene.channel(leg).hangup
    end = (dial.end if dial else None) or hangup
    return [_tell(end, Kind.NOT_TAKEN, cause=LegEnd.CANCELLED, **common)] if end is not None else []


def _thousand(detail: Mapping[str, str], key: str) -> int | None:
    value = detail.get(key, "")
    return 1000 * int(value) if value.isdigit() else None


# -- calls without a queue ------------------------------------------------------------------------------

_NOT_TAKEN = {
    "BUSY": LegEnd.BUSY,
    "CONGESTION": LegEnd.BUSY,
    "CHANUNAVAIL": LegEnd.BUSY,
    "CANCEL": LegEnd.CANCELLED,
}


def _direct_legs(scene: _Scene) -> list[CallEvent]:
    """Agents whom the dialplan dialled for the customer, outside of any queue."""
    side = scene.with_halves(scene.root.uid, *(s.uid for s in scene.stays), *scene.transferees)
    result = []
    for dial in scene.dials.values():
        if dial.origin not in side or dial.dest in side or dial.dest in scene.agent_channels:
            continue
        agent = _extension(scene.channel(dial.dest).name)
        result += _dial_events(scene, dial, agent, dial.dest)
    return result


def _outbound_leg(scene: _Scene) -> list[CallEvent]:
    """The agent's own leg of a call that he made: each dial is an attempt, the first answer counts."""
    side = scene.with_halves(scene.root.uid)
    dials = [dial for dial in scene.dials.values() if dial.origin in side and dial.dest not in side]
    if not dials:
        return []
    dials.sort(key=lambda d: (d.status != "ANSWER", d.begin.order))
    return _dial_events(scene, dials[0], scene.root.caller, scene.root.uid)


def _dial_events(scene: _Scene, dial: _Dial, agent: str, leg: str) -> list[CallEvent]:
    common = {"agent": agent, "leg": leg}
    result = [_tell(dial.begin, Kind.RINGING, **common)]
    if dial.end is None:
        return result
    if dial.status != "ANSWER":
        return [
            *result,
            _tell(dial.end, Kind.NOT_TAKEN, cause=_NOT_TAKEN.get(dial.status, LegEnd.NO_ANSWER), **common),
        ]
    result.append(_tell(dial.end, Kind.ANSWERED, **common))
    uids = {dial.dest, dial.origin} - scene.optimised or {scene.root.uid}
    ends = [h for uid in sorted(uids) if (h := scene.channel(uid).hangup) is not None]
    if ends:
        result.append(_tell(min(ends, key=lambda h: h.at), Kind.ENDED, **common))
    return result


def _holds_and_transfers(scene: _Scene) -> list[CallEvent]:
    result = []
    legs = scene.agent_channels | set(scene.dials)
    for signal in scene.signals:
        name, detail = signal.detail["Event"], signal.detail
        if name in ("Hold", "Unhold"):
            uid = detail.get("Uniqueid", "")
            kind = Kind.HELD if name == "Hold" else Kind.RESUMED
            result.append(_tell(signal, kind, leg=uid if uid in legs else ""))
        elif name in ("BlindTransfer", "AttendedTransfer"):
            sides = [detail.get(k, "") for k in ("TransfererUniqueid", "OrigTransfererUniqueid", "TransfereeUniqueid")]
            result.append(_tell(signal, Kind.TRANSFERRED, leg=next((uid for uid in sides if uid in legs), "")))
    return result


def _end_of_call(scene: _Scene, direction: Direction | None) -> list[CallEvent]:
    """The call is over when each of its channels has hung up."""
    hangups = [channel.hangup for channel in scene.channels.values()]
    over = [hangup for hangup in hangups if hangup is not None]
    if not over or len(over) < len(hangups):
        return []
    own = [h for uid in scene.with_halves(scene.root.uid) if (h := scene.channel(uid).hangup) is not None]
    last = max(own or over, key=lambda h: h.order)
    cause = "" if scene.stays else _dial_outcome(scene, direction)
    code = last.detail.get("Cause", "")
    return [_tell(last, Kind.ENDED, ".call", cause=cause, code=code, at=max(h.at for h in over))]


def _dial_outcome(scene: _Scene, direction: Direction | None) -> str:
    """Why a call without a queue was not answered; "" leaves it to the fold."""
    side = scene.with_halves(scene.root.uid)
    statuses = {dial.status for dial in scene.dials.values() if dial.origin in side and dial.dest not in side}
    if "ANSWER" in statuses:
        return ""
    if statuses & {"NOANSWER"}:
        return Outcome.NO_ANSWER
    if "BUSY" in statuses:
        return Outcome.BUSY
    if statuses & {"CHANUNAVAIL", "CONGESTION"}:
        return Outcome.FAILED
    return Outcome.ABANDONED if direction is Direction.INBOUND else Outcome.NO_ANSWER
