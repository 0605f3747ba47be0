"""``callkpi migrate``: the schema of the database brought up to date."""

from __future__ import annotations

import argparse

from callkpi.commands.common import configured, run, takes_config
from callkpi.commands.database import migrate

EXAMPLE = "callkpi migrate"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    applied = run(migrate(configured(arguments)))
    print(f"Applied: {', '.join(applied)}" if applied else "The schema is up to date.")
