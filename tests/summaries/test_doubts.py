"""Every doubt that a summary can tell is told in every language and form: none keeps it from its reader."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from callkpi import config
from callkpi.calendar import periods
from callkpi.delivery import letter
from callkpi.delivery.courier import Courier
from callkpi.delivery.letter import Edition
from callkpi.delivery.message import receivers
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.language import LANGUAGES, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS
from callkpi.summaries.summary import Doubt, Note, Summary, from_data, to_data
from callkpi.summaries.words import note_text
from tests.stand_ins.customers import call
from tests.stand_ins.nights import Box, with_report
from tests.stand_ins.summaries import BEGIN, END, HOUR, a_night, summary
from tests.world import World

LATER = datetime(2026, 11, 24, 4, tzinfo=UTC)
#: One of each plural form of the languages, none, and one that is written with a separator.
COUNTS = (0, 1, 2, 5, 21, 1500)
READERS = (Reader(), Reader(numbers=True, agents=True, root="https://kpi.example"))
#: Each way that a report goes by, and what goes with it.
WAYS = (
    "mailto:boss@example.com", "telegram:-1001", "bitrix24:portal/chat1", "folder:/var/spool/kpi",
    "https://example.com/kpi",
)  # fmt: skip


def notes_of(doubt: Doubt) -> Iterator[Note]:
    """Every shape that a note may have: with and without a number, a source, a begin, an end, calls."""
    for count in COUNTS:
        calls = tuple(f"pbx/{number}" for number in range(min(count, 3)))
        for begin, end in ((None, None), (BEGIN + HOUR, BEGIN + 2 * HOUR), (BEGIN + HOUR, None), (None, END)):
            yield Note(doubt=doubt, count=count, source="pbx", begin=begin, end=end, calls=calls)
    yield Note(doubt=doubt)


@pytest.mark.parametrize("doubt", Doubt)
@pytest.mark.parametrize("code", LANGUAGES)
def test_every_note_is_said_in_words(doubt: Doubt, code: str) -> None:
    for told in (summary(), summary(as_of=BEGIN - HOUR), summary(as_of=BEGIN + HOUR)):
        for note in notes_of(doubt):
            text = note_text(told, note, language(code))
            assert text and "{" not in text and "None" not in text, text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("code", LANGUAGES)
def test_every_note_is_in_every_file(form: str, code: str) -> None:
    notes = [note for doubt in Doubt for note in notes_of(doubt)]
    for told in (a_night(), summary()):
        for reader in READERS:
            whole = replace(told, notes=tuple(notes))
            assert FORMATS[form].render(whole, code, reader)


@pytest.mark.parametrize("code", LANGUAGES)
def test_no_doubt_is_left_out(code: str) -> None:
    notes = [Note(doubt=doubt, count=3, source="pbx", begin=BEGIN + HOUR, end=BEGIN + 2 * HOUR) for doubt in Doubt]
    whole = summary(notes=tuple(notes))
    for form in ("txt", "html", "csv"):
        text = html.unescape(FORMATS[form].render(whole, code, READERS[1]).decode())
        for note in notes:
            if form != "txt" or note.doubt not in (Doubt.OPEN, Doubt.EXPIRED):
                assert note_text(whole, note, language(code)) in text, (form, note.doubt)


@pytest.mark.parametrize("doubt", Doubt)
def test_a_summary_with_one_doubt_alone_is_rendered(doubt: Doubt) -> None:
    """Alone a note is the whole of its sentence, and its table has one row."""
    for code in LANGUAGES:
        for name in ("html", "txt", "csv", "json"):
            assert FORMATS[name].render(summary(notes=(next(notes_of(doubt)),)), code, READERS[1])


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_note_goes_by_every_way(code: str) -> None:
    notes = tuple(note for doubt in Doubt for note in notes_of(doubt))
    kept = from_data(json.loads(json.dumps(to_data(replace(a_night(), notes=notes)))))
    edition = Edition("acme", "nightly", kept.period.text, 2, letter.masked(kept))
    earlier = replace(edition, number=1, summary=letter.masked(summary()))
    report = config.Report(period="shift:night", to=WAYS, files=("html", "pdf"), language=code)
    found = receivers(report)
    assert len(found) == len(WAYS)
    for receiver in found:
        for before in (None, earlier):
            message = letter.write(edition, before, report, receiver, "https://kpi.example.com")
            assert message.text and message.html and len(message.attachments) == 2


async def test_a_summary_is_told_while_the_projector_has_something_to_do(world: World) -> None:
    """Of every kind of period, in every language and form, and by the courier."""
    end = datetime(2026, 11, 24, 3, tzinfo=UTC)
    world.settings = with_report(world.settings)
    await world.send_json("native", *call("known", end - timedelta(hours=2), "+77010000001", agent="Dana"))
    await world.project()
    await world.send_json("native", *call("pending", end - timedelta(hours=1), "+77010000002"))
    own, box = world.settings.tenants["acme"], Box()
    for text in ("shift:night@2026-11-23", "day:2026-11-23", "week:2026-W48", "month:2026-11", "last_7_days"):
        period = periods.parse(own, "acme", text, LATER)
        told = await summarise_period(world.pool, world.settings, world.reports.names, "acme", period, LATER)
        assert [note.count for note in told.notes if note.doubt is Doubt.LAGGING] == [1]
        await asyncio.to_thread(_rendered, told)
    # It waits for what has been there for five seconds, and sends what is new to it the next time.
    await world.pool.execute("UPDATE pending SET journalled_at = now() + interval '1 hour'")
    courier = Courier(world.pool, world.settings, world.health, lambda name, report: box)
    # What has waited for longer than a moment is waited for.
    await world.pool.execute("UPDATE pending SET journalled_at = now() + interval '1 hour'")
    for minutes in (-60, 16):
        await courier.step(end + timedelta(minutes=minutes))
    (message,) = box.messages
    assert language("en").text("d_lagging") in message.text


async def test_the_backlog_of_another_call_centre_is_no_doubt_of_this_one(world: World) -> None:
    world.settings = replace(world.settings, tenants={**world.settings.tenants, "other": config.Tenant()})
    await world.send_json("native", *call("pending", LATER - timedelta(hours=2), "+77010000002"))
    lagging = {}
    for tenant, own in world.settings.tenants.items():
        period = periods.parse(own, tenant, "day:2026-11-24", LATER)
        told = await summarise_period(world.pool, world.settings, world.reports.names, tenant, period, LATER)
        lagging[tenant] = Doubt.LAGGING in [note.doubt for note in told.notes]
    assert lagging == {"acme": True, "other": False}


def _rendered(told: Summary) -> None:
    for code in LANGUAGES:
        for form in FORMATS.values():
            assert form.render(told, code, READERS[1])
