"""Rounds of faults, and the table of them."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import clock, database, deliveries, disk, network, processes, verdict
from tests.faults.catalogue import FAULTS, Fault, NotRun, Wrong
from tests.faults.postgres import REFUSALS
from tests.faults.system import System, last_problem, until

__all__ = ["FAULTS", "Limits", "Round", "clock", "database", "deliveries", "disk", "network", "processes"]

#: Acknowledged deliveries of each source before the fault, and again after it.
BEFORE, AFTER = 8, 8
#: Traffic after the fault goes on as long: what is done every few seconds is done with it.
AFTER_SECONDS = 4.0
#: Within which a delivery is acknowledged while the database is away; the journal is patient for 5 s.
ACKNOWLEDGED_SECONDS = 15.0
#: What a process of the daemon may have in memory at the most. With 2 million calls all of them have a third of it.
MEMORY_MIB = 1000
#: What a web process may need for /healthz while one source sends what hurts, on a machine that does other work.
HEALTH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient the campaign is, in seconds."""

    up: float = 60.0  #: until the daemon calls itself ready again, after the fault is over
    margin: float = 30.0  #: that others may wait beyond the length of the fault
    idle: float = 90.0  #: until nothing waits to be projected any more


@dataclass(slots=True)
class Round:
    """One fault, and what came of it."""

    number: int
    fault: Fault
    problems: list[str] = field(default_factory=list)
    not_run: str = ""
    acknowledged: int = 0
    lost: int = 0
    double: int = 0
    length: float = 0.0  #: of the fault
    up_again: float = 0.0
    longest_wait: float = 0.0
    longest_acknowledgement: float = 0.0
    longest_health: float = 0.0
    memory_mib: int = 0
    differences: int = 0
    set_aside: int = 0  #: streams of what the fault itself pushed
    answers: str = ""  #: to what the fault itself pushed
    kept: Path | None = None

    @property
    def line(self) -> str:
        """For the terminal."""
        head = f"{self.number:4} {self.fault.name:36}"
        if self.not_run:
            return f"{head} not run: {self.not_run}"
        told = (
            f"{head} {'WRONG' if self.problems else 'ok':5} {self.acknowledged:5} events, fault {self.length:4.1f} s, "
            f"up again {self.up_again:4.1f} s, longest wait {self.longest_wait:4.1f} s, "
            f"acknowledgement {self.longest_acknowledgement:4.1f} s, /healthz {self.longest_health:.2f} s, "
            f"{self.memory_mib} MiB{self._of_its_own()}"
        )
        return "\n".join([told, *(f"       - {problem}" for problem in self.problems), *self._place()])

    def _of_its_own(self) -> str:
        answered = f", it was answered {self.answers}" if self.answers else ""
        return answered + (f", {self.set_aside} streams set aside" if self.set_aside else "")

    def _place(self) -> Sequence[str]:
        return [f"       logs and database: {self.kept}"] if self.kept is not None else []


def chosen(seed: int, rounds: int, only: Sequence[str]) -> Iterator[Fault]:
    """Every fault once in an order of the seed's, then in another order, and so on."""
    rng = random.Random(f"{seed}/order")
    names = [name for name in FAULTS if not only or name in only]
    deck: list[str] = []
    for _ in range(rounds):
        if not deck:
            deck = rng.sample(names, len(names))
        yield FAULTS[deck.pop()]


async def run_round(number: int, fault: Fault, seed: str, directory: Path, limits: Limits) -> Round:
    """Start a daemon, break it, and look what is left. *directory* is removed unless something is wrong."""
    result = Round(number, fault)
    system = System(directory, fault.scene, seed)
    try:
        await system.prepare()
        await system.start()
        await _broken(system, fault, random.Random(f"{seed}/fault"), result, limits)
    except NotRun as reason:
        result.not_run = str(reason)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        result.problems.append(f"the round itself failed: {error!r:.300} ({Path(place.filename).name}:{place.lineno})")
    finally:
        await system.close()
        system.put_away(keep=bool(result.problems))
    result.kept = directory if result.problems else None
    return result


async def _broken(system: System, fault: Fault, rng: random.Random, result: Round, limits: Limits) -> None:
    system.observer.start(system.door)
    for sender in (system.first, system.other):
        sender.start()
    await _more(system, BEFORE, 60)
    system.observer.longest_health = 0.0
    begin = time.monotonic()
    try:
        await fault(system, rng)
    except Wrong as wrong:
        result.problems.append(str(wrong))
    except REFUSALS as error:
        result.problems.append(f"the fault could not be held to its end: {error!r:.200}")
    result.length = time.monotonic() - begin
    result.answers = ", ".join(f"{status} ({times})" for status, times in sorted(system.statuses.items()))
    up_again = await until(system.is_whole, limits.up)
    result.up_again = limits.up if up_again is None else up_again
    if up_again is None:
        result.problems.append(f"not up again within {limits.up:.0f} s: {last_problem(system.daemon.log)}")
    elif not await _more(system, AFTER, limits.up):
        result.problems.append(f"up again, but takes no events: {last_problem(system.daemon.log)}")
    await asyncio.sleep(AFTER_SECONDS)
    for sender in (system.first, system.other):
        try:
            await asyncio.wait_for(sender.finish(), limits.up)
        except TimeoutError:
            result.problems.append(f"the source {sender.source} still waits for an answer after {limits.up:.0f} s")
    await _settled(system, fault, result, limits)
    await _judge(system, result)
    if (status := await system.stop_daemon()) != 0:
        result.problems.append(f"SIGTERM ended the daemon with exit status {status}: {last_problem(system.daemon.log)}")


