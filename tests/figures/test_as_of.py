"""A figure that depends on the clock, and every list behind it, are judged as of one moment and in one way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi.calendar import periods
from callkpi.calls.model import Fate
from callkpi.figures.behind import Window, calls_behind
from callkpi.figures.kpis import Query
from callkpi.figures.statistics import Question, Statistics
from callkpi.glossary import FATES
from callkpi.missed import judging
from callkpi.missed.work import Order
from callkpi.missed.worklist import NotWaiting, Request, WorkList
from callkpi.projection import views
from callkpi.summaries import links
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from tests.stand_ins.api import served
from tests.stand_ins.customers import call
from tests.stand_ins.work import ANNA
from tests.world import World, sample

#: A moment, in the past of every day on which the tests are run: the web does not judge as of a time to come.
AT = datetime(2026, 11, 25, 6, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
#: A miss is written off after seven days.
OLD, EDGE, FRESH = AT - 7 * DAY - SECOND, AT - 7 * DAY, AT - DAY
WINDOW = Window(AT - 20 * DAY, AT)
TEXT = f"{WINDOW.begin:%Y-%m-%dT%H:%M}Z..{WINDOW.end:%Y-%m-%dT%H:%M}Z"


async def misses(world: World) -> None:
    """Three customers who wait: one for too long, one for just as long as one may, one for a day; and one reached."""
    for number, at in enumerate((OLD, EDGE, FRESH)):
        await world.send_json("native", *call(f"m{number}", at, f"+7701000000{number}"))
    await world.send_json("native", *call("r", FRESH, "+77010000009"))
    back = call("back", FRESH + timedelta(hours=1), "+77010000009", direction="outbound", agent="Dana")
    await world.send_json("native", *back)
    await world.project()


def told(row: Mapping[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in FATES}


async def summary_of(world: World, as_of: datetime) -> Summary:
    period = periods.parse(world.settings.tenants["acme"], "acme", TEXT, as_of)
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, as_of)


@given(
    fate=st.sampled_from(list(Fate)),
    age=st.timedeltas(min_value=7 * DAY - 2 * SECOND, max_value=7 * DAY + 2 * SECOND)
    | st.sampled_from([7 * DAY, timedelta(0)]),
)
async def test_the_definition_in_sql_is_the_one_of_python(world: World, fate: Fate, age: timedelta) -> None:
    written_off = judging.written_off_before(world.settings.tenants["acme"], AT)
    found = await world.pool.fetchval("SELECT fate_at($1, $2, $3)", fate.value, AT - age, written_off)
    assert found == judging.judged(fate.value, AT - age, written_off)
    assert found != Fate.WAITING or age <= 7 * DAY


@pytest.mark.parametrize(
    ("moment", "waiting", "written_off"),
    [(AT - SECOND, 3, 0), (AT, 2, 1), (AT + SECOND, 1, 2), (FRESH + 7 * DAY + SECOND, 0, 3), (AT + 400 * DAY, 0, 3)],
)
async def test_every_surface_tells_the_same_fates_as_of_any_moment(
    world: World, moment: datetime, waiting: int, written_off: int
) -> None:
    await misses(world)
    expected = dict(zip(FATES, (1, 1, 0, waiting, written_off), strict=True))
    summary = await summary_of(world, moment)
    report = await world.reports.figures(Query("acme", WINDOW.begin, WINDOW.end, "queue", {}, moment))
    statistics = Statistics(world.pool, world.settings)
    period = periods.parse(world.settings.tenants["acme"], "acme", TEXT, AT)
    of_day = await statistics.answer(Question("acme", period, ("day",), now=moment))
    assert told(summary.fates) == expected
    assert [told(row) for row in report["rows"]] == [expected]
    assert told(of_day["total"]["figures"]) == expected
    assert {name: sum(row["figures"][name] for row in of_day["rows"]) for name in FATES} == expected
    for name, count in expected.items():
        behind = await calls_behind(world.pool, world.settings, world.reports.names, "acme", WINDOW, name, now=moment)
        assert (len(behind.items), behind.as_of) == (count, moment), name
    # A customer here has missed once: as many wait as calls do.
    assert sum(item.state.is_open for item in summary.callbacks) == waiting
    assert summary.handover.still_waiting == min(waiting, summary.handover.waiting_customers or 0)
    assert len(await world.reports.missed("acme", now=moment)) == waiting
    page = await world.metrics(now=moment)
    assert (sample(page, "callkpi_missed_waiting", tenant="acme") or 0) == waiting


async def test_the_web_judges_a_figure_and_its_list_as_of_the_moment_that_is_asked(world: World) -> None:
    await misses(world)
    window = f"from={links.instant(WINDOW.begin)}&to={links.instant(WINDOW.end)}"
    async with served(world) as client:
        for moment, waiting in ((AT - SECOND, 3), (AT, 2), (AT + SECOND, 1)):
            asked = f"tenant=acme&{window}&as_of={links.instant(moment)}"
            (row,) = (await client.get(f"kpi?{asked}&by=queue"))["rows"]
            assert row["still_waiting"] == waiting
            assert (await client.get(f"behind?{asked}&figure=still_waiting"))["value"] == waiting
        # Nobody is written off, or counted as there, by a time that has not come.
        ahead = datetime.now(UTC) + 3650 * DAY
        await world.send_json("native", *call("now", datetime.now(UTC) - timedelta(minutes=5), "+77010000007"))
        await world.project()
        today = f"from={links.instant(datetime.now(UTC) - DAY)}&as_of={links.instant(ahead)}&tenant=acme"
        assert (await client.get(f"behind?{today}&figure=still_waiting"))["value"] == 1


async def test_the_links_of_a_summary_lead_to_lists_of_its_own_moment(world: World) -> None:
    await misses(world)
    summary = await summary_of(world, AT)
    address = links.behind(summary, Reader(root="."), "still_waiting", {})
    assert "as_of=2026-11-25T06%3A00%3A00Z" in address
    assert "as_of" not in links.behind(summary, Reader(root="."), "missed", {})


async def test_time_in_state_counts_up_to_the_moment_of_the_summary(world: World) -> None:
    begin = AT - timedelta(hours=3)
    state = {"kind": "agent_state", "call_id": "", "agent": "Dana", "queue": "sales", "state": "available"}
    await world.send_json("native", {**state, "at": begin.isoformat()})
    await world.project()
    for hours in (1, 2):
        moment = begin + timedelta(hours=hours)
        report = await world.reports.figures(Query("acme", begin, AT, "agent", {}, moment))
        times = await world.reports.times_in_state("acme", begin, AT, moment)
        told = [row["logged_in_seconds"] for row in report["rows"]]
        assert told == [times["Dana"].logged_in_seconds] == [hours * 3600]


async def test_who_is_written_off_on_the_list_is_refused_as_written_off(world: World) -> None:
    now = datetime.now(UTC)
    for number, age in ((1, 8 * DAY), (2, DAY)):
        await world.send_json("native", *call(f"w{number}", now - age, f"+7701000000{number}"))
    await world.project()
    listed, note = WorkList(world.pool, world.settings), Order(action="note", by=ANNA.name, text="?")
    with pytest.raises(NotWaiting) as refused:
        await listed.act(Request("acme", "native", "w1", note), ANNA)
    assert refused.value.fate == Fate.WRITTEN_OFF
    assert (await listed.act(Request("acme", "native", "w2", note), ANNA))["call"] == "native/w2"
    async with world.pool.acquire() as connection:
        await views.publish(connection, world.settings)
    shown = await world.pool.fetch("SELECT call, fate FROM callkpi_views.missed_calls ORDER BY call")
    assert [tuple(row) for row in shown] == [("native/w1", "written_off"), ("native/w2", "waiting")]
    listed_in_sql = await world.pool.fetch("SELECT last_call FROM callkpi_views.missed")
    assert [row["last_call"] for row in listed_in_sql] == ["native/w2"]
