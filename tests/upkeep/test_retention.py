"""Months go when they are too old: events first, then calls; the figures stay."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from callkpi import audit, config
from callkpi.ingest import forgotten
from callkpi.projection.batch import Projector
from callkpi.upkeep import rebuilding, retention
from tests.stand_ins.customers import NOBODY, call
from tests.stand_ins.months import AT_ONCE, NOW, kept, three_months
from tests.world import World, sample


async def call_ids(world: World, table: str) -> set[str]:
    return {row["call_id"] for row in await world.pool.fetch(f"SELECT DISTINCT call_id FROM {table}")}


def test_horizons_are_whole_months_before_the_current_one() -> None:
    assert retention.months_before(NOW, 1) == datetime(2026, 10, 1, tzinfo=UTC)
    assert retention.months_before(NOW, 11) == datetime(2025, 12, 1, tzinfo=UTC)
    assert retention.horizons(kept(), NOW) == {}


async def test_events_go_first_and_the_figures_stay(world: World) -> None:
    await three_months(world)
    window = (datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
    before = await world.figures("queue", *window)

    done = await retention.enforce(world.pool, kept(journal_months=1), NOW, AT_ONCE)

    # Other tests may have left older months, which are empty.
    assert {"journal_2026_08", "journal_2026_09"} <= set(done.dropped)
    assert max(done.dropped) < "journal_2026_10"
    assert await call_ids(world, "journal") == {"m10", "lost10", "night"}, "its end came in October"
    assert {"m8", "m9", "night"} < await call_ids(world, "calls")
    assert await world.figures("queue", *window) == before
    assert await world.findings() == []


async def test_a_sealed_call_does_not_change_any_more(world: World) -> None:
    """Half of its events are gone: folded again it would be another call."""
    await three_months(world)
    await retention.enforce(world.pool, kept(journal_months=1), NOW, AT_ONCE)
    before = await world.tables()

    late = {"call_id": "night", "kind": "answered", "at": "2026-10-01T00:00:05+00:00", "agent": "Dana"}
    await world.send_json("native", late)
    await world.project()

    assert await world.tables() == before
    assert sample(await world.metrics(), "callkpi_projector_sealed_calls_total") == 1


async def test_a_rebuild_leaves_sealed_calls_and_gives_the_same_tables(world: World) -> None:
    await three_months(world)
    await retention.enforce(world.pool, kept(journal_months=1), NOW, AT_ONCE)
    before = await world.tables()

    await rebuilding.refold(world.pool, Projector(world.pool, world.settings, world.health), NOBODY)

    assert await world.tables() == before
    assert await world.findings() == []


async def test_calls_go_later_and_the_figures_still_stay(world: World) -> None:
    await three_months(world)
    window = (datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))
    before = await world.figures("queue", *window)

    done = await retention.enforce(world.pool, kept(journal_months=1, calls_months=2), NOW, AT_ONCE)

    assert "calls_2026_08" in done.dropped and "calls_2026_09" not in done.dropped
    assert "m8" not in await call_ids(world, "calls")
    assert "m8" not in await call_ids(world, "call_keys")
    assert await world.figures("queue", *window) == before
    row = await world.pool.fetchrow("SELECT customer, fate FROM missed_calls WHERE call_id = 'lost8'")
    assert row["customer"] == ""
    assert await world.findings() == []


async def test_nothing_is_dropped_before_everybody_has_heard_of_it(world: World) -> None:
    await three_months(world)
    first = await retention.enforce(world.pool, kept(journal_months=1), NOW)
    assert first.dropped == ()

    world.ingest._forgotten = forgotten.Forgotten(world.settings)
    receipt = await world.send_json("native", *call("ancient", datetime(2026, 8, 3, tzinfo=UTC), "+77040000000"))

    assert (receipt.events, receipt.ignored) == (0, 2)
    assert "ancient" not in await call_ids(world, "journal")
    assert sample(await world.metrics(), "callkpi_ingest_too_old_total", source="native") == 2


async def test_events_that_wait_to_be_projected_are_waited_for(world: World) -> None:
    await three_months(world)
    await world.send_json("native", *call("waits", datetime(2026, 8, 20, tzinfo=UTC), "+77050000000"))

    assert (await retention.enforce(world.pool, kept(journal_months=1), NOW, AT_ONCE)).dropped == ()

    await world.project()
    assert (await retention.enforce(world.pool, kept(journal_months=1), NOW, AT_ONCE)).dropped


async def test_an_archive_holds_every_row_and_is_never_overwritten(world: World, tmp_path: Path) -> None:
    await three_months(world)
    rows = await world.pool.fetch("SELECT event_id FROM journal WHERE at < '2026-09-01Z'")
    settings = kept(journal_months=1, archive_dir=str(tmp_path))
    (tmp_path / "journal_2026_09.csv.gz").write_bytes(b"of another time")

    await retention.enforce(world.pool, settings, NOW, AT_ONCE)

    with gzip.open(tmp_path / "journal_2026_08.csv.gz", "rt", newline="") as archive:
        archived = list(csv.DictReader(archive))
    assert sorted(row["event_id"] for row in archived) == sorted(row["event_id"] for row in rows)
    assert (tmp_path / "journal_2026_09.csv.gz").read_bytes() == b"of another time"
    assert (tmp_path / "journal_2026_09.2.csv.gz").exists()
    assert not list(tmp_path.glob("*.part"))
    assert (tmp_path / "journal_2026_08.csv.gz").stat().st_mode & 0o077 == 0


async def test_numbers_of_old_months_are_replaced_once(world: World) -> None:
    await three_months(world)
    settings = kept(numbers_months=1)

    assert (await retention.enforce(world.pool, settings, NOW, AT_ONCE)).pseudonymised == 5
    assert (await retention.enforce(world.pool, settings, NOW, AT_ONCE)).pseudonymised == 0
    customers = {
        row["call_id"]: row["customer"] for row in await world.pool.fetch("SELECT call_id, customer FROM calls")
    }
    assert customers["m9"].startswith("999") and customers["m10"] == "+77010000010"


async def test_numbers_that_a_backfill_brings_into_an_old_month_are_replaced_too(world: World) -> None:
    await three_months(world)
    await retention.enforce(world.pool, kept(numbers_months=1), NOW, AT_ONCE)
    old = datetime(2026, 8, 15, tzinfo=UTC)
    told = {"call_id": "backfilled", "direction": "inbound", "customer": "+77017778899", "queue": "sales"}
    await world.send_json(
        "native", {**told, "kind": "queued", "at": old.isoformat()},
        {**told, "kind": "ended", "at": (old + timedelta(minutes=1)).isoformat()},
    )  # fmt: skip
    await world.project()

    assert (await retention.enforce(world.pool, kept(numbers_months=1), NOW, AT_ONCE, again=True)).pseudonymised == 1
    customer = await world.pool.fetchval("SELECT customer FROM calls WHERE call_id = 'backfilled'")
    assert customer.startswith("999")
    assert await world.findings() == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"calls_months": 6},
            "retention.calls_months: events go before their calls: set retention.journal_months to 1",
        ),
        ({"calls_months": 6, "journal_months": 6}, "retention.calls_months"),
        ({"journal_months": -1}, "retention.journal_months: must not be negative"),
        ({"archive_dir": "here"}, "retention.archive_dir: 'here' must be an absolute path"),
    ],
)
def test_bad_settings_are_refused_with_what_to_write(settings: dict[str, object], problem: str, tmp_path: Path) -> None:
    file = tmp_path / "callkpi.toml"
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in settings.items()]
    file.write_text("[retention]\n" + "\n".join(lines) + "\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(file, {})
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


async def test_the_audit_goes_at_an_age_of_its_own(world: World) -> None:
    await audit.record(world.pool, audit.Operator(), audit.Action.EXPORT, "acme", "9 calls")
    later = datetime.now(UTC) + timedelta(days=70)
    await retention.enforce(world.pool, kept(audit_months=3), later, AT_ONCE)
    assert len(await audit.read(world.pool)) == 1
    await retention.enforce(world.pool, kept(audit_months=1), later, AT_ONCE)
    assert await audit.read(world.pool) == []
