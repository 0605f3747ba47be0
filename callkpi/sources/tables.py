"""Tables of calls (CSV) that a PBX exports: one row a call, columns named in the configuration.

For a source of kind ``csv``, and for any other kind that has ``columns``: rows whose ``call_id`` is the id that the
source sends live complete the same calls. The delimiter is read from the first line; text is UTF-8, else Windows-1251.
A row is a complete call: ``started`` and, of ``answered``, ``ended``, ``wait``, ``talk``, ``hold``, ``duration``, what
there is. ``duration`` is from the start to the end, ``talk`` the conversation.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from callkpi import config
from callkpi.calls.model import CallEvent, Direction, Kind, Outcome, millis
from callkpi.config import setting
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.facts import RANK_RECORD, Facts
from callkpi.sources.parts import PART_BYTES, PART_PAYLOADS, Part, Parts

#: Content types of tables.
MEDIA_TYPES = frozenset({"text/csv", "application/csv"})
MAX_COLUMNS = 200

#: Words that need no configuration: what exports in English and Russian say.
DIRECTIONS = {
    "in": Direction.INBOUND, "inbound": Direction.INBOUND, "incoming": Direction.INBOUND, "входящий": Direction.INBOUND,
    "входящий вызов": Direction.INBOUND, "входящий звонок": Direction.INBOUND,
    "out": Direction.OUTBOUND, "outbound": Direction.OUTBOUND, "outgoing": Direction.OUTBOUND,
    "исходящий": Direction.OUTBOUND, "исходящий вызов": Direction.OUTBOUND, "исходящий звонок": Direction.OUTBOUND,
    "internal": Direction.INTERNAL, "внутренний": Direction.INTERNAL, "внутренний вызов": Direction.INTERNAL,
}  # fmt: skip
OUTCOMES = {
    "answered": Outcome.ANSWERED, "answer": Outcome.ANSWERED, "success": Outcome.ANSWERED,
    "completed": Outcome.ANSWERED,
    "отвечен": Outcome.ANSWERED, "отвечено": Outcome.ANSWERED, "успешный": Outcome.ANSWERED,
    "успешно": Outcome.ANSWERED,
    "no answer": Outcome.NO_ANSWER, "noanswer": Outcome.NO_ANSWER, "no-answer": Outcome.NO_ANSWER,
    "missed": Outcome.NO_ANSWER, "unanswered": Outcome.NO_ANSWER, "не отвечен": Outcome.NO_ANSWER,
    "неотвечен": Outcome.NO_ANSWER, "нет ответа": Outcome.NO_ANSWER, "пропущен": Outcome.NO_ANSWER,
    "пропущенный": Outcome.NO_ANSWER, "пропущено": Outcome.NO_ANSWER,
    "cancel": Outcome.ABANDONED, "canceled": Outcome.ABANDONED, "cancelled": Outcome.ABANDONED,
    "abandoned": Outcome.ABANDONED, "отменен": Outcome.ABANDONED, "отменён": Outcome.ABANDONED,
    "busy": Outcome.BUSY, "занято": Outcome.BUSY, "rejected": Outcome.REJECTED, "отклонен": Outcome.REJECTED,
    "отклонён": Outcome.REJECTED, "failed": Outcome.FAILED, "congestion": Outcome.FAILED, "ошибка": Outcome.FAILED,
    "voicemail": Outcome.VOICEMAIL, "голосовая почта": Outcome.VOICEMAIL,
}  # fmt: skip
_DAY_FIRST = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})[ ,T]+(\d{1,2}:\d{2}(?::\d{2})?)")


@dataclass(frozen=True, slots=True)
class CsvSource(config.Source):
    """Tables of calls that somebody exports."""

    IS_FILE: ClassVar[bool] = True
    EXAMPLE: ClassVar[str] = 'token = ""\ncolumns = {started = "Date"}'

    kind: Literal["csv"] = setting("csv", "what sends")


class Table(base.SourceType):
    keys = CsvSource
    media_type = "text/csv"

    def decode(self, delivery: Delivery) -> Any:
        if delivery.body.lstrip()[:1] in (b"{", b"["):
            return base.decode_json_or_lines(delivery.body)  # a row that was kept because it was rejected
        return rows(delivery.body)

    def parts(self, body: bytes, most: int = PART_PAYLOADS) -> Parts:
        return super().parts(body, most) if body.lstrip()[:1] in (b"{", b"[") else TableParts(body, most)

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        raw = base.require_object(item)
        settings = context.settings
        titles = {_fold(name): name for name in raw}
        told: dict[str, Any] = {}
        for name, title in settings.columns.items():
            found = titles.get(_fold(title))
            if found is None:
                known = ", ".join(list(raw)[:30])
                raise Rejected(f"columns.{name}: the table has no column {base.shown(title)}; it has: {known}")
            told[name] = raw[found]
        facts = Facts(told, context)
        if not any(facts.text(name) for name in told):
            return []
        return _call(facts, settings)


#: The reader of tables of any source that has columns.
CSV = Table()


class TableParts:
    """A table in parts, each with the titles. Rows are told apart as :func:`rows` does: one may be several lines."""

    def __init__(self, body: bytes, most: int) -> None:
        self._body, self._most = body, most
        self._lines: Iterator[list[str]] | None = None
        self._titles: list[str] = []
        self._delimiter = ","

    def __iter__(self) -> Iterator[Part]:
        return self

    def __next__(self) -> Part:
        try:
            lines = self._open()
            some: list[list[str]] = []
            size = 0
            for line in lines:
                some.append(line)
                size += sum(map(len, line))
                if len(some) >= self._most or size >= PART_BYTES // 2:
                    break
        except (Malformed, csv.Error) as error:
            body, self._body, self._lines = self._body, b"", iter(())
            return Part(body, broken=f"not a table: {error}")
        if not some:
            self._body = b""
            raise StopIteration
        return Part(self._written(some), len(some))

    def _open(self) -> Iterator[list[str]]:
        if self._lines is None:
            text = _text(self._body)
            self._delimiter = _delimiter(text)
            lines = csv.reader(io.StringIO(text.lstrip("\ufeff"), newline=""), delimiter=self._delimiter, strict=False)
            self._lines = (line for line in lines if any(cell.strip() for cell in line))
            self._titles = next(self._lines)
        return self._lines

    def _written(self, lines: Iterable[list[str]]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        writer.writerow(self._titles)
        writer.writerows(lines)
        return text.getvalue().encode("utf-8", "replace")

    def rest(self) -> bytes:
        if self._lines is None:
            return self._body
        left = list(self._lines)
        return self._written(left) if left else b""


def _delimiter(text: str) -> str:
    first = text.lstrip("\ufeff\r\n").partition("\n")[0]
    if "\x00" in text or not first.strip():
        raise Malformed("the table is empty or no text; expected a first line with the titles of the columns")
    return max(";,\t|", key=first.count)


def _fold(title: str) -> str:
    return " ".join(title.strip().strip("\ufeff").casefold().split())


def rows(body: bytes) -> list[dict[str, str] | base.Broken]:
    """The rows of a table by the titles in its first line. Raises Malformed."""
    text = _text(body)
    delimiter = _delimiter(text)
    first = text.lstrip("\ufeff\r\n").partition("\n")[0]
    lines = text.lstrip("\ufeff").splitlines(keepends=True)
    read: list[list[str] | base.Broken]
    try:
        read = list(csv.reader(lines, delimiter=delimiter, strict=False))
    except csv.Error:
        read = [_cells(first, line, delimiter) for line in lines]
    read = [line for line in read if isinstance(line, base.Broken) or any(cell.strip() for cell in line)]
    if not read or isinstance(read[0], base.Broken):
        raise Malformed("not a table: its first line has no titles of columns")
    titles = [title.strip() for title in read[0]]
    if len(titles) > MAX_COLUMNS:
        raise Malformed(f"the table has {len(titles)} columns; at most {MAX_COLUMNS} are read")
    return [line if isinstance(line, base.Broken) else dict(zip(titles, line, strict=False)) for line in read[1:]]


def _cells(titles: str, line: str, delimiter: str) -> list[str] | base.Broken:
    """One line read apart from the others; what is none is kept with the line of the titles."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=False), [])
    except csv.Error as error:
        return base.Broken(f"{titles}\n{line}", f"no row of a table: {error}")


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return body.decode("cp1251", "replace")


