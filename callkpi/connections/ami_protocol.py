"""The wire of Asterisk's manager interface: messages in and out, over a socket that may be slow, cut or foreign.

A message is lines ``Header: value`` up to an empty one. Nothing in one ends the connection: a line that is too long is
cut, bytes that are no UTF-8 are replaced, a line without a colon is dropped, and a header that comes again is ignored.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from callkpi.connections.keeping import Trouble
from callkpi.health import Reason

Message = dict[str, str]

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 15.0
#: Silence after which the other side is asked whether it is there, and how long it may take to say so.
IDLE_SECONDS, PONG_SECONDS = 20.0, 15.0
LINE_BYTES, MESSAGE_LINES = 16 * 1024, 1000
_READ_BYTES = 64 * 1024
_BANNER = "Asterisk Call Manager"


class Splitter:
    """Bytes in any pieces to messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_cut = False  #: the line that is being read is too long already
        self._message: Message = {}

    def feed(self, data: bytes) -> Iterable[Message]:
        """The messages that *data* completes."""
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._is_cut:
                self._is_cut = False
                continue
            yield from self._line(line)
        if len(rest) > LINE_BYTES:
            if not self._is_cut:
                yield from self._line(rest)
            self._is_cut, rest = True, b""
        self._rest = rest

    def _line(self, raw: bytes) -> Iterable[Message]:
        line = raw[:LINE_BYTES].rstrip(b"\r").decode("utf-8", "replace").replace("\x00", "")
        if line:
            header, colon, value = line.partition(":")
            if colon and len(self._message) < MESSAGE_LINES:
                self._message.setdefault(header.strip(), value.strip())
        elif self._message:
            message, self._message = self._message, {}
            yield message


def encode(action: Mapping[str, str]) -> bytes:
    """An action as it is sent; what would end a line is taken out of its values."""
    lines = [f"{header}: {''.join(c for c in value if c.isprintable())}\r\n" for header, value in action.items()]
    return ("".join(lines) + "\r\n").encode()


def key_of(challenge: str, secret: str) -> str:
    """The answer to a challenge of AuthType MD5."""
    return hashlib.md5((challenge + secret).encode(), usedforsecurity=False).hexdigest()


class Wire:
    """One connection. :meth:`read` is called by one task only; :meth:`send` by any."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[], None]) -> None:
        self._reader, self._writer, self._heard = reader, writer, heard
        self._splitter = Splitter()
        self._ready: deque[Message] = deque()
        self._asked_at = 0.0
        self.read_at = 0.0  #: Unix time at which the last message came

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None, heard: Callable[[], None]) -> Wire:
        """Connect and read the banner. Raises Trouble."""
        where = f"{host}:{port}"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        except TimeoutError:
            raise Trouble(Reason.TIMEOUT, f"{where} does not answer") from None
        except ssl.SSLError as error:
            raise Trouble(Reason.TLS, f"{where}: {error.reason or error}") from None
        except OSError as error:
            raise Trouble(Reason.UNREACHABLE, f"{where}: {error.strerror or error}") from None
        wire = cls(reader, writer, heard)
        try:
            await wire._banner(where)
        except BaseException:
            wire.close()
            raise
        return wire

    async def _banner(self, where: str) -> None:
        told = b""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while b"\n" not in told and len(told) < 1024:
                    piece = await self._reader.read(256)
                    if not piece:
                        break
                    told += piece
        except TimeoutError:
            raise Trouble(Reason.TIMEOUT, f"{where} is silent") from None
        except OSError as error:
            raise Trouble(Reason.CLOSED, f"{where}: {error.strerror or error}") from None
        line, _, rest = told.partition(b"\n")
        if not told:
            raise Trouble(Reason.CLOSED, f"{where} closed at once; manager.conf may not permit this address")
        if not line.startswith(_BANNER.encode()):
            raise Trouble(Reason.PROTOCOL, f"{where} is no manager interface of Asterisk (port 5038, TLS 5039)")
        self._ready.extend(self._splitter.feed(rest))

    async def send(self, action: Mapping[str, str]) -> None:
        """Raises Trouble."""
        try:
            self._writer.write(encode(action))
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (TimeoutError, OSError) as error:
            raise Trouble(Reason.CLOSED, f"can't send: {type(error).__name__}") from None

    async def read(self) -> Message:
        """The next message. Asks after silence whether anybody is there. Raises Trouble."""
        while not self._ready:
            patience = PONG_SECONDS if self._asked_at else IDLE_SECONDS
            try:
                async with asyncio.timeout(patience):
                    data = await self._reader.read(_READ_BYTES)
            except TimeoutError:
                if self._asked_at:
                    silence = time.monotonic() - self._asked_at
                    raise Trouble(Reason.TIMEOUT, f"no answer to a ping within {silence:.0f} s") from None
                self._asked_at = time.monotonic()
                await self.send({"Action": "Ping"})
                continue
            except OSError as error:
                raise Trouble(Reason.CLOSED, error.strerror or type(error).__name__) from None
            if not data:
                raise Trouble(Reason.CLOSED, "Asterisk closed the connection")
            self._asked_at, self.read_at = 0.0, time.time()
            self._heard()
            self._ready.extend(self._splitter.feed(data))
        return self._ready.popleft()

    def close(self) -> None:
        self._writer.close()
