"""Each alert in made-up call centres: it fires when it should, and in none of the situations that usually fool one.

A case says what is wrong; the situations (opening, weekend, restart, replicas, a burst of old calls, …) are the same
for all alerts and put it into different surroundings. promtool evaluates the rules as Prometheus would.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from grafana.generator import alert_files, alerts
from tests.alert_worlds import (
    MINUTE,
    SAMPLES,
    STALE,
    Course,
    Look,
    Scrapes,
    Situation,
    flat,
    healthy,
    line,
    opening_at,
    promtool,
    then,
)

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian package prometheus is not installed")

#: By then every alert fires that ever will, and the last look.
FIRING, LAST = 130, 158
OPEN = 'callkpi_business_open_seconds{tenant="acme"}'
SALES = {"tenant": "acme", "queue": "sales"}
INSTANCE = {"job": "callkpi", "instance": "a"}
SOURCE = {"tenant": "acme", "source": "pbx"}


def sales(name: str, window: str = "") -> str:
    inner = f',window="{window}"' if window else ""
    return f'callkpi_{name}{{tenant="acme",queue="sales"{inner}}}'


def own(name: str, labels: str = "") -> str:
    """A series of the daemon itself, as the healthy world has it."""
    return f"callkpi_{name}{{{labels}}}"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One alert and what is wrong when it fires."""

    alert: str
    bad: Mapping[str, Course | None]  #: wrong from the first scrape on
    quiet: Sequence[Mapping[str, Course | None]] = ()  #: as wrong, but each too little or too short for it
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str
    in_hours: bool = True  #: business hours only
    opening_delay: float = 13  #: minutes after the opening at which it fires if it was wrong before
    by_day: bool = False  #: a figure that begins anew at midnight
    soon: bool = True  #: fires within the first hour
    around_the_clock: bool = True  #: not later where no business hours are configured
    per_instance: bool = False  #: a fact of each process, not of the business


def window(missed: float, answered: float, name: str = "half_hour") -> dict[str, Course | None]:
    return {sales("recent_missed", name): flat(missed), sales("recent_answered", name): flat(answered)}


def spread(missed: float) -> dict[str, Course | None]:
    """Many small queues, none with calls enough for an alert of its own."""
    told: dict[str, Course | None] = {}
    for n in range(4):
        place = f'tenant="acme",queue="small {n}",window="half_hour",instance="a"'
        told[f"callkpi_recent_missed{{{place}}}"] = flat(missed / 4)
        told[f"callkpi_recent_answered{{{place}}}"] = flat(4)
    company = 'tenant="acme",window="half_hour"'
    told[f"callkpi_company_recent_missed{{{company}}}"] = flat(missed)
    told[f"callkpi_company_recent_answered{{{company}}}"] = flat(16)
    return told


def level(half_hour: float, hour: float, day: float = 0.85) -> dict[str, Course | None]:
    return {
        sales("recent_service_level_ratio", "half_hour"): flat(half_hour),
        sales("recent_service_level_ratio", "hour"): flat(hour),
        sales("service_level_ratio", "day"): flat(day),
    }


def jump(name: str, labels: str, by: float, minute: float = 20) -> dict[str, Course | None]:
    """A counter that grows by some each minute from then on."""
    return {own(name, labels): [10 + max(0.0, by * (n / MINUTE - minute)) for n in range(SAMPLES)]}


LAST_EVENT = own("source_last_event_timestamp_seconds", 'tenant="acme",source="pbx"')
STILL = flat(0)

