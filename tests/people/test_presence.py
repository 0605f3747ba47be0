"""Time in state: what sources and calls tell of people, counted against a painting of every moment by hand."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calls.model import AGENT_STREAM, CallEvent, Direction, Kind
from callkpi.database import store
from callkpi.people.presence import Lapse, Times, to_ms
from callkpi.projection.batch import Projector
from callkpi.sources.base import digest
from callkpi.upkeep.rebuilding import refold
from tests.stand_ins.readers import connect_reader, publish, use
from tests.stand_ins.truth import FILES
from tests.world import World, capture_lines, sample, test_settings

STATES = ("available", "ringing", "talking", "hold", "wrap_up", "paused", "busy", "logged_in", "outside")
#: An evening before midnight of the centre (19:00 UTC), seven seconds after a quarter of an hour.
T0 = datetime(2026, 11, 20, 18, 30, 7, tzinfo=UTC)


def at(minutes: float) -> float:
    return (T0 + timedelta(minutes=minutes)).timestamp()


def window(begin: float, end: float) -> tuple[datetime, datetime]:
    return T0 + timedelta(minutes=begin), T0 + timedelta(minutes=end)


async def tell(world: World, *events: dict[str, Any]) -> None:
    await world.send_json("native", *events)
    await world.project()


def state(minutes: float, state: str, agent: str = "dana", **facts: Any) -> dict[str, Any]:
    return {"call_id": "", "kind": "agent_state", "agent": agent, "state": state, "at": at(minutes), **facts}


def talk(begin: float, end: float, agent: str = "dana", *, rings: float = 0, **facts: Any) -> list[dict[str, Any]]:
    call = {"call_id": f"{agent}-{begin}", "agent": agent, "leg": "1", "direction": "inbound"}
    return [
        {**call, "kind": "ringing", "at": at(begin - rings)},
        {**call, "kind": "answered", "at": at(begin)},
        {**call, "kind": "ended", "at": at(end), **facts},
        {"call_id": call["call_id"], "kind": "ended", "at": at(end), "cause": "answered"},
    ]


def minutes(times: Times) -> dict[str, float]:
    """States in which any time was spent, in minutes."""
    return {name: value / 60 for name in STATES if (value := times.seconds(name))}


async def spent(world: World, begin: float, end: float, person: str = "dana") -> dict[str, float]:
    assert await world.findings() == []
    return minutes((await world.reports.times_in_state("acme", *window(begin, end)))[person])


# -- what counts as what ----------------------------------------------------------------------------------


async def test_log_in_pause_and_call_make_up_the_time_to_the_second(world: World) -> None:
    await tell(world, state(0, "available"), *talk(10, 12.5, rings=0.5), state(20, "paused", reason="lunch"),
               state(50, "available"), state(60, "offline"))  # fmt: skip
    times = (await world.reports.times_in_state("acme", *window(0, 90)))["dana"]
    assert minutes(times) == {"available": 27, "ringing": 0.5, "talking": 2.5, "paused": 30, "logged_in": 60}
    assert times.paused_by_reason == {"lunch": 1800.0} and times.offline_seconds == 1800.0
    assert times.occupancy == 2.5 / 30 and times.utilisation == 2.5 / 60
    assert times.hold_seconds is None and times.wrap_up_seconds is None


async def test_a_pause_ends_no_conversation_and_a_ring_ends_no_pause(world: World) -> None:
    await tell(world, state(0, "available"), *talk(5, 15), state(10, "paused", reason="break"), *talk(31, 32, rings=1))
    assert await spent(world, 0, 40) == {"available": 5, "talking": 11, "paused": 24, "logged_in": 40}


async def test_who_is_free_in_one_queue_is_not_paused_and_each_minute_counts_once(world: World) -> None:
    await tell(world, state(0, "available", queue="sales"), state(0, "available", queue="support"),
               state(10, "paused", queue="sales"), state(20, "paused", queue="support"),
               state(30, "offline", queue="sales"), state(40, "offline", queue="support"))  # fmt: skip
    assert await spent(world, 0, 60) == {"available": 20, "paused": 20, "logged_in": 40}


async def test_hold_and_wrap_up_are_where_they_were_across_a_quarter_of_an_hour(world: World) -> None:
    held = [{"call_id": "dana-10", "agent": "dana", "leg": "1", "kind": kind, "at": at(minute)}
            for kind, minute in (("held", 12), ("resumed", 20))]  # fmt: skip
    await tell(world, state(0, "available"), *talk(10, 25, wrap_seconds=120), *held)
    assert await spent(world, 0, 30) == {"available": 13, "talking": 7, "hold": 8, "wrap_up": 2, "logged_in": 30}
    first, second = await spent(world, 10, 14 + 53 / 60), await spent(world, 14 + 53 / 60, 25)
    assert (first["talking"], round(first["hold"] * 60)) == (2, 173) and round(second["hold"] * 60) == 307


async def test_a_hold_of_which_only_the_length_is_told_is_part_of_the_conversation(world: World) -> None:
    await tell(world, state(0, "available"), *talk(10, 20, talk_seconds=480, hold_seconds=120))
    assert await spent(world, 0, 30) == {"available": 20, "talking": 8, "hold": 2, "logged_in": 30}


async def test_states_that_a_source_tells_itself_need_no_call(world: World) -> None:
    told = ("ringing", "talking", "hold", "wrap_up", "busy", "available", "offline")
    await tell(world, *(state(5 * n, name) for n, name in enumerate(told)))
    each = dict.fromkeys(("available", "ringing", "talking", "hold", "wrap_up", "busy"), 5.0)
    assert await spent(world, 0, 60) == {**each, "logged_in": 30}


async def test_talk_of_somebody_who_is_not_logged_in_is_told_and_in_no_share(world: World) -> None:
    await tell(
        world, *talk(0, 10), *talk(20, 30, "erlan"), state(25, "available", "erlan"), state(40, "offline", "erlan")
    )
    people = await world.reports.times_in_state("acme", *window(0, 60))
    assert minutes(people["dana"]) == {"talking": 10, "outside": 10}
    assert (people["dana"].occupancy, people["dana"].utilisation, people["dana"].offline_seconds) == (None, None, None)
    assert minutes(people["erlan"]) == {"talking": 10, "outside": 5, "available": 10, "logged_in": 15}
    assert people["erlan"].occupancy == people["erlan"].utilisation == 5 / 15


async def test_the_wrap_up_time_of_a_member_follows_his_conversations(world: World) -> None:
    member = {"Queue": "sales", "MemberName": "Dana", "Interface": "PJSIP/1003"}
    told = {"Event": "QueueMemberAdded", "Timestamp": at(0), "Wrapuptime": "90", "Paused": "0", **member}
    caller = {"Uniqueid": "1.1", "Linkedid": "1.1", "Channel": "PJSIP/trunk-1", **member, "CallerIDNum": "77010000001"}
    await world.send_json(
        "pbx", told,
        {**caller, "Event": "QueueCallerJoin", "Timestamp": at(1)},
        {**caller, "Event": "AgentCalled", "DestUniqueid": "1.2", "Timestamp": at(1)},
        {**caller, "Event": "AgentConnect", "DestUniqueid": "1.2", "HoldTime": "60", "RingTime": "60",
         "Timestamp": at(2)},
        {**caller, "Event": "AgentComplete", "DestUniqueid": "1.2", "HoldTime": "60", "TalkTime": "240",
         "Reason": "agent", "Timestamp": at(6)},
        {**caller, "Event": "Hangup", "Timestamp": at(6), "Cause": "16"},
    )  # fmt: skip
    await world.project()
    found = await spent(world, 0, 10, "Dana")
    assert found == {"available": 3.5, "ringing": 1, "talking": 4, "wrap_up": 1.5, "logged_in": 10}


@pytest.mark.parametrize(
    ("counts", "share"), [("available", 4 / 10), ("work", 5 / 10), ("out", 4 / 9)], ids=lambda value: str(value)
)
async def test_what_a_ringing_phone_is_can_be_chosen(world: World, counts: str, share: float) -> None:
    use(world, test_settings(ringing_counts=config.RingingCounts(counts)))
    await tell(world, state(0, "available"), *talk(2, 6, rings=1), state(10, "offline"))
    times = (await world.reports.times_in_state("acme", *window(0, 10)))["dana"]
    assert times.occupancy == pytest.approx(share)


# -- what never ends --------------------------------------------------------------------------------------


async def test_a_state_that_goes_on_is_counted_up_to_the_moment_of_reading(world: World) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=40)
    call = {"call_id": "open", "agent": "dana", "leg": "1", "direction": "inbound"}
    await world.send_json("native", {**state(0, "available"), "at": begin.timestamp()},
                          {**call, "kind": "answered", "at": begin.timestamp() + 600})  # fmt: skip
    times = (await world.reports.times_in_state("acme", begin - timedelta(hours=1), begin + timedelta(days=1))).get(
        "dana"
    )
    assert times is None  # nothing of it is projected yet
    await world.project()
    times = (await world.reports.times_in_state("acme", begin - timedelta(hours=1), begin + timedelta(days=1)))["dana"]
    assert times.available_seconds == pytest.approx(600, abs=0.01)
    assert times.talking_seconds == pytest.approx((datetime.now(UTC) - begin).total_seconds() - 600, abs=5)
    assert sample(await world.metrics(), "callkpi_agent_occupancy_ratio", agent="dana") is not None


async def test_nobody_works_longer_than_the_hours_for_which_a_state_holds(world: World) -> None:
    use(world, test_settings(agent_state_hours=3.0))
    await tell(world, state(0, "available"), *talk(170, 190))
    assert await spent(world, 0, 600) == {"available": 170, "talking": 20, "logged_in": 180, "outside": 10}


async def test_who_forgot_to_log_out_is_offline_at_the_hour_of_the_local_clock(world: World) -> None:
    use(world, test_settings(agents_offline_at="00:00"))
    await tell(world, state(0, "available"))
    assert await spent(world, 0, 600) == {"available": 29 + 53 / 60, "logged_in": 29 + 53 / 60}


def test_the_closing_hour_is_found_on_days_when_the_clocks_change() -> None:
    lapse = Lapse.of(config.Tenant(timezone="Europe/Berlin", agents_offline_at="02:30", agent_state_hours=48))
    for told, ends in ((datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
                       (datetime(2026, 10, 25, 3, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC))):  # fmt: skip
        assert lapse.until(to_ms(told)) == to_ms(ends)


async def test_a_day_of_25_hours_has_25_hours_and_its_quarters_are_full(world: World) -> None:
    """Berlin's clocks went back on 2026-10-25."""
    use(world, test_settings(timezone="Europe/Berlin", agent_state_hours=100.0))
    day = datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC)
    await tell(world, {**state(0, "available"), "at": day[0].timestamp() - 3600})
    times = (await world.reports.times_in_state("acme", *day))["dana"]
    assert times.available_seconds == times.logged_in_seconds == 25 * 3600 and times.offline_seconds == 0
    rows = await world.pool.fetch("SELECT available_ms FROM agent_times WHERE at >= $1 AND at < $2", *day)
    assert [row["available_ms"] for row in rows] == [900_000] * 100


