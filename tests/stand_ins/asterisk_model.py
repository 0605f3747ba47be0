"""A small model of app_queue: random calls through random dialplans, as AMI events and as queue_log lines.

What it emits, and in which order, is what Asterisk 22 does; see the recorded traffic beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import strategies as st

QUEUES = ("sales", "support")
MEMBERS = ("Dana", "Erlan", "Zhanna")
BEGIN = 1_790_000_000.0
_MOMENT = 0.0007


@dataclass
class Channel:
    name: str
    uid: str
    linked: str
    exten: str = "500"
    priority: int = 1

    def headers(self, prefix: str = "") -> dict[str, str]:
        result = {"Channel": self.name, "Uniqueid": self.uid, "Linkedid": self.linked}
        if not prefix:
            result |= {"Context": "inbound", "Exten": self.exten, "Priority": str(self.priority)}
            result["CallerIDNum"] = "+77011234567"
        return {f"{prefix}{key}": value for key, value in result.items()}


@dataclass
class Ring:
    member: str
    channel: Channel
    since: float


@dataclass
class Pbx:
    """One Asterisk: its clock, what it says, and what it writes."""

    draw: st.DrawFn
    at: float = BEGIN
    events: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    serial: count[int] = field(default_factory=lambda: count(1))

    def wait(self, low: float, high: float) -> None:
        self.at += self.draw(st.integers(int(low * 1000), int(high * 1000))) / 1000

    def flip(self) -> bool:
        return self.draw(st.booleans())

    def say(self, event: str, *groups: dict[str, str], **headers: Any) -> None:
        self.at += _MOMENT
        item = {"Event": event, "Timestamp": f"{self.at:.6f}"}
        for group in groups:
            item |= group
        self.events.append(item | {key: str(value) for key, value in headers.items()})

    def log(self, call: str, queue: str, agent: str, event: str, *data: object) -> None:
        self.lines.append("|".join(map(str, (int(self.at), call, queue, agent, event, *data))))

    def seconds(self, since: float) -> int:
        return int(self.at) - int(since)

    def channel(self, name: str, linked: str = "") -> Channel:
        serial = next(self.serial)
        uid = f"{int(self.at)}.{serial}"
        channel = Channel(f"{name}-{serial:08x}", uid, linked or uid)
        self.say("Newchannel", channel.headers())
        return channel

    def hang_up(self, channel: Channel) -> None:
        self.say("SoftHangupRequest", channel.headers(), Cause=16)
        self.say("Hangup", channel.headers(), Cause=16)

    def members(self, queue: str, *, paused: bool) -> None:
        self.wait(1, 2)  # two equal lines of one second are one
        for member in MEMBERS:
            self.say("QueueMemberPause", Queue=queue, MemberName=member, Interface=member, Paused=int(paused))
            self.log("NONE", queue, member, "PAUSE" if paused else "UNPAUSE", "")


@dataclass
class Caller:
    """One call on its way through the dialplan."""

    pbx: Pbx
    channel: Channel
    half: Channel | None = None  #: of a Local pair: the customer's own
    gone: bool = False

    # -- one stay ----------------------------------------------------------------------------------------
    def queue(self, name: str) -> None:
        pbx, me = self.pbx, self.channel
        pbx.say("QueueCallerJoin", me.headers(), Queue=name)
        pbx.log(me.uid, name, "NONE", "ENTERQUEUE", "", "+77011234567", next(pbx.serial))
        joined = pbx.at
        for _ in range(pbx.draw(st.integers(0, 3))):
            pbx.wait(0.2, 3)
            rings = self.ring(name)
            if rings and self.ends_while_ringing(name, joined, rings):
                return
        pbx.wait(0.2, 5)
        end = pbx.draw(st.sampled_from(["timeout", "empty", "key", "hangs up", "is hung up"]))
        if end == "timeout":
            self.give_up(name, joined, "EXITWITHTIMEOUT")
        elif end == "empty":
            pbx.members(name, paused=True)
            pbx.wait(0.1, 1)
            self.give_up(name, joined, "EXITEMPTY")
            pbx.members(name, paused=False)
        elif end == "key":
            pbx.log(self.channel.uid, name, "NONE", "EXITWITHKEY", 1, 1, next(pbx.serial), pbx.seconds(joined))
            self.leave(name)
            self.channel.exten, self.channel.priority = "1", 1
            pbx.wait(0.1, 2)
        else:
            self.abandon(name, joined, asked=end == "hangs up")

    def ring(self, queue: str) -> list[Ring]:
        pbx = self.pbx
        members = pbx.draw(st.sets(st.sampled_from(MEMBERS), min_size=0, max_size=3))
        rings = []
        for member in sorted(members):
            leg = pbx.channel(f"PJSIP/{member}", self.channel.linked)
            pbx.say("AgentCalled", self.channel.headers(), leg.headers("Dest"), self.of(queue, member))
            pbx.say("DialBegin", self.channel.headers(), leg.headers("Dest"), DialString=member)
            rings.append(Ring(member, leg, pbx.at))
        return rings

    @staticmethod
    def of(queue: str, member: str) -> dict[str, str]:
        return {"Queue": queue, "MemberName": member, "Interface": member}

    def ends_while_ringing(self, queue: str, joined: float, rings: list[Ring]) -> bool:
        pbx = self.pbx
        pbx.wait(0.3, 6)
        how = pbx.draw(st.sampled_from(["nobody", "answered", "answered", "timeout", "hangs up", "is hung up", "busy"]))
        if how == "answered":
            self.answer(queue, joined, rings)
            return True
        if how in ("hangs up", "is hung up"):
            self.abandon(queue, joined, asked=how == "hangs up", rings=rings)
            return True
        for ring in rings:
            # No two equal lines in one second: the log's own repetition is taken for a delivery's.
            self.miss(queue, ring, 1000 * next(pbx.serial), "BUSY" if how == "busy" else "NOANSWER")
        if how == "timeout":
            self.give_up(queue, joined, "EXITWITHTIMEOUT")
        return how == "timeout"

    def miss(self, queue: str, ring: Ring, milliseconds: int, status: str) -> None:
        pbx, pair = self.pbx, (self.channel.headers(), ring.channel.headers("Dest"))
        pbx.say("AgentRingNoAnswer", *pair, self.of(queue, ring.member), RingTime=milliseconds)
        pbx.log(self.channel.uid, queue, ring.member, "RINGNOANSWER", milliseconds)
        pbx.say("DialEnd", *pair, DialStatus=status)
        pbx.hang_up(ring.channel)

    def cancel(self, queue: str, rings: list[Ring]) -> None:
        for ring in rings:
            self.pbx.log(self.channel.uid, queue, ring.member, "RINGCANCELED", 1000 * self.pbx.seconds(ring.since))
            self.pbx.say("DialEnd", self.channel.headers(), ring.channel.headers("Dest"), DialStatus="CANCEL")
            self.pbx.hang_up(ring.channel)

    # -- ways out ----------------------------------------------------------------------------------------
    def leave(self, queue: str) -> None:
        self.pbx.say("QueueCallerLeave", self.channel.headers(), Queue=queue)

    def give_word(self, queue: str, joined: float, word: str) -> None:
        waited = self.pbx.seconds(joined)
        self.pbx.say("QueueCallerAbandon", self.channel.headers(), Queue=queue, HoldTime=waited)
        self.pbx.log(self.channel.uid, queue, "NONE", word, 1, next(self.pbx.serial), waited)
        self.leave(queue)

    def give_up(self, queue: str, joined: float, word: str) -> None:
        self.give_word(queue, joined, word)
        self.channel.priority += 1

    def abandon(self, queue: str, joined: float, *, asked: bool, rings: list[Ring] | None = None) -> None:
        pbx = self.pbx
        if asked and self.half is not None:
            pbx.hang_up(self.half)
        if asked:
            pbx.say("HangupRequest", self.channel.headers(), Cause=16)
        self.cancel(queue, rings or [])
        self.give_word(queue, joined, "ABANDON")
        self.end()

    def answer(self, queue: str, joined: float, rings: list[Ring]) -> None:
        pbx = self.pbx
        ring, others = rings[0], rings[1:]
        pair = (self.channel.headers(), ring.channel.headers("Dest"))
        pbx.say("DialEnd", *pair, DialStatus="ANSWER")
        self.cancel(queue, others)
        self.leave(queue)
        if pbx.flip():
            pbx.wait(0, 3)  # he has to confirm the call
        hold, rang = pbx.seconds(joined), pbx.seconds(ring.since)
        pbx.log(self.channel.uid, queue, ring.member, "CONNECT", hold, ring.channel.uid, rang)
        pbx.say("AgentConnect", *pair, self.of(queue, ring.member), HoldTime=hold, RingTime=rang)
        self.talk(queue, ring, hold)

    def talk(self, queue: str, ring: Ring, hold: int) -> None:
        pbx, since = self.pbx, self.pbx.at
        if pbx.flip():
            ring.channel = self.optimise(ring)
        pbx.wait(0, 9)
        how = pbx.draw(st.sampled_from(["caller", "agent", "agent, caller goes on", "transfer", "attended"]))
        talk, uid = pbx.seconds(since), self.channel.uid
        pair = (self.channel.headers(), ring.channel.headers("Dest"), self.of(queue, ring.member))
        reason = how.partition(",")[0]
        if how == "transfer":
            pbx.log(uid, queue, ring.member, "BLINDTRANSFER", "600", "inbound", hold, talk, 1)
            self.transferred("BlindTransfer", "Transferer", ring)
        elif how == "attended":
            reason = "transfer"
            pbx.log(uid, queue, ring.member, "ATTENDEDTRANSFER", "BRIDGE", "9d6c", hold, talk, 1)
            self.transferred("AttendedTransfer", "OrigTransferer", ring)
        else:
            pbx.say("HangupRequest", (self.channel if how == "caller" else ring.channel).headers(), Cause=16)
            pbx.log(uid, queue, ring.member, f"COMPLETE{reason.upper()}", hold, talk, 1)
        pbx.say("AgentComplete", *pair, HoldTime=hold, TalkTime=talk, Reason=reason)
        pbx.hang_up(ring.channel)
        if how in ("caller", "agent"):
            self.end()
        self.channel.priority += 1

    def transferred(self, event: str, prefix: str, ring: Ring) -> None:
        ends = ring.channel.headers(prefix) | self.channel.headers("Transferee")
        self.pbx.say(event, ends, Result="Success")
        self.channel.exten, self.channel.priority = "600", 1

    def optimise(self, ring: Ring) -> Channel:
        """The member's channel was a Local one: it gives way to the phone behind it."""
        pbx, linked = self.pbx, self.channel.linked
        half, phone = pbx.channel("Local/2", linked), pbx.channel("PJSIP/phone", linked)
        ends = ring.channel.headers("LocalOne") | half.headers("LocalTwo")
        pbx.say("LocalOptimizationBegin", ends, phone.headers("Source"))
        for channel in (ring.channel, half):
            pbx.say("Hangup", channel.headers(), Cause=16)
        return phone

    def end(self) -> None:
        self.gone = True
        self.pbx.hang_up(self.channel)
        if self.half is not None:
            self.pbx.say("HangupRequest", self.half.headers(), Cause=16)
            self.pbx.hang_up(self.half)


@st.composite
def traffic(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """AMI events and queue_log lines of a few calls, one after the other."""
    pbx = Pbx(draw)
    for queue in QUEUES:
        pbx.members(queue, paused=False)
    for _ in range(draw(st.integers(1, 3))):
        channel, half = pbx.channel("PJSIP/trunk"), None
        if pbx.flip():
            half, channel = channel, pbx.channel("Local/500@inbound", channel.uid)
            pbx.say("LocalBridge", half.headers("LocalOne"), channel.headers("LocalTwo"))
        caller = Caller(pbx, channel, half)
        for _ in range(draw(st.integers(0, 3))):
            if not caller.gone:
                caller.queue(draw(st.sampled_from(QUEUES)))
        if not caller.gone:
            pbx.wait(0, 30)  # an announcement, a mailbox
            caller.end()
        pbx.wait(10, 20)
    return pbx.events, pbx.lines
