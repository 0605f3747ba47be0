"""A page that stands alone: no script, no file, no address of others. Reads on a telephone, prints on A4."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

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


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    """The page of a summary."""
    return page(summary, code, reader).encode()


def page(summary: Summary, code: str, reader: Reader, navigation: str = "") -> str:
    """The page of a summary, with *navigation* (HTML) above it."""
    told = tables(summary, code, reader)
    body = [
        _head(summary, code),
        _tiles(summary, code, reader, told[0]),
        _sentences(summary, code, reader),
        *(_figure(chart) for chart in charts(summary, code)),
        *(table_html(summary, table, code, reader) for table in told),
        _foot(summary, code),
    ]
    return document(title(summary, code), code, "\n".join(body), navigation)


def document(heading: str, code: str, body: str, navigation: str = "") -> str:
    """Any page of the reports."""
    return (
        f'<!doctype html>\n<html lang="{code}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(heading)}</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"{navigation}<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(summary: Summary, code: str) -> str:
    told, period = language(code), summary.period
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
    return f'<h1>{escape(title(summary, code))}</h1>\n<p class="when">{escape(" · ".join(lines))}</p>'


#: What a glance has to find; of a team's shift what its people did.
_TILES = ("offered", "answered", "missed", "missed_share", "service_level", "asa_seconds")
_TILES_OF_TEAM = ("handled", "answered", "made", "ring_no_answer", "talk_seconds", "aht_seconds")


def _tiles(summary: Summary, code: str, reader: Reader, headline: Table) -> str:
    """The figures that are looked for first, great, with their goals and their change."""
    told, zone = language(code), ZoneInfo(summary.period.timezone)
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
        tiles.append(_plain_tile(told.text("occupancy"), told.share(summary.team.whole.occupancy)))
    if (waiting := summary.handover.waiting_customers) is not None:
        tiles.append(_plain_tile(told.text("waiting_customers"), told.number(waiting)))
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _plain_tile(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _tile(row: Sequence[Cell], told: Language, zone: ZoneInfo, address: str) -> str:
    name, value, goal, *before = row
    shown = anchor(escape(show(value, told, zone)), address if value.value else "")
    notes = [told.text("legend_goal", n=show(goal, told, zone))] if goal.kind is not Kind.TEXT else []
    notes += [show(before[1], told, zone)] if before and before[1].value else []
    small = f"<small>{escape(told.text('semicolon').join(notes))}</small>" if notes else ""
    named = f' class="{_goodness(goal)[0]}"' if goal.good is not None else ""
    return f"<div><dt>{escape(str(name.value))}</dt><dd{named}>{shown}{small}</dd></div>"


def _foot(summary: Summary, code: str) -> str:
    told = language(code)
    return f'<p class="foot">callkpi · {escape(told.text("version", n=summary.fingerprint))}</p>'


def _sentences(summary: Summary, code: str, reader: Reader) -> str:
    items = "\n".join(f"<li>{_sentence(summary, each, reader)}</li>" for each in sentences(summary, code))
    return f'<h2>{escape(language(code).text("in_short"))}</h2>\n<ul class="short">\n{items}\n</ul>'


def _sentence(summary: Summary, sentence: Sentence, reader: Reader) -> str:
    return "".join(
        anchor(escape(part.text), links.behind(summary, reader, part.figure, part.only, part.begin, part.end))
        for part in sentence.parts
    )


def anchor(shown: str, address: str) -> str:
    """*shown* (HTML) as a link, if there is an address."""
    return f'<a href="{escape(address)}">{shown}</a>' if address else shown


# -- tables -----------------------------------------------------------------------------------------------


def table_html(summary: Summary, table: Table, code: str, reader: Reader) -> str:
    told, zone = language(code), ZoneInfo(summary.period.timezone)
    heads = "".join(
        f'<th scope="col"{_class(kind)}>{escape(head)}</th>'
        for head, kind in zip(table.heads, table.kinds, strict=True)
    )
    table, whole = shortened(table, MOST_ROWS)
    rows = "\n".join(_row(summary, row, table.kinds, told, zone, reader) for row in table.rows)
    rest = _left_out(summary, len(table.rows), whole, told, reader)
    return (
        f'<section class="{table.id}">\n<h2 id="{table.id}">{escape(table.title)}</h2>\n'
        f'<div class="wide"><table aria-labelledby="{table.id}">\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody>\n</table></div>\n{rest}</section>"
    )


def _left_out(summary: Summary, shown: int, whole: int, told: Language, reader: Reader) -> str:
    """What a shortened table leaves out, with the way to all of it."""
    if not (text := rows_left_out(shown, whole, told)):
        return ""
    files = [(name, links.period(summary.tenant, reader, summary.period.text, f".{name}")) for name in ("csv", "xlsx")]
    ways = " ".join(anchor(name, address) for name, address in files if address)
    return f'<p class="when">{escape(text)} {ways}</p>\n'


def _row(
    summary: Summary, row: Sequence[Cell], kinds: Sequence[Kind], told: Language, zone: ZoneInfo, reader: Reader
) -> str:
    cells = []
    for index, (cell, kind) in enumerate(zip(row, kinds, strict=True)):
        shown = escape(show(cell, told, zone))
        address = links.call(summary.tenant, reader, cell.call) if cell.call else ""
        if cell.figure and cell.value:
            address = links.behind(summary, reader, cell.figure, cell.only, cell.begin, cell.end)
        tag = 'th scope="row"' if index == 0 else "td"
        classes = [*(["number"] if kind is not Kind.TEXT else []), *_goodness(cell)]
        named = f' class="{" ".join(classes)}"' if classes else ""
        cells.append(f"<{tag}{named}>{anchor(shown, address)}</{tag.split()[0]}>")
    return f"<tr>{''.join(cells)}</tr>"


def _goodness(cell: Cell) -> list[str]:
    return [] if cell.good is None else ["good" if cell.good else "bad"]


def _class(kind: Kind) -> str:
    return "" if kind is Kind.TEXT else ' class="number"'


# -- charts -----------------------------------------------------------------------------------------------


def _figure(chart: Chart) -> str:
    return f"<figure>\n<figcaption>{escape(chart.title)}</figcaption>\n{svg(chart)}\n</figure>"


def svg(chart: Chart) -> str:
    """A chart as SVG that the page's style colours."""
    shapes = "\n".join(_shape(shape) for shape in chart.shapes)
    label = escape(f"{chart.title}: {chart.description}")
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">\n{shapes}\n</svg>'


def _shape(shape: Shape) -> str:
    if isinstance(shape, Box):
        inner = f"<title>{escape(shape.title)}</title>" if shape.title else ""
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{max(shape.height, 0):.1f}"'
        return f'<rect class="{shape.style}" {place}>{inner}</rect>'
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        return f'<polyline class="{shape.style}" points="{points}"/>'
    return (
        f'<text class="{shape.style}" x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}">'
        f"{escape(shape.text)}</text>"
    )
