"""What people read, in catalogues that translators edit: a file a language, in gettext's form."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Place(StrEnum):
    """Where texts stand: the contexts of a catalogue."""

    BOARD = "board"
    FIGURE = "figure"  #: names of figures: the glossary's in English and Russian, else the catalogue's
    FUNNEL = "funnel"
    HANDBOOK = "handbook"
    SIGN_IN = "signin"
    SUMMARY = "summary"


#: The languages that a place is offered in: those whose catalogue has each of its texts. Here, as whoever only asks for
#: a language's name needs no catalogue read.
LANGUAGES: Mapping[Place, tuple[str, ...]] = {
    Place.BOARD: ("en", "ru", "kk"),
    Place.FIGURE: ("en", "ru"),
    Place.FUNNEL: ("en", "ru"),
    Place.HANDBOOK: ("en", "ru"),
    Place.SIGN_IN: ("en", "ru", "kk"),
    Place.SUMMARY: ("en", "ru"),
}
