"""Every alert of callkpi, once: thresholds, expressions, texts. ``python -m grafana.generator.alerts [--check]``
writes (or compares) the rules for Prometheus and the same rules as Grafana manages them.

How the rules are built, and why:

- *Floor alerts* read the exact windows of ``callkpi/figures/recent.py`` and no rates: a burst of old calls, a restart,
  a gap in the scrapes or a new series can't move them, and a window never reaches into the time before the opening.
- They hold only while the call centre is open, and not in its first minutes (``open_seconds``).
- Every replica exports the same numbers: ``max by``, never ``sum``.
- Nothing fires below a minimum of calls: two of three is no trend.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from grafana.generator import alert_files, writing

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


def groups(limits: Limits | None = None) -> tuple[Group, ...]:
    """Everything, in the order in which a rule may read another."""
    limits = limits or Limits()
    return (
        Group(name="callkpi.records", interval="15s", records=tuple(_records())),
        Group(name="callkpi.floor", interval="15s", alerts=tuple(_floor(limits))),
        Group(
            name="callkpi.sources", interval="1m",
            records=tuple(_silence(limits)), alerts=tuple(_sources(limits)),
        ),
        Group(name="callkpi.daemon", interval="15s", alerts=tuple(_daemon(limits))),
    )  # fmt: skip


def paced(rules: Iterable[Group], *, interval: str, hold: str, keep: str) -> tuple[Group, ...]:
    """The same rules evaluated at another pace, for trials. Expressions, thresholds and windows are not touched."""
    return tuple(
        replace(
            group,
            interval=interval,
            alerts=tuple(replace(alert, hold=hold, keep=keep if alert.keep else "") for alert in group.alerts),
        )
        for group in rules
    )


def all_alerts(limits: Limits | None = None) -> list[Alert]:
    return [alert for group in groups(limits) for alert in group.alerts]


# -- PromQL -----------------------------------------------------------------------------------------------

_QUEUE = "tenant, queue"
_WINDOW = "tenant, queue, window"
_SOURCE = "tenant, source"
_OPEN = "tenant:callkpi_business_open_seconds:max"
_CALLS = "queue:callkpi_recent_calls:sum"
_MISSED = "queue:callkpi_recent_missed:ratio"
_ABANDONED = "queue:callkpi_recent_abandoned:ratio"
_LEVEL = "queue:callkpi_recent_service_level_ratio:max"
_COMPANY = "tenant:callkpi_company_recent_missed:ratio"
_USUAL = "queue:callkpi_usual_missed:ratio"
_AGE = "source:callkpi_source_age_seconds:min"
_SILENCE = "source:callkpi_source_silence_seconds:max"
_DAYS = "source:callkpi_source_silence_seconds:days"
_WEEKS = "source:callkpi_source_silence_seconds:weeks"
_LIMIT = "source:callkpi_source_silence_seconds:limit"


def _best(metric: str, by: str = _QUEUE) -> str:
    """One answer of many replicas."""
    return f"max by ({by}) ({metric})"


def _in(window: str, series: str) -> str:
    return f'{series}{{window="{window}"}}'


def _open(seconds: int) -> str:
    return f"and on (tenant) {_OPEN} > {seconds}"


def _when_queue(condition: str) -> str:
    return f"and on (tenant, queue) {condition}"


def _trusted(limits: Limits) -> str:
    return f"unless on () max(callkpi_projector_lag_seconds) > {limits.lag_trusted}"


def _grown(counter: str, window: str, by: str = "") -> str:
    """What a counter of the daemon's own grew by; it is kept in the store and continues over a restart."""
    return f"max{f' by ({by})' if by else ''} (increase({counter}[{window}]))"


def _records() -> Iterator[Record]:
    yield Record(name=_OPEN, expr=_best("callkpi_business_open_seconds", "tenant"))
    answered, missed = (_best(f"callkpi_recent_{name}", _WINDOW) for name in ("answered", "missed"))
    yield Record(name=_CALLS, expr=f"{answered}\n+ {missed}", comment="calls of a window that are decided")
    yield Record(name=_MISSED, expr=f"{missed}\n/ ({_CALLS} > 0)")
    yield Record(name=_ABANDONED, expr=f"{_best('callkpi_recent_abandoned', _WINDOW)}\n/ ({_CALLS} > 0)")
    yield Record(name=_LEVEL, expr=_best("callkpi_recent_service_level_ratio", _WINDOW))
    answered, missed = (_best(f"callkpi_company_recent_{name}", "tenant, window") for name in ("answered", "missed"))
    yield Record(name=_COMPANY, expr=f"{missed}\n/ ({answered} + {missed} > 0)", comment="whole calls, each once")
    answered, missed = (_best(f"callkpi_usual_{name}") for name in ("answered", "missed"))
    yield Record(
        name=_USUAL,
        expr=f"{missed}\n/ ({answered} + {missed} >= 5)",
        comment="the same hour of up to four weeks before; absent where there were hardly any calls",
    )


