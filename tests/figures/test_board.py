"""The board: the same numbers as /metrics and the API, live, honest about what it does not know."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from callkpi import config, templates
from callkpi.calendar.business import local_midnight
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Call, Direction, Entry, Leg
from callkpi.calls.rows import call_body
from callkpi.commands import demo
from callkpi.database import embedded, migrations, store
from callkpi.figures import board, hearing, live
from callkpi.figures.kpis import Query
from callkpi.ingest.spool import Spool, Spooled
from callkpi.people.names import Names
from callkpi.web.server import application
from callkpi.web.watch import INTERVAL, Store, Watch
from tests.stand_ins.boards import noon_zone, served
from tests.stand_ins.daemon import daemon
from tests.stand_ins.truth import FILES
from tests.world import World, capture_lines, sample
from tests.world import test_settings as make_settings

WEB = Path(__file__).parent.parent.parent / "callkpi" / "web"


def watch_of(world: World, spool: Spool | None = None) -> Watch:
    return Watch(Store(world.pool, world.settings, Names(world.settings), spool), "acme", "v")


async def told(world: World) -> dict[str, Any]:
    """What the board says of acme."""
    state: dict[str, Any] = json.loads(await watch_of(world).newest())
    return state


@contextlib.asynccontextmanager
async def at_work(world: World, **tenant: Any) -> AsyncIterator[World]:
    """The world with other settings of its tenant."""
    other = World(world.pool, make_settings(**{"timezone": noon_zone(), **tenant}))
    async with other.running():
        yield other


# -- one truth --------------------------------------------------------------------------------------------


def moved_to_now(lines: list[str]) -> list[str]:
    """Recorded traffic as if it happened just now."""
    events = [json.loads(line) for line in lines]
    ahead = datetime.now(UTC).timestamp() - max(event["received_at"] for event in events)
    for event in events:
        event["received_at"] += ahead
    return [json.dumps(event) for event in events]


async def test_board_metrics_and_api_say_the_same_of_replayed_traffic(world: World) -> None:
    """Cut in the middle, so that calls wait and talk at that moment."""
    async with at_work(world) as world:
        await world.send_lines("pbx", moved_to_now(capture_lines(FILES["pbx"])[:9000]))
        await world.project()
        state, page = await told(world), await world.metrics()
        now = datetime.now(UTC)
        begin = local_midnight(world.settings.tenants["acme"], now)
        api = await world.kpi("queue", begin, now)
        assert {row["queue"] for row in state["queues"]} - {""} == api.keys()
        for row in state["queues"]:
            name = row["queue"]
            gauges = {
                "waiting": sample(page, "callkpi_calls_waiting", queue=name),
                "talking": sample(page, "callkpi_calls_talking", queue=name),
                "missed_waiting": sample(page, "callkpi_missed_waiting", queue=name),
                "service_level": sample(page, "callkpi_service_level_ratio", queue=name, window="day"),
                "missed_share": sample(page, "callkpi_missed_ratio", queue=name, window="day"),
                "offered": sample(page, "callkpi_shift_calls", queue=name),
                "handled": sample(page, "callkpi_calls_handled_total", queue=name),
                "missed": sample(page, "callkpi_calls_missed_total", queue=name),
            }
            assert {key: row[key] for key in gauges} == gauges, name
            assert row["longest_wait_seconds"] == pytest.approx(
                sample(page, "callkpi_longest_wait_seconds", queue=name) or 0, abs=5
            )
            for state_name, count in (row["agents"] or {}).items():
                assert count == sample(page, "callkpi_agents", queue=name, state=state_name), (name, state_name)
            if name:
                same = ("offered", "handled", "missed", "service_level", "missed_share")
                assert {key: row[key] for key in same} == {key: api[name][key] for key in same}, name
                assert row["waiting"] + row["talking"] == api[name]["open"], name
        company = state["company"]
        total = (await world.reports.figures(Query("acme", begin, now, "direction")))["total"]
        same = ("offered", "handled", "missed", "service_level", "missed_share")
        assert {key: company[key] for key in same} == {key: total[key] for key in same}
        assert company["offered"] == sample(page, "callkpi_company_calls_offered_total", direction="inbound") > 100
        assert company["waiting"] == sample(page, "callkpi_calls_waiting") > 0
        assert company["talking"] == sample(page, "callkpi_calls_talking") > 0
        inbound = sum(row["talking"] for row in state["queues"] if row["queue"])
        assert company["waiting"] + inbound == total["open"]
        assert company["missed_waiting"] == len(await world.reports.missed("acme"))
        assert company["agents"]["talking"] == sample(page, "callkpi_company_agents", state="talking") > 0


async def test_two_ids_with_one_name_are_one_queue_in_live_and_exact_figures(world: World) -> None:
    named = {"100": config.Queue(name="Sales"), "200": config.Queue(name="Sales")}
    async with at_work(world, queues=named) as world:
        now = datetime.now(UTC).timestamp()
        for queue, wait in (("100", 5), ("200", 50)):
            base = {"call_id": queue, "queue": queue, "direction": "inbound"}
            await world.send_json(
                "native", {**base, "kind": "queued", "at": now - 90},
                {**base, "kind": "answered", "at": now - 90 + wait}, {**base, "kind": "ended", "at": now - 10},
                {**base, "call_id": f"w{queue}", "kind": "queued", "at": now},
            )  # fmt: skip
        await world.project()
        (row,), page = (await told(world))["queues"], await world.metrics()
        assert (row["queue"], row["waiting"], row["offered"], row["handled"]) == ("Sales", 2, 4, 2)
        assert row["service_level"] == sample(page, "callkpi_service_level_ratio", window="day") == 1 / 4


# -- agents -----------------------------------------------------------------------------------------------


async def test_a_person_who_talks_is_shown_so_by_whatever_id_and_in_every_queue(world: World) -> None:
    """Dana is 1003 at the PBX's queues and 17 in Bitrix24; Erlan is in no queue; Marat talks in his pause."""
    agents = {"1003": config.Named(name="Dana"), "17": config.Named(name="Dana")}
    async with at_work(world, agents=agents) as world:
        now = datetime.now(UTC).timestamp()
        states = [("1003", "sales", "available"), ("1003", "support", "paused"), ("Marat", "sales", "paused"),
                  ("Bolat", "sales", "available"), ("Saule", "sales", "offline")]  # fmt: skip
        await world.send_json(
            "native",
            *({"kind": "agent_state", "at": now - 99, "agent": agent, "queue": queue, "state": state}
              for agent, queue, state in states),
            *({"call_id": agent, "kind": kind, "at": now - 50, "agent": agent, "direction": "outbound"}
              for agent in ("17", "Erlan", "Marat") for kind in ("started", "answered")),
            {"call_id": "r", "kind": "ringing", "at": now - 9, "agent": "Saule", "direction": "inbound"},
        )  # fmt: skip
        await world.project()
        state, page = await told(world), await world.metrics()
        rows = {row["queue"]: row["agents"] for row in state["queues"]}
        none = dict.fromkeys(live.AGENT_STATES, 0)
        assert rows["sales"] == {**none, "talking": 2, "available": 1, "offline": 1}
        assert rows["support"] == {**none, "talking": 1}
        assert rows[""] == {**none, "talking": 1}
        assert state["company"]["agents"] == {**none, "talking": 3, "available": 1, "offline": 1}
        for name, count in state["company"]["agents"].items():
            assert sample(page, "callkpi_company_agents", state=name) == count
        assert sample(page, "callkpi_agents", queue="", state="talking") == 1


