"""The system under test: ``callkpi serve`` as a service manager keeps it, and its database."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.faults.catalogue import Database, NotRun, Scene
from tests.faults.mount import Disk
from tests.faults.postgres import REFUSALS, Postgres
from tests.faults.proxy import Proxy
from tests.faults.traffic import Answer, Door, Observer, Sender
from tests.stand_ins import daemon as daemons
from tests.stand_ins.daemon import Daemon, children_of, free_port

#: A service manager starts what ended again after this (systemd waits a tenth of a second, Docker a tenth and more).
RESTART_SECONDS = 0.5
STOP_SECONDS = 60.0
DOCTOR_SECONDS = 300.0
LIBRARY = "libfaketimeMT.so.1"
LIBRARY_PLACES = ("/usr/lib/x86_64-linux-gnu/faketime", "/usr/lib/aarch64-linux-gnu/faketime", "/usr/lib/faketime")

CONFIG = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[tenants.acme.same_call]
by = []

[tenants.other]
timezone = "Europe/Berlin"
region = "DE"

[sources.first]
kind = "native"
tenant = "acme"
token = "the-secret-of-first"

[sources.loud]
kind = "native"
tenant = "acme"
token = "the-secret-of-loud"

[sources.portal]
kind = "bitrix24"
tenant = "acme"
application_tokens = ["the-secret-of-portal"]

[sources.pbx]
kind = "asterisk"
tenant = "acme"
token = "the-secret-of-pbx"
dedupe_seconds = 2

[sources.other]
kind = "native"
tenant = "other"
token = "the-secret-of-other"

[log]
format = "json"
"""
#: A reason for each of the jobs that a daemon has only where its settings want them.
ALL_JOBS = """
[retention]
journal_months = 240

[tenants.acme.reports.daily]
period = "day"
to = ["folder:{directory}/reports"]

[sources.log]
kind = "asterisk"
tenant = "acme"
queue_log = "{directory}/queue_log"

[sources.statistics]
kind = "bitrix24"
tenant = "acme"
rest_url = "http://127.0.0.1:9/rest/1/nobody-listens-here/"
"""


