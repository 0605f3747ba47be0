"""A simulated shift for ``callkpi demo``: what a small call centre's Asterisk and Bitrix24 would send.

Queues (sales, support, vip) come as AMI events in JSON, the direct line and call-backs as Bitrix24 webhooks. The
same seed, begin and profile give the same shift, byte for byte. All numbers are of the made-up range +7 700 000.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import random
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from math import inf
from typing import NamedTuple
from urllib.parse import urlencode

from callkpi.calls.model import require_utc
from callkpi.commands.replay import Target, post, session

HISTORY = timedelta(minutes=30)  #: how much of a shift is sent at once, so that no chart begins empty
_QUEUES = {"sales": (0.5, "77000000100"), "support": (0.38, "77000000200"), "vip": (0.12, "77000000300")}
_DIRECT_LINE = "77000000400"
_INBOUND = 9 * ["200"] + 2 * ["304"] + ["603"]  #: CALL_FAILED_CODE, as often as they come
_OUTBOUND = 9 * ["200"] + 2 * ["304"] + ["486", "603-S"]


class Agent(NamedTuple):
    name: str  #: what Asterisk's queues call the agent
    interface: str
    user_id: str  #: in Bitrix24
    queues: tuple[str, ...]


TEAM = tuple(
    Agent(name, f"PJSIP/100{number}", f"1{number}", tuple(queues.split()))
    for number, name, queues in (
        (1, "Aigerim", "vip sales"), (2, "Bolat", "sales"), (3, "Dana", "sales support"), (4, "Erlan", "sales support"),
        (5, "Gulnara", "support"), (6, "Marat", "support"), (7, "Saule", "support vip"), (8, "Timur", "sales vip"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Profile:
    """How busy the shift is. Times are means in seconds; talks and patience vary a lot around them."""

    queue_calls_per_hour: float = 170.0
    direct_calls_per_hour: float = 24.0
    talk: float = 95.0
    patience: float = 170.0
    queue_timeout: float = 120.0
    wrap: float = 12.0
    calls_back: float = 0.65  #: chance that we call a missed customer back
    pace: float = 1.0  #: 10: all of it, talks too, in a tenth of the time, by the events' own clock
    team: tuple[Agent, ...] = TEAM
    asterisk: str = "pbx"  #: names of the two sources
    bitrix24: str = "portal"
    application_token: str = "demo"


class Delivery(NamedTuple):
    """One request to a source's door, and when it is made."""

    at: datetime
    source: str
    content_type: str
    body: bytes


def shift(seed: int, begin: datetime, profile: Profile | None = None) -> Iterator[Delivery]:
    """The deliveries of a shift that begins at *begin* and never ends, in the order of time."""
    require_utc("begin", begin)
    return _Shift(random.Random(seed), begin.astimezone(UTC), profile or Profile()).deliveries()


# -- the simulation --------------------------------------------------------------------------------------

_Channel = Mapping[str, str]  #: the AMI headers that name a channel
_Story = Generator[float, None, None]  #: what one person does; yields the seconds until the next thing


class _Stay(NamedTuple):
    queue: str
    number: str
    phone: _Channel
    joined: datetime
    hangs_up: bool  #: when his patience ends; else the queue's timeout sends him away


