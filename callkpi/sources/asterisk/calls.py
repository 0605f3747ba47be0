"""A whole call's AMI events, read as canonical events.

What the stream leaves open, and how it is decided here:

* A stay is one ``QueueCallerJoin`` of a channel into a queue. Events of one instant are read in the order that makes
  sense. A channel that a transfer replaced leaves under another Uniqueid: such an end goes to the oldest stay of that
  queue that is still open. An end without a beginning (the stream began later) tells itself how long the stay was.
* ``QueueCallerAbandon`` comes for a caller who hung up, for a timeout and for an emptied queue alike. In this order:
  an agent's phone was ringing for him and stopped without AgentRingNoAnswer: he hung up. His channel is next seen at
  the same place of the dialplan: he hung up; anywhere else: the queue gave him up. Somebody asked to hang up his
  channel (the one that entered the queue, or the other half of its Local pair) before: he hung up. Else it was a
  timeout, or, if the members of the queue had just all gone, the emptied queue.
* A ``QueueCallerLeave`` with neither abandon nor connect is an exit by key.
* A conversation ends by ``AgentComplete``, under whatever channels the two have by then (Asterisk takes Local channels
  out of a call); where that is lost, by what ended the channels.
* Agents in queues are known by MemberName, on direct calls by the extension in the channel's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import UNHEARD, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome, millis
from callkpi.sources.asterisk.ami import RESYNC_CALL
from callkpi.sources.asterisk.origin import Origin, agent_at, customer_dials, extension, origin_of, outbound_agent
from callkpi.sources.asterisk.phones import end_of_phone, phone_behind, speaks, taken_over, talks_on
from callkpi.sources.asterisk.scene import TRANSFERS, Dial, Ring, Scene, Stay, before, has_unread, milliseconds, order
from callkpi.sources.asterisk.unheard import scene_of
from callkpi.sources.facts import doubted

#: AgentConnect follows the QueueCallerLeave of the same caller at once, or when his agent has taken the call.
_CONNECTS_WITHIN = timedelta(seconds=1)
#: app_queue ends a ring and gives the caller up in one go.
_AT_ONCE = timedelta(milliseconds=100)
#: A queue looks whether it is empty after each ring, or each ``retry`` seconds (default 5) without one.
_ROUND = timedelta(seconds=6.5)
_WHOLE_SECOND_MS = 1000
#: A queue that never had anybody sends a caller away before he has waited.
_AT_THE_DOOR = timedelta(milliseconds=1500)
#: Of a conversation that is no queue's, also where the caller was in one before.
_NO_STAY = "none"
_GIVEN_UP = {
    "TIMEOUT": Outcome.TIMED_OUT,
    "LEAVEEMPTY": Outcome.LEFT_EMPTY,
    "LEAVEUNAVAIL": Outcome.LEFT_EMPTY,
    "WITHDRAW": Outcome.EXITED,
}


def interpret(
    events: Sequence[CallEvent],
    settings: config.Source,
    members: Sequence[CallEvent] = (),
    restart: CallEvent | None = None,
) -> list[CallEvent]:
    """All AMI events of one call as canonical events. *restart*: the first one of the exchange after them."""
    result = _interpreted(events, settings, members)
    if restart is not None and not any(event.kind is Kind.ENDED and not event.leg for event in result):
        # Nothing of it is there any more: as if Asterisk had been asked then and had named no channel.
        nothing = {"Event": RESYNC_CALL, "Channels": "[]", "Waits": "[]", "Talks": "[]"}
        gone = replace(restart, call_id=min(event.call_id for event in events), detail=nothing)
        result = _interpreted([*events, gone], settings, members)
    return result


def _interpreted(events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent]) -> list[CallEvent]:
    scene = scene_of(events, settings, members)
    origin = origin_of(scene, settings)
    result = [_started(scene, origin)]
    for stay in scene.stays:
        result += _stay_events(scene, stay)
    for ring in scene.rings:
        result += _ring_events(scene, ring)
    is_made_by_agent = origin.direction is Direction.OUTBOUND and not origin.calls_back
    result += _outbound_leg(scene) if is_made_by_agent else _direct_legs(scene, calls_back=origin.calls_back)
    result += _legs_taken_over(scene)
    result += _holds_and_transfers(scene, is_made_by_agent=is_made_by_agent)
    return doubted([*result, *_end_of_call(scene, origin.direction)], map(has_unread, events))


def asks_about(events: Sequence[CallEvent], settings: config.Source) -> list[tuple[str, datetime]]:
    """Queues that gave the caller up, and when: their members' states tell why."""
    if not any(signal.detail["Event"] == "QueueCallerAbandon" for signal in events):
        return []
    scene = scene_of(events, settings, ())
    return [
        (stay.queue, stay.abandon.at)
        for stay in scene.stays
        if stay.abandon is not None and not stay.status and _unanswered(scene, stay) is not Outcome.ABANDONED
    ]


