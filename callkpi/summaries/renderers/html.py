"""A page that stands alone: no script, no file, no address of others. Reads on a telephone, prints on A4."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from markupsafe import Markup

from callkpi import templates
from callkpi.summaries import links
from callkpi.summaries.charts import HEIGHT, WIDTH, Box, Chart, Line, Shape, charts
from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary
from callkpi.summaries.tables import Cell, Kind, Table, rows_left_out, shortened, show, tables
from callkpi.summaries.words import Sentence, counted, sentences, title

STYLE = (Path(__file__).parent / "page.css").read_text("utf-8")
#: Lets a Content-Security-Policy name the one style that a page of ours has.
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


#: Rows of a table on a page: more of them nobody reads there, and a telephone can't show.
MOST_ROWS = 300
#: The class of a column that stands to the right.
NUMBER = "number"


class Shown(NamedTuple):
    """A piece of a page as it is read: a link where it has an address. A tuple: a page has tens of thousands."""

    text: str
    address: str = ""
    classes: str = ""
    unfolds: str = ""  #: what *source* is called
    source: str = ""  #: what is seen when somebody unfolds it


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of a page; the first piece of a row is its head."""

    heads: Sequence[Shown]
    rows: Sequence[Sequence[Shown]]


@dataclass(frozen=True, slots=True)
class Section(Grid):
    """A table of a summary; below it stands what was left out, with the files that have all of it."""

    id: str
    title: str
    rest: str
    files: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure that is looked for first."""

    name: str
    value: Shown
    note: str = ""


class Mark(NamedTuple):
    """A shape of a chart, its numbers written as SVG takes them: a box, a line with *points*, a text with *anchor*."""

    style: str
    words: str = ""
    x: str = ""
    y: str = ""
    width: str = ""
    height: str = ""
    points: str = ""
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart of a page."""

    title: str
    description: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Navigation:
    """The line above a page."""

    links: Sequence[Shown]
    languages: Sequence[Shown] = ()


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    """The page of a summary."""
    return page(summary, code, reader).encode()


def page(summary: Summary, code: str, reader: Reader, navigation: Navigation | None = None) -> str:
    """The page of a summary, with *navigation* above it."""
    told, found = language(code), tables(summary, code, reader)
    return document(
        "summary.html", title(summary, code), code, navigation,
        when=_when(summary, told), tiles=_tiles(summary, told, reader, found[0]),
        in_short=told.text("in_short"),
        sentences=[_sentence(summary, each, reader) for each in sentences(summary, code)],
        charts=[_figure(chart) for chart in charts(summary, code)], width=f"{WIDTH:g}", height=f"{HEIGHT:g}",
        tables=[_section(summary, table, told, reader) for table in found],
        foot=told.text("version", n=summary.fingerprint),
    )  # fmt: skip


def document(template: str, heading: str, code: str, navigation: Navigation | None, **values: object) -> str:
    """Any page of the reports."""
    return templates.render(template, heading=heading, code=code, navigation=navigation, style=Markup(STYLE), **values)


def _when(summary: Summary, told: Language) -> str:
    period = summary.period
    zone = ZoneInfo(period.timezone)
    begin, end = told.moment(period.begin, zone), told.until(period.begin, period.end, zone)
    lines = [
        summary.tenant, f"{begin} – {end}", told.text("times_in", zone=period.timezone),
        told.text("as_of", at=told.moment(summary.as_of, zone)),
    ]  # fmt: skip
    if not summary.has_ended:
        lines.append(told.text("running" if summary.has_begun else "not_begun"))
    if scope := counted(summary, told):
        lines.append(scope)
    return " · ".join(lines)


#: What a glance has to find; of a team's shift what its people did.
_TILES = ("offered", "answered", "missed", "missed_share", "service_level", "asa_seconds")
_TILES_OF_TEAM = ("handled", "answered", "made", "ring_no_answer", "talk_seconds", "aht_seconds")


