"""From ``callkpi.toml`` and the environment to the tree. Errors are collected, each with its key and what to write."""

from __future__ import annotations

import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from callkpi.config.checks import check
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

T = TypeVar("T")


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
    chosen = _file(path, env)
    raw = _read_toml(chosen) if chosen is not None else {}
    problems: list[str] = []
    _merge_environment(raw, env, problems)
    settings = _build(Settings, raw, "", problems)
    if settings is not None:
        check(settings, problems)
    if problems or settings is None:
        raise ConfigError(problems)
    return settings


def is_given(path: Path | None = None, env: Mapping[str, str] | None = None) -> bool:
    """Whether anybody has configured anything: a file was found, or a variable is set."""
    env = os.environ if env is None else env
    return _file(path, env) is not None or any(_is_setting(name) for name in env)


def _file(path: Path | None, env: Mapping[str, str]) -> Path | None:
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


def _merge_environment(raw: dict[str, Any], env: Mapping[str, str], problems: list[str]) -> None:
    for name, value in sorted(env.items()):
        if not _is_setting(name):
            continue
        key = name
        if name.endswith("_FILE"):
            key = name.removesuffix("_FILE")
            try:
                value = Path(value).read_text("utf-8").strip()
            except OSError as error:
                problems.append(f"{name}: can't read {value!r}: {error.strerror}; name a readable file")
                continue
        path = ALIASES.get(key) or tuple(part.lower() for part in key.removeprefix("CALLKPI_").split("__"))
        if len(path) < 2:
            problems.append(f"{name}: no such setting{guess(name, ALIASES)}; write CALLKPI_SECTION__KEY")
            continue
        node = raw
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """The types of the keys of a table: they are evaluated from text, which takes longer than the table itself."""
    return typing.get_type_hints(cls)


def _build(cls: type[T], raw: Any, path: str, problems: list[str]) -> T | None:
    """An instance of the dataclass *cls* from a TOML table; problems are added to the list."""
    if not isinstance(raw, dict):
        problems.append(f"{path}: must be a table, not {raw!r}")
        return None
    hints = _hints(typing.cast(Hashable, cls))
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    before = len(problems)
    for key, value in raw.items():
        where = f"{path}.{key}" if path else key
        if key not in known:
            problems.append(f"{where}: unknown key{guess(key, known)}; known here: {', '.join(known)}")
            continue
        values[key] = _value(hints[key], value, where, problems)
    for name, spec in known.items():
        if spec.default is MISSING and spec.default_factory is MISSING and name not in values:
            problems.append(f"{path}.{name}: is required")
    return cls(**values) if len(problems) == before else None


def _value(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        origin = typing.get_origin(hint)
    if is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, where, problems)
    if origin is dict:
        return _table(typing.get_args(hint)[1], value, where, problems)
    if origin is tuple:
        return _strings(value, where, problems)
    return _scalar(hint, value, where, problems)


def _table(inner: Any, value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        problems.append(f"{where}: must be a table, e.g. [{where}.name]")
        return {}
    return {str(key): _value(inner, item, f"{where}.{key}", problems) for key, item in value.items()}


def _strings(value: Any, where: str, problems: list[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    problems.append(f'{where}: must be a list of strings, e.g. ["a", "b"]')
    return ()


def _scalar(hint: Any, value: Any, where: str, problems: list[str]) -> Any:
    if hint is str and isinstance(value, str):
        return value
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value in list(hint):
            return hint(value)
        problems.append(f"{where}: {value!r} is none of {', '.join(hint)}{guess(str(value), list(hint))}")
        return None
    if hint is bool:
        return _truth(value, where, problems)
    if hint in (int, float):
        try:
            # inf and nan are numbers to TOML and to Python, and no figure can be reckoned with them.
            if not isinstance(value, bool) and math.isfinite(number := hint(value)):
                return number
        except (TypeError, ValueError, OverflowError):
            pass
    problems.append(f"{where}: must be {'text' if hint is str else 'a number'}, not {value!r}")
    return None


def _truth(value: Any, where: str, problems: list[str]) -> bool | None:
    """A boolean, also as the environment writes it."""
    told = value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value).lower())
    if told is None:
        problems.append(f"{where}: must be true or false, not {value!r}")
    return told
