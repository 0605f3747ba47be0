"""One stream that can't be projected costs that stream: the others are in the tables, and it is when it can be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from callkpi.calls.model import CallEvent, Direction, Kind
from callkpi.database import store
from callkpi.projection import batch, folding, isolation
from callkpi.projection.batch import Projector
from tests.world import World, sample

BEGIN = datetime(2026, 3, 2, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)

_REFUSE = """
CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.{column} LIKE 'poison%' THEN
        RAISE EXCEPTION 'the test refuses it' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_poison();
"""


@contextlib.asynccontextmanager
async def refusing(world: World, state: str, table: str = "rollups", column: str = "queue") -> AsyncIterator[None]:
    """The database answers with this SQLSTATE to everything that is counted for a queue or agent named poison…"""
    await world.pool.execute(_REFUSE.format(state=state, table=table, column=column))
    try:
        yield
    finally:
        await world.pool.execute("DROP FUNCTION refuse_poison CASCADE")


def told(call_id: str, kind: Kind, at: datetime, **facts: Any) -> CallEvent:
    return CallEvent(
        tenant="acme", source="native", call_id=call_id, kind=kind, at=at, received_at=at,
        event_id=f"{call_id}-{kind}-{at}", **facts,
    )  # fmt: skip


def call(call_id: str, queue: str, at: datetime = BEGIN, linked_to: str = "") -> list[CallEvent]:
    """A call that waits for ten seconds in a queue and gives up."""

    def event(kind: Kind, seconds: int, **facts: Any) -> CallEvent:
        moment = at + seconds * SECOND
        return told(call_id, kind, moment, **facts)

    link = [event(Kind.LINKED, 1, linked_to=linked_to)] if linked_to else []
    return [event(Kind.QUEUED, 0, queue=queue, direction=Direction.INBOUND), *link, event(Kind.ENDED, 10)]


async def calls(world: World) -> set[str]:
    return {row["call_id"] for row in await world.pool.fetch("SELECT call_id FROM calls")}


async def aside(world: World) -> dict[str, str]:
    return {row["call_id"]: row["reason"] for row in await world.pool.fetch("SELECT call_id, reason FROM set_aside")}


async def retried(world: World) -> None:
    """Somebody says that the fault was mended, and a sweep comes by."""
    await isolation.retry_all(world.pool)
    await world.project()


@pytest.mark.parametrize("state", ["54000", "22003", "23514"])
async def test_what_the_database_refuses_is_set_aside_and_nobody_else_waits(world: World, state: str) -> None:
    names = [f"good-{n}" for n in range(40)]
    async with refusing(world, state):
        for n, name in enumerate(names):
            await world.append(call(name, "sales"))
            if n in (7, 23):
                # One alone, and one among the others of its delivery.
                await world.append([*call(f"bad-{n}", "poison"), *call(f"beside-{n}", "sales")])
        await world.project()
        assert await calls(world) == {*names, "beside-7", "beside-23"}
        found = await aside(world)
        assert found.keys() == {"bad-7", "bad-23"}
        assert all("the test refuses it" in reason for reason in found.values())
        assert [finding for finding in await world.findings() if "set aside" not in finding] == []
    await retried(world)
    assert await calls(world) == {*names, "beside-7", "beside-23", "bad-7", "bad-23"}
    assert await aside(world) == {}
    assert await world.findings() == []


async def test_further_events_of_what_stands_aside_hold_nobody_up(world: World) -> None:
    """They are read with it when it is tried again; until then no batch fails for them."""
    async with refusing(world, "54000"):
        await world.append(call("bad", "poison"))
        await world.project()
        late = call("bad", "poison", BEGIN + timedelta(minutes=5))
        await world.append([*late, *call("good", "sales")])
        assert await world.projector.project_batch() == 1
        assert await calls(world) == {"good"}
    await retried(world)
    last = await world.pool.fetchval("SELECT last_event_at FROM calls WHERE call_id = 'bad'")
    assert last == late[-1].at
    assert await world.findings() == []


async def test_what_stands_aside_is_told(world: World) -> None:
    async with refusing(world, "54000"):
        await world.append(call("bad", "poison"))
        await world.project()
    assert sample(await world.metrics(), "callkpi_projector_set_aside", tenant="acme") == 1
    (finding,) = await world.findings()
    assert finding.startswith("call native/bad: is set aside since ")
    assert finding.endswith("the test refuses it")


async def test_the_next_tries_come_at_growing_distances(world: World) -> None:
    async with refusing(world, "54000"):
        await world.append(call("bad", "poison"))
        waits = []
        for _ in range(3):
            await retried(world)
            row = await world.pool.fetchrow("SELECT tries, next_try_at - now() AS wait FROM set_aside")
            waits.append((row["tries"], round(row["wait"] / timedelta(minutes=1))))
    assert waits == [(1, 1), (2, 5), (3, 25)]


@pytest.mark.parametrize("state", ["53100", "53200", "53300", "25006", "55P03", "57014", "57P03", "58030", "XX000"])
async def test_a_state_of_the_database_sets_nothing_aside(world: World, state: str) -> None:
    await world.append(call("one", "poison"))
    async with refusing(world, state):
        with pytest.raises(asyncpg.PostgresError):
            await world.projector.project_batch()
        assert await aside(world) == {}
    await world.project()
    assert await calls(world) == {"one"}


async def test_a_stream_whose_statements_never_end_is_found_all_the_same(world: World) -> None:
    """A statement that is cancelled each time tells of the server or of one monstrous call: the others decide."""
    async with refusing(world, "57014"):
        await world.append(call("bad", "poison"))
        await world.append(call("good", "sales"))
        for _ in range(12):
            with contextlib.suppress(asyncpg.QueryCanceledError):
                await world.projector.project_batch()
        assert await calls(world) == {"good"}
        assert (await aside(world)).keys() == {"bad"}


async def test_a_running_projector_survives_what_it_can_not_project(world: World) -> None:
    async with refusing(world, "54000"):
        running = asyncio.create_task(world.projector.run())
        await world.append(call("bad", "poison"))
        await world.append(call("good", "sales"))
        async with asyncio.timeout(30):
            while await calls(world) != {"good"} or not await aside(world):
                assert not running.done()
                await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])


async def test_events_that_can_not_be_read_cost_their_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    original = folding.fold

    def broken(call_id: str, *rest: object) -> object:
        if call_id.startswith("bad"):
            raise KeyError("nobody foresaw it, customer 77011234567")
        return original(call_id, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(folding, "fold", broken)
    await world.append([*call("bad-1", "sales"), *call("good", "sales"), *call("bad-2", "sales")])
    await world.project()
    assert await calls(world) == {"good"}
    found = await aside(world)
    assert found.keys() == {"bad-1", "bad-2"}
    assert "77011234567" not in "".join(found.values())
    monkeypatch.setattr(folding, "fold", original)
    await retried(world)
    assert await calls(world) == {"good", "bad-1", "bad-2"}


async def test_a_chain_of_linked_calls_is_joined_in_one_step(world: World) -> None:
    """Each is known to the next alone, and all but the first wait in groups behind it."""
    for n in range(60):
        await world.append(call(f"c{n:02}", "sales", linked_to=f"c{n + 1:02}"))
    await world.append(call("c60", "sales"))
    await world.projector._project(isolation.Attempt(most_groups=1))
    assert await world.pool.fetchval("SELECT count(*) FROM call_keys WHERE root = 'c00'") == 61
    await world.project()
    assert await calls(world) == {"c00"}
    assert await world.findings() == []


async def test_a_chain_without_end_is_set_aside(world: World) -> None:
    for first in range(0, 1500, 300):
        chain = [call(f"c{n:04}", "sales", linked_to=f"c{n + 1:04}") for n in range(first, first + 300)]
        await world.append([event for events in chain for event in events])
    await world.append(call("good", "sales"))
    await world.project()
    assert "good" in await calls(world)
    found = await aside(world)
    assert len(found) >= 1500 - isolation.MOST_STREAMS_OF_A_CALL
    assert set(found.values()) == {"more than 200 calls are linked to each other"}


async def test_a_call_of_too_many_events_is_set_aside(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MOST_EVENTS_OF_A_CALL", 3)
    await world.append([*call("long", "sales"), *call("long", "sales", BEGIN + SECOND), *call("good", "sales")])
    await world.project()
    assert await calls(world) == {"good"}
    assert await aside(world) == {"long": "the call has more than 3 events"}


@pytest.mark.parametrize("moved", [timedelta(days=-31), timedelta(days=-400)])
async def test_a_call_moves_into_a_month_without_a_partition(world: World, moved: timedelta) -> None:
    await world.append(call("one", "sales"))
    await world.project()
    early = call("one", "sales", BEGIN + moved)[0]
    await world.append([early])
    await asyncio.wait_for(world.project(), 30)
    assert await world.pool.fetchval("SELECT min(started_at) FROM calls") == early.at
    assert await aside(world) == {}


async def test_a_month_that_was_dropped_meanwhile_is_made_again(world: World) -> None:
    """Retention drops a month; a projector that remembers it finds that out."""
    at = datetime(2019, 5, 6, tzinfo=UTC)
    await world.append(call("one", "sales", at))
    await world.project()
    await world.pool.execute("DELETE FROM calls; DROP TABLE calls_2019_05")
    await world.append(call("two", "sales", at))
    await world.project()
    assert await calls(world) == {"two"}
    assert await aside(world) == {}


async def test_a_second_projector_finds_what_the_first_one_leaves(world: World) -> None:
    """Of 48 groups the first takes what makes a batch, and locks no more than that."""
    streams = [[f"{group}-{n}" for n in range(200)] for group in range(48)]
    for ids in streams:
        await world.append([told(i, Kind.ENDED, BEGIN) for i in ids])
    take = store.query("projector", "take_pending")
    limits = (batch.BATCH_GROUPS, batch.BATCH_CALLS, False, True)
    pool = world.pool
    async with pool.acquire() as first, pool.acquire() as second, first.transaction(), second.transaction():
        taken, others = await first.fetch(take, *limits), await second.fetch(take, *limits)
    assert len(taken) == 5
    assert len(others) == 5


async def test_times_of_one_agent_that_can_not_be_computed_cost_that_agent(world: World) -> None:
    """Neither the times of the others nor any call wait for him."""

    def pause(agent: str) -> CallEvent:
        return told(f"agent:{agent}", Kind.AGENT_STATE, BEGIN, agent=agent, state="paused", reason="lunch")

    async with refusing(world, "54000", table="agent_times", column="agent"):
        await world.append([pause("poison"), pause("Dana"), *call("good", "sales")])
        await world.project()
        assert await calls(world) == {"good"}
        known = {row["agent"] for row in await world.pool.fetch("SELECT DISTINCT agent FROM agent_times")}
        assert known == {"Dana"}
        assert (await aside(world)).keys() == {"agent:poison"}
        assert any("times of native/agent:poison" in finding for finding in await world.findings())
    await retried(world)
    known = {row["agent"] for row in await world.pool.fetch("SELECT DISTINCT agent FROM agent_times")}
    assert known == {"Dana", "poison"}
    assert await aside(world) == {}
    assert await world.findings() == []


async def test_a_source_with_a_long_backlog_holds_up_no_other(world: World) -> None:
    """Sources take turns: a call that comes behind a thousand groups of another source is in the next batch."""
    for group in range(600):
        await world.append([told(f"{group}-{n}", Kind.ENDED, BEGIN) for n in range(20)])
    await world.append([replace(event, source="pbx") for event in call("other", "sales")])
    await world.projector.project_batch()
    assert "other" in await calls(world)


async def test_a_source_whose_groups_fill_a_batch_holds_up_no_other(world: World) -> None:
    for group in range(3):
        await world.append([told(f"{group}-{n}", Kind.ENDED, BEGIN) for n in range(batch.BATCH_CALLS)])
    await world.append([replace(event, source="pbx") for event in call("other", "sales")])
    await world.projector.project_batch()
    assert "other" in await calls(world)


async def test_small_groups_do_not_wait_for_the_end_of_a_batch_of_big_ones(world: World) -> None:
    """Batches with and without big groups take turns."""
    for group in range(20):
        await world.append([told(f"{group}-{n}", Kind.ENDED, BEGIN) for n in range(500)])
    done = []
    for number in range(4):
        await world.append([replace(event, source="pbx") for event in call(f"other-{number}", "sales")])
        done.append(await world.projector.project_batch())
        assert f"other-{number}" in await calls(world)
    assert done == [3, 1, 3, 1]


async def test_groups_of_the_same_calls_are_projected_together(world: World) -> None:
    """A thousand calls with an event in each of twelve groups are folded twice, not twelve times."""
    for minute in range(12):
        at = BEGIN + timedelta(minutes=minute)
        await world.append([told(f"c{n}", Kind.HELD, at) for n in range(batch.BATCH_CALLS)])
    take = store.query("projector", "take_pending")
    limits = (batch.BATCH_GROUPS, batch.BATCH_CALLS, False, True)
    async with world.pool.acquire() as connection, connection.transaction():
        taken = [len(await connection.fetch(take, *limits)) for _ in range(3)]
    assert taken == [10, 2, 0]


async def test_a_rebuild_takes_up_what_stands_aside(world: World) -> None:
    from callkpi.upkeep.rebuilding import refold

    async with refusing(world, "54000"):
        await world.append([*call("bad", "poison"), *call("good", "sales")])
        await world.project()
    await refold(world.pool, Projector(world.pool, world.settings, world.health), lambda _done, _total: None)
    assert await calls(world) == {"bad", "good"}
    assert await aside(world) == {}
