"""The calendar: shifts, and whether they go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from callkpi.calendar.moments import BadQuery
from callkpi.calendar.shifts import shifts_between
from callkpi.web.api.contract import WINDOW, Answer, Asked, Operation
from callkpi.web.api.schemas import ref

_LONGEST = timedelta(days=400)


def operations() -> Sequence[Operation]:
    async def shifts(asked: Asked) -> Answer:
        begin, end = asked.window()
        if end - begin > _LONGEST:
            raise BadQuery(f"from, to: at most {_LONGEST.days} days at a time")
        found = [
            {
                "key": shift.key, "id": shift.id, "name": shift.name, "day": shift.day.isoformat(),
                "from": shift.begin.isoformat(), "to": shift.end.isoformat(), "seconds": shift.length.total_seconds(),
                "queues": list(shift.queues), "team": shift.team, "running": shift.begin <= asked.at < shift.end,
            }
            for shift in shifts_between(asked.zone, asked.tenant, begin, end)
        ]  # fmt: skip
        return Answer({"tenant": asked.tenant, "shifts": found})

    return [
        Operation(
            path="/api/v1/shifts",
            name="shifts",
            summary="Shifts of which some part lies in a window, in real time.",
            subject="Figures",
            parameters=WINDOW,
            answer=shifts,
            schema=ref("Shifts"),
        )
    ]
