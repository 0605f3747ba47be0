"""The design's invariants on random traffic and a real PostgreSQL. The crash has a file of its own."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callkpi.calls.model import CallEvent
from callkpi.database import store
from callkpi.upkeep.rebuilding import refold
from tests.strategies import EPOCH, arrival, traffic
from tests.world import World

Arrival = tuple[list[CallEvent], list[list[CallEvent]]]
BEGIN, END = EPOCH - timedelta(days=1), EPOCH + timedelta(days=2)


@given(arrival())
async def test_any_order_and_repetition_gives_the_same_tables_and_counters(world: World, case: Arrival) -> None:
    events, deliveries = case
    await world.clear()
    await world.append(events)
    await world.project()
    expected, counters = await world.tables(), await world.net_counters()
    await world.clear()
    for delivery in deliveries:
        await world.append(delivery)
        await world.projector.project_batch()
    await world.project()
    assert await world.tables() == expected
    assert await world.net_counters() == counters


@given(arrival())
async def test_rollups_equal_calls_and_calls_equal_the_journal_at_every_step(world: World, case: Arrival) -> None:
    await world.clear()
    for delivery in case[1]:
        await world.append(delivery)
        await world.project()
        assert await world.findings() == []


@given(arrival())
async def test_counters_never_go_down(world: World, case: Arrival) -> None:
    await world.clear()
    before: dict[Any, int] = {}
    for delivery in case[1]:
        await world.append(delivery)
        await world.project()
        rows = await world.pool.fetch(store.query("reports", "counters"))
        after = {tuple(row.values())[:7]: row["value"] for row in rows}
        assert all(after[key] >= value for key, value in before.items())
        before = after


@given(arrival())
async def test_rebuilding_from_the_journal_gives_the_same_tables(world: World, case: Arrival) -> None:
    await world.clear()
    for delivery in case[1]:
        await world.append(delivery)
        await world.project()
    expected, counters = await world.tables(), await world.net_counters()
    await refold(world.pool, world.projector, lambda _done, _total: None)
    assert await world.tables() == expected
    assert await world.net_counters() == counters


@given(arrival())
async def test_each_offered_entry_is_in_exactly_one_place(world: World, case: Arrival) -> None:
    await world.clear()
    for delivery in case[1]:
        await world.append(delivery)
        await world.project()
        for row in (await world.figures("queue", BEGIN, END))["rows"]:
            ended = row["handled"] + row["missed"] + row["exited"]
            assert row["offered"] == ended + row["open"] + row["expired"]


@given(traffic(), st.lists(st.integers(0, 30 * 3600), min_size=1, max_size=6))
async def test_a_window_is_the_sum_of_its_parts_across_midnight(
    world: World, events: list[CallEvent], cuts: list[int]
) -> None:
    """Cut at any second: quarters of an hour or not, over midnight, over a change of clocks."""
    await world.clear()
    await world.append(events)
    await world.project()
    edges = [BEGIN, *sorted({BEGIN + timedelta(seconds=cut) + timedelta(hours=12) for cut in cuts}), END]
    for by in ("queue", "agent", "line", "direction"):
        whole = (await world.figures(by, BEGIN, END))["total"]
        parts = [(await world.figures(by, begin, end))["total"] for begin, end in pairwise(edges)]
        for name, value in whole.items():
            if isinstance(value, int):
                assert sum(part[name] for part in parts) == value, name
        for name in ("talk_seconds", "wait_seconds", "wait_answered_seconds"):
            assert round(sum(part[name] for part in parts), 3) == round(whole[name], 3)
        assert max(part["longest_wait_seconds"] for part in parts) == whole["longest_wait_seconds"]
