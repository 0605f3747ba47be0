"""What people who keep Asterisk and FreeSWITCH report of their own sites: each as a story with its right values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from callkpi import config
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AgentState, Call, CallEvent, Direction, Fate, LegEnd, Outcome
from callkpi.commands.history import read as read_history
from callkpi.connections.following import Follower
from callkpi.daemon.processes import Failed
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context
from tests.stand_ins.queue_figures import TENANT, read
from tests.world import World

T0 = 1_790_000_000
NOW = datetime.fromtimestamp(T0 + 3600, UTC)


def log(text: str) -> list[str]:
    """Lines of queue_log, with times counted from T0."""
    rows = (line.strip().split("|", 1) for line in text.strip().splitlines())
    return [f"{T0 + int(seconds)}|{rest}" for seconds, rest in rows]


def of_log(text: str) -> list[Call]:
    return read(log(text), NOW)[0]


def answers(call: Call) -> dict[str, int | None]:
    return {leg.agent: leg.talk_ms for leg in call.legs if leg.answered_at}


# -- queue_log --------------------------------------------------------------------------------------------


def test_a_customer_sent_into_a_queue_that_still_rings_is_one_call_with_one_stay_there() -> None:
    """The colleague who entered it never leaves; the customer is answered under an id that never entered."""
    (it,) = of_log("""
        0|10.1|sales|NONE|ENTERQUEUE||77015550101|1
        8|10.1|sales|Aigul|CONNECT|8|10.2|7
        98|10.3|tech|NONE|ENTERQUEUE||21|1
        100|10.3|sales|Aigul|ATTENDEDTRANSFER|APP|Queue|8|92|1
        106|10.1|tech|Bolat|CONNECT|8|10.4|6
        166|10.1|tech|Bolat|COMPLETEAGENT|8|60|1""")
    assert [(e.queue, e.outcome, e.wait_ms) for e in it.entries] == [
        ("sales", "answered", 8000),
        ("tech", "answered", 8000),
    ]
    assert answers(it) == {"Aigul": 92_000, "Bolat": 60_000}
    assert (it.customer, it.outcome) == ("+77015550101", Outcome.ANSWERED)


BLIND = f"""
    0|{T0}.1|sales|NONE|ENTERQUEUE||77015550101|1
    8|{T0}.1|sales|Aigul|CONNECT|8|{T0 + 1}.2|7
    30|{T0 + 1}.3|tech|NONE|ENTERQUEUE||%s|1
    40|{T0 + 1}.3|tech|NONE|ABANDON|1|1|10
    40|{T0}.1|sales|Aigul|COMPLETECALLER|8|32|1"""


def test_a_transfer_by_the_second_half_of_the_members_local_channel_is_the_same_call() -> None:
    (it,) = of_log(BLIND % "77015550101")
    assert [(e.queue, e.outcome) for e in it.entries] == [("sales", "answered"), ("tech", "abandoned")]


def test_another_customer_whose_channel_has_the_next_number_is_another_call() -> None:
    assert len(of_log(BLIND % "77015550102")) == 2


def test_a_ring_that_is_answered_as_its_time_runs_out_was_not_let_pass() -> None:
    (it,) = of_log("""
        0|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        15|1.1|sales|Aigul|RINGNOANSWER|15000
        15|1.1|sales|Aigul|CONNECT|15|1.2|15
        40|1.1|sales|Aigul|COMPLETEAGENT|15|25|1""")
    assert [leg.end for leg in it.legs] == [LegEnd.ANSWERED]
    (it,) = of_log("""
        0|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        15|1.1|sales|Aigul|RINGNOANSWER|15000
        15|1.1|sales|Aigul|CONNECT|15|1.2|0""")
    assert [leg.end for leg in it.legs] == [LegEnd.NO_ANSWER, None]


def test_while_the_clock_is_set_back_the_durations_decide() -> None:
    (it,) = of_log("""
        3000|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        3005|1.1|sales|Aigul|CONNECT|5|1.2|3
        60|1.1|sales|Aigul|COMPLETECALLER|5|655|1""")
    assert (it.outcome, answers(it), it.wait_ms) == (Outcome.ANSWERED, {"Aigul": 655_000}, 5000)


def test_who_leaves_a_talk_by_a_key_and_joins_again_talks_no_more() -> None:
    (it,) = of_log("""
        0|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        5|1.1|sales|Aigul|CONNECT|5|1.2|3
        45|1.1|tech|NONE|ENTERQUEUE||77015550101|1
        50|1.1|tech|Bolat|CONNECT|5|1.4|3
        70|1.1|tech|Bolat|COMPLETECALLER|5|20|1""")
    assert (it.outcome, answers(it)) == (Outcome.ANSWERED, {"Aigul": 40_000, "Bolat": 20_000})


def test_did_is_the_line_and_alone_no_call() -> None:
    (it,) = of_log("""
        0|2.1|600|NONE|DID|77172555100
        0|1.1|600|NONE|DID|77172555100
        0|1.1|600|NONE|ENTERQUEUE||77015550101|1
        9|1.1|600|NONE|ABANDON|1|1|9""")
    assert (it.line, it.outcome) == ("77172555100", Outcome.ABANDONED)


def test_channels_that_did_not_fit_fail_the_call() -> None:
    (it,) = of_log("""
        0|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        9|1.1|sales|Aigul|SYSCOMPAT|""")
    assert (it.outcome, it.missed) == (Outcome.FAILED, True)


ASTERISK = SOURCE_TYPES[config.SourceKind.ASTERISK]


def parse(*items: Any, **settings: Any) -> Any:
    source = config.Source(kind=config.SourceKind.ASTERISK, tenant="acme", token="x", timezone="UTC", **settings)
    return ASTERISK.parse(list(items), Context("pbx", "acme", source, NOW))


def test_a_name_with_a_bar_is_read_and_what_is_no_event_is_told() -> None:
    ((told, *_),) = (parse(f"{T0}|1.1|sales|Anna | Sales|CONNECT|5|1.2|3").events,)
    assert (told.agent, told.detail["verb"], told.detail["data1"]) == ("Anna | Sales", "CONNECT", "5")
    parsed = parse(f"{T0}|1.1|sales|Anna | Sales|something|5|1.2|3")
    assert [reason for _, reason in parsed.rejected] == ["field 5 must be an event such as CONNECT, not ' Sales'"]


def test_names_in_another_encoding_stay_two_people_and_the_guess_is_told() -> None:
    lines = [f"{T0}|NONE|sales|{name}|ADDMEMBER|" for name in ("Иван", "Олег")]
    mixed = [line.encode("cp1251").decode("utf-8", "surrogateescape") for line in lines] + [lines[0]]
    parsed = parse(*mixed)
    assert [event.agent for event in parsed.events] == ["Иван", "Олег", "Иван"]
    assert len(parsed.notes) == 1 and "cp1251" in parsed.notes[0]
    parsed = parse(lines[0].encode("koi8-r").decode("utf-8", "surrogateescape"), encoding="koi8-r")
    assert ([event.agent for event in parsed.events], parsed.notes) == (["Иван"], [])


def test_rows_of_the_realtime_table_are_its_lines() -> None:
    def row(second: int, event: str, agent: str = "NONE", *data: str) -> dict[str, Any]:
        time = f"{NOW - timedelta(seconds=900 - second):%Y-%m-%d %H:%M:%S}.000000"
        cells = {f"data{n}": value for n, value in enumerate([*data, *[""] * (5 - len(data))], 1)}
        return {
            "id": second,
            "time": time,
            "callid": "1.1",
            "queuename": "sales",
            "agent": agent,
            "event": event,
            **cells,
        }

    rows = [row(0, "ENTERQUEUE", "NONE", "", "77015550101", "1"), row(5, "CONNECT", "Aigul", "5", "1.2", "4"),
            row(25, "COMPLETECALLER", "Aigul", "5", "20", "1")]  # fmt: skip
    (it,), _ = read(rows, NOW, timezone="UTC")
    assert (it.outcome, answers(it), it.wait_ms) == (Outcome.ANSWERED, {"Aigul": 20_000}, 5000)
    parsed = parse({"event": "CONNECT", "when": "2026-11-24 06:00:00"})
    assert "has the columns time, callid" in parsed.rejected[0][1]


def state_of(text: str) -> list[tuple[str, AgentState | str, str]]:
    return [(e.code, e.state, e.reason) for e in parse(*log(text)).events]


def test_log_ins_of_agents_and_pauses_of_all_queues_are_states() -> None:
    assert state_of("""
        0|NONE|NONE|Agent/8001|AGENTLOGIN|PJSIP/8001-00000001
        1|NONE|NONE|Agent/8001|AGENTCALLBACKLOGIN|8001@agents
        2|NONE|NONE|Agent/8001|PAUSEALL|lunch
        3|NONE|NONE|Agent/8001|AGENTLOGOFF|PJSIP/8001-00000001|600""") == [
        ("ADDMEMBER", "available", ""), ("ADDMEMBER", "available", ""), ("PAUSEALL", "paused", "lunch"),
        ("REMOVEMEMBER", "offline", ""),
    ]  # fmt: skip


PAIRS = [("UNPAUSE", "PAUSE"), ("PAUSE", "UNPAUSE"), ("REMOVEMEMBER", "ADDMEMBER"), ("ADDMEMBER", "REMOVEMEMBER")]
AFTER = {"UNPAUSE": "available", "PAUSE": "paused", "REMOVEMEMBER": "offline", "ADDMEMBER": "available"}


@pytest.mark.parametrize("chunk", [1, 1000])
async def test_states_of_one_second_hold_in_the_order_of_the_log(world: World, chunk: int) -> None:
    told = [(f"{first}-{n}", first, second) for n in range(6) for first, second in PAIRS]
    lines = [f"5|NONE|sales|{who}|{verb}|" for who, *both in told for verb in both]
    await world.send_lines("qlog", log("\n".join(lines)), chunk=chunk)
    await world.project()
    rows = await world.pool.fetch("SELECT agent, state FROM agent_states")
    assert {row["agent"]: row["state"] for row in rows} == {who: AFTER[last] for who, _, last in told}
    assert await world.findings() == []


async def test_members_whom_only_the_configuration_names_are_there_from_their_first_ring(world: World) -> None:
    await world.send_lines("qlog", log("""
        0|1.1|sales|NONE|ENTERQUEUE||77015550101|1
        10|1.1|sales|Aigul|RINGNOANSWER|5000
        20|1.1|sales|Bolat|CONNECT|20|1.2|3
        30|1.1|sales|Bolat|COMPLETEAGENT|20|10|1
        40|NONE|sales|Bolat|PAUSE|lunch"""))  # fmt: skip
    await world.project()
    rows = await world.pool.fetch("SELECT agent, state FROM agent_states")
    assert {row["agent"]: row["state"] for row in rows} == {"Aigul": "available", "Bolat": "paused"}
    assert await world.findings() == []


RESTART = """
    1|1.1|sales|NONE|ENTERQUEUE||77015550111|1
    3|1.2|sales|NONE|ENTERQUEUE||77015550112|2
    4|1.1|sales|Aigul|CONNECT|3|1.3|2
    30|NONE|NONE|NONE|QUEUESTART|
    40|1.9|sales|NONE|ENTERQUEUE||77015550113|1
    60|1.9|sales|NONE|ABANDON|1|1|20"""


@pytest.mark.parametrize("restart_first", [False, True])
async def test_a_restart_ends_what_waited_and_talked_and_nothing_after_it(world: World, restart_first: bool) -> None:
    lines = log(RESTART)
    await world.send_lines("qlog", [lines[3], *lines[:3], *lines[4:]] if restart_first else lines, chunk=1)
    await world.project()
    rows = await world.pool.fetch("SELECT call_id, outcome FROM calls")
    outcomes = {row["call_id"]: row["outcome"] for row in rows}
    assert outcomes == {"1.1": "answered", "1.2": "expired", "1.9": "abandoned"}
    assert await world.findings() == []


def test_a_new_copy_of_a_log_goes_on_where_the_old_one_ended_amid_a_line(tmp_path: Path) -> None:
    path, whole = tmp_path / "queue_log", "".join(f"{line}\n" for line in log(RESTART))
    path.write_text(whole[:-30])
    follower, lines = Follower(path, None), []
    for text in (whole[:-30], whole):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(path)
        while (piece := follower.read()) is not None:
            lines += [line.decode() for line in piece.lines]
            follower.advance(piece.position)
    follower.close()
    assert "".join(f"{line}\n" for line in lines) == whole


# -- AMI --------------------------------------------------------------------------------------------------


def ami(second: float, name: str, uid: str = "", **headers: str) -> dict[str, str]:
    told = {"Event": name, "Timestamp": f"{T0 + second:.6f}", "Linkedid": "9.1"}
    return {**told, **({"Uniqueid": uid} if uid else {}), **headers}


def newchannel(second: float, uid: str, channel: str, exten: str = "s", context: str = "x", caller: str = "") -> Any:
    return ami(second, "Newchannel", uid, Channel=channel, Exten=exten, Context=context, CallerIDNum=caller)


def dial(second: float, uid: str, dest: str, channel: str, target: str, exten: str = "s") -> dict[str, str]:
    about = {"DestUniqueid": dest, "DestChannel": channel, "DialString": target, "Exten": exten, "Context": "x"}
    return ami(second, "DialBegin", uid, **about)


def dialled(second: float, uid: str, dest: str, status: str) -> dict[str, str]:
    return ami(second, "DialEnd", uid, DestUniqueid=dest, DialStatus=status)


def pair(second: float, one: str, two: str) -> dict[str, str]:
    return ami(second, "LocalBridge", LocalOneUniqueid=one, LocalTwoUniqueid=two)


def hangups(second: float, *uids: str) -> list[dict[str, str]]:
    return [ami(second, "Hangup", uid, Cause="16") for uid in uids]


def of_ami(events: Sequence[dict[str, str]], **settings: Any) -> Call:
    (it,), _ = read(list(events), NOW, **settings)
    return it


@pytest.mark.parametrize("settings", [{}, {"outbound_contexts": ("click",)}])
def test_a_click_to_call_whose_customer_does_not_answer_was_made_and_not_reached(settings: Any) -> None:
    it = of_ami([
        newchannel(0, "9.1", "Local/701@click-00000001;1", "701", "click"),
        newchannel(0, "9.2", "Local/701@click-00000001;2", "701", "click"), pair(0, "9.1", "9.2"),
        newchannel(0, "9.3", "PJSIP/701-00000001"), dial(0, "9.2", "9.3", "PJSIP/701-00000001", "701"),
        dialled(3, "9.2", "9.3", "ANSWER"),
        newchannel(3, "9.4", "PJSIP/trunk-00000002"),
        dial(3, "9.1", "9.4", "PJSIP/trunk-00000002", "87015550101@trunk", "87015550101"),
        dialled(33, "9.1", "9.4", "CANCEL"), *hangups(33, "9.1", "9.2", "9.3", "9.4"),
    ], **settings)  # fmt: skip
    assert (it.direction, it.outcome, it.customer) == (Direction.OUTBOUND, Outcome.NO_ANSWER, "+77015550101")
    assert [(leg.agent, leg.end) for leg in it.legs] == [("701", LegEnd.NO_ANSWER)]


def test_a_click_to_call_of_a_colleague_is_internal() -> None:
    it = of_ami([
        newchannel(0, "9.1", "Local/701@click-00000001;1", "701"),
        newchannel(0, "9.2", "Local/701@click-00000001;2", "701"), pair(0, "9.1", "9.2"),
        newchannel(0, "9.3", "PJSIP/701-00000001"), dial(0, "9.2", "9.3", "PJSIP/701-00000001", "701"),
        dialled(3, "9.2", "9.3", "ANSWER"), newchannel(3, "9.4", "PJSIP/702-00000002"),
        dial(3, "9.1", "9.4", "PJSIP/702-00000002", "702", "702"), dialled(5, "9.1", "9.4", "ANSWER"),
        *hangups(33, "9.1", "9.2", "9.3", "9.4"),
    ])  # fmt: skip
    assert it.direction is Direction.INTERNAL


def test_behind_a_trunk_it_is_the_dialled_number_that_answers_and_not_for_the_queue() -> None:
    place = {"Context": "q", "Exten": "600", "Queue": "sales", "CallerIDNum": "77015550101"}
    it = of_ami([
        newchannel(0, "9.1", "PJSIP/trunk-00000001", "7172", "in", "77015550101"),
        ami(0, "QueueCallerJoin", "9.1", **place, Priority="1"),
        ami(20, "QueueCallerAbandon", "9.1", **place, Priority="1", HoldTime="20"),
        ami(20, "QueueCallerLeave", "9.1", **place, Priority="1"),
        newchannel(20, "9.2", "PJSIP/trunk-00000002"),
        dial(20.1, "9.1", "9.2", "PJSIP/trunk-00000002", "trunk/87075550199"), dialled(25, "9.1", "9.2", "ANSWER"),
        *hangups(85, "9.1", "9.2"),
    ])  # fmt: skip
    assert ([e.outcome for e in it.entries], it.outcome) == ([Outcome.TIMED_OUT], Outcome.ANSWERED)
    assert [(leg.agent, leg.queue, leg.entry, leg.talk_ms) for leg in it.legs] == [("87075550199", "", None, 60_000)]


def test_a_ring_that_is_told_as_let_pass_and_as_answered_at_once_was_answered() -> None:
    place = {"Queue": "sales", "CallerIDNum": "77015550101"}
    member = {**place, "MemberName": "Aigul", "Interface": "PJSIP/21", "DestUniqueid": "9.2"}
    it = of_ami([
        newchannel(0, "9.1", "PJSIP/trunk-00000001", "7172", "in", "77015550101"),
        ami(0, "QueueCallerJoin", "9.1", **place), ami(0.1, "AgentCalled", "9.1", **member),
        ami(15.1, "AgentRingNoAnswer", "9.1", **member, RingTime="15000"),
        ami(15.1, "QueueCallerLeave", "9.1", **place),
        ami(15.1, "AgentConnect", "9.1", **member, HoldTime="15", RingTime="15"),
        ami(40, "AgentComplete", "9.1", **member, HoldTime="15", TalkTime="25", Reason="agent"),
        *hangups(40.1, "9.1", "9.2"),
    ])  # fmt: skip
    assert [leg.end for leg in it.legs] == [LegEnd.ANSWERED]


async def test_a_customer_whom_the_exchange_calls_back_is_reached(world: World) -> None:
    def calls_back(second: float) -> list[dict[str, str]]:
        place = {"Queue": "sales", "CallerIDNum": "77015550101"}
        member = {**place, "MemberName": "Aigul", "Interface": "PJSIP/21", "DestUniqueid": "9.8"}
        return [
            newchannel(second, "9.1", "Local/cb@callback-00000001;1", "cb"),
            newchannel(second, "9.2", "Local/cb@callback-00000001;2", "cb"), pair(second, "9.1", "9.2"),
            newchannel(second, "9.3", "PJSIP/trunk-00000002"),
            dial(second, "9.2", "9.3", "PJSIP/trunk-00000002", "trunk/77015550101"),
            dialled(second + 9, "9.2", "9.3", "ANSWER"), ami(second + 9, "QueueCallerJoin", "9.1", **place),
            ami(second + 9, "AgentCalled", "9.1", **member), ami(second + 12, "QueueCallerLeave", "9.1", **place),
            ami(second + 12, "AgentConnect", "9.1", **member, HoldTime="3", RingTime="3"),
            ami(second + 42, "AgentComplete", "9.1", **member, HoldTime="3", TalkTime="30", Reason="agent"),
            *hangups(second + 42, "9.1", "9.2", "9.3", "9.8"),
        ]  # fmt: skip

    missed = [{**event, "Linkedid": "8.1"} for event in (
        newchannel(0, "8.1", "PJSIP/trunk-00000001", "7172", "in", "77015550101"), *hangups(20, "8.1"))]  # fmt: skip
    await world.send("pbx", json.dumps(missed + calls_back(300)))
    await world.project()
    row = await world.pool.fetchrow("SELECT direction, outcome, body FROM calls WHERE call_id = '9.1'")
    assert row is not None and (row["direction"], row["outcome"]) == ("outbound", "answered")
    assert await world.pool.fetchval("SELECT fate FROM missed_calls") == Fate.REACHED


# -- history ----------------------------------------------------------------------------------------------


def test_a_file_of_cel_without_the_columns_that_decide_is_refused_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "cel.csv"
    path.write_text("eventtype,eventtime,cid_num,exten,context,linkedid\nCHAN_START,1790000000,1,2,in,1.1\n")
    with pytest.raises(Failed, match="CEL without channame, appname, appdata, uniqueid tells no calls"):
        list(read_history(path))


def test_of_phones_dialled_at_once_those_whose_colleague_was_faster_let_nothing_pass() -> None:
    def record(phone: str, answer: int | None) -> dict[str, str]:
        seconds = {"start": 0, "answer": answer, "end": 8 if answer is None else 48}
        begin = NOW - timedelta(seconds=900)
        at = {name: f"{begin + timedelta(seconds=n):%Y-%m-%d %H:%M:%S}" for name, n in seconds.items() if n is not None}
        return {**at, "src": "77015550170", "dst": "7172", "channel": "PJSIP/trunk-1", "dstchannel": f"PJSIP/{phone}-1",
                "lastapp": "Dial", "lastdata": "PJSIP/101&PJSIP/102", "uniqueid": "60.1", "linkedid": "60.1",
                "disposition": "NO ANSWER" if answer is None else "ANSWERED", "billsec": "40"}  # fmt: skip

    (it,), _ = read([record("101", None), record("102", 8)], NOW, timezone="UTC")
    assert {leg.agent: leg.end for leg in it.legs} == {"101": LegEnd.CANCELLED, "102": LegEnd.ANSWERED}


# -- FreeSWITCH -------------------------------------------------------------------------------------------


def freeswitch(*records: dict[str, str]) -> Call:
    source = config.Source(kind=config.SourceKind.FREESWITCH, tenant="acme", token="x")
    reader = SOURCE_TYPES[config.SourceKind.FREESWITCH]
    payloads = [{"variables": variables, "callflow": [{"caller_profile": {
        "caller_id_number": "77015550160", "destination_number": "600", "uuid": variables["uuid"]}}]}
        for variables in records]  # fmt: skip
    parsed = reader.parse(payloads, Context("fs", "acme", source, NOW))
    assert parsed.rejected == []
    told: Sequence[CallEvent] = reader.interpret(parsed.events, source)
    return fold("a", told, Thresholds(TENANT), NOW)


def caller(end: int, **variables: str) -> dict[str, str]:
    return {"uuid": "a", "cc_side": "member", "cc_queue": "600@pbx", "start_epoch": str(T0), "answer_epoch": str(T0),
            "end_epoch": str(T0 + end), "cc_queue_joined_epoch": str(T0 + 1), "hangup_cause": "NORMAL_CLEARING",
            **variables}  # fmt: skip


def agent(begin: int, answer: int, end: int, cause: str = "NORMAL_CLEARING") -> dict[str, str]:
    return {"uuid": "b", "cc_side": "agent", "cc_queue": "600@pbx", "cc_agent": "1001", "cc_member_session_uuid": "a",
            "start_epoch": str(T0 + begin), "answer_epoch": str(T0 + answer), "end_epoch": str(T0 + end),
            "hangup_cause": cause}  # fmt: skip


@pytest.mark.parametrize("answer", [3, 9])
def test_an_agents_phone_that_answered_a_caller_who_was_gone_answered_nobody(answer: int) -> None:
    gone = caller(4, cc_cause="cancel", cc_cancel_reason="BREAK_OUT", cc_queue_canceled_epoch=str(T0 + 4))
    it = freeswitch(gone, agent(2, answer, 20))
    assert (it.outcome, it.missed, [e.outcome for e in it.entries]) == ("short_abandon", True, ["short_abandon"])
    assert [leg.end for leg in it.legs] == [LegEnd.CANCELLED]


def test_an_agents_channel_that_ends_by_a_transfer_has_transferred() -> None:
    answered = caller(100, cc_cause="answered", cc_queue_answered_epoch=str(T0 + 5), cc_agent="1001", cc_agent_uuid="b",
                      cc_queue_terminated_epoch=str(T0 + 35))  # fmt: skip
    it = freeswitch(answered, agent(2, 5, 35, "BLIND_TRANSFER"))
    assert [(leg.agent, leg.talk_ms, leg.transferred) for leg in it.legs] == [("1001", 30_000, True)]