def _tell(signal: CallEvent, kind: Kind, tag: str = "", **facts: object) -> CallEvent:
    """A canonical event at the time of *signal*."""
    return CallEvent(
        tenant=signal.tenant,
        source=signal.source,
        call_id=signal.call_id,
        kind=kind,
        event_id=f"{signal.event_id}.{kind}{tag}",
        received_at=signal.received_at,
        **{"at": signal.at, **facts},  # type: ignore[arg-type]
    )


def _started(scene: Scene, origin: Origin) -> CallEvent:
    first = scene.signals[0]
    seen = [channel.first.at for channel in scene.channels.values() if channel.first is not None]
    begin = min([first.at, *seen, *(stay.joined_at for stay in scene.stays)])
    who = {"direction": origin.direction, "customer": origin.customer, "line": origin.line}
    return _tell(first, Kind.STARTED, at=begin, **who)


# -- stays in queues -------------------------------------------------------------------------------------


def _stay_events(scene: Scene, stay: Stay) -> list[CallEvent]:
    queued = _tell(stay.told_by, Kind.QUEUED, f".{stay.key}", queue=stay.queue, entry=stay.key, at=stay.joined_at)
    left = stay.abandon or stay.leave or stay.unheard
    if stay.connect is not None or stay.talks or left is None or not _is_decided(scene, stay, left):
        return [queued]
    if _is_end_unheard(scene, stay):
        told = {"queue": stay.queue, "entry": stay.key, "cause": Outcome.EXPIRED, "untimed": True, "code": UNHEARD}
        return [queued, _tell(left, Kind.LEFT_QUEUE, f".{stay.key}", **told)]
    # Asterisk counts whole seconds of the clock; so does a stay whose end has no HoldTime.
    wait_ms = _wait_until(stay, left)
    if wait_ms is None:
        wait_ms = _whole_seconds(stay.joined_at, left.at)
    outcome = _unanswered(scene, stay)
    return [
        queued,
        _tell(left, Kind.LEFT_QUEUE, f".{stay.key}", queue=stay.queue, entry=stay.key, cause=outcome, wait_ms=wait_ms),
    ]


def _is_end_unheard(scene: Scene, stay: Stay) -> bool:
    """Whether nobody heard why the caller left: he may have been answered."""
    if stay.abandon is not None:
        return False
    if stay.leave is None:
        return True
    hangup = scene.hangup_of(stay.uid)
    if hangup is not None and not _is_unheard(hangup):
        return False
    after = [signal for signal in scene.signals if signal.at >= stay.leave.at]
    heard_on = any(not _is_unheard(signal) and signal.at - stay.leave.at >= _CONNECTS_WITHIN for signal in after)
    return not heard_on and any(map(_is_unheard, after))


def _is_unheard(signal: CallEvent) -> bool:
    """Whether callkpi itself made a signal, of what it was told when it asked."""
    return "Unheard" in signal.detail or signal.detail["Event"] == RESYNC_CALL


def _whole_seconds(begin: datetime, end: datetime) -> int:
    return 1000 * max(int(end.timestamp()) - int(begin.timestamp()), 0)


def _is_decided(scene: Scene, stay: Stay, left: CallEvent) -> bool:
    """Whether it can be told how a stay ended: a caller leaves the queue before he is connected.

    An agent who has taken the call may still have to hear or confirm something.
    """
    if stay.abandon is not None:
        return True
    if stay.leave is None:
        return all(ring.connect is None and ring.complete is None for ring in stay.rings)
    if any(ring.complete is not None for ring in stay.rings):
        return False
    if scene.hangup_of(stay.uid) is not None or _comes_back(scene, stay, left.at):
        return True
    taken = [ring for ring in stay.rings if ring.is_open and _dial_status(scene, ring.leg) == "ANSWER"]
    if any(scene.hangup_of(ring.leg) is None for ring in taken):
        return False
    return any(signal.at - left.at >= _CONNECTS_WITHIN for signal in scene.signals)


