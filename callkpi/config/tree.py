"""The settings as one typed tree; each field says what it is for, and the example file is made of that."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.glossary import ServiceLevelFormula


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
    THREECX = "threecx"
    CSV = "csv"


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
class Agent(Named):
    team: str = setting("", "key or name of the agent's team")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom several sources know by ids of their own."""

    name: str = setting("", "shown everywhere; the table's own key where absent")
    ids: tuple[str, ...] = setting((), 'of every source: "pbx:58" is id 58 of source pbx, "1003" that of any source')
    team: str = setting("", "key or name of the person's team")


@dataclass(frozen=True, slots=True)
class Team:
    name: str = setting("", "shown instead of the table's own key")
    agents: tuple[str, ...] = setting((), 'who is in it, by id as in people: "pbx:58", "1003"; or say team there')


class RingingCounts(StrEnum):
    """What a ringing phone is for the occupancy."""

    AVAILABLE = "available"
    WORK = "work"
    OUT = "out"


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


class OnHolidays(StrEnum):
    """What a shift does on a holiday of its call centre."""

    CLOSED = "closed"
    WORKS = "works"


@dataclass(frozen=True, slots=True)
class ShiftPlan:
    """A named shift as it is planned: which hours of which days."""

    name: str = setting("", "shown instead of the shift's id")
    hours: str = setting("", '"20:00-08:00": the next morning where the end is not after the begin')
    days: tuple[str, ...] = setting((), "the weekdays on which it begins at these hours; none: every day")
    by_day: dict[str, str] = setting({}, 'weekdays with other hours, sat = "10:00-14:00"; "closed": none')
    special_days: dict[str, str] = setting({}, 'dates with other hours, "2026-12-31" = "10:00-15:00"; "closed": none')
    on_holidays: OnHolidays = setting(OnHolidays.CLOSED, "closed or works, on the tenant's holidays and special days")
    queues: tuple[str, ...] = setting((), "the queues it is about; none: all")
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
    target: float = setting(0.0, "the value to reach; shares from 0 to 1, times in seconds")
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
    values: tuple[str, ...] = setting((), "the values that are told apart, the others are other; none: the first ones")
    limit: int = setting(50, "how many values are told apart, the most frequent ones; the others are other")


@dataclass(frozen=True, slots=True)
class Report:
    """A summary that is sent when its period is over."""

    period: str = setting("shift", "shift (every one), shift:ID, day, week, month or quarter")
    to: tuple[str, ...] = setting(
        (),
        "mailto:name@example.com, telegram:CHAT, bitrix24:SOURCE/chat42 or SOURCE/feed, folder:/directory, https://…",
    )
    language: str = setting("en", "en or ru")
    files: tuple[str, ...] = setting(("pdf",), "what goes with it: pdf, xlsx, csv, html, json")
    wait_minutes: float = setting(15.0, "late events have this long after the end of the period")
    corrections_days: float = setting(
        3.0, "if late events change its figures after that, a correction is sent; 0: none"
    )
    secret: str = setting("", "of https receivers: key of the signature in the header X-Callkpi-Signature")


