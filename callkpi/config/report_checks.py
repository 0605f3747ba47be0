"""Receivers of reports as they are written, and what is wrong with the settings of reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from callkpi import words
from callkpi.config.tree import Report, Settings, Tenant
from callkpi.config.words import NAME, guess

#: How a receiver is written, and what has to be configured for it.
FORMS = (
    "mailto:name@example.com, telegram:CHAT, bitrix24:SOURCE/chat42 (or /USER, /feed, /feed:DR23), "
    "folder:/directory, https://address"
)
PERIODS = ("shift", "day", "week", "month", "quarter")
FILES = ("pdf", "xlsx", "csv", "html", "json")
LANGUAGES = words.LANGUAGES[words.Place.SUMMARY]


def split_receiver(text: str) -> tuple[str, str] | None:
    """The way and the address of a receiver; None where it is none."""
    scheme, _, rest = text.strip().partition(":")
    if scheme in ("https", "http"):
        return ("webhook", text.strip()) if urlsplit(text).hostname else None
    way = {"mailto": "mail"}.get(scheme, scheme)
    return (way, rest.strip()) if way in _ADDRESS and _ADDRESS[way].fullmatch(rest.strip()) else None


_ADDRESS: Mapping[str, re.Pattern[str]] = {
    "mail": re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+"),
    "telegram": re.compile(r"-?\d+|@\w+"),
    "bitrix24": re.compile(r"[A-Za-z0-9_.-]+/(chat\d+|sg\d+|\d+|feed(:(UA|(SG|U|DR)\d+))?)"),
    "folder": re.compile(r"/\S.*"),
}


def report_problems(settings: Settings) -> Iterator[str]:
    for name, tenant in settings.tenants.items():
        for report, told in tenant.reports.items():
            yield from _report(f"tenants.{name}.reports.{report}", report, told, tenant, settings)
    yield from _mail(settings)


def _report(where: str, name: str, report: Report, tenant: Tenant, settings: Settings) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a report's name has letters, digits, '_', '.', '-', at most 64"
    kind, _, shift = report.period.partition(":")
    if kind not in PERIODS or (shift and kind != "shift"):
        yield f"{where}.period: {report.period!r} is none of {', '.join(PERIODS)}, or shift:ID{guess(kind, PERIODS)}"
    elif shift and shift not in tenant.shifts:
        yield f"{where}.period: no shift {shift!r}{guess(shift, tenant.shifts)}; add [tenants.….shifts.{shift}]"
    if not report.to:
        yield f"{where}.to: is required; write receivers: {FORMS}"
    for text in report.to:
        yield from _receiver(f"{where}.to", text, settings)
    if report.language not in LANGUAGES:
        yield f"{where}.language: {report.language!r} is none of {', '.join(LANGUAGES)}, which summaries are written in"
    for file in report.files:
        if file not in FILES:
            yield f"{where}.files: {file!r} is none of {', '.join(FILES)}{guess(file, FILES)}"
    if not 0 <= report.corrections_days <= 31:
        yield f"{where}.corrections_days: must be 0 to 31; 0 sends no corrections"


def _receiver(where: str, text: str, settings: Settings) -> Iterator[str]:
    found = split_receiver(text)
    if found is None:
        # What follows may be the secret part of an address.
        begin, sign, _ = re.match(r"([^:/]*)([:/]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        shown = f"{begin[:30]}{sign}…" if sign else begin[:30]
        yield f"{where}: {shown!r} is no receiver; write {FORMS}"
        return
    way, address = found
    if way == "mail" and not settings.mail.server:
        yield f'{where}: for mail set mail.server, e.g. "smtp.example.com:587", and mail.sender'
    if way == "telegram" and not settings.telegram.token:
        yield f"{where}: for Telegram set telegram.token, as @BotFather gives it"
    if way == "bitrix24":
        source = settings.sources.get(address.partition("/")[0])
        if source is None or not source.is_asked:
            yield f"{where}: {address!r} must begin with a source that has a rest_url (rights im, for the feed log)"
    if way == "webhook" and text.startswith("http:") and not _is_local(text):
        yield f"{where}: an address on the web must begin with https://"


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _mail(settings: Settings) -> Iterator[str]:
    mail = settings.mail
    if not mail.server:
        return
    host, _, port = mail.server.rpartition(":")
    if not host or not port.isdigit():
        yield f"mail.server: {mail.server!r} must be HOST:PORT, e.g. smtp.example.com:587"
    if mail.security not in ("starttls", "tls", "none"):
        yield f"mail.security: {mail.security!r} is none of starttls, tls, none"
    elif mail.security == "none" and mail.password and host not in ("localhost", "127.0.0.1"):
        yield "mail.security: a password is not sent without TLS; write starttls or tls"
    if split_receiver(f"mailto:{mail.sender}") is None:
        yield f'mail.sender: {mail.sender!r} must be an address, e.g. "callkpi@example.com"'