def _silence(limits: Limits) -> Iterator[Record]:
    event, received = (
        _best(f"callkpi_source_last_{what}_timestamp_seconds", _SOURCE) for what in ("event", "received")
    )
    newest = "source:callkpi_source_newest_timestamp_seconds:min"
    yield Record(
        name=newest,
        expr=f"({event} < {received}) or {received}",
        comment="a sender whose clock is ahead must not look alive from the future",
    )
    yield Record(name=_AGE, expr=f"time() - {newest}")
    yield Record(
        name=_SILENCE,
        expr=(f"{_AGE} < on (tenant) group_left () {_OPEN}\nor 0 * {_AGE} + on (tenant) group_left () ({_OPEN} > 0)"),
        comment="counted from the opening; absent while it is closed",
    )
    hour = "the longest silences around this hour"
    yield Record(name=_DAYS, expr=_mean([24 * n for n in range(1, 8)]), comment=f"mean of {hour}, last seven days")
    yield Record(name=_WEEKS, expr=_mean([168 * n for n in range(1, 4)]), comment="and on this weekday, three weeks")
    in_hours = f"and on (tenant) {_OPEN} < {limits.always_open}"
    yield Record(
        name=_LIMIT,
        expr=(
            f"clamp_min({limits.silence_factor:g} * ({_DAYS} > {_WEEKS} or {_WEEKS}), {limits.silence_least})\n"
            f"or clamp_min({limits.silence_factor:g} * {_DAYS}, {limits.silence_unknown}) {in_hours}\n"
            f"or 0 * {_SILENCE} + {limits.silence_unknown} {in_hours}\n"
            f"or 0 * {_SILENCE} + {limits.silence_unknown_always_open}"
        ),
        comment=(
            "how long a source may be silent now: learnt from this weekday and the last days; coarser until a week is\n"
            "known; and coarser still where no business hours are configured, so that any night may be a quiet one"
        ),
    )


def _mean(hours: list[int]) -> str:
    """The mean of the longest silences around this hour, so many hours before."""
    terms = [
        f'  label_replace(max_over_time({_SILENCE}[1h] offset {60 * hour - 30}m), "ago", "{hour}h", "", "")'
        for hour in hours
    ]
    return f"avg by ({_SOURCE}) (\n" + "\n  or\n".join(terms) + "\n)"


# -- the floor --------------------------------------------------------------------------------------------

_AT_QUEUE = "{{ $labels.tenant }}, {{ with $labels.queue }}queue {{ . }}{{ else }}calls without a queue{{ end }}"
_BOUNDARY = "a quarter of an hour may have begun; two minutes of it show that it goes on"


