"""What every source is: decode a delivery, say who sent it, parse it into events, interpret a whole call.

A source does no I/O. It never raises for bad content inside a delivery: what it can't parse goes to
``Parsed.rejected`` with the reason, and is kept for a replay after a fix.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson
import structlog

from callkpi import config
from callkpi.calls.model import CallEvent, from_unix
from callkpi.calls.phone import mask
from callkpi.sources.parts import PART_PAYLOADS, Parts, of_json

log = structlog.get_logger()

#: What is outside of this no clock shows, however wrong it is; and it leaves room to add lengths to it.
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
FUTURE_ALLOWED = timedelta(days=36_525)
#: Deeper than this nobody nests an event.
MAX_DEPTH = 32
#: Digits of the longest number that is read as a whole one.
MAX_DIGITS = 300
#: What a refusal may say at the most: it is shown, kept and logged.
MAX_REASON = 500
#: How the reason begins of what met a fault of ours.
UNFORESEEN = "unforeseen: "


class Malformed(Exception):
    """The body is not in the format that its source speaks. The text says what and where."""


class Rejected(Exception):
    """One payload inside a delivery that can't be understood. The text says what and where."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to a source's door."""

    body: bytes
    content_type: str
    presented_token: str  #: from the Authorization header or ``?token=``
    received_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)  #: by name in any case, as aiohttp gives them
    target: str = ""  #: path and query as the sender wrote them


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender wants to hear instead of callkpi's own JSON."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Context:
    """Whose events these are."""

    source: str
    tenant: str
    settings: config.Source
    received_at: datetime


@dataclass(slots=True)
class Parsed:
    """What one delivery holds."""

    events: list[CallEvent] = field(default_factory=list)
    ignored: int = 0  #: known to carry nothing that callkpi counts
    rejected: list[tuple[bytes, str]] = field(default_factory=list)  #: raw payload, reason
    notes: list[str] = field(default_factory=list)  #: what was guessed, for the log


class SourceType:
    """The interface of a source. Subclasses override what differs."""

    #: The settings of this kind.
    keys: type[config.Source] = config.Source

    #: Content type under which a rejected payload is replayed.
    media_type = "application/json"
    #: Answer to a delivery of which something was taken; None: how many events it held.
    acknowledgement: Answer | None = None
    #: Whether the sender adds a path of its own to the door's address.
    has_paths = False
    #: Whether the sender may send what it has to say in the query of a GET.
    takes_queries = False
    #: Whether a delivery may prove who sent it by what is in its body: a token there, or a signature over it.
    proof_in_body = False
    #: Codes (:attr:`CallEvent.code`) of the source's reference; None: it has no such list. Others are counted.
    known_codes: frozenset[str] | None = None

    def decode(self, delivery: Delivery) -> Any:
        """The body as this source's data. Raises Malformed."""
        return decode_json_or_lines(delivery.body)

    def parts(self, body: bytes, most: int = PART_PAYLOADS) -> Parts:
        """A big body in parts that are deliveries like it, each of *most* payloads or less."""
        return of_json(body, most)

    def token(self, delivery: Delivery, payload: Any) -> str:
        """The secret that the sender shows."""
        return delivery.presented_token

    def accepted_tokens(self, settings: config.Source) -> Sequence[str]:
        return (settings.token,)

    def authentic(self, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
        """Whether the sender proved who it is. *payload* is None where the body could not be decoded."""
        shown = delivery.presented_token if payload is None else self.token(delivery, payload)
        return authenticated(self, settings, shown)

    def greet(self, query: Mapping[str, str]) -> Answer | None:
        """Answer to a GET by which a sender checks the address; None: this source has no such check."""
        return None

    def crm_items(self, payload: Any) -> Sequence[tuple[int, bool]]:
        """Items of the CRM that a delivery tells of: number, and whether it is new. They may be our own echo."""
        return ()

    def parse(self, payload: Any, context: Context) -> Parsed:
        """The events of a decoded delivery. A fault of ours in one payload costs that payload, not the others."""
        parsed = Parsed()
        for item in payload:
            try:
                events = self.parse_one(item, context)
            except Rejected as reason:
                parsed.rejected.append((dump(item), clean(str(reason))[:MAX_REASON]))
                continue
            except Exception as error:
                parsed.rejected.append((dump(item), unforeseen("parse", context.source, error)))
                continue
            parsed.events.extend(events)
            parsed.ignored += not events
        return parsed

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        """The events of one payload; none where it carries nothing to count. Raises Rejected."""
        raise Rejected("this source has no parser")

    def asks_about(self, events: Sequence[CallEvent], settings: config.Source) -> Sequence[tuple[str, datetime]]:
        """Queues and moments: what their members were doing then, the call alone does not tell."""
        return ()

    #: Whether a restart of the source ends what went on before it: see :data:`callkpi.calls.model.RESTART_STREAM`.
    ends_at_restart = False

    def marks(self, events: Sequence[CallEvent]) -> Mapping[str, datetime]:
        """Streams of marks on which it depends whether others are of this call, with the time about which the mark is.

        Their names begin with :data:`callkpi.calls.model.MARK_STREAM`.
        """
        return {}

    def kin(self, events: Sequence[CallEvent]) -> Collection[str]:
        """Ids of calls that may be one with the call of *events*, which are its own and the marks that it asked for."""
        return ()

    def is_one(self, events: Sequence[CallEvent], other: Sequence[CallEvent], settings: config.Source) -> bool:
        """Whether two calls of which one named the other as kin are one call."""
        return False

    def known_as(self, events: Sequence[CallEvent]) -> Collection[str]:
        """Ids besides the call's own by which another system may name this call."""
        return ()

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        """All events of one call in canonical kinds, from the whole call. Must not depend on the order.

        *members*: the last states of the members of the queues that it asks about, at the moments; and the first
        restart after the call's last event, where restarts end calls.
        """
        return events


def decoded(source_type: SourceType, delivery: Delivery) -> Any:
    """The body as *source_type* reads it. Raises Malformed, whatever it meets in the body."""
    try:
        return source_type.decode(delivery)
    except Malformed:
        raise
    except Exception as error:
        raise Malformed(unforeseen("decode", "", error)) from None


def proven(source_type: SourceType, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
    """Whether the sender proved who it is; a proof that can't even be read is none."""
    try:
        return source_type.authentic(delivery, payload, settings)
    except Exception as error:
        unforeseen("authentic", "", error)
        return False


def unforeseen(step: str, source: str, error: Exception) -> str:
    """Log a fault of ours that a payload has met, and return the reason under which the payload is kept."""
    log.error("source.unforeseen", step=step, source=source, exc_info=error)
    return f"{UNFORESEEN}{type(error).__name__}; the daemon's log says more"


def authenticated(source_type: SourceType, settings: config.Source, shown: str) -> bool:
    """Compare with every accepted token in constant time; no token set means nobody gets in."""
    return one_of(shown, source_type.accepted_tokens(settings))


def one_of(shown: str, accepted: Iterable[str]) -> bool:
    """Whether *shown* is one of *accepted*, in a time that tells nothing; an empty one accepts nobody."""
    shown_bytes = encoded(shown)
    matches = [hmac.compare_digest(shown_bytes, token.encode()) for token in accepted if token]
    return any(matches)


def encoded(text: str) -> bytes:
    """*text* as bytes, whatever is in it: halves of characters as they are."""
    return text.encode("utf-8", "surrogatepass")


def decode_json_or_lines(body: bytes, parse_float: Callable[[str], Any] = float) -> list[Any]:
    """One JSON object, an array of them, or JSON Lines. Raises Malformed with the line.

    One element of an array that is nested too deep costs that element: it is a :class:`Broken` then.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8 at byte {error.start}") from None
    try:
        data = json.loads(text, parse_float=parse_float)
    except json.JSONDecodeError as error:
        if "\n" not in text.strip():
            raise Malformed(f"not JSON at line {error.lineno} column {error.colno}: {error.msg}") from None
        return _lines(text, parse_float)
    except (RecursionError, ValueError):
        return _one_by_one(text, parse_float)
    items = data if isinstance(data, list) else [data]
    return _one_by_one(text, parse_float) if any(is_deep(item) for item in items) else items


def _lines(text: str, parse_float: Callable[[str], Any]) -> list[Any]:
    items = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            items.append(_loaded(line, parse_float))
        except json.JSONDecodeError as error:
            items.append(Broken(line, f"line {number} is not JSON: {error.msg}"))
    if items and all(isinstance(item, Broken) for item in items):
        raise Malformed(f"neither a JSON value nor JSON Lines: {items[0].problem}")
    return items


def _loaded(text: str, parse_float: Callable[[str], Any]) -> Any:
    """One JSON value, :class:`Broken` where it is nested too deep. Raises JSONDecodeError."""
    too_deep = Broken(text, f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        # A number of more digits than Python makes whole ones of is not worth its event.
        value = json.loads(text, parse_float=parse_float, parse_int=_whole_or_float)
    except RecursionError:
        return too_deep
    return too_deep if is_deep(value) else value


def _whole_or_float(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _one_by_one(text: str, parse_float: Callable[[str], Any]) -> list[Any]:
    """What *text* holds, where it can't be read as a whole: each element of an array, each line, for itself."""
    if not text.lstrip().startswith("["):
        with contextlib.suppress(json.JSONDecodeError):
            value = _loaded(text, parse_float)
            if not isinstance(value, Broken) or "\n" not in text.strip():
                return [value]
        return _lines(text, parse_float)
    items = []
    for part in _elements(text):
        try:
            items.append(_loaded(part, parse_float))
        except json.JSONDecodeError as error:
            items.append(Broken(part, f"not JSON: {error.msg}"))
    return items


#: What tells where an element ends. A string without an end goes to the end of the text, and is not looked for twice.
_SIGN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},]', re.DOTALL)


