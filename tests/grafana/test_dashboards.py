"""The dashboards: files that Grafana's provider takes, queries that exist, figures that are true."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from grafana.generator.__main__ import dashboards as generated
from grafana.generator.__main__ import stale
from grafana.generator.model import LANGUAGES, Rule, Text, render
from tests import walls
from tests.floor import (
    DASHBOARDS,
    PASSWORD,
    TENANTS,
    Answer,
    Floor,
    dashboards,
    expand_promql,
    expand_sql,
    floor,
    panels_of,
)

ALL = [(language, dashboard) for language in LANGUAGES for dashboard in dashboards(language)]
IDS = [dashboard["uid"] for _, dashboard in ALL]
PANELS = {"stat", "bargauge", "timeseries", "table", "heatmap", "text", "row"}
DATASOURCES = {"prometheus": "callkpi-prometheus", "grafana-postgresql-datasource": "callkpi-postgres",
               "datasource": "-- Mixed --"}  # fmt: skip
each = pytest.mark.parametrize("dashboard", [dashboard for _, dashboard in ALL], ids=IDS)
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian package prometheus is missing")


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            if "expr" in target:
                yield target, target["expr"]


# -- the files -------------------------------------------------------------------------------------------


def test_the_committed_files_are_what_the_generator_writes() -> None:
    assert stale() == []


def test_a_file_that_was_edited_by_hand_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(DASHBOARDS, tmp_path / "dashboards")
    monkeypatch.setattr("grafana.generator.__main__.FILES", tmp_path / "dashboards")
    assert stale() == []
    edited = tmp_path / "dashboards" / "en" / "callkpi-wall.json"
    edited.write_text(edited.read_text().replace('"decimals": 0', '"decimals": 1', 1))
    (tmp_path / "dashboards" / "ru" / "stranger.json").write_text("{}")
    assert stale() == ["en/callkpi-wall.json", "ru/stranger.json"]


def test_uids_are_unique_short_and_the_same_in_every_language() -> None:
    assert len(set(IDS)) == len(IDS) == 2 * len(generated()) == 14
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", uid) for uid in IDS)
    assert [uid + "-ru" for uid in IDS[:7]] == IDS[7:]
    for language, dashboard in ALL:
        assert (DASHBOARDS / language / f"{dashboard['uid']}.json").is_file()


@each
def test_a_dashboard_is_classic_and_complete(dashboard: dict[str, Any]) -> None:
    text = json.dumps(dashboard)
    for strange in ('"__inputs"', '"elements"', "${DS_", '"version"', '"libraryPanel"', '"alert"'):
        assert strange not in text
    assert (dashboard["id"], dashboard["schemaVersion"], dashboard["editable"]) == (None, 42, False)
    assert all(dashboard[key] for key in ("uid", "title", "description", "time", "refresh", "links", "panels"))
    for target in _links(dashboard):
        uid = target.removeprefix("/d/").partition("?")[0]
        assert uid in IDS or target == "/playlists"


def _links(dashboard: dict[str, Any]) -> list[str]:
    return [link["url"] for link in dashboard["links"] if link["type"] == "link"]


@each
def test_ids_are_unique_and_nothing_overlaps(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["h"] > 0
    for one, other in itertools.combinations([panel["gridPos"] for panel in dashboard["panels"]], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


@each
def test_every_panel_says_what_it_shows_in_which_unit_from_where(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["type"] in PANELS
        assert panel["title"] and len(panel["description"]) > 15 and panel["fieldConfig"]["defaults"]["unit"]
        if panel["type"] == "text":
            continue
        assert panel["targets"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert DATASOURCES[source["type"]] == source["uid"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
        for field in panel["fieldConfig"]["overrides"]:
            if field["matcher"]["id"] == "byFrameRefID":
                assert field["matcher"]["options"] in refs
    for variable in dashboard["templating"]["list"]:
        assert variable["type"] == "custom" or DATASOURCES[variable["datasource"]["type"]]


@each
def test_no_colour_stands_alone(dashboard: dict[str, Any]) -> None:
    """A number that a target colours has a word beside it, made of the same limits; data that is missing is purple."""
    for panel in panels(dashboard):
        if panel["type"] != "stat":
            continue
        config = panel["fieldConfig"]
        special = [m["options"]["result"] for m in config["defaults"]["mappings"] if m["type"] == "special"]
        assert special[0]["color"] == "purple" and special[0]["text"] == config["defaults"]["noValue"]
        if '"thresholds"' in json.dumps(config):
            mapped = [m for m in _mappings(config) if m["type"] == "value"]
            assert mapped and all(one["text"] for m in mapped for one in m["options"].values()), panel["title"]
        for step in config["defaults"].get("thresholds", {}).get("steps", ()):
            assert step["color"] in {"green", "orange", "red"}


def _mappings(config: dict[str, Any]) -> list[dict[str, Any]]:
    properties = [prop for override in config["overrides"] for prop in override["properties"]]
    return [mapping for prop in properties if prop["id"] == "mappings" for mapping in prop["value"]]


def test_queries_of_wall_and_its_translation_are_the_same() -> None:
    for english, russian in zip(dashboards("en"), dashboards("ru"), strict=True):
        assert [t for p in panels(english) for t in p.get("targets", ())] == [
            t for p in panels(russian) for t in p.get("targets", ())
        ]
        same = [p["title"] for p, q in zip(panels(english), panels(russian), strict=True) if p["title"] == q["title"]]
        assert same == []


def test_the_wall_has_at_most_eight_panels_above_the_rows_of_queues() -> None:
    wall = next(dashboard for dashboard in dashboards() if dashboard["uid"] == "callkpi-wall")
    first_row = next(index for index, panel in enumerate(wall["panels"]) if panel["type"] == "row")
    assert first_row == 8 and wall["panels"][first_row]["repeat"] == "queue"
    assert min(panel["gridPos"]["h"] for panel in wall["panels"][:8]) >= 7
    assert any("kiosk" in url for url in _links(wall)) and "/playlists" in _links(wall)


def test_a_rule_gives_colour_and_word_the_same_limits() -> None:
    level, share = Rule(good=0.8, bad=0.7), Rule(good=0.05, bad=0.1)
    assert [step["color"] for step in level.thresholds["steps"]] == ["red", "orange", "green"]
    assert [step["value"] for step in level.thresholds["steps"]] == [None, 0.7, 0.8]
    assert [step["color"] for step in share.thresholds["steps"]] == ["green", "orange", "red"]
    assert render({"a": [Text("yes", "да")]}, "ru") == {"a": ["да"]}


@pytest.mark.parametrize(
    ("rule", "value", "word"),
    [
        (Rule(0.8, 0.7), 0.8, 0), (Rule(0.8, 0.7), 0.79, 1), (Rule(0.8, 0.7), 0.69, 2),
        (Rule(3, 6), 2, 0), (Rule(3, 6), 3, 1), (Rule(3, 6), 6, 2),
    ],
)  # fmt: skip
async def test_the_word_of_a_value_in_sql_and_promql(pool: Any, rule: Rule, value: float, word: int) -> None:
    assert await pool.fetchval(f"SELECT {rule.sql(f'{value}::float8')}") == word
    assert await pool.fetchval(f"SELECT {rule.sql('NULL::float8')}") == -1
    bools = rule.promql(str(value))
    python = re.sub(r"(\S+) (>=|<) bool (\S+)\)", r"\1 \2 \3)", bools)
    assert int(eval(python)) == word


# -- what they ask for -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def centre(data_dir: Path) -> AsyncIterator[Floor]:
    async with floor(data_dir / "dashboards") as running:
        yield running


@pytest.fixture(scope="module")
async def answers(centre: Floor) -> dict[str, list[Answer]]:
    return {tenant: await walls.asked(centre, tenant) for tenant in TENANTS}


@pytest.fixture(scope="module")
async def exported(centre: Floor) -> dict[str, set[str]]:
    """Every sample of a real scrape with the names of its labels."""
    async with centre.http.get(f"{centre.daemon.url}/metrics") as answer:
        page = await answer.text()
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@needs_prometheus
async def test_every_metric_and_label_in_promql_is_exported(exported: dict[str, set[str]]) -> None:
    seen = set()
    for _, dashboard in ALL:
        variables = [v["query"]["query"] for v in dashboard["templating"]["list"] if isinstance(v["query"], dict)]
        for expression in [*variables, *(expression for _, expression in expressions(dashboard))]:
            used = re.findall(r"\b(callkpi_\w+|up)\b(?:\{([^}]*)\})?", expression)
            assert used, expression
            labels: set[str] = set()
            for metric, selector in used:
                assert metric in exported, f"{metric} is not exported: {expression}"
                wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
                assert wanted <= exported[metric], f"{metric} has no {wanted - exported[metric]}"
                labels |= exported[metric]
                seen.add(metric)
            for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
                assert {label.strip() for label in grouped.split(",")} <= labels, expression
    assert len(seen) > 25


@each
def test_legends_name_labels_that_are_left_and_rates_take_grafana_s_interval(dashboard: dict[str, Any]) -> None:
    for target, expression in expressions(dashboard):
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            outermost = re.search(r"by \(([^)]*)\)", expression)
            assert outermost and label in [part.strip() for part in outermost[1].split(",")], expression
        assert set(re.findall(r"\[([^\]]*)\]", expression)) <= {"$__rate_interval"}
        if re.search(r"callkpi_\w+_total|_bucket", expression) and target["range"]:
            assert "[$__rate_interval]" in expression
        business = re.sub(r"up\{", "", expression)
        assert "callkpi_" not in business or "max" in business, "replicas export the same: max by, not sum"


@each
def test_sql_reads_the_views_and_quotes_what_people_choose(dashboard: dict[str, Any]) -> None:
    queries = [t["rawSql"] for p in panels(dashboard) for t in p.get("targets", ()) if "rawSql" in t]
    queries += [
        v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query" and isinstance(v["query"], str)
    ]
    for query in queries:
        assert "callkpi_views." in query and ";" not in query
        assert not re.search(r"\bcallkpi\.|\$(?!__timeFrom\(\)|__timeTo\(\)|\{\w+:sqlstring\})", query), query


@needs_prometheus
async def test_every_query_of_every_panel_answers_and_shows_something(answers: dict[str, list[Answer]]) -> None:
    count = sum(len(told) for told in answers.values())
    assert count > 200
    assert [str(line) for line in walls.faults(answers)] == []


@needs_prometheus
async def test_a_call_centre_without_queues_breaks_no_query(centre: Floor) -> None:
    for dashboard in dashboards():
        for panel, variables in panels_of(dashboard, "acme", []):
            for target in panel.get("targets", ()):
                if "rawSql" in target:
                    await centre.reader.fetch(expand_sql(target["rawSql"], variables, centre.window))


@needs_prometheus
async def test_every_variable_offers_choices(centre: Floor) -> None:
    for dashboard in dashboards():
        for variable in dashboard["templating"]["list"]:
            if variable["name"] == "tenant":
                rows = await centre.reader.fetch(variable["query"])
                assert [row["tenant"] for row in rows] == ["acme", "live", "shut"]
            elif variable["name"] == "queue":
                offered = await centre.label_values(variable["query"]["query"].replace("$tenant", "acme"))
                kept = [value for value in offered if re.search(variable["regex"].strip("/"), value)]
                assert kept == ["VIP desk", "sales", "support"]
            else:
                assert [option["value"] for option in variable["options"]] == ["day", "week", "shift"]


@needs_prometheus
async def test_the_figures_are_the_truth_that_was_counted_beside_the_recording(
    centre: Floor, answers: dict[str, list[Answer]]
) -> None:
    lines = walls.compare([*walls.from_truth(), *await walls.from_api(centre)], answers["acme"])
    assert len(lines) > 150
    assert [str(line) for line in lines if not line.right] == []


@needs_prometheus
async def test_prometheus_and_sql_give_the_same_number_for_the_same_window(centre: Floor) -> None:
    for tenant in TENANTS:
        since, until = await centre.reader.fetchrow("SELECT since, until FROM callkpi_views.today($1)", tenant)
        rows = await centre.reader.fetch("SELECT * FROM callkpi_views.kpi($1, $2, $3, 'queue')", tenant, since, until)
        told = {row["name"]: dict(row) for row in rows}
        assert len(told) == 3
        for column, metric in (
            ("service_level", f'callkpi_service_level_ratio{{tenant="{tenant}",window="day",queue!=""}}'),
            ("missed_share", f'callkpi_missed_ratio{{tenant="{tenant}",window="day",queue!=""}}'),
            ("abandoned", f'callkpi_shift_calls{{tenant="{tenant}",queue!="",outcome="abandoned"}}'),
            ("timed_out", f'callkpi_shift_calls{{tenant="{tenant}",queue!="",outcome="timed_out"}}'),
        ):
            metric = f"max by (queue) ({metric})"
            live = {row["queue"]: row["value"] for row in await centre.series(metric)}
            wanted = {queue: row[column] for queue, row in told.items() if row[column]}
            assert {queue: value for queue, value in live.items() if value} == pytest.approx(wanted), (tenant, metric)
        waiting = await centre.reader.fetch(
            "SELECT queue, count(*) AS n FROM callkpi_views.missed WHERE tenant = $1 GROUP BY 1", tenant
        )
        listed = await centre.series(f'max by (queue) (callkpi_missed_waiting{{tenant="{tenant}"}}) > 0')
        live = {row.get("queue", ""): row["value"] for row in listed}
        assert live == {row["queue"]: row["n"] for row in waiting}


@needs_prometheus
async def test_somebody_waits_and_talks_on_the_wall_of_the_centre_that_was_cut_off(
    answers: dict[str, list[Answer]],
) -> None:
    shown = {(a.panel, a.ref): a.rows for a in answers["live"] if a.dashboard == "callkpi-wall"}
    assert shown["Waiting now", "A"][0]["value"] > 0
    assert shown["Longest wait now", "A"][0]["value"] > 0
    assert shown["Talking now", "A"][0]["value"] > 0
    assert sum(shown["Agents now", "A"][0].values()) == 6
    words = {
        a.variables["queue"]: a.rows[0]["value"]
        for a in answers["live"]
        if (a.dashboard, a.panel, a.ref) == ("callkpi-wall", "Longest wait", "B")
    }
    assert words == {"sales": 0, "support": 2, "vip": 0}, "each queue by its own T"
    assert shown["Longest wait now", "B"][0]["value"] == 2


@needs_prometheus
async def test_outside_of_business_hours_the_wall_says_closed(centre: Floor) -> None:
    wall = next(dashboard for dashboard in dashboards() if dashboard["uid"] == "callkpi-wall")
    words = {}
    for panel, variables in panels_of(wall, "shut", [""]):
        for target in panel["targets"]:
            if target["refId"] == "B" and "callkpi_business_open" in target.get("expr", ""):
                (row,) = await centre.series(expand_promql(target["expr"], variables))
                words[panel["title"]] = row["value"]
    assert words == dict.fromkeys(("Waiting now", "Longest wait now", "Waiting", "Longest wait"), 3)


@needs_prometheus
async def test_the_reader_s_password_is_in_no_log(centre: Floor) -> None:
    assert "views.reader" in centre.daemon.log.read_text()
    for log in (centre.daemon.log, centre.daemon.directory / "data" / "postgres" / "server.log"):
        assert PASSWORD not in log.read_text()


@needs_prometheus
async def test_rule_files_beside_the_dashboards_are_healthy(centre: Floor) -> None:
    assert [str(line) for line in await walls.rules(centre) if not line.right] == []


def test_a_wrong_figure_a_missing_panel_and_an_empty_query_are_seen() -> None:
    good = Answer("d", "p", "A", "q", {}, [{"queue": "sales", "value": 1.0}])
    expected = walls.Expected("d", "p", 1, row={"queue": "sales"})
    assert [line.right for line in walls.compare([expected], [good])] == [True]
    for broken in (replace(expected, value=2), replace(expected, panel="x"), replace(expected, column="x"),
                   replace(expected, row={"queue": "vip"})):  # fmt: skip
        assert [line.right for line in walls.compare([broken], [good])] == [False]
    empty = replace(good, rows=[{"queue": None, "value": float("nan")}])
    assert len(walls.faults({"acme": [empty], "live": [empty]})) == 1
    assert walls.faults({"acme": [empty], "live": [good]}) == []
    assert len(walls.faults({"acme": [replace(good, error="no such column")]})) == 1
