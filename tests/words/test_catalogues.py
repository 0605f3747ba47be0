"""The catalogues: complete where a language is offered, nothing too much, and in forms that CLDR knows."""

from __future__ import annotations

import re
from gettext import c2py  # type: ignore[attr-defined]

import pytest

from callkpi import glossary
from callkpi.summaries.language import language
from callkpi.words import LANGUAGES, Place, catalogue
from callkpi.words.__main__ import aligned

CODES = catalogue.codes()


def forms(code: str) -> list[tuple[str, str, str]]:
    """Place, name and each form of a language's texts."""
    found = []
    for message in catalogue.read(code):
        name = message.id if isinstance(message.id, str) else message.id[0]
        found += [(message.context or "", name, form) for form in catalogue.forms_of(message) if name and form]
    return found


def gaps(text: str) -> set[str]:
    return set(re.findall(r"{\w*}", text))


@pytest.mark.parametrize("place", Place)
def test_a_language_is_offered_where_its_catalogue_is_complete_and_only_there(place: Place) -> None:
    lacking = {code: catalogue.missing(code, place) for code in CODES}
    assert [code for code in LANGUAGES[place] if lacking[code]] == []
    complete = {code for code, missing in lacking.items() if not missing}
    assert set(LANGUAGES[place]) == complete, "complete, so offer it in callkpi/words/__init__.py"


def test_a_summary_is_offered_where_its_figures_have_names() -> None:
    assert set(LANGUAGES[Place.SUMMARY]) <= set(LANGUAGES[Place.FIGURE])
    assert language("ru").text("timed_out") == glossary.label("timed_out", "ru")
    kazakh = catalogue.path("kk").read_text("utf-8")
    assert '#. English: Timed out\nmsgctxt "figure"\nmsgid "timed_out"\n' in kazakh


def test_a_catalogue_that_lacks_a_text_says_which() -> None:
    assert "title_shift" in catalogue.missing("kk", Place.SUMMARY)
    assert "queue" not in catalogue.missing("kk", Place.SUMMARY)


@pytest.mark.parametrize("code", CODES)
def test_no_catalogue_has_a_text_that_nobody_asks_for(code: str) -> None:
    assert catalogue.superfluous(code) == []
    assert {place for place, _, _ in forms("en")} == set(Place)


@pytest.mark.parametrize("code", CODES)
def test_a_translator_sees_the_english_of_each_text(code: str) -> None:
    """Else ``python -m callkpi.words`` brings the file in line."""
    assert catalogue.path(code).read_bytes() == aligned(code)
    texts = catalogue.path("ru").read_text("utf-8")
    assert '#. English: {n} call was offered\n#. English: {n} calls were offered\nmsgctxt "summary"\n' in texts


@pytest.mark.parametrize("code", CODES)
def test_each_text_fills_the_gaps_of_the_english_one(code: str) -> None:
    english: dict[tuple[str, str], set[str]] = {}
    for place, name, form in forms("en"):
        english.setdefault((place, name), set()).update(gaps(form))
    for place, name, form in forms(code):
        assert gaps(form) <= english[place, name], (place, name, form)
        if place == Place.BOARD:
            assert gaps(form) == english[place, name], (name, form)


@pytest.mark.parametrize("code", CODES)
def test_the_forms_of_a_catalogue_are_those_of_cldr(code: str) -> None:
    """Each number gets the form of its category, and no two categories of whole numbers share one."""
    category, form_of = catalogue.locale(code).plural_form, c2py(catalogue.read(code).plural_expr)
    chosen = {(category(count), form_of(count)) for count in range(2000)}
    forms_used = {form for _, form in chosen}
    assert len(chosen) == len(forms_used) == catalogue.read(code).num_plurals


def test_a_text_is_told_in_the_form_of_its_number() -> None:
    russian = catalogue.texts("ru", Place.SUMMARY)
    assert [russian.plural("n_calls", count) for count in (1, 2, 5, 11, 21, 112)] == [
        "{n} звонок", "{n} звонка", "{n} звонков", "{n} звонков", "{n} звонок", "{n} звонков",
    ]  # fmt: skip
