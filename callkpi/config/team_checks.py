"""What is wrong with teams and with the places that name one."""

from __future__ import annotations

from collections.abc import Iterator

from callkpi.config.tree import Tenant
from callkpi.config.words import guess


def team_problems(where: str, tenant: Tenant) -> Iterator[str]:
    """Each name is one team's, and who is named in two teams is in one of them."""
    teams: dict[str, str] = {}
    for name, team in tenant.teams.items():
        if team.name != name and team.name in tenant.teams:
            yield f"{where}.teams.{name}.name: {team.name!r} is the key of another team; name it otherwise"
        for key in team.agents:
            if teams.setdefault(key, name) != name:
                yield f"{where}.teams.{name}.agents: {key!r} is in teams.{teams[key]} too; one team each"
    for table, entries in (("people", tenant.people), ("agents", tenant.agents)):
        for name, entry in entries.items():
            yield from unknown_team(f"{where}.{table}.{name}.team", getattr(entry, "team", ""), where, tenant)
    # Without teams a portal's departments may be meant: nobody knows their names before it tells them.
    for table, named in (("shifts", tenant.shifts), ("goals", tenant.goals)) if tenant.teams else ():
        for name, each in named.items():
            yield from unknown_team(f"{where}.{table}.{name}.team", each.team, where, tenant)


def unknown_team(place: str, told: str, where: str, tenant: Tenant) -> Iterator[str]:
    """What is wrong with a team that is named by its key or its name; nothing where none is."""
    names = {name for key, team in tenant.teams.items() for name in (key, team.name) if name}
    if told and told not in names:
        known = ", ".join(tenant.teams) or "none"
        add = f"[{where}.teams.{told}]"
        yield f"{place}: {told!r} is none of the teams ({known}){guess(told, sorted(names))}; add {add}"
