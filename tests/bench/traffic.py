"""Bodies for the benchmarks, made before the clock starts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

TOKEN = "bench-token"
_TAIL = (
    "&auth[domain]=acme.bitrix24.ru&auth[client_endpoint]=https://acme.bitrix24.ru/rest/"
    "&auth[server_endpoint]=https://oauth.bitrix.info/rest/&auth[member_id]=4f0c2d6b8a1e39577c22d90be6a1f403"
    f"&auth[application_token]={TOKEN}"
)


def portal_call(number: int, at: datetime) -> list[bytes]:
    """The three webhooks of one answered Bitrix24 call."""
    ts, begin = int(at.timestamp()), at.strftime("%Y-%m-%dT%H:%M:%S%%2B00:00")
    call_id, customer = f"7C0D41E2{number:08X}.{ts}.{number}", f"%2B7701{number % 10_000_000:07d}"
    head = f"&event_handler_id=412&data[CALL_ID]={call_id}"
    init = f"&data[CALL_TYPE]=2&data[CALLER_ID]={customer}&data[ACCOUNT_SEARCH_ID]=reg{number % 5}"
    end = (
        f"&data[CALL_TYPE]=2&data[PHONE_NUMBER]={customer}&data[PORTAL_NUMBER]=reg{number % 5}"
        f"&data[PORTAL_USER_ID]={number % 40}&data[CALL_DURATION]=42&data[CALL_START_DATE]={begin}&data[COST]=0"
        "&data[COST_CURRENCY]=&data[CALL_FAILED_CODE]=200&data[CALL_FAILED_REASON]=&data[CRM_ACTIVITY_ID]=90211"
    )
    bodies = (
        f"event=ONVOXIMPLANTCALLINIT{head}{init}&ts={ts}{_TAIL}",
        f"event=ONVOXIMPLANTCALLSTART{head}&data[USER_ID]={number % 40}&ts={ts + 9}{_TAIL}",
        f"event=ONVOXIMPLANTCALLEND{head}{end}&ts={ts + 51}{_TAIL}",
    )
    return [body.encode() for body in bodies]


def request(path: str, body: bytes, content_type: str = "application/x-www-form-urlencoded", token: str = "") -> bytes:
    """A whole HTTP/1.1 request."""
    secret = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\n{secret}Content-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def history(calls: int, begin: datetime, span: timedelta, seed: int = 1, per_request: int = 250) -> Iterator[bytes]:
    """Finished queue calls spread over a span, oldest first, as native events in large arrays."""
    random_ = random.Random(seed)
    step = span / max(calls, 1)
    batch: list[dict[str, object]] = []
    for number in range(calls):
        batch += queue_call(f"h{seed}.{number}", (begin + number * step).timestamp(), random_)
        if len(batch) >= 4 * per_request:
            yield json.dumps(batch).encode()
            batch = []
    if batch:
        yield json.dumps(batch).encode()


def queue_call(call_id: str, at: float, random_: random.Random) -> list[dict[str, object]]:
    """Four events of a call to one of 50 queues, each behind a line of its own: answered by one of 500, or given up."""
    queue, wait, talk = random_.randrange(50), random_.randrange(1, 60), random_.randrange(5, 400)
    base = {"call_id": call_id, "direction": "inbound"}
    place = {"queue": f"q{queue:02}"}
    customer = f"+7701{random_.randrange(10_000_000):07d}"
    entered = {**base, "kind": "started", "at": at, "customer": customer, "line": f"7717270{queue:02}00"}
    queued = {**base, **place, "kind": "queued", "at": at + 1}
    if random_.random() < 0.12:
        left = {**base, **place, "kind": "left_queue", "at": at + wait, "cause": "abandoned"}
        return [entered, queued, left, {**base, "kind": "ended", "at": at + wait}]
    answered = {**base, **place, "kind": "answered", "at": at + wait, "agent": f"a{random_.randrange(500):03}"}
    return [entered, queued, answered, {**base, "kind": "ended", "at": at + wait + talk, "hangup_by": "customer"}]


def now() -> datetime:
    return datetime.now(UTC)