CASES = [
    Case(
        alert="CallkpiMissedCallSpike", bad=window(7, 9), labels=SALES,
        quiet=[window(4, 3), window(6, 3), window(9, 40)],
        summary="acme, queue sales: 7 callers missed in the last half hour",
    ),
    Case(
        alert="CallkpiCompanyMissedCallSpike", bad=spread(12), labels={"tenant": "acme"},
        quiet=[spread(8),
               {**spread(12), 'callkpi_company_recent_answered{tenant="acme",window="half_hour"}': flat(60)}],
        summary="acme: 12 callers missed in the last half hour, over all queues",
    ),
    Case(
        alert="CallkpiMissedCallsUnusual", bad=window(15, 65, "hour"), labels=SALES, opening_delay=16,
        quiet=[window(4, 6, "hour"), window(7, 80, "hour")],
        summary="acme, queue sales: 15 callers missed in the last hour, more than usual",
    ),
    Case(
        alert="CallkpiAbandonedInQueue", bad={sales("recent_abandoned", "half_hour"): flat(8)},
        quiet=[{sales("recent_abandoned", "half_hour"): flat(3)},
               {sales("recent_abandoned", "half_hour"): flat(6), **window(6, 3)},
               {sales("recent_abandoned", "half_hour"): flat(6), **window(6, 60)}], labels=SALES,
        summary="acme, queue sales: 8 callers hung up waiting in the last half hour",
    ),
    Case(
        alert="CallkpiServiceLevelBurnFast", bad=level(0.25, 0.35), labels=SALES, opening_delay=16,
        quiet=[{**level(0, 0), **window(2, 7)}, {**level(0, 0), **window(2, 17, "hour")}, level(0.25, 0.45),
               level(0.45, 0.35)],
        summary="acme, queue sales: service level 25% in the last half hour",
    ),
    Case(
        alert="CallkpiServiceLevelBurnSlow", bad=level(0.9, 0.65, 0.6), labels=SALES, opening_delay=26, by_day=True,
        quiet=[{**level(0.9, 0.6, 0.6), 'callkpi_shift_calls{tenant="acme",queue="sales"}': flat(19)},
               {**level(0.9, 0.6, 0.6), **window(2, 7, "hour")}, level(0.5, 0.75, 0.6), level(0.5, 0.6, 0.75)],
        summary="acme, queue sales: service level 60% today so far",
    ),
    Case(
        alert="CallkpiLongestWait", bad={sales("longest_wait_seconds"): flat(95)},
        quiet=[{sales("longest_wait_seconds"): then(flat(95), 45 / 60, flat(20))}], labels=SALES, opening_delay=12,
        summary="acme, queue sales: a caller has waited for 1m 35s",
    ),
    Case(
        alert="CallkpiCallbacksOverdue", labels=SALES, opening_delay=16,
        bad={'callkpi_missed_untried{tenant="acme",queue="sales",instance="a"}': flat(3),
             'callkpi_missed_untried_oldest_seconds{tenant="acme",queue="sales",instance="a"}': flat(4000)},
        quiet=[{'callkpi_missed_untried{tenant="acme",queue="sales",instance="a"}': flat(30),
                'callkpi_missed_untried_oldest_seconds{tenant="acme",queue="sales",instance="a"}': flat(3000)}],
        summary="acme, queue sales: nobody has called 3 missed customers back",
    ),
    Case(
        alert="CallkpiNoEvents", bad={LAST_EVENT: STILL}, labels=SOURCE, opening_delay=64, soon=False,
        around_the_clock=False,
        quiet=[{LAST_EVENT: then(STILL, 55, line(0, 60))}],
        summary="acme, source pbx: no events for 2h 10m 0s of business time",
    ),
    Case(
        alert="CallkpiSourceDisconnected", labels=SOURCE, opening_delay=4,
        bad={'callkpi_source_connected{tenant="acme",source="pbx",instance="a"}': flat(0)},
        quiet=[{'callkpi_source_connected{tenant="acme",source="pbx",instance="a"}': then(flat(0), 1.5, flat(1))}],
        summary="acme, source pbx: callkpi does not reach it",
    ),
    Case(
        alert="CallkpiSenderClockOff", bad={LAST_EVENT: line(90, 60)}, quiet=[{LAST_EVENT: line(50, 60)}],
        labels=SOURCE, in_hours=False, summary="acme, source pbx: its clock is 1m 30s ahead",
    ),
    Case(
        alert="CallkpiEventsLate", bad={LAST_EVENT: line(-3600, 60)}, quiet=[{LAST_EVENT: line(-200, 60)}],
        labels=SOURCE, opening_delay=41, summary="acme, source pbx: its events are 1h 0m 0s late",
    ),
    Case(
        alert="CallkpiPayloadsRejected", bad={own("ingest_rejected_waiting", 'source="pbx"'): flat(4)},
        quiet=[{own("ingest_rejected_waiting", 'source="pbx"'): then(flat(4), 4, flat(0))}],
        labels={"source": "pbx"}, in_hours=False, summary="source pbx: 4 payloads could not be understood",
    ),
    Case(
        alert="CallkpiDeliveriesRefused", bad=jump("ingest_refused_total", 'source="pbx"', 2), in_hours=False,
        quiet=[{own("ingest_refused_total", 'source="pbx"'): then(flat(3), 88, flat(6))}], labels={"source": "pbx"},
        summary="source pbx: about 30 deliveries with a wrong secret in 15 minutes",
    ),
    Case(
        alert="CallkpiCrmNotWritten", labels=SOURCE, in_hours=False,
        bad={own("crm_last_success_timestamp_seconds", 'tenant="acme",source="pbx"'): flat(-7200)},
        quiet=[{own("crm_last_success_timestamp_seconds", 'tenant="acme",source="pbx"'): line(-3000, 60)}],
        summary="acme, source pbx: the call funnel in its CRM has stood still for 4h 10m 0s",
    ),
    Case(
        alert="CallkpiExpiredCalls", labels={"tenant": "acme"}, in_hours=False, by_day=True,
        bad={'callkpi_shift_calls{tenant="acme",queue="sales",outcome="expired"}': flat(30)},
        quiet=[{'callkpi_shift_calls{tenant="acme",queue="sales",outcome="expired"}': flat(2)},
               {'callkpi_shift_calls{tenant="acme",queue="sales",outcome="expired"}': flat(30),
                'callkpi_shift_calls{tenant="acme",queue="sales",outcome="answered"}': flat(5000)}],
        summary="acme: 32 of today's calls never ended",
    ),
    Case(
        alert="CallkpiWaitImplausible", bad={sales("longest_wait_seconds"): flat(7200)}, labels=SALES, in_hours=False,
        quiet=[{sales("longest_wait_seconds"): flat(1200)}],
        summary="acme, queue sales: somebody seems to have waited for 2h 0m 0s",
    ),
    Case(
        alert="CallkpiProjectorBehind", bad={own("projector_lag_seconds"): flat(125)}, in_hours=False,
        quiet=[{own("projector_lag_seconds"): then(flat(125), 4, flat(0))}], summary="numbers are 2m 5s old",
    ),
    Case(
        alert="CallkpiProjectorStalled", bad={own("projector_lag_seconds"): flat(1200)}, opening_delay=7,
        quiet=[{own("projector_lag_seconds"): flat(600)}], summary="numbers are 20m 0s old, in business hours",
    ),
    Case(
        alert="CallkpiCallsUnreadable", labels={"tenant": "acme"},
        bad={own("projector_set_aside", 'tenant="acme"'): flat(3)}, in_hours=False,
        quiet=[{own("projector_set_aside", 'tenant="acme"'): then(flat(3), 4, flat(0))}],
        summary="acme: 3 calls could not be computed from their events",
    ),
    Case(
        alert="CallkpiWorkFailing", labels={"work": "days"}, bad={own("work_failing", 'work="days"'): flat(1)},
        in_hours=False, quiet=[{own("work_failing", 'work="days"'): then(flat(1), 4, flat(0))}],
        summary="1 of callkpi's loops fail round after round: days",
    ),
    Case(
        alert="CallkpiProcessesRestart", bad=jump("process_restarts_total", 'process="web"', 1), in_hours=False,
        labels={"process": "web"}, quiet=[{own("process_restarts_total", 'process="web"'): then(flat(3), 88, flat(5))}],
        summary="process web of callkpi died 15 times in a quarter of an hour",
    ),
    Case(
        alert="CallkpiScrapeLate", bad={own("scrape_late"): flat(1)}, in_hours=False, labels=INSTANCE,
        quiet=[{own("scrape_late"): then(flat(1), 4, flat(0))},
               {own("scrape_late"): flat(1), own("database_up"): flat(0)}], per_instance=True,
        summary="a has no numbers for Prometheus: they take too long to read",
    ),
    Case(
        alert="CallkpiJournalFailing", bad=jump("journal_failures_total", "", 1), in_hours=False,
        summary="events could not be written to the journal",
    ),
    Case(
        alert="CallkpiOverloaded", bad=jump("http_overload_total", "", 1), in_hours=False,
        summary="requests were refused because too many waited",
    ),
    Case(
        alert="CallkpiSpoolFilling", bad={own("spool_bytes"): flat(700_000)}, in_hours=False, labels=INSTANCE,
        quiet=[{own("spool_bytes"): flat(400_000)}], summary="the spool of a is 70% full", per_instance=True,
    ),
    Case(
        alert="CallkpiSpoolStuck", bad={own("spool_deliveries"): flat(12)}, in_hours=False, labels=INSTANCE,
        quiet=[{own("spool_deliveries"): then(flat(12), 9, flat(0))},
               {own("spool_deliveries"): flat(12), own("database_up"): flat(0)}], per_instance=True,
        summary="12 deliveries wait in the spool of a although the database is there",
    ),
    Case(
        alert="CallkpiDeliveriesLost", labels={"source": "pbx"}, in_hours=False,
        bad={own("spool_refused_total", 'source="pbx"'): then(flat(0), 100, flat(7))},
        summary="source pbx: deliveries were refused because the spool was full", soon=False,
    ),
    Case(
        alert="CallkpiReportNotSent", in_hours=False, labels={"tenant": "acme", "way": "mail"},
        bad={'callkpi_deliveries_unsent{tenant="acme",way="mail",state="failed",instance="a"}': flat(2)},
        quiet=[{'callkpi_deliveries_unsent{tenant="acme",way="mail",state="failed",instance="a"}':
                then(flat(2), 4, flat(0))}],
        summary="acme: 2 reports by mail were not sent",
    ),
    Case(
        alert="CallkpiRetentionFailing", bad=jump("retention_failures_total", "", 1), in_hours=False,
        quiet=[{own("retention_failures_total"): then(flat(3), 88, flat(5))}],
        summary="old data could not be removed",
    ),
    Case(
        alert="CallkpiQueuesUnseen", in_hours=False, labels={"tenant": "acme"},
        bad={'callkpi_names_overflow{tenant="acme",kind="queue",instance="a"}': flat(12)},
        quiet=[{'callkpi_names_overflow{tenant="acme",kind="agent",instance="a"}': flat(12)}],
        summary="acme: 12 queues have no series of their own",
    ),
]  # fmt: skip
#: Those whose trouble is the scrape itself: they have situations of their own below.
OF_THE_SCRAPE = {"CallkpiDown", "CallkpiReplicaDown", "CallkpiDatabaseUnreachable", "CallkpiWatchdog"}

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} | OF_THE_SCRAPE == {alert.name for alert in alerts.all_alerts()}


