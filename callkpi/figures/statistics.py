"""The figures of a period, split as asked, beside those of the period before and the goals.

One function answers: :meth:`Statistics.answer`. Figures are those of :mod:`callkpi.calls.facts`; here is what is read
where (whole days, quarters of an hour, or the calls themselves), and how rows are put together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calendar import periods, shifts, slots
from callkpi.calendar.periods import Period
from callkpi.calls.facts import Grain
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Direction
from callkpi.config.teams import team_names
from callkpi.config.words import guess
from callkpi.figures import goals, sums
from callkpi.glossary import BASES, FATES
from callkpi.missed import judging as fates
from callkpi.people.names import OTHER, Names

#: What figures may be split and filtered by, besides time and custom fields (``field:campaign``).
DIMENSIONS = ("queue", "team", "agent", "line", "direction", "source", "outcome")
FIELD = "field:"
MAX_ROWS = 20_000
_COUNTS = {Grain.ENTRY: "queue entries", Grain.HANDLE: "handles of agents", Grain.CALL: "calls"}


class BadQuestion(ValueError):
    """What can't be asked: which, why, what to write."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked."""

    tenant: str
    period: Period
    by: tuple[str, ...] = ()  #: DIMENSIONS, slots.UNITS, "shift", "field:…"
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  #: dimension -> values, by id or by name
    against: str = ""  #: what to compare with, of periods.AGAINST; "": nothing
    tells_teams: bool = True  #: of shifts those about a team as well, whose figures are those of people
    #: As of when: what still waits is written off by this moment.
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def units(self) -> tuple[str, ...]:
        """Splits of time, in their order."""
        return tuple(name for name in self.by if name == "shift" or name in slots.UNITS)

    @property
    def dimensions(self) -> tuple[str, ...]:
        return tuple(name for name in self.by if name not in self.units)

    @property
    def field(self) -> str:
        """The custom field that it is about; "" for none."""
        named = [name.removeprefix(FIELD) for name in (*self.by, *self.only) if name.startswith(FIELD)]
        return named[0] if named else ""


def check(tenant: config.Tenant, question: Question) -> None:
    """Raises BadQuestion where a question can't be answered."""
    fields = [FIELD + name for name in tenant.fields]
    splits = (*DIMENSIONS, "shift", *slots.UNITS, *fields)
    for name in question.by:
        if name not in splits:
            raise BadQuestion(f"by: {name[:40]!r} is none of {', '.join(splits)}{guess(name, splits)}")
    if len(set(question.by)) < len(question.by):
        raise BadQuestion("by: names something twice")
    for name in question.only:
        if name not in (*DIMENSIONS, *fields):
            raise BadQuestion(f"{name[:40]}: can't be filtered by; known: {', '.join((*DIMENSIONS, *fields))}")
    if len({name for name in (*question.by, *question.only) if name.startswith(FIELD)}) > 1:
        raise BadQuestion("by: one custom field at a time")
    if question.against and question.against not in periods.AGAINST:
        raise BadQuestion(f"against: {question.against[:40]!r} is none of {', '.join(periods.AGAINST)}")
    if len(question.by) > 4:
        raise BadQuestion("by: at most four at a time")


@dataclass(slots=True)
class _Row:
    figures: Figures = field(default_factory=Figures)
    fates: Counter[str] | None = None  #: None where they can't be told
    slot: slots.Slot | None = None
    grain: Grain = Grain.CALL

    def told(self, formula: config.ServiceLevelFormula) -> dict[str, Any]:
        told = {"contacts": self.figures.sums["contacts"], **self.figures.as_row(formula)}
        return told if self.fates is None else {**told, **{name: self.fates[name] for name in FATES}}


@dataclass(slots=True)
class _Table:
    """Rows by their key, and what they add up to."""

    rows: dict[tuple[str, ...], _Row] = field(default_factory=dict)
    total: _Row = field(default_factory=_Row)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Time that is cut into slots that don't overlap, and what is counted in it."""

    cut: slots.Cut
    grain: Grain
    only: Mapping[str, tuple[str, ...]]


