"""What a wall shows: who waits and talks now, what the agents do, whom we owe a call, the day so far. Pure, no I/O.

``/metrics`` and ``/board`` show these figures and no others. A *place* is a tenant and the shown name of one of its
queues: ids with equal names are one, "" is where calls without a queue are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from callkpi import config
from callkpi.calls.fold import Thresholds
from callkpi.calls.formulas import Figures
from callkpi.calls.model import AgentState, Call, Direction, agent_key
from callkpi.calls.rows import call_from_body
from callkpi.people.names import Names

Place = tuple[str, str]
#: The name that a queue of a tenant is shown by.
Label = Callable[[str, str], str]

#: What an agent does, the most present first: of two that are told of one person the first one counts.
AGENT_STATES = ("talking", "hold", "ringing", "wrap_up", "available", "busy", "paused", "offline")


class Reading(Protocol):
    """Rows of the store, read at one time."""

    @property
    def at(self) -> datetime: ...
    @property
    def names(self) -> Sequence[Any]: ...
    @property
    def open_calls(self) -> Sequence[Any]: ...
    @property
    def agent_states(self) -> Sequence[Any]: ...
    @property
    def missed(self) -> Mapping[str, Sequence[Any]]: ...
    @property
    def windows(self) -> Mapping[tuple[str, str], Mapping[str, Figures]]: ...


@dataclass(slots=True)
class Queue:
    """One queue at this moment."""

    waits: list[float] = field(default_factory=list)  #: seconds that each caller has waited so far
    over_target: int = 0  #: of them, who have waited longer than the queue's T
    wait_ratio: float = 0.0  #: the longest wait as a multiple of the T of its queue
    talking: int = 0
    agents: Counter[str] = field(default_factory=Counter)  #: by state; empty where no agent is known
    missed: int = 0  #: customers missed and not spoken to since
    missed_oldest: float = 0.0  #: seconds that the oldest of them has waited

    @property
    def longest_wait(self) -> float:
        return max(self.waits, default=0.0)


@dataclass(frozen=True, slots=True)
class Now:
    """The call centres at this moment."""

    queues: Mapping[Place, Queue]
    people: Mapping[str, Counter[str]]  #: per tenant: agents by state, each person once
    teams: Mapping[tuple[str, str], Counter[str]]  #: per tenant and team: the same


def now(reading: Reading, settings: config.Settings, names: Names, label: Label) -> Now:
    """Every known queue, and the agents of every tenant."""
    queues: dict[Place, Queue] = defaultdict(Queue)
    for tenant, queue in known_queues(reading, settings):
        queues[tenant, label(tenant, queue)] = Queue()
    calls = [call_from_body(row["body"]) for row in reading.open_calls]
    for call in calls:
        _count_call(queues, call, reading.at, settings, label)
    for tenant, rows in reading.missed.items():
        for row in rows:
            place = queues[tenant, label(tenant, row["queue"])]
            place.missed += row["customers"]
            place.missed_oldest = max(place.missed_oldest, (reading.at - row["oldest"]).total_seconds())
    people: dict[str, Counter[str]] = {tenant: Counter() for tenant in settings.tenants}
    teams: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    told, team_of = _people(reading.agent_states, calls, names)
    for tenant, states in told.items():
        for person, by_queue in states.items():
            state = most_present(by_queue.values())
            people.setdefault(tenant, Counter())[state] += 1
            if team := team_of.get((tenant, person)):
                teams[tenant, team][state] += 1
            for shown, state in _by_label(tenant, by_queue, label).items():
                queues[tenant, shown].agents[state] += 1
    return Now(dict(queues), people, dict(teams))


def windows(reading: Reading, label: Label) -> dict[tuple[str, str, str], Figures]:
    """The exact figures of the day so far and of the last hour, by tenant, shown queue and window."""
    result: dict[tuple[str, str, str], Figures] = defaultdict(Figures)
    for (tenant, window), by_queue in reading.windows.items():
        for queue, figures in by_queue.items():
            result[tenant, label(tenant, queue), window].merge(figures)
    return result


def by_queue(rows: Iterable[Any]) -> dict[str, Figures]:
    """Rollup rows as figures of each queue, by its id."""
    result: dict[str, Figures] = defaultdict(Figures)
    for row in rows:
        result[row["queue"]].add(row["outcome"], row, row["longest_wait_ms"])
    return result


def known_queues(reading: Reading, settings: config.Settings) -> set[Place]:
    """Every queue that was seen or is configured, by its id; "" for the calls of a tenant without one."""
    seen = {(row["tenant"], row["name"]) for row in reading.names if row["kind"] == "queue"}
    configured = {(name, queue) for name, tenant in settings.tenants.items() for queue in tenant.queues}
    return seen | configured | {(name, "") for name in settings.tenants}


# -- calls ------------------------------------------------------------------------------------------------


def _count_call(queues: dict[Place, Queue], call: Call, at: datetime, settings: config.Settings, label: Label) -> None:
    for queue, since in _waits(call):
        place, age = queues[call.tenant, label(call.tenant, queue)], max((at - since).total_seconds(), 0.0)
        age = age if call.has_times else 0.0  # He waits, and nobody knows since when.
        limit = Thresholds(settings.tenants.get(call.tenant, config.Tenant())).service_level_ms(queue) / 1000
        place.waits.append(age)
        place.over_target += age > limit
        place.wait_ratio = max(place.wait_ratio, age / limit if limit else 2.0)
    if (queue_talked := _talks_in(call)) is not None:
        queues[call.tenant, label(call.tenant, queue_talked)].talking += 1


def _waits(call: Call) -> Iterator[tuple[str, datetime]]:
    """Queues in which the caller waits now; "" for one who waits for a direct answer."""
    if call.direction is not Direction.INBOUND:
        return
    for entry in call.entries:
        if entry.is_waiting:
            yield entry.queue, entry.entered_at
    if not call.entries and not call.answered:
        yield "", call.started_at


def _talks_in(call: Call) -> str | None:
    if call.direction not in (Direction.INBOUND, Direction.OUTBOUND):
        return None
    return next((leg.queue for leg in reversed(call.legs) if leg.answered_at and leg.is_open), None)


# -- agents -----------------------------------------------------------------------------------------------


def agents(rows: Iterable[Any], calls: Iterable[Call], names: Names) -> dict[str, dict[str, dict[str, str]]]:
    """State by tenant, person and queue. Who talks, talks in every queue of his; who is in none, where he talks."""
    return _people(rows, calls, names)[0]


def _people(
    rows: Iterable[Any], calls: Iterable[Call], names: Names
) -> tuple[dict[str, dict[str, dict[str, str]]], dict[tuple[str, str], str]]:
    """State by tenant, person and queue. Who talks, talks in every queue of his; who is in none, where he talks.

    And the team by tenant and person.
    """
    told: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    teams: dict[tuple[str, str], str] = {}

    def of(tenant: str, key: str) -> dict[str, str]:
        person = (tenant, names.show(tenant, "agent", key))
        teams[person] = max(teams.get(person, ""), names.team(tenant, key))
        return told[person]

    for row in rows:
        states = of(row["tenant"], agent_key(row["source"], row["agent"]))
        states[row["queue"]] = most_present(filter(None, (row["state"], states.get(row["queue"]))))
    for call in calls:
        for leg in call.legs:
            if not leg.is_open or not leg.agent:
                continue
            states = of(call.tenant, call.agent_of(leg))
            does = "talking" if leg.answered_at else "ringing"
            for queue in list(states) or [leg.queue]:
                states[queue] = _while_on_the_phone(states.get(queue), does)
    result: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for (tenant, person), states in told.items():
        result[tenant][person] = states
    return result, teams


def _while_on_the_phone(state: str | None, does: str) -> str:
    """A pause ends no conversation; but a phone that rings does not make an absent agent present."""
    if does == "talking" or state in (None, AgentState.AVAILABLE):
        return does
    return str(state)


def most_present(states: Iterable[str]) -> str:
    """Of several states of one person the one that counts."""
    return min(states, key=lambda state: AGENT_STATES.index(state) if state in AGENT_STATES else len(AGENT_STATES))


def _by_label(tenant: str, by_queue: Mapping[str, str], label: Label) -> dict[str, str]:
    """One person's state by the shown names of his queues."""
    shown: dict[str, str] = {}
    for queue, state in by_queue.items():
        name = label(tenant, queue)
        shown[name] = most_present(filter(None, (state, shown.get(name))))
    return shown