async def test_an_end_that_never_came_is_no_conversation_of_hours(world: World) -> None:
    await tell(world, state(0, "available"), *talk(5, 10)[:2], *talk(60, 61))
    assert await spent(world, 0, 120) == {"available": 119, "talking": 1, "logged_in": 120}


async def test_a_late_event_mends_the_quarters_that_it_reaches_into(world: World) -> None:
    await tell(world, state(0, "available"), state(240, "offline"))
    assert await spent(world, 0, 300) == {"available": 240, "logged_in": 240}
    world.projector = Projector(world.pool, world.settings, world.health)  # as after a restart
    await tell(world, state(100, "paused", reason="training"), state(130, "available"))
    assert await spent(world, 0, 300) == {"available": 210, "paused": 30, "logged_in": 240}
    await tell(world, *talk(110, 120), state(-60, "available"))
    assert await spent(world, -60, 300) == {"available": 270, "paused": 20, "talking": 10, "logged_in": 300}


async def test_the_doctor_sees_time_that_nobody_told(world: World) -> None:
    await tell(world, state(0, "available"), *talk(1, 2), state(60, "offline"))
    assert await world.findings() == []
    await world.pool.execute(
        "UPDATE agent_times SET available_ms = available_ms + 1 WHERE at = $1", T0.replace(minute=45, second=0)
    )
    await world.pool.execute("UPDATE agent_legs SET end_ms = end_ms + 1")
    assert [line.partition(":")[0] for line in await world.findings()] == [
        "time in state of native", "call native/dana-1"
    ]  # fmt: skip