def _elements(text: str) -> list[str]:
    """The texts of the elements of a JSON array. Raises Malformed for one without an end."""
    parts, depth, begin = [], 0, text.index("[") + 1
    for found in _SIGN.finditer(text):
        sign = found.group()
        if sign in ("[", "{"):
            depth += 1
        elif sign in ("]", "}"):
            depth -= 1
        if (depth, sign) in ((1, ","), (0, "]")):
            parts.append(text[begin : found.start()])
            begin = found.end()
        if depth <= 0 and sign != ",":
            break
    if depth != 0 or text[begin:].strip():
        raise Malformed(f"not JSON: brackets that do not fit, or nested deeper than {MAX_DEPTH} levels")
    return parts if any(part.strip() for part in parts) else []


def is_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and objects in *value* are nested deeper than *levels*."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return False
    return levels <= 0 or any(is_deep(each, levels - 1) for each in value if isinstance(each, (dict, list)))


@dataclass(frozen=True, slots=True)
class Broken:
    """One payload of a delivery that is no JSON: rejected alone, those around it count."""

    text: str
    problem: str


def require_object(item: Any) -> Mapping[str, Any]:
    if isinstance(item, Broken):
        raise Rejected(item.problem)
    if not isinstance(item, dict):
        raise Rejected(f"an event must be a JSON object, not {type(item).__name__}")
    return item


