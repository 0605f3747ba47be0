"""When a source told nothing, and which of its calls came late. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Silence:
    """A source that told nothing for too long, within business hours."""

    source: str
    begin: datetime
    end: datetime
    is_whole: bool  #: it told nothing in the whole window


def silences(
    rows: Iterable[Mapping[str, Any]],
    limits: Mapping[str, timedelta],
    window: Span,
    open_spans: Sequence[Span],
) -> list[Silence]:
    """What is as long as a source's limit (a minute at least) in one of *open_spans*, in the order of time.

    *rows* tell by source and minute the first and the last that came: ``source``, ``first_at``, ``last_at``.
    """
    begin, end = window
    heard: dict[str, list[Span]] = {source: [] for source in limits}
    for row in rows:
        if row["source"] in heard:
            heard[row["source"]].append((row["first_at"], row["last_at"]))
    found = []
    for source, told in heard.items():
        limit = limits[source]
        if not told and open_spans and end - begin >= limit:
            found.append(Silence(source, begin, end, is_whole=True))
            continue
        for after, before in _gaps(told, begin, end):
            for opens, closes in open_spans:
                since, until = max(after, opens), min(before, closes)
                if until - since >= limit:
                    found.append(Silence(source, since, until, is_whole=False))
    return sorted(found, key=lambda silence: (silence.begin, silence.source))


def _gaps(told: Sequence[Span], begin: datetime, end: datetime) -> Iterable[Span]:
    return zip([begin, *(last for _, last in told)], [*(first for first, _ in told), end], strict=True)


def late(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Calls as ``source/id`` of which something came late, in the order in which it happened."""
    return list(dict.fromkeys(f"{row['source']}/{call_id}" for row in rows for call_id in row["late"] or ()))
