"""What people call queues, lines and agents, and which of them get series of their own in Prometheus."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from callkpi import config

OTHER = "other"


class Names:
    """Display names by the configuration: ids with equal names are one."""

    def __init__(self, settings: config.Settings) -> None:
        self._known: dict[tuple[str, str], Mapping[str, config.Queue | config.Named]] = {}
        for name, tenant in settings.tenants.items():
            for kind, table in (("queue", tenant.queues), ("line", tenant.lines), ("agent", tenant.agents)):
                self._known[name, kind] = table

    def show(self, tenant: str, kind: str, name: str) -> str:
        entry = self._known.get((tenant, kind), {}).get(name)
        return (entry.name or name) if entry is not None else name

    def ids(self, tenant: str, kind: str, shown: str) -> list[str]:
        """The ids that are shown as *shown*, itself included."""
        table = self._known.get((tenant, kind), {})
        return [shown, *(name for name, entry in table.items() if entry.name == shown)]

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
