"""``python -m tests.bench``: what callkpi costs, against a bare aiohttp handler on the same machine in the same run."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench.daemon import Broken
from tests.bench.parts import PARTS, QUICK, Bench, Sizes
from tests.bench.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog="example: python -m tests.bench --quick --only throughput lag --json figures.json",
    )
    parser.add_argument("--quick", action="store_true", help="two minutes instead of an hour")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="NAME", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the line of JSON there too")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    report.header()
    # PostgreSQL must reach it: it runs as an account of its own where the benchmark runs as root.
    directory = Path(tempfile.mkdtemp(prefix="callkpi-bench-"))
    directory.chmod(0o755)
    try:
        bench = Bench(directory, QUICK if arguments.quick else Sizes(), report)
        for part in PARTS:
            if part in (arguments.only or PARTS):
                try:
                    getattr(bench, part)()
                except Broken as error:
                    report.fail(part, str(error))
    except KeyboardInterrupt:
        report.failures.append("interrupted")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(report.line())
    if arguments.json:
        arguments.json.write_text(report.line() + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