def _comes_back(scene: Scene, stay: Stay, after: datetime) -> bool:
    """Whether the caller is in the dialplan again after this stay."""
    later = scene.stays[scene.stays.index(stay) + 1 :]
    if any(other.uid == stay.uid for other in later):
        return True
    return any(
        dial.origin == stay.uid and dial.begin.at > after
        for dest, dial in scene.dials.items()
        if dest not in scene.member_channels
    )


def _dial_status(scene: Scene, leg: str) -> str:
    dial = scene.dials.get(leg)
    return dial.status if dial else ""


def _unanswered(scene: Scene, stay: Stay) -> Outcome:
    if stay.abandon is None:
        return Outcome.EXITED
    if stay.status in _GIVEN_UP:
        return _GIVEN_UP[stay.status]
    if _caller_hung_up(scene, stay, stay.abandon):
        return Outcome.ABANDONED
    return Outcome.LEFT_EMPTY if _emptied(scene, stay, stay.abandon) else Outcome.TIMED_OUT


def _emptied(scene: Scene, stay: Stay, abandon: CallEvent) -> bool:
    """Whether a queue that gave the caller up had nobody left: it looks about once a round of calling members.

    Who has waited with nobody there for longer was not sent away for that: the queue keeps callers who wait.
    """
    told = [e for e in scene.members if e.queue == stay.queue and e.at <= abandon.at]
    last = {event.agent: event for event in sorted(told, key=lambda e: e.order)}
    if any(event.state == AgentState.AVAILABLE for event in last.values()):
        return False
    if not last:
        return not stay.rings and abandon.at - stay.joined_at <= _AT_THE_DOOR
    ends = [end.at for ring in stay.rings if (end := ring.missed or ring.dumped or _end_of_ring(scene, ring))]
    since = max([stay.joined_at, *(event.at for event in last.values()), *ends])
    return abandon.at - since <= _ROUND


def _caller_hung_up(scene: Scene, stay: Stay, abandon: CallEvent) -> bool:
    if _stopped_ringing(scene, stay, abandon):
        return True
    went_on = _went_on(scene, stay, abandon)
    if went_on is not None:
        return not went_on
    return _was_asked_to_hang_up(scene, stay, abandon)


def _went_on(scene: Scene, stay: Stay, abandon: CallEvent) -> bool | None:
    """Whether the dialplan went on behind the queue, by the next place in it where the channel is seen."""
    if _comes_back(scene, stay, abandon.at):
        return True
    channel, place = scene.channel(stay.uid), _place(abandon)
    if place is None:
        return None
    ends = [signal for signal in (*channel.requests, channel.hangup) if signal is not None and signal.at >= abandon.at]
    seen = [now for signal in ends if (now := _place(signal)) is not None]
    return seen[0] != place if seen else None


def _place(signal: CallEvent) -> tuple[str, str, str] | None:
    """Context, extension and priority; None where they are not told, or are the clean-up after the call."""
    detail = signal.detail
    if "Priority" not in detail or detail.get("Exten") == "h":
        return None
    return detail.get("Context", ""), detail.get("Exten", ""), detail["Priority"]


def _was_asked_to_hang_up(scene: Scene, stay: Stay, abandon: CallEvent) -> bool:
    own = [scene.channel(uid) for uid in sorted(scene.with_halves(stay.uid))]
    for request in (request for channel in own for request in channel.requests):
        # A channel whose dialplan is over asks for its own end: that comes after the queue.
        same = request.at == abandon.at and request.detail["Event"] == "HangupRequest"
        if stay.joined_at <= request.at and (request.at < abandon.at or same):
            return True
    others = [channel.hangup for channel in own if channel.uid != stay.uid and channel.hangup is not None]
    return any(stay.joined_at <= hangup.at < abandon.at for hangup in others)


def _stopped_ringing(scene: Scene, stay: Stay, abandon: CallEvent) -> bool:
    """Whether a phone rang for the caller until he was gone: a queue that gives up lets the ring run out first."""
    dumped = [ring.dumped.at for ring in stay.rings if ring.dumped is not None]
    for ring in stay.rings:
        if not ring.is_open or ring.called is None or ring.called.at > abandon.at:
            continue
        end = _end_of_ring(scene, ring)
        if end is None and not any(ring.called.at <= at for at in dumped):
            return True
        if end is not None and end.at >= abandon.at - _AT_ONCE:
            return True
    return False


