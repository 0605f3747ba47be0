"""The projector: newly journalled events to calls, rollups, counters and the fate of missed customers.

One batch is one transaction. Locks are taken in one order everywhere: pending groups (skipping those that others
hold), the days and the questions about members of queues, calls by key, tenants whose sources tell of the same calls
by lock number, customers and agents by lock number, rollups, days and counters by key. So any number of projectors can
work at the same time, and a crash at any point leaves the batch to be done again. Times of agents are computed beside
it, see :mod:`callkpi.projection.timekeeping`. A batch that fails for what is in it stops nobody else, see
:mod:`callkpi.projection.isolation`.

A call of a tenant without a rule is guarded by its key. With one (:mod:`callkpi.same_call.rules`), the key guards what
its own source tells, and the tenant's lock what calls that makes: rows of such calls are read and written under it
alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import structlog

from callkpi import config
from callkpi.calls import facts as kpi
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import (
    AGENT_STREAM,
    MARK_STREAM,
    RESTART_STREAM,
    Call,
    CallEvent,
    Direction,
    StreamKey,
    agent_key,
)
from callkpi.calls.rows import event_from_row, key_columns, pairs
from callkpi.database import errors as database_errors
from callkpi.database import store
from callkpi.health import Health
from callkpi.missed import work
from callkpi.missed.writing import (
    fate_rows,
    is_missed,
    item_of_call,
    missed_record,
    settlements,
    write_work,
)
from callkpi.projection import days, isolation, timekeeping, views
from callkpi.projection import duty as rebuilding
from callkpi.projection.folding import (
    _MARK_REACH,
    MoreCalls,
    asks_about,
    interpreted,
    joined,
    marks_of,
    members_at,
    restarts_after,
)
from callkpi.projection.isolation import Attempt, Group, Unprojectable
from callkpi.projection.rows import (
    After,
    Before,
    Locked,
    before_from_row,
    call_columns,
    compare,
    contact_of_call,
    dense,
    spans_of,
)
from callkpi.projection.waits import write_waits
from callkpi.same_call import rules as same_call
from callkpi.same_call import unions
from callkpi.sources import SOURCE_TYPES

log = structlog.get_logger()

#: Between two batches: what comes meanwhile is folded together, once a call instead of once an event.
PAUSE_SECONDS = 0.08
BATCH_GROUPS = 100
BATCH_CALLS = 1000
SWEEP_SECONDS = 30.0
#: How old the times of agents may be in views; a report brings them up to date before it reads.
SETTLE_SECONDS = 2.0
#: A span that no event has yet, for a call that others name before it speaks itself.
_NEVER = (datetime(2100, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC))
#: How often one batch is begun again because more calls belong to it, or a month or a day has to be made first.
TURNS = 10
#: Linked calls that are looked up at once.
LINKS_AT_ONCE = 5000


class _NoPartition(Exception):
    """Calls begin in months that have no partition. It is made while the batch holds no lock; then it begins again."""

    def __init__(self, starts: Sequence[datetime]) -> None:
        super().__init__()
        self.starts = starts


class Projector:
    """Projects what the journal has and the calls have not."""

    def __init__(self, pool: asyncpg.Pool, settings: config.Settings, health: Health) -> None:
        self._pool = pool
        self._settings = settings
        self._health = health
        self._limits = {name: Thresholds(tenant) for name, tenant in settings.tenants.items()}
        self._rules = same_call.rules(settings)
        self._months: set[tuple[int, int]] = set()
        self._names: set[tuple[str, str, str]] = set()
        self._uncommitted_names: set[tuple[str, str, str]] = set()
        self._horizon: datetime | None = None  #: calls that began before are sealed: their events may be gone
        self._behind = False  #: the last batch was full: more waits already
        self._suspects = True  #: there may be suspects; at first nobody knows
        self._most_suspects = BATCH_GROUPS
        self._patience = isolation.Patience()
        self._unpublished = False  #: views do not know all agents yet
        #: Off while calls that were counted before are computed again.
        self.counting = True

    async def run(self) -> None:
        """Project, sweep and keep times until cancelled. What fails is told and done again; it stops nothing else."""
        pause, next_sweep, next_settle = 0.0, 0.0, 0.0
        while True:
            if time.monotonic() >= next_sweep:
                await self._goes_well("sweep", self.sweep())
                next_sweep = time.monotonic() + SWEEP_SECONDS
            if await self._goes_well("batch", self.project_batch()):
                pause = 0.0 if self._behind else PAUSE_SECONDS
            else:
                pause = min(max(2 * pause, 0.1), 5.0)
            if time.monotonic() >= next_settle:
                await self._goes_well("times", timekeeping.settle(self._pool, self._settings, wait=False))
                next_settle = time.monotonic() + (5 if self._behind else 1) * SETTLE_SECONDS
            await asyncio.sleep(pause)

    async def _goes_well(self, step: str, work: Awaitable[object]) -> bool:
        """Do a step of :meth:`run`. False where it failed: it is done again later."""
        try:
            await work
        except Exception as error:
            unforeseen = None if database_errors.is_passing(error) else error
            log.warning("projector.retries", step=step, error=isolation.reason_of(error), exc_info=unforeseen)
            self._health.count("projector_retries")
            self._health.failing(("projector", step), type(error).__name__)
            return False
        self._health.works(("projector", step))
        return True

    async def drain(self) -> int:
        """Project until nothing waits. Returns how many groups that were.

        What others have taken is waited for: groups that waited at the beginning are in the tables at the end.
        """
        last = await self._pool.fetchval(store.query("projector", "last_pending"))
        total = 0
        while True:
            self._suspects = True
            while groups := await self.project_batch():
                total += groups
            # A batch of another projector looks like nothing to do, and is not there before it commits.
            if await self._pool.fetchval(store.query("projector", "left_by_others"), last) is None:
                break
        await timekeeping.settle(self._pool, self._settings)
        return total

    async def sweep(self) -> None:
        """Put calls whose end never came up for folding again, and streams set aside whose next try has come.

        Old dedupe keys and questions are forgotten.
        """
        for name, tenant in self._settings.tenants.items():
            lapse = timedelta(hours=tenant.expire_after_hours)
            await self._pool.execute(store.query("projector", "lapsed"), name, lapse)
        windows = [source.dedupe_seconds for source in self._settings.sources.values()]
        window = timedelta(seconds=2 * max(windows, default=60.0))
        await self._pool.execute(store.query("journal", "forget_timeless"), window)
        await self._pool.execute(store.query("projector", "forget_questions"))
        for retry in ("retry", "retry_times"):
            await self._pool.execute(store.query("set_aside", retry), isolation.RETRIED_AT_ONCE)
        self._suspects = await self._pool.fetchval(store.query("set_aside", "any_suspects"))
        if self._unpublished:
            await self._publish_names()

    async def project_batch(self) -> int:
        """Project the oldest groups, and apart from them some that are suspected of what failed.

        Returns how many groups were done; 0 when nothing waits.
        """
        groups = await self._project(Attempt(most_groups=BATCH_GROUPS))
        if self._suspects:
            groups += await self._project(Attempt(suspects=True, most_groups=self._most_suspects))
        return groups

    async def _project(self, attempt: Attempt) -> int:
        """Do one batch in one transaction. Returns how many groups it took, projected or taken apart."""
        try:
            for _ in range(TURNS):
                if await self._is_done(attempt):
                    return len(attempt.groups)
            raise TimeoutError("calls kept being joined while they were projected")
        except Exception as error:
            return await self._failed(attempt, error)

    async def _is_done(self, attempt: Attempt) -> bool:
        """Try a batch. False where something that it needs was looked up or made first: try again."""
        try:
            await self._try(attempt)
            return True
        except MoreCalls as more:
            attempt.also |= await self._linked(more.keys) - attempt.aside.keys()
        except _NoPartition as missing:
            await self._make_partitions(missing.starts)
        except days.Unbegun as unbegun:
            await days.begin(self._pool, self._settings, unbegun.tenants)
        except Unprojectable as error:
            if not attempt.blame(error.reasons):
                raise
        return False

    async def _try(self, attempt: Attempt) -> None:
        self._uncommitted_names = set()
        async with self._pool.acquire() as connection, connection.transaction():
            await self._batch(connection, attempt)
        self._names |= self._uncommitted_names
        self._tell_aside(attempt.aside)
        if attempt.suspects:
            self._suspects = bool(attempt.groups)
            self._most_suspects = min(2 * attempt.most_groups, BATCH_GROUPS)
        if any(kind == "agent" for _, kind, _ in self._uncommitted_names):
            self._unpublished = True
            await self._goes_well("names", self._publish_names())

    async def _failed(self, attempt: Attempt, error: Exception) -> int:
        """Take a batch apart that failed for what is in it; raise *error* where the database's state is to blame."""
        passes = database_errors.is_passing(error) and not self._patience.is_lost(error, attempt)
        if passes or not attempt.groups:
            raise error
        reason = isolation.reason_of(error)
        # The first failure tells where it was; those that follow look for the stream.
        told = None if attempt.suspects else error
        log.warning("projector.batch_failed", groups=len(attempt.groups), error=reason, exc_info=told)
        # A month that retention has dropped since would be the reason: look again.
        self._months.clear()
        aside = await isolation.take_apart(self._pool, attempt, reason)
        self._tell_aside(dict.fromkeys(aside, reason))
        self._suspects, self._most_suspects = True, max(1, len(attempt.groups) // 2)
        return len(attempt.groups)

    def _tell_aside(self, reasons: Mapping[StreamKey, str]) -> None:
        for key, reason in reasons.items():
            log.error("projector.set_aside", source=key.source, call_id=key.call_id[:100], reason=reason)

    async def _publish_names(self) -> None:
        """An agent is new: his id may be one that another source uses as well, which views have to tell apart."""
        async with self._pool.acquire() as connection:
            if await connection.fetch(store.query("agents", "twins")):
                await views.publish_names(connection, self._settings)
        self._unpublished = False

    async def _linked(self, keys: Iterable[StreamKey]) -> set[StreamKey]:
        """These calls, and all that they lead to by links within their source."""
        columns = key_columns(sorted(keys))
        rows = await self._pool.fetch(store.query("projector", "linked_to"), *columns, LINKS_AT_ONCE)
        reached = {StreamKey(*row) for row in rows} | set(keys)
        return {key for key in reached if key in keys or not self._is_foreign(key)}

    def _is_foreign(self, key: StreamKey) -> bool:
        rule = self._rules.get(key.tenant)
        return rule is not None and same_call.is_foreign(key.call_id, key.source, rule)

    async def _batch(self, connection: asyncpg.Connection, attempt: Attempt) -> None:
        begin = time.perf_counter()
        limits = (attempt.most_groups, BATCH_CALLS, attempt.suspects)
        groups = await connection.fetch(store.query("projector", "take_pending"), *limits)
        attempt.groups = [Group(group["id"], len(group["call_ids"])) for group in groups]
        if not attempt.suspects:
            full = sum(group.streams for group in attempt.groups) >= BATCH_CALLS
            self._behind = full or len(groups) >= BATCH_GROUPS
        if not groups:
            return
        attempt.spans, attempt.counted = spans_of(groups), any(group["counted"] for group in groups)
        spans = await isolation.sift(connection, attempt, some_aside=groups[0]["some_aside"])
        calls = await self._project_streams(connection, groups, spans, attempt.also)
        self._health.observe("projector_batch_seconds", time.perf_counter() - begin)
        self._health.count("projector_calls", calls)

    async def _project_streams(
        self,
        connection: asyncpg.Connection,
        groups: Sequence[asyncpg.Record],
        spans: Mapping[StreamKey, isolation.Span],
        also: Iterable[StreamKey],
    ) -> int:
        """Bring everything up to date that the streams of a batch tell. Returns how many calls were folded."""
        agents = {key: span for key, span in spans.items() if key.call_id.startswith(AGENT_STREAM)}
        worked = {key: span for key, span in spans.items() if key.source == work.SOURCE}
        marks = {key: span for key, span in spans.items() if key.call_id.startswith(MARK_STREAM)}
        restarts = {key: span for key, span in marks.items() if key.call_id == RESTART_STREAM}
        others = {*agents, *worked, *marks}
        calls = {key: span for key, span in spans.items() if key not in others}
        for key in also:
            calls.setdefault(key, _NEVER)
        self._horizon = groups[0]["horizon"]
        known_days = await days.hold(connection, self._settings.tenants)
        # First of all locks, and never a stronger one later: two projectors can't wait for each other.
        lock = "lock_questions" if agents or restarts else "lock_questions_shared"
        await connection.execute(store.query("projector", lock))
        after = await self._fold_calls(connection, calls) if calls else []
        if not all(group["counted"] for group in groups):
            live = spans_of(group for group in groups if group["counted"]).keys()
            for item in after:
                item.counted = not live.isdisjoint(item.keys)
        united: Counter[tuple[str, kpi.Series]] = Counter()
        if self._rules:
            after = await self._unite(connection, after, united)
        customers = await self._lock_people(connection, after, agents, worked)
        await self._write_calls(connection, after)
        await write_waits(connection, after)
        if agents:
            await self._write_agents(connection, agents)
        if restarts:
            since = [first for first, _ in restarts.values()]
            await connection.execute(store.query("projector", "restarted"), *key_columns(list(restarts))[:2], since)
        await write_work(connection, worked)
        await self._write_fates(connection, after, customers, worked)
        await self._add_rollups(connection, after)
        await days.add(connection, known_days, (item.change for item in after))
        await self._add_counters(connection, after, agents, united)
        await self._put_agents(connection, after, agents)
        return len(after)

    # -- calls ---------------------------------------------------------------------------------------
    async def _fold_calls(
        self, connection: asyncpg.Connection, spans: Mapping[StreamKey, tuple[datetime, datetime]]
    ) -> list[After]:
        locked = await self._lock(connection, spans)
        events = await self._events(connection, locked)
        kin = await self._kin(connection, locked, events)
        parts = self._unsealed(joined(locked, events, self._rules, kin), locked)
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
        self, parts: dict[StreamKey, list[StreamKey]], locked: Mapping[StreamKey, Locked]
    ) -> dict[StreamKey, list[StreamKey]]:
        horizon = self._horizon
        if horizon is None:
            return parts
        kept = {
            root: members for root, members in parts.items() if all(locked[key].first_at >= horizon for key in members)
        }
        self._health.count("projector_sealed_calls", len(parts) - len(kept))
        return kept

    # -- one call across sources ---------------------------------------------------------------------
    def _rule_of(self, key: StreamKey) -> same_call.Rule | None:
        rule = self._rules.get(key.tenant)
        return rule if rule is not None and key.source in rule.sources else None

    def _side(
        self, call: Call, members: Sequence[StreamKey], events: Sequence[CallEvent], rule: same_call.Rule
    ) -> same_call.Side:
        known_as = SOURCE_TYPES[self._settings.sources[call.source].kind].known_as(events)
        return same_call.side_of(call, events, {*known_as, *(key.call_id for key in members)}, rule)

    async def _unite(
        self, connection: asyncpg.Connection, after: Sequence[After], united: Counter[tuple[str, kpi.Series]]
    ) -> list[After]:
        """The calls as their sources tell them, to the calls that they are; adds to *united* what changed."""
        by_tenant: dict[str, list[After]] = defaultdict(list)
        for item in after:
            if item.side is not None:
                by_tenant[item.call.tenant].append(item)
        if not by_tenant:
            return list(after)
        await unions.lock(connection, by_tenant)
        result = [item for item in after if item.side is None]
        for tenant, items in sorted(by_tenant.items()):
            touched: dict[same_call.Key, same_call.Side | None] = {
                same_call.Key(*key[1:]): None for item in items for key in item.keys
            }
            touched |= {item.side.key: item.side for item in items if item.side is not None}
            decided = await unions.decide(connection, tenant, self._rules[tenant], touched)
            result += await self._afterwards(connection, tenant, items, decided)
            united.update((tenant, kpi.Series("united", outcome=rule)) for rule in decided.united)
            united.update((tenant, kpi.Series("split", outcome=rule)) for rule in decided.split)
        return result

    async def _afterwards(
        self, connection: asyncpg.Connection, tenant: str, items: Sequence[After], decided: unions.Decided
    ) -> list[After]:
        """What to write of the unions that changed, each with the rows that it replaces."""
        of_side = {item.key: item for item in items}
        places = {key: at for item in items for key, at in item.places.items()}
        places |= {StreamKey(tenant, *key): at for key, at in decided.places.items()}
        before = await self._rows_at(connection, places)
        some_counted = any(item.counted for item in items)
        result = []
        for union in decided.unions:
            leads = [StreamKey(tenant, *side.key) for side in union.sides]
            told = [of_side[key] for key in leads if key in of_side]
            call = same_call.unite(union, self._rules[tenant])
            item = After(call, kpi.facts(call, self._limits[tenant]))
            item.keys = tuple(key for lead in leads for key in (of_side[lead].keys if lead in of_side else (lead,)))
            item.counted = any(one.counted for one in told) if told else some_counted
            compare(item, before, item.keys)
            result.append(item)
        return result

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
        canonical = interpreted(source, events, members)
        if not canonical:
            return None
        call = fold(root.call_id, canonical, limits, now, events)
        return After(call, kpi.facts(call, limits))

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
            [spans.get(key, _NEVER)[0] for key in ordered],
            [spans.get(key, _NEVER)[1] for key in ordered],
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
        return await self._rows_at(connection, {key: at for key, at in starts.items() if at is not None})

    async def _rows_at(
        self, connection: asyncpg.Connection, places: Mapping[StreamKey, datetime]
    ) -> dict[StreamKey, Before]:
        if not places:
            return {}
        starts, columns = list(places.values()), key_columns(list(places))
        by_fields = any(tenant.fields for tenant in self._settings.tenants.values())
        span = (min(starts), max(starts))
        rows = await connection.fetch(store.query("projector", "calls_at"), *columns, starts, *span, by_fields)
        return {before.key: before for before in map(before_from_row, rows)}

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

    async def _write_calls(self, connection: asyncpg.Connection, after: Sequence[After]) -> None:
        gone = [
            old for item in after for old in item.before
            if (old.key, old.started_at) != (item.key, item.call.started_at)
        ]  # fmt: skip
        if gone:
            columns = key_columns([old.key for old in gone])
            starts = [old.started_at for old in gone]
            await connection.execute(store.query("projector", "delete_calls"), *columns, min(starts), max(starts))
        months = {_month(item.call.started_at): item.call.started_at for item in after}
        missing = []
        for month in months.keys() - self._months:
            if await connection.fetchval(store.query("journal", "has_partition"), "calls", months[month]):
                self._months.add(month)
            else:
                missing.append(months[month])
        if missing:
            raise _NoPartition(missing)
        if after:
            await connection.execute(store.query("projector", "write_calls"), *call_columns(after))

    async def _make_partitions(self, starts: Iterable[datetime]) -> None:
        for at in starts:
            await self._pool.execute(store.query("journal", "ensure_partition"), "calls", at)
            self._months.add(_month(at))

    # -- rollups and counters ------------------------------------------------------------------------
    async def _add_rollups(self, connection: asyncpg.Connection, after: Sequence[After]) -> None:
        totals: dict[tuple[str, kpi.Key], kpi.Row] = defaultdict(kpi.Row)
        for item in after:
            for sign, facts in ((-1, item.changed[0]), (1, item.changed[1])):
                for fact in facts:
                    totals[item.call.tenant, fact.bin].add(fact, sign)
        ordered = sorted(totals.items())
        changes = [
            {"tenant": tenant, **key._asdict(), **row.to_json()}
            for (tenant, key), row in ordered
            if not row.is_empty or row.longest_wait_ms
        ]
        emptied = await self._add_differences(connection, changes)
        for (tenant, key), row in ordered:
            if row.lost_wait_ms > row.longest_wait_ms and (tenant, *key) not in emptied:
                await self._lower_longest_wait(connection, tenant, key)

    async def _add_differences(
        self, connection: asyncpg.Connection, changes: Sequence[Mapping[str, Any]]
    ) -> set[tuple[Any, ...]]:
        """Add the differences, and remove the rows that count nothing after them: of calls that were open, and of a
        portal's users and lines that counted until its PBX was seen behind them. Returns the keys of those rows."""
        if not changes:
            return set()
        rows = await connection.fetch(store.query("projector", "add_rollups"), store.to_json(changes))
        return await store.remove_emptied(connection, store.query("projector", "remove_emptied"), rows)

    async def _lower_longest_wait(self, connection: asyncpg.Connection, tenant: str, key: kpi.Key) -> None:
        """A correction took a wait away that may have been the longest: find the longest that is left."""
        rows = await connection.fetch(store.query("projector", "facts_near"), tenant, key.at, key.at + kpi.INTERVAL)
        found = (kpi.Fact.from_json(orjson.loads(row["fact"])) for row in rows)
        longest = max((f.longest_wait_ms for f in found if f.bin == key), default=0)
        await connection.execute(
            store.query("projector", "set_longest_wait"), tenant, *key[:1], key.at, *key[2:], longest
        )

    async def _add_counters(
        self, connection: asyncpg.Connection, after: Sequence[After], agents: Iterable[StreamKey],
        united: Mapping[tuple[str, kpi.Series], int],
    ) -> None:  # fmt: skip
        told = united if self.counting else {}
        totals: dict[tuple[str, kpi.Series], list[Any]] = {place: [count, {}] for place, count in told.items()}
        names: set[tuple[str, str, str]] = set()
        for item in after:
            grown = kpi.growth(*item.changed) if self.counting and item.counted else {}
            for series, (value, buckets) in grown.items():
                total = totals.setdefault((item.call.tenant, series), [0, {}])
                total[0] += value
                for index, count in buckets.items():
                    total[1][index] = total[1].get(index, 0) + count
            for fact in item.changed[1]:
                named = (("queue", fact.key.queue), ("agent", fact.key.agent), ("line", fact.key.line))
                names.update((item.call.tenant, kind, name) for kind, name in named if name)
        for key in agents:
            names.add((key.tenant, "agent", agent_key(key.source, key.call_id.removeprefix(AGENT_STREAM))))
        await self._add_names(connection, names)
        rows = [
            {"tenant": tenant, **series._asdict(), "value": value, "buckets": dense(buckets)}
            for (tenant, series), (value, buckets) in sorted(totals.items())
        ]
        if rows:
            await connection.execute(store.query("projector", "add_counters"), store.to_json(rows))

    async def _add_names(self, connection: asyncpg.Connection, names: set[tuple[str, str, str]]) -> None:
        new = sorted(names - self._names)
        if new:
            columns = [list(column) for column in zip(*new, strict=True)]
            await connection.execute(store.query("projector", "add_names"), *columns)
            self._uncommitted_names.update(new)

    # -- missed customers and agents -----------------------------------------------------------------
    async def _lock_people(
        self,
        connection: asyncpg.Connection,
        after: Sequence[After],
        agents: Iterable[StreamKey],
        worked: Iterable[StreamKey],
    ) -> set[tuple[str, str]]:
        """Lock the agents, the items that were worked on, and the customers whose calls changed in what their fate
        depends on. Returns those customers."""
        customers: set[tuple[str, str]] = set()
        for item in after:
            olds = [(old.customer, old.contact) for old in item.before]
            new = (item.call.customer, contact_of_call(item.call))
            if olds != [new]:
                customers.update((item.call.tenant, c) for c in (new[0], *(old[0] for old in olds)) if c)
        items = {(key.tenant, key.call_id) for key in worked}
        customers |= {item for item in items if work.hidden_call(item[1]) is None}
        hidden = {item_of_call(i.call) for i in after if is_missed(i.call) and not i.call.customer}
        people = sorted(customers | items | hidden | {(key.tenant, key.call_id) for key in agents})
        if people:
            columns = [list(column) for column in zip(*people, strict=True)]
            await connection.execute(store.query("projector", "lock_customers"), *columns)
        return customers

    async def _write_fates(
        self,
        connection: asyncpg.Connection,
        after: Sequence[After],
        customers: set[tuple[str, str]],
        worked: Mapping[StreamKey, tuple[datetime, datetime]],
    ) -> None:
        were_missed = {old.key for item in after for old in item.before if old.was_missed}
        gone = were_missed - {item.key for item in after if is_missed(item.call)}
        if gone:
            await connection.execute(store.query("projector", "delete_missed"), *key_columns(sorted(gone)))
        rows = await self._hidden_fates(connection, after, worked)
        rows += await self._fates_of(connection, after, customers, worked)
        if rows:
            columns = [list(column) for column in zip(*sorted(rows, key=lambda r: r[:3]), strict=True)]
            await connection.execute(store.query("projector", "write_missed"), *columns)

    async def _hidden_fates(
        self, connection: asyncpg.Connection, after: Sequence[After], worked: Iterable[StreamKey]
    ) -> list[tuple[Any, ...]]:
        """Calls of hidden numbers, each for itself: nothing but a hand can settle it."""
        rows = {item_of_call(i.call): missed_record(i.call) for i in after if is_missed(i.call) and not i.call.customer}
        asked = [(key, call) for key in worked if (call := work.hidden_call(key.call_id)) is not None]
        if asked:
            columns = [[key.tenant for key, _ in asked], *([call[n] for _, call in asked] for n in (0, 1))]
            for row in await connection.fetch(store.query("work", "missed_calls_at"), *columns):
                item = work.item_of("", row["source"], row["call_id"])
                rows.setdefault((row["tenant"], item), {**row, "direction": Direction.INBOUND, "answered_at": None})
        settled = await settlements(connection, rows)
        return [fate for item, row in rows.items() for fate in fate_rows([row], self._window, None, settled[item])]

    @property
    def _window(self) -> timedelta:
        return timedelta(days=max(tenant.write_off_days for tenant in self._settings.tenants.values()))

    async def _fates_of(
        self,
        connection: asyncpg.Connection,
        after: Sequence[After],
        customers: set[tuple[str, str]],
        worked: Mapping[StreamKey, tuple[datetime, datetime]],
    ) -> list[tuple[Any, ...]]:
        if not customers:
            return []
        window = self._window
        changed = [item.call.started_at for item in after] + [old.started_at for i in after for old in i.before]
        changed += [at for span in worked.values() for at in span]
        first, last = min(changed) - window, max(changed) + window
        known = await connection.fetch(store.query("projector", "customers_missed"), *pairs(customers), first)
        missing = {(i.call.tenant, i.call.customer) for i in after if is_missed(i.call)} & customers
        concerned = {(row["tenant"], row["customer"]) for row in known} | missing
        if not concerned:
            return []
        rows = await connection.fetch(store.query("projector", "contacts_of"), *pairs(concerned), first, last)
        by_customer: dict[tuple[str, str], list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            by_customer[row["tenant"], row["customer"]].append(row)
        settled = await settlements(connection, concerned)
        return [
            fate
            for customer, records in by_customer.items()
            for fate in fate_rows(records, window, max(changed), settled[customer])
        ]

    async def _write_agents(
        self, connection: asyncpg.Connection, agents: Mapping[StreamKey, tuple[datetime, datetime]]
    ) -> None:
        columns = key_columns(sorted(agents))
        first = min(span[0] for span in agents.values())
        last = max(span[1] for span in agents.values())
        await connection.execute(store.query("projector", "write_agent_states"), *columns, first, last)
        await connection.execute(store.query("projector", "write_members_seen"), *columns, first, last)
        await connection.execute(store.query("projector", "write_agent_rollups"), *columns, first, last)
        await connection.execute(store.query("projector", "ask_again"), *columns, first, last)

    async def _put_agents(
        self,
        connection: asyncpg.Connection,
        after: Sequence[After],
        agents: Mapping[StreamKey, tuple[datetime, datetime]],
    ) -> None:
        """Leave the calls that agents were in, and the agents themselves, to timekeeping."""
        touched = dict(agents)
        for item in after:
            if item.call.legs or item.before:
                span = (item.call.started_at, item.call.last_event_at)
                touched.update(dict.fromkeys((item.key, *(old.key for old in item.before)), span))
        if touched:
            spans = [[span[0] for span in touched.values()], [span[1] for span in touched.values()]]
            await connection.execute(store.query("agents", "put_pending"), *key_columns(list(touched)), *spans)


# -- what a call depends on besides its own events ---------------------------------------------------------


# -- plain helpers ----------------------------------------------------------------------------------------


def _month(at: datetime) -> tuple[int, int]:
    return at.year, at.month


async def run(settings: config.Settings, dsn: str) -> None:
    """Fold what is journalled, until cancelled."""
    pool = await store.create_pool(dsn, role="projector", size=2, lazy=True)
    health = Health()

    async def project() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(Projector(pool, settings, health).run())
            group.create_task(days.run(settings, dsn, health))

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(health.run(pool))
            group.create_task(rebuilding.beside(dsn, project))
    finally:
        await pool.close()
