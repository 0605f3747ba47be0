"""``python -m grafana.generator`` writes the dashboards; ``--check`` says which files are not what it would write."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from grafana.generator import agents, funnel, missed, queues, shift, sources, wall
from grafana.generator.model import LANGUAGES, Dashboard

FILES = Path(__file__).resolve().parent.parent / "dashboards"


def dashboards() -> list[Dashboard]:
    modules = (wall, queues, agents, funnel, missed, shift, sources)
    return [module.dashboard() for module in modules]


def files() -> Iterator[tuple[Path, str]]:
    """Every file by its place under grafana/dashboards, with its content."""
    for language in LANGUAGES:
        for dashboard in dashboards():
            content = json.dumps(dashboard.to_json(language), ensure_ascii=False, indent=1) + "\n"
            yield FILES / language / f"{dashboard.uid(language)}.json", content


def stale() -> list[str]:
    """Names of files that are missing, old, or not ours."""
    wanted = dict(files())
    found = set(FILES.rglob("*.json"))
    old = [path for path, content in wanted.items() if path not in found or path.read_text("utf-8") != content]
    return sorted(str(path.relative_to(FILES)) for path in {*old, *(found - set(wanted))})


def write() -> None:
    wanted = dict(files())
    for path in set(FILES.rglob("*.json")) - set(wanted):
        path.unlink()
    for path, content in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m grafana.generator", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not up to date")
    if parser.parse_args().check:
        names = stale()
        for name in names:
            print(f"{name}: not up to date; run python -m grafana.generator", file=sys.stderr)
        sys.exit(1 if names else 0)
    write()


if __name__ == "__main__":
    main()
