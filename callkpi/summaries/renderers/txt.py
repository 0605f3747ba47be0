"""A summary for a terminal."""

from __future__ import annotations

import textwrap
from zoneinfo import ZoneInfo

from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from callkpi.summaries.tables import Kind, Table, show, tables
from callkpi.summaries.words import counted, sentences, title

_WIDTH = 100
_NAME = 40


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    """UTF-8 text, at most some hundred columns wide where names allow it."""
    told, zone = language(code), ZoneInfo(summary.period.timezone)
    when = (
        f"{told.moment(summary.period.begin, zone)} – {told.moment(summary.period.end, zone)} {summary.period.timezone}"
    )
    scope = counted(summary, told)
    lines = [title(summary, code), f"{summary.tenant}, {when}", *([scope] if scope else []), ""]
    for sentence in sentences(summary, code):
        lines += textwrap.wrap(str(sentence), _WIDTH, initial_indent="* ", subsequent_indent="  ")
    for table in tables(summary, code, reader):
        lines += ["", table.title.upper(), *_lines(table, told, zone)]
    return ("\n".join(lines) + "\n").encode()


def _lines(table: Table, told: Language, zone: ZoneInfo) -> list[str]:
    last = len(table.heads) - 1
    shown = [[show(cell, told, zone) for cell in row] for row in table.rows]
    short = [[_cut(text) if index < last else text for index, text in enumerate(row)] for row in shown]
    grid = [list(table.heads), *short]
    widths = [max(len(row[index]) for row in grid) for index in range(len(table.heads))]
    return [
        "  ".join(
            text.ljust(width) if kind is Kind.TEXT else text.rjust(width)
            for text, width, kind in zip(row, widths, table.kinds, strict=True)
        ).rstrip()
        for row in grid
    ]


def _cut(text: str) -> str:
    """A name that leaves room for the figures beside it."""
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"