# -- who is who -------------------------------------------------------------------------------------------

DANA = config.Person(name="Dana A.", ids=("native:58", "second:7", "1003"), team="sales")
SECOND = config.Source(kind=config.SourceKind.NATIVE, tenant="acme", token="other-secret")


def two_sources(**tenant: Any) -> config.Settings:
    settings = test_settings(**tenant)
    return replace(settings, sources={**settings.sources, "second": SECOND})


async def say(world: World, source: str, *events: dict[str, Any]) -> None:
    """As :func:`tell`, by any source of native events."""
    told = []
    for raw in events:
        facts = {name: value for name, value in raw.items() if name not in ("at", "kind", "call_id", "direction")}
        moment = datetime.fromtimestamp(raw["at"], UTC)
        kind = Kind(raw["kind"])
        call_id = AGENT_STREAM + raw["agent"] if kind is Kind.AGENT_STATE else raw["call_id"]
        told.append(CallEvent(tenant="acme", source=source, call_id=call_id, kind=kind, at=moment,
                              event_id=digest(source, str(sorted(raw.items()))), received_at=moment,
                              direction=Direction.INBOUND if "direction" in raw else None, **facts))  # fmt: skip
    await world.append(told)
    await world.project()


async def test_equal_ids_of_two_sources_are_two_people_until_somebody_says_otherwise(world: World, dsn: str) -> None:
    use(world, two_sources())
    await publish(world)
    await say(world, "native", state(0, "available", "58"), *talk(5, 10, "58"), state(30, "offline", "58"))
    await say(world, "second", *talk(40, 41, "58"))
    people = await world.reports.times_in_state("acme", *window(0, 60))
    assert minutes(people["58"]) == {"available": 25, "talking": 5, "logged_in": 30}
    assert minutes(people["58 (second)"]) == {"talking": 1, "outside": 1}
    handled = {name: row["handled"] for name, row in (await world.kpi("agent", *window(0, 60))).items()}
    assert handled == {"58": 1, "58 (second)": 1}
    reader = await connect_reader(dsn)
    rows = await reader.fetch("SELECT agent, handled FROM callkpi_views.agents('acme', $1, $2)", *window(0, 60))
    await reader.close()
    assert {row["agent"]: row["handled"] for row in rows} == handled


