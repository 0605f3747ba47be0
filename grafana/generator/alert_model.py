"""What an alert is, a recording rule, a group of both, and all thresholds."""

from __future__ import annotations

from dataclasses import dataclass

#: Where the daemon shows its handbook if nothing else is configured: an address that leads to no stranger.
#: ``callkpi grafana-files DIR --url URL`` writes another one into the files.
DAEMON = "http://127.0.0.1:8090"

#: The name of the scrape job in prometheus.yml.
JOB = "callkpi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """All thresholds. Shares are 0..1, times are seconds, counts are the least number that alarms."""

    grace: int = 600  #: after the opening nothing is judged for so long
    window_calls: int = 10  #: calls in the half hour below which no share means anything
    missed: int = 5
    missed_share: float = 0.25
    company_missed: int = 10
    unusual_factor: float = 2
    unusual_points: float = 0.10
    abandoned: int = 5
    abandoned_share: float = 0.15
    service_level: float = 0.80  #: what is aimed at; the rest is the budget that burns
    fast_burn: float = 3
    slow_burn: float = 1.5
    hour_calls: int = 20
    day_calls: int = 60
    wait_factor: float = 2  #: times T of the queue
    wait_least: int = 30
    wait_implausible: int = 1800  #: nobody waits for so long: the end of the call got lost
    callback: int = 3600  #: business time
    silence_least: int = 900
    silence_unknown: int = 3600  #: the least until this weekday is known
    silence_unknown_always_open: int = 43_200
    always_open: int = 86_400  #: open for longer without a break: it has no business hours
    silence_factor: float = 3
    clock_ahead: int = 60
    events_late: int = 300
    clock_most: int = 54_000  #: beyond 15 hours it is no clock and no time zone, but a broken date
    refused: int = 5
    expired: int = 5
    expired_share: float = 0.02
    lag: int = 60
    crm: int = 3600
    lag_stalled: int = 900
    spool_share: float = 0.5
    restarts: int = 2  #: of one process in a quarter of an hour
    lag_trusted: int = 30  #: beyond it who waits and who was called back is not known well enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A recording rule, ``level:metric:operation``."""

    name: str
    expr: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: *value* beyond a threshold while all of *when* holds.

    Texts are Go templates in which ``%count%``, ``%percent%`` and ``%duration%`` stand for the value.
    """

    name: str
    severity: str  #: critical: wake somebody; warning: in this shift; info: when there is time
    team: str  #: floor, telephony or ops
    value: str
    above: float | None = None
    below: float | None = None
    when: tuple[str, ...] = ()  #: each begins with "and" or "unless"
    hold: str  #: how long it has to be so
    hold_reason: str
    keep: str = ""  #: how long it goes on firing after that, where it would flap
    summary: str
    description: str
    action: str
    comment: str = ""

    @property
    def expr(self) -> str:
        """The whole condition for Prometheus."""
        sign, limit = (">", self.above) if self.above is not None else ("<", self.below)
        return "\n".join([f"{self.value} {sign} {limit:g}", *self.when])

    @property
    def measured(self) -> str:
        """The value while all of *when* holds, for those who compare with the threshold themselves."""
        return "\n".join([self.value, *self.when])

    @property
    def runbook(self) -> str:
        """The alert's page in the handbook: its name in kebab case, without the prefix."""
        words = self.name.removeprefix("Callkpi")
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in words).removeprefix("-")

    @property
    def runbook_url(self) -> str:
        return f"{DAEMON}/handbook/alerts/{self.runbook}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rules that are evaluated together, in this order."""

    name: str
    interval: str
    records: tuple[Record, ...] = ()
    alerts: tuple[Alert, ...] = ()
