"""Who the agents of a call centre are, as the configuration says it. Pure, no I/O."""

from __future__ import annotations

from callkpi import config
from callkpi.model import agent_id


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


class People:
    """Who the agents of one tenant are, as far as the configuration says it."""

    def __init__(self, tenant: config.Tenant) -> None:
        self.names: dict[str, str] = {}  #: agent's key or bare id -> shown name
        self.teams: dict[str, str] = {}  #: agent's key or bare id -> shown name of the team
        for key, agent in tenant.agents.items():
            self._add(tenant, key, agent.name, getattr(agent, "team", ""))
        for name, person in tenant.people.items():
            for key in person.ids:
                self._add(tenant, key, person.name or name, person.team)
        for name, team in tenant.teams.items():
            for key in team.agents:
                self.teams[key] = team.name or name

    def _add(self, tenant: config.Tenant, key: str, name: str, team: str) -> None:
        if name:
            self.names[key] = name
        if team:
            self.teams[key] = shown_team(tenant, team)

    def name(self, key: str) -> str:
        """What the configuration calls an agent; "" where it does not name him."""
        return self.names.get(key) or self.names.get(agent_id(key)) or ""

    def team(self, key: str) -> str:
        """The team of an agent; whoever is shown by one name is in one team."""
        found = self.teams.get(key) or self.teams.get(agent_id(key))
        if found:
            return found
        name = self.name(key)
        return next((self.teams[other] for other, n in self.names.items() if n == name and other in self.teams), "")
