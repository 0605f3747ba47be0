"""3CX: the template that it is given, and its CDR file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from callkpi import config
from callkpi.commands.replay import _Recording
from callkpi.config import SourceKind
from callkpi.config.source_checks import source_problems
from callkpi.sources import SOURCE_TYPES
from callkpi.sources.base import Malformed
from tests.sources.cases import CASES, TENANT

THREECX = SOURCE_TYPES[SourceKind.THREECX]


def test_the_template_sends_what_the_door_reads() -> None:
    answer = THREECX.greet({"template": ""})
    assert answer is not None and THREECX.greet({}) is None
    root = ElementTree.fromstring(answer.body)
    (scenario,) = root.findall("./Scenarios/Scenario")
    request = scenario.find("Request")
    assert scenario.get("Id") == "ReportCall" and request is not None
    assert request.get("Url") == "[Door]?token=[Token]" and request.get("RequestType") == "Post"
    sent = {value.get("Key") for value in request.findall("PostValues/Value")}
    recorded = next(case for case in CASES if case.name == "journal-queue-answered")
    assert sent == set(json.loads(recorded.deliveries[0].body))


def test_a_cdr_file_is_replayed_as_the_lines_that_it_has(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "cdr-queue-segments")
    path = tmp_path / "cdr.log"
    path.write_bytes(b"".join(delivery.body for delivery in case.deliveries))
    with _Recording(path) as recording:
        assert recording.content_type == "text/plain"
        assert len(list(recording)) == 3


def test_what_is_neither_of_the_two_is_refused_with_what_is_expected() -> None:
    case = next(case for case in CASES if case.name == "cdr-abandoned")
    with pytest.raises(Malformed, match="lines of the CDR service"):
        THREECX.decode(replace(case.deliveries[0], body=b"hello"))


def test_the_order_of_the_fields_is_checked() -> None:
    source = config.Source(kind=SourceKind.THREECX, tenant="acme", token="t", cdr_fields=("callid", "callid"))
    problems = list(source_problems("sources.pbx", "pbx", source, {"acme": TENANT}))
    assert any("time-start" in problem for problem in problems)
    assert any("'callid' is there twice" in problem for problem in problems)


def test_the_event_socket_needs_an_address_and_a_password_that_is_never_shown() -> None:
    def problems(**keys: str) -> list[str]:
        source = config.Source(kind=SourceKind.FREESWITCH, tenant="acme", token="t", **keys)  # type: ignore[arg-type]
        return list(source_problems("sources.pbx", "pbx", source, {"acme": TENANT}))

    assert problems(esl_address="pbx:8021", esl_password="secret-of-it") == []
    for keys in ({"esl_address": "pbx", "esl_password": "secret-of-it"}, {"esl_password": "secret-of-it"}):
        told = problems(**keys)
        assert len(told) == 1 and "HOST:PORT" in told[0] and "secret-of-it" not in told[0]
    assert "esl_password: is required" in problems(esl_address="pbx:8021")[0]
    source = config.Source(
        kind=SourceKind.FREESWITCH, tenant="acme", esl_address="pbx:8021", esl_password="secret-of-it"
    )
    assert "secret-of-it" in config.secrets_of(config.Settings(sources={"pbx": source}))
