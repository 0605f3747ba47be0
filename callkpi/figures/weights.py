"""What a call weighs in a figure: that figure of the call's facts alone. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from callkpi.calls.facts import Fact
from callkpi.calls.formulas import Figures
from callkpi.glossary import CALL_KPIS, FATES, KPIS, ServiceLevelFormula, Way

#: Every figure that has calls behind it.
FIGURES: Mapping[str, Way] = {name: KPIS[name].way for name in (*CALL_KPIS, *FATES)}


class Weight(NamedTuple):
    """What one fact is in a figure: counts of it, or milliseconds."""

    part: int
    whole: int  #: of a share or a mean: what it adds to the divisor


NOTHING = Weight(0, 0)


def weigh(figure: str, fact: Fact, formula: ServiceLevelFormula = ServiceLevelFormula.DEFAULT) -> Weight:
    """The weight of *fact* in a figure of the glossary."""
    measures = fact.measures
    if FIGURES[figure] in (Way.COUNT, Way.SHARE):
        # Of counts alone, which are the same of many facts.
        counts = tuple((name, value) for name, value in measures.items() if not name.endswith("_ms"))
        return weigh_counts(figure, formula, fact.key.outcome, counts)
    return _weigh(figure, formula, fact.key.outcome, measures, fact.longest_wait_ms)


@lru_cache(maxsize=4096)
def weigh_counts(
    figure: str, formula: ServiceLevelFormula, outcome: str, counts: tuple[tuple[str, int], ...]
) -> Weight:
    """The weight in a figure of counts of a call with this outcome."""
    return _weigh(figure, formula, outcome, dict(counts), 0)


def _weigh(
    figure: str, formula: ServiceLevelFormula, outcome: str, measures: Mapping[str, int], longest_wait_ms: int
) -> Weight:
    alone = Figures()
    alone.add(outcome, measures, longest_wait_ms)
    way = FIGURES[figure]
    if way in (Way.SHARE, Way.MEAN):
        return Weight(*alone.parts(formula)[figure])
    value = alone.as_row(formula)[figure] or 0
    return Weight(round(value * 1000) if way in (Way.SUM, Way.LONGEST) else value, 0)


#: The longest window whose calls are looked at one by one.
LONGEST = timedelta(days=100)
