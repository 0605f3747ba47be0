"""The API against its own description: thousands of requests, right and wrong ones, to a real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from tests.stand_ins.daemon import CONFIG, Daemon, daemon

TOKEN = "fuzz-token-0123456789"
#: Without positive_data_acceptance: a window whose end is before its begin is of the schema, and refused.
#: What each does without a token is in test_api: many wrong tries in a row are answered 429.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "missing_required_header", "unsupported_method",
    "allow_header_conformance",
)  # fmt: skip
FUZZED = CONFIG + f"""
[api]
requests_per_second = 0
[tokens.fuzz]
token = "{TOKEN}"
role = "admin"
"""  # fmt: skip
HOOKED = {
    **os.environ,
    "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
    "PYTHONPATH": str(Path(__file__).parent.parent.parent),
}
#: How many requests of each kind; more find more.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "8")


@pytest.fixture(scope="module")
async def target(data_dir: Path):  # type: ignore[no-untyped-def]
    async with daemon(data_dir / "fuzz", config=FUZZED) as running:
        yield running


async def some_calls(target: Daemon) -> None:
    now = time.time()
    told = []
    for number in range(20):
        call = {"call_id": f"c{number}", "direction": "inbound", "customer": f"+7701000{number:04}", "queue": "sales"}
        told += [
            {**call, "kind": "queued", "at": now - 90 + number},
            {**call, "kind": "ended", "at": now - 60 + number},
        ]
    told.append({"kind": "agent_state", "call_id": "", "agent": "Dana", "state": "paused", "at": now})
    headers = {"Authorization": "Bearer native-secret"}
    async with aiohttp.ClientSession(target.url) as http:
        assert (await http.post("/hooks/native", data=json.dumps(told), headers=headers)).status == 200
        assert (await http.post("/hooks/native", data="{}", headers=headers)).status == 422


async def test_every_answer_is_as_described(target: Daemon, tmp_path: Path) -> None:
    await some_calls(target)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{target.url}/api/v1/openapi.json",
        "--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--max-examples", EXAMPLES, "--seed", "7", "--generation-database", "none", "--no-color",
        # One: ast.parse of Python 3.11 fails now and then where two threads use it (python/cpython#106905).
        "--workers", "1",
    ]  # fmt: skip
    (tmp_path / "schemathesis.toml").write_text('[parameters]\n"query.tenant" = "acme"\n"path.id" = "native/c1"\n')
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, check=False, env=HOOKED
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Traceback" not in target.log.read_text()
