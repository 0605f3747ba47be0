"""Shapes of Asterisk calls that the recording lacks, as short streams of AMI events and queue_log lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from callkpi import config
from callkpi.calls import facts, formulas
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AGENT_STREAM, MARK_STREAM, Call, Direction, Kind, Outcome
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context, Delivery, Malformed
from tests.world import World

T0 = 1_790_000_000.0
NOW = datetime.fromtimestamp(T0 + 600, UTC)
ASTERISK = SOURCE_TYPES[config.SourceKind.ASTERISK]
SOURCE = config.Source(kind=config.SourceKind.ASTERISK, tenant="acme", token="x")
CALLER = {"Uniqueid": "1.1", "Linkedid": "1.1", "Channel": "PJSIP/trunk-00000001", "CallerIDNum": "+77011234567"}
AGENT = {"MemberName": "Dana", "Interface": "PJSIP/1003", "DestUniqueid": "1.2", "DestChannel": "PJSIP/1003-00000002"}


def ami(event: str, at: float, **headers: str) -> dict[str, str]:
    return {"Event": event, "Timestamp": f"{T0 + at:.6f}", **headers}


def newchannel(at: float = 0, **headers: str) -> dict[str, str]:
    return ami("Newchannel", at, **{**CALLER, "Context": "from-trunk", "Exten": "7172700100", **headers})


def queue(event: str, at: float, name: str = "sales", **headers: str) -> dict[str, str]:
    return ami(event, at, **{**CALLER, "Queue": name, **headers})


def calls_of(*stream: dict[str, str] | str, **settings: Any) -> dict[str, Call]:
    source = config.Source(kind=config.SourceKind.ASTERISK, tenant="acme", token="x", **settings)
    parsed = ASTERISK.parse(list(stream), Context("pbx", "acme", source, NOW))
    assert parsed.rejected == []
    by_call: dict[str, list[Any]] = {}
    for event in parsed.events:
        if not event.call_id.startswith((AGENT_STREAM, MARK_STREAM)) and "half_of" not in event.detail:
            by_call.setdefault(event.call_id, []).append(event)
    limits = Thresholds(config.Tenant(region="KZ"))
    return {key: fold(key, ASTERISK.interpret(told, source), limits, NOW) for key, told in by_call.items()}


def call_of(*stream: dict[str, str] | str, **settings: Any) -> Call:
    (call,) = calls_of(*stream, **settings).values()
    return call


ANSWERED = (
    newchannel(),
    queue("QueueCallerJoin", 1, Exten="7172700100"),
    queue("AgentCalled", 2, **AGENT),
    queue("QueueCallerLeave", 8),
    queue("AgentConnect", 8.01, **AGENT, HoldTime="7", RingTime="6"),
    ami("Hold", 10, **CALLER),
    ami("Unhold", 15, **CALLER),
    queue("AgentComplete", 38, **AGENT, HoldTime="7", TalkTime="30", Reason="caller"),
    ami("Hangup", 38.1, Uniqueid="1.2", Linkedid="1.1", Cause="16"),
    ami("Hangup", 38.2, **CALLER, Cause="16"),
)


def test_a_queue_call_over_a_trunk() -> None:
    it = call_of(*ANSWERED)
    assert (it.direction, it.customer, it.line) == ("inbound", "+77011234567", "7172700100")
    (entry,), (leg,) = it.entries, it.legs
    assert (entry.queue, entry.outcome, entry.wait_ms) == ("sales", Outcome.ANSWERED, 7010)
    assert (leg.agent, leg.talk_ms, leg.ring_ms, leg.hold_ms) == ("Dana", 30_000, 6000, 5000)
    assert (it.outcome, it.hangup_by) == (Outcome.ANSWERED, "customer")


def test_hold_is_shown_apart_and_counted_once_in_the_handle_time() -> None:
    """Asterisk's TalkTime holds the time on hold as well."""
    limits = Thresholds(config.Tenant())
    for grain in ("call", "entry", "handle"):
        figures = formulas.Figures()
        for fact in facts.facts(call_of(*ANSWERED), limits):
            if fact.key.grain == grain:
                figures.add(fact.key.outcome, fact.measures, fact.longest_wait_ms)
        row = figures.as_row(config.ServiceLevelFormula.DEFAULT)
        assert (row["talk_seconds"], row["hold_seconds"], row["aht_seconds"]) == (30, 5, 30)


