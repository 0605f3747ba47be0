"""The keys of a Bitrix24 portal: its webhooks, its REST address, and the call funnel in its CRM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal

from callkpi import config
from callkpi.config import Number, Secret, Secrets, secret_setting, setting


class FunnelItems(StrEnum):
    """Which calls become items of the pipeline in the CRM."""

    MISSED = "missed"
    OFFERED = "offered"


class FunnelLanguage(StrEnum):
    """Of the names of stages and items."""

    EN = "en"
    RU = "ru"


@dataclass(frozen=True, slots=True)
class FunnelSettings:
    """The call funnel as a pipeline of its own in a Bitrix24 portal."""

    enabled: bool = setting(False, "write the call funnel into the portal's CRM; rest_url then needs the right crm")
    dry_run: bool = setting(True, "only log and count what would be written; false: write it")
    pipeline: str = setting("Call funnel", "name of the pipeline of deals that is made for it")
    language: FunnelLanguage = setting(FunnelLanguage.EN, "en or ru: names of stages and items")
    items: FunnelItems = setting(
        FunnelItems.MISSED, "missed: an item per missed customer; offered: answered calls are items as well"
    )
    numbers: config.NumbersShown = setting(
        config.NumbersShown.MASKED, "numbers in the items' titles: masked, or full for who dials from them"
    )
    responsible: dict[str, str] = setting(
        {},
        "who is responsible for a new item: portal user's number by agent:ID, line:ID, queue:ID or *; none: the "
        "owner of the webhook",
    )
    lookback_hours: Number = setting(24.0, "calls that began earlier get no new item", gt=0, le=31 * 24)
    every_seconds: Number = setting(30.0, "how often the funnel is compared with what was written", ge=5)


@dataclass(frozen=True, slots=True)
class Bitrix24Source(config.Source):
    """A portal."""

    SHOWS_TOKEN: ClassVar[bool] = False
    DOOR_KEYS: ClassVar[tuple[str, ...]] = ("token", "application_tokens")
    IS_PORTAL: ClassVar[bool] = True
    HINT: ClassVar[str] = (
        "-- Bitrix24: the portal sends each call by an outbound webhook (Developer resources)\n"
        "   to https://YOUR.HOST/hooks/bitrix24; an inbound webhook with the right telephony finds what it lost."
    )
    EXAMPLE: ClassVar[str] = (
        "application_tokens = []  # the token that the portal shows\n"
        'rest_url = ""  # https://PORTAL/rest/USER/SECRET/; or this one alone'
    )

    kind: Literal["bitrix24"] = setting("bitrix24", "what sends")
    application_tokens: Secrets = secret_setting((), "accepted values of auth[application_token]")
    rest_url: Secret = secret_setting(
        "", "incoming webhook with the right telephony, https://PORTAL/rest/USER/SECRET/; it is a password"
    )
    reconcile_seconds: Number = setting(60.0, "how often new rows of the portal's call statistics are read", ge=5)
    recheck_minutes: Number = setting(30.0, "how often the last recheck_hours of them are read again", ge=1)
    recheck_hours: Number = setting(48.0, "calls that old may still be registered late or corrected", ge=1)
    nightly_at: str = setting("03:30", "when the day before is read again, in the tenant's zone")
    requests_per_second: Number = setting(2.0, "what the portal allows: 2, on the plan Enterprise 5")
    funnel: FunnelSettings = setting(FunnelSettings, "the call funnel in the portal's CRM")

    @property
    def is_asked(self) -> bool:
        return bool(self.rest_url)

    @property
    def writes_items(self) -> bool:
        return self.is_asked and self.funnel.enabled

    def more_secrets(self) -> tuple[str, ...]:
        return rest_secrets(self.rest_url)

    def own_problems(self, where: str) -> Iterator[str]:
        if not any(self.application_tokens) and not self.rest_url:
            yield (
                f'{where}.application_tokens: is required; write ["the token that the portal shows"] '
                "(or rest_url alone, where the portal can't send)"
            )
        yield from _rest_problems(where, self)
        yield from _funnel_problems(f"{where}.funnel", self)


REST_URL = re.compile(r"(https?)://([^/@?#]+)/rest/(\d+)/([^/?#\s]+)/?")
_THIS_MACHINE = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")


def _rest_problems(where: str, source: Bitrix24Source) -> Iterator[str]:
    """Without the address itself: it is a password."""
    if source.rest_url:
        match = REST_URL.fullmatch(source.rest_url)
        if match is None:
            yield (
                f"{where}.rest_url: is no address of an incoming webhook; write it as the portal shows it, "
                "https://PORTAL/rest/USER/SECRET/, without a method behind it"
            )
        elif match[1] == "http" and not _THIS_MACHINE.fullmatch(match[2]):
            yield f"{where}.rest_url: must begin with https://; the address is a password"
    if source.recheck_hours > 31 * 24:
        yield f"{where}.recheck_hours: at most {31 * 24}; 'callkpi backfill' reads older calls"
    if not 0 < source.requests_per_second <= 10:
        yield f"{where}.requests_per_second: must be above 0, at most 10; Bitrix24 allows 2, on Enterprise 5"
    if config.parse_hours(f"{source.nightly_at}-23:59") is None:
        yield f'{where}.nightly_at: {source.nightly_at!r} must be like "03:30"'


def _funnel_problems(where: str, source: Bitrix24Source) -> Iterator[str]:
    funnel = source.funnel
    if funnel.enabled and not source.rest_url:
        yield f"{where}.enabled: needs rest_url: an incoming webhook with the rights telephony and crm"
    if not funnel.pipeline.strip() or len(funnel.pipeline) > 100:
        yield f"{where}.pipeline: must have 1 to 100 characters"
    for key, user in funnel.responsible.items():
        if key != "*" and not re.fullmatch(r"(line|queue|agent):.+", key):
            yield f'{where}.responsible.{key}: must be "line:ID", "queue:ID", "agent:ID" or "*"'
        if not re.fullmatch("[1-9][0-9]{0,9}", user):
            yield f"{where}.responsible.{key}: {user!r} must be the number of a user of the portal"


def rest_secrets(url: str) -> tuple[str, ...]:
    """What must be seen of a webhook's address nowhere: all of it, and its secret part. The longest first."""
    match = REST_URL.fullmatch(url)
    return (url, match[4]) if match else (url,) if url else ()


def portals(settings: config.Settings) -> dict[str, Bitrix24Source]:
    """The portals that may be asked by REST."""
    return {
        name: source
        for name, source in settings.sources.items()
        if isinstance(source, Bitrix24Source) and source.is_asked
    }


def portal(settings: config.Settings, name: str) -> Bitrix24Source:
    """The portal of that name. Raises KeyError where none is."""
    return portals(settings)[name]


def funnels(settings: config.Settings) -> dict[str, Bitrix24Source]:
    """The portals whose CRM gets the call funnel, or a dry run of it."""
    return {name: source for name, source in portals(settings).items() if source.writes_items}
