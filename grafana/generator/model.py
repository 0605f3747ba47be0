"""Typed pieces of a classic Grafana dashboard (schema 42), and the grid that they flow in.

A piece may hold :class:`Text` anywhere; :func:`render` picks the language. Nothing here knows of call centres.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 42
COLUMNS = 24
LANGUAGES = ("en", "ru")

PROMETHEUS = {"type": "prometheus", "uid": "callkpi-prometheus"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "callkpi-postgres"}
MIXED = {"type": "datasource", "uid": "-- Mixed --"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    """What people read, in every language that a folder exists for."""

    en: str
    ru: str


def render(node: Any, language: str) -> Any:
    """Plain data of pieces, every text in *language*."""
    if isinstance(node, Text):
        return getattr(node, language)
    if isinstance(node, Mapping):
        return {key: render(value, language) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [render(item, language) for item in node]
    return node


# -- rules: what colour and what word a value has --------------------------------------------------------

GREEN, ORANGE, RED, PURPLE, BLUE, GREY = "green", "orange", "red", "purple", "blue", "#808080"
NO_DATA = Text("no data", "нет данных")
#: The words that go with the colours: who can't tell them apart reads the word.
WORDS = {
    -1: (Text("no calls yet", "звонков ещё нет"), GREY),
    0: (Text("✓ on target", "✓ норма"), GREEN),
    1: (Text("▲ act soon", "▲ внимание"), ORANGE),
    2: (Text("‼ act now", "‼ действуйте"), RED),
    3: (Text("closed", "закрыто"), GREY),
}
MISSING: Json = {"type": "special", "options": {"match": "null+nan", "result": {"text": NO_DATA, "color": PURPLE}}}
#: A share of no calls is no fault of the data: its word says why.
NOTHING: Json = {"type": "special", "options": {"match": "null+nan", "result": {"text": "–", "color": GREY}}}


@dataclass(frozen=True, slots=True)
class Rule:
    """A KPI's target: good up to (or from) *good*, bad from (or below) *bad*. The order of the two says which."""

    good: float
    bad: float

    @property
    def more_is_better(self) -> bool:
        return self.good > self.bad

    @property
    def thresholds(self) -> Json:
        colours = (RED, ORANGE, GREEN) if self.more_is_better else (GREEN, ORANGE, RED)
        edges = (None, *sorted((self.good, self.bad)))
        return {"mode": "absolute", "steps": [{"color": c, "value": v} for c, v in zip(colours, edges, strict=True)]}

    def promql(self, expression: str) -> str:
        """0, 1 or 2 for the words."""
        compare = "< bool" if self.more_is_better else ">= bool"
        return f"(({expression}) {compare} {self.good:g}) + (({expression}) {compare} {self.bad:g})"

    def sql(self, value: str) -> str:
        compare = ">=" if self.more_is_better else "<"
        return (
            f"CASE WHEN {value} IS NULL THEN -1 WHEN {value} {compare} {self.good:g} THEN 0 "
            f"WHEN {value} {compare} {self.bad:g} THEN 1 ELSE 2 END"
        )


def words() -> list[Json]:
    options = {str(value): {"text": text, "color": colour, "index": value} for value, (text, colour) in WORDS.items()}
    return [{"type": "value", "options": options}, MISSING]


def mapping(table: Mapping[str, tuple[Text, str]]) -> Json:
    """Values shown as a word in a colour."""
    return {
        "type": "value",
        "options": {
            value: {"text": text, "color": colour, "index": index}
            for index, (value, (text, colour)) in enumerate(table.items())
        },
    }


# -- targets ---------------------------------------------------------------------------------------------


def prom(expression: str, legend: str = "", *, over_time: bool = False, form: str = "time_series") -> Json:
    """A query to Prometheus: of now, or over the dashboard's time."""
    return {
        "datasource": PROMETHEUS,
        "expr": expression,
        "legendFormat": legend,
        "instant": not over_time,
        "range": over_time,
        "format": form,
        "editorMode": "code",
    }


def now(expression: str) -> Json:
    """A single number of now; one that is not there is no number, which has a colour, and not an empty panel."""
    return prom(f"{expression} or vector(NaN)")


