"""The settings as one typed tree; each field says what it is for, and the example file is made of that."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

from callkpi.config.source import Source
from callkpi.config.values import STRICT, Number, Secret, Texts, Whole, secret_setting, setting
from callkpi.glossary import ServiceLevelFormula


class NumbersShown(StrEnum):
    """How customers' numbers are shown where people look at them."""

    MASKED = "masked"
    FULL = "full"


class Role(StrEnum):
    """Who reads. Each role may do what those before it may; the table is callkpi.web.access.RIGHTS."""

    VIEWER = "viewer"
    SUPERVISOR = "supervisor"
    MANAGER = "manager"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


@dataclass(frozen=True, slots=True)
class Queue:
    name: str = setting("", "shown instead of the queue's own id")
    service_level_seconds: Number | None = setting(None, "T of this queue; the tenant's where absent", ge=0)
    short_abandon_seconds: Number | None = setting(
        None, "below this an abandon is short; the tenant's where absent", ge=0
    )


@dataclass(frozen=True, slots=True)
class Named:
    name: str = setting("", "shown instead of the id that the source sends")


@dataclass(frozen=True, slots=True)
class Agent(Named):
    team: str = setting("", "key or name of the agent's team")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom several sources know by ids of their own."""

    name: str = setting("", "shown everywhere; the table's own key where absent")
    ids: Texts = setting((), 'of every source: "pbx:58" is id 58 of source pbx, "1003" that of any source')
    team: str = setting("", "key or name of the person's team")


@dataclass(frozen=True, slots=True)
class Team:
    name: str = setting("", "shown instead of the table's own key")
    agents: Texts = setting((), 'who is in it, by id as in people: "pbx:58", "1003"; or say team there')


class RingingCounts(StrEnum):
    """What a ringing phone is for the occupancy."""

    AVAILABLE = "available"
    WORK = "work"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Targets:
    """What a call centre wants to reach; the board is coloured by it."""

    service_level: Number = setting(0.8, "share answered within T; the board: watch below it, act below 7/8 of it")
    missed_share: Number = setting(
        0.05, "missed calls of all ended ones; the board: watch above it, act above its double"
    )
    callback_minutes: Number = setting(
        20.0, "a missed customer is called back within these; the board: watch after it, act after a working day", gt=0
    )
    silent_minutes: Number = setting(
        30.0, "in business hours no source is silent for longer; the board then calls nothing good", ge=1
    )


class OnHolidays(StrEnum):
    """What a shift does on a holiday of its call centre."""

    CLOSED = "closed"
    WORKS = "works"


@dataclass(frozen=True, slots=True)
class ShiftPlan:
    """A named shift as it is planned: which hours of which days."""

    name: str = setting("", "shown instead of the shift's id")
    hours: str = setting("", '"20:00-08:00": the next morning where the end is not after the begin')
    days: Texts = setting((), "the weekdays on which it begins at these hours; none: every day")
    by_day: dict[str, str] = setting({}, 'weekdays with other hours, sat = "10:00-14:00"; "closed": none')
    special_days: dict[str, str] = setting({}, 'dates with other hours, "2026-12-31" = "10:00-15:00"; "closed": none')
    on_holidays: OnHolidays = setting(OnHolidays.CLOSED, "closed or works, on the tenant's holidays and special days")
    queues: Texts = setting((), "the queues it is about; none: all")
    team: str = setting("", "the team it is about, by key or name; empty: all")
    since: str = setting("", "its first day; empty: always was")
    until: str = setting("", "its last day; empty: goes on")


class GoalDirection(StrEnum):
    AT_LEAST = "at_least"
    AT_MOST = "at_most"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a KPI should be in a period."""

    kpi: str = setting("", "the KPI by its name in the reports: answered, service_level, aht_seconds, …")
    target: Number = setting(0.0, "the value to reach; shares from 0 to 1, times in seconds")
    direction: GoalDirection = setting(GoalDirection.AT_LEAST, "at_least or at_most")
    period: str = setting(
        "", "shift, day, week, month, quarter or year that it is for; empty: any, for what is no count"
    )
    shift: str = setting("", "only for shifts of this id")
    queue: str = setting("", "only for this queue")
    team: str = setting("", "only for this team, by key or name")
    agent: str = setting("", "only for this agent")
    line: str = setting("", "only for this line")
    since: str = setting("", "first day of the periods that it is for; empty: always was")
    until: str = setting("", "last day; empty: goes on")


