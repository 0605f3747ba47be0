"""One payload of a PBX in the cloud: its fields read leniently, and the events that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from callkpi.calls import bounds
from callkpi.calls.fold import in_order
from callkpi.calls.model import UNREADABLE, CallEvent, Direction, Kind, LegEnd
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.forms import parse_form

#: Trust: the record of the whole call knows better than the middle of the call.
RANK_RECORD = 2
MAX_SECONDS = 7 * 86_400


class Facts:
    """The fields of one payload. Every scalar is text; any field may be absent or empty.

    ``event_id`` is a digest of all fields that matter, so that a delivery repeated is the same events.
    """

    def __init__(self, fields: Mapping[str, Any], context: Context, *, leave_out: Iterable[str] = ()) -> None:
        self.fields, self.context = fields, context
        left_out = frozenset(leave_out)
        told = {key: value for key, value in fields.items() if key not in left_out}
        self.event_id = base.digest(base.canonical(told))

    def text(self, *names: str) -> str:
        """The first of *names* that has a value, stripped; shortened where it is longer than a name may be."""
        for name in names:
            if text := _clean(self.fields.get(name)):
                return bounds.shortened(text)
        return ""

    def required(self, name: str) -> str:
        text = _clean(self.fields.get(name))
        if not text:
            raise Rejected(f"{name}: is required")
        return bounds.shortened(text)

    def nested(self, name: str) -> Facts:
        """The object in *name*; one without fields where it is absent."""
        value = self.fields.get(name)
        return Facts(value if isinstance(value, dict) else {}, self.context)

    def milliseconds(self, name: str) -> int | None:
        """A number of seconds, or clock-like ``mm:ss`` and ``hh:mm:ss``; None where it is absent."""
        value = self.text(name)
        if not value:
            return None
        return parse_seconds(value, name)

    def unix(self, name: str) -> datetime | None:
        """Unix seconds; None where absent or 0, which vendors write for what did not happen."""
        value = self.text(name)
        if value in ("", "0"):
            return None
        return base.unix_time(value, name, self.context.received_at)

    def unix_micros(self, name: str) -> datetime | None:
        """Unix time in microseconds; None where absent or 0."""
        value = self.text(name)
        if value in ("", "0"):
            return None
        return base.unix_part(value, 1_000_000, name, self.context.received_at)

    def local(self, name: str) -> datetime | None:
        """A time of the source's zone, or with an offset of its own; None where absent."""
        value = self.text(name)
        if not value or value.startswith("0000-00-00"):
            return None
        return base.local_time(value, name, self.context.settings.zone, self.context.received_at)

    def event(self, kind: Kind, call_id: str, at: datetime | None = None, *, part: str = "", **facts: Any) -> CallEvent:
        """An event of this payload. Without *at* it happened when it came. *part* tells two of a kind apart."""
        return CallEvent(
            tenant=self.context.tenant,
            source=self.context.source,
            call_id=call_id,
            kind=kind,
            at=at or self.context.received_at,
            event_id=f"{self.event_id}.{kind}{part}",
            received_at=self.context.received_at,
            timeless=at is None,
            **facts,
        )


class Kept(Facts):
    """Fields of a payload that was journalled already: one that can't be read is left out, it costs no call."""

    def required(self, name: str) -> str:
        return self.text(name)

    def milliseconds(self, name: str) -> int | None:
        with suppress(Rejected):
            return super().milliseconds(name)
        return None

    def unix(self, name: str) -> datetime | None:
        with suppress(Rejected):
            return super().unix(name)
        return None

    def unix_micros(self, name: str) -> datetime | None:
        with suppress(Rejected):
            return super().unix_micros(name)
        return None

    def local(self, name: str) -> datetime | None:
        with suppress(Rejected):
            return super().local(name)
        return None


def _clean(value: Any) -> str:
    """A scalar as text without what no database holds; "" for anything else."""
    if value is None or isinstance(value, (dict, list, bool)):
        return ""
    return base.clean(str(value))


def parse_seconds(value: str, what: str) -> int:
    """Seconds as a number, or ``mm:ss``, ``hh:mm:ss``, in milliseconds. Raises Rejected."""
    parts = value.replace(",", ".").split(":")
    try:
        total = 0.0
        for part in parts:
            total = total * 60 + float(part)
    except ValueError:
        total = -1.0
    if len(parts) > 3 or not 0 <= total <= MAX_SECONDS:
        raise Rejected(f"{what}: {base.shown(value)} is not a number of seconds")
    return round(1000 * total)


