"""The work on missed customers: one has him at a time, a hand settles him, and the journal keeps it all."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from callkpi import audit
from callkpi.calls.model import Direction, Fate
from callkpi.missed import work
from callkpi.missed.fates import Contact, Settlement, fates
from callkpi.missed.work import Action, Claimed, Order, Work
from callkpi.missed.worklist import KeyReused, NotMissed, NotWaiting, Request, WorkList
from callkpi.upkeep import erasure, rebuilding
from tests.stand_ins.work import ANNA, BORIS, Supervisor
from tests.world import World, sample

MINUTE = timedelta(minutes=1)
HALF_HOUR = timedelta(minutes=30)


def order(action: Action, who: Supervisor = ANNA, **told: Any) -> Order:
    return Order(action=action, by=who.name, **{"keep": HALF_HOUR, **told})


async def miss(world: World, call_id: str, customer: str = "+77010000001", ago: timedelta = MINUTE) -> datetime:
    at = datetime.now(UTC) - ago
    common = {"call_id": call_id, "direction": "inbound", "customer": customer, "line": "100", "queue": "sales"}
    end = at + timedelta(seconds=20)
    await world.send_json(
        "native", {**common, "kind": "queued", "at": at.isoformat()}, {**common, "kind": "ended", "at": end.isoformat()}
    )
    await world.project()
    return at


async def act(world: World, call_id: str, wanted: Order, who: Supervisor = ANNA, key: str = "") -> dict[str, Any]:
    """Do it while the projector works, as in the daemon."""
    listed, projecting = WorkList(world.pool, world.settings), asyncio.create_task(world.projector.run())
    try:
        return await listed.act(Request("acme", "native", call_id, wanted, key), who)
    finally:
        projecting.cancel()
        await asyncio.gather(projecting, return_exceptions=True)
        await world.project()


async def fate_of(world: World, call_id: str) -> str:
    fate: str = await world.pool.fetchval("SELECT fate FROM missed_calls WHERE call_id = $1", call_id)
    return fate


# -- claims -----------------------------------------------------------------------------------------------


async def test_two_supervisors_can_not_have_one_customer(world: World) -> None:
    await miss(world, "a")
    await miss(world, "b")
    first = await act(world, "a", order(Action.CLAIM))
    assert first["claimed_by"] == "anna" and first["customer_masked"] == "+770•••0001"
    for call_id in ("a", "b"):  # another call of his is he all the same
        with pytest.raises(Claimed) as told:
            await act(world, call_id, order(Action.CLAIM, BORIS), BORIS)
        assert told.value.by == "anna" and told.value.until.isoformat() == first["claimed_until"]
    again = await act(world, "b", order(Action.CLAIM, keep=2 * HALF_HOUR))
    assert again["claimed_until"] > first["claimed_until"]


async def test_of_claims_at_the_same_moment_one_wins(world: World) -> None:
    await miss(world, "a")
    people = [Supervisor(f"s{number}") for number in range(6)]
    listed = [WorkList(world.pool, world.settings) for _ in people]
    asked = [
        each.act(Request("acme", "native", "a", order(Action.CLAIM, who)), who)
        for each, who in zip(listed, people, strict=True)
    ]
    told = await asyncio.gather(*asked, return_exceptions=True)
    winners = [answer["claimed_by"] for answer in told if isinstance(answer, dict)]
    assert len(winners) == 1 and {each.by for each in told if isinstance(each, Claimed)} == set(winners)


async def test_a_claim_ends_by_itself_by_its_holder_or_by_a_manager(world: World) -> None:
    await miss(world, "a")
    await act(world, "a", order(Action.CLAIM, keep=timedelta(milliseconds=1)))
    assert (await act(world, "a", order(Action.CLAIM, BORIS), BORIS))["claimed_by"] == "boris"
    with pytest.raises(Claimed):
        await act(world, "a", order(Action.RELEASE))
    assert (await act(world, "a", order(Action.RELEASE, overrules=True)))["claimed_by"] is None
    assert (await act(world, "a", order(Action.CLAIM)))["claimed_by"] == "anna"


async def test_a_request_sent_again_is_done_once_and_answered_alike(world: World) -> None:
    await miss(world, "a")
    note = order(Action.NOTE, text="asks for an invoice")
    first = await act(world, "a", note, key="k-1")
    assert await act(world, "a", note, key="k-1") == first
    assert [each["text"] for each in first["notes"]] == ["asks for an invoice"]
    with pytest.raises(KeyReused):
        await act(world, "a", order(Action.NOTE, text="another"), key="k-1")
    other = await act(world, "a", order(Action.NOTE, BORIS, text="another"), BORIS, key="k-1")
    assert len(other["notes"]) == 2


# -- settled by hand --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fate", "kpi"), [(Fate.REACHED, "reached_after_miss"), (Fate.WRITTEN_OFF, "written_off")])
async def test_what_is_closed_by_hand_leaves_list_board_metrics_and_is_told_in_the_kpis(
    world: World, fate: Fate, kpi: str
) -> None:
    await miss(world, "a", ago=2 * MINUTE)
    await miss(world, "b")
    await miss(world, "other", "+77010000002")
    assert sample(await world.metrics(), "callkpi_missed_waiting", queue="sales") == 2
    await act(world, "b", order(Action.RESOLVE, fate=fate, text="by mobile"))
    assert [item["customer"] for item in await world.reports.missed("acme")] == ["+77010000002"]
    page = await world.metrics()
    assert sample(page, "callkpi_missed_waiting", queue="sales") == 1
    assert sample(page, "callkpi_missed_untried", queue="sales") == 1
    row = (await world.kpi("queue", datetime.now(UTC) - HALF_HOUR, datetime.now(UTC)))["sales"]
    assert (row[kpi], row["still_waiting"], row["missed"]) == (2, 1, 3)
    with pytest.raises(NotWaiting):
        await act(world, "a", order(Action.CLAIM))
    with pytest.raises(NotMissed):
        await act(world, "nowhere", order(Action.CLAIM))


async def test_who_calls_again_after_he_was_closed_waits_again(world: World) -> None:
    await miss(world, "a")
    await act(world, "a", order(Action.RESOLVE, fate=Fate.WRITTEN_OFF, text="wrong number"))
    await miss(world, "b", ago=timedelta(seconds=-1))
    assert [item["last_call"] for item in await world.reports.missed("acme")] == ["native/b"]
    assert await fate_of(world, "a") == "written_off"


async def test_a_hidden_number_is_one_call_and_can_be_closed(world: World) -> None:
    await miss(world, "h1", "anonymous")
    await miss(world, "h2", "anonymous")
    await act(world, "h1", order(Action.RESOLVE, fate=Fate.WRITTEN_OFF, text="can't be called"))
    assert [item["last_call"] for item in await world.reports.missed("acme")] == ["native/h2"]
    await world.send_json(
        "native", {"call_id": "h1", "kind": "rated", "at": datetime.now(UTC).isoformat(), "rating": 1}
    )
    await world.project()
    assert await fate_of(world, "h1") == "written_off"


async def test_a_rebuild_gives_claims_notes_and_settlements_again(world: World) -> None:
    for call_id, customer in (("a", "+77010000001"), ("b", "+77010000002"), ("c", "+77010000003"), ("h", "hidden")):
        await miss(world, call_id, customer)
    await act(world, "a", order(Action.CLAIM))
    await act(world, "a", order(Action.NOTE, BORIS, text="later"), BORIS)
    await act(world, "b", order(Action.RESOLVE, fate=Fate.REACHED, text="met him"))
    await act(world, "h", order(Action.RESOLVE, fate=Fate.WRITTEN_OFF, text="hidden"))
    before = await world.tables()
    await rebuilding.refold(world.pool, world.projector, lambda _done, _total: None)
    assert await world.tables() == before
    assert await world.findings() == []
    assert [item["last_call"] for item in await world.reports.missed("acme")] == ["native/a", "native/c"]


async def test_each_change_is_in_the_audit_with_a_masked_number_and_nothing_takes_it_out(world: World) -> None:
    await miss(world, "a")
    await act(world, "a", order(Action.CLAIM))
    await act(world, "a", order(Action.RESOLVE, fate=Fate.REACHED, text="by mobile"))
    told = await audit.read(world.pool)
    assert [(row["who"], row["role"], row["action"], row["subject"]) for row in told] == [
        ("anna", "supervisor", "resolve", "+770•••0001"), ("anna", "supervisor", "claim", "+770•••0001"),
    ]  # fmt: skip
    assert told[0]["details"] == {"call": "native/a", "fate": "reached"}
    for statement in ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await world.pool.execute(statement)


# -- the one function that decides ------------------------------------------------------------------------

T0 = datetime(2026, 11, 24, 9, tzinfo=UTC)
WEEK = timedelta(days=7)


def contact(minute: int, *, missed: bool = True, answered: int | None = None) -> Contact:
    return Contact(
        key=("native", f"c{minute}"),
        direction=Direction.INBOUND if missed else Direction.OUTBOUND,
        started_at=T0 + minute * MINUTE,
        answered_at=None if answered is None else T0 + answered * MINUTE,
        missed=missed,
    )


@pytest.mark.parametrize(
    ("calls", "settled", "expected"),
    [
        ([contact(0)], [(5, Fate.REACHED)], Fate.REACHED),
        ([contact(0)], [(5, Fate.WRITTEN_OFF)], Fate.WRITTEN_OFF),
        ([contact(0)], [(5, Fate.WRITTEN_OFF), (6, Fate.REACHED)], Fate.WRITTEN_OFF),
        ([contact(0)], [(-5, Fate.WRITTEN_OFF)], Fate.WAITING),
        ([contact(0)], [(8 * 24 * 60, Fate.REACHED)], Fate.WAITING),
        ([contact(0), contact(3, missed=False, answered=4)], [(5, Fate.WRITTEN_OFF)], Fate.REACHED),
        ([contact(0), contact(6, missed=False, answered=7)], [(5, Fate.WRITTEN_OFF)], Fate.WRITTEN_OFF),
        ([contact(0), contact(3, missed=False)], [(5, Fate.WRITTEN_OFF)], Fate.WRITTEN_OFF),
    ],
)
def test_the_first_of_a_conversation_and_a_hand_decides(
    calls: list[Contact], settled: list[tuple[int, Fate]], expected: Fate
) -> None:
    by_hand = [Settlement(at=T0 + minute * MINUTE, fate=fate) for minute, fate in settled]
    assert fates(calls, WEEK, by_hand)[0].fate is expected
    assert fates(calls[::-1], WEEK, by_hand[::-1]) == fates(calls, WEEK, by_hand)


def test_the_fold_of_work_does_not_depend_on_the_order_of_arrival() -> None:
    told, state, now = [], Work(), T0
    for number, wanted in enumerate(
        [order(Action.CLAIM), order(Action.NOTE, text="x"), order(Action.RELEASE), order(Action.CLAIM, BORIS),
         order(Action.RESOLVE, BORIS, fate=Fate.REACHED, text="y"), order(Action.CLAIM)]
    ):  # fmt: skip
        # The clock of another process is behind: the order stays.
        told.append(work.event("acme", "+7701", "+7701", wanted, state, now - number * MINUTE))
        state = work.fold_work(told)
    for seed in range(20):
        mixed = [*told, *told[::2]]
        random.Random(seed).shuffle(mixed)
        assert work.fold_work(mixed) == state
    assert (state.holder(T0), len(state.notes), [each.by for each in state.settlements]) == ("anna", 1, ["boris"])


async def test_an_erased_customer_is_in_no_note_and_stays_closed(world: World) -> None:
    await miss(world, "a")
    await miss(world, "other", "+77010000002")
    await act(world, "a", order(Action.NOTE, text="8 701 000-00-01 is busy"))
    await act(world, "a", order(Action.RESOLVE, fate=Fate.REACHED, text="by mobile"), key="k")
    await act(world, "other", order(Action.NOTE, text="asks for +77010000001"))
    await erasure.erase(world.pool, world.settings, "acme", "+77010000001")
    for table in ("journal", "work_items", "idempotency", "audit"):
        rows = await world.pool.fetch(f"SELECT t::text AS row FROM {table} t")
        told = " ".join(row["row"] for row in rows).replace(" ", "").replace("-", "")
        assert "7010000001" not in told, table
    assert await fate_of(world, "a") == "reached"
    before = await world.tables()
    await rebuilding.refold(world.pool, world.projector, lambda _done, _total: None)
    assert await world.tables() == before
