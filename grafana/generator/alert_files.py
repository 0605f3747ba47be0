"""The two forms of the alerts: rules of Prometheus, and rules that Grafana manages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grafana.generator.alert_model import Alert, Group, Record
from grafana.generator.writing import COMMENT, ROOT, to_yaml

RULES = ROOT / "prometheus" / "callkpi.rules.yaml"
MANAGED = ROOT / "provisioning" / "alerting" / "callkpi.yaml"
PROMETHEUS_UID = "callkpi-prometheus"
FOLDER = "Call centre"

_GENERATED = "Written by python -m grafana.generator.alerts: change grafana/generator/alerts.py, not this file."
_RULES_HEADER = f"""{_GENERATED}
Why it is built as it is: the head of that file. What to do about an alert: its page in the handbook."""
_MANAGED_HEADER = f"""{_GENERATED}
The alerts of grafana/prometheus/callkpi.rules.yaml as Grafana manages them, for those who have no Alertmanager. They
read series that the recording rules of that file make, so Prometheus has to load it all the same. Have one of the two
notify: with an Alertmanager, leave this file out of Grafana's provisioning/alerting. Who is told what is not decided
here: see grafana/alerting-example/."""

#: How a value is told: in Prometheus' templates, and in Grafana's.
_FORMS = {
    "%count%": ('{{ printf "%.0f" $value }}', '{{ printf "%.0f" $values.B.Value }}'),
    "%percent%": ("{{ $value | humanizePercentage }}", "{{ humanizePercentage $values.B.Value }}"),
    "%duration%": ("{{ $value | humanizeDuration }}", "{{ humanizeDuration $values.B.Value }}"),
}


def files(groups: Iterable[Group]) -> dict[Path, str]:
    """Both files by their paths."""
    groups = list(groups)
    return {
        RULES: to_yaml(prometheus_rules(groups), _RULES_HEADER),
        MANAGED: to_yaml(grafana_rules(groups), _MANAGED_HEADER),
    }


def texts(alert: Alert, *, managed: bool = False) -> dict[str, str]:
    """What a message is made of."""
    told = {"summary": alert.summary, "description": alert.description, "action": alert.action}
    for word, forms in _FORMS.items():
        told = {key: text.replace(word, forms[managed]) for key, text in told.items()}
    return {**told, "runbook_url": alert.runbook_url}


# -- Prometheus -------------------------------------------------------------------------------------------


def prometheus_rules(groups: Iterable[Group]) -> dict[str, Any]:
    return {
        "groups": [
            {
                "name": group.name,
                "interval": group.interval,
                "rules": [*map(_record, group.records), *map(_rule, group.alerts)],
            }
            for group in groups
        ]
    }


def _record(record: Record) -> dict[str, Any]:
    comment = {COMMENT: record.comment} if record.comment else {}
    return {**comment, "record": record.name, "expr": record.expr}


def _rule(alert: Alert) -> dict[str, Any]:
    comments = [alert.comment] if alert.comment else []
    return {
        COMMENT: "\n".join([*comments, f"for {alert.hold}: {alert.hold_reason}"]),
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.hold,
        **({"keep_firing_for": alert.keep} if alert.keep else {}),
        "labels": {"severity": alert.severity, "team": alert.team},
        "annotations": texts(alert),
    }


# -- Grafana ----------------------------------------------------------------------------------------------


def grafana_rules(groups: Iterable[Group]) -> dict[str, Any]:
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                "folder": FOLDER,
                "interval": "1m" if group.interval == "1m" else "30s",
                "rules": [_managed(alert) for alert in group.alerts],
            }
            for group in groups
            if group.alerts
        ],
    }


def _managed(alert: Alert) -> dict[str, Any]:
    # No series is no alarm: what must be there has a rule of its own, which always has a value.
    blind = "Alerting" if alert.name == "CallkpiDown" else "KeepLast"
    return {
        "uid": f"callkpi-{alert.runbook}"[:40],
        "title": alert.name,
        "condition": "C",
        "for": alert.hold,
        **({"keepFiringFor": alert.keep} if alert.keep else {}),
        "noDataState": "OK",
        "execErrState": blind,
        "labels": {"severity": alert.severity, "team": alert.team},
        "annotations": texts(alert, managed=True),
        "data": [_query(alert), _last(), _threshold(alert)],
    }


def _query(alert: Alert) -> dict[str, Any]:
    return {
        "refId": "A",
        "datasourceUid": PROMETHEUS_UID,
        "relativeTimeRange": {"from": 600, "to": 0},
        "model": {
            "refId": "A",
            "datasource": {"type": "prometheus", "uid": PROMETHEUS_UID},
            "editorMode": "code",
            "instant": True,
            "range": False,
            "intervalMs": 1000,
            "maxDataPoints": 43200,
            "expr": alert.measured,
        },
    }


def _last() -> dict[str, Any]:
    return _expression("B", {"type": "reduce", "expression": "A", "reducer": "last"})


def _threshold(alert: Alert) -> dict[str, Any]:
    sign, limit = ("gt", alert.above) if alert.above is not None else ("lt", alert.below)
    conditions = [{"evaluator": {"type": sign, "params": [limit]}}]
    return _expression("C", {"type": "threshold", "expression": "B", "conditions": conditions})


def _expression(ref: str, model: dict[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref,
        "datasourceUid": "__expr__",
        "relativeTimeRange": {"from": 0, "to": 0},
        "model": {"refId": ref, "datasource": {"type": "__expr__", "uid": "__expr__"}, **model},
    }