class Statistics:
    """Answers questions from the store."""

    def __init__(self, pool: asyncpg.Pool, settings: config.Settings, names: Names | None = None) -> None:
        self._pool = pool
        self._settings = settings
        self.names = names or Names(settings)

    async def answer(self, question: Question) -> dict[str, Any]:
        """The figures as plain data.

        ``period``, ``compared_with`` (null where nothing is): kind, text, name, begin, end, until, partial;
        of a shift also the queues and the team that it is about.
        ``counts``: what is counted; ``bases``: of what each share is one.
        ``rows``: each with ``key`` (by what is asked, in its order), ``begin`` of its time where time is split,
        ``counts``, ``figures``, ``share`` (of its own basis, 0..1), ``of_total`` (of the same figure of all rows),
        ``previous`` (figures, null without a comparison), ``change`` and ``change_ratio`` (to it; null where there
        was nothing), ``goals`` (see :func:`callkpi.figures.goals.judged`).
        ``total``: the same of all together; its goals are judged by calls, as in a summary.
        Raises BadQuestion or periods.BadPeriod.
        """
        tenant = self._settings.tenants[question.tenant]
        check(tenant, question)
        before = periods.comparable(tenant, question.period, question.against) if question.against else None
        await self.names.refresh(self._pool)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await sums.plan(connection)
            table = await self._table(connection, question, question.period)
            compared = await self._table(connection, question, before) if before is not None else None
            judged = table.total
            if table.total.grain is not Grain.CALL and not question.only:
                # What is a goal for the whole counts calls, however the rows are split.
                whole = Question(question.tenant, question.period, now=question.now)
                judged = (await self._table(connection, whole, question.period)).total
        formula = tenant.service_level_formula
        olds = _by_place(compared, question) if compared is not None else {}
        total = table.total.told(formula)
        rows = []
        for key, row in table.rows.items():
            old = olds.get(_place(key, row, question))
            shown = {"key": dict(zip(question.by, key, strict=True)), "counts": _COUNTS[row.grain]}
            if row.slot is not None and question.units:
                shown["begin"] = row.slot.begin.isoformat()
            rows.append(
                {**shown, **self._beside(row, old, total, compared is not None, formula),
                 "goals": self._goals(question, key, row, formula)}
            )  # fmt: skip
        all_old = compared.total if compared is not None else None
        return {
            "tenant": question.tenant,
            "timezone": tenant.timezone,
            "period": _period_json(question.period),
            "compared_with": _period_json(before) if before is not None else None,
            "by": list(question.by),
            "only": {name: list(values) for name, values in question.only.items()},
            "counts": _COUNTS[table.total.grain],
            "bases": dict(BASES),
            "rows": rows,
            "total": {
                **self._beside(table.total, all_old, total, compared is not None, formula),
                "goals": self._goals(question, None, judged, formula),
            },
        }

    def _beside(
        self, row: _Row, old: _Row | None, total: Mapping[str, Any], compared: bool, formula: config.ServiceLevelFormula
    ) -> dict[str, Any]:
        told = row.told(formula)
        before = (old or _Row(fates=row.fates and Counter())).told(formula) if compared else None
        return {"figures": told, "share": _shares(told), "of_total": _of_total(told, total), **_changes(told, before)}

    # -- what is counted -----------------------------------------------------------------------------
    async def _table(self, connection: asyncpg.Connection, question: Question, period: Period) -> _Table:
        tenant = self._settings.tenants[question.tenant]
        only = _with_shift(dict(question.only), period.shift)
        table = _Table()
        begin, until = period.begin, period.until
        if "shift" in question.units:
            found = shifts.shifts_between(tenant, question.tenant, begin, until) if begin < until else []
            layers = []
            for id in shifts.shift_ids(tenant):
                own = [shift for shift in found if shift.id == id and (question.tells_teams or not shift.team)]
                if own:
                    limits = _with_shift(only, own[0])
                    cut = slots.by_shift(tenant.zone, own, begin, until, question.units)
                    layers.append(_Layer(cut, _grain(question, limits), limits))
        else:
            cut = slots.by_units(tenant.zone, begin, until, question.units)
            layers = [_Layer(cut, _grain(question, only), only)]
        for layer in layers:
            await self._count(connection, question, layer, table)
        _bound_values(question, tenant, table)
        table.total.grain = _grain(question, only)
        if "shift" in question.units:
            # Shifts may overlap, or leave time out: the total is of the period.
            whole = Question(question.tenant, period, question.dimensions, question.only, now=question.now)
            table.total = (await self._table(connection, whole, period)).total
        else:
            for row in table.rows.values():
                table.total.figures.merge(row.figures)
                if row.fates is not None:
                    table.total.fates = (table.total.fates or Counter()) + row.fates
            if not table.rows and _tells_fates(question, table.total.grain):
                table.total.fates = Counter()
        if len(table.rows) > MAX_ROWS:
            raise BadQuestion(f"by: makes more than {MAX_ROWS} rows; ask for a shorter period, or by less")
        return table

    async def _count(self, connection: asyncpg.Connection, question: Question, layer: _Layer, table: _Table) -> None:
        """Read the figures of one layer into the table's rows."""
        tenant = self._settings.tenants[question.tenant]
        wanted_teams = {name for team in layer.only.get("team", ()) for name in team_names(tenant, team)}
        columns = _columns(question.dimensions) | ({"agent"} if layer.only.keys() & {"agent", "team"} else set())
        only = self._filters(question.tenant, layer.only)
        asked = sums.Asked(question.tenant, layer.grain, columns, only, question.field)
        try:
            records = await sums.read(connection, tenant, asked, layer.cut.spans)
        except sums.TooLong as error:
            advice = "ask again when the sums of days are filled" if error.will_be else "or by day"
            raise BadQuestion(
                "by: what is by source or a custom field within days is read from the calls, at most"
                f" {sums.MOST_CALLS.days} days at a time; ask for a shorter period, {advice}"
            ) from None
        tells_fates = _tells_fates(question, layer.grain)
        if not question.dimensions:
            # Every slot has its row, also where nothing was.
            for slot in layer.cut.slots:
                table.rows[_key(question, slot, {})] = _Row(slot=slot, grain=layer.grain)
        for record in records:
            if "agent" in layer.only and not self._is_meant(question.tenant, {"agent": layer.only["agent"]}, record):
                continue
            if wanted_teams and self._shown(question.tenant, "team", record) not in wanted_teams:
                continue
            if "queue" in question.dimensions and not record["queue"] and layer.grain is not Grain.HANDLE:
                continue  # what is in no queue is no stay; of agents' work it is a part
            slot = layer.cut.slots[record["slot"] - 1]
            shown = {name: self._shown(question.tenant, name, record) for name in question.dimensions}
            row = table.rows.setdefault(_key(question, slot, shown), _Row(slot=slot, grain=layer.grain))
            row.figures.add(record["outcome"], record, record["longest_wait_ms"])
        table.rows = dict(sorted(table.rows.items(), key=lambda item: _order(item, question)))
        if tells_fates:
            await self._add_fates(connection, question, layer, table)

    def _shown(self, tenant: str, name: str, record: Mapping[str, Any]) -> str:
        """A value as people call it."""
        if name == "team":
            return team_of(self.names, tenant, record["agent"])
        if name.startswith(FIELD):
            return str(record["value"])
        return self.names.show(tenant, name, record[name])

    def _filters(self, tenant: str, only: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
        """The values of the columns that are let through.

        Agents are looked at by name afterwards: a person may have ids that nobody wrote down.
        """
        found = {
            name: [id for value in only[name] for id in self.names.ids(tenant, name, value)]
            for name in ("queue", "line", "direction", "outcome", "source")
            if name in only
        }
        values = [list(wanted) for name, wanted in only.items() if name.startswith(FIELD)]
        return {**found, "value": values[0]} if values else found

    async def _add_fates(
        self, connection: asyncpg.Connection, question: Question, layer: _Layer, table: _Table
    ) -> None:
        """What became of missed calls, beside the rows of their queues, lines and sources."""
        for row in table.rows.values():
            if row.fates is None:
                row.fates = Counter()
        limit = fates.written_off_before(self._settings.tenants[question.tenant], question.now)
        by = {*question.dimensions, *layer.only}
        for record in await sums.fates(connection, question.tenant, by, layer.cut.spans, limit):
            place = {**record, "direction": Direction.INBOUND.value}
            if record["slot"] == 0 or not self._is_meant(question.tenant, layer.only, place):
                continue
            shown = {name: self._shown(question.tenant, name, place) for name in question.dimensions}
            found = table.rows.get(_key(question, layer.cut.slots[record["slot"] - 1], shown))
            if found is not None and found.fates is not None:
                found.fates.update(fates.counts_of(record))

    def _is_meant(self, tenant: str, only: Mapping[str, tuple[str, ...]], place: Mapping[str, Any]) -> bool:
        return all({place[name], self._shown(tenant, name, place)} & set(wanted) for name, wanted in only.items())

    # -- goals ---------------------------------------------------------------------------------------
    def _goals(
        self, question: Question, key: Sequence[str] | None, row: _Row, formula: config.ServiceLevelFormula
    ) -> list[dict[str, Any]]:
        """The goals of a row; of the total where *key* is None."""
        subject = self._subject(question, key, row)
        if subject is None:
            return []
        told = row.told(formula)
        tenant = self._settings.tenants[question.tenant]
        return [
            goals.judged(name, goal, told.get(goal.kpi), subject.elapsed) for name, goal in goals.of(tenant, subject)
        ]

    def _subject(self, question: Question, key: Sequence[str] | None, row: _Row) -> goals.Subject | None:
        """What a row is of, where goals may be for it: at most one queue, team, agent or line of a named period."""
        tenant, period = self._settings.tenants[question.tenant], question.period
        named: dict[str, tuple[str, ...]] = {name: values for name, values in question.only.items() if len(values) == 1}
        if len(named) < len(question.only):
            return None
        if key is not None:
            named.update({name: (value,) for name, value in zip(question.by, key, strict=True)})
        scope = {name: values for name, values in named.items() if name not in question.units}
        limits = _limits_of(question, key, tenant)
        is_whole = key is None or not question.dimensions
        if is_whole:
            scope = {**goals.scope_of_shift(limits), **scope}
        elif "team" in limits and not scope.keys() & {"agent", "team"}:
            return None  # what a team does in a queue is not that queue's goal
        of_whole_shift = bool(limits) and is_whole and not question.only
        if (len(scope) > 1 and not of_whole_shift) or not scope.keys() <= set(goals.SCOPES):
            return None
        for name, values in scope.items():
            known = [
                team_names(tenant, v) if name == "team" else self.names.called(question.tenant, name, v) for v in values
            ]
            scope[name] = tuple(id for ids in known for id in ids)
        kind, begin, end = period.kind, period.begin, period.end
        shift = period.shift.id if period.shift is not None else ""
        if key is not None and question.units:
            if row.slot is None or row.slot.whole is None:
                return None
            kind, (begin, end) = question.units[0], row.slot.whole
            shift = named["shift"][0].partition("@")[0] if kind == "shift" else ""
            if begin < period.begin or (end > period.end):
                return None  # a part of a month has no goal of a month
        day = begin.astimezone(tenant.zone).date()
        return goals.Subject(kind, day, shift, scope, self._elapsed(question, kind, begin, end), of_whole_shift)

    def _elapsed(self, question: Question, kind: str, begin: datetime, end: datetime) -> float | None:
        until = min(max(question.period.until, begin), end)
        if kind == "shift":
            return (until - begin) / (end - begin)
        return goals.elapsed_share(self._settings.tenants[question.tenant], begin, end, until)


# -- plain helpers ----------------------------------------------------------------------------------------


def team_of(names: Names, tenant: str, agent: str) -> str:
    """The team of an agent; "" where nobody says."""
    return names.team(tenant, agent)


def _with_shift(only: Mapping[str, tuple[str, ...]], shift: shifts.Shift | None) -> dict[str, tuple[str, ...]]:
    """Filters, and what the shift is about; a filter that is there stays."""
    return {**shift.limits, **only} if shift is not None else dict(only)


def _limits_of(question: Question, key: Sequence[str] | None, tenant: config.Tenant) -> dict[str, tuple[str, ...]]:
    """What the shift is about that a row is of; nothing of what is of no shift, or of one about everything."""
    if key is None or "shift" not in question.units:
        return question.period.shift.limits if question.period.shift is not None else {}
    plan = tenant.shifts.get(key[question.by.index("shift")].partition("@")[0])
    return shifts.limits(tenant, plan) if plan is not None else {}


def _grain(question: Question, only: Mapping[str, Any]) -> Grain:
    """What is counted: what names an agent counts handles, what names a queue counts entries, all else calls."""
    names = {*question.by, *only}
    if names & {"agent", "team"}:
        return Grain.HANDLE
    return Grain.ENTRY if "queue" in names else Grain.CALL


def _columns(dimensions: Sequence[str]) -> set[str]:
    renamed = {"team": "agent"}
    return {"value" if name.startswith(FIELD) else renamed.get(name, name) for name in dimensions}


def _tells_fates(question: Question, grain: Grain) -> bool:
    named = {*question.dimensions, *question.only}
    return grain is not Grain.HANDLE and named <= {"queue", "line", "direction", "source"}


def _key(question: Question, slot: slots.Slot, shown: Mapping[str, str]) -> tuple[str, ...]:
    labels = dict(zip(question.units, slot.labels, strict=True))
    return tuple(labels[name] if name in labels else shown[name] for name in question.by)


def _order(item: tuple[tuple[str, ...], _Row], question: Question) -> tuple[Any, ...]:
    """By what is asked, in its order; weekdays from Monday, time as it passes."""
    key, row = item
    parts: list[Any] = []
    for name, value in zip(question.by, key, strict=True):
        if name == "weekday":
            parts.append((config.WEEKDAYS.index(value), ""))
        elif name == "shift" and row.slot is not None:
            parts.append((row.slot.begin.timestamp(), value))
        elif name in slots.INTERVALS and row.slot is not None:
            parts.append((row.slot.begin.timestamp(), ""))
        else:
            parts.append((0, value))
    return tuple(parts)


def _place(key: Sequence[str], row: _Row, question: Question) -> tuple[str, ...]:
    """A row's key with its time as a place in its period, to find its like in another period."""
    places = iter(row.slot.places if row.slot is not None else ())
    return tuple(
        next(places, "") if name in question.units else value for name, value in zip(question.by, key, strict=True)
    )


def _by_place(table: _Table, question: Question) -> dict[tuple[str, ...], _Row]:
    return {_place(key, row, question): row for key, row in table.rows.items()}


def _bound_values(question: Question, tenant: config.Tenant, table: _Table) -> None:
    """Tell so many values of a custom field apart as the settings allow; the others are one."""
    name = FIELD + question.field
    if name not in question.by:
        return
    place, spec = question.by.index(name), tenant.fields[question.field]
    counts: Counter[str] = Counter()
    for key, row in table.rows.items():
        counts[key[place]] += row.figures.sums["contacts"]
    common = sorted((value for value in counts if value), key=lambda value: (-counts[value], value))
    kept = {"", *(spec.values or common[: spec.limit])}
    bounded: dict[tuple[str, ...], _Row] = {}
    for key, row in table.rows.items():
        if key[place] not in kept:
            key = (*key[:place], OTHER, *key[place + 1 :])
        known = bounded.setdefault(key, _Row(fates=row.fates, slot=row.slot, grain=row.grain))
        known.figures.merge(row.figures)
    table.rows = bounded


def _shares(told: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _ratio(told[name], told[basis]) for name, basis in BASES.items() if name in told}


def _of_total(told: Mapping[str, Any], total: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _ratio(told[name], total[name]) for name in _ADDITIVE if name in told and name in total}


def _changes(told: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any]:
    if before is None:
        return {"previous": None, "change": None, "change_ratio": None}
    changes = {
        name: None if value is None or before.get(name) is None else value - before[name]
        for name, value in told.items()
    }
    ratios = {name: _ratio(change, before[name]) for name, change in changes.items()}
    return {"previous": dict(before), "change": changes, "change_ratio": ratios}


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


#: Figures that add up over rows.
_ADDITIVE = (
    "contacts", "offered", "handled", "made", *BASES, "wait_seconds", "wait_answered_seconds", "talk_seconds",
    "hold_seconds", "wrap_seconds", "ring_no_answer",
)  # fmt: skip


def _period_json(period: Period) -> dict[str, Any]:
    return {
        "kind": period.kind,
        "text": period.text,
        "name": period.name,
        "begin": period.begin.isoformat(),
        "end": period.end.isoformat(),
        "until": period.until.isoformat(),
        "partial": period.is_partial,
        **({"queues": list(period.shift.queues), "team": period.shift.team} if period.shift is not None else {}),
    }
