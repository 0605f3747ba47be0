"""One source sends what hurts. Nobody else may notice, neither of its own tenant nor of another one."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.faults.catalogue import Wrong, fault

if TYPE_CHECKING:
    from tests.faults.system import System

#: As long as a sender would wait at the most.
PATIENCE_SECONDS = 120.0
#: As long as a usual sender waits for its answer.
ANSWER_SECONDS = 30.0
CHAIN = 2000
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@fault(may_hold_up=False)
async def poison_names(system: System, rng: random.Random) -> None:
    """Queue, agent and line of 255 characters of four bytes each."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    facts = {"queue": _longest(rng), "agent": _longest(rng), "line": _longest(rng), "direction": "inbound"}
    await _push(system, [
        _told("poison", "queued", now, **{key: value for key, value in facts.items() if key != "agent"}),
        _told("poison", "answered", now + timedelta(seconds=9), **facts),
        _told("poison", "ended", now + timedelta(seconds=60), **facts),
    ])  # fmt: skip


@fault(may_hold_up=False)
async def poison_ids(system: System, rng: random.Random) -> None:
    """A call's id, an event's id, a leg, an entry and a customer of 255 characters of four bytes each."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    names = {key: _longest(rng) for key in ("leg", "entry", "customer", "code", "reason")}
    call, event = _longest(rng), _longest(rng)
    events: list[dict[str, Any]] = []
    for number, kind in enumerate(("queued", "ringing", "answered", "ended")):
        told = _told(call, kind, now + timedelta(seconds=number), queue="queue 1", agent="Agent 1", **names)
        events.append({**told, "event_id": event[:-1] + str(number)})
    await _push(system, events)


@fault(may_hold_up=False)
async def call_of_57_years(system: System, _rng: random.Random) -> None:
    """A portal tells of a call that lasted 57 years (its duration is a time since 1970)."""
    now = datetime.now(UTC)
    await _push_form(system, {
        "CALL_ID": "poison", "CALL_TYPE": "2", "PHONE_NUMBER": "+77012345678", "PORTAL_NUMBER": "reg7",
        "PORTAL_USER_ID": "7", "CALL_DURATION": str(int(now.timestamp())), "CALL_FAILED_CODE": "200",
        "CALL_START_DATE": now.isoformat(timespec="seconds"),
    }, now)  # fmt: skip


@fault(may_hold_up=False)
async def call_since_2000(system: System, rng: random.Random) -> None:
    """Calls that began in 2000, of a PBX that started without a clock, and end today."""
    begin, now = datetime(2000, 1, 2, tzinfo=UTC), datetime.now(UTC)
    events: list[dict[str, Any]] = []
    for number in range(rng.choice([1, 10])):
        call = f"poison-{number}"
        events += [
            _told(call, "queued", begin + timedelta(seconds=number), queue="queue 1", direction="inbound"),
            _told(call, "answered", begin + timedelta(seconds=number + 5), agent="Agent 1", queue="queue 1"),
            _told(call, "ended", now - timedelta(seconds=number + 1)),
        ]
    await _push(system, events)


@fault(may_hold_up=False)
async def agent_since_2000(system: System, _rng: random.Random) -> None:
    """Agents who have been in a state since 2000, and change it today."""
    begin, now = datetime(2000, 1, 2, tzinfo=UTC), datetime.now(UTC)
    events = []
    for agent in ("Agent 1", "Agent of old"):
        for at, state in ((begin, "available"), (now, "paused")):
            event_id = f"poison-{agent}-{state}"
            told = {"event_id": event_id, "kind": "agent_state", "at": at.isoformat(), "agent": agent, "state": state}
            events.append(told)
    await _push(system, events)


@fault(may_hold_up=False)
async def call_into_months_without_partition(system: System, rng: random.Random) -> None:
    """Calls whose first event comes last: they move into months that nobody has told of."""
    now = datetime.now(UTC)
    for step in range(4):
        begin = now - timedelta(days=rng.randint(60, 700))
        call = f"poison-{step}"
        await _push(system, [_told(call, "ended", now - timedelta(seconds=5), n=0)])
        await _push(system, [_told(call, "queued", begin, n=1, queue="queue 1", direction="inbound")])


@fault(may_hold_up=False)
async def linked_chain(system: System, rng: random.Random) -> None:
    """Two thousand calls, each linked to the next, that wait for a projector which stood still."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    order = list(range(CHAIN))
    if rng.random() < 0.5:
        rng.shuffle(order)
    projectors = system.children("projector")
    for pid in projectors:
        os.kill(pid, signal.SIGSTOP)
    try:
        for begin in range(0, CHAIN, 500):
            await _push(system, [
                event
                for number in order[begin : begin + 500]
                for event in (
                    _told(f"poison-{number}", "started", now, direction="inbound"),
                    _told(f"poison-{number}", "linked", now, linked_to=f"poison-{number + 1}"),
                )
            ])  # fmt: skip
    finally:
        for pid in projectors:
            os.kill(pid, signal.SIGCONT)


