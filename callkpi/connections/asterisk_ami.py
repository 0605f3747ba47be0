"""Asterisk over its manager interface (AMI): what it says is read live, and what was missed is asked for.

The client is our own and thin: here a slow journal must slow the reading, and each loss must be known. Of the libraries
panoramisk, the known one, had its last release in 2021.

After each login callkpi asks which channels there are, who waits in which queue, and who their members are. Of the
calls that go on it is told at once. Calls of ours whose channels are gone need the database, and everything heard
before in it: that is done when it is there, for the moment at which was asked, also if the connection is cut again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from callkpi.calls.model import AgentState, from_unix
from callkpi.connections.ami_protocol import ANSWER_SECONDS, Message, Wire, key_of
from callkpi.connections.intake import Intake
from callkpi.connections.keeping import Status, Trouble
from callkpi.connections.office import Office
from callkpi.database import store
from callkpi.health import Reason
from callkpi.sources.asterisk import resync as asterisk_resync
from callkpi.sources.asterisk.ami import matters
from callkpi.sources.asterisk.resync import Known, Snapshot
from callkpi.sources.asterisk.settings import AsteriskSource

log = structlog.get_logger()

#: Classes of events that tell of calls and agents; VarSet and Newexten are of others.
EVENT_CLASSES = "call,agent,system"
#: An Asterisk that starts lets managers in before its queues are loaded.
BOOT_SECONDS = 60.0
#: Asterisk and callkpi on different times: from here on it is said.
SKEW_SECONDS = 5.0
RETRY_SECONDS = 0.5
_LOGOFF_SECONDS = _GREETING_SECONDS = 1.0
_DATABASE = store.FAILURES
_WRITE = 'in manager.conf: "read = call,agent,system" and "write = reporting"'


@dataclass(slots=True)
class _Asked:
    """An action that waits for its answer: a response, and for a list its items up to the one that ends it."""

    ends_with: str
    done: asyncio.Future[list[Message]]
    items: list[Message] = field(default_factory=list)

    def take(self, message: Message) -> None:
        self.items.append(message)
        is_list = self.ends_with and message.get("Response", "Success") == "Success"
        if not self.done.done() and (not is_list or message.get("Event") == self.ends_with):
            self.done.set_result(self.items)


class Session:
    """A login: actions are answered, events are given on in order."""

    def __init__(self, wire: Wire, intake: Intake) -> None:
        self._wire, self._intake = wire, intake
        self._asked: dict[str, _Asked] = {}
        self._number = 0
        self._pump: asyncio.Task[None] | None = None
        self._last_at = 0.0
        self.booted, self.spoke = asyncio.Event(), asyncio.Event()
        #: Asterisk's clock at the last message that told it, and ours then; None: none has.
        self.clock: tuple[float, float] | None = None
        #: Whether events come with their times (manager.conf timestampevents); None: none has come.
        self.timestamped: bool | None = None

    async def __aenter__(self) -> Session:
        self._pump = asyncio.create_task(self._read(), name="ami pump")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pump is not None:
            with contextlib.suppress(Trouble, TimeoutError):
                if not self._pump.done():
                    async with asyncio.timeout(_LOGOFF_SECONDS):
                        await self.ask({"Action": "Logoff"})
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._pump
        self._wire.close()

    async def lasts(self) -> None:
        """Until it ends: raises the Trouble."""
        assert self._pump is not None
        await asyncio.shield(self._pump)

    async def ask(self, action: dict[str, str], ends_with: str = "") -> list[Message]:
        """Send an action; its response and what belongs to it. Raises Trouble."""
        assert self._pump is not None
        self._number += 1
        number = f"callkpi-{self._number}"
        asked = self._asked[number] = _Asked(ends_with, asyncio.get_running_loop().create_future())
        try:
            await self._wire.send({**action, "ActionID": number})
            waited: set[asyncio.Future[Any]] = {asked.done, self._pump}
            await asyncio.wait(waited, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if asked.done.done():
                return asked.done.result()
            if self._pump.done():
                self._pump.result()
            raise Trouble(Reason.TIMEOUT, f"no answer to {action['Action']} within {ANSWER_SECONDS:.0f} s")
        finally:
            del self._asked[number]

    async def _read(self) -> None:
        while True:
            message = await self._wire.read()
            asked = self._asked.get(message.get("ActionID", ""))
            if asked is not None:
                asked.take(message)
            elif name := message.get("Event"):
                await self._event(name, message)

    def note_clock(self, message: Message) -> None:
        """Both clocks at a message that tells Asterisk's."""
        if (told := _unix_seconds(message.get("Timestamp", ""))) is not None:
            self.clock = told, self._wire.read_at

    async def _event(self, name: str, message: Message) -> None:
        if name == "FullyBooted":
            # The first event of all: whether it has a time says by whose clock what there is now has to be told.
            if "Timestamp" in message:
                self.timestamped = True
                self.spoke.set()
            self.booted.set()
        if not matters(message):
            return
        self._last_at = max(self._wire.read_at, self._last_at + 1e-6)  # the order of arrival, also within one packet
        if self.timestamped is None:
            self.timestamped = "Timestamp" in message
            self.spoke.set()
        self.note_clock(message)
        if "Timestamp" not in message:
            message["received_at"] = f"{self._last_at:.6f}"
        await self._intake.put(message)