def _call(facts: Facts, settings: config.Source) -> Sequence[CallEvent]:
    start = _time(facts, "started")
    if start is None:
        raise Rejected("started: is empty; a call needs its start")
    answered, ended = _time(facts, "answered"), _time(facts, "ended")
    wait, talk, total = (facts.milliseconds(name) for name in ("wait", "talk", "duration"))
    direction = _direction(facts, settings)
    outcome, code = _outcome(facts, settings, answered, talk)
    if answered is None and outcome is Outcome.ANSWERED and wait is not None:
        answered = start + timedelta(milliseconds=wait)
    begin_talk = answered or start
    if ended is None:
        if total is not None:
            ended = start + timedelta(milliseconds=total)
        elif outcome is Outcome.ANSWERED:
            ended = begin_talk + timedelta(milliseconds=talk or 0)
        else:
            ended = start + timedelta(milliseconds=wait or 0)
    if talk is None and answered is not None:
        talk = millis(ended, answered)
    return _events(facts, direction, outcome, code, (start, answered, max(ended, start)), (wait, talk))


def _events(
    facts: Facts,
    direction: Direction,
    outcome: Outcome,
    code: str,
    times: tuple[datetime, datetime | None, datetime],
    lengths: tuple[int | None, int | None],
) -> list[CallEvent]:
    (start, answered, ended), (wait, talk) = times, lengths
    call_id = facts.text("call_id") or f"row.{facts.event_id}"
    queue, agent = facts.text("queue"), facts.text("agent")
    outbound = direction is Direction.OUTBOUND
    about: dict[str, Any] = {
        "rank": RANK_RECORD, "direction": direction,
        "customer": facts.text("customer") or facts.text("to" if outbound else "from"),
        "line": facts.text("line") or facts.text("from" if outbound else "to"),
    }  # fmt: skip
    was_answered = outcome is Outcome.ANSWERED
    if wait is None and answered is not None:
        wait = millis(answered, start)
    events = [facts.event(Kind.STARTED, call_id, start, **about)]
    if queue and not outbound:
        stay = {"queue": queue, "entry": queue}
        events.append(facts.event(Kind.QUEUED, call_id, start, **stay))
        if not was_answered:
            events.append(facts.event(Kind.LEFT_QUEUE, call_id, ended, cause=outcome, wait_ms=wait, **stay))
    hold, ring = facts.milliseconds("hold"), facts.milliseconds("ring")
    if was_answered and hold is not None and answered is not None:
        leg = {"agent": agent, "leg": f"{call_id}/talk"}
        events += [
            facts.event(Kind.ANSWERED, call_id, answered, wait_ms=wait, ring_ms=ring, **leg),
            facts.event(Kind.ENDED, call_id, ended, part=".leg", talk_ms=talk, hold_ms=hold, **leg),
        ]
    end = facts.event(
        Kind.ENDED, call_id, ended, cause=outcome, code=code, agent=agent if was_answered or outbound else "",
        talk_ms=talk if was_answered else None, wait_ms=wait if was_answered else None, **about,
    )  # fmt: skip
    return [*events, end]


