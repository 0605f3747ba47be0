"""Files that come with the package: sql/ and grafana/, installed or in a checkout."""

from __future__ import annotations

from pathlib import Path


def directory(name: str) -> Path:
    """The directory *name* (``sql``, ``grafana``), wherever the package was installed from."""
    package = Path(__file__).resolve().parent.parent
    return next((path for path in (package / name, package.parent / name) if path.is_dir()), package / name)
