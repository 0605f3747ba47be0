"""What a team did in the shift that is about it: the handles of its people, and how their time was spent.

A missed call, how long a caller waited and who waits for a call back belong to a queue: a team has none of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calendar import slots
from callkpi.calendar.steps import steps
from callkpi.calls.facts import Fact, Grain
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Call, Outcome
from callkpi.config import ServiceLevelFormula
from callkpi.database import store
from callkpi.figures import sums
from callkpi.figures.kpis import Query, Reports, is_meant
from callkpi.glossary import HANDLE_KPIS
from callkpi.people.names import Names
from callkpi.people.presence import Times
from callkpi.summaries.summary import AgentLine, FigureRow, Peak, QueueLine, Span, TeamInterval, TeamWork

#: What :meth:`callkpi.people.presence.Times.as_row` adds to the row of a person.
_TIMES = frozenset(Times().as_row())
_NOTHING: Mapping[str, Any] = Figures().as_row(ServiceLevelFormula.DEFAULT)
#: Makes the line of a person of his row and the calls that he answered by queue.
LineOf = Callable[[Mapping[str, Any], Mapping[str, int]], AgentLine]


@dataclass(frozen=True, slots=True)
class Team:
    """The team of a shift, within the queues that the shift is about."""

    names: Names
    tenant: str
    span: Span
    as_of: datetime
    _known: dict[str, bool] = field(default_factory=dict, repr=False)  #: whether an agent is in it, by his key

    @property
    def only(self) -> dict[str, tuple[str, ...]]:
        """The filters of what it did."""
        queues = {"queue": self.span.queues} if self.span.queues else {}
        return {**queues, "team": (self.span.team,)}

    def query(self, by: str, begin: datetime, end: datetime) -> Query:
        return Query(self.tenant, begin, end, by, self.only, self.as_of)

    def did(self, place: Mapping[str, Any]) -> bool:
        """Whether a handle (its queue and its agent) counts."""
        if not self.has(place["agent"]):
            return False
        queues = {"queue": self.span.queues} if self.span.queues else {}
        query = Query(self.tenant, self.span.begin, self.span.end, "queue", queues, self.as_of)
        return is_meant(self.names, query, place)

    def has(self, agent: str) -> bool:
        """Whether an agent, by his key, is one of its people."""
        if agent not in self._known:
            self._known[agent] = self.names.team(self.tenant, agent) == self.span.team
        return self._known[agent]

    def holds(self, call: Call, at: datetime) -> bool:
        """Whether the phone of one of its people rings or is talked on in a call at a moment."""
        return any(
            leg.began_at is not None and leg.began_at <= at and (leg.ended_at is None or leg.ended_at > at)
            and self.has(call.agent_of(leg))
            for leg in call.legs
        )  # fmt: skip

    def is_told(self, fact: Fact) -> bool:
        """Whether a fact is in one of the figures of its summary: its handles, and stays in the shift's queues."""
        if fact.key.grain == Grain.HANDLE:
            return self.did(fact.key._asdict())
        return fact.key.grain == Grain.ENTRY and bool(self.span.queues)


def of_handles(row: Mapping[str, Any]) -> FigureRow:
    """The figures of handles; None is what they can't have, which no sum of nothing may tell."""
    return {name: row[name] if name in HANDLE_KPIS else None for name in _NOTHING}


@dataclass(frozen=True, slots=True)
class People:
    """What the agents of a team did, each and all together."""

    rows: tuple[Mapping[str, Any], ...]  #: as :meth:`Reports.figures` gives them by agent
    total: Mapping[str, Any]
    answered: Mapping[str, Mapping[str, int]]  #: conversations by agent and queue

    @property
    def figures(self) -> FigureRow:
        return of_handles(self.total)


async def people(reports: Reports, team: Team) -> People:
    """Who of the team took calls or was logged in.

    States belong to no queue: of a shift about some queues they are those of the whole time.
    """
    begin, end = team.span.begin, team.span.end
    counted, answered = await reports.of_agents(team.query("agent", begin, end))
    if not team.span.queues:
        return People(tuple(counted["rows"]), counted["total"], answered)
    only = {"team": (team.span.team,)}
    whole = await reports.figures(Query(team.tenant, begin, end, "agent", only, team.as_of))
    did = {row["agent"]: row for row in counted["rows"]}
    rows = []
    for row in whole["rows"]:
        name = row["agent"]
        if name in did or row.get("logged_in_seconds"):
            states = {key: value for key, value in row.items() if key not in _NOTHING}
            rows.append({**did.get(name, _NOTHING), **states})
    times = {key: value for key, value in whole["total"].items() if key in _TIMES}
    return People(tuple(rows), {**counted["total"], **times}, answered)


async def work(
    db: asyncpg.Connection,
    own: config.Tenant,
    team: Team,
    people: People,
    in_queues: FigureRow | None,
    line_of: LineOf,
) -> TeamWork:
    """What the team did over time and by queue, and what its people did as one."""
    bounds = steps(team.span.begin, team.span.end, own.zone)
    spans = [slots.Span(*bound, number) for number, bound in enumerate(bounds, 1)]
    asked = sums.Asked(team.tenant, Grain.HANDLE, ["agent", "queue"])
    over_time = [Figures() for _ in bounds]
    by_queue: dict[str, Figures] = defaultdict(Figures)
    for row in await sums.read(db, own, asked, spans):
        if team.did(row):
            over_time[row["slot"] - 1].add(row["outcome"], row, 0)
            by_queue[team.names.show(team.tenant, "queue", row["queue"])].add(row["outcome"], row, 0)
    intervals = tuple(_interval(*bound, figures) for bound, figures in zip(bounds, over_time, strict=True))
    answered = {queue: figures.sums["answered"] for queue, figures in by_queue.items() if figures.sums["answered"]}
    return TeamWork(
        team=team.span.team,
        whole=line_of({**people.total, **people.figures, "agent": team.span.team}, answered),
        intervals=intervals,
        busiest=_busiest(intervals),
        queues=tuple(
            QueueLine(queue=queue, figures=of_handles(figures.as_row(own.service_level_formula)))
            for queue, figures in sorted(by_queue.items(), key=lambda item: (item[0] == "", item[0]))
        ),
        in_queues=in_queues,
    )


def _interval(begin: datetime, end: datetime, figures: Figures) -> TeamInterval:
    counts = {name: figures.sums[name] for name in ("handled", "answered", "made", "reached", "ring_no_answer")}
    return TeamInterval(begin=begin, end=end, **counts, talk_seconds=figures.sums["talk_ms"] / 1000)


def _busiest(intervals: Sequence[TeamInterval]) -> Peak | None:
    most = max(intervals, key=lambda interval: interval.handled, default=None)
    if most is None or not most.handled:
        return None
    return Peak(begin=most.begin, end=most.end, count=most.handled)


async def without_end(db: asyncpg.Connection, team: Team) -> Counter[str]:
    """How many of its handles are in calls that still go on (``open``), and in such whose end never came."""
    rows = await db.fetch(store.query("summary", "handles_without_end"), team.tenant, team.span.begin, team.span.end)
    found = Counter[str]({Outcome.OPEN.value: 0, Outcome.EXPIRED.value: 0})
    for row in rows:
        if team.did(row):
            found[row["outcome"]] += row["handles"]
    return found
