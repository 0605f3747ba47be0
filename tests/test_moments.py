"""The days at which the tests are run by ``python -m tests.moments``: which, when, and what of them is left out."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests import moments
from tests.moments import HERE, LEFT_OUT, MOMENTS

NOW = datetime(2026, 11, 30, 21, 35, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def after(name: str, now: datetime = NOW) -> datetime:
    return next(moment for moment in MOMENTS if moment.name == name).after(now)


def test_each_moment_is_what_its_name_says() -> None:
    assert len({moment.name for moment in MOMENTS}) == len(MOMENTS) == 10
    assert (after("today"), after("40-days")) == (NOW, NOW + timedelta(days=40))
    assert after("leap-day") == datetime(2028, 2, 29, 12, tzinfo=UTC)
    for name, change in (("spring", timedelta(hours=1)), ("autumn", -timedelta(hours=1))):
        at, later = (moment.astimezone(BERLIN) for moment in (after(name), after(name) + timedelta(minutes=1)))
        assert (later.utcoffset() or timedelta()) - (at.utcoffset() or timedelta()) == change
    assert after("new-year") == datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert (after("month-end") + timedelta(minutes=1)).month == after("month-end").month + 1
    for name, days in (("day-ahead", 1), ("day-behind", -1)):
        moment = next(moment for moment in MOMENTS if moment.name == name)
        at = moment.after(NOW)
        assert at.astimezone(ZoneInfo(moment.zone)).date() - at.date() == timedelta(days=days)


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: moment.name)
def test_a_moment_is_never_over(moment: moments.Moment) -> None:
    for days in range(0, 3000, 7):
        now = NOW + timedelta(days=days, hours=days % 24)
        assert now <= moment.after(now) <= now + timedelta(days=9 * 366)


def test_every_moment_has_its_turn_within_five_days() -> None:
    turns = [moment.name for day in range(5) for moment in moments.of_today(date(2026, 12, 1) + timedelta(days=day))]
    assert {*turns} == {moment.name for moment in MOMENTS} - {"today"}


def test_a_file_of_tests_is_run_unless_it_is_left_out_with_a_reason() -> None:
    assert all((HERE / name).exists() and reason for name, reason in LEFT_OUT.items())
    run = {file.name for file in moments.files()}
    assert {"test_summary.py", "test_team_shift.py", "test_delivery.py", "test_as_of.py"} <= run
    assert not run & {name.rpartition("/")[2] for name in LEFT_OUT}


@pytest.mark.skipif(moments.library() is None, reason="Debian package faketime is not installed")
def test_what_lives_at_a_moment_sees_it_and_measures_time_as_it_passes() -> None:
    library = moments.library()
    assert library is not None
    moment = next(moment for moment in MOMENTS if moment.name == "leap-day")
    code = (
        "import time, datetime, threading; begun = time.monotonic(); time.sleep(0.05); threading.Event().wait(0.05);"
        "print(datetime.datetime.now(datetime.UTC).date(), 0.1 <= time.monotonic() - begun < 30)"
    )
    environment = moments.environment(moment, library, datetime.now(UTC))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    expected = moment.after(datetime.now(UTC)).date()
    assert done.stdout.split() == [expected.isoformat(), "True"]


def test_an_unknown_moment_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        moments.main(["leapday"])
    assert "'leapday' is no moment; there are today," in capsys.readouterr().err
