"""Connections that were lost: kept as they were, and told in the summary instead of silence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from callkpi import config
from callkpi.calendar import periods
from callkpi.connections.keeping import OUTAGE, Status, Trouble
from callkpi.health import Reason
from callkpi.summaries.assemble import summarise_period
from callkpi.summaries.outages import without_outages
from callkpi.summaries.summary import Doubt, Note, Summary
from callkpi.summaries.words import sentences
from tests.stand_ins.asterisk_live import RECORDED, Live, listening
from tests.stand_ins.connections import Pbx, kept, until
from tests.world import World

T0 = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


async def rows(world: World) -> list[tuple[str, str]]:
    found = await world.pool.fetch("SELECT source, reason, ends > begins AS goes FROM connection_outages ORDER BY ends")
    assert all(row["goes"] for row in found)
    return [(row["source"], row["reason"]) for row in found]


# -- what is kept ------------------------------------------------------------------------------------------


async def test_a_cut_is_kept_with_its_reason_and_a_stop_of_callkpi_is_one_too(
    world: World, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callkpi.connections.keeping.OUTAGE", timedelta(milliseconds=1))
    pbx = Pbx()
    port = await pbx.start()

    async def count(number: int) -> bool:
        return len(await rows(world)) == number

    async def connected() -> bool:
        return bool(await world.pool.fetchval("SELECT connected FROM connections WHERE source = 'native'"))

    async with kept(world, dsn, port):
        await until(connected)
        assert await rows(world) == [], "before the first connection nothing was missed that one could know of"
        pbx.cut()
        await until(lambda: count(1))
    async with kept(world, dsn, port):
        await until(lambda: count(2))
    assert await rows(world) == [("native", "closed"), ("native", "stopped")]
    pbx.server.close()


def test_what_is_read_on_later_was_not_missed_and_a_moment_is_no_outage() -> None:
    long_ago = datetime.now(UTC) - HOUR
    file, line, brief = Status(long_ago), Status(long_ago), Status(datetime.now(UTC) - OUTAGE / 2)
    file.up(reads_on=True)
    line.down(Trouble(Reason.UNREACHABLE, "no route"))
    line.up()
    brief.up()
    assert (file.outages, brief.outages) == ([], [])
    assert [(each.begins, each.reason) for each in line.outages] == [(long_ago, Reason.UNREACHABLE)]


# -- what is told ------------------------------------------------------------------------------------------


async def told(live: Live, begin: datetime, end: datetime) -> Summary:
    """The summary of a time of the tenant whose Asterisk is connected."""
    world = live.world
    text = f"{begin.isoformat()}..{end.isoformat()}"
    period = periods.parse(live.settings.tenants["acme"], "acme", text, datetime.now(UTC))
    return await summarise_period(world.pool, live.settings, world.reports.names, "acme", period)


async def test_a_lost_connection_is_told_with_the_calls_that_ended_unheard(world: World, dsn: str) -> None:
    """Asterisk restarts in the middle of everything, at a time that is now by both clocks."""
    moved = datetime.now(UTC).timestamp() - float(RECORDED[5999]["Timestamp"])
    events = [{**event, "Timestamp": f"{float(event['Timestamp']) + moved:.6f}"} for event in RECORDED[:6000]]
    async with listening(world, dsn, events) as live:
        await live.up()
        await live.server.play()
        await live.all_heard()
        live.server.restart()
        live.server.stop()
        await asyncio.sleep(OUTAGE.total_seconds())
        await live.server.start()
        await live.up(2)
        await live.all_heard()
        await asyncio.sleep(0.1)
        now = datetime.now(UTC)
        summary = await told(live, now - HOUR, now + timedelta(minutes=1))
        unheard = await world.pool.fetchval("SELECT count(*) FROM calls WHERE body::jsonb -> 'flags' ? 'unheard'")
        (note,) = [note for note in summary.notes if note.doubt is Doubt.DISCONNECTED]
        assert (note.source, note.count) == (live.name, unheard) and unheard > 2
        assert not [n for n in summary.notes if n.doubt is Doubt.CONFLICTING]
        assert note.end is not None and note.begin is not None and note.end - note.begin < timedelta(minutes=1)
        assert f"there was no connection to {live.name} from" in str(sentences(summary, "en")[-1])
        assert f"{unheard} calls ended or were answered unheard" in str(sentences(summary, "en")[-1])
        before = await told(live, now - 2 * HOUR, now - HOUR)
        assert not any(note.doubt is Doubt.DISCONNECTED for note in before.notes)
    summary = await told(live, now - HOUR, now + HOUR)
    # Less than a minute after the first one it is the same outage still.
    assert [(n.count, n.end) for n in summary.notes if n.doubt is Doubt.DISCONNECTED] == [(unheard, None)]
    assert f"there has been no connection to {live.name} since" in str(sentences(summary, "en")[-1])


async def test_an_hour_without_a_connection_is_no_silence(world: World, dsn: str) -> None:
    async with listening(world, dsn, []) as live:
        await live.up()
        await world.pool.execute(
            "INSERT INTO connection_outages VALUES ($1, $2, $3, 'timeout'),"
            " ($1, $3::timestamptz + interval '9 s', $4, 'closed'),"
            " ($1, $5, $5::timestamptz + interval '20 s', 'closed')",
            live.name, T0 - 3 * HOUR, T0 - 2 * HOUR, T0 - HOUR, T0,
        )  # fmt: skip
        summary = await told(live, T0 - 4 * HOUR, T0 + HOUR)
    mine = [(note.doubt, note.begin, note.end) for note in summary.notes if note.source == live.name]
    assert mine == [
        (Doubt.DISCONNECTED, T0 - 3 * HOUR, T0 - HOUR), (Doubt.NEVER_SPOKE, T0 - 4 * HOUR, T0 + HOUR),
    ], "two outages with nine seconds between are one, twenty seconds hurt nobody"  # fmt: skip
    lost = await told(live, T0 - 3 * HOUR, T0 - 2 * HOUR)
    assert [note.doubt for note in lost.notes if note.source == live.name] == [Doubt.DISCONNECTED]


async def test_a_day_that_goes_on_names_at_once_who_is_not_heard_now(world: World) -> None:
    """A PBX that was never reached, one that was lost a moment ago, a portal that does not answer, who fell silent."""
    kinds, given = config.SourceKind, world.settings.sources["native"]
    pbx = config.Source(kind=kinds.ASTERISK, tenant="acme", ami_address="pbx:5038")
    sources = {
        "native": given, "quiet": given, "new": pbx, "lost": pbx,
        "portal": config.Source(kind=kinds.BITRIX24, tenant="acme", rest_url="https://p/rest/1/s/", silent_minutes=0),
    }  # fmt: skip
    settings = replace(world.settings, sources=sources)
    at = datetime.now(UTC)
    await world.pool.executemany(
        "INSERT INTO source_status VALUES ($1, $2, $2)",
        [("native", at), ("lost", at), ("new", at), ("quiet", at - timedelta(minutes=35))],
    )
    await world.pool.executemany(
        "INSERT INTO connections VALUES ($1, false, $2, $2, $3, 'unreachable', '')",
        [("new", at - HOUR / 2, None), ("lost", at, at - timedelta(seconds=3))],
    )
    await world.pool.execute("INSERT INTO reconcile_sources (source, since, last_success_at) VALUES ('portal', $1, $1)",
                             at - HOUR)  # fmt: skip

    async def notes(begin: datetime, end: datetime) -> dict[str, Note]:
        period = periods.parse(settings.tenants["acme"], "acme", f"{begin.isoformat()}..{end.isoformat()}", at)
        names = world.reports.names
        summary = await summarise_period(world.pool, settings, names, "acme", period, as_of=at)
        wanted = (Doubt.DISCONNECTED, Doubt.SILENT, Doubt.NEVER_SPOKE)
        return {note.source: note for note in summary.notes if note.doubt in wanted}

    begin = at - timedelta(minutes=20)
    for found in (await notes(begin, at + HOUR), await notes(begin, at + 20 * 24 * HOUR)):
        assert {name: note.doubt for name, note in found.items()} == {
            "new": Doubt.DISCONNECTED, "lost": Doubt.DISCONNECTED, "portal": Doubt.DISCONNECTED,
            "quiet": Doubt.NEVER_SPOKE,
        }  # fmt: skip
        assert all(found[name].end is None for name in ("new", "lost", "portal"))
        assert found["lost"].begin == at - timedelta(seconds=3)
        assert (found["new"].begin, found["portal"].begin) == (begin, begin)
    past = await notes(at - 3 * HOUR, at - 2 * HOUR)
    assert "portal" not in past and "lost" not in {name for name, n in past.items() if n.doubt is Doubt.DISCONNECTED}


def test_silence_is_told_where_no_outage_explains_it() -> None:
    def silent(source: str, begin: float, end: float) -> Note:
        return Note(doubt=Doubt.SILENT, source=source, begin=T0 + begin * HOUR, end=T0 + end * HOUR)

    lost = Note(doubt=Doubt.DISCONNECTED, source="pbx", begin=T0 + HOUR, end=T0 + 3 * HOUR)
    now = replace_end(lost, T0 + 6 * HOUR)
    silences = [silent("pbx", 0, 3.1), silent("pbx", 4, 8), silent("native", 1, 3)]
    assert without_outages(silences, [lost, now], T0 + 9 * HOUR, dict.fromkeys(("pbx", "native"), HOUR / 2)) == [
        silent("pbx", 0, 1), silent("pbx", 4, 6), silent("native", 1, 3),
    ]  # fmt: skip


def replace_end(note: Note, begin: datetime) -> Note:
    """The same that goes on since *begin*."""
    return Note(doubt=note.doubt, source=note.source, begin=begin)
