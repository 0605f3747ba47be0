"""FreeSWITCH's events as calls: by the event socket, by mod_json_cdr, by both, in any order, and with gaps."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callkpi import config
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AGENT_STREAM, Call, CallEvent, Kind, Outcome
from callkpi.connections.freeswitch_esl import EslLink
from callkpi.connections.keeping import Status
from callkpi.connections.office import Office
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context
from callkpi.sources.freeswitch import resync as freeswitch_resync
from callkpi.sources.freeswitch.esl import matters, trimmed
from tests.sources.cases import TENANT, describe
from tests.stand_ins.esl_server import Floor
from tests.stand_ins.freeswitch_calls import COMMON, EXPECTED
from tests.stand_ins.freeswitch_model import CALLS, CUSTOMER, START, Switch, played

SOURCE = config.Source(kind=config.SourceKind.FREESWITCH, tenant="acme", token="t", esl_address="pbx:8021")
FREESWITCH = SOURCE_TYPES[config.SourceKind.FREESWITCH]
CONTEXT = Context("fs", "acme", SOURCE, START + timedelta(hours=1))


def parsed(items: Iterable[Mapping[str, Any]]) -> list[CallEvent]:
    """The events of calls, once each, as the journal has them."""
    told = FREESWITCH.parse(list(items), CONTEXT)
    assert told.rejected == []
    return list({(event.at, event.event_id): event for event in told.events}.values())


def joined(events: Sequence[CallEvent]) -> list[list[CallEvent]]:
    """The events of each call: streams that links make one are one."""
    group = {event.call_id: event.call_id for event in events}

    def find(key: str) -> str:
        while group.setdefault(key, key) != key:
            key = group[key]
        return key

    for event in events:
        if event.kind is Kind.LINKED:
            low, high = sorted((find(event.call_id), find(event.linked_to)))
            group[high] = low
    calls: dict[str, list[CallEvent]] = {}
    for event in events:
        if not event.call_id.startswith(AGENT_STREAM):
            calls.setdefault(find(event.call_id), []).append(event)
    return list(calls.values())


def folded(events: Sequence[CallEvent], now: datetime | None = None) -> list[Call]:
    result = []
    for told in joined(events):
        canonical = [event for event in FREESWITCH.interpret(told, SOURCE) if event.kind is not Kind.SIGNAL]
        if any(event.kind is not Kind.LINKED for event in canonical):
            root = min(event.call_id for event in told)
            result.append(fold(root, canonical, Thresholds(TENANT), now or START + timedelta(hours=1)))
    return sorted(result, key=lambda call: call.call_id)


@pytest.mark.parametrize("name", CALLS)
def test_the_event_socket_tells_the_call(name: str) -> None:
    (call,) = folded(parsed(played(name).events))
    told, expected = describe(call), {**COMMON, **EXPECTED[name]}
    assert {key: told[key] for key in expected} == expected
    assert call.flags == ()


@pytest.mark.parametrize("name", CALLS)
def test_one_call_told_by_both_ways_is_one_call_with_the_better_facts(name: str) -> None:
    fs = played(name)
    (by_socket,) = folded(parsed(fs.events))
    (by_both,) = folded(parsed([*fs.records, *fs.events]))
    assert describe(by_both) == describe(by_socket)
    assert by_both.call_id == by_socket.call_id


@pytest.mark.parametrize("name", ["queue_answered", "queue_abandoned", "nobody_answered", "direct", "outbound"])
def test_both_ways_alone_name_the_call_by_the_same_id_and_end_it_alike(name: str) -> None:
    fs = played(name)
    (by_socket,), (by_record,) = folded(parsed(fs.events)), folded(parsed(fs.records))
    told = [
        (c.call_id, c.outcome, c.direction, c.customer, len(c.legs), len(c.entries)) for c in (by_socket, by_record)
    ]
    assert told[0] == told[1]


@given(st.sampled_from(sorted(CALLS)), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_order_and_repetition_make_the_same_calls(name: str, chance: random.Random, records: bool) -> None:
    fs = played(name)
    events = parsed([*fs.events, *(fs.records if records else ())])
    mixed = [*events, *chance.choices(events, k=10)]
    chance.shuffle(mixed)
    assert [describe(call) for call in folded(mixed)] == [describe(call) for call in folded(events)]


@pytest.mark.parametrize("name", ["direct", "queue_answered"])
def test_two_streams_that_tell_one_event_otherwise_make_one_call_in_any_order(name: str) -> None:
    """Of two channels in one call, each heard under an id that only one of them has."""
    events = parsed(played(name).events)
    signals = [event for event in events if event.kind is Kind.SIGNAL and "Unique-ID" in event.detail]
    others = [dataclasses.replace(e, call_id="z", detail={**e.detail, "Unique-ID": "z"}) for e in signals]
    told = [FREESWITCH.interpret(mixed, SOURCE) for mixed in ([*events, *others], [*others, *events])]
    calls = [
        fold("a", [e for e in each if e.kind is not Kind.SIGNAL], Thresholds(TENANT), START + timedelta(hours=1))
        for each in told
    ]
    assert describe(calls[0]) == describe(calls[1])


@given(st.sampled_from(sorted(CALLS)), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_events_that_were_lost_make_no_call_double_and_records_close_the_gap(name: str, chance: random.Random) -> None:
    """Any of the events are lost, mod_json_cdr's records are not."""
    fs = played(name)
    kept = [event for event in fs.events if chance.random() < 0.5]
    calls = folded(parsed([*kept, *fs.records]))
    ended = [call for call in calls if call.direction != "internal" or name == "internal"]
    (by_record,) = [c for c in folded(parsed(fs.records)) if c.direction != "internal" or name == "internal"]
    assert len(ended) == 1 and not ended[0].is_open
    assert ended[0].answered == by_record.answered or name == "click_to_call"
    assert len({leg.agent for leg in ended[0].legs}) == len(ended[0].legs) or name == "nobody_answered"


