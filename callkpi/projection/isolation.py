"""Keeps a stream that can't be projected from stopping those that can: found, set aside, told, tried again.

A batch that fails for what is in it is taken apart. Its groups become suspects, which are projected in batches of their
own beside the others, smaller with each failure, until one stream is left that fails alone. That one is written down
with the reason in table ``set_aside`` and waits there: for the next try (after a minute, later ones further apart), for
``callkpi replay-rejected`` or for ``callkpi rebuild``. Its events stay in the journal, so nothing of it is lost. Where
the projector knows at once which stream is at fault, it raises :class:`Unprojectable` and nothing is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import asyncpg

from callkpi.calls.model import AGENT_STREAM, StreamKey
from callkpi.database import store

#: Of how many parts a call may be made: calls that are linked to each other, as transfers link them. Real ones have a
#: handful; what has more is a fault or an attack, and would be read again whole with each further event.
MOST_STREAMS_OF_A_CALL = 200
#: Events that one call may have, for the same reason: a long AMI conference has some hundreds.
MOST_EVENTS_OF_A_CALL = 10_000
#: Streams set aside that one sweep tries again.
RETRIED_AT_ONCE = 50
#: How often a batch may fail for what may be the database's state or its own before it is taken apart.
PATIENCE = 3
#: Failures that a passing state of the database and a single monstrous stream both give: a statement that takes too
#: long or is cancelled, memory that does not suffice, a value that is too large for the server.
_EITHER = (
    TimeoutError,
    asyncpg.QueryCanceledError,
    asyncpg.OutOfMemoryError,
    asyncpg.InternalServerError,
)

CALLS, TIMES = "calls", "times"  #: the parts of the work from which a stream may be set aside

Span = tuple[datetime, datetime]


class Unprojectable(Exception):
    """These streams can't be projected for what they tell; the others of the batch can. Reasons by stream."""

    def __init__(self, reasons: Mapping[StreamKey, str]) -> None:
        super().__init__(f"{len(reasons)} streams can't be projected")
        self.reasons = reasons


class Group(NamedTuple):
    """A taken row of table pending."""

    id: int
    streams: int


@dataclass(slots=True)
class Attempt:
    """One batch: what it may take, and what became known of it while it was tried."""

    suspects: bool = False
    most_groups: int = 1
    with_big: bool = True  #: also groups of many streams, for whose end the others would wait
    groups: list[Group] = field(default_factory=list)
    spans: dict[StreamKey, Span] = field(default_factory=dict)
    counted: bool = True  #: whether any of its groups counts for Prometheus
    also: set[StreamKey] = field(default_factory=set)  #: calls that its calls turned out to be linked to
    aside: dict[StreamKey, str] = field(default_factory=dict)  #: to be set aside, with the reasons

    def blame(self, reasons: Mapping[StreamKey, str]) -> bool:
        """Set these streams of the batch aside when it is tried again. False: it has none of them."""
        found = {key: reason for key, reason in reasons.items() if key in self.spans and key not in self.aside}
        self.aside |= found
        self.also -= reasons.keys()
        return bool(found)


class Patience:
    """Tells a fault that stays with one batch from one that passes."""

    def __init__(self) -> None:
        self._first, self._failures = 0, 0

    def is_lost(self, error: BaseException, attempt: Attempt) -> bool:
        """Whether this batch failed so often in a row, in a way that its content may cause, that it is to blame."""
        first = attempt.groups[0].id if attempt.groups else 0
        if not isinstance(error, _EITHER) or not first:
            return False
        self._failures = self._failures + 1 if first == self._first else 1
        self._first = first
        if self._failures < PATIENCE:
            return False
        self._failures = 0
        return True


