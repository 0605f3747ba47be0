"""What the pipeline in a CRM ought to hold, read from the store beside what was written into it last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from callkpi import config
from callkpi.bitrix24.episodes import STAGES, Episode, Miss, Stage, Words, episodes, stage_of_call
from callkpi.calls import pseudonyms
from callkpi.calls.fold import Thresholds
from callkpi.calls.model import Call, Fate, Outcome
from callkpi.calls.phone import mask
from callkpi.calls.rows import call_from_body
from callkpi.database import store
from callkpi.people.names import Names
from callkpi.sources.bitrix24.settings import FunnelItems, portal

#: The portal cuts a request after 60 s: a change that was sent longer ago than this happens no more.
IN_DOUBT = timedelta(seconds=90)
#: A chain of misses of one customer is followed so far back.
CHAIN = timedelta(days=92)
LONGEST_ORIGIN = 200
#: A change that the portal refused is tried again after twice the time each time, up to a day.
FIRST_RETRY, LAST_RETRY = timedelta(minutes=2), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of one item last."""

    origin_id: str
    item_id: int | None  #: None: not known to be there
    stage: Stage | None
    detail: str
    is_closed: bool
    in_doubt: bool  #: it may be that a request to add it still runs in the portal
    refusals: int
    refused_at: datetime | None
    written_at: datetime

    def rests(self, now: datetime) -> bool:
        """The portal refused it not long ago."""
        pause = min(FIRST_RETRY * 2 ** min(self.refusals, 12), LAST_RETRY)
        return self.refused_at is not None and now - self.refused_at < pause


@dataclass(frozen=True, slots=True)
class Wanted:
    """One item as it ought to be."""

    origin_id: str
    call: tuple[str, str]  #: source and id of the call that it began with
    started_at: datetime
    stage: Stage
    detail: str
    title: str
    place: tuple[str, str, str]  #: agent, queue, line
    written: Written | None

    @property
    def is_new(self) -> bool:
        return self.written is None or self.written.item_id is None

    @property
    def is_due(self) -> bool:
        """Whether it differs from what was written last; a stage counts only forwards."""
        if self.written is None or self.written.item_id is None or self.written.stage is None:
            return True
        return self.stage.rank > self.written.stage.rank or self.detail != self.written.detail


