"""What a command tells beside its answer: how reading the portals goes."""

from __future__ import annotations

from typing import Any

from callkpi import config
from callkpi.commands.database import database
from callkpi.database import store
from callkpi.same_call import check
from callkpi.sources.bitrix24.settings import Bitrix24Source, funnels


async def notes(settings: config.Settings) -> list[str]:
    """What an operator should know of his sources; nothing of it is a difference."""
    told = config.doubled(settings)
    async with database(settings, role="doctor") as pool:
        rows = {row["source"]: row for row in await pool.fetch(store.query("reconcile", "sources"))}
        told += await check.notes(pool, settings)
        told_of = {row["source"]: row for row in await pool.fetch(store.query("crm", "funnels"))}
    portals = [_note(name, rows.get(name)) for name in settings.portals]
    written = [_funnel_note(name, source, told_of.get(name)) for name, source in funnels(settings).items()]
    return portals + written + told


def _funnel_note(name: str, source: Bitrix24Source, row: Any) -> str:
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
