"""``callkpi doctor``: do the numbers still follow from the events?"""

from __future__ import annotations

import argparse
import asyncio
import sys

import asyncpg

from callkpi import config
from callkpi.commands.common import configured, progress, run, takes_config
from callkpi.commands.database import database
from callkpi.commands.notes import notes
from callkpi.database import store
from callkpi.projection import duty
from callkpi.upkeep.doctor import Progress, check

EXAMPLE = "callkpi doctor"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    findings = run(doctor(settings, progress("checked")))
    print("", file=sys.stderr)
    for finding in [*run(notes(settings)), *findings]:
        print(finding)
    print(f"{len(findings)} differences." if findings else "Rollups equal calls, calls equal the journal.")
    sys.exit(1 if findings else 0)


_SETTLE_TRIES = 30


async def doctor(settings: config.Settings, progress: Progress) -> list[str]:
    """Differences between rollups and calls, and between calls and the journal; none is how it must be."""
    async with database(settings, role="doctor") as pool:
        await _settled(pool)
        return [*await duty.doubts(pool), *await check(pool, settings, progress)]


async def _settled(pool: asyncpg.Pool) -> None:
    """Agents' times follow their calls by some seconds: in a moment without traffic all of them can be checked."""
    for _ in range(_SETTLE_TRIES):
        if not await pool.fetchval(store.query("agents", "has_pending")):
            return
        await asyncio.sleep(0.5)
