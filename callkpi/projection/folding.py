"""From the events of calls to the calls: asked, joined where they are one, and folded."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from callkpi import config
from callkpi.calls import bounds
from callkpi.calls.model import RESTART_STREAM, CallEvent, Kind, StreamKey
from callkpi.calls.rows import event_from_row, key_columns
from callkpi.database import store
from callkpi.projection import isolation
from callkpi.projection.isolation import Unprojectable
from callkpi.projection.rows import Locked
from callkpi.same_call import rules as same_call
from callkpi.sources import SOURCE_TYPES

log = structlog.get_logger()

#: How far marks are from the lines that depend on them.
_MARK_REACH = timedelta(seconds=5)


class MoreCalls(Exception):
    """The batch touches calls that are not locked yet; begin again with them."""

    def __init__(self, keys: set[StreamKey]) -> None:
        super().__init__()
        self.keys = keys


def interpreted(
    source: config.Source | None, events: Sequence[CallEvent], members: Sequence[CallEvent]
) -> list[CallEvent]:
    """What a call's events say in canonical terms, with names as the tables hold them."""
    told = SOURCE_TYPES[source.kind].interpret(events, source, members) if source else events
    return [bounds.as_projected(event) for event in told if event.kind is not Kind.SIGNAL]


def asks_about(
    settings: config.Settings, call: StreamKey, events: Sequence[CallEvent]
) -> Sequence[tuple[str, datetime]]:
    """Queues and moments whose members' states the reading of a call depends on; none where it can't be read."""
    source = settings.sources.get(call.source)
    try:
        return SOURCE_TYPES[source.kind].asks_about(events, source) if source and events else ()
    except Exception as error:
        log.warning("projector.can_not_ask", source=call.source, call_id=call.call_id, error=str(error)[:200])
        return ()


async def members_at(
    connection: asyncpg.Connection, call: StreamKey, asked: Sequence[tuple[str, datetime]]
) -> list[CallEvent]:
    """The last states of the members of these queues at these moments."""
    if not asked:
        return []
    columns = [[call.tenant] * len(asked), [call.source] * len(asked), [q for q, _ in asked], [at for _, at in asked]]
    rows = await connection.fetch(store.query("projector", "members_at"), *columns)
    return [event_from_row(row) for row in rows]


async def marks_of(
    connection: asyncpg.Connection, streams: Sequence[StreamKey], since: datetime, until: datetime
) -> dict[StreamKey, list[CallEvent]]:
    """What these streams of marks say in a span of time, in order."""
    result: dict[StreamKey, list[CallEvent]] = defaultdict(list)
    columns = key_columns(streams)
    for row in await connection.fetch(store.query("projector", "events_of"), *columns, since, until, None):
        result[StreamKey(row["tenant"], row["source"], row["call_id"])].append(event_from_row(row))
    return {key: sorted(result[key], key=lambda event: event.order) for key in streams}


async def restarts_after(
    connection: asyncpg.Connection, settings: config.Settings, told_of: Mapping[StreamKey, Sequence[CallEvent]]
) -> dict[StreamKey, CallEvent]:
    """The first restart of its source after the last event of each call, for sources whose restarts end calls."""
    last: dict[StreamKey, datetime] = {}
    for root, events in told_of.items():
        source = settings.sources.get(root.source)
        if events and source is not None and SOURCE_TYPES[source.kind].ends_at_restart:
            last[root] = max(event.at for event in events)
    if not last:
        return {}
    streams = sorted({root._replace(call_id=RESTART_STREAM) for root in last})
    marks = await marks_of(connection, streams, min(last.values()), datetime.max.replace(tzinfo=UTC))
    result = {}
    for root, at in last.items():
        told = marks[root._replace(call_id=RESTART_STREAM)]
        if (index := bisect_right(told, at, key=lambda event: event.at)) < len(told):
            result[root] = told[index]
    return result


def joined(
    locked: Mapping[StreamKey, Locked],
    events: Mapping[StreamKey, Sequence[CallEvent]],
    rules: Mapping[str, same_call.Rule],
    kin: Iterable[tuple[StreamKey, StreamKey]],
) -> dict[StreamKey, list[StreamKey]]:
    """The calls of one source that are one, under the least of their keys.

    Raises MoreCalls for one that is not locked, and Unprojectable for what is linked without end.
    """
    leader = {key: key._replace(call_id=state.root) for key, state in locked.items()}

    def find(key: StreamKey) -> StreamKey:
        while leader[key] != key:
            leader[key] = leader[leader[key]]  # halves the way for the next one who comes here
            key = leader[key]
        return key

    links = [
        (key, key._replace(call_id=event.linked_to))
        for key, told in events.items()
        for event in told
        if event.kind is Kind.LINKED and event.linked_to
        if not (key.tenant in rules and same_call.is_foreign(event.linked_to, key.source, rules[key.tenant]))
    ]
    missing = {other for _, other in links if other not in locked}
    leader |= {other: other for other in missing}
    for one, other in (*links, *kin):
        low, high = sorted((find(one), find(other)))
        leader[high] = low
    parts: dict[StreamKey, list[StreamKey]] = defaultdict(list)
    for key in sorted(leader):
        parts[find(key)].append(key)
    most = isolation.MOST_STREAMS_OF_A_CALL
    if excess := [key for members in parts.values() if len(members) > most for key in members]:
        raise Unprojectable(dict.fromkeys(excess, f"more than {most} calls are linked to each other"))
    if missing:
        raise MoreCalls(missing)
    return parts
