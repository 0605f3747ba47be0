"""Keeps the table of agents' times: what the projector has changed, to quarters of an hour.

The projector only writes down which calls and agents it has touched. Here one worker at a time takes these, finds the
quarters that they reach into, and computes exactly those again from what was told; a late event costs its own quarters
and nothing else. A quarter is a function of the journal, so the order of arrival changes no number.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import orjson
import structlog

from callkpi import config
from callkpi.calls.facts import INTERVAL, quarter
from callkpi.calls.model import AGENT_STREAM, IMPLAUSIBLE_TIME, Outcome, StreamKey, agent_key
from callkpi.calls.plausible import Bounds
from callkpi.calls.rows import legs_from_json
from callkpi.database import encoding, store
from callkpi.database import errors as database_errors
from callkpi.people.presence import (
    MEASURES,
    QUARTER_MS,
    WRAP_REACH,
    Held,
    Lapse,
    Line,
    OnPhone,
    Span,
    Times,
    Told,
    clipped,
    from_ms,
    on_phone,
    quarter_of,
    sums,
    to_ms,
    together,
)
from callkpi.projection import isolation

log = structlog.get_logger()

#: The end of a leg that goes on.
OPEN_MS = 9_000_000_000_000_000
#: Rows of table agent_pending in one transaction: a batch of the projector each.
ROUND = 100
#: Quarters that are written ahead: the present one and the next.
AHEAD = 2 * INTERVAL
#: Quarters that are written further ahead than that stay: the clocks of two machines differ.
CLOCKS_DIFFER = timedelta(hours=1)
_REACH_MS = WRAP_REACH // timedelta(milliseconds=1)


class Id(NamedTuple):
    """One agent id of one source."""

    tenant: str
    source: str
    agent: str

    @property
    def stream(self) -> StreamKey:
        """Where his states are told."""
        return StreamKey(self.tenant, self.source, AGENT_STREAM + self.agent)


class _Run(NamedTuple):
    """Quarters of one agent that follow each other, [since, until) in milliseconds."""

    id: Id
    since: int
    until: int


LegRow = tuple[Any, ...]  #: tenant, source, call_id, n, agent_source, agent, queue, begin_ms, end_ms, spans


@dataclass(slots=True)
class _Dirty:
    """Which quarters have to be computed again: a stretch for everything that changed, however long it is."""

    limit: int
    stretches: dict[Id, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, who: Id, begin: int, end: int) -> None:
        first, until = begin - begin % QUARTER_MS, min(end + 1, self.limit)
        if first < until:
            self.stretches[who].append((first, until - until % -QUARTER_MS))

    def runs(self) -> list[_Run]:
        result: list[_Run] = []
        for who, stretches in sorted(self.stretches.items()):
            for since, until in sorted(stretches):
                if result and result[-1].id == who and since <= result[-1].until:
                    last = result.pop()
                    since, until = last.since, max(last.until, until)
                result.append(_Run(who, since, until))
        return result


async def settle(
    pool: asyncpg.Pool, settings: config.Settings, *, wait: bool = True, now: datetime | None = None
) -> int:
    """Compute the times of everything that has changed, and of the quarters that have begun. Returns how many changes.

    Where somebody else does that now, he is waited for, or not. A call or an agent whose times can't be computed is set
    aside; the others are computed.
    """
    total = 0
    while True:
        try:
            taken = await _round(pool, settings, wait, now)
        except Exception as error:
            if database_errors.is_passing(error):
                raise
            log.warning("timekeeping.round_failed", error=isolation.reason_of(error), exc_info=error)
            taken = await _round(pool, settings, wait, now, apart=True)
        total += taken
        if taken < ROUND:
            return total


async def _round(
    pool: asyncpg.Pool, settings: config.Settings, wait: bool, now: datetime | None, *, apart: bool = False
) -> int:
    """One round in one transaction; 0 where somebody else does it and is not waited for."""
    async with pool.acquire() as connection, connection.transaction():
        if wait:
            await connection.execute(store.query("agents", "lock"))
        elif not await connection.fetchval(store.query("agents", "try_lock")):
            return 0
        return await _Settling(connection, settings).round(now or datetime.now(UTC), apart=apart)


class _Change(NamedTuple):
    """What has to be computed again: calls, agents of whom something was told, agents of whom something goes on."""

    calls: Sequence[tuple[str, str, str]] = ()
    agents: Sequence[tuple[Id, datetime, datetime]] = ()
    present: Sequence[Id] = ()

    def apart(self) -> Iterator[tuple[StreamKey, _Change]]:
        """Each of them alone, and the stream that it is."""
        for call in self.calls:
            yield StreamKey(*call), _Change(calls=(call,))
        for told in self.agents:
            yield told[0].stream, _Change(agents=(told,))
        for who in self.present:
            yield who.stream, _Change(present=(who,))


class _Settling:
    """One round, in one transaction."""

    def __init__(self, connection: asyncpg.Connection, settings: config.Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._lapses = {name: Lapse.of(tenant) for name, tenant in settings.tenants.items()}

    async def round(self, now: datetime, *, apart: bool = False) -> int:
        """*apart*: each change for itself, so that one that fails is found."""
        pending = await self._connection.fetch(store.query("agents", "take_pending"), ROUND)
        known = await self._connection.fetchval(store.query("agents", "horizon"))
        horizon = await self._horizon(now, known)
        if not pending and horizon == known:
            return 0
        present = []
        if known is not None and horizon > known:
            present = [Id(*row) for row in await self._fetch("present_at", known - INTERVAL, to_ms(known))]
        change = _Change(_calls(pending), _agents(pending), present)
        span = (known or horizon, horizon)
        if apart:
            await self._settle_apart(change, span)
        else:
            await self._settle(change, span)
            await self._settled(pending)
        if horizon != known:
            await self._connection.execute(store.query("agents", "set_horizon"), horizon)
        return len(pending)

    async def _settle_apart(self, change: _Change, span: tuple[datetime, datetime]) -> None:
        """Compute each change in a savepoint of its own; what fails is set aside and tried again later."""
        failed: dict[StreamKey, str] = {}
        for stream, alone in change.apart():
            try:
                async with self._connection.transaction():
                    await self._settle(alone, span)
                    await isolation.forget(self._connection, isolation.TIMES, [stream])
            except Exception as error:
                if database_errors.is_passing(error):
                    raise
                failed[stream] = isolation.reason_of(error)
                log.error("timekeeping.set_aside", source=stream.source, call_id=stream.call_id[:100],
                          reason=failed[stream])  # fmt: skip
        reach = {who.stream: (first, last) for who, first, last in change.agents}
        spans = {stream: reach.get(stream, span) for stream in failed}
        await isolation.put(self._connection, isolation.TIMES, spans, failed)

    async def _settled(self, pending: Sequence[asyncpg.Record]) -> None:
        """What was set aside and could be computed now stands aside no more."""
        if any(row["some_aside"] for row in pending):
            streams = {StreamKey(*call) for call in _calls(pending)} | {who.stream for who, _, _ in _agents(pending)}
            await isolation.forget(self._connection, isolation.TIMES, streams)

    async def _settle(self, change: _Change, span: tuple[datetime, datetime]) -> None:
        """Compute the quarters that a change reaches into; *span*: up to when they were written, and are now."""
        known, horizon = span
        dirty = _Dirty(to_ms(horizon))
        await self._take_calls(dirty, change.calls)
        await self._take_agents(dirty, change.agents)
        for who in change.present:
            dirty.add(who, to_ms(known), to_ms(known) + self._reach(who.tenant))
        runs = dirty.runs()
        for run in await self._write(runs):
            # The after-call work of a queue reaches beyond the legs that made these quarters dirty.
            dirty.add(run.id, run.until, run.until + _REACH_MS - 1)
        await self._write([run for run in dirty.runs() if run not in set(runs)])

    async def _horizon(self, now: datetime, known: datetime | None) -> datetime:
        """Up to when quarters are written. A clock that was ahead takes nothing with it when it comes back."""
        wanted = quarter(now) + AHEAD
        if known is None or known <= wanted:
            return wanted
        if known - wanted <= CLOCKS_DIFFER:
            return known
        await self._execute("forget_quarters", wanted)
        return wanted

    def lapse(self, tenant: str) -> Lapse:
        return self._lapses.get(tenant) or Lapse.of(config.Tenant())

    def longest(self, tenant: str) -> int:
        """How long one leg can be, in milliseconds."""
        return Bounds.of(self._settings.tenants.get(tenant) or config.Tenant()).longest_ms

    def _lapse_ms(self, tenant: str) -> int:
        return self.lapse(tenant).longest // timedelta(milliseconds=1)

    def _reach(self, tenant: str) -> int:
        """How long it can go on what somebody does, where nothing more is told."""
        return max(self.longest(tenant), self._lapse_ms(tenant))

    async def _take_agents(self, dirty: _Dirty, agents: Sequence[tuple[Id, datetime, datetime]]) -> None:
        """What a state changes: the quarters from it on for as long as it can hold, not those between two states."""
        if not agents:
            return
        columns = [[*part] for part in zip(*((*who, first, last) for who, first, last in agents), strict=True)]
        for row in await self._fetch("quarters_told", *columns):
            who, at = Id(row["tenant"], row["source"], row["agent"]), to_ms(row["at"])
            dirty.add(who, at, at + QUARTER_MS + self._lapse_ms(who.tenant))

    async def _take_calls(self, dirty: _Dirty, keys: Sequence[tuple[str, str, str]]) -> None:
        """Bring the legs of calls up to date; the quarters of those that changed are dirty."""
        if not keys:
            return
        columns = [list(column) for column in zip(*keys, strict=True)]
        old = {tuple(row.values())[:4]: tuple(row.values()) for row in await self._fetch("legs", *columns)}
        new = {row[:4]: row for call in await self._fetch("calls", *columns) for row in leg_rows(call)}
        gone = sorted(old.keys() - new.keys())
        come = [row for key, row in sorted(new.items()) if old.get(key) != row]
        for row in (*(old[key] for key in gone), *come, *(old[row[:4]] for row in come if row[:4] in old)):
            dirty.add(Id(row[0], row[4], row[5]), row[7], min(row[8], row[7] + self.longest(row[0])))
        if gone:
            await self._execute("delete_legs", *_columns(gone))
        if come:
            await self._execute("write_legs", *_columns(come))

    async def _write(self, runs: Sequence[_Run]) -> list[_Run]:
        """Compute quarters and write those that changed. Returns the runs in which a queue gives after-call work."""
        if not runs:
            return []
        told = await self._told(runs)
        columns = [[*part] for part in zip(*(run.id for run in runs), strict=True)]
        spans = [[from_ms(run.since) for run in runs], [from_ms(run.until) for run in runs]]
        stored: dict[_Place, dict[int, Any]] = defaultdict(dict)
        for row in await self._fetch("quarters_between", *columns, *spans):
            stored[_place(row)][to_ms(row["at"])] = row
        gone, come, wrapping = [], [], []
        for run in runs:
            place = (run.id, run.since)
            known = stored.get(place, {})
            first = known.get(run.since - QUARTER_MS)
            before = _held(first["held"]) if first is not None else {}
            facts = told.get(place, _NOTHING)
            if any(h.wrap for h in before.values()) or any(t.wrap for states in facts.told.values() for t in states):
                wrapping.append(run)
            for at, row in quarters(run.since, run.until, before, facts, self.lapse(run.id.tenant), known):
                was = known.get(at)
                if row is None:
                    gone += [(*run.id, from_ms(at))] if was is not None else []
                elif was is None or (was["spans"], was["held"]) != (row["spans"], row["held"]):
                    come.append({**run.id._asdict(), "at": from_ms(at), **row})
        if gone:
            await self._execute("delete_quarters", *_columns(gone))
        if come:
            raw = [{**row, **{name: orjson.loads(row[name]) for name in _JSON}} for row in come]
            await self._execute("write_quarters", encoding.to_json(raw))
        return wrapping

    async def differences(self, run: _Run) -> list[str]:
        """Stored quarters of a run that are not what is told."""
        columns = [[part] for part in run.id]
        spans = [[from_ms(run.since)], [from_ms(run.until)]]
        stored = {to_ms(row["at"]): row for row in await self._fetch("quarters_between", *columns, *spans)}
        told = (await self._told([run])).get((run.id, run.since), _NOTHING)
        findings, first = [], stored.pop(run.since - QUARTER_MS, None)
        before = _held(first["held"]) if first is not None else {}
        for at, row in quarters(run.since, run.until, before, told, self.lapse(run.id.tenant), list(stored)):
            was = stored.pop(at, None)
            wrong = was is not None if row is None else was is None or any(was[name] != row[name] for name in row)
            if wrong:
                findings.append(f"time in state of {agent_key(*run.id[1:])} at {from_ms(at)}: is not what was told")
        return findings + [f"time in state of {agent_key(*run.id[1:])} at {from_ms(at)}: is nobody's" for at in stored]

    async def _told(self, runs: Sequence[_Run]) -> Mapping[_Place, Material]:
        columns = [[*part] for part in zip(*(run.id for run in runs), strict=True)]
        since = [from_ms(run.since) for run in runs]
        states = await self._fetch("states_between", *columns, since, [from_ms(run.until) for run in runs])
        legs = await self._fetch(
            "legs_between", *columns, since, [run.since - _REACH_MS for run in runs], [run.until for run in runs]
        )
        return material(states, legs, self.longest)

    async def _fetch(self, name: str, *arguments: Any) -> list[asyncpg.Record]:
        return list(await self._connection.fetch(store.query("agents", name), *arguments))

    async def _execute(self, name: str, *arguments: Any) -> None:
        await self._connection.execute(store.query("agents", name), *arguments)


_Place = tuple[Id, int]  #: an agent and the begin of a run
_JSON = ("paused", "spans", "held")


@dataclass(slots=True)
class Material:
    """What the quarters of one run are computed from."""

    told: dict[int, list[Told]] = field(default_factory=lambda: defaultdict(list))  #: by quarter
    lines: list[Line] = field(default_factory=list)


_NOTHING = Material()


def material(
    states: Iterable[Mapping[str, Any]], legs: Iterable[Mapping[str, Any]], longest: Callable[[str], int]
) -> dict[_Place, Material]:
    """Rows of the store by agent and run. *longest*: how long a leg of a tenant can be."""
    result: dict[_Place, Material] = defaultdict(Material)
    for row in states:
        at = to_ms(row["at"])
        event = Told(at, row["event_id"], row["queue"], row["state"], row["reason"], row["wrap"])
        result[_place(row)].told[at - at % QUARTER_MS].append(event)
    for row in legs:
        spans = (OnPhone(begin, end, state) for begin, end, state in orjson.loads(row["spans"]))
        line = Line(row["queue"], tuple(spans))
        result[_place(row)].lines.append(line.until(line.begin + longest(row["tenant"])))
    return result


def quarters(
    since: int, until: int, before: Mapping[str, Held], told: Material, lapse: Lapse, stored: Iterable[int] = ()
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The quarters of one run as rows, those in which something was, and those that are *stored*; None is nothing.

    Stretches in which nothing is are passed over in one step, however long they are.
    """
    coming = deque(sorted(told.lines, key=lambda line: line.begin))
    marks = deque(sorted({*told.told, *(at for at in stored if at >= since)}))
    going, held, at = list[Line](), dict(before), since
    while at < until:
        while coming and coming[0].begin < at + QUARTER_MS:
            going.append(coming.popleft())
        going = [line for line in going if line.end is None or line.end + _REACH_MS > at]
        while marks and marks[0] <= at:
            marks.popleft()
        states = told.told.get(at, [])
        if held or going or states:
            spans, held = quarter_of(at, held, states, going, lapse)
            yield at, _row(spans, held) if spans or held else None
        else:
            yield at, None
        at += QUARTER_MS
        if not (held or going):
            begins = coming[0].begin - coming[0].begin % QUARTER_MS if coming else until
            at = max(at, min(begins, marks[0] if marks else until))


