"""What the events of one call of FreeSWITCH say, by channel, bridge, stay in a queue and offer to an agent.

Nothing is decided here; :mod:`.freeswitch_calls` reads it.

After callkpi was away a channel of ours that FreeSWITCH does not list has hung up unheard, unless its own hang-up comes
after all. Its end is put at the last moment at which everything was heard, or at the call's last event before the
question if that is later: the earliest moment that is possible. No duration is made of it. So it is with who waited.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from callkpi import config
from callkpi.calls.model import CallEvent
from callkpi.sources.base import Context
from callkpi.sources.facts import Kept
from callkpi.sources.freeswitch.esl import ASKED, MEMBER_SEEN, SEEN, kept_microseconds
from callkpi.sources.freeswitch.record import Record

#: Events of one instant, in the order in which they happen.
_RANK = {
    name: rank
    for rank, name in enumerate(
        (
            "CHANNEL_CREATE", "CHANNEL_PROGRESS", "CHANNEL_PROGRESS_MEDIA", "member-queue-start",
            "member-queue-resume", "agent-offering", "CHANNEL_ANSWER", "bridge-agent-start", "CHANNEL_UNBRIDGE",
            "CHANNEL_BRIDGE", "CHANNEL_HOLD", "CHANNEL_UNHOLD", "bridge-agent-fail", "bridge-agent-end",
            "member-queue-end", "CHANNEL_HANGUP_COMPLETE", SEEN, MEMBER_SEEN, ASKED,
        )
    )
}  # fmt: skip
_JOINS = ("member-queue-start", "member-queue-resume")
#: A profile's header, and its name in mod_json_cdr's records.
_PROFILE = {
    "Caller-Caller-ID-Number": "caller_id_number", "Caller-ANI": "ani", "Caller-Context": "context",
    "Caller-Destination-Number": "destination_number", "Caller-Callee-ID-Number": "callee_id_number",
}  # fmt: skip
#: mod_callcenter calls an agent at once after it has said so.
AT_ONCE = timedelta(seconds=2)


def is_unheard(end: CallEvent) -> bool:
    """Whether an end was found out, not heard: that it was is known, when it was is not."""
    return end.detail["Event"] == ASKED


def order(signal: CallEvent) -> tuple[datetime, int, str, str]:
    """One order of all signals: two streams may tell one event in different words."""
    return signal.at, _RANK.get(signal.detail["Event"], 0), signal.event_id, signal.call_id


@dataclass(slots=True, eq=False)
class Channel:
    """One channel: a caller's, or one that was made to reach somebody."""

    uuid: str
    first: CallEvent | None = None
    inbound: bool | None = None  #: for FreeSWITCH: the far end made it
    created: datetime | None = None
    answered: datetime | None = None
    hangup: CallEvent | None = None  #: its end, told by FreeSWITCH, or found out when it was asked
    gone: CallEvent | None = None  #: its end that nobody heard, unless more is heard of it
    over: CallEvent | None = None  #: mod_callcenter says that it has hung up
    parent: str = ""  #: the channel that it was made for
    seen_answered: datetime | None = None  #: found in a conversation by whoever was away before
    variables: dict[str, str] = field(default_factory=dict)
    profile: dict[str, str] = field(default_factory=dict)
    holds: list[CallEvent] = field(default_factory=list)

    @property
    def began(self) -> datetime | None:
        return self.created or (self.first.at if self.first else None)

    @property
    def ended(self) -> datetime | None:
        return self.hangup.at if self.hangup else None

    @property
    def is_gone(self) -> bool:
        return self.hangup is not None and is_unheard(self.hangup)

    def variable(self, name: str) -> str:
        return self.variables.get(name, "")


@dataclass(slots=True)
class Bridge:
    """Two channels that hear each other."""

    one: str
    two: str
    begin: CallEvent
    end: CallEvent | None = None

    def other(self, uuid: str) -> str:
        return self.two if uuid == self.one else self.one if uuid == self.two else ""


@dataclass(slots=True, eq=False)
class Stay:
    """One stay of a channel in a queue of mod_callcenter."""

    key: str
    session: str
    queue: str
    joined_at: datetime
    told_by: CallEvent
    end: CallEvent | None = None  #: without an agent
    start: CallEvent | None = None  #: bridge-agent-start
    unheard: CallEvent | None = None  #: its end that nobody heard, where none of the two was heard either
    is_guess: bool = False  #: nobody has told yet when it began; not after joined_at


