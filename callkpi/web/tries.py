"""Who asks, also behind a reverse proxy; and how often somebody may try a secret at a door that is not his.

Only wrong tries empty an address's bucket. Where nothing is left nobody looks at what is shown, or guessing would only
be slower to hear "no" and not "yes". Who has shown the right secret before is let in all the same: many people share an
address, and so do all customers of a PBX in the cloud.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web

from callkpi import config
from callkpi.web.limits import Limits
from callkpi.web.problems import Problem

#: Wrong tries that an address has, and how many more a second: enough for fingers, not for guessing.
TRIES, TRIES_PER_SECOND = 10, 1.0
#: Addresses whose right secret is remembered.
_REMEMBERED = 10_000
#: Who may write what into these headers is anybody; of a chain that is longer only the end can be ours.
_LONGEST_CHAIN = 50

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Tries:
    """The tries of one process."""

    def __init__(self, server: config.Server) -> None:
        self._trusted = [ipaddress.ip_network(text, strict=False) for text in server.trusted_proxies]
        self._limits = Limits(TRIES_PER_SECOND, TRIES)
        self._proven: OrderedDict[tuple[str, str, bytes], None] = OrderedDict()

    def check(self, request: web.Request, door: str, secret: str = "") -> None:
        """Raises Problem (429) where no try is left. *secret* is what is shown, where it is the same each time."""
        address = self.address_of(request)
        left = self._limits.look(f"{door} {address}")
        if left.allowed or (door, address, _digest(secret)) in self._proven:
            return
        raise Problem(
            429, "Too many tries", f"Try again in {left.retry_in} s", headers={hdrs.RETRY_AFTER: str(left.retry_in)}
        )

    def failed(self, request: web.Request, door: str) -> None:
        """What was shown was wrong."""
        self._limits.take(f"{door} {self.address_of(request)}")

    def passed(self, request: web.Request, door: str, secret: str = "") -> None:
        """What was shown was right."""
        key = door, self.address_of(request), _digest(secret)
        self._proven[key] = None
        self._proven.move_to_end(key)
        if len(self._proven) > _REMEMBERED:
            self._proven.popitem(last=False)

    def address_of(self, request: web.Request) -> str:
        """Who asks: the peer, or whom a proxy that is trusted names. Of IPv6 the network that one customer has."""
        peer = _address(request.remote or "")
        if peer is None:
            return request.remote or ""
        found = peer
        if self._is_trusted(peer):
            for told in _chain(request):
                named = _address(told)
                if named is None:
                    break  # no proxy of ours writes that
                found = named
                if not self._is_trusted(named):
                    break
        return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)


TRIES_OF: web.AppKey[Tries] = web.AppKey("tries", Tries)


def _chain(request: web.Request) -> Sequence[str]:
    """Those for whom proxies ask, the last proxy's first."""
    told: list[str] = []
    for line in request.headers.getall("X-Forwarded-For", ()):
        told += line.split(",")
    if not told:
        told = [each for line in request.headers.getall("Forwarded", ()) for each in _forwarded(line)]
    if not told and (single := request.headers.get("X-Real-IP")):
        told = [single]
    return told[: -_LONGEST_CHAIN - 1 : -1]


def _forwarded(line: str) -> Iterator[str]:
    """``for=192.0.2.60;proto=http, for="[2001:db8::1]:47011"`` (RFC 7239)."""
    for element in line.split(","):
        for pair in element.split(";"):
            name, _, value = pair.partition("=")
            if name.strip().lower() == "for":
                yield value.strip().strip('"')


def _address(text: str) -> _Address | None:
    """An address, with or without brackets and a port; None for what is none."""
    plain = text.strip().partition("%")[0]
    if plain.startswith("["):
        plain = plain[1:].partition("]")[0]
    elif plain.count(":") == 1:
        plain = plain.partition(":")[0]
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
