"""The database is killed, frozen, cancelled, read-only, crowded, or restarts at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import asyncpg

from tests.faults.catalogue import Database, NotRun, Scene, Wrong, fault
from tests.faults.postgres import OWN, REFUSALS

if TYPE_CHECKING:
    from tests.faults.system import System

SEPARATE = Scene(database=Database.SEPARATE)
SMALL_SPOOL = Scene(database=Database.SEPARATE, config="\n[spool]\nlimit_mib = 1\n")
#: A window of the source's deduplication (tests.faults.system.CONFIG), and a bit.
APART_SECONDS = 3.0
READ_ONLY = "default_transaction_read_only"
_BACKENDS = f"SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> '{OWN}'"

#: A statement of callkpi lasts for a millisecond or two: only the server itself is fast enough to meet one.
_TELL = f"""
DO $$ BEGIN
    FOR turn IN 1..50 LOOP
        PERFORM {{function}}(pid) FROM ({_BACKENDS} AND state <> 'idle') AS busy;
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.002);
    END LOOP;
END $$
"""


@fault(is_spooled=True)
async def postgres_killed(system: System, _rng: random.Random) -> None:
    """PostgreSQL is killed by kill -9, all of its processes."""
    system.postgres.kill()


@fault(is_spooled=True)
async def postgres_killed_twice(system: System, rng: random.Random) -> None:
    """PostgreSQL is killed, and again as soon as it was started again."""
    system.postgres.kill()
    deadline = time.monotonic() + 30
    while system.postgres.pid() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    await asyncio.sleep(rng.uniform(0, 1))
    system.postgres.kill()


@fault(is_spooled=True)
async def backend_killed(system: System, rng: random.Random) -> None:
    """One backend is killed by kill -9, whereupon PostgreSQL restarts itself."""
    async with system.postgres.connected() as connection:
        pids = [row["pid"] for row in await connection.fetch(_BACKENDS)]
    if not pids:
        raise NotRun("the daemon had no connection")
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGKILL)


@fault(is_spooled=True)
async def postgres_frozen(system: System, rng: random.Random) -> None:
    """PostgreSQL is stopped by SIGSTOP and goes on after some seconds, often more than the journal's patience."""
    system.postgres.freeze()
    await asyncio.sleep(rng.choice([rng.uniform(1, 8), rng.uniform(20, 30)]))
    system.postgres.thaw()


@fault(scene=SEPARATE, is_spooled=True)
async def database_restarted(system: System, rng: random.Random) -> None:
    """A separate PostgreSQL is stopped and comes back after some seconds."""
    system.postgres.kill()
    await asyncio.sleep(rng.uniform(0.5, 6))
    await system.postgres.start()


@fault(is_spooled=True)
async def backends_cancelled(system: System, rng: random.Random) -> None:
    """pg_cancel_backend for every backend of the daemon, again and again."""
    await _tell_backends(system, "pg_cancel_backend", rng.uniform(2, 4))


@fault(is_spooled=True)
async def backends_terminated(system: System, rng: random.Random) -> None:
    """pg_terminate_backend for every backend of the daemon, again and again."""
    await _tell_backends(system, "pg_terminate_backend", rng.uniform(2, 4))


async def _tell_backends(system: System, function: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(*REFUSALS):
            async with system.postgres.connected() as connection:
                while time.monotonic() < deadline:
                    await connection.execute(_TELL.format(function=function))
        await asyncio.sleep(0.02)


@fault(is_spooled=True)
async def read_only(system: System, rng: random.Random) -> None:
    """default_transaction_read_only by ALTER SYSTEM and a reload, as on a standby after a failover."""
    await system.postgres.insist(f"ALTER SYSTEM SET {READ_ONLY} = on", "SELECT pg_reload_conf()")
    await asyncio.sleep(rng.uniform(2, 5))
    await system.postgres.insist(f"ALTER SYSTEM RESET {READ_ONLY}", "SELECT pg_reload_conf()")


@fault(is_spooled=True)
async def too_many_connections(system: System, rng: random.Random) -> None:
    """Others take every connection that PostgreSQL has, those of the daemon included."""
    taken: list[asyncpg.Connection] = []
    deadline = time.monotonic() + rng.uniform(2, 5)
    while time.monotonic() < deadline:
        with contextlib.suppress(*REFUSALS):
            async with system.postgres.connected() as connection:
                while time.monotonic() < deadline:
                    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS theirs")
                    while (one := await _one_more(system)) is not None:
                        taken.append(one)
                    await asyncio.sleep(0.1)
        await asyncio.sleep(0.1)
    for one in taken:
        one.terminate()


async def _one_more(system: System) -> asyncpg.Connection | None:
    try:
        return await asyncpg.connect(
            system.postgres.dsn, timeout=5, statement_cache_size=0, server_settings={"application_name": OWN}
        )
    except REFUSALS:
        return None


@fault()
async def restart_within_the_start(system: System, rng: random.Random) -> None:
    """The daemon is started, and within a second of its first connection PostgreSQL is killed."""
    await system.stop_daemon()
    await system.start_daemon()
    await _connection_of_the_daemon(system)
    await asyncio.sleep(rng.uniform(0, 1))
    system.postgres.kill()


@fault(scene=SEPARATE)
async def database_restarts_within_the_start(system: System, rng: random.Random) -> None:
    """The daemon is started, and a separate PostgreSQL goes and comes back within a second of its first connection."""
    await system.stop_daemon()
    await system.start_daemon()
    await _connection_of_the_daemon(system)
    await asyncio.sleep(rng.uniform(0, 1))
    system.postgres.kill()
    await system.postgres.start()


async def _connection_of_the_daemon(system: System) -> None:
    """Return when somebody but us is connected."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(*REFUSALS):
            async with system.postgres.connected() as connection:
                while time.monotonic() < deadline:
                    if await connection.fetch(_BACKENDS):
                        return
                    await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
    raise Wrong("the daemon did not connect to its database within 30 s of its start")


@fault(scene=SMALL_SPOOL)
async def spool_full(system: System, rng: random.Random) -> None:
    """The database is away and one source fills the spool to its limit."""
    system.postgres.kill()
    event = {"kind": "started", "at": time.time(), "direction": "inbound", "fields": {"x": "y" * 200}}
    refused = 0
    for number in range(40):
        ids = [f"loud-{number}-{part}" for part in range(400)]
        body = "\n".join(json.dumps({**event, "call_id": one, "event_id": one}) for one in ids).encode()
        await system.push("loud", body, ids)
        refused = refused + 1 if system.last.status == 503 else 0
        if refused >= 3:
            break
    await asyncio.sleep(rng.uniform(0.5, 2))
    await system.postgres.start()
    if refused < 3:
        raise Wrong(f"the spool was never full: its last answer was {system.last.status}")


@fault(is_spooled=True)
async def timeless_over_an_outage(system: System, _rng: random.Random) -> None:
    """An event without a time of its own comes every three seconds, a window apart, while PostgreSQL is frozen."""
    body = json.dumps({"Event": "QueueMemberPause", "MemberName": "Dana", "Paused": "1", "Queue": "sales"}).encode()
    for step in range(6):
        if step == 1:
            system.postgres.freeze()
        begin = time.monotonic()
        await system.push_timeless("pbx", body)
        await asyncio.sleep(max(0.0, APART_SECONDS - (time.monotonic() - begin)))
    system.postgres.thaw()