def texts(name: str, summary: str) -> dict[str, str]:
    alert = next(alert for alert in alerts.all_alerts() if alert.name == name)
    return {**alert_files.texts(alert), "summary": summary}


def burst(world: Scrapes) -> Scrapes:
    """Yesterday's calls are replayed for three minutes: counters leap, the newest event and the windows do not move."""

    def change(name: str, course: Course) -> Course:
        if name.startswith("callkpi_projector_lag_seconds"):
            return then(course, 60, then(flat(50), 63, course))
        if name.startswith("callkpi_ingest_events_total"):
            return [v + min(50_000, max(0, n - 60 * MINUTE) * 5000) for n, v in enumerate(course)]  # type: ignore[operator]
        return course

    counted: dict[str, Course | None] = {
        f'callkpi_{name}{{tenant="acme",queue="sales",line="",direction="inbound",{label},instance="a"}}': then(
            flat(100), 60, flat(3100)
        )
        for name, label in (("calls_missed_total", 'reason="abandoned"'), ("calls_ended_total", 'outcome="abandoned"'))
    }
    return world.everywhere(change).but(counted)


def midnight(world: Scrapes) -> Scrapes:
    """A centre that never closes, and its day ends: figures of the day begin anew."""
    return world.everywhere(
        lambda name, course: then(course, 60, flat(0)) if name.startswith("callkpi_shift_calls") else course
    ).but({OPEN: flat(604_800)})


