"""``callkpi serve``: one parent, its web processes, and a process for each background job (:mod:`callkpi.daemon.jobs`).

The parent starts the embedded PostgreSQL where one is wanted, brings the schema up to date, and watches. A child that
dies is started again, loudly and with the settings that the daemon has; SIGHUP lets it take changed ones
(:mod:`callkpi.daemon.reloading`). A child that ends by itself at once, again and again, ends the daemon. A parent that
dies (even by kill -9) takes its children down: they hold the other end of a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from callkpi import config, log
from callkpi.daemon.jobs import JOBS
from callkpi.daemon.listening import close, inherited, listening
from callkpi.daemon.reloading import Outcome, Presence, changed_keys, taken_now
from callkpi.database import embedded, migrations, store
from callkpi.health import Health
from callkpi.ingest.spool import check_place
from callkpi.projection import duty, views

logger = structlog.get_logger()

#: The work of taking a changed configuration, as metrics and /readyz name it.
RELOAD = ("reload", "")
#: How long children may take to finish what is under way.
STOP_SECONDS = 30.0
DATABASE_WAIT_SECONDS = 60.0
ADDRESS_ATTEMPTS = 10
#: How often the parent looks after its children and its PostgreSQL.
WATCH_SECONDS = 0.5
#: First and longest pause before something that died, or did not start, is started again.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 15.0
#: A child that lived for this long has begun well. So many that end by themselves sooner, one after the other, are no
#: bad minute but a fault that stays.
BEGUN_SECONDS, QUICK_DEATHS = 10.0, 5


class Failed(Exception):
    """The daemon can't go on. One line for the terminal."""


# -- parent ----------------------------------------------------------------------------------------------


#: Reads the configuration again. Raises ConfigError.
Reread = Callable[[], config.Settings]


async def serve(
    settings: config.Settings, on_ready: Callable[[], None] = lambda: None, reread: Reread | None = None
) -> None:
    """Run until SIGTERM or SIGINT; with *reread*, SIGHUP lets it take a changed configuration.

    Raises Failed when a part of the daemon died or could not start.

    The doors open before the database is there: what comes meanwhile waits in the spool.
    """
    stop = _stop_event()
    for warning in config.warnings(settings):
        logger.warning("config.weak", what=warning)
    await _free_address(settings)
    _check_spool(settings)
    health = Health()
    server = _Embedded(settings.data_dir, health) if not settings.database.url else None
    dsn = settings.database.url or embedded.dsn(settings.data_dir)
    family = _Family(replace(settings, database=replace(settings.database, url=config.Secret(dsn))), health)
    working = asyncio.create_task(_work(family, server, on_ready))
    stopping = asyncio.create_task(stop.wait())
    presence, reloading = None, None
    try:
        presence = Presence.begun(settings.data_dir)
        if reread is not None:
            reloading = asyncio.create_task(_reloads(family, settings, reread, presence))
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if working.done() and not stop.is_set():
            await working
    finally:
        if reloading is not None:
            await _cancelled(reloading)
        await _cancelled(working)
        await family.end()
        if presence is not None:
            presence.end()
        if server is not None:
            await server.stop()
        logger.info("daemon.stopped")


async def _work(family: _Family, server: _Embedded | None, on_ready: Callable[[], None]) -> None:
    """Everything that runs. Ends with Failed, or when it is cancelled."""
    settings, dsn = family.settings, family.settings.database.url
    for _ in range(settings.server.processes):
        await family.spawn("web")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(family.watch())
            if server is not None:
                await server.start_patiently()
                group.create_task(server.watch())
            await prepare(dsn, settings, gives_up=not settings.spool.limit_mib)
            group.create_task(family.tell(dsn))
            for job in JOBS:
                if job.is_wanted(settings):
                    await family.spawn(job.role)
            await _listening(settings)
            family.is_complete.set()
            logger.info("daemon.ready", listen=settings.server.listen, processes=settings.server.processes)
            on_ready()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _reloads(family: _Family, given: config.Settings, reread: Reread, presence: Presence | None) -> None:
    """Take what changed with each SIGHUP, until cancelled. *given* is what the daemon began with."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    number = 0
    while True:
        await asked.wait()
        # Before that its children are still being started, with what it began with.
        await family.is_complete.wait()
        asked.clear()
        number += 1
        try:
            new = await asyncio.to_thread(reread)
        except config.ConfigError as error:
            outcome = Outcome(number, refused=tuple(error.problems))
            family.health.failing(RELOAD, "refused")
            logger.error("config.refused", problems=error.problems, meanwhile="the daemon goes on with what it had")
        else:
            now = taken_now(given, new)
            taken, waiting = tuple(changed_keys(given, now)), tuple(changed_keys(now, new))
            logger.info("config.taken", changed=taken, waits_for_a_restart=waiting)
            if taken:
                log.configure(now)
                await family.take(replace(now, database=replace(now.database, url=family.settings.database.url)))
            given, outcome = now, Outcome(number, taken=taken, waiting=waiting)
            family.health.works(RELOAD)
        if presence is not None:
            await asyncio.to_thread(presence.tell, outcome)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _check_spool(settings: config.Settings) -> None:
    """A spool that can't be opened now may be later, when its disk is no longer full; one in a wrong place never."""
    try:
        check_place(settings)
    except OSError as error:
        raise Failed(
            f"can't keep a spool in {settings.data_dir}: {error.strerror or error}; set CALLKPI_DATA_DIR to a "
            "directory that this user may write, or spool.limit_mib to 0"
        ) from None


