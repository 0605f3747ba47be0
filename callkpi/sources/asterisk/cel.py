"""Asterisk's channel event log (CEL), as history: the calls of a time before callkpi listened.

A row is journalled as it is; a whole call's rows are read as the AMI events that Asterisk will have sent, and those by
:mod:`.asterisk_calls`. A call that was heard live, or is in the queue_log, is left to that.

What CEL tells as AMI does: calls, direction, line, customer; entries, answers and conversations of queues, their waits
and talks in whole seconds (of two clock readings, so one second off at times); who rang and let it ring; transfers.
What it does not tell, and how it is read: an agent is the extension in his channel's name (give him a name in
``tenants.X.agents``), not MemberName. Why a queue gave the caller up: a key if the log has DTMF or the dialplan went on
elsewhere, a timeout if he waited as long as the queue's own time-out, else he hung up; an emptied queue looks like that
too. Pauses, log-ins and holds are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi.calls.model import CallEvent, Kind
from callkpi.sources import base
from callkpi.sources.base import Context
from callkpi.sources.facts import Facts

#: Names of our columns, and what else they are called in tables of databases and in ``cel_custom``.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "eventtype": (), "eventtime": (), "cid_num": ("cidnum", "callerid_num"), "cid_dnid": ("dnid",), "exten": (),
    "context": (), "channame": ("channel",), "appname": ("application",), "appdata": ("appargs",), "uniqueid": (),
    "linkedid": (), "peer": ("bridgepeer",), "extra": ("eventextra",),
}  # fmt: skip
#: Columns of files without titles, by how many they are: ours, and the sample of cel_custom.conf.
WITHOUT_TITLES: Mapping[int, tuple[str, ...]] = {
    13: tuple(COLUMNS),
    20: (
        "eventtype", "eventtime", "", "cid_num", "", "", "cid_dnid", "exten", "context", "channame", "appname",
        "appdata", "", "", "uniqueid", "linkedid", "peer", "", "", "extra",
    ),
}  # fmt: skip
_READ = {
    "CHAN_START", "ANSWER", "APP_START", "APP_END", "BRIDGE_ENTER", "BRIDGE_EXIT", "HANGUP", "BLINDTRANSFER",
    "ATTENDEDTRANSFER", "DTMF", "PICKUP",
}  # fmt: skip
_KEPT = ("cid_num", "exten", "context", "channame", "appname", "appdata", "uniqueid", "peer")
_EXTRA = (
    "hangupcause", "dialstatus", "bridge_id", "extension", "transferee_channel_name", "transferee_channel_uniqueid",
    "channel2_uniqueid", "transfer_target_channel_uniqueid", "app", "pickup_channel_uniqueid",
)  # fmt: skip
#: Without these a call can't be read.
DECISIVE = ("eventtype", "eventtime", "context", "exten", "channame", "appname", "appdata", "uniqueid", "linkedid")
#: A key ends a stay at once.
_PRESSED_WITHIN = timedelta(seconds=2)
#: Ids of calls that are the same one; written beside a row by :func:`tied`.
_JOINED = "joined"


def parse_row(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The signal of one row; none for the types that tell nothing more."""
    facts = Facts(item, context, leave_out=("seq", _JOINED))
    kind = facts.required("eventtype")
    if kind not in _READ:
        return []
    call_id = facts.required("linkedid")
    at = _time(facts.required("eventtime"), context)
    seq = base.whole(str(item.get("seq", ""))) or 0
    if not at.microsecond:
        at += timedelta(microseconds=seq % 1_000_000)  # of one second the rows are in the order of the file
    try:
        extra = json.loads(str(item.get("extra") or "{}"))
    except (ValueError, RecursionError):
        extra = {}
    detail = {"Cel": kind, **{name: value for name in _KEPT if (value := facts.text(name))}}
    if isinstance(extra, dict):
        more = {name: base.clean(str(extra[name]))[:255] for name in _EXTRA if extra.get(name) is not None}
        detail |= {name: text for name, text in more.items() if text}
    told = CallEvent(
        tenant=context.tenant, source=context.source, call_id=call_id, kind=Kind.SIGNAL, at=at,
        event_id=facts.event_id, received_at=context.received_at, detail=detail,
    )  # fmt: skip
    # A consultation, a pick-up: channels that began as calls of their own.
    others = {detail.get(name, "") for name in ("channel2_uniqueid", "pickup_channel_uniqueid")}
    others |= set(base.clean(str(item.get(_JOINED) or "")).split())
    return [told, *_links(told, sorted(others - {"", call_id, detail.get("uniqueid", "")}))]


