"""The courier: makes an edition of each report when its period is over, and sends it to everybody who shall have it.

An edition is kept before it is sent, so every receiver gets the same numbers, also at the third attempt. It is made
when late events have had their time, everything that is journalled is computed, and no call of the period goes on (for
that nobody waits longer than PATIENCE). When the figures of a sent period change afterwards and stay changed, another
edition is made and sent as a correction that says what changed.

A message goes once. Where the other side recognises one that comes again (mail, a folder, an address on the web) it is
repeated until it is acknowledged; where it does not (Telegram, Bitrix24), one that nobody answered for is left *in
doubt*, told, and sent again only by hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aiohttp
import asyncpg
import orjson
import structlog

from callkpi import config
from callkpi.calendar.periods import Period, parse
from callkpi.database import store
from callkpi.delivery import letter, schedule, web
from callkpi.delivery.bitrix24 import Bitrix24Way
from callkpi.delivery.folder import FolderWay
from callkpi.delivery.letter import Edition
from callkpi.delivery.mail import MailWay
from callkpi.delivery.message import InDoubt, Permanent, Receiver, Temporary, Way, receivers
from callkpi.delivery.telegram import TelegramWay
from callkpi.delivery.webhook import WebhookWay
from callkpi.health import Health
from callkpi.looping import Loop, keep_going
from callkpi.people.names import Names
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.summary import Summary, from_data, is_renamed, to_data

log = structlog.get_logger()

EVERY_SECONDS = 20.0
STANDBY_SECONDS = 15.0
#: How long calls that go on hold up the summary of their period.
PATIENCE = timedelta(hours=1)
#: Figures must have stayed changed for this long: then a correction is made, not one for each late event.
STEADY = timedelta(minutes=10)
#: After a daemon that was away for longer nobody wants all that he missed.
REACH = timedelta(days=3)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(minutes=30)
GIVE_UP = timedelta(days=1)
#: Messages that are sent at the same time.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    state: str  #: sent, waiting, failed, in_doubt
    error: str = ""
    wait: timedelta = timedelta()


class Courier:
    """Makes and sends. :meth:`step` is one round."""

    def __init__(
        self, pool: asyncpg.Pool, settings: config.Settings, health: Health, way_of: Callable[[str, config.Report], Way]
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._health = health
        self._way_of = way_of
        self._names = Names(settings)
        self._checked: dict[tuple[str, str, str], datetime] = {}

    async def run(self, until: Callable[[], bool]) -> None:
        """Do a round again and again."""

        async def round_now() -> None:
            await self.step(datetime.now(UTC))

        await keep_going(Loop("courier", EVERY_SECONDS, self._health), round_now, until)

    async def step(self, now: datetime) -> None:
        """Make what is over, correct what has changed, send what is due."""
        if await self._is_projected():
            for tenant, own in self._settings.tenants.items():
                for name, report in own.reports.items():
                    await self._attempted(self._make_due(tenant, name, report, now), name)
            await self._correct(now)
        await self.send_due(now)

    async def _is_projected(self) -> bool:
        return bool(await self._pool.fetchval(store.query("delivery", "projected")))

    # -- making ----------------------------------------------------------------------------------------
    async def _make_due(self, tenant: str, name: str, report: config.Report, now: datetime) -> None:
        since = await self._pool.fetchval(store.query("delivery", "add_since"), tenant, name, now)
        own = self._settings.tenants[tenant]
        over = schedule.ended(own, tenant, report, max(since, now - REACH), now)
        texts = [period.text for period in over]
        rows = await self._pool.fetch(store.query("delivery", "periods_made"), tenant, name, texts) if texts else []
        made = {row["period"] for row in rows}
        for period in over:
            if period.text not in made and await self._is_settled(tenant, report, period, now):
                await self._attempted(self.make(tenant, name, period, now), name, period.text)

    async def _attempted(self, work: Coroutine[Any, Any, object], report: str, period: str = "") -> None:
        """One summary that can't be made, or takes too long, must not keep the others from being made and sent."""
        try:
            await work
        except store.UNAVAILABLE as error:
            log.warning("delivery.not_made", report=report, period=period, error=type(error).__name__)
            self._health.count("delivery_failures")
        except Exception:
            log.exception("delivery.not_made", report=report, period=period)
            self._health.count("delivery_failures")

    async def _is_settled(self, tenant: str, report: config.Report, period: Period, now: datetime) -> bool:
        if now < period.end + timedelta(minutes=report.wait_minutes):
            return False
        if now >= period.end + PATIENCE:
            return True
        window = (tenant, period.begin, period.end)
        return not await self._pool.fetchval(store.query("delivery", "open_calls_of"), *window)

    async def sendable(self, tenant: str, name: str, period: Period, now: datetime) -> tuple[Edition, bool]:
        """The newest edition of a period, and whether it is kept already; a draft where there is none."""
        row = await self._pool.fetchrow(store.query("delivery", "newest"), tenant, name, period.text)
        return (_edition(row), True) if row is not None else (await self.draft(tenant, name, period, now), False)

    async def make(self, tenant: str, name: str, period: Period, now: datetime) -> Edition:
        """The first edition of a period, kept and due to its receivers."""
        edition = await self.draft(tenant, name, period, now)
        await self._keep(edition, self._settings.tenants[tenant].reports[name], now)
        return edition

    async def draft(self, tenant: str, name: str, period: Period, now: datetime) -> Edition:
        """What the first edition would say."""
        summary = await summarise_period(self._pool, self._settings, self._names, tenant, period, now)
        return Edition(tenant, name, period.text, 1, letter.masked(summary))

    async def _keep(self, edition: Edition, report: config.Report, now: datetime) -> None:
        place = (edition.tenant, edition.report, edition.period, edition.number)
        async with self._pool.acquire() as connection, connection.transaction():
            added = await connection.fetchval(
                store.query("delivery", "add_edition"), *place, edition.summary.period.end,
                edition.summary.fingerprint, orjson.dumps(to_data(edition.summary)).decode(),
            )  # fmt: skip
            if added is None:
                return
            await connection.execute(store.query("delivery", "supersede"), *place)
            for receiver in receivers(report):
                await connection.execute(
                    store.query("delivery", "add_delivery"), *place, receiver.digest, receiver.way, now
                )
        log.info("delivery.made", tenant=edition.tenant, report=edition.report, period=edition.period,
                 edition=edition.number)  # fmt: skip

    # -- correcting ------------------------------------------------------------------------------------
    async def _correct(self, now: datetime) -> None:
        longest = max(
            (r.corrections_days for t in self._settings.tenants.values() for r in t.reports.values()), default=0
        )
        rows = await self._pool.fetch(store.query("delivery", "latest_editions"), now - timedelta(days=longest))
        for row in rows:
            report = self._report(row)
            if report is None or now > row["end_at"] + timedelta(days=report.corrections_days):
                continue
            place = (row["tenant"], row["report"], row["period"])
            if now >= self._checked.get(place, now):
                await self._attempted(self._compare(row, report, now), *place[1:])
                self._checked[place] = now + STEADY / 2

    async def _compare(self, row: asyncpg.Record, report: config.Report, now: datetime) -> None:
        """Make another edition once the figures have changed and stay so."""
        tenant, place = row["tenant"], (row["tenant"], row["report"], row["period"], row["edition"])
        period = parse(self._settings.tenants[tenant], tenant, row["period"], now)
        summary = await summarise_period(self._pool, self._settings, self._names, tenant, period, now)
        same = summary.fingerprint == row["fingerprint"] or is_renamed(from_data(orjson.loads(row["summary"])), summary)
        found = "" if same else summary.fingerprint
        if found != row["drifted_to"]:
            await self._pool.execute(store.query("delivery", "drifted"), *place, found, now if found else None)
        elif found and now >= row["drifted_at"] + STEADY:
            edition = Edition(*place[:3], row["edition"] + 1, letter.masked(summary))
            await self._keep(edition, report, now)
            self._health.count("delivery_corrections")

    def _report(self, row: Mapping[str, str]) -> config.Report | None:
        """The report as it is configured now."""
        tenant = self._settings.tenants.get(row["tenant"])
        return tenant.reports.get(row["report"]) if tenant is not None else None

    # -- sending ---------------------------------------------------------------------------------------
    async def send_due(self, now: datetime) -> None:
        """Try everything whose time has come."""
        rows = await self._pool.fetch(store.query("delivery", "due"), now)
        limit = asyncio.Semaphore(AT_ONCE)

        async def send(row: asyncpg.Record) -> None:
            async with limit:
                await self._send(row, now)

        # Each to its end: one that was cut off because another one failed would be in doubt.
        done = await asyncio.gather(*(send(row) for row in rows), return_exceptions=True)
        if errors := [error for error in done if isinstance(error, Exception)]:
            raise ExceptionGroup("deliveries that could not be tried", errors)

    async def _send(self, row: asyncpg.Record, now: datetime) -> None:
        place = (row["tenant"], row["report"], row["period"], row["edition"], row["receiver"])
        report = self._report(row)
        receiver = (
            next((each for each in receivers(report) if each.digest == row["receiver"]), None) if report else None
        )
        if report is None or receiver is None:
            outcome = Outcome("failed", "it is not configured any more")
        else:
            way = self._way_of(receiver.way, report)
            if row["state"] == "sending" and not way.knows_repetitions:
                outcome = Outcome("in_doubt", "the daemon ended while it was sent")
            else:
                await self._pool.execute(store.query("delivery", "begin_sending"), *place)
                outcome = await self._try(row, report, receiver, way, now)
        done = (outcome.state, now + outcome.wait, outcome.error[:300], now)
        await self._pool.execute(store.query("delivery", "finish"), *place, *done)
        self._health.count("delivery_attempts", label=f"{row['way']}:{outcome.state}")
        told = log.info if outcome.state == "sent" else log.warning
        told(f"delivery.{outcome.state}", tenant=row["tenant"], report=row["report"], period=row["period"],
             edition=row["edition"], way=row["way"], error=outcome.error or None)  # fmt: skip

    async def _try(
        self, row: asyncpg.Record, report: config.Report, receiver: Receiver, way: Way, now: datetime
    ) -> Outcome:
        editions = await self._editions(row)
        try:
            message = letter.write(*editions, report, receiver, self._settings.server.public_url)
            await way.send(receiver, message)
        except Permanent as error:
            return Outcome("failed", str(error))
        except Temporary as error:
            return _later(row, str(error), now, error.wait_seconds)
        except (InDoubt, OSError) as error:
            # A line that breaks while it is sent tells nothing of the other side; a timeout is an OSError as well.
            if way.knows_repetitions:
                return _later(row, str(error), now)
            return Outcome("in_doubt", str(error))
        except Exception as error:
            # One report that can't be written must not keep the others from being sent.
            log.exception("delivery.unforeseen", report=row["report"], period=row["period"], way=row["way"])
            return _later(row, f"unforeseen: {type(error).__name__}; the daemon's log says more", now)
        return Outcome("sent")

    async def _editions(self, row: asyncpg.Record) -> tuple[Edition, Edition | None]:
        """The edition to be sent, and the newest one that its receiver has got."""
        place = (row["tenant"], row["report"], row["period"])
        own = await self._pool.fetchrow(store.query("delivery", "edition"), *place, row["edition"])
        earlier = await self._pool.fetchrow(
            store.query("delivery", "last_sent"), *place, row["receiver"], row["edition"]
        )
        return _edition(own), _edition(earlier) if earlier is not None else None


