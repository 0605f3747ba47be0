"""Who reads a report: in which language, with whose numbers, and where its links lead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from callkpi.calls.phone import mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The one whom a report is made for. By default one who may see nothing that is not everybody's."""

    numbers: bool = False  #: sees the whole numbers of customers; else masked ones
    agents: bool = False  #: sees the figures of single agents
    root: str | None = None  #: address before ``/reports/…`` ("https://kpi.example", or "../.."); None: no links
    query: Mapping[str, str] = field(default_factory=dict)  #: goes along with every link, e.g. the language

    def customer(self, number: str) -> str:
        """A customer's number as this reader may see it; "" where it was hidden."""
        return number if self.numbers else mask(number)

    def link(self, path: str, parameters: Mapping[str, str | tuple[str, ...]] | None = None) -> str:
        """The address of *path* below the root; "" for a reader without links."""
        if self.root is None:
            return ""
        asked = urlencode({**(parameters or {}), **self.query}, doseq=True)
        return f"{self.root}/{path}" + (f"?{asked}" if asked else "")
