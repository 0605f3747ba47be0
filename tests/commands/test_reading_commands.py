"""Commands that read: they make no database, for the figures of an empty one are wrong and look like good news."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from callkpi import config
from callkpi.commands import cli
from callkpi.database import migrations

ROOT = Path(__file__).parent.parent.parent
COMMANDS = [
    ["report"], ["report", "--period", "yesterday"], ["report", "send", "--dry-run"], ["summary"], ["missed"],
    ["audit"], ["roster", "import", "plan.csv"], ["doctor"], ["rebuild"], ["replay-rejected"],
    ["erase", "+77011234567", "--dry-run"],
    ["crm-funnel", "--source", "portal", "--dry-run"], ["backfill", "--source", "portal", "--from", "2026-09-01"],
]  # fmt: skip


def run(arguments: list[str], place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of somebody who has nothing in his environment but a home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLKPI_")}
    home = {"HOME": str(place), "XDG_DATA_HOME": str(place / "share"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "callkpi", *arguments], capture_output=True, text=True, check=False, cwd=place,
        env={**kept, **home, **variables},
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "plan.csv").write_text("agent,date,from,to\nDana,2026-11-24,09:00,18:00\n")
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS)
def test_where_nothing_is_configured_a_command_says_that_it_found_no_file(
    arguments: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("CALLKPI_")]:
        monkeypatch.delenv(name)
    # Somebody who is not root: his data directory is in his home.
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(place / "share"))
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    (line,) = told.err.splitlines()
    assert line.startswith("callkpi: no configuration file was found: name it with --config FILE or CALLKPI_CONFIG")
    assert f"there is no database in {place}/share/callkpi either" in line
    assert not (place / "share").exists()


SOURCE = '[sources.portal]\nkind = "bitrix24"\napplication_tokens = ["t"]\n'


@pytest.mark.parametrize("arguments", [each for each in COMMANDS if each[0] not in ("crm-funnel", "backfill")])
def test_where_a_file_is_but_no_database_a_command_makes_none(arguments: list[str], place: Path) -> None:
    """The file that was taken from another machine, or whose daemon was never started."""
    (place / "callkpi.toml").write_text(f'[database]\ndata_dir = "{place}/data"\n{SOURCE}')
    done = run(arguments, place)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"callkpi: there is no database in {place}/data yet; 'callkpi serve' or 'callkpi migrate'")
    assert not (place / "data").exists()


def test_a_data_directory_of_a_variable_is_looked_into(place: Path) -> None:
    done = run(["missed"], place, CALLKPI_DATA_DIR=str(place / "moved"))
    assert done.returncode == 2 and f"there is no database in {place}/moved yet" in done.stderr
    assert not (place / "moved").exists()


async def test_a_given_database_without_our_tables_gets_none_from_a_command_that_reads(dsn: str, place: Path) -> None:
    """A name that is written wrong is somebody else's database."""
    admin = await asyncpg.connect(dsn)
    await admin.execute("DROP DATABASE IF EXISTS somebody_elses")
    await admin.execute("CREATE DATABASE somebody_elses")
    other = dsn.replace("/postgres?", "/somebody_elses?")
    try:
        done = await asyncio.to_thread(run, ["missed"], place, CALLKPI_DATABASE_URL=other)
        assert (done.returncode, done.stdout) == (2, "")
        assert "has no tables of callkpi; check database.url, or make them with 'callkpi migrate'" in done.stderr
        theirs = await asyncpg.connect(other)
        assert not await migrations.applied(theirs)
        await theirs.close()
        made = await asyncio.to_thread(run, ["migrate"], place, CALLKPI_DATABASE_URL=other)
        assert made.returncode == 0, made.stderr
        done = await asyncio.to_thread(run, ["missed"], place, CALLKPI_DATABASE_URL=other)
        assert (done.returncode, done.stdout) == (0, "Nobody waits for a call back.\n")
    finally:
        await admin.execute("DROP DATABASE somebody_elses")
        await admin.close()


def test_what_counts_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not config.is_given(env={"PATH": "/bin", "CALLKPI_PROMETHEUS_URL": "http://p:9090"})
    assert config.is_given(env={"CALLKPI_DATA_DIR": "/srv/callkpi"})
    assert config.is_given(env={"CALLKPI_CONFIG": "there.toml"})
    assert config.is_given(Path("here.toml"), env={})
    (tmp_path / "callkpi.toml").write_text("")
    assert config.is_given(env={})
