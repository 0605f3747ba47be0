"""FreeSWITCH over its event socket: what it says is read live, and what was missed is asked for.

After each login callkpi asks which channels there are, who hears whom, who waits in which queue and how the agents are.
Of what is there it tells at once. Open calls of ours, and agents' states, are compared with the store when everything
heard before is in it, for the moment at which was asked, also if the connection is cut again.

mod_callcenter tells a change of an agent's status or of his state, not both; which queues he is in it tells not at all.
So both are remembered here, from its lists and its events, and added to each event.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from datetime import datetime

import structlog

from callkpi.calls.model import AgentState, from_unix
from callkpi.connections.esl_protocol import Session, Wire, headers_of
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Status, Trouble
from callkpi.connections.office import Office
from callkpi.database import store
from callkpi.health import Reason
from callkpi.sources.base import whole
from callkpi.sources.freeswitch import resync
from callkpi.sources.freeswitch.esl import CALLCENTER, CHANNEL_EVENTS, matters, trimmed
from callkpi.sources.freeswitch.settings import FreeSwitchSource

log = structlog.get_logger()

SUBSCRIPTION = f"event plain {' '.join(CHANNEL_EVENTS)} HEARTBEAT CUSTOM {CALLCENTER}"
RETRY_SECONDS = 0.5
#: FreeSWITCH tells its time in whole seconds: a channel so young is not judged, a skew so small is none.
YOUNG_SECONDS = 1.5
#: Where an agent's queues may have changed they are asked for again.
TIERS_SECONDS = 300.0
_DATABASE = store.FAILURES


async def try_out(source: FreeSwitchSource) -> None:
    """Log in and part again, without hearing anything. Raises Trouble."""
    host, _, port = source.esl_address.rpartition(":")
    wire = await Wire.open(host.strip("[]"), int(port), lambda: None)
    async with Session(wire, lambda _event: None) as session:
        await session.login(source.esl_password)


class EslLink:
    """Keeps a source's event socket; see :class:`callkpi.connections.keeping.Link`."""

    def __init__(self, office: Office, name: str, source: FreeSwitchSource) -> None:
        self._office, self._name, self._source = office, name, source
        self._agents: dict[str, tuple[str, str]] = {}  #: status and state, as last told
        self._queues: dict[str, list[str]] = {}
        #: Moments at which was asked and whose missing calls are not settled yet.
        self._owed: deque[resync.Snapshot] = deque()

    async def hold(self, intake: Intake, status: Status) -> None:
        host, _, port = self._source.esl_address.rpartition(":")
        wire = await Wire.open(host.strip("[]"), int(port), status.heard)
        waiting: list[dict[str, str]] | None = []

        async def take(event: dict[str, str]) -> None:
            if not matters(event):
                return
            if waiting is not None:
                waiting.append(event)  # what its agent's state means is known when the lists are read
            else:
                await self._put(intake, event)

        async with Session(wire, take) as session:
            await session.login(self._source.esl_password)
            answer = await session.ask(SUBSCRIPTION)
            if not answer.headers.get("Reply-Text", "").startswith("+OK"):
                raise Trouble(Reason.FORBIDDEN, "it lets nobody subscribe to its events")
            snapshot = await self._look(session, status)
            self._tell_clock(snapshot.at + YOUNG_SECONDS - time.time())
            for item in resync.of_live(snapshot):
                await intake.put(item)
            while waiting:
                await self._put(intake, waiting.pop(0))
            waiting = None
            self._owed.append(snapshot)
            status.up()
            helpers = [asyncio.create_task(self._settle(intake)), asyncio.create_task(self._watch_tiers(session))]
            try:
                await session.lasts()
            finally:
                for helper in helpers:
                    helper.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Trouble):
                        await helper

    async def _put(self, intake: Intake, event: dict[str, str]) -> None:
        item = trimmed(event)
        if agent := item.get("CC-Agent") if item.get("CC-Action", "").startswith("agent-st") else None:
            status, state = self._agents.get(agent, ("", ""))
            status, state = item.get("CC-Agent-Status", status), item.get("CC-Agent-State", state)
            self._agents[agent] = status, state
            item |= {"CC-Agent-Status": status, "CC-Agent-State": state}
            item["CC-Queues"] = ",".join(self._queues.get(agent, ()))
        await intake.put({name: value for name, value in item.items() if value})

    # -- what there is -------------------------------------------------------------------------------
    async def _look(self, session: Session, status: Status) -> resync.Snapshot:
        """What there is now. Raises Trouble."""
        skew = await self._skew(session)
        at = time.time() + skew - YOUNG_SECONDS
        channels = resync.rows_of_json(await self._shown(session, "show channels as json"))
        calls = resync.rows_of_json(await session.api("show calls as json"))
        bridges = {row["uuid"]: row["b_uuid"] for row in calls if row.get("uuid") and row.get("b_uuid")}
        dumps = {}
        for uuid in [row["uuid"] for row in channels if row.get("uuid")]:
            told = headers_of(await session.api(f"uuid_dump {uuid}"), decode=True)
            if told.get("Unique-ID") == uuid:
                dumps[uuid] = told
        queues = resync.rows_of_table(await session.api("callcenter_config queue list"))
        agents = resync.rows_of_table(await session.api("callcenter_config agent list")) or []
        tiers = resync.rows_of_table(await session.api("callcenter_config tier list")) or []
        members = []
        for queue in sorted(row["name"] for row in queues or () if row.get("name")):
            members += resync.rows_of_table(await session.api(f"callcenter_config queue list members {queue}")) or []
        self._agents = {row["name"]: (row.get("status", ""), row.get("state", "")) for row in agents if "name" in row}
        heard = None if status.heard_at is None else min(status.heard_at.timestamp() + skew, at)
        snapshot = resync.Snapshot(
            at, heard, channels, dumps, {**bridges, **{b: a for a, b in bridges.items()}}, members, agents, tiers,
            queues is not None,
        )  # fmt: skip
        self._queues = snapshot.queues_of
        return snapshot

    async def _shown(self, session: Session, command: str) -> str:
        text = await session.api(command)
        if not text.lstrip().startswith("{"):
            raise Trouble(Reason.FORBIDDEN, f"{command!r}: {text[:80].strip()!r}; callkpi must be allowed to ask")
        return text

    async def _skew(self, session: Session) -> float:
        """Seconds by which FreeSWITCH's clock is before ours."""
        text = (await session.api("strepoch")).strip()
        told = whole(text)
        skew = told + 0.5 - time.time() if told is not None else 0.0
        return skew if abs(skew) > YOUNG_SECONDS else 0.0

    def _tell_clock(self, skew: float) -> None:
        if abs(skew) > YOUNG_SECONDS:
            log.warning("esl.clock", source=self._name, skew_seconds=round(skew, 1),
                        write="run NTP on both: times of calls are those of FreeSWITCH's clock")  # fmt: skip

    async def _watch_tiers(self, session: Session) -> None:
        while True:
            await asyncio.sleep(TIERS_SECONDS)
            rows = resync.rows_of_table(await session.api("callcenter_config tier list"))
            if rows is not None:
                queues: dict[str, list[str]] = {}
                for row in rows:
                    queues.setdefault(row.get("agent", ""), []).append(row.get("queue", ""))
                self._queues = {agent: sorted(names) for agent, names in queues.items()}

    # -- what there is not any more ------------------------------------------------------------------
    async def _settle(self, intake: Intake) -> None:
        """Compare with the store what was asked, once everything heard before is in it."""
        while self._owed:
            snapshot = self._owed[0]
            await intake.settled()
            items = list(resync.of_known(snapshot, await self._known(snapshot)))
            for item in items:
                await intake.put(item)
            await intake.settled()
            self._owed.popleft()
            log.info("esl.settled", source=self._name, channels=len(snapshot.channels), questions=len(items))

    async def _known(self, snapshot: resync.Snapshot) -> resync.Known:
        """What the store has of this source, when all that was heard before is there."""
        pool, spool = self._office.pool, self._office.spool
        mark: datetime | None = None
        while True:
            try:
                if spool is None or not (await spool.size()).deliveries:
                    mark = mark or await pool.fetchval(store.query("connections", "now"))
                    if not await pool.fetchval(store.query("connections", "is_behind"), self._name, mark):
                        return await self._read_known(snapshot)
            except _DATABASE as error:
                log.warning("esl.settle_waits", source=self._name, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read_known(self, snapshot: resync.Snapshot) -> resync.Known:
        pool, who = self._office.pool, (self._source.tenant, self._name)
        calls = await pool.fetch(store.query("connections", "open_calls"), *who, from_unix(snapshot.at))
        states = await pool.fetch(store.query("freeswitch", "agent_states"), *who)
        return resync.Known(
            calls=[row["call_id"] for row in calls],
            agents={(row["agent"], row["queue"]): AgentState(row["state"]) for row in states},
        )
