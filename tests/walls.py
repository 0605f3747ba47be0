"""``python -m tests.walls``: every panel of every dashboard on a recorded day, beside the truth.

Starts a daemon, its database and a real Prometheus, replays a recorded shift for today, yesterday and a week ago, and
evaluates each query as Grafana would, and each rule file beside the dashboards. Prints a line for every figure whose
truth is known, and for every query that fails or shows nothing; exit 1 on a difference.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.floor import NAMES, TENANTS, Answer, Floor, dashboards, floor, rule_files
from tests.world import CAPTURES, capture_lines

TRUTH: dict[str, Any] = json.loads((CAPTURES / "asterisk" / "truth.json").read_text())
T_SECONDS, SHORT_SECONDS = 20, 5
INBOUND_CALLS = 300  #: of customers, by the recording's own note; 80 more are of agents


@dataclass(frozen=True, slots=True)
class Expected:
    """A figure that a panel must show: the row by some of its columns, the column, the value."""

    dashboard: str
    panel: str
    value: float | str | None
    column: str = "value"
    ref: str = "A"
    row: Mapping[str, str] = field(default_factory=dict)
    queue: str = ""  #: of a repeated row

    def found_in(self, answer: Answer) -> bool:
        return (answer.dashboard, answer.panel, answer.ref) == (self.dashboard, self.panel, self.ref) and (
            not self.queue or answer.variables.get("queue") == self.queue
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the printed table."""

    dashboard: str
    panel: str
    query: str
    value: Any
    truth: Any
    right: bool


def lost_and_level(queue: str) -> dict[str, float]:
    """Figures of one queue counted from queue_log's own lines and truth.json, without callkpi's code."""
    truth = TRUTH["queues"][queue]
    within = short = 0
    for line in capture_lines("asterisk/queue_log"):
        parts = line.split("|")
        if parts[2] != queue:
            continue
        within += parts[4] == "CONNECT" and int(parts[5]) <= T_SECONDS
        short += parts[4] == "ABANDON" and int(parts[7]) < SHORT_SECONDS
    missed = truth["abandon"] + truth.get("exitwithtimeout", 0)
    return {
        "offered": truth["entered"], "answered": truth["answered"], "missed": missed,
        "exited": truth.get("exitwithkey", 0), "timed_out": truth.get("exitwithtimeout", 0),
        "abandoned": truth["abandon"] - short, "short_abandoned": short, "within": within,
        "missed_share": missed / (missed + truth["answered"]), "service_level": within / (truth["entered"] - short),
        "asa_seconds": truth["wait_answered_s"] / truth["answered"], "longest_wait_seconds": truth["max_wait_s"],
    }  # fmt: skip


def from_truth() -> Iterator[Expected]:
    """What the recording's truth says of the panels."""
    told = {queue: lost_and_level(queue) for queue in TRUTH["queues"]}
    yield Expected("callkpi-wall", "Waiting now", 0)
    yield Expected("callkpi-wall", "Talking now", 0)
    yield Expected("callkpi-shift", "Offered", INBOUND_CALLS, "offered")
    yield Expected("callkpi-shift", "Offered", INBOUND_CALLS, "before")
    yield Expected("callkpi-shift", "Offered", "= 0", "change")
    yield Expected("callkpi-shift", "Calls", INBOUND_CALLS, "value", row={"kpi": "offered"})
    yield Expected("callkpi-shift", "Calls", INBOUND_CALLS, "before", row={"kpi": "offered"})
    yield Expected("callkpi-shift", "Calls", 0, "change_share", row={"kpi": "missed"})
    yield Expected("callkpi-shift", "Shares", 0, "change", row={"kpi": "service_level"})
    yield Expected("callkpi-funnel", "Stages", INBOUND_CALLS, "offered")
    yield Expected("callkpi-funnel", "Conversion", INBOUND_CALLS, "calls", row={"stage": "offered"})
    yield Expected("callkpi-wall", "Handled in the last hour", "= 0", "change")
    for queue, figures in told.items():
        yield from _of_queue(NAMES.get(queue, queue), figures)
    for agent, truth in TRUTH["agents"].items():
        columns = {
            "answered": "answered", "handled": "answered", "ring_no_answer": "ringnoanswer",
            "talk_seconds": "talk_s", "pauses": "pause", "resumes": "unpause", "logins": "addmember",
        }  # fmt: skip
        for column, name in columns.items():
            row = {"agent": agent}
            yield Expected("callkpi-agents", "Work of the dashboard's time", truth[name], column, row=row)


