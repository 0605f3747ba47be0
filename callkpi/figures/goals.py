"""Goals: which ones a figure has, and how far it is from them. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calendar.business import worked
from callkpi.config import Goal, GoalDirection, Tenant
from callkpi.glossary import COUNTED_KPIS

SCOPES = ("queue", "team", "agent", "line")


@dataclass(frozen=True, slots=True)
class Subject:
    """What figures are of."""

    kind: str  #: of its period: shift, day, …; "" where it is none of them
    day: date  #: the first local day of its period
    shift: str  #: the shift's id, where it is one
    scope: Mapping[str, tuple[str, ...]]  #: the one queue, team, agent or line that it is about, by all its names
    #: Of the period's working time, how much has passed: 0..1; None where it has none.
    elapsed: float | None
    of_whole_shift: bool = False  #: all that its shift counts: what is wanted of that shift is wanted of it


def scope_of_shift(limits: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What the figures of a whole shift are about, by what it is limited to; of several queues nothing in particular.

    A team within some queues is about two things: its goals are of all that it does, so none of them is for it.
    """
    if "team" not in limits and len(limits.get("queue", ())) > 1:
        return {}
    return dict(limits)


def of(tenant: Tenant, subject: Subject) -> Iterator[tuple[str, Goal]]:
    """The goals that figures have, with their ids."""
    found = [(name, goal) for name, goal in tenant.goals.items() if _is_for(goal, subject)]
    yield from found
    if not subject.scope:
        targets = tenant.targets
        told = {goal.kpi for _, goal in found}
        if "service_level" not in told:
            yield "targets.service_level", Goal("service_level", targets.service_level)
        if "missed_share" not in told:
            yield "targets.missed_share", Goal("missed_share", targets.missed_share, GoalDirection.AT_MOST)


def _is_for(goal: Goal, subject: Subject) -> bool:
    if goal.period not in ("", subject.kind) or goal.shift not in ("", subject.shift):
        return False
    day = subject.day.isoformat()
    if not (goal.since or day) <= day <= (goal.until or day):
        return False
    wanted = {key: getattr(goal, key) for key in SCOPES if getattr(goal, key)}
    if goal.shift and not wanted and subject.of_whole_shift:
        return True
    return wanted.keys() == subject.scope.keys() and all(wanted[key] in subject.scope[key] for key in wanted)


def judged(name: str, goal: Goal, fact: float | None, elapsed: float | None) -> dict[str, Any]:
    """A goal beside its fact. ``pace``: what a count will be at the end; ``attainment``: fact / target, if not 0."""
    counted = goal.kpi in COUNTED_KPIS
    pace = fact / elapsed if counted and fact is not None and elapsed else None
    least = goal.direction is GoalDirection.AT_LEAST
    return {
        "id": name,
        "kpi": goal.kpi,
        "target": goal.target,
        "direction": goal.direction.value,
        "fact": fact,
        "difference": None if fact is None else fact - goal.target,
        "attainment": None if fact is None or not goal.target else fact / goal.target,
        "reached": None if fact is None else (fact >= goal.target if least else fact <= goal.target),
        "elapsed_share": elapsed,
        "pace": pace,
        "pace_attainment": None if pace is None or not goal.target else pace / goal.target,
    }


def elapsed_share(tenant: config.Tenant, begin: datetime, end: datetime, until: datetime) -> float | None:
    """How much of the working time of [begin, end) has passed at *until*; None where it has none."""
    if until >= end:
        return 1.0
    total = worked(tenant, begin, end)
    return worked(tenant, begin, max(until, begin)) / total if total > timedelta() else None
