"""How values are written into columns of JSON."""

from __future__ import annotations

import json
from typing import Any

import orjson


def to_json(value: Any) -> str:
    """JSON of plain data, dataclasses, enumerations and datetimes. Halves of characters become question marks."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
