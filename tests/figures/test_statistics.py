"""The figures of periods: parts add up to the whole, whichever sums they are read from, also over changed clocks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from callkpi import config
from callkpi.calendar import periods
from callkpi.calendar.shifts import shifts_between
from callkpi.calls.formulas import Figures
from callkpi.calls.model import CallEvent
from callkpi.commands import report
from callkpi.config import Goal, GoalDirection, ReportField, ShiftPlan
from callkpi.daemon.processes import Failed
from callkpi.figures.statistics import BadQuestion, Question, Statistics
from callkpi.projection import days
from tests.stand_ins.centres import FIELDS, centre, moved
from tests.stand_ins.truth import FILES, TRUTH
from tests.strategies import EPOCH, arrival, traffic
from tests.world import World, capture_lines, test_settings

#: Zones, and how the evening of strategies.EPOCH is moved to that before their clocks change.
NIGHTS = {
    "Europe/Berlin": timedelta(),
    "America/New_York": datetime(2026, 10, 31, 22, 0, tzinfo=UTC) - EPOCH,
    "Asia/Almaty": datetime(2024, 2, 29, 16, 0, tzinfo=UTC) - EPOCH,
    "Asia/Kathmandu": timedelta(),
    "Europe/London": datetime(2026, 3, 28, 20, 0, tzinfo=UTC) - EPOCH,
}
SHIFTS = {"day": ShiftPlan("Day", hours="08:00-20:10"), "night": ShiftPlan("Night", hours="20:10-08:00")}
SUMS = ("offered", "answered", "missed", "handled", "made", "reached", "open", "talked", "contacts", "transferred")


def period(begin: datetime, end: datetime) -> periods.Period:
    return periods.Period("interval", "", "", begin, end, end)


async def ask(world: World, of: periods.Period, *by: str, **rest: Any) -> dict[str, Any]:
    return await Statistics(world.pool, world.settings).answer(Question("acme", of, by, **rest))


def day_around(zone: config.Tenant, at: datetime) -> periods.Period:
    """Three local days around a moment."""
    first = at.astimezone(zone.zone).date()
    return periods.parse(
        zone, "acme", f"{first - timedelta(days=1)}..{first + timedelta(days=1)}", at + timedelta(days=30)
    )


HANDLED = ("handled", "answered", "made", "ring_no_answer", "open", "expired", "offered", "busy")
FIGURES = frozenset(Figures().as_row(config.ServiceLevelFormula.DEFAULT))


@given(traffic(), st.sampled_from(sorted(NIGHTS)), st.lists(st.sampled_from(["a", "b", ""]), min_size=1))
@hypothesis_settings(max_examples=8)
async def test_parts_of_any_kind_add_up_to_the_whole_that_the_calls_give(
    pool: asyncpg.Pool, events: list[CallEvent], zone: str, campaigns: list[str]
) -> None:
    by, told = NIGHTS[zone], iter(campaigns * len(events))
    events = [
        dataclasses.replace(e, fields={"campaign": next(told)}) if e.kind == "started" else e for e in moved(events, by)
    ]
    async with centre(pool, timezone=zone, shifts=SHIFTS, fields=FIELDS) as world:
        await world.append(events)
        await world.project()
        assert await world.findings() == []
        of = day_around(world.settings.tenants["acme"], EPOCH + by)
        for dimension in ("queue", "agent", "line", "direction", "outcome"):
            expected = await world.figures(dimension, of.begin, of.end)
            answer = await ask(world, of, dimension)
            # Whose phone only rang has time of his, which reports by agent tell, and no handle.
            named = {row["key"][dimension] for row in answer["rows"]} if dimension == "agent" else None
            counted = [
                row for row in expected["rows"]
                if named is None or row["agent"] in named or any(row[name] for name in HANDLED)
            ]  # fmt: skip
            assert [row["key"][dimension] for row in answer["rows"]] == [row[dimension] for row in counted]
            for row, wanted in zip(answer["rows"], counted, strict=True):
                ours = {name: value for name, value in row["figures"].items() if name in wanted}
                assert ours == {name: wanted[name] for name in ours}
            total = {name: value for name, value in expected["total"].items() if name in FIGURES}
            assert answer["total"]["figures"].items() >= total.items()
        whole = (await ask(world, of))["total"]["figures"]
        for split in ("hour", "weekday", "15min", "30min", "60min", "day", "week", "month", "shift", "source",
                      "field:campaign"):  # fmt: skip
            answer = await ask(world, of, split)
            rows = [row["figures"] for row in answer["rows"]]
            assert answer["total"]["figures"].items() <= whole.items(), split
            for name in SUMS:
                assert sum(row[name] for row in rows) == whole[name], (split, name)
            assert max((row["longest_wait_seconds"] for row in rows), default=0) == whole["longest_wait_seconds"], split


@hypothesis_settings(max_examples=12)
@given(arrival(), st.sampled_from(["Europe/Berlin", "Asia/Almaty"]))
async def test_days_are_the_sums_of_their_calls_at_every_step_also_when_a_field_comes_late(
    pool: asyncpg.Pool, case: tuple[list[CallEvent], list[list[CallEvent]]], zone: str
) -> None:
    async with centre(pool, timezone=zone, fields=FIELDS) as world:
        for number, delivery in enumerate(case[1]):
            told = [dataclasses.replace(e, fields={"campaign": f"c{number % 3}"}) for e in delivery]
            await world.append(told)
            await world.project()
            assert await world.findings() == []


@hypothesis_settings(max_examples=8)
@given(traffic(), st.sampled_from(["Europe/Berlin", "America/New_York"]))
async def test_days_that_are_filled_afterwards_equal_those_that_were_kept(
    pool: asyncpg.Pool, events: list[CallEvent], zone: str
) -> None:
    async with centre(pool, timezone="Asia/Almaty") as world:
        await world.append(events)
        await world.project()
        other = World(pool, test_settings(timezone=zone, fields=FIELDS))
        of = day_around(other.settings.tenants["acme"], EPOCH)
        before = await ask(other, of, "day", "source")
        await days.fill(pool, other.settings)
        known = (await days.spans(pool))["acme"]
        assert known.is_of(other.settings.tenants["acme"])
        assert known.since == date.min
        assert await other.findings() == []
        assert await ask(other, of, "day", "source") == before
        async with other.running():
            await other.append(moved(events, timedelta(days=2)))
        await other.project()
        assert await other.findings() == []


# -- a recorded day ---------------------------------------------------------------------------------------

NIGHT = {
    "evening": ShiftPlan("Evening", hours="16:00-23:40"),
    "night": ShiftPlan("Night", hours="23:40-07:00"),
    "sales": ShiftPlan("Sales", hours="20:00-02:00", queues=("sales",)),
}


async def test_shifts_of_recorded_traffic_are_the_sum_of_their_intervals_and_the_truth(pool: asyncpg.Pool) -> None:
    """Three hours of a real Asterisk over the centre's midnight; the shifts change at no quarter of an hour."""
    async with centre(pool, timezone="Asia/Almaty", shifts=NIGHT) as world:
        await world.send_lines("pbx", capture_lines(FILES["pbx"]))
        await world.project()
        tenant = world.settings.tenants["acme"]
        now = datetime(2026, 11, 24, 12, tzinfo=UTC)
        entered: Counter[str] = Counter()
        for id in ("evening", "night"):
            of = periods.parse(tenant, "acme", f"shift:{id}@2026-11-23", now)
            shift = await ask(world, of, "queue")
            assert (
                shift["total"]["figures"].items() >= (await world.figures("queue", of.begin, of.end))["total"].items()
            )
            for unit in ("15min", "60min", "hour", "day"):
                parts = await ask(world, of, "queue", unit)
                for row in shift["rows"]:
                    own = [part for part in parts["rows"] if part["key"]["queue"] == row["key"]["queue"]]
                    for name in (*SUMS, "abandoned", "timed_out", "exited", "within_service_level", "missed"):
                        assert sum(part["figures"][name] for part in own) == row["figures"][name], (unit, name)
            assert all(row["figures"]["offered"] for row in shift["rows"]), "each shift had calls in each queue"
            entered.update({row["key"]["queue"]: row["figures"]["offered"] for row in shift["rows"]})
        assert entered == {name: queue["entered"] for name, queue in TRUTH["queues"].items()}
        sales = await ask(world, periods.parse(tenant, "acme", "shift:sales@2026-11-23", now))
        assert sales["counts"] == "queue entries"
        assert sales["total"]["figures"]["offered"] == TRUTH["queues"]["sales"]["entered"]


