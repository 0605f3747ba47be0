"""What an installation gets: a wheel that works from any directory, a compose file that is true to its schema."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_the_wheel_has_sql_and_grafana_inside_and_works_from_any_directory(tmp_path: Path) -> None:
    source = tmp_path / "source"
    # A build leaves files behind that a later one would take in: not in the checkout.
    for name in ("callkpi", "sql", "grafana"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q")
    built = run(*pip, "-w", str(tmp_path), str(source))
    assert built.returncode == 0, built.stderr
    wheel = next(tmp_path.glob("callkpi-*.whl"))
    unpacked = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(unpacked)
    sources = {f"callkpi/{path.relative_to(ROOT)}" for path in (ROOT / "sql").rglob("*.sql")}
    assert sources and sources <= names
    grafana = {f"callkpi/{path.relative_to(ROOT)}" for path in (ROOT / "grafana").rglob("*") if path.is_file()}
    assert grafana and grafana <= names
    board = {f"callkpi/web/board{rest}" for rest in (".html", ".js", ".css", "_texts.json")}
    assert board <= names
    code = (
        "from callkpi import migrations, store; print(migrations.newest(), len(store.query('journal', 'append')) > 0)"
    )
    told = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(unpacked)!r}); {code}", cwd=tmp_path)
    assert told.stdout.split()[1:] == ["True"], told.stderr


def test_the_compose_file_is_true_to_its_schema() -> None:
    checked = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_lock_names_no_host_and_pins_every_dependency() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert lines and all("==" in line and "/" not in line and "@" not in line for line in lines)
