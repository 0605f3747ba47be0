"""What comes while PostgreSQL is away: deliveries on local disk, bounded, taken in order when it is back.

Bitrix24 sends a webhook once; without this each one that comes while the database restarts would be lost. SQLite of
the standard library, in the data directory, one file for all web processes. A delivery that is in it is durable and is
acknowledged like any other. It leaves it when the journal has it: a crash between the two repeats it, which the journal
takes for what it is. The sender was authenticated before; the secret that the body held is cut out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TypeVar

import structlog

from callkpi import config
from callkpi.calls.model import from_unix
from callkpi.database import store
from callkpi.database.locks import open_lock

log = structlog.get_logger()

FILE = "spool.sqlite3"
#: What is read at a time for the journal: so much that others who come to it meanwhile don't wait long behind it.
PAGE_ROWS, PAGE_BYTES = 200, 512 * 1024
#: How long one process waits for another that writes.
BUSY_SECONDS = 5.0

T = TypeVar("T")


class SpoolFull(Exception):
    """The spool holds as much as it may, or its disk does: the delivery was not kept."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One delivery as it came, whose sender was authentic."""

    source: str
    media_type: str
    received_at: datetime
    body: bytes
    number: int = 0  #: order of arrival; given by the spool


@dataclass(frozen=True, slots=True)
class Size:
    deliveries: int
    used_bytes: int
    limit_bytes: int


@dataclass(slots=True)
class _Waiter:
    item: Spooled
    done: asyncio.Future[None]


class Spool:
    """A bounded file of deliveries. One thread does all of its I/O; who waits together shares one commit."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """The file is opened or made when it is first needed: its disk may be full while the daemon starts."""
        self._directory, self._limit = directory, limit_bytes
        self._file: _File | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._waiting: list[_Waiter] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, item: Spooled) -> None:
        """Return when *item* is on disk. Raises SpoolFull."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiter(item, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._run(self._insert, [waiter.item for waiter in group])
            except (SpoolFull, OSError) as error:
                if not isinstance(error, SpoolFull):
                    log.error("spool.failed", error=str(error)[:200])
                for waiter in group:
                    if not waiter.done.done():
                        waiter.done.set_exception(SpoolFull(str(error)))
            else:
                for waiter in group:
                    if not waiter.done.done():
                        waiter.done.set_result(None)

    def _insert(self, items: Sequence[Spooled]) -> None:
        used = self._number("used")
        if used + sum(len(item.body) for item in items) > self._limit:
            raise SpoolFull(f"{used} of {self._limit} bytes are used")
        rows = [(item.source, item.media_type, item.received_at.timestamp(), item.body) for item in items]
        with self._transaction() as database:
            database.executemany(_sql("put"), rows)

    @property
    def _database(self) -> sqlite3.Connection:
        return self._opened().database

    def _opened(self) -> _File:
        """Raises OSError."""
        if self._file is None:
            self._file = _open(self._directory)
        return self._file

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            # A full disk may be told only here.
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    async def drain(self, take: Callable[[Spooled], Awaitable[bool]]) -> int:
        """Give every delivery to *take*, oldest first and a page at a time; forget those that it has taken.

        Returns how many. One process drains at a time: another one finds 0. What *take* raises ends the drain, and
        leaves what it was raised for where it is.
        """
        lock = (await self._run(self._opened)).lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        try:
            return await self._drain(take)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)

    async def _drain(self, take: Callable[[Spooled], Awaitable[bool]]) -> int:
        taken, last = 0, 0
        while page := await self._run(self._page, last):
            last = page[-1].number
            answers = await asyncio.gather(*(take(item) for item in page), return_exceptions=True)
            done = [item.number for item, answer in zip(page, answers, strict=True) if answer is True]
            await self._run(self._forget, done)
            taken += len(done)
            if failed := [answer for answer in answers if isinstance(answer, BaseException)]:
                raise failed[0]
        return taken

    def _page(self, after: int) -> list[Spooled]:
        rows = self._database.execute(_sql("page"), (after, PAGE_ROWS, PAGE_BYTES)).fetchall()
        return [Spooled(source, media, from_unix(at), body, number) for number, source, media, at, body in rows]

    def _forget(self, numbers: Sequence[int]) -> None:
        with self._transaction() as database:
            database.executemany(_sql("forget"), [(number,) for number in numbers])

    async def size(self) -> Size:
        """How much waits in it. The same from every process. Raises OSError where its disk does not let it be read."""
        return await self._run(self._size)

    async def oldest(self, sources: Collection[str]) -> datetime | None:
        """Since when deliveries of these sources wait; None where none does. Those of sources that are gone stay."""
        try:
            return await self._run(self._oldest, sources)
        except sqlite3.Error as error:
            log.error("spool.failed", error=str(error)[:200])
            return None

    def _oldest(self, sources: Collection[str]) -> datetime | None:
        rows = self._database.execute(_sql("oldest"), (PAGE_ROWS,)).fetchall()
        return next((from_unix(at) for source, at in rows if source in sources), None)

    def _size(self) -> Size:
        return Size(self._number("count"), self._number("used"), self._limit)

    def _number(self, name: str) -> int:
        return int(self._database.execute(_sql(name)).fetchone()[0])

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.Error as error:
            raise _disk_error(self._directory / FILE, error) from None

    def close(self) -> None:
        self._thread.shutdown()
        if self._file is not None:
            self._file.close()


@dataclass(frozen=True, slots=True)
class _File:
    database: sqlite3.Connection
    lock: IO[bytes]  #: held by the process that drains

    def close(self) -> None:
        self.database.close()
        self.lock.close()


def _open(directory: Path) -> _File:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / FILE
    path.touch(mode=0o600)
    lock = open_lock(directory / f"{FILE}.lock")
    try:
        database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        database.executescript(_sql("schema"))
    except sqlite3.Error as error:
        lock.close()
        raise _disk_error(path, error) from None
    return _File(database, lock)


def _disk_error(path: Path, error: sqlite3.Error) -> OSError:
    """SQLite's error as one of the system. It can't open what was made a moment ago only where a disk is full."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return OSError(errno.ENOSPC, f"{error}; is its disk full?", str(path))
    return OSError(f"{path}: {error}")


def _sql(name: str) -> str:
    return store.query("spool", name)


def open_spool(settings: config.Settings) -> Spool | None:
    """The spool in the data directory, or None where the settings want none."""
    limit = settings.spool.limit_mib * 1024 * 1024
    return Spool(settings.data_dir, limit) if limit else None


def check_place(settings: config.Settings) -> None:
    """Raise OSError where a spool is wanted that can never be kept. A disk that is full now is none of that."""
    if not settings.spool.limit_mib:
        return
    try:
        _open(settings.data_dir).close()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.error("spool.not_opened", error=str(error)[:200])
