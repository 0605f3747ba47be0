"""Customers who were forgotten stay so: what comes of them later is written under their pseudonym."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calls.model import CallEvent
from callkpi.calls.phone import normalise
from callkpi.calls.pseudonyms import core, digest, scrub
from callkpi.database import store

FRESH_SECONDS = 30.0

READ_SECONDS = 3.0

_RUN = re.compile(r"\+?\d[\d\s().-]{5,}\d")


class Forgotten:
    """What must not be told again: numbers that were erased get their pseudonyms, and what is too old is not taken."""

    def __init__(self, settings: config.Settings) -> None:
        self._regions = {name: tenant.region for name, tenant in settings.tenants.items()}
        self._key = b""
        self._numbers: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._horizon: datetime | None = None
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def refresh(self, pool: asyncpg.Pool) -> None:
        """Read it again when it is old. Raises what the database raises where it was never read."""
        if self._is_fresh():
            return
        async with self._reading:
            if self._is_fresh():
                return
            try:
                async with store.within(pool, READ_SECONDS) as connection:
                    await self._read(connection)
            except store.FAILURES:
                if self._read_at is None:
                    raise
            self._read_at = time.monotonic()

    def _is_fresh(self) -> bool:
        return self._read_at is not None and time.monotonic() - self._read_at < FRESH_SECONDS

    async def _read(self, connection: asyncpg.Connection) -> None:
        self._horizon = await connection.fetchval(store.query("retention", "journal_horizon"))
        rows = await connection.fetch(store.query("privacy", "erased"))
        if rows and not self._key:
            self._key = await connection.fetchval(store.query("privacy", "key"))
        self._numbers = {(row["tenant"], row["digest"]): (row["pseudonym"], row["erased_at"]) for row in rows}

    def admit(self, events: list[CallEvent]) -> list[CallEvent]:
        """The events that may be journalled. Costs nothing while nothing is forgotten."""
        horizon = self._horizon
        if horizon is not None:
            events = [event for event in events if event.at >= horizon]
        return [self._scrubbed(event) for event in events] if self._numbers else events

    def _scrubbed(self, event: CallEvent) -> CallEvent:
        told = {name: getattr(event, name) for name in _TELLING}
        found: dict[str, str] = {}
        for text in _strings(told):
            for run in _RUN.findall(text):
                number = normalise(run, self._regions.get(event.tenant, ""))
                known = self._numbers.get((event.tenant, digest(self._key, event.tenant, number)))
                if known is not None and event.at < known[1]:
                    found[core(number)] = known[0]
        return replace(event, **_replaced(told, list(found.items()))) if found else event


#: Where an event may hold the number of a customer.
_TELLING = ("customer", "line", "crm", "fields", "detail")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _replaced(value: Any, forms: Sequence[tuple[str, str]]) -> Any:
    """Plain data with pseudonyms in all of its texts."""
    if isinstance(value, str):
        for national, pseudonym in forms:
            value = scrub(value, national, pseudonym)
        return value
    if isinstance(value, Mapping):
        return {name: _replaced(item, forms) for name, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, forms) for item in value]
    return value
