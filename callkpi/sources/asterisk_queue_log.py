"""Lines of Asterisk's queue_log: ``time|call id|queue|agent|event|data1|…|data5``.

Format: docs.asterisk.org, "Queue Logs". Times are whole seconds, with a fraction where a site writes one. The call id
is the Uniqueid of the channel that entered the queue; a transferred call gets another one and the log does not tie
them. An end without a beginning (the log began later, or a transfer replaced the caller's channel) tells itself how
long the stay was; a COMPLETE… without its CONNECT is a conversation of the agent and no stay.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi.model import AGENT_STREAM, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected
from callkpi.sources.facts import doubted, is_unread, kept_milliseconds

_LINE = re.compile(rb"(?:\xef\xbb\xbf)?\s*\d{9,11}(?:\.\d+)?\|[^|\n]*\|[^|\n]*\|[^|\n]*\|[A-Z_]+")

#: End of a stay without an answer: outcome, and which of data1… is the wait in seconds.
_LEFT = {
    "ABANDON": (Outcome.ABANDONED, 2),
    "EXITWITHTIMEOUT": (Outcome.TIMED_OUT, 2),
    "EXITWITHKEY": (Outcome.EXITED, 3),
    "EXITEMPTY": (Outcome.LEFT_EMPTY, 2),
    "WITHDRAW": (Outcome.EXITED, 2),
}
#: End of a conversation: who ended it, or how it was transferred.
_HUNG_UP_BY = {"COMPLETECALLER": "customer", "COMPLETEAGENT": "agent"}
_TRANSFERS = {"BLINDTRANSFER": "blind", "TRANSFER": "blind", "ATTENDEDTRANSFER": "attended"}
_COMPLETED = {*_HUNG_UP_BY, *_TRANSFERS}
#: Which of data1… is the wait in seconds.
_WAIT_OF = {"CONNECT": 0, **{verb: index for verb, (_, index) in _LEFT.items()}}
_RUNG = {"RINGNOANSWER": LegEnd.NO_ANSWER, "RINGCANCELED": LegEnd.CANCELLED, "AGENTDUMP": LegEnd.CANCELLED}
_CALL_EVENTS = {"ENTERQUEUE", "CONNECT", *_LEFT, *_COMPLETED, *_RUNG}
_AGENT_STATES = {
    "PAUSE": AgentState.PAUSED,
    "UNPAUSE": AgentState.AVAILABLE,
    "ADDMEMBER": AgentState.AVAILABLE,
    "REMOVEMEMBER": AgentState.OFFLINE,
}
#: At one second a caller leaves before he enters again, unless he is not in the queue.
_PHASE = {"ENTERQUEUE": 0, **dict.fromkeys(_RUNG, 1), "CONNECT": 2, **dict.fromkeys(_LEFT, 3)}


def looks_like(body: bytes) -> bool:
    return _LINE.match(body) is not None


def decode(body: bytes) -> list[str]:
    return [line for line in body.decode("utf-8-sig", "replace").split("\n") if line.strip()]


def parse_line(line: str, context: Context) -> Sequence[CallEvent]:
    """The event of one line; none for what concerns no call and no agent (QUEUESTART, CONFIGRELOAD…)."""
    parts = line.rstrip("\r\n").split("|")
    if len(parts) < 5:
        raise Rejected(f"a queue_log line has at least 5 fields separated by '|', this one {len(parts)}")
    time, call_id, queue, agent, verb, *data = map(base.clean, parts)
    at = base.unix_time(time.strip(), "time (field 1)", context.received_at)
    common: dict[str, Any] = {
        "tenant": context.tenant,
        "source": context.source,
        "at": at,
        "event_id": base.digest(line.strip()),
        "received_at": context.received_at,
        "queue": "" if queue == "NONE" else queue,
        "agent": "" if agent == "NONE" else agent,
    }
    if verb in _AGENT_STATES:
        return [_agent_state(agent, verb, data[0] if data else "", common)]
    if verb not in _CALL_EVENTS:
        return []
    if not call_id or call_id == "NONE":
        raise Rejected(f"{verb}: field 2 must be the call's id, not {call_id!r}")
    detail = {"verb": verb, **{f"data{i}": value for i, value in enumerate(data, 1) if value}}
    return [CallEvent(call_id=call_id, kind=Kind.SIGNAL, detail=detail, **common)]


def _agent_state(agent: str, verb: str, told: str, common: dict[str, Any]) -> CallEvent:
    state, reason = _AGENT_STATES[verb], ""
    if verb == "PAUSE":
        reason = told[:100]
    elif verb == "ADDMEMBER" and told == "PAUSED":
        state = AgentState.PAUSED
    return CallEvent(
        call_id=AGENT_STREAM + agent, kind=Kind.AGENT_STATE, state=state, reason=reason, code=verb, **common
    )


def interpret(lines: Sequence[CallEvent]) -> list[CallEvent]:
    """All lines of one call id as canonical events."""
    by_queue: dict[str, list[CallEvent]] = defaultdict(list)
    for line in lines:
        by_queue[line.queue].append(line)
    result: list[CallEvent] = []
    is_over = True
    for told in by_queue.values():
        ordered, place = _as_written(told)
        result += _stays(ordered)
        is_over = is_over and not place.waits and not place.talks
    told = result + _end_of_call(lines) if is_over else result
    return doubted(told, map(_has_unread, lines))


def _has_unread(line: CallEvent) -> bool:
    """Whether one of its durations is none."""
    verb = line.detail["verb"]
    if verb in _RUNG:
        return is_unread(line.detail.get("data1", ""), unit=1)
    talk = _talk_index(line)
    places = (talk - 1, talk) if verb in _COMPLETED else (0, 2) if verb == "CONNECT" else (_WAIT_OF.get(verb),)
    return any(is_unread(line.detail.get(f"data{place + 1}", "")) for place in places if place is not None)


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


def _stays(lines: list[CallEvent]) -> list[CallEvent]:
    result: list[CallEvent] = []
    stay = 0
    talk: tuple[str, str] | None = None  # the stay and the leg that are connected
    for line in lines:
        verb = line.detail["verb"]
        if verb == "ENTERQUEUE":
            stay += 1
            result += _entered(line, f"{line.queue}/{stay}", line.at)
            continue
        if stay == 0 and (verb == "CONNECT" or verb in _LEFT):
            stay = 1
            result += _entered(line, f"{line.queue}/{stay}", _before(line, _WAIT_OF[verb]))
        entry = f"{line.queue}/{stay}"
        if verb in _RUNG:
            result += _rang(line, entry)
        elif verb == "CONNECT":
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
    return result


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
    ring = kept_milliseconds(line.detail.get("data1", ""), unit=1) or 0
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


def _end_of_call(lines: Sequence[CallEvent]) -> list[CallEvent]:
    """queue_log sees the queue alone: the call ended with its last stay."""
    ends = [line for line in lines if line.detail["verb"] in _LEFT or line.detail["verb"] in _COMPLETED]
    if not ends:
        return []
    last = max(ends, key=lambda line: line.order)
    by = "customer" if last.detail["verb"] in ("ABANDON", "COMPLETECALLER") else ""
    return [_told(last, Kind.ENDED, agent="", queue="", hangup_by=by, suffix=".call")]


def _told(line: CallEvent, kind: Kind, *, suffix: str = "", **facts: Any) -> CallEvent:
    """A canonical event that the line tells."""
    return replace(line, kind=kind, event_id=f"{line.event_id}.{kind}{suffix}", detail={}, **facts)


def _milliseconds(line: CallEvent, index: int) -> int | None:
    return kept_milliseconds(line.detail.get(f"data{index + 1}", ""))
