"""Telephone numbers: one form to match customers by, and a mask for eyes that need not see them."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

#: What PBXes and CRMs write where the caller hides his number.
HIDDEN = frozenset(
    {
        "",
        "<unknown>",
        "unknown",
        "anonymous",
        "private",
        "restricted",
        "unavailable",
        "withheld",
        "hidden",
        "null",
    }
)


@lru_cache(maxsize=65536)
def normalise(raw: str, region: str = "") -> str:
    """*raw* in E.164 (``+77011234567``), or ``""`` for a hidden one.

    ``region`` (ISO 3166, e.g. ``KZ``) reads numbers without a country code. What is no number of any
    country (an extension, a SIP name) is returned as its digits, or as it is: equal strings still match.
    """
    text = raw.strip()
    if text.lower() in HIDDEN:
        return ""
    digits = re.sub(r"[^\d+]", "", text)
    if not digits:
        return text
    for candidate, country in ((digits, region or None), ("+" + digits.lstrip("+0"), None)):
        try:
            number = phonenumbers.parse(candidate, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return digits


def mask(number: str) -> str:
    """``+7701•••4567``: enough to tell two calls apart, not enough to dial."""
    if len(number) <= 5:
        return number if len(number) <= 4 else number[:1] + "•••"
    keep = 2 if len(number) < 9 else 4
    return f"{number[:keep]}•••{number[-keep:]}" if len(number) > 2 * keep else f"{number[:2]}•••"