# -- agents in queues ------------------------------------------------------------------------------------


def _ring_events(scene: Scene, ring: Ring) -> list[CallEvent]:
    entry = ring.stay.key if ring.stay else ""
    common = {"agent": ring.agent, "queue": ring.queue, "entry": entry, "leg": ring.leg}
    result = []
    if ring.called is not None:
        result.append(_tell(ring.called, Kind.RINGING, **common))
    if ring.connect is not None and (picker := _picked_up_by(scene, ring)):
        if ring.called is not None:
            result.append(_tell(ring.connect, Kind.NOT_TAKEN, ".picked", cause=LegEnd.CANCELLED, **common))
        common = {**common, "agent": picker, "leg": f"{ring.leg}/picked"}
    if ring.connect is not None:
        wait_ms, ring_ms = _wait_ms(ring), milliseconds(ring.connect, "RingTime")
        answered = _tell(ring.connect, Kind.ANSWERED, wait_ms=wait_ms, ring_ms=ring_ms, **common)
        return [*result, answered, *_end_of_talk(scene, ring, common)]
    if ring.complete is not None:
        wait_ms, at = milliseconds(ring.complete, "HoldTime"), before(ring.complete, "TalkTime")
        at = max(at, ring.stay.joined_at) if ring.stay else at  # TalkTime is in whole seconds
        answered = _tell(ring.complete, Kind.ANSWERED, wait_ms=wait_ms, at=at, **common)
        return [*result, answered, *_end_of_talk(scene, ring, common)]
    if ring.assumed is not None:
        answered = _tell(ring.assumed, Kind.ANSWERED, f".{ring.leg}", untimed=True, code=UNHEARD, **common)
        return [*result, answered, *_end_of_talk(scene, ring, common)]
    if ring.missed is not None:
        ring_ms = milliseconds(ring.missed, "RingTime", unit=1)
        return [*result, _tell(ring.missed, Kind.NOT_TAKEN, cause=LegEnd.NO_ANSWER, ring_ms=ring_ms, **common)]
    end = ring.dumped or _end_of_ring(scene, ring) or _end_of_wait(ring.stay)
    if end is not None:
        # A colleague was faster, or the caller left: the queue says nothing more about this ring.
        told = {"cause": LegEnd.CANCELLED, "untimed": _is_unheard(end), **common}
        result.append(_tell(end, Kind.NOT_TAKEN, f".{ring.leg}", **told))
    return result


def _picked_up_by(scene: Scene, ring: Ring) -> str:
    """The colleague who took a member's ring; "" where the member himself did. The queue goes on to name the member."""
    phone = speaks(scene, ring.leg)
    if phone not in scene.picked_up:
        return ""
    number = extension(scene.channel(phone).name)
    return next((r.agent for r in scene.rings if extension(r.interface) == number), number)


def _leg_of(scene: Scene, ring: Ring) -> str:
    """The id of the conversation that a ring led to."""
    return f"{ring.leg}/picked" if ring.connect is not None and _picked_up_by(scene, ring) else ring.leg


def _wait_ms(ring: Ring) -> int | None:
    assert ring.connect is not None
    return _wait_until(ring.stay, ring.connect) if ring.stay else milliseconds(ring.connect, "HoldTime")


def _wait_until(stay: Stay, end: CallEvent) -> int | None:
    """A wait, to the microsecond where Asterisk tells its own times: HoldTime is in whole seconds of the clock."""
    told = milliseconds(end, "HoldTime")
    joined = stay.told_by
    if joined.detail["Event"] != "QueueCallerJoin" or "Clock" not in joined.detail or "Clock" not in end.detail:
        return told
    exact = millis(end.at, joined.at)
    return exact if told is None or abs(exact - told) < _WHOLE_SECOND_MS else told


def _end_of_ring(scene: Scene, ring: Ring) -> CallEvent | None:
    dial = scene.dials.get(ring.leg)
    if dial is not None and dial.end is not None and dial.status != "ANSWER":
        return dial.end
    return scene.hangup_of(ring.leg)


def _end_of_wait(stay: Stay | None) -> CallEvent | None:
    return None if stay is None else stay.abandon or stay.connect or stay.unheard


