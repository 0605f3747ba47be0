"""``callkpi crm-funnel --dry-run``: what the daemon would write into a portal's CRM. Only reads are sent."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from callkpi import config, log
from callkpi.bitrix24 import rest
from callkpi.bitrix24.funnel import Funnel
from callkpi.commands.common import configured, run, takes_config
from callkpi.commands.database import database
from callkpi.daemon.processes import Failed
from callkpi.database import store
from callkpi.health import Health
from callkpi.sources.bitrix24.settings import portals

EXAMPLE = "callkpi crm-funnel --source portal --dry-run"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml; it needs rest_url")
    parser.add_argument("--dry-run", action="store_true", required=True, help="nothing is sent; the daemon writes")
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    log.configure(settings, role="crm-funnel")
    for line in run(preview(settings, arguments.source)):
        print(line)


#: Beside the daemon's requests: few enough for both.
RATE, BURST = 1.0, 10.0


async def preview(settings: config.Settings, name: str) -> list[str]:
    """A line for each change. Raises Failed."""
    source = portals(settings).get(name)
    if source is None:
        able = ", ".join(settings.portals) or "none is configured; set sources.NAME.rest_url"
        raise Failed(f"--source: {name!r} is no source with a REST address; those are: {able}")
    async with database(settings, role="crm-funnel") as pool, rest.session() as http:
        client = rest.Client(http, source.rest_url, RATE, burst=BURST, patience=60.0)
        try:
            return await Funnel(pool, client, Health(), settings, name).preview(datetime.now(UTC))
        except rest.PortalError as error:
            raise Failed(f"{name}: {error}") from None
        except store.FAILURES as error:
            raise Failed(f"the database went away ({type(error).__name__}); start the same command again") from None
