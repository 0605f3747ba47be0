"""The glossary is the one list of figures: whatever shows, asks or checks figures has them from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callkpi import glossary
from callkpi.calls.formulas import Figures
from callkpi.figures.weights import FIGURES
from callkpi.glossary import KPIS, ServiceLevelFormula, Unit, Way
from callkpi.summaries.tables import Kind, kind_of
from callkpi.web.api import schemas
from callkpi.words import LANGUAGES, Place, catalogue
from grafana.generator import shared

ROOT = Path(__file__).parent.parent
#: The SQL twin of the formulas: what the views compute of the same sums.
VIEWS = ROOT / "sql" / "migrations"


def test_the_formulas_give_the_figures_of_the_glossary_in_its_order() -> None:
    assert tuple(Figures().as_row(ServiceLevelFormula.DEFAULT)) == glossary.CALL_KPIS


@pytest.mark.parametrize("name", glossary.CALL_KPIS)
def test_a_figure_of_nothing_is_what_its_unit_says(name: str) -> None:
    """Counts and sums of nothing are 0; shares and means are not known, nor hold and wrap where nobody tells them."""
    value = Figures().as_row(ServiceLevelFormula.DEFAULT)[name]
    assert value == 0 if KPIS[name].way in (Way.COUNT, Way.LONGEST) else value in (0, None)
    assert (value is None) >= (KPIS[name].way in (Way.SHARE, Way.MEAN))


def test_every_figure_has_calls_behind_it() -> None:
    assert set(FIGURES) == {*glossary.CALL_KPIS, *glossary.FATES}


@pytest.mark.parametrize("kpi", KPIS.values(), ids=list(KPIS))
def test_a_figure_is_shown_everywhere_in_its_unit(kpi: glossary.Kpi) -> None:
    assert kind_of(kpi.name) is Kind(kpi.unit)
    unit = {Unit.SHARE: "percentunit", Unit.SECONDS: "s", Unit.COUNT: "short"}[kpi.unit]
    assert shared.column(kpi.name).unit == unit
    assert kpi.name.endswith("_seconds") == (kpi.unit is Unit.SECONDS)


@pytest.mark.parametrize("kpi", KPIS.values(), ids=list(KPIS))
def test_a_figure_has_one_name_in_each_language(kpi: glossary.Kpi) -> None:
    shown = shared.column(kpi.name).label
    assert (shown.en.lower(), shown.ru.lower()) == (kpi.english.lower(), kpi.russian.lower())
    assert re.search("[а-я]", kpi.russian) and not re.search("[а-я]", kpi.english)


def test_figures_have_names_in_each_language_that_they_are_told_in() -> None:
    assert set(LANGUAGES[Place.SUMMARY]) <= set(LANGUAGES[Place.FIGURE])
    for code in glossary.LANGUAGES:
        assert catalogue.texts(code, Place.BOARD)["service_level"] == glossary.label("service_level", code)
        assert not catalogue.texts(code, Place.SUMMARY).all().keys() & KPIS.keys(), (
            "a second name beside the glossary's"
        )


def test_names_tell_figures_apart() -> None:
    for language in ("en", "ru"):
        names = [glossary.label(name, language) for name in KPIS]
        assert len(set(names)) == len(names)


def test_what_a_count_is_a_share_of_is_a_count() -> None:
    assert all(KPIS[base].way is Way.COUNT and KPIS[name].way is Way.COUNT for name, base in glossary.BASES.items())


def test_the_api_has_every_figure() -> None:
    assert set(schemas.figure_names()) == {"contacts", *glossary.CALL_KPIS, *glossary.FATES}
