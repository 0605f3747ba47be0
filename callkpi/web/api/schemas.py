"""Schemas of what the API answers (JSON Schema 2020-12, as OpenAPI 3.1 has it), by the names that operations use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from callkpi.audit import Action
from callkpi.calls.formulas import Figures
from callkpi.calls.model import Direction, Fate, LegEnd, Outcome
from callkpi.config import Role, ServiceLevelFormula
from callkpi.figures import live
from callkpi.figures.board import Level
from callkpi.figures.hearing import Trouble
from callkpi.figures.kpis import GROUPINGS
from callkpi.figures.weights import FIGURES
from callkpi.glossary import FATES, PAUSES, Unit, Way, unit_of
from callkpi.people.presence import Times
from callkpi.web.access import Right

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
SHARE: Schema = {"type": ["number", "null"], "minimum": 0, "maximum": 1}


def maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def one_of(values: Sequence[str]) -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def thing(*, optional: Mapping[str, Schema] | None = None, more: bool | Schema = False, **properties: Schema) -> Schema:
    """An object that has all of *properties*, may have the optional ones, and others only by *more*."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": more,
    }


def _figures() -> Schema:
    """The KPIs as the glossary names them: made from what the reports answer, so that neither can lack one."""
    row = Figures().as_row(ServiceLevelFormula.DEFAULT)
    return {name: SHARE if unit_of(name) is Unit.SHARE else _kind_of(name, value) for name, value in row.items()}


def _kind_of(name: str, value: Any) -> Schema:
    if unit_of(name) is Unit.SECONDS:
        return maybe(SECONDS) if value is None else SECONDS
    return COUNT


_FATES = dict.fromkeys(FATES, COUNT)
_PAUSES = dict.fromkeys(PAUSES, COUNT)
#: How people's time was spent, of rows by agent and team.
_TIMES: dict[str, Schema] = {
    **{name: _kind_of(name, value) for name, value in Times().as_row().items()},
    "occupancy": SHARE,
    "utilisation": SHARE,
    "paused_by_reason": {"type": "object", "additionalProperties": SECONDS},
}
_NOTE = thing(at=TIME, by=TEXT, text=TEXT)


def figure_names() -> Sequence[str]:
    """The columns of a table of figures."""
    return ("contacts", *_figures(), *_FATES)


