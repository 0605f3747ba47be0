"""The alerts as files: up to date, true to what the exporter says, the same for Grafana, each with its page."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from callkpi import config
from callkpi.calls.model import Outcome
from callkpi.commands import grafana_files
from callkpi.ingest.spool import Spool
from callkpi.metrics.exporter import Exporter
from callkpi.web import handbook
from grafana.generator import alert_files, alert_model, alerts, writing
from tests.stand_ins.alert_files import ALERTMANAGER, GRAFANA
from tests.stand_ins.recent_calls import call, send
from tests.stand_ins.truth import FILES
from tests.world import World, capture_lines, test_settings

HANDBOOK = Path(handbook.ROOT)
#: The parts of each alert's page, by language.
PARTS = {
    "en": ("First look.", "Usual causes", "What to do", "When it is no alarm."),
    "ru": ("Куда смотреть сначала.", "Обычные причины", "Что делать", "Когда это не тревога."),
}
ALERTS = alerts.all_alerts()
EXPRESSIONS = [
    *(record.expr for group in alerts.groups() for record in group.records),
    *(alert.expr for alert in ALERTS),
]
#: Exported where a portal is asked, which the recording has none of: see test_reconcile.
OF_PORTALS = {
    "callkpi_source_connected", "callkpi_crm_last_success_timestamp_seconds", "callkpi_deliveries_unsent",
}  # fmt: skip

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian package prometheus is not installed")
amtool = pytest.mark.skipif(
    shutil.which("amtool") is None, reason="Debian package prometheus-alertmanager is not installed"
)


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=GRAFANA.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- the files --------------------------------------------------------------------------------------------


def test_the_files_are_up_to_date() -> None:
    run(sys.executable, "-m", "grafana.generator.alerts", "--check")


def test_a_stale_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROOT", tmp_path / "grafana")
    file = tmp_path / "grafana" / "rules.yaml"
    assert writing.write({file: "a\n"}, check=True) == 1 and not file.exists()
    assert writing.write({file: "a\n"}, check=False) == 0 and file.read_text() == "a\n"
    assert writing.write({file: "a\n"}, check=True) == 0
    assert writing.write({file: "b\n"}, check=True) == 1


def test_what_is_written_is_read_as_it_was() -> None:
    groups = list(alerts.groups())
    for path, data in ((alert_files.RULES, alert_files.prometheus_rules(groups)),
                       (alert_files.MANAGED, alert_files.grafana_rules(groups))):  # fmt: skip
        assert load(path) == without_comments(data)


def without_comments(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: without_comments(item) for key, item in data.items() if key != writing.COMMENT}
    return [without_comments(item) for item in data] if isinstance(data, list) else data


@promtool
def test_prometheus_accepts_rules_and_configuration(tmp_path: Path) -> None:
    assert f"SUCCESS: {len(EXPRESSIONS)} rules found" in run("promtool", "check", "rules", str(alert_files.RULES))
    shipped = (GRAFANA / "prometheus" / "prometheus.yml").read_text()
    rules = tmp_path / "callkpi.rules.yaml"
    shutil.copy(alert_files.RULES, rules)
    here = tmp_path / "prometheus.yml"
    here.write_text(shipped)
    told = run("promtool", "check", "config", str(here))
    assert "1 rule files found" in told and str(rules) in told
    assert load(here)["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert [job["job_name"] for job in load(here)["scrape_configs"]] == [alert_model.JOB]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_says_who_acts_and_how(alert: alert_model.Alert) -> None:
    assert alert.severity in ("critical", "warning", "info")
    assert alert.team in ("floor", "telephony", "ops")
    assert all((alert.summary, alert.description, alert.action, alert.hold_reason))
    assert (alert.above is None) != (alert.below is None)
    texts = " ".join(alert_files.texts(alert).values())
    assert not re.search(r"\$\{|%\w+%", texts)
    assert not re.search(r"labels\.(customer|number|call)", texts)
    assert alert.runbook_url == f"{alert_model.DAEMON}/handbook/alerts/{alert.runbook}"
    for code, parts in PARTS.items():
        lines = (HANDBOOK / code / "alerts" / f"{alert.runbook}.md").read_text().splitlines()
        assert lines[0] == f"# {alert.name}"
        assert len(lines) <= 30 and max(map(len, lines)) <= 120
        for part in parts:
            assert any(line.startswith(f"**{part}") for line in lines), part


@pytest.mark.parametrize("code", PARTS)
def test_no_page_of_an_alert_without_its_alert(code: str) -> None:
    pages = list((HANDBOOK / code / "alerts").iterdir())
    assert {path.stem for path in pages} == {alert.runbook for alert in ALERTS}
    named = {name for path in pages for name in re.findall(r"Callkpi[A-Z]\w+", path.read_text())}
    assert named <= {alert.name for alert in ALERTS}


def test_alerts_lead_to_the_handbook_of_the_daemon_that_is_named(tmp_path: Path) -> None:
    grafana_files.write(tmp_path, "https://kpi.example.org/")
    for name in ("prometheus/callkpi.rules.yaml", "provisioning/alerting/callkpi.yaml"):
        addresses = re.findall(r"runbook_url: (\S+)", (tmp_path / name).read_text())
        assert addresses == [f"https://kpi.example.org/handbook/alerts/{alert.runbook}" for alert in ALERTS]


@promtool
def test_prometheus_accepts_rules_that_lead_elsewhere(tmp_path: Path) -> None:
    grafana_files.write(tmp_path, "https://kpi.example.org")
    assert "SUCCESS" in run("promtool", "check", "rules", str(tmp_path / "prometheus" / "callkpi.rules.yaml"))


# -- Grafana ----------------------------------------------------------------------------------------------


def test_grafana_has_the_same_alerts_with_the_same_limits() -> None:
    rules = [rule for group in load(alert_files.MANAGED)["groups"] for rule in group["rules"]]
    assert [rule["title"] for rule in rules] == [alert.name for alert in ALERTS]
    assert len({rule["uid"] for rule in rules}) == len(rules)
    for rule, alert in zip(rules, ALERTS, strict=True):
        query, last, threshold = rule["data"]
        assert (query["refId"], last["model"]["expression"], threshold["model"]["expression"]) == ("A", "A", "B")
        assert rule["condition"] == "C" and rule["uid"] == f"callkpi-{alert.runbook}" and len(rule["uid"]) <= 40
        evaluator = threshold["model"]["conditions"][0]["evaluator"]
        sign, limit = {"gt": ">", "lt": "<"}[evaluator["type"]], evaluator["params"][0]
        first, *rest = alert.expr.split("\n")
        # The first line is the value and its limit; what Grafana asks is the same without the limit.
        assert query["model"]["expr"].split("\n") == [first.removesuffix(f" {sign} {limit:g}"), *rest]
        assert first.endswith(f" {sign} {limit:g}")
        assert query["model"]["instant"] is True and query["datasourceUid"] == "callkpi-prometheus"
        assert (rule["for"], rule.get("keepFiringFor", "")) == (alert.hold, alert.keep)
        assert rule["labels"] == {"severity": alert.severity, "team": alert.team}
        # Grafana expands the braced form in annotations, and any dollar in labels.
        assert "${" not in json.dumps(rule["annotations"]) and "$" not in json.dumps(rule["labels"])
        assert "$value " not in json.dumps(rule["annotations"]) and "$value}" not in json.dumps(rule["annotations"])


def test_the_default_file_leaves_policies_and_contact_points_alone() -> None:
    assert load(alert_files.MANAGED).keys() == {"apiVersion", "groups"}
    assert [path.name for path in (GRAFANA / "provisioning" / "alerting").iterdir()] == ["callkpi.yaml"]


def test_the_example_of_notifications_is_consistent_and_has_no_secret() -> None:
    path = GRAFANA / "alerting-example" / "notify.yaml"
    example = load(path)
    points = {point["name"] for point in example["contactPoints"]}
    mutes = {mute["name"] for mute in example["muteTimes"]}
    for policy in walk(example["policies"]):
        assert policy["receiver"] in points
        assert set(policy.get("mute_time_intervals", [])) <= mutes
        assert all(len(matcher) == 3 for matcher in policy.get("object_matchers", []))
    for point in example["contactPoints"]:
        for receiver in point["receivers"]:
            for key, value in receiver["settings"].items():
                assert value.startswith("{{") or re.fullmatch(r"\$CALLKPI_[A-Z_]+", value), key
    defined = {name for t in example["templates"] for name in re.findall(r'define "([\w.]+)"', t["template"])}
    assert set(re.findall(r'template "([\w.]+)"', path.read_text())) <= defined
    assert all("$" not in template["template"] for template in example["templates"])


def walk(policies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for policy in policies:
        yield policy
        yield from walk(policy.get("routes", []))


# -- Alertmanager -----------------------------------------------------------------------------------------

ROUTES = [
    ("CallkpiWatchdog", "watchdog"),
    ("CallkpiDown", "pager,ops_chat"),
    ("CallkpiDatabaseUnreachable", "pager,ops_chat"),
    ("CallkpiProjectorStalled", "pager,ops_chat"),
    ("CallkpiSpoolFilling", "pager,ops_chat"),
    ("CallkpiProjectorBehind", "ops_chat"),
    ("CallkpiQueuesUnseen", "ops_chat"),
    ("CallkpiNoEvents", "pager,telephony_chat"),
    ("CallkpiSourceDisconnected", "pager,telephony_chat"),
    ("CallkpiPayloadsRejected", "telephony_chat"),
    ("CallkpiCrmNotWritten", "telephony_chat"),
    ("CallkpiEventsLate", "telephony_chat"),
    ("CallkpiMissedCallSpike", "floor_chat"),
    ("CallkpiMissedCallsUnusual", "floor_chat"),
    ("CallkpiLongestWait", "floor_chat"),
]


@amtool
@pytest.mark.parametrize(("name", "receivers"), ROUTES)
def test_who_is_told(name: str, receivers: str) -> None:
    alert = next(alert for alert in ALERTS if alert.name == name)
    labels = {"alertname": name, "severity": alert.severity, "team": alert.team, "tenant": "acme"}
    arguments = [f"{key}={value}" for key, value in labels.items()]
    command = ["amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}"]
    run(*command, f"--verify.receivers={receivers}", *arguments)


@amtool
def test_alertmanager_accepts_its_configuration() -> None:
    told = run("amtool", "check-config", str(ALERTMANAGER))
    assert "SUCCESS" in told
    settings = load(ALERTMANAGER)
    used = {route["receiver"] for route in walk([settings["route"]]) if "receiver" in route}
    assert used == {receiver["name"] for receiver in settings["receivers"]}


def test_inhibitions_name_alerts_that_exist_and_never_the_watchdog() -> None:
    names = [alert.name for alert in ALERTS]
    for rule in load(ALERTMANAGER)["inhibit_rules"]:
        sources, targets = (matching(rule[f"{side}_matchers"], names) for side in ("source", "target"))
        assert sources and targets and not sources & targets
        assert "CallkpiWatchdog" not in targets
        assert "CallkpiSpoolFilling" not in targets or sources == {"CallkpiDown"}
        assert not targets & {"CallkpiDown"}
        # Where a label must be equal, both have it: else one tenant's trouble would silence another's.
        for label in rule.get("equal", []):
            for name in sources | targets:
                assert label in labels_of(name), (name, label)


def matching(matchers: list[str], names: list[str]) -> set[str]:
    found = set(names)
    for matcher in matchers:
        label, sign, pattern = re.fullmatch(r'(\w+)(=~|!~|=)"(.+)"', matcher).groups()  # type: ignore[union-attr]
        assert label == "alertname"
        assert sign != "=" or pattern in names
        for word in re.findall(r"Callkpi\w+", pattern):
            assert word in names
        found &= {name for name in names if bool(re.fullmatch(pattern, name)) == (sign != "!~")}
    return found


def labels_of(name: str) -> set[str]:
    """Labels by which the value of an alert is grouped."""
    value = next(alert for alert in ALERTS if alert.name == name).value
    grouped = re.findall(r"by \(([\w, ]+)\)", value)
    level = {"source": {"tenant", "source"}, "queue": {"tenant", "queue"}}.get(value.partition(":")[0], set())
    return level.union(*(set(group.split(", ")) for group in grouped))


def test_secrets_of_alertmanager_are_files() -> None:
    text = ALERTMANAGER.read_text()
    for line in text.splitlines():
        if re.search(r"\b\w*(token|key|url|password|credentials)\w*:", line) and not line.lstrip().startswith("#"):
            assert re.search(r"_file: /run/secrets/alertmanager/\w+$|url: https://watchdog\.example\.org", line), line


# -- what the exporter says -------------------------------------------------------------------------------


@pytest.fixture
async def scraped(world: World, tmp_path: Path) -> str:
    """A page with everything on it: the recorded shift, a live half hour, two weeks before, trouble of every kind."""
    world = World(world.pool, shop())
    async with world.running():
        await world.send_lines("pbx", capture_lines(FILES["pbx"]))
        await world.project()
        now = datetime.now(UTC)
        customer = iter(range(1000, 9000))
        for ago in (timedelta(minutes=3), timedelta(weeks=1, minutes=3), timedelta(weeks=2, minutes=3)):
            answered = [call(f"{ago}a{n}", now - ago, answered=5) for n in range(8)]
            missed = [call(f"{ago}m{n}", now - ago, wait=50, customer=f"+770123{next(customer)}") for n in range(6)]
            await send(world, *answered, *missed)
        await send(world, call("waits", now - timedelta(seconds=80), over=False))
        world.health.count("ingest_refused", source="pbx", label="unauthorised")
        await world.health.flush(world.pool)
        with contextlib.closing(Spool(tmp_path, 1024 * 1024)) as spool:
            page, _ = await Exporter(world.pool, world.settings, spool).scrape("")
        return page.decode()


def shop() -> config.Settings:
    """One queue may have series of its own, so that the others overflow."""
    return replace(test_settings(queues={"sales": config.Queue()}), metrics=config.Metrics(max_queues=1))


_RECORDED = {record.name for group in alerts.groups() for record in group.records}
_TOKENS = re.compile(r"[a-z_]+(?::[a-z_]+)+:[a-z_0-9]+|\bcallkpi_[a-z_]+|\bup\b")


def test_every_series_and_label_of_the_rules_is_exported(scraped: str) -> None:
    exported: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scraped):
        exported.setdefault(family.name, set())
        for sample in family.samples:
            exported.setdefault(sample.name, set()).update(sample.labels)
            exported[family.name].update(sample.labels)
    known = exported.keys() | _RECORDED | OF_PORTALS | {"up"}
    for expr in EXPRESSIONS:
        assert set(_TOKENS.findall(expr)) <= known, expr
        for name, matchers in re.findall(r"(\bcallkpi_[a-z_]+)\{([^}]*)\}", expr):
            labels = set(re.findall(r"(\w+)!?=", matchers)) - {"job"}
            assert labels <= exported[name], (name, labels)
        for grouped, name in re.findall(r"max by \(([\w, ]+)\) \((?:increase\()?(callkpi_[a-z_]+)", expr):
            if name not in OF_PORTALS:
                assert set(grouped.split(", ")) <= exported[name], (name, grouped)


def test_values_that_rules_ask_for_occur(scraped: str) -> None:
    """Labels are compared with words: each is one that the exporter uses."""
    said: dict[str, set[str]] = {"outcome": set(Outcome)}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            for label, value in sample.labels.items():
                said.setdefault(label, set()).add(value)
    asked = {pair for expr in EXPRESSIONS for pair in re.findall(r'(\w+)="(\w+)"', expr)} - {("job", alert_model.JOB)}
    assert {label for label, _ in asked} == {"window", "outcome", "result", "reason", "kind"}
    assert all(value in said[label] for label, value in asked)
