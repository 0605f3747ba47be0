"""What an Asterisk is asked for after a connection, as payloads of its source.

They go the way of its events and are journalled like them, so a rebuild reads the same. Each is a fact of one moment:
``ResyncCall`` says which channels a call has then, and who of it waits where or talks with which member; what the call
was before and is not there any more has ended unheard. ``ResyncMember`` says a member's state where ours was another.
The same answers give the same payloads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from callkpi.calls.model import AgentState
from callkpi.sources.base import whole

Answer = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What an Asterisk answered."""

    at: float  #: Unix seconds by the clock of its events: what it says now is of this moment or later
    heard: float | None  #: until when we had heard everything; None: never before
    channels: Sequence[Answer]  #: of CoreShowChannels
    queues: Sequence[Answer]  #: of QueueStatus

    @property
    def calls(self) -> dict[str, list[Answer]]:
        """Channels by the call that they belong to."""
        calls: dict[str, list[Answer]] = defaultdict(list)
        for channel in self.channels:
            if channel.get("Event") == "CoreShowChannel" and channel.get("Uniqueid") and channel.get("Linkedid"):
                calls[channel["Linkedid"]].append(channel)
        return calls


@dataclass(frozen=True, slots=True)
class Known:
    """What we have of the same Asterisk."""

    calls: Mapping[str, tuple[str, ...]]  #: open calls that began before, with every id that each has
    #: (queue, member) -> state and its reason
    members: Mapping[tuple[str, str], tuple[AgentState, str]]


def of_live(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    """A payload for every call that is there."""
    waits = {(w["Uniqueid"]): w for w in snapshot.queues if w.get("Event") == "QueueEntry" and w.get("Uniqueid")}
    for call_id, channels in sorted(snapshot.calls.items()):
        uids = {channel["Uniqueid"] for channel in channels}
        yield _call(
            snapshot, call_id,
            Channels=[_channel(channel) for channel in sorted(channels, key=lambda c: c["Uniqueid"])],
            Waits=[_wait(wait) for uid, wait in sorted(waits.items()) if uid in uids],
            Talks=list(_talks(snapshot, channels, waits)),
        )  # fmt: skip


def of_known(snapshot: Snapshot, known: Known) -> Iterator[dict[str, Any]]:
    """A payload for every call of ours that is gone, and for every member whose state is another."""
    live = snapshot.calls
    where = {channel["Uniqueid"]: call_id for call_id, channels in live.items() for channel in channels}
    for call_id, ids in sorted(known.calls.items()):
        if not any(each in live for each in ids):
            # Its first channel may be part of an older call by now: a transfer that was not heard.
            joined = sorted({where[each] for each in ids if where.get(each, each) != each})
            yield _call(snapshot, call_id, Channels=[], Waits=[], Talks=[], **({"Joined": joined} if joined else {}))
    yield from _members(snapshot, known)


def _call(snapshot: Snapshot, call_id: str, **told: Any) -> dict[str, Any]:
    item: dict[str, Any] = {"Event": "ResyncCall", "Timestamp": f"{snapshot.at:.6f}", "Linkedid": call_id, **told}
    if snapshot.heard is not None:
        item["Heard"] = f"{snapshot.heard:.6f}"
    return item


def _channel(channel: Answer) -> dict[str, str]:
    names = ("Uniqueid", "Channel", "CallerIDNum", "Context", "Exten")
    told = {name: channel[name][:100] for name in names if channel.get(name)}
    for ours, theirs in (("Bridge", "BridgeId"), ("App", "Application"), ("Data", "ApplicationData")):
        if channel.get(theirs):
            told[ours] = channel[theirs][:100]
    return {**told, "Seconds": str(_clock_seconds(channel.get("Duration", "")))}


def _clock_seconds(text: str) -> int:
    """``01:02:03`` as seconds; 0 where it is none."""
    parts = text.split(":")
    numbers = [number for part in parts if (number := whole(part)) is not None]
    if len(parts) != 3 or len(numbers) != 3:
        return 0
    hours, minutes, seconds = numbers
    return 3600 * hours + 60 * minutes + seconds


def _wait(wait: Answer) -> dict[str, str]:
    names = ("Uniqueid", "Queue", "CallerIDNum", "Wait")
    return {name: wait[name][:100] for name in names if wait.get(name)}


def _talks(snapshot: Snapshot, channels: Sequence[Answer], waits: Mapping[str, Answer]) -> Iterator[dict[str, str]]:
    """Callers of a queue who are in a bridge with a member of it."""
    bridges: dict[str, list[Answer]] = defaultdict(list)
    for channel in channels:
        if bridge := channel.get("BridgeId"):
            bridges[bridge].append(channel)
    members = [m for m in snapshot.queues if m.get("Event") == "QueueMember"]
    for together in bridges.values():
        for caller in together:
            if caller.get("Application") != "Queue" or caller["Uniqueid"] in waits:
                continue
            queue = caller.get("ApplicationData", "").split(",")[0]
            for other in together:
                member = next((m for m in members if m.get("Queue") == queue and _is_at(m, other)), None)
                if other is not caller and member is not None:
                    yield {
                        "Uniqueid": caller["Uniqueid"], "Queue": queue, "DestUniqueid": other["Uniqueid"],
                        "MemberName": member.get("Name", "")[:100], "Interface": member.get("Location", "")[:100],
                    }  # fmt: skip


def _is_at(member: Answer, channel: Answer) -> bool:
    """Whether a channel is one to a member's interface: ``PJSIP/1003``, or ``Local/1003@agents/n``."""
    interface = member.get("Location", "")
    if interface.startswith("Local/"):
        interface = interface.split("/n")[0].split("/j")[0]
    name = channel.get("Channel", "")
    return bool(interface) and name.startswith(f"{interface}-")


# -- members ---------------------------------------------------------------------------------------------


def _members(snapshot: Snapshot, known: Known) -> Iterator[dict[str, Any]]:
    listed = {(m.get("Queue", ""), _name(m)): m for m in snapshot.queues if m.get("Event") == "QueueMember"}
    # Queues of a realtime configuration are unknown to Asterisk until they are used: nothing is said of those.
    queues = {q.get("Queue", "") for q in snapshot.queues if q.get("Event") == "QueueParams"}
    for (queue, name), member in sorted(listed.items()):
        state, reason = state_of(member)
        before = known.members.get((queue, name))
        if before is None or before[0] != state or (state is AgentState.PAUSED and before[1] != reason):
            yield _member(snapshot, queue, name, member)
    for (queue, name), (state, _) in sorted(known.members.items()):
        if queue in queues and (queue, name) not in listed and state is not AgentState.OFFLINE:
            yield _member(snapshot, queue, name, {"Status": "5"})


def _name(member: Answer) -> str:
    return member.get("Name") or member.get("Location") or ""


def _member(snapshot: Snapshot, queue: str, name: str, told: Answer) -> dict[str, Any]:
    kept = {key: told[key] for key in ("Paused", "PausedReason", "Status") if told.get(key)}
    at = f"{snapshot.at:.6f}"
    return {"Event": "ResyncMember", "Timestamp": at, "Queue": queue, "MemberName": name, **kept}


def state_of(member: Answer) -> tuple[AgentState, str]:
    """A member's state and the reason of its pause, as its events would have told them."""
    if member.get("Paused") in ("1", "true", "yes"):
        return AgentState.PAUSED, member.get("PausedReason", "")[:100]
    return (AgentState.OFFLINE if member.get("Status") in ("4", "5") else AgentState.AVAILABLE), ""
