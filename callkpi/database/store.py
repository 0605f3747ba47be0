"""Names of the queries in sql/, and rows to and from the model. Python holds no SQL but these names."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from typing import Any

import asyncpg

from callkpi.database import resources

SCHEMA = "callkpi"

#: The database is away, or in a state that passes: what it was asked is right, and succeeds later.
#: The client's internal error is what it raises on a connection whose server was killed in the middle of an answer.
UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,  # its disk or memory is full, too many connections
    asyncpg.OperatorInterventionError,  # statements cancelled or timed out, it stops, starts or recovers
    asyncpg.PostgresSystemError,  # it can't read or write its files
    asyncpg.TransactionRollbackError,  # deadlocks and serialisation
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # after a failover
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalServerError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
#: What a database answers that does not do what it was asked, whether it is away or refuses.
FAILURES = (asyncpg.PostgresError, *UNAVAILABLE)


@cache
def query(file: str, name: str) -> str:
    """The SQL that stands under ``-- name: …`` in sql/queries/*file*.sql."""
    return _queries(file)[name]


@cache
def _queries(file: str) -> Mapping[str, str]:
    text = (resources.directory("sql") / "queries" / f"{file}.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


async def create_pool(dsn: str, *, role: str, size: int = 4, lazy: bool = False) -> asyncpg.Pool:
    """Connections that speak to callkpi's schema. *role* names the process in pg_stat_activity.

    A *lazy* pool connects when it is first used: the database may be away meanwhile.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=0 if lazy else 1,
        max_size=size,
        command_timeout=60,
        reset=_keep,
        server_settings=_server_settings(role),
    )


@contextlib.asynccontextmanager
async def within(pool: asyncpg.Pool, seconds: float) -> AsyncIterator[asyncpg.Connection]:
    """A connection for work that is over within *seconds*; else it is cut, and TimeoutError is raised.

    A server that is frozen, or whose network swallows everything, answers nothing, not even that a statement was
    cancelled. asyncpg waits for that answer before it takes a connection back: for a minute more than *seconds*.
    """
    async with asyncio.timeout(seconds):
        connection = await pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            await pool.release(connection)


async def _keep(_connection: asyncpg.Connection) -> None:
    """Nothing to reset: callkpi leaves no session state behind, and asyncpg's own reset is a round trip a time."""


async def connect(dsn: str, *, role: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, timeout=10, command_timeout=300, server_settings=_server_settings(role))


def _server_settings(role: str) -> dict[str, str]:
    # JIT compiles for milliseconds what runs for microseconds here.
    return {
        "application_name": f"callkpi-{role}",
        "search_path": SCHEMA,
        "timezone": "UTC",
        "jit": "off",
        "callkpi.knows": newest_migration(),
    }


@cache
def newest_migration() -> str:
    """The name of the last migration that this version knows."""
    return max(path.stem for path in (resources.directory("sql") / "migrations").glob("*.sql"))


async def remove_emptied(
    connection: asyncpg.Connection, statement: str, rows: Sequence[asyncpg.Record]
) -> set[tuple[Any, ...]]:
    """Remove the rows of sums that an upsert has just emptied, by their place. Returns their keys."""
    if rows:
        await connection.execute(statement, [row["place"] for row in rows])
    return {tuple(row.values())[1:] for row in rows}


# -- events -----------------------------------------------------------------------------------------------


# -- calls ------------------------------------------------------------------------------------------------