def _end_of_talk(scene: Scene, ring: Ring, common: Mapping[str, str]) -> list[CallEvent]:
    begin = ring.connect or ring.complete or ring.assumed
    assert begin is not None
    if begin is not ring.complete and (own := end_of_phone(scene, ring, begin.at)) is not None:
        return _end_by_phone(scene, ring, begin, own, common)
    if talks_on(scene, ring):
        return []
    if ring.complete is None:
        end = _lost_end_of_talk(scene, ring, begin)
        if end is None:
            return []
        if _is_unheard(end):
            at = max(end.at, begin.at)
            return [_tell(end, Kind.ENDED, f".{ring.leg}.talk", at=at, untimed=True, code=UNHEARD, **common)]
        talk = None if ring.assumed else _whole_seconds(begin.at, end.at)
        by = _whose(scene, ring, begin, end)
        result = [
            _tell(end, Kind.ENDED, f".{ring.leg}.talk", talk_ms=talk, talk_with_hold=True, hangup_by=by, **common)
        ]
        transferred = end.detail["Event"] in TRANSFERS
    else:
        end = ring.complete
        talk_ms = milliseconds(end, "TalkTime")
        reason = end.detail.get("Reason", "")
        by = {"caller": "customer", "agent": "agent"}.get(reason, "")
        result = [_tell(end, Kind.ENDED, talk_ms=talk_ms, talk_with_hold=True, hangup_by=by, **common)]
        transferred = reason == "transfer"
    if transferred:
        how = _how_transferred(scene, begin, end)
        result.append(_tell(end, Kind.TRANSFERRED, f".{ring.leg}", cause=how, leg=common["leg"]))
    return result


def _end_by_phone(
    scene: Scene, ring: Ring, begin: CallEvent, end: CallEvent, common: Mapping[str, str]
) -> list[CallEvent]:
    """The end of a conversation that the phone behind the member's Local channel tells, and the queue does not."""
    told: dict[str, Any] = {"at": max(end.at, begin.at), "talk_with_hold": True}
    if _is_unheard(end):
        return [_tell(end, Kind.ENDED, f".{ring.leg}.talk", **told, untimed=True, code=UNHEARD, **common)]
    if not ring.assumed:
        told["talk_ms"] = millis(end.at, begin.at)
    result = [_tell(end, Kind.ENDED, f".{ring.leg}.talk", **told, **common)]
    if (how := TRANSFERS.get(end.detail["Event"])) is not None:
        result.append(_tell(end, Kind.TRANSFERRED, f".{ring.leg}", cause=how, leg=common["leg"]))
    return result


def _how_transferred(scene: Scene, begin: CallEvent, end: CallEvent) -> str:
    transfers = [s for s in scene.signals if s.detail["Event"] in TRANSFERS and s.at >= begin.at]
    nearest = min(transfers, key=lambda s: abs(s.at - end.at), default=None)
    return TRANSFERS[nearest.detail["Event"]] if nearest is not None else ""


def _lost_end_of_talk(scene: Scene, ring: Ring, begin: CallEvent) -> CallEvent | None:
    """The end of a conversation whose AgentComplete is not there: when the first of the two hung up or left."""
    caller = begin.detail.get("Uniqueid", "")
    uids = {uid for side in (ring.leg, caller) if (uid := scene.in_place_of(side)) and not _is_taken_out(scene, uid)}
    channels = [scene.channels[uid] for uid in uids if uid in scene.channels]
    ends = [channel.hangup for channel in channels if channel.hangup is not None]
    ends += [request for channel in channels for request in channel.requests if request.at >= begin.at]
    ends += [
        signal
        for signal in scene.signals
        if signal.at > begin.at
        and (
            (signal.detail["Event"] in TRANSFERS and uids & set(signal.detail.values()))
            or (signal.detail["Event"] == "QueueCallerJoin" and signal.detail.get("Uniqueid") in uids)
        )
    ]
    # One who waits again, and nobody heard him join, has left the conversation unheard too.
    ends += [s.told_by for s in scene.stays if _is_unheard(s.told_by) and s.uid in uids and s.joined_at > begin.at]
    return min(ends, key=lambda signal: signal.order, default=None)


