"""How fast one may ask: a bucket of requests per token and one per address, in each web process."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass

#: Seconds of the rate that a bucket holds: a page that asks for much at once is no flood.
BURST_SECONDS = 5.0
#: Buckets that are remembered; of more, those used longest ago are forgotten, and are full again.
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request at one bucket."""

    allowed: bool
    quota: int  #: requests that a full bucket holds
    left: int
    full_in: int  #: seconds until it is full again
    retry_in: int  #: seconds until the next request is taken; 0 where this one was

    @property
    def headers(self) -> dict[str, str]:
        """As the IETF's draft of RateLimit fields has them."""
        told = {
            "RateLimit-Policy": f'"default";q={self.quota};w={BURST_SECONDS:.0f}',
            "RateLimit": f'"default";r={self.left};t={self.full_in}',
        }
        return told if self.allowed else {**told, "Retry-After": str(self.retry_in)}


class Limits:
    """Buckets by name that fill at *per_second*. A rate of 0 limits nothing."""

    def __init__(self, per_second: float, quota: int = 0) -> None:
        """*quota*: what a full bucket holds; 0: :data:`BURST_SECONDS` of the rate."""
        self._rate = per_second
        self._quota = quota or max(math.floor(per_second * BURST_SECONDS), 1)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, now: float | None = None) -> Taken | None:
        """Take one request out of the bucket *name*; None where there is no limit."""
        return self._taken(self._bucket(name, now), 1) if self._rate else None

    def look(self, name: str, now: float | None = None) -> Taken:
        """What became of one more request, which is not taken. Only for a rate above 0."""
        now = time.monotonic() if now is None else now
        return self._taken(self._bucket(name, now) if name in self._buckets else _Bucket(self._quota, now), 0)

    def _bucket(self, name: str, now: float | None) -> _Bucket:
        now = time.monotonic() if now is None else now
        bucket = self._buckets.setdefault(name, _Bucket(self._quota, now))
        self._buckets.move_to_end(name)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.left = min(bucket.left + (now - bucket.at) * self._rate, self._quota)
        bucket.at = now
        return bucket

    def _taken(self, bucket: _Bucket, count: int) -> Taken:
        allowed = bucket.left >= 1
        bucket.left -= count * allowed
        return Taken(
            allowed=allowed,
            quota=self._quota,
            left=math.floor(bucket.left),
            full_in=math.ceil((self._quota - bucket.left) / self._rate),
            retry_in=0 if allowed else max(math.ceil((1 - bucket.left) / self._rate), 1),
        )
