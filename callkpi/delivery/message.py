"""What is sent, and what may become of it. A *way*, a module of this package, reaches one kind of receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from callkpi import config
from callkpi.config.report_checks import split_receiver


class Temporary(Exception):
    """It did not arrive and may go later. ``wait_seconds``: what the other side asked for."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class Permanent(Exception):
    """It will never go as it is: the text says what a person has to mend."""


class InDoubt(Exception):
    """It was handed over and nobody answered: it may have arrived."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One edition of a summary for one receiver."""

    key: str  #: the same for the same edition and receiver, whenever it is made
    earlier_key: str  #: of what this one corrects; "" of a first edition
    subject: str
    text: str  #: plain, in the receiver's language
    html: str  #: the same with markup; "" for ways that take none
    attachments: tuple[Attachment, ...] = ()
    data: Mapping[str, Any] | None = None  #: for machines
    file_stem: str = "summary"  #: name of files, without what ends it


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody or something that gets a report, as the configuration writes it: ``way:address``."""

    way: str  #: mail, telegram, bitrix24, folder, webhook
    address: str

    @property
    def digest(self) -> str:
        """Known by this in the store: an address may hold a secret."""
        return hashlib.blake2b(f"{self.way}\x1f{self.address}".encode(), digest_size=12).hexdigest()

    @property
    def label(self) -> str:
        """For eyes: of an address on the web its host alone."""
        if self.way == "webhook":
            return f"webhook {urlsplit(self.address).hostname}"
        return f"{self.way} {self.address}"


class Way(Protocol):
    """How to send to one kind of receiver."""

    #: Whether the other side knows a message that comes again, so that one in doubt may be repeated.
    knows_repetitions: bool

    async def send(self, receiver: Receiver, message: Message) -> None:
        """Return when the other side has it. Raises Temporary, Permanent, InDoubt."""


def receivers(report: config.Report) -> list[Receiver]:
    """Everybody who gets a report, each once."""
    found = [Receiver(*split) for text in report.to if (split := split_receiver(text)) is not None]
    return list(dict.fromkeys(found))
