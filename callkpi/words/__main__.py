"""``python -m callkpi.words`` brings the catalogues in line with the English one: its order, its texts, nothing else.

A translator sees the English above each text, and what is not translated yet as an empty one.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import write_po

from callkpi import glossary
from callkpi.words import Place, catalogue


def aligned(code: str) -> bytes:
    """The catalogue of a language as it should stand in its file."""
    english, own = catalogue.read("en"), catalogue.read(code)
    fresh = Catalog(
        locale=code, project=own.project, version=own.version, header_comment=own.header_comment, fuzzy=False,
        msgid_bugs_address=own.msgid_bugs_address, creation_date=own.creation_date, revision_date=own.revision_date,
        last_translator=own.last_translator, language_team=own.language_team, charset="utf-8",
    )  # fmt: skip
    for message in english:
        if not message.id or (message.context == Place.FIGURE and code in glossary.LANGUAGES):
            continue
        told = own.get(_key(message), message.context)
        fresh.add(
            message.id, told.string if told else None, context=message.context, flags=told.flags if told else (),
            user_comments=told.user_comments if told else (),
            auto_comments=_comments(message, told, is_english=code == "en"),
        )  # fmt: skip
    out = io.BytesIO()
    write_po(out, fresh, width=120, no_location=True)
    return out.getvalue()


def _comments(english: Message, own: Message | None, *, is_english: bool) -> Sequence[str]:
    if is_english:
        return own.auto_comments if own else ()
    forms = dict.fromkeys(catalogue.forms_of(english))
    return [*english.auto_comments, *(f"English: {form}" for form in forms)]


def _key(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def main() -> None:
    for code in catalogue.codes():
        catalogue.path(code).write_bytes(aligned(code))
        for place in Place:
            if lacking := catalogue.missing(code, place):
                print(f"{code}, {place}: {len(lacking)} texts are not translated: {', '.join(lacking[:10])}")


if __name__ == "__main__":
    main()
