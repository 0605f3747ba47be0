"""A bad minute costs that minute: what fails beside the daemon, or in one of its loops, ends neither."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from callkpi import config, looping
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper, Status
from callkpi.daemon import processes as daemon
from callkpi.daemon.jobs import JOBS
from callkpi.database import embedded
from callkpi.delivery.courier import Courier
from callkpi.delivery.message import Message, Receiver
from callkpi.health import PROCESSES, Health
from callkpi.ingest.spool import Spool, SpoolFull
from callkpi.looping import Loop, keep_going
from callkpi.metrics.exporter import Exporter
from callkpi.web.probes import Probes
from callkpi.web.watch import Store, Watch
from tests.stand_ins.daemon import CONFIG, Daemon, children_of
from tests.stand_ins.daemon import daemon as running_daemon
from tests.stand_ins.nights import BEGIN as NIGHT_BEGIN
from tests.stand_ins.nights import SETTLED, a_night, courier_of, states, with_report
from tests.stand_ins.running import doctor, projected, rows
from tests.stand_ins.spooling import item, metric, send, spool_is_empty, until
from tests.world import World

MIB = 1024 * 1024

# -- loops ------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that failed try again at once."""
    monkeypatch.setattr(looping, "FIRST_SECONDS", 0.001)


async def readyz(world: World) -> dict[str, Any]:
    answer = await Probes(world.pool, Exporter(world.pool, world.settings), world.settings).readyz(None)  # type: ignore[arg-type]
    assert isinstance(answer.text, str)
    told: dict[str, Any] = orjson.loads(answer.text)
    return told


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a fault of ours"), asyncpg.QueryCanceledError("by an operator"), KeyError(), RecursionError(),
        asyncio.CancelledError(), ExceptionGroup("several", [asyncpg.DiskFullError("full")]),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.usefixtures("impatient")
async def test_a_loop_goes_on_after_whatever_its_rounds_raise(world: World, error: BaseException) -> None:
    rounds = 0

    async def step() -> None:
        nonlocal rounds
        rounds += 1
        if rounds in (2, 3):
            raise error

    loop = Loop("courier", 0.0, Health())
    await asyncio.wait_for(keep_going(loop, step, until=lambda: rounds == 5), 10)
    await loop.health.flush(world.pool)
    counted = "SELECT value FROM health_counters WHERE metric = 'work_failures' AND label = 'courier'"
    assert await world.pool.fetchval(counted) == 2


@pytest.mark.usefixtures("impatient")
async def test_work_that_fails_is_told_until_a_round_succeeds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By /readyz, which stays as it is for those who send and read, and by /metrics."""
    broken = True

    async def step() -> None:
        if broken:
            raise ZeroDivisionError

    monkeypatch.setattr(looping, "FIRST_SECONDS", 0.01)
    health = Health()
    looping_on = asyncio.create_task(keep_going(Loop("crm", 0.01, health, "portal"), step))
    await asyncio.sleep(0.05)
    await health.flush(world.pool)
    assert (await readyz(world))["failing"] == ["crm portal ZeroDivisionError"]
    page, _ = await Exporter(world.pool, world.settings).scrape("")
    assert b'callkpi_work_failing{work="crm"} 1.0' in page and b'callkpi_work_failing{work="days"} 0.0' in page
    broken = False
    async with asyncio.timeout(30):
        while (await readyz(world))["failing"]:
            await asyncio.sleep(0.05)
            await health.flush(world.pool)
    looping_on.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looping_on


async def test_work_of_a_process_that_is_gone_is_told_no_more(world: World) -> None:
    health = Health()
    health.failing(("janitor", ""), "OSError")
    await health.flush(world.pool)
    await world.pool.execute("UPDATE work_failures SET told_at = told_at - interval '2 minutes'")
    assert (await readyz(world))["failing"] == []


async def test_counts_go_on_after_a_flush_that_fails_for_a_fault_of_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callkpi.health.FLUSH_SECONDS", 0.01)
    health = Health()
    health.count("http_overload", 7, label=object())  # type: ignore[arg-type]
    running = asyncio.create_task(health.run(world.pool))
    await asyncio.sleep(0.1)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


# -- loops of the daemon: one bad source, one bad receiver ---------------------------------------------------


class Breaking:
    """A protocol that meets what nobody foresaw, and then goes well."""

    def __init__(self) -> None:
        self.held = 0

    async def hold(self, intake: Intake, status: Status) -> None:
        self.held += 1
        if self.held == 1:
            raise IndexError("a fault of ours")
        status.up()
        await asyncio.Event().wait()


async def test_a_connection_that_meets_the_unforeseen_is_told_and_made_again(world: World, dsn: str) -> None:
    intake = Intake("native", world.ingest, None, world.health)
    link = Breaking()
    keeping = asyncio.create_task(Keeper(dsn, "native", link, intake, world.health).run())
    query = "SELECT connected FROM connections WHERE source = 'native'"
    async with asyncio.timeout(10):
        while not await world.pool.fetchval(query):
            assert not keeping.done()
            await asyncio.sleep(0.02)
    assert link.held == 2
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    await world.health.flush(world.pool)
    counted = "SELECT value FROM health_counters WHERE metric = 'connection_errors' AND label = 'fault'"
    assert await world.pool.fetchval(counted) == 1


class Two:
    """A way that takes a while to one receiver, while another one's line breaks."""

    knows_repetitions = False

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, receiver: Receiver, message: Message) -> None:
        if receiver.address.startswith("broken"):
            raise ConnectionResetError
        await asyncio.sleep(0.1)
        self.sent.append(receiver.address)


