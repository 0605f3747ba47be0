"""Random calls through random dialplans: AMI and queue_log give the figures that are counted from the log."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.asterisk_model import BEGIN, traffic
from tests.queue_figures import counted, figures, read

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
    assert without_key_waits(figures(calls, states).plain()) == without_key_waits(truth)
    assert figures(*read(mixed, NOW)).plain() == figures(calls, states).plain()


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
    assert without_key_waits(figures(calls, states).plain()) == without_key_waits(counted(lines).plain())


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


def without_key_waits(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    unsure = {"wait_exitwithkey_s", "max_wait_s"}
    return {name: {key: value for key, value in row.items() if key not in unsure} for name, row in rows.items()}
