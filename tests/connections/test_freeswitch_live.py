"""FreeSWITCH's event socket over TCP, against a stand-in with its framing, into a real store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from callkpi import config
from callkpi.connections import esl_protocol
from callkpi.connections.freeswitch_esl import EslLink
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Status, Trouble
from callkpi.connections.office import Office
from callkpi.health import Reason
from tests.stand_ins.daemon import daemon
from tests.stand_ins.esl_server import PASSWORD, EslServer, Floor
from tests.stand_ins.freeswitch_calls import COMMON, EXPECTED
from tests.stand_ins.freeswitch_model import CALLS, Switch
from tests.world import World, sample


def settings(server: EslServer, password: str = PASSWORD) -> config.Settings:
    source = config.Source(
        kind=config.SourceKind.FREESWITCH, tenant="acme", token="t", esl_address=f"127.0.0.1:{server.port}",
        esl_password=password,
    )  # fmt: skip
    return config.Settings(tenants={"acme": config.Tenant(timezone="Asia/Almaty", region="KZ")}, sources={"fs": source})


class Line:
    """A link on its way to a store."""

    def __init__(self, world: World, server: EslServer) -> None:
        self.world, self.server = world, server
        self.office = Office(world.pool, world.settings, world.ingest, None, world.health)
        self.intake = Intake("fs", world.ingest, None, world.health)
        self.link = EslLink(self.office, "fs", world.settings.sources["fs"])
        self.status = Status()
        self.tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> asyncio.Task[None]:
        holding = asyncio.create_task(self.link.hold(self.intake, self.status))
        self.tasks.append(holding)
        ups = self.status.ups
        await until(lambda: self.status.ups > ups or holding.done())
        if holding.done():
            holding.result()
        return holding

    async def lost(self, holding: asyncio.Task[None]) -> Trouble:
        with pytest.raises(Trouble) as caught:
            await holding
        self.status.down(caught.value)
        return caught.value

    async def settled(self) -> None:
        """Everything that was said is in the tables, and what was missed is asked for."""
        deadline = time.monotonic() + 20
        while self.link._owed and time.monotonic() < deadline:
            await self.world.project()
            await asyncio.sleep(0.05)
        assert not self.link._owed
        await self.intake.settled()
        await self.world.project()

    async def calls(self) -> list[asyncpg.Record]:
        return list(await self.world.pool.fetch("SELECT * FROM calls ORDER BY started_at, call_id"))

    async def agents(self) -> dict[tuple[str, str], str]:
        rows = await self.world.pool.fetch("SELECT agent, queue, state FROM agent_states")
        return {(row["agent"], row["queue"]): row["state"] for row in rows}


async def until(true: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


@pytest.fixture
async def server() -> AsyncIterator[EslServer]:
    server = EslServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def line(pool: asyncpg.Pool, server: EslServer) -> AsyncIterator[Line]:
    world = World(pool, settings(server))
    await world.clear()
    async with world.running():
        line = Line(world, server)
        line.tasks.append(asyncio.create_task(line.intake.run()))
        yield line
        for task in reversed(line.tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Trouble):
                await task


def recent(name: str, minutes: float = 10) -> Switch:
    """A call that began some minutes ago: what is asked now is asked after it."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes)
    fs = Switch(start=start)
    CALLS[name](fs)
    return fs


@pytest.mark.parametrize(("piece", "as_json"), [(0, False), (0, True), (1, False), (40, True)])
async def test_every_call_is_read_however_the_bytes_are_cut(line: Line, piece: int, as_json: bool) -> None:
    line.server.piece, line.server.as_json = piece, as_json
    await line.connect()
    names = ["queue_answered", "blind_transfer"] if piece else sorted(CALLS)
    for name in names:
        await line.server.publish(*recent(name).events)
    await asyncio.sleep(0.3)
    await line.settled()
    rows = await line.calls()
    assert sorted(row["outcome"] for row in rows) == sorted(EXPECTED[name]["outcome"] for name in names)
    directions = sorted({**COMMON, **EXPECTED[name]}["direction"] for name in names)
    assert sorted(row["direction"] for row in rows) == directions
    assert await line.world.findings() == []


async def test_a_wrong_password_is_told_as_refused_and_never_shown(line: Line) -> None:
    line.link._source = replace(line.link._source, esl_password="not-the-password")
    with pytest.raises(Trouble) as caught:
        await line.connect()
    assert caught.value.reason is Reason.REFUSED and "not-the-password" not in caught.value.text
    assert line.server.logins == 0


