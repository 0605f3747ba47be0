"""Teams as the settings name them."""

from __future__ import annotations

from callkpi import config


def team_names(tenant: config.Tenant, told: str) -> list[str]:
    """All that a team is called: its key and its name, of which *told* is one; itself first."""
    found = [told]
    for key, team in tenant.teams.items():
        if told in (key, team.name):
            found += [name for name in (team.name, key) if name]
    return list(dict.fromkeys(found))


def shown_team(tenant: config.Tenant, told: str) -> str:
    """The name of a team as it is shown, by its key or its name."""
    team = tenant.teams.get(told)
    return (team.name if team is not None else "") or told
