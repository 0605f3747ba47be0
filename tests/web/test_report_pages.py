"""The pages of the reports, from a real daemon in a real browser: one figure everywhere, and every figure opens."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import asyncpg
import pytest
from pypdf import PdfReader

from callkpi.commands import replay
from callkpi.database import embedded, store
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers.html import render
from callkpi.summaries.summary import QueueLine
from tests.browser import CHROMIUM, browser
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.running import projected
from tests.stand_ins.summaries import a_night, figures
from tests.world import capture_lines

CONFIG = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[tenants.acme.shifts.night]
name = "Night"
hours = "20:00-08:00"

[tenants.acme.queues.vip]
name = "VIP desk"

[tenants.other]

[tokens.anna]
token = "viewer-secret-0123456789"
role = "viewer"
tenants = ["acme"]

[tokens.boris]
token = "manager-secret-0123456789"
role = "manager"
tenants = ["acme"]

[tokens.root]
token = "admin-secret-01234567890"
role = "admin"

[sources.pbx]
kind = "asterisk"
tenant = "acme"
token = "pbx-secret"
"""
ADMIN, MANAGER, VIEWER = "admin-secret-01234567890", "manager-secret-0123456789", "viewer-secret-0123456789"
#: The recording is of this night, from eleven to two o'clock.
NIGHT = "reports/shift/acme/night/2026-11-23"
WINDOW = {"from": "2026-11-23T20:00:00+05:00", "to": "2026-11-24T08:00:00+05:00"}


