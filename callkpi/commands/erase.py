"""``callkpi erase``: a customer's numbers replaced by a pseudonym, everywhere."""

from __future__ import annotations

import argparse
import sys

from callkpi import audit, config, log
from callkpi.calls.phone import mask
from callkpi.calls.pseudonyms import NotErasable
from callkpi.commands.common import UsageError, configured, one_tenant, progress, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.upkeep import erasure
from callkpi.upkeep.doctor import Progress

EXAMPLE = "callkpi erase +77011234567 --tenant acme --dry-run"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", help="with its country code, or as it is dialled in the tenant's region")
    takes_tenant(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say where it is")
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    log.configure(settings, role="erase")
    tenant = one_tenant(settings, arguments.tenant)
    try:
        found = run(erase(settings, tenant, arguments.number, progress("read"), dry_run=arguments.dry_run))
    except NotErasable as error:
        raise UsageError(str(error)) from None
    print("", file=sys.stderr)
    if arguments.dry_run:
        print(f"The number is in {found.calls} calls and in {found.rejected} payloads that were not understood.")
    else:
        print(
            f"Replaced by {found.pseudonym} in {found.calls} calls, {found.events} events, {found.rejected} payloads."
        )
    if found.ids:
        print(f"{found.ids} calls have the number in their own id, as the source made it: ids stay.")
    if not arguments.dry_run:
        print("Not reached: archives of retention, backups, and what the sources themselves keep.")


async def erase(
    settings: config.Settings, tenant: str, number: str, progress: Progress, *, dry_run: bool
) -> erasure.Erasure:
    """Replace a customer's number by a pseudonym everywhere. Raises pseudonyms.NotErasable."""
    async with database(settings) as pool:
        if dry_run:
            return await erasure.look_for(pool, settings, tenant, number, progress)
        await audit.record(pool, audit.Operator(), audit.Action.ERASE, tenant, mask(number))
        return await erasure.erase(pool, settings, tenant, number, progress)
