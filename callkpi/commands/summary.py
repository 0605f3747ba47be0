"""``callkpi summary``: a summary in a terminal, or as the bytes of a file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from callkpi import config, words
from callkpi.calendar import periods, shifts
from callkpi.commands.common import UsageError, configured, one_tenant, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.daemon.processes import Failed
from callkpi.people.names import Names
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS

EXAMPLE = "callkpi summary night@2026-11-23 --lang ru --output night.pdf"
#: The languages that a summary is written in.
LANGUAGES = words.LANGUAGES[words.Place.SUMMARY]
_FORMS = ("txt", "html", "pdf", "xlsx", "csv", "json")


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    takes_tenant(parser)
    parser.add_argument(
        "period", nargs="?", default="shift", metavar="PERIOD",
        help="night@2026-11-23, night, day:2026-11-23, yesterday, last_week, month:2026-11; default: the last shift",
    )  # fmt: skip
    parser.add_argument("--against", default="previous", choices=["previous", "week", "year"], help="to compare with")
    parser.add_argument("--lang", default="", choices=LANGUAGES, help="default: en")
    parser.add_argument(
        "--format", default="", choices=_FORMS, help="default: as the name of the output ends, else txt"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: the terminal")
    parser.add_argument("--numbers", action="store_true", help="whole numbers of customers instead of masked ones")


def main(arguments: argparse.Namespace) -> None:
    ending = arguments.output.suffix.lstrip(".") if arguments.output else ""
    form = arguments.format or (ending if ending in _FORMS else "txt")
    if form in ("pdf", "xlsx") and arguments.output is None:
        raise UsageError(f"--output: a file is needed for {form}")
    asked = Asked(
        arguments.tenant, arguments.period, arguments.against, arguments.lang or "en", form, numbers=arguments.numbers
    )
    body = run(summary(configured(arguments), asked))
    if arguments.output is None:
        print(body.decode("utf-8-sig"), end="")
        return
    try:
        arguments.output.write_bytes(body)
    except OSError as error:
        raise UsageError(f"{arguments.output}: can't be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Asked:
    """Which summary is wanted, and how."""

    tenant: str
    period: str  #: ``night@2026-11-23``, or what :func:`periods.parse` reads
    against: str
    language: str
    form: str  #: a name of FORMATS
    numbers: bool = False


async def summary(settings: config.Settings, asked: Asked) -> bytes:
    """A summary in the form that is asked for. Raises Failed."""
    name, now = one_tenant(settings, asked.tenant), datetime.now(UTC)
    own = settings.tenants[name]
    shift, _, _ = asked.period.partition("@")
    text = f"shift:{asked.period}" if shift in shifts.shift_ids(own) else asked.period
    try:
        period = periods.parse(own, name, text, now)
        async with database(settings) as pool:
            told = await summarise_period(
                pool, settings, Names(settings), name, period, now, asked.against, ledger=False
            )
    except periods.BadPeriod as error:
        raise Failed(str(error)) from None
    return FORMATS[asked.form].render(told, asked.language, Reader(numbers=asked.numbers, agents=True))
