"""The texts of a language, read from its catalogue. Pure but for the files of the package.

A catalogue is ``locale/LANGUAGE/LC_MESSAGES/callkpi.po``. A text's name (``msgid``) is what the program calls it, its
context (``msgctxt``) the place where people read it. The English catalogue says which texts there are.
``python -m callkpi.words`` writes the English of each text into the other catalogues, and what is new.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from gettext import GNUTranslations
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from callkpi import glossary
from callkpi.words import Place

LOCALE = Path(__file__).parent / "locale"
#: English as the world outside of America writes it: 23 Nov 2026, a clock of 24 hours, "a, b and c".
_LOCALES = {"en": "en_GB"}


class Texts:
    """The texts of one place in one language."""

    def __init__(self, code: str, place: Place) -> None:
        self.code, self.locale = code, locale(code)
        self._place = place
        self._texts = _plain_texts(code)[place]
        self._gettext = _gettext(code)

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def __getitem__(self, name: str) -> str:
        """A text as it is written, its ``{…}`` still in it; of one that counts the form for one thing."""
        return self._texts[name]

    def all(self) -> dict[str, str]:
        return dict(self._texts)

    def counts(self, name: str) -> bool:
        """Whether a text has forms for different numbers."""
        return (self._place, name) in _counting()

    def plural(self, name: str, count: int) -> str:
        """The form of a text for a number of things, with its ``{…}`` still in it."""
        return self._gettext.npgettext(self._place, name, name, count)


@cache
def texts(code: str, place: Place) -> Texts:
    return Texts(code, place)


@cache
def locale(code: str) -> Locale:
    """How a language writes numbers, dates and lists, as Unicode's CLDR knows it."""
    return Locale.parse(_LOCALES.get(code, code))


def codes() -> list[str]:
    """The languages that there is a catalogue of, English first."""
    return sorted((each.name for each in LOCALE.iterdir() if each.is_dir()), key=lambda code: (code != "en", code))


def path(code: str) -> Path:
    return LOCALE / code / "LC_MESSAGES" / "callkpi.po"


@cache
def read(code: str) -> Catalog:
    """The catalogue of a language; in English and Russian with the figures' names, which stand in the glossary."""
    with path(code).open("rb") as file:
        found = read_po(file, locale=code, abort_invalid=True)
    if code in glossary.LANGUAGES:
        for name in glossary.KPIS:
            found.add(name, glossary.label(name, code), context=Place.FIGURE)
    return found


def missing(code: str, place: Place) -> list[str]:
    """Texts of a place that a language lacks, or has not all forms of; a text marked *fuzzy* is not finished."""
    catalogue = read(code)
    lacking = []
    for name in _names(place):
        message = catalogue.get(name, place)
        if message is None or message.fuzzy or not all(forms_of(message)):
            lacking.append(name)
    return lacking


def superfluous(code: str) -> list[tuple[str, str]]:
    """Places and names of texts that the English catalogue has not."""
    known = {(message.context, _name(message.id)) for message in read("en") if message.id}
    found = [(message.context or "", _name(message.id)) for message in read(code) if message.id]
    return [each for each in found if each not in known]


def _names(place: Place) -> list[str]:
    return [_name(message.id) for message in read("en") if message.id and message.context == place]


def forms_of(message: Message) -> Sequence[str]:
    """The forms of a text, for one thing first; a text that doesn't count has one."""
    forms = message.string
    return (forms,) if isinstance(forms, str) else tuple(forms or ("",))


def _name(id: str | list[str] | tuple[str, ...]) -> str:
    return id if isinstance(id, str) else id[0]


@cache
def _plain_texts(code: str) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {place: {} for place in Place}
    for message in read(code):
        if message.id and message.context:
            found[message.context][_name(message.id)] = forms_of(message)[0]
    return found


@cache
def _counting() -> frozenset[tuple[str, str]]:
    return frozenset((message.context or "", _name(message.id)) for message in read("en") if message.pluralizable)


@cache
def _gettext(code: str) -> GNUTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, read(code))
    compiled.seek(0)
    return GNUTranslations(compiled)
