"""Rosters: who was planned when, from tables and calendars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from callkpi.config import Agent, Person, ShiftPlan, Tenant
from callkpi.people import rosters
from tests.world import World

BERLIN = ZoneInfo("Europe/Berlin")
TENANT = Tenant(
    timezone="Europe/Berlin",
    agents={"1001": Agent("Dana"), "1002": Agent("Erik"), "1009": Agent("Gita"), "1010": Agent("Kim")},
    people={"hanna": Person("Hanna Berg", ids=("pbx:58", "portal:7")), "kim": Person("Kim Lee", ids=("pbx:60",))},
    shifts={"night": ShiftPlan(hours="20:00-08:00")},
)
#: Whom the store knows.
SEEN = {"native:f": "Fay", "pbx:1001": "Dana", "pbx:70": "70", "portal:70": "70 (portal)", "portal:71": "Igor"}
SEEN |= {"pbx:80": "Olga", "portal:80": "Oleg"}
TODAY = date(2026, 10, 20)
WEEKLY = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//plan//EN
BEGIN:VEVENT
UID:night-dana
DTSTART;TZID=Europe/Berlin:20261019T200000
DTEND;TZID=Europe/Berlin:20261020T080000
RRULE:FREQ=WEEKLY;COUNT=4
EXDATE;TZID=Europe/Berlin:20261026T200000
SUMMARY:Dana
END:VEVENT
BEGIN:VEVENT
UID:night-dana
RECURRENCE-ID;TZID=Europe/Berlin:20261102T200000
DTSTART;TZID=Europe/Berlin:20261102T220000
DTEND;TZID=Europe/Berlin:20261103T080000
SUMMARY:Dana
END:VEVENT
BEGIN:VEVENT
UID:both
DTSTART:20261024T180000Z
DTEND:20261025T070000Z
SUMMARY:Long night
ATTENDEE;CN=Dana:mailto:dana@example.com
ATTENDEE;CUTYPE=ROOM;CN=Room 4:mailto:room4@example.com
ATTENDEE;CN=igor:mailto:igor@example.com
END:VEVENT
BEGIN:VEVENT
UID:cancelled
STATUS:CANCELLED
DTSTART:20261024T180000Z
DTEND:20261025T070000Z
SUMMARY:Erik
END:VEVENT
END:VCALENDAR
"""


def told(roster: rosters.Roster) -> list[str]:
    return [
        f"{p.agent} {p.begin.astimezone(BERLIN):%m-%d %H:%M} - {p.end.astimezone(BERLIN):%m-%d %H:%M} {p.shift}".strip()
        for p in roster.planned
    ]


def read(text: str, name: str = "plan.csv") -> rosters.Roster:
    return rosters.read(text, name, TENANT, (None, None), TODAY, SEEN)


def test_a_table_names_times_hours_or_shifts() -> None:
    roster = read(
        "\ufeffAgent;Date;Hours;Shift;Begin;End\n"
        "Dana;2026-10-24;;night;;\n"
        "1002;2026-10-25;09:00-17:00;;;\n"
        "Fay;;;late;2026-10-25 18:00;2026-10-25T23:00+01:00\n"
    )
    assert told(roster) == [
        "1001 10-24 20:00 - 10-25 08:00 night", "1002 10-25 09:00 - 10-25 17:00",
        "native:f 10-25 18:00 - 10-25 23:00 late",
    ]  # fmt: skip
    assert roster.planned[0].end - roster.planned[0].begin == timedelta(hours=13), "the clocks are changed that night"
    assert (roster.begin, roster.end) == (
        datetime(2026, 10, 23, 22, tzinfo=UTC),
        datetime(2026, 10, 25, 23, tzinfo=UTC),
    )


