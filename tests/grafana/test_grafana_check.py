"""``python -m grafana.generator.check`` against a small server that answers as Grafana's HTTP API is documented to."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from grafana.generator import check
from tests.floor import DASHBOARDS

FILES = {path.stem: json.loads(path.read_text()) for path in DASHBOARDS.rglob("*.json")}
TOKEN = "glsa_viewer"


@dataclass
class FakeGrafana:
    url: str = ""
    lost: set[str] = field(default_factory=set)
    copied: set[str] = field(default_factory=set)
    broken: str = ""  #: queries that hold this fail
    empty: str = ""  #: queries that hold this show nothing
    asked: list[dict[str, Any]] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/search", self.search),
            web.get("/api/dashboards/uid/{uid}", self.dashboard),
            web.get("/api/datasources/uid/callkpi-prometheus/resources/api/v1/label/queue/values", self.labels),
            web.post("/api/ds/query", self.query),
        ]

    async def search(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"message": "Invalid API key"}, status=401)
        assert dict(request.query) == {"type": "dash-db", "tag": "callkpi", "limit": "200"}
        return web.json_response(
            [{"uid": uid, "title": f["title"]} for uid, f in FILES.items() if uid not in self.lost]
        )

    async def dashboard(self, request: web.Request) -> web.Response:
        uid = request.match_info["uid"]
        return web.json_response({"dashboard": FILES[uid], "meta": {"provisioned": uid not in self.copied}})

    async def labels(self, request: web.Request) -> web.Response:
        assert request.query["match[]"] == 'callkpi_calls_waiting{tenant="acme"}'
        return web.json_response({"status": "success", "data": ["sales", "o'hara"]})

    async def query(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert (body["from"], body["to"]) == ("now-24h", "now")
        results, status = {}, 200
        for query in body["queries"]:
            self.asked.append(query)
            text = query.get("expr") or query["rawSql"]
            if self.broken and self.broken in text:
                results[query["refId"]] = {"status": 400, "error": 'pq: column "x" does not exist'}
                status = 400
                continue
            values = [["acme"]] if "callkpi_views.tenants" in text else [[1, 2]]
            frames = [] if self.empty and self.empty in text else [{"schema": {}, "data": {"values": values}}]
            results[query["refId"]] = {"status": 200, "frames": frames}
        return web.json_response({"results": results}, status=status)


@pytest.fixture
async def grafana() -> AsyncIterator[FakeGrafana]:
    fake = FakeGrafana()
    app = web.Application()
    app.add_routes(fake.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


async def run(grafana: FakeGrafana, *more: str, token: str = TOKEN) -> int:
    return await asyncio.to_thread(check.main, ["--url", grafana.url, "--token", token, *more])


async def test_every_query_of_every_panel_is_asked_with_the_choices_filled_in(
    grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(grafana) == 0
    wanted = sum(len(panel.get("targets", ())) for file in FILES.values() for panel in file["panels"])
    panels = [query for query in grafana.asked if "FROM callkpi_views.tenants ORDER" not in query.get("rawSql", "")]
    assert len(panels) == wanted > 150
    for query in panels:
        text = query.get("expr") or query["rawSql"]
        assert not re.search(r"\$(?!__)", text), text
        assert query["datasource"]["uid"].startswith("callkpi-") and query["maxDataPoints"]
    assert any("'sales','o''hara'" in query.get("rawSql", "") for query in panels)
    assert "0 faults." in capsys.readouterr().out


async def test_a_dashboard_that_is_missing_or_a_copy_and_a_query_that_fails_are_faults(
    grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    grafana.lost, grafana.copied = {"callkpi-wall"}, {"callkpi-queues"}
    grafana.broken, grafana.empty = "callkpi_views.funnel(", "callkpi_journal_failures_total"
    assert await run(grafana, "--tenant", "acme") == 1
    out = capsys.readouterr().out
    faults = [line for line in out.splitlines() if line.startswith("✗")]
    assert len(faults) == 4 and "4 faults." in out  # the funnel's query in both languages
    assert any("callkpi-wall " in line and "is not there" in line for line in faults)
    assert any('column "x" does not exist' in line for line in faults)
    assert out.count("shows nothing") == 2


async def test_a_wrong_token_and_a_wrong_address_are_said_in_one_line(
    grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run(grafana, token="wrong") == 2
    grafana.url = "http://127.0.0.1:9"
    assert await run(grafana) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and "answered 401" in lines[0] and "wrong" not in lines[0]
