"""Everything that follows from the journal, computed again from it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import asyncpg

from callkpi.calls import facts
from callkpi.database import encoding, store
from callkpi.projection import days, streams
from callkpi.projection.batch import Projector
from callkpi.upkeep.doctor import Progress


async def refold(pool: asyncpg.Pool, projector: Projector, progress: Progress) -> None:
    """Compute an open store again from its journal, month by month.

    The counters for Prometheus stay as they are: they counted these calls when they happened.
    """
    await projector.drain()
    projector.counting = False
    await pool.execute(store.query("projection", "rebuild_begins"))
    horizon = await _clear(pool)
    span = await pool.fetchrow(store.query("projector", "journal_span"))
    if span["first_at"] is None:
        await pool.execute(store.query("projection", "rebuild_ends"))
        return
    month, done = max(_month(span["first_at"]), horizon), 0
    while month <= span["last_at"]:
        following = _month(month + timedelta(days=32))
        await pool.execute(store.query("projector", "requeue_journal"), month, following)
        while groups := await projector.project_batch():
            done += groups
            progress(done, 0)
        month = following
    await projector.drain()
    await pool.execute(store.query("projection", "rebuild_ends"))
    projector.counting = True


async def _clear(pool: asyncpg.Pool) -> datetime:
    """Forget what the journal that is kept folds into; calls whose events are gone stay.

    Returns since when events are kept.
    """
    horizon: datetime | None = await pool.fetchval(store.query("retention", "journal_horizon"))
    if horizon is None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(store.query("projector", "clear_projection"))
            for kind in streams.KINDS:
                await kind.clear(connection, None)
        return datetime.min.replace(tzinfo=UTC)
    async with pool.acquire() as connection, connection.transaction():
        await days.forget_since(connection, horizon)
        await connection.execute(store.query("retention", "clear_since"), horizon)
        for kind in streams.KINDS:
            await kind.clear(connection, horizon)
        await days.fill_since(connection, horizon)
        totals: dict[tuple[str, facts.Key], facts.Row] = defaultdict(facts.Row)
        for row in await connection.fetch(store.query("retention", "facts_of_sealed"), horizon):
            for fact in map(facts.Fact.from_json, json.loads(row["facts"])):
                if fact.key.at >= horizon:
                    totals[row["tenant"], fact.bin].add(fact)
        rows = [{"tenant": tenant, **key._asdict(), **row.to_json()} for (tenant, key), row in sorted(totals.items())]
        if rows:
            await connection.execute(store.query("projector", "add_rollups"), encoding.to_json(rows))
    return horizon


def _month(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
