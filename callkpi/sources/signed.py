"""The keys of kinds that sign what they send."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from callkpi import config
from callkpi.config import Secrets, secret_setting


@dataclass(frozen=True, slots=True)
class SignedSource(config.Source):
    """A source that proves itself by a signature."""

    SHOWS_TOKEN: ClassVar[bool] = False
    DOOR_KEYS: ClassVar[tuple[str, ...]] = ("token", "secrets")
    #: What the vendor calls the secret.
    SECRET_NAME: ClassVar[str] = "secret"

    secrets: Secrets = secret_setting((), "what the vendor signs with; two while you change it")

    def own_problems(self, where: str) -> Iterator[str]:
        if not any(self.secrets):
            yield f'{where}.secrets: is required; write ["the {self.SECRET_NAME} that {self.kind} shows"]'
