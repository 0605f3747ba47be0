"""A thin client of Bitrix24's REST API by an incoming webhook.

It keeps the documented limits (a leaky bucket of requests per portal and address, a method's running time in ten
minutes), backs off when the portal asks for it, follows a renamed portal with the same POST, and pages by the last id
instead of by COUNT. A read may be sent again; a change whose answer is lost may have happened all the same, so it is
sent once (:class:`InDoubt`), and who sent it looks before it tries again.

Why not a library (looked at in November 2026, all MIT). fast_bitrix24 1.8.14: repeats every 5xx, but not 429 or a
method's time limit; lets aiohttp follow a renamed portal's 302, which turns the POST into a GET without its body; its
bulk reads take ORDER as an object only and page this method unsorted. b24pysdk 1.3.2 (official): requests in threads,
no limiter. b24api 2.5: needs Python 3.12, its release for older ones lacks the time limits. So ours, on aiohttp.

The address of an incoming webhook is a password: it is in no log, no error and no metric that comes from here.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog

from callkpi.sources.bitrix24.settings import rest_secrets

log = structlog.get_logger()

PAGE = 50
LARGEST_ROW = 10**18
#: Requests that the portal's bucket holds for each request/s that it drains: 50 at 2/s. A little is left to others.
BUCKET_SECONDS = 25
BUCKET_SHARE = 0.9
#: A method may run for 480 s in ten minutes; at this share of it we wait for its window to move.
OPERATING_SECONDS = 480.0
OPERATING_SHARE = 0.8
OPERATING_WINDOW_SECONDS = 600.0
#: The portal itself cuts a request after 60 s.
REQUEST_SECONDS = 70.0
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_REDIRECTS = 3
LONGEST_PAUSE_SECONDS = 60.0

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {"QUERY_LIMIT_EXCEEDED", "OPERATION_TIME_LIMIT"}
_DENIED = {
    "NO_AUTH_FOUND": "the portal does not know this webhook; make a new one and set rest_url",
    "INVALID_CREDENTIALS": "the portal refuses this webhook; make a new one and set rest_url",
    "EXPIRED_TOKEN": "the webhook has expired; make a new one and set rest_url",
    "INSUFFICIENT_SCOPE": "the webhook lacks a right; tick telephony, user_basic and department in its settings"
    " (and crm for the call funnel)",
    "ACCESS_DENIED": "the portal's plan or the rights of the webhook's owner forbid it",
    "USER_ACCESS_ERROR": "the webhook's owner has no access; let an administrator make the webhook",
    "PORTAL_DELETED": "the portal is gone",
    "ERROR_MANIFEST_IS_NOT_AVAILABLE": "the portal has no REST here; check rest_url",
}

EPOCH = datetime.fromtimestamp(0, UTC)

#: Told of something that the reference does not promise: what, and a sentence.
Surprised = Callable[[str, str], None]


class PortalError(Exception):
    """The portal gave no answer that can be used. The text holds no secret; ``reason`` is a word for a metric."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Denied(PortalError):
    """The portal refuses us; only a person can mend it."""


class Blocked(PortalError):
    """The portal's operator blocked its REST; to go on asking would make it worse."""


class Refused(PortalError):
    """The portal does not know the method or refuses its parameters; the same request would fail again."""


class Unavailable(PortalError):
    """Tried for as long as the patience lasts; later it may go."""


class InDoubt(PortalError):
    """A change was sent and no answer came that tells whether it happened: look before you send it again."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method returned."""

    result: Any
    total: int | None = None  #: rows that match, where the portal counted them
    next: int | None = None  #: where the next page starts, where there is one
    asked_at: datetime = EPOCH  #: when the request was sent that this answers, UTC


class Bucket:
    """A leaky bucket: a request adds one, ``rate`` leak each second, above ``size`` one waits."""

    def __init__(self, rate: float, size: float, clock: Callable[[], float]) -> None:
        self._rate, self._size, self._clock = rate, max(size, 1.0), clock
        self._level, self._at = 0.0, clock()

    def _leak(self) -> None:
        now = self._clock()
        self._level, self._at = max(self._level - (now - self._at) * self._rate, 0.0), now

    def wait_seconds(self) -> float:
        """How long until one more has room."""
        self._leak()
        return max(self._level + 1 - self._size, 0.0) / self._rate

    def add(self) -> None:
        self._leak()
        self._level += 1

    def fill(self) -> None:
        """The portal says that it is full: others share it."""
        self._leak()
        self._level = max(self._level, self._size)


