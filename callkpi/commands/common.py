"""What commands share: their options, the errors of who types, the settings of a store that must be there, progress."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from callkpi import config

T = TypeVar("T")


class UsageError(Exception):
    """Something that the user can mend; the text says what and how."""


def takes_config(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--config``."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="callkpi.toml (else CALLKPI_CONFIG, else ./callkpi.toml)"
    )


def takes_tenant(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--tenant``."""
    parser.add_argument("--tenant", default="", help="needed where there are several")


def fail(text: str) -> NoReturn:
    """End with status 2 and one line."""
    print(f"callkpi: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work of a command. What it can't do is one line and status 2."""
    from callkpi.daemon.processes import Failed

    try:
        return asyncio.run(work)
    except Failed as error:
        fail(str(error))


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> config.Settings:
    """The settings of a file and the environment, with every kind of source. Raises ConfigError."""
    from callkpi import sources

    assert sources.SOURCE_TYPES  # Its import made the kinds known.
    return config.load(path, env)


def configured(arguments: argparse.Namespace) -> config.Settings:
    """The settings of a command that reads or mends a store, which must be there: nothing is said of an empty one."""
    settings = load(arguments.config)
    if not config.is_given(arguments.config):
        raise UsageError(
            "no configuration file was found: name it with --config FILE or CALLKPI_CONFIG, or go where callkpi.toml "
            f"is; {_what_is_there(settings)}"
        )
    return settings


def _what_is_there(settings: config.Settings) -> str:
    """What a command could have meant without a file: it must not guess, for another's figures look like one's own."""
    from callkpi.database import embedded

    demo = settings.data_dir / "demo"
    if embedded.exists(settings.data_dir):
        return f"there is a database in {settings.data_dir}: CALLKPI_DATA_DIR={settings.data_dir} means that one"
    if embedded.exists(demo / "data"):
        return f"the demo's numbers are read with --config {demo / 'callkpi.toml'}"
    return f"there is no database in {settings.data_dir} either"


def one_tenant(settings: config.Settings, name: str) -> str:
    """The tenant that is meant; the only one where none is named."""
    chosen = name or (next(iter(settings.tenants)) if len(settings.tenants) == 1 else "")
    if chosen not in settings.tenants:
        reason = f"{chosen!r} is none of" if chosen else "is required; write one of"
        raise UsageError(f"--tenant: {reason} {', '.join(settings.tenants)}")
    return chosen


def positive(text: str, option: str, other: str = "") -> float:
    """A number above 0. Raises UsageError, which names the *option* and what *other* it takes."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"{option}: {text!r} must be a number above 0{other}")
    return value


def progress(verb: str) -> Callable[[int, int], None]:
    """A line on the terminal that counts; silent where nobody looks."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{verb} {_bar(done, total)} ", end="", file=sys.stderr, flush=True)

    return show


def _bar(done: int, total: int) -> str:
    if not total:
        return str(done)
    share = min(done / total, 1.0)
    return f"[{'#' * round(30 * share):.<30}] {100 * share:.0f} % {done} of {total}"
