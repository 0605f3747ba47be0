"""Lines of Asterisk's queue_log: ``time|call id|queue|agent|event|data1|…|data5``.

Format: docs.asterisk.org, "Queue Logs". Times are whole seconds. The call id is the Uniqueid of the channel that
entered the queue; a transferred call gets another one and the log does not tie them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from callkpi.model import AGENT_STREAM, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected

_LINE = re.compile(rb"\s*\d{9,11}\|[^|\n]*\|[^|\n]*\|[^|\n]*\|[A-Z_]+")

#: End of a stay without an answer: outcome, and which of data1… is the wait in seconds.
_LEFT = {
    "ABANDON": (Outcome.ABANDONED, 2),
    "EXITWITHTIMEOUT": (Outcome.TIMED_OUT, 2),
    "EXITWITHKEY": (Outcome.EXITED, 3),
    "EXITEMPTY": (Outcome.LEFT_EMPTY, 2),
    "WITHDRAW": (Outcome.EXITED, -1),
}
#: End of a conversation: who ended it, and which of data1… is the talk in seconds.
_COMPLETED = {
    "COMPLETECALLER": ("customer", 1),
    "COMPLETEAGENT": ("agent", 1),
    "BLINDTRANSFER": ("agent", 3),
    "ATTENDEDTRANSFER": ("agent", 3),
    "TRANSFER": ("agent", 3),
}
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
    return [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]


def parse_line(line: str, context: Context) -> Sequence[CallEvent]:
    """The event of one line; none for what concerns no call and no agent (QUEUESTART, CONFIGRELOAD…)."""
    parts = line.rstrip("\r\n").split("|")
    if len(parts) < 5:
        raise Rejected(f"a queue_log line has at least 5 fields separated by '|', this one {len(parts)}")
    time, call_id, queue, agent, verb, *data = parts
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
        reason = data[0] if data and verb == "PAUSE" else ""
        return [
            CallEvent(
                call_id=AGENT_STREAM + agent, kind=Kind.AGENT_STATE, state=_AGENT_STATES[verb], reason=reason,
                code=verb, **common,
            )
        ]  # fmt: skip
    if verb not in _CALL_EVENTS:
        return []
    if not call_id or call_id == "NONE":
        raise Rejected(f"{verb}: field 2 must be the call's id, not {call_id!r}")
    detail = {"verb": verb, **{f"data{i}": value for i, value in enumerate(data, 1) if value}}
    return [CallEvent(call_id=call_id, kind=Kind.SIGNAL, detail=detail, **common)]


def interpret(lines: Sequence[CallEvent]) -> list[CallEvent]:
    """All lines of one call id as canonical events."""
    by_queue: dict[str, list[CallEvent]] = defaultdict(list)
    for line in lines:
        by_queue[line.queue].append(line)
    result: list[CallEvent] = []
    for stays in by_queue.values():
        result.extend(_stays(_as_written(stays)))
    return result + _end_of_call(lines)


def _as_written(lines: list[CallEvent]) -> list[CallEvent]:
    """One call's lines of one queue in the order of the log, which whole seconds alone don't give.

    Within a second the next line is one that fits: a caller who waits is answered or leaves, one who talks
    completes, one who does neither enters.
    """
    pending = sorted(lines, key=lambda e: (e.at, _PHASE.get(e.detail["verb"], 4), e.event_id))
    result: list[CallEvent] = []
    state = "outside"
    while pending:
        now = [e for e in pending if e.at == pending[0].at]
        chosen = next((e for e in now if _fits(state, e.detail["verb"])), now[0])
        pending.remove(chosen)
        result.append(chosen)
        state = _state_after(chosen.detail["verb"], state)
    return result


def _fits(state: str, verb: str) -> bool:
    if state == "outside":
        return verb == "ENTERQUEUE"
    return verb in _COMPLETED if state == "talking" else verb in _RUNG or verb == "CONNECT" or verb in _LEFT


def _state_after(verb: str, state: str) -> str:
    if verb in _RUNG:
        return state
    return {"ENTERQUEUE": "waiting", "CONNECT": "talking"}.get(verb, "outside")


def _stays(lines: list[CallEvent]) -> list[CallEvent]:
    result: list[CallEvent] = []
    stay = 0
    leg = ""
    for line in lines:
        verb = line.detail["verb"]
        if verb == "ENTERQUEUE":
            stay += 1
            result += _entered(line, f"{line.queue}/{stay}")
            continue
        entry = f"{line.queue}/{max(stay, 1)}"
        if verb in _RUNG:
            result += _rang(line, entry)
        elif verb == "CONNECT":
            leg = f"{line.detail.get('data2') or line.agent}/{entry}"
            wait_ms, ring_ms = _milliseconds(line, 0), _milliseconds(line, 2)
            result.append(_told(line, Kind.ANSWERED, entry=entry, leg=leg, wait_ms=wait_ms, ring_ms=ring_ms))
        elif verb in _LEFT:
            outcome, index = _LEFT[verb]
            result.append(_told(line, Kind.LEFT_QUEUE, entry=entry, cause=outcome, wait_ms=_milliseconds(line, index)))
        else:
            result += _completed(line, entry, leg or f"{line.agent}/{entry}")
    return result


def _entered(line: CallEvent, entry: str) -> list[CallEvent]:
    customer = line.detail.get("data2", "")
    started = _told(line, Kind.STARTED, direction=Direction.INBOUND, customer=customer, queue="")
    return [started, _told(line, Kind.QUEUED, entry=entry)]


def _rang(line: CallEvent, entry: str) -> list[CallEvent]:
    told = line.detail.get("data1", "")
    ring = int(told) if told.isdigit() else 0
    leg = f"{line.agent}/{line.event_id}"
    ringing = _told(line, Kind.RINGING, entry=entry, leg=leg, at=line.at - timedelta(milliseconds=ring))
    return [
        ringing,
        _told(line, Kind.NOT_TAKEN, entry=entry, leg=leg, cause=_RUNG[line.detail["verb"]], ring_ms=ring),
    ]


def _completed(line: CallEvent, entry: str, leg: str) -> list[CallEvent]:
    verb = line.detail["verb"]
    hangup_by, index = _COMPLETED[verb]
    result = []
    if "TRANSFER" in verb:
        result.append(_told(line, Kind.TRANSFERRED, entry=entry, leg=leg))
        hangup_by = ""
    talk_ms = _milliseconds(line, index)
    return [*result, _told(line, Kind.ENDED, entry=entry, leg=leg, talk_ms=talk_ms, hangup_by=hangup_by)]


def _end_of_call(lines: Sequence[CallEvent]) -> list[CallEvent]:
    """queue_log sees the queue alone: the call ended with its last stay, unless one is still open."""
    enters = sum(line.detail["verb"] == "ENTERQUEUE" for line in lines)
    left = sum(line.detail["verb"] in _LEFT for line in lines)
    completed = sum(line.detail["verb"] in _COMPLETED for line in lines)
    if left + completed < max(enters, 1):
        return []
    last = max((line for line in lines if line.detail["verb"] in _LEFT or line.detail["verb"] in _COMPLETED),
               key=lambda e: e.order)  # fmt: skip
    by = "customer" if last.detail["verb"] in ("ABANDON", "COMPLETECALLER") else ""
    return [_told(last, Kind.ENDED, agent="", queue="", hangup_by=by, suffix=".call")]


def _told(line: CallEvent, kind: Kind, *, suffix: str = "", **facts: Any) -> CallEvent:
    """A canonical event that the line tells."""
    return replace(line, kind=kind, event_id=f"{line.event_id}.{kind}{suffix}", detail={}, **facts)


def _milliseconds(line: CallEvent, index: int) -> int | None:
    value = line.detail.get(f"data{index + 1}" if index >= 0 else "", "")
    return 1000 * int(value) if value.isdigit() else None
