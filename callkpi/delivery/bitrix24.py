"""Bitrix24: a chat (``im.message.add``) or the feed (``log.blogpost.add``), by the incoming webhook of a source.

The webhook needs the right ``im``, for the feed ``log``. A chat takes words and a link, the feed files as well. A
portal does not know a message that comes again, so one in doubt is not repeated.
"""

from __future__ import annotations

import base64
from typing import Any

import aiohttp

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.delivery.message import InDoubt, Message, Permanent, Receiver, Temporary
from callkpi.sources.bitrix24.settings import portals


class Bitrix24Way:
    knows_repetitions = False

    def __init__(self, http: aiohttp.ClientSession, settings: config.Settings) -> None:
        self._clients = {
            name: rest.Client(http, source.rest_url, source.requests_per_second)
            for name, source in portals(settings).items()
        }

    async def send(self, receiver: Receiver, message: Message) -> None:
        source, _, place = receiver.address.partition("/")
        method, parameters = request(place, message)
        try:
            await self._clients[source].change(method, parameters)
        except rest.InDoubt as error:
            raise InDoubt(error.reason) from None
        except (rest.Denied, rest.Refused) as error:
            raise Permanent(f"{error} (it needs the right {'log' if place.startswith('feed') else 'im'})") from None
        except rest.PortalError as error:
            raise Temporary(error.reason) from None


def request(place: str, message: Message) -> tuple[str, dict[str, Any]]:
    """The method and its parameters for ``chat42``, ``sg7``, a user's id, ``feed`` or ``feed:DR23``."""
    if not place.startswith("feed"):
        words = f"[B]{plain(message.subject)}[/B]\n{plain(message.text)}"
        return "im.message.add", {"DIALOG_ID": place, "MESSAGE": words}
    files = [[file.name, base64.b64encode(file.content).decode()] for file in message.attachments]
    parameters: dict[str, Any] = {"POST_TITLE": message.subject, "POST_MESSAGE": plain(message.text)}
    if to := place.partition(":")[2]:
        parameters["DEST"] = [to]
    if files:
        parameters["FILES"] = files
    return "log.blogpost.add", parameters


def plain(text: str) -> str:
    """Words without what Bitrix24 would read as its markup."""
    return text.replace("[", "(").replace("]", ")")
