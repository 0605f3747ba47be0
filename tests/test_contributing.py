"""CONTRIBUTING.md and the house are true: its paths are there, and what it adds up to is what a change touches."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from callkpi.web import handbook

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
#: Where the product stands: what a recipe may have to touch.
_PLACES = ("callkpi", "sql", "grafana")


def touched(word: str) -> set[str]:
    """The files of the product that know of something by its name."""
    files = [path for place in _PLACES for path in (ROOT / place).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix in (".py", ".md", ".sql", ".yaml", ".po", ".html")]
    found = {path for path in files if re.search(rf"\b{word}\b", path.read_text("utf-8"), re.IGNORECASE)}
    return {path.relative_to(ROOT).as_posix() for path in found}


def pages(name: str, chapter: str) -> set[str]:
    """The pages of the handbook that a new page of a chapter touches: itself and the one that leads to it."""
    return {
        f"callkpi/handbook/{code}/{each}.md" for code in handbook.LANGUAGES for each in (f"{chapter}/{name}", chapter)
    }


def test_every_path_that_is_named_is_there() -> None:
    named = set(re.findall(r"`((?:callkpi|tests|sql|grafana|\.ci)/[\w./*-]*)`", TEXT))
    assert len(named) > 20
    for path in named:
        assert list(ROOT.glob(path.rstrip("/").replace("NAME", "*"))), path


def test_every_module_that_it_runs_is_there() -> None:
    for name in re.findall(r"python -m ((?:tests|grafana|callkpi)[\w.]*)", TEXT):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), name


@pytest.mark.parametrize("kind", ["binotel", "onlinepbx"])
def test_a_source_is_its_file_a_line_and_its_pages(kind: str) -> None:
    recipe = {f"callkpi/sources/{kind}.py", "callkpi/sources/__init__.py", *pages(kind, "sources")}
    # Settings, and the example of a cloud PBX, list all kinds.
    listing = {path for path in touched(kind) if path.startswith("callkpi/config/")} | {"callkpi/sources/mango.py"}
    assert touched(kind) - listing == recipe
    assert kind in (ROOT / "pyproject.toml").read_text()


def test_an_alert_is_its_entry_the_files_that_are_written_and_its_pages() -> None:
    found = touched("CallkpiQueuesUnseen")
    entry = {path for path in found if path.startswith("grafana/generator/")}
    written = {"grafana/prometheus/callkpi.rules.yaml", "grafana/provisioning/alerting/callkpi.yaml"}
    assert len(entry) == 1 and found == entry | written | pages("queues-unseen", "alerts")


def test_a_command_is_its_file_a_line_and_its_row() -> None:
    rows = {f"callkpi/handbook/{code}/commands.md" for code in handbook.LANGUAGES}
    found = touched("callkpi completion")
    assert found == {"callkpi/commands/completion.py", *rows}
    assert '"completion":' in (ROOT / "callkpi" / "commands" / "cli.py").read_text()


def test_the_rooms_of_the_handbook_are_the_floors_of_the_house() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (house,) = (contract for contract in contracts if contract["name"] == "the house")
    floors = [set(floor.split(" | ")) for floor in house["layers"]]
    rooms = [name for floor in floors for name in floor if (ROOT / "callkpi" / name).is_dir()]
    for code in handbook.LANGUAGES:
        told = re.findall(r"^\| `(\w+)` \|", handbook.text_of(code, "architecture"), re.MULTILINE)
        assert set(told) == set(rooms)
        levels = [next(level for level, floor in enumerate(floors) if name in floor) for name in told]
        assert levels == sorted(levels)
