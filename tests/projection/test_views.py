"""The SQL views: every figure equals the API's, and the role that reads them can do nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pogo_core.migration import Migration

from callkpi import config
from callkpi.calls.model import CallEvent
from callkpi.calls.phone import mask
from callkpi.config import ServiceLevelFormula
from callkpi.database import embedded, migrations, store
from callkpi.people.presence import Times
from callkpi.projection import views
from tests.stand_ins.readers import connect_reader, publish, use, with_password
from tests.stand_ins.truth import BEGIN, END, FILES, TRUTH
from tests.strategies import EPOCH, traffic
from tests.world import World, capture_lines, retimed, sample, test_settings

ALMATY = ZoneInfo("Asia/Almaty")
NAMES = {
    "queues": {"sales": config.Queue(name="Продажи"), "vip": config.Queue(name="VIP")},
    "agents": {"Dana": config.Named(name="Dana A."), "Marat": config.Named(name="Dana A.")},
    "lines": {"7172700400": config.Named(name="Direct")},
}
#: The recording's own five minutes, stretched over two hours and the centre's midnight (19:00 UTC).
STRETCHED = (datetime(2026, 11, 23, 18, 7, 3, tzinfo=UTC), 22)
#: Windows of it: whole, cut at any second, within one quarter, over midnight, empty.
WINDOWS = [
    (BEGIN, END),
    (datetime(2026, 11, 23, 18, 20, 13, 250_000, tzinfo=UTC), datetime(2026, 11, 23, 19, 21, 7, tzinfo=UTC)),
    (datetime(2026, 11, 23, 18, 31, 1, tzinfo=UTC), datetime(2026, 11, 23, 18, 44, 9, tzinfo=UTC)),
    (datetime(2026, 11, 23, 18, 58, tzinfo=UTC), datetime(2026, 11, 23, 19, 15, tzinfo=UTC)),
    (datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)),
]
_NO_CALLS = {"agent", "pauses", "resumes", "logins", "logouts", *Times().as_row()}
BY = ("queue", "agent", "line", "direction", "outcome")


@pytest.fixture
async def reader(world: World, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection as Grafana has it, to a store that knows its settings."""
    world = use(world, test_settings(**NAMES))
    await publish(world)
    connection = await connect_reader(dsn)
    yield connection
    await connection.close()


async def replay(world: World, begin: datetime = STRETCHED[0], factor: float = STRETCHED[1]) -> None:
    """The recording, as if it had begun at *begin* and had taken *factor* times as long."""
    await world.send_lines("pbx", retimed(capture_lines(FILES["pbx"]), begin, factor))
    await world.project()


async def kpi(reader: asyncpg.Connection, *arguments: Any) -> list[dict[str, Any]]:
    places = ", ".join(f"${i + 1}" for i in range(len(arguments)))
    return [dict(row) for row in await reader.fetch(f"SELECT * FROM callkpi_views.kpi({places})", *arguments)]


def only_figures(row: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in wanted if name in row}


async def expect_api(world: World, reader: asyncpg.Connection, begin: datetime, end: datetime) -> int:
    """Every KPI by every dimension is the API's. Returns how many figures that were."""
    compared = 0
    for by in BY:
        answer = await world.figures(by, begin, end)
        found = {row["name"]: row for row in await kpi(reader, "acme", begin, end, by)}
        assert found.keys() <= {row[by] for row in answer["rows"]}
        for row in answer["rows"]:
            if row[by] not in found:
                # An agent who only paused: he is in the function of agents.
                assert by == "agent" and not any(value for name, value in row.items() if name not in _NO_CALLS), row
                continue
            told = only_figures(found[row[by]], row)
            assert len(told) >= 40
            assert told == {name: row[name] for name in told}, (by, row[by])
            compared += len(told)
        total = {"queue": "queues", "line": "total"}.get(by)
        if total:
            (one,) = await kpi(reader, "acme", begin, end, total)
            assert only_figures(one, answer["total"]) == answer["total"]
    return compared


@pytest.mark.parametrize("window", WINDOWS, ids=["whole", "cut", "one quarter", "midnight", "empty"])
async def test_every_kpi_of_a_window_is_the_api_s(
    world: World, reader: asyncpg.Connection, window: tuple[datetime, datetime]
) -> None:
    await replay(world)
    compared = await expect_api(world, reader, *window)
    assert compared > 500 or window == WINDOWS[-1]


