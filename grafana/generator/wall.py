"""The wall: what a supervisor sees from five metres, and acts on. Eight numbers, then a row for each queue."""

from __future__ import annotations

from grafana.generator import shared
from grafana.generator.model import (
    BLUE,
    MISSING,
    NOTHING,
    Dashboard,
    Field,
    Panel,
    Row,
    Rule,
    Text,
    bar_gauge,
    judged,
    now,
    sql,
    stat,
    word_of,
)
from grafana.generator.shared import QUEUE, STATES, TENANT, of_today

_OPEN = f"max(callkpi_business_open{{{TENANT}}})"


def _live(
    title: Text, description: Text, expression: str, rule: Rule, *, unit: str = "short", judge: str = "", w: int = 6,
    h: int = 7,
) -> Panel:  # fmt: skip
    """A number of now whose word says *closed* outside of business hours."""
    return judged(title, description, expression, rule, unit=unit, judge=judge, closed=f"(1 - {_OPEN})", w=w, h=h)


def _agents() -> Panel:
    counts = ", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in STATES)
    return bar_gauge(
        Text("Agents now", "Операторы сейчас"),
        Text("People by state, each once, however many queues they serve.",
             "Люди по состоянию, каждый один раз, сколько бы очередей он ни обслуживал."),
        [sql(f"SELECT {counts} FROM callkpi_views.people_now WHERE tenant = ${{tenant:sqlstring}}")],
        fields=[Field(name=state, label=text, colour=colour, decimals=0) for state, (text, colour) in STATES.items()],
        w=8, h=7,
    )  # fmt: skip


def _top() -> list[Panel]:
    level, share = "k.service_level", "k.missed_share"
    return [
        _live(
            Text("Waiting now", "Ждут сейчас"),
            Text("Callers who wait for an agent at this moment, in all queues.",
                 "Клиенты, которые в этот момент ждут оператора, во всех очередях."),
            f"sum(max by (queue) (callkpi_calls_waiting{{{TENANT}}}))", shared.WAITING,
        ),
        _live(
            Text("Longest wait now", "Дольше всех ждёт"),
            Text("The greatest wait among those who wait now. The word judges it by T of its queue: act soon from T, "
                 "act now from twice that.",
                 "Наибольшее ожидание среди тех, кто ждёт сейчас. Слово судит по T своей очереди: внимание с T, "
                 "действуйте с двух T."),
            f"max(callkpi_longest_wait_seconds{{{TENANT}}})", shared.LONGEST_WAIT, unit="s",
            judge=f"max({shared.parts_of_target(TENANT)})",
        ),
        stat(
            Text("Talking now", "Говорят сейчас"),
            Text("Calls in which an agent and a customer talk now.",
                 "Звонки, в которых сейчас говорят оператор и клиент."),
            [now(f"sum(max by (queue) (callkpi_calls_talking{{{TENANT}}}))")], w=4, h=7, decimals=0,
        ),
        _agents(),
        stat(
            Text("Service level today", "Уровень сервиса за день"),
            Text("Whole calls since the centre's midnight that were answered within T, by the configured formula.",
                 "Звонки с полуночи центра, отвеченные за T, по настроенной формуле."),
            [sql(f"SELECT k.service_level, {shared.SERVICE_LEVEL.sql(level)} AS word FROM {of_today('total')} AS k")],
            unit="percentunit", rule=shared.SERVICE_LEVEL, w=6, h=7, decimals=0,
            fields=[Field(name="service_level", mappings=[NOTHING]), word_of("word")],
        ),
        stat(
            Text("Missed today", "Пропущено за день"),
            Text("Whole calls since the centre's midnight that nobody answered, and their share of the ended.",
                 "Звонки с полуночи центра, на которые никто не ответил, и их доля в завершённых."),
            [sql(f"SELECT k.missed, k.missed_share, {shared.MISSED_SHARE.sql(share)} AS word "
                 f"FROM {of_today('total')} AS k")],
            names=True, w=6, h=7,
            fields=[
                Field(name="missed", label=Text("calls", "звонков"), decimals=0, colour=BLUE),
                Field(name="missed_share", label=Text("share", "доля"), unit="percentunit", decimals=1,
                      rule=shared.MISSED_SHARE, mappings=[NOTHING]),
                word_of("word"),
            ],
        ),
        _still_waiting(),
        _handled(),
    ]  # fmt: skip


