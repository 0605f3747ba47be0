"""A simulated shift for ``callkpi demo``: what a small call centre's Asterisk and Bitrix24 would send.

Queues (sales, support, vip) come as AMI events in JSON, the direct line and call-backs as Bitrix24 webhooks. The
same seed, begin and profile give the same shift, byte for byte. All numbers are of the made-up range +7 700 000.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from urllib.parse import urlencode

import aiohttp

from callkpi.replay import Target, post, session

#: How much of a shift :func:`run` sends at once, so that no chart begins empty.
HISTORY = timedelta(minutes=30)

_FORM = "application/x-www-form-urlencoded"
_LINES = "application/x-ndjson"
_PORTAL_ZONE = timezone(timedelta(hours=5))
_QUEUES = {"sales": (0.5, "77000000100"), "support": (0.38, "77000000200"), "vip": (0.12, "77000000300")}
_DIRECT_LINE = "77000000400"
#: CALL_FAILED_CODE of calls that ring, and how often of a hundred.
_INBOUND = {"200": 75, "304": 17, "603": 8}
_OUTBOUND = {"200": 70, "304": 18, "486": 7, "603-S": 5}
_PAUSES = ("break", "lunch", "training", "paperwork")
_BATCH = 200


@dataclass(frozen=True, slots=True)
class Agent:
    name: str  #: what Asterisk's queues call the agent
    extension: str
    user_id: str  #: in Bitrix24
    queues: tuple[str, ...]


TEAM = (
    Agent("Aigerim", "1001", "11", ("vip", "sales")),
    Agent("Bolat", "1002", "12", ("sales",)),
    Agent("Dana", "1003", "13", ("sales", "support")),
    Agent("Erlan", "1004", "14", ("sales", "support")),
    Agent("Gulnara", "1005", "15", ("support",)),
    Agent("Marat", "1006", "16", ("support",)),
    Agent("Saule", "1007", "17", ("support", "vip")),
    Agent("Timur", "1008", "18", ("sales", "vip")),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """How busy the shift is. Times are means in seconds; talks and patience vary a lot around them."""

    queue_calls_per_hour: float = 150.0
    direct_calls_per_hour: float = 24.0
    talk: float = 95.0
    patience: float = 90.0
    queue_timeout: float = 180.0
    wrap: float = 12.0
    answers: float = 0.9  #: chance that an agent takes a call that rings
    calls_back: float = 0.65  #: chance that we call a missed customer back
    pace: float = 1.0  #: 10: all of it, talks too, in a tenth of the time, by the events' own clock
    team: tuple[Agent, ...] = TEAM
    asterisk: str = "pbx"  #: names of the two sources
    bitrix24: str = "portal"
    application_token: str = "demo"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to a source's door, and when it is made."""

    at: datetime
    source: str
    content_type: str
    body: bytes


def shift(seed: int, begin: datetime, profile: Profile | None = None) -> Iterator[Delivery]:
    """The deliveries of a shift that begins at *begin* and never ends, in the order of time."""
    if begin.tzinfo is None:
        raise ValueError("begin has no time zone; give an aware datetime")
    return _Shift(random.Random(seed), begin.astimezone(UTC), profile or Profile()).deliveries()


# -- the simulation --------------------------------------------------------------------------------------

_Channel = Mapping[str, str]  #: the AMI headers that name a channel
_Story = Generator[float, None, None]  #: what one person does; yields the seconds until the next thing


@dataclass(frozen=True, eq=False, slots=True)
class _Stay:
    """A caller in a queue."""

    queue: str
    phone: _Channel
    joined: datetime
    leaves_at: float  #: on the shift's own clock
    hangs_up: bool  #: then; else the queue's timeout sends him away


