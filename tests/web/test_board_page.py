"""The board in a real browser: what a viewer sees is what the API says, large, live, and never green when it is old."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from callkpi.web.watch import INTERVAL
from tests.browser import CHROMIUM, Page, browser
from tests.stand_ins.boards import noon_zone, served
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.running import projected
from tests.world import World

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Debian package chromium is not installed")

SIZES = {".value": 120, ".name": 40, ".note": 40, ".word": 40, "#updated": 40, "#clock": 40, "#tenant": 40,
         "td": 32, "th": 32}  # fmt: skip
#: Pixels of each element's letters, and whether it is cut off by its own box or by the screen.
MEASURE = """
(function () {
  return [].map.call(document.querySelectorAll("#tenant, #updated, #clock, .name, .value, .note, .word, td, th"),
    function (e) {
      var box = e.getBoundingClientRect();
      return {what: (e.id ? "#" + e.id + " " : "") + e.tagName.toLowerCase() + "." + e.className, text: e.textContent,
              size: parseFloat(getComputedStyle(e).fontSize), id: e.id, kind: e.className.split(" ")[0],
              tag: e.tagName.toLowerCase(), wide: e.scrollWidth > e.clientWidth + 1,
              out: box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.left < 0 || box.top < 0};
    });
}())
"""
#: The least contrast (WCAG 2) of any text that is seen with what is behind it.
CONTRAST = """
(function () {
  function channels(text) { return (text.match(/[\\d.]+/g) || []).map(Number); }
  function light(c) {
    var l = c.slice(0, 3).map(function (v) {
      v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2];
  }
  function behind(e) {
    for (; e; e = e.parentElement) {
      var c = channels(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) { return c; }
    }
    return [255, 255, 255];
  }
  var worst = {ratio: 99};
  [].forEach.call(document.querySelectorAll("#head div, .chip, .name, .value, .note, .word, td, th"), function (e) {
    if (!e.textContent.trim() || !e.getClientRects().length) { return; }
    var a = light(channels(getComputedStyle(e).color)), b = light(behind(e));
    var ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) { worst = {ratio: ratio, what: e.outerHTML.slice(0, 120)}; }
  });
  return worst;
}())
"""
#: Background colours of everything that stands for a figure.
COLOURS = """
[].map.call(document.querySelectorAll(".tile, .tile .word, td"), function (e) {
  return getComputedStyle(e).backgroundColor;
}).filter(function (c) { return c !== "rgba(0, 0, 0, 0)"; })
"""
GREENS = ("rgb(31, 138, 76)", "rgb(20, 122, 60)")


@pytest.fixture(scope="module")
async def page() -> AsyncIterator[Page]:
    async with browser() as opened:
        yield opened


def config_of(*queues: str, extra: str = "") -> str:
    tables = "".join(f'[tenants.acme.queues.q{number}]\nname = "{name}"\n' for number, name in enumerate(queues))
    return (
        f'[tenants.acme]\ntimezone = "{noon_zone()}"\n{extra}\n{tables}'
        '[sources.native]\nkind = "native"\ntenant = "acme"\ntoken = "native-secret"\n'
    )


async def tell(target: Daemon, *events: dict[str, Any]) -> None:
    headers = {"Authorization": "Bearer native-secret"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{target.url}/hooks/native", data=json.dumps(events), headers=headers) as answer,
    ):
        assert answer.status == 200, await answer.text()
    await projected(target)


def call(name: str, queue: str, begin: float, answered: float | None, end: float | None, how: str = "") -> list[Any]:
    """An inbound call: seconds from now of its begin, answer and end."""
    now = datetime.now(UTC).timestamp()
    base = {
        "call_id": name,
        "queue": queue,
        "direction": "inbound",
        "customer": f"+7700000{abs(hash(name)) % 10000:04}",
    }
    told: list[dict[str, Any]] = [{**base, "kind": "queued", "at": now + begin}]
    if answered is not None:
        told.append({**base, "kind": "answered", "at": now + answered, "agent": f"a-{queue}"})
    if end is not None:
        told.append({**base, "kind": "ended", "at": now + end, **({"cause": how} if how else {})})
    return told


def available(agent: str, queue: str) -> dict[str, Any]:
    at = datetime.now(UTC).timestamp() - 600
    return {"kind": "agent_state", "at": at, "agent": agent, "queue": queue, "state": "available"}


async def shown(page: Page) -> dict[str, str]:
    """The tiles by their ids, as they read."""
    script = """
    (function () {
      var told = {};
      [].forEach.call(document.querySelectorAll(".tile"), function (e) {
        told[e.id] = e.querySelector(".value").textContent;
      });
      return told;
    }())
    """
    told: dict[str, str] = await page.script(script)
    return told


async def set_clock(page: Page, seconds: int) -> None:
    """Put the screen's clock ahead or back."""
    shift = f"function () {{ return real.call(this) + {seconds * 1000}; }}"
    await page.script(f"var real = Date.prototype.getTime; Date.prototype.getTime = {shift}; 0")


