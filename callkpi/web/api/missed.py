"""The work list: customers nobody has spoken to since we missed them, and what is done about each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from callkpi import audit, config
from callkpi.calls.model import Fate
from callkpi.figures.kpis import Reports
from callkpi.missed import work
from callkpi.missed.work import Action, Order
from callkpi.missed.worklist import KeyReused, NotMissed, NotWaiting, Request, WorkList
from callkpi.web.access import Right
from callkpi.web.api.contract import KEY, TENANT, Answer, Asked, Operation, Schema, Seen, limit
from callkpi.web.api.schemas import ref
from callkpi.web.problems import Problem

_CALL: Schema = {
    "type": "string", "minLength": 3, "maxLength": 600,
    "description": "Any missed call of the customer, {source}/{call id}: `last_call` of the list.",
}  # fmt: skip
_MINUTES: Schema = {
    "type": "number", "minimum": 1, "maximum": 1440, "description": "For how long. Default: api.claim_minutes."
}  # fmt: skip
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 500}
_FATE: Schema = {
    "type": "string", "enum": [Fate.REACHED.value, Fate.WRITTEN_OFF.value],
    "description": "reached: spoken to where callkpi does not see it; written_off: nobody will call.",
}  # fmt: skip


def _body(required: Sequence[str] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {"call": _CALL, **properties},
        "required": ["call", *required],
        "additionalProperties": False,
    }


def operations(pool: asyncpg.Pool, settings: config.Settings, reports: Reports) -> Sequence[Operation]:
    listed = WorkList(pool, settings)

    async def missed(asked: Asked) -> Answer:
        found = await reports.missed(asked.tenant, asked["limit"] + 1, asked.at)
        items = found[: asked["limit"]]
        numbers = sum(bool(item["customer"]) for item in items)
        seen = Seen(audit.Action.READ_NUMBERS, asked.tenant, f"{numbers} customers") if numbers else None
        body = {"tenant": asked.tenant, "items": items, "complete": len(found) <= asked["limit"]}
        return Answer(body, seen=seen, volatile=frozenset({"waiting_seconds"}))

    def change(action: Action, summary: str, body: Schema) -> Operation:
        async def act(asked: Asked) -> Answer:
            return Answer(await _act(listed, asked, action))

        return Operation(
            method="POST",
            path=f"/api/v1/missed/{action}",
            name=f"{action}_missed",
            summary=summary,
            subject="Work list",
            right=Right.WORK,
            parameters=(TENANT, KEY),
            body=body,
            answer=act,
            schema=ref("Work"),
            errors=(404, 409, 410),
        )

    return [
        Operation(
            path="/api/v1/missed",
            name="missed",
            summary="Customers nobody has spoken to since we missed them, oldest first; who has them, notes.",
            subject="Work list",
            right=Right.WORK_LIST,
            parameters=(TENANT, limit()),
            answer=missed,
            schema=ref("Missed"),
            stored=False,
        ),
        change(
            Action.CLAIM,
            "Take a customer: nobody else can until the claim ends. Again: longer.",
            _body(minutes=_MINUTES),
        ),
        change(Action.NOTE, "Note something about a customer.", _body(("text",), text=_TEXT)),
        change(
            Action.RESOLVE,
            "Close a customer by hand, with the reason; he leaves the list, the board and the metrics.",
            _body(("fate", "reason"), fate=_FATE, reason=_TEXT),
        ),
        change(Action.RELEASE, "Let a customer go again; a manager also one whom another has.", _body()),
    ]


async def _act(listed: WorkList, asked: Asked, action: Action) -> dict[str, Any]:
    source, slash, call_id = asked.body["call"].partition("/")
    if not slash:
        raise Problem(422, "The body can't be used", "call: write {source}/{call id}, as `last_call` of the list")
    fate = asked.body.get("fate")
    order = Order(
        action=action,
        by=asked.reader.name,
        text=asked.body.get("text") or asked.body.get("reason", ""),
        fate=Fate(fate) if fate else None,
        keep=timedelta(minutes=asked.body.get("minutes") or asked.settings.api.claim_minutes),
        overrules=asked.reader.may(config.Role.MANAGER),
    )
    request = Request(asked.tenant, source, call_id, order, asked["Idempotency-Key"] or "")
    try:
        return await listed.act(request, asked.reader)
    except work.Claimed as taken:
        until = taken.until.isoformat()
        raise Problem(
            409, "Somebody else has this customer", f"{taken.by} has claimed him until {until}",
            more={"claimed_by": taken.by, "claimed_until": until},
        ) from None  # fmt: skip
    except NotMissed:
        raise Problem(
            404, "No such missed call", f"{asked.body['call'][:80]} is no missed call of {asked.tenant}"
        ) from None
    except NotWaiting as gone:
        raise Problem(410, "Nobody has to call any more", f"The customer is {gone.fate}") from None
    except KeyReused:
        raise Problem(
            422, "The idempotency key was used for another request", "Take a new Idempotency-Key for each request"
        ) from None
