"""One typed tree of settings: from ``callkpi.toml``, then the environment, validated as a whole.

Every key has an environment variable: ``CALLKPI_`` and the key's path with two underscores between its
parts (``CALLKPI_SOURCES__PBX__TOKEN``). A variable that ends in ``_FILE`` names a file that holds the value,
for secrets. The four short names of the quick start are aliases (:data:`ALIASES`).
Errors are collected, each with the key, what is wrong and what to write instead.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from datetime import datetime, time
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

ALIASES = {
    "CALLKPI_LISTEN": ("server", "listen"),
    "CALLKPI_DATA_DIR": ("database", "data_dir"),
    "CALLKPI_DATABASE_URL": ("database", "url"),
}
#: Variables of the CALLKPI_ family that are not settings: the file's name, those of Grafana's provisioning, which may
#: stand in one environment with them, and what Kubernetes tells every container of a service that is called callkpi.
NOT_SETTINGS = re.compile(
    r"CALLKPI_(CONFIG|PROMETHEUS_URL|PG_(HOST|DATABASE|SSLMODE)|GRAFANA_TOKEN|SERVICE_(HOST|PORT)\w*|PORT(_\d+_\w+)?)"
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: What a whole call may end as, in a table of calls; the names of :class:`callkpi.model.Outcome` without the states.
CALL_OUTCOMES = (
    "answered", "abandoned", "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected", "failed",
    "exited", "voicemail",
)  # fmt: skip
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

T = TypeVar("T")


class ConfigError(Exception):
    """Settings that can't be used; ``problems`` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class SourceKind(StrEnum):
    BITRIX24 = "bitrix24"
    ASTERISK = "asterisk"
    NATIVE = "native"
    ZADARMA = "zadarma"
    MANGO = "mango"
    MEGAFON = "megafon"
    TWILIO = "twilio"
    FREESWITCH = "freeswitch"
    UIS = "uis"
    BINOTEL = "binotel"
    ONLINEPBX = "onlinepbx"
    SIPUNI = "sipuni"
    CSV = "csv"


class ServiceLevelFormula(StrEnum):
    """Which calls the service level is a share of; see the glossary."""

    DEFAULT = "default"
    ANSWERED = "answered"
    OFFERED = "offered"
    WITH_ABANDONS = "with_abandons"


class NumbersShown(StrEnum):
    """How the SQL views show customers' numbers."""

    MASKED = "masked"
    FULL = "full"


def setting(default: Any, doc: str) -> Any:
    """A field with the sentence that the example file prints above it."""
    if isinstance(default, dict):
        return field(default_factory=dict, metadata={"doc": doc})
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Queue:
    name: str = setting("", "shown instead of the queue's own id")
    service_level_seconds: float | None = setting(None, "T of this queue; the tenant's where absent")
    short_abandon_seconds: float | None = setting(None, "below this an abandon is short; the tenant's where absent")


@dataclass(frozen=True, slots=True)
class Named:
    name: str = setting("", "shown instead of the id that the source sends")


@dataclass(frozen=True, slots=True)
class Targets:
    """What a call centre wants to reach; the board is coloured by it."""

    service_level: float = setting(0.8, "share answered within T; the board: watch below it, act below 7/8 of it")
    missed_share: float = setting(
        0.05, "missed calls of all ended ones; the board: watch above it, act above its double"
    )
    callback_minutes: float = setting(
        20.0, "a missed customer is called back within these; the board: watch after it, act after a working day"
    )
    silent_minutes: float = setting(
        30.0, "in business hours no source is silent for longer; the board then calls nothing good"
    )


