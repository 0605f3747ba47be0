"""A recorded Asterisk that speaks live."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callkpi.connections.asterisk_ami import AmiLink
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper
from callkpi.connections.office import Office
from callkpi.ingest.door import Ingest
from tests.stand_ins.ami_server import SECRET, AmiServer, recorded
from tests.world import World

RECORDED = recorded()


class Counted(Intake):
    """An intake that knows how many events of Asterisk's own it was given."""

    events = 0

    async def put(self, item: Any) -> None:
        await super().put(item)
        self.events += not item["Event"].startswith("Resync")


class Live:
    """callkpi's connection to one Asterisk under test."""

    def __init__(self, world: World, dsn: str, server: AmiServer, name: str = "pbx", **settings: Any) -> None:
        address = f"127.0.0.1:{server.port}"
        own: dict[str, Any] = {"ami_address": address, "ami_user": "callkpi", "ami_secret": SECRET, **settings}
        self.world, self.server, self.name = world, server, name
        source = replace(world.settings.sources["pbx"], token="", **own)
        self.settings = replace(world.settings, sources={**world.settings.sources, name: source})
        ingest = Ingest(self.settings, world.pool, world.journal, world.health)
        office = Office(world.pool, self.settings, ingest, None, world.health)
        self.intake = Counted(name, ingest, None, world.health)
        self.link = AmiLink(office, name, source)
        self.keeper = Keeper(dsn, name, self.link, self.intake, world.health)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Live]:
        tasks = [asyncio.create_task(each) for each in (self.keeper.run(), self.intake.run(), self._project())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _project(self) -> None:
        while True:
            await self.world.project()
            await asyncio.sleep(0.03)

    async def up(self, logins: int = 1) -> None:
        """Connected for the n-th time, and everything that was asked for is settled."""
        async with asyncio.timeout(60):
            while self.server.logins < logins or not self.keeper._status.connected or self.link._owed:
                await asyncio.sleep(0.01)

    async def all_heard(self) -> None:
        """Everything that was said so far is in the store."""
        async with asyncio.timeout(60):
            while self.intake.events < self.server.said:
                await asyncio.sleep(0.01)
            await self.intake.settled()
            await self.world.project()


@contextlib.asynccontextmanager
async def listening(world: World, dsn: str, events: Sequence[dict[str, str]], **settings: Any) -> AsyncIterator[Live]:
    server = AmiServer(events)
    await server.start()
    live = Live(world, dsn, server, **settings)
    try:
        async with live.running():
            yield live
    finally:
        server.stop()


@dataclass(frozen=True)
class Stay:
    """One stay of the recording: where in the stream it begins, leaves the queue and is over."""

    uid: str
    queue: str
    joined: int
    left: int
    how: str  #: abandon | exit | answered
    done: int  #: index of the AgentComplete of an answered one
    bridged: int  #: index from which on the two are seen together


def stays(events: Sequence[dict[str, str]]) -> list[Stay]:
    found, waiting = [], {}
    done: dict[str, int] = {}
    bridged: dict[str, int] = {}
    for index in reversed(range(len(events))):
        event = events[index]
        key = event["Event"], event.get("Uniqueid", ""), event.get("Queue", "")
        if event["Event"] == "Hangup":
            done.setdefault(event["Uniqueid"], index)
        elif event["Event"] == "AgentComplete" and "DestUniqueid" in event:
            done[event["DestUniqueid"]] = index
        elif event["Event"] == "BridgeEnter":
            bridged[event["Uniqueid"]] = index
        elif event["Event"] == "AgentConnect":
            both = max(bridged[key[1]], bridged[event["DestUniqueid"]])
            waiting[key[1:]] = ("answered", index, done[event["DestUniqueid"]], both)
        elif event["Event"] == "QueueCallerAbandon":
            waiting[key[1:]] = ("abandon", index, index, 0)
        elif event["Event"] == "QueueCallerLeave":
            waiting.setdefault(key[1:], ("exit", index, index, 0))
        elif event["Event"] == "QueueCallerJoin":
            how, left, over, both = waiting.pop(key[1:])
            found.append(Stay(key[1], key[2], index, left, how, over, both))
    return found
