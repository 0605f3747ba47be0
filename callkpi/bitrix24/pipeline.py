"""The pipeline of deals that holds the call funnel: found or made, and its stages. Every step may be repeated.

Found by the id that was noted, else by its mark (originatorId, originId), else by its name. Stages are known by their
STATUS_ID, never by their name. A pipeline that a person made gets the stages that it lacks and loses none; one that we
made is cleared of the stages that Bitrix24 fills it with, once. Later changes of people stay, but for a stage of ours
that is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.bitrix24.episodes import FINAL, STAGES, Stage, Words
from callkpi.bitrix24.wanted import IN_DOUBT
from callkpi.database import store
from callkpi.sources.bitrix24.settings import Bitrix24Source, FunnelSettings, portal

log = structlog.get_logger()

DEAL = 2  #: entityTypeId
ORIGINATOR = "callkpi"
#: Behind the pipelines that people work in.
PIPELINE_SORT = 900
#: What Bitrix24 fills a new pipeline with and nobody needs here.
PREFILLED = frozenset({"PREPARATION", "PREPAYMENT_INVOICE", "EXECUTING", "FINAL_INVOICE", "APOLOGY"})
#: Bitrix24 refuses a stage of work behind the one of success; those that it makes itself stand at 10, 60 and 70.
_SORT = {
    Stage.NEW: 10, Stage.QUEUED: 20, Stage.ANSWERED: 30, Stage.MISSED: 40, Stage.CALLED_BACK: 50, Stage.WON: 60,
    Stage.LOSE: 70, Stage.NOT_TALKED: 80,
}  # fmt: skip
_COLORS = {
    Stage.NEW: "#FF9A00", Stage.QUEUED: "#FFD600", Stage.ANSWERED: "#2FC6F6", Stage.MISSED: "#FF5752",
    Stage.CALLED_BACK: "#55D0E0", Stage.NOT_TALKED: "#A8ADB4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the portal that is still to be made."""

    action: str  #: a word for a metric
    text: str  #: for people
    method: str
    parameters: Mapping[str, Any]


