"""What the counters of Prometheus grow by when a call changes. Pure, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from callkpi.calls.facts import DOUBTED, HISTOGRAMS, Fact, _count_in, bucket
from callkpi.calls.model import Outcome


class Series(NamedTuple):
    """One counter: a metric's name and its labels, "" where the metric lacks the label."""

    metric: str
    queue: str = ""
    agent: str = ""
    line: str = ""
    direction: str = ""
    outcome: str = ""


#: The growth of one counter: of its value, and of its buckets where it is a histogram.
Growth = tuple[int, dict[int, int]]


def growth(gone: Sequence[Fact], come: Sequence[Fact]) -> dict[Series, Growth]:
    """What the counters grow by when facts of a call are *gone* and others have *come*. Nothing ever shrinks.

    What a correction takes away is left standing and counted in ``reclassified`` from the old outcome to the new.
    """
    after = _series(come)
    if not gone:
        return after
    before, result = _series(gone), {}
    for series, (value, buckets) in after.items():
        old_value, old_buckets = before.get(series, (0, {}))
        grown = {i: n - old_buckets.get(i, 0) for i, n in buckets.items() if n > old_buckets.get(i, 0)}
        if value > old_value or grown:
            result[series] = (max(value - old_value, 0), grown)
    for series, count in _reclassified(before, after).items():
        result[series] = (count, {})
    return result


def _series(facts_: Iterable[Fact]) -> dict[Series, Growth]:
    totals: dict[Series, Growth] = {}
    for fact in facts_:
        for series, value, index in _series_of(fact):
            known, buckets = totals.get(series) or (0, {})
            if index is not None:
                _count_in(buckets, index, 1)
            totals[series] = (known + value, buckets)
    return totals


def _series_of(fact: Fact) -> Iterator[tuple[Series, int, int | None]]:
    """The counters that a fact adds to: the series, how much, and the histogram's bucket."""
    key, measures = fact.key, fact.measures
    if key.grain == "handle":
        for metric, measure in _AGENT_METRICS:
            if measures.get(measure):
                yield Series(metric, "", key.agent), measures[measure], None
        return
    whole = key.grain == "call"
    place = (key.queue, "", key.line, key.direction)
    if "offered" in measures:
        yield Series("company_offered" if whole else "offered", *place), 1, None
    if key.outcome not in _WITHOUT_END:
        yield Series("company_ended" if whole else "ended", *place, key.outcome), 1, None
    if whole:
        if DOUBTED in measures:
            yield Series("implausible_time"), 1, None
        return
    if "handled" in measures:
        yield Series("handled", *place), 1, None
    if "missed" in measures:
        yield Series("missed", *place, key.outcome), 1, None
    result = "answered" if "waits_answered" in measures else "unanswered"
    for name, (count, total, bounds) in HISTOGRAMS.items():
        if count in measures:
            value = measures.get(total, 0)
            series = Series(name, key.queue, "", "", "", result if name == "wait" else "")
            yield series, value, bucket(bounds, value)


_WITHOUT_END = frozenset({Outcome.OPEN.value, Outcome.EXPIRED.value})

_AGENT_METRICS = (
    ("agent_handled", "handled"),
    ("agent_talk_ms", "talk_ms"),
    ("agent_ring_no_answer", "ring_no_answer"),
)


def _reclassified(before: Mapping[Series, Any], after: Mapping[Series, Any]) -> Counter[Series]:
    """What a correction took from the counters ``ended`` and ``offered``, from which outcome to which."""
    result: Counter[Series] = Counter()
    for metric, nowhere in (("ended", str(Outcome.OPEN)), ("offered", "not_offered")):
        old, new = _counted(before, metric), _counted(after, metric)
        gone, come = sorted((old - new).elements()), sorted((new - old).elements())
        targets = [series.outcome or metric for series in come]
        targets += [nowhere] * max(len(gone) - len(come), 0)
        result.update(
            Series("reclassified", outcome=f"{series.outcome or metric}>{target}")
            for series, target in zip(gone, targets, strict=False)
        )
    return result


def _counted(totals: Mapping[Series, Any], metric: str) -> Counter[Series]:
    return Counter({series: value for series, (value, _) in totals.items() if series.metric == metric})
