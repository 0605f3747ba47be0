"""A call centre to look at dashboards with: recorded days in a real daemon, a real Prometheus, the reader's connection.

Three copies of one recorded shift (a few minutes ago, yesterday, a week ago), and a second call centre whose recording
was cut off while calls were open, so that somebody waits and talks now. Panels are evaluated as Grafana would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import asyncpg

from callkpi.commands import replay
from callkpi.database import embedded
from callkpi.projection import views
from tests.stand_ins.daemon import Daemon, free_port
from tests.stand_ins.running import projected
from tests.world import capture_lines, retimed

ROOT = Path(__file__).parent.parent
DASHBOARDS = ROOT / "grafana" / "dashboards"
PASSWORD = "reader-secret-0123"
TENANTS = ("acme", "live")
#: What the panels' time is: the last hour, in which the newest copy of the shift lies as a whole.
WINDOW = timedelta(hours=1)
SHIFT_AGO = timedelta(minutes=7)
COPIES = (timedelta(0), timedelta(days=1), timedelta(days=7))
NAMES = {"vip": "VIP desk"}

_CONFIG = """
[database]
reader_password = "{password}"

[metrics]
max_lines = 1

[tenants.acme]
timezone = "{zone}"
region = "KZ"

[tenants.acme.queues.vip]
name = "VIP desk"

[tenants.live]
timezone = "{zone}"

[tenants.live.queues.support]
service_level_seconds = 1

[tenants.live.queues.vip]
service_level_seconds = 86400

[tenants.shut]
timezone = "{zone}"
holidays = ["{today}"]
business_hours = {{mon = "08:00-20:00", tue = "08:00-20:00", wed = "08:00-20:00", thu = "08:00-20:00"}}

[sources.pbx]
kind = "asterisk"
tenant = "acme"
token = "pbx-secret"

[sources.live]
kind = "asterisk"
tenant = "live"
token = "live-secret"
"""
_SCRAPE = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: {rules}
scrape_configs:
- job_name: callkpi
  # The same daemon under two names, as two replicas are: a sum over both would count everything twice.
  static_configs: [{{targets: ['127.0.0.1:{port}', 'localhost:{port}']}}]
"""


def noon_zone(now: datetime) -> str:
    """A zone in which it is about noon now: what happened minutes ago happened today."""
    offset = 12 - now.hour
    return f"Etc/GMT{-offset:+d}" if offset else "UTC"


@dataclass(frozen=True, slots=True)
class Answer:
    """One query of one panel with the rows that came back."""

    dashboard: str
    panel: str
    ref: str
    query: str
    variables: dict[str, str]
    rows: Sequence[dict[str, Any]]
    error: str = ""

    @property
    def is_empty(self) -> bool:
        """Nothing, or not one number or word that is one."""
        return not any(_is_something(value) for row in self.rows for value in row.values())


def _is_something(value: Any) -> bool:
    return value is not None and value == value


