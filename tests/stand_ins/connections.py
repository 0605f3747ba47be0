"""A PBX that accepts connections, and what is known of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper, Status, Trouble
from callkpi.health import Reason
from callkpi.ingest.door import Ingest
from callkpi.ingest.spool import Spool
from tests.world import World


class LineLink:
    """A protocol of JSON lines over TCP: the smallest that there can be."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def hold(self, intake: Intake, status: Status) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise Trouble(Reason.UNREACHABLE, str(error)) from None
        try:
            status.up()
            while line := await reader.readline():
                status.heard()
                await intake.put(json.loads(line))
        finally:
            writer.close()
        raise Trouble(Reason.CLOSED, "the other side closed")


class Pbx:
    """Says what it is told to all who are connected."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.met = 0

    async def _serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        self.writers.append(writer)

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def say(self, item: dict[str, str]) -> None:
        for writer in self.writers:
            writer.write(json.dumps(item).encode() + b"\n")
            await writer.drain()

    def cut(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()


@contextlib.asynccontextmanager
async def kept(world: World, dsn: str, port: int, spool: Spool | None = None) -> AsyncIterator[Intake]:
    ingest = Ingest(world.settings, world.pool, world.journal, world.health, spool)
    intake = Intake("native", ingest, spool, world.health)
    keeper = Keeper(dsn, "native", LineLink(port), intake, world.health)
    tasks = [asyncio.create_task(keeper.run()), asyncio.create_task(intake.run())]
    try:
        yield intake
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await true():
            await asyncio.sleep(0.02)
