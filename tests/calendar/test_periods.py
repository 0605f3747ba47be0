"""Periods as they are written, and what each is compared with."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi.calendar import periods
from callkpi.config import ShiftPlan, Tenant

BERLIN = ZoneInfo("Europe/Berlin")
CENTRE = Tenant(
    timezone="Europe/Berlin",
    shifts={
        "day": ShiftPlan("Day", hours="08:00-20:00", days=("mon", "tue", "wed", "thu", "fri")),
        "night": ShiftPlan("Night", hours="20:00-08:00"),
    },
)
NOW = datetime(2026, 11, 24, 14, 30, tzinfo=BERLIN).astimezone(UTC)  # a Tuesday


def span(period: periods.Period | None) -> str:
    """Begin and end by the clock, with what there is of it."""
    if period is None:
        return "nothing"
    begin, until, end = (f"{at.astimezone(BERLIN):%y-%m-%d %H:%M}" for at in (period.begin, period.until, period.end))
    return f"{begin} - {end}" if until == end else f"{begin} - {until} of {end}"


@pytest.mark.parametrize(
    ("text", "told", "before"),
    [
        ("day:2026-11-23", "26-11-23 00:00 - 26-11-24 00:00", "26-11-22 00:00 - 26-11-23 00:00"),
        ("2026-11-23", "26-11-23 00:00 - 26-11-24 00:00", "26-11-22 00:00 - 26-11-23 00:00"),
        ("today", "26-11-24 00:00 - 26-11-24 14:30 of 26-11-25 00:00",
         "26-11-23 00:00 - 26-11-23 14:30 of 26-11-24 00:00"),
        ("yesterday", "26-11-23 00:00 - 26-11-24 00:00", "26-11-22 00:00 - 26-11-23 00:00"),
        ("week:2026-W47", "26-11-16 00:00 - 26-11-23 00:00", "26-11-09 00:00 - 26-11-16 00:00"),
        ("this week", "26-11-23 00:00 - 26-11-24 14:30 of 26-11-30 00:00",
         "26-11-16 00:00 - 26-11-17 14:30 of 26-11-23 00:00"),
        ("week:2026-W53", "26-12-28 00:00 - 26-12-28 00:00 of 27-01-04 00:00",
         "26-12-21 00:00 - 26-12-21 00:00 of 26-12-28 00:00"),
        ("month:2026-03", "26-03-01 00:00 - 26-04-01 00:00", "26-02-01 00:00 - 26-03-01 00:00"),
        ("this_month", "26-11-01 00:00 - 26-11-24 14:30 of 26-12-01 00:00",
         "26-10-01 00:00 - 26-10-24 14:30 of 26-11-01 00:00"),
        ("quarter:2026-Q1", "26-01-01 00:00 - 26-04-01 00:00", "25-10-01 00:00 - 26-01-01 00:00"),
        ("last_quarter", "26-07-01 00:00 - 26-10-01 00:00", "26-04-01 00:00 - 26-07-01 00:00"),
        ("year:2025", "25-01-01 00:00 - 26-01-01 00:00", "24-01-01 00:00 - 25-01-01 00:00"),
        ("last_7_days", "26-11-17 00:00 - 26-11-24 00:00", "26-11-10 00:00 - 26-11-17 00:00"),
        ("last:7d", "26-11-17 00:00 - 26-11-24 00:00", "26-11-10 00:00 - 26-11-17 00:00"),
        ("2026-11-01..2026-11-15", "26-11-01 00:00 - 26-11-16 00:00", "26-10-17 00:00 - 26-11-01 00:00"),
        ("2026-11-23T08:00..2026-11-23T12:00", "26-11-23 08:00 - 26-11-23 12:00", "26-11-23 04:00 - 26-11-23 08:00"),
        ("shift:day@2026-11-23", "26-11-23 08:00 - 26-11-23 20:00", "26-11-20 08:00 - 26-11-20 20:00"),
        ("shift:night", "26-11-23 20:00 - 26-11-24 08:00", "26-11-22 20:00 - 26-11-23 08:00"),
        ("shift:current", "26-11-24 08:00 - 26-11-24 14:30 of 26-11-24 20:00", None),
        ("shift:day@current", "26-11-24 08:00 - 26-11-24 14:30 of 26-11-24 20:00",
         "26-11-23 08:00 - 26-11-23 14:30 of 26-11-23 20:00"),
    ],
)  # fmt: skip
def test_a_period_and_the_one_before(text: str, told: str, before: str | None) -> None:
    if before is None:
        with pytest.raises(periods.BadPeriod, match="'current' is no shift of acme; there are day, night"):
            periods.parse(CENTRE, "acme", text, NOW)
        return
    period = periods.parse(CENTRE, "acme", text, NOW)
    assert span(period) == told
    assert span(periods.comparable(CENTRE, period)) == before
    assert periods.parse(CENTRE, "acme", period.text, NOW).begin == period.begin, "its own text names it"


@pytest.mark.parametrize(
    ("text", "against", "before"),
    [
        ("shift:day@2026-11-23", "week", "26-11-16 08:00 - 26-11-16 20:00"),
        ("shift:day@2026-11-23", "year", "25-11-24 08:00 - 25-11-24 20:00"),  # a Monday, too
        ("today", "week", "26-11-17 00:00 - 26-11-17 14:30 of 26-11-18 00:00"),
        ("month:2026-10", "year", "25-10-01 00:00 - 25-11-01 00:00"),
        ("week:2026-W47", "year", "25-11-17 00:00 - 25-11-24 00:00"),
        ("day:2024-02-29", "year", "23-02-28 00:00 - 23-03-01 00:00"),
        ("2026-11-01..2026-11-03", "year", "25-11-01 00:00 - 25-11-04 00:00"),
    ],
)
def test_a_week_or_a_year_before(text: str, against: str, before: str) -> None:
    period = periods.parse(CENTRE, "acme", text, NOW)
    assert span(periods.comparable(CENTRE, period, against)) == before


def test_a_day_in_hand_is_compared_by_the_clock_after_the_clocks_have_changed() -> None:
    """At noon of the day that lost an hour, with the day before until noon: 11 hours with 12."""
    now = datetime(2026, 3, 29, 12, 0, tzinfo=BERLIN).astimezone(UTC)
    today = periods.parse(CENTRE, "acme", "today", now)
    before = periods.comparable(CENTRE, today)
    assert before is not None
    assert (today.until - today.begin, before.until - before.begin) == (timedelta(hours=11), timedelta(hours=12))


def test_the_31st_is_compared_with_all_of_a_shorter_month() -> None:
    now = datetime(2026, 3, 31, 12, 0, tzinfo=BERLIN).astimezone(UTC)
    month = periods.parse(CENTRE, "acme", "this_month", now)
    assert span(periods.comparable(CENTRE, month)) == "26-02-01 00:00 - 26-03-01 00:00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mouth:2026-11", "period: 'mouth:2026-11' is none (did you mean 'month'?); write shift:night@"),
        ("month:2026-13", "period: '2026-13' is no month; write month:2026-11"),
        ("week:2025-W53", "period: '2025-W53' is no week; write week:2026-W47"),
        ("yestreday", "is none (did you mean 'yesterday'?)"),
        ("shift:nihgt", "period: 'nihgt' is no shift of acme (did you mean 'night'?); there are day, night"),
        ("shift:day@2026-11-22", "period: 'shift:day@2026-11-22': there is no shift day on 2026-11-22"),
        ("shift:day@22.11.", "period: 'shift:day@22.11.'; write shift:day@2026-11-23, or @current, or @last"),
        ("2026-11-15..2026-11-01", "period: '2026-11-01' is before '2026-11-15'"),
        ("2026-11-15..tomorrow", "period: 'tomorrow' is no date; write 2026-11-01..2026-11-15"),
        ("last_0_days", "period: last_0_days; 1 to 3660 can be asked"),
        ("last_99999_days", "period: last_99999_days; 1 to 3660 can be asked"),
        ("", "period: '' is none; write shift:night@"),
    ],
)
def test_what_is_no_period_is_told_what_to_write(text: str, said: str) -> None:
    with pytest.raises(periods.BadPeriod) as refused:
        periods.parse(CENTRE, "acme", text, NOW)
    assert said in str(refused.value)


@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Almaty", "Asia/Kathmandu"]),
    kind=st.sampled_from(["day", "week", "month", "quarter", "year"]),
    day=st.dates(date(2020, 1, 1), date(2026, 1, 1)),
)
def test_each_period_begins_where_the_one_before_ends(zone: str, kind: str, day: date) -> None:
    centre = Tenant(timezone=zone)
    first = periods.first_of(kind, day)
    period = periods.parse(centre, "acme", f"{kind}:{periods.label(kind, first)}", NOW)
    before = periods.comparable(centre, period)
    assert before is not None
    assert before.end == period.begin
    assert period.begin.astimezone(centre.zone).date() == first
