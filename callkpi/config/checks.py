"""What is wrong with a tree of settings, a line each: the key, why, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import date

from callkpi.config.hours import WEEKDAYS, parse_hours
from callkpi.config.report_checks import report_problems
from callkpi.config.same_call_checks import same_call_problems, sources_by_tenant
from callkpi.config.secret_checks import secret_problems
from callkpi.config.shift_checks import calendar_problems, reporting_problems
from callkpi.config.source_checks import source_problems
from callkpi.config.team_checks import team_problems
from callkpi.config.tree import Api, Database, Log, Server, Settings, Tenant
from callkpi.config.words import NAME, guess, is_network, is_zone


def check(settings: Settings) -> Iterator[str]:
    """All that is wrong with the whole; what one number may be, its field in the tree says."""
    yield from _server_problems(settings.server)
    yield from _log_problems(settings.log)
    yield from _api_problems(settings.api)
    yield from _retention_problems(settings)
    yield from report_problems(settings)
    yield from _database_problems(settings.database)
    sources = sources_by_tenant(settings)
    for name, tenant in settings.tenants.items():
        where, own = f"tenants.{name}", sources.get(name, [])
        yield from _tenant_problems(where, name, tenant)
        yield from _people_problems(where, tenant, own)
        yield from same_call_problems(f"{where}.same_call", tenant.same_call, own)
    for name, source in settings.sources.items():
        yield from source_problems(f"sources.{name}", name, source, settings.tenants)
    yield from _token_problems(settings)
    yield from secret_problems(settings)


def _log_problems(log: Log) -> Iterator[str]:
    for key, value, known in (("format", log.format, FORMATS), ("level", log.level, LEVELS)):
        if value not in known:
            yield f"log.{key}: {value!r} is none of {', '.join(known)}{guess(value, known)}"


FORMATS = ("auto", "json", "console")
LEVELS = ("debug", "info", "warning", "error")


def _database_problems(database: Database) -> Iterator[str]:
    if database.url and not database.url.startswith(("postgresql://", "postgres://")):
        yield "database.url: must begin with postgresql://, e.g. postgresql://callkpi@db/callkpi"
    if database.reader_password and not re.fullmatch("[ -~]{12,}", database.reader_password):
        yield "database.reader_password: must be at least 12 letters, digits and signs of ASCII"


def _retention_problems(settings: Settings) -> Iterator[str]:
    kept = settings.retention
    if kept.calls_months and not 0 < kept.journal_months < kept.calls_months:
        yield (
            "retention.calls_months: events go before their calls: set retention.journal_months to "
            f"1 … {max(kept.calls_months - 1, 1)}, or calls_months to at least {max(kept.journal_months, 1) + 1}"
        )
    longest = max((tenant.write_off_days for tenant in settings.tenants.values()), default=0)
    for key in ("journal_months", "numbers_months"):
        months = getattr(kept, key)
        if months and months * 28 < longest:
            yield f"retention.{key}: {months} is less than a tenant's write_off_days ({longest:g}); make it longer"
    if kept.archive_dir and not kept.archive_dir.startswith("/"):
        yield f"retention.archive_dir: {kept.archive_dir!r} must be an absolute path, e.g. /var/backups/callkpi"


def _people_problems(where: str, tenant: Tenant, sources: Collection[str]) -> Iterator[str]:
    """Each id is one person's, and names a source that there is."""
    owners: dict[str, str] = {}
    named = [(f"people.{name}.ids", f"people.{name}", key) for name, who in tenant.people.items() for key in who.ids]
    named += [(f"agents.{key}", f"agents.{key}", key) for key in tenant.agents]
    for place, owner, key in named:
        source, colon, number = key.partition(":")
        if colon and (source not in sources or not number):
            known = ", ".join(sources) or "none"
            yield f"{where}.{place}: {key!r} must be SOURCE:ID with a source of this tenant ({known}), or ID alone"
        if owners.setdefault(key, owner) != owner:
            yield f"{where}.{place}: {key!r} is in {owners[key]} too; name each id once"
    yield from team_problems(where, tenant)


