"""A shift about a team: what its people did, the same figures on every screen, and why nothing else is told."""

from __future__ import annotations

import asyncio
import html
import io
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pypdf import PdfReader

from callkpi import config
from callkpi.calendar import periods
from callkpi.calendar.periods import Period
from callkpi.commands import replay
from callkpi.config import Role, Token
from callkpi.delivery import letter
from callkpi.delivery.message import Receiver
from callkpi.figures.behind import Window, calls_behind
from callkpi.figures.kpis import Query
from callkpi.figures.statistics import Question, Statistics
from callkpi.glossary import HANDLE_KPIS
from callkpi.people.names import Names
from callkpi.summaries import links
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.language import LANGUAGES
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS
from callkpi.summaries.summary import Doubt, Summary, changes, from_data, to_data
from callkpi.summaries.tables import Cell, Kind, tables
from callkpi.summaries.words import Part, sentences
from callkpi.web import access
from callkpi.web.summaries import ReportPages
from tests.browser import CHROMIUM, browser
from tests.stand_ins import team_traffic
from tests.stand_ins.api import TOKENS as ROLE_TOKENS
from tests.stand_ins.daemon import Daemon, daemon
from tests.stand_ins.running import projected
from tests.stand_ins.team_traffic import at, inbound
from tests.world import TOKENS, World

TOKENS["second"] = "native-secret"
LATER = datetime(2026, 11, 24, 4, tzinfo=UTC)


@pytest.fixture
async def world(pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[World]:
    file = tmp_path / "callkpi.toml"
    file.write_text(team_traffic.SETTINGS)
    world = World(pool, config.load(file, {}))
    await world.clear()
    async with world.running():
        await world.send_json("native", *team_traffic.native())
        await world.send_json("second", *team_traffic.second())
        await world.project()
        yield world


def period_of(world: World, shift: str, now: datetime = LATER) -> Period:
    return periods.parse(world.settings.tenants["acme"], "acme", f"shift:{shift}@{team_traffic.DAY}", now)


async def summary_of(world: World, shift: str, as_of: datetime = LATER) -> Summary:
    period = period_of(world, shift, as_of)
    return await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, as_of)


async def statistics(world: World, shift: str, *by: str, **only: tuple[str, ...]) -> dict[str, Any]:
    question = Question("acme", period_of(world, shift), by, only, "previous")
    return await Statistics(world.pool, world.settings).answer(question)


def some(figures: Any, *names: str) -> tuple[Any, ...]:
    return tuple(figures[name] for name in names)


COUNTS = ("handled", "answered", "made", "reached", "ring_no_answer", "talk_seconds")


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        ("sales", (5, 4, 2, 1, 1, 740.0)),
        ("named", (5, 4, 2, 1, 1, 740.0)),
        ("support", (3, 2, 1, 1, 0, 425.0)),
        ("within", (3, 3, 0, 0, 1, 620.0)),
    ],
)
async def test_the_summary_counts_what_the_team_did_as_the_statistics_do(
    world: World, shift: str, expected: tuple[float, ...]
) -> None:
    summary, answer = await summary_of(world, shift), await statistics(world, shift)
    assert some(summary.figures, *COUNTS) == expected
    assert summary.counts == answer["counts"] == "handles of agents"
    total, told = answer["total"], [name for name in HANDLE_KPIS if name != "contacts"]
    assert some(summary.figures, *told) == some(total["figures"], *told)
    assert summary.before is not None
    assert some(summary.before.figures, *told) == some(total["previous"], *told)
    assert summary.before.figures["handled"] == 1
    # Nothing is told of what a team can't have.
    assert {name for name, value in summary.figures.items() if value is not None} <= {*HANDLE_KPIS}
    whole = await summary_of(world, "whole")
    assert (whole.counts, whole.figures["offered"], whole.figures["missed"]) == ("calls", 8, 1)


