"""Every alert of callkpi, once; each subject is a file. ``python -m grafana.generator.alerts [--check]``
writes (or compares) the rules for Prometheus and the same rules as Grafana manages them.

How the rules are built, and why:

- *Floor alerts* read the exact windows of ``callkpi/figures/recent.py`` and no rates: a burst of old calls, a restart,
  a gap in the scrapes or a new series can't move them, and a window never reaches into the time before the opening.
- They hold only while the call centre is open, and not in its first minutes (``open_seconds``).
- Every replica exports the same numbers: ``max by``, never ``sum``.
- Nothing fires below a minimum of calls: two of three is no trend.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace

from grafana.generator import alert_files, writing
from grafana.generator.alert_model import Alert, Group, Limits
from grafana.generator.alerts_of_daemon import daemon
from grafana.generator.alerts_of_floor import floor, records
from grafana.generator.alerts_of_sources import silence, sources


def groups(limits: Limits | None = None) -> tuple[Group, ...]:
    """Everything, in the order in which a rule may read another."""
    limits = limits or Limits()
    return (
        Group(name="callkpi.records", interval="15s", records=tuple(records())),
        Group(name="callkpi.floor", interval="15s", alerts=tuple(floor(limits))),
        Group(
            name="callkpi.sources", interval="1m",
            records=tuple(silence(limits)), alerts=tuple(sources(limits)),
        ),
        Group(name="callkpi.daemon", interval="15s", alerts=tuple(daemon(limits))),
    )  # fmt: skip


def paced(rules: Iterable[Group], *, interval: str, hold: str, keep: str) -> tuple[Group, ...]:
    """The same rules evaluated at another pace, for trials. Expressions, thresholds and windows are not touched."""
    return tuple(
        replace(
            group,
            interval=interval,
            alerts=tuple(replace(alert, hold=hold, keep=keep if alert.keep else "") for alert in group.alerts),
        )
        for group in rules
    )


def all_alerts(limits: Limits | None = None) -> list[Alert]:
    return [alert for group in groups(limits) for alert in group.alerts]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.generator.alerts", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a file is not up to date")
    return writing.write(alert_files.files(groups()), check=parser.parse_args(arguments).check)


if __name__ == "__main__":
    sys.exit(main())
