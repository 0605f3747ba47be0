"""A PostgreSQL that is broken from outside: its processes, and connections that do not go the daemon's way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from callkpi.database import embedded, store
from tests.stand_ins.daemon import children_of

#: Names that the campaign's own connections have in pg_stat_activity.
OWN = "faults"
#: What a connection of ours raises while the server is away or broken.
REFUSALS = store.FAILURES


class Postgres:
    """The server whose files are in *home*/postgres, whoever started it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "postgres"

    @property
    def dsn(self) -> str:
        return embedded.dsn(self.home)

    @property
    def socket(self) -> Path:
        """Not always below *home*: the path of a Unix socket can't be long."""
        directory = parse_qs(urlsplit(self.dsn).query)["host"][0]
        return Path(directory) / ".s.PGSQL.5432"

    @property
    def is_running(self) -> bool:
        return embedded.is_running(self.data)

    def pid(self) -> int | None:
        """The postmaster, None where none runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if self.is_running else None

    def family(self) -> list[int]:
        """The postmaster, which makes no more children once it stands, and its children."""
        pid = self.pid()
        return [pid, *children_of(pid)] if pid is not None else []

    def kill(self) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.is_running:
            time.sleep(0.02)

    def freeze(self) -> None:
        if (pid := self.pid()) is not None:
            os.kill(pid, signal.SIGSTOP)
        self._tell(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    async def start(self) -> None:
        """As the daemon starts its own. Raises embedded.EmbeddedError."""
        await asyncio.to_thread(embedded.start, self.home)

    async def insist(self, *statements: str, seconds: float = 60) -> None:
        """Have them done, also when the server is away, crowded or refuses for the moment."""
        deadline = time.monotonic() + seconds
        for statement in statements:
            while True:
                try:
                    async with self.connected() as connection:
                        await connection.execute(statement)
                    break
                except REFUSALS:
                    if time.monotonic() > deadline:
                        raise
                await asyncio.sleep(0.1)

    @contextlib.asynccontextmanager
    async def connected(self, *, seconds: float = 10) -> AsyncIterator[asyncpg.Connection]:
        """A connection that goes neither through the daemon nor through a proxy."""
        connection = await asyncpg.connect(
            self.dsn, timeout=seconds, command_timeout=seconds, server_settings={"application_name": OWN}
        )
        try:
            yield connection
        finally:
            connection.terminate()
