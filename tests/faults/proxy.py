"""The network between the daemon and its database: a small TCP proxy that can be cut, silent or slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

CHUNK = 16 * 1024
#: A packet at a time on a bad line.
SLOW_CHUNK = 2 * 1024


class Proxy:
    """Forwards connections of a local port to a Unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._refuses = False
        self._delay = 0.0

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=CHUNK)

    async def close(self) -> None:
        self.heal()
        if self._server is not None:
            self._server.close()
        self._reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what can be wrong with it -------------------------------------------------------------------
    def cut(self) -> None:
        """Every connection is reset, and so is each new one."""
        self._refuses = True
        self._reset_all()

    def swallow(self) -> None:
        """Nothing gets through any more, and nobody is told: what was sent waits."""
        self._open.clear()

    def slow(self, seconds: float) -> None:
        """Every packet takes *seconds*."""
        self._delay = seconds

    def heal(self) -> None:
        self._refuses = False
        self._delay = 0.0
        self._open.set()

    # -- forwarding ----------------------------------------------------------------------------------
    def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._open.wait()
                server_reader, server_writer = await asyncio.open_unix_connection(str(self._target))
                self._writers.add(server_writer)
                try:
                    await asyncio.gather(self._pump(reader, server_writer), self._pump(server_reader, writer))
                finally:
                    self._writers.discard(server_writer)
                    server_writer.close()
        finally:
            self._writers.discard(writer)
            writer.close()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(SLOW_CHUNK if self._delay else CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close as a router that lost its memory does: the other side hears RST."""
    own = writer.get_extra_info("socket")
    if own is not None and own.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
