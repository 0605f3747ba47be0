"""Names at their bounds fit every key of the database; longer ones are refused or shortened, and stop nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from callkpi import config
from callkpi.calls import bounds
from callkpi.calls.model import AGENT_STREAM, CallEvent, Kind
from callkpi.config import ReportField, words
from callkpi.config.checks import check
from callkpi.projection import days
from tests.world import World, test_settings

AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
#: What a row of a B-tree holds at the most: a third of a page.
BTREE_BYTES = 2704

#: The most that each column of text can hold, by what it holds. A column that is not here is bound by nothing.
_NAME = 64
_WORD = 64
_LONGEST = {
    "part": _WORD, "subject": _NAME,
    "tenant": _NAME, "source": _NAME, "call_source": _NAME, "lead_source": _NAME, "agent_source": _NAME,
    "reader": _NAME, "report": _NAME, "shift": _NAME, "what": _WORD, "pass": 2 * _WORD, "period": 2 * _WORD,
    "grain": _WORD, "direction": _WORD, "outcome": _WORD, "metric": _WORD, "label": _WORD, "kind": _WORD,
    "fate": _WORD, "closed": _WORD, "state": _WORD, "digest": 2 * _WORD, "field": 4 * words.FIELD_CHARACTERS,
    "value": 4 * days.VALUE_LENGTH, "queue": bounds.NAME_BYTES, "line": bounds.NAME_BYTES,
    "agent": _NAME + 1 + bounds.NAME_BYTES, "customer": bounds.NAME_BYTES, "number": bounds.NAME_BYTES,
    "event_id": bounds.NAME_BYTES, "call_id": len(AGENT_STREAM) + bounds.NAME_BYTES,
    "root": len(AGENT_STREAM) + bounds.NAME_BYTES, "lead_call_id": len(AGENT_STREAM) + bounds.NAME_BYTES,
    "origin_id": _NAME + 1 + bounds.NAME_BYTES, "item": _NAME + 1 + bounds.NAME_BYTES,
    "name": 2 * _NAME + bounds.NAME_BYTES, "id": 2 * _NAME, "receiver": 1020, "key": 1020,
}  # fmt: skip
_HEAD, _ALIGNMENT = 8, 7


async def test_every_index_holds_all_of_its_names_at_their_bounds(world: World) -> None:
    rows = await world.pool.fetch("""
        SELECT i.relname AS index, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
            array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types
        FROM pg_index x
        JOIN pg_class i ON i.oid = x.indexrelid
        JOIN pg_class t ON t.oid = x.indrelid AND NOT t.relispartition
        JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
        JOIN pg_attribute a ON a.attrelid = i.oid
        WHERE t.relnamespace = 'callkpi'::regnamespace
        GROUP BY 1
    """)
    assert len(rows) > 50
    sums = {}
    for row in rows:
        fixed = {"text": None, "expr": 8}
        widths = [
            _LONGEST[name] if kind in ("text", "name") else fixed.get(kind) or 8
            for name, kind in zip(row["columns"], row["types"], strict=True)
            if not name.startswith("expr")
        ]
        sums[row["index"]] = _HEAD + sum(width + _ALIGNMENT for width in widths)
    assert {name: total for name, total in sums.items() if total > BTREE_BYTES} == {}


def event(**facts: Any) -> CallEvent:
    given: dict[str, Any] = {
        "tenant": "acme", "source": "pbx", "call_id": "c1", "kind": Kind.STARTED, "at": AT, "event_id": "e1",
        "received_at": AT, **facts,
    }  # fmt: skip
    return CallEvent(**given)


@pytest.mark.parametrize("letter", ["x", "ж", "€", "\U0001f600"])
def test_a_long_name_is_cut_and_two_stay_two(letter: str) -> None:
    one, two = letter * 600, letter * 601
    short = bounds.shortened(one)
    assert bounds.shortened(one) == short != bounds.shortened(two)
    assert len(short) <= bounds.NAME_CHARACTERS and bounds.size(short) <= bounds.NAME_BYTES
    assert re.fullmatch(f"{letter}+~[0-9a-f]{{24}}", short)
    assert bounds.shortened(short) == short
    longest = letter * min(bounds.NAME_CHARACTERS, bounds.NAME_BYTES // bounds.size(letter))
    assert bounds.shortened(longest) == longest


def test_half_a_character_is_no_hindrance() -> None:
    assert bounds.size(bounds.shortened("\ud83d" * 600)) <= bounds.NAME_BYTES


def test_every_name_of_an_event_is_bounded_and_an_agents_stream_stays_his() -> None:
    long = "\U0001f600" * 300
    names = ("queue", "agent", "line", "customer", "leg", "entry", "linked_to", "event_id", "code", "reason")
    told = event(
        call_id=AGENT_STREAM + long, crm={"lead": long}, fields={long: long}, **dict.fromkeys(names, long)
    )  # fmt: skip
    found = bounds.bounded(told)
    assert found.call_id == AGENT_STREAM + found.agent
    texts = [*(getattr(found, name) for name in names), found.crm["lead"], *found.fields.values()]
    assert all(text != long and not bounds.is_long(text) for text in texts)
    assert [len(name) <= words.FIELD_CHARACTERS for name in found.fields] == [True]
    short = event(queue="sales")
    assert bounds.bounded(short) is short


async def test_native_names_at_the_bound_are_stored_in_every_table(world: World) -> None:
    fields = {"campaign": ReportField()}
    world = World(world.pool, replace(test_settings(), tenants={"acme": config.Tenant(timezone="UTC", fields=fields)}))
    longest = "\U0001f600" * (bounds.NAME_BYTES // 4)
    at = datetime.now(UTC).timestamp() - 600
    about: dict[str, Any] = dict.fromkeys(("call_id", "agent", "line", "leg"), longest)
    about |= {"queue": "q" + longest[1:], "direction": "inbound", "fields": {"campaign": longest}}
    kinds = ("started", "queued", "ringing", "answered", "ended")
    await days.begin(world.pool, world.settings, ["acme"])
    async with world.running():
        receipt = await world.send_json(
            "native", *({**about, "kind": kind, "at": at + n, "event_id": longest[1:] + str(n)} for n, kind in
                        enumerate(kinds)),
            {"kind": "agent_state", "state": "paused", "agent": longest, "queue": longest, "at": at},
        )  # fmt: skip
        assert (receipt.events, receipt.rejected) == (6, 0)
        await world.project()
    assert await world.pool.fetchval("SELECT count(*) FROM calls") == 1
    for table in ("rollups", "day_rollups"):
        wide = await world.pool.fetchval(f"SELECT max(octet_length(agent)) FROM {table} WHERE line = $1", longest)
        assert wide > bounds.NAME_BYTES
    assert await world.findings() == []


async def test_native_beyond_the_bound_is_told_which_field_and_how_much(world: World) -> None:
    long = "\U0001f600" * 255
    body = {"call_id": "c1", "kind": "queued", "at": datetime.now(UTC).timestamp(), "queue": long, "agent": long}
    receipt = await world.send("native", json.dumps(body))
    assert (receipt.events, receipt.rejected) == (0, 1)
    assert receipt.reason == (
        "queue: has 255 characters, 1020 bytes in UTF-8; must have at most 255 characters and 512 bytes"
    )


async def test_a_pbx_that_cannot_be_told_gets_its_names_shortened_and_counted(world: World) -> None:
    """Of two queues whose names are equal up to the bound there are two; the calls of both are whole."""
    long = "\U0001f600" * 200
    at = int(datetime.now(UTC).timestamp()) - 600
    lines = [
        f"{at + n}|{call}|{long}{queue}|{agent}|{verb}|{rest}"
        for queue, call in (("1", "c1" + long), ("2", "c2" + long))
        for n, (agent, verb, rest) in enumerate(
            [("NONE", "ENTERQUEUE", "|77010000001|1"), (long, "CONNECT", "3|x|3"), (long, "COMPLETECALLER", "3|9|1")]
        )
    ]
    for _ in range(2):  # a repetition is the same events
        await world.send("qlog", "\n".join(lines))
    await world.project()
    rows = await world.pool.fetch("SELECT DISTINCT queue FROM rollups WHERE grain = 'entry' AND contacts <> 0")
    assert len(rows) == 2 and all(bounds.size(row["queue"]) <= bounds.NAME_BYTES for row in rows)
    assert await world.pool.fetchval("SELECT count(*) FROM calls WHERE outcome = 'answered'") == 2
    # Two rings tell besides that their members were there.
    assert await world.pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'signal'") == 6
    assert 'callkpi_ingest_shortened_names_total{field="queue",source="qlog"} 16.0' in await world.metrics()
    assert await world.findings() == []


async def test_names_that_were_journalled_before_there_were_bounds_are_projected(world: World) -> None:
    """The journal took them; what stopped was the rollups. Such a database goes on after an update."""
    ends = {"started": AT, "wrapped": AT.replace(second=59)}
    await world.append([event(source="native", kind=Kind(kind), at=at, event_id=kind) for kind, at in ends.items()])
    long = "\U0001f600" * 255
    body = json.dumps({"queue": long, "agent": long, "line": long, "leg": "l1", "direction": "inbound"})
    for number, kind in enumerate(("started", "queued", "ringing", "answered", "ended")):
        await world.pool.execute(
            "INSERT INTO journal (tenant, source, at, event_id, call_id, kind, received_at, body) "
            "VALUES ('acme', 'native', $1, $2, 'c1', $3, $1, $4)",
            AT.replace(second=number), f"old{number}", kind, body,
        )  # fmt: skip
    await world.project()
    row = await world.pool.fetchrow("SELECT queue, agent FROM rollups WHERE grain = 'handle' AND contacts <> 0")
    assert bounds.size(row["queue"]) <= bounds.NAME_BYTES
    assert await world.findings() == []


def test_a_custom_fields_name_in_the_configuration_is_bounded() -> None:
    problems = list(check(config.Settings(tenants={"acme": config.Tenant(fields={"x" * 65: ReportField()})})))
    assert [problem for problem in problems if problem.endswith("a custom field's name has at most 64 characters")]
