"""Bitrix24 payloads in, calls out. The payloads have the documented shape with invented values."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calls import facts as kpi
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import Call, CallEvent, Direction, LegEnd, Outcome
from callkpi.ingest.door import Unauthorised
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context, Delivery, Malformed, authenticated
from callkpi.sources.bitrix24 import OUTCOMES, row_digest, row_item
from callkpi.sources.forms import parse_form
from tests.stand_ins.portal import OUTCOMES as PORTAL_OUTCOMES
from tests.stand_ins.portal import history
from tests.world import PORTAL_TOKEN, World

NOW = datetime(2026, 9, 21, 15, 0, tzinfo=UTC)
BITRIX = SOURCE_TYPES[config.SourceKind.BITRIX24]
SOURCE = config.Source(kind=config.SourceKind.BITRIX24, tenant="acme", application_tokens=("one", PORTAL_TOKEN))
STARTED = "2026-09-21T17:15:22+03:00"
TS = int(datetime(2026, 9, 21, 14, 15, 22, tzinfo=UTC).timestamp())


def form(event: str, data: dict[str, str], ts: int | None = TS, token: str = PORTAL_TOKEN) -> bytes:
    """A body as the portal's queue sends it: brackets percent-encoded or not, everything text."""
    fields = {"event": event, "event_handler_id": "412", **{f"data[{key}]": value for key, value in data.items()}}
    if ts is not None:
        fields["ts"] = str(ts)
    auth = {"domain": "acme.bitrix24.ru", "member_id": "4f0c2d6b8a1e3957", "application_token": token}
    return urlencode({**fields, **{f"auth[{key}]": value for key, value in auth.items()}}).encode()


def init(call_id: str = "A1", call_type: str = "2", ts: int = TS, **data: str) -> bytes:
    told = {"CALL_ID": call_id, "CALL_TYPE": call_type, "CALLER_ID": "+77011234567", "ACCOUNT_SEARCH_ID": "reg7"}
    return form("ONVOXIMPLANTCALLINIT", {**told, **data}, ts)


def start(call_id: str = "A1", user: str = "58", ts: int = TS + 9) -> bytes:
    return form("ONVOXIMPLANTCALLSTART", {"CALL_ID": call_id, "USER_ID": user}, ts)


def end(code: str = "200", duration: int = 60, ts: int = TS + 69, **data: str) -> bytes:
    told = {
        "CALL_ID": "A1", "CALL_TYPE": "2", "PHONE_NUMBER": "77011234567", "PORTAL_NUMBER": "reg7",
        "PORTAL_USER_ID": "58", "CALL_DURATION": str(duration), "CALL_START_DATE": STARTED, "COST": "0",
        "COST_CURRENCY": "", "CALL_FAILED_CODE": code, "CALL_FAILED_REASON": "", "CRM_ACTIVITY_ID": "90211",
    }  # fmt: skip
    return form("ONVOXIMPLANTCALLEND", {**told, **data}, ts)


def events(*bodies: bytes) -> list[CallEvent]:
    result = []
    for body in bodies:
        delivery = Delivery(body, "application/x-www-form-urlencoded", "", NOW)
        parsed = BITRIX.parse(BITRIX.decode(delivery), Context("portal", "acme", SOURCE, NOW))
        assert parsed.rejected == []
        result += parsed.events
    return result


def call(*bodies: bytes, rows: Sequence[dict[str, Any]] = (), **tenant: Any) -> Call:
    told = BITRIX.interpret([*events(*bodies), *read(*rows)], SOURCE)
    return fold(told[0].call_id, told, Thresholds(config.Tenant(region="KZ", **tenant)), NOW)


def read(*rows: dict[str, Any], revision: int = 1, at: datetime = NOW) -> list[CallEvent]:
    """Rows of the statistics as the reconciler journals them."""
    parsed = BITRIX.parse([row_item(row, revision) for row in rows], Context("portal", "acme", SOURCE, at))
    assert parsed.rejected == []
    return parsed.events


