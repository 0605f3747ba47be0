"""The daemon's background work: which processes it has besides the web, and what each does until it is stopped.

To add one: a coroutine ``run(settings, dsn)`` in a module of its own, a function here that imports it, and a line in
:data:`JOBS`. A process loads its own work only: imports are most of the time in which the daemon starts.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from callkpi import config

#: Works until it is cancelled; what it raises ends its process, which the parent starts again.
Run = Callable[[config.Settings, str], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Job:
    """One background process."""

    role: str
    is_wanted: Callable[[config.Settings], bool]
    load: Callable[[], Run]


def _projector() -> Run:
    from callkpi.projection import batch

    return batch.run


def _reconciler() -> Run:
    from callkpi.bitrix24 import reconciler

    return reconciler.run


def _connector() -> Run:
    from callkpi.connections import connector

    return connector.run


def _courier() -> Run:
    from callkpi.delivery import courier

    return courier.run


def _janitor() -> Run:
    from callkpi.upkeep import retention

    return retention.run


JOBS = (
    Job("projector", lambda settings: True, _projector),
    Job("reconciler", lambda settings: bool(settings.portals), _reconciler),
    Job("connector", lambda settings: bool(settings.connected), _connector),
    Job("courier", lambda settings: settings.sends_reports, _courier),
    Job("janitor", lambda settings: settings.retention.ends, _janitor),
)
