"""There is one way in: whatever takes deliveries opens it, so all obey the same settings."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import callkpi
from callkpi.ingest.opened import opened
from callkpi.ingest.spool import Spooled
from tests.world import World, test_settings

PARTS = {"Ingest", "Journal", "open_spool", "windows_of"}
BEGIN = datetime(2026, 11, 24, 9, tzinfo=UTC)


def pause(seconds: float) -> Spooled:
    body = {"Event": "QueueMemberPause", "Queue": "sales", "MemberName": "Dana", "Paused": "1", "PausedReason": "tea"}
    return Spooled("pbx", "application/json", BEGIN + timedelta(seconds=seconds), json.dumps(body).encode())


def test_nobody_else_puts_the_way_in_together() -> None:
    root = Path(callkpi.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PARTS
    }
    assert found == {"ingest/opened.py"}


@pytest.mark.parametrize(("window", "kept"), [(5, 2), (60, 1)])
async def test_a_repetition_is_told_by_the_time_that_its_source_has(world: World, window: float, kept: int) -> None:
    given = test_settings()
    source = replace(given.sources["pbx"], dedupe_seconds=window)
    async with opened(replace(given, sources={**given.sources, "pbx": source}), world.pool) as way_in:
        for seconds in (0, 3, 20):
            await way_in.ingest.take_spooled(pause(seconds))
    assert await world.pool.fetchval("SELECT count(*) FROM journal") == kept
