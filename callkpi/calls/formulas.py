"""The formulas: sums over any set of facts, and every KPI that follows from them. Pure, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from callkpi.calls.facts import MEASURES
from callkpi.calls.model import Outcome
from callkpi.config import ServiceLevelFormula


@dataclass(slots=True)
class Figures:
    """Sums over any set of facts, and every KPI that follows from them. Shares are 0..1, or None without calls."""

    sums: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)  #: offered contacts by outcome
    apart: Counter[str] = field(default_factory=Counter)  #: inbound contacts that were not offered, by outcome
    longest_wait_ms: int = 0

    def add(self, outcome: str, measures: Mapping[str, int], longest_wait_ms: int) -> None:
        offered = measures.get("offered", 0)
        self.outcomes[outcome] += offered
        self.apart[outcome] += measures.get("contacts", 0) - offered
        for name in MEASURES:
            value = measures.get(name)
            if value:
                self.sums[name] += value
        self.longest_wait_ms = max(self.longest_wait_ms, longest_wait_ms)

    def merge(self, other: Figures) -> None:
        self.sums.update(other.sums)
        self.outcomes.update(other.outcomes)
        self.apart.update(other.apart)
        self.longest_wait_ms = max(self.longest_wait_ms, other.longest_wait_ms)

    # Shares and means: what is divided by what -----------------------------------------------------------
    def parts(self, formula: ServiceLevelFormula) -> dict[str, tuple[int, int]]:
        """Of each share and mean its dividend and its divisor. Both are sums: those of one fact are its weight.

        Times are in milliseconds here, as everywhere inside.
        """
        sums, outcomes = self.sums, self.outcomes
        answered, missed = outcomes[Outcome.ANSWERED], sums["missed"]
        ended = sums["offered"] - outcomes[Outcome.OPEN] - outcomes[Outcome.EXPIRED]
        hold_ms = sums["hold_ms"] - sums["hold_in_talk_ms"]
        return {
            # missed / (handled offered + missed): ended calls only.
            "missed_share": (missed, answered + missed),
            "answer_rate": (answered, answered + missed),
            # abandoned / offered and ended, short abandons out of both.
            "abandon_rate": (outcomes[Outcome.ABANDONED], ended - outcomes[Outcome.SHORT_ABANDON]),
            "service_level": self._service_level_parts(formula),
            # Mean wait of answered contacts.
            "asa_seconds": (sums["wait_answered_ms"], sums["waits_answered"]),
            # (talk + hold + wrap) / handled; hold that a source counts as talk is not added to it again.
            "aht_seconds": (sums["talk_ms"] + hold_ms + sums["wrap_ms"], sums["handled"]),
        }

    def _service_level_parts(self, formula: ServiceLevelFormula) -> tuple[int, int]:
        """Answered within T, of which calls; which is the formula's name."""
        within, offered = self.sums["within_sl"], self.sums["offered"]
        if formula is ServiceLevelFormula.ANSWERED:
            return within, self.sums["answered"]
        if formula is ServiceLevelFormula.OFFERED:
            return within, offered
        if formula is ServiceLevelFormula.WITH_ABANDONS:
            short = self.outcomes[Outcome.SHORT_ABANDON]
            return within + self.sums["abandoned_within"] + short, offered
        return within, offered - self.outcomes[Outcome.SHORT_ABANDON]

    def _share(self, name: str) -> float | None:
        return _ratio(*self.parts(ServiceLevelFormula.DEFAULT)[name])

    @property
    def missed_share(self) -> float | None:
        """missed / (handled offered + missed): ended calls only."""
        return self._share("missed_share")

    @property
    def answer_rate(self) -> float | None:
        share = self.missed_share
        return None if share is None else 1 - share

    @property
    def abandon_rate(self) -> float | None:
        """abandoned / offered and ended, short abandons out of both."""
        return self._share("abandon_rate")

    def service_level(self, formula: ServiceLevelFormula) -> float | None:
        """Share of calls answered within T; which calls is the formula's name."""
        return _ratio(*self._service_level_parts(formula))

    # Times --------------------------------------------------------------------------------------------
    @property
    def asa_seconds(self) -> float | None:
        """Mean wait of answered contacts."""
        return _seconds_each(*self.parts(ServiceLevelFormula.DEFAULT)["asa_seconds"])

    @property
    def aht_seconds(self) -> float | None:
        """(talk + hold + wrap) / handled; hold that a source counts as talk is not added to it again."""
        return _seconds_each(*self.parts(ServiceLevelFormula.DEFAULT)["aht_seconds"])

    def as_row(self, formula: ServiceLevelFormula) -> dict[str, Any]:
        """The KPIs under the names of the glossary, in the order in which they are read."""
        sums, outcomes, parts = self.sums, self.outcomes, self.parts(formula)
        missed_share = _ratio(*parts["missed_share"])
        return {
            "offered": sums["offered"],
            "queued": sums["queued"],
            "rung": sums["rung"],
            "answered": sums["answered"],
            "talked": sums["talked"],
            "handled": sums["handled"],
            "missed": sums["missed"],
            "abandoned": outcomes[Outcome.ABANDONED],
            "short_abandoned": outcomes[Outcome.SHORT_ABANDON],
            "timed_out": outcomes[Outcome.TIMED_OUT],
            "left_empty": outcomes[Outcome.LEFT_EMPTY],
            "overflowed": outcomes[Outcome.OVERFLOWED],
            "no_answer": outcomes[Outcome.NO_ANSWER],
            "busy": outcomes[Outcome.BUSY],
            "rejected": outcomes[Outcome.REJECTED],
            "failed": outcomes[Outcome.FAILED],
            "exited": outcomes[Outcome.EXITED],
            "voicemail": outcomes[Outcome.VOICEMAIL],
            "open": outcomes[Outcome.OPEN],
            "expired": outcomes[Outcome.EXPIRED],
            "after_hours": self.apart[Outcome.AFTER_HOURS],
            "callback_requests": self.apart[Outcome.CALLBACK_REQUESTED],
            "made": sums["made"],
            "reached": sums["reached"],
            "not_reached": sums["not_reached"],
            "missed_share": missed_share,
            "answer_rate": None if missed_share is None else 1 - missed_share,
            "abandon_rate": _ratio(*parts["abandon_rate"]),
            "service_level": _ratio(*parts["service_level"]),
            "within_service_level": sums["within_sl"],
            "wait_seconds": sums["wait_ms"] / 1000,
            "wait_answered_seconds": sums["wait_answered_ms"] / 1000,
            "asa_seconds": _seconds_each(*parts["asa_seconds"]),
            "longest_wait_seconds": self.longest_wait_ms / 1000,
            "talk_seconds": sums["talk_ms"] / 1000,
            "hold_seconds": sums["hold_ms"] / 1000 if sums["holds"] else None,
            "wrap_seconds": sums["wrap_ms"] / 1000 if sums["wraps"] else None,
            "aht_seconds": _seconds_each(*parts["aht_seconds"]),
            "ring_no_answer": sums["ring_no_answer"],
            "transferred": sums["transferred"],
        }


def occupancy(work_ms: int, available_ms: int) -> float | None:
    """(talk + hold + wrap) / (talk + hold + wrap + available) of logged-in time; pauses are out."""
    return _ratio(work_ms, work_ms + available_ms)


def utilisation(work_ms: int, logged_in_ms: int) -> float | None:
    """(talk + hold + wrap) / logged-in time; pauses are in the divisor."""
    return _ratio(work_ms, logged_in_ms)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole > 0 else None


def _seconds_each(total_ms: int, count: int) -> float | None:
    return total_ms / count / 1000 if count else None
