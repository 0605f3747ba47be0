"""A call's scene (:mod:`.asterisk_scene`) of what was heard, and of what Asterisk was asked for after a connection.

At the moment of a question, by what its ``ResyncCall`` says:

* A channel of ours that is not listed has hung up unheard, unless its own hang-up comes after all. The end is put at
  the last moment at which everything was heard, when the call was surely there, or at the call's last event before the
  question if that is later. It is the earliest moment that is possible: the call may have gone on up to the question.
  So nothing is counted as longer than it is known to be, and no duration is made of this time: talk, wait and hold of
  what ended unheard are unknown, not zero and not guessed.
* A caller who is not listed as waiting has left the queue unheard; whether he was answered or gave up nobody can say,
  so the stay is ``expired``: offered, neither answered nor missed. One who talks with a member was answered, at a
  time that AgentComplete will tell.
* What is listed and was never heard of begins with its channel's age, and its wait with what Asterisk says it is: both
  in whole seconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import orjson

from callkpi import config
from callkpi.calls.model import CallEvent, from_unix
from callkpi.calls.phone import is_hidden
from callkpi.sources.asterisk.ami import RESYNC_CALL
from callkpi.sources.asterisk.scene import Dial, Scene, Stay, in_turn, note, order
from callkpi.sources.base import whole

#: A wait of a caller that began this much later than the one we know is another one. Asterisk tells whole seconds.
_ANOTHER_WAIT = timedelta(seconds=2.5)


def scene_of(events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent]) -> Scene:
    """Everything that is known of one call."""
    scene = Scene(in_turn(sorted(events, key=order)), re.compile(settings.internal_number), members)
    live = _channels_at(scene.signals)
    for signal in scene.signals:
        if signal.detail["Event"] == RESYNC_CALL:
            _note_resync(scene, signal, live[signal.at])
        else:
            note(scene, signal)
    if live:
        scene.signals = sorted([*scene.signals, *_unheard_hangups(scene)], key=order)
    return scene


def _channels_at(signals: Sequence[CallEvent]) -> Mapping[datetime, frozenset[str]]:
    """The channels that were there at each moment at which was asked, over all parts of a call that was joined."""
    result: dict[datetime, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.detail["Event"] == RESYNC_CALL:
            result[signal.at] |= {told.get("Uniqueid", "") for told in _told(signal, "Channels")}
    return {at: frozenset(uids) for at, uids in result.items()}


def _note_resync(scene: Scene, signal: CallEvent, live: frozenset[str]) -> None:
    """One answer of Asterisk about a call."""
    end = _end_before(scene, signal)
    for told in _told(signal, "Channels"):
        _note_live(scene, signal, told)
    for uid, channel in scene.channels.items():
        if uid and uid not in live and channel.hangup is None and channel.first is not None:
            channel.gone = channel.gone or _synthetic(signal, end, "Hangup", uid, Uniqueid=uid, Unheard="1")
    waits = {(told.get("Uniqueid", ""), told.get("Queue", "")): told for told in _told(signal, "Waits")}
    _note_waits(scene, signal, waits, end)
    for told in _told(signal, "Talks"):
        _note_talk(scene, signal, told)
    _note_dials(scene, signal)


def _unheard_hangups(scene: Scene) -> list[CallEvent]:
    """Hang-ups that nobody heard, of channels that were not seen again; each is its channel's from now on."""
    result = []
    for channel in scene.channels.values():
        if channel.gone is not None and channel.hangup is None:
            channel.hangup = channel.gone
            result.append(channel.gone)
    return sorted(result, key=order)


def _told(signal: CallEvent, key: str) -> list[dict[str, str]]:
    try:
        told = orjson.loads(signal.detail.get(key, "[]"))
    except orjson.JSONDecodeError:
        return []
    listed = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return [{name: str(value) for name, value in each.items()} for each in listed]


def _end_before(scene: Scene, signal: CallEvent) -> datetime:
    """When what ended unheard before this answer is taken to have ended."""
    before = max((other.at for other in scene.signals if other.at < signal.at), default=signal.at)
    try:
        heard = from_unix(float(signal.detail.get("Heard") or 0))
    except (ValueError, OverflowError, OSError):
        heard = before
    return min(max(before, heard), signal.at)


def _seconds(told: Mapping[str, str], key: str) -> timedelta:
    text = told.get(key, "")
    return timedelta(seconds=(whole(text) or 0) if len(text) < 8 else 0)


def _synthetic(signal: CallEvent, at: datetime, event: str, tag: str, **detail: str) -> CallEvent:
    """An event that Asterisk will have sent and that nobody heard."""
    return replace(signal, at=at, event_id=f"{signal.event_id}.{event}.{tag}", detail={"Event": event, **detail})


