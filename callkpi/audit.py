"""Who has seen full numbers, raw payloads and exports, and who changed what. Only added to.

Record in the transaction of a change; before the answer of a read: what can't be recorded is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

import asyncpg
import orjson

from callkpi.database import store

#: Before and after every row.
_ALWAYS = (datetime(1971, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
_NEWEST = 2**63 - 1


class Action(StrEnum):
    READ_NUMBERS = "read_numbers"
    READ_RAW = "read_raw"
    EXPORT = "export"
    EXPORT_ENDED = "export_ended"
    CLAIM = "claim"
    NOTE = "note"
    RESOLVE = "resolve"
    RELEASE = "release"
    ERASE = "erase"


class Doer(Protocol):
    """Who does it: a reader of the API, or a command."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Operator:
    """Who works at the command line of the daemon's machine."""

    name: str = "command line"
    role: str = "admin"


async def record(
    db: asyncpg.Pool | asyncpg.Connection,
    doer: Doer,
    action: Action | str,
    tenant: str,
    subject: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add one row. *subject* is a masked number, a call's id or a count: never a whole number."""
    told = orjson.dumps(details or {}, default=str).decode()
    await db.execute(store.query("work", "record"), doer.name, str(doer.role), str(action), tenant, subject[:200], told)


async def read(
    db: asyncpg.Pool | asyncpg.Connection,
    *,
    span: tuple[datetime | None, datetime | None] = (None, None),
    who: str | None = None,
    action: str | None = None,
    tenants: Sequence[str] | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """Rows newest first, older than the id *before*."""
    begin, end = span[0] or _ALWAYS[0], span[1] or _ALWAYS[1]
    rows = await db.fetch(
        store.query("work", "audit"), _NEWEST if before is None else before, begin, end, who, action,
        None if tenants is None else list(tenants), limit,
    )  # fmt: skip
    return [{**row, "at": row["at"].isoformat(), "details": orjson.loads(row["details"])} for row in rows]