def sql(query: str, form: str = "table") -> Json:
    """A query to the views."""
    lines = " ".join(line.strip() for line in query.strip().splitlines())
    return {"datasource": POSTGRES, "rawSql": lines, "format": form, "rawQuery": True, "editorMode": "code"}


# -- fields ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """How one column of a table or one value of a query is shown."""

    name: str  #: the column's name, or the letter of the query
    label: Text | str | None = None
    unit: str = ""
    decimals: int | None = None
    rule: Rule | None = None
    colour: str = ""
    mappings: Sequence[Json] = ()
    width: int = 0
    cell: str = ""  #: color-background, color-text, gauge
    by_query: bool = False
    thresholds: Json = field(default_factory=dict)
    more: Json = field(default_factory=dict)  #: other properties by their id

    def override(self) -> Json:
        return {"matcher": {"id": "byFrameRefID" if self.by_query else "byName", "options": self.name},
                "properties": [{"id": key, "value": value} for key, value in self._properties()]}  # fmt: skip

    def _properties(self) -> Iterator[tuple[str, Any]]:
        if self.label is not None:
            yield "displayName", self.label
        if self.unit:
            yield "unit", self.unit
        if self.decimals is not None:
            yield "decimals", self.decimals
        if self.rule or self.thresholds:
            yield "thresholds", self.rule.thresholds if self.rule else self.thresholds
            yield "color", {"mode": "thresholds"}
        elif self.colour:
            yield "color", {"mode": "fixed", "fixedColor": self.colour}
        if self.mappings:
            yield "mappings", self.mappings
        if self.cell:
            yield "custom.cellOptions", {"type": self.cell} | ({"mode": "basic"} if "background" in self.cell else {})
        if self.width:
            yield "custom.width", self.width
        yield from self.more.items()


# -- panels ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    type: str
    title: Text
    description: Text
    unit: str = "short"
    w: int = 6
    h: int = 6
    targets: Sequence[Json] = ()
    fields: Sequence[Field] = ()
    options: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    transformations: Sequence[Json] = ()

    def place(self, number: int, x: int, y: int) -> Json:
        sources = {target["datasource"]["uid"] for target in self.targets}
        source = self.targets[0]["datasource"] if len(sources) == 1 else MIXED
        targets = [{"refId": chr(ord("A") + index), **target} for index, target in enumerate(self.targets)]
        panel: Json = {
            "id": number,
            "type": self.type,
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": x, "y": y, "w": self.w, "h": self.h},
            "fieldConfig": {
                "defaults": {"unit": self.unit, "noValue": NO_DATA, "mappings": [MISSING], **self.defaults},
                "overrides": [one.override() for one in self.fields],
            },
            "options": self.options,
        }
        if self.targets:
            panel |= {"datasource": source, "targets": targets}
        if self.transformations:
            panel["transformations"] = list(self.transformations)
        return panel


