"""Exact KPIs of any window: whole quarters of an hour from the rollups, the edges from the calls themselves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson

from callkpi import config, kpi, store
from callkpi.kpi import Fact, Figures, Grain
from callkpi.model import Direction, Fate
from callkpi.names import Names

#: What a report can be grouped by.
GROUPINGS = ("queue", "agent", "line", "direction", "outcome")
_COUNTS = {Grain.ENTRY: "queue entries", Grain.HANDLE: "handles of agents", Grain.CALL: "calls"}


_FATES = ("called_back", "reached_after_miss", "self_served", "still_waiting", "written_off")
_PAUSES = ("pauses", "resumes", "logins", "logouts")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: a tenant's KPIs of [begin, end) by one dimension."""

    tenant: str
    begin: datetime
    end: datetime
    by: str
    #: dimension -> value, by id or by name; any of several values
    only: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)

    @property
    def grain(self) -> Grain:
        """What is counted: what names an agent counts handles, what names a queue counts entries, all else calls."""
        named = {self.by, *self.only}
        return Grain.HANDLE if "agent" in named else Grain.ENTRY if "queue" in named else Grain.CALL


@dataclass(slots=True)
class _Group:
    figures: Figures = field(default_factory=Figures)
    extra: Counter[str] = field(default_factory=Counter)


class Reports:
    """Reads of the store that answer with the glossary's names."""

    def __init__(
        self, pool: asyncpg.Pool | asyncpg.Connection, settings: config.Settings, names: Names | None = None
    ) -> None:
        self._pool = pool
        self._settings = settings
        self.names = names or Names(settings)

    async def figures(self, query: Query) -> dict[str, Any]:
        """Rows by the asked dimension, and the total of the same grain and of whole calls."""
        await self.names.refresh(self._pool)
        formula = self._settings.tenants[query.tenant].service_level_formula
        groups = await self._groups(query)
        await self._add_extra(query, groups)
        if query.by == "queue":
            groups.pop("", None)
        total = Figures()
        for group in groups.values():
            total.merge(group.figures)
        rows = [
            {query.by: value, **group.figures.as_row(formula), **group.extra} for value, group in sorted(groups.items())
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
            "total": total.as_row(formula),
        }

    async def _groups(self, query: Query) -> dict[str, _Group]:
        groups: dict[str, _Group] = defaultdict(_Group)
        inner_begin, inner_end = _whole_quarters(query.begin, query.end)
        if inner_begin < inner_end:
            rows = await self._pool.fetch(
                store.query("reports", "rollup_rows"), query.tenant, query.grain, inner_begin, inner_end
            )
            for row in rows:
                self._add(groups, query, row, row, row["longest_wait_ms"])
            edges = [(query.begin, inner_begin), (inner_end, query.end)]
        else:
            edges = [(query.begin, query.end)]
        for begin, end in edges:
            if begin < end:
                for fact in await self._facts(query.tenant, begin, end):
                    if fact.key.grain == query.grain:
                        self._add(groups, query, fact.key._asdict(), fact.measures, fact.longest_wait_ms)
        return groups

    async def _facts(self, tenant: str, begin: datetime, end: datetime) -> Iterable[Fact]:
        rows = await self._pool.fetch(store.query("projector", "facts_near"), tenant, begin, end)
        return [Fact.from_json(orjson.loads(row["fact"])) for row in rows]

    def _add(
        self,
        groups: dict[str, _Group],
        query: Query,
        place: Mapping[str, Any],
        measures: Mapping[str, int],
        longest_wait_ms: int,
    ) -> None:
        if not self._is_meant(query, place):
            return
        value = self.names.show(query.tenant, query.by, place[query.by])
        groups[value].figures.add(place["outcome"], measures, longest_wait_ms)

    def _is_meant(self, query: Query, place: Mapping[str, Any]) -> bool:
        return is_meant(self.names, query, place)

    async def _add_extra(self, query: Query, groups: dict[str, _Group]) -> None:
        """What facts of a call can't tell: the fate of its customer, the pauses of an agent."""
        if query.by == "agent":
            await self._add_pauses(query, groups)
        elif query.by != "outcome" and query.only.keys() <= {"queue", "line", "direction"}:
            await self._add_fates(query, groups)

    async def _add_fates(self, query: Query, groups: dict[str, _Group]) -> None:
        for group in groups.values():
            group.extra.update(dict.fromkeys(_FATES, 0))
        window = (query.tenant, query.begin, query.end)
        rows = await self._pool.fetch(store.query("reports", "fate_rows"), *window, self._written_off(query.tenant))
        for row in rows:
            place = {"queue": row["queue"], "line": row["line"], "direction": Direction.INBOUND.value}
            value = self.names.show(query.tenant, query.by, place[query.by])
            if value in groups and self._is_meant(query, place):
                groups[value].extra.update(_fate_counts(row))

    async def _add_pauses(self, query: Query, groups: dict[str, _Group]) -> None:
        begin = kpi.quarter(query.begin)
        rows = await self._pool.fetch(store.query("reports", "agent_rows"), query.tenant, begin, query.end)
        for row in rows:
            value = self.names.show(query.tenant, "agent", row["agent"])
            if not query.only or value in groups:
                groups[value].extra.update({name: row[name] for name in _PAUSES})
        for group in groups.values():
            group.extra.update(dict.fromkeys(_PAUSES, 0))

    async def missed(self, tenant: str, limit: int = 500) -> list[dict[str, Any]]:
        """The work list: customers nobody has spoken to since we missed them, oldest first."""
        await self.names.refresh(self._pool)
        now = datetime.now(UTC)
        rows = await self._pool.fetch(store.query("reports", "open_missed"), tenant, self._written_off(tenant), limit)
        return [self._missed_item(tenant, row, now) for row in rows]

    def _written_off(self, tenant: str) -> datetime:
        """Missed before this and not settled: written off."""
        return datetime.now(UTC) - timedelta(days=self._settings.tenants[tenant].write_off_days)

    def _missed_item(self, tenant: str, row: asyncpg.Record, now: datetime) -> dict[str, Any]:
        called_back = row["called_back_at"]
        return {
            "customer": row["customer"],
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
        values = (wanted,) if isinstance(wanted, str) else wanted
        if place[name] not in values and names.show(query.tenant, name, place[name]) not in values:
            return False
    return True


def _fate_counts(row: Mapping[str, Any]) -> dict[str, int]:
    fate, calls = row["fate"], row["calls"]
    return {
        "called_back": calls if row["called_back"] else 0,
        "reached_after_miss": calls if fate == Fate.REACHED else 0,
        "self_served": calls if fate == Fate.SELF_SERVED else 0,
        "still_waiting": calls if fate in (Fate.WAITING, Fate.CALLED_BACK) else 0,
        "written_off": calls if fate == Fate.WRITTEN_OFF else 0,
    }


def _whole_quarters(begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    """The whole quarters of an hour inside of a window."""
    first = kpi.quarter(begin)
    if first < begin:
        first += kpi.INTERVAL
    return first, kpi.quarter(end)


def local_midnight(tenant: config.Tenant, at: datetime) -> datetime:
    """The begin of the call centre's day that *at* lies in, in UTC."""
    local = at.astimezone(tenant.zone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