# -- the same time last week -------------------------------------------------------------------------------


async def test_handled_is_compared_with_what_was_handled_by_this_time_a_week_ago(world: World) -> None:
    """A call of that morning that still went on at this time is not counted: nor is one that goes on now."""
    async with at_work(world) as world:
        assert (await told(world))["company"]["handled_last_week"] is None
        then = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(days=7)
        spans = {"before": (-600, -300), "over": (-60, 60), "after": (120, 200), "yesterday": (-86400, -86000)}
        for name, (begin, end) in spans.items():
            base = {"call_id": name, "direction": "inbound", "queue": "sales", "agent": "Dana"}
            for kind, after in (("queued", begin), ("answered", begin + 1), ("ended", end)):
                await world.send_json("native", {**base, "kind": kind, "at": then.timestamp() + after})
        await world.project()
        assert (await told(world))["company"]["handled_last_week"] == 1


def test_the_same_time_last_week_is_by_the_clock_on_the_wall() -> None:
    """The clocks changed in between: on 29 March 2026, from +01:00 to +02:00."""
    berlin = config.Tenant(timezone="Europe/Berlin")
    begin, end = board.same_time_last_week(berlin, datetime(2026, 3, 31, 8, 30, 40, tzinfo=UTC))
    assert (begin, end) == (datetime(2026, 3, 23, 23, tzinfo=UTC), datetime(2026, 3, 24, 9, 30, tzinfo=UTC))


