"""Zadarma (and Novofon 1.x, whose API is the same under another name): PBX notifications as forms.

Fields, signatures and dispositions: Zadarma's own client library (zadarma/user-api-v1, lib/Webhook), which has a
class for each notification. ``Signature`` is base64 of the *hexadecimal* HMAC-SHA1 of three fields; it does not
cover the duration and the disposition, so TLS has to protect those. SMS and speech recognition are ignored: their
signature could not be verified, so they are taken from no one.

Only the start of a call has a time (``call_start``, in the zone of the account: key ``timezone``). A ring, an answer
and an end happen when their notification comes; an end that comes hours later (a replay) is put at
``call_start + duration``. Not documented, and taken so: ``duration`` is the conversation; an inbound call that ended
as ``answered`` without ``internal`` was answered by a menu only, unless NOTIFY_ANSWER says otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, Outcome
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Answer, Context, Delivery, Rejected
from callkpi.sources.facts import (
    RANK_RECORD,
    Facts,
    Parser,
    end_is_last,
    form_or_json,
    pick,
    stop_other_rings,
)  # fmt: skip
from callkpi.sources.signed import SignedSource

#: ``disposition`` of NOTIFY_END and NOTIFY_OUT_END.
OUTCOMES = {
    "answered": Outcome.ANSWERED,
    "busy": Outcome.BUSY,
    "cancel": Outcome.ABANDONED,
    "no answer": Outcome.NO_ANSWER,
    "failed": Outcome.FAILED,
    "no money": Outcome.FAILED,
    "unallocated number": Outcome.FAILED,
    "no limit": Outcome.FAILED,
    "no day limit": Outcome.FAILED,
    "line limit": Outcome.FAILED,
    "no money, no limit": Outcome.FAILED,
}
#: What is signed, by event.
_SIGNED = {
    "NOTIFY_START": ("caller_id", "called_did", "call_start"),
    "NOTIFY_INTERNAL": ("caller_id", "called_did", "call_start"),
    "NOTIFY_IVR": ("caller_id", "called_did", "call_start"),
    "NOTIFY_END": ("caller_id", "called_did", "call_start"),
    "NOTIFY_ANSWER": ("caller_id", "destination", "call_start"),
    "NOTIFY_OUT_START": ("internal", "destination", "call_start"),
    "NOTIFY_OUT_END": ("internal", "destination", "call_start"),
    "NOTIFY_RECORD": ("pbx_call_id", "call_id_with_rec"),
}
#: An end that comes later than this after the start is history, not news.
_LIVE = timedelta(hours=6)
_ECHO = re.compile(r"[!-~]{1,200}")
_PART = re.compile(rb'name="([^"\r\n]{1,100})"[^\r\n]*\r?\n\r?\n(.*?)\r?\n--', re.DOTALL)


@dataclass(frozen=True, slots=True)
class ZadarmaSource(SignedSource):
    """A Zadarma account, which signs with its API secret."""

    SECRET_NAME: ClassVar[str] = "API secret"
    EXAMPLE: ClassVar[str] = "secrets = []  # the API secret"

    kind: Literal["zadarma"] = setting("zadarma", "what sends")


class Zadarma(base.SourceType):
    keys = ZadarmaSource
    proof_in_body = True
    media_type = "application/json"
    known_codes = frozenset(OUTCOMES)

    def decode(self, delivery: Delivery) -> Any:
        if delivery.content_type == "multipart/form-data":
            return [_multipart(delivery.body)]
        return form_or_json(delivery)

    def authentic(self, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
        if base.one_of(delivery.presented_token, (settings.token,)):
            return True
        if not isinstance(payload, list) or len(payload) != 1 or not isinstance(payload[0], dict):
            return False
        fields = _SIGNED.get(str(payload[0].get("event", "")), ("caller_id", "called_did", "call_start"))
        signed = "".join(str(payload[0].get(name) or "") for name in fields)
        return base.one_of(
            delivery.headers.get("Signature", ""),
            (_signature(secret, signed) for secret in config.as_kind(settings, ZadarmaSource).secrets if secret),
        )

    def greet(self, query: Mapping[str, str]) -> Answer | None:
        echo = query.get("zd_echo", "")
        return Answer(echo.encode(), "text/plain; charset=utf-8") if _ECHO.fullmatch(echo) else None

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        facts = Facts(base.require_object(item), context)
        name = facts.text("event").upper()
        parser = _PARSERS.get(name)
        if parser is None:
            raise Rejected(f"event: {base.shown(name)} is no notification; known: {', '.join(_PARSERS)}")
        return parser(facts)

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        return end_is_last(stop_other_rings(events))


def _signature(secret: str, signed: str) -> str:
    digest = hmac.new(secret.encode(), base.encoded(signed), hashlib.sha1).hexdigest()
    return base64.b64encode(digest.encode()).decode()


def _multipart(body: bytes) -> dict[str, str]:
    """Fields of a multipart form, whatever its boundary: the header's and the body's have been seen to differ."""
    try:
        found = {name.decode(): value.decode() for name, value in _PART.findall(body + b"\r\n--")}
    except UnicodeDecodeError as error:
        raise base.Malformed(f"the form is not UTF-8 at byte {error.start} of a field") from None
    if not found:
        raise base.Malformed("no field was found in the multipart form")
    return found


def _common(facts: Facts) -> dict[str, Any]:
    return {
        "direction": Direction.INBOUND,
        "customer": facts.text("caller_id"),
        "line": facts.text("called_did"),
    }


def _start(facts: Facts) -> Sequence[CallEvent]:
    at = facts.local("call_start")
    if at is None:
        raise Rejected("call_start: is missing; a call needs its start")
    return [facts.event(Kind.STARTED, facts.required("pbx_call_id"), at, rank=1, **_common(facts))]


def _ring(facts: Facts) -> Sequence[CallEvent]:
    agent = facts.required("internal")
    ring = facts.event(Kind.RINGING, facts.required("pbx_call_id"), agent=agent, leg=agent, **_common(facts))
    return [*_start(facts), ring]


def _answer(facts: Facts) -> Sequence[CallEvent]:
    agent = facts.text("internal") or facts.required("destination")
    facts.local("call_start")  # says no more than START did, but a clock that is years off is told
    return [facts.event(Kind.ANSWERED, facts.required("pbx_call_id"), agent=agent, leg=agent)]


def _end(facts: Facts) -> Sequence[CallEvent]:
    told = facts.required("disposition").lower()
    outcome: str = pick(OUTCOMES, told, Outcome.FAILED)
    if outcome == Outcome.ANSWERED and not facts.text("internal"):
        outcome = ""
    return _ended(facts, told, outcome, _common(facts))


def _out_start(facts: Facts) -> Sequence[CallEvent]:
    call_id, agent = facts.required("pbx_call_id"), facts.text("internal")
    at = facts.local("call_start")
    if at is None:
        raise Rejected("call_start: is missing; a call needs its start")
    started = facts.event(Kind.STARTED, call_id, at, rank=1, **_outbound(facts))
    return [started, facts.event(Kind.RINGING, call_id, at, agent=agent, leg=agent)] if agent else [started]


def _out_end(facts: Facts) -> Sequence[CallEvent]:
    told = facts.required("disposition").lower()
    outcome = pick(OUTCOMES, told, Outcome.FAILED)
    return _ended(facts, told, Outcome.NO_ANSWER if outcome is Outcome.ABANDONED else outcome, _outbound(facts))


def _outbound(facts: Facts) -> dict[str, Any]:
    return {
        "direction": Direction.OUTBOUND,
        "customer": facts.text("destination"),
        "line": facts.text("caller_id"),
    }


def _ended(facts: Facts, told: str, outcome: str, common: Mapping[str, Any]) -> Sequence[CallEvent]:
    call_id, start = facts.required("pbx_call_id"), facts.local("call_start")
    if start is None:
        raise Rejected("call_start: is missing; a call needs its start")
    duration = facts.milliseconds("duration") or 0
    now = facts.context.received_at
    earliest = start + timedelta(milliseconds=duration)
    at = None if earliest <= now <= start + _LIVE else earliest
    ended = facts.event(
        Kind.ENDED, call_id, at, rank=RANK_RECORD, cause=outcome, code=told, agent=facts.text("internal"),
        talk_ms=duration if outcome == Outcome.ANSWERED else None, **common,
    )  # fmt: skip
    return [facts.event(Kind.STARTED, call_id, start, rank=RANK_RECORD, **common), ended]


def _nothing(_facts: Facts) -> Sequence[CallEvent]:
    return []


_PARSERS: dict[str, Parser] = {
    "NOTIFY_START": _start,
    "NOTIFY_INTERNAL": _ring,
    "NOTIFY_ANSWER": _answer,
    "NOTIFY_END": _end,
    "NOTIFY_OUT_START": _out_start,
    "NOTIFY_OUT_END": _out_end,
    "NOTIFY_RECORD": _nothing,
    "NOTIFY_IVR": _nothing,
}