def _of_queue(queue: str, figures: Mapping[str, float]) -> Iterator[Expected]:
    wall, row = "callkpi-wall", {"queue": queue}
    yield Expected(wall, "Service level today", figures["service_level"], queue=queue)
    yield Expected(wall, "Missed today", figures["missed"], queue=queue)
    yield Expected(wall, "Waiting", 0, queue=queue)
    yield Expected(wall, "Talking", 0, queue=queue)
    for ref, name in (("E", "service_level"), ("F", "service_level"), ("G", "missed_share")):
        yield Expected("callkpi-queues", "Now", figures[name], ref=ref, row=row)
    for name in ("offered", "answered", "missed", "abandoned", "short_abandoned", "timed_out", "exited",
                 "missed_share", "service_level", "asa_seconds", "longest_wait_seconds"):  # fmt: skip
        yield Expected("callkpi-queues", "The dashboard's time", figures[name], name, row={"name": queue})
    for name in ("offered", "answered", "missed", "missed_share", "service_level", "asa_seconds"):
        yield Expected("callkpi-shift", "Queues", figures[name], name, row={"name": queue})
        yield Expected("callkpi-shift", "Queues", figures[name], f"{name}_before", row={"name": queue})
    for name in ("offered", "answered"):
        yield Expected("callkpi-funnel", "By queue", figures[name], name, row={"name": queue})


async def from_api(floor: Floor) -> list[Expected]:
    """What the API says of the panels whose truth nobody counted beside the recording."""
    total = (await floor.api("kpi", by="line", tenant="acme"))["total"]
    inbound = next(
        row for row in (await floor.api("kpi", by="direction", tenant="acme"))["rows"] if row["direction"] == "inbound"
    )
    items = (await floor.api("missed", tenant="acme", limit="1000"))["items"]
    expected = [
        Expected("callkpi-wall", "Service level today", total["service_level"], "service_level"),
        Expected("callkpi-wall", "Missed today", total["missed"], "missed"),
        Expected("callkpi-wall", "Missed today", total["missed_share"], "missed_share"),
        Expected("callkpi-wall", "Handled in the last hour", total["handled"], "handled"),
        Expected("callkpi-wall", "Handled in the last hour", total["handled"], "before"),
        Expected("callkpi-wall", "Wait for a call back", len(items)),
        Expected("callkpi-missed", "Customers who wait", len(items)),
        *(Expected("callkpi-funnel", "What became of the missed", inbound[stage], "calls", row={"stage": stage})
          for stage in ("missed", "called_back", "reached_after_miss", "self_served", "still_waiting",
                        "written_off")),
        *(Expected("callkpi-funnel", "Conversion", total[stage], "calls", row={"stage": stage})
          for stage in ("queued", "rung", "answered", "talked")),
        *(Expected("callkpi-shift", panel, total[kpi], "value", row={"kpi": kpi})
          for panel, kpis in (("Calls", ("answered", "missed", "abandoned", "handled", "made", "reached", "open")),
                              ("Shares", ("missed_share", "abandon_rate", "service_level")),
                              ("Times", ("asa_seconds", "aht_seconds", "longest_wait_seconds", "talk_seconds")))
          for kpi in kpis),
        *(Expected("callkpi-missed", "Whom to call back, oldest first", item["calls"], "calls",
                   row={"last_call": item["last_call"]})
          for item in items[:20]),
    ]  # fmt: skip
    for queue in floor.queues["acme"]:
        waiting = sum(item["queue"] == queue for item in items)
        expected.append(Expected("callkpi-wall", "Call back", waiting, queue=queue))
    return expected


