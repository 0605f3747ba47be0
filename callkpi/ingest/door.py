"""The way of a delivery from any door to the journal: who sent it, what it says, keep it, acknowledge."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import asyncpg
import structlog

from callkpi import config
from callkpi.calls import plausible
from callkpi.calls.model import CallEvent
from callkpi.database import store
from callkpi.database.errors import is_passing
from callkpi.health import Health
from callkpi.ingest import forgotten
from callkpi.ingest.journal import Journal, JournalUnavailable, Unstorable
from callkpi.ingest.spool import Spool, Spooled, SpoolFull
from callkpi.sources import SOURCE_TYPES, base
from callkpi.sources.base import Answer, Context, Delivery, Malformed, Parsed, SourceType
from callkpi.sources.parts import Part
from callkpi.sources.reading import SMALL_BYTES, Read, Reader
from callkpi.sources.tables import CSV, MEDIA_TYPES

log = structlog.get_logger()

T = TypeVar("T")

#: What is read at once, on the loop.
_INLINE_BYTES = 16 * 1024
#: Of one delivery so many payloads that are not understood are kept each for itself; more of them by parts.
MOST_APART = 1000
#: A database that takes longer to keep what is rejected is treated as one that is away.
REJECT_SECONDS = 10.0
#: A count of echoes is not worth more of a sender's patience.
ECHO_SECONDS = 2.0
_NOT_READ = "nothing of what stands before it in its delivery was understood: not read, kept whole"


class Unauthorised(Exception):
    """The delivery's secret is not one of this source's."""


class UnknownSource(Exception):
    """No source of that name is configured."""


@dataclass(frozen=True, slots=True)
class Authentic:
    """A delivery's sender is who it says."""

    payload: Any = None  #: the decoded body, where the proof is in it


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
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._forgotten = forgotten.Forgotten(settings)
        secrets = config.secrets_of(settings)
        written = {form for secret in secrets for form in (secret, quote(secret, safe=""), quote_plus(secret))}
        self._secrets = sorted((form.encode() for form in written), key=len, reverse=True)

    def proven(self, name: str, delivery: Delivery) -> bool:
        """Whether a sender has proven who it is by what is outside of the body, which may not be read yet.

        False where the proof may be in the body. Raises UnknownSource, and Unauthorised where it can't be there.
        """
        settings = self._sources.get(name)
        if settings is None:
            self._health.count("ingest_refused", source="", label="unknown_source")
            raise UnknownSource(name)
        source_type = _reader(settings, delivery.content_type)
        if base.proven(source_type, delivery, None, settings):
            return True
        if not source_type.proof_in_body:
            self._health.count("ingest_refused", source=name, label="unauthorised")
            raise Unauthorised(name)
        return False

    async def authenticated(self, name: str, delivery: Delivery) -> Authentic:
        """A delivery whose sender has proven who it is. Raises UnknownSource, Unauthorised and Malformed."""
        return Authentic(None if self.proven(name, delivery) else await self._proven_by_body(name, delivery))

    async def take(self, name: str, delivery: Delivery, authentic: Authentic | None = None) -> Receipt:
        """Take one delivery, a big one in parts. Returns when all of it is durable.

        *authentic*: what :meth:`authenticated` said of it, where it was asked already.

        Raises UnknownSource, Unauthorised, Malformed (nothing kept: it could not be told who sent it, or it was
        kept as rejected where it could) and JournalUnavailable; a part may be durable then, and is no harm again.
        """
        authentic = authentic or await self.authenticated(name, delivery)
        settings = self._sources[name]
        reader = self._reading(name, delivery, authentic.payload if len(delivery.body) <= SMALL_BYTES else None)
        tally = _Tally()
        async for read in self._reads(reader, len(delivery.body)):
            if settings.writes_items:
                await self._count_echoes(name, read.items)
            try:
                await self._keep_read(reader, read, apart=tally.takes_apart(read))
            except JournalUnavailable:
                await self._to_spool(name, reader.as_delivery(read))
            tally.add(read)
            if tally.is_hopeless(read):
                await self._rest_at_the_door(name, reader, tally)
        tally.raise_if_malformed()
        return tally.receipt(reader.type)

    async def _rest_at_the_door(self, name: str, reader: Reader, tally: _Tally) -> None:
        if rest := await self._rest(reader):
            try:
                await self._reject(reader, [(rest, _NOT_READ)], 1)
            except JournalUnavailable:
                await self._to_spool(name, reader.with_body(rest))
            tally.rejected += 1

    async def _rest(self, reader: Reader) -> bytes:
        """What was not read of a delivery, of which no more is read."""
        rest = await self._aside(_INLINE_BYTES + 1, reader.rest)
        reader.end()
        return rest

    async def _proven_by_body(self, name: str, delivery: Delivery) -> Any:
        """The decoded delivery, if what is in it proves who sent it."""
        settings = self._sources[name]
        source_type = _reader(settings, delivery.content_type)
        try:
            payload = await self._aside(len(delivery.body), base.decoded, source_type, delivery)
        except Malformed:
            self._health.count("ingest_refused", source=name, label="malformed")
            raise
        if not base.proven(source_type, delivery, payload, settings):
            self._health.count("ingest_refused", source=name, label="unauthorised")
            raise Unauthorised(name)
        return payload

    def _reading(self, name: str, delivery: Delivery, payload: Any = None) -> Reader:
        settings = self._sources[name]
        context = Context(name, settings.tenant, settings, delivery.received_at)
        return Reader(_reader(settings, delivery.content_type), delivery, context, payload)

    async def _reads(self, reader: Reader, size: int) -> AsyncIterator[Read]:
        """The parts of a delivery, each read in a step that holds up nobody for long."""
        while (read := await self._aside(size, reader.read)) is not None:
            yield read

    async def _aside(self, size: int, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work on *size* bytes: at once where they are few, else beside the loop, one at a time."""
        if size <= _INLINE_BYTES:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _keep_read(self, reader: Reader, read: Read, *, apart: bool) -> None:
        """Make a part durable: its events, and what of it was not understood. Raises JournalUnavailable.

        *apart*: each payload that was not understood by itself, else the part as it is.
        """
        if rejected := read.parsed.rejected:
            if not apart:
                rejected = [(read.part.body, f"{len(rejected)} of its payloads were not understood; {rejected[0][1]}")]
            await self._reject(reader, rejected, len(read.parsed.rejected))
        if refusal := await self._journalled(reader, read):
            await self._reject(reader, [(read.part.body, refusal)], read.refused)

    async def _journalled(self, reader: Reader, read: Read, *, is_voice: bool = True, counted: bool = True) -> str:
        """Journal the events of a part. Returns why the database refused some of them. Raises JournalUnavailable."""
        parsed, source = read.parsed, reader.context.source
        for note in parsed.notes:
            log.warning("ingest.guessed", source=source, note=note)
        await self._judge_times(parsed, reader.context)
        await self._forget(parsed, source)
        try:
            await self._journal.append(parsed.events, counted=counted)
        except Unstorable as error:
            read.refused = error.refused
            read.refusal = f"the database refuses {error.refused} of its events: {error}"
        self._health.count("ingest_events", parsed.ignored, source=source, label="ignored")
        self._note(reader.context, parsed.events, reader.type.known_codes, is_voice=is_voice)
        return read.refusal

    async def _count_echoes(self, name: str, items: Sequence[tuple[int, bool]]) -> None:
        """Deliveries that tell of items which we wrote ourselves. They are ignored as all of the CRM's are."""
        if items:
            columns = [[number for number, _ in items], [is_new for _, is_new in items]]
            with contextlib.suppress(*store.FAILURES):  # A count is not worth a sender's patience.
                async with store.within(self._pool, ECHO_SECONDS) as connection:
                    count = await connection.fetchval(store.query("crm", "echoes"), name, *columns)
                self._health.count("crm_echoes", count, source=name)

    async def _to_spool(self, name: str, delivery: Delivery) -> None:
        """Keep a delivery for when the journal is back. Raises JournalUnavailable where that can't be."""
        if self._spool is None:
            raise JournalUnavailable("no spool is configured")
        body = await self._aside(len(delivery.body), self._without_secrets, delivery.body)
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
        if item.source not in self._sources:
            return False
        reader = self._reading(item.source, Delivery(item.body, item.media_type, "", item.received_at))
        tally = _Tally()
        async for read in self._reads(reader, len(item.body)):
            await self._keep_read(reader, read, apart=tally.takes_apart(read))
            tally.add(read)
            if tally.is_hopeless(read) and (rest := await self._rest(reader)):
                await self._reject(reader, [(rest, _NOT_READ)], 1)
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
        reader = Reader(source_type, Delivery(b"", source_type.media_type, "", received_at), context)
        read = Read(Part(b""), source_type.parse(items, context))
        if rejected := read.parsed.rejected:
            await self._reject(reader, rejected, len(rejected))
        if refusal := await self._journalled(reader, read, is_voice=is_voice, counted=counted):
            await self._reject(reader, [(base.dump(list(items)), refusal)], read.refused)
        tally = _Tally()
        tally.add(read)
        return tally.receipt(source_type)

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
        if name not in self._sources:
            raise UnknownSource(name)
        reader = self._reading(name, Delivery(payload, media_type, "", received_at))
        tally = _Tally()
        async for read in self._reads(reader, len(payload)):
            await self._journalled(reader, read)
            tally.add(read)
        tally.raise_if_malformed()
        return tally.receipt(reader.type)

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
            async with store.within(self._pool, REJECT_SECONDS) as connection:
                rows = await connection.fetch(
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

    async def _reject(self, reader: Reader, rejected: Sequence[tuple[bytes, str]], count: int) -> None:
        """Keep payloads that were not understood, in one statement; *count* is of how many they tell."""
        rows = await self._aside(sum(len(payload) for payload, _ in rejected), self._rejected_rows, rejected)
        columns = [[row[column] for row in rows] for column in range(3)]
        context = reader.context
        whose = (context.tenant, context.source, context.received_at, reader.type.media_type)
        try:
            async with store.within(self._pool, REJECT_SECONDS) as connection:
                await connection.execute(store.query("journal", "reject"), *whose, *columns)
        except Exception as error:
            if not is_passing(error):
                log.error("ingest.not_kept", source=context.source, error=type(error).__name__)
                raise
            raise JournalUnavailable(type(error).__name__) from error
        self._health.count("ingest_events", count, source=context.source, label="rejected")
        log.warning("ingest.rejected", source=context.source, count=count, reason=rejected[0][1][:200])

    def _rejected_rows(self, rejected: Sequence[tuple[bytes, str]]) -> list[tuple[str, bytes, str]]:
        """Digest, payload and reason; equal payloads are one row."""
        rows = {}
        for payload, reason in rejected:
            kept = self._without_secrets(payload)
            digest = hashlib.blake2b(kept, digest_size=16).hexdigest()
            rows[digest] = (digest, kept, reason.replace("\x00", "").encode("utf-8", "replace").decode()[:1000])
        return list(rows.values())

    def _without_secrets(self, payload: bytes) -> bytes:
        for secret in self._secrets:
            payload = payload.replace(secret, b"[secret]")
        return payload


def _reader(settings: config.Source, content_type: str) -> SourceType:
    """What reads a delivery: the source's own kind, or for a table of calls the reader of tables."""
    if settings.columns and content_type in MEDIA_TYPES:
        return CSV
    return SOURCE_TYPES[settings.kind]


@dataclass(slots=True)
class _Tally:
    """What became of the parts of a delivery so far."""

    events: int = 0
    ignored: int = 0
    rejected: int = 0
    parts: int = 0
    reason: str = ""  #: of the first that was rejected
    malformed: str = ""  #: why the first part could not be read

    def add(self, read: Read) -> None:
        parsed = read.parsed
        self.reason = self.reason or (parsed.rejected[0][1] if parsed.rejected else read.refusal)
        if not self.parts:
            self.malformed = read.malformed
        self.parts += 1
        self.events += len(parsed.events) - read.refused
        self.ignored += parsed.ignored
        self.rejected += len(parsed.rejected) + read.refused

    def takes_apart(self, read: Read) -> bool:
        """Whether each payload of a part that was not understood may be kept by itself."""
        return self.rejected + len(read.parsed.rejected) <= MOST_APART

    def is_hopeless(self, read: Read) -> bool:
        """Whether enough was rejected, and nothing of this part was understood: no sense in reading on."""
        return self.rejected > MOST_APART and not read.parsed.events and not read.parsed.ignored

    def raise_if_malformed(self) -> None:
        if self.malformed and self.parts == 1:
            raise Malformed(self.malformed)

    def receipt(self, source_type: SourceType) -> Receipt:
        return Receipt(self.events, self.ignored, self.rejected, self.reason, source_type.acknowledgement)
