"""The doors of every kind of source, at a real daemon over HTTP."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from callkpi.config import SourceKind
from callkpi.sources.base import Delivery
from tests.sources.cases import CASES, SECRET, Case, signed
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.source_config import CONFIG, LIMIT, LONGEST

BY_KIND = pytest.mark.parametrize("case", LONGEST, ids=lambda case: str(case.kind))


@pytest.fixture(scope="module")
async def target(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "every-door", config=CONFIG) as running:
        yield running


@pytest.fixture
async def http(target: Daemon) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(target.url) as session:
        yield session


async def sent(http: aiohttp.ClientSession, delivery: Delivery, **more: str) -> aiohttp.ClientResponse:
    headers = {**delivery.headers, "Content-Type": delivery.content_type, **more}
    return await http.post(delivery.target, data=delivery.body, headers=headers)


async def call(http: aiohttp.ClientSession, case: Case) -> dict[str, Any]:
    """The case's call as the API shows it, when the projector has come so far."""
    path = f"/api/v1/calls/{case.kind}/{case.call['id']}"
    for _ in range(200):
        answer = await http.get(path)
        if answer.status == 200:
            shown: dict[str, Any] = await answer.json()
            if shown["outcome"] == case.call["outcome"]:
                return shown
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path}: {answer.status} {await answer.text()}")


@BY_KIND
async def test_the_vendors_requests_become_the_call(http: aiohttp.ClientSession, case: Case) -> None:
    for delivery in case.deliveries:
        answer = await sent(http, delivery, Host="calls.internal:8090")
        text = await answer.text()
        assert answer.status == 200, text
        if case.kind is SourceKind.TWILIO:
            assert answer.content_type == "text/xml" and text.endswith("<Response/>")
        elif case.kind is SourceKind.BINOTEL:
            assert json.loads(text) == {"status": "success"}
        elif case.kind is SourceKind.SIPUNI:
            assert json.loads(text) == {"success": True}
        else:
            assert json.loads(text)["rejected"] == 0
    shown = await call(http, case)
    assert (shown["outcome"], shown["direction"]) == (case.call["outcome"], case.call["direction"])


@BY_KIND
async def test_a_wrong_proof_is_refused_in_words_without_the_secret(
    target: Daemon, http: aiohttp.ClientSession, case: Case
) -> None:
    answer = await sent(http, signed(case.kind, case.deliveries[0], "no-secret-of-ours"))
    assert answer.status == 403
    told = await answer.text()
    assert f"sources.{case.kind}" in told and SECRET not in told and "no-secret-of-ours" not in told
    log = target.log.read_text()
    assert "hooks.unauthorised" in log and "no-secret-of-ours" not in log


@BY_KIND
async def test_a_body_too_big_is_refused(http: aiohttp.ClientSession, case: Case) -> None:
    big = replace(case.deliveries[0], body=case.deliveries[0].body + b"&pad=" + b"x" * LIMIT)
    assert (await sent(http, big)).status == 413


@BY_KIND
async def test_a_get_is_answered_only_by_who_has_a_check(http: aiohttp.ClientSession, case: Case) -> None:
    answer = await http.get(f"/hooks/{case.kind}?zd_echo=<b>1a2b</b>")
    if case.kind is SourceKind.SIPUNI:
        assert answer.status == 403
        return
    if case.kind is not SourceKind.ZADARMA:
        assert answer.status == 405 and answer.headers["Allow"] == "POST"
        return
    assert (answer.status, await answer.text(), answer.content_type) == (200, "<b>1a2b</b>", "text/plain")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert (await http.get("/hooks/zadarma")).status == 405


@BY_KIND
async def test_only_mango_has_paths_below_its_door(http: aiohttp.ClientSession, case: Case) -> None:
    answer = await http.post(f"/hooks/{case.kind}/events/else", data=b"{}")
    assert answer.status == (403 if case.kind is SourceKind.MANGO else 404)


