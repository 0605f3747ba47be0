"""The glossary: what each figure is called, what it is measured in, how it adds up, and of whom it can be asked.

A leaf: it imports nothing of callkpi, and whatever lists figures reads its list from here. The formulas are in
:mod:`callkpi.calls.formulas`, their definitions in words in the handbook's page of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ServiceLevelFormula(StrEnum):
    """Which calls the service level is a share of; see the glossary."""

    DEFAULT = "default"
    ANSWERED = "answered"
    OFFERED = "offered"
    WITH_ABANDONS = "with_abandons"


class Way(StrEnum):
    """How a figure is made of its calls."""

    COUNT = "count"  #: one of each
    SUM = "sum"
    SHARE = "share"  #: those that count, of those that are judged
    MEAN = "mean"
    LONGEST = "longest"

    @property
    def adds_up(self) -> bool:
        """Whether the figures of two parts add up to the figure of both."""
        return self in (Way.COUNT, Way.SUM)


class Unit(StrEnum):
    COUNT = "count"
    SHARE = "share"  #: 0..1
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Kpi:
    """One figure. Names are as they begin a line; within a sentence their first letter is small."""

    name: str
    way: Way
    english: str
    russian: str
    of: str = ""  #: the count that it is a share of, where it is counted
    by_outcome: bool = False  #: only calls of some outcomes have it
    of_agents: bool = False  #: can be asked of agents and teams; others are of queues and lines
    has_goals: bool = True  #: a goal may be set for it

    @property
    def unit(self) -> Unit:
        if self.way is Way.SHARE:
            return Unit.SHARE
        return Unit.COUNT if self.way is Way.COUNT else Unit.SECONDS


_COUNT, _SUM, _SHARE, _MEAN, _LONGEST = Way
#: Figures of calls, in the order in which they are read.
_OF_CALLS = (
    Kpi("contacts", _COUNT, "Contacts", "Контакты", of_agents=True),
    Kpi("offered", _COUNT, "Offered", "Поступило"),
    Kpi("queued", _COUNT, "Queued", "В очереди", of="offered"),
    Kpi("rung", _COUNT, "Rung", "Звонило у операторов", of="offered"),
    Kpi("answered", _COUNT, "Answered", "Отвечено", of="offered", of_agents=True),
    Kpi("talked", _COUNT, "Talked", "Разговор состоялся", of="offered"),
    Kpi("handled", _COUNT, "Handled", "Обработано", of_agents=True),
    Kpi("missed", _COUNT, "Missed", "Пропущено", of="offered", by_outcome=True),
    Kpi("abandoned", _COUNT, "Hung up waiting", "Не дождались", of="offered", by_outcome=True),
    Kpi("short_abandoned", _COUNT, "Hung up at once", "Сбросили сразу", of="offered", by_outcome=True),
    Kpi("timed_out", _COUNT, "Timed out", "Истекло время ожидания", of="offered", by_outcome=True),
    Kpi("left_empty", _COUNT, "No agent in the queue", "В очереди нет операторов", of="offered", by_outcome=True),
    Kpi("overflowed", _COUNT, "Overflowed", "Переполнение", of="offered", by_outcome=True),
    Kpi("no_answer", _COUNT, "Nobody picked up", "Никто не взял трубку", of="offered", by_outcome=True),
    Kpi("busy", _COUNT, "Busy", "Занято", of="offered", by_outcome=True),
    Kpi("rejected", _COUNT, "Rejected", "Отклонено", of="offered", by_outcome=True),
    Kpi("failed", _COUNT, "Failed", "Сбой связи", of="offered", by_outcome=True),
    Kpi("exited", _COUNT, "Left by a key", "Вышли по клавише", of="offered", by_outcome=True),
    Kpi("voicemail", _COUNT, "Voicemail", "Голосовая почта", of="offered", by_outcome=True),
    Kpi("open", _COUNT, "Still open", "Ещё идут", of="offered", by_outcome=True, has_goals=False),
    Kpi("expired", _COUNT, "End unknown", "Конец неизвестен", of="offered", by_outcome=True),
    Kpi("after_hours", _COUNT, "After hours", "Вне рабочего времени", of="contacts", by_outcome=True),
    Kpi("callback_requests", _COUNT, "Call-back requests", "Заказы звонка", of="contacts", by_outcome=True),
    Kpi("made", _COUNT, "Outbound made", "Исходящих", of_agents=True),
    Kpi("reached", _COUNT, "Outbound reached", "Исходящих с ответом", of="made", of_agents=True),
    Kpi("not_reached", _COUNT, "Outbound not reached", "Исходящих без ответа", of="made", of_agents=True),
    Kpi("missed_share", _SHARE, "Missed share", "Доля пропущенных"),
    Kpi("answer_rate", _SHARE, "Answer rate", "Доля отвеченных"),
    Kpi("abandon_rate", _SHARE, "Abandon rate", "Доля не дождавшихся"),
    Kpi("service_level", _SHARE, "Service level", "Уровень сервиса"),
    Kpi("within_service_level", _COUNT, "Answered within T", "Отвечено за T", of="offered"),
    Kpi("wait_seconds", _SUM, "Wait, total", "Ожидание, всего", has_goals=False),
    Kpi("wait_answered_seconds", _SUM, "Wait of answered, total", "Ожидание отвеченных, всего", has_goals=False),
    Kpi("asa_seconds", _MEAN, "Mean wait to the answer", "Среднее ожидание ответа"),
    Kpi("longest_wait_seconds", _LONGEST, "Longest wait", "Самое долгое ожидание"),
    Kpi("talk_seconds", _SUM, "Talk", "Разговор", of_agents=True),
    Kpi("hold_seconds", _SUM, "Hold", "Удержание", of_agents=True),
    Kpi("wrap_seconds", _SUM, "After-call work", "Постобработка", of_agents=True),
    Kpi("aht_seconds", _MEAN, "Mean handling time", "Среднее время обработки", of_agents=True),
    Kpi("ring_no_answer", _COUNT, "Rang, not answered", "Звонок без ответа", of_agents=True),
    Kpi("transferred", _COUNT, "Transferred", "Переведено", of="handled", of_agents=True),
)
#: What became of missed customers; judged as of a moment.
_OF_FATES = (
    Kpi("called_back", _COUNT, "Called back", "Перезвонили", of="missed", has_goals=False),
    Kpi("reached_after_miss", _COUNT, "Reached later", "Дозвонились позже", of="missed", has_goals=False),
    Kpi("self_served", _COUNT, "Called again, answered", "Перезвонил сам, отвечено", of="missed", has_goals=False),
    Kpi("still_waiting", _COUNT, "Not reached yet", "Ещё не связались", of="missed", has_goals=False),
    Kpi("written_off", _COUNT, "Written off", "Списано", of="missed", has_goals=False),
)
#: What agents did, besides calls.
_OF_PEOPLE = (
    Kpi("pauses", _COUNT, "Pauses", "Перерывы", of_agents=True, has_goals=False),
    Kpi("resumes", _COUNT, "Ends of pauses", "Выходы с перерыва", of_agents=True, has_goals=False),
    Kpi("logins", _COUNT, "Log-ins", "Входы", of_agents=True, has_goals=False),
    Kpi("logouts", _COUNT, "Log-outs", "Выходы", of_agents=True, has_goals=False),
    Kpi("occupancy", _SHARE, "Occupancy", "Занятость", of_agents=True, has_goals=False),
    Kpi("utilisation", _SHARE, "Utilisation", "Загрузка", of_agents=True, has_goals=False),
    Kpi("adherence", _SHARE, "Adherence", "Соблюдение графика", of_agents=True, has_goals=False),
)

#: The languages that figures are named in here; further ones name them in their catalogues.
LANGUAGES = ("en", "ru")
#: Every figure by its name.
KPIS: Mapping[str, Kpi] = {kpi.name: kpi for kpi in (*_OF_CALLS, *_OF_FATES, *_OF_PEOPLE)}
#: Figures of calls by their names, in order: what a row of figures has, after ``contacts``.
CALL_KPIS = tuple(kpi.name for kpi in _OF_CALLS if kpi.name != "contacts")
#: What became of missed calls, as figures.
FATES = tuple(kpi.name for kpi in _OF_FATES)
#: What agents did, as counts.
PAUSES = tuple(kpi.name for kpi in _OF_PEOPLE if kpi.way is Way.COUNT)

#: KPIs that add up over time: a goal for one is for a kind of period, and has a pace.
COUNTED_KPIS = tuple(kpi.name for kpi in KPIS.values() if kpi.has_goals and kpi.way.adds_up)
#: KPIs that don't.
RATIO_KPIS = tuple(kpi.name for kpi in KPIS.values() if kpi.has_goals and not kpi.way.adds_up)
#: KPIs of agents and teams: missed calls and waits are those of queues.
HANDLE_KPIS = tuple(kpi.name for kpi in KPIS.values() if kpi.has_goals and kpi.of_agents)
#: Of what each count is a share.
BASES: Mapping[str, str] = {kpi.name: kpi.of for kpi in KPIS.values() if kpi.of}


def unit_of(name: str) -> Unit:
    """In what a figure is measured; of names that are no KPIs (times in a state) what they end in says it."""
    if name in KPIS:
        return KPIS[name].unit
    return Unit.SECONDS if name.endswith("_seconds") else Unit.COUNT


def label(name: str, language: str) -> str:
    """A figure's name for people, in one of LANGUAGES. Raises KeyError for what is no figure."""
    kpi = KPIS[name]
    return {"en": kpi.english, "ru": kpi.russian}[language]
