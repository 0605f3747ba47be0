"""``callkpi serve`` connected to an Asterisk: the truth on its pages, also over a kill -9 of the daemon."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from tests.stand_ins.ami_server import SECRET, AmiServer, recorded
from tests.stand_ins.asterisk_live import RECORDED, stays
from tests.stand_ins.daemon import Daemon
from tests.stand_ins.truth import BEGIN, END, TRUTH
from tests.world import sample

CONFIG = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[sources.pbx]
kind = "asterisk"
tenant = "acme"
ami_address = "127.0.0.1:{port}"
ami_user = "callkpi"
"""


async def page(daemon: Daemon) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/metrics") as answer:
        return await answer.text()


async def queues(daemon: Daemon) -> dict[str, tuple[int, int]]:
    query = {"from": BEGIN.isoformat(), "to": END.isoformat(), "by": "queue"}
    async with aiohttp.ClientSession() as session, session.get(f"{daemon.url}/api/v1/kpi", params=query) as answer:
        return {row["queue"]: (row["offered"], row["answered"]) for row in (await answer.json())["rows"]}


async def until(is_so: Callable[[], Awaitable[bool]], daemon: Daemon) -> None:
    try:
        async with asyncio.timeout(60):
            while not await is_so():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(daemon.log.read_text()[-3000:]) from None


async def test_a_daemon_listens_is_killed_and_listens_again(data_dir: Path) -> None:
    server = AmiServer(recorded())
    await server.start()
    daemon = Daemon(data_dir / "ami", config=CONFIG.format(port=server.port))
    daemon.extra["CALLKPI_SOURCES__PBX__AMI_SECRET"] = SECRET
    whole = {name: (row["entered"], row["answered"]) for name, row in TRUTH["queues"].items()}
    # Killed where nobody in a queue begins or ends while it is away.
    busy = {index for stay in stays(RECORDED) for index in (stay.joined, stay.left, stay.done)}
    cut = next(i for i in range(6000, 9000) if not busy & set(range(i, i + 12)))

    async def connected() -> bool:
        return sample(await page(daemon), "callkpi_source_connected", source="pbx", tenant="acme") == 1

    async def says_so(logins: int) -> bool:
        return server.logins >= logins and await connected()

    await daemon.start()
    try:
        await until(lambda: says_so(1), daemon)
        await server.play(cut)
        joined = sum(stay.joined < cut for stay in stays(RECORDED))

        async def has_all() -> bool:
            return sum(offered for offered, _ in (await queues(daemon)).values()) == joined

        await until(has_all, daemon)
        await asyncio.sleep(1)
        daemon.kill()
        await server.play(12)
        await daemon.start()
        await until(lambda: says_so(2), daemon)
        await server.play()

        async def is_true() -> bool:
            return await queues(daemon) == whole

        await until(is_true, daemon)
        text = await page(daemon)
        assert sample(text, "callkpi_source_connects_total", source="pbx") >= 1
        assert sample(text, "callkpi_source_lost_payloads_total", source="pbx") == 0
        server.stop()

        async def seen_as_down() -> bool:
            return sample(await page(daemon), "callkpi_source_connected", source="pbx", tenant="acme") == 0

        await until(seen_as_down, daemon)
        problem = sample(await page(daemon), "callkpi_source_connection_problem", source="pbx")
        assert problem == 1
    finally:
        assert daemon.stop() == 0
    assert SECRET not in daemon.log.read_text()
