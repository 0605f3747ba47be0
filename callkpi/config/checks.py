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
from callkpi.config.tree import Api, Server, Settings, Tenant
from callkpi.config.words import NAME, guess, is_network, is_zone


def check(settings: Settings, problems: list[str]) -> None:
    problems.extend(_server_problems(settings.server))
    if settings.log.format not in ("auto", "json", "console"):
        problems.append(f"log.format: {settings.log.format!r} is none of auto, json, console")
    if settings.log.level not in ("debug", "info", "warning", "error"):
        problems.append(f"log.level: {settings.log.level!r} is none of debug, info, warning, error")
    problems.extend(_api_problems(settings.api))
    if settings.spool.limit_mib < 0:
        problems.append("spool.limit_mib: must not be negative; 0 means no spool")
    problems.extend(_retention_problems(settings))
    problems.extend(report_problems(settings))
    url = settings.database.url
    if url and not url.startswith(("postgresql://", "postgres://")):
        problems.append("database.url: must begin with postgresql://, e.g. postgresql://callkpi@db/callkpi")
    password = settings.database.reader_password
    if password and not re.fullmatch("[ -~]{12,}", password):
        problems.append("database.reader_password: must be at least 12 letters, digits and signs of ASCII")
    sources = sources_by_tenant(settings)
    for name, tenant in settings.tenants.items():
        problems.extend(_tenant_problems(f"tenants.{name}", name, tenant))
        own = sources.get(name, [])
        problems.extend(_people_problems(f"tenants.{name}", tenant, own))
        problems.extend(same_call_problems(f"tenants.{name}.same_call", tenant.same_call, own))
    for name, source in settings.sources.items():
        problems.extend(source_problems(f"sources.{name}", name, source, settings.tenants))
    problems.extend(_token_problems(settings))
    problems.extend(secret_problems(settings))


def _retention_problems(settings: Settings) -> Iterator[str]:
    kept = settings.retention
    for key in ("journal_months", "calls_months", "rejected_days", "numbers_months", "audit_months"):
        if getattr(kept, key) < 0:
            yield f"retention.{key}: must not be negative; 0 means for ever"
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
    for key in ("processes", "max_body_bytes", "max_waiting", "request_timeout_seconds", "max_viewers"):
        if getattr(server, key) <= 0:
            yield f"server.{key}: must be above 0"


def _api_problems(api: Api) -> Iterator[str]:
    if api.requests_per_second < 0:
        yield "api.requests_per_second: must not be negative; 0 means no limit"
    if not 1 <= api.claim_minutes <= 24 * 60:
        yield "api.claim_minutes: must be 1 to 1440"
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
    for key in ("service_level_seconds", "short_abandon_seconds", "talked_seconds"):
        if getattr(tenant, key) < 0:
            yield f"{where}.{key}: must not be negative"
    for key in ("expire_after_hours", "write_off_days"):
        if getattr(tenant, key) <= 0:
            yield f"{where}.{key}: must be above 0"
    if not 0 < tenant.longest_call_hours <= 48:
        yield f"{where}.longest_call_hours: must be above 0, at most 48"
    if not _is_first_day(tenant.first_day):
        yield f'{where}.first_day: {tenant.first_day!r} must be a day from 1990 on, e.g. "2010-01-01"'
    if not 0 <= tenant.clock_tolerance_minutes <= 1440:
        yield f"{where}.clock_tolerance_minutes: must be 0 to 1440"
    if tenant.expire_after_hours > 24:
        yield f"{where}.expire_after_hours: at most 24"
    if not 0 < tenant.agent_state_hours <= 168:
        yield f"{where}.agent_state_hours: must be above 0, at most 168"
    if tenant.agents_offline_at and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", tenant.agents_offline_at):
        yield f'{where}.agents_offline_at: {tenant.agents_offline_at!r} must be a time like "22:00"'
    for key in ("service_level", "missed_share"):
        if not 0 < getattr(tenant.targets, key) <= 1:
            share = getattr(tenant.targets, key)
            yield f"{where}.targets.{key}: {share:g} must be a share above 0, at most 1, e.g. 0.8"
    if tenant.targets.callback_minutes <= 0:
        yield f"{where}.targets.callback_minutes: must be above 0"
    if tenant.targets.silent_minutes < 1:
        yield f"{where}.targets.silent_minutes: must be at least 1"
    for day, hours in tenant.business_hours.items():
        if day not in WEEKDAYS:
            yield f"{where}.business_hours.{day}: is none of {', '.join(WEEKDAYS)}"
        elif parse_hours(hours) is None:
            yield f'{where}.business_hours.{day}: {hours!r} must be like "09:00-18:00"'
    yield from calendar_problems(where, tenant)
    yield from reporting_problems(where, tenant)
