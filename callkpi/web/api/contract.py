"""What an operation of the API is, and how a request is read by what the operation declares."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from callkpi import audit, config
from callkpi.calendar.business import local_midnight
from callkpi.calendar.moments import BadQuery, moment
from callkpi.calls.phone import mask
from callkpi.web import access
from callkpi.web.access import Reader, Right
from callkpi.web.problems import Problem

MAX_WINDOW = timedelta(days=3660)
JSON = "application/json"

Schema = Mapping[str, Any]
#: Headers that the door gives to every answer: one that streams has to set them by itself.
HEADERS: web.RequestKey[Any] = web.RequestKey("headers", object)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query, a path or the header; its text is read as its schema says."""

    name: str
    doc: str
    schema: Schema
    where: str = "query"
    required: bool = False

    @property
    def default(self) -> Any:
        return self.schema.get("default")

    def read(self, text: str) -> Any:
        """The value that *text* is. Raises BadQuery."""
        if "\x00" in text:
            raise BadQuery(f"{self.name}: must not contain NUL")
        kind, choices = self.schema["type"], self.schema.get("enum")
        if choices is not None and text not in choices:
            raise BadQuery(f"{self.name}: {text[:40]!r} is none of {', '.join(choices)}")
        if kind == "integer":
            return self._integer(text)
        if kind == "boolean":
            if text not in ("true", "false"):
                raise BadQuery(f"{self.name}: {text[:20]!r} must be true or false")
            return text == "true"
        if len(text) > self.schema.get("maxLength", 255):
            raise BadQuery(f"{self.name}: at most {self.schema.get('maxLength', 255)} characters")
        if len(text) < self.schema.get("minLength", 0):
            raise BadQuery(f"{self.name}: must not be empty")
        pattern = self.schema.get("pattern")
        if pattern is not None and not re.search(pattern, text):
            raise BadQuery(f"{self.name}: {text[:40]!r} does not look like {self.schema['examples'][0]}")
        return text

    def _integer(self, text: str) -> int:
        least, most = self.schema["minimum"], self.schema["maximum"]
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise BadQuery(f"{self.name}: {text[:20]!r} must be {least} to {most}")
        return int(text)


def text(name: str, doc: str, *, where: str = "query", most: int = 255) -> Parameter:
    return Parameter(name, doc, {"type": "string", "minLength": 1, "maxLength": most}, where)


def choice(name: str, doc: str, among: Sequence[str], default: str | None = None) -> Parameter:
    schema: dict[str, Any] = {"type": "string", "enum": [str(each) for each in among]}
    return Parameter(name, doc, schema if default is None else {**schema, "default": default})


def flag(name: str, doc: str) -> Parameter:
    return Parameter(name, doc, {"type": "boolean", "default": False})


_MOMENT = {
    "type": "string",
    "format": "moment",
    "maxLength": 40,
    "examples": ["2026-11-23", "2026-11-23T09:00:00+05:00"],
}
TENANT = text("tenant", "The call centre; needed where you may read several.", most=64)
BEGIN = Parameter("from", "From this time on: a date or time of the call centre, a time with an offset, or Unix "
                          "seconds. Default: the begin of its day.", _MOMENT)  # fmt: skip
END = Parameter("to", "Before this time. Default: now.", _MOMENT)
WINDOW = (TENANT, BEGIN, END)
CURSOR = text("cursor", "`next` of the answer before: the page behind it.", most=2000)
AS_OF = Parameter(
    "as_of", "As of when what still waits is judged, and time in state counts: a figure and the calls behind it agree "
             "where both are asked as of the same moment. Default: now.", _MOMENT,
)  # fmt: skip
KEY = Parameter(
    "Idempotency-Key", "Any text of your own: a request sent again with it is done once and answered alike.",
    {"type": "string", "minLength": 1, "maxLength": 255}, where="header",
)  # fmt: skip


