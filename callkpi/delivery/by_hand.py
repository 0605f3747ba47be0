"""Sending a report by hand: look at it first, or send it now, beside a running daemon or without one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg

from callkpi import config
from callkpi.calendar.periods import Period, parse
from callkpi.database import store
from callkpi.delivery import letter, schedule, web
from callkpi.delivery.courier import Courier, ways
from callkpi.delivery.letter import Edition
from callkpi.delivery.message import receivers
from callkpi.health import Health

#: How long a running daemon is given to send what was asked for.
DAEMON_SECONDS = 90.0
_YEAR = timedelta(days=400)


class NothingToSend(ValueError):
    """What was asked for can't be sent: why, and what to write."""


async def send(
    pool: asyncpg.Pool, settings: config.Settings, tenant: str, report: str, text: str, *, dry_run: bool, again: bool
) -> AsyncIterator[str]:
    """Lines that tell what was (*dry_run*: would be) sent to whom. Raises NothingToSend and BadPeriod.

    *report*: its name; "" for all of the tenant. *text*: a period; "" for the last one that is over.
    """
    now = datetime.now(UTC)
    async with web.session() as http:
        courier = Courier(pool, settings, Health(), ways(http, settings))
        for name in _names(settings.tenants[tenant], tenant, report):
            period = _period(settings, tenant, name, text, now)
            if dry_run:
                edition, _ = await courier.sendable(tenant, name, period, now)
                for line in _preview(settings, edition):
                    yield line
            else:
                async for line in _send(pool, settings, courier, (tenant, name, period), again=again):
                    yield line


def _names(own: config.Tenant, tenant: str, report: str) -> list[str]:
    if not own.reports:
        raise NothingToSend(f"{tenant} has no reports; add [tenants.{tenant}.reports.NAME] with receivers")
    if report and report not in own.reports:
        raise NothingToSend(f"--report: {report!r} is none of {', '.join(own.reports)}")
    return [report] if report else list(own.reports)


def _period(settings: config.Settings, tenant: str, name: str, text: str, now: datetime) -> Period:
    own = settings.tenants[tenant]
    if text:
        period = parse(own, tenant, text, now)
        if period.is_partial:
            raise NothingToSend(f"--period: {period.text} goes on until {period.end:%Y-%m-%d %H:%M} UTC")
        return period
    over = schedule.ended(own, tenant, own.reports[name], now - _YEAR, now)
    if not over:
        raise NothingToSend(f"no period of {name} is over yet")
    return over[-1]


def _preview(settings: config.Settings, edition: Edition) -> list[str]:
    report = settings.tenants[edition.tenant].reports[edition.report]
    lines = [f"{edition.report}, {edition.period}, edition {edition.number}:"]
    for receiver in receivers(report):
        message = letter.write(edition, None, report, receiver, settings.server.public_url)
        files = ", ".join(f"{file.name} ({len(file.content)} bytes)" for file in message.attachments)
        lines.append(f"  to {receiver.label}: {message.subject}" + (f" with {files}" if files else ""))
    if len(lines) > 1:
        lines += ["", *message.text.splitlines(), ""]
    return lines


async def _send(
    pool: asyncpg.Pool,
    settings: config.Settings,
    courier: Courier,
    what: tuple[str, str, Period],
    *,
    again: bool,
) -> AsyncIterator[str]:
    tenant, name, period = what
    _, is_kept = await courier.sendable(tenant, name, period, datetime.now(UTC))
    if not is_kept:
        await courier.make(tenant, name, period, datetime.now(UTC))
    elif again:
        await pool.execute(store.query("delivery", "send_again"), tenant, name, period.text, datetime.now(UTC))
    async with pool.acquire() as lock:
        if await lock.fetchval(store.query("delivery", "try_lock")):
            try:
                await courier.send_due(datetime.now(UTC))
            finally:
                await lock.execute(store.query("delivery", "unlock"))
    labels = {each.digest: each.label for each in receivers(settings.tenants[tenant].reports[name])}
    for row in await _settled(pool, tenant, name, period.text):
        told = f" ({row['error']})" if row["error"] else ""
        yield f"{name}, {period.text}, edition {row['edition']} to {labels.get(row['receiver'], row['way'])}: " + (
            f"{row['state'].replace('_', ' ')}{told}"
        )


async def _settled(pool: asyncpg.Pool, tenant: str, name: str, period: str) -> list[asyncpg.Record]:
    """The deliveries once none waits for its first attempt: a running daemon sends them itself."""
    deadline = asyncio.get_running_loop().time() + DAEMON_SECONDS
    while True:
        rows = await pool.fetch(store.query("delivery", "of_period"), tenant, name, period)
        fresh = any(row["state"] in ("waiting", "sending") and not row["error"] for row in rows)
        if not fresh or asyncio.get_running_loop().time() > deadline:
            return list(rows)
        await asyncio.sleep(0.5)
