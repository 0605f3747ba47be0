"""A summary as a workbook: a sheet a table, real numbers, durations and times as Excel's own."""

from __future__ import annotations

import io
from zoneinfo import ZoneInfo

import xlsxwriter

from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from callkpi.summaries.tables import Cell, Kind, Table, show, tables
from callkpi.summaries.words import counted, sentences, title

_DAY = 86400
_FORMATS = {
    Kind.TEXT: "@", Kind.COUNT: "#,##0", Kind.SHARE: "0.0%", Kind.SECONDS: "[h]:mm:ss", Kind.MOMENT: "yyyy-mm-dd hh:mm",
    Kind.TIME: "hh:mm", Kind.ZONED: "@", Kind.DELTA: "+#,##0;-#,##0;0", Kind.POINTS: "+0.0%;-0.0%;0.0%",
    Kind.SECONDS_DELTA: "@", Kind.PEOPLE: "0.0",
}  # fmt: skip
_WIDEST = 46


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(
        out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    )
    book.set_properties({"title": title(summary, code), "comments": summary.fingerprint})
    writer = _Writer(book, summary, language(code))
    writer.words(code)
    for table in tables(summary, code, reader):
        writer.table(table)
    book.close()
    return out.getvalue()


class _Writer:
    def __init__(self, book: xlsxwriter.Workbook, summary: Summary, told: Language) -> None:
        self._book, self._summary, self._told = book, summary, told
        self._zone = ZoneInfo(summary.period.timezone)
        self._bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top", "bottom": 1})
        self._formats = {kind: book.add_format({"num_format": form}) for kind, form in _FORMATS.items()}
        self._names: set[str] = set()

    def words(self, code: str) -> None:
        """The first sheet: what matters, as on the page."""
        sheet = self._sheet(self._told.text("in_short"))
        sheet.set_column(0, 0, 110, self._book.add_format({"text_wrap": True, "valign": "top"}))
        period, as_of = self._summary.period, self._told.moment(self._summary.as_of, self._zone)
        begin, end = (self._told.moment(at, self._zone) for at in (period.begin, period.end))
        scope = counted(self._summary, self._told)
        lines = [
            f"{self._summary.tenant}, {begin} – {end}", self._told.text("times_in", zone=period.timezone),
            self._told.text("as_of", at=as_of), *([scope] if scope else []), *map(str, sentences(self._summary, code)),
            self._told.text("version", n=self._summary.fingerprint),
        ]  # fmt: skip
        sheet.write_string(0, 0, title(self._summary, code), self._bold)
        for number, line in enumerate(lines, 1):
            sheet.write_string(number, 0, line)

    def table(self, table: Table) -> None:
        sheet = self._sheet(table.title)
        sheet.freeze_panes(1, 1)
        for column, head in enumerate(table.heads):
            sheet.write_string(0, column, head, self._bold)
            shown = [show(row[column], self._told, self._zone) for row in table.rows]
            sheet.set_column(column, column, min(max(len(text) for text in (*shown, "—" * 9)) + 3, _WIDEST))
        for number, row in enumerate(table.rows, 1):
            for column, cell in enumerate(row):
                self._write(sheet, number, column, cell)

    def _write(self, sheet: xlsxwriter.workbook.Worksheet, row: int, column: int, cell: Cell) -> None:
        form, value = self._formats[cell.kind], cell.value
        if value is None:
            sheet.write_blank(row, column, None, form)
        elif cell.kind in (Kind.TEXT, Kind.SECONDS_DELTA, Kind.ZONED):
            # A negative time is none to Excel, and it knows no zones.
            sheet.write_string(row, column, show(cell, self._told, self._zone), form)
        elif cell.kind in (Kind.MOMENT, Kind.TIME):
            sheet.write_datetime(row, column, value.astimezone(self._zone).replace(tzinfo=None), form)
        else:
            sheet.write_number(row, column, value / _DAY if cell.kind is Kind.SECONDS else value, form)

    def _sheet(self, name: str) -> xlsxwriter.workbook.Worksheet:
        """A sheet with a name as Excel takes it: 31 characters, each name once."""
        safe = "".join(" " if c in "[]:*?/\\'" else c for c in name)[:31].strip()
        assert safe.lower() not in self._names, safe
        self._names.add(safe.lower())
        return self._book.add_worksheet(safe)