@dataclass(slots=True, eq=False)
class Offer:
    """A caller offered to an agent, and what came of it."""

    agent: str
    stay: Stay | None
    first: CallEvent
    channel: str = ""
    fail: CallEvent | None = None
    start: CallEvent | None = None
    end: CallEvent | None = None
    is_callback: bool = True

    @property
    def taken(self) -> tuple[datetime, CallEvent] | None:
        """When the agent got the caller, and what says so; the end of it knows whole seconds."""
        if self.start is not None or self.end is None:
            return (self.start.at, self.start) if self.start else None
        seconds = self.end.detail.get("CC-Agent-Answered-Time", "")
        at = kept_microseconds(f"{seconds}000000", self.end.received_at) if seconds else None
        return (min(at, self.end.at), self.end) if at else None


@dataclass(slots=True)
class Scene:
    """Everything that the events of one call say."""

    context: Context
    signals: list[CallEvent]
    channels: dict[str, Channel] = field(default_factory=dict)
    bridges: list[Bridge] = field(default_factory=list)
    stays: list[Stay] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)

    def channel(self, uuid: str) -> Channel:
        return self.channels.setdefault(uuid, Channel(uuid))

    def record(self, channel: Channel) -> Record:
        """The channel as mod_json_cdr would tell of it, as far as it is known."""
        fields = {"uuid": channel.uuid, **channel.variables}
        return Record(Kept(fields, self.context), {"uuid": channel.uuid, **channel.profile})

    @property
    def root(self) -> Channel:
        """The channel that began the call: the earliest that was made for no other."""
        roots = [channel for channel in self.channels.values() if not channel.parent]
        known = [channel for channel in roots if channel.began is not None] or roots or list(self.channels.values())
        return min(known, key=lambda c: (c.began or self.signals[0].at, c.uuid))

    def stay_of(self, event: CallEvent) -> Stay | None:
        member, session = event.detail.get("CC-Member-UUID", ""), event.detail.get("CC-Member-Session-UUID", "")
        return next((s for s in reversed(self.stays) if s.key == member and s.session == session), None)


def scene_of(signals: Sequence[CallEvent], settings: config.Source) -> Scene:
    ordered = sorted({signal.event_id: signal for signal in sorted(signals, key=order, reverse=True)}.values(),
                     key=order)  # fmt: skip
    first = ordered[0]
    received = max(signal.received_at for signal in ordered)
    scene = Scene(Context(first.source, first.tenant, settings, received), ordered)
    there = _there_at(ordered)
    for signal in ordered:
        name = signal.detail["Event"]
        if name == ASKED:
            _note_asked(scene, signal, there[signal.at])
        elif "CC-Member-Session-UUID" in signal.detail:
            _note_queue(scene, signal, name)
        else:
            _note_channel(scene, signal, name)
    for channel in scene.channels.values():
        channel.hangup = channel.hangup or channel.over or channel.gone
    for bridge in scene.bridges:
        _end_with_channels(scene, bridge)
    for stay in scene.stays:
        _ask_the_channel(scene, stay)
    _find_agents_channels(scene)
    return scene


# -- channels --------------------------------------------------------------------------------------------


def _note_channel(scene: Scene, signal: CallEvent, name: str) -> None:
    detail = signal.detail
    channel = scene.channel(detail.get("Unique-ID", ""))
    channel.first = channel.first or signal
    channel.gone = None
    if detail.get("Call-Direction") and channel.inbound is None:
        channel.inbound = detail["Call-Direction"] == "inbound"
    if signal.call_id not in (channel.uuid, f"~{channel.uuid}") and channel.inbound is not True:
        channel.parent = channel.parent or signal.call_id
        scene.channel(channel.parent)
    for header, field_name in _PROFILE.items():
        if detail.get(header) and (field_name not in channel.profile or field_name == "callee_id_number"):
            channel.profile[field_name] = detail[header]
    for header, value in detail.items():
        if header.startswith("variable_"):
            channel.variables[header.removeprefix("variable_")] = value
    channel.created = channel.created or _time(signal, "Caller-Channel-Created-Time")
    channel.answered = channel.answered or _time(signal, "Caller-Channel-Answered-Time")
    _note_event(scene, channel, signal, name)


def _note_event(scene: Scene, channel: Channel, signal: CallEvent, name: str) -> None:
    if name == "CHANNEL_CREATE":
        channel.created = channel.created or signal.at
    elif name == SEEN:
        if signal.detail.get("Answer-State") == "answered":
            channel.seen_answered = channel.seen_answered or signal.at
        _note_seen_bridge(scene, channel, signal)
    elif name == "CHANNEL_ANSWER":
        channel.answered = channel.answered or signal.at
    elif name in ("CHANNEL_HOLD", "CHANNEL_UNHOLD"):
        channel.holds.append(signal)
    elif name == "CHANNEL_BRIDGE":
        _note_bridge(scene, channel, signal)
    elif name == "CHANNEL_UNBRIDGE":
        sides = {channel.uuid, signal.detail.get("Bridge-A-Unique-ID"), signal.detail.get("Bridge-B-Unique-ID")}
        _end_bridges(scene, signal, [b for b in scene.bridges if b.one in sides or b.two in sides])
    elif name == "CHANNEL_HANGUP_COMPLETE":
        channel.hangup = channel.hangup or signal
        _end_bridges(scene, signal, [b for b in scene.bridges if b.other(channel.uuid)])


