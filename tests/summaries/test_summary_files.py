"""A summary as files: the same words and figures in each, read again by other programs than ours."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS
from callkpi.summaries.summary import AgentLine, QueueLine, Summary
from callkpi.summaries.words import sentences
from tests.stand_ins.summaries import HOUR, a_night, figures, interval, night

STRANGER, MANAGER = Reader(), Reader(numbers=True, agents=True, root="https://kpi.example")


def rendered(form: str, code: str = "ru", reader: Reader = MANAGER, told: Summary | None = None) -> bytes:
    return FORMATS[form].render(told or a_night(), code, reader)


def pdf_text(raw: bytes) -> str:
    pages = PdfReader(io.BytesIO(raw)).pages
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))


@pytest.mark.parametrize("code", ["en", "ru"])
def test_a_pdf_says_every_sentence_and_figure(code: str) -> None:
    text = pdf_text(rendered("pdf", code))
    for sentence in sentences(a_night(), code):
        assert re.sub(r"\s+", " ", str(sentence)) in text
    assert "Дана Әбілқасым" in text
    assert "+77011234567" in text
    links = {
        annotation["/A"]["/URI"]
        for page in PdfReader(io.BytesIO(rendered("pdf", code))).pages
        for annotation in (reference.get_object() for reference in page.get("/Annots", []))
    }
    assert any("figure=missed&" in link and link.startswith("https://kpi.example/reports/calls?") for link in links)


def test_a_pdf_is_the_same_bytes_again_and_says_what_it_is() -> None:
    assert rendered("pdf") == rendered("pdf")
    told = PdfReader(io.BytesIO(rendered("pdf"))).metadata
    assert told is not None and told.title == "Итоги смены: Night, 23.11.2026"
    assert told.subject == a_night().fingerprint


@pytest.mark.parametrize("form", ["txt", "html", "xlsx", "pdf"])
def test_the_hour_that_comes_twice_is_told_apart(form: str) -> None:
    begin = datetime(2026, 10, 24, 22, tzinfo=UTC)
    span = night(kind="day", begin=begin, end=begin + 25 * HOUR, timezone="Europe/Berlin")
    hours = tuple(interval(0, 4, 1, begin=begin + n * HOUR, end=begin + (n + 1) * HOUR) for n in range(25))
    raw = rendered(form, "en", told=replace(a_night(), period=span, intervals=hours))
    if form == "xlsx":
        text = zipfile.ZipFile(io.BytesIO(raw)).read("xl/sharedStrings.xml").decode()
    else:
        text = pdf_text(raw) if form == "pdf" else raw.decode()
    assert "02:00 +02:00" in text and "02:00 +01:00" in text


def test_a_long_name_breaks_no_number() -> None:
    """Half of a number looks like another one: names and heads give way."""
    lines = [
        QueueLine(queue=name, figures=figures(offered=987, answered=864, missed=123, longest_wait_seconds=4321.0))
        for name in ("x" * 200, "Очередь поддержки клиентов юридических лиц и индивидуальных предпринимателей города")
    ]
    busy = AgentLine(agent="y" * 180, figures=figures(handled=975, answered=642), by_queue={"x" * 200: 642})
    raw = rendered("pdf", told=replace(a_night(), queues=tuple(lines), agents=(busy,)))
    words = [word for page in PdfReader(io.BytesIO(raw)).pages for word in page.extract_text().split()]
    assert {"987", "864", "123", "1:12:01", "975", "+77011234567"} <= set(words)
    text = rendered("txt", told=replace(a_night(), queues=tuple(lines))).decode()
    assert max(len(line) for line in text.splitlines()) < 250 and f"{'x' * 39}…" in text


def test_a_long_pdf_repeats_the_head_of_its_table_and_numbers_its_pages() -> None:
    many = tuple(replace(a_night().callbacks[0], last_call=f"pbx/{number}") for number in range(150))
    pages = [
        page.extract_text()
        for page in PdfReader(io.BytesIO(rendered("pdf", "en", told=replace(a_night(), callbacks=many)))).pages
    ]
    assert len(pages) > 3
    with_rows = [page for page in pages if page.count("+77011234567") > 5]
    assert all("First missed" in page for page in with_rows)
    assert all(f"page {number} of {len(pages)}" in page for number, page in enumerate(pages, 1))


def test_a_workbook_has_numbers_and_times_not_texts() -> None:
    book = zipfile.ZipFile(io.BytesIO(rendered("xlsx", "en")))
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    names = [
        each.get("name") for each in ElementTree.fromstring(book.read("xl/workbook.xml")).iter(f"{{{space['m']}}}sheet")
    ]
    assert names[:3] == ["In short", "Figures", "Queues"]
    cells = ElementTree.fromstring(book.read("xl/worksheets/sheet2.xml")).findall(".//m:c", space)
    values = {cell.get("r"): (cell.get("t"), cell.findtext("m:v", "", space)) for cell in cells}
    strings = [each.findtext("m:t", "", space) for each in ElementTree.fromstring(book.read("xl/sharedStrings.xml"))]
    rows = {
        strings[int(value)]: key for key, (kind, value) in values.items() if kind == "s" and str(key).startswith("A")
    }
    told = {name: values["B" + str(key)[1:]] for name, key in rows.items()}
    assert told["Offered"] == (None, "120")
    assert told["Service level"] == (None, "0.742")
    assert float(told["Mean handling time"][1]) == pytest.approx(185 / 86400)


def test_a_table_holds_no_formula_that_a_caller_could_have_written() -> None:
    bad = '=HYPERLINK("http://evil","x")'
    told = replace(a_night(), queues=(QueueLine(queue=bad, figures=figures(offered=1)),))
    rows = list(csv.reader(io.StringIO(rendered("csv", told=told).decode("utf-8-sig"))))
    assert ["'" + bad] in [row[:1] for row in rows]
    assert b"<f>" not in zipfile.ZipFile(io.BytesIO(rendered("xlsx", told=told))).read("xl/worksheets/sheet3.xml")
    assert "<script>" not in rendered("html", told=replace(told, tenant="<script>")).decode()


def test_csv_has_raw_numbers_under_heads_of_the_language() -> None:
    rows = list(csv.reader(io.StringIO(rendered("csv", "ru").decode("utf-8-sig"))))
    begin = rows.index(["# Показатели"])
    told = {row[0]: row[1] for row in rows[begin + 2 : begin + 12]}
    assert rows[begin + 1][:2] == ["Показатель", "Значение"]
    assert (told["Поступило"], told["Уровень сервиса"], told["Среднее ожидание ответа"]) == ("120", "0.742", "18.0")


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_planned_and_worked_time_is_in_every_form_and_names_nobody_to_a_stranger(form: str) -> None:
    def text(reader: Reader) -> str:
        raw = rendered(form, "en", reader)
        if form == "xlsx":
            raw = zipfile.ZipFile(io.BytesIO(raw)).read("xl/sharedStrings.xml")
        return pdf_text(raw) if form == "pdf" else raw.decode()

    told = text(MANAGER)
    assert all(name in told for name in ("Ержан", "Марат", "Портал", "Фарида"))
    for words in ("5 people were planned, 3 came, 1 never came", "not known", "worked without a plan"):
        assert words in re.sub(r"\s+", " ", told)
    stranger = text(STRANGER)
    assert "5 people were planned" in re.sub(r"\s+", " ", stranger)
    assert not any(name in stranger for name in ("Ержан", "Марат", "Портал", "Фарида"))


def test_what_is_not_known_of_a_person_is_no_number() -> None:
    rows = list(csv.reader(io.StringIO(rendered("csv", "en").decode("utf-8-sig"))))
    begin = rows.index(["# Planned and worked"])
    told = {row[0]: row[1:] for row in rows[begin + 2 : begin + 8]}
    assert rows[begin + 1] == [
        "Agent", "Planned", "There by plan", "Adherence", "Late start", "Early end", "Did not come", "Beyond the plan",
        "Note",
    ]  # fmt: skip
    assert told["Портал"] == ["43200.0", "not known", "not known", "", "", "", "", ""]
    assert told["Марат"] == ["43200.0", "0.0", "0.0", "0.0", "0.0", "43200.0", "0.0", "never came"]
    assert told["Фарида"] == ["", "", "", "", "", "", "3600.0", "worked without a plan"]
    begin = rows.index(["# People over time"])
    assert [row[2:] for row in rows[begin + 2 : begin + 6]] == [
        ["5.0", "2.5", "0.0", "1.0"], ["5.0", "3.0", "0.0", "1.0"], ["5.0", "3.0", "1.0", "1.0"],
        ["5.0", "3.0", "0.0", "1.0"],
    ]  # fmt: skip
    assert json.loads(rendered("json"))["adherence"]["people"][4]["adherence"] is None


def test_json_has_the_documented_keys_and_the_sentences() -> None:
    told = json.loads(rendered("json", "en"))
    assert told["figures"]["missed"] == 24
    assert told["fingerprint"] == a_night().fingerprint
    assert told["sentences"] == [str(each) for each in sentences(a_night(), "en")]
    assert "ledger" not in told


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_stranger_sees_masked_numbers_and_no_agents(form: str) -> None:
    raw = rendered(form, "en", STRANGER)
    if form == "xlsx":
        raw = zipfile.ZipFile(io.BytesIO(raw)).read("xl/sharedStrings.xml")
    text = pdf_text(raw) if form == "pdf" else raw.decode()
    assert "+770•••4567" in text
    assert "+77011234567" not in text
    assert "Дана" not in text
    assert "https://" not in text.replace("http://www.w3.org", "")


class _Checked(HTMLParser):
    """Elements that are closed in the order in which they were opened, and what a page must not have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs)
        assert all(
            not (value or "").startswith("http") for name, value in attrs if name in ("src", "href") and tag != "a"
        )
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_stands_alone() -> None:
    parser = _Checked()
    parser.feed(rendered("html").decode())
    parser.close()
    assert parser.open == []
    assert "script" not in parser.seen
    assert parser.seen.count("svg") == 3
    assert FORMATS["html"].file_name(a_night()) == "acme-shift-night-2026-11-23.html"


@pytest.mark.parametrize(("code", "words"), [("en", "rows; all of them are in"), ("ru", "все строки – в файлах")])
def test_a_table_of_thousands_is_short_where_people_read_and_whole_where_programs_do(code: str, words: str) -> None:
    queue = a_night().queues[0]
    many = replace(a_night(), queues=tuple(replace(queue, queue=f"queue {number}.") for number in range(2_000)))
    page = rendered("html", code, replace(MANAGER, root="https://kpi.example"), many).decode()
    section = page.partition('<section class="queues">')[2].partition("</section>")[0]
    assert section.count("<tr>") == 1 + 300 and words in section
    for name in ("csv", "xlsx"):
        assert f'href="https://kpi.example/reports/shift/acme/night/2026-11-23.{name}"' in section
    assert page.count(words) == 1, "the other tables are whole"
    text = pdf_text(rendered("pdf", code, told=many))
    assert "queue 149." in text and "queue 150." not in text and " ".join(words.split()[:2]) in text
    for form in ("csv", "txt"):
        assert "queue 1999." in rendered(form, code, told=many).decode()
