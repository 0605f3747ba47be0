"""Bitrix24 telephony events by outgoing webhook or application handler.

Formats: apidocs.bitrix24.com, "Telephony events" and "Event handlers" (b24-rest-docs). Bitrix24 sends an event
once and does not repeat it. It signs nothing; ``auth[application_token]`` is the proof of origin.

What the events can't tell: the queue, the time of the answer for calls that an application registers
(their START comes together with INIT), the ring of single operators, who hung up. Those stay unknown, not 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.model import CallEvent, Direction, Kind, Outcome
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.forms import parse_form

#: CALL_TYPE: 1 outgoing, 2 incoming, 3 incoming with redirection, 4 callback, 5 informational auto-call.
DIRECTIONS = {
    "1": Direction.OUTBOUND,
    "2": Direction.INBOUND,
    "3": Direction.INBOUND,
    "4": Direction.OUTBOUND,
    "5": Direction.AUTO,
}

#: CALL_FAILED_CODE. Connectors send codes of their own as well: those are FAILED, kept as ``Call.code``.
OUTCOMES = {
    "200": Outcome.ANSWERED,
    "304": Outcome.NO_ANSWER,
    "402": Outcome.FAILED,
    "403": Outcome.FAILED,
    "404": Outcome.FAILED,
    "423": Outcome.FAILED,
    "480": Outcome.NO_ANSWER,
    "484": Outcome.FAILED,
    "486": Outcome.BUSY,
    "503": Outcome.FAILED,
    "603": Outcome.REJECTED,
    "603-S": Outcome.NO_ANSWER,
    "OTHER": Outcome.FAILED,
}

#: ``ts`` is when the event left Bitrix24's queue. Later than this after the call's own end it is a late
#: registration or a backlog, and says nothing of when the call ended.
TS_IS_THE_END_WITHIN = timedelta(minutes=10)

#: Trust: the history record (END) knows better than the middle of the call.
RANK_END = 2


class Bitrix24(base.SourceType):
    media_type = "application/x-www-form-urlencoded"
    known_codes = frozenset(OUTCOMES)

    def decode(self, delivery: Delivery) -> Any:
        if delivery.body.lstrip()[:1] in (b"{", b"["):
            return base.decode_json_or_lines(delivery.body)
        payload = parse_form(delivery.body)
        if not payload:
            raise Malformed("the body is empty; expected a form with event, data[...] and auth[...]")
        return [payload]

    def accepted_tokens(self, settings: config.Source) -> Sequence[str]:
        return settings.application_tokens

    def token(self, delivery: Delivery, payload: Any) -> str:
        """The application token; of an array the first one, and the others must be equal to it."""
        tokens = {_token(item) for item in payload}
        return tokens.pop() if len(tokens) == 1 else ""

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        payload = base.require_object(item)
        name = str(payload.get("event", "")).upper()
        parser = _PARSERS.get(name)
        if parser is None:
            raise Rejected(f"event: {base.shown(name)} is no telephony event; known: {', '.join(_PARSERS)}")
        data = payload.get("data")
        if not isinstance(data, dict):
            raise Rejected("data: is missing; expected data[CALL_ID] and so on")
        return parser(_Facts(name, data, payload, context))


def _token(item: Any) -> str:
    auth = item.get("auth") if isinstance(item, dict) else None
    return str(auth.get("application_token", "")) if isinstance(auth, dict) else ""


class _Facts:
    """One event's fields, read leniently: every scalar is text, any may be absent or empty."""

    def __init__(self, name: str, data: Mapping[str, Any], payload: Mapping[str, Any], context: Context) -> None:
        self.name, self.data, self.context = name, data, context
        auth = payload.get("auth")
        portal = str(auth.get("member_id", "")) if isinstance(auth, dict) else ""
        # ts is left out: two subscriptions deliver the same fact at different times.
        self.event_id = base.digest(portal, name, base.canonical(data))
        ts = payload.get("ts")
        self.sent_at = base.unix_time(ts, "ts", context.received_at) if ts not in (None, "") else None

    def text(self, key: str) -> str:
        value = self.data.get(key)
        return "" if value is None or isinstance(value, (dict, list)) else str(value).strip()

    def required(self, key: str) -> str:
        value = self.text(key)
        if not value or len(value) > 255:
            raise Rejected(f"data[{key}]: must have 1 to 255 characters")
        return value

    def seconds(self, key: str) -> int:
        value = self.text(key)
        if not value:
            return 0
        try:
            return max(int(float(value)), 0)
        except (ValueError, OverflowError):
            raise Rejected(f"data[{key}]: {base.shown(value)} is not a number of seconds") from None

    def person(self, key: str) -> str:
        """A user's id; 0 and empty mean nobody."""
        value = self.text(key)
        return "" if value == "0" else value

    def event(self, kind: Kind, at: datetime | None = None, **facts: Any) -> CallEvent:
        happened = at or self.sent_at
        return CallEvent(
            tenant=self.context.tenant,
            source=self.context.source,
            call_id=facts.pop("call_id", None) or self.required("CALL_ID"),
            kind=kind,
            at=happened or self.context.received_at,
            event_id=f"{self.event_id}.{kind}",
            received_at=self.context.received_at,
            timeless=happened is None,
            **facts,
        )


