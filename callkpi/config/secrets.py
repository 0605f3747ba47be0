"""Which of the settings must never be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from callkpi.config.source import Source
from callkpi.config.tree import Settings


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every value that must never be seen in a log, a metric or an error.

    The address of the database is masked where settings are printed, and not here: parts of it are words of every day.
    """
    found = {value for value in _secrets(settings) if value != settings.database.url}
    for tenant in settings.tenants.values():
        for report in tenant.reports.values():
            # The address of a webhook is often all that its receiver asks for.
            found.update(text for text in report.to if text.startswith(("http:", "https:")))
    return frozenset(value for value in found if value)


def _secrets(table: Any) -> Iterator[str]:
    """The values of the secret keys of a table and of all tables in it."""
    if isinstance(table, dict):
        for each in table.values():
            yield from _secrets(each)
    if not is_dataclass(table):
        return
    if isinstance(table, Source):
        yield from table.more_secrets()
    for spec in fields(table):
        value = getattr(table, spec.name)
        if is_secret(spec.metadata):
            yield from (value,) if isinstance(value, str) else value
        else:
            yield from _secrets(value)


def is_secret(metadata: Any) -> bool:
    """Whether the key with this metadata was made by ``secret_setting``."""
    return "json_schema_extra" in metadata
