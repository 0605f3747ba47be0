"""``callkpi check-config``: what is wrong with the configuration, and what is in doubt."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from callkpi import config
from callkpi.commands.common import load, takes_config
from callkpi.sources.bitrix24.settings import funnels

EXAMPLE = "callkpi check-config"


def arguments(parser: argparse.ArgumentParser) -> None:
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    try:
        settings = load(arguments.config)
    except config.ConfigError as error:
        for line in error.problems:
            print(line, file=sys.stderr)
        sys.exit(2)
    sources = ", ".join(f"{name} ({source.kind})" for name, source in settings.sources.items()) or "none"
    print(f"The configuration is good. Tenants: {', '.join(settings.tenants)}. Sources: {sources}.")
    for name, source in funnels(settings).items():
        how = "only logged (dry_run)" if source.funnel.dry_run else "written"
        print(
            f"The call funnel of tenant {source.tenant} is {how} into the CRM of {name}, "
            f'pipeline "{source.funnel.pipeline}"; its webhook needs the rights telephony and crm.'
        )
    print(f"Listens on {settings.server.listen}; database: {'given' if settings.database.url else settings.data_dir}.")
    for doubt in [*config.doubled(settings), *_missing_folders(settings)]:
        print(f"Note: {doubt}", file=sys.stderr)
    for warning in config.warnings(settings):
        print(f"Warning: {warning}", file=sys.stderr)


def _missing_folders(settings: config.Settings) -> Iterator[str]:
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
