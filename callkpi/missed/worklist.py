"""The work on missed customers, in the store: one transaction looks, decides, journals and writes down.

A customer's lock is held meanwhile, the one that the projector takes to decide on his fate: of two supervisors who
claim him at the same moment one is told who was first.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from callkpi import audit, config
from callkpi.calls.model import CallEvent, Fate, StreamKey
from callkpi.calls.phone import mask
from callkpi.calls.rows import event_body, event_from_row
from callkpi.database import encoding, store
from callkpi.missed import judging, work
from callkpi.missed.work import Order, Work
from callkpi.missed.writing import write_work

#: How long a resolution waits to be seen in the numbers; the projector usually takes a tenth of a second.
SEEN_SECONDS = 2.0


class NotMissed(Exception):
    """No such missed call."""


class NotWaiting(Exception):
    """The customer was missed, but nobody has to call him any more."""

    def __init__(self, fate: str) -> None:
        super().__init__(fate)
        self.fate = fate


class KeyReused(Exception):
    """The idempotency key belongs to another request."""


@dataclass(frozen=True, slots=True)
class Request:
    """An order about the customer of one missed call."""

    tenant: str
    source: str
    call_id: str
    order: Order
    key: str = ""  #: idempotency key; "" where the client gave none

    @property
    def digest(self) -> str:
        order = self.order
        told = (self.tenant, self.source, self.call_id, order.action, order.text, order.fate, order.keep)
        return hashlib.sha256(repr(tuple(map(str, told))).encode()).hexdigest()


class WorkList:
    """Changes of the work list. Raises work.Claimed, NotMissed, NotWaiting, KeyReused."""

    def __init__(self, pool: asyncpg.Pool, settings: config.Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._months: set[tuple[int, int]] = set()

    async def act(self, request: Request, doer: audit.Doer) -> dict[str, Any]:
        """Do what is asked, once. Returns the state of the item as the API shows it."""
        await self._ensure_partition()
        async with self._pool.acquire() as connection, connection.transaction():
            known = await self._answered(connection, request, doer)
            if known is not None:
                return known
            answer = await self._act(connection, request, doer)
            if request.key:
                row = (doer.name, request.key, request.digest, encoding.to_json(answer))
                await connection.execute(store.query("work", "remember_answer"), *row)
                await connection.execute(store.query("work", "forget_answers"))
        if request.order.action is work.Action.RESOLVE:
            await self._seen(request)
        return answer

    async def _ensure_partition(self) -> None:
        at = datetime.now(UTC)
        if (at.year, at.month) not in self._months:
            await self._pool.execute(store.query("journal", "ensure_partition"), "journal", at)
            self._months.add((at.year, at.month))

    async def _answered(
        self, connection: asyncpg.Connection, request: Request, doer: audit.Doer
    ) -> dict[str, Any] | None:
        if not request.key:
            return None
        await connection.execute(store.query("work", "lock_key"), doer.name, request.key)
        row = await connection.fetchrow(store.query("work", "answered"), doer.name, request.key)
        if row is None:
            return None
        if row["digest"] != request.digest:
            raise KeyReused
        answer: dict[str, Any] = orjson.loads(row["body"])
        return answer

    async def _act(self, connection: asyncpg.Connection, request: Request, doer: audit.Doer) -> dict[str, Any]:
        tenant, order = request.tenant, request.order
        call = await connection.fetchrow(store.query("work", "missed_call"), tenant, request.source, request.call_id)
        if call is None:
            raise NotMissed
        item = work.item_of(call["customer"], request.source, request.call_id)
        await connection.execute(store.query("projector", "lock_customers"), [tenant], [item])
        # Not before it is this request's turn: an hour of another's claim may have ended meanwhile.
        now = datetime.now(UTC)
        written_off = judging.written_off_before(self._settings.tenants[tenant], now)
        place = (tenant, call["customer"], request.source, request.call_id)
        if not await connection.fetchval(store.query("work", "still_waits"), *place, written_off):
            raise NotWaiting(judging.judged(call["fate"], call["started_at"], written_off))
        stream = StreamKey(tenant, work.SOURCE, item)
        before = await _states(connection, stream)
        if _is_settled(before, call["started_at"]):
            raise NotWaiting(before.settlements[-1].fate)  # not projected yet
        work.decide(before, order, now)
        told = work.event(tenant, item, call["customer"], order, before, now)
        await connection.fetch(store.query("journal", "append"), *_columns(told), True)
        after = (await write_work(connection, [stream]))[stream]
        subject = mask(call["customer"]) or f"{request.source}/{request.call_id}"
        # Without the text: what was noted is in the journal, where a number in it can be erased.
        details = {"call": f"{request.source}/{request.call_id}", "fate": order.fate}
        await audit.record(connection, doer, order.action, tenant, subject, {k: v for k, v in details.items() if v})
        return shown(request, call["customer"], after, now)

    async def _seen(self, request: Request) -> None:
        """Wait until the fate is decided, so that who closes an item does not meet it again in the list."""
        place = (request.tenant, request.source, request.call_id)
        for _ in range(round(SEEN_SECONDS / 0.05)):
            call = await self._pool.fetchrow(store.query("work", "missed_call"), *place)
            if call is None or call["fate"] not in (Fate.WAITING, Fate.CALLED_BACK):
                return
            await asyncio.sleep(0.05)


async def _states(connection: asyncpg.Connection, stream: StreamKey) -> Work:
    rows = await connection.fetch(store.query("work", "events_of"), *([part] for part in stream))
    return work.fold_work(event_from_row(row) for row in rows)


def _is_settled(state: Work, missed_at: datetime) -> bool:
    return any(each.at >= missed_at for each in state.settlements)


def _columns(told: CallEvent) -> list[list[Any]]:
    return [
        [told.tenant], [told.source], [told.at], [told.event_id], [told.call_id], [told.kind.value],
        [told.received_at], [event_body(told)],
    ]  # fmt: skip


def shown(request: Request, customer: str, state: Work, now: datetime) -> dict[str, Any]:
    """The state of an item as the API shows it, without a whole number."""
    until = state.claimed_until if state.holder(now) else None
    return {
        "tenant": request.tenant,
        "call": f"{request.source}/{request.call_id}",
        "customer_masked": mask(customer),
        "hidden_number": customer == "",
        "claimed_by": state.holder(now) or None,
        "claimed_until": until.isoformat() if until else None,
        **work.to_json(state),
    }