def compare(expected: Iterable[Expected], answers: Sequence[Answer]) -> list[Line]:
    """A line for each expected figure."""
    return [_line(one, answers) for one in expected]


def _line(one: Expected, answers: Sequence[Answer]) -> Line:
    value: Any = "no such panel"
    query = ""
    for answer in answers:
        if not one.found_in(answer):
            continue
        query = answer.query
        rows = [row for row in answer.rows if one.row.items() <= {k: str(v) for k, v in row.items()}.items()]
        value = rows[0].get(one.column, "no such column") if len(rows) == 1 else f"{len(rows)} such rows"
        if len(rows) == 1 and one.column in rows[0]:
            break
    place = " ".join(filter(None, [one.panel, one.queue, *one.row.values(), one.column]))
    return Line(one.dashboard, place, query, value, one.value, _equal(value, one.value))


def _equal(value: Any, truth: Any) -> bool:
    if isinstance(value, (int, float)) and isinstance(truth, (int, float)):
        return math.isclose(value, truth, rel_tol=1e-9, abs_tol=1e-9)
    return bool(value == truth)


def faults(answers: Mapping[str, Sequence[Answer]]) -> list[Line]:
    """Queries that fail for one call centre, and those that show nothing for every one of them."""
    lines = [
        Line(answer.dashboard, f"{answer.panel} {answer.ref} ({tenant})", answer.query, answer.error, "no error", False)
        for tenant, told in answers.items() for answer in told if answer.error
    ]  # fmt: skip
    shown = {(a.dashboard, a.panel, a.ref) for told in answers.values() for a in told if not a.is_empty}
    for answer in {(a.dashboard, a.panel, a.ref): a for told in answers.values() for a in told}.values():
        if not answer.error and (answer.dashboard, answer.panel, answer.ref) not in shown:
            place = f"{answer.panel} {answer.ref}"
            lines.append(Line(answer.dashboard, place, answer.query, "nothing", "something", False))
    return lines


async def rules(floor: Floor) -> list[Line]:
    """Every rule of the rule files: its health in the real Prometheus, and what its expression gives now."""
    async with floor.http.get(f"{floor.prometheus}/api/v1/rules") as answer:
        groups = (await answer.json())["data"]["groups"]
    return [await _rule(floor, Path(group["file"]).name, rule) for group in groups for rule in group["rules"]]


async def _rule(floor: Floor, file: str, rule: Mapping[str, Any]) -> Line:
    """A rule whose group has not had its turn yet has no health: it is asked at once."""
    said = rule.get("lastError", "")
    found = 0
    try:
        found = len(await floor.series(rule["query"]))
    except ValueError as error:
        said = said or str(error)
    return Line(file, rule["name"], rule["query"], said or f"{found} series", "no error", not said)


async def asked(running: Floor, tenant: str) -> list[Answer]:
    """Every query of every panel for one call centre."""
    return [answer for dashboard in dashboards() async for answer in running.answers(dashboard, tenant)]


async def inspect(running: Floor) -> list[Line]:
    """Everything: figures with a known truth, queries that fail or show nothing, rules."""
    answers = {tenant: await asked(running, tenant) for tenant in TENANTS}
    expected = [*from_truth(), *await from_api(running)]
    return [*compare(expected, answers["acme"]), *faults(answers), *await rules(running)]


def _print(lines: Sequence[Line]) -> None:
    for line in lines:
        mark = "  " if line.right else "✗ "
        query = line.query if len(line.query) <= 60 else line.query[:57] + "…"
        print(f"{mark}{line.dashboard:16} {line.panel:52} {_short(line.value):>12} {_short(line.truth):>12}  {query}")
    wrong = sum(not line.right for line in lines)
    files = ", ".join(path.name for path in rule_files()) or "none"
    print(f"\n{len(lines)} figures, {wrong} differences; rule files: {files}.")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


async def _main(directory: Path) -> int:
    async with floor(directory) as running:
        lines = await inspect(running)
    _print(lines)
    return 1 if any(not line.right for line in lines) else 0


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="callkpi-walls-"))
    directory.chmod(0o755)
    try:
        sys.exit(asyncio.run(_main(directory)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
