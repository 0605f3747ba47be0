-- name: try_lock
-- One holder a source over all daemons; held by the session.
SELECT pg_try_advisory_lock(hashtext('callkpi.connection'), hashtext($1));

-- name: write
-- How a connection is now, and when it was not heard: one statement, for who writes it may be cancelled at any time. A
-- sentence of the same state changes nothing of since when it is so; an outage that is written again is the same one.
WITH outages AS (
    INSERT INTO connection_outages (source, begins, ends, reason)
    SELECT $1, * FROM unnest($7::timestamptz[], $8::timestamptz[], $9::text[])
    ON CONFLICT (source, ends) DO NOTHING
)
INSERT INTO connections AS c (source, connected, changed_at, heard_at, reason, problem)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (source) DO UPDATE SET
    connected = excluded.connected,
    changed_at = CASE WHEN c.connected = excluded.connected THEN c.changed_at ELSE excluded.changed_at END,
    seen_at = now(), heard_at = greatest(c.heard_at, excluded.heard_at), reason = excluded.reason,
    problem = excluded.problem;

-- name: outages
-- When some sources were not heard within [$2, $3); one that goes on has no end. Whose row nobody has written for $4
-- seconds is not heard either. Served by the primary keys.
SELECT source, begins, ends FROM connection_outages
WHERE source = ANY ($1::text[]) AND ends > $2::timestamptz AND begins < $3::timestamptz
UNION ALL
SELECT source, heard_at, NULL FROM connections
WHERE source = ANY ($1::text[]) AND heard_at < $3::timestamptz
    AND (NOT connected OR seen_at < now() - make_interval(secs => $4::float8))
ORDER BY source, begins;

-- name: heard_at
-- When a source was last heard, by this holder or an earlier one.
SELECT heard_at FROM connections WHERE source = $1;

-- name: all
-- Every connection, for a scrape.
SELECT source, connected, changed_at, seen_at, heard_at, reason, problem FROM connections ORDER BY source;

-- name: position
-- How far something was read.
SELECT position FROM connection_positions WHERE source = $1 AND name = $2;

-- name: write_position
-- What is before this position is durable.
INSERT INTO connection_positions (source, name, position) VALUES ($1, $2, $3)
ON CONFLICT (source, name) DO UPDATE SET position = excluded.position, written_at = now();

-- name: now
-- The clock by which the journal's groups are marked.
SELECT clock_timestamp();

-- name: is_behind
-- Whether something of a source that was journalled before a moment is not projected yet.
SELECT EXISTS (SELECT 1 FROM pending WHERE $1 = ANY (sources) AND journalled_at <= $2);

-- name: open_calls
-- Calls of a source that began before a moment and have no end, also those that have expired meanwhile, with every id
-- that is part of each. Served by calls_by_time and call_keys_joined.
SELECT c.call_id, array_agg(DISTINCT id ORDER BY id) AS ids
FROM calls c
CROSS JOIN LATERAL (
    SELECT c.call_id AS id
    UNION ALL
    SELECT k.call_id FROM call_keys k
    WHERE k.tenant = c.tenant AND k.source = c.source AND k.root = c.call_id AND k.root <> k.call_id
) AS parts
WHERE c.tenant = $1 AND c.source = $2 AND c.ended_at IS NULL
    AND c.started_at < $3::timestamptz AND c.started_at > $3::timestamptz - interval '3 days'
GROUP BY c.call_id;

-- name: agent_states
-- The last state of each member of each queue of a source.
SELECT queue, agent, state, reason FROM agent_states WHERE tenant = $1 AND source = $2 AND queue <> '';
