"""The keys of a 3CX: the fields of its CDR service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from callkpi import config
from callkpi.config import Texts, setting

#: Fields of 3CX's CDR service in the order that it proposes.
THREECX_FIELDS = (
    "historyid", "callid", "duration", "time-start", "time-answered", "time-end", "reason-terminated", "from-no",
    "to-no", "from-dn", "to-dn", "dial-no", "reason-changed", "final-number", "final-dn", "bill-code", "bill-rate",
    "bill-cost", "bill-name", "chain", "from-type", "to-type", "final-type", "from-dispname", "to-dispname",
    "final-dispname", "missed-queue-calls",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ThreeCxSource(config.Source):
    """A 3CX."""

    kind: Literal["threecx"] = setting("threecx", "what sends")
    cdr_fields: Texts = setting(THREECX_FIELDS, "the fields of its CDR output, in their order")

    def own_problems(self, where: str) -> Iterator[str]:
        """Of the fields; one that callkpi does not read may have any name."""
        names = self.cdr_fields
        if "time-start" not in names or not {"historyid", "callid"} & set(names):
            yield f"{where}.cdr_fields: must hold time-start, and historyid (or callid); add them to 3CX's CDR output"
        for name in {name for name in names if names.count(name) > 1}:
            yield f"{where}.cdr_fields: {name!r} is there twice"
