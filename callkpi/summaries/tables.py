"""The tables of a summary, once for every form: what is in each cell, of which kind, which calls it opens to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from callkpi.glossary import unit_of
from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import (
    AgentLine,
    CallBack,
    Goal,
    Interval,
    OpenCall,
    PersonsPlan,
    StaffStep,
    Summary,
    TeamInterval,
    TeamWork,
)
from callkpi.summaries.words import note_text, period_name

#: Headline figures in the order in which they are read. The first ones are told always, the others where there are any.
HEADLINE = (
    "offered", "answered", "missed", "missed_share", "answer_rate", "service_level", "asa_seconds",
    "longest_wait_seconds", "handled", "aht_seconds", "talk_seconds",
)  # fmt: skip
WHERE_ANY = (
    "hold_seconds", "wrap_seconds", "abandon_rate", "transferred", "made", "reached", "not_reached", "exited",
    "voicemail", "after_hours", "callback_requests", "open", "expired",
)  # fmt: skip
QUEUE = (
    "offered", "answered", "missed", "missed_share", "service_level", "asa_seconds", "longest_wait_seconds",
    "aht_seconds", "still_waiting",
)  # fmt: skip
AGENT = ("handled", "answered", "made", "reached", "ring_no_answer", "talk_seconds", "aht_seconds", "pauses")
AGENT_TIMES = (
    "logged_in_seconds", "available_seconds", "ringing_seconds", "talking_seconds", "paused_seconds", "busy_seconds",
    "occupancy", "utilisation",
)  # fmt: skip
_ALWAYS = ("handled", "answered")
_ALWAYS_OF_TEAM = (*_ALWAYS, "ring_no_answer", "talk_seconds", "aht_seconds")
#: Of a team's shift the headline, and what it did in each queue and over time; what nobody did is left out.
HEADLINE_OF_TEAM = (
    "handled", "answered", "made", "reached", "not_reached", "ring_no_answer", "talk_seconds", "aht_seconds",
    "hold_seconds", "wrap_seconds", "transferred",
)  # fmt: skip
TEAM = ("handled", "answered", "made", "reached", "ring_no_answer", "talk_seconds", "aht_seconds")
TEAM_OVER_TIME = ("handled", "answered", "made", "reached", "ring_no_answer", "talk_seconds")
#: Of a person and his plan: told where there is any of it.
PLAN_WHERE_ANY = (
    "late_start_seconds", "early_end_seconds", "away_seconds", "absent_seconds", "unknown_seconds",
    "beyond_plan_seconds",
)  # fmt: skip


_A_DAY = timedelta(hours=25)


class Kind(StrEnum):
    TEXT = "text"
    COUNT = "count"
    SHARE = "share"
    SECONDS = "seconds"
    PEOPLE = "people"  #: a mean number of people: with a decimal where it is not whole
    MOMENT = "moment"
    TIME = "time"
    ZONED = "zoned"  #: a time with its offset, of a night in which the clocks change
    DELTA = "delta"  #: a difference of counts
    POINTS = "points"  #: a difference of shares
    SECONDS_DELTA = "seconds_delta"


_ALL: Mapping[str, str] = MappingProxyType({})


class Cell(NamedTuple):
    """One value, not yet written in a language. A tuple: a shift's tables have tens of thousands."""

    value: Any
    kind: Kind = Kind.TEXT
    figure: str = ""  #: the figure to whose calls it opens
    only: Mapping[str, str] = _ALL  #: the queue, agent, team or outcome of these calls
    begin: datetime | None = None  #: their window; None: the whole period
    end: datetime | None = None
    call: str = ""  #: it opens to this call
    good: bool | None = None  #: a goal reached or not


@dataclass(frozen=True, slots=True)
class Table:
    id: str
    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kinds: tuple[Kind, ...]  #: of the columns: a number stands to the right


def shortened(table: Table, most: int) -> tuple[Table, int]:
    """The first rows of a table that people read, and how many it has; files that programs read have them all."""
    return replace(table, rows=table.rows[:most]), len(table.rows)


def rows_left_out(shown: int, whole: int, told: Language) -> str:
    """The sentence below a table that was shortened; "" where all of it is there."""
    return "" if shown >= whole else told.text("rows_shown", n=told.number(shown), all=told.number(whole))


