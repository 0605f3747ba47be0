"""Every door fuzzed: nothing that is sent may raise what nobody foresaw, hang, or make the daemon slow to answer.

``python -m tests.faults.fuzz --count 1000000 --seed 7`` sends that many mutations of the recorded deliveries of every
kind of source through its decoding, its check of who sent it, its parser, the journal's form of the events, its reading
of the whole call, the fold and the facts; the live protocols (AMI, event socket) through their readers as well. Each
input has a time limit, and a number: ``--only NUMBER`` of the same seed is that input again. Then a part of them goes
to the doors of a served daemon, while /healthz is asked all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from callkpi.calls import facts as kpi
from callkpi.calls.fold import Thresholds, fold
from callkpi.calls.model import CallEvent, Kind
from callkpi.calls.rows import call_body, call_from_body, event_body, event_from_row
from callkpi.config import SourceKind
from callkpi.connections import ami_protocol, esl_protocol
from callkpi.connections.keeping import Trouble
from callkpi.ingest import journal
from callkpi.sources import base
from callkpi.sources.asterisk import ami as asterisk_ami
from callkpi.sources.asterisk import resync as asterisk_resync
from callkpi.sources.base import Delivery, Malformed
from callkpi.sources.freeswitch import esl as freeswitch_esl
from callkpi.sources.freeswitch import resync as freeswitch_resync
from tests.faults import mutation
from tests.faults.recordings import Recording, recordings, signed_again
from tests.sources.cases import TENANT
from tests.stand_ins import freeswitch_model

#: Seconds of the processor after which an input is a hang; a recorded delivery takes a thousandth of it.
LIMIT_SECONDS = 2.0
#: Inputs that one process takes at a time.
CHUNK = 1000
LIMITS = Thresholds(TENANT)
#: Of so many in process one goes to a served door.
_SERVED_SHARE, _SERVED_MOST = 50, 20_000


class Hang(Exception):
    """The input took longer than it may."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What must not happen, and the first input that made it."""

    recording: str
    step: str
    error: str
    where: str
    number: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.step, self.error.partition(":")[0], self.where


@dataclass(slots=True)
class Result:
    """What a number of inputs did."""

    inputs: Counter[str] = field(default_factory=Counter)  #: by kind
    told: Counter[str] = field(default_factory=Counter)
    findings: dict[tuple[str, str, str], Finding] = field(default_factory=dict)
    found: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    def add(self, other: Result) -> None:
        self.inputs += other.inputs
        self.told += other.told
        self.found += other.found
        self.findings = {**other.findings, **self.findings}
        self.slowest_seconds = max(self.slowest_seconds, other.slowest_seconds)

    @property
    def hangs(self) -> int:
        return sum(count for key, count in self.found.items() if key[1] == "Hang")

    @property
    def unforeseen(self) -> int:
        return sum(self.found.values()) - self.hangs


# -- one input --------------------------------------------------------------------------------------------


class _Step:
    """Where an input is, for whoever asks what it was that failed."""

    def __init__(self) -> None:
        self.name = ""


def examine(recording: Recording, chance: random.Random, step: _Step, told: Counter[str]) -> None:
    """One mutation of one of the recording's deliveries, all the way. Raises what callkpi raises."""
    index = chance.randrange(len(recording.deliveries))
    original = recording.deliveries[index]
    attempt = replace(original, body=mutation.body(original.body, original.content_type, chance))
    if chance.random() < 0.7:
        attempt = signed_again(recording, attempt)
    if chance.random() < 0.2:
        attempt = _with_strange_proof(attempt, chance)
    events = _taken(recording, attempt, step, told)
    others = [
        event for at, each in enumerate(recording.deliveries) if at != index for event in _parsed(recording, each)
    ]
    all_events = [*others, *events]
    if chance.random() < 0.1:
        all_events = [_with_strange_detail(event, chance) for event in all_events]
    _read(recording, all_events, step, told)


