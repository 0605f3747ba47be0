"""What every kind of source must do, whichever vendor it is: the same tests for all."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calls.model import IMPLAUSIBLE_TIME, CallEvent
from callkpi.calls.rows import call_from_body
from callkpi.ingest.door import Receipt, Unauthorised
from callkpi.ingest.spool import Spooled
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Delivery, Malformed
from tests.sources.cases import CASES, FORM, SECRET, TENANT, Case, describe, folded, longest_of_each_kind, parse, signed
from tests.world import World, sample

LONGEST = longest_of_each_kind()
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.name}")
BY_KIND = pytest.mark.parametrize("case", LONGEST, ids=lambda case: str(case.kind))
CUSTOMER = "77011234567"
#: Facts of a call that a case file may leave out only where they are unknown or empty.
EMPTY: dict[str, Any] = {
    "hangup_by": "", "code": "", "transferred": False, "rating": None, "entries": [], "line": "", "customer": "",
    "wait": None, "talk": None, "hold": None, "wrap": None,
}  # fmt: skip


def all_events(case: Case) -> list[CallEvent]:
    return [event for delivery in case.deliveries for event in parse(case, delivery)[0]]


async def taken(doors: World, case: Case, delivery: Delivery) -> Receipt | str:
    """What the door says; anything but a receipt or a refusal is an error of the daemon."""
    try:
        return await doors.ingest.take(str(case.kind), delivery)
    except (Unauthorised, Malformed) as refusal:
        return str(refusal) if isinstance(refusal, Malformed) else "unauthorised"


async def kept(doors: World) -> list[Any]:
    return list(await doors.pool.fetch("SELECT payload, reason FROM rejected"))


async def journalled(doors: World) -> int:
    return int(await doors.pool.fetchval("SELECT count(*) FROM journal"))


def test_every_kind_has_recordings() -> None:
    assert {case.kind for case in CASES} == set(SOURCE_TYPES) == set(config.kinds())


@BY_NAME
def test_recorded_deliveries_make_the_call(case: Case) -> None:
    assert [reason for delivery in case.deliveries for reason in parse(case, delivery)[1]] == []
    told = describe(folded(case, all_events(case), case.deliveries[-1].received_at))
    expected = {**EMPTY, **case.call}
    assert {name: told[name] for name in expected} == expected


@BY_NAME
async def test_signed_deliveries_reach_the_store_as_one_call(doors: World, case: Case) -> None:
    for delivery in case.deliveries:
        receipt = await taken(doors, case, delivery)
        assert isinstance(receipt, Receipt) and receipt.rejected == 0
    await doors.project()
    rows = await doors.pool.fetch("SELECT source, call_id, outcome, direction FROM calls")
    found = [(row["source"], row["call_id"], row["outcome"], row["direction"]) for row in rows]
    assert found == [(str(case.kind), case.call["id"], case.call["outcome"], case.call["direction"])]
    assert await doors.findings() == []
    counted = sample(await doors.metrics(), "callkpi_source_unknown_values_total", source=str(case.kind))
    assert (counted or 0) == case.unknown


# -- order and repetition --------------------------------------------------------------------------------


@given(st.sampled_from(CASES), st.randoms(use_true_random=False))
def test_any_order_and_repetition_make_the_same_call(case: Case, chance: random.Random) -> None:
    events = all_events(case)
    again = [
        event
        for delivery in chance.choices(case.deliveries, k=3)
        for event in parse(case, delivery, delivery.received_at + timedelta(seconds=chance.randint(0, 3600)))[0]
    ]
    # The journal's key is time and id: what has no time of its own may be in it twice, anything else is not.
    mixed = list({(event.at, event.event_id): event for event in [*events, *again]}.values())
    chance.shuffle(mixed)
    now = case.deliveries[-1].received_at
    assert describe(folded(case, mixed, now)) == describe(folded(case, events, now))


@BY_KIND
async def test_a_delivery_replayed_later_changes_nothing(doors: World, case: Case) -> None:
    for delivery in case.deliveries:
        await taken(doors, case, delivery)
    await doors.project()
    before = await doors.tables()
    for delivery in reversed(case.deliveries):
        later = replace(delivery, received_at=delivery.received_at + timedelta(minutes=90))
        assert isinstance(await taken(doors, case, later), Receipt)
    await doors.project()
    assert await doors.tables() == before


@BY_KIND
async def test_what_waited_in_the_spool_makes_the_same_call(doors: World, case: Case) -> None:
    """The spool keeps a delivery's body without the secret, and nothing of its proof: it was checked at the door."""
    for delivery in case.deliveries:
        body = delivery.body.replace(SECRET.encode(), b"[secret]")
        assert await doors.ingest.take_spooled(
            Spooled(str(case.kind), delivery.content_type, delivery.received_at, body)
        )
    await doors.project()
    rows = await doors.pool.fetch("SELECT call_id, outcome, direction FROM calls")
    assert [tuple(row) for row in rows] == [tuple(case.call[name] for name in ("id", "outcome", "direction"))]
    assert await kept(doors) == []