@dataclass(slots=True)
class Pipeline:
    """One portal's pipeline."""

    client: rest.Client
    pool: asyncpg.Pool
    settings: config.Settings
    name: str  #: of the source
    on_written: Callable[[str], None] = lambda _action: None
    id: int | None = None

    @property
    def _source(self) -> Bitrix24Source:
        return portal(self.settings, self.name)

    @property
    def _funnel(self) -> FunnelSettings:
        return self._source.funnel

    @property
    def _stages(self) -> Sequence[Stage]:
        return STAGES[self._funnel.items]

    def stage_id(self, stage: Stage) -> str:
        return f"C{self.id}:{stage}"

    def stage_of(self, stage_id: str) -> Stage | None:
        """The stage of ours that the portal means; None: one of theirs."""
        code = stage_id.removeprefix(f"C{self.id}:")
        return Stage(code) if code in set(Stage) else None

    # -- making ----------------------------------------------------------------------------------
    async def ensure(self) -> None:
        """Make what is missing. Raises a PortalError."""
        known = await self._known()
        is_made = known["is_made"]
        found = await self.find()
        if found is None:
            if known["in_doubt"]:
                raise rest.InDoubt("pipeline", "whether the pipeline was made is not known yet; it is looked for again")
            found, is_made = await self._make(), True
        elif found != known["pipeline"]:
            is_made = known["is_asked"] or self._is_ours(await self._get(found))
        if found != known["pipeline"]:
            await self.pool.execute(store.query("crm", "set_pipeline"), self.name, found, is_made)
            known = await self._known()
        self.id = found
        for step in await self._steps(is_made=is_made, known_stages=known["stages"]):
            try:
                await self._take(step)
            except rest.Refused as error:
                if step.action != "stage_removed":
                    raise
                # In the way of nothing: people may have put something there.
                log.warning("crm.stage_stays", source=self.name, step=step.text, error=str(error))
        await self.pool.execute(store.query("crm", "set_stages"), self.name, " ".join(self._stages))

    async def outstanding(self) -> list[Step]:
        """What :meth:`ensure` would do to the stages of the pipeline that was found. Raises a PortalError."""
        row = await self.pool.fetchrow(store.query("crm", "funnel"), self.name, IN_DOUBT)
        is_ours = row is not None and row["pipeline"] == self.id
        is_made = row["is_made"] if is_ours else self._is_ours(await self._get(self.id or 0))
        return await self._steps(is_made=is_made, known_stages=row["stages"] if is_ours else "")

    async def _known(self) -> Any:
        await self.pool.execute(store.query("crm", "add_funnel"), self.name)
        return await self.pool.fetchrow(store.query("crm", "funnel"), self.name, IN_DOUBT)

    async def find(self) -> int | None:
        """The pipeline's id, None where there is none yet. Raises a PortalError."""
        row = await self.pool.fetchrow(store.query("crm", "funnel"), self.name, IN_DOUBT)
        categories = await self._categories()
        ids = {_int(category.get("id")) for category in categories}
        if row is not None and row["pipeline"] is not None:
            if row["pipeline"] in ids or await self._is_hidden(row["pipeline"]):
                return int(row["pipeline"])
            log.warning("crm.pipeline_gone", source=self.name, pipeline=row["pipeline"])
        ours = [category for category in categories if self._is_ours(category)]
        name = self._funnel.pipeline.strip().casefold()
        named = [
            category for category in categories
            if _int(category.get("id")) and str(category.get("name") or "").strip().casefold() == name
            and not category.get("originatorId")
        ]  # fmt: skip
        # The oldest one, should there be several.
        return min((_int(category.get("id")) for category in ours or named), default=None)

    async def _categories(self) -> list[Mapping[str, Any]]:
        rows = await self.client.listed("crm.category.list", {"entityTypeId": DEAL}, key="categories")
        return [row for row in rows if "id" in row]

    async def _get(self, category: int) -> Mapping[str, Any]:
        return next((row for row in await self._categories() if _int(row["id"]) == category), {})

    async def _is_hidden(self, category: int) -> bool:
        """The list shows only what the webhook's owner may read: raises Denied where it is there all the same."""
        try:
            await self.client.call("crm.category.get", {"entityTypeId": DEAL, "id": category})
        except rest.Refused:
            return False
        return True

    @property
    def _mark(self) -> str:
        return f"{self._source.tenant}/{self.name}"

    def _is_ours(self, category: Mapping[str, Any]) -> bool:
        return category.get("originatorId") == ORIGINATOR and category.get("originId") == self._mark

    @property
    def making(self) -> Step:
        name = self._funnel.pipeline.strip()
        fields = {"name": name, "sort": PIPELINE_SORT, "originatorId": ORIGINATOR, "originId": self._mark}
        return Step("pipeline_made", f'make the pipeline "{name}"', "crm.category.add",
                    {"entityTypeId": DEAL, "fields": fields})  # fmt: skip

    async def _make(self) -> int:
        await self.pool.execute(store.query("crm", "ask_pipeline"), self.name)
        answer = await self._take(self.making)
        made = answer.get("category") if isinstance(answer, dict) else None
        number = _int(made.get("id")) if isinstance(made, dict) else 0
        if not number:
            raise rest.InDoubt("bad_answer", "crm.category.add: the portal does not tell the pipeline's id")
        return number

    async def _take(self, step: Step) -> Any:
        answer = await self.client.change(step.method, step.parameters)
        self.on_written(step.action)
        log.info("crm.pipeline", source=self.name, pipeline=self.id, step=step.text)
        return answer.result

    # -- stages ----------------------------------------------------------------------------------
    async def _steps(self, *, is_made: bool, known_stages: str) -> list[Step]:
        """What is to be done until every stage of ours is there. *known_stages*: that were set up before."""
        entity = f"DEAL_STAGE_{self.id}"
        rows = await self.client.listed("crm.status.list", {"filter": {"ENTITY_ID": entity}, "order": {"SORT": "ASC"}})
        there = {str(row.get("STATUS_ID") or "").removeprefix(f"C{self.id}:"): row for row in rows}
        self._check(there)
        steps: list[Step | None] = []
        if is_made and known_stages != " ".join(self._stages):
            # First what is in the way, then the names, then what is missing: the order of kinds holds at every moment.
            if not known_stages:
                steps += [_deleting(code, row) for code, row in there.items() if code in PREFILLED]
            steps += [self._naming(stage, there[stage]) for stage in self._stages if stage in there]
        taken = {code: _int(row.get("SORT")) for code, row in there.items()}
        steps += [self._adding(stage, entity, taken) for stage in self._stages if stage not in there]
        return [step for step in steps if step is not None]

    def _check(self, there: Mapping[str, Mapping[str, Any]]) -> None:
        for stage, wanted in ((Stage.WON, "success"), (Stage.LOSE, "failure")):
            if stage in there and _semantics(there[stage]) not in ("", wanted):
                raise rest.Refused(
                    "stages", f"the pipeline's stage {stage} is none of {wanted}: give sources.{self.name}.funnel."
                    "pipeline another name, and a new pipeline is made",
                )  # fmt: skip

    def _naming(self, stage: Stage, row: Mapping[str, Any]) -> Step | None:
        name = Words(self._funnel, self.settings.tenants[self._source.tenant]).stage(stage)
        if row.get("NAME") == name and _int(row.get("SORT")) == _SORT[stage]:
            return None
        fields = {"NAME": name, "SORT": _SORT[stage]}
        return Step("stage_named", f'call its stage {stage} "{name}"', "crm.status.update",
                    {"id": _int(row.get("ID")), "fields": fields})  # fmt: skip

    def _adding(self, stage: Stage, entity: str, taken: Mapping[str, int]) -> Step:
        name = Words(self._funnel, self.settings.tenants[self._source.tenant]).stage(stage)
        fields = {"ENTITY_ID": entity, "STATUS_ID": stage.value, "NAME": name, "SORT": _place(stage, taken)}
        if stage in _COLORS:
            fields["COLOR"] = _COLORS[stage]
        if stage in FINAL:
            fields["SEMANTICS"] = "S" if stage is Stage.WON else "F"
        return Step("stage_made", f'make its stage {stage}, "{name}"', "crm.status.add", {"fields": fields})


def _deleting(code: str, row: Mapping[str, Any]) -> Step:
    return Step("stage_removed", f'remove its prefilled stage {code}, "{row.get("NAME")}"', "crm.status.delete",
                {"id": _int(row.get("ID"))})  # fmt: skip


def _semantics(row: Mapping[str, Any]) -> str:
    """process, success or failure; "" where the portal does not tell."""
    extra = row.get("EXTRA")
    told = extra.get("SEMANTICS") if isinstance(extra, dict) else None
    return str(told or {"S": "success", "F": "failure"}.get(str(row.get("SEMANTICS") or ""), ""))


def _place(stage: Stage, taken: Mapping[str, int]) -> int:
    """Where a new stage goes among those that are there: work before success before failure."""
    won, lose = taken.get(Stage.WON), taken.get(Stage.LOSE)
    if stage in FINAL:
        least = (won if stage is Stage.WON or lose is None else lose) or 0
        return max(_SORT[stage], least + 10)
    return _SORT[stage] if won is None or _SORT[stage] < won else max(won - 1, 1)


def _int(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
