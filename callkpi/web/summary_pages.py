"""The pages around a summary: which there are, the calls behind a figure, one call with its events. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from callkpi.summaries.renderers.html import NUMBER, Grid, Navigation, Shown, document
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

    def navigation(self, *more: Shown) -> Navigation:
        """The line above a page: reports, board, what the page adds, languages."""
        board = Shown(self.told.text("board"), self.reader.link("board", {"tenant": self.tenant}))
        reports = Shown(self.told.text("reports"), self.reader.link("reports", {"tenant": self.tenant}))
        handbook = Shown(self.told.text("handbook"), self.reader.link("handbook/summaries"))
        return Navigation((reports, board, handbook, *more), [self._language(code) for code in LANGUAGES])

    def _language(self, code: str) -> Shown:
        joint = "&" if "?" in self.here else "?"
        return Shown(code, "" if code == self.code else f"{self.reader.root}/{self.here}{joint}lang={code}")


def refused(code: str, root: str, title: str, detail: str) -> str:
    """Why there is no page, and the way back."""
    reports = Shown(language(code).text("reports"), f"{root}/reports?lang={code}")
    return document("refused.html", title, code, Navigation([reports]), detail=detail)


# -- which summaries there are ----------------------------------------------------------------------------


def overview(
    page: Page, shifts: Sequence[tuple[Period, Mapping[str, Any]]], others: Mapping[str, Period], tenants: Sequence[str]
) -> str:
    """The shifts of late with their headline figures, the periods that one asks for, and the reader's other tenants."""
    told, heading = page.told, f"{page.told.text('reports')}: {page.tenant}"
    heads = [told.text(name) for name in ("w_shift", "from", "to", *_HEADLINE)]
    listed = [
        Shown(told.text(f"p_{word}"), links.period(page.tenant, page.reader, period.text))
        for word, period in others.items()
    ]
    elsewhere = [Shown(name, page.reader.link("reports", {"tenant": name})) for name in tenants if name != page.tenant]
    grid = Grid(
        [Shown(head, classes=NUMBER if index >= 3 else "") for index, head in enumerate(heads)],
        [_overview_row(page, *shift) for shift in shifts],
    )
    lines = [line for line in (listed, elsewhere) if line]
    return document("reports.html", heading, page.code, page.navigation(), lines=lines, shifts=grid)


def _overview_row(page: Page, period: Period, figures: Mapping[str, Any]) -> list[Shown]:
    name = f"{period.shift.name}, {page.told.date(period.begin, page.zone)}" if period.shift else period.name
    if period.is_partial:
        name += f" ({page.told.text('running')})"
    times = [Shown(page.told.time(at, page.zone)) for at in (period.begin, period.end)]
    shown = [
        Shown(show(Cell(figures[each], kind_of(each)), page.told, page.zone), classes=NUMBER) for each in _HEADLINE
    ]
    return [Shown(name, links.period(page.tenant, page.reader, period.text)), *times, *shown]


def around(page: Page, text: str, before: str, after: str) -> list[Shown]:
    """What the page of a summary adds to the line above it: its neighbours and its files."""
    told, reader = page.told, page.reader
    neighbours = [(f"← {told.text('previous')}", before), (f"{told.text('next')} →", after)]
    shown = [Shown(name, links.period(page.tenant, reader, other)) for name, other in neighbours if other]
    files = [each.name for each in FORMATS.values() if each.name != "html"]
    return shown + [Shown(name, links.period(page.tenant, reader, text, f".{name}")) for name in files]


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
    gone = told.text("w_gone", at=told.moment(behind.kept_since, page.zone)) if behind.kept_since is not None else ""
    lists = [
        _list(page, behind, key, items)
        for key, items in (("w_others", behind.others), ("w_counted", behind.items))
        if items or key == "w_counted"
    ]
    return document(
        "calls.html", heading, page.code, page.navigation(),
        when=when, value=told.text("w_value", figure=name, value=show(value, told, page.zone)), gone=gone, lists=lists,
        none=told.text("w_none"),
    )  # fmt: skip


