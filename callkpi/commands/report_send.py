"""``callkpi report send``: a configured report sent by hand."""

from __future__ import annotations

import argparse

from callkpi import config, log
from callkpi.calendar.periods import BadPeriod
from callkpi.commands.common import UsageError, configured, one_tenant, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.delivery import by_hand

EXAMPLE = "callkpi report send --report daily --dry-run"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    takes_tenant(parser)
    parser.add_argument("--report", default="", metavar="NAME", help="which; default: all of the tenant")
    parser.add_argument(
        "--period", default="", metavar="PERIOD", help="shift:night@2026-11-23, day:…, week:2026-W47, last_month, …"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would go to whom")
    parser.add_argument("--again", action="store_true", help="also what was sent, failed or is in doubt")


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    log.configure(settings, role="courier-command")
    tenant = one_tenant(settings, arguments.tenant)
    try:
        run(_send(settings, tenant, arguments))
    except (by_hand.NothingToSend, BadPeriod) as error:
        raise UsageError(str(error)) from None


async def _send(settings: config.Settings, tenant: str, arguments: argparse.Namespace) -> None:
    async with database(settings, role="courier-command") as pool:
        lines = by_hand.send(
            pool, settings, tenant, arguments.report, arguments.period,
            dry_run=arguments.dry_run, again=arguments.again,
        )  # fmt: skip
        async for line in lines:
            print(line)
