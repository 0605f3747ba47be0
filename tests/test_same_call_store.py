"""One call that two sources tell of is one call: in calls, rollups, counters, fates, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import given

from callkpi import config, projector, store
from callkpi.maintenance import refold
from callkpi.model import CallEvent
from callkpi.projector import Projector
from tests.strategies import arrival, told_twice
from tests.world import World, test_settings

Arrival = tuple[list[CallEvent], list[list[CallEvent]]]


def ruled(*sources: str, **rule: Any) -> config.Settings:
    """The usual settings, with a rule for these sources."""
    settings = test_settings()
    tenant = replace(settings.tenants["acme"], same_call=config.SameCall(sources=sources, **rule))
    return replace(settings, tenants={"acme": tenant})


@pytest.fixture
async def both(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """A store of a tenant whose native PBX and portal see the same calls."""
    world = World(pool, ruled("native", "portal"))
    await world.clear()
    async with world.running():
        yield world


@given(arrival(told_twice()))
async def test_any_order_and_repetition_over_both_sources_gives_the_same(both: World, case: Arrival) -> None:
    events, deliveries = case
    await both.clear()
    await both.append(events)
    await both.project()
    expected, counters = await both.tables(), await both.net_counters()
    await both.clear()
    before: dict[Any, int] = {}
    for delivery in deliveries:
        await both.append(delivery)
        await both.project()
        assert await both.findings() == []
        rows = await both.pool.fetch(store.query("reports", "counters"))
        after = {tuple(row.values())[:7]: row["value"] for row in rows}
        assert all(after[key] >= value for key, value in before.items())
        before = after
    assert await both.tables() == expected
    assert await both.net_counters() == counters


@given(arrival(told_twice()))
async def test_projectors_at_once_and_a_rebuild_give_the_same(
    both: World, monkeypatch: pytest.MonkeyPatch, case: Arrival
) -> None:
    events, deliveries = case
    monkeypatch.setattr(projector, "BATCH_GROUPS", 2)
    await both.clear()
    await both.append(events)
    await both.project()
    expected, counters = await both.tables(), await both.net_counters()
    await both.clear()
    for delivery in deliveries:
        for event in delivery:
            await both.append([event])
    others = [Projector(both.pool, both.settings, both.health) for _ in range(2)]
    await asyncio.gather(*(each.drain() for each in (both.projector, *others)))
    await both.project()
    assert await both.tables() == expected
    assert await both.net_counters() == counters
    await refold(both.pool, both.projector, lambda _done, _total: None)
    assert await both.tables() == expected
    assert await both.net_counters() == counters
