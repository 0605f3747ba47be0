"""The shift summary: traffic in, the manager's figures out, and every figure opened to its calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from callkpi.reporting import periods
from callkpi.reporting.assemble import summarise_period
from callkpi.reporting.behind import FIGURES, Window, calls_behind
from callkpi.reporting.summary import Summary, changes, from_data, to_data
from callkpi.reports import Query
from tests.world import World, capture_lines

BEGIN, END = datetime(2026, 11, 23, 18, tzinfo=UTC), datetime(2026, 11, 23, 21, tzinfo=UTC)
#: The same three hours by the clock of Almaty.
NIGHT = "2026-11-23T23:00..2026-11-24T02:00"
LATER = datetime(2026, 11, 24, 4, tzinfo=UTC)


async def summary_of(world: World, text: str = NIGHT, **more: Any) -> Summary:
    period = periods.parse(world.settings.tenants["acme"], "acme", text, LATER)
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, **more)


async def recorded(world: World) -> None:
    await world.send_lines("pbx", capture_lines("asterisk/events.jsonl.gz"))
    await world.project()


async def test_a_recorded_night_is_the_reports_figures(world: World) -> None:
    await recorded(world)
    summary = await summary_of(world, as_of=LATER)
    for by, told in (("queue", summary.queues), ("agent", summary.agents)):
        answer = await world.figures(by, BEGIN, END)
        expected = {row.pop(by): row for row in answer["rows"]}
        assert {getattr(line, by): dict(line.figures) for line in told} == expected
    assert dict(summary.figures) == (await world.figures("direction", BEGIN, END))["total"]
    for name in ("offered", "answered", "missed"):
        assert sum(getattr(interval, name) for interval in summary.intervals) == summary.figures[name]
    assert sum(reason.calls for reason in summary.reasons) == summary.figures["missed"]
    assert sum(callback.misses for callback in summary.callbacks) == summary.figures["missed"]
    assert from_data(to_data(summary)) == summary
    assert changes(summary, from_data(to_data(summary))) == []


async def test_every_figure_opens_to_as_many_calls_as_it_counts(world: World) -> None:
    await recorded(world)
    names, window = world.reports.names, Window(BEGIN, END)
    opened = 0
    for by in ("direction", "queue", "agent", "line"):
        answer = await world.reports.figures(Query("acme", BEGIN, END, by))
        for row in answer["rows"]:
            for figure in FIGURES.keys() & row.keys():
                behind = await calls_behind(world.pool, world.settings, names, "acme", window, figure, {by: row[by]})
                if FIGURES[figure] == "count":
                    assert len(behind.items) == row[figure], (by, row[by], figure)
                if row[figure] is None:
                    assert not behind.value, (by, row[by], figure)
                else:
                    assert behind.value == pytest.approx(row[figure]), (by, row[by], figure)
                opened += len(behind.items)
    assert opened > 1000