@dataclass(slots=True)
class _Trouble:
    """Why an attempt failed, and how long the portal wants us to wait."""

    reason: str
    text: str
    wait: float = 0.0
    is_untouched: bool = False  #: the portal says that it did nothing


@dataclass(slots=True)
class Client:
    """One portal. Requests go one after the other."""

    http: aiohttp.ClientSession
    url: str  #: https://portal/rest/user/secret/
    rate: float = 2.0  #: requests per second
    burst: float = 0.0  #: requests at once when rested; 0: what the portal's bucket holds
    patience: float = 300.0  #: seconds for which one read is tried again
    pause: float = 1.0  #: seconds before the second try; doubled for each one after it
    origin: str = ""  #: where the portal is, if it was renamed since rest_url was written
    on_rename: Callable[[str, str], Awaitable[None]] | None = None  #: old and new origin
    on_surprise: Surprised = lambda _what, _text: None
    on_request: Callable[[str], None] = lambda _result: None
    _bucket: Bucket = field(init=False)
    _blocked_until: dict[str, float] = field(init=False, default_factory=dict)
    _lock: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        size = self.burst or self.rate * BUCKET_SECONDS * BUCKET_SHARE
        self._bucket = Bucket(self.rate, size, asyncio.get_running_loop().time)

    async def call(self, method: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """The answer to one read. Raises a PortalError."""
        return await self._call(method, parameters or {}, is_read=True)

    async def change(self, method: str, parameters: Mapping[str, Any]) -> Answer:
        """The answer to one change, sent again only where the portal said that it did nothing. Raises a PortalError."""
        return await self._call(method, parameters, is_read=False)

    async def _call(self, method: str, parameters: Mapping[str, Any], *, is_read: bool) -> Answer:
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self.patience, self.pause
        while True:
            # Outside of the lock: a method that must wait holds up no other.
            await asyncio.sleep(max(self._blocked_until.get(method, 0.0) - clock(), 0.0))
            async with self._lock:
                await self._turn()
                asked_at = datetime.now(UTC)
                try:
                    outcome = await self._attempt(method, parameters)
                except PortalError as error:
                    self.on_request(error.reason)
                    raise
            if isinstance(outcome, Answer):
                self.on_request("ok")
                return replace(outcome, asked_at=asked_at)
            self.on_request(outcome.reason)
            if not is_read and not outcome.is_untouched:
                raise InDoubt(outcome.reason, f"{method}: {outcome.text}")
            # Jitter, so that several who share the bucket don't come back at once.
            wait = max(outcome.wait, pause * random.uniform(0.5, 1.0))
            if clock() + wait > deadline:
                raise Unavailable(outcome.reason, f"{method}: {outcome.text} (given up after {self.patience:g} s)")
            log.warning("portal.retries", method=method, reason=outcome.reason, in_seconds=round(wait, 1))
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _turn(self) -> None:
        """Wait until the bucket has room for one more request."""
        await asyncio.sleep(self._bucket.wait_seconds())
        self._bucket.add()

    async def _attempt(self, method: str, parameters: Mapping[str, Any]) -> Answer | _Trouble:
        try:
            status, body = await self._post(method, parameters)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The text of aiohttp's errors may hold the whole address.
            return _Trouble("network", f"the portal can't be reached: {type(error).__name__}")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        code = str(answer.get("error") or "").upper()
        if status == 200 and not code and "result" in answer:
            self._note_operating(method, answer.get("time"))
            return Answer(answer["result"], _number(answer.get("total")), _number(answer.get("next")))
        return self._trouble(method, status, code, answer)

    async def _post(self, method: str, parameters: Mapping[str, Any]) -> tuple[int, bytes]:
        for _ in range(MAX_REDIRECTS + 1):
            url = self._address(method)
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=15)
            async with self.http.post(url, json=parameters, allow_redirects=False, timeout=timeout) as response:
                if response.status not in _REDIRECTS:
                    return response.status, await _limited(response)
                target = response.headers.get("Location", "")
            await self._renamed(url, target)
        raise Refused("redirects", "the portal redirects in a circle; check rest_url")

    def _address(self, method: str) -> str:
        path = urlsplit(self.url).path.rstrip("/")
        return f"{self.origin or origin_of(self.url)}{path}/{method}.json"

    async def _renamed(self, url: str, location: str) -> None:
        """A renamed portal answers with its new address: the same request goes there, as a POST with its body."""
        old, target = origin_of(url), urlsplit(urljoin(url, location))
        new = f"{target.scheme}://{target.netloc}"
        if not target.netloc or target.scheme not in ("https", urlsplit(old).scheme):
            raise Refused("redirects", "the portal redirects to an address without TLS; it is not followed")
        if "/rest/" not in target.path:
            raise Refused("redirects", "the portal redirects to a page that is no REST method; check rest_url")
        if new == old:
            return
        self.origin = new
        log.warning("portal.renamed", old=old, new=new, todo="write the new address into rest_url")
        if self.on_rename is not None:
            await self.on_rename(old, new)

    def _note_operating(self, method: str, time: Any) -> None:
        """Wait for the method's window to move before the portal makes us."""
        used = time.get("operating") if isinstance(time, dict) else None
        if isinstance(used, (int, float)) and used >= OPERATING_SHARE * OPERATING_SECONDS:
            wait = _until(time.get("operating_reset_at"))
            self._blocked_until[method] = asyncio.get_running_loop().time() + wait
            log.info("portal.waits", method=method, reason="operating", in_seconds=round(wait))

    def _trouble(self, method: str, status: int, code: str, answer: Mapping[str, Any]) -> _Trouble:
        """What can be tried again; raises for what can't."""
        words = self._clean(answer.get("error_description"))
        told = f"{method}: HTTP {status} {code[:60]}".rstrip() + (f": {words}" if words else "")
        if code == "OVERLOAD_LIMIT":
            raise Blocked("overload_limit", f"{told}; the portal's REST is blocked: ask Bitrix24's support")
        if code == "QUERY_LIMIT_EXCEEDED":
            self._bucket.fill()
            return _Trouble("query_limit", told, is_untouched=True)
        if code == "OPERATION_TIME_LIMIT":
            time = answer.get("time")
            reset = time.get("operating_reset_at") if isinstance(time, dict) else None
            return _Trouble("operating_limit", told, _until(reset), is_untouched=True)
        if code.startswith("ACCESS DENIED") or words.lower().startswith("access denied"):
            code = "ACCESS_DENIED"  # the older methods of the CRM say it in words
        if code in _DENIED or status in (401, 402, 403):
            advice = _DENIED.get(code, "check the webhook of rest_url and its rights")
            raise Denied(code.lower() if code in _DENIED else f"http_{status}", f"{told}: {advice}")
        if status == 200:
            return _Trouble("bad_answer", f"{method}: the portal's answer is not in its format")
        if status in (408, 429) or status >= 500:
            return _Trouble(f"http_{status}", told)
        raise Refused("unknown_method" if code == "ERROR_METHOD_NOT_FOUND" else f"http_{status}", told)

    def _clean(self, text: Any) -> str:
        kept = str(text or "")
        for secret in rest_secrets(self.url):
            kept = kept.replace(secret, "[secret]")
        return re.sub(r"\s+", " ", kept)[:200]

    # -- pages -------------------------------------------------------------------------------------------
    async def statistics(self, only: Mapping[str, str], after: int = 0) -> AsyncIterator[Page]:
        """Rows of the call statistics in the order of their ids, beyond the row *after*. Raises a PortalError.

        Without COUNT (``start=-1``) and by ``>ID``, which Bitrix24 documents for lists in general but not for this
        one. So each page is looked at: where the filter or the order did not hold, that is told, and the rows are read
        by offsets: all of a span of time; without one those from the newest back to *after*.
        """
        last = after
        while True:
            parameters = {
                "FILTER": {**only, ">ID": str(last)}, "SORT": "ID", "ORDER": "ASC", "start": -1,
            }  # fmt: skip
            answer = await self.call(STATISTICS, parameters)
            rows = _rows(answer.result)
            ids = [row_id(row) for row in rows]
            if any(number <= last for number in ids):
                self.on_surprise("filter_ignored", "the statistics ignore the filter by ID; they are read by offsets")
                break
            if ids != sorted(ids):
                self.on_surprise("order_ignored", "the statistics are not in the order of ID; they are read by offsets")
                break
            if len(rows) > PAGE:
                self.on_surprise("page_size", f"a page has {len(rows)} rows instead of {PAGE}")
            last = max(ids, default=last)
            more = len(rows) >= PAGE or (answer.next is not None and bool(rows))
            yield Page(rows, last, answer.asked_at)
            if not more:
                return
        async for page in self._by_offset(only, after):
            yield page

    async def _by_offset(self, only: Mapping[str, str], after: int) -> AsyncIterator[Page]:
        """All rows by ``start``; the cursor stays where it was until the last page.

        New rows appear at the end: forwards they are met later, backwards others are met twice. None is skipped.
        """
        start, seen, backwards = 0, after, not only
        order = "DESC" if backwards else "ASC"
        while True:
            parameters = {
                "FILTER": {**only, ">ID": str(after)}, "SORT": "ID", "ORDER": order, "start": start,
            }  # fmt: skip
            answer = await self.call(STATISTICS, parameters)
            rows = _rows(answer.result)
            seen = max([seen, *map(row_id, rows)])
            following = answer.next if answer.next is not None else start + len(rows)
            more = bool(rows) and following > start and (answer.next is not None or len(rows) >= PAGE)
            more = more and not (backwards and any(row_id(row) <= after for row in rows))
            yield Page([row for row in rows if row_id(row) > after], after if more else seen, answer.asked_at)
            if not more:
                return
            start = following

    async def newest_row(self) -> int:
        """The greatest row id; 0 without rows. Raises a PortalError."""
        answer = await self.call(STATISTICS, {"FILTER": {}, "SORT": "ID", "ORDER": "DESC", "start": 0})
        return max(map(row_id, _rows(answer.result)), default=0)

    async def count(self, only: Mapping[str, str]) -> int | None:
        """How many rows of the statistics match; None where the portal does not say. Raises a PortalError."""
        answer = await self.call(STATISTICS, {"FILTER": dict(only), "SORT": "ID", "ORDER": "ASC", "start": 0})
        return answer.total

    async def listed(
        self, method: str, parameters: Mapping[str, Any], start_key: str = "start", key: str = "",
        pages: int = 10_000,
    ) -> list[Any]:  # fmt: skip
        """Every row of a list method by offsets, of at most *pages*; under *key* of the result, if one is given.

        Raises a PortalError.
        """
        found: list[Any] = []
        start = 0
        for _ in range(pages):
            answer = await self.call(method, {**parameters, start_key: start})
            result = answer.result.get(key) if key and isinstance(answer.result, dict) else answer.result
            rows = _rows(result)
            found += rows
            if not rows or answer.next is None or answer.next <= start:
                break
            start = answer.next
        return found


