"""The doors as their users meet them: a real daemon, real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stand_ins.daemon import CONFIG, Daemon, daemon

TIGHT = CONFIG + """
[server]
max_body_bytes = 20000
max_waiting = 5
request_timeout_seconds = 1.5
metrics_token = "metrics-secret"
"""  # fmt: skip
NATIVE = {"Authorization": "Bearer native-secret"}


@pytest.fixture(scope="module")
async def target(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "door", config=TIGHT) as running:
        yield running


@pytest.fixture
async def http(target: Daemon) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(target.url) as session:
        yield session


def event(**facts: Any) -> str:
    return json.dumps({"call_id": "c1", "kind": "started", "at": time.time(), "direction": "inbound", **facts})


async def told(answer: aiohttp.ClientResponse) -> tuple[int, Any]:
    return answer.status, await answer.json(content_type=None)


async def test_an_event_is_acknowledged_and_shown(target: Daemon, http: aiohttp.ClientSession) -> None:
    status, body = await told(await http.post("/hooks/native", data=event(call_id="shown", line="100"), headers=NATIVE))
    assert (status, body) == (200, {"events": 1, "ignored": 0, "rejected": 0})
    for _ in range(100):
        status, body = await told(await http.get("/api/v1/calls/native/shown"))
        if status == 200:
            break
        await asyncio.sleep(0.05)
    assert status == 200, (body, target.log.read_text()[-2000:])
    assert (body["line"], body["outcome"], body["direction"]) == ("100", "open", "inbound")
    assert [each["kind"] for each in body["events"]] == ["started"]


async def test_the_token_may_come_in_the_address(http: aiohttp.ClientSession) -> None:
    assert (await http.post("/hooks/native?token=native-secret", data=event(call_id="t"))).status == 200


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/hooks/native", "{}", {}, 403, "token"),
        ("/hooks/native", "{}", {"Authorization": "Bearer wrong"}, 403, "token"),
        ("/hooks/nobody", "{}", NATIVE, 404, "[sources.nobody]"),
        ("/hooks/native", "{", NATIVE, 400, "not JSON"),
        ("/hooks/native", '{"kind": "started"}', NATIVE, 422, "at: is required"),
        ("/hooks/portal", "", {}, 400, "empty"),
        ("/hooks/native", "x" * 30_000, NATIVE, 413, "20000 bytes"),
        ("/elsewhere", "", {}, 404, "Not Found"),
        ("/metrics", "", {}, 405, "Method Not Allowed"),
    ],
)
async def test_errors_say_what_and_what_to_do(
    http: aiohttp.ClientSession, path: str, body: str, headers: dict[str, str], status: int, words: str
) -> None:
    answer = await http.post(path, data=body, headers=headers)
    problem = await answer.json(content_type=None)
    assert answer.status == problem["status"] == status
    assert answer.content_type == "application/problem+json"
    assert words in json.dumps(problem)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("kpi?by=colour", "by: 'colour' is none of queue"),
        ("kpi?form=2026-01-01", "form: unknown parameter"),
        ("kpi?from=soon", "from: 'soon' is no time"),
        ("kpi?from=2026-01-02&to=2026-01-01", "is not after from"),
        ("kpi?from=1971-01-01&to=2026-01-01", "at most ten years"),
        ("kpi?tenant=other", "tenant: 'other' is none of acme"),
        ("calls?limit=0", "limit: '0' must be 1 to 1000"),
        ("calls?outcome=lost", "outcome: 'lost' is none of"),
        ("calls?line=%00", "line: must not contain NUL"),
    ],
)
async def test_a_bad_query_names_its_parameter(http: aiohttp.ClientSession, query: str, words: str) -> None:
    status, body = await told(await http.get(f"/api/v1/{query}"))
    assert status == 400
    assert words in body["detail"]


async def test_a_call_that_is_not_there(http: aiohttp.ClientSession) -> None:
    assert (await http.get("/api/v1/calls/nothing")).status == 404


async def test_metrics_want_their_token_and_speak_both_formats(http: aiohttp.ClientSession) -> None:
    assert (await http.get("/metrics")).status == 401
    token = {"Authorization": "Bearer metrics-secret"}
    plain = await http.get("/metrics", headers=token)
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    wanted = {**token, "Accept": "application/openmetrics-text; version=1.0.0"}
    openmetrics = await http.get("/metrics", headers=wanted)
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert (await openmetrics.text()).endswith("# EOF\n")


async def test_health_and_readiness(http: aiohttp.ClientSession) -> None:
    assert (await told(await http.get("/healthz")))[1] == {"status": "alive"}
    status, body = await told(await http.get("/readyz"))
    assert status == 200 and body["ready"] and body["migration"] == body["migration_expected"]


async def test_a_slow_body_is_cut_and_a_slow_head_too(target: Daemon) -> None:
    told = b" HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"
    native = b"POST /hooks/native" + told + b"Authorization: Bearer native-secret\r\n\r\n{"
    for head in (native, b"POST /hooks/portal" + told + b"\r\ne", b"POST /hooks/na"):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(head)
        begin = time.monotonic()
        answer = await asyncio.wait_for(reader.read(), 12)
        writer.close()
        assert time.monotonic() - begin < 10
        assert answer == b"" or b"408" in answer.split(b"\r\n")[0]


async def test_a_connection_that_is_kept_is_not_cut_while_it_is_used_now_and_then(target: Daemon) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    for _ in range(4):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert b" 200 " in head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        await asyncio.sleep(1.8)  # longer than a first request may take
    writer.close()


async def test_too_long_a_header_is_refused(target: Daemon) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n")
    status = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert b" 400 " in status or b" 431 " in status


async def test_more_than_may_wait_is_told_to_come_again(target: Daemon) -> None:
    head = b"POST /hooks/native HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer native-secret\r\nContent-Length: 9\r\n\r\n"
    waiting = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(5)]
    for _, writer in waiting:
        writer.write(head)
    await asyncio.sleep(0.3)
    async with aiohttp.ClientSession(target.url) as session:
        async with session.post("/hooks/native", data="[]", headers=NATIVE) as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "2"
        async with session.post("/hooks/portal", data="") as answer:
            assert answer.status == 400, "another source has room of its own"
    for _, writer in waiting:
        writer.close()


async def test_strangers_who_hold_their_bodies_back_take_nobodys_room(target: Daemon) -> None:
    """They have room by their address, and who sends his request at once needs none of it."""
    head = b"POST /hooks/portal HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    waiting = [await asyncio.open_connection("127.0.0.1", target.port) for _ in range(12)]
    for _, writer in waiting:
        writer.write(head)
    await asyncio.sleep(0.3)
    form = {
        "event": "ONVOXIMPLANTCALLSTART", "data[CALL_ID]": "room", "data[USER_ID]": "5", "ts": str(int(time.time())),
        "auth[application_token]": "portal-secret",
    }  # fmt: skip
    async with aiohttp.ClientSession(target.url) as session:
        async with session.post("/hooks/portal", data=form) as answer:
            assert answer.status == 200
        async with session.post("/hooks/native", data=event(call_id="room"), headers=NATIVE) as answer:
            assert answer.status == 200
    refused = 0
    for reader, writer in waiting:
        refused += b" 503 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
    assert refused >= 10


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/hooks/nobody", NATIVE, b"404"),
        ("/hooks/native", {}, b"403"),
        ("/hooks/native?token=guess", {}, b"403"),
        ("/hooks/native", {**NATIVE, "Content-Type": "image/png"}, b"415"),
        ("/hooks/native", {**NATIVE, "Content-Length": "30000"}, b"413"),
    ],
)
async def test_what_needs_no_body_is_said_before_it_comes(
    target: Daemon, path: str, headers: dict[str, str], status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    told = {"Host": "x", "Content-Length": "100", **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
    writer.write("\r\n".join([*lines, "", "{"]).encode())
    writer.write(b"\r\n{")
    assert status in await asyncio.wait_for(reader.readline(), 1.2)  # a body may take 1.5 s
    writer.close()


async def test_a_stranger_s_body_that_swells_is_bounded(target: Daemon, http: aiohttp.ClientSession) -> None:
    """2 KB of deflate are 2 MB of form: what is not authentic is read to the bound and no further."""
    swollen = zlib.compress(b"event=" + b"x" * 2_000_000)
    headers = {"Content-Encoding": "deflate"}
    assert (await http.post("/hooks/portal", data=swollen, headers=headers)).status == 413
    small = zlib.compress(event(call_id="deflated").encode())
    answer = await http.post("/hooks/native", data=small, headers={**headers, **NATIVE})
    assert (await answer.json())["events"] == 1


async def test_times_in_queries_are_of_the_call_centre(http: aiohttp.ClientSession) -> None:
    _, body = await told(await http.get("/api/v1/kpi?from=2026-11-23&to=2026-11-24T00:00&by=line"))
    begin, end = datetime(2026, 11, 22, 19, tzinfo=UTC), datetime(2026, 11, 23, 19, tzinfo=UTC)
    assert (body["from"], body["to"]) == (begin.isoformat(), end.isoformat())


async def test_the_log_has_no_secret_and_no_whole_number(target: Daemon, http: aiohttp.ClientSession) -> None:
    bad = "event=X&data[PHONE_NUMBER]=%2B77011234567&auth[application_token]=portal-secret"
    await http.post("/hooks/portal", data=bad)
    await http.post("/hooks/native", data=event(at="+77011234567"), headers=NATIVE)
    await http.post("/hooks/native?token=guess-me", data=event())
    await asyncio.sleep(0.2)
    log = target.log.read_text()
    assert "ingest.rejected" in log and "hooks.unauthorised" in log
    for secret in ("portal-secret", "native-secret", "guess-me", "77011234567", "Traceback"):
        assert secret not in log