class System:
    """A daemon that is started again when it ends, its database, and the sources that push to it."""

    def __init__(self, directory: Path, scene: Scene, seed: str) -> None:
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
        self.directory, self.scene = directory, scene
        jobs = ALL_JOBS.format(directory=directory) if scene.all_jobs else ""
        for name in ("reports", "queue_log") if jobs else ():
            (directory / name).mkdir() if name == "reports" else (directory / name).touch()
        own = scene.database is Database.EMBEDDED
        self.daemon = Daemon(directory, config=CONFIG + scene.config + jobs)
        self.postgres = Postgres(directory / "data" if own else directory / "database")
        self.disk: Disk | None = None
        self.proxy: Proxy | None = None
        self.clock = directory / "clock"
        self.door = Door(self.daemon.url)
        self.first = Sender(self.door, "first", f"{seed}/first", insists=0.5)
        self.other = Sender(self.door, "other", f"{seed}/other", insists=1.0)
        self.observer = Observer(self.postgres, [self.first, self.other])
        #: Ends that nobody asked for: exit status and the log's last line.
        self.ended: list[str] = []
        #: What a fault pushed by itself.
        self.pushed, self.pushed_and_acknowledged = set[str](), set[str]()
        self.timeless_offered, self.timeless_acknowledged = 0, 0
        self.last = Answer(0)  #: to what a fault pushed last
        self.statuses: Counter[int] = Counter()  #: of what it was answered
        self._wanted = False  #: whether the service manager keeps it running
        self._manager: asyncio.Task[None] | None = None
        self._roles: Counter[str] = Counter()

    # -- start and end -------------------------------------------------------------------------------
    async def prepare(self) -> None:
        """Disk, database and clock as the scene wants them. Raises NotRun."""
        template = await asyncio.to_thread(daemons._initialised)
        if self.scene.spool_on_disk:
            self.disk = Disk(self.directory / "data", self.scene.disk_mib)
        elif self.scene.disk_mib:
            (self.directory / "data").mkdir()
            self.disk = Disk(self.directory / "data" / "postgres", self.scene.disk_mib)
        if self.disk is not None:
            self.disk.mount()
        self.postgres.home.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", f"{template}/.", f"{self.postgres.home}/"], check=True)
        if self.scene.database is not Database.EMBEDDED:
            await self.postgres.start()
            self.daemon.extra["CALLKPI_DATABASE_URL"] = self.postgres.dsn
        if self.scene.database is Database.PROXIED:
            port = free_port()
            self.proxy = Proxy(self.postgres.socket)
            await self.proxy.start(port)
            self.daemon.extra["CALLKPI_DATABASE_URL"] = f"postgresql://callkpi@127.0.0.1:{port}/postgres"
        if self.scene.is_clock_faked:
            self._fake_clock()

    def _fake_clock(self) -> None:
        library = next((path for place in LIBRARY_PLACES if (path := Path(place, LIBRARY)).exists()), None)
        if library is None:
            raise NotRun("no libfaketime: install the package faketime")
        self.step_clock(0)
        self.daemon.extra |= {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }

    def step_clock(self, seconds: float) -> None:
        """What the daemon and its database take the time to be, against the truth."""
        scratch = self.clock.with_suffix(".new")
        scratch.write_text(f"{seconds:+.0f}\n")
        scratch.chmod(0o644)
        scratch.replace(self.clock)

    async def start(self) -> None:
        await self.daemon.start()
        self._roles = self.roles()
        self._wanted = True
        self._manager = asyncio.create_task(self._manage())

    async def stop_daemon(self) -> int:
        """SIGTERM, as a service manager stops a service. Returns the exit status, -9 where it had to be killed."""
        self._wanted = False
        process = self.daemon.process
        assert process is not None
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return await asyncio.to_thread(process.wait, STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return await asyncio.to_thread(process.wait)

    async def start_daemon(self) -> None:
        """And let the service manager keep it."""
        await self.daemon.start(ready=False)
        self._wanted = True

    async def _manage(self) -> None:
        """Start the daemon again whenever it ends: ``Restart=always``."""
        while True:
            await asyncio.sleep(0.05)
            process = self.daemon.process
            if self._wanted and process is not None and (status := process.poll()) is not None:
                self.ended.append(f"exit status {status}: {last_problem(self.daemon.log)}")
                await asyncio.sleep(RESTART_SECONDS)
                if self._wanted:
                    await self.daemon.start(ready=False)

    async def close(self) -> None:
        """Leave no process and no mount behind, whatever state they are in."""
        self._wanted = False
        if self._manager is not None:
            self._manager.cancel()
        for sender in (self.first, self.other):
            await sender.cancel()
        await self.observer.close()
        await self.door.close()
        if (process := self.daemon.process) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.postgres.thaw()
        self.postgres.kill()
        if self.proxy is not None:
            await self.proxy.close()

    def put_away(self, *, keep: bool) -> None:
        """Unmount; with *keep* what was on the disk stays beside it, without the ballast."""
        if self.disk is not None:
            self.disk.unmount(keep=keep)
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.postgres.socket.parent, ignore_errors=True)

    # -- what a fault pushes -------------------------------------------------------------------------
    async def push(
        self, source: str, body: bytes, event_ids: Sequence[str], *,
        seconds: float = 30.0, headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Once; what came of it is in :attr:`last` and in the sets that the verdict is made of."""
        self.pushed |= set(event_ids)
        self.last = await self.door.post(source, body, seconds=seconds, headers=headers)
        self.statuses[self.last.status] += 1
        if self.last.status == 200 and self.last.events == len(event_ids):
            self.pushed_and_acknowledged |= set(event_ids)

    async def push_timeless(self, source: str, body: bytes) -> None:
        """One event without a time, which is another one whenever it comes."""
        self.timeless_offered += 1
        self.last = await self.door.post(source, body)
        self.statuses[self.last.status] += 1
        self.timeless_acknowledged += self.last.status == 200

    # -- its processes -------------------------------------------------------------------------------
    def children(self, role: str) -> list[int]:
        """Processes of the daemon with this role."""
        return [pid for pid in self._children() if _role(pid) == role]

    def roles(self) -> Counter[str]:
        return Counter(role for pid in self._children() if (role := _role(pid)))

    def _children(self) -> list[int]:
        process = self.daemon.process
        return children_of(process.pid) if process is not None and process.poll() is None else []

    async def kill_child(self, role: str) -> None:
        """kill -9 of all processes of a role; return when they are gone. Raises NotRun where the daemon has none."""
        pids = self.children(role)
        if not pids:
            raise NotRun(f"the daemon has no process {role!r}")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(_role(pid) for pid in pids):
            await asyncio.sleep(0.01)

    async def kill_parent(self) -> None:
        """kill -9 of the daemon's first process; return when it is gone."""
        process = self.daemon.process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)

    # -- its state -----------------------------------------------------------------------------------
    async def is_whole(self) -> bool:
        """Every process that it had at first is there, and it calls itself ready."""
        missing = self._roles - self.roles()
        return not missing and (await self.readiness()).get("ready") is True

    async def readiness(self) -> dict[str, Any]:
        """What /readyz says; nothing where it does not answer."""
        return await self.door.json("/readyz")

    async def is_idle(self) -> bool:
        """Nothing waits: neither in the spool, nor for the projector, nor for the times of agents."""
        told = await self.readiness()
        if told.get("projector_pending_groups") != 0 or told.get("spool_deliveries") != 0:
            return False
        return await self.untimed() == 0

    async def untimed(self) -> int:
        """Groups of calls and agents whose times are not computed yet."""
        async with self.postgres.connected() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM callkpi.agent_pending"))

    def memory_mib(self) -> int:
        """The most that any process of the daemon has had in memory."""
        return max(map(_peak_mib, self._children()), default=0)

    async def doctor(self) -> tuple[int, list[str]]:
        """``callkpi doctor`` as an operator runs it: exit status and lines."""
        environment = {key: value for key, value in self.daemon.environment.items() if key not in self.daemon.extra}
        if self.scene.database is not Database.EMBEDDED:
            environment["CALLKPI_DATABASE_URL"] = self.postgres.dsn
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "callkpi", "doctor", env=environment, cwd="/",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(process.communicate(), DOCTOR_SECONDS)
        except TimeoutError:
            return -9, [f"callkpi doctor did not end within {DOCTOR_SECONDS:.0f} s"]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, [line for line in output.decode().splitlines() if line.strip()]


