"""A number forgotten: the pseudonym in its place, and where in a text the number stands. Pure, no I/O."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from functools import cache

import phonenumbers

PSEUDONYM = re.compile(r"999\d{17}")

_PREFIX = "999"

_DIGITS = 17

#: A shorter number is an extension or a short code: it would be found in everything.
LEAST_DIGITS = 7


class NotErasable(Exception):
    """What was given can't be searched for. The text says why."""


def core(number: str) -> str:
    """The digits that every form of a normalised number ends with: without the country's code and prefixes."""
    try:
        national = str(phonenumbers.parse(number, None).national_number)
    except phonenumbers.NumberParseException:
        national = re.sub(r"\D", "", number)
    if len(national) < LEAST_DIGITS:
        raise NotErasable(f"a number of fewer than {LEAST_DIGITS} digits is in too many places to be told apart")
    return national


@cache
def pattern(national: str) -> re.Pattern[str]:
    """The number in any form: with or without +, codes before it, and separators inside; not inside of another."""
    digits = r"[\s().-]{0,2}".join(national)
    return re.compile(rf"(?<![0-9A-Za-z])(?P<plus>\+|%2[Bb])?(?:\d[\s().-]{{0,2}}){{0,4}}{digits}(?!\d)")


def sql_pattern(national: str) -> str:
    """The same for PostgreSQL, less strict about what stands before: what it finds is looked at again."""
    return r"[\s().-]{0,2}".join(national) + r"(?!\d)"


def scrub(text: str, national: str, pseudonym: str) -> str:
    """*text* with the pseudonym in place of the number, in each of its forms."""
    return pattern(national).sub(pseudonym, text)


def random_pseudonym() -> str:
    return _PREFIX + "".join(secrets.choice("0123456789") for _ in range(_DIGITS))


def keyed_pseudonym(key: bytes, tenant: str, number: str) -> str:
    """The same one for the same number of a tenant, by the store's key."""
    value = int.from_bytes(hmac.digest(key, f"{tenant}\x1f{number}".encode(), hashlib.sha256)[:12], "big")
    return f"{_PREFIX}{value % 10**_DIGITS:0{_DIGITS}d}"


def digest(key: bytes, tenant: str, number: str) -> str:
    return hmac.new(key, f"erased\x1f{tenant}\x1f{number}".encode(), hashlib.sha256).hexdigest()