def _server_problems(server: Server) -> Iterator[str]:
    host, _, port = server.listen.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= 65535:
        # Port 0 would be another one for each process, and nobody would know which.
        yield f"server.listen: {server.listen!r} must be HOST:PORT, e.g. 127.0.0.1:8090"
    if server.public_url and not re.fullmatch(r"https?://[^\s?#]+", server.public_url):
        yield f"server.public_url: {server.public_url!r} must be an address, e.g. https://callkpi.example.com"
    for text in server.trusted_proxies:
        if not is_network(text):
            yield f"server.trusted_proxies: {text!r} must be an address or a network, e.g. 10.0.0.0/8"


def _api_problems(api: Api) -> Iterator[str]:
    for origin in api.cors_origins:
        if not re.fullmatch(r"https?://[^/\s*]+", origin):
            yield f"api.cors_origins: {origin!r} must be like https://crm.example, without a path"


#: Names of readers that no token gives: who has server.api_token, and who is on this machine.
_RESERVED = ("api_token", "local")
#: Shorter ones can be guessed.
_TOKEN_LENGTH = 16


def _token_problems(settings: Settings) -> Iterator[str]:
    seen = {settings.server.api_token: "server.api_token"}
    for name, entry in settings.tokens.items():
        where = f"tokens.{name}"
        if not NAME.fullmatch(name) or name in _RESERVED:
            yield f"{where}: a token's name has letters, digits, '_', '.', '-', at most 64, and is none of {_RESERVED}"
        if not re.fullmatch(f"[!-~]{{{_TOKEN_LENGTH},}}", entry.token):
            yield (
                f"{where}.token: is required, at least {_TOKEN_LENGTH} letters, digits and signs of ASCII, e.g. from "
                f"'openssl rand -hex 24'; a file that holds it: CALLKPI_TOKENS__{name.upper()}__TOKEN_FILE"
            )
        elif entry.token in seen:
            yield f"{where}.token: is that of {seen[entry.token]}; each reader has one of his own"
        seen.setdefault(entry.token, where)
        for tenant in entry.tenants:
            if tenant not in settings.tenants:
                yield f"{where}.tenants: no tenant {tenant!r}{guess(tenant, settings.tenants)}"


def _is_first_day(text: str) -> bool:
    try:
        return len(text) == 10 and date.fromisoformat(text).year >= 1990
    except ValueError:
        return False


def _tenant_problems(where: str, name: str, tenant: Tenant) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a tenant's name has letters, digits, '_', '.', '-', at most 64"
    if not is_zone(tenant.timezone):
        yield f"{where}.timezone: {tenant.timezone!r} is no IANA zone; write e.g. Asia/Almaty"
    if tenant.region and not re.fullmatch("[A-Z]{2}", tenant.region):
        yield f"{where}.region: {tenant.region!r} must be two capital letters, e.g. KZ"
    if not _is_first_day(tenant.first_day):
        yield f'{where}.first_day: {tenant.first_day!r} must be a day from 1990 on, e.g. "2010-01-01"'
    if tenant.agents_offline_at and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", tenant.agents_offline_at):
        yield f'{where}.agents_offline_at: {tenant.agents_offline_at!r} must be a time like "22:00"'
    for key in ("service_level", "missed_share"):
        if not 0 < getattr(tenant.targets, key) <= 1:
            share = getattr(tenant.targets, key)
            yield f"{where}.targets.{key}: {share:g} must be a share above 0, at most 1, e.g. 0.8"
    for day, hours in tenant.business_hours.items():
        if day not in WEEKDAYS:
            yield f"{where}.business_hours.{day}: is none of {', '.join(WEEKDAYS)}"
        elif parse_hours(hours) is None:
            yield f'{where}.business_hours.{day}: {hours!r} must be like "09:00-18:00"'
    yield from calendar_problems(where, tenant)
    yield from reporting_problems(where, tenant)
