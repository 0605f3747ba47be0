"""Nights whose summaries are sent, and boxes that take them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.config import Report
from callkpi.delivery.courier import Courier
from callkpi.delivery.message import Message, Receiver, Way
from tests.stand_ins.customers import call
from tests.world import World

#: A night shift by the clock of Almaty (UTC+5) that ends on the 24th at 08:00.
END = datetime(2026, 11, 24, 3, tzinfo=UTC)

BEGIN = END - timedelta(hours=12)

SETTLED = END + timedelta(minutes=16)


class Box:
    """A way whose other side is this list: what arrived, and what goes wrong at the next attempts."""

    def __init__(self, *, knows_repetitions: bool = True) -> None:
        self.knows_repetitions = knows_repetitions
        self.messages: list[Message] = []
        self.troubles: list[Exception] = []

    async def send(self, receiver: Receiver, message: Message) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.messages.append(message)


def with_report(settings: config.Settings, hours: str = "20:00-08:00", **told: Any) -> config.Settings:
    report = Report(**{"period": "shift:night", "to": ("mailto:boss@example.com",), "files": (), **told})
    own = replace(
        settings.tenants["acme"], reports={"nightly": report}, shifts={"night": config.ShiftPlan(hours=hours)}
    )
    reached = replace(settings.server, public_url="https://kpi.example.com")
    return replace(settings, tenants={"acme": own}, server=reached)


def courier_of(world: World, way: Way, **told: Any) -> Courier:
    return Courier(world.pool, with_report(world.settings, **told), world.health, lambda name, report: way)


async def a_night(world: World) -> None:
    """Three calls, one of them missed, and a daemon that has known the report since before."""
    for number, more in enumerate(({"agent": "Dana"}, {"agent": "Dana"}, {})):
        at = BEGIN + timedelta(minutes=10 * number)
        await world.send_json("native", *call(f"c{number}", at, f"+7701000000{number}", **more))
    await world.project()


async def states(world: World) -> list[tuple[int, str, str]]:
    rows = await world.pool.fetch("SELECT edition, state, error FROM deliveries ORDER BY edition, receiver")
    return [tuple(row) for row in rows]
