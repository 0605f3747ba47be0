"""What the board says: one tenant's figures as plain data, each with its level against the target. Pure, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from callkpi import config
from callkpi.calls.formulas import Figures
from callkpi.figures import hearing, live
from callkpi.people.names import Names

#: A missed customer who has waited longer than this needs somebody now.
WORKING_DAY = timedelta(hours=8)
#: Below this part of the wanted service level somebody has to act.
_FAR_BELOW = 7 / 8
#: Seconds that the projector may be behind while the board still calls its figures those of now.
PROJECTOR_LAG_SECONDS = 30.0
#: Seconds that a delivery may wait on disk: a database that answers may take nothing new, read-only or full as it is.
SPOOLED_SECONDS = 10.0


class Level(StrEnum):
    """How a figure stands to its target. The page gives each a colour and a word."""

    NONE = "none"  #: nothing to judge: no target, no calls yet, or nobody tells us
    OK = "ok"
    WATCH = "watch"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of one tenant, read at one time; a :class:`callkpi.figures.live.Reading`."""

    at: datetime
    names: Sequence[Any]
    open_calls: Sequence[Any]
    agent_states: Sequence[Any]
    missed: Mapping[str, Sequence[Any]]
    windows: Mapping[tuple[str, str], Mapping[str, Figures]]
    company: Figures  #: whole calls of the day so far
    handled_last_week: int | None  #: handled by this time of the same weekday last week; None without calls then
    sources: Sequence[Any]  #: how each source of the tenant is, of the query ``sources_now``
    lag_seconds: float  #: age of the oldest event that is not computed yet
    spooled_since: datetime | None = None  #: when the oldest delivery came that waits on disk for the database


def state(reading: Reading, tenant: str, settings: config.Settings, names: Names) -> dict[str, Any]:
    """Everything that a board shows, as JSON data."""

    def label(owner: str, queue: str) -> str:
        return names.show(owner, "queue", queue)

    own, at = settings.tenants[tenant], reading.at
    now = live.now(reading, settings, names, label)
    day = {queue: figures for (_, queue, window), figures in live.windows(reading, label).items() if window == "day"}
    queues = {queue: value for (owner, queue), value in now.queues.items() if owner == tenant}
    is_open = config.is_open(own, at)
    unheard = _unheard(reading, tenant, settings, is_open=is_open)
    silent = bool(unheard)
    rows = [
        {"queue": queue, **_row(queues[queue], day.get(queue, Figures()), own, silent)}
        for queue in _order(queues, own, names, tenant)
        if _is_shown(queue, queues[queue], day.get(queue), {label(tenant, known) for known in own.queues})
    ]
    whole = _together(queues.values(), now.people[tenant])
    last = max((row["last_received_at"] for row in reading.sources if row["last_received_at"]), default=None)
    longest = max(queues, key=lambda queue: queues[queue].longest_wait, default="")
    return {
        "tenant": tenant,
        "at": at.isoformat(),
        "at_unix_seconds": at.timestamp(),
        "utc_offset_seconds": _offset(own, at),
        "open": is_open,
        "stale": _stale(reading),
        "silent": silent,
        "silent_seconds": None if last is None else (at - last).total_seconds(),
        "unheard": [
            {
                "source": each.source,
                "trouble": each.trouble,
                "reason": each.reason,
                "unheard_seconds": None if each.since is None else max((at - each.since).total_seconds(), 0.0),
            }
            for each in unheard
        ],
        "targets": {"service_level": own.targets.service_level, "missed_share": own.targets.missed_share},
        "company": {
            **_row(whole, reading.company, own, silent),
            "longest_wait_queue": longest,
            "handled_last_week": reading.handled_last_week,
        },
        "queues": rows,
    }


def same_time_last_week(tenant: config.Tenant, at: datetime) -> tuple[datetime, datetime]:
    """The same weekday's midnight and whole minute a week ago by the call centre's clock, in UTC."""
    local = (at.astimezone(tenant.zone) - timedelta(days=7)).replace(second=0, microsecond=0)
    return local.replace(hour=0, minute=0).astimezone(UTC), local.astimezone(UTC)


def _stale(reading: Reading) -> str:
    """What keeps the figures from being those of now."""
    spooled = reading.spooled_since
    if spooled is not None and (reading.at - spooled).total_seconds() > SPOOLED_SECONDS:
        return "spool"
    return "projector" if reading.lag_seconds > PROJECTOR_LAG_SECONDS else ""