def gap(world: Scrapes, minute: float, scrapes: int) -> Scrapes:
    """The daemon is restarted: some scrapes fail."""

    def change(name: str, course: Course) -> Course:
        cut = round(minute * MINUTE)
        if name.startswith("up{"):
            return [*course[:cut], *[0] * scrapes, *course[cut + scrapes :]]
        return [*course[:cut], STALE, *[None] * (scrapes - 1), *course[cut + scrapes :]]

    return world.everywhere(change)


@each
def test_it_fires_and_says_what_is_wrong(case: Case, tmp_path: Path) -> None:
    look = Look(FIRING, case.alert, [case.labels], texts(case.alert, case.summary))
    shipped = Situation("what is wrong stays", healthy().but(case.bad), [look])
    assert promtool(tmp_path, [shipped], alert_files.RULES) == ""


@each
def test_it_keeps_quiet_when_it_should(case: Case, tmp_path: Path) -> None:
    bad = healthy().but(case.bad)
    always = [Look(minute, case.alert) for minute in (3, 30, 62, 90, FIRING, LAST)]
    tests = [
        Situation("a good day", healthy(), always),
        Situation("a burst of old calls", burst(healthy()), always),
        Situation("a restart", gap(healthy(), 60, 3), always),
        Situation("midnight", midnight(healthy()), always),
    ]  # fmt: skip
    tests += [Situation(f"too little or too short: {n}", healthy().but(q), always) for n, q in enumerate(case.quiet)]
    if case.in_hours:
        tests.append(Situation("weekend or holiday", bad.but({OPEN: flat(0)}), always))
    assert promtool(tmp_path, tests) == ""


