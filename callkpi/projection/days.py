"""Sums per local day and month, by source and custom fields as well: what months and years are read from.

The projector adds to the days the same differences as to the quarters of an hour, in the same transaction. They are
sums of days of one zone and by one set of fields; where the settings say others now, or where calls were there before
them, they are filled again from the calls, a day at a time and backwards, and are used as far as they are complete.

Months are sums of days that are over: each day is added to its month some time after its end, and what changes in it
later is added to both. So a month that goes on is read from its sum to date and the last day or two.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import asyncpg
import structlog

from callkpi import config
from callkpi.calendar.business import instant
from callkpi.calls.facts import MEASURES, Fact, Row, quarter
from callkpi.database import encoding, store
from callkpi.health import Health
from callkpi.looping import Loop, keep_going
from callkpi.projection import views

log = structlog.get_logger()

#: Longer values of a custom field are cut; as in the SQL function field_value.
VALUE_LENGTH = 64
LOOK_SECONDS = 60.0
_DAY = timedelta(days=1)
#: A call is at most so many days long.
_CALL_DAYS = 2 * _DAY
#: A day is added to its month so long after its end, when most that is late has come.
_SETTLED = timedelta(hours=2)
#: So many days are added to their months at a time: the projector waits meanwhile.
_DAYS_AT_ONCE = 4 * _DAY


@dataclass(frozen=True, slots=True)
class Span:
    """The days of one tenant."""

    zone: ZoneInfo
    fields: tuple[str, ...]  #: custom fields that they are counted by
    since: date  #: complete from this day on
    months_until: date = date.min  #: the sums of months hold the days before this one, as far as they are complete

    def is_of(self, tenant: config.Tenant) -> bool:
        """Whether these are the days that the settings mean."""
        return self.zone.key == tenant.timezone and self.fields == tuple(tenant.fields)


class Key(NamedTuple):
    """A row of day_rollups, within a tenant."""

    field: str
    grain: str
    day: date
    source: str
    value: str
    queue: str
    agent: str
    line: str
    direction: str
    outcome: str

    @property
    def of_month(self) -> MonthKey:
        month = self.day.replace(day=1)
        return MonthKey(*self[:2], month, *self[3:7], self.direction, self.outcome)


class MonthKey(NamedTuple):
    """A row of month_rollups, within a tenant: of all lines together."""

    field: str
    grain: str
    month: date
    source: str
    value: str
    queue: str
    agent: str
    direction: str
    outcome: str


class Told(NamedTuple):
    """What a call says of itself besides its facts."""

    source: str
    fields: Mapping[str, str]
    crm: Mapping[str, str]

    def value(self, field: str) -> str:
        """By which value of a custom field it is counted; "" where it has none."""
        return (self.fields.get(field) or self.crm.get(field) or "")[:VALUE_LENGTH]


@dataclass(frozen=True, slots=True)
class Change:
    """What one call was and is."""

    tenant: str
    before: Sequence[tuple[Told, Sequence[Fact]]]
    after: tuple[Told, Sequence[Fact]]
    changed: tuple[Sequence[Fact], Sequence[Fact]]  #: facts that are gone and that have come

    def facts(self, span: Span) -> Iterator[tuple[int, Told, Fact]]:
        """Facts to take away (-1) and to add (1)."""
        told, come = self.after
        same = _labels(span, told)
        if all(_labels(span, old) == same for old, _ in self.before):
            for sign, facts in ((-1, self.changed[0]), (1, self.changed[1])):
                yield from ((sign, told, fact) for fact in facts)
            return
        for old, gone in self.before:
            yield from ((-1, old, fact) for fact in gone)
        yield from ((1, told, fact) for fact in come)


def _labels(span: Span, told: Told) -> tuple[str, ...]:
    return told.source, *(told.value(field) for field in span.fields)


class Unbegun(Exception):
    """Tenants whose days have not begun."""

    def __init__(self, tenants: set[str]) -> None:
        super().__init__()
        self.tenants = tenants


async def spans(connection: asyncpg.Connection | asyncpg.Pool) -> dict[str, Span]:
    """The days of each tenant."""
    rows = await connection.fetch(store.query("days", "spans"))
    return {
        row["tenant"]: Span(ZoneInfo(row["zone"]), tuple(row["fields"]), row["since"], row["months_until"])
        for row in rows
    }


async def hold(connection: asyncpg.Connection, tenants: Iterable[str]) -> dict[str, Span]:
    """Keep the days as they are until the end of the transaction. Raises Unbegun."""
    await connection.execute(store.query("days", "lock_shared"))
    found = await spans(connection)
    unbegun = set(tenants) - found.keys()
    if unbegun:
        raise Unbegun(unbegun)
    return found


async def begin(pool: asyncpg.Pool, settings: config.Settings, tenants: Iterable[str]) -> None:
    """Begin the days of tenants that have none."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("days", "lock"))
        for name in sorted(tenants):
            tenant = settings.tenants[name]
            await connection.execute(store.query("days", "begin"), name, tenant.timezone, list(tenant.fields))


