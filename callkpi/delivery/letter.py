"""A summary as a message: its words, what a correction corrects, a link, and the files. Pure, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from callkpi import config, templates
from callkpi.calls.facts import Grain
from callkpi.calls.phone import mask
from callkpi.delivery.message import Attachment, Message, Receiver
from callkpi.summaries import links, words
from callkpi.summaries.language import Language, language
from callkpi.summaries.reader import Reader
from callkpi.summaries.renderers import FORMATS
from callkpi.summaries.summary import Change, Number, Summary, changes, to_data

#: How many changes, and calls of a change, a correction names.
NAMED_CHANGES, NAMED_CALLS = 12, 3


@dataclass(frozen=True, slots=True)
class Edition:
    """What a report says of a period."""

    tenant: str
    report: str
    period: str
    number: int
    summary: Summary

    def key(self, receiver: Receiver) -> str:
        """The same whenever this edition is sent to this receiver."""
        told = "\x1f".join((self.tenant, self.report, self.period, str(self.number), receiver.digest))
        return f"callkpi.{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}"


def masked(summary: Summary) -> Summary:
    """Without whole numbers of customers: what is sent and kept leaves the call centre's own screens."""
    handover = replace(
        summary.handover,
        open_calls=tuple(replace(call, customer=mask(call.customer)) for call in summary.handover.open_calls),
    )
    callbacks = tuple(replace(item, customer=mask(item.customer)) for item in summary.callbacks)
    return replace(summary, callbacks=callbacks, handover=handover)


def write(
    edition: Edition, earlier: Edition | None, report: config.Report, receiver: Receiver, public_url: str
) -> Message:
    """The message of an edition; *earlier* is the newest one that the receiver has got, which this one corrects."""
    summary, told = edition.summary, language(report.language)
    link = _link(summary, public_url, report.language)
    title = words.title(summary, report.language)
    paragraphs = [str(sentence) for sentence in words.sentences(summary, report.language)]
    found: list[str] = []
    if earlier is not None:
        title = f"{told.text('c_correction')}: {title}"
        found = _corrections(changes(earlier.summary, summary), told, of_team=summary.team is not None)
    stem = _stem(edition)
    return Message(
        key=edition.key(receiver),
        earlier_key=earlier.key(receiver) if earlier is not None else "",
        subject=f"{summary.tenant}: {title}",
        text=_text(paragraphs, found, told, link),
        html=_html(title, paragraphs, found, told, link),
        attachments=tuple(_files(summary, report, stem, public_url)),
        data=to_data(summary, ledger=False),
        file_stem=stem,
    )


def _stem(edition: Edition) -> str:
    name = FORMATS["json"].file_name(edition.summary).removesuffix(".json")
    return name if edition.number == 1 else f"{name}-{edition.number}"


def _link(summary: Summary, public_url: str, code: str) -> str:
    reader = _reader(public_url, code)
    return links.period(summary.tenant, reader, summary.period.text) if reader.root else ""


def _reader(public_url: str, code: str) -> Reader:
    """Who gets a report: sees the agents' figures, and no whole numbers."""
    return Reader(agents=True, root=public_url.rstrip("/") or None, query={"lang": code})


def _files(summary: Summary, report: config.Report, stem: str, public_url: str) -> list[Attachment]:
    reader = _reader(public_url, report.language)
    return [
        Attachment(f"{stem}.{name}", FORMATS[name].content_type, FORMATS[name].render(summary, report.language, reader))
        for name in report.files
    ]


def _corrections(found: Sequence[Change], told: Language, *, of_team: bool) -> list[str]:
    """``Missed: 24 → 23 (pbx/17…)``, the headline first."""
    ordered = sorted(found, key=lambda change: change.place.name != "")
    lines = [_correction(change, told, of_team=of_team) for change in ordered[:NAMED_CHANGES]]
    if len(ordered) > NAMED_CHANGES:
        lines.append(told.text("c_more", n=told.number(len(ordered) - NAMED_CHANGES)))
    return lines


def _correction(change: Change, told: Language, *, of_team: bool) -> str:
    """Of a team's shift the headline is the team's: what came into its queues is told apart from it."""
    name = change.place.name or (told.text("queues") if of_team and change.place.grain == Grain.ENTRY else "")
    where = f"{name}: " if name else ""
    calls = ", ".join(change.calls[:NAMED_CALLS]) + (", …" if len(change.calls) > NAMED_CALLS else "")
    line = f"{where}{told.text(change.figure)}: {_value(change, change.old, told)} → {_value(change, change.new, told)}"
    return f"{line} ({calls})" if calls else line


def _value(change: Change, value: Number, told: Language) -> str:
    if value is None:
        return told.text("none")
    if change.figure.endswith("_seconds"):
        return told.duration(value)
    if isinstance(value, float):
        return told.share(value)
    return told.number(value)


def _text(paragraphs: Sequence[str], found: Sequence[str], told: Language, link: str) -> str:
    parts = []
    if found:
        parts.append("\n".join([told.text("c_changed"), *(f"• {line}" for line in found)]))
    parts.append("\n".join(paragraphs))
    if link:
        parts.append(link)
    return "\n\n".join(parts)


def _html(title: str, paragraphs: Sequence[str], found: Sequence[str], told: Language, link: str) -> str:
    """Plain markup that every mail program shows."""
    return templates.render(
        "letter.html", code=told.code, title=title, changed=told.text("c_changed"), changes=found,
        paragraphs=paragraphs, address=link,
    )  # fmt: skip
