"""What an installation gets: a wheel that works from any directory, a compose file that is true to its schema."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from callkpi import config

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
    grafana = {f"callkpi/{path.relative_to(ROOT)}" for path in (ROOT / "grafana").rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    assert len(grafana) > 20 and grafana <= names
    board = {f"callkpi/web/board{rest}" for rest in (".js", ".css")}
    assert board <= names
    handbook = {str(path.relative_to(ROOT)) for path in (ROOT / "callkpi" / "handbook").rglob("*.md")}
    assert len(handbook) > 100 and handbook | {"callkpi/web/handbook.css"} <= names
    words = {f"callkpi/words/locale/{code}/LC_MESSAGES/callkpi.po" for code in ("en", "ru", "kk")}
    templates = {f"callkpi/templates/{path.name}" for path in (ROOT / "callkpi/templates").glob("*.html")}
    assert len(templates) > 5 and words | templates <= names
    code = (
        "from callkpi.database import migrations, store\n"
        "print(migrations.newest(), len(store.query('journal', 'append')) > 0)"
    )
    told = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{code}", cwd=tmp_path)
    assert told.stdout.split()[1:] == ["True"], told.stderr
    code = (
        "from pathlib import Path\nfrom callkpi.commands import grafana_files\n"
        "print(len(grafana_files.write(Path('g'))))"
    )
    told = run(sys.executable, "-c", f"import sys; sys.path.insert(0, {str(unpacked)!r})\n{code}", cwd=tmp_path)
    assert int(told.stdout) == len(list((tmp_path / "g").rglob("*.*"))) > 15, told.stderr


def test_the_compose_file_is_true_to_its_schema() -> None:
    checked = run(
        sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


COMPOSE = ROOT / "docker-compose.yml"
#: What docker makes empty where it is missing, and the service setup fills.
MADE_AT_FIRST = {"./config", "./secrets/of_postgres", "./secrets/of_callkpi", "./secrets/of_grafana",
                 "./secrets/alertmanager"}  # fmt: skip


def set_up(directory: Path) -> None:
    """Run what the service setup runs, on a directory."""
    setup = yaml(COMPOSE)["services"]["setup"]
    assert setup["entrypoint"] == ["python", "-c"] and setup["volumes"] == [".:/here"]
    code = setup["command"][0]
    assert code.count('"/here"') == 1 and "$" not in code
    done = run(sys.executable, "-c", code.replace('"/here"', repr(str(directory))), cwd=directory)
    assert done.returncode == 0, done.stderr


def secrets_of(name: str) -> set[str]:
    """The secrets that a service finds in /run/secrets after the first start."""
    with tempfile.TemporaryDirectory() as directory:
        set_up(Path(directory))
        volumes = [volume.split(":") for volume in yaml(COMPOSE)["services"][name]["volumes"]]
        (source,) = (source for source, target, *_ in volumes if target == "/run/secrets")
        return {path.name for path in (Path(directory) / source).iterdir()}


def test_everything_that_compose_mounts_is_there_or_made_by_its_first_start(tmp_path: Path) -> None:
    """Docker makes a folder of whatever is missing, so no single file is mounted that may be."""
    compose = yaml(COMPOSE)
    mounted = {m.split(":")[0] for service in compose["services"].values() for m in service.get("volumes", ())}
    set_up(tmp_path)
    for path in mounted:
        if path in MADE_AT_FIRST:
            assert (tmp_path / path).is_dir(), path
        elif path.startswith("."):
            assert (ROOT / path).is_dir(), path
        else:
            assert path in compose["volumes"], path
    assert mounted >= MADE_AT_FIRST
    assert "secrets" not in compose
    for name in ("postgres", "callkpi", "grafana"):
        waits_for = compose["services"][name]["depends_on"]["setup"]
        assert waits_for == {"condition": "service_completed_successfully"}


def test_the_first_start_makes_secrets_and_a_later_one_keeps_them(tmp_path: Path) -> None:
    set_up(tmp_path)
    kept = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in kept.iterdir() if path.is_file()}
    assert made.keys() == {"db_password", "api_token", "reader_password", "grafana_admin"}
    assert len(set(made.values())) == 4 and all(len(secret.strip()) == 48 for secret in made.values())
    assert kept.stat().st_mode & 0o077 == 0
    assert (kept / "of_postgres" / "db_password").stat().st_mode & 0o044 == 0o044
    assert secrets_of("postgres") == {"db_password"} and secrets_of("grafana") == {"grafana_admin", "reader_password"}
    (kept / "api_token").write_text("my own, which is long enough")
    (kept / "grafana_admin").write_text("")
    (tmp_path / "callkpi.toml").write_text("# as an earlier version wanted it")
    set_up(tmp_path)
    assert (kept / "of_callkpi" / "api_token").read_text() == "my own, which is long enough"
    assert (kept / "of_callkpi" / "db_password").read_text() == made["db_password"]
    assert len((kept / "of_grafana" / "grafana_admin").read_text().strip()) == 48
    assert (tmp_path / "config" / "callkpi.toml").read_text() == "# as an earlier version wanted it"


def test_the_image_gets_nothing_that_is_secret() -> None:
    """Neither by what is copied nor by what the builder is sent."""
    dockerfile = yaml(COMPOSE)["services"]["callkpi"]["build"]["dockerfile_inline"]
    copied = {word for line in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE) for word in line.split()}
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line.removeprefix("!") for line in lines if line.startswith("!")} == copied
    assert copied == {"pyproject.toml", "requirements.lock", "README.md", "LICENSE", "callkpi", "sql", "grafana"}
    # What the wheel is built of is all there.
    assert all((ROOT / name).exists() for name in copied)


def test_compose_pins_versions_checks_health_and_has_no_password_of_its_own() -> None:
    services = yaml(COMPOSE)["services"]
    assert services.keys() == {"setup", "postgres", "callkpi", "prometheus", "alertmanager", "grafana"}
    for name, service in services.items():
        assert name == "setup" or (service["healthcheck"]["test"] and service["restart"])
        image = service.get("image") or re.search(r"FROM (\S+)", service["build"]["dockerfile_inline"])[1]  # type: ignore[index]
        assert re.search(r":v?\d+\.\d+", image), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), port
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", key):
                assert key.upper().endswith("_FILE") and value.removeprefix("/run/secrets/") in secrets_of(name), key


def test_grafana_gets_every_variable_and_file_that_its_provisioning_names() -> None:
    grafana = yaml(COMPOSE)["services"]["grafana"]
    for name in ("datasources", "dashboards"):
        text = (ROOT / "grafana" / "provisioning" / name / "callkpi.yaml").read_text()
        body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
        variables = set(re.findall(r"\$\{?([A-Z]\w+)\}?", body))
        assert variables <= grafana["environment"].keys()
        # Where Grafana and callkpi share an environment, the one must not stumble over the other's.
        assert config.load(env=dict.fromkeys(variables, "x")) == config.load(env={})
        for path in re.findall(r"\$__file\{([^}]+)\}", body):
            assert path.removeprefix("/run/secrets/") in secrets_of("grafana")
    mounted = dict(mount.split(":")[:2] for mount in grafana["volumes"])
    inside = mounted["./grafana/dashboards"]
    for provider in yaml(ROOT / "grafana/provisioning/dashboards/callkpi.yaml")["providers"]:
        folder = ROOT / "grafana" / "dashboards" / Path(provider["options"]["path"]).relative_to(inside)
        assert len(list(folder.glob("*.json"))) == 7
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).relative_to(inside)
    assert (ROOT / "grafana" / "dashboards" / home).is_file()


def test_datasources_have_the_uids_that_dashboards_name_and_the_interval_that_prometheus_scrapes_at() -> None:
    sources = yaml(ROOT / "grafana/provisioning/datasources/callkpi.yaml")["datasources"]
    uids = {source["uid"]: source for source in sources}
    named = set(re.findall(r'"uid": "(callkpi-(?:prometheus|postgres))"', (
        ROOT / "grafana/dashboards/en/callkpi-wall.json").read_text()))  # fmt: skip
    assert named == uids.keys()
    scrape = yaml(ROOT / "grafana/prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert uids["callkpi-prometheus"]["jsonData"]["timeInterval"] == scrape


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian package prometheus is not installed")
def test_prometheus_takes_its_configuration_with_the_rules_beside_it() -> None:
    checked = run("promtool", "check", "config", "grafana/prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_commands_of_callkpi_in_compose_are_real() -> None:
    text = COMPOSE.read_text()
    commands = set(re.findall(r"exec (?:callkpi )?callkpi ([a-z-]+)", text))
    assert commands == {"serve", "example-config"}
    for command in commands:
        assert run(sys.executable, "-m", "callkpi", command, "--help").returncode == 0


def test_grafana_files_are_written_where_they_are_wanted_and_keep_what_people_changed(tmp_path: Path) -> None:
    target = tmp_path / "grafana"
    first = run(sys.executable, "-m", "callkpi", "grafana-files", str(target))
    assert first.returncode == 0, first.stderr
    provider = yaml(target / "provisioning" / "dashboards" / "callkpi.yaml")["providers"][0]
    assert len(list(Path(provider["options"]["path"]).glob("*.json"))) == 7
    mine = target / "provisioning" / "datasources" / "callkpi.yaml"
    mine.write_text("mine")
    wall = target / "dashboards" / "en" / "callkpi-wall.json"
    wall.write_text("old")
    run(sys.executable, "-m", "callkpi", "grafana-files", str(target))
    assert mine.read_text() == "mine" and wall.read_text() != "old"


def test_the_lock_names_no_host_and_pins_every_dependency() -> None:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert lines and all("==" in line and "/" not in line and "@" not in line for line in lines)
