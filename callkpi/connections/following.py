"""A file that grows and is rotated, read to its end and on: every whole line once, over restarts.

Where we are is told by what the file is (device and inode), what it begins with, and how far it was read. So a file
that was renamed is found under its new name and read to its end before the new one; one that was copied and emptied
(``copytruncate``) is found in the copy, also a gzipped one; and one that was emptied and has grown again is not taken
for the old one. Pure file reading: nothing is known here of what the lines say.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, cast

#: What is compared of the beginning of a file.
HEAD_BYTES = 512
READ_BYTES = 256 * 1024
#: A line that is longer is given as it is, in pieces.
LONGEST_LINE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read."""

    device: int
    inode: int
    offset: int
    head: str = ""  #: digest of its first bytes
    head_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Position:
        return cls(**{field.name: told[field.name] for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines without their ends, and where they leave the reader."""

    lines: Sequence[bytes]
    position: Position


class Follower:
    """Reads the lines of a path from a position on. Raises OSError; FileNotFoundError where the file is not there."""

    def __init__(self, path: Path, position: Position | None) -> None:
        self._path = path
        self.position = position
        self._file: IO[bytes] | None = None
        #: Rotations whose rest was nowhere to be found.
        self.gaps = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self) -> Piece | None:
        """The next lines; None while there are none. They come again until :meth:`advance` is told of them."""
        for _ in range(100):  # each round is another file: more rotations than that wait for the next call
            if self._file is None:
                self._open()
            assert self._file is not None and self.position is not None
            if self._is_emptied():
                self.close()
                continue
            is_over = self._is_over()
            if is_over and (copy := _try(self._path, self.position)) is not None:
                # A new copy of the same log (rsync puts one in its place): what ended amid a line may go on there.
                self.close()
                self._file, is_over = copy, False
            if (piece := _lines(self._file, self.position, with_rest=is_over)) is not None:
                return piece
            if not is_over:
                return None
            self._go_on()
        return None

    def advance(self, position: Position) -> None:
        """What is before *position* is safe."""
        self.position = position

    def _is_emptied(self) -> bool:
        """Whether the open file is not what we have read: emptied, and perhaps written again."""
        assert self._file is not None and self.position is not None
        return not isinstance(self._file, gzip.GzipFile) and not _fits(self._file, self.position)

    def _is_over(self) -> bool:
        """Whether nothing will be added to the open file: who writes it has begun the next one.

        A next one that is empty was only made by who rotates; the writer may still write into the old one.
        """
        assert self._file is not None
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (here.st_dev, here.st_ino) and now.st_size > 0

    def _open(self) -> None:
        """The file that the position is of, under whatever name, else the path from its beginning."""
        if self.position is not None:
            for path in (self._path, *_rotated(self._path)):
                if (file := _try(path, self.position)) is not None:
                    self._file = file
                    return
        file = self._path.open("rb")
        self.gaps += self.position is not None and self.position.offset > 0
        self._file, self.position = file, _beginning(file)

    def _go_on(self) -> None:
        """From a file that is over to the next one."""
        assert self._file is not None
        assert self.position is not None
        over = os.fstat(self._file.fileno())
        self.close()
        later = [
            (told.st_mtime, path)
            for path in _rotated(self._path)
            if (told := path.stat()).st_mtime > over.st_mtime and not _is_of(path, self.position)
        ]
        path = min(later)[1] if later else self._path
        file = _opened(path)
        self._file, self.position = file, _beginning(file)


def _rotated(path: Path) -> list[Path]:
    """What the path may have been renamed or copied to, the newest first."""
    found = [p for p in path.parent.glob(f"{path.name}?*") if p.is_file()]
    return sorted(found, key=lambda p: -p.stat().st_mtime)


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _try(path: Path, position: Position) -> IO[bytes] | None:
    """The file if it is the one that the position is of."""
    try:
        file = _opened(path)
    except OSError:
        return None
    try:
        if _fits(file, position):
            return file
    except (OSError, EOFError, zlib.error):
        pass
    file.close()
    return None


def _is_of(path: Path, position: Position) -> bool:
    """Whether a file is what was read already, under another name or compressed."""
    if (file := _try(path, replace(position, offset=0))) is None:
        return False
    file.close()
    return True


def _fits(file: IO[bytes], position: Position) -> bool:
    if not position.head_bytes:
        here = os.fstat(file.fileno())
        return (here.st_dev, here.st_ino) == (position.device, position.inode)
    if _head(file, position.head_bytes) != position.head:
        return False
    return file.seek(position.offset) == position.offset and file.seek(0, os.SEEK_END) >= position.offset


def _head(file: IO[bytes], count: int) -> str:
    file.seek(0)
    return hashlib.blake2b(file.read(count), digest_size=12).hexdigest()


def _beginning(file: IO[bytes]) -> Position:
    here = os.fstat(file.fileno())
    return Position(here.st_dev, here.st_ino, 0)


def _lines(file: IO[bytes], position: Position, *, with_rest: bool) -> Piece | None:
    """Lines from a position on; with what follows the last end of a line if nothing more will come."""
    file.seek(position.offset)
    data = file.read(READ_BYTES)
    end = data.rfind(b"\n") + 1
    if not end and len(data) == READ_BYTES:
        data += file.read(LONGEST_LINE - READ_BYTES)
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == LONGEST_LINE else 0)
    if with_rest and not end:
        end = len(data)
    if not end:
        return None
    offset = position.offset + end
    moved = replace(position, offset=offset)
    if position.head_bytes < HEAD_BYTES:
        count = min(offset, HEAD_BYTES)
        moved = replace(moved, head=_head(file, count), head_bytes=count)
    return Piece(data[:end].splitlines(), moved)
