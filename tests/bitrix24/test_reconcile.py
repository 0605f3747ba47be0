"""Bitrix24 with lost webhooks, reconciled: not one call is missing or double, and the numbers are the portal's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.bitrix24.reconciler import Reconciler
from callkpi.bitrix24.statistics import Intake
from callkpi.ingest.journal import Unstorable
from tests.stand_ins.portal import Portal, Row, Story, history, lossy, truth
from tests.world import World, sample
from tests.world import test_settings as make_settings

FORM = "application/x-www-form-urlencoded"
#: When a test begins: what has just ended is no longer so some minutes later.
NOW = datetime.now(UTC).replace(microsecond=0)
#: Fast enough for a test; the portal enforces the same.
RATE = 400.0


@pytest.fixture(autouse=True)
def the_time_of_this_test() -> None:
    global NOW
    NOW = datetime.now(UTC).replace(microsecond=0)


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
        reconciler = Reconciler(world.pool, client, intake, world.health, world.settings)
        await reconciler._remember()
        yield reconciler


async def again(reconciler: Reconciler) -> None:
    """A round in which everything is due."""
    reconciler._next_window = 0
    await reconciler._pool.execute("DELETE FROM reconcile_passes WHERE pass = 'night'")
    await reconciler.step(datetime.now(UTC))


async def awaited_since(world: World, reconciler: Reconciler, since: datetime) -> None:
    """As if this source had been reconciled since then."""
    await world.pool.execute("UPDATE reconcile_sources SET since = $1", since)
    await reconciler._remember()


def rows_of(stories: Sequence[Story]) -> list[Row]:
    return [row for story in stories for row in story.rows]


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


# -- corrections -----------------------------------------------------------------------------------------


async def one_call(world: World, portal: Portal) -> dict[str, Any]:
    await world.project()
    await_truth = await world.kpi("agent", NOW - timedelta(days=2), NOW + timedelta(days=1))
    return {name: (row["handled"], row["talk_seconds"]) for name, row in await_truth.items() if row["handled"]}


def a_row(**facts: Any) -> Row:
    at = (NOW - timedelta(hours=3)).isoformat()
    told = {"ID": "7", "CALL_ID": "A1", "CALL_TYPE": "2", "PORTAL_USER_ID": "58", "PORTAL_NUMBER": "reg7",
            "PHONE_NUMBER": "+77000000001", "CALL_DURATION": "60", "CALL_START_DATE": at,
            "CALL_FAILED_CODE": "200", "RECORD_DURATION": None}  # fmt: skip
    return {**told, **facts}


async def test_a_corrected_row_wins_and_so_does_its_correction_back(world: World, portal: Portal) -> None:
    async with reconciling(world, portal) as reconciler:
        for user, seconds in (("58", 60), ("61", 90), ("58", 60), ("61", 90), ("61", 30)):
            portal.rows = [a_row(PORTAL_USER_ID=user, CALL_DURATION=str(seconds))]
            await again(reconciler)
            assert await one_call(world, portal) == {user: (1, seconds)}
        # What no number needs is no correction.
        events = await world.pool.fetchval("SELECT count(*) FROM journal")
        portal.rows[0]["RECORD_DURATION"] = "29"
        await again(reconciler)
        assert await world.pool.fetchval("SELECT count(*) FROM journal") == events == 5
    await assert_truth(world, portal)
    assert sample(await world.metrics(), "callkpi_reconcile_rows_total", result="corrected") == 4


async def test_a_call_whose_begin_is_corrected_moves_and_is_not_double(world: World, portal: Portal) -> None:
    async with reconciling(world, portal) as reconciler:
        for hours in (3, 30, 1):
            portal.rows = [a_row(CALL_START_DATE=(NOW - timedelta(hours=hours)).isoformat())]
            await again(reconciler)
            await assert_truth(world, portal)


async def test_an_older_look_does_not_undo_a_newer_one(world: World, portal: Portal) -> None:
    """Two readers: one saw the correction and was faster, the other one comes with what was before."""
    async with reconciling(world, portal) as reconciler:
        intake, now = reconciler._intake, datetime.now(UTC)
        await intake.take([a_row(CALL_DURATION="10")], now - timedelta(seconds=90))
        await intake.take([a_row(CALL_DURATION="20")], now - timedelta(seconds=30))
        await intake.take([a_row(CALL_DURATION="10")], now - timedelta(seconds=60))
        assert await one_call(world, portal) == {"58": (1, 20)}


async def test_an_end_that_comes_after_its_row_changes_nothing(world: World, portal: Portal) -> None:
    stories = history(11, 60, NOW - timedelta(hours=20), NOW - timedelta(hours=2))
    portal.rows = rows_of(stories)
    async with reconciling(world, portal) as reconciler:
        await reconciler.step(datetime.now(UTC))
        await world.project()
        page = await world.tables()
        flags = await world.pool.fetchval("SELECT count(*) FROM calls WHERE body ->> 'flags' <> '[]'")
        await send_all(world, [body for story in stories for body in story.webhooks if b"CALLEND" in body])
        await assert_truth(world, portal)
        assert flags == await world.pool.fetchval("SELECT count(*) FROM calls WHERE body ->> 'flags' <> '[]'") == 0
        assert len(page["calls"]) == len((await world.tables())["calls"])


# -- what is not documented, and what fails -----------------------------------------------------------------


@pytest.mark.parametrize("switch", ["minus_one_counts", "ignores_id_filter"])
async def test_undocumented_paging_loses_no_call(world: World, portal: Portal, switch: str) -> None:
    setattr(portal, switch, True)
    stories = history(21, 150, NOW - timedelta(hours=30), NOW - timedelta(hours=1))
    portal.rows = rows_of(stories[:100])
    async with reconciling(world, portal) as reconciler:
        await reconciler.step(datetime.now(UTC))
        portal.rows = rows_of(stories)
        await reconciler.step(datetime.now(UTC))
        await assert_truth(world, portal)
    surprises = sample(await world.metrics(), "callkpi_reconcile_surprises_total", what="filter_ignored")
    assert bool(surprises) == (switch == "ignores_id_filter")


async def test_a_portal_without_order_is_complete_after_some_readings(world: World, portal: Portal) -> None:
    portal.ignores_order = True
    portal.rows = rows_of(history(22, 150, NOW - timedelta(hours=30), NOW - timedelta(hours=1)))
    async with reconciling(world, portal) as reconciler:
        for _ in range(8):
            await again(reconciler)
        await assert_truth(world, portal)


async def test_a_portal_that_fails_in_every_way_loses_no_call(world: World, portal: Portal) -> None:
    portal.flaky = 0.3
    stories = history(23, 200, NOW - timedelta(hours=30), NOW - timedelta(hours=1))
    portal.rows = rows_of(stories)
    async with reconciling(world, portal) as reconciler:
        await send_all(world, lossy(stories, 23, 0.5))
        await reconciler.step(datetime.now(UTC))
        await assert_truth(world, portal)


async def test_rows_that_are_registered_late_are_found(world: World, portal: Portal) -> None:
    """A connector writes a call of yesterday; an id smaller than the last one appears."""
    stories = history(24, 80, NOW - timedelta(hours=30), NOW - timedelta(hours=1))
    late, small = stories.pop(3), stories.pop(10)
    portal.rows = rows_of(stories)
    async with reconciling(world, portal) as reconciler:
        await reconciler.step(datetime.now(UTC))
        for row in late.rows:
            row["ID"] = str(int(row["ID"]) + 10_000)
        portal.rows += [*late.rows, *small.rows]
        await again(reconciler)
        await assert_truth(world, portal)


async def test_a_row_that_appears_just_behind_the_last_one_is_found_at_the_next_look(
    world: World, portal: Portal
) -> None:
    """Ids are given before rows become visible; two that are written together may appear in the other order."""
    async with reconciling(world, portal) as reconciler:
        portal.rows = [a_row(ID="1000")]
        await reconciler.step(datetime.now(UTC))
        portal.rows.append(a_row(ID="995", CALL_ID="B"))
        await reconciler.step(datetime.now(UTC))
        assert reconciler._next_window > 0
        await assert_truth(world, portal)


async def test_a_row_that_can_not_be_read_is_kept_once_and_stops_nothing(world: World, portal: Portal) -> None:
    stories = history(25, 60, NOW - timedelta(hours=30), NOW - timedelta(hours=1))
    bad = a_row(ID="900", CALL_ID="bad", CALL_START_DATE="yesterday")
    async with reconciling(world, portal) as reconciler:
        await reconciler._intake.take([bad, *rows_of(stories)], datetime.now(UTC))
        await reconciler._intake.take([bad, *rows_of(stories)], datetime.now(UTC))
        portal.rows = rows_of(stories)
        await assert_truth(world, portal)
    page = await world.metrics()
    assert sample(page, "callkpi_ingest_rejected_waiting", source="portal") == 1
    assert sample(page, "callkpi_ingest_events_total", source="portal", result="rejected") == 1
    row = await world.pool.fetchrow("SELECT payload FROM rejected")
    mended = row["payload"].replace(b"yesterday", NOW.isoformat().encode())
    assert (await world.ingest.replay("portal", "application/json", mended, datetime.now(UTC))).events == 1


SCRAPS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.none(), max_size=1),
    st.sampled_from(["\ud800", "\x00", "A\x00", "9" * 40, "\u0661", "1e999", "0", "-5", "9999-12-31T23:59:59+00:00"]),
)  # fmt: skip
SHAPES = st.fixed_dictionaries(
    {}, optional={name: SCRAPS | st.sampled_from(["1", "7", "A1", "2", "200", NOW.isoformat()]) for name in a_row()}
)  # fmt: skip


@given(st.lists(SHAPES | st.builds(lambda scrap, name: a_row(**{name: scrap}), SCRAPS, st.sampled_from([*a_row()]))))
@settings(max_examples=150)
async def test_rows_of_any_shape_stop_nothing(world: World, portal: Portal, rows: list[Row]) -> None:
    """They are rows or rejected, and what is right beside them is taken."""
    await world.clear()
    async with reconciling(world, portal) as reconciler:
        # As it came: through JSON, which knows halves of characters and numbers without end.
        told = json.loads(json.dumps([*rows, a_row(ID="77", CALL_ID="right")]))
        taken = await reconciler._intake.take(told, datetime.now(UTC))
        assert taken.rows == len(told) and taken.new >= 1
        await reconciler._intake.take(told, datetime.now(UTC))
        await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls WHERE call_id = 'right'") == 1
    assert await world.findings() == []


async def test_a_row_that_the_database_refuses_does_not_stop_the_others(
    world: World, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = world.ingest.take_fetched

    async def refusing(name: str, items: Sequence[Any], *rest: Any, **more: Any) -> Any:
        if any(item["data"]["ID"] == "666" for item in items):
            raise Unstorable("out of range")
        return await original(name, items, *rest, **more)

    monkeypatch.setattr(world.ingest, "take_fetched", refusing)
    async with reconciling(world, portal) as reconciler:
        portal.rows = [a_row(), a_row(ID="666", CALL_ID="B"), a_row(ID="700", CALL_ID="C")]
        await again(reconciler)
        portal.rows.pop(1)
        await assert_truth(world, portal)


async def test_two_reconcilers_at_once_give_the_same(world: World, portal: Portal) -> None:
    stories = history(26, 150, NOW - timedelta(hours=30), NOW - timedelta(hours=1))
    portal.rows = rows_of(stories)
    async with reconciling(world, portal) as one, reconciling(world, portal) as other:
        await asyncio.gather(
            one.step(datetime.now(UTC)), other.step(datetime.now(UTC)), send_all(world, lossy(stories, 26, 0.3))
        )
        await assert_truth(world, portal)
        rows = await world.pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'signal'")
        assert rows == len(portal.rows)


async def test_a_renamed_portal_is_remembered_over_a_restart(world: World, portal: Portal) -> None:
    """Its old address may be somebody else's one day."""
    stories = history(28, 60, NOW - timedelta(hours=5), NOW - timedelta(hours=1))
    async with Portal(rate=RATE, bucket=RATE * 25, rows=rows_of(stories)).serving() as new:
        portal.moved_to = new.origin
        async with reconciling(world, portal) as reconciler:
            await again(reconciler)
        assert portal.requests.total() == 1
        async with reconciling(world, portal) as reconciler:
            await again(reconciler)
        assert portal.requests.total() == 1
        portal.rows = new.rows
        await assert_truth(world, portal)
        # Another address in the configuration is another portal.
        async with Portal(rate=RATE, bucket=RATE * 25).serving() as third, reconciling(world, third) as reconciler:
            await again(reconciler)
            assert third.requests.total() > 1