def _unix_seconds(text: str) -> float | None:
    """A time that a clock can show; None for what is none, and for numbers that are no time."""
    try:
        from_unix(seconds := float(text))
    except (ValueError, OverflowError, OSError):
        return None
    return seconds


def tls_of(source: AsteriskSource) -> ssl.SSLContext | None:
    """How the connection is encrypted; None: it is not. Raises Trouble."""
    if not source.ami_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=source.ami_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise Trouble(Reason.TLS, f"ami_ca can't be read: {type(error).__name__}") from None
    # Who names the one certificate to trust need not have a host's name in it: Asterisk's own are self-made.
    context.check_hostname = not source.ami_ca
    return context


Ask = Callable[[dict[str, str]], Awaitable[list[Message]]]


async def log_in(ask: Ask, source: AsteriskSource, events: str = EVENT_CLASSES) -> None:
    """Log in, to hear *events*. Raises Trouble."""
    secret = source.ami_secret
    login = {"Action": "Login", "Username": source.ami_user, "Events": events}
    (challenge, *_) = await ask({"Action": "Challenge", "AuthType": "MD5"})
    if text := challenge.get("Challenge"):
        login |= {"AuthType": "MD5", "Key": key_of(text, secret)}
    else:
        login |= {"Secret": secret}
    (answer, *_) = await ask(login)
    if answer.get("Response") != "Success":
        told = answer.get("Message", "no reason given").replace(secret, "[secret]")[:100]
        raise Trouble(Reason.REFUSED, f"login as {source.ami_user!r}: {told}")


async def try_out(source: AsteriskSource) -> None:
    """Log in and part again, without hearing anything. Raises Trouble."""
    host, _, port = source.ami_address.rpartition(":")
    wire = await Wire.open(host.strip("[]"), int(port), tls_of(source), lambda: None)

    async def ask(action: dict[str, str]) -> list[Message]:
        await wire.send(action)
        while "Response" not in (message := await wire.read()):
            pass
        return [message]

    try:
        await log_in(ask, source, "off")
    finally:
        wire.close()


