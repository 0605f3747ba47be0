"""An address on the web that people are sent reports to: a real server that notes what comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web


class Server:
    """An address on the web: what came, and how it answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any, dict[str, str]]] = []
        self.answer: Callable[[str], web.StreamResponse | None] = lambda path: web.json_response(
            {"ok": True, "result": 1}
        )
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.content_type.startswith("multipart/"):
            form = await request.post()
            body: Any = {
                key: (value.filename, value.file.read()) if isinstance(value, web.FileField) else value
                for key, value in form.items()
            }
        elif request.content_type == "application/json":
            body = await request.read()
        else:
            body = dict(await request.post())
        self.requests.append((request.path, body, dict(request.headers)))
        answer = self.answer(request.path)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_route("*", "/{path:.*}", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()
