"""What is weak in the secrets that open callkpi's doors: refused where not only this machine may knock, else told."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from callkpi.config.tree import Settings

#: Shorter ones are found by trying; shorter than the second one only by who tries for long.
SHORTEST, SHORT = 8, 16
MAKE = "'openssl rand -hex 24' makes a good one"
#: What examples and habits write where a secret belongs, without signs and in small letters.
_PLACEHOLDERS = frozenset({
    "changeme", "changethis", "changeit", "replaceme", "secret", "mysecret", "topsecret", "yoursecret", "token",
    "mytoken", "yourtoken", "thetoken", "apitoken", "accesstoken", "password", "mypassword", "yourpassword",
    "passw0rd", "admin", "administrator", "default", "example", "exampletoken", "placeholder", "callkpi",
    "callkpitoken", "qwerty", "qwertyuiop", "letmein", "alongrandomstring", "longrandomstring", "randomstring",
    "somesecret", "sometoken", "testtoken", "testsecret", "testtest", "12345678", "123456789", "1234567890",
    "0123456789", "0123456789abcdef", "clueconclue",
})  # fmt: skip


def secret_problems(settings: Settings) -> Iterator[str]:
    """Secrets that anybody guesses, where others than this machine reach the doors."""
    if not is_for_this_machine(settings):
        yield from (f"{where}: {what}" for where, what, is_bad in _weak(settings) if is_bad)


def warnings(settings: Settings) -> list[str]:
    """What can be used and should not stay so, a line each; never with the secret."""
    told = [f"{where} {what}" for where, what, is_bad in _weak(settings) if not is_bad or is_for_this_machine(settings)]
    if not settings.server.metrics_token and not is_for_this_machine(settings):
        told.append(
            f"/metrics is open to everybody who reaches {settings.server.listen}, and its labels name queues, lines "
            f"and agents; set server.metrics_token ({MAKE}), or let a firewall or a proxy keep strangers away"
        )
    return told


def is_for_this_machine(settings: Settings) -> bool:
    """Whether only programs of this machine reach the address that is listened on."""
    host, _, _ = settings.server.listen.rpartition(":")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _weak(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Where each weak secret is, what is to be said of it, and whether it is as good as none."""
    for where, secret in _secrets_of_doors(settings):
        plain = re.sub(r"[\W_]", "", secret.lower())
        if plain in _PLACEHOLDERS or len(set(plain)) < 3:
            yield where, f"is what anybody writes there, and no secret; {MAKE}", True
        elif len(secret) < SHORTEST:
            yield where, f"has {len(secret)} characters, and is found by trying; write at least {SHORT}: {MAKE}", True
        elif len(secret) < SHORT:
            yield where, f"has only {len(secret)} characters; write at least {SHORT}: {MAKE}", False


def _secrets_of_doors(settings: Settings) -> Iterator[tuple[str, str]]:
    """What strangers may try. Those of PBXes that callkpi itself connects to are shown to nobody."""
    for name in ("api_token", "metrics_token"):
        if secret := getattr(settings.server, name):
            yield f"server.{name}", secret
    for name, source in settings.sources.items():
        for key in source.DOOR_KEYS:
            value = getattr(source, key)
            yield from (
                (f"sources.{name}.{key}", each) for each in ((value,) if isinstance(value, str) else value) if each
            )
