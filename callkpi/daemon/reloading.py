"""A changed configuration taken by a running daemon: what changed, what waits for a restart, and how it is told.

The daemon says who it is in ``daemon.lock`` of the data directory, locked for as long as it lives, and what came of the
last reload in ``daemon.reload``. ``callkpi reload`` finds both there.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import IO, Any

from callkpi import config
from callkpi.database.locks import open_lock

LOCK, OUTCOME = "daemon.lock", "daemon.reload"
#: What a running daemon can't change: where it listens, with how many processes, and where its data is.
WAITING = ("server.listen", "server.processes", "database.url", "database.data_dir")


def changed_keys(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """The keys in which two trees differ, never their values. A table that came or went is told of as a whole."""
    if type(old) is not type(new):
        yield where
    elif is_dataclass(old):
        for spec in fields(old):
            path = f"{where}.{spec.name}" if where else spec.name
            yield from changed_keys(getattr(old, spec.name), getattr(new, spec.name), path)
    elif isinstance(old, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            if key in old and key in new:
                yield from changed_keys(old[key], new[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif old != new:
        yield where


def taken_now(old: config.Settings, new: config.Settings) -> config.Settings:
    """*new* without what waits for a restart."""
    server = replace(new.server, listen=old.server.listen, processes=old.server.processes)
    database = replace(new.database, url=old.database.url, data_dir=old.database.data_dir)
    return replace(new, server=server, database=database)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a reload."""

    number: int  #: of this daemon's reloads
    refused: tuple[str, ...] = ()  #: what is wrong; then nothing was changed
    taken: tuple[str, ...] = ()  #: keys that changed
    waiting: tuple[str, ...] = ()  #: keys that changed in the file and wait for a restart

    def lines(self) -> list[str]:
        """For a terminal."""
        if self.refused:
            return ["Refused; the daemon goes on with what it had:", *self.refused]
        if not self.taken and not self.waiting:
            return ["Nothing has changed."]
        told = [f"Taken: {', '.join(self.taken)}."] if self.taken else []
        return [*told, *([f"Waits for a restart: {', '.join(self.waiting)}."] if self.waiting else [])]


class Presence:
    """That this daemon runs, for whoever looks into its data directory."""

    def __init__(self, directory: Path, lock: IO[bytes]) -> None:
        self._directory, self._lock = directory, lock

    @classmethod
    def begun(cls, directory: Path) -> Presence | None:
        """None where it can't be told: no directory, or another daemon is there already."""
        try:
            lock = open_lock(directory / LOCK)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (directory / OUTCOME).unlink(missing_ok=True)
            os.ftruncate(lock.fileno(), 0)
            # Not buffered: on a full disk the file's own close would fail once more.
            os.write(lock.fileno(), str(os.getpid()).encode())
        except OSError:
            lock.close()
            return None
        return cls(directory, lock)

    def tell(self, outcome: Outcome) -> None:
        """Leave the outcome where it is looked for. A full disk costs that, not the daemon."""
        scratch = self._directory / f"{OUTCOME}.new"
        try:
            scratch.touch(mode=0o600)
            scratch.write_text(json.dumps(asdict(outcome)), "utf-8")
            scratch.replace(self._directory / OUTCOME)
        except OSError:
            scratch.unlink(missing_ok=True)

    def end(self) -> None:
        self._lock.close()


def running(directory: Path) -> int | None:
    """The number of the process that is the daemon of this data directory; None where none runs."""
    try:
        with (directory / LOCK).open("r+b") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or b"0") or None
    except (FileNotFoundError, ValueError):
        pass
    return None


def last_outcome(directory: Path) -> Outcome | None:
    """What the daemon told last; None: nothing yet."""
    try:
        told = json.loads((directory / OUTCOME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    lists = {key: tuple(told[key]) for key in ("refused", "taken", "waiting")}
    return Outcome(told["number"], **lists)