# -- levels -------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)  # a Tuesday, 11:00 in Almaty


def heard(source: str, ago: float | None = 5, **connection: Any) -> dict[str, Any]:
    """A row of how a source is that spoke some minutes *ago*; with a *connection*, as it is told."""
    told = dict.fromkeys(("connected", "changed_at", "seen_at", "heard_at", "reason", "asked_since", "last_success_at"))
    last = None if ago is None else NOW - timedelta(minutes=ago)
    return {"source": source, **told, "last_received_at": last, **connection}


def state_of(
    *calls: Call, figures: Figures | None = None, missed_ago: float | None = None, silent: float | None = 5, **own: Any
) -> dict[str, Any]:
    """What the board says of such a moment; *missed_ago* minutes ago one customer was missed."""
    settings = make_settings(**own)
    rows = [] if missed_ago is None else [
        {"queue": "sales", "customers": 1, "oldest": NOW - timedelta(minutes=missed_ago)}
    ]  # fmt: skip
    reading = board.Reading(
        at=NOW, names=[], agent_states=[], open_calls=[{"body": call_body(call)} for call in calls],
        missed={"acme": rows}, windows={("acme", "day"): {"sales": figures or Figures()}},
        company=figures or Figures(), handled_last_week=None, lag_seconds=0.0,
        sources=[heard(name, silent) for name in settings.sources],
    )  # fmt: skip
    return board.state(reading, "acme", settings, Names(settings))


def waits(seconds: float, queue: str = "sales") -> Call:
    begin = NOW - timedelta(seconds=seconds)
    return Call(
        tenant="acme", source="native", call_id=f"{queue}{seconds}", direction=Direction.INBOUND,
        customer="+77000000001", line="", started_at=begin, last_event_at=begin,
        entries=(Entry(queue=queue, entered_at=begin),), legs=(Leg(agent="Dana", rung_at=begin),),
    )  # fmt: skip


def day(answered_within: int, answered: int, missed: int) -> Figures:
    figures = Figures()
    figures.add("answered", {"contacts": answered, "offered": answered, "answered": answered, "handled": answered,
                             "within_sl": answered_within}, 0)  # fmt: skip
    figures.add("abandoned", {"contacts": missed, "offered": missed, "missed": missed}, 0)
    return figures


def levels(state: dict[str, Any]) -> dict[str, str]:
    assert state["queues"][0]["queue"] == "sales"
    return dict(state["company"]["levels"])


