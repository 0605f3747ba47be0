"""A stand-in of FreeSWITCH's event socket: real TCP, real frames, answers that follow from what it has published."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.stand_ins.freeswitch_model import as_json, plain

PASSWORD = "ClueCon-of-the-test"
Event = Mapping[str, str]


@dataclass
class Floor:
    """What is going on at a FreeSWITCH after some events, as its API tells it."""

    channels: dict[str, dict[str, str]] = field(default_factory=dict)  #: the newest headers of each
    bridged: dict[str, str] = field(default_factory=dict)
    bridged_at: dict[str, str] = field(default_factory=dict)
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    agents: dict[str, dict[str, str]] = field(default_factory=dict)
    queues: tuple[str, ...] = ("support@default", "sales@default")
    tiers: tuple[tuple[str, str], ...] = (("support@default", "1000@default"), ("support@default", "1001@default"))
    now: str = field(default_factory=lambda: str(round(time.time() * 1_000_000)))
    has_callcenter: bool = True

    def take(self, event: Event) -> None:
        self.now = event["Event-Date-Timestamp"]
        name, uuid = event["Event-Name"], event.get("Unique-ID", "")
        if name == "CUSTOM":
            self._take_queue(event)
        elif name == "CHANNEL_HANGUP_COMPLETE":
            self.channels.pop(uuid, None)
            self._part(uuid)
        elif uuid:
            # HOLD comes without variables; the channel still has them.
            self.channels[uuid] = {**self.channels.get(uuid, {}), **event}
        if name == "CHANNEL_BRIDGE":
            one, two = event["Bridge-A-Unique-ID"], event["Bridge-B-Unique-ID"]
            self._part(one)
            self._part(two)
            self.bridged |= {one: two, two: one}
            self.bridged_at |= {one: self.now, two: self.now}
        elif name == "CHANNEL_UNBRIDGE":
            self._part(event["Bridge-A-Unique-ID"])

    def _part(self, uuid: str) -> None:
        self.bridged.pop(self.bridged.pop(uuid, ""), None)

    def _take_queue(self, event: Event) -> None:
        action, member = event["CC-Action"], event.get("CC-Member-UUID", "")
        if action == "member-queue-start":
            self.members[member] = {
                "queue": event["CC-Queue"], "uuid": member, "session_uuid": event["CC-Member-Session-UUID"],
                "cid_number": event["CC-Member-CID-Number"], "joined_epoch": str(int(self.now) // 1_000_000),
                "state": "Waiting",
            }  # fmt: skip
        elif action in ("member-queue-end", "bridge-agent-start"):
            self.members.pop(member, None)
        elif action in ("agent-status-change", "agent-state-change"):
            agent = self.agents.setdefault(
                event["CC-Agent"], {"name": event["CC-Agent"], "status": "Available", "state": "Waiting"}
            )
            agent["status"] = event.get("CC-Agent-Status", agent["status"])
            agent["state"] = event.get("CC-Agent-State", agent["state"])

    # -- answers -------------------------------------------------------------------------------------
    def answer(self, command: str) -> str:
        if command == "strepoch":
            return str(int(self.now) // 1_000_000)
        if command == "show channels as json":
            return _shown([self._row(uuid) for uuid in self.channels])
        if command == "show calls as json":
            shown = {tuple(sorted(pair)) for pair in self.bridged.items()}
            return _shown([{**self._row(one), "b_uuid": two} for one, two in sorted(shown) if one in self.channels])
        if command.startswith("uuid_dump "):
            return self._dump(command.split()[1])
        if not self.has_callcenter:
            return "-ERR callcenter_config Command not found!\n"
        if command == "callcenter_config queue list":
            return _table([{"name": queue, "strategy": "longest-idle-agent"} for queue in self.queues], "name|strategy")
        if command == "callcenter_config agent list":
            return _table(list(self.agents.values()), "")
        if command == "callcenter_config tier list":
            return _table([{"queue": queue, "agent": agent, "state": "Ready"} for queue, agent in self.tiers], "")
        if command.startswith("callcenter_config queue list members "):
            queue = command.rsplit(" ", 1)[1]
            return _table([member for member in self.members.values() if member["queue"] == queue], "")
        return f"-ERR {command.split()[0]} Command not found!\n"

    def _row(self, uuid: str) -> dict[str, str]:
        told = self.channels[uuid]
        state = {"answered": "ACTIVE", "ringing": "RINGING"}.get(told["Answer-State"], "DOWN")
        return {
            "uuid": uuid, "direction": told["Call-Direction"], "callstate": state,
            "created_epoch": str(int(told["Caller-Channel-Created-Time"]) // 1_000_000),
            "cid_num": told["Caller-Caller-ID-Number"], "dest": told["Caller-Destination-Number"],
            "context": told["Caller-Context"], "call_uuid": told.get("variable_originating_leg_uuid", uuid),
        }  # fmt: skip

    def _dump(self, uuid: str) -> str:
        if uuid not in self.channels:
            return "-ERR No such channel!\n"
        bridged = {"Caller-Channel-Bridged-Time": self.bridged_at[uuid]} if uuid in self.bridged_at else {}
        told = {**self.channels[uuid], **bridged, "Event-Name": "CHANNEL_DATA"}
        return "".join(f"{name}: {quote(value, safe=' /@.:-_()')}\n" for name, value in told.items()) + "\n"


def _shown(rows: list[dict[str, str]]) -> str:
    told: dict[str, Any] = {"row_count": len(rows)}
    return json.dumps({**told, "rows": rows} if rows else told)


def _table(rows: list[dict[str, str]], titles: str) -> str:
    """mod_callcenter prints titles with the first row, so none for an empty list; ``queue list`` always does."""
    lines = ["|".join(rows[0])] if rows else [titles] if titles else []
    return "".join(f"{line}\n" for line in [*lines, *("|".join(row.values()) for row in rows), "+OK"])


class EslServer:
    """Publishes events to whoever has subscribed; who is away misses them."""

    def __init__(self, floor: Floor | None = None) -> None:
        self.floor = floor or Floor()
        self.port = 0
        self.logins = 0
        self.commands: list[str] = []
        #: How the bytes leave: whole, or in pieces of so many at most.
        self.piece = 0
        self.as_json = False
        self.is_deaf = False  #: takes commands and answers none
        self._server: asyncio.Server | None = None
        self._writers: dict[asyncio.StreamWriter, bool] = {}
        self._chance = random.Random(7)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """It is gone: nobody can connect."""
        if self._server is not None:
            self._server.close()
        self.cut()
        self._server = None

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    @property
    def subscribed(self) -> int:
        return sum(self._writers.values())

    async def publish(self, *events: Event) -> None:
        for event in events:
            self.floor.take(event)
            for writer in [writer for writer, is_subscribed in self._writers.items() if is_subscribed]:
                with contextlib.suppress(ConnectionError):
                    await self._send(writer, as_json(event) if self.as_json else plain(event))

    async def notice(self, disposition: str) -> None:
        """Says good-bye to all, and closes unless it lingers."""
        body = "Disconnected, goodbye.\nSee you at ClueCon! http://www.cluecon.com/\n"
        frame = (f"Content-Type: text/disconnect-notice\nContent-Disposition: {disposition}\n"
                 f"Content-Length: {len(body)}\n\n{body}")  # fmt: skip
        for writer in list(self._writers):
            await self._send(writer, frame.encode())
        if disposition != "linger":
            self.cut()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        while data:
            size = self._chance.randint(1, self.piece) if self.piece else len(data)
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if self.piece:
                await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = False
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._send(writer, b"Content-Type: auth/request\n\n")
            known = False
            while True:
                command = (await reader.readuntil(b"\n\n")).decode().strip()
                self.commands.append(command)
                name, _, rest = command.partition(" ")
                if self.is_deaf:
                    continue
                if name == "auth":
                    known = rest == PASSWORD
                    self.logins += known
                    reply = "+OK accepted" if known else "-ERR invalid"
                    await self._send(writer, f"Content-Type: command/reply\nReply-Text: {reply}\n\n".encode())
                    if not known:
                        break
                elif not known:
                    break
                elif name == "event":
                    self._writers[writer] = True
                    await self._send(writer, b"Content-Type: command/reply\nReply-Text: +OK event listener enabled\n\n")
                elif name == "api":
                    body = self.floor.answer(rest).encode()
                    head = f"Content-Type: api/response\nContent-Length: {len(body)}\n\n".encode()
                    await self._send(writer, head + body)
                elif name == "exit":
                    await self._send(writer, b"Content-Type: command/reply\nReply-Text: +OK bye\n\n")
                    break
        self._writers.pop(writer, None)
        writer.close()
