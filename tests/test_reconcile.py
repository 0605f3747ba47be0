"""Bitrix24 with lost webhooks, reconciled: not one call is missing or double, and the numbers are the portal's."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callkpi import bitrix24_rest as rest
from callkpi import config
from callkpi.reconcile import Intake, Reconciler
from tests.portal import Portal, history, lossy, truth
from tests.world import World, sample
from tests.world import test_settings as make_settings

FORM = "application/x-www-form-urlencoded"
NOW = datetime.now(UTC).replace(microsecond=0)
#: Fast enough for a test; the portal enforces the same.
RATE = 400.0


def settings_of(portal: Portal, **source: Any) -> config.Settings:
    plain = make_settings()
    told = {"rest_url": portal.url, "reconcile_seconds": 60.0, "nightly_at": "00:00", **source}
    return replace(plain, sources={**plain.sources, "portal": replace(plain.sources["portal"], **told)})


@contextlib.asynccontextmanager
async def reconciling(world: World, portal: Portal, **source: Any) -> AsyncIterator[Reconciler]:
    """A reconciler as the daemon makes it, to be stepped by the test."""
    world.settings = settings_of(portal, **source)
    own = world.settings.sources["portal"]
    world.ingest._sources = world.settings.sources
    async with rest.session() as http:
        client = rest.Client(http, own.rest_url, RATE, pause=0.01, patience=20)
        intake = Intake(world.pool, world.ingest, world.health, "portal", own)
        reconciler = Reconciler(world.pool, client, intake, world.health, own, world.settings.tenants["acme"])
        await reconciler._remember()
        yield reconciler


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    async with Portal(rate=RATE, bucket=RATE * 25).serving() as portal:
        yield portal


async def send_all(world: World, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        await world.send("portal", body, FORM)


async def assert_truth(world: World, portal: Portal) -> None:
    """The report's numbers are those that the portal's rows give, and the store agrees with itself."""
    await world.project()
    told = truth(portal.rows)
    begin, end = NOW - timedelta(days=40), NOW + timedelta(days=1)
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == told.calls
    by = await world.kpi("direction", begin, end)
    inbound, outbound = by.get("inbound", {}), by.get("outbound", {})
    for outcome in ("answered", "no_answer", "busy", "rejected", "failed"):
        assert inbound.get(outcome, 0) == told.inbound[outcome], outcome
    assert inbound.get("offered", 0) == told.inbound.total()
    assert inbound.get("missed", 0) == told.inbound.total() - told.inbound["answered"]
    assert (inbound.get("open", 0), inbound.get("expired", 0)) == (0, 0)
    assert outbound.get("made", 0) == told.outbound.total()
    assert outbound.get("reached", 0) == told.outbound["answered"]
    assert {name: by[name]["talk_seconds"] for name in told.talk} == told.talk
    agents = await world.kpi("agent", begin, end)
    assert {name: row["handled"] for name, row in agents.items() if row["handled"]} == told.handled
    assert {name: row["talk_seconds"] for name, row in agents.items() if row["handled"]} == told.agent_talk
    assert await world.findings() == []


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("lost", [0.0, 0.3, 1.0])
async def test_whatever_webhooks_are_lost_the_numbers_are_the_portals(
    world: World, portal: Portal, seed: int, lost: float
) -> None:
    """Before, after and between: webhooks that come late, twice or not at all change nothing."""
    stories = history(seed, 120, NOW - timedelta(hours=30), NOW - timedelta(hours=1), same_start=bool(seed % 2))
    bodies = lossy(stories, seed, lost)
    rng = random.Random(seed)
    async with reconciling(world, portal) as reconciler:
        await send_all(world, bodies[: len(bodies) // 3])
        portal.rows = [row for story in stories[:70] for row in story.rows]
        await reconciler.step(datetime.now(UTC))
        portal.rows = [row for story in stories for row in story.rows]
        await send_all(world, bodies[len(bodies) // 3 : len(bodies) // 2])
        if rng.random() < 0.5:
            await world.project()
        reconciler._next_window = 0
        await reconciler.step(datetime.now(UTC))
        await send_all(world, bodies[len(bodies) // 2 :])
        await assert_truth(world, portal)


async def test_a_second_reading_adds_nothing(world: World, portal: Portal) -> None:
    portal.rows = [row for story in history(3, 90, NOW - timedelta(hours=20), NOW) for row in story.rows]
    async with reconciling(world, portal) as reconciler:
        await reconciler.step(datetime.now(UTC))
        events = await world.pool.fetchval("SELECT count(*) FROM journal")
        reconciler._next_window = 0
        await world.pool.execute("DELETE FROM reconcile_passes WHERE pass = 'night'")
        await reconciler.step(datetime.now(UTC))
        assert await world.pool.fetchval("SELECT count(*) FROM journal") == events == len(portal.rows)
    page = await world.metrics()
    assert sample(page, "callkpi_reconcile_rows_total", result="new") == len(portal.rows)