def test_while_the_caller_talks_the_call_is_open() -> None:
    it = call_of(*ANSWERED[:5])
    assert it.is_open and it.answered and it.legs[0].is_open


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([ami("HangupRequest", 9, **CALLER, Cause="0")], [], Outcome.ABANDONED),
        ([ami("SoftHangupRequest", 9, **CALLER, Cause="32")], [], Outcome.ABANDONED),
        ([], [ami("SoftHangupRequest", 10.1, **CALLER, Cause="16")], Outcome.TIMED_OUT),
        ([ami("HangupRequest", 9, Uniqueid="1.2", Linkedid="1.1", Cause="0")], [], Outcome.TIMED_OUT),
        ([], [ami("VarSet", 10.1, **CALLER, Variable="QUEUESTATUS", Value="LEAVEEMPTY")], Outcome.LEFT_EMPTY),
    ],
    ids=["caller hung up", "hung up by command", "timeout", "an agent's leg hung up", "the queue emptied"],
)
def test_who_ended_the_wait(before: list[Any], after: list[Any], outcome: Outcome) -> None:
    it = call_of(newchannel(), queue("QueueCallerJoin", 1), *before, queue("QueueCallerAbandon", 10, HoldTime="9"),
                 queue("QueueCallerLeave", 10.05), *after)  # fmt: skip
    assert (it.entries[0].outcome, it.entries[0].wait_ms) == (outcome, 9000)


def test_the_other_half_of_a_local_channel_is_the_caller_too() -> None:
    half = {"Uniqueid": "1.9", "Linkedid": "1.1"}
    bridge = ami("LocalBridge", 0.1, LocalOneUniqueid="1.9", LocalTwoUniqueid="1.1", LocalOneLinkedid="1.1")
    it = call_of(newchannel(), bridge, queue("QueueCallerJoin", 1), ami("HangupRequest", 9, **half),
                 queue("QueueCallerAbandon", 10, HoldTime="9"), queue("QueueCallerLeave", 10.05))  # fmt: skip
    assert it.entries[0].outcome is Outcome.ABANDONED


def test_an_exit_by_key_is_no_abandon() -> None:
    stream = newchannel(), queue("QueueCallerJoin", 1), queue("QueueCallerLeave", 10.9)
    assert call_of(*stream).entries[0].is_waiting  # an AgentConnect may be on its way
    it = call_of(*stream, ami("Hangup", 12, **CALLER))
    assert (it.entries[0].outcome, it.entries[0].wait_ms) == (Outcome.EXITED, 9900)


def test_a_caller_who_comes_back_into_the_same_queue_has_two_stays() -> None:
    it = call_of(
        newchannel(),
        queue("QueueCallerJoin", 1), queue("QueueCallerAbandon", 10, HoldTime="9"), queue("QueueCallerLeave", 10.01),
        queue("QueueCallerJoin", 11), queue("QueueCallerLeave", 14),
        queue("AgentConnect", 14.01, **AGENT, HoldTime="3", RingTime="1"),
    )  # fmt: skip
    assert [(e.outcome, e.wait_ms) for e in it.entries] == [(Outcome.TIMED_OUT, 9000), (Outcome.ANSWERED, 3010)]


