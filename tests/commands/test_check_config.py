"""``callkpi check-config``: which file, which doors, what is in doubt, and who answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from callkpi import config
from callkpi.commands.trials import Result, tried
from tests.stand_ins import ami_server, esl_server
from tests.stand_ins.daemon import free_port
from tests.stand_ins.portal import Portal
from tests.stand_ins.receivers import Server

GOOD = "f3b1c7" * 8


@pytest.fixture
async def ami() -> AsyncIterator[ami_server.AmiServer]:
    server = ami_server.AmiServer(ami_server.recorded())
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def esl() -> AsyncIterator[esl_server.EslServer]:
    server = esl_server.EslServer()
    await server.start()
    yield server
    await server.stop()


def check(tmp_path: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "callkpi.toml"
    file.write_text(text)
    command = [sys.executable, "-m", "callkpi", "check-config", *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLKPI_")}
    root = str(Path(__file__).parent.parent.parent)
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**kept, "PYTHONPATH": root}, timeout=60
    )


async def test_what_is_configured_is_tried_each_with_a_line(
    tmp_path: Path, dsn: str, ami: ami_server.AmiServer, esl: esl_server.EslServer, server: Server
) -> None:
    mail = Controller(Sink(), hostname="127.0.0.1", port=free_port())
    mail.start()
    portal = Portal()
    portal.crm.scopes = ["telephony", "im"]
    async with portal.serving():
        settings = config.Settings(
            database=config.Database(url=config.Secret(dsn), data_dir=str(tmp_path / "data")),
            mail=config.Mail(f"127.0.0.1:{mail.port}", "none", sender="a@example.com"),
            telegram=config.Telegram(token=config.Secret("tok"), api_url=server.url),
            tenants={"default": config.Tenant(reports={"daily": config.Report(to=(
                "telegram:1", "bitrix24:portal/chat42", f"folder:{tmp_path}", f"folder:{tmp_path}/missing",
            ))})},
            sources={
                "pbx": config.new_source(
                    "asterisk", ami_address=f"127.0.0.1:{ami.port}", ami_user="callkpi", ami_secret=ami_server.SECRET
                ),
                "fs": config.new_source(
                    "freeswitch", esl_address=f"127.0.0.1:{esl.port}", esl_password=esl_server.PASSWORD
                ),
                "portal": config.new_source("bitrix24", rest_url=portal.url),
                "log": config.new_source("asterisk", queue_log=str(tmp_path / "queue_log")),
            },
        )  # fmt: skip
        said = {result.name: result for result in await tried(settings)}
        bad = {name for name, result in said.items() if not result.is_good}
        assert bad == {"sources.log", f"folder {tmp_path}/missing"}
        assert said["sources.pbx"].text == f"the manager interface at 127.0.0.1:{ami.port} lets callkpi in"
        assert said["sources.portal"].text.endswith("has the rights telephony, im")
        assert said["spool"].text == f"{tmp_path}/data will be made" and not (tmp_path / "data").exists()
        assert "up to date" in said["database"].text

        portal.crm.scopes = ["telephony"]
        wrong = replace(settings, sources={
            **settings.sources,
            "pbx": replace(settings.sources["pbx"], ami_secret="wrong-secret"),  # type: ignore[call-arg]
            "fs": replace(settings.sources["fs"], esl_password="wrong-secret"),  # type: ignore[call-arg]
        })  # fmt: skip
        said = {result.name: result for result in await tried(wrong)}
    mail.stop()
    assert not said["sources.pbx"].is_good and "login as 'callkpi'" in said["sources.pbx"].text
    assert not said["sources.fs"].is_good
    assert said["sources.portal"] == Result(
        "sources.portal", is_good=False,
        text="the webhook of rest_url lacks the rights im (to send reports); add them in the portal",
    )  # fmt: skip
    assert "wrong-secret" not in "".join(result.text for result in said.values())


async def test_who_does_not_answer_is_told_of_in_one_line_without_the_secret(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    settings = config.Settings(
        database=config.Database(url=config.Secret(f"postgresql://u:{GOOD}@{nobody}/x"), data_dir=str(tmp_path)),
        mail=config.Mail(nobody, "none", "u", config.Secret(GOOD), "a@example.com"),
        telegram=config.Telegram(token=config.Secret(GOOD), api_url=f"http://{nobody}"),
        sources={"pbx": config.new_source("asterisk", ami_address=nobody, ami_user="u", ami_secret=GOOD)},
    )
    said = [result for result in await tried(settings) if result.name != "spool"]
    assert [result.name for result in said if not result.is_good] == ["database", "sources.pbx", "mail", "telegram"]
    assert all(GOOD not in result.text and "\n" not in result.text and result.text for result in said)


SOURCE = f'[sources.pbx]\nkind = "native"\ntoken = "{GOOD}"\n'


def test_the_file_and_the_doors_are_named_and_a_secret_only_on_request(tmp_path: Path) -> None:
    text = f'[server]\npublic_url = "https://calls.example.com/"\n{SOURCE}'
    said = check(tmp_path, text)
    assert said.returncode == 0 and said.stderr == ""
    assert said.stdout.splitlines()[:2] == [
        f"Read: {tmp_path}/callkpi.toml", "The configuration is good. Tenants: default. Sources: pbx (native).",
    ]  # fmt: skip
    assert "Door: pbx (native): https://calls.example.com/hooks/pbx?token=********\n" in said.stdout
    assert f"/hooks/pbx?token={GOOD}\n" in check(tmp_path, text, "--show-secrets").stdout
    assert f"Read: {tmp_path}/callkpi.toml" in check(tmp_path, "[serve]\n").stderr


def test_connect_ends_with_a_status_that_says_whether_all_answered(tmp_path: Path) -> None:
    text = f'[database]\ndata_dir = "{tmp_path}/data"\n{SOURCE}'
    good = check(tmp_path, text, "--connect")
    assert good.returncode == 0 and "ok    spool: " in good.stdout and not (tmp_path / "data").exists()
    nobody = f'[sources.a]\nkind="asterisk"\nami_address="127.0.0.1:{free_port()}"\nami_user="u"\nami_secret="s"\n'
    bad = check(tmp_path, text + nobody, "--connect")
    assert bad.returncode == 1 and "FAILS sources.a: " in bad.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "sources: there is none, so nothing will be counted"),
        (f'[server]\nlisten = "0.0.0.0:8090"\nmetrics_token = "{GOOD}"\n{SOURCE}', "there is no token: nobody but"),
        (f'[tenants.default.reports.d]\nto = ["folder:/no/such/place"]\n{SOURCE}', "/no/such/place is not there"),
        (
            '[tenants.default.queues.sales]\n[tenants.default.shifts.n]\nhours = "08:00-20:00"\nqueues = ["sale"]\n'
            + SOURCE,
            "tenants.default.shifts.n.queues: 'sale' is none of sales (did you mean 'sales'?)",
        ),
    ],
)
def test_what_hardly_anybody_means_is_told_of_and_not_called_good(tmp_path: Path, text: str, words: str) -> None:
    said = check(tmp_path, text)
    assert said.returncode == 0 and f"{words}" in said.stderr
    assert "The configuration can be used; what to look at follows (1)." in said.stdout


def test_a_shift_of_a_team_that_nobody_can_be_in_is_told_of(tmp_path: Path) -> None:
    shift = '[tenants.default.shifts.n]\nhours = "08:00-20:00"\nteam = "night"\n'
    said = check(tmp_path, SOURCE + shift)
    assert said.returncode == 0 and "tenants.default.shifts.n.team: 'night' is none of the teams (none)" in said.stderr
    portal = '[sources.p]\nkind = "bitrix24"\nrest_url = "https://a.bitrix24.ru/rest/1/s3cret/"\n'
    assert "shifts" not in check(tmp_path, SOURCE + portal + shift).stderr, "a portal's department may be called so"
