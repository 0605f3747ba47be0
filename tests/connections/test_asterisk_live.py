"""AMI over a real socket: no cut, and the figures are the truth; cuts, and no call counts twice or stays open."""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callkpi import config
from callkpi.config.checks import check
from callkpi.connections import asterisk_ami, keeping
from callkpi.connections.ami_protocol import Splitter
from callkpi.sources.asterisk.resync import Snapshot, of_live
from tests.stand_ins.ami_server import AmiServer, recorded
from tests.stand_ins.asterisk_live import RECORDED, Live, listening, stays
from tests.stand_ins.truth import BEGIN, END, expect_truth
from tests.world import World


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that suit a test."""
    monkeypatch.setattr(keeping, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(keeping, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr(asterisk_ami, "RETRY_SECONDS", 0.02)


async def open_calls(world: World) -> int:
    return int(await world.pool.fetchval("SELECT count(*) FROM calls WHERE ended_at IS NULL"))


# -- without a cut ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("timestamps", [True, False], ids=["timestampevents", "times of arrival"])
async def test_what_is_heard_live_is_the_truth(world: World, dsn: str, timestamps: bool) -> None:
    async with listening(world, dsn, recorded(timestamps=timestamps)) as live:
        await live.up()
        await live.server.play()
        await live.all_heard()
        if timestamps:
            await expect_truth(world, "pbx", exact_waits=True)
        else:  # all of it happened within a second: Asterisk's own seconds are left, HoldTime and TalkTime
            row = await world.pool.fetchrow("SELECT count(*) AS calls, count(ended_at) AS ended FROM calls")
            assert tuple(row) == (380, 380)
        assert await world.findings() == []
    assert live.server.actions[-1] == "Logoff"


async def test_byte_by_byte_and_with_noise_it_is_the_same(world: World, dsn: str) -> None:
    noise = (
        b"\xff\xfe\x00 no header here\r\nOutput: \xd0\xd0\r\n\r\n"
        + b"Event: VarSet\r\nValue: "
        + 40_000 * b"x"
        + b"\r\n\r\n"
    )
    events = recorded("asterisk/small-events.jsonl.gz")
    await world.clear()
    plain = [dict(event) for event in events]
    async with listening(world, dsn, events) as live:
        await live.up()
        live.server.noise = noise
        await live.server.play()
        await live.all_heard()
        noisy = await world.tables()
    await world.clear()
    async with listening(world, dsn, plain) as live:
        live.server.dribbles = True
        await live.up()
        await live.server.play()
        await live.all_heard()
        assert await world.tables() == noisy
    assert noisy["calls"]


def test_messages_come_whole_from_any_pieces() -> None:
    text = (
        b"Event: A\r\nX: 1: 2\r\n\r\nResponse: Success\nMessage: caf\xe9\n\n"
        + b"L: "
        + 99_999 * b"y"
        + b"\r\nZ: 1\r\n\r\n"
    )
    whole = list(Splitter().feed(text))
    assert whole[:2] == [{"Event": "A", "X": "1: 2"}, {"Response": "Success", "Message": "caf\ufffd"}]
    assert (len(whole[2]["L"]), whole[2]["Z"]) == (16 * 1024 - 3, "1")
    for seed in range(20):
        chance, splitter, pieces, rest = random.Random(seed), Splitter(), [], text
        while rest:
            size = chance.choice((1, 2, 7, 5000))
            pieces += list(splitter.feed(rest[:size]))
            rest = rest[size:]
        assert [m.keys() for m in pieces] == [m.keys() for m in whole]
        assert pieces[:2] == whole[:2]


# -- with cuts -------------------------------------------------------------------------------------------


def expected(events: Sequence[dict[str, str]], gap: range) -> dict[str, Counter[str]]:
    """What can be known of each queue when the events of *gap* are not heard."""
    result: dict[str, Counter[str]] = {}
    for stay in stays(events):
        row = result.setdefault(stay.queue, Counter())
        talks = stay.how == "answered" and stay.done >= gap.stop
        if stay.joined in gap and stay.left in gap and not (talks and stay.bridged < gap.stop):
            continue  # nobody was told that it began
        row["offered"] += 1
        if stay.left in gap and not talks:
            row["expired"] += 1
        else:
            row[stay.how] += 1
    return result


async def figures(world: World) -> dict[str, Counter[str]]:
    rows = await world.kpi("queue", BEGIN, END)
    return {
        name: Counter(
            offered=row["offered"], answered=row["answered"], expired=row["expired"], exit=row["exited"],
            abandon=row["missed"],
        )
        for name, row in rows.items()
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
async def test_a_cut_anywhere_counts_nothing_twice_and_leaves_nothing_open(world: World, dsn: str, seed: int) -> None:
    chance = random.Random(seed)
    begin = chance.randrange(200, len(RECORDED) - 4000)
    gap = range(begin, begin + chance.choice((1, 30, 400, 3000)))
    async with listening(world, dsn, [dict(event) for event in RECORDED]) as live:
        await live.up()
        await live.server.play(gap.start)
        await live.all_heard()
        live.server.stop()
        await live.server.play(len(gap))
        live.server.meanwhile = chance.choice((0, 40))
        await live.server.start()
        await live.up(2)
        live.server.meanwhile = 0
        await live.server.play()
        await live.all_heard()
    assert await open_calls(world) == 0
    assert await figures(world) == expected(RECORDED, gap)
    assert await world.findings() == []


async def test_a_conversation_that_goes_on_over_the_cut_is_known_to_the_second(world: World, dsn: str) -> None:
    one = next(stay for stay in stays(RECORDED) if stay.how == "answered" and stay.done - stay.left > 60)
    gap = range(one.left - 5, one.left + 40)
    async with listening(world, dsn, [dict(event) for event in RECORDED]) as live:
        await live.up()
        await live.server.play(gap.start)
        await live.all_heard()
        live.server.stop()
        await live.server.play(len(gap))
        await live.server.start()
        await live.up(2)
        await live.all_heard()
        linked = RECORDED[one.joined]["Linkedid"]
        row = await world.pool.fetchrow("SELECT answered_at, ended_at FROM calls WHERE call_id = $1", linked)
        assert row["answered_at"] is not None and row["ended_at"] is None
        await live.server.play()
        await live.all_heard()
    talk = int(RECORDED[one.done]["TalkTime"])
    row = await world.pool.fetchrow(
        "SELECT outcome, (body::jsonb ->> 'talk_ms')::int AS talk FROM calls WHERE call_id = $1", linked
    )
    assert tuple(row) == ("answered", 1000 * talk)


async def test_what_ended_unheard_says_so_and_has_no_invented_durations(world: World, dsn: str) -> None:
    """Asterisk restarts in the middle of everything: all channels are gone, new ones have other ids."""
    async with listening(world, dsn, [dict(event) for event in RECORDED[:6000]]) as live:
        await live.up()
        await live.server.play()
        await live.all_heard()
        before = live.server.state
        assert before.waits and await open_calls(world) > 2
        last = before.at
        live.server.restart()
        live.server.events = [{**event, "Timestamp": f"{float(event['Timestamp']) + 4000:.6f}"}
                              for event in recorded("asterisk/small-events.jsonl.gz")]  # fmt: skip
        await live.server.start()
        await live.up(2)
        await live.all_heard()
        assert await open_calls(world) == 0
        rows = await world.pool.fetch(
            "SELECT outcome, ended_at, body::jsonb AS body FROM calls WHERE body::jsonb -> 'flags' ? 'unheard'"
        )
        assert len(rows) > 2
        states = await world.pool.fetch("SELECT DISTINCT state FROM agent_states")
        assert [row["state"] for row in states] == ["offline"]
    for row in rows:
        body = json.loads(row["body"])
        assert row["outcome"] in ("expired", "answered", "abandoned", "short_abandon", "no_answer")
        assert abs(row["ended_at"].timestamp() - last) < 10
        for entry in body["entries"]:
            assert entry["outcome"] != "open"
            assert (entry["wait_ms"] is None) == (entry["outcome"] == "expired")
    waiting = [json.loads(row["body"]) for row in rows if row["outcome"] == "expired"]
    assert waiting and all(body["talk_ms"] is None for body in waiting)


async def test_the_same_answers_twice_are_the_same_rows(world: World, dsn: str) -> None:
    async with listening(world, dsn, [dict(event) for event in RECORDED[:5000]]) as live:
        await live.up()
        await live.server.play()
        await live.all_heard()
        live.server.cut()
        await live.up(2)
        await live.all_heard()
        before = await world.tables()
        for logins in (3, 4):
            live.server.cut()
            await live.up(logins)
            await live.all_heard()
            assert await world.tables() == before
        state = live.server.state
        answers = Snapshot(state.at + 1, state.at, state.show_channels(), state.show_queues())
        for _ in range(2):
            await world.send_json("pbx", *of_live(answers))
            await world.project()
            count = await world.pool.fetchval("SELECT count(*) FROM journal")
        await world.send_json("pbx", *of_live(answers))
        assert await world.pool.fetchval("SELECT count(*) FROM journal") == count
        assert _without_last(await world.tables()) == _without_last(before)
    assert await world.findings() == []


def _without_last(tables: dict[str, list[str]]) -> list[str]:
    """Calls but for when they were last heard of."""
    calls = [
        re.sub(r'"last_event_at": "[^"]*"(, )?', "", re.sub(r'last_event_at.":."[^"]*."', "", row))
        for row in tables["calls"]
    ]
    return sorted(calls)


async def test_members_are_as_asterisk_says_after_a_cut(world: World, dsn: str) -> None:
    pauses = [i for i, event in enumerate(RECORDED) if event["Event"] == "QueueMemberPause"]
    gap = range(pauses[20], pauses[40] + 1)
    async with listening(world, dsn, [dict(event) for event in RECORDED]) as live:
        await live.up()
        await live.server.play(gap.start)
        await live.all_heard()
        live.server.stop()
        await live.server.play(len(gap))
        await live.server.start()
        await live.up(2)
        await live.all_heard()
        rows = await world.pool.fetch("SELECT queue, agent, state FROM agent_states")
        found = {(row["queue"], row["agent"]): row["state"] for row in rows}
        members = live.server.state.members
    assert found.keys() == members.keys()
    for key, member in members.items():
        assert (found[key] == "paused") == (member["Paused"] == "1"), key
    agents = await world.kpi("agent", BEGIN, END)
    heard = [
        event for index, event in enumerate(RECORDED) if index < gap.start and event["Event"] == "QueueMemberPause"
    ]
    assert sum(row["pauses"] for row in agents.values()) == sum(event["Paused"] == "1" for event in heard)


# -- logging in ------------------------------------------------------------------------------------------


async def test_without_a_challenge_the_login_is_plain(world: World, dsn: str) -> None:
    async with listening(world, dsn, []) as live:
        live.server.has_challenge = False
        await live.up()
    assert live.server.actions[:2] == ["Challenge", "Login"]


async def test_a_wrong_secret_is_said_once_and_not_hammered(
    world: World, dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listening(world, dsn, [], ami_secret="wrong-s3cret") as live:
        await asyncio.sleep(1)
        assert live.server.refusals == 1
        row = await world.pool.fetchrow("SELECT connected, reason, problem FROM connections WHERE source = 'pbx'")
    assert (row["connected"], row["reason"]) == (False, "refused")
    assert "callkpi" in row["problem"] and "s3cret" not in row["problem"]
    assert "s3cret" not in capsys.readouterr().out


async def test_a_user_without_rights_is_told_what_to_write(world: World, dsn: str) -> None:
    async with listening(world, dsn, []) as live:
        live.server.permits_lists = False
        live.server.cut()
        async with asyncio.timeout(10):
            while live.keeper._status.reason != "forbidden":
                await asyncio.sleep(0.02)
        assert re.search(r"manager\.conf.*write = reporting", live.keeper._status.problem)


async def test_over_tls_only_the_certificate_that_is_named_is_trusted(world: World, dsn: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "asterisk.pem"
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=asterisk")
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = AmiServer()
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate, key)
    await server.start()
    stranger = Live(world, dsn, server, ami_tls=True)
    async with stranger.running(), asyncio.timeout(10):
        while stranger.keeper._status.reason != "tls":
            await asyncio.sleep(0.02)
    assert server.logins == 0
    async with Live(world, dsn, server, ami_tls=True, ami_ca=str(certificate)).running() as live:
        await live.up()
    server.stop()


async def test_what_is_no_asterisk_is_said_to_be_none(world: World, dsn: str) -> None:
    async def web(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(web, "127.0.0.1", 0)
    server = AmiServer()
    server.port = other.sockets[0].getsockname()[1]
    live = Live(world, dsn, server)
    async with live.running(), asyncio.timeout(10):
        while live.keeper._status.reason != "protocol":
            await asyncio.sleep(0.02)
    other.close()


async def test_several_asterisks_are_kept_at_once(world: World, dsn: str) -> None:
    small = recorded("asterisk/small-events.jsonl.gz")
    one, two = AmiServer([dict(e) for e in small]), AmiServer([dict(e) for e in small])
    await one.start()
    await two.start()
    world.settings.sources["branch"] = replace(world.settings.sources["pbx"])
    first, second = Live(world, dsn, one), Live(world, dsn, two, name="branch")
    async with first.running(), second.running():
        await first.up()
        await second.up()
        await one.play()
        await two.play()
        await first.all_heard()
        await second.all_heard()
    rows = await world.pool.fetch("SELECT source, count(*) FROM calls GROUP BY source ORDER BY source")
    assert [row["source"] for row in rows] == ["branch", "pbx"] and rows[0]["count"] == rows[1]["count"] > 10
    del world.settings.sources["branch"]
    one.stop()
    two.stop()


def test_settings_say_what_to_write() -> None:
    def problems(**keys: Any) -> str:
        source = config.new_source(kind="asterisk", **keys)
        return "\n".join(check(config.Settings(sources={"pbx": source})))

    good = {"ami_address": "pbx.example:5038", "ami_user": "callkpi", "ami_secret": "s"}
    assert problems(**good) == ""
    assert problems(queue_log="/var/log/asterisk/queue_log") == ""
    assert "HOST:PORT" in problems(**{**good, "ami_address": "pbx.example"})
    assert "ami_secret" in problems(**{**good, "ami_secret": ""})
    assert "count twice" in problems(**good, queue_log="/var/log/asterisk/queue_log")
    assert "whole path" in problems(queue_log="queue_log")
    assert "token: is required" in problems()
