"""Calls of known customers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.world import World

NOBODY = lambda _done, _total: None  # noqa: E731


def call(call_id: str, at: datetime, customer: str, **facts: Any) -> list[dict[str, Any]]:
    """An inbound call that nobody took; with ``agent`` one that was answered."""
    base = {"call_id": call_id, "direction": facts.pop("direction", "inbound"), "customer": customer, "queue": "sales"}
    events = [{**base, "kind": "queued", "at": at.isoformat(), **facts}]
    if agent := facts.get("agent"):
        events.append({**base, "kind": "answered", "at": (at + timedelta(seconds=9)).isoformat(), "agent": agent})
    return [*events, {**base, "kind": "ended", "at": (at + timedelta(seconds=70)).isoformat()}]


async def stored(world: World, needle: str) -> list[str]:
    """Tables that hold a text anywhere."""
    found = []
    for table in await world.pool.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'callkpi' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    ):
        name = table["relname"]
        rows = await world.pool.fetch(f"SELECT t::text AS row FROM {name} t")
        texts = [row["row"] for row in rows]
        if name == "rejected":
            payloads = await world.pool.fetch("SELECT payload FROM rejected")
            texts = [bytes(row["payload"]).decode("latin-1") for row in payloads]
        if any(needle in text for text in texts):
            found.append(name)
    return found