async def test_only_people_of_the_team_are_in_it_also_who_took_nothing(world: World) -> None:
    summary = await summary_of(world, "sales")
    begin, end = summary.period.begin, summary.period.end
    lines = {line.agent: line for line in summary.agents}
    assert {name: line.figures["handled"] for name, line in lines.items()} == {"Dana": 2, "Erlan": 3, "zarina": 0}
    assert lines["zarina"].logged_in_seconds == 5 * 3600
    assert lines["Erlan"].by_queue == {"other": 1, "vip": 2}
    rows = {row["key"]["agent"]: row["figures"] for row in (await statistics(world, "sales", "agent"))["rows"]}
    assert {name: row["handled"] for name, row in rows.items()} == {"Dana": 2, "Erlan": 3}
    team = (await world.kpi("team", begin, end))["Sales"]
    assert summary.team is not None
    for name in ("logged_in_seconds", "available_seconds", "talking_seconds", "occupancy", "utilisation"):
        assert getattr(summary.team.whole, name) == team[name] > 0, name
    # Of a shift about some queues the states are those of the whole time: they belong to no queue.
    within = await summary_of(world, "within")
    assert [(line.agent, line.figures["handled"]) for line in within.agents] == [
        ("Dana", 1),
        ("Erlan", 2),
        ("zarina", 0),
    ]
    assert within.team is not None and within.team.whole.occupancy == team["occupancy"]


async def test_intervals_and_queues_add_up_to_the_headline(world: World) -> None:
    # The odd one begins and ends within a quarter of an hour, of which there are no sums.
    for shift in ("sales", "within", "odd"):
        summary = await summary_of(world, shift)
        assert summary.team is not None
        assert summary.figures["handled"] == {"sales": 5, "within": 3, "odd": 4}[shift]
        for name in COUNTS:
            assert sum(getattr(each, name) for each in summary.team.intervals) == summary.figures[name], name
            assert sum(line.figures[name] or 0 for line in summary.team.queues) == summary.figures[name], name
        rows = (await statistics(world, shift, "queue"))["rows"]
        told = {row["key"]["queue"]: row["figures"]["handled"] for row in rows}
        assert {line.queue: line.figures["handled"] for line in summary.team.queues} == told
        assert ("" in told) == (shift != "within"), "direct and outbound calls are in no queue"
        kpi = await world.kpi("queue", summary.period.begin, summary.period.end, team="Sales")
        assert shift == "within" or {queue: row["handled"] for queue, row in kpi.items()} == told


async def opened(world: World, summary: Summary) -> int:
    """Opens every figure that the page shows; how many there were."""
    reader, count = Reader(agents=True, numbers=True, root="http://kpi"), 0
    shown: list[Cell | Part] = [
        cell for table in tables(summary, "en", reader) for row in table.rows for cell in row if cell.figure
    ]
    shown += [part for told in sentences(summary, "en") for part in told.parts if part.figure]
    for each in shown:
        address = links.behind(summary, reader, each.figure, each.only, each.begin, each.end)
        asked = parse_qs(urlsplit(address).query, keep_blank_values=True)
        begin, end = (datetime.fromisoformat(asked[name][0]) for name in ("from", "to"))
        only: dict[str, str | tuple[str, ...]] = {
            name: tuple(asked[name]) for name in asked if name in ("queue", "agent", "team")
        }
        behind = await calls_behind(
            world.pool,
            world.settings,
            world.reports.names,
            "acme",
            Window(begin, end),
            each.figure,
            only,
            summary.as_of,
        )
        if isinstance(each, Part):
            assert behind.value, each
        else:
            assert (behind.value or 0) == pytest.approx(each.value or 0), each
            if each.kind is Kind.COUNT:
                assert len(behind.items) == each.value, each
        count += 1
    return count


async def test_every_figure_opens_to_as_many_handles_as_it_counts(world: World) -> None:
    assert await opened(world, await summary_of(world, "sales")) > 80
    assert await opened(world, await summary_of(world, "within")) > 130


async def test_a_team_has_no_missed_calls_and_the_summary_says_why(world: World) -> None:
    summary = await summary_of(world, "sales")
    assert (summary.reasons, summary.callbacks, summary.queues, summary.intervals) == ((), (), (), ())
    assert summary.handover.waiting_customers is None
    for code, why in (("en", "a missed call belongs to a queue"), ("ru", "пропущенный звонок относится к очереди")):
        text = " ".join(map(str, sentences(summary, code)))
        assert why in text
        ids = {table.id for table in tables(summary, code, Reader(agents=True))}
        assert ids == {"figures", "agents", "times", "team_queues", "team_intervals", "open_calls", "notes"}
    assert "Team Sales handled 5 calls: 4 inbound answered, 2 outbound made, 1 of them answered" in text_of(summary)
    assert from_data(to_data(summary)) == summary


