"""How a file is read: every fault at once, with its key and the cure, and never a secret."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from callkpi import config
from callkpi.config import ConfigError, setting
from callkpi.config import source as kinds_of_sources
from callkpi.sources import SOURCE_TYPES

SECRET = "f3b1c7-d0-not-show"


def load(tmp_path: Path, text: str, **env: str) -> config.Settings:
    path = tmp_path / "callkpi.toml"
    path.write_text(text)
    return config.load(path, env)


def problems(tmp_path: Path, text: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **env)
    return caught.value.problems


BAD = """
[server]
processes = 2.5
max_waiting = 0
max_viewers = true
listen = "8090"
[log]
levle = "info"
[tenants.a]
service_level_formula = "answerd"
holidays = [2026]
talked_seconds = "long"
[tenants.a.queues]
sales = "Sales"
[sources.p]
kind = "bitrx24"
tenant = "b"
application_tokens = ["x"]
tokne = "y"
[sources.q]
tenant = "a"
silent_minutes = 0.5
[sources.r]
kind = "native"
tenant = "a"
token = "f3b1c7d0e9a8b7c6"
application_tokens = ["x"]
[tenants.a.same_call]
sources = ["p", "q"]
"""


def test_no_fault_hides_another(tmp_path: Path) -> None:
    assert problems(tmp_path, BAD) == [
        "server.processes: must be a whole number, not 2.5",
        "server.max_waiting: must be above 0, not 0",
        "server.max_viewers: must be a number, not True",
        "log.levle: unknown key (did you mean 'level'?); known here: format, level",
        "tenants.a.service_level_formula: 'answerd' is none of default, answered, offered, with_abandons "
        "(did you mean 'answered'?)",
        "tenants.a.talked_seconds: must be a number, not 'long'",
        'tenants.a.holidays: must be a list of strings, e.g. ["a", "b"]',
        "tenants.a.queues.sales: must be a table, not text",
        "sources.p.kind: 'bitrx24' is none of bitrix24, asterisk, native, zadarma, mango, megafon, twilio, freeswitch, "
        "uis, binotel, onlinepbx, sipuni, threecx, csv (did you mean 'bitrix24'?)",
        "sources.p.tokne: unknown key (did you mean 'token'?); known here: kind, tenant, token, timezone, "
        "internal_number, columns, directions, outcomes, silent_minutes, dedupe_seconds",
        "sources.q.kind: is required; write one of bitrix24, asterisk, native, zadarma, mango, megafon, twilio, "
        "freeswitch, uis, binotel, onlinepbx, sipuni, threecx, csv",
        "sources.r.application_tokens: only kind bitrix24 has one; remove it",
        "server.listen: '8090' must be HOST:PORT, e.g. 127.0.0.1:8090",
        "tenants.a.same_call.sources: 'p' is no source of this tenant; known: q, r",
        "sources.p.tenant: no tenant 'b'; add [tenants.b] or name one of: a",
        "sources.q.silent_minutes: must be at least 1, or 0 for a source that may be silent",
    ]


def test_a_guess_is_the_word_that_a_person_writes(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, '[sources.p]\nkind = "bitrix"\n')
    assert told.endswith("(did you mean 'bitrix24'?)") and "<" not in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[sources.p]\nkind = "asterisk"\ntoken = "t"\nsecrets = ["s"]', "only kinds zadarma, mango, twilio have one"),
        ('[sources.p]\nkind = "asterisk"\ntoken = "t"\nesl_address = "a:1"', "only kind freeswitch has one; remove it"),
        (
            '[sources.p]\nkind = "asterisk"\ntoken = "t"\n[sources.p.funnel]\nenabled = true',
            "funnel: only kind bitrix24",
        ),
        ('[sources.p]\nkind = "zadarma"\nsecrets = ["s"]\nqueue_log = "/q"', "queue_log: only kind asterisk has one"),
        ('[sources.p]\nkind = "asterisk"\nami_user = "u"', "sources.p.ami_address: is required with ami_user"),
        ('[sources]\np = "x"', "sources.p: must be a table, not text"),
        ("sources = 3", "sources: must be a table, e.g. [sources.name]"),
        ('server = "x"', "server: must be a table, not text"),
        ("[tenants]\na = 3", "tenants.a: must be a table, not a number"),
        ("[tenants.a]\nlongest_call_hours = 72", "must be above 0, at most 48, not 72"),
        ("[api]\nclaim_minutes = 0", "api.claim_minutes: must be 1 to 1440, not 0"),
        ("[retention]\njournal_months = -1", "retention.journal_months: must not be negative, not -1"),
    ],
)
def test_a_key_that_its_kind_does_not_have_and_a_value_of_another_sort_are_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    assert words in "\n".join(problems(tmp_path, text))


def test_a_variable_below_a_key_that_is_no_table_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, '[server]\nlisten = "127.0.0.1:1"\n', CALLKPI_SERVER__LISTEN__PORT="1")
    assert told == "CALLKPI_SERVER__LISTEN__PORT: is a key of what is no table in the file; take one of the two away"


def test_a_file_of_a_secret_that_can_not_be_read_is_told_of_once(tmp_path: Path) -> None:
    text = '[sources.p]\nkind = "native"\n'
    (told,) = problems(tmp_path, text, CALLKPI_SOURCES__P__TOKEN_FILE="/no/such/file")
    assert "CALLKPI_SOURCES__P__TOKEN_FILE: can't read '/no/such/file'" in told


EVERY_SECRET = f"""
[server]
api_token = "{SECRET}1"
metrics_token = "{SECRET}2"
[mail]
server = "smtp.example.com:587"
sender = "a@example.com"
password = "{SECRET}3"
[telegram]
token = "{SECRET}4"
[database]
url = "postgresql://u:{SECRET}5@db/x"
reader_password = "{SECRET}6"
[tokens.wall]
token = "{SECRET}7"
[tenants.default.reports.daily]
to = ["https://hooks.example.com/{SECRET}8"]
secret = "{SECRET}9"
[sources.a]
kind = "asterisk"
ami_address = "pbx:5038"
ami_user = "u"
ami_secret = "{SECRET}10"
[sources.b]
kind = "bitrix24"
application_tokens = ["{SECRET}11"]
rest_url = "https://p.example/rest/1/{SECRET}12/"
[sources.f]
kind = "freeswitch"
esl_address = "pbx:8021"
esl_password = "{SECRET}13"
[sources.m]
kind = "mango"
api_key = "{SECRET}14"
secrets = ["{SECRET}15"]
token = "{SECRET}16"
"""


def test_no_secret_is_in_what_is_printed_of_the_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, EVERY_SECRET)
    assert settings.server.api_token == f"{SECRET}1" and SECRET not in repr(settings)
    assert SECRET not in repr(settings.server.api_token) and SECRET not in repr(settings.sources["m"].__reduce_ex__(4))
    # Where a test or a tool makes settings by hand, they are plain text, and hidden all the same.
    assert SECRET not in repr(config.Settings(server=config.Server(api_token=SECRET)))  # type: ignore[arg-type]
    known = config.secrets_of(settings)
    missing = [number for number in range(1, 17) if not any(f"{SECRET}{number}" in each for each in known)]
    assert missing == [5], "all but the database's address are looked for in logs"


def test_the_children_get_the_same_settings_without_pydantic(tmp_path: Path) -> None:
    settings = load(tmp_path, EVERY_SECRET)
    given = pickle.dumps(settings)
    assert pickle.loads(given) == settings
    program = (
        "import pickle, sys; s = pickle.load(sys.stdin.buffer); from callkpi.daemon import processes; "
        "print(type(s.sources['m']).__name__, type(s.server.api_token).__name__, 'pydantic' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], input=given, capture_output=True, check=True, timeout=60)
    assert said.stdout.decode().split() == ["MangoSource", "Secret", "False"]


def _keys(table: dict[str, object], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _keys(value, (*path, key))


def test_no_error_has_a_secret_in_it(tmp_path: Path) -> None:
    """Each key of the file is made wrong in four ways, one after the other."""
    import tomllib

    seen = 0
    whole = tomllib.loads(EVERY_SECRET)
    for path in list(_keys(whole)):
        for wrong in (17, [17], {"x": SECRET}, [SECRET, 17], f"{SECRET} "):
            raw = tomllib.loads(EVERY_SECRET)
            node: dict[str, object] = raw
            for part in path[:-1]:
                node = node[part]  # type: ignore[assignment]
            if isinstance(wrong, str) and (path[-1] == "to" or SECRET not in str(node[path[-1]])):
                continue
            node[path[-1]] = wrong
            found = kinds_told(raw)
            seen += bool(found)
            assert SECRET not in "\n".join(found), (path, wrong)
    assert seen > 60


def kinds_told(raw: dict[str, object]) -> list[str]:
    from callkpi.config.checks import check
    from callkpi.config.reading import Problems, read

    told = Problems()
    settings = read(raw, told)
    for line in check(settings):
        told.also(line)
    return told.lines


# -- a kind of source is a class beside its reader -----------------------------------------------------------


def test_a_new_kind_is_registered_and_the_settings_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What adding a cloud PBX takes: its own class, and one line that registers it."""

    @dataclass(frozen=True, slots=True)
    class ToySource(config.Source):
        """A toy PBX."""

        HINT: ClassVar[str] = "-- A toy."

        kind: Literal["toy"] = setting("toy", "what sends")
        wheels: int = setting(4, "how many wheels it has", ge=3)
        whistle: config.Secret = config.secret_setting("", "what it whistles")

        def own_problems(self, where: str) -> Iterator[str]:
            if self.wheels == 13:
                yield f"{where}.wheels: 13 is unlucky; write 12"

    monkeypatch.setattr(kinds_of_sources, "_KINDS", dict(config.kinds()))
    assert config.register(ToySource) == "toy"
    toy = '[sources.t]\nkind = "toy"\ntoken = "t"\n'
    settings = load(tmp_path, f'{toy}wheels = 6\nwhistle = "{SECRET}"')
    assert settings.sources["t"].wheels == 6  # type: ignore[attr-defined]
    assert SECRET in config.secrets_of(settings) and SECRET not in repr(settings)
    assert problems(tmp_path, toy + "wheels = 2") == ["sources.t.wheels: must be at least 3, not 2"]
    assert problems(tmp_path, toy + "wheels = 13") == ["sources.t.wheels: 13 is unlucky; write 12"]
    assert "wheels: only kind toy has one" in problems(tmp_path, '[sources.n]\nkind="uis"\ntoken="t"\nwheels = 4')[0]
    assert "# wheels = 4" in config.whole_example() and "## -- A toy." in config.example()
    assert "ToySource" in json.dumps(config.schema())