def _whose(scene: Scene, ring: Ring, begin: CallEvent, end: CallEvent) -> str:
    """Who ended a conversation whose AgentComplete is not there."""
    uid = end.detail.get("Uniqueid", "")
    if uid == scene.in_place_of(begin.detail.get("Uniqueid", "")):
        return "customer"
    return "agent" if uid and uid == scene.in_place_of(ring.leg) else ""


def _is_taken_out(scene: Scene, uid: str) -> bool:
    return uid in scene.replaced


# -- calls without a queue -------------------------------------------------------------------------------

_NOT_TAKEN = {
    "BUSY": LegEnd.BUSY,
    "CONGESTION": LegEnd.BUSY,
    "CHANUNAVAIL": LegEnd.BUSY,
    "CANCEL": LegEnd.CANCELLED,
}


def _direct_legs(scene: Scene, *, calls_back: bool) -> list[CallEvent]:
    """Agents whom the dialplan dialled for the customer, outside of any queue."""
    side = scene.with_halves(scene.root.uid, *(s.uid for s in scene.stays), *scene.transferees)
    members = scene.with_halves(*scene.member_channels)
    since = {half: at for uid, at in scene.transferees.items() for half in scene.with_halves(uid)}
    half = scene.pairs.get(scene.root.uid, "") if calls_back else ""
    result = []
    for dial in scene.dials.values():
        if dial.origin not in side or dial.dest in side or dial.dest in members:
            continue
        if dial.origin in members and dial.begin.at < since.get(dial.origin, dial.begin.at):
            continue  # a member's own phone behind his Local channel, not one for the customer
        if half and dial.origin == half:
            continue  # by it the exchange called the customer
        result += _direct_events(scene, dial)
    return result


def _direct_events(scene: Scene, dial: Dial) -> list[CallEvent]:
    if not dial.taken_by:
        return _dial_events(scene, dial, agent_at(scene, dial), dial.dest)
    assert dial.end is not None
    rung = {"agent": extension(scene.channel(dial.dest).name), "leg": dial.dest, "entry": _NO_STAY}
    return [
        _tell(dial.begin, Kind.RINGING, **rung),
        _tell(dial.end, Kind.NOT_TAKEN, ".picked", cause=LegEnd.CANCELLED, **rung),
        *_talk_events(scene, dial, agent_at(scene, dial), dial.taken_by),
    ]


def _outbound_leg(scene: Scene) -> list[CallEvent]:
    """The agent's own leg of a call that he made: each dial is an attempt, the first answer counts."""
    dials = customer_dials(scene)
    if not dials:
        return []
    dials.sort(key=lambda d: (d.status != "ANSWER", d.begin.order))
    told = _dial_events(scene, dials[0], outbound_agent(scene), scene.root.uid)
    # Where he gave up himself, the customer was called and not reached all the same.
    return [replace(e, cause=LegEnd.NO_ANSWER) if e.cause == LegEnd.CANCELLED else e for e in told]


def _legs_taken_over(scene: Scene) -> list[CallEvent]:
    """Colleagues to whom the customer was transferred after a consultation: from then on they talk with him."""
    result = []
    for taken in taken_over(scene):
        dial, at = taken.dial, taken.transfer.at
        common = {"agent": agent_at(scene, dial), "leg": taken.leg, "entry": _NO_STAY}
        if dial.end is None or dial.end.at > at:
            result.append(_tell(taken.transfer, Kind.RINGING, f".{taken.leg}", **common))
            result += _rung_out(dial, common) if dial.end is None or dial.status != "ANSWER" else []
        if dial.end is not None and dial.status == "ANSWER":
            result += _talk_events(scene, dial, common["agent"], taken.leg, since=at)
    return result


def _dial_events(scene: Scene, dial: Dial, agent: str, leg: str) -> list[CallEvent]:
    common = {"agent": agent, "leg": leg, "entry": _NO_STAY}
    ringing = _tell(dial.begin, Kind.RINGING, **common)
    if dial.end is None or dial.status != "ANSWER":
        return [ringing, *_rung_out(dial, common)]
    return [ringing, *_talk_events(scene, dial, agent, leg)]


def _rung_out(dial: Dial, common: Mapping[str, str]) -> list[CallEvent]:
    if dial.end is None:
        return []
    cause = _NOT_TAKEN.get(dial.status, LegEnd.NO_ANSWER)
    return [_tell(dial.end, Kind.NOT_TAKEN, cause=cause, **common)]