def _with_strange_proof(delivery: Delivery, chance: random.Random) -> Delivery:
    text = str(chance.choice(mutation.TEXTS))[:2000]
    name = chance.choice(("Authorization", "Signature", "X-Twilio-Signature"))
    headers = {**delivery.headers, name: chance.choice(("", "Basic ", "Bearer ")) + text}
    target = chance.choice((delivery.target, f"{delivery.target}?bodySHA256={text}", f"//[{text}", text))
    return replace(
        delivery, headers=headers, presented_token=chance.choice((text, delivery.presented_token)), target=target
    )


def _with_strange_detail(event: CallEvent, chance: random.Random) -> CallEvent:
    """An event as an older callkpi may have journalled it: one of its own facts is any text."""
    names = [
        name for name in event.detail if name not in ("Event", "verb", "Cel", "Cdr", "state", "status", "task_event")
    ]
    if not names or chance.random() < 0.5:
        return event
    text = journal._storable(str(chance.choice(mutation.TEXTS)))[:255]
    return replace(event, detail={**event.detail, chance.choice(names): text or "x"})


def _taken(recording: Recording, delivery: Delivery, step: _Step, told: Counter[str]) -> list[CallEvent]:
    """The events of a delivery as the journal gives them back."""
    reader = recording.reader()
    step.name = "decode"
    try:
        payload = reader.decode(delivery)
    except Malformed as error:
        told["malformed"] += 1
        str(error).encode()
        payload = None
    step.name = "authentic"
    for shown in (payload, None):
        told["authentic"] += reader.authentic(delivery, shown, recording.source)
    if payload is None:
        return []
    step.name = "crm items"
    reader.crm_items(payload)
    step.name = "parse"
    parsed = reader.parse(payload, recording.context(delivery))
    told["rejected"] += len(parsed.rejected)
    told["events"] += len(parsed.events)
    step.name = "kept"
    for raw, reason in parsed.rejected:
        assert isinstance(raw, bytes) and reason
    return _journalled(parsed.events)


def _journalled(events: Sequence[CallEvent]) -> list[CallEvent]:
    columns = journal._columns([journal._Row(event, journal._storable(event_body(event))) for event in events])
    names = ("tenant", "source", "at", "event_id", "call_id", "kind", "received_at", "body")
    return [
        replace(event_from_row(dict(zip(names, row, strict=True))), timeless=event.timeless)
        for event, row in zip(events, zip(*columns, strict=True), strict=True)
    ]


_PARSED: dict[tuple[str, int], list[CallEvent]] = {}


def _parsed(recording: Recording, delivery: Delivery) -> list[CallEvent]:
    key = recording.name, id(delivery)
    if key not in _PARSED:
        payload = recording.reader().decode(delivery)
        _PARSED[key] = _journalled(recording.reader().parse(payload, recording.context(delivery)).events)
    return _PARSED[key]


def _read(recording: Recording, events: Sequence[CallEvent], step: _Step, told: Counter[str]) -> None:
    """Each call of *events*, and all of them as one, interpreted and counted."""
    source_type = recording.reader()
    streams: dict[str, list[CallEvent]] = {}
    for event in events:
        if event.kind not in (Kind.AGENT_STATE, Kind.WORKED):
            streams.setdefault(event.call_id, []).append(event)
    groups = [*streams.values(), [event for stream in streams.values() for event in stream]]
    for group in groups[-4:]:
        if not group:
            continue
        step.name = "interpret"
        source_type.known_as(group)
        source_type.asks_about(group, recording.source)
        canonical = [e for e in source_type.interpret(group, recording.source) if e.kind is not Kind.SIGNAL]
        if not canonical:
            continue
        step.name = "fold"
        now = max(event.received_at for event in group) + timedelta(days=1)
        call = fold(group[0].call_id, canonical, LIMITS, now)
        told["calls"] += 1
        told["flagged"] += bool(call.flags)
        step.name = "facts"
        row = kpi.Row()
        facts = kpi.facts(call, LIMITS)
        for fact in facts:
            row.add(fact)
        row.to_json()
        kpi.waits(facts)
        step.name = "store"
        assert call_from_body(call_body(call)).call_id