def kind_of(figure: str) -> Kind:
    """How the figure is written."""
    return Kind(unit_of(figure))


def tables(summary: Summary, code: str, reader: Reader) -> list[Table]:
    """All tables that a reader may see, the most important first."""
    maker = _Maker(summary, language(code), reader)
    found = [maker.headline(), maker.queues(), maker.reasons(), maker.callbacks(), maker.open_calls()]
    if reader.agents:
        found += [maker.agents(), maker.times(), maker.adherence()]
    found += [maker.staff(), maker.intervals(), maker.notes()]
    if summary.team is not None:
        found = list(_of_team(summary, summary.team, language(code), reader))
    return [table for table in found if table.rows]


def _of_team(summary: Summary, team: TeamWork, told: Language, reader: Reader) -> Iterator[Table]:
    """What the team did; then what came into the shift's queues, whoever took it."""
    maker, customers = _MakerOfTeam(summary, team, told, reader), summary.of_customers
    yield maker.headline()
    if reader.agents:
        yield from (maker.agents(), maker.times(), maker.adherence())
    yield from (maker.staff(), maker.by_queue(), maker.over_time())
    if customers is not None:
        of_queues = _Maker(customers, told, reader)
        yield replace(of_queues.queues(), title=told.text("t_queues"))
        yield from (of_queues.reasons(), of_queues.callbacks())
        yield replace(of_queues.intervals(), title=told.text("t_queues_over_time"))
    yield from (maker.open_calls(), maker.notes())


def show(cell: Cell, language: Language, zone: ZoneInfo) -> str:
    """A cell in words and digits of a language; of a goal whether it was reached, so that no colour has to say it."""
    shown = _shown(cell, language, zone)
    if cell.good is None or cell.kind is Kind.TEXT:
        return shown
    return language.text("judged", value=shown, judgement=language.text("goal_reached" if cell.good else "goal_missed"))


def _shown(cell: Cell, language: Language, zone: ZoneInfo) -> str:
    value, kind = cell.value, cell.kind
    if value is None:
        return language.text("none")
    if kind is Kind.TEXT:
        return str(value)
    if kind is Kind.COUNT:
        return language.number(value)
    if kind is Kind.SECONDS:
        return language.clock(value)
    if kind in (Kind.MOMENT, Kind.TIME):
        return language.moment(value, zone) if kind is Kind.MOMENT else language.time(value, zone)
    if kind is Kind.ZONED:
        offset = f"{value.astimezone(zone):%z}"
        return f"{language.time(value, zone)} {offset[:3]}:{offset[3:5]}"
    if kind is Kind.SECONDS_DELTA:
        sign = "+" if value >= 0.5 else "−" if value <= -0.5 else ""
        return sign + language.clock(abs(value))
    writers: dict[Kind, Callable[[Any], str]] = {
        Kind.SHARE: language.share, Kind.DELTA: language.signed, Kind.POINTS: language.points,
        Kind.PEOPLE: lambda value: language.number(value, 0 if round(value, 1) == round(value) else 1),
    }  # fmt: skip
    return writers[kind](value)


