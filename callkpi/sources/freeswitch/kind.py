"""FreeSWITCH: events of its event socket, and call records that mod_json_cdr posts, with mod_callcenter's in both.

Events (:mod:`.freeswitch_esl`) come over the connection that callkpi keeps (``esl_address``), or as JSON from a
forwarder. Both ways may be used at once, to one source: the same call has the same id in both, the events tell it
better, and the records close the gaps that a cut connection leaves (:mod:`.freeswitch_calls`).

Records. Structure: ``switch_ivr_generate_json_cdr`` and mod_json_cdr.c of FreeSWITCH; queue variables: mod_callcenter.c
(``cc_queue_joined_epoch``, ``cc_queue_answered_epoch``, ``cc_cause``, ``cc_cancel_reason``, ``cc_agent``,
``cc_agent_uuid``, ``cc_side``). The body is JSON, or a form ``cdr=`` with the JSON URL-encoded or in base64
(``encode``); variables are URL-encoded unless ``encode-values`` is false: both are read.

One record is one channel, sent when it hangs up. The caller's channel (A) alone is a complete call; agents' channels
(``log-b-leg = true``) add each ring. mod_json_cdr appends ``?uuid=`` to its address, so the token goes into ``cred``
(user and password of HTTP Basic; the password is the token) or as ``?token=…`` before it.

A channel's own direction is FreeSWITCH's view: a call that an extension makes is ``inbound`` too. So a call is
outbound when the A channel's caller is authenticated or an extension, or comes from ``outbound_contexts``; a
variable ``call_direction`` (FusionPBX sets it) goes first.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

from callkpi import config
from callkpi.calls.model import UNHEARD, CallEvent, Direction, Kind
from callkpi.sources import base
from callkpi.sources.base import Context, Delivery, Malformed, Rejected
from callkpi.sources.facts import Facts, doubted, end_is_last
from callkpi.sources.forms import parse_form
from callkpi.sources.freeswitch import calls as freeswitch_calls
from callkpi.sources.freeswitch import esl as freeswitch_esl
from callkpi.sources.freeswitch.record import OUTCOMES, RANK_OUTSIDE, Record, decoded, heard_by_caller, profile_of
from callkpi.sources.freeswitch.settings import FreeSwitchSource


class FreeSwitch(base.SourceType):
    keys = FreeSwitchSource
    known_codes = frozenset({*OUTCOMES, freeswitch_esl.RESYNC, UNHEARD})

    def decode(self, delivery: Delivery) -> Any:
        if delivery.body.lstrip()[:1] in (b"{", b"["):
            return base.decode_json_or_lines(delivery.body)
        text = parse_form(delivery.body).get("cdr")
        if not isinstance(text, str) or not text:
            raise Malformed("expected JSON, or a form with cdr=")
        if not text.lstrip().startswith("{"):
            try:
                text = base64.b64decode(text.replace(" ", "+"), validate=True).decode()
            except ValueError:  # also where it is no ASCII
                raise Malformed("cdr: neither JSON nor base64 of it") from None
        return base.decode_json_or_lines(text.encode())

    def token(self, delivery: Delivery, payload: Any) -> str:
        return _shown(delivery)

    def authentic(self, delivery: Delivery, payload: Any, settings: config.Source) -> bool:
        return base.one_of(_shown(delivery), (settings.token,))

    def parse_one(self, item: Any, context: Context) -> Sequence[CallEvent]:
        record = base.require_object(item)
        if "Event-Name" in record:
            return freeswitch_esl.parse_event(record, context)
        variables = record.get("variables")
        if not isinstance(variables, dict):
            raise Rejected("variables: is missing; this is no record of mod_json_cdr")
        return Record(Facts(decoded(variables), context), profile_of(record)).events()

    def interpret(
        self, events: Sequence[CallEvent], settings: config.Source, members: Sequence[CallEvent] = ()
    ) -> Sequence[CallEvent]:
        signals = [event for event in events if event.kind is Kind.SIGNAL]
        records = heard_by_caller([event for event in events if event.kind is not Kind.SIGNAL])
        told = freeswitch_calls.interpret(signals, records, settings) if signals else records
        inbound = any(e.direction is Direction.INBOUND for e in told)
        result = end_is_last([e for e in told if inbound or e.rank != RANK_OUTSIDE])
        return doubted(result, map(freeswitch_esl.has_unread, signals))


def _shown(delivery: Delivery) -> str:
    """The bearer token, the password of HTTP Basic, or ``?token=`` with what mod_json_cdr appends."""
    scheme, _, value = delivery.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
        except ValueError:  # also where it is no ASCII
            return ""
    return re.sub(r"\?uuid=[\w-]*$", "", delivery.presented_token)