async def test_a_portal_names_its_own_users_and_nobody_else(world: World) -> None:
    use(world, replace(two_sources(), sources={**two_sources().sources, "portal": config.Source(
        kind=config.SourceKind.BITRIX24, tenant="acme", rest_url="https://a.bitrix24.kz/rest/1/s3cret/")}))  # fmt: skip
    names = [("agent", "58", "Ivan"), ("member", "58", "4"), ("department", "4", "Sales")]
    await world.pool.execute(
        store.query("reconcile", "write_names"), "acme", "portal", *map(list, zip(*names, strict=True))
    )
    await say(world, "native", *talk(5, 10, "58"))
    await say(world, "portal", *talk(20, 22, "58"))
    assert minutes((await world.reports.times_in_state("acme", *window(0, 60)))["58"])["talking"] == 5
    assert minutes((await world.reports.times_in_state("acme", *window(0, 60)))["Ivan"])["talking"] == 2
    teams = await world.kpi("team", *window(0, 60))
    assert {team: row["handled"] for team, row in teams.items()} == {"": 1, "Sales": 1}


async def test_one_person_of_two_phones_is_never_in_two_states(world: World) -> None:
    use(world, two_sources(people={"dana": DANA}, teams={"sales": config.Team(name="Sales")}))
    await say(world, "native", state(0, "available", "58"), *talk(5, 10, "58"), state(60, "offline", "58"))
    await say(world, "second", state(30, "paused", "7", reason="lunch"), *talk(8, 20, "7"), *talk(70, 75, "1003"))
    await say(world, "second", state(40, "offline", "7"), state(90, "paused", "7"), state(95, "offline", "7"))
    times = await world.reports.times_in_state("acme", *window(0, 120))
    assert times.keys() == {"Dana A."}
    assert minutes(times["Dana A."]) == {"available": 45, "talking": 20, "paused": 5, "logged_in": 65, "outside": 5}
    row = (await world.kpi("agent", *window(0, 120)))["Dana A."]
    assert (row["handled"], row["talk_seconds"], row["talking_seconds"]) == (3, 22 * 60, 20 * 60)
    # Another day somebody edits the names: history is read anew, and nothing of it was written anew.
    before = await world.tables()
    use(world, two_sources(people={"dana": replace(DANA, name="Dana B.", ids=("native:58",))}))
    times = await world.reports.times_in_state("acme", *window(0, 120))
    assert minutes(times["Dana B."]) == {"available": 55, "talking": 5, "logged_in": 60}
    assert minutes(times["7"])["talking"] == 12 and await world.tables() == before


