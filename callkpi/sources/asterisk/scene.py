"""What the AMI events of one call say, by channel, dial, stay in a queue and ring of a member.

Nothing is decided here; :mod:`.asterisk_calls` reads it. What was asked for after a connection that was cut is noted by
:mod:`.asterisk_unheard`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from callkpi.calls.model import CallEvent
from callkpi.calls.phone import is_hidden
from callkpi.sources.facts import is_unread, kept_milliseconds

REQUESTS = ("HangupRequest", "SoftHangupRequest")
TRANSFERS = {"BlindTransfer": "blind", "AttendedTransfer": "attended"}
#: Events of one instant, in the order in which they happen.
_RANK = {
    name: rank
    for rank, name in enumerate(
        (
            "Newchannel", "LocalBridge", "NewCallerid", "DialBegin", "QueueCallerJoin", "AgentCalled", "Pickup",
            *REQUESTS,
            "AgentRingNoAnswer", "DialEnd", "AgentDump", "QueueCallerAbandon", "QueueCallerLeave", "AgentConnect",
            "LocalOptimizationBegin", "Hold", "Unhold", "BlindTransfer", "AttendedTransfer", "AgentComplete",
            "VarSet", "Hangup",
        )
    )
}  # fmt: skip


def order(signal: CallEvent) -> tuple[datetime, int, str, str]:
    """One order of all signals: two streams may tell one event in different words."""
    return signal.at, _RANK.get(signal.detail["Event"], 9), signal.event_id, signal.call_id


# -- what the events say, by channel, dial, stay and ring ------------------------------------------------


@dataclass(slots=True)
class Channel:
    uid: str
    name: str = ""
    caller: str = ""
    context: str = ""
    exten: str = ""
    first: CallEvent | None = None
    hangup: CallEvent | None = None
    requests: list[CallEvent] = field(default_factory=list)  #: to hang it up
    gone: CallEvent | None = None  #: its hang-up that nobody heard, unless more is heard of it


@dataclass(slots=True)
class Dial:
    origin: str
    begin: CallEvent
    end: CallEvent | None = None
    taken_by: str = ""  #: the channel of a colleague who picked the ring up

    @property
    def dest(self) -> str:
        return self.begin.detail.get("DestUniqueid", "")

    @property
    def status(self) -> str:
        return self.end.detail.get("DialStatus", "") if self.end else ""


@dataclass(slots=True, eq=False)
class Stay:
    """One stay of a channel in a queue."""

    key: str
    uid: str
    queue: str
    joined_at: datetime
    told_by: CallEvent  #: its QueueCallerJoin, else what ended a stay that began before the stream
    leave: CallEvent | None = None
    abandon: CallEvent | None = None
    connect: CallEvent | None = None
    unheard: CallEvent | None = None  #: its end that nobody heard
    talks: bool = False  #: its answer was not heard, but its conversation was seen
    status: str = ""  #: Asterisk's own QUEUESTATUS, where VarSet is not filtered out
    rings: list[Ring] = field(default_factory=list)

    @property
    def is_over(self) -> bool:
        told = (self.leave, self.abandon, self.connect, self.unheard)
        return self.talks or any(end is not None for end in told)


@dataclass(slots=True, eq=False)
class Ring:
    """One ring of one member of a queue, and the conversation if it was taken."""

    leg: str  #: the member's channel, where that is known
    agent: str
    interface: str
    queue: str
    stay: Stay | None
    called: CallEvent | None = None
    missed: CallEvent | None = None
    dumped: CallEvent | None = None
    connect: CallEvent | None = None
    complete: CallEvent | None = None
    assumed: CallEvent | None = None  #: its answer, which nobody heard: the conversation was seen at this moment

    @property
    def is_open(self) -> bool:
        told = (self.missed, self.dumped, self.connect, self.complete, self.assumed)
        return all(end is None for end in told)


@dataclass(slots=True)
class Scene:
    """Everything that the events of one call say."""

    signals: list[CallEvent]
    internal: re.Pattern[str]
    members: Sequence[CallEvent]  #: last states of the members of queues that gave the caller up
    channels: dict[str, Channel] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    dials: dict[str, Dial] = field(default_factory=dict)
    stays: list[Stay] = field(default_factory=list)
    rings: list[Ring] = field(default_factory=list)
    #: Every channel at which a queue rang a member.
    member_channels: set[str] = field(default_factory=set)
    transferees: dict[str, datetime] = field(default_factory=dict)  #: and since when they are
    #: Halves of Local channels that Asterisk takes out of the call, and the channel in their place where it is told:
    #: their hang-up ends no conversation.
    replaced: dict[str, str] = field(default_factory=dict)
    picked_up: dict[str, str] = field(default_factory=dict)  #: channel that took a ring of a colleague -> whose it was
    #: Transfers, by each channel of the one who transferred: by them he left the call.
    transfers: dict[str, list[CallEvent]] = field(default_factory=lambda: defaultdict(list))

    def channel(self, uid: str) -> Channel:
        return self.channels.setdefault(uid, Channel(uid))

    def hangup_of(self, uid: str) -> CallEvent | None:
        channel = self.channels.get(uid)
        return channel.hangup if channel else None

    @property
    def root(self) -> Channel:
        """The channel that began the call: the one that gave it its Linkedid, else the first seen."""
        own = self.channels.get(self.signals[0].call_id)
        if own is not None or not self.channels:
            return own or self.channel("")
        return min(self.channels.values(), key=lambda c: c.first.order if c.first else self.signals[-1].order)

    def with_halves(self, *uids: str) -> set[str]:
        return {half for uid in uids if uid for half in (uid, self.pairs.get(uid, uid))}

    def in_place_of(self, uid: str) -> str:
        """The channel that speaks now where *uid* spoke before it was taken out."""
        for _ in range(10):
            if not self.replaced.get(uid):
                break
            uid = self.replaced[uid]
        return uid

    def stay_for(self, event: CallEvent) -> Stay | None:
        """The stay that an event of the queue belongs to."""
        uid, queue = event.detail.get("Uniqueid", ""), event.detail.get("Queue", "")
        mine = [s for s in self.stays if s.uid == uid and s.queue == queue]
        return mine[-1] if mine else next((s for s in self.stays if s.queue == queue and not s.is_over), None)

    def new_stay(self, event: CallEvent, joined_at: datetime) -> Stay:
        uid, queue = event.detail.get("Uniqueid", ""), event.detail.get("Queue", "")
        number = sum(s.uid == uid and s.queue == queue for s in self.stays)
        stay = Stay(f"{uid}/{queue}/{number}", uid, queue, joined_at, event)
        self.stays.append(stay)
        return stay

    def new_ring(self, event: CallEvent, stay: Stay | None) -> Ring:
        detail = event.detail
        interface = detail.get("Interface", "")
        leg = detail.get("DestUniqueid", "") or event.event_id
        ring = Ring(leg, detail.get("MemberName") or interface, interface, detail.get("Queue", ""), stay)
        self.rings.append(ring)
        if stay is not None:
            stay.rings.append(ring)
        return ring


#: What a channel does in a queue, and what it may do next; of one instant, the first that fits comes first.
_NEXT: Mapping[str, tuple[str, ...]] = {
    "": ("QueueCallerJoin",),
    "QueueCallerJoin": (
        "AgentCalled", "AgentRingNoAnswer", "AgentDump", "QueueCallerAbandon", "QueueCallerLeave", "AgentConnect",
    ),
    "QueueCallerAbandon": ("QueueCallerLeave", "QueueCallerJoin"),
    "QueueCallerLeave": ("AgentConnect", "QueueCallerJoin"),
    "left": ("QueueCallerJoin",),
    "AgentConnect": ("AgentComplete", "QueueCallerJoin"),
}  # fmt: skip


def in_turn(ordered: list[CallEvent]) -> list[CallEvent]:
    """The events of one instant of one channel in one queue in the order in which they can have happened.

    A caller may leave a queue and enter it again within one tick of a coarse clock.
    """
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, signal in enumerate(ordered):
        if signal.detail["Event"].startswith(("QueueCaller", "Agent")):
            places[signal.detail.get("Uniqueid", ""), signal.detail.get("Queue", "")].append(index)
    result = list(ordered)
    for indices in places.values():
        for index, signal in zip(indices, _as_it_happened([ordered[i] for i in indices]), strict=True):
            result[index] = signal
    return result


def _as_it_happened(signals: Sequence[CallEvent]) -> Iterator[CallEvent]:
    pending, state = list(signals), ""
    while pending:
        now = [signal for signal in pending if signal.at == pending[0].at]
        names = [signal.detail["Event"] for signal in now]
        name = next((name for name in _NEXT[state] if name in names), names[0])
        chosen = now[names.index(name)]
        pending.remove(chosen)
        yield chosen
        if name == "AgentComplete" or (state, name) == ("QueueCallerAbandon", "QueueCallerLeave"):
            state = "left"
        elif name in _NEXT:
            state = name


# -- noting ----------------------------------------------------------------------------------------------


def note(scene: Scene, signal: CallEvent) -> None:
    detail, name = signal.detail, signal.detail["Event"]
    uid = detail.get("Uniqueid", "")
    if uid:
        _note_channel(scene.channel(uid), signal)
    if name == "LocalBridge":
        one, two = detail.get("LocalOneUniqueid", ""), detail.get("LocalTwoUniqueid", "")
        scene.pairs.update({one: two, two: one})
    elif name == "LocalOptimizationBegin":
        source = detail.get("SourceUniqueid", "")
        scene.replaced.update(
            dict.fromkeys((detail.get("LocalOneUniqueid", ""), detail.get("LocalTwoUniqueid", "")), source)
        )
    elif name == "VarSet":
        last = next((stay for stay in reversed(scene.stays) if stay.uid == uid), None)
        if last is not None:
            last.status = last.status or detail.get("Value", "")
    elif name == "DialBegin" and detail.get("DestUniqueid"):
        dest = scene.channel(detail.get("DestUniqueid", ""))
        dest.name = dest.name or detail.get("DestChannel", "")
        dest.first = dest.first or signal
        scene.dials.setdefault(dest.uid, Dial(uid, signal))
    elif name == "DialEnd":
        _note_end_of_dial(scene, signal)
    elif name == "Pickup":
        scene.picked_up.setdefault(uid, detail.get("TargetUniqueid", ""))
    elif name in TRANSFERS:
        _note_transfer(scene, signal)
    elif name.startswith("QueueCaller"):
        _note_caller(scene, signal)
    elif name.startswith("Agent"):
        _note_agent(scene, signal)


def _note_end_of_dial(scene: Scene, signal: CallEvent) -> None:
    """A dial ends for the channel that it began with, else (a ring that was picked up) for another one's."""
    uid, dest = signal.detail.get("Uniqueid", ""), signal.detail.get("DestUniqueid", "")
    dial = scene.dials.get(dest)
    if dial is None and uid and signal.detail.get("DialStatus") == "ANSWER":
        rings = [dial for dial in scene.dials.values() if dial.origin == uid and dial.end is None]
        target = scene.picked_up.get(dest, "")
        dial = next((dial for dial in rings if dial.dest == target), rings[0] if len(rings) == 1 else None)
        if dial is not None:
            dial.taken_by = dest
    if dial is not None and dial.end is None:
        dial.end = signal


