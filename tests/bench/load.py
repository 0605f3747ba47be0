"""A lean load generator: raw sockets, keep-alive, requests made beforehand. Run as a process of its own.

It makes its requests, prints ``ready``, begins when it reads a line, and prints its figures as JSON. ``begin`` and
``end`` are on the machine's monotonic clock, so that the process that started it can compare them with its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import cast

from callkpi.daemon.processes import new_event_loop
from tests.bench import traffic
from tests.bench.report import percentile

Call = Sequence[bytes]
#: How long the last answers may take to come before they count as lost.
ANSWER_SECONDS = 60.0


class Client(asyncio.Protocol):
    """One connection. Sends a request at a time; tells of each answer."""

    def __init__(self, on_answer: Callable[[Client, int], None], on_lost: Callable[[], None]) -> None:
        self._on_answer, self._on_lost = on_answer, on_lost
        self._buffer = b""
        self.send: Callable[[bytes], None]
        #: What this connection still has to send, and when what it sent and will send was due.
        self.queue: deque[tuple[float, bytes]] = deque()
        self.due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.send = cast(asyncio.Transport, transport).write

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if found and len(body) >= _content_length(head):
            self._buffer = b""
            self._on_answer(self, int(head[9:12]))


def _content_length(head: bytes) -> int:
    return int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)


class Load:
    """Connections and what came back on them."""

    def __init__(self, port: int, connections: int) -> None:
        self._port, self._connections = port, connections
        self.statuses: Counter[int] = Counter()
        self.clients: list[Client] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, on_answer: Callable[[Client, int], None]) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._connections):
            _, client = await loop.create_connection(lambda: Client(on_answer, self._lost), "127.0.0.1", self._port)
            self.clients.append(client)

    def _lost(self) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("the server closed a connection"))

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def closed_loop(port: int, calls: Sequence[Call], connections: int) -> dict[str, float]:
    """As fast as the server answers: a connection sends the requests of one call in order, then takes the next."""
    load = Load(port, connections)
    todo, busy = iter(calls), connections
    current: dict[Client, Iterator[bytes]] = {}

    def go_on(client: Client) -> None:
        nonlocal busy
        request = next(current.get(client, iter(())), None)
        if request is None:
            call = next(todo, None)
            if call is None:
                busy -= 1
                if not busy:
                    load.finish()
                return
            current[client] = iter(call)
            request = next(current[client])
        client.send(request)

    def answered(client: Client, status: int) -> None:
        load.statuses[status] += 1
        go_on(client)

    await load.connect(answered)
    await _told_to_begin()
    begin, used = time.monotonic(), time.process_time()
    for client in load.clients:
        go_on(client)
    await load.done
    end = time.monotonic()
    return _figures(load, begin, end) | {"generator_cpu": (time.process_time() - used) / (end - begin)}


async def open_loop(port: int, calls: Sequence[Call], connections: int, rate: float) -> dict[str, float]:
    """At a fixed rate. Latency counts from when a request was due, so that a slow server can't hide.

    Calls take turns on the connections, each call's requests in order on one; what is due while its connection
    still waits for an answer waits too, and that counts.
    """
    load = Load(port, connections)
    latencies: list[float] = []
    delays: list[float] = []
    plan = list(_interleaved(calls, connections))

    def send_next(client: Client) -> None:
        client.due, request = client.queue.popleft()
        client.send(request)

    def answered(client: Client, status: int) -> None:
        assert client.due is not None
        load.statuses[status] += 1
        latencies.append(1000 * (time.monotonic() - client.due))
        client.due = None
        if client.queue:
            send_next(client)
        elif len(latencies) == len(plan):
            load.finish()

    await load.connect(answered)
    await _told_to_begin()
    begin, used = time.monotonic(), time.process_time()
    for number, (index, request) in enumerate(plan):
        due = begin + number / rate
        if (ahead := due - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        delays.append(1000 * (time.monotonic() - due))
        client = load.clients[index]
        client.queue.append((due, request))
        if client.due is None:
            send_next(client)
        if load.done.done():
            break
    await asyncio.wait_for(load.done, ANSWER_SECONDS)
    end = time.monotonic()
    return _figures(load, begin, end) | {
        "generator_cpu": (time.process_time() - used) / (end - begin),
        "p50_ms": percentile(latencies, 50),
        "p99_ms": percentile(latencies, 99),
        "max_ms": max(latencies),
        "generator_late_p99_ms": percentile(delays, 99),
    }


def _interleaved(calls: Sequence[Call], connections: int) -> Iterator[tuple[int, bytes]]:
    """The first requests of as many calls as there are connections, their second ones, …; with the connection."""
    for first in range(0, len(calls), connections):
        group = calls[first : first + connections]
        for step in range(max(map(len, group))):
            yield from ((index, call[step]) for index, call in enumerate(group) if step < len(call))


def _figures(load: Load, begin: float, end: float) -> dict[str, float]:
    total = sum(load.statuses.values())
    return {"begin": begin, "end": end, "requests": total, "failed": total - load.statuses[200]}


async def _told_to_begin() -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def _run(arguments: argparse.Namespace, calls: Sequence[Call]) -> dict[str, float]:
    if arguments.rate:
        return await open_loop(arguments.port, calls, arguments.connections, arguments.rate)
    return await closed_loop(arguments.port, calls, arguments.connections)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.load", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("first", type=int, help="number of the first call")
    parser.add_argument("calls", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as it goes")
    arguments = parser.parse_args()
    begin = traffic.now() - timedelta(hours=1, minutes=5)
    numbers = range(arguments.first, arguments.first + arguments.calls)
    calls = [[traffic.request("/hooks/portal", body) for body in traffic.portal_call(n, begin)] for n in numbers]
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        json.dump(runner.run(_run(arguments, calls)), sys.stdout)


if __name__ == "__main__":
    main()