async def test_the_views_give_the_truth_that_was_counted_beside_the_recording(
    world: World, reader: asyncpg.Connection
) -> None:
    await world.send_lines("pbx", capture_lines(FILES["pbx"]))
    await world.project()
    shown = {name: NAMES["queues"][name].name if name in NAMES["queues"] else name for name in TRUTH["queues"]}
    rows = {row["name"]: row for row in await kpi(reader, "acme", BEGIN, END, "queue")}
    for name, truth in TRUTH["queues"].items():
        row = rows[shown[name]]
        assert (row["offered"], row["answered"], row["exited"], row["talk_seconds"]) == (
            truth["entered"], truth["answered"], truth.get("exitwithkey", 0), truth["talk_s"],
        )  # fmt: skip


@given(
    traffic(),
    st.lists(st.integers(0, 30 * 3600 * 1000), min_size=2, max_size=2, unique=True),
    st.sampled_from(list(ServiceLevelFormula)),
)
async def test_formulas_in_sql_and_in_python_agree_on_random_calls(
    world: World, dsn: str, events: list[CallEvent], cuts: list[int], formula: ServiceLevelFormula
) -> None:
    await world.clear()
    use(world, test_settings(service_level_formula=formula))
    await publish(world)
    await world.append(events)
    await world.project()
    begin, end = (EPOCH - timedelta(hours=1) + timedelta(milliseconds=cut) for cut in sorted(cuts))
    reader = await connect_reader(dsn)
    try:
        await expect_api(world, reader, begin, end)
    finally:
        await reader.close()


async def test_days_and_intervals_are_the_api_s_windows_in_the_centre_s_zone(
    world: World, reader: asyncpg.Connection
) -> None:
    await replay(world)
    days = await reader.fetch("SELECT * FROM callkpi_views.days WHERE tenant = 'acme' ORDER BY day, by, name")
    assert {str(row["day"]) for row in days if row["offered"]} == {"2026-11-23", "2026-11-24"}
    for row in days:
        begin = datetime.combine(row["day"], datetime.min.time(), ALMATY)
        await expect_row(world, row, begin, begin + timedelta(days=1))
    quarters = await reader.fetch(
        "SELECT * FROM callkpi_views.intervals WHERE tenant = 'acme' AND by IN ('queue', 'agent', 'line', 'direction')"
    )
    assert len(quarters) > 50
    for row in quarters:
        await expect_row(world, row, row["at"], row["at"] + timedelta(minutes=15))


async def expect_row(world: World, row: Any, begin: datetime, end: datetime) -> None:
    by = {"total": "line", "queues": "queue"}.get(row["by"], row["by"])
    answer = await world.figures(by, begin.astimezone(UTC), end.astimezone(UTC))
    rows = {each[by]: each for each in answer["rows"]}
    wanted = answer["total"] if row["by"] in ("total", "queues") else rows[row["name"]]
    told = only_figures(dict(row), wanted)
    assert len(told) >= 40 and told == {name: wanted[name] for name in told}


