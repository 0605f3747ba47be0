"""Any address on the web: a POST of JSON.

Headers: ``Idempotency-Key`` (the same whenever the same edition comes again), and with a secret ``X-Callkpi-Signature:
sha256=…``, the HMAC-SHA256 of the body in hex. 2xx means that it arrived; 408, 425, 429 and 5xx that it may come again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import aiohttp
import orjson

from callkpi.delivery.message import Message, Receiver
from callkpi.delivery.web import faults, judge


class WebhookWay:
    knows_repetitions = True

    def __init__(self, http: aiohttp.ClientSession, secret: str) -> None:
        self._http = http
        self._secret = secret.encode()

    async def send(self, receiver: Receiver, message: Message) -> None:
        body = orjson.dumps(content(message))
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.key}
        if self._secret:
            headers["X-Callkpi-Signature"] = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        async with (
            faults(),
            self._http.post(receiver.address, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            judge(answer.status, answer.headers, "the address")


def content(message: Message) -> dict[str, Any]:
    """What a receiver gets: the words, the figures, and the files in base64."""
    return {
        "key": message.key,
        "corrects": message.earlier_key or None,
        "subject": message.subject,
        "text": message.text,
        "summary": message.data,
        "files": [
            {"name": file.name, "media_type": file.media_type, "base64": base64.b64encode(file.content).decode()}
            for file in message.attachments
        ],
    }
