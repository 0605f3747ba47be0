"""The store as Prometheus families. Nothing is counted in memory: a restart changes no number.

Names, labels and buckets: the glossary in the README. Business counters and gauges are the same from every process
(query them with ``max by``); counters only grow, corrections are in ``callkpi_calls_reclassified_total``.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from callkpi import __version__, config, looping
from callkpi.calendar.business import local_midnight
from callkpi.calls import facts as kpi
from callkpi.calls.facts import Figures, Grain
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import Direction, Outcome
from callkpi.database import store
from callkpi.delivery.message import receivers
from callkpi.figures import hearing, live, recent
from callkpi.figures.live import by_queue as _by_queue
from callkpi.health import LATENCY_BOUNDS, PROCESSES
from callkpi.ingest.spool import Size, Spool
from callkpi.missed.judging import written_off_before
from callkpi.people.names import OTHER, Bounded, Names
from callkpi.people.presence import Times
from callkpi.projection import timekeeping

log = structlog.get_logger()

_PLACE = ("tenant", "queue", "line", "direction")
_COMPANY = ("tenant", "line", "direction")
#: Outcomes that offered calls are shown with from the start, so that the first one is an increase.
_ZEROED = (Outcome.ANSWERED, Outcome.ABANDONED, Outcome.SHORT_ABANDON, Outcome.TIMED_OUT, Outcome.NO_ANSWER)
#: A database that answers nothing within this counts as not reached.
ANSWER_SECONDS = 1.0
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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one scrape shows, read at one time."""

    at: datetime
    counters: Sequence[Any]
    names: Sequence[Any]
    open_calls: Sequence[Any]
    agent_states: Sequence[Any]
    missed: Mapping[str, Sequence[Any]]
    windows: Mapping[tuple[str, str], Mapping[str, Figures]]
    health: Sequence[Any]
    sources: Sequence[Any]
    rejected: Sequence[Any]
    lag: Any
    set_aside: Sequence[asyncpg.Record]
    reconciled: Sequence[Any]
    connections: Sequence[Any]
    funnels: Sequence[Any]
    recent: recent.Recent
    #: Of the day so far, per tenant: the keys of each person, and how his time was spent.
    times: Mapping[str, Mapping[str, tuple[list[str], Times]]]
    unsent: Sequence[Any]
    failing: Sequence[Any] = ()
    spool: Size | None = None


