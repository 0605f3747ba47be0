"""What Prometheus scrapes in a made-up call centre, minute by minute, and what promtool says of the rules in it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana.generator import alert_files, alerts
from grafana.generator.writing import COMMENT

#: Seconds between two scrapes, and how many there are.
STEP, SAMPLES = 30, 320
MINUTE = 60 // STEP
STALE = "stale"
Value = float | str | None
#: Values by the number of the scrape.
Course = Sequence[Value]

WINDOWS = ("half_hour", "hour")
QUEUES = ("sales", "support", "")


def flat(value: Value) -> Course:
    return [value] * SAMPLES


def line(start: float, per_minute: float) -> Course:
    return [start + per_minute * n / MINUTE for n in range(SAMPLES)]


def then(before: Course, minute: float, after: Course) -> Course:
    """One course until a minute, another one from it on."""
    cut = round(minute * MINUTE)
    return [*before[:cut], *after[cut:]]


def opening_at(minute: float) -> Course:
    """callkpi_business_open_seconds of a centre that opens then."""
    return [max(0.0, n * STEP - minute * 60) for n in range(SAMPLES)]


@dataclass(frozen=True)
class Scrapes:
    """Series by their text, ``name{label="value"}``."""

    series: Mapping[str, Course]

    def but(self, changes: Mapping[str, Course | None]) -> Scrapes:
        """With other series; None takes one away. A name with a label's part stands for all that match."""
        series = dict(self.series)
        for text, course in changes.items():
            matching = [name for name in series if _matches(name, text)]
            for name in matching or [text]:
                if course is None:
                    series.pop(name, None)
                else:
                    series[name] = course
        return Scrapes(series)

    def everywhere(self, change: Callable[[str, Course], Course]) -> Scrapes:
        return Scrapes({name: change(name, course) for name, course in self.series.items()})

    def also_from(self, instance: str) -> Scrapes:
        """Scraped from a second replica, too."""
        second = {name.replace('instance="a"', f'instance="{instance}"'): c for name, c in self.series.items()}
        return Scrapes({**self.series, **second})

    def of_tenant(self, tenant: str) -> Scrapes:
        """The series that tell of a tenant or of its sources, renamed."""
        return Scrapes({
            name.replace('"acme"', f'"{tenant}"').replace('"pbx"', f'"{tenant}-pbx"'): course
            for name, course in self.series.items() if '"acme"' in name or '"pbx"' in name
        })  # fmt: skip


def _matches(name: str, text: str) -> bool:
    metric, _, labels = text.rstrip("}").partition("{")
    own, _, rest = name.rstrip("}").partition("{")
    return own == metric and set(filter(None, labels.split(","))) <= set(rest.split(","))


