"""A configuration with a source of each kind."""

from __future__ import annotations

from callkpi.config import SourceKind
from tests.sources.cases import COLUMNS, PUBLIC, SECRET, longest_of_each_kind

LONGEST = longest_of_each_kind()

KINDS = [case.kind for case in LONGEST]

LIMIT = 50_000

#: Keys of each kind's source; the others have a token.
PROOF: dict[SourceKind, str] = {
    SourceKind.BITRIX24: f'application_tokens = ["{SECRET}"]',
    SourceKind.ZADARMA: f'secrets = ["{SECRET}"]\ntoken = "replays"\ntimezone = "Europe/Moscow"',
    SourceKind.UIS: f'token = "{SECRET}"\ntimezone = "Europe/Moscow"',
    SourceKind.MANGO: f'api_key = "vpbx-key-1"\nsecrets = ["{SECRET}"]',
    SourceKind.TWILIO: f'secrets = ["{SECRET}"]\npublic_url = "{PUBLIC}/twilio"\ntoken = "replays"',
    SourceKind.CSV: f'token = "{SECRET}"\ncolumns = {{'
    + ", ".join(f'{key} = "{name}"' for key, name in COLUMNS.items())
    + '}\noutcomes = {"Не дождался" = "abandoned"}',
}

CONFIG = "\n".join([
    f'[tenants.acme]\ntimezone = "Asia/Almaty"\nregion = "KZ"\n[server]\nmax_body_bytes = {LIMIT}',
    *(f'[sources.{kind}]\nkind = "{kind}"\ntenant = "acme"\n' + PROOF.get(kind, f'token = "{SECRET}"')
      for kind in KINDS),
])  # fmt: skip
