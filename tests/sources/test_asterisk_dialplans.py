"""What dialplans do with queues: each story as AMI events, as its queue_log, and in the figures that both must give.

An AMI line is ``seconds Event caller [member] [@queue] Header=value…``; the names are of CAST. ``a+b`` are the halves
of a Local channel, ``a>b`` is a transfer of b by a. A log line is
``seconds|call id|queue|agent|event|…`` as Asterisk writes it, with times counted from the story's begin.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from callkpi.calls.facts import facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import Call, Outcome, agent_id
from callkpi.sources.base import Delivery
from tests.stand_ins.asterisk_events import T0, event
from tests.stand_ins.queue_figures import ASTERISK, TENANT, counted, figures, read

NOW = datetime.fromtimestamp(T0 + 3600, UTC)


@dataclass(frozen=True)
class Story:
    name: str
    ami: str
    log: str
    figures: str

    @property
    def events(self) -> list[dict[str, str]]:
        return [event(line) for line in self.ami.strip().splitlines()]

    @property
    def lines(self) -> list[str]:
        rows = (line.strip().split("|", 1) for line in self.log.strip().splitlines())
        return [f"{T0 + int(seconds)}|{rest}" for seconds, rest in rows]

    @property
    def expected(self) -> dict[str, dict[str, int]]:
        """``sales: entered 1, answered 1`` a line; waits and talks are left to the comparison of the three."""
        result = {}
        for line in self.figures.strip().splitlines():
            name, _, words = line.strip().partition(": ")
            pairs = (pair.rsplit(" ", 1) for pair in words.split(", "))
            result[name] = {key: int(value) for key, value in pairs}
        return result


STORIES = [
    Story(
        "times out, goes to another queue, times out there, leaves a message",
        """
        0      Newchannel          caller Priority=1
        1      QueueCallerJoin     caller @sales Priority=4
        13     QueueCallerAbandon  caller @sales Priority=4 HoldTime=12
        13.001 QueueCallerLeave    caller @sales Priority=4
        13.002 QueueCallerJoin     caller @support Priority=5
        33.002 QueueCallerAbandon  caller @support Priority=5 HoldTime=20
        33.003 QueueCallerLeave    caller @support Priority=5
        70     HangupRequest       caller Priority=7
        70.001 SoftHangupRequest   caller Priority=7
        70.002 Hangup              caller Priority=7 Cause=16
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        13|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|12
        13|1.1|support|NONE|ENTERQUEUE||+77011234567|1
        33|1.1|support|NONE|EXITWITHTIMEOUT|1|1|20
        """,
        """
        sales: entered 1, exitwithtimeout 1
        support: entered 1, exitwithtimeout 1
        """,
    ),
    Story(
        "the dialplan loops into the same queue until the caller is hung up by a command, which no event announces",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        11     QueueCallerAbandon  caller @sales Priority=4 HoldTime=10
        11.001 QueueCallerLeave    caller @sales Priority=4
        15     QueueCallerJoin     caller @sales Priority=4
        25     QueueCallerAbandon  caller @sales Priority=4 HoldTime=10
        25.001 QueueCallerLeave    caller @sales Priority=4
        29     QueueCallerJoin     caller @sales Priority=4
        36     QueueCallerAbandon  caller @sales Priority=4 HoldTime=7
        36.001 QueueCallerLeave    caller @sales Priority=4
        36.002 SoftHangupRequest   caller Priority=4
        36.003 Hangup              caller Priority=4 Cause=16
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        11|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|10
        15|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        25|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|10
        29|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        36|1.1|sales|NONE|ABANDON|1|1|7
        """,
        "sales: entered 3, exitwithtimeout 2, abandon 1",
    ),
    Story(
        "times out and is hung up by the dialplan at once: that is no abandon",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        13     QueueCallerAbandon  caller @sales Priority=4 HoldTime=12
        13.001 QueueCallerLeave    caller @sales Priority=4
        13.002 SoftHangupRequest   caller Priority=5
        13.003 Hangup              caller Exten=h Priority=2 Cause=16
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        13|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|12
        """,
        "sales: entered 1, exitwithtimeout 1",
    ),
    Story(
        "presses a key, which leads to another queue, and hangs up there",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        9      QueueCallerLeave    caller @sales Priority=4
        10     QueueCallerJoin     caller @support Priority=2
        19     HangupRequest       caller Priority=2
        19.001 QueueCallerAbandon  caller @support Priority=2 HoldTime=9
        19.002 QueueCallerLeave    caller @support Priority=2
        19.003 SoftHangupRequest   caller Priority=2
        19.004 Hangup              caller Priority=2 Cause=16
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        9|1.1|sales|NONE|EXITWITHKEY|1|1|1|8
        10|1.1|support|NONE|ENTERQUEUE||+77011234567|1
        19|1.1|support|NONE|ABANDON|1|1|9
        """,
        """
        sales: entered 1, exitwithkey 1
        support: entered 1, abandon 1
        """,
    ),
    Story(
        "all within ticks of a clock of whole seconds: leaves, comes back, is answered, ends, comes back, leaves",
        """
        1  QueueCallerJoin     caller @sales Priority=4
        8  QueueCallerAbandon  caller @sales Priority=4 HoldTime=7
        8  QueueCallerLeave    caller @sales Priority=4
        8  QueueCallerJoin     caller @sales Priority=6
        8  AgentCalled         caller dana @sales
        9  QueueCallerLeave    caller @sales Priority=6
        9  AgentConnect        caller dana @sales HoldTime=1 RingTime=1
        12 AgentComplete       caller dana @sales HoldTime=1 TalkTime=3 Reason=agent
        12 Hangup              dana Cause=16
        12 QueueCallerJoin     caller @sales Priority=8
        15 HangupRequest       caller
        15 QueueCallerAbandon  caller @sales Priority=8 HoldTime=3
        15 QueueCallerLeave    caller @sales Priority=8
        15 Hangup              caller Priority=8
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        8|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|7
        8|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        9|1.1|sales|Dana|CONNECT|1|1.2|1
        12|1.1|sales|Dana|COMPLETEAGENT|1|3|1
        12|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        15|1.1|sales|NONE|ABANDON|1|1|3
        """,
        """
        sales: entered 3, exitwithtimeout 1, answered 1, completeagent 1, abandon 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "is sent elsewhere by a supervisor while a phone rings: the queue calls it an abandon",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        2      DialBegin           caller dana
        5      QueueCallerAbandon  caller @sales Priority=4 HoldTime=4
        5.001  QueueCallerLeave    caller @sales Priority=4
        5.001  DialEnd             caller dana DialStatus=CANCEL
        5.002  Hangup              dana
        40     Hangup              caller Exten=operator Priority=3
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|RINGCANCELED|3000
        5|1.1|sales|NONE|ABANDON|1|1|4
        """,
        "sales: entered 1, abandon 1",
    ),
    Story(
        "the ring runs out as the queue does: a timeout and a ring without an answer",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        2      DialBegin           caller dana
        9      AgentRingNoAnswer   caller dana @sales RingTime=7000
        9.001  DialEnd             caller dana DialStatus=NOANSWER
        9.002  QueueCallerAbandon  caller @sales Priority=4 HoldTime=8
        9.003  QueueCallerLeave    caller @sales Priority=4
        9.004  Hangup              dana
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        9|1.1|sales|Dana|RINGNOANSWER|7000
        9|1.1|sales|NONE|EXITWITHTIMEOUT|1|1|8
        """,
        """
        sales: entered 1, exitwithtimeout 1
        agent Dana: ringnoanswer 1
        """,
    ),
    Story(
        "hangs up while the agent who took the call hears the announcement",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        2      DialBegin           caller dana
        5      DialEnd             caller dana DialStatus=ANSWER
        6      HangupRequest       caller Priority=4
        7      QueueCallerAbandon  caller @sales Priority=4 HoldTime=6
        7.001  Hangup              dana
        7.002  QueueCallerLeave    caller @sales Priority=4
        7.003  Hangup              caller Priority=4
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        7|1.1|sales|Dana|ABANDON|1|1|6
        """,
        "sales: entered 1, abandon 1",
    ),
    Story(
        "is connected and gone at once",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        4      QueueCallerLeave    caller @sales Priority=4
        4.001  AgentConnect        caller dana @sales HoldTime=3 RingTime=2
        4.002  HangupRequest       caller
        4.003  AgentComplete       caller dana @sales HoldTime=3 TalkTime=0 Reason=caller
        4.004  Hangup              dana
        4.005  Hangup              caller
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        4|1.1|sales|Dana|CONNECT|3|1.2|2
        4|1.1|sales|Dana|COMPLETECALLER|3|0|1
        """,
        """
        sales: entered 1, answered 1, completecaller 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "one phone is unreachable, one busy, then ring-all finds Erlan at the second try",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        1.1    AgentRingNoAnswer   caller @sales MemberName=Zhanna Interface=PJSIP/1005 RingTime=0
        2      AgentCalled         caller dana @sales
        2      AgentCalled         caller erlan @sales
        3      AgentRingNoAnswer   caller dana @sales RingTime=1000
        8      AgentRingNoAnswer   caller erlan @sales RingTime=6000
        10     AgentCalled         caller dana-again @sales
        10     AgentCalled         caller erlan-again @sales
        12     QueueCallerLeave    caller @sales Priority=4
        12.001 AgentConnect        caller erlan-again @sales HoldTime=11 RingTime=2
        20     AgentComplete       caller erlan-again @sales HoldTime=11 TalkTime=8 Reason=agent
        20.1   Hangup              caller Priority=4
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        1|1.1|sales|Zhanna|RINGNOANSWER|0
        3|1.1|sales|Dana|RINGNOANSWER|1000
        8|1.1|sales|Erlan|RINGNOANSWER|6000
        12|1.1|sales|Dana|RINGCANCELED|2000
        12|1.1|sales|Erlan|CONNECT|11|1.13|2
        20|1.1|sales|Erlan|COMPLETEAGENT|11|8|1
        """,
        """
        sales: entered 1, answered 1, completeagent 1
        agent Dana: ringnoanswer 1
        agent Erlan: answered 1, ringnoanswer 1
        agent Zhanna: ringnoanswer 1
        """,
    ),
    Story(
        "the member's Local channel is taken out of the call, so it ends under the phone's own channel",
        """
        1      QueueCallerJoin         caller @sales Priority=4
        2      AgentCalled             caller local-dana @sales
        2      LocalBridge             local-dana+local-dana2
        5      QueueCallerLeave        caller @sales Priority=4
        5.001  AgentConnect            caller local-dana @sales HoldTime=4 RingTime=3
        5.1    LocalOptimizationBegin  local-dana+local-dana2 SourceUniqueid=phone-dana
        5.2    Hangup                  local-dana
        5.2    Hangup                  local-dana2
        30     HangupRequest           phone-dana
        30.001 AgentComplete           caller phone-dana @sales HoldTime=4 TalkTime=25 Reason=agent
        30.002 Hangup                  phone-dana
        30.003 Hangup                  caller Priority=4
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|CONNECT|4|1.5|3
        30|1.1|sales|Dana|COMPLETEAGENT|4|25|1
        """,
        """
        sales: entered 1, answered 1, completeagent 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "is transferred by the agent into another queue, which gives him up",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        5      QueueCallerLeave    caller @sales Priority=4
        5.001  AgentConnect        caller dana @sales HoldTime=4 RingTime=3
        15     BlindTransfer       Result=Success dana>caller Extension=600
        15.001 AgentComplete       caller dana @sales HoldTime=4 TalkTime=10 Reason=transfer
        15.002 QueueCallerJoin     caller @support Exten=600 Priority=2
        15.003 HangupRequest       dana
        15.004 Hangup              dana
        35.002 QueueCallerAbandon  caller @support Exten=600 Priority=2 HoldTime=20
        35.003 QueueCallerLeave    caller @support Exten=600 Priority=2
        35.004 SoftHangupRequest   caller Exten=600 Priority=3
        35.005 Hangup              caller Exten=600 Priority=3
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|CONNECT|4|1.2|3
        15|1.1|sales|Dana|BLINDTRANSFER|600|internal|4|10|1
        15|1.1|support|NONE|ENTERQUEUE||+77011234567|1
        35|1.1|support|NONE|EXITWITHTIMEOUT|1|1|20
        """,
        """
        sales: entered 1, answered 1, blindtransfer 1
        support: entered 1, exitwithtimeout 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "is transferred into the same queue, and enters it before his conversation is complete",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        5      QueueCallerLeave    caller @sales Priority=4
        5.001  AgentConnect        caller dana @sales HoldTime=4 RingTime=3
        14     BlindTransfer       dana>caller Result=Success Extension=500
        14.001 QueueCallerJoin     caller @sales Priority=4
        15.001 AgentComplete       caller dana @sales HoldTime=4 TalkTime=10 Reason=transfer
        15.002 Hangup              dana
        20     QueueCallerLeave    caller @sales Priority=4
        20.001 AgentConnect        caller erlan @sales HoldTime=6 RingTime=3
        26     AgentComplete       caller erlan @sales HoldTime=6 TalkTime=6 Reason=agent
        26.1   Hangup              caller Priority=4
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|CONNECT|4|1.2|3
        14|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        15|1.1|sales|Dana|BLINDTRANSFER|500|inbound|4|10|1
        20|1.1|sales|Erlan|CONNECT|6|1.3|3
        26|1.1|sales|Erlan|COMPLETEAGENT|6|6|1
        """,
        """
        sales: entered 2, answered 2, blindtransfer 1, completeagent 1
        agent Dana: answered 1
        agent Erlan: answered 1
        """,
    ),
    Story(
        "a transfer that failed ends no conversation",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        5      QueueCallerLeave    caller @sales Priority=4
        5.001  AgentConnect        caller dana @sales HoldTime=4 RingTime=3
        15     BlindTransfer       Result=Fail dana>caller
        25     AgentComplete       caller dana @sales HoldTime=4 TalkTime=20 Reason=caller
        25.1   Hangup              dana
        25.1   Hangup              caller
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|CONNECT|4|1.2|3
        25|1.1|sales|Dana|COMPLETECALLER|4|20|1
        """,
        """
        sales: entered 1, answered 1, completecaller 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "another phone picks the call up",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        4      Pickup              other-phone TargetUniqueid=dana TargetLinkedid=1.1
        4.001  QueueCallerLeave    caller @sales Priority=4
        4.002  AgentConnect        caller other-phone @sales HoldTime=3 RingTime=2
        4.003  Hangup              dana
        19     AgentComplete       caller other-phone @sales HoldTime=3 TalkTime=15 Reason=agent
        19.1   Hangup              other-phone
        19.1   Hangup              caller
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        4|1.1|sales|Dana|CONNECT|3|1.9|2
        19|1.1|sales|Dana|COMPLETEAGENT|3|15|1
        """,
        """
        sales: entered 1, answered 1, completeagent 1
        agent Dana: answered 1
        """,
    ),
    Story(
        "stays on the line when the agent hangs up, and is served by another queue",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        5      QueueCallerLeave    caller @sales Priority=4
        5.001  AgentConnect        caller dana @sales HoldTime=4 RingTime=3
        15     AgentComplete       caller dana @sales HoldTime=4 TalkTime=10 Reason=agent
        15.1   Hangup              dana
        16     QueueCallerJoin     caller @survey Priority=5
        18     QueueCallerLeave    caller @survey Priority=5
        18.001 AgentConnect        caller erlan @survey HoldTime=2 RingTime=1
        25     AgentComplete       caller erlan @survey HoldTime=2 TalkTime=7 Reason=caller
        25.1   Hangup              erlan
        25.1   Hangup              caller
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        5|1.1|sales|Dana|CONNECT|4|1.2|3
        15|1.1|sales|Dana|COMPLETEAGENT|4|10|1
        16|1.1|survey|NONE|ENTERQUEUE||+77011234567|1
        18|1.1|survey|Erlan|CONNECT|2|1.3|1
        25|1.1|survey|Erlan|COMPLETECALLER|2|7|1
        """,
        """
        sales: entered 1, answered 1, completeagent 1
        survey: entered 1, answered 1, completecaller 1
        agent Dana: answered 1
        agent Erlan: answered 1
        """,
    ),
    Story(
        "the agent drops the caller before they speak, a colleague takes him",
        """
        1      QueueCallerJoin     caller @sales Priority=4
        2      AgentCalled         caller dana @sales
        4      AgentDump           caller dana @sales
        5      AgentCalled         caller erlan @sales
        6      QueueCallerLeave    caller @sales Priority=4
        6.001  AgentConnect        caller erlan @sales HoldTime=5 RingTime=1
        9      AgentComplete       caller erlan @sales HoldTime=5 TalkTime=3 Reason=agent
        9.1    Hangup              caller
        """,
        """
        1|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
        4|1.1|sales|Dana|AGENTDUMP|
        6|1.1|sales|Erlan|CONNECT|5|1.3|1
        9|1.1|sales|Erlan|COMPLETEAGENT|5|3|1
        """,
        """
        sales: entered 1, answered 1, completeagent 1
        agent Erlan: answered 1
        """,
    ),
    Story(
        "a customer behind a Local channel: his half hangs up",
        """
        0      Newchannel          half1 Priority=1
        0      LocalBridge         half1+half2
        1      QueueCallerJoin     half2 @sales Priority=4
        9      SoftHangupRequest   half1 Priority=1
        9.001  HangupRequest       half2 Priority=4
        9.002  Hangup              half1
        9.003  QueueCallerAbandon  half2 @sales Priority=4 HoldTime=8
        9.004  QueueCallerLeave    half2 @sales Priority=4
        9.005  Hangup              half2 Priority=4
        """,
        """
        1|1.11|sales|NONE|ENTERQUEUE||+77011234567|1
        9|1.11|sales|NONE|ABANDON|1|1|8
        """,
        "sales: entered 1, abandon 1",
    ),
    Story(
        "who is told of a pause in two queues and added paused",
        """
        0 QueueMemberAdded   @sales MemberName=Dana Interface=PJSIP/1003 Paused=1
        1 QueueMemberPause   @sales MemberName=Dana Interface=PJSIP/1003 Paused=0
        2 QueueMemberPause   @sales MemberName=Dana Interface=PJSIP/1003 Paused=1 PausedReason=lunch
        2 QueueMemberPause   @support MemberName=Dana Interface=PJSIP/1003 Paused=1 PausedReason=lunch
        3 QueueMemberRemoved @sales MemberName=Dana Interface=PJSIP/1003 Paused=1
        """,
        """
        0|MANAGER|sales|Dana|ADDMEMBER|PAUSED
        1|NONE|sales|Dana|UNPAUSE|
        2|NONE|NONE|Dana|PAUSEALL|lunch
        2|NONE|sales|Dana|PAUSE|lunch
        2|NONE|support|Dana|PAUSE|lunch
        3|MANAGER|sales|Dana|REMOVEMEMBER|
        """,
        "agent Dana: addmember 1, unpause 1, pause 2, removemember 1",
    ),
]


def orders(story: Story) -> Iterator[list[dict[str, str]]]:
    """As it was, backwards, and shuffled with repetitions."""
    yield story.events
    yield story.events[::-1]
    for seed in range(5):
        mixed = story.events + story.events[seed::2]
        random.Random(seed).shuffle(mixed)
        yield mixed


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_ami_and_queue_log_give_the_figures(story: Story) -> None:
    truth = counted(story.lines).plain()
    named = {name: {k: v for k, v in row.items() if not k.endswith("_s")} for name, row in truth.items()}
    assert {name: row for name, row in named.items() if row} == story.expected, "the story itself"
    assert figures(*read(story.lines, NOW)).plain() == truth
    assert figures(*read(story.lines[::-1], NOW)).plain() == truth
    for events in orders(story):
        assert figures(*read(events, NOW)).plain() == truth


def calls(ami: str) -> list[Call]:
    return read([event(line) for line in ami.strip().splitlines()], NOW)[0]


def call(ami: str) -> Call:
    (it,) = calls(ami)
    return it


def sees(ami: str) -> dict[str, dict[str, int]]:
    return figures(*read([event(line) for line in ami.strip().splitlines()], NOW)).plain()


# -- stories that only one of the two can tell ------------------------------------------------------------

CONSULTATION = """
    1      QueueCallerJoin         caller @sales Priority=4
    5      QueueCallerLeave        caller @sales Priority=4
    5.001  AgentConnect            caller dana @sales HoldTime=4 RingTime=3
    10     LocalBridge             consult1+consult2
    10     DialBegin               dana consult1
    11     QueueCallerJoin         consult2 @support Priority=2
    13     QueueCallerLeave        consult2 @support Priority=2
    13.001 AgentConnect            consult2 erlan @support HoldTime=2 RingTime=1
    15     AttendedTransfer        OrigTransfererUniqueid=dana OrigTransfererLinkedid=1.1 TransfereeUniqueid=caller
    15.001 AgentComplete           caller dana @sales HoldTime=4 TalkTime=10 Reason=transfer
    15.002 LocalOptimizationBegin  consult1+consult2 SourceUniqueid=caller
    15.003 Hangup                  dana
    15.004 Hangup                  consult1
    15.005 Hangup                  consult2
    40     HangupRequest           caller
    40.001 AgentComplete           caller erlan @support HoldTime=2 TalkTime=27 Reason=caller
    40.002 Hangup                  erlan
    40.003 Hangup                  caller
"""


def test_the_agent_consults_another_queue_and_connects_the_customer_to_it() -> None:
    """Asterisk takes the consultation's Local channel out: the conversation ends under the customer's own channel."""
    log = f"""{T0 + 1}|1.1|sales|NONE|ENTERQUEUE||+77011234567|1
{T0 + 5}|1.1|sales|Dana|CONNECT|4|1.2|3
{T0 + 11}|1.82|support|NONE|ENTERQUEUE||1003|1
{T0 + 13}|1.82|support|Erlan|CONNECT|2|1.3|1
{T0 + 15}|1.1|sales|Dana|ATTENDEDTRANSFER|BRIDGE|9d6c|4|10|1
{T0 + 40}|1.1|support|Erlan|COMPLETECALLER|2|27|1""".split("\n")
    assert sees(CONSULTATION) == counted(log).plain()
    assert call(CONSULTATION).outcome is Outcome.ANSWERED
    # The log does not tie the two calls; what the agents did is right all the same.
    agents = figures(*read(log, NOW)).plain()
    assert agents["agent Dana"] == {"answered": 1, "talk_s": 10}
    assert agents["agent Erlan"]["talk_s"] == 27


def test_while_the_members_local_channel_is_taken_out_they_talk_on() -> None:
    story = next(story for story in STORIES if "Local channel is taken out" in story.name)
    events = story.events
    names = [event["Event"] for event in events]
    (it,) = read(events[: names.index("AgentComplete") - 1], NOW)[0]
    assert it.is_open
    assert it.legs[0].is_open
    lost = [event for event in events if event["Event"] != "AgentComplete"]
    assert figures(*read(lost, NOW)).plain() == counted(story.lines).plain()


@pytest.mark.parametrize(
    ("ami", "log"),
    [
        ("9 AgentConnect caller dana @sales HoldTime=7 RingTime=3", f"{T0 + 9}|1.1|sales|Dana|CONNECT|7|1.2|3"),
        ("9 QueueCallerAbandon caller @sales HoldTime=7 Priority=4\n 9.1 Hangup caller Priority=4",
         f"{T0 + 9}|1.1|sales|NONE|ABANDON|1|1|7"),
    ],
    ids=["connected", "abandoned"],
)  # fmt: skip
def test_a_stay_that_began_before_the_stream_tells_itself_when_it_began(ami: str, log: str) -> None:
    for (it,), _ in (read([event(line) for line in ami.splitlines()], NOW), read([log], NOW)):
        (entry,) = it.entries
        assert (entry.entered_at.timestamp(), entry.wait_ms, it.direction) == (T0 + 2, 7000, "inbound")


def test_a_conversation_whose_beginning_was_not_seen_is_the_agents_and_no_stay() -> None:
    ami = [event("60 AgentComplete caller dana @sales HoldTime=7 TalkTime=30 Reason=caller")]
    log = [f"{T0 + 60}|1.1|sales|Dana|COMPLETECALLER|7|30|1"]
    for (it,), _ in (read(ami, NOW), read(log, NOW)):
        (leg,) = it.legs
        assert leg.answered_at is not None
        assert (leg.answered_at.timestamp(), leg.talk_ms, leg.ended_by) == (T0 + 30, 30_000, "customer")
        assert (leg.agent, leg.queue, it.entries) == ("Dana", "sales", ())


def test_a_member_who_logged_in_by_a_call_draws_the_customer_into_it_and_counts_once() -> None:
    """AgentLogin: his call is older, so the end of the conversation carries its Linkedid."""
    ami = """
    1     QueueCallerJoin   caller @sales
    5     QueueCallerLeave  caller @sales
    5.001 AgentConnect      caller dana @sales HoldTime=4 RingTime=3
    """
    end = event("15 AgentComplete caller dana @sales HoldTime=4 TalkTime=10 Reason=agent")
    older = {**end, "Linkedid": "0.7", "DestLinkedid": "0.7"}
    login = {"Channel": "PJSIP/1003-00000007", "Uniqueid": "0.7", "Linkedid": "0.7", "CallerIDNum": "1003"}
    told = [event(line) for line in ami.strip().splitlines()]
    calls, _ = read([{"Event": "Newchannel", "Timestamp": f"{T0}", **login}, *told, older], NOW)
    found = figures(calls, []).plain()
    assert found["sales"]["entered"] == found["sales"]["answered"] == 1
    measures = [
        fact.measures for it in calls for fact in facts(it, Thresholds(TENANT)) if agent_id(fact.key.agent) == "Dana"
    ]
    assert sum(m.get("answered", 0) for m in measures) == sum(m.get("handled", 0) for m in measures) == 1
    assert sum(m.get("talk_ms", 0) for m in measures) == 10_000


def test_a_cut_stream_leaves_open_what_is_open() -> None:
    it = call("0 Newchannel caller\n 1 QueueCallerJoin caller @sales\n 2 AgentCalled caller dana @sales")
    assert it.is_open
    assert it.entries[0].is_waiting
    assert it.legs[0].is_open


def test_an_agent_who_must_confirm_the_call_is_waited_for() -> None:
    """The caller has left the queue, and it is no exit by key: the agent has lifted and is asked to press 1."""
    ami = """
    1   QueueCallerJoin   caller @sales
    2   AgentCalled       caller dana @sales
    2   DialBegin         caller dana
    4   DialEnd           caller dana DialStatus=ANSWER
    4.1 QueueCallerLeave  caller @sales
    9   HangupRequest     erlan
    """
    assert call(ami).entries[0].is_waiting
    it = call(ami + "10 AgentConnect caller dana @sales HoldTime=9 RingTime=2")
    assert (it.entries[0].outcome, it.entries[0].wait_ms) == (Outcome.ANSWERED, 9000)


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        ("4 SoftHangupRequest caller Priority=9\n 4.1 Hangup caller", Outcome.NO_ANSWER),
        ("4 HangupRequest caller\n 4.1 SoftHangupRequest caller\n 4.2 Hangup caller", Outcome.SHORT_ABANDON),
    ],
    ids=["the dialplan ended it", "the customer ended it"],
)
def test_a_caller_whom_an_empty_queue_did_not_take(end: str, outcome: Outcome) -> None:
    it = call("0 Newchannel caller\n" + end)
    assert (it.entries, it.outcome) == ((), outcome)


def test_lists_and_statistics_in_the_stream_are_no_events_of_calls() -> None:
    about = {"Uniqueid": "1.1", "Linkedid": "1.1", "Queue": "sales", "Name": "Dana", "Paused": "1", "Location": "x"}
    names = ["QueueParams", "QueueMember", "QueueEntry", "QueueSummary", "QueueStatusComplete", "CoreShowChannel",
             "CoreShowChannelsComplete", "UserEvent", "Cdr", "CEL", "FullyBooted", "Shutdown", "Reload", "VarSet",
             "Newexten", "MusicOnHoldStart", "ChanSpyStart", "ConfbridgeJoin", "ParkedCall"]  # fmt: skip
    assert read([{"Event": name, **about} for name in names], NOW) == ([], [])


def test_ids_with_a_systems_name() -> None:
    story = STORIES[0]
    named = [{k: f"pbx1-{v}" if k.endswith("id") else v for k, v in event.items()} for event in story.events]
    log = [line.replace("|1.1|", "|pbx1-1.1|") for line in story.lines]
    (ami,), (told,) = read(named, NOW)[0], read(log, NOW)[0]
    assert ami.call_id == told.call_id == "pbx1-1.1"
    assert [e.outcome for e in ami.entries] == [e.outcome for e in told.entries]


def test_a_members_own_phone_behind_his_local_channel_is_nobody_else() -> None:
    """He transfers the customer at his phone and has left by that; the queue goes on to name him."""
    ami = """
    1      QueueCallerJoin   caller @sales Priority=4
    2      LocalBridge       local-dana+local-dana2
    2      AgentCalled       caller local-dana @sales
    2      DialBegin         caller local-dana
    2.1    DialBegin         local-dana2 phone-dana
    5      DialEnd           local-dana2 phone-dana DialStatus=ANSWER
    5.1    DialEnd           caller local-dana DialStatus=ANSWER
    5.1    QueueCallerLeave  caller @sales Priority=4
    5.2    AgentConnect      caller local-dana @sales HoldTime=4 RingTime=3
    15     BlindTransfer     phone-dana>local-dana2 Result=Success Extension=600
    15.1   Hangup            phone-dana
    16     DialBegin         local-dana2 erlan
    18     DialEnd           local-dana2 erlan DialStatus=ANSWER
    30     AgentComplete     caller local-dana @sales HoldTime=4 TalkTime=25 Reason=caller
    30.1   Hangup            erlan
    30.1   Hangup            local-dana
    30.1   Hangup            local-dana2
    30.1   Hangup            caller Priority=4
    """
    it = call(ami)
    assert {leg.agent: leg.talk_ms for leg in it.legs} == {"Dana": 9_800, "1004": 12_100}
    assert [leg.transferred for leg in it.legs] == [True, False]
    assert not it.is_open


# -- dialplans without queues ------------------------------------------------------------------------------

ONE = "DestUniqueid=1.2 DestChannel=PJSIP/1003-2"
TWO = "DestUniqueid=1.3 DestChannel=PJSIP/1004-3"


@pytest.mark.parametrize(
    ("ami", "outcome", "legs"),
    [
        (f"1 DialBegin caller {ONE}\n 1 DialBegin caller {TWO}\n 6 DialEnd caller {TWO} DialStatus=ANSWER\n"
         f"6 DialEnd caller {ONE} DialStatus=CANCEL\n 6 Hangup dana\n 20 Hangup erlan\n 20 Hangup caller",
         "answered", {"1003": "cancelled", "1004": "answered"}),
        (f"1 DialBegin caller {ONE}\n 9 DialEnd caller {ONE} DialStatus=NOANSWER\n 9 DialBegin caller {TWO}\n"
         f"14 DialEnd caller {TWO} DialStatus=CANCEL\n 14 Hangup caller",
         "abandoned", {"1003": "no_answer", "1004": "cancelled"}),
        (f"1 DialBegin caller {ONE}\n 9 DialEnd caller {ONE} DialStatus=NOANSWER\n 9 DialBegin caller {TWO}\n"
         f"20 DialEnd caller {TWO} DialStatus=NOANSWER\n 50 Hangup caller",
         "no_answer", {"1003": "no_answer", "1004": "no_answer"}),
    ],
    ids=["two phones ring, one is taken", "hangs up at the second of a chain", "nobody of the chain"],
)  # fmt: skip
def test_phones_that_the_dialplan_rings(ami: str, outcome: str, legs: dict[str, str]) -> None:
    it = call("0 Newchannel caller\n" + ami)
    assert (it.outcome, {leg.agent: leg.end for leg in it.legs}) == (outcome, legs)


CLICKED = "Channel=PJSIP/1003-00000002 Uniqueid=1.1 Linkedid=1.1"


@pytest.mark.parametrize("number", ["<unknown>", "1003", "+77172700100"])
def test_a_call_by_click_is_the_agents_whatever_number_his_phone_shows(number: str) -> None:
    it = call(
        f"""
        0  Newchannel  {CLICKED} CallerIDNum={number} Context=from-internal
        0  DialBegin   DestUniqueid=1.1 DestLinkedid=1.1 DestChannel=PJSIP/1003-00000002 DialString=1003
        3  DialEnd     DestUniqueid=1.1 DestLinkedid=1.1 DialStatus=ANSWER
        3  DialBegin   {CLICKED} Exten=87017654321 DestUniqueid=1.9 DestChannel=PJSIP/trunk-9 DialString=7701@trunk
        9  DialEnd     {CLICKED} DestUniqueid=1.9 DialStatus=ANSWER
        30 Hangup      Uniqueid=1.9 Linkedid=1.1
        30 Hangup      {CLICKED}
        """
    )
    assert (it.direction, it.customer, it.outcome) == ("outbound", "+77017654321", "answered")
    assert [(leg.agent, leg.talk_ms) for leg in it.legs] == [("1003", 21_000)]


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [("BUSY", "busy"), ("CONGESTION", "failed"), ("CHANUNAVAIL", "failed"), ("NOANSWER", "no_answer"),
     ("CANCEL", "no_answer"), ("CHANUNAVAIL ANSWER", "answered"), ("BUSY NOANSWER", "no_answer")],
)  # fmt: skip
def test_calls_out_through_one_trunk_or_the_next(statuses: str, outcome: str) -> None:
    tries = []
    for number, status in enumerate(statuses.split()):
        trunk = f"DestUniqueid=1.{20 + number} DestChannel=PJSIP/trunk-{number} DialString=77017654321@trunk"
        tries += [f"{number + 1} DialBegin {CLICKED} Exten=87017654321 {trunk}"]
        tries += [f"{number + 1}.9 DialEnd {CLICKED} {trunk} DialStatus={status}"]
    ami = [f"0 Newchannel {CLICKED} CallerIDNum=1003", *tries, f"20 Hangup {CLICKED}"]
    it = call("\n".join(ami))
    assert (it.direction, it.customer, it.outcome) == ("outbound", "+77017654321", outcome)


def test_a_parked_caller_who_is_fetched_is_one_call() -> None:
    fetched = "UnParkedCall ParkeeUniqueid=1.1 ParkeeLinkedid=1.1 RetrieverUniqueid=7.1 RetrieverLinkedid=7.1"
    second = "Uniqueid=7.1 Linkedid=7.1 Channel=PJSIP/1004-7 CallerIDNum=1004"
    it = call(f"0 Newchannel caller\n 20 Newchannel {second}\n 21 {fetched}\n 40 Hangup caller\n 40 Hangup {second}")
    assert (it.call_id, it.is_open) == ("1.1", False)


# -- the log's own ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "talk_s", "ended_by"),
    [
        ("ATTENDEDTRANSFER|BRIDGE|9d6c-11|3|30|1", 30, "attended transfer"),
        ("ATTENDEDTRANSFER|APP|Queue|3|30|1", 30, "attended transfer"),
        ("ATTENDEDTRANSFER|LINK|PJSIP/1-1|PJSIP/2-2|3|30|1", 30, "attended transfer"),
        ("BLINDTRANSFER|600|internal|3|30|1", 30, "blind transfer"),
        ("TRANSFER|600|internal|3|30", 30, "blind transfer"),
        ("COMPLETECALLER", 33, "customer"),
    ],
)
def test_how_a_conversation_ends_in_the_log(line: str, talk_s: int, ended_by: str) -> None:
    enter, connect = f"{T0}|1.1|sales|NONE|ENTERQUEUE||", f"{T0 + 3}|1.1|sales|Dana|CONNECT"
    (it,) = read([enter, connect, f"{T0 + 36}|1.1|sales|Dana|{line}"], NOW)[0]
    assert (it.entries[0].wait_ms, it.legs[0].talk_ms, it.legs[0].ended_by) == (3000, 1000 * talk_s, ended_by)
    assert (it.customer, it.outcome) == ("", Outcome.ANSWERED)


def test_a_log_with_fractions_of_seconds_and_lines_of_no_call() -> None:
    body = (
        f"\ufeff{T0}.250000|NONE|NONE|NONE|QUEUESTART|\r\n"
        f"{T0}.500000|1.1|sales|NONE|DID|7172700100\r\n"
        f"{T0}.500001|1.1|sales|NONE|INFO|x|y\r\n"
        f"{T0}.600000|1.1|sales|NONE|ENTERQUEUE||87011234567|1\r\n"
        f"{T0}.700000|NONE|NONE|NONE|CONFIGRELOAD|\r\n"
        f"{T0 + 5}.100000|NONE|sales|Dana|PENALTY|2\r\n"
        f"{T0 + 8}.900000|1.1|sales|NONE|WITHDRAW|1|1|8|moved\r\n"
    ).encode()
    lines = ASTERISK.decode(Delivery(body, "text/plain", "", NOW))
    (it,), states = read(lines, NOW)
    assert (it.entries[0].outcome, it.entries[0].wait_ms, states) == (Outcome.EXITED, 8000, [])
