"""What matters of a period in a few sentences, and what is not known. Pure, no I/O.

A sentence is made of parts; a part that is a figure knows which one, so that a page can open it to its calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from callkpi.summaries.language import Language, language
from callkpi.summaries.summary import AgentLine, Doubt, Interval, Note, Span, Summary, TeamInterval, TeamWork

#: Doubts that make a figure less than the truth; the others are good to know.
SERIOUS = (
    Doubt.RUNNING, Doubt.NEVER_SPOKE, Doubt.DISCONNECTED, Doubt.SILENT, Doubt.REJECTED, Doubt.LAGGING, Doubt.EXPIRED,
    Doubt.CONFLICTING, Doubt.IMPLAUSIBLE, Doubt.SET_ASIDE,
)  # fmt: skip
_ONE_DAY = timedelta(hours=25)
#: How many gaps of silence are told one by one.
_GAPS = 3
#: What a comparison tells: the figure, and how it differs.
_COMPARED = ("offered", "missed", "service_level")
_COMPARED_OF_TEAM = ("handled", "answered", "made")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence."""

    text: str
    figure: str = ""  #: the figure that it tells, in the glossary's name
    only: Mapping[str, str] = field(default_factory=dict)  #: whose it is: queue, team
    begin: Any = None  #: of an interval's figure its window
    end: Any = None


@dataclass(frozen=True, slots=True)
class Sentence:
    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return "".join(part.text for part in self.parts)


#: What a template is filled with.
Filling = str | Part | Sequence[Part]


def sentences(summary: Summary, code: str) -> list[Sentence]:
    """Four to eight sentences in a language, the most important first; the last one says how good the data are."""
    said = _Said(summary, language(code))
    found = [
        said.volume(), *said.misses(), *said.service(), said.callbacks(), *said.outbound(), *said.peak(),
        *said.adherence(),
        *said.comparison(), *said.data(),
    ] if summary.team is None else list(_of_team(summary, summary.team, language(code)))  # fmt: skip
    return [Sentence(tuple(_with_one_stop([part for part in parts if part.text]))) for parts in found]


def _of_team(summary: Summary, team: TeamWork, told: Language) -> Iterator[list[Part]]:
    """What a team did; then what came into its shift's queues, or why nothing is said of who called."""
    said, customers = _SaidOfTeam(summary, team, told), summary.of_customers
    yield said.volume()
    yield from (*said.people(), *said.adherence(), *said.peak(), *said.comparison())
    if customers is None:
        yield [*said.went_on(), *said.no_customers()]
    else:
        of_queues = _Said(customers, told)
        yield [*said.scope(), Part(" "), *of_queues.volume()]
        yield from (*of_queues.misses(), *of_queues.service(), of_queues.callbacks())
    yield from said.data()


def _with_one_stop(parts: list[Part]) -> list[Part]:
    """An abbreviation at the end brings the full stop with it."""
    if len(parts) > 1 and parts[-1].text == "." and parts[-2].text.endswith("."):
        return parts[:-1]
    return parts


def fill(template: str, **values: Filling) -> list[Part]:
    """The template with its ``{name}`` replaced by parts."""
    parts: list[Part] = []
    for piece in re.split(r"(\{\w+\})", template):
        if not re.fullmatch(r"\{\w+\}", piece):
            parts.append(Part(piece))
            continue
        value = values[piece[1:-1]]
        if isinstance(value, str):
            parts.append(Part(value))
        else:
            parts.extend([value] if isinstance(value, Part) else value)
    return [part for part in parts if part.text]


