"""What a Bitrix24 portal calls its users, lines and departments, for screens where the configuration says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import structlog

from callkpi.bitrix24 import rest
from callkpi.database import store

log = structlog.get_logger()

REFRESH_SECONDS = 86_400.0
LONGEST_NAME = 200
_Told = tuple[str, str, str]  #: kind, id, name; of a ``member`` (a user) the name is the id of his department


async def refresh(
    client: rest.Client, pool: asyncpg.Pool, source: str, tenant: str, surprised: Callable[[str, str], None]
) -> None:
    """Read the names again. A right that the webhook lacks costs its names only."""
    told: list[tuple[str, str, str]] = []
    for kind, read in (("agent", _users), ("department", _departments), ("line", _lines)):
        try:
            told += [(what, number, name[:LONGEST_NAME]) for what, number, name in await read(client) if name]
        except (rest.Denied, rest.Refused) as error:
            surprised(f"no_{kind}_names", f"the portal does not tell the names: {error}")
    if told:
        columns = [list(column) for column in zip(*sorted(set(told)), strict=True)]
        await pool.execute(store.query("reconcile", "write_names"), tenant, source, *columns)
    await pool.execute(store.query("reconcile", "named"), source)
    log.info("reconcile.names", source=source, names=len(told))


async def _users(client: rest.Client) -> Sequence[_Told]:
    """Everybody, also who has left: history has their calls. And the department of each; of several the first one."""
    rows = await client.listed("user.get", {"sort": "ID", "order": "ASC"})
    names = [("agent", _text(row, "ID"), f"{_text(row, 'NAME')} {_text(row, 'LAST_NAME')}".strip()) for row in rows]
    return [*names, *(("member", _text(row, "ID"), _first(row.get("UF_DEPARTMENT"))) for row in rows)]


def _first(value: Any) -> str:
    ids = value if isinstance(value, list) else [value]
    return next((str(number) for number in ids if isinstance(number, (int, str)) and str(number).isdigit()), "")


async def _departments(client: rest.Client) -> Sequence[_Told]:
    rows = await client.listed("department.get", {"sort": "ID", "order": "ASC"}, start_key="START")
    return [("department", _text(row, "ID"), _text(row, "NAME")) for row in rows]


async def _lines(client: rest.Client) -> Sequence[_Told]:
    """Line id and name; some versions tell an object for each line."""
    result = (await client.call("voximplant.line.get")).result
    if not isinstance(result, dict):
        return []
    return [
        (
            "line",
            str(line),
            _text(value, "NAME") or _text(value, "LINE_NAME") if isinstance(value, dict) else str(value or ""),
        )
        for line, value in result.items()
    ]


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if value is None or isinstance(value, (dict, list)) else " ".join(str(value).split()).replace("\x00", "")
