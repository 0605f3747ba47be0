"""A store under test: payloads in, tables out. Everything runs as in the daemon, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from callkpi import config
from callkpi.calls.model import CallEvent
from callkpi.database import store
from callkpi.figures.kpis import Query, Reports
from callkpi.health import Health
from callkpi.ingest.door import Ingest, Receipt
from callkpi.ingest.journal import Journal
from callkpi.metrics.exporter import Exporter
from callkpi.projection.batch import Projector
from callkpi.sources.base import Delivery
from callkpi.upkeep.doctor import check

CAPTURES = Path(__file__).parent / "captures"
TOKENS = {"pbx": "pbx-secret", "qlog": "qlog-secret", "native": "native-secret", "portal": ""}
PORTAL_TOKEN = "portal-secret"

#: Tables that must be equal however the same events came.
PROJECTION = (
    "calls", "waits", "rollups", "day_rollups", "month_rollups", "missed_calls", "agent_states", "agent_rollups",
    "agent_legs", "agent_times", "work_items", "same_call_sides",
)  # fmt: skip

#: Empties every table. TRUNCATE makes new files for a table and each of its indexes, for the whole store 100 ms of
#: work: it is kept for what is large, and for what refuses a DELETE by a trigger. The lock waits for what another
#: connection still writes, as TRUNCATE would.
_EMPTY = """
DO $$
DECLARE
    used regclass[] := ARRAY(
        SELECT oid FROM pg_class
        WHERE relnamespace = 'callkpi'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
        ORDER BY oid);
    used_table regclass;
BEGIN
    FOREACH used_table IN ARRAY used LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', used_table);
    END LOOP;
    FOREACH used_table IN ARRAY used LOOP
        IF pg_relation_size(used_table) > 1000000
            OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = used_table AND NOT tgisinternal)
        THEN
            EXECUTE format('TRUNCATE %s', used_table);
        ELSE
            EXECUTE format('DELETE FROM %s', used_table);
        END IF;
    END LOOP;
