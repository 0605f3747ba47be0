"""``callkpi replay`` against a real HTTP server."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from callkpi.commands.replay import CHUNK_BYTES, CHUNK_LINES, ReplayError, Target, post, recorded_time, replay, session


class Door:
    """A daemon's door that remembers what came and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, bytes]] = []
        self.times: list[float] = []
        self.refusals: list[web.Response] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.refusals:
            return self.refusals.pop(0)
        self.times.append(time.monotonic())
        self.requests.append((request.path, request.content_type, request.headers.get("Authorization", ""), body))
        lines = len(body.splitlines())
        return web.json_response({"events": lines - 1, "ignored": 0, "rejected": 1})

    @property
    def lines(self) -> list[bytes]:
        return [line for _, _, _, body in self.requests for line in body.splitlines()]

    def target(self, token: str = "secret") -> Target:
        return Target(url=self.url, source="pbx", token=token)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    app = web.Application()
    app.router.add_post("/hooks/{source}", door.receive)
    async with TestServer(app) as server:
        door.url = str(server.make_url("/"))
        yield door


def silent(_done: int, _total: int) -> None:
    pass


def write(path: Path, lines: list[str]) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def events(count: int, step: float = 1.0) -> list[str]:
    return [json.dumps({"Event": "X", "n": n, "Timestamp": str(1_790_000_000 + n * step)}) for n in range(count)]


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
async def test_every_line_is_sent_once_in_order_in_chunks(door: Door, tmp_path: Path, name: str) -> None:
    lines = events(2 * CHUNK_LINES + 1)
    seen: list[tuple[int, int]] = []
    result = await replay(
        write(tmp_path / name, lines), door.target(), None, lambda done, total: seen.append((done, total))
    )
    assert [line.decode() for line in door.lines] == lines
    assert [len(body.splitlines()) for *_, body in door.requests] == [CHUNK_LINES, CHUNK_LINES, 1]
    assert {request[:3] for request in door.requests} == {("/hooks/pbx", "application/x-ndjson", "Bearer secret")}
    assert (result.requests, result.events, result.rejected) == (3, len(lines) - 3, 3)
    assert seen[-1] == (total := (tmp_path / name).stat().st_size, total)
    assert seen == sorted(seen)


async def test_a_request_stays_within_its_size(door: Door, tmp_path: Path) -> None:
    lines = [json.dumps({"n": n, "pad": "x" * 100_000}) for n in range(5)] + [json.dumps({"pad": "y" * 500_000})]
    await replay(write(tmp_path / "wide.jsonl", lines), door.target(), None, silent)
    assert [line.decode() for line in door.lines] == lines
    assert all(len(body) <= CHUNK_BYTES or len(body.splitlines()) == 1 for *_, body in door.requests)


@pytest.mark.parametrize("name", ["queue_log", "queue_log.gz"])
async def test_a_queue_log_is_sent_as_text(door: Door, tmp_path: Path, name: str) -> None:
    lines = ["1790000000|NONE|NONE|NONE|QUEUESTART|", "1790000001|1.2|sales|NONE|ENTERQUEUE||+77000001000|1"]
    await replay(write(tmp_path / name, lines), door.target(token=""), None, silent)
    ((_, content_type, authorization, _),) = door.requests
    assert (content_type, authorization) == ("text/plain", "")
    assert [line.decode() for line in door.lines] == lines


