"""``python -m tests.faults``: breaks one thing a round and proves that nothing acknowledged was lost."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from tests.faults.campaign import FAULTS, Limits, Round, chosen, run, table


def main() -> int:
    arguments = _arguments()
    if arguments.list:
        width = max(map(len, FAULTS))
        print("\n".join(f"{fault.name:{width}}  {fault.sentence}" for fault in FAULTS.values()))
        return 0
    limits = Limits(arguments.up_seconds, arguments.margin, arguments.idle_seconds)
    faults = list(enumerate(chosen(arguments.seed, arguments.rounds, arguments.only), 1))
    rounds = asyncio.run(_until_told(run(arguments.seed, faults[arguments.first - 1 :], arguments.keep, limits)))
    print("", table(rounds), sep="\n")
    return 1 if len(rounds) < len(faults[arguments.first - 1 :]) or any(one.problems for one in rounds) else 0


async def _until_told(rounds: Coroutine[Any, Any, list[Round]]) -> list[Round]:
    """SIGTERM ends a campaign as Ctrl-C does: no process and no mount is left, and what was done is told."""
    working = asyncio.ensure_future(rounds)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    return await working


def _arguments() -> argparse.Namespace:
    usual = Limits()
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how many; a round takes about half a minute")
    parser.add_argument("--seed", type=int, default=1, help="which faults in which order, and how they are done")
    parser.add_argument("--first", type=int, default=1, help="begin with this round of the seed, to repeat one")
    parser.add_argument("--only", action="append", default=[], choices=sorted(FAULTS), help="this fault; repeatable")
    parser.add_argument("--keep", type=Path, help="where rounds that went wrong leave their logs and database")
    parser.add_argument("--up-seconds", type=float, default=usual.up, help="until it must be up again")
    parser.add_argument("--margin", type=float, default=usual.margin, help="that others may wait beyond the fault")
    parser.add_argument("--idle-seconds", type=float, default=usual.idle, help="until all must be projected")
    parser.add_argument("--list", action="store_true", help="what can be broken")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
