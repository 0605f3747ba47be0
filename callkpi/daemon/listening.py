"""The sockets that web processes accept on. The parent opens them, so that they outlive a process that is replaced.

Each web process has sockets of its own, among which the kernel spreads who connects. Whoever connects while a process
is replaced waits in its queue for the next one, and is not turned away.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

BACKLOG = 1024


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets of every address that *host* means, for one web process. Raises OSError."""
    found: list[socket.socket] = []
    try:
        for family, kind, proto, _, address in _addresses(host, port):
            opened = socket.socket(family, kind, proto)
            found.append(opened)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setblocking(False)
            opened.bind(address)
            opened.listen(BACKLOG)
    except OSError:
        close(found)
        raise
    return found


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    told = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(told))  # type: ignore[arg-type]


def close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.close()


def inherited(numbers: Sequence[int]) -> list[socket.socket]:
    """The sockets that a web process was started with, by their file numbers."""
    return [socket.socket(fileno=number) for number in numbers]
