"""``callkpi backfill --file``: calls of the past from Asterisk's own files, beside a running daemon or without one.

Rows go the way of every event, as history: they are in every report, and not in the counters for Prometheus. The same
file again changes nothing.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, cast

from callkpi import config
from callkpi.commands.database import database
from callkpi.daemon.processes import Failed
from callkpi.database import store
from callkpi.ingest.journal import JournalUnavailable
from callkpi.ingest.opened import opened
from callkpi.projection import duty
from callkpi.projection.batch import Projector
from callkpi.sources.asterisk import cdr as asterisk_cdr
from callkpi.sources.asterisk import cel as asterisk_cel

Progress = Callable[[int, int], None]
GROUP_ROWS = 500
_LAYOUTS = (asterisk_cel, asterisk_cdr)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the rows."""

    rows: int = 0
    events: int = 0
    rejected: int = 0


async def load(settings: config.Settings, name: str, path: Path, progress: Progress) -> Result:
    """Read a file of CEL or CDR for a source of kind asterisk. Raises Failed."""
    source = settings.sources.get(name)
    if source is None or source.kind is not config.SourceKind.ASTERISK:
        raise Failed(f"--source: {name!r} is no source of kind asterisk; --file is for its CEL and CDR")
    try:
        rows = asterisk_cel.tied(list(read(path)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise Failed(f"{path}: can't be read: {error}") from None
    async with database(settings, role="backfill", makes=True) as pool, opened(settings, pool) as way_in:
        result = Result()
        try:
            for begin in range(0, len(rows), GROUP_ROWS):
                some = rows[begin : begin + GROUP_ROWS]
                taken = await way_in.ingest.take_fetched(name, some, datetime.now(UTC), is_voice=False, counted=False)
                result = Result(begin + len(some), result.events + taken.events, result.rejected + taken.rejected)
                progress(result.rows, len(rows))
            await duty.drained(pool, Projector(pool, settings, way_in.health).drain)
            return result
        except (*store.FAILURES, JournalUnavailable) as error:
            reason = f"the database went away ({type(error).__name__}); start the same command again"
            raise Failed(reason) from None


def read(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file by our names of the columns. Raises Failed where it is neither CEL nor CDR."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as binary:
        text = io.TextIOWrapper(cast(IO[bytes], binary), encoding="utf-8-sig", errors="replace", newline="")
        lines = csv.reader(text)
        first = next((line for line in lines if line), [])
        titles = _titles(first)
        if titles is not None:
            names = titles
            if "eventtype" in names and (missing := [n for n in asterisk_cel.DECISIVE if n not in names]):
                raise Failed(f"{path}: CEL without {', '.join(missing)} tells no calls; export these columns as well")
        else:
            found = next((t for layout in _LAYOUTS if (t := layout.WITHOUT_TITLES.get(len(first)))), None)
            if found is None:
                raise Failed(
                    f"{path}: has {len(first)} columns and no titles; CDR of cdr_csv has 17 or 18, CEL 13 or 20: "
                    "write a first line with the names of the columns (uniqueid, linkedid, eventtype, …)"
                )
            names = found
            yield _row(names, first, 0)
        for number, line in enumerate(lines, 1):
            if line:
                yield _row(names, line, number)


def _titles(first: list[str]) -> tuple[str, ...] | None:
    """Our names of the columns that a first line names; None where it is a row."""
    told = [cell.strip().lower() for cell in first]
    for layout in _LAYOUTS:
        ours = {alias: name for name, aliases in layout.COLUMNS.items() for alias in (name, *aliases)}
        names = tuple(ours.get(cell, "") for cell in told)
        if "eventtype" in names or ("disposition" in names and "start" in names):
            return names
    return None


def _row(names: tuple[str, ...], line: list[str], number: int) -> dict[str, str]:
    row = {name: cell for name, cell in zip(names, line, strict=False) if name and cell}
    return {**row, "seq": str(number)} if "eventtype" in row else row
