"""The REST client against a portal that enforces its limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import structlog

from callkpi.bitrix24 import rest
from tests.stand_ins.portal import SECRET, Portal, history

NOW = datetime.now(UTC).replace(microsecond=0)
ROWS = [row for story in history(5, 140, NOW - timedelta(days=1), NOW) for row in story.rows]


@contextlib.asynccontextmanager
async def asking(portal: Portal, rate: float = 400.0, **more: object) -> AsyncIterator[rest.Client]:
    async with portal.serving(), rest.session() as http:
        yield rest.Client(http, portal.url, rate, **{"pause": 0.01, "patience": 20.0, **more})  # type: ignore[arg-type]


def quick(**rules: object) -> Portal:
    return Portal(**{"rate": 400.0, "bucket": 10_000.0, "rows": list(ROWS), **rules})  # type: ignore[arg-type]


async def read(client: rest.Client, after: int = 0) -> list[int]:
    return [rest.row_id(row) async for page in client.statistics({}, after) for row in page.rows]


ALL = sorted(int(row["ID"]) for row in ROWS)


async def test_all_rows_once_in_pages_of_fifty() -> None:
    async with asking(portal := quick()) as client:
        assert await read(client) == ALL
        assert portal.requests["voximplant.statistic.get"] == len(ALL) // 50 + 1
        assert await read(client, after=ALL[70]) == ALL[71:]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100])
async def test_the_last_page_may_be_full_or_empty(count: int) -> None:
    async with asking(quick(rows=ROWS[:count])) as client:
        assert len(await read(client)) == count


@pytest.mark.parametrize(
    ("switch", "surprise"),
    [("minus_one_counts", None), ("ignores_id_filter", "filter_ignored"), ("ignores_order", "order_ignored")],
)
async def test_what_the_documentation_does_not_promise_is_read_all_the_same(switch: str, surprise: str | None) -> None:
    surprises: list[str] = []
    async with asking(quick(**{switch: True}), on_surprise=lambda what, _text: surprises.append(what)) as client:
        # A portal that keeps no order repeats and skips rows between pages; what it shows is all that can be read.
        told = await read(client, after=ALL[60])
        assert set(told) <= set(ALL[61:])
        if switch != "ignores_order":
            assert sorted(told) == ALL[61:]
        assert surprises == ([surprise] if surprise else [])


async def test_the_documented_rate_is_kept() -> None:
    """70 requests at 20/s with a bucket for 500/25 = 20 seconds: more than the bucket, and none is refused."""
    portal = quick(rate=20.0, bucket=20.0 * 2)
    async with asking(portal, rate=20.0, burst=36.0) as client:
        begin = time.monotonic()
        for _ in range(70):
            await client.call("voximplant.statistic.get", {"FILTER": {}})
        assert time.monotonic() - begin >= (70 - 36) / 20 * 0.95
    assert portal.answers["QUERY_LIMIT_EXCEEDED"] == 0


async def test_others_who_fill_the_bucket_are_given_way() -> None:
    portal = quick(rate=40.0, bucket=5.0)
    async with asking(portal, rate=400.0) as client:
        assert await read(client) == ALL
        assert await read(client) == ALL
    assert portal.answers["QUERY_LIMIT_EXCEEDED"] > 0


async def test_a_methods_running_time_is_kept_below_its_limit() -> None:
    """Four fifths of the limit are used, then the portal's window is waited for instead of being blocked."""
    portal = quick(operating_cost=100.0, operating_window=1.0)
    async with asking(portal) as client:
        assert await read(client) == ALL
        assert await read(client) == ALL
    assert portal.answers["OPERATION_TIME_LIMIT"] == 0
    used = portal.requests["voximplant.statistic.get"]
    assert used == 2 * (len(ALL) // 50 + 1)


async def test_a_method_that_is_blocked_is_asked_again_when_its_window_has_moved() -> None:
    portal = quick(operating_cost=100.0, operating_limit=200.0, operating_window=1.0)
    async with asking(portal) as client:
        begin = time.monotonic()
        assert await read(client) == ALL
        assert time.monotonic() - begin > 0.5
    assert portal.answers["OPERATION_TIME_LIMIT"] >= 1


async def test_a_portal_that_fails_in_every_way_is_read_all_the_same() -> None:
    results: list[str] = []
    async with asking(quick(flaky=0.4, seed=3), on_request=results.append) as client:
        for _ in range(20):
            assert await read(client) == ALL
    assert set(results) == {"ok", "network", "bad_answer", "query_limit", "http_500", "http_502"}


async def test_patience_ends() -> None:
    async with asking(quick(flaky=1.0), patience=0.3) as client:
        with pytest.raises(rest.Unavailable, match=r"given up after 0\.3 s"):
            await client.call("user.get")


async def test_a_renamed_portal_gets_the_same_post_and_is_remembered() -> None:
    old, new = quick(rows=[]), quick()
    renames: list[tuple[str, str]] = []

    async def renamed(before: str, after: str) -> None:
        renames.append((before, after))

    async with new.serving(), asking(old, on_rename=renamed) as client:
        old.moved_to = new.origin
        assert await read(client) == ALL
        assert old.requests.total() == 1
        assert renames == [(old.origin, new.origin)]


@pytest.mark.parametrize(
    ("target", "words"),
    [("{origin}/login/", "no REST method"), ("{origin}", "in a circle"), ("ftp://x", "without TLS")],
)
async def test_a_redirect_that_leads_nowhere_is_not_followed(target: str, words: str) -> None:
    async with asking(portal := quick()) as client:
        portal.moved_to = target.format(origin=portal.origin)
        with pytest.raises(rest.Refused, match=words):
            await client.call("user.get")


async def test_a_redirect_never_takes_the_secret_off_tls() -> None:
    async with rest.session() as http:
        client = rest.Client(http, f"https://acme.bitrix24.example/rest/1/{SECRET}/")
        with pytest.raises(rest.Refused, match="without TLS"):
            await client._renamed(client._address("user.get"), f"http://elsewhere.example/rest/1/{SECRET}/user.get")


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("expired_token", rest.Denied, "has expired"),
        ("NO_AUTH_FOUND", rest.Denied, "does not know this webhook"),
        ("insufficient_scope", rest.Denied, "lacks a right"),
        ("ACCESS_DENIED", rest.Denied, "rights"),
        ("OVERLOAD_LIMIT", rest.Blocked, "blocked"),
    ],
)
async def test_a_refusal_is_told_with_what_to_do_and_not_repeated(code: str, kind: type, words: str) -> None:
    results: list[str] = []
    async with asking(portal := quick(denied=code), on_request=results.append) as client:
        with pytest.raises(kind, match=words) as caught:
            await client.call("voximplant.statistic.get")
        assert portal.requests.total() == 1
        assert results == [caught.value.reason] == [code.lower()]