def _floor(limits: Limits) -> Iterator[Alert]:
    spike = (
        _when_queue(f"{_in('half_hour', _MISSED)} > {limits.missed_share:g}"),
        _when_queue(f"{_in('half_hour', _CALLS)} >= {limits.window_calls}"),
        _open(limits.grace),
    )
    missed = _best(_in("half_hour", "callkpi_recent_missed"))
    yield Alert(
        name="CallkpiMissedCallSpike", severity="warning", team="floor",
        value=missed, above=limits.missed - 1, when=spike,
        hold="2m", hold_reason=_BOUNDARY, keep="10m",
        summary=f"{_AT_QUEUE}: %count% callers missed in the last half hour",
        description=f"More than {limits.missed_share:.0%} of the callers of the last 15 to 30 minutes reached nobody.",
        action="Look who is free or paused, move agents into the queue, then call the missed ones back.",
    )  # fmt: skip
    queues = " ".join((f"({missed} > {limits.missed - 1}", *spike[:2])) + ")"
    yield Alert(
        name="CallkpiCompanyMissedCallSpike", severity="warning", team="floor",
        value=_best(_in("half_hour", "callkpi_company_recent_missed"), "tenant"), above=limits.company_missed - 1,
        when=(
            f"and on (tenant) {_in('half_hour', _COMPANY)} > {limits.missed_share:g}",
            f"unless on (tenant) {queues}",
            _open(limits.grace),
        ),
        hold="2m", hold_reason=_BOUNDARY, keep="10m",
        summary="{{ $labels.tenant }}: %count% callers missed in the last half hour, over all queues",
        description=(
            f"More than {limits.missed_share:.0%} of all callers of the last 15 to 30 minutes reached nobody, "
            "and no single queue explains it."
        ),
        action="Look at the board: is it all queues, one line, or are too few agents logged in?",
        comment="many small queues, each below the minimum of its own alert",
    )  # fmt: skip
    yield Alert(
        name="CallkpiMissedCallsUnusual", severity="info", team="floor",
        value=_best(_in("hour", "callkpi_recent_missed")), above=limits.missed - 1,
        when=(
            _when_queue(f"({_in('hour', _MISSED)} > on (tenant, queue) {limits.unusual_factor:g} * {_USUAL})"),
            _when_queue(f"({_in('hour', _MISSED)} - on (tenant, queue) {_USUAL} > {limits.unusual_points:g})"),
            _open(limits.grace),
        ),
        hold="5m", hold_reason="it compares a whole hour with others; five minutes are no loss", keep="15m",
        summary=f"{_AT_QUEUE}: %count% callers missed in the last hour, more than usual",
        description=(
            f"The missed share is over {limits.unusual_factor:g} times that of the same hour on this weekday "
            "in the last four weeks (holidays left out)."
        ),
        action="Compare staffing with last week: absences, a campaign, a changed menu or a new number?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiAbandonedInQueue", severity="warning", team="floor",
        value=_best(_in("half_hour", 'callkpi_recent_abandoned').replace("{", '{queue!="", ')),
        above=limits.abandoned - 1,
        when=(
            _when_queue(f"{_in('half_hour', _ABANDONED)} > {limits.abandoned_share:g}"),
            _when_queue(f"{_in('half_hour', _CALLS)} >= {limits.window_calls}"),
            _open(limits.grace),
        ),
        hold="2m", hold_reason=_BOUNDARY, keep="10m",
        summary=f"{_AT_QUEUE}: %count% callers hung up waiting in the last half hour",
        description=f"More than {limits.abandoned_share:.0%} of the callers gave up; short hang-ups are not counted.",
        action="Add agents to the queue or shorten the way to them; then call back those who gave up.",
    )  # fmt: skip
    yield from _service_level(limits)
    longest = _best("callkpi_longest_wait_seconds")
    yield Alert(
        name="CallkpiLongestWait", severity="warning", team="floor",
        value=longest, above=limits.wait_least,
        when=(
            _when_queue(f"({longest} > {limits.wait_factor:g} * {_best('callkpi_service_level_target_seconds')})"),
            _when_queue(f"({longest} <= {limits.wait_implausible})"),
            _trusted(limits),
            _open(limits.grace),
        ),
        hold="1m", hold_reason="a caller who is about to be answered is no alarm", keep="1m",
        summary=f"{_AT_QUEUE}: a caller has waited for %duration%",
        description=f"That is over {limits.wait_factor:g} times the queue's target.",
        action="Pick the call up or move an agent into the queue now.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCallbacksOverdue", severity="warning", team="floor",
        value=_best("callkpi_missed_untried"), above=0,
        when=(
            _when_queue(f"{_best('callkpi_missed_untried_oldest_seconds')} > {limits.callback}"),
            _trusted(limits),
            _open(limits.grace),
        ),
        hold="5m", hold_reason="after the opening, and after an outage, call-backs that were made have to arrive",
        keep="5m",
        summary=f"{_AT_QUEUE}: nobody has called %count% missed customers back",
        description=(
            f"The oldest was missed over {limits.callback // 60} minutes of business time ago. Hidden numbers and "
            "what is older than a working day are not counted."
        ),
        action="Open the work list (callkpi missed, /api/v1/missed) and call, oldest first.",
    )  # fmt: skip


