"""What keeps the code readable, beside the linters: no file grows without a reason."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
MOST_LINES = 500
#: Files that are longer, and why they are not parted.
REASONS = {
    "callkpi/calls/fold.py": "one fold: the state of a call, and what each kind of event does to it",
    "callkpi/daemon/processes.py": "the parent and its children, whose ends hang together",
    "callkpi/projection/timekeeping.py": "times in state: read, swept and written under the same locks",
    "callkpi/sources/asterisk/calls.py": "one reading of a scene, whose steps share what they know",
    "callkpi/sources/asterisk/queue_log.py": "a table of the log's verbs, a function for each",
    "callkpi/sources/bitrix24/kind.py": "a table of the portal's codes, and its two ways of telling one call",
    "callkpi/summaries/assemble.py": "every part of a summary is read in one snapshot",
    "callkpi/summaries/summary.py": "the model of a summary: dataclasses that others only read",
}


def test_no_file_of_the_product_is_long_without_a_reason() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for folder in ("callkpi", "grafana")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} == REASONS.keys()