def text_of(summary: Summary) -> str:
    return " ".join(map(str, sentences(summary, "en")))


async def test_of_a_team_in_its_queues_these_are_told_too_whoever_answered(world: World) -> None:
    summary = await summary_of(world, "within")
    assert summary.period.queues == ("Hotline", "vip")
    assert summary.team is not None and summary.team.in_queues is not None
    assert some(summary.team.in_queues, "offered", "answered", "missed") == (7, 6, 1)
    rows = await world.kpi("queue", summary.period.begin, summary.period.end)
    for line in summary.queues:
        assert some(line.figures, "offered", "missed") == some(rows[line.queue], "offered", "missed")
    assert [item.customer for item in summary.callbacks] == ["+77010000004"]
    assert summary.handover.waiting_customers == 1
    text = text_of(summary)
    assert "The rest is about Hotline and vip, whoever answered" in text
    assert "7 stays in these queues were offered: 6 answered (answer rate 85.7%), 1 missed" in text
    assert from_data(to_data(summary)) == summary


async def test_a_shift_in_which_nothing_was_and_one_that_has_not_begun_are_told_too(world: World) -> None:
    for day in ("2026-11-20", "2026-11-30"):
        for shift in ("sales", "within"):
            period = periods.parse(world.settings.tenants["acme"], "acme", f"shift:{shift}@{day}", LATER)
            summary = await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, LATER)
            assert "Team Sales took no call and made none." in text_of(summary)
            assert summary.figures["handled"] == 0 and summary.figures["aht_seconds"] is None
            for code in LANGUAGES:
                for form in FORMATS.values():
                    assert form.render(summary, code, Reader(agents=True))


async def test_goals_are_the_same_in_the_summary_and_in_the_statistics(world: World) -> None:
    for shift, expected in (
        ("sales", {("handled", 5, 5, True), ("made", 9, 2, False)}),
        ("named", {("handled", 5, 5, True), ("made", 9, 2, False)}),
        ("support", set()),
        ("within", {("answered", 3, 3, True)}),
    ):
        summary, answer = await summary_of(world, shift), await statistics(world, shift)
        told = {(g.figure, g.target, g.value, g.is_reached) for g in summary.goals if g.is_of_all}
        assert told == expected, shift
        assert {(g["kpi"], g["target"], g["fact"], g["reached"]) for g in answer["total"]["goals"]} == expected, shift
        # What a team does in a queue is not that queue's goal.
        assert [row["goals"] for row in (await statistics(world, shift, "queue"))["rows"] if row["goals"]] == []
    within = await summary_of(world, "within")
    assert [(g.figure, g.queue, g.value) for g in within.goals if g.queue] == [("missed", "Hotline", 1)]
    by_team = await statistics(world, "whole", "team")
    assert {row["key"]["team"]: len(row["goals"]) for row in by_team["rows"]} == {"": 0, "Sales": 2, "support": 0}


async def test_a_team_hands_over_its_own_calls(world: World) -> None:
    ended = at("18:00")
    for shift, calls in (("sales", ["native/9"]), ("support", ["native/10"])):
        summary = await summary_of(world, shift, ended.astimezone(UTC))
        assert [call.call for call in summary.handover.open_calls] == calls
        assert [call.was for call in summary.handover.open_calls] == ["talking"]


async def test_calls_whose_end_never_came_are_told_and_not_handed_over(world: World) -> None:
    for number, clock, agent in (("30", "12:50", "erlan"), ("31", "12:55", "marat"), ("32", "17:30", "erlan")):
        await world.send_json("native", *inbound(number, clock, "first", agent)[:-1])
    await world.project()
    ended = at("18:00").astimezone(UTC)
    summary = await summary_of(world, "sales", ended)
    assert [call.call for call in summary.handover.open_calls] == ["native/32", "native/9"]
    later = await summary_of(world, "sales")
    # Nothing was heard of the calls since: the day after all of them have expired.
    assert {note.doubt: note.count for note in later.notes if note.doubt in ("open", "expired")} == {"expired": 2}
    assert (later.figures["answered"], later.figures["handled"]) == (6, 5)


