"""Requests to receivers on the web: what the answers mean, for every way that speaks HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from callkpi.delivery.message import InDoubt, Permanent, Temporary

SECONDS = 30.0
#: Who does not even take a connection within this time has got nothing.
CONNECT_SECONDS = 10.0
#: Answers that say "later": a timeout, too early, too many, and whatever the server itself got wrong.
_LATER = {408, 425, 429}


def session(connect_seconds: float = CONNECT_SECONDS) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS, sock_connect=connect_seconds))


@asynccontextmanager
async def faults() -> AsyncIterator[None]:
    """Faults of a request as Temporary (it did not leave) or InDoubt (it may have arrived)."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
        raise Temporary(f"no connection: {type(error).__name__}") from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise InDoubt(f"no answer: {type(error).__name__}") from None


def judge(status: int, headers: aiohttp.typedefs.LooseHeaders | None, what: str) -> None:
    """Return for a success. Raises Temporary or Permanent."""
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        raise Temporary(f"{what} answers {status}", _retry_after(headers))
    if 300 <= status < 400:
        raise Permanent(f"{what} leads elsewhere ({status}): write where it leads to")
    raise Permanent(f"{what} refuses it ({status})")


def _retry_after(headers: object) -> float:
    value = headers.get("Retry-After", "") if hasattr(headers, "get") else ""
    return float(value) if re.fullmatch(r"[0-9]{1,9}", str(value)) else 0.0
