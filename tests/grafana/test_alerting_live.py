"""The whole way of an alert: a real daemon, a real Prometheus, a real Alertmanager with the shipped files, and somebody
who receives the messages. Only the pace is another one: every rule is evaluated each second and waits for eight.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from callkpi.database import embedded
from grafana.generator import alert_files, alert_model, alerts, writing
from tests.stand_ins.alert_files import ALERTMANAGER
from tests.stand_ins.daemon import CONFIG, Daemon, daemon, free_port
from tests.stand_ins.recent_calls import call
from tests.stand_ins.running import post, projected
from tests.stand_ins.truth import FILES
from tests.world import capture_lines

pytestmark = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("prometheus-alertmanager")),
    reason="Debian packages prometheus and prometheus-alertmanager are not installed",
)
PATIENCE = 60.0
#: Long enough that a busy machine's late scrapes, at the start above all, are no alarm.
HOLD = 8


class Inbox:
    """Receives what Alertmanager sends: chats, the pager, the watchdog."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []

    async def take(self, request: web.Request) -> web.Response:
        self.messages.append((request.match_info["who"], await request.json()))
        return web.json_response({"status": "success", "dedup_key": "1"}, status=202)

    def told(self, who: str, words: str = "") -> list[str]:
        """Texts that somebody got, those with the words in them."""
        texts = [json.dumps(body, ensure_ascii=False) for name, body in self.messages if name == who]
        return [text for text in texts if words in text]

    async def wait(self, who: str, words: str) -> str:
        await until(lambda: bool(self.told(who, words)), f"{who} is told {words!r}; so far {self.messages}")
        return self.told(who, words)[0]


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        await asyncio.sleep(0.1)