async def _more(system: System, deliveries: int, seconds: float) -> bool:
    """Wait for so many more acknowledged deliveries of each source."""

    def counts() -> list[int]:
        return [sum(one.acknowledged_at is not None for one in s.deliveries) for s in (system.first, system.other)]

    wanted = [number + deliveries for number in counts()]

    async def came() -> bool:
        return all(now >= want for now, want in zip(counts(), wanted, strict=True))

    return await until(came, seconds) is not None


async def _settled(system: System, fault: Fault, result: Round, limits: Limits) -> None:
    """What was acknowledged is projected, without help."""

    async def all_seen() -> bool:
        return not system.observer.unseen() and await system.is_idle()

    if await until(all_seen, limits.idle) is None:
        told = await system.readiness()
        result.problems.append(
            f"after {limits.idle:.0f} s {len(system.observer.unseen())} acknowledged calls are not projected, "
            f"{await _untimed(system)} groups have no times, /readyz says {told or 'nothing'}: "
            f"{last_problem(system.daemon.log)}"
        )
    result.longest_health = system.observer.longest_health
    result.longest_acknowledgement = system.observer.longest_acknowledgement()
    result.memory_mib = system.memory_mib()
    result.longest_wait = system.observer.longest_wait()
    bound = limits.margin + (result.length if fault.may_hold_up else 0.0)
    if result.longest_wait > bound:
        result.problems.append(f"others waited {result.longest_wait:.1f} s, more than {bound:.1f} s")
    if not fault.may_hold_up and result.longest_health > HEALTH_SECONDS:
        result.problems.append(f"/healthz took {result.longest_health:.1f} s")
    if fault.is_spooled and result.longest_acknowledgement > ACKNOWLEDGED_SECONDS:
        result.problems.append(f"an acknowledgement took {result.longest_acknowledgement:.1f} s")
    if result.memory_mib > MEMORY_MIB:
        result.problems.append(f"a process of the daemon had {result.memory_mib} MiB in memory")
    if system.ended and not fault.may_end_daemon:
        result.problems.append(f"the daemon ended {len(system.ended)} times: {system.ended[-1]}")


async def _untimed(system: System) -> int | str:
    try:
        return await system.untimed()
    except REFUSALS as error:
        return f"unknown ({type(error).__name__})"


async def _judge(system: System, result: Round) -> None:
    senders = (system.first, system.other)
    told = verdict.Told(
        set().union(system.pushed, *(sender.offered for sender in senders)),
        set().union(system.pushed_and_acknowledged, *(sender.acknowledged for sender in senders)),
        set().union(*(sender.awaited() for sender in senders)),
        system.timeless_offered,
        system.timeless_acknowledged,
    )
    judged = verdict.judge(told, await verdict.stored(system.postgres))
    result.acknowledged = len(told.acknowledged) + told.timeless_acknowledged
    result.lost, result.double = judged.lost, judged.double
    result.problems += judged.problems
    status, lines = await system.doctor()
    seen = verdict.examined(status, lines)
    result.differences, result.set_aside = seen.differences, seen.set_aside
    result.problems += seen.problems


async def run(seed: int, faults: Sequence[tuple[int, Fault]], directory: Path | None, limits: Limits) -> list[Round]:
    """The rounds with these numbers, a line each on the terminal; those that were done where it is cancelled."""
    if directory is None:
        directory = Path(tempfile.mkdtemp(prefix="callkpi-faults-"))
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    rounds = []
    for number, fault in faults:
        seed_of_round = f"{seed}/{number}"
        try:
            rounds.append(await run_round(number, fault, seed_of_round, directory / f"{number:03}", limits))
        except asyncio.CancelledError:
            print(f"interrupted in round {number}", flush=True)
            break
        print(rounds[-1].line, flush=True)
    if not any(directory.iterdir()):
        directory.rmdir()
    return rounds


def table(rounds: Sequence[Round]) -> str:
    """Markdown: a row for each fault, in the catalogue's order."""
    head = (
        "| fault | rounds | events acknowledged | lost | double | up again after, longest | "
        "wait of another source, longest | doctor's differences | result |"
    )
    lines = [head, "|" + "---|" * 9]
    for name, fault in FAULTS.items():
        mine = [one for one in rounds if one.fault.name == name]
        if mine:
            lines.append(_row(fault.name, mine))
    lines.append(_row("all", rounds))
    return "\n".join(lines)


def _row(name: str, rounds: Sequence[Round]) -> str:
    ran = [one for one in rounds if not one.not_run]
    wrong = sum(bool(one.problems) for one in ran)
    said = [f"{wrong} wrong" if wrong else "ok" if ran else "", f"{len(rounds) - len(ran)} not run"]
    cells = [
        name, f"{len(ran)}", f"{sum(one.acknowledged for one in ran):,}", f"{sum(one.lost for one in ran)}",
        f"{sum(one.double for one in ran)}", f"{max((one.up_again for one in ran), default=0.0):.1f} s",
        f"{max((one.longest_wait for one in ran), default=0.0):.1f} s", f"{sum(one.differences for one in ran)}",
        ", ".join(part for part in said if part and not part.startswith("0 ")),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"
