"""The HTML of pages and letters, as templates that escape whatever they are given."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_FILES = Path(__file__).parent


def render(name: str, **values: object) -> str:
    """A template filled with values. What it asks for and is not given is an error, not a gap."""
    return _environment().get_template(name).render(**values)


def macro(name: str, part: str, **values: object) -> Markup:
    """One part of a template, for what is drawn piece by piece."""
    return Markup(getattr(_environment().get_template(name).module, part)(**values))


def source(name: str) -> str:
    """A template as it is written: whoever keeps a page compares it."""
    return (_FILES / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    """Templates are compiled when they are first wanted, and kept as long as the process."""
    return Environment(
        loader=FileSystemLoader(_FILES), autoescape=True, undefined=StrictUndefined, auto_reload=False,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
