"""The yardstick: an aiohttp handler that reads the body and answers 200, on the daemon's own event loop."""

from __future__ import annotations

import sys

from aiohttp import web

from callkpi.daemon import new_event_loop


async def receive(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"events": 1, "ignored": 0, "rejected": 0})


def main() -> None:
    app = web.Application()
    app.router.add_post("/hooks/{source}", receive)
    loop = None if "--asyncio" in sys.argv else new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
