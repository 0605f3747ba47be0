"""The command line: which commands there are. What one takes and does stands in the file of its name.

Only the file of the command that was typed is imported, and the daemon starts the faster for it. An error that the user
can mend is one line on stderr and exit status 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from callkpi import __version__, config
from callkpi.commands.common import UsageError, fail
from callkpi.config.words import guess

#: Every command, with what it does. ``report send`` lives in report_send.py. Each file has an EXAMPLE, a function
#: ``arguments`` that adds its options to a parser, and a function ``main`` that does the work.
COMMANDS = {
    "serve": "run the daemon",
    "reload": "let the running daemon take a changed configuration",
    "demo": "run the daemon with a simulated shift",
    "report": "print the KPIs of a period",
    "report send": "send a configured report",
    "summary": "print the summary of a shift or a period, or write it into a file",
    "missed": "print customers who wait for a call back",
    "audit": "print who has read full numbers and raw payloads, exported and changed what",
    "roster": "import who is planned to work when",
    "check-config": "say what is wrong with the configuration, and try what it names",
    "example-config": "print a commented callkpi.toml to begin with, all of its keys, or its schema",
    "grafana-files": "write dashboards and provisioning for a Grafana of your own",
    "replay": "send recorded traffic to a running daemon",
    "backfill": "read calls of the past from a portal or a file, beside a running daemon or without one",
    "crm-funnel": "print what the daemon would write into a portal's CRM",
    "replay-rejected": "take payloads that were rejected, after a fix",
    "erase": "replace a customer's number by a pseudonym everywhere; the figures stay",
    "migrate": "bring the database's schema up to date",
    "rebuild": "compute everything again from the journal (stop the daemon first)",
    "doctor": "check that rollups equal calls and calls equal the journal",
    "completion": "print what a shell needs to complete callkpi's commands and options",
}
#: What the daemon starts its own processes with; nobody types it.
CHILD = "_child"


class Parser(argparse.ArgumentParser):
    """Errors are one line that says where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


def main(argv: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name, rest = _command_of(words)
        module = module_of(name)
        module.main(parser_of(name, module).parse_args(rest))
    except (UsageError, FileNotFoundError) as error:
        fail(str(error))
    except config.ConfigError as error:
        fail("bad configuration: " + "; ".join(error.problems))
    except BrokenPipeError:
        sys.stderr.close()
    except KeyboardInterrupt:
        sys.exit(130)


def _command_of(words: list[str]) -> tuple[str, list[str]]:
    """The command that was typed, and what follows it. Help and version are answered here."""
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in COMMANDS or name == CHILD:
            return name, words[count:]
    if words and not words[0].startswith("-"):
        raise UsageError(f"there is no command {words[0][:40]!r}{guess(words[0], COMMANDS)}; see 'callkpi --help'")
    top_parser().parse_args(words)
    raise UsageError("a command is needed; see 'callkpi --help'")


def top_parser() -> Parser:
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {name:{width}}{text}" for name, text in COMMANDS.items())
    parser = Parser(
        prog="callkpi",
        usage="callkpi [-h] [--version] COMMAND ...",
        description="Call-centre analytics: telephony events to calls, to a funnel, to KPIs.",
        epilog=f"commands:\n{listed}\n\n'callkpi COMMAND --help' says more.\nexample: callkpi demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"callkpi {__version__}")
    return parser


def parser_of(name: str, module: Any) -> Parser:
    """The parser of one command."""
    text = COMMANDS.get(name, "")
    parser = Parser(prog=f"callkpi {name}", description=text, epilog=f"example: {module.EXAMPLE}")
    module.arguments(parser)
    return parser


def module_of(name: str) -> Any:
    """The module of a command."""
    file = "child" if name == CHILD else name.replace("-", "_").replace(" ", "_")
    return import_module(f"callkpi.commands.{file}")
