"""``callkpi reload``: let the running daemon take a changed configuration, and say what came of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from callkpi.commands.common import UsageError, configured, takes_config
from callkpi.daemon import reloading

EXAMPLE = "callkpi reload"
#: The daemon replaces its processes one after the other, and each finishes what is under way.
PATIENCE_SECONDS = 120.0


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    # A file that is wrong is refused here already, with the same words.
    directory = configured(arguments).data_dir
    outcome = _asked(directory)
    for line in outcome.lines():
        print(line, file=sys.stderr if outcome.refused else sys.stdout)
    sys.exit(2 if outcome.refused else 0)


def _asked(directory: os.PathLike[str]) -> reloading.Outcome:
    from pathlib import Path

    place = Path(directory)
    try:
        process = reloading.running(place)
    except PermissionError:
        raise UsageError(f"this user may not look into {place}; be the one who runs the daemon") from None
    if process is None:
        raise UsageError(f"no daemon runs with the data directory {place}; start it with 'callkpi serve'")
    before = reloading.last_outcome(place)
    try:
        os.kill(process, signal.SIGHUP)
    except PermissionError:
        raise UsageError(f"this user may not signal process {process}; be the one who runs the daemon") from None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        told = reloading.last_outcome(place)
        if told is not None and told != before and (before is None or told.number > before.number):
            return told
        if reloading.running(place) != process:
            raise UsageError("the daemon ended meanwhile; its log says why")
        time.sleep(0.05)
    raise UsageError(f"the daemon (process {process}) has not told within {PATIENCE_SECONDS:g} seconds; see its log")