class Monitoring:
    """Prometheus and Alertmanager as shipped, beside a daemon."""

    def __init__(self, directory: Path, target: Daemon, database: embedded.Server) -> None:
        self.directory, self.target, self.database = directory, target, database
        self.inbox = Inbox()
        self.prometheus, self.alertmanager, self.receiver = free_port(), free_port(), free_port()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post("/{who}", self.inbox.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.receiver).start()
        commands = [
            ["prometheus", f"--config.file={self._prometheus_yml()}", f"--storage.tsdb.path={self.directory / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{self.prometheus}", "--log.level=warn",
             # The first alerts come before Prometheus has found Alertmanager, which takes it five seconds.
             "--rules.alert.resend-delay=1s"],
            ["prometheus-alertmanager", f"--config.file={self._alertmanager_yml()}",
             f"--storage.path={self.directory / 'alertmanager'}", "--cluster.listen-address=", "--log.level=warn",
             f"--web.listen-address=127.0.0.1:{self.alertmanager}"],
        ]  # fmt: skip
        processes = [subprocess.Popen(command) for command in commands]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)
            await runner.cleanup()

    def _prometheus_yml(self) -> Path:
        rules = alerts.paced(alerts.groups(), interval="1s", hold=f"{HOLD}s", keep="3s")
        (self.directory / "callkpi.rules.yaml").write_text(writing.to_yaml(alert_files.prometheus_rules(rules)))
        text = (writing.ROOT / "prometheus" / "prometheus.yml").read_text()
        for shipped, here in (
            ("alertmanager:9093", f"127.0.0.1:{self.alertmanager}"),
            # Two replicas that say the same.
            ('"callkpi:8090"', f'"127.0.0.1:{self.target.port}", "localhost:{self.target.port}"'),
            ("_interval: 15s", "_interval: 1s"),
            ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        path = self.directory / "prometheus.yml"
        path.write_text(text)
        return path

    def _alertmanager_yml(self) -> Path:
        secrets = self.directory / "secrets"
        secrets.mkdir()
        here = f"http://127.0.0.1:{self.receiver}"
        for name in ("floor", "telephony", "ops"):
            (secrets / f"{name}_chat_url").write_text(f"{here}/{name}")
        (secrets / "pager_key").write_text("key of the pager")
        (secrets / "watchdog_token").write_text("token of the watchdog")
        text = ALERTMANAGER.read_text()
        for shipped, local in (
            ("/run/secrets/alertmanager/", f"{secrets}/"),
            ("/etc/alertmanager/", f"{ALERTMANAGER.parent}/"),
            ("https://watchdog.example.org/callkpi", f"{here}/watchdog"),
            ("global:\n", f"global:\n  pagerduty_url: {here}/pager\n"),
        ):
            assert shipped in text
            text = text.replace(shipped, local)
        path = self.directory / "alertmanager.yml"
        path.write_text(re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", text))
        return path

    async def query(self, expression: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/query"
        async with aiohttp.ClientSession() as session, session.post(url, data={"query": expression}) as answer:
            body = await answer.json()
        assert body["status"] == "success", (expression, body)
        return body["data"]["result"]  # type: ignore[no-any-return]

    async def sees(self, expression: str) -> None:
        """Wait until an expression has a result."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if await self.query(expression):
                    return
            assert time.monotonic() < deadline, f"Prometheus never saw {expression}"
            await asyncio.sleep(0.2)


@pytest.fixture
async def watched(data_dir: Path, tmp_path: Path) -> AsyncIterator[Monitoring]:
    # A server of its own: the daemon would start an embedded one again at once.
    here = Path(tempfile.mkdtemp(dir=data_dir))
    here.chmod(0o755)
    database = await asyncio.to_thread(embedded.start, here / "database")
    settings = f'{CONFIG}\n[database]\nurl = "{database.dsn}"\n'
    try:
        async with daemon(here / "daemon", config=settings) as target:
            monitoring = Monitoring(tmp_path, target, database)
            async with monitoring.running():
                yield monitoring
    finally:
        await asyncio.to_thread(database.stop)


async def tell(target: Daemon, calls: Iterable[list[dict[str, Any]]]) -> None:
    headers = {"Authorization": "Bearer native-secret"}
    events = [event for told in calls for event in told]
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{target.url}/hooks/native", json=events) as answer,
    ):
        assert answer.status == 200, await answer.text()
    await projected(target)


def traffic(name: str, at: datetime, *, answered: int, missed: int) -> list[list[dict[str, Any]]]:
    return [call(f"{name}a{n}", at, answered=5) for n in range(answered)] + [
        call(f"{name}m{n}", at, wait=50, customer=f"+7701555{n:04}") for n in range(missed)
    ]


async def test_from_missed_calls_to_a_message_and_nothing_else(watched: Monitoring) -> None:
    inbox, now = watched.inbox, datetime.now(UTC)
    await inbox.wait("watchdog", "CallkpiWatchdog")

    # Yesterday's disaster is replayed: counters leap, nobody is told.
    await tell(watched.target, traffic("old", now - timedelta(days=1), answered=10, missed=80))
    await watched.sees('sum(callkpi_calls_missed_total{queue="sales",reason="abandoned"}) >= 80')
    await asyncio.sleep(HOLD + 4)
    assert inbox.told("floor") == []

    # Today's: nine of twelve.
    await tell(watched.target, traffic("new", now - timedelta(minutes=2), answered=3, missed=9))
    text = await inbox.wait("floor", "acme, queue sales: 9 callers missed in the last half hour")
    assert "First: Look who is free or paused" in text and "Since " in text
    assert "/handbook/alerts/missed-call-spike" in text
    await asyncio.sleep(4)
    # Two replicas, one message; who hung up waiting is among the missed and not told again; no numbers.
    assert len(inbox.told("floor", "callers missed in the last half hour")) == 1
    assert inbox.told("floor", "hung up waiting") == []
    assert await watched.query('ALERTS{alertname="CallkpiAbandonedInQueue",alertstate="firing"}')
    assert "7701555" not in json.dumps(inbox.messages)
    assert inbox.told("pager") == [] and inbox.told("ops") == []

    # The database goes: that is told, and not that the daemon is down.
    await asyncio.to_thread(watched.database.stop)
    page = await inbox.wait("pager", "callkpi does not reach its database")
    assert json.loads(page)["event_action"] == "trigger" and json.loads(page)["routing_key"] == "key of the pager"
    await inbox.wait("ops", "callkpi does not reach its database")
    assert await watched.query("max(up) == 1 and max(callkpi_database_up) == 0")
    assert inbox.told("pager", "callkpi is down") == []

    # Then the daemon.
    assert watched.target.process is not None
    os.killpg(watched.target.process.pid, signal.SIGKILL)
    await inbox.wait("pager", "callkpi is down")
    await asyncio.sleep(3)
    others = [text for who in ("floor", "telephony") for text in inbox.told(who, "CRITICAL")]
    assert others == []


async def test_every_expression_runs_and_grafana_decides_the_same(watched: Monitoring) -> None:
    async with aiohttp.ClientSession() as session:
        assert await post(session, watched.target, capture_lines(FILES["pbx"]))
    now = datetime.now(UTC)
    for weeks in (0, 1, 2):
        at = now - timedelta(weeks=weeks, minutes=2)
        await tell(watched.target, traffic(f"week{weeks}", at, answered=9 - 3 * weeks, missed=9))
    await tell(watched.target, [call("waits", now - timedelta(seconds=90), over=False)])
    await watched.sees("queue:callkpi_usual_missed:ratio")
    await watched.sees('ALERTS{alertname="CallkpiMissedCallSpike",alertstate="firing"}')
    await watched.sees("source:callkpi_source_silence_seconds:limit")
    for record in (record for group in alerts.groups() for record in group.records):
        result = await watched.query(record.name)
        # What the days before were like is not known yet.
        assert result or record.name.endswith((":days", ":weeks")), record.name
        level = record.name.partition(":")[0]
        assert all(level in item["metric"] or level == "queue" for item in result), record.name
    decided = 0
    for alert in alerts.all_alerts():
        firing = {labels(item) for item in await watched.query(alert.expr)}
        measured = await watched.query(alert.measured)
        over = {labels(item) for item in measured if beyond(alert, float(item["value"][1]))}
        assert over == firing, alert.name
        decided += len(firing)
    assert decided >= 4


def labels(item: dict[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in item["metric"].items() if key != "__name__")


def beyond(alert: alert_model.Alert, value: float) -> bool:
    return value > alert.above if alert.above is not None else value < (alert.below or 0)
