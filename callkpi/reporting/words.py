"""What matters of a period in a few sentences, and what is not known. Pure, no I/O.

A sentence is made of parts; a part that is a figure knows which one, so that a page can open it to its calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from callkpi.reporting.language import Language, language
from callkpi.reporting.summary import Doubt, Interval, Note, Span, Summary

#: Doubts that make a figure less than the truth; the others are good to know.
SERIOUS = (
    Doubt.RUNNING, Doubt.NEVER_SPOKE, Doubt.SILENT, Doubt.REJECTED, Doubt.LAGGING, Doubt.EXPIRED,
    Doubt.CONFLICTING,
)  # fmt: skip
_ONE_DAY = timedelta(hours=25)
#: How many gaps of silence are told one by one.
_GAPS = 3
#: What a comparison tells: the figure, and how it differs.
_COMPARED = ("offered", "missed", "service_level")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a sentence."""

    text: str
    figure: str = ""  #: the figure that it tells, in the glossary's name
    only: Mapping[str, str] = field(default_factory=dict)  #: whose it is: queue
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
        *said.comparison(), *said.data(),
    ]  # fmt: skip
    return [Sentence(tuple(_with_one_stop([part for part in parts if part.text]))) for parts in found]


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
        reasons = self._summary.reasons
        parts: list[Part] = []
        for index, reason in enumerate(reasons):
            between = "" if not index else "and" if index == len(reasons) - 1 else "comma"
            parts += self._fill(between) if between else []
            shown = Part(self._language.number(reason.calls), reason.outcome)
            parts += self._plural(f"r_{reason.outcome}", reason.calls, shown)
        told = self._fill("s_reasons", reasons=parts)
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

    def _when(self, key: str, interval: Interval, **values: Filling) -> list[Part]:
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
        if not count:
            parts = self._fill(f"s_no_callbacks{now}")
        else:
            parts = self._plural(f"s_callbacks{now}", count)
            if hand.oldest_missed_at is not None:
                at = min(self._summary.as_of, self._summary.period.end)
                age = self._language.duration((at - hand.oldest_missed_at).total_seconds())
                parts += self._fill("s_oldest", age=age)
            if earlier := count - hand.of_this_period:
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

    def comparison(self) -> Iterator[list[Part]]:
        before = self._summary.before
        if before is None or not (before.figures["offered"] or before.figures["made"]):
            return
        name = period_name(before.period, self._language)
        if all(before.figures[figure] == self._figures[figure] for figure in _COMPARED):
            yield self._fill("s_all_same", period=name)
            return
        changes = [self.difference(figure, before.figures) for figure in _COMPARED]
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
        gaps = [note for note in notes if note.doubt is Doubt.SILENT]
        shown = [note_text(self._summary, note, self._language) for note in notes if note not in gaps[_GAPS:]]
        if len(gaps) > _GAPS:
            shown.append(self._language.counted("s_more", len(gaps) - _GAPS))
        return self._language.text("semicolon").join(shown)


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
    return language.counted(key, note.count, **values) if note.count else language.text(key, **values)


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
        return language.text("n_month", month=language.month(local.month), y=str(local.year))
    if period.kind == "quarter":
        return language.text("n_quarter", n=str((local.month + 2) // 3), y=str(local.year))
    if period.kind == "year":
        return str(local.year)
    return language.dates(period.begin, period.end, zone)


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
