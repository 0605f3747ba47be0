"""Lines of Asterisk's queue_log: ``time|call id|queue|agent|event|data1|…|data5``.

Format: docs.asterisk.org, "Queue Logs". Times are whole seconds, with a fraction where a site writes one. The call id
is the Uniqueid of the channel that entered the queue; a transferred call gets another one and the log does not tie
them. An end without a beginning (the log began later, or a transfer replaced the caller's channel) tells itself how
long the stay was; a COMPLETE… without its CONNECT is a conversation of the agent and no stay.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import (
    AGENT_STREAM,
    MARK_STREAM,
    RESTART_STREAM,
    UNHEARD,
    AgentState,
    CallEvent,
    Direction,
    Kind,
    LegEnd,
    Outcome,
)
from callkpi.sources import base
from callkpi.sources.asterisk.settings import AsteriskSource
from callkpi.sources.base import Context, Rejected
from callkpi.sources.facts import doubted, is_unread, kept_milliseconds

_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*\d{9,11}(?:\.\d+)?\|[^|\n]*\|[^|\n]*\|[^\n]*\|[A-Z_]+")
#: A Uniqueid: system's name, begin, number.
_UNIQUEID = re.compile(r"(.*?\d{9,11})\.(\d+)")
#: A stay that somebody of ours entered, by queue and second: a customer may be transferred into it.
_ENTERED = MARK_STREAM + "entered/"

#: End of a stay without an answer: outcome, and which of data1… is the wait in seconds.
_LEFT = {
    "ABANDON": (Outcome.ABANDONED, 2),
    "EXITWITHTIMEOUT": (Outcome.TIMED_OUT, 2),
    "EXITWITHKEY": (Outcome.EXITED, 3),
    "EXITEMPTY": (Outcome.LEFT_EMPTY, 2),
    "WITHDRAW": (Outcome.EXITED, 2),
    "SYSCOMPAT": (Outcome.FAILED, 9),
}
#: End of a conversation: who ended it, or how it was transferred.
_HUNG_UP_BY = {"COMPLETECALLER": "customer", "COMPLETEAGENT": "agent"}
_TRANSFERS = {"BLINDTRANSFER": "blind", "TRANSFER": "blind", "ATTENDEDTRANSFER": "attended"}
_COMPLETED = {*_HUNG_UP_BY, *_TRANSFERS}
#: Which of data1… is the wait in seconds.
_WAIT_OF = {"CONNECT": 0, **{verb: index for verb, (_, index) in _LEFT.items()}}
_RUNG = {"RINGNOANSWER": LegEnd.NO_ANSWER, "RINGCANCELED": LegEnd.CANCELLED, "AGENTDUMP": LegEnd.CANCELLED}
_CALL_EVENTS = {"DID", "ENTERQUEUE", "CONNECT", *_LEFT, *_COMPLETED, *_RUNG}
#: How a member changes: his state after it, and what it is counted as.
_AGENT_STATES = {
    "PAUSE": (AgentState.PAUSED, "PAUSE"),
    "UNPAUSE": (AgentState.AVAILABLE, "UNPAUSE"),
    "ADDMEMBER": (AgentState.AVAILABLE, "ADDMEMBER"),
    "REMOVEMEMBER": (AgentState.OFFLINE, "REMOVEMEMBER"),
    "AGENTLOGIN": (AgentState.AVAILABLE, "ADDMEMBER"),
    "AGENTCALLBACKLOGIN": (AgentState.AVAILABLE, "ADDMEMBER"),
    "AGENTLOGOFF": (AgentState.OFFLINE, "REMOVEMEMBER"),
    "AGENTCALLBACKLOGOFF": (AgentState.OFFLINE, "REMOVEMEMBER"),
    # Of all queues at once. Lines of each queue that come with it say the same, and those are counted; after it is over
    # only they say where the agent is.
    "PAUSEALL": (AgentState.PAUSED, "PAUSEALL"),
    "UNPAUSEALL": (AgentState.OFFLINE, "UNPAUSEALL"),
    "PAUSEREASON": (AgentState.PAUSED, "PAUSEREASON"),
}
#: A phone rang: its member was there and not paused, also one whom the configuration alone has put into the queue.
_SEEN = "SEEN"
_RESTART = "QUEUESTART"
#: What bytes are taken for that are not UTF-8, where the configuration does not say it.
GUESSED_ENCODING = "cp1251"
#: What Asterisk writes besides, and what tells nothing of calls and agents.
_OTHERS = {"CONFIGRELOAD", "PENALTY", "INFO", "RINGINUSE", "CALLSTATUS", "CALLERINFO"}
_KNOWN = {*_CALL_EVENTS, *_AGENT_STATES, _RESTART, *_OTHERS}
#: CONNECT names the same ring as RINGNOANSWER, in whole seconds of two clock readings.
_RING_SLACK_MS = 1000
#: At one second a caller leaves before he enters again, unless he is not in the queue.
_PHASE = {"ENTERQUEUE": 0, **dict.fromkeys(_RUNG, 1), "CONNECT": 2, **dict.fromkeys(_LEFT, 3)}


def looks_like(body: bytes) -> bool:
    return _LINE.match(body) is not None


def decode(body: bytes) -> list[str]:
    """The lines; bytes that are not UTF-8 are kept in them, see :func:`readable`."""
    return [line for line in text_of(body).split("\n") if line.strip()]


def text_of(line: bytes) -> str:
    return line.decode("utf-8-sig", "surrogateescape")


def is_utf8(line: str) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for letter in line)


def readable(field: str, encoding: str) -> str:
    """A field as somebody reads it. What is not UTF-8 is of the site's own encoding; here cp1251 is the usual one."""
    if is_utf8(field):
        return field
    raw = field.encode("utf-8", "surrogateescape")
    for name in (encoding or GUESSED_ENCODING, "latin-1"):
        try:
            return raw.decode(name)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace")


