"""Calls of a FreeSWITCH with the right values."""

from __future__ import annotations

from typing import Any

from tests.stand_ins.freeswitch_model import CUSTOMER, LINE

#: What each call is: how it ended, the customer's wait, and every stay and leg.
EXPECTED: dict[str, dict[str, Any]] = {
    "queue_answered": {
        "outcome": "answered", "hangup_by": "customer", "entries": ["support@default answered wait 14"],
        "legs": ["1000@default no_answer ring 10", "1001@default answered ring 2.75 talk 24 hold 6"], "wait": 14.0,
    },
    "queue_abandoned": {
        "outcome": "abandoned", "hangup_by": "customer", "entries": ["support@default abandoned wait 8"],
        "legs": ["1000@default cancelled ring 7"], "wait": 8.0,
    },
    "nobody_answered": {
        "outcome": "timed_out", "entries": ["support@default timed_out wait 30"],
        "legs": ["1000@default no_answer ring 10", "1000@default no_answer ring 10"], "wait": 30.0,
    },
    "exited": {
        "outcome": "answered", "entries": ["support@default exited wait 20"], "legs": ["1005 answered ring 4 talk 30"],
    },
    "direct": {
        "outcome": "answered", "hangup_by": "agent", "wait": 6.0,
        "legs": ["1000 cancelled ring 5", "1001 answered ring 5 talk 30"],
    },
    "blind_transfer": {
        "outcome": "answered", "transferred": True, "talk": 50.0, "wait": 5.0,
        "legs": ["1000 answered ring 5 talk 20 transferred", "1002 answered ring 4 talk 30"],
    },
    "attended_transfer": {
        "outcome": "answered", "transferred": True, "talk": 55.0, "hold": 14.0,
        "legs": ["1000 answered ring 5 talk 15 hold 14 transferred", "1002 answered ring 3 talk 40"],
    },
    "outbound": {"direction": "outbound", "outcome": "answered", "legs": ["1000 answered ring 13 talk 35 hold 5"]},
    "outbound_busy": {"direction": "outbound", "outcome": "busy", "line": ""},
    "click_to_call": {"direction": "outbound", "outcome": "answered", "line": "",
                      "legs": ["1000 answered ring 10 talk 30"]},
    "internal": {"direction": "internal", "customer": "1000", "line": "1001", "outcome": "answered",
                 "legs": ["1001 answered ring 4 talk 10"]},
}  # fmt: skip

COMMON = {"direction": "inbound", "customer": CUSTOMER, "line": LINE}
