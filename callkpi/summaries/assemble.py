"""Makes a summary of what the store holds: one snapshot, one definition of every figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calendar import business, periods, slots
from callkpi.calendar.periods import Period
from callkpi.calendar.shifts import Shift
from callkpi.calendar.steps import steps
from callkpi.calls.facts import Grain
from callkpi.calls.fold import Thresholds
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Call, Direction, Fate, Outcome
from callkpi.calls.rows import call_from_body
from callkpi.config.teams import team_names
from callkpi.database import store
from callkpi.figures import goals, sums
from callkpi.figures.behind import Window, facts_in, kept_since, missed_in, missed_of_open
from callkpi.figures.hearing import silence_limit
from callkpi.figures.kpis import Query, Reports, is_meant
from callkpi.glossary import COUNTED_KPIS, FATES
from callkpi.missed.judging import judged, written_off_before
from callkpi.missed.work import HIDDEN, item_of
from callkpi.people import adherence
from callkpi.people.names import Names
from callkpi.people.presence import Times
from callkpi.projection.timekeeping import settle
from callkpi.summaries import attendance, outages, silences, teams
from callkpi.summaries.summary import (
    CALLS,
    ENTRIES,
    HANDLES,
    Adherence,
    AgentLine,
    Before,
    CallBack,
    Counted,
    Doubt,
    Goal,
    HandOver,
    Interval,
    Note,
    OpenCall,
    Peak,
    QueueLine,
    Reason,
    Span,
    State,
    Summary,
)

#: The longest period of which single calls are read: for who waited at once, and which calls changed a figure.
BY_CALL = timedelta(days=2, hours=2)
#: The longest period of which single events are read: for silences and late ones.
BY_EVENT = timedelta(days=8)
#: An event that comes so much later than it happened is late.
LATE = timedelta(minutes=5)
#: How many calls a note names.
NAMED_CALLS = 20
#: The outcomes that are missed, in the order in which they are told, by their figures' names.
REASONS = (
    "abandoned", "short_abandoned", "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected", "failed",
)  # fmt: skip
_SETTLED = {
    Fate.REACHED: State.REACHED, Fate.SELF_SERVED: State.SELF_SERVED, Fate.WRITTEN_OFF: State.WRITTEN_OFF,
}  # fmt: skip


async def summarise(
    pool: asyncpg.Pool, settings: config.Settings, names: Names, shift: Shift, as_of: datetime | None = None
) -> Summary:
    """The summary of a *shift* as it stands now (*as_of*), beside the last shift of that name."""
    return await summarise_period(pool, settings, names, shift.tenant, periods.of_shift(shift), as_of)


async def summarise_period(
    pool: asyncpg.Pool,
    settings: config.Settings,
    names: Names,
    tenant: str,
    period: Period,
    as_of: datetime | None = None,
    against: str = "previous",
    *,
    ledger: bool = True,
) -> Summary:
    """The summary of any *period* from one snapshot of the store, beside the comparable one.

    A period that goes on is compared with as much of the other. *as_of* is the time of reading: what waits, waits until
    then. Without its *ledger* it can't be corrected call by call, and is read faster. Raises BadPeriod where *against*
    makes no sense.
    """
    at = as_of or datetime.now(UTC)
    own = settings.tenants[tenant]
    period = replace(period, until=max(period.begin, min(period.end, at)))
    before = periods.comparable(own, period, against)
    await settle(pool, settings)
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await sums.plan(connection)
        await names.refresh(connection)
        kept = await kept_since(connection)
        assembly = _Assembly(connection, settings, names, tenant, span_of(own, period), at, kept, ledger)
        return await assembly.summary(before)


def span_of(own: config.Tenant, period: Period) -> Span:
    """A period as a summary tells it."""
    shift, local = period.shift, period.begin.astimezone(own.zone)
    queues = [own.queues[id].name or id if id in own.queues else id for id in (shift.queues if shift else ())]
    return Span(
        kind=period.kind, id=shift.id if shift else period.kind, name=shift.name if shift else period.name,
        text=period.text, day=shift.day.isoformat() if shift else local.date().isoformat(), begin=period.begin,
        end=period.end, timezone=own.timezone, queues=tuple(dict.fromkeys(queues)), team=shift.team if shift else "",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Assembly:
    db: asyncpg.Connection
    settings: config.Settings
    names: Names
    tenant: str
    period: Span
    as_of: datetime
    kept: Mapping[str, datetime]  #: since when calls and the journal are
    with_ledger: bool = True

    # -- what is asked ---------------------------------------------------------------------------------
    @property
    def own(self) -> config.Tenant:
        return self.settings.tenants[self.tenant]

    @property
    def only(self) -> dict[str, str | tuple[str, ...]]:
        return {"queue": self.period.queues} if self.period.queues else {}

    @property
    def told_until(self) -> datetime:
        """The end of the period, or now where it goes on."""
        return min(self.period.end, self.as_of)

    @property
    def reads_calls(self) -> bool:
        return self._has("calls") and self.period.end - self.period.begin <= BY_CALL

    @property
    def reads_events(self) -> bool:
        return self._has("journal") and self.period.end - self.period.begin <= BY_EVENT

    def _has(self, what: str) -> bool:
        return what not in self.kept or self.kept[what] <= self.period.begin

    def query(self, by: str, **more: str) -> Query:
        return Query(self.tenant, self.period.begin, self.period.end, by, {**self.only, **more}, self.as_of)

    def queue(self, name: str) -> str:
        return self.names.show(self.tenant, "queue", name)

    def agent(self, name: str) -> str:
        return self.names.show(self.tenant, "agent", name)

    @property
    def _queue_ids(self) -> list[str] | None:
        """The queues that the period is about, by all their ids; None: all."""
        return [id for name in self.period.queues for id in self.names.ids(self.tenant, "queue", name)] or None

    def is_meant(self, queue: str) -> bool:
        return not self.only or is_meant(self.names, self.query("queue"), {"queue": queue})

    # -- the whole -------------------------------------------------------------------------------------
    async def summary(self, before: Period | None) -> Summary:
        if self.period.team:
            return await self._of_team(before)
        reports = Reports(self.db, self.settings, self.names)
        headline = await reports.figures(self.query("direction"))
        figures = headline["total"]
        queues = (await reports.figures(self.query("queue")))["rows"]
        answer, by_queue = await reports.of_agents(self.query("agent"))
        agents = answer["rows"]
        intervals = await self._intervals()
        callbacks = await self._callbacks()
        return Summary(
            tenant=self.tenant,
            period=self.period,
            as_of=self.as_of,
            counts=ENTRIES if self.only else CALLS,
            figures=figures,
            fates={name: sum(row.get(name, 0) for row in headline["rows"]) for name in FATES},
            reasons=_reasons(figures),
            intervals=tuple(intervals),
            busiest=_busiest(intervals),
            most_waiting=await self._most_waiting() if self.reads_calls else None,
            queues=tuple(self._queue_line(row) for row in queues),
            agents=tuple(_agent_lines(agents, by_queue, [row["queue"] for row in queues])),
            callbacks=callbacks,
            handover=await self._handover(),
            notes=tuple([note async for note in self._notes(figures, callbacks)]),
            before=await self._before(reports, before),
            goals=self._goals(figures, queues, agents),
            service_level_seconds=self._service_level_seconds(("", *self.own.queues)),
            service_level_formula=self.own.service_level_formula.value,
            adherence=await self._adherence([row["agent"] for row in agents]),
            ledger=await self._ledger() if self.reads_calls and self.with_ledger else None,
        )

    async def _of_team(self, before: Period | None) -> Summary:
        """A shift about a team: what its people did; and what came into the shift's queues where it names some."""
        reports = Reports(self.db, self.settings, self.names)
        team = teams.Team(self.names, self.tenant, self.period, self.as_of)
        people = await teams.people(reports, team)
        entries = await reports.figures(self.query("queue")) if self.only else {"rows": [], "total": {}}
        intervals = await self._intervals() if self.only else []
        callbacks = await self._callbacks() if self.only else ()
        handover = await self._handover() if self.only else await self._handover_of(team)
        doubts = entries["total"] or await teams.without_end(self.db, team)
        formula = self.own.service_level_formula
        return Summary(
            tenant=self.tenant,
            period=self.period,
            as_of=self.as_of,
            counts=HANDLES,
            figures=people.figures,
            fates={name: sum(row[name] for row in entries["rows"]) for name in FATES} if self.only else {},
            reasons=_reasons(entries["total"]) if self.only else (),
            intervals=tuple(intervals),
            busiest=_busiest(intervals),
            most_waiting=await self._most_waiting() if self.only and self.reads_calls else None,
            queues=tuple(self._queue_line(row) for row in entries["rows"]),
            agents=tuple(_agent_line(row, people.answered.get(row["agent"], {})) for row in people.rows),
            callbacks=callbacks,
            handover=handover,
            notes=tuple([note async for note in self._notes(doubts, callbacks)]),
            before=await self._before(reports, before, team),
            goals=self._goals(people.figures, entries["rows"], people.rows),
            service_level_seconds=self._service_level_seconds(("", *self.own.queues)) if self.only else None,
            service_level_formula=formula.value,
            adherence=await self._adherence([row["agent"] for row in people.rows]),
            ledger=await self._ledger(team) if self.reads_calls and self.with_ledger else None,
            team=await teams.work(self.db, self.own, team, people, entries["total"] or None, _agent_line),
        )

    async def _handover_of(self, team: teams.Team) -> HandOver:
        """What a team leaves: its calls that went on. No customer waits for a team."""
        at = self.told_until
        calls = await self._calls_at(at)
        open_calls = [self._open_call(call, at) for call in calls if self._went_on(call, at) and team.holds(call, at)]
        return HandOver(
            waiting_customers=None, of_this_period=None, oldest_missed_at=None, still_waiting=None,
            open_calls=tuple(open_calls),
        )  # fmt: skip

    async def _before(self, reports: Reports, before: Period | None, team: teams.Team | None = None) -> Before | None:
        """The comparable period, up to the point that this one has come to."""
        if before is None:
            return None
        span = replace(span_of(self.own, before), end=before.until)
        if span.begin >= span.end:
            return None
        query = Query(self.tenant, span.begin, span.end, "direction", team.only if team else self.only, self.as_of)
        total = (await reports.figures(query))["total"]
        return Before(period=span, figures=teams.of_handles(total) if team else total)

    def _goals(
        self, figures: Mapping[str, Any], queues: Sequence[Mapping[str, Any]], agents: Sequence[Mapping[str, Any]]
    ) -> tuple[Goal, ...]:
        """The goals of the whole, of each queue and of each agent, as the settings have them."""
        limits = goals.scope_of_shift(self._limits)
        whole: dict[str, tuple[str, ...]] = {}
        for kind, told in limits.items():
            whole |= self._scope(kind, *told)
        found = [self._goal(goal, figures) for goal in self._wanted(whole, of_whole_shift=bool(limits))]
        for kind, rows in (("queue", queues), ("agent", agents)):
            for row in rows:
                wanted = self._wanted(self._scope(kind, row[kind]))
                found += [self._goal(goal, row, **{kind: row[kind]}) for goal in wanted]
        return tuple(found)

    @property
    def _limits(self) -> dict[str, tuple[str, ...]]:
        told = {"queue": self.period.queues, "team": (self.period.team,) if self.period.team else ()}
        return {name: values for name, values in told.items() if values}

    def _scope(self, kind: str, *told: str) -> dict[str, tuple[str, ...]]:
        """One or more of a kind by all that they are called."""
        if kind == "team":
            return {kind: tuple(name for each in told for name in team_names(self.own, each))}
        return {kind: tuple(name for each in told for name in self.names.called(self.tenant, kind, each))}

    def _wanted(self, scope: Mapping[str, tuple[str, ...]], *, of_whole_shift: bool = False) -> list[config.Goal]:
        period = self.period
        shift = period.id if period.kind == "shift" else ""
        subject = goals.Subject(period.kind, date.fromisoformat(period.day), shift, scope, None, of_whole_shift)
        return [goal for _, goal in goals.of(self.own, subject)]

    def _goal(self, goal: config.Goal, figures: Mapping[str, Any], queue: str = "", agent: str = "") -> Goal:
        at_least = goal.direction is config.GoalDirection.AT_LEAST
        value = figures.get(goal.kpi)
        return Goal(
            figure=goal.kpi, queue=queue, agent=agent, target=goal.target, at_least=at_least, value=value,
            is_growing=goal.kpi in COUNTED_KPIS and self.as_of < self.period.end,
        )  # fmt: skip

    # -- queues and agents -----------------------------------------------------------------------------
    def _service_level_seconds(self, ids: Iterable[str]) -> float | None:
        """The T that all of these share ("" of calls without a queue); None where they don't."""
        limits = Thresholds(self.own)
        found = {limits.service_level_ms(name) for name in ids}
        return found.pop() / 1000 if len(found) == 1 else None

    def _queue_line(self, row: Mapping[str, Any]) -> QueueLine:
        name = row["queue"]
        figures = {key: value for key, value in row.items() if key != "queue"}
        ids = self.names.ids(self.tenant, "queue", name)
        known = [id for id in ids if id in self.own.queues] or [name]
        return QueueLine(queue=name, figures=figures, service_level_seconds=self._service_level_seconds(known))

    async def _adherence(self, helped: Sequence[str]) -> Adherence | None:
        """Planned time beside time at work, where a roster covers the period."""
        period = self.period
        called = (period.id, period.name) if period.kind == "shift" else ()
        whose = attendance.Whose(self.tenant, called, period.team, bool(self.only), helped)
        window = adherence.Window(begin=period.begin, end=period.end, now=self.as_of)
        found = await attendance.of(self.db, self.settings, self.names, whose, window, journal=self._has("journal"))
        if found is None:
            return None
        return attendance.summed(*found, steps(period.begin, period.end, self.own.zone))

    # -- over time -------------------------------------------------------------------------------------
    async def _intervals(self) -> list[Interval]:
        period, grain = self.period, Grain.ENTRY if self.only else Grain.CALL
        bounds = steps(period.begin, period.end, self.own.zone)
        asked = sums.Asked(self.tenant, grain, ["queue"] if self.only else [])
        spans = [slots.Span(*bound, number) for number, bound in enumerate(bounds, 1)]
        found = [Figures() for _ in bounds]
        for row in await sums.read(self.db, self.own, asked, spans):
            if self.is_meant(row["queue"]):
                found[row["slot"] - 1].add(row["outcome"], row, row["longest_wait_ms"])
        return [self._interval(*bound, figures) for bound, figures in zip(bounds, found, strict=True)]

    def _interval(self, begin: datetime, end: datetime, figures: Figures) -> Interval:
        return Interval(
            begin=begin, end=end, offered=figures.sums["offered"], answered=figures.sums["answered"],
            missed=figures.sums["missed"], open=figures.outcomes[Outcome.OPEN],
            service_level=figures.service_level(self.own.service_level_formula),
            asa_seconds=figures.asa_seconds, longest_wait_seconds=figures.longest_wait_ms / 1000,
        )  # fmt: skip

    async def _ledger(self, team: teams.Team | None = None) -> tuple[Counted, ...]:
        counted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        window = Window(self.period.begin, self.period.end)
        for row, fact in await facts_in(self.db, self.tenant, window, lambda row, fact: (row, fact)):
            if self.only and not (fact.key.queue and self.is_meant(fact.key.queue)):
                continue
            if team is not None and not team.is_told(fact):
                continue
            raw = fact.to_json()
            shown = {"queue": self.queue(fact.key.queue), "agent": self.agent(fact.key.agent)}
            counted[f"{row['source']}/{row['call_id']}"].append(
                {**raw, **shown, "at": fact.key.at.isoformat(), "m": dict(fact.measures)}
            )
        return tuple(Counted(call=call, facts=tuple(facts)) for call, facts in sorted(counted.items()))

    async def _most_waiting(self) -> Peak | None:
        """The first moment at which most callers waited at once."""
        window = (self.period.begin, self.told_until)
        row = await self.db.fetchrow(store.query("summary", "most_waiting"), self.tenant, *window, self._queue_ids)
        return None if row is None else Peak(begin=row["at"], end=None, count=row["waiting"])

    # -- customers and calls that are left over --------------------------------------------------------
    async def _callbacks(self) -> tuple[CallBack, ...]:
        """Customers whom the period missed; of a long one those who still wait."""
        begin, end = self.period.begin, self.period.end
        if self.reads_calls:
            rows = await missed_in(self.db, self.tenant, begin, end)
        else:
            since = max(begin, written_off_before(self.own, self.as_of))
            rows = await missed_of_open(self.db, self.tenant, (begin, since, end), self.as_of)
        customers = self._by_customer(rows)
        if not self.reads_calls:
            customers = [misses for misses in customers if self._state(misses[-1], self.as_of).is_open]
        found = [self._callback(misses) for misses in customers]
        return tuple(sorted(found, key=lambda item: (not item.state.is_open, item.first_missed_at)))

    def _by_customer(self, rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
        """Missed calls that this period is about, of one customer together; a hidden number's each for itself."""
        customers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            if self.is_meant(row["queue"]):
                customers[item_of(row["customer"], row["source"], row["call_id"])].append(row)
        return list(customers.values())

    def _callback(self, misses: Sequence[Mapping[str, Any]]) -> CallBack:
        """One customer. What settles his last miss settles those before."""
        last = misses[-1]
        tries = [row["called_back_at"] for row in misses if row["called_back_at"]]
        return CallBack(
            customer=last["customer"], queue=self.queue(last["queue"]),
            line=self.names.show(self.tenant, "line", last["line"]), outcome=last["outcome"], misses=len(misses),
            first_missed_at=misses[0]["started_at"], last_missed_at=last["started_at"],
            state_at_end=self._state(last, self.told_until), state=self._state(last, self.as_of),
            called_back_at=max(tries, default=None), settled_at=last["settled_at"],
            last_call=f"{last['source']}/{last['call_id']}",
        )  # fmt: skip

    def _state(self, row: Mapping[str, Any], at: datetime) -> State:
        """Where a missed customer stood at a moment."""
        if row["settled_at"] is not None and row["settled_at"] <= at:
            return _SETTLED[Fate(row["fate"])]
        if judged(Fate.WAITING, row["started_at"], written_off_before(self.own, at)) is Fate.WRITTEN_OFF:
            return State.WRITTEN_OFF
        tried = row["called_back_at"] is not None and row["called_back_at"] <= at
        return State.CALLED_BACK if tried else State.WAITING

    async def _handover(self) -> HandOver:
        at = self.told_until
        waiting = await self.db.fetchrow(
            store.query("summary", "waiting_at"), self.tenant, written_off_before(self.own, at), at, HIDDEN,
            self.period.begin, self._queue_ids, self.as_of, written_off_before(self.own, self.as_of),
        )  # fmt: skip
        calls = await self._calls_at(at)
        return HandOver(
            waiting_customers=waiting["customers"], of_this_period=waiting["of_period"],
            oldest_missed_at=waiting["oldest"], still_waiting=waiting["still"],
            open_calls=tuple(self._open_call(call, at) for call in calls if self._went_on(call, at)),
        )  # fmt: skip

    async def _calls_at(self, at: datetime) -> list[Call]:
        """Calls that had begun and not ended; what goes on before a period is none of it."""
        if at < self.period.begin:
            return []
        rows = await self.db.fetch(store.query("summary", "open_at"), self.tenant, at)
        return [call_from_body(row["body"]) for row in rows]

    def _went_on(self, call: Call, at: datetime) -> bool:
        """An expired call went on while its end was awaited; one of another queue is not ours."""
        if call.ended_at is None and at - call.last_event_at > Thresholds(self.own).expire_after:
            return False
        return not self.only or any(self.is_meant(entry.queue) for entry in call.entries)

    def _open_call(self, call: Call, at: datetime) -> OpenCall:
        answered = call.answered_at is not None and call.answered_at <= at
        entries = [entry.queue for entry in call.entries if entry.entered_at <= at]
        talked = [call.agent_of(leg) for leg in call.legs if leg.answered_at is not None and leg.answered_at <= at]
        agent = self.agent(talked[-1]) if talked else ""
        return OpenCall(
            call=f"{call.source}/{call.call_id}", began_at=call.started_at, customer=call.customer,
            queue=self.queue(entries[-1]) if entries else "", agent=agent,
            was="talking" if answered else "waiting" if call.direction is Direction.INBOUND else "calling",
            became=call.outcome.value,
        )  # fmt: skip

    # -- doubts ----------------------------------------------------------------------------------------
    async def _notes(self, figures: Mapping[str, Any], callbacks: Sequence[CallBack]) -> Any:
        """What a reader should know before he believes the figures."""
        if self.as_of < self.period.end:
            yield Note(doubt=Doubt.RUNNING, end=self.period.end)
        for doubt in (Doubt.OPEN, Doubt.EXPIRED):
            if figures[doubt.value]:
                yield Note(doubt=doubt, count=figures[doubt.value])
        hidden = sum(not item.customer for item in callbacks)
        if hidden:
            yield Note(doubt=Doubt.HIDDEN, count=hidden)
        window = (self.period.begin, self.told_until)
        for row in await self.db.fetch(store.query("summary", "rejected_in"), self.tenant, *window):
            yield Note(doubt=Doubt.REJECTED, count=row["payloads"], source=row["source"], begin=row["first_at"],
                       end=row["last_at"])  # fmt: skip
        late: list[str] = []
        unheard: list[Note] = []
        if self.reads_events:
            heard = await self.db.fetch(
                store.query("summary", "heard"), self.tenant, self._sources, *window, LATE.total_seconds()
            )
            late = silences.late(heard)
            unheard = await self._unheard(heard)
        if self.as_of < self.period.end:
            span = adherence.Span(*window)
            unheard += await outages.notes_of_now(self.db, self.settings, self.tenant, span, unheard)
        for note in unheard:
            yield note
        found = await self._calls_in("reconciled_in", window)
        doubtful = await self._calls_in("conflicting_in", window)
        timeless = await self._calls_in("implausible_in", window)
        aside = await self._calls_in("set_aside_in", window)
        for doubt, calls in (
            (Doubt.LATE, late), (Doubt.RECONCILED, found), (Doubt.CONFLICTING, doubtful), (Doubt.IMPLAUSIBLE, timeless),
            (Doubt.SET_ASIDE, aside),
        ):  # fmt: skip
            if calls:
                yield Note(doubt=doubt, count=len(calls), calls=tuple(calls[:NAMED_CALLS]))
        if waiting := await self.db.fetchval(store.query("summary", "waiting_to_be_computed"), self.tenant):
            yield Note(doubt=Doubt.LAGGING, count=waiting)

    async def _calls_in(self, name: str, window: tuple[datetime, datetime]) -> list[str]:
        rows = await self.db.fetch(store.query("summary", name), self.tenant, *window)
        return [f"{row['source']}/{row['call_id']}" for row in rows]

    @property
    def _sources(self) -> list[str]:
        return [name for name, source in self.settings.sources.items() if source.tenant == self.tenant]

    async def _unheard(self, heard: Iterable[Mapping[str, Any]]) -> list[Note]:
        """Connections that were lost, and sources that told nothing for longer than they may, within business hours."""
        connected = [name for name in self._sources if name in self.settings.connected]
        window = (self.period.begin, self.told_until)
        lost = await outages.notes(self.db, self.tenant, connected, *window) if connected else []
        return [*lost, *outages.without_outages(self._silences(heard), lost, self.told_until, self._silence_limits)]

    @property
    def _silence_limits(self) -> dict[str, timedelta]:
        limits = {name: silence_limit(self.settings.sources[name], self.own) for name in self._sources}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def _silences(self, heard: Iterable[Mapping[str, Any]]) -> Iterator[Note]:
        begin, end = self.period.begin, self.told_until
        open_spans = list(business.spans(self.own, begin, end)) if begin < end else []
        for silence in silences.silences(heard, self._silence_limits, (begin, end), open_spans):
            doubt = Doubt.NEVER_SPOKE if silence.is_whole else Doubt.SILENT
            yield Note(doubt=doubt, source=silence.source, begin=silence.begin, end=silence.end)


#: What :meth:`callkpi.people.presence.Times.as_row` adds to the row of a person.
_TIMES = frozenset(Times().as_row())
_TOLD_TIMES = tuple(each.name for each in fields(AgentLine) if each.name in _TIMES)


def _agent_lines(
    rows: Sequence[Mapping[str, Any]], by_queue: Mapping[str, Mapping[str, int]], queues: Sequence[str]
) -> list[AgentLine]:
    """*queues* say in which order a person's queues are told."""
    places = {queue: place for place, queue in enumerate(queues)}
    found = []
    for row in rows:
        counts = by_queue.get(row["agent"], {})
        known = sorted((queue for queue in counts if queue in places), key=places.__getitem__)
        found.append(_agent_line(row, {queue: counts[queue] for queue in known}))
    return found


def _agent_line(row: Mapping[str, Any], by_queue: Mapping[str, int]) -> AgentLine:
    """A person's work, and how his time was spent where a source tells his states."""
    outside = row["answered"] - sum(by_queue.values())
    told = {name: row[name] for name in _TOLD_TIMES} if row.get("logged_in_seconds") else {}
    return AgentLine(
        agent=row["agent"], figures={key: value for key, value in row.items() if key != "agent" and key not in _TIMES},
        by_queue={**by_queue, **({"": outside} if outside else {})}, **told,
    )  # fmt: skip


def _reasons(figures: Mapping[str, Any]) -> tuple[Reason, ...]:
    told = [Reason(outcome=name, calls=figures[name]) for name in REASONS if figures[name]]
    return tuple(sorted(told, key=lambda reason: -reason.calls))


def _busiest(intervals: Sequence[Interval]) -> Peak | None:
    most = max(intervals, key=lambda interval: interval.offered, default=None)
    if most is None or not most.offered:
        return None
    return Peak(begin=most.begin, end=most.end, count=most.offered)
