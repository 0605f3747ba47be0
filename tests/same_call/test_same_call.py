"""Which calls of two sources are one: calls in, unions out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callkpi import config
from callkpi.calls.model import Call, Direction, Leg, Outcome
from callkpi.same_call.rules import BUSY_CALLS, Rule, Side, busy_hours, match, unite

AT = datetime(2026, 11, 25, 9, 59, 30, tzinfo=UTC)
ANA, BEK = "+77010000001", "+77010000002"
RULE = Rule(config.Tenant(
    same_call=config.SameCall(sources=("pbx", "portal")),
    agents={name: config.Named(person) for name, person in (("1001", "Dana"), ("58", "Dana"), ("61", "Ivan"))},
    lines={"200": config.Named("Sales"), "reg7": config.Named("Sales"), "reg8": config.Named("Service")},
))  # fmt: skip


def side(
    name: str, begin: float = 0, ring: float = 5, talk: float | None = None, *, customer: str = ANA, agent: str = "",
    direction: Direction = Direction.INBOUND, ended: bool = True, outcome: Outcome | None = None,
    refs: Sequence[str] = (), ids: Sequence[str] = (), **facts: Any,
) -> Side:  # fmt: skip
    """A call that rang and, with *talk*, was talked in. Names in capitals are the PBX's, others the portal's."""
    started = AT + timedelta(seconds=begin)
    answered = None if talk is None else started + timedelta(seconds=ring)
    over = started + timedelta(seconds=ring + (talk or 0))
    told = outcome or (Outcome.OPEN if not ended else Outcome.ANSWERED if answered else Outcome.NO_ANSWER)
    talk_ms = round(1000 * talk) if talk is not None and ended else None
    leg = Leg(agent=agent, rung_at=started, answered_at=answered, ended_at=over if ended else None, talk_ms=talk_ms)
    call = Call(
        tenant="acme", source="pbx" if name.isupper() else "portal", call_id=name, direction=direction,
        customer=customer, line=facts.pop("line", ""), started_at=started, last_event_at=over, answered_at=answered,
        ended_at=over if ended else None, outcome=told, talk_ms=talk_ms, legs=(leg,), **facts,
    )  # fmt: skip
    return Side(call, frozenset({name, *ids}), frozenset(refs))


def pairs(*sides: Side, rule: Rule = RULE) -> list[str]:
    """Unions by the names of their sides, and ``?`` behind the one who could not be told."""
    unions = match(sides, rule, busy_hours(sides))
    names = ("".join(s.call.call_id + "?" * (s.key in union.ambiguous) for s in union.sides) for union in unions)
    return sorted(names)


def without(*by: str, **rule: Any) -> Rule:
    return Rule(config.Tenant(same_call=config.SameCall(sources=("pbx", "portal"), by=by, **rule)))


@pytest.mark.parametrize(
    ("pbx", "portal"),
    [
        (side("A", talk=60), side("a", 1, talk=60)),
        (side("A", talk=60), side("a", 5, ring=0, talk=60)),  # registered when it was answered
        (side("A", ring=300, talk=60), side("a", 300, ring=0, talk=60)),  # … after five minutes in a queue
        (side("A", ring=3), side("a", 2, ring=0)),  # registered late, with no length
        (side("A", talk=60), side("a", 1, ring=0, talk=65)),  # the whole call told as the talk
        (side("A", ring=3), side("a", 40, ring=3)),  # two clocks
        (side("A", ring=3), side("a", -40, ring=3)),
        (side("A", talk=300), side("a", 310, ring=0, talk=301)),  # registered when it was over
        (side("A", talk=60, ended=False), side("a", 1, ended=False)),  # both go on
        (side("A", talk=60), side("a", 1, ended=False)),  # the portal was never told of the end
        (side("A", talk=60), side("a", 1, ring=65)),  # the connector says that nobody answered
        (side("A", talk=60, agent="1001"), side("a", 1, talk=60, agent="61")),  # … or somebody else
        (side("A", direction=Direction.OUTBOUND), side("a", 1, direction=Direction.AUTO)),
    ],
)
def test_one_call_that_both_tell_of(pbx: Side, portal: Side) -> None:
    assert pairs(pbx, portal) == ["Aa"]
    assert pairs(pbx, portal, rule=without("id")) == ["A", "a"]


@pytest.mark.parametrize(
    ("pbx", "portal"),
    [
        (side("A", talk=60), side("a", 1, talk=60, customer=BEK)),
        (side("A", customer=""), side("a", customer="")),
        (side("A", customer="101"), side("a", customer="101")),  # an extension
        (side("A"), side("a", direction=Direction.OUTBOUND)),
        (side("A"), side("a", direction=Direction.REQUEST)),
        (side("A"), side("a", direction=Direction.UNKNOWN)),
        (side("A", ring=3), side("a", 40, talk=20)),  # busy, then answered when he called again
        (side("A", talk=20), side("a", 40, talk=90)),
        (side("A", ring=3), side("a", 40, ended=False)),
        (side("A", ring=3), side("a", 70, ring=3)),
        (side("A", talk=20, line="200"), side("a", 40, talk=20, line="reg8")),
        (side("A", talk=20, agent="1001"), side("a", 40, talk=20, agent="61")),
        (side("A", ring=4000, talk=9), side("a", 3900, ring=0, talk=9)),
    ],
)
def test_two_calls_stay_two(pbx: Side, portal: Side) -> None:
    assert pairs(pbx, portal) == ["A", "a"]


def test_who_calls_again_is_counted_twice_by_both() -> None:
    """Busy, and a second call half a minute later that was answered: each with its own."""
    calls = [side("A", ring=4), side("a", 1, ring=3), side("B", 35, talk=60), side("b", 37, talk=60)]
    assert pairs(*calls) == ["Aa", "Bb"]
    assert pairs(calls[0], *calls[2:]) == ["A", "Bb"]
    assert pairs(*calls[:3]) == ["Aa", "B"]
    assert pairs(calls[0], calls[3]) == ["A", "b"]


def test_the_one_that_agrees_is_taken_before_the_nearer_one() -> None:
    """Two calls under one CALL_ID: the portal gave the second the id of the first, which nobody had finished."""
    missed, answered = side("A", ring=20), side("B", 120, talk=60)
    assert pairs(missed, answered, side("a", 1, ring=179, talk=61)) == ["A", "Ba"]


def test_two_equally_good_partners_are_told_and_none_is_guessed() -> None:
    assert pairs(side("A"), side("B"), side("a", 1)) == ["A?", "B?", "a?"]
    assert pairs(side("A"), side("a", 1), side("b", 1)) == ["A?", "a?", "b?"]
    (a, *_) = match([side("A"), side("B"), side("a", 1)], RULE)
    assert unite(a, RULE).flags == ("ambiguous_same_call",)


def test_line_and_agent_decide_between_two_that_are_as_near() -> None:
    twins = [side("A", talk=9, agent="1001"), side("B", talk=9)]
    assert pairs(*twins, side("a", 1, talk=9, agent="58")) == ["Aa", "B"]


def test_an_id_is_stronger_than_any_number() -> None:
    by_id = side("a", 1, talk=60, refs=["17.2"], customer=BEK)
    near, named = side("A", talk=60), side("B", 500, talk=10, ids=["17.1", "17.2"])
    assert pairs(near, named, by_id) == ["A", "Ba"]
    assert pairs(near, named, by_id, rule=without("number")) == ["A", "B", "a"]
    assert pairs(near, named, side("a", 1, talk=60, refs=["pbx/17.2"])) == ["A", "Ba"]
    assert pairs(near, named, side("a", 1, talk=60, refs=["cloud/17.2"])) == ["Aa", "B"]
    assert pairs(side("A", customer=""), side("a", 9, customer="", refs=["A"])) == ["Aa"]


def test_equal_ids_of_two_systems_are_no_reference() -> None:
    assert pairs(side("A", ids=["1"]), side("a", 1, customer=BEK, ids=["1"])) == ["A", "a"]


def test_an_id_that_is_used_again_another_day_names_the_call_of_its_day() -> None:
    assert pairs(side("A", ids=["1"]), side("a", 90_000, refs=["1"])) == ["A", "a"]


def test_a_number_that_always_calls_is_nobodys() -> None:
    """Somebody's trunk or a monitor: by time alone its calls can't be told apart."""
    often = [side(f"A{n:02}".upper(), -30 * n, ring=3) for n in range(BUSY_CALLS)]
    assert "A00a" in pairs(*often[:-1], side("a", 1, ring=3))
    assert "A00a" not in pairs(*often, side("a", 1, ring=3))
    assert "A00a" in pairs(*often, side("a", 1, ring=3, refs=["A00"]))


def test_three_sources_make_one_call() -> None:
    rule = Rule(config.Tenant(same_call=config.SameCall(sources=("cloud", "pbx", "portal"))))
    cloud = side("C")
    cloud = Side(Call(**{**{name: getattr(cloud.call, name) for name in Call.__slots__}, "source": "cloud"}))
    assert pairs(side("a", 3), side("A", 1), cloud, rule=rule) == ["CAa"]
    assert pairs(side("a", 3), cloud, rule=rule) == ["Ca"]


# -- what they make together ------------------------------------------------------------------------------


def united(*sides: Side) -> Call:
    (union,) = match(sides, RULE)
    return unite(union, RULE)


def test_the_pbx_tells_what_happened_and_the_portal_who_it_was() -> None:
    pbx = side("A", talk=60, agent="1001", line="200", fields={"campaign": "tv"})
    portal = side(
        "a",
        5,
        ring=0,
        talk=62,
        agent="58",
        line="reg7",
        rating=4,
        crm={"lead": "7"},
        fields={"campaign": "x", "n": "1"},
    )
    call = united(pbx, portal)
    assert (call.source, call.call_id, call.started_at, call.line) == ("pbx", "A", AT, "200")
    assert (call.talk_ms, call.legs) == (60_000, pbx.call.legs)
    assert (call.rating, call.crm, call.fields) == (4, {"lead": "7"}, {"campaign": "tv", "n": "1"})
    assert [(t.source, t.call_id, t.rule, t.talk_ms, t.agents) for t in call.twins] == [
        ("portal", "a", "number", 62_000, ("58",))
    ]
    assert call.flags == ()


def test_what_the_pbx_does_not_know_the_portal_fills_in() -> None:
    call = united(
        side("A", talk=60, customer="", direction=Direction.UNKNOWN, ids=["17.2"]),
        side("a", 1, talk=60, agent="58", line="reg7", refs=["17.2"]),
    )
    assert (call.customer, call.direction, call.line, call.legs[0].agent) == (ANA, Direction.INBOUND, "reg7", "58")


def test_an_announcement_is_no_call_of_an_agent() -> None:
    outbound = side("A", talk=60, direction=Direction.OUTBOUND)
    assert united(outbound, side("a", 1, talk=60, direction=Direction.AUTO)).direction is Direction.AUTO


@pytest.mark.parametrize(
    ("portal", "flags"),
    [
        (side("a", 1, ring=65), ("conflicting_outcome",)),
        (side("a", 1, talk=20), ("conflicting_talk",)),
        (side("a", 1, talk=60, agent="61"), ("conflicting_agent",)),
        (side("a", 1, talk=60, customer=BEK, refs=["A"]), ("conflicting_customer",)),
        (side("a", 1, ended=False), ()),
    ],
)
def test_where_they_contradict_each_other_the_pbx_counts_and_the_call_is_flagged(
    portal: Side, flags: Sequence[str]
) -> None:
    call = united(side("A", talk=60, agent="1001"), portal)
    assert (call.outcome, call.talk_ms, call.customer, call.flags) == (Outcome.ANSWERED, 60_000, ANA, tuple(flags))


def test_the_order_of_the_sources_says_whose_facts_count() -> None:
    rule = Rule(config.Tenant(same_call=config.SameCall(sources=("portal", "pbx"))))
    (union,) = match([side("A", talk=60), side("a", 1, ring=65)], rule)
    call = unite(union, rule)
    assert (call.source, call.outcome, call.twins[0].outcome) == ("portal", Outcome.NO_ANSWER, Outcome.ANSWERED)


def test_an_end_that_the_pbx_lost_is_taken_from_the_portal_once_nobody_awaits_it() -> None:
    portal = side("a", 1, talk=60, agent="58")
    assert united(side("A", ended=False), portal).outcome is Outcome.OPEN
    call = united(side("A", ended=False, outcome=Outcome.EXPIRED), portal)
    assert (call.source, call.call_id, call.started_at) == ("pbx", "A", AT)
    assert (call.outcome, call.talk_ms) == (Outcome.ANSWERED, 60_000)
    assert [call.agent_of(leg) for leg in call.legs] == ["portal:58"]


# -- properties -------------------------------------------------------------------------------------------


@st.composite
def some_sides(draw: st.DrawFn) -> list[Side]:
    sides = []
    for number in range(draw(st.integers(0, 9))):
        letter = "abcdefghi"[number]
        name = letter.upper() if draw(st.booleans()) else letter
        sides.append(side(
            name, draw(st.sampled_from([0, 1, 2, 30, 31, 59, 61, 120, 3601])),
            ring=draw(st.sampled_from([0, 3, 40])), talk=draw(st.sampled_from([None, 20, 61])),
            customer=draw(st.sampled_from([ANA, BEK, ""])), ended=draw(st.integers(0, 4)) > 0,
            direction=draw(st.sampled_from([Direction.INBOUND, Direction.INBOUND, Direction.OUTBOUND])),
            refs=draw(st.lists(st.sampled_from("ABCdef"), max_size=1)),
        ))  # fmt: skip
    return sides


@given(some_sides(), st.randoms(use_true_random=False))
def test_every_call_is_in_one_union_whatever_the_order(sides: list[Side], random: Any) -> None:
    expected = pairs(*sides)
    shuffled = list(sides)
    random.shuffle(shuffled)
    assert pairs(*shuffled) == expected
    unions = match(sides, RULE)
    assert sorted(s.key for union in unions for s in union.sides) == sorted(s.key for s in sides)
    for union in unions:
        assert len({s.call.source for s in union.sides}) == len(union.sides)
        assert all(rule == "id" or s.call.customer == union.lead.call.customer != "" for s, rule in union.others)


@given(some_sides(), some_sides())
def test_what_others_do_changes_nothing(sides: list[Side], others: list[Side]) -> None:
    """Decided from the neighbours alone, so the projector need not look at anybody else."""
    far = [
        side(f"{s.call.call_id}9".upper() if s.call.source == "pbx" else f"{s.call.call_id}9", 90_000, customer=BEK)
        for s in others
    ]
    alone = pairs(*sides)
    together = pairs(*sides, *far)
    assert [name for name in together if "9" not in name] == alone
