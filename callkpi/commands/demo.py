"""``callkpi demo``: the daemon with a simulated shift, so that a newcomer sees living numbers at once.

The simulator is a client like any other: it posts to the webhook doors and writes no table. The tenant is called
``simulated`` and every name says so, on each screen and in each metric.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from callkpi import log
from callkpi.commands import common, simulator
from callkpi.commands.common import UsageError
from callkpi.config.words import is_zone
from callkpi.daemon import processes
from callkpi.database import embedded

EXAMPLE = "callkpi demo"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="N", help="simulated seconds per second (default 1)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another number is another shift")


def main(arguments: argparse.Namespace) -> None:
    if not 0.1 <= arguments.speed <= 100:
        raise UsageError(f"--speed: {arguments.speed:g} must be 0.1 to 100")
    common.run(run(arguments.speed, arguments.seed))


_CONFIG = """# Written by 'callkpi demo' at each start.
[server]
listen = "{listen}"

[database]
data_dir = "{data_dir}"

[log]
level = "warning"

[tenants.simulated]
timezone = "{timezone}"
region = "KZ"

[tenants.simulated.shifts.day]
name = "Day (simulated)"
hours = "08:00-20:00"

[tenants.simulated.shifts.night]
name = "Night (simulated)"
hours = "20:00-08:00"

{names}[sources.pbx]
kind = "asterisk"
tenant = "simulated"
token = "{token}"

[sources.portal]
kind = "bitrix24"
tenant = "simulated"
application_tokens = ["{token}"]
"""
WELCOME = """
callkpi demo: a SIMULATED shift of {agents} agents, three queues and a direct line.

  {url}/board                   open this first: the live board (?lang=ru, ?theme=light)
  {url}/reports                 summaries of shifts, down to the calls behind each figure
  {url}/metrics                 Prometheus metrics
  {url}/api/v1/kpi?by=queue     today's KPIs by queue (by=agent, line, direction, outcome)
  {url}/api/v1/missed           customers who wait for a call back
  {url}/api/v1/calls            the calls themselves

Stop with Ctrl-C.
"""


async def run(speed: float, seed: int) -> None:
    """Serve and simulate until SIGTERM or SIGINT. Raises processes.Failed."""
    base = common.load(env={k: v for k, v in os.environ.items() if k in ("CALLKPI_LISTEN", "CALLKPI_DATA_DIR")})
    directory = base.data_dir / "demo"
    token = secrets.token_hex(16)
    path = await asyncio.to_thread(_prepare, directory, base.server.listen, token)
    settings = common.load(path, env={})
    log.configure(settings)
    simulating: list[asyncio.Task[None]] = []
    stop = asyncio.Event()

    def ready() -> None:
        host, port = settings.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        print(WELCOME.format(url=url, agents=len(simulator.TEAM)), flush=True)
        profile = simulator.Profile(application_token=token, pace=speed)
        shift = simulator.shift(seed, datetime.now(UTC) - simulator.HISTORY, profile)
        tokens = {"pbx": token}
        simulating.append(asyncio.create_task(simulator.run(shift, url, tokens, 1.0, stop)))

    try:
        await processes.serve(settings, ready)
    finally:
        stop.set()
        for task in simulating:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


def _prepare(directory: Path, listen: str, token: str) -> Path:
    """A fresh directory with the demo's configuration; yesterday's simulated calls are of no use."""
    data_dir = directory / "data"
    if embedded.is_running(data_dir / "postgres"):
        raise processes.Failed(f"another demo runs in {directory}; stop it first")
    shutil.rmtree(data_dir, ignore_errors=True)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise processes.Failed(f"can't make {data_dir}: {error.strerror}; set CALLKPI_DATA_DIR") from None
    path = directory / "callkpi.toml"
    path.touch(mode=0o600)
    queues = "".join(
        f'[tenants.simulated.queues.{name}]\nname = "{name} (simulated)"\n\n' for name in ("sales", "support", "vip")
    )
    agents = "".join(
        f'[tenants.simulated.agents."{agent.user_id}"]\nname = "{agent.name}"\n\n' for agent in simulator.TEAM
    )
    text = _CONFIG.format(listen=listen, data_dir=data_dir, timezone=_zone(), token=token, names=queues + agents)
    path.write_text(text, "utf-8")
    return path


def _zone() -> str:
    """The newcomer's zone, so that 'today' is his day: that of TZ, else this machine's where it has a name."""
    if told := os.environ.get("TZ", "").removeprefix(":"):
        name = told.split("zoneinfo/")[-1]
        if is_zone(name):
            return name
        # Hours from UTC, as POSIX writes them; the names of such zones count them the other way round.
        hours = (datetime.now().astimezone().utcoffset() or timedelta()) / timedelta(hours=1)
        return f"Etc/GMT{-hours:+.0f}" if hours and hours == int(hours) else "UTC"
    with contextlib.suppress(OSError):
        target = os.readlink("/etc/localtime")
        if "zoneinfo/" in target:
            return target.split("zoneinfo/")[1]
    return "UTC"
