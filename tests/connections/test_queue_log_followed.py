"""A queue_log that is followed: rotated, emptied, half written, not there yet; every line once, over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import random
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from callkpi.connections import queue_log
from callkpi.connections.following import Follower, Position
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Keeper
from callkpi.connections.office import Office
from callkpi.connections.queue_log import QueueLogLink
from callkpi.ingest.door import Ingest
from tests.stand_ins.truth import expect_truth
from tests.world import World, capture_lines, sample

# -- the file alone --------------------------------------------------------------------------------------


class Reader:
    """Follows a file as the daemon does, and is restarted as often as a test likes."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, []
        self.position: Position | None = None
        self.follower = Follower(path, None)

    def restart(self) -> None:
        self.follower.close()
        self.follower = Follower(self.path, self.position)

    def read(self) -> list[str]:
        """All there is; what was read and not yet remembered comes again after a restart, so nothing is half done."""
        with contextlib.suppress(FileNotFoundError):
            while (piece := self.follower.read()) is not None:
                self.lines += [line.decode() for line in piece.lines]
                self.follower.advance(piece.position)
                self.position = Position.from_json(piece.position.to_json())
        return self.lines


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path / "queue_log")


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_half_line_is_read_when_it_is_whole(reader: Reader) -> None:
    assert reader.read() == []  # it is not there yet
    add(reader.path, "one\ntw")
    assert reader.read() == ["one"]
    add(reader.path, "o\n")
    assert reader.read() == ["one", "two"]


def renamed(path: Path) -> None:
    path.rename(path.with_name("queue_log.1"))


def renamed_and_made(path: Path) -> None:
    renamed(path)
    path.touch()


def copied(path: Path) -> None:
    shutil.copy2(path, path.with_name("queue_log-20261124"))
    os.truncate(path, 0)


def zipped(path: Path) -> None:
    with gzip.open(path.with_name("queue_log.1.gz"), "wb") as file:
        file.write(path.read_bytes())
    path.unlink()


@pytest.mark.parametrize("rotate", [renamed, renamed_and_made, copied, zipped])
@pytest.mark.parametrize("is_down", [False, True], ids=["while it is followed", "while callkpi is down"])
def test_rotation_loses_and_doubles_nothing(reader: Reader, rotate: Callable[[Path], None], is_down: bool) -> None:
    add(reader.path, "".join(f"old {n}\n" for n in range(100)))
    reader.read()
    add(reader.path, "last of the old\n")
    rotate(reader.path)
    if is_down:
        reader.restart()
    else:
        reader.read()
    add(reader.path, "first of the new\n")
    reader.read()
    reader.restart()
    add(reader.path, "second of the new\n")
    expected = ["last of the old", "first of the new", "second of the new"]
    assert reader.read() == [f"old {n}" for n in range(100)] + expected


def test_several_rotations_while_it_is_down(reader: Reader) -> None:
    add(reader.path, "a\n")
    reader.read()
    for number in range(3):
        add(reader.path, f"b{number}\n")
        rotated = reader.path.with_name(f"queue_log-{number}")
        reader.path.rename(rotated)
        os.utime(rotated, (1_790_000_000 + number, 1_790_000_000 + number))
    add(reader.path, "c\n")
    reader.restart()
    assert reader.read() == ["a", "b0", "b1", "b2", "c"]


def test_an_emptied_file_that_has_grown_beyond_where_we_were_is_a_new_one(reader: Reader) -> None:
    add(reader.path, "old\n")
    reader.read()
    os.truncate(reader.path, 0)
    add(reader.path, "new and longer\n")
    assert reader.read() == ["old", "new and longer"]
    assert reader.follower.gaps == 1  # what may have been in it behind "old" is nowhere


def test_a_writer_that_still_has_the_old_file_open_is_read_to_its_end(reader: Reader) -> None:
    with reader.path.open("a") as writer:
        writer.write("one\n")
        writer.flush()
        reader.read()
        renamed_and_made(reader.path)
        reader.read()
        writer.write("after the rename\n")
    reader.read()
    add(reader.path, "new\n")
    assert reader.read() == ["one", "after the rename", "new"]


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_to_it_every_line_is_read_once(reader: Reader, seed: int) -> None:
    chance, written = random.Random(seed), []
    for number in range(200):
        line = f"{number} {'x' * chance.randrange(40)}"
        cut = chance.randrange(len(line))
        add(reader.path, line[:cut])
        if chance.random() < 0.3:
            reader.read()
        add(reader.path, f"{line[cut:]}\n")
        written.append(line)
        if chance.random() < 0.1:
            reader.read()
            rotated = reader.path.with_name(f"queue_log.{number}")
            reader.path.rename(rotated)
            os.utime(rotated, (1_790_000_000 + number, 1_790_000_000 + number))
        if chance.random() < 0.1:
            reader.restart()
    assert reader.read() == written


# -- the daemon's part -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def following(world: World, dsn: str, path: Path) -> AsyncIterator[None]:
    source = replace(world.settings.sources["qlog"], token="", queue_log=str(path))
    settings = replace(world.settings, sources={**world.settings.sources, "qlog": source})
    ingest = Ingest(settings, world.pool, world.journal, world.health)
    intake = Intake("qlog", ingest, None, world.health)
    link = QueueLogLink(Office(world.pool, settings, ingest, None, world.health), "qlog", source)
    task = asyncio.create_task(Keeper(dsn, "qlog", link, intake, world.health).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def journalled(world: World, count: int) -> None:
    async with asyncio.timeout(20):
        while await world.pool.fetchval("SELECT count(*) FROM journal") < count:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    await world.project()


async def test_a_followed_log_is_the_truth_over_restarts_and_rotation(
    world: World, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_log, "POLL_SECONDS", 0.02)
    path, lines = tmp_path / "queue_log", capture_lines("asterisk/queue_log")
    parts = [lines[begin : begin + 250] for begin in range(0, len(lines), 250)]
    seen = 0
    for number, part in enumerate(parts):
        async with following(world, dsn, path):
            add(path, "".join(f"{line}\n" for line in part))
            seen += sum(
                "|QUEUESTART|" not in line and "|PAUSEALL|" not in line and "|UNPAUSEALL|" not in line for line in part
            )
            await journalled(world, seen)
        if number == 1:
            renamed(path)
    await expect_truth(world, "qlog")
    assert await world.findings() == []
    # All of it is from before the first start: in every report, and not in the counters for Prometheus.
    page = await world.metrics()
    assert not sample(page, "callkpi_calls_offered_total", queue="sales")
    assert sample(page, "callkpi_source_connects_total", source="qlog") == len(parts)


async def test_a_log_that_is_not_there_is_a_source_that_is_not_connected(
    world: World, dsn: str, tmp_path: Path
) -> None:
    async with following(world, dsn, tmp_path / "queue_log"):
        async with asyncio.timeout(10):
            while await world.pool.fetchval("SELECT reason FROM connections WHERE source = 'qlog'") != "unreachable":
                await asyncio.sleep(0.05)
        problem = await world.pool.fetchval("SELECT problem FROM connections WHERE source = 'qlog'")
    assert "there is no such file" in problem
