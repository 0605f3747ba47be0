"""``callkpi example-config``: a configuration to begin with."""

from __future__ import annotations

import argparse
import json

from callkpi import config, sources

EXAMPLE = "callkpi example-config > callkpi.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="every key with its sentence and its default")
    parser.add_argument("--schema", action="store_true", help="the JSON schema by which editors complete and check it")


def main(arguments: argparse.Namespace) -> None:
    assert sources.SOURCE_TYPES  # Its import made the kinds known.
    if arguments.schema:
        print(json.dumps(config.schema(), ensure_ascii=False, indent=1))
    else:
        print(config.whole_example() if arguments.all else config.example(), end="")
