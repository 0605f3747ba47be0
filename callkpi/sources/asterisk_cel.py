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

from callkpi.model import CallEvent, Kind
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
    "ATTENDEDTRANSFER", "DTMF",
}  # fmt: skip
_KEPT = ("cid_num", "exten", "context", "channame", "appname", "appdata", "uniqueid", "peer")
_EXTRA = ("hangupcause", "dialstatus", "bridge_id", "extension", "transferee_channel_name")
#: A queue gives a caller up within this of its time-out.
_TIMEOUT_SLACK = 0


def parse_row(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The signal of one row; none for the types that tell nothing more."""
    facts = Facts(item, context, leave_out=("seq",))
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
        detail |= {name: str(extra[name])[:255] for name in _EXTRA if extra.get(name) not in (None, "")}
    return [
        CallEvent(
            tenant=context.tenant, source=context.source, call_id=call_id, kind=Kind.SIGNAL, at=at,
            event_id=facts.event_id, received_at=context.received_at, detail=detail,
        )
    ]  # fmt: skip


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
    pressed: bool = False


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
    dialling: str = ""
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
    elif kind == "ANSWER" and uid in call.dials:
        yield {"Event": "NewCallerid", **place}
        yield {"Event": "DialEnd", "Uniqueid": call.dials[uid], "DestUniqueid": uid, "DialStatus": "ANSWER"}
    elif kind == "ANSWER":
        yield {"Event": "NewCallerid", **place}
    elif kind == "APP_START" and application == "Dial":
        call.dialling = uid
    elif kind == "APP_START" and application == "Queue":
        queue, *more = row.detail.get("appdata", "").split(",")
        timeout = base.whole(more[3]) if len(more) > 3 else None
        call.stays[uid] = _Stay(queue, row.at, timeout, (place["Context"], place["Exten"]))
        yield {"Event": "QueueCallerJoin", "Queue": queue, **place}
    elif kind == "DTMF" and uid in call.stays:
        call.stays[uid].pressed = True
    elif kind in ("BRIDGE_ENTER", "BRIDGE_EXIT"):
        yield from _bridge(call, row, uid, members)
    elif kind in ("BLINDTRANSFER", "ATTENDEDTRANSFER"):
        yield from _transfer(call, row, uid)
    elif kind == "APP_END" and application == "Queue" and uid in call.stays:
        yield from _left(call, row, uid, place)
    elif kind == "HANGUP":
        yield from _hangup(call, row, uid, place)


def _channel(
    call: _Call, row: CallEvent, uid: str, place: Mapping[str, str], members: set[str], dialled: set[str]
) -> Iterator[dict[str, str]]:
    yield {"Event": "Newchannel", "Channel": row.detail.get("channame", ""), **place}
    if (half := call.half_of(uid)) and row.detail.get("channame", "").endswith(";2"):
        yield {"Event": "LocalBridge", "LocalOneUniqueid": half, "LocalTwoUniqueid": uid}
    if uid in members and call.stays:
        caller, stay = list(call.stays.items())[-1]
        call.rings[uid] = (stay.queue, row.at)
        yield {"Event": "AgentCalled", "Uniqueid": caller, "Queue": stay.queue, **_member(call, uid)}
    elif uid in dialled and call.dialling:
        call.dials[uid] = call.dialling
        begin = next(r for r in reversed(call.rows) if r.at <= row.at and r.detail.get("uniqueid") == call.dialling)
        yield {
            "Event": "DialBegin", "Uniqueid": call.dialling, "DestUniqueid": uid,
            "DestChannel": row.detail.get("channame", ""), "DialString": begin.detail.get("appdata", ""),
            "Context": begin.detail.get("context", ""), "Exten": begin.detail.get("exten", ""),
            "CallerIDNum": begin.detail.get("cid_num", ""),
        }  # fmt: skip


def _member(call: _Call, uid: str) -> dict[str, str]:
    """Who is called: the name of his channel without its number is his interface."""
    interface = call.ids.get(uid, "").rpartition("-")[0]
    name = interface.partition("/")[2].partition("@")[0] or interface
    return {"DestUniqueid": uid, "MemberName": name, "Interface": interface}


def _bridge(call: _Call, row: CallEvent, uid: str, members: set[str]) -> Iterator[dict[str, str]]:
    together = call.bridges.setdefault(row.detail.get("bridge_id", ""), set())
    if row.detail["Cel"] == "BRIDGE_EXIT":
        together.discard(uid)
        for talk in [talk for talk in call.talks if uid in (talk.caller, talk.member)]:
            call.talks.remove(talk)
            yield _complete(call, row, talk)
        return
    together.add(uid)
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
    other = call.names.get(row.detail.get("transferee_channel_name", ""), "")
    for talk in call.talks:
        talk.transferred = talk.transferred or bool({uid, other} & {talk.caller, talk.member})
    if row.detail["Cel"] == "BLINDTRANSFER":
        yield {"Event": "BlindTransfer", "TransfererUniqueid": uid, "TransfereeUniqueid": other}
    else:
        yield {"Event": "AttendedTransfer", "OrigTransfererUniqueid": uid, "TransfereeUniqueid": other}


def _left(call: _Call, row: CallEvent, uid: str, place: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A caller leaves the queue and was not connected."""
    stay = call.stays.pop(uid)
    wait = _seconds(stay.since, row.at)
    leaves = {"Queue": stay.queue, **place}
    hangup = call.hangup_after({uid}, row.at)
    after = (hangup.detail.get("context", ""), hangup.detail.get("exten", "")) if hangup is not None else stay.place
    if stay.pressed or after != stay.place:
        yield {"Event": "QueueCallerLeave", **leaves}
        return
    timed_out = stay.timeout is not None and wait >= stay.timeout - _TIMEOUT_SLACK
    if not timed_out:
        yield {"Event": "HangupRequest", "Uniqueid": uid}
    yield {"Event": "QueueCallerAbandon", "HoldTime": str(wait), **leaves}
    yield {"Event": "QueueCallerLeave", **leaves}
    yield {"Event": "VarSet", "Uniqueid": uid, "Variable": "QUEUESTATUS", "Value": "TIMEOUT" if timed_out else ""}


def _hangup(call: _Call, row: CallEvent, uid: str, place: Mapping[str, str]) -> Iterator[dict[str, str]]:
    if uid in call.rings:
        queue, since = call.rings.pop(uid)
        caller = next((each for each, stay in call.stays.items() if stay.queue == queue), "")
        if caller and not _leaves_now(call, caller, row.at):
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
        yield {"Event": "DialEnd", "Uniqueid": origin, "DestUniqueid": uid, "DialStatus": status or "CANCEL"}
    yield {"Event": "Hangup", "Cause": row.detail.get("hangupcause", ""), **place}


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
