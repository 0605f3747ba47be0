"""A big delivery goes in parts: every event of it is there, what is broken costs itself, and nothing is for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.ingest.door import MOST_APART, Ingest
from callkpi.ingest.spool import Spool, Spooled
from callkpi.sources import SOURCE_TYPES, parts
from callkpi.sources.base import Context, Delivery, Malformed, SourceType
from callkpi.sources.reading import SMALL_BYTES, Reader
from callkpi.sources.tables import CSV
from tests.world import TOKENS, World, test_settings

MIB = 1024 * 1024
AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
NATIVE = SOURCE_TYPES[config.SourceKind.NATIVE]
ASTERISK = SOURCE_TYPES[config.SourceKind.ASTERISK]


def event(number: int, **facts: Any) -> dict[str, Any]:
    told = {"call_id": f"c{number}", "kind": "started", "at": AT.timestamp() + number % 86400, "direction": "inbound"}
    return {**told, "event_id": f"e{number}", **facts}


def array(items: Iterable[Any]) -> bytes:
    return json.dumps(list(items)).encode()


def lines(items: Iterable[Any]) -> bytes:
    return "\n".join(map(json.dumps, items)).encode()


# -- parts ------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{},\n é', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=30), st.integers(1, 7), st.sampled_from([None, 1]))
def test_an_array_is_its_parts(items: list[Any], most: int, indent: int | None) -> None:
    body = json.dumps(items, indent=indent, ensure_ascii=False).encode()
    found = list(parts.of_json(body, most))
    assert [item for part in found for item in json.loads(part.body)] == items
    assert all(part.payloads == len(json.loads(part.body)) <= most and not part.broken for part in found)


@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=30), st.integers(1, 7))
def test_lines_are_their_parts(items: list[Any], most: int) -> None:
    body = b"\n\n".join(json.dumps(item).encode() for item in items)
    found = list(parts.Lines(body, most))
    assert [json.loads(line) for part in found for line in part.body.splitlines() if line.strip()] == items


@given(st.lists(VALUES, min_size=2, max_size=20), st.data())
def test_what_was_cut_off_is_given_once_and_whole(items: list[Any], data: st.DataObject) -> None:
    whole = json.dumps(items).encode()
    body = whole[: data.draw(st.integers(1, len(whole) - 1))]
    found = list(parts.of_json(body, 3))
    assert found[-1].broken or not body.strip(b"[ ")
    assert sum(len(part.body.strip(b"[], ")) for part in found) <= len(body)


@given(st.lists(VALUES, max_size=40), st.integers(0, 9))
def test_the_rest_is_what_was_not_given(items: list[Any], taken: int) -> None:
    given_parts = parts.of_json(json.dumps(items).encode(), 3)
    first = [item for _, part in zip(range(taken), given_parts, strict=False) for item in json.loads(part.body)]
    assert first + json.loads(given_parts.rest() or b"[]") == items


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"a": 1}', parts.Whole),
        (b'{\n "a": {\n  "b": 1\n }\n}', parts.Whole),
        (b'{"a": 1}\n', parts.Whole),
        (b'{"a": 1}\n{"a": 2}', parts.Lines),
        (b'{"a":\n{"a": 2}', parts.Lines),
        (b'  [{"a": 1}]', parts.JsonList),
        (b"event=X&data[CALL_ID]=c", parts.Whole),
        (b"", parts.Whole),
    ],
)
def test_the_form_of_a_delivery_is_seen(body: bytes, kind: type) -> None:
    assert isinstance(parts.of_json(body), kind)


def read_all(source_type: SourceType, body: bytes, settings: config.Source) -> tuple[list[Any], int, list[str]]:
    delivery = Delivery(body, "text/csv" if source_type is CSV else "application/json", "", AT)
    reader = Reader(source_type, delivery, Context("s", "acme", settings, AT))
    events, ignored, reasons = [], 0, []
    while (read := reader.read()) is not None:
        events += read.parsed.events
        ignored += read.parsed.ignored
        reasons += [reason for _, reason in read.parsed.rejected]
        assert len(read.part.body) <= 2 * parts.PART_BYTES
    return events, ignored, reasons


def table() -> tuple[SourceType, bytes, config.Source]:
    columns = {name: name for name in ("call_id", "started", "from", "to", "talk", "outcome", "queue")}
    rows = [
        f'c{n};2026-11-24 10:00:{n % 60:02};"7701000{n:04}";100;{n % 90};answered;"ООО ""Рога""\nи копыта {n}"'
        for n in range(3000)
    ]
    body = "\n".join([";".join(columns), *rows]).encode("cp1251")
    return CSV, body, config.Source(kind=config.SourceKind.CSV, token="x", columns=columns, timezone="Asia/Almaty")


def queue_log() -> tuple[SourceType, bytes, config.Source]:
    told = [f"{int(AT.timestamp()) + n}|c{n}|sales|NONE|ENTERQUEUE||77010000001|1" for n in range(3000)]
    return ASTERISK, "\n".join(told).encode(), config.Source(kind=config.SourceKind.ASTERISK, token="x")


def timeless() -> tuple[SourceType, bytes, config.Source]:
    told = [{"Event": "QueueMemberPause", "Queue": "q", "MemberName": f"m{n}", "Paused": "1"} for n in range(3000)]
    return ASTERISK, lines(told), config.Source(kind=config.SourceKind.ASTERISK, token="x")


def native() -> tuple[SourceType, bytes, config.Source]:
    told = [event(n) if n % 7 else {"call_id": "x"} for n in range(3000)]
    return NATIVE, array(told), config.Source(kind=config.SourceKind.NATIVE, token="x")


@pytest.mark.parametrize("made", [table, queue_log, timeless, native], ids=lambda made: made.__name__)
def test_in_parts_it_says_the_same_as_in_one(made: Callable[[], tuple[SourceType, bytes, config.Source]]) -> None:
    """Also the place of what has no time of its own, and a row of a table over several lines."""
    source_type, body, settings = made()
    settings = replace(settings, timezone=settings.timezone or "Asia/Almaty")
    whole = source_type.parse(
        source_type.decode(Delivery(body, "", "", AT)), Context("s", "acme", settings, AT)
    )  # fmt: skip
    events, ignored, reasons = read_all(source_type, body, settings)
    assert [(e.call_id, e.at, e.event_id, e.queue) for e in events] == [
        (e.call_id, e.at, e.event_id, e.queue) for e in whole.events
    ]
    assert (ignored, len(reasons)) == (whole.ignored, len(whole.rejected))


# -- through the door -------------------------------------------------------------------------------------


async def stored(world: World) -> int:
    return int(await world.pool.fetchval("SELECT count(*) FROM journal"))


async def rejected(world: World) -> list[Any]:
    return list(await world.pool.fetch("SELECT payload, reason FROM rejected ORDER BY id"))


@pytest.mark.parametrize("form", [array, lines])
async def test_ten_thousand_small_events_in_one_delivery(world: World, form: Callable[[Iterable[Any]], bytes]) -> None:
    body = form(event(n) for n in range(10_000))
    for _ in range(2):
        receipt = await world.send("native", body)
        assert (receipt.events, receipt.rejected) == (10_000, 0)
        assert await stored(world) == 10_000


async def test_numbers_instead_of_events_are_one_row_and_the_rest_is_not_read(world: World) -> None:
    body = array([1] * 100_000)
    receipt = await world.send("native", body)
    assert receipt.events == 0 and MOST_APART < receipt.rejected < MOST_APART + 1000
    kept = await rejected(world)
    assert [row["reason"][:20] for row in kept] == [
        "an event must be a J", "500 of its payloads ", "nothing of what stan"
    ]  # fmt: skip
    assert kept[0]["payload"] == b"1"
    assert len(kept[2]["payload"]) > 290_000


async def test_good_events_between_many_bad_ones_are_all_taken(world: World) -> None:
    body = array(event(n) if n % 2 else {"call_id": f"bad{n}"} for n in range(6000))
    receipt = await world.send("native", body)
    assert (receipt.events, receipt.rejected) == (3000, 3000)
    assert await stored(world) == 3000
    kept = await rejected(world)
    assert MOST_APART <= len(kept) <= MOST_APART + 20
    assert sum(len(row["payload"]) for row in kept) < 2 * len(body)


async def test_one_broken_payload_of_a_big_list_costs_itself(world: World) -> None:
    items = [json.dumps(event(n)) for n in range(1000)]
    items[700] = '{"call_id": "c", "kind" "started"}'
    receipt = await world.send("native", f"[{', '.join(items)}]")
    assert (receipt.events, receipt.rejected) == (999, 1)
    assert [row["payload"] for row in await rejected(world)] == [f"[{items[700]}]".encode().replace(b"[{", b"[ {")]


async def test_a_list_that_was_cut_off_gives_what_came(world: World) -> None:
    body = array(event(n) for n in range(1000))[:-30]
    receipt = await world.send("native", body)
    assert (receipt.events, receipt.rejected) == (999, 1)
    assert "does not end" in receipt.reason


async def test_one_payload_of_megabytes_is_kept_and_not_read(world: World) -> None:
    body = json.dumps(event(1, fields={"x": "y" * parts.PAYLOAD_BYTES})).encode()
    with pytest.raises(Malformed, match="at most 1048576 are read"):
        await world.send("native", body)
    assert [row["payload"] for row in await rejected(world)] == [body]
    receipt = await world.send("native", array([event(2), event(1, fields={"x": "y" * parts.PAYLOAD_BYTES}), event(3)]))
    assert (receipt.events, receipt.rejected) == (1, 1)


async def test_a_rest_that_was_not_read_is_replayed_after_a_fix(world: World) -> None:
    body = array([*range(3000), *(event(n) for n in range(100))])
    assert (await world.send("native", body)).events == 0
    row = (await rejected(world))[-1]
    receipt = await world.ingest.replay("native", "application/json", row["payload"], AT)
    assert receipt.events == 100 and receipt.rejected > 0
    assert await stored(world) == 100


async def test_no_secret_of_a_big_delivery_is_kept(world: World) -> None:
    body = array([*range(3000), {"token": TOKENS["native"]}, "x" * 10_000])
    await world.send("native", body)
    assert not any(TOKENS["native"].encode() in row["payload"] for row in await rejected(world))


# -- through the spool ------------------------------------------------------------------------------------


class Flapping:
    """A pool that has a connection only now and then."""

    def __init__(self, pool: Any, works: Sequence[bool]) -> None:
        self._pool, self._works = pool, list(works)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def acquire(self) -> Any:
        if self._works and not self._works.pop(0):
            raise ConnectionRefusedError
        return self._pool.acquire()


async def test_a_big_delivery_during_an_outage_waits_in_parts_and_is_taken_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away in the middle of it, and again and again while the spool is emptied."""
    monkeypatch.setattr("callkpi.ingest.journal.REST_SECONDS", 0.0)
    spool = Spool(tmp_path, 10 * MIB)
    ingest = Ingest(test_settings(), world.pool, world.journal, world.health, spool)
    monkeypatch.setattr(world.journal, "_pool", Flapping(world.pool, [True] * 3 + [False] * 6))
    body = lines(event(n) if n % 100 else {"call_id": f"bad{n}"} for n in range(6000))
    receipt = await ingest.take("native", Delivery(body, "application/json", TOKENS["native"], AT))
    assert (receipt.events, receipt.rejected) == (5940, 60)
    waiting = (await spool.size()).deliveries
    assert waiting >= 5 and await stored(world) < 5940
    monkeypatch.setattr(world.journal, "_pool", Flapping(world.pool, [False, True, False, True, False]))
    for _ in range(10):
        try:
            await spool.drain(ingest.take_spooled)
        except Exception as error:
            assert type(error).__name__ == "JournalUnavailable"
    assert (await spool.size()).deliveries == 0
    assert await stored(world) == 5940
    assert await world.pool.fetchval("SELECT count(*) FROM rejected") == 60
    spool.close()


async def test_a_big_delivery_that_an_older_version_spooled_whole_goes_through(world: World, tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10 * MIB)
    await spool.put(Spooled("native", "application/json", AT, array(event(n) for n in range(8000))))
    await spool.put(Spooled("native", "application/json", AT, array([1] * 100_000)))
    assert await spool.drain(world.ingest.take_spooled) == 2
    assert await stored(world) == 8000
    assert len(await rejected(world)) == 3
    spool.close()


async def test_a_small_delivery_is_not_cut() -> None:
    body = array([event(1), event(2)])
    assert len(body) < SMALL_BYTES
    delivery = Delivery(body, "application/json", "", AT)
    settings = config.Source(kind=config.SourceKind.NATIVE, token="x")
    read = Reader(NATIVE, delivery, Context("s", "acme", settings, AT)).read()
    assert read is not None and read.part.body is body