def parse_line(line: str, context: Context) -> Sequence[CallEvent]:
    """The events of one line; none for what concerns no call and no agent (CONFIGRELOAD…)."""
    encoding = config.as_kind(context.settings, AsteriskSource).encoding
    parts = [readable(part, encoding) for part in line.rstrip("\r\n").split("|")]
    if len(parts) < 5:
        raise Rejected(f"a queue_log line has at least 5 fields separated by '|', this one {len(parts)}")
    at = base.unix_time(parts[0].strip(), "time (field 1)", context.received_at)
    return _parse(_with_whole_name(parts), at, base.digest(line.strip()), context)


def is_row(item: Mapping[str, Any]) -> bool:
    """Whether an object is a row of the realtime table queue_log, or means to be one."""
    verb = item.get("event") or item.get("Event")
    return "callid" in item or (isinstance(verb, str) and verb in _KNOWN)


def parse_row(item: Mapping[str, Any], context: Context) -> Sequence[CallEvent]:
    """The events of a row of the realtime table: its columns by their names. Raises Rejected."""
    told = {key.lower(): "" if value is None else str(value) for key, value in item.items()}
    time, verb = told.get("time") or told.get("eventdate", ""), told.get("event", "")
    if not time or not verb or "callid" not in told:
        raise Rejected("a row of queue_log has the columns time, callid, queuename, agent, event, data1 … data5")
    if re.fullmatch(r"\d{9,11}(\.\d+)?", time):
        at = base.unix_time(time, "time", context.received_at)
    else:
        at = base.local_time(time, "time", context.settings.zone, context.received_at)
    data = [told.get(f"data{number}", "") for number in range(1, 6)]
    if not any(data) and told.get("data"):
        data = told["data"].split("|")
    where = [told["callid"], told.get("queuename") or told.get("queue", ""), told.get("agent", "")]
    return _parse(
        [time, *(part or "NONE" for part in where), verb, *data], at, base.digest(base.canonical(told)), context
    )


