"""Whose fault an error of the database is: the server's state, which passes, or what it was asked to store.

Everything that writes asks one question. :func:`is_passing`: the same again will succeed once the server is well, so it
is tried again and nobody's data is to blame. Everything else is the content's (:func:`is_content_error`): the same
again would fail for ever, so what holds it is found, set aside with the reason, and the rest goes on. What nobody
foresaw is taken for the content's: that costs one call and is told, where the other guess would stop all for good.
"""

from __future__ import annotations

import asyncpg

#: Classes of SQLSTATE (its first two characters) that tell of the server, not of a row.
_PASSING_CLASSES = frozenset(
    {
        "08",  # the connection
        "28",  # who may connect: a password that was changed, pg_hba.conf
        "3D",  # no such database: it is being restored
        "3F",  # no such schema
        "40",  # a transaction rolled back for others: deadlock, serialisation
        "53",  # resources: disk full, out of memory, too many connections
        "55",  # an object's state: locked, in use, the server recovers
        "57",  # an operator: cancelled, timed out, shut down, cannot connect now
        "58",  # the system: input and output
        "72",  # a snapshot too old
        "F0",  # the server's own configuration
        "XX",  # internal, also damaged files
    }
)

#: Single codes of classes that are otherwise the content's (or a fault of a statement of ours).
_PASSING_CODES = frozenset(
    {
        "25006",  # read-only, as after a failover
        "25P03",  # idle too long within a transaction
        "25P04",  # the transaction took too long
        "42501",  # a privilege that was taken away
        "42703",  # a column, a function, a table that is not there:
        "42883",  # the schema is older than this process, or being restored,
        "42P01",  # and every row meets the same
    }
)

_PASSING_TYPES = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,  # a migration ran beside: the next connection knows the new columns
    OSError,  # TimeoutError is one
    MemoryError,
)


def is_passing(error: BaseException) -> bool:
    """Whether *error* is of the server's state (or of the way to it): the same is to be tried again.

    A group of errors is passing when one of them is: trying again finds what else there is.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_passing, error.exceptions))
    if isinstance(error, _PASSING_TYPES):
        # What the client itself can't encode is an InterfaceError as well, and a ValueError.
        return not isinstance(error, ValueError)
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        return code[:2] in _PASSING_CLASSES or code in _PASSING_CODES
    return False


def is_content_error(error: BaseException) -> bool:
    """Whether *error* is of what was to be stored: trying the same again would fail again."""
    return not is_passing(error)