class Centre:
    """A daemon with the recorded night in it."""

    def __init__(self, running: Daemon, http: aiohttp.ClientSession) -> None:
        self.daemon, self.http = running, http

    async def get(self, path: str, token: str = ADMIN, **query: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(urljoin(f"{self.daemon.url}/", path), params=query or None, headers=headers) as answer:
            return answer.status, (await answer.read()).decode(errors="replace")

    async def command(self, *arguments: str) -> tuple[str, str]:
        """What ``callkpi`` with these arguments says, and complains of, beside the daemon."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "callkpi", *arguments, "--config", str(self.daemon.config),
            env=self.daemon.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        said, complained = await process.communicate()
        return said.decode(), complained.decode()

    async def page(self, path: str, token: str = ADMIN, **query: str) -> str:
        status, text = await self.get(path, token, **query)
        assert status == 200, text
        return text

    async def links(self, path: str, token: str = ADMIN, **query: str) -> list[tuple[str, str]]:
        """Whole addresses of the links of a page, with their texts."""
        text = await self.page(path, token, **query)
        found = re.findall(r'<a(?: lang="\w+")? href="([^"]+)">([^<]*)</a>', text)
        return [(urljoin(f"{self.daemon.url}/{path}", html.unescape(address)), shown) for address, shown in found]


@pytest.fixture(scope="module")
async def centre(data_dir: Path) -> AsyncIterator[Centre]:
    async with daemon(data_dir / "reports", config=CONFIG) as running, aiohttp.ClientSession() as http:
        target = replay.Target(url=running.url, source="pbx", token="pbx-secret")
        lines = capture_lines("asterisk/events.jsonl.gz")
        for begin in range(0, len(lines), 2000):
            body = "\n".join(lines[begin : begin + 2000]).encode()
            await replay.post(http, target, body, "application/x-ndjson")
        await projected(running)
        yield Centre(running, http)


async def test_one_figure_on_the_page_in_the_api_in_the_terminal_and_in_sql(centre: Centre) -> None:
    told = json.loads(await centre.page(f"{NIGHT}.json"))["figures"]
    api = json.loads(await centre.page("api/v1/kpi", tenant="acme", by="direction", **WINDOW))["total"]
    assert {name: value for name, value in told.items() if name in api} == api
    assert told["offered"] == 300
    page = await centre.page(NIGHT)
    for name, label in (
        ("offered", "Offered"),
        ("missed", "Missed"),
        ("handled", "Handled"),
        ("made", "Outbound made"),
    ):
        assert re.search(rf'<th scope="row">{label}</th><td class="number"><a [^>]*>{told[name]}</a>', page), name
    terminal = (await centre.command("summary", "night@2026-11-23", "--tenant", "acme"))[0]
    assert f"{told['offered']} calls were offered: {told['answered']} answered" in terminal
    assert re.search(rf"^Missed +{told['missed']} ", terminal, re.MULTILINE)
    server = await asyncio.to_thread(embedded.start, centre.daemon.directory / "data")
    connection = await store.connect(server.dsn, role="test")
    try:
        await expect_sql(connection, told)
    finally:
        await connection.close()


async def expect_sql(connection: asyncpg.Connection, told: dict[str, Any]) -> None:
    row = await connection.fetchrow(
        "SELECT * FROM callkpi_views.kpi('acme', '2026-11-23 20:00+05', '2026-11-24 08:00+05', 'total')"
    )
    for name in ("offered", "answered", "missed", "handled", "made", "reached", "abandoned", "service_level",
                 "asa_seconds", "aht_seconds", "longest_wait_seconds", "missed_share"):  # fmt: skip
        assert row[name] == pytest.approx(told[name]), name


async def test_every_number_of_the_page_opens_to_as_many_calls(centre: Centre) -> None:
    checked = 0
    for address, shown in dict(await centre.links(NIGHT)).items():
        status, text = await centre.get(address)
        assert status == 200, address
        parts = urlsplit(address)
        if parts.path == "/reports/calls" and shown.isdigit():
            counted = int(re.findall(r"Counted: ([\d,]+)", text)[0].replace(",", ""))
            assert counted == int(shown) == text.count('<tr><th scope="row">'), parse_qs(parts.query)
            checked += 1
    assert checked > 60


async def test_a_call_opens_to_its_legs_its_events_and_what_the_source_said(centre: Centre) -> None:
    calls = await centre.links("reports/calls", tenant="acme", figure="answered", agent="Aigerim", **WINDOW)
    call = next(address for address, _ in calls if "/reports/call/" in address)
    admin, manager, viewer = [(await centre.get(call, token))[1] for token in (ADMIN, MANAGER, VIEWER)]
    assert "<h2>Legs</h2>" in admin and "Aigerim" in admin and "Aigerim" not in viewer
    assert "as the source told it Newchannel" in admin
    assert "as the source told it" not in manager
    number = re.search(r"\+7\d{10}", manager)
    assert number is not None
    assert number[0] not in viewer and "•••" in viewer


async def test_who_may_see_less_sees_less(centre: Centre) -> None:
    page = await centre.page(NIGHT, VIEWER)
    assert not re.search(r"\+7\d{10}", page)
    assert "Aigerim" not in page and "agent=" not in page
    assert re.search(r"\+7\d{10}", await centre.page(NIGHT, MANAGER))
    for address in ("reports/calls", "reports/calls?agent=Dana"):
        status, _ = await centre.get(address, VIEWER, tenant="acme", figure="handled", agent="Dana", **WINDOW)
        assert status == 403
    assert (await centre.get("reports/shift/other/day/2026-11-23", VIEWER))[0] == 400
    assert (await centre.get(NIGHT, "wrong"))[0] == 401
    audit = json.loads(await centre.page("api/v1/audit", who="boris"))
    assert "read_numbers" in {row["action"] for row in audit["items"]}


async def test_what_can_not_be_answered_says_what_to_write(centre: Centre) -> None:
    for path, said in (
        ("reports/shift/acme/evening/2026-11-23", "is no shift of acme"),
        ("reports/period/acme/nonsense", "month:2026-11"),
        (f"reports/calls?tenant=acme&figure=joy&from={WINDOW['from'][:10]}&to=2026-11-25", "is none of offered"),
        ("reports/calls?tenant=acme&figure=missed", "from, to"),
    ):
        status, text = await centre.get(path)
        assert (status, said in text) == (400, True), text
    for nobody in ("pbx/nobody", "pbx/%00", "%00/1"):
        assert (await centre.get(f"reports/call/{nobody}?tenant=acme"))[0] == 404, nobody
    status, text = await centre.get("reports/shift/acme/night/2026-11-23.doc")
    assert (status, "see /api/v1/docs, /reports" in text) == (404, True)


async def test_who_reads_pages_gets_a_page_that_says_why_there_is_none(centre: Centre) -> None:
    headers = {"Authorization": f"Bearer {ADMIN}", "Accept": "text/html", "Accept-Language": "ru"}
    address = f"{centre.daemon.url}/reports/period/acme/month:2026-13%3Cb%3E"
    async with centre.http.get(address, headers=headers) as answer:
        text = await answer.text()
        assert (answer.status, answer.content_type) == (400, "text/html")
    assert "write month:2026-11" in text and "2026-13&lt;b&gt;" in text
    (back,) = re.findall(r'href="([^"]*/reports[^"]*)"', text)
    assert urljoin(address, back) == f"{centre.daemon.url}/reports?lang=ru"


async def test_neighbours_periods_and_files_are_there(centre: Centre) -> None:
    shown = {text: address for address, text in await centre.links(NIGHT, lang="ru")}
    assert shown["← предыдущая"].endswith("/reports/shift/acme/night/2026-11-22?lang=ru")
    for form in ("pdf", "xlsx", "csv", "json", "txt"):
        assert (await centre.http.get(shown[form], headers={"Authorization": f"Bearer {ADMIN}"})).status == 200
    week = json.loads(await centre.page("reports/period/acme/week:2026-W48.json"))
    assert week["figures"]["offered"] == 300
    assert len(week["intervals"]) == 7
    assert "Night, 23 Nov 2026" in await centre.page("reports", tenant="acme")


ROSTER = """agent,begin,end
Dana,2026-11-23 22:30,2026-11-24 01:30
Aigerim,2026-11-23 23:00,2026-11-24 03:00
{late},2026-11-23 23:00,2026-11-24 02:00
"""


async def test_an_imported_roster_stands_beside_the_time_at_work(centre: Centre, tmp_path: Path) -> None:
    assert json.loads(await centre.page(f"{NIGHT}.json"))["adherence"] is None
    assert "Planned and worked" not in await centre.page(NIGHT)
    file = tmp_path / "plan.csv"
    file.write_text(ROSTER.format(late="Aygerim"))
    _, complained = await centre.command("roster", "import", str(file), "--tenant", "acme")
    assert "line 4: agent: 'Aygerim' is nobody of agents or people (did you mean 'Aigerim'?)" in complained
    file.write_text(ROSTER.format(late="Bolat"))
    said, _ = await centre.command("roster", "import", str(file), "--tenant", "acme")
    assert said == "3 planned times of 3 agents, from 2026-11-23 to before 2026-11-24\n"
    told = json.loads(await centre.page(f"{NIGHT}.json"))["adherence"]
    people = {line["agent"]: line for line in told["people"]}
    dana = people["Dana"]
    assert dana["planned_seconds"] == 3 * 3600 and 0 < dana["adherence"] < 1 and dana["late_start_seconds"] > 1800
    page, stranger = await centre.page(NIGHT), await centre.page(NIGHT, VIEWER)
    assert "Planned and worked" in page and "3 people were planned" in page
    assert "3 people were planned" in stranger and "Planned and worked" not in stranger and "Dana" not in stranger
    assert "3 people were planned" in (await centre.command("summary", "night@2026-11-23", "--tenant", "acme"))[0]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ru", "dark")])
async def test_in_a_browser_it_fits_the_screen_and_the_paper(centre: Centre, language: str, scheme: str) -> None:
    async with browser() as page:
        await page.prefer(scheme=scheme, language=language)
        for width in (1200, 390):
            await page.resize(width, 900)
            await page.go(f"{centre.daemon.url}/{NIGHT}?token={ADMIN}")
            assert page.complaints == []
            assert await page.script("document.documentElement.scrollWidth") <= width
        assert "token" not in await page.script("location.href")
        dark = await page.script("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
        assert all(address.startswith((centre.daemon.url, "data:")) for address in page.asked)
        printed = await page.call("Page.printToPDF", preferCSSPageSize=True)
        pages = PdfReader(io.BytesIO(base64.b64decode(printed["data"]))).pages
        assert (round(float(pages[0].mediabox.width)), round(float(pages[0].mediabox.height))) == (595, 842)
        text = " ".join(each.extract_text() for each in pages)
        assert ("Service level" if language == "en" else "Уровень сервиса") in text
        # A row that is cut in two leaves its number on one page and its state on another.
        assert len(re.findall(r"\+7\d{10}", text)) == await page.script(
            "document.querySelectorAll('.callbacks tbody tr').length"
        )
        await page.script("document.querySelector('dl.tiles a').click()")
        await page.until("location.pathname === '/reports/calls'")
        assert page.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("language", ["en", "ru"])
async def test_figures_stand_beside_the_longest_names(language: str, tmp_path: Path) -> None:
    names = ("x" * 200, "Очередь поддержки клиентов юридических лиц города Алматы")
    lines = tuple(QueueLine(queue=name, figures=figures(offered=987, answered=864, missed=123)) for name in names)
    told = render(replace(a_night(), queues=lines), language, Reader(numbers=True, agents=True))
    (tmp_path / "page.html").write_bytes(told)
    async with browser() as page:
        await page.resize(1200, 900)
        await page.go((tmp_path / "page.html").as_uri())
        hidden = "[...document.querySelectorAll('.wide')].filter(each => each.scrollWidth > each.clientWidth).length"
        assert await page.script(hidden) == 0