def _links(told: CallEvent, others: Sequence[str]) -> list[CallEvent]:
    return [
        replace(told, kind=Kind.LINKED, call_id=one, linked_to=two, detail={}, event_id=f"{told.event_id}.{one}-{two}")
        for other in others
        for one, two in ((told.call_id, other), (other, told.call_id))
    ]


def tied(rows: Sequence[Any]) -> list[Any]:
    """The rows, each with the other calls that its channel was part of: a channel that is in two makes one of them."""
    calls: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row, dict) and row.get("eventtype") and row.get("uniqueid") and row.get("linkedid"):
            known = calls.setdefault(str(row["uniqueid"]), [])
            if row["linkedid"] not in known:
                known.append(row["linkedid"])
    several = {uid: ids for uid, ids in calls.items() if len(ids) > 1}
    result = []
    for row in rows:
        uid = str(row.get("uniqueid", "")) if isinstance(row, dict) else ""
        if uid in several and row.get("linkedid") == several[uid][0]:
            row = {**row, _JOINED: " ".join(map(str, several.pop(uid)[1:]))}
        result.append(row)
    return result


def _time(text: str, context: Context) -> datetime:
    if base.is_unix(text):
        return base.unix_time(text, "eventtime", context.received_at)
    return base.local_time(text, "eventtime", context.settings.zone, context.received_at)


@dataclass(slots=True)
class _Stay:
    """A caller in a queue, as far as the rows have been read."""

    queue: str
    since: datetime
    timeout: int | None
    place: tuple[str, str]
    linkedid: str
    pressed: datetime | None = None

    def gives_up(self, at: datetime) -> bool:
        """Whether the queue's time is over."""
        return self.timeout is not None and _seconds(self.since, at) >= self.timeout


@dataclass(slots=True)
class _Talk:
    caller: str
    member: str
    queue: str
    since: datetime
    hold: int
    transferred: bool = False


@dataclass(slots=True)
class _Call:
    """One call's rows, read in order."""

    rows: Sequence[CallEvent]
    names: dict[str, str] = field(default_factory=dict)  #: channel's name -> id
    ids: dict[str, str] = field(default_factory=dict)  #: and back
    stays: dict[str, _Stay] = field(default_factory=dict)
    rings: dict[str, tuple[str, datetime]] = field(default_factory=dict)  #: member's channel -> queue, since
    talks: list[_Talk] = field(default_factory=list)
    dialling: list[tuple[str, str]] = field(default_factory=list)  #: who runs Dial, and whom for
    answered: set[str] = field(default_factory=set)  #: who dialled and was answered
    replaced: set[str] = field(default_factory=set)  #: halves of Local channels that were taken out of the call
    dials: dict[str, str] = field(default_factory=dict)  #: dialled channel -> who dialled it
    bridges: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            self.names.setdefault(row.detail.get("channame", ""), row.detail.get("uniqueid", ""))
        self.ids = {uid: name for name, uid in self.names.items()}

    def uids_of(self, application: str) -> set[str]:
        return {r.detail.get("uniqueid", "") for r in self.rows if r.detail.get("appname") == application}

    def half_of(self, uid: str) -> str:
        name = self.ids.get(uid, "")
        other = {";1": ";2", ";2": ";1"}.get(name[-2:], "")
        return self.names.get(name[:-2] + other, "") if other else ""

    def first_of(self, uid: str) -> CallEvent | None:
        return next((r for r in self.rows if r.detail.get("uniqueid") == uid), None)

    def entered_elsewhere(self, uid: str, bridge: str, before: CallEvent) -> bool:
        """Whether a channel was in another bridge before."""
        return any(
            r.detail["Cel"] == "BRIDGE_ENTER" and r.order < before.order and r.detail.get("bridge_id") != bridge
            for r in self.rows
            if r.detail.get("uniqueid") == uid
        )

    def dials_answered(self) -> set[str]:
        """Dialled channels that answered."""
        return {r.detail.get("uniqueid", "") for r in self.rows if r.detail["Cel"] == "ANSWER"}

    def hangup_after(self, uids: set[str], at: datetime) -> CallEvent | None:
        told = (r for r in self.rows if r.detail["Cel"] == "HANGUP" and r.at >= at)
        return next((r for r in told if r.detail.get("uniqueid") in uids), None)


