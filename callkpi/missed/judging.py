"""What has become of missed calls, as of a moment: the one definition that figures and the lists behind them share.

A miss that nobody settled waits until it is written off, which no event tells: it depends on the clock alone. So
whoever tells of fates says as of which moment, and gives the same moment to all that he reads. The same definition for
SQL is the function ``fate_at``. Pure, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from callkpi import config
from callkpi.calls.model import Fate

#: Fates of misses that nobody has settled.
_OPEN = (Fate.WAITING, Fate.CALLED_BACK)


def written_off_before(tenant: config.Tenant, at: datetime) -> datetime:
    """What was missed before this and nobody settled is written off *at* a moment."""
    return at - timedelta(days=tenant.write_off_days)


def judged(fate: str, started_at: datetime, written_off: datetime) -> Fate:
    """The fate of a call that was missed at *started_at*, by the stored *fate* and :func:`written_off_before`."""
    stored = Fate(fate)
    return Fate.WRITTEN_OFF if stored in _OPEN and started_at < written_off else stored


def counts(fate: Fate, *, called_back: bool, calls: int = 1) -> dict[str, int]:
    """How often each of FATES is true of so many missed *calls* of one fate."""
    return {
        "called_back": calls if called_back else 0,
        "reached_after_miss": calls if fate is Fate.REACHED else 0,
        "self_served": calls if fate is Fate.SELF_SERVED else 0,
        "still_waiting": calls if fate in _OPEN else 0,
        "written_off": calls if fate is Fate.WRITTEN_OFF else 0,
    }


def counts_of(row: Mapping[str, Any]) -> dict[str, int]:
    """The same of a row of missed calls whose fate is judged already."""
    return counts(Fate(row["fate"]), called_back=row["called_back"], calls=row["calls"])