END $$
"""


def test_settings(**tenant: Any) -> config.Settings:
    own = {"timezone": "Asia/Almaty", "region": "KZ", "expire_after_hours": 4.0, **tenant}
    return config.Settings(
        tenants={"acme": config.Tenant(**own)},
        sources={
            "pbx": config.new_source(kind="asterisk", tenant="acme", token=TOKENS["pbx"]),
            "qlog": config.new_source(kind="asterisk", tenant="acme", token=TOKENS["qlog"]),
            "native": config.new_source(kind="native", tenant="acme", token=TOKENS["native"]),
            "portal": config.new_source(kind="bitrix24", tenant="acme", application_tokens=(PORTAL_TOKEN,)),
        },
    )


test_settings.__test__ = False  # type: ignore[attr-defined]


class World:
    def __init__(self, pool: asyncpg.Pool, settings: config.Settings) -> None:
        self.pool, self.settings = pool, settings
        self.health = Health()
        windows = {name: timedelta(seconds=s.dedupe_seconds) for name, s in settings.sources.items()}
        self.journal = Journal(pool, self.health, windows)
        self.projector = Projector(pool, settings, self.health)
        self.ingest = Ingest(settings, pool, self.journal, self.health)
        self.reports = Reports(pool, settings)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        writer = asyncio.create_task(self.journal.run())
        try:
            yield
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def clear(self) -> None:
        await self.pool.execute(_EMPTY)
        self.projector = Projector(self.pool, self.settings, self.health)

    # -- in --------------------------------------------------------------------------------------
    async def send(self, source: str, body: bytes | str, content_type: str = "application/json") -> Receipt:
        """A delivery at the door of *source*, with its right token."""
        raw = body.encode() if isinstance(body, str) else body
        delivery = Delivery(raw, content_type, TOKENS[source], datetime.now(UTC))
        return await self.ingest.take(source, delivery)

    async def send_json(self, source: str, *events: dict[str, Any]) -> Receipt:
        return await self.send(source, json.dumps(list(events)))

    async def send_lines(self, source: str, lines: Sequence[str], chunk: int = 500) -> None:
        for begin in range(0, len(lines), chunk):
            await self.send(source, "\n".join(lines[begin : begin + chunk]))

    async def project(self) -> None:
        await self.projector.drain()

    async def append(self, events: Iterable[CallEvent]) -> None:
        await self.journal.append(list(events))

    # -- out -------------------------------------------------------------------------------------
    async def tables(self) -> dict[str, list[str]]:
        """The projection as text, in an order of its own."""
        result = {}
        for table in PROJECTION:
            where = " WHERE contacts <> 0" if table.endswith("rollups") and table != "agent_rollups" else ""
            # When a state was received is no part of what it says.
            row = "to_jsonb(t) - 'received_at'" if table == "agent_states" else "to_jsonb(t)"
            rows = await self.pool.fetch(f"SELECT ({row})::text AS row FROM {table} t{where}")
            result[table] = sorted(_without_padding(row["row"]) for row in rows)
        return result

    async def net_counters(self) -> Counter[tuple[str, str]]:
        """Ended entries by outcome, less those that were reclassified from it."""
        net: Counter[tuple[str, str]] = Counter()
        for row in await self.pool.fetch(store.query("reports", "counters")):
            if row["metric"] == "ended":
                net["ended", row["outcome"]] += row["value"]
            elif row["metric"] == "offered":
                net["offered", ""] += row["value"]
            elif row["metric"] == "reclassified":
                old = row["outcome"].partition(">")[0]
                net[("offered", "") if old == "offered" else ("ended", old)] -= row["value"]
        return Counter({key: value for key, value in net.items() if value})

    async def kpi(self, by: str, begin: datetime, end: datetime, **only: str) -> dict[str, dict[str, Any]]:
        """Rows of the report by the value that they are of."""
        answer = await self.reports.figures(Query("acme", begin, end, by, only))
        return {row[by]: row for row in answer["rows"]}

    async def figures(self, by: str, begin: datetime, end: datetime, as_of: datetime | None = None) -> dict[str, Any]:
        return await self.reports.figures(Query("acme", begin, end, by, {}, as_of or datetime.now(UTC)))

    async def findings(self) -> list[str]:
        """What the doctor finds."""
        return await check(self.pool, self.settings, lambda _done, _total: None)

    async def metrics(self, accept: str = "", now: datetime | None = None) -> str:
        await self.health.flush(self.pool)
        page, _ = await Exporter(self.pool, self.settings).scrape(accept, now)
        return page.decode()


def _without_padding(row: str) -> str:
    """A row whose histograms have no trailing zeros: a sum keeps them, a first row has none."""
    data = json.loads(row)
    for name, value in data.items():
        if name.endswith("_buckets"):
            while value and value[-1] == 0:
                value.pop()
    return json.dumps(data, sort_keys=True)


def capture_lines(name: str) -> list[str]:
    path = CAPTURES / name
    raw = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    return raw.decode().splitlines()


def retimed(lines: Sequence[str], begin: datetime, factor: float = 1.0) -> list[str]:
    """Recorded AMI events as if the first one had come at *begin*, *factor* times as slow.

    Whole seconds are added, so that what is counted in whole seconds stays what it was. Ids of channels begin with a
    time: they move too, so that copies of a recording are other calls.
    """
    events = [json.loads(line) for line in lines]
    first = events[0]["received_at"]
    moved = int(begin.timestamp() - first)
    for event in events:
        event["received_at"] = first + moved + (event["received_at"] - first) * factor
    return [re.sub(r'"(\d{10})(\.\d+)"', lambda m: f'"{int(m[1]) + moved}{m[2]}"', json.dumps(e)) for e in events]


def sample(page: str, name: str, **labels: str) -> float | None:
    """The value of one sample of a metrics page; the sum where several match."""
    from prometheus_client.parser import text_string_to_metric_families

    found = [
        s.value
        for family in text_string_to_metric_families(page)
        for s in family.samples
        if s.name == name and labels.items() <= s.labels.items()
    ]
    return sum(found) if found else None
