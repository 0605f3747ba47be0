"""Read by every Python that lives by the clock of :mod:`tests.moments`, before anything else.

libfaketime 0.9.10 leaves the clock that pauses are measured by alone, as it is told to, but refuses every
clock_nanosleep by it as invalid, which is what ``time.sleep`` is made of. A pause by ``select`` is the same one.
"""

import select
import time


def _sleep(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = _sleep
