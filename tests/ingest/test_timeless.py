"""Events without a time of their own: a repetition is told from an event by when the two were received."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callkpi.calls.model import CallEvent, Kind
from callkpi.database import store
from callkpi.ingest.journal import Journal, first_receptions, windows_of
from callkpi.ingest.spool import Spool, Spooled
from tests.world import World

MIB = 1024 * 1024
WINDOW = timedelta(seconds=60)
NAME = ("acme", "pbx", "e1")
BEGIN = datetime(2026, 11, 24, 9, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def pause(seconds: float) -> Spooled:
    """A member of a queue pauses; without ``timestampevents`` Asterisk says the same thing each time."""
    body = {"Event": "QueueMemberPause", "Queue": "sales", "MemberName": "Dana", "Paused": "1", "PausedReason": "tea"}
    return Spooled("pbx", "application/json", at(seconds), json.dumps(body).encode())


def event(seconds: float, event_id: str = "e1") -> CallEvent:
    return CallEvent(
        tenant="acme", source="pbx", call_id="c1", kind=Kind.STARTED, at=at(seconds), event_id=event_id,
        received_at=at(seconds), timeless=True,
    )  # fmt: skip


async def received(world: World) -> list[float]:
    rows = await world.pool.fetch("SELECT received_at FROM journal ORDER BY received_at")
    return [(row["received_at"] - BEGIN).total_seconds() for row in rows]


@pytest.mark.parametrize(
    ("told", "seen", "first"),
    [
        ([0], [], [0]),
        ([0, 60], [], [0]),
        ([0, 61], [], [0, 61]),
        ([61, 0], [], [0, 61]),
        ([0, 0], [], [0]),
        ([0], [300], [0]),  # older than what was journalled before it
        ([0], [59], []),
        ([0, 300], [0, 300], []),
        ([0, 40, 80], [], [0, 80]),
    ],
)
def test_what_is_received_near_another_is_a_repetition(told: list[int], seen: list[int], first: list[int]) -> None:
    receptions = [(number, NAME, at(seconds)) for number, seconds in enumerate(told)]
    found = first_receptions(receptions, {NAME: [at(seconds) for seconds in seen]}, WINDOW)
    assert [(when - BEGIN).total_seconds() for _, _, when in found] == first


async def test_events_received_minutes_apart_are_all_there_after_an_outage(world: World, tmp_path: Path) -> None:
    """The spool gives them to the journal within one second: that is not when they were received."""
    spool = Spool(tmp_path, MIB)
    for seconds in (0, 20, 300, 310, 900):
        await spool.put(pause(seconds))
    assert await spool.drain(world.ingest.take_spooled) == 5
    assert await received(world) == [0, 300, 900]
    spool.close()


async def test_a_late_drain_is_judged_against_what_came_live_meanwhile(world: World, tmp_path: Path) -> None:
    """The journal has the newer ones already; the older ones are told twice, as after a crash of the drain."""
    await world.ingest.take_spooled(pause(0))
    await world.ingest.take_spooled(pause(1000))
    spool = Spool(tmp_path, MIB)
    for seconds in (300, 30, 1030):
        await spool.put(pause(seconds))
    waiting = [pause(seconds) for seconds in (300, 30, 1030)]
    await spool.drain(world.ingest.take_spooled)
    for item in waiting:
        await world.ingest.take_spooled(item)
    assert await received(world) == [0, 300, 1000]
    spool.close()


async def test_an_outage_longer_than_any_window_is_remembered(world: World) -> None:
    """What is told late is forgotten by when it was written down, not by how old it is."""
    await world.append([event(0)])
    await world.pool.execute(store.query("journal", "forget_timeless"), timedelta(seconds=120))
    await world.append([event(10)])
    assert await received(world) == [0]
    await world.pool.execute("UPDATE dedupe SET noted_at = noted_at - interval '25 hours'")
    await world.pool.execute(store.query("journal", "forget_timeless"), timedelta(seconds=120))
    assert await world.pool.fetchval("SELECT count(*) FROM dedupe") == 0


async def test_two_web_processes_that_drain_at_once_agree(world: World) -> None:
    """Each has half of the deliveries, and some twice, in any order; no event is lost and none is double."""
    times = [seconds for begin in range(0, 6000, 300) for seconds in (begin, begin + 5, begin + 12)]
    other = Journal(world.pool, world.health, windows_of(world.settings))
    writer = asyncio.create_task(other.run())
    order = random.Random(11)

    async def drain(journal: Journal, mine: Sequence[int]) -> None:
        for begin in range(0, len(mine), 7):
            await journal.append([event(seconds) for seconds in mine[begin : begin + 7]])

    await asyncio.gather(
        drain(world.journal, order.sample(times, len(times))), drain(other, order.sample(times, len(times)))
    )
    writer.cancel()
    found = await received(world)
    assert len(found) == 20
    assert {seconds // 300 for seconds in found} == set(range(20))
