"""``callkpi replay-rejected``: what could not be read, tried again after a fix."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from callkpi import config
from callkpi.commands.common import configured, progress, run, takes_config
from callkpi.commands.database import database
from callkpi.database import store
from callkpi.ingest.door import Ingest, UnknownSource
from callkpi.ingest.opened import opened
from callkpi.projection import isolation
from callkpi.sources.base import Malformed
from callkpi.upkeep.doctor import PAGE, Progress

EXAMPLE = "callkpi replay-rejected"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    understood, left, tried = run(replay_rejected(configured(arguments), progress("replayed")))
    print(f"\n{understood} payloads understood now, {left} still not.", file=sys.stderr)
    if tried:
        text = f"{tried} calls and agents that were set aside are tried again; callkpi doctor says how it went."
        print(text, file=sys.stderr)


async def replay_rejected(settings: config.Settings, progress: Progress) -> tuple[int, int, int]:
    """Run rejected payloads through the sources again, and let the projector try what is set aside.

    Returns how many payloads are understood now, how many are not, and how many streams are tried.
    """
    async with database(settings) as pool:
        understood, left, last = 0, 0, 0
        async with opened(settings, pool) as way_in:
            while rows := await pool.fetch(store.query("journal", "rejected_open"), last, PAGE):
                for row in rows:
                    last = row["id"]
                    if await _replay_one(way_in.ingest, row):
                        await pool.execute(store.query("journal", "rejected_replayed"), row["id"])
                        understood += 1
                    else:
                        left += 1
                    progress(understood + left, 0)
        return understood, left, await isolation.retry_all(pool)


async def _replay_one(ingest: Ingest, row: Any) -> bool:
    try:
        receipt = await ingest.replay(row["source"], row["media_type"], row["payload"], row["received_at"])
    except (UnknownSource, Malformed):
        return False
    return receipt.rejected == 0