def test_a_calendar_repeats_with_exceptions_by_the_clock() -> None:
    roster = read(WEEKLY, "plan.ics")
    assert told(roster) == [
        "1001 10-19 20:00 - 10-20 08:00", "1001 10-24 20:00 - 10-25 08:00 Long night",
        "portal:71 10-24 20:00 - 10-25 08:00 Long night", "1001 11-02 22:00 - 11-03 08:00",
        "1001 11-09 20:00 - 11-10 08:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,from\n", "line 1: needs the columns agent, and begin and end"),
        ("agent,date,shift\nDana,2026-10-24,late\n", "line 2: shift: there is no 'late' on 2026-10-24"),
        ("agent,date,hours\nDana,24.10.2026,09:00-17:00\n", "line 2: date: '24.10.2026' must be like 2026-11-23"),
        ("agent,begin,end\nDana,2026-10-24 09:00,2026-10-24 08:00\n", "line 2: must end after it begins"),
        ("agent,begin,end\n,2026-10-24 09:00,2026-10-24 18:00\n", "line 2: names no agent"),
        ("agent,date,hours\n1001,2026-10-24,09:00-17:00\nDana,2026-10-24,09:00-18:00\n",
         "plan.csv: 1001 is planned twice from 2026-10-24 09:00"),
        ("agent,date,hours\n1001,2026-10-24,09:00-17:00\nHana Berg,2026-10-24,09:00-18:00\n",
         "line 3: agent: 'Hana Berg' is nobody of agents or people (did you mean 'Hanna Berg'?)"),
        ("agent,date,hours\nkim,2026-10-24,09:00-17:00\n", "line 2: agent: 'kim' may be 1010 or pbx:60; write that"),
        ("agent,date,hours\n80,2026-10-24,09:00-17:00\n", "line 2: agent: '80' may be pbx:80 or portal:80"),
        (WEEKLY.replace("CN=igor", "CN=Guest"), "event 'Long night' of 2026-10-24 20:00: agent: 'Guest' is nobody"),
        ("BEGIN:VCALENDAR\nnonsense", "no calendar that can be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(rosters.BadRoster) as refused:
        read(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("told", "agent"),
    [
        ("1001", "1001"), ("dana", "1001"), ("pbx:1001", "1001"), ("hanna", "pbx:58"), ("HANNA BERG", "pbx:58"),
        ("portal:7", "pbx:58"), ("f", "native:f"), ("native:f", "native:f"), ("Igor", "portal:71"), ("71", "portal:71"),
        ("portal:70", "portal:70"), ("70", "pbx:70"), ("70 (portal)", "portal:70"),
    ],
)  # fmt: skip
def test_an_agent_is_named_by_any_id_by_name_or_by_a_persons_key(told: str, agent: str) -> None:
    assert [each.agent for each in read(f"agent,date,hours\n{told},2026-10-24,09:00-17:00\n").planned] == [agent]


def test_two_ids_of_a_person_are_one_person_in_a_roster() -> None:
    with pytest.raises(rosters.BadRoster, match="pbx:58 is planned twice"):
        read("agent,date,hours\nhanna,2026-10-24,09:00-17:00\nportal:7,2026-10-24,09:00-18:00\n")


def test_where_nobody_is_known_yet_agents_are_called_as_the_file_calls_them() -> None:
    table = "agent,date,hours\nDana,2026-10-24,09:00-17:00\n"
    roster = rosters.read(table, "plan.csv", Tenant(timezone="Europe/Berlin"), (None, None), TODAY)
    assert [each.agent for each in roster.planned] == ["Dana"]


async def test_read_again_a_roster_replaces_the_time_that_it_covers(world: World, pool: asyncpg.Pool) -> None:
    table = "agent,date,hours\nDana,2026-10-20,08:00-16:00\nErik,2026-10-20,12:00-20:00\nDana,2026-10-22,08:00-16:00\n"
    for text in (table, table, "agent,date,hours\nErik,2026-10-20,14:00-20:00\n"):
        await rosters.save(pool, "acme", read(text))
    begin, end = datetime(2026, 10, 20, 6, tzinfo=UTC), datetime(2026, 10, 20, 16, tzinfo=UTC)
    kept = await rosters.planned(pool, "acme", begin, end + timedelta(days=5))
    assert told(rosters.Roster(tuple(kept), begin, end)) == [
        "1002 10-20 14:00 - 10-20 20:00", "1001 10-22 08:00 - 10-22 16:00",
    ]  # fmt: skip
