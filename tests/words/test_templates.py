"""HTML stands in templates, which escape what they are given; no Python writes any."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

import callkpi
from callkpi import templates
from callkpi.web.api import openapi
from callkpi.web.api.contract import Operation

PACKAGE = Path(callkpi.__file__).parent
#: The names of HTML's and SVG's elements, as a tag begins or ends with them.
_TAG = re.compile(
    r"<!doctype|</?(?:a|b|body|br|button|code|col|dd|details|div|dl|dt|em|figcaption|figure|font|form|h[1-6]|head|hr|html"
    r"|i|img|input|label|li|link|main|meta|nav|noscript|ol|option|p|polyline|pre|rect|script|section|select|small|span"
    r"|strong|style|sub|summary|sup|svg|table|tbody|td|text|textarea|th|thead|title|tr|u|ul)(?=[\s/>]|$)",
    re.IGNORECASE,
)
ODD = "<script>alert('1')</script> \"Ждут\" & {{ 7 * 7 }}"


def literals(tree: ast.AST) -> Iterator[ast.Constant]:
    """The texts of a module but its docstrings, those of f-strings too."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


def tags(source: str) -> list[str]:
    return [str(node.value) for node in literals(ast.parse(source)) if _TAG.search(str(node.value))]


def test_no_python_writes_html() -> None:
    found = {str(path.relative_to(PACKAGE)): tags(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    assert len(found) > 150
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("line", ['x = "<p>"', "x = f'<td class=\"{y}\">{z}</td>'", 'x = ["<svg ", "<"]', "f('</a>')"])
def test_what_writes_html_is_found(line: str) -> None:
    assert tags(f'"""About <p>."""\n{line}\n')
    assert not tags('"""About <p>."""\ndef f():\n    """A <td>."""\n    return "<unknown>", x < a\n')


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def seen(page: str) -> Seen:
    parser = Seen()
    parser.feed(page)
    parser.close()
    return parser


def test_an_odd_name_is_shown_as_it_is() -> None:
    letter = seen(
        templates.render(
            "letter.html", code="en", title=ODD, changed="c", changes=[ODD], paragraphs=[ODD, ODD],
            address=f"https://x/{ODD}",
        )
    )  # fmt: skip
    assert "script" not in letter.tags
    assert letter.texts.count(ODD) == 4 and letter.values[-1] == f"https://x/{ODD}"
    operation = Operation(path="/api", name="odd", summary=ODD, subject="About", answer=None, right=None, schema={})  # type: ignore
    page = openapi.page([operation])
    assert "<script" not in page and html.escape("<script>alert") in page


def test_what_is_printed_is_escaped_too() -> None:
    words = templates.macro("printed.html", "words", text=ODD, address=f"https://x/?a={ODD}&b", colour="#b3261e")
    assert seen(words).tags == ["font", "a"] and seen(words).texts == [ODD]
    assert templates.macro("printed.html", "words", text="a & b") == "a &amp; b"


def test_what_a_template_is_not_given_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'address' is undefined"):
        templates.render("letter.html", code="en", title="t", changed="", changes=[], paragraphs=[])


@pytest.mark.parametrize("path", sorted((PACKAGE / "templates").glob("*.html")), ids=lambda path: path.name)
def test_each_template_can_be_read_and_trusts_nothing(path: Path) -> None:
    text = path.read_text("utf-8")
    jinja2.Environment().parse(text)
    assert not re.search(r"\|\s*safe|autoescape", text)
