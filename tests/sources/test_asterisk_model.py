"""Random calls through random dialplans: AMI and queue_log give the figures that are counted from the log."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callkpi.calls.facts import Grain, facts
from callkpi.calls.fold import Thresholds
from tests.stand_ins.asterisk_model import BEGIN, traffic
from tests.stand_ins.queue_figures import TENANT, counted, figures, read
from tests.world import World

NOW = datetime.fromtimestamp(BEGIN + 7200, UTC)
Traffic = tuple[list[dict[str, Any]], list[str]]


@given(traffic(), st.integers(0, 99))
def test_random_calls_give_the_figures_of_the_log(told: Traffic, seed: int) -> None:
    events, lines = told
    truth = counted(lines).plain()
    mixed = events + events[seed::3]
    random.Random(seed).shuffle(mixed)
    assert figures(*read(lines, NOW)).plain() == truth
    calls, states = read(events, NOW)
    assert not any(call.is_open for call in calls)
    # An exit by key has no time but its event's own: a tick of the clock may lie between.
    expect_nearly(figures(calls, states).plain(), truth)
    assert figures(*read(mixed, NOW)).plain() == figures(calls, states).plain()


@settings(max_examples=15)
@given(traffic(), st.integers(0, 99))
async def test_the_store_has_them_whatever_the_order_and_the_pieces(world: World, told: Traffic, seed: int) -> None:
    """Calls and the members of their queues are heard of in any order; what came late mends what was read before."""
    events, lines = told
    chance = random.Random(seed)
    mixed = events + events[seed::3]
    chance.shuffle(mixed)
    await world.clear()
    while mixed:
        size = chance.randint(1, 40)
        await world.send_json("pbx", *mixed[:size])
        await world.projector.project_batch()
        del mixed[:size]
    await world.project()
    found = await world.kpi("queue", NOW - timedelta(hours=3), NOW)
    for name, row in counted(lines).queues.items():
        if row["entered"]:
            queue = found[name]
            assert (queue["offered"], queue["answered"], queue["exited"], queue["timed_out"], queue["left_empty"]) == (
                row["entered"], row["answered"], row["exitwithkey"], row["exitwithtimeout"], row["exitempty"],
            )  # fmt: skip
            assert queue["abandoned"] + queue["short_abandoned"] == row["abandon"]
            assert queue["talk_seconds"] == row["talk_s"]
    assert await world.findings() == []


DROPPED = [
    {"HangupRequest", "SoftHangupRequest"},
    {"DialBegin", "DialEnd"},
    {"AgentCalled"},
    {"AgentComplete"},
    {"LocalBridge", "Newchannel"},
    {"agents' Hangup"},
]


@given(traffic(), st.sampled_from(DROPPED))
def test_figures_of_queues_do_without(told: Traffic, dropped: set[str]) -> None:
    events, lines = told
    kept = [event for event in events if event["Event"] not in dropped and not is_agents_hangup(event, dropped)]
    calls, states = read(kept, NOW)
    assert not any(call.is_open for call in calls)
    expect_nearly(figures(calls, states).plain(), counted(lines).plain())


def is_agents_hangup(event: dict[str, Any], dropped: set[str]) -> bool:
    ours = event["Event"] == "Hangup" and not event["Channel"].startswith(("PJSIP/trunk", "Local/500"))
    return ours and "agents' Hangup" in dropped


@given(traffic(), st.data())
def test_a_stream_cut_anywhere_says_of_what_is_over_what_the_whole_says(told: Traffic, data: st.DataObject) -> None:
    """But for a caller hung up by a command, whom only his next event tells from a timeout."""
    events, _ = told
    cut = data.draw(st.integers(0, len(events)))
    part, whole = (figures(*read(some, NOW)).queues for some in (events[:cut], events))
    for name, row in part.items():
        for key in ("entered", "answered", "completeagent", "completecaller", "exitwithkey", "talk_s"):
            assert row[key] <= whole[name][key], (name, key)
        given_up = ("abandon", "exitwithtimeout", "exitempty")
        assert sum(row[key] for key in given_up) <= sum(whole[name][key] for key in given_up)


@given(traffic(), st.data())
def test_holes_in_the_stream_break_nothing(told: Traffic, data: st.DataObject) -> None:
    """Whatever events and headers are missing: every offered stay is in one place, and is offered once."""
    events, _ = told
    kept = [event for event in events if data.draw(st.integers(0, 3))]
    holes = data.draw(
        st.sets(st.sampled_from(["Uniqueid", "DestUniqueid", "Exten", "Interface", "HoldTime", "Reason"]))
    )
    calls, _ = read([{key: value for key, value in event.items() if key not in holes} for event in kept], NOW)
    told_of = Counter(event["Event"] for event in kept)
    entered = sum(len(call.entries) for call in calls)
    assert entered <= told_of["QueueCallerJoin"] + told_of["QueueCallerAbandon"] + told_of["AgentConnect"]
    for call in calls:
        entries = [fact for fact in facts(call, Thresholds(TENANT)) if fact.key.grain == Grain.ENTRY]
        assert len(entries) == max(len(call.entries), call.answered or call.ended_at is not None)
        for offered in (fact for fact in entries if fact.measures.get("offered")):
            ended = sum(offered.measures.get(measure, 0) for measure in ("handled", "missed"))
            assert ended + (offered.key.outcome in ("open", "expired", "exited")) == 1


def expect_nearly(found: dict[str, dict[str, int]], told: dict[str, dict[str, int]]) -> None:
    """Equal, and waits within a second each: events have exact times, the log has whole seconds of other readings."""
    found, told = without_key_waits(found), without_key_waits(told)
    assert _but_waits(found) == _but_waits(told)
    for who, row in told.items():
        for key in {*row, *found[who]}:
            if key.startswith("wait_"):
                stays = row.get(key.removeprefix("wait_").removesuffix("_s"), 0)
                assert abs(row.get(key, 0) - found[who].get(key, 0)) <= stays, (who, key)


def _but_waits(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {who: {key: value for key, value in row.items() if "wait" not in key} for who, row in rows.items()}


def without_key_waits(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    unsure = {"wait_exitwithkey_s", "max_wait_s"}
    return {name: {key: value for key, value in row.items() if key not in unsure} for name, row in rows.items()}
