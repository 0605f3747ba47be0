"""A summary on A4 pages: the words, charts and tables of the page; in Roboto, which has Cyrillic and Kazakh letters."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import font_roboto
from reportlab.graphics.shapes import Drawing, PolyLine, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import CondPageBreak, KeepTogether, LongTable, Paragraph, SimpleDocTemplate, Spacer, TableStyle

from callkpi import templates
from callkpi.summaries import links
from callkpi.summaries.charts import HEIGHT, WIDTH, Box, Chart, Line, Shape, charts
from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from callkpi.summaries.tables import Cell, Kind, Table, rows_left_out, shortened, show, tables
from callkpi.summaries.words import Part, counted, period_name, sentences, title

_MARGIN, _FOOT = 14 * mm, 16 * mm
_BREADTH = A4[0] - 2 * _MARGIN
_REGULAR, _BOLD = "CallkpiRoboto", "CallkpiRoboto-Bold"
_COLOURS = {
    "answered": "#9bb8da", "missed": "#8c1d18", "rest": "#f0e2b0", "longest": "#b9c4d0", "dot": "#000000",
    "grid": "#d5dbe2", "line": "#14191f", "goal": "#1b7a43", "label": "#55606c", "legend": "#14191f",
}  # fmt: skip
_INK, _QUIET, _RULE, _STRIPE = HexColor("#14191f"), HexColor("#55606c"), HexColor("#c4ccd5"), HexColor("#f4f6f9")
_GOOD, _BAD = "#1b7a43", "#b3261e"


#: Rows of a table on paper.
MOST_ROWS = 150


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    """The document. The same summary gives the same bytes."""
    _register_fonts()
    out, maker = io.BytesIO(), _Maker(summary, code, reader)
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=_MARGIN, rightMargin=_MARGIN, topMargin=_MARGIN, bottomMargin=_FOOT,
        title=title(summary, code), author="callkpi", subject=summary.fingerprint, lang=code, invariant=1,
    )  # fmt: skip
    document.build(maker.story(), canvasmaker=_numbered(maker.foot))
    return out.getvalue()


@cache
def _register_fonts() -> None:
    directory = Path(font_roboto.font_directory)
    pdfmetrics.registerFont(TTFont(_REGULAR, directory / "Roboto-Regular.ttf"))
    pdfmetrics.registerFont(TTFont(_BOLD, directory / "Roboto-Bold.ttf"))
    pdfmetrics.registerFontFamily(_REGULAR, normal=_REGULAR, bold=_BOLD, italic=_REGULAR, boldItalic=_BOLD)


def _style(size: float, *, bold: bool = False, **more: Any) -> ParagraphStyle:
    font = _BOLD if bold else _REGULAR
    return ParagraphStyle(
        font + str(size), fontName=font, fontSize=size, **{"leading": size * 1.3, "textColor": _INK, **more}
    )


_TITLE, _HEADING, _WHEN = _style(17, bold=True, spaceAfter=3), _style(11.5, bold=True), _style(8.5, textColor=_QUIET)
_SENTENCE = _style(10, leftIndent=10, bulletIndent=1, spaceAfter=2.5)
_CELL, _NUMBER = _style(7.8), _style(7.8, alignment=TA_RIGHT)
_ROW_HEAD = _style(7.8, bold=True)
_HEAD, _HEAD_NUMBER = (
    _style(7.4, bold=True, textColor=_QUIET),
    _style(7.4, bold=True, textColor=_QUIET, alignment=TA_RIGHT),
)


#: What a column of text has at the least, where the page is narrow: room for a customer's number.
_NARROW = 68.0


class _Maker:
    def __init__(self, summary: Summary, code: str, reader: Reader) -> None:
        self._summary, self._code, self._reader = summary, code, reader
        self._told: Language = language(code)
        self._zone = ZoneInfo(summary.period.timezone)
        self._fingerprint = summary.fingerprint  # of the whole summary: once, and not at the foot of each page

    def story(self) -> list[Any]:
        story: list[Any] = [Paragraph(_words(title(self._summary, self._code)), _TITLE), Paragraph(self._when(), _WHEN)]
        story += [Spacer(1, 8), Paragraph(self._told.text("in_short"), _HEADING), Spacer(1, 3)]
        for sentence in sentences(self._summary, self._code):
            story.append(Paragraph("".join(map(self._part, sentence.parts)), _SENTENCE, bulletText="•"))
        for chart in charts(self._summary, self._code):
            heading = Paragraph(_words(chart.title), _HEADING)
            story.append(KeepTogether([Spacer(1, 7), heading, Spacer(1, 2), _drawing(chart)]))
        for table in tables(self._summary, self._code, self._reader):
            # A heading does not stay alone at the foot of a page.
            story += [Spacer(1, 9), CondPageBreak(32 * mm), Paragraph(_words(table.title), _HEADING), Spacer(1, 2)]
            short, whole = shortened(table, MOST_ROWS)
            story.append(self._table(short))
            if text := rows_left_out(len(short.rows), whole, self._told):
                story.append(Paragraph(_words(text), _WHEN))
        return story

    def foot(self, canvas: Canvas, page: int, pages: int) -> None:
        told, period = self._told, self._summary.period
        canvas.setFont(_REGULAR, 7.5)
        canvas.setFillColor(_QUIET)
        name = told.text("print_note", tenant=self._summary.tenant, period=period_name(period, told))
        canvas.drawString(_MARGIN, 9 * mm, f"{name} · {told.text('version', n=self._fingerprint)}")
        canvas.drawRightString(A4[0] - _MARGIN, 9 * mm, told.text("page", n=str(page), all=str(pages)))

    def _when(self) -> str:
        told, period = self._told, self._summary.period
        begin, end, as_of = (told.moment(at, self._zone) for at in (period.begin, period.end, self._summary.as_of))
        lines = [self._summary.tenant, f"{begin} – {end}", told.text("times_in", zone=period.timezone),
                 told.text("as_of", at=as_of)]  # fmt: skip
        if not self._summary.has_ended:
            lines.append(told.text("running" if self._summary.has_begun else "not_begun"))
        if scope := counted(self._summary, told):
            lines.append(scope)
        return _words(" · ".join(lines))

    def _part(self, part: Part) -> str:
        address = links.behind(self._summary, self._reader, part.figure, part.only, part.begin, part.end)
        return _words(part.text, address)

    # -- tables ----------------------------------------------------------------------------------------
    def _table(self, table: Table) -> LongTable:
        numbers = [kind is not Kind.TEXT for kind in table.kinds]
        heads = [
            Paragraph(_words(head), _HEAD_NUMBER if number and index else _HEAD)
            for index, (head, number) in enumerate(zip(table.heads, numbers, strict=True))
        ]
        rows = [[self._cell(cell, index, numbers[index]) for index, cell in enumerate(row)] for row in table.rows]
        style = TableStyle([
            ("VALIGN", (0, 0), (-1, -1), "TOP"), ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
            ("LINEBELOW", (0, 0), (-1, 0), 0.9, _QUIET), ("LINEBELOW", (0, 1), (-1, -1), 0.3, _RULE),
            ("ROWBACKGROUNDS", (0, 1), (-1, -1), [None, _STRIPE]),
            ("TOPPADDING", (0, 0), (-1, -1), 1.6), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
            ("LEFTPADDING", (0, 0), (-1, -1), 3), ("RIGHTPADDING", (0, 0), (-1, -1), 3),
        ])  # fmt: skip
        return LongTable([heads, *rows], colWidths=self._widths(table), repeatRows=1, style=style, hAlign="LEFT")

    def _cell(self, cell: Cell, index: int, number: bool) -> Paragraph:
        shown = show(cell, self._told, self._zone)
        address = links.call(self._summary.tenant, self._reader, cell.call) if cell.call else ""
        if cell.figure and cell.value:
            address = links.behind(self._summary, self._reader, cell.figure, cell.only, cell.begin, cell.end)
        colour = "" if cell.good is None else _GOOD if cell.good else _BAD
        shown = _words(shown, address, colour)
        if index == 0:
            return Paragraph(shown, _ROW_HEAD)
        return Paragraph(shown, _NUMBER if number else _CELL)

    def _widths(self, table: Table) -> list[float]:
        """Columns as wide as what they hold, together not wider than the page; words are not broken where they fit."""
        columns = list(zip(*([show(cell, self._told, self._zone) for cell in row] for row in table.rows), strict=True))
        least: list[float] = []
        wanted: list[float] = []
        floors: list[tuple[float, float]] = []
        for index, (head, texts) in enumerate(zip(table.heads, columns, strict=True)):
            font = _BOLD if index == 0 else _REGULAR
            words = [_width(word, _BOLD, 7.4) for word in head.split()]
            cells = [_width(text, font, 7.8) for text in texts]
            # A number is not broken, a text may be.
            whole = table.kinds[index] is not Kind.TEXT
            parts = cells if whole else [_width(word, font, 7.8) for text in texts for word in text.split()]
            least.append(max([*words, *parts]) + 7.5)
            wanted.append(max(_width(head, _BOLD, 7.4) if not whole else 0, *cells, least[-1] - 7.5) + 7.5)
            narrow = max(cells) + 7.5 if whole else min(least[-1], _NARROW)
            floors.append((least[-1] if whole else narrow, narrow))
        return _shared(least, wanted, *zip(*floors, strict=True))


def _shared(least: Sequence[float], wanted: Sequence[float], *floors: Sequence[float]) -> list[float]:
    """What is left of the page beyond the least widths, by how much more each column wants.

    Where the page is too narrow for the least widths, columns go down to the first of *floors* that fits: long words of
    names are broken, then those of heads; a number last of all, as half of it looks like another one.
    """
    above = least
    for floor in floors:
        if sum(above) <= _BREADTH:
            break
        if sum(floor) <= _BREADTH:
            part = (sum(above) - _BREADTH) / (sum(above) - sum(floor))
            return [high - part * (high - low) for high, low in zip(above, floor, strict=True)]
        above = floor
    if sum(above) > _BREADTH:
        return [width * _BREADTH / sum(above) for width in above]
    more = [max(want - need, 0.0) for want, need in zip(wanted, least, strict=True)]
    part = min(1.0, (_BREADTH - sum(least)) / sum(more)) if sum(more) else 0.0
    widths = [need + part * extra for need, extra in zip(least, more, strict=True)]
    spare = (_BREADTH - sum(widths)) / len(widths)
    return [width + spare for width in widths]


def _width(text: str, font: str, size: float) -> float:
    return float(pdfmetrics.stringWidth(text, font, size))


def _words(text: str, address: str = "", colour: str = "") -> str:
    """What a paragraph is made of: ReportLab reads a markup of its own."""
    return templates.macro("printed.html", "words", text=text, address=address, colour=colour)


# -- charts -----------------------------------------------------------------------------------------------


def _drawing(chart: Chart) -> Drawing:
    scale = _BREADTH / WIDTH
    drawing = Drawing(_BREADTH, HEIGHT * scale)
    drawing.scale(scale, scale)
    for shape in chart.shapes:
        drawing.add(_drawn(shape))
    return drawing


def _drawn(shape: Shape) -> Any:
    """A shape of the chart; a PDF counts from below."""
    colour = HexColor(_COLOURS[shape.style])
    if isinstance(shape, Box):
        y = HEIGHT - shape.y - shape.height
        return Rect(shape.x, y, shape.width, max(shape.height, 0), fillColor=colour, strokeColor=None)
    if isinstance(shape, Line):
        points = [value for x, y in shape.points for value in (x, HEIGHT - y)]
        dashes = [6, 4] if shape.style == "goal" else None
        width = 0.6 if shape.style == "grid" else 1.8
        return PolyLine(points, strokeColor=colour, strokeWidth=width, strokeDashArray=dashes)
    return String(
        shape.x, HEIGHT - shape.y, shape.text, fontName=_REGULAR, fontSize=11, fillColor=colour, textAnchor=shape.anchor
    )


def _numbered(foot: Callable[[Canvas, int, int], None]) -> type[Canvas]:
    """A canvas that knows how many pages there are when it writes the first one's foot."""

    class Numbered(Canvas):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            self._kept: list[dict[str, Any]] = []

        def showPage(self) -> None:
            self._kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._kept, 1):
                self.__dict__.update(page)
                foot(self, number, len(self._kept))
                super().showPage()
            super().save()

    return Numbered
