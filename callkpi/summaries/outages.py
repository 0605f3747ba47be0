"""Times in which a connected source was not heard, as doubts of a summary; their silence is not told again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import asyncpg

from callkpi import config
from callkpi.database import store
from callkpi.figures.hearing import Trouble, unheard
from callkpi.figures.hearing import Unheard as UnheardSource
from callkpi.health import STALE_SECONDS
from callkpi.people.adherence import Span, Spans, common, united, without
from callkpi.summaries.summary import Doubt, Note

#: A shorter outage is told where a call suffered from it; those that are no further apart are one.
SHORT = timedelta(minutes=1)
#: How many calls a note names.
NAMED_CALLS = 20


@dataclass(frozen=True, slots=True)
class Unheard:
    """A call of which an answer or the end was not heard."""

    call: str  #: source/call id
    at: datetime  #: when it was surely there, by the clock of its PBX


async def spans(db: asyncpg.Connection, sources: Sequence[str], begin: datetime, end: datetime) -> dict[str, Spans]:
    """When each of *sources* was not heard within [begin, end)."""
    found: dict[str, list[Span]] = defaultdict(list)
    for row in await db.fetch(store.query("connections", "outages"), list(sources), begin, end, STALE_SECONDS):
        found[row["source"]].append(Span(row["begins"], row["ends"] or end))
    return {source: united(lost) for source, lost in found.items()}


async def notes(
    db: asyncpg.Connection, tenant: str, sources: Sequence[str], begin: datetime, end: datetime
) -> list[Note]:
    """The outages of *sources* within [begin, end), by begin."""
    rows = await db.fetch(store.query("connections", "outages"), list(sources), begin, end, STALE_SECONDS)
    if not rows:
        return []
    first, last = min(row["begins"] for row in rows), max((row["ends"] or end) for row in rows)
    calls = await db.fetch(
        store.query("summary", "unheard_in"), tenant, list(sources), first - SHORT, max(last, end) + SHORT
    )
    found: list[Note] = []
    for source in dict.fromkeys(row["source"] for row in rows):
        spans = united((Span(row["begins"], row["ends"] or end) for row in rows if row["source"] == source), SHORT)
        goes_on = any(row["ends"] is None for row in rows if row["source"] == source)
        unheard = [Unheard(f"{source}/{row['call_id']}", row["at"]) for row in calls if row["source"] == source]
        found += _told(source, spans, Span(begin, end), unheard, goes_on=goes_on)
    return sorted(found, key=lambda note: (note.begin or begin, note.source))


async def notes_of_now(
    db: asyncpg.Connection, settings: config.Settings, tenant: str, window: Span, told: Iterable[Note]
) -> list[Note]:
    """Sources of a *tenant* that are not heard at the end of a *window* that goes on, without what *told* has already.

    At once, however short it was until now: who reads the figures of a day that goes on asks what holds now.
    """
    sources = {name: source for name, source in settings.sources.items() if source.tenant == tenant}
    rows = await db.fetch(store.query("board", "sources_now"), list(sources))
    known = {note.source for note in told if note.end is None or note.end >= window.end}
    found = unheard(sources, settings.tenants, rows, window.end)
    return [_of_now(each, window) for each in found if each.source not in known]


def _of_now(source: UnheardSource, window: Span) -> Note:
    begin = window.begin if source.since is None else min(max(source.since, window.begin), window.end)
    if source.trouble in (Trouble.DISCONNECTED, Trouble.NOT_REACHED):
        return Note(doubt=Doubt.DISCONNECTED, source=source.source, begin=begin)
    doubt = Doubt.NEVER_SPOKE if begin == window.begin else Doubt.SILENT
    return Note(doubt=doubt, source=source.source, begin=begin, end=window.end)


def _told(source: str, spans: Spans, window: Span, unheard: Sequence[Unheard], *, goes_on: bool) -> Iterator[Note]:
    """A note for each outage; the last one has no end where it goes on."""
    for span in spans:
        calls = [each.call for each in unheard if span.begin - SHORT <= each.at <= span.end + SHORT]
        if span.length < SHORT and not calls:
            continue
        for part in common((span,), (window,)):
            last = goes_on and span == spans[-1]
            yield Note(
                doubt=Doubt.DISCONNECTED, count=len(calls), source=source, begin=part.begin,
                end=None if last else part.end, calls=tuple(calls[:NAMED_CALLS]),
            )  # fmt: skip


def without_outages(
    silences: Iterable[Note], outages: Iterable[Note], until: datetime, limits: Mapping[str, timedelta]
) -> list[Note]:
    """What is left of *silences*: parts of at least their source's limit that no outage explains. Pure."""
    lost: dict[str, list[Span]] = {}
    for note in outages:
        if note.begin is not None:
            lost.setdefault(note.source, []).append(Span(note.begin, note.end or until))
    left = []
    for note in silences:
        if note.begin is None or note.end is None or note.source not in lost:
            left.append(note)
            continue
        parts = without((Span(note.begin, note.end),), united(lost[note.source]))
        long = [part for part in parts if part.length >= limits[note.source]]
        if note.doubt is Doubt.NEVER_SPOKE:
            left += [note] if long else []
        else:
            left += [replace(note, begin=part.begin, end=part.end) for part in long]
    return left
