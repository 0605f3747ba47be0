"""A store whose sources are one of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.sources.cases import SETTINGS
from tests.world import World


@pytest.fixture
async def doors(pool: asyncpg.Pool) -> AsyncIterator[World]:
    world = World(pool, SETTINGS)
    await world.clear()
    async with world.running():
        yield world
