"""Calls over time: expiry and reopening, several projectors, rejected payloads, the commands of an operator."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from hypothesis import given, settings

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Fate
from callkpi.commands import cli, database
from callkpi.daemon.processes import Failed
from callkpi.database import store
from callkpi.missed.fates import Contact, fates
from callkpi.projection import isolation
from callkpi.projection.batch import Projector
from tests.stand_ins.command_line import callkpi, say
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.running import post, projected
from tests.stand_ins.truth import FILES
from tests.strategies import arrival
from tests.world import World
from tests.world import test_settings as make_settings

HOUR = timedelta(hours=1)


async def total(world: World) -> dict[str, Any]:
    now = datetime.now(UTC)
    answer: dict[str, Any] = await world.figures("direction", now - timedelta(days=2), now + HOUR)
    return answer["total"]  # type: ignore[no-any-return]


async def test_a_call_without_an_end_expires_and_comes_back_when_its_end_does(world: World) -> None:
    begin = datetime.now(UTC) - 5 * HOUR
    await world.send_json("native", say("queued", begin, queue="sales"))
    await world.project()
    assert (await total(world))["expired"] == 1
    await world.send_json("native", say("answered", begin + HOUR, agent="Dana"), say("ended", begin + 2 * HOUR))
    await world.project()
    row = await total(world)
    assert (row["expired"], row["open"], row["answered"], row["talk_seconds"]) == (0, 0, 1, 3600)
    assert await world.findings() == []


async def test_the_sweep_finds_calls_that_lapse_while_nothing_comes(world: World) -> None:
    await world.send_json("native", say("queued", datetime.now(UTC) - 3 * HOUR, queue="sales"))
    await world.project()
    assert (await total(world))["open"] == 1
    impatient = Projector(world.pool, make_settings(expire_after_hours=2.0), world.health)
    await impatient.sweep()
    await impatient.drain()
    assert (await total(world))["expired"] == 1


@pytest.mark.parametrize("other_dies", [False, True])
async def test_who_projects_everything_waits_for_what_another_projector_has_taken(
    world: World, other_dies: bool
) -> None:
    """A call is in the tables when draining returns, whoever projected it."""

    async def waiting(task: asyncio.Task[int], count: int) -> None:
        while await world.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < count:
            assert not task.done(), "it did not wait"
            await asyncio.sleep(0.01)

    # A month's first call makes its partition first, and lets go of what it has taken meanwhile.
    await world.pool.execute(store.query("journal", "ensure_partition"), "calls", datetime.now(UTC))
    await world.send_json("native", say("queued", datetime.now(UTC), queue="sales"))
    async with world.pool.acquire() as holder, asyncio.TaskGroup() as group:
        await holder.execute("SELECT pg_advisory_lock(hashtext('callkpi.member_questions'))")
        other = group.create_task(Projector(world.pool, world.settings, world.health).project_batch())
        await waiting(other, 1)
        draining = group.create_task(world.projector.drain())
        await waiting(draining, 2)
        if other_dies:
            other.cancel()
            await asyncio.wait([other])
        await holder.execute("SELECT pg_advisory_unlock(hashtext('callkpi.member_questions'))")
    assert draining.result() == int(other_dies)
    assert (await total(world))["open"] == 1


@given(arrival())
@settings(max_examples=15)
async def test_several_projectors_at_once_give_the_same_tables(
    world: World, case: tuple[list[CallEvent], list[list[CallEvent]]]
) -> None:
    events, deliveries = case
    await world.clear()
    await world.append(events)
    await world.project()
    expected = await world.tables()
    await world.clear()
    projectors = [Projector(world.pool, world.settings, world.health) for _ in range(3)]
    for delivery in deliveries:
        for event in delivery:
            await world.append([event])
        await asyncio.gather(*(projector.drain() for projector in projectors))
    await world.project()
    assert await world.tables() == expected
    assert await world.findings() == []


async def test_a_batch_that_fails_leaves_nothing_half_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the tables, and not in what the projector believes of them either."""
    begin = datetime.now(UTC) - timedelta(days=40)
    await world.send_json("native", say("queued", begin, queue="new queue"), say("ended", begin + HOUR))
    original = store.query

    def broken(file: str, name: str) -> str:
        return "SELECT 1 / (length($1::text) - length($1::text))" if name == "add_counters" else original(file, name)

    monkeypatch.setattr(store, "query", broken)
    await world.project()
    monkeypatch.setattr(store, "query", original)
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 0
    await isolation.retry_all(world.pool)
    await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 1
    assert await world.pool.fetchval("SELECT count(*) FROM names WHERE name = 'new queue'") == 1
    assert await world.findings() == []


AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def contact(key: str, minutes: int, *, missed: bool = False, outbound: bool = False, answered: bool = False) -> Contact:
    at = AT + timedelta(minutes=minutes)
    return Contact(
        key=("pbx", key), direction=Direction.OUTBOUND if outbound else Direction.INBOUND, started_at=at,
        answered_at=at + timedelta(seconds=20) if answered else None, missed=missed,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("later", "fate"),
    [
        ([], Fate.WAITING),
        ([contact("b", 5, outbound=True)], Fate.CALLED_BACK),
        ([contact("b", 5, outbound=True), contact("c", 9, outbound=True, answered=True)], Fate.REACHED),
        ([contact("b", 5, answered=True)], Fate.SELF_SERVED),
        ([contact("b", 5, outbound=True), contact("c", 9, answered=True)], Fate.SELF_SERVED),
        ([contact("b", 5, missed=True)], Fate.WAITING),
        ([contact("b", -5, outbound=True, answered=True)], Fate.WAITING),
        ([contact("b", 8 * 24 * 60, outbound=True, answered=True)], Fate.WAITING),
    ],
)
def test_the_fate_of_a_missed_customer(later: list[Contact], fate: Fate) -> None:
    told = fates([*later, contact("a", 0, missed=True)], timedelta(days=7))
    assert next(each for each in told if each.key == ("pbx", "a")).fate is fate


# -- commands ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = callkpi(*command.split(), "--help")
    assert done.returncode == 0
    assert f"example: callkpi {command}" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["fly"], ["serve", "--processes", "0"], ["serve", "--config", "/no/such.toml"], ["report", "--by", "mood"],
        ["demo", "--speed", "1000"], ["replay", "/no/such.jsonl", "--source", "pbx"],
        ["replay", "/etc/hostname", "--source", "pbx", "--speed", "fast"], ["roster", "import", "/no/such.ics"],
    ],
)  # fmt: skip
def test_an_error_of_the_command_line_is_one_line_and_status_2(arguments: list[str]) -> None:
    done = callkpi(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_command_that_is_not_there_gets_a_guess() -> None:
    done = callkpi("servee")
    text = "callkpi: there is no command 'servee' (did you mean 'serve'?); see 'callkpi --help'\n"
    assert (done.returncode, done.stderr) == (2, text)


def test_an_option_of_another_command_is_refused() -> None:
    """--dry-run is of 'report send': 'report' would else print figures as if it had been understood."""
    done = callkpi("report", "--dry-run")
    text = "callkpi report: unrecognized arguments: --dry-run; see 'callkpi report --help'\n"
    assert (done.returncode, done.stderr) == (2, text)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [(["--compare", "never"], "--compare"), (["--only", "mood=good"], "--only"), (["--by", "mood"], "--by")],
)
def test_what_is_wrong_with_a_question_is_told_under_the_option_that_asked_it(
    arguments: list[str], option: str, tmp_path: Path, dsn: str
) -> None:
    file = tmp_path / "callkpi.toml"
    file.write_text(f'[database]\nurl = "{dsn}"\n[tenants.acme]\n')
    done = callkpi("report", *arguments, "--config", str(file))
    assert done.returncode == 2 and done.stderr.startswith(f"callkpi: {option}: "), done.stderr


def test_the_help_lists_each_command_and_none_of_the_daemons_own() -> None:
    told = callkpi("--help").stdout
    assert all(f"  {name} " in told for name in cli.COMMANDS) and "_child" not in told


def test_a_shell_can_complete_commands_and_options() -> None:
    done = callkpi("completion", "bash")
    assert done.returncode == 0 and "replay-rejected" in done.stdout and "--dry-run" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["erase", "+77011234567"], ["report", "send", "--dry-run"]])
def test_of_several_tenants_one_has_to_be_named(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "callkpi.toml"
    file.write_text("[tenants.north]\n[tenants.south]\n")
    done = callkpi(*arguments, "--config", str(file))
    assert (done.returncode, done.stderr) == (2, "callkpi: --tenant: is required; write one of north, south\n")


async def test_a_database_that_goes_away_under_a_command_is_told_in_one_line(dsn: str) -> None:
    given = config.Settings(database=config.Database(url=dsn))

    async def ask(pool: asyncpg.Pool) -> None:
        await pool.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Failed, match=r"the database went away \(\w+\); start the same command again"):
        async with database.database(given) as pool:
            await ask(pool)
    with pytest.raises(Failed, match="the database went away"):
        async with database.database(given) as pool, asyncio.TaskGroup() as group:
            group.create_task(ask(pool))
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        async with database.database(given):
            Path("nothing.csv").read_text()


