"""The network between the daemon and its database is cut, silent or slow."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.faults.catalogue import Database, Scene, fault

if TYPE_CHECKING:
    from tests.faults.system import System

PROXIED = Scene(database=Database.PROXIED)


@fault(scene=PROXIED, is_spooled=True)
async def network_reset(system: System, rng: random.Random) -> None:
    """Connections to the database are reset, and new ones too, for some seconds."""
    assert system.proxy is not None
    system.proxy.cut()
    await asyncio.sleep(rng.uniform(0.5, 6))
    system.proxy.heal()


@fault(scene=PROXIED, is_spooled=True)
async def network_black_hole(system: System, rng: random.Random) -> None:
    """Nothing gets through to the database, and nobody is told; then it does again."""
    assert system.proxy is not None
    system.proxy.swallow()
    await asyncio.sleep(rng.choice([rng.uniform(1, 8), rng.uniform(20, 30)]))
    system.proxy.heal()


@fault(scene=PROXIED, is_spooled=True)
async def network_slow(system: System, rng: random.Random) -> None:
    """Every packet to and from the database takes a tenth to three tenths of a second."""
    assert system.proxy is not None
    system.proxy.slow(rng.uniform(0.1, 0.3))
    await asyncio.sleep(rng.uniform(4, 8))
    system.proxy.heal()
