"""Processes of callkpi that are killed, or asked to end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from typing import TYPE_CHECKING

from tests.faults.catalogue import Scene, Wrong, fault

if TYPE_CHECKING:
    from tests.faults.system import System

ALL_JOBS = Scene(all_jobs=True)


@fault(may_end_daemon=True)
async def parent_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the daemon's parent; its PostgreSQL is left running."""
    await system.kill_parent()


@fault()
async def web_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the web process."""
    await system.kill_child("web")


@fault()
async def projector_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the projector."""
    await system.kill_child("projector")


@fault()
async def web_and_projector_killed(system: System, rng: random.Random) -> None:
    """kill -9 of the web process and of the projector, within a tenth of a second."""
    first, second = rng.sample(["web", "projector"], 2)
    await system.kill_child(first)
    await asyncio.sleep(rng.uniform(0, 0.1))
    if system.children(second):
        await system.kill_child(second)


@fault(scene=ALL_JOBS)
async def janitor_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the process that keeps retention."""
    await system.kill_child("janitor")


@fault(scene=ALL_JOBS)
async def courier_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the process that sends reports."""
    await system.kill_child("courier")


@fault(scene=ALL_JOBS)
async def connector_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the process that keeps connections to PBXes."""
    await system.kill_child("connector")


@fault(scene=ALL_JOBS)
async def reconciler_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the process that reads a portal's statistics."""
    await system.kill_child("reconciler")


@fault(may_end_daemon=True)
async def everything_killed(system: System, _rng: random.Random) -> None:
    """kill -9 of the daemon, all its children and its PostgreSQL, as when the machine loses its memory."""
    process = system.daemon.process
    assert process is not None
    os.killpg(process.pid, signal.SIGKILL)
    system.postgres.kill()
    await asyncio.to_thread(process.wait)


@fault()
async def stopped_and_started(system: System, rng: random.Random) -> None:
    """SIGTERM under traffic, and the daemon started again."""
    status = await system.stop_daemon()
    await asyncio.sleep(rng.uniform(0, 1))
    await system.start_daemon()
    if status != 0:
        raise Wrong(f"SIGTERM ended the daemon with exit status {status}")


@fault()
async def projector_frozen(system: System, rng: random.Random) -> None:
    """The projector is stopped (SIGSTOP) for some seconds, with its transaction open or not."""
    pids = system.children("projector")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(rng.uniform(1, 5))
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
