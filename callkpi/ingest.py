"""The way of a delivery from any door to the journal: who sent it, what it says, keep it, acknowledge."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, quote_plus

import asyncpg
import structlog

from callkpi import config, plausible, privacy, store
from callkpi.health import Health
from callkpi.journal import Journal, JournalUnavailable, Unstorable
from callkpi.model import CallEvent
from callkpi.sources import SOURCE_TYPES, base
from callkpi.sources.base import Answer, Context, Delivery, Malformed, Parsed, SourceType
from callkpi.sources.tables import CSV, MEDIA_TYPES
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
    answer: Answer | None = None  #: what the sender wants to hear; None: these counts


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
        self._sources = {name: settings.with_zone(source) for name, source in settings.sources.items()}
        self._bounds = {name: plausible.Bounds.of(tenant) for name, tenant in settings.tenants.items()}
        self._spool = spool
        self._pool = pool
        self._journal = journal
        self._health = health
        self._forgotten = privacy.Forgotten(settings)
        secrets = config.secrets_of(settings)
        written = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        self._secrets = sorted((form.encode() for form in written), key=len, reverse=True)

    async def take(self, name: str, delivery: Delivery) -> Receipt:
        """Take one delivery. Returns when it is durable.

        Raises UnknownSource, Unauthorised, Malformed (nothing kept: it could not be told who sent it, or it was
        kept as rejected where it could) and JournalUnavailable.
        """
        settings = self._sources.get(name)
        if settings is None:
            self._health.count("ingest_refused", source="", label="unknown_source")
            raise UnknownSource(name)
        source_type = _reader(settings, delivery.content_type)
        try:
            payload = base.decoded(source_type, delivery)
        except Malformed as error:
            await self._malformed(name, settings, source_type, delivery, error)
            raise
        if not base.proven(source_type, delivery, payload, settings):
            self._health.count("ingest_refused", source=name, label="unauthorised")
            raise Unauthorised(name)
        if settings.funnel.enabled:
            await self._count_echoes(name, source_type.crm_items(payload))
        context = Context(name, settings.tenant, settings, delivery.received_at)
        parsed = source_type.parse(payload, context)
        try:
            return await self._keep(parsed, context, source_type)
        except JournalUnavailable:
            await self._to_spool(name, delivery)
            return _receipt(parsed, source_type)

    async def _count_echoes(self, name: str, items: Sequence[tuple[int, bool]]) -> None:
        """Deliveries that tell of items which we wrote ourselves. They are ignored as all of the CRM's are."""
        if items:
            columns = [[number for number, _ in items], [is_new for _, is_new in items]]
            with contextlib.suppress(*store.FAILURES):  # A count is not worth a sender's patience.
                count = await self._pool.fetchval(store.query("crm", "echoes"), name, *columns, timeout=2)
                self._health.count("crm_echoes", count, source=name)

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
        source_type = _reader(settings, item.media_type)
        context = Context(item.source, settings.tenant, settings, item.received_at)
        delivery = Delivery(item.body, item.media_type, "", item.received_at)
        try:
            parsed = source_type.parse(base.decoded(source_type, delivery), context)
            await self._keep(parsed, context, source_type)
        except JournalUnavailable:
            raise
        except (Malformed, Unstorable) as error:
            await self._reject(context, source_type.media_type, [(item.body, str(error))])
        except Exception as error:
            # It must not hold up those behind it: kept like all that is not understood, for a replay after a fix.
            log.exception("spool.unforeseen", source=item.source, number=item.number)
            reason = f"unforeseen: {type(error).__name__}; the daemon's log says more"
            await self._reject(context, source_type.media_type, [(item.body, reason)])
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
        return await self._keep(parsed, context, source_type, is_voice=is_voice, counted=counted)

    def greet(self, name: str, query: Mapping[str, str]) -> Answer | None:
        """Answer to a GET by which a sender checks the address, None where the source has no such check."""
        settings = self._sources.get(name)
        return SOURCE_TYPES[settings.kind].greet(query) if settings is not None else None

    def has_paths(self, name: str) -> bool:
        """Whether the sender adds paths of its own to the address of this source's door."""
        settings = self._sources.get(name)
        return settings is not None and SOURCE_TYPES[settings.kind].has_paths

    def takes_queries(self, name: str) -> bool:
        """Whether a GET to this source's door is a delivery."""
        settings = self._sources.get(name)
        return settings is not None and SOURCE_TYPES[settings.kind].takes_queries

    async def replay(self, name: str, media_type: str, payload: bytes, received_at: datetime) -> Receipt:
        """Take a payload that was rejected before, without its secret: it was authentic when it came."""
        settings = self._sources.get(name)
        if settings is None:
            raise UnknownSource(name)
        source_type = _reader(settings, media_type)
        delivery = Delivery(payload, media_type, "", received_at)
        context = Context(name, settings.tenant, settings, received_at)
        parsed = source_type.parse(base.decoded(source_type, delivery), context)
        if parsed.rejected:
            return Receipt(0, parsed.ignored, len(parsed.rejected), parsed.rejected[0][1])
        return await self._keep(parsed, context, source_type)

    async def _malformed(
        self, name: str, settings: config.Source, source_type: SourceType, delivery: Delivery, error: Malformed
    ) -> None:
        """Keep what can't be decoded if its sender proved who he is outside of the body."""
        if not base.proven(source_type, delivery, None, settings):
            self._health.count("ingest_refused", source=name, label="malformed")
            return
        context = Context(name, settings.tenant, settings, delivery.received_at)
        try:
            await self._reject(context, source_type.media_type, [(delivery.body, str(error))])
        except JournalUnavailable:
            await self._to_spool(name, delivery)

    async def _keep(
        self, parsed: Parsed, context: Context, source_type: SourceType, *, is_voice: bool = True, counted: bool = True
    ) -> Receipt:
        if parsed.rejected:
            await self._reject(context, source_type.media_type, parsed.rejected)
        await self._judge_times(parsed, context)
        await self._forget(parsed, context.source)
        await self._journal.append(parsed.events, counted=counted)
        self._health.count("ingest_events", parsed.ignored, source=context.source, label="ignored")
        self._note(context, parsed.events, source_type.known_codes, is_voice=is_voice)
        return _receipt(parsed, source_type)

    async def _judge_times(self, parsed: Parsed, context: Context) -> None:
        """Give events whose time can't be the time at which they came.

        Their own time is no part of the journal's key then, and so those that are there already are left out here.
        """
        bounds = self._bounds[context.tenant]
        believed = [plausible.believed(event, bounds) for event in parsed.events]
        moved = [event for event in believed if event.told_at]
        if not moved:
            return
        columns = [[event.call_id for event in moved], [event.event_id for event in moved]]
        try:
            rows = await self._pool.fetch(
                store.query("journal", "known_events"), context.tenant, context.source, *columns
            )
        except store.FAILURES as error:
            raise JournalUnavailable(type(error).__name__) from error
        known = {(row["call_id"], row["event_id"]) for row in rows}
        parsed.events = [e for e in believed if not (e.told_at and (e.call_id, e.event_id) in known)]
        self._health.count("ingest_implausible_times", len(moved) - len(known), source=context.source)
        log.warning("ingest.implausible_times", source=context.source, events=len(moved), why="check its clock")

    async def _forget(self, parsed: Parsed, source: str) -> None:
        """Leave out of *parsed* what is older than events are kept, and numbers that were erased."""
        try:
            await self._forgotten.refresh(self._pool)
        except store.FAILURES as error:
            raise JournalUnavailable(type(error).__name__) from error
        told = len(parsed.events)
        parsed.events = self._forgotten.admit(parsed.events)
        if old := told - len(parsed.events):
            parsed.ignored += old
            self._health.count("ingest_too_old", old, source=source)
            log.warning("ingest.too_old", source=source, events=old, why="older than retention.journal_months")

    def _note(
        self, context: Context, events: Iterable[CallEvent], known: frozenset[str] | None, *, is_voice: bool
    ) -> None:
        newest: datetime | None = None
        for event in events:
            newest = event.at if newest is None or event.at > newest else newest
            if event.direction == "unknown":
                self._health.count("source_unknown_values", source=context.source, label="call_type")
            if event.code and known is not None and event.code not in known:
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
            payload = payload.replace(secret, b"[secret]")
        return payload


def _reader(settings: config.Source, content_type: str) -> SourceType:
    """What reads a delivery: the source's own kind, or for a table of calls the reader of tables."""
    if settings.columns and content_type in MEDIA_TYPES:
        return CSV
    return SOURCE_TYPES[settings.kind]


def _receipt(parsed: Parsed, source_type: SourceType) -> Receipt:
    reason = parsed.rejected[0][1] if parsed.rejected else ""
    return Receipt(len(parsed.events), parsed.ignored, len(parsed.rejected), reason, source_type.acknowledgement)
