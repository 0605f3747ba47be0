"""The way of a delivery from any door to the journal: who sent it, what it says, keep it, acknowledge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

import asyncpg
import structlog

from callkpi import config, store
from callkpi.health import Health
from callkpi.journal import Journal, JournalUnavailable, Unstorable
from callkpi.model import CallEvent
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context, Delivery, Malformed, Parsed, authenticated
from callkpi.spool import Spool, Spooled, SpoolFull

log = structlog.get_logger()


class Unauthorised(Exception):
    """The delivery's secret is not one of this source's."""


class UnknownSource(Exception):
    """No source of that name is configured."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. Everything counted here is durable."""

    events: int
    ignored: int
    rejected: int
    reason: str = ""  #: of the first rejected payload


class Ingest:
    """Takes deliveries for the configured sources."""

    def __init__(
        self,
        settings: config.Settings,
        pool: asyncpg.Pool,
        journal: Journal,
        health: Health,
        spool: Spool | None = None,
    ) -> None:
        """*spool* takes what comes while the journal is not available; without one it is refused."""
        self._sources = settings.sources
        self._spool = spool
        self._pool = pool
        self._journal = journal
        self._health = health
        secrets = config.secrets_of(settings)
        self._secrets = sorted({*secrets, *map(quote_plus, secrets)}, key=len, reverse=True)

    async def take(self, name: str, delivery: Delivery) -> Receipt:
        """Take one delivery. Returns when it is durable.

        Raises UnknownSource, Unauthorised, Malformed (nothing kept: it could not be told who sent it, or it was
        kept as rejected where it could) and JournalUnavailable.
        """
        settings = self._sources.get(name)
        if settings is None:
            self._health.count("ingest_refused", source="", label="unknown_source")
            raise UnknownSource(name)
        source_type = SOURCE_TYPES[settings.kind]
        try:
            payload = source_type.decode(delivery)
        except Malformed as error:
            await self._malformed(name, settings, delivery, error)
            raise
        if not authenticated(source_type, settings, source_type.token(delivery, payload)):
            self._health.count("ingest_refused", source=name, label="unauthorised")
            raise Unauthorised(name)
        context = Context(name, settings.tenant, settings, delivery.received_at)
        parsed = source_type.parse(payload, context)
        try:
            return await self._keep(parsed, context, source_type.media_type)
        except JournalUnavailable:
            await self._to_spool(name, delivery)
            return _receipt(parsed)

    async def _to_spool(self, name: str, delivery: Delivery) -> None:
        """Keep a delivery for when the journal is back. Raises JournalUnavailable where that can't be."""
        if self._spool is None:
            raise JournalUnavailable("no spool is configured")
        body = self._without_secrets(delivery.body)
        try:
            await self._spool.put(Spooled(name, delivery.content_type, delivery.received_at, body))
        except SpoolFull as error:
            self._health.count("spool_refused", source=name)
            raise JournalUnavailable(f"the spool is full: {error}") from error
        self._health.count("spool_put", source=name)

    async def take_spooled(self, item: Spooled) -> bool:
        """Take a delivery out of the spool. False leaves it there: its source is not configured any more.

        Raises JournalUnavailable.
        """
        settings = self._sources.get(item.source)
        if settings is None:
            return False
        source_type = SOURCE_TYPES[settings.kind]
        context = Context(item.source, settings.tenant, settings, item.received_at)
        delivery = Delivery(item.body, item.media_type, "", item.received_at)
        try:
            parsed = source_type.parse(source_type.decode(delivery), context)
            await self._keep(parsed, context, source_type.media_type)
        except (Malformed, Unstorable) as error:
            await self._reject(context, source_type.media_type, [(item.body, str(error))])
        return True

    async def take_fetched(
        self, name: str, items: Sequence[Any], received_at: datetime, *, is_voice: bool, counted: bool
    ) -> Receipt:
        """Take payloads that we asked a configured source for: no secret to check. Returns when they are durable.

        *is_voice*: the source has no other way to speak. Else what we fetched must not hide that it fell silent.
        *counted*: see :meth:`Journal.append`.
        """
        settings = self._sources[name]
        source_type = SOURCE_TYPES[settings.kind]
        context = Context(name, settings.tenant, settings, received_at)
        parsed = source_type.parse(items, context)
        return await self._keep(parsed, context, source_type.media_type, is_voice=is_voice, counted=counted)

    async def replay(self, name: str, media_type: str, payload: bytes, received_at: datetime) -> Receipt:
        """Take a payload that was rejected before, without its secret: it was authentic when it came."""
        settings = self._sources.get(name)
        if settings is None:
            raise UnknownSource(name)
        source_type = SOURCE_TYPES[settings.kind]
        delivery = Delivery(payload, media_type, "", received_at)
        context = Context(name, settings.tenant, settings, received_at)
        parsed = source_type.parse(source_type.decode(delivery), context)
        if parsed.rejected:
            return Receipt(0, parsed.ignored, len(parsed.rejected), parsed.rejected[0][1])
        return await self._keep(parsed, context, media_type)

    async def _malformed(self, name: str, settings: config.Source, delivery: Delivery, error: Malformed) -> None:
        """Keep what can't be decoded if its sender proved who he is outside of the body."""
        if not authenticated(SOURCE_TYPES[settings.kind], settings, delivery.presented_token):
            self._health.count("ingest_refused", source=name, label="malformed")
            return
        context = Context(name, settings.tenant, settings, delivery.received_at)
        try:
            await self._reject(context, SOURCE_TYPES[settings.kind].media_type, [(delivery.body, str(error))])
        except JournalUnavailable:
            await self._to_spool(name, delivery)

    async def _keep(
        self, parsed: Parsed, context: Context, media_type: str, *, is_voice: bool = True, counted: bool = True
    ) -> Receipt:
        if parsed.rejected:
            await self._reject(context, media_type, parsed.rejected)
        await self._journal.append(parsed.events, counted=counted)
        self._health.count("ingest_events", parsed.ignored, source=context.source, label="ignored")
        self._note(context, parsed.events, is_voice=is_voice)
        return _receipt(parsed)

    def _note(self, context: Context, events: Iterable[CallEvent], *, is_voice: bool) -> None:
        newest: datetime | None = None
        for event in events:
            newest = event.at if newest is None or event.at > newest else newest
            if event.direction == "unknown":
                self._health.count("source_unknown_values", source=context.source, label="call_type")
            if event.code and event.cause == "failed" and event.code not in _KNOWN_CODES:
                self._health.count("source_unknown_values", source=context.source, label="failed_code")
        if is_voice:
            self._health.heard(context.source, newest, context.received_at)

    async def _reject(self, context: Context, media_type: str, rejected: list[tuple[bytes, str]]) -> None:
        self._health.count("ingest_events", len(rejected), source=context.source, label="rejected")
        for payload, reason in rejected:
            kept = self._without_secrets(payload)
            digest = hashlib.blake2b(kept, digest_size=16).hexdigest()
            text = reason.replace("\x00", "").encode("utf-8", "replace").decode()[:1000]
            row: list[Any] = [
                context.tenant,
                context.source,
                digest,
                context.received_at,
                media_type,
                kept,
                text,
            ]
            try:
                await self._pool.execute(store.query("journal", "reject"), *row)
            except store.FAILURES as error:
                raise JournalUnavailable(type(error).__name__) from error
        log.warning("ingest.rejected", source=context.source, count=len(rejected), reason=rejected[0][1][:200])

    def _without_secrets(self, payload: bytes) -> bytes:
        for secret in self._secrets:
            payload = payload.replace(secret.encode(), b"[secret]")
        return payload


def _receipt(parsed: Parsed) -> Receipt:
    reason = parsed.rejected[0][1] if parsed.rejected else ""
    return Receipt(len(parsed.events), parsed.ignored, len(parsed.rejected), reason)


#: Documented Bitrix24 codes that mean a failure; any other code that ends as failed is new to us.
_KNOWN_CODES = frozenset({"402", "403", "404", "423", "484", "503", "OTHER"})