@each
def test_it_fires_in_any_surroundings(case: Case, tmp_path: Path) -> None:
    bad, fired = healthy().but(case.bad), [Look(FIRING, case.alert, [case.labels])]
    tests = [
        Situation("two replicas are one alarm", bad.also_from("b"), [Look(FIRING, case.alert, [
            case.labels, *([{**case.labels, "instance": "b"}] if case.per_instance else [])
        ])]),
        Situation("another tenant is closed and well", Scrapes(
            {**bad.series, **healthy().of_tenant("beta").but({OPEN.replace("acme", "beta"): flat(0)}).series}
        ), fired),
        Situation("a restart", gap(bad, 100, 3), fired),
        Situation("a burst of old calls", burst(bad), fired),
        Situation("around the clock, over midnight", midnight(bad),
                  [Look(59, case.alert, [case.labels] if case.soon else []),
                   Look(FIRING, case.alert, [case.labels] if case.around_the_clock and not case.by_day else [])]),
        Situation("one queue is missing", bad.but(dict.fromkeys(
            name for name in bad.series if 'queue="support"' in name
        )), fired),
    ]  # fmt: skip
    if not case.in_hours:
        tests.append(Situation("at night, at the weekend", bad.but({OPEN: flat(0)}), fired))
    else:
        before = [Look(minute, case.alert) for minute in (30, 60, 61, 60 + min(case.opening_delay - 3, 9))]
        after = [Look(60 + case.opening_delay, case.alert, [case.labels])]
        tests.append(Situation("it was wrong before the opening", bad.but({OPEN: opening_at(60)}), [*before, *after]))
        closing = then(line(7200, 60), 100, flat(0))
        tests.append(Situation("it ends with the business day", bad.but({OPEN: closing}), [Look(LAST, case.alert)]))
    assert promtool(tmp_path, tests) == ""


@pytest.mark.parametrize("case", [case for case in CASES if "queue" in case.labels], ids=lambda case: case.alert)
def test_a_queue_that_appears_alarms_and_one_that_vanishes_stops(case: Case, tmp_path: Path) -> None:
    bad = healthy().but(case.bad)
    of_sales = {name: course for name, course in bad.series.items() if 'queue="sales"' in name}
    none: Course = [None] * SAMPLES
    vip = {name.replace('"sales"', '"vip"'): then(none, 60, course) for name, course in of_sales.items()}
    gone = {name: [*course[: 60 * MINUTE], STALE, *none[60 * MINUTE + 1 :]] for name, course in of_sales.items()}
    tests = [
        Situation("a queue appears", bad.but({**dict.fromkeys(of_sales), **vip}),
             [Look(60, case.alert), Look(FIRING, case.alert, [{**case.labels, "queue": "vip"}])]),
        Situation("a queue vanishes", bad.but(gone),
             [Look(59, case.alert, [case.labels]), Look(60 + 35, case.alert)]),
    ]  # fmt: skip
    assert promtool(tmp_path, tests) == ""


# -- the scrape itself ------------------------------------------------------------------------------------


def gone(world: Scrapes, minute: float) -> Scrapes:
    return gap(world, minute, SAMPLES - round(minute * MINUTE))


