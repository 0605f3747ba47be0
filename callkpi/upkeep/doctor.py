"""Commands on a database: migrate, rebuild from the journal, replay what was rejected, check the invariants."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from callkpi import audit, config
from callkpi.calls import facts as kpi
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import StreamKey
from callkpi.calls.phone import mask
from callkpi.calls.rows import call_body, event_from_row
from callkpi.daemon.processes import Failed, prepare
from callkpi.database import embedded, migrations, store
from callkpi.health import Health
from callkpi.ingest.door import Ingest, UnknownSource
from callkpi.ingest.journal import Journal, windows_of
from callkpi.projection import days, isolation, timekeeping
from callkpi.projection import duty as rebuilding
from callkpi.projection.batch import Projector, asks_about, interpreted, members_at, restarts_after
from callkpi.same_call import check as same_call_check
from callkpi.sources.base import Malformed
from callkpi.upkeep import erasure as privacy

Progress = Callable[[int, int], None]
PAGE = 500
_SETTLE_TRIES = 30


@asynccontextmanager
async def database(
    settings: config.Settings, *, role: str = "command", makes: bool = False
) -> AsyncIterator[asyncpg.Pool]:
    """The store of these settings; the embedded server is started for the command if no daemon runs it.

    Only who *makes* one gets a new one: the figures of an empty database are wrong, and look like good news. Raises
    Failed.
    """
    if not makes:
        await _check_existence(settings)
    server = None
    if not settings.database.url:
        running = embedded.is_running(settings.data_dir / "postgres")
        try:
            started = await asyncio.to_thread(embedded.start, settings.data_dir)
        except embedded.EmbeddedError as error:
            raise Failed(str(error)) from None
        server = None if running else started
        dsn = started.dsn
    else:
        dsn = settings.database.url
    try:
        await prepare(dsn)
        pool = await store.create_pool(dsn, role=role)
        try:
            yield pool
        except (*store.UNAVAILABLE, ExceptionGroup) as error:
            told = _went_away(error)
            if told is None:
                raise
            raise Failed(f"the database went away ({told}); start the same command again") from None
        finally:
            await pool.close()
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)


async def _check_existence(settings: config.Settings) -> None:
    """Raises Failed where no database of callkpi is. One that doesn't answer may be one."""
    if not settings.database.url:
        if not embedded.exists(settings.data_dir):
            raise Failed(
                f"there is no database in {settings.data_dir} yet; 'callkpi serve' or 'callkpi migrate' makes it; if "
                "it is elsewhere, set CALLKPI_DATA_DIR or database.url"
            )
        return
    try:
        connection = await store.connect(settings.database.url, role="command")
    except (asyncpg.PostgresError, *store.UNAVAILABLE, ValueError):
        return
    try:
        if not await migrations.applied(connection):
            raise Failed("the database that is given has no tables of callkpi; check database.url, or make them with "
                         "'callkpi migrate'")  # fmt: skip
    finally:
        await connection.close()


def _went_away(error: Exception) -> str | None:
    """What the database did, in a word; None where it was something else."""
    if isinstance(error, ExceptionGroup):
        ours, others = error.split(store.UNAVAILABLE)
        return None if others or ours is None else _went_away(ours.exceptions[0])
    # Somebody's file is no database; a socket has no name here.
    return None if isinstance(error, OSError) and error.filename else type(error).__name__


async def migrate(settings: config.Settings) -> list[str]:
    """Bring the schema up to date. Returns what was applied."""
    if settings.database.url:
        try:
            return await migrations.apply(settings.database.url)
        except migrations.NewerSchema as error:
            raise Failed(str(error)) from None
        except (OSError, asyncpg.PostgresError, ValueError) as error:
            raise Failed(f"the database does not answer: {error}; check database.url") from None
    async with database(settings, makes=True):
        return []