STATISTICS = "voximplant.statistic.get"


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the row id from which to go on when these are durable."""

    rows: Sequence[Mapping[str, Any]]
    cursor: int
    asked_at: datetime


def row_id(row: Mapping[str, Any]) -> int:
    """The row's ID; 0 for a row without one, which can't be a cursor."""
    number = _number(row.get("ID")) or 0
    return number if 0 < number < LARGEST_ROW else 0


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"User-Agent": "callkpi"})


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(MAX_ANSWER_BYTES + 1)
    while len(body) <= MAX_ANSWER_BYTES and not response.content.at_eof():
        body += await response.content.read(MAX_ANSWER_BYTES + 1 - len(body))
    return body if len(body) <= MAX_ANSWER_BYTES else b""


def _rows(result: Any) -> list[Any]:
    """The rows of a result. PHP sends an empty list as ``[]``, and a list with gaps as an object."""
    rows = list(result.values()) if isinstance(result, dict) else result if isinstance(result, list) else []
    return [row for row in rows if isinstance(row, dict)]


def _number(value: Any) -> int | None:
    try:
        return None if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _until(reset_at: Any) -> float:
    """Seconds until the portal's own time *reset_at* (Unix); the whole window where it does not say."""
    try:
        wait = float(reset_at) - datetime.now(UTC).timestamp()
    except (TypeError, ValueError):
        return OPERATING_WINDOW_SECONDS
    return min(max(wait, 1.0), OPERATING_WINDOW_SECONDS)
