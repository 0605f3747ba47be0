"""How far back things are kept: whole months go, oldest first, each thing at its own age.

Events go first, then calls; the figures stay. A call whose events are gone is *sealed*: it can't change any more, also
not by a rebuild. A horizon is set some time before what lies behind it is dropped: by then every process has heard of
it, takes no event from before and folds no sealed call.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from errno import ENOENT
from pathlib import Path

import asyncpg
import structlog

from callkpi import config
from callkpi.database import store
from callkpi.health import Health
from callkpi.looping import Loop, keep_going
from callkpi.projection import streams
from callkpi.upkeep import erasure

log = structlog.get_logger()

EVERY_SECONDS = 600.0
#: Longer than any batch of the projector, and than any process believes an old horizon.
SETTLE = timedelta(minutes=10)
#: How often months whose numbers were replaced are looked at again: a backfill brings numbers into them.
LOOK_AGAIN = timedelta(days=1)
_KEYS_AT_A_TIME = 20_000


@dataclass(frozen=True, slots=True)
class Done:
    """What one round removed."""

    dropped: tuple[str, ...] = ()  #: partitions
    pseudonymised: int = 0  #: calls


def horizons(kept: config.Retention, now: datetime) -> dict[str, datetime]:
    """Since when each thing is kept: the begin of a month (UTC). What is kept for ever is not in it."""
    ages = {"journal": kept.journal_months, "calls": kept.calls_months, "numbers": kept.numbers_months}
    return {what: months_before(now, months) for what, months in ages.items() if months}


def months_before(now: datetime, months: int) -> datetime:
    """The begin of the month that lies so many whole months before the month of *now*."""
    count = now.year * 12 + now.month - 1 - months
    return datetime(count // 12, count % 12 + 1, 1, tzinfo=UTC)


async def run(settings: config.Settings, dsn: str) -> None:
    """Keep the house, until cancelled."""
    pool = await store.create_pool(dsn, role="janitor", size=2, lazy=True)
    health = Health()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(health.run(pool))
            group.create_task(_keep(pool, settings, health))
    finally:
        await pool.close()


async def _keep(pool: asyncpg.Pool, settings: config.Settings, health: Health) -> None:
    looked_at: datetime | None = None

    async def look() -> None:
        nonlocal looked_at
        now = datetime.now(UTC)
        again = looked_at is None or now - looked_at >= LOOK_AGAIN
        try:
            async with pool.acquire() as lock:
                if await lock.fetchval(store.query("retention", "try_lock")):
                    try:
                        done = await enforce(pool, settings.retention, now, again=again)
                        looked_at = now if again else looked_at
                        health.count("retention_partitions", len(done.dropped))
                        health.count("retention_calls_pseudonymised", done.pseudonymised)
                    finally:
                        await lock.execute(store.query("retention", "unlock"))
        except Exception:
            health.count("retention_failures")
            raise

    await keep_going(Loop("janitor", EVERY_SECONDS, health), look)


async def enforce(
    pool: asyncpg.Pool, kept: config.Retention, now: datetime, settle: timedelta = SETTLE, *, again: bool = False
) -> Done:
    """One round: move the horizons, and remove what lies behind those that are settled.

    *again*: look for numbers in months that are done as well: history may have been read into them since.
    """
    for what, before in horizons(kept, now).items():
        if what != "numbers" and not await _is_behind(pool, before):
            await pool.execute(store.query("retention", "set_horizon"), what, before)
    rows = await pool.fetch(store.query("retention", "horizons"), settle)
    settled = {row["what"]: row["before"] for row in rows if row["settled"]}
    dropped = []
    for table in ("journal", "calls"):
        if table in settled:
            dropped += await _drop(pool, table, settled[table], kept.archive_dir)
    if "journal" in settled:
        await pool.execute(store.query("retention", "forget_questions"), settled["journal"])
        async with pool.acquire() as connection, connection.transaction():
            for kind in streams.KINDS:
                await kind.forget(connection, settled["journal"])
    if any(name.startswith("calls") for name in dropped):
        await _forget_calls(pool, settled["calls"])
    if kept.rejected_days:
        await pool.execute(store.query("retention", "forget_rejected"), now - timedelta(days=kept.rejected_days))
    if kept.audit_months:
        await _forget_audit(pool, months_before(now, kept.audit_months))
    known = {} if again else {row["what"]: row["before"] for row in rows}
    return Done(tuple(dropped), await _pseudonymise(pool, kept, now, known))


async def _is_behind(pool: asyncpg.Pool, before: datetime) -> bool:
    """Events from before a horizon that wait to be projected must be in their calls first."""
    return bool(await pool.fetchval(store.query("retention", "behind"), before))


async def _drop(pool: asyncpg.Pool, table: str, before: datetime, archive_dir: str) -> list[str]:
    names = [row["name"] for row in await pool.fetch(store.query("retention", "partitions"), table)]
    dropped = []
    for name in names:
        if erasure.month_of(name)[1] <= before:
            if archive_dir:
                await _archive(pool, name, Path(archive_dir))
            await pool.execute(store.query("retention", "drop_partition"), table, name)
            log.info("retention.dropped", partition=name, archived=bool(archive_dir))
            dropped.append(name)
    return dropped


async def _archive(pool: asyncpg.Pool, name: str, directory: Path) -> None:
    """A month as CSV with a header, which COPY reads back; complete and on disk before its name is there."""
    if not await asyncio.to_thread(directory.is_dir):
        # Made here it might lie behind a mount that is missing, and what it archives is dropped.
        raise FileNotFoundError(ENOENT, "is not there: make it, or mount what it lies on", str(directory))
    plain, packed, final = (directory / f"{name}{suffix}" for suffix in (".csv.part", ".csv.gz.part", ".csv.gz"))
    for part in (plain, packed):
        # Customers' numbers are in it: nobody else on this machine reads it.
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
    async with pool.acquire() as connection:
        await connection.copy_from_table(name, output=plain, format="csv", header=True, timeout=3600)
    await asyncio.to_thread(_pack, plain, packed, final)


def _pack(plain: Path, packed: Path, final: Path) -> None:
    with plain.open("rb") as source, packed.open("wb") as target:
        with gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as writer:
            shutil.copyfileobj(source, writer, 1 << 20)
        target.flush()
        os.fsync(target.fileno())
    packed.replace(_unused(final))
    plain.unlink()


def _unused(path: Path) -> Path:
    """An archive is never overwritten: events that came for a month that was archived are in another file."""
    number = 1
    while path.exists():
        number += 1
        path = path.with_name(f"{path.name.split('.')[0]}.{number}.csv.gz")
    return path


async def _forget_calls(pool: asyncpg.Pool, before: datetime) -> None:
    for forget in ("forget_keys", "forget_sides"):
        while await pool.execute(store.query("retention", forget), before, _KEYS_AT_A_TIME) != "DELETE 0":
            pass
    for forget in ("forget_waits", "forget_missed_numbers"):
        await pool.execute(store.query("retention", forget), before)


async def _forget_audit(pool: asyncpg.Pool, before: datetime) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("retention", "may_forget_audit"))
        await connection.execute(store.query("retention", "forget_audit"), before)


async def _pseudonymise(
    pool: asyncpg.Pool, kept: config.Retention, now: datetime, known: Mapping[str, datetime]
) -> int:
    """Months whose numbers are too old, once each; one that is cut short is begun again."""
    wanted = horizons(kept, now).get("numbers")
    if wanted is None:
        return 0
    done = 0
    for row in await pool.fetch(store.query("retention", "partitions"), "calls"):
        begin, end = erasure.month_of(row["name"])
        if end <= wanted and end > known.get("numbers", datetime.min.replace(tzinfo=UTC)):
            done += await erasure.pseudonymise(pool, begin, end)
            await pool.execute(store.query("retention", "set_horizon"), "numbers", end)
    return done