async def test_a_team_is_the_sum_of_its_people(world: World) -> None:
    use(world, test_settings(
        people={"dana": config.Person(ids=("native:dana",), team="sales")},
        agents={"erlan": config.Agent(name="Erlan", team="sales")},
        teams={"sales": config.Team(name="Sales"), "support": config.Team(agents=("marat",))},
    ))  # fmt: skip
    for n, agent in enumerate(("dana", "erlan", "marat", "stranger")):
        await tell(world, state(0, "available", agent), *talk(10, 11 + n, agent), state(30, "offline", agent))
    rows = await world.kpi("team", *window(0, 60))
    assert {team: (row["handled"], row["talking_seconds"] / 60) for team, row in rows.items()} == {
        "Sales": (2, 3), "support": (1, 3), "": (1, 4)
    }  # fmt: skip
    assert rows["Sales"]["occupancy"] == 3 / 60 and rows["Sales"]["offline_seconds"] == 3600
    assert set(await world.kpi("agent", *window(0, 60), team="Sales")) == {"dana", "Erlan"}
    one = await world.kpi("team", *window(0, 60), agent="erlan")
    assert (one.keys(), one["Sales"]["talking_seconds"]) == ({"Sales"}, 120)
    page = await world.metrics()
    assert sample(page, "callkpi_team_agents", team="Sales", state="offline") == 2


def test_a_person_that_can_not_be_is_refused_with_what_to_write(tmp_path: Any) -> None:
    path = tmp_path / "callkpi.toml"
    path.write_text(
        '[sources.pbx]\nkind = "asterisk"\ntoken = "0123456789abcdef"\n'
        '[tenants.default.people.dana]\nids = ["pbx:58", "portal:7"]\nteam = "sale"\n'
        '[tenants.default.people.erlan]\nids = ["pbx:58"]\n[tenants.default.teams.sales]\nagents = ["1003"]\n'
        '[tenants.default.teams.other]\nagents = ["1003"]\n'
    )
    with pytest.raises(config.ConfigError) as refused:
        config.load(path, {})
    problems = "\n".join(refused.value.problems)
    for words in ("'portal:7' must be SOURCE:ID", "'pbx:58' is in people.dana too", "'1003' is in teams.sales too",
                  "'sale' is none of the teams (sales, other)"):  # fmt: skip
        assert words in problems


# -- the recorded day -------------------------------------------------------------------------------------


class Canvas:
    """The milliseconds of a window, painted by hand: later colours cover earlier ones."""

    def __init__(self, begin: float, end: float) -> None:
        self.begin, self.length = begin, round((end - begin) * 1000)
        self.queues: dict[str, bytearray] = defaultdict(lambda: bytearray(self.length))
        self.rings, self.talks = bytearray(self.length), bytearray(self.length)

    def paint(self, layer: bytearray, begin: float, end: float, colour: int = 1) -> None:
        first, last = (min(max(round((moment - self.begin) * 1000), 0), self.length) for moment in (begin, end))
        layer[first:last] = bytes([colour]) * (last - first)

    def counted(self) -> Counter[str]:
        """Colours of a queue: 2 is free, 1 is paused."""
        total: Counter[str] = Counter()
        best = bytes(map(max, *self.queues.values(), bytes(self.length)))
        for present, rings, talks in zip(best, self.rings, self.talks, strict=True):
            base = ("", "paused", "available")[present]
            total["talking" if talks else "ringing" if rings and base != "paused" else base] += 1
            total["logged_in"] += bool(present)
        del total[""]
        return total


