"""Rows of sums that count nothing any more are gone: a call that was open is none of a quarter's open calls later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from callkpi.health import Health
from callkpi.projection import days
from callkpi.projection.batch import Projector
from tests.world import World

NOON = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TABLES = ("rollups", "day_rollups", "month_rollups")


def call(number: int, *, begin: datetime = NOON) -> list[dict[str, Any]]:
    """A call that waits, is answered and ends, an event a step."""
    of = {"call_id": f"c{number}", "direction": "inbound", "queue": "sales", "line": "100"}
    leg = {"agent": "dana", "leg": "1"}
    told: list[dict[str, Any]] = [
        {**of, "kind": "queued"}, {**of, **leg, "kind": "ringing"}, {**of, **leg, "kind": "answered"},
        {**of, "kind": "ended", "cause": "answered"},
    ]  # fmt: skip
    return [{**event, "at": (begin + 10 * n * SECOND).isoformat()} for n, event in enumerate(told)]


async def step(world: World, *events: dict[str, Any]) -> None:
    await world.send_json("native", *events)
    await world.project()


async def zeros(world: World) -> dict[str, int]:
    counts = {t: await world.pool.fetchval(f"SELECT count(*) FROM {t} WHERE contacts = 0") for t in TABLES}
    return {table: count for table, count in counts.items() if count}


async def test_live_traffic_leaves_no_rows_that_count_nothing(world: World) -> None:
    for events in zip(call(1), call(2), call(3, begin=NOON + 600 * SECOND), strict=True):
        await step(world, *events)
        assert await zeros(world) == {}
    rows = await world.pool.fetch("SELECT grain, outcome, contacts FROM rollups ORDER BY grain")
    assert [tuple(row) for row in rows] == [(g, "answered", 3) for g in ("call", "entry", "handle")]
    assert await world.findings() == []


async def test_the_longest_wait_of_a_row_that_was_emptied_does_not_come_back(world: World) -> None:
    missed = [{**event, "kind": kind} for event, kind in zip(call(1)[::3], ("queued", "ended"), strict=True)]
    missed[1]["cause"] = "abandoned"
    await step(world, *missed)
    await step(world, *call(1)[1:3])
    assert await zeros(world) == {}
    (figures,) = (await world.kpi("queue", NOON - 3600 * SECOND, NOON + 3600 * SECOND)).values()
    assert figures["longest_wait_seconds"] == 20
    assert await world.findings() == []


async def test_months_that_a_late_event_empties_go_as_well(world: World) -> None:
    await step(world, *call(1)[:1])
    await step(world, *call(2))
    assert await days.sum_up(world.pool, NOON + timedelta(days=3))
    assert await world.pool.fetchval("SELECT count(*) FROM month_rollups WHERE outcome IN ('open', 'expired')")
    await step(world, *call(1)[1:])
    assert await zeros(world) == {}
    assert not await world.pool.fetchval("SELECT count(*) FROM month_rollups WHERE outcome IN ('open', 'expired')")
    assert await world.findings() == []


async def test_two_projectors_that_empty_and_fill_the_same_rows_lose_nothing(world: World) -> None:
    projectors = [Projector(world.pool, world.settings, Health()) for _ in range(2)]
    for steps in zip(*(call(n) for n in range(40)), strict=True):
        for event in steps:  # A group each: the two take different ones.
            await world.send_json("native", event)
        await asyncio.gather(*(projector.drain() for projector in projectors))
        assert await zeros(world) == {}
    assert await world.pool.fetchval("SELECT contacts FROM rollups WHERE grain = 'call'") == 40
    assert await world.findings() == []