def row(number: int = 1, **facts: Any) -> dict[str, Any]:
    told = {
        "ID": str(number), "CALL_ID": "A1", "CALL_TYPE": "2", "PHONE_NUMBER": "77011234567", "PORTAL_NUMBER": "reg7",
        "PORTAL_USER_ID": "58", "CALL_DURATION": "60", "CALL_START_DATE": STARTED, "CALL_FAILED_CODE": "200",
        "CRM_ENTITY_TYPE": "CONTACT", "CRM_ENTITY_ID": "12", "CRM_ACTIVITY_ID": "90211", "CALL_VOTE": None,
    }  # fmt: skip
    return {**told, **facts}


def talks(it: Call) -> list[tuple[str, int | None]]:
    return [(leg.agent, leg.talk_ms) for leg in it.legs if leg.end is LegEnd.ANSWERED]


def rejection(body: bytes) -> str:
    parsed = BITRIX.parse(BITRIX.decode(Delivery(body, "", "", NOW)), Context("portal", "acme", SOURCE, NOW))
    assert parsed.events == []
    return parsed.rejected[0][1]


def test_an_answered_inbound_call() -> None:
    it = call(init(), start(), end())
    assert (it.direction, it.outcome, it.customer, it.line) == ("inbound", "answered", "+77011234567", "reg7")
    assert (it.wait_ms, it.talk_ms) == (9000, 60_000)
    assert [(leg.agent, leg.end) for leg in it.legs] == [("58", LegEnd.ANSWERED)]
    assert it.started_at == datetime(2026, 9, 21, 14, 15, 22, tzinfo=UTC)
    assert it.crm == {"activity": "90211"}


def test_an_end_alone_is_a_complete_call_whose_wait_is_unknown() -> None:
    it = call(end())
    assert (it.outcome, it.talk_ms, it.wait_ms) == (Outcome.ANSWERED, 60_000, None)
    assert it.legs[0].agent == "58"


def test_a_missed_call_is_charged_to_nobody() -> None:
    it = call(init(), end("304", 0, TS + 25))
    assert (it.outcome, it.missed, it.legs, it.wait_ms) == (Outcome.NO_ANSWER, True, (), 25_000)


@pytest.mark.parametrize(("code", "outcome"), OUTCOMES.items())
@pytest.mark.parametrize(("call_type", "direction"), [("1", "outbound"), ("2", "inbound"), ("3", "inbound"),
                                                      ("4", "outbound"), ("5", "auto")])  # fmt: skip
def test_every_type_and_code_of_the_reference_has_an_outcome(
    code: str, outcome: Outcome, call_type: str, direction: str
) -> None:
    it = call(end(code, 60 if code == "200" else 0, CALL_TYPE=call_type))
    assert (it.outcome, it.direction, it.code) == (outcome, direction, code)
    assert it.missed == (direction == "inbound" and code != "200")


@pytest.mark.parametrize("code", ["505", "", "VI_STATUS_200", "603-s"])
def test_codes_outside_of_the_reference_do_not_break_a_call(code: str) -> None:
    it = call(end(code, 0))
    known = {"VI_STATUS_200": Outcome.ANSWERED, "603-s": Outcome.NO_ANSWER}
    assert it.outcome == known.get(code, Outcome.FAILED)


def test_an_unknown_call_type_is_kept_and_is_not_offered() -> None:
    it = call(end(CALL_TYPE="9"))
    assert (it.direction, it.outcome) == (Direction.UNKNOWN, Outcome.ANSWERED)


def test_start_of_an_application_call_is_no_answer() -> None:
    """It fires together with INIT, also for calls that nobody takes."""
    it = call(init("externalCall.0f3a.1790000123"), start("externalCall.0f3a.1790000123", ts=TS),
              end("304", 0, TS + 300, CALL_ID="externalCall.0f3a.1790000123"))  # fmt: skip
    assert (it.outcome, it.answered_at, it.talk_ms) == (Outcome.NO_ANSWER, None, None)


def test_the_ends_word_outranks_a_start_that_guessed() -> None:
    it = call(init(), start(), end("304", 0, TS + 30))
    assert (it.outcome, it.answered_at, it.talk_ms) == (Outcome.NO_ANSWER, None, None)