class Reader:
    """Reads what one portal's pipeline ought to hold."""

    def __init__(self, pool: asyncpg.Pool, settings: config.Settings, name: str) -> None:
        self._pool, self._name = pool, name
        source = portal(settings, name)
        self._funnel, self._tenant_name = source.funnel, source.tenant
        self._tenant = settings.tenants[source.tenant]
        self._talked_ms = Thresholds(self._tenant).talked_ms
        self._write_off = timedelta(days=self._tenant.write_off_days)
        self._words = Words(self._funnel, self._tenant)
        self._names = Names(settings)

    async def due(self, now: datetime) -> list[Wanted]:
        """Items that differ from what was written, the oldest first; those that the portal refused have their time."""
        await self._names.refresh(self._pool)
        wanted = await self._all(now)
        return sorted((item for item in wanted if item.is_due), key=lambda item: (item.started_at, item.origin_id))

    async def crm_of(self, items: Sequence[Wanted]) -> Mapping[tuple[str, str], Mapping[str, str]]:
        """The CRM's own references of these items' calls, where the source told them."""
        columns = [[i.call[0] for i in items], [i.call[1] for i in items], [i.started_at for i in items]]
        rows = await self._pool.fetch(store.query("crm", "crm_of"), self._tenant_name, *columns)
        return {(row["source"], row["call_id"]): orjson.loads(row["crm"] or "{}") for row in rows}

    async def _all(self, now: datetime) -> list[Wanted]:
        begin = now - timedelta(hours=self._funnel.lookback_hours)
        place = (self._tenant_name, self._name)
        rows = await self._pool.fetch(store.query("crm", "missed"), *place, begin, begin - CHAIN, IN_DOUBT)
        found = {(row["source"], row["call_id"]): _written(row) for row in rows}
        wanted, waiting = [], set[str]()
        for episode in episodes(map(_miss, rows), self._write_off):
            items = list(self._of_episode(episode, found, now, begin))
            wanted += items
            if any(not item.stage.is_final for item in items):
                waiting.add(episode.misses[0].customer)
        rows = await self._pool.fetch(store.query("crm", "not_missed"), *place, IN_DOUBT)
        wanted += [item for row in rows for item in self._of_call(_call(row), _written(row))]
        if self._funnel.items is FunnelItems.OFFERED:
            for row in await self._pool.fetch(store.query("crm", "without_item"), *place, begin):
                call = _call(row)
                if not call.is_open or (call.customer not in waiting and config.is_open(self._tenant, call.started_at)):
                    wanted += self._of_call(call, None)
        return wanted

    def _of_episode(
        self, episode: Episode, found: Mapping[tuple[str, str], Written | None], now: datetime, begin: datetime
    ) -> Iterator[Wanted]:
        items = [(miss, written) for miss in episode.misses if (written := found.get(miss.key)) is not None]
        closed_at = max((written.written_at for _, written in items if written.is_closed), default=None)
        still_open = [(miss, written) for miss, written in items if not written.is_closed]
        for miss, written in still_open:
            if written.item_id is None and written.refusals and episode.misses[-1].started_at < begin:
                continue  # The portal never wanted it.
            since = episode.misses.index(miss) if closed_at is not None else 0
            yield self._missed(Episode(episode.misses[since:]), miss, written, now)
        # Whoever calls again after a person has closed his item waits again.
        rest = tuple(m for m in episode.misses if closed_at is None or m.started_at > closed_at)
        is_known = pseudonyms.PSEUDONYM.fullmatch(episode.misses[0].customer) is None  # else nobody can call back
        if is_known and not still_open and rest and rest[-1].started_at >= begin:
            yield self._missed(Episode(rest), rest[0], None, now)

    def _missed(self, episode: Episode, miss: Miss, written: Written | None, now: datetime) -> Wanted:
        stage = episode.stage(now, self._write_off, self._funnel.items)
        detail = self._words.episode(episode, stage, self._place(miss.queue, miss.line))
        return self._wanted(miss.key, miss.started_at, stage, detail, self._title(miss.customer, missed=True),
                            ("", miss.queue, miss.line), written)  # fmt: skip

    def _of_call(self, call: Call, written: Written | None) -> Iterator[Wanted]:
        """An item of a call that is not missed, or turned out not to be."""
        stage = stage_of_call(call, self._talked_ms)
        queue = call.entries[-1].queue if call.entries else ""
        detail = self._words.call(call, self._place(queue, call.line))
        if stage is None and (written is None or call.outcome is Outcome.EXPIRED):
            return
        if self._funnel.items is FunnelItems.MISSED:
            detail = f"{self._words.corrected}; {detail}"
        if stage is None:
            stage = Stage.LOSE
        elif stage not in STAGES[self._funnel.items]:
            if not stage.is_final:
                return
            stage = Stage.WON
        agent = next((leg.agent for leg in reversed(call.legs) if leg.answered_at is not None), "")
        yield self._wanted((call.source, call.call_id), call.started_at, stage, detail,
                           self._title(call.customer, missed=False), (agent, queue, call.line), written)  # fmt: skip

    def _wanted(
        self, call: tuple[str, str], started_at: datetime, stage: Stage, detail: str, title: str,
        place: tuple[str, str, str], written: Written | None,
    ) -> Wanted:  # fmt: skip
        origin_id = written.origin_id if written is not None else origin(self._tenant_name, *call)
        return Wanted(origin_id, call, started_at, stage, detail, title, place, written)

    def _title(self, customer: str, *, missed: bool) -> str:
        is_full = self._funnel.numbers is config.NumbersShown.FULL
        return self._words.title(customer if is_full else mask(customer), missed=missed)

    def _place(self, queue: str, line: str) -> str:
        show = self._names.show
        return self._words.place(show(self._tenant_name, "queue", queue), show(self._tenant_name, "line", line))


def origin(tenant: str, source: str, call_id: str) -> str:
    """The name of an item in the CRM's field for other systems' ids: always the same for the same call."""
    plain = f"{tenant}/{source}/{call_id}"
    if len(plain) <= LONGEST_ORIGIN:
        return plain
    return f"{plain[:150]}.{hashlib.blake2b(plain.encode(), digest_size=16).hexdigest()}"


def _written(row: Any) -> Written | None:
    if row["origin_id"] is None:
        return None
    stage = Stage(row["stage"]) if row["stage"] in set(Stage) else None
    return Written(
        row["origin_id"], row["item_id"], stage, row["detail"], bool(row["closed"]), bool(row["in_doubt"]),
        row["refusals"], row["refused_at"], row["written_at"],
    )  # fmt: skip


def _miss(row: Any) -> Miss:
    return Miss(
        source=row["source"], call_id=row["call_id"], started_at=row["started_at"], customer=row["customer"],
        line=row["line"], queue=row["queue"], fate=Fate(row["fate"]), called_back_at=row["called_back_at"],
        reached_at=row["reached_at"],
    )  # fmt: skip


def _call(row: Any) -> Call:
    return call_from_body(row["body"])
