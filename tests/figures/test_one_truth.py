"""One night, one truth: the summary, its intervals, its calls, the API, the terminal, SQL and Prometheus say the same.

The shift begins before midnight and ends after it, and in between the clocks go back: it has nine hours. The traffic is
a simulated shift by Asterisk and Bitrix24 and a recording of a real PBX, some of it told late.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from callkpi.commands.simulator import Delivery, Profile, shift
from callkpi.database import embedded
from tests.stand_ins.daemon import Daemon, daemon, free_port
from tests.world import capture_lines, retimed

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="Debian's package prometheus is not installed")

#: Berlin, 22:00 summer time to 06:00 winter time.
BEGIN, END = datetime(2026, 10, 24, 20, tzinfo=UTC), datetime(2026, 10, 25, 5, tzinfo=UTC)
CONFIG = """
[tenants.acme]
timezone = "Europe/Berlin"
region = "KZ"

[tenants.acme.shifts.night]
hours = "22:00-06:00"

[sources.pbx]
kind = "asterisk"
tenant = "acme"
token = "pbx-secret"

[sources.portal]
kind = "bitrix24"
tenant = "acme"
application_tokens = ["demo"]
"""
LATE_SHARE = 0.04
WINDOW = {"from": BEGIN.isoformat(), "to": END.isoformat()}
COUNTS = ("offered", "answered", "handled", "missed", "abandoned", "timed_out", "open", "expired", "made", "reached")


def traffic() -> list[Delivery]:
    """Everything that is told before the end of the shift; what goes on then has no end."""
    simulated = []
    for delivery in shift(7, BEGIN, Profile(queue_calls_per_hour=60, direct_calls_per_hour=15)):
        if delivery.at >= END:
            break
        simulated.append(delivery)
    recorded = [
        Delivery(datetime.fromtimestamp(json.loads(line)["received_at"], UTC), "pbx", "application/json", line.encode())
        for line in retimed(capture_lines("asterisk/events.jsonl.gz"), BEGIN + timedelta(hours=4))
    ]
    return sorted([*simulated, *recorded], key=lambda delivery: delivery.at)


def told_late(deliveries: Sequence[Delivery]) -> tuple[list[Delivery], list[Delivery]]:
    rng = random.Random(3)
    late = [delivery for delivery in deliveries if rng.random() < LATE_SHARE]
    kept = set(map(id, late))
    return [delivery for delivery in deliveries if id(delivery) not in kept], late[::-1]


def together(deliveries: Sequence[Delivery]) -> Iterator[Delivery]:
    """AMI events that follow one another as one request, as a forwarder sends them."""
    for source, group in itertools.groupby(deliveries, lambda delivery: delivery.source):
        found = list(group)
        if source == "pbx":
            for at in range(0, len(found), 40):
                body = b"\n".join(delivery.body for delivery in found[at : at + 40])
                yield found[at]._replace(body=body)
        else:
            yield from found


@contextlib.asynccontextmanager
async def prometheus(target: Daemon, directory: Path) -> AsyncIterator[str]:
    """A real Prometheus that scrapes the daemon each second."""
    port = free_port()
    settings = directory / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: callkpi, static_configs: [{{targets: ['127.0.0.1:{target.port}']}}]}}]\n"
    )
    command = [
        "prometheus", f"--config.file={settings}", f"--storage.tsdb.path={directory / 'tsdb'}", "--log.level=error",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    process = subprocess.Popen(command)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


class Night:
    """The daemon, and everybody who can be asked about it."""

    def __init__(self, target: Daemon, prometheus: str, http: aiohttp.ClientSession) -> None:
        self.target, self.prometheus, self.http = target, prometheus, http

    async def send(self, deliveries: Sequence[Delivery]) -> None:
        tokens = {"pbx": "pbx-secret"}
        for delivery in together(deliveries):
            headers = {"Content-Type": delivery.content_type}
            if delivery.source in tokens:
                headers["Authorization"] = f"Bearer {tokens[delivery.source]}"
            url = f"{self.target.url}/hooks/{delivery.source}"
            async with self.http.post(url, data=delivery.body, headers=headers) as answer:
                assert answer.status == 200, await answer.text()

    async def json(self, path: str, **parameters: str) -> Any:
        async with self.http.get(self.target.url + path, params=parameters) as answer:
            assert answer.status == 200, (path, await answer.text())
            return await answer.json()

    async def calm(self) -> None:
        """Everything is projected, and Prometheus has seen it."""
        deadline = time.monotonic() + 60
        while await self.metric("callkpi_projector_pending_groups") != 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        counted = await self.metric("callkpi_calls_ended_total")
        while (await self.promql("sum(callkpi_calls_ended_total)")).get("") != counted:
            assert time.monotonic() < deadline, "Prometheus has not seen it"
            await asyncio.sleep(0.2)

    async def metric(self, name: str) -> float:
        async with self.http.get(f"{self.target.url}/metrics") as answer:
            page = await answer.text()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((name + " ", name + "{"))
        )

    async def sql(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(embedded.dsn(self.target.directory / "data"))
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def promql(self, query: str) -> dict[str, float]:
        """Values by the label ``outcome``."""
        async with self.http.get(f"{self.prometheus}/api/v1/query", params={"query": query}) as answer:
            told = (await answer.json())["data"]["result"]
        return {sample["metric"].get("outcome", ""): float(sample["value"][1]) for sample in told}


@pytest.fixture(scope="module")
async def night() -> AsyncIterator[Night]:
    directory = Path(tempfile.mkdtemp(prefix="callkpi-truth-"))
    directory.chmod(0o755)
    try:
        async with (
            daemon(directory / "daemon", config=CONFIG) as target,
            prometheus(target, directory) as address,
            aiohttp.ClientSession() as http,
        ):
            night = Night(target, address, http)
            in_time, late = told_late(traffic())
            await night.send(in_time)
            await night.send(late)
            await night.calm()
            yield night
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
async def summary(night: Night) -> Any:
    return await night.json("/reports/shift/acme/night/2026-10-24.json")


async def all_calls(night: Night) -> list[dict[str, Any]]:
    """Every call of the night, in windows that the API answers whole."""
    found = []
    at = BEGIN
    while at < END:
        until = at + timedelta(minutes=30)
        answer = await night.json("/api/v1/calls", **{"from": at.isoformat(), "to": until.isoformat(), "limit": "1000"})
        found += answer["calls"]
        at = until
    return found


def test_the_night_has_nine_hours_and_begins_on_the_24th(summary: Any) -> None:
    assert (summary["period"]["begin"], summary["period"]["end"]) == (BEGIN.isoformat(), END.isoformat())
    assert summary["figures"]["offered"] > 400 and summary["figures"]["missed"] > 40


def test_the_summary_is_the_sum_of_its_intervals(summary: Any) -> None:
    for name in ("offered", "answered", "missed"):
        assert sum(interval[name] for interval in summary["intervals"]) == summary["figures"][name], name
    hours = (END - BEGIN) / timedelta(hours=1)
    assert sum(1 for _ in summary["intervals"]) in (hours * 4, hours * 2, hours)


async def test_the_summary_is_the_aggregate_over_its_calls(night: Night, summary: Any) -> None:
    """Counted by hand from the calls, without a formula of ours."""
    calls = await all_calls(night)
    inbound = [call for call in calls if call["direction"] == "inbound"]
    outcomes = Counter(call["outcome"] for call in inbound)
    figures = summary["figures"]
    assert figures["offered"] == len(inbound) - outcomes["after_hours"]
    assert figures["answered"] == sum(call["answered_at"] is not None for call in inbound)
    for figure in ("abandoned", "timed_out", "open", "expired", "exited", "no_answer", "busy", "rejected", "failed"):
        assert figures[figure] == outcomes[figure], figure
    assert figures["made"] == sum(call["direction"] == "outbound" for call in calls)
    waits = [call["wait_seconds"] for call in inbound if call["answered_at"] and call["wait_seconds"] is not None]
    assert figures["asa_seconds"] == pytest.approx(sum(waits) / len(waits))
    agents = Counter(
        leg["agent"] for call in calls if call["direction"] in ("inbound", "outbound")
        for leg in call["legs"] if leg["end"] == "answered"
    )  # fmt: skip
    told = {line["agent"]: line["figures"]["handled"] for line in summary["agents"] if line["figures"]["handled"]}
    assert told == agents


async def test_prometheus_has_counted_the_same_calls(night: Night, summary: Any) -> None:
    """Counters only grow: what late events took back is told apart. The rest are the stays that the summary sums up."""
    rows = await night.sql(
        "SELECT outcome, queue <> '' AS queued, sum(contacts)::int AS stays, sum(offered)::int AS offered "
        "FROM callkpi.rollups WHERE grain = 'entry' GROUP BY 1, 2"
    )
    stays: Counter[str] = Counter()
    for row in rows:
        stays[row["outcome"]] += row["stays"]
    series = "max by (queue, line, direction, outcome)"
    ended = await night.promql(f"sum by (outcome) ({series} (callkpi_calls_ended_total))")
    back = await night.promql(
        'sum by (outcome) (label_replace(callkpi_calls_reclassified_total, "outcome", "$1", "from", "(.*)"))'
    )
    assert ended["abandoned"] > 20 and back["abandoned"] > 0
    for outcome in ended:
        assert ended[outcome] - back.get(outcome, 0) == stays[outcome], outcome
    offered = await night.promql(f"sum({series} (callkpi_calls_offered_total))")
    assert offered[""] - back.get("offered", 0) == sum(row["offered"] for row in rows)
    queued = sum(row["offered"] for row in rows if row["queued"])
    assert queued == sum(line["figures"]["offered"] for line in summary["queues"])
    handled = await night.promql("sum(callkpi_agent_handled_total)")
    assert handled[""] == sum(line["figures"]["handled"] for line in summary["agents"])


async def test_the_api_the_terminal_and_sql_say_the_same(night: Night, summary: Any) -> None:
    api = await night.json("/api/v1/kpi", by="direction", **WINDOW)
    for name in COUNTS:
        assert api["total"][name] == summary["figures"][name], name

    command = [sys.executable, "-m", "callkpi", "report", "--by", "queue", "--json", "--from", BEGIN.isoformat()]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--to", END.isoformat()], env=night.target.environment, capture_output=True,
        check=True, cwd="/",
    )  # fmt: skip
    terminal = {row["queue"]: row for row in json.loads(done.stdout)["rows"]}
    assert {line["queue"]: line["figures"] for line in summary["queues"]} == {
        queue: {key: value for key, value in row.items() if key != "queue"} for queue, row in terminal.items()
    }

    (row,) = await night.sql("SELECT * FROM callkpi_views.kpi('acme', $1, $2)", BEGIN, END)
    assert {name: row[name] for name in COUNTS} == {name: summary["figures"][name] for name in COUNTS}


async def test_a_figure_opens_to_as_many_calls(night: Night, summary: Any) -> None:
    for outcome in ("abandoned", "timed_out"):
        answer = await night.json("/api/v1/calls", outcome=outcome, direction="inbound", limit="1000", **WINDOW)
        assert len(answer["calls"]) == summary["figures"][outcome]
