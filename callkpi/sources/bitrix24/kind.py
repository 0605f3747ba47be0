"""Bitrix24 telephony events by outgoing webhook or application handler, and rows of its call statistics.

Formats: apidocs.bitrix24.com, "Telephony events" and "Event handlers" (b24-rest-docs). Bitrix24 sends an event
once and does not repeat it. It signs nothing; ``auth[application_token]`` is the proof of origin.

The statistics are the truth: :mod:`callkpi.bitrix24.statistics` reads their rows, each is journalled as a SIGNAL, and
:meth:`Bitrix24.interpret` puts them in the place of what the webhooks said of the end. A row that was corrected is
another event with a higher revision; the highest revision counts.

What the events can't tell: the queue, the time of the answer for calls that an application registers
(their START comes together with INIT), the ring of single operators, who hung up. Those stay unknown, not 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls import bounds
from callkpi.calls.model import LONGEST_MS, CallEvent, Direction, Kind, Outcome
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.bitrix24.settings import Bitrix24Source
from callkpi.sources.facts import doubted
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
LONGEST_CALL_SECONDS = 86_400
#: An answer that a webhook tells of may lie this much before the begin that the statistics tell of.
CLOCKS_DIFFER = timedelta(seconds=5)

#: Trust: the history record (END) knows better than the middle of the call, and the statistics better than both.
RANK_END = 2
RANK_STATISTICS = 3

#: The name under which a row of the statistics goes the way of an event.
STATISTICS_ROW = "STATISTICS.ROW"
ROW_EVENT = re.compile(r"row\.(\d+)\.(\d+)\.([0-9a-f]+)")

#: Events of the CRM that our own writing causes, and the portal's robots on it. They tell of no call.
_CRM_EVENT = re.compile(r"ONCRM(DEAL|DYNAMICITEM|ACTIVITY|TIMELINE)\w*")
_DEAL_EVENT = re.compile(r"ONCRMDEAL(ADD|UPDATE|DELETE|MOVETOCATEGORY)")

#: What is kept of a row. Fields that the portal fills in later and that no number needs (record, comment, transcript)
#: are left out: each change of a kept field is another event.
ROW_FIELDS = (
    "ID", "CALL_TYPE", "CALL_CATEGORY", "PORTAL_USER_ID", "PORTAL_NUMBER", "PHONE_NUMBER", "CALL_DURATION",
    "CALL_START_DATE", "CALL_FAILED_CODE", "CRM_ENTITY_TYPE", "CRM_ENTITY_ID", "CRM_ACTIVITY_ID", "CALL_VOTE",
    "REST_APP_ID", "SESSION_ID", "EXTERNAL_CALL_ID",
)  # fmt: skip


class Bitrix24(base.SourceType):
    keys = Bitrix24Source
    proof_in_body = True
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
        return config.as_kind(settings, Bitrix24Source).application_tokens

    def token(self, delivery: Delivery, payload: Any) -> str:
        """The application token; of an array the first one, and the others must be equal to it."""
        tokens = {_token(item) for item in payload}
        return tokens.pop() if len(tokens) == 1 else ""

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        payload = base.require_object(item)
        name = str(payload.get("event", "")).upper()
        if name == STATISTICS_ROW:
            return [_statistics_row(payload, context)]
        if _CRM_EVENT.fullmatch(name):
            return ()
        parser = _PARSERS.get(name)
        if parser is None:
            raise Rejected(f"event: {base.shown(name)} is no telephony event; known: {', '.join(_PARSERS)}")
        data = payload.get("data")
        if not isinstance(data, dict):
            raise Rejected("data: is missing; expected data[CALL_ID] and so on")
        return parser(_Facts(name, data, payload, context))

    def crm_items(self, payload: Any) -> Sequence[tuple[int, bool]]:
        found = []
        for item in payload:
            match = _DEAL_EVENT.fullmatch(str(item.get("event", "")).upper()) if isinstance(item, dict) else None
            data = item.get("data") if match else None
            fields = data.get("FIELDS") if isinstance(data, dict) else None
            number = str((fields if isinstance(fields, dict) else data or {}).get("ID", "")) if match else ""
            if match and re.fullmatch("[0-9]{1,18}", number):
                found.append((int(number), match[1] == "ADD"))
        return found

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        rows = _newest_rows(events)
        if not rows:
            return events
        plain = [event for event in events if event.kind is not Kind.SIGNAL]
        told = [*_kept_of_webhooks(plain, rows), *_rows_told(rows, plain)]
        lengths = [row.event.detail.get("CALL_DURATION", "") for row in rows]
        return doubted(told, (length != "" and _seconds(length) is None for length in lengths))


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
        return "" if value is None or isinstance(value, (dict, list)) else base.clean(str(value))

    def required(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise Rejected(f"data[{key}]: is required")
        return bounds.shortened(value)

    def seconds(self, key: str) -> int:
        value = self.text(key)
        if not value:
            return 0
        seconds = _seconds(value)
        if seconds is None:
            raise Rejected(f"data[{key}]: {base.shown(value)} is not a number of seconds")
        return seconds

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


def _seconds(text: str) -> int | None:
    try:
        seconds = max(int(float(text)), 0)
    except (ValueError, OverflowError):
        return None
    return seconds if 1000 * seconds <= LONGEST_MS else None


def _code(text: str) -> str:
    return text.upper().removeprefix("VI_STATUS_")


def _fields(external_id: str) -> dict[str, str]:
    """The id that a connector's PBX has for the call."""
    return {"external_call_id": external_id} if external_id else {}


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
    code = _code(facts.text("CALL_FAILED_CODE"))
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
    ended_at = _end_time(started_at, duration, facts.sent_at)
    ended = facts.event(
        Kind.ENDED,
        at=ended_at,
        # Of a call that was registered late nothing tells how long its caller waited.
        untimed=not answered and ended_at is not None and ended_at == started_at,
        cause=outcome,
        code=code,
        agent=facts.person("PORTAL_USER_ID") if answered or direction is Direction.OUTBOUND else "",
        talk_ms=1000 * duration if answered else None,
        crm={"activity": activity} if (activity := facts.person("CRM_ACTIVITY_ID")) else {},
        fields=_fields(facts.text("EXTERNAL_CALL_ID")),
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
    return base.check_time(at, "data[CALL_START_DATE]", facts.context.received_at)


def _end_time(started_at: datetime | None, duration: int, sent_at: datetime | None) -> datetime | None:
    if started_at is None:
        return sent_at
    earliest = started_at + timedelta(seconds=min(duration, LONGEST_CALL_SECONDS))
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


# -- rows of the call statistics -------------------------------------------------------------------------


def row_item(row: Mapping[str, Any], revision: int) -> dict[str, Any]:
    """A row as :meth:`Bitrix24.parse` takes it. *revision* counts what we have read of this row, from 1."""
    return {"event": STATISTICS_ROW, "data": dict(row), "revision": revision}


def row_digest(row: Mapping[str, Any]) -> str:
    """The same for rows that say the same of what is kept."""
    return base.digest(base.canonical(_kept(row)))


def _kept(row: Mapping[str, Any]) -> dict[str, str]:
    values = {name: row.get(name) for name in ROW_FIELDS}
    told = {k: str(v).strip() for k, v in values.items() if v is not None and not isinstance(v, (dict, list))}
    return {name: text for name, text in told.items() if text and text != "0"}


def _statistics_row(payload: Mapping[str, Any], context: Context) -> CallEvent:
    """A row as one event: what it says is read when the whole call is known, for a call may have several."""
    row = payload.get("data")
    if not isinstance(row, dict):
        raise Rejected("data: is missing; expected the row")
    facts = _Facts(STATISTICS_ROW, row, payload, context)
    number, revision = facts.required("ID"), str(payload.get("revision", 1))
    if not re.fullmatch("[0-9]{1,18}", number) or not re.fullmatch("[0-9]{1,9}", revision):
        raise Rejected(f"data[ID]: {number[:20]!r} is not the number of a row")
    started_at = _start_date(facts)
    if started_at is None:
        raise Rejected("data[CALL_START_DATE]: is missing; the row has no time")
    facts.seconds("CALL_DURATION")
    code = _code(facts.text("CALL_FAILED_CODE"))
    return CallEvent(
        tenant=context.tenant, source=context.source, call_id=facts.required("CALL_ID"), kind=Kind.SIGNAL,
        at=started_at, event_id=f"row.{number}.{revision}.{row_digest(row)}", received_at=context.received_at,
        rank=RANK_STATISTICS, direction=_direction(facts), cause=OUTCOMES.get(code, Outcome.FAILED), code=code,
        detail=_kept(row),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the statistics: one conversation, or one attempt."""

    event: CallEvent
    number: int
    outcome: Outcome
    code: str
    agent: str
    duration: timedelta

    @property
    def answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED

    @property
    def talk_ms(self) -> int:
        return int(self.duration.total_seconds()) * 1000

    @property
    def key(self) -> str:
        return self.agent or f"row {self.number}"


def _newest_rows(events: Iterable[CallEvent]) -> list[_Row]:
    """The rows of one call as they were read last, in the order in which they began."""
    newest: dict[int, tuple[tuple[int, datetime, str], CallEvent]] = {}
    for event in events:
        match = ROW_EVENT.fullmatch(event.event_id) if event.kind is Kind.SIGNAL else None
        if match is None:
            continue
        # Two readers who met a correction at the same time gave it the same revision: the later look counts.
        version = (int(match[2]), event.received_at, event.event_id)
        number = int(match[1])
        if number not in newest or newest[number][0] < version:
            newest[number] = (version, event)
    rows = [_row(number, event) for number, (_, event) in newest.items()]
    return sorted(rows, key=lambda row: (row.event.at, row.number))


def _row(number: int, event: CallEvent) -> _Row:
    detail = event.detail
    seconds = min(_seconds(detail.get("CALL_DURATION", "0")) or 0, LONGEST_CALL_SECONDS)
    return _Row(
        event, number, OUTCOMES.get(event.code, Outcome.FAILED), event.code, detail.get("PORTAL_USER_ID", ""),
        timedelta(seconds=seconds),
    )  # fmt: skip


def _kept_of_webhooks(events: Iterable[CallEvent], rows: Sequence[_Row]) -> list[CallEvent]:
    """The webhooks' facts that the rows do not replace: the begin, who was rung, and the answer's time.

    Where several rows tell of several conversations, they tell who answered, too. One row names who answered; only of
    a transfer that has one row all the same, the webhooks know more.
    """
    several = len(rows) > 1
    replaced = {Kind.ENDED, Kind.ANSWERED, Kind.RINGING} if several else {Kind.ENDED}
    kept = [event for event in events if event.kind not in replaced and event.rank < RANK_END]
    agent = rows[0].agent
    if several or not agent or {e.agent for e in kept if e.kind is Kind.ANSWERED} <= {agent}:
        return kept
    if len({e.agent for e in kept if e.kind is Kind.ANSWERED}) > 1:
        return kept
    return [replace(e, agent=agent, leg=agent) if e.kind is Kind.ANSWERED else e for e in kept]


def _rows_told(rows: Sequence[_Row], plain: Sequence[CallEvent]) -> list[CallEvent]:
    """What the rows of a call say: its begin, its conversations, its end."""
    first, detail = rows[0], rows[0].event.detail
    answers = sorted(e.at for e in plain if e.kind is Kind.ANSWERED and e.at >= first.event.at - CLOCKS_DIFFER)
    ends = [e for e in plain if e.kind is Kind.ENDED]
    started = _said(
        first, Kind.STARTED, first.event.at,
        customer=detail.get("PHONE_NUMBER", ""), line=_line(detail.get("PORTAL_NUMBER", "")),
    )  # fmt: skip
    if len(rows) == 1:
        return [started, _single_end(first, answers, ends)]
    return [started, *_conversations(rows, answers, ends)]


def _single_end(row: _Row, answers: Sequence[datetime], ends: Sequence[CallEvent]) -> CallEvent:
    begin = answers[0] if answers and row.answered else row.event.at
    at, is_known = _row_end(begin + row.duration, ends)
    outbound = row.event.direction is Direction.OUTBOUND
    return _said(
        row, Kind.ENDED, at, cause=row.outcome, code=row.code, talk_ms=row.talk_ms if row.answered else None,
        agent=row.agent if row.answered or outbound else "", rating=_vote(row), crm=_crm(row),
        fields=_fields(row.event.detail.get("EXTERNAL_CALL_ID", "")), untimed=not row.answered and not is_known,
    )  # fmt: skip


def _row_end(earliest: datetime, ends: Sequence[CallEvent]) -> tuple[datetime, bool]:
    """When the call ended, and whether that is known: a row tells how long was talked, the webhook when it was over."""
    told = max((event.at for event in ends), default=earliest)
    return (told, True) if told > earliest else (earliest, False)


def _conversations(rows: Sequence[_Row], answers: Sequence[datetime], ends: Sequence[CallEvent]) -> list[CallEvent]:
    """A call that was transferred, as its rows tell it: one conversation after the other.

    Whether a later row begins when its conversation did or when the call did is not documented. Both are read alike:
    it begins when the one before is over, unless it says later.
    """
    told: list[CallEvent] = []
    talks = [row for row in rows if row.answered]
    free_at, seen = rows[0].event.at, set[str]()
    for index, row in enumerate(talks):
        is_known = index == 0 and bool(answers)
        begin = answers[0] if is_known else max(row.event.at, free_at)
        free_at = begin + row.duration
        leg = row.key if row.key not in seen else f"{row.key} row {row.number}"
        seen.add(row.key)
        told.append(_said(row, Kind.ANSWERED, begin, agent=row.agent, leg=leg, untimed=index == 0 and not is_known))
        if index + 1 < len(talks) and talks[index + 1].agent != row.agent:
            told.append(_said(row, Kind.TRANSFERRED, free_at, agent=row.agent, leg=leg))
        told.append(_said(row, Kind.ENDED, free_at, agent=row.agent, leg=leg, talk_ms=row.talk_ms))
    last = talks[-1] if talks else rows[-1]
    at, is_known = _row_end(max(free_at, *(row.event.at + row.duration for row in rows)), ends)
    crm = {name: text for row in rows for name, text in _crm(row).items()}
    votes = [vote for row in rows if (vote := _vote(row)) is not None]
    end = _said(
        last, Kind.ENDED, at, cause=last.outcome, code=last.code, rating=votes[-1] if votes else None, crm=crm,
        fields=_fields(next(filter(None, (row.event.detail.get("EXTERNAL_CALL_ID") for row in rows)), "")),
        untimed=not talks and not is_known,
    )  # fmt: skip
    return [*told, replace(end, event_id=f"{end.event_id}.call")]


def _said(row: _Row, kind: Kind, at: datetime, **facts: Any) -> CallEvent:
    told = {"cause": "", "code": "", "detail": {}, **facts}
    return replace(row.event, kind=kind, at=at, event_id=f"{row.event.event_id}.{kind}", **told)


def _vote(row: _Row) -> int | None:
    text = row.event.detail.get("CALL_VOTE", "")
    return int(text) if text in ("1", "2", "3", "4", "5") else None


def _crm(row: _Row) -> dict[str, str]:
    detail = row.event.detail
    kind, entity = detail.get("CRM_ENTITY_TYPE", "").lower(), detail.get("CRM_ENTITY_ID", "")
    activity = detail.get("CRM_ACTIVITY_ID", "")
    return {**({kind: entity} if kind and entity else {}), **({"activity": activity} if activity else {})}
