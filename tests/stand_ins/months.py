"""Three months of calls, and what is kept of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from callkpi import config
from tests.stand_ins.customers import call
from tests.world import World

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

AT_ONCE = timedelta()


def kept(**months: int | str) -> config.Retention:
    return config.Retention(**months)  # type: ignore[arg-type]


async def three_months(world: World) -> None:
    """A call in the middle of each of three months, and one over the end of September."""
    for month in (8, 9, 10):
        at = datetime(2026, month, 15, 6, tzinfo=UTC)
        await world.send_json("native", *call(f"m{month}", at, f"+770100000{month:02}", agent="Dana"))
        await world.send_json("native", *call(f"lost{month}", at + timedelta(hours=1), f"+770200000{month:02}"))
    await world.send_json("native", *call("night", datetime(2026, 9, 30, 23, 59, 30, tzinfo=UTC), "+77030000000"))
    await world.project()
