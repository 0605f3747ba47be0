"""What is wrong with the settings of a source."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping

from callkpi.config.hours import parse_hours
from callkpi.config.tree import COLUMNS, THREECX_FIELDS, Source, SourceKind, Tenant
from callkpi.config.words import NAME, guess, is_zone

#: What a whole call may end as, in a table of calls; the names of :class:`callkpi.calls.model.Outcome`
#: without the states.
CALL_OUTCOMES = (
    "answered", "abandoned", "timed_out", "left_empty", "overflowed", "no_answer", "busy", "rejected", "failed",
    "exited", "voicemail",
)  # fmt: skip


def source_problems(where: str, name: str, source: Source, tenants: Mapping[str, Tenant]) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield f"{where}: a source's name has letters, digits, '_', '.', '-', at most 64"
    if source.tenant not in tenants:
        yield (
            f"{where}.tenant: no tenant {source.tenant!r}{guess(source.tenant, tenants)}; "
            f"add [tenants.{source.tenant}] or name one of: {', '.join(tenants)}"
        )
    yield from _secret_problems(where, source)
    if source.timezone and not is_zone(source.timezone):
        yield f"{where}.timezone: {source.timezone!r} is no IANA zone; write e.g. Europe/Moscow"
    if source.silent_minutes is not None and not (source.silent_minutes == 0 or source.silent_minutes >= 1):
        yield f"{where}.silent_minutes: must be at least 1, or 0 for a source that may be silent"
    yield from _funnel_problems(f"{where}.funnel", source)
    yield from _table_problems(where, source)
    yield from _live_problems(where, source)
    yield from _cdr_problems(where, source)
    try:
        re.compile(source.internal_number)
    except re.error as error:
        yield f"{where}.internal_number: no regular expression: {error}"


#: Kinds that sign what they send.
_SIGNED = (SourceKind.ZADARMA, SourceKind.MANGO, SourceKind.TWILIO)


def _secret_problems(where: str, source: Source) -> Iterator[str]:
    kind = source.kind
    if kind is SourceKind.BITRIX24:
        if not any(source.application_tokens) and not source.rest_url:
            yield (
                f'{where}.application_tokens: is required; write ["the token that the portal shows"] '
                "(or rest_url alone, where the portal can't send)"
            )
        yield from _rest_problems(where, source)
    elif source.rest_url:
        yield f"{where}.rest_url: only kind bitrix24 has one; remove it"
    elif kind in _SIGNED:
        if not any(source.secrets):
            name = {SourceKind.ZADARMA: "API secret", SourceKind.MANGO: "key of the signature"}.get(kind, "auth token")
            yield f'{where}.secrets: is required; write ["the {name} that {kind} shows"]'
        if kind is SourceKind.MANGO and not source.api_key:
            yield f"{where}.api_key: is required; write the code of your VPBX that Mango shows"
        if kind is SourceKind.TWILIO and not re.fullmatch(r"https?://[^/\s?#]+/[^\s?#]+", source.public_url):
            yield (
                f"{where}.public_url: must be this door's address as Twilio has it, without a query, "
                f"e.g. https://your.host/hooks/{where.partition('.')[2]}"
            )
    elif not source.token and not source.keeps_connection:
        yield f"{where}.token: is required; write a long random string and give it to the sender"


def _table_problems(where: str, source: Source) -> Iterator[str]:
    columns = source.columns
    if source.kind is SourceKind.CSV or columns:
        if "started" not in columns:
            yield f'{where}.columns.started: is required; write the title of the column of the start, e.g. "Date"'
        if not source.token and (source.kind is SourceKind.BITRIX24 or source.kind in _SIGNED):
            yield f"{where}.token: is required; callkpi replay shows it"
    for name in columns.keys() - set(COLUMNS):
        yield f"{where}.columns.{name}: unknown column{guess(name, COLUMNS)}; known: {', '.join(COLUMNS)}"
    for word, direction in source.directions.items():
        if direction not in ("inbound", "outbound", "internal", "auto"):
            yield f"{where}.directions.{word}: {direction!r} is none of inbound, outbound, internal, auto"
    for word, outcome in source.outcomes.items():
        if outcome not in CALL_OUTCOMES:
            yield f"{where}.outcomes.{word}: {outcome!r} is none of {', '.join(CALL_OUTCOMES)}"


_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):(\d{1,5})")


def _live_problems(where: str, source: Source) -> Iterator[str]:
    """Of connections that callkpi keeps. Never with the secret."""
    yield from _esl_problems(where, source)
    if source.kind is not SourceKind.ASTERISK:
        for key in ("ami_address", "ami_user", "ami_secret", "ami_ca", "queue_log"):
            if getattr(source, key):
                yield f"{where}.{key}: only kind asterisk has one; remove it"
        return
    if source.ami_address:
        match = _ADDRESS.fullmatch(source.ami_address)
        if match is None or not 0 < int(match[2]) <= 65535:
            yield f'{where}.ami_address: {source.ami_address!r} must be HOST:PORT, e.g. "pbx.example:5038"'
        for key in ("ami_user", "ami_secret"):
            if not getattr(source, key) or not getattr(source, key).isprintable():
                yield f"{where}.{key}: is required with ami_address; write what manager.conf has, one line of text"
        if source.queue_log:
            yield f"{where}.queue_log: with ami_address each call would count twice; keep one of the two"
    if source.encoding and not _is_encoding(source.encoding):
        yield f"{where}.encoding: no such encoding; write for example cp1251"
    if source.queue_log and not source.queue_log.startswith("/"):
        yield f"{where}.queue_log: must be a whole path, e.g. /var/log/asterisk/queue_log"


def _cdr_problems(where: str, source: Source) -> Iterator[str]:
    """Of the fields of 3CX's CDR service; one that callkpi does not read may have any name."""
    fields = source.cdr_fields
    if source.kind is not SourceKind.THREECX:
        if fields != THREECX_FIELDS:
            yield f"{where}.cdr_fields: only kind threecx has them; remove it"
        return
    if "time-start" not in fields or not {"historyid", "callid"} & set(fields):
        yield f"{where}.cdr_fields: must hold time-start, and historyid (or callid); add them to 3CX's CDR output"
    for name in {name for name in fields if fields.count(name) > 1}:
        yield f"{where}.cdr_fields: {name!r} is there twice"


