"""``callkpi serve``: one parent, its web processes, its projector and, where a portal may be asked, its reconciler.

The parent starts the embedded PostgreSQL where one is wanted, brings the schema up to date, and watches. A child that
dies takes the daemon down loudly; a parent that dies (even by kill -9) takes its children down: they hold the other
end of a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import structlog

from callkpi import config, embedded, log, migrations, reconcile, store
from callkpi.health import Health
from callkpi.projector import Projector
from callkpi.web.server import serving

logger = structlog.get_logger()

#: How long children may take to finish what is under way.
STOP_SECONDS = 30.0
DATABASE_WAIT_SECONDS = 60.0
ADDRESS_ATTEMPTS = 10


class Failed(Exception):
    """The daemon can't go on. One line for the terminal."""


# -- parent ----------------------------------------------------------------------------------------------


async def serve(
    settings: config.Settings, config_file: Path | None, on_ready: Callable[[], None] = lambda: None
) -> None:
    """Run until SIGTERM or SIGINT. Raises Failed when a part of the daemon died or could not start."""
    stop = _stop_event()
    server = None
    await _free_address(settings)
    if not settings.database.url:
        try:
            server = await asyncio.to_thread(embedded.start, settings.data_dir)
        except embedded.EmbeddedError as error:
            raise Failed(str(error)) from None
    dsn = server.dsn if server else settings.database.url
    try:
        await prepare(dsn)
        if not stop.is_set():
            await _watch(settings, config_file, dsn, stop, on_ready)
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)
        logger.info("daemon.stopped")


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


async def prepare(dsn: str) -> None:
    """Wait for the database and bring its schema up to date."""
    deadline = asyncio.get_running_loop().time() + DATABASE_WAIT_SECONDS
    while True:
        try:
            applied = await migrations.apply(dsn)
            break
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Failed(f"the database does not answer: {type(error).__name__}; check database.url") from None
            await asyncio.sleep(1)
        except (asyncpg.PostgresError, ValueError) as error:
            raise Failed(f"the database refuses: {error}; check database.url and the rights of its user") from None
    if applied:
        logger.info("daemon.migrated", migrations=applied)


async def _watch(
    settings: config.Settings,
    config_file: Path | None,
    dsn: str,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    lifeline, keep = os.pipe()
    reconcilers = ["reconciler"] if settings.portals else []
    roles = ["projector", *reconcilers, *(["web"] * settings.server.processes)]
    children = []
    try:
        for role in roles:
            child = await _spawn(role, config_file, dsn, lifeline)
            children.append(child)
        exits = [asyncio.create_task(child.wait()) for child in children]
        stopping = asyncio.create_task(stop.wait())
        reporting = asyncio.create_task(_when_ready(settings, on_ready))
        await asyncio.wait([stopping, *exits], return_when=asyncio.FIRST_COMPLETED)
        reporting.cancel()
        died = [role for role, task in zip(roles, exits, strict=True) if task.done()]
        if died and not stop.is_set():
            raise Failed(f"the {died[0]} process died; its log says why")
    finally:
        await _end(children)
        os.close(lifeline)
        os.close(keep)


async def _spawn(role: str, config_file: Path | None, dsn: str, lifeline: int) -> asyncio.subprocess.Process:
    environment = {**os.environ, "CALLKPI_DATABASE_URL": dsn}
    arguments = [sys.executable, "-m", "callkpi", "_child", role, str(lifeline)]
    if config_file is not None:
        arguments += ["--config", str(config_file)]
    return await asyncio.create_subprocess_exec(
        *arguments, env=environment, pass_fds=[lifeline], start_new_session=False
    )


async def _when_ready(settings: config.Settings, on_ready: Callable[[], None]) -> None:
    host, port = settings.address
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            logger.info("daemon.ready", listen=settings.server.listen, processes=settings.server.processes)
            on_ready()
            return
        await asyncio.sleep(0.05)


async def _end(children: Sequence[asyncio.subprocess.Process]) -> None:
    for child in children:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
    for child in children:
        try:
            await asyncio.wait_for(child.wait(), STOP_SECONDS)
        except TimeoutError:
            child.kill()
            await child.wait()


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


async def child(role: str, settings: config.Settings, lifeline: int) -> None:
    """A web process, the projector or the reconciler.

    Ends with a signal, or when the parent's end of the pipe is gone.
    """
    log.configure(settings, role=role)
    stop = _stop_event()
    loop = asyncio.get_running_loop()

    def parent_gone() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, parent_gone)
    _tune_collector()
    dsn = settings.database.url
    if role == "web":
        async with serving(settings, dsn, reuse_port=True) as vital:
            await _until(stop, vital)
    elif role == "reconciler":
        await _reconcile(settings, dsn, stop)
    else:
        await _project(settings, dsn, stop)


def _tune_collector() -> None:
    """Python's cyclic collector walks what lives long again and again; here nearly everything dies by reference count.

    With the defaults it took about a tenth of a busy process's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def _project(settings: config.Settings, dsn: str, stop: asyncio.Event) -> None:
    pool = await store.create_pool(dsn, role="projector", size=2)
    health = Health()
    flusher = asyncio.create_task(health.run(pool))
    working = asyncio.create_task(Projector(pool, settings, health).run())
    try:
        await _until(stop, working)
    finally:
        for task in (working, flusher):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await pool.close()


async def _reconcile(settings: config.Settings, dsn: str, stop: asyncio.Event) -> None:
    working = asyncio.create_task(reconcile.run(settings, dsn))
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