def _list(page: Page, behind: Behind, key: str, items: Sequence[Item]) -> Mapping[str, object]:
    """A row an item; a column that says nothing of any of them is left out."""
    told = page.told
    rows = [_item(page, behind, item) for item in items[:MOST]]
    names = [name for name in (rows[0] if rows else ()) if any(row[name].text for row in rows)]
    grid = Grid([Shown(told.text(name)) for name in names], [[row[name] for name in names] for row in rows])
    return {
        "title": told.text(key, n=told.number(len(items))),
        "grid": grid if rows else None,
        "rest": told.text("w_first", n=told.number(MOST)) if len(items) > MOST else "",
    }


def _item(page: Page, behind: Behind, item: Item) -> dict[str, Shown]:
    told = page.told
    cells = {
        "from": Shown(told.moment(item.at, page.zone), links.call(page.tenant, page.reader, item.call)),
        "customer": Shown(page.reader.customer(item.customer) or told.text("hidden_number")),
        "direction": Shown(_word(told, "direction", item.direction)),
        "queue": Shown(item.queue),
        "line": Shown(item.line),
        "agent": Shown(item.agent if page.reader.agents else ""),
        "outcome": Shown(_word(told, "outcome", item.outcome)),
    }
    if behind.way in (Way.SUM, Way.MEAN, Way.LONGEST):
        cells[behind.figure] = Shown(told.clock(item.weight.part / 1000))
    return cells


# -- one call ---------------------------------------------------------------------------------------------


#: The shown name of a queue, a line or an agent of the call, by its kind and id.
Name = Callable[[str, str], str]


def call(page: Page, told_call: Call, events: Sequence[Event], shown: Name, *, raw: bool) -> str:
    """A call, its stays in queues, its legs and its events; the source's own words for those who may read them."""
    told, names = page.told, f"{told_call.source}/{told_call.call_id}"
    heading = f"{told.text('w_call')} {names}"
    sections = [
        ("", _facts(page, told_call, shown)), (told.text("w_entries"), _entries(page, told_call, shown)),
        (told.text("w_legs"), _legs(page, told_call, shown)), (told.text("w_events"), _events(page, events, raw=raw)),
    ]  # fmt: skip
    present = [{"title": title, "grid": grid} for title, grid in sections if grid is not None]
    return document("call.html", heading, page.code, page.navigation(), sections=present)


def _grid(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Grid:
    return Grid([Shown(head) for head in heads], [[Shown(cell) for cell in row] for row in rows])


def _facts(page: Page, told_call: Call, shown: Name) -> Grid:
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
    return _grid((told.text("figure"), told.text("value")), ((told.text(key), value) for key, value in facts.items()))


def _entries(page: Page, told_call: Call, shown: Name) -> Grid | None:
    told = page.told
    if not told_call.entries:
        return None
    heads = [told.text(name) for name in ("queue", "from", "to", "w_wait", "outcome")]
    rows = [
        [shown("queue", entry.queue), _second(page, entry.entered_at), _second(page, entry.left_at),
         _clock(told, entry.wait_ms), _word(told, "outcome", entry.outcome.value)]
        for entry in told_call.entries
    ]  # fmt: skip
    return _grid(heads, rows)


def _legs(page: Page, told_call: Call, shown: Name) -> Grid | None:
    told = page.told
    if not told_call.legs:
        return None
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
    return _grid(heads, rows)


def _events(page: Page, events: Sequence[Event], *, raw: bool) -> Grid:
    told = page.told
    heads = [Shown(told.text(name)) for name in ("w_at", "w_received", "w_kind", "w_detail")]
    rows = [
        [
            Shown(_second(page, event.at)), Shown(_second(page, event.received_at)), Shown(event.kind),
            _detail(page, event, raw=raw),
        ]
        for event in events
    ]  # fmt: skip
    return Grid(heads, rows)


def _detail(page: Page, event: Event, *, raw: bool) -> Shown:
    """What an event says, and the source's own words to unfold for those who may read them."""
    told, facts = page.told, _seen(page.reader, event.facts)
    shown = told.text("comma").join(f"{key} {_plain(value)}" for key, value in facts.items())
    if not (event.raw and raw):
        return Shown(shown)
    name = " ".join(filter(None, (told.text("w_raw"), str(event.raw.get("Event", "")))))
    return Shown(shown, unfolds=name, source=json.dumps(event.raw, ensure_ascii=False, indent=1))


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