async def add(connection: asyncpg.Connection, known: Mapping[str, Span], changes: Iterable[Change]) -> None:
    """Add what calls were and are to the days, and to the months that hold them, in key order."""
    totals: dict[tuple[str, Key], Row] = defaultdict(Row)
    months: dict[tuple[str, MonthKey], Row] = defaultdict(Row)
    for change in changes:
        span = known.get(change.tenant)
        if span is None:
            continue
        for sign, told, fact in change.facts(span):
            day = day_of(span.zone, quarter(fact.key.at))
            if day >= span.since:
                for key in _keys(span, told, fact, day):
                    totals[change.tenant, key].add(fact, sign)
                    if day < span.months_until:
                        months[change.tenant, key.of_month].add(fact, sign)
    ordered = sorted(totals.items())
    rows = [_row(tenant, key, row) for (tenant, key), row in ordered if not row.is_empty or row.longest_wait_ms]
    emptied = await _put_in_days(connection, rows)
    for (tenant, key), row in ordered:
        if row.lost_wait_ms > row.longest_wait_ms and (tenant, *key) not in emptied:
            await connection.execute(store.query("days", "lower_longest_wait"), tenant, *key)
    await _add_to_months(connection, sorted(months.items()))


async def _add_to_months(connection: asyncpg.Connection, ordered: Sequence[tuple[tuple[str, MonthKey], Row]]) -> None:
    none = dict.fromkeys(MEASURES, 0)
    rows = [
        {**none, **_row(tenant, key, row)} for (tenant, key), row in ordered if not row.is_empty or row.longest_wait_ms
    ]
    emptied = await _put_in_months(connection, "", date.max, date.max, rows)
    for (tenant, key), row in ordered:
        if row.lost_wait_ms > row.longest_wait_ms and (tenant, *key) not in emptied:
            await connection.execute(store.query("days", "lower_months_longest_wait"), tenant, *key)