def reason_of(error: BaseException) -> str:
    """An error as an operator reads it: its kind and first line, without what may be a customer's number."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return re.sub(r"\d{5,}", "…", text)[:300]


class Standing(NamedTuple):
    """A stream that is set aside."""

    part: str
    key: StreamKey
    reason: str
    since: datetime
    tries: int
    next_try_at: datetime

    @property
    def name(self) -> str:
        what = "times of" if self.part == TIMES else "call"
        agent = self.key.call_id.startswith(AGENT_STREAM)
        return f"{'' if agent and self.part == CALLS else what + ' '}{self.key.source}/{self.key.call_id}"


# -- the store -------------------------------------------------------------------------------------------


async def put(
    connection: asyncpg.Connection, part: str, spans: Mapping[StreamKey, Span], reasons: Mapping[StreamKey, str],
    *, counted: bool = True, is_try: bool = True,
) -> None:  # fmt: skip
    """Set streams aside, or widen the spans of those that are."""
    if spans:
        ordered = sorted(spans)
        times = [[spans[key][n] for key in ordered] for n in (0, 1)]
        texts = [reasons.get(key, "") for key in ordered]
        columns = (part, *_columns(ordered), *times)
        await connection.execute(store.query("set_aside", "put"), *columns, counted, texts, int(is_try))


async def known(connection: asyncpg.Connection, part: str, keys: Iterable[StreamKey]) -> set[StreamKey]:
    """Which of these streams stand aside."""
    rows = await connection.fetch(store.query("set_aside", "known"), part, *_columns(sorted(keys)))
    return {StreamKey(*row) for row in rows}


async def forget(connection: asyncpg.Connection, part: str, keys: Iterable[StreamKey]) -> None:
    """These streams could be projected after all."""
    await connection.execute(store.query("set_aside", "forget"), part, *_columns(sorted(keys)))


async def sift(connection: asyncpg.Connection, attempt: Attempt, *, some_aside: bool) -> dict[StreamKey, Span]:
    """The streams of a batch without those that stand aside; what came of these is written down.

    A suspect is tried although it stands aside: that is its next try, and if the batch commits it does so no more.
    """
    standing: set[StreamKey] = set()
    if some_aside and attempt.suspects:
        await forget(connection, CALLS, attempt.spans.keys() - attempt.aside.keys())
    elif some_aside:
        standing = await known(connection, CALLS, attempt.spans) - attempt.aside.keys()
    for keys, is_try in ((standing, False), (attempt.aside.keys(), True)):
        spans = {key: attempt.spans[key] for key in keys}
        await put(connection, CALLS, spans, attempt.aside, counted=attempt.counted, is_try=is_try)
    return {key: span for key, span in attempt.spans.items() if key not in standing and key not in attempt.aside}


async def standing(db: asyncpg.Connection | asyncpg.Pool, tenant: str = "", most: int = 1000) -> list[Standing]:
    """What stands aside, of one tenant or of all, the newest first."""
    rows = await db.fetch(store.query("set_aside", "list"), tenant, most)
    return [
        Standing(
            row["part"], StreamKey(row["tenant"], row["source"], row["call_id"]), row["reason"], row["since"],
            row["tries"], row["next_try_at"],
        )
        for row in rows
    ]  # fmt: skip


async def retry_all(pool: asyncpg.Pool) -> int:
    """Let everything that stands aside be tried again now: a fault was mended. Returns how much that is."""
    count = 0
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("set_aside", "retry_now"))
        for name in ("retry", "retry_times"):
            count += int((await connection.execute(store.query("set_aside", name), None)).rpartition(" ")[2])
    return count


async def calls_of(connection: asyncpg.Connection, keys: Iterable[StreamKey]) -> set[StreamKey]:
    """These streams, and the calls that they are part of."""
    rows = await connection.fetch(store.query("projector", "roots_of"), *_columns(keys))
    return {StreamKey(row["tenant"], row["source"], row["root"]) for row in rows} | set(keys)


async def take_apart(pool: asyncpg.Pool, attempt: Attempt, reason: str) -> list[StreamKey]:
    """Bring a batch that failed for its content nearer to the stream that is at fault.

    Returns what was set aside: the one stream that was left, or nothing.
    """
    if not attempt.suspects:
        await pool.execute(store.query("set_aside", "suspect"), [group.id for group in attempt.groups])
    elif len(attempt.groups) == 1 and attempt.groups[0].streams > 1:
        await pool.execute(store.query("set_aside", "halve"), attempt.groups[0].id)
    elif len(attempt.groups) == 1:
        await _set_alone_aside(pool, attempt, reason)
        return list(attempt.spans)
    return []


async def _set_alone_aside(pool: asyncpg.Pool, attempt: Attempt, reason: str) -> None:
    reasons = dict.fromkeys(attempt.spans, reason)
    async with pool.acquire() as connection, connection.transaction():
        if await connection.fetchval(store.query("set_aside", "drop_pending"), attempt.groups[0].id):
            await put(connection, CALLS, attempt.spans, reasons, counted=attempt.counted)


def _columns(keys: Iterable[StreamKey]) -> list[list[str]]:
    ordered = list(keys)
    return [[key.tenant for key in ordered], [key.source for key in ordered], [key.call_id for key in ordered]]