class Floor:
    def __init__(self, daemon: Daemon, prometheus: str, reader: asyncpg.Connection, begun: datetime) -> None:
        self.daemon, self.prometheus, self.reader, self.begun = daemon, prometheus, reader, begun
        self.http = aiohttp.ClientSession()
        self.window = (begun, begun)
        self.queues: dict[str, list[str]] = {}

    # -- filling --------------------------------------------------------------------------------------
    async def fill(self) -> None:
        lines = capture_lines("asterisk/events.jsonl.gz")
        for ago in COPIES:
            await self._send("pbx", retimed(lines, self.begun - SHIFT_AGO - ago))
        small = cut_off(capture_lines("asterisk/small-events.jsonl.gz"))
        length = json.loads(small[-1])["received_at"] - json.loads(small[0])["received_at"]
        small = retimed(small, datetime.now(UTC) - timedelta(seconds=length))
        for begin in range(0, len(small), len(small) // 4):
            # Over some scrapes, so that rates have something to show.
            await self._send("live", small[begin : begin + len(small) // 4])
            await asyncio.sleep(1.5)
        await projected(self.daemon)
        self.window = (datetime.now(UTC) - WINDOW, datetime.now(UTC))
        # All of it has to be scraped, and then recorded by the rules.
        await self.series(f"up == 1 and timestamp(up) > {time.time() + 2}", wait=bool)
        for tenant in TENANTS:
            found = await self.series(
                f'count by (queue) (callkpi_calls_waiting{{tenant="{tenant}"}}) == 2', wait=lambda rows: len(rows) > 1
            )
            self.queues[tenant] = sorted(row["queue"] for row in found if row.get("queue"))

    async def _send(self, source: str, lines: Sequence[str]) -> None:
        target = replay.Target(url=self.daemon.url, source=source, token=f"{source}-secret")
        for begin in range(0, len(lines), 2000):
            body = "\n".join(lines[begin : begin + 2000]).encode()
            await replay.post(self.http, target, body, "application/x-ndjson")

    # -- asking ---------------------------------------------------------------------------------------
    async def series(self, query: str, *, over_time: bool = False, wait: Any = None) -> list[dict[str, Any]]:
        """Rows of a PromQL query: labels and ``value``, over time that of every step. *wait*: until it is true."""
        for _ in range(100):
            path, times = ("query_range", self._span()) if over_time else ("query", {})
            url = f"{self.prometheus}/api/v1/{path}"
            async with self.http.post(url, data={"query": query, **times}) as answer:
                body = await answer.json()
            if body["status"] != "success":
                raise ValueError(body.get("error", "no answer"))
            rows = [
                {**item["metric"], "value": float(value)}
                for item in body["data"]["result"]
                for _, value in (item["values"] if over_time else [item["value"]])
            ]
            if wait is None or wait(rows):
                return rows
            await asyncio.sleep(0.2)
        raise AssertionError(f"Prometheus does not answer as it must: {query}")

    def _span(self) -> dict[str, str]:
        now = time.time()
        return {"start": str(now - 30), "end": str(now), "step": "1"}

    async def label_values(self, query: str) -> list[str]:
        """What a variable's label_values(metric{…}, label) offers."""
        match = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert match, query
        params = {"match[]": match[1]}
        async with self.http.get(f"{self.prometheus}/api/v1/label/{match[2]}/values", params=params) as answer:
            body = await answer.json()
        assert body["status"] == "success", body
        values: list[str] = body["data"]
        return values

    async def api(self, path: str, **params: str) -> Any:
        begin, end = self.window
        window = {"from": begin.isoformat(), "to": end.isoformat()} if path == "kpi" else {}
        async with self.http.get(f"{self.daemon.url}/api/v1/{path}", params={**window, **params}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def answers(self, dashboard: dict[str, Any], tenant: str) -> AsyncIterator[Answer]:
        """Every query of every panel, a repeated row's once for each queue."""
        for panel, variables in panels_of(dashboard, tenant, self.queues[tenant]):
            for target in panel.get("targets", ()):
                yield await self._answer(dashboard, panel, target, variables)

    async def _answer(
        self, dashboard: dict[str, Any], panel: dict[str, Any], target: dict[str, Any], variables: dict[str, Any]
    ) -> Answer:
        sql = target["datasource"]["uid"] == "callkpi-postgres"
        query = (
            expand_sql(target["rawSql"], variables, self.window) if sql else expand_promql(target["expr"], variables)
        )
        rows: list[dict[str, Any]] = []
        error = ""
        try:
            if sql:
                rows = [dict(row) for row in await self.reader.fetch(query)]
            else:
                rows = await self.series(query, over_time=target["range"])
        except (asyncpg.PostgresError, ValueError) as problem:
            error = str(problem)
        shown = {name: value for name, value in variables.items() if isinstance(value, str)}
        return Answer(dashboard["uid"], panel["title"], target["refId"], query, shown, rows, error)

    async def close(self) -> None:
        await self.http.close()
        await self.reader.close()


def cut_off(lines: Sequence[str]) -> list[str]:
    """A recording up to the last moment at which somebody waits while somebody talks."""
    waiting: set[str] = set()
    talking: set[str] = set()
    end = 0
    for index, line in enumerate(lines):
        event = json.loads(line)
        kind, call = event["Event"], event.get("Uniqueid", "")
        if kind in ("QueueCallerAbandon", "QueueCallerLeave", "AgentConnect"):
            waiting.discard(call)
        if kind == "QueueCallerJoin":
            waiting.add(call)
        elif kind == "AgentConnect":
            talking.add(call)
        elif kind == "AgentComplete":
            talking.discard(call)
        if waiting and talking:
            end = index + 1
    assert end
    return list(lines[:end])


def panels_of(
    dashboard: dict[str, Any], tenant: str, queues: Sequence[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Panels with the values of the variables: all queues, or those of a repeated row one by one."""
    common = {"tenant": tenant, "against": "day", "queue": list(queues)}
    repeated = False
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            repeated = "repeat" in panel
        elif repeated:
            for queue in queues:
                yield panel, {**common, "queue": queue}
        else:
            yield panel, common


def expand_sql(query: str, variables: dict[str, Any], window: tuple[datetime, datetime]) -> str:
    """The statement that Grafana's PostgreSQL datasource sends."""
    query = query.replace("$__timeFrom()", f"'{window[0].isoformat()}'")
    query = query.replace("$__timeTo()", f"'{window[1].isoformat()}'")
    for name, value in variables.items():
        values = [value] if isinstance(value, str) else value
        listed = ",".join("'" + each.replace("'", "''") + "'" for each in values)
        query = query.replace(f"${{{name}:sqlstring}}", listed)
    assert "$" not in query, query
    return query


def expand_promql(query: str, variables: dict[str, Any]) -> str:
    """The query that Grafana's Prometheus datasource sends, at a scrape interval of a second."""
    query = query.replace("$__rate_interval", "10s")
    for name, value in variables.items():
        text = value if isinstance(value, str) else "(" + "|".join(re.escape(each) for each in value) + ")"
        query = query.replace(f"${name}", text.replace("\\", "\\\\"))
    assert "$" not in query, query
    return query


def dashboards(language: str = "en") -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((DASHBOARDS / language).glob("*.json"))]


def rule_files() -> list[Path]:
    """Rules for Prometheus beside the dashboards, without their tests."""
    return sorted((ROOT / "grafana" / "prometheus").glob("*.rules.y*ml"))


@contextlib.asynccontextmanager
async def floor(directory: Path) -> AsyncIterator[Floor]:
    """Everything started and filled; needs the Debian package prometheus."""
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    begun = datetime.now(UTC)
    zone = noon_zone(begun)
    today = begun.astimezone(ZoneInfo(zone)).date()
    daemon = Daemon(directory / "floor", config=_CONFIG.format(password=PASSWORD, zone=zone, today=today))
    await daemon.start()
    port = free_port()
    settings = directory / "prometheus.yml"
    rules = json.dumps([str(path) for path in rule_files()])
    settings.write_text(_SCRAPE.format(port=daemon.port, rules=rules))
    log = (directory / "prometheus.log").open("wb")
    process = subprocess.Popen(
        ["prometheus", f"--config.file={settings}", f"--storage.tsdb.path={directory / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"], stdout=log, stderr=log,
    )  # fmt: skip
    try:
        server = embedded.start(daemon.directory / "data")
        reader = await _reader(server.dsn)
        running = Floor(daemon, f"http://127.0.0.1:{port}", reader, begun)
        try:
            await _reachable(running)
            await running.fill()
            yield running
        finally:
            await running.close()
    finally:
        process.terminate()
        process.wait(20)
        log.close()
        daemon.stop()


async def _reader(dsn: str) -> asyncpg.Connection:
    """The daemon's doors are open before it has let the reader in."""
    for _ in range(100):
        with contextlib.suppress(asyncpg.InvalidAuthorizationSpecificationError):
            connection = await asyncpg.connect(dsn, user=views.READER, password=PASSWORD)
            if await connection.fetchval("SELECT has_schema_privilege('callkpi_views', 'USAGE')"):
                return connection
            await connection.close()
        await asyncio.sleep(0.2)
    raise AssertionError("the reader may not log in")


async def _reachable(running: Floor) -> None:
    for _ in range(300):
        with contextlib.suppress(aiohttp.ClientError):
            async with running.http.get(f"{running.prometheus}/-/ready") as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise AssertionError("Prometheus did not start")
