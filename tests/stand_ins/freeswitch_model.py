"""A FreeSWITCH that says what the real one says, for calls that a test describes.

Made from FreeSWITCH's sources (``switch_channel.c``, ``switch_ivr_bridge.c``, ``mod_callcenter.c``): which event
carries which headers, and which variables the channel has by then. Nothing is shared with the code under test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

START = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
CUSTOMER, LINE, QUEUE = "+77011234567", "77172700100", "support@default"
EXTENDED = {
    "CHANNEL_CREATE", "CHANNEL_PROGRESS", "CHANNEL_ANSWER", "CHANNEL_BRIDGE", "CHANNEL_UNBRIDGE",
    "CHANNEL_HANGUP_COMPLETE", "CUSTOM",
}  # fmt: skip


@dataclass(eq=False)
class Leg:
    """One channel."""

    uuid: str
    direction: str
    caller: str
    called: str
    context: str
    created: datetime
    other: Leg | None = None  #: the channel that it was made for, or that was made for it
    other_type: str = ""
    answered: datetime | None = None
    bridged: datetime | None = None
    ended: datetime | None = None
    held_since: datetime | None = None
    held: timedelta = timedelta()
    cause: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def first_called(self) -> str:
        return self.variables.get("caller_destination", self.called)


def micros(at: datetime | None) -> str:
    return "0" if at is None else str(round(at.timestamp() * 1_000_000))


def epoch(at: datetime) -> str:
    return str(int(at.timestamp()))


class Switch:
    """Collects the events of one life of a FreeSWITCH, and the records that its mod_json_cdr posts."""

    def __init__(self, core: str = "c0e0f1d2-0000-4000-8000-000000000001", start: datetime = START) -> None:
        self.core, self.start, self.now = core, start, start
        self.events: list[dict[str, str]] = []
        self.records: list[dict[str, Any]] = []
        self.legs: dict[str, Leg] = {}
        self.members: dict[str, dict[str, str]] = {}
        self.agents: dict[str, dict[str, str]] = {}

    def at(self, seconds: float) -> None:
        self.now = self.start + timedelta(seconds=seconds)

    def fire(self, name: str, leg: Leg | None = None, **headers: str) -> dict[str, str]:
        event = {
            "Event-Name": name, "Core-UUID": self.core, "FreeSWITCH-Hostname": "fs1", "FreeSWITCH-Switchname": "fs1",
            "Event-Date-Timestamp": micros(self.now), "Event-Sequence": str(1000 + len(self.events)),
        }  # fmt: skip
        if leg is not None:
            event |= self._channel(leg)
        if leg is not None and name in EXTENDED:
            event |= {f"variable_{key}": value for key, value in leg.variables.items()}
        event |= {key.replace("_", "-"): value for key, value in headers.items()}
        self.events.append(event)
        return event

    def _channel(self, leg: Leg) -> dict[str, str]:
        state = "hangup" if leg.ended else "answered" if leg.answered else "ringing"
        result = {
            "Unique-ID": leg.uuid, "Call-Direction": leg.direction, "Answer-State": state,
            "Channel-Call-UUID": leg.uuid, "Channel-Name": f"sofia/internal/{leg.called}",
            "Caller-Caller-ID-Number": leg.caller, "Caller-Destination-Number": leg.called,
            "Caller-Context": leg.context, "Caller-Channel-Created-Time": micros(leg.created),
            "Caller-Channel-Answered-Time": micros(leg.answered), "Caller-Channel-Hangup-Time": micros(leg.ended),
        }  # fmt: skip
        if leg.other is not None:
            result |= {
                "Other-Type": leg.other_type, "Other-Leg-Unique-ID": leg.other.uuid,
                "Other-Leg-Destination-Number": leg.other.called,
            }  # fmt: skip
        if leg.cause:
            result["Hangup-Cause"] = leg.cause
        return result

    # -- channels ------------------------------------------------------------------------------------
    def arrives(self, uuid: str, caller: str, called: str, context: str = "public", **variables: str) -> Leg:
        """A phone or a trunk calls."""
        leg = Leg(uuid, "inbound", caller, called, context, self.now, variables={"uuid": uuid, **variables})
        self.legs[uuid] = leg
        self.fire("CHANNEL_CREATE", leg)
        return leg

    def makes(self, uuid: str, called: str, by: Leg | None = None, caller: str = "", **variables: str) -> Leg:
        """FreeSWITCH calls somebody, for a channel of its dialplan or for nobody."""
        own = {"uuid": uuid, **variables}
        if by is not None:
            own |= {"originating_leg_uuid": by.uuid, "originator": by.uuid}
            by.other = by.other or None
        leg = Leg(uuid, "outbound", caller or (by.caller if by else ""), called, "default", self.now, by,
                  "originator" if by else "", variables=own)  # fmt: skip
        if by is not None:
            by.other, by.other_type = leg, "originatee"
        self.legs[uuid] = leg
        self.fire("CHANNEL_CREATE", leg)
        self.fire("CHANNEL_PROGRESS", leg)
        return leg

    def answer(self, leg: Leg) -> None:
        leg.answered = self.now
        self.fire("CHANNEL_ANSWER", leg)

    def bridge(self, one: Leg, two: Leg) -> None:
        for leg, other in ((one, two), (two, one)):
            leg.bridged = self.now
            leg.variables |= {"last_bridge_to": other.uuid, "bridge_uuid": other.uuid}
        self.fire("CHANNEL_BRIDGE", one, Bridge_A_Unique_ID=one.uuid, Bridge_B_Unique_ID=two.uuid)

    def unbridge(self, one: Leg, two: Leg) -> None:
        self.fire("CHANNEL_UNBRIDGE", one, Bridge_A_Unique_ID=one.uuid, Bridge_B_Unique_ID=two.uuid)

    def hold(self, leg: Leg) -> None:
        leg.held_since = self.now
        self.fire("CHANNEL_HOLD", leg)

    def unhold(self, leg: Leg) -> None:
        assert leg.held_since is not None
        leg.held, leg.held_since = leg.held + (self.now - leg.held_since), None
        self.fire("CHANNEL_UNHOLD", leg)

    def hangs_up(self, leg: Leg, cause: str = "NORMAL_CLEARING", disposition: str = "") -> None:
        leg.ended, leg.cause = self.now, cause
        if leg.held_since is not None:
            leg.held += self.now - leg.held_since
        times = {"start": leg.created, "answer": leg.answered, "bridge": leg.bridged, "end": leg.ended}
        for name, at in times.items():
            leg.variables |= {f"{name}_epoch": epoch(at) if at else "0", f"{name}_uepoch": micros(at)}
        leg.variables |= {
            "hangup_cause": cause, "hold_accum_seconds": str(int(leg.held.total_seconds())),
            "hold_accum_usec": str(round(leg.held.total_seconds() * 1_000_000)),
        }  # fmt: skip
        if disposition:
            leg.variables["sip_hangup_disposition"] = disposition
        self.fire("CHANNEL_HANGUP_COMPLETE", leg)
        self.records.append(self._record(leg))

    def _record(self, leg: Leg) -> dict[str, Any]:
        profile: dict[str, Any] = {
            "caller_id_number": leg.caller, "destination_number": leg.first_called, "uuid": leg.uuid,
            "context": leg.context,
        }  # fmt: skip
        if leg.other_type == "originator" and leg.other is not None:
            profile["originator"] = {"originator_caller_profiles": [{"uuid": leg.other.uuid}]}
        encoded = {name: quote(value, safe="") for name, value in leg.variables.items()}
        return {"core-uuid": self.core, "variables": encoded, "callflow": [{"caller_profile": profile}]}

    # -- mod_callcenter ------------------------------------------------------------------------------
    def _info(self, action: str, leg: Leg | None, **headers: str) -> None:
        told = {f"CC-{key.replace('_', '-')}": value for key, value in headers.items()}
        event = self.fire("CUSTOM", leg)
        event |= {"Event-Subclass": "callcenter::info", "CC-Action": action, **told}

    def _member(self, leg: Leg) -> dict[str, str]:
        return {
            "Member_UUID": leg.variables["cc_member_uuid"], "Member_Session_UUID": leg.uuid,
            "Member_CID_Name": "", "Member_CID_Number": leg.caller,
        }  # fmt: skip

    def joins(self, leg: Leg, queue: str = QUEUE, member: str = "") -> None:
        leg.variables |= {"cc_side": "member", "cc_member_uuid": member or f"m-{leg.uuid}", "cc_queue": queue}
        self._info("member-queue-start", leg, Queue=queue, **self._member(leg))
        leg.variables["cc_queue_joined_epoch"] = epoch(self.now)
        for old in ("cc_queue_answered_epoch", "cc_queue_canceled_epoch", "cc_cause", "cc_cancel_reason"):
            leg.variables.pop(old, None)
        self.members[leg.uuid] = {"queue": queue, "session_uuid": leg.uuid, "uuid": leg.variables["cc_member_uuid"],
                                  "cid_number": leg.caller, "joined_epoch": epoch(self.now),
                                  "state": "Waiting"}  # fmt: skip
        self.counts(queue)

    def counts(self, queue: str) -> None:
        self._info("members-count", None, Queue=queue, Count=str(len(self.members)), Selection="Single-Queue")

    def offers(self, leg: Leg, agent: str, uuid: str) -> Leg:
        queue = leg.variables["cc_queue"]
        self.state(agent, "Receiving")
        self._info("agent-offering", None, Queue=queue, Agent=agent, Agent_Type="callback",
                   Agent_System="single_box", **self._member(leg))  # fmt: skip
        return self.makes(
            uuid, agent.partition("@")[0], None, leg.caller, cc_side="agent", cc_agent=agent, cc_queue=queue,
            cc_agent_type="callback", cc_member_uuid=leg.variables["cc_member_uuid"],
            cc_member_session_uuid=leg.uuid, dialed_user=agent.partition("@")[0],
        )  # fmt: skip

    def takes(self, leg: Leg, made: Leg) -> None:
        """An agent's channel that has answered gets the caller."""
        agent, queue = made.variables["cc_agent"], made.variables["cc_queue"]
        self._info("bridge-agent-start", made, Queue=queue, Agent=agent, Agent_UUID=made.uuid,
                   Agent_Called_Time=epoch(made.created), Agent_Answered_Time=epoch(self.now),
                   Member_Joined_Time=leg.variables["cc_queue_joined_epoch"], **self._member(leg))  # fmt: skip
        leg.variables |= {"cc_agent": agent, "cc_queue_answered_epoch": epoch(self.now), "cc_agent_uuid": made.uuid}
        self.state(agent, "In a queue call")
        self.bridge(leg, made)
        leg.variables["cc_cause"] = "answered"
        self.members.pop(leg.uuid, None)
        self.counts(queue)

    def parts(self, leg: Leg, made: Leg) -> None:
        """mod_callcenter has seen that one of the two is gone."""
        agent, queue = made.variables["cc_agent"], made.variables["cc_queue"]
        about = {"Queue": queue, "Agent": agent, "Agent_UUID": made.uuid, **self._member(leg)}
        joined = leg.variables["cc_queue_joined_epoch"]
        self._info("bridge-agent-end", made, Bridge_Terminated_Time=epoch(self.now), Hangup_Cause="SUCCESS",
                   Agent_Answered_Time=leg.variables["cc_queue_answered_epoch"],
                   Member_Joined_Time=joined, **about)  # fmt: skip
        self._info("member-queue-end", leg, Cause="Terminated", Hangup_Cause="SUCCESS", Member_Joined_Time=joined,
                   Member_Leaving_Time=epoch(self.now), **about)  # fmt: skip
        leg.variables["cc_queue_terminated_epoch"] = epoch(self.now)
        self.state(agent, "Waiting")

    def fails(self, leg: Leg, made: Leg, cause: str) -> None:
        agent, queue = made.variables["cc_agent"], made.variables["cc_queue"]
        self._info("bridge-agent-fail", None, Queue=queue, Agent=agent, Hangup_Cause=cause,
                   Agent_Aborted_Time=epoch(self.now), **self._member(leg))  # fmt: skip
        self.state(agent, "Waiting")

    def leaves(self, leg: Leg, reason: str) -> None:
        queue = leg.variables["cc_queue"]
        self._info("member-queue-end", leg, Queue=queue, Cause="Cancel", Cancel_Reason=reason,
                   Member_Leaving_Time=epoch(self.now), Member_Joined_Time=leg.variables["cc_queue_joined_epoch"],
                   **self._member(leg))  # fmt: skip
        leg.variables |= {"cc_queue_canceled_epoch": epoch(self.now), "cc_cause": "cancel", "cc_cancel_reason": reason}
        self.members.pop(leg.uuid, None)
        self.counts(queue)

    def status(self, agent: str, status: str) -> None:
        self.agents.setdefault(agent, {"name": agent, "state": "Waiting"})["status"] = status
        self._info("agent-status-change", None, Agent=agent, Agent_Status=status)

    def state(self, agent: str, state: str) -> None:
        self.agents.setdefault(agent, {"name": agent, "status": "Available"})["state"] = state
        self._info("agent-state-change", None, Agent=agent, Agent_State=state)


