"""What a connection reads, on its way to the journal: in order, in groups, bounded.

A PBX does not say a thing twice. So what was read is kept here until the journal has it, or the spool on local disk
while PostgreSQL is away. Where neither takes it the memory is bounded: :meth:`Intake.put` waits, the connection is read
no further, and the sender's own buffer is next. What is given up when the daemon must stop is counted and told.

The payloads of a group go the way of a spooled delivery: what can't be understood is kept with the reason, and so is a
group that meets a fault of ours. Nothing that a PBX says ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from callkpi.database import encoding
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.journal import JournalUnavailable
from callkpi.ingest.spool import Spool, Spooled, SpoolFull
from callkpi.looping import Loop, keep_going

log = structlog.get_logger()

#: In one group: small enough that what the database refuses takes few others with it.
GROUP_ITEMS = 250
#: What may be held in memory; beyond it the connection is read no further.
HELD_ITEMS = 20_000
#: Between two attempts while neither the journal nor the spool takes anything.
RETRY_SECONDS = 1.0
#: A daemon that stops gives the last group this long.
LAST_SECONDS = 5.0
_TELL_SECONDS = 30.0


def as_json(items: Sequence[Any]) -> bytes:
    """Payloads as one body that a source of JSON decodes."""
    return encoding.to_json(list(items)).encode()


class Intake:
    """Takes the payloads of one source. Start :meth:`run` as a task; it ends when cancelled."""

    def __init__(
        self, name: str, ingest: Ingest, spool: Spool | None, health: Health, *,
        encode: Callable[[Sequence[Any]], bytes] = as_json, media_type: str = "application/json",
    ) -> None:  # fmt: skip
        """*encode* makes of some payloads a delivery as the source's door takes it."""
        self._name, self._ingest, self._spool, self._health = name, ingest, spool, health
        self._encode, self._media_type = encode, media_type
        self._held: deque[Any] = deque()
        self._changed = asyncio.Condition()
        self._told_at = -_TELL_SECONDS

    @property
    def held(self) -> int:
        """Payloads that are not durable yet."""
        return len(self._held)

    async def put(self, item: Any) -> None:
        """Take a payload. Waits while too many are held."""
        if self.held >= HELD_ITEMS:
            self._tell("connection.reads_no_further", held=self.held)
            async with self._changed:
                await self._changed.wait_for(lambda: self.held < HELD_ITEMS)
        self._held.append(item)
        async with self._changed:
            self._changed.notify_all()

    async def settled(self) -> None:
        """Return when everything that was put is durable."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.held)

    async def run(self) -> None:
        try:
            await keep_going(Loop("intake", 0.0, self._health, self._name), self._next_group)
        finally:
            # Python before 3.11.3 ends a timeout within a cancelled task as cancelled.
            with contextlib.suppress(Exception, asyncio.CancelledError):
                async with asyncio.timeout(LAST_SECONDS):
                    while self.held:
                        await self._write_group()
            self._give_up()

    async def _next_group(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._held))
        await self._write_group()

    async def _write_group(self) -> None:
        count = min(len(self._held), GROUP_ITEMS)
        group = [self._held[index] for index in range(count)]
        now = datetime.now(UTC)
        delivery = Spooled(self._name, self._media_type, now, self._encode(group))
        while not await self._kept(delivery):
            self._tell("connection.holds", held=self.held)
            await asyncio.sleep(RETRY_SECONDS)
        for _ in range(count):
            self._held.popleft()
        async with self._changed:
            self._changed.notify_all()

    async def _kept(self, delivery: Spooled) -> bool:
        try:
            return await self._ingest.take_spooled(delivery)
        except JournalUnavailable:
            if self._spool is None:
                return False
        try:
            await self._spool.put(delivery)
        except SpoolFull:
            return False
        self._health.count("spool_put", source=self._name)
        return True

    def _give_up(self) -> None:
        if lost := len(self._held):
            self._held.clear()
            self._health.count("connection_lost_payloads", lost, source=self._name)
            log.error("connection.payloads_lost", source=self._name, count=lost, why="stopped; no journal, no spool")

    def _tell(self, event: str, **fields: Any) -> None:
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self._told_at = time.monotonic()
            log.error(event, source=self._name, **fields)
