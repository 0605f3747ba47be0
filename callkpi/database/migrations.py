"""The schema: plain SQL in sql/migrations, applied in order under a lock by pogo-core."""

from __future__ import annotations

import logging

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate
from pogo_core.util.sql import get_applied_migrations

from callkpi import __version__
from callkpi.database import resources, store

#: What was applied is returned; pogo's own lines would come between the daemon's.
_SILENT = logging.getLogger("callkpi.database.migrations")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

#: Advisory lock of whoever migrates; any constant that no other application uses.
_LOCK = 0x63616C6C6B7069


class NewerSchema(Exception):
    """A newer callkpi has worked on this database. The text says what to do."""


async def apply(dsn: str) -> list[str]:
    """Bring the schema up to date, one process at a time. Returns the names of what was applied.

    Raises NewerSchema for what this version would write wrongly.
    """
    connection = await store.connect(dsn, role="migrate")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {store.SCHEMA}")
        before = await applied(connection)
        directory = resources.directory("sql") / "migrations"
        if unknown := sorted(before - {path.stem for path in directory.glob("*.sql")}):
            names = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
            raise NewerSchema(
                f"a newer callkpi has worked on this database: version {__version__} does not know {names}; start the "
                "newer one again, or restore a backup from before it; see 'Going back' in /handbook/install"
            )
        try:
            await migrate.apply(connection, directory, schema_name=store.SCHEMA, logger=_SILENT)
        except BadMigrationError as error:
            # What the database said decides whether to wait for it.
            raise error.__cause__ or error from None
        await connection.execute(store.query("projection", "knows"), newest())
        return sorted(await applied(connection) - before)
    finally:
        await connection.close()


async def applied(connection: asyncpg.Connection) -> set[str]:
    """Names of the migrations that this database has."""
    table = await connection.fetchval("SELECT to_regclass('public._pogo_migration')")
    return set(await get_applied_migrations(connection, schema_name=store.SCHEMA)) if table else set()


def newest() -> str:
    """The name of the last migration that this version knows."""
    return store.newest_migration()
