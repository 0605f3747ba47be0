"""A call centre with custom fields, and calls that move."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg

from callkpi.calls.model import CallEvent
from callkpi.config import ReportField
from tests.world import World, test_settings

FIELDS = {"campaign": ReportField("Campaign")}


def moved(events: Sequence[CallEvent], by: timedelta) -> list[CallEvent]:
    return [dataclasses.replace(e, at=e.at + by, received_at=e.received_at + by) for e in events]


@asynccontextmanager
async def centre(pool: asyncpg.Pool, **tenant: Any) -> AsyncIterator[World]:
    world = World(pool, test_settings(**tenant))
    await world.clear()
    async with world.running():
        yield world
