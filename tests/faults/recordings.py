"""What is fuzzed: the recorded deliveries of every kind of source, and more of the two that callkpi connects to."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from callkpi import config
from callkpi.commands.history import read
from callkpi.config import SourceKind
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.asterisk import resync as asterisk_resync
from callkpi.sources.base import Context, Delivery, SourceType
from callkpi.sources.freeswitch import resync as freeswitch_resync
from callkpi.sources.tables import CSV
from tests.sources.cases import CASES, SECRET, SETTINGS
from tests.stand_ins import freeswitch_model
from tests.world import CAPTURES, capture_lines

JSON = "application/json"
#: When the recorded run of Asterisk was over.
_AFTER = datetime(2026, 11, 23, 23, 0, tzinfo=UTC)
_MOST = 60


@dataclass(frozen=True, slots=True)
class Recording:
    """The deliveries of one call, or of what belongs together."""

    name: str
    kind: SourceKind
    deliveries: tuple[Delivery, ...]

    @property
    def source(self) -> config.Source:
        return SETTINGS.with_zone(SETTINGS.sources[str(self.kind)])

    def reader(self) -> SourceType:
        return CSV if self.kind is SourceKind.CSV else SOURCE_TYPES[self.kind]

    def context(self, delivery: Delivery) -> Context:
        return Context(str(self.kind), "acme", self.source, delivery.received_at)


@cache
def recordings() -> tuple[Recording, ...]:
    cases = [Recording(f"{case.kind}/{case.name}", case.kind, case.deliveries) for case in CASES]
    return (*cases, *_asterisk(), *_freeswitch())


def _posted(kind: SourceKind, items: list[Any], came: datetime) -> Delivery:
    headers = {"Authorization": f"Bearer {SECRET}"}
    return Delivery(json.dumps(items).encode(), JSON, SECRET, came, headers, f"/hooks/{kind}")


def _asterisk() -> Iterator[Recording]:
    """Calls of the recorded run as AMI, CEL and CDR tell them, and what is asked for after a connection."""
    calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in capture_lines("asterisk/events.jsonl.gz"):
        event = json.loads(line)
        calls[str(event.get("Linkedid") or event.get("DestLinkedid") or "")].append(event)
    members = [event for event in calls.pop("") if str(event.get("Event", "")).startswith("QueueMember")][:20]
    kinds: dict[frozenset[str], list[dict[str, Any]]] = {}
    for events in calls.values():  # one of each shape
        if len(events) <= _MOST * 4:
            kept = [event for event in events if event["Event"] not in ("Newexten", "Newstate")][:_MOST]
            kinds.setdefault(frozenset(event["Event"] for event in kept), kept)
    for number, events in enumerate(list(kinds.values())[:12]):
        half = len(events) // 2
        parts = (events[:half], [*events[half:], *_asked(events)])
        told = tuple(_posted(SourceKind.ASTERISK, part, _AFTER) for part in parts if part)
        yield Recording(f"asterisk/ami-{number}", SourceKind.ASTERISK, told)
    yield Recording("asterisk/members", SourceKind.ASTERISK, (_posted(SourceKind.ASTERISK, members, _AFTER),))
    for name, key in (("cel", "linkedid"), ("cdr", "uniqueid")):
        rows: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in read(CAPTURES / "asterisk" / f"{name}.csv.gz"):
            rows[row.get(key, "")].append(row)
        for number, some in enumerate(sorted(rows.values(), key=len, reverse=True)[:6]):
            told = (_posted(SourceKind.ASTERISK, some[:_MOST], _AFTER),)
            yield Recording(f"asterisk/{name}-{number}", SourceKind.ASTERISK, told)


def _asked(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Asterisk says of one of its calls while it goes on, as callkpi's own payloads."""
    channels = [
        {"Event": "CoreShowChannel", "BridgeId": "b1", "Application": "Queue", "ApplicationData": "vip,,,,30",
         "Duration": "00:01:07", **{name: str(event.get(name, "")) for name in ("Uniqueid", "Linkedid", "Channel")}}
        for event in events if event["Event"] == "Newchannel"
    ][:3]  # fmt: skip
    for channel in channels:
        channel["Linkedid"] = channel["Linkedid"] or channel["Uniqueid"]
    queues = [
        {"Event": "QueueMember", "Queue": "vip", "Name": "Aigerim", "Location": "Local/1001@agents", "Status": "1"},
        {"Event": "QueueParams", "Queue": "vip"},
        *({"Event": "QueueEntry", "Queue": "vip", "Uniqueid": each["Uniqueid"], "Wait": "12"} for each in channels[:1]),
    ]
    at = float(events[-1].get("received_at", 0.0)) if events else 0.0
    snapshot = asterisk_resync.Snapshot(at, at - 60, channels, queues)
    known = asterisk_resync.Known({"1795461703.11": ("1795461703.11",)}, {})
    return [*asterisk_resync.of_live(snapshot), *asterisk_resync.of_known(snapshot, known)]


def _freeswitch() -> Iterator[Recording]:
    """Calls of the model as its event socket tells them, with its records, and what is asked for after a connection."""
    for name in freeswitch_model.CALLS:
        switch = freeswitch_model.played(name)
        came = switch.now + timedelta(minutes=1)
        half = len(switch.events) // 2
        snapshot = freeswitch_resync.Snapshot(
            switch.now.timestamp(), switch.now.timestamp() - 30,
            [{"uuid": uuid, "callstate": "ACTIVE", "created_epoch": freeswitch_model.epoch(leg.created)}
             for uuid, leg in switch.legs.items()],
            {}, dict.fromkeys(switch.legs, next(iter(switch.legs), "")),
            [{"queue": "support", "state": "Waiting", "uuid": "m1", "session_uuid": uuid,
              "joined_epoch": freeswitch_model.epoch(switch.start)} for uuid in list(switch.legs)[:1]],
            [{"name": "1001", "status": "Available", "state": "Waiting"}],
            [{"agent": "1001", "queue": "support"}], True,
        )  # fmt: skip
        known = freeswitch_resync.Known(list(switch.legs), {})
        asked = [*freeswitch_resync.of_live(snapshot), *freeswitch_resync.of_known(snapshot, known)]
        parts = [switch.events[:half], switch.events[half:], switch.records, asked]
        told = [_posted(SourceKind.FREESWITCH, list(part), came) for part in parts if part]
        yield Recording(f"freeswitch/{name}", SourceKind.FREESWITCH, tuple(told))


def signed_again(recording: Recording, delivery: Delivery) -> Delivery:
    """*delivery* with the proof that its vendor would add; as it was where it can't be made."""
    from tests.sources.cases import signed

    try:
        return signed(recording.kind, delivery)
    except (KeyError, ValueError):
        return replace(delivery)