async def test_a_line_that_breaks_cuts_off_no_other_delivery(world: World) -> None:
    """Those that are under way meanwhile come to their end; the one whose line broke is in doubt, not sent twice."""
    await a_night(world)
    way = Two()
    courier = courier_of(world, way, to=("mailto:broken@example.com", "mailto:boss@example.com"))
    for at in (NIGHT_BEGIN, SETTLED, SETTLED + timedelta(minutes=1)):
        await courier.step(at)
    assert way.sent == ["boss@example.com"]
    assert sorted(state for _, state, _ in await states(world)) == ["in_doubt", "sent"]


async def test_a_summary_that_can_not_be_made_keeps_no_other_from_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_night(world)
    way = Two()
    settings = with_report(world.settings)
    own = settings.tenants["acme"]
    reports = {"a bad one": own.reports["nightly"], "nightly": own.reports["nightly"]}
    settings = replace(settings, tenants={"acme": replace(own, reports=reports)})
    courier = Courier(world.pool, settings, world.health, lambda name, report: way)
    draft = courier.draft

    async def failing(tenant: str, name: str, *rest: Any) -> Any:
        if name == "a bad one":
            raise asyncpg.QueryCanceledError("it took too long")
        return await draft(tenant, name, *rest)

    monkeypatch.setattr(courier, "draft", failing)
    for at in (NIGHT_BEGIN, SETTLED, SETTLED + timedelta(minutes=1)):
        await courier.step(at)
    assert way.sent == ["boss@example.com"]


async def test_a_board_that_can_not_be_read_shows_how_old_its_figures_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(Store(world.pool, world.settings, world.reports.names), "acme", "v")

    async def broken() -> Any:
        raise ArithmeticError

    monkeypatch.setattr(watch, "_read", broken)
    told = orjson.loads(await watch.newest())
    assert told["stale"] == "projector" and told["age_seconds"] is None


# -- the database ------------------------------------------------------------------------------------------


@pytest.fixture
async def cancelling(data_dir: Path) -> AsyncIterator[tuple[Daemon, Callable[[float], Any]]]:
    """A daemon, and how to cancel every statement of it for some seconds."""
    async with running_daemon(data_dir / "cancelled") as target:

        async def cancel(seconds: float) -> int:
            connection = await asyncpg.connect(embedded.dsn(target.directory / "data"))
            query = (
                "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name LIKE 'callkpi-%' AND state <> 'idle'"
            )
            end = asyncio.get_running_loop().time() + seconds
            cancelled = 0
            while asyncio.get_running_loop().time() < end:
                cancelled += await connection.fetchval(query)
                await asyncio.sleep(0.002)
            await connection.close()
            return cancelled

        yield target, cancel


async def test_statements_that_are_cancelled_cost_no_call_and_no_process(
    cancelling: tuple[Daemon, Callable[[float], Any]],
) -> None:
    target, cancel = cancelling
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        cancelled = group.create_task(cancel(4.0))
        number = 0
        while not cancelled.done():
            assert await send(session, target, number) == 200
            async with session.get(f"{target.url}/metrics") as answer:
                assert answer.status == 200
            number += 1
            await asyncio.sleep(0.005)
    assert cancelled.result() > 10
    await target.ready()
    await until(lambda: spool_is_empty(target))
    await projected(target)
    assert (await rows(target, "direction"))["inbound"]["offered"] == number
    assert await metric(target, "callkpi_process_restarts_total") == 0
    assert doctor(target) == "Rollups equal calls, calls equal the journal."