def _note_bridge(scene: Scene, channel: Channel, signal: CallEvent) -> None:
    one = signal.detail.get("Bridge-A-Unique-ID") or channel.uuid
    two = signal.detail.get("Bridge-B-Unique-ID") or signal.detail.get("Other-Leg-Unique-ID", "")
    if not two or one == two:
        return
    _end_bridges(scene, signal, [b for b in scene.bridges if b.other(one) or b.other(two)])
    scene.bridges.append(Bridge(one, two, signal))


def _note_seen_bridge(scene: Scene, channel: Channel, signal: CallEvent) -> None:
    """A conversation that goes on: one that we know of, or one whose beginning nobody heard."""
    other = signal.detail.get("Bridge-B-Unique-ID", "")
    if not other or any(b.end is None and b.other(channel.uuid) == other for b in scene.bridges):
        return
    at = _time(signal, "Caller-Channel-Bridged-Time") or channel.answered or signal.at
    begin = replace(signal, at=min(at, signal.at))
    _end_bridges(scene, begin, [b for b in scene.bridges if b.other(channel.uuid) or b.other(other)])
    scene.bridges.append(Bridge(channel.uuid, other, begin))


def _end_bridges(scene: Scene, signal: CallEvent, bridges: Sequence[Bridge]) -> None:
    for bridge in bridges:
        bridge.end = bridge.end or signal


def _time(signal: CallEvent, header: str) -> datetime | None:
    return kept_microseconds(signal.detail.get(header, ""), signal.received_at)


def _end_with_channels(scene: Scene, bridge: Bridge) -> None:
    """Nobody hears a channel that has hung up, whatever was found out later."""
    for channel in (scene.channel(bridge.one), scene.channel(bridge.two)):
        end = channel.hangup
        if end is None:
            continue
        if bridge.end in (None, end) and _was_connected_anew(channel, bridge):
            end = replace(end, at=bridge.begin.at, detail={"Event": ASKED})
            bridge.end = end
        if bridge.end is None or (not is_unheard(end) and end.at < bridge.end.at):
            bridge.end = end
        elif is_unheard(end) and bridge.end.detail["Event"] in ("CHANNEL_BRIDGE", SEEN):
            bridge.end = end  # the other one was connected anew meanwhile; when this was over nobody heard


def _was_connected_anew(channel: Channel, bridge: Bridge) -> bool:
    """Whether a channel at its hang-up knows of a later conversation, with another one."""
    last, text = channel.variable("last_bridge_to"), channel.variable("bridge_uepoch")
    assert channel.hangup is not None
    at = kept_microseconds(text, channel.hangup.received_at)
    return bool(last) and last != bridge.other(channel.uuid) and at is not None and at > bridge.begin.at


# -- what was not heard ----------------------------------------------------------------------------------