@dataclass(frozen=True, slots=True)
class Tenant:
    """One call centre."""

    timezone: str = setting("UTC", "IANA zone of the call centre; reports and business hours use it")
    region: str = setting("", "two-letter country of numbers written without a country code, e.g. KZ")
    service_level_seconds: float = setting(20.0, "an answer within these seconds is within the service level")
    service_level_formula: ServiceLevelFormula = setting(
        ServiceLevelFormula.DEFAULT, "default, answered, offered or with_abandons; see the README's glossary"
    )
    short_abandon_seconds: float = setting(5.0, "a caller who hangs up sooner is a short abandon")
    talked_seconds: float = setting(10.0, "a conversation of at least these seconds counts as talked")
    expire_after_hours: float = setting(4.0, "a call whose end has not arrived after this is expired")
    write_off_days: float = setting(7.0, "a missed call that nobody returned in this time is written off")
    numbers_in_views: NumbersShown = setting(
        NumbersShown.MASKED, "customers' numbers in the SQL views: masked, or full for those who call back from Grafana"
    )
    business_hours: dict[str, str] = setting(
        {},
        'per weekday mon…sun, "09:00-18:00" or "22:00-06:00"; a day that is absent is closed; none: always open',
    )
    holidays: tuple[str, ...] = setting((), 'closed days, "2026-12-31"')
    targets: Targets = field(default_factory=Targets, metadata={"doc": "what the board is coloured by"})
    queues: dict[str, Queue] = setting({}, "queues by the id that the source sends")
    lines: dict[str, Named] = setting({}, "lines (our numbers) by the id that the source sends")
    agents: dict[str, Named] = setting({}, "agents by the id that the source sends; equal names are one agent")

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Source:
    """One sender of events."""

    kind: SourceKind
    tenant: str = setting("default", "the tenant whose calls these are")
    application_tokens: tuple[str, ...] = setting((), "bitrix24: accepted values of auth[application_token]")
    token: str = setting(
        "",
        "sent as 'Authorization: Bearer …' or '?token=…'; megafon: its crm_token; kinds that sign: for callkpi replay",
    )
    secrets: tuple[str, ...] = setting(
        (), "zadarma: API secret; mango: key of the signature (salt); twilio: auth token; two while you change it"
    )
    api_key: str = setting("", "mango: the code of your VPBX (vpbx_api_key)")
    public_url: str = setting("", "twilio: this door's address as Twilio has it, https://your.host/hooks/name")
    timezone: str = setting("", "IANA zone of times that come without an offset; empty: the tenant's")
    inbound_contexts: tuple[str, ...] = setting((), "asterisk, freeswitch: contexts where customers' calls arrive")
    outbound_contexts: tuple[str, ...] = setting((), "asterisk, freeswitch: contexts of agents' calls to customers")
    internal_number: str = setting(r"\d{1,5}", "regular expression of our extensions")
    columns: dict[str, str] = setting({}, "tables of calls: the title of each column in the file, by our name of it")
    directions: dict[str, str] = setting({}, "tables of calls: inbound, outbound or internal, by the file's word")
    outcomes: dict[str, str] = setting({}, "tables of calls: answered, abandoned, no_answer, …, by the file's word")
    dedupe_seconds: float = setting(
        60.0, "a payload without a time of its own that comes again within these seconds is the same one"
    )
    rest_url: str = setting(
        "", "bitrix24: incoming webhook with the right telephony, https://PORTAL/rest/USER/SECRET/; it is a password"
    )
    reconcile_seconds: float = setting(60.0, "bitrix24: how often new rows of the portal's call statistics are read")
    recheck_minutes: float = setting(30.0, "bitrix24: how often the last recheck_hours of them are read again")
    recheck_hours: float = setting(48.0, "bitrix24: calls that old may still be registered late or corrected")
    nightly_at: str = setting("03:30", "bitrix24: when the day before is read again, in the tenant's zone")
    requests_per_second: float = setting(2.0, "bitrix24: what the portal allows: 2, on the plan Enterprise 5")

    @property
    def zone(self) -> ZoneInfo:
        """Zone of times without an offset. The tenant's is filled in by :meth:`Settings.with_zone`."""
        return ZoneInfo(self.timezone or "UTC")