async def of_api(target: Daemon, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{target.url}/api/v1/{path}") as answer:
        return await answer.json()


@pytest.fixture
async def target(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "page", config=config_of("Sales", "Support", "VIP")) as running:
        await tell(
            running, available("Dana", "q0"), available("Bolat", "q0"),
            *call("a", "q0", -300, -295, -100), *call("b", "q0", -280, -240, -120), *call("c", "q1", -200, -190, None),
            *call("d", "q1", -150, None, -90, "abandoned"), *call("e", "q2", -170, -160, -60),
        )  # fmt: skip
        yield running
    (data_dir / "page").rename(data_dir / f"page-{running.port}")


async def test_what_is_seen_is_what_the_api_says_and_it_changes_without_reload(page: Page, target: Daemon) -> None:
    await page.prefer(language="en")
    await page.go(f"{target.url}/board")
    await page.until("document.body.className === 'live'")
    await page.script("window.sameAsBefore = true")
    total = (await of_api(target, "kpi?by=direction"))["total"]
    seen = await shown(page)
    assert seen["handled"] == str(total["handled"]) == "3"
    assert seen["missed"] == str(total["missed"]) == "1"
    assert seen["service_level"] == f"{100 * total['service_level']:.0f}%" == "60%"
    assert seen["callback"] == str(len((await of_api(target, "missed"))["items"])) == "1"
    assert (seen["waiting"], seen["longest"], seen["talking"], seen["free"]) == ("0", "0:00", "1", "2")
    assert await page.script("document.querySelector('#missed .note').textContent") == "25.0% of calls"
    await tell(target, *call("f", "q2", -25, None, None), *call("g", "q0", -10, -5, None))
    await page.until("document.querySelector('#waiting .value').textContent === '1'")
    row = await page.script("document.querySelector('tr[data-queue=VIP]').innerText")
    assert row.split("\t")[:2] == ["VIP", "1 !"]
    assert await page.script("document.querySelector('#longest .word').textContent") == "watch"
    assert await page.script("document.querySelector('#longest .note').textContent") == "in VIP"
    await tell(target, *call("f", "q2", -25, None, -1, "abandoned"))
    await page.until("document.querySelector('#missed .value').textContent === '2'")
    api = {row["queue"]: row for row in (await of_api(target, "kpi?by=queue"))["rows"]}
    for name, row in api.items():
        line = (await page.script(f"document.querySelector('tr[data-queue=\"{name}\"]').innerText")).split("\t")
        assert (line[3], line[6].rstrip(" !")) == (str(row["open"]), str(row["missed"])), name
        assert line[5].rstrip(" !") == f"{100 * row['service_level']:.0f}%", name
    assert await page.script("window.sameAsBefore") is True
    assert page.complaints == []
    assert {urlsplit(url).netloc for url in page.asked} == {f"127.0.0.1:{target.port}"}


async def test_without_event_streams_it_polls(page: Page, target: Daemon) -> None:
    await page.go(f"{target.url}/board?poll=1")
    await page.until("document.querySelector('#handled .value').textContent === '3'")
    await tell(target, *call("h", "q0", -30, -25, -3))
    await page.until("document.querySelector('#handled .value').textContent === '4'")
    assert not any("/events" in url for url in page.asked)
    assert page.complaints == []


async def test_a_level_below_its_target_is_never_rounded_up_to_it(page: Page, data_dir: Path) -> None:
    """43 of 54 within T are 79.6 %."""
    async with daemon(data_dir / "page-rounded", config=config_of("Sales")) as target:
        for item in range(54):
            await tell(target, *call(f"r{item}", "q0", -300, -290 if item < 43 else -200, -100))
        await page.go(f"{target.url}/board")
        await page.until("document.body.className === 'live'")
        assert (await shown(page))["service_level"] == "79%"
        assert await page.script("document.querySelector('#service_level .word').textContent") == "watch"


async def test_a_screen_whose_clock_is_put_back_does_not_take_old_figures_for_new(page: Page, target: Daemon) -> None:
    await page.go(f"{target.url}/board")
    await page.until("document.body.className === 'live'")
    target.kill()
    await set_clock(page, -3600)
    await page.until("document.body.className === 'stale'", 15)
    await target.start()
    await page.until("document.body.className === 'live'", 30)


async def test_one_viewer_too_many_polls(page: Page, data_dir: Path) -> None:
    full = "[server]\nmax_viewers = 1\n" + config_of("Sales")
    async with (
        daemon(data_dir / "page-full", config=full) as target,
        aiohttp.ClientSession() as http,
        http.get(f"{target.url}/board/events"),
    ):
        await page.go(f"{target.url}/board")
        await page.until("document.body.className === 'live'")
        await tell(target, *call("a", "q0", -30, -25, -3))
        await page.until("document.querySelector('#handled .value').textContent === '1'")
        assert [urlsplit(url).path for url in page.asked[-2:]] == ["/board/state"] * 2


async def test_a_page_of_an_older_daemon_loads_itself_again(page: Page, world: World) -> None:
    """But not at once: while an upgrade is under way it may meet both."""
    async with served(world.pool, world.settings) as (http, shown):
        await page.go(str(http._base_url) + "board")
        await page.until("document.body.className === 'live'")
        await page.script("window.sameAsBefore = true")
        for watch in shown._watches.values():
            watch._always["version"] = "newer"
        await asyncio.sleep(2 * INTERVAL)
        assert await page.script("window.sameAsBefore") is True
        await set_clock(page, 61)
        await page.until("window.sameAsBefore === undefined")


async def test_a_russian_viewer_reads_russian(page: Page, target: Daemon) -> None:
    await page.prefer(language="ru-RU,ru;q=0.9")
    await page.go(f"{target.url}/board")
    await page.until("document.body.className === 'live'")
    text = await page.script("document.body.innerText")
    for words in (
        "Ждут сейчас",
        "Уровень сервиса",
        "60\xa0%",
        "цель 80\xa0%",
        "срочно",
        "25,0\xa0% звонков",
        "обновлено 0 с назад",
    ):
        assert words in text, words
    assert "Waiting" not in text
    await page.prefer()


async def test_a_daemon_that_is_killed_leaves_a_board_that_says_so(page: Page, data_dir: Path) -> None:
    target = Daemon(data_dir / "page-killed", config=config_of("Sales"))
    await target.start()
    await tell(target, *call("a", "q0", -30, -28, -3))
    await page.go(f"{target.url}/board?theme=dark")
    await page.until("document.querySelectorAll('.ok').length > 0")
    assert set(GREENS) & set(await page.script(COLOURS))
    target.kill()
    await page.until("document.body.className === 'stale'", 15)
    assert set(await page.script(COLOURS)) == {"rgb(109, 40, 217)", "rgb(63, 19, 136)"}
    assert "out of date" in await page.script("document.querySelector('#handled .word').textContent")
    assert (await page.script("document.querySelector('#updated').textContent")).startswith("no connection for ")
    assert (await page.script(CONTRAST))["ratio"] >= 4.5
    clock = await page.script("document.querySelector('#clock').textContent")
    await page.until(f"document.querySelector('#clock').textContent !== '{clock}'", 3)
    await target.start()
    await page.until("document.body.className === 'live'", 30)
    assert await page.script("document.querySelector('#handled .value').textContent") == "1"
    target.stop()


async def test_figures_that_are_too_old_are_not_shown_at_all(page: Page, target: Daemon) -> None:
    """The page's clock is put ahead: two minutes without a word."""
    await page.go(f"{target.url}/board")
    await page.until("document.body.className === 'live'")
    target.kill()
    await set_clock(page, 130)
    await page.until("document.querySelector('#handled .word').textContent === 'no data'", 15)
    assert set((await shown(page)).values()) == {"–"}
    assert await page.script("document.querySelectorAll('td').length") == 0
    await target.start()


QUEUES = {
    3: ["Sales", "Support", "VIP"],
    6: ["Отдел продаж", "Техподдержка", "Бухгалтерия", "Доставка", "Партнёры", "Претензии"],
    12: [f"Очередь номер {number}" for number in range(1, 13)],
    14: [f"Queue of town {number}" for number in range(1, 15)],
}


@pytest.mark.parametrize("number", QUEUES)
async def test_everything_is_large_nothing_is_cut_off_and_all_can_be_read(
    page: Page, data_dir: Path, number: int
) -> None:
    """At its worst: long waits, many calls, in each language, theme and state of the board."""
    worst = [*call("w", "q0", -3000, None, None), *call("m", "q1", -40000, None, -39990, "abandoned")]
    for item in range(120):
        worst += call(f"x{item}", f"q{item % number}", -2000, -1900 if item % 4 else None, -1500)
    async with daemon(data_dir / f"page-{number}", config=config_of(*QUEUES[number])) as target:
        await tell(target, *worst, *(available(f"a{queue}", f"q{queue}") for queue in range(number)))
        for language in ("en", "ru", "kk"):
            for theme in ("dark", "light"):
                await page.resize(1920, 1080)
                await page.go(f"{target.url}/board?lang={language}&theme={theme}")
                await page.until("document.body.className === 'live'")
                found = await page.script(MEASURE)
                for item in found:
                    assert not item["wide"] and not item["out"], (language, item)
                    wanted = SIZES.get(f"#{item['id']}") or SIZES.get(f".{item['kind']}") or SIZES[item["tag"]]
                    assert item["size"] >= wanted, (language, item)
                rows = sum(item["tag"] == "td" and item["kind"] == "queue" for item in found)
                assert rows == (number if number <= 12 else number / 2)
                worst_contrast = await page.script(CONTRAST)
                assert worst_contrast["ratio"] >= 4.5, (theme, worst_contrast)
        await page.resize(1280, 720)
        await page.until("document.documentElement.style.fontSize.indexOf('6.66') === 0")
        assert not any(item["wide"] or item["out"] for item in await page.script(MEASURE))
        if number > 12:
            seen: set[str] = set()
            async with asyncio.timeout(25):
                while len(seen) < number:
                    names = "[].map.call(document.querySelectorAll('td.queue'), function (e) { return e.textContent; })"
                    seen |= set(await page.script(names))
                    await asyncio.sleep(1)
    assert page.complaints == []


async def test_out_of_hours_everything_is_grey_and_a_silent_source_is_never_green(page: Page, data_dir: Path) -> None:
    closed = config_of("Sales", extra='business_hours = {mon = "00:00-00:01"}')
    async with daemon(data_dir / "page-closed", config=closed) as target:
        await tell(target, *call("w", "q0", -300, None, None))
        for theme, greys in (("dark", {"rgb(59, 66, 76)"}), ("light", {"rgb(197, 204, 212)"})):
            await page.go(f"{target.url}/board?theme={theme}")
            await page.until("document.body.className === 'closed'")
            assert set(await page.script(COLOURS)) == greys
            assert await page.script("document.querySelector('#waiting .word').textContent") == "closed"
            assert (await page.script(CONTRAST))["ratio"] >= 4.5
    async with daemon(data_dir / "page-silent", config=config_of("Sales")) as target:
        await page.go(f"{target.url}/board")
        await page.until("document.body.className === 'live'")
        assert await page.script("document.querySelector('#silent').textContent") == "native: no events yet"
        assert not set(GREENS) & set(await page.script(COLOURS))


DEAF = """
[sources.branch-office-pbx]
kind = "asterisk"
tenant = "acme"
ami_address = "127.0.0.1:9"
ami_user = "callkpi"
ami_secret = "ami-secret"
"""
#: What of the head is cut off or outside of the screen.
HEAD = """
[].filter.call(document.querySelectorAll("#silent, #updated, #clock"), function (e) {
  var box = e.getBoundingClientRect();
  return e.scrollWidth > e.clientWidth + 1 && e.clientWidth || box.right > innerWidth + 1 || box.left < 0;
}).map(function (e) { return e.id; })
"""


async def ready(target: Daemon, unheard: int) -> dict[str, Any]:
    """What /readyz says, as soon as so many sources are not heard."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        while True:
            async with http.get(f"{target.url}/readyz") as answer:
                told: dict[str, Any] = await answer.json()
                if told["sources_unheard"] == unheard:
                    assert answer.status == 200
                    return told
            await asyncio.sleep(0.2)


async def test_a_pbx_that_is_not_reached_is_named_and_nothing_is_green_though_others_speak(
    page: Page, data_dir: Path
) -> None:
    async with daemon(data_dir / "page-deaf", config=config_of("Sales") + DEAF) as target:
        await tell(target, *call("a", "q0", -300, -295, -200), available("Dana", "q0"))
        told = await ready(target, unheard=1)
        assert (told["ready"], told["unheard"]) == (True, {"branch-office-pbx": "disconnected: unreachable"})
        name = "branch-office-pbx"
        words = {
            "en": (f"{name}: no connection", "incomplete"),
            "ru": (f"{name}: нет связи", "неполно"),
            "kk": (f"{name}: байланыс жоқ", "толық емес"),
        }
        for width, height in ((1920, 1080), (390, 844)):
            await page.resize(width, height)
            for language, (chip, word) in words.items():
                for theme in ("dark", "light"):
                    await page.go(f"{target.url}/board?lang={language}&theme={theme}&poll=1")
                    await page.until("document.body.className === 'live'")
                    assert (await page.script("document.querySelector('#silent').textContent")).startswith(chip)
                    said = "[].map.call(document.querySelectorAll('.word'), function (e) { return e.textContent; })"
                    assert set(await page.script(said)) == {word}
                    assert not set(GREENS) & set(await page.script(COLOURS))
                    assert await page.script(HEAD) == [], (width, language)
                    assert (await page.script(CONTRAST))["ratio"] >= 4.5
        await page.resize(1920, 1080)
    assert page.complaints == []
