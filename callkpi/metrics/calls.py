"""Counters and gauges of calls: ended, missed, waiting, by queue, line and direction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from callkpi import config
from callkpi.calls import facts
from callkpi.calls.fold import Thresholds
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Direction, Outcome
from callkpi.figures import live
from callkpi.metrics.families import Snapshot, gauge
from callkpi.people.names import OTHER, Bounded

_PLACE = ("tenant", "queue", "line", "direction")

_COMPANY = ("tenant", "line", "direction")

#: Outcomes that offered calls are shown with from the start, so that the first one is an increase.
_ZEROED = (Outcome.ANSWERED, Outcome.ABANDONED, Outcome.SHORT_ABANDON, Outcome.TIMED_OUT, Outcome.NO_ANSWER)

#: metric in table counters -> family name, help, labels
_COUNTERS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "offered": (
        "callkpi_calls_offered",
        "Queue entries, and calls that met no queue, that wanted an agent",
        _PLACE,
    ),
    "ended": (
        "callkpi_calls_ended",
        "Queue entries, and calls that met no queue, by outcome",
        (*_PLACE, "outcome"),
    ),
    "handled": ("callkpi_calls_handled", "Answered and ended, inbound and outbound", _PLACE),
    "missed": ("callkpi_calls_missed", "Offered, ended, never answered; by reason", (*_PLACE, "reason")),
    "company_offered": (
        "callkpi_company_calls_offered",
        "Whole calls that wanted an agent, each once",
        _COMPANY,
    ),
    "company_ended": (
        "callkpi_company_calls_ended",
        "Whole calls by outcome, each once",
        (*_COMPANY, "outcome"),
    ),
    "united": (
        "callkpi_calls_united",
        "Times that a source's call was found to be part of another source's, by rule",
        ("tenant", "rule"),
    ),
    "split": (
        "callkpi_calls_split",
        "Times that a later event showed that such a call is one of its own after all, by rule",
        ("tenant", "rule"),
    ),
    "implausible_time": (
        "callkpi_calls_implausible_time",
        "Calls with a time that can't be: they count, and give no figure of time",
        ("tenant",),
    ),
    "agent_handled": ("callkpi_agent_handled", "Conversations of an agent that ended", ("tenant", "agent")),
    "agent_talk_ms": ("callkpi_agent_talk_seconds", "Talk time of an agent", ("tenant", "agent")),
    "agent_ring_no_answer": (
        "callkpi_agent_ring_no_answer",
        "Rings that an agent let pass",
        ("tenant", "agent"),
    ),
}

_HISTOGRAMS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "wait": (
        "callkpi_call_wait_seconds",
        "Wait until answered or gone, by result",
        ("tenant", "queue", "result"),
    ),
    "talk": ("callkpi_call_talk_seconds", "Talk time of handled entries", ("tenant", "queue")),
    "hold": ("callkpi_call_hold_seconds", "Hold time, where the source tells it", ("tenant", "queue")),
    "wrap": ("callkpi_call_wrap_seconds", "After-call work, where the source tells it", ("tenant", "queue")),
}


def counter_families(snapshot: Snapshot, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
    totals: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    buckets: dict[str, dict[tuple[str, ...], Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in snapshot.counters:
        metric = row["metric"]
        if metric == "reclassified":
            old, _, new = row["outcome"].partition(">")
            totals[metric][row["tenant"], old, new] += row["value"]
            continue
        wanted = (_COUNTERS.get(metric) or _HISTOGRAMS[metric])[2]
        key = tuple(_label(row, name, labels) for name in wanted)
        if wanted[: len(_PLACE)] == _PLACE:
            key = (*labels.place(*key[:3]), *key[3:])
        totals[metric][key] += row["value"]
        for index, count in enumerate(row["buckets"]):
            buckets[metric][key][index] += count
    _zeros(totals, settings, labels)
    for metric, (name, text, wanted) in _COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=wanted)
        scale = 1000 if metric.endswith("_ms") else 1
        for key, value in sorted(totals[metric].items()):
            family.add_metric(key, value / scale)
        yield family
    family = CounterMetricFamily(
        "callkpi_calls_reclassified", "Ended entries that a later event gave another outcome or label",
        labels=("tenant", "from", "to"),
    )  # fmt: skip
    for key, value in sorted(totals["reclassified"].items()):
        family.add_metric(key, value)
    yield family
    for metric, (name, text, wanted) in _HISTOGRAMS.items():
        yield _histogram(name, text, wanted, totals[metric], buckets[metric], facts.HISTOGRAMS[metric][2])


def _label(row: Any, name: str, labels: Bounded) -> str:
    if name in ("queue", "agent", "line"):
        return labels.label(row["tenant"], name, row[name])
    return str(row["outcome" if name in ("reason", "result", "rule") else name])


def _zeros(totals: dict[str, Counter[tuple[str, ...]]], settings: config.Settings, labels: Bounded) -> None:
    """Children that have not counted yet: the first increase of a series that appears is invisible to rate()."""
    for tenant, own in settings.tenants.items():
        for rule in own.same_call.by if own.same_call.is_on else ():
            totals["united"].setdefault((tenant, rule), 0)
            totals["split"].setdefault((tenant, rule), 0)
        totals["implausible_time"].setdefault((tenant,), 0)
        for queue in own.queues:
            totals["offered"].setdefault((tenant, labels.label(tenant, "queue", queue), "", Direction.INBOUND), 0)
    for metric in ("", "company_"):
        for place in list(totals[f"{metric}offered"]):
            for outcome in _ZEROED:
                totals[f"{metric}ended"].setdefault((*place, outcome), 0)
    for place in list(totals["offered"]):
        totals["handled"].setdefault(place, 0)
        for outcome in _ZEROED[1:]:
            totals["missed"].setdefault((*place, outcome), 0)


def _histogram(
    name: str,
    text: str,
    wanted: tuple[str, ...],
    sums: Mapping[tuple[str, ...], int],
    buckets: Mapping[tuple[str, ...], Counter[int]],
    bounds: Sequence[int],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=wanted)
    edges = [*(str(float(bound)) for bound in bounds), "+Inf"]
    for key, counts in sorted(buckets.items()):
        cumulative, total = [], 0
        for index, edge in enumerate(edges):
            total += counts[index]
            cumulative.append((edge, total))
        family.add_metric(key, cumulative, sums[key] / 1000)
    return family


def live_families(now: live.Now) -> Iterator[Metric]:
    queues, place = now.queues, ("tenant", "queue")
    yield gauge("callkpi_calls_waiting", "Callers who wait for an agent now", place,
                 {key: len(queue.waits) for key, queue in queues.items()})  # fmt: skip
    yield gauge("callkpi_longest_wait_seconds", "The greatest wait among those who wait now", place,
                 {key: queue.longest_wait for key, queue in queues.items()})  # fmt: skip
    yield gauge("callkpi_calls_talking", "Calls in which an agent and a customer talk now", place,
                 {key: queue.talking for key, queue in queues.items()})  # fmt: skip
    yield gauge("callkpi_agents", "Agents of a queue by state", ("tenant", "queue", "state"),
                 _by_state((key, queue.agents) for key, queue in queues.items() if queue.agents))  # fmt: skip
    yield gauge("callkpi_company_agents", "Agents by state, each person once", ("tenant", "state"),
                 _by_state(((tenant,), states) for tenant, states in now.people.items()))  # fmt: skip
    yield gauge("callkpi_team_agents", "Agents of a team by state, each person once", ("tenant", "team", "state"),
                 _by_state(now.teams.items()))  # fmt: skip
    yield gauge("callkpi_missed_waiting", "Customers missed and not spoken to since", place,
                 {key: queue.missed for key, queue in queues.items()})  # fmt: skip
    yield gauge("callkpi_missed_oldest_seconds", "How long the oldest of them has waited", place,
                 {key: queue.missed_oldest for key, queue in queues.items()})  # fmt: skip


def bounded_teams(teams: Mapping[tuple[str, str], Counter[str]], limit: int) -> dict[tuple[str, str], Counter[str]]:
    """The first ones by name; the people of the others are together."""
    result: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    kept: Counter[str] = Counter()
    for (tenant, team), states in sorted(teams.items()):
        kept[tenant] += 1
        result[tenant, team if kept[tenant] <= limit else OTHER].update(states)
    return dict(result)


def _by_state(counted: Iterable[tuple[tuple[str, ...], Mapping[str, int]]]) -> dict[tuple[str, ...], float]:
    """Every state, so that a series does not end where nobody is in it."""
    return {
        (*key, state): agents.get(state, 0)
        for key, agents in counted
        for state in dict.fromkeys((*live.AGENT_STATES, *agents))
    }


def target_family(snapshot: Snapshot, settings: config.Settings, label: live.Label) -> Metric:
    """T of every queue, so that a screen judges a wait by the queue's own; the shortest where ids share a label."""
    targets: dict[tuple[str, ...], float] = {}
    for tenant, queue in live.known_queues(snapshot, settings):
        if tenant in settings.tenants:
            key = (tenant, label(tenant, queue))
            seconds = Thresholds(settings.tenants[tenant]).service_level_ms(queue) / 1000
            targets[key] = min(targets.get(key, seconds), seconds)
    return gauge("callkpi_service_level_target_seconds", "T of the service level, as configured", ("tenant", "queue"),
                  targets)  # fmt: skip


