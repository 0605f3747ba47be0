"""callkpi's own event format, for anything that can send JSON: see its page in the handbook.

One object, an array, or JSON Lines. Required: ``call_id``, ``kind``, ``at`` (ISO 8601 with an offset, or Unix
seconds). ``event_id`` makes repetitions harmless; without one it is a hash of the event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from callkpi.calls import bounds
from callkpi.calls.model import AGENT_STREAM, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.config import words
from callkpi.sources import base
from callkpi.sources.base import Context, Rejected

_TEXT = ("customer", "line", "queue", "agent", "leg", "entry", "code", "reason", "linked_to")
_SECONDS = ("wait", "ring", "talk", "hold", "wrap")
_KNOWN = {
    "call_id", "kind", "at", "event_id", "direction", "cause", "hangup_by", "rating", "state", "crm", "fields",
    *_TEXT, *(f"{name}_seconds" for name in _SECONDS),
}  # fmt: skip
_KINDS = [kind for kind in Kind if kind not in (Kind.SIGNAL, Kind.WORKED)]
_MAX_SECONDS = 7 * 86_400


class Native(base.SourceType):
    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        raw = base.require_object(item)
        unknown = sorted(set(raw) - _KNOWN)
        if unknown:
            raise Rejected(f"{unknown[0][:64]}: unknown field; known: {', '.join(sorted(_KNOWN))}")
        kind = Kind(_choice(raw, "kind", _KINDS, required=True))
        at = _time(raw, context)
        direction = _choice(raw, "direction", list(Direction))
        texts: dict[str, Any] = {name: _text(raw, name) for name in _TEXT}
        times: dict[str, Any] = {f"{name}_ms": _milliseconds(raw, f"{name}_seconds") for name in _SECONDS}
        event = CallEvent(
            tenant=context.tenant,
            source=context.source,
            call_id=_stream(raw, kind),
            kind=kind,
            at=at,
            event_id=_text(raw, "event_id") or base.digest(base.canonical(raw)),
            received_at=context.received_at,
            direction=Direction(direction) if direction else None,
            cause=_cause(raw, kind),
            hangup_by=_choice(raw, "hangup_by", ["customer", "agent", "system"]),
            rating=_rating(raw),
            state=_choice(raw, "state", list(AgentState), required=kind is Kind.AGENT_STATE),
            crm=_mapping(raw, "crm"),
            fields=_mapping(raw, "fields"),
            **texts,
            **times,
        )
        _check_kind(event)
        return [event]


def _check_kind(event: CallEvent) -> None:
    if event.kind is Kind.QUEUED and not event.queue:
        raise Rejected("queue: is required with kind queued")
    if event.kind is Kind.LINKED and not event.linked_to:
        raise Rejected("linked_to: is required with kind linked: the other call_id")
    if event.kind is Kind.RATED and event.rating is None:
        raise Rejected("rating: is required with kind rated")


def _text(raw: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = raw.get(key)
    if value is None or value == "":
        if required:
            raise Rejected(f"{key}: is required")
        return ""
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise Rejected(f"{key[:64]}: must be text, not {type(value).__name__}")
    text = str(value)
    if bounds.is_long(text):
        raise Rejected(
            f"{key[:64]}: has {len(text)} characters, {bounds.size(text)} bytes in UTF-8; must have at most "
            f"{bounds.NAME_CHARACTERS} characters and {bounds.NAME_BYTES} bytes"
        )
    if "\x00" in text:
        raise Rejected(f"{key[:64]}: must not contain NUL")
    return text


def _choice(raw: Mapping[str, Any], key: str, allowed: Sequence[str], *, required: bool = False) -> str:
    value = _text(raw, key, required=required)
    if value and value not in allowed:
        raise Rejected(f"{key}: {base.shown(value)} is none of {', '.join(allowed)}")
    return value


def _cause(raw: Mapping[str, Any], kind: Kind) -> str:
    allowed = list(LegEnd) if kind is Kind.NOT_TAKEN else [o for o in Outcome if o not in ("open", "expired")]
    return _choice(raw, "cause", allowed)


def _stream(raw: Mapping[str, Any], kind: Kind) -> str:
    if kind is Kind.AGENT_STATE:
        return AGENT_STREAM + _text(raw, "agent", required=True)
    call_id = _text(raw, "call_id", required=True)
    if call_id.startswith(AGENT_STREAM):
        raise Rejected(f"call_id: must not begin with {AGENT_STREAM!r}")
    return call_id


def _time(raw: Mapping[str, Any], context: Context) -> datetime:
    value = raw.get("at")
    if value is None or value == "":
        raise Rejected("at: is required: ISO 8601 with an offset, or Unix seconds")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return base.unix_time(value, "at", context.received_at)
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise Rejected(f"at: {base.shown(value)} is neither ISO 8601 nor Unix seconds") from None
    if at.tzinfo is None:
        raise Rejected(f"at: {base.shown(value)} has no offset; write e.g. 2026-11-23T09:00:00+05:00")
    return base.check_time(at, "at", context.received_at)


def _milliseconds(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_SECONDS:
        raise Rejected(f"{key}: must be a number of seconds from 0 to {_MAX_SECONDS}, not {base.shown(value)}")
    return round(1000 * value)


def _rating(raw: Mapping[str, Any]) -> int | None:
    value = raw.get("rating")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5:
        raise Rejected(f"rating: must be 1 to 5, not {base.shown(value)}")
    return value


def _mapping(raw: Mapping[str, Any], key: str) -> dict[str, str]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > 50:
        raise Rejected(f"{key}: must be an object with at most 50 fields")
    for name in value:
        if len(name) > words.FIELD_CHARACTERS:
            shown = base.shown(name[: words.FIELD_CHARACTERS])
            raise Rejected(f"{key}: the name {shown}… has {len(name)} characters; at most {words.FIELD_CHARACTERS}")
    return {name: _text(value, name) for name in value}
