"""Tables that are exported: their columns, and how a row becomes a line of CSV or of JSON Lines. Pure, no I/O."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.database import encoding

#: A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: A plain or a telephone number, also a masked one, is no formula: nothing is computed from it.
_NUMBER = re.compile(r"[+-]?[0-9•]+([.,][0-9]+)?")

Row = Mapping[str, Any]

CALL_COLUMNS = (
    "id", "started_local", "started_at", "answered_at", "ended_at", "direction", "outcome", "customer", "line",
    "queues", "agents", "wait_seconds", "talk_seconds", "hold_seconds", "wrap_seconds", "transferred", "hangup_by",
    "rating",
)  # fmt: skip
LEG_COLUMNS = (
    "call", "started_local", "direction", "customer", "queue", "agent", "rung_at", "answered_at", "ended_at", "end",
    "ring_seconds", "talk_seconds", "hold_seconds", "wrap_seconds", "transferred", "ended_by",
)  # fmt: skip
MISSED_COLUMNS = (
    "call", "missed_local", "missed_at", "customer", "queue", "line", "outcome", "fate", "called_back_at", "reached_at",
)  # fmt: skip


def call_row(call: Row, zone: ZoneInfo, shown: Callable[[str], str]) -> Row:
    """One call; *shown* gives a number as it may be seen."""
    return {
        **{name: call.get(name) for name in CALL_COLUMNS},
        "started_local": local(call["started_at"], zone),
        "customer": shown(call["customer"] or ""),
        "line": call["line_name"],
        "queues": " > ".join(entry["queue_name"] for entry in call["entries"]),
        "agents": " > ".join(leg["agent_name"] for leg in call["legs"] if leg["answered_at"]),
    }


def leg_rows(call: Row, zone: ZoneInfo, shown: Callable[[str], str]) -> Iterable[Row]:
    """One row per ring or conversation of a call."""
    names = {entry["queue"]: entry["queue_name"] for entry in call["entries"]}
    for leg in call["legs"]:
        yield {
            **{name: leg.get(name) for name in LEG_COLUMNS},
            "call": call["id"],
            "started_local": local(call["started_at"], zone),
            "direction": call["direction"],
            "customer": shown(call["customer"] or ""),
            "queue": names.get(leg["queue"], leg["queue"]),
            "agent": leg["agent_name"],
        }


def local(at: str, zone: ZoneInfo) -> str:
    """A time as a spreadsheet reads it, by the call centre's clock."""
    return datetime.fromisoformat(at).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


# -- lines --------------------------------------------------------------------------------------------------


class Csv:
    """Lines of CSV (RFC 4180), safe to open: no cell is a formula.

    Where cells are separated by semicolons decimals have a comma: who reads the one writes the other, and Excel makes
    the 6th of December of 6.12.
    """

    def __init__(self, columns: Sequence[str], separator: str) -> None:
        self._columns = columns
        self._point = "," if separator == ";" else "."
        self._buffer = io.StringIO()
        self._writer = csv.writer(self._buffer, delimiter=separator, lineterminator="\r\n")

    def head(self) -> bytes:
        return self._take([self._columns])

    def lines(self, rows: Iterable[Row]) -> bytes:
        return self._take([_cell(row.get(name), self._point) for name in self._columns] for row in rows)

    def _take(self, lines: Iterable[Sequence[str]]) -> bytes:
        self._writer.writerows(lines)
        text = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        return text.encode()


class JsonLines:
    """One JSON object a line."""

    def head(self) -> bytes:
        return b""

    def lines(self, rows: Iterable[Row]) -> bytes:
        return "".join(f"{encoding.to_json(row)}\n" for row in rows).encode()


def _cell(value: Any, point: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(value).replace(".", point)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
