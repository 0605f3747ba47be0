"""What a stranger might make of a recorded delivery: fields, lines and bytes changed, removed, doubled, nested.

Structure-aware: a form is changed field by field, JSON leaf by leaf (also JSON inside of a form, plain or in base64), a
table cell by cell. Everything is drawn from one random generator, so a seed is a run.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tests.sources.cases import FORM

#: Values as text. What is no number, no time, no text, or one that no field was made for.
TEXTS: tuple[str, ...] = (
    "", " ", "0", "-1", "-0", "1", "①", "²", "٣", "１７", "Ⅷ", "1_000", "0x10", "1e400", "-1e400", "1e18", "1e308",
    "nan",
    "-nan", "inf", "-Infinity", "true", "null", "None", "[]", "{}", "9" * 19, "9" * 20, "9" * 310, "9" * 5000,
    "0." + "9" * 400, "253402300800", "253402300799", "-62135596800", "1e-320", "17954172001795417200",
    "1795417200.5.5",
    "0001-01-01", "0001-01-01T00:00:00+23:59", "0001-01-01 00:00:00", "9999-12-31T23:59:59-23:59",
    "9999-12-31 23:59:59",
    "2026-02-30", "2026-11-23T10:00:00+99:99", "2026-11-23T10:00:00.123456789Z", "20261123T070000Z",
    "00010101T000000Z",
    "99991231T235959Z", "Wed, 02 Nov 2026 19:01:53 +9999", "Mon, 31 Dec 9999 23:59:59 -2359",
    "Fri, 01 Jan 0001 00:00:00 +0100",
    "31.12.9999 23:59:59", "①.①.2026 10:00", "00:00", "99:99:99", "1:2:3:4", ":::", "12,5", "1795417200",
    "1795417200000",
    "1795417200000000", "0000-00-00 00:00:00", "\x00", "a\x00b", "\ud800", "\udcff", "\ufeff", "\u2028", "é",
    "\U0001f4de",
    "x" * 256, "\U0001f4de" * 255, "x" * 70_000, "<" + " " * 3000, "1" + " " * 3000 + "x", "(" * 500, "+" * 300,
    "%" * 300,
    "%00", "%ff", "%ed%a0%80", "[" * 60, '"', "'", "`", "\\", "/", "//", "..", "|", ",", ";", "\t", "\r\n", "\n\n",
    "+77011234567", "77011234567", "Local/1002@agents-00000005;2", "Local/", "/", "sip:", "sip:@", "client:", "-",
    "unavailable", "answered", "ANSWER", "ANSWERED", "queued", "ended", "signal", "worked", "agent:x", "open",
    "expired",
    "~", "~~", "NONE", "Ext.", "Ext.①", "200", "304", "completed", "1110", "2026-11-23", "2026-11-23T10:00:00+05:00",
)  # fmt: skip
#: Values as JSON has them.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**18, 10**400, 1e18, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"), 0.1, 1795417200, 1795417200.5, [], {}, [[]], [None], [1, 2], ["x"],
    {"": ""}, {"a": {"b": {"c": 1}}}, {"x": "x"}, [{"Uniqueid": "①"}], [1, {}],
)  # fmt: skip
#: Levels of lists: within what is read, beyond it, beyond what Python's own reader takes.
DEPTHS = (10, 31, 33, 100, 400, 3000)


def nested(depth: int, chance: random.Random) -> str:
    """JSON of that depth, complete or not."""
    opening, closing = chance.choice((("[", "]"), ('{"a":', "}")))
    whole = opening * depth + "1" + closing * depth
    return whole if chance.random() < 0.8 else whole[: chance.randrange(1, len(whole))]


def value(chance: random.Random) -> Any:
    return chance.choice(VALUES) if chance.random() < 0.4 else chance.choice(TEXTS)


def body(told: bytes, content_type: str, chance: random.Random) -> bytes:
    """*told*, changed once to three times."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if chance.random() < 0.15:
            told = in_bytes(told, chance)
        elif content_type == FORM:
            told = in_form(told, chance)
        elif told.lstrip()[:1] in (b"{", b"["):
            told = in_json(told.decode("utf-8", "replace"), chance).encode("utf-8", "replace")
        else:
            told = in_lines(told, chance)
    return told


# -- bytes ------------------------------------------------------------------------------------------------


