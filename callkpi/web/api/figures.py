"""KPIs of any window."""

from __future__ import annotations

from collections.abc import Sequence

from callkpi.calls.model import Direction, Outcome
from callkpi.figures.kpis import GROUPINGS, Query, Reports
from callkpi.web.access import Right
from callkpi.web.api.contract import AS_OF, WINDOW, Answer, Asked, Operation, choice, text
from callkpi.web.api.schemas import ref

FILTERS = (
    text("queue", "Only this queue, by its id or name."),
    text("agent", "Only this agent, by his id or name."),
    text("line", "Only this line, by its id or name."),
    choice("direction", "Only calls of this direction.", list(Direction)),
    choice("outcome", "Only calls that ended so.", list(Outcome)),
)
#: Of figures only: calls are not asked for by team.
TEAM = text("team", "Only this team, by its key or its name.")
#: A window that ends now moves with the clock; what it says may stay the same.
_CLOCK = frozenset({"to"})


def operations(reports: Reports) -> Sequence[Operation]:
    async def kpi(asked: Asked) -> Answer:
        begin, end = asked.window()
        if asked["by"] in ("agent", "team") or asked["agent"] is not None or asked["team"] is not None:
            asked.needs(Right.AGENT_FIGURES, "figures of agents")
        only = {each.name: asked[each.name] for each in (*FILTERS, TEAM) if asked[each.name] is not None}
        found = await reports.figures(Query(asked.tenant, begin, end, asked["by"], only, asked.as_of()))
        return Answer(found, volatile=frozenset() if asked["to"] else _CLOCK)

    return [
        Operation(
            path="/api/v1/kpi",
            name="kpi",
            summary="KPIs of a window, rows by one dimension; the others filter. Of agents: role manager.",
            subject="Figures",
            parameters=(*WINDOW, AS_OF, choice("by", "What the rows are.", GROUPINGS, "queue"), *FILTERS, TEAM),
            answer=kpi,
            schema=ref("Kpi"),
        )
    ]
