"""Bodies for the benchmarks, made before the clock starts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

TOKEN = "bench-token"
QUEUES, AGENTS = 50, 500
#: Portal calls start this far apart, so that they don't all start in one second; an hour of them, then again.
SPACING_MS, HOUR_MS = 5, 3_600_000
_HANDLER = {"event_handler_id": "412"}
_AUTH = {
    "auth[domain]": "acme.bitrix24.ru",
    "auth[client_endpoint]": "https://acme.bitrix24.ru/rest/",
    "auth[server_endpoint]": "https://oauth.bitrix.info/rest/",
    "auth[member_id]": "4f0c2d6b8a1e39577c22d90be6a1f403",
    "auth[application_token]": TOKEN,
}

Event = dict[str, object]


def now() -> datetime:
    return datetime.now(UTC)


def portal_call(number: int, begin: datetime) -> list[bytes]:
    """The three webhooks of one answered Bitrix24 call, encoded as the portal's queue server does."""
    at = begin + timedelta(milliseconds=number * SPACING_MS % HOUR_MS)
    ts = int(at.timestamp())
    call_id, customer, line = f"7C0D41E2{number:08X}.{ts}.{number}", f"+7701{number % 10_000_000:07d}", number % 5
    init = {"CALL_TYPE": "2", "CALLER_ID": customer, "ACCOUNT_SEARCH_ID": f"reg{line}"}
    end = {
        "CALL_TYPE": "2",
        "PHONE_NUMBER": customer,
        "PORTAL_NUMBER": f"reg{line}",
        "PORTAL_USER_ID": str(number % 40 + 1),
        "CALL_DURATION": "42",
        "CALL_START_DATE": at.isoformat(timespec="seconds"),
        "COST": "0",
        "COST_CURRENCY": "",
        "CALL_FAILED_CODE": "200",
        "CALL_FAILED_REASON": "",
        "CRM_ACTIVITY_ID": "90211",
    }
    return [
        _form("ONVOXIMPLANTCALLINIT", call_id, init, ts),
        _form("ONVOXIMPLANTCALLSTART", call_id, {"USER_ID": str(number % 40 + 1)}, ts + 9),
        _form("ONVOXIMPLANTCALLEND", call_id, end, ts + 51),
    ]


def _form(event: str, call_id: str, data: dict[str, str], ts: int) -> bytes:
    facts = {f"data[{key}]": value for key, value in {"CALL_ID": call_id, **data}.items()}
    return urlencode({"event": event, **_HANDLER, **facts, "ts": str(ts), **_AUTH}).encode()


def request(path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 request with a form in it."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nUser-Agent: Bitrix24 Webhook Engine\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def queue_calls(
    name: str, calls: int, begin: datetime, span: timedelta, *, ringing: bool = False, per_request: int = 250
) -> Iterator[bytes]:
    """Finished queue calls spread evenly over a span, oldest first, as native events in large arrays."""
    random_ = random.Random(name)
    step = span / max(calls, 1)
    batch: list[Event] = []
    for number in range(calls):
        batch += queue_call(f"{name}.{number}", number, (begin + number * step).timestamp(), random_, ringing)
        if (number + 1) % per_request == 0:
            yield json.dumps(batch).encode()
            batch = []
    if batch:
        yield json.dumps(batch).encode()


def queue_call(call_id: str, number: int, at: float, random_: random.Random, ringing: bool = False) -> list[Event]:
    """A call to one of 50 queues, each behind a line of its own: answered by one of 500 agents, or given up."""
    wait, talk, queue = random_.randrange(2, 60), random_.randrange(5, 400), number % QUEUES
    base: Event = {"call_id": call_id, "direction": "inbound"}
    place = {**base, "queue": f"q{queue:02}"}
    started = {
        **base, "kind": "started", "at": at, "line": f"7717270{queue:02}00",
        "customer": f"+7701{random_.randrange(10_000_000):07d}",
    }  # fmt: skip
    queued = {**place, "kind": "queued", "at": at + 1}
    if random_.random() < 0.12:
        left = {**place, "kind": "left_queue", "at": at + wait, "cause": "abandoned"}
        return [started, queued, left, {**base, "kind": "ended", "at": at + wait}]
    served = {**place, "agent": f"a{random_.randrange(AGENTS):03}"}
    rung = [{**served, "kind": "ringing", "at": at + 1}] if ringing else []
    answered = {**served, "kind": "answered", "at": at + wait}
    ended = {**base, "kind": "ended", "at": at + wait + talk, "talk_seconds": talk, "hangup_by": "customer"}
    return [started, queued, *rung, answered, ended]
