"""The pages around a summary: which there are, the calls behind a figure, one call with its events. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from zoneinfo import ZoneInfo

from callkpi.calendar.periods import Period
from callkpi.calls.model import Call
from callkpi.figures.behind import Behind, Item
from callkpi.figures.onecall import Event
from callkpi.glossary import Way
from callkpi.summaries import links
from callkpi.summaries.language import LANGUAGES, Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS
from callkpi.summaries.renderers.html import anchor, document
from callkpi.summaries.tables import Cell, kind_of, show
from callkpi.web.api.calls import WITHOUT_NUMBERS

#: Rows that a page shows.
MOST = 1000
_HEADLINE = ("offered", "answered", "missed", "missed_share", "service_level", "asa_seconds", "handled")


@dataclass(frozen=True, slots=True)
class Page:
    """What every page has around it."""

    tenant: str
    code: str
    reader: Reader
    zone: ZoneInfo
    here: str  #: this page's path below the root, without its language

    @property
    def told(self) -> Language:
        return language(self.code)

    def navigation(self, *more: str) -> str:
        """The line above a page: reports, board, what the page adds, languages."""
        board = self.reader.link("board", {"tenant": self.tenant})
        reports = self.reader.link("reports", {"tenant": self.tenant})
        handbook = self.reader.link("handbook/summaries")
        places = {"reports": reports, "board": board, "handbook": handbook}
        ours = [anchor(escape(self.told.text(name)), place) for name, place in places.items()]
        return f"<nav>{''.join(f'<span>{each}</span>' for each in (*ours, *more))}{self._languages()}</nav>\n"

    def _languages(self) -> str:
        root, joint = self.reader.root, "&amp;" if "?" in self.here else "?"
        shown = [
            code
            if code == self.code
            else f'<a lang="{code}" href="{root}/{escape(self.here)}{joint}lang={code}">{code}</a>'
            for code in LANGUAGES
        ]
        return f'<span class="right">{" · ".join(shown)}</span>'


def refused(code: str, root: str, title: str, detail: str) -> str:
    """Why there is no page, and the way back."""
    reports = anchor(escape(language(code).text("reports")), f"{root}/reports?lang={code}")
    body = f"<h1>{escape(title)}</h1>\n<p>{escape(detail)}</p>"
    return document(title, code, body, f"<nav><span>{reports}</span></nav>\n")


# -- which summaries there are ----------------------------------------------------------------------------


def overview(
    page: Page, shifts: Sequence[tuple[Period, Mapping[str, Any]]], others: Mapping[str, Period], tenants: Sequence[str]
) -> str:
    """The shifts of late with their headline figures, the periods that one asks for, and the reader's other tenants."""
    told, heading = page.told, f"{page.told.text('reports')}: {page.tenant}"
    heads = [told.text(name) for name in ("w_shift", "from", "to", *_HEADLINE)]
    listed = [
        anchor(escape(told.text(f"p_{word}")), links.period(page.tenant, page.reader, period.text))
        for word, period in others.items()
    ]
    elsewhere = [
        anchor(escape(name), page.reader.link("reports", {"tenant": name})) for name in tenants if name != page.tenant
    ]
    body = [f"<h1>{escape(heading)}</h1>", f'<p class="when">{" · ".join(listed)}</p>']
    if elsewhere:
        body.append(f'<p class="when">{" · ".join(elsewhere)}</p>')
    body.append(_table(heads, [_overview_row(page, *shift) for shift in shifts], numbers=3))
    return document(heading, page.code, "\n".join(body), page.navigation())


def _overview_row(page: Page, period: Period, figures: Mapping[str, Any]) -> list[str]:
    name = f"{period.shift.name}, {page.told.date(period.begin, page.zone)}" if period.shift else period.name
    if period.is_partial:
        name += f" ({page.told.text('running')})"
    times = [page.told.time(at, page.zone) for at in (period.begin, period.end)]
    shown = [show(Cell(figures[each], kind_of(each)), page.told, page.zone) for each in _HEADLINE]
    return [anchor(escape(name), links.period(page.tenant, page.reader, period.text)), *map(escape, (*times, *shown))]