@BY_KIND
async def test_neither_log_nor_answer_shows_a_secret_or_a_whole_number(
    target: Daemon, http: aiohttp.ClientSession, case: Case
) -> None:
    """Bodies cut in the middle and fields in the wrong place: what is refused is told without them."""
    delivery = case.deliveries[0]
    swapped = delivery.body.replace(b"2026", b"77011234567")
    for body in (delivery.body[: len(delivery.body) // 2], swapped, delivery.body + b"&%ff=%fe\xff"):
        changed = replace(delivery, body=body)
        for attempt in (changed, _signed_if_possible(case.kind, changed)):
            told = await (await sent(http, attempt)).text()
            assert SECRET not in told and "77011234567" not in told
    log = target.log.read_text()
    assert SECRET not in log and "7011234567" not in log


def _signed_if_possible(kind: SourceKind, delivery: Delivery) -> Delivery:
    try:
        return signed(kind, delivery)
    except (KeyError, UnicodeDecodeError):
        return delivery


async def test_sipuni_may_send_its_events_in_the_address(target: Daemon, http: aiohttp.ClientSession) -> None:
    case = next(case for case in CASES if case.kind is SourceKind.SIPUNI and case.name == "end-alone")
    (delivery,) = case.deliveries
    query = delivery.body.decode()
    assert (await http.get(f"/hooks/sipuni?token=no&{query}")).status == 403
    answer = await http.get(f"/hooks/sipuni?{query}&token={SECRET}")
    assert (answer.status, await answer.json()) == (200, {"success": True})
    shown = await call(http, case)
    assert (shown["outcome"], shown["direction"]) == (case.call["outcome"], case.call["direction"])
    assert SECRET not in target.log.read_text()


async def test_a_3cx_is_given_its_template_at_the_door(http: aiohttp.ClientSession) -> None:
    answer = await http.get("/hooks/threecx?template")
    text = await answer.text()
    assert (answer.status, answer.content_type) == (200, "application/xml")
    assert '<Scenario Id="ReportCall"' in text and SECRET not in text


# -- Twilio's address -------------------------------------------------------------------------------------


def twilio(url: str, body: str, content_type: str, key: str = SECRET) -> Delivery:
    """A callback whose signature is over *url* alone, with the body's hash in it, as for JSON."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    address = f"{url}?bodySHA256={digest}"
    signature = base64.b64encode(hmac.new(key.encode(), address.encode(), hashlib.sha1).digest()).decode()
    delivery = next(case for case in CASES if case.kind is SourceKind.TWILIO).deliveries[0]
    return replace(delivery, body=body.encode(), content_type=content_type,
                   headers={"X-Twilio-Signature": signature}, target=f"/hooks/twilio?bodySHA256={digest}")  # fmt: skip


JSON_CALL = (
    '{"CallSid": "CAjson", "CallStatus": "completed", "Direction": "inbound", "From": "+77011234567", "To": "1"}'
)


@pytest.mark.parametrize("host", ["calls.example.org", "calls.example.org:443"])
async def test_twilio_signs_the_public_address_with_or_without_its_port(http: aiohttp.ClientSession, host: str) -> None:
    delivery = twilio(f"https://{host}/hooks/twilio", JSON_CALL, "application/json")
    assert (await sent(http, delivery)).status == 200
    changed = replace(delivery, body=JSON_CALL.replace("inbound", "outbound-api").encode())
    assert (await sent(http, changed)).status == 403


async def test_a_signature_for_another_address_is_refused(http: aiohttp.ClientSession) -> None:
    for url in ("https://calls.example.org/hooks/other", "http://calls.example.org/hooks/twilio"):
        assert (await sent(http, twilio(url, JSON_CALL, "application/json"))).status == 403


# -- tables of calls --------------------------------------------------------------------------------------


async def test_an_export_is_replayed_twice_and_counted_once(
    target: Daemon, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    case = next(case for case in CASES if case.kind is SourceKind.CSV and case.name == "russian-export")
    head, row = case.deliveries[0].body.splitlines()
    rows = [row.replace(b"A-17", b"R-%d" % number) for number in range(1200)]
    path = tmp_path / "calls.csv"
    path.write_bytes(b"\r\n".join([head, *rows]) + b"\r\n")
    for _ in range(2):
        said = await asyncio.to_thread(_replay, target, path)
        assert (said.returncode, "0 rejected" in said.stdout + said.stderr) == (0, True), said
    last = replace(case, call={**case.call, "id": "R-1199"})
    assert (await call(http, last))["talk_seconds"] == 60


def _replay(target: Daemon, path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "callkpi", "replay", str(path), "--source", "csv", "--url", target.url]
    return subprocess.run(command, env=target.environment, capture_output=True, text=True, check=False, timeout=60)