def floor(lines: Sequence[str], begin: float, end: float) -> dict[str, Counter[str]]:
    """The time in state of every agent of a queue_log, from its lines alone."""
    people: dict[str, Canvas] = defaultdict(lambda: Canvas(begin, end))
    connected: dict[tuple[str, str], float] = {}
    for line in lines:
        clock, call, queue, agent, verb, *data = line.split("|")
        now = float(clock)
        if verb in ("ADDMEMBER", "REMOVEMEMBER", "PAUSE", "UNPAUSE"):
            colour = {"ADDMEMBER": 2, "UNPAUSE": 2, "PAUSE": 1, "REMOVEMEMBER": 0}[verb]
            people[agent].paint(people[agent].queues[queue], now, end, colour)
        elif verb in ("RINGNOANSWER", "RINGCANCELED"):
            people[agent].paint(people[agent].rings, now - float(data[0]) / 1000, now)
        elif verb == "CONNECT":
            people[agent].paint(people[agent].rings, now - float(data[2]), now)
            connected[call, agent] = now
        elif verb in ("COMPLETEAGENT", "COMPLETECALLER", "BLINDTRANSFER"):
            people[agent].paint(people[agent].talks, connected[call, agent], now)
    return {agent: canvas.counted() for agent, canvas in people.items() if canvas.queues}


async def test_the_recorded_day_is_the_one_that_its_queue_log_gives(world: World) -> None:
    lines = capture_lines(FILES["qlog"])
    first, last = float(lines[0].split("|")[0]), float(lines[-1].split("|")[0])
    begin, end = (datetime.fromtimestamp(moment, UTC) for moment in (first + 30.25, last - 20.5))
    await world.send_lines("qlog", lines)
    await world.project()
    people = await world.reports.times_in_state("acme", begin, end)
    expected = floor(lines, begin.timestamp(), end.timestamp())
    assert people.keys() == expected.keys() and len(people) == 6
    for agent, counted in expected.items():
        assert {name: round(value * 60_000) for name, value in minutes(people[agent]).items()} == counted, agent
        assert counted["paused"] > 1000 and counted["talking"] > 10_000


async def test_the_manager_interface_tells_the_same_day_within_its_clock(world: World) -> None:
    told = {}
    lines = capture_lines(FILES["qlog"])
    first, last = float(lines[0].split("|")[0]), float(lines[-1].split("|")[0])
    for source, file in FILES.items():
        await world.clear()
        await world.send_lines(source, capture_lines(file))
        await world.project()
        days = (datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC))
        told[source] = await world.reports.times_in_state("acme", *days)
    for agent, times in told["qlog"].items():
        other = told["pbx"][agent]
        assert other.logged_in_seconds == pytest.approx(times.logged_in_seconds, abs=1)
        assert other.talking_seconds == pytest.approx(times.talking_seconds, abs=3)
        assert other.paused_seconds == pytest.approx(times.paused_seconds, abs=4)
        assert other.wrap_up_seconds is None  # wrapuptime is the queue's here: no event tells it


# -- any traffic ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """Random people: what is told of two ids of one person and of a third id, in seconds since T0."""

    events: list[CallEvent]
    states: list[tuple[str, str, int, str]]  #: id, queue, second, state
    legs: list[tuple[str, int, int, int]]  #: id, rings from, talks from, ends


IDS = ("native:a", "second:a", "native:b")
LENGTH = 3 * 3600
HOLDS = 2 * 3600  #: a state that nothing renews


@st.composite
def day(draw: st.DrawFn) -> Day:
    events, states, legs = [], [], []
    for who in IDS:
        source, _, agent = who.partition(":")
        seconds = draw(st.lists(st.integers(0, LENGTH), max_size=6, unique=True))
        for n, second in enumerate(seconds):
            queue, name = (
                draw(st.sampled_from(["", "q"])),
                draw(st.sampled_from(["available", "paused", "busy", "offline"])),
            )
            states.append((who, queue, second, name))
            events.append(
                _event(source, AGENT_STREAM + agent, Kind.AGENT_STATE, second, n, agent, queue=queue, state=name)
            )
        for n in range(draw(st.integers(0, 3))):
            rings = draw(st.integers(0, LENGTH))
            talks = rings + draw(st.integers(0, 900))
            ends = talks + draw(st.integers(1, 2400))
            legs.append((who, rings, talks, ends))
            facts: dict[str, Any] = {"leg": "1", "direction": Direction.INBOUND}
            call = f"{agent}{n}"
            events += [_event(source, call, Kind.RINGING, rings, 0, agent, **facts),
                       _event(source, call, Kind.ANSWERED, talks, 1, agent, **facts),
                       _event(source, call, Kind.ENDED, ends, 2, agent, **facts),
                       _event(source, call, Kind.ENDED, ends, 3, "", cause="answered")]  # fmt: skip
    return Day(events, states, legs)


