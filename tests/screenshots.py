"""``python -m tests.screenshots``: the pictures of the README, made by a real browser of a running demo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import tomllib
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import takewhile
from math import inf
from pathlib import Path

import aiohttp

from callkpi.commands import replay, simulator
from tests.browser import CHROMIUM, Page, browser
from tests.stand_ins.daemon import free_port

PLACE = Path(__file__).parent.parent / "grafana" / "screenshots"
#: Summaries of yesterday's day shift.
REPORTS = {"reports-en.png": ("en", "light"), "reports-ru.png": ("ru", "dark")}
_QUIET = {"queue_calls_per_hour": 62.0, "direct_calls_per_hour": 10.0}
BOARDS = {"board-en.png": "lang=en&theme=dark", "board-ru.png": "lang=ru&theme=light"}


@contextlib.asynccontextmanager
async def running_demo(seed: int) -> AsyncIterator[tuple[str, str]]:
    """The address and the token of ``callkpi demo`` with a shift of half an hour behind it, and one of a week ago."""
    directory = Path(tempfile.mkdtemp(prefix="callkpi-screenshots-"))
    directory.chmod(0o755)
    port = free_port()
    given = {"CALLKPI_LISTEN": f"127.0.0.1:{port}", "CALLKPI_DATA_DIR": str(directory)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "callkpi", "demo", "--seed", str(seed), env={**os.environ, **given},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        await _ready(url)
        settings = tomllib.loads((directory / "demo" / "callkpi.toml").read_text("utf-8"))
        token = settings["sources"]["pbx"]["token"]
        await _week_ago(url, token, seed + 1)
        await asyncio.sleep(15)
        yield url, token
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(directory, ignore_errors=True)


async def _ready(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(600):
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
    raise SystemExit("the demo did not start")


async def _week_ago(url: str, token: str, seed: int) -> None:
    end = datetime.now(UTC) - timedelta(days=7)
    profile = simulator.Profile(application_token=token)
    await _post(url, token, simulator.shift(seed, end - simulator.HISTORY, profile), end)


async def fill_shifts(url: str, token: str, seed: int) -> str:
    """Two whole day shifts, yesterday's and the one before. Returns the address of yesterday's summary."""
    async with aiohttp.ClientSession() as http, http.get(f"{url}/board/state") as answer:
        zone = timezone(timedelta(seconds=(await answer.json())["utc_offset_seconds"]))
    morning = datetime.now(zone).replace(hour=8, minute=0, second=0, microsecond=0) - timedelta(days=1)
    for back, agents in ((1, len(simulator.TEAM)), (0, len(simulator.TEAM) - 3)):
        begin = morning - timedelta(days=back)
        profile = simulator.Profile(application_token=token, team=simulator.TEAM[:agents], **_QUIET)
        await _post(url, token, simulator.shift(seed + back, begin, profile), begin + timedelta(hours=12))
    return f"{url}/reports/shift/simulated/day/{morning:%Y-%m-%d}"


async def _post(url: str, token: str, shift: Iterator[simulator.Delivery], end: datetime) -> None:
    async with replay.session() as http:
        for delivery in takewhile(lambda one: one.at < end, shift):
            target = replay.Target(url, delivery.source, token if delivery.source == "pbx" else "")
            await replay.post(http, target, delivery.body, delivery.content_type, inf)


async def take_report(page: Page, address: str, path: Path, scheme: str) -> None:
    """The begin of a page of the reports: its figures, its sentences and its first chart."""
    await page.prefer(scheme=scheme)
    await page.resize(1200, 1250)
    await page.go(address)
    await page.picture(path)
    path.write_bytes(smaller(path.read_bytes()))
    print(f"{path}: {path.stat().st_size // 1000} KB")


async def take(page: Page, address: str, path: Path) -> None:
    """One picture, once the board is live and somebody waits."""
    await page.go(address)
    await page.until(
        "document.body.className === 'live' && document.querySelector('#waiting .value').textContent !== '0'", 300
    )
    await page.picture(path)
    path.write_bytes(smaller(path.read_bytes()))
    print(f"{path}: {path.stat().st_size // 1000} KB")


# -- smaller pictures --------------------------------------------------------------------------------------


def smaller(png: bytes) -> bytes:
    """The same picture with a palette: letters need few of the shades that a browser draws their edges with."""
    width, height, pixels = _pixels(png)
    counts = Counter(pixels[at : at + 3] for at in range(0, len(pixels), 3))
    alike: dict[bytes, bytes] = {}
    for colour, _ in counts.most_common():
        alike.setdefault(bytes(channel >> 4 for channel in colour), colour)
    palette = list(alike.values())[:256]
    index = {colour: palette.index(_nearest(colour, palette)) for colour in counts}
    body = bytes(index[pixels[at : at + 3]] for at in range(0, len(pixels), 3))
    rows = b"".join(b"\0" + body[at : at + width] for at in range(0, len(body), width))
    return b"\x89PNG\r\n\x1a\n" + b"".join((
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", b"".join(palette)), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""),
    ))  # fmt: skip


def _nearest(colour: bytes, palette: list[bytes]) -> bytes:
    return min(palette, key=lambda other: sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and RGB of a PNG of eight bits a channel, as browsers write it."""
    at, packed, width, height, channels = 8, b"", 0, 0, 3
    while at < len(png):
        length, name = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        if name == b"IHDR":
            width, height, _, colour = struct.unpack(">IIBB", data[:10])
            channels = {2: 3, 6: 4}[colour]
        packed += data if name == b"IDAT" else b""
        at += length + 12
    raw, stride = zlib.decompress(packed), width * channels
    before, rows = bytearray(stride), []
    for begin in range(0, len(raw), stride + 1):
        row = bytearray(raw[begin + 1 : begin + 1 + stride])
        _unfilter(raw[begin], row, before, channels)
        rows.append(row)
        before = row
    flat = b"".join(rows)
    if channels == 4:
        flat = b"".join(flat[at : at + 3] for at in range(0, len(flat), 4))
    return width, height, flat


def _unfilter(kind: int, row: bytearray, before: bytearray, step: int) -> None:
    """PNG's five filters, undone in place."""
    for at in range(len(row)):
        left = row[at - step] if at >= step else 0
        up, corner = before[at], before[at - step] if at >= step else 0
        if kind == 4:
            distances = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
            guess = (left, up, corner)[distances.index(min(distances))]
        else:
            guess = (0, left, up, (left + up) // 2)[kind]
        row[at] = (row[at] + guess) & 255


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--seed", type=int, default=5, help="another number is another shift")
    parser.add_argument("--only", choices=["boards", "reports"], help="default: both")
    arguments = parser.parse_args()
    seed, wanted = arguments.seed, {arguments.only} if arguments.only else {"boards", "reports"}
    if CHROMIUM is None:
        raise SystemExit("install the Debian package chromium first")
    PLACE.mkdir(exist_ok=True)
    async with running_demo(seed) as (url, token), browser() as page:
        for name, query in BOARDS.items() if "boards" in wanted else ():
            await take(page, f"{url}/board?{query}", PLACE / name)
        if "reports" in wanted:
            address = await fill_shifts(url, token, seed)
            await asyncio.sleep(5)
            for name, (language, scheme) in REPORTS.items():
                await take_report(page, f"{address}?lang={language}", PLACE / name, scheme)


if __name__ == "__main__":
    asyncio.run(main())