def _talk_events(scene: Scene, dial: Dial, agent: str, leg: str, *, since: datetime | None = None) -> list[CallEvent]:
    """A conversation that began with a dial, with the customer since *since*."""
    assert dial.end is not None
    common = {"agent": agent, "leg": leg, "entry": _NO_STAY}
    told: dict[str, Any] = {"untimed": True, "code": UNHEARD} if _is_unheard(dial.end) else {}
    begin = dial.end.at if since is None else max(since, dial.end.at)
    if since is not None and since > dial.end.at:
        told["ring_ms"] = millis(dial.end.at, dial.begin.at)
    result = [_tell(dial.end, Kind.ANSWERED, f".{leg}" if since else "", at=begin, **common, **told)]
    uids = {scene.in_place_of(uid) for uid in (dial.taken_by or dial.dest, *(() if since else (dial.origin,)))}
    uids = {uid for uid in uids if not _is_taken_out(scene, uid)} or {scene.root.uid}
    uids |= {phone for uid in uids if (phone := phone_behind(scene, uid))}
    ends = [hangup for uid in sorted(uids) if (hangup := scene.hangup_of(uid)) is not None]
    ends += [transfer for uid in sorted(uids) for transfer in scene.transfers.get(uid, ()) if transfer.at >= begin]
    if ends:
        end = min(ends, key=lambda h: h.at)
        told = {"untimed": True, "code": UNHEARD} if _is_unheard(end) else {}
        result.append(_tell(end, Kind.ENDED, f".{leg}", at=max(end.at, begin), **common, **told))
    return result


def _holds_and_transfers(scene: Scene, *, is_made_by_agent: bool) -> list[CallEvent]:
    """Holds; transfers of the call, and of conversations that no queue reports."""
    result = []
    legs = _legs(scene, is_made_by_agent=is_made_by_agent)
    of_queues = {_leg_of(scene, ring) for ring in scene.rings} | scene.member_channels
    consulting = {t.detail.get("SecondTransfererUniqueid", "") for each in scene.transfers.values() for t in each}
    for signal in scene.signals:
        name, detail = signal.detail["Event"], signal.detail
        if name in ("Hold", "Unhold"):
            uid = detail.get("Uniqueid", "")
            kind = Kind.HELD if name == "Hold" else Kind.RESUMED
            if uid in legs or uid not in consulting:
                result.append(_tell(signal, kind, leg=legs.get(uid, "")))
        elif name in TRANSFERS:
            sides = [detail.get(k, "") for k in ("TransfererUniqueid", "OrigTransfererUniqueid", "TransfereeUniqueid")]
            leg = next((legs[uid] for uid in sides if uid in legs), "")
            if leg not in of_queues:  # the end of a queue's conversation says whether it ended by it
                result.append(_tell(signal, Kind.TRANSFERRED, cause=TRANSFERS[name], leg=leg))
    return result


def _legs(scene: Scene, *, is_made_by_agent: bool) -> dict[str, str]:
    """The leg that each channel of an agent is: his phone's own one, or that of the Local channel before it."""
    legs = {uid: uid for uid in (*scene.member_channels, *scene.dials)}
    legs |= {dial.taken_by: dial.taken_by for dial in scene.dials.values() if dial.taken_by}
    if is_made_by_agent:
        legs[scene.root.uid] = scene.root.uid
    for uid in list(legs):
        if uid in scene.dials and (phone := phone_behind(scene, uid)):
            legs[phone] = legs[uid]
    if is_made_by_agent:
        legs[speaks(scene, scene.root.uid)] = scene.root.uid
    for ring in scene.rings:
        legs[ring.leg] = legs[speaks(scene, ring.leg)] = _leg_of(scene, ring)
    return legs


# -- the end of the call ---------------------------------------------------------------------------------


def _end_of_call(scene: Scene, direction: Direction | None) -> list[CallEvent]:
    """The call is over when each of its channels has hung up, or is known to be out of it."""
    released = _released(scene)
    if not all(channel.hangup for uid, channel in scene.channels.items() if uid not in released):
        return []
    over = [channel.hangup for channel in scene.channels.values() if channel.hangup is not None]
    if not over:
        return []
    own = [h for uid in scene.with_halves(scene.root.uid) if (h := scene.hangup_of(uid)) is not None]
    last = max(own or over, key=lambda h: h.order)
    cause = "" if scene.stays else _dial_outcome(scene, direction)
    if any(signal.detail["Event"] == "VoiceMail" for signal in scene.signals) and not _is_answered(scene):
        cause = Outcome.VOICEMAIL
    if _is_unheard(last):
        told = {"cause": _unheard_outcome(scene, cause), "code": UNHEARD, "untimed": True}
        return [_tell(last, Kind.ENDED, ".call", at=max(h.at for h in over), **told)]
    code = last.detail.get("Cause", "")
    return [_tell(last, Kind.ENDED, ".call", cause=cause, code=code, at=max(h.at for h in over))]