def around(page: Page, text: str, before: str, after: str) -> list[str]:
    """What the page of a summary adds to the line above it: its neighbours and its files."""
    told, reader = page.told, page.reader
    shown = []
    for key, other in (("previous", before), ("next", after)):
        if other:
            arrow = "← " if key == "previous" else ""
            tail = " →" if key == "next" else ""
            shown.append(anchor(f"{arrow}{escape(told.text(key))}{tail}", links.period(page.tenant, reader, other)))
    files = [each for each in FORMATS.values() if each.name != "html"]
    return shown + [anchor(each.name, links.period(page.tenant, reader, text, f".{each.name}")) for each in files]


# -- the calls behind a figure ----------------------------------------------------------------------------


def calls(page: Page, behind: Behind, begin: Any, end: Any, only: Mapping[str, Sequence[str]]) -> str:
    """The calls that a figure counts, and of a share those that it judged and did not count first."""
    told = page.told
    name, value = told.text(behind.figure), Cell(behind.value, kind_of(behind.figure))
    heading = told.text("w_calls", figure=name)
    window = f"{told.moment(begin, page.zone)} – {told.moment(end, page.zone)}"
    named = {**only, "queue": [part or told.text("no_queue") for part in only.get("queue", ())]}
    scope = told.text("comma").join(part for values in named.values() for part in values)
    judged = told.text("as_of", at=told.moment(behind.as_of, page.zone)) if behind.as_of is not None else ""
    when = " · ".join(filter(None, (page.tenant, window, scope, judged)))
    body = [
        f"<h1>{escape(heading)}</h1>", f'<p class="when">{escape(when)}</p>',
        f"<h2>{escape(told.text('w_value', figure=name, value=show(value, told, page.zone)))}</h2>",
    ]  # fmt: skip
    if behind.kept_since is not None:
        gone = told.text("w_gone", at=told.moment(behind.kept_since, page.zone))
        body.append(f'<p class="note">{escape(gone)}</p>')
    for key, items in (("w_others", behind.others), ("w_counted", behind.items)):
        if items or key == "w_counted":
            body += [f"<h2>{escape(told.text(key, n=told.number(len(items))))}</h2>", _items(page, behind, items)]
    return document(heading, page.code, "\n".join(body), page.navigation())


def _items(page: Page, behind: Behind, items: Sequence[Item]) -> str:
    """A row an item; a column that says nothing of any of them is left out."""
    told = page.told
    rows = [_item(page, behind, item) for item in items[:MOST]]
    if not rows:
        return f"<p>{escape(told.text('w_none'))}</p>"
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    table = _table([told.text(name) for name in names], [[row[name] for name in names] for row in rows])
    more = f'<p class="note">{escape(told.text("w_first", n=told.number(MOST)))}</p>' if len(items) > MOST else ""
    return table + more


def _item(page: Page, behind: Behind, item: Item) -> dict[str, str]:
    told = page.told
    cells = {
        "from": anchor(escape(told.moment(item.at, page.zone)), links.call(page.tenant, page.reader, item.call)),
        "customer": escape(page.reader.customer(item.customer) or told.text("hidden_number")),
        "direction": escape(_word(told, "direction", item.direction)),
        "queue": escape(item.queue),
        "line": escape(item.line),
        "agent": escape(item.agent) if page.reader.agents else "",
        "outcome": escape(_word(told, "outcome", item.outcome)),
    }
    if behind.way in (Way.SUM, Way.MEAN, Way.LONGEST):
        cells[behind.figure] = told.clock(item.weight.part / 1000)
    return cells


# -- one call ---------------------------------------------------------------------------------------------


#: The shown name of a queue, a line or an agent of the call, by its kind and id.
Shown = Callable[[str, str], str]


def call(page: Page, told_call: Call, events: Sequence[Event], shown: Shown, *, raw: bool) -> str:
    """A call, its stays in queues, its legs and its events; the source's own words for those who may read them."""
    told, names = page.told, f"{told_call.source}/{told_call.call_id}"
    heading = f"{told.text('w_call')} {names}"
    body = [
        f"<h1>{escape(heading)}</h1>", _facts(page, told_call, shown),
        *_entries(page, told_call, shown), *_legs(page, told_call, shown),
        f"<h2>{escape(told.text('w_events'))}</h2>", _events(page, events, raw=raw),
    ]  # fmt: skip
    return document(heading, page.code, "\n".join(body), page.navigation())