async def test_new_calls_are_not_kept_waiting_by_a_long_pass(world: World, portal: Portal) -> None:
    stories = history(29, 400, NOW - timedelta(hours=20), NOW - timedelta(hours=1))
    live = history(30, 5, NOW - timedelta(minutes=20), NOW - timedelta(minutes=10), first_row=90_000)
    portal.rows, portal.slow_seconds = rows_of(stories), 0.05
    async with reconciling(world, portal, reconcile_seconds=0.0) as reconciler:
        round_ = asyncio.create_task(reconciler.step(datetime.now(UTC)))
        while not (window := await reconciler._passes.get("window")) or not window.rows:
            await asyncio.sleep(0.01)
        portal.rows += rows_of(live)
        while await world.pool.fetchval("SELECT count(*) FROM journal WHERE call_id = $1", live[0].call_id) == 0:
            await asyncio.sleep(0.01)
        window = await reconciler._passes.get("window")
        assert window is not None and window.finished_at is None
        await round_
        await assert_truth(world, portal)


# -- what an operator is told -------------------------------------------------------------------------------


async def test_calls_whose_webhooks_were_lost_are_counted_once(world: World, portal: Portal) -> None:
    stories = history(31, 100, NOW - timedelta(hours=10), NOW - timedelta(hours=1))
    portal.rows = rows_of(stories)
    told = [story for index, story in enumerate(stories) if index % 4]
    async with reconciling(world, portal) as reconciler:
        await awaited_since(world, reconciler, NOW - timedelta(days=1))
        await send_all(world, [body for story in told for body in story.webhooks])
        # One that has just ended: its webhook may still come.
        fresh = a_row(ID="90000", CALL_ID="fresh", CALL_START_DATE=NOW.isoformat(), CALL_DURATION="1")
        portal.rows.append(fresh)
        for _ in range(3):
            await again(reconciler)
        page = await world.metrics()
    assert sample(page, "callkpi_reconcile_calls_found_total", source="portal") == len(stories) - len(told) == 25
    assert sample(page, "callkpi_reconcile_calls_unseen", source="portal") == 0
    last = sample(page, "callkpi_reconcile_last_success_timestamp_seconds", source="portal")
    assert last is not None and abs(last - datetime.now(UTC).timestamp()) < 60
    assert sample(page, "callkpi_source_connected", tenant="acme", source="portal") == 1
    await world.pool.execute("UPDATE reconcile_sources SET last_success_at = now() - interval '11 minutes'")
    assert sample(await world.metrics(), "callkpi_source_connected", tenant="acme", source="portal") == 0


