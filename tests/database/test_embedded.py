"""The PostgreSQL that comes along: started where another one has just been killed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import asyncpg

from callkpi.database import embedded


async def test_processes_that_a_killed_server_left_are_waited_for(data_dir: Path) -> None:
    """One that hangs on holds the memory of the old server, and PostgreSQL would not start beside it."""
    place = data_dir / "orphans"
    place.mkdir(mode=0o755)
    await asyncio.to_thread(embedded.start, place)
    connection = await asyncpg.connect(embedded.dsn(place))
    backend = connection.get_server_pid()
    postmaster = int((place / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(backend, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    while embedded.is_running(place / "postgres"):
        await asyncio.sleep(0.01)
    starting = asyncio.create_task(asyncio.to_thread(embedded.start, place))
    await asyncio.sleep(1.0)
    assert not starting.done()
    os.kill(backend, signal.SIGKILL)
    server = await starting
    try:
        again = await asyncpg.connect(server.dsn)
        assert await again.fetchval("SELECT 1") == 1
        await again.close()
    finally:
        server.stop()
        connection.terminate()
