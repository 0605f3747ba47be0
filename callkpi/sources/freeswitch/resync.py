"""What a FreeSWITCH is asked for after a connection, as payloads of its source.

They go the way of its events and are journalled like them, so a rebuild reads the same. Each is a fact of one moment:
which channels there are and whom each hears (``uuid_dump`` has the headers of an event), who waits in which queue, how
each agent is; and of every call that was or is there, that FreeSWITCH was asked about it. What a call was before and is
not there any more has ended unheard. The same answers give the same payloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from callkpi.calls.model import AgentState
from callkpi.sources.freeswitch.esl import ASKED, CALLCENTER, MEMBER_SEEN, SEEN, agent_state, stream_of

Row = Mapping[str, str]
_TALKS = ("ACTIVE", "HELD", "UNHELD")
_WAITS = ("Waiting", "Trying")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a FreeSWITCH answered."""

    at: float  #: Unix seconds by the clock of its events
    heard: float | None  #: until when we had heard everything; None: never before
    channels: Sequence[Row]  #: of ``show channels``
    dumps: Mapping[str, Row]  #: of ``uuid_dump``, by channel
    bridges: Mapping[str, str]  #: of ``show calls``: who hears whom, both ways
    members: Sequence[Row]  #: of ``callcenter_config queue list members``
    agents: Sequence[Row]  #: of ``callcenter_config agent list``
    tiers: Sequence[Row]  #: of ``callcenter_config tier list``
    has_queues: bool  #: mod_callcenter has answered

    @property
    def queues_of(self) -> dict[str, list[str]]:
        """The queues of each agent."""
        result: dict[str, list[str]] = {}
        for tier in self.tiers:
            result.setdefault(tier.get("agent", ""), []).append(tier.get("queue", ""))
        return {agent: sorted(queues) for agent, queues in result.items()}


@dataclass(frozen=True, slots=True)
class Known:
    """What we have of the same FreeSWITCH."""

    calls: Sequence[str]  #: open calls that began before
    agents: Mapping[tuple[str, str], AgentState]  #: by agent and queue


# -- answers ---------------------------------------------------------------------------------------------


def rows_of_json(text: str) -> list[dict[str, str]]:
    """The rows of ``show … as json``; none where it is no such thing."""
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    rows = told.get("rows", []) if isinstance(told, dict) else []
    listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [{k: str(v) for k, v in row.items() if v is not None} for row in listed]


def rows_of_table(text: str) -> list[dict[str, str]] | None:
    """The rows of one of mod_callcenter's lists: titles and values between ``|``; None: it has no such list."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or lines[-1].strip() != "+OK":
        return None
    if len(lines) == 1:
        return []
    titles = lines[0].split("|")
    rows = (_row(titles, line.split("|")) for line in lines[1:-1])
    return [row for row in rows if row]


def _row(titles: list[str], values: list[str]) -> dict[str, str]:
    """One line of a table; an agent's contact is a dial string, which may hold the ``|`` itself."""
    extra = len(values) - len(titles)
    if extra > 0 and "contact" in titles:
        at = titles.index("contact")
        values = [*values[:at], "|".join(values[at : at + extra + 1]), *values[at + extra + 1 :]]
    return dict(zip(titles, values, strict=True)) if len(values) == len(titles) else {}


# -- payloads --------------------------------------------------------------------------------------------


