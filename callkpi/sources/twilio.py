"""Twilio Voice: status callbacks of calls and of the legs that <Dial> makes, results of <Dial> and <Enqueue>, and
TaskRouter's event callbacks.

Signature, parameters and statuses: Twilio's documentation ("Validating requests", "Call resource", "TwiML Dial",
"TwiML Enqueue", "TaskRouter Events reference"). ``X-Twilio-Signature`` is base64 of HMAC-SHA1 over the address as
Twilio has it and the sorted parameters; behind a proxy that address is not ours, so ``public_url`` names it.

Twilio tells of legs, so what it says is journalled in its own terms and interpreted when the whole call is folded:
a call without ``ParentCallSid`` is the whole call, its children are rings of agents, or, where an agent's client
dials out, of the customer. Where TaskRouter tells of reservations, they are the rings, and children don't count again.
That Twilio answered is no proof that somebody spoke: an inbound call is answered when a leg or a reservation is. Of an
inbound call Twilio itself reports only the end; its start is the end less ``CallDuration``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from callkpi import config
from callkpi.calls.fold import in_order
from callkpi.calls.model import AGENT_STREAM, AgentState, CallEvent, Direction, Kind, LegEnd, Outcome, millis
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Answer, Context, Delivery, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts, doubted, form_or_json, is_unread, kept_milliseconds, say
from callkpi.sources.signed import SignedSource

STATUSES = frozenset({
    "queued", "initiated", "ringing", "in-progress", "answered", "completed", "busy", "failed", "no-answer", "canceled",
})  # fmt: skip
#: Statuses in which a leg is over without a conversation.
_NOT_TAKEN = {
    "busy": LegEnd.BUSY, "no-answer": LegEnd.NO_ANSWER, "failed": LegEnd.CANCELLED, "canceled": LegEnd.CANCELLED,
}  # fmt: skip
_OUTCOMES = {
    "busy": Outcome.BUSY, "no-answer": Outcome.NO_ANSWER, "failed": Outcome.FAILED, "canceled": Outcome.NO_ANSWER,
}  # fmt: skip
#: ``QueueResult`` of <Enqueue>: why the caller left.
_QUEUE_RESULTS = {
    "hangup": Outcome.ABANDONED, "leave": Outcome.EXITED, "queue-full": Outcome.OVERFLOWED,
    "redirected": Outcome.OVERFLOWED, "error": Outcome.FAILED, "system-error": Outcome.FAILED,
}  # fmt: skip
_RESERVATION_ENDS = {
    "rejected": LegEnd.BUSY, "timeout": LegEnd.NO_ANSWER, "canceled": LegEnd.CANCELLED, "rescinded": LegEnd.CANCELLED,
    "failed": LegEnd.CANCELLED,
}  # fmt: skip
_TASK_EVENTS = ("task.", "reservation.", "task-queue.", "worker.", "workflow.", "workspace.", "activity.")


@dataclass(frozen=True, slots=True)
class TwilioSource(SignedSource):
    """A Twilio account, which signs the address and the form with its auth token."""

    SECRET_NAME: ClassVar[str] = "auth token"
    EXAMPLE: ClassVar[str] = 'secrets = []  # the auth token\npublic_url = "https://your.host/hooks/twilio"'

    kind: Literal["twilio"] = setting("twilio", "what sends")
    public_url: str = setting("", "this door's address as Twilio has it, https://your.host/hooks/name")

    def own_problems(self, where: str) -> Iterator[str]:
        yield from SignedSource.own_problems(self, where)
        if not re.fullmatch(r"https?://[^/\s?#]+/[^\s?#]+", self.public_url):
            yield (
                f"{where}.public_url: must be this door's address as Twilio has it, without a query, "
                f"e.g. https://your.host/hooks/{where.partition('.')[2]}"
            )


class Twilio(base.SourceType):
    keys = TwilioSource
    proof_in_body = True
    acknowledgement = Answer(b'<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml")
    known_codes = STATUSES

    def decode(self, delivery: Delivery) -> Any:
        return form_or_json(delivery)

    def authentic(self, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
        if base.one_of(delivery.presented_token, (settings.token,)):
            return True
        shown = delivery.headers.get("X-Twilio-Signature", "")
        own = config.as_kind(settings, TwilioSource)
        signed = _signed(delivery, own.public_url)
        expected = [_signature(secret, text) for secret in own.secrets if secret for text in signed]
        return base.one_of(shown, expected)

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        facts = Facts(base.require_object(item), context)
        if event := facts.text("EventType"):
            return _task_router(facts, event)
        if facts.text("QueueResult", "DialCallStatus"):
            return [_result(facts)]
        status = facts.text("CallStatus").lower()
        if status not in STATUSES:
            raise Rejected(f"CallStatus: {base.shown(status)} is none of {', '.join(sorted(STATUSES))}")
        detail = {
            "sid": facts.required("CallSid"), "parent": facts.text("ParentCallSid"), "status": status,
            "from": facts.text("From"), "to": facts.text("To"), "direction": facts.text("Direction"),
            "duration": str((facts.milliseconds("CallDuration") or 0) // 1000) if status == "completed" else "",
        }  # fmt: skip
        return [_signal(facts, detail["parent"] or detail["sid"], _timestamp(facts), detail, code=status)]

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        signals = [e for e in in_order(events) if e.kind is Kind.SIGNAL]
        plain = [e for e in events if e.kind is not Kind.SIGNAL]
        unread = (is_unread(signal.detail.get(name, "")) for signal in signals for name in _LENGTHS)
        return doubted([*plain, *_Reading(signals).events()], unread) if signals else plain


# -- who sent it -----------------------------------------------------------------------------------------


def _signed(delivery: Delivery, public_url: str) -> list[str]:
    """The texts that Twilio may have signed: its address with and without the scheme's port, and the parameters."""
    try:
        query = urlsplit(delivery.target).query
    except ValueError:
        return []
    address = urlsplit(public_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    host = address.hostname or ""
    tail = f"{address.path}?{query}" if query else address.path
    urls = [f"{address.scheme}://{host}{tail}", f"{address.scheme}://{host}:{port}{tail}"]
    body_hash = dict(parse_qsl(query)).get("bodySHA256", "")
    if body_hash:
        fits = base.one_of(body_hash.lower(), (hashlib.sha256(delivery.body).hexdigest(),))
        return urls if fits else []
    try:
        pairs = parse_qsl(delivery.body.decode(), keep_blank_values=True, strict_parsing=False)
    except (UnicodeDecodeError, ValueError):
        return []
    values: dict[str, set[str]] = {}
    for name, value in pairs:
        values.setdefault(name, set()).add(value)
    parameters = "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    return [url + parameters for url in urls]


def _signature(secret: str, text: str) -> str:
    digest = hmac.new(secret.encode(), base.encoded(text), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


# -- what it says ----------------------------------------------------------------------------------------


def _timestamp(facts: Facts) -> datetime | None:
    """``Wed, 02 Nov 2026 19:01:53 +0000``; callbacks without it happened when they came."""
    text = facts.text("Timestamp")
    if not text:
        return None
    if base.is_unix(text):
        return facts.unix("Timestamp")
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        raise Rejected(f"Timestamp: {base.shown(text)} is no RFC 2822 time") from None
    return base.check_time(at if at.tzinfo else at.replace(tzinfo=UTC), "Timestamp", facts.context.received_at)


def _signal(facts: Facts, call_id: str, at: datetime | None, detail: Mapping[str, str], code: str = "") -> CallEvent:
    told = {key: value for key, value in detail.items() if value}
    return facts.event(Kind.SIGNAL, call_id, at, code=code, detail=told)


def _result(facts: Facts) -> CallEvent:
    """What the ``action`` address of <Dial> or <Enqueue> is told, forwarded by whoever answers Twilio there."""
    detail = {
        "sid": facts.required("CallSid"), "from": facts.text("From"), "to": facts.text("To"),
        "direction": facts.text("Direction"), "queue_result": facts.text("QueueResult").lower(),
        "queue": facts.text("QueueName", "Queue", "QueueSid"),
        "queue_seconds": str((facts.milliseconds("QueueTime") or 0) // 1000),
        "dial_status": facts.text("DialCallStatus").lower(), "dial_sid": facts.text("DialCallSid"),
        "dial_seconds": str((facts.milliseconds("DialCallDuration") or 0) // 1000),
    }  # fmt: skip
    return _signal(facts, facts.text("ParentCallSid") or detail["sid"], _timestamp(facts), detail)


def _task_router(facts: Facts, event: str) -> Sequence[CallEvent]:
    if not event.startswith(_TASK_EVENTS):
        raise Rejected(f"EventType: {base.shown(event)} is no event of TaskRouter")
    at = _milliseconds_stamp(facts) or _timestamp(facts)
    if event == "worker.activity.update":
        return [_worker(facts, at)]
    if not event.startswith(("task.", "reservation.", "task-queue.")):
        return []
    attributes = _attributes(facts)
    call_id = str(attributes.get("call_sid") or "")
    if not call_id:
        return []  # a task that is no call: a chat, an e-mail
    detail = {
        "task_event": event, "task": facts.text("TaskSid"), "reservation": facts.text("ReservationSid"),
        "worker": facts.text("WorkerName", "WorkerSid"), "queue": facts.text("TaskQueueName", "TaskQueueSid"),
        "reason": facts.text("TaskCanceledReason", "Reason"), "from": str(attributes.get("from") or ""),
        "to": str(attributes.get("called") or attributes.get("to") or ""),
        "direction": str(attributes.get("direction") or ""),
    }  # fmt: skip
    return [_signal(facts, call_id[:255], at, detail)]


def _milliseconds_stamp(facts: Facts) -> datetime | None:
    text = facts.text("TimestampMs")
    if base.whole(text) is None:
        return None
    return base.unix_part(text, 1000, "TimestampMs", facts.context.received_at)


def _attributes(facts: Facts) -> Mapping[str, Any]:
    text = facts.fields.get("TaskAttributes")
    if not text:
        return {}
    try:
        attributes = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise Rejected(f"TaskAttributes: not JSON: {base.shown(error)}") from None
    return attributes if isinstance(attributes, dict) else {}


def _worker(facts: Facts, at: datetime | None) -> CallEvent:
    agent, activity = facts.required("WorkerName"), facts.text("WorkerActivityName")
    states = {
        "available": AgentState.AVAILABLE, "idle": AgentState.AVAILABLE, "offline": AgentState.OFFLINE,
        "busy": AgentState.BUSY, "reserved": AgentState.BUSY, "wrapup": AgentState.WRAP_UP,
    }  # fmt: skip
    # Activities have any name that the workspace gives them; what is none of ours is a pause with that reason.
    state = states.get(re.sub("[^a-z]", "", activity.lower()), AgentState.PAUSED)
    reason = activity if state is AgentState.PAUSED else ""
    return facts.event(Kind.AGENT_STATE, AGENT_STREAM + agent, at, agent=agent, state=state, reason=reason)


# -- a whole call ----------------------------------------------------------------------------------------


_LENGTHS = ("duration", "dial_seconds", "queue_seconds")


def _length(signal: CallEvent, name: str) -> timedelta:
    return timedelta(milliseconds=kept_milliseconds(signal.detail.get(name, "")) or 0)


def _is_agent(address: str) -> bool:
    return address.startswith(("client:", "sip:", "sips:"))


def _name(address: str) -> str:
    """``client:alice`` as alice, ``sip:alice@acme.sip.twilio.com`` as alice; a number as it is."""
    return address.partition(":")[2].partition("@")[0] if _is_agent(address) else address


class _Reading:
    """One call's signals, read as canonical events."""

    def __init__(self, signals: Sequence[CallEvent]) -> None:
        self.tasks = [s for s in signals if "task_event" in s.detail]
        self.results = [s for s in signals if "queue_result" in s.detail or "dial_status" in s.detail]
        statuses = [s for s in signals if "status" in s.detail]
        self.root = [s for s in statuses if "parent" not in s.detail]
        self.children: dict[str, list[CallEvent]] = {}
        for signal in statuses:
            if "parent" in signal.detail:
                self.children.setdefault(signal.detail["sid"], []).append(signal)
        self.reserved = any(s.detail.get("reservation") for s in self.tasks)
        self.about = self._about([*self.root, *self.results, *self.tasks])

    def events(self) -> list[CallEvent]:
        result = self._root_events() + self._task_events() + self._queue_events()
        if not self.reserved:
            for leg in self.children.values():
                result += self._leg_events(leg)
            result += self._dial_events()
        return result + self._end(result)

    def _about(self, signals: Sequence[CallEvent]) -> dict[str, Any]:
        """Direction, customer and line, and whose call it is, as the whole call tells."""
        told = next((s.detail for s in signals if "direction" in s.detail or "from" in s.detail), {})
        sender, receiver, direction = told.get("from", ""), told.get("to", ""), told.get("direction", "")
        children = [leg[0].detail for leg in self.children.values()]
        self.agent, self.agent_first = "", False
        if not told:
            child = children[0] if children else {}
            inbound = _is_agent(child.get("to", ""))
            return {
                "direction": Direction.INBOUND if inbound else Direction.UNKNOWN,
                "customer": child.get("from", "") if inbound else child.get("to", ""),
            }
        if direction == "inbound" and not _is_agent(sender):
            return {"direction": Direction.INBOUND, "customer": sender, "line": receiver}
        dialled = next((c.get("to", "") for c in children if not _is_agent(c.get("to", ""))), "")
        if direction == "inbound" or _is_agent(receiver):
            self.agent, self.agent_first = _name(sender if direction == "inbound" else receiver), True
            customer = dialled or (receiver if direction == "inbound" else "")
            line = next((c.get("from", "") for c in children), "" if direction == "inbound" else sender)
            if _is_agent(customer):
                return {"direction": Direction.INTERNAL, "customer": _name(customer), "line": line}
            return {"direction": Direction.OUTBOUND, "customer": customer, "line": line}
        if direction.startswith("outbound"):
            return {"direction": Direction.OUTBOUND, "customer": receiver, "line": sender}
        return {"direction": Direction.UNKNOWN, "customer": sender, "line": receiver}

    def _root_events(self) -> list[CallEvent]:
        result = []
        for signal in self.root:
            begin = signal.at - _length(signal, "duration")
            result.append(say(replace(signal, at=begin), Kind.STARTED, **self.about))
        single = self.about["direction"] is Direction.OUTBOUND and not self.children and not self.agent_first
        if single and not self.reserved:
            # A call that an application makes to a customer: the customer's phone is the only leg.
            result += self._leg_events(self.root)
        return result

    def _leg_events(self, leg: Sequence[CallEvent]) -> list[CallEvent]:
        result: list[CallEvent] = []
        to = leg[0].detail.get("to", "")
        outbound = self.about["direction"] in (Direction.OUTBOUND, Direction.INTERNAL)
        agent = self.agent or (_name(to) if _is_agent(to) or not outbound else "")
        common = {"agent": agent, "leg": leg[0].detail["sid"]}
        if not self.root:
            result.append(say(leg[0], Kind.STARTED, **self.about))
        for signal in leg:
            status = signal.detail["status"]
            if status == "ringing":
                result.append(say(signal, Kind.RINGING, **common))
            elif status in ("in-progress", "answered"):
                result.append(say(signal, Kind.ANSWERED, **common))
            elif status == "completed":
                length = _length(signal, "duration")
                talk, answered = round(1000 * length.total_seconds()), replace(signal, at=signal.at - length)
                result += [say(answered, Kind.ANSWERED, **common), say(signal, Kind.ENDED, talk_ms=talk, **common)]
            elif status in _NOT_TAKEN:
                result.append(say(signal, Kind.NOT_TAKEN, cause=_NOT_TAKEN[status], **common))
        return result

    def _dial_events(self) -> list[CallEvent]:
        """Legs of which only the result of <Dial> tells."""
        result = []
        for signal in self.results:
            sid, status = signal.detail.get("dial_sid", ""), signal.detail.get("dial_status", "")
            if status not in ("completed", "answered") or not sid or sid in self.children:
                continue
            talk = _length(signal, "dial_seconds")
            common = {"leg": sid, "agent": self.agent}
            result += [
                say(replace(signal, at=signal.at - talk), Kind.ANSWERED, **common),
                say(signal, Kind.ENDED, talk_ms=millis(signal.at, signal.at - talk), **common),
            ]
        return result

    def _queue_events(self) -> list[CallEvent]:
        """<Enqueue>'s result: told when the caller has left, so the stay is known only then."""
        if self.tasks:
            return []
        result = []
        for signal in self.results:
            if "queue_result" not in signal.detail:
                continue
            told, outcome = signal.detail, signal.detail["queue_result"]
            stay = {"queue": told.get("queue", "queue"), "entry": f"{told['sid']}/{told.get('queue', '')}"}
            wait = _length(signal, "queue_seconds")
            bridged = outcome in ("bridged", "bridging-in-process")
            left = self._first_answer(signal.at) if bridged else signal.at
            result.append(say(replace(signal, at=left - wait), Kind.QUEUED, **self.about, **stay))
            if not bridged:
                cause = _QUEUE_RESULTS.get(outcome, Outcome.EXITED)
                result.append(say(signal, Kind.LEFT_QUEUE, cause=cause, wait_ms=millis(left, left - wait), **stay))
        return result

    def _first_answer(self, otherwise: datetime) -> datetime:
        """When the first agent of the call answered: the result of a bridged caller comes after the conversation."""
        spoke = [
            s for leg in self.children.values() for s in leg
            if s.detail["status"] in ("in-progress", "answered", "completed")
        ]  # fmt: skip
        times = [s.at - _length(s, "duration") for s in spoke]
        return min(times, default=otherwise)

    def _task_events(self) -> list[CallEvent]:
        result: list[CallEvent] = []
        wrapping: dict[str, datetime] = {}
        for signal in self.tasks:
            told, (subject, _, verb) = signal.detail, signal.detail["task_event"].partition(".")
            stay = {"queue": told.get("queue", ""), "entry": f"{told.get('task', '')}/{told.get('queue', '')}"}
            leg = {"agent": told.get("worker", ""), "leg": told.get("reservation", ""), **stay}
            if subject == "task" and verb == "created":
                result.append(say(signal, Kind.STARTED, **self.about))
            elif subject == "task-queue" and verb == "entered" and stay["queue"]:
                result.append(say(signal, Kind.QUEUED, **stay))
            elif subject == "task" and verb == "canceled" and stay["queue"]:
                gave_up = "hung" in told.get("reason", "").lower() or not told.get("reason")
                cause = Outcome.ABANDONED if gave_up else Outcome.TIMED_OUT
                result.append(say(signal, Kind.LEFT_QUEUE, cause=cause, **stay))
            elif subject == "reservation" and leg["leg"]:
                result += self._reservation(signal, verb, leg, wrapping)
        return result

    def _reservation(
        self, signal: CallEvent, verb: str, leg: Mapping[str, Any], wrapping: dict[str, datetime]
    ) -> list[CallEvent]:
        if verb == "created":
            return [say(signal, Kind.RINGING, **leg)]
        if verb == "accepted":
            return [say(signal, Kind.ANSWERED, **leg)]
        if verb in _RESERVATION_ENDS:
            return [say(signal, Kind.NOT_TAKEN, cause=_RESERVATION_ENDS[verb], **leg)]
        if verb == "wrapup":
            wrapping[leg["leg"]] = signal.at
            return [say(signal, Kind.ENDED, **leg)]
        if verb == "completed":
            if leg["leg"] not in wrapping:
                return [say(signal, Kind.ENDED, **leg)]
            wrap = millis(signal.at, wrapping[leg["leg"]])
            return [say(signal, Kind.WRAPPED, agent=leg["agent"], wrap_ms=wrap)]
        return []

    def _end(self, told: Iterable[CallEvent]) -> list[CallEvent]:
        ends = [s for s in self.root if s.detail["status"] in ("completed", *_NOT_TAKEN)]
        if not ends:
            return []
        signal, status = ends[-1], ends[-1].detail["status"]
        during = [e.at for e in told if e.kind not in (Kind.WRAPPED, Kind.STARTED)]
        at = max([signal.at, *during])
        answered = any(e.kind is Kind.ANSWERED for e in told)
        cause = "" if answered else self._cause(status)
        return [say(replace(signal, at=at), Kind.ENDED, rank=RANK_RECORD, code=status, cause=cause, **self.about)]

    def _cause(self, status: str) -> str:
        legs = [leg[-1].detail["status"] for leg in self.children.values()]
        dialled = [s.detail["dial_status"] for s in self.results if "dial_status" in s.detail]
        last = next((end for end in reversed([status, *dialled, *legs]) if end in _OUTCOMES), "")
        if last == "canceled" and self.about["direction"] is Direction.INBOUND:
            return Outcome.ABANDONED  # the caller hung up while phones rang
        return _OUTCOMES.get(last, "")
