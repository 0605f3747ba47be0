"""Moments as people and programs write them: ISO 8601 with an offset, or a day of the centre's own zone."""

from __future__ import annotations

from datetime import UTC, date, datetime

from callkpi import config


class BadQuery(Exception):
    """A parameter that can't be used: which, why, what to write."""


def moment(text: str, name: str, tenant: config.Tenant) -> datetime | None:
    """A time with an offset, a local date or time of the call centre, or Unix seconds; None for "".

    Raises BadQuery, which names the parameter *name*.
    """
    if not text:
        return None
    text = text.replace(" ", "+") if "T" in text else text
    try:
        if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) > 8:
            return _within(datetime.fromtimestamp(float(text), UTC), text, name)
        at = (
            datetime.combine(date.fromisoformat(text), datetime.min.time())
            if len(text) == 10
            else datetime.fromisoformat(text)
        )
        at = at if at.tzinfo is not None else at.replace(tzinfo=tenant.zone)
        return _within(at, text, name).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise BadQuery(
            f"{name}: {text[:40]!r} is no time; write 2026-11-23, 2026-11-23T09:00:00+05:00 or Unix seconds"
        ) from None


def _within(at: datetime, text: str, name: str) -> datetime:
    if not 1971 <= at.year <= 2200:
        raise BadQuery(f"{name}: {text[:40]!r} is not between 1971 and 2200")
    return at
