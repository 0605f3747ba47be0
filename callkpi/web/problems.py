"""Errors as application/problem+json (RFC 9457): what, where, what to do. Never a traceback."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import structlog
from aiohttp import web

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: int,
    title: str,
    detail: str = "",
    *,
    headers: dict[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> web.Response:
    body = {"title": title, "status": status, **({"detail": detail} if detail else {}), **(more or {})}
    return web.Response(
        status=status,
        # What a stranger sent may hold halves of characters, which no answer can.
        text=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace").decode(),
        content_type="application/problem+json",
        headers=headers,
    )


class Problem(Exception):
    """An answer that ends the request wherever it is raised."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        headers: dict[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(title)
        self.status, self.title, self.detail, self.headers, self.more = status, title, detail, headers, more

    def answer(self) -> web.Response:
        return problem(self.status, self.title, self.detail, headers=self.headers, more=self.more)


@web.middleware
async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem; what nobody foresaw is logged here and told as 500 without its text."""
    try:
        return await handler(request)
    except Problem as told:
        return told.answer()
    except web.HTTPRequestEntityTooLarge:
        return problem(
            413,
            "The request is too large",
            f"At most {request.client_max_size} bytes are taken; send less at a time",
        )
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allowed = {key: value for key, value in error.headers.items() if key == "Allow"}
        return problem(error.status, error.reason, _advice(request, error), headers=allowed)
    except (ConnectionResetError, ConnectionAbortedError):
        raise
    except asyncpg.UndefinedTableError as error:
        # The doors are open before the schema is there.
        log.warning("web.no_schema_yet", route=_route(request), error=str(error)[:100])
        detail = "Its tables are being made or brought up to date; ask again in a moment"
        return problem(503, "The database is not ready", detail, headers={"Retry-After": "2"})
    except Exception:
        log.exception("web.unforeseen", method=request.method, route=_route(request))
        return problem(500, "The daemon failed to answer", "It is in the log; nothing was acknowledged")


def _advice(request: web.Request, error: web.HTTPException) -> str:
    """What to do about an address or a method that there is not."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return f"{request.path[:100]} takes {', '.join(sorted(error.allowed_methods))}, not {error.method}"
    if error.status != 404:
        return ""
    if request.path.startswith("/hooks"):
        return "A source's door is POST /hooks/{source}, its name as in [sources.NAME]; see /handbook/sources"
    return f"Nothing is at {request.path[:100]}; see /api/v1/docs, /reports, /board and /handbook"


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
