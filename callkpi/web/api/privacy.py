"""What is kept of one customer, and its erasure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

import asyncpg

from callkpi import audit, config
from callkpi.calls import pseudonyms
from callkpi.calls.phone import mask
from callkpi.upkeep import erasure
from callkpi.web.access import Right
from callkpi.web.api.contract import TENANT, Answer, Asked, Operation, Schema, Seen
from callkpi.web.api.schemas import ref
from callkpi.web.problems import Problem

_BODY: Schema = {
    "type": "object",
    "properties": {
        "number": {
            "type": "string", "minLength": pseudonyms.LEAST_DIGITS, "maxLength": 60,
            "description": "With its country code, or as it is dialled in the tenant's region.",
        },
        "dry_run": {"type": "boolean", "description": "true (default): only say where it is."},
    },
    "required": ["number"],
    "additionalProperties": False,
}  # fmt: skip


def operations(pool: asyncpg.Pool, settings: config.Settings) -> Sequence[Operation]:
    async def erase(asked: Asked) -> Answer:
        number, dry_run = asked.body["number"], asked.body.get("dry_run", True)
        work = erasure.look_for if dry_run else erasure.erase
        if not dry_run:
            await audit.record(pool, asked.reader, audit.Action.ERASE, asked.tenant, mask(number))
        try:
            # A client that does not wait for the end must not leave half of it.
            found = await asyncio.shield(work(pool, settings, asked.tenant, number))
        except pseudonyms.NotErasable as error:
            raise Problem(422, "The body can't be used", f"number: {error}") from None
        seen = Seen(audit.Action.READ_NUMBERS, asked.tenant, mask(number)) if dry_run else None
        return Answer({**asdict(found), "dry_run": dry_run}, seen=seen)

    return [
        Operation(
            method="POST",
            path="/api/v1/privacy/erase",
            name="erase",
            summary="Replace a customer's number by a pseudonym everywhere; the figures stay. Answers when it is done, "
            "which takes minutes on years of history.",
            subject="Privacy",
            right=Right.PRIVACY,
            parameters=(TENANT,),
            body=_BODY,
            answer=erase,
            schema=ref("Erasure"),
        )
    ]
