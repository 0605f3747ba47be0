"""Who one is, who has read and done what, and what sources sent that was not understood."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from callkpi import audit
from callkpi.calendar.moments import BadQuery, moment
from callkpi.config import Tenant
from callkpi.database import store
from callkpi.projection import isolation
from callkpi.web.access import Right
from callkpi.web.api import cursors
from callkpi.web.api.contract import (
    BEGIN,
    CURSOR,
    END,
    TENANT,
    Answer,
    Asked,
    Operation,
    Parameter,
    Seen,
    choice,
    limit,
    text,
)
from callkpi.web.api.schemas import AUDITED, ref
from callkpi.web.problems import Problem

_NEWEST = 2**63 - 1


def operations(pool: asyncpg.Pool) -> Sequence[Operation]:
    async def me(asked: Asked) -> Answer:
        reader = asked.reader
        return Answer(
            {
                "name": reader.name,
                "role": reader.role,
                "tenants": [name for name in asked.settings.tenants if reader.sees(name)],
                "rights": [right for right in Right if reader.may(right)],
            }
        )

    async def audited(asked: Asked) -> Answer:
        span = moment(asked["from"] or "", "from", Tenant()), moment(asked["to"] or "", "to", Tenant())
        own = sorted(asked.reader.tenants) or None
        items = await audit.read(
            pool, span=span, who=asked["who"], action=asked["action"], tenants=own, before=_before(asked),
            limit=asked["limit"],
        )  # fmt: skip
        return Answer({"items": items, "next": _next(asked, items)})

    async def rejected(asked: Asked) -> Answer:
        rows = await pool.fetch(
            store.query("reports", "rejected_page"), asked.tenant, _before(asked) or _NEWEST, asked["limit"]
        )
        items = [_rejected(row) for row in rows]
        return Answer({"tenant": asked.tenant, "items": items, "next": _next(asked, items)})

    async def set_aside(asked: Asked) -> Answer:
        standing = await isolation.standing(pool, asked.tenant, asked["limit"])
        return Answer({"tenant": asked.tenant, "items": [_standing(item) for item in standing]})

    async def payload(asked: Asked) -> Answer:
        row = await pool.fetchrow(store.query("reports", "rejected_one"), asked.tenant, asked["id"])
        if row is None:
            raise Problem(404, "No such payload", "/api/v1/rejected lists what is kept")
        body = {**_rejected(row), **_payload(bytes(row["payload"]))}
        seen = Seen(audit.Action.READ_RAW, asked.tenant, f"rejected/{row['id']}", {"source": row["source"]})
        return Answer(body, seen=seen)

    return [
        Operation(
            path="/api/v1/me",
            name="me",
            summary="Who you are to the daemon, and what you may do.",
            subject="Access",
            answer=me,
            schema=ref("Me"),
            stored=False,
        ),
        Operation(
            path="/api/v1/audit",
            name="audit",
            summary="Who has read full numbers and raw payloads, exported and changed what; newest first.",
            subject="Access",
            right=Right.AUDIT,
            parameters=(
                BEGIN,
                END,
                text("who", "Only what this reader did."),
                choice("action", "Only this.", AUDITED),
                limit(),
                CURSOR,
            ),
            answer=audited,
            schema=ref("Audit"),
            errors=(410,),
            stored=False,
        ),
        Operation(
            path="/api/v1/rejected",
            name="rejected",
            summary="Payloads that came through a door and could not be understood, newest first.",
            subject="Sources",
            right=Right.RAW,
            parameters=(TENANT, limit(), CURSOR),
            answer=rejected,
            schema=ref("Rejected"),
            errors=(410,),
            stored=False,
        ),
        Operation(
            path="/api/v1/set-aside",
            name="set_aside",
            summary="Calls and agents that can't be computed from their events, with the reason, newest first.",
            subject="Sources",
            right=Right.RAW,
            parameters=(TENANT, limit()),
            answer=set_aside,
            schema=ref("SetAside"),
            stored=False,
        ),
        Operation(
            path="/api/v1/rejected/{id}",
            name="rejected_payload",
            summary="One of them as it came, without the secrets that were in it.",
            subject="Sources",
            right=Right.RAW,
            parameters=(
                TENANT,
                Parameter("id", "Its number.", {"type": "integer", "minimum": 1, "maximum": _NEWEST}, where="path"),
            ),
            answer=payload,
            schema=ref("RejectedInFull"),
            errors=(404,),
            stored=False,
        ),
    ]


def _before(asked: Asked) -> int | None:
    position = cursors.read(asked.values)
    if position is None:
        return None
    if len(position) != 1 or not isinstance(position[0], int) or not 0 < position[0] <= _NEWEST:
        raise BadQuery("cursor: is none of ours; take `next` of the answer before")
    return position[0]


def _next(asked: Asked, items: Sequence[Mapping[str, Any]]) -> str | None:
    return cursors.write(asked.values, [items[-1]["id"]]) if len(items) == asked["limit"] else None


def _rejected(row: Mapping[str, Any]) -> dict[str, Any]:
    replayed = row["replayed_at"]
    return {
        "id": row["id"], "source": row["source"], "received_at": row["received_at"].isoformat(),
        "media_type": row["media_type"], "reason": row["reason"], "bytes": row["bytes"],
        "replayed_at": replayed.isoformat() if replayed else None,
    }  # fmt: skip


def _standing(item: isolation.Standing) -> dict[str, Any]:
    return {
        "part": item.part, "source": item.key.source, "call_id": item.key.call_id, "reason": item.reason,
        "since": item.since.isoformat(), "tries": item.tries, "next_try_at": item.next_try_at.isoformat(),
    }  # fmt: skip


def _payload(raw: bytes) -> dict[str, str]:
    try:
        return {"encoding": "utf-8", "payload": raw.decode()}
    except UnicodeDecodeError:
        return {"encoding": "base64", "payload": base64.b64encode(raw).decode()}
