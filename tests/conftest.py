"""Fixtures: a real PostgreSQL for the whole run, emptied before each test that uses it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from callkpi.database import embedded, migrations, store
from tests.stand_ins.receivers import server
from tests.world import World, test_settings

__all__ = ["server"]

hypothesis_settings.register_profile(
    "callkpi",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
hypothesis_settings.load_profile("callkpi")

#: As the daemon writes its log; structlog's own default lays out each local variable of a traceback, for seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

#: More workers than this wait for each other's servers.
_MOST_WORKERS = 4


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker for each core; none where some files are asked for, which would be ready before the workers are.

    A database that was given is one for all.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or any(".py" in argument for argument in config.args) or os.environ.get("TEST_DATABASE_URL"):
        return 0
    return min(cores, _MOST_WORKERS)


#: The shared database need not outlive a crash of the machine. The daemons of the tests have servers of their own, as
#: they are delivered.
_FORGETFUL = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A directory that the account of an embedded PostgreSQL can reach, which pytest's own is not for root."""
    path = Path(tempfile.mkdtemp(prefix="callkpi-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def dsn(data_dir: Path) -> Iterator[str]:
    """A migrated database: the embedded one, or TEST_DATABASE_URL to test against another PostgreSQL."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        assert "PYTEST_XDIST_WORKER" not in os.environ, "TEST_DATABASE_URL is one database: add -n 0"
        asyncio.run(migrations.apply(given))
        yield given
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "SETTINGS", embedded.SETTINGS | _FORGETFUL)
        server = embedded.start(data_dir / "shared")
    asyncio.run(migrations.apply(server.dsn))
    yield server.dsn
    server.stop()


@pytest.fixture(scope="session")
async def pool(dsn: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await store.create_pool(dsn, role="test", size=8)
    yield pool
    await pool.close()


@pytest.fixture
async def world(pool: asyncpg.Pool) -> AsyncIterator[World]:
    """An empty store with a journal and a projector on it."""
    world = World(pool, test_settings())
    await world.clear()
    async with world.running():
        yield world
