"""From the events of calls to the calls: asked, joined where they are one, and folded."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from callkpi import config
from callkpi.calls import bounds, facts
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import RESTART_STREAM, Call, CallEvent, Kind, StreamKey
from callkpi.calls.rows import event_from_row, key_columns
from callkpi.database import store
from callkpi.health import Health
from callkpi.projection import isolation
from callkpi.projection.isolation import Unprojectable
from callkpi.projection.rows import After, Before, Locked, compare, rows_at
from callkpi.same_call import rules as same_call
from callkpi.sources import SOURCE_TYPES

log = structlog.get_logger()

#: A span that no event has yet, for a call that others name before it speaks itself.
NEVER = (datetime(2100, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC))

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


def call_of(
    source: config.Source | None,
    limits: Thresholds,
    root: StreamKey,
    told: tuple[Sequence[CallEvent], Sequence[CallEvent]],
    now: datetime,
) -> Call | None:
    """The call that its own events and those of members of queues tell of, as of *now*; None where there is none."""
    events, members = told
    canonical = interpreted(source, events, members)
    return fold(root.call_id, canonical, limits, now, events) if canonical else None


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


class Folding:
    """Folds the calls of a batch as their own sources tell them."""

    def __init__(self, settings: config.Settings, health: Health) -> None:
        self._settings, self._health = settings, health
        self._limits = {name: Thresholds(tenant) for name, tenant in settings.tenants.items()}
        self._rules = same_call.rules(settings)
        self._by_fields = any(tenant.fields for tenant in settings.tenants.values())

    async def calls(
        self,
        connection: asyncpg.Connection,
        spans: Mapping[StreamKey, tuple[datetime, datetime]],
        horizon: datetime | None,
    ) -> list[After]:
        """The calls of these streams, with those that they are one with, as they are now.

        What began before *horizon* is sealed: its events may be gone. Raises MoreCalls for calls that are not locked,
        Unprojectable for what can't be read.
        """
        locked = await self._lock(connection, spans)
        events = await self._events(connection, locked)
        kin = await self._kin(connection, locked, events)
        parts = self._unsealed(joined(locked, events, self._rules, kin), locked, horizon)
        alone = {key: state for key, state in locked.items() if self._rule_of(key) is None} if self._rules else locked
        before = await self._before(connection, alone)
        told_of = {root: [e for key in members for e in events.get(key, ())] for root, members in parts.items()}
        others = await self._ask(connection, told_of)
        for root, restart in (await restarts_after(connection, self._settings, told_of)).items():
            others.setdefault(root, []).append(restart)
        now = datetime.now(UTC)
        result, keys = [], []
        failed: dict[StreamKey, str] = {}
        for root, members in parts.items():
            told = told_of[root]
            try:
                after = self._fold(root, told, now, others.get(root, ())) if told else None
            except Exception as error:
                failed |= dict.fromkeys(members, self._unreadable(root, error))
                continue
            if after is None:
                continue
            after.keys = tuple(members)
            rule = self._rule_of(root)
            if rule is None:
                compare(after, before, members)
            else:
                after.side = self._side(after.call, members, told, rule)
                starts = {key: locked[key].started_at for key in members}
                after.places = {key: at for key, at in starts.items() if at is not None}
            result.append(after)
            keys += [(key, root, after.call.started_at) for key in members]
        if failed:
            raise Unprojectable(failed)
        changed = [
            (key, root, at) for key, root, at in keys
            if (locked[key].root, locked[key].started_at) != (root.call_id, at if key == root else None)
        ]  # fmt: skip
        await self._write_keys(connection, changed)
        return result

    def _unsealed(
        self, parts: dict[StreamKey, list[StreamKey]], locked: Mapping[StreamKey, Locked], horizon: datetime | None
    ) -> dict[StreamKey, list[StreamKey]]:
        if horizon is None:
            return parts
        kept = {
            root: members for root, members in parts.items() if all(locked[key].first_at >= horizon for key in members)
        }
        self._health.count("projector_sealed_calls", len(parts) - len(kept))
        return kept

    def _rule_of(self, key: StreamKey) -> same_call.Rule | None:
        rule = self._rules.get(key.tenant)
        return rule if rule is not None and key.source in rule.sources else None

    def _side(
        self, call: Call, members: Sequence[StreamKey], events: Sequence[CallEvent], rule: same_call.Rule
    ) -> same_call.Side:
        known_as = SOURCE_TYPES[self._settings.sources[call.source].kind].known_as(events)
        return same_call.side_of(call, events, {*known_as, *(key.call_id for key in members)}, rule)

    async def _ask(
        self, connection: asyncpg.Connection, told_of: Mapping[StreamKey, Sequence[CallEvent]]
    ) -> dict[StreamKey, list[CallEvent]]:
        """What members of queues were doing, for the calls that depend on it; and write down that they do."""
        asked = {root: asks_about(self._settings, root, events) for root, events in told_of.items()}
        rows = sorted({(*root[:2], queue, at, root.call_id) for root, asks in asked.items() for queue, at in asks})
        if not rows:
            return {}
        await connection.execute(store.query("projector", "write_questions"), *map(list, zip(*rows, strict=True)))
        return {root: await members_at(connection, root, asks) for root, asks in asked.items() if asks}

    async def _kin(
        self,
        connection: asyncpg.Connection,
        locked: Mapping[StreamKey, Locked],
        events: Mapping[StreamKey, Sequence[CallEvent]],
    ) -> list[tuple[StreamKey, StreamKey]]:
        """Calls that are one although no id ties them. Raises MoreCalls for one not locked that may be."""
        named = await self._named_as_kin(connection, events)
        missing = {other for others in named.values() for other in others if other not in locked}
        if missing:
            raise MoreCalls(missing)
        result = []
        for key, others in named.items():
            source = self._settings.sources[key.source]
            is_one = SOURCE_TYPES[source.kind].is_one
            result += [(key, o) for o in others if is_one(events.get(key, ()), events.get(o, ()), source)]
        return result

    async def _named_as_kin(
        self, connection: asyncpg.Connection, events: Mapping[StreamKey, Sequence[CallEvent]]
    ) -> dict[StreamKey, list[StreamKey]]:
        """Calls that may be of these, by what they and the marks that they depend on say."""
        told = {key: list(mine) for key, mine in events.items() if key.source in self._settings.sources}
        asked = [
            (key, key._replace(call_id=stream), at)
            for key, mine in told.items()
            for stream, at in SOURCE_TYPES[self._settings.sources[key.source].kind].marks(mine).items()
        ]
        if asked:
            streams, times = sorted({stream for _, stream, _ in asked}), [at for _, _, at in asked]
            marks = await marks_of(connection, streams, min(times) - _MARK_REACH, max(times) + _MARK_REACH)
            for key, stream, _ in asked:
                told[key] += marks[stream]
        named = {
            key: {key._replace(call_id=o) for o in SOURCE_TYPES[self._settings.sources[key.source].kind].kin(mine)}
            for key, mine in told.items()
        }
        return {key: sorted(others - {key}) for key, others in named.items() if others}

    def _fold(
        self, root: StreamKey, events: Sequence[CallEvent], now: datetime, members: Sequence[CallEvent]
    ) -> After | None:
        """The call, or None where its events tell of none."""
        source = self._settings.sources.get(root.source)
        limits = self._limits.get(root.tenant) or Thresholds(config.Tenant())
        call = call_of(source, limits, root, (events, members), now)
        return None if call is None else After(call, facts.facts(call, limits))

    def _unreadable(self, root: StreamKey, error: Exception) -> str:
        """Why the events of a call can't be read: this one is set aside and waits for a fix, the others go on."""
        reason = isolation.reason_of(error)
        log.error("projector.call_failed", source=root.source, call_id=root.call_id, error=reason, exc_info=error)
        self._health.count("projector_failed_calls", source=root.source)
        return reason

    async def _lock(
        self, connection: asyncpg.Connection, spans: Mapping[StreamKey, tuple[datetime, datetime]]
    ) -> dict[StreamKey, Locked]:
        """Lock the calls, and with each the calls that it is one with, in key order."""
        wanted = set(spans)
        roots = await connection.fetch(store.query("projector", "roots_of"), *key_columns(sorted(wanted)))
        whole = {StreamKey(row["tenant"], row["source"], row["root"]) for row in roots} | wanted
        members = await connection.fetch(store.query("projector", "members_of"), *key_columns(sorted(whole)))
        whole |= {StreamKey(row["tenant"], row["source"], row["call_id"]) for row in members}
        ordered = sorted(whole)
        rows = await connection.fetch(
            store.query("projector", "lock_calls"),
            *key_columns(ordered),
            [spans.get(key, NEVER)[0] for key in ordered],
            [spans.get(key, NEVER)[1] for key in ordered],
        )
        locked = {}
        for row in rows:
            key = StreamKey(row["tenant"], row["source"], row["call_id"])
            locked[key] = Locked(key, row["root"], row["first_at"], row["last_at"], row["started_at"])
        strangers = {key._replace(call_id=state.root) for key, state in locked.items()} - locked.keys()
        if strangers:
            raise MoreCalls(strangers)
        return locked

    async def _events(
        self, connection: asyncpg.Connection, locked: Mapping[StreamKey, Locked]
    ) -> dict[StreamKey, list[CallEvent]]:
        first = min(state.first_at for state in locked.values())
        last = max(state.last_at for state in locked.values())
        columns = key_columns(sorted(locked))
        most = isolation.MOST_EVENTS_OF_A_CALL
        rows = await connection.fetch(store.query("projector", "events_of"), *columns, first, last, most + 1)
        events: dict[StreamKey, list[CallEvent]] = defaultdict(list)
        for row in rows:
            events[StreamKey(row["tenant"], row["source"], row["call_id"])].append(event_from_row(row))
        if excess := [key for key, told in events.items() if len(told) > most]:
            raise Unprojectable(dict.fromkeys(excess, f"the call has more than {most} events"))
        return events

    async def _before(
        self, connection: asyncpg.Connection, locked: Mapping[StreamKey, Locked]
    ) -> dict[StreamKey, Before]:
        starts = {key: state.started_at for key, state in locked.items()}
        known = {key: at for key, at in starts.items() if at is not None}
        return await rows_at(connection, known, by_fields=self._by_fields)

    async def _write_keys(
        self, connection: asyncpg.Connection, changed: Sequence[tuple[StreamKey, StreamKey, datetime]]
    ) -> None:
        if changed:
            await connection.execute(
                store.query("projector", "write_keys"),
                *key_columns([key for key, _, _ in changed]),
                [root.call_id for _, root, _ in changed],
                [at if key == root else None for key, root, at in changed],
            )