def _parse(parts: Sequence[str], at: datetime, event_id: str, context: Context) -> Sequence[CallEvent]:
    _, call_id, queue, agent, verb, *data = map(base.clean, parts)
    common: dict[str, Any] = {
        "tenant": context.tenant,
        "source": context.source,
        "at": at,
        "event_id": event_id,
        "received_at": context.received_at,
        "queue": "" if queue == "NONE" else queue,
        "agent": "" if agent == "NONE" else agent,
    }
    if verb in _AGENT_STATES:
        return [_agent_state(agent, verb, data[0] if data else "", common)]
    if verb == _RESTART:
        return [CallEvent(call_id=RESTART_STREAM, kind=Kind.SIGNAL, detail={"verb": verb}, **common)]
    if verb not in _CALL_EVENTS:
        return []
    if not call_id or call_id == "NONE":
        raise Rejected(f"{verb}: field 2 must be the call's id, not {call_id!r}")
    detail = {"verb": verb, **{f"data{i}": value for i, value in enumerate(data, 1) if value}}
    told = CallEvent(call_id=call_id, kind=Kind.SIGNAL, detail=detail, **common)
    return [told, *_marks_of(told, context.settings), *_member_seen(told)]


def _with_whole_name(parts: list[str]) -> list[str]:
    """The fields of a line, also where the agent's name has a ``|`` in it. Raises Rejected where it can't be read."""
    if parts[4] in _KNOWN:
        return parts
    place = next((index for index, part in enumerate(parts) if index > 4 and part in _KNOWN), None)
    if place is not None:
        return [*parts[:3], "|".join(parts[3:place]), *parts[place:]]
    if not re.fullmatch("[A-Z][A-Z0-9_]*", parts[4]):
        raise Rejected(f"field 5 must be an event such as CONNECT, not {base.shown(parts[4])}")
    return parts  # one of the dialplan's own, written by the application QueueLog


def _agent_state(agent: str, verb: str, told: str, common: dict[str, Any]) -> CallEvent:
    (state, code), reason = _AGENT_STATES[verb], ""
    if state is AgentState.PAUSED:
        reason = told[:100]
    elif verb == "ADDMEMBER" and told == "PAUSED":
        state = AgentState.PAUSED
    return CallEvent(
        call_id=AGENT_STREAM + agent, kind=Kind.AGENT_STATE, state=state, reason=reason, code=code, **common
    )


def _member_seen(line: CallEvent) -> list[CallEvent]:
    """What a ring says of its member: when it began he was available."""
    verb = line.detail["verb"]
    if verb not in ("CONNECT", "RINGNOANSWER") or not line.agent:
        return []
    ring_ms = _milliseconds(line, 2) if verb == "CONNECT" else _as_written_ms(line)
    at = line.at - timedelta(milliseconds=ring_ms or 0)
    call_id, event_id = AGENT_STREAM + line.agent, f"{line.event_id}.{_SEEN}"
    told = replace(line, call_id=call_id, event_id=event_id, kind=Kind.AGENT_STATE, at=at, detail={})
    return [replace(told, state=AgentState.AVAILABLE, code=_SEEN)]


# -- one call under several ids ---------------------------------------------------------------------------


def _marks_of(line: CallEvent, settings: config.Source) -> list[CallEvent]:
    """What a line says to the lines of another id that may be of the same call."""
    verb, told = line.detail["verb"], line.detail.get("data2", "")
    if verb == "CONNECT" and (match := _UNIQUEID.fullmatch(told)):
        # If the member is a Local channel, its second half is the next number: a transfer sends that one on.
        half = f"{match[1]}.{int(match[2]) + 1}"
        return [replace(line, call_id=half, event_id=f"{line.event_id}.half", detail={"half_of": line.call_id})]
    if verb == "ENTERQUEUE" and re.fullmatch(settings.internal_number, told.lstrip("+")):
        mark = _entered_mark(line.queue, line.at)
        return [replace(line, call_id=mark, event_id=f"{line.event_id}.entered", detail={"entered": line.call_id})]
    return []


def _entered_mark(queue: str, at: datetime) -> str:
    return f"{_ENTERED}{queue}/{int(at.timestamp())}"[:255]


def marks(lines: Sequence[CallEvent]) -> dict[str, datetime]:
    """The marks that an end without a beginning asks for: who of ours entered that queue at the time it tells."""
    result = {}
    for end in _orphans(lines):
        at = _before(end, _WAIT_OF[end.detail["verb"]])
        near = [at + timedelta(seconds=seconds) for seconds in (-1, 0, 1)]
        result.update({_entered_mark(end.queue, moment): moment for moment in near})
    return result


def _orphans(lines: Sequence[CallEvent]) -> list[CallEvent]:
    entered = {(line.call_id, line.queue) for line in lines if line.detail.get("verb") == "ENTERQUEUE"}
    ends = [line for line in lines if line.detail.get("verb") in _WAIT_OF]
    return [end for end in ends if (end.call_id, end.queue) not in entered]


