"""The daemon itself: version, database, spool, reports, and what its processes count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from callkpi import __version__, config, looping
from callkpi.delivery.message import receivers
from callkpi.health import LATENCY_BOUNDS, PROCESSES
from callkpi.ingest.spool import Size
from callkpi.metrics import recent
from callkpi.metrics.families import Snapshot, gauge


def delivery_families(rows: Iterable[Mapping[str, Any]], settings: config.Settings) -> Iterator[Metric]:
    unsent: dict[tuple[str, ...], float] = {
        (name, receiver.way, state): 0
        for name, tenant in settings.tenants.items()
        for report in tenant.reports.values()
        for receiver in receivers(report)
        for state in ("failed", "in_doubt", "overdue")
    }
    unsent |= {(row["tenant"], row["way"], row["state"]): row["deliveries"] for row in rows}
    yield gauge("callkpi_deliveries_unsent",
                 "Reports of the last day that failed or are in doubt, and those that have waited for an hour",
                 ("tenant", "way", "state"), unsent)  # fmt: skip


def own_families(settings: config.Settings, at: datetime, *, is_up: bool, is_late: bool) -> Iterator[Metric]:
    """What the process knows without its database."""
    yield gauge("callkpi_build_info", "Version of the daemon", ("version",), {(__version__,): 1})
    yield gauge("callkpi_database_up", "1 while this process reaches its database", (), {(): int(is_up)})
    yield gauge("callkpi_scrape_late",
                 "1 where the numbers could not be read in time although the database answers", (),
                 {(): int(is_late)})  # fmt: skip
    yield from recent.business_families(settings.tenants, at)


def spool_families(size: Size | None) -> Iterator[Metric]:
    if size is not None:
        yield gauge("callkpi_spool_deliveries", "Deliveries on local disk that wait for the database", (),
                     {(): size.deliveries})  # fmt: skip
        yield gauge("callkpi_spool_bytes", "What they take", (), {(): size.used_bytes})
        yield gauge("callkpi_spool_limit_bytes", "What they may take", (), {(): size.limit_bytes})


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
    "reconcile_rows",
    "reconcile_requests",
    "reconcile_errors",
    "reconcile_surprises",
    "connection_ups",
    "connection_errors",
    "connection_unheard_seconds",
    "connection_lost_payloads",
}

_OWN_HISTOGRAMS = {
    "journal_append_seconds": "Time of one durable append of a group",
    "projector_batch_seconds": "Time of one projected batch",
}


def own_counters(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
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
