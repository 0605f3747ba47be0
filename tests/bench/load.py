"""A lean load generator: raw sockets, keep-alive, requests made beforehand. Run as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from tests.bench import traffic

#: Between the starts of two calls, so that they don't all start in one second.
SPACING = timedelta(milliseconds=5)


class Client(asyncio.Protocol):
    """One connection: sends a request when told to, reports the answer."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0] or 0)
        if len(rest) >= length and self._answered is not None:
            self._buffer = rest[length:]
            answered, self._answered = self._answered, None
            answered.set_result(int(head[9:12]))

    async def send(self, request: bytes) -> int:
        """The status of the answer."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered


async def connect(host: str, port: int) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(Client, host, port)
    return client


async def closed_loop(port: int, requests: Sequence[Sequence[bytes]], connections: int) -> dict[str, float]:
    """As fast as the server answers: each connection sends the requests of one call in order, then the next call."""
    clients = [await connect("127.0.0.1", port) for _ in range(connections)]
    todo, statuses = iter(requests), {200: 0}

    async def work(client: Client) -> None:
        for call in todo:
            for request in call:
                status = await client.send(request)
                statuses[status] = statuses.get(status, 0) + 1

    begin = time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "requests": sum(statuses.values()), "failed": sum(statuses.values()) - statuses[200]}


async def open_loop(port: int, requests: Iterator[bytes], rate: float, seconds: float) -> dict[str, float]:
    """At a fixed rate; latency counts from when a request was due, so that a slow server can't hide."""
    idle = [await connect("127.0.0.1", port) for _ in range(200)]
    latencies: list[float] = []
    failed = 0

    async def one(client: Client, request: bytes, due: float) -> None:
        nonlocal failed
        failed += await client.send(request) != 200
        latencies.append(time.perf_counter() - due)
        idle.append(client)

    running = []
    begin, number = time.perf_counter(), 0
    while (due := begin + number / rate) < begin + seconds:
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        while not idle:
            await asyncio.sleep(0.0005)
        running.append(asyncio.create_task(one(idle.pop(), next(requests), due)))
        number += 1
    await asyncio.gather(*running)
    latencies.sort()
    return {
        "rate": number / seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[int(len(latencies) * 0.99)],
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("first", type=int, help="number of the first call")
    parser.add_argument("calls", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second; 0: as fast as it goes")
    arguments = parser.parse_args()
    at = traffic.now() - timedelta(hours=1)
    calls = [
        [traffic.request("/hooks/portal", body) for body in traffic.portal_call(number, at + number * SPACING)]
        for number in range(arguments.first, arguments.first + arguments.calls)
    ]
    if arguments.rate:
        flat = (request for call in calls for request in call)
        seconds = 3 * arguments.calls / arguments.rate - 1
        result = asyncio.run(open_loop(arguments.port, flat, arguments.rate, seconds))
    else:
        result = asyncio.run(closed_loop(arguments.port, calls, arguments.connections))
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