@pytest.mark.parametrize(("seconds", "level"), [(19.9, "ok"), (20, "watch"), (39.9, "watch"), (40, "act")])
def test_a_wait_is_watched_from_the_queues_t_on_and_acted_on_from_its_double(seconds: float, level: str) -> None:
    assert levels(state_of(waits(seconds)))["wait"] == level
    patient = {"sales": config.Queue(service_level_seconds=60)}
    state = state_of(waits(seconds * 3), waits(seconds * 3 - 1), queues=patient)
    assert levels(state)["wait"] == state["queues"][0]["levels"]["wait"] == level


def test_the_worst_queue_by_its_own_t_gives_the_whole_its_level() -> None:
    queues = {"sales": config.Queue(service_level_seconds=600), "vip": config.Queue(service_level_seconds=10)}
    state = state_of(waits(300), waits(25, "vip"), queues=queues)
    assert (state["company"]["longest_wait_seconds"], state["company"]["longest_wait_queue"]) == (300, "sales")
    assert levels(state)["wait"] == "act" and state["company"]["over_target"] == 1
    assert [row["levels"]["wait"] for row in state["queues"][:2]] == ["ok", "act"]


@pytest.mark.parametrize(
    ("within", "answered", "missed", "service_level", "missed_level"),
    [
        (80, 95, 5, "ok", "ok"), (79, 95, 5, "watch", "ok"), (70, 94, 6, "watch", "watch"),
        (69, 90, 10, "act", "watch"), (69, 89, 11, "act", "act"), (0, 0, 0, "none", "none"),
    ],
)  # fmt: skip
def test_shares_are_judged_by_the_targets(
    within: int, answered: int, missed: int, service_level: str, missed_level: str
) -> None:
    found = levels(state_of(waits(1), figures=day(within, answered, missed)))
    assert (found["service_level"], found["missed"]) == (service_level, missed_level)


@pytest.mark.parametrize(("minutes", "level"), [(None, "ok"), (20, "ok"), (21, "watch"), (480, "watch"), (481, "act")])
def test_a_missed_customer_is_watched_after_the_target_and_acted_on_after_a_working_day(
    minutes: float | None, level: str
) -> None:
    assert levels(state_of(waits(1), missed_ago=minutes))["callback"] == level


def test_nothing_is_good_while_nobody_tells_us_anything() -> None:
    good, bad = day(95, 95, 5), day(10, 50, 50)
    for silent in (None, 31):
        state = state_of(waits(50), figures=good, silent=silent)
        assert state["silent"] and levels(state) == {
            "wait": "act", "service_level": "none", "missed": "none", "callback": "none"
        }  # fmt: skip
        assert levels(state_of(waits(1), figures=bad, silent=silent))["service_level"] == "act"
    assert not state_of(waits(1), silent=29)["silent"]
    night = state_of(waits(1), silent=None, business_hours={"tue": "12:00-18:00"})
    assert not night["silent"] and not night["open"]


# -- sources that are not heard -------------------------------------------------------------------------------


def with_sources(*rows: dict[str, Any], at: datetime = NOW, **sources: config.Source) -> dict[str, Any]:
    """What the board says of a good day, of a tenant with such *sources*."""
    settings = dataclasses.replace(make_settings(), sources=sources)
    reading = board.Reading(
        at=at, names=[{"tenant": "acme", "kind": "queue", "name": "sales"}], agent_states=[], open_calls=[],
        missed={"acme": []},
        windows={("acme", "day"): {"sales": day(95, 95, 5)}}, company=day(95, 95, 5), handled_last_week=None,
        sources=rows, lag_seconds=0.0,
    )  # fmt: skip
    return board.state(reading, "acme", settings, Names(settings))


def told_of(state: dict[str, Any]) -> list[tuple[str, str, str, float | None]]:
    return [
        (each["source"], str(each["trouble"]), str(each["reason"]), each["unheard_seconds"])
        for each in state["unheard"]
    ]


def source(kind: str = "native", **given: Any) -> config.Source:
    return config.new_source(kind=kind, tenant="acme", **given)


