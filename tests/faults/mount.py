"""A disk of its own for PostgreSQL, small enough to be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.faults.catalogue import NotRun

BALLAST = "ballast"


class Disk:
    """A tmpfs that is mounted where the data will be."""

    def __init__(self, place: Path, mib: int) -> None:
        self.place, self._mib = place, mib

    def mount(self) -> None:
        """Raises NotRun where this process may not mount."""
        self.place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={self._mib}m,mode=0755", "tmpfs", str(self.place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise NotRun(f"no mount: {error}") from None
        if done.returncode:
            raise NotRun(f"can't mount a tmpfs: {done.stderr.strip()[:100]}")

    def fill(self) -> None:
        """Leave not a byte."""
        path = self.place / BALLAST
        with path.open("wb", buffering=0) as file:
            # PostgreSQL looks through its whole directory after a crash.
            status = self.place.stat()
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            for size in (1 << 20, 4096):
                while _written(file.fileno(), size):
                    pass

    def free(self) -> None:
        (self.place / BALLAST).unlink(missing_ok=True)

    def unmount(self, *, keep: bool) -> None:
        self.free()
        if not os.path.ismount(self.place):
            return
        saved = self.place.with_name(f"{self.place.name}.kept")
        if keep:
            subprocess.run(["cp", "-a", str(self.place), str(saved)], check=False)
        subprocess.run(["umount", "-l", str(self.place)], check=True)
        if keep:
            shutil.rmtree(self.place, ignore_errors=True)
            saved.replace(self.place)


def _written(file: int, size: int) -> bool:
    try:
        return os.write(file, bytes(size)) == size
    except OSError:
        return False