@fault(may_hold_up=False)
async def many_rejects(system: System, _rng: random.Random) -> None:
    """A list of a hundred thousand numbers where events should be (200 KB)."""
    await _push_raw(system, b"[" + b",".join([b"1"] * 100_000) + b"]")


@fault(may_hold_up=False)
async def deflated_rejects(system: System, _rng: random.Random) -> None:
    """The same of 16 MB, which deflated is 15 KB."""
    body = b"[" + b",".join([b"1"] * (8 * 1024 * 1024 - 100)) + b"]"
    await _push_raw(system, zlib.compress(body, 9), {"Content-Encoding": "deflate"})


@fault(may_hold_up=False)
async def giant_list(system: System, _rng: random.Random) -> None:
    """Fifteen megabytes of small events in one request, of a thousand calls."""
    now = datetime.now(UTC) - timedelta(hours=2)
    size = len(json.dumps(_told("poison-100", "resumed", now, n=100_000, agent="Agent 1"))) + 2
    events = [
        _told(f"poison-{number % 1000}", kind, now + timedelta(milliseconds=number), n=number, agent="Agent 1")
        for number in range(15_000_000 // size)
        for kind in (("answered", "held", "resumed")[number // 1000 % 3],)
    ]
    await _push(system, events)


@fault(may_hold_up=False)
async def nested_deeply(system: System, _rng: random.Random) -> None:
    """JSON of a hundred thousand brackets, digits by the thousand, dates at the edges of the calendar."""
    now = datetime.now(UTC).isoformat()
    await _push_raw(system, b"[" * 100_000 + b"]" * 100_000)
    await _push_raw(system, b'{"fields":' * 50_000 + b"1" + b"}" * 50_000)
    await _push_raw(system, b'[{"call_id":"poison","kind":"started","at":' + b"9" * 5000 + b"}]")
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "①", "1e400", "NaN"):
        await _push_raw(system, json.dumps([{"call_id": "poison", "kind": "started", "at": at}]).encode())
    big = {"call_id": "poison", "kind": "ended", "at": now, "rating": 10**40, "talk_seconds": 1e300}
    await _push_raw(system, json.dumps([big]).encode())


def _longest(rng: random.Random) -> str:
    """The longest name that a native event may have, of four bytes a character; nothing can shorten it."""
    return "".join(chr(rng.randint(0x20000, 0x2A6DF)) for _ in range(255))


def _told(call: str, kind: str, at: datetime, n: int = 0, **facts: Any) -> dict[str, Any]:
    return {"event_id": f"{call}-{kind}-{n}", "call_id": call, "kind": kind, "at": at.isoformat(), **facts}


async def _push(system: System, events: Sequence[dict[str, Any]]) -> None:
    """What is acknowledged must be stored; what is refused must be refused with a reason."""
    body = json.dumps(events, ensure_ascii=False).encode()
    await _answered(system, "loud", body, [event["event_id"] for event in events])


async def _push_raw(system: System, body: bytes, headers: dict[str, str] | None = None) -> None:
    await _answered(system, "loud", body, [], headers)


async def _push_form(system: System, data: dict[str, str], at: datetime) -> None:
    form = {"event": "ONVOXIMPLANTCALLEND", **{f"data[{key}]": value for key, value in data.items()}}
    form |= {"ts": str(int(at.timestamp())), "auth[application_token]": "the-secret-of-portal"}
    await _answered(system, "portal", urlencode(form).encode(), [], FORM)


async def _answered(
    system: System, source: str, body: bytes, event_ids: Sequence[str], headers: dict[str, str] | None = None
) -> None:
    """Push, and raise Wrong where the answer is no clear one in good time."""
    begin = time.monotonic()
    await system.push(source, body, event_ids, seconds=PATIENCE_SECONDS, headers=headers)
    seconds, status = time.monotonic() - begin, system.last.status
    if status not in (200, 400, 413, 422, 429, 503) or seconds > ANSWER_SECONDS:
        what = f"answered {status}" if status else f"not answered ({system.last.text})"
        raise Wrong(f"a delivery of {len(body)} bytes was {what} after {seconds:.1f} s")