def plain(event: Mapping[str, str]) -> bytes:
    """An event as ``event plain`` sends it, with its frame."""
    body = "".join(f"{name}: {quote(value, safe=' /@.:-_()')}\n" for name, value in event.items()) + "\n"
    return f"Content-Length: {len(body)}\nContent-Type: text/event-plain\n\n{body}".encode()


def as_json(event: Mapping[str, str]) -> bytes:
    body = json.dumps(dict(event)).encode()
    return f"Content-Length: {len(body)}\nContent-Type: text/event-json\n\n".encode() + body


# -- calls -----------------------------------------------------------------------------------------------


def queue_answered(fs: Switch) -> None:
    """One agent lets it ring, the second takes it, and holds the caller for a while."""
    a = fs.arrives("a-100", CUSTOMER, LINE)
    fs.at(1)
    fs.answer(a)
    fs.at(1.5)
    fs.joins(a)
    fs.at(2)
    b1 = fs.offers(a, "1000@default", "b-101")
    fs.at(12)
    fs.hangs_up(b1, "NO_ANSWER")
    fs.fails(a, b1, "NO_ANSWER")
    fs.at(12.5)
    b2 = fs.offers(a, "1001@default", "b-102")
    fs.at(15.25)
    fs.answer(b2)
    fs.at(15.5)
    fs.takes(a, b2)
    fs.at(20)
    fs.hold(b2)
    fs.at(26)
    fs.unhold(b2)
    fs.at(45.5)
    fs.unbridge(a, b2)
    fs.hangs_up(a, disposition="recv_bye")
    fs.hangs_up(b2, disposition="send_bye")
    fs.at(45.6)
    fs.parts(a, b2)


