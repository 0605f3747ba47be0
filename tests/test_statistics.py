"""The figures of periods: parts add up to the whole, whichever sums they are read from, also over changed clocks."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from callkpi import config
from callkpi.config import ReportField, ShiftPlan
from callkpi.model import CallEvent
from callkpi.reporting import days, periods
from callkpi.reporting.statistics import Question, Statistics
from tests.strategies import EPOCH, arrival, traffic
from tests.world import World, test_settings

#: Zones, and how the evening of strategies.EPOCH is moved to that before their clocks change.
NIGHTS = {
    "Europe/Berlin": timedelta(),
    "America/New_York": datetime(2026, 10, 31, 22, 0, tzinfo=UTC) - EPOCH,
    "Asia/Almaty": datetime(2024, 2, 29, 16, 0, tzinfo=UTC) - EPOCH,
    "Asia/Kathmandu": timedelta(),
    "Europe/London": datetime(2026, 3, 28, 20, 0, tzinfo=UTC) - EPOCH,
}
SHIFTS = {"day": ShiftPlan("Day", hours="08:00-20:10"), "night": ShiftPlan("Night", hours="20:10-08:00")}
FIELDS = {"campaign": ReportField("Campaign")}
SUMS = ("offered", "answered", "missed", "handled", "made", "reached", "open", "talked", "contacts", "transferred")


def moved(events: Sequence[CallEvent], by: timedelta) -> list[CallEvent]:
    return [dataclasses.replace(e, at=e.at + by, received_at=e.received_at + by) for e in events]


@asynccontextmanager
async def centre(pool: asyncpg.Pool, **tenant: Any) -> AsyncIterator[World]:
    world = World(pool, test_settings(**tenant))
    await world.clear()
    async with world.running():
        yield world


def period(begin: datetime, end: datetime) -> periods.Period:
    return periods.Period("interval", "", "", begin, end, end)


async def ask(world: World, of: periods.Period, *by: str, **rest: Any) -> dict[str, Any]:
    return await Statistics(world.pool, world.settings).answer(Question("acme", of, by, **rest))


def day_around(zone: config.Tenant, at: datetime) -> periods.Period:
    """Three local days around a moment."""
    first = at.astimezone(zone.zone).date()
    return periods.parse(
        zone, "acme", f"{first - timedelta(days=1)}..{first + timedelta(days=1)}", at + timedelta(days=30)
    )


@given(traffic(), st.sampled_from(sorted(NIGHTS)), st.lists(st.sampled_from(["a", "b", ""]), min_size=1))
@hypothesis_settings(max_examples=12)
async def test_parts_of_any_kind_add_up_to_the_whole_that_the_calls_give(
    pool: asyncpg.Pool, events: list[CallEvent], zone: str, campaigns: list[str]
) -> None:
    by, told = NIGHTS[zone], iter(campaigns * len(events))
    events = [
        dataclasses.replace(e, fields={"campaign": next(told)}) if e.kind == "started" else e for e in moved(events, by)
    ]
    async with centre(pool, timezone=zone, shifts=SHIFTS, fields=FIELDS) as world:
        await world.append(events)
        await world.project()
        assert await world.findings() == []
        of = day_around(world.settings.tenants["acme"], EPOCH + by)
        for dimension in ("queue", "agent", "line", "direction", "outcome"):
            expected = await world.figures(dimension, of.begin, of.end)
            answer = await ask(world, of, dimension)
            assert [row["key"][dimension] for row in answer["rows"]] == [row[dimension] for row in expected["rows"]]
            for row, wanted in zip(answer["rows"], expected["rows"], strict=True):
                ours = {name: value for name, value in row["figures"].items() if name in wanted}
                assert ours == {name: wanted[name] for name in ours}
            assert answer["total"]["figures"].items() >= expected["total"].items()
        whole = (await ask(world, of))["total"]["figures"]
        for split in ("hour", "weekday", "15min", "30min", "60min", "day", "week", "month", "shift", "source",
                      "field:campaign"):  # fmt: skip
            answer = await ask(world, of, split)
            rows = [row["figures"] for row in answer["rows"]]
            assert answer["total"]["figures"].items() <= whole.items(), split
            for name in SUMS:
                assert sum(row[name] for row in rows) == whole[name], (split, name)
            assert max((row["longest_wait_seconds"] for row in rows), default=0) == whole["longest_wait_seconds"], split


@hypothesis_settings(max_examples=12)
@given(arrival(), st.sampled_from(["Europe/Berlin", "Asia/Almaty"]))
async def test_days_are_the_sums_of_their_calls_at_every_step_also_when_a_field_comes_late(
    pool: asyncpg.Pool, case: tuple[list[CallEvent], list[list[CallEvent]]], zone: str
) -> None:
    async with centre(pool, timezone=zone, fields=FIELDS) as world:
        for number, delivery in enumerate(case[1]):
            told = [dataclasses.replace(e, fields={"campaign": f"c{number % 3}"}) for e in delivery]
            await world.append(told)
            await world.project()
            assert await world.findings() == []


@hypothesis_settings(max_examples=8)
@given(traffic(), st.sampled_from(["Europe/Berlin", "America/New_York"]))
async def test_days_that_are_filled_afterwards_equal_those_that_were_kept(
    pool: asyncpg.Pool, events: list[CallEvent], zone: str
) -> None:
    async with centre(pool, timezone="Asia/Almaty") as world:
        await world.append(events)
        await world.project()
        other = World(pool, test_settings(timezone=zone, fields=FIELDS))
        of = day_around(other.settings.tenants["acme"], EPOCH)
        before = await ask(other, of, "day", "source")
        await days.fill(pool, other.settings)
        known = (await days.spans(pool))["acme"]
        assert known.is_of(other.settings.tenants["acme"])
        assert known.since == date.min
        assert await other.findings() == []
        assert await ask(other, of, "day", "source") == before
        async with other.running():
            await other.append(moved(events, timedelta(days=2)))
        await other.project()
        assert await other.findings() == []
