"""A folder that is there: files of a summary, each complete before its name is there.

The same edition again is the same files.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from callkpi.delivery.message import Message, Receiver, Temporary


class FolderWay:
    knows_repetitions = True

    async def send(self, receiver: Receiver, message: Message) -> None:
        await asyncio.to_thread(_write, Path(receiver.address), message)


def _write(directory: Path, message: Message) -> None:
    files = [(f"{message.file_stem}.txt", f"{message.subject}\n\n{message.text}\n".encode())]
    files += [(file.name, file.content) for file in message.attachments]
    if not directory.exists():
        # Made here it might lie on this machine's own disk, behind a mount that is missing.
        raise Temporary(f"{directory} is not there: make it, or mount what it lies on")
    try:
        for name, content in files:
            _write_file(directory / name, content)
    except OSError as error:
        raise Temporary(f"{directory} can't be written: {error.strerror or type(error).__name__}") from None


def _write_file(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
