"""The recorded calls of phones behind Local channels: what callkpi makes of them beside what the phones saw."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from callkpi.calls.facts import facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import Call, Direction, agent_id
from callkpi.sources.asterisk import cel as asterisk_cel
from tests.stand_ins.queue_figures import TENANT, read
from tests.world import CAPTURES, capture_lines

RUN, CRASH = "asterisk-phones", "asterisk-phones/crash"
FILES = {"ami": "events.jsonl.gz", "queue_log": "queue_log", "cel": "cel.csv.gz"}
_NOW = datetime(2026, 12, 1, tzinfo=UTC)
_OUTCOMES = {"abandoned": "abandoned", "short_abandon": "short_abandoned", "timed_out": "timed_out", "exited": "exited"}


def truth(run: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((CAPTURES / run / "truth.json").read_text())
    return told


def told(run: str, source: str) -> list[Any]:
    """What the exchange told, as payloads of the source."""
    lines = capture_lines(f"{run}/{FILES[source]}")
    if source == "queue_log":
        return list(lines)
    if source == "ami":
        return [json.loads(line) for line in lines]
    names = asterisk_cel.WITHOUT_TITLES[13]
    rows = [dict(zip(names, row, strict=True)) for row in csv.reader(lines)]
    return [{key: cell for key, cell in {**row, "seq": str(n)}.items() if cell} for n, row in enumerate(rows)]


@dataclass
class Seen:
    """Figures by queue, agent, direction and line, as the API has them."""

    calls: list[Call]
    queues: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    agents: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    directions: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    lines: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def seen(payloads: list[Any], names: dict[str, str]) -> Seen:
    """The figures of what was told; *names*: of people whom a direct call knows by their extension."""
    calls, _ = read(payloads, _NOW)
    result = Seen(calls)
    for call in calls:
        for fact in facts(call, Thresholds(TENANT)):
            key, measures = fact.key, Counter(fact.measures)
            if key.direction == Direction.INBOUND and key.outcome in _OUTCOMES:
                measures[_OUTCOMES[key.outcome]] += 1
            measures["open"] += key.outcome == "open"
            if key.grain == "entry":
                result.queues[key.queue] += measures
            elif key.grain == "handle":
                agent = agent_id(key.agent)
                result.agents[names.get(agent, agent)] += measures
            else:
                result.directions[key.direction] += measures
                result.lines[key.line] += measures
    return result


@dataclass(frozen=True)
class Figure:
    """One figure: what callkpi says, and within what it must be. Seconds are cut to whole ones by the exchange."""

    name: str
    got: float
    low: float
    high: float

    @property
    def is_right(self) -> bool:
        return self.low <= self.got <= self.high


def figures(run: str, source: str) -> Iterator[Figure]:
    """Every figure that the source can tell."""
    true = truth(run)
    names = {number: name for number, name in true["names"].items() if number not in ("50", "51")}
    it = seen(told(run, source), names)
    for name, queue in true["queues"].items():
        yield from _of_queue(name, it.queues[name], Counter(queue), source)
    for name in sorted(set(it.agents) | set(true["agents"])):
        yield from _of_agent(name, it.agents[name], Counter(true["agents"].get(name, {})), source)
    if source != "queue_log":
        yield from _of_company(it, Counter(true["company"]))
        for line, offered in true["lines"].items():
            yield _exactly(f"line {line} offered", it.lines[line]["offered"], offered)
    yield _exactly("open", sum(row["open"] for row in it.directions.values()), 0)


def _exactly(name: str, got: float, want: float, more: float = 0) -> Figure:
    return Figure(name, got, want, want + more)


def _of_queue(name: str, row: Counter[str], true: Counter[str], source: str) -> Iterator[Figure]:
    # A call back that the exchange makes is nobody's who offered himself; queue_log can't know it.
    back = true["callback_entries"] if source == "queue_log" else 0
    lost, near, n = true["lost"], true["near_short"], true["answered"]
    yield _exactly(f"{name} offered", row["offered"], true["offered"], back)
    yield _exactly(f"{name} answered", row["answered"], n, true["callback_answered"])
    gone = true["abandoned"] + true["short_abandoned"]
    yield _exactly(f"{name} gone", row["abandoned"] + row["short_abandoned"], gone, lost)
    short = true["short_abandoned"]
    yield Figure(f"{name} short", row["short_abandoned"], max(0, short - near), short + lost + near)
    yield _exactly(f"{name} timed out", row["timed_out"], true["timed_out"])
    yield _exactly(f"{name} exited", row["exited"], true["exited"])
    slack = n * (1 if source == "queue_log" else 0.35) + 1
    wait, talk = true["wait_answered_seconds"], true["talk_seconds"]
    most = wait + slack + 3 * true["callback_entries"]
    yield Figure(f"{name} wait", row["wait_answered_ms"] / 1000, wait - 1.2 * n - 1, most)
    most = talk + true["after_transfer_seconds"] + true["callback_talk_seconds"] + slack
    most += true["until_call_end_seconds"] if source == "queue_log" else 0
    yield Figure(f"{name} talk", row["talk_ms"] / 1000, talk - slack, most)
    if source == "ami":
        yield _hold(name, row, true)
        yield _exactly(f"{name} transferred", row["transferred"], true["transferred"])


def _hold(name: str, row: Counter[str], true: Counter[str]) -> Figure:
    hold = true["hold_seconds"]
    return Figure(f"{name} hold", row["hold_ms"] / 1000, max(0, hold - 1), hold + true["exchange_hold_seconds"] + 1)


def _of_agent(name: str, row: Counter[str], true: Counter[str], source: str) -> Iterator[Figure]:
    queue, rest = true["queue_answered"], true["direct_answered"] + true["after_transfer"]
    back, cut = true["callback_answered"], true["rejected"] + true["cut_by_restart"]
    let_pass = _exactly(f"{name} let pass", row["ring_no_answer"], true["ring_no_answer"], cut)
    if source == "queue_log":
        # It goes on to name the one whose ring was picked up.
        answered = queue + true["lost_to_pick_up"] - true["picked_up"]
        if answered or row:
            yield _exactly(f"{name} answered", row["answered"], answered, back)
            yield let_pass
        return
    slack = 0.35 * (queue + rest + true["made"] + back + 1) + 0.7
    yield _exactly(f"{name} answered", row["answered"], queue + rest, back)
    talk = true["talk_seconds"]
    least = talk - true["direct_hold_seconds"] - slack
    yield Figure(f"{name} talk", row["talk_ms"] / 1000, least, talk + true["consult_seconds"] + slack)
    if source == "ami":
        yield let_pass
        yield _hold(name, row, true)
        yield _exactly(f"{name} transferred", row["transferred"], true["transferred"])
    yield _exactly(f"{name} made", row["made"], true["made"], back)
    yield _exactly(f"{name} reached", row["reached"], true["reached"], back)


def _of_company(it: Seen, true: Counter[str]) -> Iterator[Figure]:
    inbound, outbound = it.directions["inbound"], it.directions["outbound"]
    yield _exactly("inbound offered", inbound["offered"], true["inbound"])
    yield _exactly("inbound answered", inbound["answered"], true["inbound_answered"])
    yield _exactly("inbound missed", inbound["missed"], true["inbound_missed"], true["inbound_lost"])
    yield _exactly("inbound exited", inbound["exited"], true["inbound_exited"])
    yield _exactly("outbound made", outbound["made"], true["made"])
    yield _exactly("outbound reached", outbound["reached"], true["reached"])
    yield _exactly("internal", sum(call.direction is Direction.INTERNAL for call in it.calls), true["internal"])