def test_a_late_registration_ends_when_the_call_did() -> None:
    it = call(end(duration=60, ts=TS + 3 * 3600))
    assert it.ended_at == datetime(2026, 9, 21, 14, 16, 22, tzinfo=UTC)


def test_two_starts_are_two_agents() -> None:
    it = call(init(), start(user="58"), start(user="61", ts=TS + 40), end(PORTAL_USER_ID="61"))
    assert [leg.agent for leg in it.legs] == ["58", "61"]


def test_a_line_without_a_name_and_a_hidden_number_are_unknown() -> None:
    it = call(end("304", 0, PORTAL_NUMBER="REST_APP:", PHONE_NUMBER="", PORTAL_USER_ID="0"))
    assert (it.line, it.customer) == ("", "")


def test_the_same_fact_by_two_subscriptions_is_one() -> None:
    assert call(end(), end(ts=TS + 70)) == call(end())


def test_two_different_ends_of_one_call_are_flagged() -> None:
    assert call(end(), end(duration=10)).flags == ("conflicting_end",)


def test_an_outgoing_call_of_an_office_pbx_names_the_client_in_phone_number() -> None:
    it = call(init(call_type="1", CALLER_ID="sip3", PHONE_NUMBER="87011234567"))
    assert (it.direction, it.customer, it.line) == ("outbound", "+77011234567", "reg7")


def test_click_to_call_starts_an_outbound_call() -> None:
    data = {"CALL_ID": "A1", "PHONE_NUMBER": "87011234567", "PHONE_NUMBER_INTERNATIONAL": "+77011234567",
            "USER_ID": "58", "LINE_NUMBER": "", "CRM_ENTITY_TYPE": "LEAD", "CRM_ENTITY_ID": "12"}  # fmt: skip
    it = call(form("ONEXTERNALCALLSTART", data))
    assert (it.direction, it.customer, it.crm, it.is_open) == ("outbound", "+77011234567", {"lead": "12"}, True)


def test_a_request_to_be_called_waits_on_the_work_list_and_is_not_offered() -> None:
    it = call(form("ONEXTERNALCALLBACKSTART", {"PHONE_NUMBER": "+77011234567", "LINE_NUMBER": "7", "TEXT": "x"}))
    assert (it.direction, it.outcome, it.missed) == (Direction.REQUEST, Outcome.CALLBACK_REQUESTED, False)


def test_json_is_taken_as_well_as_a_form() -> None:
    body = (
        b'{"event": "onVoximplantCallEnd", "data": {"CALL_ID": "A1", "CALL_TYPE": 2, "CALL_DURATION": 7,'
        b'"CALL_FAILED_CODE": 200, "CALL_START_DATE": "2026-09-21T17:15:22+03:00"}, "ts": 1789999999}'
    )
    assert call(body).talk_ms == 7000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form("ONCRMLEADADD", {"ID": "1"}), "is no telephony event"),
        (form("ONVOXIMPLANTCALLEND", {"CALL_TYPE": "2"}), "data[CALL_ID]"),
        (end(CALL_START_DATE="yesterday"), "data[CALL_START_DATE]"),
        (end(CALL_START_DATE="2026-09-21T17:15:22"), "has no offset"),
        (end(CALL_START_DATE="1870-01-01T00:00:00+00:00"), "check the sender's clock"),
        (end(CALL_DURATION="long"), "data[CALL_DURATION]"),
        (b"event=ONVOXIMPLANTCALLEND&ts=1", "data: is missing"),
    ],
)
def test_what_can_not_be_understood_is_rejected_with_the_field(body: bytes, words: str) -> None:
    assert words in rejection(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"a[b][c][d][e][f][g][h][i]=1", b"a=%ff", b"\xff=1", b"a[b]=1&a[b][c]=2", b"&".join([b"x=1"] * 2000), b"{"],
)
def test_a_body_that_is_no_form_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        BITRIX.decode(Delivery(body, "", "", NOW))