#: Names of columns for :attr:`Source.columns`. Either customer and line, or from and to.
COLUMNS = (
    "call_id", "started", "answered", "ended", "direction", "customer", "line", "from", "to", "queue", "agent",
    "outcome", "wait", "ring", "talk", "hold", "duration",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Server:
    listen: str = setting("127.0.0.1:8090", "address and port of webhooks, API and /metrics")
    processes: int = setting(1, "web processes that share the port; one per core at the most")
    max_body_bytes: int = setting(16 * 1024 * 1024, "a larger request is refused with 413")
    max_waiting: int = setting(2000, "requests in flight per process; one more is answered 503 with Retry-After")
    request_timeout_seconds: float = setting(15.0, "a client slower than this with its request is cut")
    max_viewers: int = setting(100, "boards per process that follow live; one more gets its numbers by polling")
    api_token: str = setting("", "bearer token of /api; without one only this machine may read it")
    metrics_token: str = setting("", "bearer token of /metrics; without one everybody who reaches it may read it")


@dataclass(frozen=True, slots=True)
class Database:
    url: str = setting("", "postgresql://… of a PostgreSQL 14 or newer; empty: the embedded one in data_dir")
    data_dir: str = setting("", "where the embedded PostgreSQL and the spool live; empty: the user's data directory")
    reader_password: str = setting("", "password of the role callkpi_reader, which Grafana reads the views as")


@dataclass(frozen=True, slots=True)
class Spool:
    limit_mib: int = setting(
        256, "what may wait in database.data_dir while PostgreSQL is away; more is answered 503; 0: no spool"
    )


@dataclass(frozen=True, slots=True)
class Log:
    format: str = setting("auto", "json, console, or auto: console on a terminal, else json")
    level: str = setting("info", "debug, info, warning or error")


@dataclass(frozen=True, slots=True)
class Metrics:
    max_agents: int = setting(500, 'agents with series of their own per tenant; the rest are agent="other"')
    max_queues: int = setting(200, 'queues with series of their own per tenant; the rest are queue="other"')
    max_lines: int = setting(200, 'lines with series of their own per tenant; the rest are line="other"')


@dataclass(frozen=True, slots=True)
class Settings:
    server: Server = field(default_factory=Server)
    database: Database = field(default_factory=Database)
    spool: Spool = field(default_factory=Spool)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    tenants: dict[str, Tenant] = field(default_factory=lambda: {"default": Tenant()})
    sources: dict[str, Source] = field(default_factory=dict)

    def with_zone(self, source: Source) -> Source:
        """*source* with its tenant's zone where it has none of its own."""
        tenant = self.tenants.get(source.tenant)
        return source if source.timezone or tenant is None else replace(source, timezone=tenant.timezone)

    @property
    def portals(self) -> dict[str, Source]:
        """The sources that may be asked by REST."""
        return {name: source for name, source in self.sources.items() if source.rest_url}

    @property
    def data_dir(self) -> Path:
        """Where the embedded database, its files and the spool live."""
        if self.database.data_dir:
            return Path(self.database.data_dir).expanduser().absolute()
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            return Path("/var/lib/callkpi")
        base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return Path(base) / "callkpi"

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.listen.rpartition(":")
        return host.strip("[]"), int(port)


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the file (``CALLKPI_CONFIG``, else ``callkpi.toml`` here if there is one) and the environment.

    Raises ConfigError with one line a problem.
    """
    env = os.environ if env is None else env
    chosen = path or (Path(env["CALLKPI_CONFIG"]) if env.get("CALLKPI_CONFIG") else None)
    if chosen is None and Path("callkpi.toml").is_file():
        chosen = Path("callkpi.toml")
    raw = _read_toml(chosen) if chosen is not None else {}
    problems: list[str] = []
    _merge_environment(raw, env, problems)
    settings = _build(Settings, raw, "", problems)
    if settings is not None:
        _check(settings, problems)
    if problems or settings is None:
        raise ConfigError(problems)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; write one with 'callkpi example-config > {path}'"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _merge_environment(raw: dict[str, Any], env: Mapping[str, str], problems: list[str]) -> None:
    for name, value in sorted(env.items()):
        if not name.startswith("CALLKPI_") or NOT_SETTINGS.fullmatch(name):
            continue
        key = name
        if name.endswith("_FILE"):
            key = name.removesuffix("_FILE")
            try:
                value = Path(value).read_text("utf-8").strip()
            except OSError as error:
                problems.append(f"{name}: can't read {value!r}: {error.strerror}; name a readable file")
                continue
        path = ALIASES.get(key) or tuple(part.lower() for part in key.removeprefix("CALLKPI_").split("__"))
        if len(path) < 2:
            problems.append(f"{name}: no such setting{_guess(name, ALIASES)}; write CALLKPI_SECTION__KEY")
            continue
        node = raw
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value


def _guess(word: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _build(cls: type[T], raw: Any, path: str, problems: list[str]) -> T | None:
    """An instance of the dataclass *cls* from a TOML table; problems are added to the list."""
    if not isinstance(raw, dict):
        problems.append(f"{path}: must be a table, not {raw!r}")
        return None
    hints = typing.get_type_hints(cls)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    before = len(problems)
    for key, value in raw.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            problems.append(f"{where}: unknown key{_guess(key, known)}; known here: {', '.join(known)}")
            continue
        values[key] = _value(hints[key], value, where, problems)
    for name, spec in known.items():
        if spec.default is MISSING and spec.default_factory is MISSING and name not in values:
            problems.append(f"{path}.{name}: is required")
    return cls(**values) if len(problems) == before else None


def _value(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        origin = typing.get_origin(hint)
    if is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, where, problems)
    if origin is dict:
        return _table(typing.get_args(hint)[1], value, where, problems)
    if origin is tuple:
        return _strings(value, where, problems)
    return _scalar(hint, value, where, problems)


def _table(inner: Any, value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(f"{where}: must be a table, e.g. [{where}.name]")
        return {}
    return {str(key): _value(inner, item, f"{where}.{key}", problems) for key, item in value.items()}


def _strings(value: Any, where: str, problems: list[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    problems.append(f'{where}: must be a list of strings, e.g. ["a", "b"]')
    return ()


def _scalar(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if hint is str and isinstance(value, str):
        return value
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
        problems.append(f"{where}: {value!r} is none of {', '.join(hint)}{_guess(str(value), list(hint))}")
        return None
    if hint in (int, float):
        try:
            if not isinstance(value, bool):
                return hint(value)
        except (TypeError, ValueError):
            pass
    problems.append(f"{where}: must be {'text' if hint is str else 'a number'}, not {value!r}")
    return None


def _check(settings: Settings, problems: list[str]) -> None:
    problems.extend(_server_problems(settings.server))
    if settings.log.format not in ("auto", "json", "console"):
        problems.append(f"log.format: {settings.log.format!r} is none of auto, json, console")
    if settings.log.level not in ("debug", "info", "warning", "error"):
        problems.append(f"log.level: {settings.log.level!r} is none of debug, info, warning, error")
    if settings.spool.limit_mib < 0:
        problems.append("spool.limit_mib: must not be negative; 0 means no spool")
    url = settings.database.url
    if url and not url.startswith(("postgresql://", "postgres://")):
        problems.append("database.url: must begin with postgresql://, e.g. postgresql://callkpi@db/callkpi")
    password = settings.database.reader_password
    if password and not re.fullmatch("[ -~]{12,}", password):
        problems.append("database.reader_password: must be at least 12 letters, digits and signs of ASCII")
    for name, tenant in settings.tenants.items():
        problems.extend(_tenant_problems(f"tenants.{name}", name, tenant))
    for name, source in settings.sources.items():
        problems.extend(_source_problems(f"sources.{name}", name, source, settings.tenants))


def _server_problems(server: Server) -> Iterator[str]:
    host, _, port = server.listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        yield f"server.listen: {server.listen!r} must be HOST:PORT, e.g. 127.0.0.1:8090"
    for key in ("processes", "max_body_bytes", "max_waiting", "request_timeout_seconds", "max_viewers"):
        if getattr(server, key) <= 0:
            yield f"server.{key}: must be above 0"


def _tenant_problems(where: str, name: str, tenant: Tenant) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a tenant's name has letters, digits, '_', '.', '-', at most 64"
    if not _is_zone(tenant.timezone):
        yield f"{where}.timezone: {tenant.timezone!r} is no IANA zone; write e.g. Asia/Almaty"
    if tenant.region and not re.fullmatch("[A-Z]{2}", tenant.region):
        yield f"{where}.region: {tenant.region!r} must be two capital letters, e.g. KZ"
    for key in ("service_level_seconds", "short_abandon_seconds", "talked_seconds"):
        if getattr(tenant, key) < 0:
            yield f"{where}.{key}: must not be negative"
    for key in ("expire_after_hours", "write_off_days"):
        if getattr(tenant, key) <= 0:
            yield f"{where}.{key}: must be above 0"
    if tenant.expire_after_hours > 24:
        yield f"{where}.expire_after_hours: at most 24"
    for key in ("service_level", "missed_share"):
        if not 0 < getattr(tenant.targets, key) <= 1:
            share = getattr(tenant.targets, key)
            yield f"{where}.targets.{key}: {share:g} must be a share above 0, at most 1, e.g. 0.8"
    for key in ("callback_minutes", "silent_minutes"):
        if getattr(tenant.targets, key) <= 0:
            yield f"{where}.targets.{key}: must be above 0"
    for day, hours in tenant.business_hours.items():
        if day not in WEEKDAYS:
            yield f"{where}.business_hours.{day}: is none of {', '.join(WEEKDAYS)}"
        elif parse_hours(hours) is None:
            yield f'{where}.business_hours.{day}: {hours!r} must be like "09:00-18:00"'
    for day in tenant.holidays:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
            yield f'{where}.holidays: {day!r} must be a date like "2026-12-31"'


def _source_problems(where: str, name: str, source: Source, tenants: Mapping[str, Tenant]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a source's name has letters, digits, '_', '.', '-', at most 64"
    if source.tenant not in tenants:
        yield (
            f"{where}.tenant: no tenant {source.tenant!r}{_guess(source.tenant, tenants)}; "
            f"add [tenants.{source.tenant}] or name one of: {', '.join(tenants)}"
        )
    yield from _secret_problems(where, source)
    if source.timezone and not _is_zone(source.timezone):
        yield f"{where}.timezone: {source.timezone!r} is no IANA zone; write e.g. Europe/Moscow"
    yield from _table_problems(where, source)
    try:
        re.compile(source.internal_number)
    except re.error as error:
        yield f"{where}.internal_number: no regular expression: {error}"


#: Kinds that sign what they send.
_SIGNED = (SourceKind.ZADARMA, SourceKind.MANGO, SourceKind.TWILIO)


def _secret_problems(where: str, source: Source) -> Iterator[str]:
    kind = source.kind
    if kind is SourceKind.BITRIX24:
        if not any(source.application_tokens) and not source.rest_url:
            yield (
                f'{where}.application_tokens: is required; write ["the token that the portal shows"] '
                "(or rest_url alone, where the portal can't send)"
            )
        yield from _rest_problems(where, source)
    elif source.rest_url:
        yield f"{where}.rest_url: only kind bitrix24 has one; remove it"
    elif kind in _SIGNED:
        if not any(source.secrets):
            name = {SourceKind.ZADARMA: "API secret", SourceKind.MANGO: "key of the signature"}.get(kind, "auth token")
            yield f'{where}.secrets: is required; write ["the {name} that {kind} shows"]'
        if kind is SourceKind.MANGO and not source.api_key:
            yield f"{where}.api_key: is required; write the code of your VPBX that Mango shows"
        if kind is SourceKind.TWILIO and not re.fullmatch(r"https?://[^/\s?#]+/[^\s?#]+", source.public_url):
            yield (
                f"{where}.public_url: must be this door's address as Twilio has it, without a query, "
                f"e.g. https://your.host/hooks/{where.partition('.')[2]}"
            )
    elif not source.token:
        yield f"{where}.token: is required; write a long random string and give it to the sender"


def _table_problems(where: str, source: Source) -> Iterator[str]:
    columns = source.columns
    if source.kind is SourceKind.CSV or columns:
        if "started" not in columns:
            yield f'{where}.columns.started: is required; write the title of the column of the start, e.g. "Date"'
        if not source.token and (source.kind is SourceKind.BITRIX24 or source.kind in _SIGNED):
            yield f"{where}.token: is required; callkpi replay shows it"
    for name in columns.keys() - set(COLUMNS):
        yield f"{where}.columns.{name}: unknown column{_guess(name, COLUMNS)}; known: {', '.join(COLUMNS)}"
    for word, direction in source.directions.items():
        if direction not in ("inbound", "outbound", "internal", "auto"):
            yield f"{where}.directions.{word}: {direction!r} is none of inbound, outbound, internal, auto"
    for word, outcome in source.outcomes.items():
        if outcome not in CALL_OUTCOMES:
            yield f"{where}.outcomes.{word}: {outcome!r} is none of {', '.join(CALL_OUTCOMES)}"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


REST_URL = re.compile(r"(https?)://([^/@?#]+)/rest/(\d+)/([^/?#\s]+)/?")


def _rest_problems(where: str, source: Source) -> Iterator[str]:
    """Without the address itself: it is a password."""
    if source.rest_url:
        match = REST_URL.fullmatch(source.rest_url)
        if match is None:
            yield (
                f"{where}.rest_url: is no address of an incoming webhook; write it as the portal shows it, "
                "https://PORTAL/rest/USER/SECRET/, without a method behind it"
            )
        elif match[1] == "http" and not re.fullmatch(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", match[2]):
            yield f"{where}.rest_url: must begin with https://; the address is a password"
    for key, least in (("reconcile_seconds", 5), ("recheck_minutes", 1), ("recheck_hours", 1)):
        if getattr(source, key) < least:
            yield f"{where}.{key}: must be at least {least}"
    if source.recheck_hours > 31 * 24:
        yield f"{where}.recheck_hours: at most {31 * 24}; 'callkpi backfill' reads older calls"
    if not 0 < source.requests_per_second <= 10:
        yield f"{where}.requests_per_second: must be above 0, at most 10; Bitrix24 allows 2, on Enterprise 5"
    if parse_hours(f"{source.nightly_at}-23:59") is None:
        yield f'{where}.nightly_at: {source.nightly_at!r} must be like "03:30"'


def rest_secrets(url: str) -> tuple[str, ...]:
    """What must be seen of a webhook's address nowhere: all of it, and its secret part. The longest first."""
    match = REST_URL.fullmatch(url)
    return (url, match[4]) if match else (url,) if url else ()


def parse_hours(text: str) -> tuple[time, time] | None:
    """``"09:00-18:00"`` as two times of day; None where it is not of that form."""
    match = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", text)
    if match is None:
        return None
    h1, m1, h2, m2 = map(int, match.groups())
    if h2 == 24 and m2 == 0:
        h2, m2 = 0, 0
    try:
        return time(h1, m1), time(h2, m2)
    except ValueError:
        return None


def is_open(tenant: Tenant, at: datetime) -> bool:
    """Whether the call centre works at *at*: its hours of that local day, or of the night before."""
    if not tenant.business_hours:
        return True
    local = at.astimezone(tenant.zone)
    today, yesterday = local.date(), datetime.fromordinal(max(local.toordinal() - 1, 1)).date()
    clock = local.time().replace(tzinfo=None)
    for day in (today, yesterday):
        hours = parse_hours(tenant.business_hours.get(WEEKDAYS[day.weekday()], ""))
        if hours is None or day.isoformat() in tenant.holidays:
            continue
        opens, closes = hours
        over_midnight = closes <= opens
        if day == today and opens <= clock and (over_midnight or clock < closes):
            return True
        if day == yesterday and over_midnight and clock < closes:
            return True
    return False


def with_processes(settings: Settings, processes: int) -> Settings:
    """The settings with another number of web processes."""
    return replace(settings, server=replace(settings.server, processes=processes))


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every value that must never be seen in a log, a metric or an error."""
    found = {settings.server.api_token, settings.server.metrics_token, settings.database.reader_password}
    for source in settings.sources.values():
        found.update(source.application_tokens, source.secrets)
        found.update((source.token, source.api_key))
        found.update(rest_secrets(source.rest_url))
    return frozenset(value for value in found if value)


def example() -> str:
    """A commented callkpi.toml, made from the settings themselves."""
    lines = ["# callkpi.toml: every key with its default; uncomment what you change.", ""]
    for section in fields(Settings):
        if section.name not in ("tenants", "sources"):
            lines += [f"[{section.name}]", *_example_lines(typing.get_type_hints(Settings)[section.name]), ""]
    lines += [
        "[tenants.default]",
        *_example_lines(Tenant, skip={"queues", "lines", "agents", "business_hours", "targets"}),
        "",
    ]
    lines += ["# [tenants.default.business_hours]  # a day that is absent is closed; no table: always open"]
    lines += ['# mon = "09:00-18:00"', '# sat = "10:00-14:00"', ""]
    for table, cls in (
        ("targets", Targets),
        ("queues.sales", Queue),
        ("lines.7172700100", Named),
        ("agents.1003", Named),
    ):
        lines += [f"# [tenants.default.{table}]", *_example_lines(cls), ""]
    for name, kind in (("portal", SourceKind.BITRIX24), ("pbx", SourceKind.ASTERISK), ("other", SourceKind.NATIVE)):
        lines += [f"# [sources.{name}]", f'# kind = "{kind}"', *_source_lines(kind), ""]
    for kind in SourceKind:
        if kind not in (SourceKind.BITRIX24, SourceKind.ASTERISK, SourceKind.NATIVE):
            lines += [f"# [sources.{kind}]", f'# kind = "{kind}"', *_source_lines(kind), ""]
    for table, line in (
        ("columns", 'started = "Date"'), ("directions", 'Incoming = "inbound"'), ("outcomes", 'Missed = "no_answer"'),
    ):  # fmt: skip
        lines += [f"# [sources.csv.{table}]", f"# {line}", ""]
    return "\n".join(lines)


#: Keys of a source that only some kinds read; the others all do.
_KEYS: Mapping[SourceKind, tuple[str, ...]] = {
    SourceKind.BITRIX24: (
        "application_tokens",
        "rest_url",
        "reconcile_seconds",
        "recheck_minutes",
        "recheck_hours",
        "nightly_at",
        "requests_per_second",
    ),
    SourceKind.ASTERISK: ("token", "inbound_contexts", "outbound_contexts", "internal_number"),
    SourceKind.NATIVE: ("token",),
    SourceKind.ZADARMA: ("secrets", "timezone", "token"),
    SourceKind.MANGO: ("api_key", "secrets", "token"),
    SourceKind.MEGAFON: ("token", "timezone"),
    SourceKind.TWILIO: ("secrets", "public_url", "token"),
    SourceKind.FREESWITCH: ("token", "inbound_contexts", "outbound_contexts", "internal_number"),
    SourceKind.UIS: ("token", "timezone"),
    SourceKind.BINOTEL: ("token",),
    SourceKind.ONLINEPBX: ("token", "internal_number"),
    SourceKind.SIPUNI: ("token",),
    SourceKind.CSV: ("token", "timezone", "columns", "directions", "outcomes", "internal_number"),
}


def _source_lines(kind: SourceKind) -> list[str]:
    some = {key for keys in _KEYS.values() for key in keys}
    return _example_lines(Source, skip={"kind", *some} - set(_KEYS[kind]))


def _example_lines(cls: Any, skip: typing.Collection[str] = ()) -> list[str]:
    lines = []
    for spec in fields(cls):
        if spec.name in skip:
            continue
        default = spec.default if spec.default is not MISSING else {}
        lines += [f"# {spec.metadata['doc']}", f"# {spec.name} = {_toml(default)}"]
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + str(value) + "'" if "\\" in value else f'"{value}"'
    return '""  # none' if value is None or value == {} else repr(value)