async def rebuild(settings: config.Settings, progress: Progress) -> int:
    """Forget what was computed and compute it again from the journal. Returns the number of calls.

    Raises Failed while anybody projects.
    """
    async with database(settings) as pool, pool.acquire() as lock:
        if not await lock.fetchval(store.query("projection", "try_alone")):
            raise Failed("a daemon, or another command, computes calls of this database; stop it first")
        await refold(pool, Projector(pool, settings, Health()), progress)
        return int(await pool.fetchval(store.query("reports", "count_calls")))


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
        await pool.execute(store.query("projector", "clear_projection"))
        return datetime.min.replace(tzinfo=UTC)
    async with pool.acquire() as connection, connection.transaction():
        await days.forget_since(connection, horizon)
        await connection.execute(store.query("retention", "clear_since"), horizon)
        await days.fill_since(connection, horizon)
        totals: dict[tuple[str, kpi.Key], kpi.Row] = defaultdict(kpi.Row)
        for row in await connection.fetch(store.query("retention", "facts_of_sealed"), horizon):
            for fact in map(kpi.Fact.from_json, json.loads(row["facts"])):
                if fact.key.at >= horizon:
                    totals[row["tenant"], fact.bin].add(fact)
        rows = [{"tenant": tenant, **key._asdict(), **row.to_json()} for (tenant, key), row in sorted(totals.items())]
        if rows:
            await connection.execute(store.query("projector", "add_rollups"), store.to_json(rows))
    return horizon


