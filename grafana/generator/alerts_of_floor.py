"""What supervisors act on: missed calls, waits, the service level."""

from __future__ import annotations

from collections.abc import Iterator

from grafana.generator.alert_model import Alert, Limits, Record
from grafana.generator.promql import (
    ABANDONED,
    AT_QUEUE,
    CALLS,
    COMPANY,
    LEVEL,
    MISSED,
    OPEN,
    QUEUE,
    USUAL,
    WINDOW,
    best,
    in_window,
    open_for,
    trusted,
    when_queue,
)


def records() -> Iterator[Record]:
    yield Record(name=OPEN, expr=best("callkpi_business_open_seconds", "tenant"))
    answered, missed = (best(f"callkpi_recent_{name}", WINDOW) for name in ("answered", "missed"))
    yield Record(name=CALLS, expr=f"{answered}\n+ {missed}", comment="calls of a window that are decided")
    yield Record(name=MISSED, expr=f"{missed}\n/ ({CALLS} > 0)")
    yield Record(name=ABANDONED, expr=f"{best('callkpi_recent_abandoned', WINDOW)}\n/ ({CALLS} > 0)")
    yield Record(name=LEVEL, expr=best("callkpi_recent_service_level_ratio", WINDOW))
    answered, missed = (best(f"callkpi_company_recent_{name}", "tenant, window") for name in ("answered", "missed"))
    yield Record(name=COMPANY, expr=f"{missed}\n/ ({answered} + {missed} > 0)", comment="whole calls, each once")
    answered, missed = (best(f"callkpi_usual_{name}") for name in ("answered", "missed"))
    yield Record(
        name=USUAL,
        expr=f"{missed}\n/ ({answered} + {missed} >= 5)",
        comment="the same hour of up to four weeks before; absent where there were hardly any calls",
    )


_BOUNDARY = "a quarter of an hour may have begun; two minutes of it show that it goes on"


