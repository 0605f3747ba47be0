"""Reports reach people once, when late events have settled, and are corrected when a late event changes them."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callkpi import config
from callkpi.config import Report
from callkpi.delivery import by_hand, schedule
from callkpi.delivery.courier import Courier, ways
from callkpi.delivery.message import InDoubt, Permanent, Temporary
from callkpi.delivery.web import session
from tests.stand_ins.customers import call, stored
from tests.stand_ins.nights import BEGIN, END, SETTLED, Box, a_night, courier_of, states, with_report
from tests.stand_ins.receivers import Server
from tests.world import World, sample

NIGHT = "shift:night@2026-11-23"


async def steps(courier: Courier, *times: datetime) -> None:
    for at in (BEGIN, *times):
        await courier.step(at)


# -- when -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "zone", "since", "now", "ended"),
    [
        ("shift:night", "Asia/Almaty", "2026-11-22T12:00", "2026-11-24T04:00",
         ["shift:night@2026-11-22", "shift:night@2026-11-23"]),
        ("day", "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00", ["day:2026-10-24", "day:2026-10-25"]),
        ("week", "America/New_York", "2026-11-14T12:00", "2026-11-24T12:00", ["week:2026-W46", "week:2026-W47"]),
        ("month", "Asia/Almaty", "2026-10-31T18:59", "2026-10-31T19:00", ["month:2026-10"]),
        ("month", "Asia/Almaty", "2026-10-31T19:00", "2026-11-24T12:00", []),
    ],
)  # fmt: skip
def test_which_periods_are_over(period: str, zone: str, since: str, now: str, ended: list[str]) -> None:
    own = config.Tenant(timezone=zone, shifts={"night": config.ShiftPlan(hours="20:00-08:00")})
    span = (datetime.fromisoformat(text + "+00:00") for text in (since, now))
    assert [each.text for each in schedule.ended(own, "acme", Report(period=period), *span)] == ended


async def test_a_report_is_sent_once_when_late_events_have_had_their_time(world: World) -> None:
    await a_night(world)
    box = Box()
    await steps(courier_of(world, box), END + timedelta(minutes=14))
    assert box.messages == []
    await steps(courier_of(world, box), SETTLED, SETTLED + timedelta(minutes=1))
    await steps(courier_of(world, box), SETTLED + timedelta(hours=5))

    (message,) = box.messages
    assert message.subject.startswith("acme: ")
    assert "3 calls were offered: 2 answered" in message.text
    assert "https://kpi.example.com/reports/shift/acme/night/2026-11-23?lang=en" in message.text
    assert await states(world) == [(1, "sent", "")]


async def test_a_call_that_goes_on_is_waited_for_but_not_for_ever(world: World) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    local = end.astimezone(world.settings.tenants["acme"].zone)
    hours = f"{local - timedelta(hours=8):%H:%M}-{local:%H:%M}"
    talk = call("long", end - timedelta(minutes=2), "+77010000009", agent="Dana")
    await world.send_json("native", *talk[:2])
    await world.project()
    box = Box()
    courier = courier_of(world, box, hours=hours)
    for minutes in (-60, 16, 59):
        await courier.step(end + timedelta(minutes=minutes))
    assert box.messages == []
    await courier.step(end + timedelta(hours=1))
    assert len(box.messages) == 1 and "still goes on" in box.messages[0].text


async def test_nothing_from_before_the_report_was_configured_is_sent(world: World) -> None:
    await a_night(world)
    box = Box()
    await courier_of(world, box).step(SETTLED)
    assert box.messages == []


async def test_events_that_are_not_computed_yet_are_waited_for(world: World) -> None:
    await a_night(world)
    await world.send_json("native", *call("late", END - timedelta(hours=1), "+77010000009"))
    await world.pool.execute("UPDATE pending SET journalled_at = now() - interval '1 minute'")
    box = Box()
    await steps(courier_of(world, box), SETTLED)
    assert box.messages == []
    await world.project()
    await steps(courier_of(world, box), SETTLED)
    assert "4 calls were offered" in box.messages[0].text


# -- corrections ------------------------------------------------------------------------------------------


async def test_a_late_event_makes_a_correction_that_says_what_changed(world: World) -> None:
    await a_night(world)
    box = Box()
    courier = courier_of(world, box)
    await steps(courier, SETTLED)
    await world.send_json("native", *call("late", END - timedelta(hours=1), "+77010000009"))
    await world.project()
    times = [SETTLED + timedelta(minutes=minutes) for minutes in (10, 20, 30, 40, 50)]
    await steps(courier, *times)

    first, correction = box.messages
    assert correction.subject.startswith("acme: Correction: ")
    assert correction.earlier_key == first.key
    assert "• Offered: 3 → 4 (native/late)" in correction.text
    assert "• Missed: 1 → 2 (native/late)" in correction.text
    assert "4 calls were offered" in correction.text
    assert await states(world) == [(1, "sent", ""), (2, "sent", "")]


async def test_another_name_of_a_queue_is_no_correction(world: World) -> None:
    await a_night(world)
    box = Box()
    await steps(courier_of(world, box), SETTLED)
    named = with_report(world.settings)
    own = replace(named.tenants["acme"], queues={"sales": config.Queue(name="Продажи")})
    courier = Courier(world.pool, replace(named, tenants={"acme": own}), world.health, lambda name, report: box)
    times = [SETTLED + timedelta(minutes=minutes) for minutes in (10, 20, 30, 40, 50)]
    await steps(courier, *times)
    assert len(box.messages) == 1

    await world.send_json("native", *call("late", END - timedelta(hours=1), "+77010000009"))
    await world.project()
    await steps(courier, *[at + timedelta(hours=1) for at in times])
    assert "• Offered: 3 → 4 (native/late)" in box.messages[1].text


async def test_what_changes_back_is_no_correction_and_what_goes_on_changing_waits(world: World) -> None:
    await a_night(world)
    box = Box()
    courier = courier_of(world, box)
    await steps(courier, SETTLED)
    for minutes in (6, 12, 18):
        late = call(f"late{minutes}", END - timedelta(minutes=90 + minutes), f"+7701000{minutes:04}")
        await world.send_json("native", *late)
        await world.project()
        await courier.step(SETTLED + timedelta(minutes=minutes))
    assert len(box.messages) == 1
    await steps(courier, SETTLED + timedelta(minutes=30))
    assert [message.subject.count("Correction") for message in box.messages] == [0, 1]


async def test_what_became_of_the_missed_is_no_correction(world: World) -> None:
    await a_night(world)
    box = Box()
    courier = courier_of(world, box)
    await steps(courier, SETTLED)
    back = call("back", SETTLED + timedelta(minutes=5), "+77010000002", direction="outbound", agent="Dana")
    await world.send_json("native", *back)
    await world.project()
    await steps(courier, *(SETTLED + timedelta(minutes=minutes) for minutes in (10, 25, 40)))
    assert len(box.messages) == 1


async def test_who_got_nothing_yet_gets_the_newest_edition_and_no_correction(world: World) -> None:
    await a_night(world)
    box = Box()
    box.troubles = [Temporary("down", 3600)]
    courier = courier_of(world, box)
    await steps(courier, SETTLED)
    await world.send_json("native", *call("late", END - timedelta(hours=1), "+77010000009"))
    await world.project()
    await steps(courier, *(SETTLED + timedelta(minutes=minutes) for minutes in (10, 25)), SETTLED + timedelta(hours=2))

    (message,) = box.messages
    assert "Correction" not in message.subject and "4 calls were offered" in message.text
    assert [state for _, state, _ in await states(world)] == ["superseded", "sent"]


# -- trouble ----------------------------------------------------------------------------------------------


async def test_what_does_not_go_is_tried_again_with_growing_pauses(world: World) -> None:
    await a_night(world)
    box = Box()
    box.troubles = [Temporary("down"), Temporary("busy", 120)]
    courier = courier_of(world, box)
    await steps(courier, SETTLED, SETTLED + timedelta(seconds=20))
    assert await states(world) == [(1, "waiting", "down")]
    await steps(courier, SETTLED + timedelta(seconds=40))
    assert await states(world) == [(1, "waiting", "busy")]
    await steps(courier, SETTLED + timedelta(seconds=150))
    assert box.messages == []
    await steps(courier, SETTLED + timedelta(seconds=170))
    assert len(box.messages) == 1


@pytest.mark.parametrize("asked", [1e30, math.inf, 3e7])
async def test_who_asks_for_a_pause_of_years_gets_a_day(world: World, asked: float) -> None:
    """The courier must not die of it, and somebody has to hear of it."""
    await a_night(world)
    box = Box()
    box.troubles = [Temporary("busy", asked)]
    await steps(courier_of(world, box), SETTLED)
    assert await states(world) == [(1, "waiting", "busy")]
    assert await world.pool.fetchval("SELECT next_at FROM deliveries") == SETTLED + timedelta(days=1)


async def test_after_a_day_it_is_given_up_and_told(world: World) -> None:
    await a_night(world)
    box = Box()
    courier = courier_of(world, box)
    box.troubles = [Temporary("down")] * 2
    await steps(courier, SETTLED)
    await world.pool.execute("UPDATE deliveries SET made_at = made_at - interval '2 days', next_at = $1", SETTLED)
    await steps(courier, SETTLED + timedelta(minutes=2))
    assert [(state, error) for _, state, error in await states(world)] == [
        ("failed", "given up after 2 attempts: down")
    ]


@pytest.mark.parametrize(
    ("trouble", "knows", "state"),
    [
        (Permanent("no such chat"), True, "failed"),
        (InDoubt("no answer"), False, "in_doubt"),
        (InDoubt("no answer"), True, "waiting"),
        (RuntimeError("a fault of ours"), True, "waiting"),
    ],
)
async def test_what_becomes_of_trouble(world: World, trouble: Exception, knows: bool, state: str) -> None:
    await a_night(world)
    box = Box(knows_repetitions=knows)
    box.troubles = [trouble]
    await steps(courier_of(world, box), SETTLED)
    ((_, found, error),) = await states(world)
    assert found == state and error
    if state in ("failed", "in_doubt"):
        world.settings = with_report(world.settings)
        for later, count in ((timedelta(hours=1), 1), (timedelta(hours=25), 0)):
            page = await world.metrics(now=SETTLED + later)
            assert sample(page, "callkpi_deliveries_unsent", tenant="acme", state=state) == count


@pytest.mark.parametrize(("knows", "state"), [(True, "sent"), (False, "in_doubt")])
async def test_a_daemon_that_is_killed_while_it_sends(world: World, knows: bool, state: str) -> None:
    """Repeated where the other side knows repetitions, else told and left to a person."""
    await a_night(world)
    box = Box(knows_repetitions=knows)
    box.troubles = [Temporary("down")]
    await steps(courier_of(world, box), SETTLED)
    await world.pool.execute("UPDATE deliveries SET state = 'sending', next_at = $1", SETTLED)
    await steps(courier_of(world, box), SETTLED + timedelta(minutes=1))
    assert [found for _, found, _ in await states(world)] == [state]
    assert len(box.messages) == (1 if knows else 0)


async def test_whole_numbers_are_neither_sent_nor_kept(world: World) -> None:
    await a_night(world)
    box = Box()
    await steps(courier_of(world, box, files=("html", "csv", "json", "xlsx", "pdf")), SETTLED)
    (message,) = box.messages
    assert len(message.attachments) == 5
    everything = message.text + message.html + json.dumps(message.data) + str([a.content for a in message.attachments])
    assert "77010000002" not in everything and "+770•••0002" in message.html + json.dumps(
        message.data, ensure_ascii=False
    ) + "".join(a.content.decode("utf-8", "replace") for a in message.attachments)
    assert "report_editions" not in await stored(world, "77010000002")


# -- the real ways ----------------------------------------------------------------------------------------


@asynccontextmanager
async def real(world: World, settings: config.Settings) -> AsyncIterator[Courier]:
    async with session() as http:
        yield Courier(world.pool, settings, world.health, ways(http, settings))


async def test_all_receivers_get_the_same_figures_in_russian(
    world: World,
    server: Server,
    tmp_path: Path,
) -> None:
    await a_night(world)
    settings = with_report(
        world.settings, to=(server.url + "/hook", "telegram:-1001", f"folder:{tmp_path}"), language="ru",
        files=("pdf", "xlsx"), secret="key",
    )  # fmt: skip
    settings = replace(settings, telegram=config.Telegram("42:t", server.url))
    async with real(world, settings) as courier:
        await steps(courier, SETTLED, SETTLED + timedelta(minutes=1))

    told = {path: body for path, body, _ in server.requests}
    hook = json.loads(told["/hook"])
    assert hook["summary"]["figures"]["offered"] == 3
    assert told["/bot42:t/sendMessage"]["text"].endswith(hook["text"])
    assert "Поступило 3 звонка" in hook["text"]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"acme-shift-night-2026-11-23.{ending}" for ending in ("pdf", "txt", "xlsx")]
    assert (tmp_path / names[1]).read_text().strip().endswith(hook["text"].strip())
    assert {state for _, state, _ in await states(world)} == {"sent"}


# -- by hand ----------------------------------------------------------------------------------------------


async def by_hand_lines(world: World, settings: config.Settings, period: str = NIGHT, **flags: bool) -> list[str]:
    asked = {"dry_run": False, "again": False, **flags}
    return [line async for line in by_hand.send(world.pool, settings, "acme", "", period, **asked)]


async def test_a_dry_run_tells_everything_and_sends_nothing(world: World, tmp_path: Path) -> None:
    await a_night(world)
    settings = with_report(world.settings, to=(f"folder:{tmp_path}/x", "https://hooks.example.com/secret"))
    lines = await by_hand_lines(world, settings, dry_run=True)
    told = "\n".join(lines)
    assert f"to folder {tmp_path}/x: acme: Shift summary" in told and "3 calls were offered" in told
    assert "to webhook hooks.example.com" in told and "secret" not in told
    assert not (tmp_path / "x").exists()
    assert await states(world) == []


async def test_sent_by_hand_it_is_sent_once_and_again_only_when_asked(world: World, tmp_path: Path) -> None:
    await a_night(world)
    settings = with_report(world.settings, to=(f"folder:{tmp_path}/x",))
    (tmp_path / "x").mkdir()
    for flags, files in (({}, 1), ({}, 0), ({"again": True}, 1)):
        lines = await by_hand_lines(world, settings, **flags)
        assert lines == [f"nightly, {NIGHT}, edition 1 to folder {tmp_path}/x: sent"]
        assert len(list((tmp_path / "x").glob("*.txt"))) == files
        for file in (tmp_path / "x").glob("*.txt"):
            file.unlink()


@pytest.mark.parametrize(
    ("period", "text"), [("shift:night@2090-01-01", "goes on until"), ("shift:late@2026-11-23", "is no shift of acme")]
)
async def test_what_can_not_be_sent_by_hand(world: World, period: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        await by_hand_lines(world, with_report(world.settings), period)


# -- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            'to = ["boss@example.com"]',
            "tenants.default.reports.daily.to: 'boss@example.com' is no receiver; write mailto:",
        ),
        ('to = ["mailto:boss@example.com"]', "tenants.default.reports.daily.to: for mail set mail.server"),
        ('to = ["telegram:1"]', "tenants.default.reports.daily.to: for Telegram set telegram.token"),
        ('to = ["bitrix24:portal/chat1"]', "tenants.default.reports.daily.to: 'portal/chat1' must begin with a source"),
        ('to = ["http://example.com/secret"]', "tenants.default.reports.daily.to: an address on the web must begin"),
        ('to = ["folder:/tmp"]\nperiod = "shift:late"', "tenants.default.reports.daily.period: no shift 'late'"),
        ('to = ["folder:/tmp"]\nfiles = ["doc"]', "tenants.default.reports.daily.files: 'doc' is none of pdf"),
        ("", "tenants.default.reports.daily.to: is required"),
    ],
)
def test_bad_settings_are_refused_with_what_to_write(lines: str, problem: str, tmp_path: Path) -> None:
    file = tmp_path / "callkpi.toml"
    file.write_text("[tenants.default.reports.daily]\n" + lines + "\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(file, {})
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems
    assert "secret" not in str(caught.value)
