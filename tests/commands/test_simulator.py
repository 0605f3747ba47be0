"""The simulated shift, read by callkpi's own sources and fold."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise, takewhile

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from callkpi import config
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import AGENT_STREAM, Call, CallEvent, Direction, LegEnd, Outcome
from callkpi.commands.replay import ReplayError
from callkpi.commands.simulator import TEAM, Delivery, Profile, run, shift
from callkpi.sources import SOURCE_TYPES, base

BEGIN = datetime(2026, 11, 23, 4, tzinfo=UTC)
HOURS = 6
SOURCES = {
    "pbx": config.Source(kind=config.SourceKind.ASTERISK, token="secret"),
    "portal": config.Source(kind=config.SourceKind.BITRIX24, application_tokens=("demo",)),
}
NAMES = {agent.user_id: agent.name for agent in TEAM}


def until(deliveries: Iterable[Delivery], end: datetime) -> list[Delivery]:
    return list(takewhile(lambda delivery: delivery.at < end, deliveries))


@cache
def deliveries(seed: int = 1) -> tuple[Delivery, ...]:
    return tuple(until(shift(seed, BEGIN), BEGIN + timedelta(hours=HOURS)))


def parse(delivery: Delivery) -> base.Parsed:
    settings = SOURCES[delivery.source]
    source_type = SOURCE_TYPES[settings.kind]
    received = base.Delivery(delivery.body, delivery.content_type, settings.token, delivery.at)
    payload = source_type.decode(received)
    assert base.authenticated(source_type, settings, source_type.token(received, payload))
    return source_type.parse(payload, base.Context(delivery.source, "demo", settings, delivery.at))


@cache
def calls(seed: int = 1) -> tuple[Call, ...]:
    streams: dict[tuple[str, str], list[CallEvent]] = defaultdict(list)
    for delivery in deliveries(seed):
        for event in parse(delivery).events:
            streams[delivery.source, event.call_id].append(event)
    limits, end = Thresholds(config.Tenant()), BEGIN + timedelta(hours=HOURS)
    return tuple(
        fold(call_id, SOURCE_TYPES[SOURCES[source].kind].interpret(events, SOURCES[source]), limits, end)
        for (source, call_id), events in streams.items()
        if not call_id.startswith(AGENT_STREAM)
    )


def test_the_same_seed_gives_the_same_shift() -> None:
    end = BEGIN + timedelta(hours=1)
    assert until(shift(7, BEGIN), end) == until(shift(7, BEGIN), end)
    assert until(shift(7, BEGIN), end) != until(shift(8, BEGIN), end)


def test_deliveries_come_in_the_order_of_time() -> None:
    assert all(one.at < two.at for one, two in pairwise(deliveries()))
    assert deliveries()[0].at >= BEGIN


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_delivery_is_understood(seed: int) -> None:
    for delivery in deliveries(seed):
        parsed = parse(delivery)
        assert not parsed.rejected, parsed.rejected
        assert parsed.events
        assert not any(event.timeless for event in parsed.events)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_shift_has_what_a_newcomer_should_see(seed: int) -> None:
    outcomes = Counter((call.source, call.direction, call.outcome) for call in calls(seed))
    answered = outcomes["pbx", Direction.INBOUND, Outcome.ANSWERED]
    lost = sum(n for (source, _, outcome), n in outcomes.items() if source == "pbx" and outcome in Outcome) - answered
    assert answered > 100 * HOURS
    assert 0.07 < lost / (lost + answered) < 0.3
    assert outcomes["pbx", Direction.INBOUND, Outcome.ABANDONED]
    assert outcomes["pbx", Direction.INBOUND, Outcome.TIMED_OUT]
    assert outcomes["portal", Direction.OUTBOUND, Outcome.ANSWERED]
    for outcome in (Outcome.ANSWERED, Outcome.NO_ANSWER, Outcome.BUSY, Outcome.REJECTED):
        assert outcomes["portal", Direction.INBOUND, outcome], outcome
    assert {leg.end for call in calls(seed) for leg in call.legs} >= set(LegEnd) - {LegEnd.BUSY}
    assert {entry.queue for call in calls(seed) for entry in call.entries} == {"sales", "support", "vip"}
    assert not any(call.flags for call in calls(seed))


def test_every_call_ends() -> None:
    last_minutes = BEGIN + timedelta(hours=HOURS) - timedelta(minutes=30)
    for call in calls():
        if call.started_at < last_minutes:
            assert call.ended_at is not None, call
            assert all(leg.ended_at is not None for leg in call.legs)
            assert all(entry.left_at is not None for entry in call.entries)


def test_no_agent_has_two_calls_at_a_time() -> None:
    busy: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for call in calls():
        for leg in call.legs:
            begin, end = leg.began_at, leg.ended_at
            if begin is not None and end is not None:
                busy[NAMES.get(leg.agent, leg.agent)].append((begin, end))
    assert set(busy) == {agent.name for agent in TEAM}
    for spans in busy.values():
        # A portal's times are whole seconds.
        assert all(next_begin >= end - timedelta(seconds=1) for (_, end), (next_begin, _) in pairwise(sorted(spans)))


def test_call_backs_go_to_customers_whom_we_missed() -> None:
    missed = {call.customer: call.started_at for call in reversed(calls()) if call.missed}
    back = [call for call in calls() if call.direction is Direction.OUTBOUND]
    assert back
    assert all(missed[call.customer] < call.started_at for call in back)


def test_all_numbers_are_made_up() -> None:
    text = b"\n".join(delivery.body for delivery in deliveries()).decode()
    numbers = re.findall(r"(?<![\d.A-F])(?:\+|%2B)?7\d{10}\b", text)
    assert numbers
    assert all(re.fullmatch(r"(?:\+|%2B)?7700000\d{4}", number) for number in numbers)
    assert all(re.fullmatch(r"\+?7700000\d{4}", call.customer) for call in calls())


def test_a_pace_shortens_everything() -> None:
    slow = until(shift(3, BEGIN), BEGIN + timedelta(hours=1))
    fast = until(shift(3, BEGIN, Profile(pace=10)), BEGIN + timedelta(minutes=6))
    assert len(slow) == pytest.approx(len(fast), rel=0.01)


def test_a_begin_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        shift(1, datetime(2026, 11, 23))  # noqa: DTZ001


class Doors:
    """Takes deliveries as a daemon does."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.arrived = asyncio.Event()
        self.enough = 0
        self.answers: list[int] = []

    async def receive(self, request: web.Request) -> web.Response:
        if self.answers:
            return web.json_response({"title": "no"}, status=self.answers.pop(0))
        token = request.headers.get("Authorization", "")
        self.seen.append((request.match_info["source"], token, await request.read()))
        if len(self.seen) >= self.enough:
            self.arrived.set()
        return web.json_response({"events": 1, "ignored": 0, "rejected": 0})

    @property
    def newest(self) -> float:
        """When the newest of what the PBX told happened, as Unix time."""
        told = (json.loads(body) for source, _, body in self.seen if source == "pbx")
        return max((float(event["Timestamp"]) for event in told), default=0.0)

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_post("/hooks/{source}", self.receive)
        return TestServer(app)


