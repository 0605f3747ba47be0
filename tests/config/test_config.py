"""Configuration: what is wrong, where, and what to write instead."""

from __future__ import annotations

import dataclasses
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from callkpi import config
from callkpi.config import ConfigError, Tenant


def load(tmp_path: Path, text: str, **env: str) -> config.Settings:
    path = tmp_path / "callkpi.toml"
    path.write_text(text)
    return config.load(path, env)


TWILIO = '[sources.p]\nkind = "twilio"\nsecrets = ["s"]\n'
GOOD = '[tenants.a]\ntimezone = "Asia/Almaty"\n[sources.pbx]\nkind = "asterisk"\ntenant = "a"\ntoken = "t"\n'


TWO = GOOD + '[sources.p]\nkind = "bitrix24"\ntenant = "a"\napplication_tokens = ["t"]\n[tenants.a.same_call]\n'
PORTAL = '[sources.p]\nkind = "bitrix24"\nrest_url = "https://acme.bitrix24.ru/rest/1/s3cret/"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tenants.a", "not valid TOML"),
        ("[sever]\n", "sever: unknown key (did you mean 'server'?)"),
        (GOOD + 'tokken = "x"', "sources.pbx.tokken: unknown key (did you mean 'token'?)"),
        ('[server]\nlisten = "8090"', "server.listen: '8090' must be HOST:PORT"),
        ('[server]\nprocesses = "many"', "server.processes: must be a number"),
        ("[server]\nprocesses = inf", "server.processes: must be a number, not inf"),
        ("[tenants.a]\nwrite_off_days = nan", "tenants.a.write_off_days: must be a number, not nan"),
        ('[tenants.a.goals.g]\nkpi = "missed"\ntarget = inf', "tenants.a.goals.g.target: must be a number, not inf"),
        ("[server]\nprocesses = 0", "server.processes: must be above 0"),
        ('[tenants.a]\ntimezone = "Almaty"', "tenants.a.timezone: 'Almaty' is no IANA zone; write e.g. Asia/Almaty"),
        ('[tenants."a b"]', "tenants.a b: a tenant's name has letters"),
        ('[tenants.a]\nservice_level_formula = "best"', "tenants.a.service_level_formula: 'best' is none of default"),
        ('[tenants.a.business_hours]\nmon = "9-18"', 'must be like "09:00-18:00"'),
        ('[tenants.a.business_hours]\nmonday = "09:00-18:00"', "business_hours.monday: is none of mon"),
        ('[sources.p]\nkind = "bitrix24"', "sources.p.application_tokens: is required"),
        ('[sources.p]\nkind = "bitrix24"\nrest_url = "https://acme.bitrix24.ru/"', "https://PORTAL/rest/USER/SECRET/"),
        (
            '[sources.p]\nkind = "bitrix24"\nrest_url = "https://a.bitrix24.ru/rest/1/s3cret/user.get.json"',
            "without a method behind it",
        ),
        ('[sources.p]\nkind = "bitrix24"\nrest_url = "http://a.ru/rest/1/s3cret/"', "must begin with https://"),
        (PORTAL + "reconcile_seconds = 1", "sources.p.reconcile_seconds: must be at least 5"),
        (PORTAL + "recheck_hours = 9000", "'callkpi backfill' reads older calls"),
        (PORTAL + "requests_per_second = 50", "sources.p.requests_per_second: must be above 0, at most 10"),
        (PORTAL + 'nightly_at = "night"', """sources.p.nightly_at: 'night' must be like "03:30\""""),
        (GOOD + 'rest_url = "https://a.ru/rest/1/s/"', "sources.pbx.rest_url: only kind bitrix24 has one"),
        ('[sources.p]\nkind = "asterisk"', "sources.p.token: is required"),
        ('[sources.p]\ntoken = "x"', "sources.p.kind: is required"),
        (GOOD.replace('tenant = "a"', 'tenant = "b"'), "sources.pbx.tenant: no tenant 'b'"),
        ("[tenants.a.targets]\nservice_level = 80", "targets.service_level: 80 must be a share above 0, at most 1"),
        ("[tenants.a.targets]\nmissed_share = 0", "tenants.a.targets.missed_share: 0 must be a share above 0"),
        ("[tenants.a.targets]\ncallback_minutes = 0", "tenants.a.targets.callback_minutes: must be above 0"),
        ("[tenants.a.targets]\nservice_levle = 0.8", "service_levle: unknown key (did you mean 'service_level'?)"),
        (
            TWO + 'sources = ["pbx", "crm"]',
            "tenants.a.same_call.sources: 'crm' is no source of this tenant; known: pbx, p",
        ),
        (TWO + 'sources = ["pbx"]', "tenants.a.same_call.sources: needs two sources or more, or none"),
        (TWO + 'sources = ["pbx", "p", "pbx"]', "tenants.a.same_call.sources: names a source twice"),
        (TWO + 'by = ["name"]', "tenants.a.same_call.by: 'name' is none of id, number"),
        (TWO + "within_seconds = 0", "tenants.a.same_call.within_seconds: must be from 1 to 900"),
        ("[server]\nmax_viewers = 0", "server.max_viewers: must be above 0"),
        ('[database]\nurl = "mysql://x"', "database.url: must begin with postgresql://"),
        ('[sources.p]\nkind = "zadarma"', "sources.p.secrets: is required"),
        ('[sources.p]\nkind = "mango"\nsecrets = ["s"]', "sources.p.api_key: is required"),
        (TWILIO, "sources.p.public_url: must be this door's address as Twilio has it"),
        (TWILIO + 'public_url = "https://h/hooks/p?a=b"', "without a query, e.g. https://your.host/hooks/p"),
        ('[sources.p]\nkind = "zadarmy"', "sources.p.kind: 'zadarmy' is none of bitrix24"),
        (GOOD + 'timezone = "Moscow"', "sources.pbx.timezone: 'Moscow' is no IANA zone; write e.g. Europe/Moscow"),
        ('[sources.p]\nkind = "csv"\ntoken = "t"', "sources.p.columns.started: is required"),
        (GOOD + 'columns = {started = "D", agnt = "A"}', "sources.pbx.columns.agnt: unknown column (did you mean"),
        (GOOD + 'directions = {In = "in"}', "sources.pbx.directions.In: 'in' is none of inbound"),
        (GOOD + 'outcomes = {Lost = "lost"}', "sources.pbx.outcomes.Lost: 'lost' is none of answered"),
        (GOOD + 'internal_number = "("', "sources.pbx.internal_number: no regular expression"),
    ],
)
def test_what_is_wrong_is_said_with_the_key_and_the_fix(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert words in "\n".join(caught.value.problems)


def test_the_webhooks_address_is_a_secret_from_a_file_and_enough_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("https://acme.bitrix24.ru/rest/1/s3cret/\n")
    text = GOOD + '[sources.p]\nkind = "bitrix24"\ntenant = "a"\n'
    settings = load(tmp_path, text, CALLKPI_SOURCES__P__REST_URL_FILE=str(secret))
    assert settings.portals.keys() == {"p"}
    assert {"https://acme.bitrix24.ru/rest/1/s3cret/", "s3cret"} <= config.secrets_of(settings)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text + 'rest_url = "https://acme.bitrix24.ru/rest/1/s3cret/method/"\n')
    assert "s3cret" not in str(caught.value)


