"""What ``check-config --connect`` tries: everything that callkpi will talk to, each once, briefly, changing nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg

from callkpi import config
from callkpi.bitrix24 import rest
from callkpi.config.report_checks import split_receiver
from callkpi.connections import asterisk_ami, freeswitch_esl
from callkpi.connections.keeping import Trouble
from callkpi.database import embedded, migrations, store
from callkpi.delivery.mail import MailWay
from callkpi.delivery.message import InDoubt, Permanent, Temporary
from callkpi.delivery.telegram import TelegramWay
from callkpi.sources.asterisk.settings import AsteriskSource
from callkpi.sources.bitrix24.settings import Bitrix24Source
from callkpi.sources.freeswitch.settings import FreeSwitchSource

#: Whoever has not answered after this does not.
SECONDS = 10.0


class Failed(Exception):
    """What is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that is tried."""

    name: str
    run: Callable[[], Awaitable[str]]  #: returns what is good; raises what is not


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    name: str
    is_good: bool
    text: str


async def tried(settings: config.Settings) -> list[Result]:
    """Everything that is configured, all at once."""
    secrets = sorted(config.secrets_of(settings), key=len, reverse=True)
    return list(await asyncio.gather(*(_result(trial, secrets) for trial in trials(settings))))


async def _result(trial: Trial, secrets: list[str]) -> Result:
    try:
        async with asyncio.timeout(SECONDS):
            return Result(trial.name, is_good=True, text=await trial.run())
    except TimeoutError:
        text = f"no answer within {SECONDS:g} seconds; check the address, and whether a firewall lets it through"
    except (Failed, Trouble, Temporary, Permanent, InDoubt, rest.PortalError) as error:
        text = str(error)
    except (OSError, asyncpg.PostgresError, *store.UNAVAILABLE, ValueError) as error:
        text = f"{type(error).__name__}: {error}"
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return Result(trial.name, is_good=False, text=" ".join(text.split()))


def trials(settings: config.Settings) -> Iterator[Trial]:
    """What there is to be tried."""
    yield Trial("database", lambda: _database(settings))
    if settings.spool.limit_mib:
        yield Trial("spool", lambda: _directory(settings.data_dir))
    for name, source in settings.sources.items():
        yield from _of_source(settings, f"sources.{name}", name, source)
    if settings.mail.server:
        yield Trial("mail", lambda: _mail(settings.mail))
    if settings.telegram.token:
        yield Trial("telegram", lambda: _telegram(settings.telegram))
    for place in sorted(_folders(settings)):
        yield Trial(f"folder {place}", lambda place=place: _directory(Path(place), is_made=False))  # type: ignore[misc]


def _of_source(settings: config.Settings, where: str, name: str, source: config.Source) -> Iterator[Trial]:
    if isinstance(source, AsteriskSource) and source.ami_address:
        yield Trial(where, lambda: _ami(source))
    if isinstance(source, AsteriskSource) and source.queue_log:
        yield Trial(where, lambda: _file(Path(source.queue_log)))
    if isinstance(source, FreeSwitchSource) and source.esl_address:
        yield Trial(where, lambda: _esl(source))
    if isinstance(source, Bitrix24Source) and source.is_asked:
        yield Trial(where, lambda: _portal(source, _wanted_rights(settings, name, source)))


async def _ami(source: AsteriskSource) -> str:
    await asterisk_ami.try_out(source)
    return f"the manager interface at {source.ami_address} lets {source.ami_user} in"


async def _esl(source: FreeSwitchSource) -> str:
    await freeswitch_esl.try_out(source)
    return f"the event socket at {source.esl_address} lets callkpi in"


async def _file(path: Path) -> str:
    with path.open("rb") as file:
        file.read(1)
    return f"{path} can be read"


async def _directory(path: Path, *, is_made: bool = True) -> str:
    return await asyncio.to_thread(_writable, path, is_made=is_made)


def _writable(path: Path, *, is_made: bool) -> str:
    """Whether files can be written there; one that callkpi makes itself, or whether it can be made. Nothing is."""
    if not path.is_dir() and not is_made:
        raise Failed(f"{path} is not there; make it, or mount what it lies on")
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise Failed(f"this user may not write to {nearest}; give it the right, or name another directory")
    return f"{path} can be written to" if nearest == path else f"{path} will be made"


def _folders(settings: config.Settings) -> set[str]:
    """Directories that callkpi writes to and never makes: it could do so behind a mount that is missing."""
    receivers = [to for tenant in settings.tenants.values() for report in tenant.reports.values() for to in report.to]
    split = [found for to in receivers if (found := split_receiver(to))]
    folders = {place for way, place in split if way == "folder"}
    return folders | ({settings.retention.archive_dir} if settings.retention.archive_dir else set())


async def _database(settings: config.Settings) -> str:
    if not settings.database.url:
        if not embedded.exists(settings.data_dir):
            return f"the embedded one will be made in {settings.data_dir} by 'callkpi serve'"
        running = embedded.is_running(settings.data_dir / "postgres")
        return f"the embedded one in {settings.data_dir} {'runs' if running else 'is there; callkpi serve starts it'}"
    connection = await store.connect(settings.database.url, role="command")
    try:
        applied = await migrations.applied(connection)
    finally:
        await connection.close()
    if not applied:
        return "answers, and is empty; 'callkpi serve' or 'callkpi migrate' makes the tables"
    newest = migrations.newest()
    state = "up to date" if newest in applied else f"older than this version: 'callkpi serve' brings it to {newest}"
    return f"answers; its tables are {state}"


def _wanted_rights(settings: config.Settings, name: str, source: Bitrix24Source) -> dict[str, str]:
    """The rights that the webhook needs, and what for."""
    wanted = {"telephony": "to read the call statistics"}
    if source.writes_items:
        wanted["crm"] = "for the call funnel"
    for tenant in settings.tenants.values():
        for report in tenant.reports.values():
            for to in report.to:
                way, address = split_receiver(to) or ("", "")
                if way == "bitrix24" and address.startswith(f"{name}/"):
                    wanted["log" if "/feed" in address else "im"] = "to send reports"
    return wanted


async def _portal(source: Bitrix24Source, wanted: dict[str, str]) -> str:
    async with rest.session() as http:
        client = rest.Client(http, source.rest_url, source.requests_per_second, patience=SECONDS / 2)
        rights = (await client.call("scope")).result
    missing = [f"{right} ({why})" for right, why in wanted.items() if right not in (rights or [])]
    if missing:
        raise Failed(f"the webhook of rest_url lacks the rights {', '.join(missing)}; add them in the portal")
    return f"the portal answers, and the webhook has the rights {', '.join(wanted)}"


async def _mail(settings: config.Mail) -> str:
    await MailWay(settings).try_out()
    return f"{settings.server} takes mail" + (f" from {settings.user}" if settings.user else "")


async def _telegram(settings: config.Telegram) -> str:
    async with aiohttp.ClientSession() as http:
        await TelegramWay(http, settings).try_out()
    return "the bot's token is good"


def doors(settings: config.Settings, *, shows_secrets: bool = False) -> Iterator[str]:
    """The whole address of each door, as it is written at the sender."""
    from urllib.parse import quote

    base = settings.server.public_url.rstrip("/") or f"http://{settings.server.listen}"
    for name, source in settings.sources.items():
        if not source.token and source.keeps_connection:
            continue
        token = quote(source.token, safe="") if shows_secrets else "********"
        proof = f"?token={token}" if source.SHOWS_TOKEN else ""
        yield f"{name} ({source.kind}): {base}/hooks/{name}{proof}"