async def test_empty_lines_and_a_last_line_without_newline(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n\r\n{"n": 1}\r\n\n{"n": 2}')
    await replay(path, door.target(), None, silent)
    assert door.lines == [b'{"n": 1}', b'{"n": 2}']


async def test_an_empty_file_sends_nothing(door: Door, tmp_path: Path) -> None:
    result = await replay(write(tmp_path / "none.jsonl", []), door.target(), None, silent)
    assert (result.requests, door.requests) == (0, [])


async def test_a_daemon_that_restarts_is_waited_for(door: Door, tmp_path: Path) -> None:
    door.refusals = [web.Response(status=503, headers={"Retry-After": "1"}), web.Response(status=502)]
    began = time.monotonic()
    result = await replay(write(tmp_path / "a.jsonl", events(3)), door.target(), None, silent)
    assert time.monotonic() - began >= 1.1
    assert (result.requests, len(door.lines)) == (1, 3)


async def test_a_refusal_carries_the_daemons_words_at_once(door: Door, tmp_path: Path) -> None:
    problem = {"title": "The token is wrong", "status": 403, "detail": "Compare it"}
    door.refusals = [web.json_response(problem, status=403)]
    with pytest.raises(ReplayError, match=r"/hooks/pbx answered 403: The token is wrong: Compare it"):
        await replay(write(tmp_path / "a.jsonl", events(3)), door.target(), None, silent)
    assert door.requests == []


async def test_a_server_that_is_not_callkpi_is_told_so(door: Door, tmp_path: Path) -> None:
    door.refusals = [web.Response(text="<h1>It works!</h1>")]
    with pytest.raises(ReplayError, match="not as callkpi does: <h1>It works!"):
        await replay(write(tmp_path / "a.jsonl", events(1)), door.target(), None, silent)


async def test_recorded_time_passes_n_times_faster(door: Door, tmp_path: Path) -> None:
    lines = events(4, step=30.0)
    lines.insert(2, json.dumps({"Event": "without a time"}))
    await replay(write(tmp_path / "a.jsonl", lines), door.target(), 100.0, silent)
    assert [len(body.splitlines()) for *_, body in door.requests] == [1, 2, 1, 1]
    gaps = [later - earlier for earlier, later in zip(door.times, door.times[1:], strict=False)]
    assert all(0.2 < gap < 0.5 for gap in gaps), gaps
    assert [line.decode() for line in door.lines] == lines


@pytest.mark.parametrize("name", ["calls.csv", "CALLS.CSV.gz"])
async def test_each_chunk_of_a_table_has_its_head_and_whole_rows(door: Door, tmp_path: Path, name: str) -> None:
    rows = [f'c{n};01.11.2026 10:00;"a note\nin two lines"' for n in range(CHUNK_LINES + 1)]
    result = await replay(write(tmp_path / name, ["id;when;note", "", *rows]), door.target(), 1.0, silent)
    bodies = [body.decode() for *_, body in door.requests]
    assert [body.partition("\n")[0] for body in bodies] == ["id;when;note"] * 2
    assert "".join(body.partition("\n")[2] for body in bodies) == "".join(f"{row}\n" for row in rows)
    assert {request[:2] for request in door.requests} == {("/hooks/pbx", "text/csv")}
    assert result.requests == 2


async def test_a_table_of_which_nothing_is_understood_counts_rows_without_the_head(door: Door, tmp_path: Path) -> None:
    door.refusals.append(web.Response(status=422, text="no"))
    result = await replay(write(tmp_path / "a.csv", ["id", "1", "2"]), door.target(), None, silent)
    assert (result.events, result.rejected) == (0, 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello\nworld\n", "no JSON Lines"),
        (b'[{"n": 1}]\n', "no JSON Lines"),
        (gzip.compress(b'{"n": 1}\n' * 1000, mtime=0)[:-20], "broken near line"),
        (b"{" + b"x" * 2_000_000, "line 1 is longer"),
    ],
)
async def test_a_file_that_is_no_recording(door: Door, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    with pytest.raises(ReplayError, match=words):
        await replay(path, door.target(), None, silent)


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ('{"Timestamp": "1790000000.5"}', 1790000000.5),
        ('{"received_at": 1790000000.5}', 1790000000.5),
        ('{"at": "2026-09-21T14:13:20Z"}', 1790000000.0),
        ('{"at": 1790000000}', 1790000000.0),
        ('{"ts": "1790000000"}', 1790000000.0),
        ('{"Timestamp": "", "received_at": 1790000000}', 1790000000.0),
        ('{"at": "2026-09-21T14:13:20"}', None),
        ('{"Timestamp": "Infinity"}', None),
        ('{"Timestamp": NaN, "at": [1]}', None),
        ("[1]", None),
        ("{broken", None),
    ],
)
def test_the_time_of_a_line(line: str, at: float | None) -> None:
    assert recorded_time(line.encode(), is_queue_log=False) == at


def test_the_time_of_a_queue_log_line() -> None:
    assert recorded_time(b"1790000000|1.2|sales|NONE|ENTERQUEUE", is_queue_log=True) == 1790000000.0


async def test_patience_has_an_end() -> None:
    async with session() as http:
        with pytest.raises(ReplayError, match=r"can't be reached: .* \(given up after 0.3 s\)"):
            await post(http, Target("http://127.0.0.1:9", "pbx"), b"{}", "application/json", patience=0.3)


async def test_an_address_that_is_none() -> None:
    async with session() as http:
        with pytest.raises(ReplayError, match="is no address"):
            await post(http, Target("localhost:8090", "pbx"), b"{}", "application/json")
