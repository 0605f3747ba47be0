"""A connector between a PBX and Bitrix24: the portal's webhooks and rows for calls that the PBX told, with its faults.

Each fault is documented of real connectors or of the portal: registered at the first ring, at the answer, or after the
end with the old begin; one CALL_ID for two calls (an unfinished one of the same number, direction and user within half
an hour); START together with INIT, and a second one; a default user for everybody; no finish; a failure code for a
conversation; the length of the whole call as its duration; a number in another form; a webhook that was lost.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

from callkpi.calls.model import Call, Direction, Outcome
from tests.stand_ins.portal import Row

ZONE = timezone(timedelta(hours=3))
DEDUPE = timedelta(minutes=30)
DEFAULT_USER = "1"
CODES = {Outcome.BUSY: "486", Outcome.REJECTED: "603", Outcome.FAILED: "503"}
#: Faults by the share of calls that have them.
FAULTS: Mapping[str, float] = {
    "late": 0.2, "at_answer": 0.3, "unfinished": 0.05, "wrong_code": 0.08, "odd_code": 0.05, "default_user": 0.3,
    "second_start": 0.1, "whole_length": 0.2, "init_lost": 0.03, "end_lost": 0.03, "not_registered": 0.05,
}  # fmt: skip


@dataclass
class Connector:
    """Registers calls as they come; :attr:`sent` is what the portal sends, by the time when it does."""

    token: str
    seed: int = 1
    faults: Mapping[str, float] = field(default_factory=lambda: FAULTS)
    names_ids: bool = False  #: writes the PBX's Uniqueid into EXTERNAL_CALL_ID
    sent: list[tuple[datetime, bytes]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)  #: CALL_IDs
    faulty: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._unfinished: dict[tuple[str, str, str], tuple[str, datetime]] = {}

    def take(self, calls: Iterable[Call]) -> None:
        for call in sorted(calls, key=lambda c: c.started_at):
            if call.direction in (Direction.INBOUND, Direction.OUTBOUND) and call.customer and call.ended_at:
                self._register(call, call.ended_at)
        self.sent.sort(key=lambda item: item[0])

    def _has(self, fault: str) -> bool:
        has = self._random.random() < self.faults.get(fault, 0.0)
        self.faulty += [fault] if has else []
        return has

    def _register(self, call: Call, ended_at: datetime) -> None:
        if self._has("not_registered"):
            return
        user, kind = self._user(call), "2" if call.direction is Direction.INBOUND else "1"
        begin = call.started_at
        late = self._has("late")
        if not late:
            begin = call.rung_at or begin
            begin = call.answered_at if call.answered_at and self._has("at_answer") else begin
        told_at = ended_at + timedelta(seconds=self._random.choice([20, 400, 3000])) if late else begin
        # Whoever registers a call after its end finishes it in one go.
        is_unfinished = not late and self._has("unfinished")
        place, number = (call.customer, kind, user), self._number(call.customer)
        known = self._unfinished.get(place)
        if known is not None and begin - known[1] < DEDUPE:
            self.faulty.append("one_id_for_two")
            call_id, begin = known
        else:
            call_id = f"externalCall.{self._random.getrandbits(128):032x}.{int(told_at.timestamp())}"
            self.calls.add(call_id)
            # A START alone names no number: nobody could tell whose call that was if its end were missing as well.
            self._begin(call_id, kind, number, user, told_at, not is_unfinished and self._has("init_lost"))
        if is_unfinished:
            self._unfinished[place] = call_id, begin
            return
        self._unfinished.pop(place, None)
        self._finish(call, call_id, kind, number, user, begin, told_at if late else ended_at)

    def _begin(self, call_id: str, kind: str, number: str, user: str, at: datetime, is_init_lost: bool) -> None:
        told = {"CALL_ID": call_id, "CALL_TYPE": kind, "CALLER_ID": number, "REST_APP_ID": "11"}
        if not is_init_lost:
            self._send("ONVOXIMPLANTCALLINIT", at, told)
        self._send("ONVOXIMPLANTCALLSTART", at, {"CALL_ID": call_id, "USER_ID": user})
        if self._has("second_start"):
            self._send("ONVOXIMPLANTCALLSTART", at + timedelta(seconds=2), {"CALL_ID": call_id, "USER_ID": "77"})

    def _finish(
        self, call: Call, call_id: str, kind: str, number: str, user: str, begin: datetime, at: datetime
    ) -> None:
        answered = call.answered and not self._has("wrong_code")
        code = "200" if answered else CODES.get(call.outcome, "304")
        code = "505" if not answered and self._has("odd_code") else code
        talk = (call.talk_ms or 0) // 1000 if answered else 0
        if answered and self._has("whole_length"):
            talk = int((at - begin).total_seconds()) if at - begin < timedelta(minutes=10) else talk
        row = {
            "CALL_ID": call_id, "CALL_TYPE": kind, "PHONE_NUMBER": number, "PORTAL_NUMBER": "REST_APP:",
            "PORTAL_USER_ID": user, "CALL_DURATION": str(max(talk, 0)), "CALL_FAILED_CODE": code,
            "CALL_START_DATE": begin.astimezone(ZONE).isoformat(timespec="seconds"), "CRM_ACTIVITY_ID": "90211",
        }  # fmt: skip
        if not self._has("end_lost"):
            self._send("ONVOXIMPLANTCALLEND", at, row)
        external = {"EXTERNAL_CALL_ID": call.call_id} if self.names_ids else {}
        crm = {"CRM_ENTITY_TYPE": "LEAD", "CRM_ENTITY_ID": "7", "CALL_VOTE": "4"}
        self.rows.append({**row, **external, **crm, "ID": str(len(self.rows) + 1)})

    def _user(self, call: Call) -> str:
        if self._has("default_user"):
            return DEFAULT_USER
        return next((f"5{len(leg.agent)}" for leg in call.legs if leg.answered_at), DEFAULT_USER)

    def _number(self, number: str) -> str:
        return self._random.choice([number, number.lstrip("+"), "8" + number[2:], f"00{number.lstrip('+')}"])

    def _send(self, event: str, at: datetime, data: Mapping[str, str]) -> None:
        told = {"event": event, **{f"data[{key}]": value for key, value in data.items()}}
        told |= {"ts": str(int(at.timestamp()) + 1), "auth[application_token]": self.token, "auth[member_id]": "m"}
        self.sent.append((at, urlencode(told).encode()))


def interleaved(lines: Sequence[tuple[datetime, str]], sent: Sequence[tuple[datetime, bytes]]) -> list[str | bytes]:
    """What both send, in the order of their clocks."""
    return [item for _, item in sorted([*lines, *sent], key=lambda pair: pair[0])]