def _offset(tenant: config.Tenant, at: datetime) -> int:
    offset = at.astimezone(tenant.zone).utcoffset()
    return round(offset.total_seconds()) if offset is not None else 0


def _unheard(reading: Reading, tenant: str, settings: config.Settings, *, is_open: bool) -> list[hearing.Unheard]:
    """Sources of which nothing is known now: while there is one, quiet figures are no good news."""
    sources = {name: source for name, source in settings.sources.items() if source.tenant == tenant}
    if not sources and is_open:
        return [hearing.Unheard("", hearing.Trouble.NEVER_SPOKE)]
    return hearing.unheard(sources, settings.tenants, reading.sources, reading.at)


# -- queues -----------------------------------------------------------------------------------------------


def _order(queues: Mapping[str, live.Queue], tenant: config.Tenant, names: Names, owner: str) -> list[str]:
    """The configuration's order, then by name, calls without a queue last: rows never change places."""
    configured = list(dict.fromkeys(names.show(owner, "queue", queue) for queue in tenant.queues))
    others = sorted(queue for queue in queues if queue and queue not in configured)
    return [*configured, *others, *([""] if "" in queues else [])]


def _is_shown(queue: str, now: live.Queue, day: Figures | None, configured: set[str]) -> bool:
    """A queue that the configuration does not name is shown while it has calls or agents."""
    told = day is not None and any(day.sums[name] for name in ("offered", "handled"))
    return queue in configured or told or bool(now.waits or now.talking or now.agents or now.missed)


def _together(queues: Any, people: Counter[str]) -> live.Queue:
    """The call centre as if it had one queue; each person is counted once."""
    whole = live.Queue(agents=people)
    for queue in queues:
        whole.waits.extend(queue.waits)
        whole.over_target += queue.over_target
        whole.wait_ratio = max(whole.wait_ratio, queue.wait_ratio)
        whole.talking += queue.talking
        whole.missed += queue.missed
        whole.missed_oldest = max(whole.missed_oldest, queue.missed_oldest)
    return whole


def _row(now: live.Queue, day: Figures, tenant: config.Tenant, silent: bool) -> dict[str, Any]:
    service_level = day.service_level(tenant.service_level_formula)
    levels = {
        "wait": _wait_level(now),
        "service_level": _service_level(service_level, tenant.targets),
        "missed": _missed_level(day.missed_share, tenant.targets),
        "callback": _callback_level(now, tenant.targets),
    }
    return {
        "waiting": len(now.waits),
        "over_target": now.over_target,
        "longest_wait_seconds": now.longest_wait,
        "talking": now.talking,
        "agents": {name: now.agents[name] for name in live.AGENT_STATES} if now.agents else None,
        "offered": day.sums["offered"],
        "handled": day.sums["handled"],
        "service_level": service_level,
        "missed": day.sums["missed"],
        "missed_share": day.missed_share,
        "missed_waiting": now.missed,
        "missed_oldest_seconds": now.missed_oldest,
        "levels": {
            name: Level.NONE if silent and level is Level.OK else level  # never good because nobody tells us
            for name, level in levels.items()
        },
    }


# -- levels -----------------------------------------------------------------------------------------------


def _wait_level(now: live.Queue) -> Level:
    """By the T of each queue: watch at T, act at its double."""
    return Level.ACT if now.wait_ratio >= 2 else Level.WATCH if now.wait_ratio >= 1 else Level.OK


def _service_level(share: float | None, targets: config.Targets) -> Level:
    if share is None:
        return Level.NONE
    wanted = targets.service_level
    low = round(wanted * _FAR_BELOW, 9)  # 0.7 of 0.8, not the nearest number above it
    return Level.OK if share >= wanted else Level.WATCH if share >= low else Level.ACT


def _missed_level(share: float | None, targets: config.Targets) -> Level:
    if share is None:
        return Level.NONE
    allowed = targets.missed_share
    return Level.OK if share <= allowed else Level.WATCH if share <= 2 * allowed else Level.ACT


def _callback_level(now: live.Queue, targets: config.Targets) -> Level:
    """Under the target, under a working day, older."""
    if not now.missed or now.missed_oldest <= targets.callback_minutes * 60:
        return Level.OK
    late = max(WORKING_DAY.total_seconds(), 2 * 60 * targets.callback_minutes)
    return Level.WATCH if now.missed_oldest <= late else Level.ACT