# -- who sent it -----------------------------------------------------------------------------------------


def unsigned(case: Case, delivery: Delivery) -> Iterator[Delivery]:
    """Deliveries without a proof, with an empty, a wrong, and another's."""
    yield replace(signed(case.kind, delivery, "not-the-secret"), presented_token="")
    yield replace(signed(case.kind, delivery, ""), presented_token="")
    yield replace(signed(case.kind, delivery, "not-the-secret"), presented_token="not-the-secret")
    if case.kind in ("zadarma", "twilio", "freeswitch", "mango"):
        yield replace(signed(case.kind, delivery, "x"), headers={}, presented_token="")
        yield replace(signed(case.kind, delivery, "x"), headers={"Authorization": "Basic %%%", "Signature": "\udcff"})


@BY_KIND
async def test_without_the_right_proof_nothing_is_taken(doors: World, case: Case) -> None:
    for delivery in case.deliveries:
        for attempt in unsigned(case, delivery):
            assert await taken(doors, case, attempt) == "unauthorised"
    assert await journalled(doors) == 0 and await kept(doors) == []


@pytest.mark.parametrize("kind", ["zadarma", "mango", "twilio"])
async def test_a_body_that_was_changed_after_it_was_signed_is_refused(doors: World, kind: str) -> None:
    case = next(case for case in LONGEST if case.kind == kind)
    changed = replace(case.deliveries[0], body=case.deliveries[0].body.replace(b"77011234567", b"77019999999"))
    assert changed.body != case.deliveries[0].body
    assert await taken(doors, case, changed) == "unauthorised"


# -- broken deliveries -----------------------------------------------------------------------------------


