"""Names of the queries in sql/, and rows to and from the model. Python holds no SQL but these names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import asyncpg
import orjson

from callkpi.calls.model import Call, CallEvent, Direction, Entry, Kind, Leg, LegEnd, Outcome, Twin
from callkpi.database import resources

SCHEMA = "callkpi"

#: The database is away, or in a state that passes: what it was asked is right, and succeeds later.
#: The client's internal error is what it raises on a connection whose server was killed in the middle of an answer.
UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,  # its disk or memory is full, too many connections
    asyncpg.OperatorInterventionError,  # statements cancelled or timed out, it stops, starts or recovers
    asyncpg.PostgresSystemError,  # it can't read or write its files
    asyncpg.TransactionRollbackError,  # deadlocks and serialisation
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # after a failover
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalServerError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
#: … or refuses what it is asked.
FAILURES = (asyncpg.PostgresError, *UNAVAILABLE)

_TEXT_FACTS = (
    "customer", "line", "queue", "agent", "leg", "entry", "cause", "code", "hangup_by", "state", "reason", "linked_to",
    "told_at",
)  # fmt: skip
_NUMBER_FACTS = ("wait_ms", "ring_ms", "talk_ms", "hold_ms", "wrap_ms", "rating")
_MAP_FACTS = ("crm", "fields", "detail")


@cache
def query(file: str, name: str) -> str:
    """The SQL that stands under ``-- name: …`` in sql/queries/*file*.sql."""
    return _queries(file)[name]


@cache
def _queries(file: str) -> Mapping[str, str]:
    text = (resources.directory("sql") / "queries" / f"{file}.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


async def create_pool(dsn: str, *, role: str, size: int = 4, lazy: bool = False) -> asyncpg.Pool:
    """Connections that speak to callkpi's schema. *role* names the process in pg_stat_activity.

    A *lazy* pool connects when it is first used: the database may be away meanwhile.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=0 if lazy else 1,
        max_size=size,
        command_timeout=60,
        reset=_keep,
        server_settings=_server_settings(role),
    )


@contextlib.asynccontextmanager
async def within(pool: asyncpg.Pool, seconds: float) -> AsyncIterator[asyncpg.Connection]:
    """A connection for work that is over within *seconds*; else it is cut, and TimeoutError is raised.

    A server that is frozen, or whose network swallows everything, answers nothing, not even that a statement was
    cancelled. asyncpg waits for that answer before it takes a connection back: for a minute more than *seconds*.
    """
    async with asyncio.timeout(seconds):
        connection = await pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            connection.terminate()
            raise
        finally:
            await pool.release(connection)


async def _keep(_connection: asyncpg.Connection) -> None:
    """Nothing to reset: callkpi leaves no session state behind, and asyncpg's own reset is a round trip a time."""


async def connect(dsn: str, *, role: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, timeout=10, command_timeout=300, server_settings=_server_settings(role))


def _server_settings(role: str) -> dict[str, str]:
    # JIT compiles for milliseconds what runs for microseconds here.
    return {
        "application_name": f"callkpi-{role}",
        "search_path": SCHEMA,
        "timezone": "UTC",
        "jit": "off",
        "callkpi.knows": newest_migration(),
    }


@cache
def newest_migration() -> str:
    """The name of the last migration that this version knows."""
    return max(path.stem for path in (resources.directory("sql") / "migrations").glob("*.sql"))


async def remove_emptied(
    connection: asyncpg.Connection, statement: str, rows: Sequence[asyncpg.Record]
) -> set[tuple[Any, ...]]:
    """Remove the rows of sums that an upsert has just emptied, by their place. Returns their keys."""
    if rows:
        await connection.execute(statement, [row["place"] for row in rows])
    return {tuple(row.values())[1:] for row in rows}


def to_json(value: Any) -> str:
    """JSON of plain data, dataclasses, enumerations and datetimes. Halves of characters become question marks."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()


# -- events -----------------------------------------------------------------------------------------------


def event_body(event: CallEvent) -> str:
    """The facts of an event as JSON, those that are there."""
    body: dict[str, Any] = {name: value for name in _TEXT_FACTS if (value := getattr(event, name))}
    for name in _NUMBER_FACTS:
        value = getattr(event, name)
        if value is not None:
            body[name] = value
    for name in _MAP_FACTS:
        mapping = getattr(event, name)
        if mapping:
            body[name] = mapping
    if event.talk_with_hold:
        body["talk_with_hold"] = True
    if event.rank:
        body["rank"] = event.rank
    if event.untimed:
        body["untimed"] = True
    if event.direction is not None:
        body["direction"] = event.direction
    text = to_json(body)
    return to_json(_without_nul(body)) if _NUL in text else text


#: NUL as JSON writes it. A column of JSON takes it, but no text can be made of it: it would stop the projector.
_NUL = "\\u0000"


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, Mapping):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def event_from_row(row: asyncpg.Record) -> CallEvent:
    body = orjson.loads(row["body"])
    if _NUL in row["body"]:
        body = _without_nul(body)
    if "direction" in body:
        body["direction"] = Direction(body["direction"])
    return CallEvent(
        tenant=row["tenant"],
        source=row["source"],
        call_id=row["call_id"],
        kind=Kind(row["kind"]),
        at=row["at"],
        event_id=row["event_id"],
        received_at=row["received_at"],
        **body,
    )


# -- calls ------------------------------------------------------------------------------------------------


def call_body(call: Call) -> str:
    """A whole call as JSON."""
    return to_json(call)


def call_from_body(text: str) -> Call:
    raw = orjson.loads(text)
    _revive(raw, ("started_at", "last_event_at", "rung_at", "answered_at", "ended_at"))
    raw["direction"] = Direction(raw["direction"])
    raw["outcome"] = Outcome(raw["outcome"])
    raw["entries"] = tuple(_entry(item) for item in raw["entries"])
    raw["legs"] = tuple(_leg(item) for item in raw["legs"])
    raw["flags"] = tuple(raw["flags"])
    raw["twins"] = tuple(_twin(item) for item in raw.get("twins", ()))
    return Call(**raw)


def legs_from_json(text: str) -> tuple[Leg, ...]:
    """The legs of a call's body."""
    return tuple(_leg(item) for item in orjson.loads(text))


def _entry(raw: dict[str, Any]) -> Entry:
    _revive(raw, ("entered_at", "left_at"))
    raw["outcome"] = Outcome(raw["outcome"])
    return Entry(**raw)


def _leg(raw: dict[str, Any]) -> Leg:
    _revive(raw, ("rung_at", "answered_at", "ended_at"))
    raw["end"] = LegEnd(raw["end"]) if raw["end"] else None
    raw["holds"] = tuple((datetime.fromisoformat(a), b and datetime.fromisoformat(b)) for a, b in raw.get("holds", ()))
    return Leg(**raw)


def _twin(raw: dict[str, Any]) -> Twin:
    _revive(raw, ("started_at",))
    raw["outcome"] = Outcome(raw["outcome"])
    raw["agents"] = tuple(raw["agents"])
    return Twin(**raw)


def _revive(raw: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if raw[name] is not None:
            raw[name] = datetime.fromisoformat(raw[name])