def test_the_settings_know_no_kind_by_its_name() -> None:
    room = Path(config.__file__).parent
    text = "\n".join(file.read_text("utf-8") for file in sorted(room.glob("*.py")))
    quoted = {kind for kind in SOURCE_TYPES if re.search(rf'["\']{kind}["\']', text)}
    assert quoted <= {"bitrix24", "csv"}, "receivers and files of reports are called so, too"


# -- examples and schema --------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    """The keys as if they were written, without those whose default is none."""
    lines = [line.removeprefix("# ") for line in text.splitlines() if not line.startswith("##")]
    return "\n".join(line for line in lines if not line.endswith("# none"))


def test_the_example_is_three_worlds_of_ten_lines() -> None:
    text = config.example()
    worlds = [re.findall(r"^# .*", world, re.MULTILINE) for world in text.split("\n## --")[1:]]
    assert [len(world) for world in worlds] == [9, 10, 9]
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == []


@pytest.mark.parametrize(
    ("number", "secret"),
    [
        (0, ("application_tokens = []", f'application_tokens = ["{SECRET}"]')),
        (1, ('ami_secret = ""', f'ami_secret = "{SECRET}"')),
        (2, ('api_key = ""', 'api_key = "code-of-it"\nsecrets = ["the-key-of-it"]\n#')),
    ],
)
def test_a_world_is_good_once_its_secret_is_written(tmp_path: Path, number: int, secret: tuple[str, str]) -> None:
    world = "\n##" + config.example().split("\n## --")[number + 1]
    bare = uncommented(world)
    assert all("is required" in line for line in problems(tmp_path, bare))
    filled = bare.replace(*secret)
    if number == 2:
        filled = filled.replace("\nsecrets = []", "\n")
    assert len(load(tmp_path, filled).sources) == 1


def test_editors_accept_the_whole_example_by_the_schema_and_refuse_what_is_wrong(tmp_path: Path) -> None:
    schema, good, bad = tmp_path / "schema.json", tmp_path / "good.toml", tmp_path / "bad.toml"
    schema.write_text(json.dumps(config.schema()))
    good.write_text(uncommented(config.whole_example()))
    bad.write_text('[server]\nlistn = "x"\n[sources.p]\nkind = "asterisk"\nsecrets = ["s"]\n')
    base = [str(Path(sys.executable).parent / "check-jsonschema"), "--schemafile", str(schema)]
    meta = [base[0], "--check-metaschema", str(schema)]
    for command, status in ((meta, 0), ([*base, str(good)], 0), ([*base, str(bad)], 1)):
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert said.returncode == status, said.stdout + said.stderr
    assert "listn" in said.stdout