async def test_words_of_the_portal_are_no_values_of_labels() -> None:
    """Each new one would be a series of its own."""
    async with asking(quick(denied="SOMETHING_NEW_4711")) as client:
        with pytest.raises(rest.Denied) as caught:
            await client.call("voximplant.statistic.get")
        assert caught.value.reason == "http_403"


async def test_an_unknown_method_is_not_repeated() -> None:
    async with asking(portal := quick()) as client:
        with pytest.raises(rest.Refused, match="ERROR_METHOD_NOT_FOUND"):
            await client.call("no.such.method")
        assert portal.requests.total() == 1


async def test_a_portal_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "REQUEST_SECONDS", 0.2)
    async with asking(quick(slow_seconds=5.0), patience=0.5) as client:
        begin = time.monotonic()
        with pytest.raises(rest.Unavailable, match="can't be reached"):
            await client.call("user.get")
        assert time.monotonic() - begin < 3


async def test_the_secret_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    with structlog.testing.capture_logs() as logs:
        for rules in ({"flaky": 1.0}, {"denied": "NO_AUTH_FOUND"}, {"moved_to": "http://127.0.0.1:1"}):
            async with asking(quick(**rules), patience=0.1) as client:
                with pytest.raises(rest.PortalError) as caught:
                    await client.call("user.get")
                told.append(f"{caught.value} {caught.value!r} {caught.value.__cause__!r}")
        # The portal itself repeats what it was shown.
        async with asking(quick()) as client, aiohttp.ClientSession() as http:
            wrong = rest.Client(http, client.url.replace(SECRET, "an0therSecret99"), patience=0.1)
            with pytest.raises(rest.Denied) as caught:
                await wrong.call("user.get")
            told.append(str(caught.value))
    text = "\n".join([*told, str(logs), caplog.text])
    assert SECRET not in text and "an0therSecret99" not in text


async def test_requests_go_one_after_the_other() -> None:
    portal = quick(slow_seconds=0.05)
    async with asking(portal) as client:
        begin = time.monotonic()
        await asyncio.gather(*(client.call("user.get") for _ in range(6)))
        assert time.monotonic() - begin >= 0.3
