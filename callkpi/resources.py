"""Files that come with the package: sql/ and grafana/, installed or in a checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def directory(name: str) -> Path:
    """The directory *name* (``sql``, ``grafana``), wherever the package was installed from."""
    checkout = Path(__file__).resolve().parent.parent / name
    if checkout.is_dir():
        return checkout
    return Path(str(resources.files("callkpi").joinpath(name)))
