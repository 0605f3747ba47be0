"""The event socket's protocol: frames of headers and a body, an answer for each command, events in between.

Checked against mod_event_socket.c and its documentation: a frame is headers up to an empty line, and ``Content-Length``
bytes behind it; ``auth/request``, ``command/reply`` with ``Reply-Text``, ``api/response``, ``text/event-plain`` (values
percent-encoded; an event's own body behind a ``Content-Length`` of its own), ``text/event-json``,
``text/disconnect-notice``, ``text/rude-rejection``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from callkpi.connections.keeping import Trouble
from callkpi.health import Reason
from callkpi.sources.base import whole

CONNECT_SECONDS = ANSWER_SECONDS = 15.0
#: FreeSWITCH sends HEARTBEAT every 20 seconds; after this much silence it is asked.
SILENT_SECONDS = 45.0
MAX_HEADERS, MAX_BODY = 256 * 1024, 64 * 1024 * 1024
_GOODBYE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the event socket."""

    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def kind(self) -> str:
        return self.headers.get("Content-Type", "")

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def event(self) -> dict[str, str]:
        """The headers of the event in it. Raises Trouble."""
        if self.kind != "text/event-json":
            return headers_of(self.text.partition("\n\n")[0], decode=True)
        try:
            told = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise Trouble(Reason.PROTOCOL, "an event that is no JSON") from None
        return {str(k): str(v) for k, v in told.items() if v is not None} if isinstance(told, dict) else {}


def headers_of(text: str, *, decode: bool = False) -> dict[str, str]:
    """``Name: value`` lines; the first of two with one name counts."""
    result: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            value = value.strip()
            result.setdefault(name.strip(), unquote(value) if decode and "%" in value else value)
    return result


class Wire:
    """A connection: frames come out whole, however they are cut on the way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Callable[[], None]) -> None:
        self._reader, self._writer, self._heard = reader, writer, heard
        self.read_at = time.monotonic()

    @classmethod
    async def open(cls, host: str, port: int, heard: Callable[[], None]) -> Wire:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return cls(*await asyncio.open_connection(host, port, limit=MAX_HEADERS), heard)
        except TimeoutError:
            raise Trouble(Reason.TIMEOUT, f"no connection within {CONNECT_SECONDS:.0f} s") from None
        except OSError as error:
            raise Trouble(Reason.UNREACHABLE, f"{type(error).__name__}: {error.strerror or 'no such host'}") from None

    async def read(self) -> Frame:
        """The next frame. Raises Trouble."""
        try:
            head = await self._reader.readuntil(b"\n\n")
            headers = headers_of(head.decode("utf-8", "replace").lstrip("\n"))
            length = whole(headers.get("Content-Length", "0"))
            if length is None or length > MAX_BODY:
                raise Trouble(Reason.PROTOCOL, "a frame with an impossible Content-Length")
            body = await self._reader.readexactly(length) if length else b""
        except asyncio.IncompleteReadError:
            raise Trouble(Reason.CLOSED, "FreeSWITCH closed the connection") from None
        except asyncio.LimitOverrunError:
            raise Trouble(Reason.PROTOCOL, "a frame without an end") from None
        except OSError as error:
            raise Trouble(Reason.CLOSED, f"the connection broke: {type(error).__name__}") from None
        self.read_at = time.monotonic()
        self._heard()
        return Frame(headers, body)

    async def send(self, command: str) -> None:
        try:
            self._writer.write(f"{command}\n\n".encode())
            await self._writer.drain()
        except OSError as error:
            raise Trouble(Reason.CLOSED, f"the connection broke: {type(error).__name__}") from None

    def close(self) -> None:
        self._writer.close()


class Session:
    """A connection on which commands are answered in their order, and events are given on in theirs."""

    def __init__(self, wire: Wire, on_event: Callable[[dict[str, str]], Any]) -> None:
        """*on_event* is a coroutine function; while it waits nothing more is read."""
        self._wire, self._on_event = wire, on_event
        self._asked: deque[asyncio.Future[Frame]] = deque()
        self._greeted = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Session:
        self._pump = asyncio.create_task(self._read(), name="esl pump")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._pump is not None
        if not self._pump.done():
            with contextlib.suppress(Trouble, TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._wire.send("exit")
        self._pump.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._pump
        self._wire.close()

    async def login(self, password: str) -> None:
        """Raises Trouble, never with the password."""
        await self._wait(asyncio.create_task(self._greeted.wait()), "FreeSWITCH says nothing")
        answer = await self.ask(f"auth {password}")
        if not answer.headers.get("Reply-Text", "").startswith("+OK"):
            raise Trouble(Reason.REFUSED, "the password is wrong: see event_socket.conf.xml")

    async def ask(self, command: str) -> Frame:
        """Send a command; its answer. Raises Trouble."""
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        await self._wire.send(command)
        frame: Frame = await self._wait(answer, f"no answer to {command.split()[0]!r}")
        return frame

    async def api(self, command: str) -> str:
        """What an API command says. Raises Trouble."""
        return (await self.ask(f"api {command}")).text

    async def lasts(self) -> None:
        """Until it ends: raises the Trouble. After a silence it is asked whether it is there."""
        assert self._pump is not None
        while True:
            await asyncio.wait({self._pump}, timeout=max(SILENT_SECONDS / 3, 0.05))
            if self._pump.done():
                self._pump.result()
                return
            if time.monotonic() - self._wire.read_at >= SILENT_SECONDS:
                await self.api("strepoch")

    async def _wait(self, answer: asyncio.Future[Any], problem: str) -> Any:
        assert self._pump is not None
        try:
            await asyncio.wait({answer, self._pump}, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            if self._pump.done():
                self._pump.result()
            raise Trouble(Reason.TIMEOUT, f"{problem} within {ANSWER_SECONDS:.0f} s")
        finally:
            answer.cancel()

    async def _read(self) -> None:
        while True:
            frame = await self._wire.read()
            if frame.kind == "auth/request":
                self._greeted.set()
            elif frame.kind in ("command/reply", "api/response"):
                if self._asked and not (answer := self._asked.popleft()).done():
                    answer.set_result(frame)
            elif frame.kind in ("text/event-plain", "text/event-json"):
                await self._on_event(frame.event())
            elif frame.kind == "text/rude-rejection":
                raise Trouble(Reason.REFUSED, "this address may not connect: see apply-inbound-acl, listen-ip")
            elif frame.kind == "text/disconnect-notice" and "linger" not in frame.headers.get(
                "Content-Disposition", ""
            ):
                raise Trouble(Reason.CLOSED, "FreeSWITCH says good-bye")
