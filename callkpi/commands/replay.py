"""``callkpi replay``: send recorded traffic to a daemon's door, at its own pace or without waiting.

Reads JSON Lines, Asterisk's queue_log, 3CX's CDR lines and tables of calls (``.csv``), plain or gzipped, line by line:
memory doesn't grow with the file. Each request with rows of a table begins with the table's first line.
Requests go one after the other in the file's order. What the daemon did not acknowledge is sent again; that is
harmless, because a delivery repeated is the same events.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import aiohttp

from callkpi import config
from callkpi.commands.common import UsageError, load, positive, progress, run, takes_config

EXAMPLE = "callkpi replay events.jsonl.gz --source pbx --url http://127.0.0.1:8090 --token SECRET --speed max"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, help="JSON Lines, an Asterisk queue_log, or a table of calls (.csv); .gz too"
    )
    parser.add_argument("--source", required=True, help="name of the source in callkpi.toml")
    parser.add_argument("--url", default="http://127.0.0.1:8090", help="address of the daemon")
    parser.add_argument("--speed", default="max", help="1 as recorded, 60 sixty times faster, max without waiting")
    parser.add_argument("--token", default="", help="the source's token; else read from the configuration")
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    speed = None if arguments.speed == "max" else positive(arguments.speed, "--speed", ", or max")
    if not arguments.file.is_file():
        raise UsageError(f"{arguments.file}: no such file")
    token = arguments.token or _token_of(arguments)
    target = Target(url=arguments.url.rstrip("/"), source=arguments.source, token=token)
    try:
        result = run(replay(arguments.file, target, speed, progress("sent")))
    except ReplayError as error:
        raise UsageError(str(error)) from None
    text = f"\nSent in {result.requests} requests: {result.events} events, {result.rejected} rejected."
    print(text, file=sys.stderr)


def _token_of(arguments: argparse.Namespace) -> str:
    try:
        source = load(arguments.config).sources.get(arguments.source)
    except config.ConfigError:
        return ""
    return source.token if source else ""


CHUNK_LINES = 500
CHUNK_BYTES = 256 * 1024
LONGEST_LINE = 1024 * 1024
#: Lines whose times are closer than this on our clock share a request.
GRAIN_SECONDS = 0.05
#: How long a daemon that restarts is waited for.
PATIENCE_SECONDS = 60.0

_RETRIED = {408, 429}
_QUEUE_LOG = re.compile(rb"\d{9,11}\|")
#: Lines of 3CX's CDR service: many fields between commas.
_CDR = re.compile(rb"(Call )?[^,{\n]*(,[^,\n]*){5,}")
_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=5)


class ReplayError(Exception):
    """The file or the daemon can't be used; the text says why, in the daemon's words where they are its."""


@dataclass(frozen=True, slots=True)
class Target:
    """The door to send to."""

    url: str  #: of the daemon, e.g. http://127.0.0.1:8090
    source: str
    token: str = ""

    @property
    def door(self) -> str:
        return f"{self.url.rstrip('/')}/hooks/{self.source}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True, slots=True)
class Result:
    """What was sent, as the daemon counted it."""

    requests: int = 0
    events: int = 0
    rejected: int = 0

    def plus(self, answer: Mapping[str, Any]) -> Result:
        return Result(
            self.requests + 1,
            self.events + int(answer["events"]),
            self.rejected + int(answer.get("rejected") or 0),
        )


async def replay(path: Path, target: Target, speed: float | None, progress: Callable[[int, int], None]) -> Result:
    """Send the file to *target*, *speed* times as fast as recorded; None: without waiting. A table is history: at once.

    *progress* gets bytes of the file done and in all. Raises ReplayError.
    """
    if speed is not None and speed <= 0:
        raise ValueError(f"speed must be above 0, not {speed}")
    result = Result()
    clock = asyncio.get_running_loop().time
    with _Recording(path) as recording:
        pace = _Pace(None if recording.is_table else speed, recording.is_queue_log, clock())
        chunk = _Chunk()
        async with session() as http:

            async def send() -> None:
                nonlocal result, chunk
                if chunk.lines:
                    body = recording.head + b"".join(chunk.lines)
                    result = result.plus(await post(http, target, body, recording.content_type))
                chunk = _Chunk()
                progress(recording.done, recording.total)

            for line in recording:
                due = pace.due(line)
                if due - clock() > GRAIN_SECONDS:
                    await send()
                    await asyncio.sleep(due - clock())
                elif not chunk.has_room_for(line):
                    await send()
                chunk.add(line)
            await send()
    return result


# -- reading ---------------------------------------------------------------------------------------------


class _Recording:
    """The lines of a file, read one at a time; of a table its rows, which may have line breaks in quotes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_table = path.name.lower().removesuffix(".gz").endswith(".csv")
        self.head = b""  #: the first line of a table

    def __enter__(self) -> _Recording:
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise ReplayError(f"{self._path}: can't be read: {error.strerror}") from None
        self.total = self._path.stat().st_size
        zipped = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        self._text = cast(IO[bytes], gzip.GzipFile(fileobj=self._file)) if zipped else self._file
        self._number = 0
        try:
            self._first = self._next_line()
            self.is_queue_log = not self.is_table and _QUEUE_LOG.match(self._first) is not None
            self.is_text = self.is_queue_log or (not self.is_table and _CDR.match(self._first) is not None)
            if self.is_table:
                self.head, self._first = self._first, self._next_line()
            elif self._first and not self.is_text and not self._first.startswith(b"{"):
                raise ReplayError(
                    f"{self._path}: no JSON Lines (an object in each line), no queue_log, no CDR of 3CX and no .csv"
                )
        except ReplayError:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def content_type(self) -> str:
        if self.is_table:
            return "text/csv"
        return "text/plain" if self.is_text else "application/x-ndjson"

    @property
    def done(self) -> int:
        """How far the file has been read, in its own (maybe compressed) bytes."""
        return self._file.tell()

    def __iter__(self) -> Iterator[bytes]:
        line = self._first
        while line:
            yield line
            line = self._next_line()

    def _next_line(self) -> bytes:
        """The next line that is not empty, with one newline at its end; b"" at the end of the file."""
        while True:
            line = self._read()
            if self.is_table:
                while line.count(b'"') % 2 and (more := self._read()):
                    line += more
                    self._check_length(line)
            if line.strip():
                return (line.rstrip(b"\r\n") if self.is_table else line.strip()) + b"\n"
            if not line:
                return b""

    def _read(self) -> bytes:
        self._number += 1
        try:
            line = self._text.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ReplayError(f"{self._path}: broken near line {self._number}: {error}") from None
        if self._number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        self._check_length(line)
        return line

    def _check_length(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE:
            raise ReplayError(f"{self._path}: line {self._number} is longer than {LONGEST_LINE} bytes")


@dataclass(slots=True)
class _Chunk:
    """Lines that go in one request."""

    lines: list[bytes] = field(default_factory=list)
    size: int = 0

    def has_room_for(self, line: bytes) -> bool:
        return not self.lines or (len(self.lines) < CHUNK_LINES and self.size + len(line) <= CHUNK_BYTES)

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line)


