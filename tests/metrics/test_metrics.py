"""/metrics: the same numbers as the report, in a form that Prometheus' own tools accept."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from callkpi import config
from callkpi.metrics.calls import bounded_teams
from tests.stand_ins.daemon import Daemon, daemon, free_port
from tests.stand_ins.running import post, projected
from tests.stand_ins.truth import BEGIN, END, FILES, TRUTH
from tests.world import World, capture_lines, sample, test_settings

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian package prometheus is not installed")


@pytest.fixture
async def replayed(world: World) -> World:
    await world.send_lines("pbx", capture_lines(FILES["pbx"]))
    await world.project()
    return world


async def test_counters_equal_the_report(replayed: World) -> None:
    page = await replayed.metrics()
    for name, row in (await replayed.kpi("queue", BEGIN, END)).items():
        told = {
            "offered": sample(page, "callkpi_calls_offered_total", queue=name),
            "handled": sample(page, "callkpi_calls_handled_total", queue=name),
            "missed": sample(page, "callkpi_calls_missed_total", queue=name),
            "exited": sample(page, "callkpi_calls_ended_total", queue=name, outcome="exited") or 0,
            "talk_seconds": sample(page, "callkpi_call_talk_seconds_sum", queue=name),
            "wait_seconds": sample(page, "callkpi_call_wait_seconds_sum", queue=name),
        }
        assert told == {key: row[key] for key in told}
        answered = sample(page, "callkpi_call_wait_seconds_count", queue=name, result="answered")
        assert answered == row["answered"] == TRUTH["queues"][name]["answered"]
        within = sample(page, "callkpi_call_wait_seconds_bucket", queue=name, result="answered", le="20.0")
        assert within == row["within_service_level"]
    for name, row in (await replayed.kpi("agent", BEGIN, END)).items():
        assert sample(page, "callkpi_agent_handled_total", agent=name) == row["handled"]
        assert sample(page, "callkpi_agent_talk_seconds_total", agent=name) == pytest.approx(row["talk_seconds"])


async def test_whole_calls_are_counted_once(replayed: World) -> None:
    page = await replayed.metrics()
    total = (await replayed.figures("line", BEGIN, END))["total"]
    assert sample(page, "callkpi_company_calls_offered_total", direction="inbound") == total["offered"] == 300


async def test_exact_gauges_of_the_day_equal_the_report(world: World) -> None:
    now = datetime.now(UTC).timestamp()
    for number, (wait, cause) in enumerate([(3, "answered"), (30, "answered"), (40, "abandoned"), (2, "abandoned")]):
        base = {"call_id": f"c{number}", "queue": "sales", "direction": "inbound"}
        left = {"kind": "answered", "agent": "Dana"} if cause == "answered" else {"kind": "left_queue", "cause": cause}
        await world.send_json(
            "native", {**base, "kind": "queued", "at": now - 60}, {**base, **left, "at": now - 60 + wait},
            {"call_id": f"c{number}", "kind": "ended", "at": now - 5},
        )  # fmt: skip
    await world.project()
    page = await world.metrics()
    assert sample(page, "callkpi_service_level_ratio", queue="sales", window="day") == pytest.approx(1 / 3)
    assert sample(page, "callkpi_missed_ratio", queue="sales", window="day") == 0.5
    assert sample(page, "callkpi_shift_calls", queue="sales", outcome="abandoned") == 1
    assert sample(page, "callkpi_shift_calls", queue="sales", outcome="short_abandon") == 1


async def test_live_gauges_show_who_waits_and_who_talks(world: World) -> None:
    now = datetime.now(UTC).timestamp()

    def say(call: str, kind: str, ago: float, **facts: str) -> dict[str, object]:
        return {"call_id": call, "kind": kind, "at": now - ago, "direction": "inbound", **facts}

    await world.send_json(
        "native",
        say("a", "queued", 100, queue="sales"), say("b", "queued", 40, queue="sales"),
        say("c", "queued", 90, queue="sales"), say("c", "answered", 70, queue="sales", agent="Dana"),
        say("d", "started", 10), say("e", "queued", 30, queue="vip"),
        say("e", "ringing", 25, queue="vip", agent="Erlan"),
        *({"kind": "agent_state", "at": now - 200, "agent": agent, "queue": "sales", "state": state}
          for agent, state in [("Dana", "available"), ("Bolat", "paused"), ("Marat", "offline"),
                               ("Zhanna", "available")]),
    )  # fmt: skip
    await world.project()
    page = await world.metrics()
    assert sample(page, "callkpi_calls_waiting", queue="sales") == 2
    assert sample(page, "callkpi_longest_wait_seconds", queue="sales") == pytest.approx(100, abs=5)
    assert sample(page, "callkpi_calls_waiting", queue="") == 1
    assert sample(page, "callkpi_calls_waiting", queue="vip") == 1
    assert sample(page, "callkpi_calls_talking", queue="sales") == 1
    states = {state: sample(page, "callkpi_agents", queue="sales", state=state)
              for state in ("available", "talking", "paused", "offline")}  # fmt: skip
    assert states == {"available": 1, "talking": 1, "paused": 1, "offline": 1}


async def test_a_reclassified_call_is_added_and_nothing_is_taken_away(world: World) -> None:
    at = datetime.now(UTC).timestamp() - 300
    base = {"call_id": "c", "queue": "sales", "direction": "inbound"}
    await world.send_json("native", {**base, "kind": "queued", "at": at}, {**base, "kind": "ended", "at": at + 60})
    await world.project()
    await world.send_json("native", {**base, "kind": "answered", "at": at + 30, "agent": "Dana"})
    await world.project()
    page = await world.metrics()
    assert sample(page, "callkpi_calls_ended_total", queue="sales", outcome="abandoned") == 1
    assert sample(page, "callkpi_calls_ended_total", queue="sales", outcome="answered") == 1
    assert sample(page, "callkpi_calls_reclassified_total", **{"from": "abandoned", "to": "answered"}) == 1


async def test_known_children_are_there_before_their_first_count(world: World) -> None:
    world = World(world.pool, test_settings(queues={"sales": config.Queue(name="Sales desk")}))
    page = await world.metrics()
    assert sample(page, "callkpi_calls_missed_total", queue="Sales desk", reason="abandoned") == 0
    assert sample(page, "callkpi_calls_waiting", queue="Sales desk") == 0
    assert sample(page, "callkpi_ingest_events_total", source="pbx", result="received") == 0


async def test_the_target_of_a_queue_is_its_own_or_the_tenant_s(world: World) -> None:
    queues = {"sales": config.Queue(service_level_seconds=45), "vip": config.Queue(name="VIP desk")}
    page = await World(world.pool, test_settings(queues=queues, service_level_seconds=30)).metrics()
    targets = {queue: sample(page, "callkpi_service_level_target_seconds", queue=queue)
               for queue in ("sales", "VIP desk", "")}  # fmt: skip
    assert targets == {"sales": 45, "VIP desk": 30, "": 30}


async def test_labels_stay_bounded(world: World) -> None:
    settings = test_settings()
    bounded = config.Settings(
        tenants=settings.tenants, sources=settings.sources, metrics=config.Metrics(max_agents=3, max_queues=2)
    )
    world.settings = bounded
    at = datetime.now(UTC).timestamp() - 3000
    for number in range(6):
        base = {"call_id": f"c{number}", "queue": f"q{number}", "direction": "inbound", "agent": f"a{number}"}
        kinds = ("queued", "answered", "ended")
        await world.send_json("native", *({**base, "kind": kind, "at": at + i} for i, kind in enumerate(kinds)))
        await world.project()
    page = await world.metrics()
    agents: dict[str, float] = defaultdict(float)
    for line in page.splitlines():
        if line.startswith("callkpi_agent_handled_total{"):
            agents[line.split('agent="')[1].split('"')[0]] += float(line.split()[-1])
    assert agents == {"a0": 1, "a1": 1, "a2": 1, "other": 3}
    assert sample(page, "callkpi_calls_offered_total", queue="other") == 4
    assert sample(page, "callkpi_names_overflow", kind="agent") == 3


@promtool
async def test_promtool_accepts_the_page(replayed: World) -> None:
    page = await replayed.metrics()
    checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.fixture
async def target(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "prometheus") as running:
        yield running


@pytest.fixture
async def database(target: Daemon) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the daemon's own database, as its owner."""
    connection = await asyncpg.connect(f"postgresql://callkpi@/postgres?host={target.directory / 'data' / 'socket'}")
    yield connection
    await connection.close()


