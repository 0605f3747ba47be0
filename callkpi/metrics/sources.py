"""What is heard of each source, of portals that are read, and of CRMs that are written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric

from callkpi import config
from callkpi.figures import hearing
from callkpi.metrics.families import Snapshot, gauge
from callkpi.sources.bitrix24.settings import portals


def source_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
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
        yield gauge(name, text, labels, values)


def reconcile_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    """Of sources whose portal is asked; what was lost is known only of those that also send."""
    told = {row["source"]: row for row in snapshot.reconciled if row["source"] in settings.portals}
    both = {name for name, source in portals(settings).items() if any(source.application_tokens)}
    found = CounterMetricFamily(
        "callkpi_reconcile_calls_found", "Calls whose end no webhook told, found in the statistics", labels=("source",)
    )
    for name in sorted(both):
        found.add_metric((name,), told[name]["calls_found"] if name in told else 0)
    yield found
    yield gauge("callkpi_reconcile_calls_unseen",
                 "Calls that webhooks told of and the statistics do not show: rights are missing", ("source",),
                 {(name,): told[name]["calls_unseen"] for name in both & told.keys()})  # fmt: skip
    # From the first start on, so that an alert on its age also fires where no pass has ever succeeded.
    success: dict[tuple[str, ...], float] = {}
    success |= {(name,): (row["last_success_at"] or row["since"]).timestamp() for name, row in told.items()}
    yield gauge("callkpi_reconcile_last_success_timestamp_seconds",
                 "When the statistics were last read to their end; before that, when it was first tried", ("source",),
                 success)  # fmt: skip
    connected = _connected(told, settings, snapshot.at) | _held(snapshot, settings)
    yield gauge("callkpi_source_connected", "1 while callkpi reaches a source that it asks or is connected to",
                 ("tenant", "source"), connected)  # fmt: skip
    yield from connection_families(snapshot, settings)


def _held(snapshot: Snapshot, settings: config.Settings) -> dict[tuple[str, ...], float]:
    """Of sources that a connection is kept to: nobody who writes that it is there is as bad as one that is not."""
    result: dict[tuple[str, ...], float] = {(own.tenant, name): 0 for name, own in settings.connected.items()}
    for row in snapshot.connections:
        if own := settings.connected.get(row["source"]):
            result[own.tenant, row["source"]] = int(hearing.is_held(row, snapshot.at))
    return result


def connection_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    rows = [row for row in snapshot.connections if row["source"] in settings.connected]
    names = {row["source"]: (settings.sources[row["source"]].tenant, row["source"]) for row in rows}
    yield gauge("callkpi_source_connection_changed_timestamp_seconds",
                 "Since when a source is connected, or is not", ("tenant", "source"),
                 {names[row["source"]]: row["changed_at"].timestamp() for row in rows})  # fmt: skip
    yield gauge("callkpi_source_connection_problem", "Why a source is not connected", ("tenant", "source", "reason"),
                 {(*names[row["source"]], row["reason"]): 1 for row in rows if row["reason"]})  # fmt: skip


#: What a round may have done to a portal's CRM; dry_… would have.
_CRM_ACTIONS = (
    "pipeline_made", "stage_made", "stage_named", "stage_removed", "added", "found", "moved", "described",
    "left_to_people", "dry_added", "dry_changed",
)  # fmt: skip


def crm_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
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
    yield gauge("callkpi_crm_backlog", "Items of the call funnel that differ from the portal's CRM", place,
                 {(tenants[name], name): row["backlog"] for name, row in told.items()})  # fmt: skip
    yield gauge("callkpi_crm_last_success_timestamp_seconds",
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
