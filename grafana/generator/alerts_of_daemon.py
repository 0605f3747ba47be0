"""The daemon itself: down, behind, without a database, with work that fails."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.generator.alert_model import JOB, Alert, Limits
from grafana.generator.promql import OPEN, best, grown


def daemon(limits: Limits) -> Iterator[Alert]:
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
        value=grown("callkpi_spool_refused_total", "15m", "source"), above=0,
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
        value=lag, above=limits.lag_stalled, when=(f"and on () (max({OPEN}) > 0)",),
        hold="5m", hold_reason="what is caught up within minutes needs nobody woken", keep="2m",
        summary="numbers are %duration% old, in business hours",
        description="The board shows the past, and alerts of the floor are late by as much.",
        action="Look at the projector's log for projector.retries; restart the daemon; nothing is lost by it.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCallsUnreadable", severity="warning", team="ops",
        value=best("callkpi_projector_set_aside", "tenant"), above=0,
        hold="5m", hold_reason="the next try comes after a minute; what fails then stays missing in every number",
        summary="{{ $labels.tenant }}: %count% calls could not be computed from their events",
        description="They are missing in all numbers, or are there as they were before; the others go on.",
        action="callkpi doctor names them with the reason; the log (projector.call_failed, projector.batch_failed) has "
        "the traceback: report it. After a fix callkpi replay-rejected takes them up again.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiWorkFailing", severity="warning", team="ops",
        value=best("callkpi_work_failing", "work"), above=0,
        hold="5m", hold_reason="what passes by itself has been tried again some times by then",
        summary="%count% of callkpi's loops fail round after round: {{ $labels.work }}",
        description="This work stands still and is tried again every minute; the others go on.",
        action="Read the reason in the log (work.failed) or in /readyz; the runbook says what each kind of work is.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiProcessesRestart", severity="warning", team="ops",
        value=grown("callkpi_process_restarts_total", "15m", "process"), above=limits.restarts,
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
        value=grown("callkpi_journal_failures_total", "10m"), above=0,
        hold="0s", hold_reason="where there is no spool it was refused, and some senders do not try again", keep="10m",
        summary="events could not be written to the journal",
        description="They went to the spool on local disk. Without one they were refused, and may be lost.",
        action="Look at the log (journal.unavailable, journal.unstorable) and at the database's disk and locks.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiOverloaded", severity="warning", team="ops",
        value=grown("callkpi_http_overload_total", "10m"), above=0,
        hold="0s", hold_reason="what was refused may not come again", keep="10m",
        summary="requests were refused because too many waited",
        description="More came than could be written at once; senders that do not repeat have lost events.",
        action="Find the sender of the burst; raise server.processes or max_waiting if it is wanted.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiReportNotSent", severity="warning", team="ops",
        value="sum by (tenant, way) (" + best("callkpi_deliveries_unsent", "tenant, way, state") + ")", above=0,
        hold="5m", hold_reason="an attempt may be under way",
        summary="{{ $labels.tenant }}: %count% reports by {{ $labels.way }} were not sent",
        description="They were refused, nobody knows whether they arrived, or they have waited for an hour.",
        action="Read the reason in the log (delivery.failed, delivery.in_doubt), mend it; callkpi report send --again.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiRetentionFailing", severity="warning", team="ops",
        value=grown("callkpi_retention_failures_total", "1h"), above=2,
        hold="0s", hold_reason="three rounds have failed already", keep="1h",
        summary="old data could not be removed",
        description="Events, calls or numbers are kept for longer than the settings promise.",
        action="Read the reason in the log (retention.failed): a full disk for the archive, or a long reader's lock?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiQueuesUnseen", severity="info", team="ops",
        value=best('callkpi_names_overflow{kind="queue"}', "tenant"), above=0,
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