async def test_a_reading_that_takes_too_long_costs_the_numbers_and_is_late_not_down(
    target: Daemon, database: asyncpg.Connection
) -> None:
    """Told before Prometheus gives up after ten seconds, and over as soon as it can be read again."""
    async with aiohttp.ClientSession() as session:
        async with database.transaction():
            await database.execute("LOCK TABLE callkpi.counters IN ACCESS EXCLUSIVE MODE")
            begin = asyncio.get_running_loop().time()
            status, page = await _page(session, target)
            assert asyncio.get_running_loop().time() - begin < 8
            assert (status, _state(page)) == (200, (1, 1))
            assert "callkpi_calls" not in page
        await database.close()
        status, page = await _page(session, target)
        assert (status, _state(page)) == (200, (1, 0))
        assert "callkpi_calls" in page


async def test_a_database_that_answers_nothing_at_all_is_down(target: Daemon, database: asyncpg.Connection) -> None:
    """Its processes stand still: connections are there, and no answer comes."""
    backends = await database.fetch(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    async with aiohttp.ClientSession() as session:
        for row in backends:
            os.kill(row["pid"], signal.SIGSTOP)
        try:
            postmaster = int((target.directory / "data" / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(postmaster, signal.SIGSTOP)
            try:
                status, page = await _page(session, target)
            finally:
                os.kill(postmaster, signal.SIGCONT)
        finally:
            for row in backends:
                os.kill(row["pid"], signal.SIGCONT)
    assert (status, _state(page)) == (200, (0, 0))


def _state(page: str) -> tuple[float | None, float | None]:
    return sample(page, "callkpi_database_up"), sample(page, "callkpi_scrape_late")


async def _page(session: aiohttp.ClientSession, target: Daemon) -> tuple[int, str]:
    async with session.get(f"{target.url}/metrics") as answer:
        return answer.status, await answer.text()


@promtool
async def test_a_real_prometheus_scrapes_what_the_report_says(target: Daemon, tmp_path: Path) -> None:
    port = free_port()
    settings = tmp_path / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: callkpi\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{target.port}']}}]\n"
    )
    process = subprocess.Popen(
        ["prometheus", f"--config.file={settings}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    )  # fmt: skip
    try:
        lines = capture_lines(FILES["pbx"])
        async with aiohttp.ClientSession() as session:
            for begin in range(0, len(lines), 1000):
                assert await post(session, target, lines[begin : begin + 1000])
            await projected(target)
            expression = 'sum by (queue) (callkpi_calls_offered_total{queue!=""})'
            found: dict[str, int] = {}
            deadline = datetime.now(UTC) + timedelta(seconds=30)
            wanted = {name: truth["entered"] for name, truth in TRUTH["queues"].items()}
            while found != wanted and datetime.now(UTC) < deadline:
                await asyncio.sleep(0.5)
                found = await _query(session, port, expression)
            assert found == wanted
            assert await _query(session, port, 'max by (queue) (up{job="callkpi"})') == {"": 1}
    finally:
        process.terminate()
        process.wait(20)


async def _query(session: aiohttp.ClientSession, port: int, expression: str) -> dict[str, int]:
    try:
        async with session.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression}) as answer:
            body = json.loads(await answer.text())
    except (aiohttp.ClientError, json.JSONDecodeError):
        return {}
    result = body.get("data", {}).get("result", [])
    return {item["metric"].get("queue", ""): int(float(item["value"][1])) for item in result}


async def test_live_traffic_in_its_own_order_is_hardly_ever_reclassified(world: World) -> None:
    """Sent as it happens, in small pieces, the counters are the report: corrections are for late events."""
    lines = capture_lines(FILES["pbx"])[:6000]
    for begin in range(0, len(lines), 7):
        await world.send("pbx", "\n".join(lines[begin : begin + 7]))
        await world.projector.project_batch()
    page = await world.metrics()
    total = (await world.figures("line", BEGIN, END))["total"]
    assert sample(page, "callkpi_company_calls_offered_total", direction="inbound") == total["offered"]
    told = [line for line in page.splitlines() if line.startswith("callkpi_calls_reclassified_total")]
    assert told == []


async def test_pairs_of_queues_and_lines_stay_bounded_and_no_call_is_lost_to_it(world: World) -> None:
    """Few queues and few lines make many pairs; whatever comes later, a pair that was there keeps its series."""
    settings = test_settings()
    world.settings = config.Settings(
        tenants=settings.tenants, sources=settings.sources, metrics=config.Metrics(max_places=3)
    )
    at = datetime.now(UTC).timestamp() - 3000

    async def call(queue: str, line: str) -> None:
        base = {"call_id": f"{queue}-{line}", "queue": queue, "line": line, "direction": "inbound"}
        kinds = ("queued", "answered", "ended")
        await world.send_json("native", *({**base, "kind": kind, "at": at + i} for i, kind in enumerate(kinds)))
        await world.project()

    def offered(page: str) -> dict[tuple[str, str], float]:
        found = {}
        for line in page.splitlines():
            if line.startswith("callkpi_calls_offered_total{"):
                found[line.split('queue="')[1].split('"')[0], line.split('line="')[1].split('"')[0]] = float(
                    line.split()[-1]
                )
        return found

    for queue, line in (("b", "2"), ("b", "1"), ("a", "2")):
        await call(queue, line)
    before = offered(await world.metrics())
    assert before == {("b", "2"): 1, ("b", "1"): 1, ("a", "2"): 1}
    for queue, line in (("a", "1"), ("a", "0"), ("b", "0")):
        await call(queue, line)
    page = await world.metrics()
    assert offered(page) == {**before, ("a", "other"): 2, ("b", "other"): 1}
    assert sample(page, "callkpi_names_overflow", kind="place") == 3
    assert sample(page, "callkpi_calls_handled_total", queue="a", line="other") == 2
    assert sample(page, "callkpi_company_calls_offered_total", line="1") == 2


def test_people_of_teams_beyond_the_limit_are_counted_together() -> None:
    teams = {("acme", f"t{number}"): Counter(talking=number) for number in range(1, 5)}
    assert bounded_teams(teams, 2) == {
        ("acme", "t1"): {"talking": 1}, ("acme", "t2"): {"talking": 2}, ("acme", "other"): {"talking": 7},
    }  # fmt: skip
