"""``callkpi rebuild``: all calls and numbers again from the journal."""

from __future__ import annotations

import argparse
import sys

from callkpi import config
from callkpi.commands.common import configured, progress, run, takes_config
from callkpi.commands.database import database
from callkpi.daemon.processes import Failed
from callkpi.database import store
from callkpi.health import Health
from callkpi.projection.batch import Projector
from callkpi.upkeep.doctor import Progress
from callkpi.upkeep.rebuilding import refold

EXAMPLE = "callkpi rebuild"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    calls = run(rebuild(configured(arguments), progress("projected")))
    print(f"\nRebuilt {calls} calls from the journal.", file=sys.stderr)


async def rebuild(settings: config.Settings, progress: Progress) -> int:
    """Forget what was computed and compute it again from the journal. Returns the number of calls.

    Raises Failed while anybody projects.
    """
    async with database(settings) as pool, pool.acquire() as lock:
        if not await lock.fetchval(store.query("projection", "try_alone")):
            raise Failed("a daemon, or another command, computes calls of this database; stop it first")
        await refold(pool, Projector(pool, settings, Health()), progress)
        return int(await pool.fetchval(store.query("reports", "count_calls")))