def _event(source: str, call: str, kind: Kind, second: int, n: int, agent: str, **facts: Any) -> CallEvent:
    moment = T0 + timedelta(seconds=second)
    return CallEvent(tenant="acme", source=source, call_id=call, kind=kind, at=moment, agent=agent,
                     event_id=digest(source, call, kind, n), received_at=moment, **facts)  # fmt: skip


def by_hand(told: Day, ids: Sequence[str], begin: int, end: int) -> Counter[str]:
    """Every second of a window, looked at by itself."""
    total: Counter[str] = Counter()
    for second in range(begin, end):
        bases = []
        for who, queue in {(who, queue) for who, queue, _, _ in told.states if who in ids}:
            last = max(
                ((s, name) for w, q, s, name in told.states if (w, q) == (who, queue) and s <= second), default=None
            )
            if last is not None and last[1] != "offline" and second < last[0] + HOLDS:
                bases.append(last[1])
        base = min(bases, key=["available", "busy", "paused"].index, default="")
        talks = any(who in ids and talk <= second < over for who, _, talk, over in told.legs)
        rings = any(who in ids and ring <= second < talk for who, ring, talk, _ in told.legs)
        name = "talking" if talks else "ringing" if rings and base in ("", "available") else base
        total[name] += 1
        total["logged_in"] += bool(base)
        total["outside"] += name == "talking" and not base
    return Counter({name: count for name, count in total.items() if count and name})


@pytest.fixture
async def reader(world: World, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    people = {"dana": config.Person(name="Dana", ids=IDS[:2])}
    use(world, two_sources(people=people, agent_state_hours=HOLDS / 3600))
    await publish(world)
    connection = await connect_reader(dsn)
    yield connection
    await connection.close()


@given(day(), st.lists(st.integers(-600, LENGTH + 3600), min_size=2, max_size=2, unique=True), st.randoms())
async def test_any_traffic_in_any_order_is_what_every_second_says(
    world: World, reader: asyncpg.Connection, told: Day, cuts: list[int], chance: random.Random
) -> None:
    await world.clear()
    await publish(world)
    await world.append(told.events)
    await world.project()
    expected, tables = sorted(cuts), await world.tables()
    moments = tuple(T0 + timedelta(seconds=second) for second in expected)
    people = await world.reports.times_in_state("acme", moments[0], moments[1])
    for name, ids in (("Dana", IDS[:2]), ("b", IDS[2:])):
        found = {key: round(value * 60) for key, value in minutes(people.get(name, Times())).items()}
        assert found == by_hand(told, ids, *expected), name
    rows = {
        row["name"]: row
        for row in await reader.fetch("SELECT * FROM callkpi_views.agent_times('acme', $1, $2)", *moments)
    }
    for name, times in people.items():
        row = times.as_row()
        assert {key: rows[name][key] for key in row if key in rows[name]} == {
            k: v for k, v in row.items() if k in rows[name]
        }
    assert await world.findings() == []
    # In another order, some of it twice, in pieces, and once more from the journal.
    shuffled = told.events + chance.sample(told.events, len(told.events) // 3)
    chance.shuffle(shuffled)
    await world.clear()
    for piece in range(0, len(shuffled), 5):
        await world.append(shuffled[piece : piece + 5])
        await world.project()
    assert await world.tables() == tables
    await refold(world.pool, world.projector, lambda _done, _total: None)
    assert await world.tables() == tables


@given(day(), st.lists(st.integers(0, LENGTH), min_size=1, max_size=5, unique=True))
async def test_a_window_is_the_sum_of_its_parts_and_no_longer_than_the_clock(
    world: World, reader: asyncpg.Connection, told: Day, cuts: list[int]
) -> None:
    await world.clear()
    await world.append(told.events)
    await world.project()
    edges = [T0 + timedelta(seconds=second) for second in sorted({0, *cuts, LENGTH})]
    whole = await world.reports.times_in_state("acme", edges[0], edges[-1])
    parts: dict[str, Counter[str]] = defaultdict(Counter)
    for begin, end in pairwise(edges):
        for name, times in (await world.reports.times_in_state("acme", begin, end)).items():
            parts[name].update(times.ms)
            clock = (end - begin).total_seconds() * 1000
            assert sum(times.ms[f"{state}_ms"] for state in STATES[:7]) <= clock
    assert {name: +Counter(times.ms) for name, times in whole.items()} == {
        name: +ms for name, ms in parts.items() if +ms
    }