class _Maker:
    def __init__(self, summary: Summary, language: Language, reader: Reader) -> None:
        self._summary, self._language, self._reader = summary, language, reader
        self._zone = ZoneInfo(summary.period.timezone)
        # The first of several for one figure is the one that is shown.
        self._goals = {(goal.figure, goal.queue, goal.agent): goal for goal in reversed(summary.goals)}

    def _table(self, id: str, title: str, heads: Sequence[str], rows: Sequence[tuple[Cell, ...]]) -> Table:
        """A table whose columns are of the kind of their cells."""
        columns = zip(*rows, strict=True)
        kinds = tuple(next((c.kind for c in column if c.kind is not Kind.TEXT), Kind.TEXT) for column in columns)
        return Table(id, self._language.text(title), tuple(heads), tuple(rows), kinds)

    def _text(self, key: str) -> str:
        return self._language.text(key)

    # -- the whole -------------------------------------------------------------------------------------
    def headline(self) -> Table:
        return self._headline([*HEADLINE, *(name for name in WHERE_ANY if self._summary.figures[name])])

    def _headline(self, names: Sequence[str]) -> Table:
        before, goal_of = self._summary.before, self._summary.goal_of
        rows = [self._headline_row(name, before.figures if before else None, goal_of(name)) for name in names]
        heads = [self._text("figure"), self._text("value"), self._text("goal")]
        if before is None:
            rows = [row[:3] for row in rows]
        else:
            heads += [period_name(before.period, self._language), self._text("change")]
        return self._table("figures", "all_figures", heads, rows)

    def _headline_row(self, name: str, before: Mapping[str, Any] | None, goal: Goal | None) -> tuple[Cell, ...]:
        kind, value = kind_of(name), self._summary.figures[name]
        old = before[name] if before is not None else None
        change = None if old is None or value is None else value - old
        wanted = Cell(goal.target if goal else "", kind if goal else Kind.TEXT, good=goal.is_reached if goal else None)
        return (
            Cell(self._text(name)), Cell(value, kind, name), wanted, Cell(old, kind), Cell(change, _CHANGES[kind]),
        )  # fmt: skip

    def reasons(self) -> Table:
        missed = self._summary.figures["missed"] or 0
        rows = [
            (
                Cell(self._text(reason.outcome)), Cell(reason.calls, Kind.COUNT, reason.outcome),
                Cell(reason.calls / missed if missed else None, Kind.SHARE),
            )
            for reason in self._summary.reasons
        ]  # fmt: skip
        return self._table("reasons", "why_missed", [self._text(h) for h in ("reason", "calls", "share")], rows)

    def intervals(self) -> Table:
        names = ("offered", "answered", "missed", "service_level", "asa_seconds", "longest_wait_seconds")
        heads = [self._text(name) for name in ("from", "to", *names)]
        return self._table("intervals", "over_time", heads, [self._interval(i, names) for i in _folded(self._summary)])

    def _interval(self, interval: Interval, names: Sequence[str]) -> tuple[Cell, ...]:
        kind = self._kind_of_times()
        figures = [
            Cell(getattr(interval, name), kind_of(name), name, begin=interval.begin, end=interval.end) for name in names
        ]
        return (Cell(interval.begin, kind), Cell(interval.end, kind), *figures)

    def _kind_of_times(self) -> Kind:
        period = self._summary.period
        offsets = {at.astimezone(self._zone).utcoffset() for at in (period.begin, period.end)}
        return Kind.MOMENT if period.end - period.begin > _A_DAY else Kind.ZONED if len(offsets) > 1 else Kind.TIME

    # -- queues and agents -----------------------------------------------------------------------------
    def queues(self) -> Table:
        rows = [
            (Cell(line.queue), *(self._judged(line.figures, name, {"queue": line.queue}) for name in QUEUE))
            for line in self._summary.queues
        ]
        return self._table("queues", "queues", [self._text(name) for name in ("queue", *QUEUE)], rows)

    def agents(self) -> Table:
        lines = self._summary.agents
        names = [name for name in AGENT if name in _ALWAYS or any(line.figures.get(name) for line in lines)]
        rows = [(Cell(line.agent), *self._work(line, names), Cell(self._by_queue(line))) for line in lines]
        return self._table("agents", "agents", [self._text(name) for name in ("agent", *names, "queues")], rows)

    def _work(self, line: AgentLine, names: Sequence[str]) -> Iterator[Cell]:
        for name in names:
            cell = self._judged(line.figures, name, {"agent": line.agent})
            yield cell._replace(figure="") if name == "pauses" else cell

    def times(self) -> Table:
        """How the time was spent of those whose states are told."""
        lines = [line for line in self._summary.agents if line.logged_in_seconds]
        names = [name for name in AGENT_TIMES if any(getattr(line, name) for line in lines)]
        rows = [(Cell(line.agent), *(Cell(getattr(line, name), kind_of(name)) for name in names)) for line in lines]
        return self._table("times", "times_in_state", [self._text(name) for name in ("agent", *names)], rows)

    # -- planned and worked time -----------------------------------------------------------------------
    def adherence(self) -> Table:
        """Each person's plan beside what he was there of it."""
        lines = self._summary.adherence.people if self._summary.adherence is not None else ()
        known = [line for line in lines if line.in_plan_seconds is not None]
        names = [name for name in PLAN_WHERE_ANY if any(getattr(line, name) for line in known)]
        heads = ("agent", "planned_seconds", "in_plan_seconds", "adherence", *names, "note")
        rows = [(Cell(line.agent), *self._kept(line, names), self._came(line)) for line in lines]
        return self._table("adherence", "planned_and_worked", [self._text(head) for head in heads], rows)

    def _kept(self, line: PersonsPlan, names: Sequence[str]) -> Iterator[Cell]:
        known, planned = line.in_plan_seconds is not None, line.planned_seconds > 0
        yield Cell(line.planned_seconds if planned else None, Kind.SECONDS)
        for name in ("in_plan_seconds", "adherence"):
            value = getattr(line, name) if planned else None
            unknown = planned and (not known or line.unknown_seconds == line.planned_seconds)
            yield Cell(self._text("not_known")) if unknown else Cell(value, kind_of(name))
        for name in names:
            value = getattr(line, name)
            yield Cell(value if planned or name == "beyond_plan_seconds" else None, Kind.SECONDS)

    def _came(self, line: PersonsPlan) -> Cell:
        """What is to be said of somebody in words."""
        if not line.planned_seconds:
            return Cell(self._text("without_plan"))
        if not line.absences:
            return Cell("")
        if line.absences < line.stints:
            return Cell(self._language.counted("absences", line.absences), good=False)
        return Cell(self._text("never_came" if self._summary.has_ended else "not_come_yet"), good=False)

    def staff(self) -> Table:
        """How many people were planned and there."""
        steps = list(_alike(self._summary.adherence.steps)) if self._summary.adherence is not None else []
        names = ["planned", "in_plan", "beyond_plan", *(["unknown"] if any(step.unknown for step in steps) else [])]
        kind = self._kind_of_times()
        rows = [
            (Cell(step.begin, kind), Cell(step.end, kind), *(Cell(getattr(step, name), Kind.PEOPLE) for name in names))
            for step in steps
        ]
        heads = ("from", "to", *(f"people_{name}" for name in names))
        return self._table("staff", "people_over_time", [self._text(head) for head in heads], rows)

    def _by_queue(self, line: AgentLine) -> str:
        told = [f"{queue or self._text('no_queue')} {count}" for queue, count in sorted(line.by_queue.items())]
        return self._text("comma").join(told)

    def _judged(self, figures: Mapping[str, Any], name: str, only: Mapping[str, str]) -> Cell:
        """A figure of a queue or an agent, and whether the goal that it has was reached."""
        goal = self._goals.get((name, only.get("queue", ""), only.get("agent", "")))
        return Cell(figures.get(name), kind_of(name), name, only, good=goal.is_reached if goal else None)

    # -- what is left over -----------------------------------------------------------------------------
    def callbacks(self) -> Table:
        names = ("customer", "queue", "misses", "first_missed_at", "waited", "state_at_end", "state_now", "settled_at")
        rows = [self._callback(each) for each in self._summary.callbacks]
        return self._table("callbacks", "callbacks", [self._text(name) for name in names], rows)

    def _callback(self, item: CallBack) -> tuple[Cell, ...]:
        until = item.settled_at or self._summary.as_of
        return (
            Cell(self._customer(item.customer), call=item.last_call), Cell(item.queue or item.line),
            Cell(item.misses, Kind.COUNT), Cell(item.first_missed_at, Kind.MOMENT),
            Cell((until - item.first_missed_at).total_seconds(), Kind.SECONDS),
            Cell(self._text(f"state_{item.state_at_end}")),
            Cell(self._text(f"state_{item.state}"), good=False if item.state.is_open else None),
            Cell(item.settled_at, Kind.MOMENT),
        )  # fmt: skip

    def open_calls(self) -> Table:
        names = ("customer", "began", "was", "queue", "agent", "became")
        shown = names if self._reader.agents else tuple(name for name in names if name != "agent")
        rows = [self._open_call(call) for call in self._summary.handover.open_calls]
        return self._table("open_calls", "open_calls", [self._text(name) for name in shown], rows)

    def _open_call(self, call: OpenCall) -> tuple[Cell, ...]:
        agent = (Cell(call.agent),) if self._reader.agents else ()
        return (
            Cell(self._customer(call.customer), call=call.call), Cell(call.began_at, Kind.MOMENT),
            Cell(self._text(f"was_{call.was}")), Cell(call.queue), *agent, Cell(self._text(f"outcome_{call.became}")),
        )  # fmt: skip

    def notes(self) -> Table:
        rows = [(Cell(note_text(self._summary, note, self._language)),) for note in self._summary.notes]
        return self._table("notes", "data", [self._text("note")], rows)

    def _customer(self, number: str) -> str:
        return self._reader.customer(number) or self._text("hidden_number")