def _service_level(limits: Limits) -> Iterator[Alert]:
    budget = 1 - limits.service_level
    fast, slow = 1 - limits.fast_burn * budget, 1 - limits.slow_burn * budget
    yield Alert(
        name="CallkpiServiceLevelBurnFast", severity="warning", team="floor",
        value=_best(_in("half_hour", _LEVEL)), below=fast,
        when=(
            _when_queue(f"{_in('hour', _LEVEL)} < {fast:g}"),
            _when_queue(f"{_in('half_hour', _CALLS)} >= {limits.window_calls}"),
            _when_queue(f"{_in('hour', _CALLS)} >= {limits.hour_calls}"),
            _open(limits.grace),
        ),
        hold="5m", hold_reason="an hour is asked about as well; it needs no quick answer", keep="10m",
        summary=f"{_AT_QUEUE}: service level %percent% in the last half hour",
        description=(
            f"Below {fast:.0%} in the last half hour and in the last hour: the day's budget of late answers burns "
            f"{limits.fast_burn:g} times too fast for the target of {limits.service_level:.0%}."
        ),
        action="Move agents into the queue; stop outbound work and pauses that can wait.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiServiceLevelBurnSlow", severity="info", team="floor",
        value=_best('callkpi_service_level_ratio{window="day"}'), below=slow,
        when=(
            _when_queue(f"{_in('hour', _LEVEL)} < {slow:g}"),
            _when_queue(f"{_in('hour', _CALLS)} >= {limits.window_calls}"),
            _when_queue(
                f"sum by ({_QUEUE}) ({_best('callkpi_shift_calls', 'tenant, queue, outcome')}) >= {limits.day_calls}"
            ),
            _open(limits.grace),
        ),
        hold="15m", hold_reason="a whole day is asked about; a quarter of an hour more shows that it stays", keep="30m",
        summary=f"{_AT_QUEUE}: service level %percent% today so far",
        description=f"Below {slow:.0%} today and still in the last hour; the target is {limits.service_level:.0%}.",
        action="The shift is short of people for this traffic: change breaks and tomorrow's plan.",
    )  # fmt: skip


# -- what is said to us -----------------------------------------------------------------------------------

_AT_SOURCE = "{{ $labels.tenant }}, source {{ $labels.source }}"