def test_php_brackets() -> None:
    told = parse_form(b"a%5Bb%5D%5Bc%5D=1&a[b][d]=x+y&l[]=1&l[]=2&empty=&novalue&a[b][c]=again")
    assert told == {"a": {"b": {"c": "1", "d": "x y"}}, "l": {"0": "1", "1": "2"}, "empty": "", "novalue": ""}


@pytest.mark.parametrize(("token", "welcome"), [("one", True), (PORTAL_TOKEN, True), ("other", False), ("", False)])
def test_the_application_token_is_one_of_a_set(token: str, welcome: bool) -> None:
    payload = BITRIX.decode(Delivery(form("X", {}, token=token), "", "", NOW))
    assert authenticated(BITRIX, SOURCE, BITRIX.token(Delivery(b"", "", "", NOW), payload)) is welcome


def test_without_a_configured_token_nobody_gets_in() -> None:
    assert not authenticated(BITRIX, config.Source(kind=config.SourceKind.BITRIX24), "")


async def test_a_nul_in_a_field_does_not_stop_the_projector(world: World) -> None:
    """PostgreSQL keeps it inside of JSON and refuses to make text of it."""
    await world.send("portal", end(PORTAL_USER_ID="5\x008", PORTAL_NUMBER="\x00", CALL_ID="\x00B"))
    await world.send("portal", end())
    await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 2
    assert (await world.kpi("agent", NOW - timedelta(days=1), NOW))["58"]["handled"] == 2
    assert await world.findings() == []


# -- rows of the call statistics -------------------------------------------------------------------------


def test_a_row_alone_is_a_complete_call_whose_wait_is_unknown() -> None:
    it = call(rows=[row(CALL_VOTE="5")])
    assert (it.direction, it.outcome, it.customer, it.line) == ("inbound", "answered", "+77011234567", "reg7")
    assert (it.talk_ms, it.wait_ms, talks(it), it.rating) == (60_000, None, [("58", 60_000)], 5)
    assert it.crm == {"activity": "90211", "contact": "12"}


def test_how_long_a_missed_caller_waited_is_known_from_the_webhook_only() -> None:
    missed = row(CALL_FAILED_CODE="304", CALL_DURATION="0", PORTAL_USER_ID="58")
    assert (call(rows=[missed]).outcome, call(rows=[missed]).wait_ms) == (Outcome.NO_ANSWER, None)
    it = call(init(), end("304", 0, TS + 25), rows=[missed])
    assert (it.outcome, it.wait_ms, it.legs, it.flags) == (Outcome.NO_ANSWER, 25_000, (), ())
    # Registered late: the webhook's time is not the end of the call either.
    assert call(end("304", 0, TS + 7200)).wait_ms is None


def test_the_row_says_how_long_and_the_webhooks_when() -> None:
    it = call(init(), start(), end(), rows=[row()])
    assert (it.wait_ms, it.talk_ms, it.ended_at) == (9000, 60_000, datetime(2026, 9, 21, 14, 16, 31, tzinfo=UTC))
    # Without the END: the answer and the row's duration give the same end.
    assert replace(call(init(), start(), rows=[row()]), flags=()) == it


def test_the_row_outranks_the_end_and_no_doubt_is_left() -> None:
    it = call(init(), start(), end(duration=10), rows=[row(CALL_DURATION="60", PORTAL_NUMBER="sip3")])
    assert (it.talk_ms, it.line, it.flags) == (60_000, "sip3", ())
    it = call(init(), start(), end(), rows=[row(CALL_FAILED_CODE="304", CALL_DURATION="0")])
    assert (it.outcome, it.talk_ms, talks(it)) == (Outcome.NO_ANSWER, None, [])


def test_the_row_says_who_answered() -> None:
    assert talks(call(init(), start(user="61"), rows=[row()])) == [("58", 60_000)]


SECOND = {"PORTAL_USER_ID": "61", "CALL_DURATION": "30"}


