"""Mango Office virtual PBX: API Realtime, ``/events/call`` while a call goes and ``/events/summary`` at its end.

Fields, states, examples and the classes of ``disconnect_reason``: "API Mango Office" 1.9 (vendor's PDF), sections
3.1.2, 3.1.6 and the examples of chapter 5; the single reasons are those that public clients list from its appendix.
A form with ``vpbx_api_key``, ``json`` and ``sign`` = sha256(key + json + salt). Mango adds ``/events/call`` and so on
to the address that it is given; which event it is is read from the event itself.

Times are Unix seconds. The document calls them "UTC+3"; they are taken as what Unix seconds are, UTC.
``entry_id`` is the call, ``call_id`` one leg of it. Mango tells of legs, so the events are journalled in its own terms
and interpreted when the whole call is folded. The end is the summary: without ``/events/summary`` calls expire.
``entry_result`` is not used: the vendor's own example has 1 for a call that nobody answered; ``talk_time`` is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar, Literal

from callkpi import config
from callkpi.calls.fold import in_order
from callkpi.calls.model import CallEvent, Direction, Kind, LegEnd, Outcome, from_unix, millis
from callkpi.config import Secret, secret_setting, setting
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts, say
from callkpi.sources.forms import parse_form
from callkpi.sources.signed import SignedSource

#: ``disconnect_reason`` of a call that was not answered.
OUTCOMES = {
    "1100": Outcome.NO_ANSWER, "1110": Outcome.ABANDONED, "1111": Outcome.NO_ANSWER, "1120": Outcome.REJECTED,
    "1121": Outcome.BUSY, "1122": Outcome.REJECTED, "1123": Outcome.BUSY, "1124": Outcome.NO_ANSWER,
    "1130": Outcome.FAILED, "1131": Outcome.NO_ANSWER, "1132": Outcome.FAILED, "1133": Outcome.FAILED,
    "1134": Outcome.FAILED, "1140": Outcome.FAILED, "1150": Outcome.REJECTED, "1151": Outcome.REJECTED,
    "1152": Outcome.REJECTED, "1160": Outcome.NO_ANSWER, "1161": Outcome.FAILED, "1162": Outcome.OVERFLOWED,
    "1163": Outcome.TIMED_OUT, "1164": Outcome.LEFT_EMPTY, "1170": Outcome.NO_ANSWER, "1171": Outcome.FAILED,
    "1180": Outcome.NO_ANSWER, "1181": Outcome.NO_ANSWER, "1182": Outcome.NO_ANSWER, "1183": Outcome.NO_ANSWER,
    "1190": Outcome.NO_ANSWER, "1191": Outcome.NO_ANSWER, "1192": Outcome.NO_ANSWER,
}  # fmt: skip
#: The other classes: limits of billing, a wrong number, not reachable now, overload and faults.
_CLASSES = {"2": Outcome.FAILED, "3": Outcome.FAILED, "4": Outcome.NO_ANSWER, "5": Outcome.FAILED}
_KNOWN = {
    str(code)
    for code in (*range(2000, 3000), *range(3200, 3300), *range(4200, 4300), 5001, 5003)
} | {*OUTCOMES, "0"}  # fmt: skip
#: Why a stay in a queue is over although nobody answered.
_LEFT = {
    "1110": Outcome.ABANDONED, "1162": Outcome.OVERFLOWED, "1163": Outcome.TIMED_OUT, "1164": Outcome.LEFT_EMPTY,
}  # fmt: skip
#: Why one phone stopped ringing; anything else: others stopped it.
_NOT_TAKEN = {"1111": LegEnd.NO_ANSWER, "1121": LegEnd.BUSY, "1122": LegEnd.NO_ANSWER, "1123": LegEnd.BUSY}
_STATES = ("Appeared", "Connected", "OnHold", "Disconnected")
_DIRECTIONS = {"0": Direction.INTERNAL, "1": Direction.INBOUND, "2": Direction.OUTBOUND}


@dataclass(frozen=True, slots=True)
class _Signed:
    """One delivery as Mango sends it."""

    api_key: str
    text: str
    sign: str


@dataclass(frozen=True, slots=True)
class MangoSource(SignedSource):
    """A Mango Office VPBX, which signs with its key (salt)."""

    SECRET_NAME: ClassVar[str] = "key of the signature"
    HINT: ClassVar[str] = (
        "-- A cloud PBX, here Mango Office: it sends each call to https://YOUR.HOST/hooks/mango. Other kinds:\n"
        "   zadarma, megafon, uis, binotel, onlinepbx, sipuni, twilio, threecx; most have a token alone."
    )
    EXAMPLE: ClassVar[str] = 'api_key = ""  # the code of the VPBX\nsecrets = []  # its key'

    kind: Literal["mango"] = setting("mango", "what sends")
    api_key: Secret = secret_setting("", "the code of your VPBX (vpbx_api_key)")

    def own_problems(self, where: str) -> Iterator[str]:
        yield from SignedSource.own_problems(self, where)
        if not self.api_key:
            yield f"{where}.api_key: is required; write the code of your VPBX that Mango shows"


class Mango(base.SourceType):
    keys = MangoSource
    proof_in_body = True
    has_paths = True
    known_codes = frozenset(_KNOWN)

    def decode(self, delivery: Delivery) -> Any:
        if delivery.body.lstrip()[:1] in (b"{", b"["):
            return base.decode_json_or_lines(delivery.body)
        form = parse_form(delivery.body)
        told = {name: form.get(name, "") for name in ("vpbx_api_key", "json", "sign")}
        if not told["json"] or any(isinstance(value, dict) for value in told.values()):
            raise Malformed("expected a form with vpbx_api_key, sign and json")
        return _Signed(told["vpbx_api_key"], told["json"], told["sign"])

    def authentic(self, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
        if base.one_of(delivery.presented_token, (settings.token,)):
            return True
        own = config.as_kind(settings, MangoSource)
        if not isinstance(payload, _Signed) or not base.one_of(payload.api_key, (own.api_key,)):
            return False
        expected = [
            hashlib.sha256(base.encoded(f"{payload.api_key}{payload.text}{salt}")).hexdigest()
            for salt in own.secrets if salt
        ]  # fmt: skip
        return base.one_of(payload.sign.lower(), expected)

    def parse(self, payload: Any, context: Context) -> base.Parsed:
        return super().parse(_items(payload.text) if isinstance(payload, _Signed) else payload, context)

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        raw = base.require_object(item)
        facts = Facts(raw, context)
        if "call_state" in raw:
            return [_leg_signal(facts)]
        if "entry_result" in raw or "call_direction" in raw:
            return [_summary_signal(facts)]
        if raw.keys() & {"recording_state", "recording_id", "dtmf", "reason", "command_id", "key", "product_id"}:
            return []
        raise Rejected("no call_state and no entry_result: neither an event of a call nor its summary")

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        signals = [e for e in in_order(events) if e.kind is Kind.SIGNAL]
        plain = [e for e in events if e.kind is not Kind.SIGNAL]
        return [*plain, *_Reading(signals).events()] if signals else plain


def _items(text: str) -> list[Any]:
    try:
        return base.decode_json_or_lines(text.encode())
    except Malformed as error:
        return [base.Broken(text, str(error))]


def _leg_signal(facts: Facts) -> CallEvent:
    state = facts.text("call_state")
    if state not in _STATES:
        raise Rejected(f"call_state: {base.shown(state)} is none of {', '.join(_STATES)}")
    at = facts.unix("timestamp")
    if at is None:
        raise Rejected("timestamp: is missing")
    seq = facts.text("seq") or "0"
    if base.whole(seq) is None:
        raise Rejected(f"seq: {base.shown(seq)} is no number")
    sender, receiver = facts.nested("from"), facts.nested("to")
    moved = (side.fields.get("was_transferred") in (True, 1, "true", "1") for side in (sender, receiver))
    detail = {
        "leg": facts.required("call_id"), "seq": seq.zfill(9), "state": state, "location": facts.text("location"),
        "from_extension": sender.text("extension"), "from_number": sender.text("number"),
        "taken_from": sender.text("taken_from_call_id"), "to_extension": receiver.text("extension"),
        "to_number": receiver.text("number"), "line": receiver.text("line_number"), "group": receiver.text("acd_group"),
        "reason": facts.text("disconnect_reason"), "moved": "1" if any(moved) else "",
    }  # fmt: skip
    return _signal(facts, at, detail)


def _summary_signal(facts: Facts) -> CallEvent:
    created, ended = facts.unix("create_time"), facts.unix("end_time")
    if created is None or ended is None:
        raise Rejected("create_time, end_time: are missing; a summary needs both")
    talk = facts.unix("talk_time")
    sender, receiver = facts.nested("from"), facts.nested("to")
    detail = {
        "summary": "1", "direction": facts.text("call_direction"), "created": str(created.timestamp()),
        "talk": str(talk.timestamp()) if talk else "", "reason": facts.text("disconnect_reason"),
        "from_extension": sender.text("extension"), "from_number": sender.text("number"),
        "to_extension": receiver.text("extension"), "to_number": receiver.text("number"),
        "line": facts.text("line_number"),
    }  # fmt: skip
    return _signal(facts, max(ended, created), detail)


def _signal(facts: Facts, at: datetime, detail: Mapping[str, str]) -> CallEvent:
    told = {key: value for key, value in detail.items() if value}
    return facts.event(Kind.SIGNAL, facts.required("entry_id"), at, code=detail["reason"], detail=told)


def _outcome(reason: str) -> Outcome:
    return OUTCOMES.get(reason) or _CLASSES.get(reason[:1], Outcome.FAILED)


class _Reading:
    """One call's signals, read as canonical events."""

    def __init__(self, signals: Sequence[CallEvent]) -> None:
        summaries = [s for s in signals if "summary" in s.detail]
        self.summary = summaries[-1] if summaries else None
        told = [s for s in signals if "summary" not in s.detail]
        self.legs: dict[str, list[CallEvent]] = {}
        for signal in sorted(told, key=lambda s: (s.detail["leg"], s.detail["seq"], s.order)):
            self.legs.setdefault(signal.detail["leg"], []).append(signal)
        firsts = [leg[0] for leg in self.legs.values()]
        self.first = min(firsts, key=lambda s: (s.at, s.detail["leg"])) if firsts else None
        self.queues = sorted((s for s in firsts if s.detail.get("location") == "queue"), key=lambda s: s.order)
        self.direction = self._direction()

    def events(self) -> list[CallEvent]:
        result = self._start()
        for leg in self.legs.values():
            location = leg[0].detail.get("location", "abonent")
            if location == "queue":
                result += self._stay(leg)
            elif location != "ivr":
                result += self._conversation(leg)
        result += self._transfers(result)
        answered = {e.entry for e in result if e.kind is Kind.ANSWERED and e.entry}
        result = [e for e in result if not (e.kind is Kind.LEFT_QUEUE and e.entry in answered)]
        return result + self._end(result)

    def _direction(self) -> Direction:
        if self.summary is not None:
            return _DIRECTIONS.get(self.summary.detail.get("direction", ""), Direction.UNKNOWN)
        if self.first is None or "from_extension" not in self.first.detail:
            return Direction.INBOUND
        return Direction.INTERNAL if "to_extension" in self.first.detail else Direction.OUTBOUND

    def _start(self) -> list[CallEvent]:
        if self.first is None:
            return []
        told = self.first.detail
        customer = told.get("from_number", "") if self.direction is Direction.INBOUND else told.get("to_number", "")
        return [say(self.first, Kind.STARTED, rank=1, direction=self.direction, customer=customer, line=_line(told))]

    def _stay(self, leg: Sequence[CallEvent]) -> list[CallEvent]:
        first, told = leg[0], leg[0].detail
        queue = told.get("group") or told.get("to_extension") or told.get("to_number") or "group"
        common = {"queue": queue, "entry": told["leg"]}
        result = [say(first, Kind.QUEUED, **common)]
        end = next((s for s in leg if s.detail["state"] == "Disconnected"), None)
        if end is not None:
            reason = end.detail.get("reason", "")
            moved_on = any(other.at >= end.at for other in self.queues if other is not first)
            cause = _LEFT.get(reason) or (Outcome.OVERFLOWED if moved_on else self._unanswered())
            if cause:
                result.append(say(end, Kind.LEFT_QUEUE, cause=cause, **common))
        return result

    def _unanswered(self) -> str:
        """What the summary says of a call that nobody answered; "" while it is not there."""
        if self.summary is None or self.summary.detail.get("talk"):
            return ""
        return _outcome(self.summary.detail.get("reason", ""))

    def _conversation(self, leg: Sequence[CallEvent]) -> list[CallEvent]:
        result: list[CallEvent] = []
        answered = held = False
        for signal in leg:
            if self._is_consultation(signal):
                continue
            common = self._about_leg(signal)
            state = signal.detail["state"]
            if state == "Appeared":
                result.append(say(signal, Kind.RINGING, **common))
            elif state == "Connected":
                result.append(say(signal, Kind.RESUMED if answered else Kind.ANSWERED, **common))
                answered, held = True, False
            elif state == "OnHold" and answered and not held:
                result.append(say(signal, Kind.HELD, **common))
                held = True
            elif state == "Disconnected":
                result.append(self._leg_end(signal, answered, common))
        return result

    def _is_consultation(self, signal: CallEvent) -> bool:
        """Two agents speak, the customer waits on hold: no conversation with the customer."""
        told = signal.detail
        between_agents = "from_extension" in told and "to_extension" in told
        return between_agents and self.direction is not Direction.INTERNAL and "taken_from" in told

    def _about_leg(self, signal: CallEvent) -> dict[str, Any]:
        told = signal.detail
        if self.direction is Direction.OUTBOUND and "from_extension" in told:
            agent = told["from_extension"]
        else:
            agent = told.get("to_extension") or told.get("to_number", "")
        return {"agent": agent, "leg": told["leg"], **self._entry_of(signal)}

    def _entry_of(self, signal: CallEvent) -> dict[str, str]:
        """The stay in a queue that a leg serves: the one it was taken from, else the newest of its group."""
        taken, group = signal.detail.get("taken_from", ""), signal.detail.get("group", "")
        for stay in reversed(self.queues):
            if stay.detail["leg"] == taken or (group and stay.detail.get("group") == group and stay.at <= signal.at):
                return {"entry": stay.detail["leg"]}
        return {}

    def _leg_end(self, signal: CallEvent, answered: bool, common: Mapping[str, Any]) -> CallEvent:
        reason = signal.detail.get("reason", "")
        if answered:
            return say(signal, Kind.ENDED, hangup_by=_hung_up(reason, self.direction), **common)
        return say(signal, Kind.NOT_TAKEN, cause=_NOT_TAKEN.get(reason, LegEnd.CANCELLED), **common)

    def _transfers(self, told: Iterable[CallEvent]) -> list[CallEvent]:
        answered = {e.leg: e for e in told if e.kind is Kind.ANSWERED}
        result = []
        for leg, signals in self.legs.items():
            source = next((s.detail["taken_from"] for s in signals if "taken_from" in s.detail), "")
            if leg in answered and source in answered:
                result.append(say(answered[leg], Kind.TRANSFERRED, agent=answered[source].agent, leg=source))
            moved = next((s for s in signals if s.detail.get("moved")), None)
            if moved is not None and leg in answered:
                result.append(say(moved, Kind.TRANSFERRED, agent=answered[leg].agent, leg=leg))
        return result

    def _end(self, told: Sequence[CallEvent]) -> list[CallEvent]:
        if self.summary is None:
            return []
        detail, reason = self.summary.detail, self.summary.detail.get("reason", "")
        created = _kept_unix(detail.get("created", "")) or self.summary.at
        talk = _kept_unix(detail.get("talk", ""))
        outbound = self.direction is Direction.OUTBOUND
        about: dict[str, Any] = {
            "rank": RANK_RECORD, "direction": self.direction, "line": _line(detail),
            "customer": detail.get("to_number" if outbound else "from_number", ""),
        }  # fmt: skip
        agent = detail.get("from_extension" if outbound else "to_extension", "")
        last = max([self.summary.at, *(e.at for e in told)])
        ended = say(
            replace(self.summary, at=last), Kind.ENDED, code=reason, hangup_by=_hung_up(reason, self.direction),
            cause=Outcome.ANSWERED if talk else _outcome(reason), agent=agent if talk or outbound else "",
            talk_ms=millis(self.summary.at, talk) if talk else None,
            wait_ms=millis(talk, created) if talk and not self.queues else None, **about,
        )  # fmt: skip
        return [say(replace(self.summary, at=created), Kind.STARTED, **about), ended]


def _kept_unix(text: str) -> datetime | None:
    """A time as it was journalled; None for what is none."""
    try:
        return from_unix(float(text))
    except (ValueError, OverflowError, OSError):
        return None


def _line(detail: Mapping[str, str]) -> str:
    """Our number; of a SIP address the part before the @."""
    return detail.get("line", "").removeprefix("sip:").partition("@")[0]


def _hung_up(reason: str, direction: Direction) -> str:
    """1110: the caller hung up, 1120: the called one."""
    caller, called = ("agent", "customer") if direction is Direction.OUTBOUND else ("customer", "agent")
    return {"1110": caller, "1120": called}.get(reason, "")