def kept_time(text: str) -> datetime | None:
    """A time as it was journalled, with its offset; None for what is none."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def kept_milliseconds(text: str, unit: int = 1000) -> int | None:
    """A number of seconds (of *unit* ms) in what was journalled; None for what is none. Less than 0 is 0."""
    try:
        value = round(float(text) * unit)
    except (ValueError, OverflowError):
        return None
    return max(value, 0) if value <= 1000 * MAX_SECONDS else None


def form_or_json(delivery: Delivery) -> list[Any]:
    """The payloads of a delivery that is a form, or JSON (as callkpi keeps and replays it). Raises Malformed."""
    if delivery.body.lstrip()[:1] in (b"{", b"["):
        return base.decode_json_or_lines(delivery.body)
    payload = parse_form(delivery.body)
    if not payload:
        raise Malformed("the body is empty; expected a form")
    return [payload]


def without_secrets(item: Any, names: Iterable[str]) -> Any:
    """A payload without the fields that prove who sent it."""
    return {key: value for key, value in item.items() if key not in names} if isinstance(item, dict) else item


# -- readings of a whole call, for ``interpret``: the same for any order of the events --------------------


def stop_other_rings(events: Sequence[CallEvent]) -> list[CallEvent]:
    """Phones that rang at the moment of an answer stop ringing, where the source does not say so itself."""
    events = in_order(events)
    settled = {(e.call_id, e.leg) for e in events if e.leg and e.kind in (Kind.ANSWERED, Kind.NOT_TAKEN)}
    answers = [e for e in events if e.kind is Kind.ANSWERED]
    result = list(events)
    for ring in _first_rings(events):
        if (ring.call_id, ring.leg) in settled:
            continue
        answer = next((a for a in answers if a.at >= ring.at), None)
        if answer is not None:
            result.append(
                replace(
                    ring, kind=Kind.NOT_TAKEN, at=answer.at, cause=LegEnd.CANCELLED, event_id=f"{ring.event_id}.end"
                )
            )
    return result


def _first_rings(events: Iterable[CallEvent]) -> list[CallEvent]:
    """The first ring of each leg; *events* are in order."""
    rings: dict[tuple[str, str], CallEvent] = {}
    for event in events:
        if event.kind is Kind.RINGING and event.leg:
            rings.setdefault((event.call_id, event.leg), event)
    return list(rings.values())


def end_is_last(events: Sequence[CallEvent]) -> list[CallEvent]:
    """One end of the call, the newest record's, and not before anything else that happened in it."""
    events = in_order(events)
    ends = [e for e in events if e.kind is Kind.ENDED and not e.leg]
    if not ends:
        return events
    others = [e for e in events if e.kind is not Kind.ENDED or e.leg]
    end = max(ends, key=lambda e: (e.rank, *e.order))
    during = [e.at for e in others if e.kind not in (Kind.RATED, Kind.LINKED, Kind.WRAPPED)]
    if during and max(during) > end.at:
        end = replace(end, at=max(during))
    return [*others, end]


def is_unread(text: str, unit: int = 1000) -> bool:
    """Whether there is something that should be a duration and is none."""
    return text != "" and kept_milliseconds(text, unit) is None


def doubted(told: Iterable[CallEvent], doubts: Iterable[bool]) -> list[CallEvent]:
    """What a source *told* of one call; with a flag where there is any doubt whether it could be read."""
    return [replace(event, doubts=(UNREADABLE,)) for event in told] if any(doubts) else list(told)


def pick(table: Mapping[str, Any], value: str, otherwise: Any) -> Any:
    """What *value* means by *table*, whatever its case and spaces."""
    return table.get(value.strip().lower().replace("_", " "), otherwise)


def say(signal: CallEvent, kind: Kind, **facts: Any) -> CallEvent:
    """What a signal means, in a canonical kind."""
    told = {"code": "", "detail": {}, **facts}
    return replace(signal, kind=kind, event_id=f"{signal.event_id}.{kind}{facts.get('leg', '')}", **told)


Parser = Callable[[Facts], Sequence[CallEvent]]
DIRECTIONS: Mapping[str, Direction] = {
    "in": Direction.INBOUND, "inbound": Direction.INBOUND, "incoming": Direction.INBOUND,
    "out": Direction.OUTBOUND, "outbound": Direction.OUTBOUND, "outgoing": Direction.OUTBOUND,
    "internal": Direction.INTERNAL, "local": Direction.INTERNAL,
}  # fmt: skip
