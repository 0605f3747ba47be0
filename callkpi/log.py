"""Logs: events with fields, JSON or for a terminal. Secrets and whole phone numbers never reach them."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, TextIO, cast

import structlog

from callkpi import config
from callkpi.phone import mask

#: A run of digits that may be a telephone number; ids with a dot or more digits are not.
_NUMBER = re.compile(r"(?<![\w.])\+?\d{9,15}(?![\w.])")
#: Fields whose value is a number whatever it looks like.
_NUMBER_FIELDS = {"customer", "number", "phone"}
_TOKEN = re.compile(r"(?i)((?:application_token|access_token|refresh_token|token)(?:%5D|\])?[=:]\s*)[^&\s,\"']+")


def configure(settings: config.Settings, *, role: str = "") -> None:
    """Set up structlog for this process."""
    secrets = sorted(config.secrets_of(settings), key=len, reverse=True)
    wants_console = settings.log.format == "console" or (settings.log.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if wants_console else structlog.processors.JSONRenderer()
    level = getattr(logging, settings.log.level.upper())
    structlog.configure(
        processors=[
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


class _Redact:
    """Take secrets out and mask numbers, in every field of every event."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        return {key: self._clean(key, value) for key, value in event.items()}

    def _clean(self, key: str, value: Any) -> Any:
        if key in _NUMBER_FIELDS:
            return mask(str(value))
        if key in ("timestamp", "level") or not isinstance(value, str):
            return value
        return redact(value, self._secrets)


def redact(text: str, secrets: Collection[str]) -> str:
    """*text* without secrets, and with masked numbers."""
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    text = _TOKEN.sub(r"\1[secret]", text)
    return _NUMBER.sub(lambda match: mask(match.group()), text)