# -- beside the period before, and the goals --------------------------------------------------------------


def call(number: int, at: str, *, answered: bool, zone: str = "Asia/Almaty", **facts: Any) -> list[dict[str, Any]]:
    """An inbound call, answered after ten seconds for a minute, or abandoned after half a minute."""
    begin = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone))
    told = [("started", 0, {"direction": "inbound", "customer": f"+770100{number:05}", "line": "100", **facts}),
            ("queued", 0, {"queue": "sales"})]  # fmt: skip
    if answered:
        told += [("ringing", 1, {"agent": "1001", "leg": "1", "queue": "sales"}),
                 ("answered", 10, {"agent": "1001", "leg": "1", "queue": "sales"}), ("ended", 70, {})]  # fmt: skip
    else:
        told += [("ended", 30, {"hangup_by": "customer"})]
    return [
        {"call_id": f"c{number}", "kind": kind, "at": (begin + timedelta(seconds=after)).isoformat(), **own}
        for kind, after, own in told
    ]


GOALS = {
    "volume": Goal("answered", 8, period="month"),
    "sales_misses": Goal("missed", 1, GoalDirection.AT_MOST, period="month", queue="sales"),
    "old": Goal("answered", 3, period="month", until="2026-09-30"),
    "daily": Goal("answered", 4, period="day"),
}


