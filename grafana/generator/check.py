"""``python -m grafana.generator.check --url http://grafana:3000``: asks a running Grafana for every panel's figures.

Lists the dashboards of callkpi that Grafana has provisioned, sends each panel's queries through it as a browser would,
and says which are missing, fail or show nothing. Exit 1 when a dashboard is missing or a query fails. The token is of a
service account with the role Viewer: --token, or CALLKPI_GRAFANA_TOKEN. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = Path(__file__).resolve().parent.parent / "dashboards"
TIMEOUT_SECONDS = 30


class Unreachable(Exception):
    """Grafana does not answer as it must. One line for the terminal."""


@dataclass(frozen=True, slots=True)
class Finding:
    dashboard: str
    panel: str
    says: str
    is_fault: bool


class Grafana:
    """The few calls of Grafana's HTTP API that the check needs."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode("utf-8", "replace")
            if path == "/api/ds/query" and said.startswith("{"):
                return json.loads(said)
            raise Unreachable(f"{path} answered {error.code}: {said[:200]}") from None
        except (urllib.error.URLError, TimeoutError, ValueError) as error:
            raise Unreachable(f"{self._url}{path}: {error}") from None

    def query(self, targets: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Answers of the targets by their letters."""
        queries = [{"intervalMs": 15_000, "maxDataPoints": 500, **target} for target in targets]
        answer = self.call("/api/ds/query", {"queries": queries, "from": "now-24h", "to": "now"})
        results: dict[str, dict[str, Any]] = answer.get("results", {})
        refused = {"error": answer.get("message", "no result")}
        return {target["refId"]: results.get(target["refId"], refused) for target in targets}


def rows_of(result: dict[str, Any]) -> int:
    """How many rows came back."""
    frames = result.get("frames") or []
    return sum(len(values[0]) for frame in frames if (values := frame.get("data", {}).get("values")))


def choices(grafana: Grafana, dashboard: dict[str, Any], tenant: str) -> dict[str, list[str]]:
    """Values of the dashboard's variables: what the browser would offer first."""
    chosen = {"tenant": [tenant]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "custom":
            chosen[variable["name"]] = [variable["options"][0]["value"]]
        elif variable["name"] == "tenant" and not tenant:
            target = {
                "refId": "A",
                "datasource": variable["datasource"],
                "rawSql": variable["query"],
                "format": "table",
            }
            frames = grafana.query([target])["A"].get("frames") or []
            chosen["tenant"] = frames[0]["data"]["values"][0][:1] if frames else [""]
        elif variable["name"] != "tenant":
            chosen[variable["name"]] = _label_values(grafana, variable, chosen["tenant"][0])
    return chosen


def _label_values(grafana: Grafana, variable: dict[str, Any], tenant: str) -> list[str]:
    match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    if match is None:
        raise Unreachable(f"variable {variable['name']}: its query is not one of callkpi's")
    selector = urllib.parse.urlencode({"match[]": match[1].replace("$tenant", tenant)})
    path = f"/api/datasources/uid/{variable['datasource']['uid']}/resources/api/v1/label/{match[2]}/values?{selector}"
    return [value for value in grafana.call(path).get("data", []) if value]


def filled(text: str, chosen: dict[str, list[str]]) -> str:
    """A query with the values that the browser puts in; Grafana's server fills the macros."""
    for name, values in chosen.items():
        text = text.replace(f"${{{name}:sqlstring}}", ",".join("'" + v.replace("'", "''") + "'" for v in values))
        text = text.replace(f"${name}", "|".join(re.escape(value) for value in values).replace("\\", "\\\\"))
    return text


def check(grafana: Grafana, tenant: str = "") -> Iterator[Finding]:
    """Every dashboard that ought to be there, every panel of those that are."""
    found = {item["uid"]: item for item in grafana.call("/api/search?type=dash-db&tag=callkpi&limit=200")}
    for uid in sorted(path.stem for path in FILES.rglob("*.json")):
        if uid not in found:
            yield Finding(uid, "", "is not there: Grafana's log says why (failed to load dashboard)", True)
            continue
        answer = grafana.call(f"/api/dashboards/uid/{uid}")
        if not answer["meta"].get("provisioned"):
            yield Finding(uid, "", "is not provisioned: a copy, which no update reaches", True)
        yield from _panels(grafana, answer["dashboard"], tenant)


def _panels(grafana: Grafana, dashboard: dict[str, Any], tenant: str) -> Iterator[Finding]:
    chosen = choices(grafana, dashboard, tenant)
    for panel in dashboard["panels"]:
        targets = [
            {**target, **{key: filled(target[key], chosen) for key in ("expr", "rawSql") if key in target}}
            for target in panel.get("targets", ())
        ]
        if not targets:
            continue
        for letter, result in grafana.query(targets).items():
            place = f"{panel['title']} {letter}"
            if result.get("error"):
                yield Finding(dashboard["uid"], place, str(result["error"]), True)
            else:
                rows = rows_of(result)
                yield Finding(dashboard["uid"], place, f"{rows} rows" if rows else "shows nothing", False)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.generator.check", description=__doc__)
    parser.add_argument("--url", required=True, help="address of Grafana, e.g. http://127.0.0.1:3000")
    parser.add_argument("--token", default=os.environ.get("CALLKPI_GRAFANA_TOKEN", ""), help="of a service account")
    parser.add_argument("--tenant", default="", help="the call centre to ask for (default: the first one)")
    arguments = parser.parse_args(argv)
    faults = 0
    try:
        for finding in check(Grafana(arguments.url, arguments.token), arguments.tenant):
            faults += finding.is_fault
            mark = "✗" if finding.is_fault else " "
            print(f"{mark} {finding.dashboard:20} {finding.panel:50} {finding.says}")
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{faults} faults.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