def queue_abandoned(fs: Switch) -> None:
    a = fs.arrives("a-200", CUSTOMER, LINE)
    fs.at(1)
    fs.answer(a)
    fs.joins(a)
    fs.at(2)
    b = fs.offers(a, "1000@default", "b-201")
    fs.at(9)
    a.ended = fs.now
    fs.hangs_up(b, "ORIGINATOR_CANCEL")
    fs.leaves(a, "BREAK_OUT")
    fs.fails(a, b, "ORIGINATOR_CANCEL")
    fs.hangs_up(a, disposition="recv_bye")


def nobody_answered(fs: Switch) -> None:
    """The queue gives up; the dialplan says good-bye and hangs up."""
    a = fs.arrives("a-300", CUSTOMER, LINE)
    fs.answer(a)
    fs.joins(a)
    for number, second in enumerate((1.0, 12.0)):
        fs.at(second)
        b = fs.offers(a, "1000@default", f"b-30{number}")
        fs.at(second + 10)
        fs.hangs_up(b, "NO_ANSWER")
        fs.fails(a, b, "NO_ANSWER")
    fs.at(30)
    fs.leaves(a, "TIMEOUT")
    fs.at(33)
    fs.hangs_up(a, disposition="send_bye")


def exited(fs: Switch) -> None:
    """A supervisor takes the caller out of the queue, to a colleague who answers."""
    a = fs.arrives("a-350", CUSTOMER, LINE)
    fs.answer(a)
    fs.joins(a)
    fs.at(20)
    fs.leaves(a, "BREAK_OUT")
    b = fs.makes("b-351", "1005", a, dialed_user="1005")
    fs.at(24)
    fs.answer(b)
    fs.bridge(a, b)
    fs.at(54)
    fs.unbridge(a, b)
    fs.hangs_up(b, disposition="recv_bye")
    fs.hangs_up(a, disposition="send_bye")


