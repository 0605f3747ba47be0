"""``callkpi completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import argparse

import shtab

from callkpi.commands import cli

EXAMPLE = "callkpi completion bash > /etc/bash_completion.d/callkpi"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)


def main(arguments: argparse.Namespace) -> None:
    print(shtab.complete(_whole_parser(), arguments.shell))


def _whole_parser() -> argparse.ArgumentParser:
    """All commands in one parser, as shtab wants them. ``report send`` has the options of both there."""
    parser = cli.top_parser()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=cli.Parser)
    for name, text in cli.COMMANDS.items():
        if " " not in name:
            cli.module_of(name).arguments(commands.add_parser(name, help=text, description=text))
    return parser