async def test_an_operators_day(data_dir: Path, tmp_path: Path) -> None:
    """Replay a recording by command, read the report, mend a rejected payload, rebuild, check."""
    async with daemon(data_dir / "operator", fresh=True) as target:
        for name in FILES.values():
            if name.endswith(".gz"):
                recording = Path(__file__).parent.parent / "captures" / name
                done = callkpi(
                    "replay", str(recording), "--source", "pbx", "--url", target.url, "--speed", "max", target=target
                )
                assert done.returncode == 0, done.stderr
        await projected(target)
        begin = "2026-11-23T18:00:00Z"
        told = callkpi(
            "report", "--from", begin, "--to", "2026-11-23T21:00:00Z", "--by", "queue", "--json", target=target
        )
        rows = json.loads(told.stdout)["rows"]
        async with aiohttp.ClientSession() as session:
            window = {"from": begin, "to": "2026-11-23T21:00:00Z", "by": "queue"}
            async with session.get(f"{target.url}/api/v1/kpi", params=window) as answer:
                assert (await answer.json())["rows"] == rows
            assert not await post(session, target, ['{"Event": "QueueCallerJoin", "received_at": "today"}'])
        table = callkpi("report", "--from", begin, "--to", "2026-11-23T21:00:00Z", target=target)
        assert "sales" in table.stdout and "136" in table.stdout
        missed = callkpi("missed", target=target)
        assert missed.returncode == 0
        assert "+7701234" not in missed.stdout
        done = callkpi("replay-rejected", target=target)
        assert "0 payloads understood now, 1 still not" in done.stderr
        wrong = callkpi(
            "replay", str(recording), "--source", "pbx", "--url", target.url, "--token", "no", target=target
        )
        assert (wrong.returncode, len(wrong.stderr.strip().splitlines())) == (2, 1)
    done = callkpi("rebuild", target=target)
    assert done.returncode == 0, done.stderr
    done = callkpi("doctor", target=target)
    assert done.stdout.strip() == "Rollups equal calls, calls equal the journal."
    again = callkpi("report", "--from", begin, "--to", "2026-11-23T21:00:00Z", "--by", "queue", "--json", target=target)
    assert json.loads(again.stdout)["rows"] == rows


async def test_a_newcomer_sees_living_numbers_within_ten_seconds(data_dir: Path) -> None:
    target = Daemon(data_dir / "demo")
    environment = {k: v for k, v in target.environment.items() if k != "CALLKPI_CONFIG"}
    with target.log.open("wb") as log:
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "callkpi", "demo"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
        try:
            # Not of today: just after midnight there is little of it.
            offered, since = 0, int((datetime.now(UTC) - timedelta(hours=4)).timestamp())
            async with aiohttp.ClientSession() as session:
                while offered < 30 and time.monotonic() - begin < 30:
                    await asyncio.sleep(0.2)
                    try:
                        async with session.get(f"{target.url}/api/v1/kpi?by=queue&from={since}") as answer:
                            # The door is open before the database is: until then the API says 503.
                            offered = (await answer.json())["total"]["offered"] if answer.status == 200 else 0
                    except aiohttp.ClientError:
                        continue
                seconds = time.monotonic() - begin
                async with session.get(f"{target.url}/metrics") as answer:
                    page = await answer.text()
        finally:
            process.terminate()
            process.wait(60)
    told = target.log.read_text()
    assert "SIMULATED" in told and f"{target.url}/metrics" in told
    assert offered >= 30, told
    business = [line for line in page.splitlines() if line.startswith("callkpi_calls_offered_total{")]
    assert business and all('tenant="simulated"' in line for line in business)
    assert all("(simulated)" in line for line in business if 'queue=""' not in line)
    print(f"living numbers after {seconds:.1f} s")


async def test_many_processes_that_want_a_new_months_partition_at_once_all_get_it(dsn: str) -> None:
    """Each with a connection of its own, as web processes are at the first call of a month."""
    for month in range(1, 13):
        at = datetime(2031, month, 5, tzinfo=UTC)
        connections = [await store.connect(dsn, role="test") for _ in range(6)]
        await asyncio.gather(
            *(c.execute(store.query("journal", "ensure_partition"), "journal", at) for c in connections)
        )
        assert await connections[0].fetchval(f"SELECT count(*) FROM journal_2031_{month:02}") == 0
        for connection in connections:
            await connection.close()