def test_a_pbx_and_a_portal_without_a_rule_are_told_to_count_twice(tmp_path: Path) -> None:
    (told,) = config.doubled(load(tmp_path, TWO))
    assert told.startswith("tenants.a.same_call: a call that both pbx and p tell of counts twice; write sources = [")
    assert '"pbx", "p"' in told
    assert config.doubled(load(tmp_path, TWO + 'sources = ["pbx", "p"]')) == []
    assert config.doubled(load(tmp_path, TWO + 'sources = ["pbx", "p"]\nby = []')) == []
    assert config.doubled(load(tmp_path, GOOD)) == []


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[server]\nlisten = "x"\n[log]\nlevel = "loud"\n[sources.p]\nkind = "native"\n')
    assert len(caught.value.problems) == 3


def test_the_environment_outranks_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    settings = load(
        tmp_path, GOOD, CALLKPI_LISTEN="127.0.0.1:1", CALLKPI_SOURCES__PBX__TOKEN_FILE=str(secret),
        CALLKPI_TENANTS__A__TALKED_SECONDS="30", CALLKPI_DATA_DIR="/data",
    )  # fmt: skip
    assert (settings.address, settings.sources["pbx"].token) == (("127.0.0.1", 1), "from-a-file")
    assert (settings.tenants["a"].talked_seconds, settings.database.data_dir) == (30.0, "/data")


