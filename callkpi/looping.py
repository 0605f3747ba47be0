"""Loops that do not end: what a round raises is said, counted and told, and the next round is tried.

One bad row, one bad source or one bad minute costs its own round. A loop that let the error out would take its process
with it, and everybody whose work that process does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from callkpi.database.errors import is_passing
from callkpi.health import Health

log = structlog.get_logger()

#: Every loop that is kept going, by the name that metrics, /readyz and the log tell it by.
NAMES = (
    "connection",
    "courier",
    "crm",
    "days",
    "intake",
    "janitor",
    "projector",
    "reconciler",
    "reload",
    "slow_clients",
    "spool",
)
#: First and longest pause after a round that failed, in seconds.
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Loop:
    """What is done again and again."""

    name: str  #: one of NAMES: a label of metrics
    every: float  #: seconds between a round that did its work and the next
    health: Health
    subject: str = ""  #: whose work it is, where several do the same: a source


async def keep_going(
    loop: Loop, step: Callable[[], Awaitable[float | None]], until: Callable[[], bool] = lambda: False
) -> None:
    """Do *step* until cancelled, or until *until* says so. A step may return the seconds to its next time.

    A loop may be a step of another one of the same name: a round of the inner one is proof that the outer one works.
    """
    failures = 0
    while not until():
        try:
            told = await step()
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # Of something that the step waited for, not of this loop.
            failures += 1
            pause = _failed(loop, error, failures)
        except Exception as error:
            failures += 1
            pause = _failed(loop, error, failures)
        else:
            pause = loop.every if told is None else told
            if failures:
                log.info("work.goes_on", work=loop.name, of=loop.subject, after_failures=failures)
            failures = 0
            loop.health.works((loop.name, loop.subject))
        await asyncio.sleep(pause)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failed(loop: Loop, error: BaseException, failures: int) -> float:
    """Say, count and tell a round that failed. Returns the seconds to wait before the next."""
    pause = min(FIRST_SECONDS * 2.0 ** min(failures - 1, 10), LONGEST_SECONDS)
    cause = innermost(error)
    loop.health.failing((loop.name, loop.subject), type(cause).__name__)
    if is_passing(error):
        text = str(cause)[:200]
        log.warning("work.failed", work=loop.name, of=loop.subject, error=type(cause).__name__, text=text,
                    again_in_seconds=pause)  # fmt: skip
    else:
        log.error("work.failed", work=loop.name, of=loop.subject, error=type(cause).__name__, again_in_seconds=pause,
                  exc_info=error)  # fmt: skip
    return pause


def innermost(error: BaseException) -> BaseException:
    """The first error of a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