def in_bytes(told: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, or thrown in."""
    at = chance.randrange(len(told) + 1)
    way = chance.randrange(6)
    if way == 0:
        return told[:at]
    if way == 1:
        return told[at:]
    if way == 2:
        return told[:at] + bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9))) + told[at:]
    if way == 3:
        return told[:at] + chance.choice(TEXTS).encode("utf-8", "surrogatepass") + told[at:]
    if way == 4:
        return told[:at] + told[max(at - 40, 0) :]
    changed = bytearray(told)
    for _ in range(chance.randrange(1, 5)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


# -- JSON -------------------------------------------------------------------------------------------------


def in_json(text: str, chance: random.Random) -> str:
    """JSON (or JSON Lines) with one thing in it changed."""
    way = chance.random()
    if way < 0.05:
        return nested(chance.choice(DEPTHS), chance)
    lines = text.split("\n")
    if len(lines) > 1 and way < 0.5:
        at = chance.randrange(len(lines))
        lines[at] = in_json(lines[at], chance)
        return "\n".join(lines)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return in_bytes(text.encode("utf-8", "replace"), chance).decode("utf-8", "replace")
    places = list(leaves(data))
    if not places or way < 0.1:
        data = chance.choice(([data, data], [data, value(chance)], {"x": data}, [data, [data]], [], {}, value(chance)))
        return json.dumps(data)
    holder, key = chance.choice(places)
    if way < 0.2 and isinstance(holder, dict):
        kept = holder.pop(key)
        if chance.random() < 0.5:
            holder[str(value(chance))[:300]] = kept
    elif way < 0.25:
        mark = "\x01deep\x01"
        holder[key] = mark
        return json.dumps(data).replace(json.dumps(mark), nested(chance.choice(DEPTHS), chance))
    elif way < 0.3:
        mark = "\x01long\x01"
        holder[key] = mark
        return json.dumps(data).replace(
            json.dumps(mark), chance.choice(("9" * 5000, "-" + "9" * 5000, "1e99999", "0." + "9" * 5000))
        )
    elif way < 0.35 and isinstance(holder[key], str):
        holder[key] = in_json(holder[key], chance)  # JSON in text: TaskAttributes, extra
    else:
        holder[key] = value(chance)
    try:
        return json.dumps(data, ensure_ascii=chance.random() < 0.5)
    except ValueError:
        return json.dumps(str(data)[:100])  # a number of more digits than Python writes


def leaves(data: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in *data*: what holds it, and its key or index there."""
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    for key, inner in items:
        yield data, key
        yield from leaves(inner)


# -- forms ------------------------------------------------------------------------------------------------


def in_form(told: bytes, chance: random.Random) -> bytes:
    pairs = parse_qsl(told.decode("utf-8", "replace"), keep_blank_values=True)
    if not pairs:
        return in_bytes(told, chance)
    at = chance.randrange(len(pairs))
    name, text = pairs[at]
    way = chance.random()
    if way < 0.1:
        del pairs[at]
    elif way < 0.2:
        pairs.insert(chance.randrange(len(pairs) + 1), (name, chance.choice(TEXTS)))
    elif way < 0.3:
        tail = chance.choice(("[]", "[0]", "[x][y]", "[" * 12, "]", "[①]", "[\x00]", "[" + "x" * 300 + "]", "%"))
        pairs[at] = (name + tail, text)
    elif way < 0.35:
        pairs[at] = (chance.choice(TEXTS)[:400], text)
    elif way < 0.7 and _is_json(text):
        pairs[at] = (name, in_json(text, chance))
    elif way < 0.7 and (inner := _of_base64(text)) is not None:
        pairs[at] = (name, base64.b64encode(in_json(inner, chance).encode("utf-8", "replace")).decode())
    else:
        pairs[at] = (name, str(chance.choice(TEXTS)))
    return urlencode(pairs, errors=chance.choice(("replace", "surrogatepass"))).encode()


def _is_json(text: str) -> bool:
    return text[:1] in ("{", "[")


def _of_base64(text: str) -> str | None:
    if len(text) < 40 or re.fullmatch("[A-Za-z0-9+/=]+", text) is None:
        return None
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return None


# -- lines ------------------------------------------------------------------------------------------------


def in_lines(told: bytes, chance: random.Random) -> bytes:
    """Lines of cells (queue_log, CDR, tables, headers of a protocol), one of them changed."""
    lines = told.split(b"\n")
    at = chance.randrange(len(lines))
    way = chance.random()
    if way < 0.1:
        del lines[at]
    elif way < 0.2:
        lines.insert(
            at, chance.choice(lines) if chance.random() < 0.5 else chance.choice(TEXTS).encode("utf-8", "replace")
        )
    else:
        lines[at] = _in_cells(lines[at], chance)
    return b"\n".join(lines)


def _in_cells(line: bytes, chance: random.Random) -> bytes:
    sign = max((b"|", b",", b";", b"\t", b": "), key=line.count)
    cells = line.split(sign)
    at = chance.randrange(len(cells))
    way = chance.random()
    new: Callable[[], bytes] = lambda: chance.choice(TEXTS).encode("utf-8", chance.choice(("replace", "surrogatepass")))  # noqa: E731
    if way < 0.1:
        del cells[at]
    elif way < 0.2:
        cells.insert(at, new())
    elif way < 0.25:
        cells[at] = b'"' + cells[at]
    elif way < 0.28:
        cells[at] = b"x" * 140_000
    else:
        cells[at] = new()
    return sign.join(cells)