def _row(spans: Sequence[Span], held: Mapping[str, Held]) -> dict[str, Any]:
    totals, reasons = sums(spans)
    return {
        **{name: totals[name] for name in MEASURES},
        "paused": encoding.to_json(dict(sorted(reasons.items()))),
        "spans": encoding.to_json([list(span) for span in spans]),
        "held": encoding.to_json({queue: list(told) for queue, told in held.items()}),
    }


def leg_rows(row: Mapping[str, Any]) -> list[LegRow]:
    """The rows of table agent_legs of one call; none where nobody knows when it was."""
    if IMPLAUSIBLE_TIME in orjson.loads(row["flags"]):
        return []
    over = None if row["outcome"] == Outcome.OPEN else row["last_event_at"]
    rows: list[LegRow] = []
    for n, leg in enumerate(legs_from_json(row["legs"])):
        spans = on_phone(leg, over) if leg.agent else []
        if spans:
            begin, end = spans[0].begin, spans[-1].end
            who = (leg.agent_source or row["source"], leg.agent)
            place = (row["tenant"], row["source"], row["call_id"], n, *who, leg.queue)
            rows.append((*place, begin, OPEN_MS if end is None else end, encoding.to_json([*map(list, spans)])))
    return rows


def _calls(pending: Iterable[Any]) -> list[tuple[str, str, str]]:
    keys = {key for row in pending for key in zip(row["tenants"], row["sources"], row["call_ids"], strict=True)}
    return sorted(key for key in keys if not key[2].startswith(AGENT_STREAM))


