"""Telephone numbers: one form to match customers by, and a mask for eyes that need not see them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote

import phonenumbers
from phonenumbers import PhoneNumberFormat, ValidationResult

#: What PBXes and CRMs write where the caller hides his number.
HIDDEN = frozenset(
    {
        "", "<unknown>", "unknown", "anonymous", "private", "restricted", "unavailable", "withheld", "hidden",
        "blocked", "unidentified", "id hidden", "no number", "number withheld", "null", "none", "undefined", "nil",
        "n/a", "-",
        # Asterisk calls itself that where a call has no number.
        "asterisk",
        "скрыт", "скрытый", "скрытый номер", "номер скрыт", "аноним", "анонимный", "неизвестен", "неизвестный",
        "неизвестный номер", "неизвестно", "номер не определен", "номер не определён",
        # Twilio's, as digits: ANONYMOUS, RESTRICTED, BLOCKED, UNKNOWN, UNAVAILABLE on a keypad.
        "+266696687", "+7378742883", "+2562533", "+8656696", "+86282452253",
    }
)  # fmt: skip
#: What is longer is no number; its begin tells as much.
_LONGEST = 255
#: A number that is shorter is an extension or a short code; no guess is made of what it might be abroad.
_SHORTEST_GUESS = 9

_BRACKETED = re.compile(r"<\s*([^<>]*?)\s*>")
_SCHEME = re.compile(r"^(?:sips?|tel|callto):", re.IGNORECASE)
_TECHNOLOGY = re.compile(r"^(?:PJSIP|SIP|IAX2|SCCP|DAHDI|Local)/(?:[^@]*/)?", re.IGNORECASE)
_EXTENSION = re.compile(r"[;,?]|\s(?:ext|доб)\b|(?<=\d)\s*[#x]", re.IGNORECASE)
#: Digits that somebody took out: who is one of many.
_MASKED = re.compile(r"\d\s*(?:[*xх•·…]{2,}|•)\s*\d", re.IGNORECASE)


@lru_cache(maxsize=65536)
def normalise(raw: str, region: str = "") -> str:
    """*raw* in E.164 (``+77011234567``), or ``""`` for a hidden one.

    ``region`` (ISO 3166, e.g. ``KZ``) reads numbers without a country code; without one ``8701…`` can't be told from a
    number of another country. SIP addresses, names beside a number and extensions behind it are left out. What is no
    number of any country (an extension, a SIP name) is returned as its digits, or as it is: equal strings still match.
    """
    raw = raw[:_LONGEST]
    text = _number_in(raw)
    if is_hidden(text) or _MASKED.search(raw):
        return ""
    digits = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in re.sub(r"[^\d+]", "", text))
    if not digits.strip("+"):
        return text
    if is_hidden(digits):
        return ""
    readings = []
    for number, is_told in _readings(digits, region):
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, PhoneNumberFormat.E164)
        readings.append((number, is_told))
    if len(digits.strip("+")) >= _SHORTEST_GUESS:
        # Numbers are newer than what is known of their country: one form for each is what counts.
        for number, is_told in readings:
            if is_told and phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE:
                return phonenumbers.format_number(number, PhoneNumberFormat.E164)
    return digits


@lru_cache(maxsize=65536)
def is_hidden(text: str) -> bool:
    """Whether *text* stands where a caller hides his number, or shows a part of it only."""
    plain = text.strip().lower()
    return plain in HIDDEN or plain.lstrip("+") in HIDDEN or not plain.strip("+0") or bool(_MASKED.search(plain))


def _number_in(raw: str) -> str:
    """What a PBX wrote, without the address, the name and the extension around the number."""
    text = unquote(raw) if "%2B" in raw or "%2b" in raw else raw
    text = text.strip()
    if text.lower() in HIDDEN:
        return ""
    bracketed = _BRACKETED.search(text)
    text = bracketed[1] if bracketed else text
    text = _TECHNOLOGY.sub("", _SCHEME.sub("", text)).partition("@")[0]
    return _EXTENSION.split(text, maxsplit=1)[0].strip().strip("\"'")


def _readings(digits: str, region: str) -> Iterator[tuple[phonenumbers.PhoneNumber, bool]]:
    """As it stands; with a country code but no plus, or with 00; with a plus before a trunk code (+8701…).

    Each with whether the country is told, by the number or by the region; else it takes a valid number to believe it.
    """
    plain = digits.lstrip("+")
    own = str(phonenumbers.country_code_for_region(region)) if region else "+"
    is_abroad = digits.startswith(("+", "00", own))
    candidates = [(digits, region, bool(region) or is_abroad), ("+" + plain.lstrip("0"), "", is_abroad)]
    candidates += [(plain, region, True)] if region and digits.startswith("+") else []
    for candidate, country, is_told in candidates:
        try:
            yield phonenumbers.parse(candidate, country or None), is_told
        except phonenumbers.NumberParseException:
            continue


def mask(number: str) -> str:
    """``+7701•••4567``: enough to tell two calls apart, not enough to dial."""
    if len(number) <= 5:
        return number if len(number) <= 4 else number[:1] + "•••"
    keep = 2 if len(number) < 9 else 4
    return f"{number[:keep]}•••{number[-keep:]}" if len(number) > 2 * keep else f"{number[:2]}•••"