def stat(
    title: Text, description: Text, targets: Sequence[Json], *, unit: str = "short", rule: Rule | None = None,
    fields: Sequence[Field] = (), w: int = 6, h: int = 6, names: bool = False, decimals: int | None = None,
) -> Panel:  # fmt: skip
    """Numbers that a decision hangs on. Coloured where there is a target, blue where there is none."""
    defaults: Json = {"color": {"mode": "fixed", "fixedColor": BLUE}}
    if rule is not None:
        defaults = {"color": {"mode": "thresholds"}, "thresholds": rule.thresholds}
    if decimals is not None:
        defaults["decimals"] = decimals
    return Panel(
        type="stat", title=title, description=description, unit=unit, w=w, h=h, targets=targets, fields=fields,
        defaults=defaults,
        options={
            "colorMode": "background", "graphMode": "none", "justifyMode": "center", "orientation": "auto",
            "textMode": "value_and_name" if names else "value", "wideLayout": True,
            "showPercentChange": False, "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
    )  # fmt: skip


def judged(
    title: Text, description: Text, expression: str, rule: Rule, *, unit: str = "short", judge: str = "",
    closed: str = "", w: int = 6, h: int = 6,
) -> Panel:  # fmt: skip
    """A number of now from Prometheus with its target's word.

    It has the target's colour too, unless the rule is of another expression, *judge*: then only the word has. *closed*
    is 1 where nothing is to be judged.
    """
    word = rule.promql(judge or expression)
    if closed:
        word = f"clamp_max({word} + 3 * {closed}, 3)"
    return stat(
        title, description, [now(expression), now(word)], unit=unit, rule=None if judge else rule, w=w, h=h,
        decimals=0, fields=[word_of("B", by_query=True)],
    )  # fmt: skip


def word_of(name: str, *, by_query: bool = False) -> Field:
    """The field that says a rule's colour in a word."""
    return Field(name=name, label=" ", unit="none", mappings=words(), colour=GREY, by_query=by_query)


def bar_gauge(
    title: Text, description: Text, targets: Sequence[Json], *, unit: str = "short", fields: Sequence[Field] = (),
    w: int = 8, h: int = 6, rows: bool = False, defaults: Json | None = None,
) -> Panel:  # fmt: skip
    """A few things side by side. *rows*: the query gives a row for each instead of a series."""
    return Panel(
        type="bargauge", title=title, description=description, unit=unit, w=w, h=h, targets=targets, fields=fields,
        defaults={"color": {"mode": "fixed", "fixedColor": BLUE}, "min": 0, **(defaults or {})},
        options={
            "displayMode": "basic", "orientation": "horizontal", "showUnfilled": True, "valueMode": "text",
            "namePlacement": "left", "minVizHeight": 16, "minVizWidth": 8, "maxVizHeight": 300, "sizing": "auto",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": rows},
        },
    )  # fmt: skip


def time_series(
    title: Text, description: Text, targets: Sequence[Json], *, unit: str = "short", bars: bool = False,
    fields: Sequence[Field] = (), w: int = 12, h: int = 8, rule: Rule | None = None,
) -> Panel:  # fmt: skip
    """The shape in time; with a rule its limits are drawn as lines."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line", "fillOpacity": 70 if bars else 10, "lineWidth": 1 if bars else 2,
        "showPoints": "auto", "spanNulls": False,
        "stacking": {"mode": "normal" if bars else "none", "group": "A"},
    }  # fmt: skip
    defaults: Json = {"custom": custom, "color": {"mode": "palette-classic"}, "min": 0}
    if rule is not None:
        custom["thresholdsStyle"] = {"mode": "dashed"}
        defaults["thresholds"] = rule.thresholds
    return Panel(
        type="timeseries", title=title, description=description, unit=unit, w=w, h=h, targets=targets, fields=fields,
        defaults=defaults,
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )  # fmt: skip


def table(
    title: Text, description: Text, targets: Sequence[Json], fields: Sequence[Field], *, unit: str = "short",
    w: int = 24, h: int = 8, transformations: Sequence[Json] = (), decimals: int | None = None,
) -> Panel:  # fmt: skip
    """Rows and columns; *fields* name the columns in the reader's words."""
    options: Json = {"showHeader": True, "cellHeight": "sm", "frameIndex": 0}
    defaults: Json = {
        "custom": {"align": "auto", "filterable": False},
        "color": {"mode": "fixed", "fixedColor": "text"},
        "mappings": [NOTHING],
    }
    if decimals is not None:
        defaults["decimals"] = decimals
    return Panel(
        type="table", title=title, description=description, unit=unit, w=w, h=h, targets=targets, fields=fields,
        defaults=defaults, options=options, transformations=transformations,
    )  # fmt: skip


#: Several instant queries as columns of one table, without the moment at which they were asked.
MERGED: Sequence[Json] = (
    {"id": "merge", "options": {}},
    {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}},
)


def heatmap(title: Text, description: Text, target: Json, *, unit: str, w: int = 12, h: int = 8) -> Panel:
    """Buckets of a histogram over time."""
    return Panel(
        type="heatmap", title=title, description=description, unit="short", w=w, h=h, targets=[target],
        defaults={"custom": {"scaleDistribution": {"type": "linear"}}},
        options={
            "calculate": False, "cellGap": 1, "yAxis": {"unit": unit, "axisPlacement": "left"},
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 32, "fill": "dark-orange", "exponent": 0.5,
                      "reverse": False},
            "legend": {"show": True}, "showValue": "never", "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "tooltip": {"mode": "single", "yHistogram": False}, "rowsFrame": {"layout": "auto"},
        },
    )  # fmt: skip


