"""The recorded night and its truth."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.world import CAPTURES, World

BEGIN, END = datetime(2026, 11, 23, 18, tzinfo=UTC), datetime(2026, 11, 23, 21, tzinfo=UTC)

TRUTH: dict[str, Any] = json.loads((CAPTURES / "asterisk" / "truth.json").read_text())

FILES = {"pbx": "asterisk/events.jsonl.gz", "qlog": "asterisk/queue_log"}

#: AMI has no time of an exit by key but the event's own; queue_log has it in whole seconds of another clock read.
SECONDS_APART = {"pbx": 1, "qlog": 0}


async def expect_truth(world: World, source: str, *, exact_waits: bool = False) -> None:
    """*exact_waits*: where Asterisk tells its own times a wait is no whole number of seconds, as the truth's are."""
    queues = await world.kpi("queue", BEGIN, END)
    assert queues.keys() == TRUTH["queues"].keys()
    for name, truth in TRUTH["queues"].items():
        row = queues[name]
        told = {
            "entered": row["offered"],
            "answered": row["answered"],
            "abandon": row["abandoned"] + row["short_abandoned"],
            "exitwithkey": row["exited"],
            "exitwithtimeout": row["timed_out"],
            "talk_s": row["talk_seconds"],
        }
        assert told == {key: truth.get(key, 0) for key in told}, name
        slack = 1 if exact_waits else 0
        assert row["longest_wait_seconds"] == pytest.approx(truth["max_wait_s"], abs=slack)
        waited = pytest.approx(truth.get("wait_answered_s", 0), abs=slack * truth.get("answered", 0))
        assert row["wait_answered_seconds"] == waited, name
        left = sum(truth.get(f"wait_{how}_s", 0) for how in ("abandon", "exitwithkey", "exitwithtimeout"))
        slack = slack * row["missed"] + SECONDS_APART[source] * truth.get("exitwithkey", 0)
        assert row["wait_seconds"] - row["wait_answered_seconds"] == pytest.approx(left, abs=slack)
    agents = await world.kpi("agent", BEGIN, END)
    for name, truth in TRUTH["agents"].items():
        row = agents[name]
        assert row["handled"] == row["answered"] == truth["answered"], name
        assert row["ring_no_answer"] == truth["ringnoanswer"], name
        assert row["talk_seconds"] == truth["talk_s"], name
        counted = (row["pauses"], row["resumes"], row["logins"])
        assert counted == (truth["pause"], truth["unpause"], truth["addmember"]), name