def signals(rows: Sequence[CallEvent]) -> list[CallEvent]:
    """The AMI events that Asterisk will have sent for one call."""
    once = {row.event_id: row for row in sorted(rows, key=lambda r: r.order, reverse=True)}
    call = _Call(sorted(once.values(), key=lambda r: r.order))
    members, dialled = call.uids_of("AppQueue"), call.uids_of("AppDial")
    result: list[CallEvent] = []
    for row in call.rows:
        for told in _read(call, row, members, dialled):
            event = told.pop("Event")
            detail = {"Event": event, **{name: value for name, value in told.items() if value}}
            result.append(replace(row, event_id=f"{row.event_id}.{event}.{len(result)}", detail=detail))
    return result


def _read(call: _Call, row: CallEvent, members: set[str], dialled: set[str]) -> Iterator[dict[str, str]]:
    kind, uid, application = row.detail["Cel"], row.detail.get("uniqueid", ""), row.detail.get("appname", "")
    place = {
        "Uniqueid": uid, "CallerIDNum": row.detail.get("cid_num", ""), "Context": row.detail.get("context", ""),
        "Exten": row.detail.get("exten", ""),
    }  # fmt: skip
    if kind == "CHAN_START":
        yield from _channel(call, row, uid, place, members, dialled)
    elif kind == "ANSWER":
        yield {"Event": "NewCallerid", **place}
        if uid in call.dials:
            call.answered.add(call.dials[uid])
            yield {"Event": "DialEnd", "Uniqueid": call.dials[uid], "DestUniqueid": uid, "DialStatus": "ANSWER"}
    elif kind == "APP_START":
        yield from _application(call, row, uid, place)
    elif kind == "DTMF" and uid in call.stays:
        call.stays[uid].pressed = row.at
    elif kind in ("BRIDGE_ENTER", "BRIDGE_EXIT"):
        yield from _bridge(call, row, uid, members)
    elif kind in ("BLINDTRANSFER", "ATTENDEDTRANSFER"):
        yield from _transfer(call, row, uid)
    elif kind == "PICKUP":
        yield from _pickup(call, row, uid)
    elif kind == "APP_END" and application == "Queue" and uid in call.stays:
        yield from _left(call, row, uid, place)
    elif kind == "HANGUP":
        yield from _hangup(call, row, uid, place)


def _application(call: _Call, row: CallEvent, uid: str, place: Mapping[str, str]) -> Iterator[dict[str, str]]:
    application = row.detail.get("appname", "")
    if application == "Dial":
        call.dialling.append((uid, row.detail.get("appdata", "")))
    elif application == "VoiceMail":
        yield {"Event": "VoiceMail", "Uniqueid": uid}
    # Who is in a queue already was transferred into one that a colleague had entered.
    elif application == "Queue" and uid not in call.stays:
        queue, *more = row.detail.get("appdata", "").split(",")
        timeout = base.whole(more[3]) if len(more) > 3 else None
        call.stays[uid] = _Stay(queue, row.at, timeout, (place["Context"], place["Exten"]), row.call_id)
        yield {"Event": "QueueCallerJoin", "Queue": queue, **place}