def _month(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


async def replay_rejected(settings: config.Settings, progress: Progress) -> tuple[int, int, int]:
    """Run rejected payloads through the sources again, and let the projector try what is set aside.

    Returns how many payloads are understood now, how many are not, and how many streams are tried.
    """
    async with database(settings) as pool:
        health = Health()
        journal = Journal(pool, health, windows_of(settings))
        writer = asyncio.create_task(journal.run())
        ingest = Ingest(settings, pool, journal, health)
        understood, left, last = 0, 0, 0
        try:
            while rows := await pool.fetch(store.query("journal", "rejected_open"), last, PAGE):
                for row in rows:
                    last = row["id"]
                    if await _replay_one(ingest, row):
                        await pool.execute(store.query("journal", "rejected_replayed"), row["id"])
                        understood += 1
                    else:
                        left += 1
                    progress(understood + left, 0)
        finally:
            writer.cancel()
            await health.flush(pool)
        return understood, left, await isolation.retry_all(pool)


async def _replay_one(ingest: Ingest, row: Any) -> bool:
    try:
        receipt = await ingest.replay(row["source"], row["media_type"], row["payload"], row["received_at"])
    except (UnknownSource, Malformed):
        return False
    return receipt.rejected == 0


async def erase(
    settings: config.Settings, tenant: str, number: str, progress: Progress, *, dry_run: bool
) -> privacy.Erasure:
    """Replace a customer's number by a pseudonym everywhere. Raises pseudonyms.NotErasable."""
    async with database(settings) as pool:
        if dry_run:
            return await privacy.look_for(pool, settings, tenant, number, progress)
        await audit.record(pool, audit.Operator(), audit.Action.ERASE, tenant, mask(number))
        return await privacy.erase(pool, settings, tenant, number, progress)


# -- doctor ----------------------------------------------------------------------------------------------


async def doctor(settings: config.Settings, progress: Progress) -> list[str]:
    """Differences between rollups and calls, and between calls and the journal; none is how it must be."""
    async with database(settings, role="doctor") as pool:
        await _settled(pool)
        return [*await rebuilding.doubts(pool), *await check(pool, settings, progress)]


async def _settled(pool: asyncpg.Pool) -> None:
    """Agents' times follow their calls by some seconds: in a moment without traffic all of them can be checked."""
    for _ in range(_SETTLE_TRIES):
        if not await pool.fetchval(store.query("agents", "has_pending")):
            return
        await asyncio.sleep(0.5)


async def notes(settings: config.Settings) -> list[str]:
    """What an operator should know of his sources; nothing of it is a difference."""
    told = config.doubled(settings)
    async with database(settings, role="doctor") as pool:
        rows = {row["source"]: row for row in await pool.fetch(store.query("reconcile", "sources"))}
        told += await same_call_check.notes(pool, settings)
        funnels = {row["source"]: row for row in await pool.fetch(store.query("crm", "funnels"))}
    portals = [_note(name, rows.get(name)) for name in settings.portals]
    written = [_funnel_note(name, source, funnels.get(name)) for name, source in settings.funnels.items()]
    return portals + written + told


def _funnel_note(name: str, source: config.Source, row: Any) -> str:
    if row is None:
        return f"{name}: the call funnel has never been written; the daemon writes it"
    what = "a dry run of the call funnel" if source.funnel.dry_run else "the call funnel"
    if row["problem"]:
        return f"{name}: {what} does not go on: {row['problem']}"
    if row["last_success_at"] is None:
        return f"{name}: {what} has not been written yet; the daemon's log says why"
    told = f"{name}: {what} was compared last {row['last_success_at']:%Y-%m-%d %H:%M:%S} UTC"
    if row["pipeline"] is not None:
        told += f", pipeline number {row['pipeline']}"
    return told + (f"; {row['backlog']} items wait" if row["backlog"] else "")


def _note(name: str, row: Any) -> str:
    if row is None or row["last_success_at"] is None:
        return f"{name}: the portal's call statistics have never been read to their end; the daemon's log says why"
    told = f"{name}: since {row['since']:%Y-%m-%d} the webhooks of {row['calls_found']} calls were lost and found"
    told += f" in the statistics, last read {row['last_success_at']:%Y-%m-%d %H:%M:%S} UTC"
    if row["calls_unseen"]:
        told += f"; {row['calls_unseen']} calls are not shown to the owner of the incoming webhook"
    return told


async def check(pool: asyncpg.Pool, settings: config.Settings, progress: Progress) -> list[str]:
    """The doctor's findings on an open store, from one snapshot of it."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        waiting = await connection.fetchrow(store.query("projector", "lag"))
        unsettled = await timekeeping.unsettled(connection)
        kept = {row["what"]: row["before"] for row in await connection.fetch(*_HORIZONS)}
        findings = await _check_rollups(connection, kept.get("calls"))
        findings += await _check_waits(connection, kept.get("calls"))
        findings += await days.check(connection, kept.get("calls"))
        if not unsettled:
            findings += await timekeeping.check(connection, settings, kept.get("journal"))
        aside = await isolation.standing(connection)
        findings += [
            f"{item.name}: is set aside since {item.since:%Y-%m-%d %H:%M} UTC: {item.reason}" for item in aside
        ]
        unknown = _Unknown(unsettled, await isolation.calls_of(connection, [item.key for item in aside]))
        findings += await _check_calls(connection, settings, progress, kept.get("journal"), unknown)
        findings += await same_call_check.check(connection, settings)
    if waiting["groups"] and findings:
        findings.append(f"{waiting['groups']} groups of events wait to be projected: run again when they are")
    return findings


_HORIZONS = (store.query("retention", "horizons"), timedelta())
#: A call is at most so long: those that began before the calls that are kept reach no further.
_LONGEST_CALL = timedelta(days=2)


async def _check_rollups(connection: asyncpg.Connection, kept: datetime | None) -> list[str]:
    since = datetime.min.replace(tzinfo=UTC) if kept is None else kept + _LONGEST_CALL
    expected: dict[tuple[str, kpi.Key], kpi.Row] = defaultdict(kpi.Row)
    async for row in connection.cursor(store.query("reports", "all_facts"), prefetch=PAGE):
        for raw in json.loads(row["facts"]):
            fact = kpi.Fact.from_json(raw)
            if fact.key.at >= since:
                expected[row["tenant"], fact.bin].add(fact)
    findings = []
    async for row in connection.cursor(store.query("reports", "all_rollups"), prefetch=PAGE):
        if row["at"] < since:
            continue
        key = (row["tenant"], kpi.Key(*(row[name] for name in kpi.Key._fields)))
        wanted = expected.pop(key, kpi.Row()).to_json()
        wrong = [name for name, value in wanted.items() if _differs(row[name], value)]
        if wrong:
            findings.append(f"rollup {_place(key)}: {wrong[0]} is {row[wrong[0]]}, its calls give {wanted[wrong[0]]}")
    findings += [f"rollup {_place(key)}: is missing" for key, row in expected.items() if not row.is_empty]
    return findings


async def _check_waits(connection: asyncpg.Connection, kept: datetime | None) -> list[str]:
    since = datetime.min.replace(tzinfo=UTC) if kept is None else kept + _LONGEST_CALL
    rows = await connection.fetch(store.query("reports", "wait_differences"), since)
    return [
        f"wait {row['tenant']} {row['source']}/{row['call_id']} {row['entered_at']}: is not what its call gives"
        for row in rows
    ]


def _differs(stored: Any, wanted: Any) -> bool:
    if not isinstance(wanted, list):
        return bool(stored != wanted)
    length = max(len(stored), len(wanted))
    return [*stored, *[0] * (length - len(stored))] != [*wanted, *[0] * (length - len(wanted))]


def _place(key: tuple[str, kpi.Key]) -> str:
    return " ".join(str(part) for part in (key[0], *key[1]) if part)


class _Unknown(NamedTuple):
    """Of whom nobody can say yet whether what is stored is right."""

    times: Collection[tuple[str, str, str]]  #: calls and agents whose times wait to be computed
    calls: Collection[tuple[str, str, str]]  #: calls of which something is set aside


async def _check_calls(
    connection: asyncpg.Connection,
    settings: config.Settings,
    progress: Progress,
    horizon: datetime | None,
    unknown: _Unknown,
) -> list[str]:
    findings: list[str] = []
    last: tuple[str, str, str] = ("", "", "")
    now, done = datetime.now(UTC), 0
    while rows := await connection.fetch(store.query("reports", "call_page"), *last, PAGE):
        for row in rows:
            last = (row["tenant"], row["source"], row["call_id"])
            if last in unknown.calls or (horizon is not None and row["first_at"] < horizon):
                continue
            finding = await _check_call(connection, settings, row, now)
            if not finding and last not in unknown.times:
                finding = await timekeeping.check_legs(connection, last)
            findings += [finding] if finding else []
        done += len(rows)
        progress(done, 0)
    return findings


async def _check_call(connection: asyncpg.Connection, settings: config.Settings, row: Any, now: datetime) -> str:
    source = settings.sources.get(row["source"])
    tenant = settings.tenants.get(row["tenant"])
    if source is None or tenant is None:
        return ""
    key = (row["tenant"], row["source"], row["call_id"])
    members = await connection.fetch(store.query("projector", "members_of"), *([part] for part in key))
    events = []
    for call_id in (row["call_id"], *(member["call_id"] for member in members)):
        span = await connection.fetchrow(store.query("reports", "key_of"), *key[:2], call_id)
        told = await connection.fetch(
            store.query("projector", "events_of"),
            *([part] for part in key[:2]),
            [call_id],
            span["first_at"],
            span["last_at"],
            None,
        )
        events += [event_from_row(record) for record in told]
    asked = asks_about(settings, StreamKey(*key), events)
    others = await members_at(connection, StreamKey(*key), asked)
    others += (await restarts_after(connection, settings, {StreamKey(*key): events})).values()
    limits = Thresholds(tenant)
    try:
        canonical = interpreted(source, events, others)
        folded = call_body(fold(row["call_id"], canonical, limits, now, events))
    except Exception as error:
        return f"call {row['source']}/{row['call_id']}: can't be read: {isolation.reason_of(error)}"
    stored = await same_call_check.side_body(connection, settings, key)
    if stored is None:
        stored = await connection.fetchval(store.query("reports", "call_at"), *key, row["started_at"])
    if stored is None or _steady(json.loads(stored)) != _steady(json.loads(folded)):
        return f"call {row['source']}/{row['call_id']}: is not the fold of its {len(events)} events"
    return ""


def _steady(body: dict[str, Any]) -> dict[str, Any]:
    """Without what the clock alone changes between two folds: open becomes expired; no holds and no twins are none."""
    legs = [{"holds": [], "agent_source": "", **leg} for leg in body["legs"]]
    return {"twins": [], **body, "legs": legs, "outcome": "open" if body["outcome"] == "expired" else body["outcome"]}
