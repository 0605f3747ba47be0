"""A big delivery in parts, each of which is a delivery like it: small enough to be read between two other requests.

Only where the parts begin and end is looked for here, as far as is asked for: what is in them, their source reads. No
step looks at more than one payload, so a delivery of any size is read in steps of some milliseconds. What has no
visible end (JSON that was cut off, one payload of megabytes) is one part that says so, with all that is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

#: What is read at once.
PART_BYTES = 64 * 1024
PART_PAYLOADS = 500
#: One payload tells of one call or less. A longer one is kept and not read.
PAYLOAD_BYTES = 1024 * 1024

_SPACE = re.compile(rb"\s*")
#: What comes next in a list, outside of strings: within one of its payloads only what nests counts.
_BETWEEN = re.compile(rb'(?s)(?:[^"\[\]{},]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{},])')
_WITHIN = re.compile(rb'(?s)(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+([\[\]{}])')


@dataclass(frozen=True, slots=True)
class Part:
    """Some payloads of a delivery."""

    body: bytes
    payloads: int = 1
    broken: str = ""  #: why nobody can read it


class Parts(Protocol):
    """The parts of one delivery, one after the other."""

    def __iter__(self) -> Iterator[Part]: ...

    def __next__(self) -> Part: ...

    def rest(self) -> bytes:
        """What was not given yet, as one delivery; empty at the end."""
        ...


def of_json(body: bytes, most: int = PART_PAYLOADS) -> Parts:
    """Of JSON: an array by its elements, JSON Lines by lines. Anything else (also a form) is one payload."""
    begin = _begin(body)
    if body[begin : begin + 1] == b"[":
        return JsonList(body, begin + 1, most)
    return Lines(body, most) if _are_lines(body, begin) else Whole(body)


def _begin(body: bytes) -> int:
    found = _SPACE.match(body)
    return found.end() if found else 0


def _are_lines(body: bytes, begin: int) -> bool:
    """Whether it is JSON Lines rather than one object over several lines."""
    end = body.find(b"\n", begin, begin + PAYLOAD_BYTES)
    following = _SPACE.match(body, end).end() if end > 0 else len(body)  # type: ignore[union-attr]
    if body[begin : begin + 1] != b"{" or following == len(body):
        return False
    if body[following : following + 1] == b"{" and body[following - 1 : following] == b"\n":
        return True
    try:
        json.loads(body[begin:end])
    except (ValueError, RecursionError):
        return False
    return True


class Whole:
    """A delivery that is one payload."""

    def __init__(self, body: bytes) -> None:
        self._left: bytes = body

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        body, self._left = self._left, b""
        if not body:
            raise StopIteration
        return Part(body, broken=_too_long(len(body)))

    def rest(self) -> bytes:
        return self._left


def _too_long(size: int) -> str:
    return f"a payload of {size} bytes; at most {PAYLOAD_BYTES} are read" if size > PAYLOAD_BYTES else ""


class Lines:
    """A delivery in which a line is a payload."""

    def __init__(self, body: bytes, most: int = PART_PAYLOADS) -> None:
        self._body, self._most, self._at = body, most, 0

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        while self._at < len(self._body):
            begin, self._at = self._at, self._end()
            body = self._body[begin : self._at]
            if not body.isspace():
                return Part(body, body.count(b"\n") + (not body.endswith(b"\n")), _too_long(len(body)))
        raise StopIteration

    def _end(self) -> int:
        """Behind as many lines as fit, at least one."""
        end = self._at
        for _ in range(self._most):
            found = self._body.find(b"\n", end) + 1 or len(self._body)
            if found - self._at > PART_BYTES and end > self._at:
                break
            end = found
            if end == len(self._body):
                break
        return end

    def rest(self) -> bytes:
        return self._body[self._at :]


class JsonList:
    """A delivery that is one JSON array."""

    def __init__(self, body: bytes, at: int, most: int = PART_PAYLOADS) -> None:
        self._body, self._most = body, most
        self._at = at  #: where the next part begins
        self._open = True

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        if not self._open:
            return self._behind()
        begin = payload = self._at
        count = 0
        while True:
            end, mark = self._payload_end(payload)
            if not mark:
                if count:
                    return Part(self._given(begin, payload - 1, payload), count)
                return self._cut_off()
            count += 1
            if mark == b"]":
                self._open = False
                body = self._given(begin, end, end + 1)
                return Part(body, count) if body[1:-1].strip() else self._behind()
            payload = end + 1
            if count >= self._most or payload - begin >= PART_BYTES:
                return Part(self._given(begin, end, payload), count)

    def _payload_end(self, begin: int) -> tuple[int, bytes]:
        """Where the payload that begins there ends, and by what: ``,`` or ``]``; b"" where no end is in reach."""
        at, depth, limit = begin, 0, begin + PAYLOAD_BYTES
        while found := (_WITHIN if depth else _BETWEEN).match(self._body, at, limit):
            at, mark = found.end(), found[1]
            if mark in b"[{":
                depth += 1
            elif depth and mark != b",":
                depth -= 1
            elif mark in b",]":
                return at - 1, mark
            else:
                break
        return at, b""

    def _given(self, begin: int, end: int, following: int) -> bytes:
        self._at = following
        return b"[" + self._body[begin:end] + b"]"

    def _cut_off(self) -> Part:
        self._open = False
        left = self.rest()
        self._at = len(self._body)
        return Part(left, broken=_too_long(len(left)) or "JSON that does not end; it was cut off or is damaged")

    def _behind(self) -> Part:
        """What stands behind the array belongs to nothing."""
        left = self._body[self._at :].strip()
        self._at = len(self._body)
        if not left:
            raise StopIteration
        return Part(left, broken="something stands behind the end of the JSON array")

    def rest(self) -> bytes:
        left = self._body[self._at :]
        return b"[" + left if left.strip() and self._open else left
