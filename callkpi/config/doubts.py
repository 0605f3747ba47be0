"""What callkpi can work with and hardly anybody means: told of, and not refused."""

from __future__ import annotations

from collections.abc import Iterator

from callkpi.config.same_call_checks import doubled
from callkpi.config.secret_checks import is_for_this_machine
from callkpi.config.team_checks import unknown_team
from callkpi.config.tree import Settings, Tenant
from callkpi.config.words import guess


def doubts(settings: Settings) -> list[str]:
    """A line for each."""
    return [*_doubts(settings), *doubled(settings)]


def _doubts(settings: Settings) -> Iterator[str]:
    if not settings.sources:
        yield "sources: there is none, so nothing will be counted; 'callkpi example-config' shows how one is written"
    if not is_for_this_machine(settings) and not settings.server.api_token and not settings.tokens:
        yield (
            f"server.listen: {settings.server.listen} is reached from elsewhere, and there is no token: nobody but "
            "this machine can open the board; write server.api_token or [tokens.NAME]"
        )
    for name, tenant in settings.tenants.items():
        yield from _unnamed_queues(f"tenants.{name}", tenant)
        is_asked = any(source.is_asked and source.tenant == name for source in settings.sources.values())
        if not tenant.teams and not is_asked:
            yield from _teams_of_nobody(f"tenants.{name}", tenant)


def _teams_of_nobody(where: str, tenant: Tenant) -> Iterator[str]:
    """Without teams a portal's departments may be meant, and here is no portal that tells of them."""
    for table, named in (("shifts", tenant.shifts), ("goals", tenant.goals)):
        for key, each in named.items():
            yield from unknown_team(f"{where}.{table}.{key}.team", each.team, where, tenant)


def _unnamed_queues(where: str, tenant: Tenant) -> Iterator[str]:
    """A queue need not be named in the settings; where others are, one that is not may be written wrong."""
    if not tenant.queues:
        return
    names = {*tenant.queues, *(queue.name for queue in tenant.queues.values() if queue.name)}
    for shift, plan in tenant.shifts.items():
        for queue in plan.queues:
            if queue and queue not in names:
                known = ", ".join(tenant.queues)
                yield f"{where}.shifts.{shift}.queues: {queue!r} is none of {known}{guess(queue, names)}"
