"""What a summary says: the right sentences, with the right numbers, in the right forms of the words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from callkpi.summaries.language import language
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import html
from callkpi.summaries.summary import Doubt, Goal, HandOver, Note, Reason
from callkpi.summaries.words import sentences, title
from tests.stand_ins.summaries import BEGIN, END, a_night, figures, night, summary

STRANGER = Reader()


def said(told: object, code: str) -> list[str]:
    return [str(sentence).replace("\xa0", " ") for sentence in sentences(told, code)]  # type: ignore[arg-type]


def test_a_night_in_english() -> None:
    assert title(a_night(), "en") == "Shift summary: Night, 23 Nov 2026"
    assert said(a_night(), "en") == [
        "120 calls were offered: 96 answered (answer rate 80%), 24 missed.",
        "Of the missed 18 hung up while waiting, 4 timed out and 2 hung up at once. "
        "Most were missed from 02:00 to 03:00 (9); by queue, most in Support (15).",
        "Service level 74.2% within 20 s, below the goal of 80%; an answer took 18 s on average and the longest wait "
        "was 6 min 12 s; a call was handled in 3 min 5 s on average.",
        "When it ended 5 customers waited for a call back, the longest for 2 h 10 min (1 from earlier); 1 still waits.",
        "45 outbound calls were made, 30 were answered.",
        "Busiest from 20:00 to 21:00 with 20 calls; at most 5 callers waited at once, first at 02:12.",
        "5 people were planned, 3 came, 1 never came; of 1 it is not known when he was there; logged in for 72.4% "
        "of the planned time; 2 started late, by up to 25 min; 1 ended early, by 40 min; 1 worked without a plan.",
        "Against Night, 22 Nov 2026: offered +12 (+11.1%), missed −3 (−11.1%), service level +4.1 pp.",
        "The data are incomplete: pbx told nothing from 21:00 to 22:00. Good to know: 21 calls were told late.",
    ]


def test_a_night_in_russian() -> None:
    assert title(a_night(), "ru") == "Итоги смены: Night, 23.11.2026"
    assert said(a_night(), "ru") == [
        "Поступило 120 звонков: отвечено 96 (доля отвеченных 80 %), пропущено 24.",
        "Из пропущенных 18 не дождались ответа, у 4 истекло время ожидания и 2 сбросили сразу. "
        "Больше всего пропущено с 02:00 до 03:00 (9); по очередям больше всего — Support (15).",
        "Уровень сервиса 74,2 % за 20 с — ниже цели 80 %; ответа ждали в среднем 18 с, самое долгое ожидание — "
        "6 мин 12 с; обработка звонка занимала в среднем 3 мин 5 с.",
        "К концу перезвона ждали 5 клиентов, дольше всех — 2 ч 10 мин (из них 1 пропущен раньше); 1 ждёт до сих пор.",
        "Сделано 45 исходящих звонков, дозвонились в 30 случаях.",
        "Больше всего звонков — с 20:00 до 21:00: 20 звонков; одновременно ждали до 5 человек, впервые в 02:12.",
        "По графику 5 человек, вышли 3, не вышел 1; неизвестно, когда был на месте 1; в системе 72,4 % "
        "времени по графику; опоздали 2 (до 25 мин); раньше ушёл 1 (до 40 мин); вне графика работал 1.",
        "По сравнению с периодом «Night, 22.11.2026»: поступило +12 (+11,1 %), пропущено −3 (−11,1 %), "
        "уровень сервиса +4,1 п. п.",
        "Данные неполны: pbx молчал с 21:00 до 22:00. Имейте в виду: о 21 звонке стало известно с опозданием.",
    ]


@pytest.mark.parametrize(
    ("count", "english", "russian"),
    [
        (0, "No call was offered.", "Звонков не поступило."),
        (1, "1 call was offered", "Поступил 1 звонок"),
        (2, "2 calls were offered", "Поступило 2 звонка"),
        (5, "5 calls were offered", "Поступило 5 звонков"),
        (11, "11 calls were offered", "Поступило 11 звонков"),
        (21, "21 calls were offered", "Поступил 21 звонок"),
        (112, "112 calls were offered", "Поступило 112 звонков"),
        (1222, "1,222 calls were offered", "Поступило 1 222 звонка"),
    ],
)
def test_calls_are_counted_in_the_form_of_their_number(count: int, english: str, russian: str) -> None:
    told = summary(figures=figures(offered=count, answered=count, answer_rate=1.0))
    assert said(told, "en")[0].startswith(english)
    assert said(told, "ru")[0].startswith(russian)


@pytest.mark.parametrize(
    ("count", "english", "russian"),
    [
        (1, "1 customer waited for a call back", "К концу перезвона ждал 1 клиент"),
        (2, "2 customers waited for a call back", "К концу перезвона ждали 2 клиента"),
        (5, "5 customers waited for a call back", "К концу перезвона ждали 5 клиентов"),
        (11, "11 customers waited for a call back", "К концу перезвона ждали 11 клиентов"),
        (21, "21 customers waited for a call back", "К концу перезвона ждал 21 клиент"),
    ],
)
def test_so_are_customers(count: int, english: str, russian: str) -> None:
    hand = HandOver(waiting_customers=count, of_this_period=count, oldest_missed_at=END - timedelta(minutes=3),
                    still_waiting=0)  # fmt: skip
    assert f"When it ended {english}, the longest for 3 min; nobody still does." in said(summary(handover=hand), "en")
    assert f"{russian}, дольше всех — 3 мин; теперь не ждёт никто." in said(summary(handover=hand), "ru")


@pytest.mark.parametrize(
    ("count", "russian"),
    [(1, "1 не дождался ответа"), (2, "2 не дождались ответа"), (11, "11 не дождались"), (21, "21 не дождался")],
)
def test_so_are_reasons(count: int, russian: str) -> None:
    told = summary(
        figures=figures(offered=count, missed=count, abandoned=count, missed_share=1.0, answer_rate=0.0),
        reasons=(Reason(outcome="abandoned", calls=count),),
    )
    assert any(f"Из пропущенных {russian}" in each for each in said(told, "ru"))


def test_a_shift_that_goes_on_says_so_and_judges_no_end() -> None:
    hand = HandOver(waiting_customers=2, of_this_period=2, oldest_missed_at=BEGIN, still_waiting=2)
    told = summary(
        as_of=BEGIN + timedelta(hours=2), handover=hand, notes=(Note(doubt=Doubt.RUNNING, end=END),),
        figures=figures(offered=3, answered=2, open=1, answer_rate=1.0),
    )  # fmt: skip
    english = said(told, "en")
    assert english[0] == "3 calls were offered: 2 answered (answer rate 100%), 0 missed, 1 still goes on."
    assert "2 customers wait for a call back now, the longest for 2 h 0 min." in english
    assert english[-1] == "The data are incomplete: it goes on until 24 Nov 2026 08:00."


def test_nothing_is_good_because_nothing_was_told() -> None:
    told = summary(notes=(Note(doubt=Doubt.NEVER_SPOKE, source="pbx", begin=BEGIN, end=END),))
    assert said(told, "en") == [
        "No call was offered.",
        "When it ended nobody waited for a call back.",
        "The data are incomplete: pbx told nothing at all.",
    ]
    assert said(replace(told, notes=()), "ru")[-1] == "Пробелов в данных не обнаружено."


def test_each_part_of_the_sum_is_told() -> None:
    told = summary(
        figures=figures(offered=10, answered=4, missed=1, exited=2, voicemail=1, open=1, expired=1, after_hours=3,
                        answer_rate=0.8, missed_share=0.2)
    )  # fmt: skip
    assert said(told, "en")[0] == (
        "10 calls were offered: 4 answered (answer rate 80%), 1 missed, 2 left by a key, 1 went to voicemail, "
        "1 still goes on, 1 has no known end, 3 more came after hours."
    )


def test_who_is_answered_and_talks_still_is_told_twice_and_it_says_so() -> None:
    told = summary(
        figures=figures(
            offered=92, answered=78, missed=12, open=9, after_hours=1, answer_rate=71 / 83, missed_share=12 / 83
        )
    )
    assert said(told, "en")[0] == (
        "92 calls were offered: 78 answered (answer rate 85.5%), 12 missed, 9 still go on (7 of these answered), "
        "1 more came after hours."
    )
    assert "9 ещё продолжаются (из них отвечены 7), ещё 1 поступил" in said(told, "ru")[0]


def test_a_period_about_some_queues_counts_stays_in_them() -> None:
    told = summary(period=night(queues=("Sales",)), figures=figures(offered=2, answered=2, answer_rate=1.0))
    assert said(told, "en")[0].startswith("2 stays in these queues were offered")


def test_what_is_not_all_is_not_told_as_all() -> None:
    english, russian = language("en"), language("ru")
    assert [english.share(each) for each in (1.0, 0.9999, 0.00001, 0.0, None)] == ["100%", "99.9%", "0.1%", "0%", "–"]
    assert russian.share(0.745) == "74,5\xa0%"
    assert [english.signed(each) for each in (3, 0, -3)] == ["+3", "0", "−3"]
    assert english.duration(59.6) == "1 min"
    assert [english.duration(each) for each in (0, 61, 7800, 200_000)] == ["0 s", "1 min 1 s", "2 h 10 min", "2 d 7 h"]
    assert [english.clock(each) for each in (7, 372, 7800, None)] == ["0:07", "6:12", "2:10:00", "–"]


@pytest.mark.parametrize(
    ("count", "goes_on", "english", "russian"),
    [
        (0, False,
         "there was no connection to pbx from 21:00 to 21:07 (7 min): what went on was asked for again, calls that "
         "began and ended in that time are not known",
         "связи с pbx не было с 21:00 до 21:07 (7 мин): продолжавшиеся звонки запрошены заново, звонки, которые "
         "начались и закончились за это время, неизвестны"),
        (1, False, "asked for again, 1 call ended or was answered unheard, calls that began",
         "запрошены заново, ответ или конец 1 звонка не услышан, звонки, которые"),
        (3, False, "asked for again, 3 calls ended or were answered unheard, calls that began",
         "запрошены заново, ответ или конец 3 звонков не услышан, звонки, которые"),
        (0, True, "there has been no connection to pbx since 23 Nov 2026 21:00", "связи с pbx нет с 23.11.2026 21:00"),
    ],
)  # fmt: skip
def test_a_lost_connection_is_told_as_what_it_was(count: int, goes_on: bool, english: str, russian: str) -> None:
    begin = BEGIN + timedelta(hours=1)
    end = None if goes_on else begin + timedelta(minutes=7)
    note = Note(doubt=Doubt.DISCONNECTED, count=count, source="pbx", begin=begin, end=end)
    told = replace(a_night(), notes=(note,))
    for code, beginning, words in (("en", "The data are incomplete: ", english), ("ru", "Данные неполны: ", russian)):
        last = said(told, code)[-1]
        assert last.startswith(beginning) and words in last


# -- periods in words --------------------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")


def named(kind: str, begin: datetime, end: datetime, code: str) -> str:
    span = night(kind=kind, begin=begin, end=end, timezone="Europe/Berlin", name="2026-…", text="")
    return title(summary(period=span), code).replace("\xa0", " ")


@pytest.mark.parametrize(
    ("kind", "begin", "end", "english", "russian"),
    [
        ("week", (2026, 11, 16), (2026, 11, 23), "Week summary: week 47 of 2026", "Итоги недели: неделя 47, 2026"),
        ("week", (2026, 12, 28), (2027, 1, 4), "Week summary: week 53 of 2026", "Итоги недели: неделя 53, 2026"),
        ("month", (2026, 5, 1), (2026, 6, 1), "Month summary: May 2026", "Итоги месяца: май 2026"),
        ("quarter", (2026, 10, 1), (2027, 1, 1), "Quarter summary: quarter 4 of 2026",
         "Итоги квартала: 4-й квартал 2026"),
        ("year", (2026, 1, 1), (2027, 1, 1), "Year summary: 2026", "Итоги года: 2026"),
        ("days", (2026, 3, 27), (2026, 4, 3), "Summary: 27 Mar 2026 – 2 Apr 2026", "Итоги: 27.03.2026 – 02.04.2026"),
        ("interval", (2026, 3, 29), (2026, 3, 30), "Summary: 29 Mar 2026", "Итоги: 29.03.2026"),
        ("interval", (2026, 3, 28, 20), (2026, 3, 29, 8), "Summary: 28 Mar 2026 20:00 – 08:00",
         "Итоги: 28.03.2026 20:00 – 08:00"),
        ("interval", (2026, 10, 24, 8), (2026, 10, 25, 8), "Summary: 24 Oct 2026 08:00 – 25 Oct 2026 08:00",
         "Итоги: 24.10.2026 08:00 – 25.10.2026 08:00"),
    ],
)  # fmt: skip
def test_a_period_is_called_what_people_call_it(
    kind: str, begin: tuple[int, ...], end: tuple[int, ...], english: str, russian: str
) -> None:
    edges = [datetime(*each, tzinfo=BERLIN).astimezone(UTC) for each in (begin, end)]  # type: ignore[arg-type, misc]
    assert (named(kind, *edges, "en"), named(kind, *edges, "ru")) == (english, russian)


def test_the_end_of_a_day_of_23_hours_has_its_date() -> None:
    begin, end = (datetime(2026, 3, day, tzinfo=BERLIN).astimezone(UTC) for day in (29, 30))
    told = summary(period=night(kind="day", begin=begin, end=end, timezone="Europe/Berlin"))
    assert "29 Mar 2026 00:00 – 30 Mar 2026 00:00" in html.page(told, "en", STRANGER)


def test_in_a_week_a_silence_has_its_date_and_in_a_night_it_has_none() -> None:
    gap = Note(doubt=Doubt.SILENT, source="pbx", begin=BEGIN + timedelta(hours=1), end=BEGIN + timedelta(hours=2))
    over_night = replace(gap, end=BEGIN + timedelta(hours=8))
    week = night(kind="week", begin=BEGIN - timedelta(days=3), end=BEGIN + timedelta(days=4))
    assert said(summary(notes=(gap,)), "en")[-1] == "The data are incomplete: pbx told nothing from 21:00 to 22:00."
    assert said(summary(period=week, notes=(gap, over_night)), "en")[-1] == (
        "The data are incomplete: pbx told nothing from 23 Nov 2026 21:00 to 22:00; "
        "pbx told nothing from 23 Nov 2026 21:00 to 04:00."
    )


def test_what_has_not_begun_does_not_go_on() -> None:
    told = summary(as_of=BEGIN - timedelta(hours=2), notes=(Note(doubt=Doubt.RUNNING, end=END),))
    assert said(told, "en")[-1] == "The data are incomplete: it begins only at 23 Nov 2026 20:00."
    assert "not begun" in html.page(told, "en", STRANGER) and "goes on" not in html.page(told, "en", STRANGER)


def test_a_count_that_still_grows_is_judged_when_it_is_decided() -> None:
    def judged(value: int, *, at_least: bool, is_growing: bool = True) -> bool | None:
        goal = Goal(figure="answered", queue="", target=40, at_least=at_least, value=value, is_growing=is_growing)
        return goal.is_reached

    assert [judged(value, at_least=True) for value in (39, 40)] == [None, True]
    assert [judged(value, at_least=False) for value in (40, 41)] == [None, False]
    assert [judged(39, at_least=least, is_growing=False) for least in (True, False)] == [False, True]
    goal = Goal(figure="answered", queue="", target=40, at_least=True, value=39, is_growing=True)
    page = html.page(summary(goals=(goal,), figures=figures(answered=39)), "en", STRANGER)
    assert "goal 40" in page and "reached" not in page


def test_of_two_goals_of_a_figure_every_place_judges_the_same() -> None:
    goals = tuple(
        Goal(figure="service_level", queue="", target=target, at_least=True, value=0.75) for target in (0.7, 0.8)
    )
    told = summary(goals=goals, figures=figures(offered=4, answered=4, service_level=0.75, asa_seconds=1.0))
    page = html.page(told, "en", STRANGER)
    assert "which reaches the goal of 70%" in page and "not reached" not in page
