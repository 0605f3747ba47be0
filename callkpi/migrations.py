"""The schema: plain SQL in sql/migrations, applied in order under a lock by pogo-core."""

from __future__ import annotations

import logging

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate
from pogo_core.util.sql import get_applied_migrations

from callkpi import resources, store

#: What was applied is returned; pogo's own lines would come between the daemon's.
_SILENT = logging.getLogger("callkpi.migrations")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

#: Advisory lock of whoever migrates; any constant that no other application uses.
_LOCK = 0x63616C6C6B7069


async def apply(dsn: str) -> list[str]:
    """Bring the schema up to date, one process at a time. Returns the names of what was applied."""
    connection = await store.connect(dsn, role="migrate")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {store.SCHEMA}")
        before = await applied(connection)
        directory = resources.directory("sql") / "migrations"
        try:
            await migrate.apply(connection, directory, schema_name=store.SCHEMA, logger=_SILENT)
        except BadMigrationError as error:
            # What the database said decides whether to wait for it.
            raise error.__cause__ or error from None
        return sorted(await applied(connection) - before)
    finally:
        await connection.close()


async def applied(connection: asyncpg.Connection) -> set[str]:
    """Names of the migrations that this database has."""
    table = await connection.fetchval("SELECT to_regclass('public._pogo_migration')")
    return set(await get_applied_migrations(connection, schema_name=store.SCHEMA)) if table else set()


def newest() -> str:
    """The name of the last migration that this version knows."""
    return max(path.stem for path in (resources.directory("sql") / "migrations").glob("*.sql"))
