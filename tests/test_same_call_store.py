"""One call that two sources tell of is one call: in calls, rollups, counters, fates, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import given

from callkpi import config, projector, store
from callkpi.maintenance import refold
from callkpi.model import Call, CallEvent
from callkpi.projector import Projector
from callkpi.same_call_check import notes
from callkpi.sources.bitrix24 import row_item
from tests.connector import FAULTS, Connector, interleaved
from tests.strategies import arrival, told_twice
from tests.test_replay_equals_truth import expect_truth
from tests.world import PORTAL_TOKEN, World, capture_lines, retimed, sample, test_settings

BEGIN, END = datetime(2026, 11, 23, 18, tzinfo=UTC), datetime(2026, 11, 23, 21, tzinfo=UTC)
DAY = capture_lines("asterisk/events.jsonl.gz")
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


# -- a recorded day and a connector that registers its calls -----------------------------------------------


async def alone(world: World, lines: list[str]) -> tuple[list[Call], dict[str, Any], Counter[tuple[str, str]]]:
    """The day as the PBX alone tells it: its calls, every figure, and what the counters make of it."""
    await world.send_lines("pbx", lines)
    await world.project()
    rows = await world.pool.fetch("SELECT body FROM calls ORDER BY started_at, call_id")
    told = [store.call_from_body(row["body"]) for row in rows]
    result = told, await figures(world), await world.net_counters()
    await world.clear()
    return result


async def figures(world: World) -> dict[str, Any]:
    return {by: await world.figures(by, BEGIN, END) for by in ("queue", "agent", "line", "direction", "outcome")}


async def both_tell(world: World, lines: list[str], sent: list[tuple[datetime, bytes]]) -> None:
    """The PBX and the portal at once, in the order of their clocks, projected as they come."""
    timed = [(datetime.fromtimestamp(json.loads(line)["received_at"], UTC), line) for line in lines]
    waiting: list[str] = []
    for number, item in enumerate(interleaved(timed, sent)):
        if isinstance(item, str):
            waiting.append(item)
            continue
        if waiting:
            await world.send("pbx", "\n".join(waiting))
            waiting = []
        await world.send("portal", item, "application/x-www-form-urlencoded")
        if number % 200 == 0:
            await world.projector.project_batch()
    if waiting:
        await world.send("pbx", "\n".join(waiting))
    await world.project()


async def reconcile(world: World, connector: Connector) -> None:
    """What the reconciler reads of the portal's statistics later."""
    items = [row_item(row, 1) for row in connector.rows]
    await world.ingest.take_fetched("portal", items, datetime.now(UTC), is_voice=False, counted=True)
    await world.project()


@pytest.fixture
async def office(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """An Asterisk and the portal that its connector registers every call in."""
    world = World(pool, ruled("pbx", "portal"))
    await world.clear()
    async with world.running():
        yield world


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_day_that_a_connector_registers_counts_as_the_pbx_alone(office: World, seed: int) -> None:
    """By number and time, with every fault of :mod:`tests.connector`; the day twelve times as long as recorded."""
    lines = retimed(DAY, BEGIN, factor=12)
    calls, expected, counted = await alone(office, lines)
    connector = Connector(PORTAL_TOKEN, seed)
    connector.take(calls)
    assert set(connector.faulty) == {*FAULTS, "one_id_for_two"}
    await both_tell(office, lines, connector.sent)
    await reconcile(office, connector)
    assert await figures(office) == expected
    assert await office.net_counters() == counted
    assert await office.findings() == []
    page = await office.metrics()
    assert sample(page, "callkpi_calls_united_total", rule="number") >= len(connector.calls)  # type: ignore[operator]
    told = [store.call_from_body(row["body"]) for row in await office.pool.fetch("SELECT body FROM calls")]
    finished = {row["CALL_ID"] for row in connector.rows}
    assert sum(call.crm == {"activity": "90211", "lead": "7"} and call.rating == 4 for call in told) == len(finished)
    assert any("conflicting_outcome" in call.flags for call in told)


async def test_with_the_pbxs_ids_in_the_portal_the_truth_of_the_recorded_day_stands(office: World) -> None:
    """At its own speed, where customers call again within a second: times alone would not tell."""
    lines = retimed(DAY, BEGIN)
    calls, expected, counted = await alone(office, lines)
    connector = Connector(PORTAL_TOKEN, 5, faults={**FAULTS, "unfinished": 0.0, "end_lost": 0.0}, names_ids=True)
    connector.take(calls)
    await both_tell(office, lines, connector.sent)
    await reconcile(office, connector)
    await expect_truth(office, "pbx")
    assert await figures(office) == expected
    assert await office.net_counters() == counted
    assert await office.findings() == []
    rules = await office.pool.fetch("SELECT rule, count(*) AS calls FROM same_call_sides GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rules] == [("", len(calls)), ("id", len(connector.calls))]
    await refold(office.pool, office.projector, lambda _done, _total: None)
    assert await figures(office) == expected


async def test_switched_off_both_count_and_a_rebuild_makes_them_one(pool: asyncpg.Pool) -> None:
    lines = retimed(DAY, BEGIN, factor=12)
    off, on = World(pool, ruled("pbx", "portal", by=())), World(pool, ruled("pbx", "portal"))
    await off.clear()
    async with off.running():
        calls, expected, _ = await alone(off, lines)
        connector = Connector(PORTAL_TOKEN, 1, faults={})
        connector.take(calls)
        await both_tell(off, lines, connector.sent)
        told = (await figures(off))["direction"]["total"]
        assert told["offered"] == 2 * expected["direction"]["total"]["offered"]
    assert await notes(pool, off.settings) == []
    again = "; after a change of same_call run 'callkpi rebuild'"
    assert await notes(pool, on.settings) == [
        "acme: calls of pbx, portal that are one with another source's: 0 by id, 0 by number",
        f"acme: {len(calls)} calls of pbx are older than same_call{again}",
        f"acme: {len(calls)} calls of portal are older than same_call{again}",
    ]
    await refold(pool, on.projector, lambda _done, _total: None)
    assert await figures(on) == expected
    assert await notes(pool, on.settings) == [
        f"acme: calls of pbx, portal that are one with another source's: 0 by id, {len(calls)} by number"
    ]
    assert await notes(pool, off.settings) == [f"acme: calls were united by rules that are off now{again}"]
    await refold(pool, off.projector, lambda _done, _total: None)
    assert (await figures(off))["direction"]["total"]["offered"] == told["offered"]
