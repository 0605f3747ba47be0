"""Room for requests under way: so many, and so many bytes, for each sender; one who sends much takes no other's."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator


class NoRoom(Exception):
    """A sender has as much under way as it may: it should send again in a moment."""


class Room:
    """What is under way in one process, by sender."""

    def __init__(self, requests: int, size: int) -> None:
        """*requests* and bytes that one sender may have under way."""
        self._most_requests, self._most_bytes = requests, size
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @contextlib.contextmanager
    def place(self, sender: str) -> Iterator[Place]:
        """A place for one request, for as long as the block lasts. Raises NoRoom."""
        if self._requests[sender] >= self._most_requests:
            raise NoRoom(f"{self._most_requests} requests are under way")
        self._requests[sender] += 1
        place = Place(self, sender)
        try:
            yield place
        finally:
            self._requests[sender] -= 1
            self._bytes[sender] -= place.size
            if not self._requests[sender]:
                del self._requests[sender], self._bytes[sender]

    def take(self, sender: str, size: int) -> None:
        """Room for some more bytes of a request that has its place. Raises NoRoom."""
        if self._bytes[sender] + size > self._most_bytes:
            raise NoRoom(f"{self._bytes[sender]} bytes are under way")
        self._bytes[sender] += size


class Place:
    """The place of one request; what it holds is freed with it."""

    def __init__(self, room: Room, sender: str) -> None:
        self._room, self._sender = room, sender
        self.size = 0

    def grow(self, size: int) -> None:
        """Raises NoRoom."""
        self._room.take(self._sender, size)
        self.size += size
