"""``callkpi missed``: the work list in a terminal."""

from __future__ import annotations

import argparse
import json

from callkpi import config
from callkpi.calls.phone import mask
from callkpi.commands.common import configured, one_tenant, run, takes_config, takes_tenant
from callkpi.commands.database import database
from callkpi.commands.terminal import duration, grid
from callkpi.figures.kpis import Reports

EXAMPLE = "callkpi missed"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    takes_tenant(parser)
    parser.add_argument("--json", action="store_true", help="the same as the API's answer")


def main(arguments: argparse.Namespace) -> None:
    run(missed(configured(arguments), arguments.tenant, as_json=arguments.json))


async def missed(settings: config.Settings, tenant: str, *, as_json: bool) -> None:
    """Print the work list."""
    name = one_tenant(settings, tenant)
    async with database(settings) as pool:
        items = await Reports(pool, settings).missed(name)
    if as_json:
        print(json.dumps({"tenant": name, "items": items}, ensure_ascii=False, indent=1))
        return
    if not items:
        print("Nobody waits for a call back.")
        return
    rows = [
        [mask(i["customer"]) or "hidden", duration(i["waiting_seconds"]), i["calls"], i["fate"].replace("_", " "),
         i["queue"] or i["line"], i["outcome"]]
        for i in items
    ]  # fmt: skip
    print(grid(["customer", "waits", "calls", "state", "queue/line", "last outcome"], rows))