class _Said:
    def __init__(self, summary: Summary, language: Language) -> None:
        self._summary, self._language = summary, language
        self._zone = ZoneInfo(summary.period.timezone)
        self._figures = summary.figures

    # -- parts -----------------------------------------------------------------------------------------
    def _count(self, figure: str) -> Part:
        return Part(self._language.number(self._int(figure)), figure)

    def _int(self, figure: str) -> int:
        return int(self._figures.get(figure) or 0)

    def _fill(self, key: str, **values: Filling) -> list[Part]:
        return fill(self._language.text(key), **values)

    def _plural(self, key: str, count: int, shown: Part | None = None, **values: Filling) -> list[Part]:
        number = shown or Part(self._language.number(count))
        return fill(self._language.plural(key, count), n=number, **values)

    def _duration(self, figure: str) -> Part:
        return Part(self._language.duration(self._figures.get(figure)), figure)

    # -- sentences -------------------------------------------------------------------------------------
    def volume(self) -> list[Part]:
        offered = self._int("offered")
        counted = "s_entries" if self._summary.period.queues else "s_calls"
        calls = self._plural(counted, offered, self._count("offered")) if offered else self._fill("s_no_calls")
        rest: list[Part] = []
        parts = ("exited", "voicemail", "open", "expired")
        for figure in (*parts, "after_hours"):
            if self._int(figure):
                rest += [*self._fill("comma"), *self._plural(f"s_{figure}", self._int(figure), self._count(figure))]
            if figure == "expired" and (twice := sum(map(self._int, ("answered", "missed", *parts))) - offered) > 0:
                # Who is answered and talks still is told twice: without this the parts would not add up.
                rest += self._plural("s_of_answered", twice)
        if not offered:
            return self._fill("s_volume_none", calls=calls, rest=rest)
        rate = Part(self._language.share(self._figures["answer_rate"]), "answer_rate")
        return self._fill(
            "s_volume",
            calls=calls,
            answered=self._count("answered"),
            rate=rate,
            missed=self._count("missed"),
            rest=rest,
        )

    def misses(self) -> Iterator[list[Part]]:
        """Why, and when and where most of them."""
        missed = self._int("missed")
        if not missed:
            if self._int("answered"):
                yield self._fill("s_nobody_missed")
            return
        reasons: dict[str, Filling] = {}
        for reason in self._summary.reasons:
            shown = Part(self._language.number(reason.calls), reason.outcome)
            reasons[reason.outcome] = self._plural(f"r_{reason.outcome}", reason.calls, shown)
        listed = self._language.listed([f"{{{outcome}}}" for outcome in reasons])
        told = self._fill("s_reasons", reasons=fill(listed, **reasons))
        most = self._most_missed(missed)
        yield [*told, Part(" "), *most] if most else told

    def _most_missed(self, missed: int) -> list[Part]:
        """The interval and the queue with most misses; nothing where none stands out."""
        worst = _greatest(self._summary.intervals, lambda interval: interval.missed)
        line = _greatest(self._summary.queues, lambda line: int(line.figures["missed"] or 0))
        where: dict[str, Filling] = {}
        if line is not None:
            shown = Part(self._language.number(line.figures["missed"] or 0), "missed", {"queue": line.queue})
            where = {"queue": line.queue, "n": shown}
        if worst is None:
            return self._fill("s_most_queue_alone", **where) if where and missed > 1 else []
        number = Part(self._language.number(worst.missed), "missed", begin=worst.begin, end=worst.end)
        return self._when("s_most", worst, n=number, queue=self._fill("s_most_queue", **where) if where else [])

    def _when(self, key: str, interval: Interval | TeamInterval, **values: Filling) -> list[Part]:
        """A sentence of an interval: a time of the day, or a day of a long period."""
        if (interval.end - interval.begin).total_seconds() > 2 * 3600:
            return self._fill(f"{key}_day", date=self._language.date(interval.begin, self._zone), **values)
        begin, end = (self._language.time(at, self._zone) for at in (interval.begin, interval.end))
        return self._fill(key, **{"from": begin, "to": end}, **values)

    def service(self) -> Iterator[list[Part]]:
        figures = self._figures
        longest = self._duration("longest_wait_seconds")
        if figures["asa_seconds"] is not None:
            waits = self._fill("s_waits", asa=self._duration("asa_seconds"), longest=longest)
        elif figures["longest_wait_seconds"]:
            waits = self._fill("s_longest_only", longest=longest)
        else:
            return
        if figures["aht_seconds"] is not None:
            waits += [*self._fill("semicolon"), *self._fill("s_aht", aht=self._duration("aht_seconds"))]
        if figures["service_level"] is None:
            yield _capital(self._fill("s_only_waits", waits=waits))
            return
        limit = self._summary.service_level_seconds
        within = self._fill("s_within", t=self._language.duration(limit)) if limit is not None else []
        share = Part(self._language.share(figures["service_level"]), "service_level")
        yield self._fill("s_service", share=share, within=within, judged=self._judged("service_level"), waits=waits)

    def _judged(self, figure: str) -> list[Part]:
        goal = self._summary.goal_of(figure)
        if goal is None or goal.is_reached is None:
            return []
        return self._fill("s_above" if goal.is_reached else "s_below", goal=self._language.share(goal.target))

    def callbacks(self) -> list[Part]:
        """Who waits for a call back: of the moment at which it ended, and now."""
        hand, now = self._summary.handover, "" if self._summary.has_ended else "_now"
        count = hand.waiting_customers
        if count is None:
            return []
        if not count:
            parts = self._fill(f"s_no_callbacks{now}")
        else:
            parts = self._plural(f"s_callbacks{now}", count)
            if hand.oldest_missed_at is not None:
                at = min(self._summary.as_of, self._summary.period.end)
                age = self._language.duration((at - hand.oldest_missed_at).total_seconds())
                parts += self._fill("s_oldest", age=age)
            if earlier := count - (hand.of_this_period or 0):
                parts += self._plural("s_earlier", earlier)
            if self._summary.has_ended:
                still = hand.still_waiting
                parts += self._plural("s_still", still) if still else self._fill("s_none_still")
        if hand.open_calls and self._summary.has_ended:
            parts += self._plural("s_went_on", len(hand.open_calls))
        return [*parts, Part(".")]

    def outbound(self) -> Iterator[list[Part]]:
        if made := self._int("made"):
            reached = self._int("reached")
            parts = self._plural("s_made", made, self._count("made"))
            yield [*parts, *self._fill("comma"), *self._plural("s_reached", reached, self._count("reached")), Part(".")]

    def peak(self) -> Iterator[list[Part]]:
        busiest, most = self._summary.busiest, self._summary.most_waiting
        interval = _greatest(self._summary.intervals, lambda interval: interval.offered)
        if busiest is None or interval is None:
            return
        shown = Part(self._language.number(busiest.count), "offered", begin=busiest.begin, end=busiest.end)
        waiting: list[Part] = []
        if most is not None:
            waiting = self._plural("s_most_waiting", most.count, at=self._language.time(most.begin, self._zone))
        yield self._when("s_peak", interval, calls=self._plural("n_calls", busiest.count, shown), waiting=waiting)

    def adherence(self) -> Iterator[list[Part]]:
        """Who was planned and came, and for how much of the planned time they were there."""
        plans = self._summary.adherence
        if plans is None:
            return
        parts = self._plural("s_planned", plans.planned_people)
        if plans.unknown < plans.planned_people:
            parts += self._plural("s_came", plans.came)
        if plans.absent:
            parts += self._plural("s_absent" if self._summary.has_ended else "s_absent_now", plans.absent)
        if plans.unknown:
            parts += self._plural("s_unknown_there", plans.unknown)
        if plans.adherence is not None:
            parts += self._fill("s_adherence", share=self._language.share(plans.adherence))
        for key, count, most in (
            ("s_late", plans.late, plans.latest_start_seconds), ("s_early", plans.early, plans.earliest_end_seconds),
        ):  # fmt: skip
            if count:
                parts += self._plural(key, count, most=self._language.duration(most))
        if plans.unplanned:
            parts += self._plural("s_unplanned", plans.unplanned)
        yield [*parts, Part(".")]

    def comparison(self) -> Iterator[list[Part]]:
        yield from self._compared(_COMPARED, ("offered", "made"), "s_all_same")

    def _compared(self, figures: Sequence[str], any_of: Sequence[str], same: str) -> Iterator[list[Part]]:
        """How *figures* differ from those of the period before, where there was *any_of* these."""
        before = self._summary.before
        if before is None or not any(before.figures[figure] for figure in any_of):
            return
        name = period_name(before.period, self._language)
        if all(before.figures[figure] == self._figures[figure] for figure in figures):
            yield self._fill(same, period=name)
            return
        changes = [self.difference(figure, before.figures) for figure in figures]
        parts = self._language.text("comma").join(change for change in changes if change)
        yield self._fill("s_against", period=name, changes=parts)

    def difference(self, figure: str, before: Mapping[str, Any]) -> str:
        """``missed −3 (−11%)``."""
        name = self._language.text(figure)
        name = name[:1].lower() + name[1:]
        old, new = before.get(figure), self._figures.get(figure)
        if old is None or new is None:
            return ""
        if figure == "service_level":
            change = self._language.points(new - old)
            same = round(100 * (new - old), 1) == 0
        else:
            change, same = self._language.signed(new - old), new == old
            if old and not same:
                change += f" ({_signed_share(self._language, (new - old) / old)})"
        return f"{name} {self._language.text('s_same') if same else change}"

    # -- doubts ----------------------------------------------------------------------------------------
    def data(self) -> Iterator[list[Part]]:
        """How good the data are, in one sentence."""
        notes = [note for note in self._summary.notes if note.doubt not in (Doubt.OPEN, Doubt.EXPIRED)]
        serious = [note for note in self._summary.notes if note.doubt in SERIOUS]
        others = [note for note in notes if note.doubt not in SERIOUS]
        told = []
        if serious:
            told.append(self._language.text("s_incomplete", notes=self._notes(serious)))
        if others:
            told.append(self._language.text("s_good_to_know", notes=self._notes(others)))
        yield [Part(" ".join(told) or self._language.text("s_complete"))]

    def _notes(self, notes: Sequence[Note]) -> str:
        gaps = [note for note in notes if note.doubt in (Doubt.DISCONNECTED, Doubt.SILENT)]
        shown = [note_text(self._summary, note, self._language) for note in notes if note not in gaps[_GAPS:]]
        if len(gaps) > _GAPS:
            shown.append(self._language.counted("s_more", len(gaps) - _GAPS))
        return self._language.text("semicolon").join(shown)