def _note_transfer(scene: Scene, signal: CallEvent) -> None:
    detail = signal.detail
    transferee = detail.get("TransfereeUniqueid", "")
    if transferee:
        scene.transferees.setdefault(transferee, signal.at)
    own = {detail.get(f"{who}Uniqueid", "") for who in ("Transferer", "OrigTransferer", "SecondTransferer")} - {""}
    for uid in own:
        scene.transfers[uid].append(signal)
    second = detail.get("SecondTransfererUniqueid", "")
    if transferee and second:
        for stay in scene.stays:
            if stay.uid == second and not stay.is_over:
                # He is transferred into a queue that still rings: from now on it knows his channel only.
                stay.uid = transferee


def _note_channel(channel: Channel, signal: CallEvent) -> None:
    detail, name = signal.detail, signal.detail["Event"]
    channel.first = channel.first or signal
    channel.gone = None
    if not channel.caller and not is_hidden(detail.get("CallerIDNum", "")):
        channel.caller = detail["CallerIDNum"]
    if name == "Newchannel":
        channel.name = detail.get("Channel", "")
        channel.context = detail.get("Context", "")
        channel.exten = detail.get("Exten", "")
    elif name in REQUESTS:
        channel.requests.append(signal)
    elif name == "Hangup" and channel.hangup is None:
        channel.hangup = signal


