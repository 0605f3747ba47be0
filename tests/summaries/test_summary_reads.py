"""What a summary reads by index instead of from whole calls is what the whole calls say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from callkpi.calendar import periods
from callkpi.calls.model import Call, CallEvent, Direction, Outcome
from callkpi.calls.rows import call_from_body
from callkpi.figures.behind import missed_in
from callkpi.missed.judging import written_off_before
from callkpi.missed.work import item_of
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.silences import Silence, late, silences
from callkpi.summaries.summary import Summary
from tests.stand_ins.centres import centre
from tests.strategies import EPOCH, arrival
from tests.world import World

HOUR = timedelta(hours=1)
Span = tuple[datetime, datetime]


async def summary_of(world: World, window: Span, as_of: datetime) -> Summary:
    period = periods.Period("interval", "", "", *window, window[1])
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, as_of)


async def calls_of(world: World) -> list[Call]:
    return [call_from_body(row["body"]) for row in await world.pool.fetch("SELECT body FROM calls")]


def waits_of(call: Call, as_of: datetime) -> Iterator[Span]:
    """From when to when a caller waited for an agent, as far as it is known; who waits, waits until now."""
    if call.direction is not Direction.INBOUND or call.outcome is Outcome.AFTER_HOURS:
        return
    stays = [(entry.entered_at, entry.wait_ms, entry.left_at, entry.answered) for entry in call.entries]
    for begin, wait_ms, left_at, answered in stays or [(call.started_at, call.wait_ms, call.ended_at, call.answered)]:
        if wait_ms is not None:
            yield begin, begin + timedelta(milliseconds=wait_ms)
        elif call.is_open and left_at is None and not answered:
            yield begin, as_of


def most_at_once(waits: list[Span]) -> tuple[int, datetime] | None:
    """How many of these waited at most, and when first."""
    moments = sorted({begin for begin, end in waits if begin < end})
    counts = [(sum(begin <= at < end for begin, end in waits), at) for at in moments]
    return max(counts, key=lambda each: each[0], default=None)


@hypothesis_settings(max_examples=25)
@given(case=arrival(), first=st.integers(0, 5), length=st.integers(1, 6), passed=st.sampled_from([0, 2, 30, 300]))
async def test_peak_hand_over_and_open_calls_are_those_of_the_calls(
    pool: asyncpg.Pool, case: tuple[list[CallEvent], list[list[CallEvent]]], first: int, length: int, passed: int
) -> None:
    begin = EPOCH + first * HOUR
    end = begin + length * HOUR
    as_of = end + passed * HOUR
    async with centre(pool, timezone="Asia/Almaty") as world:
        for delivery in case[1]:
            await world.append(delivery)
            await world.project()
        summary = await summary_of(world, (begin, end), as_of)
        calls = await calls_of(world)
        waits = [(max(since, begin), min(until, end)) for call in calls for since, until in waits_of(call, as_of)]
        peak = summary.most_waiting
        assert (None if peak is None else (peak.count, peak.begin)) == most_at_once(waits)
        assert {call.call for call in summary.handover.open_calls} == {
            f"{call.source}/{call.call_id}"
            for call in calls
            if call.direction in (Direction.INBOUND, Direction.OUTBOUND) and call.started_at < end
            if (call.ended_at > end if call.ended_at else end - call.last_event_at <= 4 * HOUR)
        }
        await hand_over_is_told(world, summary, (begin, end), as_of)


async def hand_over_is_told(world: World, summary: Summary, window: Span, as_of: datetime) -> None:
    begin, end = window
    own = world.settings.tenants["acme"]
    customers = defaultdict(list)
    for row in await missed_in(world.pool, "acme", written_off_before(own, end), end, requests=True):
        if row["settled_at"] is None or row["settled_at"] >= end:
            customers[item_of(row["customer"], row["source"], row["call_id"])].append(row)
    last = [rows[-1] for rows in customers.values()]
    told = summary.handover
    assert told.waiting_customers == len(customers)
    assert told.of_this_period == sum(row["started_at"] >= begin for row in last)
    assert told.oldest_missed_at == min((rows[0]["started_at"] for rows in customers.values()), default=None)
    assert told.still_waiting == sum(
        row["started_at"] >= written_off_before(own, as_of) and (row["settled_at"] is None or row["settled_at"] > as_of)
        for row in last
    )


@hypothesis_settings(max_examples=15)
@given(case=arrival(), passed=st.sampled_from([0, 30, 300]))
async def test_a_long_period_tells_the_customers_who_still_wait_with_all_their_misses(
    pool: asyncpg.Pool, case: tuple[list[CallEvent], list[list[CallEvent]]], passed: int
) -> None:
    begin, end = EPOCH - 60 * HOUR, EPOCH + 12 * HOUR
    as_of = end + passed * HOUR
    async with centre(pool, timezone="Asia/Almaty") as world:
        for delivery in case[1]:
            await world.append(delivery)
            await world.project()
        summary = await summary_of(world, (begin, end), as_of)
        rows = await missed_in(world.pool, "acme", begin, end)
        misses = Counter(item_of(row["customer"], row["source"], row["call_id"]) for row in rows)
        open_still = {
            item_of(row["customer"], row["source"], row["call_id"])
            for row in {item_of(row["customer"], row["source"], row["call_id"]): row for row in rows}.values()
            if row["started_at"] >= written_off_before(world.settings.tenants["acme"], as_of)
            if row["settled_at"] is None or row["settled_at"] > as_of
        }
        told = {item_of(item.customer, *item.last_call.split("/", 1)): item.misses for item in summary.callbacks}
        assert told == {item: misses[item] for item in open_still}


# -- silences ----------------------------------------------------------------------------------------------

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def at(minutes: float) -> datetime:
    return NINE + timedelta(minutes=minutes)


def heard(source: str, *minutes: float) -> list[dict[str, object]]:
    return [{"source": source, "first_at": at(m), "last_at": at(m + 0.5), "late": None} for m in minutes]


def test_a_silence_is_as_long_as_the_limit_within_business_hours() -> None:
    rows = heard("pbx", 0, 10, 45, 100)
    found = silences(rows, {"pbx": HALF_HOUR}, (at(0), at(120)), [(at(0), at(60)), (at(70), at(120))])
    # From 45.5 to 100 nothing came: 14.5 minutes before the pause of the centre and 30 after it.
    assert found == [
        Silence("pbx", at(10.5), at(45), is_whole=False),
        Silence("pbx", at(70), at(100), is_whole=False),
    ]


def test_a_source_that_told_nothing_at_all_never_spoke() -> None:
    day = [(at(0), at(120))]
    found = silences(heard("pbx", *range(0, 120, 5)), {"pbx": HALF_HOUR, "portal": HALF_HOUR}, day[0], day)
    assert found == [Silence("portal", at(0), at(120), is_whole=True)]
    assert silences([], {"portal": HALF_HOUR}, day[0], []) == []


def test_each_source_has_its_own_limit_and_one_without_a_limit_is_never_silent() -> None:
    rows = [*heard("pbx", 0, 45), *heard("forms", 0, 45), *heard("import", 0)]
    found = silences(rows, {"pbx": HALF_HOUR, "forms": 2 * HALF_HOUR}, (at(0), at(60)), [(at(0), at(60))])
    assert found == [Silence("pbx", at(0.5), at(45), is_whole=False)]


def test_late_calls_are_named_once_in_the_order_in_which_they_happened() -> None:
    rows = [
        {"source": "pbx", "late": ["b", "a", "b"]},
        {"source": "pbx", "late": None},
        {"source": "portal", "late": ["a"]},
        {"source": "pbx", "late": ["a"]},
    ]
    assert late(rows) == ["pbx/b", "pbx/a", "portal/a"]