def direct(fs: Switch) -> None:
    """Two phones ring at once; the second takes it."""
    a = fs.arrives("a-400", CUSTOMER, LINE)
    fs.at(1)
    b1 = fs.makes("b-401", "1000", a, dialed_user="1000")
    b2 = fs.makes("b-402", "1001", a, dialed_user="1001")
    fs.at(6)
    fs.answer(b2)
    fs.hangs_up(b1, "LOSE_RACE")
    fs.answer(a)
    fs.bridge(a, b2)
    fs.at(36)
    fs.unbridge(a, b2)
    fs.hangs_up(b2, disposition="recv_bye")
    fs.hangs_up(a, disposition="send_bye")


def blind_transfer(fs: Switch) -> None:
    a = fs.arrives("a-500", CUSTOMER, LINE)
    b = fs.makes("b-501", "1000", a, dialed_user="1000")
    fs.at(5)
    fs.answer(b)
    fs.answer(a)
    fs.bridge(a, b)
    fs.at(25)
    fs.unbridge(a, b)
    b.variables["endpoint_disposition"] = "BLIND_TRANSFER"
    fs.hangs_up(b, "BLIND_TRANSFER")
    a.variables |= {"caller_destination": LINE, "transfer_history": "1:b-501:bl_xfer:1002/default/XML"}
    a.called, a.context, a.other, a.other_type = "1002", "default", None, ""
    fs.at(26)
    c = fs.makes("b-502", "1002", a, dialed_user="1002")
    fs.at(30)
    fs.answer(c)
    fs.bridge(a, c)
    fs.at(60)
    fs.unbridge(a, c)
    fs.hangs_up(a, disposition="recv_bye")
    fs.hangs_up(c, disposition="send_bye")


