"""Recorded traffic of every kind of source: ``<kind>/<case>.toml`` has deliveries, and the call that they make.

Payloads are made by us in the shape that each vendor documents; no real traffic, no real number. ``{secret}`` stands
for the secret of a kind that sends it in the body. How a delivery is signed is written here a second time, apart from
the code under test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from callkpi import config
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import Call, CallEvent, Kind
from callkpi.config import Source
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Context, Delivery

HERE = Path(__file__).parent
SECRET = "s3cr3t-of-the-door"
TENANT = config.Tenant(timezone="Asia/Almaty", region="KZ")
PUBLIC = "https://calls.example.org/hooks"
FORM = "application/x-www-form-urlencoded"

COLUMNS = {
    "call_id": "ID звонка", "started": "Дата и время", "direction": "Тип", "from": "Откуда", "to": "Куда",
    "queue": "Отдел", "agent": "Сотрудник", "outcome": "Статус", "wait": "Ожидание", "talk": "Разговор",
}  # fmt: skip


def _source(kind: str) -> Source:
    source = config.new_source(kind=kind, tenant="acme")
    if kind == "bitrix24":
        return replace(source, application_tokens=("another", SECRET))
    if kind == "zadarma":
        return replace(source, secrets=("old", SECRET), timezone="Europe/Moscow")
    if kind == "uis":
        return replace(source, token=SECRET, timezone="Europe/Moscow")
    if kind == "mango":
        return replace(source, api_key="vpbx-key-1", secrets=(SECRET,))
    if kind == "twilio":
        return replace(source, secrets=(SECRET,), public_url=f"{PUBLIC}/{kind}")
    if kind == "csv":
        return replace(source, token=SECRET, columns=COLUMNS, outcomes={"Не дождался": "abandoned"})
    return replace(source, token=SECRET)


SETTINGS = config.Settings(tenants={"acme": TENANT}, sources={str(kind): _source(kind) for kind in SOURCE_TYPES})


@dataclass(frozen=True)
class Case:
    """A recording: what came, and the call that it was."""

    kind: str
    name: str
    deliveries: tuple[Delivery, ...]
    call: Mapping[str, Any]
    unknown: int  #: values that the source's reference lacks

    @property
    def source(self) -> Source:
        return SETTINGS.with_zone(SETTINGS.sources[str(self.kind)])


def read(path: Path) -> Case:
    data = tomllib.loads(path.read_text("utf-8"))
    kind = path.parent.name
    deliveries = tuple(signed(kind, _delivery(kind, raw)) for raw in data["delivery"])
    call = {**data["call"], "legs": sorted(data["call"]["legs"])}
    return Case(kind, path.stem, deliveries, call, data.get("unknown", 0))


def _delivery(kind: str, raw: Mapping[str, Any]) -> Delivery:
    target = f"/hooks/{kind}{raw.get('path', '')}"
    if "form" in raw:
        lines = [line.partition(" =") for line in raw["form"].strip().splitlines()]
        fields = {name: value.strip().replace("{secret}", SECRET) for name, _, value in lines}
        return Delivery(urlencode(fields).encode(), FORM, "", raw["came"], {}, target)
    if "json" in raw:
        if kind == "mango":
            fields = {"vpbx_api_key": "vpbx-key-1", "sign": "", "json": raw["json"]}
            return Delivery(urlencode(fields).encode(), FORM, "", raw["came"], {}, target)
        if raw.get("encode") == "base64":
            body = urlencode({"cdr": base64.b64encode(raw["json"].encode()).decode()}).encode()
            return Delivery(body, FORM, "", raw["came"], {}, target)
        return Delivery(raw["json"].encode(), "application/json", "", raw["came"], {}, target)
    text = raw["text"].lstrip("\n").encode(raw.get("encoding", "utf-8"))
    return Delivery(text, raw.get("content_type", "text/plain"), "", raw["came"], {}, target)


def signed(kind: str, delivery: Delivery, secret: str = SECRET) -> Delivery:
    """*delivery* with the proof of origin that its vendor adds."""
    fields = dict(parse_qsl(delivery.body.decode("utf-8", "replace"), keep_blank_values=True))
    if kind == "zadarma":
        names = {
            "NOTIFY_ANSWER": ("caller_id", "destination", "call_start"),
            "NOTIFY_OUT_START": ("internal", "destination", "call_start"),
            "NOTIFY_OUT_END": ("internal", "destination", "call_start"),
            "NOTIFY_RECORD": ("pbx_call_id", "call_id_with_rec"),
        }.get(fields.get("event", ""), ("caller_id", "called_did", "call_start"))
        text = "".join(fields.get(name, "") for name in names)
        digest = hmac.new(secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        return replace(delivery, headers={"Signature": base64.b64encode(digest.encode()).decode()})
    if kind == "mango":
        told = fields["vpbx_api_key"] + fields["json"] + secret
        fields["sign"] = hashlib.sha256(told.encode()).hexdigest()
        return replace(delivery, body=urlencode(fields).encode())
    if kind == "twilio":
        pairs = parse_qsl(delivery.body.decode(), keep_blank_values=True)
        text = f"{PUBLIC}/{kind}" + "".join(name + value for name, value in sorted(pairs))
        digest = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
        return replace(delivery, headers={"X-Twilio-Signature": digest})
    if kind == "freeswitch":
        basic = base64.b64encode(f"callkpi:{secret}".encode()).decode()
        return replace(delivery, headers={"Authorization": f"Basic {basic}"})
    if kind in ("uis", "binotel", "onlinepbx", "sipuni"):
        return replace(delivery, presented_token=secret, target=f"/hooks/{kind}?token={quote(secret)}")
    if kind in ("bitrix24", "megafon"):
        return replace(delivery, body=delivery.body.replace(SECRET.encode(), secret.encode()))
    return replace(delivery, presented_token=secret, headers={"Authorization": f"Bearer {secret}"})


CASES = [read(path) for path in sorted(HERE.glob("*/*.toml"))]


def longest_of_each_kind() -> list[Case]:
    return list({case.kind: case for case in sorted(CASES, key=lambda c: len(c.deliveries))}.values())


# -- what the code under test makes of it ---------------------------------------------------------------


def parse(case: Case, delivery: Delivery, came: datetime | None = None) -> tuple[list[CallEvent], list[str]]:
    source_type = SOURCE_TYPES[case.kind]
    moved = delivery if came is None else replace(delivery, received_at=came)
    context = Context(str(case.kind), "acme", case.source, moved.received_at)
    parsed = source_type.parse(source_type.decode(moved), context)
    return parsed.events, [reason for _, reason in parsed.rejected]


def folded(case: Case, events: list[CallEvent], now: datetime) -> Call:
    told = SOURCE_TYPES[case.kind].interpret(events, case.source)
    canonical = [event for event in told if event.kind is not Kind.SIGNAL]
    return fold(case.call["id"], canonical, Thresholds(TENANT), now)


def describe(call: Call) -> dict[str, Any]:
    """The call in the words of the case files; what is unknown or empty is left out."""
    legs = []
    for leg in call.legs:
        words = [leg.agent, str(leg.end or "open")]
        for name in ("ring", "talk", "hold", "wrap"):
            if (value := getattr(leg, f"{name}_ms")) is not None:
                words += [name, f"{value / 1000:g}"]
        legs.append(" ".join([*words, *(["transferred"] if leg.transferred else [])]))
    entries = [f"{e.queue} {e.outcome} wait {(e.wait_ms or 0) / 1000:g}" for e in call.entries]
    return {
        "id": call.call_id, "direction": str(call.direction), "outcome": str(call.outcome), "customer": call.customer,
        "line": call.line, "started": call.started_at, "ended": call.ended_at, "code": call.code,
        "hangup_by": call.hangup_by, "transferred": call.transferred, "rating": call.rating, "legs": sorted(legs),
        "entries": entries, **{n: _seconds(getattr(call, f"{n}_ms")) for n in ("wait", "talk", "hold", "wrap")},
    }  # fmt: skip


def _seconds(value: int | None) -> float | None:
    return None if value is None else value / 1000