class _Shift:
    """Stories that take turns. An agent is idle or in one story, so nobody is booked twice."""

    def __init__(self, rng: random.Random, begin: datetime, profile: Profile) -> None:
        self._rng, self._begin, self._profile = rng, begin, profile
        self._seconds, self._last = 0.0, begin
        self._serial = count(1)
        self._turns: list[tuple[float, int, _Story]] = []
        self._out: list[Delivery] = []
        self._idle = list(profile.team)
        self._waiting: list[_Stay] = []  #: for whom nobody's phone rings
        self._missed: set[str] = set()

    def deliveries(self) -> Iterator[Delivery]:
        for agent in self._profile.team:
            self._tell(self._agent(agent))
        self._tell(self._arrivals(self._profile.queue_calls_per_hour, self._queue_call))
        self._tell(self._arrivals(self._profile.direct_calls_per_hour, self._direct_call))
        while True:
            yield from self._out
            self._out.clear()
            self._seconds, _, story = heapq.heappop(self._turns)
            self._tell(story)

    def _tell(self, story: _Story) -> None:
        """A story from where it stands to its next pause."""
        pause = next(story, None)
        if pause is not None:
            heapq.heappush(self._turns, (self._seconds + pause, next(self._serial), story))

    def _tick(self) -> datetime:
        """Now, and later than every tick before: a PBX has no two events at one instant."""
        now = self._begin + timedelta(seconds=self._seconds / self._profile.pace)
        self._last = max(now, self._last + timedelta(microseconds=100))
        return self._last

    def _about(self, mean: float) -> float:
        """Skewed as talks are: most are short, some are very long."""
        return max(self._rng.lognormvariate(-0.25, 0.7) * mean, 2.0)

    def _arrivals(self, per_hour: float, call: Callable[[str], _Story]) -> _Story:
        """Calls of strangers, and now and then of one whom we missed and who tries again."""
        while True:
            yield self._rng.expovariate(per_hour / 3600)
            number = f"+7700000{self._rng.randrange(1000, 10000)}"
            if self._missed and self._rng.random() < 0.06:
                number = self._rng.choice(sorted(self._missed))
            self._tell(call(number))

    # -- agents

    def _agent(self, agent: Agent) -> _Story:
        self._member("QueueMemberAdded", agent)
        yield self._rng.uniform(60, 2400)
        while True:
            while agent not in self._idle:
                yield 10.0
            self._idle.remove(agent)
            self._member("QueueMemberPause", agent, self._rng.choice(_PAUSES))
            yield self._rng.uniform(90, 420)
            self._member("QueueMemberPause", agent)
            self._idle.append(agent)
            yield self._rng.uniform(1500, 4000)

    def _take(self, *queues: str) -> Agent | None:
        """The agent who has been idle longest, of those who serve one of *queues*."""
        agent = next((agent for agent in self._idle if set(queues) & set(agent.queues)), None)
        if agent is not None:
            self._idle.remove(agent)
        return agent

    def _idle_after(self, seconds: float, agent: Agent) -> _Story:
        yield seconds
        self._idle.append(agent)

    def _wrap_up(self, agent: Agent) -> None:
        self._tell(self._idle_after(self._about(self._profile.wrap), agent))

    def _member(self, event: str, agent: Agent, reason: str = "") -> None:
        headers = {"MemberName": agent.name, "Interface": f"PJSIP/{agent.extension}", "Membership": "static"}
        for queue in agent.queues:
            self._ami(event, {"Queue": queue}, headers, Paused="1" if reason else "0", PausedReason=reason)

    # -- calls in queues

    def _queue_call(self, number: str) -> _Story:
        queue = self._rng.choices(list(_QUEUES), [weight for weight, _ in _QUEUES.values()])[0]
        phone = self._channel("PJSIP/trunk", "inbound", number, _QUEUES[queue][1])
        yield self._rng.uniform(0.5, 2)
        place = str(1 + sum(other.queue == queue for other in self._waiting))
        joined = self._ami("QueueCallerJoin", phone, Queue=queue, Position=place, Count=place)
        patience, timeout = self._rng.expovariate(1 / self._profile.patience), self._profile.queue_timeout
        stay = _Stay(queue, phone, joined, self._seconds + min(patience, timeout), patience < timeout)
        self._waiting.append(stay)
        yield from self._wait(stay)

    def _wait(self, stay: _Stay) -> _Story:
        """Phones ring one after the other until an agent answers or the caller leaves."""
        while (left := stay.leaves_at - self._seconds) > 0:
            first = next(other for other in self._waiting if other.queue == stay.queue)
            agent = self._take(stay.queue) if first is stay else None
            if agent is None:
                yield min(left, 0.3)
                continue
            self._waiting.remove(stay)
            if (yield from self._ring(stay, agent, left)):
                return
            self._waiting.insert(0, stay)
        self._waiting.remove(stay)
        self._give_up(stay)

    def _ring(self, stay: _Stay, agent: Agent, left: float) -> Generator[float, None, bool]:
        """Whether the caller's wait is over by it."""
        number, linked = stay.phone["CallerIDNum"], stay.phone["Linkedid"]
        leg = self._channel(f"PJSIP/{agent.extension}", "agents", number, "s", linked)
        member = {"Queue": stay.queue, "MemberName": agent.name, "Interface": f"PJSIP/{agent.extension}"}
        pair = {**stay.phone, **{f"Dest{key}": text for key, text in leg.items()}, **member}
        rung = self._ami("AgentCalled", pair)
        answers = self._rng.random() < self._profile.answers
        ring = self._rng.uniform(2, 9) if answers else 15.0
        yield min(ring, left)
        if left <= ring:
            self._give_up(stay, leg)
            self._idle.append(agent)
        elif answers:
            yield from self._talk(stay, pair, leg, rung)
            self._wrap_up(agent)
        else:
            self._ami("AgentRingNoAnswer", pair, RingTime=str(int(15000 / self._profile.pace)))
            self._hang_up(leg)
            self._tell(self._idle_after(self._rng.uniform(5, 30), agent))
        return answers or left <= ring

    def _talk(self, stay: _Stay, pair: Mapping[str, str], leg: _Channel, rung: datetime) -> _Story:
        self._missed.discard(stay.phone["CallerIDNum"])
        since = self._ami("QueueCallerLeave", stay.phone, Queue=stay.queue, Count="0")
        hold = _whole(stay.joined, since)
        self._ami("AgentConnect", pair, HoldTime=hold, RingTime=_whole(rung, since))
        yield self._about(self._profile.talk)
        who, phone = ("caller", stay.phone) if self._rng.random() < 0.7 else ("agent", leg)
        talk = _whole(since, self._ami("HangupRequest", phone, Cause="16"))
        self._ami("AgentComplete", pair, HoldTime=hold, TalkTime=talk, Reason=who)
        self._hang_up(leg, stay.phone)

    def _give_up(self, stay: _Stay, *rings: _Channel) -> None:
        """Asterisk says Abandon of a timeout too; only the request to hang up before it tells them apart."""
        if stay.hangs_up:
            self._ami("HangupRequest", stay.phone, Cause="16")
        self._ami("QueueCallerAbandon", stay.phone, Queue=stay.queue, HoldTime=_whole(stay.joined, self._tick()))
        self._ami("QueueCallerLeave", stay.phone, Queue=stay.queue, Count="0")
        self._hang_up(*rings, stay.phone)
        self._miss(stay.phone["CallerIDNum"])

    def _channel(self, name: str, context: str, number: str, exten: str, linked: str = "") -> _Channel:
        serial = next(self._serial)
        uid = f"{int(self._tick().timestamp())}.{serial}"
        ids = {"Channel": f"{name}-{serial:08x}", "Uniqueid": uid, "Linkedid": linked or uid}
        channel = {**ids, "CallerIDNum": number, "Context": context, "Exten": exten}
        self._ami("Newchannel", channel, ChannelState="4", ChannelStateDesc="Ring")
        return channel

    def _hang_up(self, *channels: _Channel) -> None:
        for channel in channels:
            self._ami("Hangup", channel, {"Cause-txt": "Normal Clearing"}, Cause="16")

    def _ami(self, event: str, *groups: Mapping[str, str], **headers: str) -> datetime:
        at = self._tick()
        item = {"Event": event, "Timestamp": f"{at.timestamp():.6f}"}
        for group in (*groups, headers):
            item.update(group)
        self._out.append(Delivery(at, self._profile.asterisk, _LINES, json.dumps(item).encode()))
        return at

    # -- calls of the portal

    def _direct_call(self, number: str) -> _Story:
        agent = self._take("sales", "support")
        yield from self._portal_call("2", number, agent, self._code(_INBOUND) if agent else "486")

    def _code(self, chances: Mapping[str, int]) -> str:
        return self._rng.choices(list(chances), list(chances.values()))[0]

    def _miss(self, number: str) -> None:
        self._missed.add(number)
        if self._rng.random() < self._profile.calls_back:
            self._tell(self._call_back(number))

    def _call_back(self, number: str) -> _Story:
        """In a quiet moment: callers who wait come first. Not if the customer got through by himself."""
        yield self._rng.uniform(60, 600)
        while number in self._missed:
            agent = None if self._waiting else self._take(*_QUEUES)
            if agent is not None:
                yield from self._portal_call("1", number, agent, self._code(_OUTBOUND))
                return
            yield 20.0

    def _portal_call(self, kind: str, number: str, agent: Agent | None, code: str) -> _Story:
        """A call of CALL_TYPE *kind* that ends with *code*."""
        began = self._tick()
        call = {"CALL_ID": f"{self._rng.getrandbits(64):016X}.{int(began.timestamp())}.{next(self._serial)}"}
        ends = (number, _DIRECT_LINE) if kind == "2" else (_DIRECT_LINE, number)
        init = {"CALL_TYPE": kind, "CALLER_ID": ends[0], "PHONE_NUMBER": ends[1], "ACCOUNT_SEARCH_ID": _DIRECT_LINE}
        self._bitrix24("CALLINIT", call, init)
        yield self._rng.uniform(*((20, 30) if code == "304" else (3, 12)))
        since = None
        if agent and code == "200":
            self._missed.discard(number)
            since = self._bitrix24("CALLSTART", call, {"USER_ID": agent.user_id})
            yield self._about(self._profile.talk)
        user = agent.user_id if agent else "0"
        who = {"CALL_TYPE": kind, "PHONE_NUMBER": number, "PORTAL_NUMBER": _DIRECT_LINE, "PORTAL_USER_ID": user}
        date = began.astimezone(_PORTAL_ZONE).isoformat(timespec="seconds")
        times = {"CALL_DURATION": _whole(since, self._tick()), "CALL_START_DATE": date}
        activity = str(90000 + next(self._serial))
        rest = {"COST": "0", "COST_CURRENCY": "", "CALL_FAILED_CODE": code, "CALL_FAILED_REASON": ""}
        self._bitrix24("CALLEND", call, who, times, rest, {"CRM_ACTIVITY_ID": activity})
        if agent:
            self._wrap_up(agent)
        if kind == "2" and code != "200":
            self._miss(number)

    def _bitrix24(self, event: str, *groups: Mapping[str, str]) -> datetime:
        at = self._tick()
        form = {"event": f"ONVOXIMPLANT{event}"}
        form |= {f"data[{key}]": text for group in groups for key, text in group.items()}
        form |= {"ts": str(int(at.timestamp())), "auth[domain]": "demo.bitrix24.example", "auth[member_id]": "demo"}
        form["auth[application_token]"] = self._profile.application_token
        self._out.append(Delivery(at, self._profile.bitrix24, _FORM, urlencode(form).encode()))
        return at