def floor(limits: Limits) -> Iterator[Alert]:
    spike = (
        when_queue(f"{in_window('half_hour', MISSED)} > {limits.missed_share:g}"),
        when_queue(f"{in_window('half_hour', CALLS)} >= {limits.window_calls}"),
        open_for(limits.grace),
    )
    missed = best(in_window("half_hour", "callkpi_recent_missed"))
    yield Alert(
        name="CallkpiMissedCallSpike", severity="warning", team="floor",
        value=missed, above=limits.missed - 1, when=spike,
        hold="2m", hold_reason=_BOUNDARY, keep="10m",
        summary=f"{AT_QUEUE}: %count% callers missed in the last half hour",
        description=f"More than {limits.missed_share:.0%} of the callers of the last 15 to 30 minutes reached nobody.",
        action="Look who is free or paused, move agents into the queue, then call the missed ones back.",
    )  # fmt: skip
    queues = " ".join((f"({missed} > {limits.missed - 1}", *spike[:2])) + ")"
    yield Alert(
        name="CallkpiCompanyMissedCallSpike", severity="warning", team="floor",
        value=best(in_window("half_hour", "callkpi_company_recent_missed"), "tenant"), above=limits.company_missed - 1,
        when=(
            f"and on (tenant) {in_window('half_hour', COMPANY)} > {limits.missed_share:g}",
            f"unless on (tenant) {queues}",
            open_for(limits.grace),
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
        value=best(in_window("hour", "callkpi_recent_missed")), above=limits.missed - 1,
        when=(
            when_queue(f"({in_window('hour', MISSED)} > on (tenant, queue) {limits.unusual_factor:g} * {USUAL})"),
            when_queue(f"({in_window('hour', MISSED)} - on (tenant, queue) {USUAL} > {limits.unusual_points:g})"),
            open_for(limits.grace),
        ),
        hold="5m", hold_reason="it compares a whole hour with others; five minutes are no loss", keep="15m",
        summary=f"{AT_QUEUE}: %count% callers missed in the last hour, more than usual",
        description=(
            f"The missed share is over {limits.unusual_factor:g} times that of the same hour on this weekday "
            "in the last four weeks (holidays left out)."
        ),
        action="Compare staffing with last week: absences, a campaign, a changed menu or a new number?",
    )  # fmt: skip
    yield Alert(
        name="CallkpiAbandonedInQueue", severity="warning", team="floor",
        value=best(in_window("half_hour", 'callkpi_recent_abandoned').replace("{", '{queue!="", ')),
        above=limits.abandoned - 1,
        when=(
            when_queue(f"{in_window('half_hour', ABANDONED)} > {limits.abandoned_share:g}"),
            when_queue(f"{in_window('half_hour', CALLS)} >= {limits.window_calls}"),
            open_for(limits.grace),
        ),
        hold="2m", hold_reason=_BOUNDARY, keep="10m",
        summary=f"{AT_QUEUE}: %count% callers hung up waiting in the last half hour",
        description=f"More than {limits.abandoned_share:.0%} of the callers gave up; short hang-ups are not counted.",
        action="Add agents to the queue or shorten the way to them; then call back those who gave up.",
    )  # fmt: skip
    yield from _service_level(limits)
    longest = best("callkpi_longest_wait_seconds")
    yield Alert(
        name="CallkpiLongestWait", severity="warning", team="floor",
        value=longest, above=limits.wait_least,
        when=(
            when_queue(f"({longest} > {limits.wait_factor:g} * {best('callkpi_service_level_target_seconds')})"),
            when_queue(f"({longest} <= {limits.wait_implausible})"),
            trusted(limits),
            open_for(limits.grace),
        ),
        hold="1m", hold_reason="a caller who is about to be answered is no alarm", keep="1m",
        summary=f"{AT_QUEUE}: a caller has waited for %duration%",
        description=f"That is over {limits.wait_factor:g} times the queue's target.",
        action="Pick the call up or move an agent into the queue now.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiCallbacksOverdue", severity="warning", team="floor",
        value=best("callkpi_missed_untried"), above=0,
        when=(
            when_queue(f"{best('callkpi_missed_untried_oldest_seconds')} > {limits.callback}"),
            trusted(limits),
            open_for(limits.grace),
        ),
        hold="5m", hold_reason="after the opening, and after an outage, call-backs that were made have to arrive",
        keep="5m",
        summary=f"{AT_QUEUE}: nobody has called %count% missed customers back",
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
        value=best(in_window("half_hour", LEVEL)), below=fast,
        when=(
            when_queue(f"{in_window('hour', LEVEL)} < {fast:g}"),
            when_queue(f"{in_window('half_hour', CALLS)} >= {limits.window_calls}"),
            when_queue(f"{in_window('hour', CALLS)} >= {limits.hour_calls}"),
            open_for(limits.grace),
        ),
        hold="5m", hold_reason="an hour is asked about as well; it needs no quick answer", keep="10m",
        summary=f"{AT_QUEUE}: service level %percent% in the last half hour",
        description=(
            f"Below {fast:.0%} in the last half hour and in the last hour: the day's budget of late answers burns "
            f"{limits.fast_burn:g} times too fast for the target of {limits.service_level:.0%}."
        ),
        action="Move agents into the queue; stop outbound work and pauses that can wait.",
    )  # fmt: skip
    yield Alert(
        name="CallkpiServiceLevelBurnSlow", severity="info", team="floor",
        value=best('callkpi_service_level_ratio{window="day"}'), below=slow,
        when=(
            when_queue(f"{in_window('hour', LEVEL)} < {slow:g}"),
            when_queue(f"{in_window('hour', CALLS)} >= {limits.window_calls}"),
            when_queue(
                f"sum by ({QUEUE}) ({best('callkpi_shift_calls', 'tenant, queue, outcome')}) >= {limits.day_calls}"
            ),
            open_for(limits.grace),
        ),
        hold="15m", hold_reason="a whole day is asked about; a quarter of an hour more shows that it stays", keep="30m",
        summary=f"{AT_QUEUE}: service level %percent% today so far",
        description=f"Below {slow:.0%} today and still in the last hour; the target is {limits.service_level:.0%}.",
        action="The shift is short of people for this traffic: change breaks and tomorrow's plan.",
    )  # fmt: skip
