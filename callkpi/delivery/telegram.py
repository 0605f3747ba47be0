"""Telegram, by the Bot API (sendMessage, sendDocument; core.telegram.org/bots/api).

Telegram does not know a message that comes again, so one in doubt is not repeated.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from callkpi import config
from callkpi.delivery.message import Attachment, InDoubt, Message, Permanent, Receiver, Temporary
from callkpi.delivery.web import faults

#: Limits of the Bot API: characters of a message, and bytes of a file.
TEXT, FILE = 4096, 50_000_000


class TelegramWay:
    knows_repetitions = False

    def __init__(self, http: aiohttp.ClientSession, settings: config.Telegram) -> None:
        self._http = http
        self._settings = settings

    async def send(self, receiver: Receiver, message: Message) -> None:
        """The words, then the files. Once the words are there, a file that does not go is in doubt, not tried again."""
        await self._ask("sendMessage", {"chat_id": receiver.address, "text": shortened(message)})
        for attachment in message.attachments:
            try:
                await self._ask("sendDocument", _document(receiver.address, attachment))
            except (Temporary, Permanent) as error:
                raise InDoubt(f"the words arrived, {attachment.name} did not: {error}") from None

    async def try_out(self) -> None:
        """Ask whose the token is. Raises Temporary or Permanent."""
        await self._ask("getMe", {})

    async def _ask(self, method: str, data: Any) -> None:
        url = f"{self._settings.api_url.rstrip('/')}/bot{self._settings.token}/{method}"
        async with faults(), self._http.post(url, data=data, allow_redirects=False) as response:
            try:
                answer = await response.json(content_type=None)
            except ValueError:
                answer = {}
            status = response.status
        if not (isinstance(answer, dict) and answer.get("ok") is True):
            raise _failure(status, answer if isinstance(answer, dict) else {})


def _failure(status: int, answer: dict[str, Any]) -> Temporary | Permanent:
    told = answer.get("parameters")
    parameters = told if isinstance(told, dict) else {}
    if status == 429 or status >= 500 or not answer:
        wait = parameters.get("retry_after", 0)
        return Temporary(f"Telegram answers {status}", float(wait) if isinstance(wait, int | float) else 0.0)
    if "migrate_to_chat_id" in parameters:
        return Permanent(
            f"the group has become {parameters['migrate_to_chat_id']}: write that in the report's receivers"
        )
    reasons = {
        401: "Telegram does not know telegram.token",
        403: "the bot was blocked, or is not in the chat",
        404: "Telegram does not know telegram.token",
    }
    return Permanent(reasons.get(status, f"Telegram refuses it: {str(answer.get('description', status))[:100]}"))


def _document(chat: str, attachment: Attachment) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("chat_id", chat)
    form.add_field(
        "document", attachment.content, filename=attachment.name, content_type=attachment.media_type.split(";")[0]
    )
    return form


def shortened(message: Message) -> str:
    """Subject and words, cut at a line where they are too long."""
    text = f"{message.subject}\n\n{message.text}".strip()
    if len(text) <= TEXT:
        return text
    return text[: TEXT - 2].rsplit("\n", 1)[0] + "\n…"