_ROW = thing(**_figures(), optional={**dict.fromkeys(GROUPINGS, TEXT), **_FATES, **_PAUSES, **_TIMES, "calls": COUNT})
_LEVELS = {name: one_of(list(Level)) for name in ("wait", "service_level", "missed", "callback")}
_LIVE = {
    "waiting": COUNT, "over_target": COUNT, "longest_wait_seconds": SECONDS, "talking": COUNT,
    "agents": {"type": ["object", "null"], "properties": dict.fromkeys(live.AGENT_STATES, COUNT),
               "additionalProperties": False},
    "offered": COUNT, "handled": COUNT, "service_level": SHARE, "missed": COUNT, "missed_share": SHARE,
    "missed_waiting": COUNT, "missed_oldest_seconds": SECONDS, "levels": thing(**_LEVELS),
}  # fmt: skip
_ENTRY = thing(
    more=True, queue=TEXT, queue_name=TEXT, entered_at=TIME, left_at=maybe(TIME), wait_seconds=maybe(SECONDS),
    outcome=one_of(list(Outcome)), answered=FLAG, rung=FLAG,
)  # fmt: skip
_LEG = thing(
    more=True, agent=TEXT, agent_name=TEXT, queue=TEXT, entry=maybe(COUNT), rung_at=maybe(TIME),
    answered_at=maybe(TIME), ended_at=maybe(TIME), end={"enum": [*map(str, LegEnd), None]},
    ring_seconds=maybe(SECONDS), talk_seconds=maybe(SECONDS), hold_seconds=maybe(SECONDS),
    wrap_seconds=maybe(SECONDS), talk_with_hold=FLAG, transferred=FLAG, ended_by=TEXT,
)  # fmt: skip
#: The same call as another source told it.
_TWIN = thing(
    more=True, id=TEXT, source=TEXT, call_id=TEXT, rule=TEXT, started_at=TIME, outcome=one_of(list(Outcome)),
    talk_seconds=maybe(SECONDS), line=TEXT, agents=listed(TEXT),
)  # fmt: skip
_CALL: dict[str, Schema] = {
    "id": TEXT, "tenant": TEXT, "source": TEXT, "call_id": TEXT, "direction": one_of(list(Direction)),
    "customer": {**maybe(TEXT), "description": "null where your role sees masked numbers only; empty where hidden"},
    "customer_masked": TEXT, "line": TEXT, "line_name": TEXT, "started_at": TIME, "last_event_at": TIME,
    "rung_at": maybe(TIME), "answered_at": maybe(TIME), "ended_at": maybe(TIME), "outcome": one_of(list(Outcome)),
    "code": TEXT, "hangup_by": TEXT, "entries": listed(_ENTRY), "legs": listed(_LEG), "wait_seconds": maybe(SECONDS),
    "talk_seconds": maybe(SECONDS), "hold_seconds": maybe(SECONDS), "wrap_seconds": maybe(SECONDS),
    "transferred": FLAG, "rating": maybe({"type": "integer"}),
    "crm": {"type": "object", "additionalProperties": TEXT}, "fields": {"type": "object", "additionalProperties": TEXT},
    "flags": listed(TEXT), "twins": listed(_TWIN),
}  # fmt: skip
_EVENT = thing(more=True, source=TEXT, call_id=TEXT, kind=TEXT, at=TIME, received_at=TIME, event_id=TEXT)
_REJECTED = {
    "id": COUNT, "source": TEXT, "received_at": TIME, "media_type": TEXT, "reason": TEXT,
    "replayed_at": maybe(TIME), "bytes": COUNT,
}  # fmt: skip
_PERIOD = thing(
    kind=TEXT, text=TEXT, name=TEXT, begin=TIME, end=TIME, until=TIME, partial=FLAG,
    optional={"queues": listed(TEXT), "team": TEXT},
)  # fmt: skip
_OF_PERIOD = thing(contacts=COUNT, **_figures(), optional=_FATES)
_NUMBERS = {"type": "object", "additionalProperties": {"type": ["number", "null"]}}
_BESIDE = {
    "figures": _OF_PERIOD, "share": _NUMBERS, "of_total": _NUMBERS,
    "previous": {"anyOf": [_OF_PERIOD, {"type": "null"}]}, "change": maybe(_NUMBERS), "change_ratio": maybe(_NUMBERS),
    "goals": listed({"type": "object"}),
}  # fmt: skip
_BEHIND = thing(
    call=TEXT, started_at=TIME, at=TIME, customer=maybe(TEXT), customer_masked=TEXT, queue=TEXT, agent=TEXT, line=TEXT,
    direction=one_of(list(Direction)), outcome=one_of(list(Outcome)),
    part={"type": "integer", "description": "what it adds: 1 of counts, milliseconds of times"},
    whole={"type": "integer", "description": "of a share or a mean: what it adds to the divisor"},
)  # fmt: skip
_CLAIM = {"claimed_by": maybe(TEXT), "claimed_until": maybe(TIME)}

