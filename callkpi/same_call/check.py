"""The doctor's part for calls that several sources tell of: what is stored against the rules, and what to know."""

from __future__ import annotations

import json
from collections import Counter

import asyncpg

from callkpi import config
from callkpi.calls.rows import call_body
from callkpi.database import store
from callkpi.same_call import unions
from callkpi.same_call.rules import Key, Rule, Union, rules, unite

_PAGE = 200
_AGAIN = "; after a change of same_call run 'callkpi rebuild'"


async def side_body(
    connection: asyncpg.Connection, settings: config.Settings, call: tuple[str, str, str]
) -> str | None:
    """What is stored of a call as its own source tells it; None where that is the call itself."""
    if not settings.tenants[call[0]].same_call.is_on:
        return None
    row = await connection.fetchrow(store.query("same_call", "side_body"), *call)
    return row["body"] if row is not None else None


async def check(connection: asyncpg.Connection, settings: config.Settings) -> list[str]:
    """Sides that are not where the rules put them, and calls that are not what their sides make."""
    findings: list[str] = []
    for tenant, rule in rules(settings).items():
        last = Key("", "")
        while rows := await connection.fetch(store.query("same_call", "side_page"), tenant, *last, _PAGE):
            page = [unions.stored_from_row(row) for row in rows]
            expected = await unions.expected(connection, tenant, rule, page)
            for stored in page:
                finding = await _finding(connection, tenant, rule, stored, expected[stored.side.key])
                findings += [finding + _AGAIN] if finding else []
            last = page[-1].side.key
    return findings


async def _finding(connection: asyncpg.Connection, tenant: str, rule: Rule, stored: unions.Stored, union: Union) -> str:
    key = stored.side.key
    name = f"call {key.source}/{key.call_id}"
    wanted = (union.lead.key, unions.rule_of(union, key), key in union.ambiguous)
    if wanted != (stored.lead, stored.rule, stored.ambiguous):
        return f"{name}: is stored as part of {'/'.join(stored.lead)}, the rules make it part of {'/'.join(wanted[0])}"
    place = (tenant, *key, stored.side.call.started_at)
    body = await connection.fetchval(store.query("reports", "call_at"), *place)
    if union.lead.key != key:
        return f"{name}: is part of {'/'.join(stored.lead)} and counts by itself as well" if body else ""
    folded = call_body(unite(union, rule))
    if body is None or json.loads(body) != json.loads(folded):
        return f"{name}: is not what its {len(union.sides)} sources tell of it"
    return ""


async def notes(pool: asyncpg.Pool, settings: config.Settings) -> list[str]:
    """How many calls are one, by which rule, and what was computed under other rules than those of now."""
    counts: dict[str, Counter[str]] = {tenant: Counter() for tenant in rules(settings)}
    for row in await pool.fetch(store.query("same_call", "counts")):
        if row["tenant"] in counts:
            counts[row["tenant"]]["ambiguous"] += row["calls"] if row["ambiguous"] else 0
            counts[row["tenant"]][row["rule"]] += row["calls"]
    told = []
    for tenant, count in counts.items():
        own = settings.tenants[tenant].same_call
        by = ", ".join(f"{count[rule]} by {rule}" for rule in own.by)
        unclear = (
            f"; {count['ambiguous']} could not be told apart and count by themselves" if count["ambiguous"] else ""
        )
        told.append(f"{tenant}: calls of {', '.join(own.sources)} that are one with another source's: {by}{unclear}")
        older = await pool.fetch(store.query("same_call", "calls_without_side"), tenant, list(own.sources))
        told += [f"{tenant}: {row['calls']} calls of {row['source']} are older than same_call{_AGAIN}" for row in older]
    off = await pool.fetch(store.query("same_call", "sides_without_rule"), list(counts))
    return [*told, *(f"{row['tenant']}: calls were united by rules that are off now{_AGAIN}" for row in off)]
