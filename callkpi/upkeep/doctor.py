"""Commands on a database: migrate, rebuild from the journal, replay what was rejected, check the invariants."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from callkpi import config
from callkpi.calls import facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import StreamKey
from callkpi.calls.rows import call_body, event_from_row
from callkpi.database import store
from callkpi.projection import days, isolation, streams, timekeeping
from callkpi.projection.folding import asks_about, call_of, members_at, restarts_after
from callkpi.same_call import check as same_call_check

Progress = Callable[[int, int], None]
PAGE = 500


# -- doctor ----------------------------------------------------------------------------------------------


async def check(pool: asyncpg.Pool, settings: config.Settings, progress: Progress) -> list[str]:
    """The doctor's findings on an open store, from one snapshot of it."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        waiting = await connection.fetchrow(store.query("projector", "lag"))
        unsettled = await timekeeping.unsettled(connection)
        kept = {row["what"]: row["before"] for row in await connection.fetch(*_HORIZONS)}
        findings = await _check_rollups(connection, kept.get("calls"))
        findings += await _check_waits(connection, kept.get("calls"))
        findings += await days.check(connection, kept.get("calls"))
        if not unsettled:
            findings += await timekeeping.check(connection, settings, kept.get("journal"))
        aside = await isolation.standing(connection)
        findings += [
            f"{item.name}: is set aside since {item.since:%Y-%m-%d %H:%M} UTC: {item.reason}" for item in aside
        ]
        unknown = _Unknown(unsettled, await isolation.calls_of(connection, [item.key for item in aside]))
        findings += await _check_calls(connection, settings, progress, kept.get("journal"), unknown)
        findings += await same_call_check.check(connection, settings)
        for kind in streams.KINDS:
            findings += await kind.check(connection, settings, kept.get("journal"))
    if waiting["groups"] and findings:
        findings.append(f"{waiting['groups']} groups of events wait to be projected: run again when they are")
    return findings


_HORIZONS = (store.query("retention", "horizons"), timedelta())
#: A call is at most so long: those that began before the calls that are kept reach no further.
_LONGEST_CALL = timedelta(days=2)


async def _check_rollups(connection: asyncpg.Connection, kept: datetime | None) -> list[str]:
    since = datetime.min.replace(tzinfo=UTC) if kept is None else kept + _LONGEST_CALL
    expected: dict[tuple[str, facts.Key], facts.Row] = defaultdict(facts.Row)
    async for row in connection.cursor(store.query("reports", "all_facts"), prefetch=PAGE):
        for raw in json.loads(row["facts"]):
            fact = facts.Fact.from_json(raw)
            if fact.key.at >= since:
                expected[row["tenant"], fact.bin].add(fact)
    findings = []
    async for row in connection.cursor(store.query("reports", "all_rollups"), prefetch=PAGE):
        if row["at"] < since:
            continue
        key = (row["tenant"], facts.Key(*(row[name] for name in facts.Key._fields)))
        wanted = expected.pop(key, facts.Row()).to_json()
        wrong = [name for name, value in wanted.items() if _differs(row[name], value)]
        if wrong:
            findings.append(f"rollup {_place(key)}: {wrong[0]} is {row[wrong[0]]}, its calls give {wanted[wrong[0]]}")
    findings += [f"rollup {_place(key)}: is missing" for key, row in expected.items() if not row.is_empty]
    return findings


async def _check_waits(connection: asyncpg.Connection, kept: datetime | None) -> list[str]:
    since = datetime.min.replace(tzinfo=UTC) if kept is None else kept + _LONGEST_CALL
    rows = await connection.fetch(store.query("reports", "wait_differences"), since)
    return [
        f"wait {row['tenant']} {row['source']}/{row['call_id']} {row['entered_at']}: is not what its call gives"
        for row in rows
    ]


def _differs(stored: Any, wanted: Any) -> bool:
    if not isinstance(wanted, list):
        return bool(stored != wanted)
    length = max(len(stored), len(wanted))
    return [*stored, *[0] * (length - len(stored))] != [*wanted, *[0] * (length - len(wanted))]


def _place(key: tuple[str, facts.Key]) -> str:
    return " ".join(str(part) for part in (key[0], *key[1]) if part)


class _Unknown(NamedTuple):
    """Of whom nobody can say yet whether what is stored is right."""

    times: Collection[tuple[str, str, str]]  #: calls and agents whose times wait to be computed
    calls: Collection[tuple[str, str, str]]  #: calls of which something is set aside


async def _check_calls(
    connection: asyncpg.Connection,
    settings: config.Settings,
    progress: Progress,
    horizon: datetime | None,
    unknown: _Unknown,
) -> list[str]:
    findings: list[str] = []
    last: tuple[str, str, str] = ("", "", "")
    now, done = datetime.now(UTC), 0
    while rows := await connection.fetch(store.query("reports", "call_page"), *last, PAGE):
        for row in rows:
            last = (row["tenant"], row["source"], row["call_id"])
            if last in unknown.calls or (horizon is not None and row["first_at"] < horizon):
                continue
            finding = await _check_call(connection, settings, row, now)
            if not finding and last not in unknown.times:
                finding = await timekeeping.check_legs(connection, last)
            findings += [finding] if finding else []
        done += len(rows)
        progress(done, 0)
    return findings


async def _check_call(connection: asyncpg.Connection, settings: config.Settings, row: Any, now: datetime) -> str:
    source = settings.sources.get(row["source"])
    tenant = settings.tenants.get(row["tenant"])
    if source is None or tenant is None:
        return ""
    key = (row["tenant"], row["source"], row["call_id"])
    members = await connection.fetch(store.query("projector", "members_of"), *([part] for part in key))
    events = []
    for call_id in (row["call_id"], *(member["call_id"] for member in members)):
        span = await connection.fetchrow(store.query("reports", "key_of"), *key[:2], call_id)
        told = await connection.fetch(
            store.query("projector", "events_of"),
            *([part] for part in key[:2]),
            [call_id],
            span["first_at"],
            span["last_at"],
            None,
        )
        events += [event_from_row(record) for record in told]
    asked = asks_about(settings, StreamKey(*key), events)
    others = await members_at(connection, StreamKey(*key), asked)
    others += (await restarts_after(connection, settings, {StreamKey(*key): events})).values()
    limits = Thresholds(tenant)
    try:
        call = call_of(source, limits, StreamKey(*key), (events, others), now)
    except Exception as error:
        return f"call {row['source']}/{row['call_id']}: can't be read: {isolation.reason_of(error)}"
    stored = await same_call_check.side_body(connection, settings, key)
    if stored is None:
        stored = await connection.fetchval(store.query("reports", "call_at"), *key, row["started_at"])
    if call is None or stored is None or _steady(json.loads(stored)) != _steady(json.loads(call_body(call))):
        return f"call {row['source']}/{row['call_id']}: is not the fold of its {len(events)} events"
    return ""


def _steady(body: dict[str, Any]) -> dict[str, Any]:
    """Without what the clock alone changes between two folds: open becomes expired; no holds and no twins are none."""
    legs = [{"holds": [], "agent_source": "", **leg} for leg in body["legs"]]
    return {"twins": [], **body, "legs": legs, "outcome": "open" if body["outcome"] == "expired" else body["outcome"]}
