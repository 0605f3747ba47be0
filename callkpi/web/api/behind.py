"""The calls behind a figure: exactly those that it counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from callkpi import audit
from callkpi.calendar.moments import BadQuery
from callkpi.calls.phone import mask
from callkpi.figures.behind import Item, Unknown, Window, calls_behind
from callkpi.figures.kpis import Reports
from callkpi.figures.weights import FIGURES
from callkpi.web.access import Right
from callkpi.web.api.contract import AS_OF, WINDOW, Answer, Asked, Operation, Parameter, Seen, limit
from callkpi.web.api.figures import FILTERS, TEAM
from callkpi.web.api.schemas import ref

#: Every call of the window is looked at.
_LONGEST = timedelta(days=100)
_FIGURE = Parameter(
    "figure", "As /api/v1/kpi names it.", {"type": "string", "enum": list(FIGURES)}, required=True
)  # fmt: skip


def operations(pool: asyncpg.Pool, reports: Reports) -> Sequence[Operation]:
    async def behind(asked: Asked) -> Answer:
        begin, end = asked.window()
        if end - begin > _LONGEST:
            raise BadQuery(f"from, to: at most {_LONGEST.days} days at a time")
        if asked["agent"] is not None or asked["team"] is not None:
            asked.needs(Right.AGENT_FIGURES, "figures of agents")
        only = {each.name: asked[each.name] for each in (*FILTERS, TEAM) if asked[each.name] is not None}
        await reports.names.refresh(pool)
        try:
            window = Window(begin, end)
            found = await calls_behind(
                pool, asked.settings, reports.names, asked.tenant, window, asked["figure"], only, asked.as_of()
            )
        except Unknown as error:
            raise BadQuery(str(error)) from None
        items = [_shown(asked, item) for item in found.items[: asked["limit"]]]
        others = [_shown(asked, item) for item in found.others[: asked["limit"]]]
        body = {
            "tenant": asked.tenant, "from": begin.isoformat(), "to": end.isoformat(), "figure": found.figure,
            "way": found.way, "counts": found.counts, "value": found.value, "items": items, "others": others,
            "complete": len(items) == len(found.items) and len(others) == len(found.others),
        }  # fmt: skip
        numbers = {item["customer"] for item in (*items, *others) if item["customer"]}
        seen = Seen(audit.Action.READ_NUMBERS, asked.tenant, f"{len(numbers)} customers", {"figure": found.figure})
        return Answer(body, seen=seen if numbers else None, volatile=frozenset() if asked["to"] else frozenset({"to"}))

    return [
        Operation(
            path="/api/v1/behind",
            name="behind",
            summary="What a figure counts, one by one; of a share also what was judged and did not count.",
            subject="Calls",
            parameters=(*WINDOW, AS_OF, _FIGURE, *FILTERS, TEAM, limit(most=10_000, default=1000)),
            answer=behind,
            schema=ref("Behind"),
        )
    ]


def _shown(asked: Asked, item: Item) -> dict[str, Any]:
    return {
        "call": item.call,
        "started_at": item.started_at.isoformat(),
        "at": item.at.isoformat(),
        "customer": item.customer if asked.reader.may(Right.NUMBERS) else None,
        "customer_masked": mask(item.customer),
        "queue": item.queue,
        "agent": item.agent if asked.reader.may(Right.AGENTS) else "",
        "line": item.line,
        "direction": item.direction,
        "outcome": item.outcome,
        "part": item.weight.part,
        "whole": item.weight.whole,
    }