def limit(most: int = 1000, default: int = 100) -> Parameter:
    return Parameter(
        "limit", "How many at the most.", {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read and allowed."""

    request: web.Request
    reader: Reader
    settings: config.Settings
    values: Mapping[str, Any]
    tenant: str = ""  #: the one that is asked about, where the operation is about one
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    body: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values.get(name)

    def needs(self, right: Right, why: str) -> None:
        """Raises Problem where the reader has not the right that *why* needs."""
        if not self.reader.may(right):
            least = access.RIGHTS[right][0]
            raise Problem(
                403, "Your role may not read this", f"{why}: it needs the role {least}; you are {self.reader.role}"
            )

    def number(self, number: str) -> str:
        """A customer's number as the reader may see it in calls."""
        return number if self.reader.may(Right.NUMBERS) else mask(number)

    @property
    def zone(self) -> config.Tenant:
        return self.settings.tenants[self.tenant]

    def as_of(self) -> datetime:
        """The moment that figures are judged at, now at the latest. Raises BadQuery."""
        return min(moment(self["as_of"] or "", "as_of", self.zone) or self.at, self.at)

    def window(self) -> tuple[datetime, datetime]:
        """[from, to); by default the call centre's day so far. Raises BadQuery."""
        begin = moment(self["from"] or "", "from", self.zone) or local_midnight(self.zone, self.at)
        end = moment(self["to"] or "", "to", self.zone) or self.at
        if end <= begin:
            raise BadQuery(f"to: {end.isoformat()} is not after from, {begin.isoformat()}")
        if end - begin > MAX_WINDOW:
            raise BadQuery("from, to: at most ten years at a time")
        return begin, end


@dataclass(frozen=True, slots=True)
class Seen:
    """What the audit says of an answer."""

    action: audit.Action
    tenant: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation found."""

    body: Any
    seen: Seen | None = None  #: recorded before it is shown, and not where the client has it already
    volatile: frozenset[str] = frozenset()  #: keys that change with the clock alone, and are not in the ETag


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path, with everything that a client has to know of it."""

    method: str = "GET"
    path: str
    name: str
    summary: str
    subject: str  #: the heading that it stands under
    right: Right | None = Right.FIGURES  #: None: for everybody
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    answer: Callable[[Asked], Awaitable[Answer | web.StreamResponse]]
    #: Schema of the answer, by name or inline; by media type where it is not JSON.
    schema: Schema
    media: str = JSON
    errors: tuple[int, ...] = ()  #: statuses of its own, besides those of every operation
    stored: bool = True  #: a client may keep the answer and ask whether it still holds

    @property
    def asks_for_tenant(self) -> bool:
        return TENANT in self.parameters


# -- reading a request --------------------------------------------------------------------------------------


def read_values(operation: Operation, request: web.Request) -> dict[str, Any]:
    """The parameters of a request. Raises BadQuery for one that is unknown, doubled or can't be used."""
    known = {each.name: each for each in operation.parameters if each.where == "query"}
    values: dict[str, Any] = {}
    for name, told in request.query.items():
        if name == "token":
            continue
        if name not in known:
            raise BadQuery(f"{name[:40]}: unknown parameter; known: {', '.join(sorted(known)) or 'none'}")
        if name in values:
            raise BadQuery(f"{name}: is given twice")
        values[name] = known[name].read(told)
    for each in operation.parameters:
        if each.where == "path":
            values[each.name] = each.read(request.match_info[each.name])
        elif each.where == "header" and each.name in request.headers:
            values[each.name] = each.read(request.headers[each.name])
        elif each.name not in values:
            if each.required:
                raise BadQuery(f"{each.name}: is required")
            values[each.name] = each.default
    return values


def check_body(schema: Schema, body: Any) -> list[str]:
    """What is wrong with a body, by its schema: objects of texts and numbers, nothing deeper."""
    if not isinstance(body, dict):
        return ["the body must be a JSON object"]
    known = schema["properties"]
    wrong = [f"{name[:40]}: unknown; known: {', '.join(known)}" for name in body if name not in known]
    wrong += [f"{name}: is required" for name in schema.get("required", ()) if name not in body]
    for name, value in body.items():
        wrong += _wrong(name, known[name], value) if name in known else []
    return wrong


def _wrong(name: str, schema: Schema, value: Any) -> list[str]:
    if schema["type"] == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", 255)
        if not isinstance(value, str) or not least <= len(value) <= most:
            return [f"{name}: must be a text of {least} to {most} characters"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{name}: is none of {', '.join(schema['enum'])}"]
        if "\x00" in value:
            return [f"{name}: must not contain NUL"]
        return []
    if schema["type"] == "boolean":
        return [] if isinstance(value, bool) else [f"{name}: must be true or false"]
    low, high = schema["minimum"], schema["maximum"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        return [f"{name}: must be a number from {low} to {high}"]
    return []


def tenant_of(request: web.Request, settings: config.Settings) -> str:
    """The tenant that is asked for, by default the only one that the reader may read. Raises BadQuery.

    Others than his do not exist for him: he can't tell which there are.
    """
    reader = access.who(request)
    tenants = [name for name in settings.tenants if reader is not None and reader.sees(name)]
    name = request.query.get("tenant") or (tenants[0] if len(tenants) == 1 else "")
    if name not in tenants:
        advice = f"; write ?tenant={tenants[0]}" if tenants else ""
        raise BadQuery(f"tenant: {name[:64]!r} is none of {', '.join(tenants)}{advice}")
    return name
