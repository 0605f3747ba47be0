"""What all kinds of sources have in their settings, and the list of kinds.

A kind's own keys, their checks and its lines of the example stand beside its reader in :mod:`callkpi.sources`, which
registers them here: the settings know no kind by its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar
from zoneinfo import ZoneInfo

from callkpi.config.values import STRICT, Number, Secret, secret_setting, setting
from callkpi.config.words import guess, is_zone

#: Names of columns for :attr:`Source.columns`. Either customer and line, or from and to.
COLUMNS = (
    "call_id", "started", "answered", "ended", "direction", "customer", "line", "from", "to", "queue", "agent",
    "outcome", "wait", "ring", "talk", "hold", "duration",
)  # fmt: skip
DIRECTIONS = ("inbound", "outbound", "internal", "auto")
#: What a whole call may end as, in a table of calls; the names of :class:`callkpi.calls.model.Outcome`
#: without the states.
CALL_OUTCOMES = (
    "answered", "abandoned", "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected", "failed",
    "exited", "voicemail",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """One sender of events. A subclass of it has the keys of one kind."""

    __pydantic_config__ = STRICT

    #: Whether who sends shows the token, so that there must be one. False: this kind proves itself in another way.
    SHOWS_TOKEN: ClassVar[bool] = True
    #: Keys whose values strangers may try at the door.
    DOOR_KEYS: ClassVar[tuple[str, ...]] = ("token",)
    #: A CRM, which tells of calls that a PBX makes.
    IS_PORTAL: ClassVar[bool] = False
    #: Files that are read when somebody has one: nobody waits for them.
    IS_FILE: ClassVar[bool] = False
    #: The keys that a newcomer needs, as lines of callkpi.toml without the kind.
    EXAMPLE: ClassVar[str] = 'token = ""  # a long random string, as openssl rand -hex 24 makes'
    #: A world of ten lines begins with it in the example; it says what to do at the PBX.
    HINT: ClassVar[str] = ""

    kind: str = setting("", "what sends")
    tenant: str = setting("default", "the tenant whose calls these are")
    token: Secret = secret_setting(
        "", "sent as 'Authorization: Bearer …' or '?token=…'; kinds that sign: for callkpi replay"
    )
    timezone: str = setting("", "IANA zone of times that come without an offset; empty: the tenant's")
    internal_number: str = setting(r"\d{1,5}", "regular expression of our extensions")
    columns: dict[str, str] = setting({}, "tables of calls: the title of each column in the file, by our name of it")
    directions: dict[str, str] = setting({}, "tables of calls: inbound, outbound or internal, by the file's word")
    outcomes: dict[str, str] = setting({}, "tables of calls: answered, abandoned, no_answer, …, by the file's word")
    silent_minutes: Number | None = setting(
        None, "in business hours it is silent for no longer; absent: the tenant's targets; 0: it may be, as it likes"
    )
    dedupe_seconds: Number = setting(
        60.0, "a payload without a time of its own that comes again within these seconds is the same one", ge=0
    )

    @property
    def keeps_connection(self) -> bool:
        """Whether callkpi itself connects to this source, or follows its file."""
        return False

    @property
    def is_asked(self) -> bool:
        """Whether callkpi asks it by REST."""
        return False

    @property
    def writes_items(self) -> bool:
        """Whether callkpi writes into its CRM, and so hears echoes of itself."""
        return False

    @property
    def zone(self) -> ZoneInfo:
        """Zone of times without an offset. The tenant's is filled in by :meth:`Settings.with_zone`."""
        return ZoneInfo(self.timezone or "UTC")

    def own_problems(self, where: str) -> Iterator[str]:
        """What is wrong with the keys that only this kind has."""
        yield from ()

    def more_secrets(self) -> tuple[str, ...]:
        """What nobody may see besides the values of secret keys: parts of an address."""
        return ()


def problems(source: Source, where: str) -> Iterator[str]:
    """What is wrong with a source, whatever kind it is of."""
    if source.SHOWS_TOKEN and not source.token and not source.keeps_connection:
        yield f"{where}.token: is required; write a long random string and give it to the sender"
    yield from source.own_problems(where)
    if source.timezone and not is_zone(source.timezone):
        yield f"{where}.timezone: {source.timezone!r} is no IANA zone; write e.g. Europe/Moscow"
    if source.silent_minutes is not None and not (source.silent_minutes == 0 or source.silent_minutes >= 1):
        yield f"{where}.silent_minutes: must be at least 1, or 0 for a source that may be silent"
    yield from _table_problems(source, where)
    try:
        re.compile(source.internal_number)
    except re.error as error:
        yield f"{where}.internal_number: no regular expression: {error}"


def _table_problems(source: Source, where: str) -> Iterator[str]:
    columns = source.columns
    if source.IS_FILE or columns:
        if "started" not in columns:
            yield f'{where}.columns.started: is required; write the title of the column of the start, e.g. "Date"'
        if not source.token and not source.SHOWS_TOKEN:
            yield f"{where}.token: is required; callkpi replay shows it"
    for name in columns.keys() - set(COLUMNS):
        yield f"{where}.columns.{name}: unknown column{guess(name, COLUMNS)}; known: {', '.join(COLUMNS)}"
    for word, direction in source.directions.items():
        if direction not in DIRECTIONS:
            yield f"{where}.directions.{word}: {direction!r} is none of {', '.join(DIRECTIONS)}"
    for word, outcome in source.outcomes.items():
        if outcome not in CALL_OUTCOMES:
            yield f"{where}.outcomes.{word}: {outcome!r} is none of {', '.join(CALL_OUTCOMES)}"


_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")


def is_address(text: str) -> bool:
    """Whether *text* is HOST:PORT of somebody whom callkpi connects to."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and 0 < int(match[2]) <= 65535


_KINDS: dict[str, type[Source]] = {}


def register(settings: type[Source]) -> str:
    """Make a kind known, by the class of its settings. Returns its name."""
    name = str(next(field.default for field in fields(settings) if field.name == "kind"))
    _KINDS[name] = settings
    return name


def kinds() -> Mapping[str, type[Source]]:
    """The settings of each kind, by its name."""
    if not _KINDS:
        raise RuntimeError("no kind of source is known yet: import callkpi.sources before settings are read")
    return _KINDS


S = TypeVar("S", bound=Source)


def as_kind(source: Source, settings: type[S]) -> S:
    """*source*, as the class of its kind's settings. Raises TypeError where it is of another kind."""
    if not isinstance(source, settings):
        raise TypeError(f"a source of kind {source.kind} has no {settings.__name__}")
    return source


def new_source(kind: str, **keys: Any) -> Source:
    """A source of a kind by its name."""
    return kinds()[kind](**keys)
