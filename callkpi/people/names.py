"""What people call queues, lines, agents and teams, and which of them get series of their own in Prometheus.

Agents are stored with their source ("pbx:58"), for two sources may use one id for two people; who a person is and what
he is called is applied when figures are read, so that no history is rewritten when somebody edits the configuration.
The configuration's names win; where it has none, the names that a portal has for its own users are shown. Equal names
in the configuration are one agent, because somebody wrote them so. Two people who happen to have one name or one id
and of whom nobody said that they are one stay two.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import asyncpg

from callkpi import config
from callkpi.calls.model import agent_id, agent_key
from callkpi.config.teams import team_names
from callkpi.database import store
from callkpi.people.people import People

OTHER = "other"
#: How old the portal's names may be on a screen.
FRESH_SECONDS = 60.0
#: So many names are remembered at most.
_MOST_SHOWN = 100_000


class Names:
    """Display names: ids with equal names in the configuration are one.

    Of all tenants: a process makes one, and everything in it shares it.
    """

    def __init__(self, settings: config.Settings) -> None:
        self._known: dict[tuple[str, str], Mapping[str, str]] = {}
        self._people = {name: People(tenant) for name, tenant in settings.tenants.items()}
        self._tenants = settings.tenants
        for name, tenant in settings.tenants.items():
            for kind, table in (("queue", tenant.queues), ("line", tenant.lines)):
                self._known[name, kind] = {key: entry.name for key, entry in table.items()}
            self._known[name, "agent"] = {**dict.fromkeys(tenant.agents, ""), **self._people[name].names}
        self._sources: dict[str, list[str]] = defaultdict(list)
        for source, told in settings.sources.items():
            self._sources[told.tenant].append(source)
        self._learnt: dict[tuple[str, str], dict[str, str]] = {}
        self._departments: dict[str, dict[str, str]] = {}
        self._twins: dict[str, dict[str, str]] = {}
        self._shown: dict[tuple[str, str, str], str] = {}
        self._may_learn = bool(settings.portals)
        self._learn_at = 0.0
        self._newest: int | None = None  #: the number of the name that was seen last, when twins were told apart
        self._apart_at = float("-inf")

    async def refresh(self, db: asyncpg.Pool | asyncpg.Connection) -> None:
        """Read the portals' names again when those that we have are old; and which ids several sources use."""
        if self._may_learn and time.monotonic() >= self._learn_at:
            self.learn(await db.fetch(store.query("reconcile", "portal_names")))
            self._learn_at = time.monotonic() + FRESH_SECONDS
            self._apart_at = float("-inf")  # whom a portal names is no twin
        newest = await db.fetchval(store.query("agents", "newest_name"))
        # Of two that are written at once the earlier number may be seen later: hence also from time to time.
        if newest != self._newest or time.monotonic() >= self._apart_at:
            self.tell_apart(await db.fetch(store.query("agents", "twins")))
            self._newest, self._apart_at = newest, time.monotonic() + FRESH_SECONDS

    async def seen(self, db: asyncpg.Pool | asyncpg.Connection, tenant: str) -> dict[str, str]:
        """Every agent whom the store knows, also one who never had a call: key to shown name."""
        await self.refresh(db)
        keys = [row["name"] for row in await db.fetch(store.query("reports", "names_of"), tenant, "agent")]
        return {key: self.show(tenant, "agent", key) for key in [*keys, *self.learnt(tenant, "agent")] if key}

    def learn(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Names that portals told. Of equal ones the first keeps its name, the others show their id as well."""
        learnt: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        taken: dict[tuple[str, str], set[str]] = defaultdict(set)
        members: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        departments: dict[tuple[str, str], str] = {}
        for row in rows:
            place, number, name = (row["tenant"], row["kind"]), row["id"], row["name"]
            if row["kind"] == "department":
                departments[row["tenant"], f"{row['source']}:{number}"] = name
            if row["kind"] == "member":
                members[row["tenant"], row["source"]][number] = name
                continue
            key = f"{row['source']}:{number}" if row["kind"] == "agent" else number
            configured = self._known.get(place, {})
            if key in learnt[place] or configured.get(key) or (row["kind"] == "agent" and configured.get(number)):
                continue
            if not taken[place]:
                taken[place] = {*configured.values()} | set(configured)
            shown = f"{name} ({number})" if name in taken[place] else name
            taken[place].add(shown)
            learnt[place][key] = shown
        self._learnt = dict(learnt)
        self._shown.clear()
        teams: dict[str, dict[str, str]] = defaultdict(dict)
        for (tenant, source), told in members.items():
            for number, department in told.items():
                if name := departments.get((tenant, f"{source}:{department}"), ""):
                    teams[tenant][f"{source}:{number}"] = name
        self._departments = dict(teams)

    def tell_apart(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Ids that several sources use, in the order of their first sight: the later ones show their source."""
        twins: dict[str, dict[str, str]] = defaultdict(dict)
        taken: set[tuple[str, str]] = set()
        for row in rows:
            tenant, key = row["tenant"], row["name"]
            if self._named(tenant, key):
                continue
            bare = agent_id(key)
            if (tenant, bare) in taken:
                twins[tenant][key] = f"{bare} ({key[: -len(bare) - 1]})"
            taken.add((tenant, bare))
        if twins != self._twins:
            self._twins = dict(twins)
            self._shown.clear()

    def show(self, tenant: str, kind: str, name: str) -> str:
        """What people call it."""
        key = (tenant, kind, name)
        shown = self._shown.get(key)
        if shown is None:
            if len(self._shown) >= _MOST_SHOWN:
                self._shown.clear()
            shown = self._shown[key] = self._show(tenant, kind, name)
        return shown

    def _show(self, tenant: str, kind: str, name: str) -> str:
        if kind == "team":
            return self.team(tenant, name)
        if kind == "agent":
            return self._named(tenant, name) or self._twins.get(tenant, {}).get(name) or agent_id(name)
        known = self._known.get((tenant, kind), {}).get(name)
        return known or self._learnt.get((tenant, kind), {}).get(name, name)

    def _named(self, tenant: str, key: str) -> str:
        """What the configuration or a portal calls an agent; "" where neither does."""
        known = self._known.get((tenant, "agent"), {})
        return known.get(key) or known.get(agent_id(key)) or self._learnt.get((tenant, "agent"), {}).get(key, "")

    def team(self, tenant: str, agent: str) -> str:
        """The team of an agent by his key: the configured one; where none is configured, his portal's department."""
        people = self._people.get(tenant)
        configured = people.team(agent) if people is not None else ""
        if configured or (people is not None and people.teams):
            return configured
        return self._departments.get(tenant, {}).get(agent, "")

    def team_names(self, tenant: str, told: str) -> list[str]:
        """All that a team is called, *told* first: its key in the configuration means the same as its name."""
        own = self._tenants.get(tenant)
        return team_names(own, told) if own is not None else [told]

    def teams(self, tenant: str) -> Mapping[str, str]:
        """Agent's key or bare id to his team, of those who have one."""
        people, departments = self._people.get(tenant), self._departments.get(tenant, {})
        keys = {*self._known.get((tenant, "agent"), {}), *(people.teams if people else ()), *departments}
        return {key: team for key in sorted(keys) if (team := self.team(tenant, key))}

    def ids(self, tenant: str, kind: str, shown: str) -> list[str]:
        """The ids that are shown as *shown*, itself included."""
        table = self._known.get((tenant, kind), {})
        learnt = self.learnt(tenant, kind)
        found = [
            shown,
            *(key for key, name in table.items() if name == shown),
            *(key for key, told in learnt.items() if told == shown),
        ]
        if kind != "agent":
            return found
        # An id alone is that id of any source.
        qualified = [agent_key(source, key) for key in found for source in self._sources.get(tenant, ())]
        return found + [key for key in qualified if self.show(tenant, kind, key) == shown or agent_id(key) == shown]

    def called(self, tenant: str, kind: str, told: str) -> list[str]:
        """All that a queue, a line or an agent is called, by its id or its name: *told* first, its name, its ids."""
        return list(dict.fromkeys([told, *self.ids(tenant, kind, self.show(tenant, kind, told))]))

    def learnt(self, tenant: str, kind: str) -> Mapping[str, str]:
        """Key to display name of what the configuration does not name: what a portal told, and equal ids told apart."""
        learnt = self._learnt.get((tenant, kind), {})
        return {**learnt, **self._twins.get(tenant, {})} if kind == "agent" else learnt

    def configured(self, tenant: str, kind: str) -> Iterable[str]:
        return self._known.get((tenant, kind), {})

    def named(self, tenant: str, kind: str) -> Mapping[str, str]:
        """Key to display name of what the configuration names."""
        return {key: name for key, name in self._known.get((tenant, kind), {}).items() if name}


class Bounded:
    """Labels of a scrape: display names, the first ones seen; later ones than the limit are ``other``.

    The order of first sight never changes, so a series that is once in ``other`` stays there and nothing drops.
    """

    def __init__(
        self, names: Names, seen: Iterable[tuple[str, str, str]], limits: Mapping[str, int], max_places: int = 0
    ) -> None:
        """*max_places*: so many pairs of a queue and a line; each of both may be few and their pairs many."""
        self._names, self._max_places = names, max_places
        self._places: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._beyond: set[tuple[str, str, str]] = set()
        self._allowed: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.overflow: dict[tuple[str, str], int] = defaultdict(int)
        for tenant, kind, name in seen:
            shown = names.show(tenant, kind, name)
            allowed = self._allowed[tenant, kind]
            if len(allowed) < limits.get(kind, 0) or shown in allowed:
                allowed.add(shown)
            else:
                self.overflow[tenant, kind] += 1

    def label(self, tenant: str, kind: str, name: str) -> str:
        if not name:
            return ""
        shown = self._names.show(tenant, kind, name)
        return shown if shown in self._allowed[tenant, kind] else OTHER

    def place(self, tenant: str, queue: str, line: str) -> tuple[str, str, str]:
        """Labels of a queue and a line: the pairs that were asked for first; of later ones the line is ``other``.

        Without a line, or of another one, the queue alone is bound.
        """
        pairs, pair = self._places[tenant], (queue, line)
        if line in ("", OTHER) or pair in pairs:
            return tenant, queue, line
        if len(pairs) < self._max_places:
            pairs.add(pair)
            return tenant, queue, line
        if (tenant, *pair) not in self._beyond:
            self._beyond.add((tenant, *pair))
            self.overflow[tenant, "place"] += 1
        return tenant, queue, OTHER