def text(title: Text, description: Text, content: Text, *, w: int = 24, h: int = 3) -> Panel:
    """A few words in Markdown."""
    return Panel(
        type="text", title=title, description=description, w=w, h=h,
        options={"mode": "markdown", "content": content},
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A heading and the panels under it. *repeat* names the variable that the row is repeated for."""

    title: Text
    panels: Sequence[Panel]
    repeat: str = ""


def flow(parts: Iterable[Panel | Row]) -> list[Json]:
    """Panels from left to right, a new line where one does not fit, in the order in which they are given."""
    placed: list[Json] = []
    x = y = tallest = 0

    def put(panel: Panel) -> None:
        nonlocal x, y, tallest
        if x + panel.w > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        placed.append(panel.place(len(placed) + 1, x, y))
        x, tallest = x + panel.w, max(tallest, panel.h)

    for part in parts:
        if isinstance(part, Panel):
            put(part)
            continue
        x, y, tallest = 0, y + tallest, 0
        row = {"id": len(placed) + 1, "type": "row", "title": part.title, "collapsed": False, "panels": [],
               "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}}  # fmt: skip
        placed.append(row | ({"repeat": part.repeat} if part.repeat else {}))
        y += 1
        for panel in part.panels:
            put(panel)
    return placed


# -- dashboards ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top of the dashboard. Either a query or fixed options."""

    name: str
    label: Text
    target: Json | None = None  #: of :func:`sql`, or of :func:`prom` with label_values(…)
    options: Sequence[tuple[str, Text]] = ()
    multi: bool = False
    regex: str = ""

    def to_json(self) -> Json:
        common: Json = {"name": self.name, "label": self.label, "hide": 0, "skipUrlSync": False}
        if self.target is None:
            options = [
                {"text": label, "value": value, "selected": i == 0} for i, (value, label) in enumerate(self.options)
            ]
            return common | {
                "type": "custom", "query": ",".join(value for value, _ in self.options), "options": options,
                "current": {"text": self.options[0][1], "value": self.options[0][0]},
                "multi": False, "includeAll": False,
            }  # fmt: skip
        chosen: Json = {"current": {"text": ["All"], "value": ["$__all"]}} if self.multi else {}
        is_sql = self.target["datasource"] == POSTGRES
        asked = self.target["rawSql"] if is_sql else self.target["expr"]
        return common | {
            "type": "query", "datasource": self.target["datasource"], "definition": asked,
            "query": asked if is_sql else {"query": asked, "refId": self.name, "qryType": 5},
            "refresh": 2, "regex": self.regex, "sort": 1, "multi": self.multi, "includeAll": self.multi,
            "options": [],
        } | chosen  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    name: str  #: the uid without the language
    title: Text
    description: Text
    parts: Sequence[Panel | Row]
    variables: Sequence[Variable]
    since: str = "now/d"
    until: str = "now"
    refresh: str = "1m"
    links: Sequence[Json] = ()

    def uid(self, language: str) -> str:
        return f"callkpi-{self.name}" + ("" if language == "en" else f"-{language}")

    def to_json(self, language: str) -> Json:
        others = [
            {"title": other.upper(), "type": "link", "url": f"/d/{self.uid(other)}", "keepTime": True,
             "includeVars": True, "icon": "external link", "targetBlank": False, "asDropdown": False, "tags": [],
             "tooltip": ""}
            for other in LANGUAGES if other != language
        ]  # fmt: skip
        every = {"title": "callkpi", "type": "dashboards", "tags": ["callkpi", language], "asDropdown": True,
                 "icon": "external link", "includeVars": True, "keepTime": False, "targetBlank": False, "tooltip": "",
                 "url": ""}  # fmt: skip
        whole: Json = {
            "id": None,
            "uid": self.uid(language),
            "title": self.title,
            "description": self.description,
            "tags": ["callkpi", language],
            "schemaVersion": SCHEMA_VERSION,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "browser",
            "weekStart": "monday",
            "time": {"from": self.since, "to": self.until},
            "refresh": self.refresh,
            "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m", "15m"]},
            "links": [every, *self.links, *others],
            "annotations": {"list": []},
            "templating": {"list": [variable.to_json() for variable in self.variables]},
            "panels": flow(self.parts),
        }
        shown: Json = render(whole, language)
        return shown
