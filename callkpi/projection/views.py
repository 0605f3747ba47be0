"""What the SQL views need of the configuration, and the password of the role that reads them.

The views (schema ``callkpi_views``, see the migration) give Grafana the glossary's figures. They must show the names,
the zone and the formula that the configuration says, so the daemon writes these down at each start.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from callkpi import config
from callkpi.calendar import shifts
from callkpi.database import store
from callkpi.people.names import Names

logger = structlog.get_logger()

READER = "callkpi_reader"
#: A working day where no business hours are configured.
WORKING_DAY = timedelta(hours=8)
_SCRAM_ROUNDS = 4096
#: Of which days shifts are told.
SHIFTS_BEFORE, SHIFTS_AFTER = timedelta(days=62), timedelta(days=14)


async def publish(connection: asyncpg.Connection, settings: config.Settings) -> None:
    """Write the settings for the views; let the reader log in if the settings have a password for him."""
    async with connection.transaction():
        await connection.execute(store.query("views", "lock"))
        await connection.execute(store.query("views", "forget"))
        await connection.execute(store.query("views", "forget_names"))
        names = Names(settings)
        await names.refresh(connection)
        for name, tenant in settings.tenants.items():
            await _tell(connection, name, tenant)
            await _tell_names(connection, name, names)
    await publish_shifts(connection, settings, datetime.now(UTC))
    await _admit_reader(connection, settings.database.reader_password)


async def publish_names(connection: asyncpg.Connection, settings: config.Settings) -> None:
    """Write the names again: a portal has told some."""
    async with connection.transaction():
        await connection.execute(store.query("views", "lock"))
        await connection.execute(store.query("views", "forget_names"))
        names = Names(settings)
        await names.refresh(connection)
        for name in settings.tenants:
            await _tell_names(connection, name, names)


async def publish_shifts(connection: asyncpg.Connection, settings: config.Settings, now: datetime) -> None:
    """Write the shifts of the weeks around *now*."""
    rows = [
        (name, shift.id, shift.name, shift.day, shift.begin, shift.end, list(shift.queues), shift.team)
        for name, tenant in settings.tenants.items()
        for shift in shifts.shifts_between(tenant, name, now - SHIFTS_BEFORE, now + SHIFTS_AFTER)
    ]
    async with connection.transaction():
        await connection.execute(store.query("views", "lock"))
        await connection.execute(store.query("views", "forget_shifts"))
        await connection.executemany(store.query("views", "tell_shift"), rows)


async def _tell(connection: asyncpg.Connection, name: str, tenant: config.Tenant) -> None:
    await connection.execute(
        store.query("views", "tell_tenant"), name, tenant.timezone, tenant.service_level_formula.value,
        tenant.service_level_seconds, timedelta(days=tenant.write_off_days), working_day(tenant),
        tenant.numbers_in_views.value, tenant.ringing_counts.value,
    )  # fmt: skip


async def _tell_names(connection: asyncpg.Connection, name: str, names: Names) -> None:
    named = [
        (kind, key, shown)
        for kind in ("queue", "line", "agent")
        for key, shown in {**names.named(name, kind), **names.learnt(name, kind)}.items()
    ]
    named += [("team", key, team) for key, team in names.teams(name).items()]
    columns = [list(column) for column in zip(*named, strict=True)] or [[], [], []]
    await connection.execute(store.query("views", "tell_names"), name, *columns)


def working_day(tenant: config.Tenant) -> timedelta:
    """The longest of the call centre's days by its business hours: what is older is not of today's shift."""
    return max(filter(None, map(_length, tenant.business_hours.values())), default=WORKING_DAY)


def _length(hours: str) -> timedelta | None:
    """From opening to closing; over midnight, and all around the clock, too."""
    parsed = config.parse_hours(hours)
    if parsed is None:
        return None
    opens, closes = (timedelta(hours=at.hour, minutes=at.minute) for at in parsed)
    return closes - opens if closes > opens else closes - opens + timedelta(days=1)


async def _admit_reader(connection: asyncpg.Connection, password: str) -> None:
    """Set the reader's password. What this user may not do is said and is no reason to stop."""
    if not password:
        return
    try:
        async with connection.transaction():
            await connection.execute(store.query("views", "lock"))
            said = await connection.fetchval(store.query("views", "prepare_reader"))
            statement = await connection.fetchval(store.query("views", "login_statement"), verifier(password))
            await connection.execute(statement)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError) as error:
        logger.warning("views.no_reader", role=READER, error=type(error).__name__, hint="see /handbook/grafana")
    else:
        logger.info("views.reader", said=said)


def verifier(password: str, salt: bytes = b"") -> str:
    """What PostgreSQL stores of a password (RFC 5802): it and its logs never see the password itself.

    *password* must be ASCII, which the settings check: other text would have to be normalised first.
    """
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{salt_text}${stored_text}:{server_text}"
