"""PHP-style form bodies: ``data[CALL_ID]=x&auth[domain]=y`` as nested dictionaries of strings.

PHP's own rule for keys: https://www.php.net/manual/en/language.variables.external.php
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

from callkpi.sources.base import Malformed

MAX_DEPTH = 8
MAX_FIELDS = 1000
MAX_NAME = 200


def parse_form(body: bytes) -> dict[str, Any]:
    """A nested dictionary; ``a[]`` and ``a[0]`` become keys "0", "1"…; a key without a value is "".

    A key that comes twice keeps its first value: the last must not silently replace what was checked.
    Raises Malformed with the field's name for what is too deep, too many, not UTF-8, or contradictory.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"the form is not UTF-8 at byte {error.start}") from None
    parts = [part for part in text.strip().split("&") if part]
    if len(parts) > MAX_FIELDS:
        raise Malformed(f"the form has {len(parts)} fields; at most {MAX_FIELDS} are read")
    result: dict[str, Any] = {}
    for part in parts:
        path, value = _field(part) if len(part) <= _CACHED_LENGTH else _read(part)
        if len(path) == 1:
            result.setdefault(path[0], value)
        else:
            _store(result, path, value)
    return result


def _read(part: str) -> tuple[tuple[str, ...], str]:
    """``data[CALL_ID]=x%20y`` as ("data", "CALL_ID") and "x y"."""
    name, _, value = part.partition("=")
    try:
        path = _path(name)
        if "%" in value or "+" in value:
            value = unquote_plus(value, errors="strict")
    except UnicodeDecodeError:
        raise Malformed(f"field {name[:40]!r} is not UTF-8 after percent-decoding") from None
    return path, value


#: Most fields of a sender's requests are the same each time (its portal, its keys, the types): read once.
_CACHED_LENGTH = 200
_field = lru_cache(maxsize=4096)(_read)


@lru_cache(maxsize=4096)
def _path(name: str) -> tuple[str, ...]:
    """The keys of a field's name, outermost first."""
    if len(name) > MAX_NAME:
        raise Malformed(f"field {name[:40]!r}: its name is longer than {MAX_NAME} characters")
    head, bracket, rest = unquote_plus(name, errors="strict").partition("[")
    keys = (head, *rest.rstrip("]").split("][")) if bracket else (head,)
    if len(keys) > MAX_DEPTH:
        raise Malformed(f"field {name[:40]!r} is nested deeper than {MAX_DEPTH} levels")
    return keys


def _store(root: dict[str, Any], path: tuple[str, ...], value: str) -> None:
    node = root
    for key in path[:-1]:
        node = node.setdefault(key or str(len(node)), {})
        if not isinstance(node, dict):
            raise Malformed(f"field {'.'.join(path)[:40]!r} is both a value and a table")
    node.setdefault(path[-1] or str(len(node)), value)
