"""PostgreSQL's disk is full: a small tmpfs, filled by a file beside its data."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.faults.catalogue import Scene, fault

if TYPE_CHECKING:
    from tests.faults.system import System

DATA = Scene(disk_mib=120)
EVERYTHING = Scene(disk_mib=160, spool_on_disk=True)


@fault(scene=DATA, is_spooled=True)
async def disk_full(system: System, rng: random.Random) -> None:
    """The disk of PostgreSQL's data has not a byte left for some seconds; the spool is on another one."""
    await _full(system, rng.uniform(3, 8))


@fault(scene=EVERYTHING)
async def disk_full_with_the_spool(system: System, rng: random.Random) -> None:
    """The disk of the whole data directory, spool included, has not a byte left for some seconds."""
    await _full(system, rng.uniform(3, 8))


@fault(scene=DATA)
async def disk_full_at_the_start(system: System, rng: random.Random) -> None:
    """The daemon is stopped, the disk of PostgreSQL's data is filled, and the daemon is started on it."""
    await _started_full(system, rng.uniform(4, 8))


@fault(scene=EVERYTHING)
async def disk_full_with_the_spool_at_the_start(system: System, rng: random.Random) -> None:
    """The daemon is started while the disk of its whole data directory has not a byte left."""
    await _started_full(system, rng.uniform(4, 8))


async def _full(system: System, seconds: float) -> None:
    assert system.disk is not None
    try:
        for _ in range(3):
            # What others free meanwhile, a segment of the log that was recycled, is taken as well.
            system.disk.fill()
            await asyncio.sleep(seconds / 3)
    finally:
        system.disk.free()


async def _started_full(system: System, seconds: float) -> None:
    assert system.disk is not None
    await system.stop_daemon()
    try:
        system.disk.fill()
        await system.start_daemon()
        await asyncio.sleep(seconds)
    finally:
        system.disk.free()