async def test_calls_from_before_the_first_reconciliation_are_not_lost_ones(world: World, portal: Portal) -> None:
    portal.rows = rows_of(history(32, 40, NOW - timedelta(hours=10), NOW - timedelta(hours=1)))
    async with reconciling(world, portal) as reconciler:
        await again(reconciler)
    assert sample(await world.metrics(), "callkpi_reconcile_calls_found_total", source="portal") == 0


async def test_history_is_in_the_reports_and_not_in_the_counters(world: World, portal: Portal) -> None:
    """Else an alert on missed calls would ring for those of yesterday."""
    old = history(33, 60, NOW - timedelta(hours=40), NOW - timedelta(hours=20))
    new = history(34, 30, NOW - timedelta(hours=5), NOW - timedelta(hours=1), first_row=50_000)
    portal.rows = rows_of([*old, *new])
    async with reconciling(world, portal) as reconciler:
        await awaited_since(world, reconciler, NOW - timedelta(hours=10))
        await reconciler.step(datetime.now(UTC))
        await assert_truth(world, portal)
    counted = truth(rows_of(new)).inbound.total()
    assert sample(await world.metrics(), "callkpi_company_calls_offered_total") == counted


async def test_missing_rights_are_told(world: World, portal: Portal) -> None:
    """The owner of the webhook may see his own calls only; the webhooks tell of more."""
    stories = history(35, 60, NOW - timedelta(hours=10), NOW - timedelta(hours=1))
    portal.rows, portal.visible_users = rows_of(stories), {"58"}
    hidden = {row["CALL_ID"] for row in portal.rows} - {
        row["CALL_ID"] for row in portal.rows if row["PORTAL_USER_ID"] == "58"
    }
    async with reconciling(world, portal) as reconciler:
        await send_all(world, [body for story in stories for body in story.webhooks])
        await world.project()
        await again(reconciler)
        page = await world.metrics()
        assert sample(page, "callkpi_reconcile_calls_unseen", source="portal") == len(hidden)
        assert sample(page, "callkpi_reconcile_surprises_total", what="unseen") == 1
        portal.visible_users = None
        await again(reconciler)
        assert sample(await world.metrics(), "callkpi_reconcile_calls_unseen", source="portal") == 0


