"""The language that a reader wishes."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import web

#: What readers know best of what is offered where their own language is not.
_NEAREST = {"kk": "ru"}


def language_of(request: web.Request, known: Collection[str]) -> str:
    """The first language that is asked for and known, or the nearest to it; English where none is."""
    asked = [request.query.get("lang", "")]
    weighted = []
    for part in request.headers.get("Accept-Language", "").split(","):
        name, _, quality = part.partition(";q=")
        try:
            weighted.append((-float(quality or 1), name))
        except ValueError:
            continue
    asked += [name for _, name in sorted(weighted, key=lambda pair: pair[0])]
    codes = (name.strip().lower().partition("-")[0] for name in asked)
    shown = (code if code in known else _NEAREST.get(code, "") for code in codes)
    return next((code for code in shown if code in known), "en")