def _note_caller(scene: Scene, signal: CallEvent) -> None:
    name = signal.detail["Event"]
    stay = scene.stay_for(signal)
    if name == "QueueCallerJoin":
        if (
            stay is not None
            and "Unheard" in stay.told_by.detail
            and not stay.is_over
            and stay.uid == signal.detail.get("Uniqueid")
        ):
            # He joined while Asterisk was asked who waits: both tell of the same stay, and this one knows since when.
            stay.told_by, stay.joined_at = signal, signal.at
        else:
            scene.new_stay(signal, signal.at)
        return
    if name == "QueueCallerLeave":
        if stay is not None:
            stay.leave = stay.leave or signal
        return
    if stay is None:
        stay = scene.new_stay(signal, before(signal, "HoldTime"))
    stay.abandon = stay.abandon or signal


def _note_agent(scene: Scene, signal: CallEvent) -> None:
    name = signal.detail["Event"]
    scene.member_channels.add(signal.detail.get("DestUniqueid", ""))
    if name == "AgentComplete":
        _note_complete(scene, signal)
        return
    stay = scene.stay_for(signal)
    if stay is None and name == "AgentConnect":
        stay = scene.new_stay(signal, before(signal, "HoldTime"))
    ring = None if name == "AgentCalled" else _ring_for(scene, signal, stay)
    ring = ring or scene.new_ring(signal, stay)
    if name == "AgentCalled":
        ring.called = ring.called or signal
    elif name == "AgentConnect":
        ring.connect = ring.connect or signal
        ring.leg = signal.detail.get("DestUniqueid", "") or ring.leg
        if stay is not None:
            stay.connect = stay.connect or signal
            ring.stay = stay  # of two stays within one tick of the clock, this one it was that he was called for
    elif name == "AgentRingNoAnswer":
        ring.missed = ring.missed or signal
    else:
        ring.dumped = ring.dumped or signal


