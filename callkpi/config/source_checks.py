"""What is wrong with the sources as parts of the whole: their names, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from callkpi.config.source import Source, problems
from callkpi.config.tree import Tenant
from callkpi.config.words import NAME, guess


def source_problems(where: str, name: str, source: Source, tenants: Mapping[str, Tenant]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a source's name has letters, digits, '_', '.', '-', at most 64"
    if source.tenant not in tenants:
        yield (
            f"{where}.tenant: no tenant {source.tenant!r}{guess(source.tenant, tenants)}; "
            f"add [tenants.{source.tenant}] or name one of: {', '.join(tenants)}"
        )
    yield from problems(source, where)