def without_database(world: Scrapes, minute: float) -> Scrapes:
    """/metrics answers without what only the database knows."""
    left = ("up{", "callkpi_build_info", "callkpi_business_open", "callkpi_spool_bytes", "callkpi_spool_limit")

    def change(name: str, course: Course) -> Course:
        if name.startswith("callkpi_database_up"):
            return then(course, minute, flat(0))
        if name.startswith(left):
            return course
        cut = round(minute * MINUTE)
        return [*course[:cut], STALE, *[None] * (SAMPLES - cut - 1)]

    return world.everywhere(change)


def looks(minute: float, *names: str, **labels: str) -> list[Look]:
    """Of the alerts of the scrape and of silence, only these fire."""
    watched = (OF_THE_SCRAPE | {"CallkpiNoEvents", "CallkpiMissedCallSpike"}) - {"CallkpiWatchdog"}
    return [Look(minute, name, [labels] if name in names else []) for name in sorted(watched)]


def test_down_database_away_and_one_replica_are_told_apart(tmp_path: Path) -> None:
    world = healthy()
    two = world.also_from("b")
    second = Scrapes({name: course for name, course in two.series.items() if name not in world.series})
    tests = [
        Situation("a good day", two, looks(90)),
        Situation("a restart of a minute", gap(world, 60, 3), [*looks(60.5), *looks(62), *looks(70)]),
        Situation("the daemon is down", gone(world, 60), 
             [*looks(61), *looks(63, "CallkpiDown"), *looks(LAST, "CallkpiDown")]),
        Situation("it never was there", Scrapes({}), looks(3, "CallkpiDown")),
        Situation("something else answers on its port", Scrapes({'up{job="callkpi",instance="a"}': flat(1)}),
             looks(3, "CallkpiDown")),
        Situation("both replicas are down", gone(two, 60), looks(63, "CallkpiDown")),
        Situation("one replica is down", Scrapes({**world.series, **gone(second, 60).series}),
             [*looks(64), *looks(66, "CallkpiReplicaDown", job="callkpi", instance="b")]),
        Situation("one replica has no database", Scrapes({**world.series, **without_database(second, 60).series}),
             [*looks(64), *looks(66, "CallkpiReplicaDown", job="callkpi", instance="b")]),
        Situation("the database is away", without_database(two, 60),
             [*looks(60.5), *looks(62, "CallkpiDatabaseUnreachable"), *looks(LAST, "CallkpiDatabaseUnreachable")]),
        Situation("the database is away for half a minute", then_back(world), [*looks(60.25), *looks(62), *looks(90)]),
        Situation("it is away at night as well", without_database(world.but({OPEN: flat(0)}), 60),
             looks(62, "CallkpiDatabaseUnreachable")),
    ]  # fmt: skip
    assert promtool(tmp_path, tests) == ""


def then_back(world: Scrapes) -> Scrapes:
    away = without_database(world, 60)
    return Scrapes({name: then(away.series[name], 60.5, course) for name, course in world.series.items()})


@pytest.mark.parametrize(
    ("alert", "labels", "summary", "world"),
    [
        ("CallkpiDown", {}, "callkpi is down", gone(healthy(), 60)),
        ("CallkpiDatabaseUnreachable", {}, "callkpi does not reach its database", without_database(healthy(), 60)),
        ("CallkpiWatchdog", {}, "the way of alerts works", healthy()),
        ("CallkpiReplicaDown", {"instance": "b", "job": "callkpi"}, "callkpi on b is down or has no database",
         Scrapes({**healthy().series, 'up{job="callkpi",instance="b"}': flat(0)})),
    ],
)  # fmt: skip
def test_what_these_say(alert: str, labels: Mapping[str, str], summary: str, world: Scrapes, tmp_path: Path) -> None:
    look = Look(FIRING, alert, [labels], texts(alert, summary))
    assert promtool(tmp_path, [Situation("as shipped", world, [look])], alert_files.RULES) == ""


# -- what is particular to single alerts ------------------------------------------------------------------


def test_calls_without_a_queue_are_named_so(tmp_path: Path) -> None:
    world = healthy()
    nowhere = {
        name: flat(30) for name in world.series
        if name.startswith("callkpi_recent_missed") and "queue" not in name and "half_hour" in name
    }  # fmt: skip
    told = texts("CallkpiMissedCallSpike", "acme, calls without a queue: 30 callers missed in the last half hour")
    look = Look(30, "CallkpiMissedCallSpike", [{"tenant": "acme"}], told)
    assert (
        promtool(
            tmp_path,
            [Situation("Bitrix24 knows no queues", Scrapes({**world.series, **nowhere}), [look])],
            alert_files.RULES,
        )
        == ""
    )


