"""Where the figures of a summary lead: to the calls behind them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from callkpi.figures.weights import FIGURES, LONGEST
from callkpi.glossary import FATES
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary


def behind(
    summary: Summary, reader: Reader, figure: str, only: Mapping[str, str], begin: Any = None, end: Any = None
) -> str:
    """The address of the calls behind a figure; "" where there are none, too many, or the reader has no links."""
    if reader.root is None or figure not in FIGURES or (only.keys() & {"agent", "team"} and not reader.agents):
        return ""
    period = summary.period
    if (end or period.end) - (begin or period.begin) > LONGEST:
        return ""
    scope = {"queue": period.queues} if period.queues and "queue" not in only else {}
    window = {"from": instant(begin or period.begin), "to": instant(end or period.end)}
    # What still waits is written off by the clock: the list is of the moment that the figure is of.
    moment = {"as_of": instant(summary.as_of)} if figure in FATES else {}
    whose = {"tenant": summary.tenant, "figure": figure}
    return reader.link("reports/calls", {**whose, **window, **moment, **scope, **only})


def call(tenant: str, reader: Reader, id: str) -> str:
    """The address of one call, source/call id."""
    return reader.link(f"reports/call/{quote(id, safe='/')}", {"tenant": tenant})


def period(tenant: str, reader: Reader, text: str, ending: str = "") -> str:
    """The address of a summary: ``shift:night@2026-11-23`` is at ``reports/shift/acme/night/2026-11-23``."""
    if text.startswith("shift:") and "@" in text:
        id, _, day = text.removeprefix("shift:").partition("@")
        return reader.link(f"reports/shift/{quote(tenant, safe='')}/{quote(id, safe='')}/{day}{ending}")
    return reader.link(f"reports/period/{quote(tenant, safe='')}/{quote(text, safe=':@.')}{ending}")


def instant(at: datetime) -> str:
    """An instant as an address writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
