"""The call funnel in a portal's CRM: traffic in, deals out, each once, whatever is lost, killed or done by people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.bitrix24.funnel import Funnel
from callkpi.commands.notes import notes
from tests.stand_ins.portal import SECRET, Portal
from tests.world import World, sample
from tests.world import test_settings as make_settings

NOW = datetime.now(UTC).replace(microsecond=0)
DANA, IVAN, ARU = "+77011234567", "+77017654321", "+77012223344"
RATE = 400.0
WRITING = ("add", "update", "delete")


def settings_of(portal: Portal, tenant: dict[str, Any] | None = None, **funnel: Any) -> config.Settings:
    plain = make_settings(**(tenant or {}))
    told = config.Funnel(**{"enabled": True, "dry_run": False, **funnel})
    source = replace(plain.sources["portal"], rest_url=portal.url, funnel=told)
    return replace(plain, sources={**plain.sources, "portal": source})


@contextlib.asynccontextmanager
async def funnel_of(world: World, portal: Portal, **more: Any) -> AsyncIterator[Funnel]:
    """A writer as the daemon makes it, freshly started, to be stepped by the test."""
    world.settings = settings_of(portal, **more)
    world.ingest._sources = world.settings.sources
    async with rest.session() as http:
        client = rest.Client(http, portal.url, RATE, pause=0.01, patience=5)
        yield Funnel(world.pool, client, world.health, world.settings, "portal")


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    async with Portal(rate=RATE, bucket=RATE * 25).serving() as portal:
        yield portal


# -- traffic -------------------------------------------------------------------------------------------------


def minutes(ago: float) -> datetime:
    return NOW - timedelta(minutes=ago)


async def call(
    world: World, call_id: str, customer: str, at: datetime, *, direction: str = "inbound", cause: str = "no_answer",
    talk: float = 0, **more: Any,
) -> None:  # fmt: skip
    common = {"call_id": call_id, "direction": direction, "customer": customer, "line": "7172", **more}
    events = [{**common, "kind": "started", "at": at.isoformat()}]
    if cause == "answered":
        answered = at + timedelta(seconds=5)
        events.append({**common, "kind": "answered", "at": answered.isoformat(), "agent": "1003"})
    if cause:
        told = {"cause": cause, "talk_seconds": talk} if cause == "answered" else {"cause": cause}
        events.append({**common, "kind": "ended", "at": (at + timedelta(seconds=20)).isoformat(), **told})
    await world.send_json("native", *events)
    await world.project()


async def miss(world: World, call_id: str, customer: str, at: datetime, **more: Any) -> None:
    await call(world, call_id, customer, at, **more)


async def call_back(world: World, call_id: str, customer: str, at: datetime, *, reached: bool) -> None:
    cause = "answered" if reached else "no_answer"
    await call(world, call_id, customer, at, direction="outbound", cause=cause, talk=30)


def deals(portal: Portal) -> list[tuple[str, str]]:
    """Titles and stages of every deal with our mark."""
    ours = [item for item in portal.crm.items.values() if item["originatorId"] == "callkpi"]
    return [(item["title"], item["stageId"].partition(":")[2]) for item in ours]


def the_deal(portal: Portal) -> dict[str, Any]:
    (item,) = portal.crm.items.values()
    return item


def made(portal: Portal, method: str = "crm.item.add") -> int:
    return sum(name == method for name, _ in portal.crm.changes)


# -- the way of a missed customer ----------------------------------------------------------------------------


async def test_missed_called_back_reached(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(40))
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4567", "NEW")]
        await miss(world, "m2", DANA, minutes(35))
        await call_back(world, "b1", DANA, minutes(30), reached=False)
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4567", "KPI_CALLED_BACK")]
        assert the_deal(portal)["sourceDescription"].startswith("2 missed calls; first ")
        await call_back(world, "b2", DANA, minutes(20), reached=True)
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4567", "WON")]
        assert "; called back " in the_deal(portal)["sourceDescription"]
        assert "; reached " in the_deal(portal)["sourceDescription"]
        # The next miss is another matter.
        await miss(world, "m3", DANA, minutes(10))
        await funnel.round(NOW)
        assert [stage for _, stage in deals(portal)] == ["WON", "NEW"]


async def test_who_called_again_himself_and_who_was_written_off(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal, tenant={"write_off_days": 0.1}) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await miss(world, "m2", IVAN, minutes(20))
        await miss(world, "m3", "anonymous", minutes(20))
        await funnel.round(NOW)
        await call(world, "again", DANA, minutes(10), cause="answered", talk=30)
        await funnel.round(NOW)
        assert sorted(stage for _, stage in deals(portal)) == ["NEW", "WON"]
        await funnel.round(NOW + timedelta(hours=3))
        texts = {item["stageId"].partition(":")[2]: item["sourceDescription"] for item in portal.crm.items.values()}
        assert "called again, answered" in texts["WON"]
        assert texts["LOSE"].endswith("; written off")
        # A hidden number can't be called back: no item.
        assert len(portal.crm.items) == 2


async def test_a_miss_that_was_none_after_all_ends_its_item(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        corrected = {"call_id": "m1", "kind": "answered", "at": minutes(19.9).isoformat(), "agent": "1003"}
        ended = {"call_id": "m1", "kind": "ended", "at": minutes(18).isoformat(), "cause": "answered",
                 "talk_seconds": 60, "rank": 3}  # fmt: skip
        await world.send_json("native", corrected, ended)
        await world.project()
        assert await world.pool.fetchval("SELECT count(*) FROM missed_calls") == 0
        await funnel.round(NOW)
        assert deals(portal)[0][1] == "WON"
        assert the_deal(portal)["sourceDescription"].startswith("not missed after all")


async def test_calls_from_before_the_lookback_get_no_item(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal, lookback_hours=1.0) as funnel:
        await miss(world, "old", DANA, minutes(90))
        await miss(world, "new", IVAN, minutes(30))
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4321", "NEW")]


async def test_offered_calls_are_items_too(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal, items=config.FunnelItems.OFFERED, numbers=config.NumbersShown.FULL) as funnel:
        await call(world, "talked", DANA, minutes(30), cause="answered", talk=60)
        await call(world, "short", IVAN, minutes(29), cause="answered", talk=3)
        await miss(world, "m1", ARU, minutes(28))
        await miss(world, "m2", ARU, minutes(27))
        await call(world, "now", "+77015556677", minutes(0.1), cause="")
        await funnel.round(NOW)
        assert dict(deals(portal)) == {
            f"Call {DANA}": "WON", f"Call {IVAN}": "KPI_NOT_TALKED", f"Missed call {ARU}": "KPI_MISSED",
            "Call +77015556677": "NEW",
        }  # fmt: skip
        await call_back(world, "b1", ARU, minutes(20), reached=False)
        await world.send_json(
            "native", {"call_id": "now", "kind": "ended", "at": NOW.isoformat(), "cause": "abandoned"}
        )
        await world.project()
        await funnel.round(NOW)
        assert dict(deals(portal))[f"Missed call {ARU}"] == "KPI_CALLED_BACK"
        assert dict(deals(portal))["Call +77015556677"] == "KPI_MISSED"


# -- the pipeline --------------------------------------------------------------------------------------------


def stages(portal: Portal) -> list[tuple[str, str, str]]:
    pipeline = max(portal.crm.categories)
    return [
        (stage["STATUS_ID"].partition(":")[2], stage["NAME"], stage["EXTRA"]["SEMANTICS"])
        for stage in portal.crm.stages_of(pipeline)
    ]


async def test_the_pipeline_is_made_once_with_its_own_stages(world: World, portal: Portal) -> None:
    for _ in range(3):
        async with funnel_of(world, portal) as funnel:
            await funnel.round(NOW)
    assert [row["name"] for row in portal.crm.categories.values()] == ["General", "Call funnel"]
    assert stages(portal) == [
        ("NEW", "New missed call", "process"), ("KPI_CALLED_BACK", "Called back, not reached yet", "process"),
        ("WON", "Talked", "success"), ("LOSE", "Written off", "failure"),
    ]  # fmt: skip
    assert len(portal.crm.stages_of(0)) == 8


async def test_the_names_are_russian_and_the_longer_pipeline_keeps_the_order_of_kinds(
    world: World, portal: Portal
) -> None:
    async with funnel_of(world, portal, items=config.FunnelItems.OFFERED, language=config.Language.RU) as funnel:
        await funnel.round(NOW)
    assert [(code, kind) for code, _, kind in stages(portal)] == [
        ("NEW", "process"), ("KPI_QUEUED", "process"), ("KPI_ANSWERED", "process"), ("KPI_MISSED", "process"),
        ("KPI_CALLED_BACK", "process"), ("WON", "success"), ("LOSE", "failure"), ("KPI_NOT_TALKED", "failure"),
    ]  # fmt: skip
    assert stages(portal)[0][1] == "Поступил"


async def test_a_pipeline_of_that_name_is_taken_and_keeps_what_people_made(world: World, portal: Portal) -> None:
    portal.crm.do("crm.category.add", {"entityTypeId": 2, "fields": {"name": " call FUNNEL"}})
    portal.crm.changes.clear()
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
    assert [method for method, _ in portal.crm.changes] == ["crm.status.add", "crm.item.add"]
    assert len(stages(portal)) == 9
    assert deals(portal) == [("Missed call +770•••4567", "NEW")]


async def test_people_rename_the_pipeline_and_its_stages_and_they_stay_so(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
    portal.crm.categories[max(portal.crm.categories)]["name"] = "Callbacks"
    for stage in portal.crm.stages_of(max(portal.crm.categories)):
        stage["NAME"] = f"Our {stage['STATUS_ID']}"
    portal.crm.changes.clear()
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
    assert [method for method, _ in portal.crm.changes] == ["crm.item.add"]


@pytest.mark.parametrize("keeps_marks", [True, False])
async def test_a_pipeline_whose_making_got_no_answer_is_found(world: World, portal: Portal, keeps_marks: bool) -> None:
    portal.crm.keeps_category_marks = keeps_marks
    portal.crm.lost["crm.category.add"] = 1
    async with funnel_of(world, portal) as funnel:
        with pytest.raises(rest.InDoubt):
            await funnel.round(NOW)
        await funnel.round(NOW)
    assert len(portal.crm.categories) == 2
    # It is known to be ours, so it was cleared of what Bitrix24 fills it with.
    assert [code for code, _, _ in stages(portal)] == ["NEW", "KPI_CALLED_BACK", "WON", "LOSE"]


# -- exactly once --------------------------------------------------------------------------------------------


async def test_ten_restarts_and_a_rebuild_write_nothing_twice(world: World, portal: Portal) -> None:
    await miss(world, "m1", DANA, minutes(40))
    await miss(world, "m2", IVAN, minutes(30))
    await call_back(world, "b1", DANA, minutes(20), reached=True)
    for _ in range(10):
        async with funnel_of(world, portal) as funnel:
            await funnel.round(NOW)
    await world.pool.execute("TRUNCATE pending, call_keys, calls, rollups, missed_calls")
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
    assert len(portal.crm.items) == made(portal) == 2
    assert made(portal, "crm.item.update") == 0


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_an_add_whose_answer_was_lost_is_found_and_not_repeated(
    world: World, portal: Portal, seconds: float
) -> None:
    """Also one that happens only after we have looked for it."""
    await miss(world, "m1", DANA, minutes(20))
    async with funnel_of(world, portal) as funnel:
        if seconds:
            portal.crm.takes_seconds["crm.item.add"] = seconds
        else:
            portal.crm.lost["crm.item.add"] = 1
        with pytest.raises(rest.InDoubt):
            await funnel.round(NOW)
    for _ in range(3):
        async with funnel_of(world, portal) as funnel:
            await funnel.round(NOW)
        await asyncio.sleep(0.2)
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
        await call_back(world, "b1", DANA, minutes(10), reached=True)
        await funnel.round(NOW)
    assert deals(portal) == [("Missed call +770•••4567", "WON")]


async def test_an_add_that_never_arrived_is_made_when_it_can_not_arrive_any_more(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
        await miss(world, "m1", DANA, minutes(20))
        await world.pool.execute(
            "INSERT INTO crm_items (source, origin_id, call_source, call_id, asked_at) "
            "VALUES ('portal', 'acme/native/m1', 'native', 'm1', now() - interval '10 seconds')"
        )
        await funnel.round(NOW)
        assert deals(portal) == []
        await world.pool.execute("UPDATE crm_items SET asked_at = now() - interval '2 minutes'")
        await funnel.round(NOW)
        assert len(deals(portal)) == 1


async def test_notes_that_are_lost_are_made_good_from_the_marks(world: World, portal: Portal) -> None:
    await miss(world, "m1", DANA, minutes(20))
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
    await world.pool.execute("TRUNCATE crm_items, crm_funnels")
    await call_back(world, "b1", DANA, minutes(10), reached=True)
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
        await funnel.round(NOW)
    assert len(portal.crm.categories) == 2
    assert deals(portal) == [("Missed call +770•••4567", "WON")]


async def test_half_of_the_answers_lost_and_every_item_is_there_once(world: World, portal: Portal) -> None:
    portal.crm.lost_share = 0.5
    customers = [f"+7701{number:07}" for number in range(1000000, 1000040)]
    for index, customer in enumerate(customers):
        await miss(world, f"m{index}", customer, minutes(60))
    for index, customer in enumerate(customers[:20]):
        await call_back(world, f"b{index}", customer, minutes(30), reached=index % 2 == 0)
    for _ in range(400):
        async with funnel_of(world, portal) as funnel:
            with contextlib.suppress(rest.PortalError):
                await funnel.round(NOW)
                break
    assert len({item["originId"] for item in portal.crm.items.values()}) == len(portal.crm.items) == 40
    async with funnel_of(world, portal) as funnel:
        portal.crm.lost_share = 0.0
        await funnel.round(NOW)
    assert sorted(stage for _, stage in deals(portal)) == ["KPI_CALLED_BACK"] * 10 + ["NEW"] * 20 + ["WON"] * 10


# -- people --------------------------------------------------------------------------------------------------


async def test_what_a_person_closed_stays_closed_until_the_customer_calls_again(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        item = the_deal(portal)
        portal.crm.by_hand(item["id"], stageId=f"C{item['categoryId']}:LOSE")
        item["movedTime"] = minutes(15).isoformat()
        await call_back(world, "b1", DANA, minutes(14), reached=False)
        await funnel.round(NOW)
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4567", "LOSE")]
        assert made(portal, "crm.item.update") == 0
        await miss(world, "m2", DANA, minutes(5))
        await funnel.round(NOW)
        await funnel.round(NOW)
        assert [stage for _, stage in deals(portal)] == ["LOSE", "NEW"]
        await call_back(world, "b2", DANA, minutes(2), reached=True)
        await funnel.round(NOW)
        assert [stage for _, stage in deals(portal)] == ["LOSE", "WON"]


async def test_an_item_that_a_person_moved_ahead_is_not_moved_back(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        item = the_deal(portal)
        portal.crm.by_hand(item["id"], stageId=f"C{item['categoryId']}:KPI_CALLED_BACK")
        await miss(world, "m2", DANA, minutes(15))
        await funnel.round(NOW)
        assert deals(portal)[0][1] == "KPI_CALLED_BACK"
        await call_back(world, "b1", DANA, minutes(14), reached=True)
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4567", "WON")]


@pytest.mark.parametrize("way", ["pipeline", "stage", "deleted"])
async def test_an_item_that_a_person_took_over_is_left_alone(world: World, portal: Portal, way: str) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        item = the_deal(portal)
        if way == "pipeline":
            portal.crm.by_hand(item["id"], categoryId=0)
        elif way == "stage":
            fields = {
                "ENTITY_ID": f"DEAL_STAGE_{item['categoryId']}",
                "STATUS_ID": "LATER",
                "NAME": "Later",
                "SORT": 55,
            }
            portal.crm.do("crm.status.add", {"fields": fields})
            portal.crm.by_hand(item["id"], stageId=f"C{item['categoryId']}:LATER")
        else:
            del portal.crm.items[item["id"]]
        before = dict(item)
        await call_back(world, "b1", DANA, minutes(14), reached=True)
        await funnel.round(NOW)
        await funnel.round(NOW)
        assert item == before
        assert made(portal) == 1


async def test_the_responsible_and_the_link_to_the_customers_card(world: World, portal: Portal) -> None:
    responsible = {"queue:sales": "58", "*": "12"}
    async with funnel_of(world, portal, responsible=responsible) as funnel:
        await miss(world, "m1", DANA, minutes(20), crm={"contact": "77", "company": "9"})
        await miss(world, "m2", IVAN, minutes(19), crm={"lead": "5"})
        queued = {"call_id": "m3", "direction": "inbound", "customer": ARU, "line": "7172", "queue": "sales"}
        await world.send_json(
            "native", {**queued, "kind": "started", "at": minutes(18).isoformat()},
            {**queued, "kind": "queued", "at": minutes(18).isoformat()},
            {**queued, "kind": "ended", "at": minutes(17).isoformat(), "cause": "abandoned"},
        )  # fmt: skip
        await world.project()
        await funnel.round(NOW)
    one, two, three = portal.crm.items.values()
    assert (one["contactIds"], one["companyId"], one["assignedById"]) == ([77], 9, 12)
    assert (two["leadId"], three["assignedById"]) == (5, 58)
    assert "queue sales" in three["sourceDescription"]


# -- limits, rights, refusals --------------------------------------------------------------------------------


async def test_the_portals_limits_are_waited_for_and_nothing_is_doubled(world: World, portal: Portal) -> None:
    portal.rate, portal.bucket = 40.0, 5.0
    portal.crm.operating_cost, portal.crm.operating_limit, portal.crm.operating_window = 1.0, 8.0, 1.0
    for index in range(12):
        await miss(world, f"m{index}", f"+7701100{index:04}", minutes(60))
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
    assert portal.answers["QUERY_LIMIT_EXCEEDED"] and portal.answers["OPERATION_TIME_LIMIT"]
    assert len(portal.crm.items) == made(portal) == 12


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_right_that_is_missing_is_said_clearly(world: World, portal: Portal, dry_run: bool) -> None:
    portal.crm.scopes.remove("crm")
    async with funnel_of(world, portal, dry_run=dry_run) as funnel:
        with pytest.raises(rest.Denied) as caught:
            await funnel.round(NOW)
    assert "crm" in str(caught.value) and SECRET not in str(caught.value)
    row = await world.pool.fetchrow("SELECT problem FROM crm_funnels")
    assert "tick" in row["problem"] and "crm" in row["problem"]


async def test_who_may_not_make_a_pipeline_is_told_whom_to_ask(world: World, portal: Portal) -> None:
    portal.crm.is_admin = False
    async with funnel_of(world, portal) as funnel:
        assert "the webhook's owner is no administrator" in "\n".join(await funnel.preview(NOW))
        with pytest.raises(rest.Denied, match="rights of the webhook's owner"):
            await funnel.round(NOW)
    assert portal.crm.changes == []


async def test_a_pipeline_that_is_hidden_from_us_is_not_made_again(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal) as funnel:
        await funnel.round(NOW)
    portal.crm.categories[max(portal.crm.categories)]["hidden"] = True
    async with funnel_of(world, portal) as funnel:
        with pytest.raises(rest.Denied):
            await funnel.round(NOW)
    assert len(portal.crm.categories) == 2


async def test_one_refused_item_does_not_hold_up_the_others(world: World, portal: Portal) -> None:
    portal.crm.required.add("assignedById")
    async with funnel_of(world, portal, responsible={"line:7172": "12"}) as funnel:
        await miss(world, "m1", DANA, minutes(20), line="other")
        await miss(world, "m2", IVAN, minutes(19))
        await funnel.round(NOW)
        await funnel.round(NOW)
        assert deals(portal) == [("Missed call +770•••4321", "NEW")]
        assert portal.requests["crm.item.add"] == 2
        page = await world.metrics()
        assert sample(page, "callkpi_crm_errors_total", source="portal", reason="http_400") == 1
        assert sample(page, "callkpi_crm_backlog", tenant="acme", source="portal") == 1


async def test_a_portal_that_does_not_keep_marks_gets_no_more_than_one(world: World, portal: Portal) -> None:
    portal.crm.keeps_item_marks = False
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await miss(world, "m2", IVAN, minutes(19))
        for _ in range(2):
            with pytest.raises(rest.Refused, match="did not keep originatorId"):
                await funnel.round(NOW)
    assert len(portal.crm.items) <= 2


# -- dry run and echo ----------------------------------------------------------------------------------------


async def test_a_dry_run_sends_nothing_that_changes(world: World, portal: Portal) -> None:
    async with funnel_of(world, portal, dry_run=True) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        await funnel.round(NOW)
        await call_back(world, "b1", DANA, minutes(10), reached=True)
        await funnel.round(NOW)
        lines = await funnel.preview(NOW)
    assert [name for name in portal.requests if name.split(".")[-1] in WRITING] == []
    assert lines[0] == 'would make the pipeline "Call funnel" and set up its stages'
    assert lines[1].startswith("would add at WON: Missed call +770•••4567 (1 missed call; first ")
    assert lines[2] == "1 items to add, 0 to change; nothing was sent."
    assert await world.pool.fetchval("SELECT count(*) FROM crm_items") == 0
    await world.health.flush(world.pool)
    told = await world.pool.fetch("SELECT label, value FROM health_counters WHERE metric = 'crm_written'")
    assert {row["label"]: row["value"] for row in told} == {"dry_added": 2}


async def test_what_the_portal_tells_of_our_own_deals_is_an_echo(world: World, portal: Portal) -> None:
    form = "application/x-www-form-urlencoded"

    async def event(name: str, number: int) -> None:
        body = f"event={name}&data[FIELDS][ID]={number}&ts=1764000000&auth[application_token]=portal-secret"
        receipt = await world.send("portal", body, form)
        assert (receipt.events, receipt.ignored, receipt.rejected) == (0, 1, 0)

    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        await event("ONCRMDEALADD", the_deal(portal)["id"])
        await event("ONCRMDEALUPDATE", the_deal(portal)["id"])
        await event("ONCRMDEALUPDATE", 999_999)
        await event("ONCRMACTIVITYADD", 5)
        await world.health.flush(world.pool)
    assert await world.pool.fetchval("SELECT value FROM health_counters WHERE metric = 'crm_echoes'") == 2
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 1


async def test_the_doctor_tells_how_it_goes(
    world: World, portal: Portal, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with funnel_of(world, portal) as funnel:
        await miss(world, "m1", DANA, minutes(20))
        await funnel.round(NOW)
        settings = replace(world.settings, database=config.Database(url=dsn))
        told = next(note for note in await notes(settings) if "funnel was compared" in note)
        assert told.startswith("portal: the call funnel was compared last ")
        assert told.endswith(f"pipeline number {max(portal.crm.categories)}")
        portal.crm.scopes.remove("crm")
        funnel._next_pipeline = 0.0
        with contextlib.suppress(rest.Denied):
            await funnel.round(NOW)
        assert "does not go on: crm.category.list" in "\n".join(await notes(settings))
