"""From calls to the items of a CRM pipeline: which there are, at which stage, in which words. Pure, no I/O.

An item is one customer's matter. Several misses of one customer between conversations are one item (the glossary's
fate); an answered call, where those become items as well, is one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from callkpi import config
from callkpi.calls.model import Call, Fate, Outcome
from callkpi.sources.bitrix24.settings import FunnelItems, FunnelSettings
from callkpi.words import Place, catalogue


class Stage(StrEnum):
    """Stages by the code that stands in the portal's STATUS_ID. The order is the one in which an item moves.

    Bitrix24 has one stage of success in a pipeline, so who was reached and who called again are both in WON; the
    item's text says which.
    """

    NEW = "NEW"
    QUEUED = "KPI_QUEUED"
    ANSWERED = "KPI_ANSWERED"
    MISSED = "KPI_MISSED"
    CALLED_BACK = "KPI_CALLED_BACK"
    WON = "WON"
    LOSE = "LOSE"
    NOT_TALKED = "KPI_NOT_TALKED"

    @property
    def is_final(self) -> bool:
        return self in FINAL

    @property
    def rank(self) -> int:
        """How far an item at this stage is; the final ones are equally far."""
        return min(_ORDER[self], _ORDER[Stage.WON])


FINAL = frozenset({Stage.WON, Stage.LOSE, Stage.NOT_TALKED})
_ORDER: Mapping[Stage, int] = {stage: number for number, stage in enumerate(Stage)}

#: Stages of each kind of pipeline in the order in which the portal shows them: process, success, failure.
STAGES: Mapping[FunnelItems, Sequence[Stage]] = {
    FunnelItems.MISSED: (Stage.NEW, Stage.CALLED_BACK, Stage.WON, Stage.LOSE),
    FunnelItems.OFFERED: tuple(Stage),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One missed call (or request to be called), with what became of its customer."""

    source: str
    call_id: str
    started_at: datetime
    customer: str  #: normalised number
    line: str
    queue: str
    fate: Fate
    called_back_at: datetime | None
    reached_at: datetime | None

    @property
    def key(self) -> tuple[str, str]:
        return self.source, self.call_id


@dataclass(frozen=True, slots=True)
class Episode:
    """The misses of one customer between two conversations, oldest first."""

    misses: Sequence[Miss]

    @property
    def reached(self) -> Miss | None:
        return next((miss for miss in self.misses if miss.reached_at is not None), None)

    def stage(self, now: datetime, write_off: timedelta, items: FunnelItems) -> Stage:
        """Like the work list: one miss that still waits keeps its customer on it."""
        if self.reached is not None:
            return Stage.WON
        if self.misses[-1].started_at < now - write_off:
            return Stage.LOSE
        if any(miss.called_back_at is not None for miss in self.misses):
            return Stage.CALLED_BACK
        return Stage.NEW if items is FunnelItems.MISSED else Stage.MISSED


def episodes(misses: Iterable[Miss], write_off: timedelta) -> Iterator[Episode]:
    """The episodes of customers, from their misses in any order. Hidden numbers are left out: nobody can call back."""
    known = sorted((miss for miss in misses if miss.customer), key=lambda m: (m.customer, m.started_at, m.key))
    for _, group in groupby(known, key=lambda miss: miss.customer):
        current: list[Miss] = []
        for miss in group:
            if current and not _goes_on(current[-1], miss, write_off):
                yield Episode(tuple(current))
                current = []
            current.append(miss)
        yield Episode(tuple(current))


def _goes_on(before: Miss, after: Miss, write_off: timedelta) -> bool:
    """No conversation between them, and the first one not written off when the second one came."""
    is_settled_apart = before.reached_at is not None and before.reached_at != after.reached_at
    return not is_settled_apart and after.started_at - before.started_at <= write_off