async def test_a_correction_names_what_the_team_did_and_nothing_else(world: World) -> None:
    sent = {name: from_data(to_data(await summary_of(world, name))) for name in ("sales", "support", "within")}
    # Told late: a call that another team took.
    await world.send_json("native", *inbound("20", "13:00", "first", "marat"))
    await world.project()
    assert changes(sent["sales"], await summary_of(world, "sales")) == []
    found = changes(sent["support"], await summary_of(world, "support"))
    assert {(c.place, c.old, c.new, c.calls) for c in found if c.figure == "handled"} == {
        (("handle", ""), 3, 4, ("native/20",)), (("handle", "marat"), 3, 4, ("native/20",)),
    }  # fmt: skip
    # It changes what came into the queues of a shift that tells of these, and nobody's work.
    found = changes(sent["within"], await summary_of(world, "within"))
    assert {c.place for c in found} == {("entry", ""), ("entry", "Hotline")}
    assert {c.calls for c in found if c.figure == "offered"} == {("native/20",)}


async def test_a_team_is_meant_by_its_key_and_by_its_name_everywhere(world: World) -> None:
    begin, end = at("12:00"), at("18:00")
    window = Window(begin, end)
    for told in ("sales", "Sales"):
        answer = await world.reports.figures(Query("acme", begin, end, "agent", {"team": told}))
        assert answer["total"]["handled"] == 5
        behind = await calls_behind(
            world.pool, world.settings, world.reports.names, "acme", window, "handled", {"team": (told,)}
        )
        assert len(behind.items) == 5
        assert (await statistics(world, "whole", team=(told,)))["total"]["figures"]["handled"] == 5


async def test_its_shift_is_told_while_the_projector_has_something_to_do(world: World) -> None:
    await world.send_json("native", *inbound("late", "12:30", "vip", "dana"))
    for shift in ("sales", "within"):
        told = await summary_of(world, shift)
        assert Doubt.LAGGING in [note.doubt for note in told.notes]
        for code in LANGUAGES:
            for form in FORMATS.values():
                assert form.render(told, code, Reader(agents=True, numbers=True))


async def test_a_portals_department_is_a_team(world: World) -> None:
    own = replace(world.settings.tenants["acme"], people={}, agents={}, teams={})
    own = replace(own, goals={}, shifts={"sales": replace(own.shifts["sales"], team="Отдел продаж")})
    world.settings = replace(world.settings, tenants={"acme": own})
    told = [
        ("member", "erlan", "7"),
        ("member", "marat", "8"),
        ("department", "7", "Отдел продаж"),
        ("department", "8", "B"),
    ]
    world.reports.names = Names(world.settings)
    world.reports.names.learn(
        {"tenant": "acme", "source": "native", "kind": kind, "id": id, "name": name} for kind, id, name in told
    )
    summary = await summary_of(world, "sales")
    assert [(line.agent, line.figures["handled"]) for line in summary.agents] == [("erlan", 3)]
    assert (summary.period.team, summary.figures["handled"]) == ("Отдел продаж", 3)


async def test_a_correction_is_sent_with_the_teams_figures_apart_from_its_queues(world: World) -> None:
    report = config.Report(period="shift:within", to=("folder:/srv",), files=())
    editions = []
    for number in (1, 2):
        summary = await summary_of(world, "within")
        editions.append(letter.Edition("acme", "within", summary.period.text, number, letter.masked(summary)))
        await world.send_json("native", *inbound("21", "13:05", "first", "dana", talk=40))
        await world.project()
    message = letter.write(editions[1], editions[0], report, Receiver("folder", "/srv"), "")
    lines = [line.removeprefix("• ") for line in message.text.splitlines() if line.startswith("• ")]
    assert "Handled: 3 → 4 (native/21)" in lines and "Queues: Offered: 7 → 8 (native/21)" in lines
    assert not [line for line in lines if line.startswith(("Erlan", "marat"))]
    assert "Team Sales handled 4 calls" in message.text


def problems(text: str, tmp_path: Path) -> str:
    file = tmp_path / "callkpi.toml"
    file.write_text(text)
    try:
        config.load(file, {})
    except config.ConfigError as error:
        return str(error)
    return ""


