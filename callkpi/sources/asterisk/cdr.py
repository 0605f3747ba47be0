"""Asterisk's call detail records (CDR), as history where there is nothing better (:mod:`.asterisk_cel`, queue_log).

A CDR is of a channel and of whom it was connected to. What is told by it: calls by day, direction, line and customer;
whether somebody answered; of calls without a queue also who, the wait and the talk to the second.

What it can't tell. Of queues: when the agent answered (``answer`` is when the dialplan itself did), hence no wait, no
talk and no service level; who let it ring; why the caller left (he hung up, ran into the time-out, pressed a key): an
unanswered entry is ``expired``, neither answered nor missed. A call that was transferred into a second queue is two
calls, unless the file has ``linkedid``. Nothing of holds, pauses and log-ins. Agents are extensions, not MemberNames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.sources.asterisk.settings import AsteriskSource
from callkpi.sources.base import Context, Rejected
from callkpi.sources.facts import Facts, doubted, is_unread, kept_milliseconds, kept_time

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "accountcode": (), "src": (), "dst": (), "dcontext": ("context",), "clid": (), "channel": (), "dstchannel": (),
    "lastapp": (), "lastdata": (), "start": ("calldate",), "answer": (), "end": (), "duration": (), "billsec": (),
    "disposition": (), "amaflags": (), "uniqueid": (), "userfield": (), "linkedid": (),
}  # fmt: skip
#: Master.csv of cdr_csv has no titles: 16 columns, with loguniqueid 17, with loguserfield 18.
WITHOUT_TITLES: Mapping[int, tuple[str, ...]] = {count: tuple(COLUMNS)[:count] for count in (17, 18)}
_OUTCOMES = {
    "NO ANSWER": Outcome.NO_ANSWER,
    "BUSY": Outcome.BUSY,
    "FAILED": Outcome.FAILED,
    "CONGESTION": Outcome.FAILED,
}
_ENDS = {"BUSY": LegEnd.BUSY, "FAILED": LegEnd.BUSY, "CONGESTION": LegEnd.BUSY}
_KEPT = ("src", "dst", "dcontext", "channel", "dstchannel", "lastapp", "lastdata", "disposition", "uniqueid", "billsec")
_CONNECTING = ("Queue", "Dial")


def parse_row(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The signal of one record; none for halves of Local channels that connect nobody."""
    facts = Facts(item, context)
    start, answer, end = facts.local("start"), facts.local("answer"), facts.local("end")
    if start is None:
        raise Rejected("start: is empty; a record has the time at which its call began")
    if facts.text("channel").startswith("Local/") and facts.text("lastapp") not in _CONNECTING:
        return []
    duration = facts.milliseconds("duration")
    end = end or start + timedelta(milliseconds=duration or 0)
    detail = {"Cdr": "1", **{name: value for name in _KEPT if (value := facts.text(name))}}
    detail["start"], detail["end"] = start.isoformat(), end.isoformat()
    if answer is not None:
        detail["answer"] = answer.isoformat()
    return [
        CallEvent(
            tenant=context.tenant, source=context.source, call_id=facts.text("linkedid") or facts.required("uniqueid"),
            kind=Kind.SIGNAL, at=start, event_id=facts.event_id, received_at=context.received_at, detail=detail,
        )
    ]  # fmt: skip


def interpret(records: Sequence[CallEvent], settings: config.Source) -> list[CallEvent]:
    """All records of one call as canonical events."""
    ordered = sorted(records, key=lambda r: r.order)
    first, last = ordered[0], max(ordered, key=lambda r: (r.detail["end"], r.order))
    queued = [r for r in ordered if r.detail.get("lastapp") == "Queue"]
    direction = _direction(first, bool(queued), settings)
    ours, theirs = ("src", "dst") if direction is Direction.OUTBOUND else ("dst", "src")
    line = "" if direction is Direction.OUTBOUND else first.detail.get(ours, "")
    result = [_tell(first, Kind.STARTED, direction=direction, customer=first.detail.get(theirs, ""), line=line)]
    for name in dict.fromkeys(_queue(r) for r in queued):
        mine = [r for r in queued if _queue(r) == name]
        result += _stay(name, mine)
    result += [event for r in ordered if r not in queued for event in _dial(r, direction, _beaten(r, ordered))]
    cause = (
        "" if queued or any(_answered(r) for r in ordered) else _OUTCOMES.get(last.detail.get("disposition", ""), "")
    )
    if any(r.detail.get("lastapp") == "VoiceMail" for r in ordered) and not any(_answered(r) for r in ordered):
        cause = Outcome.VOICEMAIL
    told = [*result, _tell(last, Kind.ENDED, ".call", at=_at(last, "end"), cause=cause)]
    return doubted(told, (is_unread(record.detail.get("billsec", "")) for record in ordered))