async def _free_address(settings: config.Settings) -> None:
    """Say at once that the address can't be used; the children could only die of it.

    The children of a daemon that was killed may still finish their last requests: they get a moment.
    """
    for attempt in range(ADDRESS_ATTEMPTS):
        try:
            _try_address(*settings.address)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == ADDRESS_ATTEMPTS - 1:
                text = error.strerror or str(error)
                raise Failed(f"can't listen on {settings.server.listen}: {text}; set CALLKPI_LISTEN") from None
        await asyncio.sleep(0.5)


def _try_address(host: str, port: int) -> None:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


async def prepare(
    dsn: str, settings: config.Settings | None = None, *, gives_up: bool = True, migrates: bool = True
) -> None:
    """Wait for the database, bring its schema up to date (or only see that it is), and with *settings* its views.

    Who keeps a spool does not give up: webhooks are taken meanwhile, and would be lost while the daemon is down.
    """
    deadline = asyncio.get_running_loop().time() + DATABASE_WAIT_SECONDS
    while True:
        try:
            applied = await migrations.apply(dsn) if migrates else await migrations.check(dsn)
            if settings is not None:
                await _publish(dsn, settings)
            break
        except store.UNAVAILABLE as error:
            if asyncio.get_running_loop().time() > deadline:
                text = f"the database does not answer: {type(error).__name__}; check database.url"
                if gives_up:
                    raise Failed(text) from None
                logger.error("daemon.database_away", problem=text, meanwhile="deliveries wait in the spool")
                deadline += DATABASE_WAIT_SECONDS
            await asyncio.sleep(1)
        except (migrations.NewerSchema, migrations.OlderSchema) as error:
            raise Failed(str(error)) from None
        except (asyncpg.PostgresError, ValueError) as error:
            raise Failed(f"the database refuses: {error}; check database.url and the rights of its user") from None
    if applied:
        logger.info("daemon.migrated", migrations=applied)


async def _publish(dsn: str, settings: config.Settings) -> None:
    """Tell the SQL views what the configuration says, and people what speaks against the figures."""
    connection = await store.connect(dsn, role="views")
    try:
        await views.publish(connection, settings)
        for doubt in await duty.doubts(connection):
            logger.error("daemon.figures_in_doubt", doubt=doubt)
    finally:
        await connection.close()


def _pause(times: int) -> float:
    """Seconds before something is started again that died *times* times in a row."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(times - 1, 10), LONGEST_PAUSE_SECONDS)


class _Embedded:
    """The embedded PostgreSQL, started again when it dies."""

    def __init__(self, data_dir: Path, health: Health) -> None:
        self._data_dir, self._health = data_dir, health
        self._starting: asyncio.Task[embedded.Server] | None = None

    async def start_patiently(self) -> None:
        """Return when it runs. A disk that is full is waited for; raises Failed for what stays as it is."""
        failures = 0
        while True:
            try:
                await self._start()
                return
            except embedded.NotNow as error:
                failures += 1
                logger.error(
                    "daemon.postgres_does_not_start", error=str(error)[:300], again_in_seconds=_pause(failures)
                )
            except embedded.EmbeddedError as error:
                raise Failed(str(error)) from None
            await asyncio.sleep(_pause(failures))

    async def _start(self) -> None:
        self._starting = asyncio.create_task(asyncio.to_thread(embedded.start, self._data_dir))
        await asyncio.shield(self._starting)

    async def watch(self) -> None:
        """While it can't be started, what comes waits in the spool."""
        failures = 0
        while True:
            await asyncio.sleep(_pause(failures) if failures else WATCH_SECONDS)
            if embedded.is_running(self._data_dir / "postgres"):
                failures = 0
                continue
            failures += 1
            logger.error("daemon.postgres_died")
            self._health.count("process_restarts", label="postgres")
            try:
                await self._start()
            except embedded.EmbeddedError as error:
                logger.error(
                    "daemon.postgres_does_not_start", error=str(error)[:300], again_in_seconds=_pause(failures)
                )

    async def stop(self) -> None:
        """Also one that is just being started."""
        if self._starting is not None:
            with contextlib.suppress(embedded.EmbeddedError):
                server = await self._starting
                await asyncio.to_thread(server.stop)