def attended_transfer(fs: Switch) -> None:
    """1000 holds the customer, asks 1002 on a second line, and connects the two."""
    a = fs.arrives("a-600", CUSTOMER, LINE)
    b = fs.makes("b-601", "1000", a, dialed_user="1000")
    fs.at(5)
    fs.answer(b)
    fs.answer(a)
    fs.bridge(a, b)
    fs.at(20)
    fs.hold(b)
    fs.at(21)
    c = fs.arrives("c-602", "1000", "1002", "default", user_name="1000", sip_auth_username="1000")
    d = fs.makes("d-603", "1002", c, dialed_user="1002")
    fs.at(24)
    fs.answer(d)
    fs.answer(c)
    fs.bridge(c, d)
    fs.at(34)
    fs.unbridge(a, b)
    fs.unbridge(c, d)
    for leg in (b, c):
        leg.variables["endpoint_disposition"] = "ATTENDED_TRANSFER"
    fs.bridge(a, d)
    fs.hangs_up(b, "ATTENDED_TRANSFER")
    fs.hangs_up(c, "ATTENDED_TRANSFER")
    fs.at(74)
    fs.unbridge(a, d)
    fs.hangs_up(a, disposition="recv_bye")
    fs.hangs_up(d, disposition="send_bye")


def outbound(fs: Switch) -> None:
    a = fs.arrives("a-700", "1000", "77011234567", "default", user_name="1000", sip_auth_username="1000",
                   effective_caller_id_number=LINE)  # fmt: skip
    fs.at(1)
    b = fs.makes("b-701", "77011234567", a)
    fs.at(13)
    fs.answer(b)
    fs.answer(a)
    fs.bridge(a, b)
    fs.at(20)
    fs.hold(a)
    fs.at(25)
    fs.unhold(a)
    fs.at(53)
    fs.unbridge(a, b)
    fs.hangs_up(a, disposition="recv_bye")
    fs.hangs_up(b, disposition="send_bye")


def outbound_busy(fs: Switch) -> None:
    a = fs.arrives("a-750", "1000", "77011234567", "default", user_name="1000", sip_auth_username="1000")
    b = fs.makes("b-751", "77011234567", a)
    fs.at(3)
    fs.hangs_up(b, "USER_BUSY")
    a.variables["originate_disposition"] = "USER_BUSY"
    fs.hangs_up(a, "USER_BUSY")


def click_to_call(fs: Switch) -> None:
    """FreeSWITCH is asked to ring 1000 first and then the customer."""
    a = fs.makes("a-760", "1000", None, CUSTOMER, dialed_user="1000")
    fs.at(4)
    fs.answer(a)
    b = fs.makes("b-761", "77011234567", a)
    fs.at(10)
    fs.answer(b)
    fs.bridge(a, b)
    fs.at(40)
    fs.unbridge(a, b)
    fs.hangs_up(b, disposition="recv_bye")
    fs.hangs_up(a, disposition="send_bye")


def internal(fs: Switch) -> None:
    a = fs.arrives("a-800", "1000", "1001", "default", user_name="1000", sip_auth_username="1000")
    b = fs.makes("b-801", "1001", a, dialed_user="1001")
    fs.at(4)
    fs.answer(b)
    fs.answer(a)
    fs.bridge(a, b)
    fs.at(14)
    fs.unbridge(a, b)
    fs.hangs_up(a, disposition="recv_bye")
    fs.hangs_up(b, disposition="send_bye")


CALLS = {
    call.__name__: call
    for call in (
        queue_answered, queue_abandoned, nobody_answered, exited, direct, blind_transfer, attended_transfer, outbound,
        outbound_busy, click_to_call, internal,
    )
}  # fmt: skip


def played(name: str) -> Switch:
    fs = Switch()
    CALLS[name](fs)
    return fs
