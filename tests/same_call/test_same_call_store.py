"""One call that two sources tell of is one call: in calls, rollups, counters, fates, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given

from callkpi import config
from callkpi.calls.model import Call, CallEvent
from callkpi.calls.rows import call_from_body
from callkpi.database import store
from callkpi.projection import batch
from callkpi.projection.batch import Projector
from callkpi.same_call.check import notes
from callkpi.sources.bitrix24 import row_item
from callkpi.upkeep.erasure import erase
from callkpi.upkeep.rebuilding import refold
from callkpi.web.access import install
from callkpi.web.api import Api
from tests.stand_ins.connector import FAULTS, Connector, interleaved
from tests.stand_ins.truth import expect_truth
from tests.strategies import arrival, told_twice
from tests.world import PORTAL_TOKEN, TOKENS, World, capture_lines, retimed, sample, test_settings

BEGIN, END = datetime(2026, 11, 23, 18, tzinfo=UTC), datetime(2026, 11, 23, 21, tzinfo=UTC)
DAY = capture_lines("asterisk/events.jsonl.gz")
W = TypeVar("W", bound=World)
Arrival = tuple[list[CallEvent], list[list[CallEvent]]]


def ruled(*sources: str, **rule: Any) -> config.Settings:
    """The usual settings, with a rule for these sources."""
    settings = test_settings()
    tenant = replace(settings.tenants["acme"], same_call=config.SameCall(sources=sources, **rule))
    return replace(settings, tenants={"acme": tenant})


@contextlib.asynccontextmanager
async def emptied(world: W) -> AsyncIterator[W]:
    await world.clear()
    async with world.running():
        yield world


@pytest.fixture
async def both(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """A store of a tenant whose native PBX and portal see the same calls."""
    async with emptied(World(pool, ruled("native", "portal"))) as world:
        yield world


@given(arrival(told_twice()))
async def test_any_order_and_repetition_over_both_sources_gives_the_same(both: World, case: Arrival) -> None:
    events, deliveries = case
    await both.clear()
    await both.append(events)
    await both.project()
    expected, counters = await both.tables(), await both.net_counters()
    await both.clear()
    before: dict[Any, int] = {}
    for delivery in deliveries:
        await both.append(delivery)
        await both.project()
        assert await both.findings() == []
        rows = await both.pool.fetch(store.query("reports", "counters"))
        after = {tuple(row.values())[:7]: row["value"] for row in rows}
        assert all(after[key] >= value for key, value in before.items())
        before = after
    assert await both.tables() == expected
    assert await both.net_counters() == counters


@given(arrival(told_twice()))
async def test_projectors_at_once_and_a_rebuild_give_the_same(
    both: World, monkeypatch: pytest.MonkeyPatch, case: Arrival
) -> None:
    events, deliveries = case
    monkeypatch.setattr(batch, "BATCH_GROUPS", 2)
    await both.clear()
    await both.append(events)
    await both.project()
    expected, counters = await both.tables(), await both.net_counters()
    await both.clear()
    for delivery in deliveries:
        for event in delivery:
            await both.append([event])
    others = [Projector(both.pool, both.settings, both.health) for _ in range(2)]
    await asyncio.gather(*(each.drain() for each in (both.projector, *others)))
    await both.project()
    assert await both.tables() == expected
    assert await both.net_counters() == counters
    await refold(both.pool, both.projector, lambda _done, _total: None)
    assert await both.tables() == expected
    assert await both.net_counters() == counters


# -- a recorded day and a connector that registers its calls -----------------------------------------------


async def alone(world: World, lines: list[str]) -> tuple[list[Call], dict[str, Any], Counter[tuple[str, str]]]:
    """The day as the PBX alone tells it: its calls, every figure, and what the counters make of it."""
    await world.send_lines("pbx", lines)
    await world.project()
    rows = await world.pool.fetch("SELECT body FROM calls ORDER BY started_at, call_id")
    told = [call_from_body(row["body"]) for row in rows]
    result = told, await figures(world), await world.net_counters()
    await world.clear()
    return result


async def figures(world: World) -> dict[str, Any]:
    return {by: await world.figures(by, BEGIN, END) for by in ("queue", "agent", "line", "direction", "outcome")}


async def both_tell(world: World, lines: list[str], sent: list[tuple[datetime, bytes]]) -> None:
    """The PBX and the portal at once, in the order of their clocks, projected as they come."""
    timed = [(datetime.fromtimestamp(json.loads(line)["received_at"], UTC), line) for line in lines]
    waiting: list[str] = []
    for number, item in enumerate(interleaved(timed, sent)):
        if isinstance(item, str):
            waiting.append(item)
            continue
        if waiting:
            await world.send("pbx", "\n".join(waiting))
            waiting = []
        await world.send("portal", item, "application/x-www-form-urlencoded")
        if number % 200 == 0:
            await world.projector.project_batch()
    if waiting:
        await world.send("pbx", "\n".join(waiting))
    await world.project()


async def reconcile(world: World, connector: Connector) -> None:
    """What the reconciler reads of the portal's statistics later."""
    items = [row_item(row, 1) for row in connector.rows]
    await world.ingest.take_fetched("portal", items, datetime.now(UTC), is_voice=False, counted=True)
    await world.project()