def test_one_queue_that_explains_it_is_not_told_twice(tmp_path: Path) -> None:
    company = {
        'callkpi_company_recent_missed{window="half_hour"}': flat(40),
        'callkpi_company_recent_answered{window="half_hour"}': flat(60),
    }
    both = healthy().but({**window(40, 20), **company})
    looks_ = [Look(30, "CallkpiMissedCallSpike", [SALES]), Look(30, "CallkpiCompanyMissedCallSpike")]
    assert promtool(tmp_path, [Situation("sales explains it", both, looks_)]) == ""


def test_what_is_usual_there_is_no_news(tmp_path: Path) -> None:
    """A fifth or nearly twice that, some points more of next to nothing, and hardly any calls in the weeks before."""
    bad = window(15, 65, "hour")
    always = {**bad, sales("usual_answered"): flat(60), sales("usual_missed"): flat(15)}
    unknown = {**bad, sales("usual_answered"): flat(2), sales("usual_missed"): flat(0)}
    new = {**bad, sales("usual_answered"): None, sales("usual_missed"): None}
    busy = {**window(28, 52, "hour"), sales("usual_answered"): flat(60), sales("usual_missed"): flat(15)}
    few = {**window(7, 80, "hour"), sales("usual_answered"): flat(70), sales("usual_missed"): flat(1.5)}
    quiet, worlds = [Look(FIRING, "CallkpiMissedCallsUnusual")], (always, busy, few, unknown, new)
    tests = [Situation(str(n), healthy().but(changes), quiet) for n, changes in enumerate(worlds)]
    assert promtool(tmp_path, tests) == ""


def test_a_wait_is_believed_only_while_the_numbers_are_fresh(tmp_path: Path) -> None:
    lag = {own("projector_lag_seconds"): then(flat(0), 10, then(flat(45), 30, flat(0)))}
    stuck = healthy().but({sales("longest_wait_seconds"): flat(95), **lag})
    looks_ = [
        Look(9, "CallkpiLongestWait", [SALES]), Look(20, "CallkpiLongestWait"),
        Look(32, "CallkpiLongestWait", [SALES]),
    ]  # fmt: skip
    assert promtool(tmp_path, [Situation("the projector lags", stuck, looks_)]) == ""


def test_each_queue_has_its_own_target(tmp_path: Path) -> None:
    slow = healthy().but({
        "callkpi_longest_wait_seconds": flat(95), sales("service_level_target_seconds"): flat(60),
    })  # fmt: skip
    others = [{"tenant": "acme", "queue": "support"}, {"tenant": "acme"}]
    assert promtool(tmp_path, [Situation("T is a minute", slow, [Look(30, "CallkpiLongestWait", others)])]) == ""


#: Long stories are scraped and evaluated every five minutes.
COARSE, WEEK, DAY = 5, 7 * 24 * 60, 24 * 60


