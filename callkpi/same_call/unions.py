"""Which calls are one, as the database has it: reads the sides around those that changed, decides, and writes.

Everything here works under the tenant's lock, which lies between the locks of calls and those of customers: whoever
holds it reads what is committed, so what is decided depends on the sides alone and not on who came first. See
:mod:`callkpi.same_call.rules` for the rules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from callkpi.calls.rows import call_body, call_from_body
from callkpi.database import encoding, store
from callkpi.same_call.rules import (
    BUSY_CALLS,
    HOUR,
    Key,
    Rule,
    Side,
    Union,
    busy_hours,
    hour_of,
    likeness,
    match,
    may_be_one,
)

Place = tuple[str, datetime]


@dataclass(frozen=True, slots=True)
class Stored:
    """A side as the database has it."""

    side: Side
    body: str
    lead: Key
    rule: str
    ambiguous: bool


@dataclass(slots=True)
class Decided:
    """What one batch changed among the unions of a tenant."""

    unions: list[Union] = field(default_factory=list)
    #: Where the rows of the calls were: of sides that the batch did not touch.
    places: dict[Key, datetime] = field(default_factory=dict)
    united: list[str] = field(default_factory=list)  #: rules, one for each side that became part of a call
    split: list[str] = field(default_factory=list)  #: rules, one for each side that is no longer part of a call


async def lock(connection: asyncpg.Connection, tenants: Iterable[str]) -> None:
    """Be the only one who decides on these tenants until the transaction ends."""
    await connection.execute(store.query("same_call", "lock_tenants"), sorted(set(tenants)))


async def decide(
    connection: asyncpg.Connection, tenant: str, rule: Rule, touched: Mapping[Key, Side | None]
) -> Decided:
    """Decide anew around the *touched* sides (None: it is part of another call of its source now) and write it."""
    around = _Around(connection, tenant, rule, touched)
    await around.read()
    decided, rows = Decided(), []
    for union in around.unions():
        if not around.has_changed(union):
            continue
        decided.unions.append(union)
        for side, told_by in ((union.lead, ""), *union.others):
            stored = around.stored.get(side.key)
            if side.key not in touched and stored is not None:
                decided.places[side.key] = side.call.started_at
            _note(decided, stored, union.lead.key, told_by)
            body = stored.body if stored is not None and side.key not in touched else call_body(side.call)
            rows.append(_row(tenant, side, body, union, told_by))
    gone = [key for key, side in touched.items() if side is None and key in around.stored]
    if gone:
        await connection.execute(store.query("same_call", "delete_sides"), tenant, *_columns(gone))
    if rows:
        columns = [list(column) for column in zip(*sorted(rows, key=lambda r: r[:3]), strict=True)]
        await connection.execute(store.query("same_call", "write_sides"), *columns)
    return decided


def _note(decided: Decided, stored: Stored | None, lead: Key, rule: str) -> None:
    before = (stored.lead, stored.rule) if stored is not None and stored.rule else None
    now = (lead, rule) if rule else None
    if now is not None and now != before:
        decided.united.append(rule)
    if before is not None and now is None:
        decided.split.append(before[1])


def _row(tenant: str, side: Side, body: str, union: Union, rule: str) -> tuple[Any, ...]:
    return (
        tenant, *side.key, side.call.started_at, side.number, encoding.to_json(sorted(side.ids)),
        encoding.to_json(sorted(side.refs)), body, *union.lead.key, rule, side.key in union.ambiguous,
    )  # fmt: skip


def stored_from_row(row: asyncpg.Record) -> Stored:
    side = Side(call_from_body(row["body"]), frozenset(row["ids"]), frozenset(row["refs"]))
    return Stored(side, row["body"], Key(row["lead_source"], row["lead_call_id"]), row["rule"], row["ambiguous"])


async def expected(
    connection: asyncpg.Connection, tenant: str, rule: Rule, stored: Sequence[Stored]
) -> dict[Key, Union]:
    """For the doctor: the unions of these sides, from what is around them."""
    around = _Around(connection, tenant, rule, {each.side.key: each.side for each in stored})
    await around.read()
    return {side.key: union for union in around.unions() for side in union.sides}


def rule_of(union: Union, key: Key) -> str:
    """The rule by which a side is part of the union; "" for the one that leads."""
    return next((rule for side, rule in union.others if side.key == key), "")


class _Around:
    """The touched sides and all that their change can reach: a closed part of who may be one with whom."""

    def __init__(
        self, connection: asyncpg.Connection, tenant: str, rule: Rule, touched: Mapping[Key, Side | None]
    ) -> None:
        self._connection, self._tenant, self._rule, self._touched = connection, tenant, rule, touched
        self.stored: dict[Key, Stored] = {}
        self._limit = BUSY_CALLS + 1 + len(touched)
        #: Hours of numbers that are read, and those of them that have more sides than could matter.
        self._hours: set[Place] = set()
        self._crowded: set[Place] = set()
        self._counts: dict[Place, int] = {}
        self._leads: set[Key] = set()  #: whose unions are read
        self._led: dict[Key, set[Key]] = {}  #: who is stored as part of whose call
        self._new = {key: side for key, side in touched.items() if side is not None}
        self._reached: dict[Key, Side] = dict(self._new)
        #: Touched sides as they were: who was near them then is concerned, too.
        self._ghosts: list[Side] = []

    async def read(self) -> None:
        self._keep(await self._fetch("sides_of", *_columns(self._touched)))
        self._ghosts = [self.stored[key].side for key in self._touched if key in self.stored]
        await self._read_unions_of(self._ghosts)
        first = [*self._new.values(), *self._ghosts]
        shaken = {(side.number, hour_of(side)) for side in first if side.number}
        todo: list[Side] = [*first, *(self.stored[key].side for key in self.stored if key not in self._touched)]
        self._reached.update({s.key: s for s in todo if s.key not in self._touched})
        while todo:
            await self._read_around(todo)
            todo = self._next(todo, shaken)
            await self._read_unions_of(todo)

    def unions(self) -> list[Union]:
        """The unions of everything that was reached."""
        sides = self._reached.values()
        return match(sides, self._rule, self._busy())

    def has_changed(self, union: Union) -> bool:
        """Whether it is another one than the database has, or a side of it is."""
        if any(side.key in self._touched for side in union.sides):
            return True
        if self._led.get(union.lead.key, set()) != {side.key for side, _ in union.others}:
            return True
        return any(
            (union.lead.key, rule_of(union, key), key in union.ambiguous)
            != (stored.lead, stored.rule, stored.ambiguous)
            for key, stored in ((side.key, self.stored[side.key]) for side in union.sides)
        )

    # -- reading ---------------------------------------------------------------------------------
    async def _read_around(self, sides: Sequence[Side]) -> None:
        if self._rule.by_number:
            places = {(s.number, hour_of(s) + n * HOUR) for s in sides if s.number for n in (-1, 0, 1)} - self._hours
            if places:
                ordered = sorted(places)
                columns = [[number for number, _ in ordered], [hour for _, hour in ordered]]
                rows = await self._fetch("sides_near", *columns, self._limit)
                self._hours |= places
                self._keep(rows)
                self._count(rows)
        if self._rule.by_id:
            if wanted := sorted(set().union(*(side.wanted for side in sides))):
                self._keep(await self._fetch("sides_named", wanted))
            if names := sorted(set().union(*(side.names for side in sides))):
                self._keep(await self._fetch("sides_naming", names))

    async def _read_unions_of(self, sides: Sequence[Side]) -> None:
        """Whoever was one with a side that is reached is reached, whatever the rules say now."""
        leads = {self.stored[side.key].lead for side in sides} - self._leads
        if leads:
            self._leads |= leads
            self._keep(await self._fetch("sides_of", *_columns(leads)))

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        return list(await self._connection.fetch(store.query("same_call", query), self._tenant, *arguments))

    def _keep(self, rows: Iterable[asyncpg.Record]) -> None:
        for row in rows:
            key = Key(row["source"], row["call_id"])
            if key not in self.stored:
                self.stored[key] = stored = stored_from_row(row)
                if stored.rule:
                    self._led.setdefault(stored.lead, set()).add(key)

    def _count(self, rows: Sequence[asyncpg.Record]) -> None:
        for row in rows:
            place = (row["number"], row["started_at"].replace(minute=0, second=0, microsecond=0))
            self._counts[place] = self._counts.get(place, 0) + 1
            if self._counts[place] >= self._limit:
                self._crowded.add(place)

    # -- deciding --------------------------------------------------------------------------------
    def _busy(self) -> set[Place]:
        known = {key: each.side for key, each in self.stored.items() if key not in self._touched}
        return busy_hours([*known.values(), *self._new.values()]) | self._crowded

    def _next(self, todo: Sequence[Side], shaken: Collection[Place]) -> list[Side]:
        """Sides that are reached from the last ones; their neighbours are read next."""
        found: dict[Key, Side] = {}
        leads = {stored.lead for key in self._reached if (stored := self.stored.get(key)) is not None}
        leads |= {self.stored[ghost.key].lead for ghost in self._ghosts}
        index = _by_place(todo)
        for key, stored in self.stored.items():
            side = stored.side
            if key in self._reached or key in self._touched:
                continue
            place = (side.number, hour_of(side))
            is_shaken = place in shaken and place not in self._crowded
            if is_shaken or stored.lead in leads or key in leads or self._is_near(side, index):
                found[key] = side
        self._reached.update(found)
        return list(found.values())

    def _is_near(self, side: Side, index: Mapping[str, Sequence[Side]]) -> bool:
        candidates = {other.key: other for place in _found_by(side) for other in index.get(place, ())}
        return any(other.key.source != side.key.source and self._touches(side, other) for other in candidates.values())

    def _touches(self, one: Side, other: Side) -> bool:
        if (one.number, hour_of(one)) in self._crowded or (other.number, hour_of(other)) in self._crowded:
            return likeness(one, other, self._rule, lambda side: bool(side.number)) is not None
        return may_be_one(one, other, self._rule)


def _by_place(sides: Iterable[Side]) -> dict[str, list[Side]]:
    index: dict[str, list[Side]] = {}
    for side in sides:
        for place in _found_by(side):
            index.setdefault(place, []).append(side)
    return index


def _found_by(side: Side) -> set[str]:
    """What two sides that may be one have in common at the least one of."""
    names = {f"id {name}" for name in side.names | side.refs}
    return names | {f"number {side.number}"} if side.number else names


def _columns(keys: Iterable[Key]) -> list[list[str]]:
    ordered = sorted(keys)
    return [[key.source for key in ordered], [key.call_id for key in ordered]]
