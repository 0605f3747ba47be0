"""The glossary: what each figure is called, what it is measured in, and what it may be asked of."""

from __future__ import annotations

from enum import StrEnum

#: KPIs that add up over time: a goal for one is for a kind of period, and has a pace.
COUNTED_KPIS = (
    "contacts", "offered", "queued", "rung", "answered", "talked", "handled", "missed", "abandoned", "short_abandoned",
    "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected", "failed", "exited", "voicemail",
    "expired", "after_hours", "callback_requests", "made", "reached", "not_reached", "within_service_level",
    "talk_seconds",
    "hold_seconds", "wrap_seconds", "ring_no_answer", "transferred",
)  # fmt: skip

#: KPIs that don't.
RATIO_KPIS = (
    "missed_share", "answer_rate", "abandon_rate", "service_level", "asa_seconds", "aht_seconds",
    "longest_wait_seconds",
)  # fmt: skip

#: KPIs of agents and teams: missed calls and waits are those of queues.
HANDLE_KPIS = (
    "contacts", "answered", "handled", "made", "reached", "not_reached", "talk_seconds", "hold_seconds", "wrap_seconds",
    "aht_seconds", "ring_no_answer", "transferred",
)  # fmt: skip


class ServiceLevelFormula(StrEnum):
    """Which calls the service level is a share of; see the glossary."""

    DEFAULT = "default"
    ANSWERED = "answered"
    OFFERED = "offered"
    WITH_ABANDONS = "with_abandons"