def connector_config() -> str:
    """Every background process, none of which reaches anybody."""
    return CONFIG + (
        '\n[tenants.acme.reports.daily]\nperiod = "day"\nto = ["folder:/tmp/nowhere"]\n'
        "\n[retention]\njournal_months = 2\n"
        '\n[sources.ami]\nkind = "asterisk"\ntenant = "acme"\nami_address = "127.0.0.1:1"\nami_user = "callkpi"\n'
        'ami_secret = "secret-of-the-manager"\n'
        '\n[sources.cloud]\nkind = "bitrix24"\ntenant = "acme"\nrest_url = "http://127.0.0.1:1/rest/1/secretsecret/"\n'
    )


async def test_a_database_that_restarts_while_the_daemon_starts_is_waited_for(data_dir: Path) -> None:
    """Whenever it is: while the schema is brought up to date, while processes start and begin to work."""
    database = data_dir / "restarting-database"
    database.mkdir(mode=0o755)
    target = Daemon(data_dir / "restarting", config=connector_config())
    target.extra = {"CALLKPI_DATABASE_URL": embedded.dsn(database)}
    server = await asyncio.to_thread(embedded.start, database)
    try:
        await target.start(ready=False)
        for _ in range(5):
            await asyncio.sleep(0.4)
            # As a crash: every session is cut, and for a moment it says that it starts.
            await asyncio.to_thread(crash, database)
            server = await asyncio.to_thread(embedded.start, database)
        await target.ready()
        assert await metric(target, "callkpi_process_restarts_total") == 0
        assert len(PROCESSES) == 2 + len(JOBS)

        async def all_are_there() -> bool:
            assert target.process is not None
            return len(children_of(target.process.pid)) == 1 + len(JOBS)

        # Every process of the daemon works: it has none that died.
        await until(all_are_there)
    finally:
        assert target.stop() == 0
        server.stop()


