"""What people call queues, lines and agents, and which of them get series of their own in Prometheus.

The configuration's names win; where it has none, a portal's own names are shown. Equal names in the configuration are
one agent, because somebody wrote them so. Two people of a portal who happen to have one name stay two.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import asyncpg

from callkpi import config, store

OTHER = "other"
#: How old the portal's names may be on a screen.
FRESH_SECONDS = 60.0


class Names:
    """Display names: ids with equal names in the configuration are one."""

    def __init__(self, settings: config.Settings) -> None:
        self._known: dict[tuple[str, str], Mapping[str, config.Queue | config.Named]] = {}
        for name, tenant in settings.tenants.items():
            for kind, table in (("queue", tenant.queues), ("line", tenant.lines), ("agent", tenant.agents)):
                self._known[name, kind] = table
        self._learnt: dict[tuple[str, str], dict[str, str]] = {}
        self._may_learn = bool(settings.portals)
        self._learn_at = 0.0

    async def refresh(self, db: asyncpg.Pool | asyncpg.Connection) -> None:
        """Read the portals' names again when those that we have are old."""
        if self._may_learn and time.monotonic() >= self._learn_at:
            self.learn(await db.fetch(store.query("reconcile", "portal_names")))
            self._learn_at = time.monotonic() + FRESH_SECONDS

    def learn(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Names that portals told. Of equal ones the first keeps its name, the others show their id as well."""
        learnt: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        taken: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in rows:
            place, number, name = (row["tenant"], row["kind"]), row["id"], row["name"]
            configured = self._known.get(place, {})
            if number in learnt[place] or (number in configured and configured[number].name):
                continue
            if not taken[place]:
                taken[place] = {entry.name for entry in configured.values()} | set(configured)
            shown = f"{name} ({number})" if name in taken[place] else name
            taken[place].add(shown)
            learnt[place][number] = shown
        self._learnt = dict(learnt)

    def show(self, tenant: str, kind: str, name: str) -> str:
        entry = self._known.get((tenant, kind), {}).get(name)
        if entry is not None and entry.name:
            return entry.name
        return self._learnt.get((tenant, kind), {}).get(name, name)

    def ids(self, tenant: str, kind: str, shown: str) -> list[str]:
        """The ids that are shown as *shown*, itself included."""
        table = self._known.get((tenant, kind), {})
        learnt = self._learnt.get((tenant, kind), {})
        return [
            shown,
            *(name for name, entry in table.items() if entry.name == shown),
            *(name for name, told in learnt.items() if told == shown),
        ]

    def learnt(self, tenant: str, kind: str) -> Mapping[str, str]:
        """Id to display name of what the configuration does not name and a portal does."""
        return self._learnt.get((tenant, kind), {})

    def configured(self, tenant: str, kind: str) -> Iterable[str]:
        return self._known.get((tenant, kind), {})


class Bounded:
    """Labels of a scrape: display names, the first ones seen; later ones than the limit are ``other``.

    The order of first sight never changes, so a series that is once in ``other`` stays there and nothing drops.
    """

    def __init__(self, names: Names, seen: Iterable[tuple[str, str, str]], limits: Mapping[str, int]) -> None:
        self._names = names
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
