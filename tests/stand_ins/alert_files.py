"""The files of Alertmanager."""

from __future__ import annotations

from grafana.generator import writing

GRAFANA = writing.ROOT

ALERTMANAGER = GRAFANA / "alertmanager" / "alertmanager.yml"