class AmiLink:
    """Keeps a source's manager session; see :class:`callkpi.connections.keeping.Link`."""

    def __init__(self, office: Office, name: str, source: AsteriskSource) -> None:
        self._office, self._name, self._source = office, name, source
        self._timestamped: bool | None = None
        self._told_of_clock = False
        self._clock: tuple[float, float] | None = None
        #: It has said FullyBooted after a login: without it, it is still starting. A user without "system" is not told.
        self._tells_boot = False
        #: Moments at which was asked and whose missing calls are not settled yet.
        self._owed: deque[Snapshot] = deque(maxlen=100)

    async def hold(self, intake: Intake, status: Status) -> None:
        host, _, port = self._source.ami_address.rpartition(":")
        wire = await Wire.open(host.strip("[]"), int(port), tls_of(self._source), status.heard)
        async with Session(wire, intake) as session:
            await log_in(session.ask, self._source)
            snapshot = await self._look(session, status)
            for item in asterisk_resync.of_live(snapshot):
                await intake.put(item)
            self._owed.append(snapshot)
            status.up()
            tasks = {
                asyncio.create_task(work, name=f"{what} {self._name}")
                for what, work in (
                    ("reading", session.lasts()), ("settling", self._settle(intake)),
                    ("clock", self._watch_clock(session)),
                )
            }  # fmt: skip
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
            finally:
                self._clock = session.clock or self._clock
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, session: Session, status: Status) -> Snapshot:
        """What there is now. Raises Trouble."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BOOT_SECONDS if self._tells_boot else _GREETING_SECONDS):
                await session.booted.wait()
                self._tells_boot = True
        (pong, *_) = await session.ask({"Action": "Ping"})
        session.note_clock(pong)
        skew = self._skew(pong.get("Timestamp", ""))
        shift = skew if (session.timestamped or self._timestamped) else 0.0
        at = time.time() + shift
        (answer, *channels) = await session.ask({"Action": "CoreShowChannels"}, "CoreShowChannelsComplete")
        if answer.get("Response") != "Success":
            raise Trouble(Reason.FORBIDDEN, f"CoreShowChannels: {answer.get('Message', '')[:100]}; {_WRITE}")
        (_, *queues) = await session.ask({"Action": "QueueStatus"}, "QueueStatusComplete")
        heard = self._heard(status, at, shift)
        return Snapshot(at, heard, tuple(channels), tuple(queues))

    def _heard(self, status: Status, at: float, shift: float) -> float | None:
        """Until when everything was heard, by the clock of its events."""
        if status.heard_at is None:
            return None
        ours = status.heard_at.timestamp()
        if shift and self._clock is not None:
            theirs, then = self._clock
            return min(theirs + max(ours - then, 0.0), at)
        return min(ours + shift, at)

    def _skew(self, theirs: str) -> float:
        """Seconds by which Asterisk's clock is before ours."""
        told = _unix_seconds(theirs)
        if told is None:
            return 0.0
        skew = told - time.time()
        if abs(skew) >= SKEW_SECONDS:
            log.warning("ami.clock", source=self._name, skew_seconds=round(skew, 1),
                        write="run NTP on both: times of calls are those of Asterisk's clock")  # fmt: skip
        return skew

    async def _watch_clock(self, session: Session) -> None:
        await session.spoke.wait()
        self._timestamped = session.timestamped
        if not session.timestamped and not self._told_of_clock:
            self._told_of_clock = True
            log.warning("ami.no_timestamps", source=self._name, meanwhile="times are those of arrival",
                        write="timestampevents = yes in [general] of manager.conf, then 'manager reload'")  # fmt: skip

    async def _settle(self, intake: Intake) -> None:
        """End what is ours and no more there, once everything heard before is in the store."""
        while self._owed:
            snapshot = self._owed[0]
            await intake.settled()
            known = await self._known(snapshot)
            items = list(asterisk_resync.of_known(snapshot, known))
            for item in items:
                await intake.put(item)
            await intake.settled()
            self._owed.popleft()
            log.info("ami.settled", source=self._name, calls=len(snapshot.calls), corrections=len(items))

    async def _known(self, snapshot: Snapshot) -> Known:
        """What the store has of this source, when all that was heard before is there."""
        mark: datetime | None = None
        while True:
            try:
                spool = self._office.spool
                if spool is None or not (await spool.size()).deliveries:
                    mark = mark or await self._office.pool.fetchval(store.query("connections", "now"))
                    if not await self._office.pool.fetchval(store.query("connections", "is_behind"), self._name, mark):
                        return await self._read_known(snapshot)
            except _DATABASE as error:
                log.warning("ami.settle_waits", source=self._name, error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read_known(self, snapshot: Snapshot) -> Known:
        pool, tenant = self._office.pool, self._source.tenant
        asked_at = from_unix(snapshot.at)
        calls = await pool.fetch(store.query("connections", "open_calls"), tenant, self._name, asked_at)
        states = await pool.fetch(store.query("connections", "agent_states"), tenant, self._name)
        return Known(
            calls={row["call_id"]: tuple(row["ids"]) for row in calls},
            members={(row["queue"], row["agent"]): (AgentState(row["state"]), row["reason"]) for row in states},
        )
