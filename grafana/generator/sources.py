"""Sources and the daemon: is it the phones, the webhook or us?"""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    GREEN,
    GREY,
    MERGED,
    RED,
    Dashboard,
    Field,
    Panel,
    Row,
    Rule,
    Text,
    heatmap,
    judged,
    mapping,
    now,
    prom,
    stat,
    table,
    time_series,
)
from grafana.generator.shared import TENANT

_UP = Rule(good=1, bad=0.5)


def _number(title: Text, description: Text, expression: str, rule: Rule, unit: str = "short") -> Panel:
    return judged(title, description, expression, rule, unit=unit, w=4, h=4)


def _top() -> list[Panel]:
    build = stat(
        Text("Version", "Версия"), Text("Version of the daemon that answers.", "Версия работающей службы."),
        [prom("max by (version) (callkpi_build_info)", "{{version}}")], w=4, h=4, names=True,
    )  # fmt: skip
    build.options["textMode"] = "name"
    open_words = {"1": (Text("open", "открыто"), GREEN), "0": (Text("closed", "закрыто"), GREY)}
    business = stat(
        Text("Business hours", "Рабочее время"),
        Text("By the centre's configuration: alerts of its silence are for open hours.",
             "По настройке центра: тревоги о тишине действуют в рабочее время."),
        [now(f"max(callkpi_business_open{{{TENANT}}})")], w=4, h=4,
        fields=[Field(name="A", by_query=True, mappings=[mapping(open_words)])],
    )  # fmt: skip
    up_words = {"1": (Text("✓ up", "✓ работает"), GREEN), "0": (Text("‼ down", "‼ не отвечает"), RED)}
    up = stat(
        Text("Daemon", "Служба"), Text("Whether Prometheus reaches it.", "Отвечает ли она Prometheus."),
        [now('max(up{job="callkpi"})')], rule=_UP, w=4, h=4,
        fields=[Field(name="A", by_query=True, mappings=[mapping(up_words)])],
    )  # fmt: skip
    return [
        up,
        _number(
            Text("Figures behind by", "Отставание цифр"),
            Text("Age of the oldest event that is durable but not yet in the figures.",
                 "Возраст старейшего события, которое записано, но ещё не в цифрах."),
            "max(callkpi_projector_lag_seconds)", shared.LAG, "s",
        ),
        _number(
            Text("Groups to project", "Групп в очереди"),
            Text("Journalled groups of events that are not projected yet.", "Записанные группы событий без проекции."),
            "max(callkpi_projector_pending_groups)", shared.PENDING,
        ),
        _number(
            Text("Rejected payloads", "Отклонено"),
            Text("Payloads that could not be understood; after a fix: callkpi replay-rejected.",
                 "Непонятые сообщения; после исправления: callkpi replay-rejected."),
            "sum(max by (source) (callkpi_ingest_rejected_waiting))", shared.REJECTED,
        ),
        business,
        build,
    ]  # fmt: skip


def _sources() -> Panel:
    received = f"time() - max by (source) (callkpi_source_last_received_timestamp_seconds{{{TENANT}}})"
    event = f"time() - max by (source) (callkpi_source_last_event_timestamp_seconds{{{TENANT}}})"
    rows = {
        "A": (received, Text("last spoke", "последнее сообщение"), "dtdurations"),
        "B": (event, Text("newest event", "новейшее событие"), "dtdurations"),
        "C": ('max by (source) (callkpi_ingest_events_total{result="received"})',
              Text("events received", "событий принято"), "short"),
        "D": ('max by (source) (callkpi_ingest_events_total{result="duplicate"})', Text("repeated", "повторов"),
              "short"),
        "E": ("max by (source) (callkpi_ingest_rejected_waiting)", Text("rejected", "отклонено"), "short"),
    }  # fmt: skip
    return table(
        Text("Sources", "Источники"),
        Text("When each source last spoke, and what it has sent since the beginning. An event in the future or far in "
             "the past is a wrong clock there.",
             "Когда каждый источник говорил последний раз и что прислал за всё время. Событие из будущего или далёкого "
             "прошлого означает неверные часы."),
        [prom(expression, form="table") for expression, *_ in rows.values()],
        [
            Field(name="source", label=Text("source", "источник")),
            *(Field(name=f"Value #{letter}", label=label, unit=unit, decimals=0)
              for letter, (_, label, unit) in rows.items()),
        ],
        h=7, transformations=MERGED,
    )  # fmt: skip