def kin(events: Sequence[CallEvent]) -> set[str]:
    """Ids that may be of the same call: of which this is a second half, or who entered a queue that it then left."""
    lines = [event for event in events if event.detail.get("verb") in _CALL_EVENTS]
    halves = {event.detail["half_of"] for event in events if "half_of" in event.detail} if lines else set()
    return halves | {event.detail["entered"] for event in events if "entered" in event.detail}


def is_one(one: Sequence[CallEvent], other: Sequence[CallEvent], settings: config.Source) -> bool:
    """Whether two ids of which the first names the other as kin are one call."""
    mine, theirs = ([e for e in told if e.detail.get("verb") in _CALL_EVENTS] for told in (one, other))
    if not mine or not theirs:
        return False
    return _is_half(one, mine, theirs) or _carries_on(mine, theirs, settings)


def _is_half(one: Sequence[CallEvent], mine: Sequence[CallEvent], theirs: Sequence[CallEvent]) -> bool:
    """Whether the first id is the second half of a member's Local channel in the other one's call.

    The next number may as well be a customer's who calls in the same second: he entered a queue before the ring was
    answered, or has another number.
    """
    halves = [event for event in one if event.detail.get("half_of") == theirs[0].call_id]
    if not halves or min(line.at for line in mine) < min(half.at for half in halves):
        return False
    entered = [line.detail.get("data2", "") for line in mine if line.detail["verb"] == "ENTERQUEUE"]
    customers = {line.detail.get("data2", "") for line in theirs if line.detail["verb"] == "ENTERQUEUE"}
    return not entered or entered[0] in customers


def _carries_on(mine: Sequence[CallEvent], theirs: Sequence[CallEvent], settings: config.Source) -> bool:
    """Whether an end of the first id is that of a stay that somebody of ours entered under the other id."""
    for end in _orphans(mine):
        begin = _before(end, _WAIT_OF[end.detail["verb"]])
        for line in theirs:
            is_same = line.detail["verb"] == "ENTERQUEUE" and line.queue == end.queue
            if is_same and abs(line.at - begin) <= timedelta(seconds=1) and _is_ours(line, settings):
                over = {e.detail["verb"] for e in theirs if e.queue == end.queue and e.at >= line.at} - {"ENTERQUEUE"}
                return not over & {*_LEFT, "CONNECT"}
    return False


def _is_ours(line: CallEvent, settings: config.Source) -> bool:
    return bool(re.fullmatch(settings.internal_number, line.detail.get("data2", "").lstrip("+")))


# -- reading ----------------------------------------------------------------------------------------------


def interpret(lines: Sequence[CallEvent], restart: CallEvent | None = None) -> list[CallEvent]:
    """All lines of one call as canonical events. *restart*: the first one of the exchange after them."""
    did = next(
        (e.detail["data1"] for e in sorted(lines, key=_order) if e.detail["verb"] == "DID" and "data1" in e.detail), ""
    )
    told = [line for line in lines if line.detail["verb"] != "DID"]
    result: list[CallEvent] = []
    is_over = True
    for thread in _threads(told):
        ordered, place = _as_written(_timed(_without_rings_that_were_taken(thread)))
        events, waits, talk = _stays(ordered)
        result += events
        if talk is not None and (next_join := _next_join(ordered, told)) is not None:
            result.append(_talk_over(next_join, talk))
            place.talks, talk = False, None
        if restart is not None and (place.waits or place.talks):
            result += _cut_off(max(ordered, key=_order), waits, talk)
        elif place.waits or place.talks:
            is_over = False
    if did:
        result = [replace(event, line=did) if event.kind is Kind.STARTED else event for event in result]
    if told and is_over:
        result += _end_of_call(result, told, cut_off=restart is not None and _is_cut_off(result))
    return doubted(result, map(_has_unread, told))


def _has_unread(line: CallEvent) -> bool:
    """Whether one of its durations is none."""
    verb = line.detail["verb"]
    if verb in _RUNG:
        return is_unread(line.detail.get("data1", ""), unit=1)
    talk = _talk_index(line)
    places = (talk - 1, talk) if verb in _COMPLETED else (0, 2) if verb == "CONNECT" else (_WAIT_OF.get(verb),)
    return any(is_unread(line.detail.get(f"data{place + 1}", "")) for place in places if place is not None)


