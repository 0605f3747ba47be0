"""``/handbook``: the pages of ``callkpi/handbook``, which are Markdown on disk and HTML here.

They hold no figure and no secret, so whoever reaches the daemon may read them: also one who can't sign in yet, or whom
an alert has woken.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from aiohttp import web
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from callkpi import templates, words
from callkpi.database import resources
from callkpi.web.access import PAGE_HEADERS
from callkpi.web.language import language_of
from callkpi.words import Place, catalogue

ROOT = resources.directory("handbook")
INDEX = "index"
_STYLE = "handbook.css"
_HEADERS = MappingProxyType({**PAGE_HEADERS, "Vary": "Accept-Language"})

LANGUAGES = words.LANGUAGES[Place.HANDBOOK]


def routes() -> list[web.RouteDef]:
    return [
        web.get("/handbook", _answer),
        web.get(f"/handbook/{_STYLE}", _style),
        web.get("/handbook/{page:.*}", _answer),
    ]


async def _answer(request: web.Request) -> web.Response:
    code = language_of(request, LANGUAGES)
    name = request.match_info.get("page", "") or INDEX
    asked = code if request.query.get("lang") else ""
    at = At(code, name, "/".join([".."] * (request.rel_url.raw_path.count("/") - 1)) or ".", asked)
    is_there = name in pages(code)
    shown = _page(at) if is_there else _missing(at)
    return web.Response(text=shown, status=200 if is_there else 404, content_type="text/html", headers=_HEADERS)


async def _style(_request: web.Request) -> web.Response:
    return web.Response(text=_style_text(), content_type="text/css", headers=PAGE_HEADERS)


# -- which pages there are --------------------------------------------------------------------------------


@cache
def pages(code: str) -> frozenset[str]:
    """The names of all pages of a language: ``install``, ``sources/asterisk``."""
    folder = ROOT / code
    return frozenset(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.md"))


@cache
def text_of(code: str, name: str) -> str:
    """The Markdown of a page."""
    return (ROOT / code / f"{name}.md").read_text("utf-8")


@cache
def title_of(code: str, name: str) -> str:
    """The first heading of a page."""
    return text_of(code, name).partition("\n")[0].removeprefix("# ").strip()


@cache
def contents(code: str) -> Mapping[str, tuple[str, ...]]:
    """The chapters in the order in which the index names them, each with its pages in the order in which it does."""
    chapters = [name for name in _linked(code, INDEX) if "/" not in name and name != INDEX]
    below = {name: [page for page in _linked(code, name) if page.startswith(f"{name}/")] for name in chapters}
    return {name: tuple(dict.fromkeys(below[name])) for name in dict.fromkeys(chapters)}


def _linked(code: str, name: str) -> Iterator[str]:
    """The pages that a page links to, in their order."""
    for href in links(text_of(code, name)):
        path, _, _ = href.partition("#")
        if path.endswith(".md"):
            yield _resolved(name, path).removesuffix(".md")


def _resolved(name: str, path: str) -> str:
    """A link's path within the handbook, as the page *name* writes it."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


# -- Markdown ---------------------------------------------------------------------------------------------


def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def anchor(heading: str) -> str:
    """The id of a heading, as sites that show Markdown make it: the links work on disk, there and here."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def _tokens(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _tokens(token.children or [])


def links(text: str) -> list[str]:
    """The targets of all links and pictures of a Markdown text."""
    found = (token.attrGet("href") or token.attrGet("src") for token in _tokens(_reader().parse(text)))
    return [unquote(str(href)) for href in found if href]


def headings(text: str) -> list[tuple[int, str]]:
    """Level and words of each heading of a Markdown text."""
    tokens = _reader().parse(text)
    return [
        (int(token.tag[1]), _words(tokens[index + 1]))
        for index, token in enumerate(tokens)
        if token.type == "heading_open"
    ]


def _words(inline: Token) -> str:
    return "".join(token.content for token in inline.children or [])


def html_of(text: str, target: Callable[[str], str] = str) -> str:
    """The HTML of a Markdown text; each heading has its id, and each link leads where *target* says."""
    reader = _reader()
    tokens = reader.parse(text)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(_words(tokens[index + 1])))
    for token in _tokens(tokens):
        if token.type == "link_open":
            token.attrSet("href", target(str(token.attrGet("href"))))
    return str(reader.renderer.render(tokens, reader.options, {}))


# -- the page ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
    """What a template shows as a link; without an address as plain words: the reader is there."""

    text: str
    address: str


@dataclass(frozen=True, slots=True)
class At:
    """Which page is shown, and where its reader is."""

    code: str
    name: str
    root: str  #: from the reader's address to the daemon's root, e.g. ``..``
    asked: str  #: the language, if the address names it: links go on in it

    def address(self, name: str, code: str = "") -> str:
        query = f"?lang={code or self.asked}" if code or self.asked else ""
        return f"{self.root}/{'handbook' if name == INDEX else f'handbook/{name}'}{query}"

    def target(self, href: str) -> str:
        """Where a link of this page leads to here."""
        path, sharp, heading = href.partition("#")
        if not path.endswith(".md") or ":" in path:
            return href
        return self.address(_resolved(self.name, path).removesuffix(".md")) + sharp + heading

    def page(self, name: str) -> Link:
        return Link(title_of(self.code, name), "" if name == self.name else self.address(name))


@cache
def _page(at: At) -> str:
    return _framed(at, title_of(at.code, at.name), html_of(text_of(at.code, at.name), at.target))


def _missing(at: At) -> str:
    return _framed(at, catalogue.texts(at.code, Place.HANDBOOK)["missing"], "")


def _framed(at: At, title: str, body: str) -> str:
    texts = catalogue.texts(at.code, Place.HANDBOOK)
    places = {"board": "board", "reports": "reports"}
    return templates.render(
        "handbook.html",
        code=at.code,
        title=title,
        texts=texts,
        style=f"{at.root}/handbook/{_STYLE}",
        # The handbook is a part of the program: what its Markdown says is as good as a template.
        body=Markup(body),
        ways=[
            Link(texts["handbook"], at.address(INDEX)),
            *(Link(texts[name], f"{at.root}/{path}") for name, path in places.items()),
            Link("API", f"{at.root}/api/v1/docs"),
        ],
        languages=[Link(code, "" if code == at.code else at.address(at.name, code)) for code in LANGUAGES],
        chapters=list(_chapters(at)),
    )


def _chapters(at: At) -> Iterator[tuple[Link, list[Link]]]:
    """The chapters; the pages of one are shown where the reader is in it."""
    for chapter, below in contents(at.code).items():
        is_open = chapter == at.name or at.name in below
        yield at.page(chapter), [at.page(name) for name in below] if is_open else []


@cache
def _style_text() -> str:
    return (Path(__file__).parent / _STYLE).read_text("utf-8")
