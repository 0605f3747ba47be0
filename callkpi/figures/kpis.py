"""Exact KPIs of any window by one dimension, the work list, and how people's time was spent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from callkpi import config
from callkpi.calls import facts
from callkpi.calls.facts import Grain
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Direction, agent_id, agent_key
from callkpi.calls.phone import mask
from callkpi.database import store
from callkpi.figures import sums
from callkpi.glossary import FATES, PAUSES
from callkpi.missed import judging, work
from callkpi.people import presence
from callkpi.people.names import Names
from callkpi.people.presence import Times
from callkpi.projection.timekeeping import people, settle

#: What a report can be grouped by.
GROUPINGS = ("queue", "agent", "team", "line", "direction", "outcome")
#: The groupings whose figures are those of people's work.
_OF_PEOPLE = ("agent", "team")
_COUNTS = {Grain.ENTRY: "queue entries", Grain.HANDLE: "handles of agents", Grain.CALL: "calls"}


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a tenant's KPIs of [begin, end) by one dimension."""

    tenant: str
    begin: datetime
    end: datetime
    by: str
    #: dimension -> value, by id or by name; any of several values
    only: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    #: As of when: what still waits is written off, and time in state counts, by this moment.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def grain(self) -> Grain:
        """What is counted: what names an agent counts handles, what names a queue counts entries, all else calls."""
        named = {self.by, *self.only}
        return Grain.HANDLE if named & {*_OF_PEOPLE} else Grain.ENTRY if "queue" in named else Grain.CALL


@dataclass(slots=True)
class _Group:
    figures: Figures = field(default_factory=Figures)
    extra: Counter[str] = field(default_factory=Counter)
    times: Times | None = None  #: of people; of a team the sums of its people

    def times_row(self) -> dict[str, Any]:
        return {} if self.times is None else self.times.as_row()


def _total_times(groups: Iterable[_Group]) -> dict[str, Any]:
    known = [group.times for group in groups if group.times is not None]
    return presence.total(known).as_row() if known else {}