def _next_join(thread: Sequence[CallEvent], lines: Sequence[CallEvent]) -> CallEvent | None:
    """The caller's next joining of a queue, which proves that the talk before it is over.

    By ``*``, or with the option c where the agent hangs up, he goes on in the dialplan and no COMPLETE is written.
    """
    connect = max((line for line in thread if line.detail["verb"] == "CONNECT"), key=_order)
    joins = [
        line for line in lines
        if line.detail["verb"] == "ENTERQUEUE" and line.call_id == connect.call_id and line.at > connect.at
    ]  # fmt: skip
    return min(joins, key=_order, default=None)


def _talk_over(join: CallEvent, talk: tuple[str, str]) -> CallEvent:
    return _told(join, Kind.ENDED, agent="", queue="", entry=talk[0], leg=talk[1], suffix=f".{talk[1]}")


def _order(line: CallEvent) -> tuple[datetime, str]:
    return line.at, line.event_id


def _threads(lines: Sequence[CallEvent]) -> list[list[CallEvent]]:
    """The lines of each stay in a queue, whatever ids it goes on under.

    A transferred customer leaves under an id that never entered: under it ends the stay of the one who did, for him.
    """
    by_place: dict[tuple[str, str], list[CallEvent]] = defaultdict(list)
    for line in lines:
        by_place[line.queue, line.call_id].append(line)
    entered = {key for key, told in by_place.items() if any(line.detail["verb"] == "ENTERQUEUE" for line in told)}
    threads = {key: told for key, told in by_place.items() if key in entered}
    for key in sorted(by_place.keys() - entered):
        same_queue = [other for other in threads if other[0] == key[0]]
        open_ones = [other for other in same_queue if not _is_finished(threads[other])]
        home = (open_ones or [key])[0]
        threads.setdefault(home, [])
        threads[home] = threads[home] + by_place[key]
    return list(threads.values())


def _is_finished(lines: Sequence[CallEvent]) -> bool:
    verbs = [line.detail["verb"] for line in lines]
    entered, left = verbs.count("ENTERQUEUE"), sum(verb in _LEFT for verb in verbs)
    connected, completed = verbs.count("CONNECT"), sum(verb in _COMPLETED for verb in verbs)
    return left + connected >= entered and completed >= connected


def _without_rings_that_were_taken(lines: list[CallEvent]) -> list[CallEvent]:
    """A ring that is answered at its very end is written as let pass and as answered, in one second."""
    connects = [line for line in lines if line.detail["verb"] == "CONNECT"]
    return [
        line
        for line in lines
        if line.detail["verb"] != "RINGNOANSWER" or not any(_is_same_ring(line, connect) for connect in connects)
    ]


def _is_same_ring(missed: CallEvent, connect: CallEvent) -> bool:
    if missed.agent != connect.agent or int(missed.at.timestamp()) != int(connect.at.timestamp()):
        return False
    rang, took = _as_written_ms(missed), _milliseconds(connect, 2)
    return rang is not None and took is not None and abs(rang - took) <= _RING_SLACK_MS


def _timed(lines: list[CallEvent]) -> list[CallEvent]:
    """The lines at times that fit each other: where the clock was set back, the durations that they tell decide."""
    enters = [line for line in lines if line.detail["verb"] == "ENTERQUEUE"]
    connects: list[CallEvent] = []
    result = []
    for line in sorted(lines, key=lambda e: (e.detail["verb"] in _COMPLETED, *_order(e))):
        verb = line.detail["verb"]
        if verb in _WAIT_OF and len(enters) == 1 and line.at < enters[0].at:
            wait = _milliseconds(line, _WAIT_OF[verb])
            line = replace(line, at=enters[0].at + timedelta(milliseconds=wait or 0))
        if verb == "CONNECT":
            connects.append(line)
        if verb in _COMPLETED:
            line = _after_its_connect(line, connects)
        result.append(line)
    return result