def test_a_team_that_there_is_not_is_refused_and_guessed(tmp_path: Path) -> None:
    assert problems(team_traffic.SETTINGS, tmp_path) == ""
    wrong = team_traffic.SETTINGS.replace('team = "support"', 'team = "suport"').replace(
        'target = 9\nperiod = "shift"\nteam = "Sales"', 'target = 9\nperiod = "shift"\nteam = "Sale"'
    )
    said = problems(wrong, tmp_path)
    assert (
        "tenants.acme.shifts.support.team: 'suport' is none of the teams (sales, support) (did you mean 'support'?)"
        in said
    )
    assert "tenants.acme.goals.named.team: 'Sale' is none of the teams (sales, support) (did you mean 'Sales'?)" in said
    # A portal's departments are teams, too, and nobody knows them before it tells.
    departments = """
[tenants.acme.shifts.day]
hours = "08:00-20:00"
team = "Отдел продаж"

[tenants.acme.goals.g]
kpi = "made"
target = 1
period = "day"
team = "Отдел"
"""
    assert problems(departments, tmp_path) == ""
    assert "no team has missed" in problems(departments.replace('"made"', '"missed"'), tmp_path)
    of_shift = team_traffic.SETTINGS.replace('kpi = "answered"', 'kpi = "service_level"').replace("= 3", "= 0.8")
    assert "goals.within.kpi: no team has service_level" in problems(of_shift, tmp_path)
    twice = '[tenants.acme.teams.a]\nname = "b"\n[tenants.acme.teams.b]\nname = "c"\n'
    assert "'b' is the key of another team" in problems(twice, tmp_path)


# -- through a real daemon ----------------------------------------------------------------------------------

TOKENS_OF = "".join(
    f'\n[tokens.{role}]\ntoken = "{role}-secret-0123456789"\nrole = "{role}"\n' for role in ("viewer", "manager")
)
PAGE = f"reports/shift/acme/sales/{team_traffic.DAY}"


@pytest.fixture(scope="module")
async def running(data_dir: Path) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession]]:
    settings = team_traffic.SETTINGS + TOKENS_OF
    async with daemon(data_dir / "teams", config=settings) as started, aiohttp.ClientSession() as http:
        for source, events in (("native", team_traffic.native()), ("second", team_traffic.second())):
            target = replay.Target(url=started.url, source=source, token="native-secret")
            await replay.post(http, target, json.dumps(events).encode(), "application/json")
        await projected(started)
        yield started, http


async def get(running: tuple[Daemon, aiohttp.ClientSession], path: str, role: str = "manager") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {role}-secret-0123456789"}
    async with running[1].get(f"{running[0].url}/{path}", headers=headers) as answer:
        return answer.status, await answer.read()


async def printed(started: Daemon, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "callkpi", *command, "--config", str(started.config), env=started.environment,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    return (await process.communicate())[0].decode()


async def test_one_figure_in_the_page_the_api_the_terminal_and_the_files(
    running: tuple[Daemon, aiohttp.ClientSession],
) -> None:
    period = f"shift:sales@{team_traffic.DAY}"
    answer = json.loads((await get(running, f"api/v1/statistics?tenant=acme&period={period}"))[1])
    told = json.loads((await get(running, f"{PAGE}.json"))[1])["figures"]
    report = await printed(running[0], "report", "--period", period, "--by", "agent")
    summary = await printed(running[0], "summary", f"sales@{team_traffic.DAY}")
    files = {ending: (await get(running, f"{PAGE}.{ending}"))[1] for ending in ("pdf", "xlsx", "csv")}
    text = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(files["pdf"])).pages)
    page = (await get(running, PAGE))[1].decode()
    assert answer["period"]["team"] == "Sales" and "counts handles of agents of team Sales" in report
    assert "what team Sales did" in summary and "what team Sales did" in page
    names = {"handled": "Handled", "answered": "Answered", "made": "Outbound made", "reached": "Outbound reached"}
    for name, label in names.items():
        value = answer["total"]["figures"][name]
        assert told[name] == value > 0
        assert re.search(rf"^{label} +{value} ", summary, re.MULTILINE), name
        assert re.search(rf'<th scope="row">{label}</th><td class="number"><a [^>]*>{value}</a>', page), name
        assert f"\r\n{label},{value}," in files["csv"].decode("utf-8-sig"), name
        assert re.search(rf"{label}\s+{value}\b", text), name
    total = report.splitlines()[[line.split()[:1] for line in report.splitlines()].index(["total"])].split()
    assert total[1:5] == [str(answer["total"]["figures"][name]) for name in names]
    assert files["xlsx"].startswith(b"PK")


