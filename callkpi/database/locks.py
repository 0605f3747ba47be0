"""Lock files in the data directory: what others can't open they can't hold."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import IO


def open_lock(path: Path) -> IO[bytes]:
    """The file at *path*, to be locked with ``flock``; nobody but its owner can open it.

    Whoever may read a file may lock it, and for as long as he likes. A file that others can open (an earlier version
    made such) is replaced: whoever holds that one holds a file that nobody asks for. Raises OSError, also where the
    file is no file of its own but a link, or belongs to another user.
    """
    while True:
        # Without a link at the end: in a directory that others may write to it would lead to a file of theirs.
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        told = os.fstat(number)
        if not told.st_mode & 0o077 and told.st_uid == os.geteuid():
            return os.fdopen(number, "r+b")
        os.close(number)
        if os.geteuid() not in (told.st_uid, 0):
            raise PermissionError(errno.EPERM, "belongs to another user", str(path))
        _replace(path)


def is_current(lock: IO[bytes], path: Path) -> bool:
    """Whether a file that was opened as a lock is still the one at *path*."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _replace(path: Path) -> None:
    """Put a new file in the place of *path*, in one step."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    os.close(os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    scratch.replace(path)
