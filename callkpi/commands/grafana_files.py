"""``callkpi grafana-files DIR``: the provisioning files that come with the package, where Grafana shall read them."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from callkpi.commands.common import UsageError
from callkpi.database import resources

EXAMPLE = "callkpi grafana-files /etc/callkpi-grafana"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="made if it is not there; files of ours are replaced"
    )


def main(arguments: argparse.Namespace) -> None:
    try:
        files = write(arguments.directory)
    except OSError as error:
        raise UsageError(f"{arguments.directory}: can't be written: {error.strerror}") from None
    print(
        f"{len(files)} files in {arguments.directory}. Give Grafana its provisioning/datasources and "
        "provisioning/dashboards; datasources/callkpi.yaml says which variables and secrets it needs."
    )


#: Where the provider looks in a container of docker-compose.yml.
_IN_CONTAINER = "/var/lib/grafana/dashboards/callkpi"
_TREES = ("provisioning", "dashboards", "prometheus", "alertmanager")
#: Files that people make their own: they stay as they are.
_OF_PEOPLE = ("provisioning/datasources/callkpi.yaml", "prometheus/prometheus.yml", "alertmanager/alertmanager.yml")


def write(directory: Path) -> list[Path]:
    """Copy the files to *directory*, made if need be; the provider names the dashboards there. Returns the files."""
    source = resources.directory("grafana")
    written = []
    for path in sorted(path for tree in _TREES for path in (source / tree).rglob("*") if path.is_file()):
        name = path.relative_to(source)
        target = directory / name
        if name.as_posix() in _OF_PEOPLE and target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        written.append(target)
    provider = directory / "provisioning" / "dashboards" / "callkpi.yaml"
    here = str((directory / "dashboards").absolute())
    provider.write_text(provider.read_text("utf-8").replace(_IN_CONTAINER, here), "utf-8")
    return written
