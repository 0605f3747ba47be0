"""``python -m tests.moments``: the tests that a date could break, run as if it were another day.

The suite once failed from one day to the next, because some of its tests expected days that were over. Here the tests,
the daemons that they start and their PostgreSQL live by a clock that libfaketime (Debian's package ``faketime``) sets
to a moment that is known to break what reckons with dates: the leap day, both changes of the clocks in Europe, the
last minute of a month and of a year, the hours in which the call centre's day is not the day of UTC. The clock is set
once, by an offset that all processes share, and runs on; time that is measured (time-outs, pauses) stays as it is.

A file of tests is run unless it stands in LEFT_OUT with the reason: a new one is run without being told.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).parent
#: Where Debian and its relatives, and Fedora, keep it. The one for programs with threads first.
LIBRARIES = (
    *sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")),
    Path("/usr/lib/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib64/faketime/libfaketimeMT.so.1"),
)
#: Exit status where libfaketime is not there: nothing was tested, and nothing failed.
NOT_INSTALLED = 3
#: How many moments a day has to be tested at, besides its own.
OF_TODAY = 2

_OTHER_CLOCK = "judged by Prometheus or a browser, which have a clock of their own"
_PROCESSES = "real daemons that are killed, starved or connected to; what they reckon with dates is tested in the store"
_GIVEN = "recorded or made-up traffic, whose times it gives itself; read without a clock"
#: Files that are not run, by why.
LEFT_OUT: Mapping[str, str] = {
    "test_moments.py": "sets the clock itself",
    "database/test_database_errors.py": "judged by the timers of PostgreSQL, which libfaketime holds up",
    **dict.fromkeys(
        ("grafana/test_alert_rules.py", "grafana/test_alerting_live.py", "grafana/test_alerts.py",
         "web/test_board_page.py", "grafana/test_dashboards.py",
         "grafana/test_grafana_check.py", "web/test_report_pages.py"), _OTHER_CLOCK),
    **dict.fromkeys(
        ("web/test_access.py", "connections/test_asterisk_daemon.py", "sources/test_asterisk_forwarders.py",
         "connections/test_asterisk_live.py",
         "connections/test_connections.py", "daemon/test_crash.py", "bitrix24/test_crm_daemon.py",
         "ingest/test_door.py", "connections/test_freeswitch_live.py",
         "test_packaging.py", "connections/test_queue_log_followed.py", "bitrix24/test_reconcile_daemon.py",
         "ingest/test_spool.py",
         "sources/test_doors.py"), _PROCESSES),
    **dict.fromkeys(
        ("sources/test_conformance.py", "web/test_api_fuzz.py", "sources/test_asterisk.py",
         "sources/test_asterisk_dialplans.py",
         "commands/test_asterisk_history.py", "sources/test_asterisk_members.py", "sources/test_asterisk_model.py",
         "config/test_config.py",
         "sources/test_freeswitch_calls.py", "calls/test_invariants.py", "sources/test_native.py",
         "figures/test_one_truth.py", "calls/test_phone.py",
         "projection/test_replay_equals_truth.py", "figures/test_sums.py", "summaries/test_summary_files.py",
         "sources/test_threecx.py"), _GIVEN),
}  # fmt: skip
#: Nor are single tests of the others whose judge has another clock.
_WITHOUT = "not in_a_browser and not real_prometheus"


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment to live at, the next one after a given time."""

    name: str
    text: str
    after: Callable[[datetime], datetime]
    zone: str = "UTC"  #: the zone of the machine


def _days(count: int) -> Callable[[datetime], datetime]:
    return lambda now: now + timedelta(days=count)


def _on(month: int, day: int, clock: str, before: timedelta = timedelta()) -> Callable[[datetime], datetime]:
    """So long before the next time that it is *clock* (UTC) on a day of a year."""

    def after(now: datetime) -> datetime:
        found = (_at(year, month, day, clock) for year in range(now.year, now.year + 10))
        return next(at - before for at in found if at is not None and at - before > now)

    return after