def _agents(pending: Iterable[Any]) -> list[tuple[Id, datetime, datetime]]:
    columns = ("tenants", "sources", "call_ids", "first_at", "last_at")
    return [
        (Id(tenant, source, call_id.removeprefix(AGENT_STREAM)), first, last)
        for row in pending
        for tenant, source, call_id, first, last in zip(*(row[name] for name in columns), strict=True)
        if call_id.startswith(AGENT_STREAM)
    ]


def _place(row: Mapping[str, Any]) -> _Place:
    return Id(row["tenant"], row["source"], row["agent"]), to_ms(row["since"])


def _held(text: str) -> dict[str, Held]:
    return {queue: Held(*told) for queue, told in orjson.loads(text).items()}


def _columns(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


# -- checking ---------------------------------------------------------------------------------------------


async def unsettled(connection: asyncpg.Connection) -> frozenset[tuple[str, str, str]]:
    """Calls and agents whose times wait to be computed: nobody can say yet whether they are right."""
    rows = await connection.fetch(store.query("agents", "pending_keys"))
    return frozenset((row["tenant"], row["source"], row["call_id"]) for row in rows)


async def check(connection: asyncpg.Connection, settings: config.Settings, kept: datetime | None = None) -> list[str]:
    """Quarters that are not what the journal and the legs give, since when events are *kept*."""
    horizon = await connection.fetchval(store.query("agents", "horizon"))
    if horizon is None:
        return []
    settling, findings = _Settling(connection, settings), []
    for row in await connection.fetch(store.query("agents", "ids")):
        who = Id(row["tenant"], row["source"], row["agent"])
        first = await connection.fetchval(store.query("agents", "first_of"), *who)
        if first is not None:
            since = max(first, to_ms(kept) if kept is not None else first) // QUARTER_MS * QUARTER_MS
            findings += await settling.differences(_Run(who, since, max(to_ms(horizon), since)))
    return findings


async def check_legs(connection: asyncpg.Connection, key: tuple[str, str, str]) -> str:
    """What is wrong with the stored legs of a call; "" is nothing."""
    columns = [[part] for part in key]
    stored = sorted(tuple(row.values()) for row in await connection.fetch(store.query("agents", "legs"), *columns))
    told = [leg for row in await connection.fetch(store.query("agents", "calls"), *columns) for leg in leg_rows(row)]
    return "" if stored == told else f"call {key[1]}/{key[2]}: its legs are stored otherwise"


# -- reading ----------------------------------------------------------------------------------------------

Label = Callable[[str], str]
#: One agent id of one source, within a tenant.
_Of = tuple[str, str]


async def people(
    db: asyncpg.Pool | asyncpg.Connection,
    tenant: str,
    window: tuple[datetime, datetime],
    label: Label,
    ringing: config.RingingCounts,
) -> dict[str, tuple[list[str], Times]]:
    """Time in state in a window that is over, by the label of agents' keys: ids with one label are one person.

    Whole quarters are sums, where a person has one id; the edges, and several ids, are laid out span by span.
    """
    begin, end = window
    if end <= begin:
        return {}
    first = quarter(begin) + (INTERVAL if quarter(begin) < begin else timedelta(0))
    inner = (first, max(quarter(end), first))
    edges = sorted({quarter(at) for at in (begin, end) if quarter(at) < at})
    totals: dict[_Of, Counter[str]] = {}
    reasons: dict[_Of, Counter[str]] = defaultdict(Counter)
    layers: dict[datetime, dict[_Of, list[Span]]] = defaultdict(dict)
    for row in await db.fetch(store.query("agents", "sums"), tenant, *inner):
        totals[row["source"], row["agent"]] = Counter({name: row[name] for name in MEASURES})
    for row in await db.fetch(store.query("agents", "reasons"), tenant, *inner):
        reasons[row["source"], row["agent"]][row["reason"]] += row["ms"]
    for row in await db.fetch(store.query("agents", "spans_at"), tenant, edges):
        since, until = (to_ms(at) - to_ms(row["at"]) for at in (begin, end))
        layers[row["at"]][row["source"], row["agent"]] = clipped(_spans(row["spans"]), since, until)
    known: dict[str, list[_Of]] = defaultdict(list)
    for who in sorted({*totals, *(who for spans in layers.values() for who in spans)}):
        known[label(agent_key(*who))].append(who)
    several = [who for ids in known.values() if len(ids) > 1 for who in ids]
    for row in await _spans_of(db, tenant, several, inner):
        layers[row["at"]][row["source"], row["agent"]] = _spans(row["spans"])
    result = {}
    for name, ids in known.items():
        whole, by_reason = Counter[str](), Counter[str]()
        if len(ids) == 1:
            whole.update(totals.get(ids[0], {}))
            by_reason.update(reasons.get(ids[0], {}))
        for spans in layers.values():
            more, paused = sums(together([spans[who] for who in ids if who in spans]))
            whole.update(more)
            by_reason.update(paused)
        if any(whole.values()):
            length = to_ms(end) - to_ms(begin) if whole["logged_in_ms"] else 0
            result[name] = [agent_key(*who) for who in ids], Times(whole, by_reason, length, ringing)
    return result


class Stretches(NamedTuple):
    """When an agent was at work, in order: [begin, end) in milliseconds since 1970."""

    logged_in: list[tuple[int, int]]  #: as his source says
    on_phone: list[tuple[int, int]]  #: talk, hold and after-call work while it does not say so


async def stretches_between(
    db: asyncpg.Pool | asyncpg.Connection, tenant: str, begin: datetime, end: datetime
) -> dict[str, Stretches]:
    """What every agent did in the quarters of [begin, end), by key."""
    found: dict[str, Stretches] = {}
    for row in await db.fetch(store.query("agents", "spans_between"), tenant, quarter(begin), end):
        of = found.setdefault(agent_key(row["source"], row["agent"]), Stretches([], []))
        at = to_ms(row["at"])
        for since, until, base, phone, _ in orjson.loads(row["spans"]):
            if base or phone != "ringing":
                known = of.logged_in if base else of.on_phone
                first = known.pop()[0] if known and known[-1][1] == at + since else at + since
                known.append((first, at + until))
    return found


async def telling(
    db: asyncpg.Pool | asyncpg.Connection, tenant: str, begin: datetime, end: datetime, *, journal: bool
) -> frozenset[str]:
    """Sources that tell who is logged in and that spoke in [begin, end): of these silence is an answer.

    Where the *journal* of that time is no longer kept, a source spoke if anything is known of its agents.
    """
    rows = await db.fetch(store.query("agents", "telling"), tenant, begin, end, journal)
    return frozenset(row["source"] for row in rows)


async def _spans_of(
    db: asyncpg.Pool | asyncpg.Connection, tenant: str, several: Sequence[_Of], inner: tuple[datetime, datetime]
) -> Sequence[asyncpg.Record]:
    if not several or inner[0] >= inner[1]:
        return []
    columns = [[source for source, _ in several], [agent for _, agent in several]]
    return list(await db.fetch(store.query("agents", "spans_of"), tenant, *columns, *inner))


def _spans(text: str) -> list[Span]:
    return [Span(*span) for span in orjson.loads(text)]
