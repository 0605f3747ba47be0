"""Opaque cursors: where a page ended, for the same question only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from callkpi.calendar.moments import BadQuery
from callkpi.web.problems import Problem

#: Another form of cursors gets another number; those of an older daemon are then gone.
_VERSION = 1
_NOT_THE_QUESTION = ("cursor", "limit", "token")


def write(values: Mapping[str, Any], position: list[Any]) -> str:
    """The cursor behind *position* of the question that *values* ask."""
    return base64.urlsafe_b64encode(orjson.dumps([_VERSION, _digest(values), position])).decode().rstrip("=")


def read(values: Mapping[str, Any]) -> list[Any] | None:
    """The position of the cursor, or None without one.

    Raises BadQuery for what is no cursor or belongs to another question, Problem (410) for one of an older daemon.
    """
    text = values.get("cursor")
    if text is None:
        return None
    try:
        version, digest, position = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise BadQuery("cursor: is none of ours; take `next` of the answer before") from None
    if version != _VERSION:
        raise Problem(410, "The cursor is too old", "The daemon was changed since: begin again without a cursor")
    if digest != _digest(values) or not isinstance(position, list):
        raise BadQuery("cursor: belongs to another question; send the same parameters as before")
    return position


def _digest(values: Mapping[str, Any]) -> str:
    asked = sorted((name, value) for name, value in values.items() if name not in _NOT_THE_QUESTION)
    return hashlib.blake2b(repr(asked).encode(), digest_size=8).hexdigest()
