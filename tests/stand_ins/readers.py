"""Readers of the views, as Grafana is one."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from callkpi import config
from callkpi.projection import views
from tests.world import World

PASSWORD = "reader-secret-0123"


def with_password(settings: config.Settings) -> config.Settings:
    return replace(settings, database=replace(settings.database, reader_password=PASSWORD))


async def connect_reader(dsn: str, password: str = PASSWORD) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, user=views.READER, password=password)


async def publish(world: World) -> None:
    async with world.pool.acquire() as connection:
        await views.publish(connection, with_password(world.settings))


def use(world: World, settings: config.Settings) -> World:
    world.settings = settings
    world.reports = type(world.reports)(world.pool, settings)
    world.projector = type(world.projector)(world.pool, settings, world.health)
    return world