def test_overflow_into_another_queue_is_missed_in_the_first_and_answered_as_a_call() -> None:
    it = call_of(
        newchannel(),
        queue("QueueCallerJoin", 1), queue("QueueCallerAbandon", 13, HoldTime="12"), queue("QueueCallerLeave", 13.01),
        queue("QueueCallerJoin", 14, "support"), queue("QueueCallerLeave", 18, "support"),
        queue("AgentConnect", 18.01, "support", **AGENT, HoldTime="4", RingTime="1"),
        queue("AgentComplete", 48, "support", **AGENT, HoldTime="4", TalkTime="30", Reason="agent"),
        ami("Hangup", 48.2, **CALLER),
    )  # fmt: skip
    assert [(e.queue, e.outcome) for e in it.entries] == [("sales", "timed_out"), ("support", "answered")]
    assert (it.outcome, it.wait_ms) == (Outcome.ANSWERED, 16_010)


def test_ring_all_one_connects_the_others_are_cancelled_not_at_fault() -> None:
    other = {**AGENT, "MemberName": "Erlan", "Interface": "PJSIP/1004", "DestUniqueid": "1.3"}
    it = call_of(
        newchannel(), queue("QueueCallerJoin", 1), queue("AgentCalled", 2, **AGENT), queue("AgentCalled", 2, **other),
        ami("DialBegin", 2, **CALLER, DestUniqueid="1.3", DestChannel="PJSIP/1004-3", DestLinkedid="1.1"),
        queue("QueueCallerLeave", 5), queue("AgentConnect", 5.01, **AGENT, HoldTime="4", RingTime="3"),
        ami("DialEnd", 5.02, **CALLER, DestUniqueid="1.3", DestLinkedid="1.1", DialStatus="CANCEL"),
    )  # fmt: skip
    assert {leg.agent: leg.end for leg in it.legs} == {"Dana": None, "Erlan": "cancelled"}


def test_an_agent_complete_without_channels_is_made_good_by_the_hang_ups() -> None:
    orphan = ami("AgentComplete", 38, MemberName="Dana", Queue="sales", HoldTime="7", TalkTime="30", Reason="caller")
    it = call_of(*ANSWERED[:5], orphan, *ANSWERED[8:])
    assert (it.legs[0].talk_ms, it.outcome) == (30_000, Outcome.ANSWERED)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("ANSWER", "answered"), ("NOANSWER", "no_answer"), ("BUSY", "busy"), ("CANCEL", "abandoned"),
     ("CONGESTION", "failed"), ("CHANUNAVAIL", "failed")],
)  # fmt: skip
def test_a_direct_dial_without_a_queue(status: str, outcome: str) -> None:
    dest = {"DestUniqueid": "1.2", "DestChannel": "PJSIP/1006-00000002", "DestLinkedid": "1.1"}
    it = call_of(
        newchannel(), ami("DialBegin", 1, **CALLER, **dest, DialString="1006"),
        ami("DialEnd", 9, **CALLER, **dest, DialStatus=status),
        ami("Hangup", 20, Uniqueid="1.2", Linkedid="1.1"), ami("Hangup", 20, **CALLER),
    )  # fmt: skip
    assert (it.outcome, it.legs[0].agent) == (outcome, "1006")
    assert it.talk_ms == (11_000 if status == "ANSWER" else None)
    assert it.wait_ms == (9000 if status == "ANSWER" else 20_000)


OUTBOUND = {"Uniqueid": "2.1", "Linkedid": "2.1", "Channel": "PJSIP/1003-00000009", "CallerIDNum": "1003"}
TRUNK = {"DestUniqueid": "2.2", "DestChannel": "PJSIP/trunk-0000000a", "DestLinkedid": "2.1"}


def test_an_agents_call_to_a_customer() -> None:
    it = call_of(
        ami("Newchannel", 0, **OUTBOUND, Context="from-internal", Exten="87011234567"),
        ami("DialBegin", 1, **OUTBOUND, **TRUNK, Exten="87011234567", DialString="trunk/77011234567"),
        ami("DialEnd", 7, **OUTBOUND, **TRUNK, DialStatus="ANSWER"),
        ami("Hangup", 30, Uniqueid="2.2", Linkedid="2.1"), ami("Hangup", 30, **OUTBOUND),
    )  # fmt: skip
    assert (it.direction, it.customer, it.outcome) == ("outbound", "+77011234567", "answered")
    assert (it.legs[0].agent, it.talk_ms) == ("1003", 23_000)


