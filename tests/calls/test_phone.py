"""Numbers of every source in one form: what a PBX, a provider or a CRM writes in, what customers are matched by out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi.calls.phone import normalise

SAME = [
    "+77011234567", "77011234567", "87011234567", "7011234567", "8 701 123-45-67", "8(701)123-45-67", "(8701)1234567",
    "+7 (701) 123 45 67", "007 701 1234567", "0077011234567", "810 7 701 123 45 67", "+87011234567", "++77011234567",
    "7 8 701 1234567", " 77011234567", "%2B77011234567", "sip:87011234567@pbx.local", "sip:+77011234567@10.0.0.1:5060",
    "sip:+77011234567;user=phone@10.0.0.1", "sips:87011234567@[2001:db8::1]:5061", "tel:+7-701-123-45-67",
    '"Dana 2" <87011234567>', '"Dana 2" <sip:87011234567@10.0.0.1>', "<sip:87011234567@pbx;transport=udp>",
    "87011234567@from-trunk", "SIP/trunk-00001/87011234567", "PJSIP/87011234567@trunk", "Local/87011234567@out/n",
    "+77011234567;ext=5", "8 701 123-45-67 доб. 12", "87011234567 ext 12", "87011234567,,5", "87011234567#5",
    "٨٧٠١١٢٣٤٥٦٧",
]  # fmt: skip


@pytest.mark.parametrize("written", SAME)
def test_one_customer_has_one_form_whoever_writes_it(written: str) -> None:
    assert normalise(written, "KZ") == "+77011234567"


@pytest.mark.parametrize(
    ("written", "region", "form"),
    [
        ("84951234567", "RU", "+74951234567"),
        ("9161234567", "KZ", "+79161234567"),  # one numbering plan
        ("8 800 555-35-35", "RU", "+78005553535"),
        ("442071838750", "KZ", "+442071838750"),
        ("810442071838750", "RU", "+442071838750"),
        ("00442071838750", "", "+442071838750"),
        ("020 7183 8750", "GB", "+442071838750"),
        ("375291234567", "RU", "+375291234567"),
        ("998901234567", "KZ", "+998901234567"),
    ],
)
def test_numbers_of_other_countries(written: str, region: str, form: str) -> None:
    assert normalise(written, region) == form


@pytest.mark.parametrize("written", ["+71700001122", "71700001122", "81700001122", "1700001122", "0071700001122"])
def test_a_number_newer_than_what_is_known_of_its_country_has_one_form_too(written: str) -> None:
    assert normalise(written, "RU") == "+71700001122"


@pytest.mark.parametrize("written", ["101", "1414", "112", "2700100", "s", "dana"])
def test_extensions_short_codes_and_names_stay_what_they_are(written: str) -> None:
    for region in ("KZ", "DE", ""):
        assert normalise(written, region) == written
    assert normalise(f"sip:{written}@pbx", "KZ") == written


@pytest.mark.parametrize("written", ["987011234567", "9007701123456"])
def test_no_country_is_guessed_for_what_is_no_number(written: str) -> None:
    assert normalise(written, "KZ") == written


@pytest.mark.parametrize(
    "written",
    [
        "", "anonymous", "Anonymous", "<unknown>", "sip:anonymous@anonymous.invalid", "+anonymous", "Restricted",
        '"Anonymous" <sip:anonymous@anonymous.invalid>', "asterisk", "None", "-", "+", "0", "0000000000", "+0000000",
        "Скрытый номер", "+266696687", "+7701•••4567", "8701***4567", "7701xxx4567",
    ],
)  # fmt: skip
def test_a_hidden_number_is_nobody(written: str) -> None:
    assert normalise(written, "KZ") == ""


@given(st.from_regex(r"[+0-9 ()-]{0,18}", fullmatch=True), st.sampled_from(["KZ", "RU", "US", ""]))
def test_whatever_is_written_has_a_form_that_stays(written: str, region: str) -> None:
    form = normalise(written, region)
    assert normalise(form, region) == form
