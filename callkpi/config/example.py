"""Configurations to begin with: three worlds of ten lines, or every key with its sentence; and the schema for editors.

A line of text begins with ``##``, a key that may be written with ``#``.
"""

from __future__ import annotations

import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from callkpi.config.reading import adapter, plain
from callkpi.config.source import Source, kinds
from callkpi.config.tree import Settings, Tenant

_HEAD = """\
## callkpi.toml: take the world that is yours, remove "# " before its lines, and the other worlds.
## 'callkpi check-config --connect' tries what you wrote. 'callkpi example-config --all' prints every key.
"""
_WORLD = """\
# [tenants.default]
# timezone = "Asia/Almaty"
# region = "KZ"
# [tenants.default.business_hours]
# mon = "09:00-18:00"
"""


def example() -> str:
    """Three worlds of ten lines, one of which is the reader's, all commented."""
    worlds = [_world(kind, source) for kind, source in kinds().items() if source.HINT]
    return "\n".join([_HEAD, *worlds])


def _world(kind: str, source: type[Source]) -> str:
    keys = [f"[sources.{kind}]", f'kind = "{kind}"', *source.EXAMPLE.splitlines()]
    hints = "\n".join(f"## {line}" for line in source.HINT.splitlines())
    return f"{hints}\n{_WORLD}" + "".join(f"# {line}\n" for line in keys)


#: Of tables whose keys are names: one that somebody might choose.
_NAMES = {
    "queues": "sales", "lines": "7172700100", "agents": "1003", "people": "dana", "teams": "sales", "shifts": "night",
    "fields": "campaign", "goals": "quick", "reports": "daily", "tokens": "wall",
}  # fmt: skip
#: What stands in a table of texts, and what it is for.
_TEXTS = {
    "business_hours": ("a day that is absent is closed; no table: always open", ('mon = "09:00-18:00"',)),
    "special_days": ("days with other hours; a closed day is in holidays", ('"2026-12-31" = "10:00-15:00"',)),
    "by_day": ("weekdays with other hours", ('sat = "10:00-14:00"',)),
    "responsible": ("numbers of users of the portal", ('"queue:sales" = "7"',)),
    "columns": ("tables of calls: the title of each column", ('started = "Date"',)),
    "directions": ("tables of calls", ('Incoming = "inbound"',)),
    "outcomes": ("tables of calls", ('Missed = "no_answer"',)),
}  # fmt: skip


def whole_example() -> str:
    """A commented callkpi.toml with every key, made from the settings themselves."""
    lines = ["## callkpi.toml: every key with its default; uncomment what you change.", ""]
    for spec in fields(Settings):
        if spec.name == "tenants":
            lines += _table("tenants.default", Tenant)
        elif spec.name == "sources":
            for kind, source in kinds().items():
                lines += _table(f"sources.{kind}", source)
        else:
            hint = typing.get_type_hints(Settings)[spec.name]
            lines += _entry(spec.name, hint)
    return "\n".join(lines)


def _entry(where: str, hint: Any) -> list[str]:
    """The lines of a table, or of one that stands for all of a table of tables."""
    if typing.get_origin(hint) is dict:
        where, hint = f"{where}.{_NAMES[where.rpartition('.')[2]]}", typing.get_args(hint)[1]
    return _table(where, hint)


def _table(where: str, cls: Any) -> list[str]:
    """The keys of a table, then the tables in it: TOML wants them in this order."""
    hints = {name: plain(hint) for name, hint in typing.get_type_hints(cls).items()}
    lines, inner = [f"# [{where}]"], []
    for spec in fields(cls):
        key, hint = f"{where}.{spec.name}", hints[spec.name]
        if spec.name in _TEXTS:
            text, keys = _TEXTS[spec.name]
            inner += [f"# [{key}]", f"## {text}", *(f"# {line}" for line in keys), ""]
        elif is_dataclass(hint) or typing.get_origin(hint) is dict:
            inner += [f"## {spec.metadata['description']}", *_entry(key, hint)]
        else:
            default = spec.default if spec.default is not MISSING else {}
            lines += [f"## {spec.metadata['description']}", f"# {spec.name} = {_toml(default)}"]
    return [*lines, "", *inner]


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + str(value) + "'" if "\\" in value else f'"{value}"'
    return '""  # none' if value is None or value == {} else repr(value)


# -- the schema for editors -------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """The JSON schema of callkpi.toml: editors complete and check keys by it."""
    own = {kind: adapter(typing.cast(Any, settings)) for kind, settings in kinds().items()}
    inputs = [("tree", "validation", adapter(Settings)), *((kind, "validation", each) for kind, each in own.items())]
    from pydantic import TypeAdapter

    told, shared = TypeAdapter.json_schemas(
        typing.cast(Any, inputs), title="callkpi.toml", ref_template="#/$defs/{model}"
    )
    definitions = dict(shared.get("$defs", {}))
    tree = definitions.pop("Settings") if "Settings" in definitions else dict(told["tree", "validation"])
    choices = []
    for kind in own:
        told_of = told[kind, "validation"]
        choices.append({"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": told_of})
    tree["properties"]["sources"] = {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"kind": {"enum": list(own)}},
            "required": ["kind"],
            "allOf": choices,
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "callkpi.toml",
        **tree,
        "$defs": definitions,
    }
