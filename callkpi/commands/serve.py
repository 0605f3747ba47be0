"""``callkpi serve``: the daemon."""

from __future__ import annotations

import argparse
import contextlib

from callkpi import config, log
from callkpi.commands.common import UsageError, load, run, takes_config
from callkpi.daemon import processes

EXAMPLE = "callkpi serve --config callkpi.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument("--processes", type=int, metavar="N", help="web processes that share the port")


def main(arguments: argparse.Namespace) -> None:
    if arguments.processes is not None and arguments.processes < 1:
        raise UsageError(f"--processes: {arguments.processes} must be at least 1")
    file = config.chosen_file(arguments.config)
    # The daemon takes the same file again, wherever it was started.
    path = file.absolute() if file is not None else None

    def read() -> config.Settings:
        settings = load(path)
        return config.with_processes(settings, arguments.processes) if arguments.processes else settings

    settings = read()
    log.configure(settings)
    if not config.is_given(arguments.config):
        _say(
            f"No configuration file was found, and no variable is set: callkpi makes a database in {settings.data_dir} "
            f"(or goes on with the one there), listens on {settings.server.listen} for this machine alone, and counts "
            "nothing, for no source is configured."
        )

    def ready() -> None:
        text = f"callkpi listens on http://{settings.server.listen}  (board: /board, metrics: /metrics, ready: /readyz)"
        if not settings.sources:
            text += "\nNo source is configured yet: 'callkpi example-config > callkpi.toml' shows how."
        _say(text)

    run(processes.serve(settings, ready, read))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # A disk that is full of logs does not end the daemon.
        print(text, flush=True)