def _whole(begin: datetime | None, end: datetime) -> str:
    """Seconds between as Asterisk counts them: whole seconds of the clock."""
    return str(int(end.timestamp()) - int(begin.timestamp())) if begin else "0"


# -- sending ---------------------------------------------------------------------------------------------


async def run(
    deliveries: Iterable[Delivery], url: str, tokens: Mapping[str, str], speed: float, stop: asyncio.Event
) -> None:
    """Send the first :data:`HISTORY` of a shift at once and then each delivery when its time comes, until *stop*.

    A shift that began longer ago catches up at *speed*; nothing is sent before it has happened. While the daemon is
    away it is tried again. Raises ReplayError when the daemon refuses a delivery.
    """
    feeding = asyncio.create_task(_feed(deliveries, url, tokens, speed))
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({feeding, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if feeding in done:
            feeding.result()
    finally:
        feeding.cancel()
        stopping.cancel()
        await asyncio.gather(feeding, stopping, return_exceptions=True)


async def _feed(deliveries: Iterable[Delivery], url: str, tokens: Mapping[str, str], speed: float) -> None:
    began, live_from = datetime.now(UTC), None
    batch: list[Delivery] = []
    async with session() as http:
        for delivery in deliveries:
            live_from = live_from or delivery.at + HISTORY
            due = max(began + (delivery.at - live_from) / speed, delivery.at)
            if due > datetime.now(UTC) or len(batch) >= _BATCH:
                await _send(http, url, tokens, batch)
                batch = []
                await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
            batch.append(delivery)
        await _send(http, url, tokens, batch)


async def _send(http: aiohttp.ClientSession, url: str, tokens: Mapping[str, str], batch: Sequence[Delivery]) -> None:
    """AMI events of one source share a request; a portal sends each event alone."""
    lines: dict[str, list[bytes]] = defaultdict(list)
    for delivery in batch:
        target = Target(url, delivery.source, tokens.get(delivery.source, ""))
        if delivery.content_type == _LINES:
            lines[delivery.source].append(delivery.body)
        else:
            await post(http, target, delivery.body, delivery.content_type, patience=math.inf)
    for source, bodies in lines.items():
        target = Target(url, source, tokens.get(source, ""))
        await post(http, target, b"\n".join(bodies), _LINES, patience=math.inf)
