"""Calls of the last half hour."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.world import World


def call(number: object, at: datetime, *, queue: str = "sales", answered: float | None = None, wait: float = 30,
         over: bool = True, customer: str = "") -> list[dict[str, Any]]:  # fmt: skip
    """A call of the native source: answered after some seconds, or abandoned after *wait*."""
    base = {"call_id": f"c{number}", "queue": queue, "direction": "inbound", "customer": customer}
    begin = at.timestamp()
    told: list[dict[str, Any]] = [{**base, "kind": "queued", "at": begin}]
    if answered is not None:
        told.append({**base, "kind": "answered", "agent": "Dana", "at": begin + answered})
    if over:
        told.append({**base, "kind": "ended", "at": begin + (wait if answered is None else answered + 20)})
    return told


async def send(world: World, *calls: list[dict[str, Any]]) -> None:
    await world.send_json("native", *(event for told in calls for event in told))
    await world.project()