async def test_a_cut_in_the_middle_of_a_call_loses_no_call_and_counts_none_twice(line: Line) -> None:
    fs = recent("queue_answered", minutes=1)
    bridge = next(n for n, event in enumerate(fs.events) if event["Event-Name"] == "CHANNEL_BRIDGE")
    holding = await line.connect()
    await line.server.publish(*fs.events[:bridge])
    await line.settled()
    line.server.cut()
    assert (await line.lost(holding)).reason is Reason.CLOSED
    await line.server.publish(*fs.events[bridge : bridge + 2])
    await line.connect()
    await line.settled()
    (row,) = await line.calls()
    assert row["outcome"] == "open" and row["answered_at"] is not None
    await line.server.publish(*fs.events[bridge + 2 :])
    await asyncio.sleep(0.2)
    await line.settled()
    (row,) = await line.calls()
    assert (row["call_id"], row["outcome"]) == ("a-100", "answered")
    assert await line.world.findings() == []
    page = await line.world.metrics()
    assert sample(page, "callkpi_calls_ended_total", outcome="answered") == 1


async def test_a_restart_ends_what_was_and_the_next_call_is_another(line: Line) -> None:
    fs = recent("queue_answered", minutes=5)
    holding = await line.connect()
    await line.server.publish(*fs.events[:20])
    await asyncio.sleep(0.1)
    await line.settled()
    await line.server.stop()
    await line.lost(holding)
    line.server.floor = Floor()
    await line.server.start()
    await line.connect()
    await line.settled()
    (row,) = await line.calls()
    assert row["outcome"] == "answered" and row["ended_at"] is not None
    assert "unheard" in row["body"]
    new = Switch("c0e0f1d2-0000-4000-8000-000000000002", datetime.now(UTC) - timedelta(minutes=2))
    CALLS["direct"](new)
    await line.server.publish(*new.events)
    await asyncio.sleep(0.2)
    await line.settled()
    assert [(row["call_id"], row["outcome"]) for row in await line.calls()] == [
        ("a-100", "answered"), ("a-400", "answered"),
    ]  # fmt: skip
    assert await line.world.findings() == []


async def test_agents_are_as_freeswitch_says_also_after_a_cut_and_a_pause_counts_once(line: Line) -> None:
    fs = Switch(start=datetime.now(UTC) - timedelta(minutes=3))
    fs.status("1000@default", "Available")
    fs.status("1001@default", "Available")
    fs.at(60)
    fs.status("1000@default", "On Break")
    fs.state("1000@default", "Waiting")
    fs.at(120)
    fs.status("1001@default", "Logged Out")
    holding = await line.connect()
    await line.server.publish(*fs.events[:3])
    await asyncio.sleep(0.1)
    await line.settled()
    queue = "support@default"
    assert await line.agents() == {("1000@default", queue): "paused", ("1001@default", queue): "available"}
    line.server.cut()
    await line.lost(holding)
    await line.server.publish(*fs.events[3:])
    await line.connect()
    await line.settled()
    assert await line.agents() == {("1000@default", queue): "paused", ("1001@default", queue): "offline"}
    pauses = await line.world.pool.fetchval("SELECT sum(pauses) FROM agent_rollups WHERE agent = '1000@default'")
    assert pauses == 1


async def test_a_good_bye_that_lingers_is_none_yet(line: Line) -> None:
    holding = await line.connect()
    await line.server.notice("linger")
    await line.server.publish(*recent("direct").events)
    await asyncio.sleep(0.2)
    assert not holding.done()
    await line.server.notice("disconnect")
    assert (await line.lost(holding)).reason is Reason.CLOSED
    await line.settled()
    assert [row["outcome"] for row in await line.calls()] == ["answered"]


async def test_silence_is_asked_after_and_a_dead_line_is_left(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esl_protocol, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(esl_protocol, "ANSWER_SECONDS", 0.5)
    holding = await line.connect()
    asked = len(line.server.commands)
    await until(lambda: len(line.server.commands) > asked)
    assert line.server.commands[-1] == "api strepoch" and not holding.done()
    line.server.is_deaf = True
    assert (await line.lost(holding)).reason in (Reason.TIMEOUT, Reason.CLOSED)


CONFIG = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[sources.fs]
kind = "freeswitch"
tenant = "acme"
esl_address = "127.0.0.1:{port}"
esl_password = "{password}"
"""


async def test_the_daemon_keeps_the_connection_and_shows_it(server: EslServer, data_dir: Path) -> None:
    text = CONFIG.format(port=server.port, password=PASSWORD)
    async with daemon(data_dir / "freeswitch", config=text) as running, aiohttp.ClientSession() as http:
        await until(lambda: server.subscribed, 60)
        await server.publish(*recent("queue_answered").events)

        async def page() -> str:
            async with http.get(f"{running.url}/metrics") as answer:
                return await answer.text()

        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            shown = await page()
            if sample(shown, "callkpi_calls_ended_total", outcome="answered") == 1:
                break
            await asyncio.sleep(0.3)
        assert sample(shown, "callkpi_calls_ended_total", outcome="answered") == 1
        assert sample(shown, "callkpi_source_connected", source="fs") == 1
        assert PASSWORD not in running.log.read_text() and PASSWORD not in shown