def _after_its_connect(line: CallEvent, connects: list[CallEvent]) -> CallEvent:
    mine = [connect for connect in connects if connect.agent == line.agent]
    if not mine or any(connect.at <= line.at for connect in mine):
        return line
    talk = _milliseconds(line, _talk_index(line))
    return replace(line, at=mine[0].at + timedelta(milliseconds=talk or 0))


def _cut_off(last: CallEvent, entry: str, talk: tuple[str, str] | None) -> list[CallEvent]:
    """A restart ended what went on; when that was nobody wrote down."""
    told: dict[str, Any] = {"untimed": True, "code": UNHEARD}
    result = []
    if entry:
        result.append(_told(last, Kind.LEFT_QUEUE, entry=entry, cause=Outcome.EXPIRED, suffix=".restart", **told))
    if talk is not None:
        result.append(_told(last, Kind.ENDED, entry=talk[0], leg=talk[1], suffix=".restart", **told))
    return result


def _is_cut_off(events: Sequence[CallEvent]) -> bool:
    return any(event.code == UNHEARD for event in events)


@dataclass(slots=True)
class _Place:
    """Where a caller is, after some lines of one queue. He may enter it again before his conversation is logged."""

    waits: bool = False
    talks: bool = False

    def fits(self, verb: str) -> bool:
        if verb == "ENTERQUEUE":
            return not self.waits and not self.talks
        return self.talks if verb in _COMPLETED else self.waits

    def after(self, verb: str) -> None:
        if verb in _COMPLETED:
            self.talks = False
        elif verb not in _RUNG:
            self.waits, self.talks = verb == "ENTERQUEUE", self.talks or verb == "CONNECT"


def _as_written(lines: list[CallEvent]) -> tuple[list[CallEvent], _Place]:
    """One call's lines of one queue in the order of the log, and where they leave the caller.

    Whole seconds alone don't give the order. Within a second the next line is one that fits: a caller who waits is
    answered or leaves, one who talks completes, one who does neither enters.
    """
    pending = sorted(lines, key=lambda e: (e.at, _PHASE.get(e.detail["verb"], 4), e.event_id))
    result: list[CallEvent] = []
    place = _Place()
    while pending:
        now = [e for e in pending if e.at == pending[0].at]
        chosen = next((e for e in now if place.fits(e.detail["verb"])), now[0])
        pending.remove(chosen)
        result.append(chosen)
        place.after(chosen.detail["verb"])
    return result, place


def _stays(lines: list[CallEvent]) -> tuple[list[CallEvent], str, tuple[str, str] | None]:
    """The events of the stays in one queue, and at the end the stay that goes on and the conversation that does."""
    result: list[CallEvent] = []
    stay, waits = 0, ""
    talk: tuple[str, str] | None = None  # the stay and the leg that are connected
    join = lines[0]
    where = f"{lines[0].queue}/{min(line.call_id for line in lines)}"
    for line in lines:
        verb = line.detail["verb"]
        if verb == "ENTERQUEUE":
            stay += 1
            join, waits = line, f"{where}/{stay}"
            result += _entered(line, waits, line.at)
            continue
        if stay == 0 and (verb == "CONNECT" or verb in _LEFT):
            stay = 1
            result += _entered(line, f"{where}/{stay}", _before(line, _WAIT_OF[verb]))
        entry = f"{where}/{stay}"
        waits = waits if verb in _RUNG or verb in _COMPLETED else ""
        if verb in _RUNG:
            result += _rang(line, entry)
        elif verb == "CONNECT":
            if talk is not None:
                result.append(_talk_over(join, talk))
            talk = entry, f"{line.detail.get('data2') or line.agent}/{entry}"
            result.append(_connected(line, *talk))
        elif verb in _LEFT:
            outcome, index = _LEFT[verb]
            result.append(_told(line, Kind.LEFT_QUEUE, entry=entry, cause=outcome, wait_ms=_milliseconds(line, index)))
        else:
            if talk is None:
                talk = entry, f"{line.agent}/{entry}"
                result.append(_answered_before(line, *talk))
            result += _completed(line, *talk)
            talk = None
    return result, waits, talk


def _connected(line: CallEvent, entry: str, leg: str) -> CallEvent:
    wait_ms, ring_ms = _milliseconds(line, 0), _milliseconds(line, 2)
    return _told(line, Kind.ANSWERED, entry=entry, leg=leg, wait_ms=wait_ms, ring_ms=ring_ms)