class _Pace:
    """When each line is due on our clock."""

    def __init__(self, speed: float | None, is_queue_log: bool, now: float) -> None:
        self._speed, self._is_queue_log = speed, is_queue_log
        self._began = self._due = now
        self._first: float | None = None

    def due(self, line: bytes) -> float:
        """A line without a time is due with the line before it."""
        if self._speed is None:
            return self._due
        at = recorded_time(line, is_queue_log=self._is_queue_log)
        if at is not None:
            self._first = at if self._first is None else self._first
            self._due = self._began + (at - self._first) / self._speed
        return self._due


def recorded_time(line: bytes, *, is_queue_log: bool) -> float | None:
    """The line's own time in Unix seconds, None where it has none."""
    if is_queue_log:
        return _unix(line.split(b"|", 1)[0])
    try:
        item = json.loads(line)
    except ValueError:
        return None
    if not isinstance(item, dict):
        return None
    times = (_unix(item[key]) for key in ("Timestamp", "received_at", "at", "ts") if key in item)
    return next((at for at in times if at is not None), None)


def _unix(value: Any) -> float | None:
    try:
        at = float(value)
    except (TypeError, ValueError):
        return _iso(value)
    # Anything else is no time of a call; infinities and NaN would stop the clock.
    return at if 0 < at < 1e11 else None


def _iso(value: Any) -> float | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at.timestamp() if at.tzinfo else None


# -- sending ---------------------------------------------------------------------------------------------


def session() -> aiohttp.ClientSession:
    """A client with time limits that suit :func:`post`."""
    return aiohttp.ClientSession(timeout=_TIMEOUT)


async def post(
    http: aiohttp.ClientSession,
    target: Target,
    body: bytes,
    content_type: str,
    patience: float = PATIENCE_SECONDS,
) -> Mapping[str, Any]:
    """Deliver *body*, again and again for *patience* seconds while the daemon is away or overloaded.

    Returns its answer. Raises ReplayError when it refuses, or when the patience is at its end.
    """
    deadline = time.monotonic() + patience
    pause = 0.25
    while True:
        trouble, asked = "", 0.0
        try:
            headers = {**target.headers, "Content-Type": content_type}
            async with http.post(target.door, data=body, headers=headers, allow_redirects=False) as response:
                text = (await response.read()).decode("utf-8", "replace")
                if response.status == 200:
                    return _answer(target, text)
                if response.status == 422:
                    # Understood as nothing, and kept by the daemon for a replay after a fix: the recording goes on.
                    return {
                        "events": 0,
                        "ignored": 0,
                        "rejected": len(body.splitlines()) - (content_type == "text/csv"),
                    }
                trouble = f"{target.door} answered {response.status}: {_words(text)}"
                if response.status < 500 and response.status not in _RETRIED:
                    raise ReplayError(trouble)
                asked = _seconds(response.headers.get("Retry-After", ""))
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise ReplayError(f"{target.url!r} is no address; write e.g. http://127.0.0.1:8090") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            trouble = f"{target.door} can't be reached: {error or type(error).__name__}"
        # Jitter, so that many senders don't come back to a restarted daemon at once.
        wait = max(asked, pause * random.uniform(0.5, 1.0))
        if time.monotonic() + wait > deadline:
            raise ReplayError(f"{trouble} (given up after {patience:g} s)")
        await asyncio.sleep(wait)
        pause = min(pause * 2, 5.0)


def _answer(target: Target, text: str) -> Mapping[str, Any]:
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("events"), int):
        raise ReplayError(f"{target.door} answered 200, but not as callkpi does: {_words(text)}")
    return answer


def _words(text: str) -> str:
    """What a human should read of an answer: title and detail of a problem, else its beginning."""
    try:
        problem = json.loads(text)
        parts = [problem["title"], *([problem["detail"]] if problem.get("detail") else [])]
        return ": ".join(map(str, parts))[:1000]
    except (ValueError, TypeError, KeyError, AttributeError):
        return text.strip()[:300] or "(nothing)"


def _seconds(text: str) -> float:
    return float(text) if text.strip().isdigit() else 0.0