def _direction(facts: _Facts) -> Direction:
    return DIRECTIONS.get(facts.text("CALL_TYPE"), Direction.UNKNOWN)


def _line(value: str) -> str:
    """A line's id; an application that named no line leaves a bare prefix."""
    return "" if value == "REST_APP:" else value


def _call_init(facts: _Facts) -> Sequence[CallEvent]:
    direction = _direction(facts)
    caller, number = facts.text("CALLER_ID"), facts.text("PHONE_NUMBER")
    line = facts.text("ACCOUNT_SEARCH_ID")
    if direction is Direction.INBOUND:
        customer, line = caller, line or number
    else:
        customer, line = number or caller, line or (caller if number else "")
    return [facts.event(Kind.STARTED, direction=direction, customer=customer, line=_line(line))]


def _call_start(facts: _Facts) -> Sequence[CallEvent]:
    registered_by_application = facts.required("CALL_ID").startswith("externalCall.")
    kind = Kind.RINGING if registered_by_application else Kind.ANSWERED
    return [facts.event(kind, agent=facts.person("USER_ID"), leg=facts.person("USER_ID"))]


def _call_end(facts: _Facts) -> Sequence[CallEvent]:
    code = facts.text("CALL_FAILED_CODE").upper().removeprefix("VI_STATUS_")
    outcome = OUTCOMES.get(code, Outcome.FAILED)
    answered = outcome is Outcome.ANSWERED
    duration = facts.seconds("CALL_DURATION")
    started_at = _start_date(facts)
    direction = _direction(facts)
    common = {
        "rank": RANK_END,
        "direction": direction,
        "customer": facts.text("PHONE_NUMBER"),
        "line": _line(facts.text("PORTAL_NUMBER")),
    }
    ended = facts.event(
        Kind.ENDED,
        at=_end_time(started_at, duration, facts.sent_at),
        cause=outcome,
        code=code,
        agent=facts.person("PORTAL_USER_ID") if answered or direction is Direction.OUTBOUND else "",
        talk_ms=1000 * duration if answered else None,
        crm={"activity": activity} if (activity := facts.person("CRM_ACTIVITY_ID")) else {},
        **common,
    )
    if started_at is None:
        return [ended]
    return [facts.event(Kind.STARTED, at=started_at, **common), ended]


def _start_date(facts: _Facts) -> datetime | None:
    text = facts.text("CALL_START_DATE")
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Rejected(f"data[CALL_START_DATE]: {base.shown(text)} is no ISO 8601 time with an offset") from None
    if at.tzinfo is None:
        raise Rejected(f"data[CALL_START_DATE]: {base.shown(text)} has no offset; its instant is unknown")
    return base.check_time(at.astimezone(UTC), "data[CALL_START_DATE]", facts.context.received_at)


def _end_time(started_at: datetime | None, duration: int, sent_at: datetime | None) -> datetime | None:
    if started_at is None:
        return sent_at
    earliest = started_at + timedelta(seconds=min(duration, 86_400))
    if sent_at is not None and timedelta(0) <= sent_at - earliest <= TS_IS_THE_END_WITHIN:
        return sent_at
    return earliest


def _external_call_start(facts: _Facts) -> Sequence[CallEvent]:
    customer = facts.text("PHONE_NUMBER_INTERNATIONAL") or facts.text("PHONE_NUMBER")
    entity, number = facts.text("CRM_ENTITY_TYPE"), facts.person("CRM_ENTITY_ID")
    agent = facts.person("USER_ID")
    started = facts.event(
        Kind.STARTED,
        direction=Direction.OUTBOUND,
        customer=customer,
        line=_line(facts.text("LINE_NUMBER")),
        crm={entity.lower(): number} if entity and number else {},
    )
    return [started, facts.event(Kind.RINGING, agent=agent, leg=agent)] if agent else [started]


def _external_call_back_start(facts: _Facts) -> Sequence[CallEvent]:
    """A form on a site: a customer asks to be called. The event names no call; this one has its own id."""
    number = facts.required("PHONE_NUMBER")
    if facts.sent_at is None:
        raise Rejected("ts: is missing; a request to be called needs its time")
    if not re.search(r"\d", number):
        raise Rejected(f"data[PHONE_NUMBER]: {base.shown(number)} has no digits")
    common: dict[str, Any] = {
        "call_id": f"callback-request.{facts.event_id}.{int(facts.sent_at.timestamp())}",
        "direction": Direction.REQUEST,
        "customer": number,
        "line": _line(facts.text("LINE_NUMBER")),
    }
    ended = facts.event(Kind.ENDED, cause=Outcome.CALLBACK_REQUESTED, **common)
    return [facts.event(Kind.STARTED, **common), ended]


_PARSERS: dict[str, Callable[[_Facts], Sequence[CallEvent]]] = {
    "ONVOXIMPLANTCALLINIT": _call_init,
    "ONVOXIMPLANTCALLSTART": _call_start,
    "ONVOXIMPLANTCALLEND": _call_end,
    "ONEXTERNALCALLSTART": _external_call_start,
    "ONEXTERNALCALLBACKSTART": _external_call_back_start,
}
