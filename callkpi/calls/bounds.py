"""How long what a source says may be, so that every key of the database can hold it; what is longer is shortened.

A row of a B-tree of PostgreSQL has at most 2704 bytes, over all of its columns, and nothing is known of how well a name
compresses. So each name has a bound in bytes of UTF-8, and the widest key must hold all of its names at their bounds.
That is the one of ``day_rollups`` (tenant, field, grain, day, source, value, queue, agent, line, direction, outcome):

====================  =====  =================================================================================
tenant, source        2x64   names of the configuration
field                   256  64 characters, checked in the configuration
value                   256  64 characters of a custom field's value, cut where it is counted
queue, line           2x512  :data:`NAME_BYTES`
agent                   577  the source, a colon, and a name: :func:`callkpi.calls.model.agent_key`
grain, direction,        60  words of ours; an outcome may be ``old>new`` (``counters``)
outcome
day                       8
heads, alignment        100  the row's own 8, and at the most 7 with each of the columns
====================  =====  =================================================================================

Together 2409. The journal's key (tenant, source, call_id, at, event_id) has two names that a source makes:
2x64 + 518 + 512 + 8 + 60 = 1226 (a call's id may be ``agent:`` and a name). tests/test_bounds.py reads all indexes of
the database and does the sum for each.

A sender that speaks callkpi's own format is told (:mod:`callkpi.sources.native`). A PBX can't be: its name is cut, with
a digest of the whole behind it, so that two names stay two, and one is the same each time.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from callkpi.calls.model import AGENT_STREAM, CallEvent
from callkpi.config.words import FIELD_CHARACTERS

#: Any name, id or value that a source makes: in bytes of UTF-8, and in characters, as the API takes them in a query.
NAME_BYTES = 512
NAME_CHARACTERS = 255
#: As many fields of each kind belong to one event.
MOST_FIELDS = 200

_DIGEST_BYTES = 12
_TAIL = 1 + 2 * _DIGEST_BYTES
_SHORTENED = re.compile(rf"~[0-9a-f]{{{2 * _DIGEST_BYTES}}}\Z")
#: UTF-8 has at most so many bytes a character: what is shorter than a quarter need not be encoded to be measured.
_SURELY_SHORT = NAME_BYTES // 4

_IDS = ("event_id", "leg", "entry", "linked_to")
_NAMES = ("queue", "agent", "line", "customer", "cause", "code", "hangup_by", "state", "reason")
_TEXTS = ("call_id", *_IDS, *_NAMES)
_MAPPINGS = ("crm", "fields")


def size(text: str) -> int:
    """Bytes of *text* in UTF-8; halves of characters count as what stands for them."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def is_long(text: str) -> bool:
    """Whether *text* is longer than a name may be."""
    if len(text) <= _SURELY_SHORT:
        return False
    return len(text) > NAME_CHARACTERS or size(text) > NAME_BYTES


def shortened(text: str) -> str:
    """*text*, or where it is too long its beginning and a digest of the whole: other texts stay others."""
    return _cut(text, NAME_CHARACTERS, NAME_BYTES) if is_long(text) else text


def was_shortened(text: str) -> bool:
    """Whether *text* is what :func:`shortened` makes; a source may shorten before the journal does."""
    return len(text) > _TAIL and _SHORTENED.search(text, len(text) - _TAIL) is not None


def _cut(text: str, characters: int, most_bytes: int) -> str:
    whole = text.encode("utf-8", "replace")
    digest = hashlib.blake2b(whole, digest_size=_DIGEST_BYTES).hexdigest()
    begin = text[: characters - _TAIL].encode("utf-8", "replace")[: most_bytes - _TAIL]
    return f"{begin.decode('utf-8', 'ignore')}~{digest}"


def bounded(event: CallEvent, shortenings: Counter[str] | None = None) -> CallEvent:
    """*event* with everything that a source named within the bounds; the same object where all is.

    What was shortened is added to *shortenings*, by field. The details of a signal are no names, but what names are
    read from: see :func:`as_projected`.
    """
    changes = _names(event, (*_IDS, *_NAMES)) | _mappings(event)
    if (call_id := _call_id(event.call_id)) is not event.call_id:
        changes["call_id"] = call_id
    result = replace(event, **changes) if changes else event
    if shortenings is not None:
        early = (name for name in _TEXTS if len(text := getattr(result, name)) > _SURELY_SHORT and was_shortened(text))
        shortenings.update({*early, *changes})
    return result


def as_projected(event: CallEvent) -> CallEvent:
    """*event* as a call is made of it: names that were read from details, or journalled before there were bounds.

    Ids stay: they are the journal's keys.
    """
    changes = _names(event, _NAMES) | _mappings(event)
    return replace(event, **changes) if changes else event


def _names(event: CallEvent, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: shortened(text) for name in names if is_long(text := getattr(event, name))}


def _call_id(call_id: str) -> str:
    """An agent's stream has the name of its agent: both must be shortened alike."""
    if len(call_id) <= _SURELY_SHORT:
        return call_id
    if call_id.startswith(AGENT_STREAM):
        agent = call_id.removeprefix(AGENT_STREAM)
        return AGENT_STREAM + shortened(agent) if is_long(agent) else call_id
    return shortened(call_id)


def _mappings(event: CallEvent) -> dict[str, Any]:
    changed = {}
    for name in _MAPPINGS:
        told = getattr(event, name)
        if told and (short := _mapping(told)) is not told:
            changed[name] = short
    return changed


def _mapping(told: Mapping[str, str]) -> Mapping[str, str]:
    if len(told) <= MOST_FIELDS and not any(len(key) > FIELD_CHARACTERS or is_long(told[key]) for key in told):
        return told
    first = list(told.items())[:MOST_FIELDS]
    return {_field(key): shortened(value) for key, value in first}


def _field(name: str) -> str:
    return _cut(name, FIELD_CHARACTERS, 4 * FIELD_CHARACTERS) if len(name) > FIELD_CHARACTERS else name