def _is_answered(scene: Scene) -> bool:
    answers = (ring.connect or ring.complete or ring.assumed for ring in scene.rings)
    return any(answers) or any(
        d.status == "ANSWER" and d.dest not in scene.member_channels for d in scene.dials.values()
    )


def _unheard_outcome(scene: Scene, cause: str) -> str:
    """What may be said of a call whose end nobody heard: what was heard before it, if that is final."""
    if scene.stays:
        last = scene.stays[-1]
        given_up = last.abandon is not None and _unanswered(scene, last) is Outcome.ABANDONED
        return "" if given_up else Outcome.EXPIRED
    return "" if "ANSWER" in {dial.status for dial in scene.dials.values()} else Outcome.EXPIRED


def _released(scene: Scene) -> set[str]:
    """Agents' channels that are out of the call although nobody told of their hang-up."""
    callers = scene.with_halves(scene.root.uid, *(stay.uid for stay in scene.stays), *scene.transferees)
    out = {uid for ring in scene.rings if _is_out(ring) for uid in (ring.leg, scene.in_place_of(ring.leg))}
    out |= set(scene.replaced)
    out |= {dest for dest, dial in scene.dials.items() if dial.end is not None and dial.status != "ANSWER"}
    released: set[str] = scene.with_halves(*out) - callers
    stayed = not any(signal.detail["Event"] in TRANSFERS for signal in scene.signals)
    for dial in sorted(scene.dials.values(), key=lambda d: d.begin.order):
        if dial.origin in released or (stayed and scene.hangup_of(dial.origin) is not None):
            released |= scene.with_halves(dial.dest) - callers
    return released


def _is_out(ring: Ring) -> bool:
    if ring.complete is not None or ring.missed is not None or ring.dumped is not None:
        return True
    return ring.connect is None and ring.assumed is None and _end_of_wait(ring.stay) is not None


def _dial_outcome(scene: Scene, direction: Direction | None) -> str:
    """Why a call without a queue was not answered; "" leaves it to the fold."""
    side = scene.with_halves(scene.root.uid)
    dials = [dial for dial in scene.dials.values() if dial.origin in side and dial.dest not in side]
    statuses = {dial.status for dial in dials}
    if "ANSWER" in statuses:
        return ""
    if any(dial.end is None and _is_gone_unheard(scene, dial.dest) for dial in dials):
        return Outcome.EXPIRED
    gave_up = Outcome.ABANDONED if direction is Direction.INBOUND else Outcome.NO_ANSWER
    if not statuses:
        return gave_up if direction is not Direction.INBOUND or _customer_ended_it(scene) else Outcome.NO_ANSWER
    ended = sorted((dial for dial in dials if dial.end is not None), key=lambda d: d.end.order if d.end else ())
    if ended and ended[-1].status == "CANCEL":
        return gave_up
    if "NOANSWER" in statuses:
        return Outcome.NO_ANSWER
    if "BUSY" in statuses:
        return Outcome.BUSY
    if statuses & {"CHANUNAVAIL", "CONGESTION"}:
        return Outcome.FAILED
    return gave_up


def _is_gone_unheard(scene: Scene, uid: str) -> bool:
    hangup = scene.hangup_of(uid)
    return hangup is not None and _is_unheard(hangup)


def _customer_ended_it(scene: Scene) -> bool:
    """Whether the first who asked to end a call that rang nobody was the customer, not the dialplan."""
    root = scene.root
    side = [scene.channel(uid) for uid in scene.with_halves(root.uid)]
    asked: Iterable[CallEvent] = (request for channel in side for request in channel.requests)
    first = min(asked, key=order, default=None)
    if first is None:
        return True
    soft = first.detail["Event"] == "SoftHangupRequest"
    return first.detail.get("Uniqueid") == root.uid and (not soft or root.name.startswith("Local/"))