def _later(row: asyncpg.Record, error: str, now: datetime, asked_seconds: float = 0.0) -> Outcome:
    """Again after a pause that doubles, with jitter; after a day nobody tries any more, whatever was asked for."""
    if now > row["made_at"] + GIVE_UP:
        return Outcome("failed", f"given up after {row['attempts'] + 1} attempts: {error}")
    pause = min(FIRST_PAUSE * 2 ** min(row["attempts"], 10), LONGEST_PAUSE)
    asked = timedelta(seconds=min(max(asked_seconds, 0.0), GIVE_UP.total_seconds()))
    return Outcome("waiting", error, max(asked, pause * random.uniform(0.8, 1.2)))


def _edition(row: asyncpg.Record) -> Edition:
    summary: Summary = from_data(orjson.loads(row["summary"]))
    return Edition(row["tenant"], row["report"], row["period"], row["edition"], summary)


def ways(http: aiohttp.ClientSession, settings: config.Settings) -> Callable[[str, config.Report], Way]:
    """How to send, by the name of a way."""
    shared: dict[str, Way] = {
        "mail": MailWay(settings.mail),
        "telegram": TelegramWay(http, settings.telegram),
        "bitrix24": Bitrix24Way(http, settings),
        "folder": FolderWay(),
    }

    def way_of(name: str, report: config.Report) -> Way:
        return shared[name] if name in shared else WebhookWay(http, report.secret)

    return way_of


# -- the job ----------------------------------------------------------------------------------------------


async def run(settings: config.Settings, dsn: str) -> None:
    """Send reports, until cancelled. One process at a time does; the others stand by."""
    pool = await store.create_pool(dsn, role="courier", size=4, lazy=True)
    health = Health()
    try:
        async with web.session() as http, asyncio.TaskGroup() as group:
            group.create_task(health.run(pool))
            courier = Courier(pool, settings, health, ways(http, settings))
            group.create_task(keep_going(Loop("courier", STANDBY_SECONDS, health), partial(_alone, dsn, courier)))
    finally:
        await pool.close()


async def _alone(dsn: str, courier: Courier) -> None:
    """Work while this process has the lock."""
    lock = await store.connect(dsn, role="courier-lock")
    try:
        if await lock.fetchval(store.query("delivery", "try_lock")):
            await courier.run(until=lock.is_closed)
    finally:
        with contextlib.suppress(*store.FAILURES):
            await lock.close(timeout=5)
