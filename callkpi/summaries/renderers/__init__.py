"""A summary in each form that people take it in. One signature for all: ``render(summary, language, reader)``.

To add a form: a module with such a function, and a line in :data:`FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import csv, html, json, txt
from callkpi.summaries.summary import Summary

Render = Callable[[Summary, str, Reader], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """One form: its name is the ending of the file, too."""

    name: str
    content_type: str
    render: Render

    def file_name(self, summary: Summary) -> str:
        """``acme-shift-night-2026-11-23.pdf``; ASCII, so that every mailbox and disk takes it."""
        text = f"{summary.tenant}-{summary.period.text}"
        return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text) + f".{self.name}"


def _pdf(summary: Summary, code: str, reader: Reader) -> bytes:
    """Loads what draws it when somebody wants one: a tenth of a second and 15 MB that few processes need."""
    from callkpi.summaries.renderers import pdf

    return pdf.render(summary, code, reader)


def _xlsx(summary: Summary, code: str, reader: Reader) -> bytes:
    from callkpi.summaries.renderers import xlsx

    return xlsx.render(summary, code, reader)


#: Every form by its name.
FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("html", "text/html", html.render),
        Format("pdf", "application/pdf", _pdf),
        Format("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", _xlsx),
        Format("csv", "text/csv", csv.render),
        Format("json", "application/json", json.render),
        Format("txt", "text/plain", txt.render),
    )
}
