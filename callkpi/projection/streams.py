"""The kinds of streams, and what the events of each become.

Whatever goes over streams loops over :data:`KINDS`: the projector, the doctor, a rebuild, erasure and retention. Calls
are the last kind, to which every stream belongs that no other one owns; how they are folded, joined and counted is the
projector's own work (:mod:`callkpi.projection.batch`). To add a kind: a subclass, and its place in the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import asyncpg

from callkpi import config
from callkpi.calls.model import AGENT_STREAM, MARK_STREAM, RESTART_STREAM, StreamKey
from callkpi.calls.rows import key_columns
from callkpi.database import store
from callkpi.missed import work
from callkpi.missed.writing import write_work

Span = tuple[datetime, datetime]
#: The streams of one kind that have new events, each with the span of these.
Streams = Mapping[StreamKey, Span]


class StreamKind:
    """One kind of stream. What is not overridden does nothing: a kind without rows of its own has nothing to forget."""

    name = ""
    #: Whether its events hold numbers of customers, which erasure replaces.
    holds_customers = False

    def owns(self, key: StreamKey) -> bool:
        raise NotImplementedError

    def tells_of_members(self, streams: Streams) -> bool:
        """Whether calls ask what these streams tell: nobody may ask while they are written."""
        del streams
        return False

    def people(self, streams: Iterable[StreamKey]) -> set[tuple[str, str]]:
        """Whom :meth:`write` needs held: tenant, and number or agent. All kinds' are locked at once, in one order."""
        del streams
        return set()

    async def write(self, connection: asyncpg.Connection, settings: config.Settings, streams: Streams) -> None:
        """Bring the rows of these streams up to date, in the transaction of the batch."""

    async def clear(self, connection: asyncpg.Connection, since: datetime | None) -> None:
        """Before a rebuild: forget all rows, or those of events from *since* on, before which events may be gone."""

    async def check(
        self, connection: asyncpg.Connection, settings: config.Settings, since: datetime | None
    ) -> list[str]:
        """What of its rows does not follow from the events, of those since events are kept."""
        del connection, settings, since
        return []

    async def forget(self, connection: asyncpg.Connection, before: datetime) -> None:
        """Retention: forget rows of before a time, whose events are gone."""


class _Calls(StreamKind):
    name, holds_customers = "call", True

    def owns(self, key: StreamKey) -> bool:
        return True


class _Agents(StreamKind):
    """What an agent does, by what the source tells of him."""

    name = "agent"

    def owns(self, key: StreamKey) -> bool:
        return key.call_id.startswith(AGENT_STREAM)

    def tells_of_members(self, streams: Streams) -> bool:
        return bool(streams)

    def people(self, streams: Iterable[StreamKey]) -> set[tuple[str, str]]:
        return {(key.tenant, key.call_id) for key in streams}

    async def write(self, connection: asyncpg.Connection, settings: config.Settings, streams: Streams) -> None:
        columns = key_columns(sorted(streams))
        first = min(span[0] for span in streams.values())
        last = max(span[1] for span in streams.values())
        for name in ("write_agent_states", "write_members_seen", "write_agent_rollups", "ask_again"):
            await connection.execute(store.query("projector", name), *columns, first, last)


class _Marks(StreamKind):
    """What is of no single call, and other calls are read by."""

    name = "mark"

    def owns(self, key: StreamKey) -> bool:
        return key.call_id.startswith(MARK_STREAM)

    def tells_of_members(self, streams: Streams) -> bool:
        return any(key.call_id == RESTART_STREAM for key in streams)

    async def write(self, connection: asyncpg.Connection, settings: config.Settings, streams: Streams) -> None:
        restarts = {key: first for key, (first, _) in streams.items() if key.call_id == RESTART_STREAM}
        if restarts:
            columns = key_columns(list(restarts))[:2]
            await connection.execute(store.query("projector", "restarted"), *columns, list(restarts.values()))


class _Work(StreamKind):
    """What people did about a missed customer."""

    name, holds_customers = "work", True

    def owns(self, key: StreamKey) -> bool:
        return key.source == work.SOURCE

    def people(self, streams: Iterable[StreamKey]) -> set[tuple[str, str]]:
        return {(key.tenant, key.call_id) for key in streams}

    async def write(self, connection: asyncpg.Connection, settings: config.Settings, streams: Streams) -> None:
        await write_work(connection, streams)


AGENTS, MARKS, WORK, CALLS = _Agents(), _Marks(), _Work(), _Calls()
#: In the order in which a batch writes them. Calls own what is left, and come last.
KINDS: tuple[StreamKind, ...] = (AGENTS, MARKS, WORK, CALLS)


def kind_of(key: StreamKey) -> StreamKind:
    """The kind that a stream is of."""
    return next(kind for kind in KINDS if kind.owns(key))


def by_kind(streams: Streams) -> dict[StreamKind, dict[StreamKey, Span]]:
    """The streams of each kind, in the order of the list; of kinds that have none an empty one."""
    parted: dict[StreamKind, dict[StreamKey, Span]] = {kind: {} for kind in KINDS}
    for key, span in streams.items():
        parted[kind_of(key)][key] = span
    return parted
