"""The commented example file."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from callkpi.config.tree import (
    Agent,
    Funnel,
    Goal,
    Named,
    Person,
    Queue,
    Report,
    ReportField,
    SameCall,
    Settings,
    ShiftPlan,
    Source,
    SourceKind,
    Targets,
    Team,
    Tenant,
    Token,
)


def example() -> str:
    """A commented callkpi.toml, made from the settings themselves."""
    lines = ["# callkpi.toml: every key with its default; uncomment what you change.", ""]
    for section in fields(Settings):
        if section.name not in ("tenants", "sources", "tokens"):
            lines += [f"[{section.name}]", *_example_lines(typing.get_type_hints(Settings)[section.name]), ""]
    lines += [
        "[tenants.default]",
        *_example_lines(
            Tenant,
            skip={
                "queues",
                "lines",
                "agents",
                "people",
                "teams",
                "business_hours",
                "special_days",
                "targets",
                "same_call",
                "shifts",
                "fields",
                "goals",
                "reports",
            },
        ),
        "",
    ]
    lines += ["# [tenants.default.business_hours]  # a day that is absent is closed; no table: always open"]
    lines += ['# mon = "09:00-18:00"', '# sat = "10:00-14:00"', ""]
    lines += ["# [tenants.default.special_days]  # days with other business hours; a closed day is in holidays"]
    lines += ['# "2026-12-31" = "10:00-15:00"', ""]
    for table, cls in (
        ("targets", Targets),
        ("same_call", SameCall),
        ("queues.sales", Queue),
        ("lines.7172700100", Named),
        ("agents.1003", Agent),
        ("people.dana", Person),
        ("teams.sales", Team),
        ("shifts.night", ShiftPlan),
        ("fields.campaign", ReportField),
        ("goals.quick", Goal),
        ("reports.daily", Report),
    ):
        lines += [f"# [tenants.default.{table}]", *_example_lines(cls), ""]
    for name, kind in (("portal", SourceKind.BITRIX24), ("pbx", SourceKind.ASTERISK), ("other", SourceKind.NATIVE)):
        lines += [f"# [sources.{name}]", f'# kind = "{kind}"', *_source_lines(kind), ""]
        if kind is SourceKind.BITRIX24:
            lines += [f"# [sources.{name}.funnel]", *_example_lines(Funnel), ""]
    for kind in SourceKind:
        if kind not in (SourceKind.BITRIX24, SourceKind.ASTERISK, SourceKind.NATIVE):
            lines += [f"# [sources.{kind}]", f'# kind = "{kind}"', *_source_lines(kind), ""]
    for table, line in (
        ("columns", 'started = "Date"'), ("directions", 'Incoming = "inbound"'), ("outcomes", 'Missed = "no_answer"'),
    ):  # fmt: skip
        lines += [f"# [sources.csv.{table}]", f"# {line}", ""]
    lines += ["# [tokens.wall]", *_example_lines(Token), ""]
    return "\n".join(lines)


#: Keys of a source that only some kinds read; the others all do.
_KEYS: Mapping[SourceKind, tuple[str, ...]] = {
    SourceKind.BITRIX24: (
        "application_tokens",
        "rest_url",
        "reconcile_seconds",
        "recheck_minutes",
        "recheck_hours",
        "nightly_at",
        "requests_per_second",
    ),
    SourceKind.ASTERISK: (
        "token",
        "inbound_contexts",
        "outbound_contexts",
        "internal_number",
        "ami_address",
        "ami_user",
        "ami_secret",
        "ami_tls",
        "ami_ca",
        "queue_log",
    ),
    SourceKind.NATIVE: ("token",),
    SourceKind.ZADARMA: ("secrets", "timezone", "token"),
    SourceKind.MANGO: ("api_key", "secrets", "token"),
    SourceKind.MEGAFON: ("token", "timezone"),
    SourceKind.TWILIO: ("secrets", "public_url", "token"),
    SourceKind.FREESWITCH: (
        "token",
        "inbound_contexts",
        "outbound_contexts",
        "internal_number",
        "esl_address",
        "esl_password",
    ),
    SourceKind.UIS: ("token", "timezone"),
    SourceKind.BINOTEL: ("token",),
    SourceKind.ONLINEPBX: ("token", "internal_number"),
    SourceKind.SIPUNI: ("token",),
    SourceKind.THREECX: ("token", "timezone", "internal_number", "cdr_fields"),
    SourceKind.CSV: ("token", "timezone", "columns", "directions", "outcomes", "internal_number"),
}


def _source_lines(kind: SourceKind) -> list[str]:
    some = {key for keys in _KEYS.values() for key in keys}
    return _example_lines(Source, skip={"kind", "funnel", *some} - set(_KEYS[kind]))


def _example_lines(cls: Any, skip: typing.Collection[str] = ()) -> list[str]:
    lines = []
    for spec in fields(cls):
        if spec.name in skip:
            continue
        default = spec.default if spec.default is not MISSING else {}
        lines += [f"# {spec.metadata['doc']}", f"# {spec.name} = {_toml(default)}"]
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + str(value) + "'" if "\\" in value else f'"{value}"'
    return '""  # none' if value is None or value == {} else repr(value)