@pytest.mark.parametrize("begin", [STARTED, "2026-09-21T17:16:31+03:00"])
def test_rows_of_one_call_are_its_conversations_whichever_begin_they_tell(begin: str) -> None:
    """A transfer: each row one leg. Whether a later row has its own begin or the call's is not documented."""
    it = call(init(), start(), end(), rows=[row(1), row(2, CALL_START_DATE=begin, **SECOND)])
    assert (it.outcome, it.talk_ms, it.wait_ms, it.transferred) == ("answered", 90_000, 9000, True)
    assert talks(it) == [("58", 60_000), ("61", 30_000)]
    assert [leg.transferred for leg in it.legs] == [True, False]
    lonely = call(rows=[row(1), row(2, CALL_START_DATE=begin, **SECOND)])
    assert (lonely.talk_ms, lonely.wait_ms, talks(lonely)) == (90_000, None, talks(it))


def test_a_transfer_that_nobody_took_and_one_that_came_back() -> None:
    rows = [row(1), row(2, PORTAL_USER_ID="61", CALL_FAILED_CODE="304", CALL_DURATION="0"), row(3, CALL_DURATION="5")]
    it = call(init(), start(), end(), rows=rows)
    assert (it.outcome, it.code, talks(it)) == ("answered", "200", [("58", 60_000), ("58", 5000)])
    nobody = [row(n, CALL_FAILED_CODE=code, CALL_DURATION="0") for n, code in ((1, "304"), (2, "486"))]
    assert (call(rows=nobody).outcome, call(rows=nobody).wait_ms) == (Outcome.BUSY, None)


def test_a_transfer_with_one_row_keeps_the_agents_of_the_webhooks() -> None:
    it = call(init(), start(user="58"), start(user="61", ts=TS + 40), end(PORTAL_USER_ID="61"), rows=[row(**SECOND)])
    assert [leg.agent for leg in it.legs] == ["58", "61"]


def test_the_newest_reading_of_a_row_counts_in_any_order() -> None:
    first, later = read(row()), read(row(CALL_DURATION="90"), revision=2)
    same = read(row(CALL_DURATION="70"), revision=2, at=NOW - timedelta(minutes=1))
    for told in permutations([*events(init(), end()), *first, *later, *same]):
        it = fold("A1", BITRIX.interpret(told, SOURCE), Thresholds(config.Tenant()), NOW)
        assert it.talk_ms == 90_000


@given(st.integers(0, 10**6), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_webhooks_came_with_its_rows_a_call_is_what_the_rows_say(
    seed: int, same_start: bool, rng: random.Random
) -> None:
    (story,) = history(seed, 1, NOW - timedelta(hours=5), NOW - timedelta(hours=4), same_start=same_start)
    webhooks = [body for body in story.webhooks if rng.random() < 0.6]
    stale = [{**row, "CALL_DURATION": "1", "CALL_FAILED_CODE": "304"} for row in story.rows if rng.random() < 0.5]
    told = [*events(*webhooks, *webhooks), *read(*stale), *read(*story.rows, revision=2)]
    rng.shuffle(told)
    it = fold(story.call_id, BITRIX.interpret(told, SOURCE), Thresholds(config.Tenant()), NOW)
    answered = [row for row in story.rows if row["CALL_FAILED_CODE"] == "200"]
    expected = [(row["PORTAL_USER_ID"], 1000 * int(row["CALL_DURATION"])) for row in answered]
    assert Counter(talks(it)) == Counter(expected)
    assert (it.talk_ms or 0) == sum(talk for _, talk in expected)
    assert it.outcome == ("answered" if answered else PORTAL_OUTCOMES.get(story.rows[-1]["CALL_FAILED_CODE"], "failed"))
    assert (it.started_at, it.flags) == (datetime.fromisoformat(story.rows[0]["CALL_START_DATE"]), ())
    # What is not known is unknown: no wait without the webhook that tells it.
    if not webhooks:
        assert it.wait_ms is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"ID": "x"}, "data[ID]"),
        ({"CALL_ID": ""}, "data[CALL_ID]"),
        ({"CALL_START_DATE": None}, "data[CALL_START_DATE]: is missing"),
        ({"CALL_START_DATE": "2026-09-21"}, "has no offset"),
        ({"CALL_DURATION": "long"}, "data[CALL_DURATION]"),
    ],
)
def test_a_row_that_can_not_be_read_is_rejected_with_the_field(facts: dict[str, Any], words: str) -> None:
    parsed = BITRIX.parse([row_item(row(**facts), 1)], Context("portal", "acme", SOURCE, NOW))
    assert parsed.events == [] and words in parsed.rejected[0][1]