async def test_steps_of_a_window_add_up_over_a_change_of_clocks(world: World, dsn: str) -> None:
    """Berlin's clocks went back on 2026-10-25: the day has 25 hours, two of them called two o'clock."""
    use(world, test_settings(timezone="Europe/Berlin"))
    await publish(world)
    first = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)
    for hour in range(26):
        at = (first + timedelta(hours=hour)).timestamp()
        call = {"call_id": f"c{hour}", "queue": "sales", "direction": "inbound"}
        await world.send_json("native", {**call, "kind": "queued", "at": at}, {**call, "kind": "ended", "at": at + 60})
    await world.project()
    reader = await connect_reader(dsn)
    window = (datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
    hours = await kpi(reader, "acme", *window, "total", "hour")
    days = await kpi(reader, "acme", *window, "total", "day")
    await reader.close()
    assert [row["offered"] for row in hours] == [1] * 26
    assert [row["offered"] for row in days] == [25, 1]
    assert all(later["at"] - sooner["at"] == timedelta(hours=1) for sooner, later in pairwise(hours))


async def test_fates_and_the_missed_funnel_are_the_api_s(world: World, reader: asyncpg.Connection) -> None:
    await replay(world)
    for by in ("queue", "line"):
        rows = await reader.fetch("SELECT * FROM callkpi_views.fates('acme', $1, $2, $3)", BEGIN, END, by)
        answer = await world.kpi(by, BEGIN, END)
        for row in rows:
            told = {name: value for name, value in row.items() if name != "name"}
            assert told == only_figures(answer[row["name"]], told)
        assert sum(row["still_waiting"] + row["written_off"] + row["self_served"] for row in rows) > 0
    inbound = (await world.kpi("direction", BEGIN, END))["inbound"]
    branch = await reader.fetch("SELECT * FROM callkpi_views.missed_funnel('acme', $1, $2)", BEGIN, END)
    assert {row["stage"]: row["calls"] for row in branch} == only_figures(inbound, {r["stage"]: 0 for r in branch})
    assert branch[0]["of_first"] == 1 and len(branch) == 6


async def test_the_funnel_is_the_api_s_with_its_shares(world: World, reader: asyncpg.Connection) -> None:
    await replay(world)
    total = (await world.figures("line", BEGIN, END))["total"]
    rows = await reader.fetch("SELECT * FROM callkpi_views.funnel('acme', $1, $2)", BEGIN, END)
    stages = ("offered", "queued", "rung", "answered", "talked")
    assert [(row["stage"], row["calls"]) for row in rows] == [(stage, total[stage]) for stage in stages]
    for before, row in pairwise(rows):
        assert row["of_previous"] == row["calls"] / before["calls"]
        assert row["of_first"] == row["calls"] / rows[0]["calls"]
    sales = await reader.fetch("SELECT * FROM callkpi_views.funnel('acme', $1, $2, $3)", BEGIN, END, ["Продажи"])
    assert sales[0]["calls"] == TRUTH["queues"]["sales"]["entered"]


async def test_agents_with_their_pauses_are_the_api_s(world: World, reader: asyncpg.Connection) -> None:
    await replay(world)
    for window in WINDOWS[:4]:
        rows = await reader.fetch("SELECT * FROM callkpi_views.agents('acme', $1, $2)", *window)
        answer = await world.kpi("agent", *window)
        assert {row["agent"] for row in rows} == answer.keys()
        for row in rows:
            told = {name: value for name, value in row.items() if name != "agent"}
            assert told == only_figures(answer[row["agent"]], told)
    assert {row["agent"] for row in rows} >= {"Dana A."}


async def test_the_work_list_is_the_api_s_without_numbers(world: World, reader: asyncpg.Connection) -> None:
    now = datetime.now(UTC).timestamp()
    ages = {
        "+77010000001": 600,
        "+77010000002": 3 * 3600,
        "+77010000003": 30 * 3600,
        "": 900,
        "+77010000009": 8 * 86400,
    }
    for number, (customer, ago) in enumerate(ages.items()):
        call = {"call_id": f"c{number}", "queue": "sales", "direction": "inbound", "customer": customer}
        at = now - ago
        await world.send_json("native", {**call, "kind": "queued", "at": at}, {**call, "kind": "ended", "at": at + 30})
    await world.project()
    rows = await reader.fetch("SELECT * FROM callkpi_views.missed WHERE tenant = 'acme' ORDER BY first_missed_at")
    items = await world.reports.missed("acme")
    assert [row["age_class"] for row in rows] == ["older", "today", "fresh", "fresh"]
    assert len(rows) == len(items) == 4
    for row, item in zip(rows, items, strict=True):
        assert row["customer"] == mask(item["customer"])
        assert row["waiting_seconds"] == pytest.approx(item["waiting_seconds"], abs=5)
        for name in ("calls", "hidden_number", "queue", "line", "outcome", "fate", "last_call"):
            assert row[name] == item[name]
    await publish(use(world, test_settings(numbers_in_views=config.NumbersShown.FULL)))
    shown = await reader.fetch("SELECT customer FROM callkpi_views.missed ORDER BY first_missed_at")
    assert [row["customer"] for row in shown] == [item["customer"] for item in items]


async def test_missed_by_weekday_and_hour_adds_up_from_the_api_s_hours(
    world: World, reader: asyncpg.Connection
) -> None:
    await replay(world)
    rows = await reader.fetch("SELECT * FROM callkpi_views.missed_by_hour('acme', $1, $2)", BEGIN, END)
    told = {(row["weekday"], row["hour"]): (row["offered"], row["missed"], row["missed_share"]) for row in rows}
    wanted = {}
    assert len(told) == 2
    for hours in range(3):
        begin = BEGIN + timedelta(hours=hours)
        total = (await world.figures("line", begin, begin + timedelta(hours=1)))["total"]
        local = begin.astimezone(ALMATY)
        if total["offered"] or (local.isoweekday(), local.hour) in told:
            wanted[local.isoweekday(), local.hour] = (total["offered"], total["missed"], total["missed_share"])
    assert told == wanted and sum(missed for _, missed, _ in told.values()) > 50


async def test_the_shift_summary_compares_with_the_day_the_week_and_the_shift_before(
    world: World, reader: asyncpg.Connection
) -> None:
    await replay(world)
    capture_day = timedelta(days=1)
    for against, shift in (("day", capture_day), ("week", 7 * capture_day), ("shift", END - BEGIN)):
        begin, end = BEGIN + shift, END + shift
        assert await _summary(world, reader, (begin, end), (BEGIN, END), against) > 10
        assert await _summary(world, reader, (BEGIN, END), (BEGIN - shift, END - shift), against) > 10
    rows = await reader.fetch("SELECT * FROM callkpi_views.compare('acme', $1, $2, 'shift', 'queue')", *WINDOWS[1])
    now = await world.kpi("queue", *WINDOWS[1])
    before = await world.kpi("queue", WINDOWS[1][0] - (WINDOWS[1][1] - WINDOWS[1][0]), WINDOWS[1][0])
    for row in rows:
        told = {name: value for name, value in row.items() if name != "name" and not name.endswith("_before")}
        assert told == only_figures(now[row["name"]], told)
        if row["name"] in before:
            assert {n: row[f"{n}_before"] for n in told} == only_figures(before[row["name"]], told)
    assert len(rows) == 3


async def _summary(
    world: World, reader: asyncpg.Connection, window: tuple[datetime, ...], earlier: tuple[datetime, ...], against: str
) -> int:
    now = (await world.figures("line", *window))["total"]
    before = (await world.figures("line", *earlier))["total"]
    rows = await reader.fetch("SELECT * FROM callkpi_views.shift_summary('acme', $1, $2, $3)", *window, against)
    for row in rows:
        value, was = now[row["kpi"]], before[row["kpi"]]
        assert (row["value"], row["before"]) == (value, was), row["kpi"]
        assert row["change"] == (None if value is None or was is None else value - was)
        relative = row["unit"] != "share" and value is not None and was
        assert row["change_share"] == ((value - was) / was if relative else None)
    return len(rows)


async def test_agents_now_are_the_ones_that_prometheus_counts(world: World, reader: asyncpg.Connection) -> None:
    await replay(world)
    page = await world.metrics()
    counted = await reader.fetch("SELECT queue, state, count(*) AS n FROM callkpi_views.agents_now GROUP BY 1, 2")
    assert len(counted) > 2
    for row in counted:
        assert sample(page, "callkpi_agents", queue=row["queue"], state=row["state"]) == row["n"]


async def test_the_age_of_a_working_day_is_the_longest_day_of_the_centre() -> None:
    assert views.working_day(config.Tenant()) == timedelta(hours=8)
    hours = {"mon": "09:00-18:00", "sat": "22:00-08:00"}
    assert views.working_day(config.Tenant(business_hours=hours)) == timedelta(hours=10)


@given(st.text("0123456789+•ab", max_size=16))
async def test_the_mask_is_the_one_of_every_other_screen(pool: asyncpg.Pool, number: str) -> None:
    assert await pool.fetchval("SELECT callkpi_views.mask($1)", number) == mask(number)


# -- who may read ----------------------------------------------------------------------------------------


async def test_the_reader_reads_views_and_nothing_else(world: World, reader: asyncpg.Connection) -> None:
    await replay(world)
    tables = await world.pool.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('callkpi', 'public') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')"
    )
    assert len(tables) > 15
    for row in tables:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.fetch(f"SELECT * FROM {row['name']}")
    seen = await world.pool.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'callkpi_views' AND c.relkind = 'v'"
    )
    for row in seen:
        assert await reader.fetch(f"SELECT * FROM {row['name']} LIMIT 1") is not None
        for column in await reader.fetch(f"SELECT to_jsonb(v)::text AS row FROM {row['name']} v"):
            assert "+7701" not in column["row"] or "•••" in column["row"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT callkpi.prepare_reader()")
    rights = await reader.fetchrow(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    assert not any(rights.values())


async def test_the_reader_writes_nothing_even_if_he_lifts_his_own_brake(
    world: World, reader: asyncpg.Connection
) -> None:
    assert await reader.fetchval("SHOW default_transaction_read_only") == "on"
    assert await reader.fetchval("SHOW statement_timeout") == "30s"
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.execute("CREATE TABLE mine (a int)")
    await reader.execute("SET default_transaction_read_only = off")
    for statement in (
        "INSERT INTO callkpi_views.tenants (tenant) VALUES ('x')", "DELETE FROM callkpi_views.missed_calls",
        "UPDATE callkpi_views.tenants SET timezone = 'UTC'", "CREATE TABLE callkpi_views.mine (a int)",
        "CREATE TABLE callkpi.mine (a int)", "CREATE SCHEMA mine", "DROP VIEW callkpi_views.missed",
        "TRUNCATE callkpi.journal", "ALTER ROLE callkpi_reader SUPERUSER",
    ):  # fmt: skip
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.ObjectNotInPrerequisiteStateError)):
            await reader.execute(statement)