async def test_a_portal_that_can_not_send_is_polled_alone(world: World, portal: Portal) -> None:
    stories = history(36, 60, NOW - timedelta(hours=10), NOW - timedelta(hours=1))
    portal.rows = rows_of(stories)
    async with reconciling(world, portal, application_tokens=()) as reconciler:
        await again(reconciler)
        await assert_truth(world, portal)
    page = await world.metrics()
    # The source speaks by what is read of it, and nothing was lost because nothing was sent.
    assert sample(page, "callkpi_source_last_received_timestamp_seconds", source="portal") is not None
    assert sample(page, "callkpi_reconcile_calls_found_total", source="portal") is None


async def test_what_is_fetched_does_not_hide_that_the_webhooks_are_silent(world: World, portal: Portal) -> None:
    portal.rows = rows_of(history(37, 10, NOW - timedelta(hours=10), NOW - timedelta(hours=1)))
    async with reconciling(world, portal) as reconciler:
        await again(reconciler)
    assert sample(await world.metrics(), "callkpi_source_last_received_timestamp_seconds", source="portal") is None


async def test_errors_are_counted_by_what_they_were(world: World, portal: Portal) -> None:
    portal.denied = "expired_token"
    async with reconciling(world, portal) as reconciler:
        lock = await asyncpg.connect(**_place(world))
        running = asyncio.create_task(reconciler.run(lock))
        while not reconciler._health._values["reconcile_errors", "portal", "expired_token"]:
            await asyncio.sleep(0.01)
        running.cancel()
        await lock.close()
        assert portal.requests.total() == 1
    page = await world.metrics()
    assert sample(page, "callkpi_reconcile_errors_total", source="portal", reason="expired_token") == 1