# -- live protocols ---------------------------------------------------------------------------------------


def _ami(chance: random.Random, step: _Step, told: Counter[str]) -> None:
    """Bytes of a manager session, in pieces."""
    recording = chance.choice([each for each in recordings() if each.name.startswith("asterisk/ami")])
    delivery = chance.choice(recording.deliveries)
    items = base.decode_json_or_lines(delivery.body, parse_float=str)[:12]
    told_bytes = b"".join(
        b"".join(f"{name}: {value}\r\n".encode() for name, value in item.items() if isinstance(value, str)) + b"\r\n"
        for item in items
    )
    data = _mutated_stream(told_bytes, chance)
    step.name = "AMI"
    splitter = ami_protocol.Splitter()
    messages: list[dict[str, str]] = []
    while data:
        size = chance.randrange(1, 4000)
        messages += splitter.feed(data[:size])
        data = data[size:]
    heard = [message for message in messages if asterisk_ami.matters(message)]
    told["messages"] += len(messages)
    step.name = "AMI asked"
    snapshot = asterisk_resync.Snapshot(1795461703.0, 1795461000.0, messages, messages)
    states: dict[tuple[str, str], Any] = {
        (m.get("Queue", ""), m.get("MemberName", "")): asterisk_resync.state_of(m) for m in messages
    }
    known = asterisk_resync.Known({"a": ("a", "b")}, states)
    asked = [*asterisk_resync.of_live(snapshot), *asterisk_resync.of_known(snapshot, known)]
    step.name = "parse"
    parsed = recording.reader().parse([*heard, *asked], recording.context(delivery))
    _read(recording, _journalled(parsed.events), step, told)


def _esl(chance: random.Random, step: _Step, told: Counter[str]) -> None:
    """Bytes of an event socket, frame by frame."""
    recording = chance.choice(
        [each for each in recordings() if each.name.startswith("freeswitch/") and len(each.deliveries) > 2]
    )
    delivery = recording.deliveries[0]
    events = [event for event in base.decode_json_or_lines(delivery.body) if isinstance(event, dict)]
    written: Callable[[dict[str, str]], bytes] = chance.choice((freeswitch_model.plain, freeswitch_model.as_json))
    stream = b"".join(written({name: str(value) for name, value in event.items()}) for event in events[:8])
    step.name = "ESL"
    heard = [event for event in _frames(_mutated_stream(stream, chance)) if freeswitch_esl.matters(event)]
    told["messages"] += len(heard)
    table = _mutated_stream(b"name|status|state|contact\n1001|Available|Waiting|user/1001\n+OK\n", chance).decode(
        "utf-8", "replace"
    )
    step.name = "ESL asked"
    rows = freeswitch_resync.rows_of_table(table) or []
    shown = mutation.in_json(
        '{"row_count": 1, "rows": [{"uuid": "a", "created_epoch": "1795417200", "callstate": "ACTIVE"}]}', chance
    )
    channels = freeswitch_resync.rows_of_json(shown)
    dumps = {"a": esl_protocol.headers_of(table, decode=True)}
    snapshot = freeswitch_resync.Snapshot(
        1795417300.0, 1795417200.0, channels, dumps, {"a": "b"}, rows, rows, rows, True
    )
    asked = [
        *freeswitch_resync.of_live(snapshot),
        *freeswitch_resync.of_known(snapshot, freeswitch_resync.Known(["a"], {})),
    ]
    step.name = "parse"
    parsed = recording.reader().parse([*map(freeswitch_esl.trimmed, heard), *asked], recording.context(delivery))
    _read(recording, _journalled(parsed.events), step, told)


def _mutated_stream(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 2, 4))):
        data = mutation.in_bytes(data, chance) if chance.random() < 0.3 else mutation.in_lines(data, chance)
    return data


_LOOP: list[asyncio.AbstractEventLoop] = []