@dataclass(frozen=True, slots=True)
class ReportField:
    """A custom field of calls, or a reference to the CRM, that reports may be split by."""

    name: str = setting("", "shown instead of the field's key")
    values: Texts = setting((), "the values that are told apart, the others are other; none: the first ones")
    limit: Whole = setting(
        50, "how many values are told apart, the most frequent ones; the others are other", ge=1, le=1000
    )


@dataclass(frozen=True, slots=True)
class Report:
    """A summary that is sent when its period is over."""

    period: str = setting("shift", "shift (every one), shift:ID, day, week, month or quarter")
    to: Texts = setting(
        (),
        "mailto:name@example.com, telegram:CHAT, bitrix24:SOURCE/chat42 or SOURCE/feed, folder:/directory, https://…",
        shown=False,
    )
    language: str = setting("en", "en or ru")
    files: Texts = setting(("pdf",), "what goes with it: pdf, xlsx, csv, html, json")
    wait_minutes: Number = setting(15.0, "late events have this long after the end of the period", ge=0, le=24 * 60)
    corrections_days: Number = setting(
        3.0, "if late events change its figures after that, a correction is sent; 0: none"
    )
    secret: Secret = secret_setting("", "of https receivers: key of the signature in the header X-Callkpi-Signature")


@dataclass(frozen=True, slots=True)
class SameCall:
    """When calls that two sources of a tenant tell of are one call. Without sources each source counts by itself."""

    sources: Texts = setting(
        (), 'sources that see the same calls, whose facts lead first, e.g. ["pbx", "portal"]; none: each counts alone'
    )
    by: Texts = setting(
        ("id", "number"), "id: one system names the other's id; number: one customer, one direction, one time; []: off"
    )
    within_seconds: Number = setting(60.0, "how far apart the two systems' times of one call may be")
    id_fields: Texts = setting(
        ("external_call_id",), "custom fields of a call that may hold the other system's id of it"
    )

    @property
    def is_on(self) -> bool:
        return len(self.sources) > 1 and bool(self.by)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One call centre."""

    timezone: str = setting("UTC", "IANA zone of the call centre; reports and business hours use it")
    region: str = setting("", "two-letter country of numbers written without a country code, e.g. KZ")
    service_level_seconds: Number = setting(20.0, "an answer within these seconds is within the service level", ge=0)
    service_level_formula: ServiceLevelFormula = setting(
        ServiceLevelFormula.DEFAULT, "default, answered, offered or with_abandons; see /handbook/numbers"
    )
    short_abandon_seconds: Number = setting(5.0, "a caller who hangs up sooner is a short abandon", ge=0)
    talked_seconds: Number = setting(10.0, "a conversation of at least these seconds counts as talked", ge=0)
    longest_call_hours: Number = setting(
        24.0, "a call that seems longer has a wrong clock: it counts, and gives no figure of time", gt=0, le=48
    )
    first_day: str = setting("2010-01-01", "what is told of an earlier day comes from a clock that was never set")
    clock_tolerance_minutes: Number = setting(
        15.0, "how far a source's clock may be ahead of this machine's", ge=0, le=1440
    )
    expire_after_hours: Number = setting(4.0, "a call whose end has not arrived after this is expired", gt=0, le=24)
    write_off_days: Number = setting(7.0, "a missed call that nobody returned in this time is written off", gt=0)
    numbers_in_views: NumbersShown = setting(
        NumbersShown.MASKED, "customers' numbers in the SQL views: masked, or full for those who call back from Grafana"
    )
    business_hours: dict[str, str] = setting(
        {},
        'per weekday mon…sun, "09:00-18:00" or "22:00-06:00"; a day that is absent is closed; none: always open',
    )
    holidays: Texts = setting((), 'closed days, "2026-12-31"')
    special_days: dict[str, str] = setting({}, 'days with other business hours, "2026-12-31" = "10:00-15:00"')
    targets: Targets = setting(Targets, "what the board is coloured by")
    same_call: SameCall = setting(SameCall, "when calls of two sources are one call")
    queues: dict[str, Queue] = setting({}, "queues by the id that the source sends")
    lines: dict[str, Named] = setting({}, "lines (our numbers) by the id that the source sends")
    agents: dict[str, Agent] = setting({}, "agents by the id that the source sends; equal names are one agent")
    people: dict[str, Person] = setting({}, "people by a key of yours, with all their ids")
    teams: dict[str, Team] = setting({}, "teams by a key of yours; none: a portal's departments")
    agent_state_hours: Number = setting(16.0, "an agent of whom no state is told for as long is offline", gt=0, le=168)
    agents_offline_at: str = setting("", 'when those who forgot to log out are offline, "22:00" of the local clock')
    ringing_counts: RingingCounts = setting(
        RingingCounts.AVAILABLE, "in the occupancy a ringing phone is available, work or out"
    )
    fields: dict[str, ReportField] = setting({}, "custom fields of calls that reports may be split by, by their key")
    goals: dict[str, Goal] = setting({}, "goals by an id; targets are the goals of service level and missed share")
    reports: dict[str, Report] = setting({}, "summaries that are sent")
    shifts: dict[str, ShiftPlan] = setting({}, "shifts by an id; none: one shift, day, of the business hours")

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Server:
    listen: str = setting("127.0.0.1:8090", "address and port of webhooks, API and /metrics")
    processes: Whole = setting(1, "web processes that share the port; one per core at the most", gt=0)
    max_body_bytes: Whole = setting(16 * 1024 * 1024, "a larger request is refused with 413", gt=0)
    max_waiting: Whole = setting(
        2000, "requests in flight per process; one more is answered 503 with Retry-After", gt=0
    )
    request_timeout_seconds: Number = setting(15.0, "a client slower than this with its request is cut", gt=0)
    public_url: str = setting(
        "", "address under which people reach this server, for links: https://callkpi.example.com"
    )
    trusted_proxies: Texts = setting(
        ("127.0.0.1", "::1"),
        "addresses or networks of reverse proxies: who asks, whose tries of tokens count, is in their X-Forwarded-For",
    )
    max_viewers: Whole = setting(100, "boards per process that follow live; one more gets its numbers by polling", gt=0)
    api_token: Secret = secret_setting("", "bearer token of an admin; without any token only this machine may read")
    metrics_token: Secret = secret_setting(
        "", "bearer token of /metrics; without one everybody who reaches it may read it"
    )


@dataclass(frozen=True, slots=True)
class Token:
    """One reader of the API and the pages."""

    token: Secret = secret_setting("", "sent as 'Authorization: Bearer …', or opened once as '?token=…' by a browser")
    role: Role = setting(Role.VIEWER, "viewer, supervisor, manager or admin; see /handbook/install")
    tenants: Texts = setting((), "the call centres that may be read; empty: all")


@dataclass(frozen=True, slots=True)
class Api:
    requests_per_second: Number = setting(
        20.0, "per token, and the fourfold per address, in each web process; faster is answered 429; 0: no limit", ge=0
    )
    cors_origins: Texts = setting(
        (), 'sites whose pages may read the API with a token of theirs, e.g. "https://crm.example"'
    )
    claim_minutes: Number = setting(
        30.0, "a claim of a missed customer ends by itself after this, unless it says another time", ge=1, le=24 * 60
    )


@dataclass(frozen=True, slots=True)
class Mail:
    server: str = setting("", "HOST:PORT of the SMTP server; 587 with starttls, 465 with tls")
    security: str = setting("starttls", "starttls, tls, or none for a server on this machine")
    user: str = setting("", "who logs in; empty: nobody does")
    password: Secret = secret_setting("", "and by what")
    sender: str = setting("", "the address that reports come from")


@dataclass(frozen=True, slots=True)
class Telegram:
    token: Secret = secret_setting("", "of the bot that sends reports, as @BotFather gives it")
    api_url: str = setting("https://api.telegram.org", "another one for a Bot API server of your own")


@dataclass(frozen=True, slots=True)
class Database:
    url: Secret = secret_setting("", "postgresql://… of a PostgreSQL 14 or newer; empty: the embedded one in data_dir")
    data_dir: str = setting("", "where the embedded PostgreSQL and the spool live; empty: the user's data directory")
    reader_password: Secret = secret_setting(
        "", "password of the role callkpi_reader, which Grafana reads the views as"
    )


@dataclass(frozen=True, slots=True)
class Spool:
    limit_mib: Whole = setting(
        256, "what may wait in database.data_dir while PostgreSQL is away; more is answered 503; 0: no spool", ge=0
    )


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in whole months before the current one; 0: for ever."""

    journal_months: Whole = setting(
        0, "events; a call whose events are gone can't be corrected or rebuilt; 0: for ever", ge=0
    )
    calls_months: Whole = setting(
        0, "calls; their figures stay in every report; more than journal_months; 0: for ever", ge=0
    )
    rejected_days: Whole = setting(0, "payloads that could not be understood, in days; 0: for ever", ge=0)
    numbers_months: Whole = setting(0, "customers' numbers; older calls get pseudonyms instead; 0: for ever", ge=0)
    audit_months: Whole = setting(0, "who read and changed what; 0: for ever", ge=0)
    archive_dir: str = setting("", "a directory where months are written (.csv.gz) before they are dropped; empty: not")

    @property
    def ends(self) -> bool:
        """Whether anything is not kept for ever."""
        return any((self.journal_months, self.calls_months, self.rejected_days, self.numbers_months, self.audit_months))


