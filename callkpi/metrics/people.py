"""What agents do, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import Metric

from callkpi import config
from callkpi.figures import live
from callkpi.metrics.families import Snapshot, gauge
from callkpi.people.names import OTHER, Bounded, Names
from callkpi.people.presence import Times


def time_families(snapshot: Snapshot, settings: config.Settings, names: Names, labels: Bounded) -> Iterator[Metric]:
    """How people's day was spent so far. Gauges: a late event may take time away from a state."""
    by_agent: dict[tuple[str, ...], Times] = {}
    by_team: dict[tuple[str, ...], Times] = {}
    for tenant, people in snapshot.times.items():
        teams = {name: max(names.team(tenant, key) for key in keys) for name, (keys, _) in people.items()}
        allowed = sorted({*teams.values()} - {""})[: settings.metrics.max_teams]
        for name, (keys, times) in people.items():
            _add(by_agent, (tenant, labels.label(tenant, "agent", keys[0])), times)
            if teams[name]:
                _add(by_team, (tenant, teams[name] if teams[name] in allowed else OTHER), times)
    yield gauge("callkpi_agent_state_seconds", "Seconds of an agent in a state since local midnight",
                 ("tenant", "agent", "state"), _state_seconds(by_agent))  # fmt: skip
    yield gauge("callkpi_agent_logged_in_seconds", "Seconds in which an agent was logged in since local midnight",
                 ("tenant", "agent"), {key: times.logged_in_seconds for key, times in by_agent.items()})  # fmt: skip
    for what, by, label in (("agent", by_agent, "agent"), ("team", by_team, "team")):
        shares = {"occupancy": {k: t.occupancy for k, t in by.items()},
                  "utilisation": {k: t.utilisation for k, t in by.items()}}  # fmt: skip
        for name, values in shares.items():
            yield gauge(f"callkpi_{what}_{name}_ratio", f"The {name} of the day so far, of logged-in time",
                         ("tenant", label), {k: v for k, v in values.items() if v is not None})  # fmt: skip


def _add(totals: dict[tuple[str, ...], Times], key: tuple[str, ...], times: Times) -> None:
    totals[key] = totals[key] + times if key in totals else times


def _state_seconds(by_agent: Mapping[tuple[str, ...], Times]) -> dict[tuple[str, ...], float]:
    """Every state, so that a series does not begin in the middle of a day; offline where it is known."""
    result: dict[tuple[str, ...], float] = {}
    for key, times in by_agent.items():
        for state in live.AGENT_STATES:
            seconds = times.offline_seconds if state == "offline" else times.seconds(state)
            if seconds is not None:
                result[(*key, state)] = seconds
    return result