class _Shift:
    """Stories that take turns. An agent is idle or in one story, so nobody is booked twice."""

    def __init__(self, rng: random.Random, begin: datetime, profile: Profile) -> None:
        self._rng, self._begin, self._profile = rng, begin, profile
        self._seconds, self._last, self._serial = 0.0, begin, count(1)
        self._turns: list[tuple[float, int, _Story]] = []
        self._out: list[Delivery] = []
        self._idle = list(profile.team)
        self._waiting: list[_Stay] = []  # for whom no phone rings
        self._missed: set[str] = set()

    def deliveries(self) -> Iterator[Delivery]:
        queues = self._arrivals(self._profile.queue_calls_per_hour, self._queue_call)
        direct = self._arrivals(self._profile.direct_calls_per_hour, self._portal_call)
        for story in (*map(self._agent, self._profile.team), queues, direct):
            self._tell(story)
        while True:
            yield from self._out
            self._out.clear()
            self._seconds, _, story = heapq.heappop(self._turns)
            self._tell(story)

    def _tell(self, story: _Story) -> None:
        """A story from where it stands to its next pause."""
        if (pause := next(story, None)) is not None:
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
            if self._missed and self._rng.random() < 0.04:
                number = self._rng.choice(sorted(self._missed))
            self._tell(call(number))

    def _agent(self, agent: Agent) -> _Story:
        self._member("QueueMemberAdded", agent)
        yield self._rng.uniform(60, 2400)
        while True:
            while agent not in self._idle:
                yield 10.0
            self._idle.remove(agent)
            self._member("QueueMemberPause", agent, self._rng.choice(("break", "lunch", "training")))
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

    def _wrap_up(self, agent: Agent) -> _Story:
        yield self._about(self._profile.wrap)
        self._idle.append(agent)

    def _member(self, event: str, agent: Agent, reason: str = "") -> None:
        headers = {
            "MemberName": agent.name,
            "Interface": agent.interface,
            "Paused": "1" if reason else "0",
            "PausedReason": reason,
        }
        for queue in agent.queues:
            self._ami(event, headers, Queue=queue)

    def _queue_call(self, number: str) -> _Story:
        """Phones ring one after the other until an agent answers or the caller leaves."""
        queue = self._rng.choices(list(_QUEUES), [weight for weight, _ in _QUEUES.values()])[0]
        phone = self._channel("PJSIP/trunk", "inbound", number, _QUEUES[queue][1])
        yield self._rng.uniform(0.5, 2)
        patience, timeout = self._rng.expovariate(1 / self._profile.patience), self._profile.queue_timeout
        joined = self._ami("QueueCallerJoin", phone, Queue=queue, Position=str(len(self._waiting) + 1))
        stay = _Stay(queue, number, phone, joined, hangs_up=patience < timeout)
        self._waiting.append(stay)
        deadline = self._seconds + min(patience, timeout)
        while (left := deadline - self._seconds) > 0:
            first = next(other for other in self._waiting if other.queue == queue)
            agent = self._take(queue) if first is stay else None
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
        leg = self._channel(agent.interface, "agents", stay.number, "s", stay.phone["Linkedid"])
        dest = {f"Dest{key}": text for key, text in leg.items()}
        pair = {**stay.phone, **dest, "Queue": stay.queue, "MemberName": agent.name, "Interface": agent.interface}
        rung = self._ami("AgentCalled", pair)
        answers = self._rng.random() < 0.9
        ring = self._rng.uniform(3, 12) if answers else 15.0
        yield min(ring, left)
        if left <= ring:
            if not stay.hangs_up:
                self._ami("AgentRingNoAnswer", pair, RingTime=str(int(1000 * left / self._profile.pace)))
            self._give_up(stay, leg)
            self._idle.append(agent)
            return True
        if answers:
            yield from self._talk(stay, pair, leg, rung)
        else:
            self._ami("AgentRingNoAnswer", pair, RingTime=str(int(15000 / self._profile.pace)))
            self._ami("Hangup", leg, Cause="16")
        self._tell(self._wrap_up(agent))
        return answers

    def _talk(self, stay: _Stay, pair: Mapping[str, str], leg: _Channel, rung: datetime) -> _Story:
        self._missed.discard(stay.number)
        since = self._ami("QueueCallerLeave", stay.phone, Queue=stay.queue, Count="0")
        hold = _whole(stay.joined, since)
        self._ami("AgentConnect", pair, HoldTime=hold, RingTime=_whole(rung, since))
        yield self._about(self._profile.talk)
        who, phone = ("caller", stay.phone) if self._rng.random() < 0.7 else ("agent", leg)
        talk = _whole(since, self._ami("HangupRequest", phone, Cause="16"))
        self._ami("AgentComplete", pair, HoldTime=hold, TalkTime=talk, Reason=who)
        for channel in (leg, stay.phone):
            self._ami("Hangup", channel, Cause="16")

    def _give_up(self, stay: _Stay, *rings: _Channel) -> None:
        """Asterisk says Abandon of a timeout too; only the request to hang up before it tells them apart."""
        if stay.hangs_up:
            self._ami("HangupRequest", stay.phone, Cause="16")
        self._ami("QueueCallerAbandon", stay.phone, Queue=stay.queue, HoldTime=_whole(stay.joined, self._tick()))
        self._ami("QueueCallerLeave", stay.phone, Queue=stay.queue, Count="0")
        for channel in (*rings, stay.phone):
            self._ami("Hangup", channel, Cause="16")
        self._tell(self._miss(stay.number))

    def _channel(self, name: str, context: str, number: str, exten: str, linked: str = "") -> _Channel:
        uid = f"{int(self._tick().timestamp())}.{(serial := next(self._serial))}"
        channel = {"Channel": f"{name}-{serial:08x}", "Uniqueid": uid, "Linkedid": linked or uid, "CallerIDNum": number}
        self._ami("Newchannel", channel, Context=context, Exten=exten, ChannelStateDesc="Ring")
        return channel

    def _ami(self, event: str, *groups: Mapping[str, str], **headers: str) -> datetime:
        at = self._tick()
        facts = {key: text for group in (*groups, headers) for key, text in group.items()}
        item = {"Event": event, "Timestamp": f"{at.timestamp():.6f}", **facts}
        self._out.append(Delivery(at, self._profile.asterisk, "application/json", json.dumps(item).encode()))
        return at

    def _miss(self, number: str) -> _Story:
        """We may call back in a quiet moment: callers who wait come first. He may get through by himself before."""
        self._missed.add(number)
        if self._rng.random() >= self._profile.calls_back:
            return
        yield self._rng.uniform(60, 600)
        while number in self._missed:
            if not self._waiting and (agent := self._take(*_QUEUES)) is not None:
                self._missed.discard(number)
                yield from self._portal_call(number, agent)
                return
            yield 20.0

    def _portal_call(self, number: str, agent: Agent | None = None) -> _Story:
        """The agent calls *number*; without one *number* calls the direct line."""
        kind, codes, began = ("1", _OUTBOUND, self._tick()) if agent else ("2", _INBOUND, self._tick())
        agent = agent or self._take("sales", "support")
        code = self._rng.choice(codes) if agent else "486"
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
        who = {"CALL_TYPE": kind, "PHONE_NUMBER": number, "PORTAL_USER_ID": agent.user_id if agent else "0"}
        date = began.astimezone(timezone(timedelta(hours=5))).isoformat(timespec="seconds")
        times = {"CALL_DURATION": _whole(since, self._tick()), "CALL_START_DATE": date}
        rest = {"PORTAL_NUMBER": _DIRECT_LINE, "CALL_FAILED_CODE": code, "CALL_FAILED_REASON": "", "COST": "0"}
        self._bitrix24("CALLEND", call, who, times, rest)
        if agent:
            self._tell(self._wrap_up(agent))
        if kind == "2" and code != "200":
            self._tell(self._miss(number))

    def _bitrix24(self, event: str, *groups: Mapping[str, str]) -> datetime:
        at = self._tick()
        data = {f"data[{key}]": text for group in groups for key, text in group.items()}
        form = {"event": f"ONVOXIMPLANT{event}", **data, "auth[application_token]": self._profile.application_token}
        form |= {"ts": str(int(at.timestamp())), "auth[domain]": "demo.bitrix24.example", "auth[member_id]": "demo"}
        body, form_type = urlencode(form).encode(), "application/x-www-form-urlencoded"
        self._out.append(Delivery(at, self._profile.bitrix24, form_type, body))
        return at