# -- cuts --------------------------------------------------------------------------------------------------


class _Asked:
    """What the connection asks is answered by the floor."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    async def api(self, command: str) -> str:
        return self._floor.answer(command)


def looked(floor: Floor, heard: float | None) -> freeswitch_resync.Snapshot:
    ours = time.time() - int(floor.now) / 1_000_000  # the floor has a clock of its own
    status = Status(None if heard is None else datetime.fromtimestamp(heard + ours, UTC))
    link = EslLink(cast(Office, None), "fs", SOURCE)
    return asyncio.run(link._look(cast(Any, _Asked(floor)), status))


def with_a_cut(fs: Switch, begin: int, end: int) -> list[CallEvent]:
    """What is journalled when the events from *begin* up to *end* were not heard."""
    floor, heard = Floor(), [dict(event) for event in fs.events]
    for event in heard[:end]:
        floor.take(event)
    before = parsed(trimmed(event) for event in heard[:begin] if matters(event))
    floor.now = str(int(floor.now) + 2_000_000) if end < len(heard) else str(int(floor.now) + 60_000_000)
    moment = int(heard[begin - 1]["Event-Date-Timestamp"]) / 1_000_000 if begin else None
    snapshot = looked(floor, moment)
    known = freeswitch_resync.Known([call.call_id for call in folded(before) if call.is_open], {})
    resync = [*freeswitch_resync.of_live(snapshot), *freeswitch_resync.of_known(snapshot, known)]
    after = [trimmed(event) for event in heard[end:] if matters(event)]
    return list({(e.at, e.event_id): e for e in [*before, *parsed(resync), *parsed(after)]}.values())


@given(st.sampled_from(sorted(CALLS)), st.data())
@settings(max_examples=300, deadline=None)
def test_a_cut_leaves_no_call_double_and_none_open(name: str, data: st.DataObject) -> None:
    fs = played(name)
    begin = data.draw(st.integers(0, len(fs.events)), "unheard from")
    end = data.draw(st.integers(begin, len(fs.events)), "up to")
    calls = folded(with_a_cut(fs, begin, end))
    (whole,) = folded(parsed(fs.events))
    assert [call for call in calls if call.is_open] == []
    # A consultation whose first channel was never heard is a call of unknown direction, which no figure counts.
    assert len([call for call in calls if call.direction in ("inbound", "outbound")]) <= 1
    for call in [call for call in calls if call.direction == whole.direction]:
        assert len(call.entries) <= len(whole.entries) and len(call.legs) <= len(whole.legs)
        assert call.outcome in (whole.outcome, Outcome.EXPIRED, Outcome.EXITED, Outcome.NO_ANSWER, Outcome.ABANDONED)
        assert (call.talk_ms or 0) <= (whole.talk_ms or 0) + (whole.hold_ms or 0) + 1000  # a hold may be unheard
        known = {leg.agent for leg in whole.legs}
        assert {leg.agent for leg in call.legs} <= known | ({CUSTOMER[1:]} if call.direction == "unknown" else {""})


@pytest.mark.parametrize("end", [10, 25])
def test_a_conversation_that_began_while_nobody_listened_counts_once(end: int) -> None:
    fs = played("queue_answered")
    bridge = next(n for n, event in enumerate(fs.events) if event["Event-Name"] == "CHANNEL_BRIDGE")
    (call,) = folded(with_a_cut(fs, 4, bridge + 2))
    assert [leg.agent for leg in call.legs if leg.answered_at] == ["1001@default"]
    assert call.outcome is Outcome.ANSWERED and call.entries[0].answered
    assert call.talk_ms == 24_000


def test_a_call_that_ended_unheard_ends_at_the_last_moment_that_is_known_without_a_duration() -> None:
    fs = played("queue_answered")
    bridge = next(n for n, event in enumerate(fs.events) if event["Event-Name"] == "CHANNEL_BRIDGE")
    (call,) = folded(with_a_cut(fs, bridge + 1, len(fs.events)))
    assert call.outcome is Outcome.ANSWERED and call.ended_at == START + timedelta(seconds=15.5)
    assert call.code == "unheard"
    assert call.talk_ms is None


def test_a_caller_who_was_gone_when_we_came_back_is_neither_answered_nor_missed() -> None:
    fs = played("queue_abandoned")
    joins = next(n for n, event in enumerate(fs.events) if event.get("CC-Action") == "member-queue-start")
    (call,) = folded(with_a_cut(fs, joins + 1, len(fs.events)))
    assert [entry.outcome for entry in call.entries] == [Outcome.EXPIRED]
    assert call.outcome is Outcome.EXPIRED and not call.missed


def test_another_life_of_freeswitch_ends_the_calls_of_the_one_before() -> None:
    """A restart in the middle of a call: a new Core-UUID, event numbers from the beginning, no channels."""
    fs = played("queue_answered")
    old = fs.events[:20]
    new = Switch("c0e0f1d2-0000-4000-8000-000000000002", START + timedelta(minutes=5))
    CALLS["direct"](new)
    calls = folded(parsed([*old, *new.events]))
    assert (
        len(calls) == 2
        and len({event.event_id for event in parsed(old)} & {e.event_id for e in parsed(new.events)}) == 0
    )


# -- agents ------------------------------------------------------------------------------------------------


def states(*items: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    return [(e.agent, e.queue, e.state, e.reason) for e in FREESWITCH.parse(list(items), CONTEXT).events]


def change(**headers: str) -> dict[str, str]:
    fs = Switch()
    fs.status("1000@default", "")
    return {**fs.events[0], **{f"CC-{key.replace('_', '-')}": value for key, value in headers.items()}}


def test_the_status_of_an_agent_is_his_state_in_each_of_his_queues() -> None:
    queues = {"Queues": "sales@default,support@default"}
    told = states(change(Agent_Status="On Break", **queues))
    assert told == [("1000@default", queue, "paused", "") for queue in ("sales@default", "support@default")]
    assert states(change(Agent_Status="Logged Out")) == [("1000@default", "", "offline", "")]
    assert states(change(Agent_Status="Available (On Demand)")) == [("1000@default", "", "available", "")]


def test_a_state_means_what_the_status_makes_of_it() -> None:
    state = {"Action": "agent-state-change", "Agent_Status": ""}
    assert states(change(**state, Agent_State="Waiting")) == []
    state = {"Action": "agent-state-change", "Agent_Status": "On Break"}
    assert states(change(**state, Agent_State="Waiting")) == [("1000@default", "", "paused", "")]
    state = {"Action": "agent-state-change", "Agent_Status": "Available"}
    assert states(change(**state, Agent_State="In a queue call")) == [("1000@default", "", "busy", "")]
    assert states(change(**state, Agent_State="Receiving")) == [("1000@default", "", "available", "")]
    assert states(change(**state, Agent_State="Idle")) == [("1000@default", "", "paused", "idle")]


def test_what_the_door_does_not_understand_is_kept_with_the_reason() -> None:
    fs = Switch()
    fs.status("1000@default", "Dancing")
    told = FREESWITCH.parse([*fs.events, {"Event-Name": "CHANNEL_ANSWER"}, {"Event-Name": "HEARTBEAT"}], CONTEXT)
    assert [reason.partition(":")[0] for _, reason in told.rejected] == ["CC-Agent-Status", "Unique-ID"]
    assert told.ignored == 1


def test_an_agents_contact_may_hold_what_parts_the_columns() -> None:
    table = "name|contact|status|state\n1000@default|user/1000|user/1010|Available|Waiting\n+OK\n"
    (row,) = freeswitch_resync.rows_of_table(table) or []
    assert row == {"name": "1000@default", "contact": "user/1000|user/1010", "status": "Available", "state": "Waiting"}
    assert freeswitch_resync.rows_of_table("-ERR no such command\n") is None
    assert freeswitch_resync.rows_of_table("+OK\n") == []
