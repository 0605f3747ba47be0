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
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg
import structlog

from callkpi import config
from callkpi.calls import counters
from callkpi.calls.model import (
    StreamKey,
)
from callkpi.calls.rows import key_columns
from callkpi.database import errors as database_errors
from callkpi.database import store
from callkpi.health import Health
from callkpi.missed import work
from callkpi.missed.writing import (
    Changed,
    is_missed,
    item_of_call,
    write_fates,
)
from callkpi.projection import days, duty, isolation, rollups, streams, timekeeping, views
from callkpi.projection.folding import (
    NEVER,
    Folding,
    MoreCalls,
)
from callkpi.projection.isolation import Attempt, Group, Unprojectable
from callkpi.projection.rows import (
    After,
    call_columns,
    contact_of_call,
    spans_of,
)
from callkpi.projection.uniting import Uniting
from callkpi.projection.waits import write_waits
from callkpi.same_call import rules

log = structlog.get_logger()

#: Between two batches: what comes meanwhile is folded together, once a call instead of once an event.
PAUSE_SECONDS = 0.08
BATCH_GROUPS = 100
BATCH_CALLS = 1000
SWEEP_SECONDS = 30.0
#: How old the times of agents may be in views; a report brings them up to date before it reads.
SETTLE_SECONDS = 2.0
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
        self._folding, self._uniting = Folding(settings, health), Uniting(settings)
        self._rules = rules.rules(settings)
        self._months: set[tuple[int, int]] = set()
        self._names: set[tuple[str, str, str]] = set()
        self._uncommitted_names: set[tuple[str, str, str]] = set()
        self._behind = False  #: the last batch was full: more waits already
        self._big_before = False  #: the last batch may have had big groups: the next one is of small ones
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
        groups = 0
        if self._big_before:
            groups = await self._project(Attempt(most_groups=BATCH_GROUPS, with_big=False))
        self._big_before = not groups
        if not groups:
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
        return rule is not None and rules.is_foreign(key.call_id, key.source, rule)

    async def _batch(self, connection: asyncpg.Connection, attempt: Attempt) -> None:
        begin = time.perf_counter()
        limits = (attempt.most_groups, BATCH_CALLS, attempt.suspects, attempt.with_big)
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
        parted = streams.by_kind(spans)
        calls, agents, worked = parted.pop(streams.CALLS), parted[streams.AGENTS], parted[streams.WORK]
        for key in also:
            calls.setdefault(key, NEVER)
        known_days = await days.hold(connection, self._settings.tenants)
        # First of all locks, and never a stronger one later: two projectors can't wait for each other.
        tells = any(kind.tells_of_members(mine) for kind, mine in parted.items())
        lock = "lock_questions" if tells else "lock_questions_shared"
        await connection.execute(store.query("projector", lock))
        after = await self._folding.calls(connection, calls, groups[0]["horizon"]) if calls else []
        if not all(group["counted"] for group in groups):
            live = spans_of(group for group in groups if group["counted"]).keys()
            for item in after:
                item.counted = not live.isdisjoint(item.keys)
        united: Counter[tuple[str, counters.Series]] = Counter()
        if self._rules:
            after = await self._uniting.calls(connection, after, united)
        customers = await self._lock_people(connection, after, parted)
        await self._write_calls(connection, after)
        await write_waits(connection, after)
        for kind, mine in parted.items():
            if mine:
                await kind.write(connection, self._settings, mine)
        replaced = [old for item in after for old in item.before]
        await write_fates(connection, Changed([item.call for item in after], replaced, customers), worked, self._window)
        await rollups.add(connection, after)
        await days.add(connection, known_days, (item.change for item in after))
        await self._add_names(connection, rollups.names_of(after, agents))
        if self.counting:
            await rollups.count(connection, rollups.grown(after, united))
        await self._put_agents(connection, after, agents)
        return len(after)

    # -- calls ---------------------------------------------------------------------------------------

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
        parted: Mapping[streams.StreamKind, streams.Streams],
    ) -> set[tuple[str, str]]:
        """Lock whom the kinds of streams need held, and the customers whose calls changed in what their fate depends
        on. Returns those customers."""
        customers: set[tuple[str, str]] = set()
        for item in after:
            olds = [(old.customer, old.contact) for old in item.before]
            new = (item.call.customer, contact_of_call(item.call))
            if olds != [new]:
                customers.update((item.call.tenant, c) for c in (new[0], *(old[0] for old in olds)) if c)
        items = {(key.tenant, key.call_id) for key in parted[streams.WORK]}
        customers |= {item for item in items if work.hidden_call(item[1]) is None}
        hidden = {item_of_call(i.call) for i in after if is_missed(i.call) and not i.call.customer}
        held = set().union(*(kind.people(mine) for kind, mine in parted.items()))
        if people := sorted(customers | hidden | held):
            columns = [list(column) for column in zip(*people, strict=True)]
            await connection.execute(store.query("projector", "lock_customers"), *columns)
        return customers

    @property
    def _window(self) -> timedelta:
        return timedelta(days=max(tenant.write_off_days for tenant in self._settings.tenants.values()))

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
            group.create_task(duty.beside(dsn, project))
    finally:
        await pool.close()
