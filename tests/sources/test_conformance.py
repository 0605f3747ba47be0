"""What every kind of source must do, whichever vendor it is."""

from __future__ import annotations

import pytest

from tests.sources.cases import CASES, Case, describe, folded, parse

BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.name}")
#: Facts of a call that a case file may leave out only where they are unknown or empty.
EMPTY = {"hangup_by": "", "code": "", "transferred": False, "rating": None, "entries": [], "line": "", "customer": ""}


@BY_NAME
def test_recorded_deliveries_make_the_call(case: Case) -> None:
    events = [event for delivery in case.deliveries for event in parse(case, delivery)[0]]
    assert [reason for delivery in case.deliveries for reason in parse(case, delivery)[1]] == []
    told = describe(folded(case, events, case.deliveries[-1].received_at))
    optional = {**EMPTY, "wait": None, "talk": None, "hold": None, "wrap": None}
    expected = {**{k: optional[k] for k in told if k in optional}, **case.call}
    assert {name: told[name] for name in expected} == expected
