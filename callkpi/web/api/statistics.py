"""The figures of a period, split by time, place and custom fields, beside the period before and the goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calendar import periods, slots
from callkpi.calendar.moments import BadQuery
from callkpi.calendar.periods import BadPeriod, Period
from callkpi.calls.model import Direction, Outcome
from callkpi.figures.statistics import DIMENSIONS, FIELD, BadQuestion, Question, Statistics
from callkpi.people.names import Names
from callkpi.web.access import Right
from callkpi.web.api.contract import TENANT, Answer, Asked, Operation, Parameter, choice, text
from callkpi.web.api.schemas import ref

PERIOD = Parameter(
    "period",
    f"{periods.FORMS}.",
    {"type": "string", "minLength": 1, "maxLength": 100, "default": "today", "examples": ["today", "week:2026-W47"]},
)
_SPLITS = (*DIMENSIONS, "shift", *slots.UNITS)
SPLIT = Parameter(
    "by",
    f"What the rows are, up to four separated by commas: {', '.join(_SPLITS)}, field:NAME. Nothing: one row.",
    {"type": "string", "minLength": 1, "maxLength": 200, "examples": ["queue,60min", "shift", "field:campaign"]},
)
_ONLY = (
    text("queue", "Only these queues, by id or name, separated by commas."),
    text("team", "Only these teams, by key or name."),
    text("agent", "Only these agents."),
    text("line", "Only these lines."),
    choice("direction", "Only calls of this direction.", list(Direction)),
    text("source", "Only calls of these sources."),
    choice("outcome", "Only calls that ended so.", list(Outcome)),
)
_FIELD = text("field", "Only calls with this value of a custom field that is reported: NAME=value.")
QUESTION = (TENANT, PERIOD, SPLIT, *_ONLY, _FIELD)
_OF_PEOPLE = frozenset({"agent", "team"})


def operations(pool: asyncpg.Pool, settings: config.Settings, names: Names) -> Sequence[Operation]:
    statistics = Statistics(pool, settings, names)

    async def answer(asked: Asked) -> Answer:
        return Answer(await answered(statistics, asked, asked["against"] or ""), volatile=frozenset({"until"}))

    return [
        Operation(
            path="/api/v1/statistics",
            name="statistics",
            summary="Figures of a period, split as asked; `share` is of each figure's own basis (`bases`). By agent "
            "or team, and of shifts about a team: role manager; by shift others do not see those.",
            subject="Figures",
            parameters=(*QUESTION, choice("against", "Compare with this period.", periods.AGAINST)),
            answer=answer,
            schema=ref("Statistics"),
        )
    ]


async def answered(statistics: Statistics, asked: Asked, against: str = "") -> dict[str, Any]:
    """The figures that are asked for. Raises BadQuery, and Problem where the reader may not see people's."""
    question = _question(asked, against)
    shift = question.period.shift
    if _OF_PEOPLE & {*question.by, *question.only} or (shift is not None and shift.team):
        asked.needs(Right.AGENT_FIGURES, "figures of agents")
    question = replace(question, tells_teams=asked.reader.may(Right.AGENT_FIGURES))
    try:
        return await statistics.answer(question)
    except (BadQuestion, BadPeriod) as error:
        raise BadQuery(str(error)) from None


def period_of(asked: Asked) -> Period:
    """The period that is asked about. Raises BadQuery."""
    try:
        return periods.parse(asked.zone, asked.tenant, asked["period"], asked.at)
    except BadPeriod as error:
        raise BadQuery(str(error)) from None


def flat(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of an answer as rows of a table: what they are by, and their figures."""
    return [{**row["key"], "begin": row.get("begin"), **row["figures"]} for row in answer["rows"]]


def splits(asked: Asked) -> tuple[str, ...]:
    return _listed(asked["by"])


def _question(asked: Asked, against: str) -> Question:
    only = {each.name: _listed(asked[each.name]) for each in _ONLY if asked[each.name] is not None}
    if asked["field"] is not None:
        name, equals, value = asked["field"].partition("=")
        if not equals:
            raise BadQuery(f"field: {asked['field'][:40]!r} must be NAME=value")
        only[FIELD + name] = (value,)
    return Question(asked.tenant, period_of(asked), splits(asked), only, against, now=asked.at)


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())