class _SaidOfTeam(_Said):
    """What a team did. Its figures open to its own handles."""

    def __init__(self, summary: Summary, team: TeamWork, language: Language) -> None:
        super().__init__(summary, language)
        self._team = team
        self._only = {"team": team.team}

    def _count(self, figure: str) -> Part:
        return replace(super()._count(figure), only=self._only)

    def _duration(self, figure: str) -> Part:
        return replace(super()._duration(figure), only=self._only)

    def volume(self) -> list[Part]:
        handled, rings = self._int("handled"), self._int("ring_no_answer")
        rest = self._fill("t_answered", answered=self._count("answered"))
        if self._int("made"):
            rest += self._fill("t_made", made=self._count("made"), reached=self._count("reached"))
        if rings:
            rest += self._plural("t_rings", rings, self._count("ring_no_answer"))
        if not any(self._int(figure) for figure in ("handled", "answered", "made", "ring_no_answer")):
            return self._fill("t_nothing", team=self._team.team)
        return self._plural("t_handled", handled, self._count("handled"), team=self._team.team, rest=rest)

    def people(self) -> Iterator[list[Part]]:
        """How many there were, and how their time was spent."""
        whole = self._team.whole
        count = sum(line.logged_in_seconds is not None or _has_worked(line) for line in self._summary.agents)
        if not count:
            return
        parts = self._plural("t_people", count)
        if self._figures["talk_seconds"]:
            parts += self._fill("t_talk", talk=self._duration("talk_seconds"))
        if self._figures["aht_seconds"] is not None:
            parts += [*self._fill("comma"), *self._fill("s_aht", aht=self._duration("aht_seconds"))]
        if whole.logged_in_seconds:
            logged_in, occupancy = self._language.duration(whole.logged_in_seconds), whole.occupancy
            parts += self._fill("t_logged_in", time=logged_in)
            if occupancy is not None:
                parts += self._fill("t_occupancy", share=self._language.share(occupancy))
        yield [*parts, Part(".")]

    def peak(self) -> Iterator[list[Part]]:
        interval = _greatest(self._team.intervals, lambda interval: interval.handled)
        if interval is not None:
            count = self._language.number(interval.handled)
            shown = Part(count, "handled", self._only, interval.begin, interval.end)
            yield self._when("t_peak", interval, calls=self._plural("n_calls", interval.handled, shown))

    def comparison(self) -> Iterator[list[Part]]:
        before = self._summary.before
        old = before.figures if before is not None else {}
        some = [figure for figure in _COMPARED_OF_TEAM if self._figures[figure] or old.get(figure)]
        yield from self._compared(some, ("handled", "made"), "t_all_same")

    def went_on(self) -> list[Part]:
        """Calls of the team that went on when its shift ended."""
        count = len(self._summary.handover.open_calls)
        return [*self._plural("t_went_on", count), Part(" ")] if count and self._summary.has_ended else []

    def no_customers(self) -> list[Part]:
        return self._fill("t_no_customers")

    def scope(self) -> list[Part]:
        return self._plural(
            "t_scope", len(self._summary.period.queues), queues=self._language.listed(self._summary.period.queues)
        )


