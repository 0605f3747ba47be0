"""Phones behind Local channels, recorded: every figure that a source can tell is what the phones saw."""

from __future__ import annotations

import random

import pytest

from callkpi.calls.model import Call
from tests.stand_ins.phones_truth import CRASH, RUN, figures, seen, told
from tests.world import World, capture_lines

#: Nobody tells when an exchange was killed: a talk that was cut off by it counts, and its length is not known. CEL says
#: nothing at all of a start, so there what went on stays open until it expires.
CANT_TELL = {
    "ami": {"600 talk", "Bolat talk"},
    "queue_log": {"600 talk"},
    "cel": {"600 talk", "Bolat talk", "open"},
}


@pytest.mark.parametrize("source", CANT_TELL)
def test_every_figure_is_what_the_phones_saw(source: str) -> None:
    assert [figure for figure in figures(RUN, source) if not figure.is_right] == []


@pytest.mark.parametrize("source", CANT_TELL)
def test_after_a_crash_nobody_waits_or_talks_who_did_before(source: str) -> None:
    wrong = {figure.name for figure in figures(CRASH, source) if not figure.is_right}
    assert wrong == CANT_TELL[source]


@pytest.mark.parametrize("source", ["ami", "cel"])
def test_the_order_of_arrival_and_repetitions_change_nothing(source: str) -> None:
    payloads = told(RUN, source)
    mixed = payloads + random.Random(5).sample(payloads, len(payloads) // 4)
    random.Random(6).shuffle(mixed)
    assert by_id(seen(mixed, {}).calls) == by_id(seen(payloads, {}).calls)


def by_id(calls: list[Call]) -> dict[str, tuple[object, ...]]:
    return {c.call_id: (c.direction, c.customer, c.outcome, c.entries, c.legs, c.ended_at) for c in calls}


@pytest.mark.parametrize("file", ["events.jsonl.gz", "queue_log"])
async def test_at_the_end_nothing_is_open_and_members_are_there(world: World, file: str) -> None:
    source = "qlog" if file == "queue_log" else "pbx"
    await world.send_lines(source, capture_lines(f"{RUN}/{file}"), chunk=97)
    await world.send_lines(source, capture_lines(f"{CRASH}/{file}"), chunk=11)
    await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'open'") == 0
    rows = await world.pool.fetch("SELECT agent, queue, state FROM agent_states WHERE queue <> ''")
    assert {(row["agent"], row["queue"]) for row in rows} >= {("Marat", "601"), ("Dana", "600"), ("Dana", "601")}
    assert {row["state"] for row in rows} == {"available"}
    assert await world.findings() == []
