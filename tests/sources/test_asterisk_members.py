"""A queue that gives a caller up: for a timeout, or because nobody was left. AMI tells the two apart by the members."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from tests.stand_ins.asterisk_events import T0, event
from tests.world import World

BEGIN, END = datetime.fromtimestamp(T0 - 3600, UTC), datetime.fromtimestamp(T0 + 3600, UTC)
DANA = "@sales MemberName=Dana Interface=PJSIP/1003"
ERLAN = "@sales MemberName=Erlan Interface=PJSIP/1004"
THERE = f"0 QueueMemberAdded {DANA} Paused=0 Status=1\n 0 QueueMemberAdded {ERLAN} Paused=0 Status=1\n"


def given_up(at: float, waited: int) -> str:
    return f"""
    {at - waited}   QueueCallerJoin     caller @sales Priority=4
    {at}            QueueCallerAbandon  caller @sales Priority=4 HoldTime={waited}
    {at + 0.001}    QueueCallerLeave    caller @sales Priority=4
    {at + 0.002}    SoftHangupRequest   caller Priority=5
    {at + 0.003}    Hangup              caller Priority=5
    """


def parsed(text: str) -> list[dict[str, str]]:
    return [event(line) for line in text.strip().splitlines() if line.strip()]


async def outcome(world: World) -> str:
    row = (await world.kpi("queue", BEGIN, END))["sales"]
    assert row["offered"] == row["missed"] == 1
    assert await world.findings() == []
    return "left_empty" if row["left_empty"] else "timed_out" if row["timed_out"] else "neither"


@pytest.mark.parametrize(
    ("members", "call", "expected"),
    [
        (THERE, given_up(60, 20), "timed_out"),
        (THERE, given_up(60, 1), "timed_out"),
        (THERE + f"50 QueueMemberPause {DANA} Paused=1", given_up(60, 20), "timed_out"),
        (THERE + f"50 QueueMemberPause {DANA} Paused=1\n 58 QueueMemberRemoved {ERLAN}",
         given_up(60, 20), "left_empty"),
        (THERE + f"50 QueueMemberPause {DANA} Paused=1\n 58 QueueMemberStatus {ERLAN} Paused=0 Status=5",
         given_up(60, 20), "left_empty"),
        (THERE + f"30 QueueMemberPause {DANA} Paused=1\n 30 QueueMemberPause {ERLAN} Paused=1\n"
         f"55 QueueMemberPause {DANA} Paused=0", given_up(60, 20), "timed_out"),
        (THERE + f"30 QueueMemberPause {DANA} Paused=1\n 30 QueueMemberPause {ERLAN} Paused=1",
         given_up(60, 20), "timed_out"),
        (THERE + f"30 QueueMemberPause {DANA} Paused=1\n 30 QueueMemberPause {ERLAN} Paused=1",
         given_up(60, 2), "left_empty"),
        ("0 QueueMemberAdded @support MemberName=Dana Interface=PJSIP/1003 Paused=0", given_up(60, 0), "left_empty"),
        ("0 QueueMemberAdded @support MemberName=Dana Interface=PJSIP/1003 Paused=0", given_up(60, 20), "timed_out"),
    ],
    ids=["two are there", "his time is short", "one is there", "the last one logs off", "the last one's phone is gone",
         "one comes back", "the queue keeps its callers", "enters when all pause", "nobody ever",
         "nobody ever, and the queue keeps its callers"],
)  # fmt: skip
async def test_why_the_queue_gave_the_caller_up(world: World, members: str, call: str, expected: str) -> None:
    await world.send_json("pbx", *parsed(members), *parsed(call))
    await world.project()
    assert await outcome(world) == expected


async def test_the_members_may_be_heard_of_before_or_after_the_call(world: World) -> None:
    pieces = [
        parsed(THERE),
        parsed(f"50 QueueMemberPause {DANA} Paused=1"),
        parsed(f"58 QueueMemberPause {ERLAN} Paused=1"),
        parsed(given_up(60, 20)),
        parsed(f"61 QueueMemberPause {DANA} Paused=0\n 62 QueueMemberPause {ERLAN} Paused=0"),
    ]
    for order in itertools.permutations(pieces):
        await world.clear()
        for piece in order:
            await world.send_json("pbx", *piece)
            await world.project()
        assert await outcome(world) == "left_empty"


async def test_a_phones_state_is_no_log_in_and_no_pause(world: World) -> None:
    states = []
    for change in ("Paused=0 Status=2", "Paused=0 Status=5", "Paused=1 Status=1", "Paused=0 Status=1"):
        at = 5 + len(states)
        await world.send_json("pbx", *parsed(THERE + f"{at} QueueMemberStatus {DANA} {change}"))
        await world.project()
        states.append(await world.pool.fetchval("SELECT state FROM agent_states WHERE agent = 'Dana'"))
    assert states == ["available", "offline", "offline", "available"]
    row = (await world.kpi("agent", BEGIN, END))["Dana"]
    assert (row["logins"], row["logouts"], row["pauses"], row["resumes"]) == (1, 0, 0, 0)
