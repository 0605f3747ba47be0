"""A process of the daemon's own, started by its parent."""

from __future__ import annotations

import argparse
import asyncio

from callkpi.daemon import processes

EXAMPLE = "none; the daemon starts its processes itself"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("role")
    parser.add_argument("lifeline", type=int)
    parser.add_argument("says", type=int)
    parser.add_argument("sockets", type=int, nargs="*")


def main(arguments: argparse.Namespace) -> None:
    settings = processes.settings_of_parent()
    with asyncio.Runner(loop_factory=processes.new_event_loop) as runner:
        runner.run(processes.child(arguments.role, settings, arguments.lifeline, arguments.says, arguments.sockets))