def _frames(data: bytes) -> list[dict[str, str]]:
    """The events of a stream, up to its end or to where the connection would be given up."""
    if not _LOOP:
        _LOOP.append(asyncio.new_event_loop())

    async def read() -> list[dict[str, str]]:
        reader = asyncio.StreamReader(limit=esl_protocol.MAX_HEADERS)
        reader.feed_data(data)
        reader.feed_eof()
        wire = esl_protocol.Wire(reader, None, lambda: None)  # type: ignore[arg-type]  # nothing is written
        events = []
        with contextlib.suppress(Trouble):
            while True:
                events.append((await wire.read()).event())
        return events

    return _LOOP[0].run_until_complete(read())


# -- many inputs ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nets_taken_away() -> Iterator[None]:
    """What callkpi would catch as unforeseen comes out: here it is a finding."""

    def out(step: str, source: str, error: Exception) -> str:
        raise error

    kept = base.unforeseen
    base.unforeseen = out
    try:
        yield
    finally:
        base.unforeseen = kept


def run(seed: int, numbers: range) -> Result:
    """The inputs with these numbers, in this thread, which must be the process's main one."""
    result = Result()
    before = signal.signal(signal.SIGPROF, _hangs)
    try:
        with nets_taken_away():
            for number in numbers:
                _one(seed, number, result)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return result


def _hangs(*_: object) -> None:
    raise Hang(f"took more than {LIMIT_SECONDS:g} s of the processor")


def _one(seed: int, number: int, result: Result) -> None:
    chance, step = random.Random(f"{seed}/{number}"), _Step()
    subject = number % 20
    recording = _chosen(number, chance)
    begin = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_SECONDS)
    try:
        if subject in (0, 1):
            name = "AMI" if subject == 0 else "ESL"
            (_ami if subject == 0 else _esl)(chance, step, result.told)
        else:
            name = str(recording.kind)
            examine(recording, chance, step, result.told)
    except Exception as error:
        name = recording.name if subject > 1 else ("AMI", "ESL")[subject]
        signal.setitimer(signal.ITIMER_PROF, 0)
        finding = Finding(name, step.name, f"{type(error).__name__}: {str(error)[:200]}", _where(error), number)
        result.found[finding.key] += 1
        result.findings.setdefault(finding.key, finding)
        name = name.partition("/")[0]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    result.inputs[name] += 1
    result.slowest_seconds = max(result.slowest_seconds, time.process_time() - begin)


