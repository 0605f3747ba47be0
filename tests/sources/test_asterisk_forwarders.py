"""The recorded stream as forwarders may change it, and as it is at any moment: what stays equal to the log's count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi.calls import facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import MISSED_OUTCOMES, Call
from callkpi.sources.base import Delivery
from tests.stand_ins.queue_figures import ASTERISK, LEFT, TENANT, counted, figures, read
from tests.world import World, capture_lines

Event = dict[str, Any]
NOW = datetime(2026, 11, 23, 21, tzinfo=UTC)
LOG = capture_lines("asterisk/queue_log")
WAITS = ("answered", *set(LEFT.values()))


@cache
def recorded() -> list[Event]:
    return [json.loads(line) for line in capture_lines("asterisk/events.jsonl.gz")]


def expect_equal(found: Mapping[str, Mapping[str, int]], told: Mapping[str, Mapping[str, int]]) -> None:
    """Counts exactly; seconds within one of each call, as two clocks of whole seconds may differ."""
    assert found.keys() == told.keys()
    for name, truth in told.items():
        row = Counter(found[name])
        calls = {f"wait_{how}_s": truth.get(how, 0) for how in WAITS} | {"max_wait_s": 1}
        for key in {*truth, *row}:
            assert row[key] == pytest.approx(truth.get(key, 0), abs=calls.get(key, 0)), (name, key)


def without(*names: str) -> Callable[[Event], Event | None]:
    return lambda event: None if event["Event"] in names else event


def number(value: Any) -> Any:
    try:
        return float(value) if "." in value else int(value)
    except (TypeError, ValueError):
        return value


def without_agents_hangups(event: Event) -> Event | None:
    return None if event["Event"] == "Hangup" and "@agents" in event["Channel"] else event


def timestamp_alone(event: Event) -> Event:
    return {"Timestamp" if key == "received_at" else key: value for key, value in event.items()}


def without_places(event: Event) -> Event:
    return {key: value for key, value in event.items() if key not in ("Priority", "Exten", "Context")}


FORWARDERS: dict[str, Callable[[Event], Event | None]] = {
    "Timestamp alone": timestamp_alone,
    "numbers as JSON numbers": lambda event: {key: number(value) for key, value in event.items()},
    "headers in small letters": lambda event: {key.lower(): value for key, value in event.items()},
    "without places in the dialplan": without_places,
    "a clock of whole seconds": lambda event: {**event, "received_at": int(event["received_at"])},
    "without HangupRequest": without("HangupRequest"),
    "without requests to hang up": without("HangupRequest", "SoftHangupRequest"),
    "without dials": without("DialBegin", "DialEnd"),
    "without hang-ups of agents": without_agents_hangups,
    "without any hang-ups": without("Hangup"),
    "without dials, and requests to hang up": without("DialBegin", "DialEnd", "HangupRequest", "SoftHangupRequest"),
    "without joins of Local halves": without("LocalBridge"),
    "without AgentCalled": without("AgentCalled"),
    "without AgentComplete": without("AgentComplete"),
}
#: What can't be known then.
LOST: dict[str, set[str]] = {
    "without places in the dialplan": {"abandon", "exitwithtimeout", "wait_abandon_s", "wait_exitwithtimeout_s"},
    "without requests to hang up": {"completeagent", "completecaller"},  # of one AgentComplete that names no channels
    "without dials, and requests to hang up": {"completeagent", "completecaller"},
    "without any hang-ups": {"exitwithkey", "wait_exitwithkey_s"},
    "without AgentComplete": {"talk_s", "completeagent", "completecaller", "blindtransfer"},
}


@pytest.mark.parametrize("name", FORWARDERS)
def test_what_a_forwarder_changes_or_drops(name: str) -> None:
    events = [changed for event in recorded() if (changed := FORWARDERS[name](event)) is not None]
    found, told = (
        {who: {k: v for k, v in row.items() if k not in LOST.get(name, ())} for who, row in rows.plain().items()}
        for rows in (figures(*read(events, NOW)), counted(LOG))
    )
    expect_equal(found, told)


def test_without_places_only_those_hung_up_by_a_command_are_unknown() -> None:
    """Two callers of the recording were, after a transfer: no event asks for it, they look like timeouts."""
    found = figures(*read(map(without_places, recorded()), NOW)).queues
    told = counted(LOG).queues
    wrong = {name: told[name]["abandon"] - row["abandon"] for name, row in found.items()}
    assert wrong == {"sales": 2, "support": 0, "vip": 0}
    assert all(row["exitwithtimeout"] == told[name]["exitwithtimeout"] + wrong[name] for name, row in found.items())


def test_without_agent_complete_the_talk_is_still_known_to_the_second() -> None:
    events = [event for event in recorded() if event["Event"] != "AgentComplete"]
    found, told = figures(*read(events, NOW)).queues, counted(LOG).queues
    for name, row in found.items():
        assert row["talk_s"] == pytest.approx(told[name]["talk_s"], abs=row["answered"])
        for how in ("completeagent", "completecaller", "blindtransfer"):
            assert row[how] == told[name][how], (name, how)


async def test_events_without_any_time_keep_the_order_of_their_delivery(world: World) -> None:
    """The clock of arrival is all there is, and one delivery has one time."""
    begin = datetime.now(UTC) - timedelta(minutes=1)
    names = ("Newchannel", "QueueCallerJoin", "QueueCallerLeave", "QueueCallerAbandon", "AgentConnect", "Hangup")
    told = [
        {key: value for key, value in event.items() if key != "received_at"}
        for event in recorded()
        if event["Event"] in names
    ]
    await world.send("pbx", json.dumps(told))
    await world.project()
    rows = await world.kpi("queue", begin, begin + timedelta(hours=1))
    truth = counted(LOG).queues
    assert {name: (row["offered"], row["answered"]) for name, row in rows.items()} == {
        name: (row["entered"], row["answered"]) for name, row in truth.items() if row["entered"]
    }


def test_an_id_written_as_a_number_keeps_its_last_digit() -> None:
    (event,) = ASTERISK.decode(Delivery(b'{"Event": "Hangup", "Uniqueid": 1795461706.20}', "", "", NOW))
    assert event["Uniqueid"] == "1795461706.20"


# -- at any moment -----------------------------------------------------------------------------------------

FIRST, LAST = (int(float(recorded()[i]["received_at"])) for i in (0, -1))


def places(calls: list[Call]) -> Counter[str]:
    """Offered entries by where they are."""
    result: Counter[str] = Counter()
    for call in calls:
        for fact in facts.facts(call, Thresholds(TENANT)):
            if fact.key.grain == facts.Grain.ENTRY and fact.measures.get("offered"):
                missed = fact.key.outcome in MISSED_OUTCOMES
                assert fact.measures.get("missed", 0) == missed
                result["offered"] += 1
                result["missed" if missed else fact.key.outcome] += 1
    return result


@given(st.integers(FIRST + 3, LAST))
def test_at_any_second_what_is_over_is_what_the_log_says(second: int) -> None:
    """Between the log cut a moment before and a moment after: a line and its event may be on two sides of a tick."""
    calls, states = read([event for event in recorded() if event["received_at"] < second], NOW.replace(hour=20))
    found = figures(calls, states)
    early, late = (counted(line for line in LOG if int(line[:10]) < second + by) for by in (-1, 1))
    for before, row, after in ((early.queues, found.queues, late.queues), (early.agents, found.agents, late.agents)):
        for name in row:
            for key in {*row[name], *before[name]} - {"max_wait_s", "exitwithkey", "wait_exitwithkey_s"}:
                slack = row[name][key[5:-2]] if key.startswith("wait_") else 0
                assert before[name][key] - slack <= row[name][key] <= after[name][key] + slack, (name, key)
    # A key is known from what does not follow, a second later.
    known = counted(line for line in LOG if int(line[:10]) < second - 2).queues
    assert all(row["exitwithkey"] >= known[name]["exitwithkey"] for name, row in found.queues.items())
    where = places(calls)
    whole = where["answered"] + where["missed"] + where["open"] + where["exited"] + where["expired"]
    assert where["offered"] == whole