async def _put_in_days(connection: asyncpg.Connection, rows: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    """Add differences to the days. Returns the keys of the rows that they emptied."""
    if not rows:
        return set()
    empty = await connection.fetch(store.query("days", "add"), encoding.to_json(rows))
    return await store.remove_emptied(connection, store.query("days", "remove_emptied"), empty)


async def _put_in_months(
    connection: asyncpg.Connection, tenant: str, first: date, after: date, rows: Sequence[Mapping[str, Any]] = ()
) -> set[tuple[Any, ...]]:
    """Add days of a tenant, and differences, to the months. Returns the keys of the rows that they emptied."""
    if not rows and first >= after:
        return set()
    query = store.query("days", "add_to_months")
    empty = await connection.fetch(query, tenant, first, after, encoding.to_json(rows))
    return await store.remove_emptied(connection, store.query("days", "remove_emptied_months"), empty)


def _keys(span: Span, told: Told, fact: Fact, day: date) -> Iterator[Key]:
    grain, _, *place = fact.key
    yield Key("", grain, day, told.source, "", *place)
    for field in span.fields:
        yield Key(field, grain, day, told.source, told.value(field), *place)


def _row(tenant: str, key: Key | MonthKey, row: Row) -> dict[str, Any]:
    sums = {name: value for name, value in row.measures.items() if value}
    return {"tenant": tenant, **key._asdict(), **sums, "longest_wait_ms": row.longest_wait_ms}


@lru_cache(maxsize=4096)
def day_of(zone: ZoneInfo, at: datetime) -> date:
    """The local day of a quarter of an hour: no zone changes its day within one."""
    return at.astimezone(zone).date()


# -- filling ---------------------------------------------------------------------------------------------


async def run(settings: config.Settings, dsn: str, health: Health) -> None:
    """Fill what is not complete and tell Grafana the shifts of each new day, until cancelled."""
    pool = await store.create_pool(dsn, role="days", size=1, lazy=True)
    told: date | None = None

    async def look() -> None:
        nonlocal told
        await fill(pool, settings)
        await sum_up(pool, datetime.now(UTC))
        if told != datetime.now(UTC).date():
            async with pool.acquire() as connection:
                await views.publish_shifts(connection, settings, datetime.now(UTC))
            told = datetime.now(UTC).date()

    try:
        await keep_going(Loop("days", LOOK_SECONDS, health), look)
    finally:
        await pool.close()


async def fill(pool: asyncpg.Pool, settings: config.Settings) -> int:
    """Begin the days of every tenant and fill them backwards. Returns how many days were filled."""
    known, filled = await spans(pool), 0
    for name, tenant in settings.tenants.items():
        span = known.get(name)
        if span is not None and span.is_of(tenant) and span.since == date.min:
            continue
        if span is not None and not span.is_of(tenant):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(store.query("days", "lock"))
                await connection.execute(store.query("days", "forget"), name)
            log.info("days.begin_again", tenant=name, reason="the zone or the fields of its reports have changed")
        await begin(pool, settings, [name])
        while await _fill_some(pool, name):
            filled += 1
    return filled


async def _fill_some(pool: asyncpg.Pool, tenant: str) -> bool:
    """Fill one more day; False once the days are complete."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("days", "lock"))
        span = (await spans(connection)).get(tenant)
        if span is None or span.since == date.min:
            return False
        row = await connection.fetchrow(store.query("days", "last_before"), tenant, instant(span.zone, span.since))
        if row["last_call"] is None:
            if _first_whole_day(span, row["first_call"], row["first_rollup"]) is None:
                await connection.execute(store.query("days", "complete_since"), tenant, date.min)
            return False
        first = min(span.since - _DAY, day_of(span.zone, quarter(row["last_call"])) + _CALL_DAYS)
        first = max(first, _first_whole_day(span, row["first_call"], row["first_rollup"]) or first)
        if first >= span.since:
            return False
        await connection.execute(store.query("days", "clear"), tenant, first, span.since)
        await connection.execute(store.query("days", "fill"), tenant, first, span.since)
        await _sum(connection, tenant, first, min(span.since, span.months_until))
        await connection.execute(store.query("days", "complete_since"), tenant, first)
        return True


def _first_whole_day(span: Span, first_call: datetime | None, first_rollup: datetime | None) -> date | None:
    """The first day all of whose calls are kept; None where every call is: no quarter of an hour is older."""
    if first_rollup is None or (first_call is not None and quarter(first_call) <= first_rollup):
        return None
    return date.max if first_call is None else day_of(span.zone, quarter(first_call)) + _CALL_DAYS + _DAY


# -- months ----------------------------------------------------------------------------------------------


async def sum_up(pool: asyncpg.Pool, now: datetime) -> int:
    """Add the days that are over to their months. Returns how many days that were."""
    summed = 0
    for tenant, known in (await spans(pool)).items():
        until = day_of(known.zone, quarter(now - _SETTLED))
        span: Span | None = known
        while span is not None and span.months_until < until:
            first, span = await _sum_some(pool, tenant, until)
            summed += (span.months_until - first).days if span is not None else 0
    return summed


async def _sum_some(pool: asyncpg.Pool, tenant: str, until: date) -> tuple[date, Span | None]:
    """Add some more days before *until*. Returns the first of them, and the days as they are then."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(store.query("days", "lock"))
        first = min(await connection.fetchval(store.query("days", "next_unsummed"), tenant) or until, until)
        after = min(first + _DAYS_AT_ONCE, until)
        await _sum(connection, tenant, first, after)
        await connection.execute(store.query("days", "months_until"), tenant, after)
        return first, (await spans(connection)).get(tenant)


async def _sum(connection: asyncpg.Connection, tenant: str, first: date, after: date) -> None:
    await _put_in_months(connection, tenant, first, after)


# -- forgetting in part ----------------------------------------------------------------------------------


async def forget_since(connection: asyncpg.Connection, horizon: datetime) -> None:
    """Before calls are forgotten that began at *horizon* or later: take what is known of them from its day, and all
    later days away. What older calls, which may not be kept any more, gave to that day stays."""
    await connection.execute(store.query("days", "lock"))
    for tenant, span in (await spans(connection)).items():
        day = _day_within(span, horizon)
        await connection.execute(store.query("days", "forget_months"), tenant, day)
        await _add_calls(connection, tenant, day, -1)
        await connection.execute(store.query("days", "clear"), tenant, day + _DAY, date.max)


async def fill_since(connection: asyncpg.Connection, horizon: datetime) -> None:
    """After calls were forgotten: give those days what the calls that are left have of them."""
    for tenant, span in (await spans(connection)).items():
        day = _day_within(span, horizon)
        await _add_calls(connection, tenant, day, 1)
        first = max(day + _DAY, span.since)
        await connection.execute(store.query("days", "fill"), tenant, first, max(first, day + _CALL_DAYS + _DAY))


def _day_within(span: Span, horizon: datetime) -> date:
    return day_of(span.zone, quarter(horizon))


async def _add_calls(connection: asyncpg.Connection, tenant: str, day: date, sign: int) -> None:
    """Add the sums of a day's calls that are there to it, or take them away."""
    rows = await connection.fetch(store.query("days", "sums"), tenant, day)
    changes = [
        {"tenant": tenant, **{name: row[name] for name in Key._fields},
         **{name: sign * row[name] for name in MEASURES}, "longest_wait_ms": row["longest_wait_ms"]}
        for row in rows
    ]  # fmt: skip
    await _put_in_days(connection, changes)


# -- checking --------------------------------------------------------------------------------------------


async def check(connection: asyncpg.Connection, kept: datetime | None = None) -> list[str]:
    """Rows of days that are not the sums over the calls: the doctor's findings. *kept*: since when calls are kept."""
    since = date.min if kept is None else kept.date() + _CALL_DAYS + _DAY
    findings = []
    for row in await connection.fetch(store.query("days", "months")):
        first, after = max(row["first"], since), row["after"]
        wrong = await connection.fetch(store.query("days", "differences"), row["tenant"], first, after)
        places = {" ".join(str(part) for part in tuple(found)[:11] if part) for found in wrong}
        findings += [f"day {place}: is not what its calls give" for place in sorted(places)]
    for tenant in await spans(connection):
        wrong = await connection.fetch(store.query("days", "month_differences"), tenant)
        places = {" ".join(str(part) for part in tuple(found)[:10] if part) for found in wrong}
        findings += [f"month {place}: is not what its days give" for place in sorted(places)]
    return findings
