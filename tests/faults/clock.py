"""The host's clock is wrong for some seconds, for the daemon and for its PostgreSQL. The monotonic one stays right."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.faults.catalogue import Scene, fault

if TYPE_CHECKING:
    from tests.faults.system import System

FAKED = Scene(is_clock_faked=True)
MINUTE, HOUR, DAY = 60, 3600, 86_400


@fault(scene=FAKED)
async def clock_ahead(system: System, rng: random.Random) -> None:
    """The clock jumps ahead by a minute to a day, and comes back after some seconds."""
    await _stepped(system, [rng.choice([MINUTE, HOUR, 6 * HOUR, DAY])], rng.uniform(4, 7))


@fault(scene=FAKED)
async def clock_ahead_for_years(system: System, rng: random.Random) -> None:
    """The clock jumps ahead by one to twenty years, and comes back after some seconds."""
    await _stepped(system, [rng.randint(1, 20) * 365 * DAY], rng.uniform(4, 7))


@fault(scene=FAKED)
async def clock_behind(system: System, rng: random.Random) -> None:
    """The clock falls back by a minute to a month, and is set right after some seconds."""
    await _stepped(system, [-rng.choice([MINUTE, HOUR, DAY, 30 * DAY])], rng.uniform(4, 7))


@fault(scene=FAKED)
async def clock_steps(system: System, rng: random.Random) -> None:
    """The clock jumps to and fro by seconds and minutes, every two seconds."""
    await _stepped(system, [rng.randint(-5 * MINUTE, 5 * MINUTE) for _ in range(4)], 2)


async def _stepped(system: System, steps: list[int], seconds: float) -> None:
    for step in steps:
        system.step_clock(step)
        await asyncio.sleep(seconds)
    system.step_clock(0)
    # The library looks at its file once a second.
    await asyncio.sleep(1.5)