def healthy() -> Scrapes:
    """A good day: hardly anybody is missed, everything answers."""
    acme, scraped = 'tenant="acme"', 'instance="a"'
    now = line(0, 60)
    series: dict[str, Course] = {
        f'up{{job="callkpi",{scraped}}}': flat(1),
        f'callkpi_build_info{{job="callkpi",{scraped},version="1"}}': flat(1),
        f'callkpi_database_up{{job="callkpi",{scraped}}}': flat(1),
        f"callkpi_business_open_seconds{{{acme},{scraped}}}": line(7200, 60),
        f"callkpi_projector_lag_seconds{{{scraped}}}": flat(0.1),
        f'callkpi_source_last_event_timestamp_seconds{{{acme},source="pbx",{scraped}}}': now,
        f'callkpi_source_last_received_timestamp_seconds{{{acme},source="pbx",{scraped}}}': now,
        f'callkpi_crm_last_success_timestamp_seconds{{{acme},source="pbx",{scraped}}}': now,
        f'callkpi_ingest_events_total{{source="pbx",result="received",{scraped}}}': line(1000, 20),
        f'callkpi_ingest_rejected_waiting{{source="pbx",{scraped}}}': flat(0),
        f'callkpi_ingest_refused_total{{source="pbx",reason="unauthorised",{scraped}}}': flat(3),
        f'callkpi_spool_bytes{{job="callkpi",{scraped}}}': flat(4096),
        f'callkpi_spool_limit_bytes{{job="callkpi",{scraped}}}': flat(1e6),
        f'callkpi_spool_deliveries{{job="callkpi",{scraped}}}': flat(0),
        f'callkpi_spool_refused_total{{source="pbx",{scraped}}}': flat(0),
        f"callkpi_projector_failed_calls_total{{{scraped}}}": flat(2),
        f"callkpi_projector_set_aside{{{acme},{scraped}}}": flat(0),
        f'callkpi_work_failing{{work="days",{scraped}}}': flat(0),
        f'callkpi_process_restarts_total{{process="web",{scraped}}}': flat(3),
        f'callkpi_scrape_late{{job="callkpi",{scraped}}}': flat(0),
        f"callkpi_journal_failures_total{{{scraped}}}": flat(5),
        f"callkpi_http_overload_total{{{scraped}}}": flat(1),
    }
    for window, calls in zip(WINDOWS, (40, 80), strict=True):
        series[f'callkpi_company_recent_answered{{{acme},window="{window}",{scraped}}}'] = flat(2 * calls)
        series[f'callkpi_company_recent_missed{{{acme},window="{window}",{scraped}}}'] = flat(calls // 20)
    for queue in QUEUES:
        place = f'{acme},queue="{queue}"' if queue else acme
        for window, calls in zip(WINDOWS, (40, 80), strict=True):
            told = {"answered": calls, "missed": calls // 20, "abandoned": calls // 40, "service_level_ratio": 0.9}
            for name, value in told.items():
                series[f'callkpi_recent_{name}{{{place},window="{window}",{scraped}}}'] = flat(value)
        series[f'callkpi_service_level_ratio{{{place},window="day",{scraped}}}'] = flat(0.85)
        for name, value in {
            "callkpi_usual_answered": 70, "callkpi_usual_missed": 4, "callkpi_longest_wait_seconds": 15,
            "callkpi_service_level_target_seconds": 20,
        }.items():  # fmt: skip
            series[f"{name}{{{place},{scraped}}}"] = flat(value)
        for outcome, value in (("answered", 300), ("abandoned", 10), ("expired", 1)):
            series[f'callkpi_shift_calls{{{place},outcome="{outcome}",{scraped}}}'] = flat(value)
    return Scrapes(series)


# -- promtool ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What must be firing at a minute: alerts by their labels. None of the alert when empty."""

    minute: float
    alert: str
    labels: Sequence[Mapping[str, str]] = ()
    texts: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Situation:
    name: str
    scrapes: Scrapes
    looks: Sequence[Look]
    step: int = STEP


def rules_of(names: Collection[str]) -> list[dict[str, Any]]:
    """Some alerts as shipped and the records they read, without annotations, which promtool would compare in full."""
    groups = alert_files.prometheus_rules(alerts.groups())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    wanted = {rule["alert"] for rule in rules if rule.get("alert") in names}
    while True:
        read = " ".join(rule["expr"] for rule in rules if _name(rule) in wanted)
        more = {rule["record"] for rule in rules if rule.get("record", read + "?") in read} - wanted
        if not more:
            break
        wanted |= more
    for group in groups:
        kept = [rule for rule in group["rules"] if _name(rule) in wanted]
        group["rules"] = [{k: v for k, v in rule.items() if k not in ("annotations", COMMENT)} for rule in kept]
    return [group for group in groups if group["rules"]]


def _name(rule: Mapping[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def promtool(directory: Path, tests: Sequence[Situation], rules: Path | None = None) -> str:
    """What ``promtool test rules`` complains of; nothing when all is as expected."""
    groups = rules_of({look.alert for test in tests for look in test.looks})
    if rules is None:
        rules = directory / "rules.yaml"
        rules.write_text(json.dumps({"groups": groups}))
    text = json.dumps(groups)
    file = directory / "alerts.test.yaml"
    content = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{min(test.step for test in tests)}s",
        "group_eval_order": [group.name for group in alerts.groups()],
        "tests": [_written(test, text) for test in tests],
    }
    file.write_text(json.dumps(content))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[:6000]


def _written(test: Situation, rules: str) -> dict[str, Any]:
    """Only the series that these rules read: the others take promtool's time and change nothing."""
    read = {name: course for name, course in test.scrapes.series.items() if name.partition("{")[0] in rules}
    return {
        "name": test.name,
        "interval": f"{test.step}s",
        "input_series": [{"series": name, "values": values(c)} for name, c in read.items()],
        "alert_rule_test": [
            {
                "eval_time": f"{round(look.minute * 60)}s",
                "alertname": look.alert,
                "exp_alerts": [
                    {"exp_labels": _all_labels(look.alert, labels), "exp_annotations": look.texts or {}}
                    for labels in look.labels
                ],
            }
            for look in test.looks
        ],
    }


def _all_labels(name: str, labels: Mapping[str, str]) -> dict[str, str]:
    alert = next(alert for alert in alerts.all_alerts() if alert.name == name)
    return {"severity": alert.severity, "team": alert.team, **labels}


def values(course: Course) -> str:
    """In promtool's notation: runs of equal steps, gaps, and the mark of a scrape that failed."""
    parts: list[str] = []
    n = 0
    while n < len(course):
        value = course[n]
        if value is None or value == STALE:
            parts.append("_" if value is None else STALE)
            n += 1
            continue
        end, step = _run(course, n)
        parts.append(f"{value:g}" if end == n + 1 else f"{value}{step:+}x{end - n - 1}")
        n = end
    return " ".join(parts)


def _run(course: Course, begin: int) -> tuple[int, float]:
    first = course[begin]
    second = course[begin + 1] if begin + 1 < len(course) else None
    if not isinstance(first, (int, float)) or not isinstance(second, (int, float)):
        return begin + 1, 0
    step, end = second - first, begin + 2
    while end < len(course) and course[end] == first + step * (end - begin):
        end += 1
    return end, step
