"""What alerts are decided on: business time by the calendar, and exact windows of calls by their own time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calendar import business
from callkpi.calls import facts
from callkpi.database import store
from callkpi.figures import recent
from callkpi.health import Health
from callkpi.metrics.exporter import Exporter
from tests.stand_ins.recent_calls import call, send
from tests.world import World, sample, test_settings

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = dict.fromkeys(config.WEEKDAYS, "09:00-18:00")
SHOP = config.Tenant(
    timezone="Europe/Berlin", business_hours={**WEEK, "sun": ""} | {"sat": "10:00-14:00"}, holidays=("2026-11-06",)
)
NIGHT = config.Tenant(timezone="Europe/Berlin", business_hours=dict.fromkeys(config.WEEKDAYS, "22:00-06:00"))
ROUND_THE_CLOCK = config.Tenant(timezone="Europe/Berlin", business_hours=dict.fromkeys(config.WEEKDAYS, "00:00-24:00"))


#: A moment of a working day. Its half hour begins at a quarter to, its hour at a quarter past.
NOW = datetime(2026, 11, 24, 10, 7, tzinfo=UTC)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


# -- business time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tenant", "now", "opened"),
    [
        (SHOP, "2026-11-24T09:00", "2026-11-24T09:00"),
        (SHOP, "2026-11-24T08:59:59", None),
        (SHOP, "2026-11-24T18:00", None),
        (SHOP, "2026-11-28T10:30", "2026-11-28T10:00"),
        (SHOP, "2026-11-29T10:30", None),
        (SHOP, "2026-11-06T10:30", None),
        (NIGHT, "2026-11-24T02:00", "2026-11-23T22:00"),
        (NIGHT, "2026-10-25T04:00", "2026-10-24T22:00"),  # the night that is an hour longer
        (ROUND_THE_CLOCK, "2026-11-24T00:01", "2026-11-17T00:01"),  # no opening at midnight
    ],
)
def test_when_the_opening_began(tenant: config.Tenant, now: str, opened: str | None) -> None:
    assert business.opened_at(tenant, local(now)) == (local(opened) if opened else None)


def test_a_longer_night_works_an_hour_more() -> None:
    assert business.worked(NIGHT, local("2026-10-24T20:00"), local("2026-10-25T09:00")) == timedelta(hours=9)
    assert business.worked(NIGHT, local("2026-10-26T20:00"), local("2026-10-27T09:00")) == timedelta(hours=8)


def test_business_time_passes_over_night_weekend_and_holiday() -> None:
    friday, monday = local("2026-11-27T17:30"), local("2026-11-30T09:15")
    assert business.worked(SHOP, friday, monday) == timedelta(minutes=30 + 4 * 60 + 15)
    assert business.worked_ago(SHOP, monday, timedelta(minutes=30 + 4 * 60 + 15)) == friday
    assert business.worked(SHOP, local("2026-11-05T17:00"), local("2026-11-07T11:00")) == timedelta(hours=2)


@given(
    st.integers(0, 365 * 24 * 60).map(lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)),
    st.sampled_from([SHOP, NIGHT, ROUND_THE_CLOCK, config.Tenant()]),
)
def test_spans_are_the_calendar(at: datetime, tenant: config.Tenant) -> None:
    told = list(business.spans(tenant, at - timedelta(days=3), at + timedelta(days=3)))
    assert any(begin <= at < end for begin, end in told) == config.is_open(tenant, at)
    edges = [edge for span in told for edge in span]
    assert edges == sorted(set(edges))


def test_the_same_hour_of_weeks_before_is_by_the_clock_on_the_wall() -> None:
    assert business.weeks_before(SHOP, local("2026-10-27T10:00"), 1) == local("2026-10-20T10:00")
    assert local("2026-10-27T10:00") - local("2026-10-20T10:00") != timedelta(weeks=1)


# -- windows ----------------------------------------------------------------------------------------------


def half_hour(page: str, name: str, **labels: str) -> float | None:
    return sample(page, f"callkpi_recent_{name}", window="half_hour", **labels)


async def test_who_talks_is_answered_and_who_waits_is_not_judged(world: World) -> None:
    at = NOW - timedelta(seconds=200)
    await send(
        world,
        call(1, at, answered=5), call(2, at, answered=5, over=False), call(3, at, answered=60),
        call(4, at, wait=90), call(5, at, wait=2), call(6, at, over=False),
    )  # fmt: skip
    page = await world.metrics(now=NOW)
    told = {name: half_hour(page, name, queue="sales") for name in ("answered", "missed", "abandoned")}
    assert told == {"answered": 3, "missed": 2, "abandoned": 1}
    # Within T: 1 and 2; decided and not short: 1, 2, 3, 4.
    assert half_hour(page, "service_level_ratio", queue="sales") == pytest.approx(2 / 4)
    assert sample(page, "callkpi_company_recent_missed", window="half_hour") == 2
    assert sample(page, "callkpi_service_level_target_seconds", queue="sales") == 20


async def test_a_burst_of_old_calls_moves_counters_and_no_window(world: World) -> None:
    await send(world, call("live", NOW - timedelta(minutes=3), wait=40))
    before = await world.metrics(now=NOW)
    old = [call(n, NOW - timedelta(days=1, minutes=n), wait=60) for n in range(200)]
    await send(world, *old)
    after = await world.metrics(now=NOW)
    assert sample(after, "callkpi_calls_missed_total", queue="sales") == 201
    for window in recent.WINDOWS:
        for name in ("missed", "answered", "abandoned", "service_level_ratio"):
            told = f"callkpi_recent_{name}"
            assert sample(after, told, window=window) == sample(before, told, window=window), (name, window)


SHOP_HOURS: dict[str, Any] = {"timezone": "Europe/Berlin", "business_hours": SHOP.business_hours,
                              "holidays": SHOP.holidays}  # fmt: skip


async def test_windows_begin_at_the_opening(world: World) -> None:
    world = World(world.pool, test_settings(**SHOP_HOURS))
    async with world.running():
        opening = local("2026-11-20T09:00")
        await send(
            world,
            call("early", opening - timedelta(minutes=10), answered=200),
            call("first", opening + timedelta(minutes=1), wait=50),
        )
        page = await world.metrics(now=opening + timedelta(minutes=4))
        for window in recent.WINDOWS:
            told = {n: sample(page, f"callkpi_recent_{n}", window=window) for n in ("answered", "missed")}
            assert told == {"answered": 0, "missed": 1}
        assert sample(page, "callkpi_business_open_seconds") == 240
        page = await world.metrics(now=opening - timedelta(minutes=4))
        assert sample(page, "callkpi_business_open_seconds") == 0


async def test_usual_is_the_same_hour_of_the_weeks_before_without_holidays(world: World) -> None:
    """20 November: the 6th was a holiday, the clocks changed on 25 October, four weeks are enough."""
    world = World(world.pool, test_settings(**SHOP_HOURS))
    now = local("2026-11-20T11:20")
    async with world.running():
        sent = []
        for day, answered, missed in (("2026-11-13", 6, 2), ("2026-11-06", 0, 50), ("2026-10-30", 8, 0),
                                      ("2026-10-23", 10, 4), ("2026-10-16", 100, 100)):  # fmt: skip
            begin = local(f"{day}T10:50")
            sent += [call(f"{day}a{n}", begin, answered=5) for n in range(answered)]
            sent += [call(f"{day}m{n}", begin, wait=50) for n in range(missed)]
            sent += [call(f"{day}x{n}", begin - timedelta(hours=1), wait=50) for n in range(5)]
        await send(world, *sent)
        page = await world.metrics(now=now)
        told = {name: sample(page, f"callkpi_usual_{name}", queue="sales") for name in ("answered", "missed")}
        assert told == {"answered": pytest.approx(24 / 3), "missed": pytest.approx(6 / 3)}


async def test_what_is_usual_moves_on_with_the_quarter_of_an_hour(world: World) -> None:
    now = NOW.replace(minute=20)
    sent = [call(week, now - timedelta(weeks=week, minutes=n), wait=50) for week in (1, 2) for n in (3,)]
    await send(world, *sent)
    exporter = Exporter(world.pool, world.settings)
    told = []
    for minutes in (0, 5, 15, 60):
        page, _ = await exporter.scrape("", now + timedelta(minutes=minutes))
        told.append(sample(page.decode(), "callkpi_usual_missed", queue="sales"))
    assert told == [1, 1, 1, None]


async def test_one_week_makes_nothing_usual(world: World) -> None:
    await send(world, call(1, NOW - timedelta(days=7, minutes=1), wait=50))
    assert sample(await world.metrics(now=NOW), "callkpi_usual_missed") is None


async def test_untried_customers_age_in_business_time(world: World) -> None:
    world = World(world.pool, test_settings(**SHOP_HOURS))
    monday = local("2026-11-23T09:10")
    async with world.running():
        await send(
            world,
            call("friday", local("2026-11-20T17:40"), customer="+4930000001"),
            call("hidden", local("2026-11-20T17:30")),
            call("tried", local("2026-11-20T17:20"), customer="+4930000002"),
            [{"call_id": "back", "kind": "started", "direction": "outbound", "customer": "+4930000002",
              "at": local("2026-11-20T17:50").timestamp()},
             {"call_id": "back", "kind": "ended", "at": local("2026-11-20T17:51").timestamp()}],
            call("tried, missed again", local("2026-11-23T09:05"), customer="+4930000002"),
            call("last week", local("2026-11-17T11:00"), customer="+4930000003"),
        )  # fmt: skip
        page = await world.metrics(now=monday)
        assert sample(page, "callkpi_missed_untried", queue="sales") == 2
        # 20 minutes of Friday, 4 hours of Saturday, 10 minutes of Monday.
        assert sample(page, "callkpi_missed_untried_oldest_seconds", queue="sales") == (20 + 240 + 10) * 60
        # A working day later friday's is left to the work list.
        assert sample(await world.metrics(now=local("2026-11-23T17:00")), "callkpi_missed_untried") == 1


def test_a_window_covers_a_quarter_of_an_hour_at_least() -> None:
    tenant = config.Tenant()
    for minute in range(60):
        now = datetime(2026, 11, 24, 10, minute, 59, tzinfo=UTC)
        begins, ends = next((b, e) for name, b, e in recent._plan(tenant, now) if name == "half_hour")
        assert begins <= now - facts.INTERVAL < now < ends


# -- what is counted while the database is away -----------------------------------------------------------


async def test_failures_counted_while_the_database_was_away_are_told_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    health, original = Health(), store.query
    health.count("journal_failures")
    health.observe("journal_append_seconds", 0.02)
    now = datetime.now(UTC)
    health.heard("pbx", now, now)
    for broken in ("add_health", "note_sources"):
        monkeypatch.setattr(store, "query", lambda f, n, b=broken: "SELECT 1/0" if n == b else original(f, n))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await health.flush(world.pool)
        health.count("journal_failures")
    monkeypatch.setattr(store, "query", original)
    await health.flush(world.pool)
    page = await world.metrics()
    assert sample(page, "callkpi_journal_failures_total") == 3
    assert sample(page, "callkpi_journal_append_seconds_count") == 1
    assert sample(page, "callkpi_source_last_event_timestamp_seconds", source="pbx") == pytest.approx(now.timestamp())


async def test_a_tenant_that_was_taken_out_of_the_configuration_breaks_nothing(world: World) -> None:
    await send(world, call(1, datetime.now(UTC) - timedelta(minutes=2), wait=50, customer="+77010000001"))
    world.settings = config.Settings()
    page = await world.metrics()
    assert "callkpi_recent_missed{" not in page
    assert sample(page, "callkpi_service_level_target_seconds", tenant="default") == 20


async def test_without_a_database_the_page_says_that_and_what_the_calendar_says(pool: asyncpg.Pool) -> None:
    page, content_type = await Exporter(pool, test_settings()).without_database("")
    text = page.decode()
    assert content_type.startswith("text/plain")
    assert (sample(text, "callkpi_database_up"), sample(text, "callkpi_scrape_late")) == (0, 0)
    assert sample(text, "callkpi_build_info") == 1
    assert sample(text, "callkpi_business_open_seconds", tenant="acme") == 7 * 86_400
    assert "callkpi_calls" not in text


async def test_with_a_database_it_says_so(world: World) -> None:
    assert sample(await world.metrics(), "callkpi_database_up") == 1


async def test_reading_the_windows_is_cheap(world: World) -> None:
    """Fifty queues, five outcomes, four weeks: some milliseconds of a scrape."""
    await world.pool.execute(
        "INSERT INTO rollups (tenant, grain, at, queue, agent, line, direction, outcome, offered, answered) "
        "SELECT 'acme', 'entry', date_bin('15 min', now(), '2000-01-01') - q * interval '15 min' - w * interval '7 d', "
        "'q' || n, '', '', 'inbound', o, 5, 5 FROM generate_series(0, 30) q, generate_series(0, 4) w, "
        "generate_series(1, 50) n, unnest(ARRAY['answered', 'abandoned', 'timed_out', 'open', 'short_abandon']) o"
    )
    await world.pool.execute("ANALYZE rollups")
    fetch = lambda file, name, *args: world.pool.fetch(store.query(file, name), *args)  # noqa: E731
    reader, took = recent.Reader(world.settings.tenants), []
    for _ in range(7):
        begin = time.perf_counter()
        told = await reader.read(fetch, datetime.now(UTC))
        took.append(time.perf_counter() - begin)
    assert len(told.windows) == (len(recent.WINDOWS) + recent.USUAL_WEEKS) * 50
    print(f"windows read in {sorted(took)[3] * 1000:.1f} ms")
    assert sorted(took)[3] < 0.1
