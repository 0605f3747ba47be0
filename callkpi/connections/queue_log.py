"""Asterisk's queue_log, followed as a file: see :class:`callkpi.connections.keeping.Link`.

The file itself is what is safe: a line is read again until the journal has it, and the position is written after that.
So nothing needs a spool, and a crash repeats lines, which the journal takes for what they are.

Lines that are older than the first start are history: in every report, and not in the counters for Prometheus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import structlog

from callkpi.calls.model import from_unix
from callkpi.connections.following import Follower, Piece, Position
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Status, Trouble
from callkpi.connections.office import Office
from callkpi.database import store
from callkpi.health import Reason
from callkpi.ingest.journal import JournalUnavailable, Unstorable
from callkpi.sources.asterisk.queue_log import text_of
from callkpi.sources.asterisk.settings import AsteriskSource

log = structlog.get_logger()

POLL_SECONDS = 0.5
#: A file that is away for longer than a rotation takes is not there.
ABSENT_SECONDS = 10.0
#: In one group for the journal.
GROUP_LINES = 500
PATIENCE = timedelta(minutes=15)
_NAME = "queue_log"
_FAILURES = (*store.FAILURES, JournalUnavailable)


class QueueLogLink:
    """Follows a source's queue_log."""

    def __init__(self, office: Office, name: str, source: AsteriskSource) -> None:
        self._office, self._name = office, name
        self._path = Path(source.queue_log)
        self._counted_from = datetime.max.replace(tzinfo=UTC)

    async def hold(self, intake: Intake, status: Status) -> None:
        follower = Follower(self._path, await self._remembered())
        absent_seconds = 0.0
        gaps = 0
        try:
            while True:
                piece = await self._read(follower)
                if isinstance(piece, Trouble):
                    absent_seconds += POLL_SECONDS
                    if absent_seconds > ABSENT_SECONDS or not status.connected:
                        raise piece
                    await asyncio.sleep(POLL_SECONDS)
                    continue
                absent_seconds = 0.0
                if not status.connected:
                    status.up(reads_on=True)
                status.heard()
                if follower.gaps > gaps:
                    gaps = follower.gaps
                    log.error("queue_log.gap", source=self._name, path=str(self._path),
                              why="the file was rotated, and where to is not known: the rest of it was not read",
                              write="keep rotated files beside it, by name queue_log.1 or queue_log-DATE")  # fmt: skip
                if piece is None:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    await self._keep(piece)
                    follower.advance(piece.position)
        finally:
            follower.close()

    async def _read(self, follower: Follower) -> Piece | Trouble | None:
        try:
            return await asyncio.to_thread(follower.read)
        except FileNotFoundError:
            return Trouble(Reason.UNREACHABLE, f"{self._path}: there is no such file")
        except OSError as error:
            return Trouble(Reason.UNREACHABLE, f"{self._path}: {error.strerror or error}")

    async def _remembered(self) -> Position | None:
        """Where an earlier run was. Waits for the database."""
        while True:
            try:
                row = await self._office.pool.fetchval(store.query("connections", "position"), self._name, _NAME)
                break
            except store.FAILURES:
                await asyncio.sleep(POLL_SECONDS)
        told: dict[str, Any] = orjson.loads(row) if row else {}
        if told.get("path") != str(self._path):
            self._counted_from = datetime.now(UTC) - PATIENCE
            return None
        self._counted_from = from_unix(told["since"])
        return Position.from_json(told)

    async def _keep(self, piece: Piece) -> None:
        """Return when the lines are durable and it is remembered."""
        lines = [text_of(line) for line in piece.lines if line.strip()]
        told = {**piece.position.to_json(), "path": str(self._path), "since": self._counted_from.timestamp()}
        while True:
            try:
                for begin in range(0, len(lines), GROUP_LINES):
                    await self._journal(lines[begin : begin + GROUP_LINES])
                position = orjson.dumps(told).decode()
                await self._office.pool.execute(
                    store.query("connections", "write_position"), self._name, _NAME, position
                )
                return
            except _FAILURES as error:
                log.warning("queue_log.waits", source=self._name, error=type(error).__name__)
                await asyncio.sleep(1.0)

    async def _journal(self, lines: Sequence[str]) -> None:
        for counted in (False, True):
            some = [line for line in lines if self._is_counted(line) is counted]
            if not some:
                continue
            try:
                await self._take(some, counted=counted)
            except Unstorable:
                for line in some:
                    await self._take_alone(line, counted=counted)

    async def _take(self, lines: Sequence[str], *, counted: bool) -> None:
        await self._office.ingest.take_fetched(self._name, lines, datetime.now(UTC), is_voice=True, counted=counted)

    async def _take_alone(self, line: str, *, counted: bool) -> None:
        try:
            await self._take([line], counted=counted)
        except Unstorable as error:
            self._office.health.count("connection_lost_payloads", source=self._name)
            log.error("queue_log.unstorable", source=self._name, error=str(error)[:200])

    def _is_counted(self, line: str) -> bool:
        try:
            return from_unix(float(line.partition("|")[0])) >= self._counted_from
        except (ValueError, OverflowError, OSError):
            return True
