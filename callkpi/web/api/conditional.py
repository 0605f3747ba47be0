"""Whether a client's copy still holds: weak ETags of what an answer says, whatever the clock says."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from aiohttp import web


def etag(body: Any, volatile: frozenset[str]) -> str:
    """The weak ETag of a body; keys that change with the clock alone are left out."""
    told = orjson.dumps(_without(body, volatile) if volatile else body, option=orjson.OPT_SORT_KEYS, default=str)
    return f'W/"{hashlib.blake2b(told, digest_size=12).hexdigest()}"'


def _without(value: Any, names: frozenset[str]) -> Any:
    if isinstance(value, list):
        return [_without(item, names) for item in value]
    if isinstance(value, dict):
        return {key: _without(item, names) for key, item in value.items() if key not in names}
    return value


def holds(request: web.Request, tag: str) -> bool:
    """Whether the client says that it has this very answer."""
    told = request.headers.get("If-None-Match", "")
    return told.strip() == "*" or tag.removeprefix("W/") in (
        each.strip().removeprefix("W/") for each in told.split(",")
    )
