"""The sweep over a quarter of an hour gives exactly what looking at every moment by itself gives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from callkpi import config
from callkpi.people.presence import (
    BASES,
    PHONES,
    QUARTER_MS,
    Held,
    Lapse,
    Line,
    OnPhone,
    Span,
    Told,
    joined,
    quarter_of,
    together,
)

BEGIN = 1_795_417_200_000 // QUARTER_MS * QUARTER_MS
END = BEGIN + QUARTER_MS
#: Long ago, the edges of the quarter, and few moments within it: so that many things happen at once.
MOMENTS = st.sampled_from(
    [BEGIN - 4_000_000, BEGIN - 1, BEGIN, *range(BEGIN + 1, END, 150_000), END - 1, END, END + 1, END + 4_000_000]
)
WITHIN = st.sampled_from([0, 1, *range(100_000, QUARTER_MS, 100_000), QUARTER_MS - 1, QUARTER_MS])
QUEUES = st.sampled_from(["", "sales", "support"])
REASONS = st.sampled_from(["", "lunch", "call"])
LAPSES = [Lapse.of(config.Tenant(agent_state_hours=hours)) for hours in (0.1, 1.0, 16.0)]


# -- what it has to be: for every stretch in which nothing changes, everything is looked at --------------------


def rank(state: str) -> int:
    order = (*BASES, *PHONES)
    return order.index(state) if state in order else len(order)


def seen(bases: Sequence[tuple[str, str]], phones: Sequence[str]) -> tuple[str, str, str]:
    """Base, phone and reason of a moment at which all of these are told."""
    base, reason = min(((b, r) for b, r in bases if b), key=lambda told: (rank(told[0]), told[1]), default=("", ""))
    return base, min((p for p in phones if p), key=rank, default=""), reason if base == "paused" else ""


def scanned(layers: Sequence[Sequence[Span]]) -> list[Span]:
    spans = [span for layer in layers for span in layer]
    result = []
    for since, until in itertools.pairwise(sorted({at for span in spans for at in (span.begin, span.end)})):
        now = [span for span in spans if span.begin <= since < span.end]
        result.append(Span(since, until, *seen([(s.base, s.reason) for s in now], [s.phone for s in now])))
    return joined(result)


def scanned_quarter(
    before: Mapping[str, Held], told: Sequence[Told], lines: Sequence[Line], lapse: Lapse
) -> tuple[list[Span], dict[str, Held]]:
    def held_at(moment: int) -> dict[str, Held]:
        known = dict(before)
        known.update({t.queue: Held(t.at, t.state, t.reason, t.wrap) for t in sorted(told) if t.at <= moment})
        return known

    phones = []
    for line in lines:
        held = held_at(max(END if line.end is None else line.end, BEGIN - 1)).get(line.queue)
        phones += line.with_wrap(held.wrap if held else 0)
    cuts = {BEGIN, END, *(t.at for t in told), *(lapse.until(t.at) for t in (*before.values(), *told))}
    cuts |= {at for phone in phones for at in (phone.begin, phone.end) if at is not None}
    result = []
    for since, until in itertools.pairwise(sorted(at for at in cuts if BEGIN <= at <= END)):
        held_now = [h for h in held_at(since).values() if since < lapse.until(h.at) and h.state != "offline"]
        bases = [("available" if h.state in PHONES else h.state, h.reason) for h in held_now]
        rings = [p.state for p in phones if p.begin <= since and (p.end is None or p.end > since)]
        now = seen(bases, [*rings, *(h.state for h in held_now if h.state in PHONES)])
        result.append(Span(since - BEGIN, until - BEGIN, *now))
    kept = {q: h for q, h in held_at(END).items() if h.state != "offline" and lapse.until(h.at) > END}
    return joined(result), kept


# -- what is tried ----------------------------------------------------------------------------------------


@st.composite
def layer(draw: st.DrawFn) -> list[Span]:
    """What is stored of one id in one quarter: spans that don't overlap."""
    cuts = sorted(draw(st.lists(WITHIN, max_size=8, unique=True)))
    spans = []
    for begin, end in itertools.pairwise(cuts):
        base = draw(st.sampled_from(["", *BASES]))
        phone = draw(st.sampled_from(["", *PHONES]))
        spans.append(Span(begin, end, base, phone, draw(REASONS) if base == "paused" else ""))
    return [span for span in spans if span.base or span.phone]


@st.composite
def line(draw: st.DrawFn) -> Line:
    """A leg: stretches that follow each other, the last one perhaps without an end."""
    cuts = sorted(draw(st.lists(MOMENTS, min_size=2, max_size=4, unique=True)))
    pairs = list(itertools.pairwise(cuts))
    states = draw(st.lists(st.sampled_from(PHONES), min_size=len(pairs), max_size=len(pairs)))
    spans = [OnPhone(begin, end, state) for (begin, end), state in zip(pairs, states, strict=True)]
    if draw(st.booleans()):
        spans[-1] = spans[-1]._replace(end=None)
    return Line(draw(QUEUES), tuple(spans))


STATES = st.sampled_from([*BASES, *PHONES, "offline"])
WRAPS = st.sampled_from([0, 0, 30_000, 1_000_000])
TOLD = st.builds(
    Told, MOMENTS.filter(lambda at: BEGIN <= at < END), st.sampled_from("abc"), QUEUES, STATES, REASONS, WRAPS
)
HELD = st.builds(Held, st.sampled_from([BEGIN - 4_000_000, BEGIN - 200_000, BEGIN - 1]), STATES, REASONS, WRAPS)


@given(st.lists(layer(), max_size=5))
@example([[], []])
def test_several_ids_of_one_person_are_laid_over_each_other(layers: list[list[Span]]) -> None:
    assert together(layers) == (scanned(layers) if len(layers) != 1 else layers[0])


@given(
    st.dictionaries(QUEUES, HELD, max_size=3), st.lists(TOLD, max_size=8), st.lists(line(), max_size=6),
    st.sampled_from(LAPSES),
)  # fmt: skip
def test_a_quarter_is_what_states_and_calls_say_at_every_moment(
    before: dict[str, Held], told: list[Told], lines: list[Line], lapse: Lapse
) -> None:
    spans, held = quarter_of(BEGIN, before, told, lines, lapse)
    assert (spans, held) == scanned_quarter(before, told, lines, lapse)
