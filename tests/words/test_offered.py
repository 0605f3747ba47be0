"""A language that a place is not offered in is refused in settings, and no trouble in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request

from callkpi import config
from callkpi.commands import cli
from callkpi.web.language import language_of
from callkpi.words import LANGUAGES, Place

REPORT = '[tenants.a]\n[tenants.a.reports.daily]\nperiod = "day"\nto = ["folder:/tmp"]\nlanguage = "kk"\n'


def test_a_report_in_a_language_that_summaries_are_not_written_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / "callkpi.toml").write_text(REPORT)
    with pytest.raises(config.ConfigError) as caught:
        config.load(tmp_path / "callkpi.toml", {})
    assert "daily.language: 'kk' is none of en, ru, which summaries are written in" in "\n".join(caught.value.problems)


def test_so_is_a_summary_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["summary", "--lang", "kk"])
    assert ended.value.code == 2
    assert "--lang: invalid choice: 'kk'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "header", "place", "language"),
    [
        ("/", "kk-KZ", Place.BOARD, "kk"),
        ("/", "kk-KZ", Place.SUMMARY, "ru"),
        ("/?lang=kk", "en", Place.SUMMARY, "ru"),
        ("/", "en, kk;q=0.5", Place.SUMMARY, "en"),
        ("/", "de", Place.SUMMARY, "en"),
    ],
)
def test_a_browser_gets_the_nearest_language(address: str, header: str, place: Place, language: str) -> None:
    request = make_mocked_request("GET", address, headers={"Accept-Language": header})
    assert language_of(request, LANGUAGES[place]) == language
