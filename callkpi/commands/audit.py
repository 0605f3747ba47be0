"""``callkpi audit``: who has seen and changed what."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from callkpi import audit, config
from callkpi.commands.common import UsageError, configured, run, takes_config
from callkpi.commands.database import database
from callkpi.commands.terminal import grid
from callkpi.daemon.processes import Failed
from callkpi.web.api import BadQuery, moment

EXAMPLE = "callkpi audit --from 2026-11-23 --who anna"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument("--from", dest="begin", default="", metavar="TIME", help="UTC where it has no offset")
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="default: now")
    parser.add_argument("--who", metavar="NAME", help="only what this reader did")
    parser.add_argument("--action", metavar="NAME", help="only this: read_numbers, export, resolve, …")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="the newest so many (default 100)")
    parser.add_argument("--json", action="store_true", help="a JSON object a line")


def main(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.limit <= 1_000_000:
        raise UsageError(f"--limit: {arguments.limit} must be 1 to 1000000")
    wanted = AuditQuery(
        (arguments.begin, arguments.end), arguments.who, arguments.action, arguments.limit, as_json=arguments.json
    )
    run(audited(configured(arguments), wanted))


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What of the audit is printed."""

    span: tuple[str, str]
    who: str | None
    action: str | None
    limit: int
    as_json: bool


async def audited(settings: config.Settings, wanted: AuditQuery) -> None:
    """Print the audit, newest first."""
    utc = config.Tenant()
    try:
        span = moment(wanted.span[0], "--from", utc), moment(wanted.span[1], "--to", utc)
    except BadQuery as error:
        raise Failed(str(error)) from None
    async with database(settings) as pool:
        rows = await audit.read(pool, span=span, who=wanted.who, action=wanted.action, limit=wanted.limit)
    if wanted.as_json:
        print("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        return
    if not rows:
        print("Nothing was read or changed.")
        return
    told = [
        [row["at"][:19], row["who"], row["role"], row["action"], row["tenant"], row["subject"],
         " ".join(f"{name}={value}" for name, value in row["details"].items())]
        for row in rows
    ]  # fmt: skip
    print(grid(["at (UTC)", "who", "role", "action", "tenant", "subject", "details"], told, whole=True))