def _still_waiting() -> Panel:
    customers = f"sum(max by (queue) (callkpi_missed_waiting{{{TENANT}}}))"
    oldest = f"max(callkpi_missed_oldest_seconds{{{TENANT}}})"
    return stat(
        Text("Wait for a call back", "Ждут, что мы перезвоним"),
        Text("Customers missed and not spoken to since, and how long the oldest of them has waited.",
             "Клиенты, которых мы пропустили и с которыми с тех пор не говорили, и сколько ждёт самый давний."),
        [now(customers), now(oldest), now(shared.OLDEST_MISSED.promql(oldest))],
        names=True, w=6, h=7,
        fields=[
            Field(name="A", by_query=True, label=Text("customers", "клиентов"), decimals=0, rule=shared.STILL_WAITING),
            Field(name="B", by_query=True, label=Text("oldest", "самый давний"), unit="dtdurations", decimals=0,
                  rule=shared.OLDEST_MISSED),
            word_of("C", by_query=True),
        ],
    )  # fmt: skip


def _handled() -> Panel:
    change = "n.handled - b.handled"
    query = f"""
        SELECT n.handled, b.handled AS before,
            CASE WHEN {change} > 0 THEN '▲ +' WHEN {change} < 0 THEN '▼ −' ELSE '= ' END || abs({change}) AS change
        FROM callkpi_views.window_before(${{tenant:sqlstring}}, now() - interval '1 hour', now(), 'week') AS w,
            callkpi_views.kpi(${{tenant:sqlstring}}, now() - interval '1 hour', now()) AS n,
            callkpi_views.kpi(${{tenant:sqlstring}}, w.since, w.until) AS b
    """
    panel = stat(
        Text("Handled in the last hour", "Обработано за час"),
        Text("Calls that began in the last 60 minutes and were answered and ended, beside the same hour a week ago.",
             "Звонки, начатые за последние 60 минут, отвеченные и завершённые; рядом тот же час неделю назад."),
        [sql(query)], names=True, w=6, h=7,
        fields=[
            Field(name="handled", label=Text("now", "сейчас"), decimals=0),
            Field(name="before", label=Text("a week ago", "неделю назад"), decimals=0),
            Field(name="change", label=Text("change", "разница")),
        ],
    )  # fmt: skip
    panel.options["reduceOptions"]["fields"] = "/.*/"
    return panel


