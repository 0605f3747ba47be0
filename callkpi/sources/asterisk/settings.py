"""The keys of an Asterisk: what a forwarder shows, or the manager interface or queue_log that callkpi reads itself."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from callkpi import config
from callkpi.config import Secret, Texts, secret_setting, setting


@dataclass(frozen=True, slots=True)
class AsteriskSource(config.Source):
    """An Asterisk, or what is built on it: FreePBX, Issabel, VitalPBX."""

    HINT: ClassVar[str] = (
        "-- Asterisk (FreePBX, Issabel, VitalPBX): callkpi connects to its manager interface. In manager.conf:\n"
        "   [callkpi], secret = ..., read = call,agent,system, write = reporting; timestampevents = yes in [general]."
    )
    EXAMPLE: ClassVar[str] = (
        'ami_address = "127.0.0.1:5038"\nami_user = "callkpi"\nami_secret = ""  # as in manager.conf'
    )

    kind: Literal["asterisk"] = setting("asterisk", "what sends")
    inbound_contexts: Texts = setting((), "contexts where customers' calls arrive")
    outbound_contexts: Texts = setting((), "contexts of agents' calls to customers")
    ami_address: str = setting("", "its manager interface, host:5038; callkpi connects and keeps the connection")
    ami_user: str = setting("", "the section of manager.conf")
    ami_secret: Secret = secret_setting("", "its secret")
    ami_tls: bool = setting(False, "the address speaks TLS (tlsenable in manager.conf, port 5039)")
    ami_ca: str = setting("", "file with the certificate to trust; empty: the system's authorities")
    encoding: str = setting("", "of names in queue_log, such as cp1251; empty: UTF-8, else cp1251 by a guess")
    queue_log: str = setting("", "this file is followed, e.g. /var/log/asterisk/queue_log; not with AMI")

    @property
    def keeps_connection(self) -> bool:
        return bool(self.ami_address or self.queue_log)

    def own_problems(self, where: str) -> Iterator[str]:
        if self.ami_address:
            yield from self._ami_problems(where)
        elif self.ami_user or self.ami_secret:
            yield f'{where}.ami_address: is required with ami_user; write HOST:PORT, e.g. "pbx.example:5038"'
        if self.encoding and not _is_encoding(self.encoding):
            yield f"{where}.encoding: no such encoding; write for example cp1251"
        if self.queue_log and not self.queue_log.startswith("/"):
            yield f"{where}.queue_log: must be a whole path, e.g. /var/log/asterisk/queue_log"

    def _ami_problems(self, where: str) -> Iterator[str]:
        if not config.is_address(self.ami_address):
            yield f'{where}.ami_address: {self.ami_address!r} must be HOST:PORT, e.g. "pbx.example:5038"'
        for key, value in (("ami_user", self.ami_user), ("ami_secret", self.ami_secret)):
            if not value or not value.isprintable():
                yield f"{where}.{key}: is required with ami_address; write what manager.conf has, one line of text"
        if self.queue_log:
            yield f"{where}.queue_log: with ami_address each call would count twice; keep one of the two"


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True
