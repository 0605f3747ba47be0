"""Tables and numbers as a terminal shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


#: A longer name is cut, so that its figures stand beside it; --json has it whole.
_NAME = 40


def grid(head: Sequence[str], rows: Sequence[Sequence[Any]], *, whole: bool = False) -> str:
    lines = [list(head), *([str(cell) if whole else cut(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def cut(text: str) -> str:
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
