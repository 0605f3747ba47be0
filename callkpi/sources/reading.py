"""One part of a delivery, read: its events, and what could not be understood. Never raises; may run beside the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Parsed, SourceType
from callkpi.sources.parts import Part, Parts, Whole

#: A smaller delivery is one part, whatever is in it.
SMALL_BYTES = 4096


@dataclass(slots=True)
class Read:
    """What a part says."""

    part: Part
    parsed: Parsed = field(default_factory=Parsed)
    received_at: datetime | None = (
        None  #: as if the part had come by itself: what has no time of its own keeps its place
    )
    malformed: str = ""  #: why nothing of it could be read
    items: Sequence[tuple[int, bool]] = ()  #: of the CRM, see :meth:`SourceType.crm_items`
    refused: int = 0  #: events that the database can't hold
    refusal: str = ""  #: why it can't hold them


class Reader:
    """Reads the parts of one delivery, one after the other."""

    def __init__(self, source_type: SourceType, delivery: Delivery, context: Context, payload: Any = None) -> None:
        """*payload* is the delivery where it was decoded already; only a small one is."""
        self.type, self.context = source_type, context
        self._delivery, self._payload = delivery, payload
        self._parts: Parts | None = None
        self._told = 0  #: events of the parts before

    def read(self) -> Read | None:
        """The next part; None at the end."""
        if self._parts is None:
            self._parts = self._split()
        part = next(self._parts, None)
        if part is None:
            return None
        payload, self._payload = self._payload, None
        return self._parse(part, payload) if payload is not None else self._read(part)

    def _split(self) -> Parts:
        body = self._delivery.body
        return Whole(body) if len(body) <= SMALL_BYTES else self.type.parts(body)

    def rest(self) -> bytes:
        """All that was not read, as one delivery."""
        return self._parts.rest() if self._parts is not None else b""

    def end(self) -> None:
        """Read no further."""
        self._parts = Whole(b"")

    def with_body(self, body: bytes) -> Delivery:
        return replace(self._delivery, body=body)

    def as_delivery(self, read: Read) -> Delivery:
        """A part as a delivery that came by itself."""
        return replace(self._delivery, body=read.part.body, received_at=read.received_at or self._delivery.received_at)

    def _read(self, part: Part) -> Read:
        if part.broken:
            return _unread(part, part.broken)
        try:
            payload = base.decoded(self.type, replace(self._delivery, body=part.body))
        except Malformed as error:
            return self._one_by_one(part, str(error)) if part.payloads > 1 else _unread(part, str(error))
        return self._parse(part, payload)

    def _parse(self, part: Part, payload: Any) -> Read:
        at = self.context.received_at + timedelta(microseconds=self._told)
        try:
            parsed = self.type.parse(payload, replace(self.context, received_at=at))
            items = self.type.crm_items(payload)
        except Exception as error:
            # It must not hold up those behind it: kept like all that is not understood, for a replay after a fix.
            return Read(part, _rejected(part, base.unforeseen("parse", self.context.source, error)))
        self._told += len(parsed.events)
        return Read(part, parsed, at, items=items)

    def _one_by_one(self, part: Part, why: str) -> Read:
        """One of the payloads spoils them all: the others count."""
        whole, at = Parsed(), self.context.received_at + timedelta(microseconds=self._told)
        for single in self.type.parts(part.body, 1):
            read = self._read(single) if single.payloads == 1 and not single.broken else _unread(single, single.broken)
            whole.events += read.parsed.events
            whole.ignored += read.parsed.ignored
            whole.rejected += read.parsed.rejected
        is_lost = not whole.events and not whole.ignored
        return Read(part, whole, at, why if is_lost else "")


def _unread(part: Part, why: str) -> Read:
    return Read(part, _rejected(part, why), malformed=why)


def _rejected(part: Part, why: str) -> Parsed:
    return Parsed(rejected=[(part.body, why)])