async def test_every_number_of_the_page_opens_to_as_many_handles(
    running: tuple[Daemon, aiohttp.ClientSession],
) -> None:
    checked = 0
    for shift in ("sales", "within"):
        here = PAGE.replace("/sales/", f"/{shift}/")
        page = (await get(running, here))[1].decode()
        for address, shown in dict(re.findall(r'<a href="([^"]+reports/calls[^"]+)">(\d+)</a>', page)).items():
            path = urljoin(f"/{here}", html.unescape(address)).lstrip("/")
            status, text = await get(running, path)
            assert status == 200, path
            assert int(re.findall(r"Counted: (\d+)", text.decode())[0]) == int(shown), path
            checked += 1
    assert checked > 60


async def test_what_a_team_did_is_for_those_who_see_figures_of_people(
    running: tuple[Daemon, aiohttp.ClientSession],
) -> None:
    window = f"tenant=acme&from={team_traffic.DAY}&to=2026-11-24"
    asked = (
        PAGE, f"{PAGE}.json", f"api/v1/statistics?tenant=acme&period=shift:sales@{team_traffic.DAY}",
        f"reports/calls?{window}&figure=handled&team=Sales", f"api/v1/behind?{window}&figure=handled&team=sales",
    )  # fmt: skip
    for path in asked:
        assert [(await get(running, path, role))[0] for role in ("viewer", "manager")] == [403, 200], path
    by_shift, told = f"api/v1/statistics?tenant=acme&period=day:{team_traffic.DAY}&by=shift", {}
    for role in ("viewer", "manager"):
        rows = json.loads((await get(running, by_shift, role))[1])["rows"]
        told[role] = {row["key"]["shift"].partition("@")[0] for row in rows}
    assert told == {"viewer": {"whole"}, "manager": {"whole", "sales", "named", "support", "within", "odd"}}
    whole = f"api/v1/statistics?tenant=acme&period=shift:whole@{team_traffic.DAY}"
    assert (await get(running, whole, "viewer"))[0] == 200


async def test_the_shifts_of_the_last_days_are_listed_with_the_teams_for_those_who_see_people(world: World) -> None:
    app = web.Application(middlewares=[access.middleware])
    tokens = {str(role): Token(token, role) for role, token in ROLE_TOKENS.items()}
    access.install(app, replace(world.settings, tokens=tokens))
    app.add_routes(ReportPages(world.pool, world.settings, clock=lambda: LATER).routes())
    async with TestServer(app) as server, aiohttp.ClientSession(server.make_url("/")) as http:
        listed = {}
        for role in (Role.VIEWER, Role.MANAGER):
            async with http.get("/reports", headers={"Authorization": f"Bearer {ROLE_TOKENS[role]}"}) as answer:
                assert answer.status == 200
                listed[role] = await answer.text()
    assert "Sellers" not in listed["viewer"]
    row = next(row for row in listed["manager"].split("<tr>") if "Sellers, 23 Nov 2026" in row)
    assert re.findall(r'<td class="number">([^<]*)</td>', row) == ["–", "4", "–", "–", "–", "–", "5"]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
async def test_in_a_browser_it_fits_the_screen_in_both_languages(
    running: tuple[Daemon, aiohttp.ClientSession],
) -> None:
    url = running[0].url
    async with browser() as page:
        for shift, language in (("sales", "en"), ("within", "ru")):
            for width in (1200, 390):
                await page.resize(width, 900)
                here = f"{url}/{PAGE.replace('/sales/', f'/{shift}/')}?lang={language}"
                await page.go(f"{here}&token=manager-secret-0123456789")
                assert page.complaints == []
                assert await page.script("document.documentElement.scrollWidth") <= width
                assert await page.script("document.querySelectorAll('svg rect').length") > 4
        await page.script("document.querySelector('dl.tiles a').click()")
        await page.until("location.pathname === '/reports/calls'")
        assert page.complaints == []
