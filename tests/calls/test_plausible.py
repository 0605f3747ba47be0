"""Times that can't be: the call counts, nothing is made of its times, and work is bounded by what was told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callkpi import config
from callkpi.calls import facts as kpi
from callkpi.calls import plausible
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AGENT_STREAM, IMPLAUSIBLE_TIME, Call, CallEvent, Direction, Kind, Outcome
from callkpi.calls.rows import call_from_body
from callkpi.database import store
from callkpi.people.presence import to_ms
from callkpi.projection import timekeeping
from callkpi.sources.base import Delivery
from callkpi.upkeep.rebuilding import refold
from tests.world import TOKENS, World, sample

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
UNSET = datetime(2000, 1, 1, 0, 3, tzinfo=UTC)  #: a PBX that booted without a clock
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LIMITS = Thresholds(config.Tenant())


async def tell(world: World, *events: dict[str, Any], received: datetime = NOW, project: bool = True) -> None:
    delivery = Delivery(json.dumps(events).encode(), "application/json", TOKENS["native"], received)
    receipt = await world.ingest.take("native", delivery)
    assert receipt.rejected == 0
    if project:
        await world.project()


def event(kind: str, at: datetime, call_id: str = "c1", **facts: Any) -> dict[str, Any]:
    return {"call_id": call_id, "kind": kind, "at": at.isoformat(), "direction": "inbound", **facts}


def told(kind: Kind, at: datetime, received: datetime, **facts: Any) -> CallEvent:
    return CallEvent(
        tenant="acme", source="native", call_id="c1", kind=kind, at=at, event_id=f"{kind}{at}{facts}",
        received_at=received, direction=Direction.INBOUND, **facts,
    )  # fmt: skip


async def the_call(world: World) -> Call:
    (row,) = await world.pool.fetch("SELECT body FROM calls")
    return call_from_body(row["body"])


async def count(world: World, table: str) -> int:
    return int(await world.pool.fetchval(f"SELECT count(*) FROM {table}"))


async def months(world: World) -> int:
    """How many partitions the events and the calls have."""
    query = "SELECT count(*) FROM pg_inherits WHERE inhparent IN ('journal'::regclass, 'calls'::regclass)"
    return int(await world.pool.fetchval(query))


# -- calls ------------------------------------------------------------------------------------------------


async def test_a_call_from_2000_that_ends_today_is_one_call_of_today_without_times(world: World) -> None:
    await tell(world, event("started", NOW), event("ended", NOW + MINUTE), received=NOW + MINUTE)
    await world.clear()
    before = await months(world)
    leg = {"agent": "dana", "leg": "1", "queue": "sales"}
    await tell(world, event("started", UNSET), event("queued", UNSET, queue="sales"))
    await tell(world, event("ringing", UNSET + MINUTE, **leg), received=NOW + MINUTE)
    await tell(world, event("answered", NOW + 2 * MINUTE, **leg), received=NOW + 2 * MINUTE)
    await tell(world, event("ended", NOW + 3 * MINUTE, cause="answered"), received=NOW + 3 * MINUTE)
    call = await the_call(world)
    assert (call.outcome, call.flags) == (Outcome.ANSWERED, (IMPLAUSIBLE_TIME,))
    assert call.started_at == NOW
    assert (call.wait_ms, call.talk_ms, call.legs[0].ring_ms, call.entries[0].wait_ms) == (None, None, None, None)
    figures = (await world.kpi("queue", NOW - HOUR, NOW + HOUR))["sales"]
    assert (figures["offered"], figures["answered"], figures["handled"]) == (1, 1, 1)
    assert (figures["wait_seconds"], figures["talk_seconds"], figures["asa_seconds"]) == (0, 0, None)
    for table in ("agent_times", "agent_legs", "waits"):
        assert await count(world, table) == 0
    assert await months(world) == before
    page = await world.metrics()
    assert sample(page, "callkpi_calls_implausible_time_total", tenant="acme") == 1
    assert sample(page, "callkpi_ingest_implausible_times_total", source="native") == 3
    assert await world.findings() == []


async def test_the_journal_keeps_the_time_that_was_told(world: World) -> None:
    await tell(world, event("started", UNSET))
    (row,) = await world.pool.fetch("SELECT at, body FROM journal")
    assert (row["at"], json.loads(row["body"])["told_at"]) == (NOW, UNSET.isoformat())


async def test_an_event_of_no_time_that_comes_again_is_the_same_one(world: World) -> None:
    for minutes in (0, 1, 500):
        await tell(world, event("started", UNSET), received=NOW + minutes * MINUTE)
    assert (await count(world, "journal"), (await the_call(world)).started_at) == (1, NOW)


async def test_a_clock_that_is_a_little_ahead_is_believed_and_one_that_is_far_ahead_is_not(world: World) -> None:
    for ahead, flags in ((14 * MINUTE, ()), (16 * MINUTE, (IMPLAUSIBLE_TIME,))):
        await world.clear()
        await tell(world, event("started", NOW + ahead))
        call = await the_call(world)
        assert (call.flags, call.started_at) == (flags, NOW if flags else NOW + ahead)


async def test_the_first_day_and_the_clocks_tolerance_can_be_set(world: World) -> None:
    old = datetime(2008, 5, 5, 12, tzinfo=UTC)
    bounds = plausible.Bounds.of(config.Tenant(first_day="2008-05-05", clock_tolerance_minutes=0))
    assert bounds.holds(old, NOW) and not bounds.holds(old - DAY, NOW) and not bounds.holds(NOW + MINUTE, NOW)
    assert not plausible.Bounds.of(config.Tenant()).holds(old, NOW)


def test_settings_that_can_not_be_are_refused_with_what_to_write() -> None:
    env = {
        "CALLKPI_TENANTS__DEFAULT__LONGEST_CALL_HOURS": "72", "CALLKPI_TENANTS__DEFAULT__FIRST_DAY": "long ago",
        "CALLKPI_TENANTS__DEFAULT__CLOCK_TOLERANCE_MINUTES": "-1",
    }  # fmt: skip
    with pytest.raises(config.ConfigError) as refused:
        config.load(env=env)
    text = str(refused.value)
    assert all(key in text for key in ("longest_call_hours", 'e.g. "2010-01-01"', "clock_tolerance_minutes"))


def test_the_example_file_has_the_keys() -> None:
    assert all(key in config.example() for key in ("longest_call_hours = 24.0", "first_day =", "clock_tolerance_min"))


@pytest.mark.parametrize("seconds", [57 * 31_557_600, 24 * 3600 + 1])
@pytest.mark.parametrize("name", ["talk_ms", "hold_ms", "wrap_ms", "wait_ms", "ring_ms"])
def test_a_length_that_no_conversation_has_is_no_length(name: str, seconds: int) -> None:
    lengths = {"talk_ms": 5000, name: seconds * 1000}
    ends = {key: value for key, value in lengths.items() if key in ("talk_ms", "hold_ms", "wrap_ms")}
    begins = {key: value for key, value in lengths.items() if key in ("wait_ms", "ring_ms")}
    call = fold("c1", [
        told(Kind.STARTED, NOW, NOW),
        told(Kind.ANSWERED, NOW + MINUTE, NOW + MINUTE, agent="dana", leg="1", **begins),
        told(Kind.ENDED, NOW + 2 * MINUTE, NOW + 2 * MINUTE, agent="dana", leg="1", **ends),
        told(Kind.ENDED, NOW + 2 * MINUTE, NOW + 2 * MINUTE, cause="answered"),
    ], LIMITS, NOW + HOUR)  # fmt: skip
    assert (call.outcome, call.flags) == (Outcome.ANSWERED, (IMPLAUSIBLE_TIME,))
    assert (call.wait_ms, call.talk_ms, call.hold_ms, call.wrap_ms) == (None, None, None, None)
    assert not {"talk_ms", "wait_ms"} & {name for fact in kpi.facts(call, LIMITS) for name in fact.measures}


def test_whoever_gave_up_at_a_time_nobody_knows_gave_up_and_not_at_once() -> None:
    call = fold("c1", [told(Kind.STARTED, NOW, NOW), told(Kind.ENDED, NOW - 3 * DAY, NOW, cause="abandoned")],
                LIMITS, NOW)  # fmt: skip
    assert (call.outcome, call.wait_ms) == (Outcome.ABANDONED, None)


def test_a_longer_call_is_put_where_it_was_heard_of_whatever_the_order_of_its_events() -> None:
    years = 5 * 365 * DAY
    events = [
        told(Kind.STARTED, NOW - years, NOW),
        told(Kind.RINGING, NOW - years + MINUTE, NOW + MINUTE, agent="dana", leg="1"),
        told(Kind.ANSWERED, NOW + 2 * MINUTE, NOW + 2 * MINUTE, agent="dana", leg="1"),
        told(Kind.ENDED, NOW + 3 * MINUTE, NOW + 3 * MINUTE, cause="answered"),
    ]
    calls = [fold("c1", order, LIMITS, NOW + HOUR) for order in itertools.permutations(events)]
    assert all(call == calls[0] for call in calls)
    call = calls[0]
    assert NOW - DAY <= call.started_at <= call.last_event_at <= NOW + HOUR
    assert {fact.key.at.date() for fact in kpi.facts(call, LIMITS)} <= {NOW.date(), (NOW - DAY).date()}


def test_what_comes_days_after_a_conversation_does_not_make_it_longer() -> None:
    late = NOW + 3 * DAY
    call = fold("c1", [
        told(Kind.STARTED, NOW, NOW), told(Kind.ENDED, NOW + MINUTE, NOW + MINUTE, cause="no_answer"),
        told(Kind.RATED, late, late, rating=5), told(Kind.LINKED, late, late, linked_to="c2"),
    ], LIMITS, late)  # fmt: skip
    assert (call.flags, call.wait_ms) == ((), 60_000)


def test_a_call_that_was_heard_while_our_own_clock_was_years_ahead_is_one_of_when_it_was_right() -> None:
    later = NOW + 3652 * DAY
    call = fold("c1", [told(Kind.STARTED, later, later), told(Kind.ENDED, NOW, NOW, cause="no_answer")], LIMITS, NOW)
    assert (call.started_at, call.ended_at, call.flags) == (NOW, NOW, (IMPLAUSIBLE_TIME,))


async def test_a_rebuild_gives_the_same_tables(world: World) -> None:
    leg = {"agent": "dana", "leg": "1", "queue": "sales"}
    await tell(
        world, event("started", UNSET), event("queued", UNSET, queue="sales"), event("answered", UNSET + HOUR, **leg),
        event("ended", NOW, cause="answered"), event("started", NOW, "c2"),
        event("ended", NOW + 4 * DAY, "c2", cause="no_answer"),
        {"call_id": "", "kind": "agent_state", "agent": "dana", "state": "paused", "at": UNSET.isoformat()},
    )  # fmt: skip
    before = await world.tables()
    await refold(world.pool, world.projector, lambda _done, _total: None)
    assert await world.tables() == before
    assert await world.findings() == []


# -- agents -----------------------------------------------------------------------------------------------


async def test_a_state_of_years_is_known_as_long_as_a_state_holds(world: World) -> None:
    at = NOW - 6 * 365 * DAY
    dana = {"call_id": "", "kind": "agent_state", "agent": "dana"}
    await tell(world, {**dana, "state": "available", "at": at.isoformat()},
               {**dana, "state": "offline", "at": NOW.isoformat()})  # fmt: skip
    rows = await world.pool.fetch("SELECT sum(available_ms)::bigint AS ms, count(*) AS n FROM agent_times")
    assert rows[0]["ms"] == 16 * 3_600_000
    assert rows[0]["n"] <= 16 * 4 + 1
    assert await world.findings() == []


async def test_a_state_at_a_time_that_can_not_be_is_shown_and_gives_no_time(world: World) -> None:
    dana = {"call_id": "", "kind": "agent_state", "agent": "dana"}
    await tell(world, {**dana, "state": "available", "at": NOW.isoformat()})
    await tell(world, {**dana, "state": "paused", "at": UNSET.isoformat()}, received=NOW + 10 * MINUTE)
    assert await world.pool.fetchval("SELECT state FROM agent_states") == "paused"
    row = await world.pool.fetchrow("SELECT sum(available_ms) AS free, sum(logged_in_ms) AS there FROM agent_times")
    assert (row["free"], row["there"]) == (600_000, 600_000)


def of_an_older_version(call_id: str, at: datetime, kind: Kind = Kind.AGENT_STATE, **facts: Any) -> CallEvent:
    """An event as it was journalled before times were judged at the door."""
    return CallEvent(
        tenant="acme", source="native", call_id=call_id, kind=kind, at=at, event_id=f"{call_id}{kind}{at}",
        received_at=NOW, **facts,
    )  # fmt: skip


async def test_what_older_versions_journalled_costs_its_events_and_not_the_years_between(world: World) -> None:
    states: Sequence[CallEvent] = [
        of_an_older_version(f"{AGENT_STREAM}a{n}", at, agent=f"a{n}", state=state)
        for n in range(10) for at, state in ((UNSET, "available"), (NOW, "paused"))
    ]  # fmt: skip
    calls = [
        of_an_older_version(f"c{n}", at, kind, agent=f"a{n}", leg="1", direction=Direction.INBOUND)
        for n in range(10) for at, kind in ((UNSET, Kind.STARTED), (UNSET, Kind.ANSWERED), (NOW, Kind.ENDED))
    ]  # fmt: skip
    await world.append([*states, *calls])
    await world.project()
    assert await count(world, "agent_times") <= 10 * 2 * (16 * 4 + 2)
    (figures,) = (await world.kpi("direction", UNSET - DAY, NOW + DAY)).values()
    assert (figures["offered"], figures["talk_seconds"]) == (10, 0)
    assert await world.findings() == []


def test_quarters_in_which_nothing_is_are_passed_over() -> None:
    line = timekeeping.Line("", (timekeeping.OnPhone(to_ms(UNSET), to_ms(UNSET) + 60_000, "talking"),
                                 ))  # fmt: skip
    last = to_ms(NOW) // timekeeping.QUARTER_MS * timekeeping.QUARTER_MS
    material = timekeeping.Material(lines=[line])
    since = to_ms(UNSET) // timekeeping.QUARTER_MS * timekeeping.QUARTER_MS
    lapse = timekeeping.Lapse.of(config.Tenant())
    seen = list(timekeeping.quarters(since, last + timekeeping.QUARTER_MS, {}, material, lapse, [last]))
    assert len(seen) < 10
    assert (seen[0][1] or {})["talking_ms"] == 60_000
    assert seen[-1] == (last, None)


# -- our own clock ----------------------------------------------------------------------------------------


async def _quarters(world: World) -> list[Any]:
    rows = await world.pool.fetch("SELECT * FROM agent_times ORDER BY tenant, source, agent, at")
    return [tuple(row.values()) for row in rows]


async def test_a_clock_of_ours_that_jumps_ahead_writes_no_years_and_the_horizon_comes_back(world: World) -> None:
    settings, later = world.settings, NOW + 3652 * DAY
    dana = {"call_id": "", "kind": "agent_state", "agent": "dana"}
    talk = event("answered", NOW, agent="erik", leg="1")
    await tell(world, {**dana, "state": "available", "at": NOW.isoformat()}, talk, project=False)
    while await world.projector.project_batch():
        pass
    await timekeeping.settle(world.pool, settings, now=NOW)
    right = await _quarters(world)

    await timekeeping.settle(world.pool, settings, now=later)
    bound = 2 * (24 * 4 + 2)
    assert len(await _quarters(world)) <= bound
    await tell(world, {**dana, "state": "paused", "at": (NOW + MINUTE).isoformat()}, received=later, project=False)
    while await world.projector.project_batch():
        pass
    await timekeeping.settle(world.pool, settings, now=later + MINUTE)
    assert len(await _quarters(world)) <= bound

    after = NOW + 2 * MINUTE
    await timekeeping.settle(world.pool, settings, now=after)
    horizon = await world.pool.fetchval(store.query("agents", "horizon"))
    assert horizon == kpi.quarter(after) + timekeeping.AHEAD
    assert len(await _quarters(world)) == len(right)
    await timekeeping.settle(world.pool, settings, now=after + 3 * HOUR)
    as_it_went_on = await _quarters(world)

    await world.pool.execute("DELETE FROM agent_times; DELETE FROM agent_horizon; DELETE FROM agent_legs")
    query = "INSERT INTO agent_pending (tenants, sources, call_ids, first_at, last_at) VALUES ($1, $2, $3, $4, $5)"
    keys = (["acme"] * 2, ["native"] * 2, ["c1", "agent:dana"])
    await world.pool.execute(query, *keys, [NOW] * 2, [NOW + HOUR] * 2)
    await timekeeping.settle(world.pool, settings, now=after + 3 * HOUR)
    assert await _quarters(world) == as_it_went_on


async def test_clocks_of_two_machines_that_differ_a_little_do_not_fight(world: World) -> None:
    dana = {"call_id": "", "kind": "agent_state", "agent": "dana"}
    await tell(world, {**dana, "state": "available", "at": NOW.isoformat()}, project=False)
    while await world.projector.project_batch():
        pass
    await timekeeping.settle(world.pool, world.settings, now=NOW + 15 * MINUTE)
    ahead = await world.pool.fetchval(store.query("agents", "horizon"))
    await timekeeping.settle(world.pool, world.settings, now=NOW)
    assert await world.pool.fetchval(store.query("agents", "horizon")) == ahead


async def test_a_state_that_came_while_our_clock_was_ahead_gives_way_to_the_next_one(world: World) -> None:
    ahead = of_an_older_version(f"{AGENT_STREAM}dana", NOW + 3652 * DAY, agent="dana", state="paused")
    await world.append([replace(ahead, received_at=ahead.at, timeless=True)])
    await world.project()
    await world.append([of_an_older_version(f"{AGENT_STREAM}dana", NOW, agent="dana", state="available")])
    await world.project()
    assert await world.pool.fetchval("SELECT state FROM agent_states") == "available"