@dataclass(slots=True)
class _Child:
    """One of the daemon's processes, over its lives."""

    role: str
    process: asyncio.subprocess.Process
    began_at: float = field(default_factory=time.monotonic)
    #: What a web process accepts on.
    sockets: list[socket.socket] = field(default_factory=list)
    #: It is replaced: its end is no death.
    is_leaving: bool = False
    #: Lives in a row that were short, and of those the ones that it ended itself.
    short: int = 0
    own: int = 0
    again_at: float | None = None  #: dead, to be started again then

    def died(self) -> float:
        """Note the end of a life. Returns the seconds until the next. Raises Failed when there shall be none."""
        lived, status = time.monotonic() - self.began_at, self.process.returncode or 0
        if lived >= BEGUN_SECONDS:
            self.short = self.own = 0
        self.short += 1
        # A signal (no memory, kill -9) says nothing of the process; an end of its own that comes at once does.
        self.own = self.own + 1 if status >= 0 else 0
        if self.own >= QUICK_DEATHS:
            raise Failed(f"the {self.role} process ended {self.own} times at once, status {status}; its log says why")
        pause = _pause(self.short)
        self.again_at = time.monotonic() + pause
        ended = {"by_signal": -status} if status < 0 else {"status": status}
        logger.error("daemon.process_died", process=self.role, **ended, lived_seconds=round(lived, 1),
                     again_in_seconds=pause)  # fmt: skip
        return pause


class _Family:
    """The daemon's children."""

    def __init__(self, settings: config.Settings, health: Health) -> None:
        self.settings = settings
        self.health = health
        self._lifeline, self._keep = os.pipe()
        self._children: list[_Child] = []
        self.is_complete = asyncio.Event()

    async def spawn(self, role: str) -> None:
        sockets = self._sockets(role)
        process, begun = await self._process(role, sockets)
        os.close(begun)
        self._children.append(_Child(role, process, sockets=sockets))

    def _sockets(self, role: str) -> list[socket.socket]:
        return listening(*self.settings.address) if role == "web" else []

    async def _process(self, role: str, sockets: list[socket.socket]) -> tuple[asyncio.subprocess.Process, int]:
        """A new child, and a pipe on which it says that it has begun to work (or ends before).

        It gets the settings by its standard input: those that were taken, whatever the file says by now.
        """
        begun, says = os.pipe()
        try:
            return await self._started(role, [says, *(each.fileno() for each in sockets)]), begun
        except BaseException:
            os.close(begun)
            raise
        finally:
            os.close(says)

    async def _started(self, role: str, numbers: list[int]) -> asyncio.subprocess.Process:
        arguments = [sys.executable, "-m", "callkpi", "_child", role, str(self._lifeline), *map(str, numbers)]
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.PIPE, pass_fds=[self._lifeline, *numbers], start_new_session=False
        )
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # It died already; whoever watches sees it.
            process.stdin.write(pickle.dumps(self.settings))
            await process.stdin.drain()
        process.stdin.close()
        return process

    async def watch(self) -> None:
        """Start again what dies. Raises Failed when a child ends at once, again and again."""
        while True:
            for child in self._children:
                if child.process.returncode is None or child.is_leaving:
                    continue
                if child.again_at is None:
                    child.died()
                    # Who connects now goes to the other web processes, or hears at once that nobody is there.
                    close(child.sockets)
                    self.health.count("process_restarts", label=child.role)
                elif time.monotonic() >= child.again_at:
                    await self._start_again(child)
            await asyncio.sleep(WATCH_SECONDS)

    async def _start_again(self, child: _Child) -> None:
        try:
            child.sockets = self._sockets(child.role)
            child.process, begun = await self._process(child.role, child.sockets)
            os.close(begun)
        except OSError as error:  # No memory or no process is left: later, perhaps.
            logger.error("daemon.process_not_started", process=child.role, error=error.strerror)
            close(child.sockets)
            child.again_at = time.monotonic() + LONGEST_PAUSE_SECONDS
            return
        child.began_at, child.again_at = time.monotonic(), None

    async def take(self, settings: config.Settings) -> None:
        """Go on with other settings: the children are replaced one after the other."""
        self.settings = settings
        try:
            await _publish(settings.database.url, settings)
        except (*store.FAILURES, ValueError) as error:
            logger.error("daemon.views_not_published", error=type(error).__name__)
        wanted = {"web", *(job.role for job in JOBS if job.is_wanted(settings))}
        for child in list(self._children):
            await self._replace(child, goes_on=child.role in wanted)
        for role in sorted(wanted - {child.role for child in self._children}):
            await self.spawn(role)

    async def _replace(self, child: _Child, *, goes_on: bool) -> None:
        """Let a child finish what is under way, and have the next one in its place."""
        if child.again_at is not None and goes_on:
            return  # It is dead, and starts with the new settings anyway.
        child.is_leaving, old = True, child.process
        if child.role == "web":
            # Both accept from the same queue until the next one does so alone: nobody is turned away.
            child.process, begun = await self._process(child.role, child.sockets)
            await _begun(begun)
        await _ended([old])
        if not goes_on:
            self._children.remove(child)
            return
        if child.role != "web":
            child.process, begun = await self._process(child.role, [])
            os.close(begun)
        child.began_at, child.is_leaving = time.monotonic(), False

    async def tell(self, dsn: str) -> None:
        """Write what was counted here, until cancelled."""
        pool = await store.create_pool(dsn, role="parent", size=1, lazy=True)
        try:
            await self.health.run(pool)
        finally:
            await pool.close()

    async def end(self) -> None:
        await _ended([child.process for child in self._children])
        for child in self._children:
            close(child.sockets)
        os.close(self._lifeline)
        os.close(self._keep)


