"""What can be broken. A fault is a coroutine that breaks one thing, holds it, and mends it before it returns."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.system import System

Break = Callable[["System", random.Random], Awaitable[None]]


class NotRun(Exception):
    """This machine can't do what the fault needs; the text says what. The round is neither passed nor failed."""


class Wrong(Exception):
    """The fault itself saw what must not be."""


class Database(Enum):
    """Whose the PostgreSQL of a round is, and how the daemon gets to it."""

    EMBEDDED = "the daemon's own"
    SEPARATE = "started by the campaign, reached by its socket"
    PROXIED = "started by the campaign, reached through a proxy"


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault needs before the daemon starts."""

    database: Database = Database.EMBEDDED
    all_jobs: bool = False  #: the daemon has a process for every job, not only those that it always has
    disk_mib: int = 0  #: PostgreSQL's data is on a disk of its own of this size; 0: on the one that all is on
    spool_on_disk: bool = False  #: … and so is the whole data directory
    is_clock_faked: bool = False
    config: str = ""  #: lines beyond the usual ones


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    sentence: str
    run: Break
    scene: Scene
    may_end_daemon: bool  #: it kills the daemon itself, which its service manager starts again
    may_hold_up: bool  #: others may wait as long as it lasts; not where one source is the fault
    is_spooled: bool  #: what comes while it lasts is acknowledged all the same

    async def __call__(self, system: System, rng: random.Random) -> None:
        await self.run(system, rng)


FAULTS: dict[str, Fault] = {}


def fault(
    *, scene: Scene | None = None, may_end_daemon: bool = False, may_hold_up: bool = True, is_spooled: bool = False
) -> Callable[[Break], Break]:
    """Put a coroutine into the catalogue; the first paragraph of its docstring says what is broken."""

    def enter(run: Break) -> Break:
        sentence = " ".join((run.__doc__ or "").split("\n\n")[0].split())
        name = run.__name__
        FAULTS[name] = Fault(name, sentence, run, scene or Scene(), may_end_daemon, may_hold_up, is_spooled)
        return run

    return enter
