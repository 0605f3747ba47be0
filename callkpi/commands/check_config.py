"""``callkpi check-config``: what is wrong with the configuration, what is in doubt, and who answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from callkpi import config
from callkpi.commands.common import load, run, takes_config
from callkpi.sources.bitrix24.settings import funnels

EXAMPLE = "callkpi check-config --connect"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)
    parser.add_argument(
        "--connect", action="store_true", help="try what is configured: PBXes, portals, mail, Telegram, the database"
    )
    parser.add_argument("--show-secrets", action="store_true", help="whole addresses of the doors, with their tokens")


def main(arguments: argparse.Namespace) -> None:
    file = config.chosen_file(arguments.config)
    read = str(file.absolute()) if file is not None else "no file, the environment alone"
    try:
        settings = load(arguments.config)
    except config.ConfigError as error:
        for line in [f"Read: {read}", *error.problems]:
            print(line, file=sys.stderr)
        sys.exit(2)
    print(f"Read: {read}")
    _summary(settings)
    _doors(settings, shows_secrets=arguments.show_secrets)
    for doubt in [*config.doubts(settings), *missing_folders(settings)]:
        print(f"Note: {doubt}", file=sys.stderr)
    for warning in config.warnings(settings):
        print(f"Warning: {warning}", file=sys.stderr)
    if arguments.connect and not _connects(settings):
        sys.exit(1)


def _summary(settings: config.Settings) -> None:
    sources = ", ".join(f"{name} ({source.kind})" for name, source in settings.sources.items()) or "none"
    weak = [*config.doubts(settings), *missing_folders(settings), *config.warnings(settings)]
    verdict = f"can be used; what to look at follows ({len(weak)})" if weak else "is good"
    print(f"The configuration {verdict}. Tenants: {', '.join(settings.tenants)}. Sources: {sources}.")
    for name, source in funnels(settings).items():
        how = "only logged (dry_run)" if source.funnel.dry_run else "written"
        print(
            f"The call funnel of tenant {source.tenant} is {how} into the CRM of {name}, "
            f'pipeline "{source.funnel.pipeline}"; its webhook needs the rights telephony and crm.'
        )
    print(f"Listens on {settings.server.listen}; database: {'given' if settings.database.url else settings.data_dir}.")


def _doors(settings: config.Settings, *, shows_secrets: bool) -> None:
    from callkpi.commands.trials import doors

    for door in doors(settings, shows_secrets=shows_secrets):
        print(f"Door: {door}")


def _connects(settings: config.Settings) -> bool:
    """Print what came of each trial. Whether all went well."""
    from callkpi.commands.trials import tried

    results = run(tried(settings))
    for result in results:
        print(f"{'ok   ' if result.is_good else 'FAILS'} {result.name}: {result.text}")
    return all(result.is_good for result in results)


def missing_folders(settings: config.Settings) -> Iterator[str]:
    """Places that callkpi writes files to and never makes: it could do so behind a mount that is missing."""
    if settings.retention.archive_dir and not Path(settings.retention.archive_dir).is_dir():
        yield f"retention.archive_dir: {settings.retention.archive_dir} is not there; make it, or mount what it lies on"
    for tenant, own in settings.tenants.items():
        for name, report in own.reports.items():
            for to in report.to:
                way, _, place = to.partition(":")
                if way == "folder" and not Path(place).is_dir():
                    where = f"tenants.{tenant}.reports.{name}.to"
                    yield f"{where}: {place} is not there; make it, or mount what it lies on"
