"""An afternoon of two teams, of somebody in no team, and of one person whom two sources know."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

ALMATY = timezone(timedelta(hours=5))
DAY = "2026-11-23"

#: Dana is "dana" of one source and "d2" of the other; Zarina takes no call; Aigul is in no team.
SETTINGS = """
[tenants.acme]
timezone = "Asia/Almaty"
region = "KZ"

[tenants.acme.same_call]
by = []

[tenants.acme.people.dana]
name = "Dana"
ids = ["native:dana", "second:d2"]
team = "sales"

[tenants.acme.people.zarina]
ids = ["native:zarina"]
team = "Sales"

[tenants.acme.agents.erlan]
name = "Erlan"
team = "sales"

[tenants.acme.teams.sales]
name = "Sales"

[tenants.acme.teams.support]
agents = ["marat"]

[tenants.acme.queues.first]
name = "Hotline"

[tenants.acme.queues.vip]

[tenants.acme.queues.other]

[tenants.acme.shifts.whole]
hours = "12:00-18:00"

[tenants.acme.shifts.sales]
name = "Sellers"
hours = "12:00-18:00"
team = "sales"

[tenants.acme.shifts.named]
hours = "12:00-18:00"
team = "Sales"

[tenants.acme.shifts.support]
hours = "12:00-18:00"
team = "support"

[tenants.acme.shifts.within]
hours = "12:00-18:00"
team = "sales"
queues = ["first", "vip"]

[tenants.acme.shifts.odd]
hours = "12:06-17:59"
team = "sales"

[tenants.acme.goals.plan]
kpi = "handled"
target = 5
period = "shift"
team = "sales"

[tenants.acme.goals.named]
kpi = "made"
target = 9
period = "shift"
team = "Sales"

[tenants.acme.goals.within]
kpi = "answered"
target = 3
period = "shift"
shift = "within"

[tenants.acme.goals.hotline]
kpi = "missed"
target = 1
direction = "at_most"
period = "shift"
queue = "Hotline"

[tenants.acme.goals.centre]
kpi = "handled"
target = 100
period = "shift"

[sources.native]
kind = "native"
tenant = "acme"
token = "native-secret"

[sources.second]
kind = "native"
tenant = "acme"
token = "native-secret"
"""

Events = list[dict[str, Any]]


def at(clock: str, day: str = DAY) -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=ALMATY)


def _call(number: str, begin: datetime, direction: str, *told: tuple[str, int, dict[str, Any]]) -> Events:
    own = {"call_id": number, "direction": direction, "customer": f"+7701000{number.zfill(4)}", "line": "100"}
    return [
        {**own, "kind": kind, "at": (begin + timedelta(seconds=after)).isoformat(), **facts}
        for kind, after, facts in told
    ]


def inbound(number: str, clock: str, queue: str, *agents: str, talk: int = 60, day: str = DAY) -> Events:
    """A call into a queue that rings at *agents* in turn; the last one takes it, without any it is missed."""
    told: list[tuple[str, int, dict[str, Any]]] = [("queued", 0, {"queue": queue})]
    after = 5
    for turn, agent in enumerate(agents):
        who = {"agent": agent, "leg": str(turn), "queue": queue}
        told.append(("ringing", after, who))
        is_last = turn == len(agents) - 1
        after += 4 if is_last else 20
        told.append(("answered" if is_last else "not_taken", after, who))
    after += talk if agents else 30
    return _call(number, at(clock, day), "inbound", *told, ("ended", after, {"hangup_by": "customer"}))


def outbound(number: str, clock: str, agent: str, *, talk: int = 0) -> Events:
    who = {"agent": agent, "leg": "0"}
    told: list[tuple[str, int, dict[str, Any]]] = [("started", 0, {}), ("ringing", 1, who)]
    told += [("answered", 10, who), ("ended", 10 + talk, {})] if talk else [("not_taken", 29, who), ("ended", 30, {})]
    return _call(number, at(clock), "outbound", *told)


def state(agent: str, clock: str, name: str) -> dict[str, Any]:
    return {"call_id": "", "kind": "agent_state", "agent": agent, "state": name, "at": at(clock).isoformat()}


def native() -> Events:
    """What the first source tells."""
    return [
        state("dana", "11:55", "available"), state("zarina", "12:30", "available"),
        state("marat", "11:55", "available"),
        *inbound("1", "12:05", "first", "dana", talk=120),
        *inbound("2", "12:10", "first", "marat", talk=80),
        *inbound("3", "12:40", "vip", "dana", "erlan", talk=200),
        *inbound("4", "13:20", "first"),
        *inbound("5", "14:00", "first", "aigul", talk=50),
        *inbound("6", "14:20", "other", "erlan", talk=30),
        *outbound("7", "15:00", "erlan"),
        *outbound("8", "15:30", "marat", talk=45),
        *inbound("9", "17:58", "vip", "erlan", talk=300),
        *inbound("10", "17:59", "first", "marat", talk=300),
        # The shift before.
        *inbound("11", "12:05", "first", "dana", day="2026-11-22"),
        *inbound("12", "12:06", "first", "marat", day="2026-11-22"),
        # Before and after the shift.
        *inbound("13", "11:40", "first", "dana"), *inbound("14", "18:10", "first", "dana"),
        state("dana", "18:30", "offline"), state("zarina", "17:30", "offline"), state("marat", "18:30", "offline"),
    ]  # fmt: skip


def second() -> Events:
    """What the other source tells: Dana's other telephone."""
    return outbound("s1", "16:07", "d2", talk=90)
