"""What is wrong with a tree of settings, a line each: the key, why, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from callkpi.config.hours import WEEKDAYS, parse_hours
from callkpi.config.same_call_checks import same_call_problems
from callkpi.config.source_checks import source_problems
from callkpi.config.tree import Server, Settings, Tenant
from callkpi.config.words import NAME, is_zone


def check(settings: Settings, problems: list[str]) -> None:
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
        problems.extend(same_call_problems(f"tenants.{name}.same_call", name, settings))
    for name, source in settings.sources.items():
        problems.extend(source_problems(f"sources.{name}", name, source, settings.tenants))


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