def _note_live(scene: Scene, signal: CallEvent, told: Mapping[str, str]) -> None:
    uid = told.get("Uniqueid", "")
    channel = scene.channel(uid)
    channel.gone = None
    if channel.first is None:
        channel.first = _synthetic(signal, signal.at - _seconds(told, "Seconds"), "Newchannel", uid)
    channel.name = channel.name or told.get("Channel", "")
    channel.context = channel.context or told.get("Context", "")
    channel.exten = channel.exten or told.get("Exten", "")
    if not channel.caller and not is_hidden(told.get("CallerIDNum", "")):
        channel.caller = told["CallerIDNum"]


def _note_waits(
    scene: Scene, signal: CallEvent, waits: Mapping[tuple[str, str], Mapping[str, str]], end: datetime
) -> None:
    for stay in [stay for stay in scene.stays if not stay.is_over]:
        told = waits.get((stay.uid, stay.queue))
        if told is None or signal.at - _seconds(told, "Wait") - stay.joined_at > _ANOTHER_WAIT:
            stay.unheard = _synthetic(signal, max(end, stay.joined_at), "QueueCallerLeave", stay.key, Unheard="1")
    for (uid, queue), told in sorted(waits.items()):
        if not any(stay.uid == uid and stay.queue == queue and not stay.is_over for stay in scene.stays):
            detail = {"Uniqueid": uid, "Queue": queue, "CallerIDNum": told.get("CallerIDNum", ""), "Unheard": "1"}
            joined = signal.at - _seconds(told, "Wait")
            scene.new_stay(_synthetic(signal, joined, "QueueCallerJoin", f"{uid}.{queue}", **detail), joined)


def _note_talk(scene: Scene, signal: CallEvent, told: Mapping[str, str]) -> None:
    """A conversation that goes on: of a ring that we know, or of one that nobody heard."""
    leg, uid, queue = (told.get(key, "") for key in ("DestUniqueid", "Uniqueid", "Queue"))
    scene.member_channels.add(leg)
    connect = _synthetic(signal, signal.at, "AgentConnect", leg, Unheard="1", **told)
    ring = next((ring for ring in scene.rings if ring.leg == leg), None)
    if ring is None:
        ring = scene.new_ring(connect, _stay_of_talk(scene, connect, uid, queue))
    if ring.connect is None and ring.complete is None:
        ring.assumed = ring.assumed or connect
        if ring.stay is not None:
            ring.stay.unheard = None
            ring.stay.talks = True


def _stay_of_talk(scene: Scene, connect: CallEvent, uid: str, queue: str) -> Stay:
    mine = [stay for stay in scene.stays if (stay.uid, stay.queue) == (uid, queue) and stay.connect is None]
    return mine[-1] if mine else scene.new_stay(connect, connect.at)


def _note_dials(scene: Scene, signal: CallEvent) -> None:
    """Dials outside of queues: one whose two ends are in a bridge was answered; one that nobody heard begin is one."""
    channels = _told(signal, "Channels")
    bridge = {told.get("Uniqueid", ""): told.get("Bridge", "") for told in channels}
    for told in channels:
        dest = told.get("Uniqueid", "")
        if told.get("App") != "AppDial" or dest in scene.member_channels:
            continue
        dial = scene.dials.get(dest) or _unheard_dial(scene, signal, told, channels)
        if dial is not None and dial.end is None and bridge[dest] and bridge.get(dial.origin) == bridge[dest]:
            dial.end = _synthetic(
                signal, signal.at, "DialEnd", dest, DestUniqueid=dest, DialStatus="ANSWER", Unheard="1"
            )


def _unheard_dial(
    scene: Scene, signal: CallEvent, dest: Mapping[str, str], channels: Sequence[Mapping[str, str]]
) -> Dial | None:
    """The dial that made a channel: by the one who runs Dial in its bridge, or the only one who does at all."""
    uid, dialling = dest.get("Uniqueid", ""), [told for told in channels if told.get("App") == "Dial"]
    mine = [told for told in dialling if told.get("Bridge") and told.get("Bridge") == dest.get("Bridge")] or dialling
    if len(mine) != 1:
        return None
    begin = signal.at - _seconds(dest, "Seconds")
    names = {"Context": "Context", "Exten": "Exten", "Uniqueid": "Uniqueid", "CallerIDNum": "CallerIDNum"}
    detail = {name: mine[0][key] for name, key in names.items() if mine[0].get(key)}
    detail |= {"DestUniqueid": uid, "DestChannel": dest.get("Channel", ""), "DialString": mine[0].get("Data", "")}
    dial = scene.dials[uid] = Dial(mine[0].get("Uniqueid", ""), _synthetic(signal, begin, "DialBegin", uid, **detail))
    return dial