def note_text(summary: Summary, note: Note, language: Language) -> str:
    """A doubt in words."""
    zone = ZoneInfo(summary.period.timezone)
    begin, end = (language.moment(at, zone) if at is not None else "" for at in (note.begin, note.end))
    if note.begin is not None and note.end is not None:
        end = language.until(note.begin, note.end, zone)
        # Of one day or night everybody knows the date.
        if summary.period.end - summary.period.begin <= _ONE_DAY and len(end) < len(begin):
            begin = language.time(note.begin, zone)
    key = f"d_{note.doubt.value}"
    if note.doubt is Doubt.RUNNING and not summary.has_begun:
        key, begin = "d_not_begun", language.moment(summary.period.begin, zone)
    values = {"source": note.source, "begin": begin, "end": end}
    if note.doubt is Doubt.DISCONNECTED:
        return _outage(note, values, language)
    return language.told(key, note.count, **values)


def _outage(note: Note, values: Mapping[str, str], language: Language) -> str:
    """Between when a source was not heard, and what that did to calls."""
    if note.begin is None or note.end is None:
        return language.text("d_disconnected_now", **values)
    length = language.duration((note.end - note.begin).total_seconds())
    unheard = language.counted("d_unheard", note.count) if note.count else ""
    return language.text("d_disconnected", length=length, unheard=unheard, **values)