def _queue_row() -> Row:
    known = f"0 * max(callkpi_calls_waiting{{{QUEUE}}})"
    missed = f'sum(max by (outcome) (callkpi_shift_calls{{{QUEUE}, outcome=~"{shared.MISSED}"}})) or {known}'
    level = f'max(callkpi_service_level_ratio{{{QUEUE}, window="day"}})'
    share = f'max(callkpi_missed_ratio{{{QUEUE}, window="day"}})'
    return Row(
        title=Text("$queue", "$queue"),
        repeat="queue",
        panels=[
            _live(
                Text("Waiting", "Ждут"), Text("Callers who wait in this queue now.", "Ждут в этой очереди сейчас."),
                f"max(callkpi_calls_waiting{{{QUEUE}}})", shared.WAITING, w=4, h=4,
            ),
            _live(
                Text("Longest wait", "Дольше всех"),
                Text("The greatest wait in this queue now.", "Наибольшее ожидание в этой очереди сейчас."),
                f"max(callkpi_longest_wait_seconds{{{QUEUE}}})", shared.LONGEST_WAIT, unit="s",
                judge=f"max({shared.parts_of_target(QUEUE)})", w=4, h=4,
            ),
            stat(
                Text("Talking", "Говорят"),
                Text("Conversations of this queue now.", "Разговоры этой очереди сейчас."),
                [now(f"max(callkpi_calls_talking{{{QUEUE}}})")], w=3, h=4, decimals=0,
            ),
            stat(
                Text("Free agents", "Свободны"),
                Text("Agents of this queue who could take a call now.",
                     "Операторы этой очереди, которые могут взять звонок сейчас."),
                [now(f'max(callkpi_agents{{{QUEUE}, state="available"}})')], w=3, h=4, decimals=0,
            ),
            stat(
                Text("Service level today", "Сервис за день"),
                Text("Answered within T since the centre's midnight, exact.",
                     "Отвечено за T с полуночи центра, точно."),
                [now(level), now(f"{shared.SERVICE_LEVEL.promql(level)} or {known} - 1")], unit="percentunit",
                rule=shared.SERVICE_LEVEL, w=4, h=4, decimals=0,
                fields=[Field(name="A", by_query=True, mappings=[NOTHING]), word_of("B", by_query=True)],
            ),
            stat(
                Text("Missed today", "Пропущено за день"),
                Text("Stays in this queue that ended without an answer since the centre's midnight; the colour is "
                     "their share.",
                     "Ожидания в этой очереди без ответа с полуночи центра; цвет по их доле."),
                [now(missed), now(f"{shared.MISSED_SHARE.promql(share)} or {known} - 1")],
                fields=[word_of("B", by_query=True)], w=3, h=4, decimals=0,
            ),
            judged(
                Text("Call back", "Перезвонить"),
                Text("Customers whom this queue missed last and nobody has spoken to since.",
                     "Клиенты, которых последней пропустила эта очередь, и с ними ещё не говорили."),
                f"max(callkpi_missed_waiting{{{QUEUE}}})", shared.STILL_WAITING, w=3, h=4,
            ),
        ],
    )  # fmt: skip


def _freshness() -> Row:
    age = f"time() - max by (source) (callkpi_source_last_received_timestamp_seconds{{{TENANT}}})"
    panel = bar_gauge(
        Text("Since the last event", "С последнего события"),
        Text("Seconds since each source last spoke. It grows without end when a source or its network is dead.",
             "Секунды с последнего сообщения каждого источника. Растёт без конца, если источник или сеть молчит."),
        [{**now(age), "expr": age, "legendFormat": "{{source}}"}], unit="s", w=24, h=3,
        defaults={"decimals": 0, "mappings": [MISSING]},
    )  # fmt: skip
    return Row(title=Text("Data", "Данные"), panels=[panel])


def dashboard() -> Dashboard:
    kiosk = {"type": "link", "icon": "dashboard", "includeVars": True, "keepTime": False, "targetBlank": False,
             "asDropdown": False, "tags": [], "tooltip": ""}  # fmt: skip
    return Dashboard(
        name="wall",
        title=Text("Call centre wall", "Табло колл-центра"),
        description=Text(
            "Now, and the day so far. For a screen on the wall: kiosk mode, dark or light.",
            "Сейчас и за день. Для экрана на стене: режим киоска, тёмная или светлая тема.",
        ),
        variables=[shared.tenant, shared.queue],
        parts=[*_top(), _queue_row(), _freshness()],
        refresh="10s",
        links=[
            *(
                {**kiosk, "title": title, "url": Text(f"/d/callkpi-wall?{mode}", f"/d/callkpi-wall-ru?{mode}")}
                for mode, title in (
                    ("kiosk&autofitpanels&refresh=10s&theme=dark", Text("Full screen, dark", "На весь экран, тёмное")),
                    (
                        "kiosk&autofitpanels&refresh=10s&theme=light",
                        Text("Full screen, light", "На весь экран, светлое"),
                    ),
                )
            ),
            {**kiosk, "title": Text("Playlists", "Плейлисты"), "url": "/playlists", "includeVars": False},
        ],
    )
