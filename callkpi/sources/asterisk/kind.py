"""Asterisk: AMI events as JSON pushed to the door, and lines of its queue_log.

AMI: one object, an array, or JSON Lines. The time is the header ``Timestamp`` (manager.conf ``timestampevents = yes``),
else ``received_at`` in Unix seconds if the forwarder adds it, else the clock of arrival. queue_log: its lines as they
are, as text. Use one of the two for a tenant, or each call is counted twice.

Asterisk tells of channels, not of calls: both are journalled in Asterisk's own terms (SIGNAL) and interpreted
when the whole call is folded, so a better reading of Asterisk mends the past after ``callkpi rebuild``.

What a forwarder may leave out, as tests/test_asterisk_forwarders.py measures it on recorded traffic:

* Newexten, Newstate, bridges, VarSet: nothing. ``VarSet`` of QUEUESTATUS makes sure why a queue gave a caller up.
* HangupRequest, SoftHangupRequest, LocalBridge, AgentCalled: figures of queues stay right (rings that were cancelled
  are gone with AgentCalled). DialBegin and DialEnd: the same, calls outside of queues lose their rings and outcome.
* Hangup of agents' channels: right, but a call that went on from an agent's own channel stays open. All Hangup: exits
  by key are seen only if something follows, and calls stay open until they expire.
* AgentComplete: the talk is known to the second, by what ended it.
* Context, Exten and Priority: a caller whom a command hung up looks like a timeout.
* QueueMember… events: an emptied queue looks like a timeout.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import RESTART_STREAM, CallEvent, Kind
from callkpi.sources import base
from callkpi.sources.asterisk import ami as asterisk_ami
from callkpi.sources.asterisk import calls as asterisk_calls
from callkpi.sources.asterisk import cdr as asterisk_cdr
from callkpi.sources.asterisk import cel as asterisk_cel
from callkpi.sources.asterisk import queue_log as asterisk_queue_log
from callkpi.sources.asterisk.settings import AsteriskSource
from callkpi.sources.base import Context, Delivery
from callkpi.sources.parts import PART_PAYLOADS, Lines, Parts


class Asterisk(base.SourceType):
    keys = AsteriskSource

    def decode(self, delivery: Delivery) -> Any:
        if asterisk_queue_log.looks_like(delivery.body):
            return asterisk_queue_log.decode(delivery.body)
        # An id such as 1795461706.20 is text, also where a forwarder writes it as a number.
        return base.decode_json_or_lines(delivery.body, parse_float=str)

    def parts(self, body: bytes, most: int = PART_PAYLOADS) -> Parts:
        return Lines(body, most) if asterisk_queue_log.looks_like(body) else super().parts(body, most)

    def parse(self, payload: Any, context: Context) -> base.Parsed:
        """What has no time of its own has the order of its delivery, and so has what is of one second."""
        parsed = super().parse(asterisk_cel.tied(payload), context)
        guess = asterisk_queue_log.GUESSED_ENCODING
        if not config.as_kind(context.settings, AsteriskSource).encoding and any(
            isinstance(e, str) and not asterisk_queue_log.is_utf8(e) for e in payload
        ):
            parsed.notes.append(f'some lines are not UTF-8 and were read as {guess}; write encoding = "{guess}" if so')
        parsed.events = [_in_its_place(event, place) for place, event in enumerate(parsed.events)]
        return parsed

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        if isinstance(item, str):
            return asterisk_queue_log.parse_line(item, context)
        raw = base.require_object(item)
        if asterisk_queue_log.is_row(raw):
            return asterisk_queue_log.parse_row(raw, context)
        if "eventtype" in raw:
            return asterisk_cel.parse_row(raw, context)
        if "disposition" in raw:
            return asterisk_cdr.parse_row(raw, context)
        return asterisk_ami.parse_event(raw, context)

    def asks_about(self, events: Sequence[CallEvent], settings: config.Source) -> Sequence[tuple[str, datetime]]:
        ami = [event for event in events if event.kind is Kind.SIGNAL and "Event" in event.detail]
        return asterisk_calls.asks_about(ami, settings) if ami else ()

    ends_at_restart = True

    def marks(self, events: Sequence[CallEvent]) -> Mapping[str, datetime]:
        return asterisk_queue_log.marks(events)

    def kin(self, events: Sequence[CallEvent]) -> Collection[str]:
        return asterisk_queue_log.kin(events)

    def is_one(self, events: Sequence[CallEvent], other: Sequence[CallEvent], settings: config.Source) -> bool:
        return asterisk_queue_log.is_one(events, other, settings)

    def known_as(self, events: Sequence[CallEvent]) -> Collection[str]:
        """Uniqueids of its channels: connectors write one of them into a CRM, most of them the first."""
        created = (e.detail for e in events if e.detail.get("Event") == "Newchannel")
        return {d["Uniqueid"] for d in created if "Uniqueid" in d and not d.get("Channel", "").startswith("Local/")}

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        restart = next((event for event in members if event.call_id == RESTART_STREAM), None)
        members = [event for event in members if event is not restart]
        told: dict[str, list[CallEvent]] = {"Event": [], "verb": [], "Cel": [], "Cdr": [], "": []}
        for event in events:
            told[next((key for key in told if key in event.detail), "")].append(event)
        result = [event for event in told[""] if event.kind is not Kind.SIGNAL]
        if ami := told["Event"]:
            result += asterisk_calls.interpret(ami, settings, members, restart)
        if lines := told["verb"]:
            result += asterisk_queue_log.interpret(lines, restart)
        if ami or lines:
            return result  # what was heard is better than its records
        if cel := told["Cel"]:
            signals = asterisk_cel.signals(cel)
            return [*result, *(asterisk_calls.interpret(signals, settings, members) if signals else [])]
        return [*result, *(asterisk_cdr.interpret(told["Cdr"], settings) if told["Cdr"] else [])]


def _in_its_place(event: CallEvent, place: int) -> CallEvent:
    later = timedelta(microseconds=place)
    at = event.at + later if event.timeless else event.at
    return replace(event, at=at, received_at=event.received_at + later)
