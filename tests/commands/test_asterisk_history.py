"""What Asterisk's own records tell of the recorded run, beside the truth: how much of it, and that it is equal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callkpi.commands.history import read
from callkpi.daemon.processes import Failed
from callkpi.ingest.door import Ingest
from tests.stand_ins.truth import BEGIN, END, TRUTH
from tests.world import CAPTURES, World, capture_lines, sample

NAMES = {"Aigerim": "1001", "Bolat": "1002", "Dana": "1003", "Erlan": "1004", "Zhanna": "1005", "Marat": "1006"}


async def load(world: World, name: str) -> None:
    rows = list(read(CAPTURES / "asterisk" / name))
    utc = replace(world.settings.sources["pbx"], timezone="UTC")
    settings = replace(world.settings, sources={**world.settings.sources, "pbx": utc})
    ingest = Ingest(settings, world.pool, world.journal, world.health)
    for _ in range(2):  # the same file again changes nothing
        told = await ingest.take_fetched("pbx", rows, datetime.now(UTC), is_voice=False, counted=False)
        assert told.rejected == 0
    await world.project()


QUEUES = ("entered", "answered", "abandon", "exitwithkey", "exitwithtimeout", "talk_s", "wait_answered_s")
AGENTS = ("answered", "ringnoanswer", "talk_s")
Figures = dict[tuple[str, str], float]


async def figures(world: World) -> Figures:
    """Of queues, and of agents in queues."""
    result: Figures = {}
    for name, row in (await world.kpi("queue", BEGIN, END)).items():
        told = (
            row["offered"], row["answered"], row["abandoned"] + row["short_abandoned"], row["exited"],
            row["timed_out"], row["talk_seconds"], row["wait_answered_seconds"],
        )  # fmt: skip
        result |= {(name, key): value for key, value in zip(QUEUES, told, strict=True)}
    for queue in TRUTH["queues"]:
        for name, row in (await world.kpi("agent", BEGIN, END, queue=queue)).items():
            for key, value in zip(AGENTS, (row["answered"], row["ring_no_answer"], row["talk_seconds"]), strict=True):
                result[name, key] = result.get((name, key), 0) + value
    return result


def truth() -> Figures:
    told = {(name, key): row.get(key, 0) for name, row in TRUTH["queues"].items() for key in QUEUES}
    return told | {(NAMES[name], key): row[key] for name, row in TRUTH["agents"].items() for key in AGENTS}


async def test_cel_tells_what_the_queue_log_tells_but_for_a_second_and_for_why_rings_ended(world: World) -> None:
    await load(world, "cel.csv.gz")
    found, true = await figures(world), truth()
    off = {key: found.get(key, 0) - value for key, value in true.items() if found.get(key, 0) != value}
    for (name, key), amount in off.items():
        if key == "ringnoanswer":
            assert -4 <= amount <= 0, name  # a ring that ends in the second in which another one is answered
        else:
            assert key in ("abandon", "exitwithtimeout", "talk_s", "wait_answered_s"), (name, key)
            assert abs(amount) <= 2, (name, key)
    assert len(off) / len(true) < 0.35
    for key in ("entered", "answered", "exitwithkey"):
        assert not any(figure == key for _, figure in off)
    directions = await world.kpi("direction", BEGIN, END)
    assert (directions["inbound"]["offered"], directions["outbound"]["made"]) == (300, 80)
    lines = await world.kpi("line", BEGIN, END)
    assert lines["7172700400"]["offered"] == 24
    assert await world.findings() == []
    assert not sample(await world.metrics(), "callkpi_calls_offered_total", queue="sales")  # history


async def test_cdr_tells_who_was_answered_by_whom_and_of_queues_neither_waits_nor_reasons(world: World) -> None:
    await load(world, "cdr.csv.gz")
    found, true = await figures(world), truth()
    for (name, key), value in true.items():
        if key == "answered":
            assert found[name, key] == value, name
        elif key == "entered":  # who left by a key or was transferred into it has no record of the queue
            assert value - true[name, "exitwithkey"] - 2 <= found[name, key] <= value, (name, found[name, key])
        else:
            assert found.get((name, key), 0) == 0, (name, key)
    rows = await world.kpi("queue", BEGIN, END)
    for name, row in rows.items():
        assert row["expired"] == found[name, "entered"] - found[name, "answered"]
        assert row["missed"] == 0
    assert await world.findings() == []


async def test_what_was_heard_live_is_better_than_its_records(world: World) -> None:
    await world.send_lines("pbx", capture_lines("asterisk/events.jsonl.gz"))
    await world.project()
    before = await world.kpi("queue", BEGIN, END), await world.kpi("agent", BEGIN, END)
    await load(world, "cel.csv.gz")
    assert (await world.kpi("queue", BEGIN, END), await world.kpi("agent", BEGIN, END)) == before


def test_a_file_that_is_neither_is_refused_with_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("a,b,c\n1,2,3\n")
    with pytest.raises(Failed, match="names of the columns"):
        list(read(path))


def test_columns_are_found_by_their_titles(tmp_path: Path) -> None:
    path = tmp_path / "cel.csv"
    titles = "uniqueid,linkedid,eventtype,eventtime,channel,context,exten,application,appargs"
    path.write_text(f"{titles}\n1.1,1.1,HANGUP,1795461703.5,PJSIP/x-1,,,,\n")
    told = {"uniqueid": "1.1", "linkedid": "1.1", "eventtype": "HANGUP", "eventtime": "1795461703.5"}
    assert list(read(path)) == [{**told, "channame": "PJSIP/x-1", "seq": "1"}]
