"""Shifts in real time: nights, the change of the clocks, holidays, special days, what the settings refuse."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calendar import shifts as calendar
from callkpi.config import OnHolidays, ShiftPlan, Tenant
from callkpi.projection import views
from tests.world import World

BERLIN = ZoneInfo("Europe/Berlin")
AROUND = {
    "day": ShiftPlan("Day", hours="08:00-20:00"),
    "night": ShiftPlan("Night", hours="20:00-08:00", queues=("emergency",), team="owls"),
}
CENTRE = Tenant(timezone="Europe/Berlin", shifts=AROUND)


def local(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def told(shifts: list[calendar.Shift], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{s.key} {s.begin.astimezone(zone):%d %H:%M}-{s.end.astimezone(zone):%d %H:%M}" for s in shifts]


def test_a_night_shift_belongs_to_the_day_on_which_it_begins() -> None:
    shifts = calendar.shifts_between(CENTRE, "acme", local("2026-11-23T00:00"), local("2026-11-24T00:00"))
    assert told(shifts) == [
        "night@2026-11-22 22 20:00-23 08:00", "day@2026-11-23 23 08:00-23 20:00", "night@2026-11-23 23 20:00-24 08:00",
    ]  # fmt: skip
    assert (shifts[2].name, shifts[2].queues, shifts[2].team) == ("Night", ("emergency",), "owls")


def test_a_shift_that_ends_at_the_windows_begin_is_not_in_it() -> None:
    shifts = calendar.shifts_between(CENTRE, "acme", local("2026-11-23T08:00"), local("2026-11-23T20:00"))
    assert [shift.key for shift in shifts] == ["day@2026-11-23"]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-28", 11),  # the clocks go from 02:00 to 03:00
        ("Europe/Berlin", "2026-10-24", 13),  # from 03:00 back to 02:00
        ("Europe/Berlin", "2026-11-24", 12),
        ("America/New_York", "2026-03-07", 11),
        ("America/New_York", "2026-10-31", 13),
        ("Asia/Almaty", "2024-02-29", 13),  # the country changed its offset for good
        ("Asia/Kathmandu", "2026-03-28", 12),
    ],
)
def test_a_night_is_as_long_as_the_clocks_make_it(zone: str, day: str, hours: int) -> None:
    centre = Tenant(timezone=zone, shifts=AROUND)
    night = calendar.shift_of(centre, "acme", "night", date.fromisoformat(day))
    assert night is not None
    assert night.length == timedelta(hours=hours)


def test_shifts_that_meet_in_an_hour_that_the_clocks_skip_or_repeat_still_meet() -> None:
    centre = Tenant(
        timezone="Europe/Berlin", shifts={"a": ShiftPlan(hours="00:00-02:30"), "b": ShiftPlan(hours="02:30-24:00")}
    )
    for day, first, second in (("2026-03-29", 2.0, 21.0), ("2026-10-25", 2.5, 22.5)):
        a, b = calendar.shifts_of_day(centre, "acme", date.fromisoformat(day))
        assert a.end == b.begin
        assert (a.length, b.length) == (timedelta(hours=first), timedelta(hours=second))


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Almaty", "Asia/Kathmandu", "Asia/Beirut"]),
    day=st.dates(date(2023, 1, 2), date(2027, 12, 30)),
    cuts=st.lists(st.integers(0, 95), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_shifts_around_the_clock_fill_time_without_gap_or_overlap(zone: str, day: date, cuts: list[int]) -> None:
    clocks = [f"{cut // 4:02}:{cut % 4 * 15:02}" for cut in cuts]
    plans = {f"s{i}": ShiftPlan(hours=f"{clock}-{clocks[(i + 1) % len(clocks)]}") for i, clock in enumerate(clocks)}
    centre = Tenant(timezone=zone, shifts=plans)
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    shifts = calendar.shifts_between(centre, "acme", begin, begin + timedelta(days=3))
    assert shifts[0].begin <= begin
    assert shifts[-1].end >= begin + timedelta(days=3)
    assert all(one.end == other.begin for one, other in pairwise(shifts))


def test_holidays_are_closed_and_special_days_short() -> None:
    centre = Tenant(
        timezone="Europe/Berlin",
        holidays=("2026-12-25",),
        special_days={"2026-12-24": "10:00-15:00", "2026-12-26": "closed"},
        shifts={**AROUND, "rescue": ShiftPlan(hours="00:00-24:00", on_holidays=OnHolidays.WORKS)},
    )
    shifts = calendar.shifts_between(centre, "acme", local("2026-12-24T08:00"), local("2026-12-27T00:00"))
    assert told([shift for shift in shifts if shift.id != "rescue"]) == ["day@2026-12-24 24 10:00-24 15:00"]
    assert [shift.day.day for shift in shifts if shift.id == "rescue"] == [24, 25, 26]


def test_a_shift_may_have_its_own_days_dates_and_team() -> None:
    plan = ShiftPlan(
        hours="09:00-18:00", days=("mon", "tue"), by_day={"sat": "10:00-14:00"}, since="2026-11-16",
        until="2026-11-28", special_days={"2026-11-24": "closed", "2026-11-25": "12:00-13:00"},
    )  # fmt: skip
    centre = Tenant(timezone="Europe/Berlin", holidays=("2026-11-25",), shifts={"sales": plan})
    shifts = calendar.shifts_between(centre, "acme", local("2026-11-01T00:00"), local("2026-12-31T00:00"))
    assert told(shifts) == [
        "sales@2026-11-16 16 09:00-16 18:00", "sales@2026-11-17 17 09:00-17 18:00",
        "sales@2026-11-21 21 10:00-21 14:00", "sales@2026-11-23 23 09:00-23 18:00",
        "sales@2026-11-25 25 12:00-25 13:00", "sales@2026-11-28 28 10:00-28 14:00",
    ]  # fmt: skip


def test_without_shifts_the_day_is_the_business_hours_or_the_local_day() -> None:
    monday, sunday = date(2026, 11, 23), date(2026, 11, 22)
    always = calendar.shift_of(Tenant(timezone="Asia/Almaty"), "acme", "day", sunday)
    assert always is not None
    assert always.length == timedelta(days=1)
    shop = Tenant(timezone="Europe/Berlin", business_hours={"mon": "09:00-18:00"})
    opened = calendar.shift_of(shop, "acme", "day", monday)
    assert opened is not None
    assert told([opened]) == ["day@2026-11-23 23 09:00-23 18:00"]
    assert calendar.shift_of(shop, "acme", "day", sunday) is None
    assert calendar.shift_of(CENTRE, "acme", "evening", monday) is None


def test_the_shifts_that_go_on_and_the_one_that_ended_last() -> None:
    at = local("2026-11-23T02:00")
    assert [shift.key for shift in calendar.running(CENTRE, "acme", at)] == ["night@2026-11-22"]
    ended = calendar.last_ended(CENTRE, "acme", at)
    assert ended is not None
    assert ended.key == "day@2026-11-22"
    night = calendar.last_ended(CENTRE, "acme", at, "night")
    assert night is not None
    assert night.key == "night@2026-11-21"
    before = calendar.previous(CENTRE, night)
    assert before is not None
    assert before.key == "night@2026-11-20"
    assert calendar.last_ended(CENTRE, "acme", night.end) == night


def test_the_shift_that_ended_last_may_have_begun_before_one_that_ended_sooner() -> None:
    centre = Tenant(
        timezone="UTC", shifts={"night": ShiftPlan(hours="20:00-08:00"), "dawn": ShiftPlan(hours="01:00-04:00")}
    )
    ended = calendar.last_ended(centre, "acme", local("2026-11-23T09:00", ZoneInfo("UTC")))
    assert ended is not None
    assert ended.key == "night@2026-11-22"


def test_a_special_day_is_a_business_day_with_other_hours() -> None:
    shop = Tenant(
        business_hours={"mon": "09:00-18:00"}, special_days={"2026-11-22": "10:00-12:00", "2026-11-23": "closed"}
    )
    at = {text: config.is_open(shop, local(text, ZoneInfo("UTC"))) for text in ("2026-11-22T11:00", "2026-11-23T11:00")}
    assert list(at.values()) == [True, False]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('hours = "20:00-10:00"\nby_day.tue = "08:00-12:00"',
         "tenants.x.shifts.night: the shift of mon, until 10:00 of the next day, still goes on when that of tue begins"
         " at 08:00; let it end earlier"),
        ('hours = "20:00-25:00"', "tenants.x.shifts.night.hours: '20:00-25:00' must be like \"20:00-08:00\""),
        ('hours = "20:00-08:00"\ndays = ["monday"]',
         "tenants.x.shifts.night.days: 'monday' is none of mon, tue, wed, thu, fri, sat, sun (did you mean 'mon'?)"),
        ('name = "Night"', 'tenants.x.shifts.night.hours: is missing; write e.g. hours = "08:00-20:00"'),
        ('hours = "20:00-08:00"\nsince = "2026-02-30"',
         "tenants.x.shifts.night.since: '2026-02-30' must be a date like \"2026-12-31\""),
        ('hours = "20:00-08:00"\nsince = "2026-03-01"\nuntil = "2026-02-01"',
         "tenants.x.shifts.night.until: 2026-02-01 is before since, 2026-03-01"),
        ('hours = "20:00-08:00"\nspecial_days."2026-12-31" = "20:00-21:00"\nspecial_days."2027-01-01" = "06:00-21:00"',
         None),
        ('hours = "20:00-08:00"\nspecial_days."2027-01-01" = "06:00-21:00"',
         "tenants.x.shifts.night.special_days.2027-01-01: the shift of 2026-12-31 still goes on when that of the next"
         " day begins at 06:00; let it end earlier"),
    ],
)  # fmt: skip
def test_a_shift_that_cannot_be_is_refused_with_what_to_write(tmp_path: Path, written: str, said: str | None) -> None:
    file = tmp_path / "callkpi.toml"
    file.write_text(f'[tenants.x]\ntimezone = "UTC"\n[tenants.x.shifts.night]\n{written}\n')
    if said is None:
        assert config.load(file, {}).tenants["x"].shifts["night"].hours == "20:00-08:00"
        return
    with pytest.raises(config.ConfigError) as refused:
        config.load(file, {})
    assert refused.value.problems == [said]


async def test_grafana_may_choose_from_the_shifts_of_the_weeks(world: World) -> None:
    settings = dataclasses.replace(world.settings, tenants={"acme": CENTRE})
    now = datetime.now(UTC)
    async with world.pool.acquire() as connection:
        for _ in range(2):
            await views.publish_shifts(connection, settings, now)
        rows = await connection.fetch("SELECT * FROM callkpi_views.shifts ORDER BY begins, id")
    (going,) = calendar.running(CENTRE, "acme", now)
    ended = calendar.last_ended(CENTRE, "acme", now)
    by_state = {state: [row["label"] for row in rows if row["state"] == state] for state in ("ended", "running")}
    assert by_state["running"] == [f"{going.name}, {going.day}"]
    assert ended is not None
    assert by_state["ended"][-1] == f"{ended.name}, {ended.day}"
    assert len(rows) == len({(row["id"], row["day"]) for row in rows}) == pytest.approx(2 * 76, abs=2)
