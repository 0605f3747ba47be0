"""What is now: queues as the board shows them, and what each agent does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from callkpi.calls import rows
from callkpi.calls.model import agent_key
from callkpi.database import store
from callkpi.figures import live
from callkpi.figures.kpis import Reports
from callkpi.people.names import Names
from callkpi.web.access import Right
from callkpi.web.api.contract import TENANT, Answer, Asked, Operation
from callkpi.web.api.schemas import ref
from callkpi.web.watch import Watch

#: What of a board's state changes with the clock or the daemon alone.
_CLOCK = frozenset(
    {
        "at",
        "at_unix_seconds",
        "age_seconds",
        "silent_seconds",
        "unheard_seconds",
        "longest_wait_seconds",
        "missed_oldest_seconds",
        "version",
    }
)


def operations(pool: asyncpg.Pool, reports: Reports, watch: Callable[[str], Watch] | None) -> Sequence[Operation]:
    async def queues(asked: Asked) -> Answer:
        assert watch is not None
        state = orjson.loads(await asyncio.shield(watch(asked.tenant).newest()))
        return Answer(state, volatile=_CLOCK)

    async def agents(asked: Asked) -> Answer:
        async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            await reports.names.refresh(connection)
            states = await connection.fetch(store.query("reports", "agents_now"), asked.tenant)
            calls = await connection.fetch(store.query("board", "open_calls"), asked.tenant)
        found = agents_now(asked.tenant, states, calls, reports.names)
        return Answer({"tenant": asked.tenant, "at": datetime.now(UTC).isoformat(), "agents": found}, volatile=_CLOCK)

    return [
        Operation(
            path="/api/v1/queues",
            name="queues",
            summary="Queues at this moment and their day so far, as the board shows them; read every two seconds.",
            subject="Now",
            parameters=(TENANT,),
            answer=queues,
            schema=ref("Queues"),
            stored=False,
        ),
        Operation(
            path="/api/v1/agents",
            name="agents",
            summary="What each agent does at this moment, in each of his queues.",
            subject="Now",
            right=Right.AGENTS,
            parameters=(TENANT,),
            answer=agents,
            schema=ref("Agents"),
            stored=False,
        ),
    ]


def agents_now(tenant: str, states: Sequence[Any], calls: Sequence[Any], names: Names) -> list[dict[str, Any]]:
    """Each person once, by the most present of his states; *since* and *reason* as the source told them."""
    told: dict[tuple[str, str], tuple[datetime, str]] = {}
    for row in states:
        place = (names.show(tenant, "agent", agent_key(row["source"], row["agent"])), row["queue"])
        if place not in told or told[place][0] < row["at"]:
            told[place] = (row["at"], row["reason"])
    people = live.agents(states, [rows.call_from_body(row["body"]) for row in calls], names).get(tenant, {})
    return [
        {
            "agent": person,
            "state": live.most_present(by_queue.values()),
            "queues": [
                _in_queue(names.show(tenant, "queue", queue), state, told.get((person, queue)))
                for queue, state in sorted(by_queue.items())
            ],
        }
        for person, by_queue in sorted(people.items())
    ]


def _in_queue(queue: str, state: str, told: tuple[datetime, str] | None) -> dict[str, Any]:
    since, reason = told if told is not None else (None, "")
    return {"queue": queue, "state": state, "reason": reason, "since": since.isoformat() if since else None}
