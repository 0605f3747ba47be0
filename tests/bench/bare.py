"""The yardstick: an aiohttp handler that reads the body and answers 200, on the daemon's own event loop."""

from __future__ import annotations

import argparse

from aiohttp import web

from callkpi.daemon.processes import new_event_loop


async def receive(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"events": 1, "ignored": 0, "rejected": 0})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bare", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--asyncio", action="store_true", help="on the event loop of the standard library")
    arguments = parser.parse_args()
    app = web.Application()
    app.router.add_post("/hooks/{source}", receive)
    loop = None if arguments.asyncio else new_event_loop()
    web.run_app(app, host="127.0.0.1", port=arguments.port, access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
