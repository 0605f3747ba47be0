"""``callkpi serve`` as a process of its own, the way an operator runs it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from callkpi.database import embedded, migrations

CONFIG = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[tenants.acme.same_call]
by = []

[sources.pbx]
kind = "asterisk"
tenant = "acme"
token = "pbx-secret"

[sources.native]
kind = "native"
tenant = "acme"
token = "native-secret"

[sources.portal]
kind = "bitrix24"
tenant = "acme"
application_tokens = ["portal-secret"]
"""


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
#: Ports of this worker alone, below those that systems give to outgoing connections: nobody takes one between the look
#: and the start of its server.
_PORTS = iter(random.sample(range(12_000 + _WORKER % 20 * 1_000, 13_000 + _WORKER % 20 * 1_000), 1_000))


def free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@functools.cache
def _initialised() -> Path:
    """A data directory as the first start leaves it: PostgreSQL initialised, the schema up to date. Made once."""
    directory = Path(tempfile.mkdtemp(prefix="callkpi-template-"))
    directory.chmod(0o755)
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    server = embedded.start(directory / "data")
    asyncio.run(migrations.apply(server.dsn))
    server.stop()
    return directory / "data"


class Daemon:
    """A daemon with a data directory that outlives it. A *fresh* one begins with an empty directory."""

    def __init__(self, directory: Path, *, processes: int = 1, config: str = CONFIG, fresh: bool = False) -> None:
        directory.mkdir(mode=0o755, exist_ok=True)
        self.directory, self.processes, self.fresh = directory, processes, fresh
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = directory / "callkpi.toml"
        self.config.write_text(config)
        self.process: subprocess.Popen[bytes] | None = None
        self.log = directory / "daemon.log"
        #: Variables beyond the usual ones.
        self.extra: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CALLKPI_")}
        return kept | {
            "CALLKPI_CONFIG": str(self.config),
            "CALLKPI_DATA_DIR": str(self.directory / "data"),
            "CALLKPI_LISTEN": f"127.0.0.1:{self.port}",
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
            **self.extra,
        }

    async def start(self, *, ready: bool = True) -> None:
        command = [sys.executable, "-m", "callkpi", "serve", "--processes", str(self.processes)]
        data = self.directory / "data"
        if not self.fresh and not data.exists():
            template = await asyncio.to_thread(_initialised)
            subprocess.run(["cp", "-a", str(template), str(data)], check=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        if ready:
            await self.ready()

    async def ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < deadline:
                assert self.process is not None and self.process.poll() is None, self.log.read_text()
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(2)) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """kill -9 of the daemon and of all its children, its PostgreSQL included."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        pid_file = self.directory / "data" / "postgres" / "postmaster.pid"
        postmaster = int(pid_file.read_text().splitlines()[0])
        for pid in [*children_of(postmaster), postmaster]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{postmaster}").exists() and "Z" not in Path(f"/proc/{postmaster}/stat").read_text():
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, as a service manager does. Returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(60)


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


@contextlib.asynccontextmanager
async def daemon(
    directory: Path, *, processes: int = 1, config: str = CONFIG, fresh: bool = False
) -> AsyncIterator[Daemon]:
    running = Daemon(directory, processes=processes, config=config, fresh=fresh)
    await running.start()
    try:
        yield running
    finally:
        running.stop()
