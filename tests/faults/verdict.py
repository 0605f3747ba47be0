"""What has to be true after a round."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.postgres import Postgres

#: The present quarter of an hour and the next are written ahead.
AHEAD = timedelta(hours=1)
#: Tables of figures by the column that says of when a row is. What a source told of the time to come may be kept.
TIMED = {"rollups": "at", "agent_times": "at", "agent_horizon": "until"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What the tables hold after a round."""

    events: Counter[str]  #: by event id
    timeless: int
    calls: Counter[str]
    ahead: Mapping[str, int]  #: rows of a time to come, by table


@dataclass(frozen=True, slots=True)
class Told:
    """What the sources know: what they offered, and what was acknowledged."""

    offered: Collection[str]
    acknowledged: Collection[str]
    calls: Collection[str] = ()  #: whose beginning was acknowledged
    timeless_offered: int = 0
    timeless_acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    lost: int
    double: int
    problems: tuple[str, ...]


def judge(told: Told, stored: Stored) -> Judged:
    """Acknowledged is stored once; what was not acknowledged is stored at most once; nothing else is there."""
    lost = sorted(set(told.acknowledged) - stored.events.keys())
    double = sorted(event for event, times in stored.events.items() if times > 1)
    strange = sorted(stored.events.keys() - set(told.offered))
    missing = sorted(set(told.calls) - stored.calls.keys())
    twice = sorted(call for call, times in stored.calls.items() if times > 1)
    timeless_lost = max(0, told.timeless_acknowledged - stored.timeless)
    timeless_double = max(0, stored.timeless - told.timeless_offered)
    problems = [
        _some(lost, "acknowledged events are lost"),
        _some(double, "events are stored more than once"),
        _some(strange, "events are stored that nobody sent"),
        _some(missing, "acknowledged calls are not in the tables"),
        _some(twice, "calls are in the tables more than once"),
        f"{timeless_lost} acknowledged events without a time are lost" if timeless_lost else "",
        f"{timeless_double} events without a time are stored more than once" if timeless_double else "",
        *(f"{table} has {rows} rows of a time to come" for table, rows in sorted(stored.ahead.items()) if rows),
    ]
    return Judged(
        len(lost) + timeless_lost, len(double) + timeless_double, tuple(problem for problem in problems if problem)
    )


def _some(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}: {', '.join(name[:40] for name in names[:3])}" if names else ""


@dataclass(frozen=True, slots=True)
class Examined:
    """What ``callkpi doctor`` found."""

    differences: int
    set_aside: int
    problems: tuple[str, ...]


#: What a fault itself pushed may be set aside, which doctor tells as well; nobody else's events may.
_OWN_SET_ASIDE = re.compile(r"\w+ (loud|portal)/.* is set aside since ")


def examined(status: int, lines: Sequence[str]) -> Examined:
    """Of an exit status and what was printed. More is set aside than doctor lists where there is very much of it."""
    counted = next((int(found[1]) for line in lines if (found := re.match(r"(\d+) differences\.", line))), 0)
    own = sum(_OWN_SET_ASIDE.match(line) is not None for line in lines)
    others = [line for line in lines if not _OWN_SET_ASIDE.match(line)]
    differences = max(0, counted - own) if counted else int(status != 0)
    told = f"doctor (exit status {status}): {'; '.join(line[:160] for line in others[-4:])}"
    return Examined(differences, own, (told,) if differences else ())


async def stored(postgres: Postgres) -> Stored:
    """Read the tables, by a connection of our own."""
    async with postgres.connected(seconds=60) as connection:
        events = await connection.fetch(
            "SELECT event_id, count(*) AS times FROM callkpi.journal WHERE source NOT IN ('pbx', 'portal') GROUP BY 1"
        )
        timeless = await connection.fetchval("SELECT count(*) FROM callkpi.journal WHERE source = 'pbx'")
        calls = await connection.fetch("SELECT source, call_id, count(*) AS times FROM callkpi.calls GROUP BY 1, 2")
        ahead = {
            table: await connection.fetchval(f"SELECT count(*) FROM callkpi.{table} WHERE {at} > now() + $1", AHEAD)
            for table, at in TIMED.items()
        }
    return Stored(
        Counter({row["event_id"]: row["times"] for row in events}),
        timeless,
        Counter({row["call_id"]: row["times"] for row in calls}),
        ahead,
    )