def _whole(begin: datetime | None, end: datetime) -> str:
    """Seconds between as Asterisk counts them: whole seconds of the clock."""
    return str(int(end.timestamp()) - int(begin.timestamp())) if begin else "0"


# -- sending ---------------------------------------------------------------------------------------------


async def run(
    deliveries: Iterable[Delivery], url: str, tokens: Mapping[str, str], speed: float, stop: asyncio.Event
) -> None:
    """Send the first :data:`HISTORY` of a shift at once and then each delivery when its time comes, until *stop*.

    A shift that began longer ago catches up at *speed*; nothing is sent before it has happened. A daemon that is
    away is waited for. Raises ReplayError when it refuses a delivery.
    """
    feeding = asyncio.create_task(_feed(deliveries, url, tokens, speed))
    stopping = asyncio.create_task(stop.wait())
    stopping.add_done_callback(lambda _: feeding.cancel())
    try:
        await feeding
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        stopping.cancel()


async def _feed(deliveries: Iterable[Delivery], url: str, tokens: Mapping[str, str], speed: float) -> None:
    began, live_from = datetime.now(UTC), None
    batch: list[Delivery] = []
    async with session() as http:

        async def send() -> None:
            """All at the same time: the order of arrival changes nothing."""
            doors = [Target(url, one.source, tokens.get(one.source, "")) for one in batch]
            sent = [post(http, to, one.body, one.content_type, inf) for to, one in zip(doors, batch, strict=True)]
            await asyncio.gather(*sent)
            batch.clear()

        for delivery in deliveries:
            live_from = live_from or delivery.at + HISTORY
            due = max(began + (delivery.at - live_from) / speed, delivery.at)
            if due > datetime.now(UTC) or len(batch) >= 200:
                await send()
                await asyncio.sleep((due - datetime.now(UTC)).total_seconds())
            batch.append(delivery)
        await send()
