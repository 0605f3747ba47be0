"""What is wrong with the rules by which calls of two sources are one, and who has two such sources and no rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from callkpi.config.tree import SameCall, Settings
from callkpi.config.words import guess

RULES = ("id", "number")
LONGEST_WITHIN_SECONDS = 900.0


def sources_by_tenant(settings: Settings) -> dict[str, list[str]]:
    """The names of each tenant's sources. Made once: looked for tenant by tenant, ten thousand took a minute."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, source in settings.sources.items():
        found[source.tenant].append(name)
    return dict(found)


def same_call_problems(where: str, rule: SameCall, own: Sequence[str]) -> Iterator[str]:
    """*own* are the sources of the tenant whose rule it is."""
    for name in rule.sources:
        if name not in own:
            yield f"{where}.sources: {name!r} is no source of this tenant{guess(name, own)}; known: {', '.join(own)}"
    if len(set(rule.sources)) < len(rule.sources):
        yield f"{where}.sources: names a source twice"
    if len(rule.sources) == 1:
        yield f"{where}.sources: needs two sources or more, or none"
    for name in rule.by:
        if name not in RULES:
            yield f"{where}.by: {name!r} is none of {', '.join(RULES)}"
    if not 1 <= rule.within_seconds <= LONGEST_WITHIN_SECONDS:
        yield f"{where}.within_seconds: must be from 1 to {LONGEST_WITHIN_SECONDS:g}"


def doubled(settings: Settings) -> list[str]:
    """Tenants whose calls a PBX and a portal may both tell of, while nothing says whether they are the same calls."""
    told, sources = [], sources_by_tenant(settings)
    for tenant, own in settings.tenants.items():
        mine = {name: settings.sources[name] for name in sources.get(tenant, [])}
        portals = [name for name, source in mine.items() if source.IS_PORTAL]
        others = [name for name, source in mine.items() if not source.IS_PORTAL and not source.IS_FILE]
        if portals and others and not own.same_call.sources and own.same_call.by:
            names = ", ".join(f'"{name}"' for name in (*others, *portals))
            told.append(
                f"tenants.{tenant}.same_call: a call that both {others[0]} and {portals[0]} tell of counts twice; "
                f"write sources = [{names}], whose facts lead first (and by = [] if they never tell of the same calls)"
            )
    return told
