"""What the live connections of one process share."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from callkpi import config
from callkpi.health import Health
from callkpi.ingest.door import Ingest
from callkpi.ingest.spool import Spool


@dataclass(frozen=True, slots=True)
class Office:
    """What every link may use."""

    pool: asyncpg.Pool
    settings: config.Settings
    ingest: Ingest
    spool: Spool | None
    health: Health