class Reports:
    """Reads of the store that answer with the glossary's names."""

    def __init__(
        self, pool: asyncpg.Pool | asyncpg.Connection, settings: config.Settings, names: Names | None = None
    ) -> None:
        self._db = pool
        self._settings = settings
        self.names = names or Names(settings)

    async def figures(self, query: Query) -> dict[str, Any]:
        """Rows by the asked dimension, and the total of the same grain and of whole calls."""
        if query.by in _OF_PEOPLE:
            await self._settle()
        async with self._snapshot() as db:
            await self.names.refresh(db)
            return await self._answer(db, query, await self._sums(db, query))

    async def of_agents(self, query: Query) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
        """The figures by agent, and the conversations that each took, by shown agent and queue ("" of no queue)."""
        await self._settle()
        async with self._snapshot() as db:
            await self.names.refresh(db)
            rows = await self._sums(db, query, "queue")
            return await self._answer(db, query, rows), self._answered_by_queue(query, rows)

    async def _answer(
        self, db: asyncpg.Connection, query: Query, sums_read: Iterable[Mapping[str, Any]]
    ) -> dict[str, Any]:
        groups: dict[str, _Group] = defaultdict(_Group)
        for row in sums_read:
            self._add(groups, query, row)
        await self._add_extra(db, query, groups)
        formula = self._settings.tenants[query.tenant].service_level_formula
        if query.by == "queue" and query.grain is not Grain.HANDLE:
            groups.pop("", None)  # what is in no queue is no stay; of agents' work it is a part
        total = Figures()
        for group in groups.values():
            total.merge(group.figures)
        rows = [
            {query.by: value, **group.figures.as_row(formula), **group.extra, **group.times_row()}
            for value, group in sorted(groups.items())
        ]
        if query.by == "outcome":
            for row in rows:
                row["calls"] = groups[row["outcome"]].figures.sums["contacts"]
        return {
            "tenant": query.tenant,
            "from": query.begin.isoformat(),
            "to": query.end.isoformat(),
            "by": query.by,
            "counts": _COUNTS[query.grain],
            "rows": rows,
            "total": {**total.as_row(formula), **_total_times(groups.values())},
        }

    async def _settle(self) -> None:
        """Have time in state counted up to now. A snapshot can't: who opened one settles before."""
        if isinstance(self._db, asyncpg.Pool):
            await settle(self._db, self._settings)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """One state of the store for all that is read: the caller's, or the one of now."""
        if not isinstance(self._db, asyncpg.Pool):
            yield self._db
            return
        async with (
            self._db.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await sums.plan(connection)
            yield connection

    async def _sums(self, db: asyncpg.Connection, query: Query, *more: str) -> Sequence[Mapping[str, Any]]:
        """Sums by the dimensions that the query looks at, and *more*."""
        named = {"agent" if name == "team" else name for name in (query.by, *query.only, *more)} - {"outcome"}
        asked = sums.Asked(query.tenant, query.grain, named)
        window = sums.whole(query.begin, query.end)
        return await sums.read(db, self._settings.tenants[query.tenant], asked, window)

    def _answered_by_queue(self, query: Query, rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row["answered"] and is_meant(self.names, query, row):
                agent = self.names.show(query.tenant, "agent", row["agent"])
                found[agent][self.names.show(query.tenant, "queue", row["queue"])] += row["answered"]
        return {agent: dict(counts) for agent, counts in found.items()}

    def _add(self, groups: dict[str, _Group], query: Query, row: Mapping[str, Any]) -> None:
        if not self._is_meant(query, row):
            return
        value = self.names.show(query.tenant, query.by, row["agent" if query.by == "team" else query.by])
        groups[value].figures.add(row["outcome"], row, row["longest_wait_ms"])

    def _is_meant(self, query: Query, place: Mapping[str, Any]) -> bool:
        return is_meant(self.names, query, place)

    async def _add_extra(self, db: asyncpg.Connection, query: Query, groups: dict[str, _Group]) -> None:
        """What facts of a call can't tell: the fate of its customer, the pauses of an agent."""
        if query.by in _OF_PEOPLE:
            await self._add_times(db, query, groups)
            await self._add_pauses(db, query, groups)
        elif query.by != "outcome" and query.only.keys() <= {"queue", "line", "direction"}:
            await self._add_fates(db, query, groups)

    async def _add_fates(self, db: asyncpg.Connection, query: Query, groups: dict[str, _Group]) -> None:
        for group in groups.values():
            group.extra.update(dict.fromkeys(FATES, 0))
        window = sums.whole(query.begin, query.end)
        written_off = judging.written_off_before(self._settings.tenants[query.tenant], query.now)
        for row in await sums.fates(db, query.tenant, {query.by, *query.only}, window, written_off):
            place = {"queue": row["queue"], "line": row["line"], "direction": Direction.INBOUND.value}
            value = self.names.show(query.tenant, query.by, place[query.by])
            if value in groups and self._is_meant(query, place):
                groups[value].extra.update(judging.counts_of(row))

    async def _add_pauses(self, db: asyncpg.Connection, query: Query, groups: dict[str, _Group]) -> None:
        begin = facts.quarter(query.begin)
        rows = await db.fetch(store.query("reports", "agent_rows"), query.tenant, begin, query.end)
        for row in rows:
            key = agent_key(row["source"], row["agent"])
            value = self.names.show(query.tenant, query.by, key)
            if self._is_of(query, key) or (value in groups and not query.only.keys() & {*_OF_PEOPLE}):
                groups[value].extra.update({name: row[name] for name in PAUSES})
        for group in groups.values():
            group.extra.update(dict.fromkeys(PAUSES, 0))

    def _is_of(self, query: Query, agent: str) -> bool:
        """Whether the query asks for this agent by nothing but who he is: his states belong to no queue or line."""
        return query.only.keys() <= {*_OF_PEOPLE} and self._is_meant(query, {"agent": agent})

    async def _add_times(self, db: asyncpg.Connection, query: Query, groups: dict[str, _Group]) -> None:
        """How people's time was spent. Of a query by queue, line, … the whole time of those who are in the answer."""
        found = await self._people(db, query.tenant, query.begin, min(query.end, query.now))
        for name, (keys, times) in found.items():
            team = max((self.names.team(query.tenant, key) for key in keys), default="")
            value = team if query.by == "team" else name
            if any(self._is_of(query, key) for key in keys) or (
                value in groups and query.by == "agent" and not query.only.keys() & {*_OF_PEOPLE}
            ):
                group = groups[value]
                group.times = times if group.times is None else group.times + times
        ringing = self._settings.tenants[query.tenant].ringing_counts
        if not query.only.keys() - {*_OF_PEOPLE} or query.by == "agent":
            for group in groups.values():
                group.times = group.times or Times(ringing=ringing)

    async def times_in_state(
        self, tenant: str, begin: datetime, end: datetime, now: datetime | None = None
    ) -> dict[str, Times]:
        """How long every person was in every state in [begin, end), up to *now*, by the name that he is shown by.

        People of whom nothing is known in the window are not there.
        """
        await self._settle()
        async with self._snapshot() as db:
            await self.names.refresh(db)
            found = await self._people(db, tenant, begin, min(end, now or datetime.now(UTC)))
        return {name: times for name, (_, times) in found.items()}

    async def _people(
        self, db: asyncpg.Connection, tenant: str, begin: datetime, end: datetime
    ) -> dict[str, tuple[list[str], Times]]:
        """People by their shown names: the keys of the ids that they have, and their times."""
        ringing = self._settings.tenants[tenant].ringing_counts

        def label(key: str) -> str:
            return self.names.show(tenant, "agent", key)

        return await people(db, tenant, (begin, end), label, ringing)

    async def missed(self, tenant: str, limit: int = 500, now: datetime | None = None) -> list[dict[str, Any]]:
        """The work list as of *now*: customers nobody has spoken to since we missed them, oldest first."""
        await self.names.refresh(self._db)
        now = now or datetime.now(UTC)
        written_off = judging.written_off_before(self._settings.tenants[tenant], now)
        rows = await self._db.fetch(store.query("reports", "open_missed"), tenant, written_off, limit)
        items = [self._missed_item(tenant, row, now) for row in rows]
        keys = [_work_item(item) for item in items]
        found = await self._db.fetch(store.query("work", "items"), [tenant] * len(keys), keys)
        states = {row["item"]: row for row in found}
        for key, item in zip(keys, items, strict=True):
            item.update(_work_done(states.get(key), item["first_missed_at"], now))
        return items

    def _missed_item(self, tenant: str, row: asyncpg.Record, now: datetime) -> dict[str, Any]:
        called_back = row["called_back_at"]
        return {
            "customer": row["customer"],
            "customer_masked": mask(row["customer"]),
            "hidden_number": row["customer"] == "",
            "calls": row["calls"],
            "first_missed_at": row["first_missed_at"].isoformat(),
            "last_missed_at": row["last_missed_at"].isoformat(),
            "waiting_seconds": round((now - row["first_missed_at"]).total_seconds()),
            "fate": row["fate"],
            "called_back_at": called_back.isoformat() if called_back else None,
            "queue": self.names.show(tenant, "queue", row["queue"]),
            "line": self.names.show(tenant, "line", row["line"]),
            "outcome": row["outcome"],
            "last_call": row["last_call"],
        }


def is_meant(names: Names, query: Query, place: Mapping[str, Any]) -> bool:
    """Whether the filters of a query let a place through, each by id or by name."""
    for name, wanted in query.only.items():
        values = {wanted} if isinstance(wanted, str) else {*wanted}
        if not values & _called(names, query.tenant, name, place):
            return False
    return True


def _called(names: Names, tenant: str, name: str, place: Mapping[str, Any]) -> set[str]:
    """What one dimension of a place may be called: its id, its shown name."""
    value = place["agent" if name == "team" else name]
    if name == "team":
        team = names.team(tenant, value)
        return {*names.team_names(tenant, team)} if team else {team}
    shown = {names.show(tenant, name, value)}
    return shown | ({value, agent_id(value)} if name == "agent" else {value})


def _work_item(item: Mapping[str, Any]) -> str:
    source, _, call_id = item["last_call"].partition("/")
    return work.item_of(item["customer"], source, call_id)


def _work_done(row: Mapping[str, Any] | None, since: str, now: datetime) -> dict[str, Any]:
    """Who has the item, and what was noted since the miss that it is about."""
    if row is None:
        return {"claimed_by": None, "claimed_until": None, "notes": []}
    until = row["claimed_until"] if row["claimed_until"] and row["claimed_until"] > now else None
    begun = datetime.fromisoformat(since)
    notes = [note for note in orjson.loads(row["body"])["notes"] if datetime.fromisoformat(note["at"]) >= begun]
    return {
        "claimed_by": row["claimed_by"] if until else None,
        "claimed_until": until.isoformat() if until else None,
        "notes": notes,
    }
