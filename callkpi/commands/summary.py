"""``callkpi summary``: a summary in a terminal, or as the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from callkpi import config
from callkpi.calendar import periods, shifts
from callkpi.commands.database import database
from callkpi.commands.terminal import one_tenant
from callkpi.daemon.processes import Failed
from callkpi.people.names import Names
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS


@dataclass(frozen=True, slots=True)
class Asked:
    """Which summary is wanted, and how."""

    tenant: str
    period: str  #: ``night@2026-11-23``, or what :func:`periods.parse` reads
    against: str
    language: str
    form: str  #: a name of FORMATS
    numbers: bool = False


async def summary(settings: config.Settings, asked: Asked) -> bytes:
    """A summary in the form that is asked for. Raises Failed."""
    name, now = one_tenant(settings, asked.tenant), datetime.now(UTC)
    own = settings.tenants[name]
    shift, _, _ = asked.period.partition("@")
    text = f"shift:{asked.period}" if shift in shifts.shift_ids(own) else asked.period
    try:
        period = periods.parse(own, name, text, now)
        async with database(settings) as pool:
            told = await summarise_period(
                pool, settings, Names(settings), name, period, now, asked.against, ledger=False
            )
    except periods.BadPeriod as error:
        raise Failed(str(error)) from None
    return FORMATS[asked.form].render(told, asked.language, Reader(numbers=asked.numbers, agents=True))
