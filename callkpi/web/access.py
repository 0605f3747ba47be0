"""Who may read: tokens, or only this machine where none is set."""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web

from callkpi.web.problems import problem


def bearer(request: web.Request) -> str:
    """The secret of the Authorization header, else of ``?token=`` for senders that can't set headers."""
    header = request.headers.get("Authorization", "")
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    return request.query.get("token", "")


def refuse(request: web.Request, token: str, *, open_without_token: bool) -> web.Response | None:
    """The answer to one who may not read, or None for one who may."""
    if token:
        if hmac.compare_digest(bearer(request).encode(), token.encode()):
            return None
        return problem(
            401, "A token is needed", "Send 'Authorization: Bearer …'", headers={"WWW-Authenticate": "Bearer"}
        )
    if open_without_token or _is_local(request.remote):
        return None
    return problem(403, "Only this machine may read", "Set server.api_token and send it as 'Authorization: Bearer …'")


def _is_local(remote: str | None) -> bool:
    try:
        return remote is not None and ipaddress.ip_address(remote).is_loopback
    except ValueError:
        return False
