"""Expressions of PromQL that several alerts share, and how their texts say where."""

from __future__ import annotations

from grafana.generator.alert_model import Limits

QUEUE = "tenant, queue"

WINDOW = "tenant, queue, window"

SOURCE = "tenant, source"

OPEN = "tenant:callkpi_business_open_seconds:max"

CALLS = "queue:callkpi_recent_calls:sum"

MISSED = "queue:callkpi_recent_missed:ratio"

ABANDONED = "queue:callkpi_recent_abandoned:ratio"

LEVEL = "queue:callkpi_recent_service_level_ratio:max"

COMPANY = "tenant:callkpi_company_recent_missed:ratio"

USUAL = "queue:callkpi_usual_missed:ratio"

AGE = "source:callkpi_source_age_seconds:min"

SILENCE = "source:callkpi_source_silence_seconds:max"

DAYS = "source:callkpi_source_silence_seconds:days"

WEEKS = "source:callkpi_source_silence_seconds:weeks"

LIMIT = "source:callkpi_source_silence_seconds:limit"


def best(metric: str, by: str = QUEUE) -> str:
    """One answer of many replicas."""
    return f"max by ({by}) ({metric})"


def in_window(window: str, series: str) -> str:
    return f'{series}{{window="{window}"}}'


def open_for(seconds: int) -> str:
    return f"and on (tenant) {OPEN} > {seconds}"


def when_queue(condition: str) -> str:
    return f"and on (tenant, queue) {condition}"


def trusted(limits: Limits) -> str:
    return f"unless on () max(callkpi_projector_lag_seconds) > {limits.lag_trusted}"


def grown(counter: str, window: str, by: str = "") -> str:
    """What a counter of the daemon's own grew by; it is kept in the store and continues over a restart."""
    return f"max{f' by ({by})' if by else ''} (increase({counter}[{window}]))"


AT_QUEUE = "{{ $labels.tenant }}, {{ with $labels.queue }}queue {{ . }}{{ else }}calls without a queue{{ end }}"

AT_SOURCE = "{{ $labels.tenant }}, source {{ $labels.source }}"