def _facts(page: Page, told_call: Call, shown: Shown) -> str:
    told = page.told
    facts = {
        "direction": _word(told, "direction", told_call.direction.value),
        "customer": page.reader.customer(told_call.customer) or told.text("hidden_number"),
        "line": shown("line", told_call.line),
        "outcome": _word(told, "outcome", told_call.outcome.value),
        "w_started": _second(page, told_call.started_at),
        "w_answered": _second(page, told_call.answered_at),
        "w_ended": _second(page, told_call.ended_at),
        "w_wait": _clock(told, told_call.wait_ms),
        "talk_seconds": _clock(told, told_call.talk_ms),
        "hold_seconds": _clock(told, told_call.hold_ms),
        "wrap_seconds": _clock(told, told_call.wrap_ms),
    }
    rows = [[escape(told.text(key)), escape(value)] for key, value in facts.items()]
    return _table([told.text("figure"), told.text("value")], rows)


def _entries(page: Page, told_call: Call, shown: Shown) -> Iterable[str]:
    told = page.told
    if told_call.entries:
        heads = [told.text(name) for name in ("queue", "from", "to", "w_wait", "outcome")]
        rows = [
            [shown("queue", entry.queue), _second(page, entry.entered_at), _second(page, entry.left_at),
             _clock(told, entry.wait_ms), _word(told, "outcome", entry.outcome.value)]
            for entry in told_call.entries
        ]  # fmt: skip
        yield f"<h2>{escape(told.text('w_entries'))}</h2>"
        yield _table(heads, [list(map(escape, row)) for row in rows])


def _legs(page: Page, told_call: Call, shown: Shown) -> Iterable[str]:
    told = page.told
    if told_call.legs:
        heads = [told.text(name) for name in
                 ("agent", "queue", "w_rang", "w_answered", "w_ended", "w_ring", "w_talk", "w_ended_as")]  # fmt: skip
        agents = page.reader.agents
        rows = [
            [shown("agent", told_call.agent_of(leg)) if agents else told.text("w_hidden_agents"),
             shown("queue", leg.queue), _second(page, leg.rung_at),
             _second(page, leg.answered_at), _second(page, leg.ended_at), _clock(told, leg.ring_ms),
             _clock(told, leg.talk_ms), _word(told, "outcome", leg.end.value if leg.end else "open")]
            for leg in told_call.legs
        ]  # fmt: skip
        yield f"<h2>{escape(told.text('w_legs'))}</h2>"
        yield _table(heads, [list(map(escape, row)) for row in rows])


def _events(page: Page, events: Sequence[Event], *, raw: bool) -> str:
    told = page.told
    heads = [told.text(name) for name in ("w_at", "w_received", "w_kind", "w_detail")]
    rows = []
    for event in events:
        facts = _seen(page.reader, event.facts)
        shown = escape(told.text("comma").join(f"{key} {_plain(value)}" for key, value in facts.items()))
        if event.raw and raw:
            source = escape(json.dumps(event.raw, ensure_ascii=False, indent=1))
            name = " ".join(filter(None, (told.text("w_raw"), str(event.raw.get("Event", "")))))
            shown += f"<details><summary>{escape(name)}</summary><pre>{source}</pre></details>"
        rows.append([_second(page, event.at), _second(page, event.received_at), escape(event.kind), shown])
    return _table(heads, rows)


def _seen(reader: Reader, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says, as far as the reader may know it: the same as the API shows him."""
    seen = dict(facts)
    if not reader.numbers:
        masked = {"customer": reader.customer(facts["customer"])} if "customer" in facts else {}
        seen = {key: value for key, value in facts.items() if key in WITHOUT_NUMBERS} | masked
    if not reader.agents:
        seen.pop("agent", None)
    return seen


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _second(page: Page, at: Any) -> str:
    if at is None:
        return page.told.text("none")
    return f"{page.told.date(at, page.zone)} {at.astimezone(page.zone):%H:%M:%S}"


def _clock(told: Language, milliseconds: int | None) -> str:
    return told.clock(None if milliseconds is None else milliseconds / 1000)


def _word(told: Language, kind: str, name: str) -> str:
    key = f"{kind}_{name}"
    return told.text(key) if told.has(key) else name


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int | None = None) -> str:
    """A table of cells that are HTML already; the first of each row is its head, from *numbers* on they are numbers."""
    right = [' class="number"' if numbers is not None and index >= numbers else "" for index in range(len(heads))]
    head = "".join(f'<th scope="col"{side}>{escape(each)}</th>' for each, side in zip(heads, right, strict=True))
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{side}>{cell}</td>" for cell, side in zip(row[1:], right[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