async def test_a_month_so_far_stands_beside_as_much_of_the_month_before_and_its_goals(pool: asyncpg.Pool) -> None:
    async with centre(pool, goals=GOALS, business_hours={"mon": "09:00-18:00"}) as world:
        told = [
            *call(1, "2026-10-05T10:00", answered=True), *call(2, "2026-10-05T11:00", answered=False),
            *call(3, "2026-10-26T10:00", answered=True),  # later in its month than now
            *call(4, "2026-11-02T10:00", answered=True), *call(5, "2026-11-09T10:00", answered=True),
            *call(6, "2026-11-09T10:30", answered=True), *call(7, "2026-11-09T12:00", answered=False),
        ]  # fmt: skip
        await world.send_json("native", *told)
        await world.project()
        now = datetime(2026, 11, 16, 13, 30, tzinfo=ZoneInfo("Asia/Almaty")).astimezone(UTC)  # 2.5 of 5 Mondays
        month = periods.parse(world.settings.tenants["acme"], "acme", "this_month", now)
        answer = await ask(world, month, against="previous")
        total = answer["total"]
        assert (answer["period"]["partial"], answer["compared_with"]["text"]) == (True, "month:2026-10")
        assert [total[part]["answered"] for part in ("figures", "previous", "change", "change_ratio")] == [3, 1, 2, 2.0]
        assert [total[part]["made"] for part in ("figures", "previous", "change", "change_ratio")] == [0, 0, 0, None]
        assert total["share"]["missed"] == 0.25
        assert answer["bases"]["missed"] == "offered"
        by_id = {goal["id"]: goal for goal in total["goals"]}
        assert by_id.keys() == {"volume", "targets.service_level", "targets.missed_share"}
        volume = by_id["volume"]
        assert (volume["attainment"], volume["elapsed_share"], volume["pace"]) == (3 / 8, 0.5, 6.0)
        assert by_id["targets.missed_share"]["reached"] is False
        queues = await ask(world, month, "queue", against="previous")
        (row,) = queues["rows"]
        assert [goal["id"] for goal in row["goals"]] == ["sales_misses"]
        assert row["goals"][0]["reached"] is True
        by_day = await ask(world, month, "day", against="previous")
        rows = {row["key"]["day"]: row for row in by_day["rows"]}
        assert rows["2026-11-09"]["of_total"]["answered"] == 2 / 3
        assert rows["2026-11-05"]["previous"]["answered"] == 1, "the fifth beside the fifth"
        assert [goal["attainment"] for goal in rows["2026-11-09"]["goals"] if goal["id"] == "daily"] == [0.5]
        old = periods.parse(world.settings.tenants["acme"], "acme", "month:2026-09", now)
        assert "old" in [goal["id"] for goal in (await ask(world, old))["total"]["goals"]]


