"""What strangers on the network and other users of the machine could use: weak secrets, open metrics, lock files."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from callkpi import config
from callkpi.config import ConfigError
from callkpi.database import embedded, locks

EVERYWHERE, HERE = 'listen = "0.0.0.0:8090"', 'listen = "127.0.0.1:8090"'
GOOD = "f3b1c7" * 8


def written(tmp_path: Path, secret: str, server: str) -> Path:
    path = tmp_path / "callkpi.toml"
    path.write_text(f'[server]\n{server}\n[sources.pbx]\nkind = "native"\ntoken = "{secret}"\n')
    return path


@pytest.mark.parametrize(
    "secret",
    ["x", "s3cr3t!", "changeme", "CHANGE-ME", "your_token", "A-LONG-RANDOM-STRING", "12345678", "aaaaaaaaaaaaaaaa"],
)
def test_a_secret_that_anybody_guesses_is_refused_where_anybody_may_knock(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(written(tmp_path, secret, EVERYWHERE), {})
    (problem,) = caught.value.problems
    assert problem.startswith("sources.pbx.token: ") and "'openssl rand -hex 24'" in problem
    assert len(secret) < 8 or secret not in problem
    tree = config.load(written(tmp_path, secret, HERE), {})
    (warning,) = config.warnings(tree)
    assert warning.startswith("sources.pbx.token ") and "'openssl rand -hex 24'" in warning


@pytest.mark.parametrize(
    "lines",
    [
        'api_token = "x"', 'metrics_token = "x"', '[sources.p]\nkind = "bitrix24"\napplication_tokens = ["x"]',
        '[sources.p]\nkind = "zadarma"\nsecrets = ["x"]',
    ],
)  # fmt: skip
def test_every_secret_of_a_door_is_looked_at(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "callkpi.toml"
    path.write_text(f"[server]\n{EVERYWHERE}\n{lines}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert "has 1 characters" in str(caught.value) or "no secret" in str(caught.value)


def test_a_short_secret_is_told_of_and_a_good_one_is_not(tmp_path: Path) -> None:
    metrics = f'metrics_token = "{GOOD}"'
    short = config.load(written(tmp_path, "nine-l3tt", f"{EVERYWHERE}\n{metrics}"), {})
    (warning,) = config.warnings(short)
    assert warning.startswith("sources.pbx.token has only 9 characters; write at least 16")
    assert config.warnings(config.load(written(tmp_path, GOOD, f"{EVERYWHERE}\n{metrics}"), {})) == []


@pytest.mark.parametrize("listen", ["0.0.0.0:8090", "[::]:8090", "192.0.2.1:8090", "calls.example:8090"])
def test_metrics_that_strangers_may_read_are_told_of(tmp_path: Path, listen: str) -> None:
    told = config.warnings(config.load(written(tmp_path, GOOD, f'listen = "{listen}"'), {}))
    assert [line.partition(";")[0] for line in told] == [
        f"/metrics is open to everybody who reaches {listen}, and its labels name queues, lines and agents"
    ]


@pytest.mark.parametrize("listen", ["127.0.0.1:8090", "127.8.9.1:8090", "[::1]:8090", "localhost:8090"])
def test_metrics_for_this_machine_alone_need_no_token(tmp_path: Path, listen: str) -> None:
    assert config.warnings(config.load(written(tmp_path, GOOD, f'listen = "{listen}"'), {})) == []


def test_check_config_tells_of_both(tmp_path: Path) -> None:
    path = written(tmp_path, "nine-l3tt", EVERYWHERE)
    command = [sys.executable, "-m", "callkpi", "check-config", "--config", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0 and len(re.findall("^Warning: ", said.stderr, re.MULTILINE)) == 2


# -- lock files -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """A lock on the file as another user takes it: reading is enough."""
    number = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def test_a_lock_file_that_others_can_open_does_not_hold_up_the_start(tmp_path: Path) -> None:
    path = tmp_path / "start.lock"
    path.touch(mode=0o644)
    path.chmod(0o644)
    with held_by_another(path), embedded._only_one(tmp_path):
        assert path.stat().st_mode & 0o777 == 0o600
    with embedded._only_one(tmp_path):
        assert sorted(tmp_path.iterdir()) == [path]


def test_a_new_lock_file_is_its_owners_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with locks.open_lock(tmp_path / "a.lock") as lock:
            assert os.fstat(lock.fileno()).st_mode & 0o777 == 0o600
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with locks.open_lock(tmp_path / "a.lock") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert locks.is_current(lock, tmp_path / "a.lock")
    finally:
        os.umask(before)


def test_a_lock_file_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").touch()
    (tmp_path / "a.lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        locks.open_lock(tmp_path / "a.lock")


def test_the_spools_lock_is_its_owners(tmp_path: Path) -> None:
    from callkpi.ingest.spool import FILE, Spool

    (tmp_path / f"{FILE}.lock").touch(mode=0o644)
    spool = Spool(tmp_path, 1024)
    try:
        assert asyncio.run(spool.size()).deliveries == 0
        assert (tmp_path / f"{FILE}.lock").stat().st_mode & 0o777 == 0o600
    finally:
        spool.close()


def test_a_directory_for_the_socket_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    sockets = tmp_path / "socket"
    sockets.mkdir()
    embedded._check_owner(sockets, None)
    sockets.chmod(0o777)
    with pytest.raises(embedded.EmbeddedError, match="others may write to it"):
        embedded._check_owner(sockets, None)