SCHEMAS: Mapping[str, Schema] = {
    "Problem": thing(
        more=True, title=TEXT, status={"type": "integer"},
        optional={"type": TEXT, "detail": TEXT, "errors": listed(TEXT), **_CLAIM},
    ),
    "Kpi": {
        "description": "Rows by one dimension, and their sum. by=queue counts stays in queues, by=agent what agents "
        "did, all others calls.",
        **thing(tenant=TEXT, by=one_of(GROUPINGS), counts=TEXT, rows=listed(_ROW),
                total=thing(**_figures(), optional=_TIMES), **{"from": TIME, "to": TIME}),
    },
    "Call": thing(more=True, **_CALL),
    "Calls": thing(
        tenant=TEXT, calls=listed(ref("Call")), complete=FLAG, next=maybe(TEXT), **{"from": TIME, "to": TIME}
    ),
    "CallInFull": thing(more=True, **_CALL, facts=listed({"type": "object"}), events=listed(_EVENT)),
    "Missed": thing(
        tenant=TEXT,
        complete=FLAG,
        items=listed(thing(
            customer=TEXT, customer_masked=TEXT, hidden_number=FLAG, calls=COUNT, first_missed_at=TIME,
            last_missed_at=TIME, waiting_seconds=COUNT, fate=one_of((Fate.WAITING, Fate.CALLED_BACK)),
            called_back_at=maybe(TIME), queue=TEXT, line=TEXT, outcome=one_of(list(Outcome)), last_call=TEXT,
            notes=listed(_NOTE), **_CLAIM,
        )),
    ),
    "Erasure": thing(
        pseudonym=TEXT, calls=COUNT, events=COUNT, rejected=COUNT, dry_run=FLAG,
        ids={**COUNT, "description": "Calls whose own id holds the number, as the source made it: ids stay."},
    ),
    "Work": thing(
        tenant=TEXT, call=TEXT, customer_masked=TEXT, hidden_number=FLAG, notes=listed(_NOTE),
        settlements=listed(thing(at=TIME, fate=one_of((Fate.REACHED, Fate.WRITTEN_OFF)), by=TEXT, reason=TEXT)),
        **_CLAIM,
    ),
    "Statistics": thing(
        tenant=TEXT, timezone=TEXT, period=_PERIOD, compared_with={"anyOf": [_PERIOD, {"type": "null"}]},
        by=listed(TEXT), only={"type": "object", "additionalProperties": listed(TEXT)}, counts=TEXT,
        bases={"type": "object", "additionalProperties": TEXT},
        rows=listed(thing(
            optional={"begin": TIME}, key={"type": "object", "additionalProperties": TEXT}, counts=TEXT, **_BESIDE
        )),
        total=thing(**_BESIDE),
    ),
    "Shifts": thing(
        tenant=TEXT,
        shifts=listed(thing(
            key=TEXT, id=TEXT, name=TEXT, day={"type": "string", "format": "date"}, seconds=SECONDS,
            queues=listed(TEXT), team=TEXT, running=FLAG, **{"from": TIME, "to": TIME},
        )),
    ),
    "Behind": thing(
        tenant=TEXT, figure=one_of(list(FIGURES)), way=one_of(list(Way)), counts=TEXT,
        value={"type": ["number", "null"]}, items=listed(_BEHIND), others=listed(_BEHIND), complete=FLAG,
        **{"from": TIME, "to": TIME},
    ),
    "Queues": thing(
        more=True, tenant=TEXT, at=TIME, open=FLAG, stale=TEXT, silent=FLAG, silent_seconds=maybe(SECONDS),
        unheard=listed(thing(
            source=TEXT, trouble=one_of(list(Trouble)), reason=TEXT, unheard_seconds=maybe(SECONDS),
        )),
        company=thing(more=True, **_LIVE), queues=listed(thing(more=True, queue=TEXT, **_LIVE)),
    ),
    "Agents": thing(
        tenant=TEXT, at=TIME,
        agents=listed(thing(
            agent=TEXT, state=one_of(live.AGENT_STATES),
            queues=listed(thing(queue=TEXT, state=one_of(live.AGENT_STATES), reason=TEXT, since=maybe(TIME))),
        )),
    ),
    "Rejected": thing(tenant=TEXT, items=listed(thing(**_REJECTED)), next=maybe(TEXT)),
    "RejectedInFull": thing(**_REJECTED, encoding=one_of(("utf-8", "base64")), payload=TEXT),
    "SetAside": thing(
        tenant=TEXT,
        items=listed(thing(part=one_of(("calls", "times")), source=TEXT, call_id=TEXT, reason=TEXT, since=TIME,
                           tries=COUNT, next_try_at=TIME)),
    ),
    "Audit": thing(
        items=listed(thing(id=COUNT, at=TIME, who=TEXT, role=TEXT, action=TEXT, tenant=TEXT, subject=TEXT,
                           details={"type": "object"})),
        next=maybe(TEXT),
    ),
    "Me": thing(name=TEXT, role=one_of(list(Role)), tenants=listed(TEXT), rights=listed(one_of(list(Right)))),
}  # fmt: skip

#: What may be done about a missed customer, as the audit names it.
AUDITED = [str(action) for action in Action]