async def test_values_of_a_field_are_bounded_and_the_rest_is_other(pool: asyncpg.Pool) -> None:
    fields = {"campaign": ReportField(limit=1), "region": ReportField(values=("north",))}
    async with centre(pool, fields=fields) as world:
        for number, (campaign, region) in enumerate([("a", "north"), ("a", "south"), ("b", "east"), ("c", "")]):
            told = {"campaign": campaign, "region": region}
            await world.send_json("native", *call(number, "2026-11-09T10:00", answered=True, fields=told))
        await world.project()
        now = datetime(2026, 11, 20, tzinfo=UTC)
        day = periods.parse(world.settings.tenants["acme"], "acme", "day:2026-11-09", now)
        offered = {}
        for name in fields:
            answer = await ask(world, day, f"field:{name}")
            offered[name] = {row["key"][f"field:{name}"]: row["figures"]["offered"] for row in answer["rows"]}
        assert offered == {"campaign": {"a": 2, "other": 2}, "region": {"": 1, "north": 1, "other": 2}}
        only = await ask(world, day, "source", only={"field:campaign": ("b",)})
        assert [(row["key"]["source"], row["figures"]["offered"]) for row in only["rows"]] == [("native", 1)]


async def test_the_hour_that_the_clocks_repeat_is_one_hour_of_the_day_and_two_intervals(pool: asyncpg.Pool) -> None:
    async with centre(pool, timezone="Europe/Berlin") as world:
        await world.send_json("native", *call(1, "2026-10-25T00:30", answered=True, zone="UTC"))
        await world.send_json("native", *call(2, "2026-10-25T01:30", answered=True, zone="UTC"))
        await world.project()
        now = datetime(2026, 11, 20, tzinfo=UTC)
        day = periods.parse(world.settings.tenants["acme"], "acme", "day:2026-10-25", now)
        hours = {row["key"]["hour"]: row["figures"]["offered"] for row in (await ask(world, day, "hour"))["rows"]}
        assert (len(hours), hours["02:00"]) == (24, 2)
        told = {row["key"]["60min"]: row["figures"]["offered"] for row in (await ask(world, day, "60min"))["rows"]}
        assert len(told) == 25
        assert {key for key, offered in told.items() if offered} == {"2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"}


@pytest.mark.parametrize(
    ("by", "only", "said"),
    [
        (("queu",), {}, "by: 'queu' is none of queue, team,"),
        (("queue", "queue"), {}, "by: names something twice"),
        ((), {"hour": ("9",)}, "hour: can't be filtered by; known: queue, team,"),
        (("field:region",), {}, "by: 'field:region' is none of"),
    ],
)
async def test_what_cannot_be_asked_is_told(
    world: World, by: tuple[str, ...], only: dict[str, tuple[str, ...]], said: str
) -> None:
    with pytest.raises(BadQuestion) as refused:
        await ask(world, period(EPOCH, EPOCH + timedelta(days=1)), *by, only=only)
    assert said in str(refused.value)


@pytest.mark.parametrize("by", ["queue", "agent", "line"])
async def test_a_goal_of_the_whole_is_judged_the_same_however_it_is_split(pool: asyncpg.Pool, by: str) -> None:
    """One call that met two queues is one missed call, and two missed stays."""
    goals = {"misses": Goal("missed", 1, GoalDirection.AT_MOST, period="month")}
    async with centre(pool, goals=goals) as world:
        lost = call(1, "2026-10-05T10:00", answered=False)
        second = {**lost[0], "kind": "queued", "queue": "support", "at": "2026-10-05T10:00:20+05:00"}
        await world.send_json("native", *lost, second, *call(2, "2026-10-05T11:00", answered=True))
        await world.project()
        now = datetime(2026, 11, 16, tzinfo=UTC)
        month = periods.parse(world.settings.tenants["acme"], "acme", "month:2026-10", now)
        total = (await ask(world, month, by))["total"]
        judged = {goal["id"]: (goal["fact"], goal["reached"]) for goal in total["goals"]}
        assert judged["misses"] == (1, True) and judged["targets.missed_share"] == (0.5, False)
        if by == "queue":
            assert total["figures"]["missed"] == 2