def _channel(
    call: _Call, row: CallEvent, uid: str, place: Mapping[str, str], members: set[str], dialled: set[str]
) -> Iterator[dict[str, str]]:
    yield {"Event": "Newchannel", "Channel": row.detail.get("channame", ""), **place}
    if (half := call.half_of(uid)) and row.detail.get("channame", "").endswith(";2"):
        yield {"Event": "LocalBridge", "LocalOneUniqueid": half, "LocalTwoUniqueid": uid}
    if uid in members and call.stays:
        mine = [each for each in call.stays.items() if each[1].linkedid == row.call_id]
        caller, stay = (mine or list(call.stays.items()))[-1]
        call.rings[uid] = (stay.queue, row.at)
        yield {"Event": "AgentCalled", "Uniqueid": caller, "Queue": stay.queue, **_member(call, uid)}
    elif (uid in dialled or _is_picked_up(call, uid)) and call.dialling:
        origin, target = _dialled_by(call, row.detail.get("channame", ""))
        call.dials[uid] = origin
        begin = next(r for r in reversed(call.rows) if r.order <= row.order and r.detail.get("uniqueid") == origin)
        yield {
            "Event": "DialBegin", "Uniqueid": origin, "DestUniqueid": uid,
            "DestChannel": row.detail.get("channame", ""), "DialString": target,
            "Context": begin.detail.get("context", ""), "Exten": begin.detail.get("exten", ""),
            "CallerIDNum": begin.detail.get("cid_num", ""),
        }  # fmt: skip


def _is_picked_up(call: _Call, uid: str) -> bool:
    return any(r.detail["Cel"] == "PICKUP" and r.detail.get("uniqueid") == uid for r in call.rows)


def _dialled_by(call: _Call, name: str) -> tuple[str, str]:
    """Who dialled a channel, and what: of several who dial at once the one in whose list it is."""
    for uid, told in reversed(call.dialling):
        for target in told.split(",")[0].split("&"):
            if _is_at(target, name):
                if "&" not in told:
                    call.dialling.remove((uid, told))
                return uid, target.partition("/")[2]
    uid, told = call.dialling[-1]
    return uid, told.split(",")[0].partition("/")[2]


def _is_at(target: str, name: str) -> bool:
    """Whether a channel is one to what was dialled: ``PJSIP/24``, ``PJSIP/8701…@trunk``, ``SIP/trunk/8701…``."""
    technology, _, rest = target.partition("/")
    peer = name.partition("/")[2].rpartition("-")[0]
    places = {rest, rest.partition("/")[0], rest.rpartition("@")[2].partition("/")[0], rest.removesuffix("/n")}
    return technology.lower() == name.partition("/")[0].lower() and peer in places


def _pickup(call: _Call, row: CallEvent, uid: str) -> Iterator[dict[str, str]]:
    """A colleague takes a ring: the dial is answered by his channel, and the phone that rang is out of it."""
    taker = row.detail.get("pickup_channel_uniqueid", "")
    yield {"Event": "Pickup", "Uniqueid": taker, "TargetUniqueid": uid}
    if (origin := call.dials.pop(uid, "")) and taker:
        call.answered.add(origin)
        yield {"Event": "DialEnd", "Uniqueid": origin, "DestUniqueid": taker, "DialStatus": "ANSWER"}


def _member(call: _Call, uid: str) -> dict[str, str]:
    """Who is called: the name of his channel without its number is his interface."""
    interface = call.ids.get(uid, "").rpartition("-")[0]
    name = interface.partition("/")[2].partition("@")[0] or interface
    return {"DestUniqueid": uid, "MemberName": name, "Interface": interface}


