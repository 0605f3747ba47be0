"""The calls behind the numbers, and the events that each is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from callkpi import audit
from callkpi.calendar.moments import BadQuery
from callkpi.calls.model import agent_key
from callkpi.calls.phone import mask, normalise
from callkpi.database import store
from callkpi.figures.kpis import Reports
from callkpi.people.names import Names
from callkpi.web.access import Right
from callkpi.web.api import cursors
from callkpi.web.api.contract import CURSOR, TENANT, WINDOW, Answer, Asked, Operation, Seen, limit, text
from callkpi.web.api.figures import FILTERS
from callkpi.web.api.schemas import ref
from callkpi.web.problems import Problem

CUSTOMER = text("customer", "Only calls of this number, in any form that is dialled. Needs the role supervisor.")
#: What of an event holds no number of a customer, whatever the source.
WITHOUT_NUMBERS = frozenset(
    {
        "direction", "line", "queue", "agent", "entry", "cause", "code", "hangup_by", "state", "reason", "rank",
        "rating", "untimed", "talk_with_hold", "wait_ms", "ring_ms", "talk_ms", "hold_ms", "wrap_ms",
    }
)  # fmt: skip


def operations(pool: asyncpg.Pool, reports: Reports) -> Sequence[Operation]:
    async def listed(asked: Asked) -> Answer:
        check_filters(asked)
        position = cursors.read(asked.values)
        begin, end = asked.window() if position is None else _window_of(position)
        behind = (end, "", "") if position is None else (_at(position[2]), str(position[3]), str(position[4]))
        await reports.names.refresh(pool)
        wanted = filters(asked, reports.names)
        rows = await pool.fetch(
            store.query("reports", "list_calls"), asked.tenant, begin, end, *wanted, asked["limit"] + 1, *behind
        )
        shown, complete = rows[: asked["limit"]], len(rows) <= asked["limit"]
        calls = [call_json(asked, reports.names, orjson.loads(row["body"])) for row in shown]
        last = shown[-1] if shown else None
        place = [each.isoformat() for each in (begin, end)]
        body = {
            "tenant": asked.tenant, "from": begin.isoformat(), "to": end.isoformat(), "calls": calls,
            "complete": complete,
            "next": None if complete or last is None else cursors.write(
                asked.values, [*place, last["started_at"].isoformat(), last["source"], last["call_id"]]
            ),
        }  # fmt: skip
        return Answer(body, seen=_seen(asked, calls), volatile=frozenset({"to"}))

    async def one(asked: Asked) -> Answer:
        found = await _find(pool, asked)
        if found is None:
            raise Problem(404, "No such call", "Its id is {source}/{call id} as /api/v1/calls shows it")
        (tenant, source, root), row = found
        await reports.names.refresh(pool)
        call = call_json(asked, reports.names, orjson.loads(row["body"]))
        told = [(source, root), *((twin["source"], twin["call_id"]) for twin in call["twins"])]
        rows = [row for part in told for row in await _events(pool, tenant, *part)]
        rows.sort(key=lambda row: (row["at"], row["kind"], row["event_id"]))
        events = [event_json(asked, row) for row in rows]
        body = {**call, "facts": _facts(asked, orjson.loads(row["facts"])), "events": events}
        return Answer(body, seen=_seen(asked, [call]))

    return [
        Operation(
            path="/api/v1/calls",
            name="calls",
            summary="Calls of a window, newest first. Full numbers and what the CRM knows: manager; who took a call: "
            "supervisor.",
            subject="Calls",
            parameters=(*WINDOW, *FILTERS, CUSTOMER, limit(), CURSOR),
            answer=listed,
            schema=ref("Calls"),
            errors=(410,),
        ),
        Operation(
            path="/api/v1/calls/{id}",
            name="call",
            summary="One call with its queues, rings, facts and the events that it is made of; what the source sent of "
            "itself (`detail`) for the role admin.",
            subject="Calls",
            parameters=(
                TENANT,
                text("id", "`id` of the call, {source}/{call id}.", where="path", most=600),
                text("source", "Where the id is a call id alone: of this source."),
            ),
            answer=one,
            schema=ref("CallInFull"),
            errors=(404,),
        ),
    ]


# -- filters ------------------------------------------------------------------------------------------------


def check_filters(asked: Asked) -> None:
    """Raises Problem for a filter that tells more than the reader may know."""
    if asked["agent"] is not None:
        asked.needs(Right.AGENTS, "calls of one agent")
    if asked["customer"] is not None:
        asked.needs(Right.WORK_LIST, "calls of one customer")


def filters(asked: Asked, names: Names) -> tuple[Any, ...]:
    """The filters as the queries over calls take them."""

    def ids(kind: str) -> list[str] | None:
        if asked[kind] is None:
            return None
        return names.ids(asked.tenant, kind, asked[kind])

    customer = asked["customer"]
    number = None if customer is None else normalise(customer, asked.zone.region)
    return asked["outcome"], asked["direction"], ids("line"), number, ids("queue"), ids("agent")


async def onward(pool: asyncpg.Pool, asked: Asked, names: Names, page: int) -> AsyncIterator[list[dict[str, Any]]]:
    """All calls of the asked window in the order of time, a page at a time. Holds no connection between two pages."""
    begin, end = asked.window()
    wanted, behind = filters(asked, names), (begin, "", "")
    while True:
        rows = await pool.fetch(
            store.query("reports", "calls_onward"), asked.tenant, begin, end, *wanted, page, *behind
        )
        if rows:
            yield [call_json(asked, names, orjson.loads(row["body"])) for row in rows]
        if len(rows) < page:
            return
        behind = (rows[-1]["started_at"], rows[-1]["source"], rows[-1]["call_id"])


def _window_of(position: list[Any]) -> tuple[datetime, datetime]:
    if len(position) != 5 or not all(isinstance(part, str) for part in position):
        raise BadQuery("cursor: is none of ours; take `next` of the answer before")
    return _at(position[0]), _at(position[1])


def _at(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery("cursor: is none of ours; take `next` of the answer before") from None
    if at.tzinfo is None:
        raise BadQuery("cursor: is none of ours; take `next` of the answer before")
    return at


# -- one call -----------------------------------------------------------------------------------------------


async def _find(pool: asyncpg.Pool, asked: Asked) -> tuple[tuple[str, str, str], asyncpg.Record] | None:
    for source, call_id in _candidates(asked):
        place = await pool.fetchrow(store.query("reports", "key_of"), asked.tenant, source, call_id)
        if place is None or place["started_at"] is None:
            continue
        key = (asked.tenant, place["source"], place["root"])
        row = await pool.fetchrow(store.query("reports", "call_at"), *key, place["started_at"])
        if row is not None:
            return key, row
    return None


def _candidates(asked: Asked) -> list[tuple[str, str]]:
    """``{source}/{call id}``, or a bare call id that is looked for in every source of the tenant."""
    name, sources = asked["id"], asked.settings.sources
    source, slash, rest = name.partition("/")
    named = [(source, rest)] if slash and source in sources else []
    chosen = asked["source"]
    return named + [(each, name) for each in ([chosen] if chosen else sources)]


async def _events(pool: asyncpg.Pool, tenant: str, source: str, root: str) -> list[asyncpg.Record]:
    members = await pool.fetch(store.query("projector", "members_of"), [tenant], [source], [root])
    rows: list[asyncpg.Record] = []
    for call_id in (root, *(row["call_id"] for row in members)):
        place = await pool.fetchrow(store.query("reports", "key_of"), tenant, source, call_id)
        if place is not None:
            span = (place["first_at"], place["last_at"])
            rows += await pool.fetch(store.query("projector", "events_of"), [tenant], [source], [call_id], *span, None)
    return rows


def _seen(asked: Asked, calls: Sequence[Mapping[str, Any]]) -> Seen | None:
    """What the audit says of calls that are shown: nothing where no whole number is among them."""
    numbers = {call["customer"] for call in calls if call["customer"]}
    if not numbers:
        return None
    subject = mask(next(iter(numbers))) if len(numbers) == 1 else f"{len(numbers)} customers"
    details = {"calls": len(calls), **({"call": calls[0]["id"]} if len(calls) == 1 else {})}
    return Seen(audit.Action.READ_NUMBERS, asked.tenant, subject, details)


# -- as JSON ------------------------------------------------------------------------------------------------


def call_json(asked: Asked, names: Names, body: dict[str, Any]) -> dict[str, Any]:
    """A stored call as the reader may see it, in seconds instead of milliseconds."""
    shown: dict[str, Any] = in_seconds(body)
    number = body.get("customer", "")
    shown["id"] = f"{body['source']}/{body['call_id']}"
    shown["customer_masked"] = mask(number)
    shown["line_name"] = names.show(asked.tenant, "line", body.get("line", ""))
    if not asked.reader.may(Right.NUMBERS):
        shown.update(customer=None, crm={}, fields={})
    for leg in shown.get("legs", ()):
        if not asked.reader.may(Right.AGENTS):
            leg["agent"] = ""
        told_by = leg.get("agent_source") or body["source"]
        leg["agent_name"] = names.show(asked.tenant, "agent", agent_key(told_by, leg["agent"]))
    shown.setdefault("twins", [])
    for twin in shown["twins"]:
        twin["id"] = f"{twin['source']}/{twin['call_id']}"
        if not asked.reader.may(Right.AGENTS):
            twin["agents"] = []
    for entry in shown.get("entries", ()):
        entry["queue_name"] = names.show(asked.tenant, "queue", entry.get("queue", ""))
    return shown


def _facts(asked: Asked, facts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the call adds to the figures; the parts that are of agents for those who may see them."""
    return facts if asked.reader.may(Right.AGENT_FIGURES) else [fact for fact in facts if not _names_agent(fact)]


