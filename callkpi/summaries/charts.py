"""The charts of a summary as shapes: calls per interval, service level with its goal, waits. Pure, no I/O.

The page writes them as SVG, the PDF draws the same. What a colour says is said by lightness as well: a grey print
keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from zoneinfo import ZoneInfo

from callkpi.summaries.language import Language, language
from callkpi.summaries.summary import Interval, Summary, TeamInterval, TeamWork

WIDTH, HEIGHT = 720.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 8.0, 26.0, 22.0


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle, from its upper left corner."""

    style: str
    x: float
    y: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    style: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Text:
    style: str
    x: float
    y: float  #: of the base line
    text: str
    anchor: str = "start"  #: start, middle or end


Shape = Box | Line | Text


@dataclass(frozen=True, slots=True)
class Chart:
    id: str
    title: str
    description: str  #: what it says, for those who can't see it
    shapes: tuple[Shape, ...] = field(default=())


def charts(summary: Summary, code: str) -> list[Chart]:
    """The charts of a period with calls in it; none of one interval."""
    if summary.team is not None:
        return list(_of_team(summary, summary.team, code))
    if len(summary.intervals) < 2 or not any(interval.offered for interval in summary.intervals):
        return []
    maker = _Maker(summary, language(code))
    return [maker.calls(), maker.service_level(), maker.waits()]


def _of_team(summary: Summary, team: TeamWork, code: str) -> Iterator[Chart]:
    """What a team did; then the charts of its shift's queues, whoever took the calls."""
    told, customers = language(code), summary.of_customers
    if len(team.intervals) > 1 and any(interval.answered or interval.made for interval in team.intervals):
        maker = _MakerOfTeam(summary, team, told)
        yield from (maker.calls(), maker.talk())
    if customers is not None:
        for chart in charts(customers, code):
            yield replace(chart, title=told.text("t_chart_of_queues", title=chart.title))


class _Frame:
    """The place that a chart is drawn in, and what stands around it."""

    def __init__(self, summary: Summary, language: Language, steps: Sequence[Interval | TeamInterval]) -> None:
        self._summary, self._language, self._steps = summary, language, steps
        self._zone = ZoneInfo(summary.period.timezone)
        self._step = (WIDTH - _LEFT - _RIGHT) / len(steps)

    def _x(self, index: float) -> float:
        return _LEFT + index * self._step

    @staticmethod
    def _y(share: float) -> float:
        """The height of a share of the greatest value."""
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def _bars(self, rows: Sequence[tuple[Sequence[tuple[str, int]], str]], top: int) -> Iterator[Shape]:
        """A bar a step, its parts upon each other; and what it says to a pointer."""
        gap = min(self._step * 0.15, 4.0)
        for index, (parts, title) in enumerate(rows):
            base = 0
            for style, count in parts:
                if count > 0:
                    upper = self._y((base + count) / top)
                    height = self._y(base / top) - upper
                    yield Box(style, self._x(index) + gap / 2, upper, self._step - gap, height, title)
                    base += count

    def _grid(self, marks: Sequence[tuple[float, str]]) -> Iterator[Shape]:
        """Lines with their values, and the times below."""
        for share, shown in marks:
            y = self._y(share)
            yield Line("grid", ((_LEFT, y), (WIDTH - _RIGHT, y)))
            yield Text("label", _LEFT - 5, y + 3.5, shown, "end")
        every = max(1, ceil(len(self._steps) / 12))
        for index in range(0, len(self._steps), every):
            yield Text("label", self._x(index), HEIGHT - 7, self._when(self._steps[index]), "middle")

    def _curve(self, style: str, values: Sequence[float | None]) -> Iterator[Shape]:
        """A line through what is known, broken where nothing is; a lonely value is a dot."""
        run: list[tuple[float, float]] = []
        for index, value in enumerate([*values, None]):
            if value is not None:
                run.append((self._x(index + 0.5), self._y(value)))
                continue
            if len(run) > 1:
                yield Line(style, tuple(run))
            for x, y in run:
                yield Box("dot", x - 2, y - 2, 4, 4)
            run = []

    def _legend(self, entries: Sequence[tuple[str, str]]) -> Iterator[Shape]:
        x = _LEFT
        for style, text in entries:
            if style in ("line", "goal"):
                yield Line(style, ((x, 9.0), (x + 16, 9.0)))
            else:
                yield Box(style, x, 4, 16, 10)
            yield Text("legend", x + 21, 13, text)
            x += 21 + 6.4 * len(text) + 18

    def _when(self, interval: Interval | TeamInterval) -> str:
        if (interval.end - interval.begin).total_seconds() > 2 * 3600:
            local = interval.begin.astimezone(self._zone)
            return f"{self._language.weekday(interval.begin, self._zone)} {local.day}"
        return self._language.time(interval.begin, self._zone)