def _there_at(signals: Sequence[CallEvent]) -> dict[datetime, set[str]]:
    """The channels and the callers who wait at each moment at which was asked, over all parts of a joined call."""
    result: dict[datetime, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.detail["Event"] == SEEN:
            result[signal.at].add(signal.detail.get("Unique-ID", ""))
        elif signal.detail["Event"] == MEMBER_SEEN:
            result[signal.at].add(f"member {signal.detail.get('CC-Member-UUID', '')}")
    return result


def _note_asked(scene: Scene, signal: CallEvent, there: set[str]) -> None:
    end = replace(signal, at=_end_before(scene, signal))
    for channel in scene.channels.values():
        if channel.uuid not in there and channel.hangup is None:
            channel.gone = channel.gone or end
    for stay in scene.stays:
        over = stay.end is not None or stay.start is not None
        if "Queues" in signal.detail and not over and f"member {stay.key}" not in there:
            stay.unheard = stay.unheard or replace(end, at=max(end.at, stay.joined_at))


def _end_before(scene: Scene, signal: CallEvent) -> datetime:
    """When what ended unheard before this answer is taken to have ended."""
    before = max((other.at for other in scene.signals if other.at < signal.at), default=signal.at)
    return min(max(before, _time(signal, "Heard") or before), signal.at)


# -- queues ----------------------------------------------------------------------------------------------


def _note_queue(scene: Scene, signal: CallEvent, name: str) -> None:
    detail = signal.detail
    member = scene.channel(detail["CC-Member-Session-UUID"])
    if number := detail.get("CC-Member-CID-Number"):
        member.profile.setdefault("ani", number)
    stay = scene.stay_of(signal)
    if stay is None:
        stay = _new_stay(scene, signal, name)
    elif name in _JOINS:
        stay.joined_at, stay.told_by, stay.is_guess = signal.at, signal, False
    elif stay.is_guess and (told := _joined_time(signal)) is not None:
        stay.joined_at, stay.is_guess = min(told, stay.joined_at), False
    stay.unheard = None
    if detail.get("Answer-State") == "hangup" and detail.get("Unique-ID"):
        channel = scene.channel(detail["Unique-ID"])
        channel.over = channel.over or signal
    if name == "member-queue-end":
        if detail.get("CC-Cause", "").lower() == "cancel":
            stay.end = stay.end or signal
    elif name == "agent-offering":
        callback = detail.get("CC-Agent-Type", "callback").lower() == "callback"
        scene.offers.append(Offer(detail.get("CC-Agent", ""), stay, signal, is_callback=callback))
    elif name.startswith("bridge-agent"):
        _note_offer(scene, stay, signal, name)


def _new_stay(scene: Scene, signal: CallEvent, name: str) -> Stay:
    detail = signal.detail
    told = signal.at if name in _JOINS else _joined_time(signal)
    stay = Stay(detail.get("CC-Member-UUID", ""), detail["CC-Member-Session-UUID"], detail["CC-Queue"],
                min(told or signal.at, signal.at), signal, is_guess=told is None)  # fmt: skip
    scene.stays.append(stay)
    return stay


def _ask_the_channel(scene: Scene, stay: Stay) -> None:
    """When a stay began, by the variables of its channel, where no event has told it."""
    variables = scene.channel(stay.session).variables
    seconds = variables.get("cc_queue_joined_epoch", "")
    if stay.is_guess and seconds and variables.get("cc_member_uuid") == stay.key:
        told = kept_microseconds(f"{seconds}000000", stay.told_by.received_at)
        stay.joined_at, stay.is_guess = min(told or stay.joined_at, stay.joined_at), told is None


def _joined_time(signal: CallEvent) -> datetime | None:
    """When the caller joined, in whole seconds."""
    seconds = signal.detail.get("CC-Member-Joined-Time", "")
    return kept_microseconds(f"{seconds}000000", signal.received_at) if seconds else None


def _note_offer(scene: Scene, stay: Stay, signal: CallEvent, name: str) -> None:
    agent, channel = signal.detail.get("CC-Agent", ""), signal.detail.get("CC-Agent-UUID", "")
    mine = [offer for offer in scene.offers if offer.stay is stay and offer.agent == agent and offer.fail is None]
    if name == "bridge-agent-end":
        mine = [offer for offer in mine if offer.end is None and (not channel or offer.channel in ("", channel))]
    else:
        mine = [offer for offer in mine if offer.start is None]
    if mine:
        offer = mine[-1]
    else:
        offer = Offer(agent, stay, signal)
        scene.offers.append(offer)
    offer.channel = channel or offer.channel
    if name == "bridge-agent-start":
        offer.start = signal
        stay.start = stay.start or signal
    elif name == "bridge-agent-end":
        offer.end = signal
        stay.start = stay.start or signal
    else:
        offer.fail = signal


def _find_agents_channels(scene: Scene) -> None:
    """Which channel rang the agent to whom a caller was offered: the next one that was made for the two."""
    taken = {offer.channel for offer in scene.offers if offer.channel}
    for offer in scene.offers:
        if offer.channel or not offer.is_callback:
            continue
        until = offer.fail.at if offer.fail else None
        fits = [c for c in scene.channels.values() if c.uuid not in taken and _may_be(c, offer, until)]
        if fits:
            offer.channel = min(fits, key=lambda c: (c.began or offer.first.at, c.uuid)).uuid
            taken.add(offer.channel)


def _may_be(channel: Channel, offer: Offer, until: datetime | None) -> bool:
    began = channel.began
    if channel.inbound or began is None or channel.variable("cc_agent") != offer.agent:
        return False
    if offer.first is offer.fail:  # the offer itself was not heard
        return began <= offer.first.at
    return offer.first.at - AT_ONCE <= began and (until is None or began <= until)


def talks(scene: Scene, uuid: str, others: set[str]) -> Iterator[Bridge]:
    """When a channel and one of the others heard each other, in order."""
    for bridge in scene.bridges:
        if bridge.other(uuid) in others:
            yield bridge