def _bridge(call: _Call, row: CallEvent, uid: str, members: set[str]) -> Iterator[dict[str, str]]:
    together = call.bridges.setdefault(row.detail.get("bridge_id", ""), set())
    if row.detail["Cel"] == "BRIDGE_EXIT":
        together.discard(uid)
        if replacing := _in_place_of(call, row, uid):
            half = call.half_of(uid)
            call.replaced |= {uid, half}
            for talk in call.talks:
                talk.member = replacing if talk.member == uid else talk.member
                talk.caller = replacing if talk.caller == uid else talk.caller
            yield {
                "Event": "LocalOptimizationBegin", "LocalOneUniqueid": uid, "LocalTwoUniqueid": half,
                "SourceUniqueid": replacing,
            }  # fmt: skip
            return
        for talk in [talk for talk in call.talks if uid in (talk.caller, talk.member)]:
            call.talks.remove(talk)
            yield _complete(call, row, talk)
        return
    together.add(uid)
    yield from _bridged_by_program(call, row, uid, together, members)
    caller = next((each for each in together if each in call.stays), "")
    member = next((each for each in together if each in members and each != caller), "")
    if not caller or not member:
        return
    stay = call.stays.pop(caller)
    hold = _seconds(stay.since, row.at)
    rang = _seconds(call.rings.pop(member, (stay.queue, row.at))[1], row.at)
    call.talks.append(_Talk(caller, member, stay.queue, row.at, hold))
    yield {"Event": "QueueCallerLeave", "Uniqueid": caller, "Queue": stay.queue}
    yield {
        "Event": "AgentConnect", "Uniqueid": caller, "Queue": stay.queue, **_member(call, member),
        "HoldTime": str(hold), "RingTime": str(rang),
    }  # fmt: skip


def _bridged_by_program(
    call: _Call, row: CallEvent, uid: str, together: set[str], members: set[str]
) -> Iterator[dict[str, str]]:
    """A program (ARI) that brings the caller and a phone together dials nobody: their bridge is the answer."""
    root, stasis = row.call_id, call.uids_of("Stasis")
    others = [each for each in sorted(together) if each != root and each not in {*call.dials, *members}]
    for other in others:
        name = call.ids.get(other, "")
        if root not in together or not stasis & {root, other} or not name or name.startswith("Local/"):
            continue
        call.dials[other] = root
        call.answered.add(root)
        told = {"Uniqueid": root, "DestUniqueid": other, "DestChannel": name}
        yield {"Event": "DialBegin", "DialString": name.partition("/")[2].rpartition("-")[0], **told}
        yield {"Event": "DialEnd", "DialStatus": "ANSWER", **told}


def _in_place_of(call: _Call, row: CallEvent, uid: str) -> str:
    """The channel that enters a bridge as a half of a Local channel leaves it: Asterisk takes the pair out."""
    if not call.ids.get(uid, "").startswith("Local/"):
        return ""
    bridge, second = row.detail.get("bridge_id", ""), int(row.at.timestamp())
    hangup = call.hangup_after({uid}, row.at)
    if hangup is None or _seconds(row.at, hangup.at) > 1:
        return ""
    for other in call.rows:
        if other.detail["Cel"] == "BRIDGE_ENTER" and other.detail.get("bridge_id") == bridge:
            name, who = other.detail.get("channame", ""), other.detail.get("uniqueid", "")
            is_now = abs(int(other.at.timestamp()) - second) <= 1 and other.order < hangup.order
            began = call.first_of(who)
            earlier = call.entered_elsewhere(who, bridge, other)
            if is_now and who != uid and earlier and began is not None and not name.startswith("Local/"):
                return who
    return ""


def _complete(call: _Call, row: CallEvent, talk: _Talk) -> dict[str, str]:
    sides = {"caller": {talk.caller, call.half_of(talk.caller)}, "agent": {talk.member, call.half_of(talk.member)}}
    ends = {side: call.hangup_after(uids, talk.since) for side, uids in sides.items()}
    first = min((end.order, side) for side, end in ends.items() if end is not None) if any(ends.values()) else ((), "")
    return {
        "Event": "AgentComplete", "Uniqueid": talk.caller, "Queue": talk.queue, **_member(call, talk.member),
        "HoldTime": str(talk.hold), "TalkTime": str(_seconds(talk.since, row.at)),
        "Reason": "transfer" if talk.transferred else first[1],
    }  # fmt: skip