class _Maker(_Frame):
    def __init__(self, summary: Summary, language: Language) -> None:
        super().__init__(summary, language, summary.intervals)
        self._intervals = summary.intervals

    # -- charts ----------------------------------------------------------------------------------------
    def calls(self) -> Chart:
        text = self._language.text
        top = _round_up(max(interval.offered for interval in self._intervals))
        shapes: list[Shape] = [*self._grid([(value / top, self._language.number(value)) for value in _marks(top)])]
        rows = [
            (
                (("answered", each.answered), ("missed", each.missed),
                 ("rest", each.offered - each.answered - each.missed)),
                self._title(each),
            )
            for each in self._intervals
        ]  # fmt: skip
        shapes += self._bars(rows, top)
        legend = [("answered", text("answered")), ("missed", text("missed"))]
        if any(each.offered > each.answered + each.missed for each in self._intervals):
            legend.append(("rest", text("legend_rest")))
        shapes += self._legend(legend)
        told = [f"{text(name)} {self._language.number(sum(getattr(i, name) for i in self._intervals))}"
                for name in ("offered", "answered", "missed")]  # fmt: skip
        return Chart("calls", text("chart_calls"), text("comma").join(told), tuple(shapes))

    def service_level(self) -> Chart:
        text = self._language.text
        shapes: list[Shape] = [*self._grid([(each, self._language.share(each)) for each in (0.0, 0.5, 1.0)])]
        goal = next((g for g in self._summary.goals if g.figure == "service_level" and g.is_of_all), None)
        legend = [("line", text("service_level"))]
        if goal is not None:
            y = self._y(goal.target)
            shapes.append(Line("goal", ((_LEFT, y), (WIDTH - _RIGHT, y))))
            legend.append(("goal", text("legend_goal", n=self._language.share(goal.target))))
        shapes += self._curve("line", [interval.service_level for interval in self._intervals])
        shapes += self._legend(legend)
        told = f"{text('service_level')} {self._language.share(self._summary.figures['service_level'])}"
        return Chart("service_level", text("chart_service_level"), told, tuple(shapes))

    def waits(self) -> Chart:
        text, intervals = self._language.text, self._intervals
        top = _round_up_seconds(max((interval.longest_wait_seconds for interval in intervals), default=0.0))
        marks = [(part, self._language.clock(part * top)) for part in (0.0, 0.5, 1.0)]
        shapes: list[Shape] = [*self._grid(marks)]
        for index, interval in enumerate(intervals):
            if interval.longest_wait_seconds:
                upper = self._y(interval.longest_wait_seconds / top)
                width = max(self._step * 0.3, 1.5)
                x = self._x(index + 0.5) - width / 2
                shapes.append(Box("longest", x, upper, width, self._y(0) - upper, self._title(interval)))
        means = [None if i.asa_seconds is None else i.asa_seconds / top for i in intervals]
        shapes += self._curve("line", means)
        shapes += self._legend([("longest", text("legend_longest")), ("line", text("legend_mean"))])
        told = (
            f"{text('longest_wait_seconds')} {self._language.duration(self._summary.figures['longest_wait_seconds'])}"
        )
        return Chart("waits", text("chart_waits"), told, tuple(shapes))

    def _title(self, interval: Interval) -> str:
        told = [f"{self._language.text(name)} {getattr(interval, name)}" for name in ("offered", "answered", "missed")]
        return f"{self._when(interval)}: {self._language.text('comma').join(told)}"


class _MakerOfTeam(_Frame):
    def __init__(self, summary: Summary, team: TeamWork, language: Language) -> None:
        super().__init__(summary, language, team.intervals)
        self._team = team

    def calls(self) -> Chart:
        """Calls that the team answered and made, and rings that it let pass, by when its phones began to ring."""
        told = (("answered", "answered"), ("rest", "made"), ("missed", "ring_no_answer"))
        text, intervals = self._language.text, self._team.intervals
        sums = {figure: sum(getattr(each, figure) for each in intervals) for _, figure in told}
        top = _round_up(max(sum(getattr(each, figure) for _, figure in told) for each in intervals))
        shapes: list[Shape] = [*self._grid([(value / top, self._language.number(value)) for value in _marks(top)])]
        rows = [([(style, getattr(each, figure)) for style, figure in told], self._title(each)) for each in intervals]
        shapes += self._bars(rows, top)
        shapes += self._legend([(style, text(figure)) for style, figure in told if sums[figure] or style == "answered"])
        said = [f"{text(figure)} {self._language.number(count)}" for figure, count in sums.items()]
        return Chart("team_calls", text("t_chart_calls"), text("comma").join(said), tuple(shapes))

    def talk(self) -> Chart:
        """How long the team talked in the calls that began in each step."""
        text, intervals = self._language.text, self._team.intervals
        top = _round_up_seconds(max(interval.talk_seconds for interval in intervals))
        shapes: list[Shape] = [*self._grid([(part, self._language.clock(part * top)) for part in (0.0, 0.5, 1.0)])]
        rows = [([("answered", round(each.talk_seconds))], self._title(each)) for each in intervals]
        shapes += self._bars(rows, round(top))
        shapes += self._legend([("answered", text("talk_seconds"))])
        said = f"{text('talk_seconds')} {self._language.duration(self._summary.figures['talk_seconds'])}"
        return Chart("team_talk", text("t_chart_talk"), said, tuple(shapes))

    def _title(self, interval: TeamInterval) -> str:
        counts = [f"{self._language.text(name)} {getattr(interval, name)}" for name in ("answered", "made")]
        talk = f"{self._language.text('talk_seconds')} {self._language.clock(interval.talk_seconds)}"
        return f"{self._when(interval)}: {self._language.text('comma').join([*counts, talk])}"


def _round_up(value: int) -> int:
    """The next number that is round and even."""
    step = 2
    while step * 5 < value:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return max(ceil(value / step) * step, 2)


def _marks(top: int) -> Sequence[int]:
    return (0, top // 2, top)


def _round_up_seconds(value: float) -> float:
    steps = (10, 20, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2400, 3600)
    return next((float(step) for step in steps if step >= value), ceil(value / 3600) * 3600.0)
