"""A summary as JSON, with the sentences; the keys are those of :mod:`callkpi.summaries.summary`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from callkpi.summaries.reader import Reader
from callkpi.summaries.summary import Summary, to_data
from callkpi.summaries.words import sentences, title


def render(summary: Summary, code: str, reader: Reader) -> bytes:
    """What the reader may see, without the ledger."""
    return orjson.dumps(data(summary, code, reader), option=orjson.OPT_INDENT_2)


def data(summary: Summary, code: str, reader: Reader) -> dict[str, Any]:
    told = {
        "title": title(summary, code),
        "sentences": [str(sentence) for sentence in sentences(summary, code)],
        **to_data(seen(summary, reader), ledger=False),
        "fingerprint": summary.fingerprint,
    }
    del told["ledger"]
    return told


def seen(summary: Summary, reader: Reader) -> Summary:
    """The summary as its reader may see it: numbers masked, agents left out."""
    hand = summary.handover
    open_calls = tuple(
        replace(call, customer=reader.customer(call.customer), agent=call.agent if reader.agents else "")
        for call in hand.open_calls
    )
    return replace(
        summary,
        callbacks=tuple(replace(item, customer=reader.customer(item.customer)) for item in summary.callbacks),
        handover=replace(hand, open_calls=open_calls),
        agents=summary.agents if reader.agents else (),
        adherence=replace(plans, people=()) if (plans := summary.adherence) and not reader.agents else plans,
    )