def test_what_one_source_tells_does_not_hide_that_another_is_silent() -> None:
    good = with_sources(heard("a", 1), heard("b", 29), a=source(), b=source())
    assert not good["silent"] and "ok" in levels(good).values() and good["unheard"] == []
    state = with_sources(heard("a", 1), heard("b", 31), a=source(), b=source())
    assert told_of(state) == [("b", "silent", "", 31 * 60)]
    assert state["silent"] and "ok" not in levels(state).values()
    assert (state["silent_seconds"], state["company"]["offered"]) == (60, 100)
    new = with_sources(heard("a", 1), a=source(), b=source())
    assert told_of(new) == [("b", "never_spoke", "", None)] and "ok" not in levels(new).values()


def test_a_source_that_speaks_seldom_has_a_limit_of_its_own() -> None:
    rows = (heard("a", 1), heard("b", 31))
    assert not with_sources(*rows, a=source(), b=source(silent_minutes=60))["silent"]
    assert not with_sources(rows[0], a=source(), b=source(silent_minutes=0))["silent"]
    assert not with_sources(rows[0], a=source(), b=source("csv", token="t"))["silent"], "a file comes when it comes"
    assert with_sources(*rows, a=source(silent_minutes=10), b=source(silent_minutes=20))["silent"]


@pytest.mark.parametrize(
    ("connection", "reason", "seconds"),
    [
        ({"connected": False, "reason": "unreachable", "seen_at": NOW, "heard_at": NOW - timedelta(hours=1)},
         "unreachable", 3600),
        ({"connected": False, "reason": "refused", "seen_at": NOW, "changed_at": NOW - timedelta(minutes=2)},
         "refused", 120),
        ({"connected": True, "reason": "", "seen_at": NOW - timedelta(seconds=61), "heard_at": NOW}, "stopped", 0),
        ({}, "never", None),
    ],
)  # fmt: skip
def test_a_lost_connection_is_told_at_once_also_when_it_is_closed(
    connection: dict[str, Any], reason: str, seconds: float | None
) -> None:
    """Nobody who writes that it is there, is as bad as one that is not."""
    pbx = source("asterisk", ami_address="pbx:5038")
    state = with_sources(heard("a", 1), heard("pbx", 1, **connection), a=source(), pbx=pbx)
    assert told_of(state) == [("pbx", "disconnected", reason, seconds)]
    assert "ok" not in levels(state).values()
    there = {"connected": True, "reason": "", "seen_at": NOW, "heard_at": NOW}
    assert not with_sources(heard("a", 1), heard("pbx", 1, **there), a=source(), pbx=pbx)["silent"]
    settings = dataclasses.replace(make_settings(), sources={"pbx": pbx})
    closed = {"acme": config.Tenant(business_hours={"mon": "00:00-00:01"})}
    found = hearing.unheard(settings.sources, closed, [heard("pbx", None, **connection)], NOW)
    assert [each.trouble for each in found] == ["disconnected"], "and silence is none of a closed call centre"


def test_a_portal_that_is_asked_and_does_not_answer_is_told() -> None:
    portal = source("bitrix24", rest_url="https://p/rest/1/s/")
    long_ago = {"asked_since": NOW - timedelta(days=1), "last_success_at": NOW - timedelta(minutes=11)}
    assert told_of(with_sources(heard("p", 1, **long_ago), p=portal)) == [("p", "not_reached", "", 660)]
    now = {**long_ago, "last_success_at": NOW - timedelta(minutes=9)}
    assert not with_sources(heard("p", 1, **now), p=portal)["silent"]