def test_a_caller_without_a_number_is_not_offered_before_it_is_known_where_he_goes() -> None:
    """A channel that Asterisk itself originates gets its number a moment after it appears."""
    nameless = {**OUTBOUND, "CallerIDNum": "<unknown>"}
    local = {**nameless, "Channel": "Local/1003@phones-00000009;1"}
    assert call_of(ami("Newchannel", 0, **local, Exten="1003")).direction is Direction.UNKNOWN
    assert call_of(ami("Newchannel", 0, **nameless, Exten="1003")).direction is Direction.INTERNAL  # a phone of ours
    hidden = {**CALLER, "CallerIDNum": "anonymous"}
    it = call_of(newchannel(CallerIDNum="anonymous"), ami("QueueCallerJoin", 1, **hidden, Queue="sales"))
    assert (it.direction, it.customer) == (Direction.INBOUND, "")


def test_contexts_of_the_configuration_decide_the_direction() -> None:
    channel = ami("Newchannel", 0, **OUTBOUND, Context="reception", Exten="500")
    assert call_of(channel).direction is Direction.INTERNAL
    assert call_of(channel, inbound_contexts=("reception",)).direction is Direction.INBOUND
    assert call_of(channel, outbound_contexts=("reception",)).direction is Direction.OUTBOUND


def consultation() -> list[dict[str, str]]:
    """An agent asks a colleague in another queue, then connects customer and colleague."""
    second = {"Uniqueid": "3.1", "Linkedid": "3.1", "Channel": "PJSIP/1003-00000007", "CallerIDNum": "1003"}
    colleague = {**AGENT, "MemberName": "Erlan", "DestUniqueid": "3.2"}
    return [
        *ANSWERED[:5],
        ami("Newchannel", 12, **second, Context="from-internal", Exten="500"),
        ami("QueueCallerJoin", 13, **second, Queue="support"),
        ami("QueueCallerLeave", 16, **second, Queue="support"),
        ami("AgentConnect", 16.01, **second, Queue="support", **colleague, HoldTime="3", RingTime="2"),
        ami("AttendedTransfer", 20, OrigTransfererUniqueid="1.2", OrigTransfererLinkedid="1.1",
            SecondTransfererUniqueid="3.1", SecondTransfererLinkedid="3.1", TransfereeUniqueid="1.1",
            TransfereeLinkedid="1.1"),
        queue("AgentComplete", 20.1, **AGENT, HoldTime="7", TalkTime="12", Reason="transfer"),
        ami("AgentComplete", 50, **{**second, "Linkedid": "1.1"}, Queue="support", **colleague, HoldTime="3",
            TalkTime="34", Reason="caller"),
        ami("Hangup", 20.2, Uniqueid="1.2", Linkedid="1.1"), ami("Hangup", 20.3, **second),
        ami("Hangup", 50.1, Uniqueid="3.2", Linkedid="1.1"), ami("Hangup", 50.2, **CALLER),
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["as it was", "backwards", "second call first"])
async def test_an_attended_transfer_makes_one_call_of_two(world: World, order: str) -> None:
    stream = consultation()
    if order == "backwards":
        stream.reverse()
    elif order == "second call first":
        stream.sort(key=lambda event: event.get("Linkedid") != "3.1")
    for event in stream:
        await world.send_json("pbx", event)
        await world.project()
    rows = await world.pool.fetch("SELECT call_id, outcome FROM calls")
    assert [tuple(row) for row in rows] == [("1.1", "answered")]
    begin, end = (datetime.fromtimestamp(T0 + offset, UTC) for offset in (-3600, 3600))
    queues = await world.kpi("queue", begin, end)
    assert {name: (row["offered"], row["answered"], row["talk_seconds"]) for name, row in queues.items()} == {
        "sales": (1, 1, 12.0),
        "support": (1, 1, 34.0),
    }
    assert queues["sales"]["transferred"] == 1
    assert await world.findings() == []