def heard_every(minutes: int, until: int, total: int) -> Course:
    """Time of the newest event of a source that speaks at such intervals until it falls silent."""
    return [60.0 * (min(n, until) // minutes * minutes) for n in range(0, total, COARSE)]


def coarse(world: Scrapes, total: int) -> Scrapes:
    """The same world for longer, scraped less often."""

    def change(_: str, course: Course) -> Course:
        first, second = course[0], course[MINUTE]
        step = second - first if isinstance(first, (int, float)) and isinstance(second, (int, float)) else 0
        return [first + step * n for n in range(0, total, COARSE)]  # type: ignore[operator]

    return world.everywhere(change)


def story(name: str, total: int, opened: Course, event: Course, *told: tuple[int, bool]) -> Situation:
    """A source over days: at which minutes its silence alarms and at which it does not."""
    world = coarse(healthy(), total).but({OPEN: opened, LAST_EVENT: event})
    looks_ = [Look(minute, "CallkpiNoEvents", [SOURCE] if alarm else []) for minute, alarm in told]
    return Situation(name, world, looks_, step=60 * COARSE)


def test_how_long_a_silence_alarms_is_learnt_from_the_source(tmp_path: Path) -> None:
    """A busy source is missed after a quarter of an hour, one that speaks every 25 minutes only after 75."""
    total = WEEK + 6 * 60
    always: Course = [604_800.0] * (total // COARSE)
    dies = WEEK + 120
    tests = [
        story("busy", total, always, heard_every(5, dies, total), (dies, False), (dies + 10, False), (dies + 30, True)),
        story("slow", total, always, heard_every(25, dies, total), (dies, False), (dies + 50, False),
              (dies + 105, True)),
    ]  # fmt: skip
    assert promtool(tmp_path, tests) == ""


def test_the_first_night_and_the_first_weekend_are_no_alarm(tmp_path: Path) -> None:
    """Without business hours nobody knows yet that nobody calls at night; with them an hour of silence is one."""
    total = 2 * DAY
    samples = range(0, total, COARSE)
    always: Course = [604_800.0] * len(samples)
    by_day: Course = [max(0.0, (n % DAY - 9 * 60) * 60.0) if n % DAY < 18 * 60 else 0.0 for n in samples]
    evening = 18 * 60
    tests = [
        story("always open", total, always, heard_every(5, evening, total), (evening + 6 * 60, False),
              (evening + 11 * 60, False), (evening + 13 * 60, True)),
        story("by day", total, by_day, heard_every(5, evening, total), (evening + 6 * 60, False),
              (DAY + 9 * 60 + 55, False), (DAY + 10 * 60 + 10, True), (DAY + 18 * 60 + 5, False)),
    ]  # fmt: skip
    assert promtool(tmp_path, tests) == ""


def test_a_source_in_the_wrong_time_zone_is_late_and_not_silent(tmp_path: Path) -> None:
    zone = healthy().but({LAST_EVENT: line(-5 * 3600, 60)})
    looks_ = [Look(FIRING, "CallkpiNoEvents"), Look(FIRING, "CallkpiEventsLate", [SOURCE])]
    assert promtool(tmp_path, [Situation("five hours behind", zone, looks_)]) == ""


def test_a_source_that_works_off_a_backlog_is_late_and_no_longer_silent(tmp_path: Path) -> None:
    """Nothing new for an hour and a half; then it goes on where it stopped."""
    backlog = then(line(0, 60), 20, then(flat(1200), 110, line(-5400, 60)))
    looks_ = [
        Look(105, "CallkpiNoEvents", [SOURCE]), Look(LAST, "CallkpiNoEvents"),
        Look(LAST, "CallkpiEventsLate", [SOURCE]),
    ]  # fmt: skip
    assert promtool(tmp_path, [Situation("backlog", healthy().but({LAST_EVENT: backlog}), looks_)]) == ""


def test_a_date_far_in_the_future_hides_no_silence(tmp_path: Path) -> None:
    received = LAST_EVENT.replace("last_event", "last_received")
    odd = healthy().but({LAST_EVENT: flat(4e9), received: STILL})
    looks_ = [Look(FIRING, "CallkpiNoEvents", [SOURCE]), Look(FIRING, "CallkpiSenderClockOff")]
    assert promtool(tmp_path, [Situation("an event of 2096", odd, looks_)]) == ""


def test_a_source_whose_history_was_imported_has_not_gone_live(tmp_path: Path) -> None:
    received = LAST_EVENT.replace("last_event", "last_received")
    imported = healthy().but({LAST_EVENT: flat(-86_400), received: then(line(0, 60), 5, flat(300))})
    assert promtool(tmp_path, [Situation("import", imported, [Look(FIRING, "CallkpiNoEvents")])]) == ""


def test_a_silence_is_told_by_a_prometheus_that_never_heard_the_source(tmp_path: Path) -> None:
    received = LAST_EVENT.replace("last_event", "last_received")
    dead = healthy().but({LAST_EVENT: flat(-86_405), received: flat(-86_400)})
    assert promtool(tmp_path, [Situation("dead before", dead, [Look(FIRING, "CallkpiNoEvents", [SOURCE])])]) == ""


def test_a_long_replay_into_a_silent_source_does_not_wake_it(tmp_path: Path) -> None:
    """Deliveries arrive all the time, but nothing new is in them."""
    world = healthy().but({LAST_EVENT: STILL})
    assert promtool(tmp_path, [Situation("replay", world, [Look(FIRING, "CallkpiNoEvents", [SOURCE])])]) == ""
