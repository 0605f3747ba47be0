"""A customer's number is erased everywhere, and not one figure changes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi.calls import pseudonyms
from callkpi.calls.phone import normalise
from callkpi.config import ReportField
from callkpi.ingest import forgotten
from callkpi.projection.batch import Projector
from callkpi.upkeep import erasure, rebuilding
from tests.stand_ins.customers import NOBODY, call, stored
from tests.world import World, capture_lines, test_settings

NUMBER = "+77011234567"
DAY = datetime(2026, 11, 20, 5, tzinfo=UTC)


# -- forms of a number ------------------------------------------------------------------------------------

FORMS = (
    "+77011234567", "87011234567", "77011234567", "7011234567", "0077011234567", "+7 (701) 123-45-67",
    "8-701-123-45-67", "tel:+77011234567", "sip:77011234567@trunk", "SIP/77011234567-0000a1", "%2B77011234567",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_number_is_found(form: str) -> None:
    assert "1234567" not in pseudonyms.scrub(form, pseudonyms.core(NUMBER), "#").replace("-", "").replace(" ", "")


@pytest.mark.parametrize(
    "other", ["+77011234568", "+770112345670", "1795461706.7011", "e7011234567f", "17011234567890"]
)
def test_a_number_inside_of_another_is_left_alone(other: str) -> None:
    assert pseudonyms.scrub(other, pseudonyms.core(NUMBER), "#") == other


@given(st.binary(min_size=32, max_size=32), st.integers(10**6, 10**11))
def test_a_pseudonym_is_a_customer_of_its_own(key: bytes, number: int) -> None:
    pseudonym = pseudonyms.keyed_pseudonym(key, "acme", f"+7{number}")
    assert pseudonyms.PSEUDONYM.fullmatch(pseudonym)
    assert normalise(pseudonym, "KZ") == pseudonym
    assert pseudonyms.keyed_pseudonym(key, "acme", f"+7{number}") == pseudonym


def test_a_short_number_is_refused_with_the_reason() -> None:
    with pytest.raises(pseudonyms.NotErasable, match="fewer than 7 digits"):
        pseudonyms.core(normalise("1003", "KZ"))


# -- erasing ----------------------------------------------------------------------------------------------


async def a_day(world: World) -> None:
    await world.send_json(
        "native",
        *call("missed", DAY, "8 701 123-45-67", fields={"note": "call me at +7 (701) 123-45-67"}),
        *call("back", DAY + timedelta(minutes=9), NUMBER, direction="outbound", agent="Dana"),
        *call("other", DAY + timedelta(minutes=20), "+77017654321"),
    )
    await world.send("native", json.dumps({"call_id": "x", "kind": "nonsense", "customer": "87011234567"}))
    await world.project()


async def test_nothing_is_left_of_the_number_and_the_figures_stay(world: World) -> None:
    await a_day(world)
    window = (DAY - timedelta(hours=1), DAY + timedelta(hours=2))
    before = await world.figures("queue", *window)
    found = await erasure.look_for(world.pool, world.settings, "acme", "87011234567")
    assert (found.calls, found.rejected) == (2, 1)

    done = await erasure.erase(world.pool, world.settings, "acme", "8 (701) 123-45-67")

    assert (done.calls, done.rejected) == (2, 1)
    assert await stored(world, "701123") == []
    assert await stored(world, "701) 123") == []
    assert "calls" in await stored(world, done.pseudonym)
    assert await world.figures("queue", *window) == before
    assert before["rows"][0]["reached_after_miss"] == 1
    assert await world.findings() == []


async def test_ids_that_sources_make_of_numbers_stay_and_values_of_fields_do_not(pool: asyncpg.Pool) -> None:
    """A PBX may call a call by the number; and a field that reports split by may hold it."""
    world = World(pool, test_settings(fields={"callback": ReportField()}))
    await world.clear()
    async with world.running():
        for call_id, told in (("77011234567-1", "8 701 123-45-67"), ("77011234567-2", "7011234567"), ("3", "")):
            await world.send_json("native", *call(call_id, DAY, NUMBER, fields={"callback": told}))
        await world.project()
        assert (await erasure.look_for(pool, world.settings, "acme", NUMBER)).ids == 2

        done = await erasure.erase(pool, world.settings, "acme", NUMBER)

        assert (done.calls, done.ids) == (3, 2)
        assert await world.findings() == []
        rows = await pool.fetch("SELECT call_id, body ->> 'call_id' AS own FROM calls")
        assert all(row["call_id"] == row["own"] for row in rows) and len(rows) == 3
        values = await pool.fetch(
            "SELECT value, sum(offered) FROM day_rollups WHERE grain = 'call' AND field <> '' GROUP BY 1"
        )
        assert {row["value"]: row["sum"] for row in values} == {done.pseudonym: 2, "": 1}


async def test_a_rebuild_gives_the_same_tables(world: World) -> None:
    await a_day(world)
    await erasure.erase(world.pool, world.settings, "acme", NUMBER)
    before = await world.tables()
    await rebuilding.refold(world.pool, Projector(world.pool, world.settings, world.health), NOBODY)
    assert await world.tables() == before


async def test_what_is_told_again_gets_the_pseudonym_and_what_is_new_does_not(world: World) -> None:
    await a_day(world)
    done = await erasure.erase(world.pool, world.settings, "acme", NUMBER)
    world.ingest._forgotten = forgotten.Forgotten(world.settings)

    await world.send_json("native", *call("late", DAY + timedelta(minutes=30), "+7 701 1234567"))
    await world.send_json("native", *call("new", datetime.now(UTC) + timedelta(minutes=1), NUMBER))
    await world.project()

    rows = await world.pool.fetch("SELECT call_id, customer FROM calls WHERE call_id IN ('late', 'new')")
    assert {row["call_id"]: row["customer"] for row in rows} == {"late": done.pseudonym, "new": NUMBER}


async def test_asterisks_own_facts_hold_the_number_no_more(world: World) -> None:
    await world.send_lines("pbx", capture_lines("asterisk/small-events.jsonl.gz"))
    await world.project()
    row = await world.pool.fetchrow("SELECT customer, count(*) FROM calls WHERE customer ~ '^.?[0-9]{7,}$' GROUP BY 1")
    before = await world.tables()

    done = await erasure.erase(world.pool, world.settings, "acme", row["customer"])

    assert done.calls == row["count"] and done.events > done.calls
    assert await stored(world, pseudonyms.core(row["customer"])) == []
    assert await world.findings() == []
    await rebuilding.refold(world.pool, Projector(world.pool, world.settings, world.health), NOBODY)
    after = await world.tables()
    assert after["rollups"] == before["rollups"] and len(after["calls"]) == len(before["calls"])


async def test_old_numbers_become_pseudonyms_and_stay_customers(world: World) -> None:
    await a_day(world)
    await world.send_json("native", *call("before", DAY - timedelta(days=30), NUMBER, agent="Dana"))
    await world.project()

    assert await erasure.pseudonymise(world.pool, DAY.replace(day=1, hour=0), datetime(2026, 12, 1, tzinfo=UTC)) == 3

    rows = {row["call_id"]: row["customer"] for row in await world.pool.fetch("SELECT call_id, customer FROM calls")}
    assert rows["missed"] == rows["back"] != rows["other"]
    assert all(pseudonyms.PSEUDONYM.fullmatch(rows[name]) for name in ("missed", "back", "other"))
    assert rows["before"] == NUMBER
    assert await world.findings() == []


async def test_a_call_that_comes_while_its_number_is_erased_is_found_too(world: World) -> None:
    """Journalled, but no call yet when the first look is taken."""
    await a_day(world)
    await world.send_json("native", *call("coming", DAY + timedelta(minutes=40), NUMBER))

    looks = 0

    def progress(done: int, total: int) -> None:
        nonlocal looks
        looks += done == total

    erasing = asyncio.create_task(erasure.erase(world.pool, world.settings, "acme", NUMBER, progress))
    while not looks:
        await asyncio.sleep(0.01)
    await world.project()
    done = await erasing

    assert done.calls == 3
    assert await stored(world, "7011234567") == []
