"""What passes is tried again; what does not is the content's, and costs the content."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from callkpi.database.errors import is_content_error, is_passing
from tests.world import World

PASSING = (
    asyncpg.PostgresConnectionError, asyncpg.ConnectionDoesNotExistError, asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError, asyncpg.TooManyConnectionsError, asyncpg.QueryCanceledError,
    asyncpg.CannotConnectNowError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError, asyncpg.ReadOnlySQLTransactionError, asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.InternalServerError,
    asyncpg.DataCorruptedError, asyncpg.PostgresIOError, asyncpg.UndefinedTableError,
    asyncpg.IdleInTransactionSessionTimeoutError, asyncpg.InvalidCachedStatementError, asyncpg.InterfaceError,
    asyncpg.InternalClientError, asyncpg.OutdatedSchemaCacheError, ConnectionResetError, ConnectionRefusedError,
    TimeoutError, asyncio.TimeoutError, MemoryError,
)  # fmt: skip

CONTENT = (
    asyncpg.DataError, asyncpg.NumericValueOutOfRangeError, asyncpg.DatetimeFieldOverflowError,
    asyncpg.UntranslatableCharacterError, asyncpg.ProgramLimitExceededError, asyncpg.StatementTooComplexError,
    asyncpg.CheckViolationError, asyncpg.NotNullViolationError, asyncpg.UniqueViolationError,
    asyncpg.InvalidObjectDefinitionError, asyncpg.RaiseError, asyncpg.CardinalityViolationError,
    ValueError, TypeError, OverflowError, KeyError, RecursionError, RuntimeError, AssertionError,
)  # fmt: skip


@pytest.mark.parametrize("kind", PASSING, ids=lambda kind: kind.__name__)
def test_the_state_of_the_server_passes(kind: type[Exception]) -> None:
    assert is_passing(kind("so it is"))
    assert not is_content_error(kind("so it is"))


@pytest.mark.parametrize("kind", CONTENT, ids=lambda kind: kind.__name__)
def test_everything_else_is_the_contents(kind: type[Exception]) -> None:
    assert is_content_error(kind("so it is"))
    assert not is_passing(kind("so it is"))


def test_a_group_passes_when_one_of_it_does() -> None:
    assert is_passing(ExceptionGroup("", [ValueError(), ExceptionGroup("", [TimeoutError()])]))
    assert is_content_error(ExceptionGroup("", [ValueError(), asyncpg.DataError("")]))


@pytest.mark.parametrize(
    "statement, arguments",
    [
        ("SELECT $1::text", [b"bytes"]),  # the client can't encode it
        ("SELECT $1::int", [2**40]),
        ("SELECT $1::text", ["\ud800"]),
        ("SELECT $1::text", ["a\x00b"]),
        ("SELECT ('1' || $1::text)::int", ["x"]),
        ("SELECT ensure_partition('journal', 'infinity'::timestamptz)", []),
        ("INSERT INTO names (tenant, kind, name) VALUES ('t', 'k', $1)", [None]),
    ],
)
async def test_what_postgres_and_its_client_say_of_content(world: World, statement: str, arguments: list[str]) -> None:
    with pytest.raises(Exception) as told:
        await world.pool.fetch(statement, *arguments)
    assert is_content_error(told.value)


@pytest.mark.parametrize(
    "before, statement",
    [
        ("SET LOCAL statement_timeout = '5ms'", "SELECT pg_sleep(1)"),
        ("SET TRANSACTION READ ONLY", "INSERT INTO names (tenant, kind, name) VALUES ('t', 'k', 'n')"),
        ("SELECT 1", "SELECT pg_terminate_backend(pg_backend_pid())"),
        ("SELECT 1", "SELECT * FROM no_such_table"),
    ],
)
async def test_what_postgres_says_of_its_state(dsn: str, before: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "callkpi"})
    try:
        await connection.execute("BEGIN")
        await connection.execute(before)
        with pytest.raises(Exception) as told:
            await connection.execute(statement)
        assert is_passing(told.value)
    finally:
        connection.terminate()