@dataclass(frozen=True, slots=True)
class Log:
    format: str = setting("auto", "json, console, or auto: console on a terminal, else json")
    level: str = setting("info", "debug, info, warning or error")


@dataclass(frozen=True, slots=True)
class Metrics:
    max_agents: Whole = setting(500, 'agents with series of their own per tenant; the rest are agent="other"', ge=0)
    max_queues: Whole = setting(200, 'queues with series of their own per tenant; the rest are queue="other"', ge=0)
    max_teams: Whole = setting(100, 'teams with series of their own per tenant; the rest are team="other"', ge=0)
    max_lines: Whole = setting(200, 'lines with series of their own per tenant; the rest are line="other"', ge=0)
    max_places: Whole = setting(
        1000,
        'pairs of a queue and a line with series of their own per tenant; the rest are line="other" of the queue',
        ge=0,
    )


@dataclass(frozen=True, slots=True)
class Settings:
    __pydantic_config__ = STRICT

    server: Server = field(default_factory=Server)
    api: Api = field(default_factory=Api)
    database: Database = field(default_factory=Database)
    mail: Mail = field(default_factory=Mail)
    telegram: Telegram = field(default_factory=Telegram)
    spool: Spool = field(default_factory=Spool)
    retention: Retention = field(default_factory=Retention)
    log: Log = field(default_factory=Log)
    metrics: Metrics = field(default_factory=Metrics)
    tenants: dict[str, Tenant] = field(default_factory=lambda: {"default": Tenant()})
    sources: dict[str, Source] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def with_zone(self, source: Source) -> Source:
        """*source* with its tenant's zone where it has none of its own."""
        tenant = self.tenants.get(source.tenant)
        return source if source.timezone or tenant is None else replace(source, timezone=tenant.timezone)

    @property
    def sends_reports(self) -> bool:
        return any(tenant.reports for tenant in self.tenants.values())

    @property
    def portals(self) -> dict[str, Source]:
        """The sources that are asked by REST."""
        return {name: source for name, source in self.sources.items() if source.is_asked}

    @property
    def connected(self) -> dict[str, Source]:
        """The sources that callkpi keeps a connection to."""
        return {name: source for name, source in self.sources.items() if source.keeps_connection}

    @property
    def funnels(self) -> dict[str, Source]:
        """The sources whose CRM gets the call funnel, or a dry run of it."""
        return {name: source for name, source in self.sources.items() if source.writes_items}

    @property
    def data_dir(self) -> Path:
        """Where the embedded database, its files and the spool live. Raises FileNotFoundError without a home."""
        try:
            if self.database.data_dir:
                return Path(self.database.data_dir).expanduser().absolute()
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                return Path("/var/lib/callkpi")
            base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
            return Path(base) / "callkpi"
        except RuntimeError:
            raise FileNotFoundError(
                "this user has no home directory to keep data in; set CALLKPI_DATA_DIR to a directory that it may write"
            ) from None

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.server.listen.rpartition(":")
        return host.strip("[]"), int(port)


def with_processes(settings: Settings, processes: int) -> Settings:
    """The settings with another number of web processes."""
    return replace(settings, server=replace(settings.server, processes=processes))
