"""Calls and events to and from the rows and bodies in which the database keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from callkpi.calls.model import Call, CallEvent, Direction, Entry, Kind, Leg, LegEnd, Outcome, StreamKey, Twin
from callkpi.database.encoding import to_json

_TEXT_FACTS = (
    "customer", "line", "queue", "agent", "leg", "entry", "cause", "code", "hangup_by", "state", "reason", "linked_to",
    "told_at",
)  # fmt: skip

_NUMBER_FACTS = ("wait_ms", "ring_ms", "talk_ms", "hold_ms", "wrap_ms", "rating")

_MAP_FACTS = ("crm", "fields", "detail")


def event_body(event: CallEvent) -> str:
    """The facts of an event as JSON, those that are there."""
    body: dict[str, Any] = {name: value for name in _TEXT_FACTS if (value := getattr(event, name))}
    for name in _NUMBER_FACTS:
        value = getattr(event, name)
        if value is not None:
            body[name] = value
    for name in _MAP_FACTS:
        mapping = getattr(event, name)
        if mapping:
            body[name] = mapping
    if event.talk_with_hold:
        body["talk_with_hold"] = True
    if event.rank:
        body["rank"] = event.rank
    if event.untimed:
        body["untimed"] = True
    if event.direction is not None:
        body["direction"] = event.direction
    text = to_json(body)
    return to_json(_without_nul(body)) if _NUL in text else text


#: NUL as JSON writes it. A column of JSON takes it, but no text can be made of it: it would stop the projector.
_NUL = "\\u0000"


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def event_from_row(row: Mapping[str, Any]) -> CallEvent:
    body = orjson.loads(row["body"])
    if _NUL in row["body"]:
        body = _without_nul(body)
    if "direction" in body:
        body["direction"] = Direction(body["direction"])
    return CallEvent(
        tenant=row["tenant"],
        source=row["source"],
        call_id=row["call_id"],
        kind=Kind(row["kind"]),
        at=row["at"],
        event_id=row["event_id"],
        received_at=row["received_at"],
        **body,
    )


def call_body(call: Call) -> str:
    """A whole call as JSON."""
    return to_json(call)


def call_from_body(text: str) -> Call:
    raw = orjson.loads(text)
    _revive(raw, ("started_at", "last_event_at", "rung_at", "answered_at", "ended_at"))
    raw["direction"] = Direction(raw["direction"])
    raw["outcome"] = Outcome(raw["outcome"])
    raw["entries"] = tuple(_entry(item) for item in raw["entries"])
    raw["legs"] = tuple(_leg(item) for item in raw["legs"])
    raw["flags"] = tuple(raw["flags"])
    raw["twins"] = tuple(_twin(item) for item in raw.get("twins", ()))
    return Call(**raw)


def legs_from_json(text: str) -> tuple[Leg, ...]:
    """The legs of a call's body."""
    return tuple(_leg(item) for item in orjson.loads(text))


def _entry(raw: dict[str, Any]) -> Entry:
    _revive(raw, ("entered_at", "left_at"))
    raw["outcome"] = Outcome(raw["outcome"])
    return Entry(**raw)


def _leg(raw: dict[str, Any]) -> Leg:
    _revive(raw, ("rung_at", "answered_at", "ended_at"))
    raw["end"] = LegEnd(raw["end"]) if raw["end"] else None
    raw["holds"] = tuple((datetime.fromisoformat(a), b and datetime.fromisoformat(b)) for a, b in raw.get("holds", ()))
    return Leg(**raw)


def _twin(raw: dict[str, Any]) -> Twin:
    _revive(raw, ("started_at",))
    raw["outcome"] = Outcome(raw["outcome"])
    raw["agents"] = tuple(raw["agents"])
    return Twin(**raw)


def _revive(raw: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if raw[name] is not None:
            raw[name] = datetime.fromisoformat(raw[name])


def key_columns(keys: Sequence[StreamKey]) -> list[list[str]]:
    return [[k.tenant for k in keys], [k.source for k in keys], [k.call_id for k in keys]]


def pairs(customers: Iterable[tuple[str, str]]) -> list[list[str]]:
    ordered = sorted(customers)
    return [[tenant for tenant, _ in ordered], [customer for _, customer in ordered]]