def _chosen(number: int, chance: random.Random) -> Recording:
    """Each kind in turn, one of its recordings."""
    kinds = list(SourceKind)
    kind = kinds[number // 2 % len(kinds)]
    return chance.choice([recording for recording in recordings() if recording.kind is kind])


def _where(error: BaseException) -> str:
    """The last line of callkpi's own that was reached."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}callkpi{os.sep}" in f.filename]
    frames = frames or list(traceback.extract_tb(error.__traceback__))
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


# -- served doors -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Served:
    """What a daemon answered, and how long /healthz took meanwhile."""

    statuses: Counter[int] = field(default_factory=Counter)
    health_seconds: list[float] = field(default_factory=list)
    log_errors: list[str] = field(default_factory=list)

    @property
    def p99_seconds(self) -> float:
        return sorted(self.health_seconds)[int(len(self.health_seconds) * 0.99)] if self.health_seconds else 0.0


async def at_doors(url: str, log: Path, seed: int, count: int, *, at_once: int = 8) -> Served:
    """Send *count* mutated deliveries to the doors of the daemon at *url*; see tests.sources.test_doors.CONFIG."""
    served, numbers, over = Served(), iter(range(count)), asyncio.Event()
    async with aiohttp.ClientSession(url) as http:
        probing = asyncio.create_task(_probe(http, served, over))
        await asyncio.gather(*(_post(http, served, seed, numbers) for _ in range(at_once)))
        over.set()
        await probing
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    served.log_errors = [line[:300] for line in text.splitlines() if "unforeseen" in line or "Traceback" in line]
    return served


async def _probe(http: aiohttp.ClientSession, served: Served, over: asyncio.Event) -> None:
    while not over.is_set():
        begin = time.perf_counter()
        async with http.get("/healthz") as answer:
            await answer.read()
        served.health_seconds.append(time.perf_counter() - begin)
        await asyncio.sleep(0.02)


async def _post(http: aiohttp.ClientSession, served: Served, seed: int, numbers: Iterator[int]) -> None:
    for number in numbers:
        chance = random.Random(f"served {seed}/{number}")
        recording = _chosen(number, chance)
        original = chance.choice(recording.deliveries)
        attempt = replace(original, body=mutation.body(original.body, original.content_type, chance))
        if chance.random() < 0.9:
            attempt = signed_again(recording, attempt)
        headers = {**attempt.headers, "Content-Type": attempt.content_type}
        async with http.post(attempt.target, data=attempt.body, headers=headers) as answer:
            await answer.read()
        served.statuses[answer.status] += 1


# -- the command ------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="mutations in process")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--only", type=int, help="the input with this number alone, with its traceback")
    parser.add_argument("--served", type=int, help="deliveries at a served daemon; default: a fiftieth of --count")
    told = parser.parse_args(arguments)
    if told.only is not None:
        return _again(told.seed, told.only)
    result = _in_processes(told.seed, told.count, told.jobs)
    _show(result)
    count = min(told.count // _SERVED_SHARE, _SERVED_MOST) if told.served is None else told.served
    failed = bool(result.found)
    if count:
        failed |= _show_served(asyncio.run(_at_a_daemon(told.seed, count)))
    return int(failed)


def _again(seed: int, number: int) -> int:
    with nets_taken_away():
        chance, step = random.Random(f"{seed}/{number}"), _Step()
        recording = _chosen(number, chance)
        if number % 20 > 1:
            examine(recording, chance, step, Counter())
        else:
            (_esl if number % 20 else _ami)(chance, step, Counter())
    return 0


def _in_processes(seed: int, count: int, jobs: int) -> Result:
    result, begin, shown_at = Result(), time.monotonic(), 0.0
    chunks = [range(at, min(at + CHUNK, count)) for at in range(0, count, CHUNK)]
    with ProcessPoolExecutor(jobs) as pool:
        for part in pool.map(run, [seed] * len(chunks), chunks):
            result.add(part)
            if time.monotonic() - shown_at > 5:
                shown_at = time.monotonic()
                done = result.inputs.total()
                faults = f"{result.unforeseen} unforeseen, {result.hangs} hangs"
                print(f"{done:,} of {count:,}, {done / (shown_at - begin):,.0f} a second; {faults}", file=sys.stderr)
    return result


def _show(result: Result) -> None:
    print(f"inputs: {result.inputs.total():,} ({_listed(result.inputs)})")
    print(f"made of them: {_listed(result.told)}")
    print(f"unforeseen exceptions: {result.unforeseen}, hangs: {result.hangs}, slowest: {result.slowest_seconds:.2f} s")
    for line in told_of(result):
        print(f"  {line}")


def told_of(result: Result) -> list[str]:
    """A line for each thing that was found, with the number of an input that makes it."""
    return [
        f"{result.found[key]} x {found.step} {found.where} {found.recording}: {found.error} (--only {found.number})"
        for key, found in sorted(result.findings.items())
    ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


async def _at_a_daemon(seed: int, count: int) -> Served:
    from tests.stand_ins.daemon import daemon
    from tests.stand_ins.source_config import CONFIG

    directory = Path(tempfile.mkdtemp(prefix="callkpi-fuzz-"))
    directory.chmod(0o755)
    try:
        async with daemon(directory / "served", config=CONFIG) as target:
            return await at_doors(target.url, target.log, seed, count)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _show_served(served: Served) -> bool:
    """Whether it failed."""
    told = ", ".join(f"{status}: {count:,}" for status, count in sorted(served.statuses.items()))
    print(f"served: {served.statuses.total():,} deliveries ({told}), /healthz p99 {1000 * served.p99_seconds:.1f} ms")
    for line in served.log_errors[:10]:
        print(f"  {line}")
    return bool(served.log_errors) or served.statuses[500] > 0


if __name__ == "__main__":
    sys.exit(main())