@BY_KIND
async def test_a_truncated_body_is_refused_or_kept_and_never_an_error(doors: World, case: Case) -> None:
    for delivery in case.deliveries[:3]:
        for end in range(0, len(delivery.body), max(len(delivery.body) // 40, 1)):
            cut = replace(delivery, body=delivery.body[:end])
            for attempt in (cut, resigned(case, cut)):
                answer = await taken(doors, case, attempt)
                assert answer if isinstance(answer, str) else answer.events + answer.ignored + answer.rejected >= 0
    assert all(SECRET.encode() not in row["payload"] and SECRET not in row["reason"] for row in await kept(doors))


def resigned(case: Case, delivery: Delivery) -> Delivery:
    """*delivery* signed again where that is possible; else as it was."""
    try:
        return signed(case.kind, delivery)
    except (KeyError, UnicodeDecodeError):
        return delivery


async def test_a_broken_form_is_kept_without_the_secret_however_it_was_written(pool: asyncpg.Pool) -> None:
    source = config.new_source(kind="megafon", tenant="acme", token="p@ss w/ord")
    world = World(pool, config.Settings(tenants={"acme": TENANT}, sources={"pbx": source}))
    await world.clear()
    for written in (b"p%40ss+w%2Ford", b"p%40ss%20w%2Ford", b"p@ss w/ord"):
        body = b"cmd=event&crm_token=" + written + b"&user=%ff"
        with pytest.raises(Malformed):
            await world.ingest.take("pbx", Delivery(body, FORM, "p@ss w/ord", datetime.now(UTC)))
    assert {row["payload"] for row in await kept(world)} == {b"cmd=event&crm_token=[secret]&user=%ff"}


@BY_KIND
async def test_a_body_in_another_charset_is_refused_with_the_place(doors: World, case: Case) -> None:
    broken = replace(case.deliveries[0], body=case.deliveries[0].body + b"&x=\xcf\xf0\xe8\xe2\xe5\xf2")
    answer = await taken(doors, case, broken)
    if case.kind in ("csv", "asterisk"):
        assert isinstance(answer, Receipt)  # tables in Windows-1251 are read; of a queue_log only the numbers matter
    else:
        assert answer == "unauthorised" or "UTF-8" in str(answer)
    assert await journalled(doors) == (answer.events if isinstance(answer, Receipt) else 0)


#: What stands for "an event that the source has never heard of", and the words of the answer.
UNKNOWN: dict[str, tuple[bytes, bytes, str]] = {
    "bitrix24": (b"ONVOXIMPLANTCALLINIT", b"ONCRMLEADADD", "event: 'ONCRMLEADADD'"),
    "asterisk": (b"|ENTERQUEUE|", b"|", ""),
    "native": (b'"queued"', b'"danced"', "kind: 'danced'"),
    "zadarma": (b"NOTIFY_OUT_END", b"NOTIFY_MOON", "event: 'NOTIFY_MOON'"),
    "mango": (b"Appeared", b"Vanished", "call_state: 'Vanished'"),
    "megafon": (b"cmd=event", b"cmd=dance", "cmd: 'dance'"),
    "twilio": (b"CallStatus=ringing", b"CallStatus=dancing", "CallStatus: 'dancing'"),
    "freeswitch": (b'"variables"', b'"variety"', "variables: is missing"),
    "uis": (b'"waiting"', b'"dancing"', "event: 'dancing'"),
    "binotel": (b"answeredTheCall", b"dancedTheCall", "requestType: 'dancedTheCall'"),
    "onlinepbx": (b"call_start", b"call_dance", "event: 'call_dance'"),
    "sipuni": (b"event=3", b"event=7", "event: '7'"),
    "threecx": (b'"Missed"', b'"Danced"', "callType: 'Danced'"),
    "csv": ("Отвечен".encode("cp1251"), "Станцован".encode("cp1251"), "outcome: 'Станцован'"),
}


@pytest.mark.parametrize("kind", [kind for kind in UNKNOWN if UNKNOWN[kind][2]], ids=str)
async def test_an_unknown_event_is_kept_with_the_reason_and_without_the_secret(doors: World, kind: str) -> None:
    old, new, words = UNKNOWN[kind]
    case, delivery = next((c, d) for c in CASES if c.kind == kind for d in c.deliveries if old in d.body)
    receipt = await taken(doors, case, signed(kind, replace(delivery, body=delivery.body.replace(old, new))))
    assert isinstance(receipt, Receipt) and (receipt.events, receipt.rejected) == (0, 1)
    assert words in receipt.reason
    (row,) = await kept(doors)
    assert SECRET.encode() not in row["payload"] and words in row["reason"]
    again = await doors.ingest.replay(str(kind), media_type(kind, delivery), row["payload"], delivery.received_at)
    assert again.rejected == 1 and again.reason == receipt.reason


def media_type(kind: str, delivery: Delivery) -> str:
    return delivery.content_type if kind == "csv" else SOURCE_TYPES[kind].media_type


def without_each_field(delivery: Delivery) -> Iterator[Delivery]:
    """The delivery, each of its fields missing in turn."""
    if delivery.content_type == FORM:
        pairs = parse_qsl(delivery.body.decode(), keep_blank_values=True)
        for index in range(len(pairs)):
            if pairs[index][0] in ("auth[application_token]", "crm_token", "json"):
                continue
            yield replace(delivery, body=urlencode(pairs[:index] + pairs[index + 1 :]).encode())
        told = dict(pairs).get("json")
        for change in _without_keys(told) if told else []:
            yield replace(delivery, body=urlencode({**dict(pairs), "json": change}).encode())
    elif delivery.body.startswith(b"{"):
        for change in _without_keys(delivery.body.decode()):
            yield replace(delivery, body=change.encode())
    else:
        lines = delivery.body.splitlines(keepends=True)
        for line in range(len(lines)):
            yield replace(delivery, body=b"".join(lines[:line] + lines[line + 1 :]))


def _without_keys(text: str) -> Iterator[str]:
    data = json.loads(text)
    for key in data:
        yield json.dumps({name: value for name, value in data.items() if name != key})
        if isinstance(data[key], dict):
            for inner in data[key]:
                left = {name: value for name, value in data[key].items() if name != inner}
                yield json.dumps({**data, key: left})


@BY_NAME
async def test_a_missing_field_is_no_error_of_the_daemon(doors: World, case: Case) -> None:
    for delivery in case.deliveries:
        for change in without_each_field(delivery):
            answer = await taken(doors, case, resigned(case, change))
            reason = answer if isinstance(answer, str) else answer.reason
            assert CUSTOMER not in reason and SECRET not in reason
    await doors.project()
    assert await doors.findings() == []


@BY_NAME
async def test_hostile_values_are_no_error_of_the_daemon(doors: World, case: Case) -> None:
    """Every value in turn is text of no sense: too long, with NUL, a list, an infinite number."""
    for delivery in case.deliveries[:2]:
        for change in with_each_value(delivery, ("\x00", "9" * 400, "-1", "1e400", "[]", "\ud800", CUSTOMER)):
            answer = await taken(doors, case, resigned(case, change))
            reason = answer if isinstance(answer, str) else answer.reason
            assert CUSTOMER not in reason
    await doors.project()
    assert await doors.findings() == []


def with_each_value(delivery: Delivery, values: tuple[str, ...]) -> Iterator[Delivery]:
    if delivery.content_type == FORM:
        pairs = parse_qsl(delivery.body.decode(), keep_blank_values=True)
        for index, (name, text) in enumerate(pairs):
            if name in ("auth[application_token]", "crm_token"):
                continue
            changes = _with_each_leaf(text, values) if name == "json" else values
            for value in changes:
                changed = [*pairs[:index], (name, value), *pairs[index + 1 :]]
                yield replace(delivery, body=urlencode(changed, errors="replace").encode())
    elif delivery.body.startswith(b"{"):
        for text in _with_each_leaf(delivery.body.decode(), values):
            yield replace(delivery, body=text.encode())


def _with_each_leaf(text: str, values: tuple[str, ...]) -> Iterator[str]:
    """JSON with each scalar in it replaced in turn."""
    data = json.loads(text)
    for holder, key in list(_leaves(data)):
        before = holder[key]
        others: list[Any] = [*values, None, [], {}, 1e308]
        for value in others:
            holder[key] = value
            yield json.dumps(data)
        holder[key] = before


def _leaves(data: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, (dict, list)):
            yield from _leaves(value)
        else:
            yield data, key


#: What a fact may tell of a call that took place at a time nobody knows.
LENGTHS = {"waits", "wait_ms", "wait_answered_ms", "talks", "talk_ms", "holds", "hold_ms", "wraps", "wrap_ms"}


@BY_KIND
@pytest.mark.parametrize("years", [20, -20], ids=["ahead", "behind"])
async def test_a_call_of_a_clock_that_is_years_off_counts_once_and_gives_no_figure_of_time(
    doors: World, case: Case, years: int
) -> None:
    moved = [replace(delivery, body=_skewed(delivery.body, years)) for delivery in case.deliveries]
    assert [each.body for each in moved] != [each.body for each in case.deliveries]
    for delivery in moved:
        receipt = await taken(doors, case, signed(case.kind, delivery))
        assert isinstance(receipt, Receipt) and receipt.rejected == 0
    await doors.project()
    (row,) = await doors.pool.fetch("SELECT body, facts FROM calls")
    call, facts = call_from_body(row["body"]), json.loads(row["facts"])
    assert IMPLAUSIBLE_TIME in call.flags
    received = [delivery.received_at for delivery in moved]
    day = timedelta(days=1)
    assert min(received) - day <= call.started_at <= call.last_event_at <= max(received) + day
    assert [fact["m"]["contacts"] for fact in facts if fact["grain"] == "call"] == [1]
    assert not any(LENGTHS & fact["m"].keys() for fact in facts)
    for table in ("agent_legs", "agent_times", "waits"):
        assert await doors.pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert sample(await doors.metrics(), "callkpi_calls_implausible_time_total", tenant="acme") == 1
    assert await doors.findings() == []


def _skewed(body: bytes, years: int) -> bytes:
    unix = str(1_795_417_000 + years * 31_557_600)[:7].encode()
    for old, new in ((b"2026-", b"%d-"), (b"20261123", b"%d1123"), (b"Nov+2026", b"Nov+%d"), (b".11.2026", b".11.%d")):
        body = body.replace(old, new % (2026 + years))
    return body.replace(b"1795417", unix)