def dump(item: Any) -> bytes:
    """The payload as it is kept when it is rejected."""
    if isinstance(item, Broken):
        text = item.text
    else:
        text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-8", "replace")


def digest(*parts: object) -> str:
    """A short stable id of what identifies a fact."""
    text = "\x1f".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def canonical(value: Mapping[str, Any] | Iterable[Any]) -> str:
    """The same text for the same data, whatever the order of its keys."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def clean(text: str) -> str:
    """*text* without what no database holds (NUL, halves of characters), stripped."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    return text.replace("\x00", "").strip()


_LONG_NUMBER = re.compile(r"\+?\d{7,}")


def shown(value: object) -> str:
    """A value as an error may show it: short, and without a whole telephone number."""
    return repr(_LONG_NUMBER.sub(lambda found: mask(found.group()), str(value)[:60]))


def check_time(at: datetime, what: str, received_at: datetime) -> datetime:
    """*at* in UTC; raises Rejected for one that no clock shows.

    A clock that is wrong shows another time of these two centuries: of that the call is taken, and flagged; see
    :mod:`callkpi.calls.plausible`.
    """
    try:
        at = at.astimezone(UTC)
    except (OverflowError, ValueError):
        at = datetime.max.replace(tzinfo=UTC)
    if not EARLIEST <= at <= received_at + FUTURE_ALLOWED:
        raise Rejected(f"{what}: is not a time of this century or the last one; check the sender's clock")
    return at


def unix_time(value: object, what: str, received_at: datetime) -> datetime:
    """Unix seconds (text or number) as a checked UTC datetime. Raises Rejected."""
    try:
        at = from_unix(float(str(value)))
    except (ValueError, OverflowError, OSError):
        raise Rejected(f"{what}: {shown(value)} is not a time in Unix seconds") from None
    return check_time(at, what, received_at)


def unix_part(text: str, parts: int, what: str, received_at: datetime) -> datetime:
    """Unix time in whole *parts* of a second (1000, 1,000,000) as a checked UTC datetime. Raises Rejected."""
    number = whole(text)
    if number is None:
        raise Rejected(f"{what}: {shown(text)} is not a time in whole 1/{parts} seconds")
    return unix_time(number / parts, what, received_at)


def local_time(value: object, what: str, zone: tzinfo, received_at: datetime) -> datetime:
    """ISO 8601 (or with a space) as a checked UTC datetime; without an offset it is a time of *zone*.

    Of the hour that comes twice when clocks go back the first one is taken. Raises Rejected.
    """
    try:
        at = datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise Rejected(f"{what}: {shown(value)} is no time like 2026-11-23 10:00:00") from None
    return check_time(at if at.tzinfo else at.replace(tzinfo=zone), what, received_at)


def whole(text: str) -> int | None:
    """A whole number in digits of ASCII; None for anything else, and for one that no counter or clock reaches.

    ``isdigit`` alone is no check: "①" is a digit and no number, and of 5,000 digits Python makes no number either.
    """
    return int(text) if len(text) <= 20 and text.isascii() and text.isdigit() else None


def is_unix(text: str) -> bool:
    """Whether *text* looks like Unix seconds rather than like a date."""
    return text.isascii() and text.replace(".", "", 1).isdigit()