def _tell(record: CallEvent, kind: Kind, tag: str = "", **facts: Any) -> CallEvent:
    return replace(record, kind=kind, event_id=f"{record.event_id}.{kind}{tag}", detail={}, **facts)


def _at(record: CallEvent, name: str) -> datetime:
    return kept_time(record.detail.get(name, "")) or record.at


def _queue(record: CallEvent) -> str:
    return record.detail.get("lastdata", "").split(",")[0]


def _answered(record: CallEvent) -> bool:
    return record.detail.get("disposition") == "ANSWERED" and "dstchannel" in record.detail


def _agent(channel: str) -> str:
    match = re.match(r"[^/]+/([^@;/]+?)(?:@.*|-[0-9a-f]+(?:;\d)?)?$", channel)
    return match.group(1) if match else channel


def _direction(record: CallEvent, is_queued: bool, settings: config.Source) -> Direction:
    context, detail = record.detail.get("dcontext", ""), record.detail
    own = config.as_kind(settings, AsteriskSource)
    internal = re.compile(settings.internal_number)
    if is_queued or context in own.inbound_contexts:
        return Direction.INBOUND
    if context in own.outbound_contexts:
        return Direction.OUTBOUND
    if not internal.fullmatch(detail.get("src", "").lstrip("+")):
        return Direction.INBOUND
    return Direction.INTERNAL if internal.fullmatch(detail.get("dst", "").lstrip("+")) else Direction.OUTBOUND


def _stay(queue: str, records: Sequence[CallEvent]) -> list[CallEvent]:
    """An entry of a queue: the record of the one who answered, and of those who did not."""
    last, entry = max(records, key=lambda r: (r.detail["end"], r.order)), f"{queue}/1"
    common = {"queue": queue, "entry": entry}
    told = [_tell(records[0], Kind.QUEUED, f".{queue}", **common)]
    taken = next((r for r in records if _answered(r)), None)
    if taken is None:
        left = {"cause": Outcome.EXPIRED, "untimed": True, "at": _at(last, "end")}
        return [*told, _tell(last, Kind.LEFT_QUEUE, f".{queue}", **common, **left)]
    who = {"agent": _agent(taken.detail["dstchannel"]), "leg": f"{taken.detail['dstchannel']}/{entry}"}
    at = {"at": _at(taken, "end"), "untimed": True}
    return [
        *told,
        _tell(taken, Kind.ANSWERED, f".{queue}", **common, **who, **at),
        _tell(taken, Kind.ENDED, f".{queue}", **common, **who, **at),
    ]


def _beaten(record: CallEvent, records: Sequence[CallEvent]) -> bool:
    """Whether a phone was dialled together with that of a colleague, who was faster: each has a record."""
    detail = record.detail
    return any(
        _answered(other) and other.at == record.at and other.detail.get("channel") == detail.get("channel")
        for other in records
        if other is not record and other.detail.get("lastdata") == detail.get("lastdata")
    )


def _dial(record: CallEvent, direction: Direction, is_beaten: bool) -> list[CallEvent]:
    """Who was dialled outside of a queue."""
    detail = record.detail
    if not detail.get("dstchannel"):
        return []
    agent = _agent(detail.get("channel", "") if direction is Direction.OUTBOUND else detail["dstchannel"])
    who = {"agent": agent, "leg": detail["dstchannel"]}
    told = [_tell(record, Kind.RINGING, **who)]
    if not _answered(record):
        end = LegEnd.CANCELLED if is_beaten else _ENDS.get(detail.get("disposition", ""), LegEnd.NO_ANSWER)
        return [*told, _tell(record, Kind.NOT_TAKEN, cause=end, at=_at(record, "end"), **who)]
    answer = _at(record, "answer") if "answer" in detail else record.at
    talk = kept_milliseconds(detail.get("billsec", ""))
    return [
        *told,
        _tell(record, Kind.ANSWERED, at=answer, **who),
        _tell(record, Kind.ENDED, at=_at(record, "end"), talk_ms=talk, talk_with_hold=True, **who),
    ]
