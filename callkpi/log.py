"""Logs: events with fields, JSON or for a terminal. Secrets and whole phone numbers never reach them."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TextIO, cast

import structlog

from callkpi import config
from callkpi.calls.phone import mask

#: A run of digits that may be a telephone number; ids with a dot or more digits are not.
_NUMBER = re.compile(r"(?<![\w.])\+?\d{9,15}(?![\w.])")
#: Fields whose value is a number whatever it looks like.
_NUMBER_FIELDS = {"customer", "number", "phone"}
#: Of a field, of a traceback, and what is looked at of either.
_LONGEST, _LONGEST_TRACE, _LONGEST_READ = 1000, 8000, 20_000
#: Kinds of warnings that are remembered.
_KINDS = 2000
_TOKEN = re.compile(r"(?i)((?:application_token|access_token|refresh_token|token)(?:%5D|\])?[=:]\s*)[^&\s,\"']+")


def configure(settings: config.Settings, *, role: str = "") -> None:
    """Set up structlog for this process."""
    secrets = sorted(config.secrets_of(settings), key=len, reverse=True)
    wants_console = settings.log.format == "console" or (settings.log.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if wants_console else structlog.processors.JSONRenderer()
    level = getattr(logging, settings.log.level.upper())
    structlog.configure(
        processors=[
            Floods(),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _Redact(secrets),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**({"role": role} if role else {}))
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


class _Unfailing(io.TextIOBase):
    """Standard error, whose disk may be full: a line that can't be written must not end what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _Bridge(logging.Handler):
    """Lines of libraries as events of ours: redacted, one each. A client's broken request is no traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        known = {"error": f"{type(error).__name__}: {error}"[:200]} if error else {}
        logger = structlog.get_logger()
        logger.log(record.levelno, "library", logger=record.name, text=record.getMessage()[:200], **known)


class Floods:
    """Lets some warnings and errors of one kind and source through, and says of the next one how many were left out.

    What strangers send makes most of them: a log must not grow as fast as anybody can send. The same is counted in the
    metrics, each of them.
    """

    def __init__(self, burst: int = 20, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        """*burst* at once, and one more each so many *seconds*."""
        self._burst, self._seconds, self._clock = burst, seconds, clock
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if method not in ("warning", "error"):
            return event
        key = tuple(str(event.get(name, ""))[:100] for name in ("event", "source", "tenant", "route", "logger"))
        now = self._clock()
        told = self._told.setdefault(key, _Told(self._burst, now))
        self._told.move_to_end(key)
        if len(self._told) > _KINDS:
            self._told.popitem(last=False)
        told.left = min(told.left + (now - told.at) / self._seconds, self._burst)
        told.at = now
        if told.left < 1:
            told.left_out += 1
            raise structlog.DropEvent
        told.left -= 1
        if told.left_out:
            event["left_out"], told.left_out = told.left_out, 0
        return event


@dataclass(slots=True)
class _Told:
    left: float
    at: float
    left_out: int = 0


class _Redact:
    """Take secrets out, mask numbers and cut what is long, in every field of every event."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {key[:_LONGEST]: self._clean(key, value) for key, value in event.items()}

    def _clean(self, key: str, value: Any) -> Any:
        if key in _NUMBER_FIELDS:
            return mask(str(value)[:_LONGEST])
        if key in ("timestamp", "level") or value is None or isinstance(value, (bool, int, float)):
            return value
        if not isinstance(value, str):
            plain = redact(str(value)[:_LONGEST_READ], self._secrets)
            return value if plain == str(value) and len(plain) <= _LONGEST else cut(plain, _LONGEST)
        if key == "exception":
            # The end says what it was, and where.
            return redact(value[-_LONGEST_READ:], self._secrets)[-_LONGEST_TRACE:]
        # A secret that is cut is not found: what is far beyond the end goes first, the rest when it is clean.
        return cut(redact(value[:_LONGEST_READ], self._secrets), _LONGEST)


def cut(text: str, most: int) -> str:
    """*text*, or its begin and how long it was."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def redact(text: str, secrets: Collection[str]) -> str:
    """*text* without secrets, and with masked numbers."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    text = _TOKEN.sub(r"\1[secret]", text)
    return _NUMBER.sub(lambda match: mask(match.group()), text)
