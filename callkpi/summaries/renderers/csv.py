"""A summary as one CSV file of sections, for spreadsheets and scripts: raw numbers, seconds, shares 0..1, ISO times.

A line with ``#`` and a name begins a section. UTF-8 with a mark, so that spreadsheets read Cyrillic right.
"""

from __future__ import annotations

import csv
import io
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.summaries.language import language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from callkpi.summaries.tables import Cell, Kind, tables
from callkpi.summaries.words import sentences, title


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    zone = ZoneInfo(summary.period.timezone)
    writer.writerow([title(summary, code)])
    writer.writerows([str(sentence)] for sentence in sentences(summary, code))
    for table in tables(summary, code, reader):
        writer.writerow([])
        writer.writerow([f"# {table.title}"])
        writer.writerow(table.heads)
        writer.writerows([_value(cell, zone) for cell in row] for row in table.rows)
    writer.writerow([])
    writer.writerow([language(code).text("version", n=summary.fingerprint)])
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def _value(cell: Cell, zone: ZoneInfo) -> Any:
    if cell.value is None:
        return ""
    if cell.kind in (Kind.MOMENT, Kind.TIME, Kind.ZONED):
        return cell.value.astimezone(zone).isoformat(timespec="seconds")
    return harmless(cell.value) if isinstance(cell.value, str) else cell.value


def harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula: names come from callers and portals."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    """A telephone number, whole or masked."""
    return text[:1] == "+" and text[1:].replace("•", "").isdigit()