def test_a_row_says_the_same_however_its_values_are_typed() -> None:
    same = row(PORTAL_USER_ID=58, CALL_DURATION=60, RECORD_FILE_ID=5, COMMENT="x", CRM_ENTITY_ID=12)
    assert row_digest(same) == row_digest(row())
    assert row_digest(row(PORTAL_USER_ID="0")) == row_digest(row(PORTAL_USER_ID=None)) != row_digest(row())


async def test_missed_then_called_back_by_another_source(world: World) -> None:
    """Missed in Bitrix24, called from the PBX: one customer, however each writes the number."""
    await world.send("portal", end("304", 0, TS + 20))
    await world.project()
    recent = datetime.now(UTC) - timedelta(hours=1)
    assert await world.reports.missed("acme") == []  # long ago: written off
    missed_at = recent.timestamp()
    event = {"call_id": "m", "direction": "inbound", "customer": "8 701 123-45-67", "line": "7"}
    await world.send_json("native", {**event, "kind": "started", "at": missed_at},
                          {**event, "kind": "ended", "at": missed_at + 30, "cause": "no_answer"})  # fmt: skip
    await world.project()
    (item,) = await world.reports.missed("acme")
    assert (item["customer"], item["calls"], item["fate"]) == ("+77011234567", 1, "waiting")
    body = end("304", 0, int(missed_at) + 100, CALL_ID="B", CALL_TYPE="1",
               CALL_START_DATE=datetime.fromtimestamp(missed_at + 90, UTC).isoformat())  # fmt: skip
    await world.send("portal", body)
    await world.project()
    (item,) = await world.reports.missed("acme")
    assert item["fate"] == "called_back"
    later = {
        "CALL_ID": "C",
        "CALL_TYPE": "1",
        "CALL_START_DATE": datetime.fromtimestamp(missed_at + 500, UTC).isoformat(),
    }
    await world.send("portal", end("200", 60, int(missed_at) + 560, **later))
    await world.project()
    assert await world.reports.missed("acme") == []
    row = await world.pool.fetchrow("SELECT fate, called_back_at, reached_at FROM missed_calls WHERE call_id = 'm'")
    assert row["fate"] == "reached"
    assert row["called_back_at"].timestamp() == pytest.approx(missed_at + 90, abs=1)
    assert await world.findings() == []


async def test_a_wrong_token_is_refused_and_counted(world: World) -> None:
    with pytest.raises(Unauthorised):
        await world.send("portal", end().replace(PORTAL_TOKEN.encode(), b"guess"))
    assert 'callkpi_ingest_refused_total{reason="unauthorised",source="portal"} 1.0' in await world.metrics()


async def test_a_rejected_payload_is_kept_without_its_secret_and_can_be_replayed(world: World) -> None:
    receipt = await world.send("portal", end(CALL_DURATION="long"))
    assert (receipt.events, receipt.rejected) == (0, 1)
    row = await world.pool.fetchrow("SELECT payload, reason, source FROM rejected")
    assert "data[CALL_DURATION]" in row["reason"]
    assert PORTAL_TOKEN.encode() not in row["payload"]
    mended = row["payload"].replace(b"long", b"12")
    receipt = await world.ingest.replay("portal", "application/json", mended, datetime.now(UTC))
    assert (receipt.events, receipt.rejected) == (2, 0)


@pytest.mark.parametrize(("call_type", "handled"), [("1", 1), ("2", 1), ("4", 1), ("5", 0)])
def test_an_announcement_by_a_machine_is_no_handle_of_the_agent_it_names(call_type: str, handled: int) -> None:
    """Handled is inbound and outbound; agents are paid by it."""
    told = kpi.facts(call(end(CALL_TYPE=call_type)), Thresholds(config.Tenant()))
    of_agents = [fact.measures.get("handled", 0) for fact in told if fact.key.grain == "handle"]
    assert sum(of_agents) == handled
