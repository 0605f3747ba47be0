"""Which sources are not heard: a connection that is lost, a portal that is not reached, one that fell silent.

Of each source by itself, for what one tells says nothing of another. Pure, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from callkpi import config
from callkpi.health import STALE_SECONDS, Reason
from callkpi.sources.bitrix24.settings import Bitrix24Source

#: A portal may be away or slow for as long before it counts as not reached.
REACHED_SECONDS = 600.0


class Trouble(StrEnum):
    """Why a source is not heard, the surest first."""

    DISCONNECTED = "disconnected"  #: the connection that is kept to it is not there
    NOT_REACHED = "not_reached"  #: a portal that is asked does not answer
    NEVER_SPOKE = "never_spoke"  #: it has never told anything
    SILENT = "silent"  #: it has told nothing for longer than it may, and the call centre is open


@dataclass(frozen=True, slots=True)
class Unheard:
    """A source that is not heard now."""

    source: str  #: "" where a call centre has no source at all
    trouble: Trouble
    since: datetime | None = None  #: None where it was never heard
    reason: str = ""  #: of a connection, see :class:`callkpi.health.Reason`


def unheard(
    sources: Mapping[str, config.Source], tenants: Mapping[str, config.Tenant], rows: Iterable[Any], at: datetime
) -> list[Unheard]:
    """Which of *sources* are not heard *at* a time, each once. *rows* are those of the query ``sources_now``."""
    told = {row["source"]: row for row in rows}
    found = []
    for name, source in sources.items():
        tenant = tenants.get(source.tenant, config.Tenant())
        found += next(([each] for each in _troubles(name, source, tenant, told.get(name), at)), [])
    return sorted(found, key=lambda each: (list(Trouble).index(each.trouble), each.source))


def _troubles(
    name: str, source: config.Source, tenant: config.Tenant, row: Mapping[str, Any] | None, at: datetime
) -> Iterator[Unheard]:
    if source.keeps_connection and not is_held(row, at):
        since = None if row is None else row["heard_at"] or row["changed_at"]
        # One that is written to be there is of a holder that is gone.
        reason = Reason.STOPPED if row is None or row["connected"] else row["reason"]
        yield Unheard(name, Trouble.DISCONNECTED, since, reason or Reason.NEVER)
    if source.is_asked and row is not None and row["asked_since"] is not None and not is_reached(row, source, at):
        yield Unheard(name, Trouble.NOT_REACHED, row["last_success_at"])
    limit = silence_limit(source, tenant)
    last = None if row is None else row["last_received_at"]
    if limit is None or (last is not None and at - last <= limit) or not config.is_open(tenant, at):
        return
    yield Unheard(name, Trouble.NEVER_SPOKE if last is None else Trouble.SILENT, last)


def is_held(row: Mapping[str, Any] | None, at: datetime) -> bool:
    """Whether the connection is there; nobody who writes that it is, is as bad as one that is not."""
    is_written = row is not None and row["seen_at"] is not None and row["connected"]
    return bool(row is not None and is_written and at - row["seen_at"] < timedelta(seconds=STALE_SECONDS))


def is_reached(row: Mapping[str, Any], source: config.Source, at: datetime) -> bool:
    """A portal is reached while its statistics were read to their end not long ago."""
    seconds = config.as_kind(source, Bitrix24Source).reconcile_seconds
    patience = timedelta(seconds=max(REACHED_SECONDS, 3 * seconds))
    return bool(at - (row["last_success_at"] or row["asked_since"]) < patience)


def silence_limit(source: config.Source, tenant: config.Tenant) -> timedelta | None:
    """How long a source may tell nothing in business hours; None: as long as it likes."""
    minutes = tenant.targets.silent_minutes if source.silent_minutes is None else source.silent_minutes
    # A table of calls is read when somebody has one.
    is_judged = minutes > 0 and (not source.IS_FILE or source.silent_minutes is not None)
    return timedelta(minutes=minutes) if is_judged else None