def _names_agent(fact: Mapping[str, Any]) -> bool:
    return bool(fact.get("agent"))


def event_json(asked: Asked, row: Mapping[str, Any]) -> dict[str, Any]:
    body = orjson.loads(row["body"])
    if not asked.reader.may(Right.NUMBERS):
        masked = {"customer": mask(body["customer"])} if "customer" in body else {}
        body = {key: value for key, value in body.items() if key in WITHOUT_NUMBERS} | masked
    if not asked.reader.may(Right.AGENTS):
        body.pop("agent", None)
    if not asked.reader.may(Right.RAW):
        body.pop("detail", None)
    return {
        "source": row["source"],
        "call_id": row["call_id"],
        "kind": row["kind"],
        "at": row["at"].isoformat(),
        "received_at": row["received_at"].isoformat(),
        "event_id": row["event_id"],
        **in_seconds(body),
    }


def in_seconds(value: Any) -> Any:
    if isinstance(value, list):
        return [in_seconds(item) for item in value]
    if not isinstance(value, dict):
        return value
    return dict(_second(key, item) for key, item in value.items())


def _second(key: str, value: Any) -> tuple[str, Any]:
    if not key.endswith("_ms"):
        return key, in_seconds(value)
    return f"{key[:-3]}_seconds", None if value is None else value / 1000
