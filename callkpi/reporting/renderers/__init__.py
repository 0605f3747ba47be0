"""A summary in each form that people take it in. One signature for all: ``render(summary, language, reader)``.

To add a form: a module with such a function, and a line in :data:`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callkpi.reporting.reader import Reader
from callkpi.reporting.summary import Summary

#: What languages there are; what one lacks is said in the language that its readers know best.
LANGUAGES = ("en", "ru", "kk")

Render = Callable[[Summary, str, Reader], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """One form: its name is the ending of the file, too."""

    name: str
    content_type: str
    render: Render

    def file_name(self, summary: Summary) -> str:
        """``acme-night-2026-11-23.pdf``; ASCII, so that every mailbox and disk takes it."""
        parts = (summary.tenant, summary.period.id, summary.period.day)
        safe = ("".join(c if c.isascii() and (c.isalnum() or c in "._") else "_" for c in part) for part in parts)
        return "-".join(safe) + f".{self.name}"
