"""An Asterisk's manager interface on a real TCP port: recorded events out, and answers as they were true at the moment.

What it is asked for (channels, queues, their members) is derived from the events that have happened so far, whether
anybody heard them or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

from callkpi.sources.asterisk.ami import matters
from tests.world import capture_lines

SECRET = "s3cret-of-the-pbx"


def recorded(name: str = "asterisk/events.jsonl.gz", *, timestamps: bool = True) -> list[dict[str, str]]:
    """A recording as an Asterisk with (or without) ``timestampevents`` sends it."""
    events = []
    for line in capture_lines(name):
        event = json.loads(line)
        at = f"{event.pop('received_at'):.6f}"
        events.append(({"Event": event.pop("Event"), "Timestamp": at, **event}) if timestamps else event)
    return events


class State:
    """What there is in an Asterisk after some events."""

    def __init__(self) -> None:
        self.at = 1795461698.0  # before the first event of the recordings
        self.channels: dict[str, dict[str, Any]] = {}
        self.waits: dict[str, dict[str, Any]] = {}
        self.members: dict[tuple[str, str], dict[str, str]] = {}
        self.queues: set[str] = set()

    def apply(self, event: Mapping[str, str]) -> None:
        name, uid = event["Event"], event.get("Uniqueid", "")
        self.at = float(event.get("Timestamp", self.at))
        if name == "Newchannel":
            self.channels[uid] = {"Since": self.at, "Application": "", "ApplicationData": "", "BridgeId": ""}
        if uid in self.channels:
            names = ("Channel", "ChannelState", "CallerIDNum", "Context", "Exten", "Priority", "Uniqueid", "Linkedid")
            self.channels[uid].update({key: event[key] for key in names if key in event})
        if name in ("BridgeEnter", "BridgeLeave") and uid in self.channels:
            self.channels[uid]["BridgeId"] = event["BridgeUniqueid"] if name == "BridgeEnter" else ""
        elif name == "DialBegin":
            if uid not in self.waits:  # a queue rings its members without the application Dial
                self._runs(uid, "Dial", event.get("DialString", ""))
            self._runs(event["DestUniqueid"], "AppDial", "(Outgoing Line)")
        elif name == "QueueCallerJoin":
            self.queues.add(event["Queue"])
            self.waits[uid] = {**event, "Since": self.at}
            self._runs(uid, "Queue", f"{event['Queue']},,,,45")
        elif name == "QueueCallerLeave":
            self.waits.pop(uid, None)
        elif name == "Hangup":
            self.channels.pop(uid, None)
            self.waits.pop(uid, None)
        elif name.startswith("QueueMember"):
            self.queues.add(event["Queue"])
            key = (event["Queue"], event["MemberName"])
            if name == "QueueMemberRemoved":
                self.members.pop(key, None)
            else:
                self.members[key] = dict(event)

    def _runs(self, uid: str, application: str, data: str) -> None:
        if uid in self.channels:
            self.channels[uid].update(Application=application, ApplicationData=data)

    def show_channels(self) -> list[dict[str, str]]:
        shown = []
        for channel in self.channels.values():
            age = int(self.at - channel["Since"])
            told = {key: str(value) for key, value in channel.items() if key != "Since"}
            shown.append(
                {"Event": "CoreShowChannel", **told, "Duration": f"{age // 3600:02}:{age // 60 % 60:02}:{age % 60:02}"}
            )
        return shown

    def show_queues(self) -> list[dict[str, str]]:
        shown = [{"Event": "QueueParams", "Queue": queue} for queue in sorted(self.queues)]
        for (queue, name), told in self.members.items():
            kept = {key: told.get(key, "") for key in ("Paused", "PausedReason", "Status")}
            shown.append({"Event": "QueueMember", "Queue": queue, "Name": name, "Location": told["Interface"], **kept})
        for wait in self.waits.values():
            kept = {key: wait.get(key, "") for key in ("Queue", "Uniqueid", "Channel", "CallerIDNum")}
            shown.append({"Event": "QueueEntry", **kept, "Wait": str(int(self.at - wait["Since"]))})
        return shown


class AmiServer:
    """One Asterisk. ``play`` lets events happen; who is logged in hears them."""

    def __init__(self, events: Iterable[dict[str, str]] = ()) -> None:
        self.events = list(events)
        self.state = State()
        self.port = 0
        self.logins = 0
        self.refusals = 0
        self.actions: list[str] = []
        self.has_challenge = True
        self.permits_lists = True
        self.is_booted = True
        self.dribbles = False
        self.noise = b""  #: sent before each event
        #: Events that happen while the lists are asked for.
        self.meanwhile = 0
        self._heard_by: list[asyncio.StreamWriter] = []
        self._all: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.said = 0  #: events that matter, to whoever was logged in
        self.tls: ssl.SSLContext | None = None

    def _booted(self) -> dict[str, str]:
        """The first event after a login; with a time where all have one (timestampevents)."""
        times = {"Timestamp": f"{self.state.at:.6f}"} if self.events and "Timestamp" in self.events[0] else {}
        return {"Event": "FullyBooted", **times, "Status": "Fully Booted"}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """No more connections, and an end of those that there are."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        for writer in list(self._all):
            writer.transport.abort()
        self._heard_by.clear()

    def restart(self) -> None:
        """Asterisk itself: every channel, every caller and every dynamic member is gone, and nobody is told."""
        self.stop()
        queues, at = self.state.queues, self.state.at
        self.state = State()
        self.state.queues, self.state.at = queues, at + 5

    async def play(self, count: int = 1_000_000) -> None:
        for event in self.events[:count]:
            self.state.apply(event)
            for writer in list(self._heard_by):
                with contextlib.suppress(ConnectionError):
                    await self._send(writer, self.noise + _bytes(event))
                    self.said += matters(event)
        del self.events[:count]

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = 1 if self.dribbles else len(data)
        for begin in range(0, len(data), step):
            writer.write(data[begin : begin + step])
            await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._all.add(writer)
        try:
            writer.write(b"Asterisk Call Manager/11.0.0\r\n")
            challenge, is_in = "", False
            while action := await _action(reader):
                name = action.get("Action", "")
                self.actions.append(name)
                if name == "Challenge" and self.has_challenge:
                    challenge = "839261942"
                    await self._answer(writer, action, "Success", Challenge=challenge)
                elif name == "Login":
                    is_in = _is_right(action, challenge)
                    if not is_in:
                        self.refusals += 1
                        await self._answer(writer, action, "Error", Message="Authentication failed")
                        return
                    self.logins += 1
                    await self._answer(writer, action, "Success", Message="Authentication accepted")
                    self._heard_by.append(writer)
                    if self.is_booted:
                        await self._send(writer, _bytes(self._booted()))
                elif name == "Logoff":
                    await self._answer(writer, action, "Goodbye", Message="Thanks for all the fish.")
                    return
                elif not is_in:
                    await self._answer(writer, action, "Error", Message="Permission denied")
                elif name == "Ping":
                    await self._answer(writer, action, "Success", Ping="Pong", Timestamp=f"{self.state.at + 0.001:.6f}")
                elif name == "CoreShowChannels" and self.permits_lists:
                    await self._list(writer, action, self.state.show_channels(), "CoreShowChannelsComplete")
                    await self.play(self.meanwhile)
                elif name == "QueueStatus":
                    await self._list(writer, action, self.state.show_queues(), "QueueStatusComplete")
                else:
                    await self._answer(writer, action, "Error", Message="Permission denied")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._all.discard(writer)
            if writer in self._heard_by:
                self._heard_by.remove(writer)
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, action: Mapping[str, str], response: str, **told: str
    ) -> None:
        await self._send(writer, _bytes({"Response": response, "ActionID": action.get("ActionID", ""), **told}))

    async def _list(
        self, writer: asyncio.StreamWriter, action: Mapping[str, str], items: list[dict[str, str]], end: str
    ) -> None:
        await self._answer(writer, action, "Success", EventList="start", Message="will follow")
        for item in [*items, {"Event": end, "EventList": "Complete", "ListItems": str(len(items))}]:
            await self._send(writer, _bytes({**item, "ActionID": action.get("ActionID", "")}))


def _bytes(message: Mapping[str, str]) -> bytes:
    return ("".join(f"{key}: {value}\r\n" for key, value in message.items()) + "\r\n").encode()


async def _action(reader: asyncio.StreamReader) -> dict[str, str]:
    action: dict[str, str] = {}
    while line := (await reader.readline()).decode():
        if not line.strip():
            return action
        key, _, value = line.partition(":")
        action[key.strip()] = value.strip()
    return {}


def _is_right(action: Mapping[str, str], challenge: str) -> bool:
    if action.get("Username") != "callkpi":
        return False
    if action.get("AuthType") == "MD5":
        return bool(challenge) and action["Key"] == hashlib.md5((challenge + SECRET).encode()).hexdigest()
    return action.get("Secret") == SECRET