def _esl_problems(where: str, source: Source) -> Iterator[str]:
    if source.kind is not SourceKind.FREESWITCH:
        for key in ("esl_address", "esl_password"):
            if getattr(source, key):
                yield f"{where}.{key}: only kind freeswitch has one; remove it"
        return
    if source.esl_password and not source.esl_address:
        yield f'{where}.esl_address: is required with esl_password; write HOST:PORT, e.g. "pbx.example:8021"'
    if not source.esl_address:
        return
    match = _ADDRESS.fullmatch(source.esl_address)
    if match is None or not 0 < int(match[2]) <= 65535:
        yield f'{where}.esl_address: {source.esl_address!r} must be HOST:PORT, e.g. "pbx.example:8021"'
    if not source.esl_password or not source.esl_password.isprintable():
        yield f"{where}.esl_password: is required with esl_address; write what event_socket.conf.xml has"


REST_URL = re.compile(r"(https?)://([^/@?#]+)/rest/(\d+)/([^/?#\s]+)/?")


def _rest_problems(where: str, source: Source) -> Iterator[str]:
    """Without the address itself: it is a password."""
    if source.rest_url:
        match = REST_URL.fullmatch(source.rest_url)
        if match is None:
            yield (
                f"{where}.rest_url: is no address of an incoming webhook; write it as the portal shows it, "
                "https://PORTAL/rest/USER/SECRET/, without a method behind it"
            )
        elif match[1] == "http" and not re.fullmatch(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", match[2]):
            yield f"{where}.rest_url: must begin with https://; the address is a password"
    for key, least in (("reconcile_seconds", 5), ("recheck_minutes", 1), ("recheck_hours", 1)):
        if getattr(source, key) < least:
            yield f"{where}.{key}: must be at least {least}"
    if source.recheck_hours > 31 * 24:
        yield f"{where}.recheck_hours: at most {31 * 24}; 'callkpi backfill' reads older calls"
    if not 0 < source.requests_per_second <= 10:
        yield f"{where}.requests_per_second: must be above 0, at most 10; Bitrix24 allows 2, on Enterprise 5"
    if parse_hours(f"{source.nightly_at}-23:59") is None:
        yield f'{where}.nightly_at: {source.nightly_at!r} must be like "03:30"'


def _funnel_problems(where: str, source: Source) -> Iterator[str]:
    funnel = source.funnel
    if funnel.enabled and not source.rest_url:
        yield (
            f"{where}.enabled: needs rest_url: kind bitrix24 and an incoming webhook with the rights telephony and crm"
        )
    if not funnel.pipeline.strip() or len(funnel.pipeline) > 100:
        yield f"{where}.pipeline: must have 1 to 100 characters"
    if not 0 < funnel.lookback_hours <= 31 * 24:
        yield f"{where}.lookback_hours: must be above 0, at most {31 * 24}"
    if funnel.every_seconds < 5:
        yield f"{where}.every_seconds: must be at least 5"
    for key, user in funnel.responsible.items():
        if key != "*" and not re.fullmatch(r"(line|queue|agent):.+", key):
            yield f'{where}.responsible.{key}: must be "line:ID", "queue:ID", "agent:ID" or "*"'
        if not re.fullmatch("[1-9][0-9]{0,9}", user):
            yield f"{where}.responsible.{key}: {user!r} must be the number of a user of the portal"


def rest_secrets(url: str) -> tuple[str, ...]:
    """What must be seen of a webhook's address nowhere: all of it, and its secret part. The longest first."""
    match = REST_URL.fullmatch(url)
    return (url, match[4]) if match else (url,) if url else ()


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True
