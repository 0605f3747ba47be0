"""The shift summary: traffic in, the manager's figures out, and every figure opened to its calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import takewhile
from typing import Any

import asyncpg
import orjson
import pytest

from callkpi import config
from callkpi.calendar import periods, shifts
from callkpi.calls.model import Fate, StreamKey
from callkpi.commands import simulator
from callkpi.figures.behind import Unknown, Window, calls_behind
from callkpi.figures.kpis import Query
from callkpi.figures.weights import FIGURES
from callkpi.missed.work import Action, Order
from callkpi.missed.worklist import Request, WorkList
from callkpi.projection import isolation
from callkpi.summaries.assemble import summarise, summarise_period
from callkpi.summaries.summary import Summary, changes, from_data, to_data
from callkpi.upkeep import retention
from tests.stand_ins.work import ANNA
from tests.world import PORTAL_TOKEN, World, capture_lines, test_settings

BEGIN, END = datetime(2026, 11, 23, 18, tzinfo=UTC), datetime(2026, 11, 23, 21, tzinfo=UTC)
#: The same three hours by the clock of Almaty.
NIGHT = "2026-11-23T23:00..2026-11-24T02:00"
LATER = datetime(2026, 11, 24, 4, tzinfo=UTC)


async def summary_of(world: World, text: str = NIGHT, **more: Any) -> Summary:
    period = periods.parse(world.settings.tenants["acme"], "acme", text, more.get("as_of", LATER))
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, **more)


async def recorded(world: World) -> None:
    await world.send_lines("pbx", capture_lines("asterisk/events.jsonl.gz"))
    await world.project()


def simulated(begin: datetime, length: timedelta) -> Iterator[simulator.Delivery]:
    """A shift of queues by Asterisk and of a direct line by a portal."""
    shift = simulator.shift(4, begin, simulator.Profile(application_token=PORTAL_TOKEN))
    return takewhile(lambda delivery: delivery.at < begin + length, shift)


async def test_a_recorded_night_is_the_reports_figures(world: World) -> None:
    await recorded(world)
    summary = await summary_of(world, as_of=LATER)
    for by, told in (("queue", summary.queues), ("agent", summary.agents)):
        rows = {row[by]: row for row in (await world.figures(by, BEGIN, END, LATER))["rows"]}
        assert [getattr(line, by) for line in told] == list(rows)
        for line in told:
            assert line.figures.items() <= rows[getattr(line, by)].items()
    dana = next(line for line in summary.agents if line.agent == "Dana")
    row = (await world.kpi("agent", BEGIN, END))["Dana"]
    for name in ("logged_in_seconds", "available_seconds", "paused_seconds", "occupancy"):
        assert getattr(dana, name) == row[name] > 0, name
    assert dict(summary.figures) == (await world.figures("direction", BEGIN, END))["total"]
    for name in ("offered", "answered", "missed"):
        assert sum(getattr(interval, name) for interval in summary.intervals) == summary.figures[name]
    assert sum(reason.calls for reason in summary.reasons) == summary.figures["missed"]
    assert sum(callback.misses for callback in summary.callbacks) == summary.figures["missed"]
    assert from_data(to_data(summary)) == summary
    assert changes(summary, from_data(to_data(summary))) == []


async def test_every_figure_opens_to_as_many_calls_as_it_counts(world: World) -> None:
    await recorded(world)
    names, window = world.reports.names, Window(BEGIN, END)
    opened = 0
    for by in ("direction", "queue", "agent"):
        answer = await world.reports.figures(Query("acme", BEGIN, END, by))
        for row in answer["rows"][:3]:
            for figure in FIGURES.keys() & row.keys():
                behind = await calls_behind(world.pool, world.settings, names, "acme", window, figure, {by: row[by]})
                if FIGURES[figure] == "count":
                    assert len(behind.items) == row[figure], (by, row[by], figure)
                if row[figure] is None:
                    assert not behind.value, (by, row[by], figure)
                else:
                    assert behind.value == pytest.approx(row[figure]), (by, row[by], figure)
                opened += len(behind.items)
    assert opened > 1000


async def test_a_simulated_day_opens_to_its_calls_too(world: World) -> None:
    begin = datetime(2026, 11, 23, 5, tzinfo=UTC)
    deliveries = list(simulated(begin, timedelta(hours=2)))
    for first in range(0, len(deliveries), 500):
        some = deliveries[first : first + 500]
        await asyncio.gather(*(world.send(each.source, each.body, each.content_type) for each in some))
    await world.project()
    summary = await summary_of(world, "2026-11-23T10:00..2026-11-23T12:00", as_of=LATER)
    assert summary.figures["offered"] and summary.figures["made"] and summary.figures["missed"]
    window = Window(summary.period.begin, summary.period.end)
    for name, value in summary.figures.items():
        behind = await calls_behind(
            world.pool, world.settings, world.reports.names, "acme", window, name, now=summary.as_of
        )
        assert (behind.value or 0) == pytest.approx(value or 0), name
        if FIGURES[name] == "count":
            assert len(behind.items) == value, name
    for name, count in summary.fates.items():
        behind = await calls_behind(
            world.pool, world.settings, world.reports.names, "acme", window, name, now=summary.as_of
        )
        assert len(behind.items) == count, name


async def test_a_share_opens_to_what_it_judged_and_to_what_counted(world: World) -> None:
    await recorded(world)
    window, names = Window(BEGIN, END), world.reports.names
    behind = await calls_behind(world.pool, world.settings, names, "acme", window, "service_level", {"queue": "sales"})
    row = (await world.kpi("queue", BEGIN, END))["sales"]
    assert len(behind.items) == row["within_service_level"]
    assert len(behind.items) + len(behind.others) == row["offered"] - row["short_abandoned"]
    with pytest.raises(Unknown, match="none of offered"):
        await calls_behind(world.pool, world.settings, names, "acme", window, "happiness")


# -- shifts -----------------------------------------------------------------------------------------------

SHIFTS = {
    "day": config.ShiftPlan(name="Day", hours="08:00-20:00"),
    "night": config.ShiftPlan(name="Night", hours="20:00-08:00"),
    "vip": config.ShiftPlan(name="VIP", hours="08:00-20:00", queues=("vip",)),
}


@contextlib.asynccontextmanager
async def centre(pool: asyncpg.Pool, **tenant: Any) -> AsyncIterator[World]:
    """A call centre with shifts and one source."""
    plain = test_settings(**{"shifts": SHIFTS, **tenant})
    world = World(pool, replace(plain, sources={"native": plain.sources["native"]}))
    await world.clear()
    async with world.running():
        yield world


def call(
    number: str, at: datetime, *, answered: int | None = None, ended: int = 60, **more: Any
) -> list[dict[str, Any]]:
    """A call into a queue, answered after so many seconds (or never) and over after so many."""
    told: dict[str, Any] = {"call_id": number, "direction": "inbound", "customer": f"+7701000{number.zfill(4)}"}
    told |= {"queue": "sales", "line": "100", **more}
    events = [{**told, "kind": "queued", "at": at.isoformat()}]
    if answered is not None:
        events.append(
            {**told, "kind": "answered", "agent": "Dana", "at": (at + timedelta(seconds=answered)).isoformat()}
        )
    return [*events, {**told, "kind": "ended", "at": (at + timedelta(seconds=ended)).isoformat()}]


async def shift(world: World, id: str, day: str, as_of: datetime) -> Summary:
    own = world.settings.tenants["acme"]
    found = shifts.shift_of(own, "acme", id, date.fromisoformat(day))
    assert found is not None
    return await summarise(world.pool, world.settings, world.reports.names, found, as_of)


async def test_a_shift_over_midnight_has_what_began_in_it_and_nothing_else(pool: asyncpg.Pool) -> None:
    almaty = timezone(timedelta(hours=5))
    async with centre(pool) as world:
        for number, at in enumerate(
            ("23T19:59:59", "23T20:00:00", "23T23:59:59", "24T00:00:00", "24T07:59:59", "24T08:00:00"), 1
        ):
            begin = datetime.fromisoformat(f"2026-11-{at}").replace(tzinfo=almaty)
            await world.send_json("native", *call(str(number), begin, answered=5))
        await world.project()
        summary = await shift(world, "night", "2026-11-23", LATER)
        assert summary.figures["offered"] == summary.figures["answered"] == 4
        calls = [counted.call for counted in summary.ledger or () if any(f["grain"] == "call" for f in counted.facts)]
        assert calls == [f"native/{n}" for n in (2, 3, 4, 5)]
        # An agent's work is his shift's in which it was done: the first call came in the day and was answered at night.
        assert [line.figures["answered"] for line in summary.agents] == [4]
        assert sum(interval.offered for interval in summary.intervals) == 4
        assert (summary.intervals[0].begin, summary.intervals[-1].end) == (summary.period.begin, summary.period.end)


async def test_the_night_when_the_clocks_go_back_has_thirteen_hours(pool: asyncpg.Pool) -> None:
    async with centre(pool, timezone="Europe/Berlin", region="DE") as world:
        first = datetime(2026, 10, 24, 18, 10, tzinfo=UTC)
        for hour in range(14):
            await world.send_json("native", *call(str(hour), first + timedelta(hours=hour), answered=5))
        await world.project()
        summary = await shift(world, "night", "2026-10-24", LATER)
        assert summary.figures["offered"] == 13
        assert [interval.offered for interval in summary.intervals] == [1, 0] * 13
        zone = world.settings.tenants["acme"].zone
        shown = [f"{interval.begin.astimezone(zone):%H:%M}" for interval in summary.intervals]
        assert shown.count("02:00") == shown.count("02:30") == 2


async def test_an_event_that_comes_late_changes_the_figures_and_is_named(pool: asyncpg.Pool) -> None:
    at = datetime(2026, 11, 23, 16, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json("native", *call("1", at, answered=5), *call("2", at))
        await world.project()
        sent = from_data(orjson.loads(orjson.dumps(to_data(await shift(world, "night", "2026-11-23", LATER)))))
        assert (sent.figures["answered"], sent.figures["missed"]) == (1, 1)
        late = {"call_id": "2", "kind": "answered", "at": (at + timedelta(seconds=9)).isoformat(), "agent": "Dana"}
        await world.send_json("native", late)
        await world.project()
        now = await shift(world, "night", "2026-11-23", LATER)
        assert now.fingerprint != sent.fingerprint
        found = {(change.place.grain, change.place.name, change.figure): change for change in changes(sent, now)}
        missed, answered = found["call", "", "missed"], found["call", "", "answered"]
        assert (missed.old, missed.new, missed.calls) == (1, 0, ("native/2",))
        assert (answered.old, answered.new, answered.calls) == (1, 2, ("native/2",))
        assert found["entry", "sales", "missed_share"].calls == ("native/2",)
        assert found["handle", "Dana", "handled"].calls == ("native/2",)
        assert ("call", "", "offered") not in found
        without = from_data(to_data(sent, ledger=False))
        assert {change.calls for change in changes(without, now)} == {()}


async def test_a_customer_waits_as_of_the_end_and_as_of_now(pool: asyncpg.Pool) -> None:
    end = datetime(2026, 11, 24, 3, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json("native", *call("1", end - timedelta(hours=2)), *call("2", end - timedelta(hours=1)))
        await world.send_json("native", *call("3", end - timedelta(hours=14), customer="+77010000099"))
        back = call("4", end + timedelta(minutes=30), answered=5, direction="outbound", customer="+77010000001")
        await world.send_json("native", *back[1:])
        await world.project()
        summary = await shift(world, "night", "2026-11-23", LATER)
        states = {item.customer[-4:]: (item.state_at_end, item.state) for item in summary.callbacks}
        assert states == {"0001": ("waiting", "reached"), "0002": ("waiting", "waiting")}
        hand = summary.handover
        assert (hand.waiting_customers, hand.of_this_period, hand.still_waiting) == (3, 2, 2)
        assert hand.oldest_missed_at == end - timedelta(hours=14)
        before = await shift(world, "night", "2026-11-23", end + timedelta(minutes=10))
        assert before.handover.still_waiting == 3
        assert before.fingerprint == summary.fingerprint


async def test_a_call_that_goes_on_is_the_next_shifts(pool: asyncpg.Pool) -> None:
    end = datetime(2026, 11, 24, 3, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json("native", *call("1", end - timedelta(seconds=50), answered=20, ended=600))
        await world.send_json("native", *call("2", end - timedelta(seconds=30), ended=90))
        await world.project()
        summary = await shift(world, "night", "2026-11-23", LATER)
        told = [(item.call, item.was, item.agent, item.became) for item in summary.handover.open_calls]
        assert told == [("native/1", "talking", "Dana", "answered"), ("native/2", "waiting", "", "abandoned")]
        assert summary.most_waiting is not None
        assert (summary.most_waiting.count, summary.most_waiting.begin) == (1, end - timedelta(seconds=50))
        to_come = await shift(world, "day", "2026-11-24", end - timedelta(seconds=20))
        assert to_come.handover.open_calls == ()


async def test_most_waiting_counts_who_waited_at_once(pool: asyncpg.Pool) -> None:
    at = datetime(2026, 11, 23, 16, tzinfo=UTC)
    async with centre(pool) as world:
        for number, second in ((1, 0), (2, 10), (3, 15), (4, 20)):
            # The first one is answered as the fourth one comes: he waits no longer then.
            waits = {"answered": 20} if number == 1 else {}
            await world.send_json("native", *call(str(number), at + timedelta(seconds=second), **waits))
        await world.project()
        summary = await shift(world, "night", "2026-11-23", LATER)
        assert summary.most_waiting is not None
        assert (summary.most_waiting.count, summary.most_waiting.begin) == (3, at + timedelta(seconds=15))


async def test_a_shift_about_a_queue_has_that_queue_alone(pool: asyncpg.Pool) -> None:
    at = datetime(2026, 11, 23, 5, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json("native", *call("1", at, answered=5), *call("2", at, answered=5, queue="vip"))
        await world.send_json("native", *call("3", at, queue="vip"), *call("4", at))
        await world.project()
        summary = await shift(world, "vip", "2026-11-23", LATER)
        assert summary.counts == "queue entries"
        assert (summary.figures["offered"], summary.figures["answered"], summary.figures["missed"]) == (2, 1, 1)
        assert [line.queue for line in summary.queues] == ["vip"]
        assert sum(interval.missed for interval in summary.intervals) == 1
        assert [item.customer[-1] for item in summary.callbacks] == ["3"]
        assert summary.handover.waiting_customers == 1
        assert {counted.call for counted in summary.ledger or ()} == {"native/2", "native/3"}


async def test_a_shift_that_goes_on_is_compared_with_as_much_of_the_one_before(pool: asyncpg.Pool) -> None:
    today = datetime(2026, 11, 23, 3, tzinfo=UTC)
    async with centre(pool) as world:
        for number, at in enumerate((today, today - timedelta(hours=23), today - timedelta(hours=13)), 1):
            await world.send_json("native", *call(str(number), at, answered=5))
        await world.project()
        summary = await shift(world, "day", "2026-11-23", today + timedelta(hours=4))
        assert summary.before is not None
        assert (summary.figures["offered"], summary.before.figures["offered"]) == (1, 1)
        assert summary.notes[0].doubt == "running"
        whole = await shift(world, "day", "2026-11-23", LATER)
        assert whole.before is not None and whole.before.figures["offered"] == 2


async def test_what_is_not_known_is_told(pool: asyncpg.Pool) -> None:
    begin = datetime(2026, 11, 23, 3, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json(
            "native", *call("1", begin, answered=5), *call("2", begin + timedelta(hours=6), answered=5)
        )
        await world.send_json("native", call("3", begin + timedelta(hours=6))[0])
        await world.send_json("native", *call("4", begin + timedelta(hours=6), customer="anonymous"))
        # Told to be over a second time, in another way.
        again = {"call_id": "1", "kind": "ended", "at": (begin + timedelta(seconds=60)).isoformat(), "code": "486"}
        await world.send_json("native", again)
        # After-call work of 25 hours.
        end = (begin + timedelta(hours=6, seconds=60)).isoformat()
        await world.send_json("native", {"call_id": "2", "kind": "wrapped", "at": end, "wrap_seconds": 90_000})
        await world.project()
        unreadable = StreamKey("acme", "native", "unreadable")
        async with pool.acquire() as connection:
            await isolation.put(connection, isolation.CALLS, {unreadable: (begin, begin)}, {unreadable: "ValueError"})
        summary = await shift(world, "day", "2026-11-23", LATER)
        notes = {note.doubt.value: note for note in summary.notes}
        assert (notes["late"].count, notes["hidden"].count) == (4, 1)
        assert notes["conflicting"].calls == ("native/1",)
        assert notes["implausible"].calls == ("native/2",)
        assert notes["set_aside"].calls == ("native/unreadable",)
        silences = [(note.begin, note.end) for note in summary.notes if note.doubt == "silent"]
        assert silences == [
            (begin + timedelta(seconds=60), begin + timedelta(hours=6)),
            (begin + timedelta(hours=6, seconds=60), begin + timedelta(hours=12)),
        ]
        assert "expired" in notes or "open" in notes
        nothing = await shift(world, "day", "2026-11-22", LATER)
        assert [note.doubt.value for note in nothing.notes] == ["never_spoke"]


async def test_a_month_is_told_in_days_and_without_single_calls(pool: asyncpg.Pool) -> None:
    async with centre(pool) as world:
        for day in (1, 15, 30):
            await world.send_json("native", *call(str(day), datetime(2026, 10, day, 6, tzinfo=UTC), answered=5))
        await world.project()
        summary = await summary_of(world, "month:2026-10", as_of=LATER)
        assert [i for i, interval in enumerate(summary.intervals, 1) if interval.offered] == [1, 15, 30]
        assert len(summary.intervals) == 31
        assert (summary.most_waiting, summary.ledger) == (None, None)


async def test_who_was_closed_by_hand_waited_until_then(pool: asyncpg.Pool) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    async with centre(pool, timezone="UTC") as world:
        await world.send_json("native", *call("1", now - timedelta(hours=2)))
        await world.project()
        order = Order(action=Action.RESOLVE, by=ANNA.name, text="Spam", fate=Fate.WRITTEN_OFF)
        await WorkList(world.pool, world.settings).act(Request("acme", "native", "1", order), ANNA)
        await world.project()
        ended = f"{now - timedelta(hours=3):%Y-%m-%dT%H:%M}..{now - timedelta(hours=1):%Y-%m-%dT%H:%M}"
        summary = await summary_of(world, ended, as_of=now + timedelta(minutes=1))
        assert [(item.state_at_end, item.state) for item in summary.callbacks] == [("waiting", "written_off")]
        assert (summary.handover.waiting_customers, summary.handover.still_waiting) == (1, 0)


async def test_what_is_no_longer_kept_is_neither_missing_nor_silent(pool: asyncpg.Pool) -> None:
    at = datetime(2026, 8, 15, 6, tzinfo=UTC)
    async with centre(pool) as world:
        await world.send_json("native", *call("1", at, answered=5), *call("2", at))
        await world.project()
        before = await shift(world, "day", "2026-08-15", LATER)
        limits = config.Retention(journal_months=1, calls_months=2)
        await retention.enforce(world.pool, limits, LATER, timedelta())
        summary = await shift(world, "day", "2026-08-15", LATER)
        assert (summary.figures, summary.intervals) == (before.figures, before.intervals)
        assert (summary.notes, summary.ledger) == ((), None)
        window = Window(summary.period.begin, summary.period.end)
        behind = await calls_behind(world.pool, world.settings, world.reports.names, "acme", window, "missed")
        assert (behind.items, behind.kept_since) == ((), datetime(2026, 9, 1, tzinfo=UTC))


async def test_goals_of_the_whole_of_a_queue_and_of_an_agent(pool: asyncpg.Pool) -> None:
    at = datetime(2026, 11, 23, 16, tzinfo=UTC)
    goals = {
        "answered": config.Goal(kpi="answered", target=2, shift="night"),
        "vip": config.Goal(kpi="missed", target=0, direction=config.GoalDirection.AT_MOST, queue="vip"),
        "dana": config.Goal(kpi="handled", target=3, agent="Dana"),
        "weekly": config.Goal(kpi="answered", target=100, period="week"),
    }
    async with centre(pool, goals=goals) as world:
        await world.send_json(
            "native", *call("1", at, answered=5), *call("2", at, answered=5), *call("3", at, queue="vip")
        )
        await world.project()
        summary = await shift(world, "night", "2026-11-23", LATER)
        told = {(goal.figure, goal.queue, goal.agent): (goal.value, goal.is_reached) for goal in summary.goals}
        assert told == {
            ("answered", "", ""): (2, True),
            ("service_level", "", ""): (2 / 3, False),
            ("missed_share", "", ""): (1 / 3, False),
            ("missed", "vip", ""): (1, False),
            ("handled", "", "Dana"): (2, False),
        }
        running = await shift(world, "night", "2026-11-23", at + timedelta(hours=1))
        told = {(goal.figure, goal.agent): (goal.value, goal.is_reached) for goal in running.goals}
        assert told["answered", ""] == (2, True) and told["service_level", ""] == (2 / 3, False)
        assert told["handled", "Dana"] == (2, None)
