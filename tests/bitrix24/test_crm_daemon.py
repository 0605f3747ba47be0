"""The call funnel written by a real daemon: killed in the middle of an add, and deaf to what the portal tells of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stand_ins.daemon import CONFIG, Daemon
from tests.stand_ins.portal import SECRET, Portal
from tests.world import sample

NOW = datetime.now(UTC).replace(microsecond=0)
DANA = "+77011234567"
RATE = 10.0


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    async with Portal(rate=RATE, bucket=RATE * 25).serving() as portal:
        yield portal


def config_for(portal: Portal, **funnel: Any) -> str:
    source = {"rest_url": portal.url, "requests_per_second": RATE, "reconcile_seconds": 5, "nightly_at": "00:00"}
    told = {"enabled": True, "dry_run": False, "every_seconds": 5, **funnel}
    lines = [f"{key} = {json.dumps(value)}" for key, value in source.items()]
    return "\n".join([CONFIG, *lines, "[sources.portal.funnel]", *(f"{k} = {json.dumps(v)}" for k, v in told.items())])


async def call(target: Daemon, call_id: str, minutes_ago: float, **facts: Any) -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    common = {"call_id": call_id, "customer": DANA, "line": "7172"}
    started = {**common, "kind": "started", "at": at.isoformat(), "direction": facts.pop("direction", "inbound")}
    answered = [{**common, "kind": "answered", "at": at.isoformat(), "agent": "1003"}] if facts.get("answered") else []
    cause = "answered" if answered else "no_answer"
    ended = {**common, "kind": "ended", "at": (at + timedelta(seconds=30)).isoformat(), "cause": cause}
    headers = {"Authorization": "Bearer native-secret"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{target.url}/hooks/native", json=[started, *answered, ended]) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def until(is_so: Callable[[], Any], target: Daemon, seconds: float = 30) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not is_so():
        assert asyncio.get_running_loop().time() < deadline, target.log.read_text()[-4000:]
        await asyncio.sleep(0.01)


async def metrics(target: Daemon) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{target.url}/metrics") as answer:
        return await answer.text()


def command(target: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callkpi", *arguments], env=target.environment, capture_output=True, text=True,
        check=False, cwd="/",
    )  # fmt: skip


async def test_killed_while_a_deal_is_added_there_is_one_and_it_goes_its_way(data_dir: Path, portal: Portal) -> None:
    target = Daemon(data_dir / "crm", config=config_for(portal))
    portal.crm.door = f"{target.url}/hooks/portal"
    await target.start()
    await until(lambda: len(portal.crm.stages) == 8 + 4, target)
    portal.slow_seconds = 0.5
    await call(target, "m1", 20)
    await until(lambda: portal.requests["crm.item.add"], target)
    await asyncio.sleep(0.1)
    target.kill()
    assert portal.crm.items == {}  # The portal was still at it …
    await asyncio.sleep(1)
    (deal,) = portal.crm.items.values()  # … and did it all the same.
    portal.slow_seconds = 0.0
    await target.start()
    try:
        await call(target, "b1", 10, direction="outbound")
        await until(lambda: deal["stageId"].endswith(":KPI_CALLED_BACK"), target)
        await call(target, "b2", 5, direction="outbound", answered=True)
        await until(lambda: deal["stageId"].endswith(":WON"), target)
        assert len(portal.crm.items) == 1 == portal.requests["crm.item.add"]
        await portal.crm.told()
        await asyncio.sleep(1.5)
        page = await metrics(target)
        place = {"tenant": "acme", "source": "portal"}
        assert sample(page, "callkpi_crm_written_total", action="found", **place) == 1
        assert sample(page, "callkpi_crm_written_total", action="moved", **place) == 2
        assert sample(page, "callkpi_crm_echoes_total", **place) == updates(portal)
        assert sample(page, "callkpi_crm_backlog", **place) == 0
        assert sample(page, "callkpi_ingest_rejected_waiting", source="portal") == 0
        told = command(target, "doctor").stdout
        assert "portal: the call funnel was compared last" in told
        assert told.endswith("Rollups equal calls, calls equal the journal.\n")
        assert SECRET not in target.log.read_text() and DANA not in target.log.read_text()
    finally:
        assert target.stop() == 0


def updates(portal: Portal) -> int:
    return sum(method == "crm.item.update" for method, _ in portal.crm.changes)


async def test_a_dry_run_from_the_command_line_and_what_is_wrong_in_one_line(data_dir: Path, portal: Portal) -> None:
    target = Daemon(data_dir / "crm-dry", config=config_for(portal, dry_run=True))
    await target.start()
    try:
        await call(target, "m1", 20)
        await until(lambda: '"would": "add", "stage": "NEW"' in target.log.read_text(), target)
        run = await asyncio.to_thread(command, target, "crm-funnel", "--source", "portal", "--dry-run")
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines()[0] == 'would make the pipeline "Call funnel" and set up its stages'
        assert run.stdout.splitlines()[-1] == "1 items to add, 0 to change; nothing was sent."
        assert portal.crm.changes == []
        portal.crm.scopes.remove("crm")
        run = await asyncio.to_thread(command, target, "crm-funnel", "--source", "portal", "--dry-run")
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.count("\n") == 1 and "lacks the right crm: tick it in its settings" in run.stderr
        run = await asyncio.to_thread(command, target, "crm-funnel", "--source", "pbx", "--dry-run")
        assert "'pbx' is no source with a REST address; those are: portal" in run.stderr
    finally:
        target.stop()


@pytest.mark.parametrize(
    ("funnel", "words"),
    [
        ("enabled = true", "sources.p.funnel.enabled: needs rest_url"),
        ('enabled = "perhaps"', "sources.p.funnel.enabled: must be true or false, not 'perhaps'"),
        ('items = "all"', "sources.p.funnel.items: 'all' is none of missed, offered"),
        ('pipeline = " "', "sources.p.funnel.pipeline: must have 1 to 100 characters"),
        ("every_seconds = 1", "sources.p.funnel.every_seconds: must be at least 5"),
        ("lookback_hours = 9000", "sources.p.funnel.lookback_hours: must be above 0, at most 744"),
        ('responsible = {"sales" = "58"}', "responsible.sales: must be"),
        ('responsible = {"*" = "Dana"}', "responsible.*: 'Dana' must be the number of a user of the portal"),
    ],
)
def test_what_is_wrong_with_its_settings_is_said_with_the_key(tmp_path: Path, funnel: str, words: str) -> None:
    path = tmp_path / "callkpi.toml"
    path.write_text(f'[sources.p]\nkind = "bitrix24"\napplication_tokens = ["t"]\n[sources.p.funnel]\n{funnel}\n')
    run = [sys.executable, "-m", "callkpi", "check-config", "--config", str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, env=dict(os.environ), cwd=str(tmp_path))
    assert done.returncode == 2
    assert words in done.stderr
