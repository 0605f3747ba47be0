"""Two short rounds of the campaign of faults (``python -m tests.faults`` runs all), and that it sees what is wrong."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.campaign import FAULTS, Limits, Round, chosen, run_round, table
from tests.faults.system import last_problem
from tests.faults.verdict import Examined, Stored, Told, examined, judge

GOOD = Stored(Counter({"a-0": 1, "a-1": 1, "b-0": 1}), 2, Counter({"call": 1}), {"rollups": 0})
TOLD = Told({"a-0", "a-1", "a-2", "b-0"}, {"a-0", "a-1"}, {"call"}, 3, 2)


@pytest.mark.parametrize("name", ["web_and_projector_killed", "postgres_killed"])
async def test_a_fault_loses_nothing_and_is_over_without_help(name: str, data_dir: Path) -> None:
    result = await run_round(1, FAULTS[name], "suite", data_dir / f"fault-{name}", Limits())
    assert result.problems == []
    assert not result.not_run
    assert (result.lost, result.double, result.differences) == (0, 0, 0)
    assert result.acknowledged > 50


def test_what_was_not_acknowledged_may_be_stored_or_not() -> None:
    assert judge(TOLD, GOOD).problems == ()


@pytest.mark.parametrize(
    ("stored", "lost", "double", "words"),
    [
        (replace(GOOD, events=Counter({"a-0": 1, "b-0": 1})), 1, 0, "1 acknowledged events are lost: a-1"),
        (replace(GOOD, events=GOOD.events + Counter(["b-0"])), 0, 1, "1 events are stored more than once: b-0"),
        (replace(GOOD, events=GOOD.events + Counter(["c-9"])), 0, 0, "1 events are stored that nobody sent: c-9"),
        (replace(GOOD, timeless=1), 1, 0, "1 acknowledged events without a time are lost"),
        (replace(GOOD, timeless=4), 0, 1, "1 events without a time are stored more than once"),
        (replace(GOOD, calls=Counter()), 0, 0, "1 acknowledged calls are not in the tables: call"),
        (replace(GOOD, calls=Counter({"call": 2})), 0, 0, "1 calls are in the tables more than once: call"),
        (replace(GOOD, ahead={"rollups": 7}), 0, 0, "rollups has 7 rows of a time to come"),
    ],
)
def test_what_is_wrong_is_said(stored: Stored, lost: int, double: int, words: str) -> None:
    judged = judge(TOLD, stored)
    assert (judged.lost, judged.double, judged.problems) == (lost, double, (words,))


def test_what_the_fault_itself_sent_may_be_set_aside_and_nothing_else() -> None:
    own = "call loud/poison-1: is set aside since 2026-11-30 22:30 UTC: more than 200 calls are linked to each other"
    other = "call other/other-call-1: is set aside since 2026-11-30 22:30 UTC: too much"
    assert examined(0, ["Rollups equal calls, calls equal the journal."]) == Examined(0, 0, ())
    assert examined(1, [own, "1 differences."]) == Examined(0, 1, ())
    seen = examined(1, [own, other, "2 differences."])
    assert (seen.differences, seen.set_aside) == (1, 1)
    assert other in seen.problems[0]
    assert examined(2, ["callkpi: the database does not answer"]).differences == 1


def test_a_seed_gives_the_same_faults_and_every_fault_before_one_comes_again() -> None:
    names = [fault.name for fault in chosen(7, 2 * len(FAULTS), [])]
    assert names == [fault.name for fault in chosen(7, 2 * len(FAULTS), [])]
    assert sorted(names[: len(FAULTS)]) == sorted(names[len(FAULTS) :]) == sorted(FAULTS)
    assert names != [fault.name for fault in chosen(8, 2 * len(FAULTS), [])]
    assert {fault.name for fault in chosen(7, 3, ["read_only"])} == {"read_only"}


def test_every_fault_says_in_a_sentence_what_it_is() -> None:
    assert all(fault.sentence.endswith(".") and len(fault.sentence) < 130 for fault in FAULTS.values())


def test_the_table_counts_what_did_not_run_apart() -> None:
    killed, full = FAULTS["web_killed"], FAULTS["disk_full"]
    rounds = [
        Round(1, killed, acknowledged=1200, up_again=3.0, longest_wait=4.0),
        Round(2, killed, ["1 acknowledged events are lost: a-1"], acknowledged=300, lost=1, up_again=2.0),
        Round(3, full, not_run="can't mount a tmpfs"),
    ]
    lines = table(rounds).splitlines()
    assert lines[2:] == [
        "| disk_full | 0 | 0 | 0 | 0 | 0.0 s | 0.0 s | 0 | 1 not run |",
        "| web_killed | 2 | 1,500 | 1 | 0 | 3.0 s | 4.0 s | 0 | 1 wrong |",
        "| all | 2 | 1,500 | 1 | 0 | 3.0 s | 4.0 s | 0 | 1 wrong, 1 not run |",
    ]


TRACEBACK = """Traceback (most recent call last):
  File "/x/callkpi/daemon.py", line 7, in child
    await run()
  File "/x/callkpi/projector.py", line 12, in run
    await it
  File "/x/site-packages/asyncpg/pool.py", line 3, in fetch
    raise it
asyncpg.X: too much"""


@pytest.mark.parametrize("text", [TRACEBACK, json.dumps({"event": "web.failed", "exception": TRACEBACK})])
def test_the_newest_place_in_our_own_code_is_named_as_the_cause(tmp_path: Path, text: str) -> None:
    log = tmp_path / "daemon.log"
    log.write_text(text + '\n{"event": "later"}\n')
    assert last_problem(log) == "daemon.py:7 > projector.py:12: asyncpg.X: too much"
    log.write_text("callkpi: a last word\n")
    assert last_problem(log) == "callkpi: a last word"
