"""The native format: a clear error names the field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from callkpi import config
from callkpi.calls.model import CallEvent, Kind
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONTEXT = Context("native", "acme", config.Source(kind=config.SourceKind.NATIVE, token="x"), NOW)
GOOD: dict[str, Any] = {"call_id": "c1", "kind": "ended", "at": "2026-11-23T10:00:00+05:00"}


def parse(*items: Any) -> tuple[list[CallEvent], list[str]]:
    parsed = SOURCE_TYPES[config.SourceKind.NATIVE].parse(list(items), CONTEXT)
    return parsed.events, [reason for _, reason in parsed.rejected]


def test_a_full_event() -> None:
    (event,), rejected = parse(
        {**GOOD, "direction": "inbound", "customer": "+77011234567", "line": "100", "queue": "sales", "agent": "Dana",
         "cause": "answered", "talk_seconds": 12.5, "hold_seconds": 0, "hangup_by": "agent", "rating": 5,
         "fields": {"campaign": "autumn"}, "crm": {"lead": "7"}}
    )  # fmt: skip
    assert rejected == []
    assert (event.kind, event.at, event.talk_ms, event.hold_ms) == (
        Kind.ENDED, datetime(2026, 11, 23, 5, tzinfo=UTC), 12_500, 0,
    )  # fmt: skip


def test_the_same_event_has_the_same_id_and_another_one_another() -> None:
    (one, same, other), _ = parse(GOOD, dict(reversed(GOOD.items())), {**GOOD, "call_id": "c2"})
    assert one.event_id == same.event_id != other.event_id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"call_id": None}, "call_id: is required"),
        ({"call_id": "agent:Dana"}, "call_id: must not begin with"),
        (
            {"call_id": "x" * 300},
            "call_id: has 300 characters, 300 bytes in UTF-8; must have at most 255 characters and 512 bytes",
        ),
        ({"call_id": "a\x00b"}, "call_id"),
        ({"queue": "\U0001f600" * 255}, "queue: has 255 characters, 1020 bytes in UTF-8"),
        ({"event_id": "\u20ac" * 200}, "event_id: has 200 characters, 600 bytes in UTF-8"),
        ({"fields": {"campaign": "x" * 256}}, "campaign: has 256 characters"),
        ({"fields": {"x" * 65: "1"}}, "fields: the name 'xxx"),
        ({"call_id": ["x"]}, "call_id: must be text"),
        ({"kind": "signal"}, "kind: 'signal' is none of"),
        ({"kind": "queued"}, "queue: is required"),
        ({"kind": "linked"}, "linked_to: is required"),
        ({"kind": "rated"}, "rating: is required"),
        ({"kind": "agent_state", "agent": "Dana"}, "state: is required"),
        ({"at": "yesterday"}, "at: 'yesterday'"),
        ({"at": "2026-11-23T10:00:00"}, "at: '2026-11-23T10:00:00' has no offset"),
        ({"at": 10**12}, "at: "),
        ({"at": "0001-01-01T00:00:00+14:00"}, "check the sender's clock"),
        ({"at": "1880-01-01T00:00:00Z"}, "check the sender's clock"),
        ({"at": "9999-12-31T23:59:59-12:00"}, "check the sender's clock"),
        ({"direction": "sideways"}, "direction: 'sideways' is none of"),
        ({"cause": "bored"}, "cause: 'bored' is none of"),
        ({"talk_seconds": -1}, "talk_seconds: must be a number of seconds"),
        ({"talk_seconds": "12"}, "talk_seconds: must be a number of seconds"),
        ({"rating": 6}, "rating: must be 1 to 5"),
        ({"fields": [1]}, "fields: must be an object"),
        ({"durationn": 1}, "durationn: unknown field"),
    ],
)
def test_an_error_names_the_field(change: dict[str, Any], words: str) -> None:
    events, (reason,) = parse({**GOOD, **change})
    assert events == []
    assert words in reason


def test_one_bad_event_does_not_take_the_others_with_it() -> None:
    events, rejected = parse(GOOD, 7, {**GOOD, "kind": "?"}, {**GOOD, "call_id": "c2"})
    assert len(events) == 2 and len(rejected) == 2
