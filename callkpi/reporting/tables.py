"""The tables of a summary, once for every form: what is in each cell, of which kind, which calls it opens to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.reporting.language import Language, language
from callkpi.reporting.reader import Reader
from callkpi.reporting.summary import AgentLine, CallBack, Goal, Interval, OpenCall, Summary
from callkpi.reporting.words import note_text, period_name

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


_A_DAY = timedelta(hours=25)


class Kind(StrEnum):
    TEXT = "text"
    COUNT = "count"
    SHARE = "share"
    SECONDS = "seconds"
    MOMENT = "moment"
    TIME = "time"
    ZONED = "zoned"  #: a time with its offset, of a night in which the clocks change
    DELTA = "delta"  #: a difference of counts
    POINTS = "points"  #: a difference of shares
    SECONDS_DELTA = "seconds_delta"


@dataclass(frozen=True, slots=True)
class Cell:
    """One value, not yet written in a language."""

    value: Any
    kind: Kind = Kind.TEXT
    figure: str = ""  #: it opens to the calls of this figure …
    only: Mapping[str, str] = field(default_factory=dict)  #: … of this queue, agent or outcome …
    begin: datetime | None = None  #: … and of this window; else of the whole period
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


def kind_of(figure: str) -> Kind:
    """How the figure is written."""
    if figure.endswith("_seconds"):
        return Kind.SECONDS
    shares = ("missed_share", "answer_rate", "abandon_rate", "service_level", "occupancy", "utilisation")
    return Kind.SHARE if figure in shares else Kind.COUNT


def tables(summary: Summary, code: str, reader: Reader) -> list[Table]:
    """All tables that a reader may see, the most important first."""
    maker = _Maker(summary, language(code), reader)
    found = [maker.headline(), maker.queues(), maker.reasons(), maker.callbacks(), maker.open_calls()]
    if reader.agents:
        found += [maker.agents(), maker.times()]
    found += [maker.intervals(), maker.notes()]
    return [table for table in found if table.rows]


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
    if kind in (Kind.MOMENT, Kind.TIME):
        return language.moment(value, zone) if kind is Kind.MOMENT else language.time(value, zone)
    if kind is Kind.ZONED:
        offset = f"{value.astimezone(zone):%z}"
        return f"{language.time(value, zone)} {offset[:3]}:{offset[3:5]}"
    if kind is Kind.SECONDS_DELTA:
        sign = "+" if value >= 0.5 else "−" if value <= -0.5 else ""
        return sign + language.clock(abs(value))
    writers: dict[Kind, Callable[[Any], str]] = {
        Kind.COUNT: language.number, Kind.SHARE: language.share, Kind.SECONDS: language.clock,
        Kind.DELTA: language.signed, Kind.POINTS: language.points,
    }  # fmt: skip
    return writers[kind](value)


class _Maker:
    def __init__(self, summary: Summary, language: Language, reader: Reader) -> None:
        self._summary, self._language, self._reader = summary, language, reader
        self._zone = ZoneInfo(summary.period.timezone)

    def _table(self, id: str, title: str, heads: Sequence[str], rows: Sequence[tuple[Cell, ...]]) -> Table:
        """A table whose columns are of the kind of their cells."""
        columns = zip(*rows, strict=True)
        kinds = tuple(next((c.kind for c in column if c.kind is not Kind.TEXT), Kind.TEXT) for column in columns)
        return Table(id, self._language.text(title), tuple(heads), tuple(rows), kinds)

    def _text(self, key: str) -> str:
        return self._language.text(key)

    # -- the whole -------------------------------------------------------------------------------------
    def headline(self) -> Table:
        figures, before = self._summary.figures, self._summary.before
        names = [*HEADLINE, *(name for name in WHERE_ANY if figures[name])]
        goal_of = self._summary.goal_of
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
        period = self._summary.period
        offsets = {at.astimezone(self._zone).utcoffset() for at in (period.begin, period.end)}
        kind = Kind.MOMENT if period.end - period.begin > _A_DAY else Kind.ZONED if len(offsets) > 1 else Kind.TIME
        figures = [
            Cell(getattr(interval, name), kind_of(name), name, begin=interval.begin, end=interval.end) for name in names
        ]
        return (Cell(interval.begin, kind), Cell(interval.end, kind), *figures)

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
            yield replace(cell, figure="") if name == "pauses" else cell

    def times(self) -> Table:
        """How the time was spent of those whose states are told."""
        lines = [line for line in self._summary.agents if line.logged_in_seconds]
        names = [name for name in AGENT_TIMES if any(getattr(line, name) for line in lines)]
        rows = [(Cell(line.agent), *(Cell(getattr(line, name), kind_of(name)) for name in names)) for line in lines]
        return self._table("times", "times_in_state", [self._text(name) for name in ("agent", *names)], rows)

    def _by_queue(self, line: AgentLine) -> str:
        told = [f"{queue or self._text('no_queue')} {count}" for queue, count in sorted(line.by_queue.items())]
        return self._text("comma").join(told)

    def _judged(self, figures: Mapping[str, Any], name: str, only: Mapping[str, str]) -> Cell:
        """A figure of a queue or an agent, and whether the goal that it has was reached."""
        goals = (
            goal for goal in self._summary.goals
            if goal.figure == name and (goal.queue, goal.agent) == (only.get("queue", ""), only.get("agent", ""))
        )  # fmt: skip
        goal = next(goals, None)
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


def _folded(summary: Summary) -> Iterator[Interval]:
    """The intervals, those in a row in which nothing came as one."""
    for is_quiet, group in groupby(summary.intervals, key=lambda interval: not interval.offered):
        run = list(group)
        yield from [replace(run[0], end=run[-1].end)] if is_quiet else run


_CHANGES = {Kind.COUNT: Kind.DELTA, Kind.SHARE: Kind.POINTS, Kind.SECONDS: Kind.SECONDS_DELTA}