def crash(database: Path) -> None:
    postmaster = int((database / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    while embedded.is_running(database / "postgres"):
        pass


# -- the disk ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A file system of its own with little room."""
    place = data_dir / "small-disk"
    place.mkdir(mode=0o755, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=100m,mode=0755", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, *, leave: int = 0) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), (place / "ballast").open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    if leave:
        os.truncate(place / "ballast", (place / "ballast").stat().st_size - leave)


def make_room(place: Path) -> None:
    (place / "ballast").unlink()


async def test_a_spool_on_a_full_disk_refuses_and_takes_again_when_there_is_room(small_disk: Path) -> None:
    fill(small_disk)
    spool = Spool(small_disk / "data", 10 * MIB)
    with pytest.raises(SpoolFull):
        await spool.put(item("x" * 10_000))
    with pytest.raises(OSError, match=r"spool|space"):
        await spool.size()
    make_room(small_disk)
    await spool.put(item("first"))
    fill(small_disk)
    with pytest.raises(SpoolFull):
        for _ in range(100):
            await spool.put(item("y" * 100_000))
    kept = (await spool.size()).deliveries
    make_room(small_disk)
    await spool.put(item("last"))
    assert (await spool.size()).deliveries == kept + 1
    spool.close()


async def test_started_on_a_full_disk_the_daemon_is_there_and_works_as_soon_as_there_is_room(
    small_disk: Path,
) -> None:
    target = Daemon(small_disk / "daemon", fresh=True)
    fill(small_disk)
    await target.start(ready=False)
    try:
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                async with session.get(f"{target.url}/healthz") as answer:
                    return answer.status == 200

            await until(answers)
            assert await send(session, target, 0) == 503
            async with session.get(f"{target.url}/metrics") as answer:
                assert answer.status == 200 and "callkpi_database_up 0.0" in await answer.text()
            async with session.get(f"{target.url}/readyz") as answer:
                assert answer.status == 503
            make_room(small_disk)
            await target.ready()
            assert await send(session, target, 1) == 200
    finally:
        assert target.stop() == 0


async def test_a_disk_that_fills_up_costs_no_acknowledged_call(small_disk: Path) -> None:
    """Deliveries are taken or refused with 503, never anything else, and it works again without help."""
    target = Daemon(small_disk / "daemon", fresh=True)
    await target.start()
    acknowledged = number = 0
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
            seen: set[int] = set()
            for is_full in (False, True, False):
                fill(small_disk) if is_full else (small_disk / "ballast").unlink(missing_ok=True)
                for _ in range(150):
                    status = await send(session, target, number)
                    acknowledged += status == 200
                    seen.add(status)
                    number += 1
                    if number % 10 == 0:
                        async with session.get(f"{target.url}/metrics") as answer:
                            assert answer.status == 200
            assert seen <= {200, 503}
        await target.ready()
        await until(lambda: spool_is_empty(target))
        await projected(target)
        offered = (await rows(target, "direction"))["inbound"]["offered"]
        # What was refused may have been kept all the same, when its answer was the last thing that failed.
        assert acknowledged <= offered <= number
        assert doctor(target) == "Rollups equal calls, calls equal the journal."
    finally:
        assert target.stop() == 0


async def test_a_log_that_can_not_be_written_ends_nothing(data_dir: Path) -> None:
    """Its disk may be full for longer than the others."""
    target = Daemon(data_dir / "mute")
    target.log = Path("/dev/full")
    await target.start(ready=False)
    try:
        async with aiohttp.ClientSession() as session:

            async def is_ready() -> bool:
                async with session.get(f"{target.url}/readyz") as answer:
                    return answer.status == 200

            await until(is_ready)
            for pid in children_of(target.process.pid if target.process else 0):
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(1)
            await until(is_ready)
            async with session.post(f"{target.url}/hooks/native", data="{", headers=AUTHORISED) as answer:
                assert answer.status == 400
    finally:
        target.stop()


AUTHORISED = {"Authorization": "Bearer native-secret"}

# -- processes ---------------------------------------------------------------------------------------------


def roles_of(target: Daemon) -> dict[str, int]:
    assert target.process is not None
    found = {}
    for pid in children_of(target.process.pid):
        words: list[bytes] = []
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile, as `ps` itself did
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"_child" in words:
            found[words[words.index(b"_child") + 1].decode()] = pid
    return found


async def test_a_process_that_is_killed_is_started_again_and_counted(data_dir: Path) -> None:
    """With the settings that the daemon began with, whatever somebody writes into the file meanwhile."""
    async with running_daemon(data_dir / "killed-child") as target:
        target.config.write_text("this is = no configuration")
        before: dict[str, int] = {}

        async def both_are_there() -> bool:
            before.update(roles_of(target))
            return {"projector", "web"} <= before.keys()

        await until(both_are_there)  # The doors may be open before the last process is started.
        for role in ("projector", "web"):
            os.kill(before[role], signal.SIGKILL)

        async def both_are_new() -> bool:
            now = roles_of(target)
            return {"projector", "web"} <= now.keys() and not set(before.values()) & set(now.values())

        await until(both_are_new)
        await target.ready()
        async with aiohttp.ClientSession() as session:
            assert await send(session, target, 0) == 200
        await projected(target)
        assert (await rows(target, "direction"))["inbound"]["offered"] == 1

        async def is_counted() -> bool:
            return await metric(target, "callkpi_process_restarts_total") == 2

        await until(is_counted)
        assert target.log.read_text().count('"event": "daemon.process_died"') == 2
        assert target.stop() == 0


async def test_a_process_that_ends_itself_at_once_again_and_again_ends_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemon, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(daemon, "WATCH_SECONDS", 0.01)
    family = daemon._Family(config.Settings(), Health())
    await family.spawn("no such job")
    with pytest.raises(daemon.Failed, match="the no such job process ended 5 times at once, status 1"):
        await asyncio.wait_for(family.watch(), 60)
    await family.end()


def test_a_process_that_is_killed_again_and_again_is_started_at_longer_intervals() -> None:
    """A kill says nothing of the process: memory may be short for an hour, and the doors stay open meanwhile."""

    class Killed:
        returncode = -signal.SIGKILL

    child = daemon._Child("projector", Killed())  # type: ignore[arg-type]
    pauses = [child.died() for _ in range(20)]
    assert pauses[0] == daemon.FIRST_PAUSE_SECONDS and pauses[-1] == daemon.LONGEST_PAUSE_SECONDS
    assert pauses == sorted(pauses)
    child.began_at -= daemon.BEGUN_SECONDS
    assert child.died() == daemon.FIRST_PAUSE_SECONDS
