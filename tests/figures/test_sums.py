"""Sums of months, days and quarters of an hour: whichever are read, they are what the calls give, to the call."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from callkpi.calendar import slots
from callkpi.calendar.business import instant
from callkpi.calendar.slots import Kept, Span, parts
from callkpi.calls.facts import MEASURES, Fact, Grain
from callkpi.calls.model import CallEvent, Direction, Kind
from callkpi.figures import sums
from callkpi.projection import days
from tests.stand_ins.centres import FIELDS, centre, moved
from tests.strategies import EPOCH, arrival, traffic
from tests.world import World

#: Evenings around which there is traffic: before a month begins, within one, and much later.
EVENINGS = (
    timedelta(), datetime(2026, 10, 31, 16, 0, tzinfo=UTC) - EPOCH, datetime(2026, 12, 5, 16, 0, tzinfo=UTC) - EPOCH,
)  # fmt: skip
#: Windows: whole months, months and days, parts of days, a month to date, a few minutes.
WINDOWS = (
    ("2026-10-01T00:00", "2026-11-01T00:00"), ("2026-10-01T00:00", "2027-01-01T00:00"),
    ("2026-09-17T00:00", "2026-11-02T00:00"), ("2026-10-24T21:07", "2026-12-05T20:01"),
    ("2026-10-31T00:00", "2026-11-01T00:00"), ("2026-12-01T00:00", "2026-12-06T00:00"),
    ("2026-10-24T20:50:13", "2026-10-24T21:20:01"),
)  # fmt: skip
Sums = dict[tuple[str, ...], Counter[str]]
DIMENSIONS = ("queue", "agent", "line", "direction", "source", "value")


def calls_apart(events: list[CallEvent], evening: int) -> list[CallEvent]:
    return [
        dataclasses.replace(e, call_id=f"{evening}.{e.call_id}", event_id=f"{evening}.{e.event_id}") for e in events
    ]


async def of_calls(world: World, grain: Grain, begin: datetime, end: datetime, by: list[str]) -> Sums:
    """The sums by some dimensions and the outcome, from what is written beside each call."""
    found: Sums = {}
    for row in await world.pool.fetch("SELECT source, facts, body FROM calls"):
        campaign = orjson.loads(row["body"])["fields"].get("campaign", "")
        for fact in map(Fact.from_json, orjson.loads(row["facts"])):
            if fact.key.grain == grain and begin <= fact.key.at < end:
                place = {**fact.key._asdict(), "source": row["source"], "value": campaign}
                told = found.setdefault((*(place[name] for name in by), fact.key.outcome), Counter())
                told.update(fact.measures)
                told["longest"] = max(told["longest"], fact.longest_wait_ms)
    return found


async def as_read(world: World, asked: sums.Asked, begin: datetime, end: datetime) -> Sums:
    found: Sums = {}
    async with world.pool.acquire() as connection, connection.transaction():
        await sums.plan(connection)
        rows = await sums.read(connection, world.settings.tenants["acme"], asked, sums.whole(begin, end))
    for row in rows:
        told = found.setdefault((*(row[name] for name in asked.by), row["outcome"]), Counter())
        told.update({name: row[name] for name in MEASURES})
        told["longest"] = max(told["longest"], row["longest_wait_ms"])
    return {key: +told for key, told in found.items() if told["contacts"]}


@hypothesis_settings(max_examples=15)
@given(
    arrivals=st.tuples(*(arrival() for _ in EVENINGS)),
    zone=st.sampled_from(["Europe/Berlin", "Asia/Almaty", "America/New_York"]),
    by=st.sets(st.sampled_from(DIMENSIONS), max_size=3),
    summed=st.lists(st.sampled_from(["2026-10-25", "2026-10-31", "2026-11-02", "2026-12-05", "2026-12-20"])),
)
async def test_any_window_by_any_dimension_is_what_its_calls_give_whenever_days_were_added_to_their_months(
    pool: asyncpg.Pool,
    arrivals: tuple[tuple[list[CallEvent], list[list[CallEvent]]], ...],
    zone: str,
    by: set[str],
    summed: list[str],
) -> None:
    deliveries = [
        calls_apart(moved(delivery, EVENINGS[n]), n) for n, (_, told) in enumerate(arrivals) for delivery in told
    ]
    times = iter([*summed, *[""] * len(deliveries)])
    async with centre(pool, timezone=zone, fields=FIELDS) as world:
        for number, delivery in enumerate(deliveries):
            fields = {"campaign": f"c{number % 2}"} if number % 3 else {}
            await world.append([dataclasses.replace(e, fields=fields) for e in delivery])
            await world.project()
            if until := next(times):
                await days.sum_up(pool, instant(world.settings.tenants["acme"].zone, date.fromisoformat(until)))
        assert await world.findings() == []
        for grain in Grain:
            asked = sums.Asked("acme", grain, sorted(by), field="campaign" if "value" in by else "")
            for window in WINDOWS:
                begin, end = (
                    datetime.fromisoformat(text).replace(tzinfo=world.settings.tenants["acme"].zone).astimezone(UTC)
                    for text in window
                )
                read = await as_read(world, asked, begin, end)
                assert read == await of_calls(world, grain, begin, end, sorted(by)), (grain, window)


@hypothesis_settings(max_examples=6)
@given(traffic())
async def test_months_are_summed_up_again_when_the_zone_of_their_days_is_another(
    pool: asyncpg.Pool, events: list[CallEvent]
) -> None:
    after = EPOCH + timedelta(days=60)
    async with centre(pool, timezone="Asia/Almaty") as world:
        await world.append([e for n, by in enumerate(EVENINGS) for e in calls_apart(moved(events, by), n)])
        await world.project()
        assert await days.sum_up(pool, after) > 0
        assert await days.sum_up(pool, after) == 0
        moved_away = World(pool, dataclasses.replace(world.settings, tenants={
            "acme": dataclasses.replace(world.settings.tenants["acme"], timezone="America/New_York")}))  # fmt: skip
        await days.fill(pool, moved_away.settings)
        assert await days.sum_up(pool, after) > 0
        assert await moved_away.findings() == []
        assert await pool.fetchval("SELECT count(*) FROM month_rollups WHERE month = '2026-10-01'") > 0


async def test_the_doctor_tells_a_month_that_is_not_what_its_days_give(pool: asyncpg.Pool) -> None:
    async with centre(pool, timezone="Asia/Almaty") as world:
        await world.append(_two_calls())
        await world.project()
        await days.sum_up(pool, EPOCH + timedelta(days=9))
        await pool.execute("UPDATE month_rollups SET talk_ms = talk_ms + 1 WHERE grain = 'call'")
        assert await world.findings() == [
            "month acme call 2026-10-01 native inbound answered: is not what its days give"
        ]


def _two_calls() -> list[CallEvent]:
    told = []
    for number in range(2):
        for kind, seconds, facts in (
            (Kind.STARTED, 0, {"direction": Direction.INBOUND, "customer": "+77010000001", "line": "100"}),
            (Kind.ANSWERED, 9, {"agent": "1001"}),
            (Kind.ENDED, 60, {"hangup_by": "customer"}),
        ):
            at = EPOCH + timedelta(minutes=number, seconds=seconds)
            told.append(CallEvent(
                tenant="acme", source="native", call_id=f"{number}", kind=kind, at=at, event_id=f"{number}.{kind}",
                received_at=at, **facts,
            ))  # fmt: skip
    return told


# -- which sums are taken ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "until", "months", "taken"),
    [
        ("2026-10-01", "2026-11-01", "2026-11-20", ["10-01 11-01"], []),
        ("2026-09-15", "2026-11-03", "2026-11-20", ["10-01 11-01"], ["09-15 10-01", "11-01 11-03"]),
        ("2026-11-01", "2026-11-23", "2026-11-21", ["11-01 11-21"], ["11-21 11-23"]),
        ("2026-11-01", "2026-11-21", "2026-11-21", ["11-01 11-21"], []),
        ("2026-11-01", "2026-11-20", "2026-11-21", [], ["11-01 11-20"]),
        ("2026-11-02", "2026-11-30", "2026-12-01", [], ["11-02 11-30"]),
        ("2026-10-01", "2026-11-01", "2026-10-01", [], ["10-01 11-01"]),
        ("2026-10-01", "2026-11-01", None, [], ["10-01 11-01"]),
    ],
)
def test_months_are_taken_where_all_that_is_summed_up_of_them_is_asked_for(
    begin: str, end: str, until: str | None, months: list[str], taken: list[str]
) -> None:
    zone = ZoneInfo("Asia/Almaty")
    span = Span(instant(zone, date.fromisoformat(begin)), instant(zone, date.fromisoformat(end)), 1)
    found = parts([span], zone, Kept(date.min, until and date.fromisoformat(until)))

    def told(edges: slots.Edges) -> list[str]:
        return [f"{first:%m-%d} {after:%m-%d}" for first, after in edges.pairs()]

    assert (told(found.months), told(found.days)) == (months, taken)
    assert not found.quarters.edges
    assert not found.calls.edges
