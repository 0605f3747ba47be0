"""``callkpi backfill``: calls of the past from a portal's statistics, beside a running daemon or without one.

The rows go the way of every event. What is durable is remembered by the last row id under the same source and span, so
a backfill that was stopped goes on there when it is started again. Its requests are bounded apart from the daemon's:
both together stay below what the portal allows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from callkpi import config, log
from callkpi.bitrix24 import rest
from callkpi.bitrix24.statistics import Intake, Passes, Taken, begin_counted, walk
from callkpi.calendar.moments import BadQuery, moment
from callkpi.commands import history
from callkpi.commands.common import UsageError, configured, positive, progress, run, takes_config
from callkpi.commands.database import database
from callkpi.daemon.processes import Failed
from callkpi.database import store
from callkpi.ingest.journal import JournalUnavailable
from callkpi.ingest.opened import opened
from callkpi.projection import duty
from callkpi.projection.batch import Projector

EXAMPLE = "callkpi backfill --source portal --from 2026-09-01 --to 2026-10-01"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml; it needs rest_url or FILE")
    parser.add_argument("--file", type=Path, metavar="FILE", help="of Asterisk: CEL or CDR (.csv, also gzipped), whole")
    parser.add_argument("--from", dest="begin", default="", metavar="TIME", help="calls that began from here on")
    parser.add_argument("--to", dest="end", default="", metavar="TIME", help="and before this (default: now)")
    parser.add_argument(
        "--rate", default="1", metavar="N", help="requests per second, 50 calls each, beside the daemon's (default 1)"
    )
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    settings = configured(arguments)
    log.configure(settings, role="backfill")
    if arguments.file is not None:
        loaded = run(history.load(settings, arguments.source, arguments.file, progress("read")))
        print(f"\nRead {loaded.rows} rows: {loaded.events} events, {loaded.rejected} rejected.", file=sys.stderr)
        return
    span, rate = _span(settings, arguments), positive(arguments.rate, "--rate")
    if rate > 10:
        raise UsageError(f"--rate: {rate:g} is more than any portal allows; at most 10")
    result = run(backfill(settings, arguments.source, span, rate, progress("read")))
    if result.resumed_after:
        print(f"\nWent on behind the {result.resumed_after} rows of the last time.", end="", file=sys.stderr)
    taken = result.taken
    text = f"\nRead {taken.rows} rows: {taken.new} new, {taken.corrected} corrected, {taken.rejected} rejected."
    print(text, file=sys.stderr)


def _span(settings: config.Settings, arguments: argparse.Namespace) -> tuple[datetime, datetime | None]:
    if not arguments.begin:
        raise UsageError("--from: is required; write e.g. --from 2026-09-01, or --file FILE")
    source = settings.sources.get(arguments.source)
    zone = settings.tenants[source.tenant] if source else config.Tenant()
    try:
        begin, end = moment(arguments.begin, "--from", zone), moment(arguments.end, "--to", zone)
    except BadQuery as error:
        raise UsageError(str(error)) from None
    if begin is None or begin >= (end or datetime.now(UTC)):
        raise UsageError(f"--from: {arguments.begin!r} is not before --to")
    return begin, end


Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What a backfill did."""

    taken: Taken  #: in all, with what an earlier run of the same span had read
    resumed_after: int  #: rows that an earlier run had read; 0: it began anew


async def backfill(
    settings: config.Settings, name: str, span: tuple[datetime, datetime | None], rate: float, progress: Progress
) -> Result:
    """Read the statistics of calls that began in *span* (its end: None for now), at *rate* requests a second.

    Raises Failed.
    """
    source = settings.sources.get(name)
    if source is None or not source.rest_url:
        able = ", ".join(settings.portals) or "none is configured; set sources.NAME.rest_url"
        raise Failed(f"--source: {name!r} is no source with a REST address; those are: {able}")
    async with database(settings, role="backfill", makes=True) as pool, opened(settings, pool) as way_in:
        intake = Intake(pool, way_in.ingest, way_in.health, name, source)
        passes = Passes(pool, name)
        try:
            async with rest.session() as http:
                client = rest.Client(http, source.rest_url, rate, burst=max(2 * rate, 1.0))
                result = await _read(client, intake, passes, span, progress)
            # Without a daemon nobody else would: 'callkpi report' shows these calls at once.
            await duty.drained(pool, Projector(pool, settings, way_in.health).drain)
            return result
        except rest.PortalError as error:
            raise Failed(f"{name}: {error}; start the same command again to go on") from None
        except (*store.FAILURES, JournalUnavailable) as error:
            reason = f"the database went away ({type(error).__name__}); start the same command again to go on"
            raise Failed(reason) from None


async def _read(
    client: rest.Client, intake: Intake, passes: Passes, span: tuple[datetime, datetime | None], progress: Progress
) -> Result:
    begin, end = span
    name = f"backfill {begin.isoformat()}"
    current = await passes.get(name)
    if current is None or current.finished_at is not None or end not in (None, current.end):
        end = end or datetime.now(UTC).replace(microsecond=0)
        current = await begin_counted(client, passes, name, begin, end)
    total = Taken(rows=current.rows)
    progress(total.rows, current.total or 0)
    async for taken in walk(client, intake, passes, current):
        total = total.plus(taken)
        progress(total.rows, current.total or 0)
    await passes.finish(name)
    return Result(total, current.rows)
