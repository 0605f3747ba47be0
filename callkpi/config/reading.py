"""What pydantic makes of the tables of a file: the tree of settings, and in our words all that is wrong with them.

A value that can't be read is told of, left out, and the rest is read without it: so one fault hides no other.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, TypeVar

from callkpi.config.source import Source, kinds
from callkpi.config.tree import Settings
from callkpi.config.values import Secret
from callkpi.config.words import guess

if typing.TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")


@dataclass(slots=True)
class Problems:
    """What is wrong, a line each, and the keys that were left out for it."""

    lines: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def add(self, key: str, text: str) -> None:
        self.lines.append(f"{key}: {text}")
        self.keys.append(key)

    def also(self, line: str) -> None:
        """A line of the checks: not of a key that was left out, for it can't be right."""
        if not any(line.startswith((f"{key}:", f"{key}.")) for key in self.keys):
            self.lines.append(line)


@dataclass(frozen=True, slots=True)
class _UnknownSource(Source):
    """A source of a kind that nobody knows."""

    SHOWS_TOKEN: ClassVar[bool] = False


def read(raw: Mapping[str, Any], problems: Problems) -> Settings:
    """The tree of settings of the tables of a file."""
    settings = _validated(Settings, {key: value for key, value in raw.items() if key != "sources"}, "", problems)
    tables = raw.get("sources", {})
    if not isinstance(tables, dict):
        problems.add("sources", "must be a table, e.g. [sources.name]")
        return settings
    return replace(
        settings, sources={name: _source(f"sources.{name}", table, problems) for name, table in tables.items()}
    )


def _source(where: str, table: Any, problems: Problems) -> Source:
    if not isinstance(table, dict):
        problems.add(where, f"must be a table, not {_sort(table)}")
        return _UnknownSource()
    kind, known = str(table.get("kind")), kinds()
    if "kind" not in table:
        problems.add(f"{where}.kind", f"is required; write one of {', '.join(known)}")
    elif kind not in known:
        problems.add(f"{where}.kind", f"{_shown(table['kind'])} is none of {', '.join(known)}{guess(kind, known)}")
    else:
        return _validated(known[kind], table, where, problems)
    # What is wrong with the keys that every kind has is told all the same; those of another kind may be right.
    others = {"kind", *(key for settings in known.values() for key in _names(settings))} - set(_names(Source)[1:])
    return _validated(_UnknownSource, {k: v for k, v in table.items() if k not in others}, where, problems)


@cache
def adapter(cls: type[T]) -> TypeAdapter[T]:
    """What reads a table as *cls*. pydantic is loaded here, and not by who gets settings ready-made."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _validated(cls: type[T], raw: dict[str, Any], where: str, problems: Problems) -> T:
    from pydantic import ValidationError

    while True:
        try:
            return adapter(typing.cast(Hashable, cls)).validate_python(raw)  # type: ignore[no-any-return]
        except ValidationError as error:
            for each in error.errors(include_url=False):
                key = ".".join(map(str, (where, *_told_of(each)) if where else _told_of(each)))
                problems.add(key, _said(cls, each, key))
                _leave_out(raw, each["loc"])


def _told_of(error: ErrorDetails) -> tuple[int | str, ...]:
    """The key of an error; of a text in a list the list is told of."""
    return tuple(part for part in error["loc"] if isinstance(part, str))


def _leave_out(raw: dict[str, Any], loc: tuple[int | str, ...]) -> None:
    for part in loc[:-1]:
        if not isinstance(raw.get(str(part)), dict):
            raw.pop(str(part), None)
            return
        raw = raw[str(part)]
    raw.pop(str(loc[-1]), None)


# -- errors in our words ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """What the settings have at a key."""

    hint: Any
    limits: Mapping[str, Any]
    in_list: bool


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _names(cls: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls))


def plain(hint: Any) -> Any:
    """A type without the None that an optional one may be."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(arm for arm in typing.get_args(hint) if arm is not type(None))
    return hint


def _place(cls: Any, loc: tuple[int | str, ...]) -> _Place:
    hint, limits = cls, {}
    for part in loc:
        if is_dataclass(hint):
            specs: dict[str, Field[Any]] = {each.name: each for each in fields(hint)}
            limits, hint = dict(specs[str(part)].metadata), plain(_hints(typing.cast(Hashable, hint))[str(part)])
        elif typing.get_origin(hint) is dict:
            hint = typing.get_args(hint)[1]
        elif typing.get_origin(hint) is tuple:
            hint = typing.get_args(hint)[0]
    return _Place(hint, limits, any(isinstance(part, int) for part in loc))


def _said(cls: Any, error: ErrorDetails, key: str) -> str:
    """What is wrong, and what to write. Never the value of a secret."""
    kind, value, loc = error["type"], error["input"], error["loc"]
    if kind == "unexpected_keyword_argument":
        return _unknown(_place(cls, loc[:-1]).hint, str(loc[-1]))
    place = _place(cls, loc)
    if place.in_list or typing.get_origin(place.hint) is tuple:
        return 'must be a list of strings, e.g. ["a", "b"]'
    if kind == "dict_type":
        return f"must be a table, e.g. [{key}.name]"
    if is_dataclass(place.hint):
        return f"must be a table, not {_sort(value)}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        return f"must {limits_said(place.limits)}, not {value}"
    said = _SAID.get(place.hint)
    if said is None and issubclass(place.hint, StrEnum):
        return (
            f"{_shown(value)} is none of {', '.join(place.hint)}{guess(str(value), [str(each) for each in place.hint])}"
        )
    return said(value) if said else str(error["msg"])


def _whole(value: Any) -> str:
    try:
        is_number = not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        is_number = False
    return f"must be a {'whole ' if is_number else ''}number, not {_shown(value)}"


_SAID: Mapping[Any, Callable[[Any], str]] = {
    Secret: lambda value: f"must be text in quotes, not {_sort(value)}",
    str: lambda value: f"must be text, not {_shown(value)}",
    bool: lambda value: f"must be true or false, not {_shown(value)}",
    int: _whole,
    float: lambda value: f"must be a number, not {_shown(value)}",
}


def _unknown(cls: Any, name: str) -> str:
    """What is said of a key that its table does not have."""
    own = _names(cls)
    if issubclass(cls, Source):
        having = [kind for kind, settings in kinds().items() if name in _names(settings)]
        if having:
            whose = f"kinds {', '.join(having)} have" if len(having) > 1 else f"kind {having[0]} has"
            return f"only {whose} one; remove it"
    return f"unknown key{guess(name, own)}; known here: {', '.join(own)}"


def limits_said(limits: Mapping[str, Any]) -> str:
    """``be above 0, at most 48``: the bounds of a number in words."""
    above, least, most = limits.get("gt"), limits.get("ge"), limits.get("le")
    if above is not None:
        return f"be above {above:g}" + (f", at most {most:g}" if most is not None else "")
    if least is not None and most is not None:
        return f"be {least:g} to {most:g}"
    if least is not None:
        return "not be negative" if least == 0 else f"be at least {least:g}"
    return f"be at most {most:g}"


def _shown(value: Any) -> str:
    """A value; of a table or a list only that it is one: there may be a secret in it."""
    return _sort(value) if isinstance(value, (dict, list)) else repr(value)


def _sort(value: Any) -> str:
    """What sort of value it is, for what must not be shown."""
    if isinstance(value, bool):
        return "true or false"
    return {str: "text", int: "a number", float: "a number", list: "a list", dict: "a table"}.get(type(value), "that")
