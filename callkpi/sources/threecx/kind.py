"""3CX: calls that its CRM integration journals, and the lines of its CDR service.

Use one of the two for a tenant: the journal has no id of the call, so the two can't be told to be one, and each call
would count twice.

**Journal** (scenario ReportCall of a CRM template; :mod:`.threecx_template` is ours, ``GET /hooks/NAME?template`` shows
it): one JSON object when a call is over. Checked against public templates for V18 and V20 and the vendor's description
of the format: ``[CallType]`` is Inbound, Missed, Outbound or Notanswered, ``[Duration]`` is hh:mm:ss; the times in UTC
but that of the start, and ``[QueueExtension]``, came with V20. A variable that a version does not know stays in its
brackets or is empty: both are nothing. 3CX journals what each extension had of a call; reports of one number and one
second are one call here. Not checked on a running 3CX: whether a queue that rings many reports a missed call once or
for each, and who hung up, which is not told. How long a caller waited is known from V20 on; holds are never told.

**CDR** (its file, by ``callkpi replay``, or lines that a forwarder posts as text): comma separated fields in the order
of ``cdr_fields``; 3CX's own order is the default. Rows of one ``historyid`` are one call: V18 and V20 write a row for
each segment. Checked against the vendor's list of fields and public readers of real files: names and order, ``Call ``
in front of a line, times like 2026/11/23 12:00:00 (of the source's ``timezone``; write UTC where yours are),
``Ext.100``, types in any case of letters, and the words of ``reason-terminated`` of both generations. Not checked: what
``time-answered`` is in the row of a queue whose ``final-type`` is an extension: taken as that agent's answer.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome
from callkpi.sources import base
from callkpi.sources.base import Answer, Context, Delivery, Malformed, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts, end_is_last, kept_time
from callkpi.sources.parts import PART_PAYLOADS, Lines, Parts
from callkpi.sources.threecx.settings import ThreeCxSource
from callkpi.sources.threecx.template import template

#: Direction, and whether it was answered, by [CallType].
CALL_TYPES = {
    "inbound": (Direction.INBOUND, True), "missed": (Direction.INBOUND, False),
    "outbound": (Direction.OUTBOUND, True), "notanswered": (Direction.OUTBOUND, False),
}  # fmt: skip
#: ``reason-terminated`` of a call that nobody answered, without case and underscores.
REASONS = {
    "terminatedbysrc": Outcome.ABANDONED, "srcparticipantterminated": Outcome.ABANDONED,
    "failedcancelled": Outcome.ABANDONED, "terminatedbydst": Outcome.NO_ANSWER,
    "dstparticipantterminated": Outcome.NO_ANSWER, "noanswer": Outcome.NO_ANSWER, "noanswertimeout": Outcome.NO_ANSWER,
    "timeout": Outcome.NO_ANSWER, "busy": Outcome.BUSY, "targetbusy": Outcome.BUSY, "routebusy": Outcome.BUSY,
    "declined": Outcome.REJECTED, "terminatedbyrule": Outcome.REJECTED, "failed": Outcome.FAILED,
    "noroute": Outcome.FAILED, "noroutexists": Outcome.FAILED, "norouteexists": Outcome.FAILED,
    "routenotfound": Outcome.FAILED, "notfound": Outcome.FAILED, "targetnotfound": Outcome.FAILED,
}  # fmt: skip
_BY_SOURCE = {"terminatedbysrc", "srcparticipantterminated"}
_BY_TARGET = {"terminatedbydst", "dstparticipantterminated"}
_LINES = {"line", "lineset", "provider", "external", "externalline", "bridge"}
_VOICEMAIL = {"vmail", "voicemail"}
_LINE = re.compile(r"(?:Call\s+)?[^,\n]*(?:,[^,\n]*){5,}")
_UNFILLED = re.compile(r"\[.*\]", re.DOTALL)


class ThreeCx(base.SourceType):
    keys = ThreeCxSource

    def decode(self, delivery: Delivery) -> Any:
        if delivery.body.lstrip()[:1] in (b"{", b"["):
            return base.decode_json_or_lines(delivery.body)
        try:
            text = delivery.body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Malformed(f"the body is not UTF-8 at byte {error.start}") from None
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines or not any(_LINE.fullmatch(line) for line in lines):
            raise Malformed("expected JSON of the CRM template, or lines of the CDR service")
        return lines

    def parts(self, body: bytes, most: int = PART_PAYLOADS) -> Parts:
        return super().parts(body, most) if body.lstrip()[:1] in (b"{", b"[") else Lines(body, most)

    def greet(self, query: Mapping[str, str]) -> Answer | None:
        return Answer(template().encode(), "application/xml") if "template" in query else None

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        if isinstance(item, str):
            return _parse_line(item, context)
        raw = base.require_object(item)
        return _journal_events(Facts({name: _filled(value) for name, value in raw.items()}, context))

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        rows = [event for event in events if event.kind is Kind.SIGNAL]
        told = [event for event in events if event.kind is not Kind.SIGNAL]
        if any(event.kind is Kind.ANSWERED or event.cause == Outcome.ANSWERED for event in told):
            told = [event for event in told if event.kind is not Kind.LEFT_QUEUE]  # others have reported a miss
        return end_is_last([*told, *(_Call(rows, settings).events() if rows else [])])


def _filled(value: Any) -> Any:
    return "" if isinstance(value, str) and _UNFILLED.fullmatch(value.strip()) else value


# -- what the CRM integration journals -------------------------------------------------------------------


def _journal_events(facts: Facts) -> list[CallEvent]:
    call_type = facts.text("callType").lower().replace(" ", "").replace("_", "")
    if call_type not in CALL_TYPES:
        raise Rejected(
            f"callType: {base.shown(facts.text('callType'))} is none of Inbound, Missed, Outbound, Notanswered"
        )
    direction, answered = CALL_TYPES[call_type]
    started = facts.local("started")
    if started is None:
        raise Rejected("started: is missing; write [CallStartTimeUTC] into the template")
    number, agent, queue = facts.text("number"), facts.text("agent"), facts.text("queue")
    call_id = f"journal-{base.digest(started.isoformat(), number, direction)}"
    talk = facts.milliseconds("duration") or 0
    established = facts.local("established") if answered else None
    if established is not None:
        established = max(established, started)
    ended = max(facts.local("ended") or (established or started) + timedelta(milliseconds=talk), established or started)
    leg: dict[str, Any] = {"agent": agent, "leg": agent}
    where = {"queue": queue, "entry": queue} if queue and direction is Direction.INBOUND else {}
    events = [facts.event(Kind.STARTED, call_id, started, direction=direction, customer=number)]
    if where:
        events.append(facts.event(Kind.QUEUED, call_id, started, **where))
    end: dict[str, Any] = {"rank": RANK_RECORD, "cause": Outcome.ANSWERED}
    if established is not None and agent:
        events.append(facts.event(Kind.ANSWERED, call_id, established, **leg, **where))
        events.append(facts.event(Kind.ENDED, call_id, ended, part="leg", **leg))
    elif answered:
        end |= {"agent": agent, "talk_ms": talk}
    else:
        if agent:
            events.append(facts.event(Kind.NOT_TAKEN, call_id, ended, cause=LegEnd.NO_ANSWER, **leg, **where))
        # Of two reports of one call the one that was answered counts.
        end = {"rank": RANK_RECORD - 1, "cause": Outcome.NO_ANSWER}
        if where:
            events.append(facts.event(Kind.LEFT_QUEUE, call_id, ended, cause=Outcome.NO_ANSWER, **where))
    return [*events, facts.event(Kind.ENDED, call_id, ended, **end)]


# -- lines of the CDR service ----------------------------------------------------------------------------

_TIMES = ("time-answered", "time-end")
_KEPT = (
    "reason-terminated", "reason-changed", "from-no", "to-no", "from-dn",
    "to-dn", "dial-no", "final-number", "final-dn", "from-type", "to-type", "final-type", "missed-queue-calls",
)  # fmt: skip


def _parse_line(line: str, context: Context) -> list[CallEvent]:
    """A row, in 3CX's own words: how it is read is known when all rows of the call are there."""
    try:
        values = next(csv.reader([line.removeprefix("Call ")]), [])
    except csv.Error as error:
        raise Rejected(f"no line of comma separated fields: {error}") from None
    names = config.as_kind(context.settings, ThreeCxSource).cdr_fields
    row = dict(zip(names, (value.strip() for value in values), strict=False))
    facts = Facts(row, context)
    if row.get("time-start") == "time-start":
        return []  # titles
    call_id = facts.text("historyid", "callid")
    if not call_id:
        raise Rejected("historyid, callid: are missing; cdr_fields must name the fields in the order of 3CX")
    started = _time(facts, "time-start")
    if started is None:
        raise Rejected("time-start: is missing; cdr_fields must name the fields in the order of 3CX")
    detail = {name: text for name in _KEPT if (text := facts.text(name))}
    for name in _TIMES:
        at = _time(facts, name)
        detail |= {name: at.isoformat() if at else ""}
    return [facts.event(Kind.SIGNAL, call_id, started, part=facts.text("callid"), detail=detail)]