async def _begun(pipe: int) -> None:
    """Return when a child has begun to work, or has ended; one that does neither is waited for no longer than that."""
    loop = asyncio.get_running_loop()
    said = asyncio.Event()
    loop.add_reader(pipe, said.set)
    try:
        await asyncio.wait_for(said.wait(), STOP_SECONDS)
    except TimeoutError:
        logger.error("daemon.process_slow_to_begin")
    finally:
        loop.remove_reader(pipe)
        os.close(pipe)


async def _ended(processes: list[asyncio.subprocess.Process]) -> None:
    """Ask them to end, and return when they have; those that don't are killed."""
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
    for process in processes:
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _listening(settings: config.Settings) -> None:
    """Return when a web process answers: the address itself is open before."""
    host, port = settings.address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = await reader.read(1)
            writer.close()
            if answer:
                return
        await asyncio.sleep(0.05)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


# -- children --------------------------------------------------------------------------------------------


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it is installed (it is, but on Windows): the same asyncio at about half of the cost."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def settings_of_parent() -> config.Settings:
    """What the parent gives a child by its standard input."""
    settings = pickle.load(sys.stdin.buffer)
    assert isinstance(settings, config.Settings)
    return settings


async def child(role: str, settings: config.Settings, lifeline: int, says: int, sockets: Sequence[int] = ()) -> None:
    """A web process, or one that does a job.

    Ends with a signal, or when the parent's end of the pipe is gone.
    """
    log.configure(settings, role=role)
    stop = _stop_event()
    loop = asyncio.get_running_loop()

    def parent_gone() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, parent_gone)
    dsn = settings.database.url
    if role == "web":
        from callkpi.web.server import serving

        _tune_collector()
        async with serving(settings, dsn, inherited(sockets)) as vital:
            os.close(says)
            await _until(stop, vital)
    else:
        run = next(job for job in JOBS if job.role == role).load()
        _tune_collector()
        os.close(says)
        await _work_on(run(settings, dsn), stop)


def _tune_collector() -> None:
    """Python's cyclic collector walks what lives long again and again; here nearly everything dies by reference count.

    With the defaults it took about a tenth of a busy process's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _work_on(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    working = asyncio.create_task(work)
    try:
        await _until(stop, working)
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await working


async def _until(stop: asyncio.Event, vital: asyncio.Task[None]) -> None:
    """Wait for the stop, or raise what killed a task that must live."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, vital], return_when=asyncio.FIRST_COMPLETED)
    if vital.done() and not vital.cancelled() and (error := vital.exception()) is not None:
        raise error
    stopping.cancel()
