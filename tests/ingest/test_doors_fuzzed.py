"""Nothing that a stranger sends is an error of the daemon: every door, before and after who he is is known."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest
from aiohttp import web
from yarl import URL

from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import UNREADABLE, CallEvent, Direction, Kind
from callkpi.config import SourceKind
from callkpi.sources import SOURCE_TYPES, base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.web.tries import TRIES
from tests.faults import fuzz, mutation
from tests.sources.cases import SECRET, SETTINGS, TENANT
from tests.sources.conftest import doors
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.source_config import CONFIG
from tests.world import World

__all__ = ["doors"]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
#: Enough for each kind to meet each sort of change some times; the command does a million.
INPUTS, SERVED = 3000, 400
BEARER = {"Authorization": f"Bearer {SECRET}"}


def context(kind: SourceKind) -> Context:
    return Context(str(kind), "acme", SETTINGS.with_zone(SETTINGS.sources[str(kind)]), NOW)


def parsed(kind: SourceKind, body: bytes, content_type: str = "application/json") -> base.Parsed:
    source_type = SOURCE_TYPES[kind]
    delivery = Delivery(body, content_type, SECRET, NOW)
    return source_type.parse(base.decoded(source_type, delivery), context(kind))


# -- fuzzing ----------------------------------------------------------------------------------------------


def test_mutations_of_every_recording_raise_nothing_unforeseen_and_do_not_hang() -> None:
    result = fuzz.run(20261130, range(INPUTS))
    assert fuzz.told_of(result) == []
    assert set(result.inputs) == {*map(str, SourceKind), "AMI", "ESL"}
    assert result.told["events"] > INPUTS and result.told["rejected"] > INPUTS / 10 and result.told["flagged"]


def test_an_id_of_nothing_that_a_database_holds_links_a_call_to_no_other() -> None:
    others = json.dumps({"channel2_uniqueid": "\x00", "pickup_channel_uniqueid": "2.2"})
    row = {
        "eventtype": "CHAN_START", "eventtime": "2026-11-23 11:59:00", "uniqueid": "1.1", "linkedid": "1.1",
        "channame": "PJSIP/trunk-1", "extra": others,
    }  # fmt: skip
    events = parsed(SourceKind.ASTERISK, json.dumps([row]).encode()).events
    assert {(event.call_id, event.linked_to) for event in events if event.kind is Kind.LINKED} == {
        ("1.1", "2.2"), ("2.2", "1.1"),
    }  # fmt: skip


@pytest.fixture(scope="module")
async def target(data_dir: Path) -> AsyncIterator[Daemon]:
    async with daemon(data_dir / "strangers", config=CONFIG) as running:
        yield running


@pytest.fixture
async def http(target: Daemon) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(target.url) as session:
        yield session


async def test_a_served_daemon_answers_mutated_deliveries_and_stays_alive(target: Daemon) -> None:
    served = await fuzz.at_doors(target.url, target.log, 20261130, SERVED)
    assert served.log_errors == []
    assert set(served.statuses) <= {200, 400, 403, 413, 422}
    assert served.statuses[200] > SERVED / 10 and served.health_seconds
    await target.ready()


# -- one bad event in a list ------------------------------------------------------------------------------

GOOD = {"call_id": "g1", "kind": "started", "at": "2026-11-23T11:00:00Z"}
#: Elements as a stranger writes them into a list of events.
BAD = {
    "deep": '{"call_id": "d", "kind": "started", "at": 1795417200, "crm": ' + "[" * 5000 + "]" * 5000 + "}",
    "deep in braces": '{"a":' * 200 + "1" + "}" * 200,
    "5,000 digits": '{"call_id": "n", "kind": "started", "at": ' + "9" * 5000 + "}",
    "a huge float": '{"call_id": "f", "kind": "started", "at": 1e999}',
    "no number": '{"call_id": "f", "kind": "started", "at": NaN}',
    "year one": '{"call_id": "y", "kind": "started", "at": "0001-01-01T00:00:00+23:59"}',
    "year 9999": '{"call_id": "y", "kind": "started", "at": "9999-12-31T23:59:59-23:59"}',
    "a circled digit": '{"call_id": "o", "kind": "started", "at": "①"}',
    "a boolean": '{"call_id": "b", "kind": "started", "at": true}',
    "a list": '{"call_id": ["b"], "kind": "started", "at": 1795417200}',
    "half a character": '{"call_id": "s", "kind": "started", "at": 1795417200, "\\ud800": "x"}',
    "NUL": '{"call_id": "a\\u0000b", "kind": "started", "at": 1795417200}',
    "no object": "[[1]]",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("form", ["array", "lines"])
async def test_one_bad_event_of_a_delivery_costs_that_event(doors: World, form: str, bad: str) -> None:
    good = [json.dumps({**GOOD, "call_id": f"g{number}"}) for number in (1, 2)]
    told = [good[0], bad, good[1]]
    body = f"[{', '.join(told)}]" if form == "array" else "\n".join(told)
    receipt = await doors.ingest.take("native", Delivery(body.encode(), "application/json", SECRET, NOW))
    assert (receipt.events, receipt.rejected) == (2, 1)
    row = await doors.pool.fetchrow("SELECT payload, reason FROM rejected")
    assert row["reason"] == receipt.reason and not receipt.reason.startswith(base.UNFORESEEN)
    again = await doors.ingest.replay("native", "application/json", row["payload"], NOW)
    assert (again.events, again.rejected) == (0, 1)


def test_an_array_without_an_end_is_refused_as_a_whole() -> None:
    for body in (b"[" * 100_000, b'[{"a": ' + b"9" * 5000 + b"}", b'["' + b'\\"' * 100_000):
        with pytest.raises(Malformed):
            parsed(SourceKind.NATIVE, body)


async def test_a_fault_of_ours_in_one_payload_costs_that_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    native = SOURCE_TYPES[SourceKind.NATIVE]
    real = type(native).parse_one

    def broken(self: Any, item: Any, told: Context) -> Any:
        if item["call_id"] == "g2":
            raise ZeroDivisionError
        return real(self, item, told)

    monkeypatch.setattr(type(native), "parse_one", broken)
    result = parsed(SourceKind.NATIVE, json.dumps([{**GOOD, "call_id": f"g{n}"} for n in (1, 2, 3)]).encode())
    assert [event.call_id for event in result.events] == ["g1", "g3"]
    assert [reason for _, reason in result.rejected] == ["unforeseen: ZeroDivisionError; the daemon's log says more"]


# -- before who sent it is known --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(SourceKind), ids=str)
def test_a_proof_of_any_sort_is_wrong_and_no_error(kind: SourceKind) -> None:
    source_type, source = SOURCE_TYPES[kind], SETTINGS.sources[str(kind)]
    with fuzz.nets_taken_away():
        for text in ("\ud800", "\udcff", "é", "①", "Basic é", "\x00", "x" * 100_000):
            headers = dict.fromkeys(("Authorization", "Signature", "X-Twilio-Signature"), text)
            for target in (f"/hooks/{kind}?bodySHA256={text}", f"//[{text}", text):
                delivery = Delivery(b"{}", "application/json", text, NOW, headers, target)
                for payload in (None, [{"auth": {"application_token": text}, "crm_token": text, "event": text}]):
                    assert not source_type.authentic(delivery, payload, source)


@pytest.mark.parametrize("body", ["cdr=①", "cdr=%C3%A9%C3%A9", "cdr=" + "é" * 10, "cdr[x]=1", "cdr=%ff"])
def test_a_record_of_freeswitch_that_is_no_ascii_is_refused_in_words(body: str) -> None:
    with pytest.raises(Malformed, match=r"JSON|UTF-8|cdr="):
        SOURCE_TYPES[SourceKind.FREESWITCH].decode(
            Delivery(body.encode(), "application/x-www-form-urlencoded", "", NOW)
        )


async def test_a_kinds_own_fault_before_authentication_is_a_refusal(
    doors: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(type(SOURCE_TYPES[SourceKind.NATIVE]), "decode", broken)
    with pytest.raises(Malformed, match="unforeseen: KeyError"):
        await doors.ingest.take("native", Delivery(b"{}", "application/json", SECRET, NOW))


# -- times and numbers ------------------------------------------------------------------------------------

EDGES = [
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-23))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
]


@pytest.mark.parametrize("at", EDGES, ids=str)
def test_a_time_at_the_edge_of_the_calendar_is_refused_in_words(at: datetime) -> None:
    with pytest.raises(Rejected, match="is not a time of this century or the last one"):
        base.check_time(at, "at", NOW)
    with pytest.raises(Rejected, match="is not a time of this century or the last one"):
        base.local_time(at.isoformat(), "at", TENANT.zone, NOW)


@pytest.mark.parametrize("text", ["①", "²", "9" * 5000, "", "-1", "1.5", "nan", "1_0", " 1"])
def test_only_digits_are_a_whole_number(text: str) -> None:
    assert base.whole(text) is None


# -- a bad field of a call --------------------------------------------------------------------------------


def call_of(kind: SourceKind, deliveries: list[bytes], content_type: str) -> Any:
    events: list[CallEvent] = []
    for body in deliveries:
        result = parsed(kind, body, content_type)
        assert result.rejected == []
        events += result.events
    told = SOURCE_TYPES[kind].interpret(events, context(kind).settings)
    return fold("c", [event for event in told if event.kind is not Kind.SIGNAL], Thresholds(TENANT), NOW)


@pytest.mark.parametrize("seconds", ["①", "9" * 200, "nan", "1e300", "soon"])
def test_a_duration_that_is_none_costs_the_field_and_flags_the_call(seconds: str) -> None:
    lines = "\n".join([
        "1795417200|1795417200.1|NONE|NONE|DID|100",
        "1795417200|1795417200.1|vip|NONE|ENTERQUEUE||77011234567|1",
        f"1795417210|1795417200.1|vip|Aigerim|CONNECT|{seconds}|1795417201.2|3",
        "1795417270|1795417200.1|vip|Aigerim|COMPLETEAGENT|10|60|1",
    ])  # fmt: skip
    call = call_of(SourceKind.ASTERISK, [lines.encode()], "text/plain")
    assert (call.outcome, call.talk_ms, call.flags) == ("answered", 60_000, (UNREADABLE,))
    good = call_of(SourceKind.ASTERISK, [lines.replace(seconds, "10").encode()], "text/plain")
    assert (good.outcome, good.talk_ms, good.flags) == ("answered", 60_000, ())


@pytest.mark.parametrize("told", ["①", "soon", "9" * 19, "-5"])
def test_a_time_of_a_channel_that_is_none_costs_the_field_and_flags_the_call(told: str) -> None:
    common = {"Core-UUID": "core", "Unique-ID": "a-1", "Call-Direction": "inbound", "Caller-Context": "public"}
    events = [
        {**common, "Event-Name": "CHANNEL_CREATE", "Event-Sequence": "1", "Event-Date-Timestamp": "1795417200000000"},
        {**common, "Event-Name": "CHANNEL_HANGUP_COMPLETE", "Event-Sequence": "2", "Answer-State": "hangup",
         "Event-Date-Timestamp": "1795417230000000", "Caller-Channel-Answered-Time": told,
         "variable_hangup_cause": "ORIGINATOR_CANCEL"},
    ]  # fmt: skip
    call = call_of(SourceKind.FREESWITCH, [json.dumps(events).encode()], "application/json")
    assert (call.outcome, call.flags) == ("abandoned", (UNREADABLE,))


@pytest.mark.parametrize("wrong", [-1, 10**300, 1.5, "60"])
def test_the_fold_leaves_out_a_duration_that_is_none(wrong: Any) -> None:
    common: dict[str, Any] = {"tenant": "acme", "source": "x", "call_id": "c", "received_at": NOW}
    begin = NOW - timedelta(minutes=5)
    events = [
        CallEvent(kind=Kind.STARTED, at=begin, event_id="1", direction=Direction.INBOUND, **common),
        CallEvent(kind=Kind.ENDED, at=NOW, event_id="2", cause="answered", agent="a", talk_ms=wrong, **common),
    ]
    call = fold("c", events, Thresholds(TENANT), NOW)
    assert (call.outcome, call.talk_ms, call.flags) == ("answered", 0, (UNREADABLE,))


# -- a table, and the other lines -------------------------------------------------------------------------


def test_one_cell_that_is_too_long_costs_its_row() -> None:
    head, *rows = ["ID звонка;Дата и время;Тип;Откуда;Куда;Отдел;Сотрудник;Статус;Ожидание;Разговор"] + [
        f"A-{n};23.11.2026 10:00:00;входящий;77011234567;100;sales;Ana;{'x' * 140_000 if n == 2 else 'отвечен'};5;60"
        for n in (1, 2, 3)
    ]
    result = parsed(SourceKind.CSV, "\n".join([head, *rows]).encode(), "text/csv")
    assert {event.call_id for event in result.events} == {"A-1", "A-3"}
    ((kept, reason),) = result.rejected
    assert "no row of a table" in reason and parsed(SourceKind.CSV, kept, "text/csv").rejected == [(kept, reason)]


@pytest.mark.parametrize("body", [b";;;\n", b";\n;\n", b"\n\n", b'"'])
def test_a_table_without_titles_is_refused(body: bytes) -> None:
    with fuzz.nets_taken_away(), pytest.raises(Malformed):
        parsed(SourceKind.CSV, body, "text/csv")


# -- pages and the API ------------------------------------------------------------------------------------

PAGES = ("/", "/board", "/board/state", "/reports", "/reports/shift", "/signin", "/metrics", "/readyz", "/api/v1/docs")
STRANGE = [text for text in mutation.TEXTS if len(text) < 5100]
STRANGER = {"X-Forwarded-For": "203.0.113.9"}


def _written(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


async def _operations(http: aiohttp.ClientSession) -> list[tuple[str, str, list[dict[str, Any]]]]:
    told = orjson.loads(await (await http.get("/api/v1/openapi.json")).read())
    return [
        (method, path, operation.get("parameters", []))
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
        if method in ("get", "post")
    ]


def _asked(method: str, path: str, parameters: list[dict[str, Any]], at: int) -> Iterator[str]:
    """The operation with a strange value for each of its parameters, and for its place."""
    for index, each in enumerate(parameters):
        value = _written(STRANGE[(at + 7 * index) % len(STRANGE)])
        if each.get("in") == "query":
            yield f"{path.replace('{id}', 'x')}?{each['name']}={value}"
        elif each.get("in") == "path":
            yield path.replace("{" + each["name"] + "}", value)
    yield f"{path}?{_written(STRANGE[at % len(STRANGE)])}={_written(STRANGE[(at * 3) % len(STRANGE)])}"


async def test_strange_parameters_are_no_error_of_the_api(target: Daemon, http: aiohttp.ClientSession) -> None:
    operations = await _operations(http)
    assert len(operations) > 15
    for round_, headers in enumerate(({}, STRANGER)):
        for number, (method, path, parameters) in enumerate(operations):
            for address in _asked(method, path, parameters, 13 * number + 31 * round_):
                url = URL(target.url + address, encoded=True)
                async with http.request(method, url, headers=headers) as answer:
                    assert answer.status < 500, (address, await answer.text())


MOMENTS = (
    "0001-01-01", "9999-12-31", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "1971-01-01", "2200-12-31",
    "①", "9" * 30, "253402300800", "nan", "1e18", "2026-W01", "2026-02-30", "\ud800", "\x00", "x" * 300,
)  # fmt: skip
PERIODS = ("day:", "week:", "month:", "quarter:", "year:", "shift:", "range:", "")


async def test_strange_addresses_are_no_error_of_a_page(target: Daemon) -> None:
    """Periods and windows at the edges of the calendar, names that nobody has."""
    query = ("figure", "queue", "line", "agent", "team", "outcome", "tenant", "lang", "theme")
    addresses = [
        *(f"/reports/period/acme/{_written(period + told)}" for period in PERIODS for told in MOMENTS),
        *(f"/reports/period/acme/{_written(f'{told}..{told}')}.json" for told in MOMENTS),
        *(f"/reports/shift/acme/day/{told}" for told in MOMENTS[:2]),
        *(f"/reports/calls?from={_written(a)}&to={_written(b)}" for a in MOMENTS for b in MOMENTS[:6]),
        *(f"/reports/calls?from=2026-11-01&to=2026-11-02&{query[n % 9]}={_written(t)}" for n, t in enumerate(STRANGE)),
        *(f"/reports/call/{_written(told)}/{_written(told)}" for told in STRANGE[::4]),
        *(f"/{('board', 'reports')[n % 2]}?{query[n % 9]}={_written(told)}" for n, told in enumerate(STRANGE)),
    ]  # fmt: skip
    for number, address in enumerate(addresses):
        headers = {"Accept": "text/html"} if number % 2 else {}
        assert await _status(target, "GET", address, headers, b"") < 500, address


BODIES = [
    b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b'{"by": ' + b"9" * 5000 + b"}", b"\xff\xfe", b"", b"null",
    b'"\\ud800"',
    b'{"by": "\\ud800", "text": "\\ud800"}', b'{"number": "\\u0000"}', b"NaN", b'{"minutes": 1e999}',
    b'{"minutes": true}',
]  # fmt: skip


async def test_strange_bodies_are_no_error_of_the_api(target: Daemon, http: aiohttp.ClientSession) -> None:
    posts = [path for method, path, _ in await _operations(http) if method == "post"]
    assert posts
    for path in posts:
        for body in BODIES:
            for kind in ("application/json", "application/json; charset=utf-7", "application/json; charset=①"):
                headers = {"Content-Type": kind.encode().decode("latin-1")}
                async with http.post(path.replace("{id}", "x"), data=body, headers=headers) as answer:
                    assert answer.status < 500, (path, body[:60], await answer.text())


HEADERS = ("Cookie", "Authorization", "Accept-Language", "If-None-Match", "Accept", "Origin", "X-Forwarded-For",
           "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Content-Type", "Host")  # fmt: skip


async def test_strange_headers_are_no_error_of_a_page(target: Daemon) -> None:
    texts = (
        "\udcff", "é", "①", "x" * 4000, "a=b;q=nan", ";q=", "en;q=nan,ru;q=inf", "*/*;q=①", "Basic é",
        "Bearer \udcff", "callkpi_1=\udcff", "[", "[::1", "for=[", "1.2.3.4, ①", "http://[", "text/html;q=①,\udcff",
    )  # fmt: skip
    asked = [(name, text) for name in HEADERS for text in texts]
    for number, (name, text) in enumerate(asked):
        page = PAGES[number % len(PAGES)]  # their number and that of the headers have no divisor in common
        value = f"callkpi_{target.port}=YQ.99999999999.{text}" if name == "Cookie" else text
        assert await _status(target, "GET", page, {name: value}, b"") < 500, (page, name, text)


async def test_strange_forms_are_no_error_of_the_sign_in(target: Daemon) -> None:
    bodies = (
        b"token=%ff", b"token=%ed%a0%80", b"\xff\xfe", b"token[]=x", b"token=" + b"x" * 9000, b"", b"--x\r\n\r\n",
        b"&" * 5000,
    )  # fmt: skip
    form = "application/x-www-form-urlencoded"
    kinds = (
        f"{form}; charset=utf-16", f"{form}; charset=nothing", form, "multipart/form-data",
        "multipart/form-data; boundary=x", "text/plain",
    )  # fmt: skip
    for number, body in enumerate(bodies):
        for index, kind in enumerate(kinds):
            told = {"Content-Type": kind, "X-Forwarded-For": f"203.0.113.{10 * number + index}"}
            for path in ("/signin", "/signin?next=%ff", "/signin?next=//[", "/signin?next=%ed%a0%80%00"):
                status = await _status(target, "POST", path, told, body)
                assert 400 <= status < 500, (kind, body, status)


async def _status(target: Daemon, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    """The answer's status to a request of any bytes, which no client library would send."""
    told = {"Host": f"127.0.0.1:{target.port}", "Connection": "close", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def test_what_is_no_http_is_refused_with_the_headers_of_all_answers(target: Daemon) -> None:
    for request in (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"GET /\x01 HTTP/9\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(request)
        head = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")[0]
        writer.close()
        assert head.startswith(b"HTTP/1.") and b" 400 " in head
        assert b"X-Content-Type-Options: nosniff" in head and b"Content-Security-Policy: default-src 'none'" in head


async def test_every_page_and_file_has_the_headers_of_all_answers(http: aiohttp.ClientSession) -> None:
    files = ("/reports/today.pdf", "/reports/today.json", "/board/board.js", "/api/v1/openapi.json", "/hooks/nobody")
    for page in (*PAGES, *files, "/healthz", "/hooks/zadarma?zd_echo=1", "/nothing"):
        answer = await http.get(page, headers={"Accept": "text/html,*/*"})
        assert answer.headers["X-Content-Type-Options"] == "nosniff", page
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'"), page


async def test_secrets_of_a_door_can_not_be_guessed_and_who_knows_them_is_not_locked_out(
    target: Daemon, http: aiohttp.ClientSession
) -> None:
    def sent(token: str, who: str) -> Any:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": who}
        return http.post("/hooks/native", data=json.dumps({**GOOD, "at": NOW.timestamp()}), headers=headers)

    assert (await sent(SECRET, "198.51.100.1")).status == 200
    for who in ("198.51.100.1", "198.51.100.2"):
        tried = [(await sent(f"guess-{number}", who)).status for number in range(TRIES + 2)]
        assert tried[:TRIES] == [403] * TRIES
        assert tried[TRIES:] == ([403, 403] if who == "198.51.100.1" else [429, 429])
    assert (await sent(SECRET, "198.51.100.2")).status == 429
    assert [(await sent(SECRET, who)).status for who in ("198.51.100.1", "198.51.100.3")] == [200, 200]


async def test_after_all_of_this_the_log_tells_of_nothing_unforeseen(target: Daemon) -> None:
    text = target.log.read_text("utf-8", "replace")
    assert "unforeseen" not in text and "Traceback" not in text
    await target.ready()


async def test_what_an_answer_says_can_always_be_sent() -> None:
    from callkpi.web.problems import problem

    response = problem(400, "half of a character: \ud800", "\udcff")
    assert isinstance(response, web.Response) and b"?" in response.body  # type: ignore[operator]


@pytest.mark.parametrize("stream", ["\x00", " ", "a b", "x" * 300])
def test_a_channel_is_put_into_no_stream_that_is_no_id(stream: str) -> None:
    event = {
        "Event-Name": "callkpi:CHANNEL",
        "Unique-ID": "a-1",
        "Stream": stream,
        "Event-Date-Timestamp": "1795417200000000",
    }
    result = parsed(SourceKind.FREESWITCH, json.dumps([event]).encode())
    assert result.events == [] and [reason for _, reason in result.rejected] == ["Stream: is no id of a channel"]