def period_name(period: Span, language: Language) -> str:
    """``Night, 23 Nov 2026``; ``November 2026``; of others their days or times."""
    zone = ZoneInfo(period.timezone)
    local = period.begin.astimezone(zone)
    if period.kind == "shift":
        return f"{period.name}, {language.date(period.begin, zone)}"
    if period.kind == "day":
        return f"{language.weekday(period.begin, zone)}, {language.date(period.begin, zone)}"
    if period.kind == "week":
        year, week, _ = local.isocalendar()
        return language.text("n_week", n=str(week), y=str(year))
    if period.kind == "month":
        return language.text("n_month", month=language.month(local.date()), y=str(local.year))
    if period.kind == "quarter":
        return language.text("n_quarter", n=str((local.month + 2) // 3), y=str(local.year))
    if period.kind == "year":
        return str(local.year)
    return language.dates(period.begin, period.end, zone)


def _has_worked(line: AgentLine) -> bool:
    return any(line.figures[figure] for figure in ("handled", "answered", "made"))


def counted(summary: Summary, told: Language) -> str:
    """What is counted where it is not all calls: of which team, in which queues."""
    queues, team = told.text("comma").join(summary.period.queues), summary.period.team
    if team:
        return told.text("counts_team_in" if queues else "counts_team", team=team, queues=queues)
    return told.text("counts_entries", queues=queues) if queues else ""


def title(summary: Summary, code: str) -> str:
    """``Shift summary: Night, 23 Nov 2026``."""
    told = language(code)
    key = f"title_{summary.period.kind}"
    return f"{told.text(key if told.has(key) else 'title_custom')}: {period_name(summary.period, told)}"


_Item = TypeVar("_Item")


def _greatest(items: Sequence[_Item], size: Callable[[_Item], int]) -> _Item | None:
    """The one that stands out: of at least two the greatest, of size two or more; None where others are as great."""
    ordered = sorted(items, key=size, reverse=True)
    if len(ordered) < 2 or size(ordered[0]) < 2 or size(ordered[0]) == size(ordered[1]):
        return None
    return ordered[0]


def _signed_share(language: Language, value: float) -> str:
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return sign + language.share(abs(value))


def _capital(parts: list[Part]) -> list[Part]:
    first = parts[0]
    return [Part(first.text[:1].upper() + first.text[1:], first.figure, first.only), *parts[1:]]
