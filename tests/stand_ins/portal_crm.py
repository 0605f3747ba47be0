"""The CRM of the stand-in for a portal: pipelines, stages and deals with the documented rules, people and robots.

Fields in camelCase, unknown ones ignored in silence; one pipeline's stages in the order work, success, failure; what a
change causes comes back as an event without anything but an id.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import aiohttp

DEFAULT_STAGES = (
    ("NEW", "New", 10, "", "Y"), ("PREPARATION", "Documents", 20, "", "N"),
    ("PREPAYMENT_INVOICE", "Prepayment", 30, "", "N"), ("EXECUTING", "In progress", 40, "", "N"),
    ("FINAL_INVOICE", "Final invoice", 50, "", "N"), ("WON", "Deal won", 60, "S", "Y"),
    ("LOSE", "Deal lost", 70, "F", "Y"), ("APOLOGY", "Analyse failure", 80, "F", "N"),
)  # fmt: skip
FIELDS = {
    "title", "categoryId", "stageId", "originatorId", "originId", "sourceDescription", "assignedById", "contactIds",
    "companyId", "leadId", "comments", "opportunity",
}  # fmt: skip
CHANGES = ("add", "update", "delete")

Page = tuple[int | None, int | None]


class Refusal(Exception):
    def __init__(self, status: int, code: str, text: str, **more: Any) -> None:
        super().__init__(text)
        self.status, self.code, self.text, self.more = status, code, text, more


@dataclass(slots=True)
class Crm:
    """What the CRM holds, and how it behaves."""

    scopes: list[str] = field(default_factory=lambda: ["telephony", "crm", "user_basic", "department"])
    is_admin: bool = True  #: the webhook's owner may change the CRM's settings
    keeps_category_marks: bool = True
    keeps_item_marks: bool = True
    ignores_filter: bool = False
    required: set[str] = field(default_factory=set)  #: fields that every deal must have
    lost: Counter[str] = field(default_factory=Counter)  #: requests to a method that happen and whose answer is lost
    lost_share: float = 0.0  #: share of changes whose answer is lost
    takes_seconds: dict[str, float] = field(default_factory=dict)  #: the next one to a method happens so much later
    operating_cost: float = 0.0
    operating_limit: float = 480.0
    operating_window: float = 600.0
    door: str = ""  #: our webhook's address, where the CRM's events go
    categories: dict[int, dict[str, Any]] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    changes: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)  #: every change that happened
    _used: dict[str, deque[float]] = field(default_factory=dict)
    _numbers: int = 40
    _rng: random.Random = field(default_factory=lambda: random.Random(7))
    _events: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.categories[0] = {"id": 0, "name": "General", "sort": 300, "entityTypeId": 2, "isDefault": "Y"}
        self._prefill(0)

    # -- requests --------------------------------------------------------------------------------
    def is_lost(self, method: str) -> bool:
        if self.lost[method] > 0:
            self.lost[method] -= 1
            return True
        return method.split(".")[-1] in CHANGES and self._rng.random() < self.lost_share

    async def do_later(self, method: str, body: Mapping[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(Refusal):
            self.do(method, body)

    def do(self, method: str, body: Mapping[str, Any]) -> tuple[Any, Page]:
        if method == "scope":
            return self.scopes, (None, None)
        if method == "profile":
            return {"ID": "1", "ADMIN": self.is_admin}, (None, None)
        if "crm" not in self.scopes:
            raise Refusal(403, "insufficient_scope", "The request requires higher privileges")
        self._operate(method)
        known = {
            "crm.category.list": self._category_list, "crm.category.get": self._category_get,
            "crm.category.add": self._category_add, "crm.category.delete": self._category_delete,
            "crm.status.list": self._status_list, "crm.status.add": self._status_add,
            "crm.status.update": self._status_update, "crm.status.delete": self._status_delete,
            "crm.item.list": self._item_list, "crm.item.add": self._item_add, "crm.item.update": self._item_update,
        }  # fmt: skip
        if method not in known:
            raise Refusal(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        result = known[method](body)
        if method.split(".")[-1] in CHANGES:
            self.changes.append((method, body))
        return result if isinstance(result, tuple) else (result, (None, None))

    def _operate(self, method: str) -> None:
        used, now = self._used.setdefault(method, deque()), time.time()
        while used and used[0] < now - self.operating_window:
            used.popleft()
        if len(used) * self.operating_cost >= self.operating_limit:
            reset = {"operating_reset_at": int(used[0] + self.operating_window) + 1}
            raise Refusal(429, "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", time=reset)
        used.append(now)

    # -- pipelines -------------------------------------------------------------------------------
    def _category_list(self, body: Mapping[str, Any]) -> tuple[Any, Page]:
        rows = [row for row in self.categories.values() if not row.get("hidden")]
        start = int(body.get("start") or 0)
        following = start + 50 if start + 50 < len(rows) else None
        return {"categories": rows[start : start + 50]}, (len(rows), following)

    def _category_get(self, body: Mapping[str, Any]) -> Any:
        if body["id"] not in self.categories:
            raise Refusal(400, "NOT_FOUND", "Element not found")
        if self.categories[body["id"]].get("hidden"):
            raise Refusal(400, "ACCESS_DENIED", "Access denied")
        return {"category": self.categories[body["id"]]}

    def _category_add(self, body: Mapping[str, Any]) -> Any:
        if not self.is_admin:
            raise Refusal(400, "ACCESS_DENIED", "Access denied")
        given = body["fields"]
        if not str(given.get("name", "")).strip():
            raise Refusal(400, "0", "Field 'NAME' is required")
        number = self._number()
        kept = ("name", "sort", *(("originId", "originatorId") if self.keeps_category_marks else ()))
        told = {"id": number, "entityTypeId": 2, "isDefault": "N", "originId": "", "originatorId": ""}
        self.categories[number] = told | {key: given[key] for key in kept if key in given}
        self._prefill(number)
        return {"category": self.categories[number]}

    def _category_delete(self, body: Mapping[str, Any]) -> Any:
        if any(item["categoryId"] == body["id"] for item in self.items.values()):
            raise Refusal(400, "0", "The pipeline has deals")
        del self.categories[body["id"]]
        return None

    # -- stages ----------------------------------------------------------------------------------
    def _prefill(self, category: int) -> None:
        entity, prefix = (f"DEAL_STAGE_{category}", f"C{category}:") if category else ("DEAL_STAGE", "")
        for code, name, sort, semantics, system in DEFAULT_STAGES:
            self.stages.append(self._stage(entity, prefix + code, name, sort, semantics, system))

    def _stage(self, entity: str, code: str, name: str, sort: int, semantics: str, system: str = "N") -> dict[str, Any]:
        return {
            "ID": str(self._number()), "ENTITY_ID": entity, "STATUS_ID": code, "NAME": name, "SORT": str(sort),
            "SYSTEM": system, "SEMANTICS": semantics or None,
            "EXTRA": {"SEMANTICS": {"S": "success", "F": "failure"}.get(semantics, "process")},
        }  # fmt: skip

    def stages_of(self, category: int) -> list[dict[str, Any]]:
        entity = f"DEAL_STAGE_{category}" if category else "DEAL_STAGE"
        return sorted((s for s in self.stages if s["ENTITY_ID"] == entity), key=lambda s: int(s["SORT"]))

    def _status_list(self, body: Mapping[str, Any]) -> Any:
        entity = body["filter"]["ENTITY_ID"]
        return sorted((dict(s) for s in self.stages if s["ENTITY_ID"] == entity), key=lambda s: int(s["SORT"]))

    def _status_add(self, body: Mapping[str, Any]) -> Any:
        self._administer()
        given = body["fields"]
        category = int(given["ENTITY_ID"].removeprefix("DEAL_STAGE_"))
        code = given["STATUS_ID"]
        if len(code) > 20 - len(str(category)):
            raise Refusal(400, "", "STATUS_ID is too long")
        code = code if code.startswith(f"C{category}:") else f"C{category}:{code}"
        if any(stage["STATUS_ID"] == code for stage in self.stages):
            raise Refusal(400, "", "Duplicate STATUS_ID.")
        semantics = given.get("SEMANTICS") or ""
        if semantics == "S":
            raise Refusal(400, "", "There is a stage of success already")
        made = self._stage(given["ENTITY_ID"], code, given["NAME"], int(given.get("SORT", 10)), semantics)
        self._in_order([*self.stages_of(category), made])
        self.stages.append(made)
        return int(made["ID"])

    def _in_order(self, stages: list[dict[str, Any]]) -> None:
        kinds = [
            {"S": 1, "F": 2}.get(s["SEMANTICS"] or "", 0) for s in sorted(stages, key=lambda s: int(s["SORT"]))
        ]  # fmt: skip
        if kinds != sorted(kinds):
            raise Refusal(400, "", "A stage of work can't stand behind the one of success")

    def _status_update(self, body: Mapping[str, Any]) -> Any:
        self._administer()
        stage = self._stage_by(body["id"])
        stage |= {key: str(value) for key, value in body["fields"].items() if key in ("NAME", "SORT")}
        return True

    def _status_delete(self, body: Mapping[str, Any]) -> Any:
        self._administer()
        stage = self._stage_by(body["id"])
        if stage["SYSTEM"] == "Y" and body.get("params", {}).get("FORCED") != "Y":
            raise Refusal(400, "", "CRM System Status can be deleted only if parameter FORCED is specified")
        if any(item["stageId"] == stage["STATUS_ID"] for item in self.items.values()):
            raise Refusal(400, "", "There are active items in this status.")
        self.stages.remove(stage)
        return True

    def _administer(self) -> None:
        if not self.is_admin:
            raise Refusal(400, "", "Access denied.")

    def _stage_by(self, number: int) -> dict[str, Any]:
        for stage in self.stages:
            if stage["ID"] == str(number):
                return stage
        raise Refusal(400, "", "Status is not found.")

    # -- deals -----------------------------------------------------------------------------------
    def _item_list(self, body: Mapping[str, Any]) -> tuple[Any, Page]:
        wanted = {} if self.ignores_filter else body.get("filter", {})
        rows = [dict(item) for item in self.items.values() if _matches(item, wanted)]
        rows.sort(key=lambda row: row["id"])
        start = int(body.get("start") or 0)
        following = start + 50 if start + 50 < len(rows) else None
        return {"items": rows[start : start + 50]}, (len(rows), following)

    def _item_add(self, body: Mapping[str, Any]) -> Any:
        assert body["entityTypeId"] == 2
        given = {key: value for key, value in body["fields"].items() if key in FIELDS}
        if missing := self.required - given.keys():
            raise Refusal(400, "CRM_FIELD_ERROR_REQUIRED", f'The field "{missing.pop()}" is required')
        number = self._number()
        category = given.get("categoryId", 0)
        assert category in self.categories
        item = {"assignedById": 1, **given, "id": number, "categoryId": category}
        item["stageId"] = (
            self._valid_stage(category, given.get("stageId", "")) or self.stages_of(category)[0]["STATUS_ID"]
        )
        if not self.keeps_item_marks:
            item["originatorId"] = item["originId"] = None
        item["movedTime"] = item["createdTime"] = datetime.now(UTC).isoformat()
        self.items[number] = item
        self._tell("ONCRMDEALADD", number)
        return {"item": dict(item)}

    def _item_update(self, body: Mapping[str, Any]) -> Any:
        if body["id"] not in self.items:
            raise Refusal(400, "NOT_FOUND", "Element not found")
        self._set(self.items[body["id"]], {k: v for k, v in body["fields"].items() if k in FIELDS})
        return {"item": dict(self.items[body["id"]])}

    def _set(self, item: dict[str, Any], fields: dict[str, Any]) -> None:
        stage = fields.pop("stageId", None)
        before = dict(item)
        item |= fields
        if stage is not None and self._valid_stage(item["categoryId"], stage) and stage != item["stageId"]:
            item["stageId"], item["movedTime"] = stage, datetime.now(UTC).isoformat()
        if item != before:
            self._tell("ONCRMDEALUPDATE", item["id"])

    def _valid_stage(self, category: int, stage: str) -> str:
        return stage if any(s["STATUS_ID"] == stage for s in self.stages_of(category)) else ""

    # -- people and robots -----------------------------------------------------------------------
    def by_hand(self, number: int, **fields: Any) -> None:
        """A person changes a deal."""
        item = self.items[number]
        if "categoryId" in fields:
            item["categoryId"] = fields.pop("categoryId")
            item["stageId"] = self.stages_of(item["categoryId"])[0]["STATUS_ID"]
            item["movedTime"] = datetime.now(UTC).isoformat()
        self._set(item, fields)

    def _tell(self, event: str, number: int) -> None:
        if self.door:
            form = {"event": event, "event_handler_id": "7", "data[FIELDS][ID]": str(number),
                    "ts": str(int(time.time())), "auth[application_token]": "portal-secret"}  # fmt: skip
            task = asyncio.ensure_future(self._post(urlencode(form).encode()))
            self._events.add(task)
            task.add_done_callback(self._events.discard)

    async def _post(self, body: bytes) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.post(self.door, data=body, headers=headers) as told:
                assert told.status == 200, await told.text()

    async def told(self) -> None:
        """Every event is delivered."""
        await asyncio.gather(*self._events)

    async def close(self) -> None:
        for task in self._events:
            task.cancel()

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _matches(item: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, value in wanted.items():
        if key.startswith("@"):
            if item.get(key[1:]) not in value:
                return False
        elif key in FIELDS | {"id"} and item.get(key) != value:
            return False
    return True
