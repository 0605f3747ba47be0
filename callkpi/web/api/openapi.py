"""``/api/v1/openapi.json`` and ``/api/v1/docs``: the operations written down, from the table that serves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web

from callkpi import __version__, templates
from callkpi.web.access import PAGE_HEADERS, RIGHTS
from callkpi.web.api.contract import JSON, Answer, Asked, Operation, Parameter
from callkpi.web.api.schemas import SCHEMAS

_PROBLEM = "application/problem+json"
#: What each status tells, in the words of this API.
_STATUSES = {
    400: "A parameter or the body can't be read.",
    401: "No token, or one that nobody has.",
    403: "Your role or your tenants do not allow it.",
    404: "There is no such thing.",
    406: "Accept excludes what this answers.",
    409: "Somebody else has claimed it.",
    410: "It is over: the customer waits no more, or the cursor is of an older daemon.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The body is read and can't be used.",
    429: "Too many requests; Retry-After says when to ask again.",
    503: "The database does not answer; Retry-After says when to ask again.",
}
_ALWAYS = (406, 429, 503)


def operations(own: Sequence[Operation], cookie: str) -> Sequence[Operation]:
    """The operations that tell of *own*; *cookie* is what browsers are known by."""

    async def described(_asked: Asked) -> Answer:
        return Answer(document((*own, *told), cookie))

    async def docs(_asked: Asked) -> web.Response:
        return web.Response(text=page((*own, *told)), content_type="text/html", headers=PAGE_HEADERS)

    async def style(_asked: Asked) -> web.Response:
        text = (Path(__file__).parent / "docs.css").read_text("utf-8")
        return web.Response(text=text, content_type="text/css", headers=PAGE_HEADERS)

    told = (
        Operation(
            path="/api/v1/openapi.json", name="openapi", summary="This description, as OpenAPI 3.1.", subject="About",
            right=None, answer=described, schema={"type": "object"},
        ),
        Operation(
            path="/api/v1/docs", name="docs", summary="This description, to read.", subject="About", right=None,
            answer=docs, schema={"type": "string"}, media="text/html",
        ),
        Operation(
            path="/api/v1/docs.css", name="docs_style", summary="Its style.", subject="About", right=None,
            answer=style, schema={"type": "string"}, media="text/css",
        ),
    )  # fmt: skip
    return told


def document(operations: Sequence[Operation], cookie: str) -> dict[str, Any]:
    """The OpenAPI document of *operations*."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        entry = paths.setdefault(operation.path, {})
        entry[operation.method.lower()] = _operation(operation)
        if operation.method == "GET":
            entry["head"] = _head(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "callkpi",
            "version": __version__,
            "description": "Figures of a call centre, the calls behind them, the customers who wait for a call back. "
            "Times are UTC with an offset, durations seconds, shares 0 to 1. Unknown parameters are refused. Who "
            "may what:\n\n" + "\n".join(f"- {least}: {what}" for least, what in RIGHTS.values()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": cookie,
                    "description": "Set by opening a page once with ?token=…, or by /signin.",
                },
            },
        },
    }  # fmt: skip


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.subject],
        "parameters": [_parameter(each) for each in operation.parameters],
        "responses": _responses(operation),
    }
    if operation.right is None:
        told["security"] = []
    else:
        told["description"] = f"Role: {RIGHTS[operation.right][0]} or higher."
    if operation.body is not None:
        told["requestBody"] = {"required": True, "content": {JSON: {"schema": operation.body}}}
    return told


def _head(operation: Operation) -> dict[str, Any]:
    told = _operation(operation)
    responses = {status: {key: part for key, part in answer.items() if key != "content"}
                 for status, answer in told["responses"].items()}  # fmt: skip
    return {**told, "operationId": f"head_{operation.name}", "responses": responses}


def _parameter(each: Parameter) -> dict[str, Any]:
    told = {"name": each.name, "in": each.where, "description": each.doc, "schema": dict(each.schema)}
    return {**told, "required": True} if each.required or each.where == "path" else told


def statuses(operation: Operation) -> list[int]:
    """Every status that *operation* may answer besides success."""
    found = {*_ALWAYS, *operation.errors}
    if operation.right is not None:
        found |= {401, 403}
    # Whatever has no parameter refuses every one.
    found.add(400)
    if operation.body is not None:
        found |= {413, 415, 422}
    return sorted(found)


def _responses(operation: Operation) -> dict[str, Any]:
    limits = {name: {"schema": {"type": "string"}} for name in ("RateLimit", "RateLimit-Policy")}
    content = {operation.media: {"schema": dict(operation.schema)}}
    success: dict[str, Any] = {"description": "The answer.", "content": content, "headers": dict(limits)}
    responses: dict[str, Any] = {"200": success}
    if operation.method == "GET" and operation.media == JSON:
        success["headers"]["ETag"] = {"schema": {"type": "string"}}
        responses["304"] = {"description": "What If-None-Match names still holds."}
    if operation.media in ("text/csv", "application/jsonl"):
        success["headers"]["Content-Disposition"] = {"schema": {"type": "string"}}
    problem = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in statuses(operation):
        answer: dict[str, Any] = {"description": _STATUSES[status], "content": problem}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": {"schema": {"type": "string"}}}
        responses[str(status)] = answer
    return responses


# -- the page -----------------------------------------------------------------------------------------------


def page(operations: Sequence[Operation]) -> str:
    """The description as one plain page: no script, nothing of others."""
    subjects: dict[str, list[Mapping[str, object]]] = {}
    for operation in operations:
        subjects.setdefault(operation.subject, []).append(_section(operation))
    return templates.render("api.html", version=__version__, rights=RIGHTS.values(), subjects=subjects)


def _section(operation: Operation) -> Mapping[str, object]:
    takes = [(each.name, each.where, _value(each.schema), each.doc) for each in operation.parameters]
    if operation.body is not None:
        takes += [
            (name, "body", _value(each), each.get("description", ""))
            for name, each in operation.body["properties"].items()
        ]
    return {
        "name": operation.name, "method": operation.method, "path": operation.path, "summary": operation.summary,
        "role": f"role {RIGHTS[operation.right][0]}" if operation.right else "no token", "takes": takes,
        "answers": ", ".join(f"{status} {HTTPStatus(status).phrase}" for status in statuses(operation)),
    }  # fmt: skip


def _value(schema: Any) -> str:
    if "enum" in schema:
        told = ", ".join(schema["enum"])
    elif schema["type"] in ("integer", "number"):
        told = f"{schema['minimum']} to {schema['maximum']}"
    else:
        told = {"moment": "time"}.get(schema.get("format", ""), "text" if schema["type"] == "string" else "true, false")
    default = schema.get("default")
    return f"{told}; default {str(default).lower()}" if default is not None else told