class Exporter:
    """Answers scrapes; those that come together share one reading of the store."""

    def __init__(
        self, pool: asyncpg.Pool, settings: config.Settings, spool: Spool | None = None, names: Names | None = None
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._spool = spool
        self._names = names or Names(settings)
        self._recent = recent.Reader(settings.tenants)
        self._reading: asyncio.Task[Snapshot] | None = None

    async def scrape(self, accept: str, now: datetime | None = None) -> tuple[bytes, str]:
        """The page as of *now* and its content type, as the client prefers it."""
        encode, content_type = choose_encoder(accept)
        snapshot = await self._shared_reading(now or datetime.now(UTC))
        return encode(_Page(list(families(snapshot, self._settings, self._names)))), content_type

    async def without_database(self, accept: str) -> tuple[bytes, str]:
        """What can be told of a daemon whose database does not answer: that it is there, and what its spool holds."""
        encode, content_type = choose_encoder(accept)
        return encode(_Page(await self._own(is_up=False, is_late=False))), content_type

    async def too_late(self, accept: str) -> tuple[bytes, str]:
        """What can be told where the numbers were not read in time: that, and whether the database answers at all."""
        encode, content_type = choose_encoder(accept)
        is_up = await self._answers()
        return encode(_Page(await self._own(is_up=is_up, is_late=is_up))), content_type

    async def _answers(self) -> bool:
        try:
            async with store.within(self._pool, ANSWER_SECONDS) as connection:
                await connection.fetchval(store.query("reports", "ready"))
        except store.FAILURES:
            return False
        return True

    async def _own(self, *, is_up: bool, is_late: bool) -> list[Metric]:
        told = list(_own_families(self._settings, datetime.now(UTC), is_up=is_up, is_late=is_late))
        told += _spool_families(await self._spool_size())
        return told

    async def _spool_size(self) -> Size | None:
        """None where there is no spool, or its disk can't be read."""
        try:
            return await self._spool.size() if self._spool is not None else None
        except OSError as error:
            log.warning("spool.unreadable", error=str(error)[:200])
            return None

    async def _shared_reading(self, now: datetime) -> Snapshot:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(now))
        return await asyncio.shield(self._reading)

    async def _read(self, now: datetime) -> Snapshot:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):

            async def rows(file: str, name: str, *arguments: object) -> Any:
                return await connection.fetch(store.query(file, name), *arguments)

            await self._names.refresh(connection)
            missed, windows, times = {}, {}, {}
            for tenant, settings in self._settings.tenants.items():
                written_off = written_off_before(settings, now)
                missed[tenant] = await rows("reports", "missed_waiting", tenant, written_off)
                shown = partial(self._names.show, tenant, "agent")
                day = (local_midnight(settings, now), now)
                times[tenant] = await timekeeping.people(connection, tenant, day, shown, settings.ringing_counts)
                for window, begin in _windows(settings, now).items():
                    told = await rows("reports", "rollup_rows", tenant, Grain.ENTRY, begin, now + kpi.INTERVAL)
                    windows[tenant, window] = _by_queue(told)
            return Snapshot(
                at=now,
                counters=await rows("reports", "counters"),
                names=await rows("reports", "names"),
                open_calls=await rows("reports", "open_calls"),
                agent_states=await rows("reports", "agent_states"),
                missed=missed,
                windows=windows,
                health=await rows("reports", "health_counters"),
                sources=await rows("reports", "source_status"),
                rejected=await rows("journal", "rejected_counts"),
                lag=(await rows("projector", "lag"))[0],
                set_aside=await rows("set_aside", "count"),
                reconciled=await rows("reconcile", "sources"),
                connections=await rows("connections", "all"),
                funnels=await rows("crm", "funnels"),
                recent=await self._recent.read(rows, now),
                times=times,
                unsent=await rows("delivery", "unsent", now),
                failing=await rows("work_failures", "now"),
                spool=await self._spool_size(),
            )


class _Page:
    """What the client library's encoders want to read."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _windows(tenant: config.Tenant, now: datetime) -> dict[str, datetime]:
    """Windows of the exact gauges: the call centre's day so far, and the last hour in whole quarters."""
    return {"day": local_midnight(tenant, now), "hour": kpi.quarter(now) - 3 * kpi.INTERVAL}


# -- families ---------------------------------------------------------------------------------------------


def families(snapshot: Snapshot, settings: config.Settings, names: Names) -> Iterator[Metric]:
    """Every family of the page."""
    limits = {
        "agent": settings.metrics.max_agents,
        "queue": settings.metrics.max_queues,
        "line": settings.metrics.max_lines,
    }
    known = [
        (tenant, kind, name)
        for tenant in settings.tenants
        for kind in limits
        for name in names.configured(tenant, kind)
    ]
    seen = [(row["tenant"], row["kind"], row["name"]) for row in snapshot.names]
    labels = Bounded(names, [*known, *seen], limits, settings.metrics.max_places)
    yield from _counter_families(snapshot, settings, labels)

    def queue_label(tenant: str, queue: str) -> str:
        return labels.label(tenant, "queue", queue)

    now = live.now(snapshot, settings, names, queue_label)
    yield from _live_families(replace(now, teams=bounded_teams(now.teams, settings.metrics.max_teams)))
    yield _target_family(snapshot, settings, queue_label)
    yield from _window_families(live.windows(snapshot, queue_label), settings)
    yield from _time_families(snapshot, settings, names, labels)
    yield from _health_families(snapshot, settings, labels)


