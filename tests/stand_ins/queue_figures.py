"""The figures of queues and agents in queue_log's own words: counted from the log, and read from callkpi's calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from callkpi import config
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AGENT_STREAM, MARK_STREAM, RESTART_STREAM, Call, CallEvent, Kind, LegEnd, Outcome
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context

ASTERISK = SOURCE_TYPES[config.SourceKind.ASTERISK]
TENANT = config.Tenant(region="KZ")
LEFT = {
    Outcome.ABANDONED: "abandon",
    Outcome.SHORT_ABANDON: "abandon",
    Outcome.TIMED_OUT: "exitwithtimeout",
    Outcome.EXITED: "exitwithkey",
    Outcome.LEFT_EMPTY: "exitempty",
}
ENDED_BY = {
    "customer": "completecaller",
    "agent": "completeagent",
    "blind transfer": "blindtransfer",
    "attended transfer": "attendedtransfer",
}


@dataclass
class Figures:
    queues: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    agents: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def plain(self) -> dict[str, dict[str, int]]:
        """Without zeros, to compare and to print."""
        both = {**self.queues, **{f"agent {name}": row for name, row in self.agents.items()}}
        rows = {name: {key: value for key, value in sorted(row.items()) if value} for name, row in both.items()}
        return {name: row for name, row in sorted(rows.items()) if row}


def read(told: Iterable[Any], now: datetime, **settings: Any) -> tuple[list[Call], list[CallEvent]]:
    """The calls and the states of agents that AMI events or lines of queue_log tell of, without a store."""
    source = config.Source(kind=config.SourceKind.ASTERISK, tenant="acme", token="x", **settings)
    parsed = ASTERISK.parse(list(told), Context("pbx", "acme", source, now))
    assert parsed.rejected == []
    streams: dict[str, list[CallEvent]] = defaultdict(list)
    once = {(event.at, event.event_id): event for event in parsed.events}  # as the journal's key has it
    for event in once.values():
        streams[event.call_id].append(event)
    states = [e for call_id, stream in streams.items() if call_id.startswith(AGENT_STREAM) for e in stream]
    calls = []
    restarts = sorted(streams.get(RESTART_STREAM, ()), key=lambda event: event.at)
    told_of = {key: told for key, told in streams.items() if not key.startswith((AGENT_STREAM, MARK_STREAM))}
    for stream in _joined(told_of, _kin(streams, source)):
        root, last = min(event.call_id for event in stream), max(event.at for event in stream)
        restart = [event for event in restarts if event.at > last][:1]
        canonical = ASTERISK.interpret(stream, source, [*states, *restart])
        if told := [event for event in canonical if event.kind is not Kind.SIGNAL]:
            calls.append(fold(root, told, Thresholds(TENANT), now))
    return calls, states


def _kin(streams: dict[str, list[CallEvent]], source: config.Source) -> list[tuple[str, str]]:
    """Ids that the source takes for one call, as the projector asks it."""
    result = []
    for key, mine in streams.items():
        if key.startswith((AGENT_STREAM, MARK_STREAM)):
            continue
        told = [*mine, *(mark for stream in ASTERISK.marks(mine) for mark in streams.get(stream, ()))]
        others = [other for other in ASTERISK.kin(told) if other != key and other in streams]
        result += [(key, other) for other in others if ASTERISK.is_one(mine, streams[other], source)]
    return result


def _joined(streams: dict[str, list[CallEvent]], kin: Sequence[tuple[str, str]]) -> list[list[CallEvent]]:
    """Calls that say that they are one, as the projector joins them."""
    leader = {call_id: call_id for call_id in streams}

    def find(call_id: str) -> str:
        while leader[call_id] != call_id:
            call_id = leader[call_id]
        return call_id

    for stream in streams.values():
        for event in stream:
            if event.linked_to in leader:
                low, high = sorted((find(event.call_id), find(event.linked_to)))
                leader[high] = low
    for one, other in kin:
        low, high = sorted((find(one), find(other)))
        leader[high] = low
    result: dict[str, list[CallEvent]] = defaultdict(list)
    for call_id, stream in streams.items():
        result[find(call_id)] += stream
    return list(result.values())


def figures(calls: Sequence[Call], states: Sequence[CallEvent]) -> Figures:
    """What callkpi makes of them."""
    result = Figures()
    for call in calls:
        for entry in call.entries:
            row = result.queues[entry.queue]
            row["entered"] += 1
            how = "answered" if entry.answered else LEFT.get(entry.outcome, "")
            if how and entry.wait_ms is not None:
                row[how] += 1
                row[f"wait_{how}_s"] += entry.wait_ms // 1000
                row["max_wait_s"] = max(row["max_wait_s"], entry.wait_ms // 1000)
        for leg in call.legs:
            if not leg.queue:
                continue
            row, agent = result.queues[leg.queue], result.agents[leg.agent]
            agent["answered"] += leg.answered_at is not None
            agent["ringnoanswer"] += leg.end is LegEnd.NO_ANSWER
            if leg.end is LegEnd.ANSWERED:
                row[ENDED_BY.get(leg.ended_by, "ended_unknown")] += 1
                row["talk_s"] += (leg.talk_ms or 0) // 1000
                agent["talk_s"] += (leg.talk_ms or 0) // 1000
    for state in states:
        if state.code in ("PAUSE", "UNPAUSE", "ADDMEMBER", "REMOVEMEMBER"):
            result.agents[state.agent][state.code.lower()] += 1
    return result


def counted(lines: Iterable[str]) -> Figures:
    """The same, counted line by line from queue_log alone."""
    result = Figures()
    for line in lines:
        _, _, queue, agent, event, *data = line.split("|")
        row, who = result.queues[queue], result.agents[agent]
        if event == "ENTERQUEUE":
            row["entered"] += 1
        elif event == "CONNECT":
            _count_wait(row, "answered", int(data[0]))
            who["answered"] += 1
        elif event in ("ABANDON", "EXITWITHTIMEOUT", "EXITWITHKEY", "EXITEMPTY"):
            _count_wait(row, event.lower(), int(data[3 if event == "EXITWITHKEY" else 2]))
        elif event in ("COMPLETEAGENT", "COMPLETECALLER", "BLINDTRANSFER", "ATTENDEDTRANSFER"):
            talk = int(data[1] if event.startswith("COMPLETE") else data[-2])
            row[event.lower()] += 1
            row["talk_s"] += talk
            who["talk_s"] += talk
        elif event in ("RINGNOANSWER", "PAUSE", "UNPAUSE", "ADDMEMBER", "REMOVEMEMBER"):
            who[event.lower()] += 1
    return result


def _count_wait(row: Counter[str], how: str, seconds: int) -> None:
    row[how] += 1
    row[f"wait_{how}_s"] += seconds
    row["max_wait_s"] = max(row["max_wait_s"], seconds)