@dataclass(frozen=True, slots=True)
class SameCall:
    """When calls that two sources of a tenant tell of are one call. Without sources each source counts by itself."""

    sources: tuple[str, ...] = setting(
        (), 'sources that see the same calls, whose facts lead first, e.g. ["pbx", "portal"]; none: each counts alone'
    )
    by: tuple[str, ...] = setting(
        ("id", "number"), "id: one system names the other's id; number: one customer, one direction, one time; []: off"
    )
    within_seconds: float = setting(60.0, "how far apart the two systems' times of one call may be")
    id_fields: tuple[str, ...] = setting(
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
    service_level_seconds: float = setting(20.0, "an answer within these seconds is within the service level")
    service_level_formula: ServiceLevelFormula = setting(
        ServiceLevelFormula.DEFAULT, "default, answered, offered or with_abandons; see the README's glossary"
    )
    short_abandon_seconds: float = setting(5.0, "a caller who hangs up sooner is a short abandon")
    talked_seconds: float = setting(10.0, "a conversation of at least these seconds counts as talked")
    longest_call_hours: float = setting(
        24.0, "a call that seems longer has a wrong clock: it counts, and gives no figure of time"
    )
    first_day: str = setting("2010-01-01", "what is told of an earlier day comes from a clock that was never set")
    clock_tolerance_minutes: float = setting(15.0, "how far a source's clock may be ahead of this machine's")
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
    special_days: dict[str, str] = setting({}, 'days with other business hours, "2026-12-31" = "10:00-15:00"')
    targets: Targets = field(default_factory=Targets, metadata={"doc": "what the board is coloured by"})
    same_call: SameCall = field(default_factory=SameCall, metadata={"doc": "when calls of two sources are one call"})
    queues: dict[str, Queue] = setting({}, "queues by the id that the source sends")
    lines: dict[str, Named] = setting({}, "lines (our numbers) by the id that the source sends")
    agents: dict[str, Agent] = setting({}, "agents by the id that the source sends; equal names are one agent")
    people: dict[str, Person] = setting({}, "people by a key of yours, with all their ids")
    teams: dict[str, Team] = setting({}, "teams by a key of yours; none: a portal's departments")
    agent_state_hours: float = setting(16.0, "an agent of whom no state is told for as long is offline")
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


#: Fields of 3CX's CDR service in the order that it proposes.
THREECX_FIELDS = (
    "historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated", "from-no",
    "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn", "bill-code", "bill-rate",
    "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type", "from-dispname", "to-dispname",
    "final-dispname", "missed-queue-calls",
)  # fmt: skip


class FunnelItems(StrEnum):
    """Which calls become items of the pipeline in the CRM."""

    MISSED = "missed"
    OFFERED = "offered"


class Language(StrEnum):
    EN = "en"
    RU = "ru"


@dataclass(frozen=True, slots=True)
class Funnel:
    """The call funnel as a pipeline of its own in a Bitrix24 portal."""

    enabled: bool = setting(False, "write the call funnel into the portal's CRM; rest_url then needs the right crm")
    dry_run: bool = setting(True, "only log and count what would be written; false: write it")
    pipeline: str = setting("Call funnel", "name of the pipeline of deals that is made for it")
    language: Language = setting(Language.EN, "en or ru: names of stages and items")
    items: FunnelItems = setting(
        FunnelItems.MISSED, "missed: an item per missed customer; offered: answered calls are items as well"
    )
    numbers: NumbersShown = setting(
        NumbersShown.MASKED, "numbers in the items' titles: masked, or full for who dials from them"
    )
    responsible: dict[str, str] = setting(
        {},
        "who is responsible for a new item: portal user's number by agent:ID, line:ID, queue:ID or *; none: the "
        "owner of the webhook",
    )
    lookback_hours: float = setting(24.0, "calls that began earlier get no new item")
    every_seconds: float = setting(30.0, "how often the funnel is compared with what was written")


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
    silent_minutes: float | None = setting(
        None, "in business hours it is silent for no longer; absent: the tenant's targets; 0: it may be, as it likes"
    )
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
    funnel: Funnel = field(default_factory=Funnel, metadata={"doc": "bitrix24: the call funnel in the portal's CRM"})

    ami_address: str = setting(
        "", "asterisk: its manager interface, host:5038; callkpi connects and keeps the connection"
    )
    ami_user: str = setting("", "asterisk: the section of manager.conf")
    ami_secret: str = setting("", "asterisk: its secret")
    ami_tls: bool = setting(False, "asterisk: the address speaks TLS (tlsenable in manager.conf, port 5039)")
    ami_ca: str = setting("", "asterisk: file with the certificate to trust; empty: the system's authorities")
    encoding: str = setting("", "asterisk: of names in queue_log, such as cp1251; empty: UTF-8, else cp1251 by a guess")
    queue_log: str = setting("", "asterisk: this file is followed, e.g. /var/log/asterisk/queue_log; not with AMI")

    cdr_fields: tuple[str, ...] = setting(THREECX_FIELDS, "threecx: the fields of its CDR output, in their order")
    esl_address: str = setting("", "freeswitch: its event socket, host:8021; callkpi connects and keeps the connection")
    esl_password: str = setting("", "freeswitch: the password in event_socket.conf.xml")

    @property
    def keeps_connection(self) -> bool:
        """Whether callkpi itself connects to this source, or follows its file."""
        return bool(self.ami_address or self.queue_log or self.esl_address)

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
    public_url: str = setting(
        "", "address under which people reach this server, for links: https://callkpi.example.com"
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"),
        "addresses or networks of reverse proxies: who asks, whose tries of tokens count, is in their X-Forwarded-For",
    )
    max_viewers: int = setting(100, "boards per process that follow live; one more gets its numbers by polling")
    api_token: str = setting("", "bearer token of an admin; without any token only this machine may read")
    metrics_token: str = setting("", "bearer token of /metrics; without one everybody who reaches it may read it")


@dataclass(frozen=True, slots=True)
class Token:
    """One reader of the API and the pages."""

    token: str = setting("", "sent as 'Authorization: Bearer …', or opened once as '?token=…' by a browser")
    role: Role = setting(Role.VIEWER, "viewer, supervisor, manager or admin; see the README")
    tenants: tuple[str, ...] = setting((), "the call centres that may be read; empty: all")


@dataclass(frozen=True, slots=True)
class Api:
    requests_per_second: float = setting(
        20.0, "per token, and the fourfold per address, in each web process; faster is answered 429; 0: no limit"
    )
    cors_origins: tuple[str, ...] = setting(
        (), 'sites whose pages may read the API with a token of theirs, e.g. "https://crm.example"'
    )
    claim_minutes: float = setting(
        30.0, "a claim of a missed customer ends by itself after this, unless it says another time"
    )


@dataclass(frozen=True, slots=True)
class Mail:
    server: str = setting("", "HOST:PORT of the SMTP server; 587 with starttls, 465 with tls")
    security: str = setting("starttls", "starttls, tls, or none for a server on this machine")
    user: str = setting("", "who logs in; empty: nobody does")
    password: str = setting("", "and by what")
    sender: str = setting("", "the address that reports come from")


@dataclass(frozen=True, slots=True)
class Telegram:
    token: str = setting("", "of the bot that sends reports, as @BotFather gives it")
    api_url: str = setting("https://api.telegram.org", "another one for a Bot API server of your own")


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
class Retention:
    """How long things are kept, in whole months before the current one; 0: for ever."""

    journal_months: int = setting(0, "events; a call whose events are gone can't be corrected or rebuilt; 0: for ever")
    calls_months: int = setting(0, "calls; their figures stay in every report; more than journal_months; 0: for ever")
    rejected_days: int = setting(0, "payloads that could not be understood, in days; 0: for ever")
    numbers_months: int = setting(0, "customers' numbers; older calls get pseudonyms instead; 0: for ever")
    audit_months: int = setting(0, "who read and changed what; 0: for ever")
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
    max_agents: int = setting(500, 'agents with series of their own per tenant; the rest are agent="other"')
    max_queues: int = setting(200, 'queues with series of their own per tenant; the rest are queue="other"')
    max_teams: int = setting(100, 'teams with series of their own per tenant; the rest are team="other"')
    max_lines: int = setting(200, 'lines with series of their own per tenant; the rest are line="other"')
    max_places: int = setting(
        1000, 'pairs of a queue and a line with series of their own per tenant; the rest are line="other" of the queue'
    )


@dataclass(frozen=True, slots=True)
class Settings:
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
        """The sources that may be asked by REST."""
        return {name: source for name, source in self.sources.items() if source.rest_url}

    @property
    def connected(self) -> dict[str, Source]:
        """The sources that callkpi keeps a connection to."""
        return {name: source for name, source in self.sources.items() if source.keeps_connection}

    @property
    def funnels(self) -> dict[str, Source]:
        """The portals whose CRM gets the call funnel, or a dry run of it."""
        return {name: source for name, source in self.portals.items() if source.funnel.enabled}

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