def _counter_families(snapshot: Snapshot, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
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
        yield _histogram(name, text, wanted, totals[metric], buckets[metric], kpi.HISTOGRAMS[metric][2])


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


def _live_families(now: live.Now) -> Iterator[Metric]:
    queues, place = now.queues, ("tenant", "queue")
    yield _gauge("callkpi_calls_waiting", "Callers who wait for an agent now", place,
                 {key: len(queue.waits) for key, queue in queues.items()})  # fmt: skip
    yield _gauge("callkpi_longest_wait_seconds", "The greatest wait among those who wait now", place,
                 {key: queue.longest_wait for key, queue in queues.items()})  # fmt: skip
    yield _gauge("callkpi_calls_talking", "Calls in which an agent and a customer talk now", place,
                 {key: queue.talking for key, queue in queues.items()})  # fmt: skip
    yield _gauge("callkpi_agents", "Agents of a queue by state", ("tenant", "queue", "state"),
                 _by_state((key, queue.agents) for key, queue in queues.items() if queue.agents))  # fmt: skip
    yield _gauge("callkpi_company_agents", "Agents by state, each person once", ("tenant", "state"),
                 _by_state(((tenant,), states) for tenant, states in now.people.items()))  # fmt: skip
    yield _gauge("callkpi_team_agents", "Agents of a team by state, each person once", ("tenant", "team", "state"),
                 _by_state(now.teams.items()))  # fmt: skip
    yield _gauge("callkpi_missed_waiting", "Customers missed and not spoken to since", place,
                 {key: queue.missed for key, queue in queues.items()})  # fmt: skip
    yield _gauge("callkpi_missed_oldest_seconds", "How long the oldest of them has waited", place,
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


def _target_family(snapshot: Snapshot, settings: config.Settings, label: live.Label) -> Metric:
    """T of every queue, so that a screen judges a wait by the queue's own; the shortest where ids share a label."""
    targets: dict[tuple[str, ...], float] = {}
    for tenant, queue in live.known_queues(snapshot, settings):
        if tenant in settings.tenants:
            key = (tenant, label(tenant, queue))
            seconds = Thresholds(settings.tenants[tenant]).service_level_ms(queue) / 1000
            targets[key] = min(targets.get(key, seconds), seconds)
    return _gauge("callkpi_service_level_target_seconds", "T of the service level, as configured", ("tenant", "queue"),
                  targets)  # fmt: skip


def _window_families(windows: Mapping[tuple[str, str, str], Figures], settings: config.Settings) -> Iterator[Metric]:
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
    yield _gauge(
        "callkpi_service_level_ratio",
        "Share answered within T, exact; day: since local midnight",
        place,
        level,
    )
    yield _gauge("callkpi_missed_ratio", "missed / (answered + missed), exact; day: since local midnight", place, share)
    yield _gauge("callkpi_shift_calls", "Offered entries since local midnight by outcome, exact",
                 ("tenant", "queue", "outcome"), calls)  # fmt: skip


def _time_families(snapshot: Snapshot, settings: config.Settings, names: Names, labels: Bounded) -> Iterator[Metric]:
    """How people's day was spent so far. Gauges: a late event may take time away from a state."""
    by_agent: dict[tuple[str, ...], Times] = {}
    by_team: dict[tuple[str, ...], Times] = {}
    for tenant, people in snapshot.times.items():
        teams = {name: max(names.team(tenant, key) for key in keys) for name, (keys, _) in people.items()}
        allowed = sorted({*teams.values()} - {""})[: settings.metrics.max_teams]
        for name, (keys, times) in people.items():
            _add(by_agent, (tenant, labels.label(tenant, "agent", keys[0])), times)
            if teams[name]:
                _add(by_team, (tenant, teams[name] if teams[name] in allowed else OTHER), times)
    yield _gauge("callkpi_agent_state_seconds", "Seconds of an agent in a state since local midnight",
                 ("tenant", "agent", "state"), _state_seconds(by_agent))  # fmt: skip
    yield _gauge("callkpi_agent_logged_in_seconds", "Seconds in which an agent was logged in since local midnight",
                 ("tenant", "agent"), {key: times.logged_in_seconds for key, times in by_agent.items()})  # fmt: skip
    for what, by, label in (("agent", by_agent, "agent"), ("team", by_team, "team")):
        shares = {"occupancy": {k: t.occupancy for k, t in by.items()},
                  "utilisation": {k: t.utilisation for k, t in by.items()}}  # fmt: skip
        for name, values in shares.items():
            yield _gauge(f"callkpi_{what}_{name}_ratio", f"The {name} of the day so far, of logged-in time",
                         ("tenant", label), {k: v for k, v in values.items() if v is not None})  # fmt: skip


def _add(totals: dict[tuple[str, ...], Times], key: tuple[str, ...], times: Times) -> None:
    totals[key] = totals[key] + times if key in totals else times


def _state_seconds(by_agent: Mapping[tuple[str, ...], Times]) -> dict[tuple[str, ...], float]:
    """Every state, so that a series does not begin in the middle of a day; offline where it is known."""
    result: dict[tuple[str, ...], float] = {}
    for key, times in by_agent.items():
        for state in live.AGENT_STATES:
            seconds = times.offline_seconds if state == "offline" else times.seconds(state)
            if seconds is not None:
                result[(*key, state)] = seconds
    return result


def _health_families(snapshot: Snapshot, settings: config.Settings, labels: Bounded) -> Iterator[Metric]:
    yield from _own_families(settings, snapshot.at, is_up=True, is_late=False)
    for name, column, text in (
        ("pending_groups", "groups", "Journalled groups that are not projected yet"),
        ("lag_seconds", "seconds", "Age of the oldest of them"),
    ):
        yield _gauge(f"callkpi_projector_{name}", text, (), {(): snapshot.lag[column]})
    aside = dict.fromkeys(settings.tenants, 0) | {row["tenant"]: row["streams"] for row in snapshot.set_aside}
    yield _gauge("callkpi_projector_set_aside", "Calls, agents and items of work that can't be projected", ("tenant",),
                 {(tenant,): count for tenant, count in aside.items()})  # fmt: skip
    waiting = dict.fromkeys(settings.sources, 0) | {row["source"]: row["waiting"] for row in snapshot.rejected}
    yield _gauge("callkpi_ingest_rejected_waiting", "Payloads kept for a replay after a fix", ("source",),
                 {(name,): count for name, count in waiting.items()})  # fmt: skip
    yield _gauge("callkpi_names_overflow", 'Names beyond the limit that are shown as "other"', ("tenant", "kind"),
                 {(tenant, kind): count for (tenant, kind), count in labels.overflow.items()})  # fmt: skip
    failing = Counter(row["name"] for row in snapshot.failing)
    yield _gauge("callkpi_work_failing", "How many of a kind of background work fail now, round after round", ("work",),
                 {(name,): failing[name] for name in looping.NAMES})  # fmt: skip
    yield from _spool_families(snapshot.spool)
    yield from _source_families(snapshot, settings)
    yield from _reconcile_families(snapshot, settings)
    yield from _delivery_families(snapshot.unsent, settings)
    yield from _crm_families(snapshot, settings)
    yield from _own_counters(snapshot, settings)
    yield from recent.families(snapshot.recent, settings, labels)


def _delivery_families(rows: Iterable[Mapping[str, Any]], settings: config.Settings) -> Iterator[Metric]:
    unsent: dict[tuple[str, ...], float] = {
        (name, receiver.way, state): 0
        for name, tenant in settings.tenants.items()
        for report in tenant.reports.values()
        for receiver in receivers(report)
        for state in ("failed", "in_doubt", "overdue")
    }
    unsent |= {(row["tenant"], row["way"], row["state"]): row["deliveries"] for row in rows}
    yield _gauge("callkpi_deliveries_unsent",
                 "Reports of the last day that failed or are in doubt, and those that have waited for an hour",
                 ("tenant", "way", "state"), unsent)  # fmt: skip


def _own_families(settings: config.Settings, at: datetime, *, is_up: bool, is_late: bool) -> Iterator[Metric]:
    """What the process knows without its database."""
    yield _gauge("callkpi_build_info", "Version of the daemon", ("version",), {(__version__,): 1})
    yield _gauge("callkpi_database_up", "1 while this process reaches its database", (), {(): int(is_up)})
    yield _gauge("callkpi_scrape_late",
                 "1 where the numbers could not be read in time although the database answers", (),
                 {(): int(is_late)})  # fmt: skip
    yield from recent.business_families(settings.tenants, at)


def _spool_families(size: Size | None) -> Iterator[Metric]:
    if size is not None:
        yield _gauge("callkpi_spool_deliveries", "Deliveries on local disk that wait for the database", (),
                     {(): size.deliveries})  # fmt: skip
        yield _gauge("callkpi_spool_bytes", "What they take", (), {(): size.used_bytes})
        yield _gauge("callkpi_spool_limit_bytes", "What they may take", (), {(): size.limit_bytes})


def _source_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    told = {row["source"]: row for row in snapshot.sources if row["source"] in settings.sources}
    labels = ("tenant", "source")
    for column, name, text in (
        (
            "last_event_at",
            "callkpi_source_last_event_timestamp_seconds",
            "Time of the newest event of a source",
        ),
        ("last_received_at", "callkpi_source_last_received_timestamp_seconds", "When a source last spoke"),
    ):
        values: dict[tuple[str, ...], float] = {
            (settings.sources[source].tenant, source): row[column].timestamp()
            for source, row in told.items() if row[column]
        }  # fmt: skip
        yield _gauge(name, text, labels, values)


def _reconcile_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    """Of sources whose portal is asked; what was lost is known only of those that also send."""
    told = {row["source"]: row for row in snapshot.reconciled if row["source"] in settings.portals}
    both = {name for name, source in settings.portals.items() if any(source.application_tokens)}
    found = CounterMetricFamily(
        "callkpi_reconcile_calls_found", "Calls whose end no webhook told, found in the statistics", labels=("source",)
    )
    for name in sorted(both):
        found.add_metric((name,), told[name]["calls_found"] if name in told else 0)
    yield found
    yield _gauge("callkpi_reconcile_calls_unseen",
                 "Calls that webhooks told of and the statistics do not show: rights are missing", ("source",),
                 {(name,): told[name]["calls_unseen"] for name in both & told.keys()})  # fmt: skip
    # From the first start on, so that an alert on its age also fires where no pass has ever succeeded.
    success: dict[tuple[str, ...], float] = {}
    success |= {(name,): (row["last_success_at"] or row["since"]).timestamp() for name, row in told.items()}
    yield _gauge("callkpi_reconcile_last_success_timestamp_seconds",
                 "When the statistics were last read to their end; before that, when it was first tried", ("source",),
                 success)  # fmt: skip
    connected = _connected(told, settings, snapshot.at) | _held(snapshot, settings)
    yield _gauge("callkpi_source_connected", "1 while callkpi reaches a source that it asks or is connected to",
                 ("tenant", "source"), connected)  # fmt: skip
    yield from _connection_families(snapshot, settings)


def _held(snapshot: Snapshot, settings: config.Settings) -> dict[tuple[str, ...], float]:
    """Of sources that a connection is kept to: nobody who writes that it is there is as bad as one that is not."""
    result: dict[tuple[str, ...], float] = {(own.tenant, name): 0 for name, own in settings.connected.items()}
    for row in snapshot.connections:
        if own := settings.connected.get(row["source"]):
            result[own.tenant, row["source"]] = int(hearing.is_held(row, snapshot.at))
    return result


def _connection_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    rows = [row for row in snapshot.connections if row["source"] in settings.connected]
    names = {row["source"]: (settings.sources[row["source"]].tenant, row["source"]) for row in rows}
    yield _gauge("callkpi_source_connection_changed_timestamp_seconds",
                 "Since when a source is connected, or is not", ("tenant", "source"),
                 {names[row["source"]]: row["changed_at"].timestamp() for row in rows})  # fmt: skip
    yield _gauge("callkpi_source_connection_problem", "Why a source is not connected", ("tenant", "source", "reason"),
                 {(*names[row["source"]], row["reason"]): 1 for row in rows if row["reason"]})  # fmt: skip


#: What a round may have done to a portal's CRM; dry_… would have.
_CRM_ACTIONS = (
    "pipeline_made", "stage_made", "stage_named", "stage_removed", "added", "found", "moved", "described",
    "left_to_people", "dry_added", "dry_changed",
)  # fmt: skip


def _crm_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    """Of portals whose CRM gets the call funnel."""
    tenants = {name: source.tenant for name, source in settings.funnels.items()}
    told = {row["source"]: row for row in snapshot.funnels if row["source"] in tenants}
    place = ("tenant", "source")
    counted: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for source, tenant in tenants.items():
        counted["crm_written"].update({(tenant, source, action): 0 for action in _CRM_ACTIONS})
        counted["crm_echoes"][tenant, source, ""] = 0
    for row in snapshot.health:
        if row["source"] in tenants:
            counted[row["metric"]][tenants[row["source"]], row["source"], row["label"]] += row["value"]
    for metric, text, extra in (
        ("crm_written", "Changes of the portal's CRM by what was done, or would be in a dry run", "action"),
        ("crm_errors", "Changes of the portal's CRM, or rounds of them, that failed", "reason"),
        ("crm_echoes", "Events of the CRM that our own writing caused, ignored", ""),
    ):
        family = CounterMetricFamily(f"callkpi_{metric}", text, labels=(*place, extra) if extra else place)
        for key, value in sorted(counted[metric].items()):
            family.add_metric(key if extra else key[:2], value)
        yield family
    yield _gauge("callkpi_crm_backlog", "Items of the call funnel that differ from the portal's CRM", place,
                 {(tenants[name], name): row["backlog"] for name, row in told.items()})  # fmt: skip
    yield _gauge("callkpi_crm_last_success_timestamp_seconds",
                 "When the portal's CRM was last brought up to date; before that, when it was first tried", place,
                 {(tenants[name], name): (row["last_success_at"] or row["since"]).timestamp()
                  for name, row in told.items()})  # fmt: skip


def _connected(told: Mapping[str, Any], settings: config.Settings, at: datetime) -> dict[tuple[str, ...], float]:
    result: dict[tuple[str, ...], float] = {}
    for name, row in told.items():
        source = settings.sources[name]
        asked = {"last_success_at": row["last_success_at"], "asked_since": row["since"]}
        result[source.tenant, name] = int(hearing.is_reached(asked, source, at))
    return result


_OWN_COUNTERS: Mapping[str, tuple[str, str, str]] = {
    "ingest_events": ("callkpi_ingest_events", "Events by what became of them", "result"),
    "ingest_refused": ("callkpi_ingest_refused", "Deliveries refused at the door", "reason"),
    "ingest_too_old": ("callkpi_ingest_too_old", "Events not taken: older than events are kept", ""),
    "ingest_implausible_times": (
        "callkpi_ingest_implausible_times",
        "Events with a time that can't be: the source's clock is wrong",
        "",
    ),
    "source_unknown_values": (
        "callkpi_source_unknown_values",
        "Values that the source's reference lacks",
        "field",
    ),
    "journal_failures": ("callkpi_journal_failures", "Groups that could not be made durable", ""),
    "projector_calls": ("callkpi_projector_calls", "Folds of calls", ""),
    "projector_failed_calls": ("callkpi_projector_failed_calls", "Calls whose events could not be read", ""),
    "projector_retries": ("callkpi_projector_retries", "Batches begun again after a fault", ""),
    "reconcile_rows": ("callkpi_reconcile_rows", "Rows of the portal's statistics by what they were to us", "result"),
    "reconcile_requests": ("callkpi_reconcile_requests", "Requests to the portal by how they went", "result"),
    "reconcile_errors": ("callkpi_reconcile_errors", "Rounds of reconciliation that failed", "reason"),
    "reconcile_surprises": (
        "callkpi_reconcile_surprises",
        "Answers of the portal that its documentation does not promise",
        "what",
    ),
    "connection_ups": ("callkpi_source_connects", "Connections to a source that were made", ""),
    "connection_errors": ("callkpi_source_connection_errors", "Connections that ended or were not made", "reason"),
    "connection_unheard_seconds": (
        "callkpi_source_unheard_seconds",
        "Time in which a source could not be heard, told when it is heard again",
        "",
    ),
    "connection_lost_payloads": (
        "callkpi_source_lost_payloads",
        "Payloads of a connection that neither the journal nor the spool took",
        "",
    ),
    "ingest_shortened": (
        "callkpi_ingest_shortened_names",
        "Names of a source that were longer than a key can hold: cut, with a digest of the whole",
        "field",
    ),
    "journal_unstorable": (
        "callkpi_journal_unstorable_events",
        "Events that the database refused for what is in them: kept with what was rejected",
        "",
    ),
    "spool_put": ("callkpi_spool_put", "Deliveries kept on local disk while the database was away", ""),
    "spool_drained": ("callkpi_spool_drained", "Deliveries that went from there to the journal", ""),
    "spool_refused": ("callkpi_spool_refused", "Deliveries refused because the spool was full: they are lost", ""),
    "projector_sealed_calls": ("callkpi_projector_sealed_calls", "Calls left as they are: their events are gone", ""),
    "retention_partitions": ("callkpi_retention_partitions", "Months of events or calls that were dropped", ""),
    "retention_calls_pseudonymised": (
        "callkpi_retention_calls_pseudonymised",
        "Calls whose customers' numbers were too old",
        "",
    ),
    "retention_failures": ("callkpi_retention_failures", "Rounds of retention that failed", ""),
    "delivery_attempts": ("callkpi_delivery_attempts", "Attempts to send a report by way and outcome", "outcome"),
    "delivery_corrections": ("callkpi_delivery_corrections", "Corrections of reports that were sent", ""),
    "delivery_failures": ("callkpi_delivery_failures", "Summaries that could not be made", ""),
    "work_failures": ("callkpi_work_failures", "Rounds of background work that failed", "work"),
    "process_restarts": ("callkpi_process_restarts", "Processes that died and were started again", "process"),
    "http_overload": ("callkpi_http_overload", "Requests answered 503 because too many waited", ""),
}
_BY_SOURCE = {
    "ingest_events",
    "ingest_refused",
    "ingest_too_old",
    "ingest_implausible_times",
    "ingest_shortened",
    "journal_unstorable",
    "source_unknown_values",
    "spool_put",
    "spool_refused",
}
_BY_SOURCE |= {"reconcile_rows", "reconcile_requests", "reconcile_errors", "reconcile_surprises"}
_BY_SOURCE |= {"connection_ups", "connection_errors", "connection_unheard_seconds", "connection_lost_payloads"}
_OWN_HISTOGRAMS = {
    "journal_append_seconds": "Time of one durable append of a group",
    "projector_batch_seconds": "Time of one projected batch",
}


def _own_counters(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    rows: dict[str, list[Any]] = defaultdict(list)
    for row in snapshot.health:
        rows[row["metric"]].append(row)
    for metric, (name, text, extra) in _OWN_COUNTERS.items():
        wanted = tuple(filter(None, ("source" if metric in _BY_SOURCE else "", extra)))
        totals: Counter[tuple[str, ...]] = Counter()
        if metric == "ingest_events":
            results = ("received", "duplicate", "ignored", "rejected")
            totals.update({(source, result): 0 for source in settings.sources for result in results})
        elif metric == "ingest_refused":
            totals.update({(source, "unauthorised"): 0 for source in settings.sources})
        elif metric in ("work_failures", "process_restarts"):
            totals.update({(name,): 0 for name in (looping.NAMES if metric == "work_failures" else PROCESSES)})
        elif wanted == ("source",):
            totals.update({(source,): 0 for source in settings.sources})
        for row in rows[metric]:
            totals[tuple(row["source" if label == "source" else "label"] for label in wanted)] += row["value"]
        if not wanted:
            totals.setdefault((), 0)
        family = CounterMetricFamily(name, text, labels=wanted)
        for key, value in sorted(totals.items()):
            family.add_metric(key, value)
        yield family
    for metric, text in _OWN_HISTOGRAMS.items():
        latencies = HistogramMetricFamily(f"callkpi_{metric}", text)
        for row in rows[metric]:
            edges = [*(str(bound) for bound in LATENCY_BOUNDS), "+Inf"]
            cumulative = [(edge, sum(row["buckets"][: index + 1])) for index, edge in enumerate(edges)]
            latencies.add_metric((), cumulative, row["value"])
        yield latencies


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family