# -- queue_log --------------------------------------------------------------------------------------------


def log(at: int, verb: str, *data: str, queue: str = "sales", agent: str = "NONE") -> str:
    return "|".join([str(int(T0) + at), "1.1", queue, agent, verb, *data])


def test_within_one_second_queue_log_is_read_in_the_order_that_makes_sense() -> None:
    it = call_of(
        log(0, "ENTERQUEUE", "", "87011234567", "1"),
        log(9, "ENTERQUEUE", "", "87011234567", "1"), log(9, "EXITWITHTIMEOUT", "1", "1", "9"),
        log(12, "ABANDON", "1", "1", "3"),
    )  # fmt: skip
    assert [(e.outcome, e.wait_ms) for e in it.entries] == [("timed_out", 9000), ("short_abandon", 3000)]


def test_a_conversation_that_ends_as_the_next_stay_begins() -> None:
    it = call_of(
        log(0, "ENTERQUEUE", "", "87011234567", "1"), log(3, "CONNECT", "3", "1.2", "1", agent="Dana"),
        log(8, "ENTERQUEUE", "", "87011234567", "1"), log(8, "COMPLETEAGENT", "3", "5", "1", agent="Dana"),
        log(9, "CONNECT", "1", "1.3", "1", agent="Erlan"), log(20, "COMPLETECALLER", "1", "11", "1", agent="Erlan"),
    )  # fmt: skip
    assert [(leg.agent, leg.talk_ms) for leg in it.legs] == [("Dana", 5000), ("Erlan", 11_000)]
    assert [e.outcome for e in it.entries] == ["answered", "answered"]


def test_lines_that_concern_no_call_are_ignored_and_broken_ones_are_rejected() -> None:
    context = Context("pbx", "acme", SOURCE, NOW)
    parsed = ASTERISK.parse([f"{int(T0)}|NONE|NONE|NONE|CONFIGRELOAD|", f"{int(T0)}|1", "x|1.1|q|a|ABANDON|1"], context)
    assert (parsed.ignored, len(parsed.events), len(parsed.rejected)) == (1, 0, 2)


def test_pauses_are_states_of_the_agent_in_a_queue() -> None:
    parsed = ASTERISK.parse(
        [
            log(0, "PAUSE", "lunch", agent="Dana"),
            ami("QueueMemberPause", 5, Queue="sales", MemberName="Dana", Paused="0"),
        ],
        Context("pbx", "acme", SOURCE, NOW),
    )
    told = [(e.kind, e.agent, e.queue, e.state, e.reason) for e in parsed.events]
    state = Kind.AGENT_STATE
    assert told == [(state, "Dana", "sales", "paused", "lunch"), (state, "Dana", "sales", "available", "")]


# -- the door ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"Event": "X"', b"\xff\xfe", b"plain words"])
def test_a_body_that_is_neither_json_nor_queue_log_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        ASTERISK.decode(Delivery(body, "", "", NOW))


async def test_one_broken_line_does_not_take_the_others_with_it(world: World) -> None:
    receipt = await world.send("pbx", '{"Event": "FullyBooted"}\n{"Event": \n{"noevent": 1}\n')
    assert (receipt.events, receipt.ignored, receipt.rejected) == (0, 1, 2)


async def test_events_without_a_time_are_deduplicated_within_a_window(world: World) -> None:
    join = {key: value for key, value in queue("QueueCallerJoin", 0).items() if key != "Timestamp"}
    for _ in range(3):
        await world.send_json("pbx", join, join)
    assert await world.pool.fetchval("SELECT count(*) FROM journal") == 1
    await world.pool.execute("UPDATE dedupe SET seen_at = seen_at - $1::interval", timedelta(minutes=5))
    await world.send_json("pbx", join)
    assert await world.pool.fetchval("SELECT count(*) FROM journal") == 2
