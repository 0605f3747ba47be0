"""Generated files: plain data as YAML, written or compared with what is there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
#: The key of a mapping whose value is written as a comment above it.
COMMENT = "#"
#: Words that any YAML reads as the text that they are.
_PLAIN = re.compile(r"[A-Za-z_][\w.:/-]*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def to_yaml(value: Any, header: str = "") -> str:
    """*value* (mappings, lists, text, numbers) as YAML, below a comment."""
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    return "\n".join([*lines, *_lines(value, 0)]) + "\n"


def _lines(value: Any, depth: int) -> Iterator[str]:
    margin = "  " * depth
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == COMMENT:
                yield from (f"{margin}# {line}" for line in str(item).splitlines())
            else:
                yield from _item(f"{margin}{_scalar(key)}:", item, depth)
    else:
        for item in value:
            if isinstance(item, Mapping) and item and not _is_flat(item):
                first, *rest = _lines({k: v for k, v in item.items() if k != COMMENT}, depth + 1)
                yield from (f"{margin}# {line}" for line in str(item.get(COMMENT, "")).splitlines())
                yield f"{margin}- {first.lstrip()}"
                yield from rest
            else:
                yield from _item(f"{margin}-", item, depth)


def _item(begin: str, value: Any, depth: int) -> Iterator[str]:
    margin = "  " * (depth + 1)
    if isinstance(value, str) and "\n" in value:
        yield f"{begin} |-"
        yield from (f"{margin}{line}".rstrip() for line in value.splitlines())
    elif isinstance(value, str) or not isinstance(value, (Mapping, Sequence)):
        yield f"{begin} {_scalar(value)}"
    elif _is_flat(value):
        yield f"{begin} {_flow(value)}"
    else:
        yield begin
        yield from _lines(value, depth + 1)


def _is_flat(value: Any) -> bool:
    """Whether it reads best on one line."""
    if not isinstance(value, (Mapping, Sequence)) or COMMENT in value or "\n" in str(value):
        return False
    return len(_flow(value)) <= 90 and "\n" not in json.dumps(value)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT and not value.endswith(":")
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def write(files: Mapping[Path, str], *, check: bool) -> int:
    """Write the files, or with *check* say which differ. Returns an exit status."""
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{'is not up to date' if check else 'written'}: {path.relative_to(ROOT.parent)}", file=sys.stderr)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], "utf-8")
    return 1 if check and stale else 0