def _ring_for(scene: Scene, signal: CallEvent, stay: Stay | None) -> Ring | None:
    """The ring that goes on: of that channel, else (a call picked up at another phone) of that member."""
    leg, interface = signal.detail.get("DestUniqueid", ""), signal.detail.get("Interface", "")
    for ring in reversed(scene.rings):
        if leg and ring.leg == leg:
            return ring
    if signal.detail["Event"] == "AgentConnect" or not leg:
        for ring in reversed(scene.rings):
            if ring.stay is stay and ring.interface == interface and ring.is_open:
                return ring
    return None


def _note_complete(scene: Scene, signal: CallEvent) -> None:
    """The conversation that is complete: of that channel, else the newest one of that member in that queue."""
    detail = signal.detail
    leg, queue, interface = (detail.get(key, "") for key in ("DestUniqueid", "Queue", "Interface"))
    talking = [ring for ring in scene.rings if ring.connect is not None or ring.assumed is not None]
    mine = [ring for ring in talking if leg and leg in (ring.leg, scene.in_place_of(ring.leg))]
    same = [r for r in talking if r.complete is None and (r.queue, r.interface) == (queue, interface)]
    if mine:
        ring = mine[-1]
    elif same:
        ring = same[-1]
    else:
        # Its AgentConnect was not seen; or it was told of another call: a member who has logged in by a call of his own
        # draws the customer into that one when they are connected.
        stay = scene.stay_for(signal)
        waiting = stay is not None and stay.connect is None and stay.abandon is None
        ring = _ring_for(scene, signal, stay) or scene.new_ring(signal, stay if waiting else None)
    ring.complete = ring.complete or signal
    if ring.assumed is not None and ring.stay is not None and "Unheard" in ring.stay.told_by.detail:
        # Neither the joining nor the answer was heard: now both are known.
        ring.stay.joined_at = min(ring.stay.joined_at, before(signal, "HoldTime", "TalkTime"))


def before(signal: CallEvent, *headers: str) -> datetime:
    """The time before *signal* by the seconds that its headers name."""
    return signal.at - timedelta(milliseconds=sum(milliseconds(signal, header) or 0 for header in headers))


def has_unread(signal: CallEvent) -> bool:
    """Whether one of its durations is none."""
    ring = 1 if signal.detail["Event"] == "AgentRingNoAnswer" else 1000  # there it is in milliseconds
    units = {"HoldTime": 1000, "TalkTime": 1000, "RingTime": ring}
    return any(is_unread(signal.detail.get(header, ""), unit) for header, unit in units.items())


def milliseconds(signal: CallEvent, header: str, unit: int = 1000) -> int | None:
    """A duration in a header; None where there is none."""
    return kept_milliseconds(signal.detail.get(header, ""), unit)