def _entered(line: CallEvent, entry: str, at: datetime) -> list[CallEvent]:
    """A stay that begins with its line, or before the log did."""
    customer = line.detail.get("data2", "") if line.detail["verb"] == "ENTERQUEUE" else ""
    started = _told(line, Kind.STARTED, direction=Direction.INBOUND, customer=customer, queue="", agent="", at=at)
    return [started, _told(line, Kind.QUEUED, entry=entry, agent="", at=at)]


def _answered_before(line: CallEvent, entry: str, leg: str) -> CallEvent:
    """The beginning of a conversation whose CONNECT is not there."""
    talk = _talk_index(line)
    wait_ms = _milliseconds(line, talk - 1)
    return _told(line, Kind.ANSWERED, entry=entry, leg=leg, wait_ms=wait_ms, at=_before(line, talk))


def _before(line: CallEvent, index: int) -> datetime:
    return line.at - timedelta(milliseconds=_milliseconds(line, index) or 0)


def _rang(line: CallEvent, entry: str) -> list[CallEvent]:
    ring = _as_written_ms(line) or 0
    leg = f"{line.agent}/{line.event_id}"
    ringing = _told(line, Kind.RINGING, entry=entry, leg=leg, at=line.at - timedelta(milliseconds=ring))
    return [
        ringing,
        _told(line, Kind.NOT_TAKEN, entry=entry, leg=leg, cause=_RUNG[line.detail["verb"]], ring_ms=ring),
    ]


def _completed(line: CallEvent, entry: str, leg: str) -> list[CallEvent]:
    verb = line.detail["verb"]
    result = []
    if verb in _TRANSFERS:
        result.append(_told(line, Kind.TRANSFERRED, entry=entry, leg=leg, cause=_TRANSFERS[verb]))
    talk_ms, by = _milliseconds(line, _talk_index(line)), _HUNG_UP_BY.get(verb, "")
    return [*result, _told(line, Kind.ENDED, entry=entry, leg=leg, talk_ms=talk_ms, talk_with_hold=True, hangup_by=by)]


def _talk_index(line: CallEvent) -> int:
    """Which of data1… is the talk in seconds; the wait is the one before it."""
    verb = line.detail["verb"]
    if verb not in _TRANSFERS:
        return 1
    # BLINDTRANSFER and TRANSFER: extension|context|wait|talk|position; ATTENDEDTRANSFER: BRIDGE|bridge|wait|talk|…,
    # APP|application|wait|talk|…, LINK|channel|channel|wait|talk|…
    return 4 if verb == "ATTENDEDTRANSFER" and line.detail.get("data1") == "LINK" else 3


def _end_of_call(events: Sequence[CallEvent], lines: Sequence[CallEvent], *, cut_off: bool) -> list[CallEvent]:
    """queue_log sees the queue alone: the call ended with its last stay."""
    if cut_off:
        last = max(lines, key=_order)
        return [_told(last, Kind.ENDED, agent="", queue="", suffix=".call", untimed=True, code=UNHEARD)]
    ends = [line for line in lines if line.detail["verb"] in _LEFT or line.detail["verb"] in _COMPLETED]
    if not ends:
        return []
    last = max(ends, key=lambda line: line.order)
    at = max([last.at, *(event.at for event in events if event.kind in (Kind.ENDED, Kind.LEFT_QUEUE))])
    by = "customer" if last.detail["verb"] in ("ABANDON", "COMPLETECALLER") else ""
    return [_told(last, Kind.ENDED, agent="", queue="", hangup_by=by, suffix=".call", at=at)]


def _told(line: CallEvent, kind: Kind, *, suffix: str = "", **facts: Any) -> CallEvent:
    """A canonical event that the line tells."""
    return replace(line, kind=kind, event_id=f"{line.event_id}.{kind}{suffix}", detail={}, **facts)


def _milliseconds(line: CallEvent, index: int) -> int | None:
    return kept_milliseconds(line.detail.get(f"data{index + 1}", ""))


def _as_written_ms(line: CallEvent) -> int | None:
    """A ring that was let pass is told in milliseconds."""
    return kept_milliseconds(line.detail.get("data1", ""), unit=1)
