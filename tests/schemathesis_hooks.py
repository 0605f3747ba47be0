"""What a generator of requests can't guess: moments, a tenant, calls that are there."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format(
    "moment", st.sampled_from(["2026-11-23", "2026-11-24T09:00:00+05:00", "1795000000", "2026-11-24T10:15"])
)


@schemathesis.hook
def map_query(context, query):  # type: ignore[no-untyped-def]
    """A cursor is nothing that one makes up; a window that begins after it ends would hide everything else."""
    if query and isinstance(query, dict):
        for name in ("cursor", "to"):
            if isinstance(query.get(name), str):
                query.pop(name)
    return query