def _at(year: int, month: int, day: int, clock: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{year}-{month:02}-{day:02}T{clock}+00:00")
    except ValueError:
        return None  # no leap year


def _last_sunday(month: int) -> Callable[[datetime], datetime]:
    """A minute before the clocks of Europe are changed: at 01:00 UTC of the last Sunday of March and of October."""

    def after(now: datetime) -> datetime:
        for year in range(now.year, now.year + 2):
            day = date(year, month, 31)
            day -= timedelta(days=(day.weekday() + 1) % 7)
            at = datetime(day.year, day.month, day.day, 0, 59, tzinfo=UTC)
            if at > now:
                return at
        raise AssertionError("a year without March or October")

    return after


_MINUTE = timedelta(minutes=1)
MOMENTS: Sequence[Moment] = (
    Moment("today", "now", _days(0)),
    Moment("40-days", "in 40 days: what the tests send is a month old, and no longer looked at one by one", _days(40)),
    Moment("year", "in a year", _days(365)),
    Moment("leap-day", "29 February, at noon", _on(2, 29, "12:00")),
    Moment("spring", "a minute before the clocks of Europe go forward", _last_sunday(3), "Europe/Berlin"),
    Moment("autumn", "a minute before the clocks of Europe go back", _last_sunday(10), "Europe/Berlin"),
    Moment("new-year", "a minute before midnight of New Year", _on(1, 1, "00:00", _MINUTE)),
    Moment("month-end", "the last minute of April", _on(5, 1, "00:00", _MINUTE)),
    Moment("day-ahead", "it is tomorrow already in Almaty, and today in UTC", _on(6, 10, "20:30"), "Asia/Almaty"),
    Moment("day-behind", "it is yesterday still in New York, and today in UTC", _on(8, 5, "02:30"), "America/New_York"),
)


def of_today(today: date) -> list[Moment]:
    """The moments whose turn it is on a day: each comes round within five days. Today itself the suite tests anyhow."""
    turn = today.toordinal() * OF_TODAY
    others = [moment for moment in MOMENTS if moment.name != "today"]
    return [others[(turn + number) % len(others)] for number in range(OF_TODAY)]


#: What is a matter of days, shifts, periods and ages: the half that a check of every change can afford.
DATE_BOUND = (
    "people/test_adherence.py", "figures/test_as_of.py", "delivery/test_delivery.py", "summaries/test_doubts.py",
    "calls/test_invariants.py", "calendar/test_periods.py",
    "calls/test_plausible.py", "people/test_presence.py", "metrics/test_recent.py", "upkeep/test_retention.py",
    "calendar/test_shift_calendar.py",
    "figures/test_statistics.py", "summaries/test_summary.py", "summaries/test_summary_words.py",
    "summaries/test_team_shift.py", "missed/test_work.py",
)  # fmt: skip


def date_bound() -> list[Path]:
    """The files that are run for the moments of the day."""
    return [HERE / name for name in DATE_BOUND]


def files() -> list[Path]:
    """The files of tests that are run."""
    found = sorted(HERE.rglob("test_*.py"))
    return [file for file in found if file.relative_to(HERE).as_posix() not in LEFT_OUT]


def library() -> Path | None:
    """libfaketime, where it is installed."""
    return next((path for path in LIBRARIES if path.exists()), None)


def environment(moment: Moment, preloaded: Path, now: datetime) -> dict[str, str]:
    """What makes a process and all that it starts live at a moment."""
    offset = (moment.after(now) - now).total_seconds()
    return {
        **os.environ,
        "LD_PRELOAD": str(preloaded),
        # An offset and not a time: who is started later lives later.
        "FAKETIME": f"{offset:+.3f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE / "clock"), os.environ.get("PYTHONPATH", "")))),
        # Ages of files are those of the disk: else Python would compile every module anew for every process.
        "NO_FAKE_STAT": "1",
        "TZ": moment.zone,
        # What is drawn by lot is drawn in the suite; here the same cases are to be met on another day.
        "HYPOTHESIS_EXAMPLES": os.environ.get("HYPOTHESIS_EXAMPLES", "5"),
    }


@dataclass(frozen=True, slots=True)
class Result:
    moment: Moment
    status: int
    seconds: float


def run(moment: Moment, preloaded: Path, chosen: Sequence[str], more: Sequence[str]) -> Result:
    """Run the tests at a moment, with their output as it comes."""
    now = datetime.now(UTC)
    workers = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 4)
    options = ["-p", "no:cacheprovider", "-n", str(workers), "-k", _WITHOUT, *more]
    command = [sys.executable, "-m", "pytest", *options, *chosen]
    begun = time.monotonic()
    done = subprocess.run(command, cwd=HERE.parent, env=environment(moment, preloaded, now), check=False)
    return Result(moment, done.returncode, time.monotonic() - begun)


def _listed(now: datetime) -> Iterator[str]:
    turn = of_today(now.date())
    for number, moment in enumerate(MOMENTS, 1):
        at = moment.after(now)
        mark = " (its turn today)" if moment in turn else ""
        yield f"{number:2}  {moment.name:11} {at:%Y-%m-%d %H:%M} UTC  {moment.text}{mark}"


def _chosen(wanted: Sequence[str], *, turn: bool, now: datetime) -> list[Moment]:
    """Moments by their names or numbers; all where nothing is asked for. Raises ValueError."""
    if turn:
        return of_today(now.date())
    names = {name: moment for number, moment in enumerate(MOMENTS, 1) for name in (moment.name, str(number))}
    if unknown := [name for name in wanted if name not in names]:
        raise ValueError(f"{unknown[0]!r} is no moment; there are {', '.join(moment.name for moment in MOMENTS)}")
    return [names[name] for name in wanted] or list(MOMENTS)


def main(arguments: Sequence[str] | None = None) -> int:
    now = datetime.now(UTC)
    parser = argparse.ArgumentParser(
        prog="python -m tests.moments", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run the tests as if it were another day. All moments take half an hour on two cores.",
        epilog="moments:\n" + "\n".join(_listed(now)),
    )  # fmt: skip
    parser.add_argument("moment", nargs="*", help="names or numbers of moments; default: all")
    parser.add_argument("--of-today", action="store_true", help=f"the {OF_TODAY} moments whose turn it is today")
    parser.add_argument("--files", nargs="+", default=[], metavar="FILE", help="only these files of tests")
    parser.add_argument("--junitxml", metavar="FILE", help="write there how each test went and how long it took")
    asked = parser.parse_args(arguments)
    try:
        moments = _chosen(asked.moment, turn=asked.of_today, now=now)
    except ValueError as error:
        parser.error(str(error))
    preloaded = library()
    if preloaded is None:
        print("libfaketime is not installed (Debian: apt-get install faketime); no other day was tested")
        return NOT_INSTALLED
    wanted = date_bound() if asked.of_today else files()
    chosen = asked.files or [str(file.relative_to(HERE.parent)) for file in wanted]
    more = [f"--junitxml={asked.junitxml}"] if asked.junitxml else []
    results = []
    for number, moment in enumerate(moments, 1):
        print(f"moment {number} of {len(moments)}: {moment.name}, {moment.text}", flush=True)
        results.append(run(moment, preloaded, chosen, more))
    for result in results:
        print(f"{result.moment.name:11} {'passed' if result.status == 0 else 'FAILED'} in {result.seconds:.0f} s")
    return int(any(result.status for result in results))


if __name__ == "__main__":
    sys.exit(main())
