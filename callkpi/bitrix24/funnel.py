"""The call funnel in a Bitrix24 portal: deals in a pipeline of their own, moved on as the calls' fate changes.

One writer a portal: it works in the reconciler's process, under its lock, with its client and so within its limits.
What was written is noted in the store, so that a restart, a replay or a rebuild writes nothing twice. Before an item is
added it is looked for by its mark; that an add is under way is noted first, and where its answer is lost nothing is
added again until the portal must have cut the request. Before an item is moved the portal is asked where it stands:
what a person closed, moved out of the pipeline or deleted is his, and is not touched again.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.bitrix24.episodes import RELEASED, Move, Stage, move
from callkpi.bitrix24.pipeline import DEAL, ORIGINATOR, Pipeline
from callkpi.bitrix24.wanted import Reader, Wanted
from callkpi.database import store
from callkpi.health import Health
from callkpi.looping import Loop, keep_going
from callkpi.sources.bitrix24.settings import portal

log = structlog.get_logger()

#: Items that are looked at in one request, and at most in one round before the store is read again.
PAGE, ROUND = 50, 200
#: A search that has more pages than this is not answered as it was asked.
SEARCH_PAGES = 4
#: How often the stages of the pipeline are looked at again.
PIPELINE_SECONDS = 900.0
FORGET_SECONDS = 3600.0
#: While the projector is this far behind, calls look missed whose customers were reached.
LAG_SECONDS = 60.0
#: So many refusals one after the other are no fault of single items.
REFUSALS_IN_A_ROW = 5
DENIED_SECONDS, BLOCKED_SECONDS, TROUBLE_SECONDS = 300.0, 3600.0, 60.0

MORE_RIGHTS = "tick it in its settings, or make a new one with telephony, crm, user_basic and department"

Seen = Mapping[str, Any]


@dataclass(slots=True)
class Left:
    """What a round did not do."""

    items: int = 0
    refused_in_a_row: int = 0


class Funnel:
    """Writes one portal's funnel."""

    def __init__(
        self, pool: asyncpg.Pool, client: rest.Client, health: Health, settings: config.Settings, name: str
    ) -> None:
        self._pool, self._client, self._health, self.name = pool, client, health, name
        self._source = portal(settings, name)
        self._funnel = self._source.funnel
        self._reader = Reader(pool, settings, name)
        self._pipeline = Pipeline(client, pool, settings, name, self._count)
        self._next_pipeline = self._next_forget = 0.0
        self._told: set[tuple[str, Stage, str]] = set()

    async def run(self, lock: asyncpg.Connection) -> None:
        """Work while *lock* is held; returns when its connection is lost."""
        loop = Loop("crm", self._funnel.every_seconds, self._health, self.name)
        await keep_going(loop, self._round_now, until=lock.is_closed)

    async def _round_now(self) -> float:
        """One round. Returns the seconds to the next."""
        try:
            return 0.0 if await self.round(datetime.now(UTC)) else self._funnel.every_seconds
        except rest.PortalError as error:
            pause = max(_pause_after(error), self._funnel.every_seconds)
            self._health.count("crm_errors", source=self.name, label=error.reason)
            log.error("crm.failed", source=self.name, reason=error.reason, error=str(error), again_in_seconds=pause)
            return pause
        except Exception as error:
            reason = "database" if isinstance(error, store.FAILURES) else "unforeseen"
            self._health.count("crm_errors", source=self.name, label=reason)
            raise

    async def round(self, now: datetime) -> bool:
        """Bring the portal up to date, or tell what would be done. True: more is to be done. Raises a PortalError."""
        await self._pool.execute(store.query("crm", "add_funnel"), self.name)
        lag = await self._pool.fetchrow(store.query("projector", "lag"))
        if lag["seconds"] > LAG_SECONDS:
            log.info("crm.waits", source=self.name, projector_lag_seconds=round(lag["seconds"]))
            return False
        due: Sequence[Wanted] = ()
        left = Left()
        try:
            await self._prepare()
            due = await self._reader.due(now)
            ready = [item for item in due if item.written is None or not item.written.rests(now)]
            left.items = len(due) - min(len(ready), ROUND)
            if self._funnel.dry_run:
                self._tell(due)
            else:
                await self._write(ready[:ROUND], left)
        except rest.PortalError as error:
            await self._pool.execute(store.query("crm", "troubled"), self.name, str(error)[:500], len(due))
            raise
        await self._pool.execute(store.query("crm", "succeeded"), self.name, left.items)
        if time.monotonic() >= self._next_forget:
            self._next_forget = time.monotonic() + FORGET_SECONDS
            await self._pool.execute(store.query("crm", "forget_items"), self.name)
        return len(ready) > ROUND and not self._funnel.dry_run

    async def _prepare(self) -> None:
        if time.monotonic() < self._next_pipeline:
            return
        if self._funnel.dry_run:
            await self.check_rights()
            await self._pipeline.find()
        else:
            await self._pipeline.ensure()
        self._next_pipeline = time.monotonic() + PIPELINE_SECONDS

    def _count(self, action: str) -> None:
        self._health.count("crm_written", source=self.name, label=action)

    # -- items -----------------------------------------------------------------------------------
    async def _write(self, ready: Sequence[Wanted], left: Left) -> None:
        for page in _pages([item for item in ready if item.is_new]):
            await self._add_page(page, left)
        for page in _pages([item for item in ready if not item.is_new]):
            await self._change_page(page, left)

    async def _add_page(self, page: Sequence[Wanted], left: Left) -> None:
        seen = await self._search("originId", [item.origin_id for item in page])
        missing = [item for item in page if item.origin_id not in seen]
        links = await self._reader.crm_of(missing) if missing else {}
        for item in page:
            if item.origin_id in seen:
                await self._adopt(item, seen[item.origin_id])
            elif item.written is not None and item.written.in_doubt:
                left.items += 1  # It may still come into being: looked for again in the next round.
            else:
                await self._refusable(self._add(item, links.get(item.call, {})), "not_added", item, left)

    async def _search(self, field: str, values: Sequence[Any]) -> dict[Any, Seen]:
        """Deals with our mark by one of their fields; of several with one mark the oldest."""
        parameters = {
            "entityTypeId": DEAL, "filter": {f"@{field}": list(values), "originatorId": ORIGINATOR},
            "order": {"id": "ASC"},
            "select": ["id", "categoryId", "stageId", "originId", "originatorId", "movedTime"],
        }  # fmt: skip
        found: dict[Any, Seen] = {}
        for row in await self._client.listed("crm.item.list", parameters, key="items", pages=SEARCH_PAGES):
            row |= {name: int(row[name]) for name in ("id", "categoryId") if str(row.get(name)).isdecimal()}
            if row.get("originatorId") != ORIGINATOR or row.get(field) not in values:
                raise rest.Refused("filter_ignored", "crm.item.list: the portal shows deals that were not asked for:"
                                   " what is there already can't be found, so nothing is written")  # fmt: skip
            found.setdefault(row[field], row)
        return found

    async def _adopt(self, item: Wanted, seen: Seen) -> None:
        """It is there already: an answer was lost, or our notes."""
        stage = self._stage_of(seen)
        await self._note(item, int(seen["id"]), stage or Stage.NEW, "")
        self._count("found")

    async def _add(self, item: Wanted, links: Mapping[str, str]) -> None:
        await self._pool.execute(store.query("crm", "ask_item"), self.name, item.origin_id, *item.call)
        fields = {
            "title": item.title, "categoryId": self._pipeline.id, "stageId": self._pipeline.stage_id(item.stage),
            "originatorId": ORIGINATOR, "originId": item.origin_id, "sourceDescription": item.detail,
            **self._responsible(item), **dict(_links(links)),
        }  # fmt: skip
        answer = await self._client.change("crm.item.add", {"entityTypeId": DEAL, "fields": fields})
        made = answer.result.get("item") if isinstance(answer.result, dict) else None
        if not isinstance(made, dict) or not isinstance(made.get("id"), int):
            raise rest.InDoubt("bad_answer", "crm.item.add: the portal does not tell the item's id")
        await self._note(item, made["id"], self._stage_of(made) or item.stage, item.detail)
        self._count("added")
        log.info("crm.added", source=self.name, item=made["id"], stage=item.stage)
        if made.get("originatorId") != ORIGINATOR or made.get("originId") != item.origin_id:
            raise rest.Refused("mark_ignored", "the portal did not keep originatorId and originId of a deal: without"
                               " them a deal could be made twice, so nothing more is written")  # fmt: skip

    def _responsible(self, item: Wanted) -> dict[str, int]:
        """Who is responsible for a new item: as configured, else who took the call in this portal."""
        agent, queue, line = item.place
        keys = (f"agent:{agent}", f"queue:{queue}", f"line:{line}", "*")
        user = next((self._funnel.responsible[key] for key in keys if key in self._funnel.responsible), "")
        if not user and item.call[0] == self.name and agent.isdecimal():
            user = agent
        return {"assignedById": int(user)} if user else {}

    async def _change_page(self, page: Sequence[Wanted], left: Left) -> None:
        seen = await self._search("id", [item.written.item_id for item in page if item.written is not None])
        for item in page:
            told = seen.get(item.written.item_id if item.written is not None else None)
            what = self._move(item, told)
            if what in RELEASED:
                await self._release(item, what, told)
            else:
                await self._refusable(
                    self._change(item, self._stage_of(told) or item.stage, what), "refused", item, left
                )

    def _move(self, item: Wanted, seen: Seen | None) -> Move:
        if seen is None or seen.get("originId") != item.origin_id:
            return Move.GONE
        if seen.get("categoryId") != self._pipeline.id:
            return Move.MOVED_AWAY
        return move(self._stage_of(seen), item.stage)

    def _stage_of(self, seen: Seen | None) -> Stage | None:
        return self._pipeline.stage_of(str(seen.get("stageId") or "")) if seen is not None else None

    async def _change(self, item: Wanted, stands: Stage, what: Move) -> None:
        assert item.written is not None and item.written.item_id is not None
        fields: dict[str, Any] = {}
        if what is Move.GO:
            fields["stageId"] = self._pipeline.stage_id(item.stage)
        if item.detail != item.written.detail:
            fields["sourceDescription"] = item.detail
        stage = item.stage if what is Move.GO else stands
        if fields:
            parameters = {"entityTypeId": DEAL, "id": item.written.item_id, "fields": fields}
            answer = await self._client.change("crm.item.update", parameters)
            self._judge(answer.result, stage)
            self._count("moved" if what is Move.GO else "described")
            log.info("crm.changed", source=self.name, item=item.written.item_id, stage=stage)
        await self._note(item, item.written.item_id, stage, item.detail)

    def _judge(self, result: Any, stage: Stage) -> None:
        """Unknown values are ignored in silence: a stage that is gone leaves the item where it was."""
        item = result.get("item") if isinstance(result, dict) else None
        if isinstance(item, dict) and "stageId" in item and self._stage_of(item) is not stage:
            self._next_pipeline = 0.0
            raise rest.Refused("stage_ignored", f"the portal left an item at {item['stageId']} instead of {stage};"
                               " its pipeline is looked at again")  # fmt: skip

    async def _release(self, item: Wanted, why: Move, seen: Seen | None) -> None:
        """A person took the item over; when, so that who calls again after that gets a new one."""
        assert item.written is not None
        stage = self._stage_of(seen) or item.written.stage or item.stage
        at = _time(seen.get("movedTime")) if seen is not None else None
        await self._write_row(item, item.written.item_id, stage, item.detail, why, at or item.written.written_at)
        self._count("left_to_people")
        log.info("crm.left_to_people", source=self.name, item=item.written.item_id, why=why.value)

    async def _note(self, item: Wanted, number: int, stage: Stage, detail: str) -> None:
        await self._write_row(item, number, stage, detail, "done" if stage.is_final and detail else "", None)

    async def _write_row(
        self, item: Wanted, number: int | None, stage: Stage, detail: str, closed: str, at: datetime | None
    ) -> None:
        await self._pool.execute(store.query("crm", "write_item"), self.name, item.origin_id, *item.call, number,
                                 stage.value, detail, str(closed), at)  # fmt: skip

    async def _refusable(self, work: Coroutine[Any, Any, None], query: str, item: Wanted, left: Left) -> None:
        """One item that the portal refuses (a required field, a contact that is gone) does not hold up the others."""
        try:
            await work
        except rest.Refused as error:
            await self._pool.execute(store.query("crm", query), self.name, item.origin_id)
            left.items += 1
            left.refused_in_a_row += 1
            if error.reason == "mark_ignored" or left.refused_in_a_row >= REFUSALS_IN_A_ROW:
                raise
            self._health.count("crm_errors", source=self.name, label=error.reason)
            log.error("crm.refused", source=self.name, origin=item.call[1], error=str(error))
        else:
            left.refused_in_a_row = 0

    # -- dry run ---------------------------------------------------------------------------------
    def _tell(self, due: Sequence[Wanted]) -> None:
        """Log and count each change once; nothing is sent that changes anything."""
        for item in due:
            change = (item.origin_id, item.stage, item.detail)
            if change not in self._told:
                self._told.add(change)
                self._count("dry_added" if item.is_new else "dry_changed")
                verb = "add" if item.is_new else "move"
                log.info("crm.dry_run", source=self.name, would=verb, stage=item.stage, item=item.origin_id)

    async def preview(self, now: datetime) -> list[str]:
        """What the next rounds would do to the portal, a line each. Raises a PortalError."""
        await self.check_rights()
        lines = await self._preview_pipeline()
        due = await self._reader.due(now)
        lines += [f"would {_told(item)}" for item in due]
        added = sum(item.is_new for item in due)
        return [*lines, f"{added} items to add, {len(due) - added} to change; nothing was sent."]

    async def _preview_pipeline(self) -> list[str]:
        number = await self._pipeline.find()
        if number is None:
            lines = [f"would {self._pipeline.making.text} and set up its stages"]
            owner = await self._asked("profile")
            if isinstance(owner, dict) and owner.get("ADMIN") is False:
                lines.append("the webhook's owner is no administrator: to make the pipeline he needs the right to"
                             " change the settings of the CRM")  # fmt: skip
            return lines
        self._pipeline.id = number
        steps = await self._pipeline.outstanding()
        return [f"the pipeline is there: number {number}", *(f"would {step.text}" for step in steps)]

    async def _asked(self, method: str) -> Any:
        """What an auxiliary method says; None where the portal does not know it."""
        try:
            return (await self._client.call(method)).result
        except rest.Refused:
            return None

    async def check_rights(self) -> None:
        """Raises Denied where the webhook has no right to the CRM."""
        scopes = await self._asked("scope")
        if isinstance(scopes, list) and "crm" not in scopes:
            raise rest.Denied("insufficient_scope", f"the webhook of rest_url lacks the right crm: {MORE_RIGHTS}")


def _told(item: Wanted) -> str:
    what = f"add at {item.stage}" if item.is_new else f"move to {item.stage}"
    return f"{what}: {item.title} ({item.detail})"


def _links(crm: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """The contact, company and lead that the source found for the call."""
    if crm.get("contact", "").isdecimal():
        yield "contactIds", [int(crm["contact"])]
    if crm.get("company", "").isdecimal():
        yield "companyId", int(crm["company"])
    if crm.get("lead", "").isdecimal():
        yield "leadId", int(crm["lead"])


def _pages(items: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    for begin in range(0, len(items), PAGE):
        yield items[begin : begin + PAGE]


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


def _pause_after(error: rest.PortalError) -> float:
    if isinstance(error, rest.Blocked):
        return BLOCKED_SECONDS
    return DENIED_SECONDS if isinstance(error, (rest.Denied, rest.Refused)) else TROUBLE_SECONDS
