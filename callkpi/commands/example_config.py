"""``callkpi example-config``: a configuration to begin with."""

from __future__ import annotations

import argparse

from callkpi import config

EXAMPLE = "callkpi example-config > callkpi.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # It takes nothing.


def main(arguments: argparse.Namespace) -> None:
    del arguments
    print(config.example())