@pytest.fixture
def guarded(data_dir: Path) -> Any:
    """A server of its own that asks everybody but its owner for a password."""
    server = embedded.start(data_dir / "guarded")
    (server.data / "pg_hba.conf").write_text(
        "local all callkpi trust\nlocal all plain trust\nlocal all all scram-sha-256\n"
    )
    yield server
    server.stop()


async def test_the_reader_s_password_works_and_changes_and_limited_users_are_told(guarded: Any) -> None:
    admin = await asyncpg.connect(guarded.dsn)
    await admin.execute("SELECT pg_reload_conf()")
    # A database of a user who may not make roles.
    await admin.execute("CREATE ROLE plain LOGIN")
    await admin.execute("CREATE DATABASE limited OWNER plain")
    limited = guarded.dsn.replace("callkpi@/postgres", "plain@/limited")
    await migrations.apply(limited)
    assert await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", views.READER) == 0
    connection = await store.connect(limited, role="test")
    await views.publish(connection, with_password(test_settings()))  # says so, and goes on
    assert await connection.fetchval("SELECT count(*) FROM callkpi_views.tenants") == 1
    await connection.close()
    # The two statements of the handbook's page about Grafana.
    boss = await asyncpg.connect(guarded.dsn.replace("/postgres", "/limited"))
    await boss.execute("CREATE ROLE callkpi_reader LOGIN PASSWORD 'given by the administrator'")
    assert await boss.fetchval("SELECT callkpi.prepare_reader()") == "callkpi_reader is ready"
    await boss.close()
    reader = await connect_reader(limited, "given by the administrator")
    assert await reader.fetchval("SELECT count(*) FROM callkpi_views.tenants") == 1
    assert await reader.fetchval("SHOW default_transaction_read_only") == "on"
    await reader.close()
    # A user who may: the daemon's own setting.
    await migrations.apply(guarded.dsn)
    for password in ("first-password-1", "second 'password' \\ 2"):
        connection = await store.connect(guarded.dsn, role="test")
        settings = test_settings()
        await views.publish(
            connection, replace(settings, database=replace(settings.database, reader_password=password))
        )
        await connection.close()
        reader = await connect_reader(guarded.dsn, password)
        assert await reader.fetchval("SELECT current_user") == views.READER
        await reader.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect_reader(guarded.dsn, "first-password-1")
    await _rolled_back_and_applied_again(guarded.dsn)
    stored = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", views.READER)
    assert stored.startswith("SCRAM-SHA-256$")
    await admin.close()


async def _rolled_back_and_applied_again(dsn: str) -> None:
    connection = await store.connect(dsn, role="test")
    path = next((Path(__file__).parent.parent.parent / "sql" / "migrations").glob("*_views.sql"))
    migration = Migration(path.stem, path, {path.stem})
    migration.load()
    await migration.rollback(connection)
    assert await connection.fetchval("SELECT to_regclass('callkpi_views.quarters')") is None
    await migration.apply(connection)
    assert await connection.fetchval("SELECT count(*) FROM callkpi_views.quarters") == 0
    await connection.close()


async def test_daemons_that_start_together_publish_one_after_the_other(world: World) -> None:
    await asyncio.gather(*(publish(world) for _ in range(6)))
    assert await world.pool.fetchval("SELECT count(*) FROM callkpi.view_tenants") == 1


def test_a_weak_or_strange_reader_password_is_refused_by_name() -> None:
    for password in ("short", "пароль-пароль-пароль"):
        with pytest.raises(config.ConfigError, match=r"database\.reader_password"):
            config.load(env={"CALLKPI_DATABASE__READER_PASSWORD": password, "CALLKPI_CONFIG": ""})