async def test_history_is_sent_at_once_and_the_future_is_not() -> None:
    doors, stop, now = Doors(), asyncio.Event(), datetime.now(UTC)
    begin = now - timedelta(minutes=30)
    past = until(shift(1, begin), now)
    doors.enough = len(past)
    doors.answers = [503, 500]
    async with doors.server() as server:
        running = asyncio.create_task(run(shift(1, begin), str(server.make_url("/")), {"pbx": "secret"}, 1.0, stop))
        async with asyncio.timeout(20):
            await doors.arrived.wait()
            await asyncio.sleep(0.5)
            stop.set()
            await running
    bodies = [body for _, _, body in doors.seen]
    assert set(bodies) >= {delivery.body for delivery in past}
    stamps = [float(json.loads(body)["Timestamp"]) for source, _, body in doors.seen if source == "pbx"]
    assert max(stamps) <= datetime.now(UTC).timestamp()
    assert {(source, token) for source, token, _ in doors.seen} == {("pbx", "Bearer secret"), ("portal", "")}


async def test_a_shift_that_began_long_ago_catches_up_at_speed() -> None:
    doors, stop = Doors(), asyncio.Event()
    begin = datetime.now(UTC) - timedelta(hours=8)
    async with doors.server() as server:
        started = time.monotonic()
        running = asyncio.create_task(run(shift(1, begin), str(server.make_url("/")), {}, 600.0, stop))
        async with asyncio.timeout(60):
            while doors.newest < begin.timestamp() + 1800 + 300:
                await asyncio.sleep(0.1)
        stop.set()
        async with asyncio.timeout(30):
            await running
    # The first half hour comes at once; after it the shift is not ahead of its speed.
    assert doors.newest - begin.timestamp() < 1800 + 600 * (time.monotonic() - started) + 100


async def test_a_refusal_ends_the_run() -> None:
    doors, begin = Doors(), datetime.now(UTC) - timedelta(minutes=30)
    doors.answers = 1000 * [403]
    async with doors.server() as server:
        with pytest.raises(ReplayError, match="answered 403: no"):
            await run(shift(1, begin), str(server.make_url("/")), {}, 1.0, asyncio.Event())