def _time(facts: Facts, name: str) -> datetime | None:
    """ISO 8601, Unix seconds, or day first (``23.11.2026 10:00:00``); without an offset of the source's zone."""
    text = facts.text(name)
    if not text or text.startswith(("0000-00-00", "-")):
        return None
    if base.is_unix(text) and len(text) >= 9:
        return facts.unix(name)
    match = _DAY_FIRST.fullmatch(text)
    if match is None:
        return facts.local(name)
    day, month, year, clock = match.groups()
    hour, _, rest = clock.partition(":")
    iso = f"{year}-{month:0>2}-{day:0>2} {hour:0>2}:{rest}"
    return base.local_time(iso, name, facts.context.settings.zone, facts.context.received_at)


def _direction(facts: Facts, settings: config.Source) -> Direction:
    """By the column, else by which side is one of our extensions."""
    word = facts.text("direction")
    if word:
        configured = _lookup(settings.directions, word)
        return Direction(configured) if configured else DIRECTIONS.get(_fold(word), Direction.UNKNOWN)
    is_ours = re.compile(settings.internal_number).fullmatch
    sender, receiver = facts.text("from"), facts.text("to")
    if not sender and not receiver:
        return Direction.UNKNOWN
    if is_ours(sender):
        return Direction.INTERNAL if is_ours(receiver) else Direction.OUTBOUND
    return Direction.INBOUND


def _outcome(facts: Facts, settings: config.Source, answered: datetime | None, talk: int | None) -> tuple[Outcome, str]:
    """The outcome and the file's own word for it; without a column, a call with a conversation was answered."""
    word = facts.text("outcome")
    if not word:
        return (Outcome.ANSWERED if answered is not None or talk else Outcome.NO_ANSWER), ""
    configured = _lookup(settings.outcomes, word)
    if configured:
        return Outcome(configured), word
    outcome = OUTCOMES.get(_fold(word))
    if outcome is None:
        raise Rejected(
            f'outcome: {base.shown(word)} is not known; write outcomes."{word[:30]}" = "answered" '
            "(or abandoned, no_answer, busy, …) into this source's configuration"
        )
    return outcome, word


def _lookup(table: Mapping[str, str], word: str) -> str:
    return next((meaning for told, meaning in table.items() if _fold(told) == _fold(word)), "")