def _time(facts: Facts, name: str) -> datetime | None:
    text = facts.text(name).replace("/", "-")
    if not text or text.startswith("0"):
        return None
    return base.local_time(text, name, facts.context.settings.zone, facts.context.received_at)


def _number(text: str) -> str:
    """``Ext.100`` as 100."""
    return re.sub(r"^ext\.", "", text.strip(), flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Row:
    """One segment: somebody calls somebody, or a queue."""

    signal: CallEvent

    def text(self, name: str) -> str:
        return self.signal.detail.get(name, "")

    def time(self, name: str) -> datetime | None:
        return kept_time(self.text(name))

    def type(self, name: str) -> str:
        told = self.text(f"{name}-type").lower()
        if told or name == "final":
            return told
        return "extension" if self.text(f"{name}-no").lower().startswith("ext.") else ""

    @property
    def reason(self) -> str:
        return re.sub(r"[^a-z]", "", self.text("reason-terminated").lower())

    @property
    def ended(self) -> datetime:
        return max(self.time("time-end") or self.signal.at, self.signal.at)

    @property
    def answered(self) -> datetime | None:
        at = self.time("time-answered")
        return None if at is None else min(max(at, self.signal.at), self.ended)

    @property
    def target(self) -> tuple[str, str]:
        """Type and number of who was reached at last: a queue's row names the agent as final."""
        if self.type("final") == "extension":
            return "extension", self.text("final-dn") or _number(self.text("final-number"))
        return self.type("to"), self.text("to-dn") or _number(self.text("to-no"))


class _Call:
    """The rows of one call."""

    def __init__(self, rows: Sequence[CallEvent], settings: config.Source) -> None:
        ordered = sorted({row.event_id: row for row in rows}.values(), key=lambda r: r.order)
        self.rows = [_Row(row) for row in ordered]
        self.first, self.last = self.rows[0], max(self.rows, key=lambda r: (r.ended, r.signal.order))
        self.is_ours = re.compile(settings.internal_number).fullmatch

    def event(self, row: _Row, kind: Kind, at: datetime, tag: str = "", **facts: Any) -> CallEvent:
        signal = row.signal
        return CallEvent(
            tenant=signal.tenant, source=signal.source, call_id=signal.call_id, kind=kind, at=at,
            event_id=f"{signal.event_id}.{kind}{tag}", received_at=signal.received_at, **facts,
        )  # fmt: skip

    def direction(self) -> Direction:
        caller, number = self.first.type("from"), _number(self.first.text("from-no"))
        if caller in _LINES or (caller != "extension" and number and not self.is_ours(number)):
            return Direction.INBOUND
        to_line = any(row.type("to") in _LINES or row.type("final") in _LINES for row in self.rows)
        dialled = _number(self.first.text("dial-no") or self.first.text("to-no"))
        outside = not self.is_ours(dialled) and self.first.type("to") in ("", "extension") and dialled != ""
        return Direction.OUTBOUND if to_line or (outside and not self.first.type("to")) else Direction.INTERNAL

    def events(self) -> list[CallEvent]:
        direction, first = self.direction(), self.first
        if direction is Direction.OUTBOUND:
            customer, line = _number(first.text("dial-no") or first.text("to-no")), ""
        else:
            customer, line = _number(first.text("from-no")), _number(first.text("dial-no"))
        result = [self.event(first, Kind.STARTED, first.signal.at, direction=direction, customer=customer, line=line)]
        talks = 0
        if direction is Direction.OUTBOUND:
            told = self._outbound()
        else:
            told = [event for row in self.rows for event in (*self._stay(row), *self._leg(row))]
        talks = sum(event.kind is Kind.ANSWERED for event in told)
        return [*result, *told, self._end(direction, answered=bool(talks))]

    def _outbound(self) -> list[CallEvent]:
        row = next((row for row in self.rows if row.answered), self.first)
        agent = row.text("from-dn") or _number(row.text("from-no"))
        leg: dict[str, Any] = {"agent": agent, "leg": row.signal.event_id}
        ring = self.event(row, Kind.RINGING, row.signal.at, **leg)
        if row.answered is None:
            return [ring]
        over = self.event(row, Kind.ENDED, row.ended, ".leg", **leg)
        return [ring, self.event(row, Kind.ANSWERED, row.answered, **leg), over]

    def _stay(self, row: _Row) -> list[CallEvent]:
        if row.type("to") != "queue":
            return []
        queue = row.text("to-dn") or _number(row.text("to-no"))
        where = {"queue": queue, "entry": row.signal.event_id}
        result = [self.event(row, Kind.QUEUED, row.signal.at, **where)]
        for number, name in enumerate(re.split(r"[;\s]+", row.text("missed-queue-calls"))):
            if agent := _number(name):
                leg = {"agent": agent, "leg": f"{row.signal.event_id}/{number}"}
                end = row.answered or row.ended
                result.append(
                    self.event(row, Kind.NOT_TAKEN, end, f".{number}", cause=LegEnd.NO_ANSWER, **leg, **where)
                )
        taken = self._taken_by(row)
        if taken is None:
            cause = REASONS.get(row.reason, Outcome.ABANDONED)
            result.append(self.event(row, Kind.LEFT_QUEUE, row.ended, cause=cause, **where))
        return result

    def _taken_by(self, queue: _Row) -> _Row | None:
        """The row in which an agent took the call out of a queue: one of its own, else the queue's."""
        own = [
            row for row in self.rows
            if row is not queue and row.answered and row.type("to") == "extension"
            and row.type("from") == "queue" and queue.signal.at <= row.signal.at <= queue.ended
        ]  # fmt: skip
        if own:
            return own[0]
        return queue if queue.answered and queue.type("final") == "extension" else None

    def _leg(self, row: _Row) -> list[CallEvent]:
        kind, agent = row.target
        if kind != "extension" or not agent:
            return []
        queues = [queue for queue in self.rows if queue.type("to") == "queue"]
        if row in queues and self._taken_by(row) is not row:
            return []
        of = next((queue for queue in queues if self._taken_by(queue) is row), None)
        where: dict[str, Any] = {}
        if of is not None:
            where = {"queue": of.text("to-dn") or _number(of.text("to-no")), "entry": of.signal.event_id}
        leg: dict[str, Any] = {"agent": agent, "leg": row.signal.event_id}
        # The row of a queue begins when the caller comes, not when the phone rings.
        ring = [] if row in queues else [self.event(row, Kind.RINGING, row.signal.at, **leg, **where)]
        if row.answered is None:
            busy = REASONS.get(row.reason) in (Outcome.BUSY, Outcome.REJECTED)
            gone = row.reason in _BY_SOURCE or row.reason == "failedcancelled"
            cause = LegEnd.BUSY if busy else LegEnd.CANCELLED if gone else LegEnd.NO_ANSWER
            return [*ring, self.event(row, Kind.NOT_TAKEN, row.ended, cause=cause, **leg, **where)]
        answered = self.event(row, Kind.ANSWERED, row.answered, **leg, **where)
        result = [*ring, answered, self.event(row, Kind.ENDED, row.ended, ".leg", **leg)]
        if row.text("reason-changed").lower().startswith("replaced") and row is not self.last:
            result.append(self.event(row, Kind.TRANSFERRED, row.ended, **leg))
        return result

    def _end(self, direction: Direction, *, answered: bool) -> CallEvent:
        reason = self.last.reason
        caller, called = ("agent", "customer") if direction is Direction.OUTBOUND else ("customer", "agent")
        by = caller if reason in _BY_SOURCE else called if reason in _BY_TARGET and answered else ""
        cause = "" if answered else REASONS.get(reason, "")
        if not answered and {self.last.type("to"), self.last.type("final")} & _VOICEMAIL:
            cause = Outcome.VOICEMAIL
        if cause == Outcome.ABANDONED and direction is not Direction.INBOUND:
            cause = Outcome.NO_ANSWER
        return self.event(self.last, Kind.ENDED, self.last.ended, cause=cause, code=reason[:40], hangup_by=by)