def _place(world: World) -> dict[str, Any]:
    return {"dsn": world.pool._connect_args[0]}


# -- names ---------------------------------------------------------------------------------------------------


async def test_the_portals_names_are_shown_where_the_configuration_has_none(world: World, portal: Portal) -> None:
    portal.rows = [
        a_row(ID=str(n), CALL_ID=f"n{n}", PORTAL_USER_ID=user) for n, user in enumerate(("12", "58", "61"), 1)
    ]
    async with reconciling(world, portal) as reconciler:
        tenant = replace(world.settings.tenants["acme"], agents={"12": config.Named("Boss"), "58": config.Named()})
        world.settings = replace(world.settings, tenants={"acme": tenant})
        world.reports = type(world.reports)(world.pool, world.settings)
        await again(reconciler)
        await world.project()
        window = (NOW - timedelta(days=1), NOW + timedelta(days=1))
        agents = await world.kpi("agent", *window)
        # Two Ivan Petrovs are two agents, of whom the second shows his number.
        assert {name for name, row in agents.items() if row["handled"]} == {"Boss", "Ivan Petrov", "Ivan Petrov (61)"}
        assert set(await world.kpi("line", *window)) == {"Main line"}
        assert set(await world.kpi("agent", *window, agent="Ivan Petrov (61)")) == {"Ivan Petrov (61)"}
        shown = await world.pool.fetch("SELECT shown FROM view_names WHERE (kind, name) = ('agent', 'portal:61')")
        assert [row["shown"] for row in shown] == ["Ivan Petrov (61)"]
        page = await world.metrics()
        assert sample(page, "callkpi_agent_handled_total", agent="Ivan Petrov (61)") is None  # history
        assert sample(page, "callkpi_reconcile_requests_total", result="ok") == portal.requests.total()


async def test_a_right_that_is_missing_for_names_costs_only_these(world: World, portal: Portal) -> None:
    portal.missing_scopes = {"user.get"}
    portal.rows = rows_of(history(38, 20, NOW - timedelta(hours=10), NOW - timedelta(hours=1)))
    async with reconciling(world, portal) as reconciler:
        await again(reconciler)
        await assert_truth(world, portal)
    kinds = {row["kind"] for row in await world.pool.fetch("SELECT DISTINCT kind FROM portal_names")}
    assert kinds == {"line", "department"}
    assert sample(await world.metrics(), "callkpi_reconcile_surprises_total", what="no_agent_names") == 1
