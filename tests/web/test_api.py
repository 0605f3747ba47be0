"""The API as its readers meet it: roles, pages, exports, caches and limits, on a real store and a real server."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import gzip
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from callkpi import config
from callkpi.commands import audit
from callkpi.config import Role
from callkpi.web.api import calls
from callkpi.web.api.openapi import document, statuses
from tests.stand_ins.api import ANNA, NUMBER, TOKENS, served
from tests.world import World

ALL_DAY = "from=2026-11-23&to=2026-11-25"
BEGIN = datetime(2026, 11, 24, 5, tzinfo=UTC)


async def call(world: World, call_id: str, at: datetime, *, answered: bool = False, **facts: Any) -> None:
    common = {"call_id": call_id, "direction": "inbound", "customer": NUMBER, "line": "100", "queue": "sales", **facts}
    told = [{**common, "kind": "queued", "at": at.isoformat()}]
    if answered:
        told.append({**common, "kind": "answered", "at": (at + timedelta(seconds=5)).isoformat(), "agent": "Dana"})
    told.append({**common, "kind": "ended", "at": (at + timedelta(seconds=60)).isoformat()})
    if not answered:
        told = [{key: value for key, value in each.items() if key != "agent"} for each in told]
    await world.send_json("native", *told)


async def some_calls(world: World) -> None:
    for number in range(7):
        await call(world, f"c{number}", BEGIN + timedelta(minutes=number), answered=number % 2 == 0)
    # Three that began at one moment: no order but their names.
    for name in ("x", "y", "z"):
        await call(world, name, BEGIN, answered=True, customer="+77010000002")
    await world.project()


# -- roles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("kpi", "viewer"), ("queues", "viewer"), (f"calls?{ALL_DAY}", "viewer"), ("calls/native/c0", "viewer"),
        ("agents", "supervisor"), ("missed", "supervisor"), (f"calls?{ALL_DAY}&customer=%2B77010000001", "supervisor"),
        ("calls?agent=Dana", "supervisor"), ("shifts", "viewer"),
        ("statistics?by=queue,60min", "viewer"), ("statistics?by=agent", "manager"),
        ("statistics?team=x", "manager"), (f"behind?{ALL_DAY}&figure=missed", "viewer"),
        ("behind?figure=handled&agent=Dana", "manager"), ("kpi?by=agent", "manager"), ("kpi?agent=Dana", "manager"),
        ("export/calls.csv", "manager"), ("audit", "admin"), ("rejected", "admin"), ("set-aside", "admin"),
    ],
)  # fmt: skip
async def test_each_answer_needs_its_role_and_no_more(world: World, path: str, least: str) -> None:
    await some_calls(world)
    asked = path if path == "audit" else f"{path}{'&' if '?' in path else '?'}tenant=acme"
    async with served(world) as client:
        assert (await client.ask(asked, "nobody"))[0] == 401
        for role in Role:
            status, body, _ = await client.ask(asked, role)
            assert (status == 200) is (role.rank >= Role(least).rank), (role, body)
            assert status in (200, 403)


async def test_whole_numbers_and_names_are_seen_from_their_role_on(world: World) -> None:
    await world.send_json(
        "native",
        {"call_id": "c", "kind": "answered", "at": BEGIN.isoformat(), "direction": "inbound", "customer": NUMBER,
         "agent": "Dana", "crm": {"contact": "7"}, "fields": {"told": NUMBER}},
    )  # fmt: skip
    await world.project()
    async with served(world) as client:
        seen = {role: await client.get("calls/native/c?tenant=acme", role) for role in Role}
        listed = {role: await client.get(f"calls?tenant=acme&{ALL_DAY}", role) for role in Role}
    for role, body in seen.items():
        may = role.rank >= Role.MANAGER.rank
        assert (NUMBER in json.dumps(body), NUMBER in json.dumps(listed[role])) == (may, may)
        assert (body["customer"], body["customer_masked"]) == (NUMBER if may else None, "+770•••0001")
        assert (body["crm"] == {"contact": "7"}) is may
        assert ("Dana" in json.dumps(body)) is (role is not Role.VIEWER)
        assert "Dana" in json.dumps(listed[role]) or role is Role.VIEWER


async def test_a_wall_needs_the_least_role_and_its_own_tenant(world: World) -> None:
    async with served(world) as client:
        for who, status in (("viewer", 200), ("nobody", 401)):
            headers = {"Authorization": f"Bearer {TOKENS.get(who, '')}"}  # type: ignore[call-overload]
            async with client.http.get("/board/state?tenant=acme", headers=headers) as answer:
                assert answer.status == status
        headers = {"Authorization": f"Bearer {ANNA}"}
        async with client.http.get("/board/state", headers=headers) as answer:
            assert (await answer.json())["tenant"] == "acme"
        async with client.http.get("/board/state?tenant=other", headers=headers) as answer:
            assert answer.status == 400 and "none of acme" in await answer.text()


async def test_a_reader_of_one_tenant_does_not_learn_of_another(world: World) -> None:
    async with served(world) as client:
        for path in ("kpi", "missed", "queues", "calls", "agents", "calls/native/c", "export/calls.csv"):
            status, body, _ = await client.ask(f"{path}?tenant=other", "anna")
            assert status == (403 if "export" in path else 400), body
            if status == 400:
                assert body["detail"] == "tenant: 'other' is none of acme; write ?tenant=acme"
        assert (await client.get("kpi", "anna"))["tenant"] == "acme"
        assert (await client.get("me", "anna"))["tenants"] == ["acme"]


# -- work list --------------------------------------------------------------------------------------------


async def test_supervisors_share_the_work_list(world: World) -> None:
    await call(world, "m", datetime.now(UTC) - timedelta(minutes=2))
    await world.project()
    async with served(world) as client:
        item = (await client.get("missed?tenant=acme", "supervisor"))["items"][0]
        assert (item["customer"], item["claimed_by"], item["queue"]) == (NUMBER, None, "Sales")
        about = {"call": item["last_call"]}
        status, body, _ = await client.ask("missed/claim?tenant=acme", "anna", "POST", {**about, "minutes": 5})
        assert (status, body["claimed_by"]) == (200, "anna")
        status, body, _ = await client.ask("missed/claim?tenant=acme", "supervisor", "POST", about)
        assert (status, body["claimed_by"]) == (409, "anna") and "until" in body["detail"]
        await client.ask("missed/note?tenant=acme", "anna", "POST", {**about, "text": "busy"})
        item = (await client.get("missed?tenant=acme", "supervisor"))["items"][0]
        assert (item["claimed_by"], [note["text"] for note in item["notes"]]) == ("anna", ["busy"])
        done = {**about, "fate": "reached", "reason": "by mobile"}
        key = {"Idempotency_Key": "k"}
        first = await client.ask("missed/resolve?tenant=acme", "anna", "POST", done, **key)
        again = await client.ask("missed/resolve?tenant=acme", "anna", "POST", done, **key)
        assert first[0] == 200 and first[:2] == again[:2]
        other = {**done, "reason": "another"}
        assert (await client.ask("missed/resolve?tenant=acme", "anna", "POST", other, **key))[0] == 422
        assert (await client.get("missed?tenant=acme", "supervisor"))["items"] == []
        assert (await client.get("queues?tenant=acme"))["company"]["missed_waiting"] == 0
        assert (await client.ask("missed/claim?tenant=acme", "supervisor", "POST", about))[0] == 410
        told = await client.get("audit?who=anna")
        assert [row["action"] for row in told["items"]] == ["resolve", "note", "claim"]
        assert NUMBER not in json.dumps(await client.get("audit"))


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        ("{", {"Content-Type": "application/json"}, 400, "not JSON"),
        ("call=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "Content-Type: application/json"),
        ("{}", {"Content-Type": "application/json"}, 422, "call: is required"),
        ('{"call": "native/m", "minutes": 0}', {"Content-Type": "application/json"}, 422, "minutes: must be a number"),
        ('{"call": "native/m", "who": "x"}', {"Content-Type": "application/json"}, 422, "who: unknown"),
        ('{"call": "native/nobody"}', {"Content-Type": "application/json"}, 404, "is no missed call"),
        ('{"call": "bare"}', {"Content-Type": "application/json"}, 422, "write {source}/{call id}"),
    ],
)
async def test_what_is_wrong_with_a_body_is_told(
    world: World, body: str, headers: dict[str, str], status: int, words: str
) -> None:
    async with served(world) as client:
        told = {"Authorization": f"Bearer {ANNA}", **headers}
        async with client.http.post("/api/v1/missed/claim", data=body, headers=told) as answer:
            problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["status"]) == (status, status) and words in problem["detail"]


# -- pages ------------------------------------------------------------------------------------------------


async def test_pages_hold_while_new_calls_come_and_each_call_is_told_once(world: World) -> None:
    await some_calls(world)
    async with served(world) as client:
        seen, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            body = await client.get(f"calls?tenant=acme&{ALL_DAY}&limit=3" + (f"&cursor={cursor}" if cursor else ""))
            seen += [each["call_id"] for each in body["calls"]]
            cursor, pages = body["next"], pages + 1
            await call(world, f"new{pages}", BEGIN + timedelta(hours=1, minutes=pages))
            await world.project()
        assert seen == ["c6", "c5", "c4", "c3", "c2", "c1", "c0", "x", "y", "z"]
        assert (pages, body["complete"]) == (4, True)
        cursor = (await client.get(f"calls?tenant=acme&{ALL_DAY}&limit=3"))["next"]
        status, problem, _ = await client.ask(f"calls?tenant=acme&{ALL_DAY}&outcome=busy&cursor={cursor}")
        assert (status, problem["detail"].split(":")[1]) == (400, " belongs to another question; send the same "
                                                                  "parameters as before")  # fmt: skip
        for forged in ("x", "WzEsIiIsW11d", "bnVsbA", cursor[:-4]):
            assert (await client.ask(f"calls?tenant=acme&{ALL_DAY}&cursor={forged}"))[0] == 400


async def test_filters_take_ids_and_names(world: World) -> None:
    await some_calls(world)
    async with served(world) as client:
        for wanted, count in (
            ("queue=Sales", 10), ("queue=sales", 10), ("queue=none", 0), ("agent=Dana", 7), ("outcome=abandoned", 3),
            ("customer=8-701-000-00-02", 3), ("line=100&direction=inbound", 10), ("direction=outbound", 0),
        ):  # fmt: skip
            body = await client.get(f"calls?tenant=acme&{ALL_DAY}&{wanted}")
            assert len(body["calls"]) == count, wanted


async def test_the_calls_behind_a_figure_are_as_many_as_it_says(world: World) -> None:
    await some_calls(world)
    async with served(world) as client:
        kpi = (await client.get(f"kpi?tenant=acme&{ALL_DAY}&by=direction"))["total"]
        for figure in ("offered", "missed", "missed_share", "asa_seconds", "self_served"):
            body = await client.get(f"behind?tenant=acme&{ALL_DAY}&figure={figure}", "viewer")
            assert body["value"] == kpi.get(figure, 3) and body["items"]
            assert NUMBER not in json.dumps(body)


# -- exports ----------------------------------------------------------------------------------------------


def lines(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


async def test_exports_have_every_row_once_and_say_so_in_the_audit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callkpi.web.api.exports.PAGE", 2)
    await some_calls(world)
    async with served(world) as client:
        rows = {}
        about = dict.fromkeys(("calls", "legs", "missed"), ALL_DAY)
        about["statistics"] = "period=2026-11-23..2026-11-24&by=queue,day"
        for table in about:
            _, text, answer = await client.ask(f"export/{table}.csv?tenant=acme&{about[table]}")
            rows[table] = lines(text)
            disposition = answer.headers["Content-Disposition"]
            assert disposition == f'attachment; filename="{table}-acme-20261123T0000-20261125T0000.csv"'
            _, text, _ = await client.ask(f"export/{table}.jsonl?tenant=acme&{about[table]}")
            assert len(text.splitlines()) == len(rows[table])
        assert [row["id"] for row in rows["calls"]][:4] == ["native/c0", "native/x", "native/y", "native/z"]
        assert len({row["id"] for row in rows["calls"]}) == len(rows["calls"]) == 10
        assert (len(rows["legs"]), rows["legs"][0]["agent"], rows["legs"][0]["queue"]) == (7, "Dana", "Sales")
        assert [row["fate"] for row in rows["missed"]] == ["self_served"] * 3
        assert [(row["queue"], row["day"], row["offered"]) for row in rows["statistics"]] == [
            ("Sales", "2026-11-24", "10")
        ]
        assert rows["calls"][0]["started_local"] == "2026-11-24 10:00:00"
        told = (await client.get("audit"))["items"]
        ended = [row for row in told if row["action"] == "export_ended" and row["subject"] == "calls.csv"]
        assert [row["details"] for row in ended] == [{"rows": 10, "complete": True}]


async def test_a_file_is_masked_marked_and_separated_as_asked(world: World) -> None:
    await some_calls(world)
    async with served(world) as client:
        path = f"/api/v1/export/calls.csv?tenant=acme&{ALL_DAY}&numbers=masked&bom=true&separator=semicolon"
        headers = {"Authorization": f"Bearer {TOKENS[Role.MANAGER]}", "Accept-Encoding": "gzip"}
        async with client.http.get(path, headers=headers, auto_decompress=False) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            raw = gzip.decompress(await answer.read())
        assert raw.startswith(b"\xef\xbb\xbf")
        rows = lines(raw.decode("utf-8-sig"), ";")
        assert {row["customer"] for row in rows} == {"+770•••0001", "+770•••0002"}
        # Where cells are told apart by semicolons 6.12 is the 6th of December.
        assert rows[0]["wait_seconds"].replace(",", "").isdigit() and "," in rows[0]["wait_seconds"]
        async with client.http.head(path, headers=headers) as answer:
            assert answer.status == 200 and "Content-Disposition" in answer.headers


async def test_a_file_that_can_not_be_made_is_refused_before_it_begins(world: World) -> None:
    async with served(world) as client:
        _, text, _ = await client.ask("export/calls.csv?tenant=acme&from=2026-01-01&to=2026-01-02")
        assert lines(text) == [] and text.startswith("id,started_local")
        for path in ("statistics.csv?by=field:nothing", "statistics.jsonl?period=soon", "calls.csv?from=soon"):
            status, problem, _ = await client.ask(f"export/{path}&tenant=acme")
            assert status == 400 and problem["detail"].partition(":")[0] in ("by", "period", "from")
        assert len((await client.get("audit?action=export"))["items"]) == 1


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"), ("+7 cmd|' /C calc'!A0", "'+7 cmd|' /C calc'!A0"), ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"), ("+770•••0001", "+770•••0001"),
        ("\t=1", "'\t=1"), ("+77010000001", "+77010000001"), ("-5", "-5"), ("Dana", "Dana"), ('a"b,c', 'a"b,c'),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    from callkpi.web.api.tables import Csv

    made = Csv(("name",), ",")
    told = (made.head() + made.lines([{"name": text}])).decode()
    assert [row["name"] for row in csv.DictReader(io.StringIO(told, newline=""))] == [cell]


async def test_a_client_that_goes_away_ends_its_export(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callkpi.web.api.exports.PAGE", 1)
    await some_calls(world)
    pages, onward = 0, calls.onward

    async def slowly(*arguments: Any) -> AsyncIterator[Any]:
        nonlocal pages
        async for page in onward(*arguments):
            pages += 1
            yield page
            await asyncio.sleep(0.1)

    monkeypatch.setattr(calls, "onward", slowly)
    async with served(world) as client:
        headers = {"Authorization": f"Bearer {TOKENS[Role.ADMIN]}", "Accept-Encoding": "identity"}
        answer = await client.http.get(f"/api/v1/export/calls.jsonl?tenant=acme&{ALL_DAY}", headers=headers)
        await answer.content.readline()
        answer.close()
        for _ in range(100):
            ended = await world.pool.fetchrow("SELECT details FROM audit WHERE action = 'export_ended'")
            if ended is not None:
                break
            await asyncio.sleep(0.05)
        assert json.loads(ended["details"])["complete"] is False and 0 < pages < 9


# -- caches, limits, other sites --------------------------------------------------------------------------


async def test_an_answer_is_sent_again_only_when_it_says_something_else(world: World) -> None:
    await some_calls(world)
    async with served(world) as client:
        path = f"kpi?tenant=acme&{ALL_DAY}"
        status, _, answer = await client.ask(path)
        tag = answer.headers["ETag"]
        assert (status, tag[:3], answer.headers["Cache-Control"]) == (200, 'W/"', "private, no-cache")
        for told in (tag, f'"x", {tag}', "*"):
            status, body, _ = await client.ask(path, If_None_Match=told)
            assert (status, body) == (304, "")
        await call(world, "late", BEGIN + timedelta(hours=2))  # of a day that is over for long
        await world.project()
        status, body, answer = await client.ask(path, If_None_Match=tag)
        assert (status, body["total"]["offered"]) == (200, 11) and answer.headers["ETag"] != tag


async def test_the_work_list_that_did_not_change_is_neither_sent_nor_audited_again(world: World) -> None:
    await call(world, "m", datetime.now(UTC) - timedelta(minutes=2))
    await world.project()
    async with served(world) as client:
        _, _, answer = await client.ask("missed?tenant=acme", "supervisor")
        tag = answer.headers["ETag"]
        await asyncio.sleep(1.1)  # he waits longer: that is no news
        assert (await client.ask("missed?tenant=acme", "supervisor", If_None_Match=tag))[0] == 304
        assert answer.headers["Cache-Control"] == "no-store"
        await client.ask("missed/claim?tenant=acme", "anna", "POST", {"call": "native/m"})
        assert (await client.ask("missed?tenant=acme", "supervisor", If_None_Match=tag))[0] == 200
        reads = await client.get("audit?who=supervisor")
        assert [row["action"] for row in reads["items"]] == ["read_numbers", "read_numbers"]


async def test_who_asks_too_fast_is_told_when_to_come_again(world: World) -> None:
    async with served(world, requests_per_second=1.0) as client:
        asked = [await client.ask("me", "viewer") for _ in range(6)]
        assert [status for status, _, _ in asked] == [200] * 5 + [429]
        _, problem, answer = asked[-1]
        assert answer.headers["Retry-After"] == "1" and "Ask again in 1 s" in problem["detail"]
        assert asked[0][2].headers["RateLimit-Policy"] == '"default";q=5;w=5'
        assert asked[3][2].headers["RateLimit"].startswith('"default";r=1;t=')
        assert (await client.ask("me", "manager"))[0] == 200  # another token
        strangers = [(await client.ask("me", "nobody"))[0] for _ in range(14)]
        assert strangers[0] == 401 and strangers[-1] == 429  # the address


async def test_pages_of_other_sites_read_only_where_they_are_named(world: World) -> None:
    async with served(world) as client:
        _, _, answer = await client.ask("me", Origin="https://crm.example")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert (await client.ask("me", method="OPTIONS"))[0] == 405
    async with served(world, cors_origins=("https://crm.example",)) as client:
        status, _, answer = await client.ask("me", method="OPTIONS", Origin="https://crm.example")
        assert (status, answer.headers["Access-Control-Allow-Origin"]) == (204, "https://crm.example")
        assert (await client.ask("me", method="OPTIONS", Origin="https://evil.example"))[0] == 403
        _, _, answer = await client.ask("me", Origin="https://crm.example")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://crm.example"
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("accept", "status"),
    [("application/json", 200), ("*/*", 200), ("text/csv", 406), ("application/*;q=0.5", 200),
     ("application/json;q=0", 406)],
)  # fmt: skip
async def test_what_can_not_be_answered_in_that_form_is_said(world: World, accept: str, status: int) -> None:
    async with served(world) as client:
        assert (await client.ask("me", Accept=accept))[0] == status


async def test_what_was_not_understood_is_kept_for_an_admin(world: World) -> None:
    await world.send("native", '{"kind": "started"}')
    async with served(world) as client:
        listed = await client.get("rejected?tenant=acme")
        (item,) = listed["items"]
        body = await client.get(f"rejected/{item['id']}?tenant=acme")
        assert json.loads(body["payload"]) == {"kind": "started"} and "at: is required" in body["reason"]
        assert (await client.ask(f"rejected/{item['id'] + 1}?tenant=acme"))[0] == 404
        assert (await client.ask(f"rejected/{item['id']}?tenant=other"))[0] == 404
        assert [row["subject"] for row in (await client.get("audit?action=read_raw"))["items"]] == [
            f"rejected/{item['id']}"
        ]


async def test_the_audit_is_printed(world: World, dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    await some_calls(world)
    async with served(world) as client:
        await client.get(f"calls?tenant=acme&{ALL_DAY}", "manager")
        await client.get("calls/native/x?tenant=acme", "manager")
    settings = dataclasses.replace(world.settings, database=config.Database(url=dsn))
    for wanted, told in (
        (("", ""), ["read_numbers", "+770•••0002", "calls=1", "2 customers", "calls=10"]),
        (("", "2026-01-01"), ["Nothing was read or changed."]),
    ):
        await audit.audited(settings, audit.AuditQuery(wanted, "manager", None, 10, as_json=False))
        printed = capsys.readouterr().out
        places = [printed.index(words) for words in told]
        assert places == sorted(places) and NUMBER not in printed


# -- the description --------------------------------------------------------------------------------------


async def test_the_description_is_valid_and_every_answer_is_of_its_schema(world: World) -> None:
    await some_calls(world)
    await call(world, "m", datetime.now(UTC) - timedelta(minutes=2))
    await world.send("native", '{"kind": "started"}')
    await world.send_json("native", {"kind": "agent_state", "call_id": "", "at": BEGIN.isoformat(), "agent": "Dana",
                                     "state": "paused", "reason": "lunch"})  # fmt: skip
    await world.project()
    async with served(world) as client:
        described = await client.get("openapi.json", "nobody")
        validate(described)
        assert {(each.method, each.path) for each in client.api.operations} == {
            (method.upper(), path) for path, entry in described["paths"].items() for method in entry if method != "head"
        }
        number = (await client.get("rejected?tenant=acme"))["items"][0]["id"]
        about = {"call": "native/m"}
        asked: dict[str, tuple[str, Any]] = {
            "statistics": ("statistics?period=2026-11-23..2026-11-24&by=queue,60min&against=previous", None),
            "behind": (f"behind?{ALL_DAY}&figure=missed_share", None),
            "call": ("calls/native/c0", None), "rejected_payload": (f"rejected/{number}", None),
            "calls": (f"calls?{ALL_DAY}&limit=2", None), "kpi": (f"kpi?{ALL_DAY}&by=agent", None),
            "claim_missed": ("missed/claim", about), "note_missed": ("missed/note", {**about, "text": "x"}),
            "release_missed": ("missed/release", about),
            "resolve_missed": ("missed/resolve", {**about, "fate": "written_off", "reason": "x"}),
            "erase": ("privacy/erase", {"number": NUMBER}),
        }  # fmt: skip
        for operation in sorted(client.api.operations, key=lambda each: each.name == "resolve_missed"):
            path, body = asked.get(operation.name, (operation.path.removeprefix("/api/v1/"), None))
            path += ("&" if "?" in path else "?") + "tenant=acme" if operation.asks_for_tenant else ""
            if operation.right is not None:
                assert (await client.ask(path, "nobody", method=operation.method, body=body))[0] == 401, operation.name
            status, told, answer = await client.ask(path, method=operation.method, body=body)
            assert status == 200, (operation.name, told)
            assert answer.content_type == operation.media
            schema = {**operation.schema, "components": described["components"]}
            jsonschema.Draft202012Validator(schema).validate(told)
            if operation.media == "application/json" and isinstance(told, dict) and operation.name != "openapi":
                assert told, operation.name
        for by in ("queue", "line", "direction", "outcome", "agent"):
            kpi = await client.get(f"kpi?tenant=acme&{ALL_DAY}&by={by}")
            assert kpi["rows"]
            jsonschema.Draft202012Validator(
                {"$ref": "#/components/schemas/Kpi", "components": described["components"]}
            ).validate(kpi)


async def test_the_page_of_the_description_needs_no_token_and_no_script(world: World) -> None:
    async with served(world) as client:
        status, page, answer = await client.ask("docs", "nobody")
        assert status == 200 and "<script" not in page and "style=" not in page
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        for operation in client.api.operations:
            assert f'id="{operation.name}"' in page
            assert 429 in statuses(operation)
        assert (await client.ask("docs.css", "nobody"))[0] == 200
        assert document(client.api.operations, "callkpi_8090") == await client.get("openapi.json")


# -- erasing ----------------------------------------------------------------------------------------------


async def test_an_admin_erases_a_number_and_the_audit_says_so(world: World) -> None:
    async with served(world) as client:
        await call(world, "erased", BEGIN, customer=NUMBER)
        await world.project()
        asked = {"number": NUMBER}
        status, _, _ = await client.ask("privacy/erase?tenant=acme", "manager", "POST", asked)
        assert status == 403
        status, found, _ = await client.ask("privacy/erase?tenant=acme", "admin", "POST", asked)
        assert (status, found["pseudonym"], found["dry_run"]) == (200, "", True) and found["calls"] > 0

        status, done, _ = await client.ask("privacy/erase?tenant=acme", "admin", "POST", {**asked, "dry_run": False})
        assert status == 200 and done["calls"] == found["calls"]
        listed = await client.get(f"calls?tenant=acme&{ALL_DAY}")
        customers = {call["customer"] for call in listed["calls"]}
        assert done["pseudonym"] in customers and NUMBER not in customers

        rows = (await client.get("audit?action=erase"))["items"]
        assert [(row["who"], row["subject"]) for row in rows] == [("admin", "+770•••0001")]
        status, problem, _ = await client.ask("privacy/erase?tenant=acme", "admin", "POST", {"number": "110 000"})
        assert status == 422 and "fewer than 7 digits" in problem["detail"]