def _rate(title: Text, description: Text, metric: str, by: str) -> Panel:
    """Counters of the daemon: every process tells the same ones, from the database."""
    labels = ", ".join(part.strip() for part in by.split(","))
    legend = " ".join(f"{{{{{part.strip()}}}}}" for part in by.split(","))
    expression = f"max by ({labels}) (rate({metric}[$__rate_interval]))"
    return time_series(title, description, [prom(expression, legend, over_time=True)], unit="ops")


def _latency(title: Text, description: Text, metric: str) -> Panel:
    increase = f"max by (le) (increase({metric}_bucket[$__rate_interval]))"
    return heatmap(title, description, prom(increase, "{{le}}", over_time=True, form="heatmap"), unit="s")


def _trouble() -> Panel:
    metrics = {
        "callkpi_journal_failures_total": "journal",
        "callkpi_projector_failed_calls_total": "unreadable calls",
        "callkpi_projector_retries_total": "batches begun again",
        "callkpi_http_overload_total": "answered 503",
    }
    targets = [
        prom(f"max(increase({metric}[$__rate_interval]))", label, over_time=True) for metric, label in metrics.items()
    ]
    return time_series(
        Text("Faults of the daemon", "Сбои службы"),
        Text("Appends that failed, calls that could not be read, batches begun again, requests turned away. Zero is "
             "how it must be.",
             "Неудачные записи, нечитаемые звонки, повторённые пачки, отказы в приёме. Норма — ноль."),
        targets,
    )  # fmt: skip


def dashboard() -> Dashboard:
    return Dashboard(
        name="sources",
        title=Text("Sources and daemon", "Источники и служба"),
        description=Text(
            "Is it the phones, the webhook or us? Live figures of the last hours.",
            "Телефония, вебхук или мы? Живые цифры последних часов.",
        ),
        variables=[shared.tenant],
        since="now-3h",
        refresh="30s",
        parts=[
            Row(title=Text("Now", "Сейчас"), panels=[*_top(), _sources()]),
            Row(
                title=Text("Doors", "Приём"),
                panels=[
                    _rate(Text("Events", "События"),
                          Text("By source and what became of them.", "По источнику и тому, что с ними стало."),
                          "callkpi_ingest_events_total", "source, result"),
                    time_series(
                        Text("Kept for a replay, and names over the limit", "Ждут повтора, и имена сверх предела"),
                        Text("Payloads that were not understood, by source; names shown as \"other\" because there "
                             "are too many.",
                             "Непонятые сообщения по источнику; имена, показанные как «other», потому что их слишком "
                             "много."),
                        [prom("max by (source) (callkpi_ingest_rejected_waiting)", "{{source}}", over_time=True),
                         prom(f"max by (kind) (callkpi_names_overflow{{{TENANT}}})", "{{kind}}", over_time=True)],
                    ),
                ],
            ),
            Row(
                title=Text("Inside", "Внутри"),
                panels=[
                    _latency(Text("Time of an append", "Время записи"),
                             Text("One durable append of a group of events; the answer 200 waits for it.",
                                  "Одна надёжная запись группы событий; ответ 200 ждёт её."),
                             "callkpi_journal_append_seconds"),
                    _latency(Text("Time of a projected batch", "Время проекции пачки"),
                             Text("Folding one batch of events into calls and figures.",
                                  "Свёртка пачки событий в звонки и цифры."),
                             "callkpi_projector_batch_seconds"),
                    time_series(
                        Text("Figures behind by", "Отставание цифр"),
                        Text("Age of the oldest event that is not in the figures yet.",
                             "Возраст старейшего события, которого ещё нет в цифрах."),
                        [prom("max(callkpi_projector_lag_seconds)", "lag", over_time=True)], unit="s",
                        rule=shared.LAG,
                    ),
                    _trouble(),
                ],
            ),
        ],
    )  # fmt: skip