class _MakerOfTeam(_Maker):
    """Tables of what a team did. Its figures open to its own handles."""

    def __init__(self, summary: Summary, team: TeamWork, language: Language, reader: Reader) -> None:
        super().__init__(summary, language, reader)
        self._team = team
        self._only = {"team": team.team}

    def headline(self) -> Table:
        before, goals = self._summary.before, {goal.figure for goal in self._summary.goals if goal.is_of_all}
        rows = [self._summary.figures, before.figures if before is not None else {}, dict.fromkeys(goals, 1)]
        table = self._headline(self._done(HEADLINE_OF_TEAM, rows))
        opened = tuple((row[0], row[1]._replace(only=self._only), *row[2:]) for row in table.rows)
        return replace(table, rows=opened)

    @staticmethod
    def _done(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> list[str]:
        """The figures that are told: the usual ones, and what there is some of."""
        some = {name for row in rows for name, value in row.items() if value}
        return [name for name in names if name in _ALWAYS_OF_TEAM or name in some]

    def times(self) -> Table:
        """The time of each who was logged in, and of all of them; work without a log-in is in no share."""
        table, lines = super().times(), [line for line in self._summary.agents if line.logged_in_seconds]
        if len(lines) < 2:
            return table
        total = [Cell(self._text("t_whole"))]
        for name in (name for name in AGENT_TIMES if any(getattr(line, name) for line in lines)):
            kind, whole = kind_of(name), getattr(self._team.whole, name)
            value = whole if kind is Kind.SHARE else sum(getattr(line, name) or 0.0 for line in lines)
            total.append(Cell(value, kind))
        return replace(table, rows=(*table.rows, tuple(total)))

    def by_queue(self) -> Table:
        names = self._done(TEAM, (line.figures for line in self._team.queues))
        rows = [
            (
                Cell(line.queue or self._text("no_queue")),
                *(Cell(line.figures[name], kind_of(name), name, {**self._only, "queue": line.queue}) for name in names),
            )
            for line in self._team.queues
        ]
        return self._table("team_queues", "t_by_queue", [self._text(name) for name in ("queue", *names)], rows)

    def over_time(self) -> Table:
        long = self._summary.period.end - self._summary.period.begin > _A_DAY
        kind = Kind.MOMENT if long else Kind.TIME
        rows, names = [], self._done(TEAM_OVER_TIME, (self._summary.figures,))
        for quiet, group in groupby(self._team.intervals, key=lambda interval: not _worked(interval)):
            run = list(group)
            for each in [replace(run[0], end=run[-1].end)] if quiet else run:
                told = (
                    Cell(getattr(each, name), kind_of(name), name, self._only, each.begin, each.end) for name in names
                )
                rows.append((Cell(each.begin, kind), Cell(each.end, kind), *told))
        heads = [self._text(name) for name in ("from", "to", *names)]
        return self._table("team_intervals", "t_over_time", heads, rows)


def _worked(interval: TeamInterval) -> bool:
    return any(getattr(interval, name) for name in TEAM_OVER_TIME)


def _folded(summary: Summary) -> Iterator[Interval]:
    """The intervals, those in a row in which nothing came as one."""
    for is_quiet, group in groupby(summary.intervals, key=lambda interval: not interval.offered):
        run = list(group)
        yield from [replace(run[0], end=run[-1].end)] if is_quiet else run


def _alike(steps: Sequence[StaffStep]) -> Iterator[StaffStep]:
    """The steps, those in a row with as many people as one."""
    for _, group in groupby(steps, key=lambda step: (step.planned, step.in_plan, step.beyond_plan, step.unknown)):
        run = list(group)
        yield replace(run[0], end=run[-1].end)


_CHANGES = {Kind.COUNT: Kind.DELTA, Kind.SHARE: Kind.POINTS, Kind.SECONDS: Kind.SECONDS_DELTA}
