"""Sources that fall silent, come late, or are not understood."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.generator.alert_model import Alert, Limits, Record
from grafana.generator.promql import (
    AGE,
    AT_QUEUE,
    AT_SOURCE,
    DAYS,
    LIMIT,
    OPEN,
    SILENCE,
    SOURCE,
    WEEKS,
    best,
    grown,
    open_for,
    trusted,
)


def silence(limits: Limits) -> Iterator[Record]:
    event, received = (best(f"callkpi_source_last_{what}_timestamp_seconds", SOURCE) for what in ("event", "received"))
    newest = "source:callkpi_source_newest_timestamp_seconds:min"
    yield Record(
        name=newest,
        expr=f"({event} < {received}) or {received}",
        comment="a sender whose clock is ahead must not look alive from the future",
    )
    yield Record(name=AGE, expr=f"time() - {newest}")
    yield Record(
        name=SILENCE,
        expr=(f"{AGE} < on (tenant) group_left () {OPEN}\nor 0 * {AGE} + on (tenant) group_left () ({OPEN} > 0)"),
        comment="counted from the opening; absent while it is closed",
    )
    hour = "the longest silences around this hour"
    yield Record(name=DAYS, expr=_mean([24 * n for n in range(1, 8)]), comment=f"mean of {hour}, last seven days")
    yield Record(name=WEEKS, expr=_mean([168 * n for n in range(1, 4)]), comment="and on this weekday, three weeks")
    in_hours = f"and on (tenant) {OPEN} < {limits.always_open}"
    yield Record(
        name=LIMIT,
        expr=(
            f"clamp_min({limits.silence_factor:g} * ({DAYS} > {WEEKS} or {WEEKS}), {limits.silence_least})\n"
            f"or clamp_min({limits.silence_factor:g} * {DAYS}, {limits.silence_unknown}) {in_hours}\n"
            f"or 0 * {SILENCE} + {limits.silence_unknown} {in_hours}\n"
            f"or 0 * {SILENCE} + {limits.silence_unknown_always_open}"
        ),
        comment=(
            "how long a source may be silent now: learnt from this weekday and the last days; coarser until a week is\n"
            "known; and coarser still where no business hours are configured, so that any night may be a quiet one"
        ),
    )


def _mean(hours: list[int]) -> str:
    """The mean of the longest silences around this hour, so many hours before."""
    terms = [
        f'  label_replace(max_over_time({SILENCE}[1h] offset {60 * hour - 30}m), "ago", "{hour}h", "", "")'
        for hour in hours
    ]
    return f"avg by ({SOURCE}) (\n" + "\n  or\n".join(terms) + "\n)"


def sources(limits: Limits) -> Iterator[Alert]:
    event, received = (best(f"callkpi_source_last_{what}_timestamp_seconds", SOURCE) for what in ("event", "received"))
    newest = "callkpi_source_last_event_timestamp_seconds"
    yield Alert(
        name="CallkpiNoEvents", severity="critical", team="telephony",
        value=SILENCE, above=limits.silence_least,
        when=(
            f"and on ({SOURCE}) ({SILENCE} > on ({SOURCE}) {LIMIT})",
            f"and on ({SOURCE}) (min_over_time({AGE}[30d]) < {limits.silence_least}\n"
            f"  or {received} - {event} < {limits.silence_least})",
            f"unless on ({SOURCE}) {best(f'changes({newest}[{limits.silence_least}s])', SOURCE)} > 0",
        ),
        hold="2m", hold_reason="a sender that was restarted sends what it has kept", keep="2m",
        summary=f"{AT_SOURCE}: no events for %duration% of business time",
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
        value=best("callkpi_source_connected", SOURCE), below=1,
        when=(open_for(0),),
        hold="2m", hold_reason="the next round may succeed", keep="2m",
        summary=f"{AT_SOURCE}: callkpi does not reach it",
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
        when=(f"and on ({SOURCE}) ({event} - {received} < {limits.clock_most})",),
        hold="10m", hold_reason="one odd event is soon overtaken by the time", keep="10m",
        summary=f"{AT_SOURCE}: its clock is %duration% ahead",
        description="Its events are dated in the future: waits and windows that end now are wrong.",
        action="Check NTP on the sender; whole hours mean a wrong time zone.",
    )  # fmt: skip
    heard = grown('callkpi_ingest_events_total{result="received"}', "15m", "source")
    yield Alert(
        name="CallkpiEventsLate", severity="info", team="telephony",
        value=f"{received} - {event}", above=limits.events_late,
        when=(
            f"and on ({SOURCE}) ({received} - {event} < {limits.clock_most})",
            f"and on (source) ({heard} > 0)",
            open_for(limits.grace),
        ),
        hold="30m", hold_reason="what was kept during an outage, or a replay of a day, is through by then", keep="15m",
        summary=f"{AT_SOURCE}: its events are %duration% late",
        description="The newest event is old although events arrive: the sender queues them, or its clock is behind.",
        action="Compare the sender's clock with ours; look at its queue of unsent events.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiPayloadsRejected", severity="warning", team="telephony",
        value=best("callkpi_ingest_rejected_waiting", "source"), above=0,
        hold="5m", hold_reason="who tries the door by hand is done by then",
        summary="source {{ $labels.source }}: %count% payloads could not be understood",
        description="They are kept; their calls lack what they said until they are replayed.",
        action="Read the reason in the log (ingest.rejected), mend it, then run callkpi replay-rejected.",
    )  # fmt: skip
    refused = 'callkpi_ingest_refused_total{source!="", reason="unauthorised"}'
    yield Alert(
        name="CallkpiDeliveriesRefused", severity="warning", team="telephony",
        value=grown(refused, "15m", "source"), above=limits.refused - 1,
        hold="1m", hold_reason="it has been going on for some deliveries already", keep="15m",
        summary="source {{ $labels.source }}: about %count% deliveries with a wrong secret in 15 minutes",
        description="What is refused at the door is lost; Bitrix24 does not send it again.",
        action="Was the token changed on one side only? Else find out who is knocking.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCrmNotWritten", severity="warning", team="telephony",
        value=f"time() - {best('callkpi_crm_last_success_timestamp_seconds', SOURCE)}", above=limits.crm,
        hold="5m", hold_reason="the round that goes on may succeed",
        summary=f"{AT_SOURCE}: the call funnel in its CRM has stood still for %duration%",
        description="Who works from the CRM does not see newly missed customers; callkpi's own work list has them.",
        action="Run callkpi doctor: it says why. Mostly a right of the webhook, or a field that deals must have.",
        comment="only portals with sources.NAME.funnel.enabled export it",
    )  # fmt: skip
    expired = best('callkpi_shift_calls{outcome="expired"}')
    total = best("callkpi_shift_calls", "tenant, queue, outcome")
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
        value=best("callkpi_longest_wait_seconds"), above=limits.wait_implausible,
        when=(trusted(limits),),
        hold="5m", hold_reason="an end may be on its way",
        summary=f"{AT_QUEUE}: somebody seems to have waited for %duration%",
        description="Most likely the end of that call got lost. While it stands, it hides the longest real wait.",
        action="Look at the oldest open call (/api/v1/calls?outcome=open) and at the sender's log.",
    )  # fmt: skip
