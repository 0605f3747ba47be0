"""The database of a command: opened for as long as it works, made or migrated where that is the command's deed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from callkpi import config
from callkpi.daemon.processes import Failed, prepare
from callkpi.database import embedded, migrations, store


@asynccontextmanager
async def database(
    settings: config.Settings, *, role: str = "command", makes: bool = False
) -> AsyncIterator[asyncpg.Pool]:
    """The store of these settings; the embedded server is started for the command if no daemon runs it.

    Only who *makes* one gets a new one: the figures of an empty database are wrong, and look like good news. Raises
    Failed.
    """
    if not makes:
        await _check_existence(settings)
    server = None
    if not settings.database.url:
        running = embedded.is_running(settings.data_dir / "postgres")
        try:
            started = await asyncio.to_thread(embedded.start, settings.data_dir)
        except embedded.EmbeddedError as error:
            raise Failed(str(error)) from None
        server = None if running else started
        dsn = started.dsn
    else:
        dsn = settings.database.url
    try:
        await prepare(dsn, migrates=makes)
        pool = await store.create_pool(dsn, role=role)
        try:
            yield pool
        except (*store.UNAVAILABLE, ExceptionGroup) as error:
            told = _went_away(error)
            if told is None:
                raise
            raise Failed(f"the database went away ({told}); start the same command again") from None
        finally:
            await pool.close()
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)


async def _check_existence(settings: config.Settings) -> None:
    """Raises Failed where no database of callkpi is. One that doesn't answer may be one."""
    if not settings.database.url:
        if not embedded.exists(settings.data_dir):
            raise Failed(
                f"there is no database in {settings.data_dir} yet; 'callkpi serve' or 'callkpi migrate' makes it; if "
                "it is elsewhere, set CALLKPI_DATA_DIR or database.url"
            )
        return
    try:
        connection = await store.connect(settings.database.url, role="command")
    except (asyncpg.PostgresError, *store.UNAVAILABLE, ValueError):
        return
    try:
        if not await migrations.applied(connection):
            raise Failed("the database that is given has no tables of callkpi; check database.url, or make them with "
                         "'callkpi migrate'")  # fmt: skip
    finally:
        await connection.close()


def _went_away(error: Exception) -> str | None:
    """What the database did, in a word; None where it was something else."""
    if isinstance(error, ExceptionGroup):
        ours, others = error.split(store.UNAVAILABLE)
        return None if others or ours is None else _went_away(ours.exceptions[0])
    # Somebody's file is no database; a socket has no name here.
    return None if isinstance(error, OSError) and error.filename else type(error).__name__


async def migrate(settings: config.Settings) -> list[str]:
    """Bring the schema up to date. Returns what was applied."""
    if settings.database.url:
        try:
            return await migrations.apply(settings.database.url)
        except migrations.NewerSchema as error:
            raise Failed(str(error)) from None
        except (OSError, asyncpg.PostgresError, ValueError) as error:
            raise Failed(f"the database does not answer: {error}; check database.url") from None
    async with database(settings, makes=True):
        return []
