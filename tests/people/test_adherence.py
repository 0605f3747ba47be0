"""Planned and worked time: the arithmetic against minutes counted one by one, and a night from roster to page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calendar import periods
from callkpi.config import ShiftPlan
from callkpi.people import rosters
from callkpi.people.adherence import (
    BREAK,
    NOTHING,
    Kept,
    Person,
    Span,
    Spans,
    Window,
    common,
    kept,
    length,
    steps,
    united,
    without,
)
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.summary import Summary, from_data, to_data
from callkpi.summaries.words import sentences
from tests.stand_ins.readers import use
from tests.world import World, test_settings

T0 = datetime(2026, 11, 23, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def spans(*told: tuple[float, float]) -> Spans:
    return united(Span(at(begin), at(end)) for begin, end in told)


# -- the arithmetic ---------------------------------------------------------------------------------------

#: Minutes, some before the window and some after it; ends may lie before begins.
_PAIRS = st.lists(st.tuples(st.integers(-200, 900), st.integers(-200, 900)), max_size=6)


def painted(pairs: Spans) -> set[int]:
    """Every minute of the spans."""
    return {
        minute
        for span in pairs
        for minute in range((span.begin - T0) // MINUTE, (span.end - T0) // MINUTE)
    }  # fmt: skip


@given(_PAIRS, _PAIRS)
def test_intervals_are_sets_of_minutes(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    first, second = spans(*one), spans(*other)
    assert painted(first) == {m for begin, end in one for m in range(begin, end)}
    assert painted(common(first, second)) == painted(first) & painted(second)
    assert painted(without(first, second)) == painted(first) - painted(second)
    assert length(first) == len(painted(first)) * MINUTE
    for found in (first, common(first, second), without(first, second)):
        assert all(span.begin < span.end for span in found)
        assert all(a.end <= b.begin for a, b in pairwise(found))


PARTS = ("planned", "in_plan", "late_start", "early_end", "away", "absent", "unknown")


def by_hand(plan: set[int], there: set[int], blind: set[int], window: range, now: int) -> dict[str, int]:
    """The parts of a plan, minute by minute."""
    found = dict.fromkeys((*PARTS, "stints", "absences"), 0)
    stints: list[list[int]] = []
    for minute in sorted(plan):
        if not stints or minute - stints[-1][-1] - 1 > BREAK // MINUTE:
            stints.append([])
        stints[-1].append(minute)
    for stint in stints:
        here = [minute for minute in stint if minute in window]
        came = [minute for minute in stint if minute in there]
        found["stints"] += bool(here)
        found["absences"] += bool({*here} - blind) and not came
        for minute in here:
            found["planned"] += 1
            if minute in there:
                found["in_plan"] += 1
            elif minute in blind:
                found["unknown"] += 1
            elif not came:
                found["absent"] += 1
            elif minute < came[0]:
                found["late_start"] += 1
            elif minute > came[-1] and stint[-1] < now:
                found["early_end"] += 1
            else:
                found["away"] += 1
    return found


def told(line: Kept) -> dict[str, int]:
    parts = {}
    for name in PARTS:
        amount = getattr(line, name)
        assert amount % MINUTE == NOTHING
        parts[name] = amount // MINUTE
    return {**parts, "stints": line.stints, "absences": line.absences or 0}


@given(_PAIRS, _PAIRS, _PAIRS, st.integers(1, 700), st.integers(0, 300))
def test_a_plan_is_kept_minute_by_minute(
    plan: list[tuple[int, int]], there: list[tuple[int, int]], lost: list[tuple[int, int]], until: int, later: int
) -> None:
    now = until + later
    present = common(spans(*there), spans((-300, now)))
    person = Person(name="Dana", plans=spans(*plan), logged_in=present, unheard=spans(*lost))
    window = Window(begin=T0, end=at(until), now=at(now), rostered=spans((0, until)))
    line = kept(person, window)
    expected = by_hand(painted(person.plans), painted(present), painted(person.unheard), range(until), now)
    assert told(line) == expected
    assert line.beyond == len((painted(present) - painted(person.plans)) & set(range(until))) * MINUTE
    assert sum(expected[name] for name in PARTS[1:]) == expected["planned"]
    judged = expected["planned"] - expected["unknown"]
    assert line.adherence == (expected["in_plan"] / judged if judged else None)


@given(st.lists(st.tuples(_PAIRS, _PAIRS, st.booleans()), max_size=4), st.lists(st.integers(1, 699), max_size=8))
def test_steps_add_up_to_the_people(
    people: list[tuple[list[tuple[int, int]], list[tuple[int, int]], bool]], cuts: list[int]
) -> None:
    marks = [0, *sorted({*cuts}), 700]
    window = Window(begin=T0, end=at(500), now=at(500), rostered=spans((0, 700)))
    crowd = [Person(name=str(n), plans=spans(*plan), logged_in=spans(*there) if known else (), told=known,
                    unheard=spans((100, 200)))
             for n, (plan, there, known) in enumerate(people)]  # fmt: skip
    lines = [kept(person, window) for person in crowd]
    found = list(steps(crowd, [(at(a), at(b)) for a, b in pairwise(marks)], window))
    assert [step.begin for step in found] == [at(mark) for mark in marks[:-1] if mark < 500]
    sums = dict.fromkeys(("planned", "in_plan", "beyond", "unknown"), 0.0)
    for step in found:
        for name in sums:
            sums[name] += getattr(step, name) * ((min(step.end, at(500)) - step.begin) / MINUTE)
    assert round(sums["planned"], 6) == sum((line.planned for line in lines), NOTHING) / MINUTE
    assert round(sums["in_plan"], 6) == sum((line.in_plan or NOTHING for line in lines), NOTHING) / MINUTE
    assert round(sums["unknown"], 6) == sum((line.unknown for line in lines), NOTHING) / MINUTE
    known = [line.beyond or NOTHING for line in lines if line.in_plan is not None]
    assert round(sums["beyond"], 6) == sum(known, NOTHING) / MINUTE


def night(person: Person, begin: float = 0, end: float = 720, now: float = 900) -> Kept:
    window = Window(begin=at(begin), end=at(min(end, now)), now=at(now), rostered=spans((begin, end)))
    return kept(person, window)


def minutes(line: Kept) -> tuple[float, ...]:
    """Planned, in plan, late start, early end, away, absent, beyond."""
    parts = (line.planned, line.in_plan, line.late_start, line.early_end, line.away, line.absent, line.beyond)
    return tuple(part / MINUTE if part is not None else -1 for part in parts)


def test_a_break_is_no_planned_time_and_who_works_through_it_works_beyond() -> None:
    plan = spans((0, 240), (300, 720))
    assert minutes(night(Person(name="Dana", plans=plan, logged_in=spans((0, 240), (300, 720))))) == (
        660, 660, 0, 0, 0, 0, 0,
    )  # fmt: skip
    line = night(Person(name="Dana", plans=plan, logged_in=spans((30, 720))))
    assert minutes(line) == (660, 630, 30, 0, 0, 0, 60) and line.stints == 1
    back_late = night(Person(name="Dana", plans=plan, logged_in=spans((0, 240), (320, 700))))
    assert minutes(back_late) == (660, 620, 0, 20, 20, 0, 0)


def test_a_split_shift_is_begun_twice() -> None:
    plan = spans((0, 120), (480, 720))
    line = night(Person(name="Dana", plans=plan, logged_in=spans((10, 120), (500, 720))))
    assert minutes(line) == (360, 330, 30, 0, 0, 0, 0) and (line.stints, line.absences) == (2, 0)
    once = night(Person(name="Dana", plans=plan, logged_in=spans((10, 120))))
    assert minutes(once) == (360, 110, 10, 0, 0, 240, 0) and (once.absences, once.has_come) == (1, True)


def test_who_came_before_the_window_is_not_late_at_its_edge() -> None:
    """Planned from 18:00 to 10:00 with a night summed up from 20:00 to 08:00."""
    plan = spans((-120, 840))
    came = night(Person(name="Dana", plans=plan, logged_in=spans((-100, -10), (20, 700), (730, 840))))
    assert minutes(came) == (720, 680, 0, 0, 40, 0, 0)
    late = night(Person(name="Dana", plans=plan, logged_in=spans((20, 840))))
    assert minutes(late)[:4] == (720, 700, 20, 0)


def test_who_has_left_may_come_back_while_his_plan_goes_on() -> None:
    person = Person(name="Dana", plans=spans((0, 720)), logged_in=spans((0, 200)))
    assert minutes(night(person, now=300)) == (300, 200, 0, 0, 100, 0, 0)
    assert minutes(night(person, now=800)) == (720, 200, 0, 520, 0, 0, 0)


def test_what_nobody_tells_is_not_known_and_not_nothing() -> None:
    silent = night(Person(name="Dana", plans=spans((0, 720)), told=False))
    assert minutes(silent) == (720, -1, -1, -1, -1, -1, -1)
    assert (silent.adherence, silent.has_come) == (None, None)
    absent = night(Person(name="Dana", plans=spans((0, 720))))
    assert (absent.adherence, absent.has_come, absent.absent) == (0.0, False, 720 * MINUTE)
    on_phone = night(Person(name="Dana", plans=spans((0, 720)), on_phone=spans((60, 70))))
    assert (on_phone.adherence, on_phone.has_come) == (None, None), "he was there, and nobody says for how long"


def test_while_no_source_was_heard_nobody_is_late_or_absent() -> None:
    """The connection was lost from before eight to half past eight; Fay was there before it and after it."""
    lost = spans((-10, 30))
    late = night(Person(name="Dana", plans=spans((0, 720)), logged_in=spans((30, 720)), unheard=lost))
    assert (minutes(late)[:3], late.unknown, late.adherence) == ((720, 690, 0), 30 * MINUTE, 1.0)
    later = night(Person(name="Erik", plans=spans((0, 720)), logged_in=spans((50, 720)), unheard=lost))
    assert later.late_start == 20 * MINUTE
    held = night(Person(name="Fay", plans=spans((0, 720)), logged_in=spans((-60, 720)), unheard=lost))
    assert (held.in_plan, held.unknown) == (720 * MINUTE, NOTHING)
    dark = night(Person(name="Gita", plans=spans((0, 30)), unheard=lost))
    assert (dark.adherence, dark.has_come, dark.absences) == (None, None, 0)


def test_without_a_plan_talk_is_work_too() -> None:
    line = night(Person(name="Fay", logged_in=spans((0, 60)), on_phone=spans((60, 70), (100, 110))))
    assert minutes(line) == (0, 0, 0, 0, 0, 0, 80) and line.adherence is None and line.has_come is None


# -- from a roster to a summary ---------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")
TENANT = {
    "timezone": "Europe/Berlin",
    "shifts": {
        "night": ShiftPlan(name="Night", hours="20:00-08:00"),
        "vip": ShiftPlan(name="VIP", hours="20:00-08:00", queues=("vip",)),
        "east": ShiftPlan(name="East", hours="20:00-08:00", team="east"),
    },
    "agents": {
        "erik": config.Agent("Erik"),
        "fay": config.Agent("Fay", team="east"),
        "portal:12": config.Agent("Portia"),
    },
    "people": {
        "dana": config.Person("Dana Ann", ids=("native:d1", "native:d2"), team="east"),
        "boris": config.Person("Boris", ids=("1007",)),
    },
    "teams": {"east": config.Team("Team East")},
}
#: The clocks went back at three o'clock that night: it lasts thirteen hours.
ROSTER = """agent,date,hours,shift
Dana Ann,2026-10-24,,night
boris,2026-10-24,20:00-01:00,
1007,2026-10-25,01:30-08:00,
erik,2026-10-24,,night
Portia,2026-10-24,,night
"""


def clock(text: str) -> float:
    """A time of that night: from 20:00 to midnight of the 24th, else of the 25th; "+" is the second time."""
    day = 24 if text[:2] >= "12" else 25
    local = datetime.fromisoformat(f"2026-10-{day}T{text[:5]}").replace(tzinfo=BERLIN, fold=int(text.endswith("+")))
    return local.timestamp()


def says(agent: str, *told: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"call_id": "", "kind": "agent_state", "agent": agent, "state": state, "at": clock(at)} for at, state in told
    ]


def conversation(number: str, agent: str, begin: str, end: str, queue: str = "sales") -> list[dict[str, Any]]:
    call = {"call_id": number, "direction": "inbound", "queue": queue, "customer": f"+4930000{number}"}
    leg = {**call, "agent": agent, "leg": "1"}
    return [
        {**call, "kind": "queued", "at": clock(begin)}, {**leg, "kind": "answered", "at": clock(begin)},
        {**leg, "kind": "ended", "at": clock(end)}, {**call, "kind": "ended", "at": clock(end), "cause": "answered"},
    ]  # fmt: skip


async def plan(world: World, text: str = ROSTER) -> None:
    seen = await world.reports.names.seen(world.pool, "acme")
    own = world.settings.tenants["acme"]
    await rosters.save(world.pool, "acme", rosters.read(text, "plan.csv", own, (None, None), date(2026, 10, 1), seen))


async def told_of(world: World, text: str = "shift:night@2026-10-24", as_of: str = "09:00") -> Summary:
    now = datetime.fromtimestamp(clock(as_of), UTC)
    period = periods.parse(world.settings.tenants["acme"], "acme", text, now)
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, as_of=now)


async def night_of_the_25th(world: World) -> None:
    use(world, test_settings(**TENANT))
    await world.send_json(
        "native",
        *says("d1", ("20:25", "available"), ("02:10", "offline")),
        *says("d2", ("01:00", "paused"), ("02:40+", "available"), ("07:20", "offline")),
        *says("1007", ("19:50", "available"), ("08:05", "offline")),
        *says("fay", ("22:00", "available"), ("23:00", "offline")),
        *says("gita", ("19:30", "available"), ("20:10", "offline")),
        *conversation("1", "fay", "22:10", "22:14", "vip"),
    )
    await world.project()


def hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{int(seconds) // 3600}:{int(seconds) % 3600 // 60:02}"


def lines(summary: Summary) -> dict[str, str]:
    """Planned, there by plan, late start, early end, away, beyond the plan."""
    assert summary.adherence is not None
    return {
        line.agent: " ".join(map(hours, (
            line.planned_seconds, line.in_plan_seconds, line.late_start_seconds, line.early_end_seconds,
            line.away_seconds, line.beyond_plan_seconds,
        ))) for line in summary.adherence.people
    }  # fmt: skip


async def test_a_night_of_thirteen_hours_beside_its_roster(world: World) -> None:
    await night_of_the_25th(world)
    assert (await told_of(world)).adherence is None, "no roster was imported"
    await plan(world)
    summary = await told_of(world)
    assert lines(summary) == {
        "Boris": "12:30 12:30 0:00 0:00 0:00 0:30",
        "Dana Ann": "13:00 11:55 0:25 0:40 0:00 0:00",
        "Erik": "13:00 0:00 0:00 0:00 0:00 0:00",
        "Fay": "0:00 0:00 0:00 0:00 0:00 1:00",
        "Portia": "13:00 - - - - -",
    }
    assert summary.adherence is not None
    assert summary.adherence.adherence == pytest.approx((12.5 + 11 + 55 / 60) / 38.5)
    assert [line.adherence for line in summary.adherence.people] == [1.0, pytest.approx(715 / 780), 0.0, None, None]
    assert [
        str(each) for each in sentences(summary, "en") if "planned" in str(each)
    ] == [
        "4 people were planned, 2 came, 1 never came; of 1 it is not known when he was there; "
        "logged in for 63.4% of the planned time; 1 started late, by 25 min; 1 ended early, by 40 min; "
        "1 worked without a plan."
    ]  # fmt: skip
    assert from_data(to_data(summary)) == summary


async def test_steps_tell_how_many_were_planned_and_there(world: World) -> None:
    await night_of_the_25th(world)
    await plan(world)
    adherence = (await told_of(world)).adherence
    assert adherence is not None
    found = {
        f"{step.begin.astimezone(BERLIN):%H:%M}" + "+" * step.begin.astimezone(BERLIN).fold:
        (step.planned, round(step.in_plan, 3), round(step.beyond_plan, 3), step.unknown)
        for step in adherence.steps
    }  # fmt: skip
    assert len(found) == len(adherence.steps) == 26
    assert found["20:00"] == (4, round(1 + 5 / 30, 3), round(10 / 30, 3), 1)
    assert found["22:00"] == (4, 2, 1, 1)
    assert found["01:00"] == (3, 1, 1, 1), "Boris works through his break"
    assert found["02:00"] == found["02:00+"] == (4, 2, 0, 1)
    assert found["07:00"] == (4, round(1 + 20 / 30, 3), 0, 1)


async def test_a_night_that_goes_on_is_judged_up_to_now(world: World) -> None:
    await night_of_the_25th(world)
    await plan(world)
    summary = await told_of(world, as_of="20:15")
    assert lines(summary) == {
        "Boris": "0:15 0:15 0:00 0:00 0:00 0:00", "Dana Ann": "0:15 0:00 0:00 0:00 0:00 0:00",
        "Erik": "0:15 0:00 0:00 0:00 0:00 0:00", "Portia": "0:15 - - - - -",
    }  # fmt: skip
    assert any("1 came, 2 have not come so far" in str(each) for each in sentences(summary, "en"))
    assert len(summary.adherence.steps if summary.adherence else ()) == 1


async def test_who_takes_calls_and_is_never_told_to_be_logged_in_is_not_absent(world: World) -> None:
    await night_of_the_25th(world)
    await plan(world)
    await world.send_json("native", *conversation("2", "erik", "23:10", "23:20"))
    await world.project()
    assert lines(await told_of(world))["Erik"] == "13:00 - - - - -"


async def test_nobody_is_absent_while_nobody_tells_who_is_there(world: World) -> None:
    use(world, test_settings(**TENANT))
    await plan(world)
    summary = await told_of(world)
    assert set(lines(summary).values()) == {"13:00 - - - - -", "12:30 - - - - -"}
    assert summary.adherence is not None and summary.adherence.adherence is None
    assert any(
        str(each) == "4 people were planned; of 4 it is not known when they were there." for each in
        sentences(summary, "en")
    )  # fmt: skip


async def test_a_shift_of_a_team_or_of_a_queue_has_the_plans_of_its_own_people(world: World) -> None:
    await night_of_the_25th(world)
    await plan(world)
    assert list(lines(await told_of(world, "shift:east@2026-10-24"))) == ["Dana Ann", "Fay"]
    assert (await told_of(world, "shift:vip@2026-10-24")).adherence is None
    await plan(world, ROSTER.replace("erik,2026-10-24,,night", "erik,2026-10-24,,vip"))
    assert list(lines(await told_of(world, "shift:vip@2026-10-24"))) == ["Erik", "Fay"]
    assert list(lines(await told_of(world))) == ["Boris", "Dana Ann", "Erik", "Fay", "Portia"]


async def test_a_day_cuts_a_plan_and_a_week_is_judged_where_it_is_planned(world: World) -> None:
    await night_of_the_25th(world)
    await plan(world)
    away = clock("20:00") - 4 * 86400
    first, last = says("hal", ("20:00", "available"), ("22:00", "offline"))
    await world.send_json("native", {**first, "at": away}, {**last, "at": away + 7200})
    await world.project()
    day = await told_of(world, "day:2026-10-24")
    assert lines(day)["Dana Ann"] == "4:00 3:35 0:25 0:00 0:00 0:00", "when she left is the next day's"
    week = await told_of(world, "week:2026-W43")
    assert lines(week)["Dana Ann"] == "13:00 11:55 0:25 0:40 0:00 0:00"
    assert "hal" not in lines(week), "that day has no roster"
    assert (await told_of(world, "month:2026-10")).adherence is None


async def test_an_outage_is_nobodys_lateness(world: World) -> None:
    """Half an hour of which no source of anybody's was heard, and one of which one of two sources was not."""
    await night_of_the_25th(world)
    await plan(world)
    lost = [datetime.fromtimestamp(clock(at), UTC) for at in ("20:10", "20:20", "07:30", "07:50")]
    add = "INSERT INTO connection_outages VALUES ($1, $2, $3, 'timeout'), ($1, $4, $5, 'timeout')"
    await world.pool.execute(add, "native", *lost)
    summary = await told_of(world)
    assert lines(summary)["Dana Ann"] == "13:00 11:55 0:15 0:20 0:00 0:00"
    assert summary.adherence is not None
    people = {line.agent: line for line in summary.adherence.people}
    assert people["Dana Ann"].unknown_seconds == people["Erik"].unknown_seconds == 1800
    assert people["Dana Ann"].adherence == pytest.approx(715 / 750)
    assert (people["Erik"].adherence, people["Erik"].absent_seconds) == (0.0, 12.5 * 3600)
    assert people["Boris"].unknown_seconds == 0, "he was there all the time"