async def test_figures_are_old_while_deliveries_wait_on_disk(world: World, tmp_path: Path) -> None:
    """A database that is full or read-only answers what is asked, and takes nothing new."""
    spool = Spool(tmp_path, 1 << 20)
    now = datetime.now(UTC)

    async def waits_since(source: str, seconds: float) -> str:
        await spool.put(Spooled(source, "application/json", now - timedelta(seconds=seconds), b"[]"))
        return str(json.loads(await watch_of(world, spool).newest())["stale"])

    async def taken(_item: Spooled) -> bool:
        return True

    try:
        assert await waits_since("native", 3) == "", "it is just being taken"
        assert await spool.drain(taken) == 1
        assert await waits_since("gone", 3600) == "", "of a source that is not configured it waits for ever"
        assert await waits_since("native", 11) == "spool"
        assert json.loads(await watch_of(world).newest())["stale"] == ""
    finally:
        spool.close()


async def test_the_boards_of_all_tenants_share_one_table_of_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of a thousand call centres makes the names of each once, and a board when somebody looks."""
    made = 0

    class Counted(Names):
        def __init__(self, settings: config.Settings) -> None:
            nonlocal made
            made += 1
            super().__init__(settings)

    for name, module in list(sys.modules.items()):
        if name.startswith("callkpi.") and getattr(module, "Names", None) is Names:
            monkeypatch.setattr(module, "Names", Counted)
    many = {f"t{number}": config.Tenant(agents={"7": config.Agent(name=f"A{number}")}) for number in range(50)}
    settings = dataclasses.replace(make_settings(), tenants={**make_settings().tenants, **many})
    app = application(settings, world.pool, world.ingest, world.health)
    assert made == 1
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as http:
        for tenant in ("t7", "t8"):
            async with http.get("/board/state", params={"tenant": tenant}) as answer:
                assert (await answer.json())["tenant"] == tenant
    assert made == 1


async def test_whose_ids_are_used_twice_is_asked_again_only_when_there_is_a_new_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(world.settings)
    told = []
    monkeypatch.setattr(names, "tell_apart", told.append)
    for _ in range(3):
        await names.refresh(world.pool)
    assert len(told) == 1
    await world.pool.execute("INSERT INTO names VALUES ('acme', 'agent', 'pbx:1'), ('acme', 'agent', 'qlog:1')")
    for _ in range(3):
        await names.refresh(world.pool)
    assert [row["name"] for row in told[1]] == ["pbx:1", "qlog:1"] and len(told) == 2


# -- the stream ---------------------------------------------------------------------------------------------


async def states(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The states of a stream, as they come."""
    while line := await answer.content.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


