"""Who the agents of a call centre are, as the configuration says it. Pure, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from callkpi import config
from callkpi.calls.model import agent_id
from callkpi.config.teams import shown_team


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


class Ambiguous(ValueError):
    """What somebody wrote may mean several people."""


class Directory:
    """Who is meant by what a person writes: an id of the configuration or of a source, a person's key, a name."""

    def __init__(self, tenant: config.Tenant, seen: Mapping[str, str] | None = None) -> None:
        """*seen* are agents whom the store knows: key to shown name."""
        self._people = people = People(tenant)
        self._ids: dict[str, str] = {key: key for key in tenant.agents}
        for person in tenant.people.values():
            self._ids.update(dict.fromkeys(person.ids, next(iter(person.ids), "")))
        #: What else each is called, in the order of what goes before: the configuration's names, what screens show, and
        #: ids of any source.
        self._called: tuple[dict[str, set[str]], ...] = (defaultdict(set), defaultdict(set), defaultdict(set))
        self.names: dict[str, None] = {}  #: everything that is understood, for a guess; in order
        for key in self._ids:
            self._call(0, people.names.get(key, ""), key)
        for name, person in tenant.people.items():
            if person.ids:
                self._call(0, name, person.ids[0])
        for key, shown in sorted((seen or {}).items()):
            known = self._ids.get(key) or self._ids.get(agent_id(key)) or key
            for tier, called in ((1, key), (1, shown), (2, agent_id(key))):
                self._call(tier, called, known)
        self.names.update(dict.fromkeys(self._ids))

    def _call(self, tier: int, name: str, key: str) -> None:
        if name:
            self._called[tier][name.casefold()].add(self._ids.get(key, key))
            self.names.setdefault(name)

    def find(self, told: str) -> str | None:
        """The first id of whom *told* means; None where it is nobody. Raises Ambiguous."""
        if told in self._ids:
            return self._ids[told]
        for called in self._called:
            found = called.get(told.casefold(), set())
            # Ids that the configuration gives one name are one person.
            if len({self._people.name(key) or key for key in found}) > 1:
                raise Ambiguous(f"{told!r} may be {' or '.join(sorted(found))}; write that")
            if found:
                return next((key for key in self._ids if key in found), min(found))
        return None

    def ids(self, key: str) -> list[str]:
        """Every id of the person whom *key* is one of."""
        name = self._people.name(key)
        return sorted({key, *(other for other, shown in self._people.names.items() if name and shown == name)})
