"""``callkpi roster import``: who is planned to work when."""

from __future__ import annotations

import argparse
from datetime import date, datetime
from pathlib import Path

from callkpi import config
from callkpi.commands.common import UsageError, configured, one_tenant, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.config.hours import parse_day
from callkpi.daemon.processes import Failed
from callkpi.people import rosters
from callkpi.people.names import Names

EXAMPLE = "callkpi roster import plan.csv --tenant acme"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["import"])
    parser.add_argument("file", type=Path, metavar="FILE", help="a table (CSV) or a calendar (iCalendar)")
    takes_config(parser)
    takes_tenant(parser)
    parser.add_argument("--from", dest="first", default="", metavar="DATE", help="first day that is replaced")
    parser.add_argument("--to", dest="last", default="", metavar="DATE", help="last day that is replaced")


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    try:
        text = arguments.file.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{arguments.file}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{arguments.file}: is no UTF-8; save it as that") from None
    run(import_roster(settings, arguments.tenant, (arguments.file.name, text), (arguments.first, arguments.last)))


async def import_roster(settings: config.Settings, tenant: str, file: tuple[str, str], window: tuple[str, str]) -> None:
    """Read a roster from a *file* (its name, its text), in place of what was planned for the same time."""
    name = one_tenant(settings, tenant)
    own = settings.tenants[name]
    first, last = _day(window[0], "--from"), _day(window[1], "--to")
    async with database(settings) as pool:
        known = await Names(settings).seen(pool, name)
        try:
            roster = rosters.read(file[1], file[0], own, (first, last), datetime.now(own.zone).date(), known)
        except rosters.BadRoster as error:
            raise Failed(f"{file[0]}: {error}") from None
        await rosters.save(pool, name, roster)
    begin, end = roster.begin.astimezone(own.zone), roster.end.astimezone(own.zone)
    people = {planned.agent for planned in roster.planned}
    print(
        f"{len(roster.planned)} planned times of {len(people)} agents, from {begin:%Y-%m-%d} to before {end:%Y-%m-%d}"
    )
    if not (known or own.agents or own.people):
        print("no agent is known yet: they are kept as the file calls them")


def _day(text: str, option: str) -> date | None:
    day = parse_day(text)
    if text and day is None:
        raise Failed(f"{option}: {text!r} must be a date like 2026-12-31")
    return day