@pytest.mark.parametrize("name", ["CALLKPI_LISTENS", "CALLKPI_SERVER__LISTN", "CALLKPI_SERVER__API_TOKEN_FILE"])
def test_a_variable_that_is_no_setting_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, GOOD, **{name: "/no/such/file"})


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_setting(tmp_path: Path) -> None:
    names = ("CALLKPI_PORT", "CALLKPI_PORT_8090_TCP_ADDR", "CALLKPI_SERVICE_HOST", "CALLKPI_SERVICE_PORT_HTTP")
    assert load(tmp_path, GOOD, **dict.fromkeys(names, "tcp://10.0.0.1:8090")) == load(tmp_path, GOOD)


def test_the_example_is_valid_with_every_key_uncommented(tmp_path: Path) -> None:
    lines = config.example().splitlines()
    assert config.load(None, {"CALLKPI_CONFIG": str(_write(tmp_path, lines))}) == config.Settings()
    keys = [line[2:] if line.startswith("# ") and (" = " in line or line[2] == "[") else line for line in lines]
    told = tomllib.loads("\n".join(key for key in keys if not key.startswith("#") and "none" not in key))
    assert {field.name for field in dataclasses.fields(config.Settings)} == set(told)
    assert {source["kind"] for source in told["sources"].values()} == set(config.SourceKind)
    assert told["tenants"]["default"]["targets"] == dataclasses.asdict(config.Targets())


def test_every_secret_of_a_source_is_known_to_whoever_takes_secrets_out(tmp_path: Path) -> None:
    settings = load(tmp_path, '[sources.p]\nkind = "mango"\napi_key = "k"\nsecrets = ["a", "b"]\ntoken = "t"')
    assert config.secrets_of(settings) == {"k", "a", "b", "t"}


def test_times_of_a_source_are_of_its_own_zone_else_of_its_tenants(tmp_path: Path) -> None:
    settings = load(tmp_path, GOOD + '[sources.q]\nkind = "native"\ntenant = "a"\ntoken = "t"\ntimezone = "Asia/Omsk"')
    zones = {name: settings.with_zone(source).zone.key for name, source in settings.sources.items()}
    assert zones == {"pbx": "Asia/Almaty", "q": "Asia/Omsk"}


def _write(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "example.toml"
    path.write_text("\n".join(lines))
    return path


HOURS = Tenant(
    timezone="Asia/Almaty",
    business_hours={"mon": "09:00-18:00", "tue": "22:00-06:00"},
    holidays=("2026-11-30",),
)


@pytest.mark.parametrize(
    ("local", "is_open"),
    [
        ("2026-11-23T08:59", False), ("2026-11-23T09:00", True), ("2026-11-23T17:59", True),
        ("2026-11-23T18:00", False),
        ("2026-11-24T21:59", False), ("2026-11-24T23:00", True), ("2026-11-25T05:59", True),
        ("2026-11-25T06:00", False),
        ("2026-11-30T10:00", False),
    ],
)  # fmt: skip
def test_business_hours_of_the_centres_own_day_over_midnight_and_holidays(local: str, is_open: bool) -> None:
    at = datetime.fromisoformat(local).replace(tzinfo=HOURS.zone).astimezone(UTC)
    assert config.is_open(HOURS, at) is is_open
