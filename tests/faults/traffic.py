"""Sources that push numbered events, and an observer who sees when their calls are in the tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import aiohttp
import asyncpg

from tests.faults.postgres import REFUSALS, Postgres

REQUEST_SECONDS = 20.0
#: How often a sender offers again what was not acknowledged.
AGAIN_SECONDS = 0.4
#: Requests that a source has under way at a time, and the pause between two of one lane.
LANES, PACE_SECONDS = 3, 0.25
MOST_EVENTS = 4
#: Of four events in a row three tell a call and one tells of an agent.
EVENTS_OF_CALL = 4
LOOK_SECONDS = 0.25
HEALTH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Answer:
    """What the door said; status 0: nothing came back, and what became of the delivery is not known."""

    status: int
    events: int = 0
    rejected: int = 0
    text: str = ""


class Door:
    """The daemon's address, and its probes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS))
        return self._session

    async def post(
        self, source: str, body: bytes, *, seconds: float = REQUEST_SECONDS, headers: Mapping[str, str] | None = None
    ) -> Answer:
        told = {
            "Authorization": f"Bearer the-secret-of-{source}",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.post(
                f"{self.url}/hooks/{source}", data=body, headers=told, timeout=limit
            ) as answer:
                text = await answer.text()
                said: Any = {}
                with contextlib.suppress(ValueError):
                    said = json.loads(text)
                said = said if isinstance(said, dict) else {}
                return Answer(answer.status, int(said.get("events", 0)), int(said.get("rejected", 0)), text[:300])
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(0, text=type(error).__name__)

    async def json(self, path: str) -> dict[str, Any]:
        """Nothing where there is no answer."""
        try:
            async with self.session.get(f"{self.url}{path}", timeout=aiohttp.ClientTimeout(total=5)) as answer:
                told: dict[str, Any] = await answer.json()
                return told
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return {}

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


@dataclass(slots=True)
class Delivery:
    """Events that are pushed in one request, and what became of it."""

    event_ids: Sequence[str]
    calls: Sequence[str]  #: calls that begin in it
    body: bytes
    offered_at: float
    acknowledged_at: float | None = None
    status: int = 0


class Sender:
    """A source that pushes from several lanes until it is told to finish.

    What is not acknowledged is offered again with the probability *insists*; else it is given up, as by a sender that
    sends once. Now and then a delivery comes twice although it was acknowledged.
    """

    def __init__(self, door: Door, source: str, seed: str, *, insists: float) -> None:
        self.source, self.deliveries = source, list[Delivery]()
        self._door, self._rng, self._insists = door, random.Random(seed), insists
        self._numbers = count()
        self._finishing = asyncio.Event()
        self._lanes: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._lanes = [asyncio.create_task(self._lane()) for _ in range(LANES)]

    async def finish(self) -> None:
        """Return when what is under way is acknowledged or given up."""
        self._finishing.set()
        await asyncio.gather(*self._lanes)

    async def cancel(self) -> None:
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)

    @property
    def acknowledged(self) -> set[str]:
        return {one for delivery in self.deliveries if delivery.acknowledged_at for one in delivery.event_ids}

    @property
    def offered(self) -> set[str]:
        return {one for delivery in self.deliveries for one in delivery.event_ids}

    def awaited(self) -> dict[str, Delivery]:
        """Calls that must come into the tables, with the delivery that began them."""
        return {call: delivery for delivery in self.deliveries if delivery.acknowledged_at for call in delivery.calls}

    async def _lane(self) -> None:
        while not self._finishing.is_set():
            delivery = self._next()
            self.deliveries.append(delivery)
            await self._push(delivery)
            await asyncio.sleep(PACE_SECONDS * self._rng.uniform(0.5, 1.5))

    async def _push(self, delivery: Delivery) -> None:
        while True:
            answer = await self._door.post(self.source, delivery.body)
            delivery.status = answer.status
            if answer.status == 200 and answer.events == len(delivery.event_ids):
                delivery.acknowledged_at = time.monotonic()
                if self._rng.random() < 0.1:
                    await self._door.post(self.source, delivery.body)
                return
            if 400 <= answer.status < 500 or answer.status == 200 or self._rng.random() >= self._insists:
                return
            await asyncio.sleep(AGAIN_SECONDS)

    def _next(self) -> Delivery:
        numbers = [next(self._numbers) for _ in range(self._rng.randint(1, MOST_EVENTS))]
        now = datetime.now(UTC)
        events = [_event(self.source, number, now) for number in numbers]
        begun = [str(event["call_id"]) for event in events if event["kind"] == "queued"]
        body = json.dumps(events).encode()
        return Delivery([str(event["event_id"]) for event in events], begun, body, time.monotonic())


def _event(source: str, number: int, at: datetime) -> dict[str, object]:
    """Event *number* of a source: in turn a call's begin, answer and end, and an agent's state."""
    call, part = divmod(number, EVENTS_OF_CALL)
    agent = f"Agent {call % 7}"
    event: dict[str, object] = {"event_id": f"{source}-{number}", "at": at.isoformat()}
    if part == EVENTS_OF_CALL - 1:
        return {**event, "kind": "agent_state", "agent": agent, "state": ("available", "paused")[call % 2]}
    event |= {"call_id": f"{source}-call-{call}", "queue": f"queue {call % 5}"}
    if part == 0:
        return {**event, "kind": "queued", "direction": "inbound", "customer": f"+7701{call:07}", "line": "100"}
    return {**event, "kind": ("answered", "ended")[part - 1], "agent": agent}


@dataclass
class Observer:
    """Sees when calls come into the tables, by a connection of its own, and how long /healthz takes."""

    postgres: Postgres
    senders: Sequence[Sender]
    seen: dict[str, float] = field(default_factory=dict)  #: call -> when it was first seen
    longest_health: float = 0.0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, door: Door) -> None:
        self._tasks = [asyncio.create_task(self._watch_calls()), asyncio.create_task(self._watch_health(door))]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def unseen(self) -> list[str]:
        return [call for sender in self.senders for call in sender.awaited() if call not in self.seen]

    def longest_wait(self) -> float:
        """The longest time from the first offer of a call to its place in the tables, or until now."""
        now = time.monotonic()
        waits = [
            self.seen.get(call, now) - delivery.offered_at
            for sender in self.senders
            for call, delivery in sender.awaited().items()
        ]
        return max(waits, default=0.0)

    def longest_acknowledgement(self) -> float:
        """The longest time from the first offer of a delivery to its acknowledgement, of those that got one."""
        return max(
            (
                delivery.acknowledged_at - delivery.offered_at
                for sender in self.senders
                for delivery in sender.deliveries
                if delivery.acknowledged_at
            ),
            default=0.0,
        )

    async def _watch_calls(self) -> None:
        while True:
            with contextlib.suppress(*REFUSALS):
                async with self.postgres.connected(seconds=3) as connection:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, connection: asyncpg.Connection) -> None:
        if missing := self.unseen():
            rows = await connection.fetch("SELECT call_id FROM callkpi.calls WHERE call_id = ANY($1)", missing)
            now = time.monotonic()
            self.seen |= {row["call_id"]: now for row in rows}

    async def _watch_health(self, door: Door) -> None:
        """A late answer says that the loop of the web process stands; a refusal at once, that there is no process."""
        while True:
            begin = time.monotonic()
            if (await door.json("/healthz")).get("status") == "alive" or time.monotonic() - begin > 4:
                self.longest_health = max(self.longest_health, time.monotonic() - begin)
            await asyncio.sleep(HEALTH_SECONDS)