def _role(pid: int) -> str:
    """The role of a child of the daemon, "" where the process is none or ends."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        is_gone = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return ""
    if is_gone or b"_child" not in arguments:
        return ""
    return arguments[arguments.index(b"_child") + 1].decode()


def _peak_mib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), 0)


#: How many of our own places in a traceback are told, the innermost ones.
PLACES = 3
_BEGIN = "Traceback (most recent call last)"
#: A line of a traceback that is in callkpi's own code.
_IN_CALLKPI = re.compile(r'[\s|]*File "(?!.*/site-packages/).*/callkpi/(.+)", line (\d+)')
#: The line that ends it, also in a group of exceptions.
_ERROR = re.compile(r"(?:\s*\| )?([A-Za-z].*)")


def last_problem(log: Path) -> str:
    """Where in callkpi's own code the newest traceback in *log* is, with its error; without one the last line."""
    try:
        text = log.read_text("utf-8", "replace")[-200_000:]
    except OSError:
        return "no log"
    lines = [line for line in _unfolded(text) if line.strip()]
    end = next((number for number in range(len(lines) - 1, -1, -1) if _IN_CALLKPI.match(lines[number])), None)
    if end is None:
        return lines[-1][:200] if lines else "an empty log"
    error = next((found[1] for line in lines[end + 1 :] if (found := _ERROR.fullmatch(line))), "")
    begin = max((number for number in range(end) if _BEGIN in lines[number]), default=0)
    places = [found[1] + ":" + found[2] for line in lines[begin : end + 1] if (found := _IN_CALLKPI.match(line))]
    return f"{' > '.join(places[-PLACES:])}: {error[:200]}"


def _unfolded(text: str) -> list[str]:
    """The lines of a log, with tracebacks that JSON holds in one line as lines of their own."""
    result: list[str] = []
    for line in text.splitlines():
        told: Any = None
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                told = json.loads(line)
        if isinstance(told, dict) and isinstance(told.get("exception"), str):
            traceback = told.pop("exception").splitlines()
            result += [json.dumps(told), *traceback]
        else:
            result.append(line)
    return result


async def until(condition: Any, seconds: float) -> float | None:
    """Seconds until *condition* held, None where it did not in time."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        with contextlib.suppress(aiohttp.ClientError, *REFUSALS):
            if await condition():
                return time.monotonic() - begin
        await asyncio.sleep(0.2)
    return None
