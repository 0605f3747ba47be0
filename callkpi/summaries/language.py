"""How a language writes: its words with their plurals, its numbers, shares, durations and dates. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Day
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from babel import dates, lists, numbers

from callkpi import words
from callkpi.words import Place, catalogue

#: The languages that a summary is offered in.
LANGUAGES = words.LANGUAGES[Place.SUMMARY]
#: CLDR writes a hyphen, which is lost beside a figure.
_MINUS = "−"


@cache
def language(code: str) -> Language:
    """The language of a code; English where there is none."""
    return Language(code if code in LANGUAGES else "en")


class Language:
    def __init__(self, code: str) -> None:
        self.code = code
        self._texts = catalogue.texts(code, Place.SUMMARY)
        self._figures = catalogue.texts(code, Place.FIGURE)
        self._locale = catalogue.locale(code)
        self._dates: dict[Day, str] = {}

    def has(self, key: str) -> bool:
        return key in self._texts or key in self._figures

    def text(self, key: str, **values: str) -> str:
        """A text without a number in it, or the name of a figure."""
        text = self._texts[key] if key in self._texts else self._figures[key]
        return text.format(**values) if values else text

    def plural(self, key: str, count: int) -> str:
        """The form of a text for a number of things, with its ``{…}`` still in it."""
        return self._texts.plural(key, count)

    def counted(self, key: str, count: int, **values: str) -> str:
        """``21 звонок``: the number and the right form."""
        return self.plural(key, count).format(n=self.number(count), **values)

    def listed(self, parts: Sequence[str]) -> str:
        """``a, b and c``."""
        return lists.format_list(parts, locale=self._locale)

    def told(self, key: str, count: int, **values: str) -> str:
        """A text that may tell a number of things, or say the same of any number: only the first has plural forms."""
        return self.counted(key, count, **values) if self._texts.counts(key) else self.text(key, **values)

    # -- numbers ---------------------------------------------------------------------------------------
    def number(self, value: float, decimals: int = 0) -> str:
        if decimals == 0 and isinstance(value, int) and 0 <= value < 1000:
            return str(value)
        shown = Decimal(f"{value:.{decimals}f}")
        return (_MINUS if shown < 0 else "") + _decimal(self.code, abs(shown), decimals)

    def share(self, value: float | None) -> str:
        """Per cent with one decimal where it is not whole. What is not all of it is never told as 100 %."""
        if value is None:
            return self.text("none")
        shown = round(100 * value, 1)
        if 0 < value < 1:
            shown = min(max(shown, 0.1), 99.9)
        return _percent(self.code, shown)

    def points(self, difference: float) -> str:
        """A difference of shares in percentage points, with its sign."""
        return self.text("points", n=self.signed(round(100 * difference, 1), 1))

    def signed(self, value: float, decimals: int = 0) -> str:
        shown = self.number(value, decimals)
        return f"+{shown}" if float(f"{value:.{decimals}f}") > 0 else shown

    # -- times -----------------------------------------------------------------------------------------
    def duration(self, seconds: float | None) -> str:
        """``2 h 10 min``: as one says it."""
        if seconds is None:
            return self.text("none")
        whole = round(seconds)
        minutes, rest = divmod(whole, 60)
        hours, minutes_left = divmod(minutes, 60)
        if whole < 60:
            return self.text("seconds", s=str(whole))
        if hours == 0:
            key = "minutes_seconds" if rest else "minutes"
            return self.text(key, m=str(minutes), s=str(rest))
        if hours < 48:
            return self.text("hours_minutes", h=str(hours), m=str(minutes_left))
        return self.text("days_hours", d=str(hours // 24), h=str(hours % 24))

    def clock(self, seconds: float | None) -> str:
        """``2:10:00``, ``6:12``: as a table shows it."""
        if seconds is None:
            return self.text("none")
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def time(self, at: datetime, zone: ZoneInfo) -> str:
        local = at.astimezone(zone)
        return f"{local.hour:02}:{local.minute:02}"

    def date(self, at: datetime, zone: ZoneInfo) -> str:
        return self._date(at.astimezone(zone).date())

    def _date(self, day: Day) -> str:
        shown = self._dates.get(day)
        if shown is None:
            shown = self._dates[day] = dates.format_date(day, self.text("date"), locale=self._locale)
        return shown

    def month(self, day: Day) -> str:
        """A month by itself, without a day: ``ноябрь``."""
        return dates.format_date(day, "LLLL", locale=self._locale)

    def dates(self, begin: datetime, end: datetime, zone: ZoneInfo) -> str:
        """[begin, end) as people write it: its first and last day, or times where it does not lie between days."""
        edges = [at.astimezone(zone) for at in (begin, end)]
        if all((at.hour, at.minute, at.second) == (0, 0, 0) for at in edges) and begin < end:
            first, last = self.date(begin, zone), self.date(edges[1] - timedelta(days=1), zone)
            return first if first == last else f"{first} – {last}"
        return f"{self.moment(begin, zone)} – {self.until(begin, end, zone)}"

    def until(self, begin: datetime, end: datetime, zone: ZoneInfo) -> str:
        """An end: without its date where the clocks have gone on for less than a day since the begin."""
        gone = end.astimezone(zone).replace(tzinfo=None) - begin.astimezone(zone).replace(tzinfo=None)
        return self.time(end, zone) if gone < timedelta(days=1) else self.moment(end, zone)

    def weekday(self, at: datetime, zone: ZoneInfo) -> str:
        return dates.format_date(at.astimezone(zone).date(), "ccc", locale=self._locale)

    def moment(self, at: datetime | None, zone: ZoneInfo) -> str:
        """Date and time by the call centre's clock."""
        return self.text("none") if at is None else f"{self.date(at, zone)} {self.time(at, zone)}"


@lru_cache(maxsize=4096)
def _decimal(code: str, value: Decimal, decimals: int) -> str:
    form = "#,##0" + ("." + "0" * decimals if decimals else "")
    return numbers.format_decimal(value, form, locale=catalogue.locale(code))


@lru_cache(maxsize=4096)
def _percent(code: str, percent: float) -> str:
    # Not rounded again: whole or not, it has the decimals that it has.
    part = Decimal(repr(percent)).scaleb(-2)
    return numbers.format_percent(part, locale=catalogue.locale(code), decimal_quantization=False)