async def first(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return await anext(states(answer))


async def test_viewers_share_one_reading_and_nobody_means_no_reading(world: World, dsn: str) -> None:
    own = await store.create_pool(dsn, role="board-test", size=2)

    async def last_query() -> datetime:
        name = "callkpi-board-test"
        found = await world.pool.fetchval(
            "SELECT max(query_start) FROM pg_stat_activity WHERE application_name = $1", name
        )
        assert isinstance(found, datetime)
        return found

    async def readings(http: aiohttp.ClientSession) -> set[str]:
        async with http.get("/board/events") as answer:
            assert answer.content_type == "text/event-stream"
            seen: set[str] = set()
            async for state in states(answer):
                seen.add(state["at"])
                if len(seen) == 3:
                    break
            return seen

    async with served(own, world.settings) as (http, _):
        seen = await asyncio.gather(*(readings(http) for _ in range(20)))
        times = sorted(datetime.fromisoformat(at) for at in set().union(*seen))
        assert len(times) <= 4  # 3, and one more where a viewer came late; not 60
        assert all(later - before > timedelta(seconds=INTERVAL - 0.2) for before, later in pairwise(times))
        async with asyncio.timeout(30):  # it notices that they are gone when it sends
            quiet_since = None
            while quiet_since != (quiet_since := await last_query()):
                await asyncio.sleep(2 * INTERVAL)
        async with http.get("/board/state") as answer:
            assert (await answer.json())["tenant"] == "acme"
        assert await last_query() > quiet_since
    await own.close()


async def test_one_viewer_too_many_is_sent_to_poll_and_a_place_that_is_left_is_free(world: World) -> None:
    few = dataclasses.replace(world.settings, server=dataclasses.replace(world.settings.server, max_viewers=2))
    async with served(world.pool, few) as (http, _):
        viewers = [await http.get("/board/events") for _ in range(2)]
        for viewer in viewers:
            assert (await first(viewer))["version"]
        async with http.get("/board/events") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
        async with http.get("/board/state") as answer:
            assert answer.status == 200
        viewers[0].close()
        async with asyncio.timeout(3 * INTERVAL):
            while (again := await http.get("/board/events")).status != 200:
                await asyncio.sleep(0.2)
        assert (await first(again))["company"]
        for viewer in (viewers[1], again):
            viewer.close()


async def test_a_database_that_goes_makes_the_board_stale_and_one_that_comes_back_live(data_dir: Path) -> None:
    server = await asyncio.to_thread(embedded.start, data_dir / "outage")
    await migrations.apply(server.dsn)
    pool = await store.create_pool(server.dsn, role="outage", size=2)
    async with served(pool, make_settings()) as (http, _), http.get("/board/events") as answer:
        seen = states(answer)
        async with asyncio.timeout(90):
            before = await anext(seen)
            assert before["stale"] == "" and before["company"]["waiting"] == 0
            await asyncio.to_thread(server.stop)
            while (state := await anext(seen))["stale"] == "":
                pass
            assert state["stale"] == "database"
            assert state["company"] == before["company"]  # the last that was known, and how old it is
            older = await anext(seen)
            assert older["age_seconds"] > state["age_seconds"] > 0
            async with http.get("/board/state") as poll:
                assert (await poll.json())["stale"] == "database"
            server = await asyncio.to_thread(embedded.start, data_dir / "outage")
            while (state := await anext(seen))["stale"]:
                pass
            assert state["at"] > before["at"] and state["age_seconds"] < 1
    pool.terminate()
    await asyncio.to_thread(server.stop)


async def test_a_database_that_hangs_leaves_the_stream_alive_and_stale(world: World) -> None:
    async with served(world.pool, world.settings) as (http, _), http.get("/board/events") as answer:
        assert (await first(answer))["stale"] == ""
        async with world.pool.acquire() as connection, connection.transaction(), asyncio.timeout(30):
            await connection.execute("LOCK TABLE missed_calls IN ACCESS EXCLUSIVE MODE")
            heard = b""
            while b'"stale":"database"' not in heard:
                heard += await answer.content.readline()
        assert b": still reading\n" in heard
        async with asyncio.timeout(10):
            async for state in states(answer):
                if not state["stale"]:
                    break


async def test_a_board_that_starts_without_a_database_says_that_it_knows_nothing(data_dir: Path) -> None:
    server = await asyncio.to_thread(embedded.start, data_dir / "never")
    pool = await store.create_pool(server.dsn, role="never", size=1)
    await asyncio.to_thread(server.stop)
    async with served(pool, make_settings()) as (http, _), http.get("/board/state") as answer:
        state = await answer.json()
        assert (state["company"], state["age_seconds"], state["stale"]) == (None, None, "database")
    pool.terminate()


async def test_figures_that_are_not_computed_yet_make_the_board_stale(world: World) -> None:
    await world.send_json("native", {"call_id": "a", "kind": "queued", "at": 1795000000.0, "queue": "sales"})
    await world.pool.execute("UPDATE pending SET journalled_at = journalled_at - interval '40 s'")
    assert (await told(world))["stale"] == "projector"
    await world.project()
    assert (await told(world))["stale"] == ""


# -- the daemon ---------------------------------------------------------------------------------------------

TWO = """
[server]
api_token = "api-secret"
request_timeout_seconds = 1

[tenants.north]
[tenants.south]

[sources.native]
kind = "native"
tenant = "north"
token = "native-secret"
"""


async def test_streams_outlive_the_sweeper_and_end_with_the_daemon(data_dir: Path) -> None:
    async with daemon(data_dir / "board-stop", config=TWO) as target:
        query = "tenant=north&token=api-secret"
        async with aiohttp.ClientSession() as http:
            viewers = [await http.get(f"{target.url}/board/events?{query}") for _ in range(3)]
            seen = states(viewers[0])
            begin = asyncio.get_running_loop().time()
            async with asyncio.timeout(20):
                while asyncio.get_running_loop().time() - begin < 6:
                    assert (await anext(seen))["stale"] == ""
            begin = asyncio.get_running_loop().time()
            stopping = asyncio.create_task(asyncio.to_thread(target.stop))
            for viewer in viewers:
                await viewer.content.read()  # to a proper end: chunks that break off raise
            assert await stopping == 0
            assert asyncio.get_running_loop().time() - begin < 15
    assert "board: /board" in target.log.read_text()


async def test_the_board_wants_the_apis_token_and_one_tenant(data_dir: Path) -> None:
    async with daemon(data_dir / "board-access", config=TWO) as target, aiohttp.ClientSession() as http:
        for path in ("board", "board/state", "board/events"):
            async with http.get(f"{target.url}/{path}?tenant=north") as answer:
                assert (answer.status, answer.content_type) == (401, "application/problem+json")
            async with http.get(f"{target.url}/{path}?token=api-secret") as answer:
                assert answer.status == 400
                assert (await answer.json(content_type=None))["detail"] == (
                    "tenant: '' is none of north, south; write ?tenant=north"
                )
        header = {"Authorization": "Bearer api-secret"}
        async with http.get(f"{target.url}/board/state?tenant=south", headers=header) as answer:
            assert (await answer.json())["tenant"] == "south"
        async with http.get(f"{target.url}/board?tenant=south&token=api-secret") as answer:
            page = await answer.text()
            assert "api-secret" not in page and "<title>south: " in page
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
        for name in ("board.js", "board.css"):
            async with http.get(f"{target.url}/board/{name}") as answer:
                assert answer.status == 200
        async with http.get(target.url) as answer:
            assert '<a href="/board">' in await answer.text()


# -- the page -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "header", "language", "words"),
    [
        ("", "", "en", "Longest wait"),
        ("", "ru-RU,ru;q=0.9,en;q=0.8", "ru", "Ждут сейчас"),
        ("", "de, ru;q=0.5, en;q=0.7", "en", "Longest wait"),
        ("", "kk-KZ", "kk", "Ең ұзақ күту"),
        ("?lang=ru", "en", "ru", "Ждут сейчас"),
        ("?lang=xx", "ru", "ru", "Ждут сейчас"),
    ],
)
async def test_the_page_speaks_the_viewers_language(
    world: World, query: str, header: str, language: str, words: str
) -> None:
    async with served(world.pool, world.settings) as (http, _):
        headers = {"Accept-Language": header} if header else {}
        async with http.get(f"/board{query}", headers=headers) as answer:
            page = await answer.text()
    assert f'<html lang="{language}"' in page and words in page


def test_script_and_style_are_for_old_browsers() -> None:
    script = re.sub(r"/\*.*?\*/|//[^\n]*|\"[^\"\n]*\"", "", (WEB / "board.js").read_text("utf-8"), flags=re.DOTALL)
    found = re.findall(
        r"=>|`|\b(?:let|const|class|async|await|import|of)\b|\?\.|\?\?|\.\.\.|\bfetch\b|innerHTML\b", script
    )
    assert found == []
    style = (WEB / "board.css").read_text("utf-8")
    assert not re.search(r"var\(|display:\s*grid|:is\(|@import|url\(|clamp\(|gap:", style)
    page = templates.source("board.html")
    assert not re.search(r"\son\w+=|style=|<style|type=\"module\"|//", page)


def test_the_demo_sends_the_newcomer_to_the_board_first() -> None:
    told = demo.WELCOME.format(url="http://x", agents=8)
    assert told.index("http://x/board ") == told.index("http://x/")