def _tiles(summary: Summary, told: Language, reader: Reader, headline: Table) -> list[Tile]:
    """The figures that are looked for first, great, with their goals and their change."""
    zone = ZoneInfo(summary.period.timezone)
    rows = {row[1].figure: row for row in headline.rows}
    names, before = (_TILES, "offered") if summary.team is None else (_TILES_OF_TEAM, "handled")
    if summary.before is not None and not summary.before.figures[before]:
        # More than nothing says nothing.
        rows = {name: row[:3] for name, row in rows.items()}
    tiles = [
        _tile(rows[name], told, zone, links.behind(summary, reader, name, rows[name][1].only))
        for name in names if name in rows
    ]  # fmt: skip
    if summary.team is not None and summary.team.whole.occupancy is not None:
        tiles.append(Tile(told.text("occupancy"), Shown(told.share(summary.team.whole.occupancy))))
    if (waiting := summary.handover.waiting_customers) is not None:
        tiles.append(Tile(told.text("waiting_customers"), Shown(told.number(waiting))))
    return tiles


def _tile(row: Sequence[Cell], told: Language, zone: ZoneInfo, address: str) -> Tile:
    name, value, goal, *before = row
    shown = Shown(show(value, told, zone), address if value.value else "", _goodness(goal))
    notes = [told.text("legend_goal", n=show(goal, told, zone))] if goal.kind is not Kind.TEXT else []
    notes += [show(before[1], told, zone)] if before and before[1].value else []
    return Tile(str(name.value), shown, told.text("semicolon").join(notes))


def _sentence(summary: Summary, sentence: Sentence, reader: Reader) -> list[Shown]:
    return [
        Shown(part.text, links.behind(summary, reader, part.figure, part.only, part.begin, part.end))
        for part in sentence.parts
    ]


# -- tables -----------------------------------------------------------------------------------------------


def _section(summary: Summary, table: Table, told: Language, reader: Reader) -> Section:
    zone = ZoneInfo(summary.period.timezone)
    heads = [Shown(head, classes=_class(kind)) for head, kind in zip(table.heads, table.kinds, strict=True)]
    short, whole = shortened(table, MOST_ROWS)
    rows = [_row(summary, row, table.kinds, told, zone, reader) for row in short.rows]
    rest = rows_left_out(len(rows), whole, told)
    return Section(heads, rows, table.id, table.title, rest, _files(summary, reader) if rest else ())


def _files(summary: Summary, reader: Reader) -> list[Shown]:
    """The way to all rows of a table that is shortened."""
    files = [
        Shown(name, links.period(summary.tenant, reader, summary.period.text, f".{name}")) for name in ("csv", "xlsx")
    ]
    return [file for file in files if file.address]


def _row(
    summary: Summary, row: Sequence[Cell], kinds: Sequence[Kind], told: Language, zone: ZoneInfo, reader: Reader
) -> list[Shown]:
    cells = []
    for cell, kind in zip(row, kinds, strict=True):
        address = links.call(summary.tenant, reader, cell.call) if cell.call else ""
        if cell.figure and cell.value:
            address = links.behind(summary, reader, cell.figure, cell.only, cell.begin, cell.end)
        classes = " ".join(filter(None, (_class(kind), _goodness(cell))))
        cells.append(Shown(show(cell, told, zone), address, classes))
    return cells


def _goodness(cell: Cell) -> str:
    return "" if cell.good is None else "good" if cell.good else "bad"


def _class(kind: Kind) -> str:
    return "" if kind is Kind.TEXT else NUMBER


# -- charts -----------------------------------------------------------------------------------------------


def _figure(chart: Chart) -> Figure:
    return Figure(chart.title, chart.description, [_mark(shape) for shape in chart.shapes])


def _mark(shape: Shape) -> Mark:
    if isinstance(shape, Line):
        return Mark(shape.style, points=" ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points))
    x, y = f"{shape.x:.1f}", f"{shape.y:.1f}"
    if isinstance(shape, Box):
        return Mark(shape.style, shape.title, x, y, f"{shape.width:.1f}", f"{max(shape.height, 0):.1f}")
    return Mark(shape.style, shape.text, x, y, anchor=shape.anchor)
