"""The processes that are measured: started in groups of their own, and never left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import traffic

ROOT = Path(__file__).parents[2]
START_SECONDS, STOP_SECONDS, REQUEST_SECONDS = 90.0, 60.0, 120.0
CONFIG = f"""
[tenants.bench]
timezone = "Asia/Almaty"

[sources.portal]
kind = "bitrix24"
tenant = "bench"
application_tokens = ["{traffic.TOKEN}"]

[sources.native]
kind = "native"
tenant = "bench"
token = "{traffic.TOKEN}"

[log]
level = "warning"
"""


class Broken(Exception):
    """A process does not do what the benchmark needs. One text for the terminal."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def group(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process in a group of its own; at the end SIGTERM, and after a while SIGKILL for the whole group."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CALLKPI_")}
    environment |= {"PYTHONPATH": str(ROOT), **options.pop("environment", {})}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def bare(*flags: str) -> Iterator[int]:
    """The yardstick. Yields its port."""
    port = free_port()
    with group([sys.executable, "-m", "tests.bench.bare", str(port), *flags]) as process:
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Broken("the bare handler does not listen")
            time.sleep(0.05)
        yield port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Daemon:
    """A running ``callkpi serve``."""

    def __init__(self, port: int, process: subprocess.Popen[Any], data: Path, log: Path) -> None:
        self.port, self._process, self._data, self._log = port, process, data, log
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {traffic.TOKEN}", "Content-Type": "application/json"} if body else {}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Broken(f"callkpi does not answer ({type(error).__name__}); end of its log: {self.log()}") from None

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace")[-2000:].strip() or "(empty)"

    def metrics(self) -> str:
        status, page = self.request("GET", "/metrics")
        if status != 200:
            raise Broken(f"/metrics answered {status}: {page[:300]!r}")
        return page.decode()

    def post(self, body: bytes) -> None:
        """Native events. All of them must be taken."""
        status, answer = self.request("POST", "/hooks/native", body)
        if status != 200 or json.loads(answer)["rejected"]:
            raise Broken(f"native events: {status} {answer[:300]!r}")

    def offered(self) -> int:
        return round(total(self.metrics(), "callkpi_company_calls_offered_total"))

    def wait_projected(self) -> float:
        """Wait until nothing waits for the projector. Returns when that was seen, on the monotonic clock.

        A scrape costs the daemon something too: it has rest between two, three times as long as one takes.
        """
        while True:
            begin = time.monotonic()
            pending = total(self.metrics(), "callkpi_projector_pending_groups")
            end = time.monotonic()
            if not pending:
                return end
            time.sleep(max(0.02, 3 * (end - begin)))

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"callkpi does not start; end of its log: {self.log()}")
            with contextlib.suppress(Broken):
                if self.request("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.1)

    def close(self) -> None:
        self._connection.close()

    # -- memory ----------------------------------------------------------------------------------------
    def memory(self) -> dict[str, float]:
        """MiB: resident of each process of callkpi, and PostgreSQL with its shared pages counted once."""
        commands = {self._process.pid: "parent"}
        for pid in _children(self._process.pid):
            commands[pid] = "projector" if "projector" in _command(pid) else "web"
        result: dict[str, float] = {}
        for pid, name in commands.items():
            result[name] = result.get(name, 0.0) + _kib(pid, "status", "VmRSS") / 1024
        result["callkpi"] = sum(result.values())
        if postmaster := self.postmaster():
            backends = [postmaster, *_children(postmaster)]
            result["postgres"] = sum(_kib(pid, "smaps_rollup", "Pss") for pid in backends) / 1024
        return result

    def postmaster(self) -> int | None:
        """The process of this daemon's PostgreSQL, if it runs."""
        try:
            pid = int((self._data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        return pid if str(self._data) in _command(pid) else None


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[Daemon]:
    """``callkpi serve`` on an empty store in *directory*, ready."""
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    settings, data, log, port = directory / "callkpi.toml", directory / "data", directory / "daemon.log", free_port()
    settings.write_text(CONFIG)
    environment = {
        "CALLKPI_CONFIG": str(settings),
        "CALLKPI_DATA_DIR": str(data),
        "CALLKPI_LISTEN": f"127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "callkpi", "serve"]
    with log.open("wb") as out:
        running: Daemon | None = None
        try:
            with group(command, environment=environment, stdout=out, stderr=out, cwd="/") as process:
                running = Daemon(port, process, data, log)
                running.wait_ready()
                yield running
        finally:
            if running is not None:
                running.close()
                if postmaster := running.postmaster():
                    os.kill(postmaster, signal.SIGQUIT)


def total(page: str, name: str) -> float:
    """The sum of a metric over its labels. Raises Broken where the page has no such metric."""
    values = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    if not values and f"# TYPE {name.removesuffix('_total')}" not in page:
        raise Broken(f"/metrics has no {name}")
    return sum(map(float, values))


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _kib(pid: int, file: str, key: str) -> int:
    """A figure of /proc/PID/FILE; 0 where the process is gone, or there is no /proc."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)