def stage_of_call(call: Call, talked_ms: int) -> Stage | None:
    """Where a call that is not missed stands; None: it is no item (any more), or its outcome says nothing yet."""
    if call.is_open:
        if call.answered:
            return Stage.ANSWERED
        return Stage.QUEUED if call.entries else Stage.NEW
    if call.outcome is Outcome.ANSWERED:
        return Stage.WON if (call.talk_ms or 0) >= talked_ms else Stage.NOT_TALKED
    return None


class Move(StrEnum):
    """What to do with an item that the portal showed."""

    STAY = "stay"
    GO = "go"
    #: It is a person's now, and is not touched again; the word is the reason.
    GONE = "gone"
    MOVED_AWAY = "moved_away"
    CLOSED_BY_HAND = "closed_by_hand"
    STAGE_OF_THEIRS = "stage_of_theirs"


RELEASED = frozenset({Move.GONE, Move.MOVED_AWAY, Move.CLOSED_BY_HAND, Move.STAGE_OF_THEIRS})


def move(seen: Stage | None, wanted: Stage) -> Move:
    """What becomes of an item that stands at *seen* (None: a stage that is none of ours) and ought to be at *wanted*.

    Only ever forward. What a person closed stays closed, and what a person moved ahead is not moved back.
    """
    if seen is None:
        return Move.STAGE_OF_THEIRS
    if seen is wanted:
        return Move.STAY
    if seen.is_final:
        return Move.CLOSED_BY_HAND
    return Move.GO if wanted.rank > seen.rank else Move.STAY


# -- words ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Words:
    """Texts of one pipeline, in its language and its tenant's zone."""

    settings: FunnelSettings
    tenant: config.Tenant

    def stage(self, stage: Stage) -> str:
        if stage is Stage.NEW and self.settings.items is FunnelItems.MISSED:
            return self._say("new_missed")
        return self._say(f"stage_{stage.name.lower()}")

    def title(self, shown_number: str, *, missed: bool) -> str:
        what = self._say("missed" if missed else "call")
        return f"{what} {shown_number or self._say('hidden')}"

    def episode(self, episode: Episode, stage: Stage, place: str) -> str:
        """What happened, in one line."""
        first, last = episode.misses[0], episode.misses[-1]
        count = len(episode.misses)
        told = [self._texts.plural("calls", count).format(n=count)]
        told.append(self._say("first", at=self._at(first.started_at)))
        if count > 1:
            told.append(self._say("last", at=self._at(last.started_at)))
        told += [place] if place else []
        attempts = [miss.called_back_at for miss in episode.misses if miss.called_back_at is not None]
        if attempts:
            told.append(self._say("called_back", at=self._at(min(attempts))))
        settled = episode.reached
        if settled is not None and settled.reached_at is not None:
            word = "reached" if settled.fate is Fate.REACHED else "self_served"
            told.append(self._say(word, at=self._at(settled.reached_at)))
        elif stage is Stage.LOSE:
            told.append(self._say("written_off"))
        return "; ".join(told)

    def call(self, call: Call, place: str) -> str:
        told = [self._at(call.started_at)] + ([place] if place else [])
        if call.answered_at is not None:
            told.append(self._say("answered", at=self._at(call.answered_at)))
        if not call.is_open and call.talk_ms is not None:
            told.append(self._say("talk", n=str(call.talk_ms // 1000)))
        return "; ".join(told)

    @property
    def corrected(self) -> str:
        return self._say("corrected")

    def place(self, queue: str, line: str) -> str:
        """Shown names of where the call came in."""
        return self._say("queue", name=queue) if queue else self._say("line", name=line) if line else ""

    def _at(self, at: datetime) -> str:
        return f"{at.astimezone(self.tenant.zone):%d.%m.%Y %H:%M}"

    def _say(self, word: str, **values: str) -> str:
        return self._texts[word].format(**values)

    @property
    def _texts(self) -> catalogue.Texts:
        return catalogue.texts(self.settings.language, Place.FUNNEL)
