"""What strangers send makes neither long lines nor many of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from callkpi import config, log
from callkpi.log import Floods

SECRET = "a-secret-of-the-door-0123456789"


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What is logged meanwhile, as it is written."""
    before, handlers, written = structlog.get_config(), list(logging.root.handlers), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    settings = config.Settings(server=config.Server(api_token=SECRET), log=config.Log(format="json"))
    log.configure(settings)
    try:
        yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    finally:
        structlog.configure(**before)
        logging.root.handlers[:] = handlers


def test_a_warning_of_one_kind_and_source_is_told_some_times_and_then_how_often(lines: Any) -> None:
    logger = structlog.get_logger()
    for number in range(500):
        logger.warning("hooks.unauthorised", source="pbx", number_of=number)
        logger.info("said", number_of=number)
    logger.warning("hooks.unauthorised", source="portal")
    told = lines()
    assert sum(line["event"] == "hooks.unauthorised" and line["source"] == "pbx" for line in told) == 20
    assert sum(line["event"] == "said" for line in told) == 500
    assert told[-1]["source"] == "portal"


def test_what_was_left_out_is_counted_in_the_next_line_of_its_kind() -> None:
    now = [0.0]
    floods = Floods(burst=2, seconds=10, clock=lambda: now[0])

    def told() -> dict[str, Any] | None:
        try:
            return dict(floods(None, "warning", {"event": "hooks.unauthorised", "source": "pbx"}))
        except structlog.DropEvent:
            return None

    assert [told() is not None for _ in range(5)] == [True, True, False, False, False]
    now[0] = 10.0
    assert told() == {"event": "hooks.unauthorised", "source": "pbx", "left_out": 3}
    now[0] = 1000.0
    assert [told() is not None for _ in range(3)] == [True, True, False]


def test_no_field_is_longer_than_a_line_may_be(lines: Any) -> None:
    logger = structlog.get_logger()
    logger.warning("a", reason="x" * 100_000, listed=["y" * 100_000], number="7" * 100_000, count=3)
    try:
        raise ValueError("z" * 100_000)
    except ValueError:
        logger.exception("b")
    first, second = lines()
    assert len(json.dumps(first)) < 4000 and first["count"] == 3
    assert first["reason"].startswith("xxx") and first["reason"].endswith("characters)")
    assert len(json.dumps(second)) < 12_000


def test_a_secret_at_the_end_of_what_is_cut_is_not_shown_in_part(lines: Any) -> None:
    logger = structlog.get_logger()
    for before in (*range(960, 1005), *range(19_960, 20_005)):
        logger.info("a", reason="x" * before + SECRET + " and more" * 2000, listed=["x" * before + SECRET])
    assert all("a-sec" not in json.dumps(line) for line in lines())
