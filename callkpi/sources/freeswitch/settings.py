"""The keys of a FreeSWITCH: what its call records show, or the event socket that callkpi connects to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from callkpi import config
from callkpi.config import Secret, Texts, secret_setting, setting


@dataclass(frozen=True, slots=True)
class FreeSwitchSource(config.Source):
    """A FreeSWITCH, or what is built on it: FusionPBX."""

    EXAMPLE: ClassVar[str] = 'esl_address = "127.0.0.1:8021"\nesl_password = ""  # as in event_socket.conf.xml'

    kind: Literal["freeswitch"] = setting("freeswitch", "what sends")
    inbound_contexts: Texts = setting((), "contexts where customers' calls arrive")
    outbound_contexts: Texts = setting((), "contexts of agents' calls to customers")
    esl_address: str = setting("", "its event socket, host:8021; callkpi connects and keeps the connection")
    esl_password: Secret = secret_setting("", "the password in event_socket.conf.xml")

    @property
    def keeps_connection(self) -> bool:
        return bool(self.esl_address)

    def own_problems(self, where: str) -> Iterator[str]:
        if self.esl_password and not self.esl_address:
            yield f'{where}.esl_address: is required with esl_password; write HOST:PORT, e.g. "pbx.example:8021"'
        if not self.esl_address:
            return
        if not config.is_address(self.esl_address):
            yield f'{where}.esl_address: {self.esl_address!r} must be HOST:PORT, e.g. "pbx.example:8021"'
        if not self.esl_password or not self.esl_password.isprintable():
            yield f"{where}.esl_password: is required with esl_address; write what event_socket.conf.xml has"
