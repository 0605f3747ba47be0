"""How far the projector is, what it set aside, and work that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import Metric

from callkpi import config, looping
from callkpi.metrics.families import Snapshot, gauge


def projector_families(snapshot: Snapshot, settings: config.Settings) -> Iterator[Metric]:
    for name, column, text in (
        ("pending_groups", "groups", "Journalled groups that are not projected yet"),
        ("lag_seconds", "seconds", "Age of the oldest of them"),
    ):
        yield gauge(f"callkpi_projector_{name}", text, (), {(): snapshot.lag[column]})
    aside = dict.fromkeys(settings.tenants, 0) | {row["tenant"]: row["streams"] for row in snapshot.set_aside}
    yield gauge("callkpi_projector_set_aside", "Calls, agents and items of work that can't be projected", ("tenant",),
                 {(tenant,): count for tenant, count in aside.items()})  # fmt: skip
    waiting = dict.fromkeys(settings.sources, 0) | {row["source"]: row["waiting"] for row in snapshot.rejected}
    yield gauge("callkpi_ingest_rejected_waiting", "Payloads kept for a replay after a fix", ("source",),
                 {(name,): count for name, count in waiting.items()})  # fmt: skip
    failing = Counter(row["name"] for row in snapshot.failing)
    yield gauge("callkpi_work_failing", "How many of a kind of background work fail now, round after round", ("work",),
                 {(name,): failing[name] for name in looping.NAMES})  # fmt: skip
