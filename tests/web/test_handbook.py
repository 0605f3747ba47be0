"""The handbook: the same pages in both languages, true to the code, every link leads somewhere, the daemon shows it."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from callkpi import config, glossary
from callkpi.commands.cli import COMMANDS
from callkpi.sources import SOURCE_TYPES
from callkpi.web import access, handbook
from callkpi.web.server import application
from tests.browser import CHROMIUM, browser
from tests.world import World

REPOSITORY = Path(__file__).parent.parent.parent
CODES = handbook.LANGUAGES
PAGES = [(code, name) for code in CODES for name in sorted(handbook.pages(code))]
KINDS = sorted(map(str, SOURCE_TYPES))
#: Texts outside of the handbook whose links and commands are held to the same.
BESIDE = ("README.md", "CONTRIBUTING.md")


def text(code: str, name: str) -> str:
    return handbook.text_of(code, name)


def blocks(body: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", body, re.MULTILINE | re.DOTALL)


# -- both languages ---------------------------------------------------------------------------------------


def test_both_languages_have_the_same_pages_with_the_same_outline() -> None:
    first, *others = CODES
    for code in others:
        assert handbook.pages(code) == handbook.pages(first)
    for name in handbook.pages(first):
        outlines = {code: [level for level, _ in handbook.headings(text(code, name))] for code in CODES}
        assert len(set(map(tuple, outlines.values()))) == 1, (name, outlines)
        tables = {code: len(re.findall(r"^\|[-|]+\|$", text(code, name), re.MULTILINE)) for code in CODES}
        assert len(set(tables.values())) == 1, (name, tables)


@pytest.mark.parametrize(("code", "name"), PAGES)
def test_a_page_begins_with_its_title_and_has_each_heading_once(code: str, name: str) -> None:
    told = handbook.headings(text(code, name))
    assert [level for level, _ in told].count(1) == 1 and told[0][0] == 1
    anchors = [handbook.anchor(words) for _, words in told]
    assert all(anchors) and len(set(anchors)) == len(anchors)


def test_there_is_a_page_for_each_kind_of_source() -> None:
    of_sources = {name.removeprefix("sources/") for name in handbook.pages("en") if name.startswith("sources/")}
    assert of_sources == set(KINDS)


# -- links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "name"), PAGES)
def test_every_link_of_the_handbook_leads_to_a_page_and_a_heading(code: str, name: str) -> None:
    for href in handbook.links(text(code, name)):
        path, _, heading = href.partition("#")
        assert not path or path.endswith(".md"), href
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else f"{name}.md"
        other = target.removesuffix(".md")
        assert other in handbook.pages(code), href
        if heading:
            assert heading in {handbook.anchor(words) for _, words in handbook.headings(text(code, other))}, href


@pytest.mark.parametrize("code", CODES)
def test_every_page_is_reached_from_the_index(code: str) -> None:
    reached, waiting = {handbook.INDEX}, [handbook.INDEX]
    while waiting:
        name = waiting.pop()
        found = set(handbook._linked(code, name)) - reached
        reached |= found
        waiting += found
    assert reached == handbook.pages(code)
    chapters = handbook.contents(code)
    assert {handbook.INDEX, *chapters, *(name for below in chapters.values() for name in below)} == reached


@pytest.mark.parametrize("name", BESIDE)
def test_every_link_of_the_texts_beside_it_leads_to_a_file_and_a_heading(name: str) -> None:
    for href in handbook.links((REPOSITORY / name).read_text()):
        if re.match(r"https?:", href):
            continue
        path, _, heading = href.partition("#")
        target = REPOSITORY / (path or name)
        assert target.exists(), href
        if heading:
            assert heading in {handbook.anchor(words) for _, words in handbook.headings(target.read_text())}, href


# -- true to the code -------------------------------------------------------------------------------------

TEXTS = {f"{code}/{name}": text(code, name) for code, name in PAGES}
#: What callkpi says that is no metric: options, names of roles and tables.
NO_METRICS = {"callkpi_reader", "callkpi_views"}


def beside() -> dict[str, str]:
    return TEXTS | {name: (REPOSITORY / name).read_text() for name in BESIDE}


def test_every_command_that_is_named_exists() -> None:
    for where, body in beside().items():
        for code in [*re.findall(r"`([^`\n]+)`", body), *"".join(blocks(body, "sh")).splitlines()]:
            for words in re.findall(r"(?:^|[ /&])callkpi (?!callkpi\b)([a-z][a-z-]+(?: send)?)", code):
                assert words in COMMANDS or words.split()[0] in COMMANDS, (where, code)
    named = set(re.findall(r"callkpi ([a-z-]+(?: send)?)", TEXTS["en/commands"]))
    assert named >= set(COMMANDS)


def test_every_metric_that_is_named_exists() -> None:
    code = "\n".join(path.read_text() for path in (REPOSITORY / "callkpi" / "metrics").glob("*.py"))
    for where, body in beside().items():
        for name in set(re.findall(r"\bcallkpi_[a-z_]+\b", body)) - NO_METRICS:
            family = re.sub(r"_(total|bucket|sum|count)$", "", name)
            # A name that ends in an underscore stands for all that begin with it.
            end = "" if family.endswith("_") else '"'
            is_there = any(f'"{family.removeprefix(prefix)}{end}' in code for prefix in ("", *PREFIXES))
            assert is_there, (where, name)


#: Families whose names the exporter puts together.
PREFIXES = ("callkpi_", "callkpi_projector_", "callkpi_recent_", "callkpi_company_recent_", "callkpi_usual_")

#: What the examples of single sections are laid upon.
GROUND = {
    "[tenants.acme]": 'timezone = "Asia/Almaty"',
    "[sources.pbx]": 'kind = "asterisk"\ntenant = "acme"\ntoken = "a long random string"',
    "[sources.portal]": 'kind = "bitrix24"\ntenant = "acme"\napplication_tokens = ["a long random string"]\n'
    'rest_url = "https://portal.example/rest/1/secret/"',
    "[mail]": 'server = "smtp.example.com:587"\nsender = "reports@example.com"',
    "[telegram]": 'token = "1:a-long-random-string"',
    "[tenants.acme.teams.sales]": 'name = "Sales"',
    "[tenants.acme.shifts.night]": 'hours = "20:00-08:00"',
}


def loaded(block: str, tmp_path: Path) -> config.Settings:
    """The example as a file; what others show in other places stands beside it."""
    whole = re.sub(r'"[^"\n]*…"', '"a-long-random-string-of-a-test"', block)
    ground = "\n".join(f"{head}\n{lines}\n" for head, lines in GROUND.items() if head not in block)
    path = tmp_path / "callkpi.toml"
    path.write_text(f"{ground}\n{whole}")
    return config.load(path, env={})


@pytest.mark.parametrize(
    ("where", "block"),
    [(where, block) for where, body in beside().items() for block in blocks(body, "toml")],
)
def test_every_example_of_the_configuration_is_accepted(where: str, block: str, tmp_path: Path) -> None:
    assert loaded(block, tmp_path)


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for code in CODES for kind in KINDS])
def test_the_page_of_a_source_has_a_whole_configuration(code: str, kind: str, tmp_path: Path) -> None:
    block = blocks(text(code, f"sources/{kind}"), "toml")[0]
    path = tmp_path / "callkpi.toml"
    path.write_text(block)
    (source,) = config.load(path, env={}).sources.values()
    assert source.kind == kind and source.tenant == "acme"
    assert tomllib.loads(block)["tenants"]["acme"].keys() == {"timezone", "region"}


#: Names of lines in the log and of a file that look like settings.
NO_SETTINGS = {
    ("retention", "failed"), ("spool", "failed"), ("spool", "sqlite3"), ("database", "errors"), ("log", "py"),
}  # fmt: skip


def test_every_setting_that_is_named_by_its_section_exists(tmp_path: Path) -> None:
    path = tmp_path / "callkpi.toml"
    for where, body in beside().items():
        for section, key in re.findall(
            r"`(server|api|database|mail|telegram|spool|retention|log|metrics)\.(\w+)[`\s]", body
        ):
            if (section, key) in NO_SETTINGS:
                continue
            path.write_text(f"[{section}]\n{key} = true\n")
            problems = refused(path)
            assert not any("unknown" in problem for problem in problems), (where, section, key)


def refused(path: Path) -> list[str]:
    try:
        config.load(path, env={})
    except config.ConfigError as error:
        return list(error.problems)
    return []


def test_every_figure_of_the_glossary_stands_in_the_numbers_under_its_name() -> None:
    wanted = {
        "en": {kpi.name: kpi.english for kpi in glossary.KPIS.values()},
        "ru": {kpi.name: kpi.russian for kpi in glossary.KPIS.values()},
    }
    for code in CODES:
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*?) \| [^|]+ \|$", text(code, "numbers"), re.MULTILINE)
        assert dict(rows) == wanted[code] and len(rows) == len(wanted[code])


def test_errors_and_logs_name_pages_that_exist() -> None:
    named = {
        page
        for path in (REPOSITORY / "callkpi").rglob("*.py")
        for page in re.findall(r"[ '(]/handbook/([a-z0-9/-]+)", path.read_text())
    }
    assert {"install", "sources", "grafana"} <= named <= handbook.pages("en")


# -- as the daemon shows it -------------------------------------------------------------------------------


@pytest.fixture
async def client(world: World) -> AsyncIterator[TestClient[Any, Any]]:
    app = application(world.settings, world.pool, world.ingest, world.health)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_strangers_may_read_it_in_their_language(client: TestClient[Any, Any]) -> None:
    for path, title in (
        ("/handbook", "callkpi"),
        ("/handbook/install", "Install"),
        ("/handbook/alerts/down", "CallkpiDown"),
    ):
        answer = await client.get(path, headers={"X-Forwarded-For": "203.0.113.9"})
        assert answer.status == 200 and f">{title}</h1>" in await answer.text()
        assert answer.headers["Content-Security-Policy"] == access.PAGE_HEADERS["Content-Security-Policy"]
    russian = await client.get("/handbook/install", headers={"Accept-Language": "ru"})
    assert ">Установка</h1>" in await russian.text()
    kazakh = await client.get("/handbook/install?lang=kk")
    assert ">Установка</h1>" in await kazakh.text()


async def test_every_link_of_every_page_is_answered(client: TestClient[Any, Any]) -> None:
    for code, name in PAGES:
        path = "/handbook" if name == handbook.INDEX else f"/handbook/{name}"
        answer = await client.get(path, params={"lang": code})
        assert answer.status == 200
        base = answer.url
        for href in set(re.findall(r'(?:href|src)="([^"]+)"', await answer.text())):
            target = base.join(base.__class__(href.replace("&amp;", "&")))
            if target.path.startswith("/handbook") and not target.path.endswith(".css"):
                assert (target.path.removeprefix("/handbook").strip("/") or handbook.INDEX) in handbook.pages(code), (
                    href
                )
                assert target.query["lang"] in CODES or not target.query
            elif target.scheme != "data":
                assert target.path in {"/board", "/reports", "/api/v1/docs", "/handbook/handbook.css"}, href
    assert (await client.get("/handbook/handbook.css")).content_type == "text/css"


@pytest.mark.parametrize(
    "path",
    [
        "/handbook/nothing",
        "/handbook//install",
        "/handbook/install/",
        "/handbook/..%2f..%2fpyproject",
        "/handbook/sources/%00",
    ],
)
async def test_what_is_no_page_is_answered_with_the_contents(client: TestClient[Any, Any], path: str) -> None:
    answer = await client.get(path)
    assert answer.status == 404 and answer.content_type == "text/html"
    assert "install" in await answer.text()


async def test_other_pages_lead_to_it(client: TestClient[Any, Any]) -> None:
    for path in ("/", "/board", "/reports", "/api/v1/docs"):
        assert "handbook" in await (await client.get(path, headers={"Accept": "text/html"})).text(), path


async def test_who_has_to_sign_in_may_read_it_before(world: World) -> None:
    settings = replace(world.settings, server=config.Server(api_token="a-long-random-string-of-a-test"))
    app = application(settings, world.pool, world.ingest, world.health)
    async with TestClient(TestServer(app)) as client:
        stopped = await client.get("/board", headers={"Accept": "text/html", "Accept-Language": "ru"})
        assert stopped.status == 401 and 'href="/handbook?lang=ru"' in await stopped.text()
        assert (await client.get("/handbook?lang=ru")).status == 200


@pytest.mark.skipif(CHROMIUM is None, reason="Debian package chromium is not installed")
async def test_it_fits_a_telephone_and_asks_nobody_else(client: TestClient[Any, Any]) -> None:
    root = str(client.make_url("/")).rstrip("/")
    async with browser() as page:
        for width in (390, 1920):
            await page.resize(width, 900)
            for name in ("install", "sources/asterisk", "numbers", "alerts/work-failing", "cost"):
                for code in CODES:
                    await page.go(f"{root}/handbook/{name}?lang={code}")
                    wide = await page.script("document.documentElement.scrollWidth")
                    assert wide <= width, (name, code, width)
                    assert page.complaints == [] and all(url.startswith((root, "data:")) for url in page.asked)