def window_families(windows: Mapping[tuple[str, str, str], Figures], settings: config.Settings) -> Iterator[Metric]:
    level: dict[tuple[str, ...], float] = {}
    share: dict[tuple[str, ...], float] = {}
    calls: dict[tuple[str, ...], float] = {}
    for key, figures in windows.items():
        tenant, queue, window = key
        if (value := figures.service_level(settings.tenants[tenant].service_level_formula)) is not None:
            level[key] = value
        if (value := figures.missed_share) is not None:
            share[key] = value
        if window == "day":
            calls.update({(tenant, queue, outcome): count for outcome, count in figures.outcomes.items()})
    place = ("tenant", "queue", "window")
    yield gauge(
        "callkpi_service_level_ratio",
        "Share answered within T, exact; day: since local midnight",
        place,
        level,
    )
    yield gauge("callkpi_missed_ratio", "missed / (answered + missed), exact; day: since local midnight", place, share)
    yield gauge("callkpi_shift_calls", "Offered entries since local midnight by outcome, exact",
                 ("tenant", "queue", "outcome"), calls)  # fmt: skip


def overflow_family(labels: Bounded) -> Metric:
    return gauge("callkpi_names_overflow", 'Names beyond the limit that are shown as "other"', ("tenant", "kind"),
                 {(tenant, kind): count for (tenant, kind), count in labels.overflow.items()})  # fmt: skip
