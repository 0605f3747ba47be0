"""Summaries made by hand: what the words, the tables and the files are tested with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from callkpi.calls.formulas import Figures
from callkpi.config import ServiceLevelFormula
from callkpi.summaries.summary import (
    CALLS,
    Adherence,
    AgentLine,
    Before,
    CallBack,
    Doubt,
    Goal,
    HandOver,
    Interval,
    Note,
    Peak,
    PersonsPlan,
    QueueLine,
    Reason,
    Span,
    StaffStep,
    State,
    Summary,
)

#: 20:00 of the 23rd in Almaty.
BEGIN = datetime(2026, 11, 23, 15, tzinfo=UTC)
END = BEGIN + timedelta(hours=12)
HOUR = timedelta(hours=1)


def figures(**told: Any) -> dict[str, Any]:
    """The figures of nothing, but for those that are told."""
    row = {**Figures().as_row(ServiceLevelFormula.DEFAULT), "called_back": 0, "still_waiting": 0}
    assert told.keys() <= row.keys(), told.keys() - row.keys()
    return {**row, **told}


def night(**told: Any) -> Span:
    span: dict[str, Any] = {
        "kind": "shift", "id": "night", "name": "Night", "text": "shift:night@2026-11-23", "day": "2026-11-23",
        "begin": BEGIN, "end": END, "timezone": "Asia/Almaty",
    }  # fmt: skip
    return Span(**{**span, **told})


def summary(**told: Any) -> Summary:
    """A night without a call, but for what is told."""
    nothing: dict[str, Any] = {
        "tenant": "acme", "period": night(), "as_of": END + HOUR, "counts": CALLS, "figures": figures(), "fates": {},
        "reasons": (), "intervals": (), "busiest": None, "most_waiting": None, "queues": (), "agents": (),
        "callbacks": (), "handover": HandOver(waiting_customers=0, of_this_period=0, oldest_missed_at=None,
        still_waiting=0), "notes": (), "before": None, "goals": (), "service_level_seconds": 20.0,
    }  # fmt: skip
    return Summary(**{**nothing, **told})


def interval(hour: int, offered: int, missed: int, **told: Any) -> Interval:
    at = BEGIN + hour * HOUR
    plain: dict[str, Any] = {
        "begin": at, "end": at + HOUR, "offered": offered, "answered": offered - missed, "missed": missed, "open": 0,
        "service_level": 0.8, "asa_seconds": 12.0, "longest_wait_seconds": 90.0,
    }  # fmt: skip
    return Interval(**{**plain, **told})


def plans() -> Adherence:
    """Five were planned: one was late and left early, one never came, of one nobody tells; one had no plan."""

    def line(agent: str, planned: float, there: float | None, *parts: float, absences: int = 0) -> PersonsPlan:
        late, early, away, absent, beyond = parts or (None,) * 5
        share = there / planned if there is not None and planned else None
        return PersonsPlan(
            agent=agent, planned_seconds=planned, in_plan_seconds=there, adherence=share, late_start_seconds=late,
            early_end_seconds=early, away_seconds=away, absent_seconds=absent,
            unknown_seconds=planned if there is None else 0.0, beyond_plan_seconds=beyond,
            stints=int(planned > 0), absences=None if there is None else absences,
        )  # fmt: skip

    whole = 43200.0
    return Adherence(
        planned_people=5, came=3, absent=1, unknown=1, unplanned=1, late=2, latest_start_seconds=1500.0, early=1,
        earliest_end_seconds=2400.0, planned_seconds=5 * whole, in_plan_seconds=3 * whole - 4500, adherence=0.724,
        people=(
            line("Дана Әбілқасым", whole, 39300.0, 1500.0, 2400.0, 0.0, 0.0, 0.0),
            line("Ержан", whole, whole - 600, 600.0, 0.0, 0.0, 0.0, 1800.0),
            line("Игорь", whole, whole, 0.0, 0.0, 0.0, 0.0, 0.0),
            line("Марат", whole, 0.0, 0.0, 0.0, 0.0, whole, 0.0, absences=1),
            line("Портал", whole, None), line("Фарида", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3600.0),
        ),
        steps=tuple(
            StaffStep(begin=BEGIN + n * HOUR, end=BEGIN + (n + 1) * HOUR, planned=5.0, in_plan=2.5 if n == 0 else 3.0,
                      beyond_plan=float(n == 2), unknown=1.0)
            for n in range(12)
        ),
    )  # fmt: skip


def a_night() -> Summary:
    """A night with something of everything."""
    told = figures(
        offered=120, answered=96, handled=126, missed=24, abandoned=18, timed_out=4, short_abandoned=2, made=45,
        reached=30, not_reached=15, missed_share=0.2, answer_rate=0.8, service_level=0.742, asa_seconds=18.0,
        longest_wait_seconds=372.0, aht_seconds=185.0, talk_seconds=23310.0, abandon_rate=18 / 118,
    )  # fmt: skip
    earlier = figures(offered=108, missed=27, service_level=0.701, made=1)
    waits = CallBack(
        customer="+77011234567", queue="Support", line="", outcome="abandoned", misses=2,
        first_missed_at=END - 2 * HOUR - timedelta(minutes=10), last_missed_at=END - HOUR, state_at_end=State.WAITING,
        state=State.REACHED, called_back_at=END + timedelta(minutes=5), settled_at=END + timedelta(minutes=5),
        last_call="pbx/7",
    )  # fmt: skip
    yesterday = night(begin=BEGIN - 24 * HOUR, end=END - 24 * HOUR, day="2026-11-22", text="shift:night@2026-11-22")
    return summary(
        figures=told,
        reasons=tuple(
            Reason(outcome=name, calls=told[name]) for name in ("abandoned", "timed_out", "short_abandoned")
        ),
        intervals=tuple(interval(hour, 20 - hour, 9 if hour == 6 else 1) for hour in range(12)),
        busiest=Peak(begin=BEGIN, end=BEGIN + HOUR, count=20),
        most_waiting=Peak(begin=BEGIN + 6 * HOUR + timedelta(minutes=12), end=None, count=5),
        queues=(
            QueueLine(queue="Sales", figures=figures(offered=50, answered=41, missed=9, missed_share=0.18)),
            QueueLine(queue="Support", figures=figures(offered=70, answered=55, missed=15, missed_share=15 / 70)),
        ),
        agents=(
            AgentLine(agent="Дана Әбілқасым", figures=figures(handled=96, answered=96), by_queue={"Support": 55}),
        ),
        callbacks=(waits,),
        handover=HandOver(
            waiting_customers=5, of_this_period=4, oldest_missed_at=END - 2 * HOUR - timedelta(minutes=10),
            still_waiting=1,
        ),
        adherence=plans(),
        notes=(
            Note(doubt=Doubt.SILENT, source="pbx", begin=BEGIN + HOUR, end=BEGIN + 2 * HOUR),
            Note(doubt=Doubt.LATE, count=21),
        ),
        before=Before(period=yesterday, figures=earlier),
        goals=(
            Goal(figure="service_level", queue="", target=0.8, at_least=True, value=0.742),
            Goal(figure="missed_share", queue="", target=0.25, at_least=False, value=0.2),
        ),
    )  # fmt: skip
