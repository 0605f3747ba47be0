"""The command line, run as people run it."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from typing import Any

from tests.stand_ins.daemon import Daemon


def say(kind: str, at: datetime, **facts: Any) -> dict[str, Any]:
    return {"call_id": "c", "kind": kind, "at": at.isoformat(), "direction": "inbound", **facts}


def callkpi(*arguments: str, target: Daemon | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "callkpi", *arguments], capture_output=True, text=True, check=False, cwd="/tmp",
        env=target.environment if target else None,
    )  # fmt: skip
