"""Keeping a connection for ever: back-off with jitter, one holder over several daemons, and how it is, for all to see.

The lock is an advisory lock of a session of its own. PostgreSQL that goes away takes the session with it, and nobody
else can have the lock meanwhile: the connection to the PBX is kept (what it says goes to the spool), and the lock is
taken again at once when the database is back. Who stands by looks less often, so the holder wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import asyncpg
import structlog

from callkpi.connections.intake import Intake
from callkpi.database import store
from callkpi.health import Health, Reason
from callkpi.looping import Loop, keep_going

log = structlog.get_logger()


class Trouble(Exception):
    """Why a connection was not made, or ended. The text never holds a secret."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


#: First and longest pause before the next attempt, in seconds. Who is refused must not look like an attack.
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0
REFUSED_SECONDS = 60.0
#: A connection that held for this long was a good one: the next attempt is made soon again.
GOOD_SECONDS = 10.0
#: How often the holder writes how its connection is, and how often another daemon looks whether it is gone.
WRITE_SECONDS, STANDBY_SECONDS = 2.0, 15.0

#: A shorter time without a word is no outage.
OUTAGE = timedelta(seconds=1)

_DATABASE = store.FAILURES


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nothing was heard, and why it began."""

    begins: datetime  #: the last that was heard
    ends: datetime  #: read again from here on
    reason: Reason


class Status:
    """How one connection is. A link says ``up`` and ``heard``; the keeper says the rest."""

    def __init__(
        self, heard_at: datetime | None = None, on_up: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        """*on_up* is told the seconds in which nothing was heard."""
        self.connected = False
        self.changed_at = datetime.now(UTC)
        self.reason, self.problem = Reason.NEVER, ""
        #: The last moment at which the connection was up and spoke, also that of an earlier holder; None: never.
        self.heard_at = heard_at
        self.changed = asyncio.Event()
        self.ups = 0
        self.outages: list[Outage] = []  #: that are not written yet
        self._on_up = on_up

    def heard(self) -> None:
        """The other side has said something, however little. Before ``up`` it does not count."""
        if self.connected:
            self.heard_at = datetime.now(UTC)

    def up(self, *, reads_on: bool = False) -> None:
        """Connected, logged in, and what is read from now on is complete.

        With *reads_on* what was said meanwhile is read now: nothing was missed.
        """
        now = datetime.now(UTC)
        if self.heard_at is not None and now - self.heard_at >= OUTAGE and not reads_on:
            reason = Reason.STOPPED if self.reason is Reason.NEVER else self.reason
            self.outages.append(Outage(self.heard_at, now, reason))
        self._on_up((now - self.heard_at).total_seconds() if self.heard_at else 0.0)
        self.ups += 1
        self._set(True, Reason.NONE, "")
        self.heard_at = now

    def down(self, trouble: Trouble) -> None:
        self._set(False, trouble.reason, trouble.text)

    def _set(self, connected: bool, reason: Reason, problem: str) -> None:
        if self.connected != connected:
            self.changed_at = datetime.now(UTC)
        self.connected, self.reason, self.problem = connected, reason, problem
        self.changed.set()


class Link(Protocol):
    """One live connection of one source, in its own protocol."""

    async def hold(self, intake: Intake, status: Status) -> None:
        """Connect, log in, make good what was missed, say ``status.up()``, and read until cancelled.

        ``status.heard_at`` on entry: since when nothing was heard. Raises Trouble when the connection ends or can't be
        made. Cancelled it says good-bye and closes.
        """
        ...


@dataclass(slots=True)
class Backoff:
    """Pauses that grow, with jitter, so that many who lost the same host don't come back at one moment."""

    _next: float = field(default=FIRST_SECONDS)

    def after(self, reason: Reason, held_seconds: float) -> float:
        """Seconds to wait after an attempt that ended so."""
        if reason in (Reason.REFUSED, Reason.FORBIDDEN):
            return REFUSED_SECONDS * random.uniform(1.0, 1.5)
        if held_seconds >= GOOD_SECONDS:
            self._next = FIRST_SECONDS
        pause = self._next * random.uniform(0.5, 1.0)
        self._next = min(2 * self._next, LONGEST_SECONDS)
        return pause


