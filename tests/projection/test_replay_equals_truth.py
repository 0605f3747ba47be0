"""Recorded traffic of a real Asterisk in, the truth that was counted beside it out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.stand_ins.truth import BEGIN, END, FILES, TRUTH, expect_truth
from tests.world import World, capture_lines


@pytest.mark.parametrize("source", FILES)
async def test_replay_equals_truth(world: World, source: str) -> None:
    await world.send_lines(source, capture_lines(FILES[source]))
    await world.project()
    await expect_truth(world, source)
    assert await world.findings() == []


@pytest.mark.parametrize("source", FILES)
async def test_replayed_twice_and_shuffled_it_is_the_same(world: World, source: str) -> None:
    lines = capture_lines(FILES[source])
    await world.send_lines(source, lines)
    await world.project()
    expected, counters = await world.tables(), await world.net_counters()
    await world.clear()
    shuffled = lines + random.Random(7).sample(lines, len(lines) // 3)
    random.Random(8).shuffle(shuffled)
    for begin in range(0, len(shuffled), 700):
        await world.send(source, "\n".join(shuffled[begin : begin + 700]))
        await world.projector.project_batch()
    await world.project()
    assert await world.tables() == expected
    assert await world.net_counters() == counters
    await expect_truth(world, source)


async def test_ami_and_queue_log_agree_on_every_outcome(world: World) -> None:
    outcomes = {}
    for source, file in FILES.items():
        await world.clear()
        await world.send_lines(source, capture_lines(file))
        await world.project()
        rows = await world.kpi("queue", BEGIN, END)
        same = ("offered", "answered", "missed", "abandoned", "short_abandoned", "timed_out", "exited",
                "within_service_level", "service_level", "missed_share", "transferred")  # fmt: skip
        outcomes[source] = {name: {key: row[key] for key in same} for name, row in rows.items()}
    assert outcomes["pbx"] == outcomes["qlog"]


async def test_filters_count_what_they_name(world: World) -> None:
    await world.send_lines("pbx", capture_lines(FILES["pbx"]))
    await world.project()
    sales = TRUTH["queues"]["sales"]
    lines = await world.kpi("line", BEGIN, END, queue="sales")
    assert sum(row["offered"] for row in lines.values()) == sales["entered"]
    agents = await world.kpi("agent", BEGIN, END, queue="sales")
    assert sum(row["answered"] for row in agents.values()) == sales["answered"]
    queues = await world.kpi("queue", BEGIN, END, agent="Dana")
    assert sum(row["handled"] for row in queues.values()) == TRUTH["agents"]["Dana"]["answered"]
    inbound = await world.kpi("agent", BEGIN, END, direction="inbound")
    assert inbound["Dana"]["talk_seconds"] == TRUTH["agents"]["Dana"]["talk_s"]


async def test_every_missed_call_has_a_fate(world: World) -> None:
    await world.send_lines("pbx", capture_lines(FILES["pbx"]))
    await world.project()
    row = (await world.kpi("direction", BEGIN, END))["inbound"]
    fates = row["reached_after_miss"] + row["self_served"] + row["still_waiting"] + row["written_off"]
    assert fates == row["missed"] > 0
    assert 0 < row["reached_after_miss"] <= row["called_back"]


async def test_calls_outside_of_queues_are_calls_too(world: World) -> None:
    await world.send_lines("pbx", capture_lines(FILES["pbx"]))
    await world.project()
    directions = await world.kpi("direction", BEGIN, END)
    assert directions["inbound"]["offered"] == 300
    assert directions["outbound"]["made"] == 80
    assert directions["outbound"]["reached"] + directions["outbound"]["not_reached"] == 80
    lines = await world.kpi("line", BEGIN, END)
    direct = lines["7172700400"]
    assert direct["offered"] == 24
    assert direct["answered"] + direct["missed"] == 24


def accounted(row: dict[str, Any]) -> int:
    """Offered entries by where they are: each in one place."""
    return row["handled"] - row["reached"] + row["missed"] + row["exited"] + row["open"] + row["expired"]


async def test_at_every_moment_each_offered_call_is_in_one_place(world: World) -> None:
    lines = capture_lines(FILES["pbx"])
    seen_open = 0
    for begin in range(0, len(lines), 1500):
        await world.send("pbx", "\n".join(lines[begin : begin + 1500]))
        await world.project()
        for by in ("queue", "direction"):
            answer = await world.figures(by, BEGIN, END)
            for row in (*answer["rows"], answer["total"]):
                if by == "queue" or row.get("direction") == "inbound":
                    assert row["offered"] == accounted(row), (begin, row)
        seen_open += sum(row["open"] + row["expired"] for row in answer["rows"])
    assert seen_open > 0
    assert accounted(answer["rows"][0]) == 300