def of_live(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    """What is there: each channel, who waits, and that all calls of these were asked about."""
    streams = set()
    for channel in sorted(snapshot.channels, key=lambda c: c.get("uuid", "")):
        if item := _seen(snapshot, channel):
            streams.add(item["Stream"])
            yield item
    for member in snapshot.members:
        if member.get("state") in _WAITS and member.get("session_uuid") and member.get("queue"):
            yield _payload(
                snapshot, "CUSTOM", f"{member.get('uuid')}/{member['session_uuid']}",
                **{
                    "Event-Subclass": CALLCENTER, "CC-Action": MEMBER_SEEN, "CC-Queue": member["queue"],
                    "CC-Member-UUID": member.get("uuid", ""), "CC-Member-Session-UUID": member["session_uuid"],
                    "CC-Member-CID-Number": member.get("cid_number", ""),
                    "CC-Member-Joined-Time": member.get("joined_epoch", ""),
                },
            )  # fmt: skip
    for stream in sorted(streams):
        yield _asked(snapshot, stream)


def of_known(snapshot: Snapshot, known: Known) -> Iterator[dict[str, Any]]:
    """That every open call of ours was asked about, and how the agents are whose state is another."""
    for call_id in sorted(set(known.calls)):
        yield _asked(snapshot, call_id)
    if snapshot.has_queues:
        yield from _agents(snapshot, known)


def _seen(snapshot: Snapshot, channel: Row) -> dict[str, Any] | None:
    uuid = channel.get("uuid", "")
    dump = snapshot.dumps.get(uuid)
    if not uuid:
        return None
    told = dict(dump) if dump else _headers_of_row(channel)
    for header in ("Bridge-A-Unique-ID", "Bridge-B-Unique-ID"):
        told.pop(header, None)  # of an earlier event; who hears whom now is asked apart
    if partner := snapshot.bridges.get(uuid):
        told["Bridge-B-Unique-ID"] = partner
    if channel.get("callstate") in _TALKS:
        told["Answer-State"] = "answered"
    item = _payload(snapshot, SEEN, uuid, **{**told, "Unique-ID": uuid})
    return {**item, "Stream": stream_of(item, uuid, SEEN)}


def _headers_of_row(channel: Row) -> dict[str, str]:
    """What ``show channels`` says, for a channel that can't be dumped; whose it is, by ``call_uuid``."""
    created = channel.get("created_epoch", "")
    call = channel.get("call_uuid", "")
    told = {
        "Call-Direction": channel.get("direction", ""), "Caller-Context": channel.get("context", ""),
        "Caller-Caller-ID-Number": channel.get("initial_cid_num") or channel.get("cid_num", ""),
        "Caller-Destination-Number": channel.get("initial_dest") or channel.get("dest", ""),
        "Caller-Channel-Created-Time": f"{created}000000" if created.isdecimal() else "",
        "variable_originating_leg_uuid": call if call != channel.get("uuid") else "",
    }  # fmt: skip
    return {name: value for name, value in told.items() if value}


def _asked(snapshot: Snapshot, call_id: str) -> dict[str, Any]:
    heard = {} if snapshot.heard is None else {"Heard": _micros(snapshot.heard)}
    queues = {"Queues": "1"} if snapshot.has_queues else {}
    return _payload(snapshot, ASKED, call_id, Stream=call_id, **heard, **queues)


def _agents(snapshot: Snapshot, known: Known) -> Iterator[dict[str, Any]]:
    queues_of = snapshot.queues_of
    listed = set()
    for agent in snapshot.agents:
        name = agent.get("name", "")
        state, _ = agent_state(agent.get("status", "").lower(), agent.get("state", "").lower())
        if not name or state is None:
            continue
        for queue in queues_of.get(name) or [""]:
            listed.add((name, queue))
            if known.agents.get((name, queue)) is not state:
                yield _agent(snapshot, name, queue, agent["status"], agent.get("state", ""))
    for (name, queue), state in sorted(known.agents.items()):
        if (name, queue) not in listed and state is not AgentState.OFFLINE:
            yield _agent(snapshot, name, queue, "Logged Out", "")


def _agent(snapshot: Snapshot, name: str, queue: str, status: str, state: str) -> dict[str, Any]:
    return _payload(
        snapshot, "CUSTOM", f"{name}/{queue}",
        **{
            "Event-Subclass": CALLCENTER, "CC-Action": "agent-status-change", "CC-Agent": name, "CC-Queues": queue,
            "CC-Agent-Status": status, "CC-Agent-State": state, "Resync": "1",
        },
    )  # fmt: skip


def _payload(snapshot: Snapshot, event_name: str, number: str, **told: str) -> dict[str, Any]:
    at = _micros(snapshot.at)
    own = {"Event-Name": event_name, "Event-Date-Timestamp": at, "Core-UUID": "callkpi",
           "Event-Sequence": f"{at}/{event_name}/{number}"}  # fmt: skip
    return {**told, **own}


def _micros(seconds: float) -> str:
    return str(round(seconds * 1_000_000))
