"""What people do about missed customers: claim, note, settle by hand, release. Pure, no I/O.

It is journalled like what a PBX says, in a stream of its own per customer: it survives whatever survives a call, a
rebuild gives it again, and :func:`callkpi.missed.fates.fates` sees a settlement beside the calls. The journal's source
is :data:`SOURCE`, which no configured source can be called, so nothing that comes through a door can pretend to be it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from callkpi.calls.fold import in_order
from callkpi.calls.model import CallEvent, Fate, Kind
from callkpi.missed.fates import Settlement

SOURCE = "@callkpi"
#: An item that is one call, because its customer hid his number.
HIDDEN = "call:"
#: How many notes of a customer are kept in sight.
NOTES = 10


class Action(StrEnum):
    CLAIM = "claim"
    NOTE = "note"
    RESOLVE = "resolve"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants to do about an item."""

    action: Action
    by: str
    text: str = ""  #: of a note; of a resolution its reason
    fate: Fate | None = None  #: of a resolution: REACHED (outside of callkpi's sight) or WRITTEN_OFF
    keep: timedelta = timedelta(0)  #: of a claim: for how long
    overrules: bool = False  #: may act on what another has claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    at: datetime
    by: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The state of an item: the fold of what was done about it."""

    claimed_by: str = ""
    claimed_until: datetime | None = None
    notes: tuple[Note, ...] = ()
    settlements: tuple[Settlement, ...] = ()
    last_at: datetime | None = None

    def holder(self, now: datetime) -> str:
        """Who has claimed it and not let it go; "" where nobody has."""
        return self.claimed_by if self.claimed_until is not None and self.claimed_until > now else ""


class Claimed(Exception):
    """Somebody else has it."""

    def __init__(self, by: str, until: datetime) -> None:
        super().__init__(by)
        self.by, self.until = by, until


def item_of(customer: str, source: str, call_id: str) -> str:
    """The name of an item: the customer, or the call where he hid his number."""
    return customer or f"{HIDDEN}{source}/{call_id}"


def hidden_call(item: str) -> tuple[str, str] | None:
    """Source and id of the call that an item is, or None where it is a customer."""
    if not item.startswith(HIDDEN):
        return None
    source, _, call_id = item.removeprefix(HIDDEN).partition("/")
    return source, call_id


def decide(work: Work, order: Order, now: datetime) -> None:
    """Raises Claimed where another has the item and *order* must not go over his head. Notes are free."""
    holder = work.holder(now)
    if order.action is Action.NOTE or holder in ("", order.by) or work.claimed_until is None:
        return
    if order.action is Action.CLAIM or not order.overrules:
        raise Claimed(holder, work.claimed_until)


def event(tenant: str, item: str, customer: str, order: Order, work: Work, now: datetime) -> CallEvent:
    """What is journalled of *order*. Later than all before it, whatever the clocks of two processes say."""
    at = now if work.last_at is None else max(now, work.last_at + timedelta(microseconds=1))
    told = {"by": order.by}
    if order.action is Action.CLAIM:
        told["until"] = (at + order.keep).isoformat()
    identity = "\n".join((tenant, item, order.action, order.by, at.isoformat()))
    return CallEvent(
        tenant=tenant, source=SOURCE, call_id=item, kind=Kind.WORKED, at=at, received_at=now, customer=customer,
        event_id=hashlib.blake2b(identity.encode(), digest_size=16).hexdigest(), state=order.action,
        reason=order.text, cause=order.fate or "", detail=told,
    )  # fmt: skip


def fold_work(events: Iterable[CallEvent]) -> Work:
    """The state that *events* of one item lead to, in any order and however often each comes."""
    work = Work()
    for told in in_order(events):
        work = replace(_after(work, told), last_at=told.at)
    return work


def _after(work: Work, told: CallEvent) -> Work:
    by = told.detail.get("by", "")
    if told.state == Action.CLAIM:
        return replace(work, claimed_by=by, claimed_until=datetime.fromisoformat(told.detail["until"]))
    if told.state == Action.NOTE:
        return replace(work, notes=(*work.notes, Note(at=told.at, by=by, text=told.reason))[-NOTES:])
    free = replace(work, claimed_by="", claimed_until=None)
    if told.state == Action.RESOLVE:
        settlement = Settlement(at=told.at, fate=Fate(told.cause), by=by, reason=told.reason)
        return replace(free, settlements=(*work.settlements, settlement))
    return free


def to_json(work: Work) -> dict[str, Any]:
    """What the store keeps of a state, as plain data."""
    return {
        "notes": [{"at": note.at.isoformat(), "by": note.by, "text": note.text} for note in work.notes],
        "settlements": [
            {"at": each.at.isoformat(), "fate": each.fate.value, "by": each.by, "reason": each.reason}
            for each in work.settlements
        ],
    }


def settlements_from_json(body: dict[str, Any]) -> list[Settlement]:
    return [
        Settlement(at=datetime.fromisoformat(each["at"]), fate=Fate(each["fate"]), by=each["by"], reason=each["reason"])
        for each in body["settlements"]
    ]
