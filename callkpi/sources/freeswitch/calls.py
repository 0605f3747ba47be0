"""A whole call of FreeSWITCH, told by its event socket, by mod_json_cdr, or by both, as canonical events.

What is live is exact to the microsecond and knows every stay, ring, hold and transfer, but may have gaps. The record of
a channel (CHANNEL_HANGUP_COMPLETE carries the same variables as mod_json_cdr's) comes late and knows the last stay and
the last conversation only, but has no gaps. So for each stay and each leg: what was heard to its end; else what the
record of the caller's channel says at its hang-up; else mod_json_cdr; else what was heard so far. Nothing counts twice:
a leg is known by its channel's uuid in all of them, a stay by its queue and when it began.

* An agent's conversation is the time in which his channel is bridged with the customer's. His answer alone is none: a
  colleague may have been faster, or he has to confirm the call.
* The call is over when the customer's channel has hung up (a call of ours: all that he or we made), not when an agent
  has: a transfer goes on without him.
* A caller who leaves a queue by BREAK_OUT with his channel alive was taken out by the dialplan or by somebody: he has
  exited; else he hung up.
* A hangup cause, or ``endpoint_disposition``, of BLIND_TRANSFER or ATTENDED_TRANSFER on an agent's channel is his
  transfer of the call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from callkpi import config
from callkpi.calls.model import UNHEARD, CallEvent, Direction, Kind, LegEnd, Outcome, millis
from callkpi.sources.base import Rejected
from callkpi.sources.freeswitch.esl import ASKED
from callkpi.sources.freeswitch.record import CANCELLED, RANK_OUTSIDE, TRANSFERS, Record, ring_end
from callkpi.sources.freeswitch.scene import AT_ONCE, Channel, Offer, Scene, Stay, is_unheard, scene_of, talks

#: mod_callcenter takes the time of a stay twice, in whole seconds, around the caller's answer.
_SAME_STAY = timedelta(seconds=3)
#: Causes of an offer to an agent whose phone did not ring.
_NOT_RUNG = {
    "USER_NOT_REGISTERED", "SUBSCRIBER_ABSENT", "UNALLOCATED_NUMBER", "NO_ROUTE_DESTINATION", "INVALID_GATEWAY",
    "GATEWAY_DOWN", "DESTINATION_OUT_OF_ORDER", "CHAN_NOT_IMPLEMENTED", "INVALID_PROFILE", "INVALID_URL",
}  # fmt: skip


def interpret(
    signals: Sequence[CallEvent], records: Sequence[CallEvent], settings: config.Source
) -> Sequence[CallEvent]:
    """All events of one call as canonical events. *records*: what mod_json_cdr tells of it, and links."""
    if all(signal.call_id.startswith("~") or signal.detail["Event"] == ASKED for signal in signals):
        return records  # nobody has said whose channels these are
    scene = scene_of(signals, settings)
    links = [event for event in records if event.kind is Kind.LINKED]
    cdr = [event for event in records if event.kind is not Kind.LINKED]
    reading = _Reading(scene, cdr)
    known = reading.events()
    if scene.root.first is None and any(event.kind is Kind.STARTED for event in cdr):
        known = [event for event in known if event.kind is not Kind.STARTED]
    guesses = {stay.key for stay in scene.stays if stay.is_guess}
    for told in (reading.record_of_root(), cdr):
        inbound = reading.direction is not Direction.OUTBOUND
        known = _merged(known, [event for event in told if inbound or event.rank != RANK_OUTSIDE], guesses)
    return [*links, *known]


def _merged(known: list[CallEvent], more: Sequence[CallEvent], guesses: set[str]) -> list[CallEvent]:
    """What is known, and of *more* what closes a gap. *guesses*: stays of which is not known when they began."""
    if not more:
        return known
    legs, over = _legs(known), _legs(known, ended=True)
    replaced = (_legs(more, ended=True) & legs) - over
    stays = _same_stays(known, more, guesses)
    left = {stays.get(event.entry, event.entry) for event in more if event.kind is Kind.LEFT_QUEUE}
    ended = any(event.kind is Kind.ENDED and not event.leg for event in more)
    told_stays = {stays[entry] for entry in stays} & guesses
    result = [event for event in known if not _gives_way(event, replaced, left, ended)]
    result = [event for event in result if event.kind is not Kind.QUEUED or event.entry not in told_stays]
    kinds = {event.kind for event in result if not event.leg}
    over_stays = {event.entry for event in result if event.kind in (Kind.LEFT_QUEUE, Kind.ANSWERED) and event.entry}
    for event in more:
        entry = stays.get(event.entry, event.entry)
        if event.leg:
            if event.leg in replaced or event.leg not in legs:
                result.append(replace(event, entry=entry))
        elif event.kind is Kind.QUEUED:
            if entry in guesses or event.entry not in stays:
                result.append(replace(event, entry=entry))
        elif event.kind is Kind.LEFT_QUEUE:
            if entry not in over_stays:
                result.append(replace(event, entry=entry))
        elif event.kind not in (Kind.STARTED, Kind.ENDED) or event.kind not in kinds:
            result.append(event)
    return result


def _gives_way(event: CallEvent, legs: set[str], left: set[str], ended: bool) -> bool:
    """Whether what is known is replaced: a leg that was not heard to its end, an end that was only found out."""
    if event.leg:
        return event.leg in legs
    if event.kind is Kind.LEFT_QUEUE:
        return event.untimed and event.entry in left
    return event.kind is Kind.ENDED and event.untimed and ended


def _is_near(known: CallEvent, told: CallEvent, guesses: set[str]) -> bool:
    if known.queue != told.queue:
        return False
    return abs(known.at - told.at) <= _SAME_STAY or (known.entry in guesses and told.at <= known.at)


def _legs(events: Iterable[CallEvent], *, ended: bool = False) -> set[str]:
    over = (Kind.ENDED, Kind.NOT_TAKEN)
    return {e.leg for e in events if e.leg and (not ended or (e.kind in over and not e.untimed))}


def _same_stays(known: Sequence[CallEvent], more: Sequence[CallEvent], guesses: set[str]) -> dict[str, str]:
    """The stays of *more* that are known, under the key by which they are."""
    here = [event for event in known if event.kind is Kind.QUEUED]
    same: dict[str, str] = {}
    for event in (event for event in more if event.kind is Kind.QUEUED):
        near = [e for e in here if _is_near(e, event, guesses) and e.entry not in same.values()]
        if near:
            same[event.entry] = min(near, key=lambda e: (abs(e.at - event.at), e.entry)).entry
    return same


@dataclass(slots=True)
class _Reading:
    """One call, read from its scene."""

    scene: Scene
    cdr: Sequence[CallEvent]  #: what mod_json_cdr tells
    root: Channel = field(init=False)
    record: Record = field(init=False)
    direction: Direction = field(init=False)
    customers: set[str] = field(init=False)  #: uuids of the customer's channels

    def __post_init__(self) -> None:
        self.root = self.scene.root
        self.record = self.scene.record(self.root)
        self.direction = self._direction()
        self.customers = self._customers()
        self._find_channels_of_offers()

    def _find_channels_of_offers(self) -> None:
        """Which channel an offer was whose channel was not heard, by what records tell."""
        taken = {offer.channel for offer in self.scene.offers}
        for offer in self.scene.offers:
            if offer.channel or not offer.is_callback:
                continue
            until = offer.fail.at if offer.fail else None
            since = None if offer.first is offer.fail else offer.first.at - AT_ONCE
            rings = [
                e for e in self.cdr
                if e.kind is Kind.RINGING and e.agent == offer.agent and e.leg and e.leg not in taken
                and (since is None or since <= e.at) and (until is None or e.at <= until)
            ]  # fmt: skip
            talk = self.root.variable("cc_agent_uuid") if offer.fail is None else ""
            if rings:
                offer.channel = min(rings, key=lambda e: e.order).leg
            elif talk and talk not in taken and self.root.variable("cc_agent") == offer.agent:
                offer.channel = talk
            taken.add(offer.channel)

    def tell(self, signal: CallEvent, kind: Kind, tag: str = "", **facts: Any) -> CallEvent:
        """A canonical event, at the time of *signal* where no other is given."""
        return CallEvent(
            tenant=signal.tenant, source=signal.source, call_id=signal.call_id, kind=kind,
            event_id=f"{signal.event_id}.{kind}{tag}", received_at=signal.received_at, **{"at": signal.at, **facts},
        )  # fmt: skip

    def events(self) -> list[CallEvent]:
        result = []
        if self.root.first is not None or self.scene.stays:
            result.append(self._started())
        legs = self._own_leg() if self._is_made_by_agent() else []
        for channel in self._agents():
            legs += self._leg(channel)
        for offer in self.scene.offers:
            legs += self._ring_without_channel(offer)
        answered = {event.entry for event in legs if event.kind is Kind.ANSWERED}
        for stay in self.scene.stays:
            result += self._stay(stay, answered)
        return [*result, *legs, *self._end()]

    # -- who called whom -----------------------------------------------------------------------------
    def _direction(self) -> Direction:
        recorded = [event.direction for event in self.cdr if event.kind is Kind.STARTED and event.direction]
        if self.root.first is None and recorded:
            return recorded[0]
        if self.root.inbound is not False:
            return self.record.direction()
        # FreeSWITCH was asked to make the first channel: a click to call, or a dialler.
        told = self.record.facts.text("call_direction")
        children = [c for c in self.scene.channels.values() if c.parent == self.root.uuid]
        ours = self.record.is_agents
        if told:
            return self.record.direction()
        if ours and children and all(self.scene.record(child).is_agents for child in children):
            return Direction.INTERNAL
        return Direction.OUTBOUND

    def _is_made_by_agent(self) -> bool:
        if self.direction is not Direction.OUTBOUND:
            return False
        return self.root.inbound is not False or self.record.is_agents

    def _customers(self) -> set[str]:
        if not self._is_made_by_agent():
            return {self.root.uuid}
        made = [c for c in self.scene.channels.values() if c.parent == self.root.uuid and not c.inbound]
        return {channel.uuid for channel in made if not self.scene.record(channel).is_agents}

    def _started(self) -> CallEvent:
        first = self.root.first or self.scene.signals[0]
        begin = min(self.root.began or first.at, *(stay.joined_at for stay in self.scene.stays), first.at)
        if self.root.inbound is False:
            return self.tell(first, Kind.STARTED, at=begin, **self._about_made())
        return self.tell(first, Kind.STARTED, at=begin, **self.record.about(self.direction))

    def _about_made(self) -> dict[str, Any]:
        """Of a call whose first channel FreeSWITCH was asked to make."""
        if not self.record.is_agents:
            return {"direction": self.direction, "customer": self.record.agent, "line": self.record.caller}
        dialled = [self.scene.record(self.scene.channel(uuid)).agent for uuid in sorted(self.customers)]
        if self.direction is not Direction.OUTBOUND:
            dialled = [self.record.caller]
        return {"direction": self.direction, "customer": next(iter(dialled), "")}

    # -- stays in queues -----------------------------------------------------------------------------
    def _stay(self, stay: Stay, answered: set[str]) -> list[CallEvent]:
        about = {"queue": stay.queue, "entry": stay.key}
        queued = self.tell(stay.told_by, Kind.QUEUED, f".{stay.key}", at=stay.joined_at, **about)
        if stay.start is not None or stay.key in answered:
            return [queued]
        if stay.end is not None:
            wait = _wait(stay, stay.end.at)
            return [queued, self.tell(stay.end, Kind.LEFT_QUEUE, cause=_why_left(stay.end), wait_ms=wait, **about)]
        if stay.unheard is None:
            return [queued]
        told: dict[str, Any] = {"cause": Outcome.EXPIRED, "code": UNHEARD, "untimed": True}
        return [queued, self.tell(stay.unheard, Kind.LEFT_QUEUE, f".{stay.key}", **told, **about)]

    # -- agents --------------------------------------------------------------------------------------
    def _agents(self) -> list[Channel]:
        """Channels that rang somebody for the customer, or were connected with him."""
        offered = {offer.channel for offer in self.scene.offers if offer.channel}
        result = []
        for channel in self.scene.channels.values():
            if channel is self.root or channel.uuid in self.customers:
                continue
            for_him = not channel.inbound and channel.parent in self.customers
            met = any(talks(self.scene, channel.uuid, self.customers))
            met = met or self.root.variable("last_bridge_to") == channel.uuid
            if channel.first is not None and (for_him or met or channel.uuid in offered):
                result.append(channel)
        return sorted(result, key=lambda c: (c.began or self.scene.signals[0].at, c.uuid))

    def _offer(self, channel: Channel) -> Offer | None:
        return next((offer for offer in self.scene.offers if offer.channel == channel.uuid), None)

    def _stay_of(self, channel: Channel, offer: Offer | None) -> Stay | None:
        if offer is not None and offer.stay is not None:
            return offer.stay
        member = channel.variable("cc_member_uuid") if channel.variable("cc_side") == "agent" else ""
        return next((stay for stay in self.scene.stays if stay.key == member), None)

    def _leg(self, channel: Channel) -> list[CallEvent]:
        offer = self._offer(channel)
        agent = offer.agent if offer else self._name(channel)
        common: dict[str, Any] = {"agent": agent, "leg": channel.uuid}
        stay = self._stay_of(channel, offer)
        if stay is not None:
            common |= {"queue": stay.queue, "entry": stay.key}
        assert channel.first is not None
        result = [] if channel.inbound else [self.tell(channel.first, Kind.RINGING, at=channel.began, **common)]
        answered = self._connected_at(channel, offer)
        if answered is None:
            return [*result, *self._not_taken(channel, offer, common)]
        begin, signal = answered
        told: dict[str, Any] = {}
        if channel.answered is not None and channel.began is not None and not channel.inbound:
            told["ring_ms"] = millis(min(channel.answered, begin), channel.began)
        if stay is not None:
            told["wait_ms"] = _wait(stay, begin)
        result.append(self.tell(signal, Kind.ANSWERED, f".{channel.uuid}", at=begin, **told, **common))
        return [*result, *self._holds(channel, begin, common["leg"]), *self._end_of_talk(channel, offer, begin, common)]

    def _name(self, channel: Channel) -> str:
        record = self.scene.record(channel)
        return record.caller if channel.inbound else record.agent

    def _connected_at(self, channel: Channel, offer: Offer | None) -> tuple[datetime, CallEvent] | None:
        """When this channel and the customer's were first connected, and who says so."""
        bridge = next(talks(self.scene, channel.uuid, self.customers), None)
        if bridge is not None:
            return bridge.begin.at, bridge.begin
        if offer is not None and offer.taken is not None:
            return offer.taken
        if channel.hangup is not None and not channel.is_gone:
            begin = self.scene.record(channel).time("bridge")
            if begin is not None and channel.variable("last_bridge_to") in {*self.customers, ""}:
                return begin, channel.hangup
            return None
        if channel.seen_answered is not None and channel.parent in self.customers and channel.first is not None:
            return channel.answered or channel.seen_answered, channel.first
        return None

    def _not_taken(self, channel: Channel, offer: Offer | None, common: dict[str, Any]) -> list[CallEvent]:
        fail = offer.fail if offer else None
        end = channel.hangup or fail
        if end is None:
            return []
        cause = (fail or end).detail.get("CC-Hangup-Cause" if fail else "Hangup-Cause", "")
        cause = cause or channel.variable("hangup_cause")
        unheard = is_unheard(end)
        how = LegEnd.CANCELLED if unheard else ring_end(cause)
        return [self.tell(end, Kind.NOT_TAKEN, f".{channel.uuid}", cause=how, untimed=unheard, **common)]

    def _end_of_talk(
        self, channel: Channel, offer: Offer | None, begin: datetime, common: dict[str, Any]
    ) -> list[CallEvent]:
        """When the agent was with the customer for the last time, if he is not now."""
        bridges = list(talks(self.scene, channel.uuid, self.customers))
        end = channel.hangup
        if bridges and bridges[-1].end is not None and (end is not None or self._went_on(bridges[-1].end, channel)):
            end = bridges[-1].end
        elif offer is not None and offer.end is not None:
            end = end or offer.end
        elif end is None and (customer := self._last_customer()) is not None:
            end = customer
        if end is None:
            return []
        told = {name: common[name] for name in ("agent", "leg")}
        told |= {"untimed": is_unheard(end)}
        result = [
            self.tell(end, Kind.ENDED, f".{channel.uuid}", at=max(end.at, begin), hold_ms=_hold_ms(channel), **told)
        ]
        if how := _transferred(channel):
            result.append(self.tell(channel.hangup or end, Kind.TRANSFERRED, f".{channel.uuid}", cause=how, **told))
        return result

    def _went_on(self, end: CallEvent, channel: Channel) -> bool:
        """Whether the customer was connected with somebody else, or hung up, after this."""
        if any(b.begin.at >= end.at and channel.uuid not in (b.one, b.two) and {b.one, b.two} & self.customers
               for b in self.scene.bridges):  # fmt: skip
            return True
        return self._last_customer() is not None

    def _last_customer(self) -> CallEvent | None:
        """The end of the customer's last channel; None while he is there."""
        ends = [self.scene.channel(uuid).hangup for uuid in sorted(self.customers)]
        over = [end for end in ends if end is not None]
        return max(over, key=lambda e: e.order) if ends and len(over) == len(ends) else None

    def _holds(self, channel: Channel, begin: datetime, leg: str) -> list[CallEvent]:
        """Holds that the agent's phone tells, and times in which another channel or nobody had the customer."""
        result = [
            self.tell(signal, Kind.HELD if signal.detail["Event"] == "CHANNEL_HOLD" else Kind.RESUMED, leg=leg)
            for signal in channel.holds if signal.at >= begin
        ]  # fmt: skip
        bridges = list(talks(self.scene, channel.uuid, self.customers))
        for one, two in pairwise(bridges):
            if one.end is not None and one.end.at < two.begin.at and not channel.holds:
                result.append(self.tell(one.end, Kind.HELD, f".{leg}", leg=leg))
                result.append(self.tell(two.begin, Kind.RESUMED, f".{leg}", leg=leg))
        return result

    def _ring_without_channel(self, offer: Offer) -> list[CallEvent]:
        """An offer whose channel was not heard, or that was made to an agent who stays on his line."""
        if offer.channel and self.scene.channels.get(offer.channel, Channel("")).first is not None:
            return []
        cause = offer.fail.detail.get("CC-Hangup-Cause", "") if offer.fail else ""
        if cause in _NOT_RUNG:
            return []
        leg = offer.channel or offer.first.event_id
        if offer.channel and not offer.is_callback and offer.stay is not None:
            leg = f"{offer.channel}/{offer.stay.key}"
        common: dict[str, Any] = {"agent": offer.agent, "leg": leg}
        where = {"queue": offer.stay.queue, "entry": offer.stay.key} if offer.stay else {}
        begin = min(offer.first.at, offer.taken[0]) if offer.taken else offer.first.at
        result = [self.tell(offer.first, Kind.RINGING, f".{leg}", at=begin, **common, **where)]
        taken = offer.taken
        if taken is not None:
            wait = {"wait_ms": _wait(offer.stay, taken[0])} if offer.stay else {}
            result.append(self.tell(taken[1], Kind.ANSWERED, f".{leg}", at=taken[0], **wait, **common, **where))
        end = offer.end or (self._last_customer() if taken else offer.fail)
        if end is not None and taken is not None:
            result.append(self.tell(end, Kind.ENDED, f".{leg}", untimed=is_unheard(end), **common))
        elif end is not None:
            result.append(self.tell(end, Kind.NOT_TAKEN, f".{leg}", cause=ring_end(cause), **common, **where))
        return result

    # -- calls that an agent makes -------------------------------------------------------------------
    def _own_leg(self) -> list[CallEvent]:
        """The agent's own leg of a call that he made: known by the customer's channel once they talk."""
        bridges = list(talks(self.scene, self.root.uuid, self.customers))
        agent = self.record.agent if self.root.inbound is False else self.record.caller
        leg = bridges[-1].other(self.root.uuid) if bridges else self._own_leg_of_record(agent)
        common: dict[str, Any] = {"agent": agent, "leg": leg}
        first = self.root.first
        if first is None:
            return []
        result = [self.tell(first, Kind.RINGING, at=self.root.began, **common)]
        if not bridges:
            seen = next((c for uuid in sorted(self.customers) if (c := self.scene.channel(uuid)).seen_answered), None)
            if seen is None or seen.first is None or self.root.hangup is not None:
                return result
            begin = seen.answered or seen.seen_answered
            return [*result, self.tell(seen.first, Kind.ANSWERED, ".own", at=begin, **common)]
        begin = bridges[0].begin.at
        result.append(self.tell(bridges[0].begin, Kind.ANSWERED, ".own", **common))
        result += self._holds(self.root, begin, leg)
        end = self.root.hangup or self._last_customer()
        if end is not None and bridges[-1].end is not None:
            end = bridges[-1].end
        if end is not None:
            hold = _hold_ms(self.root)
            over: dict[str, Any] = {"hold_ms": hold, "at": max(end.at, begin), "untimed": is_unheard(end)}
            result.append(self.tell(end, Kind.ENDED, ".own", **over, **common))
        if end is not None and (how := _transferred(self.root)):
            result.append(self.tell(self.root.hangup or end, Kind.TRANSFERRED, ".own", cause=how, **common))
        return result

    def _own_leg_of_record(self, agent: str) -> str:
        """The customer's channel, as a record knows it; the agent's own while nobody has told of a conversation."""
        told = self.root.variable("last_bridge_to")
        if told and self.root.variable("bridge_epoch") not in ("", "0"):
            return told
        talks_told = [e.leg for e in self.cdr if e.kind is Kind.ANSWERED and e.agent == agent and e.leg]
        return min(talks_told, default=self.root.uuid)

    # -- the end of the call -------------------------------------------------------------------------
    def _end(self) -> list[CallEvent]:
        sides = [self.scene.channel(uuid) for uuid in sorted({self.root.uuid, *self.customers})]
        if self.direction is Direction.INTERNAL:
            sides = list(self.scene.channels.values())
        ends = [channel.hangup for channel in sides if channel.hangup is not None]
        if not ends or len(ends) < len(sides):
            return []
        last = max(ends, key=lambda e: e.order)
        if is_unheard(last):
            about: dict[str, Any] = {"cause": "" if self.scene.stays else Outcome.EXPIRED, "code": UNHEARD}
            return [self.tell(last, Kind.ENDED, ".call", untimed=True, **about)]
        own = self.root.hangup or last
        cause = self.root.variable("hangup_cause") or own.detail.get("Hangup-Cause", "")
        outcome = self.record.outcome(self.direction) if cause and not self.scene.stays else ""
        return [
            self.tell(own, Kind.ENDED, ".call", at=last.at, code=cause[:40],
                      cause=outcome, hangup_by=self.record.hung_up_by(self.direction))
        ]  # fmt: skip

    def record_of_root(self) -> list[CallEvent]:
        """What the variables of the caller's channel say at its hang-up."""
        if self.root.hangup is None or self.root.is_gone or self.root.inbound is False:
            return []
        try:
            told = self.record.events()
        except Rejected:
            return []
        call_id = self.root.hangup.call_id
        return [replace(event, call_id=call_id, event_id=f"{self.root.hangup.event_id}.{n}")
                for n, event in enumerate(told)]  # fmt: skip


def _why_left(end: CallEvent) -> Outcome:
    reason = end.detail.get("CC-Cancel-Reason", "").upper()
    if reason in ("BREAK_OUT", "NONE", "") and end.detail.get("Answer-State", "hangup") != "hangup":
        return Outcome.EXITED
    return CANCELLED.get(reason, Outcome.ABANDONED)


def _wait(stay: Stay, until: datetime) -> int | None:
    return None if stay.is_guess else millis(until, stay.joined_at)


def _transferred(channel: Channel) -> str:
    causes = [channel.variable(name) for name in ("endpoint_disposition", "hangup_cause")]
    if channel.hangup is not None:
        causes.append(channel.hangup.detail.get("Hangup-Cause", ""))
    return next((TRANSFERS[cause] for cause in causes if cause in TRANSFERS), "")


def _hold_ms(channel: Channel) -> int | None:
    """The time on hold as FreeSWITCH has added it up, where the holds themselves were not heard."""
    if channel.holds:
        return None
    for name, unit in (("hold_accum_usec", 1000), ("hold_accum_seconds", 0.001)):
        told = channel.variable(name)
        if told.isdecimal() and len(told) < 15:
            return round(int(told) / unit) or None
    return None