def _transfer(call: _Call, row: CallEvent, uid: str) -> Iterator[dict[str, str]]:
    named = call.names.get(row.detail.get("transferee_channel_name", ""), "")
    other = row.detail.get("transferee_channel_uniqueid", "") or named
    second = row.detail.get("channel2_uniqueid", "")
    for talk in call.talks:
        talk.transferred = talk.transferred or bool({uid, other} & {talk.caller, talk.member})
    if row.detail["Cel"] == "BLINDTRANSFER":
        yield {"Event": "BlindTransfer", "TransfererUniqueid": uid, "TransfereeUniqueid": other}
    else:
        if other and second in call.stays:
            call.stays[other] = call.stays.pop(second)
        yield {
            "Event": "AttendedTransfer", "OrigTransfererUniqueid": uid, "SecondTransfererUniqueid": second,
            "TransfereeUniqueid": other,
            "TransferTargetUniqueid": row.detail.get("transfer_target_channel_uniqueid", ""),
        }  # fmt: skip


def _left(call: _Call, row: CallEvent, uid: str, place: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A caller leaves the queue and was not connected."""
    stay = call.stays.pop(uid)
    wait = _seconds(stay.since, row.at)
    leaves = {"Queue": stay.queue, **place}
    hangup = call.hangup_after({uid}, row.at)
    after = (hangup.detail.get("context", ""), hangup.detail.get("exten", "")) if hangup is not None else stay.place
    pressed = stay.pressed is not None and row.at - stay.pressed <= _PRESSED_WITHIN
    timed_out = stay.gives_up(row.at) and not pressed
    if pressed or (after != stay.place and not timed_out):
        yield {"Event": "QueueCallerLeave", **leaves}
        return
    if not timed_out:
        yield {"Event": "HangupRequest", "Uniqueid": uid}
    yield {"Event": "QueueCallerAbandon", "HoldTime": str(wait), **leaves}
    yield {"Event": "QueueCallerLeave", **leaves}
    yield {"Event": "VarSet", "Uniqueid": uid, "Variable": "QUEUESTATUS", "Value": "TIMEOUT" if timed_out else ""}


def _hangup(call: _Call, row: CallEvent, uid: str, place: Mapping[str, str]) -> Iterator[dict[str, str]]:
    if uid in call.rings:
        queue, since = call.rings.pop(uid)
        caller = next((each for each, stay in call.stays.items() if stay.queue == queue), "")
        if caller and (not _leaves_now(call, caller, row.at) or _rang_to_the_end(call, caller, row)):
            rang = str(1000 * _seconds(since, row.at))
            yield {
                "Event": "AgentRingNoAnswer",
                "Uniqueid": caller,
                "Queue": queue,
                **_member(call, uid),
                "RingTime": rang,
            }
    if (origin := call.dials.get(uid)) is not None:
        end = call.hangup_after({origin}, row.at)
        status = end.detail.get("dialstatus", "") if end is not None else ""
        if status == "ANSWER" and uid not in call.dials_answered():
            status = "CANCEL" if origin in call.answered else "NOANSWER"  # a colleague was faster
        yield {"Event": "DialEnd", "Uniqueid": origin, "DestUniqueid": uid, "DialStatus": status or "CANCEL"}
    yield {"Event": "Hangup", "Cause": row.detail.get("hangupcause", ""), **place}


def _rang_to_the_end(call: _Call, caller: str, row: CallEvent) -> bool:
    """Whether a ring ends because the queue's time is over: it was let pass."""
    return call.stays[caller].gives_up(row.at) and row.detail.get("hangupcause") != "26"


def _leaves_now(call: _Call, caller: str, at: datetime) -> bool:
    """Whether a caller is connected or gone in the same second: then his other rings were cancelled."""
    over = ("APP_END", "BRIDGE_ENTER", "HANGUP")
    sides = {caller, call.half_of(caller)}
    return any(
        r.detail["Cel"] in over and r.detail.get("uniqueid") in sides and int(r.at.timestamp()) == int(at.timestamp())
        for r in call.rows
        if r.at >= at or r.detail["Cel"] == "HANGUP"
    )


def _seconds(begin: datetime, end: datetime) -> int:
    return max(int(end.timestamp()) - int(begin.timestamp()), 0)
