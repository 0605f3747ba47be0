"""From ``callkpi.toml`` and the environment to the tree. Errors are collected, each with its key and what to write."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callkpi.config.checks import check
from callkpi.config.reading import Problems, read
from callkpi.config.tree import Settings
from callkpi.config.words import guess

ALIASES = {
    "CALLKPI_LISTEN": ("server", "listen"),
    "CALLKPI_DATA_DIR": ("database", "data_dir"),
    "CALLKPI_DATABASE_URL": ("database", "url"),
}
#: Variables of the CALLKPI_ family that are not settings: the file's name, those of Grafana's provisioning, which may
#: stand in one environment with them, and what Kubernetes tells every container of a service that is called callkpi.
NOT_SETTINGS = re.compile(
    r"CALLKPI_(CONFIG|PROMETHEUS_URL|PG_(HOST|DATABASE|SSLMODE)|GRAFANA_TOKEN|SERVICE_(HOST|PORT)\w*|PORT(_\d+_\w+)?)"
)


class ConfigError(Exception):
    """Settings that can't be used; ``problems`` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read the file (``CALLKPI_CONFIG``, else ``callkpi.toml`` here if there is one) and the environment.

    Raises ConfigError with one line a problem.
    """
    env = os.environ if env is None else env
    chosen = chosen_file(path, env)
    raw = _read_toml(chosen) if chosen is not None else {}
    problems = Problems()
    _merge_environment(raw, env, problems)
    settings = read(raw, problems)
    for line in check(settings):
        problems.also(line)
    if problems.lines:
        raise ConfigError(problems.lines)
    return settings


def is_given(path: Path | None = None, env: Mapping[str, str] | None = None) -> bool:
    """Whether anybody has configured anything: a file was found, or a variable is set."""
    env = os.environ if env is None else env
    return chosen_file(path, env) is not None or any(_is_setting(name) for name in env)


def chosen_file(path: Path | None = None, env: Mapping[str, str] | None = None) -> Path | None:
    """The file that is read; None where there is none."""
    env = os.environ if env is None else env
    chosen = path or (Path(env["CALLKPI_CONFIG"]) if env.get("CALLKPI_CONFIG") else None)
    return Path("callkpi.toml") if chosen is None and Path("callkpi.toml").is_file() else chosen


def _is_setting(name: str) -> bool:
    return name.startswith("CALLKPI_") and not NOT_SETTINGS.fullmatch(name)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; write one with 'callkpi example-config > {path}'"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from None


def _merge_environment(raw: dict[str, Any], env: Mapping[str, str], problems: Problems) -> None:
    for name, value in sorted(env.items()):
        if not _is_setting(name):
            continue
        key = name.removesuffix("_FILE")
        path = ALIASES.get(key) or tuple(part.lower() for part in key.removeprefix("CALLKPI_").split("__"))
        if len(path) < 2:
            problems.lines.append(f"{name}: no such setting{guess(name, ALIASES)}; write CALLKPI_SECTION__KEY")
            continue
        if key != name:
            try:
                value = Path(value).read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text of UTF-8"
                problems.lines.append(f"{name}: can't read {value!r}: {why}; name a readable file")
                problems.keys.append(".".join(path))
                continue
        if not _put(raw, path, value):
            problems.lines.append(f"{name}: is a key of what is no table in the file; take one of the two away")


def _put(raw: dict[str, Any], path: tuple[str, ...], value: str) -> bool:
    """Set a key of nested tables. Whether it could be done: on the way there may be something else."""
    node: Any = raw
    for part in path[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            return False
    node[path[-1]] = value
    return True
