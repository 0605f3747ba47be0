"""What is odd and allowed is told, and is no error: nothing at all, strange names, the edges of the calendar."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer

from callkpi import config
from callkpi.calendar.periods import AGAINST
from callkpi.config import Role, Token
from callkpi.figures import goals
from callkpi.summaries.renderers import FORMATS
from callkpi.web import access, problems
from callkpi.web.api import Api
from callkpi.web.board import Board
from callkpi.web.summaries import ReportPages
from tests.stand_ins.api import TOKENS
from tests.world import World
from tests.world import test_settings as settings_of

#: Long in letters and in bytes, of other programs' notations, of no width, of the other direction.
NAMES = (
    "😀" * 50, "х" * 120, "<b>&\"'{0}{x}%s", "a\nb\tc", "\u202egnp", "=1+1", "\u0007bell", "\ufffe", "'", "[x]:*?/\\",
    "www" * 60,
)  # fmt: skip
PERIODS = (
    "day:2026-11-23", "week:2026-W48", "month:2026-11", "quarter:2026-Q4", "year:2026", "today", "last_7_days",
    "day:1971-01-01", "year:1971", "week:2200-W52", "day:2200-12-31", "year:2200", "last_3660_days",
    "2026-11-23T00:00..2026-11-23T00:01", "2026-11-23T10:00:00.000001..2026-11-23T10:00:00.000002",
    "2026-03-29T02:30..2026-03-29T03:00", "day:2026-10-25", "shift:day@2026-11-23", "shift:gap@2026-03-29",
    "shift:gap@2026-10-25", "shift:whole@2026-11-23", "shift:team@2026-11-23", "shift:odd@2026-11-23",
    "shift:day@2200-12-31", "shift:day@current", "shift", "tomorrow",
)  # fmt: skip
SPLITS = ("", "queue", "agent", "team", "line", "direction", "source", "outcome", "shift", "day", "month", "weekday")
SHIFTS = {
    "day": config.ShiftPlan(hours="08:00-20:00"),
    # In the night in which the clocks go forward there is no such hour.
    "gap": config.ShiftPlan(hours="02:15-02:45"),
    "whole": config.ShiftPlan(hours="00:00-24:00"),
    "team": config.ShiftPlan(hours="08:00-20:00", team="nobody"),
    "odd": config.ShiftPlan(hours="08:00-20:00", queues=NAMES),
}
GOALS = {
    f"{kpi}-{direction}-{period}": config.Goal(kpi=kpi, target=0.0, direction=direction, period=period)
    for kpi in ("answered", "missed", "service_level", "asa_seconds")
    for direction in config.GoalDirection
    for period in ("", "day", "month")
}


@contextlib.asynccontextmanager
async def served(pool: asyncpg.Pool, zone: str) -> AsyncIterator[tuple[World, aiohttp.ClientSession]]:
    """An empty call centre with goals of nothing, and its pages and API for who may see all."""
    plain = settings_of(timezone=zone, shifts=SHIFTS, goals=GOALS, teams={"nobody": config.Team(name="Nobody")})
    tokens = {"admin": Token(TOKENS[Role.ADMIN], Role.ADMIN)}
    settings = replace(plain, tokens=tokens, api=config.Api(requests_per_second=0.0))
    world = World(pool, settings)
    await world.clear()
    app = web.Application(middlewares=[problems.middleware, access.middleware])
    access.install(app, settings)
    board = Board(pool, settings)
    app.add_routes([*Api(pool, settings, board.watch).routes(), *ReportPages(pool, settings).routes()])
    headers = {"Authorization": f"Bearer {TOKENS[Role.ADMIN]}"}
    async with (
        world.running(),
        TestServer(app) as server,
        aiohttp.ClientSession(server.make_url("/"), headers=headers) as http,
    ):
        yield world, http


async def failed(http: aiohttp.ClientSession, *paths: str) -> list[tuple[int, str]]:
    """Which of *paths* are answered with a fault of ours; a refusal, of a period that there is not, is none."""
    found = []
    for path in paths:
        async with http.get(path) as answer:
            await answer.read()
            if answer.status >= 500:
                found.append((answer.status, path))
    return found


def period_paths(text: str) -> list[str]:
    page = f"/reports/period/acme/{quote(text, safe=':@.')}"
    compared = [f"{page}?against={against}&lang=ru" for against in AGAINST]
    split = [f"/api/v1/statistics?tenant=acme&period={quote(text)}&by={by}&against=previous" for by in SPLITS]
    return [page, f"{page}.json", *compared, *split]


def file_paths(text: str) -> list[str]:
    return [f"/reports/period/acme/{quote(text, safe=':@.')}.{form}?lang=ru" for form in FORMATS]


def odd_calls(name: str, number: int) -> list[dict[str, Any]]:
    """Two calls by a name, an answered and a missed one, and its agent's day."""
    at = datetime(2026, 11, 23, 9, number, tzinfo=UTC)
    told: list[dict[str, Any]] = []
    for answered in (False, True):
        call = {"call_id": f"{number}-{answered}", "direction": "inbound", "customer": f"+770100000{number:02}",
                "queue": name, "line": name}  # fmt: skip
        told.append({**call, "kind": "queued", "at": at.isoformat()})
        if answered:
            told.append({**call, "kind": "answered", "agent": name, "at": (at + timedelta(seconds=3)).isoformat()})
        told.append({**call, "kind": "ended", "at": (at + timedelta(seconds=40)).isoformat()})
    state = {"kind": "agent_state", "call_id": "", "agent": name, "state": "paused", "reason": name}
    return [*told, {**state, "at": at.isoformat()}]


async def test_where_nothing_was_nothing_is_told(pool: asyncpg.Pool) -> None:
    async with served(pool, "Europe/Berlin") as (_, http):
        for number, text in enumerate(PERIODS):
            # Each way to split every few periods, and every period by some.
            paths = period_paths(text)
            assert await failed(http, *paths[:2], *paths[2 + number % 3 :: 4]) == []
        assert await failed(http, *file_paths("day:2026-11-23"), *file_paths("shift:team@2026-11-23"), "/reports") == []
        for by in ("queue", "agent", "team", "line", "direction", "outcome"):
            edges = ("", "&from=1971-01-02&to=1971-01-03", "&from=2200-01-02&to=2200-12-31")
            assert await failed(http, *(f"/api/v1/kpi?tenant=acme&by={by}{edge}" for edge in edges)) == []


async def test_strange_names_are_names(pool: asyncpg.Pool) -> None:
    async with served(pool, "Europe/Berlin") as (world, http):
        for number, name in enumerate(NAMES):
            await world.send_json("native", *odd_calls(name, number))
        await world.project()
        assert await world.pool.fetchval("SELECT count(*) FROM calls") == 2 * len(NAMES)
        for text in ("day:2026-11-23", "shift:odd@2026-11-23", "month:2026-11", "shift:team@2026-11-23"):
            assert await failed(http, *period_paths(text), *file_paths(text)) == []
        assert await failed(http, *period_paths("year:2026"), "/reports?lang=ru") == []


def test_a_goal_of_nothing_is_judged_and_has_no_share() -> None:
    for direction in config.GoalDirection:
        goal = config.Goal(kpi="missed", target=0.0, direction=direction)
        for fact, reached in ((0, True), (2, direction is config.GoalDirection.AT_LEAST), (None, None)):
            told = goals.judged("g", goal, fact, 0.5)
            assert (told["reached"], told["attainment"], told["pace_attainment"]) == (reached, None, None)
