"""``callkpi erase``: a customer's numbers replaced by a pseudonym, everywhere."""

from __future__ import annotations

from callkpi import audit, config
from callkpi.calls.phone import mask
from callkpi.commands.database import database
from callkpi.upkeep import erasure
from callkpi.upkeep.doctor import Progress


async def erase(
    settings: config.Settings, tenant: str, number: str, progress: Progress, *, dry_run: bool
) -> erasure.Erasure:
    """Replace a customer's number by a pseudonym everywhere. Raises pseudonyms.NotErasable."""
    async with database(settings) as pool:
        if dry_run:
            return await erasure.look_for(pool, settings, tenant, number, progress)
        await audit.record(pool, audit.Operator(), audit.Action.ERASE, tenant, mask(number))
        return await erasure.erase(pool, settings, tenant, number, progress)