async def test_the_terminal_prints_a_period_beside_the_one_before(
    pool: asyncpg.Pool, dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with centre(pool, goals={"volume": Goal("answered", 4, period="month")}) as world:
        await world.send_json("native", *call(1, "2026-09-05T10:00", answered=True))
        await world.send_json("native", *call(2, "2026-10-05T10:00", answered=True))
        await world.send_json("native", *call(3, "2026-10-06T10:00", answered=False))
        await world.project()
        settings = dataclasses.replace(world.settings, database=config.Database(url=dsn))
        asked = report.Asked("month:2026-10", ("", ""), "queue", (), "previous")
        await report.statistics(settings, "", asked, as_json=False)
        printed = capsys.readouterr().out
        assert "acme, 2026-10 (2026-10-01 00:00 to 2026-11-01 00:00 +05); counts queue entries" in printed
        assert "compared with 2026-09 (2026-09-01 00:00 to 2026-10-01 00:00 +05)" in printed
        sales = next(line for line in printed.splitlines() if line.startswith("sales"))
        assert sales.split()[1:8] == ["2", "(+100", "%)", "1", "(+0", "%)", "1"]
        assert "goal of total: answered at least 4: 1, missed" in printed
        with pytest.raises(Failed, match=r"--period: .2026-1. is no month"):
            await report.statistics(settings, "", dataclasses.replace(asked, period="month:2026-1"), as_json=True)


async def test_a_period_that_has_not_begun_has_no_figures_and_no_change(world: World) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    month = periods.parse(world.settings.tenants["acme"], "acme", "month:2026-12", now)
    for by in ((), ("day",), ("queue", "shift")):
        answer = await ask(world, month, *by, against="previous")
        assert answer["rows"] == []
        assert (answer["total"]["figures"]["offered"], answer["total"]["change_ratio"]["offered"]) == (0, None)
        assert {goal["reached"] for goal in answer["total"]["goals"]} == {None}


async def test_what_only_the_calls_can_tell_is_asked_for_weeks_not_for_years(world: World) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    year = periods.parse(world.settings.tenants["acme"], "acme", "year:2025", now)
    with pytest.raises(BadQuestion, match="ask again when the sums of days are filled"):
        await ask(world, year, "source", "month")
    await days.fill(world.pool, world.settings)
    assert (await ask(world, year, "source", "month"))["rows"] == []
    with pytest.raises(BadQuestion, match="at most 40 days at a time; ask for a shorter period, or by day"):
        await ask(world, year, "source", "hour")


@hypothesis_settings(max_examples=6)
@given(traffic(), st.sampled_from(["Europe/Berlin", "Asia/Kathmandu"]), st.sampled_from(["2026-10-24", "2026-10-25"]))
async def test_each_shift_is_what_the_report_of_its_time_says_also_around_holidays(
    pool: asyncpg.Pool, events: list[CallEvent], zone: str, holiday: str
) -> None:
    overlapping = {**SHIFTS, "late": ShiftPlan("Late", hours="18:00-23:15")}
    short = {"2026-10-25" if holiday == "2026-10-24" else "2026-10-24": "10:00-22:40"}
    async with centre(pool, timezone=zone, shifts=overlapping, holidays=(holiday,), special_days=short) as world:
        await world.append(events)
        await world.project()
        tenant = world.settings.tenants["acme"]
        of = day_around(tenant, EPOCH)
        answer = await ask(world, of, "shift", "direction")
        shifts = {shift.key: shift for shift in shifts_between(tenant, "acme", of.begin, of.end)}
        assert not [key for key in shifts if key.endswith(holiday)]
        for key, shift in shifts.items():
            told = {row["key"]["direction"]: row["figures"] for row in answer["rows"] if row["key"]["shift"] == key}
            span = (max(shift.begin, of.begin), min(shift.end, of.end))
            expected = {row["direction"]: row for row in (await world.figures("direction", *span))["rows"]}
            assert told.keys() == expected.keys()
            for name, figures in told.items():
                assert {**figures, "direction": name}.items() >= expected[name].items()