def _sources(limits: Limits) -> Iterator[Alert]:
    event, received = (
        _best(f"callkpi_source_last_{what}_timestamp_seconds", _SOURCE) for what in ("event", "received")
    )
    newest = "callkpi_source_last_event_timestamp_seconds"
    yield Alert(
        name="CallkpiNoEvents", severity="critical", team="telephony",
        value=_SILENCE, above=limits.silence_least,
        when=(
            f"and on ({_SOURCE}) ({_SILENCE} > on ({_SOURCE}) {_LIMIT})",
            f"and on ({_SOURCE}) (min_over_time({_AGE}[30d]) < {limits.silence_least}\n"
            f"  or {received} - {event} < {limits.silence_least})",
            f"unless on ({_SOURCE}) {_best(f'changes({newest}[{limits.silence_least}s])', _SOURCE)} > 0",
        ),
        hold="2m", hold_reason="a sender that was restarted sends what it has kept", keep="2m",
        summary=f"{_AT_SOURCE}: no events for %duration% of business time",
        description=(
            f"That is over {limits.silence_factor:g} times as long as it is usually silent at this hour. While nothing "
            "comes, the board is blind and other alerts are, too."
        ),
        action="Call a number of yours. If it rings, look at the sender's log and at callkpi's door; else at the PBX.",
        comment=(
            "no alarm at night: the silence is counted from the opening; a source whose events go on but are\n"
            "dated in the past is not silent, that is CallkpiEventsLate; one that has never said anything new,\n"
            "because only its history was imported, has not gone live"
        ),
    )  # fmt: skip
    yield Alert(
        name="CallkpiSourceDisconnected", severity="critical", team="telephony",
        value=_best("callkpi_source_connected", _SOURCE), below=1,
        when=(_open(0),),
        hold="2m", hold_reason="the next round may succeed", keep="2m",
        summary=f"{_AT_SOURCE}: callkpi does not reach it",
        description="callkpi asks this source by itself or keeps a connection to it, and does not reach it.",
        action="Look whether the portal or PBX runs and lets callkpi in (address, account, rights, firewall).",
        comment=(
            "callkpi_source_connected{tenant,source} (1 or 0) is of sources that callkpi asks (portals: a whole\n"
            "answer in the last ten minutes) or is connected to (Asterisk's AMI, a queue_log)"
        ),
    )  # fmt: skip
    yield Alert(
        name="CallkpiSenderClockOff", severity="warning", team="telephony",
        value=f"{event} - {received}", above=limits.clock_ahead,
        when=(f"and on ({_SOURCE}) ({event} - {received} < {limits.clock_most})",),
        hold="10m", hold_reason="one odd event is soon overtaken by the time", keep="10m",
        summary=f"{_AT_SOURCE}: its clock is %duration% ahead",
        description="Its events are dated in the future: waits and windows that end now are wrong.",
        action="Check NTP on the sender; whole hours mean a wrong time zone.",
    )  # fmt: skip
    heard = _grown('callkpi_ingest_events_total{result="received"}', "15m", "source")
    yield Alert(
        name="CallkpiEventsLate", severity="info", team="telephony",
        value=f"{received} - {event}", above=limits.events_late,
        when=(
            f"and on ({_SOURCE}) ({received} - {event} < {limits.clock_most})",
            f"and on (source) ({heard} > 0)",
            _open(limits.grace),
        ),
        hold="30m", hold_reason="what was kept during an outage, or a replay of a day, is through by then", keep="15m",
        summary=f"{_AT_SOURCE}: its events are %duration% late",
        description="The newest event is old although events arrive: the sender queues them, or its clock is behind.",
        action="Compare the sender's clock with ours; look at its queue of unsent events.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiPayloadsRejected", severity="warning", team="telephony",
        value=_best("callkpi_ingest_rejected_waiting", "source"), above=0,
        hold="5m", hold_reason="who tries the door by hand is done by then",
        summary="source {{ $labels.source }}: %count% payloads could not be understood",
        description="They are kept; their calls lack what they said until they are replayed.",
        action="Read the reason in the log (ingest.rejected), mend it, then run callkpi replay-rejected.",
    )  # fmt: skip
    refused = 'callkpi_ingest_refused_total{source!="", reason="unauthorised"}'
    yield Alert(
        name="CallkpiDeliveriesRefused", severity="warning", team="telephony",
        value=_grown(refused, "15m", "source"), above=limits.refused - 1,
        hold="1m", hold_reason="it has been going on for some deliveries already", keep="15m",
        summary="source {{ $labels.source }}: about %count% deliveries with a wrong secret in 15 minutes",
        description="What is refused at the door is lost; Bitrix24 does not send it again.",
        action="Was the token changed on one side only? Else find out who is knocking.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCrmNotWritten", severity="warning", team="telephony",
        value=f"time() - {_best('callkpi_crm_last_success_timestamp_seconds', _SOURCE)}", above=limits.crm,
        hold="5m", hold_reason="the round that goes on may succeed",
        summary=f"{_AT_SOURCE}: the call funnel in its CRM has stood still for %duration%",
        description="Who works from the CRM does not see newly missed customers; callkpi's own work list has them.",
        action="Run callkpi doctor: it says why. Mostly a right of the webhook, or a field that deals must have.",
        comment="only portals with sources.NAME.funnel.enabled export it",
    )  # fmt: skip
    expired = _best('callkpi_shift_calls{outcome="expired"}')
    total = _best("callkpi_shift_calls", "tenant, queue, outcome")
    yield Alert(
        name="CallkpiExpiredCalls", severity="warning", team="telephony",
        value=f"sum by (tenant) ({expired})", above=limits.expired - 1,
        when=(
            f"and on (tenant) sum by (tenant) ({expired})\n"
            f"  / on (tenant) sum by (tenant) ({total}) > {limits.expired_share:g}",
        ),
        hold="15m", hold_reason="after an outage ends may still come, and reopen their calls",
        summary="{{ $labels.tenant }}: %count% of today's calls never ended",
        description=f"The end of over {limits.expired_share:.0%} of today's calls has not arrived: events get lost.",
        action="Compare one such call (/api/v1/calls?outcome=expired) with the sender's log.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiWaitImplausible", severity="info", team="telephony",
        value=_best("callkpi_longest_wait_seconds"), above=limits.wait_implausible,
        when=(_trusted(limits),),
        hold="5m", hold_reason="an end may be on its way",
        summary=f"{_AT_QUEUE}: somebody seems to have waited for %duration%",
        description="Most likely the end of that call got lost. While it stands, it hides the longest real wait.",
        action="Look at the oldest open call (/api/v1/calls?outcome=open) and at the sender's log.",
    )  # fmt: skip


