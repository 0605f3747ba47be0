"""``callkpi grafana-files DIR``: the provisioning files that come with the package, where Grafana shall read them."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from callkpi import config
from callkpi.commands.common import UsageError, takes_config
from callkpi.database import resources

EXAMPLE = "callkpi grafana-files /etc/callkpi-grafana --url https://callkpi.example.com"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="made if it is not there; files of ours are replaced"
    )
    parser.add_argument(
        "--url", metavar="URL", help="where people reach the daemon; alerts lead to its handbook (else public_url)"
    )
    takes_config(parser)


def main(arguments: argparse.Namespace) -> None:
    url = config.load(arguments.config).server.public_url if arguments.url is None else arguments.url
    if url and not re.fullmatch(r"https?://[^\s?#\"'{}]+", url):
        raise UsageError(f"--url: {url!r} must be an address, e.g. https://callkpi.example.com")
    try:
        files = write(arguments.directory, url)
    except OSError as error:
        raise UsageError(f"{arguments.directory}: can't be written: {error.strerror}") from None
    print(
        f"{len(files)} files in {arguments.directory}. Give Grafana its provisioning/datasources and "
        "provisioning/dashboards; datasources/callkpi.yaml says which variables and secrets it needs."
    )
    if not url:
        print(f"Alerts lead to the handbook at {_DAEMON}: name another address by --url or server.public_url.")


#: Where the provider looks in a container of docker-compose.yml.
_IN_CONTAINER = "/var/lib/grafana/dashboards/callkpi"
_TREES = ("provisioning", "dashboards", "prometheus", "alertmanager")
#: Where alerts look for the handbook unless they are told (DAEMON in grafana/generator/alert_model.py).
_DAEMON = "http://127.0.0.1:8090"
_WITH_ALERTS = ("prometheus/callkpi.rules.yaml", "provisioning/alerting/callkpi.yaml")
#: Files that people make their own: they stay as they are.
_OF_PEOPLE = ("provisioning/datasources/callkpi.yaml", "prometheus/prometheus.yml", "alertmanager/alertmanager.yml")


def write(directory: Path, url: str = "") -> list[Path]:
    """Copy the files to *directory*, made if need be; the provider names the dashboards there, and alerts the handbook
    at *url*. Returns the files.
    """
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
    for alerts in (directory / name for name in _WITH_ALERTS if url):
        text = alerts.read_text("utf-8")
        alerts.write_text(text.replace(f"{_DAEMON}/handbook/", f"{url.rstrip('/')}/handbook/"), "utf-8")
    return written