@pytest.fixture
async def office(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """An Asterisk and the portal that its connector registers every call in."""
    async with emptied(World(pool, ruled("pbx", "portal"))) as world:
        yield world


async def test_a_day_that_a_connector_registers_counts_as_the_pbx_alone(office: World) -> None:
    """By number and time, with every fault of the connector; the day twelve times as long as recorded."""
    lines = retimed(DAY, BEGIN, factor=12)
    calls, expected, counted = await alone(office, lines)
    connector = Connector(PORTAL_TOKEN)
    connector.take(calls)
    assert set(connector.faulty) == {*FAULTS, "one_id_for_two"}
    await both_tell(office, lines, connector.sent)
    await reconcile(office, connector)
    assert await figures(office) == expected
    assert await office.net_counters() == counted
    assert await office.findings() == []
    page = await office.metrics()
    assert sample(page, "callkpi_calls_united_total", rule="number") >= len(connector.calls)  # type: ignore[operator]
    told = [call_from_body(row["body"]) for row in await office.pool.fetch("SELECT body FROM calls")]
    finished = {row["CALL_ID"] for row in connector.rows}
    assert sum(call.crm == {"activity": "90211", "lead": "7"} and call.rating == 4 for call in told) == len(finished)
    assert any("conflicting_outcome" in call.flags for call in told)


async def test_with_the_pbxs_ids_in_the_portal_the_truth_of_the_recorded_day_stands(office: World) -> None:
    """At its own speed, where customers call again within a second: times alone would not tell."""
    lines = retimed(DAY, BEGIN)
    calls, expected, counted = await alone(office, lines)
    connector = Connector(PORTAL_TOKEN, 5, faults={**FAULTS, "unfinished": 0.0, "end_lost": 0.0}, names_ids=True)
    connector.take(calls)
    await both_tell(office, lines, connector.sent)
    await reconcile(office, connector)
    await expect_truth(office, "pbx")
    assert await figures(office) == expected
    assert await office.net_counters() == counted
    assert await office.findings() == []
    rules = await office.pool.fetch("SELECT rule, count(*) AS calls FROM same_call_sides GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rules] == [("", len(calls)), ("id", len(connector.calls))]
    await refold(office.pool, office.projector, lambda _done, _total: None)
    assert await figures(office) == expected


async def test_switched_off_both_count_and_a_rebuild_makes_them_one(pool: asyncpg.Pool) -> None:
    lines = retimed(DAY, BEGIN, factor=12)
    off, on = World(pool, ruled("pbx", "portal", by=())), World(pool, ruled("pbx", "portal"))
    await off.clear()
    async with off.running():
        calls, expected, _ = await alone(off, lines)
        connector = Connector(PORTAL_TOKEN, 1, faults={})
        connector.take(calls)
        await both_tell(off, lines, connector.sent)
        told = (await figures(off))["direction"]["total"]
        assert told["offered"] == 2 * expected["direction"]["total"]["offered"]
    assert await notes(pool, off.settings) == []
    again = "; after a change of same_call run 'callkpi rebuild'"
    assert await notes(pool, on.settings) == [
        "acme: calls of pbx, portal that are one with another source's: 0 by id, 0 by number",
        f"acme: {len(calls)} calls of pbx are older than same_call{again}",
        f"acme: {len(calls)} calls of portal are older than same_call{again}",
    ]
    await refold(pool, on.projector, lambda _done, _total: None)
    assert await figures(on) == expected
    assert await notes(pool, on.settings) == [
        f"acme: calls of pbx, portal that are one with another source's: 0 by id, {len(calls)} by number"
    ]
    assert await notes(pool, off.settings) == [f"acme: calls were united by rules that are off now{again}"]
    await refold(pool, off.projector, lambda _done, _total: None)
    assert (await figures(off))["direction"]["total"]["offered"] == told["offered"]


# -- one call after the other ------------------------------------------------------------------------------

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
ANA, BEK = "+77010000001", "+77010000002"


def told(call_id: str, kind: str, seconds: float = 0, **facts: Any) -> dict[str, Any]:
    """A native event; of a call whose id is in capitals the PBX tells, of others the CRM."""
    return {"call_id": call_id, "kind": kind, "at": (AT + timedelta(seconds=seconds)).isoformat(), **facts}


def began(call_id: str, seconds: float = 0, customer: str = ANA, **facts: Any) -> dict[str, Any]:
    return told(call_id, "started", seconds, customer=customer, direction="inbound", **facts)


def missed(call_id: str, seconds: float = 10) -> dict[str, Any]:
    return told(call_id, "ended", seconds, hangup_by="customer")


def talked(call_id: str, seconds: float = 5, until: float = 65) -> list[dict[str, Any]]:
    return [told(call_id, "answered", seconds, agent="Dana"), told(call_id, "ended", until)]


class Pair(World):
    """A PBX and a CRM that both speak the native format."""

    async def hear(self, *events: dict[str, Any]) -> None:
        for event in events:
            await self.send_json("native" if event["call_id"].isupper() else "crm", event)
            await self.project()
            assert await self.findings() == []

    async def calls(self) -> list[str]:
        """Calls by their ids, those of their twins behind."""
        rows = await self.pool.fetch("SELECT body FROM calls ORDER BY started_at, call_id")
        told = [call_from_body(row["body"]) for row in rows]
        return [call.call_id + "".join(twin.call_id for twin in call.twins) for call in told]

    async def inbound(self) -> dict[str, Any]:
        return dict((await self.kpi("direction", AT - timedelta(days=1), AT + timedelta(days=1)))["inbound"])


@pytest.fixture
async def pair(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setitem(TOKENS, "crm", TOKENS["native"])
    settings = ruled("native", "crm")
    sources = {**settings.sources, "crm": settings.sources["native"]}
    async with emptied(Pair(pool, replace(settings, sources=sources))) as world:
        yield world


async def test_a_customer_is_missed_and_called_back_once(pair: Pair) -> None:
    await pair.hear(began("A"), began("a", 1), missed("A"), missed("a", 11))
    assert (await pair.calls(), (await pair.inbound())["missed"]) == (["Aa"], 1)
    (item,) = await pair.reports.missed("acme")
    assert (item["calls"], item["last_call"]) == (1, "native/A")
    back = {"direction": "outbound", "customer": ANA}
    for name in ("B", "b"):
        await pair.hear(told(name, "started", 600, **back), *talked(name, 605, 660))
    row = await pair.inbound()
    assert (row["called_back"], row["reached_after_miss"], row["still_waiting"]) == (1, 1, 0)
    assert await pair.reports.missed("acme") == []


async def test_while_both_go_on_one_customer_waits(pair: Pair) -> None:
    await pair.hear(began("a"), began("A", -1))
    rows = await pair.pool.fetch(store.query("reports", "open_calls"))
    assert [call_from_body(row["body"]).call_id for row in rows] == ["A"]
    assert (await pair.inbound())["open"] == 1


async def test_a_union_that_comes_late_takes_nothing_from_the_counters_and_says_so(pair: Pair) -> None:
    await pair.hear(began("a"), missed("a"))
    await pair.hear(began("A", 1, line="200"), told("A", "queued", 1, queue="sales"), *talked("A", 5, 9))
    assert await pair.calls() == ["Aa"]
    assert await pair.net_counters() == Counter({("ended", "answered"): 1, ("offered", ""): 1})
    page = await pair.metrics()
    assert sample(page, "callkpi_calls_missed_total", reason="abandoned") == 1
    assert sample(page, "callkpi_calls_reclassified_total", **{"from": "abandoned", "to": "open"}) == 1
    assert sample(page, "callkpi_calls_united_total", rule="number") == 1
    assert sample(page, "callkpi_calls_split_total", rule="number") == 0


async def test_a_later_event_that_shows_another_customer_splits_them_again(pair: Pair) -> None:
    await pair.hear(began("A"), began("a", 1), *talked("A"), *talked("a"))
    assert await pair.calls() == ["Aa"]
    await pair.hear(told("a", "rated", 70, customer=BEK, rating=5))
    assert await pair.calls() == ["Aa"]  # the first number of a call counts
    await pair.hear(began("a", -30, customer=BEK))
    assert (await pair.calls(), (await pair.inbound())["answered"]) == (["a", "A"], 2)
    assert sample(await pair.metrics(), "callkpi_calls_split_total", rule="number") == 1


async def test_the_right_partner_takes_the_wrong_ones_place(pair: Pair) -> None:
    """The CRM's second call is here before the PBX's: until that comes it looks like the first, in part."""
    await pair.hear(began("A"), missed("A", 20), began("a", 23), *talked("a", 25, 60))
    assert await pair.calls() == ["Aa"]
    await pair.hear(began("B", 22), *talked("B", 25, 60))
    assert await pair.calls() == ["A", "Ba"]
    row = await pair.inbound()
    assert (row["offered"], row["answered"], row["missed"], row["self_served"]) == (2, 1, 1, 1)


async def test_a_call_that_leaves_frees_its_partner_for_the_next_one(pair: Pair) -> None:
    await pair.hear(began("A"), missed("A", 12), began("a", 3), missed("a", 13), began("b", 1), missed("b", 12))
    assert await pair.calls() == ["Ab", "a"]
    await pair.hear(began("b", -1, customer=BEK))
    assert await pair.calls() == ["b", "Aa"]


async def test_two_equally_good_partners_count_each_and_are_flagged(pair: Pair) -> None:
    await pair.hear(began("A"), missed("A"), began("B"), missed("B"), began("a"), missed("a"))
    assert await pair.calls() == ["A", "B", "a"]
    assert (await notes(pair.pool, pair.settings))[0].endswith("; 3 could not be told apart and count by themselves")


async def test_a_number_that_comes_later_unites(pair: Pair) -> None:
    await pair.hear(began("A", customer=""), missed("A"), began("a"), missed("a"))
    assert await pair.calls() == ["A", "a"]
    await pair.hear(told("A", "rated", 30, customer=ANA, rating=1))
    assert await pair.calls() == ["Aa"]


async def test_a_link_to_the_other_sources_call_unites_whatever_the_numbers_say(pair: Pair) -> None:
    link = told("a", "linked", 2, linked_to="native/A")
    await pair.hear(began("a", customer=""), link, began("A", 300), missed("A", 310), missed("a", 312))
    assert await pair.calls() == ["Aa"]
    rows = await pair.pool.fetch("SELECT source, call_id FROM call_keys ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [("crm", "a"), ("native", "A")]


async def test_calls_that_one_source_joins_bring_their_partners_along(pair: Pair) -> None:
    """Two channels of the PBX turn out to be one call: its twin may have been the other one's."""
    await pair.hear(began("A"), began("B", 1), *talked("B", 5, 65), began("a", 1), *talked("a", 5, 65))
    assert await pair.calls() == ["A", "Ba"]
    await pair.hear(told("B", "linked", 2, linked_to="A"))
    assert await pair.calls() == ["Aa"]
    assert (await pair.inbound())["offered"] == 1


async def test_an_end_that_the_pbx_lost_comes_from_the_crm(pair: Pair) -> None:
    long_ago = -6 * 3600
    await pair.hear(began("A", long_ago), began("a", long_ago + 1), *talked("a", long_ago + 5, long_ago + 65))
    row = await pair.inbound()
    assert (await pair.calls(), row["open"], row["expired"]) == (["Aa"], 0, 0)
    assert (row["answered"], row["talk_seconds"]) == (1, 60)


async def test_the_api_finds_the_call_by_either_id_with_the_events_of_both(pair: Pair) -> None:
    await pair.hear(began("A"), began("a", 1), *talked("A"), *talked("a"))
    app = web.Application()
    install(app, pair.settings)
    app.add_routes(Api(pair.pool, pair.settings).routes())
    async with TestClient(TestServer(app)) as client:
        shown = [await (await client.get(f"/api/v1/calls/{name}")).json() for name in ("native/A", "crm/a")]
        listed = await (await client.get("/api/v1/calls", params={"from": str(AT.timestamp() - 60)})).json()
    assert shown[0] == shown[1]
    assert (shown[0]["id"], [twin["id"] for twin in shown[0]["twins"]]) == ("native/A", ["crm/a"])
    assert Counter(event["source"] for event in shown[0]["events"]) == {"native": 3, "crm": 3}
    assert [call["id"] for call in listed["calls"]] == ["native/A"]


async def test_an_erased_number_is_gone_from_what_both_told_and_they_stay_one_call(pair: Pair) -> None:
    await pair.hear(began("A"), began("a", 1, customer="8 701 000-00-01", crm={"lead": "7"}), missed("A"), missed("a"))
    erasure = await erase(pair.pool, pair.settings, "acme", ANA)
    assert await pair.calls() == ["Aa"]
    assert await pair.findings() == []
    for table in ("journal", "calls", "same_call_sides", "missed_calls"):
        rows = await pair.pool.fetch(f"SELECT t::text AS row FROM {table} t")
        assert rows and not any("7010000001" in row["row"] or "701 000" in row["row"] for row in rows), table
    await pair.hear(told("a", "rated", 30, rating=5))
    (call,) = [call_from_body(row["body"]) for row in await pair.pool.fetch("SELECT body FROM calls")]
    assert (call.customer, call.rating, len(call.twins)) == (erasure.pseudonym, 5, 1)


async def test_the_doctor_sees_a_union_that_is_not_what_the_rules_say(pair: Pair) -> None:
    await pair.hear(began("A"), began("a", 1), *talked("A"), *talked("a"))
    await pair.pool.execute("UPDATE same_call_sides SET rule = '', lead_source = source, lead_call_id = call_id")
    found = await pair.findings()
    assert found[0].startswith("call crm/a: is stored as part of crm/a, the rules make it part of native/A")
    await pair.clear()
    await pair.hear(began("A"), began("a", 1), *talked("A"), *talked("a"))
    await pair.pool.execute("UPDATE calls SET body = jsonb_set(body::jsonb, '{talk_ms}', '1')::json")
    assert (await pair.findings())[-1].startswith("call native/A: is not what its 2 sources tell of it")


async def test_a_number_that_always_calls_costs_no_more_than_its_hours(pair: Pair) -> None:
    events = [began(f"C{n}", n * 20) for n in range(400)] + [missed(f"C{n}", n * 20 + 3) for n in range(400)]
    await pair.send_json("native", *events)
    await pair.project()
    await pair.hear(began("a", 3999), missed("a", 4003))
    assert len(await pair.calls()) == 401