# -- the daemon -------------------------------------------------------------------------------------------


def _daemon(limits: Limits) -> Iterator[Alert]:
    yield Alert(
        name="CallkpiDown", severity="critical", team="ops",
        value="(count(callkpi_build_info) or vector(0))", below=1,
        hold="2m", hold_reason="a restart takes some scrapes",
        summary="callkpi is down",
        description="No process of callkpi answers Prometheus. Events are lost if their senders do not keep them.",
        action="Look at the service (docker compose ps, journalctl): stopped, killed, or only not reachable?",
        comment="counts what is scraped, not targets: a wrong port that answers is no daemon either",
    )  # fmt: skip
    yield Alert(
        name="CallkpiReplicaDown", severity="warning", team="ops",
        value=f'(callkpi_database_up{{job="{JOB}"}} or up{{job="{JOB}"}})', below=1,
        when=('and on () (max(callkpi_database_up) == 1)',),
        hold="5m", hold_reason="a rolling restart takes one after the other",
        summary="callkpi on {{ $labels.instance }} is down or has no database",
        description="The others still work; there is less in reserve.",
        action="Look at that instance's log; its way to the database may be cut.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiDatabaseUnreachable", severity="critical", team="ops",
        value="max(callkpi_database_up)", below=1,
        hold="1m", hold_reason="a switch to a standby takes some seconds",
        summary="callkpi does not reach its database",
        description="What comes waits on local disk (the spool); numbers stand still, and other alerts are blind.",
        action="Look at PostgreSQL: running, disk full, too many connections, password, network?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiSpoolFilling", severity="critical", team="ops",
        value="callkpi_spool_bytes / callkpi_spool_limit_bytes", above=limits.spool_share,
        hold="1m", hold_reason="it is half full already",
        summary="the spool of {{ $labels.instance }} is %percent% full",
        description="It takes what comes while the database is away. When it is full, deliveries are refused and lost.",
        action="Bring the database back; meanwhile raise spool.limit_mib if the disk has room, and restart.",
        comment="not held back while the database is away: it says how long that may still take",
    )  # fmt: skip
    yield Alert(
        name="CallkpiSpoolStuck", severity="warning", team="ops",
        value="callkpi_spool_deliveries", above=0, when=("and on (instance) callkpi_database_up == 1",),
        hold="10m", hold_reason="a long outage is worked off first",
        summary="%count% deliveries wait in the spool of {{ $labels.instance }} although the database is there",
        description="They are in no number yet, and are not lost.",
        action="Look at the daemon's log for spool.failed and journal.unavailable.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiDeliveriesLost", severity="warning", team="ops",
        value=_grown("callkpi_spool_refused_total", "15m", "source"), above=0,
        hold="0s", hold_reason="they are lost already; it is told as soon as it can be counted", keep="30m",
        summary="source {{ $labels.source }}: deliveries were refused because the spool was full",
        description="The database was away for longer than the spool could hold. Their senders may not repeat them.",
        action="Import what is missing of that time; raise spool.limit_mib.",
    )  # fmt: skip
    lag = "max(callkpi_projector_lag_seconds)"
    yield Alert(
        name="CallkpiProjectorBehind", severity="warning", team="ops",
        value=lag, above=limits.lag,
        hold="5m", hold_reason="a replay or a long import is a short backlog and no fault", keep="2m",
        summary="numbers are %duration% old",
        description="Events are safe in the journal, but the projector does not keep up with them.",
        action="An import or replay under way? Else look at the projector's log and at the database's load.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiProjectorStalled", severity="critical", team="ops",
        value=lag, above=limits.lag_stalled, when=(f"and on () (max({_OPEN}) > 0)",),
        hold="5m", hold_reason="what is caught up within minutes needs nobody woken", keep="2m",
        summary="numbers are %duration% old, in business hours",
        description="The board shows the past, and alerts of the floor are late by as much.",
        action="Look at the projector's log for projector.retries; restart the daemon; nothing is lost by it.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCallsUnreadable", severity="warning", team="ops",
        value=_best("callkpi_projector_set_aside", "tenant"), above=0,
        hold="5m", hold_reason="the next try comes after a minute; what fails then stays missing in every number",
        summary="{{ $labels.tenant }}: %count% calls could not be computed from their events",
        description="They are missing in all numbers, or are there as they were before; the others go on.",
        action="callkpi doctor names them with the reason; the log (projector.call_failed, projector.batch_failed) has "
        "the traceback: report it. After a fix callkpi replay-rejected takes them up again.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiWorkFailing", severity="warning", team="ops",
        value=_best("callkpi_work_failing", "work"), above=0,
        hold="5m", hold_reason="what passes by itself has been tried again some times by then",
        summary="%count% of callkpi's loops fail round after round: {{ $labels.work }}",
        description="This work stands still and is tried again every minute; the others go on.",
        action="Read the reason in the log (work.failed) or in /readyz; the runbook says what each kind of work is.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiProcessesRestart", severity="warning", team="ops",
        value=_grown("callkpi_process_restarts_total", "15m", "process"), above=limits.restarts,
        hold="0s", hold_reason="one that dies again and again is no accident", keep="15m",
        summary="process {{ $labels.process }} of callkpi died %count% times in a quarter of an hour",
        description="It is started again each time; meanwhile its work waits, and nothing is lost.",
        action="Look at the log before each daemon.process_died: killed for memory, or a traceback (report it)?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiScrapeLate", severity="warning", team="ops",
        value="callkpi_scrape_late", above=0, when=("and on (instance) callkpi_database_up == 1",),
        hold="5m", hold_reason="a checkpoint or a backup slows single scrapes",
        summary="{{ $labels.instance }} has no numbers for Prometheus: they take too long to read",
        description="The database answers, but not within the time of a scrape. Boards and alerts are blind meanwhile.",
        action="Look for what loads the database (pg_stat_activity); a missing VACUUM or a slow disk?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiJournalFailing", severity="warning", team="ops",
        value=_grown("callkpi_journal_failures_total", "10m"), above=0,
        hold="0s", hold_reason="where there is no spool it was refused, and some senders do not try again", keep="10m",
        summary="events could not be written to the journal",
        description="They went to the spool on local disk. Without one they were refused, and may be lost.",
        action="Look at the log (journal.unavailable, journal.unstorable) and at the database's disk and locks.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiOverloaded", severity="warning", team="ops",
        value=_grown("callkpi_http_overload_total", "10m"), above=0,
        hold="0s", hold_reason="what was refused may not come again", keep="10m",
        summary="requests were refused because too many waited",
        description="More came than could be written at once; senders that do not repeat have lost events.",
        action="Find the sender of the burst; raise server.processes or max_waiting if it is wanted.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiReportNotSent", severity="warning", team="ops",
        value="sum by (tenant, way) (" + _best("callkpi_deliveries_unsent", "tenant, way, state") + ")", above=0,
        hold="5m", hold_reason="an attempt may be under way",
        summary="{{ $labels.tenant }}: %count% reports by {{ $labels.way }} were not sent",
        description="They were refused, nobody knows whether they arrived, or they have waited for an hour.",
        action="Read the reason in the log (delivery.failed, delivery.in_doubt), mend it; callkpi report send --again.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiRetentionFailing", severity="warning", team="ops",
        value=_grown("callkpi_retention_failures_total", "1h"), above=2,
        hold="0s", hold_reason="three rounds have failed already", keep="1h",
        summary="old data could not be removed",
        description="Events, calls or numbers are kept for longer than the settings promise.",
        action="Read the reason in the log (retention.failed): a full disk for the archive, or a long reader's lock?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiQueuesUnseen", severity="info", team="ops",
        value=_best('callkpi_names_overflow{kind="queue"}', "tenant"), above=0,
        hold="15m", hold_reason="it does not go away by itself",
        summary="{{ $labels.tenant }}: %count% queues have no series of their own",
        description='They are one queue called "other": their alerts are too.',
        action="Are these queues, or is something else sent as a queue's name? Raise metrics.max_queues if they are.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiWatchdog", severity="info", team="ops",
        value="vector(1)", above=0,
        hold="0s", hold_reason="it always fires",
        summary="the way of alerts works",
        description="Always firing. A service outside raises the alarm when it stops coming.",
        action="Nothing while it comes.",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.generator.alerts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a file is not up to date")
    return writing.write(alert_files.files(groups()), check=parser.parse_args(arguments).check)


if __name__ == "__main__":
    sys.exit(main())