class Keeper:
    """Keeps the connection of one source, as long as it has the lock."""

    def __init__(self, dsn: str, name: str, link: Link, intake: Intake, health: Health) -> None:
        self._dsn, self._name, self._link, self._intake, self._health = dsn, name, link, intake, health
        self._status = Status()

    async def run(self) -> None:
        """Until cancelled."""
        await keep_going(Loop("connection", STANDBY_SECONDS, self._health, self._name), self._turn)

    async def _turn(self) -> float | None:
        """Work if the lock is free. Returns the seconds until it is tried for again."""
        lock = await self._locked()
        if lock is None:
            return None
        try:
            await self._work(lock)
        finally:
            await _close(lock)
        return 0.0

    async def _locked(self) -> asyncpg.Connection | None:
        """A session that has the lock, or None while another one has it or the database is away."""
        try:
            session = await store.connect(self._dsn, role="connector-lock")
        except _DATABASE:
            return None
        with contextlib.suppress(*_DATABASE):
            if await session.fetchval(store.query("connections", "try_lock"), self._name):
                self._status.heard_at = await session.fetchval(store.query("connections", "heard_at"), self._name)
                return session
        await _close(session)
        return None

    async def _work(self, lock: asyncpg.Connection) -> None:
        """Hold the connection until another daemon has the lock."""
        self._health.works(("connection", self._name))
        self._status = status = Status(self._status.heard_at, self._is_up)
        holding = asyncio.create_task(self._hold(status), name=f"connection {self._name}")
        watching = asyncio.create_task(self._watch(lock, status), name=f"lock {self._name}")
        try:
            await asyncio.wait([holding, watching], return_when=asyncio.FIRST_COMPLETED)
            for task in (holding, watching):
                if task.done():
                    task.result()
        finally:
            for task in (holding, watching):
                task.cancel()
                status.down(Trouble(Reason.STOPPED, "callkpi was stopped"))
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _hold(self, status: Status) -> None:
        backoff = Backoff()
        while True:
            begun, ups = time.monotonic(), status.ups
            try:
                await self._link.hold(self._intake, status)
                trouble = Trouble(Reason.CLOSED, "it ended without a reason")
            except Trouble as error:
                trouble = error
            except Exception as error:
                # One source whose words we can't bear must not end the connections of all others.
                log.exception("connection.unforeseen", source=self._name)
                trouble = Trouble(Reason.FAULT, f"unforeseen: {type(error).__name__}; the daemon's log says more")
            pause = backoff.after(trouble.reason, time.monotonic() - begun if status.ups > ups else 0.0)
            status.down(trouble)
            self._health.count("connection_errors", source=self._name, label=trouble.reason)
            log.error("connection.down", source=self._name, reason=trouble.reason, problem=trouble.text,
                      again_in_seconds=round(pause, 1))  # fmt: skip
            await asyncio.sleep(pause)

    def _is_up(self, unheard_seconds: float) -> None:
        self._health.count("connection_ups", source=self._name)
        self._health.count("connection_unheard_seconds", max(round(unheard_seconds), 0), source=self._name)
        log.info("connection.up", source=self._name, unheard_seconds=round(unheard_seconds, 1))

    async def _watch(self, lock: asyncpg.Connection, status: Status) -> None:
        """Write how the connection is; returns when another daemon has the lock."""
        session: asyncpg.Connection | None = lock
        try:
            while True:
                try:
                    if session is None:
                        session = await store.connect(self._dsn, role="connector-lock")
                        if not await session.fetchval(store.query("connections", "try_lock"), self._name):
                            log.warning("connection.taken_over", source=self._name)
                            await _close(session)
                            session = None
                            return
                    status.changed.clear()
                    await self._write(session, status)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(WRITE_SECONDS):
                            await status.changed.wait()
                except _DATABASE as error:
                    log.warning("connection.lock_lost", source=self._name, error=type(error).__name__)
                    if session is not None:
                        await _close(session)
                    session = None
                    await asyncio.sleep(1.0)
        finally:
            if session is not None:
                with contextlib.suppress(*_DATABASE):
                    await self._write(session, status)
                await _close(session)

    async def _write(self, session: asyncpg.Connection, status: Status) -> None:
        problem = status.problem.replace("\x00", "").encode("utf-8", "replace").decode()[:300]
        row = (self._name, status.connected, status.changed_at, status.heard_at, status.reason, problem)
        outages = list(status.outages)
        columns = (
            [each.begins for each in outages],
            [each.ends for each in outages],
            [each.reason for each in outages],
        )
        async with asyncio.timeout(10):
            await session.execute(store.query("connections", "write"), *row, *columns)
        del status.outages[: len(outages)]


async def _close(session: asyncpg.Connection) -> None:
    with contextlib.suppress(*_DATABASE):
        await session.close(timeout=2)
